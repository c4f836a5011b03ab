/* SPDX-License-Identifier: MIT
 * kv_page.c -- durable updates on a disk: one client, several threads, several processes; lazy commits
 *
 * Time is the device's, so slices are long, everything is elapsed time, and latencies are taken of
 * every operation. A client updates records of its own (their number modulo the clients), so
 * that every record's version is known afterwards whoever came first.
 */
#include "kv.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS	 8
#define HIST_SUB 64 /* steps of a power of two: 1.6 % */
#define HIST_LEN (HIST_SUB * 48)

enum kind { ONE, THREADS, PROCESSES, LAZY, LINE, KINDS };

struct client {
	uint64_t ops, ns, max_ns, checkpoints;
	bool failed;
	uint32_t hist[HIST_LEN];
};

/* Shared with forked clients. */
static struct shared {
	atomic_int ready, go;
	struct client c[CLIENTS];
	uint32_t version[]; /* what each record holds */
} * sh;

/* Of all slices of a row: latencies and checkpoints. */
static struct sum {
	uint64_t hist[HIST_LEN];
	uint64_t max_ns, checkpoints, ns;
} sums[KINDS][PEERS_MAX];

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* --- histogram: values below HIST_SUB exactly, above in steps --- */

static unsigned hist_at(uint64_t v)
{
	unsigned e = v < HIST_SUB ? 0 : 58 - (unsigned)__builtin_clzll(v);
	unsigned i = e * (HIST_SUB / 2) + (unsigned)(v >> e);

	return i < HIST_LEN ? i : HIST_LEN - 1;
}

static double hist_value(unsigned i)
{
	unsigned e = i < HIST_SUB ? 0 : i / (HIST_SUB / 2) - 1;

	return ((double)(i - e * (HIST_SUB / 2)) + 0.5) * (double)((uint64_t)1 << e);
}

static double percentile(const uint64_t *hist, double part)
{
	uint64_t all = 0, sum = 0;

	for (unsigned i = 0; i < HIST_LEN; i++)
		all += hist[i];
	for (unsigned i = 0; i < HIST_LEN; i++) {
		sum += hist[i];
		if (sum && (double)sum >= part * (double)all)
			return hist_value(i);
	}
	return 0;
}

/* --- a client --- */

struct job {
	struct kv *k;
	struct kv_peer *p;
	enum kind kind;
	int nr, cnt; /* client NR of CNT */
	void *th;
	pthread_t thread;
};

static uint32_t own_id(const struct job *j, struct rng *r)
{
	uint32_t id = (uint32_t)(fnv64(zipf_next(&j->k->zipf, r)) % j->k->records);

	id = id - id % (uint32_t)j->cnt + (uint32_t)j->nr;
	return id < j->k->records ? id : (uint32_t)j->nr;
}

static int update(struct job *j, struct rng *r, struct field *f)
{
	const struct drv *d = j->p->drv;
	uint32_t id = own_id(j, r), version = sh->version[id] + 1;
	char key[KEY_LEN + 1];
	struct drv_kv kv = {key, (const char *)f, KEY_LEN, FIELD_LEN};
	int err;

	key_make(key, key_hash(id));
	bench_field(f, bench_key_word(key, KEY_LEN), 0, version, id);
	err = j->kind == LAZY ? d->put_lazy(j->th, &kv) : d->put(j->th, DRV_UPDATE, &kv);
	if (!err)
		sh->version[id] = version;
	return err;
}

static void work(struct job *j)
{
	struct client *c = &sh->c[j->nr];
	struct rng r = {(uint64_t)(j->k->round + 2) * 7919u + (uint64_t)j->nr};
	uint64_t start, now, then;
	struct field f;

	bench_filler(&f);
	atomic_fetch_add(&sh->ready, 1);
	while (!atomic_load(&sh->go))
		usleep(100);
	start = now = now_ns();
	do {
		then = now;
		c->failed = update(j, &r, &f) != 0;
		now = now_ns();
		c->hist[hist_at(now - then)]++;
		c->max_ns = now - then > c->max_ns ? now - then : c->max_ns;
		c->ops++;
	} while (!c->failed && now - start < j->k->slice_ns);
	if (j->kind == LAZY && j->p->drv->sync(j->th))
		c->failed = true;
	c->ns = now_ns() - start;
	if (j->p->drv->checkpoints)
		c->checkpoints = j->p->drv->checkpoints(j->th);
}

static void *thread_main(void *arg)
{
	struct job *j = arg;

	if (j->p->drv->attach(j->p->store, &j->th)) {
		sh->c[j->nr].failed = true;
		atomic_fetch_add(&sh->ready, 1);
		return NULL;
	}
	work(j);
	j->p->drv->detach(j->th);
	return NULL;
}

static void process_main(struct job *j)
{
	if (j->p->drv->open(&j->p->opt, &j->p->store)) {
		sh->c[j->nr].failed = true;
		atomic_fetch_add(&sh->ready, 1);
		_exit(1);
	}
	thread_main(j);
	j->p->drv->close(j->p->store);
	_exit(0);
}

/* --- a slice --- */

static void start_all(int cnt)
{
	while (atomic_load(&sh->ready) < cnt)
		usleep(100);
	atomic_store(&sh->go, 1);
}

static void run_threads(struct job *jobs, int cnt)
{
	int started = 0;

	for (; started < cnt; started++)
		if (pthread_create(&jobs[started].thread, NULL, thread_main, &jobs[started]))
			break;
	start_all(started);
	for (int i = 0; i < started; i++)
		pthread_join(jobs[i].thread, NULL);
	if (started < cnt)
		sh->c[0].failed = true;
}

/* Nobody else has the store open meanwhile: a fork with an open store is more than some peers allow. */
static int run_processes(struct job *jobs, int cnt)
{
	struct kv_peer *p = jobs[0].p;
	int started = 0, status;
	pid_t pid[CLIENTS];

	kv_peer_close(p, false);
	fflush(NULL);
	for (; started < cnt; started++) {
		pid[started] = fork();
		if (!pid[started])
			process_main(&jobs[started]);
		if (pid[started] < 0)
			break;
	}
	start_all(started);
	for (int i = 0; i < started; i++)
		if (waitpid(pid[i], &status, 0) < 0 || status) {
			drv_fail("client %d ended with status 0x%x", i, (unsigned)status);
			sh->c[i].failed = true;
		}
	if (started < cnt)
		sh->c[0].failed = true;
	return kv_peer_open(jobs[0].k, p, "");
}

/* Thousands of updates a second; what the clients counted goes to the row's sum. */
static double collect(struct job *jobs, int cnt, struct sum *sum, bool counts)
{
	double rate = 0;
	uint64_t checkpoints = 0;

	for (int i = 0; i < cnt; i++) {
		const struct client *c = &sh->c[i];

		if (c->failed) {
			drv_fail("%s: client %d failed", jobs[0].p->drv->name, i);
			return SLICE_FAIL;
		}
		rate += (double)c->ops * 1e6 / (double)c->ns;
		if (!counts)
			continue;
		for (unsigned b = 0; b < HIST_LEN; b++)
			sum->hist[b] += c->hist[b];
		sum->max_ns = c->max_ns > sum->max_ns ? c->max_ns : sum->max_ns;
		checkpoints = c->checkpoints > checkpoints ? c->checkpoints : checkpoints;
	}
	sum->checkpoints += checkpoints;
	sum->ns += counts ? sh->c[0].ns : 0;
	return rate;
}

/* --- a store of our own in memory, as on cache-line media: what lazy commits are compared with --- */

static struct kv_peer line;

static int line_open(struct kv *k)
{
	const char *was = getenv("PMEM2_FORCE_GRANULARITY");
	int err;

	snprintf(line.dir, sizeof(line.dir), "/dev/shm/twzbench-line-%d", (int)getpid());
	line.drv = &drv_twzdb;
	line.version = calloc(k->records, sizeof(*line.version));
	line.opt = (struct drv_opt){.dir = line.dir, .records = k->records, .value_len = FIELD_LEN};
	if (!line.version || dir_make(line.dir))
		return drv_fail("%s: cannot be made", line.dir);
	if (!was)
		setenv("PMEM2_FORCE_GRANULARITY", "CACHE_LINE", 1);
	err = line.drv->open(&line.opt, &line.store);
	if (!was)
		unsetenv("PMEM2_FORCE_GRANULARITY");
	if (!err)
		err = line.drv->attach(line.store, &line.th);
	return err ? err : kv_load(k, &line, false, NULL);
}

static void line_close(void)
{
	kv_peer_close(&line, true);
	free(line.version);
	memset(&line, 0, sizeof(line));
}

static double page_slice(struct kv *k, struct kv_peer *p, const struct kv_row *row)
{
	const struct drv *d = p->drv;
	enum kind kind = (enum kind)row->arg;
	int cnt = kind == THREADS || kind == PROCESSES ? CLIENTS : 1, err = 0;
	struct job jobs[CLIENTS];
	uint64_t before =
		d->checkpoints && kind != PROCESSES && kind != LINE ? d->checkpoints(p->th) : 0;
	struct sum *sum = &sums[kind][p - k->peers];
	double v;

	if ((kind == PROCESSES && d->one_process) || (kind == LAZY && !d->put_lazy) ||
	    (kind == LINE && d != &drv_twzdb) || k->round < 0)
		return NO_FIGURE;
	if (kind == LINE)
		p = &line;
	for (uint32_t i = 0; i < k->records; i++)
		sh->version[i] = p->version[i];
	memset(sh->c, 0, sizeof(sh->c));
	atomic_store(&sh->ready, 0);
	atomic_store(&sh->go, 0);
	for (int i = 0; i < cnt; i++)
		jobs[i] = (struct job){.k = k, .p = p, .kind = kind, .nr = i, .cnt = cnt};
	if (kind == PROCESSES)
		err = run_processes(jobs, cnt);
	else
		run_threads(jobs, cnt);
	for (uint32_t i = 0; i < k->records; i++) {
		p->version[i] = sh->version[i];
		p->written = p->written > p->version[i] ? p->written : p->version[i];
	}
	v = err ? SLICE_FAIL : collect(jobs, cnt, sum, k->round >= 0);
	sum->checkpoints -= before;
	return v;
}

/* --- the section --- */

static struct kv_row rows[KINDS] = {
	[ONE] = {"page.one", "durable update, one client", "k op/s", page_slice, ONE},
	[THREADS] = {"page.threads", "durable update, 8 threads", "k op/s", page_slice, THREADS},
	[PROCESSES] = {"page.procs", "durable update, 8 processes", "k op/s", page_slice,
		       PROCESSES},
	[LAZY] = {"page.lazy", "lazy update, one client, synced at the end", "k op/s", page_slice,
		  LAZY},
	[LINE] = {"page.line", "in memory, as on cache-line media", "k op/s", page_slice, LINE},
};

static void print_latency(const struct kv *k, const char *what,
			  double (*figure)(const struct sum *), int kind)
{
	printf("  %-44s", what);
	for (int i = 0; i < k->peer_cnt; i++) {
		if (rows[kind].v[i][0] == NO_FIGURE)
			printf(" %10s", "-");
		else
			printf(" %10.1f", figure(&sums[kind][i]));
	}
	printf("\n");
}

static double p50(const struct sum *s)
{
	return percentile(s->hist, 0.5) / 1e3;
}

static double p99(const struct sum *s)
{
	return percentile(s->hist, 0.99) / 1e3;
}

static double p999(const struct sum *s)
{
	return percentile(s->hist, 0.999) / 1e3;
}

static double longest(const struct sum *s)
{
	return (double)s->max_ns / 1e3;
}

static double checkpoints(const struct sum *s)
{
	return (double)s->checkpoints;
}

static void print_latencies(const struct kv *k)
{
	static const char *const who[KINDS] = {"one client", "8 threads", "8 processes", "lazy",
					       "in memory"};
	char what[64];

	kv_print_head(k, "us");
	for (int kind = 0; kind < KINDS; kind++) {
		snprintf(what, sizeof(what), "%s: p50", who[kind]);
		print_latency(k, what, p50, kind);
		print_latency(k, "  p99", p99, kind);
		print_latency(k, "  p99.9", p999, kind);
		print_latency(k, "  longest", longest, kind);
		print_latency(k, "  checkpoints", checkpoints, kind);
	}
}

/* The best other peer's figure of a round; 0: there is none. */
static double best_peer(const struct kv *k, const struct kv_row *row, int r)
{
	double best = 0;

	for (int i = 0; i < k->peer_cnt; i++)
		if (k->peers[i].drv != &drv_twzdb && k->peers[i].drv != &drv_twzdb_tree &&
		    row->v[i][r] > best)
			best = row->v[i][r];
	return best;
}

static void ratio(const struct kv *k, const struct kv_row *row, const struct kv_row *than,
		  bool self, double bar, const char *what)
{
	int o = kv_peer_index(k, "twzdb");
	double v[ROUNDS_MAX];
	char key[96];

	for (int r = 0; r < k->rounds; r++) {
		double other = self ? than->v[o][r] : best_peer(k, than, r);

		if (other <= 0)
			return;
		v[r] = row->v[o][r] / other;
	}
	snprintf(key, sizeof(key), "%s.%s", row->key, self ? "scaling" : "ratio");
	report_bar(key, what, "x", v, k->rounds, bar, true);
}

static void print_bars(const struct kv *k)
{
	int o = kv_peer_index(k, "twzdb");
	double tail;

	if (o < 0)
		return;
	tail = p99(&sums[ONE][o]) / p50(&sums[ONE][o]);
	ratio(k, &rows[ONE], &rows[ONE], false, 1.1, "one client: twzdb / best peer");
	ratio(k, &rows[LAZY], &rows[LINE], true, 0.5, "lazy / in memory, as on cache-line media");
	report_bar("page.one.tail", "one client: p99 / median", "x", &tail, 1, 3, false);
	ratio(k, &rows[THREADS], &rows[ONE], true, 4, "8 threads / one client");
	ratio(k, &rows[PROCESSES], &rows[ONE], true, 4, "8 processes / one client");
	ratio(k, &rows[THREADS], &rows[THREADS], false, 2, "8 threads: twzdb / best peer");
	ratio(k, &rows[PROCESSES], &rows[THREADS], false, 2,
	      "8 processes: twzdb / best peer's 8 threads");
}

int kv_section_page(struct kv *k)
{
	size_t len = sizeof(*sh) + k->records * sizeof(sh->version[0]);
	bool ours = kv_peer_index(k, "twzdb") >= 0;
	uint64_t slice = k->slice_ns;
	char dir[512];
	int err;

	sh = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sh == MAP_FAILED)
		return drv_fail("no memory");
	if (!k->opt->slice_ms)
		k->slice_ns = (k->opt->quick ? 2u : 12u) * (uint64_t)1000000000;
	report_section("Durable updates on a disk, zipfian, %d clients at most", CLIENTS);
	err = ours ? line_open(k) : 0;
	if (!err)
		err = kv_rows(k, rows, KINDS);
	line_close();
	k->slice_ns = slice;
	munmap(sh, len);
	sh = NULL;
	if (err)
		return err;
	print_latencies(k);
	print_bars(k);
	if (!ours)
		return 0;
	snprintf(dir, sizeof(dir), "%s-full", k->peers[kv_peer_index(k, "twzdb")].dir);
	return kv_open_full(k, dir);
}
