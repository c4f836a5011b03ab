/* SPDX-License-Identifier: MIT
 * workloads_load.c -- commits of rows in order behind the last one, by the call for many
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

static int run_append(struct crash *c)
{
	CRASH_OP(c, append(c, 0, 70, 16));
	CRASH_OP(c, append(c, 100, 40, 16));
	CRASH_OP(c, db_rows(c, "t", 3, 2, 1, 30, 1));
	CRASH_OP(c, append(c, 200, 90, 40));
	CRASH_OP(c, append(c, 300, 3, 40));
	CRASH_OP(c, append(c, 310, 33, 100));
	return 0;
}

const struct crash_workload wl_db_append = {
	.name = "engine.append",
	.what = "rows in order behind the last one, many at once",
	.media = CRASH_ALL,
	.quick = true,
	.share = 72,
	.kind = &db_kind,
	.run = run_append,
	.show = db_show};
