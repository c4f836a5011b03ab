/* SPDX-License-Identifier: MIT
 * seed.h -- a real store to begin with
 */
#ifndef TWZ_FUZZ_SEED_H
#define TWZ_FUZZ_SEED_H

#include <stddef.h>
#include <stdint.h>

/* At PATH: objects, names, pointers, a database, as they were while the store was open: recovery has work. */
int seed_make(const char *path);
/* *OUT is to be freed. */
int seed_read(const char *path, uint8_t **out, size_t *len);

#endif
