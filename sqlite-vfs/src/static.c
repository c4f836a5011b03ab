/* SPDX-License-Identifier: MIT
 * static.c -- entry for programs that link SQLite and this library
 */
#include "twzvfs.h"
#include "sqlite.h"
#include "vfs.h"

int twzvfs_register(int make_default)
{
	int rc = sqlite3_initialize();

	return rc ? rc : twzvfs__init(make_default);
}
