/* SPDX-License-Identifier: MIT
 * place.h -- a writer's straight way to where a row stands, or would (for oneop.c and insert.c)
 *
 * As find.h is for readers: whatever is unusual is "not this way", and search.c does it. A writer's
 * tree does not move under it; its private nodes come first.
 */
#ifndef TWZDB_PLACE_H
#define TWZDB_PLACE_H

#include "accel.h"
#include "find.h"

/* The row an operation is about: its newest version and where it stands; or where it would. */
struct place {
	struct bkey k;
	uint64_t leaf, old; /* old 0: there is no such row */
	struct node_pm *n;
	const struct rec_pm *r;
	unsigned slot, pos;
	uint64_t head, hash;
	uint64_t *bucket; /* in the accelerator, or NULL */
	uint64_t *entry;  /* of OLD in it; NULL: none was found */
	uint32_t tag;
	bool acc;
};

/* Beyond fetch_node(): a leaf that is going to be copied is needed whole. */
static inline void fetch_ptrs(const struct node_pm *n, bool whole)
{
	fetch(&n->ptr[TWZDB_FANOUT / 2]);
	if (!whole)
		return;
	fetch(&n->ptr[4]);
	fetch(&n->ptr[TWZDB_FANOUT - 1]);
}

static inline const struct node_pm *writer_node(struct twzdb_txn *tx, uint64_t p, unsigned level)
{
	const struct pnode *pn = tx->levels >> level & 1 ? twzdb__node_private(tx, p) : NULL;

	if (!pn)
		return node_at(tx->db, p);
	return likely(pn->state == PN_COPY || pn->state == PN_NEW || pn->state == PN_STAGED)
		       ? &pn->img
		       : NULL;
}

static inline bool leaf_by_root(struct twzdb_txn *tx, uint64_t root, struct place *w,
				struct stop *s)
{
	const struct node_pm *n = tx->levels ? NULL : node_at(tx->db, root);
	const struct pnode *pn = tx->levels ? twzdb__node_private(tx, root) : NULL;
	unsigned level;

	w->leaf = root;
	if (tx->levels)
		n = pn ? &pn->img : node_at(tx->db, root);
	if (!n || !arrive(n, s))
		return false;
	for (level = HDR_LEVEL(s->hdr); level; level--) {
		if (level > TWZDB_LEVEL_MAX)
			return false;
		w->leaf = child_of(s, w->k);
		n = node_at(tx->db, w->leaf);
		if (!n)
			return false;
		fetch_node(n);
		if (level == 1)
			fetch_ptrs(n, tx->levels != 0);
		n = writer_node(tx, w->leaf, level - 1);
		if (!n || !arrive(n, s) || HDR_LEVEL(s->hdr) != level - 1)
			return false;
	}
	w->n = (struct node_pm *)(uintptr_t)n;
	return true;
}

/* Does the row, or its absence, have its place in the leaf at S? False: ask search.c. */
static inline bool place_in_leaf(struct twzdb *db, const struct stop *s, struct place *w)
{
	struct headmask m;

	w->head = twzdb__head(w->k, HDR_PFX(s->hdr));
	if (w->head == UINT64_MAX)
		return false;
	m = twzdb__heads(w->n->head, w->head);
	for (uint32_t slots = m.eq; slots; slots &= slots - 1) {
		uint64_t p;

		w->slot = (unsigned)__builtin_ctz(slots);
		p = ld64(&w->n->ptr[w->slot]);
		if (twzdb__rec_at(db, p, &w->r) || !twzdb__is_rec(db, p))
			return false;
		if (rec_klen_short(w->r) == w->k.len && key_same(w->r->data, w->k.p, w->k.len)) {
			w->old = p;
			return true;
		}
	}
	w->old = 0;
	w->pos = m.below;
	return !m.eq && m.below <= HDR_N(s->hdr);
}

/* --- node.c --- */
/*
 * A node's entries E, a new one among them at POS, are split at CUT: N, the new right node, gets the rest; N, the left
 * one, which has all but the new one, keeps the first. The fences of both are final.
 */
int twzdb__ents_right(struct twzdb_txn *tx, struct node_pm *n, const struct ents *e, unsigned cut);
int twzdb__ents_left(struct twzdb_txn *tx, struct node_pm *n, const struct ents *e, unsigned pos,
		     unsigned cut);

/* --- insert.c --- */
/* twzdb__put_new() with the leaf known: W's key, W->leaf. */
int twzdb__put_at(struct twzdb_txn *tx, uint64_t table, struct place *w, struct twzdb_slice value,
		  uint32_t put_flags);
/* Would twzdb__put_tail() take it? */
bool twzdb__tail_takes(struct twzdb_txn *tx, uint64_t table, struct bkey key);
/* PN, the last leaf of the table, is private, and its last row was put by this very operation. */
void twzdb__tail_set(struct twzdb_txn *tx, uint64_t table, struct pnode *pn);
/* The way to PN, the last leaf of the table. */
int twzdb__tail_path(struct twzdb_txn *tx, uint64_t table, const struct pnode *pn,
		     struct path *path);
/* New leaf RIGHT, whose low fence is SEP, comes behind LEFT, which PATH leads to: the nodes above hear of it. */
int twzdb__leaf_link(struct twzdb_txn *tx, uint64_t table, struct path *path,
		     const struct pnode *left, const struct pnode *right, struct bkey sep);

#endif
