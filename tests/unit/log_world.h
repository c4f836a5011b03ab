/* SPDX-License-Identifier: MIT
 * log_world.h -- what the tests of group commit share: processes that submit records to one log
 *
 * A record's number is how many were submitted before it since the segment was made, so whoever holds the writer
 * lock knows the next one. `world` is what no death takes away: the writer lock, the "homes" (how many records were
 * applied), and what each worker was told.
 */
#ifndef TWZ_TEST_LOG_WORLD_H
#define TWZ_TEST_LOG_WORLD_H

#include <pthread.h>
#include <stdatomic.h>

#include "log_env.h"

#define WORKERS 4

struct world {
	pthread_mutex_t writer; /* robust */
	uint64_t next;		/* records applied, in order */
	uint64_t base;		/* of numbers: what was applied before the segment was made */
	uint64_t acked[WORKERS];
	int bad, failed;
	atomic_bool stop;
};

extern struct world *world; /* shared by all processes */

void writer_new(void);
bool world_new(void);
/* Open store and log; recover, if this is a restart. */
int open_log(const char *path, const void *backend, twz_oid id, struct twz_store **s,
	     struct twz_log **l);
/* What open_log() opens logs with. */
const struct twz_log_user *log_world_user(void);
/* One record, submitted under the writer lock; *NR: its number. */
int submit_one(struct twz_log *l, uint64_t *number, uint64_t *nr);
/* Of LEN bytes; 0: as many as the number says. */
int submit_len(struct twz_log *l, size_t len, uint64_t *number, uint64_t *nr);
/* Everything a worker was told is there. */
void check_acked(void);
/* The log as a restart finds it: what was applied is what it says, from the tail on. */
void check_restart(const char *path, twz_oid id);
/* A new world, and a new store with a log. False: failed, and said so. */
bool log_new(struct env *e, uint64_t ring);

#endif
