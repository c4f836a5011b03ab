/* SPDX-License-Identifier: MIT
 * drv_sqlite.c -- SQLite as a peer: WAL, synchronous=FULL, a connection and prepared statements a thread
 */
#include "drv.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

struct store {
	char path[512];
	int cache_kib;
};

enum stmt { BEGIN, COMMIT, ROLLBACK, GET, INSERT, UPDATE, DEL, SCAN, STMTS };

static const char *const sql[STMTS] = {
	"BEGIN IMMEDIATE",
	"COMMIT",
	"ROLLBACK",
	"SELECT v FROM kv WHERE k = ?1",
	"INSERT INTO kv VALUES (?1, ?2)",
	"UPDATE kv SET v = ?2 WHERE k = ?1",
	"DELETE FROM kv WHERE k = ?1",
	"SELECT k, v FROM kv WHERE k >= ?1 ORDER BY k",
};

struct handle {
	sqlite3 *db;
	sqlite3_stmt *st[STMTS];
	char value[VALUE_MAX];
};

static int failed(sqlite3 *db, const char *what)
{
	return drv_fail("sqlite: %s: %s", what, db ? sqlite3_errmsg(db) : "no memory");
}

static int connect_to(const struct store *s, sqlite3 **db)
{
	char pragmas[256];

	snprintf(pragmas, sizeof(pragmas),
		 "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-%d;",
		 s->cache_kib);
	if (sqlite3_open(s->path, db) || sqlite3_busy_timeout(*db, 60000) ||
	    sqlite3_exec(*db, pragmas, NULL, NULL, NULL))
		return failed(*db, s->path);
	return 0;
}

static int open_db(const struct drv_opt *opt, void **store)
{
	struct store *s = calloc(1, sizeof(*s));
	sqlite3 *db = NULL;
	int err;

	if (!s)
		return drv_fail("no memory");
	snprintf(s->path, sizeof(s->path), "%s/kv.db", opt->dir);
	s->cache_kib = (int)(opt->records * (opt->value_len + 64) / 512) + 65536;
	err = connect_to(s, &db);
	if (!err && sqlite3_exec(db,
				 "CREATE TABLE IF NOT EXISTS kv (k BLOB PRIMARY KEY, v BLOB) "
				 "WITHOUT ROWID",
				 NULL, NULL, NULL))
		err = failed(db, "making the table");
	sqlite3_close(db);
	if (err)
		free(s);
	else
		*store = s;
	return err;
}

static void detach(void *th)
{
	struct handle *h = th;

	for (int i = 0; i < STMTS; i++)
		sqlite3_finalize(h->st[i]);
	sqlite3_close(h->db);
	free(h);
}

static int attach(void *store, void **th)
{
	struct handle *h = calloc(1, sizeof(*h));

	if (!h)
		return drv_fail("no memory");
	if (connect_to(store, &h->db)) {
		detach(h);
		return DRV_FAIL;
	}
	for (int i = 0; i < STMTS; i++)
		if (sqlite3_prepare_v3(h->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &h->st[i],
				       NULL)) {
			failed(h->db, sql[i]);
			detach(h);
			return DRV_FAIL;
		}
	*th = h;
	return 0;
}

/* A statement that returns no rows. */
static int run(struct handle *h, enum stmt which, const struct drv_kv *kv)
{
	sqlite3_stmt *st = h->st[which];
	int err;

	if (kv)
		sqlite3_bind_blob(st, 1, kv->key, (int)kv->klen, SQLITE_STATIC);
	if (kv && kv->value)
		sqlite3_bind_blob(st, 2, kv->value, (int)kv->vlen, SQLITE_STATIC);
	err = sqlite3_step(st);
	sqlite3_reset(st);
	if (err == SQLITE_DONE)
		return 0;
	return err == SQLITE_CONSTRAINT ? DRV_NONE : failed(h->db, sql[which]);
}

static int get(void *th, const char *key, size_t klen, char *buf, size_t cap)
{
	struct handle *h = th;
	sqlite3_stmt *st = h->st[GET];
	int len = DRV_NONE, err;

	sqlite3_bind_blob(st, 1, key, (int)klen, SQLITE_STATIC);
	err = sqlite3_step(st);
	if (err == SQLITE_ROW)
		len = drv_copy(buf, cap, sqlite3_column_blob(st, 0),
			       (size_t)sqlite3_column_bytes(st, 0));
	else if (err != SQLITE_DONE)
		len = failed(h->db, "get");
	sqlite3_reset(st);
	return len;
}

/* Commit if ERR is 0, otherwise roll back. */
static int finish(struct handle *h, int err)
{
	int end = run(h, err ? ROLLBACK : COMMIT, NULL);

	return err ? err : end;
}

static int mget(void *th, const struct drv_kv *keys, int cnt, char *buf, size_t stride, int *len)
{
	struct handle *h = th;
	int err = sqlite3_exec(h->db, "BEGIN", NULL, NULL, NULL) ? failed(h->db, "begin") : 0;

	for (int i = 0; i < cnt && !err; i++) {
		len[i] = get(h, keys[i].key, keys[i].klen, buf + (size_t)i * stride, stride);
		err = len[i] == DRV_FAIL ? DRV_FAIL : 0;
	}
	return finish(h, err);
}

/* A single statement is a transaction. */
static int put(void *th, enum drv_put how, const struct drv_kv *kv)
{
	struct handle *h = th;
	int err = run(h, how == DRV_INSERT ? INSERT : UPDATE, kv);

	return !err && !sqlite3_changes(h->db) ? DRV_NONE : err;
}

static int del(void *th, const char *key, size_t klen)
{
	const struct drv_kv kv = {key, NULL, (uint32_t)klen, 0};
	struct handle *h = th;
	int err = run(h, DEL, &kv);

	return !err && !sqlite3_changes(h->db) ? DRV_NONE : err;
}

static int modify(void *th, const char *key, size_t klen, drv_edit *edit, void *ctx)
{
	struct handle *h = th;
	int err = run(h, BEGIN, NULL), len;
	struct drv_kv kv = {key, h->value, (uint32_t)klen, 0};

	if (err)
		return err;
	len = get(h, key, klen, h->value, sizeof(h->value));
	if (len >= 0) {
		kv.vlen = (uint32_t)len;
		edit(ctx, h->value, (size_t)len);
		len = run(h, UPDATE, &kv);
	}
	return finish(h, len < 0 ? len : 0);
}

static int batch(void *th, const struct drv_kv *kv, int cnt, bool sorted)
{
	struct handle *h = th;
	int err = run(h, BEGIN, NULL);

	(void)sorted;
	if (err)
		return err;
	for (int i = 0; i < cnt && !err; i++)
		err = run(h, INSERT, &kv[i]);
	return finish(h, err);
}

static int scan(void *th, const char *key, size_t klen, uint64_t cnt, struct drv_rows *out)
{
	struct handle *h = th;
	sqlite3_stmt *st = h->st[SCAN];
	int err = SQLITE_DONE;

	sqlite3_bind_blob(st, 1, klen ? key : "", (int)klen, SQLITE_STATIC);
	for (; cnt && (err = sqlite3_step(st)) == SQLITE_ROW; cnt--)
		drv_row(out, sqlite3_column_blob(st, 0), (size_t)sqlite3_column_bytes(st, 0),
			sqlite3_column_blob(st, 1), (size_t)sqlite3_column_bytes(st, 1));
	sqlite3_reset(st);
	return err == SQLITE_DONE || err == SQLITE_ROW ? 0 : failed(h->db, "scan");
}

/* The log is copied into the database, as at the end of every bulk load. */
static int settle(void *store)
{
	sqlite3 *db = NULL;
	int err = connect_to(store, &db);

	if (!err && sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL))
		err = failed(db, "checkpoint");
	sqlite3_close(db);
	return err;
}

static void settings(void *store, char *buf, size_t len)
{
	struct store *s = store;

	snprintf(
		buf, len,
		"%s, WITHOUT ROWID, journal_mode=WAL, synchronous=FULL, cache %d MiB a connection, "
		"prepared statements; checkpoint after the load",
		sqlite3_libversion(), s->cache_kib >> 10);
}

const struct drv drv_sqlite = {.name = "sqlite",
			       .what = "SQLite, WAL",
			       .open = open_db,
			       .close = free,
			       .attach = attach,
			       .detach = detach,
			       .get = get,
			       .mget = mget,
			       .put = put,
			       .del = del,
			       .modify = modify,
			       .batch = batch,
			       .scan = scan,
			       .settle = settle,
			       .settings = settings};
