/* SPDX-License-Identifier: MIT
 * workloads_sql_native.c -- native tables: with ordinary ones, conflict clauses, indexes, savepoints, renamed and dropped
 *
 * Their columns are called text and num, which is what the state tells of them.
 */
#include "kind_sql.h"

#include "twz/store.h"
#include "twzdb.h"

/* --- native tables in one transaction with ordinary ones --- */

static int setup_native(struct crash *c)
{
	CRASH_DO(
		c,
		sql_exec(
			c,
			"create virtual table n using twz(text text primary key, num int not null, index(num));"
			"insert into n values('lamp', 7), ('desk', 0), ('rug', 3)"));
	return sql_rows(c);
}

static int run_native(struct crash *c)
{
	CRASH_OP(
		c,
		sql_exec(
			c,
			"begin; insert into n values('chair', 4); insert into b values('chair', 4);"
			"update n set num = num - 1 where text = 'lamp'; commit"));
	CRASH_OP(c, sql_exec(c, "insert into n select 'item ' || id, id from a"));
	CRASH_OP(
		c,
		sql_exec(
			c,
			"begin; delete from n where num > 10; savepoint s; delete from n; delete from b;"
			"rollback to s; update b set n = (select count(*) from n); commit"));
	CRASH_OP(c, sql_exec(c, "begin; drop table n; insert into b values('gone', 0); commit"));
	CRASH_OP(
		c,
		sql_exec(
			c,
			"create virtual table n using twz(text text primary key, num int not null)"));
	return 0;
}
/* Whoever prints a store, as a crash left it, stores nothing to it. */
static int show_native(struct crash *c)
{
	FILE *f = fopen("/dev/null", "w");
	int rc;

	if (!f)
		return crash_why(c, "/dev/null");
	rc = twzdb_dump(c->db, ~0u, f);
	if (!rc)
		rc = twz_dump(c->store, ~0u, f);
	fclose(f);
	return rc ? crash_failed(c, rc, "dump") : sql_show_native(c);
}
SQL_WL(wl_sql_native, "sql.native", "native tables in one transaction with ordinary ones", 10,
       sql_kind_one, setup_native, run_native, NULL, show_native);

/* --- all kinds of keys and columns, and indexes that change with their rows --- */

static int setup_indexes(struct crash *c)
{
	CRASH_DO(
		c,
		sql_exec(
			c,
			"create virtual table k using twz(text collate nocase, num real, extra blob, "
			"primary key(num desc, text), unique(text), index x(extra, num desc));"
			"create virtual table r using twz(id integer primary key, text, num int, index(num), "
			"index(text collate rtrim));"
			"create virtual table h using twz(text, num, unique(num))"));
	return sql_rows(c);
}

static int run_indexes(struct crash *c)
{
	CRASH_OP(
		c,
		sql_exec(
			c,
			"begin; insert into k select 'Key ' || id, id / 4.0, x'00' || v from a where id < 9;"
			"insert into r select id, v, null from a; insert into h values('a', 1), (x'ff', 2.5), ('c', null); commit"));
	CRASH_OP(c, sql_exec(c, "update k set num = -num, extra = null where num > 1"));
	CRASH_OP(
		c,
		sql_exec(
			c,
			"begin; update r set num = id % 3, text = 'same'; update r set id = id + 1000 where num = 1; commit"));
	CRASH_OP(c, sql_exec(c, "delete from r where num = 2 or text glob 'row*'"));
	CRASH_OP(
		c,
		sql_exec(
			c,
			"begin; delete from k where text like 'key 2%'; insert into h(text) values(hex(zeroblob(900))); "
			"update h set num = rowid + 10 where num is null; commit"));
	CRASH_OP(c, sql_exec(c, "begin; delete from h; insert into h values('again', 1); commit"));
	return 0;
}
SQL_WL(wl_sql_indexes, "sql.native_index", "native tables: keys and indexes of all kinds, changed",
       3, sql_kind_one, setup_indexes, run_indexes, NULL, sql_show_native);

/* --- conflict clauses: a statement undone, cut short, or that makes room --- */

static int setup_conflicts(struct crash *c)
{
	return sql_exec(
		c,
		"create virtual table n using twz(text text primary key, num int not null, c, unique(num), "
		"check(num < 1000)); insert into n values('a', 1, 0), ('b', 2, 0), ('c', 3, 0), ('d', 4, 0)");
}

static int run_conflicts(struct crash *c)
{
	CRASH_DO(c, sql_fails(c, "insert into n values('e', 5, 0), ('f', 3, 0)",
			      SQLITE_CONSTRAINT_UNIQUE));
	CRASH_OP(c, sql_exec(c, "insert or replace into n values('a', 3, 'two in one')"));
	CRASH_OP(c,
		 sql_exec(c, "insert or ignore into n values('g', 2, 1), ('h', 8, 1), ('b', 9, 1), "
			     "('i', 2000, 1), ('j', null, 1)"));
	CRASH_DO(c, sql_exec(c, "begin; insert into n values('before', 20, 2)"));
	CRASH_DO(c, sql_fails(c, "update or abort n set num = num + 4 where num <= 4 or num = 20",
			      SQLITE_CONSTRAINT_UNIQUE));
	CRASH_OP(c, sql_exec(c, "commit"));
	CRASH_DO(c, sql_fails(c,
			      "begin; insert into n values('lost', 30, 3);"
			      "insert or rollback into n values('lost too', 2, 3)",
			      SQLITE_CONSTRAINT_UNIQUE));
	CRASH_OP(c, sql_exec(c, "update or replace n set num = 8 where text = 'before'"));
	CRASH_OP(c, sql_exec(c, "update or ignore n set text = 'a' where num > 1"));
	CRASH_OP(c,
		 sql_fails(c, "insert or fail into n values('k', 40, 4), ('l', 8, 4), ('m', 41, 4)",
			   SQLITE_CONSTRAINT_UNIQUE)
			 ? -1
			 : 0);
	CRASH_DO(c, sql_fails(c, "insert into n values('big', 1000, 0)", SQLITE_CONSTRAINT_CHECK));
	CRASH_OP(c, sql_exec(c, "delete from n where num < 8"));
	return 0;
}
SQL_WL(wl_sql_conflicts, "sql.native_conflict", "native tables: conflict clauses", 3, sql_kind_one,
       setup_conflicts, run_conflicts, NULL, sql_show_native);

/* --- renamed, dropped and made, in transactions and savepoints --- */

static int run_names(struct crash *c)
{
	CRASH_OP(c, sql_exec(c, "alter table n rename to m"));
	CRASH_OP(
		c,
		sql_exec(
			c,
			"begin; insert into m values('new', 50); alter table m rename to o; "
			"create virtual table m using twz(text, num, index(num)); insert into m values('other', 1);"
			"update o set num = num + 1; commit"));
	CRASH_OP(
		c,
		sql_exec(
			c,
			"begin; savepoint s; drop table m; alter table o rename to p; insert into b values('lost', 0); "
			"create virtual table q using twz(text, num); insert into q values(1, 1); rollback to s; "
			"insert into m values('kept', 2); release s; commit"));
	CRASH_DO(
		c,
		sql_exec(
			c,
			"begin; drop table o; alter table m rename to o; insert into o values('lost', 3); rollback"));
	CRASH_OP(
		c,
		sql_exec(
			c,
			"savepoint t; drop table o; alter table m rename to o; savepoint u; delete from o; "
			"rollback to u; insert into o values('last', 4); release t"));
	CRASH_OP(c, sql_exec(c, "drop table o"));
	return 0;
}
SQL_WL(wl_sql_names, "sql.native_rename",
       "native tables renamed, dropped and made, also in savepoints", 3, sql_kind_one, setup_native,
       run_names, NULL, sql_show_native);

/* --- savepoints with pages written early: the engine's cover them, SQLite believes they are there --- */

static int run_nested(struct crash *c)
{
	CRASH_DO(c, sql_exec(c, "pragma cache_size = 2; pragma cache_spill = 1"));
	CRASH_OP(
		c,
		sql_exec(
			c,
			"begin; insert into n values('one', 1); savepoint s; insert into n select v, id from a;"
			"insert into a select id + 100, v || v || v from a; savepoint t; update n set num = num + 5;"
			"update a set v = 'lost' || v; rollback to t; insert into n values('two', 2); release t; rollback to s;"
			"insert into a values(77, 'kept'); release s; commit"));
	CRASH_DO(c, sql_exec(c, "begin; delete from n; update a set v = v || v; rollback"));
	CRASH_DO(c, sql_exec(c, "pragma locking_mode = exclusive"));
	CRASH_OP(
		c,
		sql_exec(
			c,
			"begin; insert into n values('exclusive', 9); insert into b values('exclusive', 9); commit"));
	CRASH_DO(
		c,
		sql_exec(
			c,
			"begin; insert into a select id + 200, v from a; delete from n; insert into b values('no', 0); rollback"));
	CRASH_OP(c, sql_exec(c, "insert into n values('after', 10)"));
	return 0;
}
SQL_WL(wl_sql_nested, "sql.native_savepoint",
       "native tables: savepoints over pages that were written early; exclusive locking mode", 5,
       sql_kind_one, setup_native, run_nested, NULL, sql_show_native);

/* --- a statement that reads goes on across a commit of its own connection --- */

static int next_is(struct crash *c, sqlite3_stmt *st, const char *want)
{
	const char *got =
		sqlite3_step(st) == SQLITE_ROW ? (const char *)sqlite3_column_text(st, 0) : "";

	return sqlite3_stricmp(got, want) ? crash_why(c, "read %s, not %s", got, want) : 0;
}

static int run_pinned(struct crash *c)
{
	sqlite3_stmt *st = NULL;

	CRASH_DO(c,
		 sqlite3_prepare_v2(sql_of(c), "select text from n order by text", -1, &st, NULL));
	CRASH_DO(c, next_is(c, st, "desk"));
	CRASH_OP(c, sql_exec(c, "insert into b values('meanwhile', 1)"));
	CRASH_DO(c, next_is(c, st, "lamp"));
	CRASH_OP(c, sql_exec(c, "update n set num = 100 where text = 'rug'"));
	CRASH_DO(c, next_is(c, st, "rug"));
	sqlite3_finalize(st);
	CRASH_OP(c, sql_exec(c, "delete from n"));
	return 0;
}
SQL_WL(wl_sql_pinned, "sql.native_pin", "a native table is read while its connection commits", 3,
       sql_kind_one, setup_native, run_pinned, NULL, sql_show_native);
