/* SPDX-License-Identifier: MIT
 * progress.h -- how far a run is: one line on a terminal, a line a minute anywhere else
 */
#ifndef CRASH_PROGRESS_H
#define CRASH_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	bool terminal; /* standard error is one */
	double every;  /* seconds between two lines: 1 there, 60 in a file */
	double next;   /* when the next is due */
	double started;
	double all;	 /* work there is, in seconds as guessed before */
	double before;	 /* done by earlier runs */
	uint64_t opened; /* images, when it started */
};

/* ALL seconds of work by guess, BEFORE of them done; OPENED images so far. */
void progress_begin(struct progress *p, double all, double before, uint64_t opened);
/* DONE seconds of that work are done (BEFORE included). In a file: nothing before it is due. */
void progress_show(struct progress *p, double done, uint64_t opened, const char *what);
/* Take the line away, on a terminal: something else is printed. */
void progress_clear(const struct progress *p);
/* Its text: so much of the work, images a second, time left. */
void progress_text(const struct progress *p, double now, double done, uint64_t opened, char *buf,
		   unsigned int len);

#endif
