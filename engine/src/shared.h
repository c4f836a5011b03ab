/* SPDX-License-Identifier: MIT
 * shared.h -- the shared segment: volatile, one per database, lives while any process has the store open (included by
 * internal.h only)
 */
#ifndef TWZDB_SHARED_H
#define TWZDB_SHARED_H

#define TWZDB_SHARED_MAGIC  0x3776736244575454ULL
#define TWZDB_READERS	    10240 /* a slot's number has 16 bits (lock.h) */
#define TWZDB_ANCHORS_KNOWN 64
#define TWZDB_SLOTS_KEPT    64 /* unused ones; what a process claimed beyond these it gives back */
#define TWZDB_WAITERS	    512
#define TWZDB_LISTENERS	    256
#define TWZDB_PAST	    64 /* moments remembered, of each kind (readers.c) */
#define TWZDB_PAST_KINDS    3
#define TWZDB_CLASSES	    64
#define TWZDB_STACK	    1024 /* reusable blocks remembered for each class */
#define TWZDB_QUARANTINE    8192 /* blocks remembered that some snapshot may still reach */
#define TWZDB_MARKS	    64 /* places in the log of which it is known which commits come before */
#define TWZDB_BASES	    1024 /* rows of which it is known what they share bytes with */
#define TWZDB_NO_SNAP	    UINT64_MAX
#define TWZDB_TS_MAX                                                                               \
	(((uint64_t)1 << 62) - 1) /* of a commit; what lies above is damage, or TWZDB_LINK_BASE */

/* A reader's slot, one line. claim: 0 = free, else process number + 1. */
struct sh_reader {
	uint64_t claim;
	uint64_t inc;  /* incarnation of the process */
	uint64_t snap; /* its snapshot, or TWZDB_NO_SNAP */
	/* 1: its process answers membarrier, and stores snap plainly; 0: by an exchange */
	uint64_t plain;
	/* of the claiming process alone: which opening of the database, and is a transaction using it? */
	uint64_t opening, busy;
	uint64_t writing; /* its thread keeps the writer lock, and has a transaction (lock.c) */
	uint64_t pad;
};

/* Whoever waits for a commit (listen.c), one line. claim: 0 = free, else process number + 1. */
struct sh_listener {
	uint64_t claim, inc;
	uint64_t table;	      /* number its rows carry, + 1; 0: any */
	uint64_t first, last; /* commits it was told of: the first it has not returned, the last */
	uint64_t heard;	      /* up to where it has returned them; the listener's own */
	uint64_t unsure;      /* commits up to here may concern it though it was not told */
	uint32_t word;	      /* futex: 1 = look again */
	uint32_t asleep;
};

/* Which was the newest commit at some moments; ts 0: no moment. */
struct sh_past {
	uint64_t due, cnt;
	struct {
		uint64_t ms, ts;
	} at[TWZDB_PAST];
};

struct sh_waiter {
	uint64_t ticket; /* 0 = free; low byte: process */
	uint64_t inc;
	uint32_t proc;
	uint32_t word;	 /* futex: 1 = look again */
	uint32_t asleep; /* it waits for the word */
	uint32_t gone;	 /* its thread has left without the mutex */
};

/*
 * The writer lock (lock.c). The owner leaves by a store, and whoever finds it free takes it by a
 * compare-and-swap; all else happens under mutex, which is held for a few stores only.
 */
struct sh_lock {
	uint64_t owner; /* ticket of the owner, 0 = free; low byte: its process */
	uint32_t waiters;
	uint32_t need_recover; /* an owner died: the next one runs takeover (D13) */
	pthread_mutex_t mutex; /* robust, process-shared */
	uint64_t next_ticket;
	uint64_t revoked_ms;	    /* monotonic clock */
	uint32_t fenced;	    /* so many more owners drop it by an exchange */
	uint32_t gone;		    /* waiters with that mark */
	uint64_t inc[TWZ_PROC_MAX]; /* incarnation in which process I opened the database last */
};

/* Allocation state of a size class: hints only, the block headers decide. */
struct sh_class {
	uint32_t unit;	    /* current unit (global number) + 1, 0 = none */
	uint32_t block;	    /* next block in it */
	uint32_t look;	    /* unit (global number) the next search for a used unit starts behind */
	uint32_t fresh;	    /* units from here on (global number) ... */
	uint32_t fresh_cnt; /* ... so many: formatted ahead, not used yet */
	uint32_t stack_cnt;
	uint32_t
		virgin; /* the current unit + 1, if nothing was ever in its blocks from `block` on */
	uint32_t got;	/* most units formatted at once since the segment was made */
	uint64_t total; /* blocks in known units */
	uint64_t free;	/* of those, not live */
	uint64_t stuck; /* minimum snapshot + 1 at which a search found only blocks still needed */
	uint64_t full;	/* the same of a search through everything, the store being full */
};

/*
 * Blocks that died, oldest first: {where, commit}. Like the stacks a hint only: the header of a block is
 * asked before it is reserved.
 */
struct sh_quarantine {
	uint64_t head, tail; /* entries ever removed, ever added */
	uint64_t e[TWZDB_QUARANTINE][2];
};

/*
 * Page media: rows whose bytes log records use (D2c; hold.c). Changed by the owner of the writer lock.
 */
struct sh_hold {
	uint64_t
		tail_ts; /* log records of commits up to it are not replayed any more: the tail is behind them; never falls */
	uint64_t used_ts;  /* no later commit's record uses another row's bytes */
	uint64_t len, max; /* bytes of blocks in `q`; beyond MAX rows go into the log whole */
	uint64_t mark_head, mark_tail; /* marks ever removed, ever added */
	struct {
		uint64_t lsn, ts; /* commits up to TS stand before LSN */
	} mark[TWZDB_MARKS];
	struct {
		uint64_t rec, base;
	} base[TWZDB_BASES]; /* by hash of REC: its log record uses BASE; asked by BASE's header */
	struct sh_quarantine
		q; /* not before the tail is behind that commit, and then as in the other */
};

struct sh_stats {
	uint64_t commits, aborts, takeovers, checkpoints, log_bytes, splits, merges, reader_retries;
	uint64_t writer_waits, checkpoint_ns;
	uint64_t given_len, taken_len;
};

struct twzdb__shared {
	uint64_t magic;
	uint64_t len;
	uint64_t ready; /* restart recovery has run: ts is valid */
	uint64_t
		failed; /* 1: a log write failed: no writers until restart (D17); TWZDB__IN_DOUBT: not before a decision (D16) */
	uint64_t cut_seq;	   /* odd: units are changing their type (runs.c) */
	uint64_t alone, alone_inc; /* asks all others to keep out, and its incarnation (alone.c) */
	uint64_t stage_stamp;	   /* page media: stamps below it are no staged commit's */
	uint64_t
		prep_next; /* records since the tail name bytes of TWZDB_NO_PREP below it (prepare.c) */
	uint64_t ts __attribute__((aligned(64))); /* latest commit, published */
	uint64_t apply_seq; /* odd: a commit is being applied, or its writer died meanwhile */
	uint64_t
		lazy_ts; /* page media: readers see commits up to it before they are durable (view.c) */
	uint64_t listeners;   /* how many there are; writers look before they publish */
	uint64_t listener_hi; /* lines [0, listener_hi) were ever used */
	uint64_t pad1[3];
	uint64_t reader_hi; /* slots [0, reader_hi) were ever used; the others are zeros */
	uint64_t min;	    /* no snapshot is older: what the last scan found; never falls */
	uint64_t min_due;   /* monotonic clock: when the next scan has earned its price (snap.c) */
	uint64_t probe;	    /* no snapshot below it may be pinned any more (watch.c) */
	uint64_t leaving,
		leaving_inc; /* process number + 1 of who empties units, and its incarnation (compact.c) */
	uint64_t pad2[2];
	struct sh_lock lock __attribute__((aligned(64)));
	uint64_t stamp __attribute__((aligned(64)));
	uint32_t scan_pos; /* next unit to be classified (unit.c) */
	uint32_t empty;	   /* units without a block that is live or reserved: a hint */
	uint64_t cut_ts;   /* latest commit when units changed their type last */
	uint64_t
		give_at; /* giving space back is worth a look when so many units are empty (give.c) */
	uint64_t
		give_due; /* there is something to give, if all readers of before are gone: look at this commit */
	struct sh_class cls[TWZDB_CLASSES];
	uint64_t stack[TWZDB_CLASSES][TWZDB_STACK];
	struct sh_quarantine quar;
	struct sh_hold hold;
	struct sh_stats stats __attribute__((aligned(64)));
	struct sh_past past[TWZDB_PAST_KINDS];
	struct sh_listener listener[TWZDB_LISTENERS] __attribute__((aligned(64)));
	struct sh_waiter waiter[TWZDB_WAITERS] __attribute__((aligned(64)));
	struct sh_reader reader[TWZDB_READERS] __attribute__((aligned(64)));
};

/*
 * Per unit, in a segment per data object: 0 = unknown, else KNOWN | class << 16 | blocks not
 * live (a hint).
 */
#define TWZDB_UT_KNOWN 0x80000000U
#define TWZDB_UT_HOLLOW                                                                            \
	0x00800000U /* of a free run: space may have been given back, take it first (give.c) */
#define TWZDB_UT_GIVEN 0x01000000U /* of a free run: what can be was given back */
#define TWZDB_UT_LEAVES                                                                            \
	0x02000000U /* it is being emptied: no block of it is given out (compact.c) */
#define TWZDB_UT_CLASS(e) (((e) >> 16) & 0x7fU)
#define TWZDB_UT_FREE(e)  ((e)&0xffffU)

#endif
