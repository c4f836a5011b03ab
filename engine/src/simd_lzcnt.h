/* SPDX-License-Identifier: MIT
 * simd_lzcnt.h -- does the processor have LZCNT? (clang 14 cannot be asked by name)
 */
#ifndef TWZDB_SIMD_LZCNT_H
#define TWZDB_SIMD_LZCNT_H

#include <cpuid.h>
#include <stdbool.h>

static inline bool twzdb__has_lzcnt(void)
{
	unsigned int a, b, c, d;

	return __get_cpuid(0x80000001, &a, &b, &c, &d) && (c & 1u << 5);
}

#endif
