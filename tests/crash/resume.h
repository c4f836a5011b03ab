/* SPDX-License-Identifier: MIT
 * resume.h -- what a run has done so far, in a file, so that it can be interrupted anywhere and goes on
 *
 * The file has a head and a record for every job that has ended; one process appends them. A record counts if its
 * checksum holds, and if all before it do; what a killed process left behind the last one is cut off. A job that was
 * cut short is not in it, and is done again from its beginning: with the same seed it does the same.
 */
#ifndef CRASH_RESUME_H
#define CRASH_RESUME_H

#include "enum.h"

struct resume;

struct resume_job {
	uint32_t round, job; /* of `long`; by number in the plan */
	const struct crash_result *res;
	const uint64_t *seen; /* what it added to the counts */
	uint64_t seen_cnt;
};

/*
 * Open FILE, or begin it. TITLE says what must be the same: another build or other options begin anew. *SEED is that of
 * the file if it goes on and ANY_SEED. NULL: reported (another process has the file, or it cannot be written).
 */
struct resume *resume_open(const char *file, const char *title, uint64_t *seed, bool any_seed);
/* The next record; false: there are no more. What it refers to is good until the next call. */
bool resume_next(struct resume *r, struct resume_job *j);
/* After resume_next() said that there are no more. False: it cannot be written (reported). */
bool resume_add(struct resume *r, const struct resume_job *j);
/* In a child: the file is its parent's. */
void resume_leave(struct resume *r);
void resume_close(struct resume *r);

#endif
