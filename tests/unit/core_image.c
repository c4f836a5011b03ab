/* SPDX-License-Identifier: MIT
 * core_image.c -- see core_image.h
 */
#include "core_image.h"

#include <assert.h>
#include <sys/mman.h>
#include <xxhash.h>
#include "t.h"

static bool in_image(const struct core_image *ci, const void *p)
{
	return (const u8 *)p >= ci->img && (const u8 *)p < ci->img + ci->cap;
}

static void touch(struct core_image *ci, u64 off, u64 len)
{
	for (u64 p = off / 4096; p <= (off + len - 1) / 4096; p++)
		ci->touched[p] = 1;
}

/* Count an event; true: it shall fail. */
static bool event(struct core_image *ci, enum ci_event ev)
{
	ci->events++;
	if (ci->stop_at && ci->events == ci->stop_at)
		longjmp(ci->stop, 1);
	return ++ci->cnt[ev] == ci->fail_at[ev];
}

static struct core_image *now_in; /* ops->copy has no context */

static void *op_at(void *ctx, uint64_t off, uint64_t len)
{
	struct core_image *ci = ctx;

	now_in = ci;
	if (off > ci->len || len > ci->len - off)
		return NULL;
	assert(off / 4096 == (off + len - 1) / 4096);
	return ci->img + off;
}

static void some_bytes(u8 *to, const u8 *from, u64 len)
{
	for (u64 i = 0; i < len; i += 8)
		if (t_rand() & 1)
			memcpy(to + i, from + i, 8);
}

static int op_log_write(void *ctx, uint64_t off, const void *buf, uint64_t len)
{
	struct core_image *ci = ctx;
	u64 unit = ci->page_media ? 4096 : 8;

	assert(off % unit == 0 && len % unit == 0 && off + len <= ci->len);
	touch(ci, off, len);
	if (ci->stop_at && ci->events + 1 == ci->stop_at && ci->tear == 1) {
		some_bytes(ci->img + off, buf, len);
		if (ci->dur)
			memcpy(ci->dur + off, ci->img + off, len);
	} else if (ci->stop_at && ci->events + 1 == ci->stop_at && ci->tear == 2) {
		memcpy(ci->img + off, buf, len);
	}
	if (event(ci, CI_LOG_WRITE))
		return TWZ_E_IO;
	memcpy(ci->img + off, buf, len);
	if (ci->dur)
		memcpy(ci->dur + off, buf, len);
	return 0;
}

static int op_log_read(void *ctx, uint64_t off, void *buf, uint64_t len)
{
	struct core_image *ci = ctx;

	if (off + len > ci->len)
		return TWZ_E_IO;
	memcpy(buf, ci->img + off, len);
	return 0;
}

static void op_flush(void *ctx, uint64_t off, uint64_t len)
{
	struct core_image *ci = ctx;

	if (!ci->dur)
		return;
	if (ci->queue_cnt == ci->queue_cap) {
		ci->queue_cap = ci->queue_cap ? ci->queue_cap * 2 : 64;
		ci->queue = realloc(ci->queue, ci->queue_cap * sizeof(*ci->queue));
	}
	ci->queue[ci->queue_cnt++] = (struct ci_range){off, len};
}

static int op_fence(void *ctx)
{
	struct core_image *ci = ctx;

	if (event(ci, CI_FENCE))
		return TWZ_E_IO;
	for (u64 i = 0; i < ci->queue_cnt; i++)
		memcpy(ci->dur + ci->queue[i].off, ci->img + ci->queue[i].off, ci->queue[i].len);
	ci->queue_cnt = 0;
	return 0;
}

static int op_grow(void *ctx, uint64_t len)
{
	struct core_image *ci = ctx;

	if (event(ci, CI_GROW))
		return TWZ_E_NOSPC;
	if (len <= ci->len)
		return 0;
	if (len > ci->cap)
		return TWZ_E_NOSPC;
	ci->len = len;
	return 0;
}

static int op_zero(void *ctx, uint64_t off, uint64_t len)
{
	struct core_image *ci = ctx;

	assert(off % 4096 == 0 && len % 4096 == 0 && off + len <= ci->len);
	if (event(ci, CI_ZERO))
		return TWZ_E_IO;
	memset(ci->img + off, 0, len);
	if (ci->dur)
		memset(ci->dur + off, 0, len);
	return 0;
}

static uint64_t op_hash(const void *buf, uint64_t len, uint64_t seed)
{
	return XXH64(buf, len, seed);
}

static uint64_t op_now(void *ctx)
{
	(void)ctx;
	return 1790000000;
}

static void op_copy(void *dst, const void *src, uint64_t len)
{
	if (now_in && in_image(now_in, dst)) {
		touch(now_in, (u64)((u8 *)dst - now_in->img), len);
		event(now_in, CI_COPY);
	}
	memcpy(dst, src, len);
}

static void op_set(void *dst, int byte, uint64_t len)
{
	memset(dst, byte, len);
}

static int op_compare(const void *a, const void *b, uint64_t len)
{
	return memcmp(a, b, len);
}

static int op_corrupt(void *ctx, const char *where, const char *why, uint64_t a, uint64_t b)
{
	struct core_image *ci = ctx;

	snprintf(ci->where, sizeof(ci->where), "%s", where);
	snprintf(ci->why, sizeof(ci->why), "%s", why);
	ci->a = a;
	ci->b = b;
	return TWZ_E_CORRUPT;
}

static const struct twzc_ops ops_of[2] = {
#define CI_OPS(media)                                                                              \
	{                                                                                          \
		.version = 1, .page_media = (media), .at = op_at, .log_write = op_log_write,       \
		.log_read = op_log_read, .flush = op_flush, .fence = op_fence, .grow = op_grow,    \
		.zero = op_zero, .hash = op_hash, .now = op_now, .copy = op_copy, .set = op_set,   \
		.compare = op_compare, .corrupt = op_corrupt                                       \
	}
	CI_OPS(0),
	CI_OPS(1),
};

static u8 *reserve(u64 len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert(p != MAP_FAILED);
	return p;
}

static struct core_image *make(u64 cap, u32 page_media, bool track)
{
	struct core_image *ci = calloc(1, sizeof(*ci));

	ci->cap = cap;
	ci->page_media = page_media;
	ci->img = reserve(cap);
	ci->dur = track ? reserve(cap) : NULL;
	ci->tx = malloc(TWZC_TX_MIN);
	ci->touched = calloc(1, cap / 4096 + 1);
	return ci;
}

struct core_image *ci_new(u64 len, u64 cap, u64 journal_len, u32 page_media, bool track)
{
	struct core_image *ci = make(cap, page_media, track);

	if (ci_format(ci, len, journal_len)) {
		ci_free(ci);
		return NULL;
	}
	return ci;
}

void ci_free(struct core_image *ci)
{
	if (!ci)
		return;
	if (now_in == ci)
		now_in = NULL;
	munmap(ci->img, ci->cap);
	if (ci->dur)
		munmap(ci->dur, ci->cap);
	free(ci->queue);
	free(ci->touched);
	free(ci->tx);
	free(ci);
}

void ci_copy(struct core_image *to, const struct core_image *from)
{
	for (u64 p = 0; p * 4096 < to->cap; p++) {
		if (!to->touched[p] && !from->touched[p])
			continue;
		memcpy(to->img + p * 4096, from->img + p * 4096, 4096);
		if (from->dur)
			memcpy(to->dur + p * 4096, from->dur + p * 4096, 4096);
		to->touched[p] = from->touched[p];
	}
	to->len = from->len;
	to->sh = from->sh;
	memcpy(&to->c, &from->c, sizeof(to->c));
	to->c.ctx = to;
	to->c.sh = &to->sh;
	to->c.tx = to->tx;
	to->c.scratch = to->tx + TWZC_REC_MAX;
	to->c.tx_items = 0;
	memset(to->cnt, 0, sizeof(to->cnt));
	memset(to->fail_at, 0, sizeof(to->fail_at));
	to->stop_at = 0;
	to->queue_cnt = 0;
	for (u64 i = 0; i < from->queue_cnt; i++)
		op_flush(to, from->queue[i].off, from->queue[i].len);
}

struct core_image *ci_clone(const struct core_image *from)
{
	struct core_image *ci = make(from->cap, from->page_media, from->dur != NULL);

	ci_copy(ci, from);
	return ci;
}

int ci_format(struct core_image *ci, u64 len, u64 journal_len)
{
	u8 buf[TWZC_PAGE];
	struct twzc_format_args args = {
		{0x1122334455667788, 0x99aabbccddeeff00}, len, journal_len, buf};

	for (u64 p = 0; p * 4096 < ci->cap; p++)
		if (ci->touched[p]) {
			memset(ci->img + p * 4096, 0, 4096);
			if (ci->dur)
				memset(ci->dur + p * 4096, 0, 4096);
			ci->touched[p] = 0;
		}
	ci->len = len;
	return twzc_format(&ops_of[ci->page_media], ci, &args);
}

int ci_open(struct core_image *ci, bool *unclean)
{
	bool dummy;
	int err;

	memset(&ci->sh, 0, sizeof(ci->sh));
	err = twzc_attach(&ci->c, &ops_of[ci->page_media], ci, &ci->sh, ci->len, ci->tx,
			  TWZC_TX_MIN);
	return err ? err : twzc_recover(&ci->c, true, unclean ? unclean : &dummy);
}

int ci_takeover(struct core_image *ci)
{
	bool unclean;
	int err;

	ci->stop_at = 0;
	ci->queue_cnt = 0; /* what a dead CPU flushed counts for nothing */
	err = twzc_attach(&ci->c, &ops_of[ci->page_media], ci, &ci->sh, ci->len, ci->tx,
			  TWZC_TX_MIN);
	return err ? err : twzc_recover(&ci->c, false, &unclean);
}

static void page_crash(u8 *img, u8 *dur, int how)
{
	if (how == 0)
		memcpy(img, dur, 4096);
	for (u64 i = 0; how == 2 && i < 4096; i += 8)
		if (memcmp(img + i, dur + i, 8) && (t_rand() & 1))
			memcpy(img + i, dur + i, 8);
	memcpy(dur, img, 4096);
}

void ci_crash(struct core_image *ci, int how)
{
	ci->queue_cnt = 0;
	ci->stop_at = 0;
	for (u64 p = 0; p * 4096 < ci->len; p++)
		if (ci->touched[p])
			page_crash(ci->img + p * 4096, ci->dur + p * 4096, how);
}

static void report(void *ctx, const char *where, const char *what, u64 a, u64 b)
{
	u64 *left = ctx;

	if (*left && (*left)--)
		fprintf(stderr, "  check: %s: %s (%" PRIu64 ", %" PRIu64 ")\n", where, what, a, b);
}

u64 ci_check(struct core_image *ci)
{
	u64 found = 0, left = 10;
	int err = twzc_check(&ci->c, report, &left, &found);

	if (err)
		fprintf(stderr, "  check: error %d\n", err);
	return found + (err != 0);
}

void ci_id(u64 n, u64 id[2])
{
	id[0] = XXH64(&n, sizeof(n), 1);
	id[1] = n;
}

u64 ci_summary(struct core_image *ci, u64 cnt)
{
	u64 sum = 0;

	for (u64 n = 0; n < cnt; n++) {
		struct twzc_obj o;
		u64 id[2], v[5] = {n};
		int err;

		ci_id(n, id);
		err = twzc_obj_find_any(&ci->c, id, &o);
		v[1] = (u64)err;
		if (!err) {
			v[2] = o.len;
			v[3] = o.state;
			v[4] = o.fot_page_cnt;
		}
		sum += XXH64(v, sizeof(v), sum);
	}
	return sum;
}

int ci_create(struct core_image *ci, u64 n, u64 len, bool contiguous)
{
	struct twzc_obj_args a = {
		.len = len, .flags = 0x10, .kind = (u32)n, .contiguous = contiguous};

	ci_id(n, a.id);
	return twzc_obj_create(&ci->c, &a);
}

/* Image offset of slot page SLOT of object N, 0 if it has none. */
static u64 page_at(struct core_image *ci, u64 n, u32 slot)
{
	struct twzc_extent x[64];
	u64 id[2];
	u32 cnt, first = 0;

	ci_id(n, id);
	do {
		if (twzc_obj_extents(&ci->c, id, first, x, 64, &cnt))
			return 0;
		for (u32 i = 0; i < cnt; i++)
			if (slot >= x[i].slot_page && slot - x[i].slot_page < x[i].cnt)
				return (x[i].file_page + slot - x[i].slot_page) * 4096;
		first += cnt;
	} while (cnt == 64);
	return 0;
}

static u64 tag(u64 n, u32 slot)
{
	return (n + 1) << 32 | slot;
}

bool ci_data_zero(struct core_image *ci, u64 n, u64 from, u64 to)
{
	static const u8 zero[4096];

	for (u64 o = from; o < to; o += 4096) {
		u64 at = page_at(ci, n, (u32)(o / 4096) + 1);

		if (!at || memcmp(ci->img + at, zero, 4096) ||
		    (ci->dur && memcmp(ci->dur + at, zero, 4096)))
			return false;
	}
	return true;
}

bool ci_data_tagged(struct core_image *ci, u64 n, u64 to)
{
	for (u64 o = 0; o < to; o += 4096) {
		u32 slot = (u32)(o / 4096) + 1;
		u64 at = page_at(ci, n, slot), t = tag(n, slot);

		if (!at || memcmp(ci->img + at, &t, 8) || memcmp(ci->img + at + 4088, &t, 8))
			return false;
	}
	return true;
}

void ci_data_tag(struct core_image *ci, u64 n, u64 from, u64 to)
{
	for (u64 o = from; o < to; o += 4096) {
		u32 slot = (u32)(o / 4096) + 1;
		u64 at = page_at(ci, n, slot), t = tag(n, slot);

		if (!at)
			continue;
		touch(ci, at, 4096);
		memcpy(ci->img + at, &t, 8);
		memcpy(ci->img + at + 4088, &t, 8);
		if (ci->dur)
			memcpy(ci->dur + at, ci->img + at, 4096);
	}
}
