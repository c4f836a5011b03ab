/* SPDX-License-Identifier: MIT
 * run.h -- many workloads on all their media, several at a time
 */
#ifndef CRASH_RUN_H
#define CRASH_RUN_H

#include "enum.h"

struct crash_plan {
	struct crash_options opt;
	unsigned int media; /* enum crash_media_bits; 0: all a workload has */
	const char *name[64];
	unsigned int name_cnt; /* 0: all workloads */
	bool quick;	       /* only those marked so */
	unsigned int jobs;     /* processes at a time */
	uint64_t kill_max;     /* limit for process deaths, before it is divided */
	uint64_t
		require; /* distinct images of small stores that must have been looked at, or the run fails */
	uint64_t require_large; /* of a store of 1 GiB */
	const char *state;	/* file that remembers what has been done, or NULL (resume.h) */
	bool any_seed;		/* none was asked for: that of the state file will do */
};

struct crash_sum {
	uint64_t runs, failed, points, images, reopened;
	uint64_t killed, heirs, late, next, really; /* processes (enum.h) */
	double cpu;
};

/* Is W among the names? A name may be a prefix: core, tx, log, engine. */
bool crash_wanted(const struct crash_plan *p, const struct crash_workload *w);
/* All jobs of the plan once, with a report of what was looked at. */
int crash_plan_once(struct crash_plan *p);
/* Again and again with other seeds, until it is stopped or something fails. */
int crash_plan_long(struct crash_plan *p);

/* Three crashes, at every point of each, of the workloads named or else those small enough. */
int crash_plan_thrice(const struct crash_plan *p);

#endif
