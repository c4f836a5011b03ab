// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * space.c -- the space map: finding, taking and giving back pages; growing the image
 *
 * Finding changes nothing; taking edits chunk cells inside the record being built; so the whole of
 * an allocation becomes true with its record. Policy: page runs go into chunks already begun, so
 * that whole chunks stay whole for large objects.
 */
#include "core_int.h"

#define GROW_SHARE 128
#define GROW_MAX   (((u64)64 << 20) / TWZC_PAGE)

static u64 chunk_pages(const struct twz_root_pm *root, u64 chunk)
{
	u64 first = chunk * TWZC_CHUNK_PAGES;

	return first >= root->page_cnt ? 0 : TWZC_MIN(root->page_cnt - first, TWZC_CHUNK_PAGES);
}

static u64 chunk_cnt(const struct twz_root_pm *root)
{
	return TWZC_ROUND_UP(root->page_cnt, TWZC_CHUNK_PAGES) / TWZC_CHUNK_PAGES;
}

/* Pages of the space map: runs of 1, 1, 2, 4, ... */
u64 twzc__map_page_cnt(const struct twz_layout_pm *l)
{
	return (u64)1 << (l->map_run_cnt - 1);
}

/* Where the cell of CHUNK is. The layout was verified to cover the image. */
static u64 chunk_off(const struct twz_layout_pm *l, u64 chunk)
{
	u64 m = chunk / TWZC_CHUNKS_PER_PAGE;
	u32 run = m ? twzc__log2(m) + 1 : 0;
	u64 idx = m ? m - ((u64)1 << (run - 1)) : 0;

	return (l->map_run[run] + idx) * TWZC_PAGE +
	       chunk % TWZC_CHUNKS_PER_PAGE * sizeof(struct twz_chunk_pm);
}

static int chunk_verify(struct twzc *c, const struct twz_chunk_pm *k, u64 chunk)
{
	u32 used = 0;

	for (u32 i = 0; i < 8; i++)
		used += k->map[i] == ~(u64)0 ? 64 : twzc__popcount(k->map[i]);
	if (used != k->used_cnt)
		return twzc__corrupt(c, "space map", "used-count", chunk, k->used_cnt);
	if (k->kind > TWZC_CHUNK_WHOLE || k->fresh > TWZC_CHUNK_PAGES || k->refs)
		return twzc__corrupt(c, "space map", "chunk", chunk, k->kind);
	return 0;
}

int twzc__chunk(struct twzc *c, u64 chunk, const struct twz_chunk_pm **out)
{
	const struct twz_layout_pm *l;
	const void *p;
	int err = twzc__layout(c, &l);

	if (!err)
		err = twzc__cell(c, "space map", chunk_off(l, chunk), sizeof(**out), TWZC_ZERO_OK,
				 &p);
	if (err)
		return err;
	*out = p;
	return chunk_verify(c, p, chunk);
}

static int chunk_edit(struct twzc *c, u64 chunk, struct twz_chunk_pm **out)
{
	const struct twz_chunk_pm *seen;
	const struct twz_layout_pm *l;
	void *p;
	int err = twzc__chunk(c, chunk, &seen);

	if (!err)
		err = twzc__layout(c, &l);
	if (!err)
		err = twzc__edit(c, "space map", chunk_off(l, chunk), sizeof(**out), TWZC_ZERO_OK,
				 &p);
	if (!err)
		*out = p;
	return err;
}

static bool bit(const struct twz_chunk_pm *k, u64 page)
{
	return k->map[page / 64 % 8] >> page % 64 & 1;
}

/* --- finding --- */

struct search {
	const struct twzc__want *want;
	bool skip_empty;       /* leave whole chunks alone */
	u64 start;	       /* first page of the present free run */
	u64 len;	       /* its length, 0 = none */
	struct twzc__run best; /* longest run seen */
	u64 first_free;	       /* lowest free page seen, or ~0 */
	u64 first_whole;       /* lowest wholly free chunk seen, or ~0 */
};

static bool search_done(const struct search *s)
{
	return s->best.cnt >= s->want->cnt;
}

static void run_note(struct search *s)
{
	u64 cnt = s->want->whole ? s->len / TWZC_CHUNK_PAGES * TWZC_CHUNK_PAGES : s->len;

	if (cnt > s->best.cnt) {
		s->best.page = s->start;
		s->best.cnt = cnt;
	}
}

static void run_extend(struct search *s, u64 page, u64 cnt)
{
	if (!s->len) {
		if ((s->want->aligned || s->want->whole) && page % TWZC_CHUNK_PAGES)
			return;
		s->start = page;
	}
	s->len += cnt;
	run_note(s);
}

static void search_chunk(struct search *s, const struct twz_chunk_pm *k, u64 chunk, u64 pages)
{
	u64 first = chunk * TWZC_CHUNK_PAGES;

	if (k->used_cnt < pages && s->first_free == ~(u64)0)
		s->first_free = first;
	if (!k->used_cnt && pages == TWZC_CHUNK_PAGES) {
		if (s->first_whole == ~(u64)0)
			s->first_whole = chunk;
		if (s->skip_empty)
			s->len = 0;
		else
			run_extend(s, first, pages);
		return;
	}
	if (k->used_cnt == pages) {
		s->len = 0;
		return;
	}
	for (u64 p = 0; p < pages && !search_done(s); p++) {
		if (bit(k, p))
			s->len = 0;
		else
			run_extend(s, first + p, 1);
	}
}

/* Chunks FROM .. TO-1 in order, until a run is long enough. */
static int search_range(struct twzc *c, struct search *s, u64 from, u64 to)
{
	const struct twz_root_pm *root;
	int err = twzc__root(c, &root);

	s->len = 0;
	for (u64 i = from; i < to && !err && !search_done(s); i++) {
		const struct twz_chunk_pm *k;

		err = twzc__chunk(c, i, &k);
		if (!err)
			search_chunk(s, k, i, chunk_pages(root, i));
	}
	return err;
}

/*
 * The hints say where free pages and whole chunks begin at the earliest; nothing below needs a
 * look. They rise when a search from the hint proves it, and fall when something is given back.
 * They are only hints: a wrong one costs space, not safety.
 */
static void hints_raise(struct twzc *c, const struct search *s, bool chunks)
{
	if (chunks && s->first_whole != ~(u64)0)
		c->sh->hint_chunk = s->first_whole;
	if (!chunks && s->first_free != ~(u64)0)
		c->sh->hint_page = s->first_free;
}

/* Most chunks a search for a page run looks at before it takes pages of a whole chunk. */
#define SEARCH_BEGUN_MAX 2048

static int search_all(struct twzc *c, const struct twzc__want *want, struct search *s)
{
	const struct twz_root_pm *root;
	bool chunks = want->aligned || want->whole;
	u64 from = chunks ? c->sh->hint_chunk : c->sh->hint_page / TWZC_CHUNK_PAGES, to;
	int err = twzc__root(c, &root);

	if (err)
		return err;
	to = chunk_cnt(root);
	if (from >= to)
		from = 0;
	c->ops->set(s, 0, sizeof(*s));
	s->want = want;
	s->first_free = s->first_whole = ~(u64)0;
	if (!chunks && want->cnt < TWZC_CHUNK_PAGES) {
		s->skip_empty = true;
		err = search_range(c, s, from, TWZC_MIN(to, from + SEARCH_BEGUN_MAX));
		s->skip_empty = false;
	}
	if (!err && !search_done(s))
		err = search_range(c, s, from, to);
	if (!err)
		hints_raise(c, s, chunks);
	return err;
}

/* --- growing --- */

/*
 * How much a store of PAGE_CNT pages grows at once, if that is more than it needs: small ones double, up to a
 * chunk; larger ones by 1/GROW_SHARE. Less space is taken for nothing, and who stores much asks for much at once.
 */
static u64 growth_wish(u64 page_cnt)
{
	return page_cnt < TWZC_CHUNK_PAGES
		       ? page_cnt
		       : TWZC_MIN(TWZC_MAX(TWZC_CHUNK_PAGES, page_cnt / GROW_SHARE), GROW_MAX);
}

struct growth {
	u64 old_cnt, new_cnt; /* pages of the image */
	u32 map_runs;	      /* new runs of map pages, */
	u64 map_pages;	      /* this many pages from old_cnt on */
};

/*
 * Plan, pure: NEED more usable pages, WISH more if it costs no further run of map pages. False:
 * more than a map can say.
 */
static bool growth_plan(const struct twz_root_pm *root, const struct twz_layout_pm *l, u64 need,
			u64 wish, struct growth *g)
{
	u64 map = twzc__map_page_cnt(l), per = TWZC_CHUNKS_PER_PAGE * TWZC_CHUNK_PAGES;
	u32 runs = l->map_run_cnt;

	g->old_cnt = root->page_cnt;
	g->map_runs = 0;
	g->map_pages = 0;
	while (root->page_cnt + need + g->map_pages > map * per) {
		if (runs + g->map_runs == TWZC_RUNS_MAX)
			return false;
		g->map_pages += map;
		map *= 2;
		g->map_runs++;
	}
	g->new_cnt = root->page_cnt + TWZC_MAX(need + g->map_pages, wish);
	if (g->new_cnt > TWZC_CHUNK_PAGES && wish > need + g->map_pages)
		g->new_cnt = TWZC_ROUND_UP(g->new_cnt, TWZC_CHUNK_PAGES);
	g->new_cnt = TWZC_MIN(g->new_cnt, map * per);
	return true;
}

/*
 * Take the new space into use: part of the record being built. New map pages describe themselves:
 * D11 made them zero.
 */
static int growth_apply(struct twzc *c, const struct growth *g)
{
	struct twz_layout_pm *l;
	struct twz_root_pm *root;
	u64 page = g->old_cnt, map_pages;
	int err = twzc__root_edit(c, &root);

	if (!err && g->map_runs)
		err = twzc__layout_edit(c, &l);
	if (err)
		return err;
	root->page_cnt = g->new_cnt;
	root->free_cnt += g->new_cnt - g->old_cnt;
	if (!g->map_runs)
		return 0;
	map_pages = twzc__map_page_cnt(l);
	for (u32 i = 0; i < g->map_runs; i++) {
		l->map_run[l->map_run_cnt++] = page;
		page += map_pages;
		map_pages *= 2;
	}
	return twzc__meta_take_run(c, (struct twzc__run){g->old_cnt, g->map_pages});
}

/*
 * NEED more pages. The image is longer before any record says so (D11); a growth whose record is
 * never written is used later.
 */
static int grow(struct twzc *c, u64 need)
{
	const struct twz_layout_pm *l;
	const struct twz_root_pm *root;
	struct growth g;
	int err = twzc__root(c, &root);

	if (!err)
		err = twzc__layout(c, &l);
	if (err)
		return err;
	if (!growth_plan(root, l, need, growth_wish(root->page_cnt), &g))
		return TWZ_E_NOSPC;
	err = c->ops->grow(c->ctx, g.new_cnt * TWZC_PAGE);
	if (err == TWZ_E_NOSPC) { /* a nearly full disk: only what is needed */
		growth_plan(root, l, need, 0, &g);
		err = c->ops->grow(c->ctx, g.new_cnt * TWZC_PAGE);
	}
	return err ? err : growth_apply(c, &g);
}

/* Free pages at the very end of the image that an allocation could begin with. */
static int free_at_end(struct twzc *c, const struct twzc__want *want, u64 *cnt)
{
	const struct twz_chunk_pm *k;
	const struct twz_root_pm *root;
	u64 page, chunk = ~(u64)0;
	int err = twzc__root(c, &root);

	*cnt = 0;
	if (err)
		return err;
	for (page = root->page_cnt; page > 0 && root->page_cnt - page < want->cnt; page--) {
		if ((page - 1) / TWZC_CHUNK_PAGES != chunk) {
			chunk = (page - 1) / TWZC_CHUNK_PAGES;
			err = twzc__chunk(c, chunk, &k);
			if (err)
				return err;
		}
		if (bit(k, (page - 1) % TWZC_CHUNK_PAGES))
			break;
	}
	if (want->aligned || want->whole)
		page = TWZC_ROUND_UP(page, TWZC_CHUNK_PAGES);
	*cnt = page < root->page_cnt ? root->page_cnt - page : 0;
	return 0;
}

/*
 * Pages to grow by so that a run of want->cnt, suitably aligned, ends the image. New map pages come
 * first in new space.
 */
static int grow_for(struct twzc *c, const struct twzc__want *want)
{
	const struct twz_layout_pm *l;
	const struct twz_root_pm *root;
	struct growth g;
	u64 at_end, need;
	int err = free_at_end(c, want, &at_end);

	if (!err)
		err = twzc__root(c, &root);
	if (!err)
		err = twzc__layout(c, &l);
	if (err)
		return err;
	if (!want->exact && !want->aligned && !want->whole) /* pieces will do */
		return grow(c, want->cnt - TWZC_MIN(root->free_cnt, want->cnt - 1));
	need = want->cnt - TWZC_MIN(at_end, want->cnt);
	if (!at_end && (want->aligned || want->whole))
		need += TWZC_ROUND_UP(root->page_cnt, TWZC_CHUNK_PAGES) - root->page_cnt;
	if (!growth_plan(root, l, need, 0, &g))
		return TWZ_E_NOSPC;
	if (g.map_pages) /* they cut the run at the end off: all of it must be new, behind them */
		need = want->cnt + TWZC_CHUNK_PAGES;
	return grow(c, need);
}

static bool good_enough(const struct search *s, const struct twz_root_pm *root)
{
	const struct twzc__want *w = s->want;

	if (search_done(s))
		return true;
	if (w->exact)
		return false;
	/*
	 * Pieces will do if there are enough of them in all: whole chunks cannot be counted, so any
	 * is taken.
	 */
	return s->best.cnt && (w->whole || root->free_cnt >= w->cnt);
}

int twzc__space_find(struct twzc *c, const struct twzc__want *want, struct twzc__run *out)
{
	const struct twz_root_pm *root;
	struct search s;
	int err = search_all(c, want, &s);

	if (!err)
		err = twzc__root(c, &root);
	if (!err && !good_enough(&s, root)) {
		err = grow_for(c, want);
		if (!err)
			err = search_all(c, want, &s);
		if (!err && !s.best.cnt)
			err = TWZ_E_NOSPC;
		if (!err && want->exact && !search_done(&s))
			err = TWZ_E_NOSPC;
	}
	if (err)
		return err;
	out->page = s.best.page;
	out->cnt = TWZC_MIN(s.best.cnt, want->cnt);
	return 0;
}

static int free_from(struct twzc *c, u64 page, u64 cnt, u64 *free_cnt)
{
	const struct twz_chunk_pm *k;
	const struct twz_root_pm *root;
	u64 n = 0, chunk = ~(u64)0;
	int err = twzc__root(c, &root);

	*free_cnt = 0;
	for (; !err && n < cnt && page + n < root->page_cnt; n++) {
		if ((page + n) / TWZC_CHUNK_PAGES != chunk) {
			chunk = (page + n) / TWZC_CHUNK_PAGES;
			err = twzc__chunk(c, chunk, &k);
			if (err)
				break;
			if (!k->used_cnt && chunk_pages(root, chunk) == TWZC_CHUNK_PAGES) {
				/* The whole chunk at once. */
				n += TWZC_CHUNK_PAGES - 1 - (page + n) % TWZC_CHUNK_PAGES;
				continue;
			}
		}
		if (bit(k, (page + n) % TWZC_CHUNK_PAGES))
			break;
	}
	*free_cnt = TWZC_MIN(n, cnt);
	return err;
}

int twzc__space_after(struct twzc *c, u64 page, u64 cnt, bool may_grow, u64 *free_cnt)
{
	const struct twz_root_pm *root;
	int err = free_from(c, page, cnt, free_cnt);

	if (!err)
		err = twzc__root(c, &root);
	if (err || *free_cnt == cnt || !may_grow || page + *free_cnt != root->page_cnt)
		return err;
	err = grow(c, cnt - *free_cnt);
	if (!err)
		err = free_from(c, page, cnt, free_cnt);
	return err;
}

/* --- taking and giving --- */

/*
 * Pages [first, first + cnt) of a chunk become used, the first EXPOSED of them will be written.
 * *DIRTY: how many of those may have been written before.
 */
static int chunk_take(struct twzc *c, u64 chunk, u64 first, u64 cnt, u64 exposed, u64 *dirty)
{
	struct twz_chunk_pm *k;
	int err = chunk_edit(c, chunk, &k);

	if (err)
		return err;
	for (u64 p = first; p < first + cnt; p++) {
		if (bit(k, p))
			return twzc__corrupt(c, "space map", "taken-twice", chunk, p);
		k->map[p / 64] |= (u64)1 << p % 64;
	}
	*dirty = 0;
	if (exposed && k->fresh > first)
		*dirty = TWZC_MIN((u64)k->fresh, first + exposed) - first;
	if (exposed)
		k->fresh = (u32)TWZC_MAX((u64)k->fresh, first + exposed);
	k->used_cnt += (u32)cnt;
	k->kind = cnt == TWZC_CHUNK_PAGES ? TWZC_CHUNK_WHOLE : TWZC_CHUNK_PAGED;
	return 0;
}

/* Zeroing of neighbouring ranges in one call: each may be a write and a sync. */
struct zeroing {
	u64 page, cnt;
};

static int zero_flush(struct twzc *c, struct zeroing *z)
{
	int err = z->cnt ? c->ops->zero(c->ctx, z->page * TWZC_PAGE, z->cnt * TWZC_PAGE) : 0;

	z->cnt = 0;
	return err;
}

static int zero_add(struct twzc *c, struct zeroing *z, u64 page, u64 cnt)
{
	int err = 0;

	if (!cnt)
		return 0;
	if (z->cnt && z->page + z->cnt != page)
		err = zero_flush(c, z);
	if (!z->cnt)
		z->page = page;
	z->cnt += cnt;
	return err;
}

static int free_count(struct twzc *c, s64 delta)
{
	struct twz_root_pm *root;
	int err = twzc__root_edit(c, &root);

	if (err)
		return err;
	if (delta < 0 && root->free_cnt < (u64)-delta)
		return twzc__corrupt(c, "root", "free-count", root->free_cnt, (u64)-delta);
	root->free_cnt += (u64)delta;
	return 0;
}

/*
 * The pages are free on the medium, durably, so zeroing them before the record harms nobody
 * whatever happens next; and the record that publishes them is written after they are durably zero
 * (D2, D11).
 */
static int take(struct twzc *c, struct twzc__run run, u64 exposed, bool zero)
{
	struct zeroing z = {0, 0};
	int err = free_count(c, -(s64)run.cnt);

	for (u64 p = run.page; p < run.page + run.cnt && !err;) {
		u64 first = p % TWZC_CHUNK_PAGES, dirty = 0;
		u64 n = TWZC_MIN(TWZC_CHUNK_PAGES - first, run.page + run.cnt - p);
		u64 shown = run.page + exposed > p ? TWZC_MIN(run.page + exposed - p, n) : 0;

		err = chunk_take(c, p / TWZC_CHUNK_PAGES, first, n, shown, &dirty);
		if (!err && zero)
			err = zero_add(c, &z, p, dirty);
		p += n;
	}
	return err ? err : zero_flush(c, &z);
}

int twzc__space_take(struct twzc *c, struct twzc__run run, u64 exposed)
{
	return take(c, run, exposed, true);
}

int twzc__meta_take_run(struct twzc *c, struct twzc__run run)
{
	struct twz_root_pm *root;
	int err = take(c, run, run.cnt, false);

	if (!err)
		err = twzc__root_edit(c, &root);
	if (!err)
		root->meta_cnt += run.cnt;
	return err;
}

static int chunk_expose(struct twzc *c, u64 chunk, u64 first, u64 cnt, u64 *dirty)
{
	const struct twz_chunk_pm *seen;
	struct twz_chunk_pm *k;
	int err = twzc__chunk(c, chunk, &seen);

	if (err)
		return err;
	*dirty = seen->fresh > first ? TWZC_MIN((u64)seen->fresh, first + cnt) - first : 0;
	if (first + cnt <= seen->fresh)
		return 0;
	err = chunk_edit(c, chunk, &k);
	if (!err)
		k->fresh = (u32)(first + cnt);
	return err;
}

int twzc__space_expose(struct twzc *c, struct twzc__run run)
{
	struct zeroing z = {0, 0};
	int err = 0;

	for (u64 p = run.page; p < run.page + run.cnt && !err;) {
		u64 first = p % TWZC_CHUNK_PAGES, dirty = 0;
		u64 n = TWZC_MIN(TWZC_CHUNK_PAGES - first, run.page + run.cnt - p);

		err = chunk_expose(c, p / TWZC_CHUNK_PAGES, first, n, &dirty);
		if (!err)
			err = zero_add(c, &z, p, dirty);
		p += n;
	}
	return err ? err : zero_flush(c, &z);
}

static int chunk_give(struct twzc *c, u64 chunk, u64 first, u64 cnt)
{
	struct twz_chunk_pm *k;
	int err = chunk_edit(c, chunk, &k);

	if (err)
		return err;
	for (u64 p = first; p < first + cnt; p++) {
		if (!bit(k, p))
			return twzc__corrupt(c, "space map", "given-twice", chunk, p);
		k->map[p / 64] &= ~((u64)1 << p % 64);
	}
	k->used_cnt -= (u32)cnt;
	k->kind = k->used_cnt ? TWZC_CHUNK_PAGED : 0;
	if (!k->used_cnt)
		c->sh->hint_chunk = TWZC_MIN(c->sh->hint_chunk, chunk);
	c->sh->hint_page = TWZC_MIN(c->sh->hint_page, chunk * TWZC_CHUNK_PAGES + first);
	return 0;
}

int twzc__space_give(struct twzc *c, struct twzc__run run)
{
	int err = free_count(c, (s64)run.cnt);

	for (u64 p = run.page; p < run.page + run.cnt && !err;) {
		u64 first = p % TWZC_CHUNK_PAGES;
		u64 n = TWZC_MIN(TWZC_CHUNK_PAGES - first, run.page + run.cnt - p);

		err = chunk_give(c, p / TWZC_CHUNK_PAGES, first, n);
		p += n;
	}
	return err;
}

int twzc__meta_take(struct twzc *c, u64 *page)
{
	struct twzc__want want = {.cnt = 1, .exact = true};
	struct twzc__run run;
	int err = twzc__space_find(c, &want, &run);

	if (!err)
		err = twzc__meta_take_run(c, run);
	if (!err)
		*page = run.page;
	return err;
}

int twzc__meta_give(struct twzc *c, u64 page)
{
	struct twz_root_pm *root;
	int err = twzc__space_give(c, (struct twzc__run){page, 1});

	if (!err)
		err = twzc__root_edit(c, &root);
	if (err)
		return err;
	root->meta_cnt--;
	c->tx_freed_meta = 1;
	return 0;
}
