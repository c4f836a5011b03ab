/* SPDX-License-Identifier: MIT
 * drv_twzdb.c -- twzdb as a peer: through its public header alone
 */
#include "drv.h"

#include <stdio.h>
#include <stdlib.h>

#include "twz/twz.h"
#include "twzdb.h"

#define TABLE "kv"

struct handle {
	struct twzdb *db;
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

	if (!h)
		return drv_fail("no memory");
	h->db = store;
	*th = h;
	return 0;
}

/* Begin and open the table: what every transaction starts with. */
static int start(struct handle *h, uint32_t flags, struct twzdb_txn **tx, struct twzdb_table *t)
{
	if (twzdb_begin(h->db, flags, tx))
		return failed("begin");
	if (!twzdb_table_open(*tx, TABLE, 0, t))
		return 0;
	failed("table");
	twzdb_abort(*tx);
	return DRV_FAIL;
}

static int get_in(struct twzdb_txn *tx, struct twzdb_table t, const char *key, size_t klen,
		  char *buf, size_t cap)
{
	struct twzdb_slice v;
	int err = twzdb_get(tx, t, slice(key, klen), &v);

	if (err)
		return err == TWZDB_E_NOTFOUND ? DRV_NONE : failed("get");
	return drv_copy(buf, cap, v.ptr, v.len);
}

static int get(void *th, const char *key, size_t klen, char *buf, size_t cap)
{
	struct twzdb_table t;
	struct twzdb_txn *tx;
	int len;

	if (start(th, TWZDB_RDONLY, &tx, &t))
		return DRV_FAIL;
	len = get_in(tx, t, key, klen, buf, cap);
	twzdb_abort(tx);
	return len;
}

static int mget(void *th, const struct drv_kv *keys, int cnt, char *buf, size_t stride, int *len)
{
	struct twzdb_table t;
	struct twzdb_txn *tx;
	int err = start(th, TWZDB_RDONLY, &tx, &t);

	if (err)
		return err;
	for (int i = 0; i < cnt && err != DRV_FAIL; i++)
		err = len[i] =
			get_in(tx, t, keys[i].key, keys[i].klen, buf + (size_t)i * stride, stride);
	twzdb_abort(tx);
	return err == DRV_FAIL ? err : 0;
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

static int put(void *th, enum drv_put how, const struct drv_kv *kv)
{
	struct twzdb_table t;
	struct twzdb_txn *tx;

	if (start(th, 0, &tx, &t))
		return DRV_FAIL;
	return finish(tx,
		      twzdb_put(tx, t, slice(kv->key, kv->klen), slice(kv->value, kv->vlen),
				how == DRV_INSERT ? TWZDB_INSERT : TWZDB_UPDATE),
		      "put");
}

static int del(void *th, const char *key, size_t klen)
{
	struct twzdb_table t;
	struct twzdb_txn *tx;

	if (start(th, 0, &tx, &t))
		return DRV_FAIL;
	return finish(tx, twzdb_del(tx, t, slice(key, klen)), "delete");
}

static int modify(void *th, const char *key, size_t klen, drv_edit *edit, void *ctx)
{
	struct handle *h = th;
	struct twzdb_table t;
	struct twzdb_slice v;
	struct twzdb_txn *tx;
	int err;

	if (start(h, 0, &tx, &t))
		return DRV_FAIL;
	err = twzdb_get(tx, t, slice(key, klen), &v);
	if (!err && v.len <= sizeof(h->value)) {
		memcpy(h->value, v.ptr, v.len);
		edit(ctx, h->value, v.len);
		err = twzdb_put(tx, t, slice(key, klen), slice(h->value, v.len), TWZDB_UPDATE);
	}
	return finish(tx, err, "read and write");
}

static int batch(void *th, const struct drv_kv *kv, int cnt, bool sorted)
{
	struct twzdb_table t;
	struct twzdb_txn *tx;
	uint32_t flags = TWZDB_INSERT;
	int err = 0;

#ifdef HAVE_TWZDB_APPEND
	if (sorted)
		flags = TWZDB_APPEND;
#endif
	(void)sorted;
	if (start(th, 0, &tx, &t))
		return DRV_FAIL;
	for (int i = 0; i < cnt && !err; i++)
		err = twzdb_put(tx, t, slice(kv[i].key, kv[i].klen), slice(kv[i].value, kv[i].vlen),
				flags);
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
	struct twzdb_cursor *c;
	struct twzdb_table t;
	struct twzdb_txn *tx;
	int err = start(th, TWZDB_RDONLY, &tx, &t);

	if (err)
		return err;
	if (twzdb_cursor_open(tx, t, &c))
		err = failed("cursor");
	else
		err = rows(c, key, klen, cnt, out);
	if (!err || err == DRV_NONE)
		twzdb_cursor_close(c);
	twzdb_abort(tx);
	return err;
}

#ifdef HAVE_TWZDB_COUNT_RANGE
static int count_in(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice from,
		    struct twzdb_slice to, uint64_t *cnt)
{
	return twzdb_count_range(tx, t, from, to, cnt) ? failed("count") : 0;
}
#else
static int count_in(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice from,
		    struct twzdb_slice to, uint64_t *cnt)
{
	struct twzdb_cursor *c;
	struct twzdb_slice v;
	int err = twzdb_cursor_open(tx, t, &c);

	if (err)
		return failed("cursor");
	for (err = twzdb_cursor_get(c, TWZDB_SEEK_GE, &from, &v); !err;
	     err = twzdb_cursor_get(c, TWZDB_NEXT, &from, &v)) {
		if (memcmp(from.ptr, to.ptr, to.len) >= 0)
			break;
		++*cnt;
	}
	twzdb_cursor_close(c);
	return err && err != TWZDB_E_NOTFOUND ? failed("cursor") : 0;
}
#endif

static int count(void *th, const char *from, const char *to, size_t klen, uint64_t *cnt)
{
	struct twzdb_table t;
	struct twzdb_txn *tx;
	int err = start(th, TWZDB_RDONLY, &tx, &t);

	*cnt = 0;
	if (err)
		return err;
	err = count_in(tx, t, slice(from, klen), slice(to, klen), cnt);
	twzdb_abort(tx);
	return err;
}

static void settings(void *store, char *buf, size_t len)
{
	struct twzdb_stats st = {.size = sizeof(st)};
	int g = twz_store_granularity(twzdb_store(store));

	if (twzdb_stats(store, &st))
		failed("statistics");
	snprintf(buf, len, "commit = %s; log ring %llu KiB; defaults otherwise",
		 g == TWZ_GRAN_PAGE ? "one range sync of the log"
				    : "clwb of the record, log line, one sfence",
		 (unsigned long long)st.log_len >> 10);
}

#define TWZDB_OPS                                                                                  \
	.close = close_db, .attach = attach, .detach = free, .get = get, .mget = mget, .put = put, \
	.del = del, .modify = modify, .batch = batch, .scan = scan, .count = count,                \
	.settings = settings

const struct drv drv_twzdb = {.name = "twzdb", .what = "this engine", .open = open_db, TWZDB_OPS};
const struct drv drv_twzdb_tree = {.name = "twzdb-tree",
				   .what = "this engine without the hash accelerator",
				   .open = open_tree,
				   TWZDB_OPS};
