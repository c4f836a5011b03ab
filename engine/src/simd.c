/* SPDX-License-Identifier: MIT
 * simd.c -- choosing the variant, and the one that runs everywhere
 */
#include "fast_one.h"

static bool always(void)
{
	return true;
}

__attribute__((no_sanitize("thread"))) static struct headmask
heads(const uint64_t head[TWZDB_FANOUT], uint64_t kh)
{
	struct headmask m = {0, 0};

	for (unsigned i = 0; i < TWZDB_FANOUT; i++) {
		uint64_t h = head[i];

		m.below += h < kh;
		m.eq |= (uint32_t)(h == kh) << i;
	}
	return m;
}

__attribute__((no_sanitize("thread"))) static unsigned words(const uint64_t word[8], uint64_t mask,
							     uint64_t want)
{
	unsigned m = 0;

	for (unsigned i = 0; i < 8; i++)
		m |= (unsigned)!((word[i] ^ want) & mask) << i;
	return m;
}

static unsigned tags(const uint64_t entry[8], uint64_t hash)
{
	return words(entry, ACC_TAG_MASK, hash);
}

static int get(struct twzdb_txn *tx, uint64_t h, uint64_t tag, const void *key, size_t len,
	       struct twzdb_slice *value)
{
	return fast_get(tx, h, tag, key, len, value, (struct fast){heads, tags, short_same});
}

static uint64_t find(struct twzdb *db, uint64_t root, struct bkey k, const struct rec_pm **rec)
{
	return fast_find(db, root, k, rec, (struct fast){heads, tags, short_same});
}

static bool spot(struct twzdb *db, uint64_t root, struct bkey k, struct spot *s)
{
	return fast_spot(db, root, k, s, (struct fast){heads, tags, short_same});
}

static int put_one(struct twzdb *db, struct twzdb_table t, const struct twzdb_slice *key,
		   const struct twzdb_slice *value, uint32_t flags)
{
	return fast_put_one(db, t, *key, *value, flags, (struct fast){heads, tags, short_same});
}

static int del_one(struct twzdb *db, struct twzdb_table t, const struct twzdb_slice *key)
{
	return fast_del_one(db, t, *key, (struct fast){heads, tags, short_same});
}

const struct twzdb__simd twzdb__simd_scalar = {"scalar", always, heads,	  words,  get,
					       find,	 spot,	 put_one, del_one};

const struct twzdb__simd *const twzdb__simds[] = {
#if defined(__x86_64__)
	&twzdb__simd_avx512,
	&twzdb__simd_avx2,
#endif
	&twzdb__simd_scalar,
	NULL,
};

const struct twzdb__simd *twzdb__simd = &twzdb__simd_scalar;

static int refuse(const char *want, bool known)
{
	char here[64] = "";

	for (int i = 0; twzdb__simds[i]; i++) {
		if (!twzdb__simds[i]->usable())
			continue;
		strcat(here, *here ? ", " : "");
		strcat(here, twzdb__simds[i]->name);
	}
	return twzdb__err(
		TWZDB_E_INVAL,
		known ? "TWZ_CPU=%s: this processor does not have that: unset it, or use %s"
		      : "TWZ_CPU=%s: no such variant: unset it, or use %s",
		want, here);
}

int twzdb__simd_choose(void)
{
	const char *want = getenv("TWZ_CPU");

	for (int i = 0; twzdb__simds[i]; i++) {
		const struct twzdb__simd *s = twzdb__simds[i];

		if (want && *want ? strcmp(want, s->name) : !s->usable())
			continue;
		if (!s->usable())
			return refuse(want, true);
		__atomic_store_n(&twzdb__simd, s, __ATOMIC_RELAXED);
		return 0;
	}
	return refuse(want, false);
}
