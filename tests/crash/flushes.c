/* SPDX-License-Identifier: MIT
 * flushes.c -- lines that were stored and never flushed, and flushes that had nothing to do
 *
 * A recorded run, closed cleanly at its end, is walked once. Three lists, by source line:
 *
 *	never    stored, and not flushed and fenced (synced) by the end, though the store was closed: a bug, or
 *		 bytes that mean nothing
 *	late	 not durable yet when an operation was acknowledged: what the log, or the undo log, stands for
 *	again	 flushes of lines with no store since they were flushed last; fences with nothing to wait for:
 *		 time lost, not safety
 */
#include "flushes.h"

#include <stdlib.h>
#include <string.h>

#define PLACE_MAX 2048

enum list { NEVER, LATE, AGAIN, LISTS };

struct place {
	enum list list;
	const char *what; /* of AGAIN: flush, fence, sync */
	char at[240];
	uint64_t cnt;
	const char *by; /* the first workload */
};

static struct place place[PLACE_MAX];
static uint32_t place_cnt;
static uint64_t flushed_lines, fences, acks;

static void note(enum list list, const char *what, const char *at, const char *by, uint64_t cnt)
{
	uint32_t i;

	for (i = 0; i < place_cnt; i++)
		if (place[i].list == list && place[i].what == what && !strcmp(place[i].at, at))
			break;
	if (i == PLACE_MAX)
		return;
	if (i == place_cnt) {
		place[i] = (struct place){.list = list, .what = what, .by = by};
		snprintf(place[i].at, sizeof(place[i].at), "%s", at);
		place_cnt++;
	}
	place[i].cnt += cnt;
}

/* What is known of a unit: a line, or a page. */
struct unit_state {
	uint64_t pc;  /* of its first store that is not durable */
	bool dirty;   /* such a store there is */
	bool flushed; /* and it is on its way: the next fence */
	bool told;    /* counted as late for this store */
};

struct walk {
	const struct crash_workload *w;
	struct unit_state *u;
	uint32_t size;	/* of a unit */
	uint32_t *list; /* units that are dirty, or were */
	uint32_t list_cnt;
	bool line;
};

static void stored(struct walk *k, const struct sim_ev *ev)
{
	for (uint64_t i = ev->off / k->size; ev->len && i <= (ev->off + ev->len - 1) / k->size;
	     i++) {
		struct unit_state *u = &k->u[i];

		if (!u->dirty)
			k->list[k->list_cnt++] = (uint32_t)i;
		if (!u->dirty || u->flushed)
			u->pc = ev->pc[0];
		*u = (struct unit_state){
			.pc = u->pc, .dirty = true, .flushed = ev->type == EV_NTSTORE};
	}
}

/* The chain of callers as far as it tells one use of a call from another. */
static void again(struct walk *k, const struct sim_ev *ev, const char *what, uint64_t cnt)
{
	char chain[700], *end;

	crash_chain(ev, chain, sizeof(chain));
	end = strstr(chain, " < ");
	end = end ? strstr(end + 3, " < ") : NULL;
	if (end)
		*end = 0;
	note(AGAIN, what, chain, k->w->name, cnt);
}

static void flush(struct walk *k, const struct sim_ev *ev)
{
	uint64_t idle = 0;

	for (uint64_t i = ev->off / k->size; ev->len && i <= (ev->off + ev->len - 1) / k->size;
	     i++) {
		flushed_lines++;
		idle += !k->u[i].dirty || k->u[i].flushed;
		k->u[i].flushed = true;
	}
	if (idle)
		again(k, ev, "flush", idle);
}

/* What is on its way has arrived. Returns how many units that was. */
static uint32_t arrive(struct walk *k, bool all)
{
	uint32_t kept = 0, cnt = k->list_cnt;

	for (uint32_t i = 0; i < cnt; i++) {
		struct unit_state *u = &k->u[k->list[i]];

		if (u->flushed || all)
			*u = (struct unit_state){0};
		else
			k->list[kept++] = k->list[i];
	}
	k->list_cnt = kept;
	return cnt - kept;
}

static void sync_range(struct walk *k, const struct sim_ev *ev)
{
	for (uint64_t i = ev->off / k->size; ev->len && i <= (ev->off + ev->len - 1) / k->size; i++)
		k->u[i].flushed = true;
	if (!arrive(k, false))
		again(k, ev, "sync", 1);
}

static void acknowledged(struct walk *k)
{
	acks++;
	for (uint32_t i = 0; i < k->list_cnt; i++) {
		struct unit_state *u = &k->u[k->list[i]];

		if (!u->told)
			note(LATE, "", crash_where(u->pc), k->w->name, 1);
		u->told = true;
	}
}

static void step(struct walk *k, const struct sim_ev *ev)
{
	switch (ev->type) {
	case EV_STORE:
	case EV_NTSTORE:
		stored(k, ev);
		break;
	case EV_FLUSH:
		flush(k, ev);
		break;
	case EV_FENCE:
		fences++;
		if (!arrive(k, false))
			again(k, ev, "fence", 1);
		break;
	case EV_SYNC:
		sync_range(k, ev);
		break;
	case EV_SYNC_ALL:
		if (!arrive(k, true))
			again(k, ev, "sync", 1);
		break;
	case EV_ACK:
		acknowledged(k);
		break;
	default:
		break;
	}
}

int crash_flushes_of(const struct crash_workload *w, const struct crash_options *opt)
{
	struct walk k = {.w = w,
			 .size = opt->media == SIM_MEDIA_LINE ? SIM_LINE : SIM_PAGE,
			 .line = opt->media == SIM_MEDIA_LINE};
	struct crash_record rec;
	const struct sim_ev *ev;
	uint64_t pos = 0;
	char why[512];

	crash_record_closes = true;
	if (crash_record(w, opt->media, opt->seed, &rec, why, sizeof(why))) {
		printf("%s: %s\n", w->name, why);
		return 1;
	}
	k.u = calloc(SIM_IMAGE_MAX / k.size, sizeof(*k.u));
	k.list = calloc(SIM_IMAGE_MAX / k.size, sizeof(*k.list));
	if (!k.u || !k.list)
		abort();
	while ((ev = sim_log_next(rec.log, &pos)))
		step(&k, ev);
	for (uint32_t i = 0; i < k.list_cnt; i++)
		note(NEVER, "", crash_where(k.u[k.list[i]].pc), w->name, 1);
	free(k.u);
	free(k.list);
	crash_record_free(&rec);
	return 0;
}

static int by_count(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	if (x->list != y->list)
		return x->list < y->list ? -1 : 1;
	return x->cnt < y->cnt ? 1 : x->cnt > y->cnt ? -1 : 0;
}

/* "FUNCTION (FILE): why" in the list: what this place stores need never be flushed. */
static bool explained(const char *file, const char *at)
{
	size_t len = strcspn(at, ":"); /* up to the line number */
	char line[500];
	bool found = false;
	FILE *f = file ? fopen(file, "r") : NULL;

	while (f && !found && fgets(line, sizeof(line), f))
		found = line[0] != '#' && !strncmp(line, at, len) && line[len] == ')';
	if (f)
		fclose(f);
	return found;
}

int crash_flushes_print(const char *list)
{
	int rc = 0;
	static const char *const title[LISTS] = {
		"stored and never flushed, though the store was closed",
		"not durable when an operation was acknowledged (what a log stands for)",
		"flushes, fences and syncs with nothing to do"};
	uint64_t sum[LISTS] = {0};

	qsort(place, place_cnt, sizeof(place[0]), by_count);
	for (uint32_t i = 0; i < place_cnt; i++) {
		const struct place *p = &place[i];

		if (!i || p->list != place[i - 1].list)
			printf("\n%s:\n", title[p->list]);
		sum[p->list] += p->cnt;
		printf("%7llu %-5s %s  (%s)\n", (unsigned long long)p->cnt, p->what, p->at, p->by);
		if (p->list == NEVER && !explained(list, p->at)) {
			printf("FAIL: nobody flushes it, and no list says why not\n");
			rc = 1;
		}
	}
	printf("\nflushes: %llu operations, %llu lines flushed, %llu fences; %llu lines never flushed, %llu late, %llu flushes, fences and syncs for nothing\n",
	       (unsigned long long)acks, (unsigned long long)flushed_lines,
	       (unsigned long long)fences, (unsigned long long)sum[NEVER],
	       (unsigned long long)sum[LATE], (unsigned long long)sum[AGAIN]);
	return rc;
}
