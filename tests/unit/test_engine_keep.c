/* SPDX-License-Identifier: MIT
 * test_engine_keep.c -- commits on page media that go on as readers, while others commit (D12); blocks of the log before their first lap
 *
 * The medium is held: a write to it waits until the test lets it go. So what others can do meanwhile is seen.
 */
#include "../../engine/src/internal.h"
#include "engine_t.h"

#include <linux/magic.h>
#include <pthread.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <time.h>

#define THREADS 4
#define ROUNDS	150

static struct twzdb *db;
static struct twzdb_table table;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static bool hold, held;
static int fail;	/* errno of the write that was held */
static uint64_t filled; /* bytes of writes of whole pages of zeros: no batch is that */
static bool fill_fails;

ssize_t __real_pwritev2(int fd, const struct iovec *iov, int cnt, off_t off, int flags);
ssize_t __wrap_pwritev2(int fd, const struct iovec *iov, int cnt, off_t off, int flags);

static bool zeros(const struct iovec *iov, int cnt, uint64_t *len)
{
	*len = 0;
	for (int i = 0; i < cnt; i++) {
		const uint8_t *p = iov[i].iov_base;

		if (iov[i].iov_len && (p[0] || memcmp(p, p + 1, iov[i].iov_len - 1)))
			return false;
		*len += iov[i].iov_len;
	}
	return *len && *len % TWZ_PAGE_SIZE == 0;
}

ssize_t __wrap_pwritev2(int fd, const struct iovec *iov, int cnt, off_t off, int flags)
{
	uint64_t len;
	int err;

	if (zeros(iov, cnt, &len)) {
		filled += len;
		if (fill_fails) {
			errno = EIO;
			return -1;
		}
	}
	pthread_mutex_lock(&mutex);
	held |= hold;
	pthread_cond_broadcast(&cond);
	while (hold)
		pthread_cond_wait(&cond, &mutex);
	err = fail;
	pthread_mutex_unlock(&mutex);
	if (!err)
		return __real_pwritev2(fd, iov, cnt, off, flags);
	errno = err;
	return -1;
}

static void medium_hold(void)
{
	pthread_mutex_lock(&mutex);
	hold = true;
	held = false;
	pthread_mutex_unlock(&mutex);
}

static void medium_wait(void)
{
	pthread_mutex_lock(&mutex);
	while (!held)
		pthread_cond_wait(&cond, &mutex);
	pthread_mutex_unlock(&mutex);
}

static void medium_let_go(int err)
{
	pthread_mutex_lock(&mutex);
	hold = false;
	fail = err;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&mutex);
}

static bool open_new(enum et_media m, const char *name)
{
	struct twzdb_txn *tx;

	if (T_OK(et_open(et_path(m, name), &db)) || T_OK(twzdb_begin(db, 0, &tx)))
		return false;
	T_OK(twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &table));
	/* Apart: the first commit that is staged has the log filled ahead, with the lock in hand. */
	if (T_OK(twzdb_commit(tx)) || T_OK(twzdb_begin(db, 0, &tx)))
		return false;
	for (uint64_t i = 0; i < 4; i++)
		T_OK(twzdb_put(tx, table, et_key(i), et_val(0, 20), 0));
	return !T_OK(twzdb_commit(tx));
}

static bool is(struct twzdb_txn *tx, uint64_t key, uint64_t val)
{
	struct twzdb_slice v;

	return !T_OK(twzdb_get(tx, table, et_key(key), &v)) && et_same(v, et_val(val, 20));
}

struct keeper {
	struct twzdb_txn *tx;
	bool change;
	int err;
};

/* Key 1 gets value 1; or nothing is changed. */
static void *keep(void *arg)
{
	struct keeper *k = arg;

	k->err = twzdb_begin(db, 0, &k->tx);
	if (!k->err && k->change)
		k->err = twzdb_put(k->tx, table, et_key(1), et_val(1, 20), 0);
	if (!k->err)
		k->err = twzdb_commit_keep(k->tx);
	et_thread_end();
	return NULL;
}

/* As the next writer, who sees the commit on its way: key 1 has value SEEN. */
static void put_lazily(uint64_t seen, uint64_t key, uint64_t val)
{
	struct twzdb_txn *tx;

	T_REQ(twzdb_begin_timed(db, TWZDB_LAZY, 5000, &tx));
	T_TRUE(is(tx, 1, seen));
	T_OK(twzdb_put(tx, table, et_key(key), et_val(val, 20), 0));
	T_OK(twzdb_commit(tx));
}

static void others_write_while_it_waits(void)
{
	struct keeper k = {.change = true};
	struct twzdb_txn *tx;
	pthread_t thread;

	if (!open_new(ET_PAGE, "keep.twz"))
		return;
	medium_hold();
	T_EQ(pthread_create(&thread, NULL, keep, &k), 0);
	medium_wait();
	put_lazily(1, 1, 2);
	put_lazily(2, 2, 2);
	medium_let_go(0);
	pthread_join(thread, NULL);
	T_REQ(k.err);
	/* Its own commit, not theirs, from when on they count as well. */
	T_OK(twzdb_sync(db));
	T_TRUE(!twzdb_txn_is_writer(k.tx));
	T_EQ(twzdb_txn_ts(k.tx) + 2, twzdb_latest_ts(db));
	T_TRUE(is(k.tx, 1, 1) && is(k.tx, 2, 0));
	T_ERR(twzdb_upgrade(k.tx), TWZDB_E_STALE);
	T_OK(twzdb_renew(k.tx));
	T_TRUE(is(k.tx, 1, 2) && is(k.tx, 2, 2));
	T_OK(twzdb_upgrade(k.tx));
	T_OK(twzdb_commit_keep(k.tx));
	T_OK(twzdb_commit(k.tx));
	T_OK(twzdb_begin(db, 0, &tx)); /* nobody has the lock */
	twzdb_abort(tx);
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

/* It changed nothing, and has seen what is on its way: it waits for that, and is a reader of it. */
static void what_it_saw_is_waited_for(void)
{
	struct keeper k = {.change = false};
	pthread_t thread;

	if (!open_new(ET_PAGE, "saw.twz"))
		return;
	medium_hold();
	{
		struct twzdb_txn *tx;

		T_REQ(twzdb_begin(db, TWZDB_LAZY, &tx));
		T_OK(twzdb_put(tx, table, et_key(1), et_val(1, 20), 0));
		T_OK(twzdb_commit(tx));
	}
	T_EQ(pthread_create(&thread, NULL, keep, &k), 0);
	medium_wait();
	put_lazily(1, 2, 2);
	medium_let_go(0);
	pthread_join(thread, NULL);
	T_REQ(k.err);
	T_OK(twzdb_sync(db));
	T_EQ(twzdb_txn_ts(k.tx) + 1, twzdb_latest_ts(db));
	T_TRUE(is(k.tx, 1, 1) && is(k.tx, 2, 0));
	T_OK(twzdb_commit(k.tx));
	T_OK(twzdb_close(db));
}

/* D17: of those staged together none is told that it is durable, and all go on as readers of what was. */
static void all_of_a_batch_fail(void)
{
	struct keeper k[2] = {{.change = true}, {.change = true}};
	pthread_t thread[2];
	uint64_t submitted = 0, applied, first;

	if (!open_new(ET_PAGE, "fail.twz"))
		return;
	twz_log_pending(db->log, &applied, &first);
	medium_hold();
	for (int i = 0; i < 2; i++)
		T_EQ(pthread_create(&thread[i], NULL, keep, &k[i]), 0);
	medium_wait();
	while (submitted < first + 2) { /* both are staged: the lock went on */
		const struct timespec ts = {0, 1000000};

		nanosleep(&ts, NULL);
		twz_log_pending(db->log, &applied, &submitted);
	}
	medium_let_go(EIO);
	for (int i = 0; i < 2; i++) {
		pthread_join(thread[i], NULL);
		T_EQ(k[i].err, TWZDB_E_IO);
		T_TRUE(!twzdb_txn_is_writer(k[i].tx));
		T_ERR(twzdb_upgrade(k[i].tx), TWZDB_E_IO);
		twzdb_abort(k[i].tx);
	}
	medium_let_go(0);
	(void)!twzdb_close(db);
}

/* Every thread counts in a row of its own and in one of all: after its commit it sees exactly its count of both. */
static void *count(void *arg)
{
	uint64_t me = (uint64_t)(uintptr_t)arg, sum;
	struct twzdb_slice v;
	struct twzdb_txn *tx;

	for (uint64_t n = 1; n <= ROUNDS; n++) {
		if (T_OK(twzdb_begin(db, 0, &tx)) || T_OK(twzdb_get(tx, table, et_key(100), &v)))
			break;
		memcpy(&sum, v.ptr, sizeof(sum));
		sum++;
		T_OK(twzdb_put(tx, table, et_key(100), (struct twzdb_slice){&sum, sizeof(sum)}, 0));
		T_OK(twzdb_put(tx, table, et_key(101 + me), (struct twzdb_slice){&n, sizeof(n)},
			       0));
		T_OK(twzdb_commit_keep(tx));
		T_OK(twzdb_get(tx, table, et_key(100), &v));
		T_TRUE(!memcmp(v.ptr, &sum, sizeof(sum)));
		T_OK(twzdb_get(tx, table, et_key(101 + me), &v));
		T_TRUE(!memcmp(v.ptr, &n, sizeof(n)));
		T_OK(twzdb_commit(tx));
	}
	et_thread_end();
	return NULL;
}

static void each_sees_its_own(enum et_media m)
{
	pthread_t thread[THREADS];
	const uint64_t zero = 0;
	struct twzdb_slice v;
	struct twzdb_txn *tx;
	uint64_t sum = 0;

	if (!open_new(m, "own.twz"))
		return;
	T_REQ(twzdb_begin(db, 0, &tx));
	for (uint64_t i = 0; i <= THREADS; i++)
		T_OK(twzdb_put(tx, table, et_key(100 + i),
			       (struct twzdb_slice){&zero, sizeof(zero)}, 0));
	T_OK(twzdb_commit(tx));
	for (uintptr_t i = 0; i < THREADS; i++)
		T_EQ(pthread_create(&thread[i], NULL, count, (void *)i), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	if (!T_OK(twzdb_get(tx, table, et_key(100), &v)))
		memcpy(&sum, v.ptr, sizeof(sum));
	T_EQ(sum, THREADS * ROUNDS);
	T_OK(twzdb_commit(tx));
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

static void each_sees_its_own_page(void)
{
	each_sees_its_own(ET_PAGE);
}

static void each_sees_its_own_line(void)
{
	each_sees_its_own(ET_LINE);
}

static bool on_a_disk(void)
{
	struct statfs fs;

	return !T_EQ(statfs(t_dir(), &fs), 0) || fs.f_type != TMPFS_MAGIC;
}

static int put_some(uint64_t val)
{
	struct twzdb_txn *tx;
	int err = twzdb_begin(db, 0, &tx);

	if (err)
		return err;
	err = twzdb_put(tx, table, et_key(1), et_val(val, 20), 0);
	if (!err)
		return twzdb_commit(tx);
	twzdb_abort(tx);
	return err;
}

/* All of the ring but what was written before the first commit that is staged; once, though it comes round three times. */
static void the_log_is_filled_before_its_first_lap(void)
{
	struct twz_log_info info;
	uint64_t first;

	filled = 0;
	if (!open_new(ET_PAGE, "fill.twz"))
		return;
	first = filled;
	do {
		T_REQ(put_some(filled));
		T_OK(twz_log_info(db->log, &info));
	} while (info.head < 3 * info.ring_len);
	if (on_a_disk()) {
		T_TRUE(first > 0);
		T_TRUE(filled <= info.ring_len && filled >= info.ring_len / 4 * 3);
	} else {
		T_TRUE(filled == first && filled < info.ring_len / 4);
	}
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
	first = filled;
	T_REQ(et_open(et_path(ET_PAGE, "fill.twz"), &db));
	T_OK(put_some(7));
	T_EQ(filled, first);
	T_OK(twzdb_close(db));
}

/* D17: the medium has failed, and what was to be committed is not there. */
static void a_log_that_cannot_be_filled_fails(void)
{
	struct twzdb_txn *tx;

	if (!on_a_disk() || !open_new(ET_PAGE, "unfilled.twz"))
		return;
	T_OK(twzdb_close(db));
	T_REQ(et_open(et_path(ET_PAGE, "unfilled.twz"),
		      &db)); /* where it is filled is not known any more */
	fill_fails = true;
	T_ERR(put_some(5), TWZDB_E_IO);
	T_ERR(put_some(6), TWZDB_E_IO);
	fill_fails = false;
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_TRUE(is(tx, 1, 0));
	twzdb_abort(tx);
	(void)!twzdb_close(db);
	T_REQ(et_open(et_path(ET_PAGE, "unfilled.twz"), &db));
	T_OK(put_some(7));
	T_OK(twzdb_close(db));
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(others_write_while_it_waits),
		T_CASE(what_it_saw_is_waited_for),
		T_CASE(all_of_a_batch_fail),
		T_CASE(each_sees_its_own_page),
		T_CASE(each_sees_its_own_line),
		T_CASE(the_log_is_filled_before_its_first_lap),
		T_CASE(a_log_that_cannot_be_filled_fails),
		T_END,
	};

	return t_main("engine_keep", cases, argc, argv);
}
