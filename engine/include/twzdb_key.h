/* SPDX-License-Identifier: MIT
 * twzdb_key.h -- keys made of typed parts whose bytes sort as the parts do
 *
 * A table sorts its keys as memcmp does. These helpers write numbers, text and byte strings so
 * that comparing the bytes compares the parts one after the other, the first one that differs
 * deciding; each part may run downwards (TWZDB_KEY_DESC). They need no database: a builder fills
 * the caller's buffer, a reader takes a key apart again. Both must name the same parts, in the
 * same order, with the same widths and flags: no types are stored.
 *
 * Encodings (before DESC, which inverts every byte of its part):
 *   unsigned, WIDTH bytes  big-endian
 *   signed                 big-endian with the sign bit inverted
 *   float, double          sign bit inverted if it was clear, else all bits; -0 is stored as +0,
 *                          every NaN as one that sorts above +infinity
 *   bool, null mark        one byte, 0 or 1
 *   text                   its bytes, then 0; no byte of it may be 0
 *   bytes                  0 becomes 0 255, then 0 0 behind the last one
 *   rest                   as it is; it runs to the end of the key, so it must be the last part
 * A part that may be absent: twzdb_key_put_null(k, true) in its place, or twzdb_key_put_null(k,
 * false) and then the part. Absent ones sort first, with DESC last.
 *
 * Threads: a builder or reader belongs to one thread at a time. Nothing is allocated.
 * Errors: TWZDB_E_INVAL (wrong arguments, or bytes that are no such part), TWZDB_E_TOOBIG (the
 * buffer is full); twzdb_errmsg() has the sentence.
 */
#ifndef TWZDB_KEY_H
#define TWZDB_KEY_H

#include "twzdb.h"

#ifdef __cplusplus
extern "C" {
#endif

enum twzdb_key_flags {
	TWZDB_KEY_DESC = 1, /* the part runs downwards */
};

/*
 * A key being built. An error stays: later parts are ignored, and twzdb_key_end() returns it. So
 * the results of the single calls need not be looked at.
 */
struct twzdb_key {
	uint8_t *buf; /* the caller's */
	size_t cap;   /* its bytes */
	size_t len;   /* used so far */
	int err;      /* first error, 0 = none */
};

/* Start a key in BUF of CAP bytes: what does not fit is TWZDB_E_TOOBIG (1 KiB is enough for a fast key). */
TWZDB_API void twzdb_key_init(struct twzdb_key *k, void *buf, size_t cap);
/* *KEY = the bytes so far; valid as long as the buffer. Returns the builder's first error. */
TWZDB_API TWZDB_MUST_CHECK int twzdb_key_end(const struct twzdb_key *k, struct twzdb_slice *key);

/* V in WIDTH = 1, 2, 4 or 8 bytes. TWZDB_E_INVAL if it does not fit. */
TWZDB_API int twzdb_key_put_uint(struct twzdb_key *k, uint64_t v, unsigned width, uint32_t flags);
TWZDB_API int twzdb_key_put_int(struct twzdb_key *k, int64_t v, unsigned width, uint32_t flags);
TWZDB_API int twzdb_key_put_float(struct twzdb_key *k, float v, uint32_t flags);
TWZDB_API int twzdb_key_put_double(struct twzdb_key *k, double v, uint32_t flags);
TWZDB_API int twzdb_key_put_bool(struct twzdb_key *k, bool v, uint32_t flags);
/* IS_NULL: the part is absent, nothing follows for it. Else the part itself comes next. */
TWZDB_API int twzdb_key_put_null(struct twzdb_key *k, bool is_null, uint32_t flags);
/* TWZDB_E_INVAL if one of the LEN bytes is 0. Costs one byte more than the text. */
TWZDB_API int twzdb_key_put_text(struct twzdb_key *k, const char *s, size_t len, uint32_t flags);
/* Any bytes. Costs two bytes more, and one for every byte that is 0. */
TWZDB_API int twzdb_key_put_bytes(struct twzdb_key *k, const void *p, size_t len, uint32_t flags);
/* Any bytes, as the last part; costs nothing more. */
TWZDB_API int twzdb_key_put_rest(struct twzdb_key *k, const void *p, size_t len, uint32_t flags);

/* A key being taken apart. It does not own the bytes. An error leaves the position as it was. */
struct twzdb_key_reader {
	const uint8_t *p;
	size_t left; /* bytes not read yet; 0 = all parts read */
};

TWZDB_API void twzdb_key_read(struct twzdb_key_reader *r, struct twzdb_slice key);
/*
 * The next part, as it was put. TWZDB_E_INVAL if the bytes left are none (too few, a mark that is
 * neither 0 nor 1, no end); *V is 0 then.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_key_get_uint(struct twzdb_key_reader *r, uint64_t *v,
						  unsigned width, uint32_t flags);
TWZDB_API TWZDB_MUST_CHECK int twzdb_key_get_int(struct twzdb_key_reader *r, int64_t *v,
						 unsigned width, uint32_t flags);
TWZDB_API TWZDB_MUST_CHECK int twzdb_key_get_float(struct twzdb_key_reader *r, float *v,
						   uint32_t flags);
TWZDB_API TWZDB_MUST_CHECK int twzdb_key_get_double(struct twzdb_key_reader *r, double *v,
						    uint32_t flags);
TWZDB_API TWZDB_MUST_CHECK int twzdb_key_get_bool(struct twzdb_key_reader *r, bool *v,
						  uint32_t flags);
TWZDB_API TWZDB_MUST_CHECK int twzdb_key_get_null(struct twzdb_key_reader *r, bool *is_null,
						  uint32_t flags);
/*
 * Text and bytes are copied to BUF of CAP bytes; *LEN = how many (also with TWZDB_E_TOOBIG: how
 * many there are). BUF may be NULL with CAP 0, to learn the length. Text gets no 0 at its end.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_key_get_text(struct twzdb_key_reader *r, char *buf, size_t cap,
						  size_t *len, uint32_t flags);
TWZDB_API TWZDB_MUST_CHECK int twzdb_key_get_bytes(struct twzdb_key_reader *r, void *buf,
						   size_t cap, size_t *len, uint32_t flags);
TWZDB_API TWZDB_MUST_CHECK int twzdb_key_get_rest(struct twzdb_key_reader *r, void *buf, size_t cap,
						  size_t *len, uint32_t flags);

#ifdef __cplusplus
}
#endif
#endif
