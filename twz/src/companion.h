/* SPDX-License-Identifier: MIT
 * companion.h -- the companion of a store: who has it open, what they share (see companion.c)
 */
#ifndef TWZ_COMPANION_H
#define TWZ_COMPANION_H

#include "internal.h"
#include "format_companion.h"

struct twz__companion {
	int fd;	    /* -1: the store has no file (simulated), the companion is private memory */
	char *path; /* of the companion */
	const char *store; /* path of the store, for messages; belongs to the media */
	struct comp_head_pm *head;
	uint64_t map_len; /* bytes of address space; the file may be shorter */
	uint32_t self;	  /* this handle's process number */
	uint64_t incarnation;
	bool look;	    /* mapped to be read, no process of it (watch.c) */
	uint32_t open_hint; /* where to look for a free open-object entry */
};

/* locks.c. An OFD lock of one byte: 0 or -errno. */
struct flock;
int twz__ofd(int fd, int cmd, short type, uint64_t off, struct flock *fl);
int twz__lock_failed(const char *path, int err);
/* Nobody else can know of the image: nothing to lock. */
static inline bool twz__is_lonely(const struct twz__media *m)
{
	return m->fd < 0 || m->alone;
}

/* --- the lock bytes of the store file; nothing happens for media without a file --- */
int twz__opening_lock(struct twz__media *m);
void twz__opening_unlock(struct twz__media *m);
/* Become the only holder, if there is no other (*SOLE). Called with the opening lock. */
int twz__holders_try(struct twz__media *m, bool *sole);
/* Hold it together with others; also steps down from sole holder. */
int twz__holders_share(struct twz__media *m);
void twz__holders_drop(struct twz__media *m);
/* Does anybody hold it? Asked by who is no holder. */
int twz__holders_any(struct twz__media *m, bool *any);
/*
 * Sole holder: wait until nobody reads an image of his own (twz__private_hold); who begins after
 * this sees us. TWZ_E_BUSY after seconds.
 */
int twz__privates_wait(struct twz__media *m);
/* Hold such an image. -EAGAIN: an opener is waiting. */
int twz__privates_share(struct twz__media *m);
void twz__privates_drop(struct twz__media *m);

/* Sole holder: make the companion of store UUID anew, everything zero, mutexes ready. */
int twz__comp_build(struct twz__media *m, const uint64_t uuid[2], struct twz__companion **out);
/*
 * Not alone: join the companion the others use. TWZ_E_BUSY if it is missing or has another layout;
 * -EAGAIN (message set) if nobody alive uses it: it is the wrong one, or its last user is just
 * dying.
 */
int twz__comp_attach(struct twz__media *m, const uint64_t uuid[2], struct twz__companion **out);
/* The same to look at only: read-only, without a process number. */
int twz__comp_watch(struct twz__media *m, const uint64_t uuid[2], struct twz__companion **out);
/* Take a process number. Called with the opening lock. TWZ_E_BUSY: all are taken. */
int twz__comp_join(struct twz__companion *c);
/*
 * Give the process number back and unmap. REMOVE: nobody is left, delete the file too (with the
 * opening lock).
 */
void twz__comp_close(struct twz__companion *c, bool remove);
/* Only unmap and free: after twz__comp_forked(). */
void twz__comp_drop(struct twz__companion *c);
/* In a forked child: close what was inherited without touching the parent's locks. */
void twz__comp_forked(struct twz__companion *c);

/*
 * Lock a mutex of the companion. *DIED: its last owner died; the caller repairs, then it is
 * consistent. An error says WHAT of WHERE is not to be had: TWZ_E_TIMEOUT, who has it is stopped;
 * TWZ_E_STATE, this thread has it.
 */
int twz__robust_lock(struct comp_mutex *m, bool *died, const char *where, const char *what);
void twz__robust_unlock(struct comp_mutex *m);
int twz__robust_init(struct comp_mutex *m);

/*
 * LEN bytes of zeros more, allocated on the file system: page-aligned offset in *OFF. TWZ_E_NOSPC.
 */
int twz__comp_alloc(struct twz__companion *c, uint64_t len, uint64_t *off);

static inline void *twz__comp_at(struct twz__companion *c, uint64_t off)
{
	return (char *)c->head + off;
}

static inline struct comp_proc_pm *twz__comp_proc(struct twz__companion *c, uint32_t proc)
{
	return (struct comp_proc_pm *)twz__comp_at(c, COMP_PROCS_OFF) + proc;
}

bool twz__comp_alive(struct twz__companion *c, uint32_t proc, uint64_t incarnation);
/*
 * The kernel reports the death of a lock's owner before it drops the owner's file locks: wait until
 * it counts as dead. Bounded: if only a thread died, its process never will.
 */
void twz__comp_await_death(struct twz__companion *c, uint32_t proc, uint64_t incarnation);
/*
 * First process number > *PROC that is registered and dead; false: none. Start with (uint32_t)-1.
 */
bool twz__comp_next_dead(struct twz__companion *c, uint32_t *proc);
/* Forget a dead process: its open objects and its number. */
void twz__comp_bury(struct twz__companion *c, uint32_t proc);
uint32_t twz__comp_live_cnt(struct twz__companion *c);

/* Open objects of this handle. add: with the metadata lock held. */
int twz__comp_open_add(struct twz__companion *c, twz_oid id, uint32_t *idx);
void twz__comp_open_del(struct twz__companion *c, uint32_t idx);
/* Does any live process (but this handle, if EXCEPT_SELF) have ID open? */
bool twz__comp_is_open(struct twz__companion *c, twz_oid id, bool except_self);
/* The lock of the object in open entry IDX; stays its until the entry is deleted. */
int twz__comp_obj_lock(struct twz__companion *c, uint32_t idx, struct comp_lock_pm **out);

/* scratch.c: remove all scratch memory of the store: its only holder, with the opening lock. */
void twz__scratch_sweep(const struct twz__media *m);

/* One that is there; TWZ_E_BUSY: there is none. */
int twz__comp_segment_look(struct twz__companion *c, twz_oid id, size_t len, void **ptr);
int twz__comp_segment(struct twz__companion *c, twz_oid id, size_t len,
		      int (*init)(void *ptr, void *ctx), void *ctx, void **ptr, int *fresh);

#endif
