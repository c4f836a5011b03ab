/* SPDX-License-Identifier: MIT
 * dump.c -- .dump, .backup, .restore: a database as SQL, or copied page by page
 */
#include "shell.h"

#include <stdlib.h>
#include <string.h>

#include "progress.h"

struct dump {
	struct shell *sh;
	const char *like;
	bool writable_schema; /* switched on in the script */
	struct progress p;
	uint64_t rows;
	struct buf line;
};

/* A CREATE statement may end in a comment, which would swallow the semicolon. */
static void print_sql(FILE *f, const char *sql)
{
	const char *last = strrchr(sql, '\n');

	fprintf(f, "%s%s;\n", sql, strstr(last ? last : sql, "--") ? "\n" : "");
}

/* The columns an INSERT without a column list takes: no hidden, no generated ones. */
static char *column_list(struct shell *sh, const char *table)
{
	sqlite3_stmt *st = shell_prepare(
		sh, "SELECT name FROM pragma_table_xinfo(%Q) WHERE hidden = 0", table);
	struct buf b = {0};

	while (st && sqlite3_step(st) == SQLITE_ROW) {
		buf_str(&b, b.n ? "," : "");
		sql_ident(&b, (const char *)sqlite3_column_text(st, 0));
	}
	sqlite3_finalize(st);
	return buf_cstr(&b);
}

static void literal(struct buf *b, sqlite3_stmt *st, int i)
{
	int type = sqlite3_column_type(st, i);
	const void *p = type == SQLITE_BLOB ? sqlite3_column_blob(st, i) : NULL;

	switch (type) {
	case SQLITE_NULL:
		buf_str(b, "NULL");
		break;
	case SQLITE_INTEGER:
		buf_fmt(b, "%lld", (long long)sqlite3_column_int64(st, i));
		break;
	case SQLITE_FLOAT:
		sql_real(b, sqlite3_column_double(st, i));
		break;
	case SQLITE_BLOB:
		sql_blob(b, p, (size_t)sqlite3_column_bytes(st, i));
		break;
	default:
		p = sqlite3_column_text(st, i);
		sql_text(b, p, (size_t)sqlite3_column_bytes(st, i));
	}
}

static void dump_row(struct dump *d, sqlite3_stmt *st, const char *table)
{
	buf_reset(&d->line);
	buf_str(&d->line, "INSERT INTO ");
	sql_ident(&d->line, table);
	buf_str(&d->line, " VALUES(");
	for (int i = 0; i < sqlite3_column_count(st); i++) {
		if (i)
			buf_chr(&d->line, ',');
		literal(&d->line, st, i);
	}
	buf_str(&d->line, ");\n");
	fwrite(d->line.p, 1, d->line.n, d->sh->out);
	progress_step(&d->p, ++d->rows);
}

/* In the order of the table itself: through an index that has all columns it would be another one, as statistics will have it. */
static char *own_order(struct shell *sh, const char *table)
{
	sqlite3_stmt *st = shell_prepare(
		sh,
		"SELECT i.name FROM pragma_table_list(%Q) t, pragma_table_xinfo(%Q) i "
		"WHERE t.schema = 'main' AND t.wr AND i.pk ORDER BY i.pk",
		table, table);
	struct buf b = {0};

	while (st && sqlite3_step(st) == SQLITE_ROW) {
		buf_str(&b, b.n ? "," : " ORDER BY ");
		sql_ident(&b, (const char *)sqlite3_column_text(st, 0));
	}
	sqlite3_finalize(st);
	if (!b.n)
		buf_str(&b, " NOT INDEXED");
	return buf_cstr(&b);
}

static int dump_rows(struct dump *d, const char *table)
{
	char *cols = column_list(d->sh, table), *order = own_order(d->sh, table);
	sqlite3_stmt *st =
		shell_prepare(d->sh, "SELECT %s FROM \"%w\"%s", *cols ? cols : "*", table, order);
	int rc = SQLITE_DONE;

	free(cols);
	free(order);
	if (!st)
		return 1;
	while (!ferror(d->sh->out) && (rc = sqlite3_step(st)) == SQLITE_ROW)
		dump_row(d, st, table);
	sqlite3_finalize(st);
	return rc == SQLITE_DONE || rc == SQLITE_ROW
		       ? 0
		       : shell_sql_error(d->sh, NULL, -1, d->sh->src_line);
}

/* "CREATE VIRTUAL TABLE name USING twz(...)": its rows are its own, in no other table. */
static bool is_native(const char *sql)
{
	const char *s = sql;

	while (*s && sqlite3_strnicmp(s, "USING", 5) != 0) {
		char end = *s == '[' ? ']' : *s;

		if (strchr("\"'`[", *s))
			for (s++; *s && *s != end; s++)
				;
		s += *s != 0;
	}
	for (s += *s ? 5 : 0; *s && strchr(" \t\r\n\"", *s); s++)
		;
	return !sqlite3_strnicmp(s, "twz", 3) && strchr(" \t\r\n\"(", s[3]);
}

/*
 * Creating a virtual table would create its shadow tables, which are dumped as what they are:
 * so only its entry is written.
 */
static void dump_virtual(struct dump *d, const char *name, const char *sql)
{
	char *s;

	if (!d->writable_schema)
		fputs("PRAGMA writable_schema=ON;\n", d->sh->out);
	d->writable_schema = true;
	s = sqlite3_mprintf(
		"INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql) VALUES('table',%Q,%Q,0,%Q);\n",
		name, name, sql);
	fputs(s, d->sh->out);
	sqlite3_free(s);
}

static int dump_table(struct dump *d, const char *name, const char *sql)
{
	if (!strcmp(name, "sqlite_sequence")) {
		fputs("DELETE FROM sqlite_sequence;\n", d->sh->out);
	} else if (!sqlite3_strnicmp(name, "sqlite_stat", 11)) {
		fputs("ANALYZE sqlite_schema;\n", d->sh->out);
	} else if (!sqlite3_strnicmp(name, "sqlite_", 7)) {
		return 0;
	} else if (!sqlite3_strnicmp(sql, "CREATE VIRTUAL TABLE", 20) && !is_native(sql)) {
		dump_virtual(d, name, sql);
		return 0;
	} else {
		print_sql(d->sh->out, sql);
	}
	return dump_rows(d, name);
}

/* SQLite's own tables last, by name: which of them was made first is no property of the database. */
static int dump_tables(struct dump *d)
{
	sqlite3_stmt *st = shell_prepare(
		d->sh,
		"SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND sql IS NOT NULL "
		"AND name LIKE %Q ORDER BY iif(name LIKE 'sqlite\\_%%' ESCAPE '\\', name, ''), rowid",
		d->like);
	int rc = st ? 0 : 1;

	while (st && !rc && sqlite3_step(st) == SQLITE_ROW)
		rc = dump_table(d, (const char *)sqlite3_column_text(st, 0),
				(const char *)sqlite3_column_text(st, 1));
	sqlite3_finalize(st);
	return rc;
}

static int dump_rest(struct dump *d)
{
	sqlite3_stmt *st = shell_prepare(
		d->sh,
		"SELECT sql FROM sqlite_schema WHERE type IN ('index', 'trigger', 'view') AND sql IS NOT NULL "
		"AND tbl_name LIKE %Q ORDER BY type = 'trigger', rowid",
		d->like);

	if (!st)
		return 1;
	while (sqlite3_step(st) == SQLITE_ROW)
		print_sql(d->sh->out, (const char *)sqlite3_column_text(st, 0));
	sqlite3_finalize(st);
	return 0;
}

static void dump_pragma(struct shell *sh, const char *name)
{
	sqlite3_int64 v = shell_int(sh, "PRAGMA %s", name);

	if (v)
		fprintf(sh->out, "PRAGMA %s=%lld;\n", name, (long long)v);
}

int dot_dump(struct shell *sh, const struct words *ws)
{
	struct dump d = {.sh = sh, .like = ws->cnt > 1 ? ws->w[1] : "%"};
	bool own = sh->db && sqlite3_get_autocommit(sh->db);
	int rc;

	/* One transaction, so that all tables are of one moment. */
	if (!sh->db || (own && shell_exec(sh, "BEGIN")))
		return 1;
	progress_begin(&d.p, "dumped rows:", 0);
	fputs("PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n", sh->out);
	rc = dump_tables(&d) || dump_rest(&d);
	if (!rc && ws->cnt < 2) {
		dump_pragma(sh, "user_version");
		dump_pragma(sh, "application_id");
	}
	if (d.writable_schema)
		fputs("PRAGMA writable_schema=OFF;\n", sh->out);
	fputs(rc ? "ROLLBACK; -- due to errors\n" : "COMMIT;\n", sh->out);
	progress_end(&d.p);
	buf_free(&d.line);
	if (own)
		sqlite3_exec(sh->db, "COMMIT", NULL, NULL, NULL);
	return rc;
}

#define PAGES_PER_STEP 256

/* Copy database main of FROM over that of TO. An SQLite code; the message is TO's. */
static int copy_pages(sqlite3 *from, sqlite3 *to)
{
	sqlite3_backup *b = sqlite3_backup_init(to, "main", from, "main");
	struct progress p;
	int rc = SQLITE_OK;

	if (!b)
		return sqlite3_errcode(to);
	progress_begin(&p, "copying", 0);
	while (rc == SQLITE_OK) {
		rc = shell_interrupted ? SQLITE_INTERRUPT : sqlite3_backup_step(b, PAGES_PER_STEP);
		p.total = (uint64_t)sqlite3_backup_pagecount(b);
		progress_step(&p, p.total - (uint64_t)sqlite3_backup_remaining(b));
	}
	progress_end(&p);
	sqlite3_backup_finish(b);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int copy_error(struct shell *sh, const char *cmd, const char *file, sqlite3 *to, int rc)
{
	const char *why = storage_reason();

	if (rc == SQLITE_INTERRUPT)
		return shell_error(sh, "%s: cancelled, %s is unchanged", cmd, file);
	return shell_error(sh, "%s: cannot copy to %s (%s); try another file", cmd, file,
			   *why ? why : sqlite3_errmsg(to));
}

/* Names that end in .twz or name a database are stores, all others plain SQLite files. */
static bool names_store(const char *name)
{
	size_t n = strlen(name);

	return strstr(name, "?db=") || (n > 4 && !strcmp(name + n - 4, ".twz"));
}

/* Pages have been copied, and rows of native tables lie in none. */
static void warn_native(struct shell *sh, const char *cmd)
{
	sqlite3_stmt *st = shell_prepare(
		sh, "SELECT name, sql FROM sqlite_schema WHERE sql LIKE 'CREATE VIRTUAL TABLE%%'");

	while (st && sqlite3_step(st) == SQLITE_ROW)
		if (is_native((const char *)sqlite3_column_text(st, 1)))
			fprintf(stderr,
				"twzdb: %s: native table %s: only its name was copied; .dump writes its rows, too\n",
				cmd, (const char *)sqlite3_column_text(st, 0));
	sqlite3_finalize(st);
}

int dot_backup(struct shell *sh, const struct words *ws)
{
	bool plain = ws->cnt == 3 && (!strcmp(ws->w[1], "--plain") || !strcmp(ws->w[1], "-plain"));
	const char *name = ws->w[ws->cnt - 1];
	sqlite3 *to;
	char *err;
	int rc;

	if (ws->cnt == 3 && !plain)
		return shell_error(sh, ".backup: '%s' is not an option; try: .backup --plain %s",
				   ws->w[1], name);
	if (store_connect(name, false, plain || !names_store(name), &to, &err)) {
		shell_error(sh, ".backup: %s", err);
		free(err);
		return 1;
	}
	rc = copy_pages(sh->db, to);
	if (rc)
		copy_error(sh, ".backup", name, to, rc);
	else
		warn_native(sh, ws->w[0]);
	sqlite3_close_v2(to);
	return rc != 0;
}

int dot_restore(struct shell *sh, const struct words *ws)
{
	const char *name = ws->w[1];
	sqlite3 *from;
	char *err;
	int rc;

	if (store_connect(name, true, is_plain_sqlite(name), &from, &err)) {
		shell_error(sh, ".restore: %s", err);
		free(err);
		return 1;
	}
	rc = copy_pages(from, sh->db);
	if (rc)
		copy_error(sh, ".restore", sh->store, sh->db, rc);
	sqlite3_close_v2(from);
	return rc != 0;
}
