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
 *
 * So are recoveries: of some images of a crash at every point of the run, each recorded, up to its close with an empty log;
 * and takeovers, from a death on, which must flush again what the dead had flushed.
 */
#include "flushes.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stream.h"

#define PLACE_MAX  2048
#define FOUND_MAX  4096
#define REASON_MAX 256
#define RECOVERIES 4 /* of a workload on a medium, about */
#define TAKEOVERS  2

enum list { NEVER, LATE, LEFT, AGAIN, LISTS };

struct place {
	enum list list;
	const char *what; /* of AGAIN: flush, fence, sync */
	char at[240];
	uint64_t cnt;
	const char *by; /* the first workload */
};

static struct place place[PLACE_MAX];
static uint32_t place_cnt;
static uint64_t lost; /* findings with no room for them */
static uint64_t flushed_lines, fences, acks, recoveries, takeovers;

static void note(enum list list, const char *what, const char *at, const char *by, uint64_t cnt)
{
	uint32_t i;

	for (i = 0; i < place_cnt; i++)
		if (place[i].list == list && place[i].what == what && !strcmp(place[i].at, at))
			break;
	if (i == PLACE_MAX) {
		lost++;
		return;
	}
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
	bool left;    /* by a process that died */
};

struct walk {
	const struct crash_workload *w;
	struct unit_state *u;
	uint32_t size;	/* of a unit */
	uint32_t *list; /* units that are dirty, or were */
	uint32_t list_cnt;
	bool line;
	bool before; /* the death: what was for nothing there is counted elsewhere */
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

/* What a process that recovers has found, for its parent: addresses only. */
struct found {
	enum list list;
	const char *what;
	struct sim_ev ev;
	uint64_t cnt;
};

struct findings {
	uint64_t flushed_lines, fences, recoveries, takeovers;
	uint32_t cnt, full;
	struct found found[FOUND_MAX];
};

static struct findings *findings; /* of this process, if it is one that recovers */

static bool found(enum list list, const char *what, const struct sim_ev *ev, uint64_t cnt)
{
	uint32_t i = 0;

	if (!findings)
		return false;
	while (i < findings->cnt &&
	       (findings->found[i].list != list || findings->found[i].what != what ||
		memcmp(findings->found[i].ev.pc, ev->pc, sizeof(ev->pc))))
		i++;
	if (i == FOUND_MAX) {
		findings->full++;
		return true;
	}
	if (i == findings->cnt)
		findings->found[findings->cnt++] =
			(struct found){.list = list, .what = what, .ev = *ev};
	findings->found[i].cnt += cnt;
	return true;
}

/* The chain of callers as far as it tells one use of a call from another. */
static void again_at(const struct sim_ev *ev, const char *what, const char *by, uint64_t cnt)
{
	char chain[700], *end;

	crash_chain(ev, chain, sizeof(chain));
	end = strstr(chain, " < ");
	end = end ? strstr(end + 3, " < ") : NULL;
	if (end)
		*end = 0;
	note(AGAIN, what, chain, by, cnt);
}

static void again(struct walk *k, const struct sim_ev *ev, const char *what, uint64_t cnt)
{
	if (!k->before && !found(AGAIN, what, ev, cnt))
		again_at(ev, what, k->w->name, cnt);
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
	if (findings)
		return;
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
		if (!arrive(k, true) && ev->pc[0]) /* or it was the harness */
			again(k, ev, "sync", 1);
		break;
	case EV_ACK:
		acknowledged(k);
		break;
	case EV_DEATH: /* another CPU's fence does not cover it (D13) */
		for (uint32_t i = 0; i < k->list_cnt; i++)
			k->u[k->list[i]].flushed = !(k->u[k->list[i]].left = true);
		k->before = false;
		break;
	default:
		break;
	}
}

/* All events of LOG, then what is left. */
static void walk(struct walk *k, const struct sim_log *log)
{
	const struct sim_ev *ev;
	uint64_t pos = 0;

	k->u = calloc(SIM_IMAGE_MAX / k->size, sizeof(*k->u));
	k->list = calloc(SIM_IMAGE_MAX / k->size, sizeof(*k->list));
	if (!k->u || !k->list)
		abort();
	while ((ev = sim_log_next(log, &pos)))
		step(k, ev);
	for (uint32_t i = 0; i < k->list_cnt; i++) {
		const struct unit_state *u = &k->u[k->list[i]];
		struct sim_ev at = {.pc = {u->pc}};

		if (!found(u->left ? LEFT : NEVER, "", &at, 1))
			note(NEVER, "", crash_where(at.pc[0]), k->w->name, 1);
	}
	free(k->u);
	free(k->list);
}

static struct walk walk_of(const struct crash_workload *w, enum sim_media media)
{
	return (struct walk){.w = w,
			     .size = media == SIM_MEDIA_LINE ? SIM_LINE : SIM_PAGE,
			     .line = media == SIM_MEDIA_LINE};
}

/* --- recoveries --- */

static void recovered(const struct crash_workload *w, enum sim_media media,
		      const struct sim_log *log)
{
	struct walk k = walk_of(w, media);

	findings->recoveries++;
	walk(&k, log);
}

static void took_over(const struct crash_workload *w, enum sim_media media,
		      const struct sim_log *log)
{
	struct walk k = walk_of(w, media);

	k.before = true;
	findings->takeovers++;
	walk(&k, log);
}

/* In a process of its own: images stay mapped, and what is wrong ends it. */
static int recover_all(const struct crash_workload *w, const struct crash_record *rec,
		       const struct crash_options *as)
{
	struct crash_options opt = *as;
	struct crash_result res = {0};

	opt.here = opt.settled = opt.quiet = true;
	opt.second = 1;
	opt.limit = RECOVERIES;
	opt.recovered = recovered;
	if (stream_here(false))
		return 1;
	crash_enumerate(w, rec, &opt, &res);
	return res.failed != 0;
}

static int take_over(const struct crash_workload *w, const struct crash_options *as)
{
	struct crash_options opt = *as;
	struct crash_result res;

	opt.quiet = true;
	opt.limit = 100 * (TAKEOVERS / 2 - 1); /* as death.c counts */
	opt.recovered = took_over;
	return crash_death(w, &opt, &res);
}

/* FN in a process of its own; what it finds is noted here. */
static int apart(const struct crash_workload *w, const struct crash_record *rec,
		 const struct crash_options *opt, const char *by)
{
	struct findings *f =
		mmap(NULL, sizeof(*f), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t pid;

	if (f == MAP_FAILED)
		abort();
	crash_dir();
	pid = crash_fork();
	if (pid == 0) {
		int rc;

		findings = f;
		flushed_lines = fences = 0;
		crash_dir_adopt();
		rc = rec ? recover_all(w, rec, opt) : take_over(w, opt);
		f->flushed_lines = flushed_lines;
		f->fences = fences;
		_exit(rc);
	}
	waitpid(pid, &status, 0);
	if (status)
		printf("FAIL %s: %s ended with status %#x; twzcrash run says more\n", w->name, by,
		       (unsigned int)status);
	if (f->full)
		printf("FAIL %s: %s: %u findings more than there is room for: raise FOUND_MAX in flushes.c\n",
		       w->name, by, f->full);
	for (uint32_t i = 0; i < f->cnt; i++) {
		struct found *x = &f->found[i];

		if (x->list != AGAIN)
			note(x->list, by, crash_where(x->ev.pc[0]), w->name, x->cnt);
		else
			again_at(&x->ev, x->what, w->name, x->cnt);
	}
	flushed_lines += f->flushed_lines;
	fences += f->fences;
	recoveries += f->recoveries;
	takeovers += f->takeovers;
	status = status || f->full;
	munmap(f, sizeof(*f));
	return status;
}

int crash_flushes_of(const struct crash_workload *w, const struct crash_options *opt)
{
	struct walk k = walk_of(w, opt->media);
	struct crash_record rec;
	char why[512];
	int rc = 0;

	if (w->fails)
		return 0;
	crash_record_closes = true;
	if (crash_record(w, opt->media, opt->seed, &rec, why, sizeof(why))) {
		printf("%s: %s\n", w->name, why);
		return 1;
	}
	walk(&k, rec.log);
	if (!w->once && !w->huge && !w->killed)
		rc |= apart(w, &rec, opt, "recovery");
	crash_record_free(&rec);
	if (w->media & CRASH_KILL && !w->once)
		rc |= apart(w, NULL, opt, "takeover");
	return rc;
}

static int by_count(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	if (x->list != y->list)
		return x->list < y->list ? -1 : 1;
	return x->cnt < y->cnt ? 1 : x->cnt > y->cnt ? -1 : 0;
}

/* --- the list: "FUNCTION (FILE): why", what this place stores need never be flushed --- */

struct reason {
	char line[500];
	bool sometimes; /* "? " was before it: a matter of the seed */
	bool used;
};

static struct reason reason[REASON_MAX];
static uint32_t reason_cnt;

static bool takes_part(const char *line)
{
	return line[0] != '#' && line[0] != '\n';
}

static void add_reason(const char *line)
{
	struct reason *r = &reason[reason_cnt++];

	r->sometimes = !strncmp(line, "? ", 2);
	snprintf(r->line, sizeof(r->line), "%s", line + (r->sometimes ? 2 : 0));
}

/* 1, and said why: it cannot be read. */
static int read_reasons(const char *file)
{
	FILE *f = file ? fopen(file, "r") : NULL;
	char line[sizeof(reason[0].line)];
	int rc = 0;

	if (file && !f)
		rc = printf("FAIL: cannot read %s\n", file) > 0;
	while (f && !rc && fgets(line, sizeof(line), f)) {
		if (!takes_part(line))
			continue;
		if (!strstr(line, "): ") || !strchr(line, '\n') || reason_cnt == REASON_MAX)
			rc = printf("FAIL: %s: not \"FUNCTION (FILE): why\", or too much of it: %s\n",
				    file, line) > 0;
		else
			add_reason(line);
	}
	if (f)
		fclose(f);
	return rc;
}

static bool explained(const char *at)
{
	size_t len = strcspn(at, ":"); /* up to the line number */
	bool any = false;

	for (struct reason *r = reason; r < reason + reason_cnt; r++)
		if (!strncmp(r->line, at, len) && r->line[len] == ')')
			any = r->used = true;
	return any;
}

static int unused_reasons(void)
{
	int rc = 0;

	for (struct reason *r = reason; r < reason + reason_cnt; r++)
		if (!r->used && !r->sometimes)
			rc = printf("FAIL: nothing needs this reason: %s", r->line) > 0;
	return rc;
}

int crash_flushes_print(const char *list, bool all)
{
	int rc = read_reasons(list);
	static const char *const title[LISTS] = {
		"stored and never flushed, though the store was closed",
		"not durable when an operation was acknowledged (what a log stands for)",
		"stored by a process that died, and flushed by nobody who came after it: what never became valid, or its program's own",
		"flushes, fences and syncs with nothing to do"};
	uint64_t sum[LISTS] = {0};

	qsort(place, place_cnt, sizeof(place[0]), by_count);
	for (uint32_t i = 0; i < place_cnt; i++) {
		const struct place *p = &place[i];

		if (!i || p->list != place[i - 1].list)
			printf("\n%s:\n", title[p->list]);
		sum[p->list] += p->cnt;
		printf("%7llu %-8s %s  (%s)\n", (unsigned long long)p->cnt, p->what, p->at, p->by);
		if (p->list == NEVER && !explained(p->at)) {
			printf("FAIL: nobody flushes it, and no list says why not\n");
			rc = 1;
		}
	}
	if (all)
		rc |= unused_reasons();
	if (lost)
		rc = printf("FAIL: %llu findings more than there is room for: raise PLACE_MAX in flushes.c\n",
			    (unsigned long long)lost) > 0;
	printf("\nflushes: %llu operations, %llu recoveries, %llu takeovers, %llu lines flushed, %llu fences; %llu lines never flushed, %llu late, %llu flushes, fences and syncs for nothing\n",
	       (unsigned long long)acks, (unsigned long long)recoveries,
	       (unsigned long long)takeovers, (unsigned long long)flushed_lines,
	       (unsigned long long)fences, (unsigned long long)sum[NEVER],
	       (unsigned long long)sum[LATE], (unsigned long long)sum[AGAIN]);
	return rc;
}
