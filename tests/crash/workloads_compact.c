/* SPDX-License-Identifier: MIT
 * workloads_compact.c -- a database is made smaller: rows, fences and nodes move, and nothing that can be seen changes
 */
#include "workloads.h"

#include "twzdb.h"

#define ROWS 4500 /* more than a unit of nodes, and several of rows */

/* One row in four is left, in all units. */
static int setup_compact(struct crash *c)
{
	for (int i = 0; i < ROWS; i += 900)
		CRASH_DO(c, db_rows(c, "t", i, 900, 1, 8, i));
	for (int i = 1; i < 4; i++)
		CRASH_DO(c, db_rows(c, "t", i, ROWS / 4, 4, -1, 0));
	CRASH_DO(c, db_rows(c, "u", 0, 10, 1, 300, 1));
	CRASH_DO(c, twzdb_checkpoint(c->db));
	return 0;
}

static int compact(struct crash *c, uint64_t least)
{
	struct twzdb_compacted did = {.size = sizeof(did)};
	int rc = twzdb_compact(c->db, NULL, &did);

	if (!rc && (did.rows < least || did.nodes < least / 20))
		return crash_why(c, "%llu rows and %llu nodes moved, at least %llu should have",
				 (unsigned long long)did.rows, (unsigned long long)did.nodes,
				 (unsigned long long)least);
	return rc;
}

static int run_compact(struct crash *c)
{
	CRASH_OP(c, compact(c, 100));
	CRASH_OP(c, db_rows(c, "t", 2, 3, 1, 30, 1));
	CRASH_OP(c, compact(c, 0));
	return 0;
}

const struct crash_workload wl_db_compact = {.name = "engine.compact",
					     .what = "a database in use is made smaller",
					     .media = CRASH_ALL,
					     .share = SHARE_LARGE,
					     .kind = &db_kind,
					     .setup = setup_compact,
					     .run = run_compact,
					     .show = db_show};
