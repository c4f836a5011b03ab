/* SPDX-License-Identifier: MIT
 * align.c -- aligned results: table, box, column, markdown
 *
 * The first HOLD_ROWS rows are held back to learn how wide each column is; later rows stream
 * with those widths (a longer value then pushes its row out rather than being cut). So a result
 * of any size needs bounded memory and shows up at once.
 */
#include "output.h"

#include <stdlib.h>
#include <string.h>

#define HOLD_ROWS  10000
#define HOLD_BYTES ((size_t)64 << 20)

struct held {
	size_t off, len; /* in align.text */
	bool null;
};

struct col {
	size_t width;
	size_t wrap; /* characters after which a value continues on the next line, 0 = never */
	bool right;  /* numbers so far */
	bool any;    /* a value that is not NULL was seen */
	bool fixed;  /* .width decided */
};

struct align {
	struct col *col;
	struct held *cell; /* row_cnt * col_cnt */
	size_t row_cnt, row_cap;
	struct buf text;
	bool started; /* widths are decided, the header is out */
};

struct rule {
	const char *left, *dash, *cross, *right;
};

static const struct rule box_rules[3] = {
	{"┌", "─", "┬", "┐"},
	{"├", "─", "┼", "┤"},
	{"└", "─", "┴", "┘"},
};
static const struct rule table_rule = {"+", "-", "+", "+"};
static const struct rule column_rule = {"", "-", "  ", ""};

void align_begin(struct out *o)
{
	struct align *al = xmalloc(sizeof(*al));

	*al = (struct align){.col = xmalloc((size_t)(o->col_cnt + 1) * sizeof(struct col))};
	memset(al->col, 0, (size_t)(o->col_cnt + 1) * sizeof(struct col));
	for (int i = 0; i < o->col_cnt; i++) {
		int w = i < o->fmt->width_cnt ? o->fmt->width[i] : 0;

		al->col[i].right = w <= 0;
		al->col[i].fixed = w != 0;
		al->col[i].any = w < 0;
		al->col[i].wrap = al->col[i].width = (size_t)abs(w);
	}
	o->al = al;
}

/*
 * The value as it will be shown: no control characters, newlines kept where the style has room
 * for them.
 */
static void shown_text(const struct out *o, struct buf *b, const struct cell *c)
{
	struct buf raw = {0};
	bool markdown = o->fmt->mode == OUT_MARKDOWN;

	out_cell_visible(o, &raw, c, true);
	for (size_t i = 0; i < raw.n; i++) {
		if (raw.p[i] == '\t')
			buf_str(b, "    ");
		else if (markdown && raw.p[i] == '\n')
			buf_str(b, "<br>");
		else if (markdown && raw.p[i] == '|')
			buf_str(b, "\\|");
		else
			buf_chr(b, raw.p[i]);
	}
	buf_free(&raw);
}

/* Bytes of the next line of S: up to a newline, or WRAP characters. */
static size_t line_len(const char *s, size_t n, size_t wrap)
{
	size_t i = 0, w = 0, len;
	uint32_t cp;

	while (i < n && s[i] != '\n') {
		len = utf8_decode(s + i, n - i, &cp);
		w += (size_t)char_width(cp);
		if (wrap && w > wrap && i > 0)
			break;
		i += len;
	}
	return i;
}

static size_t widest_line(const char *s, size_t n)
{
	size_t max = 0;

	for (size_t i = 0; i < n; i++) {
		size_t len = line_len(s + i, n - i, 0), w = text_width(s + i, len);

		max = w > max ? w : max;
		i += len;
	}
	return max;
}

static void note_cell(struct col *col, const struct cell *c, const char *s, size_t n)
{
	size_t w = widest_line(s, n);

	if (!col->fixed) {
		col->width = w > col->width ? w : col->width;
		if (c->type == SQLITE_TEXT || c->type == SQLITE_BLOB)
			col->right = false;
		if (c->type != SQLITE_NULL)
			col->any = true;
	}
}

static void colour_on(struct out *o, const char *code)
{
	if (o->colour)
		buf_fmt(&o->line, "\033[%sm", code);
}

static void pad(struct buf *b, size_t n)
{
	while (n--)
		buf_chr(b, ' ');
}

static void value_out(struct out *o, const struct col *col, const char *s, size_t n,
		      const char *code)
{
	size_t w = text_width(s, n), room = col->width > w ? col->width - w : 0;

	if (col->right)
		pad(&o->line, room);
	if (code)
		colour_on(o, code);
	buf_add(&o->line, s, n);
	if (code)
		colour_on(o, "0");
	if (!col->right)
		pad(&o->line, room);
}

static void bar(struct out *o, const char *s)
{
	colour_on(o, "2");
	buf_str(&o->line, s);
	colour_on(o, "0");
}

static void border(struct out *o, int where)
{
	static const char *const edge[3][3] = {
		{"| ", " | ", " |"}, {"│ ", " │ ", " │"}, {"", "  ", ""}};
	int style = o->fmt->mode == OUT_BOX ? 1 : o->fmt->mode == OUT_COLUMN ? 2 : 0;

	if (edge[style][where][0])
		bar(o, edge[style][where]);
}

static void end_line(struct out *o)
{
	while (o->fmt->mode == OUT_COLUMN && o->line.n && o->line.p[o->line.n - 1] == ' ')
		o->line.n--;
	buf_chr(&o->line, '\n');
	fwrite(o->line.p, 1, o->line.n, o->f);
	buf_reset(&o->line);
}

/* Take the next line of each value; false when nothing is left in any. */
static bool next_line(struct out *o, const char **s, size_t *n, const bool *null, const char *code)
{
	bool more = false;

	for (int i = 0; i < o->col_cnt; i++) {
		const struct col *col = &o->al->col[i];
		size_t len = line_len(s[i], n[i], col->wrap);

		border(o, i ? 1 : 0);
		value_out(o, col, s[i], len, null && null[i] ? "2" : code);
		len += len < n[i] && s[i][len] == '\n';
		s[i] += len;
		n[i] -= len;
		more |= n[i] > 0;
	}
	border(o, 2);
	end_line(o);
	return more;
}

static void values_out(struct out *o, const char **s, size_t *n, const bool *null, const char *code)
{
	while (next_line(o, s, n, null, code))
		;
}

static void rule_out(struct out *o, const struct rule *r)
{
	size_t side = o->fmt->mode == OUT_COLUMN ? 0 : 2;

	if (o->colour)
		buf_str(&o->line, "\033[2m");
	buf_str(&o->line, r->left);
	for (int i = 0; i < o->col_cnt; i++) {
		buf_str(&o->line, i ? r->cross : "");
		for (size_t k = 0; k < o->al->col[i].width + side; k++)
			buf_str(&o->line, r->dash);
	}
	buf_str(&o->line, r->right);
	if (o->colour)
		buf_str(&o->line, "\033[0m");
	buf_chr(&o->line, '\n');
	fwrite(o->line.p, 1, o->line.n, o->f);
	buf_reset(&o->line);
}

static void markdown_rule(struct out *o)
{
	for (int i = 0; i < o->col_cnt; i++) {
		buf_str(&o->line, "|");
		for (size_t k = 0; k < o->al->col[i].width + 1; k++)
			buf_chr(&o->line, '-');
		buf_chr(&o->line, o->al->col[i].right ? ':' : '-');
	}
	buf_str(&o->line, "|");
	end_line(o);
}

/* WHERE: 0 above, 1 below the header, 2 at the end. */
static void rule_at(struct out *o, int where)
{
	switch (o->fmt->mode) {
	case OUT_BOX:
		rule_out(o, &box_rules[where]);
		break;
	case OUT_TABLE:
		rule_out(o, &table_rule);
		break;
	case OUT_COLUMN:
		if (where == 1)
			rule_out(o, &column_rule);
		break;
	default:
		if (where == 1)
			markdown_rule(o);
	}
}

static void header_out(struct out *o)
{
	const char **s = xmalloc((size_t)(o->col_cnt + 1) * sizeof(*s));
	size_t *n = xmalloc((size_t)(o->col_cnt + 1) * sizeof(*n));

	for (int i = 0; i < o->col_cnt; i++) {
		s[i] = o->names[i];
		n[i] = strlen(s[i]);
	}
	values_out(o, s, n, NULL, "1");
	rule_at(o, 1);
	free(s);
	free(n);
}

static void decide_widths(struct out *o)
{
	for (int i = 0; i < o->col_cnt; i++) {
		struct col *col = &o->al->col[i];
		size_t w = widest_line(o->names[i], strlen(o->names[i]));

		col->right = col->right && col->any;
		if (!col->fixed && out_headers(o) && w > col->width)
			col->width = w;
		if (o->fmt->mode == OUT_MARKDOWN && col->width < 1)
			col->width = 1;
	}
}

static void held_row_out(struct out *o, const struct held *h)
{
	const char **s = xmalloc((size_t)(o->col_cnt + 1) * sizeof(*s));
	size_t *n = xmalloc((size_t)(o->col_cnt + 1) * sizeof(*n));
	bool *null = xmalloc((size_t)o->col_cnt + 1);

	for (int i = 0; i < o->col_cnt; i++) {
		s[i] = buf_cstr(&o->al->text) + h[i].off;
		n[i] = h[i].len;
		null[i] = h[i].null;
	}
	values_out(o, s, n, null, NULL);
	free(s);
	free(n);
	free(null);
}

/* Print what is held and forget it; the first time, decide the widths and print the header. */
static void release(struct out *o)
{
	struct align *al = o->al;

	if (!al->started) {
		al->started = true;
		decide_widths(o);
		rule_at(o, 0);
		if (out_headers(o) || o->fmt->mode == OUT_MARKDOWN)
			header_out(o);
	}
	for (size_t r = 0; r < al->row_cnt; r++)
		held_row_out(o, al->cell + r * (size_t)o->col_cnt);
	al->row_cnt = 0;
	buf_reset(&al->text);
}

void align_row(struct out *o, const struct cell *cells)
{
	struct align *al = o->al;
	struct held *h;

	if (al->row_cnt == al->row_cap) {
		al->row_cap = al->row_cap ? al->row_cap * 2 : 16;
		al->cell = xrealloc(al->cell, al->row_cap * (size_t)(o->col_cnt + 1) * sizeof(*h));
	}
	h = al->cell + al->row_cnt++ * (size_t)o->col_cnt;
	for (int i = 0; i < o->col_cnt; i++) {
		h[i] = (struct held){.off = al->text.n, .null = cells[i].type == SQLITE_NULL};
		shown_text(o, &al->text, &cells[i]);
		h[i].len = al->text.n - h[i].off;
		if (!al->started)
			note_cell(&al->col[i], &cells[i], buf_cstr(&al->text) + h[i].off, h[i].len);
	}
	if (al->started || al->row_cnt >= HOLD_ROWS || al->text.n >= HOLD_BYTES)
		release(o);
}

void align_end(struct out *o)
{
	struct align *al = o->al;

	/* A result without rows prints nothing, as in the other modes. */
	if (o->rows) {
		release(o);
		rule_at(o, 2);
	}
	free(al->col);
	free(al->cell);
	buf_free(&al->text);
	free(al);
	o->al = NULL;
}
