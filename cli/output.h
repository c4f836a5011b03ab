/* SPDX-License-Identifier: MIT
 * output.h -- results as text: modes, headers, separators
 *
 *	out_begin(names) -> out_row(cells) ... -> out_end()
 *
 * Rows may come from a statement or from the shell's own listings (.objects, .store): both look
 * the same in every mode. Streaming modes print at once; aligned ones (align.c) hold back the
 * first rows to learn widths.
 */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <sqlite3.h>
#include <stdio.h>
#include "text.h"

/* X(constant, name, one line of help) */
#define OUT_MODE_MAP(X)                                                                            \
	X(LIST, "list", "values separated by .separator (default '|')")                            \
	X(CSV, "csv", "comma-separated values, RFC 4180")                                          \
	X(TABS, "tabs", "tab-separated values")                                                    \
	X(JSON, "json", "one JSON array of objects")                                               \
	X(JSONLINES, "jsonlines", "one JSON object per line")                                      \
	X(TABLE, "table", "aligned, ASCII lines")                                                  \
	X(BOX, "box", "aligned, Unicode lines")                                                    \
	X(COLUMN, "column", "aligned, underlined headers")                                         \
	X(MARKDOWN, "markdown", "a Markdown table")                                                \
	X(LINE, "line", "one 'name = value' per line")                                             \
	X(QUOTE, "quote", "SQL literals")                                                          \
	X(INSERT, "insert", "SQL INSERT statements; '.mode insert TABLE' names the table")         \
	X(HTML, "html", "rows of an HTML table")                                                   \
	X(ASCII, "ascii", "separated by 0x1F and 0x1E")

enum out_mode {
#define OUT__MODE_ENUM(name, text, help) OUT_##name,
	OUT_MODE_MAP(OUT__MODE_ENUM)
#undef OUT__MODE_ENUM
		OUT_MODE_CNT
};

#define OUT_WIDTH_MAX 64 /* columns .width can set */

/* What the user chose. */
struct out_format {
	enum out_mode mode;
	int headers;		 /* 1 on, 0 off, -1 as suits the mode */
	bool terse;		 /* with headers == -1: none in list-like modes (scripts) */
	char *col_sep, *row_sep; /* of list, csv, tabs, ascii */
	char *null_text;
	char *table;		  /* of INSERT */
	int width[OUT_WIDTH_MAX]; /* characters, 0 = as needed, < 0 = right-aligned */
	int width_cnt;
};

void out_format_init(struct out_format *fmt);
void out_format_free(struct out_format *fmt);
/*
 * Set mode by name (an unambiguous prefix will do) and the separators that go with it. False:
 * no such mode.
 */
bool out_format_mode(struct out_format *fmt, const char *name);
const char *out_mode_name(enum out_mode mode);
const char *out_mode_help(enum out_mode mode);

struct cell {
	int type;      /* SQLITE_INTEGER, _FLOAT, _TEXT, _BLOB, _NULL */
	const char *s; /* TEXT, BLOB; also the text of numbers, or NULL */
	size_t n;
	sqlite3_int64 i;
	double r;
};
struct cell cell_text(const char *s); /* NULL: an SQL NULL */
struct cell cell_int(sqlite3_int64 i);

struct align; /* align.c: rows held back */

/* One result on its way out. */
struct out {
	const struct out_format *fmt;
	FILE *f;
	bool screen; /* f is a terminal: make control characters visible */
	bool colour;
	int col_cnt;
	char **names;
	uint64_t rows;
	struct buf line; /* the row being built */
	struct align *al;
};

/* NAMES are copied. */
void out_begin(struct out *o, const struct out_format *fmt, FILE *f, bool colour, int col_cnt,
	       const char *const *names);
void out_row(struct out *o, const struct cell *cells);
void out_end(struct out *o);

bool out_headers(const struct out *o);

/* align.c */
void align_begin(struct out *o);
void align_row(struct out *o, const struct cell *cells);
void align_end(struct out *o);

/* For align.c: the text of a cell on a screen. */
void out_cell_visible(const struct out *o, struct buf *b, const struct cell *c, bool keep_newlines);

#endif
