/* SPDX-License-Identifier: MIT
 * log_ahead.c -- twz_log on page media: checkpoints beside commits, without the writer lock (D5)
 *
 * What a checkpoint needs of the writer lock is that the tail changes by one at a time, and only grows: that is the tail
 * mutex here. The rest is read once: all records before `applied` have been stored to their homes, by whatever
 * process, before that was, and a sync that begins later takes these pages along. Later records, stored meanwhile
 * to the same pages, stay in the log.
 *
 * A sync of everything at once would fill the device's queue, and commits would wait behind it. So the
 * store is first written back slice by slice, in file order, with pauses as long as the slices took, unless the log fills quicker.
 *
 * And blocks of the ring before their first use. The file system has allocated them, but notes that they read as zeros until they are
 * written: a change of its own, which each commit of the first lap would wait for. So zeros are written there first, many blocks at a time.
 */
#include <time.h>

#include "log_ring.h"

#define BUSY_US	 100 /* a slice that took less had nothing to write */
#define LONG_US	 400 /* a commit may have to wait for all of a slice */
#define FILL_LEN ((uint64_t)1 << 20)

static int lock(struct twz_log *l, pthread_mutex_t *m)
{
	int err = twz__log_mutex_lock(m);

	/* Its owner died between the medium and the segment, which is then behind: so nothing was reused. */
	if (err == EOWNERDEAD)
		err = pthread_mutex_consistent(m);
	return err ? twz__log_lock_failed(l, "tail", err) : 0;
}

int twz__log_tail_lock(struct twz_log *l)
{
	return l->stage ? lock(l, &l->stage->tail_mutex) : 0;
}

void twz__log_tail_unlock(struct twz_log *l)
{
	if (l->stage)
		pthread_mutex_unlock(&l->stage->tail_mutex);
}

static uint64_t used(const struct twz_log *l)
{
	uint64_t tail = seg_get(&l->seg->tail), applied = seg_get(&l->seg->applied);

	return applied > tail ? applied - tail : 0;
}

bool twz_log_checkpoint_soon(const struct twz_log *l)
{
	return l->stage && used(l) > l->due_len / 2;
}

uint64_t twz__log_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* Is there still time to let commits go first? */
static bool hurry(const struct twz_log *l)
{
	return used(l) >= l->due_len / 4 * 3;
}

static void pause_after(uint64_t took)
{
	const struct timespec ts = {0, (long)(took < 20000 ? took : 20000) * 1000};

	if (took >= BUSY_US)
		nanosleep(&ts, NULL);
}

static bool stopped(const uint32_t *stop)
{
	return stop && seg_get(stop);
}

uint64_t twz__log_slice_after(uint64_t slice, uint64_t took_us)
{
	if (took_us > LONG_US)
		slice /= 2;
	else if (took_us < BUSY_US)
		slice *= 2;
	slice = slice < TWZ_LOG_SLICE_MAX ? slice : TWZ_LOG_SLICE_MAX;
	return slice > TWZ_LOG_SLICE_MIN ? slice : TWZ_LOG_SLICE_MIN;
}

static int write_slices(struct twz_log *l, const uint32_t *stop)
{
	struct twz__media *m = l->ring.store->media;
	uint64_t len = 0, slice = TWZ_LOG_SLICE_MIN;
	int err = m->ops->write_back ? m->ops->len(m, &len) : 0;

	for (uint64_t off = 0, n; off < len && !err && !hurry(l) && !stopped(stop); off += n) {
		uint64_t start = twz__log_now_us(), took;

		n = slice < len - off ? slice : len - off;
		err = m->ops->write_back(m, off, n);
		took = twz__log_now_us() - start;
		slice = twz__log_slice_after(slice, took);
		if (!err)
			pause_after(took);
	}
	return err;
}

/*
 * Behind the head no block was written in the first lap but by this (D19): no batch that was stopped on its way belongs there. And
 * nothing there counts after a restart (D1), so zeros change nothing, whoever filled it before.
 */
int twz__log_fill(struct twz_log *l, uint64_t end)
{
	struct twz__media *m = l->ring.store->media;
	uint64_t from = twz__log_align(seg_get(&l->seg->head), TWZ_LOG_BLOCK_LEN);
	uint64_t filled = seg_get(&l->stage->filled), len;

	if (end <= filled || end > l->ring.ring_len || !m->ops->fill)
		return 0;
	from = filled > from ? filled : from;
	len = end - from > FILL_LEN ? end - from : FILL_LEN;
	len = len < l->ring.ring_len - from ? len : l->ring.ring_len - from;
	if (m->ops->fill(m, l->ring.file_off + twz__log_pos(&l->ring, from), len))
		return twz__log_group_fail(l, "filling the log");
	seg_set(&l->stage->filled, from + len);
	return 0;
}

/* Every error here is one of the medium, and nothing is said to be durable before it is (D17). */
static int ahead(struct twz_log *l, const uint32_t *stop)
{
	uint64_t to = seg_get(&l->seg->applied);
	int err = write_slices(l, stop);

	if (!err && stopped(stop))
		return 0;
	if (err || twz_sync_all(l->ring.store))
		return twz__log_group_fail(l, "syncing the homes at a checkpoint");
	return twz__log_tail_publish(l, to);
}

int twz_log_checkpoint_ahead(struct twz_log *l, const uint32_t *stop)
{
	int err = twz__log_enter_ready(l);

	if (err || !twz_log_checkpoint_soon(l))
		return err;
	err = pthread_mutex_trylock(&l->stage->ahead_mutex);
	if (err == EOWNERDEAD)
		err = pthread_mutex_consistent(&l->stage->ahead_mutex);
	if (err)
		return 0; /* somebody is at it */
	err = ahead(l, stop);
	pthread_mutex_unlock(&l->stage->ahead_mutex);
	return err;
}
