/* SPDX-License-Identifier: MIT
 * test_vfs.c -- the VFS "twz" under stock SQLite: what the contract in sqlite-vfs/README.md promises
 */
#include "t.h"

#include <pthread.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>

#include "twzdb.h"
#include "twzvfs.h"

static int open_flags(const char *path, int flags, sqlite3 **db)
{
	return sqlite3_open_v2(path, db, flags | SQLITE_OPEN_URI, "twz");
}

static sqlite3 *open_db(const char *path)
{
	sqlite3 *db = NULL;
	int rc = open_flags(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, &db);

	if (rc) {
		fprintf(stderr, "open %s: %s: %s\n", path, sqlite3_errmsg(db), twzdb_errmsg());
		sqlite3_close(db);
		return NULL;
	}
	return db;
}

static int exec(sqlite3 *db, const char *sql)
{
	return sqlite3_exec(db, sql, NULL, NULL, NULL) & 0xff;
}

static int must(sqlite3 *db, const char *sql)
{
	char *msg = NULL;
	int rc = sqlite3_exec(db, sql, NULL, NULL, &msg);

	if (rc)
		fprintf(stderr, "%s: %s (%d)\n", sql, msg, rc);
	sqlite3_free(msg);
	return rc;
}

/* First column of the first row as an integer; -999 on an error. */
static sqlite3_int64 num(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *st = NULL;
	sqlite3_int64 v = -999;

	if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK &&
	    sqlite3_step(st) == SQLITE_ROW)
		v = sqlite3_column_int64(st, 0);
	else
		fprintf(stderr, "%s: %s\n", sql, sqlite3_errmsg(db));
	sqlite3_finalize(st);
	return v;
}

static const char *text(sqlite3 *db, const char *sql)
{
	static char buf[8][512];
	static int next;
	char *out = buf[next++ % 8];
	sqlite3_stmt *st = NULL;

	out[0] = 0;
	if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK &&
	    sqlite3_step(st) == SQLITE_ROW)
		snprintf(out, 512, "%s", (const char *)sqlite3_column_text(st, 0));
	else
		snprintf(out, 512, "error: %s", sqlite3_errmsg(db));
	sqlite3_finalize(st);
	return out;
}

static const char *fresh(const char *name)
{
	const char *p = t_path(t_dir(), name);
	char lock[600];

	unlink(p);
	snprintf(lock, sizeof(lock), "%s-lock", p);
	unlink(lock);
	return p;
}

#define OPEN(db, path)                                                                             \
	sqlite3 *db = open_db(path);                                                               \
	if (!T_TRUE(db != NULL))                                                                   \
	return

static void rows_survive_reopening(void)
{
	const char *path = fresh("a.twz");
	OPEN(db, path);

	T_EQ(must(db,
		  "create table t(a integer primary key, b text); insert into t values(1,'x'),(2,'y')"),
	     0);
	T_EQ(sqlite3_close(db), 0);
	db = open_db(path);
	if (!T_TRUE(db != NULL))
		return;
	T_EQ(num(db, "select count(*) from t"), 2);
	T_STR(text(db, "select b from t where a=2"), "y");
	T_STR(text(db, "pragma integrity_check"), "ok");
	T_EQ(sqlite3_close(db), 0);
}

static void many_rows(sqlite3 *db, int n)
{
	char sql[300];

	snprintf(
		sql, sizeof(sql),
		"with recursive c(i) as (select 1 union all select i+1 from c where i<%d) insert into t select i, printf('%%0100d', i) from c",
		n);
	T_EQ(must(db, sql), 0);
}

static void rollback_restores_every_page(void)
{
	static const char *const modes[] = {"delete", "truncate", "persist",
					    "memory", "off",	  "wal"};

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		char sql[64];
		OPEN(db, fresh("rb.twz"));

		/* A cache of ten pages spills in the middle of the transaction. */
		T_EQ(must(db,
			  "pragma cache_size=10; create table t(a integer primary key, b); create index tb on t(b)"),
		     0);
		many_rows(db, 2000);
		snprintf(sql, sizeof(sql), "pragma journal_mode=%s", modes[i]);
		T_EQ(must(db, sql), 0);
		T_EQ(must(db, "begin; update t set b=b||'x'; delete from t where a%3=0"), 0);
		T_EQ(must(db, "rollback"), 0);
		T_EQ(num(db, "select count(*) from t where length(b)=100"), 2000);
		T_EQ(must(db,
			  "begin; delete from t where a<=500; savepoint s; update t set b='z'; rollback to s; release s; commit"),
		     0);
		T_EQ(num(db, "select count(*) from t where length(b)=100"), 1500);
		/* Statement rollback: the 500th row conflicts. */
		T_EQ(exec(db, "begin; create table u(x unique); insert into u values(900)"), 0);
		T_EQ(exec(db, "insert into u select a from t where a>600"), SQLITE_CONSTRAINT);
		T_EQ(num(db, "select count(*) from u"), 1);
		T_EQ(must(db, "commit"), 0);
		T_STR(text(db, "pragma integrity_check"), "ok");
		T_EQ(sqlite3_close(db), 0);
	}
}

static void wal_mode_is_declined_honestly(void)
{
	OPEN(db, fresh("wal.twz"));

	T_STR(text(db, "pragma journal_mode=wal"), "delete");
	T_EQ(must(db, "create table t(a); insert into t values(1)"), 0);
	T_EQ(must(db, "pragma locking_mode=exclusive"), 0);
	(void)exec(db, "pragma journal_mode=wal");
	(void)exec(db, "pragma journal_mode=delete");
	T_EQ(must(db, "insert into t values(2)"), 0);
	T_EQ(sqlite3_close(db), 0);
	db = open_db(t_path(t_dir(), "wal.twz"));
	if (!T_TRUE(db != NULL))
		return;
	T_EQ(num(db, "select count(*) from t"), 2);
	sqlite3_close(db);
}

static void backup_of_a_wal_database_opens_again(void)
{
	const char *plain = fresh("plain.db"), *path = fresh("copy.twz");
	sqlite3 *src = NULL;
	sqlite3_backup *b;
	OPEN(dst, path);

	T_EQ(sqlite3_open(plain, &src), 0);
	T_EQ(must(src, "pragma journal_mode=wal; create table t(a integer primary key, b)"), 0);
	many_rows(src, 1000);
	b = sqlite3_backup_init(dst, "main", src, "main");
	T_TRUE(b != NULL);
	T_EQ(sqlite3_backup_step(b, -1), SQLITE_DONE);
	T_EQ(sqlite3_backup_finish(b), 0);
	T_EQ(num(dst, "select count(*) from t"), 1000);
	sqlite3_close(src);
	T_EQ(sqlite3_close(dst), 0);
	dst = open_db(path);
	if (!T_TRUE(dst != NULL))
		return;
	T_EQ(num(dst, "select count(*) from t"), 1000);
	T_EQ(must(dst, "insert into t values(5000,1)"), 0);
	T_STR(text(dst, "pragma integrity_check"), "ok");
	sqlite3_close(dst);
}

static void readers_keep_their_snapshot_and_block_nobody(void)
{
	const char *path = fresh("snap.twz");
	OPEN(w, path);
	OPEN(r, path);

	T_EQ(must(w, "create table t(a); insert into t values(1)"), 0);
	T_EQ(must(r, "begin"), 0);
	T_EQ(num(r, "select count(*) from t"), 1);
	for (int i = 0; i < 50; i++)
		T_EQ(must(w, "insert into t values(2)"), 0);
	T_EQ(num(r, "select count(*) from t"), 1);
	T_EQ(must(w, "begin immediate; insert into t values(3)"), 0);
	T_EQ(num(r, "select count(*) from t"), 1);
	T_EQ(must(r, "commit"), 0);
	T_EQ(num(r, "select count(*) from t"), 51);
	T_EQ(must(w, "commit"), 0);
	T_EQ(num(r, "select count(*) from t"), 52);
	/* R2: a stale snapshot cannot become the writer, and is told so. */
	T_EQ(must(r, "begin"), 0);
	T_EQ(num(r, "select count(*) from t"), 52);
	T_EQ(must(w, "insert into t values(4)"), 0);
	sqlite3_extended_result_codes(r, 1);
	T_EQ(sqlite3_exec(r, "insert into t values(5)", NULL, NULL, NULL), SQLITE_BUSY_SNAPSHOT);
	T_EQ(must(r, "rollback; insert into t values(5)"), 0);
	T_EQ(num(w, "select count(*) from t"), 54);
	sqlite3_close(r);
	sqlite3_close(w);
}

static void second_writer_is_busy_until_the_first_commits(void)
{
	const char *path = fresh("busy.twz");
	OPEN(a, path);
	OPEN(b, path);

	T_EQ(must(a, "create table t(x)"), 0);
	T_EQ(must(a, "begin immediate; insert into t values(1)"), 0);
	T_EQ(exec(b, "insert into t values(2)"), SQLITE_BUSY);
	T_EQ(must(a, "commit"), 0);
	T_EQ(must(b, "insert into t values(2)"), 0);
	T_EQ(num(a, "select count(*) from t"), 2);
	sqlite3_close(a);
	sqlite3_close(b);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* R9: who was refused queues for the writer's place when it writes again, not when it reads. */
static void who_was_refused_reads_at_once(void)
{
	const char *path = fresh("refused.twz");
	uint64_t shortest = UINT64_MAX;
	OPEN(a, path);
	OPEN(b, path);

	T_EQ(must(a, "create table t(x)"), 0);
	T_EQ(must(a, "begin immediate; insert into t values(1)"), 0);
	for (int i = 0; i < 4;
	     i++) { /* the queue gives up after 200 ms; this machine may be slow once */
		uint64_t took;

		T_EQ(exec(b, "insert into t values(2)"), SQLITE_BUSY);
		took = now_ns();
		T_EQ(num(b, "select count(*) from t"), 0);
		took = now_ns() - took;
		shortest = took < shortest ? took : shortest;
	}
	T_TRUE(shortest < 100000000u);
	T_EQ(must(a, "commit"), 0);
	T_EQ(must(b, "insert into t values(2)"), 0);
	sqlite3_close(a);
	sqlite3_close(b);
}

static void a_select_open_across_commits_goes_on(void)
{
	OPEN(db, fresh("open.twz"));
	sqlite3_stmt *st = NULL;
	int n = 0;

	T_EQ(must(db, "create table t(a integer primary key, b)"), 0);
	many_rows(db, 500);
	T_EQ(sqlite3_prepare_v2(db, "select a from t", -1, &st, NULL), 0);
	while (sqlite3_step(st) == SQLITE_ROW)
		if (n++ % 100 == 0)
			T_EQ(must(db, "update t set b=b||'y' where a>400"), 0);
	T_EQ(n, 500);
	sqlite3_finalize(st);
	T_STR(text(db, "pragma integrity_check"), "ok");
	sqlite3_close(db);
}

static void exclusive_locking_mode_still_moves_the_change_counter(void)
{
	const char *path = fresh("excl.twz");
	OPEN(a, path);
	OPEN(b, path);

	T_EQ(must(a, "create table t(x); insert into t values(1)"), 0);
	T_EQ(num(b, "select count(*) from t"), 1);
	T_EQ(must(a, "pragma locking_mode=exclusive; insert into t values(2)"), 0);
	T_EQ(must(a, "insert into t values(3)"), 0);
	T_EQ(must(a, "insert into t values(4)"), 0);
	T_EQ(exec(b, "select count(*) from t"), SQLITE_BUSY);
	T_EQ(must(a, "begin; insert into t values(9); insert into t values(10); rollback"), 0);
	T_EQ(num(a, "select count(*) from t"), 4);
	T_EQ(exec(b, "insert into t values(5)"), SQLITE_BUSY);
	T_EQ(must(a, "pragma locking_mode=normal; select * from t"), 0);
	T_EQ(num(b, "select count(*) from t"), 4);
	T_EQ(must(b, "insert into t values(5)"), 0);
	T_EQ(num(a, "select count(*) from t"), 5);
	T_STR(text(a, "pragma integrity_check"), "ok");
	sqlite3_close(a);
	sqlite3_close(b);
}

static void every_page_size_and_vacuum_between_them(void)
{
	static const int sizes[] = {512, 1024, 4096, 16384, 65536, 8192, 512};
	OPEN(db, fresh("psz.twz"));

	T_EQ(must(db, "pragma page_size=512; create table t(a integer primary key, b)"), 0);
	many_rows(db, 3000);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		char sql[80];

		snprintf(sql, sizeof(sql), "pragma page_size=%d; vacuum", sizes[i]);
		T_EQ(must(db, sql), 0);
		T_EQ(num(db, "pragma page_size"), sizes[i]);
		T_EQ(num(db, "select count(*) from t where b=printf('%0100d',a)"), 3000);
		T_STR(text(db, "pragma integrity_check"), "ok");
	}
	T_EQ(must(db, "delete from t where a>10; vacuum"), 0);
	T_TRUE(num(db, "pragma page_count") < 10);
	sqlite3_close(db);
	db = open_db(t_path(t_dir(), "psz.twz"));
	if (!T_TRUE(db != NULL))
		return;
	T_EQ(num(db, "select count(*) from t"), 10);
	sqlite3_close(db);
}

static void attached_databases_commit_together(void)
{
	static const char *const modes[] = {"delete", "memory", "persist"};

	for (size_t i = 0; i < 3; i++) {
		char sql[700];
		const char *b = fresh("b.twz");
		OPEN(db, fresh("a2.twz"));

		snprintf(sql, sizeof(sql),
			 "attach '%s' as b; pragma main.journal_mode=%s; pragma b.journal_mode=%s",
			 b, modes[i], modes[i]);
		T_EQ(must(db, sql), 0);
		T_EQ(must(db, "create table t(x); create table b.u(x)"), 0);
		T_EQ(must(db, "begin; insert into t values(1); insert into b.u values(1); commit"),
		     0);
		T_EQ(must(db,
			  "begin; insert into t values(2); insert into b.u values(2); rollback"),
		     0);
		T_EQ(num(db, "select (select count(*) from t)*10+(select count(*) from b.u)"), 11);
		sqlite3_close(db);
		db = open_db(b);
		if (!T_TRUE(db != NULL))
			return;
		T_EQ(num(db, "select count(*) from u"), 1);
		sqlite3_close(db);
	}
}

static void two_databases_in_one_store(void)
{
	const char *path = fresh("multi.twz");
	char uri[600];
	OPEN(a, path);
	sqlite3 *b;

	snprintf(uri, sizeof(uri), "file:%s?db=sales", path);
	b = open_db(uri);
	if (!T_TRUE(b != NULL))
		return;
	T_EQ(must(a, "create table t(x); insert into t values(1)"), 0);
	T_EQ(must(b, "create table t(x); insert into t values(1),(2)"), 0);
	T_EQ(num(a, "select count(*) from t"), 1);
	T_EQ(num(b, "select count(*) from t"), 2);
	sqlite3_close(a);
	sqlite3_close(b);
}

static void zero_copy_reads_and_nolock(void)
{
	const char *path = fresh("fetch.twz");
	char uri[600];
	OPEN(db, path);

	T_EQ(must(db, "pragma mmap_size=268435456; create table t(a integer primary key, b)"), 0);
	many_rows(db, 5000);
	T_EQ(num(db, "select count(*) from t where b=printf('%0100d',a)"), 5000);
	T_EQ(must(db, "begin; update t set b='q' where a%2"), 0);
	T_EQ(num(db, "select count(*) from t where b='q'"), 2500);
	T_EQ(must(db, "rollback"), 0);
	T_EQ(num(db, "select count(*) from t where b='q'"), 0);
	sqlite3_close(db);
	snprintf(uri, sizeof(uri), "file:%s?nolock=1", path);
	db = open_db(uri);
	if (!T_TRUE(db != NULL))
		return;
	T_EQ(must(db, "insert into t values(9999,1); begin; insert into t values(9998,1); commit"),
	     0);
	T_EQ(num(db, "select count(*) from t"), 5002);
	sqlite3_close(db);
	db = open_db(path);
	T_EQ(num(db, "select count(*) from t"), 5002);
	sqlite3_close(db);
}

static void bad_files_are_refused_with_a_reason(void)
{
	const char *plain = fresh("p.db"), *twz = fresh("q.twz");
	sqlite3 *db = NULL;
	int rc;

	T_EQ(sqlite3_open(plain, &db), 0);
	T_EQ(must(db, "create table t(x)"), 0);
	sqlite3_close(db);
	rc = open_flags(t_path(t_dir(), "absent.twz"), SQLITE_OPEN_READWRITE, &db);
	T_EQ(rc & 0xff, SQLITE_CANTOPEN);
	sqlite3_close(db);
	db = open_db(twz);
	T_EQ(must(db, "create table t(x)"), 0);
	sqlite3_close(db);
	T_EQ(sqlite3_open(twz, &db), 0);
	T_EQ(exec(db, "select * from t"), SQLITE_NOTADB);
	sqlite3_close(db);
	rc = open_flags(t_dir(), SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, &db);
	T_TRUE(rc != SQLITE_OK);
	sqlite3_close(db);
	/* read-only handle: reads, and refuses to write */
	T_EQ(open_flags(twz, SQLITE_OPEN_READONLY, &db), 0);
	T_EQ(num(db, "select count(*) from t"), 0);
	T_EQ(exec(db, "insert into t values(1)"), SQLITE_READONLY);
	sqlite3_close(db);
}

struct worker {
	const char *path;
	int id, seconds, done;
	long commits, reads, bad, busy;
	pthread_t thread;
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Moves one between two accounts: the sum stays. */
static void *transfer(void *arg)
{
	struct worker *w = arg;
	sqlite3 *db = open_db(w->path);
	double end = now() + w->seconds;
	uint64_t r = (uint64_t)w->id * 77777 + 1;

	if (!db) {
		w->bad++;
		return NULL;
	}
	sqlite3_busy_timeout(db, 10000);
	while (now() < end) {
		char sql[200];
		int rc;

		r = r * 6364136223846793005ULL + 1442695040888963407ULL;
		snprintf(
			sql, sizeof(sql),
			"begin immediate; update acct set n=n-1 where id=%d; update acct set n=n+1 where id=%d; commit",
			(int)(r >> 40) % 100, (int)(r >> 50) % 100);
		rc = exec(db, sql);
		if (rc == SQLITE_OK) {
			w->commits++;
		} else {
			w->busy += rc == SQLITE_BUSY;
			w->bad += rc != SQLITE_BUSY;
			exec(db, "rollback");
		}
	}
	sqlite3_close(db);
	return NULL;
}

static void *summer(void *arg)
{
	struct worker *w = arg;
	sqlite3 *db = open_db(w->path);
	double end = now() + w->seconds;

	if (!db) {
		w->bad++;
		return NULL;
	}
	if (w->id & 1)
		exec(db, "pragma mmap_size=1000000");
	while (now() < end) {
		w->bad += num(db, "select sum(n) from acct") != 100000;
		w->reads++;
	}
	sqlite3_close(db);
	return NULL;
}

static void threads_see_consistent_sums_and_all_get_their_turn(void)
{
	const char *path = fresh("bank.twz");
	struct worker w[5];
	OPEN(db, path);

	T_EQ(must(db,
		  "create table acct(id integer primary key, n); with recursive c(i) as (select 0 union all select i+1 from c where i<99) insert into acct select i,1000 from c"),
	     0);
	for (int i = 0; i < 5; i++) {
		w[i] = (struct worker){.path = path, .id = i, .seconds = 3};
		pthread_create(&w[i].thread, NULL, i < 2 ? transfer : summer, &w[i]);
	}
	for (int i = 0; i < 5; i++) {
		pthread_join(w[i].thread, NULL);
		printf("  worker %d: %ld commits %ld reads %ld busy\n", i, w[i].commits, w[i].reads,
		       w[i].busy);
		T_EQ(w[i].bad, 0);
		T_EQ(w[i].busy, 0); /* R9: with a busy timeout nobody starves */
		T_TRUE(w[i].commits + w[i].reads > 5);
	}
	T_EQ(num(db, "select sum(n) from acct"), 100000);
	T_STR(text(db, "pragma integrity_check"), "ok");
	sqlite3_close(db);
}

/* A child commits numbered rows and says so through the pipe; it never ends by itself. */
static void child_writer(const char *path, int fd)
{
	sqlite3 *db = open_db(path);

	if (!db)
		_exit(3);
	sqlite3_busy_timeout(db, 10000);
	for (int i = 1;; i++) {
		char sql[200];
		int rc;

		snprintf(
			sql, sizeof(sql),
			"begin; insert into k values(%d,%d,printf('%%0300d',%d)); insert into k values(%d,-%d,'second'); commit",
			(int)getpid(), i, i, (int)getpid(), i);
		rc = exec(db, sql);
		if (rc == SQLITE_BUSY) {
			exec(db, "rollback");
			i--;
			continue;
		}
		if (rc || write(fd, &i, sizeof(i)) != sizeof(i))
			_exit(4);
	}
}

static void killed_writers_lose_nothing_acknowledged(void)
{
	const char *path = fresh("kill.twz");
	OPEN(db, path);

	T_EQ(must(db, "create table k(pid, n, body); create index kn on k(pid, n)"), 0);
	sqlite3_close(db);
	for (int round = 0; round < 12; round++) {
		int fd[2], last = 0, n, status;
		char sql[200];
		pid_t pid;

		T_EQ(pipe(fd), 0);
		fflush(NULL);
		pid = fork();
		if (pid == 0)
			child_writer(path, fd[1]);
		close(fd[1]);
		usleep((useconds_t)(20000 + t_rand_below(150000)));
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		T_TRUE(WIFSIGNALED(status));
		while (read(fd[0], &n, sizeof(n)) == sizeof(n))
			last = n;
		close(fd[0]);
		db = open_db(path);
		if (!T_TRUE(db != NULL))
			return;
		snprintf(sql, sizeof(sql), "select max(n) from k where pid=%d", (int)pid);
		n = last ? (int)num(db, sql) : 0;
		T_TRUE(n == last || n == last + 1 || !last);
		snprintf(sql, sizeof(sql), "select count(*)-2*max(n) from k where pid=%d",
			 (int)pid);
		T_EQ(last ? num(db, sql) : 0, 0);
		T_STR(text(db, "pragma integrity_check"), "ok");
		sqlite3_close(db);
	}
}

/* The same with the parent's connection open all the time: takeover instead of restart. */
static void a_killed_writer_leaves_the_others_working(void)
{
	const char *path = fresh("kill2.twz");
	pid_t parent = getpid();
	int fd[2];
	pid_t pid[2];
	sqlite3 *db;

	db = open_db(path);
	if (!T_TRUE(db != NULL))
		return;
	T_EQ(must(db, "create table k(pid, n, body); create index kn on k(pid, n)"), 0);
	sqlite3_close(db);
	for (int round = 0; round < 6; round++) {
		int status;

		T_EQ(pipe(fd), 0);
		fflush(NULL);
		for (int i = 0; i < 2; i++) {
			pid[i] = fork();
			if (pid[i] == 0)
				child_writer(path, fd[1]);
		}
		close(fd[1]);
		db = open_db(path); /* after the fork: handles do not survive it */
		if (!T_TRUE(db != NULL))
			return;
		sqlite3_busy_timeout(db, 10000);
		usleep((useconds_t)(50000 + t_rand_below(100000)));
		kill(pid[0], SIGKILL);
		T_EQ(must(db, "insert into k values(0,0,'alive')"), 0);
		kill(pid[1], SIGKILL);
		T_EQ(must(db, "insert into k values(0,0,'alive')"), 0);
		for (int i = 0; i < 2; i++) {
			waitpid(pid[i], &status, 0);
			T_TRUE(WIFSIGNALED(status));
		}
		T_EQ(num(db, "select count(*) from k where n<0"),
		     num(db, "select count(*) from k where n>0"));
		T_STR(text(db, "pragma integrity_check"), "ok");
		T_EQ(num(db, "select count(*) from k where pid=0"), (round + 1) * 2);
		sqlite3_close(db);
		close(fd[0]);
	}
	T_EQ(getpid(), parent);
}

static void a_full_disk_is_sqlite_full_and_loses_nothing(void)
{
	const char *dir = t_path(t_dir(), "small");
	char path[600];
	sqlite3 *db;
	int rc = 0, i;

	mkdir(dir, 0700);
	if (mount("tmpfs", dir, "tmpfs", 0, "size=12m")) {
		printf("  not root: full disk not tested\n");
		return;
	}
	snprintf(path, sizeof(path), "%s/full.twz", dir);
	db = open_db(path); /* with a log of 1 MiB, not 64, for there is so little room */
	if (T_TRUE(db != NULL)) {
		T_EQ(must(db,
			  "create table t(a integer primary key, b); insert into t values(1,'keep')"),
		     0);
		for (i = 0; i < 100 && !rc; i++)
			rc = exec(db, "insert into t(b) values(randomblob(300000))");
		T_EQ(rc, SQLITE_FULL);
		T_STR(text(db, "select b from t where a=1"), "keep");
		T_STR(text(db, "pragma integrity_check"), "ok");
		T_EQ(num(db, "select count(*) from t"), i);
		/*
		 * A delete writes new versions of a few pages, and zeroes what it frees: those
		 * pages become holes.
		 */
		T_EQ(must(db, "pragma secure_delete=on"), 0);
		while (i > 2 &&
		       exec(db, "delete from t where a=(select max(a) from t)") == SQLITE_OK)
			i--;
		T_EQ(num(db, "select count(*) from t"), 2);
		T_EQ(must(db, "insert into t(b) values(randomblob(300000))"), 0);
		T_STR(text(db, "pragma integrity_check"), "ok");
		sqlite3_close(db);
	}
	umount(dir);
}

static const struct t_case cases[] = {
	T_CASE(rows_survive_reopening),
	T_CASE(rollback_restores_every_page),
	T_CASE(wal_mode_is_declined_honestly),
	T_CASE(backup_of_a_wal_database_opens_again),
	T_CASE(readers_keep_their_snapshot_and_block_nobody),
	T_CASE(second_writer_is_busy_until_the_first_commits),
	T_CASE(who_was_refused_reads_at_once),
	T_CASE(a_select_open_across_commits_goes_on),
	T_CASE(exclusive_locking_mode_still_moves_the_change_counter),
	T_CASE(every_page_size_and_vacuum_between_them),
	T_CASE(attached_databases_commit_together),
	T_CASE(two_databases_in_one_store),
	T_CASE(zero_copy_reads_and_nolock),
	T_CASE(bad_files_are_refused_with_a_reason),
	T_CASE(threads_see_consistent_sums_and_all_get_their_turn),
	T_CASE(killed_writers_lose_nothing_acknowledged),
	T_CASE(a_killed_writer_leaves_the_others_working),
	T_CASE(a_full_disk_is_sqlite_full_and_loses_nothing),
	T_END,
};

int main(int argc, char **argv)
{
	t_err_name = twzdb_err_name;
	t_err_msg = twzdb_errmsg;
	if (twzvfs_register(0)) {
		fprintf(stderr, "cannot register the VFS\n");
		return 99;
	}
	return t_main("sqlite.vfs", cases, argc, argv);
}
