/* SPDX-License-Identifier: MIT
 * demo.c -- "twzdb -demo": import, queries, a crash, recovery, checks, on real data and through
 * the shell's own code
 */
#include "demo.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "import.h"

void demo_check(struct demo *d, bool ok, const char *fmt, ...)
{
	bool colour = isatty(STDOUT_FILENO) && !d->sh->no_colour;
	va_list ap;

	d->checks++;
	d->failed += !ok;
	if (colour)
		fputs(ok ? "\033[32m  ok      \033[0m" : "\033[1;31m  FAILED  \033[0m", stdout);
	else
		fputs(ok ? "  ok      " : "  FAILED  ", stdout);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

static void heading(struct demo *d, const char *text)
{
	bool colour = isatty(STDOUT_FILENO) && !d->sh->no_colour;

	printf("\n%s%s%s\n", colour ? "\033[1m" : "", text, colour ? "\033[0m" : "");
}

/* SQL as the user would see it while typing. */
static void show_typed(const char *sql)
{
	fputs("\ntwzdb> ", stdout);
	for (; *sql; sql++) {
		putchar(*sql);
		if (*sql == '\n')
			fputs("   ...> ", stdout);
	}
	fputs(";\n", stdout);
}

/* Run what a user could type, with its result and time. */
static int typed(struct demo *d, const char *sql)
{
	double t = now_s();
	int rc;

	show_typed(sql);
	rc = shell_arg(d->sh, sql);
	printf("(%.0f ms)\n", (now_s() - t) * 1e3);
	return rc;
}

static const struct {
	const char *name, *columns;
} tables[] = {
	{"packages",
	 "name TEXT, arch TEXT, version TEXT, section TEXT, priority TEXT, size_kib INTEGER, "
	 "maintainer TEXT, summary TEXT, "
	 "PRIMARY KEY(name, arch)"},
	{"depends", "package TEXT, kind TEXT, clause INTEGER, name TEXT, version TEXT"},
	{"provides", "package TEXT, name TEXT"},
	{"files", "package TEXT, directory TEXT, name TEXT"},
};
#define TABLE_CNT (sizeof(tables) / sizeof(tables[0]))

static int create_tables(struct demo *d)
{
	for (size_t i = 0; i < TABLE_CNT; i++)
		if (shell_exec(d->sh, "CREATE TABLE %s(%s)", tables[i].name, tables[i].columns))
			return 1;
	return shell_exec(
		d->sh,
		"CREATE TABLE ledger(id INTEGER PRIMARY KEY, pid INTEGER, state TEXT, n INTEGER, filler TEXT)");
}

/* One CSV file by .import's code. */
static int import_one(struct demo *d, size_t i, uint64_t expected)
{
	struct import_options opt = {.sep = ',', .skip = 1};
	char *path = xasprintf("%s/%s.csv", d->dir, tables[i].name), rows[SIZE_STR_LEN],
	     speed[SIZE_STR_LEN];
	struct import_result res;
	int rc = import_file(d->sh, &opt, path, tables[i].name, &res);

	free(path);
	if (rc)
		return 1;
	count_str((uint64_t)((double)res.rows / (res.seconds > 1e-6 ? res.seconds : 1e-6)), speed);
	printf("  %-9s %7s rows in %6.3f s  %9s rows/s\n", tables[i].name,
	       count_str(res.rows, rows), res.seconds, speed);
	if (shell_int(d->sh, "SELECT count(*) FROM %s", tables[i].name) !=
		    (sqlite3_int64)expected ||
	    res.rows != expected)
		demo_check(d, false, "%s holds all %" PRIu64 " rows that were read", tables[i].name,
			   expected);
	return 0;
}

static int import_all(struct demo *d)
{
	uint64_t expected[TABLE_CNT];
	struct dpkg_counts n;
	char total[SIZE_STR_LEN], left[SIZE_STR_LEN];

	heading(d, "1. Import what is installed on this machine");
	if (demo_dpkg_to_csv(d, &n) || create_tables(d))
		return 1;
	printf("%s (dpkg's own records) as CSV, by .import: one transaction for each table\n",
	       d->dpkg);
	memcpy(expected, (uint64_t[]){n.packages, n.depends, n.provides, n.files},
	       sizeof(expected));
	for (size_t i = 0; i < TABLE_CNT; i++)
		if (import_one(d, i, expected[i]))
			return 1;
	if (n.files_skipped)
		printf("  (%s further files left out, to keep this short)\n",
		       count_str(n.files_skipped, left));
	demo_check(d, !d->failed && n.packages > 0, "all %s rows that were read are in the tables",
		   count_str(n.packages + n.depends + n.provides + n.files, total));
	return typed(d, "CREATE INDEX depends_name ON depends(name)") ||
	       typed(d, "CREATE INDEX provides_name ON provides(name)");
}

static int query_all(struct demo *d)
{
	heading(d, "2. Ask");
	return typed(d,
		     "SELECT name, version, size_kib FROM packages ORDER BY size_kib DESC LIMIT 5") ||
	       typed(d,
		     "SELECT d.name AS needed, count(DISTINCT d.package) AS by_packages, p.summary\n"
		     "FROM depends d JOIN packages p ON p.name = d.name WHERE d.kind <> 'Recommends'\n"
		     "GROUP BY d.name ORDER BY 2 DESC, 1 LIMIT 5") ||
	       typed(d,
		     "SELECT kind, count(*) AS clauses, sum(NOT met) AS unmet FROM (\n"
		     "SELECT kind, max(name IN (SELECT name FROM packages)\n"
		     "OR name IN (SELECT name FROM provides)) AS met FROM depends GROUP BY package, kind, clause)\n"
		     "GROUP BY kind") ||
	       typed(d,
		     "SELECT directory, count(*) AS files, count(DISTINCT package) AS packages FROM files\n"
		     "GROUP BY directory ORDER BY files DESC LIMIT 5");
}

/* What must hold after the victim died: its commits are there, nothing else is. */
static void check_ledger(struct demo *d, uint64_t committed, uint64_t uncommitted)
{
	sqlite3_int64 kept =
		shell_int(d->sh, "SELECT count(*) FROM ledger WHERE state = 'committed'");
	sqlite3_int64 lost =
		shell_int(d->sh, "SELECT count(*) FROM ledger WHERE state <> 'committed'");
	sqlite3_int64 changed =
		shell_int(d->sh, "SELECT count(*) FROM packages WHERE version = %Q", DEMO_MARK);

	demo_check(d, kept == (sqlite3_int64)committed, "all %" PRIu64 " committed rows are there",
		   committed);
	demo_check(d, lost == 0, "none of the %" PRIu64 " uncommitted rows is", uncommitted);
	demo_check(d, changed == 0, "no row of packages has changed");
}

static int crash_alone(struct demo *d, uint64_t *total)
{
	uint64_t committed, uncommitted;
	double t;

	printf("\nThis process has closed the store; another one opens it:\n");
	shell_close(d->sh);
	if (demo_crash(d, &committed, &uncommitted))
		return 1;
	t = now_s();
	if (shell_open(d->sh, d->store))
		return 1;
	printf("  opened again, recovery included, in %.1f ms\n", (now_s() - t) * 1e3);
	*total += committed;
	check_ledger(d, *total, uncommitted);
	return 0;
}

static int crash_beside(struct demo *d, uint64_t *total)
{
	uint64_t committed, uncommitted;
	double t;
	int rc;

	printf("\nOnce more, while this process keeps the store open:\n");
	if (demo_crash(d, &committed, &uncommitted))
		return 1;
	*total += committed;
	check_ledger(d, *total, uncommitted);
	t = now_s();
	rc = shell_exec(d->sh, "INSERT INTO ledger(pid, state, n) VALUES(%d, 'committed', 1)",
			(int)getpid());
	demo_check(d, rc == 0,
		   "this process writes at once: committed in %.1f ms after the writer's death",
		   (now_s() - t) * 1e3);
	*total += 1;
	return 0;
}

static int crash_all(struct demo *d)
{
	uint64_t total = 0;

	heading(d, "3. Kill a writer in the middle of a transaction");
	return crash_alone(d, &total) || crash_beside(d, &total);
}

static int check_all(struct demo *d)
{
	uint64_t found = 1;
	double t = now_s();

	heading(d, "4. Check everything");
	if (inspect_check(d->sh, &found))
		return 1;
	demo_check(d, found == 0, "store, objects, trees and SQL are sound (%.0f ms)",
		   (now_s() - t) * 1e3);
	return 0;
}

static int show_store(struct demo *d)
{
	struct words none = {0};

	heading(d, "5. What the store looks like now");
	return dot_store(d->sh, &none) || dot_objects(d->sh, &none) || dot_stats(d->sh, &none);
}

/* The directory for CSV files, and the store if the user named none. */
static int prepare(struct demo *d, const char *store)
{
	const char *tmp = getenv("TMPDIR"), *dpkg = getenv("TWZDB_DPKG");

	d->dpkg = dpkg && *dpkg ? dpkg : "/var/lib/dpkg";
	d->dir = xasprintf("%s/twzdb-demo-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	if (!mkdtemp(d->dir))
		return shell_error(d->sh, "%s: cannot make a directory (%s); try another TMPDIR",
				   d->dir, strerror(errno));
	d->store = store ? xstrdup(store) : xasprintf("%s/demo.twz", d->dir);
	return 0;
}

static void clean_up(struct demo *d)
{
	static const char *const names[] = {"packages.csv", "depends.csv", "provides.csv",
					    "files.csv",    "demo.twz",	   "demo.twz-lock"};

	shell_close(d->sh);
	for (size_t i = 0; d->dir && i < sizeof(names) / sizeof(names[0]); i++) {
		char *path = xasprintf("%s/%s", d->dir, names[i]);

		unlink(path);
		free(path);
	}
	if (d->dir)
		rmdir(d->dir);
	free(d->dir);
	free(d->store);
}

static bool already_there(struct demo *d)
{
	sqlite3_int64 n = shell_int(
		d->sh, "SELECT count(*) FROM sqlite_schema "
		       "WHERE name IN ('packages', 'depends', 'provides', 'files', 'ledger')");

	if (n > 0)
		shell_error(
			d->sh,
			"%s: has tables of the demo's names, which it would fill again; try another store",
			d->store);
	return n > 0;
}

static int run_all(struct demo *d)
{
	out_format_mode(&d->sh->fmt, "box");
	printf("twzdb %s, SQLite %s: a session on %s\n", TWZDB_VERSION, sqlite3_libversion(),
	       d->store);
	return import_all(d) || query_all(d) || crash_all(d) || check_all(d) || show_store(d);
}

int demo_run(struct shell *sh, const char *store)
{
	struct demo d = {.sh = sh, .start = now_s()};
	int rc = EXIT_SQL;

	if (store && !strcmp(store, ":memory:")) {
		shell_error(sh, "-demo: :memory: does not survive a crash; try a file");
		return EXIT_USAGE;
	}
	if (prepare(&d, store) == 0) {
		if (shell_open(sh, d.store))
			rc = EXIT_OPEN;
		else if (!already_there(&d) && run_all(&d) == 0)
			rc = d.failed ? EXIT_SQL : EXIT_OK;
		if (rc != EXIT_OPEN)
			printf("\n%d of %d checks held, in %.1f s.%s\n", d.checks - d.failed,
			       d.checks, now_s() - d.start, rc ? " The demo FAILED." : "");
	}
	clean_up(&d);
	return rc;
}
