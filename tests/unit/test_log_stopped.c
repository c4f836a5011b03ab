/* SPDX-License-Identifier: MIT
 * test_log_stopped.c -- twz_log on page media: a process is stopped (SIGSTOP) while it writes a batch, or writes that of another again
 */
#include "../../twz/src/stopped.h"
#include "log_world.h"
#include "worker.h"

static struct twz_log *the_log;

/* docs/promises.md, line 7; other cases, and other tests, wait for less. */
static void limits_are_as_promised(void)
{
	T_EQ(twz__stuck_ms, 1000);
	T_EQ(twz__wait_ms, 10000);
	T_EQ(twz__slow_ms, 120000);
}

static struct twz__media_ops failing;
static const struct twz__media_ops *real;
static int stop_before, stop_after; /* a write: the nth from now */

static bool no_memory;

void *aligned_alloc(size_t align, size_t len)
{
	void *p;

	return no_memory || posix_memalign(&p, align, len) ? NULL : p;
}

static int stopping_write(struct twz__media *m, const void *buf, uint64_t off, uint64_t len)
{
	int err;

	if (stop_before && !--stop_before)
		raise(SIGSTOP);
	err = real->write_sync(m, buf, off, len);
	if (stop_after && !--stop_after)
		raise(SIGSTOP);
	return err;
}

static int open_stopping(const struct env *e, struct twz_store **s, struct twz_log **l)
{
	int err = open_log(e->path, NULL, e->id, s, l);

	if (err)
		return err;
	real = (*s)->media->ops;
	failing = *real;
	failing.write_sync = stopping_write;
	(*s)->media->ops = &failing;
	return 0;
}

static int stopped_leader(const struct env *e, bool before)
{
	struct twz_store *s;
	struct twz_log *l;
	uint64_t number, nr;
	int err = open_stopping(e, &s, &l);

	if (err)
		return 1;
	err = submit_one(l, &number, &nr);
	*(before ? &stop_before : &stop_after) = 1;
	if (!err)
		err = twz_log_wait(l, nr);
	return err ? 2 : 0;
}

/* Has nothing of its own to write: what it writes is the other's batch, once more. */
static int stopped_helper(const struct env *e)
{
	struct twz_store *s;
	struct twz_log *l;
	int err = open_stopping(e, &s, &l);

	if (err)
		return 1;
	stop_before = 1;
	return twz_log_drain(l) ? 2 : 0;
}

static int walk_one(void *ctx, uint64_t lsn, const void *rec, size_t len)
{
	uint64_t n, *last = ctx;

	(void)lsn;
	memcpy(&n, rec, sizeof(n));
	if (!body_is(rec, n, len) || (*last && n != *last + 1))
		return 1;
	*last = n;
	return 0;
}

/* The ring ends with the last record that was acknowledged. */
static void check_ring(struct twz_log *l)
{
	uint64_t last = 0;

	T_EQ(twz_log_walk(l, walk_one, &last), 0);
	T_TRUE(!last || last + 1 == world->next);
	T_EQ(world->bad, 0);
}

static int commit_some(struct twz_log *l, int cnt)
{
	uint64_t number, nr;
	int err = 0;

	while (cnt-- && !err) {
		err = submit_one(l, &number, &nr);
		if (!err)
			err = twz_log_wait(l, nr);
	}
	return err;
}

static void others_write_for_the_stopped(bool before, int sig)
{
	struct twz_store *s;
	struct env e;
	int status = 0;
	pid_t pid;

	if (!log_new(&e, 64 * KIB) || T_OK(open_log(e.path, NULL, e.id, &s, &the_log)))
		return;
	T_OK(commit_some(the_log, 3));
	fflush(NULL);
	pid = fork();
	if (!pid)
		_exit(stopped_leader(&e, before));
	stopped_wait(pid);
	no_memory = true;	       /* nobody fails at it */
	T_OK(commit_some(the_log, 1)); /* with the other's before it */
	no_memory = false;
	T_EQ(world->next, 5);
	/* Up to where it was, one lap later, and not farther. */
	T_ERR(commit_some(the_log, 100), TWZ_E_TIMEOUT);
	T_TRUE(world->next > 8);
	check_ring(the_log);
	kill(pid, sig);
	T_EQ(waitpid(pid, &status, 0), pid);
	T_TRUE(sig == SIGKILL || (WIFEXITED(status) && !WEXITSTATUS(status)));
	check_ring(the_log);
	T_OK(commit_some(the_log, 100));
	check_ring(the_log);
	twz_log_close(the_log);
	T_OK(twz_store_close(s));
	check_restart(e.path, e.id);
	unlink(e.path);
}

static void others_write_for_who_is_stopped_and_goes_on(void)
{
	others_write_for_the_stopped(true, SIGCONT);
}

static void others_write_for_who_is_stopped_and_killed(void)
{
	others_write_for_the_stopped(false, SIGKILL);
}

/*
 * The owner of a batch is stopped, and so is who writes it again, before a byte of that has gone out. The owner goes on and has
 * done with it. Its place in the ring is the other's still, one lap later too; and so is its place among the batches, which says so.
 */
static void who_writes_again_is_stopped_too(void)
{
	struct twz_store *s;
	pid_t owner, helper;
	struct env e;

	if (!log_new(&e, 64 * KIB) || T_OK(open_log(e.path, NULL, e.id, &s, &the_log)))
		return;
	T_OK(commit_some(the_log, 3));
	fflush(NULL);
	owner = fork();
	if (!owner)
		_exit(stopped_leader(&e, true));
	stopped_wait(owner);
	helper = fork();
	if (!helper)
		_exit(stopped_helper(&e));
	stopped_wait(helper);
	stopped_goes_on(owner);
	T_EQ(world->next, 4);
	T_ERR(commit_some(the_log, 100), TWZ_E_TIMEOUT);
	T_TRUE(world->next > 8);
	check_ring(the_log);
	stopped_goes_on(helper); /* and writes what is long durable */
	check_ring(the_log);
	T_OK(commit_some(the_log, 100));
	check_ring(the_log);
	twz_log_close(the_log);
	T_OK(twz_store_close(s));
	check_restart(e.path, e.id);
	unlink(e.path);
}

/*
 * Who is stopped has a block of his own, and writes all of it when he goes on: so nobody begins a batch there behind his, though that is
 * long durable.
 */
static void nothing_begins_where_the_stopped_may_write(void)
{
	struct twz_store *s;
	struct env e;
	pid_t pid;

	if (!log_new(&e, 64 * KIB) || T_OK(open_log(e.path, NULL, e.id, &s, &the_log)))
		return;
	T_OK(commit_some(the_log, 2));
	T_OK(twz_log_recover(the_log, false)); /* behind it everybody begins in a fresh block */
	fflush(NULL);
	pid = fork();
	if (!pid)
		_exit(stopped_leader(&e, true));
	stopped_wait(pid);
	T_OK(twz_log_drain(the_log)); /* the other's, in the first block */
	T_EQ(world->next, 3);
	T_OK(commit_some(the_log, 3));
	check_ring(the_log);
	stopped_goes_on(pid); /* and writes it */
	check_ring(the_log);
	T_EQ(world->next, 6);
	T_OK(commit_some(the_log, 3));
	check_ring(the_log);
	twz_log_close(the_log);
	T_OK(twz_store_close(s));
	check_restart(e.path, e.id);
	unlink(e.path);
}

/* --- the device does not answer --- */

static atomic_bool answers;

static int waiting_write(struct twz__media *m, const void *buf, uint64_t off, uint64_t len)
{
	while (!answers)
		usleep(1000);
	return real->write_sync(m, buf, off, len);
}

struct waiter {
	pthread_t thread;
	uint64_t nr, ms;
	int err;
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void *wait_for_it(void *arg)
{
	struct waiter *w = arg;
	uint64_t from = now_ms();

	w->err = twz_log_wait(the_log, w->nr);
	w->ms = now_ms() - from;
	return NULL;
}

/* Two write the same batch, and get no answer; the third is told so, but not before twz__slow_ms: somebody is at it. */
static void a_device_that_does_not_answer(void)
{
	struct waiter w[3] = {{.err = 1}, {.err = 1}, {.err = 1}};
	struct twz_store *s;
	uint64_t number, nr;
	struct env e;

	if (!log_new(&e, 64 * KIB) || T_OK(open_log(e.path, NULL, e.id, &s, &the_log)))
		return;
	twz__stuck_ms = 30;
	twz__wait_ms = 150;
	twz__slow_ms = 600;
	real = s->media->ops;
	failing = *real;
	failing.write_sync = waiting_write;
	s->media->ops = &failing;
	T_OK(submit_one(the_log, &number, &nr));
	for (int i = 0; i < 3; i++) {
		w[i].nr = nr;
		T_EQ(pthread_create(&w[i].thread, NULL, wait_for_it, &w[i]), 0);
		usleep(100000);
	}
	pthread_join(w[2].thread, NULL);
	T_ERR(w[2].err, TWZ_E_TIMEOUT);
	T_TRUE(w[2].ms >= 400);
	answers = true;
	for (int i = 0; i < 2; i++) {
		pthread_join(w[i].thread, NULL);
		T_OK(w[i].err);
	}
	T_OK(twz_log_wait(the_log, nr));
	T_OK(commit_some(the_log, 100));
	check_ring(the_log);
	s->media->ops = real;
	twz__stuck_ms = 1000;
	twz__wait_ms = 10000;
	twz__slow_ms = 120000;
	twz_log_close(the_log);
	T_OK(twz_store_close(s));
	unlink(e.path);
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(limits_are_as_promised),
		T_CASE(others_write_for_who_is_stopped_and_goes_on),
		T_CASE(others_write_for_who_is_stopped_and_killed),
		T_CASE(who_writes_again_is_stopped_too),
		T_CASE(nothing_begins_where_the_stopped_may_write),
		T_CASE(a_device_that_does_not_answer),
		T_END,
	};

	return t_main("log_stopped", cases, argc, argv);
}
