/* SPDX-License-Identifier: MIT
 * keys.c -- keys, zipfian numbers
 */
#include "keys.h"

#include <math.h>
#include <stdlib.h>

#define THETA 0.99
/* zeta(10^10, 0.99), the constant in YCSB's ScrambledZipfianGenerator */
#define SCRAMBLED_ITEMS 10000000000u
#define SCRAMBLED_ZETA	26.46902820178302

void key_make(char key[KEY_LEN], uint64_t hash)
{
	memcpy(key, "user", 4);
	for (int i = KEY_LEN - 1; i >= 4; i--, hash /= 10)
		key[i] = (char)('0' + hash % 10);
}

struct pair {
	uint64_t hash;
	uint32_t id;
};

static int by_hash(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;

	return (x->hash > y->hash) - (x->hash < y->hash);
}

uint32_t *keys_sorted(uint32_t cnt)
{
	struct pair *p = malloc(cnt * sizeof(*p));
	uint32_t *ids = malloc(cnt * sizeof(*ids));

	if (p && ids) {
		for (uint32_t i = 0; i < cnt; i++)
			p[i] = (struct pair){key_hash(i), i};
		qsort(p, cnt, sizeof(*p), by_hash);
		for (uint32_t i = 0; i < cnt; i++)
			ids[i] = p[i].id;
	}
	free(p);
	return ids;
}

static double zeta(uint64_t from, uint64_t to)
{
	double sum = 0;

	for (uint64_t i = from; i < to; i++)
		sum += 1 / pow((double)i + 1, THETA);
	return sum;
}

static void zipf_set(struct zipf *z, uint64_t items, double zetan)
{
	z->items = items;
	z->theta = THETA;
	z->zeta2 = zeta(0, 2);
	z->alpha = 1 / (1 - THETA);
	z->zetan = zetan;
	z->eta = (1 - pow(2.0 / (double)items, 1 - THETA)) / (1 - z->zeta2 / zetan);
}

void zipf_init(struct zipf *z, uint64_t items)
{
	zipf_set(z, items, zeta(0, items));
}

void zipf_grow(struct zipf *z, uint64_t items)
{
	if (items > z->items)
		zipf_set(z, items, z->zetan + zeta(z->items, items));
}

uint64_t zipf_next(const struct zipf *z, struct rng *r)
{
	double u = rng_double(r), uz = u * z->zetan;
	uint64_t v;

	if (uz < 1)
		return 0;
	if (uz < 1 + pow(0.5, z->theta))
		return 1;
	v = (uint64_t)((double)z->items * pow(z->eta * u - z->eta + 1, z->alpha));
	return v < z->items ? v : z->items - 1;
}

void zipf_init_scrambled(struct zipf *z)
{
	zipf_set(z, SCRAMBLED_ITEMS, SCRAMBLED_ZETA);
}

uint64_t zipf_next_scrambled(const struct zipf *z, struct rng *r, uint64_t items)
{
	return fnv64(zipf_next(z, r)) % items;
}

uint64_t fnv64(uint64_t v)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (int i = 0; i < 8; i++, v >>= 8)
		h = (h ^ (v & 0xff)) * 1099511628211u;
	return (int64_t)h < 0 ? -h : h;
}
