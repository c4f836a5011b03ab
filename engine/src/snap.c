/* SPDX-License-Identifier: MIT
 * snap.c -- reader slots: which snapshots are in use, and the oldest of them
 *
 * A reader announces its snapshot, then looks whether it is still the newest commit; if not,
 * again (twzdb__snap_set). The writer publishes a commit, and only a later scan decides which
 * blocks may be reused. Either the scan sees the reader, or the reader saw the commit: no version
 * is reused under a snapshot that needs it.
 *
 * That needs an order between the reader's store and its load. An exchange would give it, at the
 * price of the overlap between one read transaction and the next. So a process that answers
 * membarrier() stores plainly, and the writer's barrier, once for many commits, orders its
 * readers. Let the barrier B reach a reader's processor
 *   - before the store: then its load comes after B too, and sees all that was published before
 *     the scan began: its snapshot is not below what the scan returns;
 *   - after the store: then the scan, which comes after B, sees it, or what replaced it.
 * A reader that does not run has been through a context switch, which is as good.
 *
 * Every slot says how its process stores (plain). A writer that cannot call membarrier() believes
 * a scan only if no slot but its own is plain, and else goes on with the last minimum anybody
 * found: space is reused later, never too early. A plain claim is itself fenced, so a scan that
 * does not see it precedes all its snapshots.
 */
#include "internal.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SCAN_SHARE                                                                                 \
	50 /* scans take at most 1/SCAN_SHARE of a writer's time, unless space runs out */

static bool barrier_ready(void)
{
#if defined(__SANITIZE_THREAD__) /* it knows nothing of membarrier, but all about exchanges */
	return false;
#else
	long can = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);

	return can > 0 && can & MEMBARRIER_CMD_GLOBAL_EXPEDITED &&
	       !syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0);
#endif
}

bool twzdb__barrier(void)
{
	return !syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0);
}

void twzdb__snap_open(struct twzdb *db)
{
	db->plain = !db->watch && barrier_ready();
}

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
	st64(&r->plain, db->plain);
	st64(&r->opening, db->serial);
	st64(&r->busy, 0);
	st64(&r->writing, 0);
	st64_rel(&r->inc, db->inc);
	if (ld64(&db->sh->reader_hi) <= i)
		__atomic_store_n(&db->sh->reader_hi, i + 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&r->claim, (uint64_t)db->proc + 1, __ATOMIC_SEQ_CST);
	return true;
}

static bool slot_find(struct twzdb *db, struct sh_reader **slot)
{
	for (uint32_t i = 0; i < TWZDB_READERS; i++) {
		if (slot_try(db, i)) {
			*slot = slot_at(db, i);
			return true;
		}
	}
	return false;
}

int twzdb__snap_claim(struct twzdb *db, struct sh_reader **slot)
{
	if (db->watch)
		return twzdb__watch_claim(db, slot);
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

void twzdb__snap_release(struct sh_reader *slot)
{
	twzdb__snap_clear(slot);
	st64_rel(&slot->claim, 0);
}

void twzdb__snap_set_to(struct sh_reader *slot, uint64_t ts)
{
	__atomic_store_n(&slot->snap, ts, __ATOMIC_SEQ_CST);
}

/* Is there a slot, besides OWN, whose store may still be on its way? */
static bool any_plain(struct twzdb *db, uint64_t hi, const struct sh_reader *own)
{
	for (uint32_t i = 0; i < hi; i++) {
		const struct sh_reader *r = slot_at(db, i);

		if (r != own && ld64_acq(&r->claim) && ld64(&r->plain))
			return true;
	}
	return false;
}

static uint64_t scan(struct twzdb *db, uint64_t hi, uint64_t min)
{
	for (uint32_t i = 0; i < hi; i++) {
		struct sh_reader *r = slot_at(db, i);
		uint64_t snap = __atomic_load_n(&r->snap, __ATOMIC_SEQ_CST);

		if (snap >= min)
			continue;
		/* Asked only when it would hold something back: a system call. */
		if (slot_dead(db, r, ld64_acq(&r->claim)))
			slot_reap(db, r);
		else
			min = snap;
	}
	return min;
}

uint64_t twzdb__snap_min(struct twzdb *db, const struct sh_reader *own)
{
	struct twzdb__shared *sh = db->sh;
	uint64_t min = ld64_acq(&sh->ts);
	/*
	 * An atomic read-modify-write is the full fence that orders this scan after every
	 * earlier publication.
	 */
	uint64_t hi = __atomic_fetch_add(&sh->reader_hi, 0, __ATOMIC_SEQ_CST);

	hi = hi > TWZDB_READERS ? TWZDB_READERS : hi;
	if (any_plain(db, hi, own) && !twzdb__barrier())
		return ld64(&sh->min);
	min = twzdb__watch_min(db, scan(db, hi, min));
	if (min > ld64(&sh->min))
		st64(&sh->min, min);
	twzdb__past_note(db);
	if (unlikely(__atomic_load_n(&db->lag.fn, __ATOMIC_ACQUIRE) != NULL))
		twzdb__lag_look(db, own, min);
	return min;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

/*
 * A scan costs 0.2 us when nobody runs beside the writer, 13 us when its barrier must interrupt
 * a busy processor. Who pays more waits longer for the next.
 */
uint64_t twzdb__snap_min_due(struct twzdb *db, const struct sh_reader *own)
{
	uint64_t now = now_ns(), min, end;

	if (now < ld64(&db->sh->min_due))
		return ld64(&db->sh->min);
	min = twzdb__snap_min(db, own);
	end = now_ns();
	st64(&db->sh->min_due, end + SCAN_SHARE * (end - now));
	return min;
}

bool twzdb__min_now(struct twzdb_txn *tx)
{
	uint64_t before = tx->min_known ? tx->min : 0;

	tx->min = twzdb__snap_min(tx->db, tx->rd);
	tx->min_known = true;
	return tx->min > before;
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
