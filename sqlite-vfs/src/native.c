/* SPDX-License-Identifier: MIT
 * native.c -- the virtual table module "twz": native tables are made, found, renamed and dropped
 */
#include <errno.h>
#include <stdarg.h>

#include "native.h"
#include "twz/err.h"

/* --- messages --- */

int twzvfs__native_fail(struct native *n, int rc, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	sqlite3_free(n->base.zErrMsg);
	n->base.zErrMsg = sqlite3_vmprintf(fmt, ap);
	va_end(ap);
	return rc;
}

int twzvfs__native_rc(struct native *n, int err, const char *what)
{
	int rc;

	if (!err)
		return SQLITE_OK;
	if (err == TWZDB_E_CORRUPT || err == TWZ_E_CORRUPT) {
		if (!n->base.zErrMsg)
			twzvfs__native_fail(n, 0, "native table %s: %s", n->name, twzdb_errmsg());
		return SQLITE_CORRUPT_VTAB;
	}
	if (err == TWZDB_E_STATE)
		n->have = false; /* the engine tables were replaced: looked for once more */
	rc = twzvfs__rc(err, what, n->name);
	if (rc == SQLITE_CANTOPEN)
		rc = SQLITE_IOERR;
	if (err == -ENOMEM)
		rc = SQLITE_NOMEM;
	if (rc != SQLITE_BUSY && rc != SQLITE_NOMEM && !n->base.zErrMsg)
		twzvfs__native_fail(n, 0, "native table %s: %s", n->name, twzdb_errmsg());
	return rc;
}

/* --- engine tables --- */

static char *rows_name(const char *table)
{
	return sqlite3_mprintf(TWZVFS_NATIVE_ROWS "%s", table);
}

static char *index_name(const char *table, int i)
{
	return sqlite3_mprintf(TWZVFS_NATIVE_INDEX "%d.%s", i + 1, table);
}

static int open_one(struct twzdb_txn *tx, char *name, uint32_t flags, struct twzdb_table *out)
{
	int err = name ? twzdb_table_open(tx, name, flags, out) : -ENOMEM;

	sqlite3_free(name);
	return err;
}

static int missing(struct native *n)
{
	twzvfs__native_fail(
		n, 0,
		"native table %s.%s has no rows in this store: VACUUM INTO, the backup API and .dump "
		"take only its name along: DROP TABLE it, and create it anew",
		n->schema, n->name);
	return TWZDB_E_CORRUPT;
}

static int check_decl(struct native *n, struct twzdb_slice val)
{
	struct twzvfs_decl_pm h;
	size_t len = strlen(n->d->text);

	if (val.len < sizeof(h))
		return twzvfs__native_corrupt(n, "its declaration is too short");
	memcpy(&h, val.ptr, sizeof(h));
	if (h.magic != TWZVFS_DECL_MAGIC || h.version != TWZVFS_DECL_VERSION)
		return twzvfs__native_corrupt(n, "its declaration has an unknown magic or version");
	if (h.kind != n->d->kind || h.col_cnt != (uint32_t)n->d->col_cnt ||
	    h.index_cnt != (uint32_t)n->d->index_cnt || val.len - sizeof(h) != len ||
	    memcmp((const char *)val.ptr + sizeof(h), n->d->text, len))
		return twzvfs__native_corrupt(n, "its rows were made by another declaration");
	return 0;
}

static int read_decl(struct native *n, struct twzdb_txn *tx)
{
	struct twzdb_slice key = {n->name, strlen(n->name)}, val;
	struct twzdb_table cat;
	int err = twzdb_table_open(tx, TWZVFS_NATIVE_CATALOG, 0, &cat);

	if (!err)
		err = twzdb_get(tx, cat, key, &val);
	if (err == TWZDB_E_NOTFOUND)
		return missing(n);
	return err ? err : check_decl(n, val);
}

int twzvfs__native_tables(struct native *n, struct twzdb_txn *tx)
{
	int err;

	if (n->have && n->opened == n->f->reopened)
		return 0;
	n->opened = n->f->reopened;
	err = read_decl(n, tx);
	if (!err)
		err = open_one(tx, rows_name(n->name), 0, &n->rows);
	for (int i = 0; i < n->d->index_cnt && !err; i++)
		err = open_one(tx, index_name(n->name, i), 0, &n->index[i]);
	if (err == TWZDB_E_NOTFOUND)
		err = missing(n);
	if (err == TWZDB_E_KIND)
		err = twzvfs__native_corrupt(n, "its engine table is of another kind");
	n->have = !err;
	return err;
}

static int write_decl(struct native *n, struct twzdb_txn *tx)
{
	struct twzvfs_decl_pm h = {.magic = TWZVFS_DECL_MAGIC,
				   .version = TWZVFS_DECL_VERSION,
				   .kind = (uint16_t)n->d->kind,
				   .col_cnt = (uint32_t)n->d->col_cnt,
				   .index_cnt = (uint32_t)n->d->index_cnt};
	struct twzdb_slice key = {n->name, strlen(n->name)};
	struct twzdb_table cat;
	struct nbuf b;
	int err = twzdb_table_open(tx, TWZVFS_NATIVE_CATALOG, TWZDB_TABLE_CREATE, &cat);

	twzvfs__nbuf_init(&b);
	if (!err)
		err = twzvfs__nbuf_add(&b, &h, sizeof(h));
	if (!err)
		err = twzvfs__nbuf_add(&b, n->d->text, strlen(n->d->text));
	if (!err)
		err = twzdb_put(tx, cat, key, nbuf_slice(&b), 0);
	twzvfs__nbuf_free(&b);
	return err;
}

/* Nobody else's table is taken over, were it only by a name. */
static int make_one(struct native *n, struct twzdb_txn *tx, char *name, struct twzdb_table *out)
{
	int err = name ? twzdb_table_open(tx, name, TWZDB_TABLE_ANY, out) : -ENOMEM;

	if (!err) {
		twzvfs__native_fail(n, 0, "the store has a table named %s already", name);
		err = TWZDB_E_EXIST;
	} else if (err == TWZDB_E_NOTFOUND) {
		err = twzdb_table_open(tx, name, TWZDB_TABLE_CREATE, out);
	}
	sqlite3_free(name);
	return err;
}

/* All or nothing of FN, which makes, renames or drops tables. */
static int whole(struct native *n, int (*fn)(struct native *, struct twzdb_txn *, const char *),
		 const char *arg)
{
	struct twzdb_txn *tx;
	uint32_t id;
	int err = twzvfs__native_writer(n, &tx), undo;

	if (!err)
		err = twzdb_savepoint(tx, &id);
	if (err)
		return err;
	err = fn(n, tx, arg);
	undo = err ? twzdb_rollback_to(tx, id) : 0;
	if (!undo)
		undo = twzdb_release(tx, id);
	return err ? err : undo;
}

static int make_tables(struct native *n, struct twzdb_txn *tx, const char *unused)
{
	int err = make_one(n, tx, rows_name(n->name), &n->rows);

	(void)unused;
	for (int i = 0; i < n->d->index_cnt && !err; i++)
		err = make_one(n, tx, index_name(n->name, i), &n->index[i]);
	if (!err)
		err = write_decl(n, tx);
	n->have = !err;
	n->opened = n->f->reopened;
	return err;
}

/* --- making and finding --- */

static void release(struct native *n)
{
	if (!n)
		return;
	twzvfs__cursor_free(n->spare);
	twzvfs__nbuf_free(&n->key);
	twzvfs__nbuf_free(&n->old_key);
	twzvfs__nbuf_free(&n->row);
	twzvfs__nbuf_free(&n->tmp);
	twzvfs__nbuf_free(&n->entry);
	for (int i = 0; n->cell && i < n->d->col_cnt; i++)
		twzvfs__nbuf_free(&n->cell[i]);
	sqlite3_free(n->cell);
	sqlite3_free(n->val);
	sqlite3_free(n->index);
	twzvfs__decl_free(n->d);
	sqlite3_free(n->base.zErrMsg);
	sqlite3_free(n->name);
	sqlite3_free(n->schema);
	sqlite3_free(n);
}

static int find_file(struct native *n, char **err)
{
	int rc = sqlite3_file_control(n->db, n->schema, TWZVFS_FCNTL_FILE, &n->f);

	if (rc == SQLITE_OK && n->f) {
		if (!n->f->native) {
			n->f->native = sqlite3_malloc64(sizeof(*n->f->native));
			if (!n->f->native)
				return SQLITE_NOMEM;
			memset(n->f->native, 0, sizeof(*n->f->native));
			n->f->native->epoch = 1;
		}
		n->share = n->f->native;
		return SQLITE_OK;
	}
	*err = sqlite3_mprintf("native table %s: database %s is not on the VFS twz: open it as "
			       "file:NAME?vfs=twz",
			       n->name, n->schema);
	return SQLITE_ERROR;
}

static int alloc(struct native *n)
{
	size_t cols = (size_t)n->d->col_cnt;

	n->val = sqlite3_malloc64(cols * sizeof(*n->val));
	n->cell = sqlite3_malloc64(cols * sizeof(*n->cell));
	n->index = sqlite3_malloc64((size_t)n->d->index_cnt * sizeof(*n->index) + 1);
	if (!n->cell)
		return SQLITE_NOMEM;
	for (size_t i = 0; i < cols; i++)
		twzvfs__nbuf_init(&n->cell[i]);
	return n->val && n->index ? SQLITE_OK : SQLITE_NOMEM;
}

/* argv: module, schema, table, arguments. */
static int make(sqlite3 *db, struct twzvfs_conn *conn, int argc, const char *const *argv,
		struct native **out, char **err)
{
	struct native *n = sqlite3_malloc64(sizeof(*n));
	int rc;

	*out = n;
	if (!n)
		return SQLITE_NOMEM;
	memset(n, 0, sizeof(*n));
	twzvfs__nbuf_init(&n->key);
	twzvfs__nbuf_init(&n->old_key);
	twzvfs__nbuf_init(&n->row);
	twzvfs__nbuf_init(&n->tmp);
	twzvfs__nbuf_init(&n->entry);
	n->db = db;
	n->conn = conn;
	n->schema = sqlite3_mprintf("%s", argv[1]);
	n->name = sqlite3_mprintf("%s", argv[2]);
	if (!n->schema || !n->name)
		return SQLITE_NOMEM;
	rc = find_file(n, err);
	if (rc == SQLITE_OK)
		rc = twzvfs__decl_make(n->name, argc - 3, argv + 3, &n->d, err);
	if (rc == SQLITE_OK)
		rc = alloc(n);
	if (rc == SQLITE_OK)
		rc = sqlite3_declare_vtab(db, n->d->vtab);
	if (rc == SQLITE_ERROR && !*err)
		*err = sqlite3_mprintf("%s", sqlite3_errmsg(db));
	if (rc == SQLITE_OK)
		rc = sqlite3_vtab_config(db, SQLITE_VTAB_CONSTRAINT_SUPPORT, 1);
	/* Reaches nothing but its own rows: any schema's triggers and views may use it. */
	if (rc == SQLITE_OK)
		rc = sqlite3_vtab_config(db, SQLITE_VTAB_INNOCUOUS);
	return rc;
}

/* Text in keys is UTF-8 and sorts so; in a UTF-16 database SQLite would sort otherwise. */
static int check_encoding(struct native *n, char **err)
{
	sqlite3_stmt *st = NULL;
	const char *enc = NULL;
	int rc = sqlite3_prepare_v2(n->db, "PRAGMA encoding", -1, &st, NULL);

	if (rc == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW)
		enc = (const char *)sqlite3_column_text(st, 0);
	if (rc == SQLITE_OK && (!enc || strcmp(enc, "UTF-8"))) {
		*err = sqlite3_mprintf(
			"native table %s: the database's encoding is %s: only UTF-8 has "
			"native tables",
			n->name, enc ? enc : "unknown");
		rc = SQLITE_ERROR;
	}
	sqlite3_finalize(st);
	return rc;
}

static int finish(struct native *n, int rc, sqlite3_vtab **out, char **err)
{
	if (rc == SQLITE_OK) {
		*out = &n->base;
		return rc;
	}
	if (n && n->base.zErrMsg && !*err) {
		*err = n->base.zErrMsg;
		n->base.zErrMsg = NULL;
	}
	release(n);
	return rc;
}

static int x_connect(sqlite3 *db, void *aux, int argc, const char *const *argv, sqlite3_vtab **out,
		     char **err)
{
	struct native *n;
	int rc = make(db, aux, argc, argv, &n, err);

	return finish(n, rc, out, err);
}

static int x_create(sqlite3 *db, void *aux, int argc, const char *const *argv, sqlite3_vtab **out,
		    char **err)
{
	struct native *n;
	int rc = make(db, aux, argc, argv, &n, err), e;

	if (rc == SQLITE_OK)
		rc = check_encoding(n, err);
	if (rc == SQLITE_OK)
		rc = twzvfs__join(n);
	if (rc == SQLITE_OK) {
		e = whole(n, make_tables, NULL);
		rc = e == TWZDB_E_EXIST ? SQLITE_ERROR : twzvfs__native_rc(n, e, "create");
	}
	return finish(n, rc, out, err);
}

static int x_disconnect(sqlite3_vtab *vtab)
{
	release((struct native *)vtab);
	return SQLITE_OK;
}

/* --- dropping and renaming --- */

static int drop_one(struct twzdb_txn *tx, char *name)
{
	int err = name ? twzdb_table_drop(tx, name) : -ENOMEM;

	sqlite3_free(name);
	return err == TWZDB_E_NOTFOUND ? 0 : err;
}

/* A table that lost its rows, or never had any, can be dropped, too. */
static int drop_tables(struct native *n, struct twzdb_txn *tx, const char *unused)
{
	struct twzdb_slice key = {n->name, strlen(n->name)};
	struct twzdb_table cat;
	int err = twzdb_table_open(tx, TWZVFS_NATIVE_CATALOG, 0, &cat);

	(void)unused;
	if (!err)
		err = twzdb_del(tx, cat, key);
	if (!err || err == TWZDB_E_NOTFOUND)
		err = drop_one(tx, rows_name(n->name));
	for (int i = 0; i < n->d->index_cnt && !err; i++)
		err = drop_one(tx, index_name(n->name, i));
	return err;
}

static int x_destroy(sqlite3_vtab *vtab)
{
	struct native *n = (struct native *)vtab;
	int rc = twzvfs__join(n);

	if (rc == SQLITE_OK)
		rc = twzvfs__native_rc(n, whole(n, drop_tables, NULL), "drop");

	if (rc == SQLITE_OK)
		release(n);
	return rc;
}

static int rename_one(struct twzdb_txn *tx, char *from, char *to)
{
	int err = from && to ? twzdb_table_rename(tx, from, to) : -ENOMEM;

	sqlite3_free(from);
	sqlite3_free(to);
	return err;
}

static int rename_tables(struct native *n, struct twzdb_txn *tx, const char *to)
{
	struct twzdb_slice key = {n->name, strlen(n->name)};
	struct twzdb_table cat;
	char *name;
	int err = twzvfs__native_tables(n, tx);

	if (!err)
		err = rename_one(tx, rows_name(n->name), rows_name(to));
	for (int i = 0; i < n->d->index_cnt && !err; i++)
		err = rename_one(tx, index_name(n->name, i), index_name(to, i));
	if (!err)
		err = twzdb_table_open(tx, TWZVFS_NATIVE_CATALOG, 0, &cat);
	if (!err)
		err = twzdb_del(tx, cat, key);
	name = err ? NULL : sqlite3_mprintf("%s", to);
	if (err || !name)
		return err ? err : -ENOMEM;
	sqlite3_free(n->name);
	n->name = name;
	return write_decl(n, tx);
}

static int x_rename(sqlite3_vtab *vtab, const char *to)
{
	struct native *n = (struct native *)vtab;
	int rc = twzvfs__join(n), err;

	if (rc != SQLITE_OK)
		return rc;
	err = whole(n, rename_tables, to);
	if (err == TWZDB_E_EXIST)
		return twzvfs__native_fail(n, SQLITE_ERROR,
					   "the store has a table named %s%s already",
					   TWZVFS_NATIVE_ROWS, to);
	return twzvfs__native_rc(n, err, "rename");
}

/* --- the module --- */

static const sqlite3_module module = {
	.iVersion = 2,
	.xCreate = x_create,
	.xConnect = x_connect,
	.xBestIndex = twzvfs__plan,
	.xDisconnect = x_disconnect,
	.xDestroy = x_destroy,
	.xOpen = twzvfs__cursor_open,
	.xClose = twzvfs__cursor_close,
	.xFilter = twzvfs__cursor_filter,
	.xNext = twzvfs__cursor_next,
	.xEof = twzvfs__cursor_eof,
	.xColumn = twzvfs__cursor_column,
	.xRowid = twzvfs__cursor_rowid,
	.xUpdate = twzvfs__update,
	.xBegin = twzvfs__native_begin,
	.xSync = twzvfs__native_sync,
	.xCommit = twzvfs__native_commit,
	.xRollback = twzvfs__native_rollback,
	.xRename = x_rename,
	.xSavepoint = twzvfs__native_savepoint,
	.xRelease = twzvfs__native_release,
	.xRollbackTo = twzvfs__native_rollback_to,
};

static void forget(void *conn)
{
	struct twzvfs_conn *c = conn;

	sqlite3_free(c->file);
	sqlite3_free(c);
}

int twzvfs__native_register(sqlite3 *db)
{
	struct twzvfs_conn *c = sqlite3_malloc64(sizeof(*c));
	int rc;

	if (!c)
		return SQLITE_NOMEM;
	memset(c, 0, sizeof(*c));
	c->db = db;
	c->top = -1;
	rc = twzvfs__join_register(c);
	if (rc == SQLITE_OK)
		return sqlite3_create_module_v2(db, "twz", &module, c, forget);
	forget(c);
	return rc;
}
