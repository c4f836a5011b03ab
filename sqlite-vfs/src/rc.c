/* SPDX-License-Identifier: MIT
 * rc.c -- engine errors as SQLite result codes, in one place
 */
#include <errno.h>

#include "internal.h"
#include "twz/err.h"

static int translate(int err)
{
	switch (err) {
	case 0:
		return SQLITE_OK;
	case TWZDB_E_BUSY:
	case TWZDB_E_TIMEOUT:
	case TWZ_E_BUSY:
	case TWZ_E_TIMEOUT:
	case TWZ_E_STALE:
		return SQLITE_BUSY;
	case TWZDB_E_STALE:
		return SQLITE_BUSY_SNAPSHOT;
	case TWZDB_E_NOSPC:
	case TWZ_E_NOSPC:
	case -ENOSPC:
		return SQLITE_FULL;
	case TWZDB_E_CORRUPT:
	case TWZ_E_CORRUPT:
		return SQLITE_CORRUPT;
	case TWZ_E_NOTSTORE:
		return SQLITE_NOTADB;
	case TWZDB_E_DOUBT: /* it can be read; the message says who has to be asked */
		return SQLITE_READONLY_RECOVERY;
	case TWZ_E_GONE:
		return SQLITE_READONLY_DBMOVED;
	case TWZDB_E_READONLY:
	case TWZ_E_READONLY:
		return SQLITE_READONLY;
	case TWZ_E_NOMEM:
	case -ENOMEM:
		return SQLITE_IOERR_NOMEM;
	case TWZDB_E_TOOBIG:
		return SQLITE_TOOBIG;
	case TWZDB_E_NOTFOUND:
	case TWZ_E_NOENT:
	case -ENOENT:
	case TWZ_E_VERSION:
	case TWZ_E_FEATURE:
	case TWZ_E_TRUNCATED:
	case TWZ_E_FS:
	case TWZ_E_MAPS:
	case TWZ_E_PERM:
	case -EACCES:
	case -EPERM:
	case -EROFS:
	case -EISDIR:
		return SQLITE_CANTOPEN;
	case TWZ_E_FORKED:
		return SQLITE_MISUSE;
	default:
		return SQLITE_IOERR;
	}
}

int twzvfs__rc(int err, const char *what, const char *path)
{
	int rc = translate(err);

	/*
	 * BUSY is traffic, not news; but that a store cannot be opened beside those who hold it
	 * is.
	 */
	if (rc != SQLITE_OK && ((rc & 0xff) != SQLITE_BUSY || err == TWZ_E_BUSY))
		sqlite3_log(rc, "twz: %s %s: %s (%s)", what, path ? path : "", twzdb_errmsg(),
			    twzdb_err_name(err));
	return rc;
}
