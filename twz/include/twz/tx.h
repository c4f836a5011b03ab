/* SPDX-License-Identifier: MIT
 * tx.h -- undo transactions: TXSTART, TXRECORD, TXEND (paper 3.5), in place, over any number of objects
 *
 * States:  none --begin--> open --commit--> none
 *                          open --abort---> none    (old bytes restored)
 *          begin inside open nests: an inner abort restores what the inner one recorded; inner commit joins the outer.
 * Durability D8: the undo entry is durable before twz_tx_record returns; the commit point is the
 * durable retirement of the log after the new data are flushed. Atomic and durable, not
 * isolated: use twz_obj_lock to exclude others. A transaction of a process that died is rolled
 * back before its objects are opened or locked by another. Threads: a transaction belongs to one
 * thread; each thread may have one per store. Page media: every record call costs one range
 * sync, so give many ranges at once.
 */
#ifndef TWZ_TX_H
#define TWZ_TX_H

#include "twz/obj.h"

#ifdef __cplusplus
extern "C" {
#endif

struct twz_range {
	void *addr; /* in an open, writable object of the transaction's store */
	size_t len; /* bytes */
};

/* Begin (or nest in this thread's open transaction of S). Errors: TWZ_E_NOSPC, TWZ_E_NOMEM. */
TWZ_API TWZ_MUST_CHECK int twz_tx_begin(struct twz_store *s, struct twz_tx **tx);

/*
 * Save the old bytes of a range before it is changed; ranges already saved cost nothing. Errors:
 * TWZ_E_NOSPC, TWZ_E_BOUNDS, TWZ_E_IO: the range must not be changed.
 */
TWZ_API TWZ_MUST_CHECK int twz_tx_record(struct twz_tx *tx, void *addr, size_t len);
TWZ_API TWZ_MUST_CHECK int twz_tx_record_many(struct twz_tx *tx, const struct twz_range *ranges,
					      size_t cnt);

/*
 * A range whose old content does not matter on abort but whose new content must be durable at
 * commit (freshly allocated memory).
 */
TWZ_API TWZ_MUST_CHECK int twz_tx_fresh(struct twz_tx *tx, void *addr, size_t len);

/* Durable on 0. On TWZ_E_IO the outcome is unknown until the store is reopened (D17). */
TWZ_API TWZ_MUST_CHECK int twz_tx_commit(struct twz_tx *tx);

/* Restore everything this level recorded. Always ends the level. */
TWZ_API int twz_tx_abort(struct twz_tx *tx);

/* This thread's open transaction of S, or NULL; its nesting depth (0 = none). */
TWZ_API struct twz_tx *twz_tx_current(struct twz_store *s);
TWZ_API int twz_tx_depth(struct twz_store *s);

/*
 * The paper's macros (3.5), a thin layer over the functions: no setjmp, nothing allocated, no
 * return.
 *
 *	int err;
 *
 *	TXSTART(store, tx, err)
 *		TXRECORD(tx, &acct->balance);	// a failure ends the block and aborts; ERR says why
 *		acct->balance -= 10;
 *		if (acct->balance < 0)
 *			TXABORT(tx);		// ends the block; ERR becomes TWZ_E_STATE
 *	TXEND(tx, err);				// commits when ERR is still 0; ERR says how it ended
 *
 * TX is a new name, declared by TXSTART, for the block between the two: functions called from it
 * take it as a parameter and use twz_tx_record(). When the transaction cannot begin the block is
 * skipped and ERR says why. "Ends the block" is a jump to TXEND, out of loops too. Do not leave
 * the block by return, break or goto: the transaction would stay open. Blocks nest (give the
 * inner TX another name).
 */
#define TXSTART(store, tx, err)                                                                    \
	{                                                                                          \
		__label__ tx##_end_;                                                               \
		int *const tx##_err_ = &(err);                                                     \
		struct twz_tx *tx = 0;                                                             \
		*tx##_err_ = twz_tx_begin((store), &tx);                                           \
		if (*tx##_err_ == 0) {

#define TXEND(tx, err)                                                                             \
	}                                                                                          \
	goto tx##_end_;                                                                            \
	tx##_end_ : (err) = twz__txend(tx, *tx##_err_);                                            \
	}                                                                                          \
	(void)0

/* Save *PTR; save LEN bytes at ADDR. */
#define TXRECORD(tx, ptr) TXRECORD_LEN(tx, ptr, sizeof(*(ptr)))
#define TXRECORD_LEN(tx, addr, len)                                                                \
	do {                                                                                       \
		*tx##_err_ = twz_tx_record((tx), (addr), (len));                                   \
		if (*tx##_err_ != 0)                                                               \
			goto tx##_end_;                                                            \
	} while (0)

#define TXABORT(tx)                                                                                \
	do {                                                                                       \
		*tx##_err_ = TWZ_E_STATE;                                                          \
		goto tx##_end_;                                                                    \
	} while (0)

/* What TXEND does: commit when ERR is 0, else abort and keep ERR. */
static inline int twz__txend(struct twz_tx *tx, int err)
{
	if (!tx)
		return err;
	if (err == 0)
		return twz_tx_commit(tx);
	(void)twz_tx_abort(tx);
	return err;
}

#ifdef __cplusplus
}
#endif
#endif
