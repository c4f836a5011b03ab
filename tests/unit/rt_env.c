/* SPDX-License-Identifier: MIT
 * rt_env.c -- see rt_env.h
 */
#include "rt_env.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const char *dir;

void env_media(int line)
{
	t_err_name = twz_err_name;
	t_err_msg = twz_errmsg;
	if (line)
		setenv("PMEM2_FORCE_GRANULARITY", "CACHE_LINE", 1);
	else
		unsetenv("PMEM2_FORCE_GRANULARITY");
	dir = line ? t_shm_dir() : t_dir();
}

const char *env_path(void)
{
	static unsigned int n;
	char name[32];

	snprintf(name, sizeof(name), "s%u.twz", n++);
	return t_path(dir, name);
}

struct twz_store *env_store(const char *path)
{
	struct twz_store_options opt = {.size = sizeof(opt), .flags = TWZ_STORE_CREATE};
	struct twz_store *s;

	return T_OK(twz_store_open(path, &opt, &s)) ? NULL : s;
}

struct twz_obj *env_obj(struct twz_store *s, uint64_t len, twz_oid *id)
{
	struct twz_obj_options opt = {.size = sizeof(opt), .len = len};
	struct twz_obj *o;

	return T_OK(twz_obj_create(s, &opt, id, &o)) ? NULL : o;
}

static void print_finding(void *ctx, const char *where, const char *what)
{
	(void)ctx;
	printf("check: %s: %s\n", where, what);
}

void env_check(struct twz_store *s)
{
	uint64_t found;

	if (!T_OK(twz_check(s, print_finding, NULL, &found)))
		T_EQ(found, 0);
}

void env_close(struct twz_store *s)
{
	if (!s)
		return;
	env_check(s);
	T_OK(twz_store_close(s));
}

struct env_file env_read(const char *path)
{
	struct env_file f = {NULL, 0};
	struct stat st;
	int fd = open(path, O_RDONLY);

	if (!T_TRUE(fd >= 0) || fstat(fd, &st))
		return f;
	f.data = malloc((size_t)st.st_size + 1);
	while (f.len < (size_t)st.st_size) {
		ssize_t n = read(fd, f.data + f.len, (size_t)st.st_size - f.len);

		if (n <= 0)
			break;
		f.len += (size_t)n;
	}
	T_EQ(f.len, st.st_size);
	close(fd);
	return f;
}

void env_write(const char *path, const struct env_file *f)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	T_TRUE(fd >= 0 && write(fd, f->data, f->len) == (ssize_t)f->len);
	close(fd);
}

bool env_same(const char *path, const struct env_file *f)
{
	struct env_file now = env_read(path);
	bool same = now.len == f->len && !memcmp(now.data, f->data, f->len);

	env_free(&now);
	return same;
}

void env_free(struct env_file *f)
{
	free(f->data);
	f->data = NULL;
	f->len = 0;
}

bool env_exists(const char *path)
{
	return access(path, F_OK) == 0;
}

pid_t kid_start(int (*fn)(void *), void *arg)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		int rc = fn(arg);

		fflush(stdout);
		_exit(rc);
	}
	return pid;
}

int kid_wait(pid_t pid)
{
	int status = -1;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

int kid_kill(pid_t pid)
{
	kill(pid, SIGKILL);
	return kid_wait(pid);
}

struct gate gate_new(void)
{
	struct gate g;

	if (pipe2(g.fd, O_CLOEXEC))
		abort();
	return g;
}

void gate_open(struct gate *g)
{
	if (write(g->fd[1], "x", 1) != 1)
		abort();
}

void gate_wait(struct gate *g)
{
	char c;

	while (read(g->fd[0], &c, 1) < 0 && errno == EINTR)
		;
}
