/* SPDX-License-Identifier: MIT
 * test_native.c -- native tables: constraints, transactions, savepoints, several connections
 */
#include "native_t.h"

#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* --- constraints --- */

static const char *const clauses[] = {"",	 "OR ROLLBACK", "OR ABORT",
				      "OR FAIL", "OR IGNORE",	"OR REPLACE"};

/* Rows 1..3 are there; the second row of each statement fails by one constraint. */
static const struct {
	const char *claim, *insert, *update;
} violations[] = {
	{"NOT NULL", "VALUES('x', 10, 10, 1), ('y', NULL, 11, 1), ('z', 12, 12, 1)",
	 "n = NULL WHERE k = 'b'"},
	{"UNIQUE", "VALUES('x', 10, 10, 1), ('y', 2, 11, 1), ('z', 12, 12, 1)",
	 "n = 1 WHERE k = 'b'"},
	{"UNIQUE INDEX", "VALUES('x', 10, 10, 1), ('y', 11, 3, 1), ('z', 12, 12, 1)",
	 "u = 1 WHERE k = 'b'"},
	{"PRIMARY KEY", "VALUES('x', 10, 10, 1), ('a', 11, 11, 1), ('z', 12, 12, 1)",
	 "k = 'a' WHERE k = 'b'"},
	{"PRIMARY KEY NULL", "VALUES('x', 10, 10, 1), (NULL, 11, 11, 1), ('z', 12, 12, 1)",
	 "k = NULL WHERE k = 'b'"},
	{"CHECK", "VALUES('x', 10, 10, 1), ('y', 11, 11, -5), ('z', 12, 12, 1)",
	 "c = -1 WHERE k = 'b'"},
	{"two rows in the way", "VALUES('x', 10, 10, 1), ('a', 2, 3, 1), ('z', 12, 12, 1)",
	 "n = 1, u = 3 WHERE k = 'b'"},
	{"none", "VALUES('x', 10, 10, 1), ('y', 11, 11, 1), ('z', 12, 12, 1)",
	 "n = 20 WHERE k = 'b'"},
};

static sqlite3 *constrained(bool native, bool index)
{
	sqlite3 *db = native ? t_open(t_fresh("con.twz")) : t_plain();
	const char *cols =
		"k TEXT PRIMARY KEY, n INT NOT NULL, u INT, c INT CHECK(c >= 0), UNIQUE(n)";

	if (native)
		t_must(db, "CREATE VIRTUAL TABLE t USING twz(%s%s)", cols,
		       index ? ", UNIQUE INDEX iu(u)" : ", UNIQUE(u)");
	else
		t_must(db, "CREATE TABLE t(%s) WITHOUT ROWID; CREATE UNIQUE INDEX iu ON t(u)",
		       cols);
	t_must(db, "INSERT INTO t VALUES('a', 1, 1, 1), ('b', 2, 2, 2), ('c', 3, 3, 3)");
	return db;
}

/* EXACT: the same constraint is named, too. Of two that fail, SQLite may name the other one. */
static void compare(sqlite3 *const db[2], const char *sql, bool exact)
{
	char *want;
	int rc[2];

	for (int i = 0; i < 2; i++)
		rc[i] = sqlite3_exec(db[i], sql, NULL, NULL, NULL);
	if (!T_EQ(rc[0], rc[1]) ||
	    (rc[0] && exact && !T_STR(sqlite3_errmsg(db[0]), sqlite3_errmsg(db[1]))))
		fprintf(stderr, "  %s\n", sql);
	if (exact)
		T_EQ(sqlite3_extended_errcode(db[0]), sqlite3_extended_errcode(db[1]));
	T_EQ(sqlite3_get_autocommit(db[0]), sqlite3_get_autocommit(db[1]));
	want = strdup(t_text(db[1],
			     "SELECT group_concat(k||' '||n||' '||u||' '||c, ',') FROM (SELECT "
			     "* FROM t ORDER BY k)"));
	if (!T_STR(t_text(db[0],
			  "SELECT group_concat(k||' '||n||' '||u||' '||c, ',') FROM (SELECT * "
			  "FROM t ORDER BY k)"),
		   want))
		fprintf(stderr, "  %s\n", sql);
	free(want);
}

static void violate(size_t v, size_t c, bool in_transaction)
{
	sqlite3 *db[2] = {constrained(true, c & 1), constrained(false, c & 1)};
	bool exact = strcmp(violations[v].claim, "two rows in the way");
	char sql[300];

	if (in_transaction)
		compare(db, "BEGIN; INSERT INTO t VALUES('w', 9, 9, 9)", true);
	snprintf(sql, sizeof(sql), "INSERT %s INTO t %s", clauses[c], violations[v].insert);
	compare(db, sql, exact);
	snprintf(sql, sizeof(sql), "UPDATE %s t SET %s", clauses[c], violations[v].update);
	compare(db, sql, exact);
	if (!sqlite3_get_autocommit(db[0]))
		compare(db, "COMMIT", true);
	sqlite3_close(db[0]);
	sqlite3_close(db[1]);
}

static void every_conflict_clause_meets_every_constraint(void)
{
	for (size_t v = 0; v < sizeof(violations) / sizeof(violations[0]); v++)
		for (size_t c = 0; c < sizeof(clauses) / sizeof(clauses[0]); c++) {
			violate(v, c, false);
			violate(v, c, true);
		}
}

static void what_a_virtual_table_cannot_keep_is_refused(void)
{
	static const struct {
		const char *args, *message;
	} bad[] = {
		{"a DEFAULT 5", "DEFAULT is not possible"},
		{"a REFERENCES x(y)", "REFERENCES is not possible"},
		{"a INTEGER PRIMARY KEY AUTOINCREMENT", "AUTOINCREMENT is not possible"},
		{"a UNIQUE ON CONFLICT IGNORE", "CONFLICT is not possible"},
		{"a, b AS (a + 1)", "generated columns"},
		{"a, a", "duplicate column name"},
		{"a COLLATE klingon PRIMARY KEY", "no such collation"},
		{"a, INDEX(a + 1)", "not of expressions"},
		{"a, INDEX x(a) WHERE a > 1", "no WHERE"},
		{"a, INDEX x(b)", "no such column"},
		{"a, CHECK(nosuch(a))", "no such function"},
		{"twz_key TEXT", "are taken"},
		{"", "syntax error"},
		{"a) AS SELECT (1", "syntax error"},
	};
	sqlite3 *db = t_open(t_fresh("bad.twz"));
	char sql[200];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(sql, sizeof(sql), "CREATE VIRTUAL TABLE t USING twz(%s)", bad[i].args);
		T_TRUE(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_ERROR);
		T_HAS(sqlite3_errmsg(db), bad[i].message);
	}
	T_EQ(t_num(db, "SELECT count(*) FROM sqlite_schema"), 0);
	sqlite3_close(db);
}

static void another_vfs_gets_a_clear_error(void)
{
	static const char *const where[] = {"main", "temp"};
	sqlite3 *db = t_plain();
	char sql[100];

	for (int i = 0; i < 2; i++) {
		snprintf(sql, sizeof(sql), "CREATE VIRTUAL TABLE %s.t USING twz(a)", where[i]);
		T_EQ(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_ERROR);
		T_HAS(sqlite3_errmsg(db), "is not on the VFS twz");
	}
	sqlite3_close(db);
	db = t_open(t_fresh("utf16.twz"));
	t_must(db, "PRAGMA encoding='UTF-16'");
	T_EQ(sqlite3_exec(db, "CREATE VIRTUAL TABLE t USING twz(a)", NULL, NULL, NULL),
	     SQLITE_ERROR);
	T_HAS(sqlite3_errmsg(db), "only UTF-8");
	sqlite3_close(db);
}

/* --- transactions --- */

static void native_and_ordinary_tables_are_one_transaction(void)
{
	const char *path = t_fresh("one.twz");
	sqlite3 *db = t_open(path), *other;

	t_must(db,
	       "PRAGMA foreign_keys=ON; CREATE TABLE parent(id INTEGER PRIMARY KEY); CREATE TABLE "
	       "o(a, p REFERENCES parent(id) DEFERRABLE INITIALLY DEFERRED); CREATE VIRTUAL TABLE n "
	       "USING twz(a INTEGER PRIMARY KEY, b)");
	other = t_open(path);
	t_must(db, "BEGIN; INSERT INTO n VALUES(1, 1); INSERT INTO o VALUES(1, NULL)");
	T_EQ(t_num(other, "SELECT (SELECT count(*) FROM n) + (SELECT count(*) FROM o)"), 0);
	t_must(db, "ROLLBACK");
	T_EQ(t_num(db, "SELECT (SELECT count(*) FROM n) + (SELECT count(*) FROM o)"), 0);
	/* A COMMIT that fails: nothing of it, and nothing lost of the transaction. */
	t_must(db, "BEGIN; INSERT INTO n VALUES(1, 1); INSERT INTO o VALUES(1, 7)");
	T_EQ(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_CONSTRAINT);
	T_EQ(t_num(other, "SELECT (SELECT count(*) FROM n) + (SELECT count(*) FROM o)"), 0);
	t_must(db, "INSERT INTO parent VALUES(7); COMMIT");
	T_EQ(t_num(other, "SELECT (SELECT count(*) FROM n) + (SELECT count(*) FROM o)"), 2);
	/* A statement that fails in the middle takes its own rows back, of both kinds. */
	t_must(db,
	       "PRAGMA trusted_schema=OFF; CREATE TRIGGER tr AFTER INSERT ON o BEGIN INSERT INTO n VALUES(new.a, 0); END; BEGIN");
	T_EQ(sqlite3_exec(db, "INSERT INTO o VALUES(2, NULL), (3, NULL), (2, NULL)", NULL, NULL,
			  NULL),
	     SQLITE_CONSTRAINT);
	T_EQ(t_num(db, "SELECT count(*) FROM n"), 1);
	T_EQ(t_num(db, "SELECT count(*) FROM o"), 1);
	t_must(db, "COMMIT");
	sqlite3_close(other);
	sqlite3_close(db);
	db = t_open(path);
	T_EQ(t_num(db, "SELECT count(*) FROM n"), 1);
	T_STR(t_text(db, "PRAGMA integrity_check"), "ok");
	sqlite3_close(db);
}

static void savepoints_reach_rows_tables_and_spilled_pages(void)
{
	sqlite3 *db = t_open(t_fresh("sp.twz"));

	t_must(db,
	       "PRAGMA cache_size=5; CREATE TABLE o(x); CREATE VIRTUAL TABLE n USING twz(a PRIMARY "
	       "KEY, b, INDEX(b)); INSERT INTO n VALUES(1, 1)");
	t_must(db,
	       "BEGIN; INSERT INTO o WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c "
	       "WHERE i < 300) SELECT hex(zeroblob(200)) || i FROM c");
	t_must(db,
	       "SAVEPOINT s; INSERT INTO n VALUES(2, 2); UPDATE o SET x = x || 'y'; DROP TABLE n; "
	       "CREATE VIRTUAL TABLE m USING twz(a); INSERT INTO m VALUES(5)");
	t_must(db, "ROLLBACK TO s");
	T_EQ(t_num(db, "SELECT count(*) FROM n"), 1);
	T_EQ(t_num(db, "SELECT count(*) FROM o WHERE x LIKE '%%y'"), 0);
	T_EQ(sqlite3_exec(db, "SELECT * FROM m", NULL, NULL, NULL), SQLITE_ERROR);
	t_must(db,
	       "CREATE VIRTUAL TABLE m USING twz(a, b); INSERT INTO m VALUES(6, 6); ALTER TABLE m "
	       "RENAME TO q; COMMIT");
	T_EQ(t_num(db, "SELECT a FROM q"), 6);
	T_EQ(t_num(db, "SELECT count(*) FROM o"), 300);
	T_STR(t_text(db, "PRAGMA integrity_check"), "ok");
	/* The savepoint that began the transaction. */
	t_must(db,
	       "SAVEPOINT a; INSERT INTO n VALUES(9, 9); SAVEPOINT b; DELETE FROM n; ROLLBACK TO a; "
	       "RELEASE a");
	T_EQ(t_num(db, "SELECT count(*) FROM n"), 1);
	t_must(db, "BEGIN; DROP TABLE n; DROP TABLE q; ROLLBACK");
	T_EQ(t_num(db, "SELECT (SELECT count(*) FROM n) + (SELECT count(*) FROM q)"), 2);
	sqlite3_close(db);
}

static void rollback_is_heard_where_the_file_hears_nothing(void)
{
	static const char *const how[] = {"", "&nolock=1"};
	const char *path = t_fresh("excl.twz");
	char uri[700];

	for (int i = 0; i < 2; i++) {
		sqlite3 *db;

		snprintf(uri, sizeof(uri), "file:%s?vfs=twz%s", path, how[i]);
		db = t_open(uri);
		t_must(db,
		       "PRAGMA locking_mode=%s; CREATE VIRTUAL TABLE t%d USING twz(a PRIMARY KEY); "
		       "INSERT INTO t%d VALUES(1)",
		       i ? "normal" : "exclusive", i, i);
		t_must(db, "BEGIN; INSERT INTO t%d VALUES(2); ROLLBACK; INSERT INTO t%d VALUES(3)",
		       i, i);
		T_EQ(sqlite3_exec(db,
				  i ? "INSERT INTO t1 VALUES(4),(3)"
				    : "INSERT INTO t0 VALUES(4),(3)",
				  NULL, NULL, NULL),
		     SQLITE_CONSTRAINT);
		t_must(db,
		       "CREATE TABLE o%d(x); BEGIN; INSERT INTO o%d VALUES(1); DELETE FROM t%d; "
		       "DROP TABLE t%d; ROLLBACK",
		       i, i, i, i);
		T_STR(t_text(db, i ? "SELECT group_concat(a) FROM t1"
				   : "SELECT group_concat(a) FROM t0"),
		      "1,3");
		sqlite3_close(db);
	}
}

/* --- connections --- */

static void readers_keep_their_snapshot_and_writers_are_busy(void)
{
	const char *path = t_fresh("two.twz");
	sqlite3 *a = t_open(path), *b = t_open(path);

	t_must(a,
	       "CREATE TABLE o(x); CREATE VIRTUAL TABLE n USING twz(x); INSERT INTO n VALUES(1)");
	t_must(b, "BEGIN");
	T_EQ(t_num(b, "SELECT count(*) FROM n"), 1);
	t_must(a, "BEGIN; INSERT INTO n VALUES(2); INSERT INTO o VALUES(2)");
	T_EQ(sqlite3_exec(b, "INSERT INTO n VALUES(3)", NULL, NULL, NULL), SQLITE_BUSY);
	t_must(a, "COMMIT");
	T_EQ(t_num(b, "SELECT count(*) FROM n"), 1);
	T_EQ(t_num(b, "SELECT count(*) FROM o"), 0);
	T_EQ(sqlite3_exec(b, "INSERT INTO n VALUES(3)", NULL, NULL, NULL), SQLITE_BUSY);
	T_EQ(sqlite3_extended_errcode(b), SQLITE_BUSY_SNAPSHOT);
	t_must(b, "COMMIT");
	T_EQ(t_num(b, "SELECT count(*) FROM n"), 2);
	/* What one of them makes, drops and makes otherwise is what the other one has. */
	t_must(a,
	       "DROP TABLE n; CREATE VIRTUAL TABLE n USING twz(x, y, INDEX(y)); INSERT INTO n VALUES(7, 8)");
	T_EQ(t_num(b, "SELECT x FROM n WHERE y = 8"), 7);
	t_must(a, "ALTER TABLE n RENAME TO m");
	T_EQ(t_num(b, "SELECT x FROM m WHERE y = 8"), 7);
	sqlite3_close(a);
	sqlite3_close(b);
}

/* Text is handed out where it lies; the statement that has it may outlive the snapshot. */
static void values_stay_where_they_are_while_others_commit(void)
{
	sqlite3 *db = t_open(t_fresh("static.twz"));
	sqlite3_stmt *st = NULL;
	const char *v;
	int rows = 0;

	t_must(db, "CREATE VIRTUAL TABLE t USING twz(k INTEGER PRIMARY KEY, v)");
	t_must(db,
	       "INSERT INTO t WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i "
	       "< 40) SELECT i, printf('%%0100d', i) FROM c");
	T_EQ(sqlite3_prepare_v2(db, "SELECT k, v FROM t WHERE v > '' ORDER BY k", -1, &st, NULL),
	     0);
	while (sqlite3_step(st) == SQLITE_ROW) {
		char want[101];

		v = sqlite3_column_blob(st, 1);
		snprintf(want, sizeof(want), "%0100d", ++rows);
		T_EQ(sqlite3_column_int(st, 0), rows);
		for (int i = 0; i < 50; i++)
			t_must(db, "UPDATE t SET v = '%0100d' WHERE k <= %d", -i, rows);
		T_TRUE(!memcmp(v, want, 100));
	}
	T_EQ(rows, 40);
	sqlite3_finalize(st);
	T_EQ(t_num(db, "SELECT count(DISTINCT v) FROM t"), 1);
	sqlite3_close(db);
}

static void attached_files_commit_native_rows_together(void)
{
	const char *p1 = t_fresh("att1.twz"), *p2 = t_fresh("att2.twz");
	sqlite3 *db = t_open(p1), *other;

	t_must(db,
	       "ATTACH '%s' AS b; CREATE VIRTUAL TABLE main.t USING twz(a); CREATE VIRTUAL TABLE b.t "
	       "USING twz(a); CREATE TABLE main.o(a)",
	       p2);
	t_must(db, "BEGIN; INSERT INTO main.t VALUES(1); INSERT INTO b.t VALUES(1); COMMIT");
	t_must(db, "BEGIN; INSERT INTO main.o VALUES(1); INSERT INTO b.t VALUES(2); COMMIT");
	t_must(db, "BEGIN; INSERT INTO main.t VALUES(9); INSERT INTO b.t VALUES(9); ROLLBACK");
	other = t_open(p2);
	T_STR(t_text(other, "SELECT group_concat(a) FROM t"), "1,2");
	sqlite3_close(other);
	T_EQ(t_num(db, "SELECT (SELECT count(*) FROM main.t) * 10 + (SELECT count(*) FROM o)"), 11);
	t_must(db,
	       "BEGIN; CREATE VIRTUAL TABLE b.u USING twz(a); SAVEPOINT s; INSERT INTO b.u VALUES(1); "
	       "DROP TABLE b.t; ROLLBACK TO s; COMMIT; DETACH b");
	sqlite3_close(db);
	other = t_open(p2);
	T_EQ(t_num(other, "SELECT (SELECT count(*) FROM t) * 10 + (SELECT count(*) FROM u)"), 20);
	sqlite3_close(other);
}

/* --- death --- */

static void child(const char *path, int fd)
{
	sqlite3 *db = t_open(path);

	sqlite3_busy_timeout(db, 10000);
	for (int i = 1;; i++) {
		char sql[300];

		snprintf(sql, sizeof(sql),
			 "BEGIN; INSERT INTO n VALUES(%d, %d, hex(zeroblob(%d))); INSERT INTO o "
			 "VALUES(%d, %d); SAVEPOINT s; DELETE FROM n; ROLLBACK TO s; COMMIT",
			 (int)getpid(), i, i % 400, (int)getpid(), i);
		if (sqlite3_exec(db, sql, NULL, NULL, NULL) ||
		    write(fd, &i, sizeof(i)) != sizeof(i))
			_exit(4);
	}
}

/* Rows of both kinds, or of none; and all that was acknowledged. OTHERS: somebody has the store open. */
static void one_death(const char *path, bool others)
{
	int fd[2], last = 0, n, status;
	sqlite3 *db = NULL;
	pid_t pid;

	T_EQ(pipe(fd), 0);
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		child(path, fd[1]);
	close(fd[1]);
	if (others)
		db = t_open(path);
	usleep((useconds_t)(10000 + t_rand_below(60000)));
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	T_TRUE(WIFSIGNALED(status));
	while (read(fd[0], &n, sizeof(n)) == sizeof(n))
		last = n;
	close(fd[0]);
	if (!db)
		db = t_open(path);
	sqlite3_busy_timeout(db, 10000);
	n = (int)t_num(db, "SELECT coalesce(max(i), 0) FROM n WHERE pid = %d", (int)pid);
	T_TRUE(n == last || n == last + 1);
	T_EQ(t_num(db, "SELECT count(*) FROM n WHERE pid = %d", (int)pid), n);
	T_EQ(t_num(db, "SELECT count(*) FROM n JOIN o USING (pid, i)"),
	     t_num(db, "SELECT count(*) FROM o"));
	T_EQ(t_num(db, "SELECT count(*) FROM n"), t_num(db, "SELECT count(*) FROM o"));
	T_EQ(t_num(db, "SELECT count(*) FROM n WHERE v >= ''"),
	     t_num(db, "SELECT count(*) FROM o"));
	t_must(db, "INSERT INTO n VALUES(0, %d, 'alive'); INSERT INTO o VALUES(0, %d)", (int)pid,
	       (int)pid);
	sqlite3_close(db);
}

static void a_killed_writer_leaves_both_or_none(void)
{
	const char *path = t_fresh("kill.twz");
	sqlite3 *db = t_open(path);

	t_must(db,
	       "CREATE VIRTUAL TABLE n USING twz(pid INT, i INT, v TEXT, PRIMARY KEY(pid, i), INDEX(v)); "
	       "CREATE TABLE o(pid, i)");
	sqlite3_close(db);
	for (int i = 0; i < 16; i++)
		one_death(path, i & 1);
	db = t_open(path);
	T_STR(t_text(db, "PRAGMA integrity_check"), "ok");
	sqlite3_close(db);
}

/* --- a full disk --- */

static void fill_disk(sqlite3 *db)
{
	int rc = 0, kept = 0;

	t_must(db,
	       "CREATE VIRTUAL TABLE t USING twz(a INTEGER PRIMARY KEY, b, n INT, UNIQUE(n), INDEX(b))");
	for (int i = 0; i < 400 && !rc; i++) {
		char sql[200];

		snprintf(
			sql, sizeof(sql),
			"BEGIN; INSERT INTO t(b, n) VALUES(randomblob(15000), %d), (randomblob(15000), "
			"-1 - %d); COMMIT",
			i, i);
		rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
		kept += rc ? 0 : 2;
	}
	T_EQ(rc, SQLITE_FULL);
	if (!sqlite3_get_autocommit(db))
		t_must(db, "ROLLBACK");
	T_EQ(t_num(db, "SELECT count(*) FROM t"), kept);
	T_EQ(t_num(db,
		   "SELECT count(*) FROM t x WHERE EXISTS (SELECT 1 FROM t y WHERE y.b = x.b AND y.n = "
		   "x.n)"),
	     kept);
	t_must(db, "DELETE FROM t WHERE a <= 2");
	T_EQ(t_num(db, "SELECT count(*) FROM t"), kept - 2);
}

static void a_full_disk_takes_back_rows_and_index_entries(void)
{
	const char *dir = t_path(t_dir(), "small");
	char path[600];
	bool forced;
	sqlite3 *db;

	mkdir(dir, 0700);
	if (mount("tmpfs", dir, "tmpfs", 0, "size=12m")) {
		printf("  not root: full disk not tested\n");
		return;
	}
	snprintf(path, sizeof(path), "%s/full.twz", dir);
	forced = getenv("PMEM2_FORCE_GRANULARITY") != NULL;
	setenv("PMEM2_FORCE_GRANULARITY", "CACHE_LINE", 1); /* a small log */
	db = t_open(path);
	if (!forced)
		unsetenv("PMEM2_FORCE_GRANULARITY");
	fill_disk(db);
	sqlite3_close(db);
	umount(dir);
}

/* --- copies --- */

static void copies_of_pages_have_no_rows_and_say_so(void)
{
	const char *path = t_fresh("from.twz"), *into = t_fresh("into.twz");
	sqlite3 *db = t_open(path);

	t_must(db,
	       "CREATE TABLE o(x); INSERT INTO o VALUES(hex(zeroblob(9000))); CREATE VIRTUAL TABLE t "
	       "USING twz(a PRIMARY KEY, b); INSERT INTO t VALUES(1, 2)");
	t_must(db, "DELETE FROM o; PRAGMA page_size=1024; VACUUM");
	T_EQ(t_num(db, "SELECT b FROM t WHERE a = 1"), 2);
	T_STR(t_text(db, "PRAGMA integrity_check"), "ok");
	t_must(db, "VACUUM INTO 'file:%s?vfs=twz'", into);
	sqlite3_close(db);
	db = t_open(into);
	T_EQ(sqlite3_exec(db, "SELECT * FROM t", NULL, NULL, NULL), SQLITE_CORRUPT);
	T_EQ(sqlite3_extended_errcode(db), SQLITE_CORRUPT_VTAB);
	T_HAS(sqlite3_errmsg(db), "has no rows in this store");
	T_EQ(sqlite3_exec(db, "INSERT INTO t VALUES(1, 1)", NULL, NULL, NULL), SQLITE_CORRUPT);
	t_must(db, "DROP TABLE t; CREATE VIRTUAL TABLE t USING twz(a); INSERT INTO t VALUES(1)");
	T_EQ(t_num(db, "SELECT count(*) FROM t"), 1);
	sqlite3_close(db);
}

/* --- plans --- */

static void plans_use_keys_and_order(void)
{
	static const struct {
		const char *sql, *plan;
		bool sorts;
	} want[] = {
		{"SELECT * FROM t WHERE k = 'a'", "INDEX 131072:e", false},
		{"SELECT * FROM t WHERE k > 'a' AND k < 'b' ORDER BY k", "INDEX 0:><", false},
		{"SELECT * FROM t WHERE k GLOB 'a*' ORDER BY k DESC", "INDEX 65536:b", false},
		{"SELECT * FROM t WHERE b = 5 AND c > 3", "INDEX 1:e>", false},
		{"SELECT * FROM t WHERE b = 5 ORDER BY c DESC", "INDEX 65537:e", false},
		{"SELECT * FROM t WHERE b IN (1, 2, 3)", "INDEX 1:e", false},
		{"SELECT * FROM t ORDER BY k", "INDEX 0:", false},
		{"SELECT * FROM t WHERE n LIKE 'ab%'", "INDEX 2:k", false},
		{"SELECT * FROM t WHERE b > 1 ORDER BY d", "INDEX", true},
	};
	sqlite3 *db = t_open(t_fresh("plan.twz"));

	t_must(db,
	       "CREATE VIRTUAL TABLE t USING twz(k TEXT PRIMARY KEY, b INT, c INT, d INT, n TEXT "
	       "COLLATE NOCASE, INDEX(b, c), INDEX(n))");
	t_must(db,
	       "INSERT INTO t WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i "
	       "< 3000) SELECT 'k'||i, i %% 50, i, i, 'N'||i FROM c");
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		char *plan = t_plan(db, want[i].sql);

		if (!T_HAS(plan, want[i].plan) ||
		    !T_TRUE((strstr(plan, "TEMP B-TREE") != NULL) == want[i].sorts))
			fprintf(stderr, "  %s: %s\n", want[i].sql, plan);
		free(plan);
	}
	sqlite3_close(db);
}

static const struct t_case cases[] = {T_CASE(every_conflict_clause_meets_every_constraint),
				      T_CASE(what_a_virtual_table_cannot_keep_is_refused),
				      T_CASE(another_vfs_gets_a_clear_error),
				      T_CASE(native_and_ordinary_tables_are_one_transaction),
				      T_CASE(savepoints_reach_rows_tables_and_spilled_pages),
				      T_CASE(rollback_is_heard_where_the_file_hears_nothing),
				      T_CASE(readers_keep_their_snapshot_and_writers_are_busy),
				      T_CASE(values_stay_where_they_are_while_others_commit),
				      T_CASE(attached_files_commit_native_rows_together),
				      T_CASE(a_killed_writer_leaves_both_or_none),
				      T_CASE(a_full_disk_takes_back_rows_and_index_entries),
				      T_CASE(copies_of_pages_have_no_rows_and_say_so),
				      T_CASE(plans_use_keys_and_order),
				      T_END};

int main(int argc, char **argv)
{
	t_err_name = twzdb_err_name;
	t_err_msg = twzdb_errmsg;
	if (twzvfs_register(0) != SQLITE_OK)
		return 1;
	return t_main("native", cases, argc, argv);
}
