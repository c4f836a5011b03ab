/* SPDX-License-Identifier: MIT
 * count.h -- what a whole run has looked at, over all its workloads and processes
 *
 * The numbers lie in shared memory. An image counts once, however many workloads, crash points and
 * allowed states lead to it: `distinct` is by the hash of its bytes alone. It is of every kind that one of
 * them gave it, so that the numbers do not depend on which came first.
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
	uint64_t full;	 /* images not counted: the table is full */
	uint64_t opened; /* images opened, also those that were counted before: how fast it goes */
	uint64_t cap;
	uint64_t seen[]; /* hashes, with a bit for each kind below; 0 = empty */
};

/* What one job added to the counts, or would have if no other had; shared with its workers. */
struct crash_news {
	uint64_t cnt; /* more than CAP: those beyond were not kept */
	uint64_t cap;
	uint64_t seen[]; /* as in the counts; 0: its process died meanwhile */
};

struct crash_counts *crash_counts_new(uint64_t cap); /* a power of two */
void crash_counts_free(struct crash_counts *c);
/* One more image; KINDS has a bit for each enum count_kind it is of. C may be NULL. */
void crash_counts_add(struct crash_counts *c, uint64_t hash, unsigned int kinds);
const char *crash_count_name(enum count_kind k);
void crash_counts_opened(struct crash_counts *c);

struct crash_news *crash_news_new(uint64_t cap);
void crash_news_free(struct crash_news *n);
/* From now on crash_counts_add() in this process and its children keeps in N what is new; NULL: nowhere. */
void crash_news_to(struct crash_news *n);
/* Add what was kept before. */
void crash_counts_again(struct crash_counts *c, const uint64_t *seen, uint64_t cnt);
/* Print them, in one line. */
void crash_counts_print(const struct crash_counts *c);

#endif
