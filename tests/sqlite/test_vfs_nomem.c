/* SPDX-License-Identifier: MIT
 * test_vfs_nomem.c -- malloc fails, the nth call of a program, for every n: the VFS, native tables, and the engine under them
 * (docs/promises.md, line 10)
 *
 * What fails is what the VFS asks SQLite for, and what the engine and libtwz ask the C library for; SQLite's own memory is SQLite's. Of all
 * that the program does, at most one statement is told so; its transaction can be rolled back, and all others have happened.
 */
#include "nomem.h"
#include "t.h"

#include <sqlite3.h>

#include "twzdb.h"
#include "twzvfs.h"

/* --- SQLite's allocator, as the VFS calls it --- */

NOMEM(sqlite3_malloc64, (sqlite3_uint64 len), (len))
NOMEM(sqlite3_realloc64, (void *p, sqlite3_uint64 len), (p, len))

char *__wrap_sqlite3_mprintf(const char *fmt, ...);
char *__wrap_sqlite3_mprintf(const char *fmt, ...)
{
	char *out;
	va_list ap;

	if (nomem_now())
		return NULL;
	va_start(ap, fmt);
	out = sqlite3_vmprintf(fmt, ap);
	va_end(ap);
	return out;
}

/* --- the program --- */

static char main_uri[600], other_uri[600];

static int open_pair(sqlite3 **db)
{
	char sql[700];
	int rc = sqlite3_open_v2(
		main_uri, db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI, "twz");

	snprintf(sql, sizeof(sql), "pragma cache_size = 4; attach '%s' as o", other_uri);
	return rc ? rc : sqlite3_exec(*db, sql, NULL, NULL, NULL);
}

/* Each changes one column of one row of `v`, in the transaction that does the rest; $ is the version. */
static const struct step {
	const char *name, *sql;
} steps[] = {
	{"pages", "begin; update t set x = randomblob(300), v = $; savepoint s;"
		  "delete from t; rollback to s; update v set pages = $; commit"},
	{"native",
	 "begin; update n set b = $, c = randomblob(200); savepoint s;"
	 "delete from n where a < 20; rollback to s; delete from n where a = 30;"
	 "insert into n select 30, b, 'again', d from n where a = 31; update v set native = $; commit"},
	{"both", "begin; update t set w = $; update n set d = $; update v set both = $; commit"},
	{"schema",
	 "begin; drop table if exists made; create table made(x); create index made_x on made(x);"
	 "insert into made values($); update v set schema = $; commit"},
	{"pair", "begin; update v set pair = $; update o.t set v = $; commit"},
	{"large", "insert or replace into big values(1, zeroblob(300000), $)"},
};
#define STEPS (sizeof(steps) / sizeof(steps[0]))

/* The version a step has come to, or -1: what it changes is not all of one. */
static const char *const looks[STEPS] = {
	"select iif(min(t.v) = max(t.v) and min(t.v) = pages and count(*) = 60, pages, -1) from t, v",
	"select iif(min(b) = max(b) and min(b) = native and count(*) = 60, native, -1) from n, v",
	"select iif(min(w) = max(w) and min(d) = max(d) and min(w) = min(d) and min(w) = both, both, -1)"
	" from t, n, v",
	"select iif(max(x) = schema and count(*) = 1, schema, -1) from made, v",
	"select iif(min(o.t.v) = max(o.t.v) and min(o.t.v) = pair, pair, -1) from o.t, v",
	"select iif(length(x) = 300000, v, -1) from big",
};

static sqlite3_int64 num(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *st = NULL;
	sqlite3_int64 v = -999;

	if (!sqlite3_prepare_v2(db, sql, -1, &st, NULL) && sqlite3_step(st) == SQLITE_ROW)
		v = sqlite3_column_int64(st, 0);
	else
		fprintf(stderr, "  %s: %s\n", sql, sqlite3_errmsg(db));
	sqlite3_finalize(st);
	return v;
}

static void is_at(sqlite3 *db, size_t k, sqlite3_int64 want)
{
	if (!T_EQ(num(db, looks[k]), want))
		fprintf(stderr, "  allocation %llu: '%s'\n", (unsigned long long)nomem_calls,
			steps[k].name);
}

static void with_version(char *out, const char *sql, int v)
{
	for (; *sql; sql++)
		if (*sql == '$')
			out += sprintf(out, "%d", v);
		else
			*out++ = *sql;
	*out = 0;
}

/* Returns how often it was told an error. */
static int program(int v, int done[STEPS])
{
	sqlite3 *db = NULL;
	int told = open_pair(&db) != 0;

	for (int i = v; i <= v + 1 && !told; i++)
		for (size_t k = 0; k < STEPS; k++) {
			char sql[600];
			int rc;

			with_version(sql, steps[k].sql, i);
			rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
			if (!rc) {
				done[k] = i;
				continue;
			}
			told++;
			if (!sqlite3_get_autocommit(db))
				T_EQ(sqlite3_exec(db, "rollback", NULL, NULL, NULL), SQLITE_OK);
			is_at(db, k, done[k]);
		}
	return told + (sqlite3_close(db) != SQLITE_OK);
}

static void setup(void)
{
	sqlite3 *db = NULL;

	T_EQ(open_pair(&db), SQLITE_OK);
	T_EQ(sqlite3_exec(
		     db,
		     "create table v(pages, native, both, schema, pair);"
		     "insert into v values(0, 0, 0, 0, 0);"
		     "create table t(x, v, w); create index t_x on t(x);"
		     "create virtual table n using twz(a integer primary key, b, c, d, index nc(c));"
		     "create table big(i integer primary key, x, v); create table o.t(v);"
		     "with k(i) as (select 1 union all select i + 1 from k where i < 60)"
		     "insert into t select randomblob(300), 0, 0 from k;"
		     "insert into n select rowid, 0, randomblob(200), 0 from t;"
		     "insert into o.t select 0 from t",
		     NULL, NULL, NULL),
	     SQLITE_OK);
	T_EQ(sqlite3_close(db), SQLITE_OK);
}

static void look(const int done[STEPS])
{
	sqlite3 *db = NULL;

	T_EQ(open_pair(&db), SQLITE_OK);
	for (size_t k = 0; k < STEPS; k++)
		is_at(db, k, done[k]);
	T_EQ(num(db, "select count(*) from pragma_integrity_check where integrity_check <> 'ok'"),
	     0);
	T_EQ(sqlite3_close(db), SQLITE_OK);
}

static void sweep(bool line)
{
	const char *dir = line ? t_shm_dir() : t_dir();
	int v = 1, done[STEPS] = {0};
	uint64_t failed = 0, last = 0, programs = 0;

	if (line)
		setenv("PMEM2_FORCE_GRANULARITY", "CACHE_LINE", 1);
	else
		unsetenv("PMEM2_FORCE_GRANULARITY");
	snprintf(main_uri, sizeof(main_uri), "file:%s", t_path(dir, "nomem.twz"));
	snprintf(other_uri, sizeof(other_uri), "file:%s?vfs=twz", t_path(dir, "other.twz"));
	setup();
	T_EQ(program(v, done), 0);
	for (uint64_t n = 1; n; n = nomem_next(n)) {
		int told;

		v += 2;
		nomem_fail(n);
		told = program(v, done);
		nomem_fail(0);
		failed += told != 0;
		if (!T_TRUE(told <= 1))
			fprintf(stderr, "  allocation %llu: %d errors\n", (unsigned long long)n,
				told);
		if (nomem_calls >= n)
			look(done);
		last = n;
		programs++;
	}
	printf("  %llu allocations, in %llu programs, of which %llu were told\n",
	       (unsigned long long)last - 1, (unsigned long long)programs,
	       (unsigned long long)failed);
	T_TRUE(failed > 20);
}

static void every_allocation_fails_once_page(void)
{
	sweep(false);
}

static void every_allocation_fails_once_line(void)
{
	sweep(true);
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {T_CASE(every_allocation_fails_once_page),
					      T_CASE(every_allocation_fails_once_line), T_END};

	setenv("TWZDB_HELPER", "0", 1); /* so that the same calls come in the same order */
	if (twzvfs_register(0))
		return 1;
	return t_main("vfs_nomem", cases, argc, argv);
}
