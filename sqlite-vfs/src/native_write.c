/* SPDX-License-Identifier: MIT
 * native_write.c -- xUpdate: INSERT, UPDATE and DELETE of one row
 *
 * All constraints are looked at before anything is changed; what REPLACE must delete is noted. Then
 * the row and its index entries change: in one engine operation if the table has no index, else
 * inside of an engine savepoint, unless a failure ends the transaction anyhow (autocommit).
 */
#include <errno.h>

#include "native.h"

enum change { CH_INSERT, CH_UPDATE, CH_DELETE };

struct writer {
	struct native *n;
	struct twzdb_txn *tx;
	enum change change;
	int mode;	 /* SQLITE_REPLACE ... */
	struct nrow old; /* UPDATE, DELETE: as stored, if it was needed */
	bool have_old;
	bool key_moves;
	bool max_known; /* rowid is the greatest there is */
	sqlite3_int64 rowid;
};

static int rc_of(struct writer *w, int err)
{
	return twzvfs__native_rc(w->n, err, "write");
}

/* A constraint fails: with IGNORE, SQLite goes on with the next row. */
static int violated(struct writer *w, int rc, const char *what, const char *name)
{
	return twzvfs__native_fail(w->n, rc, "%s constraint failed: %s", what, name);
}

/* --- the row --- */

static int read_old(struct writer *w)
{
	struct native *n = w->n;
	int err;

	if (w->have_old)
		return 0;
	w->old.key = nbuf_slice(&n->old_key);
	err = twzdb_get(w->tx, n->rows, w->old.key, &w->old.val);
	w->have_old = !err;
	return err;
}

/* Text and blobs of the key need no look at the row: the key has been brought along. */
static int keep_from_key(struct writer *w, int i, bool *done)
{
	struct native *n = w->n;
	const struct nkey *k = &n->d->key;
	struct twzdb_key_reader r;
	int err = 0;

	*done = false;
	if (n->d->col[i].part < 0 || k->part[n->d->col[i].part].coll != COLL_BINARY)
		return 0;
	twzdb_key_read(&r, nbuf_slice(&n->old_key));
	for (int p = 0; p <= n->d->col[i].part && !err; p++) {
		n->cell[i].len = 0;
		err = twzvfs__part_get(&r, &k->part[p], &n->cell[i], &n->val[i]);
	}
	*done = !err && (n->val[i].type == SQLITE_TEXT || n->val[i].type == SQLITE_BLOB);
	return err == TWZDB_E_CORRUPT ? twzvfs__native_corrupt(n, "a key is not one of this table")
				      : err;
}

/* Column I as it was. Its bytes are copied: the old row may be changed before they are used. */
static int keep_col(struct writer *w, int i)
{
	struct native *n = w->n;
	bool done;
	int err = keep_from_key(w, i, &done);

	if (!err && !done)
		err = read_old(w);
	if (err || done)
		return err;
	n->cell[i].len = 0;
	return twzvfs__row_col(n, &w->old, i, &n->cell[i], &n->val[i]);
}

static int take_values(struct writer *w, sqlite3_value **arg)
{
	struct native *n = w->n;
	int err = 0;

	for (int i = 0; i < n->d->col_cnt && !err; i++) {
		if (w->change == CH_UPDATE && sqlite3_value_nochange(arg[i]))
			err = keep_col(w, i);
		else
			err = twzvfs__val_take(arg[i], n->d->col[i].aff, &n->val[i]);
	}
	return err;
}

/* --- rowids --- */

static int find_max(struct writer *w, bool *any, sqlite3_int64 *out)
{
	struct native *n = w->n;
	struct twzdb_cursor *c = NULL;
	struct twzdb_slice key, val;
	int err;

	*any = true;
	*out = n->max_rowid;
	if (n->max_epoch == n->share->epoch - 1) /* this change is the next one */
		return 0;
	err = twzdb_cursor_open(w->tx, n->rows, &c);
	if (!err)
		err = twzdb_cursor_get(c, TWZDB_LAST, &key, &val);
	*any = !err;
	if (!err)
		err = twzvfs__row_rowid(n, key, out);
	twzdb_cursor_close(c);
	return err == TWZDB_E_NOTFOUND ? 0 : err;
}

static int put_rowid(struct writer *w)
{
	w->n->key.len = 0;
	return twzvfs__rowid_put(&w->n->key, w->rowid);
}

/* As SQLite: a hundred tries for one that is free, once the greatest is taken. */
static int random_rowid(struct writer *w)
{
	struct twzdb_slice val;
	int err = 0;

	for (int i = 0; i < 100 && !err; i++) {
		sqlite3_randomness(sizeof(w->rowid), &w->rowid);
		w->rowid &= INT64_MAX >> 1;
		w->rowid++;
		err = put_rowid(w);
		if (!err)
			err = twzdb_get(w->tx, w->n->rows, nbuf_slice(&w->n->key), &val);
	}
	return err == TWZDB_E_NOTFOUND ? 0 : err ? err : TWZDB_E_NOSPC;
}

static int new_rowid(struct writer *w)
{
	sqlite3_int64 max = 0;
	bool any;
	int err = find_max(w, &any, &max);

	if (err)
		return err;
	if (any && max == INT64_MAX)
		return random_rowid(w);
	w->rowid = any ? max + 1 : 1;
	w->max_known = true;
	return put_rowid(w);
}

/*
 * The rowid may come as rowid, or as the column that is the INTEGER PRIMARY KEY; in an UPDATE, the one that was
 * assigned. 1 = is none of SQLite's integers: "datatype mismatch".
 */
static int choose_rowid(struct writer *w, sqlite3_int64 old, sqlite3_value *rowid)
{
	struct native *n = w->n;
	struct nval v = {.type = SQLITE_NULL};
	int err;

	w->rowid = old;
	err = twzvfs__val_take(rowid, AFF_INTEGER, &v);
	if (err)
		return err;
	if (n->d->ipk >= 0 && (v.type == SQLITE_NULL ||
			       (w->change == CH_UPDATE && v.type == SQLITE_INTEGER && v.i == old)))
		v = n->val[n->d->ipk];
	if (v.type == SQLITE_NULL && w->change == CH_INSERT) {
		err = new_rowid(w);
	} else if (v.type != SQLITE_INTEGER) {
		return 1;
	} else {
		w->rowid = v.i;
		err = put_rowid(w);
	}
	if (n->d->ipk >= 0)
		n->val[n->d->ipk] = (struct nval){.type = SQLITE_INTEGER, .i = w->rowid};
	return err;
}

static int make_key(struct writer *w, sqlite3_value **argv)
{
	struct native *n = w->n;
	sqlite3_int64 old = 0;
	int err = 0;

	if (n->d->kind == TWZVFS_KEY_PARTS) {
		n->key.len = 0;
		err = twzvfs__key_make(&n->d->key, n->val, &n->key);
	} else {
		if (w->change == CH_UPDATE)
			old = sqlite3_value_int64(argv[0]);
		err = choose_rowid(w, old, argv[1]);
	}
	w->key_moves = w->change == CH_INSERT || n->key.len != n->old_key.len ||
		       memcmp(n->key.p, n->old_key.p, n->key.len);
	return err;
}

static int make_old_key(struct writer *w, sqlite3_value *key)
{
	struct native *n = w->n;

	n->old_key.len = 0;
	if (n->d->kind != TWZVFS_KEY_PARTS)
		return twzvfs__rowid_put(&n->old_key, sqlite3_value_int64(key));
	return twzvfs__nbuf_add(&n->old_key, sqlite3_value_blob(key),
				(size_t)sqlite3_value_bytes(key));
}

/* --- NOT NULL, CHECK --- */

static int check_null(struct writer *w)
{
	struct native *n = w->n;
	const struct ndecl *d = n->d;

	for (int i = 0; i < d->col_cnt; i++) {
		char *name;
		int rc;

		if (!d->col[i].notnull || n->val[i].type != SQLITE_NULL || i == d->ipk)
			continue;
		name = sqlite3_mprintf("%s.%s", n->name, d->col[i].name);
		rc = violated(w, SQLITE_CONSTRAINT_NOTNULL, "NOT NULL", name ? name : "");
		sqlite3_free(name);
		return rc;
	}
	return SQLITE_OK;
}

static int bind(sqlite3_stmt *st, int i, const struct nval *v)
{
	switch (v->type) {
	case SQLITE_INTEGER:
		return sqlite3_bind_int64(st, i, v->i);
	case SQLITE_FLOAT:
		return sqlite3_bind_double(st, i, v->r);
	case SQLITE_TEXT:
		return sqlite3_bind_text64(st, i, v->n ? v->p : "", v->n, SQLITE_STATIC,
					   SQLITE_UTF8);
	case SQLITE_BLOB:
		return v->n ? sqlite3_bind_blob64(st, i, v->p, v->n, SQLITE_STATIC)
			    : sqlite3_bind_zeroblob(st, i, 0);
	default:
		return sqlite3_bind_null(st, i);
	}
}

/* The row is tried in the table in memory, which has the same CHECKs, and is empty. */
static int check_checks(struct writer *w)
{
	struct native *n = w->n;
	struct ndecl *d = n->d;
	int rc = SQLITE_OK;

	if (!d->check_db)
		return rc;
	for (int i = 0; i < d->col_cnt && rc == SQLITE_OK; i++)
		rc = bind(d->check_put, i + 1, &n->val[i]);
	if (rc == SQLITE_OK)
		sqlite3_step(d->check_put);
	rc = sqlite3_reset(d->check_put);
	if (rc != SQLITE_OK)
		twzvfs__native_fail(n, rc, "%s", sqlite3_errmsg(d->check_db));
	sqlite3_clear_bindings(d->check_put);
	if (rc == SQLITE_OK)
		sqlite3_step(d->check_clear);
	sqlite3_reset(d->check_clear);
	return rc == SQLITE_CONSTRAINT ? SQLITE_CONSTRAINT_CHECK : rc;
}

/* --- index entries --- */

static bool has_null(const struct nkey *k, const struct nval *val)
{
	for (int i = 0; i < k->cnt; i++)
		if (val[k->part[i].col].type == SQLITE_NULL)
			return true;
	return false;
}

static int entry_key(const struct nkey *k, const struct nval *val, struct twzdb_slice row_key,
		     struct nbuf *out)
{
	int err;

	out->len = 0;
	err = twzvfs__key_make(k, val, out);
	return err ? err : twzvfs__nbuf_add(out, row_key.ptr, row_key.len);
}

/* The entry of a stored row. */
static int stored_entry(struct native *n, const struct nkey *k, const struct nrow *row,
			struct nbuf *out)
{
	struct nbuf cell;
	struct nval v;
	int err = 0;

	out->len = 0;
	twzvfs__nbuf_init(&cell);
	for (int i = 0; i < k->cnt && !err; i++) {
		cell.len = 0;
		err = twzvfs__row_col(n, row, k->part[i].col, &cell, &v);
		if (!err)
			err = twzvfs__part_put(out, &v, &k->part[i]);
	}
	twzvfs__nbuf_free(&cell);
	return err ? err : twzvfs__nbuf_add(out, row->key.ptr, row->key.len);
}

static int del_entry(struct writer *w, int i, const struct nrow *row)
{
	struct native *n = w->n;
	int err = stored_entry(n, &n->d->index[i], row, &n->entry);

	if (!err)
		err = twzdb_del(w->tx, n->index[i], nbuf_slice(&n->entry));
	return err == TWZDB_E_NOTFOUND ? twzvfs__native_corrupt(n, "a row has no index entry")
				       : err;
}

static int del_row(struct writer *w, const struct nrow *row)
{
	struct native *n = w->n;
	int err = 0;

	for (int i = 0; i < n->d->index_cnt && !err; i++)
		err = del_entry(w, i, row);
	return err ? err : twzdb_del(w->tx, n->rows, row->key);
}

/* --- UNIQUE --- */

/* The row that has the new row's columns of unique index I already: *FOUND, its key in TMP. */
static int find_twin(struct writer *w, int i, bool *found)
{
	struct native *n = w->n;
	const struct nkey *k = &n->d->index[i];
	struct twzdb_cursor *c = NULL;
	struct twzdb_slice key, val;
	int err;

	*found = false;
	if (!k->unique || has_null(k, n->val))
		return 0;
	n->entry.len = 0;
	err = twzvfs__key_make(k, n->val, &n->entry);
	if (!err)
		err = twzdb_cursor_open(w->tx, n->index[i], &c);
	key = nbuf_slice(&n->entry);
	if (!err)
		err = twzdb_cursor_get(c, TWZDB_SEEK_GE, &key, &val);
	if (!err && key.len >= n->entry.len && !memcmp(key.ptr, n->entry.p, n->entry.len)) {
		n->tmp.len = 0;
		err = twzvfs__nbuf_add(&n->tmp, (const char *)key.ptr + n->entry.len,
				       key.len - n->entry.len);
		*found = w->change == CH_INSERT || n->tmp.len != n->old_key.len ||
			 memcmp(n->tmp.p, n->old_key.p, n->tmp.len) != 0;
	}
	twzdb_cursor_close(c);
	return err == TWZDB_E_NOTFOUND ? 0 : err;
}

static int del_twin(struct writer *w)
{
	struct nrow twin = {.key = nbuf_slice(&w->n->tmp)};
	int err = twzdb_get(w->tx, w->n->rows, twin.key, &twin.val);

	if (err == TWZDB_E_NOTFOUND)
		return twzvfs__native_corrupt(w->n, "an index entry has no row");
	return err ? err : del_row(w, &twin);
}

static int key_violated(struct writer *w)
{
	const struct ndecl *d = w->n->d;
	char *name;
	int rc;

	if (d->kind == TWZVFS_KEY_PARTS)
		return violated(w, SQLITE_CONSTRAINT_PRIMARYKEY, "UNIQUE", d->key.what);
	name = sqlite3_mprintf("%s.%s", w->n->name, d->ipk >= 0 ? d->col[d->ipk].name : "rowid");
	rc = violated(w, d->ipk >= 0 ? SQLITE_CONSTRAINT_PRIMARYKEY : SQLITE_CONSTRAINT_ROWID,
		      "UNIQUE", name ? name : "");
	sqlite3_free(name);
	return rc;
}

/* Looks only: SQLITE_OK, or a constraint that fails. */
static int check_unique(struct writer *w)
{
	struct native *n = w->n;
	struct twzdb_slice val;
	bool found;
	int err = 0;

	if (w->mode == SQLITE_REPLACE)
		return SQLITE_OK;
	if (w->key_moves && n->d->index_cnt) {
		err = twzdb_get(w->tx, n->rows, nbuf_slice(&n->key), &val);
		if (!err)
			return key_violated(w);
		if (err != TWZDB_E_NOTFOUND)
			return rc_of(w, err);
	}
	for (int i = 0; i < n->d->index_cnt; i++) {
		err = find_twin(w, i, &found);
		if (err)
			return rc_of(w, err);
		if (found)
			return violated(w, SQLITE_CONSTRAINT_UNIQUE, "UNIQUE", n->d->index[i].what);
	}
	return SQLITE_OK;
}

/* --- changing --- */

/* REPLACE: whoever is in the way goes. */
static int make_way(struct writer *w)
{
	struct native *n = w->n;
	struct nrow twin = {.key = nbuf_slice(&n->key)};
	bool found;
	int err = 0;

	if (w->key_moves) {
		err = twzdb_get(w->tx, n->rows, twin.key, &twin.val);
		if (!err)
			err = del_row(w, &twin);
		if (err == TWZDB_E_NOTFOUND)
			err = 0;
	}
	for (int i = 0; i < n->d->index_cnt && !err; i++) {
		err = find_twin(w, i, &found);
		if (!err && found)
			err = del_twin(w);
	}
	return err;
}

static int put_entries(struct writer *w)
{
	struct native *n = w->n;
	struct twzdb_slice none = {"", 0};
	int err = 0;

	for (int i = 0; i < n->d->index_cnt && !err; i++) {
		err = entry_key(&n->d->index[i], n->val, nbuf_slice(&n->key), &n->entry);
		if (!err)
			err = twzdb_put(w->tx, n->index[i], nbuf_slice(&n->entry), none,
					TWZDB_INSERT);
		if (err == TWZDB_E_EXIST)
			err = twzvfs__native_corrupt(
				n, "an index has an entry for a row that is not there");
	}
	return err;
}

/* An UPDATE: entries that stay the same are left alone. */
static int move_entries(struct writer *w)
{
	struct native *n = w->n;
	struct twzdb_slice none = {"", 0};
	int err = 0;

	for (int i = 0; i < n->d->index_cnt && !err; i++) {
		err = stored_entry(n, &n->d->index[i], &w->old, &n->entry);
		if (!err)
			err = entry_key(&n->d->index[i], n->val, nbuf_slice(&n->key), &n->tmp);
		if (err ||
		    (n->entry.len == n->tmp.len && !memcmp(n->entry.p, n->tmp.p, n->tmp.len)))
			continue;
		err = twzdb_del(w->tx, n->index[i], nbuf_slice(&n->entry));
		if (err == TWZDB_E_NOTFOUND)
			err = twzvfs__native_corrupt(n, "a row has no index entry");
		if (!err)
			err = twzdb_put(w->tx, n->index[i], nbuf_slice(&n->tmp), none, 0);
	}
	return err;
}

/* TWZDB_E_EXIST: only from a table without indexes, where the key was not looked for before. */
static int apply(struct writer *w)
{
	struct native *n = w->n;
	struct twzdb_slice key = nbuf_slice(&n->key), row = nbuf_slice(&n->row);
	uint32_t flags = !w->key_moves		     ? TWZDB_UPDATE
			 : w->mode == SQLITE_REPLACE ? 0
						     : TWZDB_INSERT;
	int err = 0;

	if (w->mode == SQLITE_REPLACE && n->d->index_cnt)
		err = make_way(w);
	if (!err && w->change == CH_UPDATE && n->d->index_cnt)
		err = move_entries(w);
	if (!err)
		err = twzdb_put(w->tx, n->rows, key, row, flags);
	if (!err && w->change == CH_UPDATE && w->key_moves)
		err = twzdb_del(w->tx, n->rows, nbuf_slice(&n->old_key));
	if (!err && w->change == CH_INSERT)
		err = put_entries(w);
	return err;
}

/* All or nothing of FN, unless the whole transaction goes when it fails. */
static int whole(struct writer *w, int (*fn)(struct writer *), bool one)
{
	uint32_t id;
	int err, undo;

	if (one || sqlite3_get_autocommit(w->n->db))
		return fn(w);
	err = twzdb_savepoint(w->tx, &id);
	if (err)
		return err;
	err = fn(w);
	undo = err ? twzdb_rollback_to(w->tx, id) : 0;
	if (!undo)
		undo = twzdb_release(w->tx, id);
	return err ? err : undo;
}

static int change(struct writer *w)
{
	struct native *n = w->n;
	bool one = !n->d->index_cnt && (w->change == CH_INSERT || !w->key_moves);
	int rc = check_null(w), err;

	if (rc == SQLITE_OK)
		rc = check_checks(w);
	if (rc == SQLITE_OK)
		rc = check_unique(w);
	if (rc != SQLITE_OK)
		return rc;
	err = twzvfs__row_make(n->d, n->val, &n->row);
	if (!err && w->change == CH_UPDATE && n->d->index_cnt)
		err = read_old(w);
	if (!err)
		err = whole(w, apply, one);
	if (err == TWZDB_E_EXIST)
		return key_violated(w);
	if (err == TWZDB_E_NOTFOUND)
		return SQLITE_OK; /* as in do_delete() */
	return rc_of(w, err);
}

/* --- the method --- */

static int del_old(struct writer *w)
{
	if (!w->n->d->index_cnt)
		return twzdb_del(w->tx, w->n->rows, nbuf_slice(&w->n->old_key));
	return del_row(w, &w->old);
}

static int do_delete(struct writer *w, sqlite3_value *key)
{
	int err = make_old_key(w, key);

	if (!err && w->n->d->index_cnt)
		err = read_old(w);
	if (!err)
		err = whole(w, del_old, !w->n->d->index_cnt);
	/* A trigger or function of the same statement was faster. */
	return err == TWZDB_E_NOTFOUND ? SQLITE_OK : rc_of(w, err);
}

/* The hidden column says where a row is; it is not what decides it. */
static int check_hidden(struct writer *w, sqlite3_value *v)
{
	struct native *n = w->n;

	if (sqlite3_value_nochange(v) || sqlite3_value_type(v) == SQLITE_NULL)
		return SQLITE_OK;
	if (w->change == CH_UPDATE && sqlite3_value_type(v) == SQLITE_BLOB &&
	    (size_t)sqlite3_value_bytes(v) == n->old_key.len &&
	    !memcmp(sqlite3_value_blob(v), n->old_key.p, n->old_key.len))
		return SQLITE_OK;
	return twzvfs__native_fail(
		n, SQLITE_ERROR,
		"native table %s: twz_key follows from the PRIMARY KEY and cannot be set", n->name);
}

static int do_put(struct writer *w, sqlite3_value **argv, sqlite3_int64 *rowid)
{
	struct native *n = w->n;
	int err = 0, rc;

	if (w->change == CH_UPDATE)
		err = make_old_key(w, argv[0]);
	else
		n->old_key.len = 0;
	rc = err ? SQLITE_NOMEM : check_hidden(w, argv[2 + n->d->col_cnt]);
	if (rc != SQLITE_OK)
		return rc;
	err = take_values(w, argv + 2);
	if (err == TWZDB_E_NOTFOUND)
		return SQLITE_OK; /* the row is gone: as in do_delete() */
	if (!err)
		err = make_key(w, argv);
	if (err == 1)
		return twzvfs__native_fail(n, SQLITE_MISMATCH, "datatype mismatch");
	if (err)
		return rc_of(w, err);
	rc = change(w);
	if (rc == SQLITE_OK && w->change == CH_INSERT) {
		*rowid = w->rowid;
		n->max_rowid = w->rowid;
		n->max_epoch = w->max_known ? n->share->epoch : 0;
	}
	return rc;
}

int twzvfs__update(sqlite3_vtab *vtab, int argc, sqlite3_value **argv, sqlite3_int64 *rowid)
{
	struct native *n = (struct native *)vtab;
	struct writer w = {.n = n, .mode = sqlite3_vtab_on_conflict(n->db)};
	int err = twzvfs__native_writer(n, &w.tx);

	if (!err)
		err = twzvfs__native_tables(n, w.tx);
	if (err)
		return rc_of(&w, err);
	if (argc == 1) {
		w.change = CH_DELETE;
		return do_delete(&w, argv[0]);
	}
	w.change = sqlite3_value_type(argv[0]) == SQLITE_NULL ? CH_INSERT : CH_UPDATE;
	return do_put(&w, argv, rowid);
}
