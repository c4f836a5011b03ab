/* SPDX-License-Identifier: MIT
 * accel.h -- the accelerator's table: a volatile hash of records by key (accel.c has the argument)
 */
#ifndef TWZDB_ACCEL_H
#define TWZDB_ACCEL_H

#include "find.h"

#ifndef XXH_INLINE_ALL
#define XXH_INLINE_ALL /* short keys: the call would cost as much as the hash */
#endif
#include <xxhash.h>

/*
 * An entry: bits 0..28 of the hash, its tag; above them where a record is: the distance, in units of
 * 16 bytes, from the first block object 0 would have. 0 = empty. The number of its bucket is made of
 * the hash's highest ten bits, and the tag's from the lowest on above them: the tag includes all of it but
 * the lowest ten.
 */
#define ACC_TAG_BITS 29
#define ACC_TAG_MASK (((uint64_t)1 << ACC_TAG_BITS) - 1)
#define ACC_LOW_BITS 10
#define ACC_SLOTS    8
#define ACC_MIN	     ((uint64_t)1 << ACC_LOW_BITS) /* buckets at the start */
#define ACC_FIRST    (TWZ_DATA_OFF + sizeof(struct unit_pm))
_Static_assert((uint64_t)(TWZDB_NO_DATA + TWZDB_OBJ_MAX) << (TWZ_PPTR_OFF_BITS - 4) <=
		       (uint64_t)1 << (64 - ACC_TAG_BITS),
	       "every record's pointer fits");
/* Parts of an entry: the unit, counted through all objects there could be, and bytes in it. */
#define ACC_UNIT(e) ((e) >> (ACC_TAG_BITS + TWZDB_UNIT_SHIFT - 4))
#define ACC_OFF(e)  ((uint32_t)((e) >> (ACC_TAG_BITS - 4)) & (TWZDB_UNIT_LEN - 16))
#define ACC_UNITS   ((uint64_t)1 << (64 - ACC_TAG_BITS - TWZDB_UNIT_SHIFT + 4))

/* What keys are mixed with. Numbers without meaning; in memory, where they cost no instruction. */
extern uint64_t twzdb__acc_secret[3] __attribute__((visibility("hidden")));

static inline uint64_t acc_word(const uint8_t *p)
{
	uint64_t w;

	memcpy(&w, p, sizeof(w));
	return w;
}
__extension__ typedef unsigned __int128 acc_u128;
static inline uint64_t acc_mix(uint64_t a, uint64_t b)
{
	acc_u128 p = (acc_u128)a * b;

	return (uint64_t)p ^ (uint64_t)(p >> 64);
}

/* Two to four words cover such a key; they overlap if there is not enough for them. */
static inline bool key_is_short(uint64_t len)
{
	return len - 8 <= 24;
}
/* WANT: twzdb__rec_want() of the table. */
static inline uint64_t short_hash(const uint8_t *p, uint64_t len, uint64_t want)
{
	const uint64_t *s = twzdb__acc_secret;
	uint64_t h = acc_word(p) ^ s[0];

	if (likely(len > 16))
		h = acc_mix(h, acc_word(p + 8) ^ s[1]);
	if (unlikely(len > 24))
		h = acc_mix(h, acc_word(p + 16) ^ s[2]);
	return acc_mix(h ^ len, acc_word(p + len - 8) ^ want);
}
static inline bool short_same(const uint8_t *a, const uint8_t *b, uint64_t len)
{
	uint64_t diff =
		(acc_word(a) ^ acc_word(b)) | (acc_word(a + len - 8) ^ acc_word(b + len - 8));

	if (likely(len >= 16))
		diff |= (acc_word(a + 8) ^ acc_word(b + 8)) |
			(acc_word(a + len - 16) ^ acc_word(b + len - 16));
	return !diff;
}
static inline uint64_t acc_hash(uint32_t table_tag, struct bkey k)
{
	if (likely(key_is_short(k.len)))
		return short_hash(k.p, k.len, twzdb__rec_want(table_tag));
	return XXH3_64bits_withSeed(k.p, k.len, table_tag);
}
/* What an entry of a row with this hash at P is. */
static inline uint64_t acc_entry(uint64_t hash, uint64_t p)
{
	return (hash & ACC_TAG_MASK) | (p - ACC_FIRST) >> 4 << ACC_TAG_BITS;
}
static inline uint64_t acc_ptr(uint64_t entry)
{
	return (entry >> ACC_TAG_BITS << 4) + ACC_FIRST;
}

/*
 * Number of the bucket among N (not 0; MASK has as many bits as it, HALF one less): the low bits of
 * the number, one fewer if that bucket has not been split off yet.
 */
static inline uint64_t acc_index_in(uint64_t hash, uint64_t n, uint64_t mask, uint64_t half)
{
	uint64_t i = (hash << ACC_LOW_BITS | hash >> (64 - ACC_LOW_BITS)) & mask, before = i & half;

	return i < n ? i : before;
}
static inline uint64_t acc_mask(uint64_t n)
{
	return ~(uint64_t)0 >> __builtin_clzll(n);
}
static inline uint64_t acc_index(uint64_t hash, uint64_t n)
{
	return acc_index_in(hash, n, acc_mask(n), acc_mask(n) >> 1);
}

/* NULL: there is no accelerator, or its head is damaged. */
static inline uint64_t *acc_bucket(const struct twzdb *db, uint64_t hash)
{
	uint64_t n = ld64_acq(&db->acc.head->n);

	if (unlikely(n - 1 >= db->acc.max))
		return NULL;
	return db->acc.bucket[acc_index(hash, n)];
}

static inline unsigned acc_match(const uint64_t *bucket, uint64_t hash)
{
	return __atomic_load_n(&twzdb__simd, __ATOMIC_RELAXED)->words(bucket, ACC_TAG_MASK, hash);
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

/* Is what P leads to, in a leaf, a row (or tombstone, or fence: nobody else) of K? */
static inline bool is_key(struct twzdb *db, uint64_t p, struct bkey k, const struct rec_pm **rec)
{
	const struct rec_pm *r = p & 15 ? NULL : twzdb__at(db, p, sizeof(*r));

	if (unlikely(!r || rec_klen_short(r) != k.len ||
		     !twzdb__at(db, p, TWZDB_REC_LEN + (uint64_t)k.len + rec_vlen_short(r))))
		return false;
	*rec = r;
	return key_same(r->data, k.p, k.len);
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

/* In bucket B, which may be NULL. AT: where the entry stands. */
static inline uint64_t acc_find_at(struct twzdb *db, uint64_t *b, uint32_t table_tag, struct bkey k,
				   uint64_t hash, const struct rec_pm **rec, uint64_t **at)
{
	unsigned m = likely(b) ? acc_match(b, hash) : 0;

	for (; m; m &= m - 1) {
		uint64_t p;

		*at = &b[__builtin_ctz(m)];
		p = acc_ptr(ld64(*at));
		fetch_rec(db, p);
		if (likely(acc_verify(db, p, table_tag, k, rec)))
			return p;
	}
	return 0;
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
