/* SPDX-License-Identifier: MIT
 * rt.h -- run-time data of an open store that only store.c, core_ops.c and obj.c see (struct
 * twz_store.rt)
 */
#ifndef TWZ_RT_H
#define TWZ_RT_H

#include "internal.h"
#include "companion.h"
#include "view.h"

#define RT_DIRTY_MAX 4 /* ranges synced one by one; more: the whole file at once */
#define RT_HASH_CNT  1024u

struct twz__rt {
	struct twz_store *next; /* open stores of this process */
	uint64_t fork_gen;	/* of the process that opened it */
	struct twz__window win;
	struct {
		uint64_t off, len;
	} dirty[RT_DIRTY_MAX];
	uint32_t dirty_cnt; /* RT_DIRTY_MAX + 1: more than fit */
	bool sole;	    /* while opening: nobody else has it */
	bool was_unclean;
	bool fresh;			   /* while opening: the image was made by us */
	struct twz_obj *hash[RT_HASH_CNT]; /* by ID, linked by hash_next; under s->mutex */
	void *tx_buf;
	/* watch.c */
	uint64_t watch_lsn;
	unsigned watch_holds;
	struct twz__pin {
		uint64_t off;
		uint32_t cnt;
	} * pins;
	size_t pin_cnt;
	pthread_mutex_t watch_mutex;
	uint32_t still_cnt;
	uint64_t err_cnt; /* of the thread that has the metadata lock, when it got it */
};

static inline struct twz__rt *twz__rt(struct twz_store *s)
{
	return s->rt;
}

/* core_ops.c: what the core asks of user space; ctx is the struct twz_store. */
extern const struct twzc_ops twz__core_ops_page, twz__core_ops_line;
static inline const struct twzc_ops *twz__core_ops(struct twz_store *s)
{
	return s->granularity == TWZ_GRAN_PAGE ? &twz__core_ops_page : &twz__core_ops_line;
}

/* store.c: verify the image, with SH as the core's shared state. */
int twz__store_attach(struct twz_store *s, struct twzc_shared *sh);
/* watch.c: a reader that stores nothing; the metadata "lock" of one, and whether it was in vain */
int twz__watch_open(struct twz_store *s);
int twz__watch_begin(struct twz_store *s);
bool twz__watch_moved(struct twz_store *s);
int twz__watch_hold(struct twz_store *s);
void twz__watch_let(struct twz_store *s);
/* Was the handle inherited through fork? */
bool twz__store_forked(struct twz_store *s);
/*
 * Roll back and forget processes that died (D8, D13). Not with s->mutex or the metadata lock held.
 */
int twz__reap(struct twz_store *s);
/* Free the space of deleted objects that nobody has open. */
int twz__reclaim(struct twz_store *s);
/*
 * dry.c: an unclean store in another file than it was last recovered in: would recovery succeed?
 * Changes nothing.
 */
int twz__dry_run(struct twz_store *s);
/* The sole holder, before its first store: a copy has all the space it needs, or this is TWZ_E_NOSPC (D11). */
int twz__fill_copy(struct twz_store *s);

/* --- obj_load.c; all but name and err with s->mutex held --- */

/* "app.twz: object 3f.." in BUF; returns BUF. */
const char *twz__obj_name(struct twz_store *s, twz_oid id, char *buf, size_t len);
/* Message for a code the core returned about object ID. */
int twz__obj_err(struct twz_store *s, twz_oid id, int rc);
/*
 * All extents of an object, its data clipped to its length. The caller frees *OUT. Metadata lock
 * held.
 */
int twz__obj_extents(struct twz_store *s, const struct twzc_obj *obj, struct twzc_extent **out,
		     uint32_t *cnt);
/* The same to be mapped: TWZ_E_CORRUPT unless they cover data, FOT and meta page. */
int twz__obj_extents_whole(struct twz_store *s, const struct twzc_obj *obj,
			   struct twzc_extent **out, uint32_t *cnt);
/* The same after a change, which was made when there was room: for TWZC_EXTENTS_MAX of them, at EXT. */
int twz__obj_extents_changed(struct twz_store *s, const struct twzc_obj *obj,
			     struct twzc_extent *ext, uint32_t *cnt);
/* Map what of EXT is not mapped yet; EXT then belongs to O, or is freed on failure. */
int twz__obj_show(struct twz_obj *o, struct twzc_extent *ext, uint32_t cnt);
/* Publish the slot with O's present length. */
void twz__slot_fill(struct twz_obj *o);
struct twz_obj *twz__obj_loaded(struct twz_store *s, twz_oid id);
/*
 * Give back every open object of a handle that is closing; FORKED: without touching what the parent
 * shares.
 */
void twz__obj_close_all(struct twz_store *s, bool forked);
/* Message for a code the core returned without one: WHAT failed. */
int twz__core_err(struct twz_store *s, int rc, const char *what);

#endif
