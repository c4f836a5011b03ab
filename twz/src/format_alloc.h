/* SPDX-License-Identifier: MIT
 * format_alloc.h -- an arena in an object on media
 *
 * All places and sizes are in units of 16 bytes counted from the object's slot base: 26 bits
 * reach the whole slot, offsets work at any address, and a 4-byte word is enough. An arena is
 *
 *   struct twz_arena_pm | block | block | ... | end block (one unit)
 *
 * Blocks touch: the next one begins where one ends. Where the arena begins is in the object's
 * meta page, user[0] of struct twz_meta_pm: offset in the low half, checksum of offset and
 * object ID in the high half; 0 = no arena. Writing that word creates the arena.
 */
#ifndef TWZ_SRC_FORMAT_ALLOC_H
#define TWZ_SRC_FORMAT_ALLOC_H

#include <stddef.h>
#include <stdint.h>

#define TWZ_ARENA_MAGIC	   0x414e455241585754ULL /* "TWXARENA" */
#define TWZ_ARENA_VERSION  0U
#define TWZ_ARENA_UNIT	   16U
#define TWZ_ARENA_BIN_CNT  200U
#define TWZ_ARENA_META_IDX 0 /* in twz_meta_pm.user */

/*
 * Arena header, at a multiple of 64.
 *
 *   OFFSET  SIZE  MEANING
 *        0     8  magic TWZ_ARENA_MAGIC
 *        8     4  version TWZ_ARENA_VERSION
 *       12     4  compat features
 *       16     4  ro_compat features
 *       20     4  incompat features
 *       24     4  unit where this header begins
 *       28     4  must be zero
 *       32     8  checksum: XXH3 of bytes 0..31, seeded with the low half of the object's ID
 *       40     4  unit behind the end block: end of the arena; the object may be longer after a growth that was rolled back
 *       44     4  units in used blocks, their headers included
 *       48     4  used blocks
 *       52    12  must be zero
 *       64   800  bins: unit of the first free block of each size class, 0 = none
 *      864    32  must be zero
 *
 * Bytes 0..39 never change. The rest changes by undo transactions.
 */
struct twz_arena_pm {
	uint64_t magic;
	uint32_t version;
	uint32_t compat;
	uint32_t ro_compat;
	uint32_t incompat;
	uint32_t start;
	uint32_t must_be_zero;
	uint64_t sum;
	uint32_t end;
	uint32_t used_units;
	uint32_t block_cnt;
	uint32_t must_be_zero2[3];
	uint32_t bin[TWZ_ARENA_BIN_CNT];
	uint32_t must_be_zero3[8];
};

/* Size class of N units: exact below 32, then eight classes for each power of two. */
static inline uint32_t twz__arena_bin(uint32_t n)
{
	uint32_t log = 31 - (uint32_t)__builtin_clz(n | 1);

	return n < 32 ? n : 32 + (log - 5) * 8 + ((n >> (log - 3)) & 7);
}

enum twz_block_state {
	TWZ_BLOCK_USED = 0x44455355, /* "USED" */
	TWZ_BLOCK_FREE = 0x45455246, /* "FREE" */
	TWZ_BLOCK_END = 0x20444e45,  /* "END " */
};

/*
 * Block header; the user's bytes follow, 16-byte aligned.
 *
 *   OFFSET  SIZE  MEANING
 *        0     4  size in units, header included: at least 2; the end block has 1
 *        4     4  size of the block before; 0 = this is the first
 *        8     4  enum twz_block_state
 *       12     4  checksum: XXH3 of bytes 0..11 seeded with this block's unit, truncated
 *
 * Two free blocks never touch.
 */
struct twz_block_pm {
	uint32_t size;
	uint32_t prev_size;
	uint32_t state;
	uint32_t sum;
};

/*
 * A free block: its header goes on with its places in its bin's list (they mean nothing in a
 * used block).
 *
 *   OFFSET  SIZE  MEANING
 *        0    16  struct twz_block_pm
 *       16     4  unit of the next block in the bin, 0 = last
 *       20     4  unit of the block before in the bin, 0 = first
 */
struct twz_free_pm {
	struct twz_block_pm block;
	uint32_t next;
	uint32_t prev;
};

/* Pinned: these images open for ever. */
_Static_assert(sizeof(struct twz_arena_pm) == 896, "format: a multiple of 64");
_Static_assert(offsetof(struct twz_arena_pm, start) == 24, "format");
_Static_assert(offsetof(struct twz_arena_pm, sum) == 32, "format");
_Static_assert(offsetof(struct twz_arena_pm, end) == 40, "format");
_Static_assert(offsetof(struct twz_arena_pm, bin) == 64, "format");
_Static_assert(sizeof(struct twz_block_pm) == TWZ_ARENA_UNIT, "format: a header is one unit");
_Static_assert(offsetof(struct twz_block_pm, state) == 8, "format");
_Static_assert(offsetof(struct twz_block_pm, sum) == 12, "format");
_Static_assert(offsetof(struct twz_free_pm, next) == 16, "format");
_Static_assert(sizeof(struct twz_free_pm) == 24, "format");
_Static_assert(sizeof(struct twz_free_pm) <= 2 * TWZ_ARENA_UNIT,
	       "format: the smallest block can be free");

#endif
