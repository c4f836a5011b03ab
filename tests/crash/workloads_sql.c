/* SPDX-License-Identifier: MIT
 * workloads_sql.c -- SQLite commits through the VFS "twz": statements, savepoints, VACUUM, and every mode there is
 */
#include "kind_sql.h"

#include <unistd.h>

/* --- several statements in a transaction, and single ones --- */

static int run_txn(struct crash *c)
{
	CRASH_OP(c, sql_exec(c, "insert into b values('two', 2)"));
	CRASH_OP(
		c,
		sql_exec(
			c,
			"begin; insert into a values(100, 'hundred'); update a set v = 'changed' where id % 5 = 0;"
			"delete from a where id % 7 = 0; insert into b values('three', 3); commit"));
	CRASH_OP(
		c,
		sql_exec(
			c,
			"begin; update b set n = n + 10; insert into a select id + 200, v || v from a; commit"));
	CRASH_OP(c, sql_exec(c, "delete from b where k = 'one'"));
	return 0;
}
SQL_WL(wl_sql_txn, "sql.txn", "transactions of several statements", 10, sql_kind_one, sql_rows,
       run_txn, NULL, sql_show);

/* --- savepoints rolled back and released; a schema change rolled back, and one committed --- */

static int run_sql_savepoint(struct crash *c)
{
	CRASH_OP(
		c,
		sql_exec(
			c,
			"begin; insert into b values('kept', 1); savepoint s; update a set v = 'lost';"
			"insert into b values('lost', 2); savepoint t; delete from a; rollback to s;"
			"insert into b values('also kept', 3); release s; commit"));
	CRASH_OP(
		c,
		sql_exec(
			c,
			"savepoint outermost; create table never(x); insert into never values(1);"
			"rollback to outermost; create table made(x unique); insert into made values(2);"
			"release outermost"));
	CRASH_DO(c, sql_exec(c, "begin; delete from a; delete from b; rollback"));
	CRASH_OP(c, sql_exec(c, "begin; drop table made; update a set v = v || '+'; commit"));
	return 0;
}
SQL_WL(wl_sql_savepoint, "sql.savepoint",
       "savepoints, rolled back and released; tables made and dropped", 10, sql_kind_one, sql_rows,
       run_sql_savepoint, NULL, sql_show);

/* --- the whole file rewritten: VACUUM, and with pages of another size, larger and smaller --- */

static int run_vacuum(struct crash *c)
{
	CRASH_OP(c, sql_exec(c, "delete from a where id % 2"));
	CRASH_OP(c, sql_exec(c, "vacuum"));
	CRASH_OP(c, sql_exec(c, "pragma page_size = 2048; vacuum"));
	CRASH_OP(c, sql_exec(c, "insert into a values(500, 'after')"));
	CRASH_OP(c, sql_exec(c, "pragma page_size = 512; vacuum"));
	return 0;
}
SQL_WL(wl_sql_vacuum, "sql.vacuum", "VACUUM, and other page sizes", 10, sql_kind_one, sql_rows,
       run_vacuum, NULL, sql_show);

/* --- the schema changed: ALTER TABLE, indexes, views, triggers --- */

static int run_alter(struct crash *c)
{
	CRASH_OP(c, sql_exec(c, "alter table a add column w default 'new'"));
	CRASH_OP(
		c,
		sql_exec(
			c,
			"begin; create table t(x primary key, y) without rowid; create index ty on t(y desc);"
			"insert into t select id, v from a; alter table t rename to u;"
			"alter table u rename column y to z; commit"));
	CRASH_OP(
		c,
		sql_exec(c,
			 "begin; create view w as select count(*) c from u; create trigger g after "
			 "insert on b begin insert into u values('by ' || new.k, 0); end; commit"));
	CRASH_OP(
		c,
		sql_exec(
			c,
			"begin; insert into b values('fired', 1); drop index ty; create unique index ux on u(z, x);"
			"reindex; analyze; pragma user_version = 3; commit"));
	CRASH_OP(c, sql_exec(c, "alter table a drop column w"));
	CRASH_OP(c, sql_exec(c, "begin; drop trigger g; drop view w; drop table u; "
				"drop table sqlite_stat1; pragma user_version = 7; commit"));
	return 0;
}

/* SQLite learns from the first query that another connection has changed the schema. */
static int show_alter(struct crash *c)
{
	CRASH_DO(c, sql_show(c));
	if (!sqlite3_table_column_metadata(sql_of(c), "main", "u", NULL, NULL, NULL, NULL, NULL,
					   NULL))
		CRASH_DO(c, sql_say(c, "select quote(x) || length(u.z) from u order by x"));
	return sql_say(c, "pragma user_version");
}
SQL_WL(wl_sql_alter, "sql.alter", "ALTER TABLE, indexes, views and triggers made and dropped", 3,
       sql_kind_one, sql_rows, run_alter, NULL, show_alter);

/* --- auto_vacuum: a commit moves pages and cuts the file, or as many as it is told to --- */

static const struct sql_kind kind_full =
	SQL_KIND(true, .pragmas = "pragma page_size = 512; pragma auto_vacuum = full");

static int run_full(struct crash *c)
{
	CRASH_OP(c, sql_exec(c, "delete from a where id between 3 and 15"));
	CRASH_OP(
		c,
		sql_exec(
			c,
			"begin; create table t(x unique); insert into t values(zeroblob(1500)), ('small');"
			"drop table b; create table b(k text unique, n int); commit"));
	CRASH_OP(c, sql_exec(c, "begin; delete from t; update a set v = v || hex(zeroblob(300)) "
				"where id > 15; commit"));
	CRASH_OP(c, sql_exec(c, "drop table t"));
	CRASH_OP(c, sql_exec(c, "delete from a"));
	return 0;
}
SQL_WL(wl_sql_full, "sql.auto_vacuum", "auto_vacuum=FULL: commits that move pages and cut the file",
       3, kind_full, sql_rows, run_full, NULL, sql_show);

static int run_incremental(struct crash *c)
{
	CRASH_OP(c, sql_exec(c, "pragma auto_vacuum = incremental; vacuum"));
	CRASH_OP(c, sql_exec(c, "update a set v = hex(zeroblob(400)) where id % 3 = 0"));
	CRASH_OP(c, sql_exec(c, "delete from a where id % 3 < 2"));
	CRASH_OP(c, sql_exec(c, "pragma incremental_vacuum(2)"));
	CRASH_OP(
		c,
		sql_exec(
			c,
			"begin; delete from a where id < 12; pragma incremental_vacuum; insert into b values('x', 1); commit"));
	CRASH_OP(c, sql_exec(c, "pragma auto_vacuum = full"));
	CRASH_OP(c, sql_exec(c, "delete from a"));
	CRASH_OP(c, sql_exec(c, "pragma auto_vacuum = none; vacuum"));
	return 0;
}
SQL_WL(wl_sql_incremental, "sql.incremental",
       "auto_vacuum=INCREMENTAL, and from one kind to another", 3, sql_kind_one, sql_rows,
       run_incremental, NULL, sql_show);

/* --- journal modes: none of them may make a difference --- */

/* One transaction, with a part rolled back, and a whole one rolled back. */
static int run_mode(struct crash *c, const char *pragma, int n)
{
	char sql[400];

	snprintf(sql, sizeof(sql),
		 "begin; insert into b values('%d', %d); savepoint s; update a set v = 'lost'; "
		 "rollback to s; update a set v = '%d' where id %% 4 = %d; commit",
		 n, n, n, n % 4);
	CRASH_DO(c, sql_exec(c, pragma));
	CRASH_DO(c, sql_exec(c, "begin; delete from a; insert into b values('no', 0); rollback"));
	CRASH_OP(c, sql_exec(c, sql));
	return 0;
}

static int run_journals(struct crash *c)
{
	static const char *const mode[] = {"truncate", "persist", "memory", "wal", "off", "delete"};
	char sql[60];

	for (int i = 0; i < 6; i++) {
		snprintf(sql, sizeof(sql), "pragma journal_mode = %s", mode[i]);
		CRASH_DO(c, run_mode(c, sql, i));
	}
	/* a statement that fails is undone, though the user has asked for no journal */
	CRASH_DO(c, sql_exec(c, "pragma journal_mode = off"));
	CRASH_DO(c, sql_fails(c,
			      "insert into b select case id when 19 then '1' else 'x' || id end, 0 "
			      "from a order by id",
			      SQLITE_CONSTRAINT_UNIQUE));
	CRASH_OP(c, sql_exec(c, "insert into b values('last', 1)"));
	return 0;
}
SQL_WL(wl_sql_journals, "sql.journals",
       "journal modes DELETE, TRUNCATE, PERSIST, MEMORY, WAL and OFF", 3, sql_kind_one, sql_rows,
       run_journals, NULL, sql_show);

/* --- synchronous: whatever is asked for, an acknowledged commit is durable --- */

static int run_synchronous(struct crash *c)
{
	static const char *const mode[] = {"off", "normal", "full", "extra"};
	char sql[100];

	for (int i = 0; i < 4; i++) {
		snprintf(sql, sizeof(sql), "pragma journal_mode = %s; pragma synchronous = %s",
			 i % 2 ? "memory" : "delete", mode[i]);
		CRASH_DO(c, run_mode(c, sql, 2 * i));
		CRASH_OP(c, sql_exec(c, "update b set n = n + 1 where k = 'one'"));
	}
	return 0;
}
SQL_WL(wl_sql_synchronous, "sql.synchronous", "synchronous OFF, NORMAL, FULL and EXTRA", 3,
       sql_kind_one, sql_rows, run_synchronous, NULL, sql_show);

/* --- exclusive locking mode: page 1 and locks are left out from the second transaction on --- */

static int run_exclusive(struct crash *c)
{
	CRASH_DO(c, sql_exec(c, "pragma locking_mode = exclusive"));
	CRASH_OP(c, sql_exec(c, "insert into b values('first', 1)"));
	CRASH_OP(c, sql_exec(c, "begin; update a set v = 'x' || v where id % 2; "
				"delete from b where k = 'one'; commit"));
	CRASH_DO(c, sql_exec(c, "begin; delete from a; rollback"));
	CRASH_OP(c, sql_exec(c, "insert into b values('third', 3)"));
	CRASH_OP(c, sql_exec(c, "pragma journal_mode = truncate; delete from a where id % 2 = 0"));
	CRASH_DO(c,
		 sql_exec(c, "pragma locking_mode = normal; select count(*) from sqlite_schema"));
	CRASH_OP(c, sql_exec(c, "insert into b values('normal', 4)"));
	return 0;
}
SQL_WL(wl_sql_exclusive, "sql.exclusive", "exclusive locking mode, and back", 3, sql_kind_one,
       sql_rows, run_exclusive, NULL, sql_show);

/* --- a cache too small for the transaction: pages are written early, and again, and put back --- */

static int run_spill(struct crash *c)
{
	CRASH_DO(c, sql_exec(c, "pragma cache_size = 2; pragma cache_spill = 1"));
	CRASH_OP(
		c,
		sql_exec(
			c,
			"begin; insert into a select id + 100, v || v || v from a; savepoint s;"
			"update a set v = hex(zeroblob(300)); delete from a where id % 3 = 0; rollback to s;"
			"insert into b select 'k' || id, id from a; commit"));
	CRASH_DO(c, sql_exec(c, "begin; update a set v = 'lost' || v || v; rollback"));
	CRASH_OP(c, sql_exec(c, "update a set v = id || v where id > 100"));
	return 0;
}
SQL_WL(wl_sql_spill, "sql.spill", "a cache of two pages: written before the commit, and put back",
       3, sql_kind_one, sql_rows, run_spill, NULL, sql_show);

/* --- without locks --- */

static const struct sql_kind kind_nolock = SQL_KIND(true, .uri = "&nolock=1");

static int run_nolock(struct crash *c)
{
	CRASH_OP(c, sql_exec(c, "insert into b values('two', 2)"));
	CRASH_OP(c, sql_exec(c, "begin; update a set v = 'changed' where id % 5 = 0; delete from a "
				"where id % 7 = 0; commit"));
	CRASH_DO(c, sql_exec(c, "begin; delete from a; rollback"));
	CRASH_OP(c, sql_exec(c, "insert into a values(100, 'hundred')"));
	return 0;
}
SQL_WL(wl_sql_nolock, "sql.nolock", "nolock=1: a transaction begins with the first page", 3,
       kind_nolock, sql_rows, run_nolock, NULL, sql_show);

/* --- the backup API: another database takes the place of this one, with pages of another size --- */

/* A file of another VFS, which keeps a WAL: its header says so, and nobody would find one here. */
static int make_source(struct crash *c, int page_size, int n, sqlite3 **out)
{
	char path[300], sql[400];
	int rc;

	snprintf(path, sizeof(path), "%s-plain", c->path);
	unlink(path);
	snprintf(sql, sizeof(sql),
		 "pragma page_size = %d; pragma journal_mode = wal;"
		 "create table a(id integer primary key, v text);"
		 "create table b(k text unique, n int); insert into b values('of %d', %d);"
		 "insert into a select n, n || ' row' from b; insert into a(v) select k from b;"
		 "pragma wal_checkpoint",
		 page_size, page_size, n);
	rc = sqlite3_open_v2(path, out, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, "unix");
	if (!rc)
		rc = sqlite3_exec(*out, sql, NULL, NULL, NULL);
	return rc ? crash_why(c, "the source of a backup: %s", sqlite3_errmsg(*out)) : 0;
}

static int copy_from(struct crash *c, sqlite3 *from)
{
	sqlite3_backup *b = sqlite3_backup_init(sql_of(c), "main", from, "main");
	int rc;

	if (!b)
		return crash_why(c, "backup: %s", sqlite3_errmsg(sql_of(c)));
	sqlite3_backup_step(b, -1);
	rc = sqlite3_backup_finish(b);
	return rc ? crash_why(c, "backup: %d", rc) : 0;
}

static int run_sql_backup(struct crash *c)
{
	static const int size[] = {1024, 4096, 512};
	sqlite3 *from = NULL;

	for (int i = 0; i < 3; i++) {
		CRASH_DO(c, make_source(c, size[i], 7 + i, &from));
		CRASH_OP(c, copy_from(c, from));
		sqlite3_close(from);
		CRASH_OP(c, sql_exec(c, "insert into b values('behind it', 1)"));
	}
	return 0;
}
SQL_WL(wl_sql_backup, "sql.backup",
       "the backup API into this database: other page sizes, a header that speaks of a WAL", 3,
       sql_kind_one, sql_rows, run_sql_backup, NULL, sql_show);
