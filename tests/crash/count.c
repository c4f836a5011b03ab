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

/* Several processes add at once; a slot is taken by one store and never changes again. */
static bool first_time(struct crash_counts *c, uint64_t hash)
{
	hash += !hash;
	for (uint64_t i = 0; i < c->cap; i++) {
		uint64_t *at = &c->seen[(hash + i) & (c->cap - 1)], old = 0;

		if (__atomic_compare_exchange_n(at, &old, hash, false, __ATOMIC_RELAXED,
						__ATOMIC_RELAXED))
			return true;
		if (old == hash)
			return false;
		if (i > 4096)
			break;
	}
	__atomic_fetch_add(&c->full, 1, __ATOMIC_RELAXED);
	return false;
}

void crash_counts_add(struct crash_counts *c, uint64_t hash, unsigned int kinds)
{
	if (!c || !first_time(c, hash))
		return;
	for (unsigned int k = 0; k < COUNT_KINDS; k++)
		if (kinds >> k & 1 || k == COUNT_ALL)
			__atomic_fetch_add(&c->distinct[k], 1, __ATOMIC_RELAXED);
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
