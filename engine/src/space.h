/* SPDX-License-Identifier: MIT
 * space.h -- what unit.c, runs.c and space.c share
 *
 *	unit.c   size classes; what kind of block lies where; hints about free ones
 *	runs.c   whole units: formatted behind the last one, given up by their class, joined, cut anew
 *	space.c  blocks: which one a transaction gets
 */
#ifndef TWZDB_SPACE_H
#define TWZDB_SPACE_H

#include "internal.h"
#include "hold.h"

#define UNIT_ROOM (TWZDB_UNIT_LEN - (uint32_t)sizeof(struct unit_pm) - TWZDB_UNIT_TAIL)

/* --- unit.c --- */

/* twzdb__class_len() and block counts as tables. */
extern uint32_t twzdb__block_lens[TWZDB_CLASSES], twzdb__block_cnts[TWZDB_CLASSES];

/* Global unit numbers count through all data objects. */
static inline uint64_t unit_ptr(uint32_t g)
{
	return twz_pptr_make(TWZDB_NO_DATA + g / TWZDB_UNITS_PER_OBJ,
			     TWZ_DATA_OFF +
				     ((uint64_t)(g % TWZDB_UNITS_PER_OBJ) << TWZDB_UNIT_SHIFT))
		.v;
}

static inline uint32_t unit_no(uint64_t p)
{
	uint64_t off = (p & TWZ_PPTR_OFF_MASK) - TWZ_DATA_OFF;

	return (uint32_t)((p >> TWZ_PPTR_OFF_BITS) - TWZDB_NO_DATA) * TWZDB_UNITS_PER_OBJ +
	       (uint32_t)(off >> TWZDB_UNIT_SHIFT);
}

/* G's word in the unit table, or NULL: its object is not mapped here. */
static inline uint32_t *unit_entry(struct twzdb *db, uint32_t g)
{
	struct twzdb__map *m = &db->map[TWZDB_NO_DATA + g / TWZDB_UNITS_PER_OBJ];

	return m->units ? &m->units[g % TWZDB_UNITS_PER_OBJ] : NULL;
}

/* Does the table's word E say that nothing in the unit is live or reserved? */
static inline bool entry_empty(uint32_t e)
{
	return TWZDB_UT_FREE(e) == twzdb__block_cnts[TWZDB_UT_CLASS(e)];
}

/* Is the unit P lies in, a known one, being emptied? */
static inline bool unit_leaves(struct twzdb *db, uint64_t p)
{
	const uint32_t *e = unit_entry(db, unit_no(p));

	return e && *e & TWZDB_UT_LEAVES;
}

#define TWZDB_FINE_MAX 512
/* twzdb__class_of() up to that many bytes. */
static inline unsigned class_fine(uint64_t len)
{
	return len <= 48 ? 1 : (unsigned)((len - 32 + 15) / 16);
}

static inline uint32_t class_first(unsigned cls)
{
	return cls == TWZDB_CLS_NODE ? TWZDB_NODE_LEN : (uint32_t)sizeof(struct unit_pm);
}

/* Formatted ahead, and its turn has not come: search_fresh() counts on all its blocks being untouched. */
static inline bool class_ahead(const struct sh_class *c, uint32_t g)
{
	return g - c->fresh < c->fresh_cnt;
}

void twzdb__unit_make(struct unit_pm *u, unsigned cls, uint32_t run);
/* Class of the unit P lies in, if the unit table knows it; else -1. */
int twzdb__known_class(struct twzdb *db, uint64_t p);
/*
 * Enter unit or run G with header U in the table. FRESH: nothing was ever in it, so its blocks, which are not in any
 * cache yet, need not be asked.
 */
void twzdb__unit_learn(struct twzdb *db, uint32_t g, const struct unit_pm *u, bool fresh);
/* Strike the CNT units from G on from the table. */
void twzdb__units_forget(struct twzdb *db, uint32_t g, uint32_t cnt);
/* Number of the next unit in use after G, wrapping; false: there is none. */
bool twzdb__unit_step(struct twzdb *db, uint32_t *g);
/* Classify a few units nobody has looked at since the segment was made (restart, takeover). False: all are known. */
bool twzdb__learn_some(struct twzdb *db);
/*
 * The same at one of several places, ROUND 0, 1, ..: the lowest unknown one, then others with each commit. For every process
 * that comes, changes a little and goes would look at the lowest only, and what died elsewhere were never found.
 * False: nothing was looked at.
 */
bool twzdb__learn_more(struct twzdb *db, unsigned round);
/* One more block of P's unit is not LIVE. Its class, or -1. */
static inline int twzdb__hint_count(struct twzdb *db, uint64_t p)
{
	uint32_t *e = unit_entry(db, unit_no(p)), was = e ? *e : 0;
	unsigned cls = TWZDB_UT_CLASS(was);

	if (unlikely(!(was & TWZDB_UT_KNOWN) || TWZDB_UT_FREE(was) == 0xffff))
		return -1;
	st32(e, was + 1);
	db->sh->cls[cls].free++;
	if (unlikely(entry_empty(was + 1)))
		db->sh->empty++;
	return (int)cls;
}
/* Hint: a block died with commit TS. */
static inline void twzdb__hint_dead(struct twzdb *db, uint64_t p, uint64_t ts)
{
	struct sh_quarantine *q = &db->sh->quar;
	uint64_t tail = q->tail, *e = q->e[tail % TWZDB_QUARANTINE];

	if (twzdb__hint_count(db, p) < 0)
		return;
	if (unlikely(tail - q->head >= TWZDB_QUARANTINE))
		q->head = tail - TWZDB_QUARANTINE + 1; /* forgotten: the counts know of it */
	e[0] = p;
	e[1] = ts;
	st64_rel(&q->tail, tail + 1);
}

/* A block of unit G has been reserved. */
void twzdb__hint_taken(struct twzdb *db, uint32_t g);

/* --- runs.c --- */

/*
 * A fresh unit of class CLS, or a fresh run of RUN units: *G. More units may have become the class's at once:
 * sh_class.fresh.
 */
int twzdb__unit_new(struct twzdb_txn *tx, unsigned cls, uint32_t run, uint32_t *g);

/* Units without anything in them become free runs, neighbours one. HARD: also those formatted ahead. *CNT: runs made. */
int twzdb__release(struct twzdb_txn *tx, bool hard, uint32_t *cnt);
/* Call FN for every run that is free and reusable by TX, with its length; until it returns non-zero. */
int twzdb__each_free_run(struct twzdb_txn *tx, int (*fn)(void *ctx, uint32_t g, uint32_t run),
			 void *ctx);

/* --- compact.c --- */

/* Whoever was emptying units may be dead: then they are like others again. Only while sh->leaving is not 0. */
void twzdb__leaving_look(struct twzdb *db);

/* --- give.c --- */

/* All there is, by a writer as twzdb__give_back() wants it. */
int twzdb__give_all(struct twzdb_txn *tx);

/* LEN bytes from unit G on have space, whatever was given back. TWZDB_E_NOSPC. */
int twzdb__space_take(struct twzdb *db, uint32_t g, uint64_t len);

/* --- space.c --- */

#define SPACE_USE_SHARE 8 /* a unit is searched when 1/SPACE_USE_SHARE of its blocks are free */

/* Blocks are taken one after another: this is the next one. */
static inline void fetch_block(struct twzdb *db, unsigned cls, uint64_t p)
{
	const uint8_t *b = twzdb__at(db, p, twzdb__block_lens[cls]);

	for (uint32_t i = 0; b && i < twzdb__block_lens[cls] && i < 4 * TWZ_LINE_SIZE;
	     i += TWZ_LINE_SIZE) {
		__builtin_prefetch(b + i, 1);
		__asm__ volatile("" : : "r"(b)); /* as fetch() does */
	}
}

/*
 * What nearly every row of a store in use gets: the block on top of its class's stack. 0: not this way. All that
 * alloc_block() would ask is asked here, of the words themselves.
 */
static inline uint64_t space_take_top(struct twzdb *db, unsigned cls, struct rec_pm **rec)
{
	struct sh_class *c = &db->sh->cls[cls];
	uint32_t cnt = c->stack_cnt, *e;
	uint64_t p, off;
	struct rec_pm *r;

	if (unlikely(!cnt || cnt > TWZDB_STACK || !twzdb__grids[cls].end))
		return 0;
	p = db->sh->stack[cls][cnt - 1];
	off = (p & TWZ_PPTR_OFF_MASK) - TWZ_DATA_OFF;
	r = twzdb__at(db, p, twzdb__block_lens[cls]);
	if (unlikely(!r || p >> TWZ_PPTR_OFF_BITS < TWZDB_NO_DATA))
		return 0;
	e = &db->map[p >> TWZ_PPTR_OFF_BITS].units[off >> TWZDB_UNIT_SHIFT];
	/* The table first: a unit that its class gave up may have no space any more, and a look would take some (give.c (3)). */
	if (unlikely((*e & (TWZDB_UT_KNOWN | TWZDB_UT_LEAVES | 0x7f0000)) !=
			     (TWZDB_UT_KNOWN | cls << 16) ||
		     !grid_has(&twzdb__grids[cls], (uint32_t)(off & (TWZDB_UNIT_LEN - 1)) -
							   (uint32_t)sizeof(struct unit_pm)) ||
		     entry_empty(*e) || !TWZDB_UT_FREE(*e) || rec_is_live(r) ||
		     (ld64(&r->link) > ld64(&db->sh->min) &&
		      !twzdb__hold_is_over(db, ld64(&r->link)))))
		return 0;
	c->stack_cnt = cnt - 1;
	st32(e, *e - 1);
	c->free--;
	*rec = r;
	if (likely(cnt > 1))
		fetch_block(db, cls, db->sh->stack[cls][cnt - 2]);
	return p;
}

/* The same when the stack is empty: what is in the quarantine and need not be, then blocks never used. */
uint64_t twzdb__take_next(struct twzdb *db, unsigned cls, struct rec_pm **rec);

/* May block B at P be reserved: nobody can reach it, and this transaction has not taken it? */
bool twzdb__block_reusable(struct twzdb_txn *tx, bool node, const void *b, uint64_t p);

#endif
