/* SPDX-License-Identifier: MIT
 * drv.h -- what every peer of the key-value benchmarks can do, and how answers are checked
 *
 * A driver is a table of functions. A store lives in a directory of its own; a thread works on it
 * through a handle of its own (attach). One-operation writes (put, del, modify) and batches are
 * one transaction each, durable when the call returns: every driver keeps the strictest promise
 * its peer has, settings() says how.
 *
 * Records carry their own proof: see bench_value(). Whoever reads copies the value out and checks
 * the copy, so no peer may answer with bytes it did not touch.
 */
#ifndef TWZ_BENCH_DRV_H
#define TWZ_BENCH_DRV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FIELD_LEN 100 /* bytes; kv has one field a record, YCSB ten */
#define FIELD_MAX 10
#define VALUE_MAX (FIELD_LEN * FIELD_MAX)
#define KEY_LEN	  23 /* "user" and 19 digits */

/* --- records --- */

static inline uint64_t bench_load64(const void *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint64_t bench_mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9u;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

/* A word that depends on every byte of a key of 12 to 24 bytes. */
static inline uint64_t bench_key_word(const void *key, size_t klen)
{
	const char *k = key;
	uint64_t mid = bench_load64(k + klen / 2 - 4), end = bench_load64(k + klen - 8);

	return bench_load64(k + 4) ^ (mid << 21 | mid >> 43) ^ (end << 42 | end >> 22);
}

/*
 * A field: key word + field number | version | record number | filler | proof over the first two.
 * First and last line of a torn or foreign field cannot agree.
 */
struct field {
	uint64_t word, version;
	uint32_t id;
	char filler[FIELD_LEN - 28];
	uint64_t proof;
} __attribute__((packed, aligned(4)));
_Static_assert(sizeof(struct field) == FIELD_LEN, "the standard's field length");

static inline uint64_t bench_proof(uint64_t word, uint64_t version)
{
	return bench_mix(word ^ version * 0x9e3779b97f4a7c15u);
}

static inline void bench_field(struct field *f, uint64_t key_word, uint32_t nr, uint64_t version,
			       uint32_t id)
{
	f->word = key_word + nr;
	f->version = version;
	f->id = id;
	f->proof = bench_proof(f->word, version);
}

/* The constant part: made once, before any clock starts. */
static inline void bench_filler(struct field *f)
{
	for (size_t i = 0; i < sizeof(f->filler); i++)
		f->filler[i] = (char)('a' + i % 26);
}

static inline bool bench_field_ok(const struct field *f, uint64_t key_word, uint32_t nr)
{
	return f->word == key_word + nr && f->proof == bench_proof(f->word, f->version);
}

/* Is VALUE, LEN bytes, the whole and untorn value of some version of the key? */
static inline bool bench_value_ok(const void *value, size_t len, uint64_t key_word)
{
	const struct field *f = value;
	uint32_t cnt = (uint32_t)(len / FIELD_LEN);
	bool ok = len && len % FIELD_LEN == 0;

	for (uint32_t i = 0; i < cnt; i++)
		ok &= bench_field_ok(&f[i], key_word, i);
	return ok;
}

/* Where scans deliver: each value is copied out, checked, and must not come before its precursor. */
struct drv_rows {
	char value[VALUE_MAX] __attribute__((aligned(64)));
	uint64_t cnt, bad, prev;
	bool unordered;
	/* exact check of every row, for verification outside timed slices; NULL = none */
	bool (*exact)(void *ctx, const void *key, size_t klen, const struct field *f);
	void *ctx;
};

static inline void drv_take(struct drv_rows *r, const void *key, size_t klen, const void *value,
			    size_t vlen)
{
	uint64_t order = __builtin_bswap64(bench_load64((const char *)key + 4));
	bool ok;

	memcpy(r->value, value, vlen);
	ok = (order >= r->prev || r->unordered) &&
	     bench_value_ok(r->value, vlen, bench_key_word(key, klen));
	r->prev = order;
	if (ok && r->exact)
		ok = r->exact(r->ctx, key, klen, (const struct field *)r->value);
	r->bad += !ok;
}

/* Lengths known to the compiler make the common case the harness's smallest part. */
static inline void drv_row(struct drv_rows *r, const void *key, size_t klen, const void *value,
			   size_t vlen)
{
	r->cnt++;
	if (klen == KEY_LEN && vlen == FIELD_LEN)
		drv_take(r, key, KEY_LEN, value, FIELD_LEN);
	else if (klen >= 12 && klen <= 24 && vlen <= VALUE_MAX)
		drv_take(r, key, klen, value, vlen);
	else
		r->bad++;
}

/* --- drivers --- */

enum {
	DRV_NONE = -1, /* no such key; for an insert: it exists */
	DRV_FAIL = -2, /* said why on standard error */
};

struct drv_opt {
	const char *dir;  /* a directory of the store's own */
	uint64_t records; /* about how many there will be: maps and caches are sized by it */
	uint32_t value_len;
	bool page; /* a medium behind a page cache (a disk), not memory */
};

struct drv_kv {
	const char *key, *value;
	uint32_t klen, vlen;
};

enum drv_put { DRV_INSERT, DRV_UPDATE };

/* Changes a value in place; its length stays. */
typedef void drv_edit(void *ctx, char *value, size_t len);

struct drv {
	const char *name, *what;
	bool no_seek;	  /* scans the whole table only */
	bool one_process; /* has a store to itself */
	/* Opens, creates when missing; recovers what a killed process left. */
	int (*open)(const struct drv_opt *opt, void **store);
	void (*close)(void *store);
	int (*attach)(void *store, void **th);
	void (*detach)(void *th);
	/* A snapshot is begun and ended inside. The value's length, or DRV_*. */
	int (*get)(void *th, const char *key, size_t klen, char *buf, size_t cap);
	/* CNT gets under one snapshot: values at BUF + i * STRIDE, lengths or DRV_NONE in LEN. */
	int (*mget)(void *th, const struct drv_kv *keys, int cnt, char *buf, size_t stride,
		    int *len);
	int (*put)(void *th, enum drv_put how, const struct drv_kv *kv);
	int (*del)(void *th, const char *key, size_t klen);
	/* Reads, edits and writes one record, in one durable transaction. */
	int (*modify)(void *th, const char *key, size_t klen, drv_edit *edit, void *ctx);
	/* Inserts in one transaction; SORTED: ascending, and above every key there is. */
	int (*batch)(void *th, const struct drv_kv *kv, int cnt, bool sorted);
	/* At most CNT rows from the first key >= KEY (KLEN 0: from the first). */
	int (*scan)(void *th, const char *key, size_t klen, uint64_t cnt, struct drv_rows *rows);
	/* Keys in [FROM, TO), values not touched; NULL: the peer has no such thing. */
	int (*count)(void *th, const char *from, const char *to, size_t klen, uint64_t *cnt);
	/* After a load: write out what the manual says to write out. May be NULL. */
	int (*settle)(void *store);
	/* As an update, but durable only when sync() has returned; both NULL: there is no such thing. */
	int (*put_lazy)(void *th, const struct drv_kv *kv);
	int (*sync)(void *th);
	/* Checkpoints since the store was opened; may be NULL. */
	uint64_t (*checkpoints)(void *th);
	/* One line: versions, durability, caches. */
	void (*settings)(void *store, char *buf, size_t len);
};

/* All drivers in this binary, and why a peer is missing. */
extern const struct drv *const drv_all[];
extern const size_t drv_cnt;
const struct drv *drv_find(const char *name);
void drv_print_missing(void);

extern const struct drv drv_twzdb, drv_twzdb_tree, drv_lmdb, drv_lmdb_wm, drv_rocksdb,
	drv_wiredtiger, drv_bdb, drv_pmemobj, drv_sqlite;

/* Says it on standard error; DRV_FAIL. */
int drv_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The value's length after copying it to BUF. */
static inline int drv_copy(char *buf, size_t cap, const void *value, size_t len)
{
	if (len > cap)
		return drv_fail("a value of %zu bytes, expected at most %zu", len, cap);
	if (len ==
	    FIELD_LEN) { /* copied by a handful of instructions, the proof by one, as it will be read */
		memcpy(buf, value, FIELD_LEN - 8);
		memcpy(buf + FIELD_LEN - 8, (const char *)value + FIELD_LEN - 8, 8);
	} else
		memcpy(buf, value, len);
	return (int)len;
}

/* --- directories --- */
int dir_make(const char *path);
/* The directory of a run: removed when the program is interrupted. Before other threads start. */
int dir_make_temporary(const char *path);
void dir_remove(const char *path);
/* Allocated blocks of all files below, in bytes. */
uint64_t dir_size(const char *path);

#endif
