/* SPDX-License-Identifier: MIT
 * others.c -- the same of SQLite on the store, of undo transactions, and of names
 */
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "twz/twz.h"
#include "twzvfs.h"
#include "vmload.h"

/* --- SQLite: row n in two tables by one transaction, the last 50 of them --- */

#define SQL_KEEP 50

static int sql_open(const struct load *l, sqlite3 **db)
{
	char uri[300];
	int rc = twzvfs_register(0);

	snprintf(uri, sizeof(uri), "file:%s?db=sql", l->path);
	if (!rc)
		rc = sqlite3_open_v2(uri, db,
				     SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI,
				     "twz");
	if (!rc)
		sqlite3_busy_timeout(*db, PATIENCE_MS);
	return rc;
}

static int sql_num(sqlite3 *db, const char *text, int64_t *n)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(db, text, -1, &st, NULL);

	if (!rc && sqlite3_step(st) == SQLITE_ROW)
		*n = sqlite3_column_int64(st, 0);
	return rc ? rc : sqlite3_finalize(st);
}

static char why[120];

static int sql_change(sqlite3 *db, int64_t n)
{
	char text[400];
	int rc;

	snprintf(
		text, sizeof(text),
		"begin immediate; insert into c values(%lld, randomblob(%lld)); insert into d values(%lld, %lld);"
		"delete from c where n < %lld; delete from d where n < %lld; commit",
		(long long)n, (long long)n * 37 % 900, (long long)n, (long long)n * 3,
		(long long)n - SQL_KEEP, (long long)n - SQL_KEEP);
	rc = sqlite3_exec(db, text, NULL, NULL, NULL);
	if (rc) {
		snprintf(why, sizeof(why), "%s", sqlite3_errmsg(db));
		sqlite3_exec(db, "rollback", NULL, NULL, NULL);
	}
	return rc;
}

/*
 * The last row, by a transaction that may write: a commit that a client left behind when it was killed is not seen by who only
 * reads until somebody has finished it, but the next writer builds on it.
 */
static int sql_last(sqlite3 *db, int64_t *n)
{
	int rc = sqlite3_exec(db, "begin immediate", NULL, NULL, NULL);

	if (!rc)
		rc = sql_num(db, "select coalesce(max(n), 0) from c", n);
	if (!rc)
		rc = sqlite3_exec(db, "commit", NULL, NULL, NULL);
	if (rc && !sqlite3_get_autocommit(db))
		sqlite3_exec(db, "rollback", NULL, NULL, NULL);
	return rc;
}

static int sql_begin(const struct load *l, sqlite3 **db, int64_t *n)
{
	int rc = sql_open(l, db);

	if (!rc)
		rc = sqlite3_exec(*db,
				  "create table if not exists c(n integer primary key, v);"
				  "create table if not exists d(n integer primary key, v);"
				  "create index if not exists dv on d(v)",
				  NULL, NULL, NULL);
	return rc ? rc : sql_last(*db, n);
}

void sql_actor(const struct load *l)
{
	sqlite3 *db = NULL;
	int64_t n = 0;
	int rc;

	while ((rc = sql_begin(l, &db, &n)) != 0 && !load_over()) {
		say_error(l, SQL_ACTOR, "sqlite open", rc, db ? sqlite3_errmsg(db) : "");
		sqlite3_close(db);
	}
	for (uint64_t i = 0; !rc && !load_done(l, i); i++) {
		int err = sql_change(db, n + 1);

		if (err) { /* failed, or its outcome is not known */
			say_error(l, SQL_ACTOR, "sqlite commit", err, why);
			(void)!sql_last(db, &n);
			continue;
		}
		say_acked(SQL_ACTOR, (uint64_t)++n, 0);
	}
	sqlite3_close(db);
}

static int sql_check(sqlite3 *db)
{
	sqlite3_stmt *st = NULL;
	char text[100] = "no answer";

	if (!sqlite3_prepare_v2(db, "pragma integrity_check", -1, &st, NULL) &&
	    sqlite3_step(st) == SQLITE_ROW)
		snprintf(text, sizeof(text), "%s", (const char *)sqlite3_column_text(st, 0));
	sqlite3_finalize(st);
	return strcmp(text, "ok") ? bad("integrity_check: %s, %s", text, sqlite3_errmsg(db)) : 0;
}

int sql_judge(const struct load *l)
{
	int64_t tables = 0, n = 0, d = 0, odd = 0;
	sqlite3 *db = NULL;
	int rc = sql_open(l, &db);

	if (!rc)
		rc = sql_num(db,
			     "select count(*) from sqlite_master where name in ('c', 'd', 'dv')",
			     &tables);
	if (!rc && tables == 3) {
		rc = sql_num(db, "select coalesce(max(n), 0) from c", &n);
		rc = rc ? rc : sql_num(db, "select coalesce(max(n), 0) from d", &d);
		rc = rc ? rc
			: sql_num(db,
				  "select count(*) from c left join d using(n) where d.v is not n * 3",
				  &odd);
	}
	if (rc)
		bad("sqlite: %d %s", rc, db ? sqlite3_errmsg(db) : "");
	else if (n != d || odd)
		rc = bad("half a transaction of SQLite: %lld %lld, %lld rows without their twin",
			 (long long)n, (long long)d, (long long)odd);
	else
		rc = sql_check(db);
	if (n)
		printf("F %d %lld\n", SQL_ACTOR, (long long)n);
	sqlite3_close(db);
	return rc != 0;
}

/* --- an undo transaction: WORDS words, all of them n, far apart; a name for every eighth --- */

#define WORDS 8
#define APART 300 /* words: no two of them in one page, or line */

static int tx_open(struct twz_store *s, bool create, struct twz_obj **o)
{
	struct twz_obj_options opt = {.size = sizeof(opt), .len = (WORDS + 1) * APART * 8};
	twz_oid id;
	int err = twz_name_get(s, "vm/words", &id);

	if (!err)
		return twz_obj_open(s, id, TWZ_READ | TWZ_WRITE, o);
	if (err != TWZ_E_NOENT || !create)
		return err;
	err = twz_obj_create(s, &opt, &id, o);
	return err ? err : twz_name_set(s, "vm/words", id, 0);
}

static int tx_change(struct twz_store *s, struct twz_obj *o, uint64_t n)
{
	uint64_t *w = twz_obj_data(o);
	struct twz_range r[WORDS];
	int err = 0;

	for (int i = 0; i < WORDS; i++)
		r[i] = (struct twz_range){&w[i * APART], 8};
	TXSTART(s, tx, err)
		err = twz_tx_record_many(tx, r, WORDS);
		for (int i = 0; i < WORDS && !err; i++)
			w[i * APART] = n;
	TXEND(tx, err);
	return err;
}

/* Name "vm/n/N" appears, the one of 32 before goes. */
static int name_change(struct twz_store *s, struct twz_obj *o, uint64_t n)
{
	char name[40];
	int err;

	snprintf(name, sizeof(name), "vm/n/%010" PRIu64, n);
	err = twz_name_set(s, name, twz_obj_id(o), 1);
	if (err || n <= 32)
		return err;
	snprintf(name, sizeof(name), "vm/n/%010" PRIu64, n - 32);
	err = twz_name_del(s, name);
	return err == TWZ_E_NOENT ? 0 : err;
}

static int tx_one(struct twz_store *s, struct twz_obj *o, uint64_t n)
{
	int err = tx_change(s, o, n);

	if (err)
		return err;
	say_acked(TX_ACTOR, n, 0);
	if (n % 8)
		return 0;
	err = name_change(s, o, n);
	if (!err)
		say_acked(NAME_ACTOR, n, 0);
	return err;
}

void tx_actor(const struct load *l)
{
	struct twz_store *s = NULL;
	struct twz_obj *o = NULL;
	struct twzdb *db = NULL;
	int err;

	/* the engine creates the store, whoever comes first, so all agree on its options */
	while ((err = rows_open(l, &db)) != 0 && !load_over())
		say_error(l, TX_ACTOR, "open", err, twzdb_errmsg());
	if (err)
		return;
	s = twzdb_store(db);
	while ((err = tx_open(s, true, &o)) != 0 && !load_over())
		say_error(l, TX_ACTOR, "object", err, twz_errmsg());
	for (uint64_t i = 0; !err && !load_done(l, i); i++) {
		uint64_t n = *(uint64_t *)twz_obj_data(o) + 1;
		int e = tx_one(s, o, n);

		if (e)
			say_error(l, TX_ACTOR, "transaction", e, twz_errmsg());
	}
	twz_obj_close(o);
	twzdb_close(db);
}

static int last_name(void *ctx, const char *name, twz_oid id)
{
	unsigned long long n = 0;

	(void)id;
	if (sscanf(name, "vm/n/%llu", &n) == 1)
		*(uint64_t *)ctx = n;
	return 0;
}

int tx_judge(void *store)
{
	struct twz_obj *o = NULL;
	uint64_t name = 0, *w;
	int rc = 0, err = twz_name_list(store, "vm", last_name, &name);

	if (!err)
		err = tx_open(store, false, &o);
	if (err == TWZ_E_NOENT)
		return 0;
	if (err)
		return bad("words: %d %s", err, twz_errmsg());
	w = twz_obj_data(o);
	for (int i = 1; i < WORDS && !rc; i++)
		if (w[i * APART] != w[0])
			rc = bad("half an undo transaction: word 0 is %" PRIu64
				 ", word %d is %" PRIu64,
				 w[0], i, w[i * APART]);
	printf("F %d %" PRIu64 "\nF %d %" PRIu64 "\n", TX_ACTOR, w[0], NAME_ACTOR, name);
	twz_obj_close(o);
	return rc;
}
