/* SPDX-License-Identifier: MIT
 * native_value.c -- values of native tables: affinity, parts of keys (format_native.h)
 */
#include <errno.h>
#include <math.h>

#include "native.h"

void twzvfs__nbuf_init(struct nbuf *b)
{
	b->p = b->room;
	b->len = 0;
	b->cap = sizeof(b->room);
}

void twzvfs__nbuf_free(struct nbuf *b)
{
	if (b->p != b->room)
		sqlite3_free(b->p);
	twzvfs__nbuf_init(b);
}

static unsigned char *grow(struct nbuf *b, size_t want)
{
	size_t cap = b->cap * 2 > want ? b->cap * 2 : want;
	unsigned char *p = b->p == b->room ? sqlite3_malloc64(cap) : sqlite3_realloc64(b->p, cap);

	if (!p)
		return NULL;
	if (b->p == b->room)
		memcpy(p, b->room, b->len);
	b->p = p;
	b->cap = cap;
	return p + b->len;
}

unsigned char *twzvfs__nbuf_room(struct nbuf *b, size_t n)
{
	return b->cap - b->len >= n ? b->p + b->len : grow(b, b->len + n);
}

int twzvfs__nbuf_add(struct nbuf *b, const void *p, size_t n)
{
	unsigned char *to = twzvfs__nbuf_room(b, n);

	if (!to)
		return -ENOMEM;
	if (n)
		memcpy(to, p, n);
	b->len += n;
	return 0;
}

/* --- affinity --- */

/* A real that is an integer SQLite would store as one: see sqlite3VdbeIntegerAffinity(). */
static bool real_is_int(double r, sqlite3_int64 *i)
{
	if (!(r > -9223372036854775808.0 && r < 9223372036854775807.0))
		return false;
	*i = (sqlite3_int64)r;
	return (double)*i == r && *i > INT64_MIN && *i < INT64_MAX;
}

static int take_bytes(sqlite3_value *v, bool text, struct nval *out)
{
	out->type = text ? SQLITE_TEXT : SQLITE_BLOB;
	out->p = text ? (const void *)sqlite3_value_text(v) : sqlite3_value_blob(v);
	out->n = (size_t)sqlite3_value_bytes(v);
	if (!out->p && (text || out->n))
		return -ENOMEM;
	return 0;
}

static void take_number(sqlite3_value *v, enum naff aff, struct nval *out)
{
	if (out->type == SQLITE_INTEGER) {
		out->i = sqlite3_value_int64(v);
		if (aff == AFF_REAL) {
			out->type = SQLITE_FLOAT;
			out->r = (double)out->i;
		}
		return;
	}
	out->r = sqlite3_value_double(v);
	if ((aff == AFF_INTEGER || aff == AFF_NUMERIC) && real_is_int(out->r, &out->i))
		out->type = SQLITE_INTEGER;
}

int twzvfs__val_take(sqlite3_value *v, enum naff aff, struct nval *out)
{
	out->type = (uint8_t)sqlite3_value_type(v);
	if (out->type == SQLITE_TEXT && aff >= AFF_NUMERIC)
		out->type = (uint8_t)sqlite3_value_numeric_type(v);
	switch (out->type) {
	case SQLITE_INTEGER:
	case SQLITE_FLOAT:
		if (aff == AFF_TEXT)
			return take_bytes(v, true, out);
		take_number(v, aff, out);
		return 0;
	case SQLITE_TEXT:
	case SQLITE_BLOB:
		return take_bytes(v, out->type == SQLITE_TEXT, out);
	default:
		return 0;
	}
}

int twzvfs__val_result(sqlite3_context *ctx, const struct nval *v, bool lasting)
{
	void (*dtor)(void *) = lasting ? SQLITE_STATIC : SQLITE_TRANSIENT;

	switch (v->type) {
	case SQLITE_INTEGER:
		sqlite3_result_int64(ctx, v->i);
		break;
	case SQLITE_FLOAT:
		sqlite3_result_double(ctx, v->r);
		break;
	case SQLITE_TEXT:
		sqlite3_result_text64(ctx, v->n ? v->p : "", v->n, dtor, SQLITE_UTF8);
		break;
	case SQLITE_BLOB:
		if (v->n)
			sqlite3_result_blob64(ctx, v->p, v->n, dtor);
		else
			sqlite3_result_zeroblob(ctx, 0);
		break;
	default:
		sqlite3_result_null(ctx);
	}
	return SQLITE_OK;
}

/* --- parts of keys --- */

#define TWO63 9223372036854775808.0

/* I = *HEAD + the result: *HEAD is the greatest double that is not greater. */
static uint64_t split_int(sqlite3_int64 i, double *head)
{
	double d = (double)i;

	if (d >= TWO63 || (sqlite3_int64)d > i)
		d = nextafter(d, -INFINITY);
	*head = d;
	return (uint64_t)i - (uint64_t)(sqlite3_int64)d;
}

static void put_number(struct twzdb_key *k, const struct nval *v, uint32_t flags)
{
	uint64_t more = 0;
	double head = v->r;

	if (v->type == SQLITE_INTEGER)
		more = split_int(v->i, &head);
	twzdb_key_put_double(k, head, flags);
	twzdb_key_put_uint(k, more, 2, flags);
}

/* The bytes by which a collation compares. */
static int fold(const struct nval *v, enum ncoll coll, struct nbuf *b)
{
	const unsigned char *s = v->p;
	size_t n = v->n, i;
	unsigned char *to;

	while (coll == COLL_RTRIM && n && s[n - 1] == ' ')
		n--;
	to = twzvfs__nbuf_room(b, n);
	if (!to)
		return -ENOMEM;
	for (i = 0; i < n; i++)
		to[i] = coll == COLL_NOCASE && s[i] >= 'A' && s[i] <= 'Z' ? s[i] | 0x20 : s[i];
	b->len += n;
	return 0;
}

static enum twzvfs_part_tag tag_of(const struct nval *v)
{
	switch (v->type) {
	case SQLITE_INTEGER:
	case SQLITE_FLOAT:
		return TWZVFS_PART_NUMBER;
	case SQLITE_TEXT:
		return TWZVFS_PART_TEXT;
	case SQLITE_BLOB:
		return TWZVFS_PART_BLOB;
	default:
		return TWZVFS_PART_NULL;
	}
}

static int put_plain(struct nbuf *b, const struct nval *v, const struct npart *part)
{
	uint32_t flags = part->desc ? TWZDB_KEY_DESC : 0;
	enum twzvfs_part_tag tag = tag_of(v);
	size_t max = 16 + (tag >= TWZVFS_PART_TEXT ? 2 * v->n : 0);
	unsigned char *to = twzvfs__nbuf_room(b, max);
	struct twzdb_slice s;
	struct twzdb_key k;
	int err;

	if (!to)
		return -ENOMEM;
	twzdb_key_init(&k, to, max);
	twzdb_key_put_uint(&k, tag, 1, flags);
	if (tag == TWZVFS_PART_NUMBER)
		put_number(&k, v, flags);
	else if (tag != TWZVFS_PART_NULL && part->rest)
		twzdb_key_put_rest(&k, v->p, v->n, 0);
	else if (tag != TWZVFS_PART_NULL)
		twzdb_key_put_bytes(&k, v->p, v->n, flags);
	err = twzdb_key_end(&k, &s);
	if (!err)
		b->len += s.len;
	return err;
}

int twzvfs__part_put(struct nbuf *b, const struct nval *v, const struct npart *part)
{
	struct nval folded = *v;
	struct nbuf tmp;
	int err;

	if (v->type != SQLITE_TEXT || part->coll == COLL_BINARY)
		return put_plain(b, v, part);
	twzvfs__nbuf_init(&tmp);
	err = fold(v, part->coll, &tmp);
	folded.p = tmp.p;
	folded.n = tmp.len;
	if (!err)
		err = put_plain(b, &folded, part);
	twzvfs__nbuf_free(&tmp);
	return err;
}

int twzvfs__part_put_prefix(struct nbuf *b, const char *s, size_t n, const struct npart *part)
{
	struct nval v = {.type = SQLITE_TEXT, .p = s, .n = n};
	struct npart p = {.col = part->col, .coll = part->coll, .rest = part->rest};
	int err = twzvfs__part_put(b, &v, &p);

	if (!err && !part->rest)
		b->len -= 2; /* the two zeros of the end */
	return err;
}

int twzvfs__rowid_put(struct nbuf *b, sqlite3_int64 rowid)
{
	unsigned char *to = twzvfs__nbuf_room(b, 8);
	struct twzdb_key k;

	if (!to)
		return -ENOMEM;
	twzdb_key_init(&k, to, 8);
	twzdb_key_put_int(&k, rowid, 8, 0);
	b->len += 8;
	return k.err;
}

static int get_number(struct twzdb_key_reader *r, uint32_t flags, struct nval *out)
{
	uint64_t more;
	sqlite3_int64 i;

	if (twzdb_key_get_double(r, &out->r, flags) || twzdb_key_get_uint(r, &more, 2, flags))
		return TWZDB_E_CORRUPT;
	out->type = SQLITE_FLOAT;
	if (!(out->r >= -TWO63 && out->r < TWO63) || floor(out->r) != out->r)
		return more ? TWZDB_E_CORRUPT : 0;
	i = (sqlite3_int64)out->r;
	if (i > 0 && more > (uint64_t)(INT64_MAX - i))
		return TWZDB_E_CORRUPT;
	out->i = (sqlite3_int64)((uint64_t)i + more);
	out->type = SQLITE_INTEGER;
	return 0;
}

static int get_bytes(struct twzdb_key_reader *r, const struct npart *part, struct nbuf *buf,
		     struct nval *out)
{
	uint32_t flags = part->desc ? TWZDB_KEY_DESC : 0;
	unsigned char *to;

	if (part->rest) {
		out->p = r->p;
		out->n = r->left;
		r->p += r->left;
		r->left = 0;
		return 0;
	}
	/* No part is longer than the bytes it is stored in. */
	to = twzvfs__nbuf_room(buf, r->left);
	if (!to)
		return -ENOMEM;
	if (twzdb_key_get_bytes(r, to, buf->cap - buf->len, &out->n, flags))
		return TWZDB_E_CORRUPT;
	out->p = to;
	buf->len += out->n;
	return 0;
}

int twzvfs__part_get(struct twzdb_key_reader *r, const struct npart *part, struct nbuf *buf,
		     struct nval *out)
{
	uint32_t flags = part->desc ? TWZDB_KEY_DESC : 0;
	uint64_t tag;

	if (twzdb_key_get_uint(r, &tag, 1, flags))
		return TWZDB_E_CORRUPT;
	switch (tag) {
	case TWZVFS_PART_NULL:
		out->type = SQLITE_NULL;
		return 0;
	case TWZVFS_PART_NUMBER:
		return get_number(r, flags, out);
	case TWZVFS_PART_TEXT:
	case TWZVFS_PART_BLOB:
		out->type = tag == TWZVFS_PART_TEXT ? SQLITE_TEXT : SQLITE_BLOB;
		return get_bytes(r, part, buf, out);
	default:
		return TWZDB_E_CORRUPT;
	}
}
