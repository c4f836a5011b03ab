/* SPDX-License-Identifier: MIT
 * native_join.c -- savepoints around changes that SQLite does not announce to the table: CREATE, DROP, ALTER TABLE
 *
 * SQLite tells the virtual tables that a transaction has written to of its savepoints. A table that is being made or
 * dropped is none of them, so ROLLBACK TO would bring the schema back, and not the rows. But any virtual table
 * learns how many savepoints are open when it is first written to. So there is one of our own, which has no
 * rows and is "written to" here: it hears of every savepoint from then on, for the files that joined.
 */
#include "native.h"

#define TABLE "twz__savepoints"

struct joined {
	sqlite3_vtab base; /* must be first */
	struct twzvfs_conn *conn;
};

static int h_connect(sqlite3 *db, void *aux, int argc, const char *const *argv, sqlite3_vtab **out,
		     char **err)
{
	struct joined *h;
	int rc = sqlite3_declare_vtab(db, "CREATE TABLE x(a)");

	(void)argc;
	(void)argv;
	(void)err;
	if (rc != SQLITE_OK)
		return rc;
	h = sqlite3_malloc64(sizeof(*h));
	if (!h)
		return SQLITE_NOMEM;
	memset(h, 0, sizeof(*h));
	h->conn = aux;
	*out = &h->base;
	return SQLITE_OK;
}

static int h_disconnect(sqlite3_vtab *vtab)
{
	sqlite3_free(vtab);
	return SQLITE_OK;
}

/* --- a table without rows --- */

static int h_plan(sqlite3_vtab *vtab, sqlite3_index_info *info)
{
	(void)vtab;
	(void)info;
	return SQLITE_OK;
}

static int h_open(sqlite3_vtab *vtab, sqlite3_vtab_cursor **out)
{
	(void)vtab;
	*out = sqlite3_malloc64(sizeof(**out));
	return *out ? SQLITE_OK : SQLITE_NOMEM;
}

static int h_close(sqlite3_vtab_cursor *cur)
{
	sqlite3_free(cur);
	return SQLITE_OK;
}

static int h_filter(sqlite3_vtab_cursor *cur, int num, const char *str, int argc,
		    sqlite3_value **argv)
{
	(void)cur;
	(void)num;
	(void)str;
	(void)argc;
	(void)argv;
	return SQLITE_OK;
}

static int h_next(sqlite3_vtab_cursor *cur)
{
	(void)cur;
	return SQLITE_OK;
}

static int h_eof(sqlite3_vtab_cursor *cur)
{
	(void)cur;
	return 1;
}

static int h_column(sqlite3_vtab_cursor *cur, sqlite3_context *ctx, int col)
{
	(void)cur;
	(void)col;
	sqlite3_result_null(ctx);
	return SQLITE_OK;
}

static int h_rowid(sqlite3_vtab_cursor *cur, sqlite3_int64 *out)
{
	(void)cur;
	*out = 0;
	return SQLITE_OK;
}

static int h_update(sqlite3_vtab *vtab, int argc, sqlite3_value **argv, sqlite3_int64 *rowid)
{
	(void)argc;
	(void)argv;
	(void)rowid;
	vtab->zErrMsg = sqlite3_mprintf(TABLE " has no rows");
	return SQLITE_READONLY;
}

/* --- what it is for --- */

static int for_all(sqlite3_vtab *vtab, int label, int (*fn)(struct twzvfs_file *, int))
{
	struct twzvfs_conn *c = ((struct joined *)vtab)->conn;
	int err = 0;

	for (int i = 0; i < c->file_cnt && !err; i++)
		err = fn(c->file[i], label);
	return twzvfs__rc(err, "savepoint", NULL);
}

static int h_begin(sqlite3_vtab *vtab)
{
	((struct joined *)vtab)->conn->top = -1;
	return SQLITE_OK;
}

static int h_savepoint(sqlite3_vtab *vtab, int label)
{
	((struct joined *)vtab)->conn->top = label;
	return for_all(vtab, label, twzvfs__sp_push);
}

static int h_release(sqlite3_vtab *vtab, int label)
{
	((struct joined *)vtab)->conn->top = label - 1;
	return for_all(vtab, label, twzvfs__sp_release);
}

static int h_rollback_to(sqlite3_vtab *vtab, int label)
{
	((struct joined *)vtab)->conn->top = label;
	return for_all(vtab, label, twzvfs__sp_rollback);
}

/* The files have heard of the end by their own ways (native_txn.c). */
static int h_end(sqlite3_vtab *vtab)
{
	struct twzvfs_conn *c = ((struct joined *)vtab)->conn;

	c->file_cnt = 0;
	c->top = -1;
	twzvfs__group_committing(NULL);
	return SQLITE_OK;
}

static int h_sync(sqlite3_vtab *vtab)
{
	twzvfs__group_committing(((struct joined *)vtab)->conn->db);
	return SQLITE_OK;
}

/* In exclusive locking mode, and with nolock=1, nobody else does it. */
static int h_rollback(sqlite3_vtab *vtab)
{
	struct twzvfs_conn *c = ((struct joined *)vtab)->conn;
	int err = 0, e;

	for (int i = 0; i < c->file_cnt; i++) {
		e = twzvfs__sp_undo(c->file[i]);
		err = err ? err : e;
	}
	h_end(vtab);
	return twzvfs__rc(err, "rollback", NULL);
}

static const sqlite3_module module = {
	.iVersion = 2,
	.xConnect = h_connect, /* without xCreate: it is there by its name alone */
	.xBestIndex = h_plan,
	.xDisconnect = h_disconnect,
	.xOpen = h_open,
	.xClose = h_close,
	.xFilter = h_filter,
	.xNext = h_next,
	.xEof = h_eof,
	.xColumn = h_column,
	.xRowid = h_rowid,
	.xUpdate = h_update,
	.xBegin = h_begin,
	.xSync = h_sync,
	.xCommit = h_end,
	.xRollback = h_rollback,
	.xSavepoint = h_savepoint,
	.xRelease = h_release,
	.xRollbackTo = h_rollback_to,
};

int twzvfs__join_register(struct twzvfs_conn *c)
{
	return sqlite3_create_module_v2(c->db, TABLE, &module, c, NULL);
}

static int remember(struct twzvfs_conn *c, struct twzvfs_file *f)
{
	struct twzvfs_file **p;

	for (int i = 0; i < c->file_cnt; i++)
		if (c->file[i] == f)
			return SQLITE_OK;
	p = sqlite3_realloc64(c->file, ((size_t)c->file_cnt + 1) * sizeof(*p));
	if (!p)
		return SQLITE_NOMEM;
	c->file = p;
	c->file[c->file_cnt++] = f;
	return SQLITE_OK;
}

int twzvfs__join(struct native *n)
{
	struct twzvfs_conn *c = n->conn;
	int rc, err;

	err = twzvfs__native_join(n);
	if (err || sqlite3_get_autocommit(n->db))
		return twzvfs__rc(err, "join", n->name);
	rc = sqlite3_exec(n->db, "DELETE FROM " TABLE, NULL, NULL, NULL);
	/* Not before: whoever has joined is sure to hear of the end. */
	if (rc == SQLITE_OK)
		rc = remember(c, n->f);
	if (rc == SQLITE_OK && c->top >= 0)
		rc = twzvfs__rc(twzvfs__sp_push(n->f, c->top), "savepoint", n->name);
	return rc;
}
