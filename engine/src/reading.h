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
/* --- readers.c --- */
uint64_t twzdb__now_ms(void); /* of the monotonic clock */
/* Now and then, by a writer. */
void twzdb__past_note(struct twzdb *db);
void twzdb__lag_look(struct twzdb *db, const struct sh_reader *own, uint64_t min);
/* --- watch.c: readers that store nothing in the shared segment --- */
#define TWZDB_WATCH_SLOTS 256
int twzdb__watch_open(struct twzdb *db);
int twzdb__watch_ready(struct twzdb *db); /* has somebody recovered it? */
void *twzdb__watch_units(struct twzdb *db, twz_oid id);
void twzdb__watch_close(struct twzdb *db);
int twzdb__watch_claim(struct twzdb *db, struct sh_reader **slot);
uint32_t twzdb__watch_active(const struct twzdb *db);
/* Pin the newest commit; the slot has none. */
int twzdb__watch_set(const struct twzdb *db, struct sh_reader *slot, uint64_t *ts);
/* The same instead of the one it has, which stays if that fails. */
uint64_t twzdb__watch_renew(const struct twzdb *db, struct sh_reader *slot);
void twzdb__watch_clear(const struct twzdb *db, struct sh_reader *slot);
/* The same without announcing it: of this moment only. */
uint64_t twzdb__watch_least(struct twzdb *db, uint64_t min);
/* The least of MIN and what is pinned. */
uint64_t twzdb__watch_min(struct twzdb *db, uint64_t min);

/*
 * Register the newest commit: announce it, then look whether it still is. The store may wait in
 * this processor's buffer while TS is read; a writer's membarrier flushes it before the writer
 * believes what it sees in the slot (snap.c has the proof).
 */
static inline uint64_t twzdb__snap_set(const struct twzdb *db, struct sh_reader *slot)
{
	const struct twzdb__shared *sh = db->sh;
	uint64_t ts = ld64_acq(&sh->ts), again;

	for (;; ts = again) {
		if (likely(db->plain))
			st64_rel(&slot->snap, ts);
		else if (db->watch)
			return twzdb__watch_renew(db, slot);
		else
			__atomic_exchange_n(&slot->snap, ts, __ATOMIC_SEQ_CST);
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
		again = __atomic_load_n(&sh->ts, __ATOMIC_SEQ_CST);
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

/* --- cursor.c --- */
void twzdb__cursor_keep(struct twzdb_cursor *c);

/* --- handle.c: transaction handles, which are never given back to the C library --- */
/* A handle that is TWZDB__TXN_MAGIC, with a reader slot that is cleared. */
int twzdb__txn_new(struct twzdb *db, struct twzdb_txn **out);
void twzdb__txn_end(struct twzdb_txn *tx); /* ends the snapshot too */
/* TX is none, has ended, is reset, or came through a fork: the error, its message begun with WHAT. */
int twzdb__txn_refuse(const struct twzdb_txn *tx, const char *what);
int twzdb__txn_denied(const struct twzdb_txn *tx, const char *what);
static inline int twzdb__txn_enter(const struct twzdb_txn *tx, const char *what)
{
	if (likely(tx && ld64(&tx->magic) == TWZDB__TXN_MAGIC))
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
/* A reset transaction may be renewed, and ended. */
static inline bool twzdb__is_reset(const struct twzdb_txn *tx)
{
	return tx && ld64(&tx->magic) == TWZDB__TXN_RESET;
}
/* The snapshot goes, the cursors stay: they copy the keys they point to. */
static inline void twzdb__cursors_keep(struct twzdb_txn *tx)
{
	for (struct twzdb_cursor *c = tx->cursors; c && tx->pointing; c = c->next)
		if (c->at)
			twzdb__cursor_keep(c);
	tx->pointing = false;
}
void twzdb__handles_open(struct twzdb *db);
uint32_t twzdb__handles_active(struct twzdb *db);
void twzdb__handles_close(struct twzdb *db);
void twzdb__handles_forked(void); /* in a forked child */

/* --- point.c --- */
/* twzdb_get(): of a row fast.h does not find, in the table last used; whatever its arguments are. */
int twzdb__get_usual(struct twzdb_txn *tx, const void *key, size_t len, struct twzdb_slice *value);
int twzdb__get_any(struct twzdb_txn *tx, uint64_t h, uint64_t tag, const void *key, size_t len,
		   struct twzdb_slice *value);

/* --- catalog.c --- */
static inline const struct rec_pm *anchor_rec(const struct table_pm *t)
{
	return (const struct rec_pm *)(const void *)((const uint8_t *)t - TWZDB_ANCHOR_OFF);
}
/*
 * A snapshot was taken: does the table used last exist in it? It did in an older one, so it does
 * unless it was dropped since; its block may hold another table's anchor by now.
 */
static inline void twzdb__use_renew(struct twzdb_txn *tx)
{
	const struct table_pm *t = tx->anchor;

	if (likely(tx->use.h && t && rec_is_live(anchor_rec(t)) && ld64(&t->id) == tx->use_id))
		tx->quick = tx->writer || unlikely(tx->view) ? 0 : tx->use_quick;
	else
		tx->use.h = tx->quick = tx->use_quick = 0;
}

/* --- scan.c: what it knows of the cursor's leaf --- */
void twzdb__scan_start(struct twzdb_cursor *c); /* is void: the cursor is elsewhere */
/* stays: the cursor has gone CNT rows on */
void twzdb__scan_step(struct twzdb_cursor *c, unsigned cnt);
/* --- cursor.c: twzdb_cursor_get(), whatever it is asked --- */
int twzdb__cursor_get(struct twzdb_cursor *c, int op, struct twzdb_slice *key,
		      struct twzdb_slice *value);

/* --- space.c, for readers --- */
/*
 * Does a block begin OFF bytes behind the first one? A multiple of the length, times its inverse,
 * has (nearly) no fraction: 32 bits are enough to tell for 16 bits of OFF and 15 of length.
 */
static inline bool grid_has(const struct grid *g, uint32_t off)
{
	uint32_t inverse = __atomic_load_n(&g->inverse, __ATOMIC_RELAXED);

	return off < __atomic_load_n(&g->end, __ATOMIC_RELAXED) && off * inverse < inverse;
}
/* Bytes of key and value. As above: what a thread is reading of a unit another may be striking out (accel.c). */
static inline uint64_t grid_room(const struct grid *g)
{
	return __atomic_load_n(&g->room, __ATOMIC_RELAXED);
}
/* Lengths, kind, LIVE and table of a record as one word. */
static inline uint64_t twzdb__rec_what(const struct rec_pm *r)
{
	return ld64_acq((const uint64_t *)(const void *)&r->vlf);
}
_Static_assert(offsetof(struct rec_pm, vlf) % 8 == 0 &&
		       offsetof(struct rec_pm, klt) == offsetof(struct rec_pm, vlf) + 4,
	       "read as one word");
/* The same of a row whose lengths are 0; of no row, if those of the table are not in the accelerator. */
static inline uint64_t twzdb__rec_want(uint32_t tag)
{
	return tag == TWZDB_TAG_NONE ? UINT64_MAX
				     : (uint64_t)TWZDB_KLT_TABLE(tag) << 32 | TWZDB_VLF_LIVE;
}
/* Of each class, for twzdb__is_row(); end 0: ask twzdb__is_rec(). */
extern struct grid twzdb__grids[TWZDB_CLASSES] __attribute__((visibility("hidden")));
/* twzdb__is_rec() for rows that are not large, at bytes that are mapped. */
static inline bool twzdb__is_row(struct twzdb *db, uint64_t p)
{
	uint64_t off = (p & TWZ_PPTR_OFF_MASK) - TWZ_DATA_OFF;
	const uint32_t *units = db->map[p >> TWZ_PPTR_OFF_BITS].units;
	uint32_t e;
	const struct grid *g;

	if (unlikely(!units)) /* the root object's bytes */
		return false;
	e = __atomic_load_n(&units[off >> TWZDB_UNIT_SHIFT], __ATOMIC_RELAXED);
	g = &twzdb__grids[TWZDB_UT_CLASS(e) % TWZDB_CLASSES];
	if (unlikely(!(e & TWZDB_UT_KNOWN) || !g->end))
		return twzdb__is_rec(db, p);
	return grid_has(g,
			(uint32_t)(off & (TWZDB_UNIT_LEN - 1)) - (uint32_t)sizeof(struct unit_pm));
}

/* The node block at P, if the unit table knows it for one; else NULL. */
static inline struct node_pm *twzdb__node_at(struct twzdb *db, uint64_t p)
{
	uint64_t off = (p & TWZ_PPTR_OFF_MASK) - TWZ_DATA_OFF;
	struct node_pm *n = twzdb__at(db, p, TWZDB_NODE_LEN);
	const uint32_t *units;
	uint32_t e;

	if (unlikely(!n))
		return NULL;
	units = db->map[p >> TWZ_PPTR_OFF_BITS].units;
	if (unlikely(!units || p & (TWZDB_NODE_LEN - 1) || !(off & (TWZDB_UNIT_LEN - 1))))
		return NULL;
	e = __atomic_load_n(&units[off >> TWZDB_UNIT_SHIFT], __ATOMIC_RELAXED);
	return likely((e & (TWZDB_UT_KNOWN | 0x7f0000)) == (TWZDB_UT_KNOWN | TWZDB_CLS_NODE << 16))
		       ? n
		       : NULL;
}

/* --- accel.c: the accelerator. Holds no truth; everything works without it --- */
void twzdb__acc_open(struct twzdb *db, bool wanted); /* or does without */
void twzdb__acc_close(struct twzdb *db);
/* A row was read, at P: the next time it shall be found by fast.h. */
void twzdb__acc_look(struct twzdb *db, uint64_t p);
uint64_t twzdb__acc_hash(uint32_t table_tag, struct bkey k);
/*
 * The newest version of K's row (it may be newer than the caller's snapshot, or deleted), checked,
 * or 0: ask the tree. The caller has a registered snapshot, and no changes of its own.
 */
uint64_t twzdb__acc_find(struct twzdb *db, uint32_t table_tag, struct bkey k, uint64_t hash,
			 const struct rec_pm **rec);
/* P is the newest version of a row with this hash: after publication, or found in the tree. */
void twzdb__acc_put(struct twzdb *db, uint64_t hash, uint64_t p);
/*
 * Forget what lies in units that have become part of a run, when nobody can enter more of it: then nobody will look
 * there. False: somebody is at work at the table; later.
 */
bool twzdb__acc_strike_runs(struct twzdb *db);
/* P has taken the place of OLD. */
void twzdb__acc_replace(struct twzdb *db, uint64_t hash, uint64_t old, uint64_t p);

#endif
