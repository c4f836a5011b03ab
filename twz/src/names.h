/* SPDX-License-Identifier: MIT
 * names.h -- the table of names in its object (format_name.h): what name.c builds its calls on
 *
 * All functions need the object locked; those that change something need a transaction, which
 * the caller aborts when they fail.
 */
#ifndef TWZ_SRC_NAMES_H
#define TWZ_SRC_NAMES_H

#include "internal.h"
#include "format_name.h"

struct twz__names {
	struct twz_obj *o;
	struct twz_names_pm *h;
	uint64_t *buckets; /* NULL: nothing has been named yet */
	uint64_t bucket_cnt;
};

/* One name found: LINK is the word that leads to it. */
struct twz__name {
	struct twz_name_pm *e;
	uint64_t *link;
	const char *text; /* NUL-terminated */
};

/* Is NAME (NUL-terminated) a path of UTF-8 components? 0 and *LEN, or TWZ_E_INVAL. */
int twz__name_check(const char *name, size_t *len);

/* Verify the header. */
int twz__names_open(struct twz_obj *o, struct twz__names *n);
/* Make the empty table, inside TX. */
int twz__names_init(struct twz__names *n, struct twz_tx *tx);
/* TWZ_E_NOENT: not there (no message: the caller knows what it looked for). */
int twz__names_find(struct twz__names *n, const char *name, size_t len, struct twz__name *out);
int twz__names_insert(struct twz__names *n, struct twz_tx *tx, const char *name, size_t len,
		      twz_oid id);
int twz__names_remove(struct twz__names *n, struct twz_tx *tx, const struct twz__name *name);
int twz__names_replace(struct twz_tx *tx, const struct twz__name *name, twz_oid id);
/* FN for every name, in no order; != 0 stops and is returned. */
int twz__names_walk(struct twz__names *n,
		    int (*fn)(void *ctx, uint64_t bucket, const struct twz__name *name), void *ctx);

#endif
