/* SPDX-License-Identifier: MIT
 * ptr_chain.c -- placing, ordering and measuring chains
 */
#include "ptr_chain.h"

#include <stdlib.h>

void chain_closed(bool ok)
{
	if (ok)
		return;
	fprintf(stderr, "twzbench: a walk went astray: a pointer was translated wrongly\n");
	exit(1);
}

/* Until a node is linked, its raw pointer holds the number of its object. */
static uintptr_t obj_of(const struct node *n)
{
	return (uintptr_t)n->raw;
}

void chain_place(struct node **at, size_t cnt, char *const *bases, int obj_cnt)
{
	size_t per = cnt / (size_t)obj_cnt;

	/* Object k takes the k-th part of its range, so that objects do not share cache sets. */
	for (size_t i = 0; i < cnt; i++) {
		at[i] = (struct node *)bases[i / per] + i;
		at[i]->raw = (struct node *)(i / per);
	}
}

static void swap(struct node **at, size_t i, size_t j)
{
	struct node *t = at[i];

	at[i] = at[j];
	at[j] = t;
}

/* Nodes CNT-1 and 0 are neighbours, too. */
static bool clash(struct node **at, size_t cnt, size_t i)
{
	return obj_of(at[i]) == obj_of(at[(i + 1) % cnt]) ||
	       obj_of(at[i]) == obj_of(at[(i + cnt - 1) % cnt]);
}

void chain_shuffle(struct node **at, size_t cnt, bool alternate)
{
	bool again = alternate;

	for (size_t i = cnt - 1; i > 0; i--)
		swap(at, i, bench_rand() % (i + 1));
	while (again) {
		again = false;
		for (size_t i = 0; i < cnt; i++) {
			if (!clash(at, cnt, i))
				continue;
			swap(at, i, bench_rand() % cnt);
			again = true;
		}
	}
}

void chain_warm(const struct chain *c)
{
	for (int i = 0; i < NODE_CNT; i++)
		(void)*(struct node *volatile *)&c->at[i]->raw;
}

/*
 * One walk to put caches, predictors and libtwz's guess into the state of steady use, and one in a
 * new order for the clock.
 */
static int measure(const struct walk *w, uint64_t *ticks)
{
	static struct chain c;
	int err;

	for (int lap = 0; lap < 2; lap++) {
		err = w->link(&c);
		if (err)
			return err;
		chain_warm(&c);
		*ticks = w->walk(&c);
	}
	return 0;
}

int walk_all(struct walk *w, int cnt, int rounds)
{
	double ns[64];

	for (int r = 0; r < rounds; r++) {
		for (int i = 0; i < cnt; i++) {
			uint64_t ticks;
			int err = measure(&w[i], &ticks);

			if (err)
				return err;
			ns[i] = (double)ticks * bench_ns_per_tick() / w[i].steps;
		}
		for (int i = 0; i < cnt; i++)
			w[i].added[r] = w[i].raw == i ? ns[i] : ns[i] - ns[w[i].raw];
	}
	return 0;
}
