/* SPDX-License-Identifier: MIT
 * keys.c -- order-preserving encodings of numbers, text and byte strings
 *
 * Every part but the last is prefix-free: no encoding of a part begins another one of the same
 * kind. So the first byte in which two keys differ lies in the first part that differs, and
 * inverting all bytes of a part turns its order around and nothing else.
 */
#include "internal.h"
#include "twzdb_key.h"

#define SIGN64 ((uint64_t)1 << 63)
#define SIGN32 ((uint32_t)1 << 31)
#define NAN64  0x7ff8000000000000ULL
#define NAN32  0x7fc00000U

/* --- building --- */

void twzdb_key_init(struct twzdb_key *k, void *buf, size_t cap)
{
	k->buf = buf;
	k->cap = buf ? cap : 0;
	k->len = 0;
	k->err = 0;
}

int twzdb_key_end(const struct twzdb_key *k, struct twzdb_slice *key)
{
	*key = (struct twzdb_slice){NULL, 0};
	if (!k->err)
		*key = (struct twzdb_slice){k->buf, k->len};
	return k->err;
}

static int fail(struct twzdb_key *k, int err, const char *what)
{
	if (!k->err)
		k->err = twzdb__err(err, "key: %s", what);
	return k->err;
}

static bool flags_ok(struct twzdb_key *k, uint32_t flags)
{
	if (flags & ~(uint32_t)TWZDB_KEY_DESC)
		fail(k, TWZDB_E_INVAL, "unknown flags of a part");
	return !k->err;
}

/* Room for LEN more bytes; NULL: an error, now or before. */
static uint8_t *take(struct twzdb_key *k, size_t len, uint32_t flags)
{
	uint8_t *at = k->buf + k->len;

	if (!flags_ok(k, flags))
		return NULL;
	if (len > k->cap - k->len) {
		fail(k, TWZDB_E_TOOBIG, "the buffer is full");
		return NULL;
	}
	k->len += len;
	return at;
}

static uint8_t mask_of(uint32_t flags)
{
	return flags & TWZDB_KEY_DESC ? 0xff : 0;
}

static int put_be(struct twzdb_key *k, uint64_t v, unsigned width, uint32_t flags)
{
	uint8_t *at = take(k, width, flags), mask = mask_of(flags);

	for (unsigned i = 0; at && i < width; i++)
		at[i] = (uint8_t)(v >> (8 * (width - 1 - i))) ^ mask;
	return k->err;
}

static bool width_ok(unsigned width)
{
	return width == 1 || width == 2 || width == 4 || width == 8;
}

int twzdb_key_put_uint(struct twzdb_key *k, uint64_t v, unsigned width, uint32_t flags)
{
	if (!width_ok(width) || (width < 8 && v >> (8 * width)))
		return fail(k, TWZDB_E_INVAL, "a number that does not fit its width");
	return put_be(k, v, width, flags);
}

int twzdb_key_put_int(struct twzdb_key *k, int64_t v, unsigned width, uint32_t flags)
{
	/* Adding 2^(bits - 1) maps the signed numbers to the unsigned ones in order. */
	uint64_t u = (uint64_t)v + (width_ok(width) ? SIGN64 >> (64 - 8 * width) : 0);

	if (!width_ok(width) || (width < 8 && u >> (8 * width)))
		return fail(k, TWZDB_E_INVAL, "a number that does not fit its width");
	return put_be(k, u, width, flags);
}

int twzdb_key_put_float(struct twzdb_key *k, float v, uint32_t flags)
{
	uint32_t u;

	if (v == 0)
		v = 0; /* equal numbers, equal bytes */
	memcpy(&u, &v, sizeof(u));
	if (v != v)
		u = NAN32;
	return put_be(k, u & SIGN32 ? (uint32_t)~u : u | SIGN32, sizeof(u), flags);
}

int twzdb_key_put_double(struct twzdb_key *k, double v, uint32_t flags)
{
	uint64_t u;

	if (v == 0)
		v = 0;
	memcpy(&u, &v, sizeof(u));
	if (v != v)
		u = NAN64;
	return put_be(k, u & SIGN64 ? ~u : u | SIGN64, sizeof(u), flags);
}

int twzdb_key_put_bool(struct twzdb_key *k, bool v, uint32_t flags)
{
	return put_be(k, v, 1, flags);
}

int twzdb_key_put_null(struct twzdb_key *k, bool is_null, uint32_t flags)
{
	return put_be(k, !is_null, 1, flags);
}

int twzdb_key_put_rest(struct twzdb_key *k, const void *p, size_t len, uint32_t flags)
{
	const uint8_t *b = p;
	uint8_t *at, mask = mask_of(flags);

	if (len && !p)
		return fail(k, TWZDB_E_INVAL, "a part without bytes");
	at = take(k, len, flags);
	for (size_t i = 0; at && i < len; i++)
		at[i] = b[i] ^ mask;
	return k->err;
}

int twzdb_key_put_text(struct twzdb_key *k, const char *s, size_t len, uint32_t flags)
{
	if (len && s && memchr(s, 0, len))
		return fail(k, TWZDB_E_INVAL, "text with a byte 0: use bytes");
	if (!twzdb_key_put_rest(k, s, len, flags))
		put_be(k, 0, 1, flags);
	return k->err;
}

int twzdb_key_put_bytes(struct twzdb_key *k, const void *p, size_t len, uint32_t flags)
{
	const uint8_t *b = p;
	uint8_t *at, mask = mask_of(flags);
	size_t need = len + 2;

	if (len && !p)
		return fail(k, TWZDB_E_INVAL, "a part without bytes");
	for (size_t i = 0; i < len; i++)
		need += !b[i];
	at = take(k, need, flags);
	for (size_t i = 0; at && i < len; i++) {
		*at++ = b[i] ^ mask;
		if (!b[i])
			*at++ = 0xff ^ mask;
	}
	if (at)
		at[0] = at[1] = mask;
	return k->err;
}

/* --- taking apart --- */

void twzdb_key_read(struct twzdb_key_reader *r, struct twzdb_slice key)
{
	r->p = key.ptr;
	r->left = key.ptr ? key.len : 0;
}

static int bad(const char *what)
{
	return twzdb__err(TWZDB_E_INVAL, "key: %s", what);
}

static void advance(struct twzdb_key_reader *r, size_t len)
{
	r->p += len;
	r->left -= len;
}

static int get_be(struct twzdb_key_reader *r, uint64_t *v, unsigned width, uint32_t flags)
{
	uint8_t mask = mask_of(flags);

	*v = 0;
	if (!width_ok(width) || flags & ~(uint32_t)TWZDB_KEY_DESC)
		return bad("unknown width or flags of a part");
	if (r->left < width)
		return bad("fewer bytes than the part has");
	for (unsigned i = 0; i < width; i++)
		*v = *v << 8 | (uint8_t)(r->p[i] ^ mask);
	advance(r, width);
	return 0;
}

int twzdb_key_get_uint(struct twzdb_key_reader *r, uint64_t *v, unsigned width, uint32_t flags)
{
	return get_be(r, v, width, flags);
}

int twzdb_key_get_int(struct twzdb_key_reader *r, int64_t *v, unsigned width, uint32_t flags)
{
	uint64_t u;
	int err = get_be(r, &u, width, flags);

	*v = err ? 0 : (int64_t)(u - (SIGN64 >> (64 - 8 * width)));
	return err;
}

int twzdb_key_get_float(struct twzdb_key_reader *r, float *v, uint32_t flags)
{
	uint64_t u;
	int err = get_be(r, &u, sizeof(*v), flags);
	uint32_t bits = (uint32_t)u & SIGN32 ? (uint32_t)u & ~SIGN32 : ~(uint32_t)u;

	*v = 0;
	if (!err)
		memcpy(v, &bits, sizeof(*v));
	return err;
}

int twzdb_key_get_double(struct twzdb_key_reader *r, double *v, uint32_t flags)
{
	uint64_t u;
	int err = get_be(r, &u, sizeof(*v), flags);

	u = u & SIGN64 ? u & ~SIGN64 : ~u;
	*v = 0;
	if (!err)
		memcpy(v, &u, sizeof(*v));
	return err;
}

static int get_mark(struct twzdb_key_reader *r, bool *v, uint32_t flags)
{
	struct twzdb_key_reader at = *r;
	uint64_t u;
	int err = get_be(&at, &u, 1, flags);

	*v = false;
	if (!err && u > 1)
		err = bad("a mark that is neither 0 nor 1");
	if (!err) {
		*v = u;
		*r = at;
	}
	return err;
}

int twzdb_key_get_bool(struct twzdb_key_reader *r, bool *v, uint32_t flags)
{
	return get_mark(r, v, flags);
}

int twzdb_key_get_null(struct twzdb_key_reader *r, bool *is_null, uint32_t flags)
{
	bool present;
	int err = get_mark(r, &present, flags);

	*is_null = !err && !present;
	return err;
}

/* Copy LEN bytes of a part that takes TAKES bytes of the key. */
static int copy_out(struct twzdb_key_reader *r, void *buf, size_t cap, size_t len, size_t takes,
		    uint8_t mask)
{
	uint8_t *out = buf;

	if (len > cap)
		return twzdb__err(TWZDB_E_TOOBIG, "key: a part of %zu bytes, room for %zu", len,
				  cap);
	for (size_t i = 0; i < len; i++)
		out[i] = r->p[i] ^ mask;
	advance(r, takes);
	return 0;
}

int twzdb_key_get_rest(struct twzdb_key_reader *r, void *buf, size_t cap, size_t *len,
		       uint32_t flags)
{
	*len = r->left;
	if (flags & ~(uint32_t)TWZDB_KEY_DESC)
		return bad("unknown flags of a part");
	return copy_out(r, buf, cap, *len, *len, mask_of(flags));
}

int twzdb_key_get_text(struct twzdb_key_reader *r, char *buf, size_t cap, size_t *len,
		       uint32_t flags)
{
	const uint8_t *end = r->left ? memchr(r->p, mask_of(flags), r->left) : NULL;

	*len = 0;
	if (flags & ~(uint32_t)TWZDB_KEY_DESC)
		return bad("unknown flags of a part");
	if (!end)
		return bad("text without its end");
	*len = (size_t)(end - r->p);
	return copy_out(r, buf, cap, *len, *len + 1, mask_of(flags));
}

/* Bytes of the part, and of its encoding; false: it has no end, or an escape that is none. */
static bool bytes_len(const uint8_t *p, size_t left, uint8_t mask, size_t *len, size_t *takes)
{
	size_t i = 0;

	for (*len = 0; i + 1 < left; ++*len, i++) {
		if (p[i] != mask)
			continue;
		if (p[i + 1] == mask) {
			*takes = i + 2;
			return true;
		}
		if ((p[i + 1] ^ mask) != 0xff)
			return false;
		i++;
	}
	return false;
}

int twzdb_key_get_bytes(struct twzdb_key_reader *r, void *buf, size_t cap, size_t *len,
			uint32_t flags)
{
	uint8_t *out = buf, mask = mask_of(flags);
	size_t n = 0, takes;

	*len = 0;
	if (flags & ~(uint32_t)TWZDB_KEY_DESC)
		return bad("unknown flags of a part");
	if (!bytes_len(r->p, r->left, mask, &n, &takes))
		return bad("bytes without their end, or with a wrong escape");
	*len = n;
	if (n > cap)
		return twzdb__err(TWZDB_E_TOOBIG, "key: a part of %zu bytes, room for %zu", n, cap);
	for (const uint8_t *p = r->p; n; n--, p += 1 + (*p == mask))
		*out++ = *p ^ mask;
	advance(r, takes);
	return 0;
}
