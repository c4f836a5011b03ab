/* SPDX-License-Identifier: MIT
 * apply.h -- the stores of a transaction of one operation, for whoever commits it (oneop.c) and whoever replays it (apply.c)
 */
#ifndef TWZDB_APPLY_H
#define TWZDB_APPLY_H

#include "diff.h"
#include "space.h"

static inline uint64_t lone_leaf(const struct lone_pm *l)
{
	return l->leaf & TWZDB_LONE_PTR;
}

static inline uint64_t lone_rec(const struct lone_pm *l)
{
	return l->rec & TWZDB_LONE_PTR;
}

static inline unsigned lone_slot(const struct lone_pm *l)
{
	return (unsigned)(l->leaf >> TWZDB_LONE_SHIFT);
}

static inline size_t lone_len(const struct lone_pm *l)
{
	return lone_kind(l) == TWZDB_LREC_INS1 ? sizeof(*l) : TWZDB_LONE_LEN;
}

/* UPD1 and DEL1: the record that dies. */
static inline uint64_t lone_old(const struct lone_pm *l)
{
	return l->old & TWZDB_LONE_PTR;
}

/* Is the row told by ranges? */
static inline bool lone_is_diff(const struct lone_pm *l)
{
	return lone_kind(l) == TWZDB_LREC_UPD1 && unlikely(l->old & TWZDB_LONE_RANGES);
}

/* The row that stands behind it on page media, or NULL. */
static inline const struct rec_pm *lone_carried(const struct lone_pm *l, size_t len)
{
	return len > lone_len(l) && !lone_is_diff(l)
		       ? (const void *)((const uint8_t *)l + lone_len(l))
		       : NULL;
}

/*
 * The seqlock around a change of a node; an odd word left by a dead writer stays odd until the
 * change is done again.
 */
static inline uint32_t node_open(struct node_pm *n)
{
	uint32_t odd = ld32(&n->ver) | 1;

	__atomic_store_n(&n->ver, odd, __ATOMIC_RELAXED);
	twzdb__order();
	return odd;
}

static inline void node_close(struct node_pm *n, uint32_t odd)
{
	__atomic_store_n(&n->ver, odd + 1, __ATOMIC_RELEASE);
}

static inline void rec_live(struct rec_pm *r, uint64_t hint, uint32_t vlen,
			    enum twzdb_rec_kind kind)
{
	st64(&r->link, hint);
	__atomic_store_n(&r->vlf, vlen | TWZDB_VLF_LIVE | TWZDB_VLF_KIND(kind), __ATOMIC_RELEASE);
}

/* A replayed free writes the flag, and the time from which on nobody new can come here (D6, D7). */
static inline void apply_rec_dead(struct twzdb *db, uint64_t p, uint64_t ts)
{
	struct rec_pm *r = twzdb__at(db, p, sizeof(*r));

	/*
	 * A staged record is applied once more, perhaps, by who finds that somebody died at it: then the block is dead already, and
	 * may be reserved again, or lend its bytes to a later commit. A recovery stores it all: nobody else does, and it may be lost (D17).
	 */
	if (unlikely(db->page_media) && !rec_is_live(r) && !db->recovering)
		return;
	st64(&r->link, ts);
	__atomic_store_n(&r->vlf, rec_vlf(r) & ~TWZDB_VLF_LIVE, __ATOMIC_RELEASE);
	if (likely(!db->page_media)) /* there the committer does (stage.c) */
		twzdb__hint_dead(db, p, ts);
}

/* By words: stores waiting for a fence are few (oneop.c). */
static inline void store_perm(struct node_pm *n, const uint8_t *perm)
{
	uint64_t w[TWZDB_FANOUT / 8];
	uint32_t rest;

	memcpy(w, perm, sizeof(w));
	memcpy(&rest, perm + sizeof(w), sizeof(rest));
	for (unsigned i = 0; i < TWZDB_FANOUT / 8; i++)
		st64((uint64_t *)(void *)n->perm + i, w[i]);
	st32((uint32_t *)(void *)(n->perm + sizeof(w)), rest);
}
_Static_assert(TWZDB_FANOUT % 8 == 4 && offsetof(struct node_pm, perm) % 8 == 0, "perm by words");

static inline void apply_one_leaf(struct node_pm *n, const struct lone_pm *l)
{
	unsigned slot = lone_slot(l);
	uint32_t odd;

	/* As in apply_node_wr(): another version of the same row needs no notice. */
	if (lone_kind(l) == TWZDB_LREC_UPD1 && !(ld32(&n->ver) & 1)) {
		st64_rel(&n->ptr[slot], lone_rec(l));
		return;
	}
	odd = node_open(n);
	if (lone_kind(l) == TWZDB_LREC_INS1) {
		store_perm(n, l->ins.perm);
		__atomic_store_n(&n->n, l->ins.n, __ATOMIC_RELAXED);
		st64(&n->head[slot], l->ins.head);
	}
	st64_rel(&n->ptr[slot], lone_rec(l));
	if (lone_kind(l) != TWZDB_LREC_UPD1) {
		__atomic_store_n(&n->tombs, (uint8_t)(l->rec >> TWZDB_LONE_SHIFT),
				 __ATOMIC_RELAXED);
		st64(&n->sts, l->ts);
	}
	node_close(n, odd);
}

/*
 * A checked record of one operation. The new row, with a value of VLEN bytes, lies in place; nothing of it is loaded
 * here: its lines are on their way to the medium.
 */
static inline void apply_one(struct twzdb *db, const struct lone_pm *l, uint32_t vlen)
{
	rec_live(twzdb__at(db, lone_rec(l), sizeof(struct rec_pm)), l->leaf, vlen,
		 lone_kind(l) == TWZDB_LREC_DEL1 ? TWZDB_TOMB : TWZDB_ROW);
	apply_one_leaf(twzdb__at(db, lone_leaf(l), TWZDB_NODE_LEN), l);
	if (lone_kind(l) != TWZDB_LREC_INS1)
		apply_rec_dead(db, lone_old(l), l->ts);
	if (lone_is_diff(l))
		twzdb__diff_keep(db, twzdb__diff_lone(l, TWZDB_LONE_LEN + 8).base, l->ts);
	st64_rel(&db->root->ts, l->ts);
}

#endif
