/* SPDX-License-Identifier: MIT
 * campaign_clock.c -- a wall clock that jumps, for all children at the same moment
 *
 * These functions take the place of libc's for the whole process, its shared libraries too: SQLite and all below see the jump as if somebody
 * had set the clock. (What waits until a time of the wall clock, waits in the kernel, whose clock does not jump: our code has no such wait.)
 * The monotonic clock does not jump, but it may differ from process to process, as in containers: see campaign.c.
 */
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>

#include "campaign.h"

#define FOR_ALL __attribute__((visibility("default")))

static int64_t skew(void)
{
	return shared ? __atomic_load_n(&shared->skew, __ATOMIC_RELAXED) : 0;
}

static int real_clock(clockid_t id, struct timespec *ts)
{
	static int (*fn)(clockid_t, struct timespec *);

	if (!fn)
		*(void **)&fn = dlsym(RTLD_NEXT, "clock_gettime");
	return fn(id, ts);
}

FOR_ALL int clock_gettime(clockid_t id, struct timespec *ts)
{
	int rc = real_clock(id, ts);

	if (!rc && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
		ts->tv_sec += skew();
	return rc;
}

FOR_ALL int gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
	struct timespec ts;
	int rc = clock_gettime(CLOCK_REALTIME, &ts);

	(void)tz;
	*tv = (struct timeval){ts.tv_sec, ts.tv_nsec / 1000};
	return rc;
}

FOR_ALL time_t time(time_t *out)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	if (out)
		*out = ts.tv_sec;
	return ts.tv_sec;
}

uint64_t monotonic_ms(void)
{
	struct timespec ts;

	real_clock(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

int64_t real_time(void)
{
	struct timespec ts;

	real_clock(CLOCK_REALTIME, &ts);
	return ts.tv_sec;
}

void clock_watch(void)
{
	static int64_t before;
	struct timespec wall, mono;
	int64_t diff;

	clock_gettime(CLOCK_REALTIME, &wall);
	clock_gettime(CLOCK_MONOTONIC, &mono);
	diff = wall.tv_sec - mono.tv_sec;
	if (before && (diff > before + 1 || diff < before - 1))
		count(&shared->n.clocks, 1);
	before = diff;
}
