/* SPDX-License-Identifier: MIT
 * test_engine_load.c -- many rows put by one call, beside the same rows put one by one
 */
#include "../../engine/src/internal.h"
#include "engine_t.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define BATCH 300

/* A row by number: few keys, so that they repeat; long common beginnings, so that heads tie. */
struct row {
	char key[48];
	struct twzdb_slice k, v;
};

static void row_make(struct row *r, unsigned shape)
{
	uint64_t i = t_rand_below(2000);
	int n;

	if (shape == 0)
		n = snprintf(r->key, sizeof(r->key), "%06" PRIu64, i * 499979 % 1000000);
	else if (shape == 1)
		n = snprintf(r->key, sizeof(r->key), "one/beginning/of/all/keys/%" PRIu64, i);
	else
		n = snprintf(r->key, sizeof(r->key), "%.*s", (int)(i % 23),
			     "aaaaaaaaaaaaaaaaaaaaaaaaaa");
	r->k = (struct twzdb_slice){r->key, (size_t)n};
	if (shape == 2 && n) /* a byte of 0, or of 255, somewhere */
		r->key[i / 23 % (unsigned)n] = (char)(i & 1 ? 0 : 255);
}

static bool same_rows(struct twzdb_txn *tx, struct twzdb_table a, struct twzdb_table b)
{
	struct twzdb_cursor *x, *y;
	struct twzdb_slice kx, vx, ky, vy;
	int ex = 0, ey = 0;
	bool same = true;

	T_OK(twzdb_cursor_open(tx, a, &x));
	T_OK(twzdb_cursor_open(tx, b, &y));
	while (same && !ex) {
		ex = twzdb_cursor_get(x, TWZDB_NEXT, &kx, &vx);
		ey = twzdb_cursor_get(y, TWZDB_NEXT, &ky, &vy);
		same = ex == ey && (ex || (et_same(kx, ky) && et_same(vx, vy)));
	}
	twzdb_cursor_close(x);
	twzdb_cursor_close(y);
	return same && ex == TWZDB_E_NOTFOUND;
}

/* The same rows by both ways, FLAGS the same: the same result, and the same row stops it. */
static bool batch_same(struct twzdb_txn *tx, struct twzdb_table one, struct twzdb_table many,
		       unsigned shape, uint32_t flags)
{
	static struct row rows[BATCH];
	struct twzdb_slice keys[BATCH], values[BATCH];
	char text[BATCH][24];
	size_t cnt = 1 + t_rand_below(BATCH), done = 77, n;
	int err = 0, ret;

	for (size_t i = 0; i < cnt; i++) {
		row_make(&rows[i], shape);
		keys[i] = rows[i].k;
		snprintf(text[i], sizeof(text[i]), "%zu", i);
		values[i] = et_str(text[i]);
	}
	for (n = 0; n < cnt && !err; n++)
		err = twzdb_put(tx, one, keys[n], values[n], flags);
	n -= err != 0;
	ret = twzdb_put_many(tx, many, cnt, keys, values, flags, &done);
	if (ret == err && done == n)
		return true;
	fprintf(stderr, "one by one %d at %zu, at once %d at %zu\n", err, n, ret, done);
	return false;
}

static void rows_at_once_are_as_rows_one_by_one(void)
{
	static const uint32_t flags[] = {0, 0, 0, TWZDB_INSERT, TWZDB_UPDATE, TWZDB_APPEND};
	struct twzdb_table one, many;
	struct twzdb_txn *tx;
	uint32_t point;
	struct twzdb *db;

	T_REQ(et_open(et_path(ET_LINE, "load.twz"), &db));
	for (int round = 0; round < 90; round++) {
		unsigned shape = (unsigned)round % 3;
		char name[2][8];
		bool nested = t_rand_below(3) == 0, keep = t_rand_below(3) != 0;

		snprintf(name[0], sizeof(name[0]), "one%u", shape);
		snprintf(name[1], sizeof(name[1]), "many%u", shape);
		T_REQ(twzdb_begin(db, 0, &tx));
		T_REQ(twzdb_table_open(tx, name[0], TWZDB_TABLE_CREATE, &one));
		T_REQ(twzdb_table_open(tx, name[1], TWZDB_TABLE_CREATE, &many));
		T_TRUE(batch_same(tx, one, many, shape, 0));
		if (nested)
			T_REQ(twzdb_savepoint(tx, &point));
		T_TRUE(batch_same(tx, one, many, shape, flags[t_rand_below(6)]));
		if (nested)
			T_OK(keep ? twzdb_release(tx, point) : twzdb_rollback_to(tx, point));
		T_TRUE(batch_same(tx, one, many, shape, flags[t_rand_below(6)]));
		T_TRUE(same_rows(tx, one, many));
		T_REQ(twzdb_commit(tx));
	}
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

/* Rows that go up, from *NEXT on, but for one in FALL: of all lengths, alike for a while. */
static size_t rising(struct twzdb_slice *keys, struct twzdb_slice *values, uint64_t *next,
		     unsigned fall)
{
	static char text[BATCH][3000];
	size_t cnt = 1 + t_rand_below(BATCH), vlen = t_rand_below(300);

	for (size_t i = 0; i < cnt; i++) {
		bool back = fall && !t_rand_below(fall);
		int n;

		*next += 1 + t_rand_below(t_rand_below(2) ? 2 : 90000);
		n = snprintf(text[i], sizeof(text[i]), "%s%012" PRIu64 "%.*s",
			     *next % 5000 < 900 ? "" : "long beginning of a key/",
			     back ? *next / 2 : *next, (int)(*next % 17), "................");
		if (!t_rand_below(60)) /* a long key */
			memset(text[i] + n, 'l', 1200), n += 1200;
		keys[i] = (struct twzdb_slice){text[i], (size_t)n};
		vlen = t_rand_below(12) ? vlen : t_rand_below(2500);
		values[i] = (struct twzdb_slice){text[i % 7], vlen};
	}
	return cnt;
}

static bool rising_same(struct twzdb_txn *tx, struct twzdb_table one, struct twzdb_table many,
			uint64_t *next)
{
	static const uint32_t flags[] = {0, TWZDB_INSERT, TWZDB_APPEND};
	struct twzdb_slice keys[BATCH], values[BATCH];
	uint32_t how = flags[t_rand_below(3)];
	size_t cnt = rising(keys, values, next, t_rand_below(3) ? 0 : 40), done = 77, n;
	int err = 0, ret;

	for (n = 0; n < cnt && !err; n++)
		err = twzdb_put(tx, one, keys[n], values[n], how);
	n -= err != 0;
	ret = twzdb_put_many(tx, many, cnt, keys, values, how, &done);
	if (ret == err && done == n)
		return true;
	fprintf(stderr, "one by one %d at %zu, at once %d at %zu\n", err, n, ret, done);
	return false;
}

/* Runs of rows in order, interrupted by all that makes one row's way another than the last one's. */
static void rows_in_order(enum et_media m)
{
	uint64_t next = 1000000000, deleted = 0;
	struct twzdb_table one, many;
	struct twzdb_txn *tx;
	uint32_t point;
	struct twzdb *db;

	T_REQ(et_open(et_path(m, "rising.twz"), &db));
	for (int round = 0; round < 60; round++) {
		bool nested = !t_rand_below(4), keep = t_rand_below(2), commit = t_rand_below(5);

		T_REQ(twzdb_begin(db, 0, &tx));
		T_REQ(twzdb_table_open(tx, "one", TWZDB_TABLE_CREATE, &one));
		T_REQ(twzdb_table_open(tx, "many", TWZDB_TABLE_CREATE, &many));
		T_TRUE(rising_same(tx, one, many, &next));
		if (nested)
			T_REQ(twzdb_savepoint(tx, &point));
		T_TRUE(rising_same(tx, one, many, &next));
		if (nested)
			T_OK(keep ? twzdb_release(tx, point) : twzdb_rollback_to(tx, point));
		T_TRUE(rising_same(tx, one, many, &next));
		if (!t_rand_below(6)) { /* tombstones at the end, and then rows behind them */
			T_OK(twzdb_del_range(tx, one, et_str("long"), et_str("m"), &deleted));
			T_OK(twzdb_del_range(tx, many, et_str("long"), et_str("m"), &deleted));
			T_TRUE(rising_same(tx, one, many, &next));
		}
		T_TRUE(same_rows(tx, one, many));
		if (commit)
			T_REQ(twzdb_commit(tx));
		else
			twzdb_abort(tx);
		T_TRUE(et_clean(db));
	}
	T_OK(twzdb_close(db));
}

static void rows_in_order_line(void)
{
	rows_in_order(ET_LINE);
}

static void rows_in_order_page(void)
{
	rows_in_order(ET_PAGE);
}

#define LOAD_ROWS                                                                                  \
	200 /* of a commit; of 500 bytes, so that the object grows every few milliseconds */

static int load(struct twzdb *db, uint64_t from)
{
	static uint64_t num[LOAD_ROWS];
	struct twzdb_slice keys[LOAD_ROWS], values[LOAD_ROWS], v = et_val(from, 500);
	struct twzdb_table t;
	struct twzdb_txn *tx;
	int err = twzdb_begin(db, 0, &tx);

	if (err)
		return err;
	for (uint64_t i = 0; i < LOAD_ROWS; i++) {
		num[i] = __builtin_bswap64(from + i);
		keys[i] = (struct twzdb_slice){&num[i], sizeof(num[i])};
		values[i] = v;
	}
	err = twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &t);
	if (!err)
		err = twzdb_put_many(tx, t, LOAD_ROWS, keys, values, TWZDB_APPEND, NULL);
	if (!err)
		return twzdb_commit(tx);
	twzdb_abort(tx);
	return err;
}

struct loading {
	_Atomic uint64_t rows, ahead; /* and how far the helper has made a data object longer */
};

static uint64_t made_ahead(struct twzdb *db)
{
	return ld64(&db->map[TWZDB_NO_DATA].warm);
}

static void load_until_killed(const char *path, uint64_t from, struct loading *seen)
{
	struct twzdb *db;

	if (et_open(path, &db))
		_exit(1);
	for (;; from += LOAD_ROWS) {
		if (load(db, from))
			_exit(1);
		seen->rows = from + LOAD_ROWS;
		seen->ahead = made_ahead(db);
	}
}

/* Rows in the table, which are numbered from 0 on without gaps. */
static uint64_t loaded(struct twzdb *db)
{
	struct twzdb_table t;
	struct twzdb_slice v;
	struct twzdb_txn *tx;
	uint64_t cnt = 0;

	T_OK(twzdb_begin(db, TWZDB_RDONLY, &tx));
	if (!twzdb_table_open(tx, "t", 0, &t)) {
		T_OK(twzdb_count(tx, t, &cnt));
		for (uint64_t i = 0; i < cnt; i += LOAD_ROWS / 4)
			T_TRUE(!twzdb_get(tx, t, et_key(i), &v) &&
			       et_same(v, et_val(i - i % LOAD_ROWS, 500)));
	}
	twzdb_abort(tx);
	return cnt;
}

/* Killed while it loads, and while its helper lets the database grow. */
static void a_load_that_dies(enum et_media m)
{
	const char *path = et_path(m, "dies.twz");
	struct loading *seen =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t cnt = 0, was, helped = 0;
	struct twzdb *db;

	for (int round = 0; round < 5; round++) {
		uint64_t stop = cnt + (20 + t_rand_below(60)) * LOAD_ROWS;
		pid_t pid, over = 0;

		fflush(NULL);
		seen->rows = cnt;
		seen->ahead = 0;
		pid = fork();
		if (!pid)
			load_until_killed(path, cnt, seen);
		for (int i = 0; i < 20000 && seen->rows < stop && !over; i++, usleep(1000))
			over = waitpid(pid, NULL, WNOHANG);
		T_TRUE(seen->rows >= stop);
		usleep((useconds_t)t_rand_below(3000));
		if (!over) {
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
		}
		was = seen->rows;
		helped += seen->ahead != 0;
		T_REQ(et_open(path, &db));
		cnt = loaded(db);
		T_TRUE(cnt % LOAD_ROWS == 0 && cnt >= was);
		T_TRUE(et_clean(db));
		T_OK(twzdb_close(db));
	}
	T_TRUE(helped > 0); /* from 4 MiB on */
	munmap(seen, 4096);
}

static void a_load_that_dies_line(void)
{
	a_load_that_dies(ET_LINE);
}

static void a_load_that_dies_page(void)
{
	a_load_that_dies(ET_PAGE);
}

/* Wrong arguments are found before anything is put; what is found on the way leaves the rows before it. */
static void errors_say_how_far_it_came(void)
{
	static char zeros[8]; /* its length is refused before it is read */
	struct twzdb_slice keys[3] = {et_str("a"), {zeros, (size_t)TWZDB_KEY_MAX + 1}, et_str("c")};
	struct twzdb_slice values[3] = {et_str("1"), et_str("2"), et_str("3")}, v;
	struct twzdb_table t;
	struct twzdb_txn *tx;
	struct twzdb *db;
	size_t done = 5;

	T_REQ(et_open(et_path(ET_LINE, "errors.twz"), &db));
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &t));
	T_ERR(twzdb_put_many(tx, t, 3, keys, values, 0, &done), TWZDB_E_TOOBIG);
	T_EQ(done, 0);
	T_ERR(twzdb_get(tx, t, keys[0], &v), TWZDB_E_NOTFOUND);
	keys[1] = keys[0];
	T_ERR(twzdb_put_many(tx, t, 3, keys, values, TWZDB_NODUP, &done), TWZDB_E_KIND);
	T_ERR(twzdb_put_many(tx, t, 3, keys, NULL, 0, &done), TWZDB_E_INVAL);
	T_ERR(twzdb_put_many(tx, t, 3, keys, values, TWZDB_INSERT, &done), TWZDB_E_EXIST);
	T_EQ(done, 1);
	T_OK(twzdb_get(tx, t, keys[0], &v));
	T_TRUE(et_same(v, values[0]));
	T_ERR(twzdb_get(tx, t, keys[2], &v), TWZDB_E_NOTFOUND);
	T_OK(twzdb_put_many(tx, t, 0, NULL, NULL, 0, NULL));
	T_OK(twzdb_put_many(tx, t, 3, keys, values, 0, NULL));
	T_OK(twzdb_get(tx, t, keys[0], &v));
	T_TRUE(et_same(v, values[1]));
	T_REQ(twzdb_commit(tx));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_ERR(twzdb_put_many(tx, t, 3, keys, values, 0, &done), TWZDB_E_READONLY);
	twzdb_abort(tx);
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

static void tables_of_numbers_and_duplicates_take_many(void)
{
	struct twzdb_slice keys[40], values[40];
	struct twzdb_table n, d;
	struct twzdb_txn *tx;
	uint64_t num[40], cnt;
	struct twzdb *db;
	size_t done;

	for (int i = 0; i < 40; i++) {
		num[i] = (uint64_t)i * 7 % 40;
		keys[i] = (struct twzdb_slice){&num[i], 8};
		values[i] = et_str(i % 2 ? "odd" : "even");
	}
	T_REQ(et_open(et_path(ET_LINE, "kinds.twz"), &db));
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_table_open(tx, "n", TWZDB_TABLE_CREATE | TWZDB_TABLE_INTKEY, &n));
	T_REQ(twzdb_table_open(tx, "d", TWZDB_TABLE_CREATE | TWZDB_TABLE_DUPSORT, &d));
	T_OK(twzdb_put_many(tx, n, 40, keys, values, TWZDB_INSERT, &done));
	T_EQ(done, 40);
	for (int i = 0; i < 40; i++)
		keys[i] = et_str(i % 4 ? "most" : "few");
	for (int i = 0; i < 40; i++)
		values[i] = (struct twzdb_slice){&num[i], 8};
	values[39] = values[38];
	keys[39] = keys[38];
	T_ERR(twzdb_put_many(tx, d, 40, keys, values, TWZDB_NODUP, &done), TWZDB_E_EXIST);
	T_EQ(done, 39);
	T_OK(twzdb_count(tx, d, &cnt));
	T_EQ(cnt, 39);
	T_OK(twzdb_count(tx, n, &cnt));
	T_EQ(cnt, 40);
	T_REQ(twzdb_commit(tx));
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(rows_at_once_are_as_rows_one_by_one),
		T_CASE(rows_in_order_line),
		T_CASE(rows_in_order_page),
		T_CASE(a_load_that_dies_line),
		T_CASE(a_load_that_dies_page),
		T_CASE(errors_say_how_far_it_came),
		T_CASE(tables_of_numbers_and_duplicates_take_many),
		T_END,
	};

	return t_main("engine_load", cases, argc, argv);
}
