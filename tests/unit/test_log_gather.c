/* SPDX-License-Identifier: MIT
 * test_log_gather.c -- when a batch begins (log_gather.c): page media
 */
#include <unistd.h>

#include "log_world.h"

#define RING (256 * KIB)

static struct twz_log *the_log;
static struct twz__media_ops ops;
static const struct twz__media_ops *real;

static struct {
	atomic_uint_fast64_t writes, most; /* writes to the ring; most at the same time */
	atomic_uint_fast64_t now;
	atomic_bool held, waits; /* the next write waits; one does */
	atomic_int slept;	 /* so many waiters are made up */
} w;

/* Slow enough to be worth waiting for. */
static int slow_write(struct twz__media *m, const void *buf, uint64_t off, uint64_t len)
{
	uint64_t ring = the_log->ring.file_off + TWZ_LOG_HEADER_LEN, now;
	int err;

	if (off < ring || off >= ring + RING)
		return real->write_sync(m, buf, off, len);
	now = ++w.now;
	while (now > w.most) /* a tie of two threads costs one count */
		w.most = now;
	w.writes++;
	w.waits = w.held;
	do
		usleep(1000);
	while (w.held);
	err = real->write_sync(m, buf, off, len);
	w.now--;
	return err;
}

static bool open_slow(struct env *e, struct twz_store **s)
{
	if (!log_new(e, RING) || T_OK(open_log(e->path, NULL, e->id, s, &the_log)))
		return false;
	w.writes = w.most = w.now = w.slept = 0;
	w.held = w.waits = false;
	real = (*s)->media->ops;
	ops = *real;
	ops.write_sync = slow_write;
	(*s)->media->ops = &ops;
	return true;
}

static void close_slow(struct env *e, struct twz_store *s)
{
	s->media->ops = real;
	twz_log_close(the_log);
	T_OK(twz_store_close(s));
	T_EQ(world->bad, 0);
	check_restart(e->path, e->id);
	unlink(e->path);
}

static int submit(size_t len, uint64_t *nr)
{
	uint64_t number;

	return submit_len(the_log, len, &number, nr);
}

/* CNT records that one call waits for, as if CNT clients did. */
static void commit(int cnt)
{
	struct twz__log_stage *st = the_log->stage;
	uint64_t nr = 0;

	__atomic_fetch_add(&st->waiters, cnt - 1 - w.slept, __ATOMIC_SEQ_CST);
	w.slept = cnt - 1;
	for (int i = 0; i < cnt; i++)
		T_REQ(submit(100, &nr));
	T_OK(twz_log_wait(the_log, nr));
	T_EQ(st->gather.expect, cnt);
}

/* --- those who were together come together again --- */

#define COMMITS 200

static void *commits(void *arg)
{
	uint64_t nr;

	(void)arg;
	for (int i = 0; i < COMMITS; i++)
		if (submit(100, &nr) || twz_log_wait(the_log, nr))
			__atomic_store_n(&world->bad, 4, __ATOMIC_SEQ_CST);
	return NULL;
}

static void clients_share_their_writes(void)
{
	pthread_t th[WORKERS];
	struct twz_store *s;
	struct env e;

	if (!open_slow(&e, &s))
		return;
	for (int i = 0; i < WORKERS; i++)
		T_EQ(pthread_create(&th[i], NULL, commits, NULL), 0);
	for (int i = 0; i < WORKERS; i++)
		pthread_join(th[i], NULL);
	/* Two batches in turns would be half of them each. Of a busy machine's clients some come too late. */
	T_TRUE(w.writes < COMMITS * WORKERS * 2 / 5);
	T_EQ(w.most, 1);
	close_slow(&e, s);
}

/* --- and if not --- */

/* Two, then one: the second one is waited for in vain, and then for longer and longer not at all. */
static void who_does_not_come_is_waited_for_less_and_less(void)
{
	struct twz__log_stage *st;
	struct twz_store *s;
	struct env e;

	if (!open_slow(&e, &s))
		return;
	st = the_log->stage;
	for (uint32_t miss = 1; miss <= 4; miss++) {
		commit(2);
		commit(1);
		T_EQ(st->gather.misses, miss);
		T_EQ(st->gather.skip, 1U << miss);
		for (uint32_t i = 1U << miss; i-- > 0;) {
			commit(1 + i % 2);
			T_EQ(st->gather.skip, i);
		}
	}
	T_EQ(st->gather.misses, 4);
	/* They come: all is forgotten. Somebody has waited for them, and sees that they are there. */
	commit(2);
	__atomic_store_n(&st->gather.nr, st->frozen + 1, __ATOMIC_RELEASE);
	commit(2);
	T_EQ(st->gather.misses, 0);
	close_slow(&e, s);
}

/* Lazy commits: one waits for many, and none of them comes back. */
static void nobody_waits_for_lazy_commits(void)
{
	struct twz_store *s;
	uint64_t nr = 0;
	struct env e;

	if (!open_slow(&e, &s))
		return;
	for (int i = 0; i < 100; i++)
		T_REQ(submit(100, &nr));
	T_OK(twz_log_wait(the_log, nr));
	T_EQ(the_log->stage->gather.expect, 1);
	close_slow(&e, s);
}

/* With the writer lock: those who are expected could not come. */
static void who_has_the_lock_waits_for_nobody(void)
{
	struct twz_store *s;
	struct env e;
	uint64_t nr;

	if (!open_slow(&e, &s))
		return;
	commit(2);
	T_REQ(submit(100, &nr));
	T_OK(twz_log_drain(the_log));
	T_EQ(the_log->stage->gather.nr, 0);
	T_EQ(the_log->stage->gather.misses, 0);
	close_slow(&e, s);
}

/* A quick medium: going to sleep would take longer than the write. */
static void a_quick_write_is_not_waited_for(void)
{
	struct twz_store *s;
	struct env e;

	if (!open_slow(&e, &s))
		return;
	commit(2);
	the_log->stage->gather.took_us = 1;
	commit(1);
	T_EQ(the_log->stage->gather.misses, 0);
	close_slow(&e, s);
}

/* Who looks at the clock for all has died: the others look for themselves, later. */
static void nobody_waits_for_the_dead(void)
{
	struct twz__log_stage *st;
	struct twz_store *s;
	struct env e;

	if (!open_slow(&e, &s))
		return;
	st = the_log->stage;
	commit(2);
	__atomic_store_n(&st->gather.nr, st->frozen + 1, __ATOMIC_RELEASE);
	commit(1);
	T_EQ(st->applied, st->put);
	close_slow(&e, s);
}

/* --- beside another --- */

static void *one(void *arg)
{
	uint64_t *nr = arg;

	if (twz_log_wait(the_log, *nr))
		__atomic_store_n(&world->bad, 5, __ATOMIC_SEQ_CST);
	return NULL;
}

/* While one is on its way: LEN bytes are written beside it, or wait. */
static void beside(size_t len, bool is)
{
	uint64_t first, second;
	pthread_t th[2];

	w.writes = w.most = 0;
	w.held = true;
	T_REQ(submit(100, &first));
	T_EQ(pthread_create(&th[0], NULL, one, &first), 0);
	while (!w.waits)
		usleep(1000);
	T_REQ(submit(len, &second));
	T_EQ(pthread_create(&th[1], NULL, one, &second), 0);
	for (int i = 0; i < (is ? 10000 : 50) && w.writes < 2; i++)
		usleep(1000);
	T_EQ(w.writes, is ? 2 : 1);
	w.held = w.waits = false;
	for (int i = 0; i < 2; i++)
		pthread_join(th[i], NULL);
	T_EQ(w.writes, 2);
}

static void only_what_is_long_is_written_beside_another(void)
{
	struct twz_store *s;
	struct env e;

	if (!open_slow(&e, &s))
		return;
	beside(100, false);
	/* A record is no longer than half of that here. */
	twz__log_beside_len /= 4;
	beside(twz__log_beside_len, true);
	beside(twz__log_beside_len / 2, false);
	twz__log_beside_len *= 4;
	close_slow(&e, s);
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(clients_share_their_writes),
		T_CASE(who_does_not_come_is_waited_for_less_and_less),
		T_CASE(nobody_waits_for_lazy_commits),
		T_CASE(who_has_the_lock_waits_for_nobody),
		T_CASE(a_quick_write_is_not_waited_for),
		T_CASE(nobody_waits_for_the_dead),
		T_CASE(only_what_is_long_is_written_beside_another),
		T_END,
	};

	return t_main("log_gather", cases, argc, argv);
}
