/* SPDX-License-Identifier: MIT
 * reading.h -- what snapshots, transaction handles and the accelerator offer the engine (included by internal.h only)
 */
#ifndef TWZDB_READING_H
#define TWZDB_READING_H

/* --- snap.c --- */
void twzdb__snap_open(struct twzdb *db); /* how will this process register? */
int twzdb__snap_claim(struct twzdb *db, struct sh_reader **slot);
void twzdb__snap_release(struct sh_reader *slot);
/* The writer, on its own commit: nobody else publishes, and its old snapshot was no newer. */
void twzdb__snap_set_to(struct sh_reader *slot, uint64_t ts);
static inline void twzdb__snap_clear(struct sh_reader *slot)
{
	st64_rel(&slot->snap, TWZDB_NO_SNAP);
}
/*
 * Register the newest commit: announce it, then look whether it still is. The store may wait in
 * this processor's buffer while TS is read; a writer's membarrier flushes it before the writer
 * believes what it sees in the slot (snap.c has the proof).
 */
static inline uint64_t twzdb__snap_set(struct twzdb *db, struct sh_reader *slot)
{
	uint64_t ts = ld64_acq(&db->sh->ts), again;

	for (;; ts = again) {
		if (likely(db->plain))
			st64_rel(&slot->snap, ts);
		else
			__atomic_exchange_n(&slot->snap, ts, __ATOMIC_SEQ_CST);
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
		again = __atomic_load_n(&db->sh->ts, __ATOMIC_SEQ_CST);
		if (likely(again == ts))
			return ts;
	}
}
/* Has every running thread of a process with db->plain seen what was stored before? */
bool twzdb__barrier(void);
/* Oldest snapshot any reader but OWN has or may still take. Caller: the writer. */
uint64_t twzdb__snap_min(struct twzdb *db, const struct sh_reader *own);
/* The same, or what the last scan said if another would cost more than it can bring. */
uint64_t twzdb__snap_min_due(struct twzdb *db, const struct sh_reader *own);
void twzdb__snap_info(struct twzdb *db, uint32_t *cnt, uint64_t *oldest);
/* No snapshot is older; asked for at most once a transaction. */
static inline uint64_t twzdb__min(struct twzdb_txn *tx)
{
	if (!tx->min_known) {
		tx->min = twzdb__snap_min_due(tx->db, tx->rd);
		tx->min_known = true;
	}
	return tx->min;
}
/* Is everything that died at commit TS out of reach of all snapshots? Most answers cost a load. */
static inline bool twzdb__is_past(struct twzdb_txn *tx, uint64_t ts)
{
	return ts <= ld64(&tx->db->sh->min) || ts <= twzdb__min(tx);
}
/* Before space is taken that a newer minimum might spare: true if it rose. */
bool twzdb__min_now(struct twzdb_txn *tx);

/* --- handle.c: transaction handles, which are never given back to the C library --- */
/* A handle that is TWZDB__TXN_MAGIC, with a reader slot that is cleared. */
int twzdb__txn_new(struct twzdb *db, struct twzdb_txn **out);
void twzdb__txn_end(struct twzdb_txn *tx); /* ends the snapshot too */
/* TX is none, has ended, is reset, or came through a fork: the error, its message begun with WHAT. */
int twzdb__txn_refuse(const struct twzdb_txn *tx, const char *what);
int twzdb__txn_denied(const struct twzdb_txn *tx, const char *what);
static inline int twzdb__txn_enter(const struct twzdb_txn *tx, const char *what)
{
	if (likely(tx && ld64(&tx->magic) == TWZDB__TXN_MAGIC && !twzdb__enter(tx->db)))
		return 0;
	return twzdb__txn_refuse(tx, what);
}
/* Also: is a writer, if WRITE, and none of its changes failed half-way. */
static inline int twzdb__txn_use(const struct twzdb_txn *tx, const char *what, bool write)
{
	int err = twzdb__txn_enter(tx, what);

	if (likely(!err && !tx->broken && (tx->writer || !write)))
		return 0;
	return err ? err : twzdb__txn_denied(tx, what);
}
void twzdb__handles_open(struct twzdb *db);
uint32_t twzdb__handles_active(struct twzdb *db);
void twzdb__handles_close(struct twzdb *db);
void twzdb__handles_forked(void); /* in a forked child */

/* --- catalog.c --- */
/*
 * A snapshot was taken: does the table used last exist in it? It did in an older one, so it does
 * unless it was dropped since; its block may hold another table's anchor by now.
 */
static inline void twzdb__use_renew(struct twzdb_txn *tx)
{
	const struct table_pm *t = tx->anchor;
	const struct rec_pm *r;

	tx->quick = 0;
	if (unlikely(!t))
		tx->use.h = 0;
	if (!tx->use.h)
		return;
	r = (const struct rec_pm *)(const void *)((const uint8_t *)t - TWZDB_ANCHOR_OFF);
	if (unlikely(!rec_is_live(r) || (ld64(&t->id) ^ tx->db->id[0]) != tx->use.tag))
		tx->use.h = 0;
	else if (likely(!twzdb__kind(tx, tx->use)))
		tx->quick = tx->use.h;
}

/* --- scan.c: the cursor has come to a row, and may go on from there --- */
void twzdb__scan_start(struct twzdb_cursor *c);
/* For a cursor whose transaction is quick in its table; NULL: not this way. */
const struct rec_pm *twzdb__scan_next(struct twzdb_cursor *c); /* from the row it is at */
const struct rec_pm *twzdb__scan_seek(struct twzdb_cursor *c, struct bkey k); /* first >= K */

/* --- space.c, for readers --- */
/* Blocks of a class in units of 16 bytes, for twzdb__is_row(); cnt 0: ask twzdb__is_rec(). */
struct twzdb__grid {
	uint32_t inverse; /* 2^32 / len, rounded up */
	uint16_t len, cnt;
};
extern struct twzdb__grid twzdb__grids[TWZDB_CLASSES] __attribute__((visibility("hidden")));
/* twzdb__is_rec() for rows that are not large, at bytes that are mapped. */
static inline bool twzdb__is_row(struct twzdb *db, uint64_t p)
{
	uint64_t off = (p & TWZ_PPTR_OFF_MASK) - TWZ_DATA_OFF;
	const uint32_t *units = db->map[p >> TWZ_PPTR_OFF_BITS].units;
	uint32_t e, x = ((uint32_t)(off & (TWZDB_UNIT_LEN - 1)) - sizeof(struct unit_pm)) / 16, q;
	struct twzdb__grid g;

	if (unlikely(!units)) /* the root object's bytes */
		return false;
	e = __atomic_load_n(&units[off >> TWZDB_UNIT_SHIFT], __ATOMIC_RELAXED);
	g = twzdb__grids[TWZDB_UT_CLASS(e) % TWZDB_CLASSES];
	if (unlikely(!(e & TWZDB_UT_KNOWN) || !g.cnt))
		return twzdb__is_rec(db, p);
	/* x below 4096, so the product is exact. */
	q = (uint32_t)((uint64_t)x * g.inverse >> 32);
	return q * g.len == x && q < g.cnt;
}

/* --- accel.c: the accelerator. Holds no truth; everything works without it --- */
void twzdb__acc_open(struct twzdb *db); /* or does without */
void twzdb__acc_close(struct twzdb *db);
uint64_t twzdb__acc_hash(uint32_t table_tag, struct bkey k);
/*
 * The newest version of K's row (it may be newer than the caller's snapshot, or deleted), checked,
 * or 0: ask the tree. The caller has a registered snapshot, and no changes of its own.
 */
uint64_t twzdb__acc_find(struct twzdb *db, uint32_t table_tag, struct bkey k, uint64_t hash,
			 const struct rec_pm **rec);
/* P is the newest version of a row with this hash: after publication, or found in the tree. */
void twzdb__acc_put(struct twzdb *db, uint64_t hash, uint64_t p);
/* P has taken the place of OLD. */
void twzdb__acc_replace(struct twzdb *db, uint64_t hash, uint64_t old, uint64_t p);

#endif
