/* SPDX-License-Identifier: MIT
 * progress.c -- see progress.h
 */
#include "progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "text.h"

#define BAR_LEN 30

void progress_begin(struct progress *p, const char *what, uint64_t total)
{
	const char *term = getenv("TERM");

	*p = (struct progress){.what = what, .total = total, .start = now_s()};
	p->last = p->start + 0.9;
	p->on = isatty(STDERR_FILENO) && term && strcmp(term, "dumb");
}

static void draw_bar(const struct progress *p, uint64_t done, double seconds)
{
	double part = done < p->total ? (double)done / (double)p->total : 1;
	int full = (int)(part * BAR_LEN);

	fprintf(stderr, "\r%s [%.*s%*s] %3.0f%%", p->what, full, "##############################",
		BAR_LEN - full, "", part * 100);
	if (part > 0.02)
		fprintf(stderr, ", %.0f s left", seconds / part - seconds);
}

void progress_step(struct progress *p, uint64_t done)
{
	double now;
	char n[SIZE_STR_LEN];

	if (!p->on)
		return;
	now = now_s();
	if (now - p->last < 0.1)
		return;
	p->last = now;
	p->shown = true;
	if (p->total)
		draw_bar(p, done, now - p->start);
	else if (done == UINT64_MAX)
		fprintf(stderr, "\r%s %.0f s", p->what, now - p->start);
	else
		fprintf(stderr, "\r%s %s, %.0f s", p->what, count_str(done, n), now - p->start);
	fputs("\033[K", stderr);
}

void progress_end(struct progress *p)
{
	if (p->shown)
		fputs("\r\033[K", stderr);
	p->shown = false;
}
