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
	char at[400];
	char fns[160];
};

/* How a mutant was caught: a crash of WORKLOAD, or a death in it and then a crash. */
struct caught_by {
	char workload[48];
	bool dead;
	uint64_t limit; /* images that were enough */
	uint64_t which; /* of the calls at its place, in the order of the source: bits */
};

/*
 * Equivalents: lines "KIND MEDIUM N FNS: proof": of the calls with these callers N are not needed.
 * MEDIUM may be `both`, the second function `*`: N for each. Returns N, 0 when FILE is NULL.
 */
unsigned int mutants_equivalent(const char *file, const struct mutant_id *m);
bool mutants_same_place(const struct mutant_id *a, const struct mutant_id *b);
/*
 * The CNT mutants are all there are. Say which lines of FILE are for calls that are not there, or for more than there are; and, if CAUGHT says
 * what became of each, for more than have survived: a number too large would hide a survivor to come. Returns how many are wrong.
 */
unsigned int mutants_list_wrong(const char *file, const struct mutant_id *const *m,
				unsigned int cnt, const bool *caught);

/* Hints: lines "KIND MEDIUM WHICH WORKLOAD power|death LIMIT FNS", WHICH as in 1,3: of the calls at this place, in the order of the source. Up to MAX of them for this mutant. */
unsigned int mutants_hints(const char *file, const struct mutant_id *m, struct caught_by *by,
			   unsigned int max);
void mutants_hint_write(FILE *f, const struct mutant_id *m, const struct caught_by *by);

/*
 * The state of a run in parts: a line with TITLE, and then "caught|equal|survived" and the same words with
 * AT instead of FNS. TITLE begins with STATE_TITLE; a file with another such title is begun anew, one that begins otherwise is
 * somebody else's. Returns a descriptor to append to, locked; or -1, and says why.
 */
#define STATE_TITLE "# mutants of build "
int mutants_state_open(const char *file, const char *title);
bool mutants_state_add(int fd, const struct mutant_id *m, const struct caught_by *by, bool light);
/* What became of it: the last that stands there. KNOWN: it need not be caught, else a light trial does not count. */
enum mutant_was {
	MUTANT_UNTRIED,
	MUTANT_LIGHT, /* survived, and was not tried hard */
	MUTANT_SURVIVED,
	MUTANT_CAUGHT, /* and BY says how */
};
enum mutant_was mutants_state_find(const char *file, const struct mutant_id *m, bool known,
				   struct caught_by *by);

#endif
