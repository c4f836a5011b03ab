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
	const char *dir; /* where files are made */
	const char *
		json; /* file for the machine-readable report, "-" = standard output, NULL = none */
	int rounds;
	bool gate; /* exit status 1 if a bar is missed */
};

/* A benchmark: 0, or an exit status after it said what went wrong. */
int bench_ptr(const struct bench_opt *opt);

/* --- report.c --- */

/* Title, machine and medium (DIR's file system; GRANULARITY as text). */
void report_begin(const struct bench_opt *opt, const char *title, const char *granularity);
void report_section(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* One figure. KEY names it in the JSON. BAR: it should be at most that; 0 = no bar. */
void report_row(const char *key, const char *what, double value, const char *unit, double bar);
/* The same with the bar met or not decided by the caller: BAR is only printed. */
void report_claim(const char *key, const char *what, double value, const char *unit, double bar,
		  bool met);
/* Writes the JSON; exit status for main. */
int report_end(void);

/* --- clock --- */
double bench_ns_per_tick(void);
static inline uint64_t bench_ticks(void)
{
	unsigned lo, hi;

	/* rdtscp waits for what came before; the fence keeps what follows behind it. */
	__asm__ volatile("rdtscp; lfence" : "=a"(lo), "=d"(hi) : : "rcx", "memory");
	return (uint64_t)hi << 32 | lo;
}

/* --- random numbers and medians --- */
uint64_t bench_rand(void);
double bench_median(double *v, size_t cnt);

#endif
