// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * check.c -- does everything in the store agree? (the rules and their names are listed in
 * README.md)
 *
 * No memory is allocated: ownership of pages is collected in a bitmap in the handle's record
 * buffer, a window of the image at a time
 * (128 KiB of buffer: 4 GiB of image). Reading goes through the same functions as everything else;
 * while check_fn is set they report what is corrupt and the check goes on with the next structure.
 */
#include "core_int.h"

struct check {
	struct twzc *c;
	const struct twz_root_pm *root;
	const struct twz_layout_pm *layout;
	bool first; /* first window: the rules that need no ownership are checked too */
	u64 *owned; /* bitmap of pages lo .. hi-1 */
	u64 lo, hi;
	u64 live, deleted, building, meta;
};

static void found(struct check *k, const char *where, const char *what, u64 a, u64 b)
{
	twzc__corrupt(k->c, where, what, a, b);
}

/* --- superblocks and journal --- */

static int check_super(struct check *k)
{
	struct twz_super_pm s;
	u32 valid = 0;
	int err = twzc__super_read(k->c, &s, &valid);

	if (err && err != TWZ_E_CORRUPT)
		return err;
	if (!err && valid != 3)
		found(k, "superblock", "one-copy", valid, s.seq);
	if (!err && s.generation != k->c->sh->generation)
		found(k, "superblock", "generation", s.generation, k->c->sh->generation);
	return 0;
}

static int rec_ignore(struct twzc *c, struct twz_jrec_pm *r, void *arg)
{
	(void)c;
	(void)r;
	(void)arg;
	return 0;
}

static int check_journal(struct check *k)
{
	struct twzc_shared *sh = k->c->sh;
	u64 lsn, end;
	int err = twzc__tail_read(k->c, &lsn);

	if (!err && lsn != sh->tail && !k->c->read_only)
		found(k, "journal", "tail-differs", lsn, sh->tail);
	if (!err)
		err = twzc__rec_walk(k->c, sh->tail, sh->generation, rec_ignore, NULL, &end);
	if (!err && end != sh->head)
		found(k, "journal", "head-differs", end, sh->head);
	return err == TWZ_E_CORRUPT ? 0 : err;
}

/* --- the space map --- */

static u64 pages_of(const struct check *k, u64 chunk)
{
	return TWZC_MIN(k->root->page_cnt - chunk * TWZC_CHUNK_PAGES, TWZC_CHUNK_PAGES);
}

static int check_map(struct check *k)
{
	u64 used = 0;

	for (u64 i = 0; i * TWZC_CHUNK_PAGES < k->root->page_cnt; i++) {
		const struct twz_chunk_pm *m;
		int err = twzc__chunk(k->c, i, &m);

		if (err && err != TWZ_E_CORRUPT)
			return err;
		if (err)
			continue;
		used += m->used_cnt;
		for (u64 p = pages_of(k, i); p < TWZC_CHUNK_PAGES; p++)
			if (m->map[p / 64] >> p % 64 & 1)
				found(k, "space map", "beyond-end", i, p);
	}
	if (used + k->root->free_cnt != k->root->page_cnt)
		found(k, "root", "free-count", k->root->free_cnt, k->root->page_cnt - used);
	return 0;
}

/* --- ownership --- */

static void own(struct check *k, u64 page, u64 cnt)
{
	for (u64 p = TWZC_MAX(page, k->lo); p < page + cnt && p < k->hi; p++) {
		u64 *word = &k->owned[(p - k->lo) / 64], b = (u64)1 << (p - k->lo) % 64;

		if (*word & b)
			found(k, "space", "page-twice", p, page);
		*word |= b;
	}
}

static void own_meta(struct check *k, u64 page, u64 cnt)
{
	k->meta += cnt;
	own(k, page, cnt);
}

static void own_fixed(struct check *k)
{
	const struct twz_layout_pm *l = k->layout;

	own_meta(k, 0, k->c->super.journal_page + k->c->super.journal_page_cnt);
	for (u32 i = 0; i < l->map_run_cnt; i++)
		own_meta(k, l->map_run[i], i ? (u64)1 << (i - 1) : 1);
	for (u32 i = 0; i < l->bucket_run_cnt; i++)
		own_meta(k, l->bucket_run[i], i ? (u64)1 << (i - 1) : 1);
}

/* Runs of pages where map and owners differ, so that one lost chunk is one finding. */
static int compare(struct check *k)
{
	const struct twz_chunk_pm *m = NULL;
	u64 start = 0;
	int state = 0, now, err;

	for (u64 p = k->lo; p < k->hi; p++) {
		if (p == k->lo || p % TWZC_CHUNK_PAGES == 0) {
			err = twzc__chunk(k->c, p / TWZC_CHUNK_PAGES, &m);
			if (err && err != TWZ_E_CORRUPT)
				return err;
			if (err)
				m = NULL;
		}
		now = m ? (int)(m->map[p / 64 % 8] >> p % 64 & 1) -
				      (int)(k->owned[(p - k->lo) / 64] >> (p - k->lo) % 64 & 1)
			: 0;
		if (now == state)
			continue;
		if (state)
			found(k, "space", state > 0 ? "page-leaked" : "page-not-marked", start,
			      p - start);
		state = now;
		start = p;
	}
	if (state)
		found(k, "space", state > 0 ? "page-leaked" : "page-not-marked", start,
		      k->hi - start);
	return 0;
}

/* --- objects --- */

struct cover {
	u32 slot; /* slot page expected next */
	u64 pages;
	u32 data_runs;
	bool gap;
	bool top; /* past the data */
};

/*
 * An extent in its place: order, alignment beyond 2 MiB, no holes but the one between data and FOT.
 */
static void check_extent(struct check *k, const struct twz_entry_pm *e,
			 const struct twz_extent_pm *x, struct cover *cv, u64 off)
{
	bool data = x->slot_page < TWZC_TOP_PAGE;
	u32 end = x->slot_page + x->cnt;

	if (x->slot_page < cv->slot)
		found(k, "extent", "overlap", off, x->slot_page);
	if (!data && !cv->top) { /* from data to FOT and meta page */
		cv->top = true;
		if (cv->slot != 1 + twzc__data_owned(e->len / TWZC_PAGE, e->layout))
			cv->gap = true;
		cv->slot = TWZC_META_PAGE - e->fot_page_cnt;
	}
	if (x->slot_page != cv->slot)
		cv->gap = true;
	if (data && !e->layout && end > TWZC_CHUNK_PAGES &&
	    (x->file_page - x->slot_page) % TWZC_CHUNK_PAGES)
		found(k, "extent", "alignment", off, x->slot_page);
	cv->data_runs += data;
	cv->pages += x->cnt;
	cv->slot = end;
}

static int check_extents(struct check *k, const struct twz_entry_pm *e, u64 off)
{
	struct cover cv = {.slot = 1};
	int err = 0;

	for (u32 i = 0; i < e->extent_cnt; i++) {
		struct twz_extent_pm x;

		err = twzc__ext_get(k->c, e, i, &x);
		if (err)
			return err == TWZ_E_CORRUPT ? 0 : err;
		own(k, x.file_page, x.cnt);
		check_extent(k, e, &x, &cv, off);
	}
	if (!k->first)
		return 0;
	if (cv.pages != e->page_cnt)
		found(k, "object", "page-count", off, e->page_cnt);
	if (e->state == TWZC_OBJ_LIVE && (cv.gap || cv.slot != TWZC_SLOT_PAGES))
		found(k, "object", "cover", off, cv.slot);
	if (e->layout && cv.data_runs > 1)
		found(k, "object", "contiguous", off, cv.data_runs);
	return 0;
}

static void own_ext_pages(struct check *k, const struct twz_entry_pm *e)
{
	for (u32 i = 0; i < TWZC_EXT_PAGES; i++)
		if (e->ext_page[i])
			own_meta(k, e->ext_page[i], 1);
}

static int check_entry(struct check *k, const struct twzc__loc *loc)
{
	const struct twz_entry_pm *e, *other;
	u64 off = twzc__entry_off(loc);
	struct twzc__loc at;
	int err = twzc__entry(k->c, loc, &e);

	if (err)
		return err == TWZ_E_CORRUPT ? 0 : err;
	k->live += e->state == TWZC_OBJ_LIVE;
	k->deleted += e->state == TWZC_OBJ_DELETED;
	k->building += e->state == TWZC_OBJ_BUILDING;
	own_ext_pages(k, e);
	if (k->first && twzc__bucket_of(k->c, k->root->bucket_cnt, e->id) != loc->bucket)
		found(k, "object", "wrong-bucket", off, loc->bucket);
	else if (k->first && !twzc__tab_find(k->c, e->id, &at, &other) &&
		 twzc__entry_off(&at) != off)
		found(k, "object", "id-twice", off, twzc__entry_off(&at));
	return check_extents(k, e, off);
}

static int check_bucket(struct check *k, u64 bucket)
{
	struct twzc__loc loc = {.bucket = bucket};
	const struct twz_bucket_pm *b;
	int err = twzc__bucket_page(k->c, bucket, &loc.page);

	while (!err) {
		err = twzc__bucket(k->c, loc.page, bucket, loc.depth, &b);
		if (err)
			break;
		if (loc.depth)
			own_meta(k, loc.page, 1);
		for (loc.slot = 0; loc.slot < TWZC_BUCKET_ENTRIES && !err; loc.slot++)
			if (b->used >> loc.slot & 1)
				err = check_entry(k, &loc);
		if (!b->next)
			break;
		loc.page = b->next;
		loc.depth++;
	}
	return err == TWZ_E_CORRUPT ? 0 : err;
}

static void check_counts(struct check *k)
{
	const struct twz_root_pm *r = k->root;

	if (k->live != r->obj_cnt)
		found(k, "root", "object-count", r->obj_cnt, k->live);
	if (k->deleted != r->deleted_cnt)
		found(k, "root", "deleted-count", r->deleted_cnt, k->deleted);
	if (k->meta != r->meta_cnt)
		found(k, "root", "meta-count", r->meta_cnt, k->meta);
	if (k->building || r->pend_kind)
		found(k, "root", "pending", r->pend_kind, k->building);
}

static int check_window(struct check *k)
{
	int err = 0;

	k->c->ops->set(k->owned, 0, k->c->tx_cap);
	k->live = k->deleted = k->building = k->meta = 0;
	own_fixed(k);
	for (u64 b = 0; b < k->root->bucket_cnt && !err; b++)
		err = check_bucket(k, b);
	if (!err && k->first)
		check_counts(k);
	return err ? err : compare(k);
}

static int check_structure(struct check *k)
{
	u64 step = k->c->tx_cap / 64 * 512; /* one bit a page */
	int err = check_map(k);

	k->owned = (u64 *)k->c->tx;
	k->first = true;
	for (k->lo = 0; k->lo < k->root->page_cnt && !err; k->lo += step) {
		k->hi = TWZC_MIN(k->lo + step, k->root->page_cnt);
		err = check_window(k);
		k->first = false;
	}
	return err;
}

int twzc_check(struct twzc *c, twzc_report fn, void *ctx, u64 *cnt)
{
	struct check k = {.c = c};
	int err;

	*cnt = 0;
	twzc__begin(c);
	if (!c->sh->ready)
		return TWZ_E_STATE;
	c->check_fn = fn;
	c->check_ctx = ctx;
	c->check_found = 0;
	err = check_super(&k);
	if (!err)
		err = check_journal(&k);
	if (!err)
		err = twzc__root(c, &k.root);
	if (!err)
		err = twzc__layout(c, &k.layout);
	if (!err)
		err = check_structure(&k);
	*cnt = c->check_found;
	c->check_fn = NULL;
	return err == TWZ_E_CORRUPT ? 0 : err;
}
