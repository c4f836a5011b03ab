/* SPDX-License-Identifier: MIT
 * flushes.h -- missing and redundant flushes, by source line
 */
#ifndef CRASH_FLUSHES_H
#define CRASH_FLUSHES_H

#include "enum.h"

/* Walk one recorded run of W on OPT->media; adds to the lists. */
int crash_flushes_of(const struct crash_workload *w, const struct crash_options *opt);
/* Print the lists. 1 when a line was never flushed and the file LIST does not say why. */
int crash_flushes_print(const char *list);

#endif
