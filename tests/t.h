/* SPDX-License-Identifier: MIT
 * t.h -- what every test uses: CUnit with named cases, error-aware assertions, a temporary directory, a seed
 */
#ifndef TWZ_T_H
#define TWZ_T_H

#include <CUnit/Basic.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct t_case {
	const char *name;
	void (*fn)(void);
};

/*
 * Run the cases as one CUnit suite: `test_x [case...]` runs only those named. Prints SEED.
 * Returns the exit code for main().
 */
int t_main(const char *suite, const struct t_case *cases, int argc, char **argv);
#define T_CASE(fn)                                                                                 \
	{                                                                                          \
#fn, fn                                                                            \
	}
#define T_END                                                                                      \
	{                                                                                          \
		NULL, NULL                                                                         \
	}

/*
 * Directory made for this process, on page media (TMPDIR or /tmp) and in shared memory; removed
 * at exit.
 */
const char *t_dir(void);
const char *t_shm_dir(void);
/* DIR/name, static ring of 16 buffers. */
const char *t_path(const char *dir, const char *name);

/*
 * Seeded random numbers (xorshift64*); SEED comes from the environment or the clock and is
 * printed.
 */
uint64_t t_seed(void);
uint64_t t_rand(void);
uint64_t t_rand_below(uint64_t n);

/* Set by tests that know how to print an error code of the layer they test. */
extern const char *(*t_err_name)(int);
extern const char *(*t_err_msg)(void);

/* Fails the case with expression, code name and message; evaluates to the code. */
int t_check_err(int got, int want, const char *expr, const char *file, int line);
#define T_OK(expr)	  t_check_err((expr), 0, #expr, __FILE__, __LINE__)
#define T_ERR(expr, want) t_check_err((expr), (want), #expr, __FILE__, __LINE__)
/* As T_OK, but leaves the function on failure. */
#define T_REQ(expr)                                                                                \
	do {                                                                                       \
		if (t_check_err((expr), 0, #expr, __FILE__, __LINE__))                             \
			return;                                                                    \
	} while (0)
bool t_check_true(bool ok, const char *expr, const char *file, int line);
#define T_TRUE(expr) t_check_true((expr), #expr, __FILE__, __LINE__)
bool t_check_eq(uint64_t got, uint64_t want, const char *expr, const char *file, int line);
#define T_EQ(got, want)                                                                            \
	t_check_eq((uint64_t)(got), (uint64_t)(want), #got " == " #want, __FILE__, __LINE__)
bool t_check_str(const char *got, const char *want, bool part, const char *expr, const char *file,
		 int line);
#define T_STR(got, want) t_check_str((got), (want), false, #got, __FILE__, __LINE__)
#define T_HAS(got, part) t_check_str((got), (part), true, #got, __FILE__, __LINE__)

/* Run FN(ARG) in a forked child; returns its exit status as waitpid gives it. */
int t_fork(int (*fn)(void *), void *arg);

#endif
