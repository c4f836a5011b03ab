/* SPDX-License-Identifier: MIT
 * test_engine_tables.c -- thousands of tables, renaming, sizes and estimates, conditional changes
 */
#include "engine_t.h"

static struct twzdb *db;
static struct twzdb_txn *tx;
static struct twzdb_table tab;
static const struct twzdb_slice none = {NULL, 0};

static void open_db(enum et_media m, const char *name)
{
	T_REQ(et_open(et_path(m, name), &db));
}

static void writer(void)
{
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &tab));
}

static void close_db(void)
{
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

static bool has(uint64_t i, const char *want)
{
	struct twzdb_slice v;
	int err = twzdb_get(tx, tab, et_key(i), &v);

	return want ? !err && et_same(v, et_str(want)) : err == TWZDB_E_NOTFOUND;
}

/* --- many tables --- */

#define MANY 5000

static const char *table_name(unsigned i)
{
	static char name[32];

	snprintf(name, sizeof(name), "table-%05u", i);
	return name;
}

struct names {
	unsigned next, step;
};

static int name_fn(void *ctx, const char *name, uint64_t rows)
{
	struct names *n = ctx;

	if (strcmp(name, table_name(n->next)) || rows != n->next % 3)
		return 1;
	n->next += n->step;
	return 0;
}

static int each_fn(void *ctx, const char *name, struct twzdb_table t, uint32_t kind)
{
	struct names *n = ctx;
	uint64_t cnt;

	if (strcmp(name, table_name(n->next)) || kind != (n->next % 2 ? TWZDB_TABLE_INTKEY : 0U) ||
	    twzdb_count(tx, t, &cnt) || cnt != n->next % 3)
		return 1;
	n->next += n->step;
	return n->next >= 100 * n->step ? 7 : 0;
}

static void create_many(void)
{
	for (unsigned i = 0; i < MANY; i++) {
		unsigned j = i * 1237 % MANY;
		struct twzdb_table t;

		if (i % 500 == 0)
			T_REQ(twzdb_begin(db, 0, &tx));
		T_REQ(twzdb_table_open(tx, table_name(j),
				       TWZDB_TABLE_CREATE | (j % 2 ? TWZDB_TABLE_INTKEY : 0U), &t));
		for (unsigned k = 0; k < j % 3; k++)
			T_OK(twzdb_put(tx, t, et_key(k), et_str("row"), 0));
		if (i % 500 == 499)
			T_REQ(twzdb_commit(tx));
	}
}

static void use_many(void)
{
	struct names n = {0, 1};
	struct twzdb_slice v;

	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	for (unsigned i = 0; i < MANY; i++) {
		T_REQ(twzdb_table_open(tx, table_name(i), TWZDB_TABLE_ANY, &tab));
		T_EQ(twzdb_get(tx, tab, et_key(0), &v), i % 3 ? 0 : TWZDB_E_NOTFOUND);
	}
	T_ERR(twzdb_table_open(tx, table_name(MANY), 0, &tab), TWZDB_E_NOTFOUND);
	T_OK(twzdb_table_list(tx, name_fn, &n));
	T_EQ(n.next, MANY);
	n.next = 0;
	T_EQ(twzdb_table_each(tx, each_fn, &n), 7);
	twzdb_abort(tx);
}

static void thousands_of_tables(void)
{
	struct twzdb_stats st = {.size = sizeof(st)};
	struct names n = {1, 2};

	open_db(ET_LINE, "many.twz");
	create_many();
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
	open_db(ET_LINE, "many.twz");
	use_many();
	T_OK(twzdb_stats(db, &st));
	T_EQ(st.table_cnt, MANY);
	T_REQ(twzdb_begin(db, 0, &tx));
	for (unsigned i = 0; i < MANY; i += 2)
		T_REQ(twzdb_table_drop(tx, table_name(i)));
	T_OK(twzdb_commit(tx));
	T_REQ(twzdb_begin(db, 0, &tx));
	T_OK(twzdb_table_list(tx, name_fn, &n));
	T_EQ(n.next, MANY + 1);
	for (unsigned i = 1; i < MANY; i += 2)
		T_REQ(twzdb_table_drop(tx, table_name(i)));
	T_OK(twzdb_commit(tx));
	T_OK(twzdb_checkpoint(db));
	T_OK(twzdb_stats(db, &st));
	T_EQ(st.table_cnt, 0);
	T_TRUE(st.node_cnt <= 1 && st.record_cnt == 0);
	close_db();
}

static void a_table_is_renamed_with_its_handles(void)
{
	struct twzdb_txn *old;
	struct twzdb_table x;

	open_db(ET_LINE, "rename.twz");
	writer();
	T_OK(twzdb_put(tx, tab, et_key(1), et_str("a"), 0));
	T_OK(twzdb_table_open(tx, "other", TWZDB_TABLE_CREATE, &x));
	T_OK(twzdb_commit(tx));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &old));
	T_ERR(twzdb_table_rename(old, "t", "u"), TWZDB_E_READONLY);
	T_REQ(twzdb_begin(db, 0, &tx));
	T_ERR(twzdb_table_rename(tx, "nobody", "u"), TWZDB_E_NOTFOUND);
	T_ERR(twzdb_table_rename(tx, "t", "other"), TWZDB_E_EXIST);
	T_ERR(twzdb_table_rename(tx, "t", "t"), TWZDB_E_EXIST);
	T_ERR(twzdb_table_rename(tx, "t", ""), TWZDB_E_INVAL);
	T_OK(twzdb_table_rename(tx, "t", "u"));
	T_TRUE(has(1, "a")); /* by the old handle */
	T_OK(twzdb_put(tx, tab, et_key(2), et_str("b"), 0));
	T_ERR(twzdb_table_open(tx, "t", 0, &x), TWZDB_E_NOTFOUND);
	T_OK(twzdb_table_open(tx, "u", 0, &x));
	T_TRUE(x.h == tab.h);
	T_OK(twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &x));
	T_TRUE(x.h != tab.h);
	T_OK(twzdb_commit(tx));
	T_OK(twzdb_table_open(old, "t", 0, &x));
	T_TRUE(x.h == tab.h); /* the old name, for the old snapshot */
	twzdb_abort(old);
	close_db();
}

/* --- conditional changes --- */

static void put_and_del_may_depend_on_the_present_value(void)
{
	struct twzdb_slice a = et_str("a"), b = et_str("b"), empty = none, bad = {NULL, 3};

	open_db(ET_LINE, "cas.twz");
	writer();
	T_ERR(twzdb_put_if(tx, tab, et_key(1), &a, b), TWZDB_E_MISMATCH); /* there is none */
	T_TRUE(has(1, NULL));
	T_OK(twzdb_put_if(tx, tab, et_key(1), NULL, a));
	T_ERR(twzdb_put_if(tx, tab, et_key(1), NULL, b), TWZDB_E_MISMATCH);
	T_ERR(twzdb_put_if(tx, tab, et_key(1), &b, b), TWZDB_E_MISMATCH);
	T_ERR(twzdb_put_if(tx, tab, et_key(1), &empty, b), TWZDB_E_MISMATCH);
	T_TRUE(has(1, "a"));
	T_OK(twzdb_put_if(tx, tab, et_key(1), &a, empty));
	T_OK(twzdb_put_if(tx, tab, et_key(1), &empty, b));
	T_OK(twzdb_commit(tx));
	writer();
	T_ERR(twzdb_put_if(tx, tab, et_key(1), &bad, b), TWZDB_E_INVAL);
	T_ERR(twzdb_del_if(tx, tab, et_key(1), a), TWZDB_E_MISMATCH);
	T_ERR(twzdb_del_if(tx, tab, et_key(2), a), TWZDB_E_NOTFOUND);
	T_ERR(twzdb_del_if(tx, tab, et_key(1), bad), TWZDB_E_INVAL);
	T_TRUE(has(1, "b"));
	T_OK(twzdb_del_if(tx, tab, et_key(1), b));
	T_TRUE(has(1, NULL));
	T_OK(twzdb_commit(tx));
	close_db();
}

static void append_takes_keys_in_order_only(void)
{
	uint64_t cnt;

	open_db(ET_LINE, "append.twz");
	writer();
	for (uint64_t i = 10; i < 5000; i++)
		T_OK(twzdb_put(tx, tab, et_key(i), et_str("v"), TWZDB_APPEND));
	T_ERR(twzdb_put(tx, tab, et_key(4999), et_str("x"), TWZDB_APPEND), TWZDB_E_ORDER);
	T_ERR(twzdb_put(tx, tab, et_key(7), et_str("x"), TWZDB_APPEND), TWZDB_E_ORDER);
	T_ERR(twzdb_put(tx, tab, et_key(7000), et_str("x"), TWZDB_APPEND | TWZDB_INSERT),
	      TWZDB_E_INVAL);
	T_OK(twzdb_commit(tx));
	writer();
	T_ERR(twzdb_put(tx, tab, et_key(4999), et_str("x"), TWZDB_APPEND), TWZDB_E_ORDER);
	/* the greatest keys are deleted, but not gone yet: what counts is what one sees */
	T_OK(twzdb_del_range(tx, tab, et_key(4000), none, &cnt));
	T_ERR(twzdb_put(tx, tab, et_key(3999), et_str("x"), TWZDB_APPEND), TWZDB_E_ORDER);
	T_OK(twzdb_put(tx, tab, et_key(4000), et_str("again"), TWZDB_APPEND));
	T_OK(twzdb_put(tx, tab, et_key(4500), et_str("again"), TWZDB_APPEND));
	T_TRUE(has(4000, "again") && has(4500, "again"));
	T_OK(twzdb_count(tx, tab, &cnt));
	T_EQ(cnt, 3992);
	T_OK(twzdb_commit(tx));
	close_db();
}

/* --- sizes --- */

static void an_estimate_is_near(void)
{
	uint64_t est, n = 40000;

	open_db(ET_LINE, "estimate.twz");
	writer();
	T_OK(twzdb_estimate(tx, tab, none, none, &est));
	T_EQ(est, 0);
	for (uint64_t i = 0; i < n; i++)
		T_OK(twzdb_put(tx, tab, et_key(i * 7919 % n), et_str("v"), 0));
	T_OK(twzdb_commit(tx));
	writer();
	for (int round = 0; round < 500; round++) {
		uint64_t a = t_rand_below(n), b = a + t_rand_below(n - a) + 1, want = b - a;

		T_OK(twzdb_estimate(tx, tab, et_key(a), et_key(b), &est));
		if (!T_TRUE(est <= 2 * want + 28 && est + 28 >= want / 2))
			fprintf(stderr, "  [%" PRIu64 ", %" PRIu64 "): %" PRIu64 "\n", a, b, est);
	}
	T_OK(twzdb_estimate(tx, tab, none, none, &est));
	T_TRUE(est > n * 2 / 3 && est < n * 3 / 2);
	T_OK(twzdb_estimate(tx, tab, et_key(20), et_key(20), &est));
	T_EQ(est, 0);
	T_OK(twzdb_estimate(tx, tab, et_key(30), et_key(20), &est));
	T_EQ(est, 0);
	T_ERR(twzdb_estimate(tx, tab, et_key(30), et_key(20), NULL), TWZDB_E_INVAL);
	T_OK(twzdb_estimate(tx, tab, et_key(100), et_key(103), &est));
	T_TRUE(est >= 1 && est <= 5);
	twzdb_abort(tx);
	close_db();
}

static void a_table_tells_its_size(void)
{
	struct twzdb_table_stats st = {.size = sizeof(st)};
	uint64_t leaves;

	open_db(ET_LINE, "tstats.twz");
	writer();
	T_OK(twzdb_table_stats(tx, tab, 0, &st));
	T_TRUE(!st.rows && !st.depth && !st.leaves && !st.inner && !st.kind);
	for (uint64_t i = 0; i < 3000; i++)
		T_OK(twzdb_put(tx, tab, et_key(i), et_val(i, i % 50), 0));
	T_OK(twzdb_table_stats(tx, tab, TWZDB_STATS_BYTES, &st)); /* of its own changes */
	T_EQ(st.rows, 3000);
	T_EQ(st.key_len, 24000);
	T_EQ(st.value_len, 60 * 49 * 25);
	T_TRUE(st.depth == 3 && st.leaves >= 107 && st.leaves < 300 && st.inner >= 5);
	leaves = st.leaves;
	T_OK(twzdb_commit(tx));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_OK(twzdb_table_stats(tx, tab, 0, &st));
	T_TRUE(st.rows == 3000 && st.leaves == leaves && !st.key_len);
	T_ERR(twzdb_table_stats(tx, tab, 8, &st), TWZDB_E_INVAL);
	T_ERR(twzdb_table_stats(tx, tab, 0, NULL), TWZDB_E_INVAL);
	st.size = 0;
	T_ERR(twzdb_table_stats(tx, tab, 0, &st), TWZDB_E_INVAL);
	twzdb_abort(tx);
	close_db();
}

static void counters_count(void)
{
	struct twzdb_stats a = {.size = sizeof(a)}, b = a;
	struct twzdb_txn *old, *late;

	open_db(ET_LINE, "counters.twz");
	writer();
	T_OK(twzdb_put(tx, tab, et_key(1), et_str("a"), 0));
	T_OK(twzdb_commit(tx));
	T_OK(twzdb_stats(db, &a));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &old));
	for (uint64_t i = 0; i < 10; i++) {
		writer();
		T_OK(twzdb_put(tx, tab, et_key(i), et_str("b"), 0));
		T_OK(twzdb_commit(tx));
	}
	writer();
	T_OK(twzdb_put(tx, tab, et_key(1), et_str("a"), 0));
	T_ERR(twzdb_begin_timed(db, 0, 5, &late), TWZDB_E_TIMEOUT);
	twzdb_abort(tx);
	T_OK(twzdb_checkpoint(db));
	T_OK(twzdb_stats(db, &b));
	T_EQ(b.commits - a.commits, 10);
	T_EQ(b.aborts - a.aborts, 1);
	T_TRUE(b.fences - a.fences >= 10 && b.fences - a.fences < 30);
	T_TRUE(b.flushed_lines > a.flushed_lines && b.log_bytes > a.log_bytes);
	T_EQ(b.reader_lag, 10);
	T_EQ(b.writer_waits - a.writer_waits, 1);
	T_TRUE(b.checkpoints > a.checkpoints && b.checkpoint_ns > a.checkpoint_ns);
	twzdb_abort(old);
	close_db();
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(thousands_of_tables),
		T_CASE(a_table_is_renamed_with_its_handles),
		T_CASE(put_and_del_may_depend_on_the_present_value),
		T_CASE(append_takes_keys_in_order_only),
		T_CASE(an_estimate_is_near),
		T_CASE(a_table_tells_its_size),
		T_CASE(counters_count),
		T_END,
	};

	t_err_name = twzdb_err_name;
	t_err_msg = twzdb_errmsg;
	return t_main("engine_tables", cases, argc, argv);
}
