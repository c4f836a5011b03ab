/* SPDX-License-Identifier: MIT
 * recsum.h -- the checksum of a record (format_db.h: rec_pm.sum), for whoever makes one
 */
#ifndef TWZDB_RECSUM_H
#define TWZDB_RECSUM_H

#include "internal.h"

#ifndef XXH_INLINE_ALL
#define XXH_INLINE_ALL /* short inputs: the call would cost as much as the hash */
#endif
#include <xxhash.h>

#define SUM_LONG 240 /* up to here xxHash uses no vectors: bytes */

/*
 * record.c: XXH3 16 bytes at a time on every x86-64. Measured: with AVX-512 the update of a row of 4 KiB by SQL takes a sixth to a fifth
 * longer as a whole, with AVX2 a twentieth, though the sum is a small part of it. (What is hashed was stored a moment ago, and is
 * seldom aligned to a line; that wide loads wait for such stores is a guess.)
 */
uint64_t twzdb__sum_long(const void *p, size_t len, uint64_t seed);

/* Of what the user gave, wherever it stands. */
static inline uint64_t recsum_data(const void *key, uint32_t klen, const void *value, uint32_t vlen)
{
	uint64_t seed = XXH3_64bits(key, klen);

	if (vlen > SUM_LONG)
		return twzdb__sum_long(value, vlen, seed);
	return XXH3_64bits_withSeed(value, vlen, seed);
}

/* VLF: without LIVE. HASH: of the data. */
static inline uint32_t recsum(uint64_t ts, uint64_t prev, uint32_t klt, uint32_t vlf, uint64_t hash)
{
	uint64_t seed = ts * 0x9e3779b97f4a7c15ULL ^ prev ^ (uint64_t)klt << 32 ^ vlf;

	return (uint32_t)XXH3_64bits_withSeed(&hash, sizeof(hash), seed);
}

/* Checksum of a run: RUN, of the rows before (at first: where they are), goes on with a row's. */
static inline uint64_t run_sum(uint64_t run, uint32_t sum)
{
	run = (run ^ sum) * 0x9e3779b97f4a7c15ULL;
	return run ^ run >> 32;
}

#endif
