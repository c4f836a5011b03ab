/* SPDX-License-Identifier: MIT
 * kv_run.c -- streams of operations, rounds of slices, rows and their bars
 */
#include "kv.h"

#include <stdlib.h>
#include <time.h>

uint64_t kv_cpu_ns(const struct kv *k)
{
	struct timespec ts;

	/* Behind a page cache the time is the device's, not the processor's. */
	clock_gettime(k->page ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* --- streams --- */

static void make_ids(struct kv *k, enum kv_dist dist, uint64_t seed)
{
	struct rng r = {seed};

	for (uint32_t i = 0; i < k->stream_len; i++)
		k->ids[dist][i] =
			(uint32_t)(dist == KV_ZIPF ? fnv64(zipf_next(&k->zipf, &r)) % k->records
						   : rng_below(&r, k->records));
}

void kv_new_round(struct kv *k, int round)
{
	k->round = round;
	for (int d = 0; d < KV_DISTS; d++)
		make_ids(k, (enum kv_dist)d, (uint64_t)(round + 2) * 1000003u + (uint64_t)d);
}

void kv_op_make(struct kv_op *op, uint32_t id, uint32_t version)
{
	key_make(op->key, key_hash(id));
	op->key[KEY_LEN] = 0;
	op->id = id;
	op->version = version;
	op->word = bench_key_word(op->key, KEY_LEN);
	op->proof = bench_proof(op->word, version);
}

uint32_t kv_stream(struct kv *k, struct kv_peer *p, enum kv_dist dist)
{
	for (uint32_t i = 0; i < k->stream_len; i++) {
		uint32_t id = k->ids[dist][i];

		kv_op_make(&k->ops[i], id, p->version[id]);
	}
	return k->stream_len;
}

double kv_wrong(const struct kv_peer *p, const char *what, const struct kv_op *op, int len)
{
	if (len == DRV_NONE)
		drv_fail("%s: %s: record %u (%s) is missing", p->drv->name, what, op->id, op->key);
	else if (len != DRV_FAIL)
		drv_fail("%s: %s: record %u (%s): a wrong answer of %d bytes", p->drv->name, what,
			 op->id, op->key, len);
	return SLICE_FAIL;
}

/* --- rows --- */

void kv_print_head(const struct kv *k, const char *unit)
{
	printf("  %-44s", unit);
	for (int i = 0; i < k->peer_cnt; i++)
		printf(" %10s", k->peers[i].drv->name);
	printf("\n");
}

static double median(const double *v, int cnt)
{
	double copy[ROUNDS_MAX];

	memcpy(copy, v, (size_t)cnt * sizeof(*v));
	return bench_median(copy, (size_t)cnt);
}

static void print_row(struct kv *k, const struct kv_row *row)
{
	char key[96];

	printf("  %-44s", row->what);
	for (int i = 0; i < k->peer_cnt; i++) {
		double m = median(row->v[i], k->rounds);

		if (m == NO_FIGURE) {
			printf(" %10s", "-");
			continue;
		}
		printf(m >= 1000 ? " %10.0f" : " %10.3f", m);
		snprintf(key, sizeof(key), "%s.%s", row->key, k->peers[i].drv->name);
		report_series(key, row->what, row->unit, row->v[i], k->rounds);
	}
	printf("\n");
}

void kv_print_rows(struct kv *k, const struct kv_row *rows, int cnt)
{
	const char *unit = "";

	for (int i = 0; i < cnt; i++) {
		if (strcmp(unit, rows[i].unit))
			kv_print_head(k, rows[i].unit);
		unit = rows[i].unit;
		print_row(k, &rows[i]);
	}
}

static int slice_all(struct kv *k, struct kv_row *row)
{
	for (int i = 0; i < k->peer_cnt; i++) {
		double v = row->slice(k, &k->peers[i], row);

		if (v == SLICE_FAIL)
			return drv_fail("%s: '%s' failed", k->peers[i].drv->name, row->what);
		if (k->round >= 0)
			row->v[i][k->round] = v;
	}
	return 0;
}

int kv_rows(struct kv *k, struct kv_row *rows, int cnt)
{
	int err = 0;

	for (int r = -1; r < k->rounds && !err; r++) {
		kv_new_round(k, r);
		for (int i = 0; i < cnt && !err; i++)
			err = slice_all(k, &rows[i]);
	}
	if (!err)
		kv_print_rows(k, rows, cnt);
	return err;
}

/* --- bars --- */

int kv_peer_index(const struct kv *k, const char *name)
{
	for (int i = 0; i < k->peer_cnt; i++)
		if (!strcmp(k->peers[i].drv->name, name))
			return i;
	return -1;
}

/* LMDB's figure of a round; KV_LMDB_BEST: of its better mode. */
static double lmdb_figure(const struct kv *k, const struct kv_row *row, enum kv_against against,
			  int round)
{
	int wm = kv_peer_index(k, "lmdb-wm"), plain = kv_peer_index(k, "lmdb");
	double v = wm >= 0 ? row->v[wm][round] : 0;

	if (against == KV_LMDB_BEST && plain >= 0 && row->v[plain][round] > v)
		v = row->v[plain][round];
	return v;
}

void kv_ratio(struct kv *k, const struct kv_row *row, const char *ours, enum kv_against against,
	      double bar, const char *what)
{
	int o = kv_peer_index(k, ours);
	double ratios[ROUNDS_MAX];
	char key[96];

	if (o < 0)
		return;
	for (int r = 0; r < k->rounds; r++) {
		double theirs = lmdb_figure(k, row, against, r);

		if (theirs <= 0)
			return;
		ratios[r] = row->v[o][r] / theirs;
	}
	snprintf(key, sizeof(key), "%s.%s.ratio", row->key, ours);
	report_bar(key, what, "x", ratios, k->rounds, k->page ? 0 : bar, true);
}

void kv_bar(struct kv *k, const struct kv_row *row, const char *ours, double bar, bool at_least,
	    const char *what)
{
	int o = kv_peer_index(k, ours);
	char key[96];

	if (o < 0 || row->v[o][0] == NO_FIGURE)
		return;
	snprintf(key, sizeof(key), "%s.%s.bar", row->key, ours);
	report_bar(key, what, row->unit, row->v[o], k->rounds, k->page ? 0 : bar, at_least);
}
