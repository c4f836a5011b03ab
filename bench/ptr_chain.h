/* SPDX-License-Identifier: MIT
 * ptr_chain.h -- dependent chains of pointers, the same for raw pointers, libtwz and libpmemobj
 *
 * A node holds the pointer to the next one in all three forms, so that every variant walks the same
 * lines. The order is random and new for every measurement, so no branch predictor can have learned
 * it. All nodes together are 32 KiB: they stay in the first-level cache, and what is seen is the
 * cost of translating.
 */
#ifndef TWZ_BENCH_PTR_CHAIN_H
#define TWZ_BENCH_PTR_CHAIN_H

#include "bench.h"

#define NODE_CNT 1024
#define OBJ_CNT	 8

struct node {
	struct node *raw;
	uint64_t pptr;
	uint64_t oid[2];
};
_Static_assert(sizeof(struct node) == 32, "two nodes a line");

/*
 * CHAIN: every node points to the next. HUB: cells, all in one object, point to nodes; a node names
 * the next cell by a raw pointer in every variant, so a step is one dereference under test and one
 * plain load.
 */
struct chain {
	/* In the order of the walk. HUB: cells at 0 .. NODE_CNT/2-1, their targets behind them. */
	struct node *at[NODE_CNT];
};

/*
 * Places of CNT nodes, spread evenly over bases[0 .. obj_cnt-1]; then put into a random order
 * without neighbours in one object.
 */
void chain_place(struct node **at, size_t cnt, char *const *bases, int obj_cnt);
void chain_shuffle(struct node **at, size_t cnt, bool alternate);
void chain_warm(const struct chain *c);

/* A walk over the whole chain ends where it began, if every answer was right; else the run ends. */
void chain_closed(bool ok);

#define KEEP(p) __asm__ volatile("" : "+r"(p))

/* NAME(c): ticks for a whole walk; EXPR computes the next node from P. */
#define CHAIN_WALK(name, expr)                                                                     \
	static __attribute__((noinline)) uint64_t name(const struct chain *c)                      \
	{                                                                                          \
		const struct node *p = c->at[0];                                                   \
		uint64_t t = bench_ticks();                                                        \
                                                                                                   \
		for (int i = 0; i < NODE_CNT; i++) {                                               \
			p = (expr);                                                                \
			KEEP(p);                                                                   \
		}                                                                                  \
		t = bench_ticks() - t;                                                             \
		chain_closed(p == c->at[0]);                                                       \
		return t;                                                                          \
	}

#define HUB_WALK(name, expr)                                                                       \
	static __attribute__((noinline)) uint64_t name(const struct chain *c)                      \
	{                                                                                          \
		const struct node *p = c->at[0];                                                   \
		uint64_t t = bench_ticks();                                                        \
                                                                                                   \
		for (int i = 0; i < NODE_CNT / 2; i++) {                                           \
			p = (expr);                                                                \
			p = p->raw;                                                                \
			KEEP(p);                                                                   \
		}                                                                                  \
		t = bench_ticks() - t;                                                             \
		chain_closed(p == c->at[0]);                                                       \
		return t;                                                                          \
	}

/* A variant: links the nodes of C in a new order, and walks them. */
struct walk {
	const char *key;
	const char *what;
	int (*link)(struct chain *c);
	uint64_t (*walk)(const struct chain *c);
	int steps;
	int raw;       /* index of the variant it is compared with; itself: it is a raw one */
	double bar;    /* ns it may add; 0 = none */
	double *added; /* ns, one per round */
};

/* Measure all, round by round; fills ADDED. 0 or an error of a link function. */
int walk_all(struct walk *w, int cnt, int rounds);

/*
 * --- ptr_pmemobj.c: writes its variants to W, whose first one is number FIRST of all; returns how
 * many; < 0: error, said ---
 */
int pmemobj_walks(const char *dir, struct walk *w, int first, int room);
void pmemobj_done(void);

/* --- ptr_touch.c --- */
struct twz_store;
int bench_first_use(struct twz_store *s, int rounds);
int bench_first_touch(struct twz_store *s, const char *path);
/* Prints what a failed libtwz call said; 1. */
int bench_failed(const char *what);

#endif
