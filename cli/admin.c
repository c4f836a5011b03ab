/* SPDX-License-Identifier: MIT
 * admin.c -- what is no session: "twzdb backup ...", "twzdb compact ..." and "twzdb recover ..."
 */
#include "admin.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <twzdb.h>

#include "progress.h"
#include "shell.h"

static const char recover_usage[] =
	"usage: twzdb recover STORE [--db NAME] [--resolve commit|abort]\n"
	"\n"
	"Opens a database, which recovers it, and checks it. If it waits for the decision of another\n"
	"database about a transaction of both, says so; --resolve decides by hand, when the other one is lost.\n";

static const char compact_usage[] =
	"usage: twzdb compact STORE [--db NAME]\n"
	"\n"
	"Makes a database smaller, while other programs read and write it: rows move to where there is\n"
	"room, and the space behind them goes back to the file system. Can be interrupted at any time.\n";

static int usage(const char *text)
{
	fputs(text, stderr);
	return EXIT_USAGE;
}

/* What one database is wanted for. */
struct recover {
	const char *store, *resolve;
	char *file, *name;
};

static int recover_args(struct recover *r, int argc, char **argv, const char *text, bool resolves)
{
	for (int i = 2; i < argc; i++) {
		const char *arg = argv[i] + (!strncmp(argv[i], "--", 2));

		if (argv[i][0] == '-' && i + 1 == argc)
			return usage(text);
		if (resolves && !strcmp(arg, "-resolve"))
			r->resolve = argv[++i];
		else if (!strcmp(arg, "-db"))
			r->name = xstrdup(argv[++i]);
		else if (argv[i][0] == '-' || r->store)
			return usage(text);
		else
			r->store = argv[i];
	}
	if (!r->store ||
	    (r->resolve && strcmp(r->resolve, "commit") != 0 && strcmp(r->resolve, "abort") != 0))
		return usage(text);
	return EXIT_OK;
}

static int failed(int code)
{
	fprintf(stderr, "twzdb: %s\n", twzdb_errmsg());
	return code;
}

static void found(void *ctx, const char *where, const char *what)
{
	(void)ctx;
	printf("%s: %s\n", where, what);
}

static int recover_db(struct twzdb *db, const struct recover *r)
{
	uint64_t cnt = 0;

	if (!twzdb_doubt(db)) {
		printf("%s: database '%s' waits for no decision\n", r->file, r->name);
		if (r->resolve)
			return EXIT_SQL;
	} else if (!r->resolve) {
		return failed(EXIT_SQL);
	} else if (twzdb_resolve(db, !strcmp(r->resolve, "commit"))) {
		return failed(EXIT_SQL);
	} else {
		printf("%s: database '%s': the transaction is %s\n", r->file, r->name,
		       !strcmp(r->resolve, "commit") ? "committed" : "dropped");
	}
	if (twzdb_check(db, found, NULL, &cnt))
		return failed(EXIT_SQL);
	printf("%s: database '%s': %s\n", r->file, r->name, cnt ? "damaged" : "ok");
	return cnt ? EXIT_SQL : EXIT_OK;
}

/* FN with the database the arguments name. */
static int with_db(int argc, char **argv, const char *text, bool resolves,
		   int (*fn)(struct twzdb *db, const struct recover *r))
{
	struct recover r = {0};
	int code = recover_args(&r, argc, argv, text, resolves);
	char *name = r.name;
	struct twzdb *db;

	if (code == EXIT_OK) {
		store_split(r.store, &r.file, &r.name);
		if (name) {
			free(r.name);
			r.name = name;
		}
		if (twzdb_open(r.file,
			       &(struct twzdb_options){.size = sizeof(struct twzdb_options),
						       .name = r.name},
			       &db)) {
			code = failed(EXIT_OPEN);
		} else {
			code = fn(db, &r);
			if (twzdb_close(db) && code == EXIT_OK)
				code = failed(EXIT_SQL);
		}
	}
	free(r.file);
	free(r.name);
	return code;
}

/* --- backup, compact --- */

/* They end at the next step; a backup takes what it has written away. */
static void on_interrupt(int sig)
{
	(void)sig;
	shell_interrupted++;
}

static int progress(void *ctx, uint64_t done, uint64_t total)
{
	struct progress *p = ctx;

	p->total = total;
	progress_step(p, done);
	return shell_interrupted ? -ECANCELED : 0;
}

static const char backup_usage[] =
	"usage: twzdb backup SOURCE COPY\n"
	"\n"
	"Copies all databases of the store SOURCE, as they are at one moment, into a new store COPY, while\n"
	"other programs read and write SOURCE. COPY is there when it is whole, or not at all.\n";

static int backup(int argc, char **argv)
{
	struct progress p;
	struct twzdb_backup_options o = {.size = sizeof(o), .progress = progress, .ctx = &p};
	int err;

	if (argc != 4 || argv[2][0] == '-' || argv[3][0] == '-')
		return usage(backup_usage);
	signal(SIGINT, on_interrupt);
	progress_begin(&p, "backup", 1);
	err = twzdb_backup(argv[2], argv[3], &o);
	progress_end(&p);
	if (err == -ECANCELED)
		return EXIT_INTERRUPT;
	return err ? failed(err == TWZDB_E_NOSPC ? EXIT_SQL : EXIT_OPEN) : EXIT_OK;
}

static int compact_db(struct twzdb *db, const struct recover *r)
{
	struct progress p;
	struct twzdb_compact_options o = {.size = sizeof(o), .progress = progress, .ctx = &p};
	struct twzdb_compacted did = {.size = sizeof(did)};
	int err;

	signal(SIGINT, on_interrupt);
	progress_begin(&p, "compact", 1);
	err = twzdb_compact(db, &o, &did);
	progress_end(&p);
	if (err && err != -ECANCELED)
		return failed(EXIT_SQL);
	printf("%s: database '%s': %llu rows and %llu nodes moved, %.1f MiB given back%s\n",
	       r->file, r->name, (unsigned long long)did.rows, (unsigned long long)did.nodes,
	       (double)did.given_len / (1 << 20),
	       did.waits ? "; more will be when those who read it now have ended" : "");
	return err ? EXIT_INTERRUPT : EXIT_OK;
}

int admin_run(int argc, char **argv, int *code)
{
	const char *cmd = argc >= 3 ? argv[1] : ""; /* a store of that name, alone, is a store */

	if (!strcmp(cmd, "backup"))
		*code = backup(argc, argv);
	else if (!strcmp(cmd, "compact"))
		*code = with_db(argc, argv, compact_usage, false, compact_db);
	else if (!strcmp(cmd, "recover"))
		*code = with_db(argc, argv, recover_usage, true, recover_db);
	else
		return 0;
	return 1;
}
