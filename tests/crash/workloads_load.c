/* SPDX-License-Identifier: MIT
 * workloads_load.c -- a database is made; rows in order behind the last one, by the call for many; rows in the room of others
 */
#include "workloads.h"

#include <string.h>

#include "twzdb.h"

#define ROWS_MAX 400

/* One transaction: CNT rows of LEN bytes from FROM on, half of them by one call, then the rest. */
static int append(struct crash *c, int from, int cnt, int len)
{
	static char key[ROWS_MAX][16], value[3000];
	struct twzdb_slice keys[ROWS_MAX], values[ROWS_MAX];
	struct twzdb_txn *txn = NULL;
	struct twzdb_table t;
	int rc = twzdb_begin(c->db, 0, &txn), half = cnt / 2;

	if (rc)
		return rc;
	for (int i = 0; i < cnt; i++) {
		snprintf(key[i], sizeof(key[i]), "row%06d", from + i);
		keys[i] = (struct twzdb_slice){key[i], strlen(key[i])};
		values[i] = (struct twzdb_slice){value, (size_t)(len + i % 3)};
	}
	memset(value, from & 0x7f, sizeof(value));
	rc = twzdb_table_open(txn, "t", TWZDB_TABLE_CREATE, &t);
	if (!rc)
		rc = twzdb_put_many(txn, t, (size_t)half, keys, values, TWZDB_APPEND, NULL);
	if (!rc)
		rc = twzdb_put_many(txn, t, (size_t)(cnt - half), keys + half, values + half, 0,
				    NULL);
	if (!rc)
		return twzdb_commit(txn);
	twzdb_abort(txn);
	return rc;
}

/* Rows that are put and changed by one transaction: one deleted, one longer, one again behind a savepoint. */
static int append_and_change(struct crash *c, int from, int cnt)
{
	static char key[ROWS_MAX][16], value[64];
	struct twzdb_slice keys[ROWS_MAX], values[ROWS_MAX];
	struct twzdb_txn *txn = NULL;
	struct twzdb_table t;
	uint32_t id;
	int rc = twzdb_begin(c->db, 0, &txn);

	if (rc)
		return rc;
	for (int i = 0; i < cnt; i++) {
		snprintf(key[i], sizeof(key[i]), "row%06d", from + i);
		keys[i] = (struct twzdb_slice){key[i], strlen(key[i])};
		values[i] = (struct twzdb_slice){value, 16};
	}
	memset(value, from & 0x7f, sizeof(value));
	rc = twzdb_table_open(txn, "t", TWZDB_TABLE_CREATE, &t);
	if (!rc)
		rc = twzdb_put_many(txn, t, (size_t)cnt, keys, values, TWZDB_APPEND, NULL);
	if (!rc)
		rc = twzdb_del(txn, t, keys[1]);
	if (!rc)
		rc = twzdb_put(txn, t, keys[2], (struct twzdb_slice){value, 60}, 0);
	if (!rc)
		rc = twzdb_savepoint(txn, &id);
	if (!rc)
		rc = twzdb_put(txn, t, keys[3], (struct twzdb_slice){value, 15}, 0);
	if (!rc)
		return twzdb_commit(txn);
	twzdb_abort(txn);
	return rc;
}

static int run_append(struct crash *c)
{
	CRASH_OP(c, append(c, 0, 70, 16));
	CRASH_OP(c, append(c, 100, 40, 16));
	CRASH_OP(c, db_rows(c, "t", 3, 2, 1, 30, 1));
	CRASH_OP(c, append(c, 200, 90, 40));
	CRASH_OP(c, append(c, 300, 3, 40));
	CRASH_OP(c, append(c, 310, 33, 100));
	CRASH_OP(c, append_and_change(c, 350, 12));
	CRASH_OP(c, append(c, 400, 8, 3));
	return 0;
}

const struct crash_workload wl_db_append = {
	.name = "engine.append",
	.what = "rows in order behind the last one, many at once",
	.media = CRASH_ALL,
	.quick = true,
	.share = SHARE_ENGINE,
	.kind = &db_kind,
	.run = run_append,
	.show = db_show};

/* So few stores that a death at each can be tried: an heir makes the rows of a run durable with the record that names them (D13). */
static int setup_append_few(struct crash *c)
{
	CRASH_DO(c, append(c, 0, 4, 16));
	return 0;
}

static int run_append_few(struct crash *c)
{
	CRASH_OP(c, append(c, 100, 6, 16));
	return 0;
}

const struct crash_workload wl_db_append_few = {.name = "engine.append_few",
						.what = "the same, few stores",
						.media = CRASH_ALL,
						.share = 30,
						.kind = &db_kind,
						.setup = setup_append_few,
						.run = run_append_few,
						.show = db_show};

/* Long rows: of each a few lines must be flushed before the log may forget them, and each of these (D5). */
static int run_append_long(struct crash *c)
{
	CRASH_OP(c, append(c, 100, 9, 300));
	CRASH_DO(c, twzdb_checkpoint(c->db));
	CRASH_OP(c, append(c, 200, 9, 300));
	CRASH_DO(c, twzdb_checkpoint(c->db));
	CRASH_OP(c, append(c, 300, 3, 300));
	return 0;
}

const struct crash_workload wl_db_append_long = {.name = "engine.append_long",
						 .what = "long ones, and checkpoints",
						 .media = CRASH_ALL,
						 .share = 30,
						 .kind = &db_kind,
						 .setup = setup_append_few,
						 .run = run_append_long,
						 .show = db_show};

/* So many bytes in one transaction that on page media they are synced where they lie, and no record has them (D2d). */
static int run_append_large(struct crash *c)
{
	CRASH_OP(c, append(c, 0, 40, 1900));
	return 0;
}

const struct crash_workload wl_db_append_large = {.name = "engine.append_large",
						  .what = "the same, too many for a log record",
						  .media = CRASH_LINE | CRASH_PAGE,
						  .share = SHARE_LARGE,
						  .kind = &db_kind,
						  .run = run_append_large,
						  .show = db_show};

/*
 * Rows with long keys in the room of short rows, which said of themselves how long they were: that must not be believed.
 * Of the same length, so that the same blocks are found: one that is carried in the record on page media, one that is not.
 */
static int setup_room(struct crash *c)
{
	CRASH_DO(c, db_rows(c, "t", 0, 10, 2, 30, 1));
	CRASH_DO(c, db_rows(c, "t", 60, 3, 1, 1118, 8));
	CRASH_DO(c, db_rows(c, "t", 63, 1, 1, 70028, 8));
	CRASH_DO(c, db_rows(c, "t", 60, 4, 1, -1, 0));
	CRASH_DO(c, twzdb_checkpoint(c->db)); /* looks for who reads: what died may be used again */
	return 0;
}

static int run_room(struct crash *c)
{
	CRASH_OP(c, db_rows(c, "t", LONG_KEY + 1, 2, 1, 10, 7));
	CRASH_OP(c, db_rows(c, "t", LONG_KEY + 902, 1, 1, 20, 7));
	return 0;
}

const struct crash_workload wl_db_room = {.name = "engine.room",
					  .what = "rows with long keys where short rows were",
					  .media = CRASH_LINE | CRASH_PAGE,
					  .share = SHARE_LARGE,
					  .kind = &db_kind,
					  .setup = setup_room,
					  .run = run_room,
					  .show = db_show};

/* --- a database comes into being in a store --- */

static int create_open(struct crash *c)
{
	int rc;

	c->user[0] = c; /* NULL: there was no database */
	if (!c->recovering) {
		CRASH_DO(c, twz_kind_open(c));
		return twz_kind_close(c);
	}
	rc = db_open_flags(c, 0);
	if (rc == TWZDB_E_NOTFOUND) {
		c->user[0] = NULL;
		rc = db_open_flags(c, TWZDB_CREATE); /* over whatever was left behind */
	}
	CRASH_DO(c, rc);
	return 0;
}

static int create_check(struct crash *c)
{
	return c->db ? db_check(c) : 0;
}

static int create_close(struct crash *c)
{
	return c->db ? db_close(c) : 0;
}

static int create_show(struct crash *c)
{
	if (!c->db || !c->user[0]) {
		crash_say(c, "no database\n");
		return 0;
	}
	crash_say(c, "database\n");
	return db_show(c);
}

static const struct crash_kind create_kind = {create_open, create_check, create_close};

static int run_create(struct crash *c)
{
	CRASH_OP(c, db_open_flags(c, TWZDB_CREATE));
	return 0;
}

const struct crash_workload wl_db_create = {
	.name = "engine.create",
	.what = "a database comes into being in a store, or does not",
	.media = CRASH_LINE | CRASH_PAGE,
	.share = SHARE_ENGINE,
	.once = true,
	.kind = &create_kind,
	.run = run_create,
	.show = create_show};
