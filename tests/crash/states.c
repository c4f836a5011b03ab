/* SPDX-License-Identifier: MIT
 * states.c -- enumerate the legal images at one crash point: all of them when they are few, else the telling ones and a sample
 */
#include "legal_int.h"

#include <stdlib.h>
#include <string.h>

struct gen {
	struct legal *l;
	const struct legal_query *q;
	legal_fn fn;
	void *ctx;
	uint64_t given;
	struct candidate c;
	uint32_t unit_cnt; /* = l->dirty_cnt */
};

/* Pick slot i stands for l->dirty[i]; picks at prefix 0 are left out of what the caller sees. */
static void give(struct gen *g, const struct pick *all)
{
	struct pick *out = g->l->scratch + g->unit_cnt;

	g->c.pick = out;
	g->c.pick_cnt = 0;
	for (uint32_t i = 0; i < g->unit_cnt; i++)
		if (all[i].kind != PICK_PREFIX || all[i].a)
			out[g->c.pick_cnt++] = all[i];
	g->fn(g->ctx, &g->c);
	g->given++;
}

static uint32_t cnt_of(const struct gen *g, uint32_t i)
{
	return g->l->units[g->l->dirty[i]].cnt;
}

static bool is_fixed(const struct gen *g, uint32_t i)
{
	return g->l->dirty[i] == g->q->only;
}

/* Every unit at base, or complete; the fixed one always complete. */
static void set_all(struct gen *g, struct pick *p, bool full)
{
	for (uint32_t i = 0; i < g->unit_cnt; i++)
		p[i] = (struct pick){.unit = g->l->dirty[i],
				     .a = full || is_fixed(g, i) ? cnt_of(g, i) : 0};
}

/* Number of prefix combinations, or more than CAP. */
static uint64_t product(const struct gen *g, uint64_t cap)
{
	uint64_t n = 1;

	for (uint32_t i = 0; i < g->unit_cnt && n <= cap; i++)
		if (!is_fixed(g, i))
			n *= (uint64_t)cnt_of(g, i) + 1;
	return n;
}

static void exhaust(struct gen *g, struct pick *p)
{
	uint32_t i;

	set_all(g, p, false);
	for (;;) {
		give(g, p);
		for (i = 0; i < g->unit_cnt; i++) {
			if (is_fixed(g, i))
				continue;
			if (p[i].a < cnt_of(g, i)) {
				p[i].a++;
				break;
			}
			p[i].a = 0;
		}
		if (i == g->unit_cnt)
			return;
	}
}

static uint32_t rand_below(struct gen *g, uint32_t n)
{
	return (uint32_t)((crash_rand(g->q->rng) >> 32) * n >> 32);
}

/* One page at two moments, by sector; a line only partly past the cache in another order. */
static void pick_odd(struct gen *g, struct pick *p, uint32_t i)
{
	const struct unit *u = &g->l->units[p[i].unit];

	if (g->l->media == SIM_MEDIA_PAGE) {
		p[i].kind = PICK_TORN;
		p[i].a = rand_below(g, 3) ? 0 : rand_below(g, u->cnt + 1);
		p[i].b = rand_below(g, 2) ? u->cnt : p[i].a + rand_below(g, u->cnt - p[i].a + 1);
		p[i].mask = (uint8_t)crash_rand(g->q->rng);
	} else if (u->weak == u->cnt && u->cnt > 1) {
		p[i].kind = PICK_SUFFIX;
		p[i].a = 1 + rand_below(g, u->cnt - 1);
	} else {
		p[i].a = rand_below(g, u->cnt + 1);
	}
}

static void sample(struct gen *g, struct pick *p)
{
	uint32_t bias = rand_below(g, 4); /* mostly missing, mostly there, or even */

	set_all(g, p, false);
	for (uint32_t i = 0; i < g->unit_cnt; i++) {
		uint32_t dice = rand_below(g, 8);

		if (is_fixed(g, i))
			continue;
		if (dice == 0)
			pick_odd(g, p, i);
		else if (dice == 1)
			p[i].a = rand_below(g, cnt_of(g, i) + 1);
		else
			p[i].a = rand_below(g, 4) < bias ? cnt_of(g, i) : 0;
	}
	give(g, p);
}

/* Each unit alone, each unit missing; a random choice of units when there are many. */
static void singles(struct gen *g, struct pick *p, uint64_t cap)
{
	uint32_t n = g->unit_cnt, skip = 0, step = 1;

	if (n * 2ull > cap) {
		step = (uint32_t)(n * 2ull / (cap ? cap : 1)) + 1;
		skip = rand_below(g, step);
	}
	for (uint32_t i = skip; i < n; i += step) {
		if (is_fixed(g, i))
			continue;
		set_all(g, p, false);
		p[i].a = cnt_of(g, i);
		give(g, p);
		set_all(g, p, true);
		p[i].a = 0;
		give(g, p);
	}
}

/*
 * A page written back whole or not at all is one thing, a page cut at each of its sectors
 * another: moment A below, the newest above, one sector or all but one of them new.
 */
static void torn_page(struct gen *g, struct pick *p, uint32_t i, uint32_t a, uint64_t end)
{
	for (uint32_t k = 0; k < 32 && g->given < end; k++) {
		set_all(g, p, k & 16);
		p[i].kind = PICK_TORN;
		p[i].a = a;
		p[i].b = cnt_of(g, i);
		p[i].mask = (uint8_t)(k & 8 ? ~(1u << (k & 7)) : 1u << (k & 7));
		give(g, p);
	}
}

static void torn(struct gen *g, struct pick *p, uint64_t cap)
{
	uint64_t end = g->given + cap;

	for (uint32_t a = 0; a < 4; a++)
		for (uint32_t i = 0; i < g->unit_cnt && g->given < end; i++)
			if (!is_fixed(g, i) && a < cnt_of(g, i))
				torn_page(g, p, i, a, end);
}

/* Lines written past the cache, with only their last words arrived. */
static void reordered(struct gen *g, struct pick *p, uint64_t cap)
{
	uint64_t end = g->given + cap;

	for (uint32_t i = 0; i < g->unit_cnt && g->given < end; i++) {
		const struct unit *u = &g->l->units[g->l->dirty[i]];

		if (is_fixed(g, i) || u->weak != u->cnt)
			continue;
		for (uint32_t a = 1; a < u->cnt && g->given < end; a++) {
			set_all(g, p, a & 1);
			p[i].kind = PICK_SUFFIX;
			p[i].a = a;
			give(g, p);
		}
	}
}

static void out_of_order(struct gen *g, struct pick *p, uint64_t cap)
{
	if (g->l->media == SIM_MEDIA_PAGE)
		torn(g, p, cap);
	else
		reordered(g, p, cap);
}

static bool states(struct gen *g, uint64_t cap, uint64_t exhaust_max)
{
	struct pick *p = g->l->scratch;
	uint64_t all = product(g, exhaust_max), end = g->given + cap;

	if (all <= exhaust_max) {
		exhaust(g, p);
		out_of_order(g, p, cap); /* not in the product */
		return true;
	}
	set_all(g, p, false);
	give(g, p);
	set_all(g, p, true);
	give(g, p);
	if (cap > 4)
		singles(g, p, cap / 2);
	if (cap > 16)
		out_of_order(g, p, cap / 4);
	while (g->given < end)
		sample(g, p);
	return false;
}

/* The overlay of a write in flight, with nothing, all, or a sample of the rest. */
static void with_rest(struct gen *g)
{
	struct pick *p = g->l->scratch;

	set_all(g, p, false);
	give(g, p);
	if (!g->unit_cnt)
		return;
	if (rand_below(g, 2)) {
		set_all(g, p, true);
		give(g, p);
	} else {
		sample(g, p);
	}
}

static bool in_flight_write(struct gen *g, uint64_t cap)
{
	const struct sim_ev *w = g->q->inflight;
	uint64_t first = w->off / SIM_SECTOR, cnt = (w->off + w->len - 1) / SIM_SECTOR - first + 1;
	uint64_t end = g->given + cap;

	if (w->off + w->len > g->c.len) /* an append: its bytes and the new length come together */
		g->c.len = w->off + w->len;
	if (cnt <= 16 && (1ull << cnt) <= cap) {
		g->c.overlay = OVERLAY_MASK;
		for (g->c.overlay_arg = 1; g->c.overlay_arg < 1ull << cnt; g->c.overlay_arg++)
			with_rest(g);
		return true;
	}
	for (uint64_t i = 0; g->given < end; i++) {
		g->c.overlay =
			(uint8_t[]){OVERLAY_FIRST, OVERLAY_ONLY, OVERLAY_BUT, OVERLAY_MASK}[i & 3];
		g->c.overlay_arg = g->c.overlay == OVERLAY_MASK ? crash_rand(g->q->rng)
								: crash_rand(g->q->rng) % (cnt + 1);
		if (i < 4 &&
		    i != 3) /* the whole write; its first sector alone; all but the first */
			g->c.overlay_arg = i ? 0 : cnt;
		with_rest(g);
	}
	return false;
}

bool legal_states(struct legal *l, const struct legal_query *q, legal_fn fn, void *ctx)
{
	struct gen g = {.l = l, .q = q, .fn = fn, .ctx = ctx, .unit_cnt = l->dirty_cnt};

	if (l->scratch_cap < 2ull * l->dirty_cnt + 2) {
		l->scratch_cap = 4ull * l->dirty_cnt + 64;
		free(l->scratch);
		l->scratch = malloc(l->scratch_cap * sizeof(*l->scratch));
		if (!l->scratch)
			abort();
	}
	g.c.len = l->len;
	if (!q->inflight)
		return states(&g, q->cap, q->exhaust);
	if (q->inflight->type == EV_WRITE && q->inflight->len)
		return in_flight_write(&g, q->cap);
	if (q->inflight->type == EV_GROW) {
		g.c.len = q->inflight->off + (q->inflight->len / 2 & ~(uint64_t)(SIM_PAGE - 1));
		with_rest(&g);
	}
	return true;
}
