/* SPDX-License-Identifier: MIT
 * drv_bdb.c -- Berkeley DB's transactional B-tree as a peer
 *
 * Cache larger than the data, private region (one process), log buffer of 8 MiB, deadlocks
 * detected as locks are asked for, commits synced (DB_TXN_SYNC, its default), a checkpoint every
 * 64 MiB of log, old logs removed. Reads are without DB_MULTIVERSION, which would copy pages on
 * every write: a get is atomic, scans and multi-gets are read-committed and no snapshots. That is
 * less than the others do, and faster.
 */
#include "drv.h"

#include <db.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK_EVERY 1024 /* writes between two looks whether a checkpoint is due */
#define CHECK_KIB   (64u << 10)

struct store {
	DB_ENV *env;
	DB *db;
	unsigned cache_mib;
};

struct handle {
	struct store *s;
	uint32_t writes;
	char value[VALUE_MAX], key[64];
};

static int failed(const char *what, int err)
{
	return drv_fail("bdb: %s: %s", what, db_strerror(err));
}

static DBT in(const void *p, size_t len)
{
	DBT d;

	memset(&d, 0, sizeof(d));
	d.data = (void *)(uintptr_t)p;
	d.size = (uint32_t)len;
	return d;
}

static DBT out(void *p, size_t cap)
{
	DBT d = in(p, 0);

	d.ulen = (uint32_t)cap;
	d.flags = DB_DBT_USERMEM;
	return d;
}

static int open_env(struct store *s, const char *dir, uint64_t cache)
{
	DB_ENV *e;
	int err = db_env_create(&s->env, 0);

	if (err)
		return err;
	e = s->env;
	s->cache_mib = (unsigned)(cache >> 20);
	err = e->set_cachesize(e, (uint32_t)(cache >> 30), (uint32_t)(cache & ((1u << 30) - 1)), 1);
	if (!err)
		err = e->set_lg_bsize(e, 8u << 20);
	if (!err)
		err = e->set_lg_max(e, 64u << 20);
	if (!err)
		err = e->log_set_config(e, DB_LOG_AUTO_REMOVE, 1);
	if (!err)
		err = e->set_lk_detect(e, DB_LOCK_DEFAULT);
	if (!err)
		err = e->set_lk_max_locks(e, 100000) | e->set_lk_max_objects(e, 100000);
	if (!err)
		err = e->open(e, dir,
			      DB_CREATE | DB_INIT_MPOOL | DB_INIT_TXN | DB_INIT_LOG | DB_INIT_LOCK |
				      DB_THREAD | DB_PRIVATE | DB_RECOVER,
			      0600);
	return err;
}

static int open_db(const struct drv_opt *o, void **store)
{
	struct store *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return drv_fail("no memory");
	err = open_env(s, o->dir, (256u << 20) + o->records * (o->value_len + 64) * 3);
	if (!err)
		err = db_create(&s->db, s->env, 0);
	if (!err)
		err = s->db->open(s->db, NULL, "kv.db", NULL, DB_BTREE,
				  DB_CREATE | DB_AUTO_COMMIT | DB_THREAD, 0600);
	if (!err) {
		*store = s;
		return 0;
	}
	failed(o->dir, err);
	if (s->env)
		s->env->close(s->env, 0);
	free(s);
	return DRV_FAIL;
}

static void close_db(void *store)
{
	struct store *s = store;

	s->db->close(s->db, 0);
	s->env->txn_checkpoint(s->env, 0, 0, DB_FORCE);
	s->env->close(s->env, 0);
	free(s);
}

static int attach(void *store, void **th)
{
	struct handle *h = calloc(1, sizeof(*h));

	if (!h)
		return drv_fail("no memory");
	h->s = store;
	*th = h;
	return 0;
}

static int get(void *th, const char *key, size_t klen, char *buf, size_t cap)
{
	struct handle *h = th;
	DBT k = in(key, klen), v = out(buf, cap);
	int err;

	do
		err = h->s->db->get(h->s->db, NULL, &k, &v, 0);
	while (err == DB_LOCK_DEADLOCK);
	if (err)
		return err == DB_NOTFOUND ? DRV_NONE : failed("get", err);
	return (int)v.size;
}

static int mget(void *th, const struct drv_kv *keys, int cnt, char *buf, size_t stride, int *len)
{
	for (int i = 0; i < cnt; i++) {
		len[i] = get(th, keys[i].key, keys[i].klen, buf + (size_t)i * stride, stride);
		if (len[i] == DRV_FAIL)
			return DRV_FAIL;
	}
	return 0;
}

static int wrote(struct handle *h, int err, const char *what)
{
	if (err)
		return err == DB_NOTFOUND || err == DB_KEYEXIST ? DRV_NONE : failed(what, err);
	if (++h->writes % CHECK_EVERY)
		return 0;
	err = h->s->env->txn_checkpoint(h->s->env, CHECK_KIB, 0, 0);
	return err ? failed("checkpoint", err) : 0;
}

/* The database was opened with DB_AUTO_COMMIT: each call is a transaction. */
static int put(void *th, enum drv_put how, const struct drv_kv *kv)
{
	struct handle *h = th;
	DBT k = in(kv->key, kv->klen), v = in(kv->value, kv->vlen);
	int err;

	do
		err = h->s->db->put(h->s->db, NULL, &k, &v, how == DRV_INSERT ? DB_NOOVERWRITE : 0);
	while (err == DB_LOCK_DEADLOCK);
	return wrote(h, err, "put");
}

static int del(void *th, const char *key, size_t klen)
{
	struct handle *h = th;
	DBT k = in(key, klen);
	int err;

	do
		err = h->s->db->del(h->s->db, NULL, &k, 0);
	while (err == DB_LOCK_DEADLOCK);
	return wrote(h, err, "delete");
}

/* Runs BODY in a transaction until it is no victim of a deadlock. */
static int in_txn(struct handle *h, int (*body)(struct handle *h, DB_TXN *tx, void *ctx), void *ctx)
{
	DB_TXN *tx;
	int err;

	do {
		err = h->s->env->txn_begin(h->s->env, NULL, &tx, 0);
		if (err)
			return err;
		err = body(h, tx, ctx);
		if (err)
			tx->abort(tx);
		else
			err = tx->commit(tx, 0);
	} while (err == DB_LOCK_DEADLOCK);
	return err;
}

struct change {
	const char *key;
	size_t klen;
	drv_edit *edit;
	void *ctx;
};

static int modify_body(struct handle *h, DB_TXN *tx, void *ctx)
{
	struct change *c = ctx;
	DBT k = in(c->key, c->klen), v = out(h->value, sizeof(h->value));
	int err = h->s->db->get(h->s->db, tx, &k, &v, DB_RMW);

	if (err)
		return err;
	c->edit(c->ctx, h->value, v.size);
	return h->s->db->put(h->s->db, tx, &k, &v, 0);
}

static int modify(void *th, const char *key, size_t klen, drv_edit *edit, void *ctx)
{
	struct change c = {key, klen, edit, ctx};

	return wrote(th, in_txn(th, modify_body, &c), "read and write");
}

struct rows {
	const struct drv_kv *kv;
	int cnt;
};

static int batch_body(struct handle *h, DB_TXN *tx, void *ctx)
{
	struct rows *r = ctx;
	int err = 0;

	for (int i = 0; i < r->cnt && !err; i++) {
		DBT k = in(r->kv[i].key, r->kv[i].klen), v = in(r->kv[i].value, r->kv[i].vlen);

		err = h->s->db->put(h->s->db, tx, &k, &v, DB_NOOVERWRITE);
	}
	return err;
}

static int batch(void *th, const struct drv_kv *kv, int cnt, bool sorted)
{
	struct handle *h = th;
	struct rows r = {kv, cnt};

	(void)sorted;
	h->writes |= CHECK_EVERY - 1; /* a look after every batch */
	return wrote(h, in_txn(h, batch_body, &r), "batch");
}

/* One pass with a cursor; rows go to OUT, or, without it, are counted up to the key TO. */
static int walk(struct handle *h, DBT *k, DBT *v, uint64_t max, struct drv_rows *to_rows,
		const char *to, uint64_t *cnt)
{
	uint32_t op = k->size ? DB_SET_RANGE : DB_FIRST;
	DBC *c;
	int err = h->s->db->cursor(h->s->db, NULL, &c, DB_READ_COMMITTED);

	if (err)
		return err;
	for (*cnt = 0; *cnt < max; ++*cnt, op = DB_NEXT) {
		err = c->get(c, k, v, op);
		if (err || (to && memcmp(k->data, to, k->size) >= 0))
			break;
		if (to_rows)
			drv_row(to_rows, k->data, k->size, v->data, v->size);
	}
	c->close(c);
	return err == DB_NOTFOUND ? 0 : err;
}

static int scan(void *th, const char *key, size_t klen, uint64_t cnt, struct drv_rows *rows)
{
	struct handle *h = th;
	struct drv_rows before = {.cnt = rows->cnt, .bad = rows->bad, .prev = rows->prev};
	uint64_t n;
	int err;

	do {
		DBT k = out(h->key, sizeof(h->key)), v = out(h->value, sizeof(h->value));

		if (klen)
			memcpy(h->key, key, klen);
		k.size = (uint32_t)klen;
		rows->cnt = before.cnt;
		rows->bad = before.bad;
		rows->prev = before.prev;
		err = walk(h, &k, &v, cnt, rows, NULL, &n);
	} while (err == DB_LOCK_DEADLOCK);
	return err ? failed("scan", err) : 0;
}

static int count(void *th, const char *from, const char *to, size_t klen, uint64_t *cnt)
{
	struct handle *h = th;
	DBT k = out(h->key, sizeof(h->key)), v = out(h->value, 0);
	int err;

	memcpy(h->key, from, klen);
	k.size = (uint32_t)klen;
	v.flags |= DB_DBT_PARTIAL; /* no byte of the value is wanted */
	err = walk(h, &k, &v, UINT64_MAX, NULL, to, cnt);
	return err ? failed("count", err) : 0;
}

static int settle(void *store)
{
	struct store *s = store;
	int err = s->env->txn_checkpoint(s->env, 0, 0, DB_FORCE);

	return err ? failed("checkpoint", err) : 0;
}

static void settings(void *store, char *buf, size_t len)
{
	struct store *s = store;

	snprintf(buf, len,
		 "%d.%d.%d, DB_TXN_SYNC, private region, cache %u MiB, checkpoint every 64 MiB of "
		 "log; scans read-committed, no snapshots",
		 DB_VERSION_MAJOR, DB_VERSION_MINOR, DB_VERSION_PATCH, s->cache_mib);
}

const struct drv drv_bdb = {.name = "bdb",
			    .one_process = true,
			    .what = "Berkeley DB",
			    .open = open_db,
			    .close = close_db,
			    .attach = attach,
			    .detach = free,
			    .get = get,
			    .mget = mget,
			    .put = put,
			    .del = del,
			    .modify = modify,
			    .batch = batch,
			    .scan = scan,
			    .count = count,
			    .settle = settle,
			    .settings = settings};
