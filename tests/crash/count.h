/* SPDX-License-Identifier: MIT
 * count.h -- what a whole run has looked at, over all its workloads and processes
 *
 * The numbers lie in shared memory. An image counts once, however many workloads, crash points and
 * allowed states lead to it: `distinct` is by the hash of its bytes alone.
 */
#ifndef CRASH_COUNT_H
#define CRASH_COUNT_H

#include <stdbool.h>
#include <stdint.h>

enum count_kind {
	COUNT_ALL,
	COUNT_SMALL, /* the store has at most 1 MiB */
	COUNT_LARGE, /* at least 1 GiB */
	/* of stores of at most 1 MiB: */
	COUNT_PAGE,   /* page media */
	COUNT_INSIDE, /* during an engine commit with a split, merge, checkpoint or lap inside */
	COUNT_SECOND, /* left by a second crash, during recovery or after it */
	COUNT_THIRD,
	COUNT_KINDS,
};

struct crash_counts {
	uint64_t distinct[COUNT_KINDS];
	uint64_t full; /* images not counted: the table is full */
	uint64_t cap;
	uint64_t seen[]; /* hashes; 0 = empty */
};

struct crash_counts *crash_counts_new(uint64_t cap); /* a power of two */
void crash_counts_free(struct crash_counts *c);
/* One more image; KINDS has a bit for each enum count_kind it is of. C may be NULL. */
void crash_counts_add(struct crash_counts *c, uint64_t hash, unsigned int kinds);
const char *crash_count_name(enum count_kind k);
/* Print them, in one line. */
void crash_counts_print(const struct crash_counts *c);

#endif
