/* SPDX-License-Identifier: MIT
 * complete.c -- what the Tab key offers: dot commands and their arguments, tables, columns,
 * keywords, files
 */
#include "line.h"

#include <ctype.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static void add(struct completion *c, const char *word)
{
	c->word = xrealloc(c->word, (size_t)(c->cnt + 1) * sizeof(*c->word));
	c->word[c->cnt++] = xstrdup(word);
}

static void add_if(struct completion *c, const char *word, const char *prefix)
{
	if (starts_with_ci(word, prefix))
		add(c, word);
}

/*
 * First column of every row of SQL that begins with PREFIX. Silent about errors: completion is
 * a convenience.
 */
static void add_names(struct completion *c, sqlite3 *db, const char *sql, const char *prefix)
{
	sqlite3_stmt *st = NULL;

	if (!db || sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK)
		return;
	while (sqlite3_step(st) == SQLITE_ROW) {
		const char *name = (const char *)sqlite3_column_text(st, 0);
		struct buf b = {0};

		if (!name)
			continue;
		if (starts_with_ci(name, prefix)) {
			sql_ident(&b, name);
			add(c, buf_cstr(&b));
		}
		buf_free(&b);
	}
	sqlite3_finalize(st);
}

static void add_tables(struct completion *c, sqlite3 *db, const char *prefix)
{
	add_names(c, db, "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')", prefix);
}

static void add_columns(struct completion *c, sqlite3 *db, const char *prefix)
{
	add_names(c, db,
		  "SELECT DISTINCT i.name FROM sqlite_schema s, pragma_table_info(s.name) i "
		  "WHERE s.type IN ('table', 'view')",
		  prefix);
}

/* In the case the user types. */
static void add_keywords(struct completion *c, const char *prefix)
{
	bool lower = *prefix && islower((unsigned char)prefix[0]);
	const char *kw;
	int n;

	for (int i = 0; i < sqlite3_keyword_count(); i++) {
		char *w;

		if (sqlite3_keyword_name(i, &kw, &n) != SQLITE_OK ||
		    strncasecmp(kw, prefix, strlen(prefix)) != 0)
			continue;
		w = xstrndup(kw, (size_t)n);
		for (char *p = w; lower && *p; p++)
			*p = (char)tolower((unsigned char)*p);
		add(c, w);
		free(w);
	}
}

static void add_files(struct completion *c, const char *prefix)
{
	char *pat = xasprintf("%s*", prefix);
	glob_t g;

	if (glob(pat, GLOB_MARK | GLOB_NOSORT | GLOB_TILDE, NULL, &g) == 0) {
		for (size_t i = 0; i < g.gl_pathc; i++)
			add(c, g.gl_pathv[i]);
		globfree(&g);
	}
	c->name = true;
	free(pat);
}

static void add_dots(struct completion *c, const char *prefix)
{
	for (int i = 0; dot_name(i); i++) {
		char *w = xasprintf(".%s", dot_name(i));

		add_if(c, w, prefix);
		free(w);
	}
}

static void add_modes(struct completion *c, const char *prefix)
{
	for (int i = 0; i < OUT_MODE_CNT; i++)
		add_if(c, out_mode_name((enum out_mode)i), prefix);
}

/* Is the first word of TEXT the command NAME, or a beginning of it that is long enough to tell? */
static bool is_cmd(const char *text, const char *name)
{
	size_t n = strcspn(text + 1, " \t");

	return n >= 2 && n <= strlen(name) && strncasecmp(text + 1, name, n) == 0;
}

static void complete_dot_arg(struct shell *sh, struct completion *c, const char *text,
			     const char *prefix)
{
	if (is_cmd(text, "mode"))
		add_modes(c, prefix);
	else if (is_cmd(text, "inspect"))
		for (int i = 0; inspect_part(i); i++)
			add_if(c, inspect_part(i), prefix);
	else if (is_cmd(text, "help"))
		for (int i = 0; dot_name(i); i++)
			add_if(c, dot_name(i), prefix);
	else if (is_cmd(text, "read") || is_cmd(text, "open") || is_cmd(text, "output") ||
		 is_cmd(text, "once") || is_cmd(text, "backup") || is_cmd(text, "restore"))
		add_files(c, prefix);
	else if (is_cmd(text, "import")) {
		add_files(c, prefix);
		add_tables(c, sh->db, prefix);
	} else if (is_cmd(text, "schema") || is_cmd(text, "dump") || is_cmd(text, "tables") ||
		   is_cmd(text, "indexes"))
		add_tables(c, sh->db, prefix);
}

static int by_name(const void *a, const void *b)
{
	return strcasecmp(*(char *const *)a, *(char *const *)b);
}

static size_t common_len(const char *a, const char *b)
{
	size_t n = 0;

	while (a[n] && tolower((unsigned char)a[n]) == tolower((unsigned char)b[n]))
		n++;
	return n;
}

static void sort_unique(struct completion *c)
{
	int n = 0;

	if (!c->cnt)
		return;
	qsort(c->word, (size_t)c->cnt, sizeof(*c->word), by_name);
	c->common = strlen(c->word[0]);
	for (int i = 0; i < c->cnt; i++) {
		size_t k = common_len(c->word[0], c->word[i]);

		c->common = k < c->common ? k : c->common;
		if (n && !strcasecmp(c->word[n - 1], c->word[i]))
			free(c->word[i]);
		else
			c->word[n++] = c->word[i];
	}
	c->cnt = n;
}

static size_t word_start(const char *text, size_t len, bool dot)
{
	size_t i = len;

	while (i > 0 && (dot ? !isspace((unsigned char)text[i - 1])
			     : (isalnum((unsigned char)text[i - 1]) || text[i - 1] == '_' ||
				(text[i - 1] & 0x80))))
		i--;
	return i;
}

void complete_line(struct shell *sh, const char *text, size_t len, bool pending,
		   struct completion *c)
{
	bool dot = !pending && len && text[0] == '.';
	char *line = xstrndup(text, len);
	const char *prefix;

	*c = (struct completion){.from = word_start(line, len, dot)};
	prefix = line + c->from;
	if (dot && c->from == 0) {
		add_dots(c, prefix);
	} else if (dot) {
		complete_dot_arg(sh, c, line, prefix);
	} else if (*prefix || (c->from && line[c->from - 1] == '.')) {
		add_tables(c, sh->db, prefix);
		add_columns(c, sh->db, prefix);
		if (*prefix)
			add_keywords(c, prefix);
	}
	sort_unique(c);
	free(line);
}

void complete_free(struct completion *c)
{
	for (int i = 0; i < c->cnt; i++)
		free(c->word[i]);
	free(c->word);
	*c = (struct completion){0};
}
