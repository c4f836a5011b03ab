/* SPDX-License-Identifier: MIT
 * log.c -- twz_log: create, open, fail (LOG.md is the guide, format_log.h the format)
 *
 *	             twz_log_open: *restart = 1              twz_log_recover(true)
 *	UNRECOVERED ---------------------------> RECOVERING -----------------------> READY
 *	            <---------------------------
 *	              its owner closed or died
 *
 * READY is for the rest of the segment's life: append .. checkpoint, twz_log_recover(false).
 * The states live in the shared segment, which exists while any process has the store open.
 */
#include <time.h>

#include "log_ring.h"

#define OPEN_WAIT_MS 60000 /* how long an opener waits for another process's restart recovery */
#define OPEN_POLL_MS 2
#define RING_LEN_MAX (TWZ_DATA_MAX - TWZ_LOG_HEADER_LEN)

/* --- the claim: who recovers after a restart --- */

static int seg_init(void *ptr, void *ctx)
{
	struct twz__log_seg *seg = ptr;
	pthread_mutexattr_t attr;
	int err;

	(void)ctx;
	err = pthread_mutexattr_init(&attr);
	if (err)
		return -err;
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	err = pthread_mutex_init(&seg->claim_mutex, &attr);
	pthread_mutexattr_destroy(&attr);
	return -err;
}

/* The fields it guards are valid after every single store. */
static int claim_lock(struct twz_log *l)
{
	return twz_shared_lock(&l->seg->claim_mutex, l->ring.name, "the log's shared state");
}

/*
 * 1: the claim is ours now; 0: the log is ready; TWZ_E_BUSY: a live process is at it; or an error.
 */
static int claim_try(struct twz_log *l)
{
	struct twz_store *s = l->ring.store;
	struct twz__log_seg *seg = l->seg;
	int ret;

	if (seg_get(&seg->state) == LOG_READY)
		return 0;
	ret = claim_lock(l);
	if (ret)
		return ret;
	if (seg->state == LOG_RECOVERING &&
	    twz_proc_alive(s, seg->owner_proc, seg->owner_incarnation)) {
		ret = TWZ_E_BUSY;
	} else if (seg->state != LOG_READY) {
		/* Owner first: a claim without a live owner is no claim. */
		seg->owner_proc = twz_proc_self(s);
		seg->owner_incarnation = twz_proc_incarnation(s);
		seg_set(&seg->state, LOG_RECOVERING);
		ret = 1;
	}
	pthread_mutex_unlock(&seg->claim_mutex);
	return ret;
}

static int claim_wait(struct twz_log *l, int *restart)
{
	const struct timespec nap = {.tv_nsec = OPEN_POLL_MS * 1000000L};
	int ret;

	for (int ms = 0; (ret = claim_try(l)) == TWZ_E_BUSY; ms += OPEN_POLL_MS) {
		if (ms >= OPEN_WAIT_MS)
			return twz__err(
				TWZ_E_BUSY,
				"%s: log %s: process number %u has been recovering it for %d s",
				twz_store_path(l->ring.store), l->ring.name, l->seg->owner_proc,
				OPEN_WAIT_MS / 1000);
		nanosleep(&nap, NULL);
	}
	if (ret < 0)
		return ret;
	*restart = ret;
	l->claimed = ret == 1;
	return 0;
}

/* An opener that leaves without having recovered lets the next one try. */
static void claim_drop(struct twz_log *l)
{
	if (!l->claimed || claim_lock(l))
		return;
	if (l->seg->state == LOG_RECOVERING)
		seg_set(&l->seg->state, LOG_UNRECOVERED);
	pthread_mutex_unlock(&l->seg->claim_mutex);
}

/* --- create, open, close --- */

/*
 * Magic last, alone: a header that has it is whole, one that has not was being written when its
 * creator died.
 */
static int header_publish(struct twz__log_ring *r, struct log_page_pm *page)
{
	page->head.magic = TWZ_LOG_MAGIC;
	if (!r->map)
		return twz__log_write(r, 0, &page->head, sizeof(page->head)); /* one sector */
	twz_publish64(r->store, (uint64_t *)(void *)r->map, TWZ_LOG_MAGIC);
	return 0;
}

static int header_write(struct twz__log_ring *r, uint64_t ring_len)
{
	struct log_page_pm *page = aligned_alloc(TWZ_LOG_BLOCK_LEN, sizeof(*page));
	int err;

	if (!page)
		return twz__err(TWZ_E_NOMEM, "log %s: no memory for its header", r->name);
	memset(page, 0, sizeof(*page));
	page->head.magic = TWZ_LOG_MAGIC;
	page->head.version = TWZ_LOG_VERSION;
	page->head.incompat = TWZ_LOG_INCOMPAT_SECTORS;
	page->head.ring_len = ring_len;
	page->head.id[0] = r->id.w[0];
	page->head.id[1] = r->id.w[1];
	page->head.sum = twz__log_head_sum(&page->head);
	page->generation.word = 1;
	page->head.magic = 0;
	err = twz__log_write(r, 0, page, sizeof(*page));
	twz_fence(r->store);
	if (!err)
		err = header_publish(r, page);
	free(page);
	return err;
}

/*
 * Nobody knows the ID before the call returns: a crash in between leaves an object that nothing
 * refers to.
 */
int twz_log_create_flags(struct twz_store *s, uint64_t len, uint32_t flags, twz_oid *id)
{
	struct twz_obj_options opt = {.size = sizeof(opt),
				      .flags = TWZ_OBJ_LOG | TWZ_OBJ_CONTIGUOUS | flags,
				      .kind = TWZ_LOG_KIND};
	struct twz__log_ring r;
	struct twz_obj *o = NULL;
	twz_oid new_id;
	int err;

	memset(id, 0, sizeof(*id));
	err = twz__store_enter_write(s, "creating a log");
	if (err)
		return err;
	if (!len)
		len = twz_store_granularity(s) == TWZ_GRAN_PAGE ? TWZ_LOG_LEN_PAGE
								: TWZ_LOG_LEN_CACHE_LINE;
	if (len < TWZ_LOG_LEN_MIN || len > RING_LEN_MAX)
		return twz__err(TWZ_E_INVAL, "a log of %llu bytes: %llu to %llu are possible",
				(unsigned long long)len, (unsigned long long)TWZ_LOG_LEN_MIN,
				(unsigned long long)RING_LEN_MAX);
	len = twz__log_align(len, TWZ_LOG_BLOCK_LEN);
	opt.len = TWZ_LOG_HEADER_LEN + len;
	err = twz_obj_create(s, &opt, &new_id, &o);
	if (err)
		return err;
	err = twz__log_ring_init(&r, o);
	if (!err)
		err = header_write(&r, len);
	twz_obj_close(o);
	if (!err)
		*id = new_id;
	else if (twz_obj_delete(s, new_id))
		return twz__err_in(err,
				   "log %s could not be created and stays behind without a header",
				   r.name);
	return err;
}

int twz_log_create(struct twz_store *s, uint64_t len, twz_oid *id)
{
	return twz_log_create_flags(s, len, 0, id);
}

/*
 * All openers must write the same way: a record stored through the mapping is durable only if the
 * medium is cache-line media.
 */
static int mode_check(struct twz_log *l)
{
	uint32_t mine = l->ring.map ? LOG_MODE_MAPPED : LOG_MODE_SYNC;
	uint32_t first = 0;

	if (__atomic_compare_exchange_n(&l->seg->mode, &first, mine, false, __ATOMIC_ACQ_REL,
					__ATOMIC_ACQUIRE) ||
	    first == mine)
		return 0;
	return twz__err(
		TWZ_E_STATE,
		"%s: log %s is in use with another granularity: set PMEM2_FORCE_GRANULARITY alike",
		twz_store_path(l->ring.store), l->ring.name);
}

static int open_obj(struct twz_log *l, struct twz_obj *o, int *restart)
{
	uint64_t generation, tail;
	void *seg;
	int err;

	err = twz__log_ring_init(&l->ring, o);
	if (!err)
		err = twz__log_ring_attach(&l->ring, &generation, &tail);
	if (!err)
		err = twz_shared_get(l->ring.store, l->ring.id, sizeof(*l->seg), seg_init, NULL,
				     &seg, NULL);
	if (err)
		return err;
	l->seg = seg;
	err = mode_check(l);
	if (!err)
		err = twz__log_append_init(l);
	if (!err)
		err = twz__log_group_open(l);
	return err ? err : claim_wait(l, restart);
}

int twz_log_open(struct twz_store *s, twz_oid id, const struct twz_log_user *user,
		 struct twz_log **out, int *restart)
{
	struct twz_obj *o = NULL;
	struct twz_log *l;
	int err;

	*out = NULL;
	*restart = 0;
	err = twz__store_enter(s);
	if (err)
		return err;
	if (!user || user->version != 1 || !user->apply || !user->flush)
		return twz__err(TWZ_E_INVAL,
				"twz_log_open: the user must be version 1 with apply and flush");
	l = calloc(1, sizeof(*l));
	if (!l)
		return twz__err(TWZ_E_NOMEM, "no memory for a log handle");
	l->user = user;
	err = twz_obj_open(s, id, TWZ_READ | TWZ_WRITE, &o);
	if (!err)
		err = open_obj(l, o, restart);
	if (err) {
		twz_obj_close(o);
		twz__log_group_close(l);
		free(l->block);
		free(l);
		return err;
	}
	*out = l;
	return 0;
}

void twz_log_close(struct twz_log *l)
{
	if (!l)
		return;
	if (!twz__store_enter(l->ring.store)) {
		claim_drop(l);
		twz_obj_close(l->ring.obj);
	}
	twz__log_group_close(l);
	free(l->buf);
	free(l->block);
	free(l);
}

/* --- failure (D17) --- */

int twz__log_fail(struct twz_log *l, const char *what)
{
	seg_set(&l->seg->failed, 1);
	return twz__err(
		TWZ_E_IO,
		"%s: log %s: %s failed, its outcome is unknown: close the store everywhere and reopen it",
		twz_store_path(l->ring.store), l->ring.name, what);
}

int twz__log_enter(struct twz_log *l)
{
	int err = twz__store_enter(l->ring.store);

	if (err)
		return err;
	if (seg_get(&l->seg->failed))
		return twz__err(
			TWZ_E_FAILED,
			"%s: log %s: an earlier write failed: close the store everywhere and reopen it",
			twz_store_path(l->ring.store), l->ring.name);
	return 0;
}

int twz_log_info(struct twz_log *l, struct twz_log_info *info)
{
	const struct twz__log_seg *seg = l->seg;
	int err;

	memset(info, 0, sizeof(*info));
	err = twz__store_enter(l->ring.store);
	if (err)
		return err;
	info->ring_len = l->ring.ring_len;
	info->generation = seg_get(&seg->generation);
	info->tail = seg_get(&seg->tail);
	info->head = seg_get(&seg->head);
	info->used_len = info->head - info->tail;
	info->records = seg_get(&seg->records);
	info->bytes = seg_get(&seg->bytes);
	info->checkpoints = seg_get(&seg->checkpoints);
	return 0;
}
