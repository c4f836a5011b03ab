/* SPDX-License-Identifier: MIT
 * native_txn.c -- native tables are part of the VFS file's engine transaction
 *
 * SQLite locks the file of a virtual table's schema for every statement, so the snapshot, the writer
 * slot and the commit point are the file's (lock.c). What is left to do here is savepoints.
 *
 * An engine savepoint covers all of the transaction, pages included; but SQLite rolls its pages back
 * itself, in its cache, and believes that what it wrote (a cache too small for the transaction) is
 * there. So the pages written since the first savepoint are put back as they were after the
 * engine has rolled back.
 */
#include <errno.h>
#include <stdlib.h>

#include "native.h"

int twzvfs__native_reader(struct native *n, struct twzdb_txn **tx, bool *own)
{
	struct twzvfs_file *f = n->f;
	int err;

	*own = !f->txn;
	*tx = f->txn;
	if (!*own)
		return 0;
	err = twzvfs__read(
		f); /* which opens a store again that has been opened for writing since */
	*tx = f->txn;
	f->txn = NULL;
	return err;
}

int twzvfs__native_writer(struct native *n, struct twzdb_txn **tx)
{
	int err = twzvfs__writer(n->f);

	*tx = n->f->txn;
	if (err)
		return err;
	n->f->rows_dirty = true;
	n->share->epoch++;
	return 0;
}

void twzvfs__native_reset(struct twzvfs_file *f)
{
	f->rows_dirty = false;
	if (!f->native)
		return;
	f->native->sp_cnt = 0;
	f->native->page_cnt = 0;
	f->native->epoch++;
}

void twzvfs__native_free(struct twzvfs_file *f)
{
	if (!f->native)
		return;
	twzvfs__native_unpin(f);
	sqlite3_free(f->native->pin);
	sqlite3_free(f->native->sp);
	sqlite3_free(f->native->page);
	sqlite3_free(f->native);
	f->native = NULL;
}

/*
 * Text and blobs of committed rows are handed to SQLite where they lie. They stay there as long as this snapshot; SQLite,
 * as long as the statement that reads them, which can outlive it: when another statement of the connection commits meanwhile,
 * the file goes on with the next snapshot.
 */
int twzvfs__native_pin(struct twzvfs_file *f)
{
	struct twzvfs_native *s = f->native;
	struct twzdb_txn **p;
	int err;

	if (!s || !s->lent)
		return 0;
	p = sqlite3_realloc64(s->pin, ((size_t)s->pin_cnt + 1) * sizeof(*p));
	if (!p)
		return -ENOMEM;
	s->pin = p;
	err = twzdb_begin(f->db, TWZDB_RDONLY, &p[s->pin_cnt]); /* a writer has the latest one */
	s->pin_cnt += !err;
	s->lent = err != 0;
	return err;
}

void twzvfs__native_unpin(struct twzvfs_file *f)
{
	struct twzvfs_native *s = f->native;

	if (!s)
		return;
	s->lent = false;
	while (s->pin_cnt)
		twzdb_abort(s->pin[--s->pin_cnt]);
}

/* --- pages written since the first savepoint --- */

int twzvfs__native_wrote(struct twzvfs_file *f, uint64_t off, uint64_t len)
{
	struct twzvfs_native *s = f->native;
	uint64_t pgno, last;

	if (!s || !s->sp_cnt || !f->page_size || !len)
		return 0;
	last = (off + len - 1) / f->page_size + 1;
	for (pgno = off / f->page_size + 1; pgno <= last; pgno++) {
		if (s->page_cnt == s->page_cap) {
			size_t cap = s->page_cap ? 2 * s->page_cap : 64;
			uint32_t *p = sqlite3_realloc64(s->page, cap * sizeof(*p));

			if (!p)
				return -ENOMEM;
			s->page = p;
			s->page_cap = cap;
		}
		s->page[s->page_cnt++] = (uint32_t)pgno;
	}
	return 0;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void unique_pages(struct twzvfs_native *s)
{
	size_t n = 0;

	qsort(s->page, s->page_cnt, sizeof(*s->page), by_number);
	for (size_t i = 0; i < s->page_cnt; i++)
		if (!n || s->page[n - 1] != s->page[i])
			s->page[n++] = s->page[i];
	s->page_cnt = n;
}

static int save_pages(struct twzvfs_file *f, unsigned char **out)
{
	struct twzvfs_native *s = f->native;
	unsigned char *p;
	int err = 0;

	*out = NULL;
	if (!s->page_cnt)
		return 0;
	unique_pages(s);
	p = sqlite3_malloc64((sqlite3_uint64)s->page_cnt * f->page_size);
	for (size_t i = 0; p && i < s->page_cnt && !err; i++)
		err = twzvfs__pages_read(f, p + i * f->page_size, f->page_size,
					 (uint64_t)(s->page[i] - 1) * f->page_size);
	*out = p;
	return p ? err : -ENOMEM;
}

/* Rows of pages cut off since the savepoint are there again: cut off once more. */
static int restore_pages(struct twzvfs_file *f, const unsigned char *p)
{
	struct twzvfs_native *s = f->native;
	bool prepared = f->prepared;
	int err = twzvfs__pages_reopen(f);

	for (size_t i = 0; p && i < s->page_cnt && !err; i++)
		if (s->page[i] <= f->page_cnt)
			err = twzvfs__pages_write(f, p + i * f->page_size, f->page_size,
						  (uint64_t)(s->page[i] - 1) * f->page_size);
	if (!err && f->have_table && f->dirty)
		err = twzvfs__pages_truncate(f, f->page_cnt * f->page_size);
	f->prepared = prepared;
	return err;
}

/* --- savepoints --- */

int twzvfs__sp_push(struct twzvfs_file *f, int label)
{
	struct twzvfs_native *s = f->native;
	uint32_t id;
	int err;

	if (s->sp_cnt && s->sp[s->sp_cnt - 1].label >= label)
		return 0; /* another table of the file was told before */
	if (s->sp_cnt == s->sp_cap) {
		int cap = s->sp_cap ? 2 * s->sp_cap : 8;
		void *p = sqlite3_realloc64(s->sp, (size_t)cap * sizeof(*s->sp));

		if (!p)
			return -ENOMEM;
		s->sp = p;
		s->sp_cap = cap;
	}
	err = twzvfs__writer(f);
	if (!err)
		err = twzdb_savepoint(f->txn, &id);
	if (err)
		return err;
	s->sp[s->sp_cnt].label = label;
	s->sp[s->sp_cnt++].id = id;
	return 0;
}

/* The first of the savepoints that are LABEL's or inside of it. */
static int first_of(const struct twzvfs_native *s, int label)
{
	int first = s->sp_cnt;

	while (first && s->sp[first - 1].label >= label)
		first--;
	return first;
}

/*
 * A table that first changes inside of savepoint 2 is told of 2 only; 0 and 1 are open all the
 * same, and nothing had changed since they were made. So 2, released, goes on as 1, unless 1 is
 * known.
 */
int twzvfs__sp_release(struct twzvfs_file *f, int label)
{
	struct twzvfs_native *s = f->native;
	int first = first_of(s, label), err;

	if (first < s->sp_cnt && label > 0 && (!first || s->sp[first - 1].label < label - 1))
		s->sp[first++].label = label - 1;
	if (first == s->sp_cnt)
		return 0;
	err = twzdb_release(f->txn, s->sp[first].id);
	s->sp_cnt = first;
	if (!first)
		s->page_cnt = 0;
	return err;
}

int twzvfs__sp_rollback(struct twzvfs_file *f, int label)
{
	struct twzvfs_native *s = f->native;
	int first = first_of(s, label), err;
	unsigned char *pages;

	if (first == s->sp_cnt)
		return 0;
	err = save_pages(f, &pages);
	if (!err)
		err = twzdb_rollback_to(f->txn, s->sp[first].id);
	if (!err)
		err = restore_pages(f, pages);
	sqlite3_free(pages);
	s->sp[first].label = label;
	s->sp_cnt = first + 1;
	s->epoch++;
	return err;
}

int twzvfs__sp_undo(struct twzvfs_file *f)
{
	int err;

	if (!f->rows_dirty)
		return 0;
	if (f->lock == SQLITE_LOCK_NONE && !f->dirty) {
		twzvfs__end(f);
		return 0;
	}
	err = twzvfs__sp_rollback(f, -1);
	if (!err && f->native->sp_cnt)
		err = twzdb_release(f->txn, f->native->sp[0].id);
	twzvfs__native_reset(f);
	return err;
}

/* --- the methods --- */

static int rc_of(struct native *n, int err)
{
	return twzvfs__native_rc(n, err, "savepoint");
}

/*
 * Is a ROLLBACK of the whole transaction ours to do? In exclusive locking mode and with nolock=1 the
 * VFS hears nothing of it. ROLLBACK TO the SAVEPOINT that began a transaction has number -1.
 */
static bool need_base(struct native *n)
{
	return !sqlite3_get_autocommit(n->db) || n->f->exclusive || n->f->lock == SQLITE_LOCK_NONE;
}

int twzvfs__native_join(struct native *n)
{
	return need_base(n) ? twzvfs__sp_push(n->f, -1) : 0;
}

int twzvfs__native_begin(sqlite3_vtab *vtab)
{
	struct native *n = (struct native *)vtab;

	return rc_of(n, twzvfs__native_join(n));
}

int twzvfs__native_savepoint(sqlite3_vtab *vtab, int label)
{
	struct native *n = (struct native *)vtab;

	return rc_of(n, twzvfs__sp_push(n->f, label));
}

int twzvfs__native_release(sqlite3_vtab *vtab, int label)
{
	struct native *n = (struct native *)vtab;

	return rc_of(n, twzvfs__sp_release(n->f, label));
}

int twzvfs__native_rollback_to(sqlite3_vtab *vtab, int label)
{
	struct native *n = (struct native *)vtab;

	return rc_of(n, twzvfs__sp_rollback(n->f, label));
}

/* --- the end --- */

/* SQLite is about to commit: see twzvfs__group_commit(). */
int twzvfs__native_sync(sqlite3_vtab *vtab)
{
	twzvfs__group_committing(((struct native *)vtab)->db);
	return SQLITE_OK;
}

/* The file has committed (lock.c). */
int twzvfs__native_commit(sqlite3_vtab *vtab)
{
	(void)vtab;
	twzvfs__group_committing(NULL);
	return SQLITE_OK;
}

/* Unless the file has heard of the rollback itself, by losing its lock: see need_base(). */
int twzvfs__native_rollback(sqlite3_vtab *vtab)
{
	struct native *n = (struct native *)vtab;

	twzvfs__group_committing(NULL);
	return rc_of(n, twzvfs__sp_undo(n->f));
}
