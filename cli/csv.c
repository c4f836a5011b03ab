/* SPDX-License-Identifier: MIT
 * csv.c -- see csv.h
 */
#include "csv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int get(struct csv *c)
{
	int ch = getc_unlocked(c->f);

	if (ch != EOF)
		c->bytes++;
	if (ch == '\n')
		c->line++;
	return ch;
}

static int peek(struct csv *c)
{
	int ch = getc_unlocked(c->f);

	if (ch != EOF)
		ungetc(ch, c->f);
	return ch;
}

static void skip_bom(struct csv *c)
{
	static const unsigned char bom[3] = {0xEF, 0xBB, 0xBF};

	if (peek(c) != bom[0])
		return;
	get(c);
	/*
	 * A lone EF is no text in any encoding we read: losing it would hide that, so it is put
	 * into the first field.
	 */
	if (peek(c) != bom[1]) {
		buf_chr(&c->data, (char)bom[0]);
		return;
	}
	get(c);
	if (peek(c) == bom[2])
		get(c);
	else
		buf_add(&c->data, bom, 2);
}

void csv_begin(struct csv *c, FILE *f, char sep)
{
	*c = (struct csv){.f = f, .sep = sep, .line = 1};
}

void csv_end(struct csv *c)
{
	buf_free(&c->data);
	free(c->end);
	*c = (struct csv){0};
}

static void field_done(struct csv *c)
{
	if (c->cnt == c->cap) {
		c->cap = c->cap ? c->cap * 2 : 16;
		c->end = xrealloc(c->end, (size_t)c->cap * sizeof(*c->end));
	}
	c->end[c->cnt++] = c->data.n;
}

static int fail(struct csv *c, const char *what)
{
	snprintf(c->err, sizeof(c->err), "%s", what);
	return -1;
}

/* Inside quotes, up to and with the closing one. 0, or -1. */
static int quoted(struct csv *c)
{
	int ch;

	for (;;) {
		ch = get(c);
		if (ch == EOF)
			return fail(
				c,
				"the quote opened in this record is not closed before the end of the file");
		if (ch != '"')
			buf_chr(&c->data, (char)ch);
		else if (peek(c) == '"')
			buf_chr(&c->data, (char)get(c));
		else
			return 0;
	}
}

/* What ends a field: the separator, '\n' (also for CR LF), EOF; -2: nothing yet. */
static int field_end(struct csv *c, int ch)
{
	if (ch == c->sep || ch == '\n' || ch == EOF)
		return ch;
	if (ch == '\r' && (peek(c) == '\n' || peek(c) == EOF))
		return get(c);
	return -2;
}

/* One field; returns what ended it (separator, '\n', EOF), or -2 after an error. */
static int field(struct csv *c)
{
	int ch = get(c), end;

	if (ch == '"') {
		if (quoted(c))
			return -2;
		end = field_end(c, get(c));
		if (end == -2)
			fail(c,
			     "text after the closing quote of a field (a quote inside a field is written twice)");
		return end;
	}
	for (;; ch = get(c)) {
		end = field_end(c, ch);
		if (end != -2)
			return end;
		buf_chr(&c->data, (char)ch);
	}
}

int csv_next(struct csv *c)
{
	int end;

	c->cnt = 0;
	buf_reset(&c->data);
	c->record_line = c->line;
	if (!c->bytes)
		skip_bom(c);
	if (peek(c) == EOF && !c->data.n)
		return ferror(c->f) ? fail(c, strerror(errno)) : 0;
	do {
		end = field(c);
		if (end == -2)
			return -1;
		field_done(c);
	} while (end == (unsigned char)c->sep);
	return ferror(c->f) ? fail(c, strerror(errno)) : 1;
}

const char *csv_field_at(const struct csv *c, int i, size_t *len)
{
	size_t from = i ? c->end[i - 1] : 0;

	*len = c->end[i] - from;
	return c->data.p ? c->data.p + from : "";
}

bool csv_is_blank(const struct csv *c)
{
	return c->cnt == 1 && c->end[0] == 0;
}
