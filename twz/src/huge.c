/* SPDX-License-Identifier: MIT
 * huge.c -- files in memory (tmpfs) made of pages of 2 MiB
 *
 * Whether tmpfs takes huge pages by itself is decided when it is mounted, and /dev/shm says no. But it can be asked
 * to put a huge page in the place of small ones (MADV_COLLAPSE, Linux 6.1), which need not be there yet, but for
 * one. That costs half of what 512 small pages cost to get and to map, and every later access saves a walk through the
 * page tables. An aligned mapping of such a page takes one entry, in every process.
 *
 * So whoever lets a file grow tries it (twz__huge_alloc), as long as the kernel is quick; what has small pages all the same
 * is joined later by a thread nobody waits for (twz__huge_join), which costs a copy.
 */
#include "huge.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/*
 * Not every kernel has one at hand: memory may have to be moved first, or, in a virtual machine, be
 * asked for from the host, which takes five times as long as small pages do, but only once. After one that was refused,
 * or took longer than small pages do, the kernel is left alone so many times, twice as many each time until one is quick.
 * What counts is this thread's time: others may run meanwhile.
 */
#define REST_MIN 16
#define REST_MAX 4096
#define SLOW_NS	 800000

#define PAGE_MIN 4096

static int rest, next_rest = REST_MIN;

void *twz__huge_map(size_t len, int prot, int flags, int fd, uint64_t off)
{
	size_t room = len + TWZ__HUGE_LEN;
	uint8_t *p =
		mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint8_t *at =
		(uint8_t *)(((uintptr_t)p + TWZ__HUGE_LEN - 1) & ~(uintptr_t)(TWZ__HUGE_LEN - 1));

	if (p == MAP_FAILED)
		return MAP_FAILED;
	if (mmap(at, len, prot, flags | MAP_FIXED, fd, (off_t)off) == MAP_FAILED) {
		munmap(p, room);
		return MAP_FAILED;
	}
	if (at != p)
		munmap(p, (size_t)(at - p));
	munmap(at + len, (size_t)(p + room - at) - len);
	return at;
}

/* Is every page of the 2 MiB at P in memory? One that nobody has stored to since it was allocated is not. */
static bool has_all(void *p)
{
	unsigned char in[TWZ__HUGE_LEN / PAGE_MIN];
	long page = sysconf(_SC_PAGESIZE);

	if (page < PAGE_MIN || mincore(p, TWZ__HUGE_LEN, in))
		return false;
	for (uint64_t i = 0; i < TWZ__HUGE_LEN / (uint64_t)page; i++)
		if (!(in[i] & 1))
			return false;
	return true;
}

bool twz__huge_join(int fd, uint64_t off, bool sparse)
{
	void *p = twz__huge_map(TWZ__HUGE_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, off);
	bool ok;

	if (p == MAP_FAILED)
		return false;
	ok = (!sparse || has_all(p)) && !madvise(p, TWZ__HUGE_LEN, MADV_COLLAPSE);
	munmap(p, TWZ__HUGE_LEN);
	return ok;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

/* Threads may race here: then a hint is lost. */
static void judge(bool good)
{
	int n = __atomic_load_n(&next_rest, __ATOMIC_RELAXED);

	if (!good)
		__atomic_store_n(&rest, n, __ATOMIC_RELAXED);
	n = good ? REST_MIN : n < REST_MAX ? n * 2 : n;
	__atomic_store_n(&next_rest, n, __ATOMIC_RELAXED);
}

bool twz__huge_alloc(int fd, uint64_t off)
{
	int left = __atomic_load_n(&rest, __ATOMIC_RELAXED);
	uint64_t start;
	bool ok;

	if (left > 0) {
		__atomic_store_n(&rest, left - 1, __ATOMIC_RELAXED);
		return false;
	}
	/* Not by a store: a full disk is an error here, and a SIGBUS there. */
	if (fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)off, 4096))
		return false;
	start = now_ns();
	ok = twz__huge_join(fd, off, false);
	judge(ok && now_ns() - start < SLOW_NS);
	return ok;
}
