/* SPDX-License-Identifier: MIT
 * kv_scan.c -- range scans with values copied out, counting, space
 */
#include "kv.h"

/* Rows per scan in ROW->arg; 0: the whole table. */
static double slice_scan(struct kv *k, struct kv_peer *p, const struct kv_row *row)
{
	uint32_t n = kv_stream(k, p, row->dist), i = 0;
	uint64_t start, end, done = 0;
	struct drv_rows rows = {.cnt = 0};

	if (p->drv->no_seek && row->arg)
		return NO_FIGURE;
	start = end = kv_cpu_ns(k);
	do {
		const struct kv_op *op = &k->ops[i % n];

		rows.prev = 0;
		if (p->drv->scan(p->th, op->key, row->arg ? KEY_LEN : 0,
				 row->arg ? (uint64_t)row->arg : UINT64_MAX, &rows))
			return SLICE_FAIL;
		if (++i % 16 && row->arg)
			continue;
		end = kv_cpu_ns(k);
	} while (end - start < k->slice_ns);
	end = kv_cpu_ns(k);
	done = rows.cnt;
	/* A scan from near the end of the table is shorter. */
	if (rows.bad || done > (uint64_t)i * (row->arg ? (uint64_t)row->arg : k->records) ||
	    (!row->arg && done != (uint64_t)i * k->records) || (row->arg == 1 && done != i))
		return kv_wrong(p, "scan", &k->ops[0], (int)rows.bad);
	return (double)done * 1e3 / (double)(end - start);
}

/* Counts a tenth of the table from a random key on. */
static double slice_count(struct kv *k, struct kv_peer *p, const struct kv_row *row)
{
	uint64_t start, end, cnt, sum = 0;
	struct rng r = {(uint64_t)k->round + 77};

	(void)row;
	if (!p->drv->count || p->drv == &drv_twzdb_tree)
		return NO_FIGURE;
	start = kv_cpu_ns(k);
	do {
		uint32_t width = k->records / 10, at = (uint32_t)rng_below(&r, k->records - width);
		char from[KEY_LEN], to[KEY_LEN];

		key_make(from, key_hash(k->sorted[at]));
		key_make(to, key_hash(k->sorted[at + width]));
		if (p->drv->count(p->th, from, to, KEY_LEN, &cnt))
			return SLICE_FAIL;
		if (cnt != width) {
			drv_fail("%s: counted %llu keys instead of %u", p->drv->name,
				 (unsigned long long)cnt, width);
			return SLICE_FAIL;
		}
		sum += cnt;
		end = kv_cpu_ns(k);
	} while (end - start < k->slice_ns);
	return (double)sum * 1e3 / (double)(end - start);
}

int kv_section_scan(struct kv *k, const char *when, const char *tag)
{
	struct kv_row rows[] = {
		{"scan1.zipf", "1 row, zipfian", "M row/s", slice_scan, 1, KV_ZIPF},
		{"scan10.zipf", "10 rows, zipfian", "M row/s", slice_scan, 10, KV_ZIPF},
		{"scan100.zipf", "100 rows, zipfian", "M row/s", slice_scan, 100, KV_ZIPF},
		{"scan1.unif", "1 row, uniform", "M row/s", slice_scan, 1, KV_UNIF},
		{"scan10.unif", "10 rows, uniform", "M row/s", slice_scan, 10, KV_UNIF},
		{"scan100.unif", "100 rows, uniform", "M row/s", slice_scan, 100, KV_UNIF},
		{"scan.full", "full scan", "M row/s", slice_scan, 0, KV_UNIF},
		{"count", "range count, keys", "M row/s", slice_count, 0, KV_UNIF},
	};
	char what[96], keys[8][48];
	int err;

	for (int i = 0; i < 8; i++) {
		snprintf(keys[i], sizeof(keys[i]), "%s.%s", rows[i].key, tag);
		rows[i].key = keys[i];
	}
	report_section("Scans %s, values copied out and checked", when);
	err = kv_rows(k, rows, 8);
	for (int i = 0; i < 7 && !err; i++) {
		snprintf(what, sizeof(what), "%s: twzdb / LMDB", rows[i].what);
		kv_ratio(k, &rows[i], "twzdb", KV_LMDB_BEST,
			 kv_is_big(k) ? 1.0
			 : i == 6     ? 1.1
				      : 1.2,
			 what);
	}
	if (!err)
		kv_bar(k, &rows[7], "twzdb", kv_is_big(k) ? 0 : 50, true, "range count, M keys/s");
	return err;
}

/* Allocated blocks of each peer's directory (the one ending in SUFFIX) over the records in it. */
int kv_section_space(struct kv *k, const char *when, const char *tag, const char *suffix,
		     double bar)
{
	struct kv_row row = {"space", "bytes per record", "B/record"};
	int us = kv_peer_index(k, "twzdb"), wm = kv_peer_index(k, "lmdb-wm"),
	    plain = kv_peer_index(k, "lmdb");
	char dir[512], key[64], what[96];
	double lmdb;
	uint64_t size;

	for (int i = 0; i < k->peer_cnt; i++) {
		snprintf(dir, sizeof(dir), "%s%s", k->peers[i].dir, suffix);
		size = dir_size(dir);
		for (int r = 0; r < k->rounds; r++)
			row.v[i][r] = size ? (double)size / k->records : NO_FIGURE;
	}
	snprintf(key, sizeof(key), "space.%s", tag);
	row.key = key;
	report_section("Space %s: allocated blocks of all files (payload %d B/record)", when,
		       KEY_LEN + FIELD_LEN);
	kv_print_rows(k, &row, 1);
	if (us < 0 || (wm < 0 && plain < 0))
		return 0;
	lmdb = row.v[wm >= 0 ? wm : plain][0];
	if (plain >= 0 && row.v[plain][0] < lmdb)
		lmdb = row.v[plain][0];
	lmdb = row.v[us][0] / lmdb;
	snprintf(key, sizeof(key), "space.%s.ratio", tag);
	snprintf(what, sizeof(what), "space %s: twzdb / LMDB", when);
	report_bar(key, what, "x", &lmdb, 1, k->page || kv_is_big(k) ? 0 : bar, false);
	return 0;
}
