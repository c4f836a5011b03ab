/* SPDX-License-Identifier: MIT
 * test_vfs_open.c -- how a database may be opened and by whom: read-only, without permission, nolock, immutable, exclusive
 */
#include "t.h"

#include <grp.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "twzvfs.h"

#define RW (SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)

static const char *fresh(const char *name)
{
	const char *p = t_path(t_dir(), name);
	char lock[600];

	unlink(p);
	snprintf(lock, sizeof(lock), "%s-lock", p);
	unlink(lock);
	return p;
}

/* PATH?OPT, opened with FLAGS; NULL: *RC says why not. */
static sqlite3 *open_uri(const char *path, const char *opt, int flags, int *rc)
{
	sqlite3 *db = NULL;
	char uri[700];

	snprintf(uri, sizeof(uri), "file:%s?vfs=twz%s", path, opt);
	*rc = sqlite3_open_v2(uri, &db, flags | SQLITE_OPEN_URI, NULL);
	if (*rc) {
		sqlite3_close(db);
		return NULL;
	}
	return db;
}

static sqlite3 *open_as(const char *path, const char *opt, int flags)
{
	int rc;
	sqlite3 *db = open_uri(path, opt, flags, &rc);

	T_EQ(rc, SQLITE_OK);
	return db;
}

static int exec(sqlite3 *db, const char *sql)
{
	return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

static int num(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *st = NULL;
	int v = -1;

	if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK &&
	    sqlite3_step(st) == SQLITE_ROW)
		v = sqlite3_column_int(st, 0);
	sqlite3_finalize(st);
	return v;
}

static int rows(sqlite3 *db)
{
	return num(db, "select count(*) from t");
}

/* A database with one row, closed. */
static void make(const char *path)
{
	sqlite3 *db = open_as(path, "", RW);

	T_EQ(exec(db, "create table t(x); insert into t values(1)"), SQLITE_OK);
	T_EQ(sqlite3_close(db), SQLITE_OK);
}

static unsigned char *slurp(const char *path, size_t *len)
{
	struct stat st;
	unsigned char *p;
	int fd = open(path, O_RDONLY);

	*len = 0;
	if (fd < 0 || fstat(fd, &st) || !(p = malloc((size_t)st.st_size)))
		return NULL;
	*len = (size_t)read(fd, p, (size_t)st.st_size);
	close(fd);
	return p;
}

struct kept {
	unsigned char *p;
	size_t len;
};

static struct kept keep(const char *path)
{
	struct kept k;

	k.p = slurp(path, &k.len);
	return k;
}

static void is_as_kept(const char *path, struct kept k)
{
	struct kept now = keep(path);

	T_TRUE(now.p && now.len == k.len && !memcmp(now.p, k.p, k.len));
	free(now.p);
	free(k.p);
}

/* --- read-only --- */

static int write_and_die(void *path)
{
	sqlite3 *db = open_as(path, "", RW);

	if (exec(db, "insert into t values(2); insert into t values(3); begin;"
		     "insert into t select x from t"))
		return 1;
	kill(getpid(), SIGKILL);
	return 1;
}

static void is_read_only(sqlite3 *db, int want)
{
	T_EQ(sqlite3_db_readonly(db, "main"), 1);
	T_EQ(rows(db), want);
	T_EQ(num(db, "select count(*) from pragma_integrity_check where integrity_check <> 'ok'"),
	     0);
	T_EQ(exec(db, "insert into t values(9)"), SQLITE_READONLY);
	T_EQ(exec(db, "create table u(x)"), SQLITE_READONLY);
	T_EQ(exec(db, "vacuum"), SQLITE_READONLY);
	T_EQ(rows(db), want);
}

static void reading_changes_nothing(void)
{
	const char *path = fresh("ro.twz");
	static const char *const opt[] = {"&mode=ro", "&immutable=1", "&nolock=1&mode=ro"};
	struct kept before;
	sqlite3 *db;

	make(path);
	T_TRUE(WIFSIGNALED(t_fork(write_and_die, (void *)(uintptr_t)path)));
	before = keep(path);
	for (size_t i = 0; i < sizeof(opt) / sizeof(opt[0]); i++) {
		db = open_as(path, opt[i], RW);
		is_read_only(db, 3);
		T_EQ(sqlite3_close(db), SQLITE_OK);
	}
	db = open_as(path, "", SQLITE_OPEN_READONLY);
	is_read_only(db, 3);
	T_EQ(sqlite3_close(db), SQLITE_OK);
	is_as_kept(path, before);
}

static int nobody(void)
{
	return geteuid() ? 0 : setgroups(0, NULL) || setgid(65534) || setuid(65534);
}

/* Asks for all, gets what it may have: as with any file. */
static int read_as_nobody(void *path)
{
	sqlite3 *db;
	int rc;

	if (nobody())
		return 2;
	db = open_uri(path, "", RW, &rc);
	if (!db)
		return 3;
	is_read_only(db, 1);
	return sqlite3_close(db) ? 4 : 0;
}

static int watch_as_nobody(void *path)
{
	sqlite3 *db;
	int rc;

	if (nobody())
		return 2;
	db = open_uri(path, "", RW, &rc);
	if (!db)
		return 3;
	is_read_only(db, 2);
	return sqlite3_close(db) ? 4 : 0;
}

static void permissions_of_the_file_count(void)
{
	const char *path = fresh("perm.twz");
	struct kept before;
	sqlite3 *db;

	make(path);
	before = keep(path);
	T_OK(chmod(t_dir(), 0555));
	T_OK(chmod(path, 0444));
	T_EQ(WEXITSTATUS(t_fork(read_as_nobody, (void *)(uintptr_t)path)), 0);
	T_OK(chmod(t_dir(), 0755));
	is_as_kept(path, before);
	/* Also beside one who may write. */
	db = open_as(path, "", RW);
	T_EQ(exec(db, "insert into t values(2)"), SQLITE_OK);
	T_EQ(t_fork(watch_as_nobody, (void *)(uintptr_t)path), 0);
	T_EQ(exec(db, "insert into t values(3)"), SQLITE_OK);
	T_EQ(rows(db), 3);
	sqlite3_close(db);
}

/* --- beside writers --- */

static void a_reader_sees_writers_come_and_go(void)
{
	const char *path = fresh("come.twz");
	sqlite3 *r, *w;

	make(path);
	r = open_as(path, "&mode=ro", RW);
	T_EQ(rows(r), 1);
	for (int i = 2; i < 5; i++) {
		w = open_as(path, "", RW);
		T_EQ(exec(w, "insert into t values(7)"), SQLITE_OK);
		if (i & 1)
			T_EQ(rows(r), i); /* beside it */
		sqlite3_close(w);
		T_EQ(rows(r), i);
	}
	T_EQ(exec(r, "insert into t values(9)"), SQLITE_READONLY);
	/* A transaction keeps them out, for seconds. */
	sqlite3_close(r);
	r = open_as(path, "&mode=ro", RW);
	T_EQ(exec(r, "begin; select * from t"), SQLITE_OK);
	T_EQ(rows(r), 4);
	T_TRUE(!open_uri(path, "", RW, &(int){0}));
	T_EQ(exec(r, "commit"), SQLITE_OK);
	w = open_as(path, "", RW);
	T_EQ(exec(w, "insert into t values(8)"), SQLITE_OK);
	T_EQ(rows(r), 5);
	sqlite3_close(w);
	sqlite3_close(r);
}

static void immutable_keeps_what_it_read_first(void)
{
	const char *path = fresh("imm.twz");
	sqlite3 *w, *i;

	make(path);
	w = open_as(path, "", RW);
	i = open_as(path, "&immutable=1", RW);
	T_EQ(rows(i), 1);
	T_EQ(exec(w, "insert into t values(2)"), SQLITE_OK);
	T_EQ(rows(i), 1);
	sqlite3_close(i);
	i = open_as(path, "&immutable=1", RW);
	T_EQ(rows(i), 2);
	sqlite3_close(i);
	sqlite3_close(w);
}

static void without_locks_it_still_commits_and_sees(void)
{
	const char *path = fresh("nolock.twz");
	sqlite3 *a, *b;

	make(path);
	a = open_as(path, "&nolock=1", RW);
	T_EQ(exec(a, "insert into t values(2); begin; insert into t values(3); commit"), SQLITE_OK);
	T_EQ(exec(a, "begin; insert into t values(4); rollback"), SQLITE_OK);
	T_EQ(rows(a), 3);
	b = open_as(path, "", RW);
	T_EQ(rows(b), 3);
	T_EQ(exec(b, "insert into t values(5)"), SQLITE_OK);
	T_EQ(num(b, "select count(*) from pragma_integrity_check where integrity_check <> 'ok'"),
	     0);
	sqlite3_close(b);
	sqlite3_close(a);
}

/* --- its name is taken away --- */

static void takes_away(const char *path, const char *to)
{
	if (to)
		T_OK(rename(path, to));
	else
		T_OK(unlink(path));
}

/* TO: what the file is called afterwards. NEXT: the name has a new one. */
static void who_has_it_open_reads_on(const char *to, bool next)
{
	const char *path = fresh("gone.twz");
	sqlite3 *db, *b;

	make(path);
	db = open_as(path, "", RW);
	T_EQ(exec(db, "insert into t values(2)"), SQLITE_OK);
	takes_away(path, to);
	if (next)
		make(path);
	usleep(1000); /* what was seen 50 us before is believed */
	T_EQ(exec(db, "insert into t values(3)"), SQLITE_READONLY);
	T_EQ(sqlite3_extended_errcode(db), SQLITE_READONLY_DBMOVED);
	T_EQ(rows(db), 2);
	T_EQ(exec(db, "create table u(x)"), SQLITE_READONLY);
	T_EQ(rows(db), 2);
	if (next) {
		b = open_as(path, "", RW);
		T_EQ(rows(b), 1);
		T_EQ(exec(b, "insert into t values(4)"), SQLITE_OK);
		sqlite3_close(b);
	}
	sqlite3_close(db);
	if (to) {
		b = open_as(to, "", RW);
		T_EQ(rows(b), 2);
		T_EQ(exec(b, "insert into t values(5)"), SQLITE_OK);
		sqlite3_close(b);
		unlink(to);
	}
}

static void a_database_that_loses_its_name_is_not_written(void)
{
	char to[600];

	snprintf(to, sizeof(to), "%s.moved", fresh("gone.twz"));
	for (int next = 0; next < 2; next++) {
		who_has_it_open_reads_on(NULL, next);
		who_has_it_open_reads_on(to, next);
	}
}

/* MODE first; a transaction has begun to write when the file loses its name: its commit is what is told. Only IOERR makes SQLite forget its cache (lock.c). */
static void goes_in_a_transaction(const char *mode)
{
	const char *path = fresh("gone.twz");
	sqlite3 *db;

	make(path);
	db = open_as(path, "", RW);
	T_EQ(exec(db, mode), SQLITE_OK);
	T_EQ(exec(db, "begin immediate; insert into t values(2)"), SQLITE_OK);
	takes_away(path, NULL);
	usleep(1000);
	T_EQ(exec(db, "commit"), SQLITE_IOERR);
	T_EQ(sqlite3_extended_errcode(db), SQLITE_IOERR);
	if (!sqlite3_get_autocommit(db))
		T_EQ(exec(db, "rollback"), SQLITE_OK);
	T_EQ(rows(db), 1);
	T_EQ(exec(db, "insert into t values(3)"), SQLITE_READONLY);
	T_EQ(sqlite3_extended_errcode(db), SQLITE_READONLY_DBMOVED);
	sqlite3_close(db);
}

static void a_transaction_under_way_when_the_name_goes_is_not_committed(void)
{
	goes_in_a_transaction("pragma journal_mode=delete");
	goes_in_a_transaction("pragma journal_mode=wal");
}

/* SQLite asks nobody where it never unlocks: the commit is told. */
static void in_exclusive_mode_each_commit_without_a_name_is_refused(void)
{
	const char *path = fresh("gone.twz");
	sqlite3 *db;

	make(path);
	db = open_as(path, "", RW);
	T_EQ(exec(db, "pragma locking_mode=exclusive; insert into t values(2)"), SQLITE_OK);
	takes_away(path, NULL);
	usleep(1000);
	for (int i = 0; i < 2; i++) {
		T_EQ(exec(db, "insert into t values(3)"), SQLITE_IOERR);
		T_EQ(rows(db), 2);
	}
	sqlite3_close(db);
}

/* What is refused before any commit is: the store would have to grow. The engine says why, and SQLite is told so (rc.c). */
static void a_store_without_a_name_does_not_grow(void)
{
	const char *path = fresh("gone.twz");
	sqlite3 *db;
	int rc = SQLITE_OK;

	make(path);
	db = open_as(path, "", RW);
	T_EQ(exec(db, "create virtual table n using twz(a integer primary key, b);"
		      "begin immediate; insert into n values(1, 'x')"),
	     SQLITE_OK);
	takes_away(path, NULL);
	usleep(1000);
	for (int i = 0; i < 64 && !rc; i++)
		rc = exec(db, "insert into n values(null, zeroblob(1000000))");
	T_EQ(rc, SQLITE_READONLY);
	T_EQ(sqlite3_extended_errcode(db), SQLITE_READONLY_DBMOVED);
	if (!sqlite3_get_autocommit(db))
		T_EQ(exec(db, "rollback"), SQLITE_OK);
	T_EQ(num(db, "select count(*) from n"), 0);
	sqlite3_close(db);
}

/* --- exclusive locking mode (R8) --- */

static int find_it_locked(void *path)
{
	sqlite3 *db;
	int rc;

	db = open_uri(path, "", RW, &rc);
	return !db || exec(db, "select * from t") != SQLITE_BUSY;
}

static int lock_and_die(void *path)
{
	sqlite3 *db = open_as(path, "", RW);

	if (exec(db, "pragma locking_mode=exclusive; insert into t values(2)"))
		return 1;
	kill(getpid(), SIGKILL);
	return 1;
}

static void exclusive_mode_keeps_all_others_out(void)
{
	const char *path = fresh("excl.twz");
	sqlite3 *a, *b;

	make(path);
	a = open_as(path, "", RW);
	b = open_as(path, "", RW);
	T_EQ(exec(a, "pragma locking_mode=exclusive"), SQLITE_OK);
	T_EQ(rows(a), 1);
	/* It has only read: others may read, and not write. */
	T_EQ(rows(b), 1);
	T_EQ(exec(b, "insert into t values(2)"), SQLITE_BUSY);
	/* It has written: others may do nothing. */
	T_EQ(exec(a, "insert into t values(2)"), SQLITE_OK);
	T_EQ(exec(b, "select * from t"), SQLITE_BUSY);
	T_EQ(exec(b, "insert into t values(3)"), SQLITE_BUSY);
	T_EQ(t_fork(find_it_locked, (void *)(uintptr_t)path), 0);
	T_EQ(exec(a, "insert into t values(3)"), SQLITE_OK);
	T_EQ(exec(a, "pragma locking_mode=normal"), SQLITE_OK);
	T_EQ(exec(b, "select * from t"), SQLITE_BUSY); /* until it uses the database again */
	T_EQ(rows(a), 3);
	T_EQ(rows(b), 3);
	T_EQ(exec(b, "insert into t values(4)"), SQLITE_OK);
	/* And a close, or a death, ends it as well. */
	T_EQ(exec(a, "pragma locking_mode=exclusive; insert into t values(5)"), SQLITE_OK);
	T_EQ(exec(b, "select * from t"), SQLITE_BUSY);
	sqlite3_close(a);
	T_EQ(rows(b), 5);
	T_TRUE(WIFSIGNALED(t_fork(lock_and_die, (void *)(uintptr_t)path)));
	T_EQ(rows(b), 6);
	T_EQ(exec(b, "insert into t values(6)"), SQLITE_OK);
	sqlite3_close(b);
}

static const struct t_case cases[] = {
	T_CASE(reading_changes_nothing),
	T_CASE(permissions_of_the_file_count),
	T_CASE(a_reader_sees_writers_come_and_go),
	T_CASE(immutable_keeps_what_it_read_first),
	T_CASE(without_locks_it_still_commits_and_sees),
	T_CASE(a_database_that_loses_its_name_is_not_written),
	T_CASE(a_transaction_under_way_when_the_name_goes_is_not_committed),
	T_CASE(in_exclusive_mode_each_commit_without_a_name_is_refused),
	T_CASE(a_store_without_a_name_does_not_grow),
	T_CASE(exclusive_mode_keeps_all_others_out),
	T_END,
};

int main(int argc, char **argv)
{
	if (twzvfs_register(0))
		return 1;
	return t_main("vfs_open", cases, argc, argv);
}
