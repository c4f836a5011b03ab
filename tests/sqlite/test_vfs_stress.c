/* SPDX-License-Identifier: MIT
 * test_vfs_stress.c -- many processes on one database, all at once, some of them killed
 *
 * In the manner of SQLite's mptest: each process does whatever comes to its mind, under busy timeouts: moves money, makes and drops
 * tables of its own, savepoints, VACUUM, exclusive locking mode, other journals, closing and opening. What always holds:
 *
 *	- the sum of all accounts
 *	- log has as many rows of a worker as the worker's counter says, and the counter is what it was told, or one more
 *	- an index has what its table has; PRAGMA integrity_check finds nothing
 *	- everybody comes to write
 *
 * SEED, SECONDS and PROCS (how many processes) come from the environment.
 */
#include "t.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "twzdb.h"
#include "twzvfs.h"

#define PROCS_MAX 64
#define ACCOUNTS  40
#define MONEY	  (ACCOUNTS * 1000)
#define BUSY_MS	  20000

/* Seen by all: what each worker was told is committed. */
static struct told {
	uint64_t commits, checks;
	bool trouble;
} * told;

static char path[300];
static sqlite3 *db;
static int me;

static int exec(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int exec(const char *fmt, ...)
{
	char sql[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(sql, sizeof(sql), fmt, ap);
	va_end(ap);
	return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

static sqlite3_int64 num(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static sqlite3_int64 num(const char *fmt, ...)
{
	sqlite3_stmt *st = NULL;
	sqlite3_int64 v = -1;
	char sql[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(sql, sizeof(sql), fmt, ap);
	va_end(ap);
	if (!sqlite3_prepare_v2(db, sql, -1, &st, NULL) && sqlite3_step(st) == SQLITE_ROW)
		v = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return v;
}

static void trouble(const char *what, long long got)
{
	fprintf(stderr, "process %d: %s: %lld (%s)\n", me, what, got, sqlite3_errmsg(db));
	told[me].trouble = true;
	_exit(1);
}

/* Others may hold the place for as long as the timeout: then it is tried again, and nothing has happened. */
static bool done(int rc, const char *what)
{
	if (rc && !sqlite3_get_autocommit(db))
		exec("ROLLBACK");
	if (rc && (rc & 0xff) != SQLITE_BUSY)
		trouble(what, sqlite3_extended_errcode(db));
	return !rc;
}

static void open_it(void)
{
	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, "twz"))
		trouble("open", sqlite3_errcode(db));
	sqlite3_busy_timeout(db, BUSY_MS);
	exec("PRAGMA cache_size=%d", t_rand_below(2) ? 10 : -2000);
}

/* --- what a worker does --- */

/* A transaction that counts itself. */
static void move(void)
{
	static const char *const begin[] = {"BEGIN IMMEDIATE", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE",
					    "BEGIN"};
	int from = (int)t_rand_below(ACCOUNTS), to = (int)t_rand_below(ACCOUNTS),
	    n = (int)t_rand_below(50);
	int pad = (int)t_rand_below(t_rand_below(20) ? 200 : 9000),
	    rc = exec("%s", begin[t_rand_below(4)]);

	if (!rc)
		rc = exec(
			"UPDATE account SET money=money-%d WHERE id=%d; UPDATE account SET money=money+%d WHERE id=%d",
			n, from, n, to);
	if (!rc && !t_rand_below(4))
		rc = exec(
			"SAVEPOINT s; UPDATE account SET money=0; INSERT INTO log SELECT NULL, 999, 0, hex(zeroblob(3000)) FROM account; ROLLBACK TO s; RELEASE s");
	if (!rc)
		rc = exec(
			"INSERT INTO log(who, n, pad) SELECT %d, n+1, hex(zeroblob(%d)) FROM counter WHERE who=%d; UPDATE counter SET n=n+1 WHERE who=%d",
			me, pad, me, me);
	if (!rc && !t_rand_below(10)) {
		exec("ROLLBACK");
		return;
	}
	if (!rc)
		rc = exec("COMMIT");
	if (done(rc, "moving"))
		told[me].commits++;
}

/* In one snapshot, so in one statement or one transaction. */
static void check(void)
{
	sqlite3_int64 v, n;

	if (exec("BEGIN"))
		trouble("begin", 0);
	v = num("SELECT sum(money) FROM account");
	if (v < 0 && sqlite3_errcode(db) == SQLITE_BUSY) { /* somebody has locked it for good */
		exec("ROLLBACK");
		return;
	}
	if (v != MONEY)
		trouble("sum of all accounts", v);
	v = num("SELECT count(*) FROM log INDEXED BY by_who WHERE who=%d", me);
	n = num("SELECT n FROM counter WHERE who=%d", me);
	if (v != n - num("SELECT gone FROM counter WHERE who=%d", me))
		trouble("rows of the log", v - n);
	if (n != (sqlite3_int64)told[me].commits)
		trouble("more commits than told", n - (sqlite3_int64)told[me].commits);
	if (!t_rand_below(8)) {
		v = num("SELECT count(*) FROM log NOT INDEXED");
		if (v != num("SELECT count(*) FROM (SELECT who FROM log INDEXED BY by_who)") ||
		    v != num("SELECT sum(n-gone) FROM counter"))
			trouble("log, its index and the counters", v);
	}
	exec("COMMIT");
	told[me].checks++;
}

static void forget(void)
{
	int rc = exec("BEGIN IMMEDIATE");

	if (!rc)
		rc = exec(
			"DELETE FROM log WHERE id IN (SELECT id FROM log WHERE who=%d ORDER BY n LIMIT 20); UPDATE counter SET gone=gone+changes() WHERE who=%d",
			me, me);
	done(rc ? rc : exec("COMMIT"), "deleting");
}

/* Tables nobody else knows; but everybody must read the schema again. */
static void own_table(void)
{
	if (!done(exec("CREATE TABLE IF NOT EXISTS own%d(k INTEGER PRIMARY KEY, v UNIQUE)", me),
		  "create"))
		return;
	if (!done(exec("INSERT OR IGNORE INTO own%d(v) WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<%d) SELECT hex(randomblob(20)) FROM c",
		       me, (int)t_rand_below(300) + 1),
		  "insert"))
		return;
	if (t_rand_below(2))
		done(exec("DROP TABLE own%d", me), "drop");
}

static void reopen(void)
{
	if (sqlite3_close(db))
		trouble("close", 0);
	open_it();
}

static void rare(void)
{
	static const char *const mode[] = {"delete", "truncate", "persist", "memory"};

	switch (t_rand_below(6)) {
	case 0:
		done(exec("VACUUM"), "vacuum");
		break;
	case 1:
		exec("PRAGMA journal_mode=%s", mode[t_rand_below(4)]);
		break;
	case 2:
		exec("PRAGMA locking_mode=exclusive");
		move();
		exec("PRAGMA locking_mode=normal");
		num("SELECT count(*) FROM account"); /* lets go */
		break;
	case 3:
		own_table();
		break;
	default:
		reopen();
	}
}

static void worker(int i, uint64_t seed, double until)
{
	struct timespec ts;

	me = i;
	for (uint64_t k = seed % 997; k; k--) /* not what the others do */
		t_rand();
	open_it();
	/*
	 * Who was here before may have been killed when its last commit was done, or bound to be done by whoever comes
	 * next, and not yet told. A writer sees those, too.
	 */
	while (exec("BEGIN IMMEDIATE"))
		;
	if (num("SELECT n FROM counter WHERE who=%d", me) == (sqlite3_int64)told[me].commits + 1)
		told[me].commits++;
	if (exec("COMMIT"))
		trouble("looking", 0);
	do {
		uint64_t what = t_rand_below(40);

		if (what < 20)
			move();
		else if (what < 32)
			check();
		else if (what < 35)
			forget();
		else if (what < 36)
			rare();
		else
			usleep((useconds_t)t_rand_below(2000));
		clock_gettime(CLOCK_MONOTONIC, &ts);
	} while ((double)ts.tv_sec + (double)ts.tv_nsec / 1e9 < until);
	check();
	if (sqlite3_close(db))
		trouble("close", 0);
	_exit(0);
}

/* --- all of them --- */

static void make(int procs)
{
	open_it();
	T_EQ(exec("CREATE TABLE account(id INTEGER PRIMARY KEY, money); CREATE TABLE counter(who INTEGER PRIMARY KEY, n, gone);"
		  "CREATE TABLE log(id INTEGER PRIMARY KEY AUTOINCREMENT, who, n, pad); CREATE INDEX by_who ON log(who, n);"),
	     0);
	for (int i = 0; i < ACCOUNTS; i++)
		T_EQ(exec("INSERT INTO account VALUES(%d, 1000)", i), 0);
	for (int i = 0; i < procs; i++)
		T_EQ(exec("INSERT INTO counter VALUES(%d, 0, 0)", i), 0);
	sqlite3_close(db);
}

static pid_t start(int i, double until)
{
	uint64_t seed = t_rand();
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid)
		worker(i, seed, until);
	return pid;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void finish(int procs, int kills)
{
	uint64_t commits = 0, checks = 0;
	sqlite3_stmt *st = NULL;

	open_it();
	T_EQ(sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &st, NULL), 0);
	T_EQ(sqlite3_step(st), SQLITE_ROW);
	T_STR((const char *)sqlite3_column_text(st, 0), "ok");
	sqlite3_finalize(st);
	T_EQ(num("SELECT sum(money) FROM account"), MONEY);
	for (int i = 0; i < procs; i++) {
		T_TRUE(!told[i].trouble);
		T_TRUE(told[i].commits > 0);
		commits += told[i].commits;
		checks += told[i].checks;
	}
	T_EQ(sqlite3_close(db), 0);
	printf("  %d processes, %" PRIu64 " commits, %" PRIu64 " checks, %d kills\n", procs,
	       commits, checks, kills);
}

static void all_at_once(int procs, bool killing)
{
	double seconds = getenv("SECONDS") ? atof(getenv("SECONDS")) : 5, until = now() + seconds;
	pid_t pid[PROCS_MAX];
	int kills = 0;

	snprintf(path, sizeof(path), "%s",
		 t_path(t_shm_dir(), killing ? "killed.twz" : "stress.twz"));
	memset(told, 0, PROCS_MAX * sizeof(*told));
	make(procs);
	for (int i = 0; i < procs; i++)
		pid[i] = start(i, until);
	while (killing && now() < until - 0.5) {
		int i = (int)t_rand_below((uint64_t)procs), status;

		usleep((useconds_t)t_rand_below(80000));
		if (waitpid(pid[i], &status, WNOHANG))
			break; /* it ended by itself: it has said why */
		kill(pid[i], SIGKILL);
		T_EQ(waitpid(pid[i], &status, 0), pid[i]);
		kills++;
		pid[i] = start(i, until);
	}
	for (int i = 0; i < procs; i++) {
		int status = 0;

		if (waitpid(pid[i], &status, 0) == pid[i])
			T_EQ(status, 0);
	}
	finish(procs, kills);
	unlink(path);
	unlink(t_path(t_shm_dir(), killing ? "killed.twz-lock" : "stress.twz-lock"));
}

static int procs(void)
{
	int n = getenv("PROCS") ? atoi(getenv("PROCS")) : 6;

	return n < 1 ? 1 : n > PROCS_MAX ? PROCS_MAX : n;
}

static void processes_keep_what_they_agreed_on(void)
{
	all_at_once(procs(), false);
}

static void some_of_them_killed_the_others_go_on(void)
{
	all_at_once(procs(), true);
}

static const struct t_case cases[] = {T_CASE(processes_keep_what_they_agreed_on),
				      T_CASE(some_of_them_killed_the_others_go_on), T_END};

int main(int argc, char **argv)
{
	t_err_name = twzdb_err_name;
	t_err_msg = twzdb_errmsg;
	told = mmap(NULL, PROCS_MAX * sizeof(*told), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (told == MAP_FAILED || twzvfs_register(0) != SQLITE_OK)
		return 1;
	return t_main("vfs_stress", cases, argc, argv);
}
