/* SPDX-License-Identifier: MIT
 * engine_t.h -- helpers of the engine's tests: opening, rows by number, checking
 */
#ifndef TWZ_ENGINE_T_H
#define TWZ_ENGINE_T_H

#include "t.h"
#include "twz/twz.h"
#include "twzdb.h"

/*
 * Each test runs on both media: page (an ordinary file) and cache-line (forced, in shared
 * memory).
 */
enum et_media { ET_PAGE, ET_LINE };

static inline const char *et_path(enum et_media m, const char *name)
{
	if (m == ET_LINE)
		setenv("PMEM2_FORCE_GRANULARITY", "CACHE_LINE", 1);
	else
		unsetenv("PMEM2_FORCE_GRANULARITY");
	return t_path(m == ET_LINE ? t_shm_dir() : t_dir(), name);
}

static inline int et_open_opt(const char *path, uint32_t flags, uint64_t log_len,
			      uint64_t initial_len, struct twzdb **db)
{
	struct twzdb_options o = {
		.size = sizeof(o), .flags = flags, .log_len = log_len, .initial_len = initial_len};

	if (!t_err_name) { /* threads open too, but not first */
		t_err_name = twzdb_err_name;
		t_err_msg = twzdb_errmsg;
	}
	return twzdb_open(path, &o, db);
}

/* A small database: 256 KiB ring, so that checkpoints happen. */
static inline int et_open(const char *path, struct twzdb **db)
{
	return et_open_opt(path, TWZDB_CREATE, 256 << 10, 0, db);
}

static inline struct twzdb_slice et_str(const char *s)
{
	struct twzdb_slice x = {s, strlen(s)};

	return x;
}

/* Key of row I: 8 bytes, ascending. Ring of buffers. */
static inline struct twzdb_slice et_key(uint64_t i)
{
	static _Thread_local uint64_t ring[16];
	static _Thread_local unsigned next;
	uint64_t *k = &ring[next++ % 16];
	struct twzdb_slice s = {k, sizeof(*k)};

	*k = __builtin_bswap64(i);
	return s;
}

static inline uint64_t et_num(struct twzdb_slice k)
{
	uint64_t i = 0;

	if (k.len == sizeof(i))
		memcpy(&i, k.ptr, sizeof(i));
	return __builtin_bswap64(i);
}

static _Thread_local uint8_t *et_ring[4];

/* Before a thread that called et_val ends. */
static inline void et_thread_end(void)
{
	for (int i = 0; i < 4; i++) {
		free(et_ring[i]);
		et_ring[i] = NULL;
	}
}

/* Value I of LEN bytes: every byte follows from I. */
static inline struct twzdb_slice et_val(uint64_t i, size_t len)
{
	static _Thread_local unsigned next;
	uint8_t **buf = &et_ring[next++ % 4];
	struct twzdb_slice s = {NULL, len};

	if (!*buf)
		*buf = malloc(1 << 20);
	for (size_t j = 0; j < len; j++)
		(*buf)[j] = (uint8_t)(i * 31 + j * 7 + (j >> 8));
	s.ptr = *buf;
	return s;
}

static inline bool et_same(struct twzdb_slice a, struct twzdb_slice b)
{
	return a.len == b.len && !memcmp(a.ptr, b.ptr, a.len);
}

static inline void et_print(void *ctx, const char *where, const char *what)
{
	(void)ctx;
	fprintf(stderr, "  check: %s: %s\n", where, what);
}

/* The checker finds nothing. */
static inline bool et_clean(struct twzdb *db)
{
	uint64_t found = 1;
	int err = twzdb_check(db, et_print, NULL, &found);

	if (err)
		fprintf(stderr, "  check: %s: %s\n", twzdb_err_name(err), twzdb_errmsg());
	return !err && !found;
}

#endif
