/* SPDX-License-Identifier: MIT
 * workloads_sql.c -- SQLite commits through the VFS "twz": statements, savepoints, VACUUM, native tables
 *
 * SQLite itself is not instrumented: what it stores to is its own memory. The VFS, the engine and libtwz are. The VFS opens the
 * store; the linker's --wrap gives its call the simulated medium and small sizes. The state is the text of all rows;
 * PRAGMA integrity_check is asked of every image, and the engine's checker too.
 */
#include "workloads.h"

#include <string.h>

#include <sqlite3.h>

#include "twzdb.h"
#include "twzvfs.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

static struct crash *opening; /* whose store the VFS opens */

int __real_twzdb_open(const char *path, const struct twzdb_options *opt, struct twzdb **out);
int __wrap_twzdb_open(const char *path, const struct twzdb_options *opt, struct twzdb **out)
{
	struct twz_store_options so = {.size = sizeof(so), .journal_len = 16 << 10};
	struct twzdb_options small = *opt;
	int rc;

	if (opt->store_options || !opening)
		return __real_twzdb_open(path, opt, out);
	so.flags = opt->flags & TWZDB_CREATE ? TWZ_STORE_CREATE : 0;
	so.initial_len = TWZ_KIND_LEN;
	so.backend = opening->backend;
	small.store_options = &so;
	small.log_len = 16 << 10;
	small.initial_len = 256 << 10;
	rc = __real_twzdb_open(path, &small, out);
	opening->db = rc ? NULL : *out;
	opening->store = rc ? NULL : twzdb_store(*out);
	return rc;
}

static sqlite3 *sql_of(struct crash *c)
{
	return c->user[0];
}

static int sql_why(struct crash *c, const char *sql)
{
	return crash_why(c, "%s: %s; %s", sql, sqlite3_errmsg(sql_of(c)), twzdb_errmsg());
}

static int exec(struct crash *c, const char *sql)
{
	return sqlite3_exec(sql_of(c), sql, NULL, NULL, NULL) ? sql_why(c, sql) : 0;
}

static int sql_connect(struct crash *c)
{
	int flags = c->read_only    ? SQLITE_OPEN_READONLY
		    : c->recovering ? SQLITE_OPEN_READWRITE
				    : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
	sqlite3 *sql = NULL;
	int rc;

	opening = c;
	rc = sqlite3_open_v2(c->path, &sql, flags, "twz");
	c->user[0] = sql;
	/* SQLite opens a file when it is used first. */
	if (!rc)
		rc = sqlite3_exec(sql, "select count(*) from sqlite_schema", NULL, NULL, NULL);
	if (!rc)
		return 0;
	sql_why(c, "open");
	sqlite3_close(sql);
	c->user[0] = NULL;
	return -1;
}

static int sql_close(struct crash *c)
{
	sqlite3 *sql = sql_of(c);

	c->user[0] = c->db = c->store = NULL;
	return sqlite3_close(sql) ? crash_why(c, "close: %s", sqlite3_errmsg(sql)) : 0;
}

static int sql_open(struct crash *c)
{
	db_names();
	if (twzvfs_register(0))
		return crash_why(c, "cannot register the VFS");
	if (!c->recovering) {
		CRASH_DO(c, sql_connect(c));
		CRASH_DO(
			c,
			exec(c,
			     "pragma page_size = 1024; create table a(id integer primary key, v text);"
			     "create table b(k text unique, n int); insert into b values('one', 1)"));
		CRASH_DO(c, sql_close(c));
	}
	return sql_connect(c);
}

/* The first column of all rows, one a line. */
static int say_query(struct crash *c, const char *sql)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(sql_of(c), sql, -1, &st, NULL);

	while (!rc && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		crash_say(c, "%s\n", (const char *)sqlite3_column_text(st, 0));
		rc = 0;
	}
	sqlite3_finalize(st);
	return rc == SQLITE_DONE ? 0 : sql_why(c, sql);
}

static int sql_check(struct crash *c)
{
	char *text = NULL;
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(sql_of(c), "pragma integrity_check", -1, &st, NULL);

	if (!rc && sqlite3_step(st) == SQLITE_ROW)
		text = sqlite3_mprintf("%s", sqlite3_column_text(st, 0));
	rc = sqlite3_finalize(st) || !text;
	if (rc)
		sql_why(c, "integrity_check");
	else if ((rc = strcmp(text, "ok")))
		crash_why(c, "integrity_check: %s", text);
	sqlite3_free(text);
	return rc ? -1 : db_check(c);
}

static int sql_probe(struct crash *c)
{
	return exec(c, "drop table if exists probe; begin; create table probe(x);"
		       "insert into probe values(1); commit; drop table probe");
}

static const struct crash_kind sql_kind = {sql_open,  sql_check, sql_close, sql_probe,
					   db_inside, true,	 db_settle};

static int sql_show(struct crash *c)
{
	CRASH_DO(c,
		 say_query(c,
			   "select name || ' ' || sql from sqlite_schema where name <> 'probe' and "
			   "sql is not null and name not like 'sqlite_%' order by 1"));
	CRASH_DO(c,
		 say_query(c,
			   "select id || '=' || substr(v, 1, 8) || length(v) from a order by id"));
	CRASH_DO(c, say_query(c, "select quote(k) || quote(n) from b order by k"));
	return say_query(c, "pragma page_size");
}

#define SQL_WL(var, id, text_, setup_, run_, show_)                                                \
	const struct crash_workload var = {.name = "sql." id,                                      \
					   .what = text_,                                          \
					   .media = CRASH_ALL,                                     \
					   .share = 10, /* an image is dear */                     \
					   .kind = &sql_kind,                                      \
					   .setup = setup_,                                        \
					   .run = run_,                                            \
					   .show = show_}

/* --- several statements in a transaction, and single ones --- */

static int setup_rows(struct crash *c)
{
	return exec(c,
		    "with recursive r(i) as (select 1 union all select i + 1 from r where i < 20) "
		    "insert into a select i, 'row ' || i || hex(zeroblob(20)) from r");
}

static int run_txn(struct crash *c)
{
	CRASH_OP(c, exec(c, "insert into b values('two', 2)"));
	CRASH_OP(
		c,
		exec(c,
		     "begin; insert into a values(100, 'hundred'); update a set v = 'changed' where id % 5 = 0;"
		     "delete from a where id % 7 = 0; insert into b values('three', 3); commit"));
	CRASH_OP(
		c,
		exec(c,
		     "begin; update b set n = n + 10; insert into a select id + 200, v || v from a; commit"));
	CRASH_OP(c, exec(c, "delete from b where k = 'one'"));
	return 0;
}
SQL_WL(wl_sql_txn, "txn", "transactions of several statements", setup_rows, run_txn, sql_show);

/* --- savepoints rolled back and released; a schema change rolled back, and one committed --- */

static int run_sql_savepoint(struct crash *c)
{
	CRASH_OP(
		c,
		exec(c,
		     "begin; insert into b values('kept', 1); savepoint s; update a set v = 'lost';"
		     "insert into b values('lost', 2); savepoint t; delete from a; rollback to s;"
		     "insert into b values('also kept', 3); release s; commit"));
	CRASH_OP(
		c,
		exec(c,
		     "savepoint outermost; create table never(x); insert into never values(1);"
		     "rollback to outermost; create table made(x unique); insert into made values(2);"
		     "release outermost"));
	CRASH_DO(c, exec(c, "begin; delete from a; delete from b; rollback"));
	CRASH_OP(c, exec(c, "begin; drop table made; update a set v = v || '+'; commit"));
	return 0;
}
SQL_WL(wl_sql_savepoint, "savepoint",
       "savepoints, rolled back and released; tables made and dropped", setup_rows,
       run_sql_savepoint, sql_show);

/* --- the whole file rewritten: VACUUM, and with pages of another size --- */

static int run_vacuum(struct crash *c)
{
	CRASH_OP(c, exec(c, "delete from a where id % 2"));
	CRASH_OP(c, exec(c, "vacuum"));
	CRASH_OP(c, exec(c, "pragma page_size = 2048; vacuum"));
	CRASH_OP(c, exec(c, "insert into a values(500, 'after')"));
	return 0;
}
SQL_WL(wl_sql_vacuum, "vacuum", "VACUUM, and another page size", setup_rows, run_vacuum, sql_show);

/* --- native tables in one transaction with ordinary ones --- */

static int setup_native(struct crash *c)
{
	CRASH_DO(
		c,
		exec(c,
		     "create virtual table n using twz(item text primary key, n int not null, index(n));"
		     "insert into n values('lamp', 7), ('desk', 0), ('rug', 3)"));
	return setup_rows(c);
}

static int run_native(struct crash *c)
{
	CRASH_OP(c,
		 exec(c,
		      "begin; insert into n values('chair', 4); insert into b values('chair', 4);"
		      "update n set n = n - 1 where item = 'lamp'; commit"));
	CRASH_OP(c, exec(c, "insert into n select 'item ' || id, id from a"));
	CRASH_OP(
		c,
		exec(c,
		     "begin; delete from n where n > 10; savepoint s; delete from n; delete from b;"
		     "rollback to s; update b set n = (select count(*) from n); commit"));
	CRASH_OP(c, exec(c, "begin; drop table n; insert into b values('gone', 0); commit"));
	CRASH_OP(
		c,
		exec(c, "create virtual table n using twz(item text primary key, n int not null)"));
	return 0;
}

/* N may not be there. */
static int show_native(struct crash *c)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(sql_of(c), "select 1 from sqlite_schema where name = 'n'", -1,
				    &st, NULL);
	int there = !rc && sqlite3_step(st) == SQLITE_ROW;

	sqlite3_finalize(st);
	if (rc)
		return sql_why(c, "sqlite_schema");
	if (there)
		CRASH_DO(c, say_query(c, "select item || ' ' || n from n order by item"));
	return sql_show(c);
}
SQL_WL(wl_sql_native, "native", "native tables in one transaction with ordinary ones", setup_native,
       run_native, show_native);
