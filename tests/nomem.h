/* SPDX-License-Identifier: MIT
 * nomem.h -- the nth allocation of a program fails: whatever libtwz, the engine and the VFS ask the C library for; included once, by a test
 * linked with twz_nomem() (tests/CMakeLists.txt)
 */
#ifndef TWZ_NOMEM_H
#define TWZ_NOMEM_H

#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t nomem_calls, nomem_at; /* 0: none fails */

/* Threads would make the numbers differ from run to run: set TWZDB_HELPER=0. */
static bool nomem_now(void)
{
	return nomem_at && ++nomem_calls == nomem_at;
}

/* From here on the Nth fails; 0: none does, and what was counted stays. */
static void nomem_fail(uint64_t n)
{
	nomem_at = n;
	nomem_calls = n ? 0 : nomem_calls;
}

/*
 * The next N to fail, after a program in which the Nth was to; 0: there is none. How many calls a program makes differs from one to the
 * next (the store grows, nodes split), so N goes on only when an Nth has failed, and ends when of so many programs none had one.
 */
#define NOMEM_TRIES 50
static inline uint64_t nomem_next(uint64_t n)
{
	static unsigned int without;

	if (nomem_calls >= n)
		without = 0;
	else if (++without == NOMEM_TRIES)
		return without = 0;
	return n + !without;
}

#define NOMEM(name, args, call)                                                                    \
	void *__real_##name args;                                                                  \
	void *__wrap_##name args;                                                                  \
	void *__wrap_##name args                                                                   \
	{                                                                                          \
		return nomem_now() ? NULL : __real_##name call;                                    \
	}
NOMEM(malloc, (size_t len), (len))
NOMEM(calloc, (size_t cnt, size_t len), (cnt, len))
NOMEM(realloc, (void *p, size_t len), (p, len))
NOMEM(aligned_alloc, (size_t align, size_t len), (align, len))
NOMEM(strdup, (const char *s), (s))
NOMEM(strndup, (const char *s, size_t len), (s, len))
NOMEM(realpath, (const char *path, char *out), (path, out))

int __wrap_asprintf(char **out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int __wrap_asprintf(char **out, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (nomem_now())
		return -1; /* *OUT stays as it is: nobody promises more */
	va_start(ap, fmt);
	n = vasprintf(out, fmt, ap);
	va_end(ap);
	return n;
}

#endif
