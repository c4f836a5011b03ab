/* SPDX-License-Identifier: MIT
 * fast.h -- the usual read, as short as it can be; compiled once for each variant of processor (simd_*.c)
 *
 * What a read waits for is memory, and how many reads wait at the same time is decided by how few
 * instructions one of them has. So here the comparisons are no calls, a key of usual length is
 * hashed and compared without loops, and each thing is checked once. Whatever is not usual is left
 * to point.c, scan.c and search.c, which find out what it means.
 */
#ifndef TWZDB_FAST_H
#define TWZDB_FAST_H

#include "accel.h"

#define ALWAYS_INLINE __attribute__((always_inline)) inline

/* What differs between processors. Functions that are named in an initialiser become inline. */
struct fast {
	struct headmask (*heads)(const uint64_t head[TWZDB_FANOUT], uint64_t kh);
	unsigned (*tags)(const uint64_t entry[8],
			 uint64_t hash); /* bit i: entry i has the hash's tag */
	bool (*same)(const uint8_t *a, const uint8_t *b, uint64_t len); /* LEN: key_is_short() */
};

/*
 * acc_verify() for a version TX sees: the same checks, each for less. What is known of the unit was
 * right for the value of cut_seq TX has, and is right as long as that is the value. Its fields are
 * bounds that keep R in its unit whatever else they say. The record's word and the one WANTed differ
 * in the length of the value, and in nothing else.
 */
static ALWAYS_INLINE bool is_row_of(const struct twzdb_txn *tx, const struct rec_pm *r,
				    const struct grid *g, uint32_t off, const uint8_t *key,
				    uint64_t len, uint64_t *vlen, const struct fast f)
{
	uint64_t room = grid_room(g);

	if (unlikely(!grid_has(g, off)))
		return false;
	*vlen = twzdb__rec_what(r) ^ (tx->want | len << 32);
	if (unlikely(len > room || *vlen > room - len || !f.same(r->data, key, len)))
		return false;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return likely(ld64(&tx->db->sh->cut_seq) == tx->cut_seq && ld64(&r->ts) <= tx->read_ts);
}

static ALWAYS_INLINE int fast_get(struct twzdb_txn *tx, uint64_t h, uint64_t tag, const void *key,
				  size_t len, struct twzdb_slice *value, const struct fast f)
{
	const struct twzdb *db;
	const struct rec_pm *r;
	const struct acc_unit *unit;
	const uint64_t *b;
	uint64_t hash, vlen, e;
	unsigned hit;

	if (unlikely(!tx || !h || h != tx->quick || tag != tx->use.tag || !key || !value))
		return twzdb__get_any(tx, h, tag, key, len, value);
	db = tx->db;
	if (unlikely(!key_is_short(len)))
		goto other;
	hash = short_hash(key, len, tx->want);
	b = db->acc.bucket[acc_index_in(hash, ld64(&db->acc.n), ld64(&db->acc.mask),
					ld64(&db->acc.half))];
	hit = f.tags(b, hash);
	if (unlikely(!hit))
		goto other;
	e = ld64(&b[__builtin_ctz(hit)]);
	unit = &db->acc.unit[ACC_UNIT(e)];
	r = (const struct rec_pm *)(ld64(&unit->at) + ACC_OFF(e));
	if (unlikely(!is_row_of(tx, r, &unit->grid, ACC_OFF(e), key, len, &vlen, f)))
		goto other;
	value->ptr = r->data + len;
	value->len = vlen;
	return 0;
other:
	return twzdb__get_usual(tx, key, len, value);
}

/*
 * The way down of find.h in one go, to the leaf that holds K or stands left of it; false: not this
 * way. A node's heads are asked for, all at once, by the comparison; its pointers, of which one is the next to be
 * looked at, together with them.
 */
static ALWAYS_INLINE bool fast_descend(struct twzdb *db, uint64_t root, struct bkey k, uint64_t *at,
				       struct stop *leaf, const struct fast f)
{
	const struct node_pm *n = node_at(db, root);
	struct stop here, up;

	if (unlikely(!n || !arrive(n, &here)))
		return false;
	*at = root;
	for (unsigned level = HDR_LEVEL(here.hdr); level; level--) {
		struct headmask m = f.heads(n->head, twzdb__head(k, HDR_PFX(here.hdr)));
		unsigned idx = m.below - (m.below > 0), slot;

		if (unlikely(m.eq || idx >= HDR_N(here.hdr)))
			return false;
		slot = __atomic_load_n(&n->perm[idx], __ATOMIC_RELAXED);
		if (unlikely(slot >= TWZDB_FANOUT))
			return false;
		*at = ld64_acq(&n->ptr[slot]);
		if (unlikely(!unchanged(&here)))
			return false;
		n = node_at(db, *at);
		if (likely(n)) {
			fetch(&n->ptr[0]);
			fetch(&n->ptr[8]);
			fetch(&n->ptr[16]);
			fetch(&n->ptr[24]);
		}
		up = here;
		if (unlikely(!n || !arrive(n, &here) || HDR_LEVEL(here.hdr) != level - 1 ||
			     !unchanged(&up)))
			return false;
	}
	*leaf = here;
	return true;
}

static ALWAYS_INLINE uint64_t fast_find(struct twzdb *db, uint64_t root, struct bkey k,
					const struct rec_pm **rec, const struct fast f)
{
	struct stop leaf;
	uint64_t at, kh, p;
	uint32_t slots;

	if (unlikely(!fast_descend(db, root, k, &at, &leaf, f)))
		return 0;
	kh = twzdb__head(k, HDR_PFX(leaf.hdr));
	if (unlikely(kh == UINT64_MAX))
		return 0;
	for (slots = f.heads(leaf.n->head, kh).eq; slots; slots &= slots - 1) {
		p = ld64_acq(&leaf.n->ptr[__builtin_ctz(slots)]);
		if (unlikely(!unchanged(&leaf)))
			return 0;
		if (likely(is_key(db, p, k, rec)))
			return p;
	}
	return 0;
}

static ALWAYS_INLINE bool fast_spot(struct twzdb *db, uint64_t root, struct bkey k, struct spot *s,
				    const struct fast f)
{
	struct stop leaf;
	uint64_t at, kh;

	if (unlikely(!fast_descend(db, root, k, &at, &leaf, f)))
		return false;
	kh = twzdb__head(k, HDR_PFX(leaf.hdr));
	s->leaf = (struct nref){leaf.n, at, (uint32_t)leaf.hdr};
	s->n = HDR_N(leaf.hdr);
	s->m = f.heads(leaf.n->head, kh);
	return likely(kh != UINT64_MAX);
}

#endif
