/* SPDX-License-Identifier: MIT
 * rangeset.c -- see rangeset.h
 */
#include "rangeset.h"

#include <stdlib.h>

#include "twz/err.h"

#define N(i) (p->nodes[i])

static int node_new(struct twz__range_pool *p, uint32_t *out)
{
	struct twz__range_node *nodes;
	uint32_t cap;

	if (p->free) {
		*out = p->free;
		p->free = N(p->free).right;
		return 0;
	}
	if (p->cnt + 1 >= p->cap) {
		cap = p->cap ? p->cap * 2 : 64;
		nodes = cap > p->cap ? realloc(p->nodes, cap * sizeof(*nodes)) : NULL;
		if (!nodes)
			return TWZ_E_NOMEM;
		p->nodes = nodes;
		p->cap = cap;
	}
	*out = ++p->cnt;
	return 0;
}

static void node_free(struct twz__range_pool *p, uint32_t i)
{
	N(i).right = p->free;
	p->free = i;
}

static void tree_free(struct twz__range_pool *p, uint32_t root)
{
	if (!root)
		return;
	tree_free(p, N(root).left);
	tree_free(p, N(root).right);
	node_free(p, root);
}

static uint32_t next_prio(struct twz__range_pool *p)
{
	uint32_t x = p->rng ? p->rng : 2463534242U; /* xorshift32: balance needs no better */

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return p->rng = x;
}

/* Ranges starting below KEY go to *LO, the others to *HI. */
static void split(struct twz__range_pool *p, uint32_t root, uintptr_t key, uint32_t *lo,
		  uint32_t *hi)
{
	while (root) {
		if (N(root).start < key) {
			*lo = root;
			lo = &N(root).right;
			root = *lo;
		} else {
			*hi = root;
			hi = &N(root).left;
			root = *hi;
		}
	}
	*lo = 0;
	*hi = 0;
}

/* All of A lies below all of B. */
static uint32_t merge(struct twz__range_pool *p, uint32_t a, uint32_t b)
{
	uint32_t root = 0, *link = &root;

	while (a && b) {
		if (N(a).prio >= N(b).prio) {
			*link = a;
			link = &N(a).right;
			a = *link;
		} else {
			*link = b;
			link = &N(b).left;
			b = *link;
		}
	}
	*link = a ? a : b;
	return root;
}

static uint32_t pop_max(struct twz__range_pool *p, uint32_t *root)
{
	uint32_t *link = root, i;

	while (N(*link).right)
		link = &N(*link).right;
	i = *link;
	*link = N(i).left;
	return i;
}

static uint32_t max_node(const struct twz__range_pool *p, uint32_t root)
{
	while (root && N(root).right)
		root = N(root).right;
	return root;
}

/* Put node I, holding any range, into the set, swallowing the ranges it overlaps or touches. */
static void insert(struct twz__range_pool *p, uint32_t *root, uint32_t i)
{
	uint32_t below, rest, inside, above, j;

	split(p, *root, N(i).start, &below, &rest);
	j = max_node(p, below);
	if (j && N(j).end >= N(i).start) {
		pop_max(p, &below);
		N(i).start = N(j).start;
		if (N(j).end > N(i).end)
			N(i).end = N(j).end;
		node_free(p, j);
	}
	split(p, rest, N(i).end + 1, &inside, &above);
	j = max_node(p, inside);
	if (j && N(j).end > N(i).end)
		N(i).end = N(j).end;
	tree_free(p, inside);
	N(i).left = N(i).right = 0;
	*root = merge(p, merge(p, below, i), above);
}

int twz__ranges_add(struct twz__range_pool *p, uint32_t *root, uintptr_t start, uintptr_t end)
{
	uint32_t i;
	int err = node_new(p, &i);

	if (err)
		return err;
	N(i).start = start;
	N(i).end = end;
	N(i).prio = next_prio(p);
	insert(p, root, i);
	return 0;
}

void twz__ranges_join(struct twz__range_pool *p, uint32_t *to, uint32_t *from)
{
	uint32_t i;

	while (*from) {
		i = pop_max(p, from);
		insert(p, to, i);
	}
}

bool twz__ranges_next(const struct twz__range_pool *p, uint32_t root, uintptr_t addr,
		      uintptr_t *start, uintptr_t *end)
{
	uint32_t best = 0;

	while (root) {
		if (N(root).end > addr) {
			best = root;
			root = N(root).left;
		} else {
			root = N(root).right;
		}
	}
	if (!best)
		return false;
	*start = N(best).start;
	*end = N(best).end;
	return true;
}

bool twz__ranges_gap(const struct twz__range_pool *p, uint32_t root, uintptr_t start, uintptr_t end,
		     uintptr_t *gap_start, uintptr_t *gap_end)
{
	uintptr_t s, e;

	while (start < end) {
		if (!twz__ranges_next(p, root, start, &s, &e) || s >= end) {
			*gap_start = start;
			*gap_end = end;
			return true;
		}
		if (s > start) {
			*gap_start = start;
			*gap_end = s;
			return true;
		}
		start = e;
	}
	return false;
}

void twz__ranges_clear(struct twz__range_pool *p)
{
	p->cnt = 0;
	p->free = 0;
}

void twz__ranges_free(struct twz__range_pool *p)
{
	free(p->nodes);
	*p = (struct twz__range_pool){0};
}
