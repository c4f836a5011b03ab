/* SPDX-License-Identifier: MIT
 * workloads_page.c -- commits on page media that are staged: lazy ones, and what makes them durable (D12)
 */
#include "workloads.h"

#include <stdlib.h>
#include <string.h>

#include "../../engine/src/internal.h"

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

const struct crash_workload wl_db_lazy = {.name = "engine.lazy",
					  .what = "lazy commits: some of the last may be missing",
					  .media = CRASH_ALL,
					  .share = 72,
					  .quick = true,
					  .kind = &db_kind,
					  .setup = setup_lazy,
					  .run = run_lazy,
					  .show = db_show};

/* --- checkpoints beside commits: the tail moves without the writer lock (D5) --- */

static int setup_ahead(struct crash *c)
{
	CRASH_DO(c, rows(c, 0, 0, 20, 30, 1));
	return 0;
}

static int ahead(struct crash *c)
{
	return twz_log_checkpoint_ahead(((struct twzdb *)c->db)->log, NULL);
}

/* Homes are written back, the tail moves in the middle of a lap, and the ring goes round. */
static int run_ahead(struct crash *c)
{
	for (int i = 0; i < 24; i++) {
		if (i % 5 == 4)
			LAZY(c, 10 + i, 12, 200, i);
		CRASH_OP(c, rows(c, 0, i, 6, 300, i));
		if (i % 3 == 2)
			CRASH_OP(c, ahead(c));
	}
	return 0;
}

const struct crash_workload wl_db_ahead = {.name = "engine.ahead",
					   .what = "checkpoints without the writer lock",
					   .media = CRASH_PAGE | CRASH_KILL,
					   .kind = &db_kind,
					   .setup = setup_ahead,
					   .run = run_ahead,
					   .show = db_show};
