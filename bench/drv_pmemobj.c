/* SPDX-License-Identifier: MIT
 * drv_pmemobj.c -- libpmemobj as a peer: the B-tree of its own tree_map example
 *
 * btree_map maps 64-bit numbers to object IDs; a key's digits are its number, the object holds
 * the key, which is compared, and the value. Updates go in place under the undo log, as its
 * documentation shows. The example has no locks: a reader-writer lock stands for what an
 * application would need, so a "snapshot" is that lock held. It cannot seek: no range scans.
 */
#include "drv.h"

#include <btree_map.h> /* of the example: fetch_tree_map.sh */
#include <libpmemobj.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LAYOUT	 "twzbench"
#define REC_TYPE 1

struct rec {
	uint32_t klen, vlen;
	char key[24], value[];
};

struct root {
	TOID(struct btree_map) map;
};

struct store {
	PMEMobjpool *pop;
	TOID(struct btree_map) map;
	pthread_rwlock_t lock;
	uint64_t size;
};

static int failed(const char *what)
{
	return drv_fail("pmemobj: %s: %s", what, pmemobj_errormsg());
}

/* The digits behind "user"; never 0, which the example takes for an empty place. */
static uint64_t number_of(const char *key, size_t klen)
{
	uint64_t v = 0;

	for (size_t i = 4; i < klen; i++)
		v = v * 10 + (uint64_t)(key[i] - '0');
	return v + 1;
}

/* Twice what a record, its header and its share of nodes half full come to. */
static uint64_t pool_size(const struct drv_opt *o)
{
	return (64u << 20) + o->records * 2 * (o->value_len + sizeof(struct rec) + 128);
}

static int open_pool(const struct drv_opt *o, void **store)
{
	struct store *s = calloc(1, sizeof(*s));
	struct root *root;
	char path[512];

	if (!s)
		return drv_fail("no memory");
	snprintf(path, sizeof(path), "%s/pool", o->dir);
	s->size = pool_size(o);
	s->pop = access(path, F_OK) ? pmemobj_create(path, LAYOUT, s->size, 0600)
				    : pmemobj_open(path, LAYOUT);
	if (!s->pop) {
		free(s);
		return failed(path);
	}
	root = pmemobj_direct(pmemobj_root(s->pop, sizeof(*root)));
	if (TOID_IS_NULL(root->map) && btree_map_create(s->pop, &root->map, NULL)) {
		pmemobj_close(s->pop);
		free(s);
		return failed("making the map");
	}
	s->map = root->map;
	pthread_rwlock_init(&s->lock, NULL);
	*store = s;
	return 0;
}

static void close_pool(void *store)
{
	struct store *s = store;

	pmemobj_close(s->pop);
	pthread_rwlock_destroy(&s->lock);
	free(s);
}

static int attach(void *store, void **th)
{
	*th = store;
	return 0;
}

static void detach(void *th)
{
	(void)th;
}

/* The record of a key, under either lock. */
static struct rec *find(struct store *s, const char *key, size_t klen)
{
	PMEMoid oid = btree_map_get(s->pop, s->map, number_of(key, klen));
	struct rec *r;

	if (OID_IS_NULL(oid))
		return NULL;
	r = pmemobj_direct(oid);
	return r->klen == klen && !memcmp(r->key, key, klen) ? r : NULL;
}

static int get_in(struct store *s, const char *key, size_t klen, char *buf, size_t cap)
{
	const struct rec *r = find(s, key, klen);

	return r ? drv_copy(buf, cap, r->value, r->vlen) : DRV_NONE;
}

static int get(void *th, const char *key, size_t klen, char *buf, size_t cap)
{
	struct store *s = th;
	int len;

	pthread_rwlock_rdlock(&s->lock);
	len = get_in(s, key, klen, buf, cap);
	pthread_rwlock_unlock(&s->lock);
	return len;
}

static int mget(void *th, const struct drv_kv *keys, int cnt, char *buf, size_t stride, int *len)
{
	struct store *s = th;

	pthread_rwlock_rdlock(&s->lock);
	for (int i = 0; i < cnt; i++)
		len[i] = get_in(s, keys[i].key, keys[i].klen, buf + (size_t)i * stride, stride);
	pthread_rwlock_unlock(&s->lock);
	return 0;
}

static void construct(PMEMobjpool *pop, void *ptr, void *arg)
{
	const struct drv_kv *kv = arg;
	struct rec *r = ptr;

	(void)pop;
	r->klen = kv->klen;
	r->vlen = kv->vlen;
	memcpy(r->key, kv->key, kv->klen);
	memcpy(r->value, kv->value, kv->vlen);
}

static int insert(struct store *s, const struct drv_kv *kv)
{
	union {
		const struct drv_kv *in;
		void *out;
	} arg = {kv};

	if (kv->klen > sizeof(((struct rec *)0)->key))
		return drv_fail("pmemobj: a key of %u bytes", kv->klen);
	return btree_map_insert_new(s->pop, s->map, number_of(kv->key, kv->klen),
				    sizeof(struct rec) + kv->vlen, REC_TYPE, construct, arg.out)
		       ? failed("insert")
		       : 0;
}

struct whole {
	const char *value;
};

static void replace(void *ctx, char *value, size_t len)
{
	memcpy(value, ((struct whole *)ctx)->value, len);
}

/* In place, the old bytes in the undo log. */
static int edit_in_place(struct store *s, const char *key, size_t klen, drv_edit *edit, void *ctx)
{
	struct rec *r = find(s, key, klen);
	volatile int err = 0;

	if (!r)
		return DRV_NONE;
	TX_BEGIN(s->pop)
	{
		pmemobj_tx_add_range_direct(r->value, r->vlen);
		edit(ctx, r->value, r->vlen);
	}
	TX_ONABORT
	{
		err = failed("update");
	}
	TX_END
	return err;
}

static int modify(void *th, const char *key, size_t klen, drv_edit *edit, void *ctx)
{
	struct store *s = th;
	int err;

	pthread_rwlock_wrlock(&s->lock);
	err = edit_in_place(s, key, klen, edit, ctx);
	pthread_rwlock_unlock(&s->lock);
	return err;
}

static int put(void *th, enum drv_put how, const struct drv_kv *kv)
{
	struct whole w = {kv->value};
	struct store *s = th;
	int err;

	if (how == DRV_UPDATE)
		return modify(th, kv->key, kv->klen, replace, &w);
	pthread_rwlock_wrlock(&s->lock);
	err = insert(s, kv);
	pthread_rwlock_unlock(&s->lock);
	return err;
}

static int del(void *th, const char *key, size_t klen)
{
	struct store *s = th;
	int err = DRV_NONE;

	pthread_rwlock_wrlock(&s->lock);
	if (find(s, key, klen))
		err = btree_map_remove_free(s->pop, s->map, number_of(key, klen)) ? failed("delete")
										  : 0;
	pthread_rwlock_unlock(&s->lock);
	return err;
}

static int batch(void *th, const struct drv_kv *kv, int cnt, bool sorted)
{
	struct store *s = th;
	volatile int err = 0;

	(void)sorted;
	pthread_rwlock_wrlock(&s->lock);
	TX_BEGIN(s->pop)
	{
		for (int i = 0; i < cnt && !err; i++)
			err = insert(s, &kv[i]);
	}
	TX_ONABORT
	{
		err = failed("batch");
	}
	TX_END
	pthread_rwlock_unlock(&s->lock);
	return err;
}

static int take(uint64_t number, PMEMoid oid, void *arg)
{
	const struct rec *r = pmemobj_direct(oid);

	(void)number;
	drv_row(arg, r->key, r->klen, r->value, r->vlen);
	return 0;
}

/* The whole map, or nothing: foreach is all there is. */
static int scan(void *th, const char *key, size_t klen, uint64_t cnt, struct drv_rows *rows)
{
	struct store *s = th;

	(void)key, (void)cnt;
	if (klen)
		return drv_fail("pmemobj: the example cannot seek");
	pthread_rwlock_rdlock(&s->lock);
	btree_map_foreach(s->pop, s->map, take, rows);
	pthread_rwlock_unlock(&s->lock);
	return 0;
}

static void settings(void *store, char *buf, size_t len)
{
	const struct store *s = store;

	snprintf(buf, len,
		 "%d.%d, btree_map of its tree_map example, 64-bit keys, a transaction an "
		 "operation, pool of %llu MiB, %s; no range scans, no snapshots (a lock)",
		 PMEMOBJ_MAJOR_VERSION, PMEMOBJ_MINOR_VERSION, (unsigned long long)s->size >> 20,
		 getenv("PMEM_IS_PMEM_FORCE") ? "PMEM_IS_PMEM_FORCE=1 (clwb, sfence)"
					      : "flushes as the medium needs");
}

const struct drv drv_pmemobj = {.name = "pmemobj",
				.one_process = true,
				.what = "libpmemobj's tree_map example",
				.no_seek = true,
				.open = open_pool,
				.close = close_pool,
				.attach = attach,
				.detach = detach,
				.get = get,
				.mget = mget,
				.put = put,
				.del = del,
				.modify = modify,
				.batch = batch,
				.scan = scan,
				.settings = settings};
