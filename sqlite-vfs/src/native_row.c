/* SPDX-License-Identifier: MIT
 * native_row.c -- rows and keys of native tables (format_native.h)
 *
 * Rows come from media that anybody may have written, also by the KV API: nothing is used before it
 * is checked (D10).
 */
#include <errno.h>
#include <math.h>

#include "native.h"

#define ROW_HEAD  sizeof(struct twzvfs_row_pm)
#define CELL_HEAD 5 /* what it is, and where it ends */

static uint32_t le32(const unsigned char *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put_le32(unsigned char *p, uint32_t v)
{
	p[0] = (unsigned char)v;
	p[1] = (unsigned char)(v >> 8);
	p[2] = (unsigned char)(v >> 16);
	p[3] = (unsigned char)(v >> 24);
}

int twzvfs__native_corrupt(struct native *n, const char *why)
{
	sqlite3_log(SQLITE_CORRUPT_VTAB, "twz: native table %s.%s: %s", n->schema, n->name, why);
	sqlite3_free(n->base.zErrMsg);
	n->base.zErrMsg = sqlite3_mprintf(
		"native table %s: %s: delete the row by its key, or restore a backup", n->name,
		why);
	return TWZDB_E_CORRUPT;
}

static int bad_key(struct native *n, int err)
{
	return err == TWZDB_E_CORRUPT ? twzvfs__native_corrupt(n, "a key is not one of this table")
				      : err;
}

/* --- reading --- */

/* Part PART of a row's key. */
static int key_part(struct native *n, struct twzdb_slice key, int part, struct nbuf *buf,
		    struct nval *out)
{
	struct twzdb_key_reader r;
	int err = 0;

	twzdb_key_read(&r, key);
	for (int i = 0; i <= part && !err; i++) {
		buf->len = 0;
		err = twzvfs__part_get(&r, &n->d->key.part[i], buf, out);
	}
	return bad_key(n, err);
}

int twzvfs__row_rowid(struct native *n, struct twzdb_slice key, sqlite3_int64 *out)
{
	struct twzdb_key_reader r;
	int64_t v;

	twzdb_key_read(&r, key);
	if (key.len != 8 || twzdb_key_get_int(&r, &v, 8, 0))
		return bad_key(n, TWZDB_E_CORRUPT);
	*out = v;
	return 0;
}

static int key_cell(struct native *n, const struct nrow *row, int col, int what, struct nbuf *buf,
		    struct nval *out)
{
	int part = n->d->col[col].part, err;
	bool integer = what == TWZVFS_CELL_KEY_INTEGER;

	if (integer && col == n->d->ipk) {
		out->type = SQLITE_INTEGER;
		return twzvfs__row_rowid(n, row->key, &out->i);
	}
	if (part < 0)
		return twzvfs__native_corrupt(
			n, "a row refers to its key for a column that is not in it");
	err = key_part(n, row->key, part, buf, out);
	if (!err && integer != (out->type == SQLITE_INTEGER))
		return twzvfs__native_corrupt(n, "a row and its key do not fit together");
	if (!err && !integer && out->type != SQLITE_TEXT && out->type != SQLITE_BLOB)
		return twzvfs__native_corrupt(n, "a row and its key do not fit together");
	return err;
}

static int64_t get_int(const unsigned char *p, size_t len)
{
	uint64_t v = len && p[len - 1] & 0x80 ? ~(uint64_t)0 : 0;

	while (len--)
		v = v << 8 | p[len];
	return (int64_t)v;
}

static int plain_cell(struct native *n, int what, const unsigned char *p, size_t len,
		      struct nval *out)
{
	uint64_t bits = 0;

	out->p = p;
	out->n = len;
	switch (what) {
	case TWZVFS_CELL_INTEGER:
		if (len > 8)
			break;
		out->type = SQLITE_INTEGER;
		out->i = get_int(p, len);
		return 0;
	case TWZVFS_CELL_REAL:
		if (len != 8)
			break;
		bits = (uint64_t)le32(p) | (uint64_t)le32(p + 4) << 32;
		memcpy(&out->r, &bits, 8);
		if (isnan(out->r))
			break;
		out->type = SQLITE_FLOAT;
		return 0;
	case TWZVFS_CELL_TEXT:
	case TWZVFS_CELL_BLOB:
		out->type = what == TWZVFS_CELL_TEXT ? SQLITE_TEXT : SQLITE_BLOB;
		return 0;
	case TWZVFS_CELL_NULL:
		if (len)
			break;
		out->type = SQLITE_NULL;
		return 0;
	default:
		break;
	}
	return twzvfs__native_corrupt(n,
				      "a column is of no known kind, or its length does not fit");
}

int twzvfs__row_col(struct native *n, const struct nrow *row, int col, struct nbuf *buf,
		    struct nval *out)
{
	const unsigned char *p = row->val.ptr;
	size_t cnt = (size_t)n->d->col_cnt, head = ROW_HEAD + cnt * CELL_HEAD;
	const unsigned char *ends = p + ROW_HEAD + cnt;
	uint32_t from, to;
	int what;

	if (row->val.len < head || p[0] || p[1] || (p[2] | (size_t)p[3] << 8) != cnt)
		return twzvfs__native_corrupt(
			n, "a row is too short, or has not this table's columns");
	from = col ? le32(ends + 4 * (col - 1)) : 0;
	to = le32(ends + 4 * col);
	if (from > to || to > row->val.len - head)
		return twzvfs__native_corrupt(n, "a column ends outside of its row");
	what = p[ROW_HEAD + (size_t)col];
	if (what != TWZVFS_CELL_KEY_INTEGER && what != TWZVFS_CELL_KEY_BYTES)
		return plain_cell(n, what, p + head + from, to - from, out);
	if (from != to)
		return twzvfs__native_corrupt(n, "a column of the key has bytes in the row");
	return key_cell(n, row, col, what, buf, out);
}

/* --- writing --- */

/* Can the column be had from the key, exactly as it is? */
static int cell_kind(const struct ndecl *d, int col, const struct nval *v)
{
	const struct npart *part = d->col[col].part >= 0 ? &d->key.part[d->col[col].part] : NULL;

	switch (v->type) {
	case SQLITE_INTEGER:
		return part || col == d->ipk ? TWZVFS_CELL_KEY_INTEGER : TWZVFS_CELL_INTEGER;
	case SQLITE_FLOAT:
		return TWZVFS_CELL_REAL;
	case SQLITE_TEXT:
		return part && part->coll == COLL_BINARY ? TWZVFS_CELL_KEY_BYTES : TWZVFS_CELL_TEXT;
	case SQLITE_BLOB:
		return part ? TWZVFS_CELL_KEY_BYTES : TWZVFS_CELL_BLOB;
	default:
		return TWZVFS_CELL_NULL;
	}
}

static size_t put_int(unsigned char *p, int64_t i)
{
	uint64_t v = (uint64_t)i;
	size_t len = 0;

	while (len < 8 && i != (len ? get_int(p, len) : 0)) {
		p[len++] = (unsigned char)v;
		v >>= 8;
	}
	return len;
}

static int add_cell(struct nbuf *out, int what, const struct nval *v)
{
	unsigned char *to = twzvfs__nbuf_room(out, 8);
	uint64_t bits;

	if (!to)
		return -ENOMEM;
	switch (what) {
	case TWZVFS_CELL_INTEGER:
		out->len += put_int(to, v->i);
		return 0;
	case TWZVFS_CELL_REAL:
		memcpy(&bits, &v->r, 8);
		put_le32(to, (uint32_t)bits);
		put_le32(to + 4, (uint32_t)(bits >> 32));
		out->len += 8;
		return 0;
	case TWZVFS_CELL_TEXT:
	case TWZVFS_CELL_BLOB:
		return twzvfs__nbuf_add(out, v->p, v->n);
	default:
		return 0;
	}
}

int twzvfs__row_make(const struct ndecl *d, const struct nval *val, struct nbuf *out)
{
	size_t cnt = (size_t)d->col_cnt, head = ROW_HEAD + cnt * CELL_HEAD;
	unsigned char *p;
	int err = 0;

	out->len = 0;
	p = twzvfs__nbuf_room(out, head);
	if (!p)
		return -ENOMEM;
	memset(p, 0, ROW_HEAD);
	p[2] = (unsigned char)cnt;
	p[3] = (unsigned char)(cnt >> 8);
	out->len = head;
	for (int i = 0; i < d->col_cnt && !err; i++) {
		int what = cell_kind(d, i, &val[i]);

		out->p[ROW_HEAD + (size_t)i] = (unsigned char)what;
		err = add_cell(out, what, &val[i]);
		if (out->len - head > UINT32_MAX)
			return TWZDB_E_TOOBIG;
		put_le32(out->p + ROW_HEAD + cnt + 4 * (size_t)i, (uint32_t)(out->len - head));
	}
	return err;
}

int twzvfs__key_make(const struct nkey *k, const struct nval *val, struct nbuf *out)
{
	int err = 0;

	for (int i = 0; i < k->cnt && !err; i++)
		err = twzvfs__part_put(out, &val[k->part[i].col], &k->part[i]);
	return err;
}
