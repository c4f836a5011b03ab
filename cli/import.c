/* SPDX-License-Identifier: MIT
 * import.c -- .import: see import.h
 */
#include "import.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "csv.h"
#include "progress.h"

struct import {
	struct shell *sh;
	const struct import_options *opt;
	const char *file, *table;
	FILE *f;
	struct csv csv;
	sqlite3_stmt *insert;
	int col_cnt;
	uint64_t rows;
	struct progress p;
};

/* "FILE:LINE: what; nothing was imported". Returns 1. */
static int fail_at(struct import *im, const char *what, const char *hint)
{
	return shell_error(im->sh, "%s:%ld: %s, nothing was imported%s", im->file,
			   im->csv.record_line, what, hint);
}

static int open_file(struct import *im)
{
	bool pipe = im->file[0] == '|';
	struct stat st;

	im->f = pipe ? popen(im->file + 1, "r") : fopen(im->file, "r");
	if (!im->f)
		return shell_error(im->sh, ".import: cannot open %s (%s); try another path",
				   im->file, strerror(errno));
	if (fstat(fileno(im->f), &st) == 0 && S_ISDIR(st.st_mode))
		return shell_error(im->sh, ".import: %s is a directory; try a file in it",
				   im->file);
	progress_begin(&im->p, "importing", S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0);
	return 0;
}

/* Closes; a command that failed fails the import. */
static int close_file(struct import *im, int rc)
{
	int status;

	if (!im->f)
		return rc;
	progress_end(&im->p);
	status = im->file[0] == '|' ? pclose(im->f) : fclose(im->f);
	im->f = NULL;
	if (status != 0 && rc == 0)
		return shell_error(
			im->sh, ".import: '%s' failed, nothing was imported; try it in a terminal",
			im->file + 1);
	return rc;
}

/*
 * The name of column I made from the header: not empty, not one of the names in SEEN (separated
 * by newlines).
 */
static char *column_name(struct import *im, int i, struct buf *seen)
{
	size_t n;
	const char *s = csv_field_at(&im->csv, i, &n);
	char *base = n && !memchr(s, 0, n) ? xstrndup(s, n) : xasprintf("column_%d", i + 1);
	char *name = xstrdup(base), *key = xasprintf("\n%s\n", base);

	for (int k = 2; strcasestr(buf_cstr(seen), key); k++) {
		free(name);
		free(key);
		name = xasprintf("%s_%d", base, k);
		key = xasprintf("\n%s\n", name);
	}
	buf_str(seen, key);
	free(base);
	free(key);
	return name;
}

static int create_table(struct import *im)
{
	struct buf sql = {0}, seen = {0};
	int rc = csv_next(&im->csv);

	if (rc < 0)
		return fail_at(im, im->csv.err, "; try correcting the file");
	if (rc == 0)
		return fail_at(im, "the file is empty, so there is no header to make a table from",
			       "; try CREATE TABLE first");
	buf_str(&sql, "CREATE TABLE ");
	sql_ident(&sql, im->table);
	for (int i = 0; i < im->csv.cnt; i++) {
		char *name = column_name(im, i, &seen);

		buf_str(&sql, i ? ", " : "(");
		sql_ident(&sql, name);
		buf_str(&sql, " TEXT");
		free(name);
	}
	buf_chr(&sql, ')');
	rc = shell_exec(im->sh, "%s", buf_cstr(&sql));
	buf_free(&sql);
	buf_free(&seen);
	return rc;
}

static int count_columns(struct import *im)
{
	im->col_cnt = (int)shell_int(
		im->sh, "SELECT count(*) FROM pragma_table_xinfo(%Q) WHERE hidden = 0", im->table);
	return im->col_cnt;
}

static int prepare_insert(struct import *im)
{
	struct buf b = {0};

	buf_str(&b, "INSERT INTO ");
	sql_ident(&b, im->table);
	buf_str(&b, " VALUES(");
	for (int i = 0; i < im->col_cnt; i++)
		buf_str(&b, i ? ",?" : "?");
	buf_chr(&b, ')');
	im->insert = shell_prepare(im->sh, "%s", buf_cstr(&b));
	buf_free(&b);
	return im->insert == NULL;
}

static int skip_records(struct import *im)
{
	int rc = 1;

	for (long i = 0; i < im->opt->skip && rc > 0; i++)
		rc = csv_next(&im->csv);
	return rc < 0 ? fail_at(im, im->csv.err, "; try correcting the file") : 0;
}

static int wrong_count(struct import *im)
{
	char *what = xasprintf("%d field%s where table %s has %d", im->csv.cnt,
			       im->csv.cnt == 1 ? "" : "s", im->table, im->col_cnt);
	int rc = fail_at(im, what, "; try correcting the line, or --fill");

	free(what);
	return rc;
}

static int insert_failed(struct import *im)
{
	int rc = sqlite3_extended_errcode(im->sh->db);
	const char *msg = sqlite3_errmsg(im->sh->db), *why = storage_reason();
	const char *hint = shell_hint(rc, msg);
	char *what = xasprintf("%s%s%s%s", msg, *why ? " (" : "", why, *why ? ")" : "");

	fail_at(im, what, *hint ? hint : "; try correcting the line, or another table");
	free(what);
	return 1;
}

/* Missing fields stay NULL (the bindings were cleared). */
static int insert_record(struct import *im)
{
	int cnt = im->csv.cnt < im->col_cnt ? im->csv.cnt : im->col_cnt;

	if (im->csv.cnt != im->col_cnt && !im->opt->fill)
		return wrong_count(im);
	sqlite3_clear_bindings(im->insert);
	for (int i = 0; i < cnt; i++) {
		size_t n;
		const char *s = csv_field_at(&im->csv, i, &n);

		sqlite3_bind_text64(im->insert, i + 1, s, n, SQLITE_STATIC, SQLITE_UTF8);
	}
	sqlite3_step(im->insert);
	if (sqlite3_reset(im->insert) != SQLITE_OK)
		return insert_failed(im);
	im->rows++;
	return 0;
}

static int insert_all(struct import *im)
{
	int rc;

	while ((rc = csv_next(&im->csv)) > 0) {
		/*
		 * In a table of one column an empty line is an empty value; elsewhere it is
		 * nothing.
		 */
		if (csv_is_blank(&im->csv) && im->col_cnt > 1)
			continue;
		if (insert_record(im))
			return 1;
		if (im->rows % 256 == 0 && shell_interrupted)
			return shell_error(im->sh, ".import: cancelled, nothing was imported");
		progress_step(&im->p, im->p.total ? im->csv.bytes : im->rows);
	}
	return rc < 0 ? fail_at(im, im->csv.err, "; try correcting the file") : 0;
}

static int import_records(struct import *im)
{
	if (skip_records(im))
		return 1;
	if (count_columns(im) < 1 && (create_table(im) || count_columns(im) < 1))
		return 1;
	return prepare_insert(im) || insert_all(im);
}

int import_file(struct shell *sh, const struct import_options *opt, const char *file,
		const char *table, struct import_result *res)
{
	struct import im = {.sh = sh, .opt = opt, .file = file, .table = table};
	double t = now_s();
	int rc;

	*res = (struct import_result){0};
	if (open_file(&im))
		return close_file(&im, 1);
	csv_begin(&im.csv, im.f, opt->sep);
	/* A savepoint, so that an import inside the user's transaction can fail alone. */
	rc = shell_exec(sh, "SAVEPOINT twzdb_import") || import_records(&im);
	sqlite3_finalize(im.insert);
	rc = close_file(&im, rc);
	if (!rc)
		rc = shell_exec(sh, "RELEASE twzdb_import");
	if (rc) /* fails harmlessly when the error ended the whole transaction */
		sqlite3_exec(sh->db, "ROLLBACK TO twzdb_import; RELEASE twzdb_import", NULL, NULL,
			     NULL);
	*res = (struct import_result){im.rows, im.csv.bytes, now_s() - t};
	csv_end(&im.csv);
	return rc;
}

/* One option word at W[I] into *OPT; how many words it took, 0: not an option we know. */
static int take_option(struct import_options *opt, const struct words *ws, int i)
{
	const char *o = ws->w[i] + (ws->w[i][0] == '-' && ws->w[i][1] == '-');

	if (!strcmp(o, "-csv"))
		opt->sep = ',';
	else if (!strcmp(o, "-tsv"))
		opt->sep = '\t';
	else if (!strcmp(o, "-fill"))
		opt->fill = true;
	else if (!strcmp(o, "-skip") && i + 1 < ws->cnt && parse_long(ws->w[i + 1], &opt->skip) &&
		 opt->skip >= 0)
		return 2;
	else
		return 0;
	return 1;
}

int dot_import(struct shell *sh, const struct words *ws)
{
	struct import_options opt = {.sep = ','};
	struct import_result res;
	char n[SIZE_STR_LEN];
	int i = 1, took;

	while (i < ws->cnt && ws->w[i][0] == '-') {
		took = take_option(&opt, ws, i);
		if (!took)
			return shell_error(
				sh,
				".import: option '%s' is unknown or lacks its number; try .help import",
				ws->w[i]);
		i += took;
	}
	if (!sh->db || ws->cnt - i != 2)
		return shell_error(
			sh,
			"usage: .import [--csv|--tsv] [--skip N] [--fill] FILE TABLE; try .help import");
	if (import_file(sh, &opt, ws->w[i], ws->w[i + 1], &res))
		return 1;
	if (sh->interactive)
		fprintf(sh->out, "%s rows into %s in %.2f s\n", count_str(res.rows, n),
			ws->w[i + 1], res.seconds);
	return 0;
}
