/* SPDX-License-Identifier: MIT
 * core_image.h -- a store image in memory for tests of twz/core: ops that fail or stop on demand,
 * and what would survive
 *
 * `img` is what running code sees; `dur` is what is surely on the medium: journal writes and zeroed
 * ranges at once, homes when they were flushed and fenced. A crash image is dur, img, or any
 * mixture of both per cell-sized piece.
 */
#ifndef CORE_IMAGE_H
#define CORE_IMAGE_H

#include <setjmp.h>
#include "core.h"

enum ci_event { CI_LOG_WRITE, CI_FENCE, CI_GROW, CI_ZERO, CI_COPY, CI_EVENTS };

struct ci_range {
	u64 off, len;
};

struct core_image {
	u8 *img, *dur; /* dur: NULL when not tracked */
	u8 *touched;   /* per page: written since it was all zeros */
	u64 len, cap;  /* bytes; growing beyond cap is TWZ_E_NOSPC */
	u32 page_media;
	struct ci_range *queue; /* flushed, not yet fenced */
	u64 queue_cnt, queue_cap;

	u64 cnt[CI_EVENTS];	/* calls so far */
	u64 fail_at[CI_EVENTS]; /* this call (from 1) fails; 0 = none */
	u64 events;		/* all of them */
	u64 stop_at;		/* longjmp(stop) instead of this event (from 1) */
	/* a stopped log_write leaves 0: nothing, 1: some bytes, 2: all, but not durably */
	int tear;
	jmp_buf stop;
	char where[64], why[64]; /* of the last corruption */
	u64 a, b;

	struct twzc c;
	struct twzc_shared sh;
	u8 *tx;
};

/* An image of LEN bytes that can grow to CAP, formatted. TRACK: keep dur. */
struct core_image *ci_new(u64 len, u64 cap, u64 journal_len, u32 page_media, bool track);
void ci_free(struct core_image *ci);
/* Format again from zeros. */
int ci_format(struct core_image *ci, u64 len, u64 journal_len);
/* Attach as the only user, after a restart (twzc_shared is lost), and recover. */
int ci_open(struct core_image *ci, bool *unclean);
/* Lose power: what is left is dur (how = 0), img (1), or a mixture (2). Forgets the queue. */
void ci_crash(struct core_image *ci, int how);
/* The process died and another one finishes its work: everything in memory is still there. */
int ci_takeover(struct core_image *ci);
/* Copy of an image's bytes and state, to go back to; and the same into an older clone. */
struct core_image *ci_clone(const struct core_image *ci);
void ci_copy(struct core_image *to, const struct core_image *from);

/* Run twzc_check and print what it finds; the number of findings. */
u64 ci_check(struct core_image *ci);
void ci_id(u64 n, u64 id[2]);
/*
 * What all objects 0 .. cnt-1 look like from outside, in one number; data with tags in it must
 * still carry them.
 */
u64 ci_summary(struct core_image *ci, u64 cnt);
int ci_create(struct core_image *ci, u64 n, u64 len, bool contiguous);
/*
 * Every page of [from, to) of the object's data: zero? / carries its tag? ; and write the tags (as
 * flushed user data).
 */
bool ci_data_zero(struct core_image *ci, u64 n, u64 from, u64 to);
bool ci_data_tagged(struct core_image *ci, u64 n, u64 to);
void ci_data_tag(struct core_image *ci, u64 n, u64 from, u64 to);

#endif
