/* SPDX-License-Identifier: MIT
 * fuzz_shell.c -- any bytes as a script of the shell, in this process
 *
 * The script runs on a store, or on :memory:, in a folder of its own, where the script itself is the file "input": .read and .import find
 * something. Nothing outside can be opened and no program started: the linker sends fopen, popen and sqlite3_open_v2 here (--wrap), and an
 * authorizer looks at what SQL opens. A script ends after so many steps of SQLite's machine, and so many files.
 *
 * Whatever it was, the store must be sound afterwards. And what .dump wrote must, read into another database without an
 * error, give the same .dump there.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"
#include "shell.h"
#include "twz/twz.h"
#include "twzdb.h"

#define STEPS_MAX 1500 /* thousands of instructions */
#define FILES_MAX 24
#define INPUT_MAX 65536

int LLVMFuzzerInitialize(int *argc, char ***argv);

static bool inside; /* libFuzzer itself may open what it wants */
static int steps, files;
static char home[80];
static const char *keep = "/nowhere/"; /* where it keeps what has failed, while it is inside */

/* --- no way out --- */

/* A name in this folder. */
static bool is_plain(const char *name)
{
	return name && strlen(name) < 200 && !strpbrk(name, "/%|") && !strstr(name, "..");
}

FILE *__real_fopen(const char *name, const char *mode);
FILE *__wrap_fopen(const char *name, const char *mode);
FILE *__wrap_fopen(const char *name, const char *mode)
{
	if (inside && strncmp(name, keep, strlen(keep)) != 0 &&
	    (!is_plain(name) || ++files > FILES_MAX))
		return NULL;
	return __real_fopen(name, mode);
}

FILE *__wrap_popen(const char *command, const char *mode);
FILE *__wrap_popen(const char *command, const char *mode)
{
	(void)command;
	(void)mode;
	return NULL;
}

/* ATTACH; VACUUM INTO is one, too, and VACUUM one of ''. */
static int may(void *ctx, int what, const char *a, const char *b, const char *c, const char *d)
{
	(void)ctx;
	(void)b;
	(void)c;
	(void)d;
	if (what == SQLITE_ATTACH && a && *a && strcmp(a, ":memory:") != 0)
		return is_plain(a) && ++files <= FILES_MAX ? SQLITE_OK : SQLITE_DENY;
	if (what == SQLITE_PRAGMA && a && strcasestr(a, "_directory"))
		return SQLITE_DENY;
	return SQLITE_OK;
}

static int (*their_handler)(void *);
static void *their_arg;

static int step(void *ctx)
{
	(void)ctx;
	if (++steps > STEPS_MAX)
		return 1;
	return their_handler ? their_handler(their_arg) : 0;
}

void __wrap_sqlite3_progress_handler(sqlite3 *db, int ops, int (*fn)(void *), void *arg);
void __real_sqlite3_progress_handler(sqlite3 *db, int ops, int (*fn)(void *), void *arg);
void __wrap_sqlite3_progress_handler(sqlite3 *db, int ops, int (*fn)(void *), void *arg)
{
	(void)ops;
	their_handler = fn;
	their_arg = arg;
	__real_sqlite3_progress_handler(db, 1000, step, NULL);
}

/* Nobody else has the store: who waits, waits for itself. */
int __wrap_sqlite3_busy_timeout(sqlite3 *db, int ms);
int __wrap_sqlite3_busy_timeout(sqlite3 *db, int ms)
{
	(void)db;
	(void)ms;
	return SQLITE_OK;
}

/* The file an URI of the shell's names: "file:NAME?vfs=twz&db=..." with its own escapes. */
static bool may_open(const char *name)
{
	const char *end = strstr(name, "?vfs=");
	char plain[300];

	if (!strcmp(name, ":memory:"))
		return true;
	if (strncmp(name, "file:", 5) != 0 || !end)
		return is_plain(name);
	snprintf(plain, sizeof(plain), "%.*s", (int)(end - name - 5), name + 5);
	return is_plain(plain);
}

int __real_sqlite3_open_v2(const char *name, sqlite3 **db, int flags, const char *vfs);
int __wrap_sqlite3_open_v2(const char *name, sqlite3 **db, int flags, const char *vfs);
int __wrap_sqlite3_open_v2(const char *name, sqlite3 **db, int flags, const char *vfs)
{
	int rc;

	*db = NULL;
	if (!may_open(name) || ++files > FILES_MAX)
		return SQLITE_CANTOPEN;
	rc = __real_sqlite3_open_v2(name, db, flags, vfs);
	if (rc)
		return rc;
	sqlite3_set_authorizer(*db, may, NULL);
	sqlite3_limit(*db, SQLITE_LIMIT_LENGTH, 200000);
	sqlite3_limit(*db, SQLITE_LIMIT_EXPR_DEPTH, 100);
	__real_sqlite3_progress_handler(*db, 1000, step, NULL);
	return SQLITE_OK;
}

/* --- one script --- */

static void empty_folder(void)
{
	DIR *d = opendir(home);
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.' || strlen(e->d_name) > 2)
			unlink(e->d_name);
	if (d)
		closedir(d);
}

static void write_input(const uint8_t *data, size_t len)
{
	int fd = open("input", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, data, len) != (ssize_t)len)
		abort();
	close(fd);
}

static void script(struct shell *sh, const void *text, size_t len)
{
	FILE *f = len ? fmemopen((void *)(uintptr_t)text, len, "r") : NULL;

	if (f) {
		shell_stream(sh, f, "script");
		fclose(f);
	}
	shell_output_reset(sh);
}

/* What .dump says (to be freed), or NULL: it could not. */
static char *dump_of(struct shell *sh)
{
	char command[] = ".dump", *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	int rc;

	if (!f)
		abort();
	sh->out = f;
	rc = dot_run(sh, command);
	sh->out = stdout;
	fclose(f);
	if (!rc)
		return text;
	free(text);
	return NULL;
}

static void same_again(struct shell *from)
{
	char *first = dump_of(from), *second = NULL;
	struct shell sh;

	if (!first)
		return;
	shell_init(&sh);
	if (!shell_open(&sh, ":memory:")) {
		script(&sh, first, strlen(first));
		second = sh.errors ? NULL : dump_of(&sh);
	}
	if (second && strcmp(first, second) != 0 && steps <= STEPS_MAX) {
		fprintf(stderr, "dump:\n%s\nread and dumped again:\n%s\n", first, second);
		abort();
	}
	shell_free(&sh);
	free(first);
	free(second);
}

static void finding(void *ctx, const char *where, const char *what)
{
	(void)ctx;
	fprintf(stderr, "check: %s: %s\n", where, what);
}

/* SQL and commands cannot damage a store. */
static void must_be_sound(const char *path)
{
	struct twzdb *db = NULL;
	uint64_t store = 0, rows = 0;
	int err = twzdb_open(path, NULL, &db);

	if (err) /* the script renamed it, or made none */
		return;
	err = twz_check(twzdb_store(db), finding, NULL, &store);
	if (!err)
		err = twzdb_check(db, finding, NULL, &rows);
	if (err || store || rows) {
		fprintf(stderr, "the store is not sound: %d %s\n", err, twzdb_errmsg());
		abort();
	}
	twzdb_close(db);
}

/* Which of them is told by the length: a store takes longer. */
static const char *store_for(size_t len)
{
	return len % 4 ? ":memory:" : "a.twz";
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	for (int i = 1; i < *argc; i++)
		if (!strncmp((*argv)[i], "-artifact_prefix=", 17))
			keep = (*argv)[i] + 17;
	setenv("PMEM2_FORCE_GRANULARITY", "CACHE_LINE", 1); /* a small log: quicker */
	unsetenv("TERM");
	storage_watch();
	return 0;
}

/* Kept open: the present folder is the user's, and stays that for libFuzzer. */
static int enter(void)
{
	int back = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (!home[0]) {
		snprintf(home, sizeof(home), "/dev/shm/twz-fuzz-shell-%d", (int)getpid());
		mkdir(home, 0700);
	}
	if (back < 0 || chdir(home))
		abort();
	return back;
}

static void leave(int back)
{
	empty_folder();
	if (fchdir(back) || rmdir(home))
		abort();
	home[0] = 0;
	close(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct shell sh;
	int back;

	if (len > INPUT_MAX)
		return 0;
	back = enter();
	write_input(data, len);
	inside = true;
	steps = files = 0;
	shell_init(&sh);
	shell_signals(&sh);
	if (!shell_open(&sh, store_for(len))) {
		script(&sh, data, len);
		if (sh.db && sqlite3_get_autocommit(sh.db))
			same_again(&sh);
	}
	shell_free(&sh);
	must_be_sound("a.twz");
	inside = false;
	leave(back);
	return 0;
}
