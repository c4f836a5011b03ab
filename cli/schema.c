/* SPDX-License-Identifier: MIT
 * schema.c -- .tables, .schema, .indexes, .databases
 */
#include "shell.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* The argument as a LIKE pattern; everything when there is none. */
static const char *pattern(const struct words *ws)
{
	return ws->cnt > 1 ? ws->w[1] : "%";
}

static int screen_width(FILE *f)
{
	struct winsize w;

	return ioctl(fileno(f), TIOCGWINSZ, &w) == 0 && w.ws_col ? w.ws_col : 80;
}

/* Names side by side, sorted down the columns, as ls does. */
static void print_names(struct shell *sh, char **name, int cnt)
{
	int max = 1, cols, rows;

	for (int i = 0; i < cnt; i++) {
		int w = (int)text_width(name[i], strlen(name[i]));

		max = w > max ? w : max;
	}
	cols = isatty(fileno(sh->out)) ? screen_width(sh->out) / (max + 2) : 80 / (max + 2);
	cols = cols < 1 ? 1 : cols;
	rows = (cnt + cols - 1) / cols;
	for (int r = 0; r < rows; r++) {
		for (int i = r; i < cnt; i += rows) {
			int w = (int)text_width(name[i], strlen(name[i]));

			fprintf(sh->out, "%s%*s", name[i], i + rows < cnt ? max + 2 - w : 0, "");
		}
		fputc('\n', sh->out);
	}
}

static int finish(struct shell *sh, sqlite3_stmt *st, int rc)
{
	sqlite3_finalize(st);
	return rc == SQLITE_DONE ? 0 : shell_sql_error(sh, NULL, -1, sh->src_line);
}

/* Names in the first column of ST, side by side. */
static int names_of(struct shell *sh, sqlite3_stmt *st)
{
	char **name = NULL;
	struct buf b = {0};
	int cnt = 0, rc;

	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		name = xrealloc(name, (size_t)(cnt + 1) * sizeof(*name));
		buf_reset(&b);
		buf_visible(&b, (const char *)sqlite3_column_text(st, 0),
			    (size_t)sqlite3_column_bytes(st, 0), false);
		name[cnt++] = xstrdup(buf_cstr(&b));
	}
	print_names(sh, name, cnt);
	for (int i = 0; i < cnt; i++)
		free(name[i]);
	free(name);
	buf_free(&b);
	return finish(sh, st, rc);
}

/* "SELECT ... UNION ALL" over the schema tables of all attached databases; MAKE adds one arm. */
static char *over_databases(struct shell *sh, void (*make)(struct buf *b, const char *db))
{
	sqlite3_stmt *st = shell_prepare(sh, "PRAGMA database_list");
	struct buf b = {0};

	while (st && sqlite3_step(st) == SQLITE_ROW) {
		const char *db = (const char *)sqlite3_column_text(st, 1);

		if (!strcmp(db, "temp") &&
		    shell_int(sh, "SELECT count(*) FROM temp.sqlite_schema") < 1)
			continue;
		buf_str(&b, b.n ? " UNION ALL " : "");
		make(&b, db);
	}
	sqlite3_finalize(st);
	return buf_cstr(&b);
}

/* Tables of attached databases are shown as "db.table". */
static void tables_arm(struct buf *b, const char *db)
{
	const char *prefix = !strcmp(db, "main") ? "" : db, *dot = *prefix ? "." : "";
	char *s = sqlite3_mprintf(
		"SELECT %Q || %Q || name AS n, name AS k FROM \"%w\".sqlite_schema "
		"WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%%' ESCAPE '\\'",
		prefix, dot, db);

	buf_str(b, s);
	sqlite3_free(s);
}

int dot_tables(struct shell *sh, const struct words *ws)
{
	char *union_sql = over_databases(sh, tables_arm);
	sqlite3_stmt *st = shell_prepare(sh, "SELECT n FROM (%s) WHERE k LIKE %Q ORDER BY n",
					 union_sql, pattern(ws));

	free(union_sql);
	return st ? names_of(sh, st) : 1;
}

int dot_indexes(struct shell *sh, const struct words *ws)
{
	sqlite3_stmt *st = shell_prepare(
		sh,
		"SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name LIKE %Q ORDER BY name",
		pattern(ws));

	return st ? names_of(sh, st) : 1;
}

static void schema_arm(struct buf *b, const char *db)
{
	char *s = sqlite3_mprintf(
		"SELECT sql, name, tbl_name, type, rowid AS r, %d AS o FROM \"%w\".sqlite_schema",
		strcmp(db, "main") != 0, db);

	buf_str(b, s);
	sqlite3_free(s);
}

int dot_schema(struct shell *sh, const struct words *ws)
{
	char *union_sql = over_databases(sh, schema_arm);
	sqlite3_stmt *st = shell_prepare(
		sh,
		"SELECT sql FROM (%s) WHERE sql IS NOT NULL AND (name LIKE %Q OR tbl_name LIKE %Q) "
		"AND name NOT LIKE 'sqlite\\_%%' ESCAPE '\\' ORDER BY o, r",
		union_sql, pattern(ws), pattern(ws));
	struct buf b = {0};
	int rc;

	free(union_sql);
	if (!st)
		return 1;
	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		buf_reset(&b);
		buf_visible(&b, (const char *)sqlite3_column_text(st, 0),
			    (size_t)sqlite3_column_bytes(st, 0), true);
		fprintf(sh->out, "%s;\n", buf_cstr(&b));
	}
	buf_free(&b);
	return finish(sh, st, rc);
}

int dot_databases(struct shell *sh, const struct words *ws)
{
	sqlite3_stmt *st =
		shell_prepare(sh, "SELECT name, file FROM pragma_database_list ORDER BY seq");
	int rc;

	(void)ws;
	if (!st)
		return 1;
	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		const char *name = (const char *)sqlite3_column_text(st, 0),
			   *file = (const char *)sqlite3_column_text(st, 1);
		bool main_db = !strcmp(name, "main");

		fprintf(sh->out, "%s: %s%s\n", name,
			main_db		? sh->store
			: file && *file ? file
					: "\"\"",
			sqlite3_db_readonly(sh->db, name) == 1 ? " (read-only)" : "");
	}
	return finish(sh, st, rc);
}
