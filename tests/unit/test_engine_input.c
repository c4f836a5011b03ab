/* SPDX-License-Identifier: MIT
 * test_engine_input.c -- wrong calls are told so, and change nothing
 */
#include "engine_t.h"

static struct twzdb *db, *other;
static struct twzdb_txn *tx;
static struct twzdb_table tab, foreign;
static const struct twzdb_slice none = {NULL, 0};

static void open_db(const char *name)
{
	T_REQ(et_open(et_path(ET_LINE, name), &db));
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &tab));
	T_OK(twzdb_put(tx, tab, et_key(1), et_str("one"), 0));
	T_REQ(twzdb_commit(tx));
}

static void close_db(void)
{
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

static int list_fn(void *ctx, const char *name, uint64_t rows)
{
	(void)ctx;
	(void)name;
	(void)rows;
	return 0;
}

/* Every call on TX and table T that must say WANT; CREATED calls need a writer. */
static void all_say(struct twzdb_txn *t, struct twzdb_table h, int want, bool table_calls)
{
	struct twzdb_table_stats st = {.size = sizeof(st)};
	struct twzdb_slice v, a = et_str("a");
	struct twzdb_cursor *c;
	uint64_t n;
	uint32_t kind;

	T_ERR(twzdb_get(t, h, et_key(1), &v), want);
	T_TRUE(!v.ptr && !v.len);
	T_ERR(twzdb_put(t, h, et_key(1), a, 0), want);
	T_ERR(twzdb_put_if(t, h, et_key(1), NULL, a), want);
	T_ERR(twzdb_del(t, h, et_key(1)), want);
	T_ERR(twzdb_del_if(t, h, et_key(1), a), want);
	T_ERR(twzdb_del_range(t, h, none, none, &n), want);
	T_ERR(twzdb_estimate(t, h, none, none, &n), want);
	T_ERR(twzdb_count(t, h, &n), want);
	T_ERR(twzdb_table_kind(t, h, &kind), want);
	T_ERR(twzdb_table_stats(t, h, 0, &st), want);
	T_ERR(twzdb_cursor_open(t, h, &c), want);
	T_TRUE(!c);
	if (table_calls)
		return;
	T_ERR(twzdb_table_open(t, "t", 0, &h), want);
	T_ERR(twzdb_table_drop(t, "t"), want);
	T_ERR(twzdb_table_rename(t, "t", "u"), want);
	T_ERR(twzdb_table_list(t, list_fn, NULL), want);
	T_ERR(twzdb_commit(t), want);
	T_ERR(twzdb_commit_keep(t), want);
	T_ERR(twzdb_commit_next(t), want);
	T_ERR(twzdb_upgrade(t), want);
	T_ERR(twzdb_downgrade(t), want);
}

static void a_transaction_that_has_ended_is_of_no_use(void)
{
	open_db("ended.twz");
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_commit(tx));
	all_say(tx, tab, TWZDB_E_STATE, false);
	T_HAS(twzdb_errmsg(), "has ended");
	T_ERR(twzdb_renew(tx), TWZDB_E_STATE);
	twzdb_abort(tx); /* once more: nothing */
	twzdb_abort(tx);
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	twzdb_abort(tx);
	all_say(tx, tab, TWZDB_E_STATE, false);
	T_EQ(twzdb_txn_ts(tx), 0);
	T_TRUE(!twzdb_txn_is_writer(tx));
	close_db();
	all_say(tx, tab, TWZDB_E_STATE, false); /* its database is closed, even */
}

static void no_transaction_is_an_error(void)
{
	open_db("null.twz");
	all_say(NULL, tab, TWZDB_E_INVAL, false);
	T_ERR(twzdb_renew(NULL), TWZDB_E_INVAL);
	close_db();
}

static void cursor_says(struct twzdb_cursor *c, int want)
{
	struct twzdb_slice k = et_key(1), v = none;
	uint64_t n;

	for (int op = TWZDB_FIRST; op <= TWZDB_CURRENT; op++)
		T_ERR(twzdb_cursor_get(c, (enum twzdb_seek)op, &k, &v), want);
	T_ERR(twzdb_cursor_put(c, et_str("x")), want);
	T_ERR(twzdb_cursor_del(c), want);
	T_ERR(twzdb_cursor_count(c, &n), want);
}

static void a_cursor_ends_with_its_transaction(void)
{
	struct twzdb_cursor *c;
	struct twzdb_txn *next[100];

	open_db("cursor.twz");
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_cursor_open(tx, tab, &c));
	T_OK(twzdb_cursor_get(c, TWZDB_FIRST, NULL, NULL));
	T_REQ(twzdb_commit(tx));
	cursor_says(c, TWZDB_E_STATE);
	T_REQ(twzdb_begin(db, 0, &next[0])); /* whatever handle it gets */
	cursor_says(c, TWZDB_E_STATE);
	twzdb_abort(next[0]);
	for (int i = 0; i < 100; i++)
		T_REQ(twzdb_begin(db, TWZDB_RDONLY, &next[i]));
	cursor_says(c, TWZDB_E_STATE);
	for (int i = 0; i < 100; i++)
		twzdb_abort(next[i]);
	twzdb_cursor_close(c);
	cursor_says(NULL, TWZDB_E_INVAL);
	close_db();
}

static void a_table_of_another_database_is_refused(void)
{
	struct twzdb_options o = {
		.size = sizeof(o), .flags = TWZDB_CREATE, .log_len = 64 << 10, .name = "second"};
	struct twzdb_txn *t;

	open_db("foreign.twz");
	T_REQ(twzdb_open(et_path(ET_LINE, "foreign.twz"), &o, &other));
	T_REQ(twzdb_begin(other, 0, &t));
	T_REQ(twzdb_table_open(t, "t", TWZDB_TABLE_CREATE, &foreign));
	T_EQ(foreign.h, tab.h); /* the same place in either */
	T_REQ(twzdb_commit(t));
	T_REQ(twzdb_begin(db, 0, &tx));
	all_say(tx, foreign, TWZDB_E_STATE, true);
	T_HAS(twzdb_errmsg(), "another database");
	all_say(tx, (struct twzdb_table){0, 0}, TWZDB_E_INVAL, true);
	for (int i = 0; i < 1000; i++) { /* and anything else */
		struct twzdb_table junk = {t_rand() >> t_rand_below(64), t_rand()};
		struct twzdb_slice v;

		T_EQ(twzdb_get(tx, junk, et_key(1), &v), junk.h ? TWZDB_E_STATE : TWZDB_E_INVAL);
		junk.h = tab.h + t_rand_below(3) * 8;
		T_EQ(twzdb_get(tx, junk, et_key(1), &v), TWZDB_E_STATE);
	}
	twzdb_abort(tx);
	T_OK(twzdb_close(other));
	close_db();
}

/* Tables FROM to TO, each with a row; is one of them where "t" was? */
static bool make_tables(int from, int to)
{
	struct twzdb_table x;
	bool found = false;
	char name[16];

	T_OK(twzdb_begin(db, 0, &tx));
	for (int i = from; i < to; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		T_OK(twzdb_table_open(tx, name, TWZDB_TABLE_CREATE, &x));
		T_OK(twzdb_put(tx, x, et_key(1), et_str("other"), 0));
		found |= x.h == tab.h;
	}
	T_OK(twzdb_commit(tx));
	return found;
}

/* Drop "t" among many, and create as many as it takes to have one where it was. */
static void replace_table(void)
{
	char name[16];
	int i;

	T_TRUE(!make_tables(0, 900));
	T_REQ(twzdb_begin(db, 0, &tx));
	for (i = 0; i < 900; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		T_REQ(twzdb_table_drop(tx, name));
	}
	T_REQ(twzdb_table_drop(tx, "t"));
	all_say(tx, tab, TWZDB_E_STATE, true);
	T_REQ(twzdb_commit(tx));
	for (i = 0; i < 10000 && !make_tables(i, i + 100); i += 100)
		;
	T_TRUE(i < 10000);
}

static void a_handle_never_becomes_another_table(void)
{
	struct twzdb_txn *old;
	struct twzdb_table young;
	struct twzdb_slice v;

	open_db("gone.twz");
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &old));
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_table_open(tx, "young", TWZDB_TABLE_CREATE, &young));
	T_REQ(twzdb_commit(tx));
	T_ERR(twzdb_get(old, young, et_key(1), &v), TWZDB_E_STATE); /* not there yet */
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_table_drop(tx, "t"));
	T_REQ(twzdb_commit(tx));
	T_OK(twzdb_get(old, tab, et_key(1), &v)); /* still there */
	T_TRUE(et_same(v, et_str("one")));
	T_OK(twzdb_renew(old));
	T_ERR(twzdb_get(old, tab, et_key(1), &v), TWZDB_E_STATE);
	twzdb_abort(old);
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &tab));
	T_REQ(twzdb_commit(tx));
	replace_table();
	T_REQ(twzdb_begin(db, 0, &tx));
	all_say(tx, tab, TWZDB_E_STATE, true);
	twzdb_abort(tx);
	close_db();
}

static void a_handle_of_an_aborted_creation_is_void(void)
{
	struct twzdb_table x, y;
	struct twzdb_slice v;

	open_db("void.twz");
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_table_open(tx, "x", TWZDB_TABLE_CREATE, &x));
	T_OK(twzdb_put(tx, x, et_key(1), et_str("x"), 0));
	T_OK(twzdb_downgrade(tx));
	T_ERR(twzdb_get(tx, x, et_key(1), &v), TWZDB_E_STATE);
	T_OK(twzdb_upgrade(tx));
	all_say(tx, x, TWZDB_E_STATE, true);
	T_REQ(twzdb_table_open(tx, "y", TWZDB_TABLE_CREATE | TWZDB_TABLE_INTKEY, &y));
	T_REQ(twzdb_table_drop(tx, "y"));
	all_say(tx, y, TWZDB_E_STATE, true);
	twzdb_abort(tx);
	close_db();
}

static void readers_do_not_write(void)
{
	struct twzdb_cursor *c;
	struct twzdb_table x;
	uint64_t n;

	open_db("readonly.twz");
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_ERR(twzdb_put(tx, tab, et_key(1), et_str("x"), 0), TWZDB_E_READONLY);
	T_ERR(twzdb_put_if(tx, tab, et_key(1), NULL, et_str("x")), TWZDB_E_READONLY);
	T_ERR(twzdb_del(tx, tab, et_key(1)), TWZDB_E_READONLY);
	T_ERR(twzdb_del_if(tx, tab, et_key(1), et_str("one")), TWZDB_E_READONLY);
	T_ERR(twzdb_del_range(tx, tab, none, none, &n), TWZDB_E_READONLY);
	T_ERR(twzdb_table_open(tx, "new", TWZDB_TABLE_CREATE, &x), TWZDB_E_READONLY);
	T_ERR(twzdb_table_drop(tx, "t"), TWZDB_E_READONLY);
	T_ERR(twzdb_table_rename(tx, "t", "u"), TWZDB_E_READONLY);
	T_REQ(twzdb_cursor_open(tx, tab, &c));
	T_OK(twzdb_cursor_get(c, TWZDB_FIRST, NULL, NULL));
	T_ERR(twzdb_cursor_put(c, et_str("x")), TWZDB_E_READONLY);
	T_ERR(twzdb_cursor_del(c), TWZDB_E_READONLY);
	twzdb_cursor_close(c);
	T_OK(twzdb_commit(tx));
	close_db();
}

static void lengths_and_flags_have_limits(void)
{
	static uint8_t big[1]; /* what is too long is not looked at */
	struct twzdb_slice k = {big, TWZDB_KEY_MAX + 1}, huge = {big, TWZDB_VALUE_MAX + 1}, v,
			   bad = {NULL, 4}, one = et_str("one");
	struct twzdb_cursor *c;
	char name[TWZDB_NAME_MAX + 2];
	uint64_t n;

	open_db("limits.twz");
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_cursor_open(tx, tab, &c));
	T_ERR(twzdb_put(tx, tab, k, one, 0), TWZDB_E_TOOBIG);
	T_ERR(twzdb_put_if(tx, tab, k, NULL, one), TWZDB_E_TOOBIG);
	T_ERR(twzdb_get(tx, tab, k, &v), TWZDB_E_TOOBIG);
	T_ERR(twzdb_del(tx, tab, k), TWZDB_E_TOOBIG);
	T_ERR(twzdb_del_if(tx, tab, k, one), TWZDB_E_TOOBIG);
	T_ERR(twzdb_del_range(tx, tab, k, none, &n), TWZDB_E_TOOBIG);
	T_ERR(twzdb_del_range(tx, tab, none, k, &n), TWZDB_E_TOOBIG);
	T_ERR(twzdb_estimate(tx, tab, k, none, &n), TWZDB_E_TOOBIG);
	T_ERR(twzdb_cursor_get(c, TWZDB_SEEK_GE, &k, &v), TWZDB_E_TOOBIG);
	T_ERR(twzdb_put(tx, tab, et_key(1), huge, 0), TWZDB_E_TOOBIG);
	T_ERR(twzdb_put_if(tx, tab, et_key(1), &one, huge), TWZDB_E_TOOBIG);
	T_OK(twzdb_cursor_get(c, TWZDB_FIRST, NULL, NULL));
	T_ERR(twzdb_cursor_put(c, huge), TWZDB_E_TOOBIG);
	T_ERR(twzdb_put(tx, tab, bad, one, 0), TWZDB_E_INVAL);
	T_ERR(twzdb_put(tx, tab, et_key(1), bad, 0), TWZDB_E_INVAL);
	T_ERR(twzdb_cursor_put(c, bad), TWZDB_E_INVAL);
	T_ERR(twzdb_get(tx, tab, bad, &v), TWZDB_E_INVAL);
	T_ERR(twzdb_del_range(tx, tab, bad, none, &n), TWZDB_E_INVAL);
	for (uint32_t f = 16; f; f <<= 1)
		T_ERR(twzdb_put(tx, tab, et_key(1), one, f), TWZDB_E_INVAL);
	T_ERR(twzdb_put(tx, tab, et_key(1), one, TWZDB_INSERT | TWZDB_UPDATE), TWZDB_E_INVAL);
	T_ERR(twzdb_put(tx, tab, et_key(1), one, TWZDB_UPDATE | TWZDB_APPEND), TWZDB_E_INVAL);
	T_ERR(twzdb_put(tx, tab, et_key(1), one, TWZDB_NODUP), TWZDB_E_KIND);
	for (int op = -3; op < 30; op++)
		if (op < TWZDB_FIRST || op > TWZDB_SEEK_BOTH_GE)
			T_ERR(twzdb_cursor_get(c, (enum twzdb_seek)op, &k, &v), TWZDB_E_INVAL);
		else if (op > TWZDB_CURRENT)
			T_ERR(twzdb_cursor_get(c, (enum twzdb_seek)op, &k, &v), TWZDB_E_KIND);
	for (uint32_t f = 16; f; f <<= 1)
		T_ERR(twzdb_table_open(tx, "t", f, &tab), TWZDB_E_INVAL);
	memset(name, 'n', sizeof(name));
	name[TWZDB_NAME_MAX + 1] = 0;
	T_ERR(twzdb_table_open(tx, name, TWZDB_TABLE_CREATE, &tab), TWZDB_E_INVAL);
	T_ERR(twzdb_table_open(tx, NULL, 0, &tab), TWZDB_E_INVAL);
	T_ERR(twzdb_table_rename(tx, "t", name), TWZDB_E_INVAL);
	name[TWZDB_NAME_MAX] = 0;
	T_OK(twzdb_table_rename(tx, "t", name));
	T_OK(twzdb_table_open(tx, name, 0, &tab));
	T_OK(twzdb_get(tx, tab, et_key(1), &v));
	T_TRUE(et_same(v, one)); /* nothing of all this changed it */
	twzdb_cursor_close(c);
	T_OK(twzdb_commit(tx));
	close_db();
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(a_transaction_that_has_ended_is_of_no_use),
		T_CASE(no_transaction_is_an_error),
		T_CASE(a_cursor_ends_with_its_transaction),
		T_CASE(a_table_of_another_database_is_refused),
		T_CASE(a_handle_never_becomes_another_table),
		T_CASE(a_handle_of_an_aborted_creation_is_void),
		T_CASE(readers_do_not_write),
		T_CASE(lengths_and_flags_have_limits),
		T_END,
	};

	t_err_name = twzdb_err_name;
	t_err_msg = twzdb_errmsg;
	return t_main("engine_input", cases, argc, argv);
}
