/* SPDX-License-Identifier: MIT
 * main.c -- twzbench: which benchmark, with which options
 */
#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

static const struct {
	const char *name;
	int (*fn)(const struct bench_opt *opt);
	const char *what;
} benches[] = {
	{"ptr", bench_ptr, "what a persistent pointer costs over a raw one, beside libpmemobj"},
};
#define BENCH_CNT (sizeof(benches) / sizeof(benches[0]))

static int usage(FILE *f)
{
	fprintf(f,
		"usage: twzbench BENCHMARK [--rounds N] [--dir DIR] [--json FILE|-] [--gate]\n\n");
	for (size_t i = 0; i < BENCH_CNT; i++)
		fprintf(f, "  %-8s %s\n", benches[i].name, benches[i].what);
	fprintf(f, "\n  --rounds N   interleaved rounds the medians are taken over (default 2000)\n"
		   "  --dir DIR    where the stores are made (default /dev/shm, if large enough)\n"
		   "  --json FILE  write the figures there, too (- = standard output)\n"
		   "  --gate       exit status 1 if a bar is missed\n");
	return f == stderr ? 2 : 0;
}

#define ROOM ((uint64_t)256 << 20) /* bytes the benchmarks may need */

/* Memory, where it is large enough: containers often have 64 MiB of it. */
static const char *default_dir(void)
{
	struct statvfs st;

	if (!statvfs("/dev/shm", &st) && (uint64_t)st.f_bavail * st.f_frsize >= ROOM)
		return "/dev/shm";
	return getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
}

/* The value of option NAME at ARGV[*I]; NULL if it is another one or has none. */
static const char *value_of(const char *name, int argc, char **argv, int *i)
{
	if (strcmp(argv[*i], name) || *i + 1 >= argc)
		return NULL;
	return argv[++*i];
}

int main(int argc, char **argv)
{
	struct bench_opt opt = {.dir = default_dir(), .rounds = 2000};
	const char *v;

	if (argc < 2)
		return usage(stderr);
	for (int i = 2; i < argc; i++) {
		if ((v = value_of("--rounds", argc, argv, &i)))
			opt.rounds = atoi(v);
		else if ((v = value_of("--dir", argc, argv, &i)))
			opt.dir = v;
		else if ((v = value_of("--json", argc, argv, &i)))
			opt.json = v;
		else if (!strcmp(argv[i], "--gate"))
			opt.gate = true;
		else
			return usage(stderr);
	}
	if (opt.rounds < 1 || opt.rounds > 1000000)
		return usage(stderr);
	for (size_t i = 0; i < BENCH_CNT; i++)
		if (!strcmp(argv[1], benches[i].name))
			return benches[i].fn(&opt);
	return usage(strcmp(argv[1], "--help") ? stderr : stdout);
}
