/* SPDX-License-Identifier: MIT
 * log_group.c -- twz_log on page media: records staged in shared memory, made durable in batches
 *
 * The call that changes the database and the call that waits for the medium are two. A record is
 * *submitted* under the writer lock: its bytes go into the staging area, and one store counts it. Then
 * the lock passes on, and whoever waits for the record makes it durable, together with all that was
 * submitted meanwhile:
 *
 *	submitted --freeze--> in a batch --write, range sync--> durable --apply--> applied
 *	          stage mutex            batch mutex      stage mutex   apply mutex
 *
 * Entries are counted from the segment's beginning; applied <= durable <= frozen <= submitted, and
 * each is moved by the holder of the mutex under its arrow, by one release store. All mutexes are
 * robust, and whoever finds one orphaned goes on from these counts:
 *
 *  - A batch is frozen before its write starts: what is in it is decided by its entries and the checksum
 *    before it, and those do not change. So a successor writes exactly the same bytes again, whether they
 *    have arrived already or not (D19).
 *  - It begins in a sector of its own: the next one behind the batch before, when nobody writes to that block any more; else in a
 *    fresh block, and its first record says that it stands behind a gap (D19).
 *  - Some batches may be on their way at the same time, each written by the thread that holds its
 *    mutex, synchronously. They count as durable in log order: a batch whose predecessor is torn would
 *    not be found by a restart, for the chain of checksums ends there (D1).
 *  - Homes change only when a record is durable, in log order (D4), and by the bytes of the staging
 *    area, which stay until then: applying a record twice does no harm.
 *
 * A record that is to be written at once (twz_log_append) waits until nothing is staged.
 */
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "log_ring.h"

#define NAP_US 20000 /* how long a waiter trusts that those who write are alive */

/* --- the segment --- */

static int mutex_init(pthread_mutex_t *m)
{
	pthread_mutexattr_t attr;
	int err = pthread_mutexattr_init(&attr);

	if (err)
		return -err;
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	err = pthread_mutex_init(m, &attr);
	pthread_mutexattr_destroy(&attr);
	return -err;
}

static int stage_init(void *ptr, void *ctx)
{
	struct twz__log_stage *st = ptr;
	int err = mutex_init(&st->mutex);

	(void)ctx;
	if (!err)
		err = mutex_init(&st->apply_mutex);
	if (!err)
		err = mutex_init(&st->tail_mutex);
	if (!err)
		err = mutex_init(&st->ahead_mutex);
	for (int i = 0; i < TWZ_LOG_BATCHES && !err; i++) {
		err = mutex_init(&st->batch[i].mutex);
		if (!err)
			err = mutex_init(&st->batch[i].again);
	}
	return err;
}

static const struct twz__log_ent *entry(const struct twz__log_stage *st, uint64_t nr)
{
	return &st->ent[nr % TWZ_LOG_STAGE_ENTS];
}

static uint64_t entry_end(const struct twz__log_ent *e)
{
	return e->lsn + twz__log_align(sizeof(struct log_rec_pm) + e->len, TWZ_LOG_REC_ALIGN);
}

static uint64_t block_up(uint64_t lsn)
{
	return twz__log_align(lsn, TWZ_LOG_BLOCK_LEN);
}

/* Where a batch ends whose last record ends at LSN. */
static uint64_t unit_up(const struct twz_log *l, uint64_t lsn)
{
	return twz__log_align(lsn, l->ring.unit);
}

static int bounce_get(struct twz_log *l, int i, uint64_t len)
{
	if (l->bounce_len[i] >= len)
		return 0;
	free(l->bounce[i]);
	l->bounce_len[i] = 0;
	l->bounce[i] = aligned_alloc(TWZ_LOG_BLOCK_LEN, len);
	if (!l->bounce[i])
		return twz__err(TWZ_E_NOMEM, "log %s: no memory for a batch of %llu bytes",
				l->ring.name, (unsigned long long)len);
	l->bounce_len[i] = len;
	return 0;
}

/*
 * All that making records durable and applying them needs, taken when there is somebody to be told that it is not to be
 * had: a record that was submitted stands, so nobody may fail at it afterwards for want of memory.
 */
static int memory_take(struct twz_log *l)
{
	uint64_t batch =
		TWZ_LOG_BATCH_MAX + block_up(TWZ_LOG_STAGE_REC_MAX) + 2 * TWZ_LOG_BLOCK_LEN;
	int err = 0;

	batch = batch < l->ring.ring_len ? batch : l->ring.ring_len;
	l->spare_len = batch;
	for (int i = 0; i < TWZ_LOG_BATCHES && !err; i++) {
		err = bounce_get(l, i, batch);
		if (!err && !(l->spare[i] = aligned_alloc(TWZ_LOG_BLOCK_LEN, batch)))
			err = twz__err(TWZ_E_NOMEM, "log %s: no memory for a batch", l->ring.name);
	}
	for (int i = 0; i < 2 && !err; i++) {
		l->body[i] = aligned_alloc(TWZ_LOG_BLOCK_LEN, block_up(TWZ_LOG_STAGE_REC_MAX));
		if (!l->body[i])
			err = twz__err(TWZ_E_NOMEM, "log %s: no memory for a record", l->ring.name);
	}
	return err;
}

int twz__log_group_open(struct twz_log *l)
{
	const twz_oid id = {{l->ring.id.w[0], l->ring.id.w[1] ^ TWZ_LOG_STAGE_ID}};
	void *ptr;
	int err;

	if (l->ring.map || !l->user->staged)
		return 0;
	err = twz_shared_get(l->ring.store, id, sizeof(*l->stage), stage_init, NULL, &ptr, NULL);
	if (!err)
		err = memory_take(l);
	if (!err)
		l->stage = ptr;
	return err;
}

void twz__log_group_close(struct twz_log *l)
{
	for (int i = 0; i < TWZ_LOG_BATCHES; i++) {
		free(l->bounce[i]);
		free(l->spare[i]);
	}
	free(l->body[0]);
	free(l->body[1]);
}

/* Bytes of the staging area lie at their LSN modulo its length. */
static void stage_copy_in(struct twz__log_stage *st, uint64_t lsn, const void *from, uint64_t len)
{
	uint64_t at = lsn % TWZ_LOG_STAGE_LEN, n = TWZ_LOG_STAGE_LEN - at;

	n = len < n ? len : n;
	memcpy(st->buf + at, from, n);
	memcpy(st->buf, (const uint8_t *)from + n, len - n);
}

static void stage_copy_out(const struct twz__log_stage *st, uint64_t lsn, void *to, uint64_t len)
{
	uint64_t at = lsn % TWZ_LOG_STAGE_LEN, n = TWZ_LOG_STAGE_LEN - at;

	n = len < n ? len : n;
	memcpy(to, st->buf + at, n);
	memcpy((uint8_t *)to + n, st->buf, len - n);
}

/* The body of an entry in one piece; COPY is used if it is not. */
static const void *stage_body(struct twz_log *l, const struct twz__log_ent *e, int copy)
{
	uint64_t lsn = e->lsn + sizeof(struct log_rec_pm), at = lsn % TWZ_LOG_STAGE_LEN;

	if (at + e->len <= TWZ_LOG_STAGE_LEN)
		return l->stage->buf + at;
	stage_copy_out(l->stage, lsn, l->body[copy], e->len);
	return l->body[copy];
}

/* --- waking --- */

void twz__log_wake_all(struct twz__log_stage *st)
{
	__atomic_fetch_add(&st->wake, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&st->waiters, __ATOMIC_SEQ_CST))
		syscall(SYS_futex, &st->wake, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void twz__log_doze(struct twz__log_stage *st, uint32_t seen, uint32_t us)
{
	const struct timespec ts = {0, us * 1000L};

	__atomic_fetch_add(&st->waiters, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &st->wake, FUTEX_WAIT, seen, &ts, NULL, 0);
	__atomic_fetch_sub(&st->waiters, 1, __ATOMIC_SEQ_CST);
}

int twz__log_group_fail(struct twz_log *l, const char *what)
{
	int err = twz__log_fail(l, what);

	twz__log_wake_all(l->stage);
	return err;
}

/* --- freezing a batch: stage mutex --- */

/* What a freeze changes besides its batch; done again by whoever finds it half-done. */
static void freeze_finish(struct twz_log *l, const struct twz__log_batch *b)
{
	struct twz__log_stage *st = l->stage;
	uint64_t put = seg_get(&st->put);

	l->seg->last_sum = b->sum;
	/* The next record begins in another sector (D19). */
	seg_set(&l->seg->head, b->to < put ? entry_end(entry(st, put - 1)) : b->to_lsn);
	seg_set(&st->frozen, b->to); /* last: with it the rest counts as done */
}

/* Its last owner died at it. An entry counts from the store of `put`, a freeze from that of `state`. */
static void stage_repair(struct twz_log *l)
{
	struct twz__log_stage *st = l->stage;
	uint64_t put = seg_get(&st->put);

	for (int i = 0; i < TWZ_LOG_BATCHES; i++)
		if (seg_get(&st->batch[i].state) != BATCH_FREE &&
		    st->batch[i].to > seg_get(&st->frozen))
			freeze_finish(l, &st->batch[i]);
	if (put > seg_get(&st->frozen))
		seg_set(&l->seg->head, entry_end(entry(st, put - 1)));
}

int twz__log_stage_lock(struct twz_log *l)
{
	int err = twz__log_mutex_lock(&l->stage->mutex);

	if (err == EOWNERDEAD) {
		stage_repair(l);
		err = pthread_mutex_consistent(&l->stage->mutex);
	}
	return err ? twz__log_lock_failed(l, "staging area", err) : 0;
}

/* True: the batch is ours. An orphaned one, too: its state says how far it got. */
static bool batch_lock(struct twz__log_batch *b)
{
	int err = pthread_mutex_trylock(&b->mutex);

	if (err == EOWNERDEAD)
		err = pthread_mutex_consistent(&b->mutex);
	return !err;
}

/*
 * Its own sectors only, of a block that others have written to before; else whole blocks: what lies there in the page cache, or does
 * not, need not be read first.
 */
uint64_t twz__log_batch_len(const struct twz__log_batch *b)
{
	bool shares = b->from_lsn % TWZ_LOG_BLOCK_LEN && b->to_lsn <= block_up(b->from_lsn);

	return (shares ? b->to_lsn : block_up(b->to_lsn)) - b->from_lsn;
}

/*
 * The bytes of a batch: a pure function of its entries and of the checksum before it. *SUM: of its last
 * record, the only one that is rounded up to a sector (a block, in a log that knows no gaps).
 */
void twz__log_batch_bytes(struct twz_log *l, const struct twz__log_batch *b, uint8_t *buf,
			  uint64_t *sum)
{
	const struct twz__log_stage *st = l->stage;
	uint64_t generation = l->seg->generation, end = b->from_lsn + twz__log_batch_len(b);
	uint32_t last =
		l->ring.unit == TWZ_LOG_SECTOR_LEN ? TWZ_LOG_DESC_SECTOR : TWZ_LOG_DESC_BLOCK;

	*sum = b->prev_sum;
	for (uint64_t nr = b->from; nr < b->to; nr++) {
		const struct twz__log_ent *e = entry(st, nr);
		struct log_rec_pm *rec = (void *)(buf + (e->lsn - b->from_lsn));
		uint8_t *body = (uint8_t *)(rec + 1);
		uint64_t up_to = nr + 1 == b->to ? end : entry_end(e);

		rec->lsn = e->lsn;
		rec->prev = (uint32_t)*sum;
		rec->desc = (uint32_t)e->len | (uint32_t)TWZ_LOG_REC_DATA << TWZ_LOG_DESC_KIND |
			    (nr + 1 == b->to ? last : 0);
		stage_copy_out(st, e->lsn + sizeof(*rec), body, e->len);
		memset(body + e->len, 0, up_to - e->lsn - sizeof(*rec) - e->len);
		rec->sum = *sum =
			twz__log_rec_sum(rec, twz__log_seal(l->ring.id, generation, e->gap));
	}
}

/* All entries that stand one behind the other in a lap; the batch's mutex is held, too. */
static int freeze(struct twz_log *l, int i)
{
	struct twz__log_stage *st = l->stage;
	struct twz__log_batch *b = &st->batch[i];
	uint64_t put = seg_get(&st->put), to = seg_get(&st->frozen) + 1;
	int err;

	b->from = to - 1;
	while (to < put && entry(st, to)->lsn == entry_end(entry(st, to - 1)) &&
	       entry(st, to)->lsn % l->ring.ring_len &&
	       entry(st, to)->lsn - entry(st, b->from)->lsn <= TWZ_LOG_BATCH_MAX)
		to++;
	b->to = to;
	b->from_lsn = entry(st, b->from)->lsn;
	b->to_lsn = unit_up(l, entry_end(entry(st, to - 1)));
	b->prev_sum = l->seg->last_sum;
	assert(b->from_lsn % l->ring.unit == 0 &&
	       b->to_lsn - b->from_lsn <= l->ring.ring_len - b->from_lsn % l->ring.ring_len);
	err = bounce_get(l, i, twz__log_batch_len(b));
	if (err)
		return err;
	twz__log_batch_bytes(l, b, l->bounce[i], &b->sum);
	seg_set(&b->state, BATCH_FROZEN);
	freeze_finish(l, b);
	twz__log_gather_froze(st, b);
	return 0;
}

/* A batch somebody left behind: written again, if that was not finished. */
static int adopt(struct twz_log *l, int i)
{
	struct twz__log_batch *b = &l->stage->batch[i];
	uint64_t sum;
	int err = bounce_get(l, i, twz__log_batch_len(b));

	if (err)
		return err;
	twz__log_batch_bytes(l, b, l->bounce[i], &sum);
	assert(sum == b->sum);
	return 0;
}

/* Bytes of records that are in no batch yet. Stage mutex. */
static uint64_t staged_len(const struct twz_log *l)
{
	const struct twz__log_stage *st = l->stage;
	uint64_t frozen = seg_get(&st->frozen);

	return seg_get(&st->put) > frozen ? seg_get(&l->seg->head) - entry(st, frozen)->lsn : 0;
}

/* The batch to be written now, its mutex held: *I, or -1: there is nothing to do, or others are at it. */
static int batch_take(struct twz_log *l, uint64_t gathered, int *i)
{
	struct twz__log_stage *st = l->stage;
	int err = twz__log_stage_lock(l), free_i = -1;

	*i = -1;
	if (err)
		return err;
	for (int k = 0; k < TWZ_LOG_BATCHES && *i < 0; k++) {
		uint32_t state = seg_get(&st->batch[k].state);

		if (state == BATCH_FAILED || !batch_lock(&st->batch[k]))
			continue;
		state = seg_get(&st->batch[k].state);
		if (state == BATCH_FROZEN) {
			*i = k;
			err = adopt(l, k);
		} else if (state == BATCH_FREE && free_i < 0 &&
			   twz__log_batch_let_go(&st->batch[k])) {
			free_i = k;
			continue;
		}
		if (*i != k || err)
			pthread_mutex_unlock(&st->batch[k].mutex);
	}
	if (free_i >= 0 && *i < 0 && twz__log_worth_it(st, staged_len(l), gathered)) {
		err = freeze(l, free_i);
		*i = err ? -1 : free_i;
	}
	if (free_i >= 0 && *i != free_i)
		pthread_mutex_unlock(&st->batch[free_i].mutex);
	pthread_mutex_unlock(&st->mutex);
	if (err)
		*i = -1;
	return err;
}

/* Batches that are done become durable in log order. */
static int retire(struct twz_log *l)
{
	struct twz__log_stage *st = l->stage;
	int err = twz__log_stage_lock(l);
	uint64_t before = seg_get(&st->durable);
	bool any = !err;

	while (any) {
		any = false;
		for (int i = 0; i < TWZ_LOG_BATCHES; i++) {
			struct twz__log_batch *b = &st->batch[i];

			if (seg_get(&b->state) != BATCH_DONE || b->from > seg_get(&st->durable))
				continue;
			/* It may have been found durable by somebody who died here. */
			if (b->to > seg_get(&st->durable))
				seg_set(&st->durable, b->to);
			seg_set(&b->state, BATCH_FREE);
			any = true;
		}
	}
	if (!err) {
		if (seg_get(&st->durable) != before)
			twz__log_gather_durable(st, seg_get(&st->durable) - before);
		pthread_mutex_unlock(&st->mutex);
	}
	return err;
}

/* --- applying: apply mutex --- */

/* Where a durable entry ends; what stands behind it may do so behind a gap. */
static uint64_t behind(const struct twz_log *l, uint64_t nr)
{
	const struct twz__log_stage *st = l->stage;
	uint64_t end = entry_end(entry(st, nr));

	return nr + 1 < seg_get(&st->put) && entry(st, nr + 1)->lsn == end ? end : unit_up(l, end);
}

static int apply_next(struct twz_log *l, uint64_t nr)
{
	struct twz__log_stage *st = l->stage;
	const struct twz__log_ent *e = entry(st, nr);
	const void *body = stage_body(l, e, 0);
	int err;

	err = l->user->staged(l->user->ctx, e->lsn, body, e->len);
	if (err) /* it is durable: nobody may go on as if it were not there */
		return twz__log_group_fail(l, "applying a record");
	/*
	 * First where, then how many: whoever dies between the two leaves it to be applied again, from
	 * bytes that are not given out before it is counted (submit_room).
	 */
	seg_set(&l->seg->applied, behind(l, nr));
	seg_set(&st->applied, nr + 1);
	return 0;
}

/* 1: something was applied; 0: there was nothing. */
static int apply_durable(struct twz_log *l)
{
	struct twz__log_stage *st = l->stage;
	int err, did = 0;

	if (seg_get(&st->applied) == seg_get(&st->durable))
		return 0;
	err = twz__log_mutex_lock(&st->apply_mutex);
	if (err == EOWNERDEAD) /* the record it was at will be applied once more */
		err = pthread_mutex_consistent(&st->apply_mutex);
	if (err)
		return twz__log_lock_failed(l, "homes", err);
	while (!err && seg_get(&st->applied) < seg_get(&st->durable) && !seg_get(&l->seg->failed)) {
		err = apply_next(l, seg_get(&st->applied));
		did = 1;
	}
	pthread_mutex_unlock(&st->apply_mutex);
	if (did)
		twz__log_wake_all(st);
	return err ? err : did;
}

/* --- writing --- */

static int batch_write(struct twz_log *l, int i)
{
	struct twz__log_batch *b = &l->stage->batch[i];
	uint64_t start = twz__log_now_us();
	int err = twz__log_write(&l->ring, twz__log_pos(&l->ring, b->from_lsn), l->bounce[i],
				 twz__log_batch_len(b));

	__atomic_store_n(&l->stage->gather.took_us, (uint32_t)(twz__log_now_us() - start),
			 __ATOMIC_RELAXED);
	if (err) {
		/* D17: failed for everybody before anybody can find the batch. */
		err = twz__log_group_fail(l, "writing the log");
		seg_set(&b->state, BATCH_FAILED);
	} else {
		seg_set(&b->state, BATCH_DONE); /* THE COMMIT POINT (D3), if all before it are */
	}
	pthread_mutex_unlock(&b->mutex);
	return err;
}

/* One step towards everything being applied. 1: it was one; 0: others are at it, or there is none. */
static int lead(struct twz_log *l, uint64_t gathered)
{
	int i, err = batch_take(l, gathered, &i);

	if (err)
		return err;
	if (i >= 0) {
		err = batch_write(l, i);
		if (!err)
			err = retire(l);
		if (err)
			return err;
	} else {
		err = retire(l);
		if (err)
			return err;
	}
	err = apply_durable(l);
	if (i >= 0 && !err)
		twz__log_wake_all(
			l->stage); /* there is a free batch; else those who wait have heard already */
	return err < 0 ? err : i >= 0 || err;
}

/* GATHERED: 0, or TWZ_LOG_AT_ONCE: nobody can come whom it would be worth waiting for. */
static int wait_for(struct twz_log *l, uint64_t nr, uint64_t gathered)
{
	struct twz__log_stage *st = l->stage;
	struct twz__log_patience patience = {0, 0};
	int ret = 0;

	while (ret >= 0 && st && seg_get(&st->applied) < nr) {
		uint32_t seen = __atomic_load_n(&st->wake, __ATOMIC_SEQ_CST);

		twz__log_gather(l, &gathered);
		ret = twz__log_enter(l);
		if (!ret)
			ret = lead(l, gathered);
		if (!ret)
			ret = twz__log_relieve(l, &patience);
		if (!ret && seg_get(&st->applied) < nr)
			twz__log_doze(st, seen, NAP_US);
	}
	return ret < 0 ? ret : 0;
}

int twz_log_wait(struct twz_log *l, uint64_t nr)
{
	return wait_for(l, nr, 0);
}

/* Mostly with the writer lock. */
int twz_log_drain(struct twz_log *l)
{
	int err = l->stage ? twz__log_enter(l) : 0;

	return l->stage && !err ? wait_for(l, seg_get(&l->stage->put), TWZ_LOG_AT_ONCE) : err;
}

int twz_log_help(struct twz_log *l)
{
	int ret = l->stage ? twz__log_enter(l) : 0;

	if (!ret && l->stage)
		ret = lead(l, TWZ_LOG_AT_ONCE);
	return ret < 0 ? ret : 0;
}

/* --- submitting: the caller's writer lock --- */

bool twz_log_can_submit(const struct twz_log *l, size_t len)
{
	uint64_t total = twz__log_align(sizeof(struct log_rec_pm) + len, TWZ_LOG_BLOCK_LEN);

	return l->stage && len && len <= TWZ_LOG_STAGE_REC_MAX && total <= l->plain_max;
}

static int ring_full(struct twz_log *l)
{
	return twz__err(TWZ_E_NOSPC, "log %s: ring full of records not applied", l->ring.name);
}

/* Would a record of TOTAL bytes cross the end of the ring, though it begins in the next block? (Not if that begins the next lap.) */
static bool crosses(struct twz_log *l, uint64_t total)
{
	uint64_t head = seg_get(&l->seg->head), start = block_up(head),
		 lap = head - head % l->ring.ring_len + l->ring.ring_len;

	return start < lap && block_up(start + total) > lap;
}

/*
 * May a batch begin at LSN, in the block where the one before ends? Not while any is on its way, nor if somebody who is stopped may
 * write there once more (D19).
 */
static bool is_quiet(const struct twz__log_stage *st, uint64_t lsn)
{
	bool is = seg_get(&st->durable) == seg_get(&st->frozen);

	for (int i = 0; i < TWZ_LOG_BATCHES && is; i++)
		is = !seg_get(&st->batch[i].held) || block_up(st->batch[i].to_lsn) <= lsn;
	return is;
}

/* Where the next record goes, of TOTAL bytes, and what is left out before it. Stage mutex. */
static void place(struct twz_log *l, struct twz__log_ent *e, uint64_t total)
{
	struct twz__log_stage *st = l->stage;
	uint64_t head = seg_get(&l->seg->head), put = seg_get(&st->put);
	bool fresh;

	if (put == seg_get(&st->frozen)) {
		st->run_lsn = head;
		fresh = !is_quiet(st, head);
	} else {
		/* Enough for one batch; or, as the last of one, rounded up, it would take more than a record may (D1). */
		fresh = head - st->run_lsn > TWZ_LOG_BATCH_MAX ||
			block_up(head + total) - head > l->plain_max;
	}
	fresh |= head % l->ring.ring_len + total > l->ring.ring_len;
	e->lsn = fresh ? block_up(head) : head;
	e->gap = fresh ? e->lsn - unit_up(l, head) : 0;
	if (fresh)
		st->run_lsn = e->lsn;
}

/*
 * Room for a record of TOTAL bytes, wherever a freeze makes it begin: in the staging area, in what is left
 * of the lap, before a checkpoint is due. Full means wait.
 */
static int submit_room(struct twz_log *l, uint64_t total, uint64_t *head)
{
	struct twz__log_stage *st = l->stage;
	int err = 0;

	while (!err) {
		uint64_t end = block_up(block_up(*head = seg_get(&l->seg->head)) + total),
			 applied = seg_get(&st->applied), tail = seg_get(&l->seg->tail), from;

		/* What is not counted as applied may be applied again, whatever seg->applied says. */
		from = seg_get(&st->put) > applied ? entry(st, applied)->lsn
						   : seg_get(&l->seg->applied);
		if (end - from > TWZ_LOG_STAGE_LEN ||
		    seg_get(&st->put) - applied == TWZ_LOG_STAGE_ENTS) {
			/* For half of it: if each of many waited for one record, batches would have one. */
			err = seg_get(&st->put) > applied
				      ? wait_for(l, (applied + seg_get(&st->put) + 1) / 2,
						 TWZ_LOG_AT_ONCE)
				      : ring_full(l);
		} else if (crosses(l, total)) {
			err = twz_log_drain(l);
			if (!err && crosses(l, total))
				err = twz__log_lap_wait(l, 0);
			if (!err && crosses(l, total))
				err = twz__log_pad(l);
		} else if (end - tail > l->due_len) {
			err = twz_log_drain(l);
			if (!err && tail == seg_get(&l->seg->tail) &&
			    tail == seg_get(&l->seg->applied))
				err = ring_full(l);
			if (!err)
				err = twz_log_checkpoint(l);
		} else {
			err = twz__log_lap_wait(l, total);
			return err ? err : twz__log_fill(l, end);
		}
	}
	return err;
}

int twz_log_submit(struct twz_log *l, size_t len, uint64_t *nr)
{
	struct twz__log_stage *st = l->stage;
	uint64_t total = twz__log_align(sizeof(struct log_rec_pm) + len, TWZ_LOG_REC_ALIGN), put;
	struct twz__log_ent *e;
	uint64_t head;
	int err = twz__log_enter_ready(l);

	*nr = 0;
	assert(twz_log_can_submit(l, len));
	if (!err)
		err = twz__store_still(l->ring.store);
	if (!err)
		err = submit_room(l, total, &head);
	if (!err)
		err = twz__log_stage_lock(l);
	/* Who died between its record and `head` left a head that is too low: only now is it right (stage_repair). */
	while (!err && block_up(seg_get(&l->seg->head)) > block_up(head)) {
		pthread_mutex_unlock(&st->mutex);
		err = submit_room(l, total, &head);
		if (!err)
			err = twz__log_stage_lock(l);
	}
	if (err)
		return err;
	put = seg_get(&st->put);
	e = &st->ent[put % TWZ_LOG_STAGE_ENTS];
	place(l, e, total);
	e->len = len;
	stage_copy_in(st, e->lsn + sizeof(struct log_rec_pm),
		      l->buf + l->off + sizeof(struct log_rec_pm), len);
	seg_set(&st->put, put + 1); /* staged: whatever happens to this process */
	seg_set(&l->seg->head, e->lsn + total);
	seg_set(&l->seg->records, l->seg->records + 1);
	seg_set(&l->seg->bytes, l->seg->bytes + len);
	pthread_mutex_unlock(&st->mutex);
	l->staging = false;
	*nr = put + 1;
	return 0;
}

void twz_log_pending(const struct twz_log *l, uint64_t *applied, uint64_t *submitted)
{
	/* In this order: what is found applied by then has been submitted before. */
	*submitted = l->stage ? seg_get(&l->stage->put) : 0;
	*applied = l->stage ? seg_get(&l->stage->applied) : 0;
}

int twz_log_pending_walk(struct twz_log *l, uint64_t from, uint64_t to,
			 int (*fn)(void *ctx, uint64_t nr, const void *rec, size_t len), void *ctx)
{
	int ret = 0;

	for (; from < to && !ret; from++) {
		const struct twz__log_ent *e = entry(l->stage, from);

		ret = fn(ctx, from + 1, stage_body(l, e, 1), e->len);
	}
	return ret;
}

/* The space of an entry is used again only when it counts as applied: so bytes read before that are the entry's. */
int twz_log_pending_copy(const struct twz_log *l, uint64_t nr, void *buf, size_t *len)
{
	const struct twz__log_stage *st = l->stage;
	const struct twz__log_ent *e;
	uint64_t lsn;

	*len = 0;
	if (!st || !nr || nr > seg_get(&st->put) || nr <= seg_get(&st->applied))
		return 0;
	e = entry(st, nr - 1);
	lsn = seg_get(&e->lsn);
	*len = seg_get(&e->len);
	if (*len > TWZ_LOG_STAGE_REC_MAX)
		return 0;
	stage_copy_out(st, lsn + sizeof(struct log_rec_pm), buf, *len);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return nr > seg_get(&st->applied);
}
