/* SPDX-License-Identifier: MIT
 * shell.h -- the shell: one open database, where its text comes from, where results go
 *
 *	main.c ──> shell_stream / shell_arg / line_session (line.c)
 *	              └─> shell_line: collects a statement, or hands a dot command to dot.c
 *	                     └─> shell_sql: prepare, step, out_row ...
 *
 * Calls return 0, or 1 after having reported an error by shell_error(); one thread.
 */
#ifndef CLI_SHELL_H
#define CLI_SHELL_H

#include <signal.h>
#include "output.h"
#include "text.h"

enum exit_code {
	EXIT_OK = 0,
	EXIT_SQL = 1,
	EXIT_USAGE = 2,
	EXIT_OPEN = 3,
	EXIT_INTERRUPT = 130,
};

struct shell {
	sqlite3 *db;
	char *store;  /* what the user opened, "?db=" included */
	char *file;   /* its store file; NULL for :memory: */
	char *dbname; /* database in the store */

	bool readonly, interactive, bail, echo, timer, colour, no_colour;
	int errors; /* reported so far */
	bool leave;
	int exit_code; /* of .quit CODE, -1 = by errors */

	struct out_format fmt;
	FILE *out;     /* stdout, or .output */
	bool out_pipe; /* out came from popen */
	int out_errno; /* why a row could not be written */
	bool once;     /* back to stdout after the next command */

	const char *src; /* script being read, NULL: none to name */
	long src_line;	 /* of the statement or command being run */
	int read_depth;
	long timeout_ms;
};

void shell_init(struct shell *sh);
void shell_free(struct shell *sh);

/*
 * Open STORE ("app.twz", "app.twz?db=sales", ":memory:"), closing what was open only if that
 * succeeds.
 */
int shell_open(struct shell *sh, const char *store);
void shell_close(struct shell *sh);
/* The store used when none is named, made as needed (malloced); NULL: reported. */
char *shell_default_store(struct shell *sh);
/*
 * open.c: connect by the VFS twz; *ERR (malloced) says what went wrong. WHERE may name a plain
 * SQLite file if PLAIN.
 */
int store_connect(const char *store, bool readonly, bool plain, sqlite3 **db, char **err);
/* Does FILE begin as SQLite's own files do? */
bool is_plain_sqlite(const char *file);
/* Take "file?db=name" apart (malloced). */
void store_split(const char *store, char **file, char **dbname);

/* A statement being collected from lines. */
struct pending {
	struct buf sql;
	long line; /* it began on */
};
/* One line without its newline. Runs what it completes. */
int shell_line(struct shell *sh, struct pending *p, const char *line, size_t len, long line_no);
/* No more lines: run what is left. */
int shell_finish(struct shell *sh, struct pending *p);
/* Is a statement begun and not ended? */
bool shell_is_pending(const struct pending *p);

/*
 * Run a script; NAME for messages. Stops at the first error if .bail is on; else goes on and
 * returns 1 at the end.
 */
int shell_stream(struct shell *sh, FILE *f, const char *name);
/* One argument of the command line: a dot command or SQL. */
int shell_arg(struct shell *sh, const char *text);
/* Run every statement of SQL, which began on line LINE. */
int shell_sql(struct shell *sh, const char *sql, long line);
/*
 * The next three take SQLite's own formats (%Q, %w). Run SQL that returns nothing, without output.
 */
int shell_exec(struct shell *sh, const char *fmt, ...);
/* Prepare the shell's own SQL: NULL and a report when it fails. */
sqlite3_stmt *shell_prepare(struct shell *sh, const char *fmt, ...);
/* First column of the first row as a number; -1 if there is none. */
sqlite3_int64 shell_int(struct shell *sh, const char *fmt, ...);
/* Print all rows of ST in the present mode; does not finalize. Returns an SQLite code. */
int shell_print_rows(struct shell *sh, sqlite3_stmt *st);
void shell_out_begin(struct shell *sh, struct out *o, int col_cnt, const char *const *names);

/* "twzdb: [script:line: ]MESSAGE" on stderr, counted. Always returns 1. */
CLI_PRINTF(2, 3) int shell_error(struct shell *sh, const char *fmt, ...);
/*
 * The last error of SH's connection, with what to try; SQL and OFFSET locate it (NULL, -1:
 * nowhere). Returns 1.
 */
int shell_sql_error(struct shell *sh, const char *sql, int offset, long line);
/* "; try ..." for SQLite code RC and its message, or "". */
const char *shell_hint(int rc, const char *msg);
/*
 * Why the layers below SQLite failed since storage_forget(), "" if they did not. storage_watch()
 * comes before every other call of SQLite.
 */
void storage_watch(void);
void storage_forget(void);
const char *storage_reason(void);

/* Results of the next command go to stdout again. */
void shell_output_reset(struct shell *sh);
/* After a command: ends .once, notices a full disk or a reader that left. */
int shell_output_check(struct shell *sh);

/* Ctrl-C since the last clear. */
extern volatile sig_atomic_t shell_interrupted;
void shell_signals(struct shell *sh);

/* dot.c: one line that begins with '.'. */
int dot_run(struct shell *sh, const char *line);
/* Names of commands, for completion: NULL at the end. */
const char *dot_name(int i);

/* schema.c */
int dot_tables(struct shell *sh, const struct words *ws);
int dot_schema(struct shell *sh, const struct words *ws);
int dot_indexes(struct shell *sh, const struct words *ws);
int dot_databases(struct shell *sh, const struct words *ws);
/* dump.c */
int dot_dump(struct shell *sh, const struct words *ws);
int dot_backup(struct shell *sh, const struct words *ws);
int dot_restore(struct shell *sh, const struct words *ws);
/* import.c */
int dot_import(struct shell *sh, const struct words *ws);
/* inspect.c */
int dot_store(struct shell *sh, const struct words *ws);
int dot_objects(struct shell *sh, const struct words *ws);
int dot_inspect(struct shell *sh, const struct words *ws);
/* The I-th part .inspect can show, NULL behind the last. */
const char *inspect_part(int i);
int dot_check(struct shell *sh, const struct words *ws);
int dot_stats(struct shell *sh, const struct words *ws);
int dot_readers(struct shell *sh, const struct words *ws);
int dot_wait(struct shell *sh, const struct words *ws);
/* One line that says what is open: file, tables, size, medium. */
void inspect_banner(struct shell *sh);
/* Structure of store, database and SQL, printed; *FOUND counts what is wrong. */
int inspect_check(struct shell *sh, uint64_t *found);

/* line.c: an interactive session on the terminal. */
void line_session(struct shell *sh);
/* demo.c: the session that needs no terminal; returns an exit code. */
int demo_run(struct shell *sh, const char *store);
/*
 * demo_crash.c: what the process does that is about to be killed (main runs it for "twzdb
 * DEMO_VICTIM STORE").
 */
#define DEMO_VICTIM "--demo-victim"
int demo_victim(const char *store);

#endif
