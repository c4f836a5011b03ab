/* SPDX-License-Identifier: MIT
 * test_engine_listen.c -- waiting for commits of a database, and of a table; who reads, and who lags
 */
#include "../../engine/src/internal.h"
#include "engine_t.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

static struct twzdb *db;
static struct twzdb_table a, b;

static void nap_ms(long ms)
{
	struct timespec ts = {ms / 1000, ms % 1000 * 1000000L};

	nanosleep(&ts, NULL);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static int open_it(const char *path)
{
	struct twzdb_txn *tx;
	int err = et_open(path, &db);

	if (!err)
		err = twzdb_begin(db, 0, &tx);
	if (err)
		return err;
	err = twzdb_table_open(tx, "a", TWZDB_TABLE_CREATE, &a);
	if (!err)
		err = twzdb_table_open(tx, "b", TWZDB_TABLE_CREATE, &b);
	return err ? (twzdb_abort(tx), err) : twzdb_commit(tx);
}

static int put(struct twzdb_table t, uint64_t key, uint32_t flags)
{
	struct twzdb_txn *tx;
	int err = twzdb_begin(db, flags, &tx);

	if (err)
		return err;
	err = twzdb_put(tx, t, et_key(key), et_val(key, 50), 0);
	return err ? (twzdb_abort(tx), err) : twzdb_commit(tx);
}

static void both_media(void (*fn)(enum et_media m))
{
	fn(ET_PAGE);
	fn(ET_LINE);
}

/* What was on its way when it came may be returned; then nothing more is. */
static void quiet(struct twzdb_listener *l)
{
	for (int i = 0; i < 3 && !twzdb_listener_wait(l, 0, NULL); i++)
		;
	T_ERR(twzdb_listener_wait(l, 0, NULL), TWZDB_E_TIMEOUT);
}

static void commits_are_heard_of_on(enum et_media m)
{
	struct twzdb_listener *any, *of_a, *of_b;
	struct twzdb_txn *tx;
	uint64_t ts, was;

	if (T_OK(open_it(et_path(m, "heard.twz"))))
		return;
	T_OK(twzdb_listener_open(db, NULL, &any));
	T_OK(twzdb_listener_open(db, &a, &of_a));
	T_OK(twzdb_listener_open(db, &b, &of_b));
	T_ERR(twzdb_close(db), TWZDB_E_STATE);
	T_ERR(twzdb_listener_wait(any, 0, &ts), TWZDB_E_TIMEOUT);
	T_EQ(ts, 0);
	T_OK(put(b, 1, 0)); /* they may be unsure of the first one */
	quiet(any), quiet(of_a), quiet(of_b);
	was = twzdb_latest_ts(db);
	T_OK(put(a, 1, 0));
	T_OK(twzdb_listener_wait(any, 0, &ts));
	T_EQ(ts, was + 1);
	T_OK(twzdb_listener_wait(of_a, 0, &ts));
	T_EQ(ts, was + 1);
	T_ERR(twzdb_listener_wait(of_b, 0, &ts), TWZDB_E_TIMEOUT);
	T_ERR(twzdb_listener_wait(any, 0, &ts), TWZDB_E_TIMEOUT);
	/* One that changes both, among others that change one; deleting is a change; one call is a commit. */
	T_OK(put(a, 2, 0));
	T_REQ(twzdb_begin(db, 0, &tx));
	T_OK(twzdb_put(tx, a, et_key(3), et_val(3, 10), 0));
	T_OK(twzdb_put(tx, b, et_key(3), et_val(3, 10), 0));
	T_OK(twzdb_commit(tx));
	T_OK(put(a, 4, 0));
	T_OK(twzdb_listener_wait(of_b, 0, &ts));
	T_EQ(ts, was + 4);
	T_OK(twzdb_listener_wait(of_a, 0, NULL));
	for (uint64_t i = 0; i < 40; i++)
		T_OK(twzdb_put_one(db, a, et_key(i), et_val(i, 10), 0));
	T_ERR(twzdb_listener_wait(of_b, 0, NULL), TWZDB_E_TIMEOUT);
	T_OK(twzdb_listener_wait(of_a, 0, NULL));
	T_OK(twzdb_del_one(db, b, et_key(3)));
	T_OK(twzdb_listener_wait(of_b, 0, NULL));
	/* Nothing is said of what did not happen. */
	quiet(any);
	T_REQ(twzdb_begin(db, 0, &tx));
	T_OK(twzdb_put(tx, a, et_key(3), et_val(3, 10), 0));
	twzdb_abort(tx);
	T_REQ(twzdb_begin(db, 0, &tx));
	T_OK(twzdb_commit(tx));
	T_ERR(twzdb_listener_wait(any, 0, NULL), TWZDB_E_TIMEOUT);
	/* Lazy ones are heard of when they are seen. */
	was = twzdb_latest_ts(db);
	T_OK(put(b, 9, TWZDB_LAZY));
	T_OK(twzdb_listener_wait(any, 0, &ts));
	T_EQ(ts, was + 1);
	T_OK(twzdb_listener_wait(of_b, 0, &ts));
	T_EQ(ts, was + 1);
	T_OK(twzdb_sync(db));
	T_ERR(twzdb_listener_wait(of_b, 0, NULL), TWZDB_E_TIMEOUT);
	twzdb_listener_close(any);
	twzdb_listener_close(of_a);
	twzdb_listener_close(of_b);
	T_EQ(ld64(&db->sh->listeners), 0);
	T_OK(twzdb_close(db));
}

static void commits_are_heard_of(void)
{
	both_media(commits_are_heard_of_on);
}

/* --- threads --- */

#define SLEEPERS 4
#define COMMITS	 300

static atomic_uint heard[SLEEPERS];
static atomic_ulong last_put;

/* Waits for a commit of its table, always from the one it was told of on. */
static void *sleeper(void *arg)
{
	int me = *(int *)arg;
	struct twzdb_listener *l;
	uint64_t ts, got = 0;

	if (T_OK(twzdb_listener_open(db, me % 2 ? &a : NULL, &l)))
		return NULL;
	heard[me] = 1;
	while (!last_put || got < last_put) {
		int err = twzdb_listener_wait(l, 5000, &ts);

		if (T_OK(err))
			break;
		got = ts;
		heard[me]++;
	}
	twzdb_listener_close(l);
	return NULL;
}

static void sleepers_are_woken_on(enum et_media m)
{
	pthread_t th[SLEEPERS];
	int nr[SLEEPERS];
	uint64_t begun;

	if (T_OK(open_it(et_path(m, "woken.twz"))))
		return;
	memset(heard, 0, sizeof(heard));
	last_put = 0;
	for (int i = 0; i < SLEEPERS; i++) {
		nr[i] = i;
		pthread_create(&th[i], NULL, sleeper, &nr[i]);
	}
	for (int i = 0; i < SLEEPERS; i++)
		while (!heard[i])
			nap_ms(1);
	for (uint64_t i = 0; i < COMMITS; i++) {
		T_OK(put(i % 3 ? a : b, i, i % 2 ? TWZDB_LAZY : 0));
		if (i % 16 == 0)
			nap_ms(2);
	}
	nap_ms(300); /* all asleep */
	begun = now_ms();
	last_put = twzdb_latest_ts(db) + 1;
	T_OK(put(a, 1, 0));
	for (int i = 0; i < SLEEPERS; i++)
		pthread_join(th[i], NULL);
	T_TRUE(now_ms() - begun < 4000);
	for (int i = 0; i < SLEEPERS; i++)
		T_TRUE(heard[i] > 2);
	T_OK(twzdb_close(db));
}

static void sleepers_are_woken(void)
{
	both_media(sleepers_are_woken_on);
}

/* --- processes --- */

static struct world {
	_Atomic uint64_t ready, woken_ms, ts;
} * world;

static int child_waits(const char *path, bool one_only)
{
	struct twzdb_listener *l;
	uint64_t ts;

	if (open_it(path) || twzdb_listener_open(db, &a, &l))
		return 1;
	while (!twzdb_listener_wait(l, 0, NULL))
		;
	world->ready = 1;
	do {
		if (twzdb_listener_wait(l, 20000, &ts))
			return 2;
		world->woken_ms = now_ms();
		world->ts = ts;
	} while (!one_only);
	twzdb_listener_close(l);
	return twzdb_close(db) ? 3 : 0;
}

static int child_commits(const char *path)
{
	if (open_it(path))
		return 1;
	world->ready = 1;
	for (uint64_t i = 0;; i++)
		if (put(a, i % 100, 0))
			return 2;
}

static pid_t spawn(const char *path, int kind)
{
	pid_t pid;

	memset(world, 0, sizeof(*world));
	fflush(NULL);
	pid = fork();
	if (!pid)
		_exit(kind == 2 ? child_commits(path) : child_waits(path, kind == 0));
	for (int i = 0; i < 5000 && !world->ready; i++)
		nap_ms(1);
	return pid;
}

static void other_processes_are_heard_of_on(enum et_media m)
{
	char *path = strdup(et_path(m, "procs.twz"));
	struct twzdb_listener *l;
	uint64_t was, ts;
	int status;
	pid_t pid;

	world = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!T_TRUE(world != MAP_FAILED) || T_OK(open_it(path)))
		return;
	pid = spawn(path, 0);
	T_EQ(world->ready, 1);
	T_OK(put(b, 5, 0)); /* not for it, or it was unsure */
	nap_ms(400);
	was = world->woken_ms;
	T_OK(put(a, 5, 0));
	T_EQ(waitpid(pid, &status, 0), pid);
	T_TRUE(was || WIFEXITED(status));
	T_TRUE(WIFEXITED(status) && !WEXITSTATUS(status));
	T_TRUE(world->ts > 0);
	/* A listener that is killed while it sleeps: its line is free when the next commit meets it. */
	pid = spawn(path, 1);
	nap_ms(50);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	T_TRUE(ld64(&db->sh->listeners) == 1);
	T_OK(put(a, 6, 0));
	T_EQ(ld64(&db->sh->listeners), 0);
	/* A committer that is killed anywhere: what it published is heard of. */
	for (int round = 0; round < 8; round++) {
		T_OK(twzdb_listener_open(db, &a, &l));
		was = twzdb_latest_ts(db);
		pid = spawn(path, 2);
		nap_ms(5 + (long)t_rand_below(20));
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		while (!twzdb_listener_wait(l, 600, &ts))
			was = ts;
		T_EQ(was, twzdb_latest_ts(db));
		T_OK(put(a, 7, 0)); /* and goes on, after a takeover */
		T_OK(twzdb_listener_wait(l, 2000, &ts));
		T_EQ(ts, twzdb_latest_ts(db));
		twzdb_listener_close(l);
	}
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
	free(path);
}

static void other_processes_are_heard_of(void)
{
	both_media(other_processes_are_heard_of_on);
}

static void listeners_have_an_end(void)
{
	static struct twzdb_listener *l[TWZDB_LISTENERS + 1];
	struct twzdb_table none = {0, 0};
	int n = 0;

	if (T_OK(open_it(et_path(ET_LINE, "many.twz"))))
		return;
	T_ERR(twzdb_listener_open(NULL, NULL, &l[0]), TWZDB_E_INVAL);
	T_ERR(twzdb_listener_open(db, &none, &l[0]), TWZDB_E_INVAL);
	T_ERR(twzdb_listener_wait(NULL, 0, NULL), TWZDB_E_INVAL);
	while (n < TWZDB_LISTENERS && !T_OK(twzdb_listener_open(db, &a, &l[n])))
		n++;
	T_ERR(twzdb_listener_open(db, &a, &l[n]), TWZDB_E_FULL);
	T_TRUE(!l[n]);
	T_OK(put(a, 1, 0));
	for (int i = 0; i < n; i++)
		T_OK(twzdb_listener_wait(l[i], 1000, NULL));
	while (n--)
		twzdb_listener_close(l[n]);
	twzdb_listener_close(NULL);
	T_OK(twzdb_close(db));
}

/* --- readers --- */

struct found {
	int cnt;
	uint64_t lag, age_ms, oldest;
	uint32_t pid;
};

static int on_reader(void *ctx, const struct twzdb_reader *r)
{
	struct found *f = ctx;

	f->cnt++;
	if (r->lag >= f->lag) {
		f->lag = r->lag;
		f->age_ms = r->age_ms;
		f->oldest = r->ts;
		f->pid = r->pid;
	}
	return 0;
}

static void on_lag(void *ctx, const struct twzdb_reader *r)
{
	on_reader(ctx, r);
}

static int stop_there(void *ctx, const struct twzdb_reader *r)
{
	(void)ctx, (void)r;
	return 7;
}

static int child_reads(const char *path)
{
	struct twzdb_txn *tx;

	if (open_it(path) || twzdb_begin(db, TWZDB_RDONLY, &tx))
		return 1;
	world->ts = twzdb_txn_ts(tx);
	world->ready = 1;
	nap_ms(20000);
	return 0;
}

static void readers_are_listed_on(enum et_media m)
{
	char *path = strdup(et_path(m, "readers.twz"));
	struct twzdb_txn *own;
	struct found f = {0}, lag = {0};
	int status;
	pid_t pid;

	world = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!T_TRUE(world != MAP_FAILED) || T_OK(open_it(path)))
		return;
	T_OK(twzdb_readers(db, on_reader, &f));
	T_EQ(f.cnt, 0);
	fflush(NULL);
	pid = fork();
	if (!pid)
		_exit(child_reads(path));
	for (int i = 0; i < 5000 && !world->ready; i++)
		nap_ms(1);
	T_OK(twzdb_on_lag(db, 20, 0, on_lag, &lag));
	for (uint64_t i = 0; i < 50; i++)
		T_OK(put(a, i % 4, 0));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &own));
	T_OK(twzdb_readers(db, on_reader, &f));
	T_EQ(f.cnt, 2);
	T_EQ(f.pid, (uint32_t)pid);
	T_EQ(f.oldest, world->ts);
	T_EQ(f.lag, 50);
	for (int i = 0; i < 13; i++) {
		nap_ms(101);
		T_OK(put(a, 1, 0));
		T_OK(twzdb_readers(db, on_reader, &f));
	}
	memset(&f, 0, sizeof(f));
	T_OK(twzdb_readers(db, on_reader, &f));
	T_TRUE(f.age_ms >= 1000 && f.age_ms < 60000);
	T_EQ(twzdb_readers(db, stop_there, NULL), 7);
	twzdb_abort(own);
	/* Somebody who reuses space has looked, and told. */
	for (uint64_t i = 0; i < 2000 && !lag.cnt; i++)
		T_OK(put(a, i % 4, 0));
	T_TRUE(lag.cnt > 0);
	T_EQ(lag.pid, (uint32_t)pid);
	T_OK(twzdb_on_lag(db, 0, 0, NULL, NULL));
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	memset(&f, 0, sizeof(f));
	T_OK(twzdb_readers(db, on_reader, &f)); /* the dead pin nothing, and are not listed */
	T_EQ(f.cnt, 0);
	T_ERR(twzdb_readers(db, NULL, NULL), TWZDB_E_INVAL);
	T_OK(twzdb_close(db));
	free(path);
}

static void readers_are_listed(void)
{
	both_media(readers_are_listed_on);
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(commits_are_heard_of),	      T_CASE(sleepers_are_woken),
		T_CASE(other_processes_are_heard_of), T_CASE(listeners_have_an_end),
		T_CASE(readers_are_listed),	      T_END,
	};

	return t_main("engine_listen", cases, argc, argv);
}
