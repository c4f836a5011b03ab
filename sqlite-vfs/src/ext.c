/* SPDX-License-Identifier: MIT
 * ext.c -- entry points of the loadable extension twz.so
 *
 * The VFS must outlive the connection that loaded it, hence SQLITE_OK_LOAD_PERMANENTLY.
 */
#define TWZVFS_EXT_MAIN 1
#include "internal.h"
#include "vfs.h"

SQLITE_EXTENSION_INIT1

#define ENTRY __attribute__((visibility("default")))

ENTRY int sqlite3_twz_init(sqlite3 *db, char **msg, const sqlite3_api_routines *api);
ENTRY int sqlite3_twzdefault_init(sqlite3 *db, char **msg, const sqlite3_api_routines *api);

static int init(sqlite3 *db, char **msg, int make_default)
{
	int rc = twzvfs__init(make_default);

	if (rc == SQLITE_OK)
		rc = twzvfs__native_register(db); /* this one is open already */
	if (rc != SQLITE_OK) {
		*msg = sqlite3_mprintf("cannot register the VFS twz: %s", sqlite3_errstr(rc));
		return rc;
	}
	return SQLITE_OK_LOAD_PERMANENTLY;
}

int sqlite3_twz_init(sqlite3 *db, char **msg, const sqlite3_api_routines *api)
{
	SQLITE_EXTENSION_INIT2(api);
	return init(db, msg, 0);
}

int sqlite3_twzdefault_init(sqlite3 *db, char **msg, const sqlite3_api_routines *api)
{
	SQLITE_EXTENSION_INIT2(api);
	return init(db, msg, 1);
}
