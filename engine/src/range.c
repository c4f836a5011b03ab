/* SPDX-License-Identifier: MIT
 * range.c -- what concerns all keys in [FROM, TO): deleting them, estimating how many there are
 */
#include "internal.h"

int twzdb__range_in(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice from,
		    struct twzdb_slice to, struct range *r, const char *what)
{
	uint32_t kind = twzdb__kind(tx, t);
	int err = 0;

	r->from_buf.big = r->to_buf.big = NULL;
	r->from = (struct bkey){(const uint8_t *)"", 0};
	r->to = BKEY_INF;
	if (from.ptr || from.len)
		err = twzdb__key_in(kind, from, &r->from_buf, &r->from, what);
	if (!err && (to.ptr || to.len))
		err = twzdb__key_in(kind, to, &r->to_buf, &r->to, what);
	if (err)
		twzdb__range_free(r);
	return err;
}

void twzdb__range_free(struct range *r)
{
	keybuf_free(&r->from_buf);
	keybuf_free(&r->to_buf);
}

static int check_range(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice from,
		       struct twzdb_slice to, bool write, struct range *r, const char *what)
{
	int err = twzdb__txn_use(tx, what, write);

	if (!err)
		err = twzdb__table_use(tx, t, what);
	return err ? err : twzdb__range_in(tx, t, from, to, r, what);
}

/* *NEXT: the high fence of LEAF, copied to BUF; infinite: there is none. */
static int high_fence(struct twzdb_txn *tx, const struct nref *leaf, struct keybuf *buf,
		      struct bkey *next)
{
	uint64_t right = leaf->n->next, lof;
	uint8_t *b;
	int err;

	*next = BKEY_INF;
	if (!right)
		return 0;
	err = twzdb__node_lof(tx, right, &lof);
	if (!err)
		err = twzdb__fence_key(tx, lof, next);
	if (err)
		return err;
	b = twzdb__keybuf_get(buf, next->len);
	if (!b)
		return -ENOMEM;
	memcpy(b, next->p, next->len);
	next->p = b;
	return 0;
}

/* Leaf by leaf. A leaf may be merged away when it is done: the way goes by keys. */
static int del_leaves(struct twzdb_txn *tx, uint64_t table, struct bkey from, struct bkey to,
		      struct keybuf buf[2], uint64_t *cnt)
{
	struct bkey next;
	struct path path;
	unsigned pos;
	bool exact;
	int err;

	*cnt = 0;
	for (unsigned i = 0; bkey_cmp(from, to) < 0; i++, from = next) {
		err = twzdb__seek(tx, table, from, false, &path.e[0], &pos, &exact, &path);
		if (err || !path.e[0].p)
			return err;
		err = high_fence(tx, &path.e[0], &buf[i % 2], &next);
		if (!err && bkey_cmp(next, from) <= 0)
			err = twzdb__corrupt(tx->db, path.e[0].p,
					     "a leaf's high fence is not above its keys");
		if (!err && pos < path.e[0].n->n)
			err = twzdb__del_leaf(tx, table, &path, pos, to, cnt);
		if (err || bkey_is_inf(next))
			return err;
	}
	return 0;
}

int twzdb__del_range(struct twzdb_txn *tx, uint64_t table, struct bkey from, struct bkey to,
		     uint64_t *cnt)
{
	struct keybuf buf[2] = {{.big = NULL}, {.big = NULL}};
	int err = del_leaves(tx, table, from, to, buf, cnt);

	keybuf_free(&buf[0]);
	keybuf_free(&buf[1]);
	return err;
}

int twzdb_del_range(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice from,
		    struct twzdb_slice to, uint64_t *cnt)
{
	struct range r;
	uint64_t n = 0;
	int err = check_range(tx, t, from, to, true, &r, "del_range");

	if (!err) {
		err = twzdb__del_range(tx, t.h, r.from, r.to, &n);
		twzdb__range_free(&r);
	}
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
	if (err)
		return err;
	err = twzdb__estimate(tx, t.h, r.from, r.to, rows);
	twzdb__range_free(&r);
	return err;
}
