/* SPDX-License-Identifier: MIT
 * ycsb.h -- twzbench ycsb: a workload's properties, streams of operations, threads
 */
#ifndef TWZ_BENCH_YCSB_H
#define TWZ_BENCH_YCSB_H

#include "bench.h"
#include "drv.h"
#include "keys.h"

#define THREADS_MAX 64
#define PEERS_MAX   10
#define ROUNDS_MAX  99

enum ycsb_kind { Y_READ, Y_UPDATE, Y_INSERT, Y_SCAN, Y_RMW, Y_KINDS };
enum ycsb_dist { Y_UNIFORM, Y_ZIPFIAN, Y_LATEST };

/* What a property file says; defaults are CoreWorkload's. */
struct ycsb_props {
	double proportion[Y_KINDS];
	enum ycsb_dist dist;
	uint32_t scan_max;
};

/* One operation. Keys are made before the clock starts. */
struct ycsb_op {
	char key[24];
	uint8_t klen, kind, field;
	uint8_t scan_len;
	uint32_t id;
};

/* The operations of one thread in one round. */
struct ycsb_stream {
	struct ycsb_op *ops;
	uint32_t cnt;
	uint64_t seed;
};

struct ycsb_peer {
	const struct drv *drv;
	struct drv_opt opt;
	void *store;
	char dir[400];
};

/* --- ycsb_gen.c --- */
/* 0, or a negative error after saying what is wrong with the file. */
int ycsb_props_read(const char *path, struct ycsb_props *p);
/* "user" and the FNV hash of the record's number, without padding; its length. */
uint8_t ycsb_key(char key[24], uint32_t id);
void ycsb_fields(struct field *f, const char *key, size_t klen, uint32_t id, uint64_t version);
/*
 * Streams of THREADS threads, CNT operations each, on a table of *RECORDS records, which grows by
 * the inserts in them. The same SEED gives the same operations.
 */
void ycsb_generate(const struct ycsb_props *p, uint64_t seed, int threads, uint32_t cnt,
		   uint32_t *records, struct ycsb_stream *streams);

/* --- ycsb_run.c --- */
struct ycsb_result {
	double ops_per_s, ops_per_cpu_s; /* elapsed time; of all the process's threads */
	double p50, p99, p999;		 /* ns; 0 unless asked for */
};
/* Every thread runs its stream; latencies are taken only if asked for. */
int ycsb_run(struct ycsb_peer *p, const struct ycsb_stream *streams, int threads, bool latency,
	     struct ycsb_result *res);
int ycsb_load(struct ycsb_peer *p, uint32_t records);
/* Scans everything: all RECORDS there, each field whole. */
int ycsb_verify(struct ycsb_peer *p, uint32_t records);

#endif
