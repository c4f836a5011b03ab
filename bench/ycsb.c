/* SPDX-License-Identifier: MIT
 * ycsb.c -- twzbench ycsb: workloads A to F, every peer in every round
 *
 * One load, then A B C F D E as the standard orders them, with each number of threads. In a
 * round every peer runs the same operations, one peer after the other. Updates read the record,
 * replace one field and write it back, as YCSB's bindings for key-value stores do.
 */
#include "ycsb.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define RECORDS	   500000u
#define OPS	   100000u
#define SCAN_OPS   10000u /* operations of a workload that scans */
#define PER_RECORD 4096u  /* bytes a peer may need for a record, generously */

static struct {
	const struct bench_opt *opt;
	struct ycsb_peer peers[PEERS_MAX];
	int peer_cnt, rounds;
	uint32_t records, present; /* loaded; there now */
	struct ycsb_stream streams[THREADS_MAX];
	uint64_t seed;
} y;

/* Figures of one workload with one number of threads. */
struct figures {
	double ops[PEERS_MAX][ROUNDS_MAX], per_cpu[PEERS_MAX][ROUNDS_MAX];
	struct ycsb_result latency[PEERS_MAX];
};

static bool takes_part(const struct ycsb_peer *p, const struct ycsb_props *props)
{
	return !p->drv->no_seek || props->proportion[Y_SCAN] <= 0;
}

/* --- running --- */

static uint32_t ops_of(const struct ycsb_props *props)
{
	uint64_t ops = y.opt->ops;

	if (!ops)
		ops = props->proportion[Y_SCAN] > 0 ? SCAN_OPS : OPS;
	if (!y.opt->ops && y.opt->quick)
		ops /= 5;
	return ops > 50000000 ? 50000000 : (uint32_t)ops;
}

static int new_streams(const struct ycsb_props *props, int threads)
{
	uint32_t each = ops_of(props) / (uint32_t)threads;

	each = each ? each : 1;
	for (int t = 0; t < threads; t++) {
		free(y.streams[t].ops);
		y.streams[t].ops = malloc(each * sizeof(struct ycsb_op));
		if (!y.streams[t].ops)
			return drv_fail("no memory");
	}
	ycsb_generate(props, ++y.seed, threads, each, &y.present, y.streams);
	return 0;
}

/* One that cannot scan still gets the inserts: all tables stay equal. */
static int only_inserts(struct ycsb_peer *p, int threads)
{
	struct ycsb_result res;
	int err = 0;

	for (int t = 0; t < threads && !err; t++) {
		struct ycsb_stream ins = {.ops = malloc(y.streams[t].cnt * sizeof(*ins.ops))};

		if (!ins.ops)
			return drv_fail("no memory");
		for (uint32_t i = 0; i < y.streams[t].cnt; i++)
			if (y.streams[t].ops[i].kind == Y_INSERT)
				ins.ops[ins.cnt++] = y.streams[t].ops[i];
		err = ycsb_run(p, &ins, 1, false, &res);
		free(ins.ops);
	}
	return err;
}

/* ROUND: -1 = to warm up, y.rounds = the one latencies are taken in. */
static int run_round(const struct ycsb_props *props, int threads, int round, struct figures *f)
{
	int err = new_streams(props, threads);

	for (int i = 0; i < y.peer_cnt && !err; i++) {
		struct ycsb_peer *p = &y.peers[i];
		struct ycsb_result res = {0};

		if (takes_part(p, props))
			err = ycsb_run(p, y.streams, threads, round == y.rounds, &res);
		else
			err = only_inserts(p, threads);
		if (round >= 0 && round < y.rounds) {
			f->ops[i][round] = res.ops_per_s;
			f->per_cpu[i][round] = res.ops_per_cpu_s;
		} else if (round == y.rounds) {
			f->latency[i] = res;
		}
	}
	return err;
}

/* --- the table --- */

static double median(const double *v)
{
	double copy[ROUNDS_MAX];

	memcpy(copy, v, (size_t)y.rounds * sizeof(*v));
	return bench_median(copy, (size_t)y.rounds);
}

static int rank_of(const struct figures *f, int peer)
{
	int rank = 1;

	for (int i = 0; i < y.peer_cnt; i++)
		rank += median(f->ops[i]) > median(f->ops[peer]);
	return rank;
}

static void note(const struct figures *f, int i, const char *name, int threads)
{
	const struct {
		const char *what;
		double ns;
	} l[] = {{"p50", f->latency[i].p50},
		 {"p99", f->latency[i].p99},
		 {"p999", f->latency[i].p999}};
	const char *peer = y.peers[i].drv->name;
	char key[96];

	snprintf(key, sizeof(key), "ycsb.%s.%d.%s", name, threads, peer);
	report_series(key, "throughput", "op/s", f->ops[i], y.rounds);
	snprintf(key, sizeof(key), "ycsb.%s.%d.%s.cpu", name, threads, peer);
	report_series(key, "per CPU second of the process", "op/s", f->per_cpu[i], y.rounds);
	for (int j = 0; j < 3; j++) {
		snprintf(key, sizeof(key), "ycsb.%s.%d.%s.%s", name, threads, peer, l[j].what);
		report_series(key, "latency of all operations", "ns", &l[j].ns, 1);
	}
}

/* In every round, ours over the best of the others. */
static void ahead(const struct figures *f, int ours, const char *name, int threads)
{
	double v[ROUNDS_MAX];
	char key[64], what[96];

	for (int r = 0; r < y.rounds; r++) {
		double best = 0;

		for (int i = 0; i < y.peer_cnt; i++)
			if (i != ours && f->ops[i][r] > best)
				best = f->ops[i][r];
		if (best <= 0)
			return;
		v[r] = f->ops[ours][r] / best;
	}
	snprintf(key, sizeof(key), "ycsb.%s.%d.ahead", name, threads);
	snprintf(what, sizeof(what), "workload %s, %d thread%s: twzdb / best peer", name, threads,
		 threads > 1 ? "s" : "");
	report_bar(key, what, "x", v, y.rounds, 1, true);
}

static void print_figures(const struct figures *f, const char *name, int threads)
{
	int ours = -1;

	report_section("Workload %s, %d thread%s", name, threads, threads > 1 ? "s" : "");
	printf("  %-12s %12s %6s %14s %10s %10s %10s\n", "peer", "op/s", "rank", "op/CPU-s",
	       "p50 us", "p99 us", "p99.9 us");
	for (int i = 0; i < y.peer_cnt; i++) {
		const struct ycsb_result *l = &f->latency[i];

		if (y.peers[i].drv == &drv_twzdb)
			ours = i;
		if (median(f->ops[i]) <= 0) {
			printf("  %-12s %12s\n", y.peers[i].drv->name, "-");
			continue;
		}
		printf("  %-12s %12.0f %6d %14.0f %10.2f %10.2f %10.2f\n", y.peers[i].drv->name,
		       median(f->ops[i]), rank_of(f, i), median(f->per_cpu[i]), l->p50 / 1e3,
		       l->p99 / 1e3, l->p999 / 1e3);
		note(f, i, name, threads);
	}
	if (ours >= 0)
		ahead(f, ours, name, threads);
}

static int run_workload(char letter, int threads)
{
	static struct figures f;
	struct ycsb_props props;
	char path[600], name[2] = {(char)(letter - 'a' + 'A'), 0};
	int err;

	snprintf(path, sizeof(path), "%s/workload%c", WORKLOADS, letter);
	err = ycsb_props_read(path, &props);
	for (int r = -1; r <= y.rounds && !err; r++)
		err = run_round(&props, threads, r, &f);
	for (int i = 0; i < y.peer_cnt && !err; i++)
		err = ycsb_verify(&y.peers[i], y.present);
	if (!err)
		print_figures(&f, name, threads);
	return err;
}

static int run_all(void)
{
	const char *list = y.opt->threads ? y.opt->threads : "1,2";
	int err = 0;

	while (*list && !err) {
		char *end;
		long threads = strtol(list, &end, 10);

		if (end == list || threads < 1 || threads > THREADS_MAX)
			return drv_fail("--threads %s: numbers from 1 to %d", y.opt->threads,
					THREADS_MAX);
		for (const char *w = "abcfde"; *w && !err; w++) {
			char name[2] = {*w, 0};

			if (bench_in_list(y.opt->workloads, name))
				err = run_workload(*w, (int)threads);
		}
		list = *end == ',' ? end + 1 : end;
	}
	return err;
}

/* --- set-up --- */

static uint32_t records_for(const struct bench_opt *o)
{
	uint64_t room = UINT64_MAX, fit;
	struct statvfs st;

	if (o->records)
		return (uint32_t)o->records;
	if (!statvfs(o->dir, &st))
		room = (uint64_t)st.f_bavail * st.f_frsize;
	fit = room / PER_RECORD / (uint64_t)y.peer_cnt;
	return fit < RECORDS ? (uint32_t)(fit / 1000 * 1000) : o->quick ? RECORDS / 5 : RECORDS;
}

static void add_peers(const struct bench_opt *o, const char *base)
{
	for (size_t i = 0; i < drv_cnt && y.peer_cnt < PEERS_MAX; i++) {
		struct ycsb_peer *p = &y.peers[y.peer_cnt];

		if (drv_all[i] == &drv_twzdb_tree || !bench_in_list(o->peers, drv_all[i]->name))
			continue;
		p->drv = drv_all[i];
		snprintf(p->dir, sizeof(p->dir), "%s/%s", base, p->drv->name);
		y.peer_cnt++;
	}
}

static int open_peer(struct ycsb_peer *p)
{
	char text[256];
	int err;

	p->opt = (struct drv_opt){.dir = p->dir,
				  .records = y.records + y.records / 4,
				  .value_len = VALUE_MAX,
				  .page = y.opt->page};
	if (dir_make(p->dir) || p->drv->open(&p->opt, &p->store))
		return DRV_FAIL;
	p->drv->settings(p->store, text, sizeof(text));
	printf("%-10s %s\n", p->drv->name, text);
	report_note(p->drv->name, text);
	err = ycsb_load(p, y.records);
	return err ? err : ycsb_verify(p, y.records);
}

static int run(void)
{
	int err = 0;

	for (int i = 0; i < y.peer_cnt && !err; i++)
		err = open_peer(&y.peers[i]);
	y.present = y.records;
	if (!err)
		err = run_all();
	for (int i = 0; i < y.peer_cnt; i++)
		if (y.peers[i].store)
			y.peers[i].drv->close(y.peers[i].store);
	for (int t = 0; t < THREADS_MAX; t++)
		free(y.streams[t].ops);
	return err;
}

int bench_ycsb(const struct bench_opt *opt)
{
	struct bench_opt o = *opt;
	char base[300];
	int err;

	o.rounds = opt->rounds ? opt->rounds : opt->quick ? 3 : 5;
	if (o.rounds > ROUNDS_MAX)
		o.rounds = ROUNDS_MAX;
	y.opt = &o;
	y.rounds = o.rounds;
	snprintf(base, sizeof(base), "%s/twzbench-%d", o.dir, (int)getpid());
	bench_medium(&o);
	add_peers(&o, base);
	if (!y.peer_cnt)
		return drv_fail("no such peer: %s", o.peers) != 0;
	y.records = records_for(&o);
	report_begin(&o, "twzbench ycsb: workloads A to F, records of 10 fields of 100 bytes",
		     bench_granularity());
	printf("records  %u\nfigures  medians of operations a second; rank by that\n", y.records);
	drv_print_missing();
	err = dir_make_temporary(base);
	if (!err)
		err = run();
	dir_remove(base);
	return err ? 1 : report_end();
}
