/* SPDX-License-Identifier: MIT
 * count.c -- a program that knows nothing of twzdb but where the extension lies
 *
 *	count EXTENSION STORE	count how often it was run
 */
#include <stdio.h>
#include <sqlite3.h>

/* The extension stays when the connection that loaded it is closed. */
static int load(const char *ext)
{
	char *msg = NULL;
	sqlite3 *db;
	int rc = sqlite3_open(":memory:", &db);

	sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 1, NULL);
	if (!rc)
		rc = sqlite3_load_extension(db, ext, "sqlite3_twz_init", &msg);
	if (rc)
		fprintf(stderr, "count: %s\n", msg ? msg : sqlite3_errmsg(db));
	sqlite3_free(msg);
	sqlite3_close(db);
	return rc;
}

static int print(void *unused, int n, char **value, char **name)
{
	(void)unused;
	(void)n;
	(void)name;
	printf("run %s\n", value[0]);
	return 0;
}

int main(int argc, char **argv)
{
	char uri[4096];
	sqlite3 *db;
	int rc;

	if (argc != 3) {
		fprintf(stderr, "usage: count EXTENSION STORE\n");
		return 2;
	}
	if (load(argv[1]))
		return 1;
	snprintf(uri, sizeof(uri), "file:%s?vfs=twz", argv[2]);
	rc = sqlite3_open_v2(uri, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI,
			     NULL);
	if (!rc)
		rc = sqlite3_exec(db,
				  "create table if not exists run(at);"
				  "insert into run values(datetime()); select count(*) from run",
				  print, NULL, NULL);
	if (rc)
		fprintf(stderr, "count: %s\n", sqlite3_errmsg(db));
	sqlite3_close(db);
	return rc;
}
