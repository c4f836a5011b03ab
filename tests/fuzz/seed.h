/* SPDX-License-Identifier: MIT
 * seed.h -- real stores to begin with
 */
#ifndef TWZ_FUZZ_SEED_H
#define TWZ_FUZZ_SEED_H

#include <stddef.h>
#include <stdint.h>

#define SEED_CNT 3
extern const char *const seed_name[SEED_CNT];
/*
 * A new store at PATH, as it was while it was open: recovery has work. NAME: "store" (objects, names, pointers, a database), "group" (a
 * prepared transaction that the next opening finishes), "lazy" (batches of lazy commits).
 */
int seed_make(const char *path, const char *name);
/* *OUT is to be freed. */
int seed_read(const char *path, uint8_t **out, size_t *len);

#endif
