/* SPDX-License-Identifier: MIT
 * sim_tab.c -- see sim_tab.h
 *
 * A store has some dozens of mappings, and most stores are to the stack or to the heap, beyond all of them.
 */
#include "sim_tab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* --- shared memory that is not the image --- */

#define FOREIGN_MAX 8

static struct {
	uintptr_t lo, hi;
} foreign[FOREIGN_MAX];
static unsigned int foreign_cnt;

void sim_foreign_scan(const char *dir)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[1024], path[512];

	foreign_cnt = 0;
	while (f && fgets(line, sizeof(line), f)) {
		unsigned long lo, hi;

		path[0] = 0;
		if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %511s", &lo, &hi, path) < 2)
			continue;
		if (strncmp(path, dir, strlen(dir)) || !strstr(path, "lock") ||
		    foreign_cnt == FOREIGN_MAX)
			continue;
		foreign[foreign_cnt].lo = lo;
		foreign[foreign_cnt++].hi = hi;
	}
	if (f)
		fclose(f);
}

bool sim_foreign_has(uintptr_t at)
{
	for (unsigned int i = 0; i < foreign_cnt; i++)
		if (at >= foreign[i].lo && at < foreign[i].hi)
			return true;
	return false;
}
