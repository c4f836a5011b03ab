/* SPDX-License-Identifier: MIT
 * toy.h -- programs for the harness's own test
 */
#ifndef CRASH_TOY_H
#define CRASH_TOY_H

#include "workload.h"
#include "twz/store.h"

extern const struct crash_workload toy_right, toy_no_flush, toy_no_fence, toy_order,
	toy_no_last_fence, toy_torn16, toy_torn_write, toy_torn_page, toy_third, toy_left,
	toy_unsynced, toy_early, toy_unhooked, toy_unhooked_recovery, toy_hang, toy_twice,
	toy_stuck, toy_reads, toy_writes, toy_copied, toy_recorded, toy_again, toy_again_hangs,
	toy_unclosed, toy_slow, toy_reads_old, toy_then_old, toy_heir, toy_hasty_heir, toy_inside;

#endif
