/* SPDX-License-Identifier: MIT
 * ycsb_run.c -- loading, threads that run their streams against one peer, verification
 */
#include "ycsb.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#define LOAD_BATCH 200 /* rows in a transaction of the load */
#define CHECK_LAST 500 /* operations whose updates are looked for afterwards */

struct worker {
	struct ycsb_peer *peer;
	const struct ycsb_stream *stream;
	pthread_barrier_t *barrier; /* passed when all are ready, at the start, at the end */
	uint64_t start, end;	    /* ns */
	uint32_t *ticks;	    /* NULL: no latencies */
	bool alone;
	pthread_t thread;
	int err;
};

static uint64_t ns_of(struct timespec ts)
{
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t wall_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ns_of(ts);
}

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return ns_of(ts);
}

/* --- operations --- */

struct change {
	const struct ycsb_op *op;
	uint64_t version;
};

/* Replaces one field; the others must be whole, for they are written back. */
static void edit_field(void *ctx, char *value, size_t len)
{
	struct change *c = ctx;
	struct field *f = (struct field *)value + c->op->field;

	if (len != VALUE_MAX)
		return;
	bench_field(f, bench_key_word(c->op->key, c->op->klen), c->op->field, c->version,
		    c->op->id);
}

static int do_read(const struct drv *d, void *th, const struct ycsb_op *op)
{
	char buf[VALUE_MAX] __attribute__((aligned(64)));
	int len = d->get(th, op->key, op->klen, buf, sizeof(buf));

	if (len < 0)
		return len;
	return len == VALUE_MAX && bench_value_ok(buf, VALUE_MAX, bench_key_word(op->key, op->klen))
		       ? 0
		       : drv_fail("%s: a wrong answer for %s", d->name, op->key);
}

static int do_update(const struct drv *d, void *th, const struct ycsb_op *op, uint64_t version)
{
	struct change c = {op, version};

	return d->modify(th, op->key, op->klen, edit_field, &c);
}

static int do_insert(const struct drv *d, void *th, const struct ycsb_op *op, struct field *f)
{
	struct drv_kv kv = {op->key, (const char *)f, op->klen, VALUE_MAX};
	uint64_t word = bench_key_word(op->key, op->klen);

	for (uint32_t i = 0; i < FIELD_MAX; i++)
		bench_field(&f[i], word, i, 1, op->id);
	return d->put(th, DRV_INSERT, &kv);
}

static int do_scan(const struct drv *d, void *th, const struct ycsb_op *op, struct drv_rows *rows)
{
	int err;

	rows->cnt = rows->bad = rows->prev = 0;
	err = d->scan(th, op->key, op->klen, op->scan_len, rows);
	if (err)
		return err;
	return rows->cnt && rows->cnt <= op->scan_len && !rows->bad
		       ? 0
		       : drv_fail("%s: a scan of %u from %s: %llu rows, %llu wrong", d->name,
				  op->scan_len, op->key, (unsigned long long)rows->cnt,
				  (unsigned long long)rows->bad);
}

static int do_op(const struct drv *d, void *th, const struct ycsb_op *op, uint64_t version,
		 struct field *f, struct drv_rows *rows)
{
	int err;

	switch (op->kind) {
	case Y_READ:
		return do_read(d, th, op);
	case Y_UPDATE:
		return do_update(d, th, op, version);
	case Y_INSERT:
		return do_insert(d, th, op, f);
	case Y_SCAN:
		return do_scan(d, th, op, rows);
	default:
		err = do_read(d, th, op);
		return err ? err : do_update(d, th, op, version);
	}
}

/* --- threads --- */

/* The version operation I stores: of this round only. */
static uint64_t version_of(const struct ycsb_stream *s, uint32_t i)
{
	return s->seed << 32 | (i + 1);
}

static int run_stream(struct worker *w, void *th)
{
	const struct drv *d = w->peer->drv;
	struct drv_rows rows = {.cnt = 0};
	struct field f[FIELD_MAX];
	int err = 0;

	for (int i = 0; i < FIELD_MAX; i++)
		bench_filler(&f[i]);
	for (uint32_t i = 0; i < w->stream->cnt && !err; i++) {
		const struct ycsb_op *op = &w->stream->ops[i];
		uint64_t t = w->ticks ? bench_ticks() : 0;

		err = do_op(d, th, op, version_of(w->stream, i), f, &rows);
		if (w->ticks) {
			t = bench_ticks() - t;
			w->ticks[i] = t > UINT32_MAX ? UINT32_MAX : (uint32_t)t;
		}
		if (err == DRV_NONE)
			err = drv_fail("%s: operation %u: %s is %s", d->name, i, op->key,
				       op->kind == Y_INSERT ? "there already" : "missing");
	}
	return err;
}

static bool writes_field(const struct ycsb_op *op, const struct ycsb_op *as)
{
	return (op->kind == Y_UPDATE || op->kind == Y_RMW) && op->id == as->id &&
	       op->field == as->field;
}

/* Operation I updated a field nobody wrote later: is its version there? */
static int check_update(struct worker *w, void *th, uint32_t i)
{
	const struct ycsb_op *op = &w->stream->ops[i];
	const struct drv *d = w->peer->drv;
	struct field f[FIELD_MAX];
	int len = d->get(th, op->key, op->klen, (char *)f, sizeof(f));

	if (len == VALUE_MAX && f[op->field].version == version_of(w->stream, i))
		return 0;
	return drv_fail("%s: the update of %s by operation %u is lost", d->name, op->key, i);
}

/* The last updates of a thread that ran alone, and so knows what it must find. */
static int check_last(struct worker *w, void *th)
{
	const struct ycsb_stream *s = w->stream;
	uint32_t end = s->cnt, from = end > CHECK_LAST ? end - CHECK_LAST : 0;
	int err = 0;

	for (uint32_t i = from; i < end && !err; i++) {
		bool last = writes_field(&s->ops[i], &s->ops[i]);

		for (uint32_t j = i + 1; j < end && last; j++)
			last = !writes_field(&s->ops[j], &s->ops[i]);
		if (last)
			err = check_update(w, th, i);
	}
	return err;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	void *th = NULL;

	w->err = w->peer->drv->attach(w->peer->store, &th);
	pthread_barrier_wait(w->barrier);
	pthread_barrier_wait(w->barrier);
	w->start = wall_ns();
	if (!w->err)
		w->err = run_stream(w, th);
	w->end = wall_ns();
	pthread_barrier_wait(w->barrier);
	if (!w->err && w->alone)
		w->err = check_last(w, th);
	if (th)
		w->peer->drv->detach(th);
	return NULL;
}

/* Elapsed time: from the first thread's start to the last one's end, by their own clocks. */
static double elapsed(const struct worker *w, int threads)
{
	uint64_t start = w[0].start, end = w[0].end;

	for (int t = 1; t < threads; t++) {
		start = w[t].start < start ? w[t].start : start;
		end = w[t].end > end ? w[t].end : end;
	}
	return (double)(end - start);
}

static int run_workers(struct worker *w, int threads, struct ycsb_result *res)
{
	pthread_barrier_t barrier;
	uint64_t cpu, ops = 0;
	int err = 0;

	pthread_barrier_init(&barrier, NULL, (unsigned)threads + 1);
	for (int t = 0; t < threads; t++) {
		w[t].barrier = &barrier;
		w[t].alone = threads == 1;
		if (pthread_create(&w[t].thread, NULL, work, &w[t]))
			abort(); /* the others wait for it */
		ops += w[t].stream->cnt;
	}
	pthread_barrier_wait(&barrier);
	cpu = cpu_ns();
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	cpu = cpu_ns() - cpu;
	for (int t = 0; t < threads; t++) {
		pthread_join(w[t].thread, NULL);
		err |= w[t].err;
	}
	res->ops_per_s = (double)ops * 1e9 / elapsed(w, threads);
	res->ops_per_cpu_s = (double)ops * 1e9 / (double)cpu;
	pthread_barrier_destroy(&barrier);
	return err ? DRV_FAIL : 0;
}

static int by_ticks(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void percentiles(uint32_t *ticks, uint64_t cnt, struct ycsb_result *res)
{
	double ns = bench_ns_per_tick();

	qsort(ticks, cnt, sizeof(*ticks), by_ticks);
	res->p50 = ticks[(cnt - 1) * 500 / 1000] * ns;
	res->p99 = ticks[(cnt - 1) * 990 / 1000] * ns;
	res->p999 = ticks[(cnt - 1) * 999 / 1000] * ns;
}

int ycsb_run(struct ycsb_peer *p, const struct ycsb_stream *streams, int threads, bool latency,
	     struct ycsb_result *res)
{
	uint64_t cnt = (uint64_t)streams[0].cnt * (uint64_t)threads;
	uint32_t *ticks = latency ? malloc(cnt * sizeof(*ticks)) : NULL;
	struct worker w[THREADS_MAX] = {{.peer = p}};
	int err;

	*res = (struct ycsb_result){0};
	if (latency && !ticks)
		return drv_fail("no memory");
	for (int t = 0; t < threads; t++)
		w[t] = (struct worker){.peer = p,
				       .stream = &streams[t],
				       .ticks =
					       ticks ? ticks + (uint64_t)t * streams[0].cnt : NULL};
	err = run_workers(w, threads, res);
	if (!err && latency)
		percentiles(ticks, cnt, res);
	free(ticks);
	return err;
}

/* --- load and verification --- */

static int load_rows(const struct drv *d, void *th, uint32_t records)
{
	static struct field values[LOAD_BATCH][FIELD_MAX];
	static char keys[LOAD_BATCH][24];
	struct drv_kv kv[LOAD_BATCH];
	int err = 0;

	for (uint32_t id = 0; id < records && !err;) {
		int cnt = 0;

		for (; cnt < LOAD_BATCH && id < records; cnt++, id++) {
			uint32_t klen = ycsb_key(keys[cnt], id);

			ycsb_fields(values[cnt], keys[cnt], klen, id, 1);
			kv[cnt] = (struct drv_kv){keys[cnt], (const char *)values[cnt], klen,
						  VALUE_MAX};
		}
		err = d->batch(th, kv, cnt, false);
	}
	return err;
}

/* Each record once: caches that reads fill are in the state of steady use afterwards. */
static int read_rows(const struct drv *d, void *th, uint32_t records)
{
	struct ycsb_op op = {.kind = Y_READ};
	int err = 0;

	for (uint32_t id = 0; id < records && !err; id++) {
		op.klen = ycsb_key(op.key, id);
		err = do_read(d, th, &op);
	}
	return err;
}

int ycsb_load(struct ycsb_peer *p, uint32_t records)
{
	void *th;
	int err = p->drv->attach(p->store, &th);

	if (err)
		return err;
	err = load_rows(p->drv, th, records);
	if (!err && p->drv->settle)
		err = p->drv->settle(p->store);
	if (!err)
		err = read_rows(p->drv, th, records);
	p->drv->detach(th);
	return err ? drv_fail("%s: loading failed", p->drv->name) : 0;
}

static bool whole(void *ctx, const void *key, size_t klen, const struct field *f)
{
	const struct field *filler = ctx;
	bool ok = true;

	(void)key, (void)klen;
	for (int i = 0; i < FIELD_MAX; i++)
		ok &= !memcmp(f[i].filler, filler->filler, sizeof(filler->filler));
	return ok;
}

int ycsb_verify(struct ycsb_peer *p, uint32_t records)
{
	struct field filler;
	struct drv_rows rows = {.exact = whole, .ctx = &filler};
	void *th;
	int err = p->drv->attach(p->store, &th);

	if (err)
		return err;
	bench_filler(&filler);
	/* Numbers of different lengths do not sort as their digits do. */
	rows.unordered = p->drv->no_seek;
	err = p->drv->scan(th, NULL, 0, UINT64_MAX, &rows);
	p->drv->detach(th);
	if (!err && (rows.cnt != records || rows.bad))
		err = drv_fail("%s: verification: %llu rows instead of %u, %llu of them wrong",
			       p->drv->name, (unsigned long long)rows.cnt, records,
			       (unsigned long long)rows.bad);
	return err;
}
