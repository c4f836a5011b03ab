/* SPDX-License-Identifier: MIT
 * log_stuck.c -- twz_log on page media: a process is stopped (SIGSTOP, a debugger) while others need it
 *
 * Whoever dies is succeeded by who finds his mutex orphaned. Whoever is stopped keeps it, and may go on at any later time
 * with what he was at; so nobody can be sure of a mutex of his. What takes long is the write of a batch, and that is
 * where processes are met by a stop. It can be done by another:
 *
 *  - *Again.* Who has waited twz__stuck_ms, while nothing went on, writes the batch once more: the same bytes to the same blocks, as after a
 *    death (D19). Two may be writing them at the same time: whatever the order in which sectors arrive, they hold these bytes.
 *  - *Not a lap later.* The one who is stopped may write them yet another time, whenever he goes on. That is harmless as long as
 *    these blocks hold this batch. So the batch is *held* from before it is written again, until both who may be writing have let
 *    go of their mutexes; and nobody writes to its blocks in the next lap while it is (twz__log_lap_wait). A mutex is let go
 *    behind the write, by the thread that wrote, and a dead thread's is orphaned when its system calls have ended.
 *  - *Nothing behind it in its block.* Nor does a batch begin there while it is held (is_quiet() in log_group.c).
 *  - *No batch in its place.* The stopped one reads where to write from the batch, so that is not used for another one while
 *    it is held. There are some more.
 *
 * All else is held for some stores only, or for the time of applying a record, and cannot be done twice: who waits for it gets
 * TWZ_E_TIMEOUT after twz__wait_ms, and who comes to the place of a held batch one lap later after twz__stuck_ms. A record that was submitted stands:
 * it will be durable when the process goes on or dies.
 */
#include <time.h>

#include "log_ring.h"
#include "stopped.h"

#define NAP_MS 5

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void nap(void)
{
	const struct timespec ts = {0, NAP_MS * 1000000L};

	nanosleep(&ts, NULL);
}

int twz__log_mutex_lock(pthread_mutex_t *m)
{
#if defined(__SANITIZE_THREAD__) /* it does not know the other one */
	return pthread_mutex_lock(m);
#else
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_nsec += (long)(twz__wait_ms % 1000) * 1000000L;
	ts.tv_sec += twz__wait_ms / 1000 + ts.tv_nsec / 1000000000L;
	ts.tv_nsec %= 1000000000L;
	return pthread_mutex_clocklock(m, CLOCK_MONOTONIC, &ts);
#endif
}

int twz__log_lock_failed(const struct twz_log *l, const char *what, int err)
{
	if (err == ETIMEDOUT)
		return twz__err(
			TWZ_E_TIMEOUT,
			"%s: log %s: another process has kept the lock of its %s for %d s: is it stopped? Let it go on, or end it",
			twz_store_path(l->ring.store), l->ring.name, what, twz__wait_ms / 1000);
	return twz__err(-err, "log %s: locking its %s failed: %s", l->ring.name, what,
			strerror(err));
}

static bool try_lock(pthread_mutex_t *m)
{
	int err = pthread_mutex_trylock(m);

	if (err == EOWNERDEAD)
		err = pthread_mutex_consistent(m);
	return !err;
}

/* --- the next lap --- */

bool twz__log_batch_let_go(struct twz__log_batch *b)
{
	if (!seg_get(&b->held))
		return true;
	if (!try_lock(&b->again))
		return false;
	seg_set(&b->held, 0);
	pthread_mutex_unlock(&b->again);
	return true;
}

/* Would a write up to END reach the blocks of a batch of the lap before that somebody may still write? */
static bool in_the_way(struct twz_log *l, uint64_t end)
{
	bool any = false;

	for (int i = 0; i < TWZ_LOG_BATCHES; i++) {
		struct twz__log_batch *b = &l->stage->batch[i];

		/* Where a batch lies that is held does not change. */
		if (!seg_get(&b->held) ||
		    end <= b->from_lsn / TWZ_LOG_BLOCK_LEN * TWZ_LOG_BLOCK_LEN + l->ring.ring_len)
			continue;
		if (!try_lock(&b->mutex)) {
			any = true;
			continue;
		}
		any = !twz__log_batch_let_go(b) || any;
		pthread_mutex_unlock(&b->mutex);
	}
	return any;
}

int twz__log_lap_wait(struct twz_log *l, uint64_t len)
{
	uint64_t total = twz__log_align(sizeof(struct log_rec_pm) + len, TWZ_LOG_BLOCK_LEN),
		 head = twz__log_align(seg_get(&l->seg->head), TWZ_LOG_BLOCK_LEN),
		 lap = head - head % l->ring.ring_len + l->ring.ring_len, since = 0;

	total = total < l->plain_max ? total : l->plain_max;
	/* Behind it another block may be begun; and it may have to begin the lap. */
	total += (head + total > lap ? lap - head : 0) + TWZ_LOG_BLOCK_LEN;
	while (in_the_way(l, head + total)) {
		since = since ? since : now_ms();
		if (now_ms() - since >= twz__stuck_ms)
			return twz__err(
				TWZ_E_TIMEOUT,
				"%s: log %s: a process is stopped in the middle of a write, and its place is wanted: let it go on, or end it",
				twz_store_path(l->ring.store), l->ring.name);
		nap();
	}
	return 0;
}

/* --- writing again --- */

/*
 * With `again` of batch I: *COPY and its bytes, if it is still to be written. They lie in memory taken when the log was
 * opened: here there might be none, and nobody else to do it.
 */
static int take_copy(struct twz_log *l, int i, struct twz__log_batch *copy, uint8_t **buf)
{
	struct twz__log_batch *b = &l->stage->batch[i];
	uint64_t sum;
	int err = twz__log_stage_lock(l);

	*buf = NULL;
	if (err)
		return err;
	if (seg_get(&b->state) == BATCH_FROZEN && twz__log_batch_len(b) <= l->spare_len) {
		copy->from = b->from;
		copy->to = b->to;
		copy->from_lsn = b->from_lsn;
		copy->to_lsn = b->to_lsn;
		copy->prev_sum = b->prev_sum;
		copy->sum = b->sum;
		*buf = l->spare[i];
		twz__log_batch_bytes(l, copy, *buf, &sum);
		assert(sum == copy->sum);
		seg_set(&b->held, 1); /* before a byte of it is written again */
	}
	pthread_mutex_unlock(&l->stage->mutex);
	return 0;
}

/* 1: it is written; 0: there was nothing to do. */
static int again(struct twz_log *l, int i)
{
	struct twz__log_batch *b = &l->stage->batch[i], copy;
	uint8_t *buf;
	int err = take_copy(l, i, &copy, &buf);

	if (err || !buf)
		return err;
	err = twz__log_write(&l->ring, twz__log_pos(&l->ring, copy.from_lsn), buf,
			     twz__log_batch_len(&copy));
	if (err)
		return twz__log_group_fail(l, "writing the log");
	err = twz__log_stage_lock(l);
	if (err)
		return err;
	/* Its owner may have gone on meanwhile. A batch is told from the next one by its first entry. */
	if (seg_get(&b->state) == BATCH_FROZEN && b->from == copy.from)
		seg_set(&b->state, BATCH_DONE); /* as in batch_write() */
	pthread_mutex_unlock(&l->stage->mutex);
	return 1;
}

static int write_again(struct twz_log *l)
{
	int ret = 0;

	for (int i = 0; i < TWZ_LOG_BATCHES && !ret; i++) {
		struct twz__log_batch *b = &l->stage->batch[i];

		if (seg_get(&b->state) != BATCH_FROZEN || !try_lock(&b->again))
			continue;
		ret = again(l, i);
		pthread_mutex_unlock(&b->again);
	}
	return ret;
}

static bool is_writing_again(struct twz_log *l)
{
	bool is = false;

	for (int i = 0; i < TWZ_LOG_BATCHES && !is; i++) {
		struct twz__log_batch *b = &l->stage->batch[i];

		if (seg_get(&b->state) != BATCH_FROZEN)
			continue;
		is = !try_lock(&b->again);
		if (!is)
			pthread_mutex_unlock(&b->again);
	}
	return is;
}

/* Anything that goes on changes it. */
static uint64_t progress(const struct twz__log_stage *st)
{
	return 1 + seg_get(&st->frozen) + seg_get(&st->durable) + seg_get(&st->applied);
}

int twz__log_relieve(struct twz_log *l, struct twz__log_patience *p)
{
	uint64_t now = now_ms(), seen = progress(l->stage);

	if (p->seen != seen) {
		p->seen = seen;
		p->since_ms = now;
		return 0;
	}
	if (now - p->since_ms < twz__stuck_ms)
		return 0;
	if (now - p->since_ms >= twz__slow_ms ||
	    (now - p->since_ms >= twz__wait_ms && !is_writing_again(l)))
		return twz__err(
			TWZ_E_TIMEOUT,
			"%s: log %s: nothing was written for %d s: is a process stopped, or the disk? What was committed stands, but may not be durable yet",
			twz_store_path(l->ring.store), l->ring.name,
			(int)((now - p->since_ms) / 1000));
	return write_again(l);
}
