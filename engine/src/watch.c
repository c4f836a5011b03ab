/* SPDX-License-Identifier: MIT
 * watch.c -- transactions of a reader that may not write the shared segment
 *
 * Where nobody may see what it stores, it pins its snapshot by a lock (twz_pin), whose order with a writer's scan is this:
 *
 *	reader				scan (twzdb__snap_min)
 *	pin TS				store PROBE: no older snapshot may be taken from now on
 *	look at PROBE			ask for pins below it
 *
 * The kernel orders the two calls. If the scan's comes second, it sees the pin, and so does each later one. If it comes first, the reader's
 * look comes after the store: it sees PROBE, and if that is above TS it pins a newer snapshot instead.
 *
 * Its reader slots are its own memory, so the rest of the engine need not know.
 */
#include "internal.h"

struct twzdb__watch {
	struct sh_reader slot[TWZDB_WATCH_SLOTS];
	uint32_t no_units[TWZDB_UNITS_PER_OBJ];
};

static uint32_t group(const struct twzdb *db)
{
	return (uint32_t)(db->id[0] ^ db->id[0] >> 32);
}

int twzdb__watch_open(struct twzdb *db)
{
	db->watch = calloc(1, sizeof(*db->watch));
	if (!db->watch)
		return twzdb__err(-ENOMEM, "open: no memory");
	for (unsigned i = 0; i < TWZDB_WATCH_SLOTS; i++)
		db->watch->slot[i].snap = TWZDB_NO_SNAP;
	return 0;
}

int twzdb__watch_ready(struct twzdb *db)
{
	if (ld64(&db->sh->magic) == TWZDB_SHARED_MAGIC && ld64_acq(&db->sh->ready))
		return 0;
	return twzdb__err(
		TWZ_E_BUSY,
		"%s: database '%s' is just being recovered, and this process may not write it: try again",
		twz_store_path(db->s), db->name);
}

/* A table nobody has made yet knows of no unit: so does this one. */
void *twzdb__watch_units(struct twzdb *db, twz_oid id)
{
	void *units;

	if (!twz_shared_get(db->s, id, TWZDB_UNITS_PER_OBJ * sizeof(uint32_t), NULL, NULL, &units,
			    NULL))
		return units;
	return db->watch->no_units;
}

void twzdb__watch_close(struct twzdb *db)
{
	for (unsigned i = 0; db->watch && i < TWZDB_WATCH_SLOTS; i++)
		twzdb__watch_clear(db, &db->watch->slot[i]);
	free(db->watch);
	db->watch = NULL;
}

int twzdb__watch_claim(struct twzdb *db, struct sh_reader **slot)
{
	for (unsigned i = 0; i < TWZDB_WATCH_SLOTS; i++) {
		struct sh_reader *r = &db->watch->slot[i];

		if (r->claim)
			continue;
		r->claim = 1;
		*slot = r;
		return 0;
	}
	return twzdb__err(TWZDB_E_FULL, "database '%s': %d transactions are open already", db->name,
			  TWZDB_WATCH_SLOTS);
}

uint32_t twzdb__watch_active(const struct twzdb *db)
{
	uint32_t cnt = 0;

	for (unsigned i = 0; i < TWZDB_WATCH_SLOTS; i++)
		cnt += db->watch->slot[i].busy != 0;
	return cnt;
}

void twzdb__watch_clear(const struct twzdb *db, struct sh_reader *slot)
{
	/* PLAIN, meaningless here: the slot has a pin, at INC. */
	if (slot->plain)
		twz_unpin(db->s, group(db), slot->inc);
	slot->plain = 0;
}

int twzdb__watch_set(const struct twzdb *db, struct sh_reader *slot, uint64_t *ts)
{
	int err;

	for (;;) {
		*ts = ld64_acq(&db->sh->ts);
		err = twz_pin(db->s, group(db), *ts);
		if (err)
			return twzdb__from_twz(err, "snapshot");
		slot->plain = 1;
		slot->inc = *ts;
		st64(&slot->snap, *ts);
		if (__atomic_load_n(&db->sh->probe, __ATOMIC_SEQ_CST) <= *ts)
			return 0;
		twzdb__watch_clear(db, slot);
	}
}

uint64_t twzdb__watch_renew(const struct twzdb *db, struct sh_reader *slot)
{
	struct sh_reader old = *slot;
	uint64_t ts;

	if (twzdb__watch_set(db, slot, &ts)) {
		*slot = old;
		return old.inc;
	}
	twzdb__watch_clear(db, &old);
	return ts;
}

uint64_t twzdb__watch_least(struct twzdb *db, uint64_t min)
{
	return twz_pin_min(db->s, group(db), min);
}

uint64_t twzdb__watch_min(struct twzdb *db, uint64_t min)
{
	/* Guarded by the writer lock. Never back: an older answer may have been acted on. */
	if (min > ld64(&db->sh->probe))
		__atomic_store_n(&db->sh->probe, min, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return twz_pin_min(db->s, group(db), min);
}
