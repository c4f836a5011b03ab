/* SPDX-License-Identifier: MIT
 * scan.c -- a reader's cursor going forward while nothing is in its way
 *
 * As find.h does for single rows: what is found here is right, and whatever is unusual (a node
 * being changed, a row of another time, the end) is left to cursor.c, which starts from the same
 * cursor. A scan is as fast as rows come out of memory, so they are asked for AHEAD rows early,
 * over the end of the leaf too, and a leaf when the one before it is entered.
 *
 * Most cursors are used for many scans of one kind. So the first rows are asked for together, as
 * many as the scan before had; and if the two before had the same length, none beyond that.
 */
#include "find.h"

#include <limits.h>

#define AHEAD  8
#define NO_END UINT32_MAX

static inline unsigned count_of(const struct node_pm *n)
{
	return __atomic_load_n(&n->n, __ATOMIC_RELAXED);
}

static inline void fetch_row(const struct twzdb *db, const struct node_pm *n, unsigned pos)
{
	int slot = node_slot(n, pos);

	if (likely(slot >= 0))
		fetch_rec(db, ld64(&n->ptr[slot]));
}

/* Row POS of the cursor's leaf, or what comes behind its end. Whatever is read here is a hint. */
static inline void look_ahead(struct twzdb_cursor *c, unsigned pos)
{
	const struct node_pm *n = c->leaf.n;
	unsigned cnt = count_of(n);

	if (likely(pos < cnt && cnt <= TWZDB_FANOUT)) {
		fetch_row(c->tx->db, n, pos);
		return;
	}
	n = c->soon;
	pos -= cnt;
	if (n && pos < TWZDB_FANOUT && pos < count_of(n))
		fetch_row(c->tx->db, n, pos);
}

/* The cursor is at row POS of its leaf of CNT: will rows of the leaf behind it be wanted? */
static inline bool goes_on(const struct twzdb_cursor *c, unsigned pos, unsigned cnt)
{
	return (uint64_t)pos + c->ahead + c->left >= cnt;
}

/* The next leaf will be wanted soon: where its rows are. */
static void fetch_next(struct twzdb_cursor *c)
{
	const struct node_pm *n = node_at(c->tx->db, ld64(&c->leaf.n->next));

	c->soon = n;
	if (!n)
		return;
	fetch(n);
	for (unsigned i = offsetof(struct node_pm, ptr) & ~63U; i < sizeof(*n); i += 64)
		fetch((const uint8_t *)n + i);
}

void twzdb__scan_start(struct twzdb_cursor *c)
{
	c->soon = NULL;
	c->ahead = 0;
	c->left = NO_END;
}

/* A row the transaction sees at once, and no long one; NULL otherwise. */
static inline const struct rec_pm *row_of(struct twzdb_txn *tx, uint64_t p)
{
	const struct rec_pm *r = p & 15 ? NULL : twzdb__at(tx->db, p, sizeof(*r));
	uint32_t klen;

	if (unlikely(!r))
		return NULL;
	klen = rec_klen_short(r);
	if (unlikely(ld64(&r->ts) > tx->read_ts || rec_kind(r) != TWZDB_ROW ||
		     klen > TWZDB_KEY_SHORT ||
		     !twzdb__at(tx->db, p, TWZDB_REC_LEN + (uint64_t)klen + rec_vlen_short(r))))
		return NULL;
	return r;
}

static inline const struct rec_pm *row_at(struct twzdb_txn *tx, const struct nref *leaf,
					  unsigned pos)
{
	int slot = node_slot(leaf->n, pos);
	uint64_t p;

	if (unlikely(slot < 0))
		return NULL;
	p = ld64_acq(&leaf->n->ptr[slot]);
	return likely(nref_ok(leaf)) ? row_of(tx, p) : NULL;
}

static bool next_leaf(struct twzdb_cursor *c)
{
	uint64_t next = ld64_acq(&c->leaf.n->next);
	const struct node_pm *n = node_at(c->tx->db, next);
	struct stop s;

	if (!n || !nref_ok(&c->leaf) || !arrive(n, &s) || HDR_LEVEL(s.hdr))
		return false;
	if (!nref_ok(&c->leaf)) /* NEXT was the neighbour when its version was read */
		return false;
	c->leaf = (struct nref){n, next, (uint32_t)s.hdr};
	c->pos = UINT_MAX; /* before its first row */
	c->soon = NULL;
	if (goes_on(c, 0, HDR_N(s.hdr)))
		fetch_next(c);
	return true;
}

/*
 * The cursor has come to row POS, and too few beyond it have been asked for: because it has just
 * begun, or because nobody thought that it would come this far.
 */
static void catch_up(struct twzdb_cursor *c, unsigned pos)
{
	if (c->ahead)
		c->ahead--;
	else if (!c->left)
		c->left = NO_END;
	if (!c->soon && goes_on(c, pos, count_of(c->leaf.n)))
		fetch_next(c);
	for (; c->ahead < AHEAD && c->left; c->left--)
		look_ahead(c, pos + ++c->ahead);
}

const struct rec_pm *twzdb__scan_next(struct twzdb_cursor *c)
{
	const struct rec_pm *r;
	unsigned pos = c->pos + 1;

	if (unlikely(!c->leaf.p))
		return NULL;
	if (unlikely(pos >= count_of(c->leaf.n))) {
		if (!next_leaf(c) || !count_of(c->leaf.n))
			return NULL;
		pos = 0;
	}
	r = row_at(c->tx, &c->leaf, pos);
	if (unlikely(!r))
		return NULL;
	/* Whoever loops over NEXT comes to an end, whatever the tree looks like (D10). */
	if (unlikely(!pos && bkey_cmp((struct bkey){r->data, rec_klen_short(r)}, cur_key(c)) <= 0))
		return NULL;
	c->pos = pos;
	c->run++;
	if (likely(c->ahead == AHEAD && c->left)) {
		c->left--;
		look_ahead(c, pos + AHEAD);
		return r;
	}
	catch_up(c, pos);
	return r;
}

/* Position of the first row >= K in the leaf, if it can be told and is there. */
static bool lower_bound(struct twzdb_txn *tx, const struct spot *s, struct bkey k, unsigned *pos)
{
	const struct rec_pm *r;

	*pos = s->m.below;
	if (unlikely(s->m.eq & (s->m.eq - 1)))
		return false;
	if (s->m.eq) {
		r = *pos < s->n ? row_at(tx, &s->leaf, *pos) : NULL;
		if (!r)
			return false;
		*pos += bkey_cmp((struct bkey){r->data, rec_klen_short(r)}, k) < 0;
	}
	return *pos < s->n;
}

/* A scan is going to begin at row POS of S->leaf. It is likely to go on for as long as usual. */
static inline void expect(struct twzdb_cursor *c, const struct spot *s, unsigned pos)
{
	unsigned end = pos + (c->run < AHEAD ? c->run : AHEAD);

	if (end > s->n)
		end = s->n;
	for (unsigned i = pos; i < end; i++)
		fetch_row(c->tx->db, s->leaf.n, i);
	c->ahead = end - pos;
}

/* It has begun: the cursor is at its first row, of a leaf of CNT. */
static inline void begin(struct twzdb_cursor *c, unsigned cnt)
{
	c->soon = NULL;
	c->left = c->run == c->usual ? c->run - 1 : NO_END;
	c->usual = c->run;
	if (c->run > 1) {
		c->ahead--;
		c->left -= c->left == NO_END ? 0 : c->ahead;
		if (goes_on(c, c->pos, cnt))
			fetch_next(c);
	}
	c->run = 1;
}

const struct rec_pm *twzdb__scan_seek(struct twzdb_cursor *c, struct bkey k)
{
	struct twzdb_txn *tx = c->tx;
	const struct rec_pm *r;
	struct spot s;
	unsigned pos;
	uint64_t root =
		tx->anchor ? ld64_acq(&tx->anchor->root) : 0; /* QUICK says it is the table's */

	if (unlikely(!root) || !twzdb__simd_now()->spot(tx->db, root, k, &s) ||
	    !lower_bound(tx, &s, k, &pos))
		return NULL;
	c->ahead = 0;
	if (c->run > 1)
		expect(c, &s, pos);
	r = row_at(tx, &s.leaf, pos);
	/*
	 * An entry >= K proves that the leaf covers K, and only then does K have the prefix the heads
	 * were compared behind: whoever comes from a root that has just split may be left of its leaf.
	 */
	if (!r || unlikely(bkey_cmp((struct bkey){r->data, rec_klen_short(r)}, k) < 0))
		return NULL;
	c->leaf = s.leaf;
	c->pos = pos;
	begin(c, s.n);
	return r;
}
