/* SPDX-License-Identifier: MIT
 * t.c -- see t.h
 */
#include "t.h"

#include <ftw.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <time.h>

const char *(*t_err_name)(int);
const char *(*t_err_msg)(void);

static char tmp_dir[2][256];
static pid_t tmp_owner;
static uint64_t seed, rng;

static int rm_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void rm_dirs(void)
{
	if (getpid() != tmp_owner || getenv("T_KEEP"))
		return;
	for (int i = 0; i < 2; i++)
		if (tmp_dir[i][0])
			nftw(tmp_dir[i], rm_one, 16, FTW_DEPTH | FTW_PHYS);
}

static const char *make_dir(int i, const char *parent)
{
	if (tmp_dir[i][0])
		return tmp_dir[i];
	if (!tmp_owner) {
		tmp_owner = getpid();
		atexit(rm_dirs);
	}
	snprintf(tmp_dir[i], sizeof(tmp_dir[i]), "%s/twz-test-XXXXXX", parent);
	if (!mkdtemp(tmp_dir[i])) {
		perror(tmp_dir[i]);
		exit(99);
	}
	return tmp_dir[i];
}

const char *t_dir(void)
{
	const char *parent = getenv("TMPDIR");

	return make_dir(0, parent && *parent ? parent : "/tmp");
}

const char *t_shm_dir(void)
{
	return make_dir(1, "/dev/shm");
}

const char *t_path(const char *dir, const char *name)
{
	static char ring[16][512];
	static unsigned int next;
	char *buf = ring[next++ % 16];

	snprintf(buf, sizeof(ring[0]), "%s/%s", dir, name);
	return buf;
}

uint64_t t_seed(void)
{
	if (!seed) {
		const char *env = getenv("SEED");
		struct timespec ts;

		clock_gettime(CLOCK_REALTIME, &ts);
		seed = env ? strtoull(env, NULL, 0)
			   : (uint64_t)ts.tv_nsec ^ (uint64_t)ts.tv_sec << 20;
		seed = seed ? seed : 1;
		rng = seed;
	}
	return seed;
}

uint64_t t_rand(void)
{
	t_seed();
	rng ^= rng >> 12;
	rng ^= rng << 25;
	rng ^= rng >> 27;
	return rng * 0x2545F4914F6CDD1DULL;
}

uint64_t t_rand_below(uint64_t n)
{
	return n ? (t_rand() >> 11) % n : 0;
}

__attribute__((format(printf, 3, 4))) static bool fail(const char *file, int line, const char *fmt,
						       ...)
{
	static char msg[8][2048];
	static unsigned int next;
	char *buf = msg[next++ % 8];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf, sizeof(msg[0]), fmt, ap);
	va_end(ap);
	fprintf(stderr, "%s:%d: %s\n", file, line, buf);
	CU_assertImplementation(CU_FALSE, (unsigned int)line, buf, file, "", CU_FALSE);
	return false;
}

static void pass(const char *file, int line, const char *expr)
{
	CU_assertImplementation(CU_TRUE, (unsigned int)line, expr, file, "", CU_FALSE);
}

int t_check_err(int got, int want, const char *expr, const char *file, int line)
{
	if (got == want) {
		pass(file, line, expr);
	} else {
		fail(file, line, "%s: got %d %s, want %d %s; %s", expr, got,
		     t_err_name ? t_err_name(got) : "", want, t_err_name ? t_err_name(want) : "",
		     t_err_msg ? t_err_msg() : "");
		return got ? got : -1;
	}
	return 0;
}

bool t_check_true(bool ok, const char *expr, const char *file, int line)
{
	if (!ok)
		return fail(file, line, "false: %s", expr);
	pass(file, line, expr);
	return true;
}

bool t_check_eq(uint64_t got, uint64_t want, const char *expr, const char *file, int line)
{
	if (got != want)
		return fail(file, line, "%s: %" PRIu64 " != %" PRIu64, expr, got, want);
	pass(file, line, expr);
	return true;
}

bool t_check_str(const char *got, const char *want, bool part, const char *expr, const char *file,
		 int line)
{
	if (!got || (part ? !strstr(got, want) : strcmp(got, want) != 0))
		return fail(file, line, "%s: got \"%s\", want %s\"%s\"", expr, got ? got : "(null)",
			    part ? "part " : "", want);
	pass(file, line, expr);
	return true;
}

int t_fork(int (*fn)(void *), void *arg)
{
	int status = -1;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0)
		_exit(fn(arg));
	if (pid > 0)
		waitpid(pid, &status, 0);
	return status;
}

int t_main(const char *suite, const struct t_case *cases, int argc, char **argv)
{
	unsigned int failed;
	CU_pSuite s;
	int added = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("%s SEED=%" PRIu64 "\n", suite, t_seed());
	if (CU_initialize_registry() || !(s = CU_add_suite(suite, NULL, NULL)))
		return 99;
	for (; cases->name; cases++) {
		bool wanted = argc < 2;

		for (int i = 1; i < argc; i++)
			wanted |= !strcmp(argv[i], cases->name);
		if (wanted && CU_add_test(s, cases->name, cases->fn))
			added++;
	}
	if (!added) {
		fprintf(stderr, "%s: no such case\n", suite);
		return 98;
	}
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failed ? 1 : 0;
}
