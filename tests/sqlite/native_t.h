/* SPDX-License-Identifier: MIT
 * native_t.h -- what the tests of native tables share
 */
#ifndef NATIVE_T_H
#define NATIVE_T_H

#include "t.h"

#include <sqlite3.h>
#include <stdarg.h>

#include "twzdb.h"
#include "twzvfs.h"

/* A path in shared memory where there is no store yet. */
static inline const char *t_fresh(const char *name)
{
	const char *p = t_path(t_shm_dir(), name);
	char lock[600];

	unlink(p);
	snprintf(lock, sizeof(lock), "%s-lock", p);
	unlink(lock);
	return p;
}

static inline sqlite3 *t_open(const char *path)
{
	sqlite3 *db = NULL;
	int rc = sqlite3_open_v2(
		path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI, "twz");

	if (rc) {
		fprintf(stderr, "open %s: %s\n", path, sqlite3_errmsg(db));
		exit(1);
	}
	return db;
}

static inline sqlite3 *t_plain(void)
{
	sqlite3 *db = NULL;

	if (sqlite3_open(":memory:", &db))
		exit(1);
	return db;
}

static inline void t_must(sqlite3 *db, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static inline void t_must(sqlite3 *db, const char *fmt, ...)
{
	char *sql;
	va_list ap;
	int rc;

	va_start(ap, fmt);
	if (vasprintf(&sql, fmt, ap) < 0)
		exit(1);
	va_end(ap);
	rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
	if (!T_EQ(rc, SQLITE_OK))
		fprintf(stderr, "  %s: %s\n", sql, sqlite3_errmsg(db));
	free(sql);
}

/* The first value of the first row, as text; valid until the next but seven calls. */
static inline const char *t_text(sqlite3 *db, const char *sql)
{
	static char buf[8][4096];
	static unsigned at;
	char *b = buf[at++ % 8];
	sqlite3_stmt *st = NULL;

	snprintf(b, sizeof(buf[0]), "(nothing)");
	if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK &&
	    sqlite3_step(st) == SQLITE_ROW) {
		const char *s = (const char *)sqlite3_column_text(st, 0);

		snprintf(b, sizeof(buf[0]), "%s", s ? s : "(null)");
	} else {
		fprintf(stderr, "  %s: %s\n", sql, sqlite3_errmsg(db));
	}
	sqlite3_finalize(st);
	return b;
}

static inline long long t_num(sqlite3 *db, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static inline long long t_num(sqlite3 *db, const char *fmt, ...)
{
	char sql[1000];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(sql, sizeof(sql), fmt, ap);
	va_end(ap);
	return atoll(t_text(db, sql));
}

/* To be freed. */
static inline char *t_plan(sqlite3 *db, const char *sql)
{
	char *q = sqlite3_mprintf("EXPLAIN QUERY PLAN %s", sql), *out = strdup("");
	sqlite3_stmt *st = NULL;

	if (sqlite3_prepare_v2(db, q, -1, &st, NULL) == SQLITE_OK)
		while (sqlite3_step(st) == SQLITE_ROW) {
			char *more;

			if (asprintf(&more, "%s%s; ", out,
				     (const char *)sqlite3_column_text(st, 3)) < 0)
				exit(1);
			free(out);
			out = more;
		}
	sqlite3_finalize(st);
	sqlite3_free(q);
	return out;
}

#endif
