/* SPDX-License-Identifier: MIT
 * count.c -- see count.h
 */
#include "count.h"

#include <stdio.h>
#include <sys/mman.h>

struct crash_counts *crash_counts_new(uint64_t cap)
{
	struct crash_counts *c =
		mmap(NULL, sizeof(*c) + cap * sizeof(c->seen[0]), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (c == MAP_FAILED)
		return NULL;
	c->cap = cap;
	return c;
}

void crash_counts_free(struct crash_counts *c)
{
	if (c)
		munmap(c, sizeof(*c) + c->cap * sizeof(c->seen[0]));
}

#define KIND_BITS (((uint64_t)1 << COUNT_KINDS) - 1)

static struct crash_news *news;

static void keep(uint64_t seen)
{
	uint64_t i = news ? __atomic_fetch_add(&news->cnt, 1, __ATOMIC_RELAXED) : 0;

	if (news && i < news->cap)
		news->seen[i] = seen;
}

/* Several processes add at once; a slot is taken by one store, and gets bits only after that. Returns those that are new. */
static uint64_t slot_add(struct crash_counts *c, uint64_t hash, uint64_t kinds)
{
	for (uint64_t i = 0; i <= 4096 && i < c->cap; i++) {
		uint64_t *at = &c->seen[((hash >> COUNT_KINDS) + i) & (c->cap - 1)], old = 0;

		if (__atomic_compare_exchange_n(at, &old, hash | kinds, false, __ATOMIC_RELAXED,
						__ATOMIC_RELAXED))
			return kinds;
		if ((old & ~KIND_BITS) == hash)
			return kinds & ~__atomic_fetch_or(at, kinds, __ATOMIC_RELAXED);
	}
	__atomic_fetch_add(&c->full, 1, __ATOMIC_RELAXED);
	return 0;
}

static uint64_t count(struct crash_counts *c, uint64_t seen)
{
	uint64_t fresh = slot_add(c, seen & ~KIND_BITS, seen & KIND_BITS);

	for (unsigned int k = 0; fresh && k < COUNT_KINDS; k++)
		if (fresh >> k & 1)
			__atomic_fetch_add(&c->distinct[k], 1, __ATOMIC_RELAXED);
	return fresh;
}

void crash_counts_add(struct crash_counts *c, uint64_t hash, unsigned int kinds)
{
	uint64_t seen = (hash & ~KIND_BITS) | kinds | 1u << COUNT_ALL;

	if (c && count(c, seen))
		keep(seen);
}

void crash_counts_again(struct crash_counts *c, const uint64_t *seen, uint64_t cnt)
{
	for (uint64_t i = 0; i < cnt; i++)
		if (seen[i])
			count(c, seen[i]);
}

void crash_counts_opened(struct crash_counts *c)
{
	if (c)
		__atomic_fetch_add(&c->opened, 1, __ATOMIC_RELAXED);
}

struct crash_news *crash_news_new(uint64_t cap)
{
	struct crash_news *n =
		mmap(NULL, sizeof(*n) + cap * sizeof(n->seen[0]), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (n == MAP_FAILED)
		return NULL;
	n->cap = cap;
	return n;
}

void crash_news_free(struct crash_news *n)
{
	if (n)
		munmap(n, sizeof(*n) + n->cap * sizeof(n->seen[0]));
}

void crash_news_to(struct crash_news *n)
{
	news = n;
}

const char *crash_count_name(enum count_kind k)
{
	static const char *const name[COUNT_KINDS] = {
		"in all",
		"of stores of at most 1 MiB",
		"of a store of 1 GiB",
		"on page media",
		"inside engine commits with a split, merge, checkpoint or lap",
		"left by a second crash",
		"by a third"};

	return name[k];
}

void crash_counts_print(const struct crash_counts *c)
{
	uint64_t small = c->distinct[COUNT_SMALL];

	printf("distinct images over all workloads: %llu; %llu %s",
	       (unsigned long long)c->distinct[COUNT_ALL],
	       (unsigned long long)c->distinct[COUNT_LARGE], crash_count_name(COUNT_LARGE));
	printf("; %llu %s", (unsigned long long)small, crash_count_name(COUNT_SMALL));
	for (enum count_kind k = COUNT_PAGE; k < COUNT_KINDS; k++)
		printf("%s %llu (%.1f %%) %s", k == COUNT_PAGE ? ", of these" : ",",
		       (unsigned long long)c->distinct[k],
		       small ? 100.0 * (double)c->distinct[k] / (double)small : 0,
		       crash_count_name(k));
	printf("%s\n", c->full ? "; the table is full, there were more" : "");
}
