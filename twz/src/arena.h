/* SPDX-License-Identifier: MIT
 * arena.h -- allocator internals: planning a change to an arena
 *
 * Decide, then do: an operation reads the arena through a plan, which remembers the words it
 * wants to change and shows them to later reads. A plan that fails has changed nothing. Then all
 * its words are recorded with one call and stored.
 */
#ifndef TWZ_SRC_ARENA_H
#define TWZ_SRC_ARENA_H

#include "internal.h"
#include "format_alloc.h"

#define ARENA_WORD_MAX 128 /* two operations and a growth need fewer than 80 */

struct twz__arena_word {
	uint32_t off; /* slot offset */
	uint32_t val;
};

struct twz__arena {
	struct twz_obj *o;
	uint8_t *base;	       /* slot base */
	uint32_t start, first; /* units: of the header, of the first block */
	uint32_t cnt;
	struct twz__arena_word word[ARENA_WORD_MAX];
};

struct twz__block {
	uint32_t at, size, prev_size, state;
};

/* Units a block needs for LEN bytes. */
static inline uint32_t twz__arena_units(size_t len)
{
	return 1 + (uint32_t)((len + TWZ_ARENA_UNIT - 1) / TWZ_ARENA_UNIT);
}

/* The meta page's word for an arena at OFF. */
uint64_t twz__arena_meta_word(twz_oid id, uint32_t off);
/* Find O's arena, verify its header, start an empty plan. TWZ_E_NOENT: it has none. */
int twz__arena_open(struct twz_obj *o, struct twz__arena *a);
/* Lay out an empty arena in [OFF, OFF + LEN); not yet durable nor known to anyone. */
void twz__arena_format(struct twz_obj *o, uint32_t off, uint64_t len);

/*
 * O is locked: map what the arena has grown by in other processes, if anything. Objects without
 * arena: no effect.
 */
int twz__arena_follow(struct twz_obj *o);
/*
 * Lock O for reading what transactions change, and follow its growth; *HELD: this thread has it
 * already, and keeps it.
 */
int twz__arena_read_lock(struct twz_obj *o, bool *held);

uint32_t twz__arena_rd(const struct twz__arena *a, uint32_t off);
uint32_t twz__arena_end(const struct twz__arena *a);
/* Read and verify the block at unit AT. */
int twz__arena_block(const struct twz__arena *a, uint32_t at, struct twz__block *b);
uint32_t twz__block_sum(const struct twz__block *b);

/*
 * Plans. *AT: unit of the block; *SIZE: its units. TWZ_E_NOSPC: no free block is large enough
 * (ALL: not even by looking at every one).
 */
int twz__arena_plan_alloc(struct twz__arena *a, uint32_t units, bool all, struct twz__block *out);
int twz__arena_plan_free(struct twz__arena *a, uint32_t at);
/*
 * Make B exactly UNITS long (or one unit longer) in place. TWZ_E_NOSPC: the block behind is in
 * use or too small.
 */
int twz__arena_plan_resize(struct twz__arena *a, struct twz__block *b, uint32_t units);
/* Move the end of the arena to unit END, which lies inside the object. */
int twz__arena_plan_grow(struct twz__arena *a, uint32_t end);

/*
 * The plan as ranges to record: words that touch are joined, no other byte is included. OUT has
 * room for ARENA_WORD_MAX. Returns how many.
 */
size_t twz__arena_ranges(struct twz__arena *a, struct twz_range *out);
/*
 * Store the planned words; before the memory handed out is filled, since words erased in it are
 * among them.
 */
void twz__arena_apply(const struct twz__arena *a);

#endif
