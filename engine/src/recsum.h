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

/* Of what the user gave, wherever it stands. */
static inline uint64_t recsum_data(const void *key, uint32_t klen, const void *value, uint32_t vlen)
{
	uint64_t seed = XXH3_64bits(key, klen);

	if (vlen > SUM_LONG)
		return twzdb__simd_now()->sum(value, vlen, seed);
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
