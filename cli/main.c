/* SPDX-License-Identifier: MIT
 * main.c -- twzdb [OPTIONS] [STORE] [SQL...]: options, and which kind of session it becomes
 */
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <twz/store.h>
#include <unistd.h>

#include "admin.h"
#include "shell.h"

struct args {
	struct shell *sh;
	const char *store;
	char **run; /* SQL and dot commands: run, then exit */
	int run_cnt;
	const char *init; /* script before everything else */
	bool demo, batch;
	int exit_now; /* -1: go on */
};

static const char help_text[] =
	"usage: twzdb [OPTIONS] [STORE] [SQL...]\n"
	"\n"
	"An SQL shell on a twz store. STORE is a file, made if it does not exist;\n"
	"'STORE?db=NAME' is another database in it; ':memory:' keeps nothing. Without\n"
	"STORE: $XDG_DATA_HOME/twzdb/default.twz (or ~/.local/share/twzdb/default.twz).\n"
	"SQL and dot commands given as arguments are run, then twzdb exits. Otherwise it\n"
	"reads a script from standard input, or talks to you if that is a terminal.\n"
	"\n"
	"  -c SQL            run SQL and exit; may be repeated (STORE may be left out)\n"
	"  -init FILE        run the script FILE first\n"
	"  -MODE             how results look: -list -csv -tabs -json -jsonlines -table\n"
	"                    -box -column -markdown -line -quote -html -ascii\n"
	"  -insert TABLE     results as INSERT statements for TABLE\n"
	"  -header -noheader column names above results, or not\n"
	"  -separator TEXT   between values (list, csv, tabs)\n"
	"  -nullvalue TEXT   print TEXT for NULL\n"
	"  -bail             stop at the first error\n"
	"  -echo             print statements before running them\n"
	"  -timer            print how long statements take\n"
	"  -timeout MS       wait this long for another writer (default 5000)\n"
	"  -readonly         change nothing\n"
	"  -batch            no prompt even on a terminal\n"
	"  -demo             a real session without a terminal: imports the installed\n"
	"                    Debian packages, queries them, is killed in a transaction,\n"
	"                    recovers, checks; in STORE, or in a temporary store\n"
	"  -help, -version   this text; versions of twzdb, SQLite and store format\n"
	"Options may be written with one dash or two; '--' ends them.\n"
	"\n"
	"  twzdb backup SOURCE COPY\n"
	"                    copy a whole store while others use it\n"
	"  twzdb compact STORE [--db NAME]\n"
	"                    make a database smaller while others use it\n"
	"  twzdb recover STORE [--db NAME] [--resolve commit|abort]\n"
	"                    recover and check a database; decide about a transaction\n"
	"                    whose other database is lost\n"
	"\n"
	"examples:\n"
	"  twzdb app.twz                              an interactive session\n"
	"  twzdb app.twz \"CREATE TABLE t(x)\" \"INSERT INTO t VALUES(1)\"\n"
	"  twzdb -json app.twz \"SELECT * FROM t\" | jq .\n"
	"  twzdb app.twz \".import people.csv people\" .tables\n"
	"  sqlite3 old.db .dump | twzdb new.twz       move a database in\n"
	"  twzdb -readonly app.twz .dump > back.sql   and out\n"
	"\n"
	"exit codes: 0 all went well; 1 a statement or command failed; 2 wrong usage;\n"
	"3 the store cannot be opened; 130 interrupted. Environment: TWZDB_HISTORY,\n"
	"XDG_DATA_HOME, XDG_STATE_HOME, NO_COLOR. More: man twzdb\n";

static int usage(struct args *a, const char *what, const char *arg)
{
	fprintf(stderr, "twzdb: %s%s%s; try: twzdb -help\n", what, arg ? " " : "", arg ? arg : "");
	a->exit_now = EXIT_USAGE;
	return 1;
}

static void print_version(void)
{
	printf("twzdb %s (SQLite %s, store format %d)\n", TWZDB_VERSION, sqlite3_libversion(),
	       TWZ_STORE_FORMAT);
}

/* Options that stand alone: true if NAME is one of them. */
static bool flag_option(struct args *a, const char *name)
{
	struct shell *sh = a->sh;

	if (!strcmp(name, "header") || !strcmp(name, "headers"))
		sh->fmt.headers = 1;
	else if (!strcmp(name, "noheader"))
		sh->fmt.headers = 0;
	else if (!strcmp(name, "bail"))
		sh->bail = true;
	else if (!strcmp(name, "echo"))
		sh->echo = true;
	else if (!strcmp(name, "timer"))
		sh->timer = true;
	else if (!strcmp(name, "readonly"))
		sh->readonly = true;
	else if (!strcmp(name, "batch"))
		a->batch = true;
	else if (!strcmp(name, "demo"))
		a->demo = true;
	else
		return false;
	return true;
}

static bool mode_option(struct args *a, const char *name)
{
	for (int i = 0; i < OUT_MODE_CNT; i++)
		if (i != OUT_INSERT && !strcmp(name, out_mode_name((enum out_mode)i)))
			return out_format_mode(&a->sh->fmt, name);
	return false;
}

static void set(char **where, const char *s)
{
	free(*where);
	*where = xstrdup(s);
}

static int set_timeout(struct args *a, const char *s)
{
	if (!parse_long(s, &a->sh->timeout_ms) || a->sh->timeout_ms < 0 ||
	    a->sh->timeout_ms > 86400000)
		return usage(a, "not a number of milliseconds:", s);
	return 0;
}

/* Options with a value. */
static int value_option(struct args *a, const char *name, char *value)
{
	static const char *const names[] = {"c",       "init",	 "separator", "nullvalue",
					    "timeout", "insert", NULL};
	int i = 0;

	while (names[i] && strcmp(names[i], name) != 0)
		i++;
	if (!names[i])
		return usage(a, "there is no option", name);
	if (!value)
		return usage(a, "a value must follow option", name);
	if (!strcmp(name, "c"))
		a->run[a->run_cnt++] = value;
	else if (!strcmp(name, "init"))
		a->init = value;
	else if (!strcmp(name, "separator"))
		set(&a->sh->fmt.col_sep, value);
	else if (!strcmp(name, "nullvalue"))
		set(&a->sh->fmt.null_text, value);
	else if (!strcmp(name, "insert")) {
		out_format_mode(&a->sh->fmt, "insert");
		set(&a->sh->fmt.table, value);
	} else
		return set_timeout(a, value);
	return 0;
}

/*
 * The option ARGV[I]; returns how many words it took, 0 after an error or when there is nothing
 * more to do.
 */
static int take_option(struct args *a, char **argv, int i)
{
	const char *name = argv[i] + 1 + (argv[i][1] == '-');

	if (!strcmp(name, "help") || !strcmp(name, "h")) {
		fputs(help_text, stdout);
		a->exit_now = EXIT_OK;
		return 0;
	}
	if (!strcmp(name, "version") || !strcmp(name, "V")) {
		print_version();
		a->exit_now = EXIT_OK;
		return 0;
	}
	if (flag_option(a, name) || mode_option(a, name))
		return 1;
	return value_option(a, name, argv[i + 1]) ? 0 : 2;
}

static void parse_args(struct args *a, int argc, char **argv)
{
	bool options = true;

	a->run = xmalloc((size_t)(argc + 1) * sizeof(*a->run));
	for (int i = 1; i < argc && a->exit_now < 0;) {
		if (options && !strcmp(argv[i], "--")) {
			options = false;
			i++;
		} else if (options && argv[i][0] == '-' && argv[i][1]) {
			i += take_option(a, argv, i);
		} else if (!a->store) {
			a->store = argv[i++];
		} else {
			a->run[a->run_cnt++] = argv[i++];
		}
	}
}

/* "twzdb 'SELECT 1'": the user forgot the store, and does not want a file of that name. */
static bool looks_like_sql(const char *s)
{
	static const char *const verb[] = {"select ", "insert ", "create ", "update ", "delete ",
					   "pragma ", "with ",	 "drop ",   NULL};

	for (int i = 0; verb[i]; i++)
		if (starts_with_ci(s, verb[i]))
			return access(s, F_OK) != 0;
	return s[0] == '.' && s[1] && !strpbrk(s + 1, "./") && access(s, F_OK) != 0;
}

static int check_args(struct args *a)
{
	if (a->exit_now >= 0)
		return 1;
	if (a->store && !*a->store)
		return usage(a, "the name of the store is empty", NULL);
	if (a->store && looks_like_sql(a->store))
		return usage(a, "the store comes first, or use -c:", a->store);
	if (a->demo && a->run_cnt)
		return usage(a, "-demo runs no SQL of yours:", a->run[0]);
	return 0;
}

static int run_init(struct args *a)
{
	FILE *f = a->init ? fopen(a->init, "r") : NULL;
	int rc;

	if (!a->init)
		return 0;
	if (!f)
		return shell_error(a->sh, "cannot open %s; try another path for -init", a->init);
	rc = shell_stream(a->sh, f, a->init);
	fclose(f);
	return rc && a->sh->bail;
}

static void run_args(struct args *a)
{
	for (int i = 0; i < a->run_cnt && !a->sh->leave; i++)
		if (shell_arg(a->sh, a->run[i]))
			break;
}

static void interactive_settings(struct shell *sh)
{
	sh->interactive = true;
	sh->colour = true;
	sh->fmt.terse = false;
	if (sh->fmt.mode == OUT_LIST)
		out_format_mode(&sh->fmt, "box");
	if (!*sh->fmt.null_text)
		set(&sh->fmt.null_text, "NULL");
}

static int exit_code(const struct shell *sh)
{
	if (sh->exit_code >= 0)
		return sh->exit_code;
	/* A person has seen the errors; a script must be told. */
	return sh->errors && !sh->interactive ? EXIT_SQL : EXIT_OK;
}

static int session(struct args *a)
{
	struct shell *sh = a->sh;
	char *store = a->store ? xstrdup(a->store) : shell_default_store(sh);
	int rc = store ? shell_open(sh, store) : 1;

	free(store);
	if (rc)
		return EXIT_OPEN;
	if (!a->run_cnt && !a->batch && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))
		interactive_settings(sh);
	if (run_init(a) || sh->leave)
		return exit_code(sh);
	if (a->run_cnt)
		run_args(a);
	else if (sh->interactive)
		line_session(sh);
	else
		shell_stream(sh, stdin, "stdin");
	shell_output_check(sh);
	return exit_code(sh);
}

/* Widths and the line editor need UTF-8, whatever the environment forgot to say. */
static void set_locale(void)
{
	if (!setlocale(LC_CTYPE, "") || strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
		setlocale(LC_CTYPE, "C.UTF-8");
}

int main(int argc, char **argv)
{
	struct shell sh;
	struct args a = {.sh = &sh, .exit_now = -1};
	const char *no_colour = getenv("NO_COLOR");
	int rc;

	set_locale();
	storage_watch();
	if (argc == 3 && !strcmp(argv[1], DEMO_VICTIM))
		return demo_victim(argv[2]);
	if (admin_run(argc, argv, &rc))
		return rc;
	shell_init(&sh);
	sh.no_colour = no_colour && *no_colour;
	shell_signals(&sh);
	parse_args(&a, argc, argv);
	if (check_args(&a))
		rc = a.exit_now;
	else
		rc = a.demo ? demo_run(&sh, a.store) : session(&a);
	shell_free(&sh);
	free(a.run);
	return rc;
}
