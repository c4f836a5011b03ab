/* SPDX-License-Identifier: MIT
 * core_ops.c -- the store core's ops table in user space: libtwz's media below, its messages above
 */
#include "rt.h"

#include <time.h>
#include <xxhash.h>

static void *op_at(void *ctx, uint64_t off, uint64_t len)
{
	struct twz_store *s = ctx;
	struct twz__window *w = &twz__rt(s)->win;

	/* Another process may have grown the image since we looked. */
	if ((off > w->mapped || len > w->mapped - off) && twz__window_extend(w, s->media))
		return NULL;
	if (off > w->mapped || len > w->mapped - off)
		return NULL;
	return w->base + off;
}

static int op_log_read(void *ctx, uint64_t off, void *buf, uint64_t len)
{
	struct twz_store *s = ctx;

	return s->media->ops->read(s->media, buf, off, len);
}

/* --- page media --- */

static void page_flush(void *ctx, uint64_t off, uint64_t len)
{
	struct twz__rt *rt = twz__rt(ctx);

	for (uint32_t i = 0; i < rt->dirty_cnt && i < RT_DIRTY_MAX; i++) {
		uint64_t end = rt->dirty[i].off + rt->dirty[i].len;

		if (off / TWZ_PAGE_SIZE > end / TWZ_PAGE_SIZE ||
		    (off + len) / TWZ_PAGE_SIZE < rt->dirty[i].off / TWZ_PAGE_SIZE)
			continue;
		if (off + len > end)
			end = off + len;
		if (off < rt->dirty[i].off)
			rt->dirty[i].off = off;
		rt->dirty[i].len = end - rt->dirty[i].off;
		return;
	}
	if (rt->dirty_cnt < RT_DIRTY_MAX) {
		rt->dirty[rt->dirty_cnt].off = off;
		rt->dirty[rt->dirty_cnt].len = len;
	}
	if (rt->dirty_cnt <= RT_DIRTY_MAX)
		rt->dirty_cnt++;
}

static int page_fence(void *ctx)
{
	struct twz_store *s = ctx;
	struct twz__rt *rt = twz__rt(s);
	int rc = 0;

	if (rt->dirty_cnt > RT_DIRTY_MAX)
		rc = s->media->ops->sync_all(s->media);
	else
		for (uint32_t i = 0; i < rt->dirty_cnt && !rc; i++)
			rc = s->media->ops->sync_range(s->media,
						       op_at(s, rt->dirty[i].off, rt->dirty[i].len),
						       rt->dirty[i].len);
	rt->dirty_cnt = 0; /* after a failure too: syncing again would prove nothing (D17) */
	return rc;
}

static int page_log_write(void *ctx, uint64_t off, const void *buf, uint64_t len)
{
	struct twz_store *s = ctx;
	int rc = twz__rt(s)->dirty_cnt ? page_fence(ctx) : 0;

	return rc ? rc : s->media->ops->write_sync(s->media, buf, off, len);
}

/* --- cache-line media --- */

static void line_flush(void *ctx, uint64_t off, uint64_t len)
{
	struct twz_store *s = ctx;
	void *p = op_at(s, off, len);

	if (p)
		s->media->ops->flush(s->media, p, len);
}

static int line_fence(void *ctx)
{
	struct twz_store *s = ctx;

	s->media->ops->fence(s->media);
	return 0;
}

static int line_log_write(void *ctx, uint64_t off, const void *buf, uint64_t len)
{
	struct twz_store *s = ctx;
	void *p = op_at(s, off, len);

	if (!p)
		return twz__err(TWZ_E_IO, "%s: the journal at offset %llu is not mapped", s->path,
				(unsigned long long)off);
	s->media->ops->copy_nt(s->media, p, buf, len);
	s->media->ops->fence(s->media);
	return 0;
}

/* --- both --- */

static int op_grow(void *ctx, uint64_t len)
{
	struct twz_store *s = ctx;
	int rc;

	s->media->in_use = s->core.root ? s->core.root->page_cnt * TWZC_PAGE : 0;
	rc = s->media->ops->grow(s->media, len);
	if (!rc)
		twz__media_has(s->media, len);
	return rc ? rc : twz__window_extend(&twz__rt(s)->win, s->media);
}

static int op_zero(void *ctx, uint64_t off, uint64_t len)
{
	struct twz_store *s = ctx;

	return s->media->ops->zero(s->media, off, len);
}

static uint64_t op_hash(const void *buf, uint64_t len, uint64_t seed)
{
	return XXH64(buf, len, seed);
}

static uint64_t op_now(void *ctx)
{
	(void)ctx;
	return (uint64_t)time(NULL);
}

static void op_copy(void *dst, const void *src, uint64_t len)
{
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
	struct twz_store *s = ctx;
	char place[512];

	snprintf(place, sizeof(place), "%s: %s", s->path, where);
	return twz__corrupt(place, "rule '%s' (%#llx, %#llx)", why, (unsigned long long)a,
			    (unsigned long long)b);
}

#define COMMON_OPS                                                                                 \
	.version = 1, .at = op_at, .log_read = op_log_read, .grow = op_grow, .zero = op_zero,      \
	.hash = op_hash, .now = op_now, .copy = op_copy, .set = op_set, .compare = op_compare,     \
	.corrupt = op_corrupt

const struct twzc_ops twz__core_ops_page = {
	COMMON_OPS,	     .page_media = 1,	  .log_write = page_log_write,
	.flush = page_flush, .fence = page_fence,
};

const struct twzc_ops twz__core_ops_line = {
	COMMON_OPS,
	.log_write = line_log_write,
	.flush = line_flush,
	.fence = line_fence,
};
