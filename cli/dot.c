/* SPDX-License-Identifier: MIT
 * dot.c -- dot commands: the table, finding one by prefix, help, and those that only change
 * settings
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "shell.h"

#define READ_DEPTH_MAX 16

struct dot {
	const char *name, *args, *help, *example;
	int min, max; /* words after the name */
	int (*fn)(struct shell *sh, const struct words *ws);
};

static const struct dot dots[];

/* Set *FLAG by on/off; without an argument say how it stands. */
static int on_off(struct shell *sh, const struct words *ws, bool *flag)
{
	int v = ws->cnt > 1 ? parse_bool(ws->w[1]) : *flag;

	if (v < 0)
		return shell_error(sh, "%s: '%s' is neither on nor off; try: %s on", ws->w[0],
				   ws->w[1], ws->w[0]);
	if (ws->cnt < 2)
		fprintf(sh->out, "%s\n", *flag ? "on" : "off");
	*flag = v;
	return 0;
}

static int dot_bail(struct shell *sh, const struct words *ws)
{
	return on_off(sh, ws, &sh->bail);
}

static int dot_echo(struct shell *sh, const struct words *ws)
{
	return on_off(sh, ws, &sh->echo);
}

static int dot_timer(struct shell *sh, const struct words *ws)
{
	return on_off(sh, ws, &sh->timer);
}

static int dot_headers(struct shell *sh, const struct words *ws)
{
	bool on = sh->fmt.headers == 1 || (sh->fmt.headers < 0 && !sh->fmt.terse);

	if (ws->cnt > 1 && !strcasecmp(ws->w[1], "auto")) {
		sh->fmt.headers = -1;
		return 0;
	}
	if (on_off(sh, ws, &on))
		return 1;
	if (ws->cnt > 1)
		sh->fmt.headers = on;
	return 0;
}

static void list_modes(struct shell *sh)
{
	for (int i = 0; i < OUT_MODE_CNT; i++)
		fprintf(sh->out, "%c %-10s %s\n", i == (int)sh->fmt.mode ? '*' : ' ',
			out_mode_name((enum out_mode)i), out_mode_help((enum out_mode)i));
}

static int dot_mode(struct shell *sh, const struct words *ws)
{
	if (ws->cnt < 2) {
		list_modes(sh);
		return 0;
	}
	if (!out_format_mode(&sh->fmt, ws->w[1]))
		return shell_error(sh, ".mode: there is no mode '%s'; try .mode to list them",
				   ws->w[1]);
	if (ws->cnt > 2 && sh->fmt.mode != OUT_INSERT)
		return shell_error(sh, ".mode: only 'insert' takes a table; try: .mode %s",
				   ws->w[1]);
	if (sh->fmt.mode == OUT_INSERT) {
		free(sh->fmt.table);
		sh->fmt.table = xstrdup(ws->cnt > 2 ? ws->w[2] : "table");
	}
	return 0;
}

static void replace(char **where, const char *s)
{
	free(*where);
	*where = xstrdup(s);
}

static int dot_separator(struct shell *sh, const struct words *ws)
{
	replace(&sh->fmt.col_sep, ws->w[1]);
	if (ws->cnt > 2)
		replace(&sh->fmt.row_sep, ws->w[2]);
	return 0;
}

static int dot_nullvalue(struct shell *sh, const struct words *ws)
{
	replace(&sh->fmt.null_text, ws->w[1]);
	return 0;
}

static int dot_width(struct shell *sh, const struct words *ws)
{
	long v;

	if (ws->cnt - 1 > OUT_WIDTH_MAX)
		return shell_error(sh, ".width: at most %d columns; try fewer", OUT_WIDTH_MAX);
	for (int i = 1; i < ws->cnt; i++) {
		if (!parse_long(ws->w[i], &v) || v < -10000 || v > 10000)
			return shell_error(sh, ".width: '%s' is not a width; try: .width 20 0 -8",
					   ws->w[i]);
		sh->fmt.width[i - 1] = (int)v;
	}
	sh->fmt.width_cnt = ws->cnt - 1;
	return 0;
}

static int dot_timeout(struct shell *sh, const struct words *ws)
{
	long v;

	if (!parse_long(ws->w[1], &v) || v < 0 || v > 86400000)
		return shell_error(
			sh, ".timeout: '%s' is not a number of milliseconds; try: .timeout 5000",
			ws->w[1]);
	sh->timeout_ms = v;
	sqlite3_busy_timeout(sh->db, (int)v);
	return 0;
}

/* FILE, "|command", or nothing for the screen. */
static int set_output(struct shell *sh, const struct words *ws, bool once)
{
	const char *name = ws->cnt > 1 ? ws->w[1] : "stdout";
	FILE *f;

	shell_output_reset(sh);
	if (!strcmp(name, "stdout"))
		return 0;
	f = name[0] == '|' ? popen(name + 1, "w") : fopen(name, "w");
	if (!f)
		return shell_error(sh, "%s: cannot open %s (%s); try another path", ws->w[0], name,
				   strerror(errno));
	sh->out = f;
	sh->out_pipe = name[0] == '|';
	sh->once = once;
	return 0;
}

static int dot_output(struct shell *sh, const struct words *ws)
{
	return set_output(sh, ws, false);
}

static int dot_once(struct shell *sh, const struct words *ws)
{
	return set_output(sh, ws, true);
}

static int dot_print(struct shell *sh, const struct words *ws)
{
	for (int i = 1; i < ws->cnt; i++)
		fprintf(sh->out, "%s%s", i > 1 ? " " : "", ws->w[i]);
	fputc('\n', sh->out);
	return 0;
}

static int dot_open(struct shell *sh, const struct words *ws)
{
	return shell_open(sh, ws->w[1]);
}

static int dot_quit(struct shell *sh, const struct words *ws)
{
	long v = -1;

	if (ws->cnt > 1 && (!parse_long(ws->w[1], &v) || v < 0 || v > 255))
		return shell_error(sh, "%s: '%s' is not an exit code (0 to 255); try: %s 1",
				   ws->w[0], ws->w[1], ws->w[0]);
	sh->leave = true;
	sh->exit_code = (int)v;
	return 0;
}

static int dot_read(struct shell *sh, const struct words *ws)
{
	const char *name = ws->w[1];
	bool pipe = name[0] == '|';
	struct stat st;
	FILE *f;
	int rc;

	if (sh->read_depth >= READ_DEPTH_MAX)
		return shell_error(sh,
				   ".read: scripts nested more than %d deep; does %s read itself?",
				   READ_DEPTH_MAX, name);
	f = pipe ? popen(name + 1, "r") : fopen(name, "r");
	if (!f)
		return shell_error(sh, ".read: cannot open %s (%s); try another path", name,
				   strerror(errno));
	if (!pipe && fstat(fileno(f), &st) == 0 && S_ISDIR(st.st_mode)) {
		fclose(f);
		return shell_error(sh, ".read: %s is a directory; try a file in it", name);
	}
	sh->read_depth++;
	rc = shell_stream(sh, f, name);
	sh->read_depth--;
	if (!pipe)
		fclose(f);
	else if (pclose(f) != 0 && !rc)
		rc = shell_error(sh, ".read: '%s' failed; try it in a terminal", name + 1);
	return rc;
}

static int dot_show(struct shell *sh, const struct words *ws)
{
	const struct out_format *f = &sh->fmt;
	struct buf b = {0};

	(void)ws;
	buf_fmt(&b, "%12s: %s\n", "store", sh->store ? sh->store : "(none)");
	buf_fmt(&b, "%12s: %s\n", "mode", out_mode_name(f->mode));
	buf_fmt(&b, "%12s: %s\n", "headers", f->headers < 0 ? "auto" : f->headers ? "on" : "off");
	buf_fmt(&b, "%12s: ", "nullvalue");
	sql_text(&b, f->null_text, strlen(f->null_text));
	buf_fmt(&b, "\n%12s: ", "separator");
	sql_text(&b, f->col_sep, strlen(f->col_sep));
	buf_chr(&b, ' ');
	sql_text(&b, f->row_sep, strlen(f->row_sep));
	buf_fmt(&b, "\n%12s:", "width");
	for (int i = 0; i < f->width_cnt; i++)
		buf_fmt(&b, " %d", f->width[i]);
	buf_fmt(&b, "\n%12s: %s\n%12s: %s\n%12s: %s\n", "bail", sh->bail ? "on" : "off", "echo",
		sh->echo ? "on" : "off", "timer", sh->timer ? "on" : "off");
	buf_fmt(&b, "%12s: %ld ms\n", "timeout", sh->timeout_ms);
	fputs(buf_cstr(&b), sh->out);
	buf_free(&b);
	return 0;
}

static void help_line(struct shell *sh, const struct dot *d, bool example)
{
	char *left = xasprintf(".%s %s", d->name, d->args);

	fprintf(sh->out, "%-30s %s\n", left, d->help);
	if (example && *d->example)
		fprintf(sh->out, "    example: %s\n", d->example);
	free(left);
}

static int dot_help(struct shell *sh, const struct words *ws)
{
	const char *pat = ws->cnt > 1 ? ws->w[1] + (ws->w[1][0] == '.') : "";
	int hits = 0;

	for (const struct dot *d = dots; *pat && d->name; d++) {
		if (starts_with_ci(d->name, pat)) {
			help_line(sh, d, true);
			hits++;
		}
	}
	for (const struct dot *d = dots; !hits && d->name; d++) {
		if (strcasestr(d->name, pat) || strcasestr(d->help, pat) ||
		    strcasestr(d->example, pat)) {
			help_line(sh, d, *pat);
			hits += *pat != 0;
		}
	}
	if (!hits && *pat)
		return shell_error(sh, ".help: nothing about '%s'; try .help for all commands",
				   pat);
	if (!*pat)
		fputs("\nSQL statements end with ';'. Commands may be shortened (.q is .quit).\n"
		      "'.help WORD' shows examples.\n",
		      sh->out);
	return 0;
}

static const struct dot dots[] = {
	{"backup", "[--plain] FILE",
	 "copy the database to another store, or to a plain SQLite file",
	 ".backup --plain /tmp/app.db", 1, 2, dot_backup},
	{"bail", "[on|off]", "stop a script at its first error", ".bail on", 0, 1, dot_bail},
	{"check", "", "check store, database and SQL structure", ".check", 0, 0, dot_check},
	{"databases", "", "list attached databases", "ATTACH 'other.twz' AS o;  .databases", 0, 0,
	 dot_databases},
	{"dump", "[TABLE]", "print the database, or tables LIKE TABLE, as SQL",
	 ".once backup.sql  then  .dump", 0, 1, dot_dump},
	{"echo", "[on|off]", "print commands before running them", ".echo on", 0, 1, dot_echo},
	{"exit", "[CODE]", "leave, with this exit code", ".exit 3", 0, 1, dot_quit},
	{"headers", "[on|off|auto]", "column names above results", ".headers on", 0, 1,
	 dot_headers},
	{"help", "[PATTERN]", "explain commands", ".help import", 0, 1, dot_help},
	{"import", "[OPTIONS] FILE TABLE",
	 "read rows from a file (--csv --tsv --skip N --fill), making TABLE from its header",
	 ".import people.csv people    .import --tsv --skip 1 \"|zcat p.tsv.gz\" people", 2, 7,
	 dot_import},
	{"indexes", "[TABLE]", "list indexes, of tables LIKE TABLE", ".indexes pack%", 0, 1,
	 dot_indexes},
	{"inspect", "[PART]",
	 "print the fields of the format: head objects extents fot journal space table undo redo "
	 "arenas names; of the engine: tables nodes log; or all",
	 ".inspect journal    .once x.txt  then  .inspect all", 0, 1, dot_inspect},
	{"mode", "[MODE [TABLE]]", "how results look; alone: list the modes",
	 ".mode box    .mode insert people", 0, 2, dot_mode},
	{"nullvalue", "TEXT", "print this for NULL", ".nullvalue NULL", 1, 1, dot_nullvalue},
	{"objects", "", "list the objects of the store: id, name, length, extents, FOT entries",
	 ".objects", 0, 0, dot_objects},
	{"once", "[FILE]", "write the next result to FILE or '|command'", ".once \"|less\"", 0, 1,
	 dot_once},
	{"open", "STORE", "open another store; STORE?db=NAME opens database NAME in it",
	 ".open app.twz?db=sales", 1, 1, dot_open},
	{"output", "[FILE]", "write results to FILE or '|command'; alone: to the screen",
	 ".output result.txt", 0, 1, dot_output},
	{"print", "TEXT...", "print TEXT", ".print \"step 1\\tdone\"", 0, 1000000, dot_print},
	{"quit", "[CODE]", "leave", ".quit", 0, 1, dot_quit},
	{"read", "FILE", "run the statements in FILE, or those '|command' prints",
	 ".read schema.sql", 1, 1, dot_read},
	{"readers", "", "list open transactions of all processes: how old, how many commits behind",
	 ".readers", 0, 0, dot_readers},
	{"restore", "FILE", "replace the database by that in another store or plain SQLite file",
	 ".restore old.db", 1, 1, dot_restore},
	{"schema", "[TABLE]", "print CREATE statements, of tables LIKE TABLE", ".schema pack%", 0,
	 1, dot_schema},
	{"separator", "COL [ROW]", "what stands between values, and after rows",
	 ".separator \"\\t\"", 1, 2, dot_separator},
	{"show", "", "print the settings", ".show", 0, 0, dot_show},
	{"stats", "", "print what engine and SQLite counted", ".stats", 0, 0, dot_stats},
	{"store", "", "print the store's size, medium, free space, generation", ".store", 0, 0,
	 dot_store},
	{"tables", "[TABLE]", "list tables and views, those LIKE TABLE", ".tables pack%", 0, 1,
	 dot_tables},
	{"timeout", "MS", "wait this long for another writer", ".timeout 60000", 1, 1, dot_timeout},
	{"timer", "[on|off]", "print how long statements take", ".timer on", 0, 1, dot_timer},
	{"wait", "[MS]", "wait until somebody commits, and print the commit's number", ".wait 5000",
	 0, 1, dot_wait},
	{"width", "[N...]",
	 "widths of columns in aligned modes; 0 as needed, negative right-aligned",
	 ".width 20 0 -8", 0, 1000000, dot_width},
	{0},
};

const char *dot_name(int i)
{
	return dots[i].name;
}

/* Exact name or the only one that begins so; NULL: reported. */
static const struct dot *dot_find(struct shell *sh, const char *word)
{
	const struct dot *found = NULL;
	struct buf others = {0};
	int hits = 0;

	for (const struct dot *d = dots; d->name; d++) {
		if (!strcasecmp(d->name, word)) {
			found = d;
			hits = 1;
			break;
		}
		if (*word && starts_with_ci(d->name, word)) {
			found = d;
			buf_fmt(&others, "%s.%s", hits++ ? ", " : "", d->name);
		}
	}
	if (hits == 0)
		shell_error(sh, "there is no command '.%s'; try .help", word);
	else if (hits > 1)
		shell_error(sh, "'.%s' may be %s; try more letters", word, buf_cstr(&others));
	buf_free(&others);
	return hits == 1 ? found : NULL;
}

/* ".once |less -S" without quotes: the rest of the line is the command. */
static void join_pipe(struct words *ws, const char *line)
{
	if (ws->cnt <= 2 || ws->w[1][0] != '|')
		return;
	while (ws->cnt > 1)
		free(ws->w[--ws->cnt]);
	ws->w[ws->cnt++] = xstrdup(strchr(line, '|'));
	ws->w[ws->cnt] = NULL;
}

static int dot_call(struct shell *sh, struct words *ws, const char *line)
{
	const struct dot *d = dot_find(sh, ws->w[0] + 1);
	bool output = d && (d->fn == dot_once || d->fn == dot_output);

	if (!d)
		return 1;
	if (output || d->fn == dot_read)
		join_pipe(ws, line);
	if (ws->cnt - 1 < d->min || ws->cnt - 1 > d->max)
		return shell_error(sh, "usage: .%s %s; try .help %s", d->name, d->args, d->name);
	return d->fn(sh, ws) | (output ? 0 : shell_output_check(sh));
}

int dot_run(struct shell *sh, const char *line)
{
	struct words ws;
	int rc;

	if (!words_split(&ws, line))
		rc = shell_error(sh, "a quote is not closed; try adding it at the end");
	else
		rc = dot_call(sh, &ws, line);
	words_free(&ws);
	return rc;
}
