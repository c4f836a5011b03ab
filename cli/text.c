/* SPDX-License-Identifier: MIT
 * text.c -- bytes and words: see text.h
 */
#include "text.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <wchar.h>

static void *no_memory(void)
{
	fputs("twzdb: out of memory; try a smaller statement or import\n", stderr);
	exit(1);
}

void *xmalloc(size_t len)
{
	void *p = malloc(len ? len : 1);

	return p ? p : no_memory();
}

void *xrealloc(void *p, size_t len)
{
	void *q = realloc(p, len ? len : 1);

	return q ? q : no_memory();
}

char *xstrdup(const char *s)
{
	return xstrndup(s, strlen(s));
}

char *xstrndup(const char *s, size_t n)
{
	char *p = xmalloc(n + 1);

	memcpy(p, s, n);
	p[n] = 0;
	return p;
}

char *xasprintf(const char *fmt, ...)
{
	va_list ap;
	char *p;

	va_start(ap, fmt);
	if (vasprintf(&p, fmt, ap) < 0)
		no_memory();
	va_end(ap);
	return p;
}

static void buf_room(struct buf *b, size_t n)
{
	if (b->cap - b->n > n)
		return;
	b->cap = (b->cap + n + 32) * 2;
	b->p = xrealloc(b->p, b->cap);
}

void buf_add(struct buf *b, const void *p, size_t n)
{
	if (!n)
		return;
	buf_room(b, n);
	memcpy(b->p + b->n, p, n);
	b->n += n;
}

void buf_str(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void buf_chr(struct buf *b, char c)
{
	buf_room(b, 1);
	b->p[b->n++] = c;
}

void buf_fmt(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	char *p;

	va_start(ap, fmt);
	if (vasprintf(&p, fmt, ap) < 0)
		no_memory();
	va_end(ap);
	buf_str(b, p);
	free(p);
}

char *buf_cstr(struct buf *b)
{
	buf_room(b, 1);
	b->p[b->n] = 0;
	return b->p;
}

void buf_reset(struct buf *b)
{
	b->n = 0;
}

void buf_free(struct buf *b)
{
	free(b->p);
	*b = (struct buf){0};
}

/* Length of a sequence by its first byte, 0 for a byte that cannot begin one. */
static size_t utf8_len(unsigned char c)
{
	if (c < 0x80)
		return 1;
	if (c >= 0xC2 && c < 0xE0)
		return 2;
	if (c >= 0xE0 && c < 0xF0)
		return 3;
	return c >= 0xF0 && c < 0xF5 ? 4 : 0;
}

size_t utf8_decode(const char *s, size_t n, uint32_t *cp)
{
	static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len = utf8_len((unsigned char)s[0]);
	uint32_t v;

	*cp = 0xFFFD;
	if (!len || len > n)
		return 1;
	v = len == 1 ? (unsigned char)s[0] : (unsigned char)s[0] & (0x7Fu >> len);
	for (size_t i = 1; i < len; i++) {
		if (((unsigned char)s[i] & 0xC0) != 0x80)
			return 1;
		v = v << 6 | ((unsigned char)s[i] & 0x3F);
	}
	if (v < least[len] || v > 0x10FFFF || (v >= 0xD800 && v < 0xE000))
		return 1;
	*cp = v;
	return len;
}

int char_width(uint32_t cp)
{
	int w;

	if (cp >= 0x20 && cp < 0x7F)
		return 1;
	w = wcwidth((wchar_t)cp);
	return w < 0 ? 1 : w;
}

size_t text_width(const char *s, size_t n)
{
	size_t w = 0;
	uint32_t cp;

	for (size_t i = 0; i < n;) {
		i += utf8_decode(s + i, n - i, &cp);
		w += (size_t)char_width(cp);
	}
	return w;
}

static void visible_char(struct buf *b, uint32_t cp, const char *s, size_t len)
{
	if (cp < 0x20 || cp == 0x7F)
		buf_fmt(b, "^%c", (int)(cp ^ 0x40));
	else if (cp >= 0x80 && cp < 0xA0)
		buf_fmt(b, "<%02X>", (unsigned)cp);
	else if (cp == 0xFFFD)
		buf_str(b, "\xEF\xBF\xBD");
	else
		buf_add(b, s, len);
}

void buf_visible(struct buf *b, const char *s, size_t n, bool keep_ws)
{
	uint32_t cp;

	for (size_t i = 0, len; i < n; i += len) {
		len = utf8_decode(s + i, n - i, &cp);
		if (keep_ws && (cp == '\n' || cp == '\t'))
			buf_chr(b, (char)cp);
		else
			visible_char(b, cp, s + i, len);
	}
}

void buf_hex(struct buf *b, const void *p, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *s = p;

	for (size_t i = 0; i < n; i++) {
		buf_chr(b, digits[s[i] >> 4]);
		buf_chr(b, digits[s[i] & 15]);
	}
}

void sql_blob(struct buf *b, const void *p, size_t n)
{
	buf_str(b, "X'");
	buf_hex(b, p, n);
	buf_chr(b, '\'');
}

/* 'text', line ends written as the two characters of MARK so that the literal stays on one line. */
static void text_literal(struct buf *b, const char *s, size_t n, const char *lf, const char *cr)
{
	buf_chr(b, '\'');
	for (size_t i = 0; i < n; i++) {
		if (s[i] == '\n')
			buf_str(b, lf);
		else if (s[i] == '\r')
			buf_str(b, cr);
		else if (s[i] == '\'')
			buf_str(b, "''");
		else
			buf_chr(b, s[i]);
	}
	buf_chr(b, '\'');
}

/* A mark that does not occur in S: \n, \n1, \n2 ... */
static void unused_mark(char *mark, size_t len, char c, const char *s, size_t n)
{
	snprintf(mark, len, "\\%c", c);
	for (unsigned i = 1; memmem(s, n, mark, strlen(mark)); i++)
		snprintf(mark, len, "\\%c%u", c, i);
}

/*
 * Line ends go through replace(), as in sqlite3's own .dump: sqlite3 reads scripts line by line
 * and turns CR LF into LF. A NUL would end the statement, so such text is cast from its bytes.
 */
void sql_text(struct buf *b, const char *s, size_t n)
{
	bool lf = n && memchr(s, '\n', n), cr = n && memchr(s, '\r', n);
	char lf_mark[24], cr_mark[24];

	if (n && memchr(s, 0, n)) {
		buf_str(b, "CAST(");
		sql_blob(b, s, n);
		buf_str(b, " AS TEXT)");
		return;
	}
	unused_mark(lf_mark, sizeof(lf_mark), 'n', n ? s : "", n);
	unused_mark(cr_mark, sizeof(cr_mark), 'r', n ? s : "", n);
	buf_str(b, cr ? "replace(" : "");
	buf_str(b, lf ? "replace(" : "");
	text_literal(b, s, n, lf_mark, cr_mark);
	if (lf)
		buf_fmt(b, ",'%s',char(10))", lf_mark);
	if (cr)
		buf_fmt(b, ",'%s',char(13))", cr_mark);
}

/* R with DIGITS digits, so that it cannot be taken for an integer. */
static void real_digits(char *s, size_t len, double r, int digits)
{
	snprintf(s, len, "%.*g", digits, r);
	if (!strpbrk(s, ".e"))
		strncat(s, ".0", len - strlen(s) - 1);
}

void real_text(struct buf *b, double r)
{
	char s[64];

	real_digits(s, sizeof(s), r, 15);
	if (strtod(s, NULL) != r)
		real_digits(s, sizeof(s), r, 17);
	buf_str(b, s);
}

/* What SQLite makes of the literal S: not always the double that is nearest to it. */
static double sqlite_reads(const char *s)
{
	static sqlite3_stmt *st;
	static sqlite3 *db;
	double r = 0;

	if (!st && (sqlite3_open(":memory:", &db) != SQLITE_OK ||
		    sqlite3_prepare_v2(db, "SELECT CAST(? AS REAL)", -1, &st, NULL) != SQLITE_OK))
		no_memory();
	sqlite3_bind_text(st, 1, s, -1, SQLITE_STATIC);
	if (sqlite3_step(st) == SQLITE_ROW)
		r = sqlite3_column_double(st, 0);
	sqlite3_reset(st);
	return r;
}

/*
 * SQLite 3.40 may be off by the last bit when it reads a decimal; with some number of digits it is
 * right, except below 8e-292. Multiplying by a power of two is exact, so those are written as
 * products.
 */
void sql_real(struct buf *b, double r)
{
	char s[64];

	if (isinf(r)) {
		buf_str(b, r > 0 ? "1e999" : "-1e999");
		return;
	}
	for (int digits = 15; digits < 22; digits++) {
		real_digits(s, sizeof(s), r, digits);
		if (strtod(s, NULL) == r && sqlite_reads(s) == r) {
			buf_str(b, s);
			return;
		}
	}
	buf_chr(b, '(');
	real_text(b, r * 0x1p500);
	buf_str(b, "*3.0549363634996047e-151)"); /* 2^-500 */
}

void sql_ident(struct buf *b, const char *name)
{
	bool plain = isalpha((unsigned char)name[0]) || name[0] == '_';

	for (const char *p = name; *p && plain; p++)
		plain = (*p & 0x80) == 0 && (isalnum((unsigned char)*p) || *p == '_');
	if (plain && !sqlite3_keyword_check(name, (int)strlen(name))) {
		buf_str(b, name);
		return;
	}
	buf_chr(b, '"');
	for (const char *p = name; *p; p++) {
		if (*p == '"')
			buf_chr(b, '"');
		buf_chr(b, *p);
	}
	buf_chr(b, '"');
}

static char unescape(char c)
{
	switch (c) {
	case 'n':
		return '\n';
	case 't':
		return '\t';
	case 'r':
		return '\r';
	default:
		return c;
	}
}

/* One word at *P into B; false: quote not closed. */
static bool word_take(const char **p, struct buf *b)
{
	const char *s = *p;
	char q = *s == '\'' || *s == '"' ? *s++ : 0;

	for (; *s && (q ? *s != q : !isspace((unsigned char)*s)); s++) {
		if (q == '"' && *s == '\\' && s[1])
			buf_chr(b, unescape(*++s));
		else
			buf_chr(b, *s);
	}
	if (q && *s != q)
		return false;
	*p = s + (q != 0);
	return true;
}

bool words_split(struct words *ws, const char *line)
{
	struct buf b = {0};
	bool ok = true;

	*ws = (struct words){0};
	ws->w = xmalloc(sizeof(char *));
	while (ok) {
		while (isspace((unsigned char)*line))
			line++;
		if (!*line)
			break;
		buf_reset(&b);
		ok = word_take(&line, &b);
		ws->w = xrealloc(ws->w, (size_t)(ws->cnt + 2) * sizeof(char *));
		ws->w[ws->cnt++] = xstrdup(buf_cstr(&b));
	}
	ws->w[ws->cnt] = NULL;
	buf_free(&b);
	return ok;
}

void words_free(struct words *ws)
{
	for (int i = 0; i < ws->cnt; i++)
		free(ws->w[i]);
	free(ws->w);
	*ws = (struct words){0};
}

char *size_str(uint64_t bytes, char *buf)
{
	static const char *const unit[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB"};
	double v = (double)bytes;
	size_t u = 0;

	for (; v >= 1024 && u + 1 < sizeof(unit) / sizeof(unit[0]); u++)
		v /= 1024;
	snprintf(buf, SIZE_STR_LEN, v < 100 && u ? "%.1f %s" : "%.0f %s", v, unit[u]);
	return buf;
}

char *count_str(uint64_t n, char *buf)
{
	char digits[24];
	size_t len = (size_t)snprintf(digits, sizeof(digits), "%llu", (unsigned long long)n);
	char *p = buf;

	for (size_t i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			*p++ = ',';
		*p++ = digits[i];
	}
	*p = 0;
	return buf;
}

char *xdg_path(const char *xdg, const char *home_rel, const char *name)
{
	const char *dir = getenv(xdg), *home = getenv("HOME");

	/* The XDG rules: a relative path there is to be ignored. */
	if (dir && dir[0] == '/')
		return xasprintf("%s/twzdb/%s", dir, name);
	return home && home[0] ? xasprintf("%s/%s/twzdb/%s", home, home_rel, name) : NULL;
}

int make_parents(const char *path)
{
	char *p = xstrdup(path);
	int rc = 0;

	for (char *s = p + 1; rc == 0 && (s = strchr(s, '/')); *s++ = '/') {
		*s = 0;
		if (mkdir(p, 0700) != 0 && errno != EEXIST)
			rc = -errno;
	}
	free(p);
	return rc;
}

double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

bool starts_with_ci(const char *s, const char *prefix)
{
	return strncasecmp(s, prefix, strlen(prefix)) == 0;
}

int parse_bool(const char *s)
{
	if (!strcasecmp(s, "on") || !strcasecmp(s, "yes") || !strcasecmp(s, "true") ||
	    !strcmp(s, "1"))
		return 1;
	if (!strcasecmp(s, "off") || !strcasecmp(s, "no") || !strcasecmp(s, "false") ||
	    !strcmp(s, "0"))
		return 0;
	return -1;
}

bool parse_long(const char *s, long *out)
{
	char *end;

	errno = 0;
	*out = strtol(s, &end, 10);
	return end != s && !*end && !errno;
}
