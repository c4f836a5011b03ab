/* SPDX-License-Identifier: MIT
 * bench.h -- what the benchmarks of twzbench share: options, clock, report
 */
#ifndef TWZ_BENCH_H
#define TWZ_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct bench_opt {
	char *const *argv; /* of the program */
	const char *dir;   /* where files are made */
	const char *
		json; /* file for the machine-readable report, "-" = standard output, NULL = none */
	int rounds;   /* 0 = the benchmark's own number */
	bool gate;    /* exit status 1 if a bar is missed */
	/* kv and ycsb */
	uint64_t records, ops, slice_ms; /* 0 = the benchmark's own numbers */
	const char *peers, *only;	 /* lists "a,b"; NULL = all */
	const char *workloads;		 /* a list of letters */
	const char *threads;		 /* a list of numbers */
	bool quick;			 /* few, short rounds: to look, not to judge */
	bool big;			 /* kv: 20 million records */
	bool page;			 /* a medium behind a page cache */
};

/* Is NAME in LIST ("a,b,c")? A missing list, and "all", has every name. */
bool bench_in_list(const char *list, const char *name);
/* Has twzdb's stores use the granularity OPT asks for, and names it. */
void bench_medium(const struct bench_opt *opt);
const char *bench_granularity(void);

/* A benchmark: 0, or an exit status after it said what went wrong. */
int bench_ptr(const struct bench_opt *opt);
int bench_kv(const struct bench_opt *opt);
int bench_ycsb(const struct bench_opt *opt);
int bench_sql(const struct bench_opt *opt);
/* The process "twzbench kv" starts and kills. */
int bench_kv_writer(int argc, char **argv);
int bench_kv_filler(int argc, char **argv);
int bench_log(const struct bench_opt *opt);

/* --- report.c --- */

/* Title, machine and medium (DIR's file system; GRANULARITY as text). */
void report_begin(const struct bench_opt *opt, const char *title, const char *granularity);
void report_section(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* One figure. KEY names it in the JSON. BAR: it should be at most that; 0 = no bar. */
void report_row(const char *key, const char *what, double value, const char *unit, double bar);
/* The same with the bar met or not decided by the caller: BAR is only printed. */
void report_claim(const char *key, const char *what, double value, const char *unit, double bar,
		  bool met);
/* Figures of CNT rounds for the JSON alone: the caller prints its own table. */
void report_series(const char *key, const char *what, const char *unit, const double *v, int cnt);
/* The median of CNT rounds, which should be at least, or at most, BAR; 0 = no bar. */
void report_bar(const char *key, const char *what, const char *unit, const double *v, int cnt,
		double bar, bool at_least);
/* A member of the JSON beside the rows, such as a peer's settings. */
void report_note(const char *key, const char *text);
/* Writes the JSON; exit status for main. */
int report_end(void);

/* --- clock --- */
double bench_ns_per_tick(void);
static inline uint64_t bench_ticks(void)
{
#ifdef __x86_64__
	unsigned lo, hi;

	/* rdtscp waits for what came before; the fence keeps what follows behind it. */
	__asm__ volatile("rdtscp; lfence" : "=a"(lo), "=d"(hi) : : "rcx", "memory");
	return (uint64_t)hi << 32 | lo;
#else
	uint64_t v;

	__asm__ volatile("isb; mrs %0, cntvct_el0; isb" : "=r"(v) : : "memory");
	return v;
#endif
}

/* --- random numbers and medians --- */
uint64_t bench_rand(void);
double bench_median(double *v, size_t cnt);

#endif
