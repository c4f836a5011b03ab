/* SPDX-License-Identifier: MIT
 * keys.h -- record numbers to keys, and the distributions of YCSB's definition
 */
#ifndef TWZ_BENCH_KEYS_H
#define TWZ_BENCH_KEYS_H

#include <stdint.h>

#include "drv.h"

/* --- keys --- */

/* The hash a kv key spells; distinct for distinct numbers but for one bit (loads notice). */
static inline uint64_t key_hash(uint32_t id)
{
	return bench_mix(((uint64_t)id + 1) * 0x9e3779b97f4a7c15u) >> 1;
}
/* "user" and 19 digits: numbers in sequence are keys in hashed order. No zero byte is added. */
void key_make(char key[KEY_LEN], uint64_t hash);
/* Numbers 0 .. CNT-1 in the order of their keys; to be freed. */
uint32_t *keys_sorted(uint32_t cnt);

/* --- random numbers --- */

struct rng {
	uint64_t s;
};
static inline uint64_t rng_next(struct rng *r)
{
	return bench_mix(r->s += 0x9e3779b97f4a7c15u);
}
static inline double rng_double(struct rng *r) /* [0, 1) */
{
	return (double)(rng_next(r) >> 11) * 0x1p-53;
}
static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
	return (uint64_t)((unsigned __int128)rng_next(r) * n >> 64);
}

/* --- distributions --- */

/* Gray et al., "Quickly generating billion-record synthetic databases", as YCSB implements it. */
struct zipf {
	uint64_t items;
	double theta, zeta2, alpha, zetan, eta;
};
void zipf_init(struct zipf *z, uint64_t items);
/* Make it as if for ITEMS, not fewer than before: costs what was added. */
void zipf_grow(struct zipf *z, uint64_t items);
/* Ranks 0 (most frequent) .. items-1. */
uint64_t zipf_next(const struct zipf *z, struct rng *r);

/* YCSB's ScrambledZipfianGenerator: a zipfian over 10^10 items, FNV-hashed onto ITEMS. */
void zipf_init_scrambled(struct zipf *z);
uint64_t zipf_next_scrambled(const struct zipf *z, struct rng *r, uint64_t items);

uint64_t fnv64(uint64_t v); /* YCSB's Utils.fnvhash64, made positive */

#endif
