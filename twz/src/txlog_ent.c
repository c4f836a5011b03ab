/* SPDX-License-Identifier: MIT
 * txlog_ent.c -- the undo log on media: building, verifying and appending entries
 * (format_tx.h, docs/durability.md D8)
 */
#include "txlog_int.h"

#include <xxhash.h>

_Static_assert(sizeof(struct twz_txent_pm) + TWZ_TXENT_BODY_MAX <= BUF_LARGE,
	       "an entry must fit the staging buffer");

/* --- entries and words as pure functions --- */

uint64_t twz__txent_seed(twz_oid head, uint64_t generation)
{
	return XXH3_64bits_withSeed(&head, sizeof(head), generation);
}

uint32_t twz__txent_head_sum(const struct twz_txent_pm *e, twz_oid log, uint64_t pos)
{
	uint64_t seed = XXH3_64bits_withSeed(&log, sizeof(log), pos);

	return (uint32_t)XXH3_64bits_withSeed(e, offsetof(struct twz_txent_pm, head_sum), seed);
}

uint64_t twz__txent_sum(const struct twz_txent_pm *e, const void *body, uint64_t seed)
{
	uint64_t sum = XXH3_64bits_withSeed(e, offsetof(struct twz_txent_pm, sum), seed);

	return e->len ? XXH3_64bits_withSeed(body, e->len, sum) : sum;
}

bool twz__txent_is_placed(const struct twz_txent_pm *e, twz_oid log, uint64_t pos, uint64_t len,
			  uint64_t generation, uint32_t seq, const char **why)
{
	uint64_t end = pos + sizeof(*e) + e->len;

	*why = NULL;
	if (e->magic != TWZ_TXENT_MAGIC ||
	    (e->kind != TWZ_TXENT_DATA && e->kind != TWZ_TXENT_LINK) ||
	    e->head_sum != twz__txent_head_sum(e, log, pos))
		*why = "entry header does not hold";
	else if (e->generation != generation)
		*why = "entry of another generation";
	else if (e->seq != seq || !e->batch || e->batch > seq)
		*why = "entry out of sequence";
	else if (end > len || e->len > TWZ_TXENT_BODY_MAX)
		*why = "entry reaches past the end of the log";
	else if (e->kind == TWZ_TXENT_LINK ? e->next_off != TWZ_TXLOG_ENT_OFF || e->len
					   : e->next_off < end || e->next_off > len || !e->len)
		*why = "entry has an impossible successor or length";
	else if (e->next_off % TWZ_TXLOG_ALIGN)
		*why = "successor is not aligned";
	return !*why;
}

uint64_t twz__txretire_word(twz_oid head, uint64_t generation)
{
	return generation << 16 | (twz__txent_seed(head, generation) & 0xffff);
}

bool twz__txretire_generation(twz_oid head, uint64_t word, uint64_t *generation)
{
	*generation = word >> 16;
	return !word || word == twz__txretire_word(head, *generation);
}

/* --- appending --- */

/* Give the entry still open in the buffer its successor and checksums. */
static void seal(struct twz__txlog *l, uint64_t next_off)
{
	struct twz_txent_pm *e = (struct twz_txent_pm *)(l->buf + l->open_ent);

	e->next_off = (uint32_t)next_off;
	e->head_sum = twz__txent_head_sum(e, tail_seg(l)->id, l->tail_off + l->open_ent);
	e->sum = twz__txent_sum(e, e + 1, l->sum);
	l->sum = e->sum;
	l->open_ent = NO_ENT;
}

static void mark_written(struct twz__txlog *l)
{
	l->written.seq = l->seq;
	l->written.sum = l->sum;
	l->written.undo_cnt = l->undo_cnt;
}

/*
 * Write the buffer to the tail, filled up to the log's unit so that no block is written twice
 * (D19).
 */
static int emit(struct twz__txlog *l)
{
	uint64_t len = round_up(l->buf_len, l->unit);
	int err;

	if (!l->buf_len)
		return 0;
	memset(l->buf + l->buf_len, 0, len - l->buf_len);
	if (l->open_ent != NO_ENT)
		seal(l, l->tail_off + len);
	err = twz__txseg_write(l->store, tail_seg(l), l->tail_off, l->buf, len);
	l->tail_off += len;
	l->buf_len = 0;
	if (!err)
		mark_written(l);
	return err;
}

/* Make overflow object ID, smaller than LEN if there is no such piece. */
static int overflow_make(struct twz__txlog *l, twz_oid id, uint64_t len, struct twz__txseg *seg)
{
	int err;

	do {
		err = twz__txseg_create(l->store, id, len, seg);
		len = len / 2 &
		      ~(TWZ_PAGE_SIZE - 1); /* a smaller contiguous piece may still be there */
	} while (err == TWZ_E_NOSPC && len >= TWZ__TXLOG_HEAD_LEN);
	return err;
}

static int overflow_get(struct twz__txlog *l, uint64_t want, struct twz__txseg *seg)
{
	uint64_t len = round_up(want + want / 4, TWZ_CHUNK_SIZE / 8);
	int err = TWZ_E_EXIST;

	if (l->spare.obj) {
		*seg = l->spare;
		l->spare.obj = NULL;
		return 0;
	}
	if (len < 4 * TWZ__TXLOG_HEAD_LEN)
		len = 4 * TWZ__TXLOG_HEAD_LEN;
	if (len > TWZ__TXLOG_OVERFLOW_MAX)
		len = TWZ__TXLOG_OVERFLOW_MAX;
	/* An ID is passed over while a checker has the deleted object open. */
	for (uint32_t i = 0; i < TWZ_TXLOG_GAP && err == TWZ_E_EXIST; i++) {
		twz_oid id = twz__txlog_overflow_id(l->segs[0].id, l->seg_cnt + i);

		if (!twz__txlog_in_chain(l, id))
			err = overflow_make(l, id, len, seg);
	}
	return err == TWZ_E_EXIST
		       ? twz__err(
				 TWZ_E_BUSY,
				 "%s: the objects of an undo log are still open elsewhere: try again",
				 l->store->path)
		       : err;
}

/* Start an entry in the buffer; returns where its body goes. */
static uint8_t *ent_start(struct twz__txlog *l, uint32_t kind, uint32_t batch, twz_oid id,
			  uint32_t off, uint32_t len)
{
	struct twz_txent_pm *e;

	l->buf_len = round_up(l->buf_len, TWZ_TXLOG_ALIGN);
	if (l->open_ent != NO_ENT)
		seal(l, l->tail_off + l->buf_len);
	e = (struct twz_txent_pm *)(l->buf + l->buf_len);
	*e = (struct twz_txent_pm){.magic = TWZ_TXENT_MAGIC,
				   .kind = kind,
				   .generation = l->generation,
				   .seq = ++l->seq,
				   .batch = batch,
				   .id = {id.w[0], id.w[1]},
				   .off = off,
				   .len = len};
	l->open_ent = l->buf_len;
	l->buf_len += sizeof(*e) + len;
	memset(l->buf + l->buf_len, 0, round_up(l->buf_len, TWZ_TXLOG_ALIGN) - l->buf_len);
	return (uint8_t *)(e + 1);
}

/* Continue the log in a new object: link entry, then its segment becomes the tail. */
static int link_overflow(struct twz__txlog *l, uint32_t batch, uint64_t want)
{
	struct twz__txseg seg;
	int err;

	err = twz__txlog_segs_reserve(l);
	if (!err)
		err = overflow_get(l, want, &seg);
	if (err)
		return err;
	ent_start(l, TWZ_TXENT_LINK, batch, seg.id, 0, 0);
	seal(l, TWZ_TXLOG_ENT_OFF);
	err = emit(l);
	if (err) {
		twz__txseg_close(&seg); /* not deleted: the link may have reached the medium */
		return err;
	}
	l->segs[l->seg_cnt++] = seg;
	l->tail_off = TWZ_TXLOG_ENT_OFF;
	return 0;
}

/* Bytes the tail segment still takes, header included: one unit at its end is kept for the link. */
static uint64_t seg_room(struct twz__txlog *l)
{
	uint64_t pos = l->tail_off + round_up(l->buf_len, TWZ_TXLOG_ALIGN);
	uint64_t end = tail_seg(l)->len - l->unit;

	return pos < end ? end - pos : 0;
}

int twz__txlog_undo_push(struct twz__txlog *l, struct twz__undo u)
{
	struct twz__undo *p;
	size_t cap = l->undo_cap ? 2 * l->undo_cap : 64;

	if (l->undo_cnt == l->undo_cap) {
		p = realloc(l->undo, cap * sizeof(*p));
		if (!p)
			return twz__err(TWZ_E_NOMEM, "%s: no memory for a transaction",
					l->store->path);
		l->undo = p;
		l->undo_cap = cap;
	}
	l->undo[l->undo_cnt++] = u;
	return 0;
}

/* Save as much of R, from byte DONE on, as fits here; *DONE advances. */
static int append_piece(struct twz__txlog *l, const struct twz__txrange *r, uint32_t batch,
			uint32_t *done)
{
	uint32_t len = r->len - *done, head = sizeof(struct twz_txent_pm);
	uint64_t room = seg_room(l), buf_room;
	struct twz__undo u;
	int err;

	if (room < head + TWZ_TXLOG_ALIGN)
		return link_overflow(l, batch, (uint64_t)len + len / 16);
	if (len > TWZ_TXENT_BODY_MAX)
		len = TWZ_TXENT_BODY_MAX;
	if (len > room - head)
		len = (uint32_t)(room - head);
	buf_room = l->buf_cap - round_up(l->buf_len, TWZ_TXLOG_ALIGN);
	if (round_up((uint64_t)head + len, TWZ_TXLOG_ALIGN) > buf_room) {
		if (l->buf_len)
			return emit(l);
		len = (uint32_t)(buf_room - head);
	}
	u = (struct twz__undo){.addr = (uint8_t *)(uintptr_t)r->addr + *done,
			       .id = r->id,
			       .off = r->off + *done,
			       .len = len};
	u.seg = l->seg_cnt - 1;
	u.pos = (uint32_t)(l->tail_off + round_up(l->buf_len, TWZ_TXLOG_ALIGN) + head);
	err = twz__txlog_undo_push(l, u);
	if (err)
		return err;
	memcpy(ent_start(l, TWZ_TXENT_DATA, batch, r->id, u.off, len), u.addr, len);
	*done += len;
	return 0;
}

void twz__txlog_buf_grow(struct twz__txlog *l, const struct twz__txrange *ranges, size_t cnt)
{
	uint64_t total = 0;
	uint8_t *buf;

	for (size_t i = 0; i < cnt; i++)
		total += ranges[i].len + 2 * sizeof(struct twz_txent_pm);
	if (total <= BUF_SMALL || l->buf_cap == BUF_LARGE)
		return;
	buf = aligned_alloc(TWZ_PAGE_SIZE, BUF_LARGE);
	if (!buf)
		return; /* more, smaller pieces do as well */
	free(l->buf);
	l->buf = buf;
	l->buf_cap = BUF_LARGE;
}

int twz__txlog_append(struct twz__txlog *l, const struct twz__txrange *ranges, size_t cnt)
{
	uint32_t batch = l->seq + 1;
	int err = 0;

	if (!cnt)
		return 0;
	if (l->seq > UINT32_MAX - (1U << 24))
		return twz__err(TWZ_E_TOOBIG,
				"%s: a transaction takes at most %u records: commit it",
				l->store->path, UINT32_MAX - (1U << 24));
	twz__txlog_buf_grow(l, ranges, cnt);
	mark_written(l);
	for (size_t i = 0; i < cnt && !err; i++)
		for (uint32_t done = 0; done < ranges[i].len && !err;)
			err = append_piece(l, &ranges[i], batch, &done);
	if (!err)
		err = emit(l);
	twz_fence(
		/*
		 * D8: the entries are durable before the store they cover (page media:
		 * write_sync did it)
		 */
		l->store);
	if (!err)
		return 0;
	/*
	 * What was written names bytes that will not change: it stays. What is only in the
	 * buffer is forgotten.
	 */
	l->seq = l->written.seq;
	l->sum = l->written.sum;
	l->undo_cnt = l->written.undo_cnt;
	l->buf_len = 0;
	l->open_ent = NO_ENT;
	return err;
}

int twz__txlog_read(struct twz__txlog *l, const struct twz__undo *u, uint32_t at, void *buf,
		    uint32_t len)
{
	return twz__txseg_read(l->store, &l->segs[u->seg], (uint64_t)u->pos + at, buf, len);
}
