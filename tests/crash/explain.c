/* SPDX-License-Identifier: MIT
 * explain.c -- which stores, by not arriving, made the image wrong?
 *
 * The log is walked again up to the crash. Then every unit that is not complete in the image is
 * completed in turn; if the image still fails, it stays complete. What remains are the units
 * that matter, usually one or two. When none remains the failure is in what arrived, not in what did not.
 */
#include "enum.h"
#include "stream.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define TRIES_MAX 600
#define WHY_MAX                                                                                    \
	1700 /* of a text that others put something before, and that must not lose its end */

struct explain {
	const struct crash_workload *w;
	const struct crash_record *rec;
	const struct crash_options *opt;
	struct failure *f;
	struct legal *l;
	const struct sim_ev **ev;
	const struct sim_ev *at; /* the event of the crash */
	char *out;
	size_t len, cap;
};

static void say(struct explain *x, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct explain *x, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (x->len + 1 >= x->cap)
		return;
	va_start(ap, fmt);
	n = vsnprintf(x->out + x->len, x->cap - x->len, fmt, ap);
	va_end(ap);
	x->len += n > 0 ? (size_t)n : 0;
	if (x->len >= x->cap)
		x->len = x->cap - 1;
}

static void replay(struct explain *x)
{
	const struct sim_ev *ev;
	uint64_t pos = 0;
	uint32_t n = 0;

	x->ev = calloc(x->rec->log->cnt + 1, sizeof(*x->ev));
	x->l = legal_new(x->opt->media, x->rec->start, x->rec->start_len, &x->opt->mut);
	if (!x->ev)
		abort();
	while ((ev = sim_log_next(x->rec->log, &pos)) && n <= x->f->note.ev) {
		x->ev[n] = x->at = ev;
		/*
		 * before: a point at a fence or sync has two, and the one before has more units;
		 * in flight: not fed
		 */
		if (n < x->f->note.ev || ev->type == EV_STORE || ev->type == EV_NTSTORE)
			legal_feed(x->l, ev);
		n++;
	}
}

static bool still_fails(struct explain *x)
{
	char why[256];

	return stream_try(x->w, x->rec, x->opt, x->f, why, sizeof(why)) == 1;
}

/* Complete the units that do not matter. */
static void shrink(struct explain *x)
{
	uint32_t unit = legal_unit_size(x->l), tries = 0;
	uint8_t old[SIM_PAGE], full[SIM_PAGE];

	for (uint32_t i = 0; i < legal_dirty_cnt(x->l) && tries < TRIES_MAX; i++) {
		uint32_t u = legal_dirty_unit(x->l, i);
		uint8_t *at = x->f->image + (uint64_t)u * unit;

		legal_content(x->l, u, UINT32_MAX, full);
		if ((uint64_t)(u + 1) * unit > x->f->len || !memcmp(at, full, unit))
			continue;
		memcpy(old, at, unit);
		memcpy(at, full, unit);
		tries++;
		if (!still_fails(x))
			memcpy(at, old, unit);
	}
}

/* False: all of it arrived. */
static bool say_unit(struct explain *x, uint32_t u)
{
	uint32_t unit = legal_unit_size(x->l), n, cnt, flushed, ev;
	const uint8_t *at = x->f->image + (uint64_t)u * unit;
	uint8_t part[SIM_PAGE];

	cnt = legal_content(x->l, u, UINT32_MAX, part);
	if (!memcmp(at, part, unit))
		return false;
	for (n = 0; n < cnt; n++) {
		legal_content(x->l, u, n, part);
		if (!memcmp(at, part, unit))
			break;
	}
	if (n == cnt) {
		say(x, "\n  %#llx: %u stores, torn", (unsigned long long)u * unit, cnt);
		return true;
	}
	ev = legal_store_event(x->l, u, n, &flushed);
	say(x, "\n  %#llx: %u of %u stores arrived%s; the next, event %u: %s",
	    (unsigned long long)u * unit, n, cnt, flushed > n ? " (flushed, not fenced)" : "", ev,
	    crash_where(x->ev[ev]->pc[0]));
	return true;
}

/* What is not complete now matters, or else what is there does. */
static void say_units(struct explain *x)
{
	uint32_t said = 0;

	say(x, "; of %u units not durable these matter:", x->f->note.dirty_cnt);
	for (uint32_t i = 0; i < legal_dirty_cnt(x->l); i++)
		said += say_unit(x, legal_dirty_unit(x->l, i));
	if (said)
		return;
	if (x->f->note.inflight)
		say(x,
		    "\n  none: it fails with all of them complete, by what was under way at that event");
	else
		say(x,
		    "\n  none: it fails with every store up to there complete, as when only the process dies, so for no want of a flush or fence:\n  what arrived should not have been stored yet, or recovery should have taken it back");
}

/* The image fails: shrink it, and keep what is left. */
static void say_image(struct explain *x, const char *file)
{
	if (!still_fails(x)) {
		say(x, "; it does not fail every time");
		return;
	}
	shrink(x);
	crash_keep(file, x->f->image, x->f->len, x->rec);
	say_units(x);
}

void crash_explain(const struct crash_workload *w, const struct crash_record *rec,
		   const struct crash_options *opt, struct failure *f, struct crash_result *res)
{
	const char *media = opt->media == SIM_MEDIA_LINE ? "line" : "page";
	bool record = res->second_failed == SECOND_RECORD;
	struct explain x = {.w = w, .rec = rec, .opt = opt, .f = f, .out = res->why};
	char file[256], command[700];
	struct crash_kept k = {.file = file,
			       .floor = f->floor,
			       .top = f->top,
			       .random = f->random,
			       .crash = record ? opt->depth + 1 : 0};

	snprintf(file, sizeof(file), "%s/%s-%s-%llu-%u.img", opt->keep_dir ? opt->keep_dir : "/tmp",
		 w->name, media, (unsigned long long)opt->seed, f->note.ev);
	crash_repro_command(w, opt->media, &k, f->how, command, sizeof(command));
	x.cap = WHY_MAX - strlen(command);
	x.len = strlen(res->why);
	x.len = x.len < x.cap ? x.len : x.cap - 1;
	crash_keep(file, f->image, f->len, rec);
	replay(&x);
	say(&x, "\n  crash %s event %u: %s", f->note.inflight ? "during" : "after", f->note.ev,
	    crash_where(x.at->pc[0]));
	if (record)
		say(&x,
		    "; its image is right: what comes after its recovery, or is recorded of that, is not");
	else
		say_image(&x, file);
	snprintf(x.out + x.len, sizeof(res->why) - x.len, "\n  again: %s", command);
	legal_free(x.l);
	free(x.ev);
}
