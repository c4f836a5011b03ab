/* SPDX-License-Identifier: MIT
 * progress.c -- see progress.h
 *
 * The cursor stays at the beginning of the line, so that whatever a job prints meanwhile takes its place.
 */
#include "progress.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

void progress_begin(struct progress *p, double all, double before, uint64_t opened)
{
	*p = (struct progress){.terminal = isatty(STDERR_FILENO),
			       .started = now(),
			       .all = all,
			       .before = before,
			       .opened = opened};
	p->every = p->terminal ? 1 : 60;
	p->next = p->terminal ? 0 : p->started + p->every;
}

static int time_text(double seconds, char *buf, unsigned int len)
{
	unsigned long s = (unsigned long)(seconds + 0.5);

	if (s >= 3600)
		return snprintf(buf, len, "%lu h %02lu min", s / 3600, s / 60 % 60);
	return s >= 60 ? snprintf(buf, len, "%lu min %02lu s", s / 60, s % 60)
		       : snprintf(buf, len, "%lu s", s);
}

void progress_text(const struct progress *p, double at, double done, uint64_t opened, char *buf,
		   unsigned int len)
{
	double took = at - p->started, fresh = done - p->before, left = p->all - done;
	char text[40] = "not known yet";

	/* no guess before one can be made from this run */
	if (took >= 2 && fresh > 0)
		time_text(left * took / fresh, text, sizeof(text));
	snprintf(buf, len, "%3.0f %%, %.0f images/s, time left: %s",
		 p->all > 0 ? 100 * done / p->all : 100,
		 took > 0 ? (double)(opened - p->opened) / took : 0, text);
}

void progress_show(struct progress *p, double done, uint64_t opened, const char *what)
{
	double at = now();
	char text[120];

	if (at < p->next)
		return;
	if (!p->terminal)
		p->next = at + p->every;
	progress_text(p, at, done, opened, text, sizeof(text));
	fprintf(stderr, p->terminal ? "%s%s\033[K\r" : "%s%s\n", what, text);
	fflush(stderr);
}

void progress_clear(const struct progress *p)
{
	if (p->terminal)
		fputs("\033[K", stderr);
}
