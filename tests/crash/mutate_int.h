/* SPDX-License-Identifier: MIT
 * mutate_int.h -- what mutate.c (gathering and trying) and mutate_result.c share
 */
#ifndef CRASH_MUTATE_INT_H
#define CRASH_MUTATE_INT_H

#include "mutate.h"
#include "mutate_list.h"

/* When one of these is not enough the run fails, and says so. */
#define MUTANT_MAX 2048
#define RUN_MAX	   512
#define HASH_MAX   256
#define PLACE_MAX  64 /* calls at one place */
#define LIGHT_COST                                                                                 \
	2000 /* of a hint for another call at the same place, where not all need be caught */
#define HINT_MAX 32

/* A workload on a medium. */
struct run {
	const struct crash_workload *w;
	enum sim_media media;
	struct crash_sites *sites; /* shared: by enum where */
};

/* Where a call is made: by the workload, in a recovery from it, by who goes on after a death in it. */
enum where {
	IN_RUN,
	IN_RECOVERY,
	AFTER_DEATH,
	WHERES,
};

struct mutant {
	struct mutant_id id;
	uint64_t hash[HASH_MAX];
	uint32_t hash_cnt;
	uint16_t run[RUN_MAX],
		dead[RUN_MAX];	/* workloads: made in the run or a recovery; after a death */
	bool recovery[RUN_MAX]; /* run[i] makes it in a recovery only */
	uint32_t run_cnt, dead_cnt;
	bool skip;	       /* not in the sample */
	unsigned int known;    /* so many calls with these callers are in the list of equivalents */
	bool hard;	       /* but more of them survived: this one may be one that must not */
	unsigned int at_place; /* which of the calls at its place, in the order of the source */
	struct caught_by hint[HINT_MAX];
	unsigned int hint_cnt;
};

/* Shared: what became of it. */
struct outcome {
	bool done, caught;
	bool light; /* not tried hard, for it need not be caught */
	uint64_t images;
	struct caught_by by;
};

struct all {
	const struct crash_plan *p;
	const struct mutant_options *mo;
	struct run run[RUN_MAX];
	uint32_t run_cnt;
	struct mutant *mut; /* MUTANT_MAX */
	uint32_t mut_cnt;
	struct outcome *out;
	int state; /* file to append to, or -1 */
	double until;
	bool full; /* some table was too small: what is left out would never be tried */
};

/* The names of all mutants, or with some option only of those it is about: are these all there are? */
bool mutants_of_all(const struct all *a);
/*
 * Where more have survived than need not be caught, nobody knows yet which: those that were not tried hard are to be, now. False:
 * there are none.
 */
bool mutants_harder(struct all *a);
/* 0; 1: something survived; 3: not finished. */
int mutants_summary(const struct all *a);
/* What the list of equivalents says that is not so. COMPLETE: each mutant was tried. */
unsigned int mutants_wrong(const struct all *a, bool complete);
/* Write the hints. 0, or 2. */
int mutants_learn(const struct all *a);
/* --list. 0, or 1: the list of equivalents is wrong. */
int mutants_print(const struct all *a);

#endif
