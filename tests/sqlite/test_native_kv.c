/* SPDX-License-Identifier: MIT
 * test_native_kv.c -- native tables as the KV API sees them: rows written there are read by SQL and back, by
 * docs/native-tables.md alone (nothing here uses the module's own encoder); and rows of garbage
 */
#include "native_t.h"

#include "twzdb_key.h"

static struct twzdb *e;
static struct twzdb_txn *tx;

static void engine_open(const char *path, uint32_t flags)
{
	T_OK(twzdb_open(path, NULL, &e));
	T_OK(twzdb_begin(e, flags, &tx));
}

static void engine_close(bool commit)
{
	if (commit)
		T_OK(twzdb_commit(tx));
	else
		twzdb_abort(tx);
	T_OK(twzdb_close(e));
}

static struct twzdb_table table(const char *name)
{
	struct twzdb_table t = {0, 0};

	T_OK(twzdb_table_open(tx, name, 0, &t));
	return t;
}

/* --- an encoder of values, written from the documentation --- */

struct row {
	uint8_t b[1024];
	int cnt;
	uint32_t end;
};

static void row_begin(struct row *r, int cnt)
{
	memset(r, 0, sizeof(*r));
	r->b[2] = (uint8_t)cnt;
	r->cnt = cnt;
}

static void row_add(struct row *r, int col, int what, const void *p, size_t n)
{
	memcpy(r->b + 4 + 5 * r->cnt + r->end, p, n);
	r->end += (uint32_t)n;
	r->b[4 + col] = (uint8_t)what;
	for (int i = 0; i < 4; i++)
		r->b[4 + r->cnt + 4 * col + i] = (uint8_t)(r->end >> (8 * i));
}

static struct twzdb_slice row_end(const struct row *r)
{
	return (struct twzdb_slice){r->b, (size_t)(4 + 5 * r->cnt) + r->end};
}

/* --- there and back --- */

static void sql_reads_rows_written_by_kv(void)
{
	const char *path = t_fresh("kv.twz");
	sqlite3 *db = t_open(path);
	uint8_t buf[64];
	struct twzdb_key k;
	struct twzdb_slice key;
	struct row r;
	double half = 0.5;

	t_must(db,
	       "CREATE VIRTUAL TABLE t USING twz(name TEXT PRIMARY KEY, size INT, ratio REAL, data "
	       "BLOB, note TEXT); CREATE VIRTUAL TABLE i USING twz(id INTEGER PRIMARY KEY, v)");
	sqlite3_close(db);
	engine_open(path, 0);
	twzdb_key_init(&k, buf, sizeof(buf));
	twzdb_key_put_uint(&k, 0x30, 1, 0);
	twzdb_key_put_rest(&k, "alpha", 5, 0);
	T_OK(twzdb_key_end(&k, &key));
	row_begin(&r, 5);
	row_add(&r, 0, 6, "", 0);
	row_add(&r, 1, 1, "\xfe\xff", 2); /* -2, in more bytes than it needs */
	row_add(&r, 2, 2, &half, 8);
	row_add(&r, 3, 4, "\0\1", 2);
	row_add(&r, 4, 0, "", 0);
	T_OK(twzdb_put(tx, table("native.t"), key, row_end(&r), 0));
	twzdb_key_init(&k, buf, sizeof(buf));
	twzdb_key_put_int(&k, -7, 8, 0);
	T_OK(twzdb_key_end(&k, &key));
	row_begin(&r, 2);
	row_add(&r, 0, 5, "", 0);
	row_add(&r, 1, 3, "text", 4);
	T_OK(twzdb_put(tx, table("native.i"), key, row_end(&r), 0));
	engine_close(true);
	db = t_open(path);
	T_STR(t_text(db,
		     "SELECT name||'|'||size||'|'||ratio||'|'||hex(data)||'|'||coalesce(note, '-') "
		     "FROM t WHERE name = 'alpha'"),
	      "alpha|-2|0.5|0001|-");
	T_STR(t_text(db, "SELECT id||rowid||v FROM i WHERE id = -7"), "-7-7text");
	t_must(db, "UPDATE t SET size = size + 1 WHERE name = 'alpha'; UPDATE i SET id = 9");
	T_STR(t_text(db, "SELECT size||'|'||(SELECT v FROM i WHERE id = 9) FROM t"), "-1|text");
	sqlite3_close(db);
}

static int names(void *ctx, const char *name, uint64_t rows)
{
	char *s = ctx;

	sprintf(s + strlen(s), "%s=%d ", name, (int)rows);
	return 0;
}

static void kv_reads_rows_written_by_sql(void)
{
	static const uint8_t want[] = {0, 0, 4, 0, 6, 5, 1, 3, 0, 0, 0,	   0,	 0,   0,
				       0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 0x2c, 0x01, 'h', 'i'};
	const char *path = t_fresh("kv2.twz");
	sqlite3 *db = t_open(path);
	struct twzdb_slice key, val;
	struct twzdb_cursor *c = NULL;
	struct twzdb_key_reader r;
	char list[200] = "", text[20];
	uint64_t tag, more;
	double head;
	size_t n;

	t_must(db,
	       "CREATE VIRTUAL TABLE t USING twz(a TEXT, b INT, c, d TEXT, PRIMARY KEY(a, b DESC), "
	       "UNIQUE(d), INDEX ic(c DESC)); INSERT INTO t VALUES('x' || char(0) || 'y', 5, 300, 'hi')");
	sqlite3_close(db);
	engine_open(path, TWZDB_RDONLY);
	T_OK(twzdb_table_list(tx, names, list));
	T_STR(list,
	      "native.t=1 nativeindex.1.t=1 nativeindex.2.t=1 sqlite.native=1 sqlite.pages=2 ");
	T_OK(twzdb_cursor_open(tx, table("native.t"), &c));
	T_OK(twzdb_cursor_get(c, TWZDB_FIRST, &key, &val));
	T_EQ(val.len, sizeof(want));
	T_TRUE(val.len == sizeof(want) && !memcmp(val.ptr, want, sizeof(want)));
	twzdb_key_read(&r, key);
	T_OK(twzdb_key_get_uint(&r, &tag, 1, 0));
	T_EQ(tag, 0x30);
	T_OK(twzdb_key_get_bytes(&r, text, sizeof(text), &n, 0));
	T_TRUE(n == 3 && !memcmp(text, "x\0y", 3));
	T_OK(twzdb_key_get_uint(&r, &tag, 1, TWZDB_KEY_DESC));
	T_EQ(tag, 0x20);
	T_OK(twzdb_key_get_double(&r, &head, TWZDB_KEY_DESC));
	T_OK(twzdb_key_get_uint(&r, &more, 2, TWZDB_KEY_DESC));
	T_TRUE(head == 5 && more == 0 && r.left == 0);
	twzdb_cursor_close(c);
	engine_close(false);
}

/* 2^53 and 2^53 + 1 are the same double, and two keys; 1 and 1.0 are one. */
static void numbers_sort_and_differ_exactly(void)
{
	sqlite3 *db = t_open(t_fresh("num.twz"));

	t_must(db,
	       "CREATE VIRTUAL TABLE t USING twz(n PRIMARY KEY); INSERT INTO t VALUES(9007199254740993), "
	       "(9007199254740992), (9007199254740994.0), (9223372036854775807), "
	       "(9223372036854775806), (-9223372036854775808), (1e300), (-1e300), (0.5), (1), ('a'), "
	       "(x'00'), (9223372036854774784.0), (9223372036854774785)");
	T_EQ(sqlite3_exec(db, "INSERT INTO t VALUES(1.0)", NULL, NULL, NULL), SQLITE_CONSTRAINT);
	T_EQ(sqlite3_exec(db, "INSERT INTO t VALUES(9007199254740994)", NULL, NULL, NULL),
	     SQLITE_CONSTRAINT);
	T_STR(t_text(db, "SELECT group_concat(quote(n)) FROM t"),
	      t_text(db,
		     "WITH o AS MATERIALIZED (SELECT +n AS n FROM t) SELECT group_concat(quote(n)) "
		     "FROM (SELECT n FROM o ORDER BY n)"));
	T_EQ(t_num(db, "SELECT count(*) FROM t"), 14);
	sqlite3_close(db);
}

/* --- garbage --- */

static void spoil(uint8_t *p, size_t *n, size_t cap)
{
	switch (t_rand_below(4)) {
	case 0:
		*n = t_rand_below(*n + 1);
		break;
	case 1:
		while (*n < cap && t_rand_below(4))
			p[(*n)++] = (uint8_t)t_rand();
		break;
	default:
		for (uint64_t i = t_rand_below(4) + 1; *n && i; i--)
			p[t_rand_below(*n)] =
				(uint8_t)(t_rand_below(2) ? t_rand() : t_rand_below(8));
	}
}

/* Some rows of a table, and some of its index, become others. */
static void spoil_table(const char *name)
{
	struct twzdb_table t = table(name);
	struct twzdb_cursor *c = NULL;
	struct twzdb_slice key, val;
	uint8_t k[300], v[600];
	int err;

	T_OK(twzdb_cursor_open(tx, t, &c));
	err = twzdb_cursor_get(c, TWZDB_FIRST, &key, &val);
	for (int i = 0; !err && i < 40; i++) {
		size_t kn = key.len < 200 ? key.len : 200, vn = val.len < 400 ? val.len : 400;

		memcpy(k, key.ptr, kn);
		memcpy(v, val.ptr, vn);
		if (t_rand_below(3) == 0)
			spoil(k, &kn, sizeof(k));
		if (t_rand_below(2))
			spoil(v, &vn, sizeof(v));
		T_OK(twzdb_put(tx, t, (struct twzdb_slice){k, kn}, (struct twzdb_slice){v, vn}, 0));
		if (t_rand_below(8) == 0)
			err = twzdb_del(tx, t, key);
		err = twzdb_cursor_get(c, TWZDB_NEXT, &key, &val);
	}
	twzdb_cursor_close(c);
}

/* Any answer will do, but a crash; and what is called corrupt says where. */
static void use_it(sqlite3 *db)
{
	static const char *const sql[] = {
		"SELECT * FROM t",
		"SELECT sum(length(a)), sum(b), max(c), min(d), count(twz_key) FROM t",
		"SELECT * FROM t WHERE a >= 'a' ORDER BY a DESC, b",
		"SELECT * FROM t WHERE c = 5",
		"SELECT * FROM t WHERE d LIKE 'x%'",
		"UPDATE t SET c = c + 1",
		"UPDATE OR REPLACE t SET d = 'new' WHERE b = 3",
		"INSERT OR REPLACE INTO t VALUES('a1', 1, 2, 'x3', 4)",
		"DELETE FROM t WHERE c > 3",
		"SELECT rowid, * FROM r WHERE v > 3",
		"INSERT INTO r(v) VALUES(5)",
		"UPDATE r SET id = id + 1000 WHERE v < 10",
		"DELETE FROM r WHERE rowid % 2",
	};

	for (size_t i = 0; i < sizeof(sql) / sizeof(sql[0]); i++) {
		int rc = sqlite3_exec(db, sql[i], NULL, NULL, NULL);

		if (!T_TRUE(rc == SQLITE_OK || rc == SQLITE_CORRUPT || rc == SQLITE_CONSTRAINT))
			fprintf(stderr, "  %s: %d %s\n", sql[i], rc, sqlite3_errmsg(db));
		if (rc == SQLITE_CORRUPT) {
			T_EQ(sqlite3_extended_errcode(db), SQLITE_CORRUPT_VTAB);
			T_HAS(sqlite3_errmsg(db), "native table ");
		}
	}
}

static void garbage_is_an_error_never_a_crash(void)
{
	static const char *const tables[] = {"native.t", "nativeindex.1.t", "nativeindex.2.t",
					     "native.r", "sqlite.native"};
	int rounds = getenv("ROUNDS") ? atoi(getenv("ROUNDS")) : 60;
	const char *path = t_fresh("garbage.twz");
	int corrupt = 0;

	for (int i = 0; i < rounds && !CU_get_number_of_failures(); i++) {
		sqlite3 *db = t_open(path);

		t_must(db,
		       "CREATE VIRTUAL TABLE t USING twz(a TEXT, b INT, c REAL, d TEXT COLLATE NOCASE, "
		       "e BLOB, PRIMARY KEY(a, b DESC), INDEX(c), INDEX(d, e)); CREATE VIRTUAL TABLE r "
		       "USING twz(id INTEGER PRIMARY KEY, v NUMERIC)");
		t_must(db,
		       "INSERT INTO t WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c "
		       "WHERE i < 30) SELECT 'a'||i, i %% 7, i / 3.0, 'X'||i, zeroblob(i) FROM c; "
		       "INSERT INTO r WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c "
		       "WHERE i < 30) SELECT i * 3, i / 2.0 FROM c");
		sqlite3_close(db);
		engine_open(path, 0);
		spoil_table(tables[t_rand_below(5)]);
		spoil_table(tables[t_rand_below(4)]);
		engine_close(true);
		db = t_open(path);
		corrupt += sqlite3_exec(db, "SELECT * FROM t", NULL, NULL, NULL) == SQLITE_CORRUPT;
		use_it(db);
		t_must(db, "DROP TABLE t; DROP TABLE r");
		sqlite3_close(db);
	}
	T_TRUE(corrupt > 0);
}

static const struct t_case cases[] = {
	T_CASE(sql_reads_rows_written_by_kv), T_CASE(kv_reads_rows_written_by_sql),
	T_CASE(numbers_sort_and_differ_exactly), T_CASE(garbage_is_an_error_never_a_crash), T_END};

int main(int argc, char **argv)
{
	t_err_name = twzdb_err_name;
	t_err_msg = twzdb_errmsg;
	if (twzvfs_register(0) != SQLITE_OK)
		return 1;
	return t_main("native_kv", cases, argc, argv);
}
