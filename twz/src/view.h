/* SPDX-License-Identifier: MIT
 * view.h -- address space: the slots of open objects, and a store's linear window for its metadata
 * (see view.c)
 */
#ifndef TWZ_VIEW_H
#define TWZ_VIEW_H

#include "internal.h"

/* Reserve the slots; once per process. TWZ_E_NOMEM. */
int twz__view_init(void);
/* A free slot. TWZ_E_MAPS: all are in use. */
int twz__view_take(uint64_t *slot);
void twz__view_give(uint64_t slot);
static inline uintptr_t twz__view_base(uint64_t slot)
{
	return twz_view_rt.base + (slot << TWZ_SLOT_SHIFT);
}

/*
 * Make the slot at BASE show the extents NEW instead of OLD (sorted; OLD may be empty): maps what
 * differs, leaves the rest alone, unmaps nothing. Only slot pages >= FIRST are looked at.
 */
int twz__view_map(struct twz__media *m, uintptr_t base, const struct twzc_extent *old,
		  uint32_t old_cnt, const struct twzc_extent *new, uint32_t new_cnt, uint32_t first,
		  int writable);

/*
 * Nothing of SLOT is mapped any more. On an error some of it may be; its extents can still be
 * unmapped one by one.
 */
int twz__view_unmap(struct twz__media *m, uint64_t slot);

/* A linear mapping of the whole image, for the core. */
struct twz__window {
	char *base;
	uint64_t room;	 /* bytes reserved */
	uint64_t mapped; /* bytes from offset 0 on that are mapped */
};
int twz__window_open(struct twz__window *w, struct twz__media *m);
/* Map what the image has grown by. */
int twz__window_extend(struct twz__window *w, struct twz__media *m);
void twz__window_close(struct twz__window *w);

/* Around fork(), so that the child finds the slot table in order. */
void twz__view_fork_prepare(void);
void twz__view_fork_done(void);

#endif
