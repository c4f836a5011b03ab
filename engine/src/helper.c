/* SPDX-License-Identifier: MIT
 * helper.c -- threads of this opening that do what nobody should wait for, and somebody must do
 *
 * One writes lazy commits, one does checkpoints: a checkpoint is long, and lazy commits shall not wait for it. One makes space
 * ahead, and one large pages of small ones (below). Each is made when something is asked of it first, and sleeps while nothing
 * is. So a program that commits durably and reads, a few megabytes in all, has no thread of ours. All they do others may do at the same time, in this process or another
 * one, and whoever needs it done does it himself. TWZDB_HELPER=0 in the environment does without: then lazy commits wait
 * for a durable one, for twzdb_sync(), or for many of their kind.
 */
#include "internal.h"

#include <signal.h>
#include <time.h>

#define LAZY_MS	 50  /* a lazy commit waits so long at most before somebody begins to write it */
#define JOIN_MS	 300 /* whoever fills new memory in one go is not disturbed */
#define LATER	 ((uint32_t)(HELP_LAZY | HELP_JOIN))
#define REST_MAX 10000000L /* ns */
#define NEW_TAIL                                                                                   \
	((uint64_t)64 << 20) /* bytes at a store's end that may not have been stored to yet */

static struct timespec in_ms(unsigned ms)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_nsec += (long)ms * 1000000L;
	ts.tv_sec += ts.tv_nsec / 1000000000L;
	ts.tv_nsec %= 1000000000L;
	return ts;
}

/* With the mutex: what is to be done now. 0: stop. */
static uint32_t next_job(struct twzdb__helper *h)
{
	struct timespec due = {0, 0};
	uint32_t jobs;

	while (!h->stop && !(h->asked & ~LATER)) {
		if (!h->asked) {
			due.tv_sec = 0;
			pthread_cond_wait(&h->cond, &h->mutex);
			continue;
		}
		if (!due.tv_sec)
			due = in_ms(h->asked & HELP_JOIN ? JOIN_MS : LAZY_MS);
		if (pthread_cond_timedwait(&h->cond, &h->mutex, &due) == ETIMEDOUT)
			break;
	}
	/*
	 * Cleared first: what is asked for from here on is done after. Who finds that it has been asked for already has
	 * staged his commit before he looked (twzdb__helper_ask), and then the work that follows finds it.
	 */
	jobs = h->asked;
	st32(&h->asked, 0);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return h->stop ? 0 : jobs;
}

/* --- large pages: where the kernel had none at hand when memory was asked for, it may have some later --- */

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

/* As long as the work took, so that others have the memory's bandwidth, and a processor, half of the time at least. */
static void rest_since(uint64_t start)
{
	uint64_t took = now_ns() - start;
	struct timespec ts = {0, took < REST_MAX ? (long)took : REST_MAX};

	nanosleep(&ts, NULL);
}

/* Each chunk once; but those at the end of the store again, for what nobody had stored to yet was left as it was. */
static void join_pages(struct twzdb *db, const uint32_t *stop)
{
	uint64_t now = now_ns();

	while (!ld32(stop) && twz_store_join_pages(db->s, &db->joined)) {
		rest_since(now);
		now = now_ns();
	}
	db->joined -= db->joined < NEW_TAIL ? db->joined : NEW_TAIL;
	while (!ld32(stop) && db->acc.sc && twz_scratch_join_pages(db->acc.sc, &db->acc.joined)) {
		rest_since(now);
		now = now_ns();
	}
}

static void *run(void *arg)
{
	struct twzdb__helper *h = arg;
	struct twzdb *db = h->db;
	uint32_t jobs;
	int err;

	pthread_mutex_lock(&h->mutex);
	while ((jobs = next_job(h))) {
		pthread_mutex_unlock(&h->mutex);
		err = 0;
		if (jobs & (HELP_LAZY | HELP_NOW))
			err = twz_log_drain(db->log);
		if (!err && jobs & HELP_CHECKPOINT)
			err = twz_log_checkpoint_ahead(db->log, &h->stop);
		if (err)
			(void)twzdb__stage_failed(db, err);
		if (jobs & HELP_GROW)
			twzdb__grow_ahead(db);
		if (jobs & HELP_GROW && !db->page_media)
			(void)twzdb__helper_ask(db, HELP_JOIN);
		if (jobs & HELP_JOIN)
			join_pages(db, &h->stop);
		pthread_mutex_lock(&h->mutex);
		/* Somebody was in the way: what is lazy is still to be written, and nobody need ask again. */
		if (err == TWZ_E_TIMEOUT && jobs & (HELP_LAZY | HELP_NOW))
			st32(&h->asked, h->asked | HELP_LAZY);
	}
	pthread_mutex_unlock(&h->mutex);
	return NULL;
}

/* Signals are the program's own. */
static bool start(struct twzdb__helper *h)
{
	sigset_t all, old;
	bool ok;

	sigfillset(&all);
	if (pthread_sigmask(SIG_SETMASK, &all, &old))
		return false;
	ok = !pthread_create(&h->thread, NULL, run, h);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return ok;
}

bool twzdb__helper_start(struct twzdb *db, uint32_t jobs)
{
	const char *wanted = getenv("TWZDB_HELPER");
	struct twzdb__helper *h = twzdb__helper_of(db, jobs);
	bool ok;

	if (wanted && !strcmp(wanted, "0"))
		return !(jobs & HELP_NOW);
	pthread_mutex_lock(&h->mutex);
	if (!h->started)
		h->started = start(h);
	ok = h->started;
	if (ok) {
		st32(&h->asked, h->asked | jobs);
		pthread_cond_signal(&h->cond);
	}
	pthread_mutex_unlock(&h->mutex);
	return ok;
}

static void open_one(struct twzdb *db, struct twzdb__helper *h)
{
	pthread_condattr_t attr;

	h->db = db;
	pthread_mutex_init(&h->mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&h->cond, &attr);
	pthread_condattr_destroy(&attr);
}

void twzdb__helper_open(struct twzdb *db)
{
	for (int i = 0; i < TWZDB_HELPERS; i++)
		open_one(db, &db->helper[i]);
}

/* A checkpoint that is being done is given up where that costs nothing. */
void twzdb__helper_stop(struct twzdb *db)
{
	for (int i = 0; i < TWZDB_HELPERS; i++) {
		struct twzdb__helper *h = &db->helper[i];

		pthread_mutex_lock(&h->mutex);
		st32(&h->stop, 1);
		pthread_cond_signal(&h->cond);
		pthread_mutex_unlock(&h->mutex);
	}
	for (int i = 0; i < TWZDB_HELPERS; i++) {
		if (db->helper[i].started)
			pthread_join(db->helper[i].thread, NULL);
		db->helper[i].started = false;
	}
}

void twzdb__helper_close(struct twzdb *db)
{
	twzdb__helper_stop(db);
	for (int i = 0; i < TWZDB_HELPERS; i++) {
		pthread_cond_destroy(&db->helper[i].cond);
		pthread_mutex_destroy(&db->helper[i].mutex);
	}
}
