/* SPDX-License-Identifier: MIT
 * campaign.c -- kill -9 campaigns: many processes on one store, killed at any moment, watched from outside
 *
 * usage: twzcampaign [--kills N] [--seconds S] [--dir DIR] [--seed S] [--full MIB]
 *
 * Writers, SQLite clients, readers and a checkpointer share a store on DIR (a file there; with
 * PMEM2_FORCE_GRANULARITY=CACHE_LINE persistent memory). The parent kills one of them after the other, stops
 * one for a while (the holder of a lock, often), and now and then kills all at once, so that restart and not
 * takeover recovers. Each process tells in shared memory what it is about to commit, before, and what was
 * acknowledged, after: the record lies outside the store. The wall clock of the children jumps. One child in
 * six may take little memory only, and gives up when there is none. --full: the store lies on a tmpfs of so
 * many MiB, in a mount namespace of the campaign's own (root), which is full for a while, again and again.
 *
 * Oracle: actor A's change number N stores N in row "last" and in row N % KEYS, in one transaction. In any
 * snapshot `last` is between what had been acknowledged before it and what was intended after it, and every
 * row is the latest of its kind up to `last`: a commit is there whole or not at all, and never lost.
 * Readers ask this all the time; when all were killed the parent asks too, and runs the checks.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "twz/twz.h"
#include "twzdb.h"
#include "twzvfs.h"

#define WRITERS	 3
#define CLIENTS	 2
#define READERS	 2
#define ACTORS	 (WRITERS + CLIENTS)
#define CHILDREN (ACTORS + READERS + 1)
#define KEYS	 60
#define PATH_LEN 200
#define GAVE_UP                                                                                    \
	4 /* exit status of a child that has no memory left, or found no room to open the store */

/* What the actors said, outside the store. */
struct said {
	uint64_t intended, acked;
	uint64_t stepped; /* of any child: it is alive */
	uint64_t holds;	  /* is between begin and commit */
	uint64_t no_room; /* changes refused because the disk was full */
	char why[200];	  /* something was wrong */
};

static struct said *said; /* CHILDREN, shared */
static char path[PATH_LEN];
static uint64_t rng;

static uint64_t rnd(uint64_t below)
{
	rng ^= rng >> 12;
	rng ^= rng << 25;
	rng ^= rng >> 27;
	return rng * 0x2545F4914F6CDD1Dull % below;
}

/* What may happen where memory is short; the child ends, and another one begins. */
static bool is_no_memory(int code)
{
	return code == -ENOMEM || code == TWZ_E_NOMEM || code == TWZ_E_MAPS;
}

static bool is_no_room(int code)
{
	return code == TWZ_E_NOSPC || code == TWZDB_E_NOSPC || code == -ENOSPC;
}

static void complain(int me, const char *what, int code)
{
	if (is_no_memory(code) || (is_no_room(code) && !strcmp(what, "open")))
		_exit(GAVE_UP);
	if (!said[me].why[0])
		snprintf(said[me].why, sizeof(said[me].why), "child %d: %s: %d %s %s", me, what,
			 code, code < 0 ? twzdb_err_name(code) : "", twzdb_errmsg());
	_exit(3);
}

/* The wall clock of a child jumps, up to a year to and fro. */
int __real_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	static uint64_t calls;
	int rc = __real_clock_gettime(id, ts);

	if (!rc && id == CLOCK_REALTIME && ++calls / 8 % 2)
		ts->tv_sec += calls % 16 < 12 ? 31000000 : -31000000;
	return rc;
}

/* --- the engine's side --- */

static struct twzdb_slice key_of(char buf[32], int actor, int64_t k)
{
	int n = k < 0 ? snprintf(buf, 32, "a%d last", actor)
		      : snprintf(buf, 32, "a%d row %lld", actor, (long long)k);

	return (struct twzdb_slice){buf, (size_t)n};
}

static int open_db(struct twzdb **db)
{
	struct twzdb_options opt = {
		.size = sizeof(opt), .flags = TWZDB_CREATE, .log_len = 64 << 10};

	return twzdb_open(path, &opt, db);
}

/* Row of a few bytes or of some thousand: leaves split and merge, the log laps. */
static int put(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice key, uint64_t n)
{
	static uint64_t value[600];

	for (int i = 0; i < 600; i++)
		value[i] = n;
	return twzdb_put(tx, t, key,
			 (struct twzdb_slice){value, 8 * (1 + (n * 37) % (n % 16 ? 40 : 600))}, 0);
}

/* Now and then a long row, or a long row less: the file grows, and space is given back. */
static int put_ballast(struct twzdb_txn *tx, struct twzdb_table t, int me, uint64_t n)
{
	static uint64_t value[30000];
	char key[32];
	int len = snprintf(key, sizeof(key), "a%d ballast %d", me, (int)(n / 8 % 24)), err;
	struct twzdb_slice k = {key, (size_t)len};

	if (n % 8)
		return 0;
	if (n / 192 % 2) {
		err = twzdb_del(tx, t, k);
		return err == TWZDB_E_NOTFOUND ? 0 : err;
	}
	return twzdb_put(tx, t, k, (struct twzdb_slice){value, sizeof(value)}, 0);
}

static int change(struct twzdb *db, int me, uint64_t n)
{
	struct twzdb_txn *tx;
	struct twzdb_table t;
	char last[32], row[32];
	int err = twzdb_begin_timed(db, 0, 20000, &tx);

	if (err)
		return err;
	__atomic_store_n(&said[me].holds, 1, __ATOMIC_SEQ_CST);
	err = twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &t);
	if (!err)
		err = put(tx, t, key_of(last, me, -1), n);
	if (!err)
		err = put(tx, t, key_of(row, me, (int64_t)(n % KEYS)), n);
	if (!err)
		err = put_ballast(tx, t, me, n);
	if (!err)
		err = twzdb_commit(tx);
	else
		twzdb_abort(tx);
	__atomic_store_n(&said[me].holds, 0, __ATOMIC_SEQ_CST);
	return err;
}

static void writer(int me)
{
	struct twzdb *db;
	int err = open_db(&db);

	if (err)
		complain(me, "open", err);
	for (uint64_t n = said[me].intended + 1;; n++) {
		__atomic_store_n(&said[me].intended, n, __ATOMIC_SEQ_CST);
		err = change(db, me, n);
		said[me].stepped++;
		if (is_no_room(err)) { /* nothing changed, and writing goes on */
			said[me].no_room++;
			continue;
		}
		if (err)
			complain(me, "commit", err);
		__atomic_store_n(&said[me].acked, n, __ATOMIC_SEQ_CST);
	}
}

static int get_num(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice key, uint64_t *n)
{
	struct twzdb_slice v;
	int err = twzdb_get(tx, t, key, &v);

	*n = 0;
	if (err)
		return err == TWZDB_E_NOTFOUND ? 0 : err;
	memcpy(n, v.ptr, 8);
	if (v.len > 8 && memcmp((const uint8_t *)v.ptr + v.len - 8, n, 8))
		return TWZ_E_CORRUPT;
	return 0;
}

/*
 * An actor that was killed between intent and answer begins with the next number: what it did not get
 * acknowledged may be there or not, so a row may also be of a number that was skipped.
 */
static int look_at(struct twzdb_txn *tx, struct twzdb_table t, int actor, uint64_t acked,
		   const char **what)
{
	uint64_t last, n;
	char buf[32];
	int err = get_num(tx, t, key_of(buf, actor, -1), &last);

	*what = "reading";
	if (err)
		return err;
	*what = "an acknowledged commit is lost";
	if (last < acked)
		return -1;
	*what = "a commit nobody began";
	if (last > __atomic_load_n(&said[actor].intended, __ATOMIC_SEQ_CST))
		return -1;
	*what = "the last commit is there by half";
	err = last ? get_num(tx, t, key_of(buf, actor, (int64_t)(last % KEYS)), &n) : 0;
	return err || (last && n != last) ? (err ? err : -1) : 0;
}

/* Every actor of the engine, in one snapshot. */
static int look(struct twzdb *db, const char **what)
{
	uint64_t acked[WRITERS];
	struct twzdb_txn *tx;
	struct twzdb_table t;
	int err;

	for (int i = 0; i < WRITERS; i++)
		acked[i] = __atomic_load_n(&said[i].acked, __ATOMIC_SEQ_CST);
	*what = "begin";
	err = twzdb_begin(db, TWZDB_RDONLY, &tx);
	if (err)
		return err;
	err = twzdb_table_open(tx, "t", TWZDB_TABLE_ANY, &t);
	if (err == TWZDB_E_NOTFOUND) { /* nobody has committed yet */
		twzdb_abort(tx);
		*what = "the table is gone";
		return acked[0] + acked[1] + acked[2] ? -1 : 0;
	}
	for (int i = 0; i < WRITERS && !err; i++)
		err = look_at(tx, t, i, acked[i], what);
	twzdb_abort(tx);
	return err;
}

static void reader(int me)
{
	struct twzdb *db;
	const char *what;
	int err = open_db(&db);

	if (err)
		complain(me, "open", err);
	for (;;) {
		err = look(db, &what);
		if (err)
			complain(me, what, err);
		said[me].stepped++;
		/* A child that never calls exec, and what it may do with what it inherited: nothing. */
		if (rnd(50) == 0 && !fork()) {
			struct twzdb_txn *tx;

			err = twzdb_begin(db, TWZDB_RDONLY, &tx);
			if (err != TWZ_E_FORKED)
				complain(me, "a child of fork may use the handle", err);
			_exit(0);
		}
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
}

static void checkpointer(int me)
{
	struct twzdb *db;
	int err = open_db(&db);

	if (err)
		complain(me, "open", err);
	for (;;) {
		err = twzdb_checkpoint(db);
		if (err && err != TWZDB_E_BUSY && !is_no_room(err))
			complain(me, "checkpoint", err);
		said[me].stepped++;
		usleep((useconds_t)rnd(20000));
	}
}

/* --- SQLite's side --- */

/* 0, or SQLITE_FULL: nothing of it is left. */
static int sql(int me, sqlite3 *db, const char *text)
{
	char *msg = NULL;
	int rc = sqlite3_exec(db, text, NULL, NULL, &msg);

	if (rc == SQLITE_FULL) {
		said[me].no_room++;
		sqlite3_free(msg);
		if (!sqlite3_get_autocommit(db))
			sqlite3_exec(db, "rollback", NULL, NULL, NULL);
		return rc;
	}
	if (rc == SQLITE_NOMEM || sqlite3_extended_errcode(db) == SQLITE_IOERR_NOMEM)
		_exit(GAVE_UP);
	if (!rc)
		return 0;
	snprintf(said[me].why, sizeof(said[me].why), "child %d: SQLite %d %s: %.60s", me, rc,
		 msg ? msg : "", text);
	_exit(3);
}

static int64_t sql_num(int me, sqlite3 *db, const char *text)
{
	sqlite3_stmt *st = NULL;
	int64_t n = -1;
	int rc = sqlite3_prepare_v2(db, text, -1, &st, NULL);

	if (!rc && sqlite3_step(st) == SQLITE_ROW)
		n = sqlite3_column_int64(st, 0);
	rc = sqlite3_finalize(st);
	if (rc && sql(me, db, text) == SQLITE_FULL)
		_exit(GAVE_UP);
	return n;
}

static sqlite3 *sql_open(int me)
{
	char uri[PATH_LEN + 40];
	sqlite3 *db = NULL;
	int rc;

	snprintf(uri, sizeof(uri), "file:%s?db=sql", path);
	rc = twzvfs_register(0);
	if (!rc)
		rc = sqlite3_open_v2(uri, &db,
				     SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI,
				     "twz");
	if (rc == SQLITE_NOMEM || rc == SQLITE_FULL)
		_exit(GAVE_UP);
	if (rc) {
		snprintf(said[me].why, sizeof(said[me].why), "child %d: sqlite3_open: %d %s", me,
			 rc, db ? sqlite3_errmsg(db) : "");
		_exit(3);
	}
	sqlite3_busy_timeout(db, 20000);
	return db;
}

static void sql_look(int me, sqlite3 *db, int actor, uint64_t acked)
{
	char text[200];
	int64_t last;

	snprintf(text, sizeof(text), "select coalesce(max(n), 0) from c%d", actor);
	last = sql_num(me, db, text);
	if (last < (int64_t)acked || last > (int64_t)said[actor].intended) {
		snprintf(said[me].why, sizeof(said[me].why),
			 "SQLite client %d: %lld is the last row, %llu acknowledged, %llu intended",
			 actor, (long long)last, (unsigned long long)acked,
			 (unsigned long long)said[actor].intended);
		_exit(3);
	}
	/* the row and its twin, by one transaction */
	snprintf(text, sizeof(text),
		 "select count(*) from c%d a where not exists(select 1 from d%d b where b.n = a.n)",
		 actor, actor);
	if (sql_num(me, db, text)) {
		snprintf(said[me].why, sizeof(said[me].why), "SQLite client %d: half a transaction",
			 actor);
		_exit(3);
	}
}

static void client(int me)
{
	sqlite3 *db = sql_open(me);
	char text[400];

	snprintf(
		text, sizeof(text),
		"create table if not exists c%d(n integer primary key, v); create table if not exists d%d(n integer primary key, v)",
		me, me);
	if (sql(me, db, text) == SQLITE_FULL)
		_exit(GAVE_UP);
	sql_look(me, db, me, said[me].acked);
	for (uint64_t n = said[me].intended + 1;; n++) {
		__atomic_store_n(&said[me].intended, n, __ATOMIC_SEQ_CST);
		snprintf(
			text, sizeof(text),
			"begin immediate; insert into c%d values(%llu, randomblob(%llu)); insert into d%d values(%llu, 'x'); delete from d%d where n < %lld; delete from c%d where n < %lld; commit",
			me, (unsigned long long)n, (unsigned long long)(n * 37 % 900), me,
			(unsigned long long)n, me, (long long)n - KEYS, me, (long long)n - KEYS);
		said[me].stepped++;
		if (sql(me, db, text) == SQLITE_FULL)
			continue;
		__atomic_store_n(&said[me].acked, n, __ATOMIC_SEQ_CST);
		if (n % 16 == 0)
			sql_look(me, db, me, n);
	}
}

/* --- the parent --- */

static pid_t child[CHILDREN];
static uint64_t gave_up, scant, held;

/* So much private memory more than there is now; what is asked for beyond it is refused. */
static void limit_memory(uint64_t more)
{
	struct rlimit lim;
	unsigned long data = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	if (f && fscanf(f, "%*u %*u %*u %*u %*u %lu", &data) == 1) {
		lim.rlim_cur = lim.rlim_max = data * 4096 + more;
		setrlimit(RLIMIT_DATA, &lim);
	}
	if (f)
		fclose(f);
}

static void start(int i)
{
	uint64_t seed = rnd(UINT32_MAX) * 2 + 1, memory = rnd(6) ? 0 : 1 + rnd(8 << 20);

	scant += memory != 0;
	said[i].holds = 0;
	fflush(NULL);
	child[i] = fork();
	if (child[i])
		return;
	rng = seed;
	if (memory)
		limit_memory(memory);
	if (i < WRITERS)
		writer(i);
	if (i < ACTORS)
		client(i);
	if (i < ACTORS + READERS)
		reader(i);
	checkpointer(i);
}

static void nap(uint64_t us)
{
	struct timespec ts = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};

	nanosleep(&ts, NULL);
}

/* Killed, or it gave up before; whoever ended otherwise was wrong. */
static void end(int i)
{
	int status = 0;

	kill(child[i], SIGKILL);
	waitpid(child[i], &status, 0);
	child[i] = 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == GAVE_UP)
		gave_up++;
	else if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		if (!said[i].why[0])
			snprintf(said[i].why, sizeof(said[i].why), "child %d ended with %s %d", i,
				 WIFSIGNALED(status) ? "signal" : "status",
				 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

/* --- a full disk --- */

static char hog[PATH_LEN + 8]; /* empty: the disk is never full */

static void disk_free(void)
{
	if (hog[0])
		unlink(hog);
}

/* All but a few KiB, so that it is in the middle of something that there is no more. */
static void disk_fill(void)
{
	static const char zero[4096];
	int fd = hog[0] ? open(hog, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
	uint64_t spare = rnd(2) ? rnd(1 << 20) : 0;
	off_t len = 0;

	if (fd < 0)
		return;
	while (write(fd, zero, sizeof(zero)) == (ssize_t)sizeof(zero))
		len += (off_t)sizeof(zero);
	if (spare && ftruncate(fd, len > (off_t)spare ? len - (off_t)spare : 0))
		unlink(hog);
	close(fd);
}

/* A file system of MIB of our own, seen by us and our children, gone with us. */
static int disk_mount(const char *dir, const char *mib)
{
	char opt[60];

	snprintf(opt, sizeof(opt), "size=%lum", strtoul(mib, NULL, 0));
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("campaign", dir, "tmpfs", 0, opt)) {
		printf("campaign: no tmpfs of our own on %s: %s\n", dir, strerror(errno));
		return -1;
	}
	return 0;
}

static int wrong(void)
{
	for (int i = 0; i < CHILDREN; i++)
		if (said[i].why[0]) {
			printf("FAIL: %s\n", said[i].why);
			return 1;
		}
	return 0;
}

static void found(void *ctx, const char *where, const char *what)
{
	(void)ctx;
	printf("FAIL: check: %s: %s\n", where, what);
}

/* All are dead: restart recovery, the checks, the oracle, SQLite's own check. */
static int judge_here(void)
{
	struct twzdb *db;
	const char *what = "open";
	uint64_t cnt = 0;
	int err = open_db(&db);

	if (!err)
		err = look(db, &what);
	if (!err) {
		what = "check";
		err = twzdb_check(db, found, NULL, &cnt);
	}
	if (err || cnt) {
		printf("FAIL: after all were killed: %s: %d %s\n", what, err, twzdb_errmsg());
		return 1;
	}
	if (twzdb_close(db))
		return 1;
	for (int i = WRITERS; i < ACTORS; i++) {
		sqlite3 *s = said[i].acked ? sql_open(i) : NULL;

		if (!s)
			continue;
		sql_look(i, s, i, said[i].acked);
		if (i == WRITERS) {
			sqlite3_stmt *st = NULL;

			if (sqlite3_prepare_v2(s, "pragma integrity_check", -1, &st, NULL) ||
			    sqlite3_step(st) != SQLITE_ROW ||
			    strcmp((const char *)sqlite3_column_text(st, 0), "ok")) {
				printf("FAIL: SQLite's integrity_check\n");
				return 1;
			}
			sqlite3_finalize(st);
		}
		sqlite3_close(s);
	}
	return 0;
}

/* In a process of its own, which may die without hurting the campaign. */
static int judge(void)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid) {
		int rc = judge_here();

		fflush(NULL);
		_exit(rc);
	}
	waitpid(pid, &status, 0);
	return status != 0;
}

/* Stop child I, a writer at a moment at which it is between begin and commit. */
static void stop(int i, uint64_t *stops)
{
	for (int try = 0; i < WRITERS && try < 2000; try++) {
		kill(child[i], SIGSTOP);
		if (__atomic_load_n(&said[i].holds, __ATOMIC_SEQ_CST))
			break;
		kill(child[i], SIGCONT);
		nap(20);
	}
	kill(child[i], SIGSTOP);
	held += said[i].holds;
	++*stops;
}

/* Something happens to child I. */
static void disturb(int i, uint64_t *stops)
{
	if (rnd(12) == 0) {
		disk_fill();
		nap(rnd(200000));
	} else if (rnd(4) == 0) {
		disk_free();
	}
	switch (rnd(8)) {
	case 0: /* stopped, while it holds the writer lock; the others wait, and it goes on */
		stop(i, stops);
		nap(rnd(60000));
		kill(child[i], SIGCONT);
		break;
	case 1: /* stopped and then killed: what others began to wait for never comes */
		stop(i, stops);
		nap(rnd(20000));
		end(i);
		start(i);
		break;
	default:
		end(i);
		start(i);
		break;
	}
}

static int campaign(uint64_t kills, time_t until)
{
	uint64_t done = 0, before, stops = 0, restarts = 0, commits = 0, no_room = 0;
	int rc = 0;

	for (int i = 0; i < CHILDREN; i++)
		start(i);
	while (!rc && done < kills && time(NULL) < until) {
		nap(rnd(rnd(4) ? 12000 : 80000));
		before = stops;
		disturb((int)rnd(CHILDREN), &stops);
		done += stops == before; /* who was stopped goes on: no death */
		rc = wrong();
		if (rnd(25))
			continue;
		for (int i = 0; i < CHILDREN; i++)
			end(i);
		restarts++;
		disk_free();
		rc |= wrong() || judge();
		for (int i = 0; i < CHILDREN && !rc; i++)
			start(i);
	}
	for (int i = 0; i < CHILDREN; i++)
		if (child[i])
			end(i);
	disk_free();
	rc |= wrong() || judge();
	for (int i = 0; i < ACTORS; i++) {
		commits += said[i].acked;
		no_room += said[i].no_room;
	}
	printf("campaign: %llu deaths, %llu stops (%llu of the lock's holder), %llu times all at once; %llu children with little memory, "
	       "%llu gave up; %llu changes refused by a full disk; %llu commits acknowledged and followed: %s\n",
	       (unsigned long long)done, (unsigned long long)stops, (unsigned long long)held,
	       (unsigned long long)restarts, (unsigned long long)scant, (unsigned long long)gave_up,
	       (unsigned long long)no_room, (unsigned long long)commits, rc ? "FAILED" : "ok");
	return rc;
}

int main(int argc, char **argv)
{
	const char *dir = getenv("TMPDIR") ? getenv("TMPDIR") : "/dev/shm", *full = NULL;
	uint64_t kills = 150, seconds = 60, seed = (uint64_t)time(NULL);
	char lock[PATH_LEN + 8];
	int rc;

	if (getenv("SEED"))
		seed = strtoull(getenv("SEED"), NULL, 0);
	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--kills"))
			kills = strtoull(argv[i + 1], NULL, 0);
		else if (!strcmp(argv[i], "--seconds"))
			seconds = strtoull(argv[i + 1], NULL, 0);
		else if (!strcmp(argv[i], "--dir"))
			dir = argv[i + 1];
		else if (!strcmp(argv[i], "--seed"))
			seed = strtoull(argv[i + 1], NULL, 0);
		else if (!strcmp(argv[i], "--full"))
			full = argv[i + 1];
	}
	if (full && disk_mount(dir, full))
		return 77; /* skipped */
	rng = seed * 2 + 1;
	printf("campaign SEED=%llu on %s\n", (unsigned long long)seed, dir);
	snprintf(path, sizeof(path), "%s/campaign-%d.twz", dir, (int)getpid());
	if (full)
		snprintf(hog, sizeof(hog), "%s.hog", path);
	said = mmap(NULL, CHILDREN * sizeof(*said), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (said == MAP_FAILED)
		return 2;
	rc = campaign(kills, time(NULL) + (time_t)seconds);
	if (rc) {
		printf("the store is kept: %s\n", path);
		return 1;
	}
	snprintf(lock, sizeof(lock), "%s-lock", path);
	unlink(path);
	unlink(lock);
	return 0;
}
