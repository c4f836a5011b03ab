/* SPDX-License-Identifier: MIT
 * log_world.c -- see log_world.h
 */
#include "log_world.h"

#include <sys/mman.h>
#include <unistd.h>

#define LEN_MAX 3000

struct world *world;

void writer_new(void)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&world->writer, &attr);
}

bool world_new(void)
{
	world = mmap(NULL, sizeof(*world), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	if (world == MAP_FAILED)
		return false;
	writer_new();
	return true;
}

/* In order; a record whose applier died comes once more. */
static int world_apply(const void *rec, size_t len)
{
	uint64_t n, next = __atomic_load_n(&world->next, __ATOMIC_SEQ_CST);

	memcpy(&n, rec, sizeof(n));
	if (!body_is(rec, n, len) || (n != next && n + 1 != next))
		__atomic_store_n(&world->bad, 1, __ATOMIC_SEQ_CST);
	else
		__atomic_store_n(&world->next, n + 1, __ATOMIC_SEQ_CST);
	return 0;
}

static int on_staged(void *ctx, uint64_t lsn, const void *rec, size_t len)
{
	(void)ctx, (void)lsn;
	return world_apply(rec, len);
}

/* Restart: homes may have been there already. */
static int on_replay(void *ctx, uint64_t lsn, const void *rec, size_t len, bool restart)
{
	uint64_t n;

	(void)ctx, (void)lsn, (void)restart;
	memcpy(&n, rec, sizeof(n));
	if (!body_is(rec, n, len) || n > world->next)
		world->bad = 1;
	else if (n == world->next)
		world->next = n + 1;
	return 0;
}

static int on_flush(void *ctx, uint64_t lsn, const void *rec, size_t len)
{
	(void)ctx, (void)lsn, (void)rec, (void)len;
	return 0;
}

static const struct twz_log_user user = {
	.version = 1, .apply = on_replay, .flush = on_flush, .staged = on_staged};

const struct twz_log_user *log_world_user(void)
{
	return &user;
}

int open_log(const char *path, const void *backend, twz_oid id, struct twz_store **s,
	     struct twz_log **l)
{
	struct twz_store_options opt = {.size = sizeof(opt), .backend = backend};
	int restart = 0, err;

	unsetenv("PMEM2_FORCE_GRANULARITY");
	err = twz_store_open(path, &opt, s);
	if (!err)
		err = twz_log_open(*s, id, &user, l, &restart);
	return !err && restart ? twz_log_recover(*l, true) : err;
}

/* One record, submitted under the writer lock; *NR: its number. */
int submit_one(struct twz_log *l, uint64_t *number, uint64_t *nr)
{
	return submit_len(l, 0, number, nr);
}

int submit_len(struct twz_log *l, size_t len, uint64_t *number, uint64_t *nr)
{
	uint64_t applied;
	void *at;
	int err = pthread_mutex_lock(&world->writer);

	if (err == EOWNERDEAD) {
		pthread_mutex_consistent(&world->writer);
		err = twz_log_recover(l, false);
	}
	twz_log_pending(l, &applied, number);
	*number += world->base;
	if (!len)
		len = MIN_BODY + (size_t)(*number * 2654435761u % LEN_MAX);
	at = err ? NULL : twz_log_stage(l, len);
	if (at) {
		body_make(at, *number, len);
		err = twz_log_can_submit(l, len) ? twz_log_submit(l, len, nr) : TWZ_E_TOOBIG;
	}
	pthread_mutex_unlock(&world->writer);
	return at || err ? err : TWZ_E_NOMEM;
}

/* Everything a worker was told is there. */
void check_acked(void)
{
	T_EQ(world->bad, 0);
	for (int i = 0; i < WORKERS; i++)
		T_TRUE(world->acked[i] <= world->next);
}

/* The log as a restart finds it: what was applied is what it says, from the tail on. */
void check_restart(const char *path, twz_oid id)
{
	struct twz_store *s;
	struct twz_log *l;

	if (T_OK(open_log(path, NULL, id, &s, &l)))
		return;
	check_acked();
	world->base = world->next; /* a new segment counts from 0 */
	twz_log_close(l);
	T_OK(twz_store_close(s));
}

bool log_new(struct env *e, uint64_t ring)
{
	if (!T_TRUE(world_new()) || !env_new(e, false, ring, NULL))
		return false;
	env_close(e);
	return true;
}
