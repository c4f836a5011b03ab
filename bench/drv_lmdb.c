/* SPDX-License-Identifier: MIT
 * drv_lmdb.c -- LMDB as a peer, plain and with MDB_WRITEMAP, both with its syncs on
 *
 * Readers hold one transaction and one cursor per thread and use reset and renew, as its manual
 * advises; MDB_NOTLS lets a thread have them independent of thread-local slots.
 */
#include "drv.h"

#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>

struct store {
	MDB_env *env;
	MDB_dbi dbi;
	bool writemap;
};

struct handle {
	struct store *s;
	MDB_txn *read;
	MDB_cursor *cursor;
	char value[VALUE_MAX];
};

static int failed(const char *what, int err)
{
	return drv_fail("lmdb: %s: %s", what, mdb_strerror(err));
}

static MDB_val val(const void *p, size_t len)
{
	return (MDB_val){len, (void *)(uintptr_t)p};
}

static int open_dbi(struct store *s)
{
	MDB_txn *tx;
	int err = mdb_txn_begin(s->env, NULL, 0, &tx);

	if (err)
		return err;
	err = mdb_dbi_open(tx, NULL, 0, &s->dbi);
	if (err) {
		mdb_txn_abort(tx);
		return err;
	}
	return mdb_txn_commit(tx);
}

static int open_env(const struct drv_opt *opt, void **store, bool writemap)
{
	struct store *s = calloc(1, sizeof(*s));
	size_t map = ((size_t)1 << 30) + opt->records * (opt->value_len + 64) * 4;
	int err;

	if (!s)
		return drv_fail("no memory");
	s->writemap = writemap;
	err = mdb_env_create(&s->env);
	if (!err)
		err = mdb_env_set_mapsize(s->env, map & ~(size_t)4095);
	if (!err)
		err = mdb_env_open(s->env, opt->dir,
				   MDB_NORDAHEAD | MDB_NOTLS | (writemap ? MDB_WRITEMAP : 0u),
				   0600);
	if (!err)
		err = open_dbi(s);
	if (!err) {
		*store = s;
		return 0;
	}
	failed(opt->dir, err);
	mdb_env_close(s->env);
	free(s);
	return DRV_FAIL;
}

static int open_plain(const struct drv_opt *opt, void **store)
{
	return open_env(opt, store, false);
}

static int open_writemap(const struct drv_opt *opt, void **store)
{
	return open_env(opt, store, true);
}

static void close_env(void *store)
{
	struct store *s = store;

	mdb_env_close(s->env);
	free(s);
}

static int attach(void *store, void **th)
{
	struct handle *h = calloc(1, sizeof(*h));
	int err;

	if (!h)
		return drv_fail("no memory");
	h->s = store;
	err = mdb_txn_begin(h->s->env, NULL, MDB_RDONLY, &h->read);
	if (!err)
		err = mdb_cursor_open(h->read, h->s->dbi, &h->cursor);
	if (err) {
		free(h);
		return failed("attach", err);
	}
	mdb_txn_reset(h->read);
	*th = h;
	return 0;
}

static void detach(void *th)
{
	struct handle *h = th;

	mdb_cursor_close(h->cursor);
	mdb_txn_abort(h->read);
	free(h);
}

static int get_in(struct handle *h, const char *key, size_t klen, char *buf, size_t cap)
{
	MDB_val k = val(key, klen), v;
	int err = mdb_get(h->read, h->s->dbi, &k, &v);

	if (err)
		return err == MDB_NOTFOUND ? DRV_NONE : failed("get", err);
	return drv_copy(buf, cap, v.mv_data, v.mv_size);
}

static int get(void *th, const char *key, size_t klen, char *buf, size_t cap)
{
	struct handle *h = th;
	int len, err = mdb_txn_renew(h->read);

	if (err)
		return failed("renew", err);
	len = get_in(h, key, klen, buf, cap);
	mdb_txn_reset(h->read);
	return len;
}

static int mget(void *th, const struct drv_kv *keys, int cnt, char *buf, size_t stride, int *len)
{
	struct handle *h = th;
	int err = mdb_txn_renew(h->read);

	if (err)
		return failed("renew", err);
	for (int i = 0; i < cnt && err != DRV_FAIL; i++)
		err = len[i] =
			get_in(h, keys[i].key, keys[i].klen, buf + (size_t)i * stride, stride);
	mdb_txn_reset(h->read);
	return err == DRV_FAIL ? err : 0;
}

static int finish(MDB_txn *tx, int err, const char *what)
{
	if (!err) {
		err = mdb_txn_commit(tx);
		return err ? failed("commit", err) : 0;
	}
	mdb_txn_abort(tx);
	return err == MDB_NOTFOUND || err == MDB_KEYEXIST ? DRV_NONE : failed(what, err);
}

/* MDB_NOOVERWRITE for inserts; an update of a missing key would not be noticed otherwise. */
static int put_in(MDB_txn *tx, MDB_dbi dbi, const struct drv_kv *kv, unsigned flags)
{
	MDB_val k = val(kv->key, kv->klen), v = val(kv->value, kv->vlen);

	return mdb_put(tx, dbi, &k, &v, flags);
}

static int put(void *th, enum drv_put how, const struct drv_kv *kv)
{
	struct handle *h = th;
	MDB_txn *tx;
	int err = mdb_txn_begin(h->s->env, NULL, 0, &tx);

	if (err)
		return failed("begin", err);
	return finish(tx, put_in(tx, h->s->dbi, kv, how == DRV_INSERT ? MDB_NOOVERWRITE : 0),
		      "put");
}

static int del(void *th, const char *key, size_t klen)
{
	struct handle *h = th;
	MDB_val k = val(key, klen);
	MDB_txn *tx;
	int err = mdb_txn_begin(h->s->env, NULL, 0, &tx);

	if (err)
		return failed("begin", err);
	return finish(tx, mdb_del(tx, h->s->dbi, &k, NULL), "delete");
}

static int modify(void *th, const char *key, size_t klen, drv_edit *edit, void *ctx)
{
	struct handle *h = th;
	MDB_val k = val(key, klen), v;
	MDB_txn *tx;
	int err = mdb_txn_begin(h->s->env, NULL, 0, &tx);

	if (err)
		return failed("begin", err);
	err = mdb_get(tx, h->s->dbi, &k, &v);
	if (!err && v.mv_size <= sizeof(h->value)) {
		memcpy(h->value, v.mv_data, v.mv_size);
		edit(ctx, h->value, v.mv_size);
		v.mv_data = h->value;
		err = mdb_put(tx, h->s->dbi, &k, &v, 0);
	}
	return finish(tx, err, "read and write");
}

static int batch(void *th, const struct drv_kv *kv, int cnt, bool sorted)
{
	struct handle *h = th;
	MDB_txn *tx;
	int err = mdb_txn_begin(h->s->env, NULL, 0, &tx);

	if (err)
		return failed("begin", err);
	for (int i = 0; i < cnt && !err; i++)
		err = put_in(tx, h->s->dbi, &kv[i], sorted ? MDB_APPEND : MDB_NOOVERWRITE);
	return finish(tx, err, "batch");
}

static int cursor_start(struct handle *h)
{
	int err = mdb_txn_renew(h->read);

	if (!err)
		err = mdb_cursor_renew(h->read, h->cursor);
	return err;
}

static int scan(void *th, const char *key, size_t klen, uint64_t cnt, struct drv_rows *out)
{
	struct handle *h = th;
	MDB_val k = val(key, klen), v;
	int err = cursor_start(h);

	if (!err)
		err = mdb_cursor_get(h->cursor, &k, &v, klen ? MDB_SET_RANGE : MDB_FIRST);
	while (!err) {
		drv_row(out, k.mv_data, k.mv_size, v.mv_data, v.mv_size);
		if (!--cnt)
			break;
		err = mdb_cursor_get(h->cursor, &k, &v, MDB_NEXT);
	}
	mdb_txn_reset(h->read);
	return err && err != MDB_NOTFOUND ? failed("cursor", err) : 0;
}

static int count(void *th, const char *from, const char *to, size_t klen, uint64_t *cnt)
{
	struct handle *h = th;
	MDB_val k = val(from, klen);
	int err = cursor_start(h);

	*cnt = 0;
	if (!err)
		err = mdb_cursor_get(h->cursor, &k, NULL, MDB_SET_RANGE);
	while (!err && memcmp(k.mv_data, to, klen) < 0) {
		++*cnt;
		err = mdb_cursor_get(h->cursor, &k, NULL, MDB_NEXT);
	}
	mdb_txn_reset(h->read);
	return err && err != MDB_NOTFOUND ? failed("cursor", err) : 0;
}

static void settings(void *store, char *buf, size_t len)
{
	struct store *s = store;

	snprintf(buf, len, "%d.%d.%d, %s, sync on (%s), MDB_NORDAHEAD, reads by reset/renew",
		 MDB_VERSION_MAJOR, MDB_VERSION_MINOR, MDB_VERSION_PATCH,
		 s->writemap ? "MDB_WRITEMAP" : "written by pwrite",
		 s->writemap ? "msync" : "fdatasync, O_DSYNC meta page");
}

#define LMDB_OPS                                                                                   \
	.close = close_env, .attach = attach, .detach = detach, .get = get, .mget = mget,          \
	.put = put, .del = del, .modify = modify, .batch = batch, .scan = scan, .count = count,    \
	.settings = settings

const struct drv drv_lmdb = {
	.name = "lmdb", .what = "LMDB, its defaults", .open = open_plain, LMDB_OPS};
const struct drv drv_lmdb_wm = {
	.name = "lmdb-wm", .what = "LMDB with MDB_WRITEMAP", .open = open_writemap, LMDB_OPS};
