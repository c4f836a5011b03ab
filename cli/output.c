/* SPDX-License-Identifier: MIT
 * output.c -- results as text, one row at a time: see output.h
 */
#include "output.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static const struct {
	const char *name, *help;
} modes[] = {
#define OUT__MODE_ROW(constant, name, help) {name, help},
	OUT_MODE_MAP(OUT__MODE_ROW)
#undef OUT__MODE_ROW
};

const char *out_mode_name(enum out_mode mode)
{
	return modes[mode].name;
}

const char *out_mode_help(enum out_mode mode)
{
	return modes[mode].help;
}

static void set(char **where, const char *s)
{
	free(*where);
	*where = xstrdup(s);
}

void out_format_init(struct out_format *fmt)
{
	*fmt = (struct out_format){.headers = -1, .terse = true};
	set(&fmt->col_sep, "|");
	set(&fmt->row_sep, "\n");
	set(&fmt->null_text, "");
	set(&fmt->table, "table");
}

void out_format_free(struct out_format *fmt)
{
	free(fmt->col_sep);
	free(fmt->row_sep);
	free(fmt->null_text);
	free(fmt->table);
	*fmt = (struct out_format){0};
}

/* Exact name, else the only name that begins with it; -1 if none or several. */
static int mode_find(const char *name)
{
	int found = -1;

	for (int i = 0; i < OUT_MODE_CNT; i++) {
		if (!strcasecmp(modes[i].name, name))
			return i;
		if (starts_with_ci(modes[i].name, name))
			found = found < 0 ? i : OUT_MODE_CNT;
	}
	return found == OUT_MODE_CNT ? -1 : found;
}

bool out_format_mode(struct out_format *fmt, const char *name)
{
	int m = mode_find(name);

	if (m < 0 || !*name)
		return false;
	fmt->mode = (enum out_mode)m;
	set(&fmt->col_sep, m == OUT_CSV	    ? ","
			   : m == OUT_TABS  ? "\t"
			   : m == OUT_ASCII ? "\x1F"
					    : "|");
	set(&fmt->row_sep, m == OUT_CSV ? "\r\n" : m == OUT_ASCII ? "\x1E" : "\n");
	return true;
}

struct cell cell_text(const char *s)
{
	return (struct cell){.type = s ? SQLITE_TEXT : SQLITE_NULL, .s = s, .n = s ? strlen(s) : 0};
}

struct cell cell_int(sqlite3_int64 i)
{
	return (struct cell){.type = SQLITE_INTEGER, .i = i};
}

bool out_headers(const struct out *o)
{
	bool aligned = o->al || o->fmt->mode == OUT_HTML;

	if (o->fmt->headers >= 0)
		return o->fmt->headers;
	return aligned || !o->fmt->terse;
}

static void number_text(struct buf *b, const struct cell *c)
{
	if (c->s)
		buf_add(b, c->s, c->n);
	else if (c->type == SQLITE_INTEGER)
		buf_fmt(b, "%lld", (long long)c->i);
	else
		sql_real(b, c->r);
}

void out_cell_visible(const struct out *o, struct buf *b, const struct cell *c, bool keep_newlines)
{
	switch (c->type) {
	case SQLITE_NULL:
		buf_str(b, o->fmt->null_text);
		break;
	case SQLITE_BLOB:
		sql_blob(b, c->s, c->n);
		break;
	case SQLITE_TEXT:
		buf_visible(b, c->s, c->n, keep_newlines);
		break;
	default:
		number_text(b, c);
	}
}

/* Exact bytes for files and pipes, harmless ones for a terminal. */
static void cell_plain(const struct out *o, struct buf *b, const struct cell *c)
{
	if (o->screen || (c->type != SQLITE_TEXT && c->type != SQLITE_BLOB))
		out_cell_visible(o, b, c, true);
	else
		buf_add(b, c->s, c->n);
}

static void cell_sql(struct buf *b, const struct cell *c)
{
	switch (c->type) {
	case SQLITE_NULL:
		buf_str(b, "NULL");
		break;
	case SQLITE_INTEGER:
		buf_fmt(b, "%lld", (long long)c->i);
		break;
	case SQLITE_FLOAT:
		sql_real(b, c->r);
		break;
	case SQLITE_BLOB:
		sql_blob(b, c->s, c->n);
		break;
	default:
		sql_text(b, c->s, c->n);
	}
}

static bool csv_must_quote(const char *s, size_t n, const char *sep)
{
	if (!n || s[0] == ' ' || s[n - 1] == ' ')
		return true;
	for (size_t i = 0; i < n; i++)
		if (s[i] == '"' || s[i] == '\n' || s[i] == '\r')
			return true;
	return *sep && memmem(s, n, sep, strlen(sep));
}

static void csv_field(struct buf *b, const char *s, size_t n, const char *sep)
{
	if (!csv_must_quote(s, n, sep)) {
		buf_add(b, s, n);
		return;
	}
	buf_chr(b, '"');
	for (size_t i = 0; i < n; i++) {
		if (s[i] == '"')
			buf_chr(b, '"');
		buf_chr(b, s[i]);
	}
	buf_chr(b, '"');
}

static void cell_csv(const struct out *o, struct buf *b, const struct cell *c)
{
	struct buf t = {0};

	cell_plain(o, &t, c);
	if (c->type == SQLITE_NULL)
		buf_add(b, t.p, t.n); /* so that NULL differs from "" */
	else
		csv_field(b, buf_cstr(&t), t.n, o->fmt->col_sep);
	buf_free(&t);
}

static void json_char(struct buf *b, uint32_t cp, const char *s, size_t len)
{
	static const char *const names = "btn?fr";

	if (cp == '"' || cp == '\\')
		buf_fmt(b, "\\%c", (int)cp);
	else if (cp >= 8 && cp <= 13 && cp != 11)
		buf_fmt(b, "\\%c", names[cp - 8]);
	else if (cp < 0x20 || cp == 0x7F)
		buf_fmt(b, "\\u%04x", (unsigned)cp);
	else if (cp == 0xFFFD)
		buf_str(b, "\xEF\xBF\xBD");
	else
		buf_add(b, s, len);
}

static void json_string(struct buf *b, const char *s, size_t n)
{
	uint32_t cp;

	buf_chr(b, '"');
	for (size_t i = 0, len; i < n; i += len) {
		len = utf8_decode(s + i, n - i, &cp);
		json_char(b, cp, s + i, len);
	}
	buf_chr(b, '"');
}

/* JSON has no bytes: a blob becomes a string of hex digits. */
static void cell_json(struct buf *b, const struct cell *c)
{
	switch (c->type) {
	case SQLITE_NULL:
		buf_str(b, "null");
		break;
	case SQLITE_BLOB:
		buf_chr(b, '"');
		buf_hex(b, c->s, c->n);
		buf_chr(b, '"');
		break;
	case SQLITE_TEXT:
		json_string(b, c->s, c->n);
		break;
	case SQLITE_FLOAT: /* JSON knows no infinity; 1e999 is what others write */
		if (isinf(c->r))
			sql_real(b, c->r);
		else
			real_text(b, c->r);
		break;
	default:
		cell_sql(b, c);
	}
}

static void row_json(struct out *o, const struct cell *c)
{
	struct buf *b = &o->line;

	if (o->fmt->mode == OUT_JSON)
		buf_str(b, o->rows ? ",\n" : "[");
	buf_chr(b, '{');
	for (int i = 0; i < o->col_cnt; i++) {
		if (i)
			buf_chr(b, ',');
		json_string(b, o->names[i], strlen(o->names[i]));
		buf_chr(b, ':');
		cell_json(b, &c[i]);
	}
	buf_str(b, o->fmt->mode == OUT_JSON ? "}" : "}\n");
}

static void html_text(struct buf *b, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (s[i] == '<')
			buf_str(b, "&lt;");
		else if (s[i] == '>')
			buf_str(b, "&gt;");
		else if (s[i] == '&')
			buf_str(b, "&amp;");
		else if (s[i] == '"')
			buf_str(b, "&quot;");
		else
			buf_chr(b, s[i]);
	}
}

static void row_html(struct out *o, const struct cell *c, const char *tag)
{
	struct buf t = {0};

	buf_str(&o->line, "<tr>");
	for (int i = 0; i < o->col_cnt; i++) {
		buf_reset(&t);
		out_cell_visible(o, &t, &c[i], true);
		buf_fmt(&o->line, "<%s>", tag);
		html_text(&o->line, buf_cstr(&t), t.n);
		buf_fmt(&o->line, "</%s>", tag);
	}
	buf_str(&o->line, "</tr>\n");
	buf_free(&t);
}

static size_t names_width(const struct out *o)
{
	size_t max = 5;

	for (int i = 0; i < o->col_cnt; i++) {
		size_t w = text_width(o->names[i], strlen(o->names[i]));

		max = w > max ? w : max;
	}
	return max;
}

static void row_line(struct out *o, const struct cell *c)
{
	size_t max = names_width(o);

	if (o->rows)
		buf_chr(&o->line, '\n');
	for (int i = 0; i < o->col_cnt; i++) {
		size_t w = text_width(o->names[i], strlen(o->names[i]));

		for (; w < max; w++)
			buf_chr(&o->line, ' ');
		buf_str(&o->line, o->names[i]);
		buf_str(&o->line, " = ");
		cell_plain(o, &o->line, &c[i]);
		buf_chr(&o->line, '\n');
	}
}

static void row_insert(struct out *o, const struct cell *c)
{
	struct buf *b = &o->line;

	buf_str(b, "INSERT INTO ");
	sql_ident(b, o->fmt->table);
	for (int i = 0; out_headers(o) && i < o->col_cnt; i++) {
		buf_chr(b, i ? ',' : '(');
		sql_ident(b, o->names[i]);
	}
	buf_str(b, out_headers(o) ? ") VALUES(" : " VALUES(");
	for (int i = 0; i < o->col_cnt; i++) {
		if (i)
			buf_chr(b, ',');
		cell_sql(b, &c[i]);
	}
	buf_str(b, ");\n");
}

/* list, csv, tabs, ascii, quote */
static void row_separated(struct out *o, const struct cell *c)
{
	const char *sep = o->fmt->mode == OUT_QUOTE ? "," : o->fmt->col_sep;

	for (int i = 0; i < o->col_cnt; i++) {
		if (i)
			buf_str(&o->line, sep);
		if (o->fmt->mode == OUT_CSV)
			cell_csv(o, &o->line, &c[i]);
		else if (o->fmt->mode == OUT_QUOTE)
			cell_sql(&o->line, &c[i]);
		else
			cell_plain(o, &o->line, &c[i]);
	}
	buf_str(&o->line, o->fmt->mode == OUT_QUOTE ? "\n" : o->fmt->row_sep);
}

static void row_streamed(struct out *o, const struct cell *c)
{
	switch (o->fmt->mode) {
	case OUT_JSON:
	case OUT_JSONLINES:
		row_json(o, c);
		break;
	case OUT_HTML:
		row_html(o, c, "td");
		break;
	case OUT_LINE:
		row_line(o, c);
		break;
	case OUT_INSERT:
		row_insert(o, c);
		break;
	default:
		row_separated(o, c);
	}
}

static void line_out(struct out *o)
{
	fwrite(o->line.p, 1, o->line.n, o->f);
	buf_reset(&o->line);
}

static bool has_header_row(enum out_mode m)
{
	return m == OUT_LIST || m == OUT_CSV || m == OUT_TABS || m == OUT_ASCII || m == OUT_QUOTE ||
	       m == OUT_HTML;
}

static void header_row(struct out *o)
{
	struct cell *c = xmalloc((size_t)o->col_cnt * sizeof(*c));

	for (int i = 0; i < o->col_cnt; i++)
		c[i] = cell_text(o->names[i]);
	if (o->fmt->mode == OUT_HTML)
		row_html(o, c, "th");
	else
		row_separated(o, c);
	line_out(o);
	free(c);
}

static bool is_aligned(enum out_mode m)
{
	return m == OUT_TABLE || m == OUT_BOX || m == OUT_COLUMN || m == OUT_MARKDOWN;
}

void out_begin(struct out *o, const struct out_format *fmt, FILE *f, bool colour, int col_cnt,
	       const char *const *names)
{
	*o = (struct out){.fmt = fmt, .f = f, .colour = colour, .col_cnt = col_cnt};
	o->screen = isatty(fileno(f));
	o->names = xmalloc((size_t)(col_cnt + 1) * sizeof(char *));
	for (int i = 0; i < col_cnt; i++)
		o->names[i] = xstrdup(names[i] ? names[i] : "");
	if (is_aligned(fmt->mode))
		align_begin(o);
}

void out_row(struct out *o, const struct cell *cells)
{
	if (o->al) {
		align_row(o, cells);
		o->rows++;
		return;
	}
	/* As in sqlite3, a result without rows prints nothing at all. */
	if (!o->rows && has_header_row(o->fmt->mode) && out_headers(o))
		header_row(o);
	row_streamed(o, cells);
	line_out(o);
	o->rows++;
}

void out_end(struct out *o)
{
	if (o->al)
		align_end(o);
	else if (o->fmt->mode == OUT_JSON)
		fputs(o->rows ? "]\n" : "[]\n", o->f);
	for (int i = 0; i < o->col_cnt; i++)
		free(o->names[i]);
	free(o->names);
	buf_free(&o->line);
	*o = (struct out){0};
}
