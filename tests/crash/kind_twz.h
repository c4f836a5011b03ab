/* SPDX-License-Identifier: MIT
 * kind_twz.h -- what workloads on libtwz share
 */
#ifndef CRASH_KIND_TWZ_H
#define CRASH_KIND_TWZ_H

#include "workload.h"

#include "twz/twz.h"

#define TWZ_KIND_LEN ((uint64_t)256 << 10) /* of a new store */
#define WL_OBJ_MAX   40

extern const struct crash_kind twz_kind;
int twz_kind_open(struct crash *c);
int twz_kind_check(struct crash *c);
int twz_kind_close(struct crash *c);
int twz_kind_probe(struct crash *c);

/* Workloads name their objects 1 .. WL_OBJ_MAX. */
twz_oid wl_id(uint64_t n);
int wl_create(struct crash *c, uint64_t n, uint64_t len, struct twz_obj **out);
uint64_t wl_sum(const void *p, uint64_t len);
int wl_show_objects(struct crash *c, bool contents);

#endif
