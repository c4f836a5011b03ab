/* SPDX-License-Identifier: MIT
 * persist_line.h -- the two instructions of a log record on cache-line media, without a call
 *
 * A record of a few lines costs a fence (about 190 ns) and some 3 ns a line; three calls through
 * pointers, and a copy that first looks at its length, would add a tenth to that. A medium says with
 * `direct` that the processor's own instructions are what its ops do; one that must see every
 * event (the crash simulator) does not.
 */
#ifndef TWZ_SRC_PERSIST_LINE_H
#define TWZ_SRC_PERSIST_LINE_H

#include <emmintrin.h>

#include "internal.h"

static inline void twz__stat_bump(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

#define WORDWISE_LEN ((size_t)256)

/*
 * twz_copy_nt() of LEN bytes and zeros up to the end of the last line, between line-aligned
 * addresses; SRC has room up to there. Cache-line media only.
 *
 * Word by word where the bytes were probably stored word by word just now: behind the fence of the
 * record before, those stores wait, and a wider load would have to wait for them instead of taking
 * the words from the store buffer.
 */
static inline void twz__copy_lines(struct twz_store *s, void *dst, const void *src, size_t len)
{
	size_t total = (len + TWZ_LINE_SIZE - 1) & ~(size_t)(TWZ_LINE_SIZE - 1), i = 0;
	size_t words = len < WORDWISE_LEN ? len : WORDWISE_LEN;
	char *to = dst;

	memset((char *)(uintptr_t)src + len, 0, -len & 7);
	if (twz__unlikely(!s->media->direct)) {
		memset((char *)(uintptr_t)src + len, 0, total - len);
		twz_copy_nt(s, dst, src, total);
		return;
	}
	twz__stat_bump(&s->stats.nt_bytes, total);
	for (; i < words; i += 8) {
		long long w;

		memcpy(&w, (const char *)src + i, 8);
		_mm_stream_si64((long long *)(void *)(to + i), w);
	}
	for (; i + 16 <= len; i += 16)
		_mm_stream_si128((__m128i *)(void *)(to + i),
				 _mm_load_si128((const __m128i *)(const void *)
							((const char *)src + i)));
	for (; i < len; i += 8) {
		long long w;

		memcpy(&w, (const char *)src + i, 8);
		_mm_stream_si64((long long *)(void *)(to + i), w);
	}
	for (; i < total; i += 8)
		_mm_stream_si64((long long *)(void *)(to + i), 0);
}

/* twz_fence() on cache-line media. */
static inline void twz__fence_lines(struct twz_store *s)
{
	if (twz__unlikely(!s->media->direct)) {
		twz_fence(s);
		return;
	}
	twz__stat_bump(&s->stats.fences, 1);
	_mm_sfence();
}

#endif
