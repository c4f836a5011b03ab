/* SPDX-License-Identifier: MIT
 * helper.c -- a thread of this opening that does what nobody should wait for, and somebody must do
 *
 * It is made when something is asked of it first, and sleeps while nothing is. So a program that commits
 * durably and reads has no thread of ours. All it does others may do at the same time, in this process or another
 * one, and whoever needs it done does it himself. TWZDB_HELPER=0 in the environment does without: then lazy commits wait
 * for a durable one, for twzdb_sync(), or for many of their kind.
 */
#include "internal.h"

#include <signal.h>
#include <time.h>

#define LAZY_MS 50 /* a lazy commit waits so long at most before somebody begins to write it */

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

	while (!h->stop && !(h->asked & ~(uint32_t)HELP_LAZY)) {
		if (!h->asked) {
			due.tv_sec = 0;
			pthread_cond_wait(&h->cond, &h->mutex);
			continue;
		}
		if (!due.tv_sec)
			due = in_ms(LAZY_MS);
		if (pthread_cond_timedwait(&h->cond, &h->mutex, &due) == ETIMEDOUT)
			break;
	}
	/* Cleared first: what is asked for from here on is done after. */
	jobs = h->asked;
	st32(&h->asked, 0);
	return h->stop ? 0 : jobs;
}

static void *run(void *arg)
{
	struct twzdb *db = arg;
	struct twzdb__helper *h = &db->helper;
	uint32_t jobs;
	int err;

	pthread_mutex_lock(&h->mutex);
	while ((jobs = next_job(h))) {
		pthread_mutex_unlock(&h->mutex);
		err = 0;
		if (jobs & (HELP_LAZY | HELP_NOW))
			err = twz_log_drain(db->log);
		if (!err && jobs & HELP_CHECKPOINT)
			err = twz_log_checkpoint_ahead(db->log);
		if (err)
			(void)twzdb__stage_failed(db, err);
		pthread_mutex_lock(&h->mutex);
	}
	pthread_mutex_unlock(&h->mutex);
	return NULL;
}

/* Signals are the program's own. */
static bool start(struct twzdb *db)
{
	sigset_t all, old;
	bool ok;

	sigfillset(&all);
	if (pthread_sigmask(SIG_SETMASK, &all, &old))
		return false;
	ok = !pthread_create(&db->helper.thread, NULL, run, db);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return ok;
}

bool twzdb__helper_start(struct twzdb *db, uint32_t jobs)
{
	const char *wanted = getenv("TWZDB_HELPER");
	struct twzdb__helper *h = &db->helper;
	bool ok;

	if (wanted && !strcmp(wanted, "0"))
		return !(jobs & HELP_NOW);
	pthread_mutex_lock(&h->mutex);
	if (!h->started)
		h->started = start(db);
	ok = h->started;
	if (ok) {
		st32(&h->asked, h->asked | jobs);
		pthread_cond_signal(&h->cond);
	}
	pthread_mutex_unlock(&h->mutex);
	return ok;
}

void twzdb__helper_open(struct twzdb *db)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&db->helper.mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&db->helper.cond, &attr);
	pthread_condattr_destroy(&attr);
}

void twzdb__helper_close(struct twzdb *db)
{
	struct twzdb__helper *h = &db->helper;

	pthread_mutex_lock(&h->mutex);
	h->stop = true;
	pthread_cond_signal(&h->cond);
	pthread_mutex_unlock(&h->mutex);
	if (h->started)
		pthread_join(h->thread, NULL);
	pthread_cond_destroy(&h->cond);
	pthread_mutex_destroy(&h->mutex);
}
