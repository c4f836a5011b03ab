/* SPDX-License-Identifier: MIT
 * ptr_rt.h -- what ptr.c and fot.c share: run-time data of slots, FOT entries in memory
 */
#ifndef TWZ_SRC_PTR_RT_H
#define TWZ_SRC_PTR_RT_H

#include "internal.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define TWZ__PTR_OPEN ((uint64_t)1 << 63)

/*
 * Run-time twin of a view slot. The memory is never freed, so that a resolver may look at a slot
 * that is just being closed; id and store count only while OPEN is set and a pin is held.
 */
struct twz__slot_rt {
	uint64_t word; /* TWZ__PTR_OPEN | number of table entries that point at this slot */
	uint64_t id[2];
	struct twz_store *store;
	uint32_t res_used;	    /* entries of the table at and beyond it are unresolved */
	uint32_t mark;		    /* ptr_rt.c: reachable in the last walk */
	struct twz__fot_index *fot; /* fot.c */
	uint32_t fot_seen;	    /* fot.c: entries below it are in the index */
	uint32_t pad;
} __attribute__((aligned(64)));

extern struct twz__slot_rt *twz__slot_rts;

/* Find the open object ID of S and keep it from being unmapped: its slot, or -1. */
int64_t twz__pin(struct twz_store *s, twz_oid id);
void twz__unpin(uint64_t slot);

/*
 * Publish: entry IDX of SRC's table now means slot TARGET, which the caller has pinned; the pin
 * goes to the entry, or back if another thread was faster. Returns the word in force.
 */
uint64_t twz__publish(uint64_t src, uint64_t idx, uint64_t target);
/* The same for entry 0, the object itself. */
uint64_t twz__publish_self(uint64_t slot);

/*
 * First use of a FOT entry by ID whose target is open in this process: the word in force. 0: not
 * that easy.
 */
uint64_t twz__resolve_quick(uint64_t slot, uint64_t idx);

/* What an entry pointing at SLOT has to hold now. */
static inline uint64_t twz__slot_word(uint64_t slot)
{
	uint64_t end = __atomic_load_n(&twz_view_rt.slots[slot].end, __ATOMIC_SEQ_CST);

	if (end <= TWZ_DATA_OFF)
		return 0;
	return (twz_view_rt.base + (slot << TWZ_SLOT_SHIFT)) | (end - TWZ_DATA_OFF);
}

/* --- fot.c --- */

/*
 * Low half of XXH3, which has a third of XXH64's latency on so few bytes; never 0: 0 marks a free
 * entry.
 */
static inline uint32_t twz__fot_sum(const struct twz_fot_pm *e)
{
	uint32_t sum = (uint32_t)XXH3_64bits(e, offsetof(struct twz_fot_pm, sum));

	return sum ? sum : 1;
}

/* Entry IDX of O where it is mapped; NULL if the FOT, as mapped here, has no such entry. */
static inline struct twz_fot_pm *twz__fot_at(const struct twz_obj *o, uint64_t idx)
{
	if (idx == 0 || idx >= TWZC_FOT_MAX)
		return NULL;
	if (twzc_fot_pages(idx) > __atomic_load_n(&o->fot_pages, __ATOMIC_ACQUIRE))
		return NULL;
	return (struct twz_fot_pm *)(o->base + twzc_fot_off(idx));
}

/* Verified copy of entry IDX. TWZ_E_NOENT (free), TWZ_E_CORRUPT. */
int twz__fot_read(struct twz_obj *o, uint64_t idx, struct twz_fot_pm *out);
/* Index of an entry equal to WANT (sum not counted), added if there is none. */
int twz__fot_need(struct twz_obj *o, const struct twz_fot_pm *want, uint64_t *idx);
/* The slot's index goes with its object. */
void twz__fot_drop(struct twz__slot_rt *rt);
/* "app.twz: object 3f..": a static buffer of this thread. */
const char *twz__obj_where(const struct twz_obj *o);

#endif
