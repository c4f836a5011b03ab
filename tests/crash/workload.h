/* SPDX-License-Identifier: MIT
 * workload.h -- what a crash workload is
 *
 * A workload is a small deterministic program on a store. The harness runs it once and records
 * every persistent event; then it builds the images a crash may have left, opens each and asks
 * for the logical state as text (`show`). The text must equal the state before or after the
 * interrupted operation: committed present, uncommitted absent, nothing else.
 */
#ifndef CRASH_WORKLOAD_H
#define CRASH_WORKLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "sim.h"

struct crash;

enum crash_media_bits {
	CRASH_LINE = 1,
	CRASH_PAGE = 2,
	CRASH_KILL = 4, /* process death: another process that has the store open goes on */
	CRASH_ALL = 7,
};

/*
 * Shares (crash_workload.share), in percent: what opening an image costs decides. A store of libtwz is
 * recovered three times as fast as a database, and that faster than one of several MiB.
 */
enum crash_share {
	SHARE_CHEAP = 170,
	SHARE_RICH = 300, /* of the engine, with something rare inside most commits */
	SHARE_ENGINE = 50,
	SHARE_DEAR = 25,
	SHARE_LARGE = 6, /* beyond 1 MiB */
};

struct crash_workload {
	const char *name;   /* component.operation */
	const char *what;   /* one line for `twzcrash list` */
	unsigned int media; /* enum crash_media_bits it makes sense on */
	bool quick;	    /* part of the quick test */
	bool empty_file;    /* start from an existing file of 0 bytes instead of none */
	bool pair;	    /* two stores, at crash.path and crash.path SIM_SECOND (sim.h) */
	bool plain; /* made durable by twz_sync alone: what another process saw may still be lost */
	bool huge;  /* never crashed a second time: an image is dear */
	bool once;  /* opening changes the state: never look twice */
	uint32_t
		thrice; /* so small that three crashes can be at every point of each: images a point, when not all (thrice.h) */
	bool killed;	/* processes die, and the power may fail then: no power failures else */
	bool fails;	/* its medium fails: there is no clean close */
	uint32_t share; /* percent of --limit it gets; 0: all of it */
	uint32_t second; /* one in so many images is crashed a second time; 0: as --second says */
	const struct crash_kind *kind;
	int (*setup)(struct crash *c); /* reach state 0; may be NULL */
	int (*run)(struct crash *c);   /* operations, each in CRASH_OP */
	int (*show)(struct crash *c);  /* crash_say() the whole logical state; changes nothing */
	/*
	 * Operations after a crash and its recovery, before a second crash (D1: what the first
	 * recovery dropped stays dropped). May be NULL. The store was opened anew: nothing of
	 * setup and run is there but the store.
	 */
	int (*again)(struct crash *c);
};

/*
 * How stores of a kind are opened, checked and closed: libtwz, engine, toy. All return 0 or have
 * called crash_why().
 */
struct crash_kind {
	int (*open)(struct crash *c);
	int (*check)(struct crash *c);
	int (*close)(struct crash *c);
	/* Change something show does not tell: writing must work. NULL: never asked. */
	int (*probe)(struct crash *c);
	/*
	 * A number that grows with every split, merge, checkpoint and lap: images inside operations
	 * that change it are counted apart. May be NULL. Changes nothing.
	 */
	uint64_t (*inside)(struct crash *c);
	bool reads; /* open, check and close work with crash.read_only */
	/* Empty the log, so that everything must be durable where it lies. May be NULL. */
	int (*settle)(struct crash *c);
};

struct crash {
	const struct crash_workload *w;
	enum sim_media media;
	const char *path; /* of the image; with a directory of its own */
	const struct twz__backend *backend;
	bool recovering;      /* open finds what a crash left */
	bool read_only;	      /* open it so */
	const uint8_t *bytes; /* what the file was when it was opened first, or NULL */
	uint64_t len;
	const struct image_pages *pages;
	int file;	  /* its number (resident.h) */
	void *store, *db; /* of the kind */
	void *user[8];	  /* of the workload */
	uint64_t inside;  /* what kind->inside said when the operation began */
	char *text;	  /* what show said */
	size_t text_len, text_cap;
	char why[1024];
};

/* Add to the state text. */
void crash_say(struct crash *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Say why something failed; returns -1. */
int crash_why(struct crash *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Around one atomic operation: begin, then done once it is durable by contract. */
void crash_begin(struct crash *c);
int crash_done(struct crash *c);
/*
 * The operation took effect but is not promised to be durable yet: a crash may show the states
 * before.
 */
int crash_step(struct crash *c);

/*
 * Run an expression that returns 0 on success as one atomic and durable operation; leaves the
 * function on failure.
 */
#define CRASH_OP(c, expr)                                                                          \
	do {                                                                                       \
		int rc_;                                                                           \
		crash_begin(c);                                                                    \
		rc_ = (expr);                                                                      \
		if (rc_)                                                                           \
			return crash_failed((c), rc_, #expr);                                      \
		if (crash_done(c))                                                                 \
			return -1;                                                                 \
	} while (0)
/* Run an expression that is no operation of its own (opening, reading). */
#define CRASH_DO(c, expr)                                                                          \
	do {                                                                                       \
		int rc_ = (expr);                                                                  \
		if (rc_)                                                                           \
			return crash_failed((c), rc_, #expr);                                      \
	} while (0)
int crash_failed(struct crash *c, int rc, const char *expr);
/* Set by the kinds: text of a code, the last message. */
extern const char *(*crash_err_name)(int rc);
extern const char *(*crash_err_msg)(void);

/* All workloads, NULL-terminated; each binary has its own list. */
extern const struct crash_workload *const crash_workloads[];
/* A program of somebody's own: its sources are what mutants are made of, libtwz and the engine are not. */
extern const bool crash_own_only;

#endif
