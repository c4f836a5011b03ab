/* SPDX-License-Identifier: MIT
 * vmload.h -- a workload that tells outside what was acknowledged, and the judge of what is left of it
 *
 * Actors change one store; each has a number. Before anybody hears of a change, it is acknowledged by a
 * line "ACTOR N" (say_acked()): the last change of ACTOR that was is number N. The judge prints "F ACTOR N" of
 * what it finds in the store; whoever heard both compares.
 */
#ifndef VMLOAD_H
#define VMLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "twzdb.h"

#define ENGINE_MAX 16	      /* actors of the engine: numbers 0 .. 15 */
#define ONE_BASE   ENGINE_MAX /* the same, their single calls: 16 .. 31 */
#define SQL_ACTOR  100	      /* SQLite */
#define TX_ACTOR   200	      /* undo transactions of libtwz */
#define NAME_ACTOR 201	      /* names in the store */
#define READER	   300	      /* only looks */
#define SEQ_ACTOR  1000	      /* the order of all commits of the engine */

struct load {
	const char *path;
	uint64_t log_len;   /* bytes of the log, 0 = as usual */
	int seconds;	    /* 0 = until killed */
	uint64_t changes;   /* of each actor; 0 = no end */
	bool endure;	    /* errors are told and the change tried again; else the actor ends */
	int procs, threads; /* of the engine's actors */
	bool sql, tx, reader;
	bool hog; /* memory, until they are killed */
};

/* To those outside; one line, one write. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* ACTOR's change N is durable. Notes it in the log of the device first, if there is one (mark.c). */
void say_acked(int actor, uint64_t n, uint64_t seq);
/* An error: told; ends the process unless errors are endured. */
void say_error(const struct load *l, int actor, const char *what, int err, const char *why);
extern uint64_t load_keep; /* rows of the engine's actors that are kept: the judge must know it */
bool load_over(void);
/* The same for an actor that has made N changes. */
bool load_done(const struct load *l, uint64_t n);
#define PATIENCE_MS 600000 /* for others: the machine may be slow, and busy */
uint64_t load_rand(uint64_t *state, uint64_t below);

/* mark.c: a mark in the log of the dm-log-writes device NAME. */
int mark_open(const char *name);
void mark_write(const char *text);

/* rows.c: transactions of the engine */
int rows_open(const struct load *l, struct twzdb **db);
void rows_actor(const struct load *l, struct twzdb *db, int actor);
void rows_reader(const struct load *l, struct twzdb *db);
int rows_judge(struct twzdb *db);

/* others.c: SQLite, undo transactions, names */
void sql_actor(const struct load *l);
int sql_judge(const struct load *l);
void tx_actor(const struct load *l);
int tx_judge(void *store);

/* Something is wrong with the store: "BAD ..."; returns 1. */
int bad(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
