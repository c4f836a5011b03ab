/* SPDX-License-Identifier: MIT
 * log_append.c -- twz_log: append a record, mark it applied, checkpoint
 *
 * On cache-line media an append is the engine's commit, of which the fence is the largest part:
 * here every line fetched, division and call counts. Nothing is read from the ring, one shared line
 * (twz__log_seg) is read and written, and the record is built where it is hashed and copied from.
 */
#include "log_ring.h"
#include "persist_line.h"

/*
 * Cache-line media: records between two checkpoints. As much as stays in the second-level cache
 * beside the homes; a checkpoint costs three fences, which this spreads over a thousand records.
 */
#define DUE_LEN	     ((uint64_t)256 << 10)
#define BUF_KEEP_MAX ((uint64_t)8 << 20) /* a longer buffer is given back once it was used */

int twz__log_append_init(struct twz_log *l)
{
	l->due_len = l->ring.ring_len / 2;
	if (l->ring.map && l->due_len > DUE_LEN)
		l->due_len = DUE_LEN;
	l->align = twz__log_ring_align(&l->ring);
	l->plain_max = l->ring.ring_len / 4;
	l->block = aligned_alloc(TWZ_LOG_BLOCK_LEN, TWZ_LOG_BLOCK_LEN);
	return l->block ? 0 : twz__err(TWZ_E_NOMEM, "log %s: no memory for a block", l->ring.name);
}

int twz__log_enter_ready(struct twz_log *l)
{
	int err = twz__log_enter(l);

	if (!err && twz__unlikely(seg_get(&l->seg->state) != LOG_READY))
		err = twz__err(
			TWZ_E_STATE,
			"log %s has not been recovered: call twz_log_recover(log, true) first",
			l->ring.name);
	if (!err && twz__unlikely(l->ring.store->read_only))
		err = twz__err(TWZ_E_READONLY, "%s: log %s: it is open for reading only",
			       twz_store_path(l->ring.store), l->ring.name);
	return err;
}

/* --- checkpoint (D5) --- */

/* The records this handle appended itself, from `from` to `to`, as it built them. */
static int flush_own(struct twz_log *l, uint64_t from, uint64_t to)
{
	int (*flush)(void *, uint64_t, const void *, size_t) =
		l->user->flush_own ? l->user->flush_own : l->user->flush;
	int ret = 0;

	while (from < to && ret >= 0) {
		const struct log_rec_pm *rec = (const void *)(l->buf + (from - l->own.base));

		assert(rec->lsn == from);
		ret = flush(l->user->ctx, from, rec + 1, twz__log_rec_len(rec));
		from += twz__log_rec_total(rec, 0); /* no pads in there */
	}
	return ret < 0 ? ret : 0;
}

/* Records of the ring; *END: where it ended. */
static int flush_ring(struct twz_log *l, uint64_t generation, uint64_t from, uint64_t to)
{
	struct twz__log_iter it;
	int ret;

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
	return ret < 0 ? ret : 0;
}

/*
 * Cache-line media: the log is the list of what to flush, for a list of homes would die with its
 * process. Of the records this handle appended last it has a copy that is still in a cache; what
 * another process appended, or this one before it, is read back from the ring. Page media: the
 * kernel has the list.
 */
int twz__log_flush_homes(struct twz_log *l, uint64_t generation, uint64_t from, uint64_t to)
{
	uint64_t own = to;
	int err = 0;

	if (!l->ring.map)
		return twz_sync_all(l->ring.store) ? TWZ_E_IO : 0;
	if (l->own.generation == generation && l->own.to >= to && l->own.from < to)
		own = l->own.from > from ? l->own.from : from;
	if (from < own)
		err = flush_ring(l, generation, from, own);
	if (!err)
		err = flush_own(l, own, to);
	if (l->user->flush_end)
		l->user->flush_end(l->user->ctx);
	twz_fence(l->ring.store);
	return err;
}

static int checkpoint(struct twz_log *l)
{
	struct twz__log_seg *seg = l->seg;
	uint64_t to = seg_get(&seg->applied);
	int err;

	if (seg_get(&seg->tail) == to) {
		if (l->stage) /* somebody else's, without the lock: then this is still to be done */
			twz__log_body_tidy(l, to);
		return 0;
	}
	err = twz__log_flush_homes(l, seg->generation, seg_get(&seg->tail), to);
	if (err == TWZ_E_IO)
		return twz__log_fail(l, "syncing the homes at a checkpoint");
	if (err)
		return twz__err_in(err, "checkpoint of log %s", l->ring.name);
	err = twz__log_tail_publish(l, to);
	if (!err)
		twz__log_body_tidy(l, to);
	return err;
}

int twz__log_tail_publish(struct twz_log *l, uint64_t to)
{
	struct twz__log_seg *seg = l->seg;
	int err = twz__store_intact(l->ring.store);

	if (!err)
		err = twz__log_tail_lock(l);
	if (err)
		return err;
	/* The checkpoint: from here on the space before TO may be overwritten. */
	if (to > seg_get(&seg->tail)) {
		if (twz__log_publish(&l->ring, offsetof(struct log_page_pm, tail), to))
			err = twz__log_fail(l, "publishing the tail");
		else
			seg_set(&seg->tail, to);
		seg_set(&seg->checkpoints, seg->checkpoints + !err);
	}
	twz__log_tail_unlock(l);
	return err;
}

int twz_log_checkpoint(struct twz_log *l)
{
	int err = twz__log_enter_ready(l);

	if (!err)
		err = twz_log_drain(l);
	return err ? err : checkpoint(l);
}

/* --- staging --- */

/* What the caller has staged moves with it; the copies of older records do not. */
static int buf_grow(struct twz_log *l, uint64_t len)
{
	uint64_t cap = 2 * len + (l->ring.map ? 2 * l->due_len : 0);
	uint64_t old = l->buf_len - l->off;
	uint8_t *buf = aligned_alloc(TWZ_LOG_BLOCK_LEN, cap);

	if (!buf)
		return twz__err(TWZ_E_NOMEM, "log %s: no memory for a record of %llu bytes",
				l->ring.name, (unsigned long long)len);
	if (old)
		memcpy(buf, l->buf + l->off, old < len ? old : len);
	free(l->buf);
	l->buf = buf;
	l->buf_len = cap;
	l->own.from = l->own.to = l->off = 0;
	return 0;
}

/* Room for header, LEN bytes and their padding. */
static int buf_reserve(struct twz_log *l, uint64_t len)
{
	uint64_t need = twz__log_align(sizeof(struct log_rec_pm) + len, TWZ_LOG_BLOCK_LEN);

	return twz__likely(l->off + need <= l->buf_len) ? 0 : buf_grow(l, need);
}

/* The first byte of a new record; one long record should not cost its memory for ever. */
static int stage_begin(struct twz_log *l, uint64_t len)
{
	if (twz__unlikely(!l->staging && l->buf_len > BUF_KEEP_MAX)) {
		free(l->buf);
		l->buf = NULL;
		l->buf_len = l->off = l->own.from = l->own.to = 0;
	}
	l->staging = true;
	return buf_reserve(l, len);
}

void *twz_log_stage(struct twz_log *l, size_t len)
{
	if (twz__unlikely(len > TWZ_DATA_MAX)) {
		twz__err(TWZ_E_TOOBIG, "log %s: a record may have %llu bytes", l->ring.name,
			 (unsigned long long)TWZ_DATA_MAX);
		return NULL;
	}
	return stage_begin(l, len) ? NULL : l->buf + l->off + sizeof(struct log_rec_pm);
}

/* --- append (D3) --- */

static int len_check(const struct twz_log *l, uint64_t len)
{
	if (twz__unlikely(len > TWZ_DATA_MAX))
		return twz__err(TWZ_E_TOOBIG, "log %s: a record may have %llu bytes", l->ring.name,
				(unsigned long long)TWZ_DATA_MAX);
	if (twz__unlikely(!len))
		return twz__err(TWZ_E_INVAL, "log %s: empty record", l->ring.name);
	return 0;
}

static int pieces_len(const struct twz_log *l, const struct iovec *iov, int cnt, uint64_t *len)
{
	uint64_t n = 0;

	for (int i = 0; i < cnt && n <= TWZ_DATA_MAX; i++)
		n = iov[i].iov_len > TWZ_DATA_MAX ? UINT64_MAX : n + iov[i].iov_len;
	*len = n;
	return len_check(l, n);
}

/* Place of an LSN in the ring. A division only once a lap. */
static uint64_t ring_off(struct twz_log *l, uint64_t lsn)
{
	if (twz__unlikely(lsn - l->lap >= l->ring.ring_len))
		l->lap = lsn - lsn % l->ring.ring_len;
	return lsn - l->lap;
}

/* Where the next record goes. */
struct spot {
	uint64_t lsn, total;
};

/*
 * twz__log_plan() for a record that needs neither pad, checkpoint nor object, in registers: what
 * has just been stored to a struct in pieces cannot be loaded as a whole before those stores, and
 * they wait for the fence of the record before.
 */
static inline bool plan_plain(struct twz_log *l, uint64_t len, struct spot *sp)
{
	const struct twz__log_seg *seg = l->seg;
	uint64_t total = twz__log_align(sizeof(struct log_rec_pm) + len, l->align);

	sp->lsn = twz__log_align(seg->head, l->align); /* page media: a fresh block (D19) */
	sp->total = total;
	return total <= l->plain_max && total <= l->ring.ring_len - ring_off(l, sp->lsn) &&
	       sp->lsn + total - seg_get(&seg->tail) <= l->due_len;
}

static struct twz__log_plan plan(struct twz_log *l, uint64_t len)
{
	const struct twz__log_seg *seg = l->seg;
	uint64_t head = twz__log_align(seg->head, l->align);
	struct twz__log_where w = {
		l->ring.ring_len,    l->align, l->due_len,
		seg_get(&seg->tail), head,     l->ring.ring_len - ring_off(l, head)};

	return twz__log_plan(&w, len);
}

/* Room in the ring for a body of LEN bytes: plan, checkpoint when that is due, plan again. */
static int make_room(struct twz_log *l, uint64_t len, struct twz__log_plan *p)
{
	int err;

	*p = plan(l, len);
	if (twz__unlikely(p->due || p->full ||
			  (p->spill && l->seg->spill_cnt == TWZ_LOG_SPILL_MAX))) {
		err = checkpoint(l);
		if (err)
			return err;
		*p = plan(l, len);
	}
	if (twz__unlikely(p->full))
		return twz__err(
			TWZ_E_NOSPC,
			"log %s: ring full of records not applied: call twz_log_applied for each",
			l->ring.name);
	return 0;
}

/* The body stands behind REC: the rest of the record. */
static inline void rec_finish(struct twz_log *l, struct log_rec_pm *rec, uint32_t kind,
			      uint64_t lsn, uint64_t len)
{
	uint32_t desc = (uint32_t)len | kind << TWZ_LOG_DESC_KIND;
	uint64_t seal = l->seg->generation, word;

	if (!l->ring.map) {
		seal = twz__log_seal(l->ring.id, seal, lsn - l->seg->head);
		desc |= kind != TWZ_LOG_REC_PAD ? TWZ_LOG_DESC_BLOCK : 0;
	}
	/* prev and desc by one store, for they are read as one word next (twz__copy_lines). */
	word = (uint32_t)l->seg->last_sum | (uint64_t)desc << 32;
	memcpy(&rec->prev, &word, sizeof(word));
	rec->lsn = lsn;
	rec->sum = twz__log_rec_sum(rec, seal);
}

/*
 * The rest of the ring becomes a pad. Only its first block is written; the bytes behind are never
 * looked at.
 */
static int append_pad(struct twz_log *l, uint64_t len)
{
	struct log_rec_pm *rec = (void *)l->block;
	uint64_t lsn = twz__log_align(l->seg->head, l->align);

	memset(l->block, 0, l->align);
	rec_finish(l, rec, TWZ_LOG_REC_PAD, lsn, 0);
	if (twz__log_write(&l->ring, TWZ_LOG_HEADER_LEN + ring_off(l, lsn), rec, l->align))
		return twz__log_fail(l, "writing the log");
	l->seg->last_sum = rec->sum;
	seg_set(&l->seg->head, lsn + len);
	return 0;
}

int twz__log_pad(struct twz_log *l)
{
	return append_pad(l,
			  l->ring.ring_len - ring_off(l, twz__log_align(l->seg->head, l->align)));
}

/* LEN bytes of body stand behind REC, which has room up to SP.total. */
static inline int append_rec(struct twz_log *l, struct log_rec_pm *rec, uint32_t kind,
			     struct spot sp, uint64_t len)
{
	uint64_t off = TWZ_LOG_HEADER_LEN + ring_off(l, sp.lsn);
	struct twz__log_seg *seg = l->seg;

	rec_finish(l, rec, kind, sp.lsn, len);
	/*
	 * THE COMMIT POINT (D3). Cache-line media: this fence, which also completes every flush
	 * this thread issued before. Page media: the range sync inside twz__log_write.
	 */
	if (l->ring.map) {
		twz__copy_lines(l->ring.store, l->ring.map + off, rec, sizeof(*rec) + len);
		twz__fence_lines(l->ring.store);
	} else {
		memset((uint8_t *)(rec + 1) + len, 0, sp.total - sizeof(*rec) - len);
		if (twz__log_write(&l->ring, off, rec, sp.total))
			return twz__log_fail(l, "writing the log");
	}
	seg->last_sum = rec->sum;
	seg->last_lsn = sp.lsn;
	seg_set(&seg->head, sp.lsn + sp.total);
	return 0;
}

/*
 * The record to be appended from l->buf + l->off stays there until a checkpoint, for that to read.
 * Right after one, and in any case before the buffer gets too long, the next goes to its start.
 */
static inline void own_add(struct twz_log *l, struct spot sp)
{
	if (!l->ring.map)
		return;
	if (sp.lsn == seg_get(&l->seg->tail) || l->off > 2 * l->due_len) {
		l->off = l->own.from = l->own.to = 0;
		return;
	}
	if (l->own.to != sp.lsn || l->own.generation != l->seg->generation) {
		l->own.from = sp.lsn;
		l->own.generation = l->seg->generation;
	}
	l->own.base = sp.lsn - l->off;
	l->own.to = sp.lsn + sp.total;
	l->off += sp.total;
}

/* A body of its own, durable; the ring gets a reference (D3). */
static int append_spill(struct twz_log *l, const struct twz__log_plan *p, const struct iovec *iov,
			int cnt, uint64_t len)
{
	struct log_rec_pm *rec = (void *)l->block;
	struct log_spill_pm spill;
	int err = twz__log_body_write(l, iov, cnt, len, p->lsn, &spill);

	if (err)
		return err == TWZ_E_IO ? twz__log_fail(l, "writing a long record") : err;
	if (p->pad)
		err = append_pad(l, p->pad);
	if (err)
		return err;
	memcpy(rec + 1, &spill, sizeof(spill));
	return append_rec(l, rec, TWZ_LOG_REC_SPILL, (struct spot){p->lsn, p->total},
			  sizeof(spill));
}

static inline int append_data(struct twz_log *l, struct spot sp, uint64_t len, uint64_t *lsn)
{
	struct log_rec_pm *rec = (void *)(l->buf + l->off);
	struct twz__log_seg *seg = l->seg;
	int err;

	/* What can be stored before the fence is: of what follows, a processor takes only so many back (engine/src/oneop.c). */
	own_add(l, sp);
	l->staging = false;
	*lsn = sp.lsn;
	err = append_rec(l, rec, TWZ_LOG_REC_DATA, sp, len);
	if (twz__unlikely(err))
		return err;
	seg_set(&seg->records, seg->records + 1);
	seg_set(&seg->bytes, seg->bytes + len);
	return 0;
}

/*
 * Any record: checkpoint, pad and an object of its own as it needs them. A body that goes to the ring
 * must be staged.
 */
static int append_any(struct twz_log *l, const struct iovec *iov, int cnt, uint64_t len,
		      uint64_t *lsn)
{
	struct twz__log_seg *seg = l->seg;
	struct twz__log_plan p;
	int err = make_room(l, len, &p);

	if (!err && p.spill) {
		err = append_spill(l, &p, iov, cnt, len);
		if (err)
			return err;
		l->staging = false;
		seg_set(&seg->records, seg->records + 1);
		seg_set(&seg->bytes, seg->bytes + len);
		*lsn = p.lsn;
		return 0;
	}
	if (!err && p.pad)
		err = append_pad(l, p.pad);
	return err ? err : append_data(l, (struct spot){p.lsn, p.total}, len, lsn);
}

/* Page media: what is staged comes before it, and nobody writes where it goes. */
static int settle(struct twz_log *l, uint64_t len)
{
	int err = twz_log_drain(l);

	return err ? err : twz__log_lap_wait(l, len);
}

int twz_log_append_staged(struct twz_log *l, size_t len, uint64_t *lsn)
{
	struct iovec iov;
	struct spot sp;
	int err;

	*lsn = 0;
	err = twz__log_enter_ready(l);
	if (!err)
		err = len_check(l, len);
	if (!err)
		err = twz__store_still_often(l->ring.store, &l->still_cnt);
	if (twz__unlikely(l->stage && !err))
		err = settle(l, len);
	if (twz__unlikely(err))
		return err;
	if (twz__likely(plan_plain(l, len, &sp)))
		return append_data(l, sp, len, lsn);
	iov = (struct iovec){l->buf + l->off + sizeof(struct log_rec_pm), len};
	return append_any(l, &iov, 1, len, lsn);
}

static void gather(uint8_t *to, const struct iovec *iov, int cnt)
{
	for (int i = 0; i < cnt; i++) {
		if (iov[i].iov_len)
			memcpy(to, iov[i].iov_base, iov[i].iov_len);
		to += iov[i].iov_len;
	}
}

int twz_log_append(struct twz_log *l, const struct iovec *iov, int cnt, uint64_t *lsn)
{
	uint64_t len = 0;
	struct spot sp;
	int err;

	*lsn = 0;
	err = twz__log_enter_ready(l);
	if (!err)
		err = pieces_len(l, iov, cnt, &len);
	if (!err)
		err = twz__store_still_often(l->ring.store, &l->still_cnt);
	if (twz__unlikely(l->stage && !err))
		err = settle(l, len);
	if (twz__unlikely(err))
		return err;
	if (len <= l->plain_max) { /* unless it becomes an object */
		l->staging = false;
		err = stage_begin(l, len);
		if (err)
			return err;
		gather(l->buf + l->off + sizeof(struct log_rec_pm), iov, cnt);
	}
	if (twz__likely(plan_plain(l, len, &sp)))
		return append_data(l, sp, len, lsn);
	return append_any(l, iov, cnt, len, lsn);
}

/* --- applied --- */

/* End of the record at LSN, or 0 if there is none. */
static uint64_t rec_end(struct twz_log *l, uint64_t lsn)
{
	struct twz__log_expect e = {.ring_len = l->ring.ring_len, .lsn = lsn};
	struct log_rec_pm rec;
	uint64_t off = twz__log_pos(&l->ring, lsn);

	if (lsn < seg_get(&l->seg->tail) || lsn >= l->seg->head ||
	    twz__log_read(&l->ring, off, &rec, sizeof(rec)) || twz__log_rec_bad(&rec, &e))
		return 0;
	return lsn + twz__log_rec_total(&rec, TWZ_LOG_HEADER_LEN + l->ring.ring_len - off);
}

__attribute__((noinline)) static void applied_slow(struct twz_log *l, uint64_t lsn)
{
	uint64_t end = twz__log_enter_ready(l) ? 0 : rec_end(l, lsn);

	if (end > seg_get(&l->seg->applied))
		seg_set(&l->seg->applied, end);
}

/* Right after its append, by the same process, as a rule. */
void twz_log_applied(struct twz_log *l, uint64_t lsn)
{
	if (twz__likely(lsn == l->seg->last_lsn && !twz__store_enter(l->ring.store)))
		seg_set(&l->seg->applied, l->seg->head);
	else
		applied_slow(l, lsn);
}
