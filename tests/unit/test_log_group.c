/* SPDX-License-Identifier: MIT
 * test_log_group.c -- group commit of twz_log: threads, processes killed at any moment, failed writes
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log_world.h"

static int worker(struct twz_log *l, int me)
{
	uint64_t number, nr;
	int err = 0;

	while (!err && !atomic_load(&world->stop)) {
		err = submit_one(l, &number, &nr);
		if (!err)
			err = twz_log_wait(l, nr);
		if (!err && nr % 4 == 0)
			err = twz_log_checkpoint_ahead(l, NULL); /* without the writer lock */
		if (err)
			break;
		if (__atomic_load_n(&world->next, __ATOMIC_SEQ_CST) <= number)
			world->bad = 2; /* durable, but not applied */
		__atomic_store_n(&world->acked[me], number + 1, __ATOMIC_SEQ_CST);
	}
	return err;
}

/* --- threads --- */

static struct twz_log *the_log;

static void *thread(void *arg)
{
	int err = worker(the_log, (int)(intptr_t)arg);

	if (err && !world->failed) {
		fprintf(stderr, "worker: %s\n", twz_errmsg());
		world->bad = 3;
	}
	return (void *)(intptr_t)err;
}

static void run_threads(double secs, int *errs)
{
	pthread_t th[WORKERS];

	atomic_store(&world->stop, false);
	for (intptr_t i = 0; i < WORKERS; i++)
		pthread_create(&th[i], NULL, thread, (void *)i);
	usleep((useconds_t)(secs * 1e6));
	atomic_store(&world->stop, true);
	for (int i = 0; i < WORKERS; i++) {
		void *ret;

		pthread_join(th[i], &ret);
		errs[i] = (int)(intptr_t)ret;
	}
}

static void threads_share_batches_over_many_laps(void)
{
	struct twz_store *s;
	int errs[WORKERS];
	struct env e;

	if (!log_new(&e, 64 * KIB))
		return;
	for (int round = 0; round < 3; round++) {
		struct twz_log_info info;

		if (T_OK(open_log(e.path, NULL, e.id, &s, &the_log)))
			return;
		run_threads(0.3, errs);
		for (int i = 0; i < WORKERS; i++)
			T_OK(errs[i]);
		T_OK(twz_log_drain(the_log));
		T_OK(twz_log_info(the_log, &info));
		T_EQ(info.records + world->base, world->next);
		check_acked();
		twz_log_close(the_log); /* without a checkpoint */
		T_OK(twz_store_close(s));
		check_restart(e.path, e.id);
	}
	unlink(e.path);
}

/* --- processes --- */

static pid_t start(const struct env *e, int me)
{
	uint64_t seed = t_rand();
	struct twz_store *s;
	struct twz_log *l;
	int err;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid)
		return pid;
	for (uint64_t i = seed % 97; i--;)
		t_rand(); /* workers differ */
	err = open_log(e->path, NULL, e->id, &s, &l);
	if (!err)
		err = worker(l, me);
	fprintf(stderr, "worker %d: %s\n", me, twz_errmsg());
	_exit(err != 0);
}

static void stop_worker(pid_t pid)
{
	int status = 0;

	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	T_TRUE(WIFSIGNALED(status)); /* else it found something wrong and said so */
}

/* Submitters, those who write a batch and those who apply it die at any moment; others go on. */
static void killed_processes_take_nothing_along(void)
{
	pid_t pid[WORKERS];
	struct twz_store *s;
	struct twz_log *l;
	struct env e;

	if (!log_new(&e, 64 * KIB) || T_OK(open_log(e.path, NULL, e.id, &s, &l)))
		return;
	for (int i = 0; i < WORKERS; i++)
		pid[i] = start(&e, i);
	for (int round = 0; round < 60; round++) {
		unsigned i = (unsigned)t_rand_below(WORKERS);
		uint64_t before = world->next;

		usleep((useconds_t)t_rand_below(15000));
		stop_worker(pid[i]);
		check_acked();
		pid[i] = start(&e, (int)i);
		for (int ms = 0; world->next == before && ms < 3000; ms++)
			usleep(1000);
		T_TRUE(world->next > before); /* nobody waits for the dead */
	}
	for (int i = 0; i < WORKERS; i++)
		stop_worker(pid[i]);
	/* What was staged is finished by whoever comes. */
	if (pthread_mutex_lock(&world->writer) == EOWNERDEAD)
		pthread_mutex_consistent(&world->writer);
	T_OK(twz_log_recover(l, false));
	pthread_mutex_unlock(&world->writer);
	check_acked();
	twz_log_close(l);
	T_OK(twz_store_close(s));
	check_restart(e.path, e.id);
	unlink(e.path);
}

/* All die: what was told is in the log. */
static void killing_all_loses_nothing_that_was_told(void)
{
	pid_t pid[WORKERS];
	struct env e;

	if (!log_new(&e, 64 * KIB))
		return;
	for (int round = 0; round < 12; round++) {
		for (int i = 0; i < WORKERS; i++)
			pid[i] = start(&e, i);
		usleep((useconds_t)(20000 + t_rand_below(60000)));
		for (int i = 0; i < WORKERS; i++)
			stop_worker(pid[i]);
		memset(&world->writer, 0, sizeof(world->writer)); /* nobody is left who has it */
		writer_new();
		check_restart(e.path, e.id);
		memset(world->acked, 0, sizeof(world->acked));
	}
	unlink(e.path);
}

/* --- failure (D17) --- */

static struct twz__media_ops failing;
static const struct twz__media_ops *real;
static int fail_after; /* writes that still succeed; < 0: all */

static int write_sync(struct twz__media *m, const void *buf, uint64_t off, uint64_t len)
{
	if (__atomic_load_n(&fail_after, __ATOMIC_SEQ_CST) >= 0 &&
	    __atomic_fetch_sub(&fail_after, 1, __ATOMIC_SEQ_CST) <= 0)
		return TWZ_E_IO;
	return real->write_sync(m, buf, off, len);
}

static void a_failed_batch_fails_everybody(void)
{
	for (int after = 0; after < 12; after++) {
		struct twz_store *s;
		int errs[WORKERS], io = 0;
		uint64_t applied;
		struct env e;

		if (!log_new(&e, 64 * KIB) || T_OK(open_log(e.path, NULL, e.id, &s, &the_log)))
			return;
		real = s->media->ops;
		failing = *real;
		failing.write_sync = write_sync;
		s->media->ops = &failing;
		world->failed = 1;
		fail_after = after;
		for (int tries = 0, all = 0; tries < 100 && all < WORKERS;
		     tries++) { /* a busy disk is slow */
			run_threads(0.05, errs);
			all = 0;
			for (int i = 0; i < WORKERS; i++) { /* perhaps when others had just ended */
				io += errs[i] == TWZ_E_IO;
				all += errs[i] != 0;
			}
		}
		for (int i = 0; i < WORKERS; i++)
			T_TRUE(errs[i] == TWZ_E_IO || errs[i] == TWZ_E_FAILED);
		T_TRUE(io > 0);
		check_acked(); /* nobody was told too much */
		applied = world->next;
		T_ERR(twz_log_drain(the_log), TWZ_E_FAILED);
		T_ERR(twz_log_checkpoint(the_log), TWZ_E_FAILED);
		T_EQ(world->next, applied); /* nothing is applied from now on */
		s->media->ops = real;
		T_ERR(twz_log_drain(the_log), TWZ_E_FAILED); /* until restart */
		twz_log_close(the_log);
		T_OK(twz_store_close(s));
		check_restart(e.path, e.id);
		unlink(e.path);
	}
}

/* --- memory --- */

static bool no_memory;

void *aligned_alloc(size_t align, size_t len)
{
	void *p;

	return no_memory || posix_memalign(&p, align, len) ? NULL : p;
}

/* A record that was submitted stands: nobody says that there is no memory for it. */
static void what_was_submitted_needs_no_memory(void)
{
	struct twz_store *s;
	struct env e;

	no_memory = false;
	if (!log_new(&e, 1024 * KIB) || T_OK(open_log(e.path, NULL, e.id, &s, &the_log)))
		return;
	for (int lap = 0; lap < 4; lap++) {
		uint64_t number, nr = 0;

		for (int i = 0; i < 250;
		     i++) /* some 400 KiB: across the end of the staging area in time */
			T_REQ(submit_one(the_log, &number, &nr));
		no_memory = true;
		T_OK(twz_log_wait(the_log, nr));
		no_memory = false;
		T_EQ(world->next, number + 1);
	}
	check_acked();
	twz_log_close(the_log);
	T_OK(twz_store_close(s));
	check_restart(e.path, e.id);
	unlink(e.path);
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(threads_share_batches_over_many_laps),
		T_CASE(killed_processes_take_nothing_along),
		T_CASE(killing_all_loses_nothing_that_was_told),
		T_CASE(a_failed_batch_fails_everybody),
		T_CASE(what_was_submitted_needs_no_memory),
		T_END,
	};

	return t_main("log_group", cases, argc, argv);
}
