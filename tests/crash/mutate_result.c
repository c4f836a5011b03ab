/* SPDX-License-Identifier: MIT
 * mutate_result.c -- what became of the mutants: survivors that nothing explains, hints for the next time, lists that are wrong
 */
#include "mutate_int.h"

#include <stdlib.h>
#include <string.h>

/* How many survivors at the place of mutant I are more than the list explains. */
static unsigned int unexplained(const struct all *a, uint32_t i)
{
	unsigned int cnt = 0, known;

	for (uint32_t k = 0; k < a->mut_cnt; k++) {
		if (a->mut[k].skip || !a->out[k].done || a->out[k].caught ||
		    !mutants_same_place(&a->mut[i].id, &a->mut[k].id))
			continue;
		if (k < i)
			return 0; /* told already */
		cnt++;
	}
	known = a->mut[i].known;
	return cnt > known ? cnt - known : 0;
}

/*
 * Where more have survived than need not be caught, nobody knows yet which: those that were not tried hard are to be, now. False:
 * there are none.
 */
bool mutants_harder(struct all *a)
{
	bool any = false;

	for (uint32_t i = 0; i < a->mut_cnt; i++)
		for (uint32_t k = 0; k < a->mut_cnt && unexplained(a, i); k++) {
			struct outcome *out = &a->out[k];

			if (!mutants_same_place(&a->mut[i].id, &a->mut[k].id) || !out->light)
				continue;
			a->mut[k].hard = true;
			*out = (struct outcome){.images = out->images};
			any = true;
		}
	return any;
}

int mutants_summary(const struct all *a)
{
	unsigned int tried = 0, found = 0, open = 0, left = 0, n;
	uint64_t images = 0;

	printf("\n");
	for (uint32_t i = 0; i < a->mut_cnt; i++) {
		if (a->mut[i].skip)
			continue;
		left += !a->out[i].done;
		tried += a->out[i].done;
		images += a->out[i].images;
		found += a->out[i].caught;
		if (a->out[i].caught || !a->out[i].done)
			continue;
		n = unexplained(a, i);
		open += n;
		if (n)
			printf("FAIL: nobody misses %s %s: %s\n", mutation_name[a->mut[i].id.kind],
			       a->mut[i].id.media == SIM_MEDIA_LINE ? "line" : "page",
			       a->mut[i].id.at);
	}
	printf("mutants: %u of %u call sites tried; %u caught, %u proved equivalent, %u survived; %llu images\n",
	       tried, a->mut_cnt, found, tried - found - open, open, (unsigned long long)images);
	if (left)
		printf("mutants: not finished: %u are left for the next time\n", left);
	return left ? 3 : open ? 1 : 0;
}

static bool caught_alike(const struct all *a, uint32_t i, uint32_t k)
{
	const struct caught_by *x = &a->out[i].by, *y = &a->out[k].by;

	return a->out[i].caught && a->out[k].caught && x->limit == y->limit && x->dead == y->dead &&
	       !strcmp(x->workload, y->workload);
}

/* Of mutant I and others at its place that were caught in the same way, once. */
static void learn_one(FILE *f, const struct all *a, uint32_t i)
{
	struct caught_by by = a->out[i].by;

	by.which = 0;
	for (uint32_t k = 0; k < a->mut_cnt; k++) {
		if (!mutants_same_place(&a->mut[i].id, &a->mut[k].id) || !caught_alike(a, i, k))
			continue;
		if (k < i)
			return; /* it stands there already */
		by.which |= 1ULL << a->mut[k].at_place;
	}
	if (by.which)
		mutants_hint_write(f, &a->mut[i].id, &by);
}

/* Were all calls at the place of mutant I tried? If not: is it the first of them? */
static bool place_done(const struct all *a, uint32_t i, bool *first)
{
	bool done = true;

	*first = true;
	for (uint32_t k = 0; k < a->mut_cnt; k++)
		if (mutants_same_place(&a->mut[i].id, &a->mut[k].id)) {
			done &= a->out[k].done;
			*first &= k >= i;
		}
	return done;
}

/* Hints of what was caught now, and of places where not every call was tried what was known before. */
int mutants_learn(const struct all *a)
{
	FILE *f = a->mo->learn ? fopen(a->mo->learn, "w") : NULL;
	bool first;

	if (!a->mo->learn)
		return 0;
	if (!f) {
		printf("FAIL: %s cannot be written\n", a->mo->learn);
		return 2;
	}
	fputs("# What caught a mutant last time: it is tried first (twzcrash mutants --hints FILE; --learn FILE writes it).\n"
	      "# KIND MEDIUM WHICH WORKLOAD power|death IMAGES CALLER < ITS CALLER; WHICH of the calls at this place, in the order of the source.\n",
	      f);
	for (uint32_t i = 0; i < a->mut_cnt; i++) {
		const struct mutant *m = &a->mut[i];

		if (place_done(a, i, &first))
			learn_one(f, a, i);
		else
			for (unsigned int h = 0; h < m->hint_cnt && first; h++)
				mutants_hint_write(f, &m->id, &m->hint[h]);
	}
	return fclose(f) ? 2 : 0;
}

/* All workloads: what no list speaks of is not there. */
bool mutants_of_all(const struct all *a)
{
	return !a->p->name_cnt && !a->p->media;
}

/* COMPLETE: each was tried. */
unsigned int mutants_wrong(const struct all *a, bool complete)
{
	const struct mutant_id **id = calloc(a->mut_cnt + 1, sizeof(*id));
	bool *caught = calloc(a->mut_cnt + 1, sizeof(*caught));
	unsigned int cnt = 0;

	for (uint32_t i = 0; id && caught && i < a->mut_cnt; i++) {
		id[i] = &a->mut[i].id;
		caught[i] = a->out[i].caught;
	}
	if (id && caught && mutants_of_all(a))
		cnt = mutants_list_wrong(a->mo->equivalent, id, a->mut_cnt,
					 complete ? caught : NULL);
	free(id);
	free(caught);
	return cnt;
}

/* Has each of the calls at the place of M been caught before, or is it known that it need not be? */
static bool tried_before(const struct all *a, const struct mutant *m)
{
	unsigned int calls = 0;
	uint64_t caught = 0;

	for (uint32_t k = 0; k < a->mut_cnt; k++)
		calls += mutants_same_place(&m->id, &a->mut[k].id);
	for (unsigned int h = 0; h < m->hint_cnt; h++)
		caught |= m->hint[h].which;
	return m->known + (unsigned int)__builtin_popcountll(caught) >= calls;
}

int mutants_print(const struct all *a)
{
	for (uint32_t i = 0; i < a->mut_cnt; i++) {
		const struct mutant *m = &a->mut[i];

		printf("%-7s %-4s %3u %3u %s%s%s", mutation_name[m->id.kind],
		       m->id.media == SIM_MEDIA_LINE ? "line" : "page", m->run_cnt, m->dead_cnt,
		       m->known ? "(equivalent) " : "",
		       a->mo->hints && !tried_before(a, m) ? "(untried) " : "", m->id.at);
		for (uint32_t r = 0; r < m->run_cnt && r < 4; r++)
			printf("%s%s", r ? " " : ": ", a->run[m->run[r]].w->name);
		printf("\n");
	}
	return mutants_wrong(a, false) ? 1 : 0;
}
