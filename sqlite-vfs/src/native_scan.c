/* SPDX-License-Identifier: MIT
 * native_scan.c -- cursors of native tables
 *
 * A cursor reads in the transaction of the VFS file, which lives as long as any statement that reads
 * does. What it found may be changed meanwhile by the same connection (a function of the
 * statement that writes): the epoch tells, and the row is looked for again.
 */
#include <errno.h>

#include "native_range.h"

struct ncursor {
	sqlite3_vtab_cursor base; /* must be first */
	struct twzdb_txn *tx;
	bool own; /* TX is the cursor's */
	bool eof, down;
	int path;
	struct twzdb_cursor *walk; /* NULL: a point */
	int walk_path;
	struct twzdb_txn *walk_tx;
	int at; /* range */
	struct nranges ranges;
	uint64_t epoch;
	struct nrow row;
	struct nbuf buf;
};

static struct native *native_of(sqlite3_vtab_cursor *cur)
{
	return (struct native *)cur->pVtab;
}

int twzvfs__cursor_open(sqlite3_vtab *vtab, sqlite3_vtab_cursor **out)
{
	struct native *n = (struct native *)vtab;
	struct ncursor *c = n->spare;

	n->spare = NULL;
	if (!c) {
		c = sqlite3_malloc64(sizeof(*c));
		if (!c)
			return SQLITE_NOMEM;
		memset(c, 0, sizeof(*c));
		twzvfs__ranges_init(&c->ranges);
		twzvfs__nbuf_init(&c->buf);
	}
	c->eof = true;
	*out = &c->base;
	return SQLITE_OK;
}

static void stop(struct ncursor *c)
{
	twzdb_cursor_close(c->walk);
	c->walk = NULL;
	if (c->own)
		twzdb_abort(c->tx);
	c->own = false;
	c->tx = NULL;
	c->eof = true;
}

void twzvfs__cursor_free(struct ncursor *c)
{
	if (!c)
		return;
	twzvfs__ranges_free(&c->ranges);
	twzvfs__nbuf_free(&c->buf);
	sqlite3_free(c);
}

/* One is kept, so that a prepared statement allocates nothing when it runs again. */
int twzvfs__cursor_close(sqlite3_vtab_cursor *cur)
{
	struct native *n = native_of(cur);
	struct ncursor *c = (struct ncursor *)cur;

	stop(c);
	if (n->spare)
		twzvfs__cursor_free(c);
	else
		n->spare = c;
	return SQLITE_OK;
}

/* --- rows --- */

static int rc_of(struct ncursor *c, int err)
{
	return twzvfs__native_rc(native_of(&c->base), err, "read");
}

/* Leave the index's own parts of KEY behind. */
static int row_key(struct native *n, int path, struct twzdb_slice key, struct nbuf *buf,
		   struct twzdb_slice *out)
{
	const struct nkey *k = &n->d->index[path - 1];
	struct twzdb_key_reader r;
	struct nval v;
	int err = 0;

	twzdb_key_read(&r, key);
	for (int i = 0; i < k->cnt && !err; i++) {
		buf->len = 0;
		err = twzvfs__part_get(&r, &k->part[i], buf, &v);
	}
	*out = (struct twzdb_slice){r.p, r.left};
	return err == TWZDB_E_CORRUPT
		       ? twzvfs__native_corrupt(n, "the key of an index entry is not one")
		       : err;
}

/* The row at an index entry. */
static int follow(struct ncursor *c, struct twzdb_slice entry)
{
	struct native *n = native_of(&c->base);
	int err = row_key(n, c->path, entry, &c->buf, &c->row.key);

	if (err)
		return err;
	err = twzdb_get(c->tx, n->rows, c->row.key, &c->row.val);
	return err == TWZDB_E_NOTFOUND ? twzvfs__native_corrupt(n, "an index entry has no row")
				       : err;
}

static int compare(struct twzdb_slice a, const struct nbuf *b)
{
	size_t len = a.len < b->len ? a.len : b->len;
	int d = len ? memcmp(a.ptr, b->p, len) : 0;

	return d ? d : (a.len > b->len) - (a.len < b->len);
}

/* Is KEY past the end of the range the cursor walks in? */
static bool outside(const struct ncursor *c, struct twzdb_slice key)
{
	const struct nrange *r = &c->ranges.r[c->at];

	if (c->down)
		return compare(key, &r->lo) < 0;
	return !r->open && compare(key, &r->hi) >= 0;
}

/* Has it been seen in the first range, which is part of this one? */
static bool seen(const struct ncursor *c, struct twzdb_slice key)
{
	const struct nrange *r = &c->ranges.r[0];

	return c->ranges.first && c->at && compare(key, &r->lo) >= 0 &&
	       (r->open || compare(key, &r->hi) < 0);
}

/* The first row of the range. */
static int enter_up(struct ncursor *c, struct twzdb_slice *key, struct twzdb_slice *val)
{
	*key = nbuf_slice(&c->ranges.r[c->at].lo);
	return twzdb_cursor_get(c->walk, TWZDB_SEEK_GE, key, val);
}

static int enter_down(struct ncursor *c, struct twzdb_slice *key, struct twzdb_slice *val)
{
	const struct nrange *r = &c->ranges.r[c->at];
	int err;

	if (r->open)
		return twzdb_cursor_get(c->walk, TWZDB_LAST, key, val);
	*key = nbuf_slice(&r->hi);
	err = twzdb_cursor_get(c->walk, TWZDB_SEEK_LE, key, val);
	if (!err && compare(*key, &r->hi) == 0)
		err = twzdb_cursor_get(c->walk, TWZDB_PREV, key, val);
	return err;
}

/* To the next row, into the next range if need be. ENTER: the range has not been entered. */
static int advance(struct ncursor *c, bool enter)
{
	struct twzdb_slice key = {NULL, 0}, val = {NULL, 0};
	int err;

	for (;;) {
		if (enter)
			err = c->down ? enter_down(c, &key, &val) : enter_up(c, &key, &val);
		else
			err = twzdb_cursor_get(c->walk, c->down ? TWZDB_PREV : TWZDB_NEXT, &key,
					       &val);
		if (err && err != TWZDB_E_NOTFOUND)
			return err;
		enter = false;
		if (!err && !outside(c, key)) {
			if (seen(c, key))
				continue;
			break;
		}
		c->at += c->down ? -1 : 1;
		if (c->at < 0 || c->at >= c->ranges.cnt) {
			c->eof = true;
			return 0;
		}
		enter = true;
	}
	if (c->path)
		return follow(c, key);
	c->row.key = key;
	c->row.val = val;
	return 0;
}

static int get_point(struct ncursor *c)
{
	struct native *n = native_of(&c->base);
	int err;

	c->row.key = nbuf_slice(&c->ranges.r[0].lo);
	err = twzdb_get(c->tx, n->rows, c->row.key, &c->row.val);
	c->eof = err == TWZDB_E_NOTFOUND;
	return c->eof ? 0 : err;
}

/* --- methods --- */

static int open_walk(struct ncursor *c)
{
	struct native *n = native_of(&c->base);

	if (c->walk && c->walk_path == c->path && c->walk_tx == c->tx)
		return 0;
	twzdb_cursor_close(c->walk);
	c->walk_path = c->path;
	c->walk_tx = c->tx;
	return twzdb_cursor_open(c->tx, c->path ? n->index[c->path - 1] : n->rows, &c->walk);
}

static int start(struct ncursor *c)
{
	int err;

	c->eof = !c->ranges.cnt;
	if (c->eof)
		return 0;
	if (c->ranges.point)
		return get_point(c);
	err = open_walk(c);
	c->at = c->down ? c->ranges.cnt - 1 : 0;
	return err ? err : advance(c, true);
}

int twzvfs__cursor_filter(sqlite3_vtab_cursor *cur, int num, const char *str, int argc,
			  sqlite3_value **argv)
{
	struct ncursor *c = (struct ncursor *)cur;
	struct native *n = native_of(cur);
	int err = 0;

	c->eof = true;
	if (!c->tx || (!c->own && c->tx != n->f->txn)) {
		stop(c);
		err = twzvfs__native_reader(n, &c->tx, &c->own);
	}
	if (!err)
		err = twzvfs__native_tables(n, c->tx);
	c->path = num & PLAN_PATH;
	c->down = num & PLAN_DOWN;
	c->epoch = n->share->epoch;
	if (!err)
		err = twzvfs__ranges_make(n, num, str ? str : "", argc, argv, &c->ranges);
	if (!err)
		err = start(c);
	return rc_of(c, err);
}

int twzvfs__cursor_next(sqlite3_vtab_cursor *cur)
{
	struct ncursor *c = (struct ncursor *)cur;

	c->epoch = native_of(cur)->share->epoch;
	if (!c->ranges.point)
		return rc_of(c, advance(c, false));
	c->eof = true;
	return SQLITE_OK;
}

int twzvfs__cursor_eof(sqlite3_vtab_cursor *cur)
{
	return ((struct ncursor *)cur)->eof;
}

/* Something was changed since the row was read. */
static int read_again(struct ncursor *c)
{
	struct twzdb_slice key, val;
	int err;

	c->epoch = native_of(&c->base)->share->epoch;
	if (c->ranges.point) {
		err = get_point(c);
		return c->eof ? TWZDB_E_NOTFOUND : err;
	}
	err = twzdb_cursor_get(c->walk, TWZDB_CURRENT, &key, &val);
	if (err)
		return err;
	if (c->path)
		return follow(c, key);
	c->row.key = key;
	c->row.val = val;
	return 0;
}

static int fresh(struct ncursor *c)
{
	struct native *n = native_of(&c->base);
	int err = c->epoch == n->share->epoch ? 0 : read_again(c);

	if (err == TWZDB_E_NOTFOUND)
		return twzvfs__native_fail(n, SQLITE_ABORT,
					   "native table %s: the row was deleted while it was read",
					   n->name);
	return rc_of(c, err);
}

/*
 * May SQLite use the bytes where they are? A committed row's, read by a transaction that is not the writer: see twzvfs__native_pin().
 */
static bool lasting(struct ncursor *c, const struct nval *v)
{
	const char *p = v->p, *row = c->row.val.ptr;

	if ((v->type != SQLITE_TEXT && v->type != SQLITE_BLOB) || c->own ||
	    twzdb_txn_is_writer(c->tx) || p < row || p >= row + c->row.val.len)
		return false;
	native_of(&c->base)->share->lent = true;
	return true;
}

int twzvfs__cursor_column(sqlite3_vtab_cursor *cur, sqlite3_context *ctx, int col)
{
	struct ncursor *c = (struct ncursor *)cur;
	struct native *n = native_of(cur);
	struct nval v = {.type = SQLITE_BLOB};
	int rc;

	if (sqlite3_vtab_nochange(ctx))
		return SQLITE_OK; /* an UPDATE that leaves it: xUpdate takes it from the old row */
	rc = fresh(c);
	if (rc != SQLITE_OK)
		return rc;
	if (col >= n->d->col_cnt) {
		v.p = c->row.key.ptr;
		v.n = c->row.key.len;
		return twzvfs__val_result(ctx, &v, false);
	}
	c->buf.len = 0;
	rc = rc_of(c, twzvfs__row_col(n, &c->row, col, &c->buf, &v));
	return rc ? rc : twzvfs__val_result(ctx, &v, lasting(c, &v));
}

int twzvfs__cursor_rowid(sqlite3_vtab_cursor *cur, sqlite3_int64 *out)
{
	struct ncursor *c = (struct ncursor *)cur;
	int rc = fresh(c);

	if (rc == SQLITE_OK)
		rc = rc_of(c, twzvfs__row_rowid(native_of(cur), c->row.key, out));
	return rc;
}
