/* SPDX-License-Identifier: MIT
 * log_recover.c -- restart and takeover of a twz_log (D1, D13), walking and checking one
 *
 * Both recoveries do the same four steps and differ only in where they begin:
 *
 *	scan	find the end: the first invalid record
 *	replay	per record: make sure it is durable, then apply it
 *	settle	flush and sync the homes of everything since the tail
 *	empty	publish tail = end, then raise the generation, both durably
 *
 * A crash anywhere inside repeats the steps from the medium: until the tail moves, every record is
 * still there; afterwards there is nothing to replay, only the generation to raise.
 */
#include "log_ring.h"

#define HARDEN_LEN ((uint64_t)1 << 20) /* bytes written again at once */

struct span {
	uint64_t generation;
	uint64_t tail; /* homes before it are durable */
	uint64_t from; /* replay from here: tail (restart) or applied (takeover) */
	uint64_t end;  /* the first invalid record */
	uint64_t last; /* LSN of the last valid record, LOG_LSN_NONE */
};

static int scan(struct twz_log *l, struct span *sp)
{
	struct twz__log_iter it;
	int ret;

	sp->last = LOG_LSN_NONE;
	twz__log_iter_init(&it, &l->ring, sp->generation, sp->from, sp->tail + l->ring.ring_len);
	while ((ret = twz__log_iter_next(&it)) > 0)
		sp->last = it.lsn;
	sp->end = it.next.lsn;
	twz__log_iter_done(&it);
	return ret;
}

/*
 * The process that wrote the record may have died between writing and syncing, and a dead CPU's
 * write-backs count for nothing (D13): a record must be durable before a home changes (D4). Page
 * media: harden_blocks().
 */
static int harden(struct twz_log *l, const struct twz__log_iter *it)
{
	uint64_t off = twz__log_pos(&l->ring, it->lsn);
	int ret;

	if (!l->ring.map)
		return 0;
	ret = l->user->flush(l->user->ctx, it->lsn, it->body, it->len);
	twz_flush(l->ring.store, l->ring.map + off, it->total);
	twz_fence(l->ring.store);
	return ret < 0 ? ret : 0;
}

/*
 * Page media: what may be in a cache only is the last record, or batches that were on their way, of which no
 * byte is further from the end than the staging area is long. Exactly these bytes are written again, in
 * whole blocks (D19).
 */
static int harden_blocks(struct twz_log *l, const struct span *sp)
{
	uint64_t at = sp->end > TWZ_LOG_STAGE_LEN ? sp->end - TWZ_LOG_STAGE_LEN : 0;
	uint64_t end = twz__log_align(sp->end, TWZ_LOG_BLOCK_LEN);
	void *buf;
	int ret = 0;

	if (l->ring.map || sp->last == LOG_LSN_NONE)
		return 0;
	at = sp->last < at ? sp->last : at;
	at = (at > sp->from ? at : sp->from) / TWZ_LOG_BLOCK_LEN * TWZ_LOG_BLOCK_LEN;
	buf = aligned_alloc(TWZ_LOG_BLOCK_LEN, HARDEN_LEN);
	if (!buf)
		return twz__err(TWZ_E_NOMEM, "log %s: no memory for %llu bytes", l->ring.name,
				(unsigned long long)HARDEN_LEN);
	while (at < end && !ret) {
		uint64_t off = twz__log_pos(&l->ring, at), len = end - at,
			 room = TWZ_LOG_HEADER_LEN + l->ring.ring_len - off;

		len = len < HARDEN_LEN ? len : HARDEN_LEN;
		len = len < room ? len : room;
		ret = twz__log_read(&l->ring, off, buf, len);
		if (!ret)
			ret = twz__log_write(&l->ring, off, buf, len);
		at += len;
	}
	free(buf);
	return ret;
}

/*
 * Pads stand between records and have no homes; the whole range is flushed once so that they are
 * durable too.
 */
static void harden_pads(struct twz_log *l, const struct span *sp)
{
	uint64_t len = sp->end - sp->from;
	uint64_t off = twz__log_pos(&l->ring, sp->from);
	uint64_t room = TWZ_LOG_HEADER_LEN + l->ring.ring_len - off;

	if (!l->ring.map || !len)
		return;
	twz_flush(l->ring.store, l->ring.map + off, len < room ? len : room);
	if (len > room)
		twz_flush(l->ring.store, l->ring.map + TWZ_LOG_HEADER_LEN, len - room);
	twz_fence(l->ring.store);
}

/*
 * D2a: on cache-line media the last record and the new blocks it names became durable by one fence,
 * and that fence may be what the crash came before. Every earlier record was fenced before it. The
 * medium it was written to counts, not the one it is read from: an image may have been copied.
 */
static int is_whole(struct twz_log *l, const struct twz__log_iter *it)
{
	if (!l->user->whole || it->rec->desc & (TWZ_LOG_DESC_BLOCK | TWZ_LOG_DESC_SECTOR))
		return 1;
	return l->user->whole(l->user->ctx, it->lsn, it->body, it->len);
}

/* A last record that is not whole moves sp->end before it: the generation then forbids it (D1). */
static int replay(struct twz_log *l, struct span *sp, bool restart)
{
	struct twz__log_iter it;
	bool dropped = false;
	int ret;

	harden_pads(l, sp);
	ret = harden_blocks(l, sp);
	if (ret)
		return ret;
	twz__log_iter_init(&it, &l->ring, sp->generation, sp->from, sp->end);
	while ((ret = twz__log_iter_next(&it)) > 0) {
		ret = restart && it.lsn == sp->last ? is_whole(l, &it) : 1;
		if (ret == 0) {
			dropped = true;
			sp->end = it.lsn;
			break;
		}
		if (ret > 0)
			ret = harden(l, &it);
		if (!ret)
			ret = l->user->apply(l->user->ctx, it.lsn, it.body, it.len, restart);
		if (ret < 0)
			break;
	}
	if (ret >= 0 && !dropped && it.next.lsn != sp->end)
		ret = twz__corrupt(l->ring.name, "record %llu changed while it was being replayed",
				   (unsigned long long)it.next.lsn);
	if (ret < 0)
		ret = twz__err_in(ret, "log %s: recovery stopped at record %llu", l->ring.name,
				  (unsigned long long)it.lsn);
	twz__log_iter_done(&it);
	return ret < 0 ? ret : 0;
}

/*
 * On the medium the log is empty from END on. First the tail, where the last valid record ends, and not a byte further: what begins
 * in the next block may be a record whose predecessor was torn, and a restart that began there would take it for the first (the sum
 * before it is not asked of that one). Then the generation: raised first, a crash would drop records whose LSNs were given out. Now
 * nothing behind the tail counts any more, and it moves to where the next batch begins, which finds no gap before it.
 */
static int empty_medium(struct twz_log *l, uint64_t end, uint64_t generation, uint64_t tail)
{
	int err = twz__log_publish(&l->ring, offsetof(struct log_page_pm, tail), end);

	if (!err)
		err = twz__log_publish(&l->ring, offsetof(struct log_page_pm, generation),
				       generation);
	if (!err && tail != end)
		err = twz__log_publish(&l->ring, offsetof(struct log_page_pm, tail), tail);
	return err;
}

/* The log is empty. Its tail never goes backwards, whatever the segment says. */
static int empty(struct twz_log *l, const struct span *sp)
{
	struct twz__log_seg *seg = l->seg;
	uint64_t generation, old_tail, end, tail;
	int err;

	err = twz__log_tail_lock(l);
	if (err)
		return err;
	err = twz__log_ring_attach(&l->ring, &generation, &old_tail);
	if (err)
		goto out;
	end = old_tail > sp->end ? old_tail : sp->end;
	tail = twz__log_align(end, twz__log_ring_align(&l->ring));
	generation = (generation > seg->generation ? generation : seg->generation) + 1;
	err = empty_medium(l, end, generation, tail);
	if (err)
		goto out;
	/*
	 * Generation last: until it changes here, a takeover of this takeover finds the records
	 * again.
	 */
	seg->last_lsn = LOG_LSN_NONE;
	seg->last_sum = 0;
	seg_set(&seg->head, tail);
	seg_set(&seg->tail, tail);
	seg_set(&seg->applied, tail);
	seg_set(&seg->generation, generation);
out:
	twz__log_tail_unlock(l);
	return err;
}

static int settle_and_empty(struct twz_log *l, const struct span *sp)
{
	int err = twz__log_flush_homes(l, sp->generation, sp->tail, sp->end);

	return err ? err : empty(l, sp);
}

/* Everything is read from the medium; the segment is filled at the end. */
static int recover_restart(struct twz_log *l)
{
	struct twz__log_seg *seg = l->seg;
	struct span sp = {0};
	int err;

	if (seg_get(&seg->state) != LOG_RECOVERING ||
	    seg->owner_proc != twz_proc_self(l->ring.store) ||
	    seg->owner_incarnation != twz_proc_incarnation(l->ring.store))
		return twz__err(TWZ_E_STATE,
				"log %s: restart recovery belongs to the opener that was told so",
				l->ring.name);
	err = twz__log_ring_attach(&l->ring, &sp.generation, &sp.tail);
	sp.from = sp.tail;
	if (!err)
		err = scan(l, &sp);
	if (!err)
		err = replay(l, &sp, true);
	if (!err)
		err = settle_and_empty(l, &sp);
	if (!err)
		err = twz__log_body_sweep(l);
	if (err)
		return err;
	l->claimed = false;
	seg_set(&seg->state, LOG_READY);
	return 0;
}

/*
 * What is published is never replayed (D13). A sync that fails here cannot be repaired by trying
 * again: homes applied long ago are among the lost.
 */
static int recover_takeover(struct twz_log *l)
{
	struct twz__log_seg *seg = l->seg;
	struct span sp = {.generation = seg->generation,
			  .tail = seg_get(&seg->tail),
			  .from = seg_get(&seg->applied)};
	int err;

	if (seg_get(&seg->state) != LOG_READY)
		return twz__err(
			TWZ_E_STATE,
			"log %s has not been recovered: call twz_log_recover(log, true) first",
			l->ring.name);
	/* What was staged is in memory, and is finished from there. */
	err = twz_log_drain(l);
	sp.from = seg_get(&seg->applied);
	if (!err)
		err = scan(l, &sp);
	if (!err)
		err = replay(l, &sp, false);
	if (!err)
		err = settle_and_empty(l, &sp);
	if (err == TWZ_E_IO)
		return twz__log_fail(l, "taking over from a dead process");
	if (err)
		return err;
	twz__log_body_tidy(l, LOG_LSN_NONE);
	return 0;
}

int twz_log_recover(struct twz_log *l, bool restart)
{
	int err = twz__log_enter(l);

	if (err)
		return err;
	return restart ? recover_restart(l) : recover_takeover(l);
}

/* --- walk and check --- */

int twz_log_walk(struct twz_log *l, int (*fn)(void *ctx, uint64_t lsn, const void *rec, size_t len),
		 void *ctx)
{
	struct twz__log_ring r = l->ring;
	struct twz__log_iter it;
	uint64_t generation, tail;
	int ret;

	ret = twz__store_enter(r.store);
	if (!ret)
		ret = twz__log_ring_attach(&r, &generation, &tail);
	if (ret)
		return ret;
	twz__log_iter_init(&it, &r, generation, tail, tail + r.ring_len);
	while ((ret = twz__log_iter_next(&it)) > 0) {
		ret = fn(ctx, it.lsn, it.body, it.len);
		if (ret)
			break;
	}
	twz__log_iter_done(&it);
	return ret;
}

/* Bytes of the header page that are not the three fields. */
static bool page_is_clean(const struct log_page_pm *p)
{
	uint8_t bits = 0;

	for (size_t i = 0; i < sizeof(p->head.zero); i++)
		bits |= p->head.zero[i];
	for (size_t i = 0; i < sizeof(p->generation.zero); i++)
		bits |= p->generation.zero[i] | p->tail.zero[i];
	for (size_t i = 0; i < sizeof(p->zero); i++)
		bits |= p->zero[i];
	return !bits;
}

static int check_page(const struct twz__log_ring *r, struct twz__checker *c, const char *where)
{
	struct log_page_pm *page = aligned_alloc(TWZ_LOG_BLOCK_LEN, sizeof(*page));
	int err;

	if (!page)
		return twz__err(TWZ_E_NOMEM, "log %s: no memory for its header", r->name);
	err = twz__log_read(r, 0, page, sizeof(*page));
	if (!err && !page_is_clean(page))
		twz__found(c, where, "bytes of the header page that must be zero are not");
	free(page);
	return err;
}

/*
 * Structure only: header, ring length, reachable bodies. A record that breaks D1 is no finding, it
 * is how a log ends.
 */
int twz__check_log(struct twz_obj *o, struct twz__checker *c)
{
	char where[64];
	struct twz__log_ring r;
	struct twz__log_iter it;
	uint64_t generation, tail, magic = 0;
	int ret;

	if (!(o->flags & TWZ_OBJ_LOG) || o->kind != TWZ_LOG_KIND)
		return 0;
	ret = twz__log_ring_init(&r, o);
	snprintf(where, sizeof(where), "log %s", r.name);
	if (!ret)
		ret = twz__log_read(&r, 0, &magic, sizeof(magic));
	if (!ret && !magic)
		return 0; /* its creation was cut short: no log yet, and nobody knows its ID */
	if (!ret)
		ret = twz__log_ring_attach(&r, &generation, &tail);
	if (ret) {
		twz__found(c, where, "%s", twz_errmsg());
		return ret == TWZ_E_IO || ret == TWZ_E_NOMEM ? ret : 0;
	}
	ret = check_page(&r, c, where);
	if (ret)
		return ret;
	twz__log_iter_init(&it, &r, generation, tail, tail + r.ring_len);
	while ((ret = twz__log_iter_next(&it)) > 0)
		;
	if (ret == TWZ_E_CORRUPT)
		twz__found(c, where, "%s", twz_errmsg());
	twz__log_iter_done(&it);
	return ret == TWZ_E_CORRUPT ? 0 : ret;
}
