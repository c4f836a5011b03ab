/* SPDX-License-Identifier: MIT
 * arena.c -- planning changes to an arena: boundary tags, size classes (format_alloc.h)
 */
#include "arena.h"
#include "tx_internal.h"

#include <assert.h>
#include <xxhash.h>

#define WORD_OFF(unit, field)                                                                      \
	((unit)*TWZ_ARENA_UNIT + (uint32_t)offsetof(struct twz_free_pm, field))
#define HEAD_OFF(a, field)                                                                         \
	((a)->start * TWZ_ARENA_UNIT + (uint32_t)offsetof(struct twz_arena_pm, field))
#define SEARCH_MAX 16 /* blocks of the wanted class looked at before a larger class is taken */

static int corrupt(const struct twz__arena *a, uint32_t at, const char *why)
{
	char id[TWZ_OID_STR_LEN];

	return twz__corrupt(a->o->store->path, "arena of object %s, offset %llu: %s",
			    twz_oid_str(a->o->id, id), (unsigned long long)at * TWZ_ARENA_UNIT,
			    why);
}

/* --- the plan's words --- */

uint32_t twz__arena_rd(const struct twz__arena *a, uint32_t off)
{
	for (uint32_t i = a->cnt; i-- > 0;)
		if (a->word[i].off == off)
			return a->word[i].val;
	return *(const uint32_t *)(a->base + off);
}

static void wr(struct twz__arena *a, uint32_t off, uint32_t val)
{
	for (uint32_t i = 0; i < a->cnt; i++) {
		if (a->word[i].off == off) {
			a->word[i].val = val;
			return;
		}
	}
	assert(a->cnt < ARENA_WORD_MAX);
	a->word[a->cnt++] = (struct twz__arena_word){off, val};
}

static int by_off(const void *x, const void *y)
{
	const struct twz__arena_word *a = x, *b = y;

	return a->off < b->off ? -1 : a->off > b->off;
}

size_t twz__arena_ranges(struct twz__arena *a, struct twz_range *out)
{
	size_t n = 0;

	qsort(a->word, a->cnt, sizeof(a->word[0]), by_off);
	for (uint32_t i = 0; i < a->cnt; i++) {
		uint8_t *addr = a->base + a->word[i].off;

		/*
		 * Only words that touch: a byte between two of them may be another
		 * transaction's.
		 */
		if (n && (uint8_t *)out[n - 1].addr + out[n - 1].len == addr)
			out[n - 1].len += sizeof(uint32_t);
		else
			out[n++] = (struct twz_range){addr, sizeof(uint32_t)};
	}
	return n;
}

void twz__arena_apply(const struct twz__arena *a)
{
	for (uint32_t i = 0; i < a->cnt; i++)
		*(uint32_t *)(a->base + a->word[i].off) = a->word[i].val;
}

/* --- header --- */

uint64_t twz__arena_meta_word(twz_oid id, uint32_t off)
{
	return XXH3_64bits_withSeed(&id, sizeof(id), off) << 32 | off;
}

static uint64_t header_sum(const struct twz_arena_pm *h, twz_oid id)
{
	return XXH3_64bits_withSeed(h, offsetof(struct twz_arena_pm, sum), id.w[0]);
}

uint32_t twz__arena_end(const struct twz__arena *a)
{
	return twz__arena_rd(a, HEAD_OFF(a, end));
}

static int header_check(struct twz__arena *a, const struct twz_arena_pm *h)
{
	uint64_t data_end = (TWZ_DATA_OFF + a->o->len) / TWZ_ARENA_UNIT;

	if (h->magic != TWZ_ARENA_MAGIC || h->sum != header_sum(h, a->o->id) ||
	    h->start != a->start)
		return corrupt(a, a->start, "arena header does not hold");
	if (h->version != TWZ_ARENA_VERSION)
		return twz__err(TWZ_E_VERSION,
				"%s: arena has format version %u, this build knows %u",
				a->o->store->path, h->version, TWZ_ARENA_VERSION);
	if (h->incompat || h->ro_compat)
		return twz__err(TWZ_E_FEATURE, "%s: arena needs features %x/%x not known here",
				a->o->store->path, h->incompat, h->ro_compat);
	if (h->end > data_end || h->end < a->first + 3 || h->used_units > h->end - a->first)
		return corrupt(a, a->start, "arena reaches past its object or is too small");
	return 0;
}

int twz__arena_open(struct twz_obj *o, struct twz__arena *a)
{
	const struct twz_meta_pm *meta = o->meta;
	uint64_t word = __atomic_load_n(&meta->user[TWZ_ARENA_META_IDX], __ATOMIC_ACQUIRE);
	uint32_t off = (uint32_t)word;

	a->o = o;
	a->base = (uint8_t *)o->base;
	a->cnt = 0;
	a->start = off / TWZ_ARENA_UNIT;
	a->first = a->start + sizeof(struct twz_arena_pm) / TWZ_ARENA_UNIT;
	if (!word)
		return twz__err(TWZ_E_NOENT,
				"%s: the object has no arena: call twz_arena_create first",
				o->store->path);
	if (o->unmapped)
		return corrupt(a, a->start, "an arena in a log");
	if (word != twz__arena_meta_word(o->id, off) || off % 64 || off < TWZ_DATA_OFF ||
	    off + sizeof(struct twz_arena_pm) > TWZ_DATA_OFF + o->len)
		return corrupt(a, a->start, "the meta page's arena word does not hold");
	return header_check(a, (const struct twz_arena_pm *)(a->base + off));
}

int twz__arena_follow(struct twz_obj *o)
{
	const struct twz_meta_pm *meta = o->meta;
	uint32_t off = (uint32_t)__atomic_load_n(&meta->user[TWZ_ARENA_META_IDX], __ATOMIC_ACQUIRE);
	uint64_t mapped = TWZ_DATA_OFF + o->len;
	const struct twz_arena_pm *h = (const struct twz_arena_pm *)(o->base + off);

	if (!off || o->unmapped) /* twz__arena_open() says what is wrong with the latter */
		return 0;
	/*
	 * Reading the header of a damaged arena is safe anywhere inside the data; what it says
	 * is checked when it is opened.
	 */
	if (off >= TWZ_DATA_OFF && off % 64 == 0 && off + sizeof(*h) <= mapped &&
	    (uint64_t)h->end * TWZ_ARENA_UNIT <= mapped)
		return 0;
	return twz_obj_refresh(o);
}

int twz__arena_read_lock(struct twz_obj *o, bool *held)
{
	int err;

	if (o->store->watch) { /* checksums tell what is half-changed */
		*held = true;
		return twz__arena_follow(o);
	}
	err = twz_obj_lock(o, TWZ__TX_LOCK_MS);
	*held = err == TWZ_E_STATE;
	if (err && !*held)
		return err;
	err = twz__arena_follow(o);
	if (err && !*held)
		twz_obj_unlock(o);
	return err;
}

/* --- blocks --- */

uint32_t twz__block_sum(const struct twz__block *b)
{
	uint32_t w[3] = {b->size, b->prev_size, b->state};

	return (uint32_t)XXH3_64bits_withSeed(w, sizeof(w), b->at);
}

int twz__arena_block(const struct twz__arena *a, uint32_t at, struct twz__block *b)
{
	uint32_t end = twz__arena_end(a);
	bool is_end;

	*b = (struct twz__block){.at = at};
	if (at < a->first || at >= end)
		return corrupt(a, at, "block outside the arena");
	b->size = twz__arena_rd(a, WORD_OFF(at, block.size));
	b->prev_size = twz__arena_rd(a, WORD_OFF(at, block.prev_size));
	b->state = twz__arena_rd(a, WORD_OFF(at, block.state));
	if (twz__arena_rd(a, WORD_OFF(at, block.sum)) != twz__block_sum(b))
		return corrupt(a, at, "block header does not hold");
	is_end = b->state == TWZ_BLOCK_END;
	if (is_end ? b->size != 1 || at != end - 1 : b->size < 2 || b->size > end - 1 - at)
		return corrupt(a, at, "block has an impossible size");
	if (b->prev_size > at - a->first || (at == a->first) != !b->prev_size)
		return corrupt(a, at, "block before has an impossible size");
	return 0;
}

static void store_block(struct twz__arena *a, const struct twz__block *b)
{
	wr(a, WORD_OFF(b->at, block.size), b->size);
	wr(a, WORD_OFF(b->at, block.prev_size), b->prev_size);
	wr(a, WORD_OFF(b->at, block.state), b->state);
	wr(a, WORD_OFF(b->at, block.sum), twz__block_sum(b));
}

static int load_free(const struct twz__arena *a, uint32_t at, struct twz__block *b)
{
	int err = twz__arena_block(a, at, b);

	return err || b->state == TWZ_BLOCK_FREE
		       ? err
		       : corrupt(a, at, "a list of free blocks holds one that is not");
}

static uint32_t bin_off(const struct twz__arena *a, uint32_t size)
{
	return HEAD_OFF(a, bin) + twz__arena_bin(size) * (uint32_t)sizeof(uint32_t);
}

/*
 * A header that stands inside a larger block from now on. It is part of the plan, hence
 * recorded, because whoever is given that memory overwrites it, and an abort must find it again.
 */
static void erase_header(struct twz__arena *a, uint32_t at)
{
	for (uint32_t off = 0; off < sizeof(struct twz_block_pm); off += sizeof(uint32_t))
		wr(a, at * TWZ_ARENA_UNIT + off, 0);
}

/* Take a free block out of its bin. Its links are erased for the same reason. */
static int unlink_free(struct twz__arena *a, const struct twz__block *b)
{
	uint32_t next = twz__arena_rd(a, WORD_OFF(b->at, next)),
		 prev = twz__arena_rd(a, WORD_OFF(b->at, prev));
	struct twz__block n;
	int err;

	if (prev) {
		err = load_free(a, prev, &n);
		if (err)
			return err;
		if (twz__arena_rd(a, WORD_OFF(prev, next)) != b->at)
			return corrupt(a, b->at, "free block's predecessor does not lead to it");
		wr(a, WORD_OFF(prev, next), next);
	} else {
		if (twz__arena_rd(a, bin_off(a, b->size)) != b->at)
			return corrupt(a, b->at, "free block is not in the bin of its size");
		wr(a, bin_off(a, b->size), next);
	}
	wr(a, WORD_OFF(b->at, next), 0);
	wr(a, WORD_OFF(b->at, prev), 0);
	if (!next)
		return 0;
	err = load_free(a, next, &n);
	if (!err)
		wr(a, WORD_OFF(next, prev), prev);
	return err;
}

static int link_free(struct twz__arena *a, const struct twz__block *b)
{
	uint32_t head = twz__arena_rd(a, bin_off(a, b->size));
	struct twz__block n;
	int err = head ? load_free(a, head, &n) : 0;

	if (err)
		return err;
	wr(a, WORD_OFF(b->at, next), head);
	wr(a, WORD_OFF(b->at, prev), 0);
	if (head)
		wr(a, WORD_OFF(head, prev), b->at);
	wr(a, bin_off(a, b->size), b->at);
	return 0;
}

/* Tell the block behind B how long B is now. */
static int fix_next(struct twz__arena *a, const struct twz__block *b, uint32_t old_size)
{
	struct twz__block n;
	int err = twz__arena_block(a, b->at + b->size, &n);

	if (err)
		return err;
	if (n.prev_size != old_size)
		return corrupt(a, n.at, "block does not agree with the one before it");
	n.prev_size = b->size;
	store_block(a, &n);
	return 0;
}

/* --- operations --- */

/* First block of N units or more in the list from AT on, looking at LIMIT of them. */
static int search_bin(const struct twz__arena *a, uint32_t at, uint32_t n, uint32_t limit,
		      struct twz__block *b)
{
	for (uint32_t i = 0; at && i < limit; i++) {
		int err = load_free(a, at, b);

		if (err || b->size >= n)
			return err;
		at = twz__arena_rd(a, WORD_OFF(at, next));
	}
	return TWZ_E_NOSPC;
}

static int find_free(const struct twz__arena *a, uint32_t n, bool all, struct twz__block *b)
{
	uint32_t bin = twz__arena_bin(n);
	int err = search_bin(a, twz__arena_rd(a, bin_off(a, n)), n,
			     all ? twz__arena_end(a) : SEARCH_MAX, b);

	while (err == TWZ_E_NOSPC && ++bin < TWZ_ARENA_BIN_CNT) {
		uint32_t at = twz__arena_rd(a, HEAD_OFF(a, bin) + bin * (uint32_t)sizeof(uint32_t));

		if (at)
			err = search_bin(a, at, n, 1, b);
	}
	return err;
}

static void count(struct twz__arena *a, int32_t units, int32_t blocks)
{
	wr(a, HEAD_OFF(a, used_units), twz__arena_rd(a, HEAD_OFF(a, used_units)) + (uint32_t)units);
	wr(a, HEAD_OFF(a, block_cnt), twz__arena_rd(a, HEAD_OFF(a, block_cnt)) + (uint32_t)blocks);
}

/*
 * B, which is in no list and spans its whole size, becomes a used block of N units; what is left
 * of it becomes free.
 */
static int take(struct twz__arena *a, struct twz__block *b, uint32_t n, uint32_t old_size)
{
	struct twz__block rest = {
		.at = b->at + n, .size = b->size - n, .prev_size = n, .state = TWZ_BLOCK_FREE};
	int err;

	b->state = TWZ_BLOCK_USED;
	if (rest.size < 2) {
		store_block(a, b);
		return b->size == old_size ? 0 : fix_next(a, b, old_size);
	}
	b->size = n;
	store_block(a, b);
	err = fix_next(a, &rest, old_size);
	store_block(a, &rest);
	return err ? err : link_free(a, &rest);
}

int twz__arena_plan_alloc(struct twz__arena *a, uint32_t units, bool all, struct twz__block *out)
{
	int err;

	units = units < 2 ? 2 : units;
	err = find_free(a, units, all, out);
	if (!err)
		err = unlink_free(a, out);
	if (!err)
		err = take(a, out, units, out->size);
	if (!err)
		count(a, (int32_t)out->size, 1);
	return err;
}

int twz__arena_plan_free(struct twz__arena *a, uint32_t at)
{
	struct twz__block m, n;
	uint32_t last; /* what the block behind takes for the size of its predecessor */
	int err = twz__arena_block(a, at, &m);

	if (!err)
		err = twz__arena_block(a, at + m.size, &n);
	if (err)
		return err;
	if (n.prev_size != m.size)
		return corrupt(a, n.at, "block does not agree with the one before it");
	count(a, -(int32_t)m.size, -1);
	last = m.size;
	if (n.state == TWZ_BLOCK_FREE) {
		err = unlink_free(a, &n);
		if (err)
			return err;
		erase_header(a, n.at);
		m.size += n.size;
		last = n.size;
	}
	if (m.prev_size) {
		err = twz__arena_block(a, m.at - m.prev_size, &n);
		if (!err && n.size != m.prev_size)
			err = corrupt(a, n.at, "block does not agree with the one behind it");
		if (!err && n.state == TWZ_BLOCK_FREE) {
			err = unlink_free(a, &n);
			erase_header(a, m.at);
			n.size += m.size;
			m = n;
		}
		if (err)
			return err;
	}
	m.state = TWZ_BLOCK_FREE;
	err = fix_next(a, &m, last);
	store_block(a, &m);
	return err ? err : link_free(a, &m);
}

int twz__arena_plan_resize(struct twz__arena *a, struct twz__block *b, uint32_t units)
{
	uint32_t old = b->size, last = b->size;
	struct twz__block n;
	int err = twz__arena_block(a, b->at + b->size, &n);

	if (err)
		return err;
	units = units < 2 ? 2 : units;
	if (units > b->size && (n.state != TWZ_BLOCK_FREE || n.size < units - b->size))
		return TWZ_E_NOSPC;
	if (n.state == TWZ_BLOCK_FREE && units != b->size) {
		err = unlink_free(a, &n);
		if (err)
			return err;
		erase_header(a, n.at);
		b->size += n.size;
		last = n.size;
	}
	err = take(a, b, units, last);
	if (!err)
		count(a, (int32_t)b->size - (int32_t)old, 0);
	return err;
}

int twz__arena_plan_grow(struct twz__arena *a, uint32_t end)
{
	uint32_t old_end = twz__arena_end(a);
	struct twz__block b, last, sentinel;
	int err = twz__arena_block(a, old_end - 1, &b);

	if (!err && b.state != TWZ_BLOCK_END)
		err = corrupt(a, b.at, "arena does not end in an end block");
	if (!err)
		err = twz__arena_block(a, b.at - b.prev_size, &last);
	if (err)
		return err;
	if (end < old_end + 2)
		return TWZ_E_NOSPC;
	b.size = end - old_end;
	b.state = TWZ_BLOCK_FREE;
	if (last.state == TWZ_BLOCK_FREE) {
		err = unlink_free(a, &last);
		if (err)
			return err;
		erase_header(a, b.at);
		last.size += b.size;
		b = last;
	}
	sentinel = (struct twz__block){
		.at = end - 1, .size = 1, .prev_size = b.size, .state = TWZ_BLOCK_END};
	wr(a, HEAD_OFF(a, end), end);
	store_block(a, &b);
	store_block(a, &sentinel);
	return link_free(a, &b);
}

void twz__arena_format(struct twz_obj *o, uint32_t off, uint64_t len)
{
	struct twz__arena a = {.o = o, .base = (uint8_t *)o->base, .start = off / TWZ_ARENA_UNIT};
	struct twz_arena_pm *h = (struct twz_arena_pm *)(a.base + off);
	struct twz__block b, sentinel;

	a.first = a.start + sizeof(*h) / TWZ_ARENA_UNIT;
	memset(h, 0, sizeof(*h));
	h->magic = TWZ_ARENA_MAGIC;
	h->version = TWZ_ARENA_VERSION;
	h->start = a.start;
	h->sum = header_sum(h, o->id);
	h->end = a.start + (uint32_t)(len / TWZ_ARENA_UNIT);
	b = (struct twz__block){
		.at = a.first, .size = h->end - 1 - a.first, .state = TWZ_BLOCK_FREE};
	sentinel = (struct twz__block){
		.at = h->end - 1, .size = 1, .prev_size = b.size, .state = TWZ_BLOCK_END};
	store_block(&a, &b);
	store_block(&a, &sentinel);
	if (link_free(&a, &b))
		return; /* the bin is empty: it cannot fail */
	twz__arena_apply(&a);
}
