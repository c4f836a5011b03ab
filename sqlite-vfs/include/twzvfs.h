/* SPDX-License-Identifier: MIT
 * twzvfs.h -- SQLite on twzdb: register the VFS "twz" with a statically linked SQLite
 *
 * The same code is a loadable extension (twz.so): entry points sqlite3_twz_init (registers
 * "twz") and sqlite3_twzdefault_init (registers it as the default VFS). A path names a store
 * file: app.twz is database "main" in it, file:app.twz?vfs=twz&db=sales another.
 */
#ifndef TWZVFS_H
#define TWZVFS_H

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Register the VFS "twz"; MAKE_DEFAULT != 0 makes it SQLite's default. Returns an SQLite result
 * code. Idempotent.
 */
__attribute__((visibility("default"))) int twzvfs_register(int make_default);

#ifdef __cplusplus
}
#endif
#endif
