/* SPDX-License-Identifier: MIT
 * rangeset.h -- sets of address ranges: what a transaction has saved already
 *
 * A set is the root of a treap of disjoint, not touching ranges. All sets of a transaction draw
 * nodes from one pool, so that joining two of them needs no memory and cannot fail. Not
 * thread-safe.
 */
#ifndef TWZ_SRC_RANGESET_H
#define TWZ_SRC_RANGESET_H

#include <stdbool.h>
#include <stdint.h>

struct twz__range_node {
	uintptr_t start, end;
	uint32_t left, right, prio;
};

struct twz__range_pool {
	struct twz__range_node *nodes; /* index 0 is not used: it means none */
	uint32_t cnt, cap, free;
	uint32_t rng;
};

/* Add [START, END) to the set *ROOT. Returns 0 or TWZ_E_NOMEM (set unchanged). */
int twz__ranges_add(struct twz__range_pool *p, uint32_t *root, uintptr_t start, uintptr_t end);

/* Move everything in *FROM to *TO; *FROM is empty afterwards. Cannot fail. */
void twz__ranges_join(struct twz__range_pool *p, uint32_t *to, uint32_t *from);

/* First part of [START, END) that is not in the set. False: all of it is. */
bool twz__ranges_gap(const struct twz__range_pool *p, uint32_t root, uintptr_t start, uintptr_t end,
		     uintptr_t *gap_start, uintptr_t *gap_end);

/*
 * Lowest range of the set that ends above ADDR. Walk: start with 0, go on with *END. False:
 * none.
 */
bool twz__ranges_next(const struct twz__range_pool *p, uint32_t root, uintptr_t addr,
		      uintptr_t *start, uintptr_t *end);

/* Forget all sets of the pool but keep its memory; give the memory back. */
void twz__ranges_clear(struct twz__range_pool *p);
void twz__ranges_free(struct twz__range_pool *p);

#endif
