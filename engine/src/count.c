/* SPDX-License-Identifier: MIT
 * count.c -- counting the rows of a range, a leaf at a time
 *
 * A leaf nobody added to or deleted from since the snapshot says itself how many rows it has: no
 * record is touched, and of each leaf one line. Where the range ends is known from its last leaf,
 * looked for at the beginning; the key of a fence would be a miss for every leaf. The tree may
 * change meanwhile: that leaf may be merged away and never be met. So every CHECK leaves the fence
 * is looked at after all, and a walk that has gone too far goes on from the check before, looking
 * at every fence.
 */
#include "find.h"

#define CHECK 32 /* leaves */

struct tally {
	struct twzdb_txn *tx;
	uint64_t table;
	struct bkey to;
	uint64_t last;	  /* leaf that held the end of the range; 0: look at every fence */
	struct bkey from; /* what is not counted yet begins here, ... */
	uint64_t lof;	  /* ... or, if not 0, at this fence */
	uint64_t cnt;
	/* the same at the last check */
	struct bkey check_from;
	uint64_t check_lof, check_cnt;
	unsigned since;
};

static int fence_of(struct tally *t, uint64_t node, struct bkey *k)
{
	uint64_t lof;
	int err = twzdb__node_lof(t->tx, node, &lof);

	return err ? err : twzdb__fence_key(t->tx, lof, k);
}

/* Visible rows of LEAF in [POS, END). END of a leaf that has changed is a hint of the caller. */
static int count_rows(struct tally *t, const struct nref *leaf, unsigned pos, unsigned end)
{
	unsigned n = __atomic_load_n(&leaf->n->n, __ATOMIC_RELAXED);
	unsigned tombs = __atomic_load_n(&leaf->n->tombs, __ATOMIC_RELAXED);
	uint64_t sts = ld64(&leaf->n->sts), cnt = 0;
	const struct rec_pm *r;

	if (!nref_ok(leaf))
		return TWZDB__RETRY;
	end = end < n ? end : n;
	if (sts <= t->tx->read_ts && (!tombs || (!pos && end == n))) {
		t->cnt += end > pos + tombs ? end - pos - tombs : 0;
		return 0;
	}
	for (; pos < end; pos++) {
		int slot = node_slot(leaf->n, pos), err;
		uint64_t p;

		if (slot < 0)
			return twzdb__node_bad(t->tx, leaf, "permutation out of range");
		p = ld64_acq(&leaf->n->ptr[slot]);
		if (!nref_ok(leaf))
			return TWZDB__RETRY;
		err = twzdb__rec_visible(t->tx, p, &r);
		if (err && err != TWZDB_E_NOTFOUND)
			return err;
		cnt += !err;
	}
	if (!nref_ok(leaf))
		return TWZDB__RETRY;
	t->cnt += cnt;
	return 0;
}

/* *LAST: the range ends in this leaf, whose right sibling is NEXT. */
static int ends_here(struct tally *t, const struct nref *leaf, uint64_t next, bool *last)
{
	struct bkey k;
	int err;

	*last = !next;
	if (!next || bkey_is_inf(t->to) || (t->last && leaf->p != t->last))
		return 0;
	t->last = 0; /* from here on every fence counts */
	err = fence_of(t, next, &k);
	if (!err && !nref_ok(leaf))
		err = TWZDB__RETRY;
	if (!err)
		*last = bkey_cmp(t->to, k) <= 0;
	return err;
}

/*
 * Every CHECK leaves, and before the last of all: has LEAF, not counted yet, gone past the end? Then
 * back to the last check.
 */
static int check(struct tally *t, const struct nref *leaf, bool *back)
{
	struct bkey k;
	int err = 0;

	*back = false;
	if (bkey_is_inf(t->to) || !t->last || (t->since++ < CHECK && ld64_acq(&leaf->n->next)))
		return 0;
	t->since = 0;
	err = fence_of(t, leaf->p, &k);
	if (!err && !nref_ok(leaf))
		err = TWZDB__RETRY;
	if (err)
		return err;
	*back = bkey_cmp(k, t->to) >= 0 && k.len;
	if (*back) {
		t->from = t->check_from;
		t->lof = t->check_lof;
		t->cnt = t->check_cnt;
		t->last = 0;
	} else {
		t->check_from = t->from;
		t->check_lof = t->lof;
		t->check_cnt = t->cnt;
	}
	return 0;
}

/* Count LEAF from POS on and go to the next: 0, NOTFOUND: that was the last one. */
static int step(struct tally *t, struct nref *leaf, unsigned *pos)
{
	struct twzdb_txn *tx = t->tx;
	uint64_t next = ld64_acq(&leaf->n->next), before = t->cnt;
	unsigned end = TWZDB_FANOUT;
	struct nref right;
	bool exact, last = false;
	int err = nref_ok(leaf) ? ends_here(t, leaf, next, &last) : TWZDB__RETRY;

	if (!err && last && !bkey_is_inf(t->to))
		err = twzdb__bound(tx, leaf, t->to, &end, &exact);
	if (!err)
		err = count_rows(t, leaf, *pos, end);
	if (err || last)
		return err ? err : TWZDB_E_NOTFOUND;
	if (tx->steps++ > 64 && tx->steps > twzdb__node_limit(tx->db))
		return twzdb__corrupt(tx->db, next, "right-links lead in circles");
	err = twzdb__node_get(tx, next, 0, &right);
	if (!err && !nref_ok(leaf)) /* NEXT was the neighbour when its version was read */
		err = TWZDB__RETRY;
	if (err) {
		t->cnt = before; /* this leaf again, from where it began */
		return err;
	}
	if (ld64(&right.n->next)) /* one line of it says how many */
		fetch(node_at(tx->db, ld64(&right.n->next)));
	t->lof = ld64(&right.n->lof);
	*leaf = right;
	*pos = 0;
	return 0;
}

/* Leaf and position where what is not counted yet begins; a leaf at 0: the table is empty. */
static int place(struct tally *t, struct nref *leaf, unsigned *pos)
{
	struct bkey k = t->from;
	bool exact;
	int err = t->lof ? twzdb__fence_key(t->tx, t->lof, &k) : 0;

	leaf->p = 0;
	return err ? err : twzdb__seek(t->tx, t->table, k, false, leaf, pos, &exact, NULL);
}

static int count_from(struct tally *t)
{
	struct again again = AGAIN_INIT;
	struct nref leaf;
	unsigned pos;
	bool back;
	int err;

	do {
		err = place(t, &leaf, &pos);
		if (!err && !leaf.p)
			return 0;
		while (!err) {
			err = check(t, &leaf, &back);
			if (!err && back)
				err = place(t, &leaf, &pos);
			if (!err)
				err = step(t, &leaf, &pos);
			if (!err)
				again.tries = 0; /* it gets on */
		}
	} while (twzdb__again(t->tx, &again, leaf.p ? leaf.p : t->table, &err));
	if (unlikely(twzdb__is_cut(t->tx->db)))
		return twzdb__cut(t->tx->db);
	return err == TWZDB_E_NOTFOUND ? 0 : err;
}

/* The leaf a finite range ends in, to begin with. */
static int find_last(struct tally *t)
{
	struct nref leaf = {NULL, 0, 0};
	unsigned pos;
	bool exact;
	int err = bkey_is_inf(t->to)
			  ? 0
			  : twzdb__seek(t->tx, t->table, t->to, true, &leaf, &pos, &exact, NULL);

	t->last = leaf.p;
	return err;
}

int twzdb__count_range(struct twzdb_txn *tx, uint64_t table, struct bkey from, struct bkey to,
		       uint64_t *cnt)
{
	struct tally t = {.tx = tx, .table = table, .to = to, .from = from, .check_from = from};
	int err;

	*cnt = 0;
	tx->steps = 0;
	if (bkey_cmp(from, to) >= 0)
		return 0;
	err = find_last(&t);
	if (!err)
		err = count_from(&t);
	if (!err)
		*cnt = t.cnt;
	return err;
}

int twzdb__count(struct twzdb_txn *tx, uint64_t table, uint64_t *cnt)
{
	return twzdb__count_range(tx, table, (struct bkey){(const uint8_t *)"", 0}, BKEY_INF, cnt);
}

int twzdb_count_range(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice from,
		      struct twzdb_slice to, uint64_t *cnt)
{
	struct range r;
	int err;

	if (!cnt)
		return twzdb__err(TWZDB_E_INVAL, "count_range: no place for the count");
	*cnt = 0;
	err = twzdb__txn_use(tx, "count_range", false);
	if (!err)
		err = twzdb__table_use(tx, t, "count_range");
	if (!err)
		err = twzdb__range_in(tx, t, from, to, &r, "count_range");
	if (err)
		return err;
	err = twzdb__count_range(tx, t.h, r.from, r.to, cnt);
	twzdb__range_free(&r);
	return err;
}
