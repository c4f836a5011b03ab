/* SPDX-License-Identifier: MIT
 * name.h -- hierarchical names of objects in a store
 *
 * A name is a path of UTF-8 components separated by '/', no leading or trailing slash, 1 .. 1023
 * bytes, components 1 .. 255 bytes. Names live in an object of the store and change by undo
 * transactions: every call is atomic and durable, or joins the thread's open transaction.
 */
#ifndef TWZ_NAME_H
#define TWZ_NAME_H

#include "twz/tx.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Bind NAME to ID. REPLACE != 0 overwrites. Errors: TWZ_E_EXIST, TWZ_E_INVAL (bad name),
 * TWZ_E_NOSPC.
 */
TWZ_API TWZ_MUST_CHECK int twz_name_set(struct twz_store *s, const char *name, twz_oid id,
					int replace);
/* Look NAME up. Errors: TWZ_E_NOENT. */
TWZ_API TWZ_MUST_CHECK int twz_name_get(struct twz_store *s, const char *name, twz_oid *id);
/* Remove. Errors: TWZ_E_NOENT. */
TWZ_API TWZ_MUST_CHECK int twz_name_del(struct twz_store *s, const char *name);
/* Rename; atomic. Errors: TWZ_E_NOENT, TWZ_E_EXIST. */
TWZ_API TWZ_MUST_CHECK int twz_name_rename(struct twz_store *s, const char *from, const char *to);
/*
 * Call FN for each name that equals PREFIX or lies below it ("" = all), in byte order; FN != 0
 * stops and is returned.
 */
TWZ_API TWZ_MUST_CHECK int twz_name_list(struct twz_store *s, const char *prefix,
					 int (*fn)(void *ctx, const char *name, twz_oid id),
					 void *ctx);
/* Any name of ID (shortest path for messages and listings). Errors: TWZ_E_NOENT, TWZ_E_TOOBIG. */
TWZ_API TWZ_MUST_CHECK int twz_name_of(struct twz_store *s, twz_oid id, char *buf, size_t len);

#ifdef __cplusplus
}
#endif
#endif
