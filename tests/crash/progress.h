/* SPDX-License-Identifier: MIT
 * progress.h -- one line on a terminal that says how far a run is
 */
#ifndef CRASH_PROGRESS_H
#define CRASH_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	bool on; /* standard error is a terminal */
	double started;
	double all;	 /* work there is, in seconds as guessed before */
	double before;	 /* done by earlier runs */
	uint64_t opened; /* images, when it started */
};

/* ALL seconds of work by guess, BEFORE of them done; OPENED images so far. */
void progress_begin(struct progress *p, double all, double before, uint64_t opened);
/* DONE seconds of that work are done (BEFORE included). Does nothing unless on a terminal. */
void progress_show(const struct progress *p, double done, uint64_t opened, const char *what);
/* Take the line away: something else is printed. */
void progress_clear(const struct progress *p);
/* Its text: so much of the work, images a second, time left. */
void progress_text(const struct progress *p, double now, double done, uint64_t opened, char *buf,
		   unsigned int len);

#endif
