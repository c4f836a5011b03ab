/* SPDX-License-Identifier: MIT
 * mutate.h -- take call sites of flush, fence, sync, write and publish away, one by one
 */
#ifndef CRASH_MUTATE_H
#define CRASH_MUTATE_H

#include "run.h"

/*
 * All mutants of the plan's workloads, or SAMPLE of them (0: all), chosen by the seed. EQUIVALENT
 * is a file with those that need not be caught, and why; NULL: none. Returns 1 when one survived
 * that is not in it.
 */
int crash_mutants(const struct crash_plan *p, uint32_t sample, const char *equivalent);

#endif
