/* SPDX-License-Identifier: MIT
 * log.c -- twz_log: create, open, append, checkpoint (LOG.md is the guide, format_log.h the format)
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

static int claim_lock(struct twz__log_seg *seg)
{
	int err = pthread_mutex_lock(&seg->claim_mutex);

	/* The fields it guards are valid after every single store. */
	if (err == EOWNERDEAD)
		err = pthread_mutex_consistent(&seg->claim_mutex);
	return -err;
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
	ret = claim_lock(seg);
	if (ret)
		return twz__err(ret, "log %s: locking its shared state failed", l->ring.name);
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
	if (!l->claimed || claim_lock(l->seg))
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
	err = twz__store_enter(s);
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
	free(l->buf);
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

static int enter_ready(struct twz_log *l)
{
	int err = twz__log_enter(l);

	if (!err && seg_get(&l->seg->state) != LOG_READY)
		err = twz__err(
			TWZ_E_STATE,
			"log %s has not been recovered: call twz_log_recover(log, true) first",
			l->ring.name);
	return err;
}

/* --- checkpoint (D5) --- */

/*
 * Cache-line media: what to flush is read back from the ring, for a list of homes would die with
 * its process. Page media: the kernel has the list.
 */
int twz__log_flush_homes(struct twz_log *l, uint64_t generation, uint64_t from, uint64_t to)
{
	struct twz__log_iter it;
	int ret;

	if (!l->ring.map)
		return twz_sync_all(l->ring.store) ? TWZ_E_IO : 0;
	twz__log_iter_init(&it, &l->ring, generation, from, to);
	while ((ret = twz__log_iter_next(&it)) > 0) {
		ret = l->user->flush(l->user->ctx, it.lsn, it.body, it.len);
		if (ret < 0)
			break;
	}
	/* A pad may stand before TO; anything else there means that the ring is damaged. */
	if (ret >= 0 && it.next.lsn != to)
		ret = twz__corrupt(l->ring.name, "record %llu, already applied, breaks rule (%d)",
				   (unsigned long long)it.next.lsn, it.rule);
	twz__log_iter_done(&it);
	twz_fence(l->ring.store);
	return ret < 0 ? ret : 0;
}

static int checkpoint(struct twz_log *l)
{
	struct twz__log_seg *seg = l->seg;
	uint64_t to = seg->applied;
	int err;

	if (seg->tail == to)
		return 0;
	err = twz__log_flush_homes(l, seg->generation, seg->tail, to);
	if (err == TWZ_E_IO)
		return twz__log_fail(l, "syncing the homes at a checkpoint");
	if (err)
		return twz__err_in(err, "checkpoint of log %s", l->ring.name);
	/* The checkpoint: from here on the space before TO may be overwritten. */
	if (twz__log_publish(&l->ring, offsetof(struct log_page_pm, tail), to))
		return twz__log_fail(l, "publishing the tail");
	seg_set(&seg->tail, to);
	seg_set(&seg->checkpoints, seg->checkpoints + 1);
	twz__log_body_tidy(l, to);
	return 0;
}

int twz_log_checkpoint(struct twz_log *l)
{
	int err = enter_ready(l);

	return err ? err : checkpoint(l);
}

/* --- append (D3) --- */

static int pieces_len(const struct twz_log *l, const struct iovec *iov, int cnt, uint64_t *len)
{
	uint64_t n = 0;

	for (int i = 0; i < cnt; i++) {
		if (iov[i].iov_len > TWZ_DATA_MAX || n + iov[i].iov_len > TWZ_DATA_MAX)
			return twz__err(TWZ_E_TOOBIG, "log %s: a record may have %llu bytes",
					l->ring.name, (unsigned long long)TWZ_DATA_MAX);
		n += iov[i].iov_len;
	}
	if (!n)
		return twz__err(TWZ_E_INVAL, "log %s: empty record", l->ring.name);
	*len = n;
	return 0;
}

/* Room in the ring for a body of LEN bytes: plan, checkpoint when that is due, plan again. */
static int make_room(struct twz_log *l, uint64_t len, struct twz__log_plan *p)
{
	const struct twz__log_seg *seg = l->seg;
	uint64_t align = twz__log_ring_align(&l->ring);
	int err;

	*p = twz__log_plan(l->ring.ring_len, align, seg->tail, seg->head, len);
	if (p->due || p->full || (p->spill && seg->spill_cnt == TWZ_LOG_SPILL_MAX)) {
		err = checkpoint(l);
		if (err)
			return err;
		*p = twz__log_plan(l->ring.ring_len, align, seg->tail, seg->head, len);
	}
	if (p->full)
		return twz__err(
			TWZ_E_NOSPC,
			"log %s: ring full of records not applied: call twz_log_applied for each",
			l->ring.name);
	return 0;
}

static int buf_reserve(struct twz_log *l, uint64_t len)
{
	uint8_t *buf;

	if (l->buf_len >= len)
		return 0;
	len = twz__log_align(len * 2, TWZ_LOG_BLOCK_LEN);
	buf = aligned_alloc(TWZ_LOG_BLOCK_LEN, len);
	if (!buf)
		return twz__err(TWZ_E_NOMEM, "log %s: no memory for a record of %llu bytes",
				l->ring.name, (unsigned long long)len);
	free(l->buf);
	l->buf = buf;
	l->buf_len = len;
	return 0;
}

/* Build the record in l->buf: header, pieces, zeros up to TOTAL. */
static struct log_rec_pm *rec_build(struct twz_log *l, uint32_t kind, uint64_t lsn, uint64_t total,
				    const struct iovec *iov, int cnt)
{
	struct log_rec_pm *rec = (void *)l->buf;
	uint8_t *p = l->buf + sizeof(*rec);

	for (int i = 0; i < cnt; i++) {
		if (iov[i].iov_len)
			memcpy(p, iov[i].iov_base, iov[i].iov_len);
		p += iov[i].iov_len;
	}
	*rec = (struct log_rec_pm){.magic = TWZ_LOG_REC_MAGIC,
				   .kind = kind,
				   .lsn = lsn,
				   .generation = l->seg->generation,
				   .body_len = (uint64_t)(p - l->buf) - sizeof(*rec),
				   .total = total,
				   .prev_sum = l->seg->last_sum};
	if (kind != TWZ_LOG_REC_PAD)
		memset(p, 0, (size_t)(l->buf + total - p));
	rec->sum = twz__log_rec_sum(rec);
	return rec;
}

/*
 * The rest of the ring becomes a pad. Only its first block is written; the bytes behind are never
 * looked at.
 */
static int append_pad(struct twz_log *l, uint64_t len)
{
	uint64_t align = twz__log_ring_align(&l->ring);
	struct log_rec_pm *rec;
	int err;

	memset(l->buf, 0, align);
	rec = rec_build(l, TWZ_LOG_REC_PAD, l->seg->head, len, NULL, 0);
	err = twz__log_write(&l->ring, twz__log_pos(&l->ring, l->seg->head), rec, align);
	if (err)
		return twz__log_fail(l, "writing the log");
	l->seg->last_sum = rec->sum;
	seg_set(&l->seg->head, l->seg->head + len);
	return 0;
}

static int append_rec(struct twz_log *l, uint32_t kind, const struct twz__log_plan *p,
		      const struct iovec *iov, int cnt)
{
	struct log_rec_pm *rec = rec_build(l, kind, p->lsn, p->total, iov, cnt);

	if (twz__log_write(&l->ring, twz__log_pos(&l->ring, p->lsn), rec, p->total))
		return twz__log_fail(l, "writing the log");
	/*
	 * THE COMMIT POINT (D3). Cache-line media: this fence, which also completes every flush
	 * this thread issued before. Page media: the range sync inside twz__log_write above; the
	 * fence is a no-op.
	 */
	twz_fence(l->ring.store);
	l->seg->last_sum = rec->sum;
	l->seg->last_lsn = p->lsn;
	seg_set(&l->seg->head, p->lsn + p->total);
	return 0;
}

/* All that may fail without a trace: room, memory, the body of a long record. */
static int append_prepare(struct twz_log *l, const struct iovec *iov, int cnt, uint64_t len,
			  struct twz__log_plan *p, struct log_spill_pm *spill)
{
	int err = make_room(l, len, p);

	if (!err)
		err = buf_reserve(l, p->total);
	if (err || !p->spill)
		return err;
	err = twz__log_body_write(l, iov, cnt, len, p->lsn, spill);
	return err == TWZ_E_IO ? twz__log_fail(l, "writing a long record") : err;
}

int twz_log_append(struct twz_log *l, const struct iovec *iov, int cnt, uint64_t *lsn)
{
	struct log_spill_pm spill;
	const struct iovec spill_iov = {&spill, sizeof(spill)};
	struct twz__log_plan p;
	uint64_t len = 0;
	int err;

	*lsn = 0;
	err = enter_ready(l);
	if (!err)
		err = pieces_len(l, iov, cnt, &len);
	if (!err)
		err = append_prepare(l, iov, cnt, len, &p, &spill);
	if (!err && p.pad)
		err = append_pad(l, p.pad);
	if (err)
		return err;
	if (p.spill)
		err = append_rec(l, TWZ_LOG_REC_SPILL, &p, &spill_iov, 1);
	else
		err = append_rec(l, TWZ_LOG_REC_DATA, &p, iov, cnt);
	if (err)
		return err;
	seg_set(&l->seg->records, l->seg->records + 1);
	seg_set(&l->seg->bytes, l->seg->bytes + len);
	*lsn = p.lsn;
	return 0;
}

/* End of the record at LSN, or 0 if there is none. */
static uint64_t rec_end(struct twz_log *l, uint64_t lsn)
{
	struct twz__log_expect e = {l->ring.ring_len, lsn, l->seg->generation, 0, false};
	_Alignas(64) struct log_rec_pm rec;

	if (lsn == l->seg->last_lsn)
		return l->seg->head;
	if (lsn < l->seg->tail || lsn >= l->seg->head ||
	    twz__log_read(&l->ring, twz__log_pos(&l->ring, lsn), &rec, sizeof(rec)))
		return 0;
	return twz__log_rec_bad(&rec, &e) ? 0 : lsn + rec.total;
}

void twz_log_applied(struct twz_log *l, uint64_t lsn)
{
	uint64_t end;

	if (enter_ready(l))
		return;
	end = rec_end(l, lsn);
	if (end > l->seg->applied)
		seg_set(&l->seg->applied, end);
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
