/* SPDX-License-Identifier: MIT
 * legal_int.h -- what legal.c and states.c share
 */
#ifndef CRASH_LEGAL_INT_H
#define CRASH_LEGAL_INT_H

#include "legal.h"

/* One store of at most 8 bytes inside an aligned word. */
struct atom {
	uint32_t next; /* of the same unit, in program order */
	uint32_t ev;   /* number of its event */
	uint16_t off;  /* in the unit */
	uint8_t len;
	uint8_t weak; /* past the cache */
	uint8_t bytes[8];
};

struct unit {
	uint32_t first, last; /* atoms not durable; valid when cnt > 0 */
	uint32_t cnt;
	uint32_t flushed; /* the first so many become durable at the next fence */
	uint32_t weak;	  /* how many went past the cache */
	uint32_t slot;	  /* in legal.dirty */
};

struct legal {
	enum sim_media media;
	uint32_t unit; /* bytes */
	uint8_t *base;
	uint64_t len, len_max; /* now; ever */
	struct unit *units;
	struct hash128 *hash, sum;
	uint32_t *dirty, dirty_cnt;
	struct atom *atom;
	uint64_t atom_cnt, atom_cap;
	uint32_t ev_no;
	struct mutation mut;
	legal_base_fn on_base;
	void *on_base_ctx;
	struct pick *scratch; /* states.c */
	uint64_t scratch_cap;
};

struct hash128 legal_unit_hash(const struct legal *l, uint32_t unit, const uint8_t *bytes);

#endif
