// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * cell.c -- metadata cells: verified reading, and editing inside the journal record being built
 *
 * A record is built in the caller's memory (c->tx) in its media form: header, then items. Editing a
 * cell copies it from its home into an item; reading a cell looks into the items first. So an
 * operation sees its own changes, homes are untouched until the record is durable (D4), and giving
 * an operation up means forgetting the items.
 */
#include "core_int.h"

int twzc__corrupt(struct twzc *c, const char *where, const char *why, u64 a, u64 b)
{
	if (c->check_fn) {
		c->check_found++;
		c->check_fn(c->check_ctx, where, why, a, b);
		return TWZ_E_CORRUPT;
	}
	return c->ops->corrupt(c->ctx, where, why, a, b);
}

/* The sum covers everything behind itself; the seed ties it to the store and the place. */
u64 twzc__cell_sum(struct twzc *c, const void *cell, u64 off, u32 len)
{
	return c->ops->hash((const u8 *)cell + sizeof(u64), len - sizeof(u64), c->seed + off);
}

void twzc__begin(struct twzc *c)
{
	if (c->tx_items) { /* given up: what it had taken is free again, below the hints perhaps */
		c->sh->hint_page = 0;
		c->sh->hint_chunk = 0;
	}
	c->tx_len = sizeof(struct twz_jrec_pm);
	c->tx_items = 0;
	c->tx_filter = 0;
	c->tx_freed_meta = 0;
	c->root = NULL;
	c->layout = NULL;
}

int twzc__begin_change(struct twzc *c)
{
	twzc__begin(c);
	if (c->sh->failed)
		return TWZ_E_FAILED;
	if (!c->sh->ready)
		return TWZ_E_STATE;
	return c->read_only ? TWZ_E_READONLY : 0;
}

u64 twzc__room(struct twzc *c)
{
	return twzc__rec_max(c) - c->tx_len;
}

static u64 filter_bit(u64 off)
{
	return (u64)1 << ((off * 0x9e3779b97f4a7c15ull) >> 58);
}

static void *tx_find(struct twzc *c, u64 off)
{
	u64 pos = sizeof(struct twz_jrec_pm);

	if (!(c->tx_filter & filter_bit(off)))
		return NULL;
	for (u32 i = 0; i < c->tx_items; i++) {
		struct twz_jitem_pm *it = (struct twz_jitem_pm *)(c->tx + pos);

		if (it->off == off)
			return it + 1;
		pos += sizeof(*it) + it->len;
	}
	return NULL;
}

static void *tx_add(struct twzc *c, u64 off, u32 len)
{
	struct twz_jitem_pm *it = (struct twz_jitem_pm *)(c->tx + c->tx_len);

	if (twzc__room(c) < TWZC_ITEM_COST(len))
		return NULL;
	it->off = off;
	it->len = len;
	it->zero = 0;
	c->tx_len += TWZC_ITEM_COST(len);
	c->tx_items++;
	c->tx_filter |= filter_bit(off);
	return it + 1;
}

static bool all_zero(const void *p, u32 len)
{
	const u64 *w = p;

	for (u32 i = 0; i < len / sizeof(u64); i++)
		if (w[i])
			return false;
	return true;
}

static int home_verified(struct twzc *c, const char *where, u64 off, u32 len, u32 flags,
			 const void **out)
{
	const u64 *home = c->ops->at(c->ctx, off, len);

	if (!home) /* callers checked the place: it is in the image but cannot be mapped */
		return TWZ_E_MAPS;
	if (home[0] != twzc__cell_sum(c, home, off, len) &&
	    !((flags & TWZC_ZERO_OK) && all_zero(home, len)))
		return twzc__corrupt(c, where, "sum", off, home[0]);
	*out = home;
	return 0;
}

const void *twzc__glance(struct twzc *c, u64 off, u32 len)
{
	const void *cell = tx_find(c, off);

	return cell ? cell : c->ops->at(c->ctx, off, len);
}

int twzc__cell(struct twzc *c, const char *where, u64 off, u32 len, u32 flags, const void **out)
{
	*out = tx_find(c, off);
	return *out ? 0 : home_verified(c, where, off, len, flags, out);
}

int twzc__edit(struct twzc *c, const char *where, u64 off, u32 len, u32 flags, void **out)
{
	const void *home;
	int err;

	*out = tx_find(c, off);
	if (*out)
		return 0;
	err = home_verified(c, where, off, len, flags, &home);
	if (err)
		return err;
	*out = tx_add(c, off, len);
	if (!*out)
		return TWZ_E_TOOBIG;
	c->ops->copy(*out, home, len);
	return 0;
}

int twzc__edit_new(struct twzc *c, u64 off, u32 len, void **out)
{
	*out = tx_find(c, off);
	if (!*out)
		*out = tx_add(c, off, len);
	if (!*out)
		return TWZ_E_TOOBIG;
	c->ops->set(*out, 0, len);
	return 0;
}

bool twzc__pages_ok(struct twzc *c, const struct twz_root_pm *root, u64 page, u64 cnt)
{
	u64 first = c->super.journal_page + c->super.journal_page_cnt;

	return page >= first && cnt <= root->page_cnt && page <= root->page_cnt - cnt;
}

static int root_verify(struct twzc *c, const struct twz_root_pm *r)
{
	u64 first = c->super.journal_page + c->super.journal_page_cnt;

	if (r->magic != TWZC_ROOT_MAGIC)
		return twzc__corrupt(c, "root", "magic", TWZC_ROOT_OFF, r->magic);
	if (r->page_cnt <= first || r->page_cnt > (~(u64)0 >> 1) / TWZC_PAGE ||
	    r->free_cnt > r->page_cnt || r->meta_cnt > r->page_cnt)
		return twzc__corrupt(c, "root", "page-count", r->page_cnt, r->free_cnt);
	if (!r->bucket_cnt || r->bucket_cnt > (u64)1 << (TWZC_RUNS_MAX - 1))
		return twzc__corrupt(c, "root", "bucket-count", r->bucket_cnt, 0);
	if (r->pend_kind > TWZC_PEND_TRIM)
		return twzc__corrupt(c, "root", "pending", r->pend_kind, 0);
	return 0;
}

int twzc__root(struct twzc *c, const struct twz_root_pm **out)
{
	const void *p;
	int err = 0;

	if (!c->root) {
		err = twzc__cell(c, "root", TWZC_ROOT_OFF, sizeof(**out), 0, &p);
		if (!err)
			err = root_verify(c, p);
		if (!err)
			c->root = p;
	}
	*out = c->root;
	return err;
}

int twzc__root_edit(struct twzc *c, struct twz_root_pm **out)
{
	const struct twz_root_pm *seen;
	void *p;
	int err = twzc__root(c, &seen);

	if (!err)
		err = twzc__edit(c, "root", TWZC_ROOT_OFF, sizeof(**out), 0, &p);
	if (err)
		return err;
	c->root = *out = p;
	return 0;
}

static int runs_verify(struct twzc *c, const u64 *run, u32 cnt)
{
	const struct twz_root_pm *root;
	int err = twzc__root(c, &root);

	if (err)
		return err;
	if (!cnt || cnt > TWZC_RUNS_MAX)
		return twzc__corrupt(c, "layout", "run-count", TWZC_LAYOUT_OFF, cnt);
	for (u32 i = 0; i < cnt; i++)
		if (!twzc__pages_ok(c, root, run[i], i ? (u64)1 << (i - 1) : 1))
			return twzc__corrupt(c, "layout", "run", i, run[i]);
	return 0;
}

static int layout_verify(struct twzc *c, const struct twz_layout_pm *l)
{
	const struct twz_root_pm *root;
	int err = twzc__root(c, &root);

	if (err)
		return err;
	if (l->magic != TWZC_LAYOUT_MAGIC)
		return twzc__corrupt(c, "layout", "magic", TWZC_LAYOUT_OFF, l->magic);
	err = runs_verify(c, l->map_run, l->map_run_cnt);
	if (!err)
		err = runs_verify(c, l->bucket_run, l->bucket_run_cnt);
	if (err)
		return err;
	if (root->bucket_cnt > (u64)1 << (l->bucket_run_cnt - 1))
		return twzc__corrupt(c, "layout", "bucket-count", root->bucket_cnt,
				     l->bucket_run_cnt);
	if (TWZC_ROUND_UP(root->page_cnt, TWZC_CHUNK_PAGES) / TWZC_CHUNK_PAGES >
	    twzc__map_page_cnt(l) * TWZC_CHUNKS_PER_PAGE)
		return twzc__corrupt(c, "layout", "map-cover", root->page_cnt, l->map_run_cnt);
	return 0;
}

int twzc__layout(struct twzc *c, const struct twz_layout_pm **out)
{
	const void *p;
	int err = 0;

	if (!c->layout) {
		err = twzc__cell(c, "layout", TWZC_LAYOUT_OFF, sizeof(**out), 0, &p);
		if (!err)
			err = layout_verify(c, p);
		if (!err)
			c->layout = p;
	}
	*out = c->layout;
	return err;
}

int twzc__layout_edit(struct twzc *c, struct twz_layout_pm **out)
{
	const struct twz_layout_pm *seen;
	void *p;
	int err = twzc__layout(c, &seen);

	if (!err)
		err = twzc__edit(c, "layout", TWZC_LAYOUT_OFF, sizeof(**out), 0, &p);
	if (err)
		return err;
	c->layout = *out = p;
	return 0;
}
