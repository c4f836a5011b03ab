/* SPDX-License-Identifier: MIT
 * kv.h -- twzbench kv: the peers in a run, their streams of operations, rows of figures
 *
 * A row is one measurement of every peer: rounds are outermost, then rows, then peers, so that
 * whatever disturbs the machine hits all peers alike. A slice is one peer's turn. Keys, expected
 * versions and values' constants are made before the clock starts.
 */
#ifndef TWZ_BENCH_KV_H
#define TWZ_BENCH_KV_H

#include "bench.h"
#include "drv.h"
#include "keys.h"

#define PEERS_MAX  10
#define ROUNDS_MAX 99
#define BATCH_CNT  1000 /* rows in a transaction of a load */
#define MGET_CNT   16
#define NO_FIGURE  (-1.0) /* this peer does not take part in this row */
#define SLICE_FAIL (-2.0) /* the driver said why, or an answer was wrong */

/*
 * What to do, and what a right answer holds, worked out before any clock starts: a processor has so
 * many reads on their way at once as their instructions fit into its window, the harness's included.
 */
struct kv_op {
	char key[KEY_LEN + 1];
	uint32_t id, version;
	uint64_t word, proof;
};

struct kv_peer {
	const struct drv *drv;
	struct drv_opt opt;
	void *store, *th;
	char dir[400];
	uint32_t *version;    /* what each record 0 .. records-1 must hold */
	uint32_t written;     /* versions given out */
	uint32_t first, next; /* records [first, next) exist beyond those loaded */
	char settings[256];
};

enum kv_dist { KV_ZIPF, KV_UNIF, KV_DISTS };

struct kv {
	const struct bench_opt *opt;
	uint32_t records, stream_len;
	int rounds, round; /* round -1 is not counted */
	uint64_t slice_ns;
	bool page;
	struct kv_peer peers[PEERS_MAX];
	int peer_cnt;
	struct zipf zipf;
	uint32_t *ids[KV_DISTS]; /* this round's streams, the same for all peers */
	struct kv_op *ops;
	uint32_t *sorted; /* record numbers in key order */
	struct drv_kv batch[BATCH_CNT];
	struct {
		char key[KEY_LEN + 1];
		struct field value;
	} batch_rows[BATCH_CNT];
};

/* The bars of 20 million records instead of those of one million. */
static inline bool kv_is_big(const struct kv *k)
{
	return k->records > 10000000;
}

struct kv_row;
/* A peer's slice: the figure, or NO_FIGURE, SLICE_FAIL. */
typedef double kv_slice(struct kv *k, struct kv_peer *p, const struct kv_row *row);

struct kv_row {
	const char *key, *what, *unit;
	kv_slice *slice;
	int arg;
	enum kv_dist dist;
	double v[PEERS_MAX][ROUNDS_MAX];
};

/* --- kv.c: peers --- */
int kv_peer_open(struct kv *k, struct kv_peer *p, const char *suffix);
void kv_peer_close(struct kv_peer *p, bool remove);
int kv_load(struct kv *k, struct kv_peer *p, bool sorted, double *rows_per_s);
/* Scans everything: each record there once, at the version it must have, byte by byte. */
int kv_verify(struct kv *k, struct kv_peer *p);

/* --- kv_run.c: streams, slices, rows --- */
uint64_t kv_cpu_ns(const struct kv *k);
void kv_new_round(struct kv *k, int round);
/* Fills k->ops with the round's stream of DIST and the versions P must answer with. */
uint32_t kv_stream(struct kv *k, struct kv_peer *p, enum kv_dist dist);
void kv_op_make(struct kv_op *op, uint32_t id, uint32_t version);
static inline bool kv_op_ok(const struct kv_op *op, const char *buf, int len)
{
	const struct field *f = (const struct field *)buf;

	return len == FIELD_LEN && f->version == op->version && f->id == op->id &&
	       f->word == op->word && f->proof == op->proof;
}
double kv_wrong(const struct kv_peer *p, const char *what, const struct kv_op *op, int len);
/* One warm-up round and all counted ones; prints and records each row. */
int kv_rows(struct kv *k, struct kv_row *rows, int cnt);
/* The rows without running them: v[][] is filled already. */
void kv_print_rows(struct kv *k, const struct kv_row *rows, int cnt);
void kv_print_head(const struct kv *k, const char *unit);

/* --- bars --- */
enum kv_against { KV_LMDB_BEST, KV_LMDB_WM };
int kv_peer_index(const struct kv *k, const char *name);
/* Median over the rounds of OURS divided by LMDB in the same round, beside its bar. */
void kv_ratio(struct kv *k, const struct kv_row *row, const char *ours, enum kv_against against,
	      double bar, const char *what);
/* The median of one peer's figures beside its bar. */
void kv_bar(struct kv *k, const struct kv_row *row, const char *ours, double bar, bool at_least,
	    const char *what);

/* --- kv_full.c --- */
/* Bar: opening a store in DIR, which is made, with a log as full as it gets, and nothing of it in memory. */
int kv_open_full(struct kv *k, const char *dir);

/* --- kv_ops.c --- */
/* Every peer reads every record once. */
int kv_read_all(struct kv *k);
/* The versions the first DONE operations of the stream gave. */
void kv_note_updates(struct kv *k, struct kv_peer *p, uint32_t done);

/* --- sections --- */
int kv_section_load(struct kv *k);
int kv_section_reads(struct kv *k);
/* WHEN in words, TAG in the JSON's keys. */
int kv_section_scan(struct kv *k, const char *when, const char *tag);
int kv_section_space(struct kv *k, const char *when, const char *tag, const char *suffix,
		     double bar);
int kv_section_writes(struct kv *k);
int kv_section_latency(struct kv *k);
int kv_section_mixed(struct kv *k);
int kv_section_page(struct kv *k);
int kv_section_open(struct kv *k);
int kv_update_all(struct kv *k, uint32_t cnt);
/* One cache line written past the caches in a ring, one fence: ns; 0 where there is no such thing. */
double kv_fence_ns(const struct kv *k);
int kv_fence_setup(const char *dir);
void kv_fence_done(void);

#endif
