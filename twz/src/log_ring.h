/* SPDX-License-Identifier: MIT
 * log_ring.h -- what the files of twz_log share
 *
 *	log_ring.c     pure: checksums, validity of a record (D1), where the next record goes
 *	log_io.c       the ring on its medium: read, write, publish a word, iterate
 *	log_spill.c    bodies of long records
 *	log.c	       create, open
 *	log_append.c   append, checkpoint
 *	log_group.c    page media: staging, batches
 *	log_stuck.c    page media: processes that are stopped in the middle of it
 *	log_ahead.c    page media: checkpoints beside commits
 *	log_recover.c  restart, takeover, walk, check
 */
#ifndef TWZ_SRC_LOG_RING_H
#define TWZ_SRC_LOG_RING_H

#include "internal.h"
#include "format_log.h"

/* ---- pure part: log_ring.c ---- */

uint64_t twz__log_head_sum(const struct log_head_pm *h);
/* Checksum of a record; its body is directly behind REC. SEAL: the generation, or behind a gap twz__log_seal(). */
uint64_t twz__log_rec_sum(const struct log_rec_pm *rec, uint64_t seal);
/* Of a record behind GAP bytes, less than a block, in whole sectors, of log ID. No two of (generation, gap) have the same. */
uint64_t twz__log_seal(twz_oid id, uint64_t generation, uint64_t gap);

static inline uint64_t twz__log_align(uint64_t n, uint64_t align)
{
	return (n + align - 1) & ~(align - 1); /* ALIGN is a power of two */
}

static inline uint32_t twz__log_rec_kind(const struct log_rec_pm *rec)
{
	return rec->desc >> TWZ_LOG_DESC_KIND & 3;
}

static inline uint64_t twz__log_rec_len(const struct log_rec_pm *rec)
{
	return rec->desc & TWZ_LOG_DESC_LEN;
}

/* Bytes to the next record; ROOM: to the end of the ring. */
static inline uint64_t twz__log_rec_total(const struct log_rec_pm *rec, uint64_t room)
{
	uint64_t end = rec->lsn + sizeof(*rec) + twz__log_rec_len(rec);

	if (twz__log_rec_kind(rec) == TWZ_LOG_REC_PAD)
		return room;
	return twz__log_align(end, rec->desc & TWZ_LOG_DESC_BLOCK    ? TWZ_LOG_BLOCK_LEN
				   : rec->desc & TWZ_LOG_DESC_SECTOR ? TWZ_LOG_SECTOR_LEN
								     : TWZ_LOG_REC_ALIGN) -
	       rec->lsn;
}

/* What a record must match: numbers as in format_log.h. */
struct twz__log_expect {
	uint64_t ring_len;
	uint64_t lsn;
	uint64_t seal;
	uint32_t prev;
	bool check_prev; /* rule (3) applies */
};

/* 0, or the number of the first rule that REC's header breaks, (1) to (3). */
int twz__log_rec_bad(const struct log_rec_pm *rec, const struct twz__log_expect *e);

/* Where a record of BODY_LEN bytes goes when the ring holds [tail, head) and ROOM bytes follow head. */
struct twz__log_plan {
	uint64_t pad;	/* bytes of the pad record at head, 0 = none */
	uint64_t lsn;	/* of the record */
	uint64_t total; /* bytes of the record, padding included */
	bool spill;	/* the body goes into an object, the record holds a log_spill_pm */
	bool due;	/* more than DUE_LEN bytes would be in use: checkpoint first (D5) */
	bool full;	/* it does not fit: checkpoint first, or fail */
};
struct twz__log_where {
	uint64_t ring_len, align, due_len;
	uint64_t tail, head, room;
};
struct twz__log_plan twz__log_plan(const struct twz__log_where *w, uint64_t body_len);

/* ---- state shared by the processes that have the log open: log.c ---- */

#define TWZ_LOG_SPILL_MAX 64 /* long records between two checkpoints; one more runs a checkpoint */

struct twz__log_spill {
	uint64_t lsn;
	twz_oid id;
};

enum twz__log_state {
	LOG_UNRECOVERED = 0, /* nobody has recovered it yet, nobody is at it */
	LOG_RECOVERING = 1,  /* process `owner` was told to (twz_log_open: *RESTART = 1) */
	LOG_READY = 2,
};

enum twz__log_mode {
	LOG_MODE_MAPPED = 1, /* cache-line media: stores to the mapping and a fence */
	LOG_MODE_SYNC = 2,   /* page media: write and range sync */
};

#define LOG_LSN_NONE UINT64_MAX

/*
 * Lies in twz_shared_get() memory under the log's own ID. Everything but the claim is written only
 * under the caller's writer lock, and is rebuilt by recovery from [applied, ...) after its holder
 * died, so no two words need to change together.
 */
struct twz__log_seg {
	pthread_mutex_t
		claim_mutex; /* robust; guards state (together with owner) until it is LOG_READY */
	uint32_t state;	     /* enum twz__log_state */
	uint32_t owner_proc;
	uint64_t owner_incarnation;
	uint32_t mode;	 /* enum twz__log_mode of the first opener, which binds all others */
	uint32_t failed; /* D17: 1 = a write or sync failed */
	_Alignas(64) uint64_t generation;
	uint64_t tail;	   /* as on the medium; page media: raised without the writer lock too */
	uint64_t applied;  /* LSN behind the last record applied to its homes */
	uint64_t head;	   /* LSN of the next record */
	uint64_t last_lsn; /* of the record that ends at head; LOG_LSN_NONE */
	uint64_t last_sum; /* its checksum: the next one's prev */
	uint64_t records, bytes, checkpoints;
	uint64_t spill_cnt;
	struct twz__log_spill spills
		/* bodies that may exist; entered before the object is created */
		[TWZ_LOG_SPILL_MAX];
};

/* --- records not yet applied, page media: log_group.c --- */

#define TWZ_LOG_STAGE_ID      UINT64_C(0x5a1d9ed5ec0bd5a7) /* of the segment, mixed into the log's ID */
#define TWZ_LOG_STAGE_LEN     ((uint64_t)1 << 20)
#define TWZ_LOG_STAGE_REC_MAX ((uint64_t)TWZ_LOG_PENDING_MAX) /* bytes of a body */
#define TWZ_LOG_BATCH_MAX     ((uint64_t)256 << 10) /* a batch that is longer takes no more */
#define TWZ_LOG_STAGE_ENTS    8192
#define TWZ_LOG_BATCHES	      3 /* on their way at the same time */

struct twz__log_ent {
	uint64_t lsn, len; /* bytes of the body */
	uint64_t gap;	   /* bytes left out before it (D19) */
};

enum twz__log_batch_state {
	BATCH_FREE = 0,
	BATCH_FROZEN = 1, /* its bytes are decided, and perhaps written */
	BATCH_DONE = 2,	  /* durable, but perhaps not all before it */
	BATCH_FAILED = 3, /* D17: nobody writes it again */
};

/* Written by the holder of its mutex; whoever freezes it has both. */
struct twz__log_batch {
	pthread_mutex_t mutex;
	pthread_mutex_t
		again;	/* whoever writes it once more, its holder being stopped (log_stuck.c) */
	uint32_t state; /* enum twz__log_batch_state */
	uint32_t
		held; /* 1: who wrote it may write it once more, later: as long as one of the mutexes is held */
	uint64_t from, to; /* entries */
	uint64_t from_lsn,
		to_lsn; /* whole sectors; of a block that it shares with another, these only */
	uint64_t prev_sum, sum; /* of the record before, of the last one */
};

/* Lies in twz_shared_get() memory. Numbers of entries count from the segment's beginning. */
struct twz__log_stage {
	pthread_mutex_t mutex, apply_mutex;
	pthread_mutex_t tail_mutex;  /* the tail, on the medium and in the segment */
	pthread_mutex_t ahead_mutex; /* whoever checkpoints without the writer lock */
	uint32_t wake, waiters;	     /* futex: something went on */
	_Alignas(64) uint64_t put;
	uint64_t frozen, durable;
	uint64_t
		run_lsn; /* where the records that stand one behind the other up to the last one begin; a hint */
	uint64_t filled; /* up to there the file system has seen every block written: writer lock */
	struct {	 /* log_gather.c: hints */
		uint64_t
			nr; /* somebody looks at the clock for the batch that begins with this entry, plus 1 */
		uint32_t expect;  /* records the next batch could have */
		uint32_t took_us; /* the last write */
		uint32_t skip;	  /* so many batches do not wait for anybody */
		uint32_t misses;
	} gather;
	_Alignas(64) uint64_t applied;
	struct twz__log_batch batch[TWZ_LOG_BATCHES];
	struct twz__log_ent ent[TWZ_LOG_STAGE_ENTS];
	_Alignas(4096) uint8_t buf[TWZ_LOG_STAGE_LEN];
};

#define seg_get(p)    __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define seg_set(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)

/* Microseconds of a clock that does not jump: for durations. */
uint64_t twz__log_now_us(void);

/* ---- when the next batch begins: log_gather.c ---- */

/* Bytes that make a batch worth being written beside others; tests change it. */
extern uint64_t twz__log_beside_len;

/*
 * Stage mutex. Is it time for a batch of the STAGED_LEN bytes of records that are in none? BEFORE: of twz__log_gather(), or
 * TWZ_LOG_AT_ONCE.
 */
bool twz__log_worth_it(const struct twz__log_stage *st, uint64_t staged_len, uint64_t before);
#define TWZ_LOG_AT_ONCE UINT64_MAX
/* The same: B has been frozen; RECORDS have become durable. */
void twz__log_gather_froze(struct twz__log_stage *st, const struct twz__log_batch *b);
void twz__log_gather_durable(struct twz__log_stage *st, uint64_t records);
/*
 * Whoever waits for a record that is staged: sleep until those have staged theirs who are expected, or somebody writes; not for
 * long. *BEFORE, 0 at first: for which batch the caller has done so.
 */
void twz__log_gather(struct twz_log *l, uint64_t *before);

/* ---- the ring on its medium: log_io.c ---- */

struct twz__log_ring {
	struct twz_store *store;
	struct twz_obj *obj;
	twz_oid id;
	uint64_t ring_len;
	uint64_t unit;	   /* page media: a batch ends at a multiple of it, a sector or a block */
	uint8_t *map;	   /* header page in the mapping (cache-line media), NULL: page media */
	uint64_t file_off; /* of the header page on the image */
	char name[TWZ_OID_STR_LEN]; /* of the log, for messages */
};

/*
 * Records are built in `buf`. On cache-line media those appended since the last checkpoint stay
 * there one behind the other, as they lie in the ring, until the next one: the checkpoint then need
 * not fetch the ring's lines, which no cache holds, nor doubt what it finds. buf[off] is the
 * next record's first byte; own.from .. own.to are the LSNs of the records before it, at
 * buf[lsn - own.base]. Only this handle's records: what others appended is read from the ring (D5).
 */
struct twz_log {
	struct twz__log_ring ring;
	const struct twz_log_user *user;
	struct twz__log_seg *seg;
	bool claimed; /* twz_log_open said RESTART = 1 and recovery has not succeeded yet */
	uint64_t lap; /* LSN at which some lap of the ring began, not behind the head */
	uint64_t align, plain_max, due_len; /* constants of the ring */
	uint8_t *buf;			    /* aligned to a block */
	uint64_t buf_len, off;
	bool staging; /* a record is being built at buf[off] */
	uint32_t still_cnt;
	struct {
		uint64_t generation, from, to, base;
	} own;
	uint8_t *block;			  /* a block: pads and references to long records */
	struct twz__log_stage *stage;	  /* NULL: nothing is ever staged */
	uint8_t *bounce[TWZ_LOG_BATCHES]; /* a batch on its way; its mutex guards it */
	uint64_t bounce_len[TWZ_LOG_BATCHES];
	uint8_t *spare
		[TWZ_LOG_BATCHES]; /* the same batch, when another writes it again; `again` guards it */
	uint64_t spare_len;
	uint8_t *body[2]; /* a body in one piece: who applies, who looks */
};

/*
 * Fill R for the open object O, as for a new log (no header yet). Errors: TWZ_E_CORRUPT when it is
 * not one extent.
 */
int twz__log_ring_init(struct twz__log_ring *r, struct twz_obj *o);
/* Read and check the header; sets ring_len. */
int twz__log_ring_attach(struct twz__log_ring *r, uint64_t *generation, uint64_t *tail);
/* Granularity of a record that is written by itself: cache line or block. */
uint64_t twz__log_ring_align(const struct twz__log_ring *r);

/* OFF counts from the header page in all of these. */
int twz__log_read(const struct twz__log_ring *r, uint64_t off, void *buf, uint64_t len);
/* Page media: durable on return. Cache-line media: durable at the next twz_fence of this thread. */
int twz__log_write(const struct twz__log_ring *r, uint64_t off, const void *buf, uint64_t len);
/*
 * Change one of the words of the header page durably: one aligned 8-byte store, alone in its
 * sector.
 */
int twz__log_publish(const struct twz__log_ring *r, size_t off, uint64_t value);

static inline uint64_t twz__log_pos(const struct twz__log_ring *r, uint64_t lsn)
{
	return TWZ_LOG_HEADER_LEN + lsn % r->ring_len;
}

/* Iterate over the valid records from an LSN. Fields below the line are the present record's. */
struct twz__log_iter {
	struct twz__log_ring *r;
	struct twz__log_expect
		next; /* what the next record must match; next.lsn = where it would begin */
	uint64_t generation;
	uint64_t limit; /* no record counts that ends behind this LSN: tail + ring length */
	uint8_t *win;	/* page media: a window of the ring in memory */
	uint64_t win_off, win_len, win_cap;
	int rule; /* which rule ended it */
	/* -- */
	const struct log_rec_pm *rec;
	uint64_t lsn;
	uint64_t gap;	  /* bytes left out before it, or before the pad before it */
	uint64_t total;	  /* bytes of the ring it takes */
	const void *body; /* the user's bytes */
	uint64_t len;
	struct twz_obj *body_obj; /* long record */
	void *body_buf;
};
void twz__log_iter_init(struct twz__log_iter *it, struct twz__log_ring *r, uint64_t generation,
			uint64_t from, uint64_t limit);
/*
 * 1: a record (pads are skipped); 0: the first invalid record or the limit is reached; < 0: an
 * error.
 */
int twz__log_iter_next(struct twz__log_iter *it);
void twz__log_iter_done(struct twz__log_iter *it);

/* ---- bodies of long records: log_spill.c ---- */

/* First word of the ID of every body object of log ID. */
uint64_t twz__log_body_owner(twz_oid id);
/*
 * Write the pieces to a fresh object, durably, and describe it. Errors: TWZ_E_NOSPC..: nothing is
 * left behind.
 */
int twz__log_body_write(struct twz_log *l, const struct iovec *iov, int cnt, uint64_t len,
			uint64_t lsn, struct log_spill_pm *out);
/* Make it->body point at the bytes of the long record it->rec. */
int twz__log_body_load(struct twz__log_iter *it);
void twz__log_body_unload(struct twz__log_iter *it);
/* Delete the bodies of records before LSN. Errors are put off to the next call. */
void twz__log_body_tidy(struct twz_log *l, uint64_t lsn);
/* Restart only: delete every body object of this log the store holds. */
int twz__log_body_sweep(struct twz_log *l);

/* ---- log.c, log_append.c, log_recover.c ---- */

/* D17: mark the log failed for everybody; returns TWZ_E_IO. */
int twz__log_fail(struct twz_log *l, const char *what);
/* 0, or TWZ_E_FORKED, TWZ_E_FAILED. */
int twz__log_enter(struct twz_log *l);
/* The same, or TWZ_E_STATE: not recovered yet. */
int twz__log_enter_ready(struct twz_log *l);
/* The rest of the lap becomes a pad. Nothing is staged. */
int twz__log_pad(struct twz_log *l);
int twz__log_group_open(struct twz_log *l);
void twz__log_group_close(struct twz_log *l);
/* What log_group.c and log_stuck.c share. */
int twz__log_stage_lock(struct twz_log *l);
void twz__log_wake_all(struct twz__log_stage *st);
/* Until something has gone on since SEEN was read from st->wake, or for US microseconds, less than a second. */
void twz__log_doze(struct twz__log_stage *st, uint32_t seen, uint32_t us);
/* Bytes that are written of a batch, and what they are. */
uint64_t twz__log_batch_len(const struct twz__log_batch *b);
void twz__log_batch_bytes(struct twz_log *l, const struct twz__log_batch *b, uint8_t *buf,
			  uint64_t *sum);
/*
 * Lock a robust mutex of the shared segment: 0, EOWNERDEAD, or TIMEDOUT when its holder has not let it go for so long that
 * it must be stopped.
 */
int twz__log_mutex_lock(pthread_mutex_t *m);
/* The message for what it has returned, and the error. */
int twz__log_lock_failed(const struct twz_log *l, const char *what, int err);
/* How long a waiter has seen nothing go on. Zeroed before its first look. */
struct twz__log_patience {
	uint64_t seen, since_ms;
};
/* It waits, and has found nothing to do: 1: there was something, after all; 0: wait on; TWZ_E_TIMEOUT; TWZ_E_IO. */
int twz__log_relieve(struct twz_log *l, struct twz__log_patience *p);
/* Its mutex is held: may batch B be used anew? */
bool twz__log_batch_let_go(struct twz__log_batch *b);
/* Before LEN bytes go to the ring as a record: until nobody can write there any more. Nothing is staged, or LEN is short. TWZ_E_TIMEOUT. */
int twz__log_lap_wait(struct twz_log *l, uint64_t len);
/* twz__log_fail(), and nobody goes on waiting. */
int twz__log_group_fail(struct twz_log *l, const char *what);
/*
 * Page media, the caller's writer lock: in the ring's first lap write zeros where records up to END are going to be, if that was
 * not done yet.
 */
int twz__log_fill(struct twz_log *l, uint64_t end);
/*
 * How much of the store a checkpoint beside commits writes at once, after a slice of SLICE bytes took so long: less where many pages are
 * dirty, for a device writes them one after the other, and a commit behind them; more where few are.
 */
#define TWZ_LOG_SLICE_MIN ((uint64_t)16 << 10)
#define TWZ_LOG_SLICE_MAX ((uint64_t)1 << 20)
uint64_t twz__log_slice_after(uint64_t slice, uint64_t took_us);
/* Around a change of the tail, which only grows. Nothing where nobody checkpoints beside the writer. */
int twz__log_tail_lock(struct twz_log *l);
void twz__log_tail_unlock(struct twz_log *l);
/* The homes of all records before TO are durable: so says the medium from now on, if it does not already. */
int twz__log_tail_publish(struct twz_log *l, uint64_t to);
/* What a new handle needs in order to append. */
int twz__log_append_init(struct twz_log *l);
/* Flush the homes of the records in [from, to) and make them durable (D5). */
int twz__log_flush_homes(struct twz_log *l, uint64_t generation, uint64_t from, uint64_t to);

#endif
