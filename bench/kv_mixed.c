/* SPDX-License-Identifier: MIT
 * kv_mixed.c -- latencies, and a reader beside a writer that never pauses
 */
#include "kv.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum beside { ALONE, UPDATES, INSERTS };

/* --- the writer's thread --- */

struct writer {
	struct kv_peer *p;
	struct kv_op *ops;
	uint32_t cnt, done;
	enum beside what;
	atomic_bool stop, failed;
	pthread_t thread;
};

static void *write_on(void *arg)
{
	struct writer *w = arg;
	const struct drv *d = w->p->drv;
	struct field f;
	void *th;

	if (d->attach(w->p->store, &th)) {
		atomic_store(&w->failed, true);
		return NULL;
	}
	bench_filler(&f);
	while (w->done < w->cnt && !atomic_load_explicit(&w->stop, memory_order_relaxed)) {
		const struct kv_op *op = &w->ops[w->done];
		struct drv_kv kv = {op->key, (const char *)&f, KEY_LEN, FIELD_LEN};

		bench_field(&f, op->word, 0, w->p->written + 1 + w->done, op->id);
		if (d->put(th, w->what == INSERTS ? DRV_INSERT : DRV_UPDATE, &kv)) {
			atomic_store(&w->failed, true);
			break;
		}
		w->done++;
	}
	d->detach(th);
	return NULL;
}

static int writer_start(struct kv *k, struct writer *w, struct kv_peer *p, enum beside what)
{
	w->p = p;
	w->what = what;
	w->cnt = 2 * k->stream_len; /* more than a slice can use up */
	w->ops = malloc(w->cnt * sizeof(*w->ops));
	if (!w->ops)
		return drv_fail("no memory");
	for (uint32_t i = 0; i < w->cnt; i++)
		kv_op_make(&w->ops[i],
			   what == INSERTS ? p->next + i
					   : k->ids[KV_ZIPF][k->stream_len - 1 - i % k->stream_len],
			   0);
	if (pthread_create(&w->thread, NULL, write_on, w)) {
		free(w->ops);
		return drv_fail("no thread");
	}
	return 0;
}

/* Joins it, notes what it wrote, and takes inserted records out again. */
static int writer_stop(struct writer *w)
{
	int err = 0;

	atomic_store(&w->stop, true);
	pthread_join(w->thread, NULL);
	for (uint32_t i = 0; i < w->done && w->what == UPDATES; i++)
		w->p->version[w->ops[i].id] = w->p->written + 1 + i;
	for (uint32_t i = 0; i < w->done && w->what == INSERTS && !err; i++)
		err = w->p->drv->del(w->p->th, w->ops[i].key, KEY_LEN);
	if (w->what == INSERTS)
		w->p->first = w->p->next = w->p->next + w->done;
	w->p->written += w->done;
	free(w->ops);
	return err || w->failed ? drv_fail("%s: the writer beside a reader failed", w->p->drv->name)
				: 0;
}

/* --- the reader --- */

/* The value may be any version: key and proof must fit. */
static bool some_version(const struct kv_op *op, const char *buf, int len)
{
	return len == FIELD_LEN && bench_value_ok(buf, FIELD_LEN, op->word);
}

static double read_on(struct kv *k, struct kv_peer *p, uint32_t n)
{
	uint64_t start = kv_cpu_ns(k), now = start, done = 0;
	char buf[VALUE_MAX];

	do {
		for (int i = 0; i < 256; i++, done++) {
			const struct kv_op *op = &k->ops[done % n];
			int len = p->drv->get(p->th, op->key, KEY_LEN, buf, sizeof(buf));

			if (!some_version(op, buf, len))
				return kv_wrong(p, "get beside a writer", op, len);
		}
		now = kv_cpu_ns(k);
	} while (now - start < 2 * k->slice_ns);
	return (double)done * 1e3 / (double)(now - start);
}

static int by_ticks(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

#define SAMPLES (1u << 20) /* no stream is longer */
static uint32_t samples[SAMPLES];

static double percentile(uint32_t cnt, int per_mille)
{
	qsort(samples, cnt, sizeof(*samples), by_ticks);
	return samples[(uint64_t)(cnt - 1) * (uint32_t)per_mille / 1000] * bench_ns_per_tick();
}

/* The latency, ns, that PER_MILLE of the reads do not exceed. */
static double read_latency(struct kv *k, struct kv_peer *p, uint32_t n, int per_mille)
{
	uint64_t start = kv_cpu_ns(k);
	char buf[VALUE_MAX];
	uint32_t cnt = 0;

	while (cnt < SAMPLES && (cnt % 256 || kv_cpu_ns(k) - start < 2 * k->slice_ns)) {
		const struct kv_op *op = &k->ops[cnt % n];
		uint64_t t = bench_ticks();
		int len = p->drv->get(p->th, op->key, KEY_LEN, buf, sizeof(buf));

		t = bench_ticks() - t;
		samples[cnt++] = t > UINT32_MAX ? UINT32_MAX : (uint32_t)t;
		if (!some_version(op, buf, len))
			return kv_wrong(p, "get beside a writer", op, len);
	}
	return percentile(cnt, per_mille);
}

/* The same for durable updates. */
static double slice_update_latency(struct kv *k, struct kv_peer *p, const struct kv_row *row)
{
	uint32_t n = kv_stream(k, p, KV_ZIPF), cnt = 0;
	uint64_t start = kv_cpu_ns(k);
	struct field f;

	if (p->drv == &drv_twzdb_tree)
		return NO_FIGURE;
	bench_filler(&f);
	while (cnt < n && (cnt % 64 || kv_cpu_ns(k) - start < k->slice_ns)) {
		const struct kv_op *op = &k->ops[cnt];
		struct drv_kv kv = {op->key, (const char *)&f, KEY_LEN, FIELD_LEN};
		uint64_t t = bench_ticks();
		int err;

		bench_field(&f, op->word, 0, p->written + 1 + cnt, op->id);
		err = p->drv->put(p->th, DRV_UPDATE, &kv);
		t = bench_ticks() - t;
		samples[cnt++] = t > UINT32_MAX ? UINT32_MAX : (uint32_t)t;
		if (err)
			return kv_wrong(p, "update", op, err);
	}
	kv_note_updates(k, p, cnt);
	return percentile(cnt, row->arg);
}

/* ARG: beside << 16 | per mille of the latency wanted, 0 = throughput. */
static double slice_beside(struct kv *k, struct kv_peer *p, const struct kv_row *row)
{
	enum beside what = (enum beside)(row->arg >> 16);
	int per_mille = row->arg & 0xffff;
	struct writer w = {.cnt = 0};
	uint32_t n;
	double v;

	if (p->drv == &drv_twzdb_tree)
		return NO_FIGURE;
	n = kv_stream(k, p, KV_ZIPF);
	if (what != ALONE && writer_start(k, &w, p, what))
		return SLICE_FAIL;
	v = per_mille ? read_latency(k, p, n, per_mille) : read_on(k, p, n);
	if (what != ALONE && writer_stop(&w))
		return SLICE_FAIL;
	return v;
}

/* --- bars --- */

static void kept_bar(struct kv *k, const struct kv_row *with, const struct kv_row *alone,
		     double bar, const char *what)
{
	int us = kv_peer_index(k, "twzdb");
	double v[ROUNDS_MAX];
	char key[64];

	if (us < 0)
		return;
	for (int r = 0; r < k->rounds; r++)
		v[r] = 100 * with->v[us][r] / alone->v[us][r];
	snprintf(key, sizeof(key), "%s.kept", with->key);
	report_bar(key, what, "%", v, k->rounds, bar, true);
}

/* Ours over the better of LMDB's modes. */
static void tail_bar(struct kv *k, const struct kv_row *row, const char *what)
{
	int us = kv_peer_index(k, "twzdb"), wm = kv_peer_index(k, "lmdb-wm"),
	    plain = kv_peer_index(k, "lmdb");
	double v[ROUNDS_MAX];
	char key[64];

	if (us < 0 || (wm < 0 && plain < 0))
		return;
	for (int r = 0; r < k->rounds; r++) {
		double theirs = row->v[wm >= 0 ? wm : plain][r];

		if (plain >= 0 && row->v[plain][r] < theirs)
			theirs = row->v[plain][r];
		v[r] = row->v[us][r] / theirs;
	}
	snprintf(key, sizeof(key), "%s.ratio", row->key);
	report_bar(key, what, "x", v, k->rounds, 2, false);
}

int kv_section_mixed(struct kv *k)
{
	static struct kv_row rows[] = {
		{"mixed.alone", "reader alone", "M op/s", slice_beside, ALONE << 16},
		{"mixed.update", "beside updates", "M op/s", slice_beside, UPDATES << 16},
		{"mixed.insert", "beside inserts", "M op/s", slice_beside, INSERTS << 16},
		{"mixed.update.p999", "beside updates, p99.9", "ns", slice_beside,
		 UPDATES << 16 | 999},
		{"mixed.insert.p999", "beside inserts, p99.9", "ns", slice_beside,
		 INSERTS << 16 | 999},
	};
	int err;

	report_section("A reader (zipfian, a snapshot per read) beside a writer that never "
		       "pauses; per CPU second of the reader");
	err = kv_rows(k, rows, 5);
	if (err)
		return err;
	kept_bar(k, &rows[1], &rows[0], 80, "beside updates, of its lone throughput");
	kept_bar(k, &rows[2], &rows[0], 75, "beside inserts, of its lone throughput");
	tail_bar(k, &rows[3], "p99.9 beside updates: twzdb / LMDB");
	tail_bar(k, &rows[4], "p99.9 beside inserts: twzdb / LMDB");
	return 0;
}

int kv_section_latency(struct kv *k)
{
	static struct kv_row rows[] = {
		{"latency.p50", "point read, zipfian, p50", "ns", slice_beside, ALONE << 16 | 500},
		{"latency.p99", "point read, zipfian, p99", "ns", slice_beside, ALONE << 16 | 990},
		{"latency.p999", "point read, zipfian, p99.9", "ns", slice_beside,
		 ALONE << 16 | 999},
		{"latency.update.p50", "update, zipfian, p50", "ns", slice_update_latency, 500},
		{"latency.update.p99", "update, zipfian, p99", "ns", slice_update_latency, 990},
		{"latency.update.p999", "update, zipfian, p99.9", "ns", slice_update_latency, 999},
	};

	report_section("Latencies, the clock read around each operation");
	return kv_rows(k, rows, 6);
}
