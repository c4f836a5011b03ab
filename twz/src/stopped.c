/* SPDX-License-Identifier: MIT
 * stopped.c -- waiting for what another process holds, and not for ever: is it stopped (SIGSTOP, a debugger)?
 *
 * Who dies is succeeded at once: mutexes in shared memory are robust, file locks go with their process. Who is stopped keeps what it
 * has, and may go on with it at any time, so nobody can take it away. All of it is held for a few stores, or while metadata
 * change; so whoever has waited twz__wait_ms looks who it is, and gives up if that process is stopped. If it is not, it is at work (a slow
 * disk, a long recovery), and is waited for; twz__slow_ms, if it cannot be known what it does.
 */
#include "stopped.h"

#include <ctype.h>
#include <dirent.h>
#include <sys/stat.h>
#include <time.h>

uint32_t twz__stuck_ms = 1000, twz__wait_ms = 10000, twz__slow_ms = 120000;

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* State of a thread as /proc says it: 'T', 't' = stopped; 0: not known. */
static char state_of(int tid)
{
	char path[64], line[512], *p = NULL;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	f = fopen(path, "re");
	if (f && fgets(line, sizeof(line), f))
		p = strrchr(line, ')');
	if (f)
		fclose(f);
	return p && p[1] == ' ' ? p[2] : 0;
}

/* The process of a thread; itself if that is not to be known. */
static int process_of(int tid)
{
	char path[64], line[256];
	int pid = tid;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Tgid: %d", &pid) == 1)
			break;
	if (f)
		fclose(f);
	return pid;
}

bool twz__is_late(struct twz__waiting *w)
{
	uint64_t now = now_ms();

	if (!w->since_ms)
		w->since_ms = now;
	w->ms = now - w->since_ms;
	return w->ms >= twz__wait_ms;
}

bool twz__patience_ends(struct twz__waiting *w, int tid)
{
	char state = tid > 0 ? state_of(tid) : 0;

	w->stopped = state == 'T' || state == 't';
	w->pid = tid > 0 ? process_of(tid) : 0;
	return w->stopped || (w->ms >= twz__slow_ms && (!state || state == 'D'));
}

int twz__waited_err(const struct twz__waiting *w, const char *where, const char *what)
{
	if (w->stopped)
		return twz__err(
			TWZ_E_TIMEOUT,
			"%s: %s: process %d is stopped while it has it: let it go on (kill -CONT %d), or end it",
			where, what, w->pid, w->pid);
	return twz__err(TWZ_E_TIMEOUT, "%s: %s: another process has had it for %u s: try again",
			where, what, (unsigned)(w->ms / 1000));
}

/* --- mutexes --- */

/* Of the C library's own: which thread has it; 0 if that cannot be told. */
static int owner_of(const pthread_mutex_t *m)
{
#if defined(__GLIBC__)
	return __atomic_load_n(&m->__data.__owner, __ATOMIC_RELAXED) & 0x3fffffff;
#else
	(void)m;
	return 0;
#endif
}

int twz__mutex_lock(pthread_mutex_t *m, struct twz__waiting *w)
{
#if defined(__SANITIZE_THREAD__) /* it does not know the other one */
	(void)w;
	(void)owner_of;
	return pthread_mutex_lock(m);
#else
	int err = pthread_mutex_trylock(m);

	while (err == EBUSY) {
		struct timespec ts;
		uint32_t ms = twz__wait_ms < 1000 ? twz__wait_ms : 1000;

		if (twz__is_late(w) && twz__patience_ends(w, owner_of(m)))
			return ETIMEDOUT;
		clock_gettime(CLOCK_MONOTONIC, &ts);
		ts.tv_nsec += (long)(ms % 1000) * 1000000L;
		ts.tv_sec += ms / 1000 + ts.tv_nsec / 1000000000L;
		ts.tv_nsec %= 1000000000L;
		err = pthread_mutex_clocklock(m, CLOCK_MONOTONIC, &ts);
		if (err == ETIMEDOUT)
			err = EBUSY;
	}
	return err;
#endif
}

int twz_shared_lock(pthread_mutex_t *m, const char *where, const char *what)
{
	struct twz__waiting w = {0};
	int err = twz__mutex_lock(m, &w);

	if (err == EOWNERDEAD)
		err = pthread_mutex_consistent(m);
	if (err == ETIMEDOUT)
		return twz__waited_err(&w, where, what);
	return err ? twz__err(-err, "%s: %s: %s", where, what, strerror(err)) : 0;
}

/* --- a lock byte of a file --- */

/* "lock: 1: OFDLCK ADVISORY  WRITE -1 08:01:1234 4611686018427387904 4611686018427387904" */
static bool line_is(const char *line, uint64_t ino, uint64_t off)
{
	unsigned long long i, from;

	return strstr(line, "OFDLCK") &&
	       sscanf(line, "lock: %*d: OFDLCK %*s %*s %*d %*x:%*x:%llu %llu", &i, &from) == 2 &&
	       i == ino && from == off;
}

static bool fd_has(const char *path, uint64_t ino, uint64_t off)
{
	char line[256];
	bool has = false;
	FILE *f = fopen(path, "re");

	while (f && !has && fgets(line, sizeof(line), f))
		has = line_is(line, ino, off);
	if (f)
		fclose(f);
	return has;
}

static bool process_has(const char *pid, uint64_t ino, uint64_t off)
{
	char path[NAME_MAX + 64];
	struct dirent *e;
	bool has = false;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%s/fdinfo", pid);
	d = opendir(path);
	while (d && !has && (e = readdir(d))) {
		if (!isdigit((unsigned char)e->d_name[0]) || strlen(e->d_name) > 10)
			continue;
		snprintf(path, sizeof(path), "/proc/%.10s/fdinfo/%.10s", pid, e->d_name);
		has = fd_has(path, ino, off);
	}
	if (d)
		closedir(d);
	return has;
}

int twz__byte_holder(int fd, uint64_t off)
{
	struct dirent *e;
	struct stat st;
	int pid = 0;
	DIR *d;

	if (fstat(fd, &st))
		return 0;
	d = opendir("/proc");
	while (d && !pid && (e = readdir(d)))
		if (isdigit((unsigned char)e->d_name[0]) && strlen(e->d_name) <= 10 &&
		    process_has(e->d_name, st.st_ino, off))
			pid = atoi(e->d_name);
	if (d)
		closedir(d);
	return pid;
}
