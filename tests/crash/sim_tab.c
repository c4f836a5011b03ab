/* SPDX-License-Identifier: MIT
 * sim_tab.c -- see sim_tab.h
 *
 * A store has some dozens of mappings, and most stores are to the stack or to the heap, beyond all of them.
 */
#include "sim_tab.h"

#include <stdlib.h>

#define RUN_MAX 8192

struct run {
	uintptr_t lo, hi;
	uint64_t off;
};

static struct run run[RUN_MAX];
static unsigned int run_cnt, last; /* last: where the last one was found */
static uintptr_t lowest = UINTPTR_MAX, highest;

static void bounds(void)
{
	lowest = UINTPTR_MAX;
	highest = 0;
	for (unsigned int i = 0; i < run_cnt; i++) {
		lowest = run[i].lo < lowest ? run[i].lo : lowest;
		highest = run[i].hi > highest ? run[i].hi : highest;
	}
	last = 0;
}

static void add(uintptr_t lo, uintptr_t hi, uint64_t off)
{
	if (lo >= hi)
		return;
	if (run_cnt == RUN_MAX)
		abort(); /* a workload with fewer mappings, please */
	run[run_cnt++] = (struct run){lo, hi, off};
}

void sim_tab_del(const void *addr, uint64_t len)
{
	uintptr_t lo = (uintptr_t)addr, hi = lo + len;

	for (unsigned int i = 0; i < run_cnt;) {
		struct run r = run[i];

		if (r.lo >= hi || lo >= r.hi) {
			i++;
			continue;
		}
		run[i] = run[--run_cnt];
		add(r.lo, lo, r.off);
		add(hi, r.hi, r.off + (hi - r.lo));
	}
	bounds();
}

void sim_tab_set(const void *addr, uint64_t off, uint64_t len)
{
	uintptr_t lo = (uintptr_t)addr;

	sim_tab_del(addr, len);
	add(lo, lo + len, off);
	bounds();
}

uint64_t sim_tab_off(const void *addr)
{
	uintptr_t at = (uintptr_t)addr;
	unsigned int i = last;

	if (at < lowest || at >= highest)
		return UINT64_MAX;
	if (at >= run[i].lo && at < run[i].hi)
		return run[i].off + (at - run[i].lo);
	for (i = 0; i < run_cnt; i++)
		if (at >= run[i].lo && at < run[i].hi) {
			last = i;
			return run[i].off + (at - run[i].lo);
		}
	return UINT64_MAX;
}
