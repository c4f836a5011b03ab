/* SPDX-License-Identifier: MIT
 * simd_lzcnt.h -- does the processor have LZCNT? (clang 14 cannot be asked by name)
 */
#ifndef TWZDB_SIMD_LZCNT_H
#define TWZDB_SIMD_LZCNT_H

#include <cpuid.h>
#include <stdbool.h>

/* Asked once: in a virtual machine CPUID takes as long as the rest of a small recovery. */
static inline bool twzdb__has_lzcnt(void)
{
	static int known; /* 0: not yet; else 1 + the answer */
	int k = __atomic_load_n(&known, __ATOMIC_RELAXED);
	unsigned int a, b, c, d;

	if (!k) {
		k = 1 + (__get_cpuid(0x80000001, &a, &b, &c, &d) && (c & 1u << 5));
		__atomic_store_n(&known, k, __ATOMIC_RELAXED);
	}
	return k == 2;
}

#endif
