/* SPDX-License-Identifier: MIT
 * simd_avx512.c -- comparisons eight words at a time (x86-64 only)
 */
#include "fast_one.h"

#include <immintrin.h>

#include "simd_lzcnt.h"

#define AVX512_FAST                                                                                \
	__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,popcnt,bmi,bmi2,lzcnt")))
#define AVX512                                                                                     \
	__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,popcnt,bmi,bmi2,lzcnt"),         \
		       no_sanitize("thread")))

static bool usable(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
	       __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
	       __builtin_cpu_supports("bmi2") && twzdb__has_lzcnt() &&
	       __builtin_cpu_supports("popcnt");
}

/* 28 heads: three registers and a half. */
AVX512 static struct headmask heads(const uint64_t head[TWZDB_FANOUT], uint64_t kh)
{
	const __m512i k = _mm512_set1_epi64((int64_t)kh);
	__m512i a = _mm512_loadu_si512(head), b = _mm512_loadu_si512(head + 8),
		c = _mm512_loadu_si512(head + 16), d = _mm512_maskz_loadu_epi64(0x0f, head + 24);
	struct headmask m;

	m.below = _mm512_kunpackw(
		_mm512_kunpackb(_mm512_mask_cmplt_epu64_mask(0x0f, d, k),
				_mm512_cmplt_epu64_mask(c, k)),
		_mm512_kunpackb(_mm512_cmplt_epu64_mask(b, k), _mm512_cmplt_epu64_mask(a, k)));
	m.below = (uint32_t)__builtin_popcount(m.below);
	m.eq = _mm512_kunpackw(
		_mm512_kunpackb(_mm512_mask_cmpeq_epu64_mask(0x0f, d, k),
				_mm512_cmpeq_epu64_mask(c, k)),
		_mm512_kunpackb(_mm512_cmpeq_epu64_mask(b, k), _mm512_cmpeq_epu64_mask(a, k)));
	return m;
}

AVX512 static unsigned words(const uint64_t word[8], uint64_t mask, uint64_t want)
{
	__m512i x = _mm512_xor_si512(_mm512_loadu_si512(word), _mm512_set1_epi64((int64_t)want));

	return _mm512_testn_epi64_mask(x, _mm512_set1_epi64((int64_t)mask));
}

/*
 * The same for fast.h, in registers above 15: those have no older half, so none must be cleared
 * before other code runs, and more of them are free.
 */
AVX512 static inline unsigned tags(const uint64_t entry[8], uint64_t hash)
{
	static const uint64_t mask = ACC_TAG_MASK;
	unsigned m;

	__asm__("vpbroadcastq %[hash], %%zmm16\n\t"
		"vpxorq %[entry], %%zmm16, %%zmm16\n\t"
		"vptestnmq %[mask]%{1to8%}, %%zmm16, %%k1\n\t"
		"kmovb %%k1, %[m]"
		: [m] "=r"(m)
		: [hash] "r"(hash), [entry] "m"(*(const uint64_t(*)[8])entry), [mask] "m"(mask)
		: "xmm16", "k1");
	return m;
}

/* Up to 32 bytes. What lies behind them is not read, even if it is not there. */
AVX512 static inline bool same(const uint8_t *a, const uint8_t *b, uint64_t len)
{
	static const uint32_t ones[33] = {
		0,	   1,	       3,	   7,	       0xf,	  0x1f,	     0x3f,
		0x7f,	   0xff,       0x1ff,	   0x3ff,      0x7ff,	  0xfff,     0x1fff,
		0x3fff,	   0x7fff,     0xffff,	   0x1ffff,    0x3ffff,	  0x7ffff,   0xfffff,
		0x1fffff,  0x3fffff,   0x7fffff,   0xffffff,   0x1ffffff, 0x3ffffff, 0x7ffffff,
		0xfffffff, 0x1fffffff, 0x3fffffff, 0x7fffffff, 0xffffffff};
	bool eq;

	__asm__("kmovd %[bits], %%k1\n\t"
		"vmovdqu8 %[a], %%ymm16%{%%k1%}%{z%}\n\t"
		"vpcmpnequb %[b], %%ymm16, %%k1%{%%k1%}\n\t"
		"kortestd %%k1, %%k1"
		: "=@ccz"(eq)
		: [bits] "m"(ones[len]), [a] "m"(*(const uint8_t(*)[32])a),
		  [b] "m"(*(const uint8_t(*)[32])b)
		: "xmm16", "k1");
	return eq;
}

AVX512_FAST static int get(struct twzdb_txn *tx, uint64_t h, uint64_t tag, const void *key,
			   size_t len, struct twzdb_slice *value)
{
	return fast_get(tx, h, tag, key, len, value, (struct fast){heads, tags, same});
}

AVX512_FAST static uint64_t find(struct twzdb *db, uint64_t root, struct bkey k,
				 const struct rec_pm **rec)
{
	return fast_find(db, root, k, rec, (struct fast){heads, tags, same});
}

AVX512_FAST static bool spot(struct twzdb *db, uint64_t root, struct bkey k, struct spot *s)
{
	return fast_spot(db, root, k, s, (struct fast){heads, tags, same});
}

AVX512_FAST static int put_one(struct twzdb *db, struct twzdb_table t,
			       const struct twzdb_slice *key, const struct twzdb_slice *value,
			       uint32_t flags)
{
	return fast_put_one(db, t, *key, *value, flags, (struct fast){heads, tags, same});
}

AVX512_FAST static int del_one(struct twzdb *db, struct twzdb_table t,
			       const struct twzdb_slice *key)
{
	return fast_del_one(db, t, *key, (struct fast){heads, tags, same});
}

const struct twzdb__simd twzdb__simd_avx512 = {"avx512", usable, heads,	  words,  get,
					       find,	 spot,	 put_one, del_one};
