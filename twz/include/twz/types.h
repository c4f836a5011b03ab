/* SPDX-License-Identifier: MIT
 * types.h -- the scalars and constants every other header of libtwz uses
 *
 * Source: Bittman et al., "Twizzler: a Data-Centric OS for Non-Volatile
 * Memory", USENIX ATC 2020, sections 3.1 (objects) and 3.3 (pointers).
 */
#ifndef TWZ_TYPES_H
#define TWZ_TYPES_H

#ifdef __KERNEL__ /* the store core compiles into the kernel module */
#include <linux/types.h>
#else
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define TWZ_API		      __attribute__((visibility("default")))
#define TWZ_MUST_CHECK	      __attribute__((warn_unused_result))
#define TWZ_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

#define TWZ_PAGE_SHIFT	12
#define TWZ_PAGE_SIZE	((uint64_t)1 << TWZ_PAGE_SHIFT) /* bytes */
#define TWZ_CHUNK_SHIFT 21
#define TWZ_CHUNK_SIZE	((uint64_t)1 << TWZ_CHUNK_SHIFT) /* bytes; large objects are made of these */
#define TWZ_CHUNK_PAGES (TWZ_CHUNK_SIZE / TWZ_PAGE_SIZE)
#define TWZ_LINE_SIZE	64 /* bytes, one cache line */

/*
 * A slot is 1 GiB of address space holding one object:
 *
 *   0            null page: never mapped, so a null pointer faults
 *   TWZ_DATA_OFF first byte of data
 *   ...          up to TWZ_DATA_OFF + TWZ_DATA_MAX
 *   TWZ_TOP_OFF  the FOT's further pages, growing down from the meta page
 *   TWZ_META_OFF meta page: object header and the first FOT entries
 */
#define TWZ_SLOT_SHIFT 30
#define TWZ_SLOT_SIZE  ((uint64_t)1 << TWZ_SLOT_SHIFT)
#define TWZ_SLOT_MASK  (TWZ_SLOT_SIZE - 1)
#define TWZ_DATA_OFF   TWZ_PAGE_SIZE
#define TWZ_TOP_OFF    (TWZ_SLOT_SIZE - TWZ_CHUNK_SIZE)
#define TWZ_META_OFF   (TWZ_SLOT_SIZE - TWZ_PAGE_SIZE)
#define TWZ_DATA_MAX   (TWZ_TOP_OFF - TWZ_DATA_OFF)

#define TWZ_OBJ_SIZE_MIN TWZ_PAGE_SIZE
#define TWZ_OBJ_SIZE_MAX                                                                           \
	TWZ_SLOT_SIZE /* its data are TWZ_DATA_MAX bytes: the rest is null page, FOT, meta */

/* A 128-bit object ID. Text form: 32 lower-case hex digits, byte 0 first. Zero names nothing. */
typedef struct twz_oid {
	uint64_t w[2];
} twz_oid;

/* What may be done through a view slot or a FOT entry (paper 3.4). */
enum twz_perm {
	TWZ_READ = 1,
	TWZ_WRITE = 2,
	TWZ_EXEC = 4,
	TWZ_USE = 8,
	TWZ_DEL = 16,
};

/*
 * A persistent pointer (paper 3.3): FOT index in the upper 34 bits, offset in the lower 30. Index 0
 * is the object the pointer is stored in. The all-zero value is null (offset 0 lies in the null
 * page).
 */
typedef struct twz_pptr {
	uint64_t v;
} twz_pptr;

#define TWZ_PPTR_OFF_BITS 30
#define TWZ_PPTR_OFF_MASK (((uint64_t)1 << TWZ_PPTR_OFF_BITS) - 1)
#define TWZ_PPTR_NULL	  ((twz_pptr){0})

static inline twz_pptr twz_pptr_make(uint64_t fot_idx, uint64_t off)
{
	twz_pptr p = {(fot_idx << TWZ_PPTR_OFF_BITS) | (off & TWZ_PPTR_OFF_MASK)};
	return p;
}

static inline uint64_t twz_pptr_fot(twz_pptr p)
{
	return p.v >> TWZ_PPTR_OFF_BITS;
}

static inline uint64_t twz_pptr_off(twz_pptr p)
{
	return p.v & TWZ_PPTR_OFF_MASK;
}

static inline bool twz_pptr_is_null(twz_pptr p)
{
	return p.v == 0;
}

static inline bool twz_oid_eq(twz_oid a, twz_oid b)
{
	return a.w[0] == b.w[0] && a.w[1] == b.w[1];
}

static inline bool twz_oid_is_null(twz_oid a)
{
	return (a.w[0] | a.w[1]) == 0;
}

#define TWZ_OID_STR_LEN 33 /* bytes, the NUL included */

/* Write the text form of ID into BUF[TWZ_OID_STR_LEN]; returns BUF. */
TWZ_API char *twz_oid_str(twz_oid id, char *buf);

/* Parse 32 hex digits (nothing may follow). Returns 0 or TWZ_E_INVAL; *ID is zeroed on entry. */
TWZ_API TWZ_MUST_CHECK int twz_oid_parse(const char *s, twz_oid *id);

struct twz_store; /* an open store */
struct twz_obj;	  /* an open object, mapped in a slot */
struct twz_tx;	  /* an undo transaction */
struct twz_log;	  /* a staged redo log */

#ifdef __cplusplus
}
#endif
#endif
