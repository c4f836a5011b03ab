/* SPDX-License-Identifier: MIT
 * simd.h -- the two comparisons worth a processor's wide registers, in variants chosen at open
 *
 * Only the files simd_*.c name instructions. All variants give the same answers (test_engine_simd).
 */
#ifndef TWZDB_SIMD_H
#define TWZDB_SIMD_H

#include <stdbool.h>
#include <stdint.h>

#include "format_db.h"
#include "twzdb.h"

struct bkey;
struct spot;
/* How many heads are below a key's head, and which are equal to it: bit i for slot i. */
struct headmask {
	uint32_t below, eq;
};

struct twzdb__simd {
	const char *name; /* as TWZ_CPU names it */
	bool (*usable)(void);
	/*
	 * Free slots hold ~0, which is below nothing. The loads may race with a writer: the
	 * caller checks the node's version afterwards.
	 */
	struct headmask (*heads)(const uint64_t head[TWZDB_FANOUT], uint64_t kh);
	/* Of the eight words of one aligned line: bit i if (word[i] ^ want) has no bit of MASK. */
	unsigned (*words)(const uint64_t word[8], uint64_t mask, uint64_t want);
	/* With these comparisons in them (fast.h): twzdb_get(); */
	int (*get)(struct twzdb_txn *tx, uint64_t h, uint64_t tag, const void *key, size_t len,
		   struct twzdb_slice *value);
	/* from a root to the newest version of a row, and to the leaf it stands in, or would. */
	uint64_t (*find)(struct twzdb *db, uint64_t root, struct bkey k, const struct rec_pm **rec);
	bool (*spot)(struct twzdb *db, uint64_t root, struct bkey k, struct spot *s);
	/* fast_one.h: twzdb_put_one() and twzdb_del_one(), or TWZDB__RETRY: not this way. */
	int (*put_one)(struct twzdb *db, struct twzdb_table t, const struct twzdb_slice *key,
		       const struct twzdb_slice *value, uint32_t flags);
	int (*del_one)(struct twzdb *db, struct twzdb_table t, const struct twzdb_slice *key);
};

extern const struct twzdb__simd twzdb__simd_scalar;
extern const struct twzdb__simd twzdb__simd_avx2;
extern const struct twzdb__simd twzdb__simd_avx512;

/* Those this build has, best first, NULL at the end. */
extern const struct twzdb__simd *const twzdb__simds[];
/* The one in use. Changing it under running readers is harmless. */
extern const struct twzdb__simd *twzdb__simd __attribute__((visibility("hidden")));
/* The best this processor has, or what TWZ_CPU says. TWZDB_E_INVAL: unknown, or not here. */
int twzdb__simd_choose(void);

static inline const struct twzdb__simd *twzdb__simd_now(void)
{
	return __atomic_load_n(&twzdb__simd, __ATOMIC_RELAXED);
}
static inline struct headmask twzdb__heads(const uint64_t head[TWZDB_FANOUT], uint64_t kh)
{
	return twzdb__simd_now()->heads(head, kh);
}

#endif
