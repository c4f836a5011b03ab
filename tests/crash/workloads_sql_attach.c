/* SPDX-License-Identifier: MIT
 * workloads_sql_attach.c -- transactions over several ATTACHed databases, of one store or of two (D16)
 *
 * SQLite's commit point is the deletion of a super-journal, or, where a journal mode has none, the first COMMIT_PHASETWO. Either way
 * the VFS makes one transaction of the engine of them (sqlite-vfs/src/group.c): all of them, or none, after any crash.
 */
#include "kind_sql.h"

static int setup_attach(struct crash *c)
{
	CRASH_DO(c, sql_rows(c));
	return sql_exec(c, "insert into two.a select id, 'two ' || v from a where id < 9");
}

/* --- by a super-journal --- */

static int run_attach(struct crash *c)
{
	CRASH_OP(c, sql_exec(c, "begin; insert into b values('both', 1); insert into two.b "
				"values('both', 1); commit"));
	CRASH_OP(c, sql_exec(c, "insert into two.b values('only there', 2)"));
	CRASH_OP(
		c,
		sql_exec(
			c,
			"begin; update a set v = 'moved' where id < 5; savepoint s; delete from two.a; delete from b; "
			"rollback to s; insert into two.a select id + 50, v from a where id < 5; commit"));
	CRASH_DO(c, sql_exec(c, "begin; delete from a; delete from two.a; rollback"));
	CRASH_OP(c, sql_exec(c, "insert into b values('only here', 3)"));
	CRASH_OP(c,
		 sql_exec(c, "begin; create table two.made(x unique); drop table b; create table "
			     "b(k text unique, n int); commit"));
	return 0;
}

/* After the first recovery, before the second crash. */
static int again_attach(struct crash *c)
{
	CRASH_OP(c, sql_exec(c, "begin; replace into b values('again', 1); replace into two.b "
				"values('again', 1); commit"));
	CRASH_OP(c, sql_exec(c, "delete from two.b where k = 'again'"));
	return 0;
}
SQL_WL(wl_sql_attach, "sql.attach",
       "transactions over two attached databases, by a super-journal (D16)", 3, sql_kind_pair,
       setup_attach, run_attach, again_attach, sql_show);

/* --- the same, where the other lies in another store: another file --- */

static int run_attach_stores(struct crash *c)
{
	CRASH_OP(c, sql_exec(c, "begin; insert into b values('both', 1); insert into two.b "
				"values('both', 1); commit"));
	CRASH_OP(c, sql_exec(c, "insert into two.b values('only there', 2)"));
	CRASH_DO(c, sql_exec(c, "pragma journal_mode = memory; pragma two.journal_mode = memory"));
	CRASH_OP(
		c,
		sql_exec(
			c,
			"begin; delete from a where id > 9; update two.a set v = 'moved'; commit"));
	CRASH_OP(c, sql_exec(c, "insert into b values('only here', 3)"));
	return 0;
}
SQL_WL(wl_sql_attach_stores, "sql.attach_stores",
       "transactions over attached databases of two stores (D16)", 3, sql_kind_apart, setup_attach,
       run_attach_stores, again_attach, sql_show, .pair = true);

/* --- every journal mode: with a super-journal, or without --- */

static int both_in_mode(struct crash *c, const char *one, const char *other, int n)
{
	char sql[300];

	snprintf(sql, sizeof(sql), "pragma main.journal_mode = %s; pragma two.journal_mode = %s",
		 one, other);
	CRASH_DO(c, sql_exec(c, sql));
	snprintf(
		sql, sizeof(sql),
		"begin; update a set v = '%d' || v where id %% 6 = %d; insert into two.b values('%d', %d); "
		"update two.a set v = v || '%d'; insert into b values('%d', %d); commit",
		n, n, n, n, n, n, n);
	CRASH_OP(c, sql_exec(c, sql));
	return 0;
}

static int run_attach_modes(struct crash *c)
{
	static const char *const mode[][2] = {{"memory", "memory"},  {"truncate", "truncate"},
					      {"persist", "delete"}, {"off", "off"},
					      {"memory", "delete"},  {"wal", "persist"}};

	for (int i = 0; i < 6; i++)
		CRASH_DO(c, both_in_mode(c, mode[i][0], mode[i][1], i));
	CRASH_DO(c, sql_exec(c, "pragma synchronous = off; pragma two.synchronous = off"));
	CRASH_DO(c, both_in_mode(c, "delete", "delete", 6));
	CRASH_DO(c, sql_exec(c, "pragma locking_mode = exclusive"));
	CRASH_DO(c, both_in_mode(c, "delete", "delete", 7));
	return both_in_mode(c, "memory", "memory", 8);
}
SQL_WL(wl_sql_attach_modes, "sql.attach_modes",
       "transactions over two attached databases in every journal mode (D16)", 3, sql_kind_pair,
       setup_attach, run_attach_modes, NULL, sql_show);

/* --- native tables in both: a file whose native rows alone changed writes no page --- */

static int setup_attach_native(struct crash *c)
{
	CRASH_DO(c, setup_attach(c));
	return sql_exec(
		c,
		"create virtual table n using twz(text text primary key, num int, index(num));"
		"create virtual table two.n using twz(text text primary key, num int, index(num));"
		"insert into n values('here', 1); insert into two.n values('there', 2)");
}

static int run_attach_native(struct crash *c)
{
	CRASH_OP(c, sql_exec(c, "begin; insert into n values('first', 1); insert into two.n "
				"values('first', 1); commit"));
	CRASH_OP(c,
		 sql_exec(c,
			  "begin; update b set n = n + 1; update two.n set num = num + 1; commit"));
	CRASH_OP(
		c,
		sql_exec(
			c,
			"begin; insert into two.b values('p', 1); insert into b values('p', 1); insert into n values('p', 1); "
			"savepoint s; delete from two.n; delete from n; rollback to s; commit"));
	CRASH_DO(c, sql_exec(c, "pragma journal_mode = memory; pragma two.journal_mode = memory"));
	CRASH_OP(c,
		 sql_exec(c,
			  "begin; delete from n where num = 1; insert into two.n values('m', 9); "
			  "insert into b values('m', 9); commit"));
	CRASH_OP(c, sql_exec(c, "begin; update n set num = -1; update two.n set num = -1; commit"));
	CRASH_OP(c, sql_exec(c, "begin; alter table two.n rename to o; drop table n; commit"));
	return 0;
}
SQL_WL(wl_sql_attach_native, "sql.attach_native",
       "native tables of two attached databases, also where no page changes (D16)", 3,
       sql_kind_pair, setup_attach_native, run_attach_native, NULL, sql_show_native);

/* --- three of them --- */

static int run_attach_three(struct crash *c)
{
	CRASH_OP(c, sql_exec(c, "begin; insert into b values('all', 1); insert into two.b "
				"values('all', 2); insert into three.b values('all', 3); commit"));
	CRASH_OP(c, sql_exec(c, "begin; delete from two.a; update three.b set n = 9; commit"));
	CRASH_OP(c,
		 sql_exec(c, "begin; delete from a where id > 3; insert into two.a values(1, 'x'); "
			     "insert into three.a select * from a; commit"));
	return 0;
}
SQL_WL(wl_sql_attach_three, "sql.attach_three", "transactions over three attached databases (D16)",
       3, sql_kind_three, setup_attach, run_attach_three, NULL, sql_show);

/* --- VACUUM of one beside the other, and INTO a database that is not there yet --- */

/* It stays attached. False: it is not there. */
static bool attach_third(struct crash *c)
{
	char *sql = sqlite3_mprintf("attach 'file:%q?db=three&mode=rw' as three", c->path);
	int rc = sqlite3_exec(sql_of(c), sql, NULL, NULL, NULL);

	sqlite3_free(sql);
	return !rc;
}

static int vacuum_into_third(struct crash *c)
{
	char *sql = sqlite3_mprintf("vacuum into 'file:%q?db=three'", c->path);
	int rc = sql ? sql_exec(c, sql) : crash_why(c, "no memory");

	sqlite3_free(sql);
	c->user[2] = NULL; /* SQLite has closed it again */
	return rc;
}

static int run_attach_vacuum(struct crash *c)
{
	CRASH_OP(c, sql_exec(c, "begin; delete from a where id % 2; delete from two.a; commit"));
	CRASH_OP(c, sql_exec(c, "pragma two.page_size = 2048; vacuum two"));
	CRASH_OP(c, sql_exec(c, "begin; insert into two.a values(1, 'after'); insert into b "
				"values('after', 1); commit"));
	CRASH_OP(c, vacuum_into_third(c));
	return 0;
}

/* The copy: not there, there and empty, which is told as if it were not, or whole. */
static int show_attach_vacuum(struct crash *c)
{
	CRASH_DO(c, sql_show(c));
	if (sqlite3_db_readonly(sql_of(c), "three") < 0 && !attach_third(c))
		return 0;
	if (sqlite3_table_column_metadata(sql_of(c), "three", "b", NULL, NULL, NULL, NULL, NULL,
					  NULL))
		return 0;
	CRASH_DO(c, sql_say(c, "select 'copy of ' || count(*) || ' ' || max(v) from three.a"));
	return sql_say(c, "select 'copy of ' || k from three.b order by k");
}
SQL_WL(wl_sql_attach_vacuum, "sql.attach_vacuum",
       "VACUUM of an attached database, and INTO another of the store", 3, sql_kind_pair,
       setup_attach, run_attach_vacuum, NULL, show_attach_vacuum);
