/* SPDX-License-Identifier: MIT
 * simd_sum_avx2.c -- checksums of long values 32 bytes at a time: xxHash chooses by what this file is compiled for (x86-64 only)
 */
#include "simd.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t twzdb__sum_avx2(const void *p, size_t len, uint64_t seed)
{
	return XXH3_64bits_withSeed(p, len, seed);
}
