/* SPDX-License-Identifier: MIT
 * find.h -- a reader's straight way to a row, while nothing is in its way (for point.c, scan.c)
 *
 * What search.c does, without its questions: a node that is being changed, a tie between heads in
 * an inner node, a key that is not where it would be, anything out of range: all of that is "not
 * this way" here, and search.c finds out what it means. So whatever is found here is right (the
 * version words say so), and what is not found has not been looked for.
 */
#ifndef TWZDB_FIND_H
#define TWZDB_FIND_H

#include "internal.h"

/* A node on the way: its first word (version, level, entries, prefix) as it was read. */
struct stop {
	const struct node_pm *n;
	uint64_t hdr;
};
#define HDR_LEVEL(h) ((unsigned)((h) >> 32) & 0xff)
#define HDR_N(h)     ((unsigned)((h) >> 40) & 0xff)
#define HDR_PFX(h)   ((uint32_t)((h) >> 48))
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the header is read as one word");
_Static_assert(offsetof(struct node_pm, level) == 4 && offsetof(struct node_pm, n) == 5 &&
		       offsetof(struct node_pm, pfx) == 6,
	       "the header is read as one word");

/*
 * Ask for a line. The empty instruction keeps it: gcc 12 takes a function that does nothing but
 * prefetch for one without effect, and drops the calls.
 */
static inline void fetch(const void *line)
{
	__builtin_prefetch(line);
	__asm__ volatile("" : : "r"(line));
}

/* Where a key stands in a leaf, or would. */
struct spot {
	struct nref leaf;
	unsigned n; /* entries of the leaf */
	struct headmask m;
};

static inline bool unchanged(const struct stop *s)
{
	twzdb__order();
	return likely(ld32(&s->n->ver) == (uint32_t)s->hdr);
}

/* Line 0 says where to go, lines 1 to 4 are the heads; of the pointers one will do. */
static inline void fetch_node(const struct node_pm *n)
{
	for (unsigned i = 0; i < offsetof(struct node_pm, ptr); i += 64)
		fetch((const uint8_t *)n + i);
}

static inline const struct node_pm *node_at(struct twzdb *db, uint64_t p)
{
	return unlikely(p & (TWZDB_NODE_LEN - 1)) ? NULL : twzdb__at(db, p, TWZDB_NODE_LEN);
}

static inline bool arrive(const struct node_pm *n, struct stop *s)
{
	s->n = n;
	s->hdr = ld64_acq((const uint64_t *)(const void *)n);
	return likely(!(s->hdr & 1) && HDR_N(s->hdr) <= TWZDB_FANOUT &&
		      __atomic_load_n(&n->flags, __ATOMIC_RELAXED) & TWZDB_NODE_LIVE);
}

/* The child to go on to; 0: not this way. */
static inline uint64_t child_of(const struct stop *s, struct bkey k)
{
	struct headmask m = twzdb__heads(s->n->head, twzdb__head(k, HDR_PFX(s->hdr)));
	unsigned idx = m.below;
	uint64_t child;
	int slot;

	idx -= idx > 0; /* entry 0 stands for everything below entry 1 */
	if (unlikely(m.eq || idx >= HDR_N(s->hdr)))
		return 0;
	slot = node_slot(s->n, idx);
	if (unlikely(slot < 0))
		return 0;
	child = ld64_acq(&s->n->ptr[slot]);
	return unchanged(s) ? child : 0;
}

/* Slots of a leaf that may hold K. */
static inline uint32_t slots_of(const struct stop *s, struct bkey k)
{
	uint64_t kh = twzdb__head(k, HDR_PFX(s->hdr));

	return unlikely(kh == UINT64_MAX) ? 0 : twzdb__heads(s->n->head, kh).eq;
}

/* Records of usual sizes; the address of the value depends on what the first line says. */
static inline void fetch_rec(const struct twzdb *db, uint64_t p)
{
	uint64_t no = p >> TWZ_PPTR_OFF_BITS;
	const uint8_t *r;

	if (unlikely(no >= TWZDB_NO_DATA + TWZDB_OBJ_MAX))
		return;
	r = (const uint8_t *)(db->map[no].base + (p & TWZ_PPTR_OFF_MASK));
	fetch(r);
	fetch(r + 64);
	fetch(r + 128);
}

/* What kind of record it is, and whether LIVE. */
static inline void fetch_rec_head(const struct twzdb *db, uint64_t p)
{
	uint64_t no = p >> TWZ_PPTR_OFF_BITS;

	if (likely(no < TWZDB_NO_DATA + TWZDB_OBJ_MAX))
		fetch((const uint8_t *)(db->map[no].base + (p & TWZ_PPTR_OFF_MASK) +
					offsetof(struct rec_pm, vlf)));
}

/*
 * A way down, one step at a time. step() looks at the node the way has come to: WAY_LEAF if that
 * is a leaf, WAY_ON if the next node's lines have been asked for, WAY_LOST otherwise.
 */
enum way_end { WAY_ON, WAY_LEAF, WAY_LOST };
struct way {
	struct stop up, here;
	const struct node_pm *next;
	uint64_t at;   /* pointer of NEXT, then of HERE */
	unsigned left; /* levels there can be below UP */
};

static inline bool way_begin(struct twzdb *db, uint64_t root, struct way *w)
{
	w->up.n = NULL;
	w->at = root;
	w->next = node_at(db, root);
	w->left = TWZDB_LEVEL_MAX + 1;
	return w->next;
}

static inline enum way_end way_step(struct twzdb *db, struct bkey k, struct way *w)
{
	if (unlikely(!arrive(w->next, &w->here) || HDR_LEVEL(w->here.hdr) >= w->left))
		return WAY_LOST;
	/* The way may have changed before this node was looked at. */
	if (unlikely(w->up.n && !unchanged(&w->up)))
		return WAY_LOST;
	w->left = HDR_LEVEL(w->here.hdr);
	if (!w->left)
		return WAY_LEAF;
	w->at = child_of(&w->here, k);
	w->next = node_at(db, w->at);
	if (unlikely(!w->next))
		return WAY_LOST;
	fetch_node(w->next);
	w->up = w->here;
	return WAY_ON;
}

#endif
