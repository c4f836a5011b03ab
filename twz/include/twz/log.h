/* SPDX-License-Identifier: MIT
 * log.h -- twz_log: a staged redo log in one contiguous object
 *
 * The user builds new blocks where nobody can reach them, appends one record that says what to
 * change, and then applies it:
 *
 *	prepare (may fail)   plan; own homes; build and twz_flush new blocks        D2, D4
 *	append  (D3)         the record becomes valid on the medium: THE COMMIT POINT
 *	apply   (cannot fail) change the homes, idempotently, by the record          D4
 *	twz_log_applied()    tell the log: takeover need not look at this record again
 *	checkpoint, lazily   flush all homes named since the tail, publish the tail  D5
 *
 * A log sequence number (LSN) is the logical byte position of a record: it only grows; LSN mod
 * ring length is its place. Locking: append, applied, checkpoint and recover need the caller's
 * exclusive (cross-process, robust) writer lock; the position is kept in a segment shared by the
 * processes (twz_shared_get). Page media: one write and range sync per append, or per batch of records submitted, in sectors of its own
 * (D19); cache-line media: non-temporal stores and one fence.
 */
#ifndef TWZ_LOG_H
#define TWZ_LOG_H

#include <stdbool.h>
#include <sys/uio.h>
#include "twz/persist.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TWZ_LOG_LEN_MIN	       ((uint64_t)16 << 10)
#define TWZ_LOG_LEN_CACHE_LINE ((uint64_t)1 << 20)
#define TWZ_LOG_LEN_PAGE       ((uint64_t)64 << 20)

struct twz_log_user {
	uint32_t version; /* 1 */
	void *ctx;
	/*
	 * Re-do record LSN: idempotent, in LSN order, stores to homes only (flushing is the
	 * log's business: it calls `flush` after). The record comes from media: check every
	 * field (D10). RESTART: the sole process, after a crash. Otherwise takeover. A result <
	 * 0 stops recovery.
	 */
	int (*apply)(void *ctx, uint64_t lsn, const void *rec, size_t len, bool restart);
	/* Checkpoint: call twz_flush() on every home and new block RECORD names. */
	int (*flush)(void *ctx, uint64_t lsn, const void *rec, size_t len);
	/*
	 * May be NULL. Written to cache-line media, restart: have all new blocks arrived that the record
	 * publishes and does not carry (D2a)? Asked about the last valid record only, before it
	 * is applied: one fence makes its blocks and itself durable, so a crash before that
	 * fence may leave the record without the blocks. 1: yes. 0: no, so its append never
	 * returned, and it does not count. A result < 0 stops recovery.
	 */
	int (*whole)(void *ctx, uint64_t lsn, const void *rec, size_t len);
	/*
	 * Both may be NULL; cache-line media. flush_own: as flush, for a record this handle
	 * appended: these are its own bytes, not the medium's, and need no checking. flush_end:
	 * after the last record of a checkpoint, before its fence: flush what every record changes,
	 * such as a timestamp (writing one line back again and again waits for it each time).
	 */
	int (*flush_own)(void *ctx, uint64_t lsn, const void *rec, size_t len);
	void (*flush_end)(void *ctx);
	/*
	 * May be NULL: nothing can be submitted then. Page media: a submitted record is durable: change
	 * the homes by it, and make it public. Called in LSN order, in any thread of any process that
	 * waits, by one at a time, and without the writer lock; once more if somebody died at it. A
	 * result other than 0 fails the log (D17).
	 */
	int (*staged)(void *ctx, uint64_t lsn, const void *rec, size_t len);
};

/*
 * Create the log object (flags TWZ_OBJ_LOG | CONTIGUOUS), zero-filled, durable. LEN: bytes of
 * the ring, 0 = by medium; TWZ_LOG_LEN_MIN .. TWZ_DATA_MAX - 4 KiB, rounded up to 4 KiB; a
 * header page comes on top.
 */
TWZ_API TWZ_MUST_CHECK int twz_log_create(struct twz_store *s, uint64_t len, twz_oid *id);
/*
 * The same with further FLAGS of the object (enum twz_obj_flags), by which its maker finds a log
 * that a crash left without a reference.
 */
TWZ_API TWZ_MUST_CHECK int twz_log_create_flags(struct twz_store *s, uint64_t len, uint32_t flags,
						twz_oid *id);

/*
 * Open the log. *RESTART is set to 1 when this is the first opening since the store was held by
 * nobody: the caller must then call twz_log_recover(log, true) under its writer lock before
 * anything else; the log makes others wait for it (in this call: so do not open one log twice in
 * a thread before recovering it). An opener that closes or dies without having recovered passes
 * the duty on. USER must outlive the handle. Errors: TWZ_E_NOENT, TWZ_E_CORRUPT, TWZ_E_VERSION,
 * TWZ_E_FEATURE, TWZ_E_BUSY (a live process has been at the recovery for a minute), TWZ_E_STATE
 * (in use with another granularity).
 */
TWZ_API TWZ_MUST_CHECK int twz_log_open(struct twz_store *s, twz_oid id,
					const struct twz_log_user *user, struct twz_log **out,
					int *restart);
TWZ_API void twz_log_close(struct twz_log *l);

/*
 * Restart: apply every valid record from the tail. Takeover (the lock's owner died): apply only
 * those not marked applied (D13). Then flush, sync, publish the tail, raise the generation
 * durably (D1). May be called again if it failed or its caller died. The last record was
 * possibly never acknowledged; once applied it is durable. Errors: those of the user's
 * callbacks; TWZ_E_CORRUPT; TWZ_E_IO; TWZ_E_STATE
 * (restart: not the opener that was told so, or done already; takeover: not recovered yet); TWZ_E_FAILED.
 */
TWZ_API TWZ_MUST_CHECK int twz_log_recover(struct twz_log *l, bool restart);

/*
 * Append one record made of CNT pieces (total 1 byte .. TWZ_DATA_MAX, else TWZ_E_INVAL,
 * TWZ_E_TOOBIG); *LSN gets its position. 0: it is durable (D3). Everything twz_flush()ed before
 * by this thread is durable too: on cache-line media the append issues exactly one fence, after
 * the record's lines, so flushes of new blocks issued before the call need none of their own. A record over a quarter of the ring goes to a fresh extent, the
 * ring keeps a reference (D3). Runs a checkpoint when more than half the ring, or on cache-line
 * media 256 KiB, is used. Errors:
 * TWZ_E_NOSPC (no fresh extent, or the ring is full of records not applied), TWZ_E_NOMEM,
 * TWZ_E_STATE (not recovered): nothing was written; TWZ_E_IO: outcome unknown, the log is failed
 * for all processes (D17) and answers TWZ_E_FAILED from now on.
 */
TWZ_API TWZ_MUST_CHECK int twz_log_append(struct twz_log *l, const struct iovec *iov, int cnt,
					  uint64_t *lsn);

/*
 * The same without a copy: build the record where twz_log_append_staged() takes it from. Stage gives
 * room for LEN bytes, 8-byte aligned; asked again with a greater LEN before the append, it gives a
 * possibly different place that holds what was written so far. NULL: TWZ_E_NOMEM or TWZ_E_TOOBIG, the
 * message is set. The handle owns the bytes. Append_staged appends the first LEN of them; they may
 * be read, but not changed, until the next stage or append on the same handle (so apply can work
 * from them). A staged record that is not wanted needs no undoing.
 */
TWZ_API TWZ_MUST_CHECK void *twz_log_stage(struct twz_log *l, size_t len);
TWZ_API TWZ_MUST_CHECK int twz_log_append_staged(struct twz_log *l, size_t len, uint64_t *lsn);

/*
 * Page media: group commit (D12, D19). A record that was built where twz_log_stage() said is submitted
 * by the holder of the writer lock, who may then let it go; it counts, in this order, whatever
 * happens to this process, unless power fails. It is durable, applied and public when twz_log_wait() has
 * returned 0. Records submitted meanwhile by anybody are written together. All other calls that append,
 * checkpoint or recover wait for what was submitted before.
 *
 * Can a record of LEN bytes be submitted? Not on cache-line media, nor if it is long: append it.
 */
TWZ_API bool twz_log_can_submit(const struct twz_log *l, size_t len);
/*
 * *NR: what to wait for. Waits while the staging area is full, and runs checkpoints that are due. Errors: nothing
 * was submitted; TWZ_E_IO, TWZ_E_FAILED as twz_log_append(); TWZ_E_TIMEOUT: a process that is stopped is in the way.
 */
TWZ_API TWZ_MUST_CHECK int twz_log_submit(struct twz_log *l, size_t len, uint64_t *nr);
/*
 * Any thread. TWZ_E_IO, TWZ_E_FAILED: the outcome is unknown (D17). TWZ_E_TIMEOUT, after ten seconds: another process is stopped where
 * nobody can do its work (after two minutes: the device does not answer); the record stands, and will be durable when
 * that process goes on, or dies. Every call below and above that waits for others may return it; only here has something
 * been done all the same.
 */
TWZ_API TWZ_MUST_CHECK int twz_log_wait(struct twz_log *l, uint64_t nr);
/* Wait for everything submitted so far. */
TWZ_API TWZ_MUST_CHECK int twz_log_drain(struct twz_log *l);
/* Any thread: finish what somebody who died has left, as far as that takes no waiting for others; TWZ_E_TIMEOUT: who applies is stopped. */
TWZ_API TWZ_MUST_CHECK int twz_log_help(struct twz_log *l);
/* How many records were applied, and submitted, since the segment was made. */
TWZ_API void twz_log_pending(const struct twz_log *l, uint64_t *applied, uint64_t *submitted);
/*
 * Records FROM + 1 to TO, which the holder of the writer lock found submitted and not yet applied. FN != 0 stops
 * and is returned. REC is valid during the call.
 */
TWZ_API TWZ_MUST_CHECK int
twz_log_pending_walk(struct twz_log *l, uint64_t from, uint64_t to,
		     int (*fn)(void *ctx, uint64_t nr, const void *rec, size_t len), void *ctx);

/*
 * The same of record NR alone, for any thread, without the writer lock: copied to BUF, which has TWZ_LOG_PENDING_MAX
 * bytes, *LEN of them. 1: it was; 0: it has been applied meanwhile, and its bytes may be gone.
 */
#define TWZ_LOG_PENDING_MAX ((size_t)80 << 10)
TWZ_API int twz_log_pending_copy(const struct twz_log *l, uint64_t nr, void *buf, size_t *len);

/* The record at LSN has been applied to the homes. */
TWZ_API void twz_log_applied(struct twz_log *l, uint64_t lsn);

/*
 * Flush all homes named since the tail, publish the tail durably (D5). A failed sync publishes
 * nothing.
 */
TWZ_API TWZ_MUST_CHECK int twz_log_checkpoint(struct twz_log *l);

/*
 * A log records are submitted to: a checkpoint by any thread, without the writer lock, beside commits. Writes homes
 * back in file order, a slice at a time, then does what twz_log_checkpoint() does, for what had been applied when it
 * began. It is given up when *STOP is not 0 any more (NULL: never). Nothing, if less than a quarter of the ring is used, or
 * another thread is at it. TWZ_E_IO: the log is failed (D17).
 */
TWZ_API TWZ_MUST_CHECK int twz_log_checkpoint_ahead(struct twz_log *l, const uint32_t *stop);
/* Would that do something? */
TWZ_API bool twz_log_checkpoint_soon(const struct twz_log *l);

struct twz_log_info {
	uint64_t ring_len, used_len; /* bytes */
	uint64_t tail, head;	     /* LSNs */
	uint64_t generation;
	uint64_t records, bytes, checkpoints; /* since the segment was made */
};
TWZ_API TWZ_MUST_CHECK int twz_log_info(struct twz_log *l, struct twz_log_info *info);

/*
 * Walk the valid records from the tail (for dump and check): FN != 0 stops and is returned.
 * Changes nothing.
 */
TWZ_API TWZ_MUST_CHECK int
twz_log_walk(struct twz_log *l, int (*fn)(void *ctx, uint64_t lsn, const void *rec, size_t len),
	     void *ctx);

#ifdef __cplusplus
}
#endif
#endif
