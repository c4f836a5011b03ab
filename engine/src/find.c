/* SPDX-License-Identifier: MIT
 * find.c -- a reader's straight way to a row, while nothing is in its way
 *
 * What search.c does, without its questions: a node that is being changed, a tie between heads in
 * an inner node, a key that is not where it would be, anything out of range: all of that is "not
 * this way" here, and search.c finds out what it means. So whatever is found here is right (the
 * version words say so), and what is not found has not been looked for.
 */
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

static inline bool unchanged(const struct stop *s)
{
	twzdb__order();
	return likely(ld32(&s->n->ver) == (uint32_t)s->hdr);
}

/* Line 0 says where to go, lines 1 to 4 are the heads; of the pointers one will do. */
static inline void fetch_node(const struct node_pm *n)
{
	for (unsigned i = 0; i < offsetof(struct node_pm, ptr); i += 64)
		__builtin_prefetch((const uint8_t *)n + i);
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

static inline bool down(struct twzdb *db, uint64_t p, struct bkey k, struct stop *leaf)
{
	const struct node_pm *n = node_at(db, p);
	struct stop up = {NULL, 0}, here;

	for (unsigned left = TWZDB_LEVEL_MAX + 1; n && left; left--) {
		if (unlikely(!arrive(n, &here) || HDR_LEVEL(here.hdr) >= left))
			return false;
		left = HDR_LEVEL(here.hdr) + 1;
		/* The way may have changed before this node was looked at. */
		if (unlikely(up.n && !unchanged(&up)))
			return false;
		if (left == 1) {
			*leaf = here;
			return true;
		}
		n = node_at(db, child_of(&here, k));
		if (n)
			fetch_node(n);
		up = here;
	}
	return false;
}

/* Records of usual sizes; the address of the value depends on what the first line says. */
static inline void fetch_rec(struct twzdb *db, uint64_t p)
{
	const uint8_t *r = twzdb__at(db, p, sizeof(struct rec_pm));

	if (likely(r)) {
		__builtin_prefetch(r);
		__builtin_prefetch(r + 64);
		__builtin_prefetch(r + 128);
	}
}

static bool is_key(struct twzdb *db, uint64_t p, struct bkey k)
{
	const struct rec_pm *r;

	return !twzdb__rec_at(db, p, &r) && rec_klen(r) == k.len &&
	       !memcmp(rec_key(r), k.p, k.len);
}

uint64_t twzdb__find(struct twzdb_txn *tx, uint64_t root, struct bkey k)
{
	struct stop leaf;
	uint32_t slots;

	if (unlikely(!down(tx->db, root, k, &leaf)))
		return 0;
	for (slots = slots_of(&leaf, k); slots; slots &= slots - 1) {
		uint64_t p = ld64_acq(&leaf.n->ptr[__builtin_ctz(slots)]);

		fetch_rec(tx->db, p);
		if (unlikely(!unchanged(&leaf)))
			return 0;
		if (is_key(tx->db, p, k))
			return p;
	}
	return 0;
}
