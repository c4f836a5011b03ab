/* SPDX-License-Identifier: MIT
 * legal.h -- which images a crash may leave: the model of the medium
 *
 * Fed with the event log, it keeps what is durable (`base`) and, per unit, the stores that may
 * or may not have arrived. A unit is a 64-byte line (cache-line media) or a 4 KiB page (page
 * media). An atom is a store cut at 8-byte words: the largest thing the hardware writes whole.
 *
 *   line   any prefix of its atoms since it was last flushed and fenced, each line for itself; atoms that went past the
 *          cache (NT) also arrive in any order within their line
 *   page   its content at any moment since its last sync; or at two such moments, by 512-byte sector (torn)
 *   write  (page media) a synchronous write in flight: any subset of its sectors
 *   grow   in flight: the old length, half of the growth, or all of it; new bytes are zero
 */
#ifndef CRASH_LEGAL_H
#define CRASH_LEGAL_H

#include "image.h"
#include "sim.h"

#define LEGAL_NONE UINT32_MAX

/* The content of one unit in a candidate image. */
struct pick {
	uint32_t unit;
	uint8_t kind; /* enum pick_kind */
	uint8_t mask; /* PICK_TORN: sectors taken at moment b, the others at a */
	uint32_t
		/*
		 * PICK_PREFIX: atoms that arrived. PICK_SUFFIX: only the last a arrived.
		 * PICK_TORN: first moment
		 */
		a;
	uint32_t b;
};

enum pick_kind {
	PICK_PREFIX = 0,
	PICK_SUFFIX,
	PICK_TORN,
};

enum overlay_kind {
	OVERLAY_NONE = 0,
	OVERLAY_MASK,  /* sector i arrived iff bit i % 64 of arg */
	OVERLAY_FIRST, /* the first arg sectors */
	OVERLAY_ONLY,  /* sector arg alone */
	OVERLAY_BUT,   /* all but sector arg */
};

/*
 * A candidate image: base, plus picks (units not named stay at base), plus an overlay of the
 * write in flight.
 */
struct candidate {
	struct pick *pick;
	uint32_t pick_cnt;
	uint8_t overlay; /* enum overlay_kind */
	uint64_t overlay_arg;
	uint64_t len; /* of the image */
};

enum mutation_kind {
	MUTATE_NONE = 0,
	MUTATE_DROP_FLUSH, /* flushes of a call site do nothing */
	MUTATE_DROP_FENCE,
	MUTATE_DROP_SYNC,  /* page media: range syncs and sync_all */
	MUTATE_DROP_WRITE, /* page media: a synchronous write is only cached */
	MUTATE_DROP_STORE, /* an atomic store never reaches the medium */
	MUTATE_CACHE_COPY, /* a copy past the cache is an ordinary one, which nobody flushes */
};

/* Pretend that the code under test lacked something. SITE is site_hash() of the event. */
struct mutation {
	enum mutation_kind kind;
	uint64_t site;
	const uint64_t *more; /* or any with such an innermost part, or NULL */
	uint32_t more_cnt;
};
uint64_t site_hash(const struct sim_ev *ev);
/* Of its DEPTH innermost return addresses only. */
uint64_t site_part_hash(const struct sim_ev *ev, unsigned int depth);

struct legal;

struct legal *legal_new(enum sim_media media, const uint8_t *image, uint64_t len,
			const struct mutation *mut);
void legal_free(struct legal *l);

/* Called for each unit whose durable content changed, with its new content; once per unit. */
typedef void (*legal_base_fn)(void *ctx, uint64_t off, const uint8_t *bytes, uint32_t len);
void legal_on_base(struct legal *l, legal_base_fn fn, void *ctx);

/* Advance over one event. */
void legal_feed(struct legal *l, const struct sim_ev *ev);

uint64_t legal_len(const struct legal *l);
uint32_t legal_unit_size(const struct legal *l);
/* Units with stores that are not durable. */
uint32_t legal_dirty_cnt(const struct legal *l);

struct legal_query {
	const struct sim_ev *inflight; /* a WRITE or GROW not yet fed, or NULL */
	uint32_t
		/* enumerate only images with all stores to this unit; LEGAL_NONE: all images */
		only;
	uint64_t cap;	  /* sample about this many */
	uint64_t exhaust; /* give all of them when they are not more than this */
	uint64_t *rng;
};
/*
 * Call FN for candidates; returns true when they were all there are. A candidate is valid during
 * the call only.
 */
typedef void (*legal_fn)(void *ctx, const struct candidate *c);
bool legal_states(struct legal *l, const struct legal_query *q, legal_fn fn, void *ctx);

/* Hash of the image a candidate stands for; cost grows with its picks only. */
struct hash128 {
	uint64_t w[2];
};
struct hash128 legal_hash(struct legal *l, const struct candidate *c,
			  const struct sim_ev *inflight);

/* Units of the candidate that differ from base, with their content: FN per unit. */
void legal_patches(struct legal *l, const struct candidate *c, const struct sim_ev *inflight,
		   legal_base_fn fn, void *ctx);

/* --- for explanations --- */

uint32_t legal_dirty_unit(const struct legal *l, uint32_t i);
/* The unit's content with its first N stores (n >= count: all). Returns the count of its stores. */
uint32_t legal_content(const struct legal *l, uint32_t unit, uint32_t n, uint8_t *out);
/* Event number of store N of the unit; how many stores have been flushed, if not fenced. */
uint32_t legal_store_event(const struct legal *l, uint32_t unit, uint32_t n, uint32_t *flushed);

uint64_t crash_rand(uint64_t *rng);

#endif
