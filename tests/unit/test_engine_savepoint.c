/* SPDX-License-Identifier: MIT
 * test_engine_savepoint.c -- nested write transactions: what is undone, what stays, what it costs
 */
#include "engine_t.h"

#include "../../engine/src/internal.h"

static struct twzdb *db;
static struct twzdb_txn *tx;
static struct twzdb_table tab;
static const struct twzdb_slice none = {NULL, 0};

static void start(const char *name)
{
	T_REQ(et_open(et_path(ET_LINE, name), &db));
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &tab));
}

static void commit(void)
{
	T_REQ(twzdb_commit(tx));
	T_TRUE(et_clean(db));
	T_REQ(twzdb_begin(db, 0, &tx));
}

static void stop(void)
{
	twzdb_abort(tx);
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

static void put(uint64_t i, const char *v)
{
	T_OK(twzdb_put(tx, tab, et_key(i), et_str(v), 0));
}

static bool has(uint64_t i, const char *want)
{
	struct twzdb_slice v;
	int err = twzdb_get(tx, tab, et_key(i), &v);

	return want ? !err && et_same(v, et_str(want)) : err == TWZDB_E_NOTFOUND;
}

static uint64_t rows(void)
{
	uint64_t cnt = 0;

	T_OK(twzdb_count(tx, tab, &cnt));
	return cnt;
}

static uint32_t mark(void)
{
	uint32_t id = 0;

	T_OK(twzdb_savepoint(tx, &id));
	return id;
}

static void levels_are_numbered_and_checked(void)
{
	struct twzdb_txn *r;
	uint32_t id;

	start("levels.twz");
	T_ERR(twzdb_rollback_to(tx, 1), TWZDB_E_INVAL);
	T_ERR(twzdb_release(tx, 0), TWZDB_E_INVAL);
	T_EQ(mark(), 1);
	T_EQ(mark(), 2);
	T_EQ(mark(), 3);
	T_ERR(twzdb_rollback_to(tx, 4), TWZDB_E_INVAL);
	T_ERR(twzdb_rollback_to(tx, 0), TWZDB_E_INVAL);
	T_OK(twzdb_release(tx, 2)); /* and 3 */
	T_ERR(twzdb_release(tx, 2), TWZDB_E_INVAL);
	T_EQ(mark(), 2);
	T_OK(twzdb_rollback_to(tx, 1)); /* stays open */
	T_OK(twzdb_rollback_to(tx, 1));
	T_EQ(mark(), 2);
	T_ERR(twzdb_savepoint(tx, NULL), TWZDB_E_INVAL);
	T_ERR(twzdb_savepoint(NULL, &id), TWZDB_E_INVAL);
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &r));
	T_ERR(twzdb_savepoint(r, &id), TWZDB_E_READONLY);
	T_ERR(twzdb_rollback_to(r, 1), TWZDB_E_READONLY);
	T_ERR(twzdb_release(r, 1), TWZDB_E_READONLY);
	twzdb_abort(r);
	T_ERR(twzdb_savepoint(r, &id), TWZDB_E_STATE);
	T_OK(twzdb_commit_next(tx));
	T_ERR(twzdb_rollback_to(tx, 1), TWZDB_E_INVAL); /* ended with the commit */
	stop();
}

static void rows_come_back_as_they_were(void)
{
	uint32_t a, b;

	start("rows.twz");
	put(1, "committed");
	put(2, "committed");
	commit();
	put(2, "own");
	put(3, "own");
	a = mark();
	put(1, "changed");
	put(2, "changed");
	put(3, "changed, and longer than it was, so that it needs another block");
	T_OK(twzdb_del(tx, tab, et_key(3)));
	put(4, "new");
	b = mark();
	T_OK(twzdb_del(tx, tab, et_key(1)));
	T_OK(twzdb_del(tx, tab, et_key(2)));
	put(3, "again");
	put(4, "newer");
	put(4, "n");
	T_TRUE(has(1, NULL) && has(2, NULL) && has(3, "again") && has(4, "n"));
	T_OK(twzdb_rollback_to(tx, b));
	T_TRUE(has(1, "changed") && has(2, "changed") && has(3, NULL) && has(4, "new"));
	put(1, "once more");
	T_OK(twzdb_rollback_to(tx, b));
	T_TRUE(has(1, "changed"));
	T_OK(twzdb_rollback_to(tx, a));
	T_TRUE(has(1, "committed") && has(2, "own") && has(3, "own") && has(4, NULL));
	T_EQ(rows(), 3);
	commit();
	T_TRUE(has(1, "committed") && has(2, "own") && has(3, "own") && has(4, NULL));
	stop();
}

static void released_changes_belong_to_the_level_outside(void)
{
	uint32_t a, b;

	start("release.twz");
	put(1, "0");
	a = mark();
	put(1, "1");
	b = mark();
	put(1, "2");
	put(2, "2");
	T_OK(twzdb_release(tx, b));
	T_TRUE(has(1, "2") && has(2, "2"));
	b = mark();
	put(1, "3");
	T_OK(twzdb_rollback_to(tx, b));
	T_TRUE(has(1, "2") && has(2, "2"));
	T_OK(twzdb_rollback_to(tx, a));
	T_TRUE(has(1, "0") && has(2, NULL));
	put(1, "4");
	T_OK(twzdb_release(tx, a));
	commit();
	T_TRUE(has(1, "4") && has(2, NULL));
	stop();
}

static void splits_and_merges_are_undone(void)
{
	uint64_t cnt;
	uint32_t a, b;

	start("nodes.twz");
	for (uint64_t i = 0; i < 3000; i += 3)
		put(i, "base");
	commit();
	a = mark();
	for (uint64_t i = 0; i < 3000; i++)
		put(i, "inner");
	b = mark();
	T_OK(twzdb_del_range(tx, tab, et_key(10), et_key(2900), &cnt));
	T_EQ(cnt, 2890);
	T_OK(twzdb_rollback_to(tx, b));
	T_EQ(rows(), 3000);
	T_TRUE(has(1500, "inner"));
	T_OK(twzdb_rollback_to(tx, a));
	T_EQ(rows(), 1000);
	T_TRUE(has(1500, "base") && has(1501, NULL));
	T_OK(twzdb_del_range(tx, tab, none, none, &cnt));
	T_EQ(cnt, 1000);
	T_OK(twzdb_rollback_to(tx, a));
	T_EQ(rows(), 1000);
	put(7, "kept");
	commit();
	T_EQ(rows(), 1001);
	stop();
}

static void tables_come_back_and_new_ones_go(void)
{
	struct twzdb_table made, again;
	struct twzdb_slice v;
	uint32_t a;

	start("tables.twz");
	put(1, "one");
	commit();
	for (int round = 0; round < 3; round++) {
		put(2, "two");
		a = mark();
		T_OK(twzdb_table_drop(tx, "t"));
		T_ERR(twzdb_get(tx, tab, et_key(1), &v), TWZDB_E_STATE);
		T_OK(twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &made));
		T_OK(twzdb_put(tx, made, et_key(9), et_str("nine"), 0));
		T_OK(twzdb_table_open(tx, "u", TWZDB_TABLE_CREATE | TWZDB_TABLE_DUPSORT, &again));
		T_OK(twzdb_put(tx, again, et_str("k"), et_str("v"), 0));
		T_OK(twzdb_rollback_to(tx, a));
		T_TRUE(has(1, "one") && has(2, "two"));
		T_ERR(twzdb_get(tx, made, et_key(9), &v), TWZDB_E_STATE);
		T_ERR(twzdb_table_open(tx, "u", TWZDB_TABLE_ANY, &again), TWZDB_E_NOTFOUND);
		T_OK(twzdb_table_rename(tx, "t", "renamed"));
		T_OK(twzdb_rollback_to(tx, a));
		T_OK(twzdb_table_open(tx, "t", 0, &again));
		T_EQ(again.h, tab.h);
		commit();
	}
	/* a table made in the transaction, dropped under a savepoint */
	T_OK(twzdb_table_open(tx, "own", TWZDB_TABLE_CREATE, &made));
	for (uint64_t i = 0; i < 100; i++)
		T_OK(twzdb_put(tx, made, et_key(i), et_str("own"), 0));
	a = mark();
	T_OK(twzdb_table_drop(tx, "own"));
	T_OK(twzdb_rollback_to(tx, a));
	T_OK(twzdb_get(tx, made, et_key(99), &v));
	T_TRUE(et_same(v, et_str("own")));
	commit();
	T_OK(twzdb_get(tx, made, et_key(99), &v));
	stop();
}

static void cursors_stay_good(void)
{
	struct twzdb_cursor *c;
	struct twzdb_slice k, v;
	uint32_t a;

	start("cursors.twz");
	for (uint64_t i = 0; i < 500; i += 2)
		put(i, "base");
	T_REQ(twzdb_cursor_open(tx, tab, &c));
	k = et_key(100);
	T_OK(twzdb_cursor_get(c, TWZDB_SEEK, &k, &v));
	a = mark();
	for (uint64_t i = 101; i < 500; i += 2)
		put(i, "inner");
	T_OK(twzdb_cursor_get(c, TWZDB_NEXT, &k, &v));
	T_EQ(et_num(k), 101);
	T_OK(twzdb_rollback_to(tx, a));
	T_ERR(twzdb_cursor_get(c, TWZDB_CURRENT, &k, &v), TWZDB_E_NOTFOUND);
	k = et_key(101);
	T_OK(twzdb_cursor_get(c, TWZDB_SEEK_GE, &k, &v));
	T_EQ(et_num(k), 102);
	for (uint64_t i = 104; i < 500; i += 2) {
		T_OK(twzdb_cursor_get(c, TWZDB_NEXT, &k, &v));
		T_TRUE(et_num(k) == i && et_same(v, et_str("base")));
	}
	twzdb_cursor_close(c);
	stop();
}

/* A leaf splits, but its parent is damaged: the change fails half-way. */
static void a_broken_transaction_is_mended(void)
{
	struct node_pm *root;
	struct twzdb_slice v;
	uint32_t a, b;
	int err = 0;

	start("broken.twz");
	for (uint64_t i = 0; i < 40; i++)
		put(i * 10, "base");
	commit();
	put(385, "before"); /* the right leaf has room */
	a = mark();
	put(395, "inner");
	b = mark();
	root = twzdb__at(db, twzdb__table_root(tx, tab.h, &err), TWZDB_NODE_LEN);
	T_TRUE(!err && root->level == 1 && root->n == 2 && root->perm[27] < TWZDB_FANOUT);
	root->perm[27] += 100;
	for (uint64_t i = 1; i < 60 && !err; i++)
		err = twzdb_put(tx, tab, et_key(i), et_str("too many"), 0);
	T_EQ(err, TWZDB_E_CORRUPT);
	T_ERR(twzdb_put(tx, tab, et_key(1), et_str("x"), 0), TWZDB_E_CORRUPT);
	T_HAS(twzdb_errmsg(), "half-way");
	T_ERR(twzdb_get(tx, tab, et_key(385), &v), TWZDB_E_CORRUPT);
	T_ERR(twzdb_savepoint(tx, &b), TWZDB_E_CORRUPT);
	T_ERR(twzdb_release(tx, a), TWZDB_E_CORRUPT);
	root->perm[27] -= 100;
	T_OK(twzdb_rollback_to(tx, 2));
	T_TRUE(has(385, "before") && has(395, "inner") && has(1, NULL));
	T_EQ(rows(), 42);
	for (uint64_t i = 1; i < 60; i++)
		put(i, "fits");
	T_OK(twzdb_release(tx, a));
	commit();
	T_TRUE(has(15, "fits") && has(395, "inner"));
	stop();
}

static void nothing_done_is_nothing_committed(void)
{
	uint64_t ts;
	uint32_t a;

	start("nothing.twz");
	put(1, "one");
	commit();
	ts = twzdb_latest_ts(db);
	a = mark();
	put(1, "x");
	put(2, "y");
	T_OK(twzdb_rollback_to(tx, a));
	T_OK(twzdb_commit_next(tx));
	T_EQ(twzdb_latest_ts(db), ts);
	stop();
}

static void space_comes_back(void)
{
	struct twzdb_stats st = {.size = sizeof(st)};
	uint64_t used;
	uint32_t a;

	start("space.twz");
	for (uint64_t i = 0; i < 2000; i++)
		put(i, "base");
	T_REQ(twzdb_commit(tx));
	T_OK(twzdb_stats(db, &st));
	used = st.data_len;
	T_REQ(twzdb_begin(db, 0, &tx));
	for (int round = 0; round < 200; round++) {
		a = mark();
		for (uint64_t i = 0; i < 50; i++)
			T_OK(twzdb_put(tx, tab, et_key(t_rand_below(4000)), et_val(i, 400), 0));
		T_OK(twzdb_rollback_to(tx, a));
		T_OK(twzdb_release(tx, a));
	}
	T_OK(twzdb_commit_keep(tx));
	T_OK(twzdb_stats(db, &st));
	T_TRUE(st.data_len <= used + (1 << 20)); /* not 200 times 20 KB */
	T_EQ(rows(), 2000);
	stop();
}

/* --- random changes and levels against arrays --- */

#define KEYS   600
#define LEVELS 6
#define TABLES 2

struct oracle {
	uint32_t row[TABLES][KEYS]; /* 0 = absent, else len << 16 | seed */
	bool there[TABLES];
};

static struct oracle now[LEVELS + 1]; /* [0]: committed; [1]: present; [i + 1]: at savepoint i */

static struct twzdb_slice val(uint32_t row)
{
	return et_val(row & 0xffff, row >> 16);
}

static bool table_of(unsigned t, struct twzdb_table *h)
{
	return !twzdb_table_open(tx, t ? "b" : "a", 0, h);
}

static void random_table(unsigned t)
{
	struct twzdb_table h;

	if (now[1].there[t])
		T_OK(twzdb_table_drop(tx, t ? "b" : "a"));
	else
		T_OK(twzdb_table_open(tx, t ? "b" : "a", TWZDB_TABLE_CREATE, &h));
	now[1].there[t] = !now[1].there[t];
	memset(now[1].row[t], 0, sizeof(now[1].row[t]));
}

static void random_range(struct twzdb_table h, uint32_t *row)
{
	uint64_t a = t_rand_below(KEYS), b = a + t_rand_below(100), cnt, want = 0;

	T_OK(twzdb_del_range(tx, h, et_key(a), et_key(b), &cnt));
	for (; a < b && a < KEYS; a++) {
		want += row[a] != 0;
		row[a] = 0;
	}
	T_EQ(cnt, want);
}

static void random_change(void)
{
	unsigned t = (unsigned)t_rand_below(TABLES), i = (unsigned)t_rand_below(KEYS);
	uint32_t *row = now[1].row[t], r;
	struct twzdb_table h;

	if (!now[1].there[t] || t_rand_below(150) == 0) {
		random_table(t);
		return;
	}
	if (!T_TRUE(table_of(t, &h)))
		return;
	if (t_rand_below(40) == 0) {
		random_range(h, row);
	} else if (t_rand_below(3) == 0) {
		T_EQ(twzdb_del(tx, h, et_key(i)), row[i] ? 0 : TWZDB_E_NOTFOUND);
		row[i] = 0;
	} else {
		r = (uint32_t)(t_rand_below(t_rand_below(10) ? 60 : 3000) << 16) |
		    (uint32_t)(1 + t_rand_below(60000));
		T_OK(twzdb_put(tx, h, et_key(i), val(r), 0));
		row[i] = r;
	}
}

static void verify(void)
{
	for (unsigned t = 0; t < TABLES; t++) {
		struct twzdb_table h;
		struct twzdb_slice k, v;
		struct twzdb_cursor *c;
		int err;

		if (!T_EQ(table_of(t, &h), now[1].there[t]) || !now[1].there[t])
			continue;
		T_REQ(twzdb_cursor_open(tx, h, &c));
		err = twzdb_cursor_get(c, TWZDB_FIRST, &k, &v);
		for (unsigned i = 0; i < KEYS; i++) {
			if (!now[1].row[t][i])
				continue;
			if (!T_TRUE(!err && et_num(k) == i && et_same(v, val(now[1].row[t][i]))))
				break;
			err = twzdb_cursor_get(c, TWZDB_NEXT, &k, &v);
		}
		T_EQ(err, TWZDB_E_NOTFOUND);
		twzdb_cursor_close(c);
	}
}

static void random_level(uint32_t *open)
{
	uint32_t id = *open ? 1 + (uint32_t)t_rand_below(*open) : 0;

	switch (t_rand_below(4)) {
	case 0:
		if (id) {
			T_OK(twzdb_rollback_to(tx, id));
			now[1] = now[id + 1];
			*open = id;
			verify();
		}
		break;
	case 1:
		if (id) {
			T_OK(twzdb_release(tx, id));
			*open = id - 1;
		}
		break;
	default:
		if (*open < LEVELS - 1) {
			T_EQ(mark(), ++*open);
			now[*open + 1] = now[1];
		}
	}
}

static void one_transaction(void)
{
	uint32_t open = 0;

	now[1] = now[0];
	for (uint64_t n = t_rand_below(40); n--;) {
		for (uint64_t m = t_rand_below(30); m--;)
			random_change();
		random_level(&open);
	}
	verify();
	if (t_rand_below(4)) {
		T_REQ(twzdb_commit(tx));
		now[0] = now[1];
	} else {
		twzdb_abort(tx);
	}
	T_REQ(twzdb_begin(db, 0, &tx));
}

static void random_levels(enum et_media m)
{
	struct twzdb_txn *old = NULL;

	memset(now, 0, sizeof(now));
	T_REQ(et_open(et_path(m, "random.twz"), &db));
	T_REQ(twzdb_begin(db, 0, &tx));
	for (int round = 0; round < 120 && !CU_get_number_of_failure_records(); round++) {
		one_transaction();
		if (round % 7 == 0) { /* an old snapshot, so that versions are needed */
			twzdb_abort(old);
			T_REQ(twzdb_begin(db, TWZDB_RDONLY, &old));
		}
		if (round % 20 == 19) {
			twzdb_abort(tx);
			T_TRUE(et_clean(db));
			T_REQ(twzdb_begin(db, 0, &tx));
		}
	}
	now[1] = now[0];
	verify();
	twzdb_abort(old);
	stop();
}

static void random_levels_equal_arrays_on_page_media(void)
{
	random_levels(ET_PAGE);
}

static void random_levels_equal_arrays_on_cache_line_media(void)
{
	random_levels(ET_LINE);
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(levels_are_numbered_and_checked),
		T_CASE(rows_come_back_as_they_were),
		T_CASE(released_changes_belong_to_the_level_outside),
		T_CASE(splits_and_merges_are_undone),
		T_CASE(tables_come_back_and_new_ones_go),
		T_CASE(cursors_stay_good),
		T_CASE(a_broken_transaction_is_mended),
		T_CASE(nothing_done_is_nothing_committed),
		T_CASE(space_comes_back),
		T_CASE(random_levels_equal_arrays_on_page_media),
		T_CASE(random_levels_equal_arrays_on_cache_line_media),
		T_END,
	};

	t_err_name = twzdb_err_name;
	t_err_msg = twzdb_errmsg;
	return t_main("engine_savepoint", cases, argc, argv);
}
