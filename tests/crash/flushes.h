/* SPDX-License-Identifier: MIT
 * flushes.h -- missing and redundant flushes, by source line
 */
#ifndef CRASH_FLUSHES_H
#define CRASH_FLUSHES_H

#include "enum.h"

/* Walk one recorded run of W on OPT->media; adds to the lists. */
int crash_flushes_of(const struct crash_workload *w, const struct crash_options *opt);
/*
 * Print the lists. 1 when a line was never flushed and the file LIST (or NULL) does not say why; when ALL workloads were
 * walked, also when LIST says so of one that was. Or when there was no room for all that was found.
 */
int crash_flushes_print(const char *list, bool all);

#endif
