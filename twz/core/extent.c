// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * extent.c -- the extents of an object as one array sorted by slot page: 8 in its entry, the rest
 * in extent pages
 *
 * Extent pages are named by the entry itself, so there is no chain to follow. Data extents grow at
 * their end, before the few of FOT and meta page: an insertion moves little.
 */
#include "core_int.h"

struct place {
	bool in_entry;
	u32 idx;   /* in the entry or in the block */
	u32 block; /* number of the block */
	u64 off;   /* of the block in the image */
};

static struct place place_of(const struct twz_entry_pm *e, u32 i)
{
	struct place p = {.in_entry = i < TWZC_EXT_INLINE, .idx = i};

	if (p.in_entry)
		return p;
	i -= TWZC_EXT_INLINE;
	p.idx = i % TWZC_EXTBLOCK_EXTENTS;
	p.block = i / TWZC_EXTBLOCK_EXTENTS;
	p.off = e->ext_page[p.block / TWZC_EXTBLOCKS_PER_PAGE] * TWZC_PAGE +
		p.block % TWZC_EXTBLOCKS_PER_PAGE * sizeof(struct twz_extblock_pm);
	return p;
}

static int block_verify(struct twzc *c, const struct twz_extblock_pm *b, const struct place *p)
{
	if (b->magic != TWZC_EXTBLOCK_MAGIC)
		return twzc__corrupt(c, "extent block", "magic", p->off, b->magic);
	if (b->idx != p->block)
		return twzc__corrupt(c, "extent block", "index", p->off, b->idx);
	return 0;
}

static int extent_verify(struct twzc *c, const struct twz_extent_pm *x, u64 off)
{
	const struct twz_root_pm *root;
	int err = twzc__root(c, &root);

	if (err)
		return err;
	if (!x->cnt || !x->slot_page || x->cnt > TWZC_SLOT_PAGES ||
	    x->slot_page > TWZC_SLOT_PAGES - x->cnt)
		return twzc__corrupt(c, "extent", "slot-range", off, x->slot_page);
	if (!twzc__pages_ok(c, root, x->file_page, x->cnt))
		return twzc__corrupt(c, "extent", "file-range", off, x->file_page);
	return 0;
}

int twzc__ext_get(struct twzc *c, const struct twz_entry_pm *e, u32 i, struct twz_extent_pm *out)
{
	struct place p = place_of(e, i);
	const struct twz_extblock_pm *b;
	const void *v;
	int err;

	if (p.in_entry) {
		*out = e->ext[i];
		return extent_verify(c, out, i);
	}
	err = twzc__cell(c, "extent block", p.off, sizeof(*b), 0, &v);
	b = v;
	if (!err)
		err = block_verify(c, b, &p);
	if (err)
		return err;
	*out = b->ext[p.idx];
	return extent_verify(c, out, p.off);
}

static int block_edit(struct twzc *c, const struct place *p, struct twz_extblock_pm **out)
{
	void *v;
	int err = twzc__edit(c, "extent block", p->off, sizeof(**out), 0, &v);

	*out = v;
	return err ? err : block_verify(c, *out, p);
}

int twzc__ext_set(struct twzc *c, struct twz_entry_pm *e, u32 i, const struct twz_extent_pm *x)
{
	struct place p = place_of(e, i);
	struct twz_extblock_pm *b;
	int err;

	if (p.in_entry) {
		e->ext[i] = *x;
		return 0;
	}
	err = block_edit(c, &p, &b);
	if (!err)
		b->ext[p.idx] = *x;
	return err;
}

/* Make room for one extent more at the end of the array. */
static int append_slot(struct twzc *c, struct twz_entry_pm *e)
{
	u32 n = e->extent_cnt, block;
	struct twz_extblock_pm *b;
	struct place p;
	void *v;
	int err = 0;

	if (n == TWZC_EXTENTS_MAX)
		return TWZ_E_NOSPC;
	if (n >= TWZC_EXT_INLINE && (n - TWZC_EXT_INLINE) % TWZC_EXTBLOCK_EXTENTS == 0) {
		block = (n - TWZC_EXT_INLINE) / TWZC_EXTBLOCK_EXTENTS;
		if (block % TWZC_EXTBLOCKS_PER_PAGE == 0)
			err = twzc__meta_take(c, &e->ext_page[block / TWZC_EXTBLOCKS_PER_PAGE]);
		p = place_of(e, n);
		if (!err)
			err = twzc__edit_new(c, p.off, sizeof(*b), &v);
		if (err)
			return err;
		b = v;
		b->magic = TWZC_EXTBLOCK_MAGIC;
		b->idx = block;
	}
	e->extent_cnt++;
	return 0;
}

int twzc__ext_after(struct twzc *c, const struct twz_entry_pm *e, u32 slot_page, u32 *idx)
{
	struct twz_extent_pm x;
	u32 lo = 0, hi = e->extent_cnt;

	while (lo < hi) {
		u32 mid = (lo + hi) / 2;
		int err = twzc__ext_get(c, e, mid, &x);

		if (err)
			return err;
		if (x.slot_page > slot_page)
			hi = mid;
		else
			lo = mid + 1;
	}
	*idx = lo;
	return 0;
}

/* Append X to the extent before POS if both its slot and file pages follow on. */
static int merge_before(struct twzc *c, struct twz_entry_pm *e, u32 pos,
			const struct twz_extent_pm *x, bool *merged)
{
	struct twz_extent_pm prev;
	int err;

	*merged = false;
	if (!pos)
		return 0;
	err = twzc__ext_get(c, e, pos - 1, &prev);
	if (err)
		return err;
	if (prev.slot_page + prev.cnt > x->slot_page)
		return twzc__corrupt(c, "extent", "overlap", prev.slot_page, x->slot_page);
	if (prev.slot_page + prev.cnt != x->slot_page || prev.file_page + prev.cnt != x->file_page)
		return 0;
	prev.cnt += x->cnt;
	*merged = true;
	return twzc__ext_set(c, e, pos - 1, &prev);
}

static int insert_at(struct twzc *c, struct twz_entry_pm *e, u32 pos, const struct twz_extent_pm *x)
{
	struct twz_extent_pm y;
	int err = append_slot(c, e);

	for (u32 i = e->extent_cnt - 1; i > pos && !err; i--) {
		err = twzc__ext_get(c, e, i - 1, &y);
		if (!err)
			err = twzc__ext_set(c, e, i, &y);
	}
	return err ? err : twzc__ext_set(c, e, pos, x);
}

int twzc__ext_add(struct twzc *c, struct twz_entry_pm *e, const struct twz_extent_pm *x)
{
	bool merged;
	u32 pos;
	int err = twzc__ext_after(c, e, x->slot_page, &pos);

	if (!err)
		err = merge_before(c, e, pos, x, &merged);
	if (!err && !merged)
		err = insert_at(c, e, pos, x);
	if (!err)
		e->page_cnt += x->cnt;
	return err;
}

/* Give the extent page back whose last block went out of use. */
static int drop_slot(struct twzc *c, struct twz_entry_pm *e)
{
	u32 n = --e->extent_cnt, page;
	int err;

	if (n < TWZC_EXT_INLINE)
		return 0;
	n -= TWZC_EXT_INLINE;
	if (n % (TWZC_EXTBLOCK_EXTENTS * TWZC_EXTBLOCKS_PER_PAGE))
		return 0;
	page = n / (TWZC_EXTBLOCK_EXTENTS * TWZC_EXTBLOCKS_PER_PAGE);
	err = twzc__meta_give(c, e->ext_page[page]);
	e->ext_page[page] = 0;
	return err;
}

int twzc__ext_remove(struct twzc *c, struct twz_entry_pm *e, u32 i)
{
	static const struct twz_extent_pm none;
	struct twz_extent_pm y;
	int err = 0;

	for (; i + 1 < e->extent_cnt && !err; i++) {
		err = twzc__ext_get(c, e, i + 1, &y);
		if (!err)
			err = twzc__ext_set(c, e, i, &y);
	}
	/* A block that goes out of use with this extent need not be written. */
	if (!err && (i < TWZC_EXT_INLINE || (i - TWZC_EXT_INLINE) % TWZC_EXTBLOCK_EXTENTS))
		err = twzc__ext_set(c, e, i, &none);
	return err ? err : drop_slot(c, e);
}
