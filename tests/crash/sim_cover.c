/* SPDX-License-Identifier: MIT
 * sim_cover.c -- which instrumented stores ran (sim.h)
 */
#include "sim.h"

#include <sys/mman.h>

extern const char __executable_start[];
extern const char etext[];
static uint8_t *cover_map;
bool sim_covers;

int sim_cover_start(void)
{
	cover_map = mmap(NULL, (size_t)(etext - __executable_start), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	sim_covers = cover_map != MAP_FAILED;
	return sim_covers ? 0 : -1;
}

void sim_cover_write(FILE *f)
{
	for (uint64_t i = 0; sim_covers && i < (uint64_t)(etext - __executable_start); i++)
		if (cover_map[i])
			fprintf(f, "%llx %u\n", (unsigned long long)i, cover_map[i]);
}

void sim_cover(uint64_t pc, enum sim_cover_bits bits)
{
	uint64_t i = pc - (uint64_t)(uintptr_t)__executable_start;

	if (i < (uint64_t)(etext - __executable_start))
		cover_map[i] |= bits;
}
