/* SPDX-License-Identifier: MIT
 * log_env.h -- what the tests of twz_log share: numbered records, a user that remembers, a store
 *
 * Records are made from their number alone, so that any of them can be verified wherever it turns
 * up.
 */
#ifndef TWZ_TEST_LOG_ENV_H
#define TWZ_TEST_LOG_ENV_H

#include "t.h"
#include "log_ring.h"

#define KIB	 ((uint64_t)1 << 10)
#define REC_MAX	 ((size_t)1 << 20)
#define MIN_BODY 16 /* number and length */

/* What the user of the log (struct twz_log_user) was asked to do. */
struct seen {
	uint64_t first, next; /* numbers applied, in order, without a gap */
	uint64_t applied, flushed, walked;
	bool bad, restart;
	bool unhardened; /* a record was applied that had not been flushed just before */
	uint64_t last_flushed;
	uint64_t asked;	  /* whether a record's blocks have arrived (D2a) .. */
	bool blocks_lost; /* .. and what to answer */
	int fail_apply;	  /* result of the apply of record number fail_at */
	uint64_t fail_at;
};

/* The LEN bytes of record number N. */
void body_make(uint8_t *buf, uint64_t n, size_t len);
bool body_is(const uint8_t *buf, uint64_t n, size_t len);

int seen_apply(void *ctx, uint64_t lsn, const void *rec, size_t len, bool restart);
int seen_flush(void *ctx, uint64_t lsn, const void *rec, size_t len);
int seen_whole(void *ctx, uint64_t lsn, const void *rec, size_t len);
int walk_count(void *ctx, uint64_t lsn, const void *rec, size_t len);

struct env {
	bool cl; /* cache-line media */
	char path[512];
	struct twz_store *s;
	twz_oid id;
	struct twz_log *l;
	struct seen seen;
	struct twz_log_user user;
	uint64_t next; /* number of the next record */
	const void *backend;
};

/*
 * A path on the medium of that kind: page media in TMPDIR, cache-line media (forced) in /dev/shm.
 */
const char *env_path(bool cl, const char *name);
int env_open_store(struct env *e, uint32_t flags);
/* Forgets what was seen. */
int env_open_log(struct env *e, int *restart);
/* New store, new log, recovered: ready for use. False: failed, and said so. */
bool env_new(struct env *e, bool cl, uint64_t ring_len, const void *backend);
void env_close(struct env *e);
/* Close and remove. */
void env_end(struct env *e);
/* Open again as after a restart; recovers unless RAW. */
bool env_reopen(struct env *e, bool raw);

/* Append the next record; put() also marks it applied. */
int append_to(struct env *e, size_t len, uint64_t *lsn);
int put(struct env *e, size_t len);
/* Records that twz_log_walk finds, all of them verified. */
uint64_t walked(struct env *e);
struct twz_log_info info_of(struct env *e);
uint64_t object_count(struct env *e);
/* Copy the image while it is open: what a crash (or a careless cp) leaves. */
bool copy_image(const char *from, const char *to);

/* The bytes of the log on its medium; OFF counts from the header page. */
void poke(struct env *e, uint64_t off, const void *buf, uint64_t len);
void peek(struct env *e, uint64_t off, void *buf, uint64_t len);
void flip(struct env *e, uint64_t off, uint8_t bits);

static inline void on_both(void (*fn)(bool cl))
{
	fn(false);
	fn(true);
}

#endif
