/* SPDX-License-Identifier: MIT
 * test_engine_lock.c -- the writer lock that a thread keeps between its transactions, and how others get it
 */
#include "../../engine/src/internal.h"
#include "engine_t.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#define MANY 64 /* transactions in a row, after which a lock is kept */

static struct twzdb *open_at(const char *path)
{
	struct twzdb *db = NULL;

	T_OK(et_open(path, &db));
	return db;
}

static int put_one(struct twzdb *db, uint64_t key, uint64_t n, uint32_t begin_flags)
{
	struct twzdb_slice v = {&n, sizeof(n)};
	struct twzdb_table t;
	struct twzdb_txn *tx;
	int err = twzdb_begin(db, begin_flags, &tx);

	if (err)
		return err;
	err = twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &t);
	if (!err)
		err = twzdb_put(tx, t, et_key(key), v, 0);
	if (err) {
		twzdb_abort(tx);
		return err;
	}
	return twzdb_commit(tx);
}

static void put_many(struct twzdb *db)
{
	for (uint64_t i = 0; i < MANY; i++)
		T_OK(put_one(db, i, i, 0));
}

/* Only where a barrier on all processors can be had. */
static bool is_kept(struct twzdb *db)
{
	return ld64_acq(&db->sh->lock.owner) & TWZDB__LOCK_KEPT;
}

static uint64_t takeovers(struct twzdb *db)
{
	return ld64(&db->sh->stats.takeovers);
}

struct other {
	struct twzdb *db;
	uint32_t flags, cnt;
	int err;
};

static void *other_writer(void *arg)
{
	struct other *o = arg;

	for (uint32_t i = 0; i < o->cnt && !o->err; i++)
		o->err = put_one(o->db, 1000 + i, i, o->flags);
	return NULL;
}

static int in_thread(struct twzdb *db, uint32_t flags, uint32_t cnt)
{
	struct other o = {db, flags, cnt, 0};
	pthread_t t;

	T_EQ(pthread_create(&t, NULL, other_writer, &o), 0);
	pthread_join(t, NULL);
	return o.err;
}

static void another_thread_gets_what_is_kept(void)
{
	struct twzdb *db = open_at(et_path(ET_LINE, "thread.twz"));

	put_many(db);
	T_EQ(is_kept(db), db->plain);
	/* TRY too: nobody is writing. */
	T_OK(in_thread(db, TWZDB_TRY, 1));
	T_TRUE(!is_kept(db));
	T_OK(put_one(db, 1, 1, TWZDB_TRY));
	T_EQ(takeovers(db), 0);
	T_OK(twzdb_close(db));
}

static void what_is_kept_and_used_is_busy(void)
{
	struct twzdb *db = open_at(et_path(ET_LINE, "busy.twz"));
	struct twzdb_txn *tx;
	struct other o = {db, 0, 1, 0};
	pthread_t t;

	put_many(db);
	T_REQ(twzdb_begin(db, 0, &tx));
	T_EQ(is_kept(db), db->plain);
	T_ERR(in_thread(db, TWZDB_TRY, 1), TWZDB_E_BUSY);
	T_EQ(pthread_create(&t, NULL, other_writer, &o), 0);
	while (!twzdb_writer_waiters(db))
		usleep(1000);
	T_OK(twzdb_commit(tx)); /* hands it over */
	pthread_join(t, NULL);
	T_OK(o.err);
	T_TRUE(!is_kept(db));
	T_OK(put_one(db, 1, 1, TWZDB_TRY));
	T_OK(twzdb_close(db));
}

static int child_writes(void *path)
{
	struct twzdb *db = open_at(path);

	put_many(db);
	return twzdb_close(db) ? 1 : 0;
}

static int child_dies(void *path)
{
	struct twzdb *db = open_at(path);

	put_many(db);
	kill(getpid(), SIGKILL);
	return 1;
}

static void processes_give_it_back(void)
{
	char *path = strdup(et_path(ET_LINE, "process.twz"));
	struct twzdb *db = open_at(path);

	put_many(db);
	T_EQ(t_fork(child_writes, path), 0); /* takes what this process keeps */
	T_TRUE(!is_kept(db));
	T_OK(put_one(db, 1, 1, TWZDB_TRY));
	T_EQ(takeovers(db), 0); /* it closed the database: nothing is left to take over */
	t_fork(child_dies, path);
	T_OK(put_one(db, 1, 1, 0));
	T_TRUE(takeovers(db) <= 1);
	T_OK(put_one(db, 2, 2, TWZDB_TRY));
	T_OK(twzdb_close(db));
	free(path);
}

/* Two openings in one process: closing one leaves the other's alone. */
static void each_opening_keeps_its_own(void)
{
	char *path = strdup(et_path(ET_LINE, "twice.twz"));
	struct twzdb *db = open_at(path), *second = open_at(path);
	struct twzdb_txn *tx;

	put_many(db);
	T_REQ(twzdb_begin(db, 0, &tx));
	T_OK(twzdb_close(second));
	T_EQ(is_kept(db), db->plain);
	second = open_at(path);
	T_ERR(put_one(second, 1, 1, TWZDB_TRY), TWZDB_E_BUSY);
	T_OK(twzdb_commit(tx));
	T_OK(put_one(second, 1, 1, TWZDB_TRY));
	T_OK(twzdb_close(second));
	T_OK(twzdb_close(db));
	free(path);
}

#define STORM 3000

struct storm {
	struct twzdb *db;
	uint64_t id;
	int err;
};

/* Adds one to a common row, in runs long enough for the lock to be kept now and then. */
static int add_one(struct twzdb *db)
{
	struct twzdb_slice v;
	struct twzdb_table t;
	struct twzdb_txn *tx;
	uint64_t n = 0;
	int err = twzdb_begin(db, 0, &tx);

	if (err)
		return err;
	err = twzdb_table_open(tx, "sum", TWZDB_TABLE_CREATE, &t);
	if (!err)
		err = twzdb_get(tx, t, et_key(0), &v);
	if (!err)
		memcpy(&n, v.ptr, sizeof(n));
	n++;
	if (!err || err == TWZDB_E_NOTFOUND)
		err = twzdb_put(tx, t, et_key(0), (struct twzdb_slice){&n, sizeof(n)}, 0);
	if (err) {
		twzdb_abort(tx);
		return err;
	}
	return twzdb_commit(tx);
}

static void *stormer(void *arg)
{
	struct storm *s = arg;

	for (uint64_t i = 0; i < STORM && !s->err; i++) {
		s->err = add_one(s->db);
		if (i % 100 == s->id)
			usleep(300);
	}
	return NULL;
}

static void no_two_have_it(void)
{
	struct twzdb *db = open_at(et_path(ET_LINE, "storm.twz"));
	struct storm s[3] = {{db, 10, 0}, {db, 50, 0}, {db, 90, 0}};
	struct twzdb_slice v;
	struct twzdb_table t;
	struct twzdb_txn *tx;
	pthread_t th[3];
	uint64_t n = 0;

	for (int i = 0; i < 3; i++)
		T_EQ(pthread_create(&th[i], NULL, stormer, &s[i]), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(th[i], NULL);
	for (int i = 0; i < 3; i++)
		T_OK(s[i].err);
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_OK(twzdb_table_open(tx, "sum", 0, &t));
	T_OK(twzdb_get(tx, t, et_key(0), &v));
	memcpy(&n, v.ptr, sizeof(n));
	T_EQ(n, 3 * STORM);
	twzdb_abort(tx);
	T_OK(twzdb_close(db));
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(another_thread_gets_what_is_kept),
		T_CASE(what_is_kept_and_used_is_busy),
		T_CASE(processes_give_it_back),
		T_CASE(each_opening_keeps_its_own),
		T_CASE(no_two_have_it),
		T_END,
	};

	t_err_name = twzdb_err_name;
	t_err_msg = twzdb_errmsg;
	return t_main("engine_lock", cases, argc, argv);
}
