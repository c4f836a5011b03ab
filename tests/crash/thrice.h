/* SPDX-License-Identifier: MIT
 * thrice.h -- a crash, a crash of the recovery from it, and a crash of the recovery from that, at every point of each
 *
 * Nothing is drawn by chance: each point of the recorded run, of the recovery of every image it may leave, and of the
 * recovery of every image those may leave is enumerated. An image that was met before with the same states allowed
 * need not be recovered again: recovery depends on the image only (random numbers and clocks, too, are made from it).
 * The bound is per point: when a point has more images than crash_workload.thrice, the telling ones and a sample are
 * tried, about so many; and so many with pages torn or words out of order.
 */
#ifndef CRASH_THRICE_H
#define CRASH_THRICE_H

#include "enum.h"

#define THRICE_CAP   8u /* of workloads that do not say */
#define THRICE_DEPTH 3

/* Shared by the process that crashes and the one that reports. */
struct thrice {
	uint64_t points[THRICE_DEPTH], points_all[THRICE_DEPTH], points_void[THRICE_DEPTH];
	uint64_t whole[THRICE_DEPTH]; /* points all of whose images were tried */
	uint64_t met
		[THRICE_DEPTH]; /* different images found at this depth, not met nearer to the beginning */
	uint64_t opened[THRICE_DEPTH], recorded[THRICE_DEPTH];
	uint64_t no;	    /* images opened so far */
	uint64_t stop_at;   /* the report: keep that one and end; 0: none */
	uint32_t recording; /* an image that the Nth crash left is being recorded; 0: opened */
	char file[200];
	uint32_t floor, top, depth, how; /* of that one: also, enum crash_how, and fixed_start() */
	uint64_t random;
	char why[2048];
};

/* An image that no crash before it had to be recovered from as early as at DEPTH. */
bool thrice_new_image(struct thrice *t, struct hash128 h, uint32_t depth);
/* The points of one enumeration; T may be NULL in all of these. */
void thrice_add(struct thrice *t, uint32_t depth, const struct crash_result *res);
/* What recovery from an image has for random numbers and clocks: they depend on the image. */
uint64_t thrice_random(const struct crash_options *opt, const uint8_t *image, uint64_t len);
/* An image is going to be opened. */
struct failure;
void thrice_image(struct thrice *t, const struct crash_options *opt, const struct crash_record *rec,
		  const struct failure *f);
void thrice_recorded(struct thrice *t, uint32_t depth);

/* One workload, with a line of what was done, and a report when an image is wrong. Returns 0, or 1. */
int crash_thrice(const struct crash_workload *w, const struct crash_options *opt);

#endif
