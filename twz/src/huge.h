/* SPDX-License-Identifier: MIT
 * huge.h -- files in memory (tmpfs) made of pages of 2 MiB, where the kernel has them: never needed, often quicker
 */
#ifndef TWZ_SRC_HUGE_H
#define TWZ_SRC_HUGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TWZ__HUGE_LEN ((uint64_t)2 << 20)

/*
 * Allocate the 2 MiB from OFF on, a multiple of that, of a file on tmpfs that is so long already, as one page: true, and
 * what was a hole is zero. False: not possible now; some of it may be allocated. Any thread.
 */
bool twz__huge_alloc(int fd, uint64_t off);

/*
 * The same of 2 MiB that are in use, by anybody, in small pages: what is there stays. SPARSE: only if each of them is there
 * (what is a hole shall stay one). True: they are one page now, or were.
 */
bool twz__huge_join(int fd, uint64_t off, bool sparse);

/* mmap() to an address that is a multiple of 2 MiB; OFF is to be one as well. MAP_FAILED and errno, or unmap with munmap(). */
void *twz__huge_map(size_t len, int prot, int flags, int fd, uint64_t off);

#endif
