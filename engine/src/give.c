/* SPDX-License-Identifier: MIT
 * give.c -- free space goes back to the file system, and is taken again
 *
 *	units of all classes, empty --release--> free runs --give--> hollow runs --take--> units (runs.c), values (space.c)
 *
 * A free run (runs.c) keeps its first page, where its header and its block's are; of what lies behind, whole chunks are
 * given back: the object keeps its length and its pages of the store, the file has a hole there. Nothing on the medium
 * says so. That is right because
 *	(1) nothing in a free run means anything, so it may read as zeros at any moment, and what lay there may be back
 *	    after a crash, until somebody has stored something else and made it durable;
 *	(2) nobody stores to it: the log is emptied first (D5, D9), so that no record leads there, and who takes a free run
 *	    for anything calls twz_obj_take() first: a full disk is an error there and no SIGBUS (D11). What a process does
 *	    not know (a restart, a takeover) it takes for hollow;
 *	(3) nobody reads it, for on a memory file system a look takes a page: no block in it was in use when it became free,
 *	    for the oldest snapshot (D7). Only the accelerator still knows such addresses, and a read looks there before it
 *	    knows better. So units that changed their type keep their space until every reader that may have entered, or
 *	    found, one of them is gone (all are younger than cut_ts, or there are none); then these entries are struck out.
 * A file that is not where the store was used last is a copy, and gets space for all holes when it is opened.
 *
 * It is done when more than 1/GIVE_SHARE of all units would be given back, and not less than GIVE_MIN; half of that share
 * stays, so that what is needed again soon need not be taken.
 */
#include "space.h"

#include <limits.h>

#define GIVE_SHARE 8
#define AGAIN	   64 /* commits until readers are looked at again */
#define ROUNDS	   16 /* of releasing, each of so many units and no more, in one go */

int twzdb__space_take(struct twzdb *db, uint32_t g, uint64_t len)
{
	uint64_t p = unit_ptr(g);
	struct twz_obj *o = db->map[p >> TWZ_PPTR_OFF_BITS].obj;
	int err = twz_obj_take(o, p & TWZ_PPTR_OFF_MASK, len);

	if (err == TWZ_E_IO)
		st64_rel(&db->sh->failed, 1);
	if (!err)
		twzdb__stat_own(&db->sh->stats.taken_len, len);
	return err ? twzdb__from_twz(err, "taking space again") : 0;
}

/* Nobody can be looking at what a unit was before the last of them changed its type (3). */
static bool readers_are_new(struct twzdb_txn *tx)
{
	struct twzdb__shared *sh = tx->db->sh;
	uint64_t hi = ld64(&sh->reader_hi);

	(void)twzdb__min_now(tx);
	if (tx->min > ld64(&sh->cut_ts))
		return true;
	if (!twzdb__barrier())
		return false;
	for (uint64_t i = 0; i < hi && i < TWZDB_READERS; i++)
		if (&sh->reader[i] != tx->rd &&
		    __atomic_load_n(&sh->reader[i].snap, __ATOMIC_SEQ_CST) != TWZDB_NO_SNAP)
			return false;
	return true;
}

struct give {
	struct twzdb *db;
	bool count;    /* only count */
	uint64_t can;  /* units in free runs of which nothing was given back */
	uint64_t keep; /* of these */
	uint64_t len;  /* bytes given back */
};

/* Whole chunks of a free run, but for its beginning, where N units shall stay. */
static int give_run(struct give *v, uint32_t g, uint32_t run, uint64_t n)
{
	uint64_t p = unit_ptr(g), off = p & TWZ_PPTR_OFF_MASK,
		 from = off + (n << TWZDB_UNIT_SHIFT) + TWZ_PAGE_SIZE,
		 to = off + ((uint64_t)run << TWZDB_UNIT_SHIFT);
	uint32_t *e = unit_entry(v->db, g);
	int err;

	from = (from + TWZ_CHUNK_SIZE - 1) & ~(uint64_t)(TWZ_CHUNK_SIZE - 1);
	to &= ~(uint64_t)(TWZ_CHUNK_SIZE - 1);
	if (from >= to)
		return 0;
	st32(e, *e | TWZDB_UT_HOLLOW); /* whatever happens next */
	err = twz_obj_give(v->db->map[p >> TWZ_PPTR_OFF_BITS].obj, from, to - from);
	if (err)
		return err;
	st32(e, *e | TWZDB_UT_GIVEN);
	v->len += to - from;
	return 0;
}

static int one_run(void *ctx, uint32_t g, uint32_t run)
{
	struct give *v = ctx;
	uint64_t n;

	if (*unit_entry(v->db, g) & TWZDB_UT_GIVEN)
		return 0;
	v->can += run;
	n = v->keep < run ? v->keep : run;
	v->keep -= n;
	return v->count ? 0 : give_run(v, g, run, n);
}

static uint64_t units_in_all(struct twzdb *db)
{
	uint64_t all = 0;

	for (uint32_t i = 0; i < twzdb__obj_cnt(db); i++)
		all += twzdb__units_used(db, i);
	return all;
}

/* Less is not worth the work, unless somebody asks for it. */
static uint64_t usual_share(struct twzdb *db)
{
	uint64_t share = units_in_all(db) / GIVE_SHARE;

	return share < TWZDB_GIVE_MIN ? TWZDB_GIVE_MIN : share;
}

/* (2) */
static int give_now(struct twzdb_txn *tx, struct give *v)
{
	int err = twz_log_checkpoint(tx->db->log);

	if (!err)
		err = twzdb__each_free_run(tx, one_run, v);
	twzdb__stat_own(&tx->db->sh->stats.given_len, v->len);
	return err;
}

/* If more than MORE units can be given; half of MORE stays. */
static int give(struct twzdb_txn *tx, uint64_t more, int rounds)
{
	struct twzdb *db = tx->db;
	struct twzdb__shared *sh = db->sh;
	struct give v = {.db = db, .count = true};
	uint32_t cnt = 1;
	int err = 0;

	/* It sees nothing any more that died with its own commit. */
	twzdb__snap_set_to(tx->rd, ld64(&sh->ts));
	for (int i = 0; i < rounds && cnt && sh->empty > more && !err; i++)
		err = twzdb__release(tx, false, &cnt);
	if (!err)
		err = twzdb__each_free_run(tx, one_run, &v);
	sh->give_due = !err && v.can > more ? ld64(&sh->ts) + AGAIN : 0;
	sh->give_at = sh->empty + usual_share(db);
	if (sh->give_due && readers_are_new(tx) && twzdb__acc_strike_runs(db)) {
		v = (struct give){.db = db, .keep = more / 2};
		err = give_now(tx, &v);
		sh->give_due = 0;
	}
	if (err == TWZ_E_IO || err == TWZ_E_FAILED)
		st64_rel(&sh->failed, 1);
	return ld64(&sh->failed) ? twzdb__err(TWZDB_E_IO, "giving back space: a sync failed") : 0;
}

int twzdb__give_back(struct twzdb_txn *tx)
{
	return give(tx, usual_share(tx->db), ROUNDS);
}

int twzdb__give_all(struct twzdb_txn *tx)
{
	return give(tx, 0, INT_MAX);
}
