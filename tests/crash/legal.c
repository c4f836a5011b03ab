/* SPDX-License-Identifier: MIT
 * legal.c -- the state of the medium while the event log is walked (see legal.h)
 */
#include "legal_int.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

uint64_t crash_rand(uint64_t *rng)
{
	*rng ^= *rng >> 12;
	*rng ^= *rng << 25;
	*rng ^= *rng >> 27;
	return *rng * 0x2545F4914F6CDD1DULL;
}

/* As many callers as crash_chain() tells; further out they are the harness's own. */
uint64_t site_hash(const struct sim_ev *ev)
{
	return XXH3_64bits(ev->pc, (SIM_PC_CNT - 1) * sizeof(ev->pc[0]));
}

uint64_t site_part_hash(const struct sim_ev *ev, unsigned int depth)
{
	return XXH3_64bits_withSeed(ev->pc, depth * sizeof(ev->pc[0]), depth);
}

static void *grow(void *p, uint64_t *cap, uint64_t need, size_t size)
{
	if (need <= *cap)
		return p;
	*cap = need * 2 + 256;
	p = realloc(p, *cap * size);
	if (!p)
		abort();
	return p;
}

/*
 * --- hashing: the image's hash is the sum of its units' hashes, so that a candidate costs only
 * what it changes ---
 */

struct hash128 legal_unit_hash(const struct legal *l, uint32_t unit, const uint8_t *bytes)
{
	XXH128_hash_t h;

	if (image_zero(bytes, l->unit)) /* so a hole need not be looked at */
		return (struct hash128){{0, 0}};
	h = XXH3_128bits_withSeed(bytes, l->unit, unit);
	return (struct hash128){{h.low64, h.high64}};
}

static void rehash(struct legal *l, uint32_t unit)
{
	struct hash128 h = legal_unit_hash(l, unit, l->base + (uint64_t)unit * l->unit),
		       *old = &l->hash[unit];

	l->sum.w[0] += h.w[0] - old->w[0];
	l->sum.w[1] += h.w[1] - old->w[1];
	*old = h;
}

/* --- memory: as image_buffer_new() --- */

#define SPARE_MAX 8u

static struct legal *spare_legal[SPARE_MAX];

static struct legal *legal_make(enum sim_media media)
{
	struct legal *l = calloc(1, sizeof(*l));
	uint64_t units;

	if (!l)
		abort();
	l->media = media;
	l->unit = media == SIM_MEDIA_LINE ? SIM_LINE : SIM_PAGE;
	units = SIM_IMAGE_MAX / l->unit;
	l->base = calloc(1, SIM_IMAGE_MAX);
	l->units = calloc(units, sizeof(*l->units));
	l->hash = calloc(units, sizeof(*l->hash));
	l->dirty = malloc(units * sizeof(*l->dirty));
	if (!l->base || !l->units || !l->hash || !l->dirty)
		abort();
	return l;
}

static struct legal *legal_spare(enum sim_media media)
{
	for (unsigned int i = 0; i < SPARE_MAX; i++) {
		struct legal *l = spare_legal[i];

		if (!l || l->media != media)
			continue;
		spare_legal[i] = NULL;
		return l;
	}
	return NULL;
}

struct legal *legal_new(enum sim_media media, const uint8_t *image, uint64_t len,
			const struct mutation *mut)
{
	struct legal *l = legal_spare(media);

	if (!l)
		l = legal_make(media);
	for (uint32_t u = 0; u < (len + l->unit - 1) / l->unit; u++) {
		uint64_t at = (uint64_t)u * l->unit, n = len - at < l->unit ? len - at : l->unit;

		if (image_zero(image + at, n))
			continue;
		memcpy(l->base + at, image + at, n);
		rehash(l, u);
	}
	l->len = l->len_max = len;
	if (mut)
		l->mut = *mut;
	return l;
}

/* As legal_make() left it, but for its size. */
static void legal_clear(struct legal *l)
{
	struct legal was = *l;
	uint64_t units = (l->len_max + l->unit - 1) / l->unit;

	memset(l->base, 0, units * l->unit);
	memset(l->units, 0, units * sizeof(*l->units));
	memset(l->hash, 0, units * sizeof(*l->hash));
	*l = (struct legal){.media = was.media,
			    .unit = was.unit,
			    .base = was.base,
			    .units = was.units,
			    .hash = was.hash,
			    .dirty = was.dirty,
			    .atom = was.atom,
			    .atom_cap = was.atom_cap,
			    .scratch = was.scratch,
			    .scratch_cap = was.scratch_cap};
}

void legal_free(struct legal *l)
{
	unsigned int i = 0;

	if (!l)
		return;
	while (i < SPARE_MAX && spare_legal[i])
		i++;
	if (i < SPARE_MAX && l->len_max <= SIM_IMAGE_SMALL) {
		legal_clear(l);
		spare_legal[i] = l;
		return;
	}
	free(l->base);
	free(l->units);
	free(l->hash);
	free(l->dirty);
	free(l->atom);
	free(l->scratch);
	free(l);
}

void legal_on_base(struct legal *l, legal_base_fn fn, void *ctx)
{
	l->on_base = fn;
	l->on_base_ctx = ctx;
}

uint64_t legal_len(const struct legal *l)
{
	return l->len;
}

uint32_t legal_unit_size(const struct legal *l)
{
	return l->unit;
}

uint32_t legal_dirty_cnt(const struct legal *l)
{
	return l->dirty_cnt;
}

static void base_changed(struct legal *l, uint32_t unit)
{
	rehash(l, unit);
	if (l->on_base)
		l->on_base(l->on_base_ctx, (uint64_t)unit * l->unit,
			   l->base + (uint64_t)unit * l->unit, l->unit);
}

static void dirty_add(struct legal *l, uint32_t unit)
{
	l->units[unit].slot = l->dirty_cnt;
	l->dirty[l->dirty_cnt++] = unit;
}

static void dirty_del(struct legal *l, uint32_t unit)
{
	uint32_t slot = l->units[unit].slot, last = l->dirty[--l->dirty_cnt];

	l->dirty[slot] = last;
	l->units[last].slot = slot;
}

static void add_atom(struct legal *l, uint64_t off, const uint8_t *bytes, uint32_t len, bool weak)
{
	uint32_t unit = (uint32_t)(off / l->unit);
	struct unit *u = &l->units[unit];
	struct atom *a;

	l->atom = grow(l->atom, &l->atom_cap, l->atom_cnt + 1, sizeof(*l->atom));
	a = &l->atom[l->atom_cnt];
	*a = (struct atom){.next = LEGAL_NONE,
			   .ev = l->ev_no,
			   .off = (uint16_t)(off % l->unit),
			   .len = (uint8_t)len,
			   .weak = weak};
	memcpy(a->bytes, bytes, len);
	if (u->cnt++ == 0) {
		u->first = (uint32_t)l->atom_cnt;
		u->weak = 0;
		dirty_add(l, unit);
	} else {
		l->atom[u->last].next = (uint32_t)l->atom_cnt;
	}
	u->weak += weak;
	u->last = (uint32_t)l->atom_cnt++;
	if (weak)
		u->flushed = u->cnt;
}

static void feed_store(struct legal *l, uint64_t off, const uint8_t *bytes, uint64_t len, bool weak)
{
	while (len) {
		uint32_t n = 8 - (uint32_t)(off & 7);

		n = n < len ? n : (uint32_t)len;
		add_atom(l, off, bytes, n, weak);
		off += n;
		bytes += n;
		len -= n;
	}
}

/* The first N atoms of UNIT have arrived for good. */
static void settle_unit(struct legal *l, uint32_t unit, uint32_t n)
{
	struct unit *u = &l->units[unit];
	uint8_t *to = l->base + (uint64_t)unit * l->unit;

	for (uint32_t i = 0; i < n; i++) {
		struct atom *a = &l->atom[u->first];

		memcpy(to + a->off, a->bytes, a->len);
		u->weak -= a->weak;
		u->first = a->next;
	}
	u->cnt -= n;
	u->flushed = u->flushed > n ? u->flushed - n : 0;
	if (u->cnt == 0) {
		u->flushed = 0;
		dirty_del(l, unit);
	}
	base_changed(l, unit);
}

static void feed_fence(struct legal *l)
{
	for (uint32_t i = l->dirty_cnt; i-- > 0;)
		if (l->units[l->dirty[i]].flushed)
			settle_unit(l, l->dirty[i], l->units[l->dirty[i]].flushed);
}

static void feed_sync(struct legal *l, uint64_t off, uint64_t len)
{
	for (uint32_t i = l->dirty_cnt; i-- > 0;) {
		uint64_t at = (uint64_t)l->dirty[i] * l->unit;

		if (at < off + len && off < at + l->unit)
			settle_unit(l, l->dirty[i], l->units[l->dirty[i]].cnt);
	}
}

static void feed_flush(struct legal *l, uint64_t off, uint64_t len)
{
	for (uint64_t u = off / l->unit; u <= (off + len - 1) / l->unit && len; u++)
		l->units[u].flushed = l->units[u].cnt;
}

/* Forget atoms of a page that a durable write has covered; those outside stay possible. */
static void cover(struct legal *l, uint32_t unit, uint64_t off, uint64_t end)
{
	struct unit *u = &l->units[unit];
	uint32_t at = u->first, n = u->cnt;

	if (!n)
		return;
	dirty_del(l, unit);
	u->cnt = u->flushed = u->weak = 0;
	for (; n; n--) {
		struct atom a = l->atom[at];
		uint64_t pos = (uint64_t)unit * l->unit + a.off;

		at = a.next;
		if (pos < off || pos + a.len > end)
			add_atom(l, pos, a.bytes, a.len, a.weak);
	}
}

static void set_len(struct legal *l, uint64_t len)
{
	l->len = len;
	l->len_max = l->len_max > len ? l->len_max : len;
}

static void feed_write(struct legal *l, const struct sim_ev *ev)
{
	uint64_t end = ev->off + ev->len;

	if (end > l->len) /* appended */
		set_len(l, end);
	memcpy(l->base + ev->off, ev->data, ev->len);
	for (uint64_t u = ev->off / l->unit; ev->len && u <= (end - 1) / l->unit; u++) {
		cover(l, (uint32_t)u, ev->off, end);
		base_changed(l, (uint32_t)u);
	}
}

static void feed_grow(struct legal *l, const struct sim_ev *ev)
{
	set_len(l, ev->off + ev->len);
}

static void feed_reset(struct legal *l)
{
	while (l->dirty_cnt)
		settle_unit(l, l->dirty[0], l->units[l->dirty[0]].cnt);
	for (uint32_t u = 0; u < l->len / l->unit; u++) {
		memset(l->base + (uint64_t)u * l->unit, 0, l->unit);
		base_changed(l, u);
		l->sum.w[0] -= l->hash[u].w[0];
		l->sum.w[1] -= l->hash[u].w[1];
		l->hash[u] = (struct hash128){{0, 0}};
	}
	l->len = 0;
}

static bool mutated(const struct legal *l, const struct sim_ev *ev, enum mutation_kind kind)
{
	if (l->mut.kind != kind)
		return false;
	for (unsigned int depth = 1; l->mut.more_cnt && depth < SIM_PC_CNT && ev->pc[depth - 1];
	     depth++) {
		uint64_t part = site_part_hash(ev, depth);

		for (uint32_t i = 0; i < l->mut.more_cnt; i++)
			if (l->mut.more[i] == part)
				return true;
	}
	return l->mut.site && l->mut.site == site_hash(ev);
}

void legal_feed(struct legal *l, const struct sim_ev *ev)
{
	switch (ev->type) {
	case EV_STORE:
	case EV_NTSTORE:
		if (!mutated(l, ev, MUTATE_DROP_STORE))
			feed_store(l, ev->off, ev->data, ev->len,
				   ev->type == EV_NTSTORE && !mutated(l, ev, MUTATE_CACHE_COPY));
		break;
	case EV_FLUSH:
		if (!mutated(l, ev, MUTATE_DROP_FLUSH))
			feed_flush(l, ev->off, ev->len);
		break;
	case EV_FENCE:
		if (!mutated(l, ev, MUTATE_DROP_FENCE))
			feed_fence(l);
		break;
	case EV_WRITE:
		if (mutated(l, ev, MUTATE_DROP_WRITE))
			feed_store(l, ev->off, ev->data, ev->len, false);
		else
			feed_write(l, ev);
		break;
	case EV_SYNC:
		if (!mutated(l, ev, MUTATE_DROP_SYNC))
			feed_sync(l, ev->off, ev->len);
		break;
	case EV_SYNC_ALL:
		if (!mutated(l, ev, MUTATE_DROP_SYNC))
			feed_sync(l, 0, l->len);
		break;
	case EV_GROW:
		feed_grow(l, ev);
		break;
	case EV_RESET:
		feed_reset(l);
		break;
	case EV_DEATH:
		for (uint32_t i = 0; i < l->dirty_cnt; i++)
			l->units[l->dirty[i]].flushed = 0;
		break;
	default:
		break;
	}
	l->ev_no++;
}

/* --- the content of a unit in a candidate --- */

static void apply(const struct legal *l, uint8_t *to, uint32_t first, uint32_t n, uint32_t skip,
		  uint32_t sectors)
{
	for (uint32_t i = 0, at = first; i < n; i++, at = l->atom[at].next) {
		const struct atom *a = &l->atom[at];

		if (i >= skip && (sectors >> (a->off / SIM_SECTOR) & 1))
			memcpy(to + a->off, a->bytes, a->len);
	}
}

static bool sector_arrived(const struct candidate *c, uint64_t i)
{
	switch (c->overlay) {
	case OVERLAY_MASK:
		return c->overlay_arg >> (i & 63) & 1;
	case OVERLAY_FIRST:
		return i < c->overlay_arg;
	case OVERLAY_ONLY:
		return i == c->overlay_arg;
	case OVERLAY_BUT:
		return i != c->overlay_arg;
	default:
		return false;
	}
}

static void overlay(const struct legal *l, uint8_t *to, uint32_t unit, const struct candidate *c,
		    const struct sim_ev *w)
{
	uint64_t page = (uint64_t)unit * l->unit, first = w->off / SIM_SECTOR;

	for (uint64_t s = page; s < page + l->unit; s += SIM_SECTOR) {
		uint64_t lo = s > w->off ? s : w->off, hi = (s / SIM_SECTOR + 1) * SIM_SECTOR;

		hi = hi < page + l->unit ? hi : page + l->unit;
		hi = hi < w->off + w->len ? hi : w->off + w->len;
		if (lo < hi && sector_arrived(c, s / SIM_SECTOR - first))
			memcpy(to + (lo - page), w->data + (lo - w->off), hi - lo);
	}
}

static void content(const struct legal *l, uint8_t *to, uint32_t unit, const struct pick *p,
		    const struct candidate *c, const struct sim_ev *inflight)
{
	const struct unit *u = &l->units[unit];

	memcpy(to, l->base + (uint64_t)unit * l->unit, l->unit);
	if (p && p->kind == PICK_PREFIX)
		apply(l, to, u->first, p->a, 0, 0xff);
	if (p && p->kind == PICK_SUFFIX)
		apply(l, to, u->first, u->cnt, u->cnt - p->a, 0xff);
	if (p && p->kind == PICK_TORN) {
		apply(l, to, u->first, p->a, 0, 0xff);
		apply(l, to, u->first, p->b, p->a, p->mask);
	}
	if (c->overlay && inflight && inflight->type == EV_WRITE)
		overlay(l, to, unit, c, inflight);
}

static bool picked(const struct candidate *c, uint32_t unit)
{
	for (uint32_t i = 0; i < c->pick_cnt; i++)
		if (c->pick[i].unit == unit)
			return true;
	return false;
}

void legal_patches(struct legal *l, const struct candidate *c, const struct sim_ev *inflight,
		   legal_base_fn fn, void *ctx)
{
	uint8_t buf[SIM_PAGE];

	for (uint32_t i = 0; i < c->pick_cnt; i++) {
		content(l, buf, c->pick[i].unit, &c->pick[i], c, inflight);
		fn(ctx, (uint64_t)c->pick[i].unit * l->unit, buf, l->unit);
	}
	if (!c->overlay || !inflight || inflight->type != EV_WRITE || !inflight->len)
		return;
	for (uint64_t u = inflight->off / l->unit;
	     u <= (inflight->off + inflight->len - 1) / l->unit; u++) {
		if (picked(c, (uint32_t)u))
			continue;
		content(l, buf, (uint32_t)u, NULL, c, inflight);
		fn(ctx, u * l->unit, buf, l->unit);
	}
}

struct hash_ctx {
	struct legal *l;
	struct hash128 sum;
};

static void hash_patch(void *ctx, uint64_t off, const uint8_t *bytes, uint32_t len)
{
	struct hash_ctx *hc = ctx;
	uint32_t unit = (uint32_t)(off / len);
	struct hash128 h = legal_unit_hash(hc->l, unit, bytes), *old = &hc->l->hash[unit];

	hc->sum.w[0] += h.w[0] - old->w[0];
	hc->sum.w[1] += h.w[1] - old->w[1];
}

struct hash128 legal_hash(struct legal *l, const struct candidate *c, const struct sim_ev *inflight)
{
	struct hash_ctx hc = {l, l->sum};

	legal_patches(l, c, inflight, hash_patch, &hc);
	hc.sum.w[0] += c->len * 0x9E3779B97F4A7C15ull;
	return hc.sum;
}

uint32_t legal_dirty_unit(const struct legal *l, uint32_t i)
{
	return l->dirty[i];
}

uint32_t legal_content(const struct legal *l, uint32_t unit, uint32_t n, uint8_t *out)
{
	const struct unit *u = &l->units[unit];

	memcpy(out, l->base + (uint64_t)unit * l->unit, l->unit);
	apply(l, out, u->first, n < u->cnt ? n : u->cnt, 0, 0xff);
	return u->cnt;
}

uint32_t legal_store_event(const struct legal *l, uint32_t unit, uint32_t n, uint32_t *flushed)
{
	const struct unit *u = &l->units[unit];
	uint32_t at = u->first;

	while (n-- && l->atom[at].next != LEGAL_NONE)
		at = l->atom[at].next;
	*flushed = u->flushed;
	return l->atom[at].ev;
}
