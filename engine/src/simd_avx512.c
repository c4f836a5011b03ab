/* SPDX-License-Identifier: MIT
 * simd_avx512.c -- comparisons eight words at a time (x86-64 only)
 */
#include "simd.h"

#include <immintrin.h>

#define AVX512 __attribute__((target("avx512f,popcnt"), no_sanitize("thread")))

static bool usable(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("popcnt");
}

/* 28 heads: three registers and a half. */
AVX512 static struct headmask heads(const uint64_t head[TWZDB_FANOUT], uint64_t kh)
{
	const __m512i k = _mm512_set1_epi64((int64_t)kh);
	__m512i a = _mm512_loadu_si512(head), b = _mm512_loadu_si512(head + 8),
		c = _mm512_loadu_si512(head + 16), d = _mm512_maskz_loadu_epi64(0x0f, head + 24);
	struct headmask m;

	m.below = (uint32_t)_mm512_cmplt_epu64_mask(a, k) |
		  (uint32_t)_mm512_cmplt_epu64_mask(b, k) << 8 |
		  (uint32_t)_mm512_cmplt_epu64_mask(c, k) << 16 |
		  (uint32_t)_mm512_mask_cmplt_epu64_mask(0x0f, d, k) << 24;
	m.below = (uint32_t)__builtin_popcount(m.below);
	m.eq = (uint32_t)_mm512_cmpeq_epu64_mask(a, k) |
	       (uint32_t)_mm512_cmpeq_epu64_mask(b, k) << 8 |
	       (uint32_t)_mm512_cmpeq_epu64_mask(c, k) << 16 |
	       (uint32_t)_mm512_mask_cmpeq_epu64_mask(0x0f, d, k) << 24;
	return m;
}

AVX512 static unsigned words(const uint64_t word[8], uint64_t mask, uint64_t want)
{
	__m512i x = _mm512_xor_si512(_mm512_loadu_si512(word), _mm512_set1_epi64((int64_t)want));

	return _mm512_testn_epi64_mask(x, _mm512_set1_epi64((int64_t)mask));
}

const struct twzdb__simd twzdb__simd_avx512 = {"avx512", usable, heads, words};
