/* SPDX-License-Identifier: MIT
 * kv_ops.c -- point reads and one-operation durable writes
 */
#include "kv.h"

#include <stdlib.h>

#define CLOCK_EVERY 256 /* operations between two looks at the clock */

static bool is_over(const struct kv *k, uint64_t start, uint64_t *now)
{
	*now = kv_cpu_ns(k);
	return *now - start >= k->slice_ns;
}

static double rate(uint32_t ops, uint64_t start, uint64_t end)
{
	return end > start ? (double)ops * 1e3 / (double)(end - start) : 0;
}

static bool is_tree(const struct kv_peer *p)
{
	return p->drv == &drv_twzdb_tree;
}

/* --- reads --- */

static double slice_get(struct kv *k, struct kv_peer *p, const struct kv_row *row)
{
	uint32_t n = kv_stream(k, p, row->dist), i = 0;
	uint64_t start = kv_cpu_ns(k), now = start;
	char buf[VALUE_MAX];

	while (i < n) {
		const struct kv_op *op = &k->ops[i];
		int len = p->drv->get(p->th, op->key, KEY_LEN, buf, sizeof(buf));

		if (!kv_op_ok(op, buf, len))
			return kv_wrong(p, "get", op, len);
		if (++i % CLOCK_EVERY == 0 && is_over(k, start, &now))
			break;
	}
	return rate(i, start, kv_cpu_ns(k));
}

static double slice_mget(struct kv *k, struct kv_peer *p, const struct kv_row *row)
{
	uint32_t n = kv_stream(k, p, row->dist) / MGET_CNT * MGET_CNT, i = 0;
	uint64_t start = kv_cpu_ns(k), now = start;
	char buf[MGET_CNT][128];
	struct drv_kv keys[MGET_CNT];
	int len[MGET_CNT];

	while (i < n) {
		for (int j = 0; j < MGET_CNT; j++)
			keys[j] = (struct drv_kv){.key = k->ops[i + (uint32_t)j].key,
						  .klen = KEY_LEN};
		if (p->drv->mget(p->th, keys, MGET_CNT, buf[0], sizeof(buf[0]), len))
			return SLICE_FAIL;
		for (int j = 0; j < MGET_CNT; j++, i++)
			if (!kv_op_ok(&k->ops[i], buf[j], len[j]))
				return kv_wrong(p, "multi-get", &k->ops[i], len[j]);
		if (i % CLOCK_EVERY == 0 && is_over(k, start, &now))
			break;
	}
	return rate(i, start, kv_cpu_ns(k));
}

/* Reads each record once: caches that reads fill are in the state of steady use afterwards. */
int kv_read_all(struct kv *k)
{
	char buf[VALUE_MAX];
	struct kv_op op;

	for (int i = 0; i < k->peer_cnt; i++) {
		struct kv_peer *p = &k->peers[i];

		for (uint32_t id = 0; id < k->records; id++) {
			int len;

			kv_op_make(&op, id, p->version[id]);
			len = p->drv->get(p->th, op.key, KEY_LEN, buf, sizeof(buf));
			if (!kv_op_ok(&op, buf, len)) {
				kv_wrong(p, "first get", &op, len);
				return DRV_FAIL;
			}
		}
	}
	return 0;
}

int kv_section_reads(struct kv *k)
{
	static struct kv_row rows[] = {
		{"get.zipf", "point read, zipfian", "M op/s", slice_get, 0, KV_ZIPF},
		{"get.unif", "point read, uniform", "M op/s", slice_get, 0, KV_UNIF},
		{"mget.zipf", "multi-get of 16, zipfian", "M op/s", slice_mget, 0, KV_ZIPF},
		{"mget.unif", "multi-get of 16, uniform", "M op/s", slice_mget, 0, KV_UNIF},
	};
	static struct kv_row vs[2]; /* multi-get against LMDB's single reads */
	int us, err;

	report_section("Point reads, a snapshot begun and ended per read (multi-get: per 16); "
		       "value copied out and checked");
	err = kv_rows(k, rows, 4);
	if (err)
		return err;
	kv_ratio(k, &rows[0], "twzdb", KV_LMDB_BEST, 5, "point read, zipfian: twzdb / LMDB");
	kv_ratio(k, &rows[1], "twzdb", KV_LMDB_BEST, 5, "point read, uniform: twzdb / LMDB");
	kv_ratio(k, &rows[0], "twzdb-tree", KV_LMDB_BEST, 2, "the tree alone, zipfian / LMDB");
	kv_ratio(k, &rows[1], "twzdb-tree", KV_LMDB_BEST, 2, "the tree alone, uniform / LMDB");
	us = kv_peer_index(k, "twzdb");
	for (int d = 0; d < 2 && us >= 0; d++) {
		vs[d] = rows[d];
		vs[d].key = d ? "mget.unif.vs" : "mget.zipf.vs";
		memcpy(vs[d].v[us], rows[2 + d].v[us], sizeof(vs[d].v[us]));
		kv_ratio(k, &vs[d], "twzdb", KV_LMDB_BEST, kv_is_big(k) ? 0 : 9,
			 d ? "multi-get of 16, uniform / LMDB's reads"
			   : "multi-get of 16, zipfian / LMDB's reads");
	}
	return 0;
}

/* --- writes --- */

static void fill_value(struct field *f, const struct kv_op *op, uint32_t version)
{
	bench_field(f, op->word, 0, version, op->id);
}

/* Runs the stream's operations by FN until the slice is over; how many, or a negative error. */
static int64_t run_writes(struct kv *k, struct kv_peer *p, uint32_t n,
			  int (*fn)(struct kv_peer *p, const struct kv_op *op, struct field *f,
				    uint32_t version),
			  uint64_t *ns)
{
	uint64_t start = kv_cpu_ns(k), now = start;
	uint32_t i = 0, base = p->written + 1;
	struct field f;

	bench_filler(&f);
	while (i < n) {
		int err = fn(p, &k->ops[i], &f, base + i);

		if (err) {
			kv_wrong(p, "write", &k->ops[i], err);
			return -1;
		}
		if (++i % (CLOCK_EVERY / 4) == 0 && is_over(k, start, &now))
			break;
	}
	*ns = kv_cpu_ns(k) - start;
	return i;
}

static int do_put(struct kv_peer *p, const struct kv_op *op, struct field *f, uint32_t version,
		  enum drv_put how)
{
	struct drv_kv kv = {op->key, (const char *)f, KEY_LEN, FIELD_LEN};

	fill_value(f, op, version);
	return p->drv->put(p->th, how, &kv);
}

static int do_update(struct kv_peer *p, const struct kv_op *op, struct field *f, uint32_t version)
{
	return do_put(p, op, f, version, DRV_UPDATE);
}

static int do_insert(struct kv_peer *p, const struct kv_op *op, struct field *f, uint32_t version)
{
	return do_put(p, op, f, version, DRV_INSERT);
}

static int do_delete(struct kv_peer *p, const struct kv_op *op, struct field *f, uint32_t version)
{
	(void)f, (void)version;
	return p->drv->del(p->th, op->key, KEY_LEN);
}

void kv_note_updates(struct kv *k, struct kv_peer *p, uint32_t done)
{
	for (uint32_t i = 0; i < done; i++)
		p->version[k->ops[i].id] = p->written + 1 + i;
	p->written += done;
}

static double slice_update(struct kv *k, struct kv_peer *p, const struct kv_row *row)
{
	uint64_t ns = 0;
	int64_t done;

	if (is_tree(p))
		return NO_FIGURE;
	done = run_writes(k, p, kv_stream(k, p, row->dist), do_update, &ns);
	if (done < 0)
		return SLICE_FAIL;
	kv_note_updates(k, p, (uint32_t)done);
	return rate((uint32_t)done, 0, ns);
}

static double slice_insert(struct kv *k, struct kv_peer *p, const struct kv_row *row)
{
	uint32_t n = k->stream_len;
	uint64_t ns = 0;
	int64_t done;

	(void)row;
	if (is_tree(p))
		return NO_FIGURE;
	for (uint32_t i = 0; i < n; i++)
		kv_op_make(&k->ops[i], p->next + i, 0);
	done = run_writes(k, p, n, do_insert, &ns);
	if (done < 0)
		return SLICE_FAIL;
	p->next += (uint32_t)done;
	p->written += (uint32_t)done;
	return rate((uint32_t)done, 0, ns);
}

/* The added records' numbers in random order. */
static uint32_t stream_added(struct kv *k, const struct kv_peer *p)
{
	uint32_t n = p->next - p->first;
	struct rng r = {p->next};

	for (uint32_t i = 0; i < n; i++)
		kv_op_make(&k->ops[i], p->first + i, 0);
	for (uint32_t i = n; i > 1; i--) {
		uint32_t j = (uint32_t)rng_below(&r, i);
		struct kv_op t = k->ops[j];

		k->ops[j] = k->ops[i - 1];
		k->ops[i - 1] = t;
	}
	return n;
}

/* Deletes what inserts added; what does not fit in the slice goes after the clock stopped. */
static double slice_delete(struct kv *k, struct kv_peer *p, const struct kv_row *row)
{
	uint64_t ns = 0;
	int64_t done;
	uint32_t n;

	(void)row;
	if (is_tree(p))
		return NO_FIGURE;
	n = stream_added(k, p);
	done = run_writes(k, p, n, do_delete, &ns);
	if (done < 0)
		return SLICE_FAIL;
	for (uint32_t i = (uint32_t)done; i < n; i++)
		if (do_delete(p, &k->ops[i], NULL, 0))
			return kv_wrong(p, "delete", &k->ops[i], DRV_NONE);
	p->first = p->next;
	return rate((uint32_t)done, 0, ns);
}

/* Not a peer's figure: taken in each peer's turn, so that it sees the same machine. */
static double slice_fence(struct kv *k, struct kv_peer *p, const struct kv_row *row)
{
	(void)row;
	return p->drv == &drv_twzdb ? kv_fence_ns(k) : NO_FIGURE;
}

/* Nanoseconds an operation of ROWS[I] took over those of a fence, in the same round. */
static void fence_bar(struct kv *k, const struct kv_row *row, const struct kv_row *fence,
		      const char *what)
{
	int us = kv_peer_index(k, "twzdb");
	double v[ROUNDS_MAX];
	char key[96];

	if (us < 0)
		return;
	for (int r = 0; r < k->rounds; r++) {
		if (fence->v[us][r] <= 0)
			return;
		v[r] = 1e3 / row->v[us][r] / fence->v[us][r];
	}
	snprintf(key, sizeof(key), "%s.fence", row->key);
	report_bar(key, what, "x", v, k->rounds, kv_is_big(k) ? 0 : 3.2, false);
}

static const char *const vs_lmdb[] = {
	"update, zipfian: twzdb / LMDB MDB_WRITEMAP", "update, uniform: twzdb / LMDB MDB_WRITEMAP",
	"insert: twzdb / LMDB MDB_WRITEMAP", "delete: twzdb / LMDB MDB_WRITEMAP"};
static const char *const vs_fence[] = {"update, zipfian: time / one line and one fence",
				       "update, uniform: time / one line and one fence",
				       "insert: time / one line and one fence",
				       "delete: time / one line and one fence"};

static double write_bar(const struct kv *k, int row)
{
	if (!kv_is_big(k))
		return 4.5;
	return row < 2 ? 3.5 : 0;
}

/*
 * Updates have their rounds before inserts and deletes have theirs: those leave LMDB with fewer
 * free pages, taken in turn, than a load does, so that its copies stay in the cache. The last row
 * shows how much that is.
 */
int kv_section_writes(struct kv *k)
{
	static struct kv_row rows[] = {
		{"update.zipf", "update, zipfian", "M op/s", slice_update, 0, KV_ZIPF},
		{"update.unif", "update, uniform", "M op/s", slice_update, 0, KV_UNIF},
		{"insert", "insert", "M op/s", slice_insert, 0, KV_UNIF},
		{"delete", "delete", "M op/s", slice_delete, 0, KV_UNIF},
		{"update.churned", "update, zipfian, after these", "M op/s", slice_update, 0,
		 KV_ZIPF},
		{"fence", "one log line and one fence", "ns", slice_fence, 0, KV_UNIF},
	};
	int err;

	report_section("Durable one-operation transactions");
	err = kv_rows(k, rows, 2);
	if (!err)
		err = kv_rows(k, rows + 2, 2);
	if (!err)
		err = kv_rows(k, rows + 4, k->page ? 1 : 2);
	if (err)
		return err;
	for (int i = 0; i < 4; i++)
		kv_ratio(k, &rows[i], "twzdb", KV_LMDB_WM, write_bar(k, i), vs_lmdb[i]);
	kv_ratio(k, &rows[4], "twzdb", KV_LMDB_WM, 0, "update, zipfian, after inserts and deletes");
	for (int i = 0; i < 4 && !k->page; i++)
		fence_bar(k, &rows[i], &rows[5], vs_fence[i]);
	return 0;
}

/* CNT zipfian updates of every peer, untimed: the state scans and space are looked at again in. */
int kv_update_all(struct kv *k, uint32_t cnt)
{
	uint64_t slice = k->slice_ns, ns;

	k->slice_ns = UINT64_MAX;
	for (uint32_t done = 0; done < cnt;) {
		uint32_t n = cnt - done < k->stream_len ? cnt - done : k->stream_len;

		kv_new_round(k, 1000 + (int)(done / k->stream_len));
		for (int i = 0; i < k->peer_cnt; i++) {
			struct kv_peer *p = &k->peers[i];
			int64_t got;

			kv_stream(k, p, KV_ZIPF);
			got = run_writes(k, p, n, do_update, &ns);
			if (got < 0)
				return DRV_FAIL;
			kv_note_updates(k, p, (uint32_t)got);
		}
		done += n;
	}
	k->slice_ns = slice;
	return 0;
}
