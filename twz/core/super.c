// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * super.c -- superblocks: laying a store out, finding it again, raising the generation
 */
#include "core_int.h"

TWZC_STATIC_ASSERT(sizeof(TWZC_MAGIC) == sizeof(((struct twz_super_pm *)0)->magic) + 1, "magic");

static u64 super_sum(struct twzc *c, const struct twz_super_pm *s)
{
	return c->ops->hash(s, offsetof(struct twz_super_pm, sum), 0);
}

static bool is_super(struct twzc *c, const void *p)
{
	return !c->ops->compare(p, TWZC_MAGIC, sizeof(TWZC_MAGIC) - 1);
}

/* One copy, durable when it returns. On page media the whole block is written. */
static int super_write(struct twzc *c, u64 page, struct twz_super_pm *s)
{
	s->sum = super_sum(c, s);
	c->ops->set(c->scratch, 0, TWZC_PAGE);
	c->ops->copy(c->scratch, s, sizeof(*s));
	return c->ops->log_write(c->ctx, page * TWZC_PAGE, c->scratch,
				 c->ops->page_media ? TWZC_PAGE : sizeof(*s));
}

/* Rules of a superblock whose sum holds. */
static int super_verify(struct twzc *c, const struct twz_super_pm *s)
{
	u64 first = TWZC_JOURNAL_PAGE + s->journal_page_cnt;

	if (s->root_page != TWZC_ROOT_PAGE || s->journal_page != TWZC_JOURNAL_PAGE)
		return twzc__corrupt(c, "superblock", "geometry", s->root_page, s->journal_page);
	if (s->journal_page_cnt < TWZC_JOURNAL_MIN / TWZC_PAGE ||
	    s->journal_page_cnt > TWZC_JOURNAL_MAX / TWZC_PAGE)
		return twzc__corrupt(c, "superblock", "journal-length", s->journal_page_cnt, 0);
	if (s->page_cnt <= first || s->page_cnt > (~(u64)0 >> 1) / TWZC_PAGE)
		return twzc__corrupt(c, "superblock", "page-count", s->page_cnt, first);
	return 0;
}

int twzc__super_copy(struct twzc *c, u32 i, struct twz_super_pm *out, bool *ok)
{
	int err = c->ops->log_read(c->ctx, i * TWZC_PAGE, out, sizeof(*out));

	*ok = !err && is_super(c, out) && out->version == TWZC_VERSION &&
	      out->sum == super_sum(c, out);
	return err;
}

/*
 * Read both copies. BEST is the valid one with the higher seq, VALID_MASK says which are valid (bit
 * 0: A). A torn or damaged copy is no error while the other is valid: that is what it is for.
 */
int twzc__super_read(struct twzc *c, struct twz_super_pm *best, u32 *valid_mask)
{
	struct twz_super_pm s;
	bool seen = false, other_version = false;
	int err;

	*valid_mask = 0;
	for (u32 i = 0; i < 2; i++) {
		err = c->ops->log_read(c->ctx, i * TWZC_PAGE, &s, sizeof(s));
		if (err)
			return err;
		if (!is_super(c, &s))
			continue;
		seen = true;
		if (s.version != TWZC_VERSION) {
			other_version = true;
			continue;
		}
		if (s.sum != super_sum(c, &s))
			continue;
		if (!*valid_mask || s.seq > best->seq)
			c->ops->copy(best, &s, sizeof(s));
		*valid_mask |= 1u << i;
	}
	if (*valid_mask)
		return super_verify(c, best);
	if (other_version)
		return TWZ_E_VERSION;
	return seen ? twzc__corrupt(c, "superblock", "sum", 0, 0) : TWZ_E_NOTSTORE;
}

/*
 * Which copy first? The one with the higher seq may be in a cache only, if its writer died before
 * it was durable; the other one then is durable. So the newer is overwritten first, and never both
 * are at risk; an invalid copy is the newer.
 */
static u32 raise_first(struct twzc *c, u32 valid_mask, const struct twz_super_pm *best)
{
	struct twz_super_pm a;

	if (valid_mask != 3)
		return valid_mask == 1 ? 1 : 0;
	if (c->ops->log_read(c->ctx, 0, &a, sizeof(a)))
		return 0;
	return a.seq == best->seq ? 0 : 1;
}

/*
 * Both copies get the new generation before any record of it exists, so that losing one copy loses
 * no record.
 */
int twzc__super_raise(struct twzc *c)
{
	const struct twz_root_pm *root;
	struct twz_super_pm s;
	u32 valid, first;
	int err = twzc__super_read(c, &s, &valid);

	if (!err)
		err = twzc__root(c, &root);
	if (err)
		return err;
	first = raise_first(c, valid, &s);
	s.generation = TWZC_MAX(s.generation, c->sh->generation) + 1;
	s.page_cnt = root->page_cnt;
	c->ops->copy(s.boot_id, c->note.boot_id, sizeof(s.boot_id));
	s.dev = c->note.dev;
	s.ino = c->note.ino;
	for (u32 i = 0; i < 2 && !err; i++) {
		s.seq++;
		err = super_write(c, first ^ i, &s);
	}
	if (err)
		return err;
	c->ops->copy(&c->super, &s, sizeof(s));
	c->sh->generation = s.generation;
	return 0;
}

static int attach_short(struct twzc *c)
{
	u8 magic[8];

	if (c->image_len < sizeof(magic) || c->ops->log_read(c->ctx, 0, magic, sizeof(magic)))
		return TWZ_E_NOTSTORE;
	return is_super(c, magic) ? TWZ_E_TRUNCATED : TWZ_E_NOTSTORE;
}

int twzc_attach(struct twzc *c, const struct twzc_ops *ops, void *ctx, struct twzc_shared *sh,
		u64 image_len, void *tx_buf, u64 tx_cap)
{
	u32 valid;
	int err;

	ops->set(c, 0, sizeof(*c));
	if (ops->version != 1 || tx_cap < TWZC_TX_MIN)
		return TWZ_E_INVAL;
	c->ops = ops;
	c->ctx = ctx;
	c->sh = sh;
	c->image_len = image_len;
	c->tx = tx_buf;
	c->tx_cap = tx_cap;
	c->scratch = c->tx + TWZC_REC_MAX;
	twzc__begin(c);
	if (image_len < TWZC_IMAGE_MIN)
		return attach_short(c);
	err = twzc__super_read(c, &c->super, &valid);
	if (err)
		return err;
	c->seed = c->super.uuid[0] ^ c->super.uuid[1];
	if (c->super.incompat & ~(u32)TWZC_INCOMPAT_KNOWN)
		return TWZ_E_FEATURE;
	c->read_only = !!(c->super.ro_compat & ~(u32)TWZC_RO_COMPAT_KNOWN);
	if (c->super.page_cnt > image_len / TWZC_PAGE)
		return TWZ_E_TRUNCATED;
	return 0;
}

/* --- format --- */

static int format_cell(struct twzc *c, u64 off, u64 *cell, u32 len)
{
	void *home = c->ops->at(c->ctx, off, len);

	if (!home)
		return TWZ_E_IO;
	cell[0] = twzc__cell_sum(c, cell, off, len);
	c->ops->copy(home, cell, len);
	c->ops->flush(c->ctx, off, len);
	return 0;
}

/* Everything below used_cnt belongs to the metadata. The rest of the map stays zero: never used. */
static int format_map(struct twzc *c, u64 map_page, u64 used_cnt)
{
	struct twz_chunk_pm k;
	int err = 0;

	for (u64 i = 0; i * TWZC_CHUNK_PAGES < used_cnt && !err; i++) {
		u64 n = TWZC_MIN(used_cnt - i * TWZC_CHUNK_PAGES, TWZC_CHUNK_PAGES);

		c->ops->set(&k, 0, sizeof(k));
		k.kind = TWZC_CHUNK_PAGED;
		k.used_cnt = k.fresh = (u32)n;
		for (u64 b = 0; b < n; b++)
			k.map[b / 64] |= (u64)1 << b % 64;
		err = format_cell(c, map_page * TWZC_PAGE + i * sizeof(k), (u64 *)&k, sizeof(k));
	}
	return err;
}

/*
 * Map pages to begin with: for an image some hundred times as long. Those that come when it grows stand in a chunk no
 * large object can have whole.
 */
static u32 format_map_runs(u64 page_cnt)
{
	u32 runs = 1;

	while (runs < 5 && (u64)1 << runs <= page_cnt / 16)
		runs++;
	return runs;
}

static int format_root(struct twzc *c, u64 page_cnt, u64 used_cnt, u32 map_runs)
{
	u64 map = used_cnt - 1 - ((u64)1 << (map_runs - 1));
	struct twz_root_pm r;
	struct twz_layout_pm l;
	int err;

	c->ops->set(&r, 0, sizeof(r));
	r.magic = TWZC_ROOT_MAGIC;
	r.page_cnt = page_cnt;
	r.free_cnt = page_cnt - used_cnt;
	r.meta_cnt = used_cnt;
	r.bucket_cnt = 1;
	c->ops->set(&l, 0, sizeof(l));
	l.magic = TWZC_LAYOUT_MAGIC;
	l.map_run_cnt = map_runs;
	l.bucket_run_cnt = 1;
	l.map_run[0] = map;
	for (u32 i = 1; i < map_runs; i++)
		l.map_run[i] = map + ((u64)1 << (i - 1));
	l.bucket_run[0] = used_cnt - 1;
	err = format_cell(c, TWZC_ROOT_OFF, (u64 *)&r, sizeof(r));
	if (!err)
		err = format_cell(c, TWZC_LAYOUT_OFF, (u64 *)&l, sizeof(l));
	return err;
}

static int format_bucket(struct twzc *c, u64 page)
{
	struct twz_bucket_pm b;

	c->ops->set(&b, 0, sizeof(b));
	b.magic = TWZC_BUCKET_MAGIC;
	return format_cell(c, page * TWZC_PAGE, (u64 *)&b, sizeof(b));
}

static int format_tail(struct twzc *c)
{
	u64 *block = (u64 *)c->scratch;

	c->ops->set(block, 0, TWZC_PAGE);
	block[0] = twzc__tail_word(c, 0);
	return c->ops->log_write(c->ctx, TWZC_JOURNAL_PAGE * TWZC_PAGE, block,
				 c->ops->page_media ? TWZC_PAGE : sizeof(u64));
}

static void format_super(struct twzc *c, const struct twzc_format_args *args, u64 page_cnt)
{
	struct twz_super_pm *s = &c->super;

	c->ops->copy(s->magic, TWZC_MAGIC, sizeof(s->magic));
	s->version = TWZC_VERSION;
	s->generation = 1;
	s->uuid[0] = args->uuid[0];
	s->uuid[1] = args->uuid[1];
	s->page_cnt = page_cnt;
	s->journal_page = TWZC_JOURNAL_PAGE;
	s->journal_page_cnt = args->journal_len / TWZC_PAGE;
	s->root_page = TWZC_ROOT_PAGE;
	s->ctime = c->ops->now(c->ctx);
	c->seed = s->uuid[0] ^ s->uuid[1];
}

static bool format_args_ok(const struct twzc_format_args *a)
{
	return a->buf && a->len % TWZC_PAGE == 0 && a->journal_len % TWZC_PAGE == 0 &&
	       a->len >= TWZC_IMAGE_MIN && a->journal_len >= TWZC_JOURNAL_MIN &&
	       a->journal_len <= TWZC_JOURNAL_MAX &&
	       TWZC_JOURNAL_PAGE + a->journal_len / TWZC_PAGE +
			       ((u64)1 << (format_map_runs(a->len / TWZC_PAGE) - 1)) + 1 <
		       a->len / TWZC_PAGE;
}

/*
 * Homes first, durable; then the journal's tail; the superblocks last (D18): until then the image
 * is no store.
 */
int twzc_format(const struct twzc_ops *ops, void *ctx, const struct twzc_format_args *args)
{
	u32 runs = format_map_runs(args->len / TWZC_PAGE);
	u64 map_cnt = (u64)1 << (runs - 1);
	u64 page_cnt =
		TWZC_MIN(args->len / TWZC_PAGE, map_cnt * TWZC_CHUNKS_PER_PAGE * TWZC_CHUNK_PAGES);
	u64 used_cnt = TWZC_JOURNAL_PAGE + args->journal_len / TWZC_PAGE + map_cnt + 1;
	struct twzc c;
	int err;

	if (ops->version != 1 || !format_args_ok(args))
		return TWZ_E_INVAL;
	ops->set(&c, 0, sizeof(c));
	c.ops = ops;
	c.ctx = ctx;
	c.scratch = args->buf;
	format_super(&c, args, page_cnt);
	err = format_map(&c, used_cnt - 1 - map_cnt, used_cnt);
	if (!err)
		err = format_bucket(&c, used_cnt - 1);
	if (!err)
		err = format_root(&c, page_cnt, used_cnt, runs);
	if (!err)
		err = ops->fence(ctx);
	if (!err)
		err = format_tail(&c);
	for (u32 i = 0; i < 2 && !err; i++) {
		c.super.seq++;
		err = super_write(&c, 1 - i, &c.super);
	}
	return err;
}
