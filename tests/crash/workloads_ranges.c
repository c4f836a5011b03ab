/* SPDX-License-Identifier: MIT
 * workloads_ranges.c -- long rows of which a commit changes little: the log has what differs (D2c)
 */
#include "workloads.h"

#include <string.h>

#include "twzdb.h"

#define PAGE_LEN 4000
#define PAGES	 3

/* Page I, changed V times: each leaves a few bytes elsewhere, the last ones at both ends. */
static void fill(uint8_t *buf, int i, int v)
{
	memset(buf, 'a' + i, PAGE_LEN);
	for (int k = 1; k <= v; k++)
		for (int n = 0; n < 20; n++)
			buf[(k * 701 + n) % PAGE_LEN] = (uint8_t)(k + n);
	buf[0] = buf[PAGE_LEN - 1] = (uint8_t)v;
}

static int put(struct twzdb_txn *txn, struct twzdb_table t, int i, const uint8_t *buf, size_t len)
{
	char key[4] = {'p', (char)('0' + i), 'x', 'y'};

	return twzdb_put(txn, t, (struct twzdb_slice){key, 4}, (struct twzdb_slice){buf, len}, 0);
}

/* One transaction: CNT pages from I on as of change V; FEW: a short row, too. */
static int pages(struct crash *c, uint32_t flags, int i, int cnt, int v, bool few)
{
	struct twzdb_txn *txn = NULL;
	struct twzdb_table t;
	uint8_t buf[PAGE_LEN];
	int rc = twzdb_begin(c->db, flags, &txn);

	if (rc)
		return rc;
	rc = twzdb_table_open(txn, "t", TWZDB_TABLE_CREATE, &t);
	for (int k = i; k < i + cnt && !rc; k++) {
		fill(buf, k, v);
		rc = put(txn, t, k, buf, sizeof(buf));
	}
	if (!rc && few)
		rc = put(txn, t, 8, buf, 30);
	if (!rc)
		return twzdb_commit(txn);
	twzdb_abort(txn);
	return rc;
}

static int lazy(struct crash *c, int i, int cnt, int v)
{
	int rc;

	crash_begin(c);
	rc = pages(c, TWZDB_LAZY, i, cnt, v, false);
	return rc ? crash_failed(c, rc, "a lazy commit") : crash_step(c);
}

#define LAZY(c, ...)                                                                               \
	do {                                                                                       \
		if (lazy((c), __VA_ARGS__))                                                        \
			return -1;                                                                 \
	} while (0)

/* A ring for some commits between two checkpoints. */
static int ranges_open(struct crash *c)
{
	db_log_len = 8 * DB_LOG_LEN;
	return db_open(c);
}

static const struct crash_kind ranges_kind = {ranges_open, db_check, db_close, db_probe,
					      db_inside,   true,     db_settle};

static int setup_ranges(struct crash *c)
{
	CRASH_DO(c, pages(c, 0, 0, PAGES, 0, true));
	CRASH_DO(c, twzdb_checkpoint(c->db));
	return 0;
}

static int log_bytes(struct crash *c, uint64_t *len)
{
	struct twzdb_stats st = {.size = sizeof(st)};

	CRASH_DO(c, twzdb_stats(c->db, &st));
	*len = st.log_bytes;
	return 0;
}

/* A row of another size, of which nothing stays as it was: so much more of the log. */
static int other(struct crash *c, int v)
{
	struct twzdb_txn *txn = NULL;
	struct twzdb_table t;
	static uint8_t buf[3 * PAGE_LEN];
	int rc = twzdb_begin(c->db, 0, &txn);

	if (rc)
		return rc;
	memset(buf, v, sizeof(buf));
	rc = twzdb_table_open(txn, "t", 0, &t);
	if (!rc)
		rc = put(txn, t, 9, buf, sizeof(buf));
	if (!rc)
		return twzdb_commit(txn);
	twzdb_abort(txn);
	return rc;
}

/* A checkpoint beside commits, as soon as it is due. */
static int ahead(struct crash *c)
{
	struct twzdb_stats st = {.size = sizeof(st)};
	uint64_t used;

	for (int v = 1; v <= 3; v++)
		CRASH_OP(c, other(c, v));
	CRASH_DO(c, twzdb_stats(c->db, &st));
	used = st.log_used;
	CRASH_DO(c, db_ahead(c));
	CRASH_DO(c, twzdb_stats(c->db, &st));
	return st.log_used < used
		       ? 0
		       : crash_why(c, "a checkpoint that was not due, at %llu bytes of the log",
				   (unsigned long long)used);
}

/* One page again and again, and others between: bases that are used again, that become free, and that are wanted for other pages. */
static int run_ranges(struct crash *c)
{
	uint64_t before = 0, after = 0;

	if (log_bytes(c, &before))
		return -1;
	for (int v = 1; v < 7; v++)
		CRASH_OP(c, pages(c, 0, 0, 1, v, false));
	if (log_bytes(c, &after))
		return -1;
	if (after - before > PAGE_LEN)
		return crash_why(c, "six small changes are %llu bytes in the log",
				 (unsigned long long)(after - before));
	CRASH_OP(c, pages(c, 0, 0, PAGES, 7, true));
	CRASH_OP(c, pages(c, 0, 1, 1, 8, false));
	for (int v = 9; v < 14; v++) /* none is applied before the next is staged */
		LAZY(c, 0, 1 + v % 2, v);
	CRASH_OP(c, twzdb_sync(c->db));
	if (ahead(c))
		return -1;
	CRASH_OP(c, pages(c, 0, 0, 2, 14, false));
	CRASH_OP(c, twzdb_checkpoint(c->db));
	for (int v = 15; v < 21; v++)
		CRASH_OP(c, pages(c, 0, v % 2, 1, v, false));
	/* The tail gets behind the first that used a base, which all readers are younger than, and not behind the last, */
	CRASH_OP(c, pages(c, 0, 0, 2, 21, false));
	for (int v = 22; v < 25; v++)
		CRASH_OP(c, pages(c, 0, 2, 1, v, false));
	LAZY(c, 0, 1, 25);
	LAZY(c, 0, 2, 26);
	if (ahead(c))
		return -1;
	LAZY(c, 3, 5, 1); /* and more blocks are wanted than are free. */
	CRASH_OP(c, twzdb_sync(c->db));
	for (int v = 27; v < 32; v++)
		CRASH_OP(c, pages(c, 0, v % PAGES, 1, v, false));
	CRASH_OP(c, pages(c, 0, 0, PAGES, 40, false)); /* little of them is as it was */
	CRASH_OP(c, pages(c, 0, 0, 1, 41, true));
	LAZY(c, 0, 1, 42);
	LAZY(c, 0, 2, 43);
	return 0;
}

static int more_ranges(struct crash *c)
{
	CRASH_OP(c, pages(c, 0, 0, 1, 44, false));
	CRASH_OP(c, pages(c, 0, 0, 2, 45, false));
	CRASH_OP(c, pages(c, 0, 0, 1, 46, true));
	return 0;
}

const struct crash_workload wl_db_ranges = {
	.name = "engine.ranges",
	.what = "long rows of which little changes: the log has what differs (D2c)",
	.media = CRASH_PAGE | CRASH_KILL,
	.share = SHARE_ENGINE,
	.quick = true,
	.kind = &ranges_kind,
	.setup = setup_ranges,
	.run = run_ranges,
	.show = db_show,
	.again = more_ranges};

/* The ring goes round a few times. */
static int run_ranges_laps(struct crash *c)
{
	for (int v = 1; v < 40; v++) {
		if (v % 6 == 5)
			LAZY(c, 1, 2, v);
		CRASH_OP(c, pages(c, 0, v % PAGES, 1, v, v % 7 == 3));
		if (v % 16 != 9)
			continue;
		LAZY(c, 0, 2, v);
		if (ahead(c))
			return -1;
	}
	return 0;
}

const struct crash_workload wl_db_ranges_laps = {
	.name = "engine.ranges_laps",
	.what = "the same, in laps of the ring, checkpoints beside commits",
	.media = CRASH_PAGE | CRASH_KILL,
	.share = SHARE_DEAR,
	.kind = &ranges_kind,
	.setup = setup_ranges,
	.run = run_ranges_laps,
	.show = db_show};
