/* SPDX-License-Identifier: MIT
 * simd_avx2.c -- comparisons four words at a time (x86-64 only)
 */
#include "fast_one.h"

#include <immintrin.h>

#include "simd_lzcnt.h"

#define AVX2_FAST __attribute__((target("avx2,popcnt,bmi,bmi2,lzcnt")))
#define AVX2	  __attribute__((target("avx2,popcnt,bmi,bmi2,lzcnt"), no_sanitize("thread")))

static bool usable(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") &&
	       twzdb__has_lzcnt() && __builtin_cpu_supports("popcnt");
}

/* There is only a signed comparison: turning the top bits over makes it the unsigned one. */
AVX2 static struct headmask heads(const uint64_t head[TWZDB_FANOUT], uint64_t kh)
{
	const __m256i top = _mm256_set1_epi64x(INT64_MIN), k = _mm256_set1_epi64x((int64_t)kh),
		      kt = _mm256_xor_si256(k, top);
	struct headmask m = {0, 0};
	uint32_t below = 0;

	for (unsigned i = 0; i < TWZDB_FANOUT; i += 4) {
		__m256i h = _mm256_loadu_si256((const __m256i *)(const void *)(head + i));
		__m256i lt = _mm256_cmpgt_epi64(kt, _mm256_xor_si256(h, top)),
			eq = _mm256_cmpeq_epi64(k, h);

		below |= (uint32_t)_mm256_movemask_pd(_mm256_castsi256_pd(lt)) << i;
		m.eq |= (uint32_t)_mm256_movemask_pd(_mm256_castsi256_pd(eq)) << i;
	}
	m.below = (uint32_t)__builtin_popcount(below);
	return m;
}

AVX2 static unsigned words(const uint64_t word[8], uint64_t mask, uint64_t want)
{
	const __m256i zero = _mm256_setzero_si256(), m = _mm256_set1_epi64x((int64_t)mask),
		      w = _mm256_set1_epi64x((int64_t)want);
	unsigned out = 0;

	for (unsigned i = 0; i < 8; i += 4) {
		__m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(word + i));

		x = _mm256_cmpeq_epi64(_mm256_and_si256(_mm256_xor_si256(x, w), m), zero);
		out |= (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(x)) << i;
	}
	return out;
}

AVX2 static unsigned tags(const uint64_t entry[8], uint64_t hash)
{
	return words(entry, ACC_TAG_MASK, hash);
}

AVX2_FAST static int get(struct twzdb_txn *tx, uint64_t h, uint64_t tag, const void *key,
			 size_t len, struct twzdb_slice *value)
{
	return fast_get(tx, h, tag, key, len, value, (struct fast){heads, tags, short_same});
}

AVX2_FAST static uint64_t find(struct twzdb *db, uint64_t root, struct bkey k,
			       const struct rec_pm **rec)
{
	return fast_find(db, root, k, rec, (struct fast){heads, tags, short_same});
}

AVX2_FAST static bool spot(struct twzdb *db, uint64_t root, struct bkey k, struct spot *s)
{
	return fast_spot(db, root, k, s, (struct fast){heads, tags, short_same});
}

AVX2_FAST static int put_one(struct twzdb *db, struct twzdb_table t, const struct twzdb_slice *key,
			     const struct twzdb_slice *value, uint32_t flags)
{
	return fast_put_one(db, t, *key, *value, flags, (struct fast){heads, tags, short_same});
}

AVX2_FAST static int del_one(struct twzdb *db, struct twzdb_table t, const struct twzdb_slice *key)
{
	return fast_del_one(db, t, *key, (struct fast){heads, tags, short_same});
}

const struct twzdb__simd twzdb__simd_avx2 = {"avx2", usable, heads,   words,  get,
					     find,   spot,   put_one, del_one};
