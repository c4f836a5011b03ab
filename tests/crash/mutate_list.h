/* SPDX-License-Identifier: MIT
 * mutate_list.h -- what is known about mutants: equivalents, hints, outcomes of an earlier part of the run
 */
#ifndef CRASH_MUTATE_LIST_H
#define CRASH_MUTATE_LIST_H

#include "enum.h"

extern const char *const mutation_name[];

/* Who is asked about: FNS is "function < function", AT the same with files and lines. */
struct mutant_id {
	enum mutation_kind kind;
	enum sim_media media;
	char at[240];
	char fns[160];
};

/* How a mutant was caught: a crash of WORKLOAD, or a death in it and then a crash. */
struct caught_by {
	char workload[48];
	bool dead;
	uint64_t limit; /* images that were enough */
};

/*
 * Equivalents: lines "KIND MEDIUM N FNS: proof": of the calls with these callers N are not needed.
 * MEDIUM may be `both`, the second function `*`: N for each. Returns N, 0 when FILE is NULL.
 */
unsigned int mutants_equivalent(const char *file, const struct mutant_id *m);
/* Say which lines of FILE none of the CNT mutants has anything to do with. Returns their number. */
unsigned int mutants_stale(const char *file, const struct mutant_id *const *m, unsigned int cnt);

/* Hints: lines "KIND MEDIUM WORKLOAD power|death LIMIT FNS". Up to MAX of them for this mutant. */
unsigned int mutants_hints(const char *file, const struct mutant_id *m, struct caught_by *by,
			   unsigned int max);
void mutants_hint_write(FILE *f, const struct mutant_id *m, const struct caught_by *by);

/*
 * The state of a run in parts: a line with TITLE, and then "caught|survived" and the same words with
 * AT instead of FNS. TITLE begins with STATE_TITLE; a file with another such title is begun anew, one that begins otherwise is
 * somebody else's. Returns a descriptor to append to, locked; or -1, and says why.
 */
#define STATE_TITLE "# mutants of build "
int mutants_state_open(const char *file, const char *title);
bool mutants_state_add(int fd, const struct mutant_id *m, const struct caught_by *by);
/* 1: caught, and BY; 0: survived; -1: not tried yet. */
int mutants_state_find(const char *file, const struct mutant_id *m, struct caught_by *by);

#endif
