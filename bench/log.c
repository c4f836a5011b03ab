/* SPDX-License-Identifier: MIT
 * log.c -- twzbench log: what twz_log adds to the least a durable record can cost
 *
 * The least: the record's lines by non-temporal stores, one after the other, and one fence. Both
 * are measured in every round, so a disturbance hits both. Cache-line media only (forced where the
 * medium is not: then the instructions are the same and the durability is not).
 */
#include "bench.h"

#include <emmintrin.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "twz/twz.h"

#define RING_LEN ((uint64_t)1 << 20)
#define LINE	 64
#define BODIES	 4
#define ROUNDS	 400 /* at most: a round takes some milliseconds */

static const size_t sizes[] = {40, 64, 128, 256, 1024, 8192};
#define SIZE_CNT (sizeof(sizes) / sizeof(sizes[0]))

static struct twz_store *store;
static struct twz_log *ring;
static char *bare; /* as many bytes as the log has */
static uint64_t bare_at;
static _Alignas(LINE) uint8_t bodies[BODIES][8192]; /* taken in turn */
static double ns[3][SIZE_CNT][ROUNDS];		    /* bare, append, staged */

static int no_apply(void *ctx, uint64_t lsn, const void *rec, size_t len, bool restart)
{
	(void)ctx, (void)lsn, (void)rec, (void)len, (void)restart;
	return 0;
}

static int no_flush(void *ctx, uint64_t lsn, const void *rec, size_t len)
{
	(void)ctx, (void)lsn, (void)rec, (void)len;
	return 0;
}

static const struct twz_log_user user = {.version = 1, .apply = no_apply, .flush = no_flush};

static int failed(const char *what)
{
	fprintf(stderr, "twzbench: %s: %s\n", what, twz_errmsg());
	return 1;
}

static void bare_append(const uint8_t *body, size_t lines)
{
	const __m128i *src = (const __m128i *)(const void *)body;
	char *dst;

	if (bare_at + lines * LINE > RING_LEN)
		bare_at = 0;
	dst = bare + bare_at;
	for (size_t i = 0; i < lines * (LINE / 16); i++)
		_mm_stream_si128((__m128i *)(void *)(dst + 16 * i),
				 src[i % (sizeof(bodies[0]) / 16)]);
	_mm_sfence();
	bare_at += lines * LINE;
}

/* One record, and what a committer does with it. */
static int log_append(uint8_t *body, size_t len)
{
	struct iovec iov = {body, len};
	uint64_t lsn;
	int err = twz_log_append(ring, &iov, 1, &lsn);

	if (!err)
		twz_log_applied(ring, lsn);
	return err;
}

static int log_staged(const uint8_t *body, size_t len)
{
	char *to = twz_log_stage(ring, len);
	uint64_t lsn;
	int err = to ? 0 : TWZ_E_NOMEM;

	if (!err) {
		memcpy(to, body, len); /* the caller's building of it */
		err = twz_log_append_staged(ring, len, &lsn);
	}
	if (!err)
		twz_log_applied(ring, lsn);
	return err;
}

static int timed(int which, size_t len, size_t lines, int cnt, double *out)
{
	uint64_t from = bench_ticks();
	int err = 0;

	for (int i = 0; i < cnt && !err; i++) {
		uint8_t *body = bodies[i % BODIES];

		if (which == 0)
			bare_append(body, lines);
		else
			err = which == 1 ? log_append(body, len) : log_staged(body, len);
	}
	*out = (double)(bench_ticks() - from) * bench_ns_per_tick() / cnt;
	return err;
}

static int measure(int rounds, size_t *lines)
{
	struct twz_log_info a, b;

	for (int r = 0; r < rounds; r++)
		for (size_t s = 0; s < SIZE_CNT; s++) {
			int cnt = sizes[s] > 1024 ? 500 : 2000;

			if (!lines[s]) {
				if (twz_log_info(ring, &a) || log_append(bodies[0], sizes[s]) ||
				    twz_log_info(ring, &b))
					return failed("append");
				lines[s] = (b.head - a.head) / LINE;
			}
			for (int which = 0; which < 3; which++)
				if (timed(which, sizes[s], lines[s], cnt, &ns[which][s][r]))
					return failed("append");
		}
	return 0;
}

static void report(int rounds, const size_t *lines)
{
	static double over[2][ROUNDS];

	for (size_t s = 0; s < SIZE_CNT; s++) {
		char key[64];

		for (int r = 0; r < rounds; r++)
			for (int w = 0; w < 2; w++)
				over[w][r] = ns[w + 1][s][r] - ns[0][s][r];
		report_section("record of %zu bytes (%zu lines)", sizes[s], lines[s]);
		snprintf(key, sizeof(key), "log.bare.%zu", sizes[s]);
		report_row(key, "the lines and a fence", bench_median(ns[0][s], (size_t)rounds),
			   "ns", 0);
		snprintf(key, sizeof(key), "log.append.%zu", sizes[s]);
		report_row(key, "twz_log_append and _applied adds",
			   bench_median(over[0], (size_t)rounds), "ns", 0);
		snprintf(key, sizeof(key), "log.staged.%zu", sizes[s]);
		report_row(key, "built in place (twz_log_stage) adds",
			   bench_median(over[1], (size_t)rounds), "ns", sizes[s] == 128 ? 40 : 0);
	}
}

static int open_ring(const char *path)
{
	struct twz_store_options so = {.size = sizeof(so),
				       .flags = TWZ_STORE_CREATE | TWZ_STORE_EXCL};
	struct twz_obj_options oo = {.size = sizeof(oo), .len = RING_LEN};
	struct twz_obj *o;
	twz_oid id;
	int restart;

	if (twz_store_open(path, &so, &store))
		return failed("opening a store");
	if (twz_store_granularity(store) == TWZ_GRAN_PAGE) {
		fprintf(stderr, "twzbench: log needs cache-line media\n");
		return 1;
	}
	if (twz_log_create(store, RING_LEN, &id) ||
	    twz_log_open(store, id, &user, &ring, &restart) || twz_log_recover(ring, true) ||
	    twz_obj_create(store, &oo, NULL, &o))
		return failed("making a log");
	bare = twz_obj_data(o);
	memset(bare, 1, RING_LEN);
	return 0;
}

int bench_log(const struct bench_opt *opt)
{
	int rounds = opt->rounds && opt->rounds < ROUNDS ? opt->rounds : ROUNDS;
	size_t lines[SIZE_CNT] = {0};
	char path[512];
	int err;

	setenv("PMEM2_FORCE_GRANULARITY", "CACHE_LINE", 0);
	snprintf(path, sizeof(path), "%s/twzbench-log-%d.twz", opt->dir, (int)getpid());
	for (size_t i = 0; i < sizeof(bodies); i++)
		bodies[i / sizeof(bodies[0])][i % sizeof(bodies[0])] = (uint8_t)bench_rand();
	err = open_ring(path);
	if (!err) {
		report_begin(opt, "twz_log: one durable record", "cache line, forced unless DAX");
		err = measure(rounds, lines);
	}
	if (!err)
		report(rounds, lines);
	twz_log_close(ring);
	if (store && twz_store_close(store))
		err = failed("closing the store");
	unlink(path);
	return err ? err : report_end();
}
