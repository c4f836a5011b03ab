/* SPDX-License-Identifier: MIT
 * demo.h -- the parts of "twzdb -demo"
 */
#ifndef CLI_DEMO_H
#define CLI_DEMO_H

#include "shell.h"

#define DEMO_COMMITS   10   /* rows the victim commits, one by one */
#define DEMO_OPEN_ROWS 6000 /* rows it wants to insert in one transaction */
#define DEMO_KILL_AT   4000 /* of which it is killed after this many */
#define DEMO_MARK      "changed by the killed process"

struct demo {
	struct shell *sh;
	char *dir; /* temporary: CSV files, and the store if none was named */
	char *store;
	const char *dpkg; /* dpkg's directory */
	int checks, failed;
	double start;
};

/* Rows written to each CSV file. */
struct dpkg_counts {
	uint64_t packages, depends, provides, files, files_skipped;
};

/* demo_dpkg.c: what is installed, from D->dpkg into CSV files in D->dir. 0 or 1 (reported). */
int demo_dpkg_to_csv(struct demo *d, struct dpkg_counts *n);

/*
 * demo_crash.c: start a process that commits rows, begins a transaction and is killed in it;
 * wait for its death. *COMMITTED counts the rows it reported as committed. 0 or 1 (reported: it
 * did not die as planned).
 */
int demo_crash(struct demo *d, uint64_t *committed, uint64_t *uncommitted);

/* "  ok   what" or "  FAILED what", counted. */
CLI_PRINTF(3, 4) void demo_check(struct demo *d, bool ok, const char *fmt, ...);

#endif
