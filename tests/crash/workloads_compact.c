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

/* --- values with units of their own --- */

#define UNIT (64 << 10)
#define ROOM 10 /* units free in a row: for all that moves, and for what a full store keeps back */
#define TAIL 16 /* units of each of the three that were last: so many that a hole is made of them */

/* No row but large ones: free units, two values that find room there, and free ones behind them. */
static int setup_compact_large(struct crash *c)
{
	CRASH_DO(c, db_rows(c, "t", 0, 1, 1, ROOM * UNIT - 1000, 1));
	CRASH_DO(c, db_rows(c, "t", 1, 1, 1, 2 * UNIT - 1000, 2));
	CRASH_DO(c, db_rows(c, "t", 2, 1, 1, 3 * UNIT - 1000, 3));
	for (int i = 0; i < 3; i++)
		CRASH_DO(c, db_rows(c, "t", 3 + i, 1, 1, TAIL * UNIT - 1000, i));
	CRASH_DO(c, db_rows(c, "t", 0, 1, 1, -1, 0));
	CRASH_DO(c, db_rows(c, "t", 3, 3, 1, -1, 0));
	CRASH_DO(c, twzdb_checkpoint(c->db));
	return 0;
}

/* The name of the table is a row, too: of two that moved one was large. */
static int compact_large(struct crash *c)
{
	struct twzdb_compacted did = {.size = sizeof(did)};
	int rc = twzdb_compact(c->db, NULL, &did);

	if (!rc && (did.rows < 2 || !did.given_len))
		return crash_why(c, "%llu rows moved, %llu bytes went back: no large value did",
				 (unsigned long long)did.rows, (unsigned long long)did.given_len);
	return rc;
}

static int run_compact_large(struct crash *c)
{
	CRASH_OP(c, compact_large(c));
	CRASH_OP(c,
		 db_rows(c, "t", 2, 1, 1, 2 * UNIT, 1)); /* in what is left, or in what went back */
	return 0;
}

const struct crash_workload wl_db_compact_large = {
	.name = "engine.compact_large",
	.what = "the same, of values that have units of their own",
	.media = CRASH_ALL,
	.share = SHARE_LARGE,
	.kind = &db_kind,
	.setup = setup_compact_large,
	.run = run_compact_large,
	.show = db_show};
