/* SPDX-License-Identifier: MIT
 * fuzz_sql.c -- any bytes as a SQLite database in a store, read and changed through the VFS
 *
 * The bytes are a database file's. They are put into a store page by page, as a backup does, and opened
 * there. Whatever they are: an error of SQLite's, or an answer.
 */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"
#include "image.h"
#include "seed.h"
#include "twzvfs.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);

static const char *const statements[] = {
	"pragma integrity_check",
	"select * from sqlite_master",
	"select * from t where b > 'row 5' order by b limit 20",
	"select count(*), sum(length(c)) from t",
	"select * from v",
	"insert into t values(99999, 'new', 1)",
	"insert into v values('new', 1)",
	"update v set n = n + 1",
	"delete from t where a % 3 = 0",
	"vacuum",
};

static int no_end(void *ctx)
{
	return ++*(int *)ctx > 2000;
}

static void try_all(sqlite3 *db)
{
	int steps = 0;

	sqlite3_progress_handler(db, 1000, no_end, &steps);
	for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++) {
		steps = 0;
		sqlite3_exec(db, statements[i], NULL, NULL, NULL);
	}
}

/* The pages of IMAGE as they are: 0 if they are in the store now. */
static int copy_in(sqlite3 *to, const uint8_t *data, size_t len)
{
	sqlite3_backup *b;
	sqlite3 *from;
	uint8_t *copy = sqlite3_malloc64(len);
	int rc = copy ? sqlite3_open(":memory:", &from) : SQLITE_NOMEM;

	if (rc)
		return rc;
	memcpy(copy, data, len);
	rc = sqlite3_deserialize(from, "main", copy, (sqlite3_int64)len, (sqlite3_int64)len,
				 SQLITE_DESERIALIZE_FREEONCLOSE | SQLITE_DESERIALIZE_READONLY);
	b = rc ? NULL : sqlite3_backup_init(to, "main", from, "main");
	if (b) {
		sqlite3_backup_step(b, -1);
		rc = sqlite3_backup_finish(b);
	}
	sqlite3_close(from);
	return b ? rc : SQLITE_ERROR;
}

static const char *path_of(void)
{
	static char path[64];

	snprintf(path, sizeof(path), "/dev/shm/twz-fuzz-sql-%d.twz", (int)getpid());
	return path;
}

static sqlite3 *open_store(void)
{
	sqlite3 *db = NULL;

	if (sqlite3_open_v2(path_of(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, "twz")) {
		fprintf(stderr, "cannot open: %s\n", sqlite3_errmsg(db));
		abort();
	}
	return db;
}

/* Files of SQLite's own, one for each schema. */
static void seed_into(const char *dir)
{
	char path[300];

	for (int i = 0; schemas[i]; i++) {
		sqlite3 *db;

		snprintf(path, sizeof(path), "%s/schema%d", dir, i);
		unlink(path);
		if (sqlite3_open(path, &db) || sqlite3_exec(db, schemas[i], NULL, NULL, NULL)) {
			fprintf(stderr, "cannot make %s: %s\n", path, sqlite3_errmsg(db));
			exit(2);
		}
		sqlite3_close(db);
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	for (int i = 1; i < *argc; i++) {
		size_t n = strlen((*argv)[i]);

		if (n > 6 && (*argv)[i][0] != '-' && !strcmp((*argv)[i] + n - 6, ".seeds"))
			seed_into((*argv)[i]);
	}
	return twzvfs_register(0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char lock[80];
	sqlite3 *db;

	if (len < 512 || len > 1 << 20)
		return 0;
	(void)surround(data, len);
	db = open_store();
	if (!copy_in(db, data, len)) {
		sqlite3_close(db);
		db = open_store();
		try_all(db);
	}
	sqlite3_close(db);
	snprintf(lock, sizeof(lock), "%s-lock", path_of());
	unlink(path_of());
	unlink(lock);
	return 0;
}
