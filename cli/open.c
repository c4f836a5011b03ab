/* SPDX-License-Identifier: MIT
 * open.c -- connecting: store names, the default store, why an open failed
 */
#include "shell.h"

#include <stdlib.h>
#include <string.h>
#include <twzdb.h>
#include <twz/err.h>
#include <unistd.h>

#include "twzvfs.h"

void store_split(const char *store, char **file, char **dbname)
{
	const char *q = strstr(store, "?db=");

	*file = q ? xstrndup(store, (size_t)(q - store)) : xstrdup(store);
	*dbname = xstrdup(q && q[4] ? q + 4 : "main");
}

/* Add S with everything escaped that means something in a URI. */
static void uri_escape(struct buf *b, const char *s)
{
	for (; *s; s++) {
		if (strchr("%?#&=+ ", *s))
			buf_fmt(b, "%%%02X", (unsigned)(unsigned char)*s);
		else
			buf_chr(b, *s);
	}
}

static char *store_uri(const char *store)
{
	struct buf b = {0};
	char *file, *dbname;
	const char *path;

	store_split(store, &file, &dbname);
	/* "file://" would begin a host name. */
	for (path = file; path[0] == '/' && path[1] == '/';)
		path++;
	buf_str(&b, "file:");
	uri_escape(&b, path);
	buf_str(&b, "?vfs=twz&db=");
	uri_escape(&b, dbname);
	free(file);
	free(dbname);
	return buf_cstr(&b);
}

/* What the layers below SQLite said about their last failure. */
static char reason[1024];

/*
 * The VFS logs each failure it turns into an SQLite code. SQLite cuts that text short, so it only
 * tells that the engine's message is news and not that of an earlier failure.
 */
static void on_log(void *arg, int code, const char *text)
{
	const char *why = twzdb_errmsg();

	(void)arg;
	(void)code;
	if (strncmp(text, "twz: ", 5) == 0)
		snprintf(reason, sizeof(reason), "%s", why && *why ? why : twz_errmsg());
}

void storage_watch(void)
{
	sqlite3_config(SQLITE_CONFIG_LOG, on_log, NULL);
}

void storage_forget(void)
{
	reason[0] = 0;
}

const char *storage_reason(void)
{
	return reason;
}

bool is_plain_sqlite(const char *file)
{
	char head[16] = {0};
	FILE *f = fopen(file, "rb");
	size_t n = f ? fread(head, 1, sizeof(head), f) : 0;

	if (f)
		fclose(f);
	return n == sizeof(head) && !memcmp(head, "SQLite format 3", sizeof(head));
}

static char *open_error(const char *store, sqlite3 *db, int rc)
{
	const char *why = storage_reason();
	char *file, *dbname, *msg;

	store_split(store, &file, &dbname);
	if (is_plain_sqlite(file))
		msg = xasprintf(
			"%s: is a plain SQLite database, not a store; try: twzdb new.twz \".restore %s\"",
			file, file);
	else if (*why)
		msg = xasprintf("%s: cannot open (%s)", store, why);
	else
		msg = xasprintf(
			"%s: cannot open (%s); try another path, or 'ls -l' to see whether you may use it",
			store, db ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
	free(file);
	free(dbname);
	return msg;
}

/* Opening is lazy in SQLite: read something, so that what is wrong shows now. */
static int touch(sqlite3 *db)
{
	return sqlite3_exec(db, "PRAGMA schema_version", NULL, NULL, NULL);
}

int store_connect(const char *store, bool readonly, bool plain, sqlite3 **db, char **err)
{
	int flags = readonly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
	bool memory = !strcmp(store, ":memory:");
	char *uri = memory || plain ? xstrdup(store) : store_uri(store);
	int rc = twzvfs_register(0);

	*db = NULL;
	*err = NULL;
	storage_forget();
	if (rc == SQLITE_OK)
		rc = sqlite3_open_v2(uri, db, memory || plain ? flags : flags | SQLITE_OPEN_URI,
				     memory || plain ? NULL : "twz");
	if (rc == SQLITE_OK) {
		sqlite3_extended_result_codes(*db, 1);
		sqlite3_busy_timeout(*db, 5000);
		rc = touch(*db);
	}
	free(uri);
	if (rc == SQLITE_OK)
		return 0;
	*err = open_error(store, *db, rc);
	sqlite3_close_v2(*db);
	*db = NULL;
	return 1;
}

int shell_open(struct shell *sh, const char *store)
{
	sqlite3 *db;
	char *err;

	if (store_connect(store, sh->readonly, false, &db, &err)) {
		shell_error(sh, "%s", err);
		free(err);
		return 1;
	}
	shell_close(sh);
	sh->db = db;
	sh->store = xstrdup(store);
	sqlite3_busy_timeout(db, (int)sh->timeout_ms);
	if (strcmp(store, ":memory:") != 0)
		store_split(store, &sh->file, &sh->dbname);
	return 0;
}

void shell_close(struct shell *sh)
{
	sqlite3_close_v2(sh->db);
	free(sh->store);
	free(sh->file);
	free(sh->dbname);
	sh->db = NULL;
	sh->store = sh->file = sh->dbname = NULL;
}

char *shell_default_store(struct shell *sh)
{
	char *path = xdg_path("XDG_DATA_HOME", ".local/share", "default.twz");
	int rc = path ? make_parents(path) : 0;

	if (!path)
		shell_error(
			sh,
			"no home directory to keep a store in (HOME is not set); try: twzdb STORE");
	else if (rc)
		shell_error(sh, "%s: cannot make its directory (%s); try: twzdb STORE", path,
			    strerror(-rc));
	if (!rc)
		return path;
	free(path);
	return NULL;
}
