/* SPDX-License-Identifier: MIT
 * rt_env.h -- what the tests of libtwz's runtime share: both media, whole files, other processes
 */
#ifndef RT_ENV_H
#define RT_ENV_H

#include "t.h"
#include "twz/twz.h"

/*
 * Each case exists twice: BOTH(name) makes name_page and name_line of a function named name,
 * BOTH_CASES(name) lists them. On cache-line media the store lies in shared memory with the
 * granularity forced.
 */
#define BOTH(fn)                                                                                   \
	static void fn##_page(void)                                                                \
	{                                                                                          \
		env_media(0);                                                                      \
		fn();                                                                              \
	}                                                                                          \
	static void fn##_line(void)                                                                \
	{                                                                                          \
		env_media(1);                                                                      \
		fn();                                                                              \
	}
#define BOTH_CASES(fn) T_CASE(fn##_page), T_CASE(fn##_line)

void env_media(int line);
/* TSan leaves 1 TiB of address space, and falls over itself when mappings run out. */
#ifdef __SANITIZE_THREAD__
#define ENV_ROOMY false
#else
#define ENV_ROOMY true
#endif
/* A fresh path in the directory of the present medium. */
const char *env_path(void);
/* Open the store at PATH, creating it; NULL (and the case failed) if that fails. */
struct twz_store *env_store(const char *path);
/* An object of LEN bytes; NULL and the case failed otherwise. */
struct twz_obj *env_obj(struct twz_store *s, uint64_t len, twz_oid *id);
/* Close; check the store clean, in a handle of its own. */
void env_close(struct twz_store *s);
void env_check(struct twz_store *s);

/* A whole file. */
struct env_file {
	unsigned char *data;
	size_t len;
};
struct env_file env_read(const char *path);
void env_write(const char *path, const struct env_file *f);
/* The file still has exactly these bytes. */
bool env_same(const char *path, const struct env_file *f);
void env_free(struct env_file *f);
bool env_exists(const char *path);

/*
 * A child that runs FN(ARG) and exits with its result; kid_wait gives waitpid's status, kid_kill
 * kills first.
 */
pid_t kid_start(int (*fn)(void *), void *arg);
int kid_wait(pid_t pid);
int kid_kill(pid_t pid);
#define KID_OK(status) (WIFEXITED(status) && WEXITSTATUS(status) == 0)

/* A byte from child to parent or back: "I am there", "go on". */
struct gate {
	int fd[2];
};
struct gate gate_new(void);
void gate_open(struct gate *g);
void gate_wait(struct gate *g);

#endif
