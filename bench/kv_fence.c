/* SPDX-License-Identifier: MIT
 * kv_fence.c -- the limit durable operations are compared with: one log line, one fence
 */
#include "kv.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define RING_LEN ((size_t)1 << 20)
#define LINE_LEN 64

static char *ring;

int kv_fence_setup(const char *dir)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/fence", dir);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return drv_fail("%s: cannot be made", path);
	unlink(path);
	if (!ftruncate(fd, RING_LEN))
		ring = mmap(NULL, RING_LEN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd,
			    0);
	close(fd);
	if (!ring || ring == MAP_FAILED)
		return drv_fail("%s: cannot be mapped", path);
	return 0;
}

void kv_fence_done(void)
{
	if (ring)
		munmap(ring, RING_LEN);
	ring = NULL;
}

#ifdef __x86_64__
#include <emmintrin.h>

static void log_line(char *to, uint64_t seq)
{
	__m128i v = _mm_set1_epi64x((long long)seq);

	for (int i = 0; i < LINE_LEN / 16; i++)
		_mm_stream_si128((__m128i *)(void *)to + i, v);
	_mm_sfence();
}
#elif defined(__aarch64__)
static void log_line(char *to, uint64_t seq)
{
	for (int i = 0; i < LINE_LEN / 8; i++)
		((uint64_t *)(void *)to)[i] = seq;
	__asm__ volatile("dc cvac, %0; dsb sy" : : "r"(to) : "memory");
}
#endif

double kv_fence_ns(const struct kv *k)
{
	uint64_t seq = 0, start = kv_cpu_ns(k), end;

	do {
		for (int i = 0; i < 1024; i++, seq++)
			log_line(ring + seq * LINE_LEN % RING_LEN, seq);
		end = kv_cpu_ns(k);
	} while (end - start < k->slice_ns / 4);
	return (double)(end - start) / (double)seq;
}
