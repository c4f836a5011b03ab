/* SPDX-License-Identifier: MIT
 * kind_sql.h -- SQLite databases on the VFS "twz", for the workloads_sql*.c
 */
#ifndef CRASH_KIND_SQL_H
#define CRASH_KIND_SQL_H

#include <sqlite3.h>

#include "workloads.h"

#define SQL_OTHERS 2

/*
 * How the databases of a workload are made and opened. The main one is database "main" of the store; the others are attached
 * as "two" and "three", and lie in the same store (?db=two, ?db=three).
 */
struct sql_kind {
	struct crash_kind kind; /* must be first */
	const char *pragmas;	/* before the first table; NULL: pages of 1 KiB */
	const char *uri;	/* parameters while it is recorded, beginning with '&' */
	int others;
	bool apart; /* "two" lies in a store of its own (crash_workload.pair) */
};

int sql_open(struct crash *c);
int sql_check(struct crash *c);
int sql_close(struct crash *c);
int sql_probe(struct crash *c);
int sql_settle(struct crash *c);
uint64_t sql_inside(struct crash *c);

/* READS: may be opened to be read only first. Not where one database may wait for another's decision: who only reads asks nobody. */
#define SQL_KIND(reads_, ...)                                                                      \
	{                                                                                          \
		.kind =                                                                            \
			{                                                                          \
				sql_open,   sql_check, sql_close, sql_probe,                       \
				sql_inside, reads_,    sql_settle},                                \
		__VA_ARGS__                                                                        \
	}

extern const struct sql_kind sql_kind_one, sql_kind_pair, sql_kind_three, sql_kind_apart;

sqlite3 *sql_of(struct crash *c);
int sql_exec(struct crash *c, const char *sql);
/* It must fail with RC, an extended code; what is left of it is the state's business. */
int sql_fails(struct crash *c, const char *sql, int rc);
/* The first column of all rows, one a line. */
int sql_say(struct crash *c, const char *sql);
/* Schema, page size and the rows of tables a and b of all databases. */
int sql_show(struct crash *c);
/* Also the rows of native tables, which have `text` and `num`. */
int sql_show_native(struct crash *c);
int sql_rows(struct crash *c); /* setup: 20 rows in table a */

#define SQL_WL(var, id, text_, share_, kind_, setup_, run_, again_, show_, ...)                    \
	const struct crash_workload var = {.name = id,                                             \
					   .what = text_,                                          \
					   .media = CRASH_ALL,                                     \
					   .share = share_,                                        \
					   .kind = &(kind_).kind,                                  \
					   .setup = setup_,                                        \
					   .run = run_,                                            \
					   .again = again_,                                        \
					   .show = show_,                                          \
					   __VA_ARGS__}

#endif
