// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * image.c -- the core's ops over an image in kernel memory
 *
 * Memory forgets everything at once, so flush and fence have nothing to do; the calls stand where
 * those of a pmem device will.
 */
#include <linux/mm.h>
#include <linux/printk.h>
#include <linux/string.h>
#include <linux/timekeeping.h>
#include <linux/xxhash.h>

#include "shim.h"

int twzk_image_init(struct twzk_image *im, u64 len, u64 cap)
{
	im->base = kvzalloc(cap, GFP_KERNEL);
	im->len = len;
	im->cap = cap;
	return im->base ? 0 : -ENOMEM;
}

void twzk_image_destroy(struct twzk_image *im)
{
	kvfree(im->base);
	im->base = NULL;
}

static bool inside(const struct twzk_image *im, u64 off, u64 len)
{
	return off <= im->len && len <= im->len - off;
}

static void *image_at(void *ctx, u64 off, u64 len)
{
	struct twzk_image *im = ctx;

	return inside(im, off, len) ? im->base + off : NULL;
}

static int image_log_write(void *ctx, u64 off, const void *buf, u64 len)
{
	struct twzk_image *im = ctx;

	if (!inside(im, off, len))
		return TWZ_E_IO;
	memcpy(im->base + off, buf, len);
	return 0;
}

static int image_log_read(void *ctx, u64 off, void *buf, u64 len)
{
	struct twzk_image *im = ctx;

	if (!inside(im, off, len))
		return TWZ_E_IO;
	memcpy(buf, im->base + off, len);
	return 0;
}

static void image_flush(void *ctx, u64 off, u64 len)
{
}

static int image_fence(void *ctx)
{
	return 0;
}

static int image_grow(void *ctx, u64 len)
{
	struct twzk_image *im = ctx;

	if (len > im->cap)
		return TWZ_E_NOSPC;
	im->len = max(im->len, len);
	return 0;
}

static int image_zero(void *ctx, u64 off, u64 len)
{
	struct twzk_image *im = ctx;

	if (!inside(im, off, len))
		return TWZ_E_IO;
	memset(im->base + off, 0, len);
	return 0;
}

static u64 image_hash(const void *buf, u64 len, u64 seed)
{
	return xxh64(buf, len, seed);
}

static u64 image_now(void *ctx)
{
	return ktime_get_real_seconds();
}

static void image_copy(void *dst, const void *src, u64 len)
{
	memcpy(dst, src, len);
}

static void image_set(void *dst, int byte, u64 len)
{
	memset(dst, byte, len);
}

static int image_compare(const void *a, const void *b, u64 len)
{
	return memcmp(a, b, len);
}

static int image_corrupt(void *ctx, const char *where, const char *why, u64 a, u64 b)
{
	pr_err("twz: %s breaks rule '%s' (%#llx, %#llx)\n", where, why, a, b);
	return TWZ_E_CORRUPT;
}

const struct twzc_ops twzk_image_ops = {
	.version = 1,
	.at = image_at,
	.log_write = image_log_write,
	.log_read = image_log_read,
	.flush = image_flush,
	.fence = image_fence,
	.grow = image_grow,
	.zero = image_zero,
	.hash = image_hash,
	.now = image_now,
	.copy = image_copy,
	.set = image_set,
	.compare = image_compare,
	.corrupt = image_corrupt,
};
