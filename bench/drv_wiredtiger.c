/* SPDX-License-Identifier: MIT
 * drv_wiredtiger.c -- WiredTiger as a peer
 *
 * Cache larger than the data, log on, every commit synced to it (transaction_sync), no
 * compression. Single reads and writes are implicit transactions, whose snapshot ends with
 * cursor->reset; cursors are kept open per session, as its manual advises. Puts are blind
 * ("overwrite", its default). Bulk cursors are left out: what they load is not durable per batch.
 */
#include "drv.h"

#include <stdio.h>
#include <stdlib.h>
#include <wiredtiger.h>

#define TABLE "table:kv"

struct store {
	WT_CONNECTION *conn;
	unsigned long long cache_mib;
};

struct handle {
	WT_SESSION *session;
	WT_CURSOR *cur;
	char value[VALUE_MAX];
};

static int failed(const char *what, int err)
{
	return drv_fail("wiredtiger: %s: %s", what, wiredtiger_strerror(err));
}

static int make_table(WT_CONNECTION *conn)
{
	WT_SESSION *s;
	int err = conn->open_session(conn, NULL, NULL, &s);

	if (err)
		return err;
	err = s->create(s, TABLE,
			"key_format=u,value_format=u,prefix_compression=false,"
			"memory_page_max=10MB,leaf_page_max=16KB");
	return s->close(s, NULL) | err;
}

static int open_conn(const struct drv_opt *o, void **store)
{
	struct store *s = calloc(1, sizeof(*s));
	char config[512];
	int err;

	if (!s)
		return drv_fail("no memory");
	s->cache_mib = 512 + (o->records * (o->value_len + 64) * 4 >> 20);
	snprintf(config, sizeof(config),
		 "create,cache_size=%lluMB,log=(enabled=true,file_max=256MB),"
		 "transaction_sync=(enabled=true,method=fsync),checkpoint=(log_size=1GB),"
		 "statistics=(none),session_max=64",
		 s->cache_mib);
	err = wiredtiger_open(o->dir, NULL, config, &s->conn);
	if (!err) {
		err = make_table(s->conn);
		if (!err) {
			*store = s;
			return 0;
		}
		s->conn->close(s->conn, NULL);
	}
	free(s);
	return failed(o->dir, err);
}

static void close_conn(void *store)
{
	struct store *s = store;

	s->conn->close(s->conn, "leak_memory=true"); /* the cache is freed by the process's end */
	free(s);
}

static int attach(void *store, void **th)
{
	struct store *s = store;
	struct handle *h = calloc(1, sizeof(*h));
	int err;

	if (!h)
		return drv_fail("no memory");
	err = s->conn->open_session(s->conn, NULL, "isolation=snapshot", &h->session);
	if (!err)
		err = h->session->open_cursor(h->session, TABLE, NULL, NULL, &h->cur);
	if (err) {
		free(h);
		return failed("session", err);
	}
	*th = h;
	return 0;
}

static void detach(void *th)
{
	struct handle *h = th;

	h->session->close(h->session, NULL);
	free(h);
}

static void set_key(struct handle *h, const char *key, size_t klen)
{
	WT_ITEM k = {.data = key, .size = klen};

	h->cur->set_key(h->cur, &k);
}

static void set_value(struct handle *h, const char *value, size_t len)
{
	WT_ITEM v = {.data = value, .size = len};

	h->cur->set_value(h->cur, &v);
}

static int get_in(struct handle *h, const char *key, size_t klen, char *buf, size_t cap)
{
	WT_ITEM v;
	int err;

	set_key(h, key, klen);
	err = h->cur->search(h->cur);
	if (!err)
		err = h->cur->get_value(h->cur, &v);
	if (err)
		return err == WT_NOTFOUND ? DRV_NONE : failed("search", err);
	return drv_copy(buf, cap, v.data, v.size);
}

static int get(void *th, const char *key, size_t klen, char *buf, size_t cap)
{
	struct handle *h = th;
	int len = get_in(h, key, klen, buf, cap);

	h->cur->reset(h->cur);
	return len;
}

static int mget(void *th, const struct drv_kv *keys, int cnt, char *buf, size_t stride, int *len)
{
	struct handle *h = th;
	int err = h->session->begin_transaction(h->session, NULL);

	if (err)
		return failed("begin", err);
	for (int i = 0; i < cnt && err != DRV_FAIL; i++)
		err = len[i] =
			get_in(h, keys[i].key, keys[i].klen, buf + (size_t)i * stride, stride);
	h->session->rollback_transaction(h->session, NULL);
	return err == DRV_FAIL ? err : 0;
}

/* Implicit transactions retry conflicts themselves. */
static int put(void *th, enum drv_put how, const struct drv_kv *kv)
{
	struct handle *h = th;
	int err;

	(void)how;
	set_key(h, kv->key, kv->klen);
	set_value(h, kv->value, kv->vlen);
	err = h->cur->insert(h->cur);
	h->cur->reset(h->cur);
	return err ? failed("put", err) : 0;
}

static int del(void *th, const char *key, size_t klen)
{
	struct handle *h = th;
	int err;

	set_key(h, key, klen);
	err = h->cur->remove(h->cur);
	h->cur->reset(h->cur);
	if (err)
		return err == WT_NOTFOUND ? DRV_NONE : failed("remove", err);
	return 0;
}

static int modify_once(struct handle *h, const char *key, size_t klen, drv_edit *edit, void *ctx)
{
	WT_ITEM v;
	int err;

	set_key(h, key, klen);
	err = h->cur->search(h->cur);
	if (!err)
		err = h->cur->get_value(h->cur, &v);
	if (err || v.size > sizeof(h->value))
		return err;
	memcpy(h->value, v.data, v.size);
	edit(ctx, h->value, v.size);
	set_key(h, key, klen);
	set_value(h, h->value, v.size);
	return h->cur->update(h->cur);
}

static int modify(void *th, const char *key, size_t klen, drv_edit *edit, void *ctx)
{
	struct handle *h = th;
	int err;

	do {
		err = h->session->begin_transaction(h->session, NULL);
		if (err)
			break;
		err = modify_once(h, key, klen, edit, ctx);
		if (err)
			h->session->rollback_transaction(h->session, NULL);
		else
			err = h->session->commit_transaction(h->session, NULL);
	} while (err == WT_ROLLBACK);
	if (err)
		return err == WT_NOTFOUND ? DRV_NONE : failed("read and write", err);
	return 0;
}

static int batch(void *th, const struct drv_kv *kv, int cnt, bool sorted)
{
	struct handle *h = th;
	int err = h->session->begin_transaction(h->session, NULL);

	(void)sorted;
	for (int i = 0; i < cnt && !err; i++) {
		set_key(h, kv[i].key, kv[i].klen);
		set_value(h, kv[i].value, kv[i].vlen);
		err = h->cur->insert(h->cur);
	}
	if (!err)
		err = h->session->commit_transaction(h->session, NULL);
	return err ? failed("batch", err) : 0;
}

/* On the first key >= KEY. */
static int seek(struct handle *h, const char *key, size_t klen)
{
	int err, exact = 0;

	if (!klen)
		return h->cur->next(h->cur);
	set_key(h, key, klen);
	err = h->cur->search_near(h->cur, &exact);
	return !err && exact < 0 ? h->cur->next(h->cur) : err;
}

static int scan(void *th, const char *key, size_t klen, uint64_t cnt, struct drv_rows *out)
{
	struct handle *h = th;
	WT_ITEM k, v;
	int err = seek(h, key, klen);

	while (!err) {
		err = h->cur->get_key(h->cur, &k) | h->cur->get_value(h->cur, &v);
		if (err)
			break;
		drv_row(out, k.data, k.size, v.data, v.size);
		if (!--cnt)
			break;
		err = h->cur->next(h->cur);
	}
	h->cur->reset(h->cur);
	return err && err != WT_NOTFOUND ? failed("scan", err) : 0;
}

static int count(void *th, const char *from, const char *to, size_t klen, uint64_t *cnt)
{
	struct handle *h = th;
	WT_ITEM k;
	int err = seek(h, from, klen);

	for (*cnt = 0; !err; ++*cnt) {
		err = h->cur->get_key(h->cur, &k);
		if (err || memcmp(k.data, to, klen) >= 0)
			break;
		err = h->cur->next(h->cur);
	}
	h->cur->reset(h->cur);
	return err && err != WT_NOTFOUND ? failed("count", err) : 0;
}

static int settle(void *store)
{
	struct store *s = store;
	WT_SESSION *session;
	int err = s->conn->open_session(s->conn, NULL, NULL, &session);

	if (!err) {
		err = session->checkpoint(session, NULL);
		session->close(session, NULL);
	}
	return err ? failed("checkpoint", err) : 0;
}

static void settings(void *store, char *buf, size_t len)
{
	struct store *s = store;

	snprintf(buf, len,
		 "%d.%d.%d, log on, transaction_sync by fsync, cache %llu MiB, no compression, "
		 "blind puts; checkpoint after the load",
		 WIREDTIGER_VERSION_MAJOR, WIREDTIGER_VERSION_MINOR, WIREDTIGER_VERSION_PATCH,
		 s->cache_mib);
}

const struct drv drv_wiredtiger = {.name = "wiredtiger",
				   .one_process = true,
				   .what = "WiredTiger",
				   .open = open_conn,
				   .close = close_conn,
				   .attach = attach,
				   .detach = detach,
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
