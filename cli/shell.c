/* SPDX-License-Identifier: MIT
 * shell.c -- from lines to statements to rows, and what happens when one fails
 */
#include "shell.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "progress.h"

#define NO_COUNT     UINT64_MAX
#define MESSAGE_MAX  300   /* bytes of SQLite's own words in an error */
#define PROGRESS_OPS 50000 /* virtual machine steps between looks at the clock */

volatile sig_atomic_t shell_interrupted;

/*
 * What the signal handler needs: the connection that may be interrupted, and whether it is at
 * work.
 */
static struct {
	struct shell *sh;
	volatile sig_atomic_t busy;
} current;

void shell_init(struct shell *sh)
{
	*sh = (struct shell){.out = stdout, .exit_code = -1, .timeout_ms = 5000};
	out_format_init(&sh->fmt);
}

void shell_free(struct shell *sh)
{
	shell_output_reset(sh);
	shell_close(sh);
	out_format_free(&sh->fmt);
}

/*
 * While something runs, Ctrl-C asks it to stop; the third time, or when nothing runs in a
 * script, it ends the process as it would any other: the store survives that.
 */
static void on_sigint(int sig)
{
	shell_interrupted++;
	if (current.busy && current.sh->db && shell_interrupted < 3) {
		sqlite3_interrupt(current.sh->db);
	} else if (!current.sh->interactive || shell_interrupted >= 3) {
		signal(sig, SIG_DFL);
		raise(sig);
	}
}

/*
 * Something starts that Ctrl-C may stop; returns what to put back into current.busy (scripts
 * nest).
 */
static int work_begin(void)
{
	int outer = current.busy;

	if (!outer)
		shell_interrupted = 0;
	storage_forget();
	current.busy = 1;
	return outer;
}

void shell_signals(struct shell *sh)
{
	struct sigaction sa = {.sa_handler = on_sigint, .sa_flags = SA_RESTART};

	current.sh = sh;
	sigaction(SIGINT, &sa, NULL);
	/*
	 * Writing to a pager that was left is an error to notice (shell_output_check), not a
	 * reason to die unfinished.
	 */
	signal(SIGPIPE, SIG_IGN);
}

int shell_error(struct shell *sh, const char *fmt, ...)
{
	bool colour = !sh->no_colour && isatty(STDERR_FILENO);
	va_list ap;

	fflush(sh->out);
	fputs(colour ? "\033[1;31mtwzdb:\033[0m " : "twzdb: ", stderr);
	if (sh->src)
		fprintf(stderr, "%s:%ld: ", sh->src, sh->src_line);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	sh->errors++;
	return 1;
}

/*
 * What to try, by result code and a part of the message. The first statement of a connection may
 * report an SQLITE_ERROR as SQLITE_SCHEMA, so messages that speak for themselves stand without a
 * code (0).
 */
static const struct {
	int code;
	const char *part, *hint;
} hints[] = {
	{0, "no such table", "; try .tables"},
	{0, "no such column", "; try .schema"},
	{0, "has no column", "; try .schema"},
	{0, "incomplete input", "; try ending the statement with ';'"},
	{0, "unrecognized token", "; try closing the quote, or 'text' in single quotes"},
	{0, "already exists", "; try CREATE ... IF NOT EXISTS"},
	{SQLITE_BUSY, "", "; try again when the other writer is done, or .timeout 60000"},
	{SQLITE_LOCKED, "", "; try again when the other statement is done"},
	{SQLITE_READONLY, "", "; try opening it without -readonly"},
	{SQLITE_FULL, "", "; try making room on the file system"},
	{SQLITE_CORRUPT, "", "; try .check"},
	{SQLITE_IOERR, "", "; try .check after closing the store everywhere"},
	{SQLITE_TOOBIG, "", "; try a smaller value"},
	{SQLITE_INTERRUPT, "", ""},
};

const char *shell_hint(int rc, const char *msg)
{
	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++)
		if ((!hints[i].code || hints[i].code == (rc & 0xFF)) && strstr(msg, hints[i].part))
			return hints[i].hint;
	return "";
}

/* Lines that end before SQL[offset]. */
static long lines_before(const char *sql, int offset)
{
	long n = 0;

	for (int i = 0; i < offset && sql[i]; i++)
		n += sql[i] == '\n';
	return n;
}

/* SQLite quotes the statement in some messages: keep them on one line, and not too long. */
static char *one_line(const char *msg)
{
	struct buf b = {0};
	size_t n = strlen(msg);

	buf_visible(&b, msg, n < MESSAGE_MAX ? n : MESSAGE_MAX, false);
	buf_str(&b, n < MESSAGE_MAX ? "" : "...");
	return buf_cstr(&b);
}

int shell_sql_error(struct shell *sh, const char *sql, int offset, long line)
{
	int rc = sqlite3_extended_errcode(sh->db);
	char *msg = one_line(sqlite3_errmsg(sh->db));
	const char *why = storage_reason();

	sh->src_line = line + (sql ? lines_before(sql, offset) : 0);
	if (*why)
		shell_error(sh, "%s (%s)", msg, why);
	else
		shell_error(sh, "%s%s", msg, shell_hint(rc, msg));
	free(msg);
	return 1;
}

/* Shown while a statement of an interactive session has not produced anything for a second. */
static int on_progress(void *arg)
{
	progress_step(arg, NO_COUNT);
	return 0;
}

static void watch(struct shell *sh, struct progress *p)
{
	if (!sh->interactive)
		return;
	progress_begin(p, "running, Ctrl-C cancels:", 0);
	sqlite3_progress_handler(sh->db, PROGRESS_OPS, on_progress, p);
}

static void unwatch(struct shell *sh, struct progress *p)
{
	if (!sh->interactive)
		return;
	sqlite3_progress_handler(sh->db, 0, NULL, NULL);
	progress_end(p);
}

static void fetch_cell(sqlite3_stmt *st, int i, struct cell *c)
{
	*c = (struct cell){.type = sqlite3_column_type(st, i)};
	if (c->type == SQLITE_INTEGER) {
		c->i = sqlite3_column_int64(st, i);
		return;
	}
	if (c->type == SQLITE_FLOAT)
		c->r = sqlite3_column_double(st, i);
	if (c->type == SQLITE_BLOB)
		c->s = sqlite3_column_blob(st, i);
	else if (c->type != SQLITE_NULL)
		c->s = (const char *)sqlite3_column_text(st, i);
	c->n = c->s ? (size_t)sqlite3_column_bytes(st, i) : 0;
}

void shell_out_begin(struct shell *sh, struct out *o, int col_cnt, const char *const *names)
{
	bool colour = sh->colour && !sh->no_colour && isatty(fileno(sh->out));

	out_begin(o, &sh->fmt, sh->out, colour, col_cnt, names);
}

static void begin_rows(struct shell *sh, sqlite3_stmt *st, struct out *o, int cols)
{
	const char **names = xmalloc((size_t)(cols + 1) * sizeof(*names));

	for (int i = 0; i < cols; i++)
		names[i] = sqlite3_column_name(st, i);
	shell_out_begin(sh, o, cols, names);
	free(names);
}

int shell_print_rows(struct shell *sh, sqlite3_stmt *st)
{
	static const struct out_format silent = {.mode = OUT_LIST};
	int cols = sqlite3_column_count(st), rc;
	struct cell *cells = xmalloc((size_t)(cols + 1) * sizeof(*cells));
	struct progress p = {0};
	struct out o;

	watch(sh, &p);
	rc = sqlite3_step(st);
	begin_rows(sh, st, &o, cols);
	for (; rc == SQLITE_ROW; rc = sqlite3_step(st)) {
		if (o.screen)
			unwatch(sh, &p);
		for (int i = 0; i < cols; i++)
			fetch_cell(st, i, &cells[i]);
		out_row(&o, cells);
		if (ferror(sh->out)) {
			sh->out_errno = errno;
			rc = SQLITE_DONE;
			break;
		}
	}
	unwatch(sh, &p);
	/*
	 * A statement without columns, or one that failed before its first row, prints nothing
	 * at all.
	 */
	if (cols == 0 || (rc != SQLITE_DONE && o.rows == 0))
		o.fmt = &silent;
	out_end(&o);
	free(cells);
	return rc;
}

static double tv(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static int run_timed(struct shell *sh, sqlite3_stmt *st)
{
	struct rusage before, after;
	double t = now_s();
	int rc;

	getrusage(RUSAGE_SELF, &before);
	rc = shell_print_rows(sh, st);
	t = now_s() - t;
	getrusage(RUSAGE_SELF, &after);
	if (sh->timer)
		fprintf(sh->out, "Run time: %.3f s (user %.3f, system %.3f)\n", t,
			tv(after.ru_utime) - tv(before.ru_utime),
			tv(after.ru_stime) - tv(before.ru_stime));
	return rc;
}

/* The statement that begins at P: *TAIL is what follows. 0, or an SQLite code. */
static int run_one(struct shell *sh, const char *p, const char **tail)
{
	sqlite3_stmt *st;
	int rc = sqlite3_prepare_v2(sh->db, p, -1, &st, tail);

	if (rc != SQLITE_OK || !st)
		return rc;
	storage_forget();
	rc = run_timed(sh, st);
	sqlite3_finalize(st);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int skip_space(const char *sql, int off)
{
	while (isspace((unsigned char)sql[off]))
		off++;
	return off;
}

int shell_sql(struct shell *sh, const char *sql, long line)
{
	const char *p = sql, *tail = sql;
	int rc = SQLITE_OK, at, outer;

	if (!sh->db)
		return shell_error(sh, "nothing is open; try .open FILE");
	if (sh->echo)
		fprintf(sh->out, "%s\n", sql);
	outer = work_begin();
	for (; *p && rc == SQLITE_OK; p = rc == SQLITE_OK ? tail : p)
		rc = run_one(sh, p, &tail);
	current.busy = outer;
	if (rc != SQLITE_OK) {
		at = sqlite3_error_offset(sh->db);
		at = at >= 0 ? at + (int)(p - sql) : skip_space(sql, (int)(p - sql));
		shell_sql_error(sh, sql, at, line);
	}
	if ((rc & 0xFF) == SQLITE_INTERRUPT && !sh->interactive) {
		sh->leave = true;
		sh->exit_code = EXIT_INTERRUPT;
	}
	return shell_output_check(sh) || rc != SQLITE_OK;
}

int shell_exec(struct shell *sh, const char *fmt, ...)
{
	va_list ap;
	char *sql;
	int rc;

	va_start(ap, fmt);
	sql = sqlite3_vmprintf(fmt, ap);
	va_end(ap);
	rc = sqlite3_exec(sh->db, sql, NULL, NULL, NULL);
	sqlite3_free(sql);
	return rc == SQLITE_OK ? 0 : shell_sql_error(sh, NULL, -1, sh->src_line);
}

sqlite3_stmt *shell_prepare(struct shell *sh, const char *fmt, ...)
{
	sqlite3_stmt *st = NULL;
	va_list ap;
	char *sql;

	if (!sh->db) {
		shell_error(sh, "nothing is open; try .open FILE");
		return NULL;
	}
	va_start(ap, fmt);
	sql = sqlite3_vmprintf(fmt, ap);
	va_end(ap);
	if (sqlite3_prepare_v2(sh->db, sql, -1, &st, NULL) != SQLITE_OK)
		shell_sql_error(sh, NULL, -1, sh->src_line);
	sqlite3_free(sql);
	return st;
}

sqlite3_int64 shell_int(struct shell *sh, const char *fmt, ...)
{
	sqlite3_stmt *st = NULL;
	sqlite3_int64 v = -1;
	va_list ap;
	char *sql;

	va_start(ap, fmt);
	sql = sqlite3_vmprintf(fmt, ap);
	va_end(ap);
	if (sqlite3_prepare_v2(sh->db, sql, -1, &st, NULL) == SQLITE_OK &&
	    sqlite3_step(st) == SQLITE_ROW)
		v = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	sqlite3_free(sql);
	return v;
}

void shell_output_reset(struct shell *sh)
{
	FILE *f = sh->out;
	bool piped = sh->out_pipe;

	sh->out = stdout;
	sh->once = sh->out_pipe = false;
	if (f != stdout && (piped ? pclose(f) == -1 : fclose(f)) && !piped)
		shell_error(sh, "cannot finish the output file (%s); try another disk",
			    strerror(errno));
}

/* Nobody reads any more: end as quietly as every other program in a pipeline. */
static void reader_left(struct shell *sh)
{
	shell_close(sh);
	signal(SIGPIPE, SIG_DFL);
	raise(SIGPIPE);
}

/* Why writing failed: ERR if that is known, or what was noted, or what the pipe says. */
static int write_error(struct shell *sh, int err)
{
	struct pollfd fd = {.fd = fileno(sh->out), .events = POLLOUT};

	if (!err)
		err = sh->out_errno;
	sh->out_errno = 0;
	if (!err && poll(&fd, 1, 0) == 1 && (fd.revents & POLLERR))
		err = EPIPE;
	return err ? err : EIO;
}

int shell_output_check(struct shell *sh)
{
	int rc = 0, err;

	errno = 0;
	if (fflush(sh->out) || ferror(sh->out)) {
		err = write_error(sh, errno);
		clearerr(sh->out);
		if (err == EPIPE && sh->out == stdout)
			reader_left(sh);
		if (err != EPIPE) {
			rc = shell_error(sh, "cannot write the result (%s); try .output FILE",
					 strerror(err));
			sh->leave = sh->out == stdout && !sh->interactive;
		}
	}
	if (sh->once)
		shell_output_reset(sh);
	return rc;
}

/* The end of the comment that S (which has N bytes) begins with; NULL: it goes on. */
static const char *comment_end(const char *s, size_t n)
{
	bool block = s[0] == '/';
	const char *end = block ? memmem(s + 2, n - 2, "*/", 2) : memchr(s, '\n', n);

	return end ? end + (block ? 2 : 1) : NULL;
}

/* Anything but blanks and finished comments? */
bool shell_is_pending(const struct pending *p)
{
	const char *s = p->sql.p, *end = s ? s + p->sql.n : NULL;

	while (s < end) {
		if (end - s > 1 && (!memcmp(s, "--", 2) || !memcmp(s, "/*", 2))) {
			s = comment_end(s, (size_t)(end - s));
			if (!s)
				return true;
		} else if (isspace((unsigned char)*s)) {
			s++;
		} else {
			return true;
		}
	}
	return false;
}

static int run_dot(struct shell *sh, const char *line, long line_no)
{
	int rc, outer;

	sh->src_line = line_no;
	if (sh->echo)
		fprintf(sh->out, "%s\n", line);
	outer = work_begin();
	rc = dot_run(sh, line);
	current.busy = outer;
	return rc;
}

static int run_pending(struct shell *sh, struct pending *p)
{
	int rc = shell_sql(sh, buf_cstr(&p->sql), p->line);

	buf_reset(&p->sql);
	return rc;
}

int shell_line(struct shell *sh, struct pending *p, const char *line, size_t len, long line_no)
{
	sh->src_line = line_no;
	if (memchr(line, 0, len))
		return shell_error(
			sh, "a NUL byte in the script; try CAST(X'00' AS TEXT) for such values");
	if (!shell_is_pending(p)) {
		buf_reset(&p->sql);
		p->line = line_no;
		if (line[0] == '.')
			return run_dot(sh, line, line_no);
		if (line[0] == '#')
			return 0;
	}
	buf_add(&p->sql, line, len);
	buf_chr(&p->sql, '\n');
	if (memchr(line, ';', len) && sqlite3_complete(buf_cstr(&p->sql)))
		return run_pending(sh, p);
	return 0;
}

int shell_finish(struct shell *sh, struct pending *p)
{
	int rc = shell_is_pending(p) ? run_pending(sh, p) : 0;

	buf_free(&p->sql);
	return rc;
}

static size_t chomp(char *line, ssize_t len)
{
	if (len > 0 && line[len - 1] == '\n')
		line[--len] = 0;
	if (len > 0 && line[len - 1] == '\r' && line[0] == '.')
		line[--len] = 0;
	return (size_t)len;
}

static bool must_stop(const struct shell *sh, int rc)
{
	return sh->leave || shell_interrupted || (rc && sh->bail);
}

int shell_stream(struct shell *sh, FILE *f, const char *name)
{
	const char *src = sh->src;
	long src_line = sh->src_line, no = 0;
	struct pending p = {0};
	char *line = NULL;
	size_t cap = 0;
	ssize_t len;
	int rc = 0;

	sh->src = name;
	while (!must_stop(sh, rc) && (len = getline(&line, &cap, f)) >= 0) {
		size_t n = chomp(line, len);
		bool bom = ++no == 1 && n >= 3 && !memcmp(line, "\xEF\xBB\xBF", 3);

		rc |= shell_line(sh, &p, line + (bom ? 3 : 0), n - (bom ? 3 : 0), no);
	}
	if (ferror(f))
		rc |= shell_error(sh, "cannot read (%s)", strerror(errno));
	if (must_stop(sh, rc))
		buf_free(&p.sql);
	else
		rc |= shell_finish(sh, &p);
	free(line);
	sh->src = src;
	sh->src_line = src_line;
	return rc;
}

int shell_arg(struct shell *sh, const char *text)
{
	while (isspace((unsigned char)*text))
		text++;
	return *text == '.' ? run_dot(sh, text, 1) : shell_sql(sh, text, 1);
}
