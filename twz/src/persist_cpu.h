/* SPDX-License-Identifier: MIT
 * persist_cpu.h -- the flush instructions this build knows; on other processors libpmem2's ops do the work
 */
#ifndef TWZ_SRC_PERSIST_CPU_H
#define TWZ_SRC_PERSIST_CPU_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

#define TWZ__CPU_DIRECT 1 /* what follows is what a medium's ops do */

static inline bool twz__cpu_clwb_known(void)
{
	unsigned a, b, c, d;

	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && b & bit_CLWB;
}

/* CNT lines from LINE on. */
__attribute__((target("clwb"))) static inline void twz__cpu_clwb(uintptr_t line, uint64_t cnt)
{
	for (; cnt; cnt--, line += 64)
		_mm_clwb((void *)line);
}

static inline void twz__cpu_stream8(void *to, const void *from)
{
	long long w;

	memcpy(&w, from, sizeof(w));
	_mm_stream_si64(to, w);
}

static inline void twz__cpu_stream16(void *to, const void *from)
{
	_mm_stream_si128((__m128i *)to, _mm_load_si128((const __m128i *)from));
}

static inline void twz__cpu_sfence(void)
{
	_mm_sfence();
}
#else
#define TWZ__CPU_DIRECT 0 /* nothing of what follows is ever called */

static inline bool twz__cpu_clwb_known(void)
{
	return false;
}

static inline void twz__cpu_clwb(uintptr_t line, uint64_t cnt)
{
	(void)line;
	(void)cnt;
}

static inline void twz__cpu_stream8(void *to, const void *from)
{
	memcpy(to, from, 8);
}

static inline void twz__cpu_stream16(void *to, const void *from)
{
	memcpy(to, from, 16);
}

static inline void twz__cpu_sfence(void)
{
}
#endif

#endif
