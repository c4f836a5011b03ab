/* SPDX-License-Identifier: MIT
 * format_name.h -- the store's name space on media
 *
 * Names live in the object whose ID is XXH3-128 of the store's UUID with seed TWZ_NAMES_SEED
 * (flag TWZ_OBJ_NAMES). Its data are the header below and, from offset 128 of the data on, an
 * arena (format_alloc.h) that holds the bucket table and one block for each name. All pointers
 * have FOT index 0. Everything changes by undo transactions under the object's lock.
 */
#ifndef TWZ_SRC_FORMAT_NAME_H
#define TWZ_SRC_FORMAT_NAME_H

#include <stddef.h>
#include <stdint.h>

#define TWZ_NAMES_MAGIC	    0x53454d414e585754ULL /* "TWXNAMES" */
#define TWZ_NAMES_VERSION   0U
#define TWZ_NAMES_SEED	    0x6e616d6573ULL
#define TWZ_NAMES_ARENA_OFF 128U
#define TWZ_NAMES_LOG_MIN   6U
#define TWZ_NAMES_LOG_MAX   24U

#define TWZ_NAME_LEN_MAX      1023U /* bytes of a name */
#define TWZ_NAME_PART_LEN_MAX 255U  /* bytes between two slashes */

/*
 * Header, at the first byte of data.
 *
 *   OFFSET  SIZE  MEANING
 *        0     8  magic TWZ_NAMES_MAGIC; 0 = nothing has been named yet
 *        8     4  version TWZ_NAMES_VERSION
 *       12     4  compat features
 *       16     4  ro_compat features
 *       20     4  incompat features
 *       24     4  log2 of the number of buckets, TWZ_NAMES_LOG_MIN .. TWZ_NAMES_LOG_MAX
 *       28     4  must be zero
 *       32     8  number of names
 *       40     8  pointer to the bucket table: one pointer for each bucket, to the first of its names
 *       48     8  owner of the block being linked in or out: null outside a transaction
 *       56     8  checksum: XXH3 of bytes 0..31
 */
struct twz_names_pm {
	uint64_t magic;
	uint32_t version;
	uint32_t compat;
	uint32_t ro_compat;
	uint32_t incompat;
	uint32_t bucket_log;
	uint32_t must_be_zero;
	uint64_t name_cnt;
	uint64_t buckets;
	uint64_t spare;
	uint64_t sum;
};

/*
 * A name; its bytes follow, with a NUL behind them.
 *
 *   OFFSET  SIZE  MEANING
 *        0     8  pointer to the next name of the bucket
 *        8    16  ID of the object it names
 *       24     8  XXH3 of the bytes; its low bits are the bucket
 *       32     4  length in bytes, 1 .. TWZ_NAME_LEN_MAX
 *       36     4  checksum: XXH3 of bytes 8..35 and the name, truncated
 */
struct twz_name_pm {
	uint64_t next;
	uint64_t id[2];
	uint64_t hash;
	uint32_t len;
	uint32_t sum;
};

/* Pinned: these images open for ever. */
_Static_assert(sizeof(struct twz_names_pm) == 64, "format: one line");
_Static_assert(offsetof(struct twz_names_pm, bucket_log) == 24, "format");
_Static_assert(offsetof(struct twz_names_pm, buckets) == 40, "format");
_Static_assert(offsetof(struct twz_names_pm, sum) == 56, "format");
_Static_assert(sizeof(struct twz_name_pm) == 40, "format");
_Static_assert(offsetof(struct twz_name_pm, hash) == 24, "format");
_Static_assert(offsetof(struct twz_name_pm, sum) == 36, "format");

#endif
