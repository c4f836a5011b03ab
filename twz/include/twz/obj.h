/* SPDX-License-Identifier: MIT
 * obj.h -- objects: create, open, delete, resize, stat, enumerate (paper 3.1)
 *
 * An open object is mapped at a slot: base is 1 GiB aligned, base + TWZ_DATA_OFF its first byte
 * of data. Threads: any. A handle is reference counted inside its process: every open needs its
 * close.
 */
#ifndef TWZ_OBJ_H
#define TWZ_OBJ_H

#include "twz/store.h"

#ifdef __cplusplus
extern "C" {
#endif

enum twz_obj_flags {
	TWZ_OBJ_LOG = 1,	 /* contents are a log: contiguous, never mapped on page media */
	TWZ_OBJ_TXLOG = 2,	 /* contents are an undo log */
	TWZ_OBJ_NAMES = 4,	 /* the store's name space */
	TWZ_OBJ_ENGINE = 8,	 /* belongs to a database of the engine */
	TWZ_OBJ_CONTIGUOUS = 16, /* create: one extent */
};

struct twz_obj_options {
	size_t size; /* sizeof(struct twz_obj_options) */
	/*
	 * bytes of data, rounded up to 4 KiB; TWZ_OBJ_SIZE_MIN .. TWZ_OBJ_SIZE_MAX (clipped to
	 * TWZ_DATA_MAX)
	 */
	uint64_t len;
	uint32_t flags; /* enum twz_obj_flags */
	uint32_t kind;	/* free for the user (shown by info and dump) */
	twz_oid id;	/* wanted ID; zero = a random one (libuuid) */
};

struct twz_obj_stat {
	size_t size; /* in: sizeof(struct twz_obj_stat) */
	twz_oid id;
	uint64_t len; /* bytes of data */
	uint32_t flags, kind;
	uint32_t extent_cnt;
	uint32_t fot_cnt;   /* FOT entries in use, the reserved entry 0 not counted */
	uint64_t space_len; /* bytes of the store it occupies, meta and FOT included */
	uint64_t ctime;	    /* seconds since 1970 */
	uint32_t open_cnt;  /* handles of this process */
	uint32_t mapped;    /* 1: mapped in this process */
};

/*
 * Create an object of zeroed data and open it read-write (OUT may be NULL: only create; ID may
 * be NULL). Durable when it returns. Errors: TWZ_E_INVAL, TWZ_E_EXIST (also of a deleted object
 * that is still open), TWZ_E_NOSPC, TWZ_E_MAPS, TWZ_E_IO.
 */
TWZ_API TWZ_MUST_CHECK int twz_obj_create(struct twz_store *s, const struct twz_obj_options *opt,
					  twz_oid *id, struct twz_obj **out);

/*
 * Open and map an object; PERM is TWZ_READ or TWZ_READ | TWZ_WRITE. Errors: TWZ_E_NOENT,
 * TWZ_E_CORRUPT, TWZ_E_MAPS, TWZ_E_PERM.
 */
TWZ_API TWZ_MUST_CHECK int twz_obj_open(struct twz_store *s, twz_oid id, uint32_t perm,
					struct twz_obj **out);

/* Give the handle back; the mapping goes with the last handle. NULL is allowed. */
TWZ_API void twz_obj_close(struct twz_obj *o);

/*
 * Delete: the ID stops opening at once and durably; space returns when no process has the object
 * open. Errors: TWZ_E_NOENT; TWZ_E_INVAL: one of the store's undo logs, which only recovery may
 * delete.
 */
TWZ_API TWZ_MUST_CHECK int twz_obj_delete(struct twz_store *s, twz_oid id);

/*
 * Change the length of the data (rounded up to 4 KiB). New bytes are zero. Addresses stay.
 * Shrinking needs that no other process has it open (TWZ_E_BUSY) and that this thread's open
 * transaction has recorded nothing in it (TWZ_E_STATE). Durable when it returns. Errors:
 * TWZ_E_INVAL, TWZ_E_NOSPC: nothing changed.
 */
TWZ_API TWZ_MUST_CHECK int twz_obj_resize(struct twz_obj *o, uint64_t len);

/* Learn another process's growth: remap to the object's present length. */
TWZ_API TWZ_MUST_CHECK int twz_obj_refresh(struct twz_obj *o);
/*
 * The range [OFF, OFF + LEN) of the slot is going to be stored to: have its pages mapped now, all at once, instead of by a
 * fault each. A hint: what cannot be done is left to the faults. On page media it does nothing, for it would make the
 * pages dirty.
 */
TWZ_API void twz_obj_populate(struct twz_obj *o, uint64_t off, uint64_t len);

/*
 * Give back to the file system what lies in the range [OFF, OFF + LEN) of the slot (whole pages; a part of the data):
 * afterwards, durably, it reads as zeros, and may not be stored to before twz_obj_take(). The length, and the pages of the
 * store the object occupies, stay. TWZ_E_INVAL: no such range. TWZ_E_FS: not possible here, nothing has changed.
 * TWZ_E_IO: a sync failed (D17).
 */
TWZ_API TWZ_MUST_CHECK int twz_obj_give(struct twz_obj *o, uint64_t off, uint64_t len);
/*
 * Have space for the range again, whether or not it was given back: from now on stores to it cannot fail for want of
 * space (D11). What is there stays. TWZ_E_NOSPC: part of it may have space.
 */
TWZ_API TWZ_MUST_CHECK int twz_obj_take(struct twz_obj *o, uint64_t off, uint64_t len);

/*
 * As twz_obj_resize(), but never to less: another thread may have made it longer meanwhile. AHEAD: for a thread nobody waits
 * for, which pays now for what the first store to a new page would cost. Cache-line media: the memory is there, and mapped in
 * this process. Page media: zeros have been written to the new space, so that no later sync has to tell the file system of it.
 */
TWZ_API TWZ_MUST_CHECK int twz_obj_grow(struct twz_obj *o, uint64_t len, bool ahead);

TWZ_API TWZ_MUST_CHECK int twz_obj_stat(struct twz_obj *o, struct twz_obj_stat *st);
TWZ_API TWZ_MUST_CHECK int twz_obj_stat_id(struct twz_store *s, twz_oid id,
					   struct twz_obj_stat *st);

/*
 * Enumerate: start with *CURSOR = 0; each call gives the next object's stat; TWZ_E_NOENT at the
 * end. An object created or deleted meanwhile may or may not be seen; every other one is seen
 * exactly once unless the table splits a bucket during the walk, when it may be seen twice.
 */
TWZ_API TWZ_MUST_CHECK int twz_obj_next(struct twz_store *s, uint64_t *cursor,
					struct twz_obj_stat *st);

TWZ_API void *twz_obj_base(const struct twz_obj *o);   /* slot base; 1 GiB aligned */
TWZ_API void *twz_obj_data(const struct twz_obj *o);   /* base + TWZ_DATA_OFF; NULL: not mapped (a log on page media) */
TWZ_API uint64_t twz_obj_len(const struct twz_obj *o); /* bytes of data mapped here */
TWZ_API twz_oid twz_obj_id(const struct twz_obj *o);
TWZ_API struct twz_store *twz_obj_store(const struct twz_obj *o);

/* The open object whose slot holds ADDR, or NULL. Takes no reference. */
TWZ_API struct twz_obj *twz_obj_at(const void *addr);

/*
 * Exclusive lock on an object across processes, robust: a dead owner's transactions are rolled
 * back first (D8). TIMEOUT_MS < 0 waits for ever, 0 tries. Errors: TWZ_E_BUSY, TWZ_E_TIMEOUT,
 * TWZ_E_STATE (locked by this thread already).
 */
TWZ_API TWZ_MUST_CHECK int twz_obj_lock(struct twz_obj *o, int timeout_ms);
TWZ_API int twz_obj_unlock(struct twz_obj *o);

#ifdef __cplusplus
}
#endif
#endif
