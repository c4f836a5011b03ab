/* SPDX-License-Identifier: MIT
 * fix.c -- checksums of a mutated image, made right again
 *
 * A fuzzer that only damages checksums tests nothing behind them. Instead of walking the format (which would have to be right, and
 * stay so), every place of a good image is asked whether a checksum of some kind holds there: a chance hit is harmless.
 */
#include "fix.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "format.h"
#include "format_log.h"

#define ITEMS_MAX 65536
#define ROW_HEAD  36 /* engine: struct rec_pm without its data */
#define PREP_HEAD 72 /* engine: struct prep_pm, and its alignment */
#define PREP_AT	  64

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return v;
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return v;
}

/* As engine/src/recsum.h: a short row. 0: not one. */
static uint64_t row_len(const uint8_t *p, uint64_t room)
{
	uint64_t klen = get32(p + 28) & 0xfff, vlen = get32(p + 24) & 0x1fffffff;

	return room >= ROW_HEAD && klen <= 1024 && vlen <= 32768 && ROW_HEAD + klen + vlen <= room
		       ? ROW_HEAD + klen + vlen
		       : 0;
}

static uint32_t row_sum(const uint8_t *p)
{
	uint32_t klt = get32(p + 28), vlf = get32(p + 24) & ~(1u << 29), klen = klt & 0xfff;
	uint64_t hash = XXH3_64bits_withSeed(p + ROW_HEAD + klen, vlf & 0x1fffffff,
					     XXH3_64bits(p + ROW_HEAD, klen));
	uint64_t seed = get64(p) * 0x9e3779b97f4a7c15ULL ^ get64(p + 8) ^ (uint64_t)klt << 32 ^ vlf;

	return (uint32_t)XXH3_64bits_withSeed(&hash, sizeof(hash), seed);
}

static uint64_t log_len(const uint8_t *p, uint64_t room)
{
	uint64_t len = sizeof(struct log_rec_pm) + (get32(p + 20) & TWZ_LOG_DESC_LEN);

	return len <= room ? len : 0;
}

static uint64_t log_sum(const uint8_t *p, uint64_t len, uint64_t seal)
{
	return XXH3_64bits(p + 8, len - 8) ^ seal * TWZ_LOG_GEN_MUL;
}

/* twz__log_seal() */
static uint64_t log_seal(uint64_t id, uint64_t generation, uint64_t gap)
{
	return gap ? gap / TWZ_LOG_SECTOR_LEN << TWZ_LOG_GAP_SHIFT |
			       ((generation ^ id) & (TWZ_LOG_GEN_MAX - 1))
		   : generation;
}

static uint64_t seed_of(const uint8_t *image)
{
	return get64(image + offsetof(struct twz_super_pm, uuid)) ^
	       get64(image + offsetof(struct twz_super_pm, uuid) + 8);
}

/* --- the value and the place of each kind's checksum --- */

static uint64_t sum_of(const uint8_t *image, const struct fix_item *it)
{
	const uint8_t *p = image + it->off;

	switch (it->kind) {
	case FIX_SUPER:
		return XXH64(p, 504, 0);
	case FIX_CELL:
		return XXH64(p + 8, it->len - 8, seed_of(image) + it->off);
	case FIX_META:
		return XXH64(p, it->len - 8, 0);
	case FIX_FOT: {
		uint32_t sum = (uint32_t)XXH3_64bits(p, 28);

		return sum ? sum : 1;
	}
	case FIX_LOGHEAD:
		return XXH3_64bits(p, 504);
	case FIX_LOGREC:
		return log_sum(p, it->len, it->aux);
	case FIX_PREP:
		return XXH3_64bits(p + 8, it->len - 8);
	default:
		return row_sum(p);
	}
}

static uint64_t sum_at(const struct fix_item *it)
{
	switch (it->kind) {
	case FIX_CELL:
	case FIX_LOGREC:
	case FIX_PREP:
	case FIX_COPY:
		return it->off;
	case FIX_FOT:
		return it->off + 28;
	case FIX_ROW:
		return it->off + 32;
	default:
		return it->off + it->len - 8;
	}
}

static int is_short(const struct fix_item *it)
{
	return it->kind == FIX_FOT || it->kind == FIX_ROW;
}

/* --- learning --- */

struct learner {
	const uint8_t *image;
	uint64_t len;
	struct fix_item *items;
	size_t cnt;
	uint64_t
		log; /* first word of the ID of the one whose header was found last; its records lie behind it */
};

static int try_item(struct learner *l, enum fix_kind kind, uint64_t off, uint64_t len, uint64_t aux)
{
	struct fix_item it = {off, len, aux, kind, -1};
	uint64_t sum, is;

	if (!len || off + len > l->len || l->cnt == ITEMS_MAX)
		return 0;
	sum = sum_of(l->image, &it);
	is = is_short(&it) ? get32(l->image + sum_at(&it)) : get64(l->image + sum_at(&it));
	if (!is || is != (is_short(&it) ? (uint32_t)sum : sum))
		return 0;
	l->items[l->cnt++] = it;
	return 1;
}

/* Of any of the first generations, and behind any gap. */
static void learn_log_record(struct learner *l, uint64_t off, uint64_t len)
{
	for (uint64_t g = 1; g < 6; g++)
		for (uint64_t gap = 0; gap < TWZ_LOG_BLOCK_LEN; gap += TWZ_LOG_SECTOR_LEN)
			if (try_item(l, FIX_LOGREC, off, len, log_seal(l->log, g, gap)) ||
			    off % TWZ_LOG_BLOCK_LEN)
				break;
}

static void learn_at(struct learner *l, uint64_t off)
{
	static const uint16_t cells[] = {16, 32, 64, 128, 256, 512, 1024, 4096};
	const uint8_t *p = l->image + off;
	uint64_t room = l->len - off;

	if (off % 512 == 0) {
		try_item(l, FIX_SUPER, off, 512, 0);
		if (try_item(l, FIX_LOGHEAD, off, 512, 0))
			l->log = get64(p + 32);
	}
	if (off % PREP_AT == 0 && room >= PREP_HEAD && get64(p) && get64(p + 8) >= PREP_HEAD)
		try_item(l, FIX_PREP, off, get64(p + 8) <= room ? get64(p + 8) : 0, 0);
	if (off % 64 == 0 && room >= 64 && get64(p))
		learn_log_record(l, off, log_len(p, room));
	if (off % 16 == 0 && room >= 64 && get32(p + 32))
		try_item(l, FIX_ROW, off, row_len(p, room), 0);
	if (off % 32 == 0 && room >= 32 && get32(p + 28))
		try_item(l, FIX_FOT, off, 32, 0);
	if (off % 512 == 0)
		try_item(l, FIX_META, off, offsetof(struct twz_meta_pm, sum) + 8, 0);
	if (off % 16 == 0 && room >= 16 && get64(p))
		for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++)
			try_item(l, FIX_CELL, off, cells[i], 0);
}

static void learn_chain(struct learner *l)
{
	for (size_t i = 0; i < l->cnt; i++)
		for (size_t k = 0; k < l->cnt && l->items[i].kind == FIX_LOGREC; k++)
			if (l->items[k].kind == FIX_LOGREC && k != i &&
			    get32(l->image + l->items[i].off + 16) ==
				    (uint32_t)get64(l->image + l->items[k].off))
				l->items[i].follows = (int)k;
}

/* Wherever the sum of a prepared transaction stands again. */
static void learn_copies(struct learner *l)
{
	size_t cnt = l->cnt;

	for (size_t i = 0; i < cnt; i++) {
		if (l->items[i].kind != FIX_PREP)
			continue;
		for (uint64_t off = 0; off + 8 <= l->len && l->cnt < ITEMS_MAX; off += 8)
			if (off != l->items[i].off &&
			    get64(l->image + off) == get64(l->image + l->items[i].off))
				l->items[l->cnt++] = (struct fix_item){off, 8, i, FIX_COPY, -1};
	}
}

size_t fix_learn(const uint8_t *image, size_t len, struct fix_item **items)
{
	struct learner l = {image, len, calloc(ITEMS_MAX, sizeof(**items)), 0, 0};

	*items = l.items;
	if (!l.items || len < 512)
		return 0;
	for (uint64_t off = 0; off + 16 <= len; off += 16)
		learn_at(&l, off);
	learn_chain(&l);
	learn_copies(&l);
	return l.cnt;
}

static void fix_prepared(uint8_t *image, size_t len, const struct fix_item *items, size_t cnt)
{
	for (size_t i = 0; i < cnt; i++) {
		uint64_t sum;

		if (items[i].off + items[i].len > len)
			continue;
		if (items[i].kind == FIX_COPY && items[items[i].aux].off + 8 <= len) {
			memcpy(image + items[i].off, image + items[items[i].aux].off, 8);
		} else if (items[i].kind == FIX_PREP) {
			sum = sum_of(image, &items[i]);
			memcpy(image + items[i].off, &sum, 8);
		}
	}
}

void fix_image(uint8_t *image, size_t len, const struct fix_item *items, size_t cnt)
{
	fix_prepared(image, len, items, cnt);
	for (size_t i = 0; i < cnt; i++) {
		struct fix_item it = items[i];
		uint64_t sum;

		if (it.off + it.len > len || it.kind == FIX_PREP || it.kind == FIX_COPY)
			continue;
		if (it.kind == FIX_ROW)
			it.len = row_len(image + it.off, len - it.off);
		if (it.kind == FIX_LOGREC) {
			it.len = log_len(image + it.off, len - it.off);
			if (it.follows >= 0 && items[it.follows].off + 8 <= len)
				memcpy(image + it.off + 16, image + items[it.follows].off, 4);
		}
		if (!it.len)
			continue;
		sum = sum_of(image, &it);
		memcpy(image + sum_at(&it), &sum, is_short(&it) ? 4 : 8);
	}
}
