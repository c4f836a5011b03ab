/* SPDX-License-Identifier: MIT
 * dry.c -- recovery rehearsed in private memory
 *
 * `cp` of a store that is being written is no backup: the copy mixes pages of different moments.
 * Such a copy is unclean and lies in another file than the superblock notes, so recovery is first
 * run on a private copy of its pages, and the result checked. Nothing of the file is written unless
 * it comes out whole.
 */
#include "rt.h"

#include <sys/mman.h>
#include <sys/stat.h>

struct dry {
	struct twz_store *s;
	char *base;
	uint64_t len;
};

static void *dry_at(void *ctx, uint64_t off, uint64_t len)
{
	struct dry *d = ctx;

	return off > d->len || len > d->len - off ? NULL : d->base + off;
}

static int dry_write(void *ctx, uint64_t off, const void *buf, uint64_t len)
{
	void *p = dry_at(ctx, off, len);

	if (!p)
		return TWZ_E_IO;
	memcpy(p, buf, len);
	return 0;
}

static int dry_read(void *ctx, uint64_t off, void *buf, uint64_t len)
{
	void *p = dry_at(ctx, off, len);

	if (!p)
		return TWZ_E_IO;
	memcpy(buf, p, len);
	return 0;
}

static void dry_flush(void *ctx, uint64_t off, uint64_t len)
{
	(void)ctx;
	(void)off;
	(void)len;
}

static int dry_fence(void *ctx)
{
	(void)ctx;
	return 0;
}

static int dry_grow(void *ctx, uint64_t len)
{
	(void)ctx;
	(void)len;
	return TWZ_E_NOSPC;
}

static int dry_zero(void *ctx, uint64_t off, uint64_t len)
{
	void *p = dry_at(ctx, off, len);

	if (!p)
		return TWZ_E_IO;
	memset(p, 0, len);
	return 0;
}

static int dry_corrupt(void *ctx, const char *where, const char *why, uint64_t a, uint64_t b)
{
	struct dry *d = ctx;

	return twz__core_ops(d->s)->corrupt(d->s, where, why, a, b);
}

static void found(void *ctx, const char *where, const char *what, u64 a, u64 b)
{
	dry_corrupt(ctx, where, what, a, b);
}

static int rehearse(struct dry *d, void *tx_buf)
{
	struct twzc_ops ops = *twz__core_ops(d->s);
	struct twzc_shared sh = {0};
	struct twzc c;
	bool unclean;
	u64 cnt = 0;
	int rc;

	ops.at = dry_at;
	ops.log_write = dry_write;
	ops.log_read = dry_read;
	ops.flush = dry_flush;
	ops.fence = dry_fence;
	ops.grow = dry_grow;
	ops.zero = dry_zero;
	ops.corrupt = dry_corrupt;
	ops.now = NULL; /* only format and create ask for the time */
	rc = twzc_attach(&c, &ops, d, &sh, d->len, tx_buf, TWZC_TX_MIN);
	if (!rc)
		rc = twzc_recover(&c, true, &unclean);
	if (!rc)
		rc = twzc_check(&c, found, d, &cnt);
	return rc ? rc : cnt ? TWZ_E_CORRUPT : 0;
}

static int count_record(void *ctx, u64 lsn, u32 item_cnt, u64 len)
{
	(void)lsn;
	(void)item_cnt;
	(void)len;
	++*(uint64_t *)ctx;
	return 0;
}

static bool is_elsewhere(struct twz_store *s)
{
	const struct twz_super_pm *p = &s->core.super;
	struct stat st;

	if (s->media->fd < 0 || fstat(s->media->fd, &st) || (!p->dev && !p->ino))
		return false;
	return p->dev != st.st_dev || p->ino != st.st_ino;
}

/*
 * Holes in a file that lies where the store was used last were made there, and whoever made them takes space before storing
 * to them (twz_obj_take). In a copy there may be others, or the file system may share what is no hole.
 */
int twz__fill_copy(struct twz_store *s)
{
	const struct twz_super_pm *p = &s->core.super;
	const struct twz__media_ops *ops = s->media->ops;
	uint64_t len;
	int rc;

	if (!ops->take || (!is_elsewhere(s) && (p->dev || p->ino)))
		return 0;
	rc = ops->len(s->media, &len);
	return rc ? rc : ops->take(s->media, 0, len);
}

int twz__dry_run(struct twz_store *s)
{
	struct dry d = {.s = s};
	uint64_t records = 0;
	void *tx_buf;
	int rc;

	if (!is_elsewhere(s))
		return 0;
	rc = twzc_journal_walk(&s->core, count_record, &records);
	if (rc || !records)
		return twz__core_err(s, rc, "journal");
	rc = s->media->ops->len(s->media, &d.len);
	if (rc)
		return rc;
	tx_buf = malloc(TWZC_TX_MIN);
	d.base = mmap(NULL, d.len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE,
		      s->media->fd, 0);
	if (tx_buf && d.base != MAP_FAILED)
		rc = twz__core_err(s, rehearse(&d, tx_buf),
				   "is a copy of a store that was in use, and not whole");
	else
		rc = twz__err(TWZ_E_NOMEM, "%s: out of memory", s->path);
	if (d.base != MAP_FAILED)
		munmap(d.base, d.len);
	free(tx_buf);
	return rc;
}
