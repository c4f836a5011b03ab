/* SPDX-License-Identifier: MIT
 * text.h -- bytes and words: growable strings, UTF-8, SQL literals, sizes, paths
 *
 * Memory: the shell has nothing useful to do without memory, so the x* calls end the process
 * with a message.
 */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLI_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

void *xmalloc(size_t len);
void *xrealloc(void *p, size_t len);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);
CLI_PRINTF(1, 2) char *xasprintf(const char *fmt, ...);

/* A growable byte string; all zero is the empty one. NULs are ordinary bytes. */
struct buf {
	char *p;
	size_t n, cap;
};
void buf_add(struct buf *b, const void *p, size_t n);
void buf_str(struct buf *b, const char *s);
void buf_chr(struct buf *b, char c);
CLI_PRINTF(2, 3) void buf_fmt(struct buf *b, const char *fmt, ...);
/* NUL-terminated contents, never NULL; valid until the next change. */
char *buf_cstr(struct buf *b);
void buf_reset(struct buf *b);
void buf_free(struct buf *b);

/*
 * Decode one character of S[0..N), N > 0: bytes used (>= 1); *CP = 0xFFFD for one byte that is
 * not UTF-8.
 */
size_t utf8_decode(const char *s, size_t n, uint32_t *cp);
/* Columns a terminal needs for one character (0 for combining marks), and for a string. */
int char_width(uint32_t cp);
size_t text_width(const char *s, size_t n);
/*
 * Add S for a screen: control characters as ^X, bad UTF-8 as U+FFFD; newlines and tabs stay if
 * KEEP_WS.
 */
void buf_visible(struct buf *b, const char *s, size_t n, bool keep_ws);
void buf_hex(struct buf *b, const void *p, size_t n);

/* SQL literals that read back as exactly the same value, on one line, in twzdb and in sqlite3. */
void sql_text(struct buf *b, const char *s, size_t n);
void sql_blob(struct buf *b, const void *p, size_t n);
void sql_real(struct buf *b, double r);
/* Decimal digits that strtod() reads back exactly; not for infinities. */
void real_text(struct buf *b, double r);
/* An identifier, quoted only where it must be. */
void sql_ident(struct buf *b, const char *name);

/* Split a dot command's line into words; '...' and "..." group, \n \t \\ \" work inside "...". */
struct words {
	int cnt;
	char **w; /* cnt + 1 entries, the last NULL */
};
/* False: a quote is not closed. */
bool words_split(struct words *ws, const char *line);
void words_free(struct words *ws);

/* "3.2 MiB", "512 bytes" into BUF (>= 24 bytes); "1,234,567" into BUF (>= 28 bytes). Return BUF. */
char *size_str(uint64_t bytes, char *buf);
char *count_str(uint64_t n, char *buf);
#define SIZE_STR_LEN 28

/* $XDG (or ~/HOME_REL) + "/twzdb/" + NAME, malloced; NULL when there is no home directory. */
char *xdg_path(const char *xdg, const char *home_rel, const char *name);
/* Make the directories above PATH (mode 0700). 0 or -errno. */
int make_parents(const char *path);

/* Seconds since some point, monotonic. */
double now_s(void);

/* ASCII-only, case-insensitive. */
bool starts_with_ci(const char *s, const char *prefix);
/* "on"/"off" and their friends: 1, 0, or -1 for neither. */
int parse_bool(const char *s);
/* A whole decimal number, nothing after it. */
bool parse_long(const char *s, long *out);

#endif
