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

#include "internal.h"
#include "persist_cpu.h"

static inline void twz__stat_bump(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

#define WORDWISE_LEN ((size_t)256)

/* LEN bytes, a multiple of 8, to a new line. */
static inline void twz__stream_words(char *to, const char *from, size_t len)
{
	for (; len >= TWZ_LINE_SIZE; len -= TWZ_LINE_SIZE) {
#pragma GCC unroll 8
		for (int i = 0; i < TWZ_LINE_SIZE; i += 8)
			twz__cpu_stream8(to + i, from + i);
		to += TWZ_LINE_SIZE;
		from += TWZ_LINE_SIZE;
	}
	for (; len; len -= 8, to += 8, from += 8)
		twz__cpu_stream8(to, from);
}

/* LEN bytes, a multiple of a line, between aligned addresses. */
static inline void twz__stream_lines(char *to, const char *from, size_t len)
{
	for (size_t i = 0; i < len; i += 16)
		twz__cpu_stream16(to + i, from + i);
}

/*
 * twz_copy_nt() of LEN bytes and zeros up to the end of the last line, between line-aligned
 * addresses; SRC has room up to there, and gets the zeros. Cache-line media only.
 *
 * Word by word where the bytes were probably stored word by word just now: behind the fence of the
 * record before, those stores wait, and a wider load would have to wait for them instead of taking
 * the words from the store buffer.
 */
static inline void twz__copy_lines(struct twz_store *s, void *dst, void *src, size_t len)
{
	size_t total = (len + TWZ_LINE_SIZE - 1) & ~(size_t)(TWZ_LINE_SIZE - 1);
	char *to = dst, *from = src;

	for (size_t i = len; i & 7; i++)
		from[i] = 0;
	for (size_t i = (len + 7) & ~(size_t)7; i < total; i += 8)
		memset(from + i, 0, 8);
	if (twz__unlikely(!s->media->direct)) {
		twz_copy_nt(s, dst, src, total);
		return;
	}
	twz__stat_bump(&s->stats.nt_bytes, total);
	if (twz__likely(total <= WORDWISE_LEN)) {
		twz__stream_words(to, from, total);
		return;
	}
	twz__stream_words(to, from, WORDWISE_LEN);
	twz__stream_lines(to + WORDWISE_LEN, from + WORDWISE_LEN, total - WORDWISE_LEN);
}

/* twz_fence() on cache-line media. */
static inline void twz__fence_lines(struct twz_store *s)
{
	if (twz__unlikely(!s->media->direct)) {
		twz_fence(s);
		return;
	}
	twz__stat_bump(&s->stats.fences, 1);
	twz__cpu_sfence();
}

#endif
