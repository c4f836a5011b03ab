/* SPDX-License-Identifier: MIT
 * cage.c -- the shell in this process, in a folder of its own that it cannot leave
 */
#include "cage.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image.h"
#include "twz/twz.h"
#include "twzdb.h"

#define STEPS_MAX 1500 /* thousands of instructions */
#define FILES_MAX 24

static bool inside; /* libFuzzer itself may open what it wants */
static int steps, files, back;
static char home[80];
static const char *keep = "/nowhere/"; /* where it keeps what has failed, while it is inside */

/* --- what the script wrote by itself: no store need be there --- */

#define THEIRS_MAX (2 * FILES_MAX)

static char theirs[THEIRS_MAX][200];
static int theirs_cnt;

/* NAME, or an URI of it, is opened for writing, by something else than a store. */
static void is_theirs_now(const char *name)
{
	int len;

	name += strncmp(name, "file:", 5) ? 0 : 5;
	len = (int)strcspn(name, "?#");
	if (theirs_cnt < THEIRS_MAX)
		snprintf(theirs[theirs_cnt++], sizeof(theirs[0]), "%.*s", len, name);
}

static bool is_theirs(const char *path)
{
	size_t len = strlen(path);

	for (int i = 0; i < theirs_cnt; i++)
		if (!strncmp(theirs[i], path, len) &&
		    (!theirs[i][len] || !strcmp(theirs[i] + len, "-lock")))
			return true;
	return false;
}

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
	if (inside && *mode != 'r')
		is_theirs_now(name);
	return __real_fopen(name, mode);
}

FILE *__wrap_popen(const char *command, const char *mode);
FILE *__wrap_popen(const char *command, const char *mode)
{
	(void)command;
	(void)mode;
	return NULL;
}

/*
 * ATTACH; VACUUM INTO is one, too, and VACUUM one of ''. What they name is a store for a database that is in one (CTX), if it does not
 * say itself who keeps it.
 */
static int may(void *ctx, int what, const char *a, const char *b, const char *c, const char *d)
{
	(void)b;
	(void)c;
	(void)d;
	if (what == SQLITE_ATTACH && a && *a && strcmp(a, ":memory:") != 0) {
		if (!is_plain(a) || ++files > FILES_MAX)
			return SQLITE_DENY;
		if (!ctx || strstr(a, "vfs="))
			is_theirs_now(a);
		return SQLITE_OK;
	}
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
	static char a_store;
	bool is_store = !strncmp(name, "file:", 5) && strstr(name, "?vfs=twz");
	int rc;

	*db = NULL;
	if (!may_open(name) || ++files > FILES_MAX)
		return SQLITE_CANTOPEN;
	if (!is_store)
		is_theirs_now(name);
	rc = __real_sqlite3_open_v2(name, db, flags, vfs);
	if (rc)
		return rc;
	sqlite3_set_authorizer(*db, may, is_store ? &a_store : NULL);
	sqlite3_limit(*db, SQLITE_LIMIT_LENGTH, 200000);
	sqlite3_limit(*db, SQLITE_LIMIT_EXPR_DEPTH, 100);
	__real_sqlite3_progress_handler(*db, 1000, step, NULL);
	return SQLITE_OK;
}

/* --- what goes on inside --- */

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

void cage_script(struct shell *sh, const void *text, size_t len)
{
	FILE *f = len ? fmemopen((void *)(uintptr_t)text, len, "r") : NULL;

	if (f) {
		shell_stream(sh, f, "script");
		fclose(f);
	}
	shell_output_reset(sh);
}

char *cage_dump(struct shell *sh)
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

void cage_same_again(struct shell *from, const char *store, bool without_fail)
{
	char *first = cage_dump(from), *second = NULL;
	struct shell sh;

	if (!first)
		return;
	shell_init(&sh);
	if (!shell_open(&sh, store)) {
		cage_script(&sh, first, strlen(first));
		second = sh.errors ? NULL : cage_dump(&sh);
	}
	if (without_fail && !second && steps <= STEPS_MAX && files <= FILES_MAX) {
		fprintf(stderr, "dump that cannot be read:\n%s\n", first);
		abort();
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

/* SQL and commands cannot damage a store: what is there opens and is sound, unless the script wrote it in another way. */
void cage_must_be_sound(const char *path)
{
	struct twzdb *db = NULL;
	uint64_t store = 0, rows = 0;
	int err = twzdb_open(path, NULL, &db);

	if (err && (access(path, F_OK) || is_theirs(path)))
		return; /* the script made none, or another file */
	if (!err)
		err = twz_check(twzdb_store(db), finding, NULL, &store);
	if (!err)
		err = twzdb_check(db, finding, NULL, &rows);
	if (err || store || rows) {
		fprintf(stderr, "the store is not sound: %d %s\n", err, twzdb_errmsg());
		abort();
	}
	twzdb_close(db);
}

/* --- in and out --- */

void cage_init(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strncmp(argv[i], "-artifact_prefix=", 17))
			keep = argv[i] + 17;
	unsetenv("TERM");
	storage_watch();
}

/* The present folder is the user's, and stays that for libFuzzer. */
void cage_enter(const uint8_t *data, size_t len)
{
	back = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	snprintf(home, sizeof(home), "/dev/shm/twz-fuzz-shell-%d", (int)getpid());
	mkdir(home, 0700);
	if (back < 0 || chdir(home))
		abort();
	write_input(data, len);
	(void)surround(data, len);
	inside = true;
	steps = files = theirs_cnt = 0;
}

void cage_leave(void)
{
	inside = false;
	empty_folder();
	if (fchdir(back) || rmdir(home))
		abort();
	close(back);
}
