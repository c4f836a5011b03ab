/* SPDX-License-Identifier: MIT
 * main.c -- twzbench: which benchmark, with which options
 */
#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define TMPFS_MAGIC 0x01021994

static const struct {
	const char *name;
	int (*fn)(const struct bench_opt *opt);
	const char *what;
} benches[] = {
	{"ptr", bench_ptr, "what a persistent pointer costs over a raw one, beside libpmemobj"},
#ifdef HAVE_BENCH_LOG
	{"log", bench_log, "what twz_log adds to the least a durable record can cost"},
#endif
	{"kv", bench_kv, "key-value operations, bars against LMDB"},
	{"ycsb", bench_ycsb, "YCSB workloads A to F, every peer"},
#ifdef HAVE_SQLITE
	{"sql", bench_sql, "SQL: our VFS and native tables beside SQLite's own files"},
#endif
};
#define BENCH_CNT (sizeof(benches) / sizeof(benches[0]))

static int usage(FILE *f)
{
	fprintf(f, "usage: twzbench BENCHMARK [OPTIONS]\n\n");
	for (size_t i = 0; i < BENCH_CNT; i++)
		fprintf(f, "  %-8s %s\n", benches[i].name, benches[i].what);
	fputs("\n"
	      "  --rounds N     interleaved rounds the medians are taken over (ptr 2000, others 5)\n"
	      "  --dir DIR      where the stores are made (default /dev/shm, if large enough)\n"
	      "  --json FILE    write the figures there, too (- = standard output)\n"
	      "  --gate         exit status 1 if a bar is missed\n"
	      "kv, ycsb and sql:\n"
	      "  --peers LIST   twzdb,twzdb-tree,lmdb,lmdb-wm,rocksdb,wiredtiger,sqlite,bdb,pmemobj\n"
	      "                 (default all that are built)\n"
	      "  --records N    records (kv 1000000, ycsb 500000, or what fits in DIR)\n"
	      "  --media M      line: clwb and sfence are executed, whatever DIR is (default);\n"
	      "                 page: a disk, and elapsed time instead of CPU time\n"
	      "  --quick        few, short rounds: to look, not to judge\n"
	      "kv:\n"
	      "  --only LIST    sections: load,space,reads,scan,writes,latency,mixed,open;\n"
	      "                 page: durable updates by several clients, with --media page\n"
	      "  --slice MS     a peer's turn (150; quick 40)\n"
	      "  --big          20 million records, and the bars for them\n"
	      "sql:\n"
	      "  --peers LIST   rollback,wal,memory,vfs,native\n"
	      "  --only LIST    sections: key,ycsb,queries; with --media page also writers:\n"
	      "                 four of them and a reader\n"
	      "  --workload L, --ops N   of ycsb (20000 operations a round, with scans 2000)\n"
	      "ycsb:\n"
	      "  --workload L   workloads: a,b,c,d,e,f (default all)\n"
	      "  --threads L    numbers of threads (default 1,2)\n"
	      "  --ops N        operations of a peer in a round (100000, with scans 10000)\n",
	      f);
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

bool bench_in_list(const char *list, const char *name)
{
	size_t len = strlen(name);

	if (!list || !strcmp(list, "all"))
		return true;
	for (const char *p = list; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
		if (!strncmp(p, name, len) && (!p[len] || p[len] == ','))
			return true;
	return false;
}

/*
 * Memory that is no persistent memory still has cache lines to flush: make libpmem2 and libpmem
 * do it. The latter looks when it is loaded, so the program starts once more.
 */
void bench_medium(const struct bench_opt *opt)
{
	bool memory;
	struct statfs st;

	memory = !opt->page && !statfs(opt->dir, &st) && st.f_type == TMPFS_MAGIC;
	if (opt->page) {
		unsetenv("PMEM2_FORCE_GRANULARITY");
		unsetenv("PMEM_IS_PMEM_FORCE");
	}
	if (!memory || getenv("PMEM_IS_PMEM_FORCE"))
		return;
	setenv("PMEM2_FORCE_GRANULARITY", "CACHE_LINE", 0);
	setenv("PMEM_IS_PMEM_FORCE", "1", 1);
	execv("/proc/self/exe", opt->argv);
}

const char *bench_granularity(void)
{
	const char *g = getenv("PMEM2_FORCE_GRANULARITY");

	if (!g)
		return "the medium's own granularity";
	return !strcmp(g, "CACHE_LINE") ? "cache-line granularity"
	       : !strcmp(g, "BYTE")	? "byte granularity"
					: "page granularity";
}

/* --- options --- */

static bool set_number(uint64_t *to, const char *text, uint64_t max)
{
	char *end;

	*to = strtoull(text, &end, 10);
	return end != text && !*end && *to > 0 && *to <= max;
}

static bool set_rounds(struct bench_opt *o, const char *v)
{
	uint64_t n;

	if (!set_number(&n, v, 1000000))
		return false;
	o->rounds = (int)n;
	return true;
}

static bool set_media(struct bench_opt *o, const char *v)
{
	o->page = !strcmp(v, "page");
	return o->page || !strcmp(v, "line");
}

/* An option with a value; false if there is no such option, or it cannot have the value. */
static bool set_value(struct bench_opt *o, const char *name, const char *v)
{
	const struct {
		const char *name, **to;
	} texts[] = {
		{"--dir", &o->dir},   {"--json", &o->json},	     {"--peers", &o->peers},
		{"--only", &o->only}, {"--workload", &o->workloads}, {"--threads", &o->threads}};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (strcmp(name, texts[i].name))
			continue;
		*texts[i].to = v;
		return true;
	}
	if (!strcmp(name, "--rounds"))
		return set_rounds(o, v);
	if (!strcmp(name, "--media"))
		return set_media(o, v);
	if (!strcmp(name, "--records"))
		return set_number(&o->records, v, 1u << 30);
	if (!strcmp(name, "--slice"))
		return set_number(&o->slice_ms, v, 60000);
	return !strcmp(name, "--ops") && set_number(&o->ops, v, UINT64_MAX);
}

static bool set_flag(struct bench_opt *o, const char *name)
{
	bool *to = !strcmp(name, "--gate")    ? &o->gate
		   : !strcmp(name, "--quick") ? &o->quick
		   : !strcmp(name, "--big")   ? &o->big
					      : NULL;

	if (to)
		*to = true;
	return to;
}

static bool parse(struct bench_opt *o, int argc, char **argv)
{
	for (int i = 2; i < argc; i++) {
		if (set_flag(o, argv[i]))
			continue;
		if (i + 1 == argc || !set_value(o, argv[i], argv[i + 1]))
			return false;
		i++;
	}
	return true;
}

int main(int argc, char **argv)
{
	struct bench_opt opt = {.dir = default_dir(), .argv = argv};

	if (argc < 2)
		return usage(stderr);
	if (!strcmp(argv[1], "kv-writer"))
		return bench_kv_writer(argc, argv);
	if (!strcmp(argv[1], "kv-filler"))
		return bench_kv_filler(argc, argv);
	if (!strcmp(argv[1], "--help"))
		return usage(stdout);
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; i < BENCH_CNT; i++)
		if (!strcmp(argv[1], benches[i].name))
			return parse(&opt, argc, argv) ? benches[i].fn(&opt) : usage(stderr);
	return usage(stderr);
}
