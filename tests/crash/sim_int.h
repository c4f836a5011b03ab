/* SPDX-License-Identifier: MIT
 * sim_int.h -- what sim.c (events, stores, deaths) and sim_media.c (the back end) share
 */
#ifndef CRASH_SIM_INT_H
#define CRASH_SIM_INT_H

#include "sim.h"

#include <pthread.h>
#include <sys/types.h>

/* The simulator's own copies must not come back through the hooks. */
void *__real_memcpy(void *dst, const void *src, size_t n);
void *__real_memmove(void *dst, const void *src, size_t n);
void *__real_memset(void *dst, int c, size_t n);
#define memcpy	__real_memcpy
#define memmove __real_memmove
#define memset	__real_memset

#define SEG_MAX 256 /* pages of one copy: 1 MiB */

struct seg {
	uint64_t off;
	uint32_t len;
};

struct sim_state {
	enum sim_media media;
	struct sim_log *log;
	struct twz__media *open[2]; /* the simulated store, or both of a pair */
	bool pair;
	int fd; /* of the image, while one is open */
	uint8_t *img, *shadow;
	uint64_t len, shadow_hi; /* of the image; of what may stand in the shadow of another */
	ino_t ino;
	bool resident;		 /* img is kept when the store is closed */
	bool unnamed;		 /* made and not published */
	struct seg seg[SEG_MAX]; /* the announced store, a piece per page */
	unsigned int seg_cnt;
	uint64_t pc;
	void **frame;
	bool atomic; /* the store being recorded knows its callers, from `frame` on */
	pthread_t owner;
	bool killing; /* only count, do not record */
	bool mortal;  /* record, and die at kill_at */
	bool paused;  /* mapped and ready, somebody else is recording */
	bool started;
	uint64_t kill_at;
	uint8_t hole[4 * SIM_IMAGE_SMALL / SIM_PAGE]; /* given back and not taken since; what lies
							 behind is not looked at */
	uint64_t holes;
	void (*during)(void *ctx); /* the next write waits for it */
	void *during_ctx;
	enum sim_fault fault; /* of the next write, or sync */
	bool sync_lost;	      /* one has failed */
};

extern struct sim_state sim;

/* NULL: nothing is recorded. */
struct sim_ev *sim_append(enum sim_ev_type type, uint64_t off, const void *data, uint64_t len);
/* With its callers. */
void sim_append_bt(enum sim_ev_type type, uint64_t off, const void *data, uint64_t len);
/* Every call of the backend notes its frame, so that pc[0] is always its caller. */
#define ENTER() (sim.frame = __builtin_frame_address(0))

bool sim_records(void);
/* Kill mode: a moment to die; will the next one be the last? */
void sim_kill_point(void);
bool sim_dies_next(void);
int sim_image_len(uint64_t *len); /* another process may have grown it */
void sim_shadow_copy(int fd);

#endif
