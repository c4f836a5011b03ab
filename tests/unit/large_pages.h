/* SPDX-License-Identifier: MIT
 * large_pages.h -- what a test can know of pages of 2 MiB in files in memory
 */
#ifndef TWZ_LARGE_PAGES_H
#define TWZ_LARGE_PAGES_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../twz/src/huge.h"

/* KiB of the file (whose name may have come after it was mapped) that this process sees through page table entries of 2 MiB. */
static inline uint64_t large_kib(const struct stat *st)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	uint64_t sum = 0, kib, ino;
	bool in = false;
	char line[512];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%*x-%*x %*s %*x %*x:%*x %" SCNu64, &ino) == 1)
			in = ino == st->st_ino;
		else if (in && sscanf(line, "ShmemPmdMapped: %" SCNu64, &kib) == 1)
			sum += kib;
	if (f)
		fclose(f);
	return sum;
}

/* Does this kernel make one of small ones at all, and say so? */
static inline bool has_large_pages(void)
{
	int fd = memfd_create("large", MFD_CLOEXEC);
	bool ok = fd >= 0 && !ftruncate(fd, (off_t)TWZ__HUGE_LEN);
	uint8_t *p = ok ? twz__huge_map(TWZ__HUGE_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
			: MAP_FAILED;
	struct stat st;

	if (p != MAP_FAILED) {
		memset(p, 1, TWZ__HUGE_LEN);
		ok = !madvise(p, TWZ__HUGE_LEN, 25 /* MADV_COLLAPSE */) && p[0] == 1;
		ok = ok && !fstat(fd, &st) && large_kib(&st) == TWZ__HUGE_LEN / 1024;
		munmap(p, TWZ__HUGE_LEN);
	}
	if (fd >= 0)
		close(fd);
	return ok && p != MAP_FAILED;
}

#endif
