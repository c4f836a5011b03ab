/* SPDX-License-Identifier: MIT
 * alone.c -- an opening asks all others to keep out
 *
 * One word of the shared segment names who asks. Only who has the writer lock stores it, so there is one at a time;
 * anybody clears what a dead process left, by a compare-and-swap with what it saw.
 */
#include "internal.h"

static uint64_t self(const struct twzdb *db)
{
	return (uint64_t)(db->proc + 1) << 32 | (uint32_t)db->serial;
}

int twzdb_keep_out(struct twzdb_txn *tx)
{
	int err = twzdb__txn_enter(tx, "keep_out");

	if (err)
		return err;
	if (!tx->writer)
		return twzdb__err(TWZDB_E_STATE, "keep_out: is no writer");
	st64(&tx->db->sh->alone_inc, tx->db->inc);
	st64_rel(&tx->db->sh->alone, self(tx->db));
	return 0;
}

void twzdb_let_in(struct twzdb *db)
{
	uint64_t mine;

	if (!db || db->watch || twzdb__enter(db))
		return;
	mine = self(db);
	if (likely(ld64(&db->sh->alone) != mine))
		return; /* a locked instruction would wait for the last commit's fence */
	__atomic_compare_exchange_n(&db->sh->alone, &mine, 0, false, __ATOMIC_RELEASE,
				    __ATOMIC_RELAXED);
}

bool twzdb_kept_out(struct twzdb *db)
{
	uint64_t who = db ? ld64_acq(&db->sh->alone) : 0, inc;

	if (likely(!who) || who == self(db))
		return false;
	inc = ld64(&db->sh->alone_inc);
	if ((who >> 32) - 1 == db->proc && inc == db->inc)
		return true;
	if (twz_proc_alive(db->s, (uint32_t)(who >> 32) - 1, inc))
		return true;
	if (!db->watch)
		__atomic_compare_exchange_n(&db->sh->alone, &who, 0, false, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED);
	return false;
}
