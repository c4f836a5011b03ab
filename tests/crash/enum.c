/* SPDX-License-Identifier: MIT
 * enum.c -- walk the event log of a recorded run and hand every new legal image to the stream
 *
 * A plain store only adds images: those in which all stores of its unit have arrived. So a crash
 * point at a store enumerates just these, and points at fences, syncs, writes and marks
 * enumerate everything. When there are more images than the limit, each point gets a share of
 * what is left of it.
 */
#include "enum.h"
#include "stream.h"
#include "thrice.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

struct seen {
	struct hash128 *tab; /* zero = empty */
	uint64_t cap, cnt;
};

struct enumeration {
	const struct crash_workload *w;
	const struct crash_options *opt;
	struct crash_result *res;
	struct legal *l;
	struct stream *s;
	struct seen seen;
	const struct sim_ev **ev; /* by number */
	uint64_t ev_cnt;
	uint64_t rng;
	uint64_t weight_left;
	bool started;
	bool unnamed; /* between EV_UNNAMED and EV_NAMED */
	bool *inside; /* by operation: EV_INSIDE came at its end */
	uint32_t op;  /* operations begun; 0: between two */
	uint32_t op_cnt;
	uint32_t states, floor, top;
	/* the point being enumerated */
	const struct sim_ev *inflight;
	uint32_t ev_no;
};

/* --- images seen before --- */

static bool seen_add(struct seen *s, struct hash128 h)
{
	uint64_t i = h.w[0];

	if (!(h.w[0] | h.w[1]))
		h.w[0] = 1;
	if (s->cnt * 2 >= s->cap) {
		struct seen old = *s;

		s->cap = old.cap ? old.cap * 2 : 4096;
		s->cnt = 0;
		s->tab = calloc(s->cap, sizeof(*s->tab));
		if (!s->tab)
			abort();
		for (uint64_t k = 0; k < old.cap; k++)
			if (old.tab[k].w[0] | old.tab[k].w[1])
				seen_add(s, old.tab[k]);
		free(old.tab);
	}
	for (;; i++) {
		struct hash128 *e = &s->tab[i & (s->cap - 1)];

		if (e->w[0] == h.w[0] && e->w[1] == h.w[1])
			return false;
		if (!(e->w[0] | e->w[1])) {
			*e = h;
			s->cnt++;
			return true;
		}
	}
}

/* --- one candidate --- */

static void to_stream(void *ctx, uint64_t off, const uint8_t *bytes, uint32_t len)
{
	stream_patch(ctx, off, bytes, len);
}

static void base_to_stream(void *ctx, uint64_t off, const uint8_t *bytes, uint32_t len)
{
	stream_base(ctx, off, bytes, len);
}

static unsigned int kinds_of(const struct enumeration *e, uint64_t len)
{
	unsigned int k = 0;

	if (len > (1 << 20))
		return (len >= (1 << 30)) << COUNT_LARGE;
	k |= 1 << COUNT_SMALL;
	k |= (e->opt->media == SIM_MEDIA_PAGE) << COUNT_PAGE;
	k |= (e->op && e->inside[e->op]) << COUNT_INSIDE;
	k |= (e->opt->depth == 1) << COUNT_SECOND;
	k |= (e->opt->depth > 1) << COUNT_THIRD;
	return k;
}

static void candidate(void *ctx, const struct candidate *c)
{
	struct enumeration *e = ctx;
	struct hash128 h = legal_hash(e->l, c, e->inflight);
	struct note n = {.ev = e->ev_no,
			 .inflight = e->inflight != NULL,
			 .dirty_cnt = legal_dirty_cnt(e->l)};

	uint64_t plain = h.w[0];

	e->res->images++;
	h.w[1] += ((uint64_t)e->floor << 32 | e->top) *
		  0x9E3779B97F4A7C15ull; /* other states allowed: look again */
	if (e->opt->thrice ? !thrice_new_image(e->opt->thrice, h, e->opt->depth)
			   : !seen_add(&e->seen, h))
		return;
	e->res->distinct++;
	crash_counts_add(e->opt->counts, plain, kinds_of(e, c->len));
	stream_image(e->s, c->len, e->floor, e->top, &n);
	legal_patches(e->l, c, e->inflight, to_stream, e->s);
	stream_flush(e->s, false);
}

/* --- points --- */

/* Operations with something rare inside get a larger share. */
#define INSIDE_SHARE 32

static uint64_t share_of(const struct enumeration *e)
{
	return e->op && e->inside[e->op] ? INSIDE_SHARE : 1;
}

/* How much a point matters against others when images must be rationed. */
static uint64_t weight(const struct sim_ev *ev)
{
	switch (ev->type) {
	case EV_STORE:
	case EV_NTSTORE:
		return 1;
	case EV_FENCE:
	case EV_SYNC:
	case EV_SYNC_ALL:
	case EV_GROW:
	case EV_RESET:
	case EV_ACK:
	case EV_START:
	case EV_DEATH:
	case EV_SETTLED:
	case EV_NAMED:
		return 4;
	case EV_WRITE:
		return 10;
	default:
		return 0;
	}
}

static void point(struct enumeration *e, uint32_t only, const struct sim_ev *inflight, uint64_t w)
{
	uint64_t left = e->opt->limit > e->res->distinct ? e->opt->limit - e->res->distinct : 0;
	struct legal_query q = {.inflight = inflight, .only = only, .rng = &e->rng};
	double share;

	w *= share_of(e);
	if (e->unnamed ||
	    (!e->floor && !e->states)) { /* nothing to find, or no state is known yet */
		e->res->points_void++;
		e->weight_left -= w < e->weight_left ? w : e->weight_left;
		return;
	}
	share = (double)left * (double)w / (double)(e->weight_left ? e->weight_left : 1);
	e->weight_left -= w < e->weight_left ? w : e->weight_left;
	q.cap = share >= 4 ? (uint64_t)share : 4;
	q.exhaust = q.cap * 4; /* finding all of them is worth more than the share */
	if (e->opt->thrice) {
		q.cap = q.exhaust = e->w->thrice ? e->w->thrice : THRICE_CAP;
	} else if (share < 4 && (double)(crash_rand(&e->rng) >> 40) / (1 << 24) > share / 4) {
		return;
	}
	e->res->points++;
	e->inflight = inflight;
	e->res->exhaustive += legal_states(e->l, &q, candidate, e);
}

/* How many points an event is: before and after it, or in the middle of it. Not by what step() does: thrice.c compares. */
static unsigned int points_of(const struct sim_ev *ev)
{
	switch (ev->type) {
	case EV_FENCE:
	case EV_SYNC:
	case EV_SYNC_ALL:
	case EV_RESET:
	case EV_WRITE:
	case EV_GROW:
		return 2;
	default:
		return weight(ev) != 0;
	}
}

/* The one unit a store touches, or LEGAL_NONE. */
static uint32_t only_unit(const struct enumeration *e, const struct sim_ev *ev)
{
	uint32_t unit = legal_unit_size(e->l);
	uint64_t first = ev->off / unit, last = (ev->off + (ev->len ? ev->len - 1 : 0)) / unit;

	return first == last ? (uint32_t)first : LEGAL_NONE;
}

/* Which operation an event belongs to; 0: none. */
static void mark_op(struct enumeration *e, const struct sim_ev *ev)
{
	if (ev->type == EV_BEGIN)
		e->op = ++e->op_cnt;
	else if (ev->type == EV_STATE)
		e->op = 0;
}

static void mark(struct enumeration *e, const struct sim_ev *ev)
{
	switch (ev->type) {
	case EV_START:
		e->started = !e->opt->after_death;
		break;
	case EV_DEATH:
		e->started = true;
		break;
	case EV_SETTLED:
		e->floor = e->top = (uint32_t)ev->off;
		break;
	case EV_UNNAMED:
	case EV_NAMED:
		e->unnamed = ev->type == EV_UNNAMED;
		break;
	case EV_BEGIN:
		e->top = e->states;
		break;
	case EV_STATE:
		e->states++;
		if (e->top < e->states - 1)
			e->top = e->states - 1;
		break;
	case EV_ACK:
		e->floor = e->top;
		break;
	default:
		break;
	}
}

static void step(struct enumeration *e, const struct sim_ev *ev)
{
	mark(e, ev);
	mark_op(e, ev);
	if (!e->started) {
		legal_feed(e->l, ev);
		return;
	}
	switch (ev->type) {
	case EV_STORE:
	case EV_NTSTORE:
		legal_feed(e->l, ev);
		point(e, only_unit(e, ev), NULL, 1);
		break;
	case EV_FENCE:
	case EV_SYNC:
	case EV_SYNC_ALL:
	case EV_RESET:
		point(e, LEGAL_NONE, NULL, 1);
		legal_feed(e->l, ev);
		point(e, LEGAL_NONE, NULL, 3);
		break;
	case EV_WRITE:
	case EV_GROW:
		point(e, LEGAL_NONE, ev, weight(ev) - 1);
		legal_feed(e->l, ev);
		point(e, LEGAL_NONE, NULL, 1);
		break;
	case EV_START:
	case EV_DEATH:
	case EV_SETTLED:
	case EV_ACK:
	case EV_NAMED:
		legal_feed(e->l, ev);
		point(e, LEGAL_NONE, NULL, 4);
		break;
	default:
		legal_feed(e->l, ev);
		break;
	}
}

static void weigh_events(struct enumeration *e)
{
	bool started = false;

	for (uint64_t i = 0; i < e->ev_cnt; i++) {
		mark_op(e, e->ev[i]);
		started |= e->ev[i]->type == (e->opt->after_death ? EV_DEATH : EV_START);
		if (!started)
			continue;
		e->weight_left += weight(e->ev[i]) * share_of(e);
		e->res->points_all += points_of(e->ev[i]);
	}
	e->op = e->op_cnt = 0;
}

static void load_events(struct enumeration *e, const struct sim_log *log)
{
	uint64_t pos = 0;
	uint32_t op = 0;

	e->inside = calloc(log->cnt + 1, sizeof(*e->inside));
	e->ev = malloc((log->cnt + 1) * sizeof(*e->ev));
	if (!e->ev || !e->inside)
		abort();
	while ((e->ev[e->ev_cnt] = sim_log_next(log, &pos))) {
		op += e->ev[e->ev_cnt]->type == EV_BEGIN;
		e->inside[op] |= e->ev[e->ev_cnt]->type == EV_INSIDE;
		e->ev_cnt++;
	}
	weigh_events(e);
}

/* What the log does not know of, no image would be made with. */
static void no_holes(const struct sim_log *log, struct crash_result *res)
{
	if (res->failed || !log->unseen)
		return;
	res->failed = -1;
	snprintf(res->why, sizeof(res->why),
		 "%llu bytes of the image changed without a hook: see README.md, Holes",
		 (unsigned long long)log->unseen);
}

void crash_enumerate(const struct crash_workload *w, const struct crash_record *rec,
		     const struct crash_options *opt, struct crash_result *res)
{
	struct enumeration e = {.w = w,
				.opt = opt,
				.res = res,
				.rng = opt->seed | 1,
				.floor = rec->floor,
				.top = rec->top,
				.states = rec->states_known};
	struct timespec t0, t1;
	struct failure *f;

	clock_gettime(CLOCK_MONOTONIC, &t0);
	load_events(&e, rec->log);
	res->events += e.ev_cnt;
	no_holes(rec->log, res);
	e.l = legal_new(opt->media, rec->start, rec->start_len, &opt->mut);
	e.s = stream_new(w, rec, opt, res);
	legal_on_base(e.l, base_to_stream, e.s);
	for (uint64_t i = 0; i < e.ev_cnt && !res->failed; i++) {
		e.ev_no = (uint32_t)i;
		step(&e, e.ev[i]);
	}
	stream_flush(e.s, true);
	f = stream_failure(e.s);
	stream_free(e.s);
	if (f && !opt->quiet && res->second_failed != SECOND_CRASH)
		crash_explain(w, rec, opt, f, res);
	if (f)
		free(f->image);
	free(f);
	legal_free(e.l);
	free(e.seen.tab);
	free(e.ev);
	free(e.inside);
	clock_gettime(CLOCK_MONOTONIC, &t1);
	res->seconds += (double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) / 1e9;
}

static const char *media_name(enum sim_media m)
{
	return m == SIM_MEDIA_LINE ? "line" : "page";
}

int crash_run(const struct crash_workload *w, const struct crash_options *opt,
	      struct crash_result *res)
{
	struct crash_record rec;

	memset(res, 0, sizeof(*res));
	if (crash_record(w, opt->media, opt->seed, &rec, res->why, sizeof(res->why)))
		res->failed = -1;
	else
		crash_enumerate(w, &rec, opt, res);
	crash_record_free(&rec);
	if (opt->quiet)
		return res->failed != 0;
	printf("%-28s %-4s %7llu events %6llu/%llu points (%llu exhaustive) %8llu images %6llu distinct %6llu reopened %5llu second %6.2f s %s\n",
	       w->name, media_name(opt->media), (unsigned long long)res->events,
	       (unsigned long long)res->points, (unsigned long long)res->points_all,
	       (unsigned long long)res->exhaustive, (unsigned long long)res->images,
	       (unsigned long long)res->distinct, (unsigned long long)res->reopened,
	       (unsigned long long)res->second, res->seconds, res->failed ? "FAILED" : "ok");
	if (res->failed)
		printf("FAIL %s --media %s --seed %llu: %s\n", w->name, media_name(opt->media),
		       (unsigned long long)opt->seed, res->why);
	fflush(stdout);
	return res->failed != 0;
}
