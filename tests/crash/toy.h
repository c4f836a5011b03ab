/* SPDX-License-Identifier: MIT
 * toy.h -- programs for the harness's own test
 */
#ifndef CRASH_TOY_H
#define CRASH_TOY_H

#include "workload.h"
#include "twz/store.h"

extern const struct crash_workload toy_right, toy_no_flush, toy_no_fence, toy_order,
	toy_no_last_fence, toy_torn16, toy_torn_write, toy_torn_page, toy_third, toy_left;

#endif
