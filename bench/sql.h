/* SPDX-License-Identifier: MIT
 * sql.h -- twzbench sql: databases that take part, and its parts
 */
#ifndef TWZ_BENCH_SQL_H
#define TWZ_BENCH_SQL_H

#include <sqlite3.h>

#include "bench.h"

struct sql_kind {
	const char *name, *what;
	const char *vfs; /* NULL: SQLite's own */
	bool native, memory;
};

extern const struct sql_kind sql_kinds[];
#define SQL_KINDS 5

/* A connection to a new database at DIR/FILE, synchronous=FULL; NULL after it said why not. */
sqlite3 *sql_open(const struct sql_kind *k, const char *dir, const char *file);
int sql_failed(sqlite3 *db, const char *who, const char *what);
/* Nanoseconds of what is measured: of this thread's processor, on page media of the clock. */
uint64_t sql_now(bool page);

/* sql_ycsb.c, sql_queries.c, sql_writers.c: 0, or DRV_FAIL after they said what is wrong. */
int sql_ycsb(const struct bench_opt *opt, const char *dir);
int sql_queries(const struct bench_opt *opt, const char *dir);
int sql_writers(const struct bench_opt *opt, const char *dir);

#endif
