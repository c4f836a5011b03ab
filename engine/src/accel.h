/* SPDX-License-Identifier: MIT
 * accel.h -- the accelerator's table: a volatile hash of records by key (accel.c has the argument)
 */
#ifndef TWZDB_ACCEL_H
#define TWZDB_ACCEL_H

#include "find.h"

#define XXH_INLINE_ALL /* short keys: the call would cost as much as the hash */
#include <xxhash.h>

/*
 * An entry: bits 0..34 the record's pointer / 16, bits 35..63 its tag: bits 10..38 of the hash.
 * 0 = empty. The tag includes every bit the bucket's number can be made of but the lowest ten.
 */
#define ACC_PTR_BITS 35
#define ACC_PTR_MASK (((uint64_t)1 << ACC_PTR_BITS) - 1)
#define ACC_LOW_BITS 10
#define ACC_TAG_BITS (64 - ACC_PTR_BITS)
#define ACC_SLOTS    8
#define ACC_MIN	     ((uint64_t)1 << ACC_LOW_BITS) /* buckets at the start */
_Static_assert((uint64_t)(TWZDB_NO_DATA + TWZDB_OBJ_MAX) << (TWZ_PPTR_OFF_BITS - 4) <=
		       ACC_PTR_MASK + 1,
	       "every record's pointer fits");

static inline uint64_t acc_hash(uint32_t table_tag, struct bkey k)
{
	return XXH3_64bits_withSeed(k.p, k.len, table_tag);
}
static inline uint64_t acc_tag(uint64_t hash)
{
	return hash >> ACC_LOW_BITS << ACC_PTR_BITS;
}
static inline uint64_t acc_ptr(uint64_t entry)
{
	return (entry & ACC_PTR_MASK) << 4;
}

/*
 * Number of the bucket among N (not 0): the low bits of the hash, one fewer if that bucket has
 * not been split off yet.
 */
static inline uint64_t acc_index(uint64_t hash, uint64_t n)
{
	uint64_t mask = ~(uint64_t)0 >> __builtin_clzll(n), i = hash & mask;

	return i < n ? i : i & mask >> 1;
}

/* NULL: there is no accelerator, or its head is damaged. */
static inline uint64_t *acc_bucket(const struct twzdb *db, uint64_t hash)
{
	uint64_t n;

	if (unlikely(!db->acc.max))
		return NULL;
	n = ld64_acq(&db->acc.head->n);
	if (unlikely(n - 1 >= db->acc.max))
		return NULL;
	return db->acc.bucket[acc_index(hash, n)];
}

static inline unsigned acc_match(const uint64_t *bucket, uint64_t hash)
{
	return __atomic_load_n(&twzdb__simd, __ATOMIC_RELAXED)
		->words(bucket, ~ACC_PTR_MASK, acc_tag(hash));
}

static inline bool key_same(const uint8_t *a, const uint8_t *b, uint32_t len)
{
	uint64_t x, y, diff = 0;
	uint32_t i;

	if (unlikely(len < 8))
		return !memcmp(a, b, len);
	for (i = 0; i + 8 < len; i += 8) {
		memcpy(&x, a + i, 8);
		memcpy(&y, b + i, 8);
		diff |= x ^ y;
	}
	memcpy(&x, a + len - 8, 8);
	memcpy(&y, b + len - 8, 8);
	return !(diff | (x ^ y));
}

/*
 * Is P the newest version of K's row? Everything about P may be made up: is it a record's place,
 * and is the record there LIVE, a row's, of this table, of this key? LIVE is read first: from then
 * on nothing of the record changes while the transaction's snapshot is registered (accel.c).
 */
static inline bool acc_verify(struct twzdb *db, uint64_t p, uint32_t table_tag, struct bkey k,
			      const struct rec_pm **rec)
{
	const struct rec_pm *r = twzdb__at(db, p, sizeof(*r));
	uint64_t seq = ld64_acq(&db->sh->cut_seq);
	uint32_t vlf;

	if (unlikely(!r || seq & 1 || !twzdb__is_row(db, p)))
		return false;
	vlf = __atomic_load_n(&r->vlf, __ATOMIC_ACQUIRE);
	if (unlikely(!(vlf & TWZDB_VLF_LIVE) || vlf >> 30 > TWZDB_TOMB ||
		     r->klt != (TWZDB_KLT_TABLE(table_tag) | k.len) ||
		     !twzdb__at(db, p, TWZDB_REC_LEN + (uint64_t)k.len + (vlf & TWZDB_VLF_LEN))))
		return false;
	*rec = r;
	if (unlikely(!key_same(r->data, k.p, k.len)))
		return false;
	/* Still a record's place? What is LIVE in it keeps it so from now on. */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return likely(ld64(&db->sh->cut_seq) == seq);
}

static inline uint64_t acc_find(struct twzdb *db, uint32_t table_tag, struct bkey k, uint64_t hash,
				const struct rec_pm **rec)
{
	uint64_t *b = acc_bucket(db, hash);
	unsigned m = likely(b) ? acc_match(b, hash) : 0;

	for (; m; m &= m - 1) {
		uint64_t p = acc_ptr(ld64(&b[__builtin_ctz(m)]));

		fetch_rec(db, p);
		if (likely(acc_verify(db, p, table_tag, k, rec)))
			return p;
	}
	return 0;
}

#endif
