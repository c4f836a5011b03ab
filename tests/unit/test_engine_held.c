/* SPDX-License-Identifier: MIT
 * test_engine_held.c -- a process is stopped (SIGSTOP) with something that others need for a moment: they are told who it is, in
 * bounded time, and when it goes on, or dies, all go on, with nothing lost
 */
#include "../../engine/src/internal.h"

#include "../../engine/src/lock.h"
#include "../../twz/src/companion.h"
#include "../../twz/src/rt.h"
#include "../../twz/src/stopped.h"
#include "engine_t.h"
#include "worker.h"

#define WRITERS 3

static struct twzdb *db;
static struct twzdb_table table;

static int put(uint64_t key, int timeout_ms)
{
	struct twzdb_txn *tx;
	int err = twzdb_begin_timed(db, 0, timeout_ms, &tx);

	if (err)
		return err;
	err = twzdb_put(tx, table, et_key(key), et_val(key, 100), 0);
	if (!err)
		return twzdb_commit(tx);
	twzdb_abort(tx);
	return err;
}

static int open_table(const char *path)
{
	struct twzdb_txn *tx;
	int err = et_open(path, &db);

	if (!err)
		err = twzdb_begin(db, TWZDB_RDONLY, &tx);
	if (err)
		return err;
	err = twzdb_table_open(tx, "t", 0, &table);
	twzdb_abort(tx);
	if (!err) /* without the lock */
		return 0;
	err = twzdb_begin(db, 0, &tx);
	if (err)
		return err;
	err = twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &table);
	if (!err)
		return twzdb_commit(tx);
	twzdb_abort(tx);
	return err;
}

/* --- what can be held --- */

static void hold_guard(void)
{
	(void)!twzdb__guard(&db->sh->lock);
	raise(SIGSTOP);
	pthread_mutex_unlock(&db->sh->lock.mutex);
}

static void hold_metadata(void)
{
	(void)!twz__meta_lock(db->s);
	raise(SIGSTOP);
	twz__meta_unlock(db->s);
}

static void hold_segments(void)
{
	struct comp_mutex *m = &db->s->comp->head->segs;
	bool died;

	(void)!twz__robust_lock(m, &died, "", "");
	raise(SIGSTOP);
	twz__robust_unlock(m);
}

static void hold_creating(void)
{
	struct sh_create *lock;

	(void)!twzdb__create_lock(db->s, &lock);
	raise(SIGSTOP);
	pthread_mutex_unlock(&lock->mutex);
}

static void hold_opening(void)
{
	(void)!twz__opening_lock(db->s->media);
	raise(SIGSTOP);
	twz__opening_unlock(db->s->media);
}

/* --- what needs it --- */

static struct twzdb_txn *writer;

static int need_guard(const char *path)
{
	(void)path;
	return put(1, 10); /* the lock is had by `writer` */
}

static int need_metadata(const char *path)
{
	struct twz_obj_options o = {.size = sizeof(o), .len = 4096};

	(void)path;
	return twz_obj_create(db->s, &o, NULL, NULL);
}

static int need_segments(const char *path)
{
	void *p;

	(void)path;
	return twz_shared_get(db->s, (twz_oid){{7, 7}}, 64, NULL, NULL, &p, NULL);
}

static int need_creating(const char *path)
{
	struct sh_create *lock;
	int err = twzdb__create_lock(db->s, &lock);

	(void)path;
	if (!err)
		pthread_mutex_unlock(&lock->mutex);
	return err;
}

static int need_opening(const char *path)
{
	struct twz_store *s;
	int err = twz_store_open(path, NULL, &s);

	if (!err)
		(void)!twz_store_close(s);
	else
		twzdb__from_twz(err, "opening");
	return err;
}

/* --- --- */

static pid_t stopped(const char *path, void (*hold)(void))
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid) {
		if (open_table(path))
			_exit(1);
		hold();
		_exit(twzdb_close(db) ? 2 : 0);
	}
	stopped_wait(pid);
	return pid;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void told(enum et_media m, void (*hold)(void), int (*need)(const char *), bool kill_it)
{
	const char *path = et_path(m, "held.twz");
	uint64_t from;
	char who[64];
	int err;
	pid_t pid;

	twz__wait_ms = 200;
	T_REQ(open_table(path));
	T_OK(put(0, -1));
	pid = stopped(path, hold);
	if (need == need_guard)
		T_OK(twzdb_begin(db, 0, &writer)); /* free, so without the guard */
	from = now_ms();
	err = need(path);
	T_TRUE(err == TWZ_E_TIMEOUT || err == TWZDB_E_TIMEOUT);
	T_TRUE(now_ms() - from < 3000);
	snprintf(who, sizeof(who), "process %d is stopped", (int)pid);
	T_HAS(need == need_guard ? twzdb_errmsg() : twz_errmsg(), who);
	if (writer)
		twzdb_abort(writer);
	writer = NULL;
	kill(pid, kill_it ? SIGKILL : SIGCONT);
	T_EQ(waitpid(pid, &err, 0), pid);
	T_TRUE(kill_it || (WIFEXITED(err) && !WEXITSTATUS(err)));
	err = need(path);
	T_OK(err);
	T_OK(put(2, 5000));
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
	unlink(path);
}

#define HELD(what)                                                                                 \
	static void what##_is_held(void)                                                           \
	{                                                                                          \
		told(ET_PAGE, hold_##what, need_##what, false);                                    \
		told(ET_LINE, hold_##what, need_##what, true);                                     \
	}
HELD(guard)
HELD(metadata)
HELD(segments)
HELD(creating)
HELD(opening)

/* Waits for the lock, says what came of it, and lives on until `end`. */
static int wait_and_stay(const char *path, int say, int end)
{
	int err = open_table(path);
	char c;

	if (!err)
		err = put(5, 5000);
	if (write(say, &err, sizeof(err)) != sizeof(err) || read(end, &c, 1) != 0)
		return 1;
	return twzdb_close(db) ? 2 : 0;
}

/* It cannot take itself off the list when it leaves; whoever drops the lock afterwards must not give it to it. */
static void who_has_given_up_is_handed_nothing(void)
{
	const char *path = et_path(ET_LINE, "handed.twz");
	int say[2], end[2], err = 0, status;
	pid_t waiter, holder;

	twz__wait_ms = 200;
	T_REQ(open_table(path));
	T_REQ(twzdb_begin(db, 0, &writer));
	T_EQ(pipe(say) | pipe(end), 0);
	fflush(NULL);
	waiter = fork();
	if (!waiter) {
		close(end[1]);
		_exit(wait_and_stay(path, say[1], end[0]));
	}
	for (int i = 0; i < 5000 && !ld32(&db->sh->lock.waiters); i++)
		usleep(1000);
	holder = stopped(path, hold_guard);
	T_EQ(read(say[0], &err, sizeof(err)), sizeof(err));
	T_ERR(err, TWZDB_E_TIMEOUT);
	stopped_goes_on(holder);
	twzdb_abort(writer);
	writer = NULL;
	T_OK(put(6, 3000));
	T_EQ(db->sh->lock.waiters, 0);
	close(end[1]);
	T_EQ(waitpid(waiter, &status, 0), waiter);
	T_TRUE(WIFEXITED(status) && !WEXITSTATUS(status));
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
	close(end[0]);
	close(say[0]);
	close(say[1]);
}

/*
 * Writers that are stopped at any moment, for longer than others wait: each of those is told so or writes, and afterwards
 * everybody can write again at once, so nothing was handed to who had gone.
 */
static int write_on(const char *path, int end)
{
	char c;

	if (open_table(path))
		return 1;
	for (uint64_t i = 0; read(end, &c, 1) < 0; i++) {
		int err = put(i % 100, 5);

		if (err && err != TWZDB_E_TIMEOUT && err != TWZ_E_TIMEOUT && err != -EINPROGRESS)
			return 2;
	}
	return twzdb_close(db) ? 3 : 0;
}

static void anybody_may_be_stopped_any_time(void)
{
	const char *path = et_path(ET_LINE, "any.twz");
	pid_t pid[WRITERS];
	uint64_t from;
	int end[2], status;

	twz__wait_ms = 3;
	T_REQ(open_table(path));
	T_EQ(pipe2(end, O_NONBLOCK), 0);
	fflush(NULL);
	for (int i = 0; i < WRITERS; i++) {
		pid[i] = fork();
		if (!pid[i]) {
			close(end[1]);
			_exit(write_on(path, end[0]));
		}
	}
	from = now_ms();
	while (now_ms() - from < 1500) {
		pid_t p = pid[t_rand_below(WRITERS)];

		usleep((useconds_t)t_rand_below(3000));
		kill(p, SIGSTOP);
		usleep((useconds_t)(8000 + t_rand_below(4000)));
		kill(p, SIGCONT);
	}
	close(end[1]);
	for (int i = 0; i < WRITERS; i++) {
		T_EQ(waitpid(pid[i], &status, 0), pid[i]);
		T_TRUE(WIFEXITED(status) && !WEXITSTATUS(status));
	}
	close(end[0]);
	twz__wait_ms = 10000;
	T_OK(put(1, 2000));
	T_EQ(db->sh->lock.waiters, 0);
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(guard_is_held),
		T_CASE(metadata_is_held),
		T_CASE(segments_is_held),
		T_CASE(creating_is_held),
		T_CASE(opening_is_held),
		T_CASE(who_has_given_up_is_handed_nothing),
		T_CASE(anybody_may_be_stopped_any_time),
		T_END,
	};

	return t_main("engine_held", cases, argc, argv);
}
