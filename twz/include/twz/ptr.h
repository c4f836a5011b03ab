/* SPDX-License-Identifier: MIT
 * ptr.h -- persistent pointers: load (lea) and store (paper 3.3)
 *
 * A persistent pointer is 64 bits: FOT index and offset. Loading one needs the object it is
 * stored in, given by any address inside it; index 0 is that object itself. A pointer to another
 * object goes through this process's resolution table of the source object, filled from its FOT
 * on first use.
 *
 * Fast paths are inline and lock-free. A null pointer gives NULL. A pointer outside its target,
 * to an object that does not exist, or with permissions the entry does not give, gives NULL and
 * the reason in twz_errmsg() (the slow path sets it). An address is valid while the target
 * object is open in this process; targets opened by a lea stay open until the source object's
 * last close.
 */
#ifndef TWZ_PTR_H
#define TWZ_PTR_H

#include "twz/obj.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * One resolved FOT entry in this process: the target's slot base in the upper 34 bits, its bytes
 * of mapped data in the lower 30; 0 = not resolved. One word, so that it is published by one
 * store and read by one load.
 */
struct twz_resolved {
	uint64_t w;
};

/* Run-time data of a slot of the view, indexed by (address - view base) >> 30. */
struct twz_slot {
	uint64_t end;	  /* offsets below end are mapped data; 0 = slot empty */
	uint64_t res_cnt; /* entries in res (ptr.c: twz__ptr_attach); 0 = slot empty */
	/* resolution table; the memory belongs to the slot for ever, entries come and go */
	struct twz_resolved *res;
	struct twz_obj *obj;
};

/* The process's view of objects: reserved once, never moved. */
struct twz_view_rt {
	uintptr_t base;	   /* 1 GiB aligned */
	uint64_t slot_cnt; /* power of two */
	struct twz_slot *slots;
};

TWZ_API extern struct twz_view_rt twz_view_rt;

/*
 * Slow paths; nobody but the inline functions calls them. FROM: any address inside the source
 * object. NULL + twz_errmsg() on failure.
 */
TWZ_API void *twz__lea_slow(const void *from, twz_pptr p);
TWZ_API void *twz__lea_tab_slow(const struct twz_slot *src, twz_pptr p);

/*
 * Store a pointer to TARGET_ADDR (an address in any open object, or NULL) into *WHERE, which
 * lies in an open object: finds or adds the FOT entry (durable before the pointer is written,
 * D8/D9: a FOT entry alone changes nothing), then writes the 8-byte word. The caller flushes
 * *WHERE (twz_flush) or is in a transaction that recorded it. PERM: permissions the pointer
 * gives. Errors: TWZ_E_INVAL (not in an open object), TWZ_E_NOSPC (FOT full or no page for it),
 * TWZ_E_READONLY.
 */
TWZ_API TWZ_MUST_CHECK int twz_ptr_store(twz_pptr *where, const void *target_addr, uint32_t perm);

/* Make, but do not store, the pointer value for use inside FROM's object. */
TWZ_API TWZ_MUST_CHECK int twz_ptr_make(const void *from, const void *target_addr, uint32_t perm,
					twz_pptr *out);

/* Pointer to OFF in the object ID, which need not be open (or exist yet: late binding). */
TWZ_API TWZ_MUST_CHECK int twz_ptr_make_id(const void *from, twz_oid id, uint64_t off,
					   uint32_t perm, twz_pptr *out);

/*
 * As above with the target given by name (twz/name.h), resolved at each process's first use:
 * late binding (paper 3.3).
 */
TWZ_API TWZ_MUST_CHECK int twz_ptr_make_name(const void *from, const char *name, uint64_t off,
					     uint32_t perm, twz_pptr *out);

/*
 * FOT access by index (>= 1). twz_fot_set writes entry IDX (must be free or equal); used by
 * databases that number their objects themselves.
 */
struct twz_fot_info {
	twz_oid id; /* by ID, or local number: the object meant; zero for a name entry */
	/* names longer than 15 bytes are kept by hash elsewhere and shown as "..." */
	char name[16];
	uint32_t perm; /* enum twz_perm bits */
	uint32_t kind; /* 1 = by ID, 2 = by name, 3 = local number */
};
TWZ_API TWZ_MUST_CHECK int twz_fot_set(struct twz_obj *o, uint64_t idx, twz_oid target,
				       uint32_t perm);
/*
 * As twz_fot_set; the target is object number N of the same database: the object whose ID is
 * {first word of O's own ID, N}.
 */
TWZ_API TWZ_MUST_CHECK int twz_fot_set_local(struct twz_obj *o, uint64_t idx, uint64_t n,
					     uint32_t perm);
TWZ_API TWZ_MUST_CHECK int twz_fot_get(struct twz_obj *o, uint64_t idx, struct twz_fot_info *out);

/* --- fast paths: see ptr_inline.h for the code and the measurements behind it --- */

/*
 * Typed form for a pointer known to be intra-object (index 0): one mask and one add. Bounds are
 * the caller's.
 */
static inline void *twz_lea_intra(const void *from, twz_pptr p)
{
	return (void *)(((uintptr_t)from & ~(uintptr_t)TWZ_SLOT_MASK) + (uintptr_t)p.v);
}

#include "twz/ptr_inline.h"
/* static inline void *twz_lea(const void *from, twz_pptr p);		any pointer
 * static inline void *twz_lea_tab(const struct twz_slot *src, twz_pptr p);	source slot known: one load and a predicted compare
 */

#ifdef __cplusplus
}
#endif
#endif
