/* SPDX-License-Identifier: MIT
 * stream.h -- a batch of images as patches, and the worker process that opens them
 */
#ifndef CRASH_STREAM_H
#define CRASH_STREAM_H

#include "enum.h"

/* What a report says about an image, besides its bytes. */
struct note {
	uint32_t ev; /* the crash comes after this event, or during it if it is in flight */
	uint32_t inflight;
	uint32_t dirty_cnt; /* units with stores not durable */
};

/* The image that failed, and how it was opened then. */
struct failure {
	uint8_t *image;
	uint64_t len;
	uint32_t floor, top;
	struct note note;
	unsigned int how; /* enum crash_how */
	uint64_t random;  /* fixed_start() */
};

struct stream;

/* Exit status of a process that opened images: the last one, or a second crash of it, is wrong. */
#define WORKER_AGAIN 77

/* This process opens images itself from now on (crash_options.here). APART: second crashes in processes of their own. */
int stream_here(bool apart);
struct stream *stream_new(const struct crash_workload *w, const struct crash_record *rec,
			  const struct crash_options *opt, struct crash_result *res);
void stream_free(struct stream *s);

/* A unit of the durable image changed; matters to all images after it. */
void stream_base(struct stream *s, uint64_t off, const uint8_t *bytes, uint32_t len);
/* A new image: then its patches, until the next one. */
void stream_image(struct stream *s, uint64_t len, uint32_t floor, uint32_t top,
		  const struct note *note);
void stream_patch(struct stream *s, uint64_t off, const uint8_t *bytes, uint32_t len);
/*
 * Open the images gathered so far if there are many (or FORCE). False: one failed, and RES says
 * so.
 */
bool stream_flush(struct stream *s, bool force);
/* The image that failed, to be freed; NULL: none. */
struct failure *stream_failure(struct stream *s);

/* Open one image in a worker of its own, as it was when it failed. 0, or 1 and WHY. */
int stream_try(const struct crash_workload *w, const struct crash_record *rec,
	       const struct crash_options *opt, const struct failure *f, char *why, size_t why_len);

/*
 * Find the stores whose absence makes the image fail; keep image and states; fill RES->why. When it is right, and what
 * failed is its recovery while that was recorded (SECOND_RECORD), say so.
 */
void crash_explain(const struct crash_workload *w, const struct crash_record *rec,
		   const struct crash_options *opt, struct failure *f, struct crash_result *res);

#endif
