/* SPDX-License-Identifier: MIT
 * test_native_diff.c -- random SQL on a native table and on an ordinary one of the same shape
 *
 * The native table lies in a store, its twin in a plain database of SQLite's own, in memory. Every
 * statement goes to both: result codes, numbers of changed rows and all answers must be the same.
 * SEED and ROUNDS come from the environment.
 */
#include "t.h"

#include <sqlite3.h>

#include "twzdb.h"
#include "twzvfs.h"

struct shape {
	const char *native;   /* arguments of USING twz() */
	const char *ordinary; /* statements that make the twin */
	const char *col[5];   /* columns */
	const char *key[3];   /* of them that say which row is meant */
	const char *plain;    /* one no constraint knows */
	int indexes;
	bool integer; /* the key is a rowid */
};

static const struct shape shapes[] = {
	{"k TEXT PRIMARY KEY, v, n INTEGER NOT NULL, p TEXT, UNIQUE(n), INDEX ix(v)",
	 "CREATE TABLE t(k TEXT PRIMARY KEY, v, n INTEGER NOT NULL, p TEXT, UNIQUE(n)) WITHOUT ROWID;"
	 "CREATE INDEX ix ON t(v)",
	 {"k", "v", "n", "p"},
	 {"k"},
	 "p",
	 2},
	{"a INTEGER, b TEXT COLLATE NOCASE, c REAL, p NUMERIC, PRIMARY KEY(a, b DESC), INDEX (c DESC, b)",
	 "CREATE TABLE t(a INTEGER, b TEXT COLLATE NOCASE, c REAL, p NUMERIC, PRIMARY KEY(a, b DESC)) "
	 "WITHOUT ROWID; CREATE INDEX ix ON t(c DESC, b)",
	 {"a", "b", "c", "p"},
	 {"a", "b"},
	 "p",
	 1},
	{"id INTEGER PRIMARY KEY, x NUMERIC, y TEXT UNIQUE, p TEXT, CHECK(x <> 3 OR typeof(y) = 'text'), INDEX (p, x)",
	 "CREATE TABLE t(id INTEGER PRIMARY KEY, x NUMERIC, y TEXT UNIQUE, p TEXT, CHECK(x <> 3 OR "
	 "typeof(y) = 'text')); CREATE INDEX ix ON t(p, x)",
	 {"id", "x", "y", "p"},
	 {"id"},
	 "p",
	 2,
	 true},
	{"a, b INT, p TEXT COLLATE NOCASE, INDEX (a), INDEX (p)",
	 "CREATE TABLE t(a, b INT, p TEXT COLLATE NOCASE); CREATE INDEX ia ON t(a); CREATE INDEX ip "
	 "ON t(p)",
	 {"rowid", "a", "b", "p"},
	 {"rowid"},
	 "p",
	 2,
	 true},
	{"z TEXT COLLATE RTRIM, k BLOB, p REAL NOT NULL, PRIMARY KEY(z, k), UNIQUE INDEX (p, k)",
	 "CREATE TABLE t(z TEXT COLLATE RTRIM, k BLOB, p REAL NOT NULL, PRIMARY KEY(z, k)) WITHOUT "
	 "ROWID; CREATE UNIQUE INDEX ix ON t(p, k)",
	 {"z", "k", "p"},
	 {"z", "k"},
	 NULL,
	 1},
	{"k DOUBLE PRIMARY KEY DESC, p BLOB",
	 "CREATE TABLE t(k DOUBLE PRIMARY KEY DESC, p BLOB) WITHOUT ROWID",
	 {"k", "p"},
	 {"k"},
	 "p",
	 0},
};
#define SHAPES ((int)(sizeof(shapes) / sizeof(shapes[0])))

static sqlite3 *db[2]; /* native, ordinary */
static const struct shape *sh;
static char sql[8192];

static void add(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void add(const char *fmt, ...)
{
	size_t n = strlen(sql);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(sql + n, sizeof(sql) - n, fmt, ap);
	va_end(ap);
}

/* --- random pieces --- */

static const char *pick(const char *const *list, int n)
{
	return list[t_rand_below((uint64_t)n)];
}

static int col_cnt(void)
{
	int n = 0;

	while (n < 5 && sh->col[n])
		n++;
	return n;
}

static const char *any_col(void)
{
	return pick(sh->col, col_cnt());
}

static const char *value(void)
{
	static const char *const odd[] = {"NULL",
					  "'abc'",
					  "'ABC'",
					  "'abc '",
					  "'ab'",
					  "''",
					  "x'6162'",
					  "x'61'",
					  "x'4142'",
					  "x''",
					  "x'00ff'",
					  "'5'",
					  "' 7 '",
					  "'5.0'",
					  "'05'",
					  "2.5",
					  "-3.25",
					  "'2.5'",
					  "1e3",
					  "'1e3'",
					  "5.0",
					  "1e300",
					  "-1e300",
					  "'zebra'",
					  "'b%c'",
					  "'a' || char(0) || 'b'",
					  "9007199254740993",
					  "9007199254740992.0",
					  "9223372036854775807",
					  "-9223372036854775808",
					  "'\xc3\xa4'"};
	static char buf[8][32];
	static int at;
	char *b = buf[at++ % 8];

	if (t_rand_below(3) == 0)
		return pick(odd, (int)(sizeof(odd) / sizeof(odd[0])));
	if (t_rand_below(2))
		snprintf(b, sizeof(buf[0]), "%d", (int)t_rand_below(40));
	else
		snprintf(b, sizeof(buf[0]), "'%c%d'", "aAbB"[t_rand_below(4)],
			 (int)t_rand_below(12));
	return b;
}

/*
 * A "datatype mismatch" in the second row of a statement with OR ROLLBACK leaves the first one there in an
 * ordinary table, and not in a native one.
 */
static const char *rowid(void)
{
	static const char *const v[] = {"NULL", "1",  "2",	"'7'", "11",  "12.0", "'13'",
					"14",	"15", "'16.0'", "-5",  "100", "17",   "33"};

	return pick(v, (int)(sizeof(v) / sizeof(v[0])));
}

/* Behind the greatest rowid new ones are random. */
static const char *not_last(void)
{
	const char *v = value();

	return strstr(v, "775807") ? "7" : v;
}

static void term(void)
{
	static const char *const op[] = {"=", "=", "=", "<", "<=", ">", ">=", "IS", "<>"};
	static const char *const pattern[] = {"'a%'",  "'A1%'",	  "'%'",  "'ab_'", "'b*'",
					      "'a1*'", "'[ab]*'", "'5%'", "''",	   "'abc'"};

	switch (t_rand_below(9)) {
	case 0:
		add("%s IN (%s, %s, %s)", any_col(), value(), value(), value());
		break;
	case 1:
		add("%s BETWEEN %s AND %s", any_col(), value(), value());
		break;
	case 2:
		add("%s %s %s", any_col(), t_rand_below(2) ? "LIKE" : "GLOB",
		    pick(pattern, (int)(sizeof(pattern) / sizeof(pattern[0]))));
		break;
	case 3:
		add("%s IS %sNULL", any_col(), t_rand_below(2) ? "NOT " : "");
		break;
	case 4:
		add("%s = %s AND %s > %s", any_col(), value(), any_col(), value());
		break;
	default:
		add("%s %s %s", any_col(), pick(op, 9), value());
	}
}

static void where(void)
{
	int n = (int)t_rand_below(3) + 1;

	add(" WHERE ");
	for (int i = 0; i < n; i++) {
		if (i)
			add(t_rand_below(4) ? " AND " : " OR ");
		term();
	}
}

/* One row at most. */
static void where_key(void)
{
	for (int i = 0; i < 3 && sh->key[i]; i++)
		add("%s %s = %s", i ? " AND" : " WHERE", sh->key[i], value());
}

static const char *or_clause(void)
{
	static const char *const c[] = {"",	   "",	       "OR REPLACE", "OR IGNORE",
					"OR FAIL", "OR ABORT", "OR ROLLBACK"};

	return pick(c, 7);
}

/* --- running --- */

struct rows {
	char **s;
	size_t cnt, cap;
};

static void keep(struct rows *r, const char *s)
{
	if (r->cnt == r->cap) {
		r->cap = r->cap ? 2 * r->cap : 64;
		r->s = realloc(r->s, r->cap * sizeof(*r->s));
	}
	r->s[r->cnt++] = strdup(s ? s : "(null)");
}

static void drop(struct rows *r)
{
	for (size_t i = 0; i < r->cnt; i++)
		free(r->s[i]);
	free(r->s);
	memset(r, 0, sizeof(*r));
}

static int run(sqlite3 *d, struct rows *out)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(d, sql, -1, &st, NULL);

	if (rc == SQLITE_OK)
		while ((rc = sqlite3_step(st)) == SQLITE_ROW)
			keep(out, (const char *)sqlite3_column_text(st, 0));
	if (rc == SQLITE_DONE)
		rc = SQLITE_OK;
	sqlite3_finalize(st);
	return rc;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool complain(const char *what, struct rows *r)
{
	fprintf(stderr, "%s differs:\n  %s\n  native: %s\n  ordinary: %s\n", what, sql,
		sqlite3_errmsg(db[0]), sqlite3_errmsg(db[1]));
	for (int i = 0; i < 2; i++)
		for (size_t k = 0; k < r[i].cnt && k < 40; k++)
			fprintf(stderr, "  %s: %s\n", i ? "ordinary" : "native", r[i].s[k]);
	return false;
}

/* The statement in SQL, in both; SORT: the order of the rows does not matter. */
static bool both(bool sort, bool changes)
{
	struct rows r[2] = {{0}, {0}};
	bool same = true;
	int rc[2];

	for (int i = 0; i < 2; i++)
		rc[i] = run(db[i], &r[i]);
	if (getenv("VERBOSE"))
		fprintf(stderr, "%s -- %d\n", sql, rc[0]);
	if (rc[0] != rc[1])
		same = complain("result code", r);
	else if (sqlite3_get_autocommit(db[0]) != sqlite3_get_autocommit(db[1]))
		same = complain("autocommit", r);
	else if (changes && !rc[0] && sqlite3_changes(db[0]) != sqlite3_changes(db[1]))
		same = complain("number of changes", r);
	for (int i = 0; i < 2 && sort; i++)
		if (r[i].cnt)
			qsort(r[i].s, r[i].cnt, sizeof(char *), by_text);
	if (same && r[0].cnt != r[1].cnt)
		same = complain("number of rows", r);
	for (size_t i = 0; same && i < r[0].cnt; i++)
		if (strcmp(r[0].s[i], r[1].s[i]))
			same = complain("a row", r);
	drop(&r[0]);
	drop(&r[1]);
	return same;
}

static bool same_contents(void)
{
	snprintf(sql, sizeof(sql), "SELECT ''");
	for (int i = 0; i < col_cnt(); i++)
		add("||'|'||quote(%s)", sh->col[i]);
	add(" FROM t");
	return both(true, false);
}

/* --- statements --- */

static bool insert(void)
{
	int rows = t_rand_below(4) ? 1 : 3;

	snprintf(sql, sizeof(sql), "INSERT %s INTO t(", or_clause());
	for (int i = 0; i < col_cnt(); i++)
		add("%s%s", i ? "," : "", sh->col[i]);
	add(") VALUES");
	for (int r = 0; r < rows; r++) {
		add(r ? ",(" : "(");
		for (int i = 0; i < col_cnt(); i++)
			add("%s%s", i ? "," : "",
			    i || !sh->integer ? value()
			    : rows == 1	      ? not_last()
					      : rowid());
		add(")");
	}
	return both(true, true);
}

static bool update(void)
{
	if (t_rand_below(2)) {
		snprintf(sql, sizeof(sql), "UPDATE %s t SET %s = %s", or_clause(), any_col(),
			 not_last());
		if (t_rand_below(2))
			add(", %s = %s", sh->col[col_cnt() - 1], value());
		where_key();
	} else if (sh->plain) {
		snprintf(sql, sizeof(sql), "UPDATE t SET %s = ", sh->plain);
		if (t_rand_below(2))
			add("%s", value());
		else
			add("%s || %s", sh->plain, value());
		where();
	} else {
		return true;
	}
	return both(true, true);
}

static bool delete (void)
{
	snprintf(sql, sizeof(sql), "DELETE FROM t");
	if (t_rand_below(2))
		where_key();
	else
		where();
	return both(true, true);
}

static bool look(void)
{
	snprintf(sql, sizeof(sql), "SELECT ''");
	for (int i = 0; i < col_cnt(); i++)
		add("||'|'||quote(%s)", sh->col[i]);
	add(" FROM t");
	where();
	return both(true, false);
}

/* What is equal to the order must look equal, too: numbers without type, text without case and space. */
static bool ordered(void)
{
	const char *o[3];
	int n = (int)t_rand_below(3) + 1;

	snprintf(sql, sizeof(sql), "SELECT ''");
	for (int i = 0; i < n; i++) {
		o[i] = any_col();
		add("|| CASE WHEN typeof(%s) IN ('integer', 'real') THEN CAST(%s AS REAL) ELSE "
		    "typeof(%s) || coalesce(lower(rtrim(%s)), '') END ||'|'",
		    o[i], o[i], o[i], o[i]);
	}
	add(" FROM t");
	if (t_rand_below(2))
		where();
	add(" ORDER BY ");
	for (int i = 0; i < n; i++)
		add("%s%s%s", i ? "," : "", o[i], t_rand_below(2) ? " DESC" : "");
	return both(false, false);
}

static bool aggregate(void)
{
	const char *c = any_col();

	snprintf(sql, sizeof(sql), "SELECT count(*)||'|'||count(DISTINCT CAST(%s AS BLOB)) FROM t",
		 c);
	where();
	return both(true, false);
}

static bool join(void)
{
	const char *a = any_col(), *b = any_col();

	snprintf(sql, sizeof(sql),
		 "SELECT quote(x.%s)||'|'||quote(y.%s)||'|'||quote(y.%s) FROM t x JOIN t y ON "
		 "x.%s = y.%s LIMIT 500",
		 a, b, sh->col[0], a, b);
	if (t_rand_below(2)) {
		snprintf(sql, sizeof(sql),
			 "SELECT count(*) FROM t x JOIN t y ON x.%s = y.%s AND x.%s >= y.%s", a, b,
			 b, a);
		return both(true, false);
	}
	strstr(sql, " LIMIT")[0] = '\0';
	return both(true, false);
}

static bool transaction(void)
{
	static const char *const s[] = {
		"BEGIN",	 "BEGIN",	  "COMMIT",	   "ROLLBACK",	     "SAVEPOINT a",
		"SAVEPOINT b",	 "SAVEPOINT c",	  "RELEASE a",	   "RELEASE b",	     "RELEASE c",
		"ROLLBACK TO a", "ROLLBACK TO b", "ROLLBACK TO c", "BEGIN IMMEDIATE"};

	snprintf(sql, sizeof(sql), "%s", pick(s, (int)(sizeof(s) / sizeof(s[0]))));
	return both(true, false);
}

/* Pages and rows in one transaction, with a cache of a few pages, so that pages spill. */
static bool fill(void)
{
	snprintf(
		sql, sizeof(sql),
		"INSERT INTO filler SELECT hex(zeroblob(%d)) FROM (VALUES(1),(2),(3),(4),(5),(6),(7),(8))",
		(int)t_rand_below(9000));
	if (!both(true, true))
		return false;
	snprintf(sql, sizeof(sql), "SELECT count(*)||'|'||sum(length(x)) FROM filler");
	return both(true, false);
}

/* Both make the table anew, or give it another name for a while. */
static bool ddl(void)
{
	char *make = sqlite3_mprintf("CREATE VIRTUAL TABLE t USING twz(%s)", sh->native);
	bool ok;
	int rc[2];

	if (t_rand_below(2)) {
		strcpy(sql, "ALTER TABLE t RENAME TO other");
		ok = both(true, false);
		strcpy(sql, "DELETE FROM other WHERE rowid % 3 = 0");
		ok = ok && (!sh->integer || both(true, true));
		strcpy(sql, "ALTER TABLE other RENAME TO t");
		ok = ok && both(true, false);
	} else {
		strcpy(sql, "DROP TABLE t");
		ok = both(true, false);
		rc[0] = sqlite3_exec(db[0], make, NULL, NULL, NULL);
		rc[1] = sqlite3_exec(db[1], sh->ordinary, NULL, NULL, NULL);
		if (rc[0] || rc[1])
			fprintf(stderr, "%s: %d, %d: %s\n", make, rc[0], rc[1],
				sqlite3_errmsg(db[0]));
		ok &= !rc[0] && !rc[1];
	}
	sqlite3_free(make);
	return ok;
}

/* Savepoints in savepoints, with few changes between them, so that a table first changes inside of some. */
static bool nest(void)
{
	static const char *const s[] = {"SAVEPOINT a", "SAVEPOINT b",	"SAVEPOINT c",
					"RELEASE b",   "ROLLBACK TO a", "ROLLBACK TO b",
					"RELEASE c"};
	bool ok = true;

	for (int i = 0; i < 14 && ok; i++) {
		switch (t_rand_below(8)) {
		case 0:
			ok = insert();
			break;
		case 1:
			ok = update();
			break;
		case 2:
			ok = fill();
			break;
		case 3:
			ok = t_rand_below(6) || ddl();
			break;
		default:
			/* The first ones open, the later ones close. */
			strcpy(sql, s[(t_rand_below(4) + (uint64_t)i / 3) % 7]);
			ok = both(true, false);
		}
	}
	return ok && same_contents();
}

static bool step(void)
{
	switch (t_rand_below(16)) {
	case 0:
	case 1:
	case 2:
	case 3:
		return insert();
	case 4:
	case 5:
	case 6:
		return update();
	case 7:
		return delete ();
	case 8:
		return aggregate();
	case 9:
		return join();
	case 10:
	case 11:
		return ordered();
	case 12:
		if (t_rand_below(8) == 0 && !ddl())
			return false;
		return transaction() && (t_rand_below(2) || nest()) && same_contents();
	default:
		return look();
	}
}

/* --- a round --- */

static int count_rows(void *ctx, const char *name, uint64_t rows)
{
	uint64_t *n = ctx;

	if (!strcmp(name, "native.t"))
		n[0] = rows;
	if (!strncmp(name, "nativeindex.", 12)) {
		n[1] += rows;
		n[2]++;
	}
	return 0;
}

/* Every index has an entry for every row, no other. */
static void check_indexes(const char *path)
{
	uint64_t n[3] = {0, 0, 0};
	struct twzdb *e = NULL;
	struct twzdb_txn *tx = NULL;

	T_REQ(twzdb_open(path, NULL, &e));
	T_OK(twzdb_begin(e, TWZDB_RDONLY, &tx));
	T_OK(twzdb_table_list(tx, count_rows, n));
	T_EQ(n[2], sh->indexes);
	T_EQ(n[1], n[0] * (uint64_t)sh->indexes);
	twzdb_abort(tx);
	T_OK(twzdb_close(e));
}

static bool open_both(const char *path, int cache)
{
	char *make = sqlite3_mprintf("PRAGMA cache_size=%d; CREATE TABLE filler(x); CREATE VIRTUAL "
				     "TABLE t USING twz(%s)",
				     cache, sh->native);
	char *err = NULL;
	int rc = sqlite3_open_v2(path, &db[0], SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, "twz");

	if (!rc)
		rc = sqlite3_open(":memory:", &db[1]);
	if (!rc)
		rc = sqlite3_exec(db[0], make, NULL, NULL, &err);
	if (!rc)
		rc = sqlite3_exec(db[1], "CREATE TABLE filler(x)", NULL, NULL, &err);
	if (!rc)
		rc = sqlite3_exec(db[1], sh->ordinary, NULL, NULL, &err);
	if (rc)
		fprintf(stderr, "%s: %s\n", make, err);
	sqlite3_free(err);
	sqlite3_free(make);
	return !rc;
}

static void one_round(int shape)
{
	const char *path = t_path(t_shm_dir(), "diff.twz");
	bool ok;

	sh = &shapes[shape];
	ok = open_both(path, t_rand_below(2) ? 10 : -2000);
	for (int i = 0; ok && i < 400; i++)
		ok = t_rand_below(25) ? step() : fill();
	if (ok) {
		strcpy(sql, sqlite3_get_autocommit(db[0]) ? "SELECT 1" : "COMMIT");
		ok = both(true, false);
	}
	if (ok) {
		ok = same_contents();
		strcpy(sql, "PRAGMA integrity_check");
		ok = ok && both(true, false);
	}
	T_TRUE(ok);
	sqlite3_close(db[0]);
	sqlite3_close(db[1]);
	if (ok)
		check_indexes(path);
	unlink(path);
	unlink(t_path(t_shm_dir(), "diff.twz-lock"));
}

static void native_and_ordinary_tables_answer_alike(void)
{
	int rounds = getenv("ROUNDS") ? atoi(getenv("ROUNDS")) : 24;

	for (int i = 0; i < rounds && !CU_get_number_of_failures(); i++)
		one_round(i % SHAPES);
}

static const struct t_case cases[] = {T_CASE(native_and_ordinary_tables_answer_alike), T_END};

int main(int argc, char **argv)
{
	t_err_name = twzdb_err_name;
	t_err_msg = twzdb_errmsg;
	if (twzvfs_register(0) != SQLITE_OK)
		return 1;
	return t_main("native_diff", cases, argc, argv);
}
