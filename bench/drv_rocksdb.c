/* SPDX-License-Identifier: MIT
 * drv_rocksdb.c -- RocksDB as a peer, by its C interface
 *
 * Tuned as its wiki advises for data that fit in memory: no compression, tables read through
 * mmap, whole-table bloom filters, hash index in data blocks, checksums not verified on every
 * read, tables kept open, large memtables. A get reads one implicit snapshot. Every write is
 * synced to the log before it returns. Puts and deletes are blind: cheaper than the others' checks.
 */
#include "drv.h"

#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>

#define MGET_MAX 64

struct store {
	rocksdb_t *db;
	rocksdb_options_t *opt;
	rocksdb_column_family_handle_t *cf;
};

struct handle {
	struct store *s;
	rocksdb_readoptions_t *read;
	rocksdb_writeoptions_t *write;
	char value[VALUE_MAX];
};

static int failed(const char *what, char *err)
{
	drv_fail("rocksdb: %s: %s", what, err);
	rocksdb_free(err);
	return DRV_FAIL;
}

static rocksdb_options_t *make_options(const struct drv_opt *o)
{
	rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();
	rocksdb_options_t *opt = rocksdb_options_create();
	uint64_t data = o->records * (o->value_len + 64);

	rocksdb_block_based_options_set_filter_policy(t,
						      rocksdb_filterpolicy_create_bloom_full(10));
	rocksdb_block_based_options_set_data_block_index_type(
		t, rocksdb_block_based_table_data_block_index_type_binary_search_and_hash);
	rocksdb_block_based_options_set_data_block_hash_ratio(t, 0.75);
	if (o->page) {
		rocksdb_cache_t *cache = rocksdb_cache_create_lru(2 * data + (64u << 20));

		rocksdb_block_based_options_set_block_cache(t, cache);
		rocksdb_cache_destroy(cache);
	} else {
		rocksdb_block_based_options_set_no_block_cache(t, 1);
		rocksdb_options_set_allow_mmap_reads(opt, 1);
	}
	rocksdb_options_set_block_based_table_factory(opt, t);
	rocksdb_block_based_options_destroy(t);
	rocksdb_options_set_create_if_missing(opt, 1);
	rocksdb_options_set_compression(opt, rocksdb_no_compression);
	rocksdb_options_set_max_open_files(opt, -1);
	rocksdb_options_set_write_buffer_size(opt, 256u << 20);
	rocksdb_options_set_target_file_size_base(opt, 256u << 20);
	rocksdb_options_set_max_background_jobs(opt, 2);
	rocksdb_options_set_info_log_level(opt, 3); /* errors */
	return opt;
}

static int open_db(const struct drv_opt *o, void **store)
{
	struct store *s = calloc(1, sizeof(*s));
	const char *name = "default"; /* a handle of it is what multi-get asks for */
	char *err = NULL;

	if (!s)
		return drv_fail("no memory");
	s->opt = make_options(o);
	s->db = rocksdb_open_column_families(
		s->opt, o->dir, 1, &name, (const rocksdb_options_t *const *)&s->opt, &s->cf, &err);
	if (!err) {
		*store = s;
		return 0;
	}
	rocksdb_options_destroy(s->opt);
	free(s);
	return failed(o->dir, err);
}

static void close_db(void *store)
{
	struct store *s = store;

	rocksdb_column_family_handle_destroy(s->cf);
	rocksdb_close(s->db);
	rocksdb_options_destroy(s->opt);
	free(s);
}

static int attach(void *store, void **th)
{
	struct handle *h = calloc(1, sizeof(*h));

	if (!h)
		return drv_fail("no memory");
	h->s = store;
	h->read = rocksdb_readoptions_create();
	rocksdb_readoptions_set_verify_checksums(h->read, 0);
	h->write = rocksdb_writeoptions_create();
	rocksdb_writeoptions_set_sync(h->write, 1);
	*th = h;
	return 0;
}

static void detach(void *th)
{
	struct handle *h = th;

	rocksdb_readoptions_destroy(h->read);
	rocksdb_writeoptions_destroy(h->write);
	free(h);
}

/* The value's length, after copying and releasing it. */
static int take(rocksdb_pinnableslice_t *v, char *buf, size_t cap)
{
	const char *p;
	size_t len;
	int ret;

	if (!v)
		return DRV_NONE;
	p = rocksdb_pinnableslice_value(v, &len);
	ret = p ? drv_copy(buf, cap, p, len) : DRV_NONE;
	rocksdb_pinnableslice_destroy(v);
	return ret;
}

static int get(void *th, const char *key, size_t klen, char *buf, size_t cap)
{
	struct handle *h = th;
	char *err = NULL;
	rocksdb_pinnableslice_t *v = rocksdb_get_pinned(h->s->db, h->read, key, klen, &err);

	return err ? failed("get", err) : take(v, buf, cap);
}

static int mget(void *th, const struct drv_kv *keys, int cnt, char *buf, size_t stride, int *len)
{
	struct handle *h = th;
	rocksdb_pinnableslice_t *v[MGET_MAX];
	const char *key[MGET_MAX];
	size_t klen[MGET_MAX];
	char *err[MGET_MAX] = {NULL};

	if (cnt < 1 || cnt > MGET_MAX)
		return drv_fail("rocksdb: multi-get of %d keys", cnt);
	for (int i = 0; i < cnt; i++) {
		key[i] = keys[i].key;
		klen[i] = keys[i].klen;
	}
	rocksdb_batched_multi_get_cf(h->s->db, h->read, h->s->cf, (size_t)cnt, key, klen, v, err,
				     0);
	for (int i = 0; i < cnt; i++) {
		if (err[i])
			return failed("multi-get", err[i]);
		len[i] = take(v[i], buf + (size_t)i * stride, stride);
	}
	return 0;
}

static int put(void *th, enum drv_put how, const struct drv_kv *kv)
{
	struct handle *h = th;
	char *err = NULL;

	(void)how;
	rocksdb_put(h->s->db, h->write, kv->key, kv->klen, kv->value, kv->vlen, &err);
	return err ? failed("put", err) : 0;
}

static int del(void *th, const char *key, size_t klen)
{
	struct handle *h = th;
	char *err = NULL;

	rocksdb_delete(h->s->db, h->write, key, klen, &err);
	return err ? failed("delete", err) : 0;
}

/* As YCSB's own binding does it: a get and a put; another thread's put between them is lost. */
static int modify(void *th, const char *key, size_t klen, drv_edit *edit, void *ctx)
{
	struct handle *h = th;
	struct drv_kv kv = {key, h->value, (uint32_t)klen, 0};
	int len = get(th, key, klen, h->value, sizeof(h->value));

	if (len < 0)
		return len;
	edit(ctx, h->value, (size_t)len);
	kv.vlen = (uint32_t)len;
	return put(th, DRV_UPDATE, &kv);
}

static int batch(void *th, const struct drv_kv *kv, int cnt, bool sorted)
{
	struct handle *h = th;
	rocksdb_writebatch_t *b = rocksdb_writebatch_create();
	char *err = NULL;

	(void)sorted;
	for (int i = 0; i < cnt; i++)
		rocksdb_writebatch_put(b, kv[i].key, kv[i].klen, kv[i].value, kv[i].vlen);
	rocksdb_write(h->s->db, h->write, b, &err);
	rocksdb_writebatch_destroy(b);
	return err ? failed("batch", err) : 0;
}

static int end(rocksdb_iterator_t *it, const char *what)
{
	char *err = NULL;

	rocksdb_iter_get_error(it, &err);
	rocksdb_iter_destroy(it);
	return err ? failed(what, err) : 0;
}

static int scan(void *th, const char *key, size_t klen, uint64_t cnt, struct drv_rows *out)
{
	struct handle *h = th;
	rocksdb_iterator_t *it = rocksdb_create_iterator(h->s->db, h->read);

	if (klen)
		rocksdb_iter_seek(it, key, klen);
	else
		rocksdb_iter_seek_to_first(it);
	for (; cnt && rocksdb_iter_valid(it); cnt--) {
		size_t len, vlen;
		const char *k = rocksdb_iter_key(it, &len), *v = rocksdb_iter_value(it, &vlen);

		drv_row(out, k, len, v, vlen);
		if (cnt > 1)
			rocksdb_iter_next(it);
	}
	return end(it, "scan");
}

static int count(void *th, const char *from, const char *to, size_t klen, uint64_t *cnt)
{
	struct handle *h = th;
	rocksdb_iterator_t *it = rocksdb_create_iterator(h->s->db, h->read);

	*cnt = 0;
	for (rocksdb_iter_seek(it, from, klen); rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
		size_t len;

		if (memcmp(rocksdb_iter_key(it, &len), to, klen) >= 0)
			break;
		++*cnt;
	}
	return end(it, "count");
}

/* Memtables to tables, tables to one level: the state reads are fastest in. */
static int settle(void *store)
{
	struct store *s = store;
	rocksdb_flushoptions_t *fo = rocksdb_flushoptions_create();
	char *err = NULL;

	rocksdb_flush(s->db, fo, &err);
	rocksdb_flushoptions_destroy(fo);
	if (err)
		return failed("flush", err);
	rocksdb_compact_range(s->db, NULL, 0, NULL, 0);
	return 0;
}

static void settings(void *store, char *buf, size_t len)
{
	struct store *s = store;

	snprintf(buf, len,
		 "WAL synced by every write, no compression, %s, bloom filters of 10 bits, hash "
		 "index, 256 MiB memtables, blind puts; compacted after the load",
		 rocksdb_options_get_allow_mmap_reads(s->opt) ? "mmap reads"
							      : "block cache > data");
}

const struct drv drv_rocksdb = {.name = "rocksdb",
				.one_process = true,
				.what = "RocksDB",
				.open = open_db,
				.close = close_db,
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
