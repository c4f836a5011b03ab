/* SPDX-License-Identifier: MIT
 * test_engine_reader.c -- the life of read transactions: handles kept, reset and renew, registration, the oldest snapshot
 */
#include "engine_t.h"

#include "../../engine/src/internal.h"

#include <pthread.h>
#include <sys/wait.h>

static int put(struct twzdb *db, uint64_t row, uint64_t v)
{
	struct twzdb_table t;
	struct twzdb_txn *tx;
	int err = twzdb_begin(db, 0, &tx);

	if (err)
		return err;
	err = twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &t);
	if (!err)
		err = twzdb_put(tx, t, et_key(row), et_val(v, 50), 0);
	if (!err)
		return twzdb_commit(tx);
	twzdb_abort(tx);
	return err;
}

static void open_new(const char *name, struct twzdb **db)
{
	if (T_OK(et_open(et_path(ET_LINE, name), db)))
		exit(1);
	T_OK(put(*db, 1, 1));
}

/* Ending and beginning again in one thread reuses the slot, and a handle that has rested. */
static void a_thread_keeps_slot_and_handles(void)
{
	struct twzdb_txn *a, *b, *c, *seen[64];
	struct sh_reader *rd;
	struct twzdb *db;
	int again = 0;

	open_new("keep.twz", &db);
	for (int i = 0; i < 64; i++) {
		T_REQ(twzdb_begin(db, TWZDB_RDONLY, &a));
		seen[i] = a;
		for (int j = 0; j < i; j++)
			again += seen[j] == a;
		for (int j = i > 5 ? i - 5 : 0; j < i; j++)
			T_TRUE(seen[j] != a);
		rd = a->rd;
		T_EQ(rd->snap, 1);
		twzdb_abort(a);
		T_EQ(rd->snap, TWZDB_NO_SNAP);
	}
	T_TRUE(again > 0);
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &b));
	T_TRUE(b->rd == rd);
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &c));
	T_TRUE(c != b && c->rd != rd);
	T_ERR(twzdb_close(db), TWZDB_E_STATE);
	twzdb_abort(c);
	T_OK(twzdb_commit(b));
	T_OK(twzdb_close(db));
}

static void *use_once(void *arg)
{
	struct twzdb_txn *tx;
	int err = twzdb_begin(arg, TWZDB_RDONLY, &tx);

	twzdb_abort(tx);
	return (void *)(intptr_t)err;
}

static void threads_that_end_give_their_handles_back(void)
{
	struct twzdb *db;

	open_new("threads.twz", &db);
	for (int i = 0; i < 300; i++) {
		pthread_t th;
		void *ret;

		pthread_create(&th, NULL, use_once, db);
		pthread_join(th, &ret);
		T_TRUE(!ret);
	}
	T_TRUE(db->sh->reader_hi <= 4);
	T_OK(twzdb_close(db));
}

/* A thread may still keep a handle of a database that another one has closed. */
static void *close_it(void *arg)
{
	return (void *)(intptr_t)twzdb_close(arg);
}

static void a_kept_handle_does_not_outlive_the_database(void)
{
	struct twzdb *a, *b;
	struct twzdb_txn *tx;
	pthread_t th;
	void *ret;

	open_new("gone.twz", &a);
	T_REQ(twzdb_begin(a, TWZDB_RDONLY, &tx));
	twzdb_abort(tx);
	pthread_create(&th, NULL, close_it, a);
	pthread_join(th, &ret);
	T_TRUE(!ret);
	open_new("other.twz", &b);
	for (int i = 0; i < 3; i++) {
		T_REQ(twzdb_begin(b, TWZDB_RDONLY, &tx));
		T_TRUE(tx->db == b);
		twzdb_abort(tx);
	}
	T_OK(twzdb_close(b));
}

static void two_databases_take_turns(void)
{
	struct twzdb *a, *b;
	struct twzdb_txn *x, *y;

	open_new("one.twz", &a);
	open_new("two.twz", &b);
	T_OK(put(b, 2, 2));
	for (int i = 0; i < 100; i++) {
		T_REQ(twzdb_begin(a, TWZDB_RDONLY, &x));
		T_REQ(twzdb_begin(b, TWZDB_RDONLY, &y));
		T_TRUE(x->db == a && y->db == b);
		T_EQ(twzdb_txn_ts(x), 1);
		T_EQ(twzdb_txn_ts(y), 2);
		twzdb_abort(i & 1 ? x : y);
		twzdb_abort(i & 1 ? y : x);
	}
	T_OK(twzdb_close(b));
	T_OK(twzdb_close(a));
}

static void reset_ends_the_snapshot_and_renew_takes_the_latest(void)
{
	struct twzdb_slice val;
	struct twzdb_table t;
	struct twzdb_txn *tx;
	struct twzdb *db;

	open_new("reset.twz", &db);
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_REQ(twzdb_table_open(tx, "t", 0, &t));
	T_OK(put(db, 1, 2));
	T_REQ(twzdb_get(tx, t, et_key(1), &val));
	T_TRUE(et_same(val, et_val(1, 50)));
	T_OK(twzdb_reset(tx));
	T_EQ(tx->rd->snap, TWZDB_NO_SNAP);
	T_REQ(twzdb_renew(tx));
	T_EQ(twzdb_txn_ts(tx), 2);
	T_REQ(twzdb_get(tx, t, et_key(1), &val));
	T_TRUE(et_same(val, et_val(2, 50)));
	T_REQ(twzdb_renew(tx)); /* without a reset before */
	twzdb_abort(tx);
	T_OK(twzdb_close(db));
}

static void calls_in_the_wrong_state_are_refused(void)
{
	struct twzdb_slice val, k = et_key(1);
	struct twzdb_cursor *c, *d;
	struct twzdb_table t;
	struct twzdb_txn *tx, *other;
	struct twzdb *db;
	uint64_t cnt;

	open_new("state.twz", &db);
	T_ERR(twzdb_reset(NULL), TWZDB_E_INVAL);
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_REQ(twzdb_table_open(tx, "t", 0, &t));
	T_REQ(twzdb_cursor_open(tx, t, &c));
	T_OK(twzdb_reset(tx));
	T_ERR(twzdb_reset(tx), TWZDB_E_STATE);
	T_ERR(twzdb_get(tx, t, k, &val), TWZDB_E_STATE);
	T_HAS(twzdb_errmsg(), "renew");
	T_ERR(twzdb_count(tx, t, &cnt), TWZDB_E_STATE);
	T_ERR(twzdb_cursor_open(tx, t, &d), TWZDB_E_STATE);
	T_ERR(twzdb_cursor_get(c, TWZDB_FIRST, &k, &val), TWZDB_E_STATE);
	T_ERR(twzdb_upgrade(tx), TWZDB_E_STATE);
	T_ERR(twzdb_downgrade(tx), TWZDB_E_STATE);
	T_ERR(twzdb_commit_keep(tx), TWZDB_E_STATE);
	T_ERR(twzdb_close(db), TWZDB_E_STATE);
	T_OK(twzdb_commit(tx)); /* which ends it, and waits for what it saw: test_engine_lazy */

	T_ERR(twzdb_get(tx, t, et_key(1), &val), TWZDB_E_STATE);
	T_HAS(twzdb_errmsg(), "ended");
	T_ERR(twzdb_table_open(tx, "t", 0, &t), TWZDB_E_STATE);
	T_ERR(twzdb_renew(tx), TWZDB_E_STATE);
	T_ERR(twzdb_reset(tx), TWZDB_E_STATE);
	T_ERR(twzdb_commit(tx), TWZDB_E_STATE);
	twzdb_abort(tx);
	for (int i = 0; i < 40; i++) { /* until the same handle is used again */
		T_REQ(twzdb_begin(db, TWZDB_RDONLY, &other));
		T_ERR(twzdb_cursor_get(c, TWZDB_FIRST, &k, &val), TWZDB_E_STATE);
		twzdb_abort(other);
	}
	twzdb_cursor_close(c);

	T_REQ(twzdb_begin(db, 0, &tx));
	T_ERR(twzdb_reset(tx), TWZDB_E_STATE);
	T_ERR(twzdb_renew(tx), TWZDB_E_STATE);
	T_OK(twzdb_commit(tx));
	T_OK(twzdb_close(db));
}

/* A cursor that was at a row goes on from there in a newer snapshot, whatever became of the row. */
static void cursors_stay_over_reset_and_renew(void)
{
	struct twzdb_slice k, val;
	struct twzdb_cursor *c, *d;
	struct twzdb_table t;
	struct twzdb_txn *tx;
	struct twzdb *db;

	open_new("stay.twz", &db);
	for (uint64_t i = 0; i < 200; i++)
		T_OK(put(db, i, i));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_REQ(twzdb_table_open(tx, "t", 0, &t));
	T_REQ(twzdb_cursor_open(tx, t, &c));
	T_REQ(twzdb_cursor_open(tx, t, &d));
	k = et_key(70);
	T_REQ(twzdb_cursor_get(c, TWZDB_SEEK_GE, &k, &val));
	T_REQ(twzdb_cursor_get(d, TWZDB_FIRST, &k, &val));
	for (uint64_t round = 0; round < 100; round++) {
		struct twzdb_txn *w;

		T_OK(round & 1 ? twzdb_reset(tx) : 0);
		T_REQ(twzdb_begin(db, 0, &w));
		for (uint64_t i = 0; i < 200; i++) /* every block changes hands */
			T_REQ(twzdb_put(w, t, et_key(i), et_val(round + i, 50), 0));
		if (round == 50)
			T_OK(twzdb_del(w, t, et_key(71 + round))); /* the next one */
		T_REQ(twzdb_commit(w));
		T_REQ(twzdb_renew(tx));
		T_REQ(twzdb_cursor_get(c, TWZDB_NEXT, &k, &val));
		T_EQ(et_num(k), 71 + round + (round >= 50));
		T_TRUE(et_same(val, et_val(round + et_num(k), 50)));
		T_REQ(twzdb_cursor_get(d, TWZDB_NEXT, &k, NULL));
		if (round == 30) {
			twzdb_cursor_close(d);
			T_REQ(twzdb_cursor_open(tx, t, &d));
			T_REQ(twzdb_cursor_get(d, TWZDB_LAST, &k, NULL));
			T_REQ(twzdb_cursor_get(d, TWZDB_FIRST, &k, NULL));
		}
	}
	twzdb_cursor_close(c);
	twzdb_abort(tx);
	twzdb_cursor_close(d); /* after its transaction */
	T_OK(twzdb_close(db));
}

/* A reader becomes the writer, and its cursor goes on among its own changes. */
static void a_cursor_stays_when_its_reader_becomes_the_writer(void)
{
	struct twzdb_slice k, val;
	struct twzdb_cursor *c;
	struct twzdb_table t;
	struct twzdb_txn *tx;
	struct twzdb *db;

	open_new("upgrade.twz", &db);
	for (uint64_t i = 0; i < 100; i++)
		T_OK(put(db, i, i));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_REQ(twzdb_table_open(tx, "t", 0, &t));
	T_REQ(twzdb_cursor_open(tx, t, &c));
	T_REQ(twzdb_cursor_get(c, TWZDB_FIRST, &k, &val));
	T_REQ(twzdb_cursor_get(c, TWZDB_NEXT, &k, &val));
	T_REQ(twzdb_upgrade(tx));
	T_OK(twzdb_del(tx, t, et_key(1)));
	T_OK(twzdb_del(tx, t, et_key(2)));
	T_OK(twzdb_put(tx, t, et_key(3), et_val(1003, 50), 0));
	T_REQ(twzdb_cursor_get(c, TWZDB_NEXT, &k, &val));
	T_EQ(et_num(k), 3);
	T_TRUE(et_same(val, et_val(1003, 50)));
	T_REQ(twzdb_commit_keep(tx));
	for (uint64_t i = 4; i < 100; i++) {
		T_REQ(twzdb_cursor_get(c, TWZDB_NEXT, &k, &val));
		T_EQ(et_num(k), i);
	}
	T_ERR(twzdb_cursor_get(c, TWZDB_NEXT, &k, &val), TWZDB_E_NOTFOUND);
	T_REQ(twzdb_cursor_get(c, TWZDB_PREV, &k, &val));
	T_EQ(et_num(k), 99);
	twzdb_cursor_close(c);
	twzdb_abort(tx);
	T_OK(twzdb_close(db));
}

static uint64_t min_of(struct twzdb *db)
{
	struct twzdb_txn *tx;
	uint64_t min;

	if (T_OK(twzdb_begin(db, 0, &tx)))
		return 0;
	min = twzdb__snap_min(db, tx->rd);
	twzdb_abort(tx);
	return min;
}

/* Registered either way, beside a writer of either kind. */
static void the_oldest_snapshot_is_found(bool plain_reader, bool plain_writer)
{
	struct twzdb_options o = {.size = sizeof(o)};
	const char *path = et_path(ET_LINE, "min.twz");
	struct twzdb *r, *w;
	struct twzdb_txn *a, *b;

	T_REQ(et_open(path, &w));
	T_REQ(twzdb_open(path, &o, &r)); /* another handle with slots of its own */
	r->plain = r->plain && plain_reader;
	w->plain = w->plain && plain_writer;
	for (int i = 1; i <= 3; i++)
		T_OK(put(w, 1, (uint64_t)i));
	T_EQ(min_of(w), 3);
	T_REQ(twzdb_begin(r, TWZDB_RDONLY, &a));
	T_EQ(a->rd->plain, r->plain);
	T_OK(put(w, 1, 4));
	T_REQ(twzdb_begin(r, TWZDB_RDONLY, &b));
	T_OK(put(w, 1, 5));
	T_EQ(min_of(w), 3);
	T_OK(twzdb_reset(a));
	T_EQ(min_of(w), 4);
	T_REQ(twzdb_renew(a));
	twzdb_abort(b);
	T_EQ(min_of(w), 5);
	T_EQ(w->sh->min, 5);
	twzdb_abort(a);
	T_OK(twzdb_close(r));
	T_OK(twzdb_close(w));
	unlink(path);
}

static void the_oldest_snapshot_is_found_in_every_mix(void)
{
	for (int i = 0; i < 4; i++)
		the_oldest_snapshot_is_found(i & 1, i & 2);
}

/* What the scans say never falls, whatever is registered later, and a cheap answer is never above the true one. */
static void the_cached_minimum_never_runs_ahead(void)
{
	struct twzdb_txn *old, *tx;
	struct twzdb *db;
	uint64_t last = 0;

	open_new("ahead.twz", &db);
	for (uint64_t i = 2; i < 200; i++) {
		uint64_t min;

		T_REQ(twzdb_begin(db, TWZDB_RDONLY, &old));
		T_OK(put(db, 1, i));
		T_REQ(twzdb_begin(db, 0, &tx));
		min = twzdb__min(tx);
		T_TRUE(min <= twzdb_txn_ts(old) && min >= last);
		if (i % 16 == 0) {
			(void)twzdb__min_now(tx);
			T_EQ(tx->min, twzdb_txn_ts(old));
		}
		last = min;
		twzdb_abort(tx);
		twzdb_abort(old);
	}
	T_OK(twzdb_close(db));
}

static int child_reads(void *arg)
{
	struct twzdb_txn *tx;
	struct twzdb *db;
	int fd = *(int *)arg;
	char c = 0;

	if (et_open(et_path(ET_LINE, "child.twz"), &db) || twzdb_begin(db, TWZDB_RDONLY, &tx))
		return 1;
	if (write(fd, &c, 1) != 1)
		return 2;
	pause(); /* killed here, registered */
	return 3;
}

static void a_dead_reader_holds_nothing_back(void)
{
	const char *path = strdup(et_path(ET_LINE, "child.twz"));
	struct twzdb *db;
	int fd[2];
	pid_t pid;
	char c;

	T_REQ(et_open(path, &db));
	T_OK(put(db, 1, 1));
	T_TRUE(!pipe(fd));
	pid = fork();
	if (!pid) {
		/* the inherited handle is not the child's */
		struct twzdb_txn *tx;

		if (twzdb_begin(db, TWZDB_RDONLY, &tx) != TWZ_E_FORKED)
			_exit(9);
		_exit(child_reads(&fd[1]));
	}
	T_TRUE(read(fd[0], &c, 1) == 1);
	T_OK(put(db, 1, 2));
	T_EQ(min_of(db), 1);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	T_EQ(min_of(db), 2);
	T_OK(twzdb_close(db));
	close(fd[0]);
	close(fd[1]);
	free((void *)(uintptr_t)path);
}

static struct twzdb_slice user(char buf[16], int i)
{
	return (struct twzdb_slice){buf, (size_t)snprintf(buf, 16, "user%04d", i)};
}

/*
 * Who read the root's address before the root split comes to its left half, and from there to a leaf left of the
 * key's, where other prefixes count.
 */
static void seeks_from_a_root_that_has_split(void)
{
	struct twzdb_slice k, v;
	struct twzdb_cursor *c;
	struct twzdb_table t;
	struct twzdb_txn *tx;
	struct table_pm *anchor;
	struct node_pm *root;
	struct twzdb *db;
	char buf[16];

	open_new("root.twz", &db);
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_table_open(tx, "users", TWZDB_TABLE_CREATE, &t));
	for (int i = 0; i < 3000; i++)
		T_REQ(twzdb_put(tx, t, user(buf, i), et_val(1, 8), 0));
	T_REQ(twzdb_commit(tx));
	anchor = twzdb__table_at(db, t.h);
	root = twzdb__at(db, anchor->root, sizeof(*root));
	T_REQ(root->level < 2);
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_REQ(twzdb_cursor_open(tx, t, &c));
	anchor->root = root->ptr[root->perm[0]];
	for (int i = 700; i < 3000; i += 7) {
		k = user(buf, i);
		T_REQ(twzdb_cursor_get(c, TWZDB_SEEK_GE, &k, &v));
		T_TRUE(k.len == 8 && !memcmp(k.ptr, user(buf, i).ptr, 8));
	}
	twzdb_cursor_close(c);
	twzdb_abort(tx);
	T_OK(twzdb_close(db));
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(a_thread_keeps_slot_and_handles),
		T_CASE(threads_that_end_give_their_handles_back),
		T_CASE(a_kept_handle_does_not_outlive_the_database),
		T_CASE(two_databases_take_turns),
		T_CASE(reset_ends_the_snapshot_and_renew_takes_the_latest),
		T_CASE(calls_in_the_wrong_state_are_refused),
		T_CASE(cursors_stay_over_reset_and_renew),
		T_CASE(a_cursor_stays_when_its_reader_becomes_the_writer),
		T_CASE(the_oldest_snapshot_is_found_in_every_mix),
		T_CASE(the_cached_minimum_never_runs_ahead),
		T_CASE(seeks_from_a_root_that_has_split),
		T_CASE(a_dead_reader_holds_nothing_back),
		T_END,
	};

	return t_main("engine_reader", cases, argc, argv);
}
