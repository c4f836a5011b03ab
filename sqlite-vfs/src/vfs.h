/* SPDX-License-Identifier: MIT
 * vfs.h -- registration, shared by the static library and the extension
 */
#ifndef TWZVFS_VFS_H
#define TWZVFS_VFS_H

/* Register "twz"; idempotent. Returns an SQLite result code. */
int twzvfs__init(int make_default);

#endif
