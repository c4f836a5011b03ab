/* SPDX-License-Identifier: MIT
 * persist.h -- flush, fence, publish: the primitives of crash consistency (paper 3.5)
 *
 * On cache-line media twz_flush() queues the lines for write-back and twz_fence() makes
 * everything flushed before it durable. On page media flush only notes the range, and
 * twz_fence() is TWZ_E_STATE-free but does NOT make homes durable: durability there comes from
 * the log (D3) and from twz_sync() at checkpoints. Algorithms that must work on both use
 * transactions or twz_log; use these directly only where the rule you cite says so.
 */
#ifndef TWZ_PERSIST_H
#define TWZ_PERSIST_H

#include "twz/obj.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Queue [ADDR, ADDR + LEN) of a mapped object for write-back. Any alignment. No-op on page media
 * and eADR.
 */
TWZ_API void twz_flush(struct twz_store *s, const void *addr, size_t len);
/* The same of CNT pieces of LEN bytes, the first at ADDR, each STEP bytes behind the one before. */
TWZ_API void twz_flush_each(struct twz_store *s, const void *addr, size_t len, size_t step,
			    uint64_t cnt);

/* Order and complete all earlier flushes of this thread (sfence on x86; no-op on page media). */
TWZ_API void twz_fence(struct twz_store *s);

/* flush + fence. */
TWZ_API void twz_persist(struct twz_store *s, const void *addr, size_t len);

/*
 * Copy to cache-line media with non-temporal stores and no fence; plain copy elsewhere. For
 * logs, never for records.
 */
TWZ_API void twz_copy_nt(struct twz_store *s, void *dst, const void *src, size_t len);

/*
 * Make [ADDR, ADDR + LEN) durable whatever the medium: persist on cache-line media, one range
 * sync (msync of the pages) on page media. Errors: TWZ_E_IO: the outcome is unknown (D17).
 */
TWZ_API TWZ_MUST_CHECK int twz_sync(struct twz_store *s, const void *addr, size_t len);

/*
 * For a checkpoint: on page media everything stored so far in the store is durable (one
 * fdatasync); on cache-line media everything that was twz_flush()ed (one fence). Errors:
 * TWZ_E_IO.
 */
TWZ_API TWZ_MUST_CHECK int twz_sync_all(struct twz_store *s);

/*
 * Publish one aligned 8-byte word: store-release, flushed and fenced on cache-line media. Name
 * the step it ends at the call.
 */
TWZ_API void twz_publish64(struct twz_store *s, uint64_t *where, uint64_t value);

/* Counters of this process, for tests and info. */
struct twz_persist_stats {
	uint64_t flushes, flushed_lines, fences, syncs, sync_bytes, nt_bytes;
};
TWZ_API void twz_persist_stats(struct twz_store *s, struct twz_persist_stats *out);

#ifdef __cplusplus
}
#endif
#endif
