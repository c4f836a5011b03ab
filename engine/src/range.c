/* SPDX-License-Identifier: MIT
 * range.c -- what concerns all keys in [FROM, TO): deleting them, estimating how many there are
 */
#include "internal.h"

int twzdb__range_in(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice from,
		    struct twzdb_slice to, struct range *r, const char *what)
{
	uint32_t kind = twzdb__kind(tx, t);
	int err = 0;

	r->from = (struct bkey){(const uint8_t *)"", 0};
	r->to = BKEY_INF;
	if (from.ptr || from.len)
		err = twzdb__key_in(kind, from, &r->from_buf, &r->from, what);
	if (!err && (to.ptr || to.len))
		err = twzdb__key_in(kind, to, &r->to_buf, &r->to, what);
	return err;
}

static int check_range(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice from,
		       struct twzdb_slice to, bool write, struct range *r, const char *what)
{
	int err = twzdb__txn_use(tx, what, write);

	if (!err)
		err = twzdb__table_use(tx, t, what);
	return err ? err : twzdb__range_in(tx, t, from, to, r, what);
}

int twzdb__del_range(struct twzdb_txn *tx, uint64_t table, struct bkey from, struct bkey to,
		     uint64_t *cnt)
{
	uint8_t last[TWZDB_KEY_MAX];
	const struct rec_pm *r;
	struct nref leaf;
	unsigned pos;
	int err;

	for (*cnt = 0;; ++*cnt) {
		err = twzdb__find_right(tx, table, from, *cnt != 0, &leaf, &pos, &r);
		if (err)
			break;
		from = (struct bkey){last, rec_klen(r)};
		memcpy(last, rec_key(r), from.len);
		if (bkey_cmp(from, to) >= 0)
			break;
		err = twzdb__del(tx, table, from);
		if (err)
			return err;
	}
	return err == TWZDB_E_NOTFOUND ? 0 : err;
}

int twzdb_del_range(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice from,
		    struct twzdb_slice to, uint64_t *cnt)
{
	struct range r;
	uint64_t n = 0;
	int err = check_range(tx, t, from, to, true, &r, "del_range");

	if (!err)
		err = twzdb__del_range(tx, t.h, r.from, r.to, &n);
	if (cnt)
		*cnt = n;
	return err;
}

int twzdb_estimate(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice from,
		   struct twzdb_slice to, uint64_t *rows)
{
	struct range r;
	int err;

	if (!rows)
		return twzdb__err(TWZDB_E_INVAL, "estimate: no place for the number");
	*rows = 0;
	err = check_range(tx, t, from, to, false, &r, "estimate");
	return err ? err : twzdb__estimate(tx, t.h, r.from, r.to, rows);
}
