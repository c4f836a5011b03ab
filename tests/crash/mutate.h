/* SPDX-License-Identifier: MIT
 * mutate.h -- take call sites of flush, fence, sync, write and publish away, one by one
 */
#ifndef CRASH_MUTATE_H
#define CRASH_MUTATE_H

#include "run.h"

struct mutant_options {
	bool list;		/* say which there are, and try none */
	bool all;		/* of libtwz and the engine, too (crash_own_only) */
	const char *only;	/* those with this in their name; NULL: all */
	uint32_t sample;	/* so many, of those with hints if there are any; 0: all */
	uint64_t pick;		/* which ones; 0: by the clock */
	uint32_t seconds;	/* begin none after that; 0: no end */
	const char *equivalent; /* file with those that need not be caught, and why; NULL: none */
	const char *hints;	/* what caught them last time; NULL: nothing is known */
	const char *learn;	/* write new hints to it, or NULL */
	const char *state; /* what was found so far, for a run in parts; NULL: it is done in one */
};

/* All mutants of the plan's workloads. Returns 1 when one survived that is not in the list; 2: the state is of no use; 3: not finished. */
int crash_mutants(const struct crash_plan *p, const struct mutant_options *mo);

#endif
