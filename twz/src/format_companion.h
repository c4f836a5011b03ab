/* SPDX-License-Identifier: MIT
 * format_companion.h -- layout of the companion file `PATH-lock`
 *
 * The companion is shared memory with a name: it holds nothing that must survive the last process,
 * and a sole holder of the store builds it anew. Processes of different builds may meet in it, so
 * its layout has a version and fixed widths all the same.
 */
#ifndef TWZ_FORMAT_COMPANION_H
#define TWZ_FORMAT_COMPANION_H

#include <pthread.h>
#include "core.h"
#include "twz/store.h"

#define COMP_MAGIC "TWZ-LOCK" /* first 8 bytes */
#define COMP_VERSION                                                                               \
	2u /* raise with any change below, in struct twzc_shared, or in what a mutex protects */
#define COMP_PAGE ((uint64_t)4096)

#define COMP_PROCS_OFF COMP_PAGE
#define COMP_SEGS_OFF  (COMP_PROCS_OFF + TWZ_PROC_MAX * (uint64_t)512)
#define COMP_SEGS_MAX  1024u
#define COMP_FIXED_LEN (COMP_SEGS_OFF + COMP_SEGS_MAX * (uint64_t)32)

#define COMP_OPENS_PER_PAGE 128u /* struct comp_open_pm */
#define COMP_OPEN_PAGES	    96u	 /* per process: 12,288 objects */
#define COMP_LOCKS_PER_PAGE 32u	 /* struct comp_lock_pm */
#define COMP_LOCK_PAGES	    256u /* 8,192 objects locked at once */

/*
 * A robust process-shared mutex of this C library, padded to a cache line: run-time state, not on
 * media.
 */
struct comp_mutex {
	pthread_mutex_t m;
	uint8_t pad[64 - sizeof(pthread_mutex_t)];
};
_Static_assert(sizeof(struct comp_mutex) == 64, "one line");

/*
 * Page 0.
 *
 * OFFSET  SIZE  MEANING
 *      0     8  magic "TWZ-LOCK"
 *      8     4  version: COMP_VERSION
 *     12     4  ready: 1 once everything below is initialised
 *     16    16  uuid of the store
 *     32    16  boot ID of the machine: a companion of another boot is nobody's
 *     48     8  end: bytes of the file given out; whoever needs more raises it under `alloc`
 *     56     8  incarnation: last one given to a process
 *     64     8  deleted_cnt: objects deleted while somebody had them open, not yet reclaimed (a hint: > 0 means look)
 *     72     4  seg_cnt: entries of the segment directory in use
 *     76     4  lock_cnt: object lock entries in use
 *     80     4  proc_end: process numbers from this one on were never used
 *     84     4  lost: 1 = something stored to the file did not get to the medium (file_sync.c)
 *     88    40  zero
 *    128    64  meta: the metadata lock of the store (core.h)
 *    192    64  reap: held while a dead process is cleaned up
 *    256    64  segs: the segment directory
 *    320    64  locks: the object lock table, not the locks in it
 *    384    64  alloc: end
 *    448    64  zero
 *    512  1024  shared: state of the store core
 *   1536  1024  lock_page[256]: page numbers of the object lock table
 *   2560  1536  zero
 */
struct comp_head_pm {
	uint8_t magic[8];
	uint32_t version;
	uint32_t ready;
	uint64_t uuid[2];
	uint64_t boot_id[2];
	uint64_t end;
	uint64_t incarnation;
	uint64_t deleted_cnt;
	uint32_t seg_cnt;
	uint32_t lock_cnt;
	uint32_t proc_end;
	uint32_t lost;
	uint32_t zero0[10];
	struct comp_mutex meta, reap, segs, locks, alloc;
	uint64_t zero1[8];
	union {
		struct twzc_shared shared;
		uint64_t shared_room[128];
	};
	uint32_t lock_page[COMP_LOCK_PAGES];
	uint64_t zero2[192];
};
_Static_assert(sizeof(struct twzc_shared) <= 1024, "fits its room");
_Static_assert(offsetof(struct comp_head_pm, meta) == 128, "layout");
_Static_assert(offsetof(struct comp_head_pm, shared) == 512, "layout");
_Static_assert(offsetof(struct comp_head_pm, lock_page) == 1536, "layout");
_Static_assert(sizeof(struct comp_head_pm) == 4096, "layout");

/*
 * Process table, from COMP_PROCS_OFF. A process is alive while it holds the OFD lock on byte
 * COMP_LOCK_BASE + its number of this file. An entry with an incarnation and no lock is a dead
 * process nobody has cleaned up after yet.
 *
 * OFFSET  SIZE  MEANING
 *      0     8  incarnation; 0 = entry free. Stored last on joining, first on leaving
 *      8     4  pid, for messages
 *     12     4  open_page_cnt: pages of the open-object array that exist; they stay with the number
 *     16   384  open_page[96]: their page numbers in this file
 *    400   112  zero
 */
struct comp_proc_pm {
	uint64_t incarnation;
	uint32_t pid;
	uint32_t open_page_cnt;
	uint32_t open_page[COMP_OPEN_PAGES];
	uint64_t zero[14];
};
_Static_assert(sizeof(struct comp_proc_pm) == 512, "layout");
_Static_assert(offsetof(struct comp_proc_pm, pid) == 8, "layout");
_Static_assert(offsetof(struct comp_proc_pm, open_page) == 16, "layout");
_Static_assert(offsetof(struct comp_proc_pm, zero) == 400, "layout");

/*
 * One object a process has open; it keeps the space of a deleted object from being reused.
 *
 * OFFSET  SIZE  MEANING
 *      0    16  id
 *     16     4  used: 1 = counts. Stored last, under the metadata lock
 *     20     4  lock: 0, or 1 + number of the object's entry in the lock table
 *     24     8  zero
 */
struct comp_open_pm {
	uint64_t id[2];
	uint32_t used;
	uint32_t lock;
	uint64_t zero;
};
_Static_assert(sizeof(struct comp_open_pm) == 32, "layout");
_Static_assert(offsetof(struct comp_open_pm, used) == 16, "layout");
_Static_assert(offsetof(struct comp_open_pm, lock) == 20, "layout");

/*
 * One object lock.
 *
 * OFFSET  SIZE  MEANING
 *      0    64  mutex; survives the entry's reuse
 *     64    16  id; zero = entry free
 *     80     8  owner_incarnation, and
 *     88     4  owner_proc: the process that holds the lock; written after locking, zero before unlocking
 *     92    36  zero
 */
struct comp_lock_pm {
	struct comp_mutex mutex;
	uint64_t id[2];
	uint64_t owner_incarnation;
	uint32_t owner_proc;
	uint32_t zero[9];
};
_Static_assert(sizeof(struct comp_lock_pm) == 128, "layout");
_Static_assert(offsetof(struct comp_lock_pm, id) == 64, "layout");
_Static_assert(offsetof(struct comp_lock_pm, owner_incarnation) == 80, "layout");
_Static_assert(offsetof(struct comp_lock_pm, owner_proc) == 88, "layout");

/*
 * Segment directory, from COMP_SEGS_OFF (twz_shared_get).
 *
 * OFFSET  SIZE  MEANING
 *      0    16  id
 *     16     8  off: byte offset in this file
 *     24     8  len: bytes asked for, bit 63: ready (its init function has returned)
 */
struct comp_seg_pm {
	uint64_t id[2];
	uint64_t off;
	uint64_t len;
};
#define COMP_SEG_READY ((uint64_t)1 << 63)
_Static_assert(sizeof(struct comp_seg_pm) == 32, "layout");
_Static_assert(offsetof(struct comp_seg_pm, off) == 16, "layout");
_Static_assert(offsetof(struct comp_seg_pm, len) == 24, "layout");

/* OFD lock bytes, far beyond any file's end. In the store file: */
#define COMP_LOCK_BASE	  ((uint64_t)1 << 62)
#define COMP_LOCK_OPENING COMP_LOCK_BASE       /* exclusive: opening or closing the store */
#define COMP_LOCK_HOLDERS (COMP_LOCK_BASE + 1) /* shared: has the store open; exclusive: is alone */
/*
 * shared: reads an image of its own, made while nobody had the store open. An opener that is alone
 * waits until it gets this one exclusively, once, while it has `holders` exclusively: whoever looks
 * afterwards finds a holder, or another superblock.
 */
#define COMP_LOCK_PRIVATE (COMP_LOCK_BASE + 2)
/* shared: byte group * COMP_PIN_MAX + n: a reader others cannot see uses n (twz_pin) */
#define COMP_LOCK_PINS	((uint64_t)1 << 61)
#define COMP_PIN_MAX	((uint64_t)1 << 51)
#define COMP_PIN_GROUPS 1024u
/* In the companion: byte COMP_LOCK_BASE + n, exclusive: process n lives. */

#endif
