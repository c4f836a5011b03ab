/* SPDX-License-Identifier: MIT
 * drv_twzdb.c -- twzdb as a peer: through its public header alone
 *
 * As LMDB's driver does, a thread keeps one read transaction and one cursor, and ends and begins
 * their snapshot around every read (reset, renew).
 */
#include "drv.h"

#include <stdio.h>
#include <stdlib.h>

#include "twz/twz.h"
#include "twzdb.h"

#define TABLE "kv"

struct handle {
	struct twzdb *db;
	struct twzdb_table table;
	struct twzdb_txn *read; /* reset between reads */
	struct twzdb_cursor *cursor;
	char value[VALUE_MAX];
};

static int failed(const char *what)
{
	return drv_fail("twzdb: %s: %s", what, twzdb_errmsg());
}

static struct twzdb_slice slice(const void *p, size_t len)
{
	return (struct twzdb_slice){p, len};
}

static int make_table(struct twzdb *db)
{
	struct twzdb_table t;
	struct twzdb_txn *tx;
	int err = twzdb_begin(db, 0, &tx);

	if (err)
		return err;
	err = twzdb_table_open(tx, TABLE, TWZDB_TABLE_CREATE, &t);
	if (err) {
		twzdb_abort(tx);
		return err;
	}
	return twzdb_commit(tx);
}

static int open_db(const struct drv_opt *opt, void **store)
{
	struct twzdb_options o = {.size = sizeof(o), .flags = TWZDB_CREATE};
	struct twzdb *db;
	char path[512];

	snprintf(path, sizeof(path), "%s/kv.twz", opt->dir);
	if (twzdb_open(path, &o, &db))
		return failed(path);
	*store = db;
	if (!make_table(db))
		return 0;
	failed("making the table");
	twzdb_close(db);
	return DRV_FAIL;
}

static void close_db(void *store)
{
	if (twzdb_close(store))
		failed("close");
}

/* The accelerator is looked for when the database is opened. */
static int open_tree(const struct drv_opt *opt, void **store)
{
	int err;

	setenv("TWZDB_ACCEL", "0", 1);
	err = open_db(opt, store);
	unsetenv("TWZDB_ACCEL");
	return err;
}

static int attach(void *store, void **th)
{
	struct handle *h = calloc(1, sizeof(*h));
	int err;

	if (!h)
		return drv_fail("no memory");
	h->db = store;
	err = twzdb_begin(h->db, TWZDB_RDONLY, &h->read);
	if (!err)
		err = twzdb_table_open(h->read, TABLE, 0, &h->table);
	if (!err)
		err = twzdb_cursor_open(h->read, h->table, &h->cursor);
	if (!err)
		err = twzdb_reset(h->read);
	if (!err) {
		*th = h;
		return 0;
	}
	failed("attach");
	twzdb_abort(h->read);
	free(h);
	return DRV_FAIL;
}

static void detach(void *th)
{
	struct handle *h = th;

	twzdb_cursor_close(h->cursor);
	twzdb_abort(h->read);
	free(h);
}

static int get_in(struct handle *h, const char *key, size_t klen, char *buf, size_t cap)
{
	struct twzdb_slice v;
	int err = twzdb_get(h->read, h->table, slice(key, klen), &v);

	if (err)
		return err == TWZDB_E_NOTFOUND ? DRV_NONE : failed("get");
	return drv_copy(buf, cap, v.ptr, v.len);
}

static int get(void *th, const char *key, size_t klen, char *buf, size_t cap)
{
	struct handle *h = th;
	int len;

	if (twzdb_renew(h->read))
		return failed("renew");
	len = get_in(h, key, klen, buf, cap);
	twzdb_reset(h->read);
	return len;
}

#define MGET_MAX  64
#define BATCH_MAX 256

static int mget(void *th, const struct drv_kv *keys, int cnt, char *buf, size_t stride, int *len)
{
	struct twzdb_slice key[MGET_MAX], value[MGET_MAX];
	struct handle *h = th;
	int found[MGET_MAX], err;

	if (cnt > MGET_MAX)
		return DRV_FAIL;
	for (int i = 0; i < cnt; i++)
		key[i] = slice(keys[i].key, keys[i].klen);
	if (twzdb_renew(h->read))
		return failed("renew");
	err = twzdb_get_many(h->read, h->table, (size_t)cnt, key, value, found);
	for (int i = 0; i < cnt && !err; i++)
		len[i] = found[i] ? DRV_NONE
				  : drv_copy(buf + (size_t)i * stride, stride, value[i].ptr,
					     value[i].len);
	twzdb_reset(h->read);
	return err ? failed("get_many") : 0;
}

static int begin(struct handle *h, struct twzdb_txn **tx)
{
	return twzdb_begin(h->db, 0, tx) ? failed("begin") : 0;
}

/* Commit if ERR is 0, otherwise discard. */
static int finish(struct twzdb_txn *tx, int err, const char *what)
{
	if (!err) {
		err = twzdb_commit(tx);
		return err ? failed("commit") : 0;
	}
	if (err == TWZDB_E_NOTFOUND || err == TWZDB_E_EXIST)
		err = DRV_NONE;
	else
		err = failed(what);
	twzdb_abort(tx);
	return err;
}

/* Of a transaction in one call. */
static int single(int err, const char *what)
{
	if (err == TWZDB_E_NOTFOUND || err == TWZDB_E_EXIST)
		return DRV_NONE;
	return err ? failed(what) : 0;
}

static int put(void *th, enum drv_put how, const struct drv_kv *kv)
{
	struct handle *h = th;

	return single(twzdb_put_one(h->db, h->table, slice(kv->key, kv->klen),
				    slice(kv->value, kv->vlen),
				    how == DRV_INSERT ? TWZDB_INSERT : TWZDB_UPDATE),
		      "put");
}

static int put_lazy(void *th, const struct drv_kv *kv)
{
	struct handle *h = th;
	struct twzdb_txn *tx;

	if (twzdb_begin(h->db, TWZDB_LAZY, &tx))
		return failed("begin");
	return finish(tx,
		      twzdb_put(tx, h->table, slice(kv->key, kv->klen), slice(kv->value, kv->vlen),
				TWZDB_UPDATE),
		      "lazy put");
}

static int sync_all(void *th)
{
	struct handle *h = th;

	return twzdb_sync(h->db) ? failed("sync") : 0;
}

static uint64_t checkpoints(void *th)
{
	struct twzdb_stats st = {.size = sizeof(st)};
	struct handle *h = th;

	return twzdb_stats(h->db, &st) ? 0 : st.checkpoints;
}

static int del(void *th, const char *key, size_t klen)
{
	struct handle *h = th;

	return single(twzdb_del_one(h->db, h->table, slice(key, klen)), "delete");
}

static int modify(void *th, const char *key, size_t klen, drv_edit *edit, void *ctx)
{
	struct handle *h = th;
	struct twzdb_slice v;
	struct twzdb_txn *tx;
	int err;

	if (begin(h, &tx))
		return DRV_FAIL;
	err = twzdb_get(tx, h->table, slice(key, klen), &v);
	if (!err && v.len <= sizeof(h->value)) {
		memcpy(h->value, v.ptr, v.len);
		edit(ctx, h->value, v.len);
		err = twzdb_put(tx, h->table, slice(key, klen), slice(h->value, v.len),
				TWZDB_UPDATE);
	}
	return finish(tx, err, "read and write");
}

/* By the call for many rows. */
static int batch(void *th, const struct drv_kv *kv, int cnt, bool sorted)
{
	struct handle *h = th;
	struct twzdb_slice key[BATCH_MAX], value[BATCH_MAX];
	struct twzdb_txn *tx;
	int err = 0;

	if (begin(h, &tx))
		return DRV_FAIL;
	for (int i = 0, n; i < cnt && !err; i += n) {
		n = cnt - i < BATCH_MAX ? cnt - i : BATCH_MAX;
		for (int k = 0; k < n; k++) {
			key[k] = slice(kv[i + k].key, kv[i + k].klen);
			value[k] = slice(kv[i + k].value, kv[i + k].vlen);
		}
		err = twzdb_put_many(tx, h->table, (size_t)n, key, value,
				     sorted ? TWZDB_APPEND : TWZDB_INSERT, NULL);
	}
	return finish(tx, err, "batch");
}

static int rows(struct twzdb_cursor *c, const char *key, size_t klen, uint64_t cnt,
		struct drv_rows *out)
{
	struct twzdb_slice k = slice(key, klen), v;
	int err = twzdb_cursor_get(c, klen ? TWZDB_SEEK_GE : TWZDB_FIRST, &k, &v);

	while (!err) {
		drv_row(out, k.ptr, k.len, v.ptr, v.len);
		if (!--cnt)
			return 0;
		err = twzdb_cursor_get(c, TWZDB_NEXT, &k, &v);
	}
	return err == TWZDB_E_NOTFOUND ? 0 : failed("cursor");
}

static int scan(void *th, const char *key, size_t klen, uint64_t cnt, struct drv_rows *out)
{
	struct handle *h = th;
	int err;

	if (twzdb_renew(h->read))
		return failed("renew");
	err = rows(h->cursor, key, klen, cnt, out);
	twzdb_reset(h->read);
	return err;
}

#ifdef HAVE_TWZDB_COUNT_RANGE
static int count_in(struct handle *h, struct twzdb_slice from, struct twzdb_slice to, uint64_t *cnt)
{
	return twzdb_count_range(h->read, h->table, from, to, cnt) ? failed("count") : 0;
}
#else
static int count_in(struct handle *h, struct twzdb_slice from, struct twzdb_slice to, uint64_t *cnt)
{
	int err;

	for (err = twzdb_cursor_get(h->cursor, TWZDB_SEEK_GE, &from, NULL); !err;
	     err = twzdb_cursor_get(h->cursor, TWZDB_NEXT, &from, NULL)) {
		if (memcmp(from.ptr, to.ptr, to.len) >= 0)
			break;
		++*cnt;
	}
	return err && err != TWZDB_E_NOTFOUND ? failed("cursor") : 0;
}
#endif

static int count(void *th, const char *from, const char *to, size_t klen, uint64_t *cnt)
{
	struct handle *h = th;
	int err;

	*cnt = 0;
	if (twzdb_renew(h->read))
		return failed("renew");
	err = count_in(h, slice(from, klen), slice(to, klen), cnt);
	twzdb_reset(h->read);
	return err;
}

static void settings(void *store, char *buf, size_t len)
{
	struct twzdb_stats st = {.size = sizeof(st)};
	int g = twz_store_granularity(twzdb_store(store));

	if (twzdb_stats(store, &st))
		failed("statistics");
	snprintf(
		buf, len,
		"commit = %s; loads by put_many, single writes by put_one and del_one; log ring %llu KiB; defaults otherwise",
		g == TWZ_GRAN_PAGE ? "one range sync of the log"
				   : "clwb of the record, log line, one sfence",
		(unsigned long long)st.log_len >> 10);
}

#define TWZDB_OPS                                                                                  \
	.close = close_db, .attach = attach, .detach = detach, .get = get, .mget = mget,           \
	.put = put, .del = del, .modify = modify, .batch = batch, .scan = scan, .count = count,    \
	.put_lazy = put_lazy, .sync = sync_all, .checkpoints = checkpoints, .settings = settings

const struct drv drv_twzdb = {.name = "twzdb", .what = "this engine", .open = open_db, TWZDB_OPS};
const struct drv drv_twzdb_tree = {.name = "twzdb-tree",
				   .what = "this engine without the hash accelerator",
				   .open = open_tree,
				   TWZDB_OPS};
