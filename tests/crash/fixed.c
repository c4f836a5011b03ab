/* SPDX-License-Identifier: MIT
 * fixed.c -- see fixed.h; reached through the linker's --wrap
 */
#include "fixed.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "legal.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

static uint64_t state, ticks;
static bool clock_too;

void fixed_start(uint64_t seed)
{
	state = seed * 2 + 1;
	clock_too = true;
	ticks = 0;
}

void fixed_random(uint64_t seed)
{
	state = seed * 2 + 1;
	clock_too = false;
}

void fixed_pass(uint64_t us)
{
	ticks += us * 1000;
}

static void fill(void *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((unsigned char *)buf)[i] = (unsigned char)(crash_rand(&state) >> 32);
}

ssize_t __real_getrandom(void *buf, size_t len, unsigned int flags);
ssize_t __wrap_getrandom(void *buf, size_t len, unsigned int flags)
{
	if (!state)
		return __real_getrandom(buf, len, flags);
	fill(buf, len);
	return (ssize_t)len;
}

void __real_uuid_generate(unsigned char *out);
void __wrap_uuid_generate(unsigned char *out)
{
	if (!state)
		__real_uuid_generate(out);
	else
		fill(out, 16);
}

void __real_uuid_generate_random(unsigned char *out);
void __wrap_uuid_generate_random(unsigned char *out)
{
	if (!state)
		__real_uuid_generate_random(out);
	else
		fill(out, 16);
}

time_t __real_time(time_t *t);
time_t __wrap_time(time_t *t)
{
	if (!clock_too)
		return __real_time(t);
	if (t)
		*t = 1700000000;
	return 1700000000;
}

int __real_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	if (!clock_too)
		return __real_clock_gettime(id, ts);
	ticks += 1000; /* a microsecond per look */
	ts->tv_sec = 1700000000 + (time_t)(ticks / 1000000000);
	ts->tv_nsec = (long)(ticks % 1000000000);
	return 0;
}

/*
 * Companions get their length only. Taking a megabyte of memory for each image, of which a few pages
 * are touched, costs more than recovery does; and here the file system is not full.
 */
int __wrap_posix_fallocate(int fd, off_t off, off_t len);
int __wrap_posix_fallocate(int fd, off_t off, off_t len)
{
	struct stat st;

	if (fstat(fd, &st))
		return errno;
	return off + len > st.st_size && ftruncate(fd, off + len) ? errno : 0;
}
