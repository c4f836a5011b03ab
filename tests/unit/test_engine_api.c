/* SPDX-License-Identifier: MIT
 * test_engine_api.c -- what twzdb.h promises, call by call, with every error it names
 */
#include "engine_t.h"

#include <pthread.h>
#include <sys/wait.h>
#include <time.h>

#include "backend.h"

static struct twzdb *db;
static struct twzdb_txn *tx;
static struct twzdb_table tab;

static void open_db(enum et_media m, const char *name)
{
	T_REQ(et_open(et_path(m, name), &db));
}

static void writer(void)
{
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &tab));
}

static void put(uint64_t i, const char *v)
{
	T_OK(twzdb_put(tx, tab, et_key(i), et_str(v), 0));
}

static bool has(struct twzdb_txn *t, uint64_t i, const char *want)
{
	struct twzdb_slice v;
	int err = twzdb_get(t, tab, et_key(i), &v);

	return want ? !err && et_same(v, et_str(want))
		    : err == TWZDB_E_NOTFOUND && !v.ptr && !v.len;
}

static void close_db(void)
{
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

/* --- opening --- */

static void every_error_has_a_name(void)
{
	T_STR(twzdb_err_name(TWZDB_E_STALE), "TWZDB_E_STALE");
	T_STR(twzdb_err_name(TWZ_E_NOSPC), "TWZ_E_NOSPC");
	T_STR(twzdb_err_name(-ENOENT), "ENOENT");
	T_TRUE(twzdb_errmsg() != NULL);
}

static void open_says_what_is_missing_or_wrong(void)
{
	const char *path = et_path(ET_PAGE, "open.twz");
	struct twzdb_options o = {.size = sizeof(o)};
	FILE *f;

	t_err_name = twzdb_err_name;
	t_err_msg = twzdb_errmsg;
	db = (void *)1;
	T_ERR(twzdb_open(path, NULL, &db), TWZ_E_NOENT);
	T_TRUE(db == NULL);
	T_HAS(twzdb_errmsg(), "open.twz");
	T_ERR(twzdb_open(NULL, NULL, &db), TWZDB_E_INVAL);
	T_ERR(twzdb_open(path, NULL, NULL), TWZDB_E_INVAL);
	o.flags = 64;
	T_ERR(twzdb_open(path, &o, &db), TWZDB_E_INVAL);
	o.flags = TWZDB_EXCL;
	T_ERR(twzdb_open(path, &o, &db), TWZDB_E_INVAL);
	o.flags = TWZDB_CREATE;
	o.name = "";
	T_ERR(twzdb_open(path, &o, &db), TWZDB_E_INVAL);
	o.name = "a/b";
	T_ERR(twzdb_open(path, &o, &db), TWZDB_E_INVAL);
	f = fopen(path, "w");
	fputs("this is no store, whatever its name says. ............................................",
	      f);
	fclose(f);
	o.name = NULL;
	T_ERR(twzdb_open(path, &o, &db), TWZ_E_NOTSTORE);
}

static void databases_of_a_store_are_apart(void)
{
	const char *path = et_path(ET_PAGE, "two.twz");
	struct twzdb_options o = {
		.size = sizeof(o), .flags = TWZDB_CREATE, .log_len = 64 << 10, .name = "sales"};
	struct twzdb *other;
	uint64_t a[2], b[2];

	T_REQ(et_open(path, &db));
	T_REQ(twzdb_open(path, &o, &other));
	T_TRUE(twzdb_store(db) == twzdb_store(other)); /* one store per process and path */
	twzdb_id(db, a);
	twzdb_id(other, b);
	T_TRUE(a[0] != b[0] || a[1] != b[1]);
	writer();
	put(1, "main");
	T_OK(twzdb_commit(tx));
	T_EQ(twzdb_latest_ts(db), 1);
	T_EQ(twzdb_latest_ts(other), 0);
	T_REQ(twzdb_begin(other, TWZDB_RDONLY, &tx));
	T_ERR(twzdb_table_open(tx, "t", 0, &tab), TWZDB_E_NOTFOUND);
	twzdb_abort(tx);
	T_OK(twzdb_close(other));
	o.flags |= TWZDB_EXCL;
	T_ERR(twzdb_open(path, &o, &other), TWZDB_E_EXIST);
	o.flags = 0;
	o.name = "nobody";
	T_ERR(twzdb_open(path, &o, &other), TWZDB_E_NOTFOUND);
	T_HAS(twzdb_errmsg(), "nobody");
	close_db();
}

static void close_waits_for_nobody_but_refuses(void)
{
	open_db(ET_PAGE, "close.twz");
	writer();
	T_ERR(twzdb_close(db), TWZDB_E_STATE);
	twzdb_abort(tx);
	T_OK(twzdb_close(NULL));
	close_db();
}

static int use_inherited(void *arg)
{
	struct twzdb_txn *t;
	struct twzdb_slice v;

	(void)arg;
	if (twzdb_get(tx, tab, et_key(1), &v) != TWZ_E_FORKED || twzdb_reset(tx) != TWZ_E_FORKED ||
	    twzdb_renew(tx) != TWZ_E_FORKED || twzdb_commit(tx) != TWZ_E_FORKED)
		return 2;
	twzdb_abort(tx);
	return twzdb_begin(db, TWZDB_RDONLY, &t) == TWZ_E_FORKED && twzdb_close(db) == TWZ_E_FORKED
		       ? 0
		       : 1;
}

static int open_again(void *arg)
{
	struct twzdb *mine;

	if (et_open(arg, &mine) || twzdb_begin(mine, TWZDB_RDONLY, &tx) ||
	    twzdb_table_open(tx, "t", 0, &tab))
		return 1;
	if (!has(tx, 1, "one"))
		return 2;
	twzdb_abort(tx);
	return twzdb_close(mine) ? 3 : 0;
}

static void a_handle_does_not_survive_fork(void)
{
	const char *path = et_path(ET_PAGE, "fork.twz");

	T_REQ(et_open(path, &db));
	writer();
	put(1, "one");
	T_OK(twzdb_commit(tx));
	for (int state = 0; state < 3; state++) { /* a reader, one that is reset, a writer */
		if (state == 2)
			writer();
		else
			T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
		T_TRUE(has(tx, 1, "one"));
		if (state == 1)
			T_OK(twzdb_reset(tx));
		T_EQ(t_fork(use_inherited, NULL), 0);
		twzdb_abort(tx);
	}
	T_EQ(t_fork(open_again, (void *)(uintptr_t)path), 0);
	close_db();
}

/* --- transactions --- */

static void commit_shows_and_abort_hides(void)
{
	struct twzdb_txn *old;

	open_db(ET_LINE, "txn.twz");
	writer();
	put(1, "a");
	T_TRUE(has(tx, 1, "a")); /* own changes */
	T_TRUE(twzdb_txn_is_writer(tx));
	T_OK(twzdb_commit(tx));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &old));
	T_TRUE(!twzdb_txn_is_writer(old));
	T_EQ(twzdb_txn_ts(old), 1);
	writer();
	put(1, "b");
	put(2, "new");
	T_TRUE(has(old, 1, "a"));
	T_OK(twzdb_commit(tx));
	T_TRUE(has(old, 1, "a") && has(old, 2, NULL)); /* for its whole life */
	writer();
	T_OK(twzdb_del(tx, tab, et_key(1)));
	put(2, "lost");
	twzdb_abort(tx);
	T_OK(twzdb_renew(old));
	T_EQ(twzdb_txn_ts(old), 2);
	T_TRUE(has(old, 1, "b") && has(old, 2, "new"));
	twzdb_abort(old);
	twzdb_abort(NULL);
	T_ERR(twzdb_commit(NULL), TWZDB_E_INVAL);
	T_ERR(twzdb_begin(db, 1 << 20, &tx), TWZDB_E_INVAL);
	writer();
	T_OK(twzdb_commit(tx));
	T_EQ(twzdb_latest_ts(db), 2); /* nothing changed: no commit */
	close_db();
}

static void one_writer_at_a_time(void)
{
	struct twzdb_txn *second;

	open_db(ET_LINE, "lock.twz");
	writer();
	T_ERR(twzdb_begin(db, TWZDB_TRY, &second), TWZDB_E_BUSY);
	T_ERR(twzdb_begin_timed(db, 0, 60, &second), TWZDB_E_TIMEOUT);
	T_EQ(twzdb_writer_waiters(db), 0);
	twzdb_abort(tx);
	T_OK(twzdb_begin(db, TWZDB_TRY | TWZDB_LAZY, &second));
	T_OK(twzdb_commit(second));
	close_db();
}

static void upgrade_needs_the_latest_snapshot(void)
{
	struct twzdb_txn *r, *s;

	open_db(ET_LINE, "upgrade.twz");
	writer();
	put(1, "a");
	T_OK(twzdb_commit(tx));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &r));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &s));
	T_ERR(twzdb_put(r, tab, et_key(1), et_str("x"), 0), TWZDB_E_READONLY);
	T_ERR(twzdb_downgrade(r), TWZDB_E_STATE);
	T_ERR(twzdb_commit_keep(r), TWZDB_E_STATE);
	T_OK(twzdb_upgrade(r));
	T_ERR(twzdb_upgrade(r), TWZDB_E_STATE);
	T_ERR(twzdb_renew(r), TWZDB_E_STATE);
	T_ERR(twzdb_upgrade(s), TWZDB_E_BUSY);
	T_TRUE(has(s, 1, "a")); /* goes on as a reader */
	T_OK(twzdb_put(r, tab, et_key(1), et_str("b"), 0));
	T_OK(twzdb_downgrade(r));
	T_TRUE(has(r, 1, "a"));
	T_OK(twzdb_upgrade(r));
	T_OK(twzdb_put(r, tab, et_key(1), et_str("c"), 0));
	T_OK(twzdb_commit_keep(r));
	T_TRUE(!twzdb_txn_is_writer(r) && has(r, 1, "c"));
	T_EQ(twzdb_txn_ts(r), 2);
	T_ERR(twzdb_upgrade(s), TWZDB_E_STALE);
	T_TRUE(has(s, 1, "a"));
	T_OK(twzdb_commit(s));
	T_OK(twzdb_upgrade(r)); /* exactly the committed version is the latest */
	twzdb_abort(r);
	close_db();
}

static void *commit_elsewhere(void *arg)
{
	return (void *)(intptr_t)twzdb_commit(arg);
}

static void a_transaction_may_move_to_another_thread(void)
{
	pthread_t th;
	void *ret;

	open_db(ET_PAGE, "move.twz");
	writer();
	put(1, "a");
	pthread_create(&th, NULL, commit_elsewhere, tx);
	pthread_join(th, &ret);
	T_EQ((intptr_t)ret, 0);
	writer();
	T_TRUE(has(tx, 1, "a"));
	twzdb_abort(tx);
	close_db();
}

static int order[4];
static int order_cnt;

static void *queue_up(void *arg)
{
	struct twzdb_txn *t;

	if (!twzdb_begin(db, 0, &t)) {
		order[order_cnt++] = (int)(intptr_t)arg;
		twzdb_abort(t);
	}
	return NULL;
}

static void waiting_writers_are_served_in_order(void)
{
	struct timespec ms = {0, 1000000};
	pthread_t th[4];

	open_db(ET_LINE, "fifo.twz");
	order_cnt = 0;
	writer();
	for (int i = 0; i < 4; i++) {
		pthread_create(&th[i], NULL, queue_up, (void *)(intptr_t)i);
		while (twzdb_writer_waiters(db) != (uint32_t)i + 1)
			nanosleep(&ms, NULL);
	}
	twzdb_abort(tx);
	for (int i = 0; i < 4; i++)
		pthread_join(th[i], NULL);
	T_EQ(order_cnt, 4);
	for (int i = 0; i < 4; i++)
		T_EQ(order[i], i);
	close_db();
}

static void too_many_transactions_is_an_error(void)
{
	static struct twzdb_txn *all[12000];
	int n = 0, err = 0;

	open_db(ET_LINE, "full.twz");
	while (n < 12000 && !(err = twzdb_begin(db, TWZDB_RDONLY, &all[n])))
		n++;
	T_EQ(n, 10240);
	T_EQ(err, TWZDB_E_FULL);
	twzdb_abort(all[--n]); /* those who read keep nobody from writing */
	writer();
	T_OK(twzdb_put(tx, tab, et_key(1), et_str("a"), 0));
	T_OK(twzdb_commit(tx));
	while (n)
		twzdb_abort(all[--n]);
	close_db();
}

/* --- rows --- */

static void put_and_del_say_what_they_found(void)
{
	static uint8_t big[5000];
	struct twzdb_slice k = {big, sizeof(big)}, huge = {big, TWZDB_VALUE_MAX + 1}, v,
			   none = {NULL, 0};

	open_db(ET_LINE, "rows.twz");
	writer();
	T_OK(twzdb_put(tx, tab, et_key(1), et_str("a"), TWZDB_INSERT));
	T_ERR(twzdb_put(tx, tab, et_key(1), et_str("b"), TWZDB_INSERT), TWZDB_E_EXIST);
	T_ERR(twzdb_put(tx, tab, et_key(2), et_str("b"), TWZDB_UPDATE), TWZDB_E_NOTFOUND);
	T_ERR(twzdb_del(tx, tab, et_key(2)), TWZDB_E_NOTFOUND);
	T_ERR(twzdb_put(tx, tab, et_key(1), et_str("b"), 77), TWZDB_E_INVAL);
	T_ERR(twzdb_put(tx, (struct twzdb_table){0}, et_key(1), et_str("b"), 0), TWZDB_E_INVAL);
	T_ERR(twzdb_get(tx, tab, et_key(1), NULL), TWZDB_E_INVAL);
	T_OK(twzdb_put(tx, tab, k, et_str("long"), 0));
	/* the empty key is a key, the empty value a value */
	T_OK(twzdb_put(tx, tab, none, none, 0));
	T_OK(twzdb_get(tx, tab, none, &v));
	T_EQ(v.len, 0);
	k.len = TWZDB_KEY_MAX + 1; /* its bytes are not looked at */
	T_ERR(twzdb_put(tx, tab, k, et_str("x"), 0), TWZDB_E_TOOBIG);
	T_ERR(twzdb_get(tx, tab, k, &v), TWZDB_E_TOOBIG);
	T_ERR(twzdb_put(tx, tab, et_key(1), huge, 0), TWZDB_E_TOOBIG);
	T_OK(twzdb_commit(tx));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_ERR(twzdb_del(tx, tab, et_key(1)), TWZDB_E_READONLY);
	T_ERR(twzdb_table_open(tx, "new", TWZDB_TABLE_CREATE, &tab), TWZDB_E_READONLY);
	twzdb_abort(tx);
	close_db();
}

static void values_of_any_length(enum et_media m)
{
	static const size_t lens[] = {0,     1,	    511,   512,	  513,	  4096,	 16384,
				      21000, 32768, 65000, 70000, 300000, 900000};
	const size_t n = sizeof(lens) / sizeof(lens[0]);
	struct twzdb_slice v;

	open_db(m, "values.twz");
	for (int round = 0; round < 3; round++) {
		writer();
		for (size_t i = 0; i < n; i++)
			T_OK(twzdb_put(tx, tab, et_key(i), et_val(i + (uint64_t)round, lens[i]),
				       0));
		T_OK(twzdb_commit(tx));
	}
	T_OK(twzdb_close(db));
	T_REQ(et_open(et_path(m, "values.twz"), &db));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_REQ(twzdb_table_open(tx, "t", 0, &tab));
	for (size_t i = 0; i < n; i++) {
		volatile uint8_t sink;

		T_OK(twzdb_get(tx, tab, et_key(i), &v));
		T_TRUE(et_same(v, et_val(i + 2, lens[i])));
		sink = ((const uint8_t *)v.ptr)[v.len + (v.len > 512 ? 255 : 7)]; /* readable */
		(void)sink;
	}
	twzdb_abort(tx);
	close_db();
}

static void values_of_any_length_on_page_media(void)
{
	values_of_any_length(ET_PAGE);
}

static void values_of_any_length_on_cache_line_media(void)
{
	values_of_any_length(ET_LINE);
}

static void a_value_may_be_overwritten_from_itself(void)
{
	struct twzdb_slice v;

	open_db(ET_LINE, "self.twz");
	writer();
	put(1, "0123456789");
	T_OK(twzdb_get(tx, tab, et_key(1), &v));
	v.ptr = (const char *)v.ptr + 2;
	v.len = 5;
	T_OK(twzdb_put(tx, tab, et_key(1), v, 0));
	T_TRUE(has(tx, 1, "23456"));
	T_OK(twzdb_commit(tx));
	close_db();
}

static void delete_and_insert_again_in_one_transaction(void)
{
	uint64_t cnt;

	open_db(ET_LINE, "again.twz");
	writer();
	put(1, "a");
	T_OK(twzdb_commit(tx));
	writer();
	T_OK(twzdb_del(tx, tab, et_key(1)));
	T_TRUE(has(tx, 1, NULL));
	put(1, "b");
	T_OK(twzdb_del(tx, tab, et_key(1)));
	T_ERR(twzdb_del(tx, tab, et_key(1)), TWZDB_E_NOTFOUND);
	put(2, "x");
	T_OK(twzdb_del(tx, tab, et_key(2)));
	T_OK(twzdb_count(tx, tab, &cnt));
	T_EQ(cnt, 0);
	put(1, "c");
	T_OK(twzdb_commit(tx));
	writer();
	T_TRUE(has(tx, 1, "c") && has(tx, 2, NULL));
	twzdb_abort(tx);
	close_db();
}

/* --- tables --- */

static int list_fn(void *ctx, const char *name, uint64_t rows)
{
	char *out = ctx;

	sprintf(out + strlen(out), "%s:%" PRIu64 " ", name, rows);
	return !strcmp(name, "stop") ? 42 : 0;
}

static void tables_come_and_go_with_their_transaction(void)
{
	struct twzdb_txn *old;
	struct twzdb_table x;
	char out[256] = "";

	open_db(ET_LINE, "tables.twz");
	writer();
	for (uint64_t i = 0; i < 500; i++)
		put(i, "row");
	T_ERR(twzdb_table_open(tx, "nobody", 0, &x), TWZDB_E_NOTFOUND);
	T_ERR(twzdb_table_open(tx, "", TWZDB_TABLE_CREATE, &x), TWZDB_E_INVAL);
	T_ERR(twzdb_table_open(tx, "t", 64, &x), TWZDB_E_INVAL);
	T_OK(twzdb_table_open(tx, "a", TWZDB_TABLE_CREATE, &x));
	T_OK(twzdb_commit(tx));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &old));
	T_REQ(twzdb_begin(db, 0, &tx));
	T_OK(twzdb_table_drop(tx, "t"));
	T_ERR(twzdb_put(tx, tab, et_key(1), et_str("x"), 0), TWZDB_E_STATE);
	T_ERR(twzdb_table_drop(tx, "t"), TWZDB_E_NOTFOUND);
	T_OK(twzdb_table_list(tx, list_fn, out));
	T_STR(out, "a:0 ");
	T_OK(twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &tab));
	put(7, "second life");
	T_OK(twzdb_table_open(tx, "stop", TWZDB_TABLE_CREATE, &x));
	T_OK(twzdb_commit(tx));
	T_REQ(twzdb_table_open(old, "t", 0, &tab));
	/* the first one, for as long as the snapshot lives */
	T_TRUE(has(old, 7, "row") && has(old, 499, "row"));
	out[0] = 0;
	T_OK(twzdb_table_list(old, list_fn, out));
	T_STR(out, "a:0 t:500 ");
	twzdb_abort(old);
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &old));
	out[0] = 0;
	T_EQ(twzdb_table_list(old, list_fn, out), 42);
	T_STR(out, "a:0 stop:0 ");
	twzdb_abort(old);
	close_db();
}

/* --- cursors --- */

static int cur(struct twzdb_cursor *c, enum twzdb_seek op, uint64_t *key)
{
	struct twzdb_slice k = et_key(*key), v;
	int err = twzdb_cursor_get(c, op, &k, &v);

	if (!err)
		*key = et_num(k);
	return err;
}

/* Committed, in another block, in its own block, on savepoints, gone again: it is what get says. */
static bool put_lies(uint64_t i)
{
	struct twzdb_slice a, b;

	return !twzdb_last_put(tx, &a) && !twzdb_get(tx, tab, et_key(i), &b) && a.ptr == b.ptr &&
	       a.len == b.len;
}

static void last_put_is_where_get_finds_it(void)
{
	static char big[5000];
	struct twzdb_slice v = {big, sizeof(big)};
	uint32_t id;

	open_db(ET_PAGE, "lastput.twz");
	writer();
	T_ERR(twzdb_last_put(tx, &v), TWZDB_E_STATE);
	T_TRUE(!v.ptr && !v.len);
	put(1, "one");
	T_TRUE(put_lies(1));
	put(2, "two");
	T_TRUE(put_lies(2));
	put(1, "uno");
	T_TRUE(put_lies(1));
	v = (struct twzdb_slice){big, sizeof(big)};
	T_OK(twzdb_put(tx, tab, et_key(1), v, 0));
	T_TRUE(put_lies(1));
	T_OK(twzdb_savepoint(tx, &id));
	T_OK(twzdb_put(tx, tab, et_key(1), v, 0));
	T_TRUE(put_lies(1));
	T_OK(twzdb_rollback_to(tx, id));
	T_ERR(twzdb_last_put(tx, &v), TWZDB_E_STATE);
	put(3, "three");
	T_OK(twzdb_del(tx, tab, et_key(3)));
	T_ERR(twzdb_last_put(tx, &v), TWZDB_E_STATE);
	put(3, "three");
	T_OK(twzdb_commit_next(tx));
	T_ERR(twzdb_last_put(tx, &v), TWZDB_E_STATE);
	put(3, "tres");
	T_TRUE(put_lies(3));
	T_OK(twzdb_commit_keep(tx));
	T_ERR(twzdb_last_put(tx, &v), TWZDB_E_READONLY);
	T_TRUE(has(tx, 3, "tres"));
	T_ERR(twzdb_last_put(tx, NULL), TWZDB_E_INVAL);
	twzdb_abort(tx);
	close_db();
}

static void cursors_go_both_ways_and_stop_at_the_ends(void)
{
	struct twzdb_slice k, v;
	struct twzdb_cursor *c;
	uint64_t i = 0;

	open_db(ET_LINE, "cursor.twz");
	writer();
	T_REQ(twzdb_cursor_open(tx, tab, &c));
	T_ERR(cur(c, TWZDB_FIRST, &i), TWZDB_E_NOTFOUND);
	T_ERR(cur(c, TWZDB_LAST, &i), TWZDB_E_NOTFOUND);
	for (uint64_t j = 10; j <= 1000; j += 10)
		put(j, "v");
	T_OK(cur(c, TWZDB_FIRST, &i));
	T_EQ(i, 10);
	T_ERR(cur(c, TWZDB_PREV, &i), TWZDB_E_NOTFOUND);
	T_OK(cur(c, TWZDB_NEXT, &i));
	T_EQ(i, 10); /* before the first: NEXT is the first */
	T_OK(cur(c, TWZDB_LAST, &i));
	T_EQ(i, 1000);
	T_ERR(cur(c, TWZDB_NEXT, &i), TWZDB_E_NOTFOUND);
	T_ERR(cur(c, TWZDB_NEXT, &i), TWZDB_E_NOTFOUND);
	T_OK(cur(c, TWZDB_PREV, &i));
	T_EQ(i, 1000); /* past the end: PREV is the last */
	i = 505;
	T_ERR(cur(c, TWZDB_SEEK, &i), TWZDB_E_NOTFOUND);
	T_ERR(cur(c, TWZDB_CURRENT, &i), TWZDB_E_NOTFOUND);
	T_OK(cur(c, TWZDB_SEEK_GE, &i));
	T_EQ(i, 510);
	i = 505;
	T_OK(cur(c, TWZDB_SEEK_LE, &i));
	T_EQ(i, 500);
	T_OK(cur(c, TWZDB_CURRENT, &i));
	T_EQ(i, 500);
	i = 5;
	T_ERR(cur(c, TWZDB_SEEK_LE, &i), TWZDB_E_NOTFOUND);
	i = 1001;
	T_ERR(cur(c, TWZDB_SEEK_GE, &i), TWZDB_E_NOTFOUND);
	T_ERR(twzdb_cursor_get(c, 99, &k, &v), TWZDB_E_INVAL);
	T_ERR(twzdb_cursor_get(c, TWZDB_SEEK, NULL, &v), TWZDB_E_INVAL);
	T_OK(cur(c, TWZDB_FIRST, &i));
	T_OK(twzdb_cursor_get(c, TWZDB_NEXT, NULL, NULL));
	twzdb_cursor_close(c);
	twzdb_cursor_close(NULL);
	twzdb_abort(tx);
	close_db();
}

static void a_cursor_follows_its_own_changes(void)
{
	struct twzdb_cursor *c;
	uint64_t i = 0, cnt;

	open_db(ET_LINE, "own.twz");
	writer();
	for (uint64_t j = 1; j <= 2000; j++)
		put(j, "v");
	T_OK(twzdb_commit(tx));
	writer();
	T_REQ(twzdb_cursor_open(tx, tab, &c));
	T_ERR(twzdb_cursor_del(c), TWZDB_E_STATE);
	for (uint64_t j = 1; j <= 2000; j++) {
		T_OK(cur(c, j == 1 ? TWZDB_FIRST : TWZDB_NEXT, &i));
		if (!T_EQ(i, j))
			break;
		if (j % 2)
			T_OK(twzdb_cursor_del(c));
		else
			T_OK(twzdb_cursor_put(
				c,
				et_str("a much longer value, in another size class than the old one")));
		if (j % 5 == 0)
			put(j + 100000, "behind"); /* splits to the right of the cursor */
		if (j % 7 == 0)
			T_OK(twzdb_put(tx, tab, et_str(""), et_str("front"), 0));
	}
	T_ERR(twzdb_cursor_get(c, TWZDB_SEEK, &(struct twzdb_slice){NULL, 8}, NULL), TWZDB_E_INVAL);
	twzdb_cursor_close(c);
	T_OK(twzdb_count(tx, tab, &cnt));
	T_EQ(cnt, 1000 + 400 + 1);
	T_OK(twzdb_del_range(tx, tab, et_key(100000), (struct twzdb_slice){NULL, 0}, &cnt));
	T_EQ(cnt, 400);
	T_OK(twzdb_commit(tx));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_ERR(twzdb_del_range(tx, tab, et_key(1), et_key(2), &cnt), TWZDB_E_READONLY);
	T_REQ(twzdb_cursor_open(tx, tab, &c));
	T_OK(cur(c, TWZDB_FIRST, &i));
	T_ERR(twzdb_cursor_del(c), TWZDB_E_READONLY);
	twzdb_cursor_close(c);
	twzdb_abort(tx);
	close_db();
}

static void an_emptied_table_shrinks(void)
{
	struct twzdb_stats st = {.size = sizeof(st)};
	uint64_t cnt;

	open_db(ET_LINE, "shrink.twz");
	writer();
	for (uint64_t j = 0; j < 20000; j++)
		put(j, "v");
	T_OK(twzdb_commit(tx));
	T_OK(twzdb_stats(db, &st));
	T_TRUE(st.node_cnt > 700 && st.splits > 0 && st.table_cnt == 1);
	writer();
	T_OK(twzdb_del_range(tx, tab, (struct twzdb_slice){NULL, 0}, (struct twzdb_slice){NULL, 0},
			     &cnt));
	T_EQ(cnt, 20000);
	T_OK(twzdb_commit(tx));
	T_OK(twzdb_checkpoint(db)); /* purges what no snapshot needs */
	T_OK(twzdb_stats(db, &st));
	T_TRUE(st.node_cnt <= 3);
	T_TRUE(st.record_cnt <= 3);
	close_db();
}

/* --- reports --- */

static void dump_shows_tables_nodes_and_log(void)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	open_db(ET_LINE, "dump.twz");
	writer();
	for (uint64_t j = 0; j < 100; j++)
		put(j, "v");
	T_OK(twzdb_commit(tx));
	T_OK(twzdb_dump(db, TWZDB_DUMP_TABLES | TWZDB_DUMP_NODES | TWZDB_DUMP_LOG, f));
	fclose(f);
	T_HAS(text, "database 'main'");
	T_HAS(text, "table 't' rows=100");
	T_HAS(text, "level=1");
	T_HAS(text, "kind=COMMIT ts=1");
	T_HAS(text, "NODE_NEW");
	free(text);
	T_ERR(twzdb_dump(db, 0, NULL), TWZDB_E_INVAL);
	T_ERR(twzdb_stats(db, NULL), TWZDB_E_INVAL);
	T_ERR(twzdb_check(NULL, NULL, NULL, NULL), TWZDB_E_INVAL);
	close_db();
}

/* --- failing media --- */

static int fail_grow, fail_write;
static struct twz__media_ops real, failing;

static int grow(struct twz__media *m, uint64_t len)
{
	return fail_grow ? TWZ_E_NOSPC : real.grow(m, len);
}

static int write_sync(struct twz__media *m, const void *buf, uint64_t off, uint64_t len)
{
	return fail_write && --fail_write == 0 ? TWZ_E_IO : real.write_sync(m, buf, off, len);
}

static int failing_open(void *ctx, const char *path, uint32_t flags, uint64_t len,
			struct twz__media **out, int *created)
{
	int err = twz__file_backend.open(ctx, path, flags, len, out, created);

	if (!err) {
		real = failing = *(*out)->ops;
		failing.grow = grow;
		failing.write_sync = write_sync;
		(*out)->ops = &failing;
	}
	return err;
}

static const struct twz__backend failing_backend = {1, NULL, failing_open};

static int open_failing(const char *path)
{
	struct twz_store_options so = {
		.size = sizeof(so), .flags = TWZ_STORE_CREATE, .backend = &failing_backend};
	struct twzdb_options o = {.size = sizeof(o),
				  .flags = TWZDB_CREATE,
				  .log_len = 64 << 10,
				  .store_options = &so};

	fail_grow = fail_write = 0;
	return twzdb_open(path, &o, &db);
}

static void a_full_disk_loses_nothing(void)
{
	int err = 0;
	uint64_t n = 0, cnt;

	T_REQ(open_failing(et_path(ET_PAGE, "nospc.twz")));
	writer();
	put(1, "kept");
	T_OK(twzdb_commit(tx));
	fail_grow = 1;
	writer();
	for (; !err && n < 100000; n++)
		err = twzdb_put(tx, tab, et_key(100 + n), et_val(n, 3000), 0);
	T_EQ(err, TWZDB_E_NOSPC);
	twzdb_abort(tx);
	writer();
	T_TRUE(has(tx, 1, "kept"));
	put(2, "fits");
	T_OK(twzdb_commit(tx));
	fail_grow = 0;
	writer();
	for (uint64_t i = 0; i < n; i++)
		T_OK(twzdb_put(tx, tab, et_key(100 + i), et_val(i, 3000), 0));
	T_OK(twzdb_commit(tx));
	writer();
	T_OK(twzdb_count(tx, tab, &cnt));
	T_EQ(cnt, n + 2);
	twzdb_abort(tx);
	close_db();
}

static void a_savepoint_gives_back_the_room_it_took(void)
{
	uint64_t n = 0, cnt;
	uint32_t id;
	int err = 0;

	T_REQ(open_failing(et_path(ET_PAGE, "nospc2.twz")));
	writer();
	for (uint64_t i = 0; i < 100; i++)
		T_OK(twzdb_put(tx, tab, et_key(i), et_val(i, 3000), 0));
	T_OK(twzdb_commit(tx));
	fail_grow = 1;
	writer();
	put(1, "before");
	T_OK(twzdb_savepoint(tx, &id));
	T_OK(twzdb_del_range(tx, tab, et_key(50), et_key(60), &cnt));
	for (; !err && n < 100000; n++)
		err = twzdb_put(tx, tab, et_key(1000 + n), et_val(n, 3000), 0);
	T_EQ(err, TWZDB_E_NOSPC);
	T_OK(twzdb_rollback_to(tx, id));
	T_TRUE(has(tx, 1, "before"));
	for (uint64_t i = 0; i + 1 < n; i++) /* as much fits as before */
		T_OK(twzdb_put(tx, tab, et_key(2000 + i), et_val(i, 3000), 0));
	T_OK(twzdb_rollback_to(tx, id));
	put(2, "after");
	T_OK(twzdb_commit(tx));
	writer();
	T_OK(twzdb_count(tx, tab, &cnt));
	T_EQ(cnt, 100);
	T_TRUE(has(tx, 1, "before") && has(tx, 2, "after"));
	twzdb_abort(tx);
	fail_grow = 0;
	close_db();
}

static void a_failed_log_write_stops_writers_until_reopening(void)
{
	const char *path = et_path(ET_PAGE, "io.twz");

	T_REQ(open_failing(path));
	writer();
	put(1, "a");
	T_OK(twzdb_commit(tx));
	writer();
	put(1, "b");
	fail_write = 1;
	T_ERR(twzdb_commit(tx), TWZDB_E_IO);
	T_ERR(twzdb_begin(db, 0, &tx), TWZDB_E_IO);
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx)); /* what was published is readable */
	T_TRUE(has(tx, 1, "a"));
	T_ERR(twzdb_upgrade(tx), TWZDB_E_IO);
	twzdb_abort(tx);
	(void)twzdb_close(db);
	T_REQ(open_failing(path));
	writer();
	T_TRUE(has(tx, 1, "a") || has(tx, 1, "b")); /* restart decides */
	put(1, "c");
	T_OK(twzdb_commit(tx));
	close_db();
}

static void small_stores_are_small(void)
{
	struct twz_store_options so = {.size = sizeof(so),
				       .flags = TWZ_STORE_CREATE,
				       .journal_len = 16 << 10,
				       .initial_len = 512 << 10};
	struct twzdb_options o = {.size = sizeof(o),
				  .flags = TWZDB_CREATE,
				  .log_len = 16 << 10,
				  .initial_len = 128 << 10,
				  .store_options = &so};
	struct twz_store_info info = {.size = sizeof(info)};

	T_REQ(twzdb_open(et_path(ET_PAGE, "small.twz"), &o, &db));
	for (uint64_t i = 0; i < 60; i++) {
		writer();
		put(i % 10, "value");
		T_OK(twzdb_commit(tx));
	}
	T_OK(twz_store_info(twzdb_store(db), &info));
	T_TRUE(info.len <= 1 << 20);
	close_db();
}

static void reopening_uses_the_room_there_is(void)
{
	struct twzdb_stats st = {.size = sizeof(st)};
	uint64_t used = 0;

	for (uint64_t i = 0; i < 60; i++) {
		open_db(ET_LINE, "reopen.twz");
		writer();
		put(i, "a row in every session");
		/* a run, with units that have no header */
		T_OK(twzdb_put(tx, tab, et_key(1000), et_val(i, 70000), 0));
		T_OK(twzdb_commit(tx));
		T_OK(twzdb_stats(db, &st));
		used = i == 5 ? st.data_len : used;
		close_db();
	}
	T_EQ(st.data_len, used);
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(every_error_has_a_name),
		T_CASE(open_says_what_is_missing_or_wrong),
		T_CASE(databases_of_a_store_are_apart),
		T_CASE(close_waits_for_nobody_but_refuses),
		T_CASE(a_handle_does_not_survive_fork),
		T_CASE(commit_shows_and_abort_hides),
		T_CASE(one_writer_at_a_time),
		T_CASE(upgrade_needs_the_latest_snapshot),
		T_CASE(a_transaction_may_move_to_another_thread),
		T_CASE(waiting_writers_are_served_in_order),
		T_CASE(too_many_transactions_is_an_error),
		T_CASE(put_and_del_say_what_they_found),
		T_CASE(values_of_any_length_on_page_media),
		T_CASE(values_of_any_length_on_cache_line_media),
		T_CASE(a_value_may_be_overwritten_from_itself),
		T_CASE(delete_and_insert_again_in_one_transaction),
		T_CASE(tables_come_and_go_with_their_transaction),
		T_CASE(last_put_is_where_get_finds_it),
		T_CASE(cursors_go_both_ways_and_stop_at_the_ends),
		T_CASE(a_cursor_follows_its_own_changes),
		T_CASE(an_emptied_table_shrinks),
		T_CASE(dump_shows_tables_nodes_and_log),
		T_CASE(a_full_disk_loses_nothing),
		T_CASE(a_savepoint_gives_back_the_room_it_took),
		T_CASE(a_failed_log_write_stops_writers_until_reopening),
		T_CASE(small_stores_are_small),
		T_CASE(reopening_uses_the_room_there_is),
		T_END,
	};

	t_err_name = twzdb_err_name;
	t_err_msg = twzdb_errmsg;
	return t_main("engine_api", cases, argc, argv);
}
