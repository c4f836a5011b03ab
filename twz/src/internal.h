/* SPDX-License-Identifier: MIT
 * internal.h -- what libtwz's own files share: handles, errors, the companion
 */
#ifndef TWZ_SRC_INTERNAL_H
#define TWZ_SRC_INTERNAL_H

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "twz/twz.h"
#include "core.h"
#include "backend.h"

#define twz__likely(x)	 __builtin_expect(!!(x), 1)
#define twz__unlikely(x) __builtin_expect(!!(x), 0)

/* --- err.c: the last message of this thread --- */

/*
 * Set the message and return CODE, so that `return twz__err(TWZ_E_X, "...")` reads well. Say
 * what, to what, what to do.
 */
int twz__err(int code, const char *fmt, ...) TWZ_PRINTF(2, 3);
/* Put "CONTEXT: " in front of the present message; returns CODE. */
int twz__err_in(int code, const char *fmt, ...) TWZ_PRINTF(2, 3);
/* How many messages this thread has set: tells whether a callee said something. */
uint64_t twz__err_cnt(void);
/*
 * The only source of TWZ_E_CORRUPT: WHERE names store and structure, WHY the rule broken
 * (docs/durability.md D10).
 */
int twz__corrupt(const char *where, const char *why_fmt, ...) TWZ_PRINTF(2, 3);

/* This thread's buffer for the name of a place in a message, MSG_WHERE_LEN bytes. */
#define MSG_WHERE_LEN 512
char *twz__where_buf(void);

/* --- persist.c --- */
bool twz__cpu_has_clwb(void);

/* --- companion.c: `PATH-lock`, memory shared by the processes that have the store open --- */
struct twz__companion;

/* --- store.c --- */
struct twz_store {
	struct twz__media *media;
	struct twz__companion *comp;
	int granularity; /* enum twz_granularity; read on hot paths, far from what changes */
	bool read_only;	 /* opened so: nothing but recovery changes anything */
	bool watch;	 /* and others have it open, and we may not write it (watch.c) */
	pid_t pid;	 /* of the process that opened it */
	char *path;
	struct twzc core;
	pthread_mutex_t mutex; /* this process's handles and view slots of this store */
	uint64_t looked_us;    /* when twz__store_still_soon() did last */
	struct twz_persist_stats stats;
	struct twz_obj *objs; /* open objects of this handle, linked by next */
	void *rt;	      /* store.c's own run-time data */
	void *tx_rt;	      /* tx.c's own run-time data (undo logs of this process) */
	void *name_rt;	      /* name.c's own */
};

struct twz_obj {
	struct twz_store *store;
	struct twz_obj *next;
	twz_oid id;
	uintptr_t base; /* slot base */
	uint64_t slot;	/* index in twz_view_rt.slots */
	uint64_t len;	/* bytes of data mapped */
	uint32_t flags, kind, perm;
	/* handles of this process; resolution tables that point here are counted by ptr.c */
	uint32_t refs;
	struct twz_obj *idle_next; /* see twz__ptr_detach */
	uint32_t fot_pages;	   /* pages below the meta page that are mapped */
	void *meta;		   /* the mapped meta page: struct twz_meta_pm of core/format.h */
	/* obj.c's own */
	struct twz_obj *prev, *hash_next;
	struct twzc_extent *ext; /* what is mapped (a log on page media: what would be) */
	uint32_t ext_cnt;
	uint32_t open_idx;	   /* in the companion's open-object array */
	struct comp_lock_pm *lock; /* once twz_obj_lock() was called */
	/* a log on page media: only its meta and FOT pages are mapped */
	bool unmapped;
	bool locked;
	bool closed_early; /* a handle was closed while others were open */
	/* pthread_self() of the thread that locked it through this handle */
	uintptr_t lock_owner;
};

/*
 * TWZ_E_FORKED (message set) when S was inherited through fork, else 0. Every public call starts
 * with it.
 */
int twz__store_enter(struct twz_store *s);
/* The same at the start of a call that changes something: TWZ_E_READONLY if S is open for reading only. */
int twz__store_enter_write(struct twz_store *s, const char *what);
/* The same for a change of what lies where, or of the file's length: whether the file is still there is asked each time. */
int twz__store_enter_meta(struct twz_store *s, const char *what);
/*
 * Is its file still what was opened? TWZ_E_GONE (message set): somebody has deleted it, put another in its place, cut it short or
 * written over it. Asked before anything is written that somebody may be told is durable.
 */
int twz__store_still(struct twz_store *s);
/* Only the last two: nothing may be written even of what is durable already. */
int twz__store_intact(struct twz_store *s);
/*
 * The same on the way of a commit. It takes two system calls, as long as four commits on cache-line media do: there it is
 * asked by each 16th of the caller's (*CNT), unless that was milliseconds ago; and by each after one that was refused.
 */
int twz__store_still_soon(struct twz_store *s);
static inline int twz__store_still_often(struct twz_store *s, uint32_t *cnt)
{
	uint32_t nr = __atomic_load_n(cnt, __ATOMIC_RELAXED) + 1;
	int rc = 0;

	if (s->granularity == TWZ_GRAN_PAGE)
		return twz__store_still(s);
	if (twz__unlikely(!(nr & 15) || __atomic_load_n(&s->media->cut, __ATOMIC_RELAXED)))
		rc = twz__store_still_soon(s);
	__atomic_store_n(cnt, rc ? 15 : nr, __ATOMIC_RELAXED);
	return rc;
}
/*
 * The store-wide metadata lock (robust, cross-process); recovers a dead holder's work (D13).
 * Recursive use is a bug.
 */
int twz__meta_lock(struct twz_store *s);
void twz__meta_unlock(struct twz_store *s);
/*
 * File offset on the image of OFF in object O; *RUN = bytes contiguous on the image from there.
 * For logs that are not mapped.
 */
int twz__obj_file_off(struct twz_obj *o, uint64_t off, uint64_t *file_off, uint64_t *run);
/*
 * Open by ID without raising the public handle count rules: used by resolution tables; released
 * by twz__obj_put.
 */
int twz__obj_get(struct twz_store *s, twz_oid id, uint32_t perm, struct twz_obj **out);
void twz__obj_put(struct twz_obj *o);
/*
 * The same for a handle that only kept O open while a table was made to point at it: whoever can
 * reach that table can reach O, so it is not the last of a cycle and nobody looks for one.
 */
void twz__obj_put_pinned(struct twz_obj *o);
/* twz_obj_delete() of any object, the store's undo logs included. */
int twz__obj_delete(struct twz_store *s, twz_oid id);
/*
 * --- ptr.c: hooks of obj.c, all with s->mutex held ---
 *
 * attach: O was just mapped; slots[o->slot].end and .obj are set. Sets .res and .res_cnt and
 * makes O findable by ID. 0 or TWZ_E_NOMEM. detach: O has no handle left (refs == 0). false:
 * resolution tables still point at it, so it stays mapped and open (a later open finds it).
 * true: it is no longer findable, its table is dropped; unmap and free it. Objects without a
 * handle that nothing points at any more are put in front of *IDLE, linked by idle_next, and
 * must be treated the same way:
 *
 *	for (idle = o, o->idle_next = NULL; (o = idle);) {
 *		idle = o->idle_next;
 *		if (twz__ptr_detach(o, &idle))
 *			unmap and free o;
 *	}
 *
 * detach_all: the store is being closed: every detach of its objects succeeds from now on.
 * resized: O's mapped data changed (slots[].end is new). Called after growth and BEFORE the tail
 * is unmapped when it shrinks.
 */
int twz__ptr_attach(struct twz_obj *o);
bool twz__ptr_detach(struct twz_obj *o, struct twz_obj **idle);
void twz__ptr_detach_all(struct twz_store *s);
bool twz__ptr_pinned(const struct twz_obj *o); /* a resolution table points at it */
void twz__ptr_resized(struct twz_obj *o);
/* Grow the FOT so that entry IDX exists (FOT pages below the meta page), mapped here. Takes the metadata lock. twz_obj_refresh
 * maps FOT pages that other processes added. */
int twz__fot_reserve(struct twz_obj *o, uint64_t idx);
/*
 * Called by store.c after recovery by a sole holder, and by whoever finds a dead process: roll
 * back its undo logs (tx.c, D8).
 */
int twz__tx_recover(struct twz_store *s, bool restart);
/* Called when a store handle closes. */
void twz__tx_close(struct twz_store *s);
void twz__name_close(struct twz_store *s);
/*
 * Checks of the layers above the core, called by twz_check for every object (each looks at
 * objects of its kind).
 */
struct twz__checker {
	twz_check_fn fn;
	void *ctx;
	uint64_t found;
};
void twz__found(struct twz__checker *c, const char *where, const char *fmt, ...) TWZ_PRINTF(3, 4);
int twz__check_fot(struct twz_obj *o, struct twz__checker *c);
int twz__check_txlog(struct twz_obj *o, struct twz__checker *c);
/* returns at once if O has no arena */
int twz__check_arena(struct twz_obj *o, struct twz__checker *c);
int twz__check_names(struct twz_store *s, struct twz__checker *c);
int twz__check_log(struct twz_obj *o, struct twz__checker *c);

#endif
