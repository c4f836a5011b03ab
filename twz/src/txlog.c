/* SPDX-License-Identifier: MIT
 * txlog.c -- the undo log on media: building, appending, verifying and retiring entries (format_tx.h, docs/durability.md D8)
 */
#include "txlog.h"

#include <xxhash.h>

#define NO_ENT	  SIZE_MAX
#define BUF_SMALL ((size_t)16 << 10)
#define BUF_LARGE ((size_t)1 << 20)

_Static_assert(sizeof(struct twz_txent_pm) + TWZ_TXENT_BODY_MAX <= BUF_LARGE,
	       "an entry must fit the staging buffer");

static uint64_t round_up(uint64_t v, uint64_t unit)
{
	return (v + unit - 1) / unit * unit;
}

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

/* --- derived IDs --- */

static twz_oid derive(const void *from, uint32_t n)
{
	XXH128_hash_t h = XXH3_128bits_withSeed(from, 16, TWZ_TXLOG_SEED + n);

	return (twz_oid){{h.low64, h.high64}};
}

twz_oid twz__txlog_id(const struct twz_store *s, uint32_t k)
{
	return derive(s->core.super.uuid, k);
}

twz_oid twz__txlog_overflow_id(twz_oid head, uint32_t m)
{
	return derive(&head, m);
}

bool twz__txlog_is_head(const struct twz_store *s, twz_oid id)
{
	for (uint32_t k = 0; k < TWZ_TXLOG_CNT_MAX; k++)
		if (twz_oid_eq(twz__txlog_id(s, k), id))
			return true;
	return false;
}

/* --- segments: the objects of a log --- */

static void seg_close(struct twz__txseg *seg)
{
	if (seg->obj)
		twz__obj_put(seg->obj);
	*seg = (struct twz__txseg){0};
}

static void seg_delete(struct twz_store *s, struct twz__txseg *seg)
{
	twz_oid id = seg->id;

	if (!seg->obj)
		return;
	seg_close(seg);
	if (twz__obj_delete(s, id))
		return; /* tidy only: restart, or who wants the ID again, deletes what was left */
}

static int seg_attach(struct twz_store *s, struct twz_obj *o, struct twz__txseg *seg)
{
	char id[TWZ_OID_STR_LEN];
	uint64_t run;
	int err;

	seg->obj = o;
	seg->id = twz_obj_id(o);
	seg->len = twz_obj_len(o);
	err = twz__obj_file_off(o, TWZ_DATA_OFF, &seg->file_off, &run);
	if (err)
		return err;
	twz_oid_str(seg->id, id);
	if (run < seg->len || seg->len < TWZ_TXLOG_LEN_MIN || seg->len % TWZ_PAGE_SIZE)
		return twz__corrupt(s->path, "undo log %s is not one extent of at least %u bytes",
				    id, TWZ_TXLOG_LEN_MIN);
	seg->addr = s->granularity == TWZ_GRAN_PAGE ? NULL : twz_obj_data(o);
	return 0;
}

static int seg_open(struct twz_store *s, twz_oid id, struct twz__txseg *seg)
{
	struct twz_obj *o;
	int err;

	*seg = (struct twz__txseg){0};
	err = twz__obj_get(s, id, TWZ_READ | TWZ_WRITE, &o);
	if (err)
		return err;
	err = o->flags & TWZ_OBJ_TXLOG
		      ? seg_attach(s, o, seg)
		      : twz__corrupt(s->path, "undo log links to an object that is none");
	if (err) {
		twz__obj_put(o);
		seg->obj = NULL;
	}
	return err;
}

static int seg_read(struct twz_store *s, const struct twz__txseg *seg, uint64_t off, void *buf,
		    uint64_t len)
{
	if (!seg->addr)
		return s->media->ops->read(s->media, buf, seg->file_off + off, len);
	memcpy(buf, seg->addr + off, len);
	return 0;
}

/*
 * Write log bytes; page media: durable on return; otherwise at the next fence. OFF and LEN are
 * multiples of the log's unit.
 */
static int seg_write(struct twz_store *s, const struct twz__txseg *seg, uint64_t off,
		     const void *buf, uint64_t len)
{
	if (!seg->addr)
		return s->media->ops->write_sync(s->media, buf, seg->file_off + off, len);
	twz_copy_nt(s, seg->addr + off, buf, len);
	return 0;
}

static void header_fill(struct twz_txlog_pm *h, twz_oid id, uint32_t kind)
{
	*h = (struct twz_txlog_pm){.magic = TWZ_TXLOG_MAGIC,
				   .version = TWZ_TXLOG_VERSION,
				   .kind = kind,
				   .id = {id.w[0], id.w[1]}};
	h->sum = XXH3_64bits(h, offsetof(struct twz_txlog_pm, sum));
}

/* 0 and *KIND; *KIND = 0: creation never finished. */
static int header_check(struct twz_store *s, const struct twz_txlog_pm *h, uint64_t retired,
			twz_oid id, uint32_t *kind)
{
	char str[TWZ_OID_STR_LEN];

	*kind = 0;
	twz_oid_str(id, str);
	if (h->magic != TWZ_TXLOG_MAGIC ||
	    h->sum != XXH3_64bits(h, offsetof(struct twz_txlog_pm, sum)))
		return retired ? twz__corrupt(s->path, "header of undo log %s does not hold", str)
			       : 0;
	if (h->version != TWZ_TXLOG_VERSION)
		return twz__err(TWZ_E_VERSION,
				"%s: undo log %s has format version %u, this build knows %u",
				s->path, str, h->version, TWZ_TXLOG_VERSION);
	if (h->incompat || h->ro_compat)
		return twz__err(TWZ_E_FEATURE,
				"%s: undo log %s needs features %x/%x not known here", s->path, str,
				h->incompat, h->ro_compat);
	if (h->id[0] != id.w[0] || h->id[1] != id.w[1] || h->must_be_zero || h->must_be_zero2 ||
	    (h->kind != TWZ_TXLOG_HEAD && h->kind != TWZ_TXLOG_OVERFLOW))
		return twz__corrupt(s->path,
				    "header of undo log %s names another object or an unknown kind",
				    str);
	*kind = h->kind;
	return 0;
}

/*
 * A new overflow object. One that has the ID was left by somebody who died: it goes first, for
 * the new one must read as zeros, not as entries. TWZ_E_EXIST: a deleted one still has the ID
 * because a process has it open.
 */
static int seg_create(struct twz_store *s, twz_oid id, uint64_t len, struct twz__txseg *seg)
{
	struct twz_obj_options opt = {.size = sizeof(opt),
				      .len = len,
				      .flags = TWZ_OBJ_TXLOG | TWZ_OBJ_CONTIGUOUS,
				      .kind = TWZ_TXLOG_OVERFLOW,
				      .id = id};
	uint8_t page[TWZ_PAGE_SIZE] __attribute__((aligned(4096))) = {0};
	struct twz_obj *o;
	int err;

	*seg = (struct twz__txseg){0};
	err = twz_obj_create(s, &opt, NULL, &o);
	if (err == TWZ_E_EXIST && !twz__obj_delete(s, id))
		err = twz_obj_create(s, &opt, NULL, &o);
	if (err)
		return err;
	err = seg_attach(s, o, seg);
	header_fill((struct twz_txlog_pm *)page, id, TWZ_TXLOG_OVERFLOW);
	if (!err)
		err = seg_write(s, seg, 0, page, sizeof(page));
	twz_fence(s);
	if (err) {
		seg->obj = o;
		seg->id = id;
		seg_delete(s, seg);
	}
	return err;
}

int twz__txlog_kind(struct twz_store *s, twz_oid id, uint32_t *kind)
{
	uint8_t page[1024];
	struct twz__txseg seg;
	struct twz_txretire_pm word;
	int err;

	*kind = 0;
	err = seg_open(s, id, &seg);
	if (err)
		return err;
	err = seg_read(s, &seg, 0, page, sizeof(page));
	memcpy(&word, page + TWZ_TXLOG_RETIRE_OFF, sizeof(word));
	if (!err)
		err = header_check(s, (const struct twz_txlog_pm *)page, word.word, id, kind);
	seg_close(&seg);
	return err;
}

/* --- handles --- */

static void log_reset(struct twz__txlog *l)
{
	l->seq = 0;
	l->tail_off = TWZ_TXLOG_ENT_OFF;
	l->sum = twz__txent_seed(l->segs[0].id, l->generation);
	l->undo_cnt = 0;
	l->buf_len = 0;
	l->open_ent = NO_ENT;
}

static int log_new(struct twz_store *s, struct twz__txlog **out)
{
	struct twz__txlog *l = calloc(1, sizeof(*l));

	*out = NULL;
	if (l) {
		l->store = s;
		l->unit = s->granularity == TWZ_GRAN_PAGE ? TWZ_PAGE_SIZE : TWZ_TXLOG_ALIGN;
		l->segs = calloc(4, sizeof(*l->segs));
		l->seg_cap = 4;
		l->page = aligned_alloc(TWZ_PAGE_SIZE, TWZ_PAGE_SIZE);
		l->buf = aligned_alloc(TWZ_PAGE_SIZE, BUF_SMALL);
		l->buf_cap = BUF_SMALL;
	}
	if (!l || !l->segs || !l->page || !l->buf) {
		if (l)
			twz__txlog_close(l);
		return twz__err(TWZ_E_NOMEM, "%s: no memory for an undo log", s->path);
	}
	*out = l;
	return 0;
}

void twz__txlog_close(struct twz__txlog *l)
{
	if (!l)
		return;
	while (l->seg_cnt > 1 && l->seq)
		seg_close(&l->segs[--l->seg_cnt]); /* not retired: its rollback will need them */
	while (l->seg_cnt > 1)
		seg_delete(l->store, &l->segs[--l->seg_cnt]);
	seg_delete(l->store, &l->spare);
	if (l->seg_cnt)
		seg_close(&l->segs[0]);
	free(l->segs);
	free(l->undo);
	free(l->buf);
	free(l->page);
	free(l);
}

int twz__txlog_make(struct twz_store *s, uint32_t k)
{
	struct twz_obj_options opt = {.size = sizeof(opt),
				      .len = TWZ__TXLOG_HEAD_LEN,
				      .flags = TWZ_OBJ_TXLOG | TWZ_OBJ_CONTIGUOUS,
				      .kind = TWZ_TXLOG_HEAD,
				      .id = twz__txlog_id(s, k)};
	int err = twz_obj_create(s, &opt, NULL, NULL);

	return err == TWZ_E_EXIST ? 0 : err;
}

int twz__txlog_sweep(struct twz_store *s, twz_oid head)
{
	struct twz_obj_stat st = {.size = sizeof(st)};
	uint32_t missing = 0;
	int err, rc = 0;

	for (uint32_t m = 1; missing < TWZ_TXLOG_GAP; m++) {
		twz_oid id = twz__txlog_overflow_id(head, m);

		err = twz_obj_stat_id(s, id, &st);
		if (!err) {
			missing = 0;
			err = twz__obj_delete(s, id);
		} else {
			missing++;
		}
		if (err && err != TWZ_E_NOENT)
			rc = err;
	}
	return rc;
}

/* A header that was never written has no entries behind it: anything else was damaged. */
static int header_make(struct twz__txlog *l)
{
	struct twz__txseg *head = &l->segs[0];
	struct twz_txent_pm e;
	char id[TWZ_OID_STR_LEN];
	int err = seg_read(l->store, head, TWZ_TXLOG_ENT_OFF, &e, sizeof(e));

	if (!err && e.magic == TWZ_TXENT_MAGIC)
		err = twz__corrupt(l->store->path, "header of undo log %s does not hold",
				   twz_oid_str(head->id, id));
	if (err)
		return err;
	memset(l->page, 0, TWZ_PAGE_SIZE);
	header_fill((struct twz_txlog_pm *)l->page, head->id, TWZ_TXLOG_HEAD);
	err = seg_write(l->store, head, 0, l->page, TWZ_PAGE_SIZE);
	twz_fence(l->store);
	return err;
}

/* Read header and retirement word of the head; a header that was never finished is written. */
static int log_load(struct twz__txlog *l)
{
	struct twz_store *s = l->store;
	struct twz__txseg *head = &l->segs[0];
	struct twz_txretire_pm word;
	uint64_t retired;
	uint32_t kind;
	int err;

	err = seg_read(s, head, 0, l->page, TWZ_PAGE_SIZE);
	if (err)
		return err;
	memcpy(&word, l->page + TWZ_TXLOG_RETIRE_OFF, sizeof(word));
	err = header_check(s, (const struct twz_txlog_pm *)l->page, word.word, head->id, &kind);
	if (err)
		return err;
	if (kind == TWZ_TXLOG_OVERFLOW)
		return twz__corrupt(s->path, "undo log registered as a head is an overflow object");
	if (!twz__txretire_generation(head->id, word.word, &retired) || retired > TWZ_TXLOG_GEN_MAX)
		return twz__corrupt(s->path, "retirement word %016llx of an undo log is damaged",
				    (unsigned long long)word.word);
	if (!kind)
		err = header_make(l);
	l->generation = retired + 1;
	log_reset(l);
	return err;
}

int twz__txlog_open(struct twz_store *s, twz_oid id, struct twz__txlog **out)
{
	struct twz__txlog *l;
	int err = log_new(s, &l);

	*out = NULL;
	if (err)
		return err;
	err = seg_open(s, id, &l->segs[0]);
	if (!err) {
		l->seg_cnt = 1;
		err = log_load(l);
	}
	if (err) {
		twz__txlog_close(l);
		return err;
	}
	/*
	 * D13: whoever stored header or retirement word may have died before the fence. We
	 * believe them, so they must be durable before a new entry stands behind the one and
	 * overwrites those the other voids. (Page media: a synchronous write is finished by the
	 * kernel, killed or not.)
	 */
	if (l->segs[0].addr)
		twz_persist(s, l->segs[0].addr, TWZ_TXLOG_RETIRE_OFF + sizeof(uint64_t));
	*out = l;
	return 0;
}

static int segs_reserve(struct twz__txlog *l)
{
	struct twz__txseg *segs;

	if (l->seg_cnt < l->seg_cap)
		return 0;
	segs = realloc(l->segs, 2 * l->seg_cap * sizeof(*segs));
	if (!segs)
		return twz__err(TWZ_E_NOMEM, "%s: no memory for an undo log", l->store->path);
	l->segs = segs;
	l->seg_cap *= 2;
	return 0;
}

/* --- appending --- */

static struct twz__txseg *tail_seg(struct twz__txlog *l)
{
	return &l->segs[l->seg_cnt - 1];
}

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
	err = seg_write(l->store, tail_seg(l), l->tail_off, l->buf, len);
	l->tail_off += len;
	l->buf_len = 0;
	if (!err)
		mark_written(l);
	return err;
}

static bool in_chain(const struct twz__txlog *l, twz_oid id)
{
	for (uint32_t i = 0; i < l->seg_cnt; i++)
		if (twz_oid_eq(l->segs[i].id, id))
			return true;
	return false;
}

/* Make overflow object ID, smaller than LEN if there is no such piece. */
static int overflow_make(struct twz__txlog *l, twz_oid id, uint64_t len, struct twz__txseg *seg)
{
	int err;

	do {
		err = seg_create(l->store, id, len, seg);
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

		if (!in_chain(l, id))
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

	err = segs_reserve(l);
	if (!err)
		err = overflow_get(l, want, &seg);
	if (err)
		return err;
	ent_start(l, TWZ_TXENT_LINK, batch, seg.id, 0, 0);
	seal(l, TWZ_TXLOG_ENT_OFF);
	err = emit(l);
	if (err) {
		seg_close(&seg); /* not deleted: the link may have reached the medium */
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

static int undo_push(struct twz__txlog *l, struct twz__undo u)
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
	err = undo_push(l, u);
	if (err)
		return err;
	memcpy(ent_start(l, TWZ_TXENT_DATA, batch, r->id, u.off, len), u.addr, len);
	*done += len;
	return 0;
}

static void buf_grow(struct twz__txlog *l, const struct twz__txrange *ranges, size_t cnt)
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
	buf_grow(l, ranges, cnt);
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
	return seg_read(l->store, &l->segs[u->seg], (uint64_t)u->pos + at, buf, len);
}

/* --- retiring --- */

/*
 * Overflow objects of an ended transaction: delete from the last on, so that no gap arises; keep
 * the first if of moderate size.
 */
static void drop_overflow(struct twz__txlog *l)
{
	while (l->seg_cnt > 1) {
		struct twz__txseg *seg = tail_seg(l);

		if (l->seg_cnt == 2 && !l->spare.obj && seg->len <= TWZ__TXLOG_SPARE_MAX) {
			l->spare = *seg;
			*seg = (struct twz__txseg){0};
		} else {
			seg_delete(l->store, seg);
		}
		l->seg_cnt--;
	}
}

int twz__txlog_retire(struct twz__txlog *l, bool force)
{
	struct twz__txseg *head = &l->segs[0];
	uint64_t word = twz__txretire_word(head->id, l->generation);
	int err = 0;

	if (!l->seq && !force)
		return 0;
	/*
	 * COMMIT POINT (D8): from the moment this word is on the medium, every entry of the
	 * transaction is void.
	 */
	if (head->addr) {
		twz_publish64(l->store, (uint64_t *)(head->addr + TWZ_TXLOG_RETIRE_OFF), word);
	} else {
		memcpy(l->page + TWZ_TXLOG_RETIRE_OFF, &word, sizeof(word));
		err = seg_write(l->store, head, 0, l->page, TWZ_PAGE_SIZE);
	}
	if (err)
		return err;
	drop_overflow(l);
	l->generation++;
	log_reset(l);
	return 0;
}

/* --- scanning --- */

/*
 * Behind the end of the valid entries at POS: does a header of a batch stand there that was
 * written after SEQ was durable?
 */
static int scan_beyond(struct twz__txlog *l, uint64_t pos, uint32_t seq)
{
	struct twz__txseg *seg = tail_seg(l);
	const char *why;
	int err;

	for (uint64_t at = pos; at + sizeof(struct twz_txent_pm) <= seg->len;) {
		uint64_t len = seg->len - at < BUF_SMALL ? seg->len - at : BUF_SMALL;

		err = seg_read(l->store, seg, at, l->buf, len);
		if (err)
			return err;
		for (uint64_t i = 0; i + sizeof(struct twz_txent_pm) <= len; i += TWZ_TXLOG_ALIGN) {
			const struct twz_txent_pm *e = (const struct twz_txent_pm *)(l->buf + i);

			if (e->magic != TWZ_TXENT_MAGIC ||
			    !twz__txent_is_placed(e, seg->id, at + i, seg->len, l->generation,
						  e->seq, &why))
				continue;
			l->dirty = true;
			if (e->batch > seq)
				return twz__corrupt(
					l->store->path,
					"undo log entry %u is damaged although entry %u was written after it",
					seq, e->seq);
		}
		at += len;
	}
	return 0;
}

/* Read and verify the entry at POS: 1 = valid, 0 = end of the log, negative = error. */
static int scan_one(struct twz__txlog *l, uint64_t pos, struct twz_txent_pm *e)
{
	struct twz__txseg *seg = tail_seg(l);
	const char *why;
	int err;

	if (pos + sizeof(*e) > seg->len)
		return 0;
	err = seg_read(l->store, seg, pos, e, sizeof(*e));
	if (err)
		return err;
	if (!twz__txent_is_placed(e, seg->id, pos, seg->len, l->generation, l->seq + 1, &why))
		return 0;
	err = e->len ? seg_read(l->store, seg, pos + sizeof(*e), l->buf, e->len) : 0;
	if (err)
		return err;
	return e->sum == twz__txent_sum(e, l->buf, l->sum);
}

/*
 * Follow a link entry. A damaged target ends in TWZ_E_CORRUPT: the link is valid, so the object
 * was there.
 */
static int scan_link(struct twz__txlog *l, const struct twz_txent_pm *e)
{
	twz_oid id = {{e->id[0], e->id[1]}};
	uint32_t kind;
	int err;

	if (in_chain(l, id))
		return twz__corrupt(l->store->path, "undo log links back to itself");
	err = segs_reserve(l);
	if (!err)
		err = twz__txlog_kind(l->store, id, &kind);
	if (!err && kind != TWZ_TXLOG_OVERFLOW)
		err = twz__corrupt(l->store->path,
				   "undo log links to an object that is no overflow object");
	if (!err)
		err = seg_open(l->store, id, &l->segs[l->seg_cnt]);
	if (err == TWZ_E_NOENT)
		return twz__corrupt(l->store->path,
				    "undo log links to an object that does not exist");
	if (!err)
		l->seg_cnt++;
	return err;
}

int twz__txlog_scan(struct twz__txlog *l)
{
	struct twz_txent_pm e;
	uint64_t pos = TWZ_TXLOG_ENT_OFF;
	int err;

	buf_grow(l, &(struct twz__txrange){.len = BUF_LARGE}, 1);
	if (l->buf_cap < BUF_LARGE)
		return twz__err(TWZ_E_NOMEM, "%s: no memory to read an undo log", l->store->path);
	log_reset(l);
	l->dirty = false;
	while ((err = scan_one(l, pos, &e)) > 0) {
		l->seq++;
		l->sum = e.sum;
		l->dirty = true;
		if (e.kind == TWZ_TXENT_LINK)
			err = scan_link(l, &e);
		else
			err = undo_push(l, (struct twz__undo){.id = {{e.id[0], e.id[1]}},
							      .off = e.off,
							      .len = e.len,
							      .seg = l->seg_cnt - 1,
							      .pos = (uint32_t)(pos + sizeof(e))});
		if (err)
			return err;
		pos = e.next_off;
	}
	l->tail_off = pos;
	return err ? err : scan_beyond(l, pos, l->seq + 1);
}
