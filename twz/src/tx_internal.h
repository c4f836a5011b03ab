/* SPDX-License-Identifier: MIT
 * tx_internal.h -- what allocator and names use of transactions besides twz/tx.h
 */
#ifndef TWZ_SRC_TX_INTERNAL_H
#define TWZ_SRC_TX_INTERNAL_H

#include "internal.h"

#define TWZ__TX_LOCK_MS 10000 /* how long arena and name calls wait for another's transaction */

/*
 * Lock O for this transaction until its outermost level ends; 0 at once when it, or this thread
 * by twz_obj_lock(), has it already. Errors: TWZ_E_TIMEOUT (two transactions waiting for each
 * other?).
 */
int twz__tx_lock(struct twz_tx *tx, struct twz_obj *o);

/*
 * Memory released by this transaction still belongs to its owner if the transaction is aborted:
 * whoever wants to use it again inside the transaction must record it first. Mark it; ask for
 * it.
 */
int twz__tx_mark_freed(struct twz_tx *tx, const void *addr, size_t len);
bool twz__tx_was_freed(struct twz_tx *tx, const void *addr, size_t len);

/* This thread's transaction has touched O: it must keep length and mapping. */
bool twz__tx_uses(const struct twz_obj *o);

/*
 * ID is one of the store's undo logs (txlog.h): it may not be deleted, for restart stops looking
 * at the first that is missing.
 */
bool twz__txlog_is_head(const struct twz_store *s, twz_oid id);

/*
 * A write or sync failed: nobody writes to the store until restart recovery has decided what is
 * there (D17).
 */
void twz__tx_fail_store(struct twz_store *s);

/* Which pages to sync at commit: [ADDR, ADDR + LEN), page aligned. Pure: for tests. */
struct twz__tx_span {
	uintptr_t addr;
	uint64_t len;
};
#define TWZ__TX_SPAN_MAX 16 /* more separate spans: one sync of everything is cheaper */
#define TWZ__TX_SPAN_GAP (64 * TWZ_PAGE_SIZE) /* clean pages worth syncing over to save a call */

struct twz__range_pool;
/* Returns how many spans, or TWZ__TX_SPAN_MAX + 1 for "too many". Spans do not cross slots. */
int twz__tx_plan_sync(const struct twz__range_pool *p, uint32_t root, struct twz__tx_span *spans);

#endif
