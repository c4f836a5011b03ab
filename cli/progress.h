/* SPDX-License-Identifier: MIT
 * progress.h -- a bar on stderr for what takes longer than a second
 */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	const char *what;
	uint64_t total; /* 0: not known */
	double start, last;
	bool on;    /* stderr is a terminal */
	bool shown; /* something is on the line */
};

void progress_begin(struct progress *p, const char *what, uint64_t total);
/*
 * Cheap: draws at most ten times a second, and nothing in the first second. DONE: UINT64_MAX
 * shows the time only.
 */
void progress_step(struct progress *p, uint64_t done);
/* Take the bar away. */
void progress_end(struct progress *p);

#endif
