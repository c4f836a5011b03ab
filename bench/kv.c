/* SPDX-License-Identifier: MIT
 * kv.c -- twzbench kv: which sections run, on which peers; loading and verifying a peer
 */
#include "kv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RECORDS	    1000000u
#define UPDATES	    1000000u
#define RECORDS_BIG 20000000u

static struct kv kv;

/* --- a peer's store --- */

int kv_peer_open(struct kv *k, struct kv_peer *p, const char *suffix)
{
	static char dir[PEERS_MAX][512]; /* drv_opt keeps the pointer */
	char *d = dir[p - k->peers];

	snprintf(d, sizeof(dir[0]), "%s%s", p->dir, suffix);
	p->opt = (struct drv_opt){
		.dir = d, .records = k->records, .value_len = FIELD_LEN, .page = k->page};
	if (dir_make(d) || p->drv->open(&p->opt, &p->store))
		return DRV_FAIL;
	if (!p->drv->attach(p->store, &p->th)) {
		p->drv->settings(p->store, p->settings, sizeof(p->settings));
		return 0;
	}
	p->drv->close(p->store);
	p->store = NULL;
	return DRV_FAIL;
}

void kv_peer_close(struct kv_peer *p, bool delete)
{
	if (p->store) {
		p->drv->detach(p->th);
		p->drv->close(p->store);
	}
	p->store = p->th = NULL;
	if (delete &&p->opt.dir)
		dir_remove(p->opt.dir);
}

static void make_batch(struct kv *k, struct kv_peer *p, bool sorted, uint32_t from, int cnt)
{
	for (int i = 0; i < cnt; i++) {
		uint32_t id = sorted ? k->sorted[from + (uint32_t)i] : from + (uint32_t)i;
		char *key = k->batch_rows[i].key;

		key_make(key, key_hash(id));
		bench_filler(&k->batch_rows[i].value);
		bench_field(&k->batch_rows[i].value, bench_key_word(key, KEY_LEN), 0, 1, id);
		k->batch[i] = (struct drv_kv){key, (const char *)&k->batch_rows[i].value, KEY_LEN,
					      FIELD_LEN};
		p->version[id] = 1;
	}
}

int kv_load(struct kv *k, struct kv_peer *p, bool sorted, double *rows_per_s)
{
	uint64_t ns = 0, start;
	int err = 0;

	p->written = 1;
	p->first = p->next = k->records;
	for (uint32_t i = 0; i < k->records && !err; i += BATCH_CNT) {
		int cnt = k->records - i < BATCH_CNT ? (int)(k->records - i) : BATCH_CNT;

		make_batch(k, p, sorted, i, cnt);
		start = kv_cpu_ns(k);
		err = p->drv->batch(p->th, k->batch, cnt, sorted);
		ns += kv_cpu_ns(k) - start;
	}
	if (rows_per_s)
		*rows_per_s = (double)k->records * 1e3 / (double)ns;
	return err ? drv_fail("%s: loading failed", p->drv->name) : 0;
}

struct verify {
	struct kv_peer *p;
	struct field filler;
	uint32_t records;
};

static bool row_exact(void *ctx, const void *key, size_t klen, const struct field *f)
{
	struct verify *v = ctx;
	char want[KEY_LEN];

	if (f->id >= v->records || klen != KEY_LEN)
		return false;
	key_make(want, key_hash(f->id));
	return !memcmp(want, key, KEY_LEN) && f->version == v->p->version[f->id] &&
	       !memcmp(f->filler, v->filler.filler, sizeof(f->filler));
}

int kv_verify(struct kv *k, struct kv_peer *p)
{
	struct verify v = {.p = p, .records = k->records};
	struct drv_rows rows = {.exact = row_exact, .ctx = &v};

	bench_filler(&v.filler);
	if (p->drv->scan(p->th, NULL, 0, UINT64_MAX, &rows))
		return DRV_FAIL;
	if (rows.cnt == k->records && !rows.bad)
		return 0;
	return drv_fail("%s: verification: %llu rows instead of %u, %llu of them wrong",
			p->drv->name, (unsigned long long)rows.cnt, k->records,
			(unsigned long long)rows.bad);
}

static int verify_all(struct kv *k)
{
	int err = 0;

	for (int i = 0; i < k->peer_cnt && !err; i++)
		err = kv_verify(k, &k->peers[i]);
	return err;
}

/* --- loads: fresh stores every round; those of the last round are kept --- */

static int load_one(struct kv *k, struct kv_peer *p, bool sorted, bool keep, double *v)
{
	int err = kv_peer_open(k, p, sorted ? "-sorted" : "");

	if (!err)
		err = kv_load(k, p, sorted, v);
	if (!err)
		err = kv_verify(k, p);
	if (!err && keep && p->drv->settle)
		err = p->drv->settle(p->store);
	if (!keep || sorted || err)
		kv_peer_close(p, !keep);
	return err;
}

static int load_round(struct kv *k, struct kv_row *row, bool sorted, int r)
{
	int err = 0;

	for (int i = 0; i < k->peer_cnt && !err; i++) {
		struct kv_peer *p = &k->peers[i];

		row->v[i][r] = NO_FIGURE;
		if (p->drv != &drv_twzdb_tree)
			err = load_one(k, p, sorted, r == k->rounds - 1, &row->v[i][r]);
		else if (!sorted && r == k->rounds - 1)
			err = load_one(k, p, sorted, true, &row->v[i][r]);
		if (p->drv == &drv_twzdb_tree)
			row->v[i][r] = NO_FIGURE;
	}
	return err;
}

/* The sorted stores of the last round are measured and removed here. */
static int sorted_space(struct kv *k)
{
	char dir[512];
	int err = kv_section_space(k, "after sorted load", "sorted", "-sorted", 1.3);

	for (int i = 0; i < k->peer_cnt; i++) {
		snprintf(dir, sizeof(dir), "%s-sorted", k->peers[i].dir);
		dir_remove(dir);
	}
	return err;
}

static void print_settings(const struct kv *k)
{
	for (int i = 0; i < k->peer_cnt; i++) {
		printf("%-10s %s\n", k->peers[i].drv->name, k->peers[i].settings);
		report_note(k->peers[i].drv->name, k->peers[i].settings);
	}
}

int kv_section_load(struct kv *k)
{
	static struct kv_row rows[] = {
		{"load.random", "random order, 1000 a transaction", "M row/s"},
		{"load.sorted", "sorted append, 1000 a transaction", "M row/s"},
	};
	int err = 0;

	for (int r = 0; r < k->rounds && !err; r++) {
		err = load_round(k, &rows[1], true, r);
		if (!err)
			err = load_round(k, &rows[0], false, r);
	}
	if (err)
		return err;
	print_settings(k);
	report_section("Load of %u records into a fresh store", k->records);
	kv_print_rows(k, rows, 2);
	kv_ratio(k, &rows[0], "twzdb", KV_LMDB_WM, 2.5,
		 "load in random order: twzdb / LMDB MDB_WRITEMAP");
	kv_ratio(k, &rows[1], "twzdb", KV_LMDB_BEST, 1.5, "sorted append: twzdb / LMDB MDB_APPEND");
	return sorted_space(k);
}

/* Loads that are not measured. */
static int plain_load(struct kv *k)
{
	double v;
	int err = 0;

	for (int i = 0; i < k->peer_cnt && !err; i++)
		err = load_one(k, &k->peers[i], false, true, &v);
	print_settings(k);
	return err;
}

/* --- the run --- */

static bool wants(const struct kv *k, const char *section)
{
	return bench_in_list(k->opt->only, section);
}

/* Space and scans once more, on a table that has seen a million updates. */
static int run_updated(struct kv *k)
{
	uint32_t cnt = k->records < UPDATES ? k->records : UPDATES;
	char when[64];
	int err = kv_update_all(k, cnt);

	snprintf(when, sizeof(when), "after %u zipfian updates", cnt);
	if (!err)
		err = verify_all(k);
	if (!err && wants(k, "space"))
		err = kv_section_space(k, when, "updated", "", 1.0);
	if (!err && wants(k, "scan"))
		err = kv_section_scan(k, when, "updated");
	return err;
}

static int run_loaded(struct kv *k)
{
	int err = 0;

	if (wants(k, "space"))
		err = kv_section_space(k, "after load", "loaded", "", 1.0);
	if (!err)
		err = kv_read_all(k);
	if (!err && wants(k, "reads"))
		err = kv_section_reads(k);
	if (!err && wants(k, "scan"))
		err = kv_section_scan(k, "after load", "loaded");
	if (!err && !k->page && (wants(k, "space") || wants(k, "scan")))
		err = run_updated(k);
	if (!err && wants(k, "writes"))
		err = kv_section_writes(k);
	if (!err && wants(k, "latency"))
		err = kv_section_latency(k);
	if (!err && wants(k, "mixed"))
		err = kv_section_mixed(k);
	if (!err && k->page && wants(k, "page"))
		err = kv_section_page(k);
	return err ? err : verify_all(k);
}

static int run(struct kv *k)
{
	int err = wants(k, "load") ? kv_section_load(k) : plain_load(k);

	if (!err)
		err = run_loaded(k);
	for (int i = 0; i < k->peer_cnt; i++)
		kv_peer_close(&k->peers[i], true);
	if (!err && wants(k, "open"))
		err = kv_section_open(k);
	return err;
}

/* --- set-up --- */

static int add_peers(struct kv *k, const char *base)
{
	for (size_t i = 0; i < drv_cnt && k->peer_cnt < PEERS_MAX; i++) {
		struct kv_peer *p = &k->peers[k->peer_cnt];

		if (!bench_in_list(k->opt->peers, drv_all[i]->name))
			continue;
		p->drv = drv_all[i];
		snprintf(p->dir, sizeof(p->dir), "%s/%s", base, p->drv->name);
		p->version = calloc(k->records, sizeof(*p->version));
		if (!p->version)
			return drv_fail("no memory");
		k->peer_cnt++;
	}
	return k->peer_cnt ? 0 : drv_fail("no such peer: %s", k->opt->peers);
}

static int set_up(struct kv *k, const char *base)
{
	uint32_t ms = k->opt->slice_ms ? (uint32_t)k->opt->slice_ms : k->opt->quick ? 40 : 150;

	k->slice_ns = ms * (uint64_t)1000000;
	/* No longer than a slice can use up at 16 operations a microsecond. */
	k->stream_len = ms < 64 ? ms << 14 : 1u << 20;
	zipf_init(&k->zipf, k->records);
	k->sorted = keys_sorted(k->records);
	k->ops = malloc(k->stream_len * sizeof(*k->ops));
	for (int d = 0; d < KV_DISTS; d++)
		k->ids[d] = malloc(k->stream_len * sizeof(**k->ids));
	if (!k->sorted || !k->ops || !k->ids[0] || !k->ids[1])
		return drv_fail("no memory");
	return dir_make_temporary(base) || kv_fence_setup(base) ? DRV_FAIL : add_peers(k, base);
}

static void tear_down(struct kv *k, const char *base)
{
	kv_fence_done();
	dir_remove(base);
	for (int i = 0; i < k->peer_cnt; i++)
		free(k->peers[i].version);
	for (int d = 0; d < KV_DISTS; d++)
		free(k->ids[d]);
	free(k->ops);
	free(k->sorted);
}

int bench_kv(const struct bench_opt *opt)
{
	struct bench_opt o = *opt;
	char base[300];
	int err;

	o.rounds = opt->rounds ? opt->rounds : opt->quick ? 3 : 5;
	if (o.rounds > ROUNDS_MAX)
		o.rounds = ROUNDS_MAX;
	kv.opt = &o;
	kv.rounds = o.rounds;
	kv.page = o.page;
	kv.records = (uint32_t)(o.records ? o.records : o.big ? RECORDS_BIG : RECORDS);
	if (o.big && !o.only)
		o.only = "space,reads,scan,writes,open";
	if (o.big && !o.peers)
		o.peers = "twzdb,lmdb-wm"; /* a few GiB each */
	snprintf(base, sizeof(base), "%s/twzbench-%d", o.dir, (int)getpid());
	bench_medium(&o);
	report_begin(&o, "twzbench kv: 23-byte keys, 100-byte values, one thread",
		     bench_granularity());
	printf("records  %u\nfigures  medians; %s\n", kv.records,
	       kv.page ? "elapsed time" : "thread CPU time");
	drv_print_missing();
	err = set_up(&kv, base);
	if (!err)
		err = run(&kv);
	tear_down(&kv, base);
	return err ? 1 : report_end();
}
