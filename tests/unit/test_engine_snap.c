/* SPDX-License-Identifier: MIT
 * test_engine_snap.c -- snapshot isolation between threads and between processes, while the tree is rebuilt underneath
 *
 * Version V of the table is a pure function of V: rows V .. V + WIDTH - 1, each with a value
 * made of V. A transaction goes from V to V + STEP: rows at the left go, rows at the right come,
 * all others change. So every snapshot can be told from every mixture of two.
 */
#include "engine_t.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>

#define WIDTH	500
#define READERS 3

static const char *path;
static atomic_bool stop;

static uint64_t version_of(uint64_t ts)
{
	return ts; /* commit 1 made version 1, and each commit the next */
}

static struct twzdb_slice row_val(uint64_t v, uint64_t i)
{
	return et_val(v * 1000003 + i, 8 + (v + i) % 90);
}

static int write_version(struct twzdb *db)
{
	struct twzdb_table t;
	struct twzdb_txn *tx;
	int err = twzdb_begin(db, 0, &tx);
	uint64_t v;

	if (err)
		return err;
	v = version_of(twzdb_txn_ts(tx) + 1);
	err = twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &t);
	if (!err && v > 1)
		err = twzdb_del(tx, t, et_key(v - 1));
	for (uint64_t i = v; !err && i < v + WIDTH; i++)
		err = twzdb_put(tx, t, et_key(i), row_val(v, i), 0);
	if (err) {
		twzdb_abort(tx);
		return err;
	}
	return twzdb_commit(tx);
}

static int bad(const char *what, struct twzdb_txn *tx, uint64_t i)
{
	fprintf(stderr, "snapshot %" PRIu64 ": %s at row %" PRIu64 ": %s\n", twzdb_txn_ts(tx), what,
		i, twzdb_errmsg());
	return -1;
}

static int scan(struct twzdb_txn *tx, struct twzdb_table t, bool back)
{
	uint64_t v = version_of(twzdb_txn_ts(tx));
	struct twzdb_cursor *c;
	struct twzdb_slice k, val;
	int err = twzdb_cursor_open(tx, t, &c);

	if (err)
		return err;
	err = twzdb_cursor_get(c, back ? TWZDB_LAST : TWZDB_FIRST, &k, &val);
	for (uint64_t n = 0; n < WIDTH; n++) {
		uint64_t i = back ? v + WIDTH - 1 - n : v + n;

		if (err || et_num(k) != i || !et_same(val, row_val(v, i))) {
			twzdb_cursor_close(c);
			return bad(back ? "backward scan" : "scan", tx, i);
		}
		err = twzdb_cursor_get(c, back ? TWZDB_PREV : TWZDB_NEXT, &k, &val);
	}
	twzdb_cursor_close(c);
	return err == TWZDB_E_NOTFOUND ? 0 : bad("end of scan", tx, 0);
}

static int gets(struct twzdb_txn *tx, struct twzdb_table t, unsigned *rng)
{
	uint64_t v = version_of(twzdb_txn_ts(tx));

	for (int n = 0; n < 100; n++) {
		uint64_t i = v + (uint64_t)rand_r(rng) % (2 * WIDTH) - WIDTH / 2;
		bool there = i >= v && i < v + WIDTH;
		struct twzdb_slice val;
		int err = twzdb_get(tx, t, et_key(i), &val);

		if (err != (there ? 0 : TWZDB_E_NOTFOUND) ||
		    (there && !et_same(val, row_val(v, i))))
			return bad("get", tx, i);
	}
	return 0;
}

static int verify(struct twzdb_txn *tx, unsigned *rng)
{
	struct twzdb_table t;
	uint64_t cnt;
	int err = twzdb_table_open(tx, "t", 0, &t);

	if (!err)
		err = gets(tx, t, rng);
	if (!err)
		err = scan(tx, t, rand_r(rng) & 1);
	if (!err)
		err = twzdb_count(tx, t, &cnt);
	return err || cnt == WIDTH ? err : bad("count", tx, cnt);
}

/* Keep a snapshot for a while, look at it again and again, then a newer one. */
static int read_some(struct twzdb *db, unsigned *rng)
{
	struct twzdb_txn *tx;
	int err = twzdb_begin(db, TWZDB_RDONLY, &tx);

	for (int hold = rand_r(rng) % 8; !err && hold >= 0; hold--) {
		err = verify(tx, rng);
		if (!err && rand_r(rng) % 4 == 0)
			err = twzdb_renew(tx);
	}
	if (err)
		fprintf(stderr, "reader: %s: %s\n", twzdb_err_name(err), twzdb_errmsg());
	twzdb_abort(tx);
	return err;
}

static void *reader(void *arg)
{
	unsigned rng = (unsigned)(uintptr_t)arg;
	struct twzdb *db;
	int err = et_open(path, &db);

	while (!err && !stop)
		err = read_some(db, &rng);
	et_thread_end();
	return (void *)(intptr_t)(err ? err : twzdb_close(db));
}

static int reader_process(unsigned seed, double secs)
{
	struct timespec a, b;
	unsigned rng = seed;
	struct twzdb *db;
	int err = et_open(path, &db);

	clock_gettime(CLOCK_MONOTONIC, &a);
	do {
		if (!err)
			err = read_some(db, &rng);
		clock_gettime(CLOCK_MONOTONIC, &b);
	} while (!err &&
		 (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9 < secs);
	if (!err)
		err = twzdb_close(db);
	return err ? 1 : 0;
}

static uint64_t merges(struct twzdb *db)
{
	struct twzdb_stats st = {.size = sizeof(st)};

	T_OK(twzdb_stats(db, &st));
	return st.merges;
}

/* For a while, and on a slow or busy machine until nodes have been merged. */
static void write_for(struct twzdb *db, double secs)
{
	struct timespec a, b;
	int cnt = 0;

	clock_gettime(CLOCK_MONOTONIC, &a);
	do {
		T_REQ(write_version(db));
		clock_gettime(CLOCK_MONOTONIC, &b);
		cnt++;
	} while ((double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9 < secs ||
		 (cnt < 1000 && !merges(db)));
}

static void report(struct twzdb *db)
{
	struct twzdb_stats st = {.size = sizeof(st)};

	T_TRUE(et_clean(db));
	T_OK(twzdb_stats(db, &st));
	printf(" %" PRIu64 " commits %" PRIu64 " splits %" PRIu64 " merges %" PRIu64
	       " retries, %" PRIu64 " KiB ",
	       st.commits, st.splits, st.merges, st.reader_retries, st.data_len >> 10);
	T_TRUE(st.splits > 0 && st.merges > 0);
}

static void threads(enum et_media m)
{
	pthread_t th[READERS];
	struct twzdb *db;

	path = et_path(m, "threads.twz");
	stop = false;
	T_REQ(et_open(path, &db));
	T_REQ(write_version(db));
	for (uintptr_t i = 0; i < READERS; i++)
		pthread_create(&th[i], NULL, reader, (void *)(i + t_rand_below(1000000)));
	write_for(db, 0.8);
	stop = true;
	for (int i = 0; i < READERS; i++) {
		void *ret;

		pthread_join(th[i], &ret);
		T_EQ((intptr_t)ret, 0);
	}
	report(db);
	T_OK(twzdb_close(db));
}

static void processes(enum et_media m)
{
	pid_t pid[READERS];
	struct twzdb *db;
	int status;

	path = et_path(m, "processes.twz");
	T_REQ(et_open(path, &db));
	T_REQ(write_version(db));
	fflush(NULL);
	for (int i = 0; i < READERS; i++) {
		unsigned seed = (unsigned)t_rand();

		pid[i] = fork();
		if (!pid[i])
			_exit(reader_process(seed, 0.7));
	}
	write_for(db, 0.8);
	for (int i = 0; i < READERS; i++) {
		waitpid(pid[i], &status, 0);
		T_EQ(status, 0);
	}
	report(db);
	T_OK(twzdb_close(db));
}

static void threads_see_one_commit_on_page_media(void)
{
	threads(ET_PAGE);
}

static void threads_see_one_commit_on_cache_line_media(void)
{
	threads(ET_LINE);
}

static void processes_see_one_commit_on_page_media(void)
{
	processes(ET_PAGE);
}

static void processes_see_one_commit_on_cache_line_media(void)
{
	processes(ET_LINE);
}

/* --- what readers pin, and for how long --- */

static uint64_t data_len(struct twzdb *db)
{
	struct twzdb_stats st = {.size = sizeof(st)};

	T_OK(twzdb_stats(db, &st));
	return st.data_len;
}

static void churn(struct twzdb *db, int commits)
{
	while (commits-- && !T_OK(write_version(db)))
		;
}

static void space_is_reused_without_readers(void)
{
	struct twzdb *db;
	uint64_t len;

	T_REQ(et_open(et_path(ET_LINE, "reuse.twz"), &db));
	churn(db, 50);
	len = data_len(db);
	churn(db, 400);
	T_EQ(data_len(db), len);
	T_OK(twzdb_close(db));
}

static int die_reading(void *arg)
{
	struct twzdb *db;
	struct twzdb_txn *tx;

	(void)arg;
	if (et_open(path, &db) || twzdb_begin(db, TWZDB_RDONLY, &tx))
		return 1;
	_exit(7); /* no abort, no close */
}

static void a_dead_reader_pins_nothing(void)
{
	struct twzdb_stats st = {.size = sizeof(st)};
	struct twzdb *db;
	uint64_t len;

	path = et_path(ET_LINE, "dead.twz");
	T_REQ(et_open(path, &db));
	churn(db, 50);
	T_EQ(WEXITSTATUS(t_fork(die_reading, NULL)), 7);
	churn(db, 5);
	len = data_len(db);
	churn(db, 400);
	T_EQ(data_len(db), len);
	T_OK(twzdb_stats(db, &st));
	T_EQ(st.readers, 0);
	T_OK(twzdb_close(db));
}

static void a_live_reader_keeps_its_version_for_ever(void)
{
	struct twzdb *db;
	struct twzdb_txn *tx;
	unsigned rng = 1;

	T_REQ(et_open(et_path(ET_LINE, "keep.twz"), &db));
	churn(db, 20);
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	for (int i = 0; i < 20; i++) {
		churn(db, 20);
		T_EQ(verify(tx, &rng), 0);
	}
	twzdb_abort(tx);
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(threads_see_one_commit_on_page_media),
		T_CASE(threads_see_one_commit_on_cache_line_media),
		T_CASE(processes_see_one_commit_on_page_media),
		T_CASE(processes_see_one_commit_on_cache_line_media),
		T_CASE(space_is_reused_without_readers),
		T_CASE(a_dead_reader_pins_nothing),
		T_CASE(a_live_reader_keeps_its_version_for_ever),
		T_END,
	};

	return t_main("engine_snap", cases, argc, argv);
}
