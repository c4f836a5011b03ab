/* SPDX-License-Identifier: MIT
 * campaign.h -- the processes of a kill -9 campaign, and what they say outside the store
 */
#ifndef CRASH_CAMPAIGN_H
#define CRASH_CAMPAIGN_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "twzdb.h"

#define WRITERS	 3
#define CLIENTS	 2 /* the second one's transactions are over two databases */
#define READERS	 2
#define ACTORS	 (WRITERS + CLIENTS)
#define CHILDREN (ACTORS + READERS + 1)
#define KEYS	 60
#define BALLAST	 24
#define PATH_LEN 200
#define HISTORY	 (1u << 17) /* changes of an actor that are remembered */
#define GAVE_UP                                                                                    \
	4 /* exit status of a child that has no memory left, or found no room to open the store */

/* What became of a change. */
enum outcome {
	UNKNOWN, /* under way, or its actor was killed before it had an answer */
	ACKED,
	REFUSED, /* the disk was full: nothing of it is there */
	SEEN,	 /* unknown, but somebody has seen it */
	GONE,	 /* unknown, but somebody has seen a later one without it */
};

/* What an actor said, outside the store. */
struct said {
	uint64_t intended, acked;
	uint64_t stepped;	  /* by any child: things it has finished (all_go_on()) */
	uint64_t holds;		  /* is between begin and commit; of a reader: keeps a snapshot */
	uint8_t outcome[HISTORY]; /* of change N: [N % HISTORY] */
	char why[300];		  /* something was wrong */
};

/* What was exercised, by everybody. */
struct counts {
	uint64_t shots, rows;	      /* whole snapshots compared with the history; rows in them */
	uint64_t kept;		      /* snapshots read twice, with time between */
	uint64_t sql_shots, sql_rows; /* the same of SQLite's tables */
	uint64_t sql_groups;	      /* both databases of a client compared with each other */
	uint64_t integrity;	      /* PRAGMA integrity_check */
	uint64_t seen, gone;	      /* what became of changes nobody had an answer for */
	uint64_t no_room;	      /* changes refused because the disk was full */
	uint64_t forks;		      /* children of fork without exec */
	uint64_t clocks;	      /* times a process saw its wall clock jump */
	uint64_t sql_clocks;	      /* times SQLite told a time that was not the real one */
	uint64_t too_old;	      /* the history did not reach back so far */
};

struct campaign {
	struct said said[CHILDREN];
	struct counts n;
	int64_t skew; /* of the wall clock of all children: seconds */
};

extern struct campaign *shared;
extern char path[PATH_LEN];

uint64_t rnd(uint64_t below);
void rnd_seed(uint64_t seed);
void nap(uint64_t us);

static inline uint64_t now_of(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}
static inline void count(uint64_t *p, uint64_t n)
{
	__atomic_fetch_add(p, n, __ATOMIC_RELAXED);
}

/* campaign_do.c: what the children do, until they are killed */
void writer(int me);
void client(int me);
void reader(int me);
void checkpointer(int me);
int open_db(struct twzdb **db);
sqlite3 *sql_open(int me); /* "main" is database sql; "two" is attached */
bool is_no_room(int code);
void complain(int me, const char *what, int code) __attribute__((noreturn));
void sql_complain(int me, sqlite3 *db, const char *what) __attribute__((noreturn));
/* How long a row of change N is, and what a client writes: both sides must agree. */
size_t row_len(uint64_t n);
#define SQL_VALUE "replace(hex(zeroblob(%s * 37 %% 450)), '0', %s)"

/* campaign_look.c: the oracle. 0, or an error and WHAT was wrong (-1: no code). */
int look(struct twzdb *db, uint64_t keep_us, const char **what);
/* Of ACTOR, by ME; also both databases against each other, if WHOLE. It ends the process if anything is wrong. */
void sql_look(int me, sqlite3 *db, int actor, bool whole);
void sql_integrity(int me, sqlite3 *db);
void outcome_is(int actor, uint64_t n, enum outcome is);

/* campaign_clock.c */
void clock_watch(void); /* in a child: notice jumps */
uint64_t monotonic_ms(void);
int64_t real_time(void);

#endif
