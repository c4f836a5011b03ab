/* SPDX-License-Identifier: MIT
 * single.c -- a transaction of one operation in one call: the public functions, and the way that always leads somewhere
 *
 * fast_one.h is the usual way. What it needs to know of a table a thread remembers from the last such call.
 */
#include "fast_one.h"

static bool remembers(const struct twzdb *db)
{
	return !db->page_media && db->acc.max;
}

/* TX has used table T, and it was good: the next call may take the usual way. */
static void remember(const struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice key)
{
	struct twzdb__last *last = &twzdb__mine.last;
	const struct rec_pm *r;
	uint64_t p;

	last->t.h = 0;
	if (!remembers(tx->db) || tx->use.h != t.h || tx->use.tag != t.tag || !tx->anchor ||
	    twzdb__kind(tx, t) || tx->want == UINT64_MAX || !key_is_short(key.len))
		return;
	*last = (struct twzdb__last){t, tx->db->serial, tx->anchor, tx->use_id, tx->want};
	/* What kind of blocks lie where the row is: fast_one.h does not ask the unit table. */
	p = twzdb__acc_find(tx->db, twzdb__tag_in(tx, t), (struct bkey){key.ptr, (uint32_t)key.len},
			    short_hash(key.ptr, key.len, last->want), &r);
	twzdb__acc_look(tx->db, p ? p : t.h - TWZDB_ANCHOR_OFF);
}

static int finish(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice key, int err)
{
	if (err) {
		twzdb_abort(tx);
		return err;
	}
	remember(tx, t, key);
	return twzdb_commit(tx);
}

int twzdb_put_one(struct twzdb *db, struct twzdb_table t, struct twzdb_slice key,
		  struct twzdb_slice value, uint32_t flags)
{
	struct twzdb_txn *tx;
	int err = twzdb__simd_now()->put_one(db, t, &key, &value, flags);

	if (likely(err <= 0))
		return err;
	err = twzdb_begin(db, 0, &tx);
	return err ? err : finish(tx, t, key, twzdb_put(tx, t, key, value, flags));
}

int twzdb_del_one(struct twzdb *db, struct twzdb_table t, struct twzdb_slice key)
{
	struct twzdb_txn *tx;
	int err = twzdb__simd_now()->del_one(db, t, &key);

	if (likely(err <= 0))
		return err;
	err = twzdb_begin(db, 0, &tx);
	return err ? err : finish(tx, t, key, twzdb_del(tx, t, key));
}
