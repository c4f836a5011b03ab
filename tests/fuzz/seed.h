/* SPDX-License-Identifier: MIT
 * seed.h -- real stores to begin with
 */
#ifndef TWZ_FUZZ_SEED_H
#define TWZ_FUZZ_SEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "twz/twz.h"
#include "twzdb.h"

/* What a store has been through: seed_kinds.c says it in a line each. The last has no name. */
struct seed_kind {
	const char *name;
	int (*make)(const char *path);
};
extern const struct seed_kind seed_kinds[];

/* A new store at PATH on that medium, as it was while it was open: recovery has work. */
int seed_make(const char *path, const char *name, bool line);
/* Is it one of those to begin with: ONLY that, or NULL: all but those that have a target of their own? */
bool seed_is_for(const char *name, const char *only);
/* *OUT is to be freed. */
int seed_read(const char *path, uint8_t **out, size_t *len);

/* seed.c: a small store, rows of all kinds in it; a prepared transaction (D16); batches of lazy commits. */
int seed_open(const char *path, const char *name, struct twzdb **db);
int seed_fill(struct twzdb *db, int rows);
int seed_store(const char *path);
int seed_group(const char *path);
int seed_lazy(const char *path);

/* schemas.c: databases of SQLite's: scripts; the last is NULL. Each has a table t(a integer primary key, b, c). */
extern const char *const schemas[];

#endif
