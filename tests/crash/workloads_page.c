/* SPDX-License-Identifier: MIT
 * workloads_page.c -- commits on page media that are staged: lazy ones, and what makes them durable (D12)
 */
#include "workloads.h"
#include "log_ring.h"

#include <stdlib.h>
#include <string.h>

#include "../../engine/src/internal.h"
#include "../../engine/src/staging.h"

static struct twzdb_slice text(const char *s)
{
	return (struct twzdb_slice){s, strlen(s)};
}

static int row(struct twzdb_txn *txn, struct twzdb_table t, int i, int len, int v)
{
	uint8_t buf[512];
	char key[16];

	snprintf(key, sizeof(key), "k%04d", i);
	for (int n = 0; n < len; n++)
		buf[n] = (uint8_t)(n * 7 + v);
	return len < 0 ? twzdb_del(txn, t, text(key))
		       : twzdb_put(txn, t, text(key), (struct twzdb_slice){buf, (size_t)len}, 0);
}

/* One transaction: CNT rows from FROM on; LEN < 0 deletes. */
static int rows(struct crash *c, uint32_t flags, int from, int cnt, int len, int v)
{
	struct twzdb_txn *txn = NULL;
	struct twzdb_table t;
	int rc = twzdb_begin(c->db, flags, &txn);

	if (rc)
		return rc;
	rc = twzdb_table_open(txn, "t", TWZDB_TABLE_CREATE, &t);
	for (int i = 0; i < cnt && !rc; i++)
		rc = row(txn, t, from + i, len, v + i);
	if (!rc)
		return twzdb_commit(txn);
	twzdb_abort(txn);
	return rc;
}

/* Not promised to be durable, but to be there only with all before it. */
static int lazy(struct crash *c, int from, int cnt, int len, int v)
{
	int rc;

	crash_begin(c);
	rc = rows(c, TWZDB_LAZY, from, cnt, len, v);
	if (rc)
		return crash_failed(c, rc, "a lazy commit");
	return c->media == SIM_MEDIA_LINE ? crash_done(c) : crash_step(c);
}

#define LAZY(c, ...)                                                                               \
	do {                                                                                       \
		if (lazy((c), __VA_ARGS__))                                                        \
			return -1;                                                                 \
	} while (0)

static int setup_lazy(struct crash *c)
{
	CRASH_DO(c, rows(c, 0, 0, 20, 30, 1));
	return 0;
}

static int run_lazy(struct crash *c)
{
	LAZY(c, 3, 1, 40, 5);
	LAZY(c, 40, 1, 40, 6);
	LAZY(c, 3, 1, -1, 0);
	CRASH_OP(c, rows(c, 0, 4, 1, 50, 7)); /* and all before it */
	LAZY(c, 3, 1, 45, 8);
	LAZY(c, 50, 60, 90, 9); /* leaves split */
	LAZY(c, 60, 30, -1, 0); /* and merge */
	LAZY(c, 55, 1, 300, 10);
	CRASH_OP(c, twzdb_sync(c->db));
	LAZY(c, 4, 1, 33, 11);
	LAZY(c, 5, 3, 34, 12);
	CRASH_OP(c, twzdb_checkpoint(c->db));
	LAZY(c, 4, 1, 35, 13);
	LAZY(c, 55, 1, -1, 0);
	return 0;
}

/*
 * Somebody who goes on after a death reads before anything else: what is staged may be what the dead was
 * just applying.
 */
static int lazy_check(struct crash *c)
{
	int rc = c->read_only ? 0 : db_show(c);

	c->text_len = 0;
	return rc ? rc : db_check(c);
}

static const struct crash_kind lazy_kind = {db_open,   lazy_check, db_close, db_probe,
					    db_inside, true,	   db_settle};

const struct crash_workload wl_db_lazy = {.name = "engine.lazy",
					  .what = "lazy commits: some of the last may be missing",
					  .media = CRASH_ALL,
					  .share = SHARE_ENGINE,
					  .quick = true,
					  .kind = &lazy_kind,
					  .setup = setup_lazy,
					  .run = run_lazy,
					  .show = db_show};

/* --- checkpoints beside commits: the tail moves without the writer lock (D5) --- */

static int setup_ahead(struct crash *c)
{
	CRASH_DO(c, rows(c, 0, 0, 20, 30, 1));
	return 0;
}

int db_ahead(struct crash *c)
{
	return twz_log_checkpoint_ahead(((struct twzdb *)c->db)->log, NULL);
}

/* A ring in which checkpoints come beside commits, and not before them because it is half full. */
static int ahead_open(struct crash *c)
{
	db_log_len = 4 * DB_LOG_LEN;
	return db_open(c);
}

static const struct crash_kind ahead_kind = {ahead_open, db_check, db_close, db_probe,
					     db_inside,	 true,	   db_settle};

/* Homes are written back, the tail moves in the middle of a lap, and the ring goes round. */
static int run_ahead(struct crash *c)
{
	for (int i = 0; i < 24; i++) {
		if (i % 5 == 4)
			LAZY(c, 10 + i, 12, 200, i);
		CRASH_OP(c, rows(c, 0, i, 6, 300, i));
		if (i % 3 != 2)
			continue;
		/* What is staged meanwhile is in no home, and the tail stays before it. */
		LAZY(c, 2 + i, 3, 100, i);
		CRASH_DO(c, db_ahead(c));
	}
	return 0;
}

const struct crash_workload wl_db_ahead = {.name = "engine.ahead",
					   .what = "checkpoints without the writer lock",
					   .media = CRASH_PAGE | CRASH_KILL,
					   .share = SHARE_DEAR,
					   .kind = &ahead_kind,
					   .setup = setup_ahead,
					   .run = run_ahead,
					   .show = db_show};

/* --- the last data object grows before anybody wants the space (D11): what a helper thread does, between commits --- */

#define GROWN_ROWS 75 /* with these it is long enough to be kept longer than what is used of it */
#define GROWN_LEN  60000

static int long_rows(struct crash *c, int from, int cnt, int v)
{
	return db_rows(c, "b", from, cnt, 1, GROWN_LEN, v);
}

static int setup_spare(struct crash *c)
{
	for (int i = 0; i < GROWN_ROWS; i += 25)
		CRASH_DO(c, long_rows(c, i, 25, i));
	return 0;
}

static int grow_ahead(struct crash *c)
{
	struct twzdb *db = c->db;
	struct twz_obj *last = db->map[TWZDB_NO_DATA + twzdb__obj_cnt(db) - 1].obj;
	uint64_t was = twz_obj_len(last);

	twzdb__grow_ahead(db);
	return twz_obj_len(last) > was ? 0 : crash_why(c, "nothing has grown");
}

/* No state is another for it. What has grown is taken by the next commits, until there is need of more. */
static int run_spare(struct crash *c)
{
	CRASH_DO(c, grow_ahead(c));
	CRASH_OP(c, long_rows(c, 100, 3, 1));
	CRASH_OP(c, long_rows(c, 110, 30, 2));
	CRASH_DO(c, grow_ahead(c));
	CRASH_OP(c, long_rows(c, 140, 2, 3));
	return 0;
}

const struct crash_workload wl_db_spare = {.name = "engine.spare",
					   .what = "space made before it is wanted (D11)",
					   .media = CRASH_LINE | CRASH_PAGE,
					   .share = 1, /* a store of several MiB */
					   .kind = &db_kind,
					   .setup = setup_spare,
					   .run = run_spare,
					   .show = db_show};

/* --- two batches on their way, of which the first is torn (D19) --- */

static int help(struct crash *c)
{
	return twz_log_help(((struct twzdb *)c->db)->log);
}

struct beside {
	struct crash *c;
	int v, rc;
};

/*
 * While the first batch is being written: as many records as it has, which is when another batch goes beside it. That is
 * written whole, and synced.
 */
static int second_batch(struct crash *c, int v)
{
	LAZY(c, 3, 1, 44, v);
	LAZY(c, 70 + v % 3, 3, 250, v);
	CRASH_DO(c, help(c));
	return 0;
}

static void beside(void *ctx)
{
	struct beside *b = ctx;

	b->rc = second_batch(b->c, b->v);
}

/* Two lazy commits; what is staged then is written slowly. */
static int two_batches(struct crash *c, int v)
{
	uint64_t beside_len = twz__log_beside_len;
	struct beside b = {c, v + 1, -1};
	int rc;

	LAZY(c, 50, 3, 400, v);
	LAZY(c, 60, 2, 400, v);
	twz__log_beside_len = 0; /* so short ones would wait */
	sim_during_write(beside, &b);
	rc = help(c);
	twz__log_beside_len = beside_len;
	CRASH_DO(c, rc);
	return b.rc;
}

/* A ring in which neither a checkpoint nor its end comes in between: both wait until nothing is staged. */
static int batches_open(struct crash *c)
{
	db_log_len = 8 * DB_LOG_LEN;
	return db_open(c);
}

static const struct crash_kind batches_kind = {batches_open, lazy_check, db_close, db_probe,
					       db_inside,    true,	 db_settle};

/* Units for rows of all lengths: what needs another one waits until nothing is staged. */
static int setup_batches(struct crash *c)
{
	CRASH_DO(c, rows(c, 0, 0, 20, 44, 1));
	CRASH_DO(c, rows(c, 0, 50, 12, 400, 1));
	CRASH_DO(c, rows(c, 0, 70, 6, 250, 1));
	return 0;
}

static int run_batches(struct crash *c)
{
	for (int v = 0; v < 9; v += 3) {
		CRASH_DO(c, twzdb_checkpoint(c->db));
		if (two_batches(c, v))
			return -1;
		if (v != 3) /* the batches behind the others are durable with these */
			CRASH_OP(c, twzdb_sync(c->db));
	}
	CRASH_OP(c, rows(c, 0, 4, 1, 60, 7));
	return 0;
}

/* As long as what may have been dropped: its second batch lies behind these. */
static int more_batches(struct crash *c)
{
	CRASH_OP(c, rows(c, 0, 50, 5, 480, 20));
	CRASH_OP(c, rows(c, 0, 50, 5, 490, 21));
	return 0;
}

const struct crash_workload wl_db_batches = {
	.name = "engine.batches",
	.what = "two batches of commits on their way, the first torn (D19)",
	.media = CRASH_PAGE | CRASH_KILL,
	.share = SHARE_DEAR,
	.second = 16,
	.kind = &batches_kind,
	.setup = setup_batches,
	.run = run_batches,
	.show = db_show,
	.again = more_batches};
