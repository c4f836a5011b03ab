/* SPDX-License-Identifier: MIT
 * test_engine_lazy.c -- lazy commits on page media: who sees them, and when they are durable (D12)
 *
 * On cache-line media they are durable ones; the cases that say nothing of when run there too.
 */
#include "../../engine/src/internal.h"
#include "../../twz/src/log_ring.h"
#include "../../twz/src/stopped.h"
#include "engine_t.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#define KEYS	400
#define READERS 6

static struct twzdb *db;
static struct twzdb_table table;

/* What each key holds: length and number of its value, 0: there is none. */
typedef uint32_t state[KEYS];

static void nap_ms(long ms)
{
	struct timespec ts = {ms / 1000, ms % 1000 * 1000000L};

	nanosleep(&ts, NULL);
}

static bool open_new(enum et_media m, const char *name)
{
	struct twzdb_txn *tx;

	if (T_OK(et_open(et_path(m, name), &db)) || T_OK(twzdb_begin(db, 0, &tx)))
		return false;
	T_OK(twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &table));
	return !T_OK(twzdb_commit(tx));
}

/* Number of the last commit that is durable. */
static uint64_t durable_ts(void)
{
	return ld64_acq(&db->sh->ts);
}

static struct twzdb_slice value_of(uint32_t s)
{
	return et_val(s, 1 + s % 300);
}

static int put_one(uint32_t flags, uint64_t key, uint32_t s)
{
	struct twzdb_txn *tx;
	int err = twzdb_begin(db, flags, &tx);

	if (err)
		return err;
	err = twzdb_put(tx, table, et_key(key), value_of(s), 0);
	if (!err)
		return twzdb_commit(tx);
	twzdb_abort(tx);
	return err;
}

static bool is(struct twzdb_txn *tx, uint64_t key, uint32_t s)
{
	struct twzdb_slice v;
	int err = twzdb_get(tx, table, et_key(key), &v);

	return s ? !err && et_same(v, value_of(s)) : err == TWZDB_E_NOTFOUND;
}

/* Every way of reading says S. */
static bool is_state(struct twzdb_txn *tx, const state s)
{
	struct twzdb_slice k, v, keys[KEYS], values[KEYS];
	struct twzdb_cursor *c;
	uint64_t rows = 0, cnt;
	uint64_t raw[KEYS];
	int found[KEYS];
	bool ok = true;

	for (uint32_t i = 0; i < KEYS; i++) {
		ok = ok && T_TRUE(is(tx, i, s[i]));
		rows += s[i] != 0;
		raw[i] = __builtin_bswap64(i);
		keys[i] = (struct twzdb_slice){&raw[i], sizeof(raw[i])};
	}
	ok = ok && !T_OK(twzdb_get_many(tx, table, KEYS, keys, values, found));
	for (uint32_t i = 0; i < KEYS && ok; i++)
		ok = T_TRUE(s[i] ? !found[i] && et_same(values[i], value_of(s[i]))
				 : found[i] == TWZDB_E_NOTFOUND);
	ok = ok && !T_OK(twzdb_count(tx, table, &cnt)) && T_EQ(cnt, rows);
	if (!ok || T_OK(twzdb_cursor_open(tx, table, &c)))
		return false;
	for (int err = twzdb_cursor_get(c, TWZDB_FIRST, &k, &v); !err && ok;
	     err = twzdb_cursor_get(c, TWZDB_NEXT, &k, &v), rows--)
		ok = T_TRUE(rows > 0 && et_num(k) < KEYS && s[et_num(k)] &&
			    et_same(v, value_of(s[et_num(k)])));
	twzdb_cursor_close(c);
	return ok && T_EQ(rows, 0);
}

/* Up to some dozens of changes, in rows next to each other now and then: leaves split and merge. */
static int change(struct twzdb_txn *tx, state s, uint32_t *next)
{
	uint64_t n = t_rand_below(4) ? 1 + t_rand_below(3) : 1 + t_rand_below(120),
		 first = t_rand_below(KEYS);
	bool del = t_rand_below(3) == 0;
	int err = 0;

	for (uint64_t i = 0; i < n && !err; i++) {
		uint64_t key = (first + i) % KEYS;

		if (del && s[key])
			err = twzdb_del(tx, table, et_key(key));
		else if (!del)
			err = twzdb_put(tx, table, et_key(key), value_of(++*next), 0);
		s[key] = del ? 0 : *next;
	}
	return err;
}

/* --- cases --- */

static void others_see_it_before_it_is_durable(void)
{
	struct twzdb_txn *before, *tx;
	uint64_t was;

	if (!open_new(ET_PAGE, "seen.twz"))
		return;
	T_REQ(put_one(0, 1, 10));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &before));
	was = durable_ts();
	T_OK(put_one(TWZDB_LAZY, 1, 11));
	T_OK(put_one(TWZDB_LAZY, 2, 12));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_EQ(durable_ts(), was);
	T_TRUE(is(tx, 1, 11));
	T_TRUE(is(tx, 2, 12));
	T_TRUE(is(before, 1, 10));
	T_TRUE(is(before, 2, 0));
	T_EQ(twzdb_txn_ts(tx), twzdb_latest_ts(db));
	T_EQ(twzdb_txn_ts(tx), twzdb_txn_ts(before) + 2);
	/* What it has seen is durable when its commit has returned 0. */
	T_OK(twzdb_commit(tx));
	T_EQ(durable_ts(), was + 2);
	T_OK(twzdb_renew(before));
	T_TRUE(is(before, 1, 11));
	twzdb_abort(before);
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

static void it_is_durable_soon(void)
{
	uint64_t was;

	if (!open_new(ET_PAGE, "soon.twz"))
		return;
	was = durable_ts();
	T_OK(put_one(TWZDB_LAZY, 1, 1));
	for (int i = 0; i < 200 && durable_ts() == was; i++)
		nap_ms(10);
	T_EQ(durable_ts(), was + 1);
	T_OK(twzdb_sync(db));
	was = durable_ts();
	T_OK(twzdb_sync(db)); /* nothing to do */
	T_EQ(durable_ts(), was);
	T_ERR(twzdb_sync(NULL), TWZDB_E_INVAL);
	T_OK(put_one(TWZDB_LAZY, 1, 2));
	T_OK(twzdb_sync(db));
	T_EQ(durable_ts(), was + 1);
	T_OK(twzdb_close(db));
}

/* A durable commit makes those before it durable; and closing does. */
static void order_is_kept_and_close_waits(void)
{
	struct twzdb_txn *tx;

	if (!open_new(ET_PAGE, "order.twz"))
		return;
	for (uint32_t i = 1; i < 100; i++)
		T_OK(put_one(i % 10 ? TWZDB_LAZY : 0, i, i));
	T_OK(twzdb_close(db));
	T_REQ(et_open(et_path(ET_PAGE, "order.twz"), &db));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_OK(twzdb_table_open(tx, "t", 0, &table));
	for (uint32_t i = 1; i < 100; i++)
		T_TRUE(is(tx, i, i));
	twzdb_abort(tx);
	T_OK(twzdb_close(db));
}

/* Much more than the staging area has room for. */
static void full_means_wait(void)
{
	struct twzdb_txn *tx;

	if (!open_new(ET_PAGE, "full.twz"))
		return;
	for (uint32_t i = 0; i < 20000; i++)
		if (T_OK(put_one(TWZDB_LAZY, i % 1000, i + 1)))
			break;
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	for (uint32_t i = 0; i < 1000; i++)
		T_TRUE(is(tx, i, 19000 + i + 1));
	twzdb_abort(tx);
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

/* Readers taken at any moment go on seeing just what they saw, while commits are staged, and applied. */
static void readers_keep_what_they_saw(enum et_media m)
{
	static state now, saw[READERS];
	struct twzdb_txn *readers[READERS] = {NULL}, *tx;
	uint32_t next = 0;

	if (!open_new(m, "keep.twz"))
		return;
	memset(now, 0, sizeof(now));
	for (int i = 0; i < 400; i++) {
		uint64_t r = t_rand_below(READERS);
		uint32_t lazy = t_rand_below(8) ? TWZDB_LAZY : 0;

		T_REQ(twzdb_begin(db, lazy, &tx));
		T_REQ(change(tx, now, &next));
		T_REQ(twzdb_commit(tx));
		if (!readers[r])
			T_REQ(twzdb_begin(db, TWZDB_RDONLY, &readers[r]));
		else if (t_rand_below(2))
			T_REQ(twzdb_renew(readers[r]));
		else if (!T_OK(twzdb_reset(readers[r])))
			T_REQ(twzdb_renew(readers[r]));
		memcpy(saw[r], now, sizeof(now));
		if (i % 7 == 0)
			nap_ms((long)t_rand_below(60));
		r = t_rand_below(READERS);
		if (readers[r] && !T_TRUE(is_state(readers[r], saw[r])))
			break;
	}
	for (int r = 0; r < READERS; r++) {
		if (readers[r])
			T_TRUE(is_state(readers[r], saw[r]));
		if (r % 2)
			T_OK(twzdb_commit(readers[r]));
		else
			twzdb_abort(readers[r]);
	}
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

static void readers_keep_what_they_saw_page(void)
{
	readers_keep_what_they_saw(ET_PAGE);
}

static void readers_keep_what_they_saw_line(void)
{
	readers_keep_what_they_saw(ET_LINE);
}

/* A reset transaction has seen what it saw. */
static void reset_forgets_nothing_it_saw(void)
{
	struct twzdb_txn *tx;
	uint64_t was;

	if (!open_new(ET_PAGE, "reset.twz"))
		return;
	for (int renewed = 0; renewed < 2; renewed++) {
		T_OK(twzdb_sync(db));
		was = durable_ts();
		T_OK(put_one(TWZDB_LAZY, 1, 1));
		T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
		T_TRUE(is(tx, 1, 1));
		T_OK(twzdb_reset(tx));
		if (renewed) {
			T_OK(put_one(TWZDB_LAZY, 1, 2));
			T_OK(twzdb_renew(tx));
			T_TRUE(is(tx, 1, 2));
			T_OK(twzdb_reset(tx));
		}
		T_OK(twzdb_commit(tx));
		T_EQ(durable_ts(), was + 1 + (uint64_t)renewed);
	}
	/* Who aborts does not wait, and the handle's next life knows nothing of it. */
	T_OK(put_one(TWZDB_LAZY, 1, 3));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_OK(twzdb_reset(tx));
	twzdb_abort(tx);
	T_OK(twzdb_close(db));
}

/* What a writer saw staged is published before it becomes a reader: it does not go back. */
static void downgrade_goes_back_to_nothing_older(void)
{
	struct twzdb_txn *tx;

	if (!open_new(ET_PAGE, "down.twz"))
		return;
	for (uint32_t i = 1; i < 4; i++) {
		T_OK(put_one(TWZDB_LAZY, 1, i));
		if (i == 2) {
			T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
			T_OK(twzdb_upgrade(tx));
		} else {
			T_REQ(twzdb_begin(db, 0, &tx));
		}
		T_TRUE(is(tx, 1, i));
		T_OK(twzdb_sync(db));
		T_OK(twzdb_put(tx, table, et_key(2), value_of(9), 0));
		T_OK(twzdb_downgrade(tx));
		T_TRUE(is(tx, 1, i) && is(tx, 2, 0));
		T_EQ(twzdb_txn_ts(tx), durable_ts());
		T_OK(twzdb_commit(tx));
	}
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

/* upgrade, downgrade, commit_keep, commit_next, at staged versions. */
static void readers_become_writers_and_back(void)
{
	struct twzdb_txn *tx, *other;

	if (!open_new(ET_PAGE, "turn.twz"))
		return;
	T_OK(put_one(TWZDB_LAZY, 1, 1));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_OK(put_one(TWZDB_LAZY, 2, 2));
	T_ERR(twzdb_upgrade(tx), TWZDB_E_STALE);
	T_TRUE(is(tx, 1, 1) && is(tx, 2, 0));
	T_OK(twzdb_renew(tx));
	T_OK(twzdb_upgrade(tx));
	T_TRUE(is(tx, 1, 1) && is(tx, 2, 2));
	T_OK(twzdb_put(tx, table, et_key(3), value_of(3), 0));
	T_OK(twzdb_downgrade(tx));
	T_TRUE(is(tx, 1, 1) && is(tx, 2, 2) && is(tx, 3, 0));
	T_OK(twzdb_upgrade(tx));
	T_OK(twzdb_put(tx, table, et_key(3), value_of(3), 0));
	T_OK(twzdb_commit_keep(tx));
	T_TRUE(is(tx, 2, 2) && is(tx, 3, 3));
	twzdb_abort(tx);
	T_REQ(twzdb_begin(db, TWZDB_LAZY, &tx));
	T_OK(twzdb_put(tx, table, et_key(4), value_of(4), 0));
	T_OK(twzdb_commit_next(tx));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &other));
	T_TRUE(is(other, 4, 4) && is(tx, 4, 4));
	twzdb_abort(other);
	T_OK(twzdb_put(tx, table, et_key(5), value_of(5), 0));
	T_OK(twzdb_commit_keep(tx));
	T_TRUE(is(tx, 4, 4) && is(tx, 5, 5));
	T_OK(twzdb_commit(tx));
	/* A table is not for staging: such a commit is durable. */
	T_REQ(twzdb_begin(db, TWZDB_LAZY, &tx));
	T_OK(twzdb_table_open(tx, "more", TWZDB_TABLE_CREATE, &table));
	T_OK(twzdb_put(tx, table, et_key(1), value_of(1), 0));
	T_OK(twzdb_commit(tx));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_TRUE(is(tx, 1, 1));
	twzdb_abort(tx);
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

/* --- processes --- */

static struct {
	_Atomic uint32_t put, got;
} * shared;

/* Commits lazily, and dies when told, without closing. */
static int committer(void *arg)
{
	struct twzdb_txn *tx;

	if (et_open(arg, &db) || twzdb_begin(db, TWZDB_RDONLY, &tx) ||
	    twzdb_table_open(tx, "t", 0, &table))
		return 1;
	twzdb_abort(tx);
	for (uint32_t i = 1; i <= 300; i++) {
		if (put_one(TWZDB_LAZY, i % 50, i))
			return 2;
		shared->put = i;
		while (i < 300 && shared->got != i)
			;
	}
	return kill(getpid(), SIGKILL);
}

static void other_processes_see_it_and_keep_it(void)
{
	char *path;
	struct twzdb_txn *tx;
	int status = 0;
	pid_t pid;

	if (!open_new(ET_PAGE, "procs.twz"))
		return;
	path = (char *)(uintptr_t)et_path(ET_PAGE, "procs.twz");
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	T_TRUE(shared != MAP_FAILED);
	fflush(NULL);
	pid = fork();
	if (!pid)
		_exit(committer(path));
	for (uint32_t i = 1; i <= 300; i++) {
		for (int ms = 0; shared->put != i && ms < 5000; ms++)
			nap_ms(shared->put == i ? 0 : 1);
		if (!T_EQ(shared->put, i))
			break;
		T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
		T_TRUE(is(tx, i % 50, i));
		twzdb_abort(tx);
		shared->got = i;
	}
	T_EQ(waitpid(pid, &status, 0), pid);
	T_TRUE(WIFSIGNALED(status));
	T_OK(twzdb_sync(db));
	T_OK(twzdb_close(db));
	T_REQ(et_open(path, &db));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_OK(twzdb_table_open(tx, "t", 0, &table));
	for (uint32_t i = 251; i <= 300; i++)
		T_TRUE(is(tx, i % 50, i));
	twzdb_abort(tx);
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
	munmap(shared, 4096);
}

/* Commits lazily, without a helper of its own, and is stopped with what every writer of the log needs. */
static int commit_and_be_stopped(const char *path)
{
	setenv("TWZDB_HELPER", "0", 1);
	if (et_open(path, &db) || put_one(TWZDB_LAZY, 1, 1) || twz__log_stage_lock(db->log))
		return 1;
	raise(SIGSTOP);
	pthread_mutex_unlock(&db->log->stage->mutex);
	pause();
	return 0;
}

/* What the helper could not write, because a process is stopped, it writes when that goes on, without being asked again. */
static void the_helper_comes_back(void)
{
	uint64_t applied = 0, submitted = 1;
	const char *path = et_path(ET_PAGE, "back.twz");
	int status;
	pid_t pid;

	if (!open_new(ET_PAGE, "back.twz"))
		return;
	twz__wait_ms = 100;
	fflush(NULL);
	pid = fork();
	if (!pid)
		_exit(commit_and_be_stopped(path));
	T_EQ(waitpid(pid, &status, WUNTRACED), pid);
	T_TRUE(WIFSTOPPED(status));
	T_TRUE(twzdb__helper_ask(db, HELP_LAZY));
	nap_ms(500); /* it has given up by now */
	twz_log_pending(db->log, &applied, &submitted);
	T_TRUE(applied < submitted);
	kill(pid, SIGCONT);
	for (int i = 0; i < 500 && applied < submitted; i++) {
		nap_ms(10);
		twz_log_pending(db->log, &applied, &submitted);
	}
	T_EQ(applied, submitted);
	twz__wait_ms = 10000;
	kill(pid, SIGKILL);
	T_EQ(waitpid(pid, &status, 0), pid);
	T_OK(twzdb_close(db));
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(others_see_it_before_it_is_durable),
		T_CASE(it_is_durable_soon),
		T_CASE(order_is_kept_and_close_waits),
		T_CASE(full_means_wait),
		T_CASE(readers_keep_what_they_saw_page),
		T_CASE(readers_keep_what_they_saw_line),
		T_CASE(reset_forgets_nothing_it_saw),
		T_CASE(downgrade_goes_back_to_nothing_older),
		T_CASE(readers_become_writers_and_back),
		T_CASE(other_processes_see_it_and_keep_it),
		T_CASE(the_helper_comes_back),
		T_END,
	};

	return t_main("engine_lazy", cases, argc, argv);
}
