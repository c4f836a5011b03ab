/* SPDX-License-Identifier: MIT
 * own.c -- in programs of one's own, not in twzcrash (mutate.c)
 */
#include "workload.h"

const bool crash_own_only = true;
