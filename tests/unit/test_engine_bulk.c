/* SPDX-License-Identifier: MIT
 * test_engine_bulk.c -- many keys at once, and counting ranges, beside what single reads and a scan say
 */
#include "engine_t.h"

#include "../../engine/src/internal.h"

#include <pthread.h>
#include <stdatomic.h>

#define ROWS 4000

/* Row I exists in version V? */
static bool is_there(uint64_t v, uint64_t i)
{
	return (i * 2654435761u + v * 40503u) >> 7 & 3;
}

static struct twzdb_slice row_val(uint64_t v, uint64_t i)
{
	return et_val(v * 31 + i, 10 + (i + v) % 90);
}

static int write_version(struct twzdb *db, uint64_t v, uint64_t rows)
{
	struct twzdb_table t;
	struct twzdb_txn *tx;
	int err = twzdb_begin(db, 0, &tx);

	if (!err)
		err = twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &t);
	for (uint64_t i = 0; i < rows && !err; i++) {
		if (is_there(v, i))
			err = twzdb_put(tx, t, et_key(i), row_val(v, i), 0);
		else if (twzdb_del(tx, t, et_key(i)) != TWZDB_E_NOTFOUND)
			err = 0;
	}
	if (err) {
		twzdb_abort(tx);
		return err;
	}
	return twzdb_commit(tx);
}

static bool many_right(struct twzdb_txn *tx, struct twzdb_table t, uint64_t v, size_t cnt)
{
	struct twzdb_slice keys[100] = {{NULL, 0}}, values[100];
	uint64_t nums[100], row[100];
	int results[100];

	for (size_t i = 0; i < cnt; i++) {
		row[i] = t_rand_below(ROWS + ROWS / 4);
		nums[i] = __builtin_bswap64(row[i]);
		keys[i] = (struct twzdb_slice){&nums[i], 8};
	}
	if (T_OK(twzdb_get_many(tx, t, cnt, keys, values, results)))
		return false;
	for (size_t i = 0; i < cnt; i++) {
		bool there = row[i] < ROWS && is_there(v, row[i]);

		if (results[i] != (there ? 0 : TWZDB_E_NOTFOUND) ||
		    (there ? !et_same(values[i], row_val(v, row[i])) : values[i].ptr != NULL)) {
			fprintf(stderr, "row %" PRIu64 " of version %" PRIu64 ": %d\n", row[i], v,
				results[i]);
			return false;
		}
	}
	return true;
}

static void many_keys_at_once(uint32_t flags)
{
	struct twzdb_txn *old, *tx;
	struct twzdb_table t;
	struct twzdb *db;

	T_REQ(et_open_opt(et_path(ET_LINE, flags ? "many0.twz" : "many.twz"), TWZDB_CREATE | flags,
			  1 << 20, 0, &db));
	T_REQ(write_version(db, 1, ROWS));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &old));
	T_REQ(twzdb_table_open(old, "t", 0, &t));
	for (uint64_t v = 2; v < 6; v++) {
		T_REQ(write_version(db, v, ROWS));
		T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
		for (size_t n = 0; n <= 100; n += 1 + t_rand_below(9)) {
			T_TRUE(many_right(tx, t, v, n));
			T_TRUE(many_right(old, t, 1, n));
		}
		twzdb_abort(tx);
	}
	twzdb_abort(old);
	T_OK(twzdb_close(db));
}

static void many_keys_are_what_single_reads_say(void)
{
	many_keys_at_once(0);
	many_keys_at_once(TWZDB_NO_ACCEL);
}

static void many_keys_in_a_writer_and_in_other_kinds(void)
{
	struct twzdb_slice keys[3], values[3];
	uint64_t num[3] = {5, 6, 7}, be[3];
	struct twzdb_table t, n;
	struct twzdb_txn *tx;
	struct twzdb *db;
	int res[3];

	T_REQ(et_open(et_path(ET_LINE, "kinds.twz"), &db));
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &t));
	T_REQ(twzdb_table_open(tx, "n", TWZDB_TABLE_CREATE | TWZDB_TABLE_INTKEY, &n));
	for (int i = 0; i < 3; i++) {
		be[i] = __builtin_bswap64(num[i]);
		keys[i] = (struct twzdb_slice){&be[i], 8};
	}
	T_OK(twzdb_put(tx, t, keys[0], et_val(1, 9), 0));
	T_OK(twzdb_put(tx, t, keys[2], et_val(2, 9), 0));
	T_OK(twzdb_get_many(tx, t, 3, keys, values, res));
	T_TRUE(!res[0] && res[1] == TWZDB_E_NOTFOUND && !res[2]);
	T_TRUE(et_same(values[0], et_val(1, 9)) && et_same(values[2], et_val(2, 9)));
	for (int i = 0; i < 3; i++)
		keys[i] = (struct twzdb_slice){&num[i], 8};
	T_OK(twzdb_put(tx, n, keys[1], et_val(3, 9), 0));
	T_REQ(twzdb_commit(tx));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_OK(twzdb_get_many(tx, n, 3, keys, values, res));
	T_TRUE(res[0] == TWZDB_E_NOTFOUND && !res[1] && res[2] == TWZDB_E_NOTFOUND);
	T_TRUE(et_same(values[1], et_val(3, 9)));

	T_OK(twzdb_get_many(tx, t, 0, NULL, NULL, NULL));
	T_ERR(twzdb_get_many(tx, t, 1, NULL, values, res), TWZDB_E_INVAL);
	T_ERR(twzdb_get_many(NULL, t, 1, keys, values, res), TWZDB_E_INVAL);
	keys[1].ptr = NULL;
	T_ERR(twzdb_get_many(tx, t, 3, keys, values, res), TWZDB_E_INVAL);
	keys[1] = (struct twzdb_slice){num, TWZDB_KEY_MAX + 1};
	T_ERR(twzdb_get_many(tx, t, 3, keys, values, res), TWZDB_E_TOOBIG);
	twzdb_abort(tx);
	T_ERR(twzdb_get_many(tx, t, 1, keys, values, res), TWZDB_E_STATE);
	T_OK(twzdb_close(db));
}

/* --- counting --- */

static uint64_t want_cnt(uint64_t v, uint64_t from, uint64_t to, uint64_t rows)
{
	uint64_t cnt = 0;

	for (uint64_t i = from; i < to && i < rows; i++)
		cnt += is_there(v, i);
	return cnt;
}

static void count_some(struct twzdb_txn *tx, struct twzdb_table t, uint64_t v, int tries)
{
	const struct twzdb_slice all = {NULL, 0};
	uint64_t cnt;

	for (int i = 0; i < tries; i++) {
		uint64_t a = t_rand_below(ROWS + 50), b = t_rand_below(ROWS + 50);

		T_OK(twzdb_count_range(tx, t, et_key(a), et_key(b), &cnt));
		T_EQ(cnt, want_cnt(v, a, b, ROWS));
		T_OK(twzdb_count_range(tx, t, et_key(a), all, &cnt));
		T_EQ(cnt, want_cnt(v, a, ROWS, ROWS));
		T_OK(twzdb_count_range(tx, t, all, et_key(b), &cnt));
		T_EQ(cnt, want_cnt(v, 0, b, ROWS));
	}
	T_OK(twzdb_count(tx, t, &cnt));
	T_EQ(cnt, want_cnt(v, 0, ROWS, ROWS));
}

static void ranges_are_counted_exactly(void)
{
	struct twzdb_txn *old[3], *tx;
	struct twzdb_table t;
	struct twzdb *db;
	uint64_t cnt;

	T_REQ(et_open(et_path(ET_LINE, "count.twz"), &db));
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &t));
	T_OK(twzdb_count_range(tx, t, et_key(0), et_key(10), &cnt));
	T_EQ(cnt, 0);
	T_OK(twzdb_put(tx, t, et_key(3), et_val(0, 8), 0));
	T_OK(twzdb_count_range(tx, t, et_key(0), et_key(10), &cnt));
	T_EQ(cnt, 1);
	T_ERR(twzdb_count_range(tx, t, et_key(0), et_key(10), NULL), TWZDB_E_INVAL);
	twzdb_abort(tx);
	for (uint64_t v = 0; v < 3; v++) {
		T_REQ(write_version(db, v, ROWS));
		T_REQ(twzdb_begin(db, TWZDB_RDONLY, &old[v]));
		T_REQ(twzdb_table_open(old[v], "t", 0, &t));
		for (uint64_t o = 0; o <= v; o++)
			count_some(old[o], t, o, 40);
	}
	for (uint64_t v = 0; v < 3; v++)
		twzdb_abort(old[v]);
	T_OK(twzdb_close(db));
}

/* Leaves split, empty and merge under the counter, the range's last one among them. */
static atomic_bool stop;
static atomic_int bad;

static int churn(struct twzdb *db, uint64_t round)
{
	uint64_t from = round % 2 ? 0 : 2000, to = from + 2000;
	struct twzdb_table t;
	struct twzdb_txn *tx;
	int err = twzdb_begin(db, 0, &tx);

	if (!err)
		err = twzdb_table_open(tx, "t", 0, &t);
	for (uint64_t i = from; i < to && !err; i++) {
		if (round & 2)
			err = twzdb_put(tx, t, et_key(i), et_val(i, 12), 0);
		else if (i % 16 && twzdb_del(tx, t, et_key(i)) != TWZDB_E_NOTFOUND)
			err = 0;
	}
	if (err) {
		twzdb_abort(tx);
		return err;
	}
	return twzdb_commit(tx);
}

static void *churner(void *arg)
{
	struct twzdb *db = arg;

	for (uint64_t round = 0; !stop; round++)
		if (churn(db, round) || (round % 4 == 3 && twzdb_checkpoint(db)))
			bad++;
	et_thread_end();
	return NULL;
}

static int scan_count(struct twzdb_txn *tx, struct twzdb_table t, uint64_t a, uint64_t b,
		      uint64_t *cnt)
{
	struct twzdb_slice k = et_key(a);
	struct twzdb_cursor *c;
	int err = twzdb_cursor_open(tx, t, &c);

	*cnt = 0;
	if (err)
		return err;
	for (err = twzdb_cursor_get(c, TWZDB_SEEK_GE, &k, NULL); !err && et_num(k) < b;
	     err = twzdb_cursor_get(c, TWZDB_NEXT, &k, NULL))
		++*cnt;
	twzdb_cursor_close(c);
	return err == TWZDB_E_NOTFOUND ? 0 : err;
}

static void ranges_are_counted_exactly_beside_a_writer(void)
{
	struct twzdb_table t;
	struct twzdb_txn *tx;
	struct twzdb *db;
	pthread_t th;

	T_REQ(et_open(et_path(ET_LINE, "churn.twz"), &db));
	T_REQ(write_version(db, 0, ROWS));
	stop = false;
	pthread_create(&th, NULL, churner, db);
	for (int i = 0; i < 1500; i++) {
		uint64_t a = t_rand_below(ROWS), b = t_rand_below(ROWS), x, y;

		T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
		T_REQ(twzdb_table_open(tx, "t", 0, &t));
		T_OK(twzdb_count_range(tx, t, et_key(a), et_key(b), &x));
		T_OK(scan_count(tx, t, a, b, &y));
		T_EQ(x, y);
		twzdb_abort(tx);
	}
	stop = true;
	pthread_join(th, NULL);
	T_EQ(bad, 0);
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(many_keys_are_what_single_reads_say),
		T_CASE(many_keys_in_a_writer_and_in_other_kinds),
		T_CASE(ranges_are_counted_exactly),
		T_CASE(ranges_are_counted_exactly_beside_a_writer),
		T_END,
	};

	return t_main("engine_bulk", cases, argc, argv);
}
