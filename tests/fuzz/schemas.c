/* SPDX-License-Identifier: MIT
 * schemas.c -- databases of SQLite's to begin with, by what is in their files
 */
#include "seed.h"

#define MANY "with recursive n(x) as (values(1) union all select x + 1 from n where x < "
#define T    "create table t(a integer primary key, b, c);"

const char *const schemas[] = {
	/* an index, a view, a trigger */
	T
	"create index i on t(b);" MANY
	"60) insert into t select x, 'row ' || x * 7919 % 100, zeroblob(x % 90) from n;"
	"create view w as select a, b from t; create trigger g after delete on t begin update t set c = 1 where a = old.a + 1; end",
	/* small pages: overflow, a deep tree, free pages */
	"pragma page_size=512;" T MANY
	"150) insert into t select x, x * 31 % 57, randomblob(x % 13 * 60) from n;"
	"create index i on t(b, c); create index j on t(a) where b > 9; delete from t where a % 3 = 1; analyze",
	/* without rowid, generated columns, constraints */
	T
	"create table w(k text collate nocase, n int check(n > 0), s as (n * 2) stored, primary key(k, n)) without rowid;"
	"insert into w(k, n) values('a', 1), ('B', 2), ('b', 3); create unique index u on w(s desc);"
	"create table r(x references t(a) on delete cascade, y not null default (1 + 1)); insert into t values(1, 2.5, null); insert into r(x) values(1)",
	/* auto_vacuum, autoincrement, a version */
	"pragma auto_vacuum=incremental; pragma page_size=1024;" T
	"create table q(id integer primary key autoincrement, v);"
	"insert into q(v) values('x'), ('y'); delete from q where id = 2; pragma user_version=77; pragma application_id=12345;" MANY
	"40) insert into t select x, hex(randomblob(x)), x / 3.0 from n; delete from t where a > 9",
	/* UTF-16, every kind of value */
	"pragma encoding='UTF-16le';" T
	"insert into t values(1, 'text \xc3\xa9 \xe2\x82\xac', x'00ff'), (-9223372036854775808, 1e308, -0.0),"
	"(9223372036854775807, 9007199254740993, ''), (5, null, x''), (6, 'it''s', char(0) || 'nul'), (7, '\n-- /* ;', '\"')",
	/* names that need quotes, a statement with comments in it */
	T
	"create table \"odd \"\"name\"(\"a b\", [select], `c;d` default ';'); insert into \"odd \"\"name\" values(1, 2, 3);"
	"create table z(x /* not ; the end */, y -- nor here\n); insert into z values(1, ';'); create view \"v;w\" as select 1 as \"x;\", ';' as y;"
	"create trigger tt after insert on z begin insert into t(b) values(new.x); select case when 1 then 2 end; end; insert into z values(3, 4)",
	/* full text: tables of tables */
	T
	"create virtual table ft using fts5(body, tokenize='porter'); insert into ft values('some words to find'), ('words again'); delete from ft where rowid = 1",
	/* a table of the engine's, by its name only */
	T
	"insert into t values(1, 2, 3); pragma writable_schema=1;"
	"insert into sqlite_master values('table','v','v',0,'CREATE VIRTUAL TABLE v USING twz(item text primary key, n int)')",
	(const char *)0,
};
