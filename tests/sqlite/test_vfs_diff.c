/* SPDX-License-Identifier: MIT
 * test_vfs_diff.c -- random SQL on the VFS twz and on SQLite's own: equal answers, also after SIGKILL
 *
 * Two connections, the same library, the same statements: one database is a store, the other a plain file. Result
 * codes, messages, all rows in their order, numbers of changes, and PRAGMA integrity_check must be the same.
 *
 * Statements come in units. What unit N does follows from SEED and N alone; it notes N in the database, in the
 * transaction it is. So a process can be killed at any moment: the next one reads how far each database has come,
 * gives the one that lacks a unit that unit, and goes on.
 *
 * SEED, and UNITS or KILLS (how many) come from the environment.
 */
#include "t.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <sys/wait.h>

#include "twzdb.h"
#include "twzvfs.h"

enum side { TWZ, STOCK, SIDES };

struct out {
	char *s;
	size_t len, cap;
	int rc;
	sqlite3_int64 changes, rowid;
};

static sqlite3 *db[SIDES], *other[SIDES];
static struct out out[SIDES];
static char sql[8192], dir[300];
static uint64_t seed, unit, rnd, statements;
static bool contended; /* in this unit: who was refused waits in a queue, which takes time */
static bool atomic;    /* a unit is one transaction, or may be done twice */

/* --- random pieces, all of (SEED, unit) --- */

static uint64_t below(uint64_t n)
{
	rnd ^= rnd >> 12;
	rnd ^= rnd << 25;
	rnd ^= rnd >> 27;
	return (rnd * 0x2545f4914f6cdd1dULL >> 33) % n;
}

static void begin_unit(uint64_t n)
{
	unit = n;
	contended = false;
	rnd = (seed * 0x2545f4914f6cdd1dULL ^ n * 0x9e3779b97f4a7c15ULL) | 1;
	for (int i = 0; i < 4; i++)
		below(2);
}

#define PICK(list) ((list)[below(sizeof(list) / sizeof((list)[0]))])

static void add(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void add(const char *fmt, ...)
{
	size_t n = strlen(sql);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(sql + n, sizeof(sql) - n, fmt, ap);
	va_end(ap);
}

/* SQL with a few holes: %T table, %C column, %V value, %N small number, %X index or trigger name, %W condition, %O "OR ..." */
static void grow(const char *pattern);

static void hole(char c)
{
	static const char *const table[] = {"t0", "t0", "t1", "t1",	"t2",
					    "t3", "t4", "v0", "aux.a0", "temp.m0"};
	static const char *const column[] = {"k", "a", "b", "c", "a", "b", "c", "d"};
	static const char *const value[] = {"NULL",
					    "''",
					    "'abc'",
					    "'ABC'",
					    "x'00ff'",
					    "2.5",
					    "-1",
					    "1e300",
					    "'7'",
					    "' 7'",
					    "'a''b'",
					    "zeroblob(5000)",
					    "hex(zeroblob(700))",
					    "4611686018427387904",
					    "'{\"a\":[1,2,{\"b\":3}],\"c\":null}'",
					    "x''"};
	static const char *const where[] = {"%C=%V",
					    "%C>%V",
					    "%C BETWEEN %V AND %V",
					    "%C IS NULL",
					    "%C LIKE 'a%%'",
					    "%C IN(%V,%V,%V)",
					    "k=%N",
					    "k<%N",
					    "%C=%V AND %C<>%V",
					    "(%C>%V OR k=%N)",
					    "length(%C)>3",
					    "EXISTS(SELECT 1 FROM t1 WHERE t1.k=%N)",
					    "%C COLLATE backwards > 'b'"};
	static const char *const or_what[] = {"",	    "",	       "",	  "OR IGNORE",
					      "OR REPLACE", "OR FAIL", "OR ABORT"};

	switch (c) {
	case 'T':
		add("%s", PICK(table));
		return;
	case 'C':
		add("%s", PICK(column));
		return;
	case 'V':
		if (below(3))
			add(below(2) ? "%d" : "'v%d'", (int)below(60));
		else
			add("%s", PICK(value));
		return;
	case 'N':
		add("%d", (int)below(80));
		return;
	case 'X':
		add("x%d", (int)below(8));
		return;
	case 'W':
		grow(PICK(where));
		return;
	case 'O':
		add("%s", below(12) || atomic ? PICK(or_what) : "OR ROLLBACK");
		return;
	default:
		add("%c", c);
	}
}

static void grow(const char *p)
{
	for (; *p; p++) {
		if (*p == '%')
			hole(*++p);
		else
			add("%c", *p);
	}
}

/* --- running --- */

static void say(struct out *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct out *o, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (o->cap - o->len < 4096) {
		o->cap = 2 * o->cap + 16384;
		o->s = realloc(o->s, o->cap);
		if (!o->s)
			exit(1);
	}
	va_start(ap, fmt);
	n = vsnprintf(o->s + o->len, o->cap - o->len, fmt, ap);
	va_end(ap);
	o->len += (size_t)n < o->cap - o->len ? (size_t)n : 0;
}

/* A value, whole: FNV of its bytes beside what can be read. */
static void say_value(struct out *o, sqlite3_stmt *st, int i)
{
	const unsigned char *p = sqlite3_column_blob(st, i);
	int n = sqlite3_column_bytes(st, i);
	uint32_t h = 2166136261u;

	for (int k = 0; k < n; k++)
		h = (h ^ p[k]) * 16777619u;
	say(o, "%d:%d:%08x:%.40s|", sqlite3_column_type(st, i), n, h,
	    p && sqlite3_column_type(st, i) != SQLITE_BLOB
		    ? (const char *)sqlite3_column_text(st, i)
		    : "");
}

static void run(sqlite3 *d, struct out *o, const char *text)
{
	const char *rest = text;
	sqlite3_stmt *st = NULL;

	o->len = 0;
	say(o, "%s", "");
	o->s[0] = 0;
	do {
		o->rc = sqlite3_prepare_v2(d, rest, -1, &st, &rest);
		while (!o->rc && st && (o->rc = sqlite3_step(st)) == SQLITE_ROW) {
			for (int i = 0; i < sqlite3_column_count(st); i++)
				say_value(o, st, i);
			say(o, "\n");
			o->rc = 0;
		}
		o->rc = o->rc == SQLITE_DONE ? 0 : o->rc;
		sqlite3_finalize(st);
	} while (!o->rc && rest && *rest);
	if (o->rc)
		say(o, "error %d: %s\n", sqlite3_extended_errcode(d), sqlite3_errmsg(d));
	o->changes = sqlite3_total_changes(d);
	o->rowid = sqlite3_last_insert_rowid(d);
}

static bool complain(const char *what)
{
	fprintf(stderr, "SEED=%" PRIu64 ", unit %" PRIu64 ": %s differs after: %s\n", seed, unit,
		what, sql);
	for (int i = 0; i < SIDES; i++)
		fprintf(stderr, "  %s: rc %d, changes %lld, rowid %lld\n%.12000s",
			i == TWZ ? "twz" : "stock", out[i].rc, (long long)out[i].changes,
			(long long)out[i].rowid, out[i].s);
	return false;
}

static bool compare(void)
{
	statements++;
	if (getenv("VERBOSE"))
		fprintf(stderr, "%" PRIu64 " %s -- %d\n", unit, sql, out[TWZ].rc);
	if (out[TWZ].rc != out[STOCK].rc)
		return complain("result code");
	if (strcmp(out[TWZ].s, out[STOCK].s))
		return complain("answer");
	if (sqlite3_get_autocommit(db[TWZ]) != sqlite3_get_autocommit(db[STOCK]))
		return complain("autocommit");
	if (!atomic &&
	    (out[TWZ].changes != out[STOCK].changes || out[TWZ].rowid != out[STOCK].rowid))
		return complain("number of changes");
	return true;
}

/* Runs what stands in SQL on those databases that take part. */
static bool part[SIDES];

static bool both(void)
{
	for (int i = 0; i < SIDES; i++)
		if (part[i])
			run(db[i], &out[i], sql);
	if (getenv("VERBOSE") && !(part[TWZ] && part[STOCK]))
		fprintf(stderr, "again: %s -- %d, %d\n", sql, out[TWZ].rc, out[STOCK].rc);
	return !part[TWZ] || !part[STOCK] || compare();
}

static bool stmt(const char *pattern)
{
	sql[0] = 0;
	grow(pattern);
	return both();
}

/* --- statements --- */

static bool make(void)
{
	static const char *const s[] = {
		"CREATE TABLE IF NOT EXISTS t0(k INTEGER PRIMARY KEY, a, b TEXT UNIQUE, c, d DEFAULT 5)",
		"CREATE TABLE IF NOT EXISTS t1(k INTEGER PRIMARY KEY AUTOINCREMENT, a COLLATE NOCASE, b INT CHECK(b IS NOT 13), c REAL, d)",
		"CREATE TABLE IF NOT EXISTS t2(k, a NOT NULL, b, c, d, PRIMARY KEY(k, a)) WITHOUT ROWID",
		"CREATE TABLE IF NOT EXISTS t3(k INT PRIMARY KEY, a REFERENCES t0(k) ON DELETE CASCADE, b, c AS (k*2), d) STRICT",
		"CREATE TABLE IF NOT EXISTS t3(k INT PRIMARY KEY, a INT REFERENCES t0(k) ON DELETE SET NULL, b ANY, c ANY AS (k*2) STORED, d TEXT) STRICT",
		"CREATE TABLE IF NOT EXISTS t4(k, a, b, c COLLATE backwards, d, UNIQUE(a, b) ON CONFLICT IGNORE)",
		"CREATE TABLE IF NOT EXISTS aux.a0(k INTEGER PRIMARY KEY, a, b, c, d)",
		"CREATE TEMP TABLE IF NOT EXISTS m0 AS SELECT * FROM t0 LIMIT %N",
		"CREATE VIEW IF NOT EXISTS v0 AS SELECT k, a, b, c, d FROM t0 UNION ALL SELECT k, a, b, c, d FROM t4",
		"CREATE VIRTUAL TABLE IF NOT EXISTS f USING fts5(x, y)",
		"CREATE VIRTUAL TABLE IF NOT EXISTS r USING rtree(id, x0, x1)",
		"CREATE INDEX IF NOT EXISTS %X ON t0(%C, %C DESC)",
		"CREATE INDEX IF NOT EXISTS %X ON t1(%C COLLATE backwards) WHERE %C>%V",
		"CREATE INDEX IF NOT EXISTS %X ON t4(length(%C), %C)",
		"CREATE UNIQUE INDEX IF NOT EXISTS %X ON t2(%C, %C)",
		"CREATE INDEX IF NOT EXISTS aux.%X ON a0(%C)",
		"CREATE TRIGGER IF NOT EXISTS %X AFTER INSERT ON t0 BEGIN INSERT OR IGNORE INTO t4 VALUES(new.k, new.a, 't', new.c, %V); END",
		"CREATE TRIGGER IF NOT EXISTS %X BEFORE UPDATE OF a ON t1 WHEN new.a=%V BEGIN SELECT RAISE(IGNORE); END",
		"CREATE TRIGGER IF NOT EXISTS %X AFTER DELETE ON t1 BEGIN UPDATE t0 SET d=d||'x' WHERE k=old.k; END",
		"CREATE TRIGGER IF NOT EXISTS %X BEFORE INSERT ON t4 WHEN new.k=%N BEGIN SELECT RAISE(ABORT, 'no'); END",
		"CREATE TRIGGER IF NOT EXISTS %X INSTEAD OF INSERT ON v0 BEGIN INSERT INTO t0(a, c) VALUES(new.a, new.c); END",
	};

	return stmt(PICK(s));
}

static bool change_schema(void)
{
	static const char *const s[] = {
		"DROP TABLE IF EXISTS t4",
		"DROP TABLE IF EXISTS t3",
		"DROP VIEW IF EXISTS v0",
		"DROP INDEX IF EXISTS %X",
		"DROP INDEX IF EXISTS %X",
		"DROP TRIGGER IF EXISTS %X",
		"DROP TRIGGER IF EXISTS %X",
		"DROP TABLE IF EXISTS f",
		"DROP TABLE IF EXISTS r",
		"DROP TABLE IF EXISTS aux.a0",
		"ALTER TABLE t4 RENAME TO t5",
		"ALTER TABLE t5 RENAME TO t4",
		"ALTER TABLE t1 ADD COLUMN e%N DEFAULT %V",
		"ALTER TABLE t1 DROP COLUMN e%N",
		"ALTER TABLE t0 RENAME COLUMN d TO dd",
		"ALTER TABLE t0 RENAME COLUMN dd TO d",
		"ANALYZE",
		"REINDEX",
		"REINDEX t1",
		"DROP TABLE IF EXISTS temp.m0",
	};

	return stmt(PICK(s));
}

static bool write_rows(void)
{
	static const char *const s[] = {
		"INSERT %O INTO %T(k, a, b, c, d) VALUES(%N, %V, %V, %V, %V)",
		"INSERT %O INTO %T(k, a, b, c, d) VALUES(%N, %V, %V, %V, %V)",
		"INSERT %O INTO %T(a, b, c) VALUES(%V, %V, %V), (%V, %V, %V), (%V, %V, %V)",
		"INSERT %O INTO %T(k, a, b, c, d) SELECT k+%N, b, a, d, c FROM %T WHERE %W",
		"INSERT INTO t0(k, a, b) VALUES(%N, %V, %V) ON CONFLICT(k) DO UPDATE SET a=excluded.a, c=c||'u' WHERE %C>%V RETURNING k, a, c",
		"INSERT INTO t2(k, a, b) VALUES(%V, %V, %V) ON CONFLICT DO NOTHING RETURNING *",
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%N) INSERT %O INTO %T(k, a, b, c) SELECT i*3, i, 'r'||i, hex(zeroblob(i*5)) FROM n",
		"UPDATE %O %T SET %C=%V WHERE k=%N",
		"UPDATE %O %T SET %C=%V WHERE k=%N",
		"UPDATE %O %T SET %C=%V, %C=%C WHERE %W",
		"UPDATE t0 SET a=t1.a FROM t1 WHERE t1.k=t0.k AND t1.%C>%V",
		"UPDATE %O %T SET k=k+1 WHERE k>%N",
		"UPDATE %T SET a=json_set(coalesce(a,'{}'), '$.n', %V) WHERE json_valid(a) AND k<%N",
		"DELETE FROM %T WHERE k=%N",
		"DELETE FROM %T WHERE k=%N RETURNING k, a",
		"DELETE FROM %T WHERE %W",
		"REPLACE INTO %T(k, a, b, c) VALUES(%N, %V, %V, %V)",
		"INSERT INTO f(x, y) VALUES('lorem '||%V||' ipsum', %V)",
		"INSERT INTO f(x, y) SELECT a, b FROM %T WHERE %W",
		"DELETE FROM f WHERE rowid=%N",
		"UPDATE f SET y=%V WHERE f MATCH 'lorem'",
		"INSERT INTO f(f) VALUES('optimize')",
		"INSERT INTO f(f) VALUES('integrity-check')",
		"INSERT OR REPLACE INTO r VALUES(%N, %N, %N)",
		"DELETE FROM r WHERE x0>%N",
	};

	return stmt(PICK(s));
}

/*
 * Where pages lie, and how large they are: one may have been vacuumed, and the process killed before the other was.
 */
static bool is_layout(const char *p)
{
	return strstr(p, "page_") || strstr(p, "freelist") || strstr(p, "rootpage") ||
	       strstr(p, "* FROM sqlite_schema");
}

static bool look(void)
{
	static const char *const s[] = {
		"SELECT * FROM %T WHERE k=%N",
		"SELECT * FROM %T WHERE %W",
		"SELECT %C, count(*), max(%C) FROM %T GROUP BY 1",
		"SELECT * FROM %T ORDER BY %C, %C DESC, k LIMIT 20",
		"SELECT DISTINCT %C FROM %T WHERE %W",
		"SELECT x.k, y.k FROM %T x JOIN %T y ON x.%C=y.%C LIMIT 50",
		"SELECT x.k, y.a FROM t0 x LEFT JOIN t1 y USING(k)",
		"SELECT k, row_number() OVER (PARTITION BY %C ORDER BY k), sum(k) OVER (ORDER BY k ROWS 2 PRECEDING) FROM %T WHERE %W",
		"SELECT %C FROM %T INTERSECT SELECT %C FROM %T",
		"SELECT %C FROM %T EXCEPT SELECT %C FROM %T ORDER BY 1",
		"SELECT j.key, j.value FROM %T, json_each(%T.a) j WHERE json_valid(%T.a)",
		"SELECT json_extract(a, '$.a[2].b'), json_type(a) FROM %T WHERE json_valid(a)",
		"SELECT json_group_array(k) FROM (SELECT k FROM %T WHERE %W ORDER BY k)",
		"SELECT rowid, snippet(f, 0, '[', ']', '.', 5) FROM f WHERE f MATCH 'lorem' ORDER BY rank, rowid",
		"SELECT count(*) FROM f WHERE f MATCH 'v*'",
		"SELECT * FROM r WHERE x0<=%N AND x1>=%N",
		"SELECT count(*), sum(length(c)) FROM %T",
		"PRAGMA table_info(t1)",
		"PRAGMA index_list(t0)",
		"PRAGMA foreign_key_check",
		"PRAGMA page_count",
		"PRAGMA freelist_count",
		"SELECT type, name, rootpage, sql FROM sqlite_schema",
		"PRAGMA quick_check",
	};

	const char *p = PICK(s);

	return stmt(atomic && is_layout(p) ? "SELECT type, name, sql FROM sqlite_schema" : p);
}

static bool transaction(void)
{
	static const char *const s[] = {"BEGIN",	 "BEGIN IMMEDIATE", "COMMIT",
					"COMMIT",	 "ROLLBACK",	    "SAVEPOINT a",
					"SAVEPOINT b",	 "RELEASE a",	    "RELEASE b",
					"ROLLBACK TO a", "ROLLBACK TO b",   "BEGIN EXCLUSIVE"};
	static const char *const inner[] = {"SAVEPOINT a", "SAVEPOINT b", "ROLLBACK TO a",
					    "ROLLBACK TO b", "RELEASE b"};

	return stmt(atomic ? PICK(inner) : PICK(s));
}

/* Journal modes are not compared: what is asked for is what is told. WAL is another way of working for one of the two. */
static bool setting(void)
{
	static const char *const s[] = {
		"PRAGMA cache_size=10",
		"PRAGMA cache_size=-2000",
		"PRAGMA secure_delete=0",
		"PRAGMA secure_delete=1",
		"PRAGMA foreign_keys=1",
		"PRAGMA foreign_keys=0",
		"PRAGMA journal_mode=delete",
		"PRAGMA journal_mode=truncate",
		"PRAGMA journal_mode=persist",
		"PRAGMA journal_mode=memory",
		"PRAGMA user_version=%N",
		"PRAGMA application_id=%N",
		"PRAGMA cache_spill=0",
		"PRAGMA cache_spill=1",
		"PRAGMA temp_store=%N",
		"PRAGMA recursive_triggers=1",
		"PRAGMA recursive_triggers=0",
		"PRAGMA incremental_vacuum(%N)",
		"PRAGMA optimize",
		"PRAGMA case_sensitive_like=0",
	};

	return stmt(PICK(s));
}

/* Alone in its unit: not in a transaction, and the same when done twice. */
static bool whole_file(void)
{
	static const char *const s[] = {
		"VACUUM",
		"VACUUM",
		"PRAGMA auto_vacuum=1; VACUUM",
		"PRAGMA auto_vacuum=2; VACUUM",
		"PRAGMA auto_vacuum=0; VACUUM",
		"PRAGMA page_size=1024; VACUUM",
		"PRAGMA page_size=4096; VACUUM",
		"PRAGMA page_size=65536; VACUUM",
		"PRAGMA page_size=512; VACUUM",
		"PRAGMA integrity_check",
	};

	return stmt(PICK(s));
}

/* Somebody else holds the writer's place: BUSY for both, reading goes on; then it is free again. */
static bool contend(void)
{
	bool ok = true;

	if (!sqlite3_get_autocommit(db[TWZ]) || contended)
		return true;
	contended = true;
	for (int i = 0; i < SIDES; i++)
		run(other[i], &out[i],
		    "BEGIN IMMEDIATE; CREATE TABLE IF NOT EXISTS o(x); INSERT INTO o VALUES(1)");
	strcpy(sql, "(the other connection begins)");
	ok = compare();
	for (int i = 0; i < 3 && ok; i++)
		ok = below(2) ? look() : write_rows();
	for (int i = 0; i < SIDES; i++)
		run(other[i], &out[i], unit & 1 ? "ROLLBACK" : "COMMIT");
	strcpy(sql, "(the other connection ends)");
	return ok && compare() && write_rows();
}

static bool attach(bool on)
{
	if (!on) {
		strcpy(sql, "DETACH aux");
		return both();
	}
	for (int i = 0; i < SIDES; i++) {
		if (!part[i])
			continue;
		snprintf(sql, sizeof(sql), "ATTACH '%s/%s' AS aux", dir,
			 i == TWZ ? "aux.twz" : "aux.db");
		run(db[i], &out[i], sql);
	}
	return !part[TWZ] || !part[STOCK] || compare();
}

static bool step(void)
{
	switch (below(atomic ? 24 : 32)) {
	case 0:
	case 1:
		return make();
	case 2:
		return change_schema();
	case 3:
	case 4:
		return transaction();
	case 5:
	case 6:
	case 7:
	case 8:
	case 9:
	case 10:
		return look();
	case 24:
		return setting();
	case 25:
		return transaction();
	case 26:
		return contend();
	case 27:
		return whole_file();
	case 28:
		return below(6) || !sqlite3_get_autocommit(db[TWZ]) ||
		       (attach(false) && attach(true));
	default:
		return write_rows();
	}
}

/* --- databases --- */

static int backwards(void *ctx, int n, const void *a, int m, const void *b)
{
	int c = memcmp(b, a, (size_t)(n < m ? n : m));

	(void)ctx;
	return c ? c : m - n;
}

static sqlite3 *open_one(enum side side)
{
	char path[400];
	sqlite3 *d = NULL;

	snprintf(path, sizeof(path), "%s/%s", dir, side == TWZ ? "main.twz" : "main.db");
	if (sqlite3_open_v2(path, &d, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
			    side == TWZ ? "twz" : "unix") ||
	    sqlite3_create_collation(d, "backwards", SQLITE_UTF8, NULL, backwards) ||
	    /* With OFF, SQLite's own has no super-journal: a transaction over both files would not be atomic. */
	    sqlite3_exec(d, side == TWZ ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL",
			 NULL, NULL, NULL)) {
		fprintf(stderr, "%s: %s\n", path, sqlite3_errmsg(d));
		exit(1);
	}
	sqlite3_busy_timeout(d, 2);
	if (unit & 1) /* reads in place */
		sqlite3_exec(d, "PRAGMA mmap_size=100000000", NULL, NULL, NULL);
	return d;
}

static void open_all(void)
{
	for (int i = 0; i < SIDES; i++) {
		db[i] = open_one((enum side)i);
		other[i] = open_one((enum side)i);
		part[i] = true;
	}
	T_TRUE(attach(
		true)); /* of a transaction over both databases all is there, or nothing, killed or not (D16) */
}

static void close_all(void)
{
	for (int i = 0; i < SIDES; i++) {
		T_EQ(sqlite3_close(other[i]), SQLITE_OK);
		T_EQ(sqlite3_close(db[i]), SQLITE_OK);
	}
}

/* Everything, and that SQLite and what lies beneath find it sound. */
static bool same_all(void)
{
	static const char *const s[] = {"SELECT * FROM t0",
					"SELECT * FROM t1",
					"SELECT * FROM t2",
					"SELECT * FROM t3",
					"SELECT * FROM t4",
					"SELECT * FROM aux.a0",
					"SELECT rowid, * FROM f",
					"SELECT * FROM r",
					"SELECT * FROM sqlite_schema",
					"SELECT * FROM aux.sqlite_schema",
					"PRAGMA page_size",
					"PRAGMA page_count",
					"PRAGMA user_version",
					"PRAGMA integrity_check"};
	bool ok = true;

	for (size_t i = 0; i < sizeof(s) / sizeof(s[0]) && ok; i++) {
		snprintf(sql, sizeof(sql), "%s", s[i]);
		ok = (atomic && is_layout(sql)) || both();
	}
	if (ok && !strstr(out[TWZ].s, ":ok|"))
		ok = complain("integrity_check");
	return ok;
}

static void remove_all(void)
{
	static const char *const f[] = {"main.twz", "main.twz-lock",   "aux.twz", "aux.twz-lock",
					"main.db",  "main.db-journal", "aux.db",  "aux.db-journal"};

	for (size_t i = 0; i < sizeof(f) / sizeof(f[0]); i++)
		unlink(t_path(dir, f[i]));
}

static uint64_t how_many(const char *what, uint64_t usual)
{
	return getenv(what) ? strtoull(getenv(what), NULL, 10) : usual;
}

/* --- one after the other --- */

static void the_same_statements_have_the_same_answers(void)
{
	uint64_t units = how_many("UNITS", 50);
	bool ok = true;

	seed = t_seed();
	for (uint64_t u = 0; u < units && ok; u++) {
		remove_all();
		begin_unit(u);
		open_all();
		for (int i = 0; i < 4 && ok; i++)
			ok = make();
		for (int i = 0; i < 600 && ok; i++)
			ok = step();
		if (ok && !sqlite3_get_autocommit(db[TWZ]))
			ok = stmt("COMMIT") &&
			     (sqlite3_get_autocommit(db[TWZ]) || stmt("ROLLBACK"));
		ok = ok && same_all();
		close_all();
		if (ok) {
			open_all();
			ok = same_all();
			close_all();
		}
	}
	T_TRUE(ok);
	remove_all();
	printf("  %" PRIu64 " statements in %" PRIu64 " databases\n", statements, units);
}

/* --- killed --- */

static uint64_t reached(enum side i)
{
	run(db[i], &out[i], "SELECT n FROM reached");
	return out[i].rc ? 0 : strtoull(strrchr(out[i].s, ':') + 1, NULL, 10);
}

static bool note_unit(void)
{
	snprintf(
		sql, sizeof(sql),
		"CREATE TABLE IF NOT EXISTS reached(id INTEGER PRIMARY KEY, n); REPLACE INTO reached VALUES(1, %" PRIu64
		")",
		unit);
	return both();
}

/* The transaction is over when a statement has rolled it back: then the unit is, too. */
static bool one_unit(uint64_t n)
{
	bool ok;
	int i, d = part[TWZ] ? TWZ : STOCK;

	begin_unit(n);
	if (n % 50 == 49) {
		ok = whole_file() && note_unit();
		return ok && (n % 200 != 199 || !part[TWZ] || !part[STOCK] || same_all());
	}
	ok = stmt("BEGIN IMMEDIATE");
	for (i = (int)below(12); i >= 0 && ok && !sqlite3_get_autocommit(db[d]); i--)
		ok = n < 4 ? make() : step();
	ok = ok && note_unit();
	if (ok && !sqlite3_get_autocommit(db[d]))
		ok = stmt("COMMIT") &&
		     (sqlite3_get_autocommit(db[d]) || (stmt("ROLLBACK") && note_unit()));
	return ok;
}

/* A process: give the one that lacks a unit that unit, look, go on. */
static int work(uint64_t to)
{
	uint64_t a, b;
	bool ok = true;

	open_all();
	a = reached(TWZ);
	b = reached(STOCK);
	if (a != b) {
		part[TWZ] = a < b;
		part[STOCK] = b < a;
		if (getenv("VERBOSE"))
			fprintf(stderr, "again: unit %" PRIu64 " for %s\n", a < b ? b : a,
				a < b ? "twz" : "stock");
		ok = a + 1 == b || b + 1 == a ? one_unit(a < b ? b : a) : complain("unit reached");
		a = a < b ? b : a;
		close_all(); /* with temporary tables and settings only one of them has */
		open_all();
	}
	unit = a;
	ok = ok && same_all();
	while (ok && a < to)
		ok = one_unit(++a);
	ok = ok && same_all();
	close_all();
	return ok ? 0 : 1;
}

static void killed_at_any_moment_both_go_on_alike(void)
{
	uint64_t kills = how_many("KILLS", 60);
	int status = 0;

	atomic = true;
	seed = t_seed();
	remove_all();
	for (uint64_t k = 0; k <= kills && !status; k++) {
		pid_t pid;

		fflush(NULL);
		pid = fork();
		if (!pid)
			_exit(work(k == kills ? 1 : UINT64_MAX));
		usleep((useconds_t)(15000 + t_rand_below(120000)));
		if (k < kills)
			kill(pid, SIGKILL);
		T_EQ(waitpid(pid, &status, 0), pid);
		if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && k < kills)
			status = 0;
	}
	T_EQ(status, 0);
	open_all();
	printf("  %" PRIu64 " kills, %" PRIu64 " units\n", kills, reached(TWZ));
	close_all();
	remove_all();
	atomic = false;
}

static const struct t_case cases[] = {T_CASE(the_same_statements_have_the_same_answers),
				      T_CASE(killed_at_any_moment_both_go_on_alike), T_END};

int main(int argc, char **argv)
{
	t_err_name = twzdb_err_name;
	t_err_msg = twzdb_errmsg;
	if (twzvfs_register(0) != SQLITE_OK)
		return 1;
	snprintf(dir, sizeof(dir), "%s", t_shm_dir());
	return t_main("vfs_diff", cases, argc, argv);
}
