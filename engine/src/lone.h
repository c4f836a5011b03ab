/* SPDX-License-Identifier: MIT
 * lone.h -- committing what a transaction of one operation has noted (for oneop.c and fast_one.h)
 */
#ifndef TWZDB_LONE_H
#define TWZDB_LONE_H

#include "accel.h"
#include "apply.h"

/* The leaf, and the word of it, that a row remembers. */
static inline void fetch_hint(const struct twzdb *db, uint64_t hint)
{
	uint64_t leaf = hint & TWZDB_LONE_PTR, no = leaf >> TWZ_PPTR_OFF_BITS;
	uint64_t slot = hint >> TWZDB_LONE_SHIFT & 31;
	uintptr_t at;

	if (unlikely(no >= TWZDB_NO_DATA + TWZDB_OBJ_MAX))
		return;
	at = db->map[no].base + (leaf & TWZ_PPTR_OFF_MASK);
	fetch((const void *)at);
	fetch((const void *)(at + offsetof(struct node_pm, ptr) + 8 * slot));
}

/* Where the row of O is: in leaf N, LEAF, at SLOT. False: replay would refuse such a count of tombstones. */
static inline bool lone_settled(struct one *o, uint64_t leaf, struct node_pm *n, unsigned slot)
{
	if (unlikely(n->tombs >= TWZDB_FANOUT))
		return false;
	o->leaf = leaf;
	o->slot = (uint8_t)slot;
	o->tombs = (uint8_t)(n->tombs + (o->kind == TWZDB_LREC_DEL1));
	o->home = n;
	return true;
}

static inline bool is_leaf(const struct node_pm *n)
{
	struct stop s;

	return n && arrive(n, &s) && !HDR_LEVEL(s.hdr);
}

#define LONE_HOPS 3

/*
 * Leaf and slot as the row O->old itself remembers them: HINT. A live leaf that holds the pointer is the leaf: a
 * record stands in one leaf only. Leaves split and merge, and not all of their rows are told; what a split took from a leaf is
 * right of it.
 */
static inline bool lone_by_hint(struct twzdb *db, uint64_t hint, struct one *o)
{
	uint64_t leaf = hint & TWZDB_LONE_PTR;
	unsigned slot = (unsigned)(hint >> TWZDB_LONE_SHIFT);
	struct node_pm *n = twzdb__node_at(db, leaf);

	if (unlikely(!is_leaf(n)))
		return false;
	if (likely(slot < TWZDB_FANOUT && ld64(&n->ptr[slot]) == o->old))
		return lone_settled(o, leaf, n, slot);
	for (int hops = 0; is_leaf(n) && hops <= LONE_HOPS; hops++) {
		uint32_t slots = twzdb__heads(n->ptr, o->old).eq; /* 28 words are 28 words */

		if (slots)
			return lone_settled(o, leaf, n, (unsigned)__builtin_ctz(slots));
		leaf = n->next;
		n = leaf ? twzdb__node_at(db, leaf) : NULL;
	}
	return false;
}

/*
 * The permutation with SLOT moved from position N to POS, N + 1, and zeros: by words, for whole words are
 * loaded from here next, which could not be had from single bytes still in the store buffer.
 */
static inline void perm_insert(struct lone_pm *l, const struct node_pm *n, unsigned pos,
			       uint64_t slot)
{
	uint64_t old[4], out[4], carry = 0;

	memcpy(old, n->perm, sizeof(old)); /* and the four bytes behind it */
	for (unsigned i = 0; i < 4; i++) {
		/* Bytes of this word from POS up to N, N included: they get their lower neighbours. */
		unsigned from = pos > 8 * i ? pos - 8 * i : 0, to = n->n + 1U - 8 * i;
		uint64_t mask = from >= 8 || n->n < 8 * i ? 0 : ~(uint64_t)0 << 8 * from;

		if (mask && to < 8)
			mask &= ((uint64_t)1 << 8 * to) - 1;
		out[i] = (old[i] & ~mask) | ((old[i] << 8 | carry) & mask);
		if (pos / 8 == i)
			out[i] = (out[i] & ~((uint64_t)0xff << 8 * from)) | slot << 8 * from;
		carry = old[i] >> 56;
	}
	out[3] = (out[3] & 0xffffffff) | (uint64_t)(n->n + 1U) << 32;
	memcpy(l->ins.perm, out, sizeof(out));
}

/* The log record's bytes, SUM being the new row's checksum. */
static inline size_t lone_fill(const struct one *o, uint64_t ts, uint32_t sum, struct lone_pm *l)
{
	l->magic = TWZDB_LONE_MAGIC | (uint32_t)o->kind << 24;
	l->sum = sum;
	l->ts = ts;
	l->leaf = o->leaf | (uint64_t)o->slot << TWZDB_LONE_SHIFT;
	l->rec = o->rec | (uint64_t)o->tombs << TWZDB_LONE_SHIFT;
	if (o->kind != TWZDB_LREC_INS1) {
		l->old = o->old;
		return TWZDB_LONE_LEN;
	}
	perm_insert(l, o->home, o->pos, o->slot);
	l->ins.head = o->head;
	return sizeof(*l);
}

/* The commit is durable: its homes (D4). VLEN: of the new row. */
static inline void lone_apply(struct twzdb *db, const struct lone_pm *l, uint32_t vlen)
{
	twzdb__apply_begin(db->sh);
	apply_one(db, l, vlen);
	twzdb__apply_end(db->sh);
}

/* After the commit is published. */
static inline void lone_learn(struct twzdb *db, const struct one *o)
{
	if (likely(o->entry && ld64(o->entry) == acc_entry(o->hash, o->old)))
		st64(o->entry, acc_entry(o->hash, o->rec));
	else if (o->acc && o->old)
		twzdb__acc_replace(db, o->hash, o->old, o->rec);
	else if (o->acc)
		twzdb__acc_put(db, o->hash, o->rec);
}

#endif
