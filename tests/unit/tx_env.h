/* SPDX-License-Identifier: MIT
 * tx_env.h -- a store with one object, for the tests of transactions; included by them only
 */
#ifndef TX_ENV_H
#define TX_ENV_H

#include "rt_env.h"

#define MIB ((size_t)1 << 20)

/* A store and one open object. */
struct box {
	const char *path;
	struct twz_store *s;
	struct twz_obj *o;
	unsigned char *d; /* its data */
	twz_oid id;
};

static inline bool box_open(struct box *b, size_t len)
{
	memset(b, 0, sizeof(*b));
	b->path = env_path();
	b->s = env_store(b->path);
	b->o = b->s ? env_obj(b->s, len, &b->id) : NULL;
	b->d = b->o ? twz_obj_data(b->o) : NULL;
	return b->d != NULL;
}

static inline bool box_reopen(struct box *b)
{
	if (b->s)
		env_close(b->s);
	b->s = env_store(b->path);
	b->d = NULL;
	if (b->s && !T_OK(twz_obj_open(b->s, b->id, TWZ_READ | TWZ_WRITE, &b->o)))
		b->d = twz_obj_data(b->o);
	return b->d != NULL;
}

static inline void fill(unsigned char *p, size_t len, unsigned char seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (unsigned char)(seed + i * 31 + (i >> 8));
}

static inline bool is_filled(const unsigned char *p, size_t len, unsigned char seed)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] != (unsigned char)(seed + i * 31 + (i >> 8)))
			return false;
	return true;
}

#endif
