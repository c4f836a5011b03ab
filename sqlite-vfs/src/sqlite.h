/* SPDX-License-Identifier: MIT
 * sqlite.h -- SQLite's interface, called directly (static) or through the host's table (loadable extension)
 */
#ifndef TWZVFS_SQLITE_H
#define TWZVFS_SQLITE_H

#ifdef TWZVFS_EXTENSION
#include <sqlite3ext.h>
#ifndef TWZVFS_EXT_MAIN
SQLITE_EXTENSION_INIT3
#endif
#else
#include <sqlite3.h>
#endif

#endif
