/* SPDX-License-Identifier: MIT
 * guard.h -- what happens when a store in use is cut short (guard.c)
 */
#ifndef TWZ_SRC_GUARD_H
#define TWZ_SRC_GUARD_H

#include "internal.h"

/* Once a process. */
void twz__guard_init(void);
/* A linear mapping of the image of M, from BASE on. */
void twz__guard_add(struct twz__media *m, const void *base, uint64_t len);
void twz__guard_del(const void *base);

#endif
