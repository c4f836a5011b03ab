/* SPDX-License-Identifier: MIT
 * store.h -- a store: one flat image of objects, in one ordinary or DAX file
 *
 * Threads: a handle may be used by any thread; calls that change metadata serialise inside,
 * across processes too. Processes: any number may have a store open. A process that dies holds
 * nothing: the next caller finishes its work
 * (docs/durability.md D9, D13). A handle inherited through fork() answers TWZ_E_FORKED.
 */
#ifndef TWZ_STORE_H
#define TWZ_STORE_H

#include <pthread.h>

#include "twz/err.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Version of the store format this library creates (info.version says what a store has). */
#define TWZ_STORE_FORMAT 0

enum twz_granularity {
	TWZ_GRAN_PAGE = 0,	 /* ordinary file: durable by range sync (page media) */
	TWZ_GRAN_CACHE_LINE = 1, /* DAX, or forced: durable by flush and fence */
	TWZ_GRAN_BYTE = 2,	 /* eADR: stores are durable once fenced */
};

enum twz_store_flags {
	TWZ_STORE_CREATE = 1, /* create if there is nothing (or an empty file) at the path */
	TWZ_STORE_EXCL = 2,   /* with CREATE: fail with TWZ_E_EXIST if there is */
	/*
	 * Only to read; without the other two. No permission to write is needed, on the file, its
	 * folder or the medium. Where nobody has the store open, recovery runs in private pages and not a
	 * byte of the file changes. Where others have, this handle is one of them; or, if it may not
	 * write the file, watches them and stores nothing anywhere. Calls that change something
	 * answer TWZ_E_READONLY. See twz_store_hold().
	 */
	TWZ_STORE_READONLY = 4,
};

struct twz_store_options {
	size_t size;	/* sizeof(struct twz_store_options) */
	uint32_t flags; /* enum twz_store_flags */
	/* create: bytes of the metadata journal, 0 = 256 KiB; 16 KiB .. 16 MiB */
	uint32_t journal_len;
	uint64_t initial_len; /* create: bytes allocated at once, 0 = 1 MiB; at least 128 KiB */
	/* tests: a struct twz__backend instead of the file system; NULL otherwise */
	const void *backend;
};

struct twz_store_info {
	size_t size;	  /* in: sizeof(struct twz_store_info) */
	twz_oid uuid;	  /* the store's own ID */
	uint32_t version; /* of the format */
	uint32_t compat, ro_compat, incompat;
	uint64_t generation; /* raised by every recovery of the metadata journal */
	uint64_t len;	     /* bytes of the image */
	uint64_t free_len;   /* bytes not allocated to anything */
	uint64_t meta_len;   /* bytes of superblocks, journal, space map, object table */
	uint64_t obj_cnt;
	uint32_t granularity; /* enum twz_granularity */
	/* 1: granularity was forced by PMEM2_FORCE_GRANULARITY: not durable against power loss */
	uint32_t forced;
	uint32_t process_cnt; /* live processes that have it open */
	uint32_t was_unclean; /* 1: the opening of this handle ran recovery */
	uint64_t journal_len, journal_used;
	uint64_t max_objects_open; /* slots in this process's view */
	uint32_t read_only;	   /* 1: opened with TWZ_STORE_READONLY */
	uint32_t is_private;	   /* 1: and nobody had it open: an image of this handle's own */
	uint32_t is_watch;	   /* 1: others have it open, and this process may not write it */
};

/*
 * Open (or create, see flags) the store at PATH. OPT may be NULL. Creation follows D18: built in
 * an unnamed file, synced, linked to its name; an existing empty file is initialised in place.
 * Errors: TWZ_E_NOENT, TWZ_E_NOTSTORE, TWZ_E_TRUNCATED, TWZ_E_VERSION, TWZ_E_FEATURE,
 * TWZ_E_CORRUPT, TWZ_E_READONLY, TWZ_E_NOSPC, TWZ_E_FS (network or unsupported file system),
 * TWZ_E_BUSY (held by an incompatible version; or for seconds by a reader that has an image of its
 * own; READONLY: those who have it open are just opening or closing it), -errno. On an
 * error nothing was changed and *OUT is NULL.
 */
TWZ_API TWZ_MUST_CHECK int twz_store_open(const char *path, const struct twz_store_options *opt,
					  struct twz_store **out);

/*
 * Give a store that nobody has open another name, durably; its companion file goes. TWZ_E_EXIST: there is a TO already,
 * and nothing has changed; TWZ_E_INVAL; -errno.
 */
TWZ_API TWZ_MUST_CHECK int twz_store_move(const char *from, const char *to);
/* Is there a file of that name, whatever it is? */
TWZ_API int twz_store_exists(const char *path);
/* Delete the file of a store, and its companion. TWZ_E_NOENT; TWZ_E_INVAL; -errno. */
TWZ_API TWZ_MUST_CHECK int twz_store_remove(const char *path);

/*
 * Close every object of this handle still open and the handle itself. The last process to close
 * makes the store clean
 * (an empty metadata journal). S is gone whatever the result; NULL is allowed.
 */
TWZ_API int twz_store_close(struct twz_store *s);

/*
 * A read-only handle with an image of its own (info.is_private), or one that watches (info.is_watch),
 * sees the file change beneath it once somebody begins a new life of the store. So it is held: who opens it waits, seconds at most, then
 * gets TWZ_E_BUSY. twz_store_open() has held it once; who keeps a handle for long lets go between
 * two looks, and holds it again before the next. TWZ_E_STALE: somebody had or has it open for
 * writing since; nothing read through this handle means anything any more: close it, open it again.
 * Calls nest. For every other handle they do nothing.
 */
TWZ_API TWZ_MUST_CHECK int twz_store_hold(struct twz_store *s);
TWZ_API void twz_store_let(struct twz_store *s);

/*
 * Pins: how a handle that watches says which of the numbers of a GROUP (below 2^51) it uses, for it cannot store it where
 * others look. They last until unpinned, as often as pinned, or the process's death. twz_pin_min(): the least pinned
 * number below BELOW, of any handle, or BELOW. Who gives up what a number stands for announces that first, and asks
 * after; who pins looks for an announcement after it has pinned, and then takes a newer number. Groups that are the same modulo 1,024 share
 * their numbers.
 */
TWZ_API TWZ_MUST_CHECK int twz_pin(struct twz_store *s, uint32_t group, uint64_t value);
TWZ_API void twz_unpin(struct twz_store *s, uint32_t group, uint64_t value);
TWZ_API uint64_t twz_pin_min(struct twz_store *s, uint32_t group, uint64_t below);

/* Fill *INFO (set info->size first). */
TWZ_API TWZ_MUST_CHECK int twz_store_info(struct twz_store *s, struct twz_store_info *info);

/* The path the store was opened by; lives as long as the handle. */
TWZ_API const char *twz_store_path(const struct twz_store *s);

/*
 * 1 if PATH names the file this handle has open. The file may have been deleted or renamed since it
 * was opened, and its name be another store's now. A store without a file is everywhere.
 */
TWZ_API int twz_store_is_at(const struct twz_store *s, const char *path);

/*
 * A word that is not 0 once the file of S was found cut short by somebody: from then on some of what is read in place is zeros of
 * this process only, and changes are refused (TWZ_E_GONE). As long as the handle lives.
 *
 * It is found by a handler of SIGBUS, which the first opening of a store in a process installs (not with TWZ_GUARD=0 in the environment: then
 * who reads behind the end of such a file dies). A handler that was there before gets every signal that is not about the cut end of a
 * store; a program that installs one of its own afterwards does without, unless that one hands on what it does not know.
 */
TWZ_API const uint32_t *twz_store_cut(const struct twz_store *s);

/* Granularity of the medium (enum twz_granularity). */
TWZ_API int twz_store_granularity(const struct twz_store *s);

/*
 * One finding of twz_check: WHERE names the structure ("object 3f..: extent 2"), WHAT the rule
 * broken.
 */
typedef void (*twz_check_fn)(void *ctx, const char *where, const char *what);

/*
 * Check the structure of the store and of every object (superblocks, journal, space map, object
 * table, extents, FOTs, undo logs, names, allocator arenas). Calls FN for each finding; *FOUND
 * counts them. Returns 0 when the check could run to its end, whatever it found.
 */
TWZ_API TWZ_MUST_CHECK int twz_check(struct twz_store *s, twz_check_fn fn, void *ctx,
				     uint64_t *found);

enum twz_dump_flags {
	TWZ_DUMP_OBJECTS = 1, /* one line per object */
	TWZ_DUMP_EXTENTS = 2, /* extents of each */
	TWZ_DUMP_FOT = 4,     /* meta page and FOT of each */
	TWZ_DUMP_JOURNAL = 8, /* the metadata journal */
	TWZ_DUMP_SPACE = 16,  /* the space map */
	/* buckets and entries of the object table as they lie on the medium */
	TWZ_DUMP_TABLE = 32,
	TWZ_DUMP_TXLOG = 64,  /* undo logs */
	TWZ_DUMP_LOG = 128,   /* redo logs */
	TWZ_DUMP_ARENA = 256, /* arenas of twz_alloc() */
	TWZ_DUMP_NAMES = 512,
	TWZ_DUMP_ALL = 1023,
};

/*
 * Print every media field of the store as text to FILE (a FILE *): superblocks, root and layout
 * always, the rest as FLAGS say. Of user data, and of the bytes that journal, undo log and redo
 * log save, only place and length are printed. Damage is printed as "damaged: ..." and does not
 * end the dump; arenas and names are read under their objects' locks. Errors: those of reading,
 * memory and locks, and TWZ_E_IO when FILE cannot be written.
 */
TWZ_API TWZ_MUST_CHECK int twz_dump(struct twz_store *s, uint32_t flags, void *file);

/*
 * Shared, volatile memory named by an object ID: it exists while any process has the store open
 * and starts zeroed. *PTR is valid until the store is closed, at least 64-byte aligned. INIT
 * (may be NULL) runs once, before any process can see the segment. *FRESH (may be NULL) is set
 * to 1 in the one call that created it. Used for locks, timestamps and reader tables. Errors:
 * TWZ_E_INVAL (exists with another length), TWZ_E_NOSPC (no room in the companion file).
 */
TWZ_API TWZ_MUST_CHECK int twz_shared_get(struct twz_store *s, twz_oid id, size_t len,
					  int (*init)(void *ptr, void *ctx), void *ctx, void **ptr,
					  int *fresh);
/*
 * Lock a robust mutex that lies in a shared segment; one whose owner died is made consistent. Who has it, but is stopped
 * (SIGSTOP), is not waited for for ever: TWZ_E_TIMEOUT after ten seconds, with its process; -errno. WHERE and WHAT are for the message.
 */
TWZ_API TWZ_MUST_CHECK int twz_shared_lock(pthread_mutex_t *m, const char *where, const char *what);

/*
 * Scratch memory: volatile memory for caches, shared by all processes that have the store open,
 * named by an object ID. It holds nothing anybody may rely on: it may start zeroed or as others
 * left it, differ between processes (other mounts), and be written by whoever may write the store.
 * It lies in /dev/shm and goes with the store's last user. A store without a file: private memory.
 */
struct twz_scratch;
/*
 * LEN bytes of address space, a multiple of 1 MiB, the same for all users of ID. Nothing is
 * allocated: touch only what twz_scratch_grow() gave, here or in another process. Close before the
 * store. TWZ_E_FS: no usable /dev/shm. TWZ_E_NOMEM: no address space. TWZ_E_INVAL.
 */
TWZ_API TWZ_MUST_CHECK int twz_scratch_open(struct twz_store *s, twz_oid id, size_t len,
					    struct twz_scratch **out);
TWZ_API void twz_scratch_close(struct twz_scratch *sc); /* NULL is allowed */
TWZ_API void *twz_scratch_ptr(const struct twz_scratch *sc);
/*
 * Allocate bytes [0, LEN), zeroed where they are new. By one thread of a handle at a time.
 * TWZ_E_NOSPC (no message): not that much memory.
 */
TWZ_API TWZ_MUST_CHECK int twz_scratch_grow(struct twz_scratch *sc, size_t len);

/*
 * Memory in pages of 2 MiB is read quicker than in small ones, and does not always begin so. For a thread nobody waits for: the
 * chunk of 2 MiB at *POS, a multiple of that, of the store's file (if that is in memory: tmpfs), or of scratch memory, is
 * made one page if the kernel can, and *POS the next one's. Others that touch the chunk meanwhile wait, a millisecond or
 * some. What is there stays, and nothing takes more space. False: there is none at *POS (yet).
 */
TWZ_API bool twz_store_join_pages(struct twz_store *s, uint64_t *pos);
TWZ_API bool twz_scratch_join_pages(struct twz_scratch *sc, uint64_t *pos);

/*
 * Liveness of processes that have the store open. A process number is small (below
 * TWZ_PROC_MAX), unique among live processes; together with its incarnation it is never reused
 * while the store stays open anywhere.
 */
#define TWZ_PROC_MAX 256
TWZ_API uint32_t twz_proc_self(const struct twz_store *s);	  /* this process's number */
TWZ_API uint64_t twz_proc_incarnation(const struct twz_store *s); /* and incarnation, never 0 */
/* Process ID of a number, 0 if it is not of that incarnation (any more). */
TWZ_API uint32_t twz_proc_pid(struct twz_store *s, uint32_t proc, uint64_t incarnation);
TWZ_API bool twz_proc_alive(struct twz_store *s, uint32_t proc, uint64_t incarnation);

#ifdef __cplusplus
}
#endif
#endif
