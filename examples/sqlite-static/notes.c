/* SPDX-License-Identifier: MIT
 * notes.c -- a program that uses SQLite, with the VFS "twz" linked into it
 *
 *	notes STORE [TEXT]	keep a note; print all
 */
#include <stdio.h>
#include <sqlite3.h>
#include <twzvfs.h>

static int die(sqlite3 *db)
{
	fprintf(stderr, "notes: %s\n", sqlite3_errmsg(db));
	sqlite3_close(db);
	return 1;
}

static int print(sqlite3 *db)
{
	sqlite3_stmt *st;

	if (sqlite3_prepare_v2(db, "select id, text from note order by id", -1, &st, NULL))
		return die(db);
	while (sqlite3_step(st) == SQLITE_ROW)
		printf("%d %s\n", sqlite3_column_int(st, 0), sqlite3_column_text(st, 1));
	if (sqlite3_finalize(st))
		return die(db);
	return sqlite3_close(db);
}

static int keep(sqlite3 *db, const char *text)
{
	sqlite3_stmt *st;

	if (sqlite3_prepare_v2(db, "insert into note(text) values(?)", -1, &st, NULL))
		return 1;
	sqlite3_bind_text(st, 1, text, -1, SQLITE_STATIC);
	sqlite3_step(st);
	return sqlite3_finalize(st); /* durable: no WAL file, no journal, nothing to check out */
}

int main(int argc, char **argv)
{
	sqlite3 *db;

	if (argc < 2) {
		fprintf(stderr, "usage: notes STORE [TEXT]\n");
		return 2;
	}
	/* 0: by name only; 1 would make it the default for every database of this program. */
	if (twzvfs_register(0))
		return 1;
	if (sqlite3_open_v2(argv[1], &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, "twz") ||
	    sqlite3_exec(db, "create table if not exists note(id integer primary key, text)", NULL,
			 NULL, NULL))
		return die(db);
	if (argc > 2 && keep(db, argv[2]))
		return die(db);
	return print(db);
}
