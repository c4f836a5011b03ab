/* SPDX-License-Identifier: MIT
 * workloads_engine.c -- commits of the engine: rows, splits and merges, tables, large transactions, checkpoints
 */
#include "workloads.h"

#include "fixed.h"

#include <stdlib.h>
#include <string.h>

#include "twzdb.h"

static struct twzdb_slice text(const char *s)
{
	return (struct twzdb_slice){s, strlen(s)};
}

#define LONG_MAX 80000

static struct twzdb_slice key_of(int i)
{
	static char key[LONG_MAX];
	int len = i < LONG_KEY ? 0 : i < LONG_KEY + 500 ? 1100 : i < LONG_KEY + 800 ? 5000 : 70000;

	memset(key, 'l', (size_t)len);
	snprintf(key + len, sizeof(key) - (size_t)len, "k%04d", i);
	return text(key);
}

/* A step of a transaction: key I gets LEN bytes that depend on V; LEN < 0 deletes it. */
static int put_row(struct twzdb_txn *txn, struct twzdb_table t, int i, int len, int v)
{
	uint8_t *buf = malloc((size_t)(len > 0 ? len : 1));
	struct twzdb_slice key = key_of(i);
	int rc;

	if (!buf)
		return TWZ_E_NOMEM;
	for (int n = 0; n < len; n++)
		buf[n] = (uint8_t)(n * 7 + v);
	rc = len < 0 ? twzdb_del(txn, t, key)
		     : twzdb_put(txn, t, key, (struct twzdb_slice){buf, (size_t)len}, 0);
	free(buf);
	return rc;
}

int db_rows(struct crash *c, const char *name, int from, int cnt, int step, int len, int v)
{
	struct twzdb_txn *txn = NULL;
	struct twzdb_table t;
	int rc = twzdb_begin(c->db, 0, &txn);

	if (rc)
		return rc;
	rc = twzdb_table_open(txn, name, TWZDB_TABLE_CREATE, &t);
	for (int i = 0; i < cnt && !rc; i++)
		rc = put_row(txn, t, from + i * step, len, v + i);
	if (!rc)
		return twzdb_commit(txn);
	twzdb_abort(txn);
	return rc;
}

/* CHANGE: a row first, so that some of its nodes are private copies by then. */
static int drop_after(struct crash *c, const char *name, bool change)
{
	struct twzdb_txn *txn = NULL;
	struct twzdb_table t;
	int rc = twzdb_begin(c->db, 0, &txn);

	if (!rc && change)
		rc = twzdb_table_open(txn, name, 0, &t);
	if (!rc && change)
		rc = put_row(txn, t, 2, 30, 9);
	if (!rc)
		rc = twzdb_table_drop(txn, name);
	if (!rc)
		return twzdb_commit(txn);
	twzdb_abort(txn);
	return rc;
}

static int drop(struct crash *c, const char *name)
{
	return drop_after(c, name, false);
}

/* SHARE: percent of --limit. */
#define ENGINE_WL_SHARE(var, id, text_, media_, quick_, setup_, run_, share_)                      \
	const struct crash_workload var = {.name = "engine." id,                                   \
					   .what = text_,                                          \
					   .media = media_,                                        \
					   .quick = quick_,                                        \
					   .share = share_,                                        \
					   .kind = &db_kind,                                       \
					   .setup = setup_,                                        \
					   .run = run_,                                            \
					   .show = db_show}
#define ENGINE_WL(var, id, text_, media_, quick_, setup_, run_)                                    \
	ENGINE_WL_SHARE(var, id, text_, media_, quick_, setup_, run_, SHARE_ENGINE)
/* --- one-row commits: insert, update, delete --- */

static int setup_rows(struct crash *c)
{
	CRASH_DO(c, db_rows(c, "t", 0, 10, 2, 30, 1));
	return 0;
}

static int run_commit(struct crash *c)
{
	CRASH_OP(c, db_rows(c, "t", 3, 1, 1, 40, 5));
	CRASH_OP(c, db_rows(c, "t", 4, 1, 1, 50, 6));
	CRASH_OP(c, db_rows(c, "t", 6, 1, 1, -1, 0));
	CRASH_OP(c, db_rows(c, "t", 3, 1, 1, 700, 7));
	CRASH_OP(c, db_rows(c, "t", 5, 3, 2, 20, 8));
	CRASH_OP(c, db_rows(c, "t", 3, 1, 1, -1, 0));
	CRASH_OP(c, db_rows(c, "t", 6, 1, 1, 33, 9));
	return 0;
}
ENGINE_WL(wl_db_commit, "commit", "one-row transactions", CRASH_ALL, true, setup_rows, run_commit);

/* In a leaf that is nearly full, so that every word of its order changes. */
static int setup_last(struct crash *c)
{
	CRASH_DO(c, db_rows(c, "t", 0, 26, 2, 30, 1));
	return 0;
}

/* So few stores that a death at each can be tried: just before the fence, the heir makes record and blocks durable (D13). */
static int run_last(struct crash *c)
{
	CRASH_OP(c, db_rows(c, "t", 3, 1, 1, 40, 5));
	CRASH_OP(c, db_rows(c, "t", 4, 2, 3, 50, 6));
	return 0;
}
ENGINE_WL_SHARE(wl_db_last, "last", "few stores", CRASH_ALL, false, setup_last, run_last,
		SHARE_DEAR);

/* One row, the first of a table: small enough for three crashes at every point of each. */
static int setup_word(struct crash *c)
{
	CRASH_DO(c, db_rows(c, "t", 0, 1, 1, 8, 1));
	return 0;
}

static int run_word(struct crash *c)
{
	CRASH_OP(c, db_rows(c, "t", 1, 1, 1, 8, 5));
	return 0;
}

const struct crash_workload wl_db_word = {.name = "engine.word",
					  .what = "one row, in one transaction",
					  .media = CRASH_LINE | CRASH_PAGE,
					  .share = SHARE_DEAR,
					  .thrice = 4,
					  .kind = &db_kind,
					  .setup = setup_word,
					  .run = run_word,
					  .show = db_show};

/* --- the same in one call, by the way that is usual where one thread writes for a while --- */

static struct twzdb_table one_table(struct crash *c)
{
	struct twzdb_table t = {0, 0};
	struct twzdb_txn *txn;

	if (!twzdb_begin(c->db, TWZDB_RDONLY, &txn)) {
		if (twzdb_table_open(txn, "t", 0, &t))
			t.h = 0;
		twzdb_abort(txn);
	}
	return t;
}

/* LEN < 0 deletes. */
static int one(struct crash *c, struct twzdb_table t, int i, int len, int v)
{
	uint8_t buf[256];
	char key[32];

	snprintf(key, sizeof(key), "row%04d the key", i); /* told apart by its first bytes */
	for (int n = 0; n < len; n++)
		buf[n] = (uint8_t)(n * 7 + v);
	return len < 0 ? twzdb_del_one(c->db, t, text(key))
		       : twzdb_put_one(c->db, t, text(key), (struct twzdb_slice){buf, (size_t)len},
				       0);
}

#define ONE_BEFORE                                                                                 \
	20 /* transactions until the writer lock is kept, and the kinds of units are known */

static int setup_one(struct crash *c)
{
	CRASH_DO(c, db_rows(c, "t", 0, 5, 2, 30, 1));
	return 0;
}

static int run_one(struct crash *c)
{
	struct twzdb_table t = one_table(c);

	for (int i = 0; i < ONE_BEFORE; i++)
		CRASH_OP(c, one(c, t, i % 5, 40, i));
	CRASH_OP(c, one(c, t, 1, 41, 5));
	CRASH_OP(c, one(c, t, 6, 50, 6));
	CRASH_OP(c, one(c, t, 2, -1, 0));
	CRASH_OP(c, one(c, t, 6, 70, 7));
	CRASH_OP(c, one(c, t, 2, 45, 8));
	CRASH_OP(c, one(c, t, 6, -1, 0));
	for (int i = 10; i < 30; i++)
		CRASH_OP(c, one(c, t, i, 20 + i, i));
	CRASH_OP(c, one(c, t, 29, 44, 1));
	CRASH_OP(c, one(c, t, 28, -1, 0));
	/* Tombstones in blocks that had short rows: what is left of them must not be believed. */
	for (int i = 0; i < 6; i++)
		CRASH_OP(c, one(c, t, 10 + i % 2, 1 + i, i));
	CRASH_DO(c, twzdb_checkpoint(c->db)); /* looks for who reads: what died may be used again */
	CRASH_OP(c, one(c, t, 3, -1, 0));
	CRASH_OP(c, one(c, t, 4, -1, 0));
	CRASH_OP(c, one(c, t, 40, 6, 1));
	/* And those of transactions, which are built by another way. */
	for (int i = 0; i < 6; i++)
		CRASH_OP(c, db_rows(c, "t", 4 + 2 * (i % 2), 1, 1, 1 + i, i));
	CRASH_DO(c, twzdb_checkpoint(c->db));
	CRASH_OP(c, db_rows(c, "t", 4, 1, 1, -1, 0));
	CRASH_OP(c, db_rows(c, "t", 6, 1, 1, -1, 0));
	return 0;
}
ENGINE_WL(wl_db_one, "one", "transactions in one call", CRASH_ALL, true, setup_one, run_one);

/*
 * The file is deleted. On cache-line media that is noticed now and then, by an append: the row has been built by then, and its
 * block goes back. What was refused is nowhere, whatever of it arrives.
 */
static int run_one_gone(struct crash *c)
{
	struct twzdb_table t = one_table(c);
	int rc = 0, i;

	for (i = 0; i < ONE_BEFORE; i++)
		CRASH_OP(c, one(c, t, i % 5, 40, i));
	sim_fail_next(SIM_FAULT_GONE);
	fixed_pass(100000); /* it is asked each 16th time, and milliseconds after the last time */
	for (i = 0; i < 64; i++) {
		crash_begin(c);
		rc = one(c, t, i % 5, 40, 100 + i);
		if (rc)
			break;
		CRASH_DO(c, crash_done(c));
	}
	return rc == TWZ_E_GONE && i ? 0 : crash_why(c, "after %d more changes: %d", i, rc);
}

const struct crash_workload wl_db_one_gone = {
	.name = "engine.one_gone",
	.what = "a commit in one call, refused because the file was deleted",
	.media = CRASH_LINE | CRASH_KILL,
	.fails = true,
	.share = SHARE_DEAR,
	.kind = &db_kind,
	.setup = setup_one,
	.run = run_one_gone,
	.show = db_show};

/* --- splits, up to a new root, and merges back --- */

#define MANY_ROWS 40

/* Rows between those that are there, in falling order, by one call: leaves split in the middle. */
static int many(struct crash *c, const char *name, int from, int step)
{
	struct twzdb_slice keys[MANY_ROWS], values[MANY_ROWS];
	char key[MANY_ROWS][16];
	struct twzdb_txn *txn = NULL;
	struct twzdb_table t;
	int rc = twzdb_begin(c->db, 0, &txn);

	if (rc)
		return rc;
	for (int i = 0; i < MANY_ROWS; i++) {
		snprintf(key[i], sizeof(key[i]), "k%04d+", from + (MANY_ROWS - 1 - i) * step);
		keys[i] = values[i] = text(key[i]);
	}
	rc = twzdb_table_open(txn, name, 0, &t);
	if (!rc)
		rc = twzdb_put_many(txn, t, MANY_ROWS, keys, values, TWZDB_INSERT, NULL);
	if (!rc)
		return twzdb_commit(txn);
	twzdb_abort(txn);
	return rc;
}

static int run_split(struct crash *c)
{
	for (int i = 0; i < 6; i++)
		CRASH_OP(c, db_rows(c, "t", i * 10, 10, 1, 16, i));
	CRASH_OP(c, db_rows(c, "t", 500, 30, 1, 16, 3));
	CRASH_OP(c, many(c, "t", 5, 1));
	return 0;
}
ENGINE_WL_SHARE(wl_db_split, "split", "inserts that split leaves and the root", CRASH_ALL, true,
		NULL, run_split, SHARE_RICH);

static int setup_merge(struct crash *c)
{
	CRASH_DO(c, db_rows(c, "t", 0, 150, 1, 16, 1));
	return 0;
}

static int run_merge(struct crash *c)
{
	for (int i = 0; i < 14; i++)
		CRASH_OP(c, db_rows(c, "t", i * 10, 10, 1, -1, 0));
	CRASH_OP(c, db_rows(c, "t", 140, 10, 1, -1, 0));
	CRASH_OP(c, db_rows(c, "t", 7, 1, 1, 10, 1));
	return 0;
}
ENGINE_WL(wl_db_merge, "merge", "deletes that merge leaves until the table is empty", CRASH_ALL,
	  false, setup_merge, run_merge);

/*
 * --- commits that all have something rare inside: rows everywhere, so that leaves split in each; many of them gone
 * again, so that leaves merge; so many updates that the ring is soon full ---
 */

static int run_grows(struct crash *c)
{
	for (int i = 0; i < 16; i++)
		CRASH_OP(c, db_rows(c, "t", i, 18, 17, 20, i));
	return 0;
}
ENGINE_WL_SHARE(wl_db_grows, "grows", "splits in every commit", CRASH_ALL, false, setup_rows,
		run_grows, SHARE_RICH);

static int setup_shrinks(struct crash *c)
{
	for (int i = 0; i < 8; i++)
		CRASH_DO(c, db_rows(c, "t", i, 40, 8, 20, i));
	return 0;
}

static int run_shrinks(struct crash *c)
{
	for (int i = 0; i < 14; i++)
		CRASH_OP(c, db_rows(c, "t", i * 20, 20, 1, -1, 0));
	return 0;
}
ENGINE_WL(wl_db_shrinks, "shrinks", "merges in most commits", CRASH_ALL, false, setup_shrinks,
	  run_shrinks);

static int setup_fills(struct crash *c)
{
	CRASH_DO(c, db_rows(c, "t", 0, 80, 1, 20, 1));
	return 0;
}

static int run_fills(struct crash *c)
{
	for (int i = 0; i < 16; i++)
		CRASH_OP(c, db_rows(c, "t", i % 5, 75, 1, 20 + i % 3, i));
	return 0;
}
ENGINE_WL_SHARE(wl_db_fills, "fills", "checkpoints in most commits, and laps of the ring",
		CRASH_ALL, false, setup_fills, run_fills, SHARE_RICH);

/* --- tables --- */

static int run_tables(struct crash *c)
{
	CRASH_OP(c, db_rows(c, "one", 1, 5, 1, 20, 1));
	CRASH_OP(c, db_rows(c, "two", 1, 40, 1, 20, 2));
	CRASH_OP(c, drop(c, "one"));
	CRASH_OP(c, db_rows(c, "three", 1, 3, 1, 20, 3));
	CRASH_OP(c, drop(c, "two"));
	CRASH_OP(c, db_rows(c, "one", 1, 2, 1, 20, 4));
	CRASH_OP(c, drop_after(c, "three", true));
	return 0;
}
ENGINE_WL(wl_db_tables, "tables", "create and drop tables", CRASH_ALL, false, NULL, run_tables);

/* --- units given up by their class, joined, and cut anew for rows and values of other sizes --- */

static int setup_cut(struct crash *c)
{
	CRASH_DO(c, db_rows(c, "a", 0, 14, 1, 60000, 1));
	CRASH_DO(c, db_rows(c, "b", 0, 2, 1, 100, 1));
	CRASH_DO(c, drop(c, "a"));
	return 0;
}

static int run_cut(struct crash *c)
{
	static const int len[] = {300, 600, 1200, 2500, 4000, 6000, 9000, 15000, 200000, 130000};

	for (int i = 0; i < 10; i++)
		CRASH_OP(c, db_rows(c, "b", 2 + i, 1, 1, len[i], i));
	CRASH_OP(c, db_rows(c, "b", 2, 10, 1, -1, 0));
	CRASH_OP(c, db_rows(c, "b", 20, 2, 1, 260000, 3));
	CRASH_OP(c, db_rows(c, "b", 1, 1, 1, -1, 0));
	return 0;
}
ENGINE_WL_SHARE(wl_db_cut, "cut", "units that change their type", CRASH_ALL, false, setup_cut,
		run_cut, SHARE_LARGE);

/* --- free space given back to the file system, and taken again --- */

static int setup_give(struct crash *c)
{
	CRASH_DO(c, db_rows(c, "b", 0, 2, 1, 100, 1));
	for (int i = 0; i < 4; i++)
		CRASH_DO(c, db_rows(c, "a", i * 50, 50, 1, 60000, i));
	return 0;
}

static int run_give(struct crash *c)
{
	CRASH_OP(c, drop(c, "a")); /* gives back */
	CRASH_OP(c, db_rows(c, "b", 2, 3, 1, 20000, 1));
	CRASH_DO(c, twzdb_checkpoint(c->db));
	CRASH_OP(c, db_rows(c, "b", 10, 8, 1, 900000, 2)); /* takes */
	CRASH_OP(c, db_rows(c, "b", 20, 40, 1, 300, 3));
	return 0;
}
const struct crash_workload wl_db_give = {.name = "engine.give",
					  .what = "free space given back and taken again",
					  .media = CRASH_LINE | CRASH_PAGE,
					  .share = 4, /* a store of several MiB: dear */
					  .kind = &db_kind,
					  .setup = setup_give,
					  .run = run_give,
					  .show = db_show};

/* --- large transactions and values --- */

static int run_large(struct crash *c)
{
	CRASH_OP(c, db_rows(c, "t", 0, 200, 1, 100, 1)); /* over a quarter of the ring */
	CRASH_OP(c, db_rows(c, "t", 1000, 3, 1, 30000, 2));
	CRASH_OP(c, db_rows(c, "t", 0, 200, 3, 400, 3)); /* over 64 KiB: D2d on page media */
	CRASH_DO(c,
		 twzdb_checkpoint(
			 c->db)); /* the next one must not rely on having something to checkpoint */
	CRASH_OP(c, db_rows(c, "t", 0, 200, 3, 410, 4));
	CRASH_OP(c, db_rows(c, "t", 1000, 2, 1, -1, 0));
	return 0;
}
ENGINE_WL_SHARE(wl_db_large, "large", "transactions longer than the ring, large values (D2, D3)",
		CRASH_LINE | CRASH_PAGE, false, NULL, run_large, SHARE_LARGE);

/*
 * Values that take units of several 64 KiB, replaced by ones of the same, of a greater and of a
 * smaller size (D2d).
 */
static int run_values(struct crash *c)
{
	CRASH_OP(c, db_rows(c, "t", 1, 1, 1, 200000, 1));
	CRASH_OP(c, db_rows(c, "t", 2, 1, 1, 70000, 2));
	CRASH_OP(c, db_rows(c, "t", 1, 1, 1, 200000, 3));
	CRASH_OP(c, db_rows(c, "t", 2, 1, 1, 300000, 4));
	CRASH_OP(c, db_rows(c, "t", 1, 1, 1, 100, 5));
	CRASH_OP(c, db_rows(c, "t", 2, 1, 1, -1, 0));
	/*
	 * In the room of one deleted, with nothing to checkpoint: only the sync of the blocks
	 * themselves is left.
	 */
	CRASH_DO(c, twzdb_checkpoint(c->db));
	CRASH_OP(c, db_rows(c, "t", 3, 1, 1, 180000, 6));
	CRASH_DO(c, twzdb_checkpoint(c->db));
	CRASH_OP(c, db_rows(c, "t", 4, 1, 1, 90000, 7));
	return 0;
}
ENGINE_WL_SHARE(wl_db_values, "values", "values of several units of 64 KiB",
		CRASH_LINE | CRASH_PAGE, false, setup_rows, run_values, SHARE_LARGE);

/* Long keys: alone, in a leaf that splits (the fences are as long), deleted, in the room of one deleted. */
static int run_long(struct crash *c)
{
	CRASH_OP(c, db_rows(c, "t", LONG_KEY, 1, 1, 10, 1));
	CRASH_OP(c, db_rows(c, "t", LONG_KEY, 1, 1, 3000, 2));
	CRASH_OP(c, db_rows(c, "t", LONG_KEY + 900, 1, 1, 10, 3));
	CRASH_OP(c, db_rows(c, "t", LONG_KEY + 800, 1, 1, 100000, 4));
	CRASH_OP(c, db_rows(c, "t", LONG_KEY, 1, 1, -1, 0));
	CRASH_OP(c, db_rows(c, "t", LONG_KEY + 100, 30, 2, 10, 5));
	CRASH_OP(c, db_rows(c, "t", LONG_KEY + 500, 30, 1, 10, 6));
	CRASH_OP(c, db_rows(c, "t", LONG_KEY + 900, 1, 1, -1, 0));
	CRASH_OP(c, db_rows(c, "t", LONG_KEY + 100, 30, 2, -1, 0));
	CRASH_DO(c, twzdb_checkpoint(c->db));
	CRASH_OP(c, db_rows(c, "t", LONG_KEY + 901, 1, 1, 20, 7));
	return 0;
}
ENGINE_WL_SHARE(wl_db_long, "long", "keys longer than a short row has", CRASH_LINE | CRASH_PAGE,
		false, setup_rows, run_long, SHARE_LARGE);

/* --- the other calls that change rows, and the other ways to commit --- */

static int begin_table(struct crash *c, struct twzdb_txn **txn, struct twzdb_table *t)
{
	int rc = twzdb_begin(c->db, 0, txn);

	return rc ? rc : twzdb_table_open(*txn, "t", 0, t);
}

/* Delete the rows [FROM, TO) and put one of them again. */
static int del_range(struct crash *c, const char *from, const char *to)
{
	struct twzdb_txn *txn = NULL;
	struct twzdb_table t;
	struct twzdb_slice end = to ? text(to) : (struct twzdb_slice){NULL, 0};
	uint64_t cnt;
	int rc = begin_table(c, &txn, &t);

	if (!rc)
		rc = twzdb_del_range(txn, t, text(from), end, &cnt);
	if (!rc)
		rc = put_row(txn, t, 1, 9, 9);
	return rc ? rc : twzdb_commit(txn);
}

/* One row updated three times, one put and deleted, one deleted and put again. */
static int same_key(struct crash *c, int v)
{
	static const struct {
		int i, len;
	} step[] = {{2, 30}, {7, 50}, {2, 400}, {7, -1}, {4, 9}, {4, -1}, {4, 60}, {2, 31}};
	struct twzdb_txn *txn = NULL;
	struct twzdb_table t;
	int rc = begin_table(c, &txn, &t);

	for (size_t i = 0; i < sizeof(step) / sizeof(step[0]) && !rc; i++)
		rc = put_row(txn, t, step[i].i, step[i].len, v + (int)i);
	return rc ? rc : twzdb_commit(txn);
}

/* Every second row through a cursor: a new value, or gone. */
static int by_cursor(struct crash *c, const char *value)
{
	struct twzdb_cursor *cur = NULL;
	struct twzdb_txn *txn = NULL;
	struct twzdb_slice k, v;
	struct twzdb_table t;
	int rc = begin_table(c, &txn, &t), n = 0;

	if (!rc)
		rc = twzdb_cursor_open(txn, t, &cur);
	for (enum twzdb_seek op = TWZDB_FIRST; !rc && n < 8; op = TWZDB_NEXT, n++) {
		rc = twzdb_cursor_get(cur, op, &k, &v);
		if (!rc && n % 2)
			rc = value ? twzdb_cursor_put(cur, text(value)) : twzdb_cursor_del(cur);
	}
	twzdb_cursor_close(cur);
	return rc && rc != TWZDB_E_NOTFOUND ? rc : twzdb_commit(txn);
}

static int run_changes(struct crash *c)
{
	CRASH_OP(c, same_key(c, 1));
	CRASH_OP(c, by_cursor(c, "by cursor"));
	CRASH_OP(c, del_range(c, "k0003", "k0009"));
	CRASH_OP(c, by_cursor(c, NULL));
	CRASH_OP(c, same_key(c, 2));
	CRASH_OP(c, del_range(c, "k0002", NULL));
	return 0;
}
ENGINE_WL(wl_db_changes, "changes", "del_range, cursor_put, cursor_del, one key changed often",
	  CRASH_ALL, false, setup_rows, run_changes);

/* --- savepoints: what was rolled back leaves nothing behind, what was released is committed --- */

static int nested_steps(struct twzdb_txn *txn, struct twzdb_table t, int v)
{
	uint32_t a = 0, b = 0;
	int rc = put_row(txn, t, 2, 40, v);

	if (!rc)
		rc = twzdb_savepoint(txn, &a);
	for (int i = 0; i < 40 && !rc; i++) /* splits */
		rc = put_row(txn, t, 100 + i, 20, v + i);
	if (!rc)
		rc = put_row(txn, t, 2, 300, v);
	if (!rc)
		rc = twzdb_savepoint(txn, &b);
	for (int i = 0; i < 40 && !rc; i++) /* merges */
		rc = put_row(txn, t, 100 + i, -1, 0);
	if (!rc)
		rc = put_row(txn, t, 4, -1, 0);
	if (!rc)
		rc = twzdb_rollback_to(txn, v % 2 ? a : b);
	if (!rc)
		rc = put_row(txn, t, 6, 25, v);
	return rc ? rc : twzdb_release(txn, a);
}

static int nested(struct crash *c, int v)
{
	struct twzdb_txn *txn = NULL;
	struct twzdb_table t, gone;
	uint32_t id;
	int rc = begin_table(c, &txn, &t);

	if (!rc)
		rc = nested_steps(txn, t, v);
	if (!rc)
		rc = twzdb_savepoint(txn, &id);
	if (!rc) /* a table that never was */
		rc = twzdb_table_open(txn, "gone", TWZDB_TABLE_CREATE, &gone);
	if (!rc)
		rc = put_row(txn, gone, 1, 50, v);
	if (!rc)
		rc = twzdb_rollback_to(txn, id);
	return rc ? rc : twzdb_commit(txn);
}

static int run_savepoint(struct crash *c)
{
	for (int v = 0; v < 4; v++) {
		CRASH_OP(c, nested(c, v));
		if (v % 2 == 0)
			CRASH_OP(c, del_range(c, "k0100", NULL));
	}
	return 0;
}
ENGINE_WL_SHARE(wl_db_savepoint, "savepoint",
		"transactions with savepoints rolled back and released", CRASH_ALL, true,
		setup_rows, run_savepoint, SHARE_RICH);

/* --- whole leaves deleted at once --- */

static int setup_range(struct crash *c)
{
	CRASH_DO(c, db_rows(c, "t", 0, 300, 1, 12, 1));
	CRASH_DO(c, db_rows(c, "t", 0, 300, 5, 40, 2));
	return 0;
}

static int run_range(struct crash *c)
{
	CRASH_OP(c, del_range(c, "k0010", "k0090"));
	CRASH_OP(c, db_rows(c, "t", 20, 30, 2, 60, 3));
	CRASH_OP(c, del_range(c, "k0015", "k0250"));
	CRASH_DO(c, twzdb_checkpoint(c->db));
	CRASH_OP(c, del_range(c, "", NULL));
	CRASH_OP(c, db_rows(c, "t", 0, 40, 1, 12, 4));
	return 0;
}
ENGINE_WL_SHARE(wl_db_range, "range", "range deletes over many leaves", CRASH_ALL, false,
		setup_range, run_range, SHARE_LARGE);

/* --- tables of numbers and of sorted duplicates, renamed, appended to, changed conditionally --- */

static int pairs_of(struct twzdb_txn *txn, struct twzdb_table t, int v)
{
	int rc = 0;

	for (int i = 0; i < 45 && !rc; i++) {
		char key[16], val[24];

		snprintf(key, sizeof(key), "key%d", i % 4);
		snprintf(val, sizeof(val), "value %d of %d", i, v);
		rc = twzdb_put(txn, t, text(key), text(val), 0);
	}
	return rc ? rc : twzdb_del_if(txn, t, text("key2"), text("value 6 of 0"));
}

static int numbers_of(struct twzdb_txn *txn, struct twzdb_table t, uint64_t from)
{
	struct twzdb_slice old = text("appended"), k = {&from, sizeof(from)};
	int rc = 0;

	for (int i = 0; i < 35 && !rc; i++, from++)
		rc = twzdb_put(txn, t, k, old, TWZDB_APPEND);
	from--;
	if (!rc)
		rc = twzdb_put_if(txn, t, k, &old, text("changed"));
	from--;
	return rc ? rc : twzdb_del_if(txn, t, k, old);
}

static int kinds(struct crash *c, const char *name, uint32_t kind, int v)
{
	struct twzdb_txn *txn = NULL;
	struct twzdb_table t;
	int rc = twzdb_begin(c->db, 0, &txn);

	if (!rc)
		rc = twzdb_table_open(txn, name, TWZDB_TABLE_CREATE | kind, &t);
	if (!rc && v < 0)
		rc = twzdb_del(txn, t, text("key1"));
	else if (!rc)
		rc = kind & TWZDB_TABLE_DUPSORT ? pairs_of(txn, t, v)
						: numbers_of(txn, t, (uint64_t)v * 1000);
	return rc ? rc : twzdb_commit(txn);
}

static int rename_to(struct crash *c, const char *from, const char *to)
{
	struct twzdb_txn *txn = NULL;
	int rc = twzdb_begin(c->db, 0, &txn);

	if (!rc)
		rc = twzdb_table_rename(txn, from, to);
	return rc ? rc : twzdb_commit(txn);
}

static int run_kinds(struct crash *c)
{
	CRASH_OP(c, kinds(c, "pairs", TWZDB_TABLE_DUPSORT, 0));
	CRASH_OP(c, kinds(c, "numbers", TWZDB_TABLE_INTKEY, 1));
	CRASH_OP(c, rename_to(c, "pairs", "couples"));
	CRASH_OP(c, kinds(c, "couples", TWZDB_TABLE_DUPSORT, -1));
	CRASH_OP(c, kinds(c, "numbers", TWZDB_TABLE_INTKEY, 2));
	CRASH_OP(c, rename_to(c, "numbers", "pairs"));
	CRASH_OP(c, drop(c, "couples"));
	return 0;
}
ENGINE_WL_SHARE(wl_db_kinds, "kinds", "tables of numbers and of sorted duplicates, renamed",
		CRASH_ALL, false, NULL, run_kinds, SHARE_RICH);

/* One transaction that commits twice and stays the writer, then a third time and stays a reader. */
static int run_keep(struct crash *c)
{
	struct twzdb_txn *txn = NULL;
	struct twzdb_table t;

	for (int v = 0; v < 3; v++) {
		CRASH_DO(c, begin_table(c, &txn, &t));
		for (int i = 0; i < 2; i++) {
			CRASH_DO(c, put_row(txn, t, 2 * v + i, 30 + 200 * i, v));
			CRASH_OP(c, twzdb_commit_next(txn));
		}
		CRASH_DO(c, put_row(txn, t, 20 + v, 60, v));
		CRASH_OP(c, twzdb_commit_keep(txn));
		twzdb_abort(txn);
	}
	return 0;
}
ENGINE_WL(wl_db_keep, "keep", "commit_next and commit_keep", CRASH_ALL, false, setup_rows,
	  run_keep);

/* Clean close, opening again as another process would, and commits after it. */
static int run_reopen(struct crash *c)
{
	for (int v = 0; v < 3; v++) {
		CRASH_OP(c, db_rows(c, "t", v, 2, 7, 40, v));
		CRASH_DO(c, db_close(c));
		CRASH_DO(c, db_open_flags(c, 0));
		CRASH_OP(c, db_rows(c, "t", v, 1, 1, -1, 0));
	}
	return 0;
}
ENGINE_WL(wl_db_reopen, "reopen", "clean close, opening again, commits", CRASH_LINE | CRASH_PAGE,
	  false, setup_rows, run_reopen);

/* --- crash, recovery, new commits, and a second crash (D1) --- */

static int run_again(struct crash *c)
{
	CRASH_OP(c, db_rows(c, "t", 3, 1, 1, 300, 5));
	CRASH_OP(c, db_rows(c, "t", 40, 3, 1, 700, 6));
	return 0;
}

/*
 * The same transaction once more, and a row beside it, so that a record the recovery dropped for
 * its incomplete blocks would find them complete; then others.
 */
static int more_again(struct crash *c)
{
	CRASH_OP(c, db_rows(c, "t", 3, 2, 37, 300, 5));
	CRASH_OP(c, db_rows(c, "t", 40, 2, 1, 700, 6));
	CRASH_OP(c, db_rows(c, "t", 4, 1, 1, -1, 0));
	return 0;
}
const struct crash_workload wl_db_again = {
	.name = "engine.again",
	.what = "crash, recovery, new commits, a second crash (D1)",
	.media = CRASH_LINE | CRASH_PAGE,
	.second = 6,
	.share = 25,
	.kind = &db_kind,
	.setup = setup_rows,
	.run = run_again,
	.show = db_show,
	.again = more_again};

/* --- checkpoints and laps --- */

static int run_checkpoint(struct crash *c)
{
	for (int i = 0; i < 4; i++) {
		CRASH_OP(c, db_rows(c, "t", i, 2, 5, 60, i));
		CRASH_DO(c, twzdb_checkpoint(c->db));
		CRASH_OP(c, db_rows(c, "t", i, 1, 1, -1, 0));
	}
	return 0;
}
ENGINE_WL(wl_db_checkpoint, "checkpoint", "checkpoints between commits (D5)", CRASH_ALL, true,
	  setup_rows, run_checkpoint);

static int run_laps(struct crash *c)
{
	for (int i = 0; i < 60; i++)
		CRASH_OP(c, db_rows(c, "t", i % 23, 3, 4, 50 + i * 13 % 200, i));
	return 0;
}
ENGINE_WL_SHARE(wl_db_laps, "laps", "updates over several laps of the ring",
		CRASH_LINE | CRASH_PAGE, false, setup_rows, run_laps, SHARE_LARGE);
