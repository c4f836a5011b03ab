// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * journal.c -- the metadata journal: records, commit, checkpoint, recovery (docs/durability.md
 * D1-D5, D9, D13, D17, D19)
 *
 *	build (cell.c) --> twzc__commit: sums, homes resolved | log_write = COMMIT POINT | homes changed | applied
 *	ring half full --> twzc_checkpoint: homes flushed, fence | tail word = homes up to it are durable | space reusable
 *	open or takeover --> twzc_recover: check all, apply all | checkpoint | generation raised | ready
 *
 * A record is valid if and only if
 * (1) its magic, kind and must-be-zero fields are right, header <= len <= TWZC_REC_MAX, len <=
 * total, and total does not
 *     reach over the end of the ring (a pad: total reaches exactly to the end);
 * (2) its lsn is its logical position;
 * (3) its generation is the one in force;
 * (4) its prev_sum is the sum of the record before it (not asked of the first record behind the
 * tail);
 * (5) its sum, seeded with prev_sum, holds.
 * Nothing after the first invalid record counts. As a record is written only when the one before it
 * is durable, a valid record behind an invalid one proves damage: that is TWZ_E_CORRUPT, not the
 * end of the journal.
 */
#include "core_int.h"

u64 twzc__tail_word(struct twzc *c, u64 lsn)
{
	u64 n = lsn / 8;

	return n << 16 | (c->ops->hash(&n, sizeof(n), c->seed) & 0xffff);
}

int twzc__tail_read(struct twzc *c, u64 *lsn)
{
	u64 off = c->super.journal_page * TWZC_PAGE, word;
	int err = c->ops->log_read(c->ctx, off, &word, sizeof(word));

	if (err)
		return err;
	*lsn = (word >> 16) * 8;
	if (word != twzc__tail_word(c, *lsn) || *lsn % TWZC_REC_ALIGN)
		return twzc__corrupt(c, "journal", "tail", off, word);
	return 0;
}

/* D5: one aligned 8-byte store, alone in its page. */
static int tail_publish(struct twzc *c, u64 lsn)
{
	u64 *block = (u64 *)c->scratch;

	c->ops->set(block, 0, TWZC_PAGE);
	block[0] = twzc__tail_word(c, lsn);
	return c->ops->log_write(c->ctx, c->super.journal_page * TWZC_PAGE, block,
				 c->ops->page_media ? TWZC_PAGE : sizeof(u64));
}

static u64 rec_align(const struct twzc *c)
{
	return c->ops->page_media ? TWZC_PAGE : TWZC_REC_ALIGN; /* D19: a fresh block */
}

static u64 rec_sum(struct twzc *c, struct twz_jrec_pm *r)
{
	u64 old = r->sum, sum;

	r->sum = 0;
	sum = c->ops->hash(r, r->len, r->prev_sum);
	r->sum = old;
	return sum;
}

/* --- reading --- */

/* Rules (1), (2), (3) of the definition above. */
static bool header_ok(const struct twzc *c, const struct twz_jrec_pm *r, u64 lsn, u64 generation)
{
	u64 room = twzc__ring_len(c) - lsn % twzc__ring_len(c);

	if (r->magic != TWZC_REC_MAGIC || r->lsn != lsn || r->generation != generation ||
	    r->zero0 || r->zero1)
		return false;
	if (r->len < sizeof(*r) || r->len > TWZC_REC_MAX || r->len > r->total || r->total > room ||
	    r->total % TWZC_REC_ALIGN)
		return false;
	if (r->kind == TWZC_REC_PAD)
		return r->len == sizeof(*r) && r->total == room && !r->item_cnt;
	return r->kind == TWZC_REC_CHANGE && r->total <= TWZC_ROUND_UP(r->len, TWZC_PAGE);
}

/*
 * The record at LSN into c->scratch; *OUT is NULL if there is no valid one. PREV: rule (4), NULL =
 * not asked.
 */
static int rec_read(struct twzc *c, u64 lsn, u64 generation, const u64 *prev,
		    struct twz_jrec_pm **out)
{
	struct twz_jrec_pm *r = (struct twz_jrec_pm *)c->scratch;
	u64 off = twzc__ring_off(c) + lsn % twzc__ring_len(c);
	int err = c->ops->log_read(c->ctx, off, r, sizeof(*r));

	*out = NULL;
	if (err || !header_ok(c, r, lsn, generation) || (prev && r->prev_sum != *prev))
		return err;
	err = c->ops->log_read(c->ctx, off + sizeof(*r), r + 1, r->len - sizeof(*r));
	if (!err && r->sum == rec_sum(c, r))
		*out = r;
	return err;
}

int twzc__rec_walk(struct twzc *c, u64 lsn, u64 generation, twzc__rec_fn fn, void *arg, u64 *end)
{
	u64 stop = lsn + twzc__ring_len(c), sum = 0;
	bool first = true;
	int err = 0;

	while (!err && lsn < stop) {
		struct twz_jrec_pm *r;

		err = rec_read(c, lsn, generation, first ? NULL : &sum, &r);
		if (err || !r)
			break;
		first = false;
		sum = r->sum;
		lsn += r->total;
		if (lsn > stop)
			return twzc__corrupt(c, "journal", "lap", r->lsn, r->total);
		err = fn(c, r, arg);
	}
	*end = lsn;
	return err;
}

const struct twz_jitem_pm *twzc__item_next(struct twzc *c, const struct twz_jrec_pm *r, u64 *pos,
					   int *err)
{
	const struct twz_jitem_pm *it = (const void *)((const u8 *)r + *pos);
	u64 left = r->len - *pos, journal = c->super.journal_page;

	if (!left)
		return NULL;
	if (left < sizeof(*it) || it->len > left - sizeof(*it) || !it->len || it->len % 8 ||
	    it->off % 8 || it->zero || it->off / TWZC_PAGE < TWZC_ROOT_PAGE ||
	    it->off / TWZC_PAGE != (it->off + it->len - 1) / TWZC_PAGE ||
	    (it->off / TWZC_PAGE >= journal &&
	     it->off / TWZC_PAGE < journal + c->super.journal_page_cnt)) {
		*err = twzc__corrupt(c, "journal", "item", r->lsn, *pos);
		return NULL;
	}
	*pos += TWZC_ITEM_COST(it->len);
	return it;
}

/* Every home must be there before anything is applied: apply cannot fail (D4). */
static int rec_check(struct twzc *c, struct twz_jrec_pm *r, void *arg)
{
	const struct twz_jitem_pm *it;
	u64 pos = sizeof(*r), *cnt = arg;
	u32 items = 0;
	int err = 0;

	while ((it = twzc__item_next(c, r, &pos, &err))) {
		if (!c->ops->at(c->ctx, it->off, it->len))
			return it->off + it->len > c->image_len
				       ? TWZ_E_TRUNCATED
				       : twzc__corrupt(c, "journal", "item-place", r->lsn, it->off);
		items++;
	}
	if (!err && items != r->item_cnt)
		err = twzc__corrupt(c, "journal", "item-count", r->lsn, r->item_cnt);
	++*cnt;
	return err;
}

static int rec_apply(struct twzc *c, struct twz_jrec_pm *r, void *arg)
{
	const struct twz_jitem_pm *it;
	u64 pos = sizeof(*r);
	int err = 0;

	(void)arg;
	while ((it = twzc__item_next(c, r, &pos, &err))) {
		void *home = c->ops->at(c->ctx, it->off, it->len);

		if (!home)
			return twzc__corrupt(c, "journal", "item-place", r->lsn, it->off);
		c->ops->copy(home, it + 1, it->len);
	}
	return err;
}

static int rec_flush(struct twzc *c, struct twz_jrec_pm *r, void *arg)
{
	const struct twz_jitem_pm *it;
	u64 pos = sizeof(*r);
	int err = 0;

	(void)arg;
	while ((it = twzc__item_next(c, r, &pos, &err)))
		c->ops->flush(c->ctx, it->off, it->len);
	return err;
}

/* --- checkpoint --- */

/*
 * An error whose outcome on the medium is unknown: nobody changes the store until a restart decides
 * (D17).
 */
static int fail(struct twzc *c, int err)
{
	c->sh->failed = 1;
	return err;
}

/* Homes of all records from the tail on, durable; then, and only then, the tail moves (D5). */
static int checkpoint(struct twzc *c)
{
	u64 end = 0;
	int err = twzc__rec_walk(c, c->sh->tail, c->sh->generation, rec_flush, NULL, &end);

	if (!err && end != c->sh->head)
		err = twzc__corrupt(c, "journal", "walk", end, c->sh->head);
	if (!err)
		err = c->ops->fence(c->ctx);
	if (!err)
		err = tail_publish(c, c->sh->head);
	if (err)
		return fail(c, err);
	c->sh->tail = c->sh->head;
	return 0;
}

int twzc_checkpoint(struct twzc *c)
{
	int err = twzc__begin_change(c);

	if (err || c->sh->tail == c->sh->head)
		return err;
	return checkpoint(c);
}

/* --- commit --- */

static int pad_write(struct twzc *c, u64 total)
{
	struct twz_jrec_pm *r = (struct twz_jrec_pm *)c->scratch;
	u64 off = twzc__ring_off(c) + c->sh->head % twzc__ring_len(c);
	int err;

	c->ops->set(r, 0, TWZC_PAGE);
	r->magic = TWZC_REC_MAGIC;
	r->kind = TWZC_REC_PAD;
	r->lsn = c->sh->head;
	r->generation = c->sh->generation;
	r->prev_sum = c->sh->last_sum;
	r->len = sizeof(*r);
	r->total = (u32)total;
	r->sum = rec_sum(c, r);
	err = c->ops->log_write(c->ctx, off, r, c->ops->page_media ? TWZC_PAGE : sizeof(*r));
	if (err)
		return fail(c, err);
	c->sh->last_sum = r->sum;
	c->sh->head += total;
	c->sh->applied = c->sh->head;
	return 0;
}

/*
 * Room for TOTAL bytes in one piece at the head. A record is at most half the ring, so after a
 * checkpoint there is.
 */
static int make_room(struct twzc *c, u64 total)
{
	u64 ring = twzc__ring_len(c), to_end = ring - c->sh->head % ring;
	u64 need = total + (total > to_end ? to_end : 0);
	int err = 0;

	if (c->sh->head - c->sh->tail + need > ring || c->sh->head - c->sh->tail >= ring / 2)
		err = checkpoint(c);
	if (!err && total > to_end)
		err = pad_write(c, to_end);
	return err;
}

/*
 * Sums of the changed cells, and a look at every home: after the commit point nothing may fail
 * (D4).
 */
static int seal(struct twzc *c)
{
	u64 pos = sizeof(struct twz_jrec_pm);

	for (u32 i = 0; i < c->tx_items; i++) {
		struct twz_jitem_pm *it = (struct twz_jitem_pm *)(c->tx + pos);
		u64 *cell = (u64 *)(it + 1);

		if (!c->ops->at(c->ctx, it->off, it->len))
			return TWZ_E_MAPS;
		cell[0] = twzc__cell_sum(c, cell, it->off, it->len);
		pos += TWZC_ITEM_COST(it->len);
	}
	return 0;
}

static void header_fill(struct twzc *c, struct twz_jrec_pm *r, u64 total)
{
	c->ops->set(r, 0, sizeof(*r));
	c->ops->set(c->tx + c->tx_len, 0, total - c->tx_len);
	r->magic = TWZC_REC_MAGIC;
	r->kind = TWZC_REC_CHANGE;
	r->lsn = c->sh->head;
	r->generation = c->sh->generation;
	r->prev_sum = c->sh->last_sum;
	r->len = (u32)c->tx_len;
	r->total = (u32)total;
	r->item_cnt = c->tx_items;
	r->sum = rec_sum(c, r);
}

int twzc__commit(struct twzc *c)
{
	struct twz_jrec_pm *r = (struct twz_jrec_pm *)c->tx;
	u64 total = TWZC_ROUND_UP(c->tx_len, rec_align(c));
	u32 freed_meta = c->tx_freed_meta;
	int err = seal(c);

	if (!err)
		err = make_room(c, total);
	if (err)
		goto out;
	header_fill(c, r, total);
	err = c->ops->log_write(c->ctx, twzc__ring_off(c) + c->sh->head % twzc__ring_len(c), r,
				c->ops->page_media ? total : TWZC_ROUND_UP(r->len, 8));
	if (err) {
		err = fail(c, err);
		goto out;
	}
	/*
	 * COMMIT POINT: that log_write. The record is valid on the medium (D3); from here on
	 * nothing fails.
	 */
	c->sh->last_sum = r->sum;
	c->sh->head += total;
	err = rec_apply(c, r, NULL);
	c->sh->applied = c->sh->head;
	c->tx_items = 0;
	/*
	 * Records behind the tail still name the page that was freed: a replay would write into its
	 * next owner. So the tail moves past them before anybody can get the page (D6, last
	 * sentence). A failure fails the store, not this change.
	 */
	if (!err && freed_meta)
		checkpoint(c);
out:
	twzc__begin(c);
	return err;
}

/* --- recovery --- */

/*
 * One block of the ring: does a record of this generation with an LSN between END and STOP begin in
 * it?
 */
static int beyond_block(struct twzc *c, u64 pos, u64 end, u64 stop, u64 generation)
{
	struct twz_jrec_pm *r, *valid;
	int err = c->ops->log_read(c->ctx, twzc__ring_off(c) + pos, c->tx, TWZC_PAGE);

	for (u64 i = 0; i < TWZC_PAGE && !err; i += TWZC_REC_ALIGN) {
		r = (struct twz_jrec_pm *)(c->tx + i);
		if (r->magic != TWZC_REC_MAGIC || r->generation != generation || r->lsn <= end ||
		    r->lsn >= stop || r->lsn % twzc__ring_len(c) != pos + i)
			continue;
		err = rec_read(c, r->lsn, generation, NULL, &valid);
		if (!err && valid)
			err = twzc__corrupt(c, "journal", "damaged", end, r->lsn);
	}
	return err;
}

/*
 * Nothing valid may follow the first invalid record (see the top of this file). c->tx is free
 * during recovery.
 */
static int beyond_check(struct twzc *c, u64 tail, u64 end, u64 generation)
{
	u64 stop = tail + twzc__ring_len(c);
	int err = 0;

	for (u64 pos = 0; pos < twzc__ring_len(c) && !err; pos += TWZC_PAGE)
		err = beyond_block(c, pos, end, stop, generation);
	return err;
}

static int rec_last(struct twzc *c, struct twz_jrec_pm *r, void *arg)
{
	(void)c;
	*(u64 *)arg = r->lsn;
	return 0;
}

/*
 * The last record may be valid only in a cache: its writer may have died, or been killed, before it
 * was durable. Write exactly the same bytes again (D13, D19). The ones before it were durable when
 * it was written.
 */
static int last_reissue(struct twzc *c, u64 from, u64 generation)
{
	u64 lsn = from, end = 0, off, len;
	struct twz_jrec_pm *r;
	int err = twzc__rec_walk(c, from, generation, rec_last, &lsn, &end);

	if (err || end == from)
		return err;
	off = twzc__ring_off(c) + lsn % twzc__ring_len(c);
	err = rec_read(c, lsn, generation, NULL, &r);
	if (err || !r)
		return err;
	len = r->kind == TWZC_REC_PAD ? sizeof(*r) : r->len;
	c->ops->set(c->scratch + len, 0, TWZC_ROUND_UP(len, TWZC_PAGE) - len);
	len = TWZC_ROUND_UP(len, c->ops->page_media ? TWZC_PAGE : 8);
	return c->ops->log_write(c->ctx, off, r, len);
}

struct recovery {
	u64 tail, from, end, generation, cnt;
};

/* Where to begin, and that every record from there on can be applied. Changes nothing. */
static int recover_plan(struct twzc *c, bool restart, struct recovery *rv)
{
	int err = 0;

	rv->cnt = 0;
	rv->generation = restart ? c->super.generation : c->sh->generation;
	rv->tail = c->sh->tail;
	rv->from = c->sh->applied;
	if (restart) {
		err = twzc__tail_read(c, &rv->tail);
		rv->from = rv->tail;
	}
	if (!err)
		err = twzc__rec_walk(c, rv->from, rv->generation, rec_check, &rv->cnt, &rv->end);
	if (!err)
		err = beyond_check(c, rv->tail, rv->end, rv->generation);
	return err;
}

/* Replay, make everything durable, empty the ring. */
static int recover_redo(struct twzc *c, const struct recovery *rv)
{
	struct twzc_shared *sh = c->sh;
	u64 end = 0;
	int err = last_reissue(c, rv->from, rv->generation);

	if (!err)
		err = twzc__rec_walk(c, rv->from, rv->generation, rec_apply, NULL, &end);
	if (!err)
		err = twzc__rec_walk(c, rv->tail, rv->generation, rec_flush, NULL, &end);
	if (!err)
		err = c->ops->fence(c->ctx);
	if (err)
		return err;
	/*
	 * A page medium wants the next record in a fresh block, whatever medium wrote the last one.
	 */
	end = TWZC_ROUND_UP(rv->end, rec_align(c));
	err = tail_publish(c, end);
	if (err)
		return err;
	sh->tail = sh->head = sh->applied = end;
	sh->last_sum = 0;
	return 0;
}

static void hints_reset(struct twzc *c)
{
	c->sh->hint_page = 0;
	c->sh->hint_chunk = 0;
	c->sh->epoch++;
}

/* A store that may only be read: nothing is replayed, so there must be nothing to replay. */
static int recover_read_only(struct twzc *c, const struct recovery *rv)
{
	if (rv->cnt)
		return TWZ_E_READONLY;
	c->sh->tail = c->sh->head = c->sh->applied = rv->end;
	c->sh->generation = rv->generation;
	return 0;
}

static int root_fits(struct twzc *c, bool restart)
{
	const struct twz_root_pm *root;
	const struct twz_layout_pm *layout;
	int err = twzc__root(c, &root);

	if (!err && restart && root->page_cnt > c->image_len / TWZC_PAGE)
		return TWZ_E_TRUNCATED;
	if (!err)
		err = twzc__layout(c, &layout);
	return err;
}

int twzc_recover(struct twzc *c, bool restart, bool *was_unclean)
{
	struct recovery rv;
	u32 valid;
	int err;

	*was_unclean = false;
	twzc__begin(c);
	if (c->sh->failed && !restart)
		return TWZ_E_FAILED;
	err = twzc__super_read(c, &c->super, &valid);
	/*
	 * Not ready: a recovery died half way. From the medium's tail on is right then too: all
	 * under the one lock.
	 */
	if (!err)
		err = recover_plan(c, restart || !c->sh->ready, &rv);
	if (err)
		return err;
	*was_unclean = rv.cnt != 0;
	c->sh->ready = 0;
	c->sh->generation = rv.generation;
	err = c->read_only ? recover_read_only(c, &rv) : recover_redo(c, &rv);
	if (!err)
		err = root_fits(c, restart);
	if (!err && !c->read_only)
		err = twzc__super_raise(c);
	if (err)
		return err;
	hints_reset(c);
	c->sh->failed = 0;
	c->sh->ready = 1;
	err = c->read_only ? 0 : twzc__pend_finish(c);
	if (err)
		c->sh->ready = 0;
	return err;
}

/* --- walk --- */

struct journal_visit {
	int (*fn)(void *ctx, u64 lsn, u32 item_cnt, u64 len);
	void *ctx;
};

static int rec_visit(struct twzc *c, struct twz_jrec_pm *r, void *arg)
{
	struct journal_visit *v = arg;

	(void)c;
	return v->fn(v->ctx, r->lsn, r->item_cnt, r->len);
}

int twzc_journal_walk(struct twzc *c, int (*fn)(void *ctx, u64 lsn, u32 item_cnt, u64 len),
		      void *ctx)
{
	struct journal_visit v = {fn, ctx};
	u64 tail = c->sh->tail, generation = c->sh->generation, end;
	int err = 0;

	twzc__begin(c);
	if (!c->sh->ready) {
		generation = c->super.generation;
		err = twzc__tail_read(c, &tail);
	}
	return err ? err : twzc__rec_walk(c, tail, generation, rec_visit, &v, &end);
}
