/* SPDX-License-Identifier: MIT
 * snap.c -- reader slots: which snapshots are in use, and the oldest of them
 *
 * A reader announces its snapshot, then looks whether it is still the newest commit; if not,
 * again. The writer publishes a commit (full fence), and only a later scan decides which blocks
 * may be reused. So either the scan sees the reader, or the reader saw the commit: no version is
 * reused under a snapshot that needs it.
 *
 * A process keeps the slots it claimed, so a transaction costs one exchange on a line of its own.
 */
#include "internal.h"

#define SLOTS_KEPT 64 /* unused ones; what a process claimed beyond these it gives back */

static struct sh_reader *slot_at(struct twzdb *db, uint32_t slot)
{
	return &db->sh->reader[slot];
}

static bool slot_dead(struct twzdb *db, const struct sh_reader *r, uint64_t claim)
{
	uint32_t proc = (uint32_t)claim - 1;
	uint64_t inc = ld64_acq(&r->inc);

	if (!claim || (proc == db->proc && inc == db->inc))
		return false;
	return !twz_proc_alive(db->s, proc, inc);
}

/*
 * Slots are claimed, and those of dead processes freed, under the robust mutex of the writer
 * lock. Claim is stored last on the way in and cleared last on the way out, so whoever dies
 * between two stores leaves a free slot or a dead process's.
 */
static void slot_reap(struct twzdb *db, struct sh_reader *r)
{
	if (twzdb__guard(&db->sh->lock))
		return;
	/* still: another may have freed it, and a third claimed it */
	if (slot_dead(db, r, ld64_acq(&r->claim))) {
		st64_rel(&r->snap, TWZDB_NO_SNAP);
		st64_rel(&r->claim, 0);
	}
	pthread_mutex_unlock(&db->sh->lock.mutex);
}

/* Guarded. */
static bool slot_try(struct twzdb *db, uint32_t i)
{
	struct sh_reader *r = slot_at(db, i);

	if (ld64_acq(&r->claim))
		return false;
	st64(&r->snap, TWZDB_NO_SNAP);
	st64_rel(&r->inc, db->inc);
	if (ld64(&db->sh->reader_hi) <= i)
		__atomic_store_n(&db->sh->reader_hi, i + 1, __ATOMIC_SEQ_CST);
	st64_rel(&r->claim, (uint64_t)db->proc + 1);
	return true;
}

static bool slot_find(struct twzdb *db, uint32_t *slot)
{
	for (*slot = 0; *slot < TWZDB_READERS; ++*slot)
		if (slot_try(db, *slot))
			return true;
	return false;
}

static int claim_new(struct twzdb *db, uint32_t *slot)
{
	for (int pass = 0; pass < 2; pass++) {
		int err = twzdb__guard(&db->sh->lock);
		bool ok = !err && slot_find(db, slot);

		if (!err)
			pthread_mutex_unlock(&db->sh->lock.mutex);
		if (err || ok)
			return err;
		for (uint32_t i = 0; i < TWZDB_READERS; i++)
			if (slot_dead(db, slot_at(db, i), ld64_acq(&slot_at(db, i)->claim)))
				slot_reap(db, slot_at(db, i));
	}
	return twzdb__err(TWZDB_E_FULL, "database '%s': %d transactions are open already", db->name,
			  TWZDB_READERS);
}

int twzdb__snap_claim(struct twzdb *db, uint32_t *slot)
{
	int err = 0;

	pthread_mutex_lock(&db->mutex);
	if (db->slot_cnt)
		*slot = db->slots[--db->slot_cnt];
	else
		err = claim_new(db, slot);
	if (!err)
		db->txns++;
	pthread_mutex_unlock(&db->mutex);
	return err;
}

void twzdb__snap_release(struct twzdb *db, uint32_t slot)
{
	twzdb__snap_clear(db, slot);
	pthread_mutex_lock(&db->mutex);
	if (db->slot_cnt < SLOTS_KEPT)
		db->slots[db->slot_cnt++] = (uint16_t)slot;
	else
		st64_rel(&slot_at(db, slot)->claim, 0);
	db->txns--;
	pthread_mutex_unlock(&db->mutex);
}

uint64_t twzdb__snap_set(struct twzdb *db, uint32_t slot)
{
	struct sh_reader *r = slot_at(db, slot);
	uint64_t ts = ld64_acq(&db->sh->ts), again;

	for (;;) {
		__atomic_exchange_n(&r->snap, ts, __ATOMIC_SEQ_CST);
		again = __atomic_load_n(&db->sh->ts, __ATOMIC_SEQ_CST);
		if (again == ts)
			return ts;
		ts = again;
	}
}

/* The writer, on its own commit: nobody else publishes, and its old snapshot was no newer. */
void twzdb__snap_set_to(struct twzdb *db, uint32_t slot, uint64_t ts)
{
	__atomic_store_n(&slot_at(db, slot)->snap, ts, __ATOMIC_SEQ_CST);
}

void twzdb__snap_clear(struct twzdb *db, uint32_t slot)
{
	st64_rel(&slot_at(db, slot)->snap, TWZDB_NO_SNAP);
}

void twzdb__snap_close(struct twzdb *db)
{
	while (db->slot_cnt) {
		struct sh_reader *r = slot_at(db, db->slots[--db->slot_cnt]);

		st64_rel(&r->snap, TWZDB_NO_SNAP);
		st64_rel(&r->claim, 0);
	}
}

uint64_t twzdb__snap_min(struct twzdb *db)
{
	uint64_t min = ld64_acq(&db->sh->ts);
	/*
	 * An atomic read-modify-write is the full fence that orders this scan after every
	 * earlier publication.
	 */
	uint64_t hi = __atomic_fetch_add(&db->sh->reader_hi, 0, __ATOMIC_SEQ_CST);

	for (uint32_t i = 0; i < hi && i < TWZDB_READERS; i++) {
		struct sh_reader *r = slot_at(db, i);
		uint64_t snap = __atomic_load_n(&r->snap, __ATOMIC_SEQ_CST), claim;

		if (snap >= min)
			continue;
		claim = ld64_acq(&r->claim);
		if (slot_dead(
			    db, r,
			    claim)) /* asked only when it would hold something back: a system call */
			slot_reap(db, r);
		else
			min = snap;
	}
	return min;
}

void twzdb__snap_info(struct twzdb *db, uint32_t *cnt, uint64_t *oldest)
{
	uint64_t hi = ld64(&db->sh->reader_hi);

	*cnt = 0;
	*oldest = ld64_acq(&db->sh->ts);
	for (uint32_t i = 0; i < hi && i < TWZDB_READERS; i++) {
		struct sh_reader *r = slot_at(db, i);
		uint64_t snap = ld64_acq(&r->snap);

		if (snap == TWZDB_NO_SNAP || slot_dead(db, r, ld64_acq(&r->claim)))
			continue;
		++*cnt;
		*oldest = snap < *oldest ? snap : *oldest;
	}
}
