/* SPDX-License-Identifier: MIT
 * test_engine_rules.c -- moments between the lines: what holds at a point of time that is hard to meet by chance
 */
#include "engine_t.h"

#include "../../engine/src/internal.h"
#include "../../twz/src/backend.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>

static const char *path;

static int put_rows(struct twzdb *db, uint64_t from, uint64_t cnt)
{
	struct twzdb_txn *tx;
	struct twzdb_table t;
	int err = twzdb_begin(db, 0, &tx);

	if (!err)
		err = twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &t);
	for (uint64_t i = from; i < from + cnt && !err; i++)
		err = twzdb_put(tx, t, et_key(i), et_val(i, 50), 0);
	return err ? err : twzdb_commit(tx);
}

/* --- a changed pointer word and the node's version --- */

static uint32_t version_after_write(struct twzdb *db, struct node_pm *n, uint64_t p)
{
	struct {
		struct lrec_pm h;
		struct item_pm it;
		struct node_wr_pm w;
		uint64_t word;
	} r = {{TWZDB_LREC_MAGIC, 0, TWZDB_LREC_SPACE, 0, sizeof(r), 1},
	       {TWZDB_IT_NODE_WR, 0, sizeof(r.w) + 8, p},
	       {(uint32_t)n->level | (uint32_t)n->n << 8 | (uint32_t)n->pfx << 16, 0,
		(uint64_t)1 << offsetof(struct node_pm, ptr) / 8},
	       n->ptr[0]};

	twzdb__apply(db, &r, sizeof(r));
	return n->ver;
}

/*
 * Another row version in a leaf is nobody's business; another child is: its low fence is what
 * its place in the node means.
 */
static void another_child_changes_the_version(void)
{
	struct node_pm *root, *leaf;
	struct twzdb_txn *tx;
	struct twzdb_table t;
	struct twzdb *db;
	uint64_t p;
	uint32_t ver;
	int err;

	T_REQ(et_open(et_path(ET_LINE, "version.twz"), &db));
	T_REQ(put_rows(db, 0, 300));
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_table_open(tx, "t", 0, &t));
	p = twzdb__table_root(tx, t.h, &err);
	root = twzdb__at(db, p, sizeof(*root));
	leaf = twzdb__at(db, root->ptr[0], sizeof(*leaf));
	T_TRUE(root->level == 1 && leaf->level == 0);
	ver = root->ver;
	T_TRUE(version_after_write(db, root, p) != ver);
	ver = leaf->ver;
	T_TRUE(version_after_write(db, leaf, root->ptr[0]) == ver);
	twzdb_abort(tx);
	T_OK(twzdb_close(db));
}

/* --- after a failed log write (D17) --- */

/*
 * The transaction that was committed with unknown outcome may go on, but must not touch a block
 * its record may name.
 */
static void no_block_is_reserved_after_a_failed_log_write(void)
{
	struct twzdb_txn *tx, *rd;
	struct twzdb_table t;
	struct twzdb *db;

	T_REQ(et_open(et_path(ET_LINE, "failed.twz"), &db));
	T_REQ(put_rows(db, 0, 10));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &rd));
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_table_open(tx, "t", 0, &t));
	T_REQ(twzdb_put(tx, t, et_key(1), et_val(2, 50), 0));
	st64_rel(&db->sh->failed, 1);
	T_ERR(twzdb_put(tx, t, et_key(2), et_val(3, 50), 0), TWZDB_E_IO);
	T_ERR(twzdb_commit_next(tx), TWZDB_E_IO);
	T_ERR(twzdb_put(tx, t, et_key(20), et_val(3, 50), 0), TWZDB_E_IO);
	T_ERR(twzdb_del(tx, t, et_key(3)), TWZDB_E_IO);
	twzdb_abort(tx);
	T_ERR(twzdb_upgrade(rd), TWZDB_E_IO);
	twzdb_abort(rd);
	T_OK(twzdb_close(db));
}

/* --- a restart that was cut short, while somebody else has the store open --- */

/* The log has been recovered, but its recoverer died before it said so. */
static void a_restart_cut_short_at_its_end_is_finished(void)
{
	struct twzdb *a, *b;

	path = et_path(ET_LINE, "end.twz");
	T_REQ(et_open(path, &a));
	T_REQ(put_rows(a, 0, 10));
	st64_rel(&a->sh->ready, 0);
	a->sh->ts = 0;
	T_REQ(et_open(path, &b));
	T_EQ(twzdb_latest_ts(b), 1);
	T_TRUE(et_clean(b));
	T_OK(twzdb_close(b));
	T_OK(twzdb_close(a));
}

static int write_and_die(void *arg)
{
	struct twzdb *db;

	(void)arg;
	if (et_open_opt(path, TWZDB_CREATE, 1 << 20, 0, &db))
		return 1;
	for (uint64_t i = 0; i < 60; i++)
		if (put_rows(db, i * 97 % 500, 20))
			return 1;
	kill(getpid(), SIGKILL);
	return 1;
}

static int open_and_close(void *arg)
{
	struct twzdb *db;

	(void)arg;
	return et_open(path, &db) ? 1 : twzdb_close(db);
}

/* Kill a restart after US microseconds; the store stays open here, by another database of it. */
static void cut_short(long us)
{
	struct twzdb_options o = {
		.size = sizeof(o), .flags = TWZDB_CREATE, .name = "other", .log_len = 64 << 10};
	struct timespec ts = {0, us * 1000};
	struct twzdb *other, *db;
	pid_t pid;

	unlink(path);
	T_EQ(t_fork(write_and_die, NULL), SIGKILL);
	T_REQ(twzdb_open(path, &o, &other));
	fflush(NULL);
	pid = fork();
	if (!pid)
		_exit(open_and_close(NULL));
	nanosleep(&ts, NULL);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	if (!T_OK(et_open(path, &db))) {
		T_EQ(twzdb_latest_ts(db), 60);
		T_TRUE(et_clean(db));
		T_OK(twzdb_close(db));
	}
	T_OK(twzdb_close(other));
}

static void a_restart_cut_short_anywhere_is_finished(void)
{
	path = et_path(ET_LINE, "cut.twz");
	for (long us = 200; us < 5000; us += 80)
		cut_short(us);
}

/* --- a row that page media carried in the log, replayed where lines are flushed (D5) --- */

#define FLUSHES 4096

static struct {
	struct twz__media_ops ops;
	uintptr_t from[FLUSHES], to[FLUSHES];
	unsigned cnt;
} seen;

static void flush_seen(struct twz__media *m, const void *addr, size_t len)
{
	(void)m;
	if (seen.cnt < FLUSHES) {
		seen.from[seen.cnt] = (uintptr_t)addr & ~(uintptr_t)(TWZ_LINE_SIZE - 1);
		seen.to[seen.cnt++] = (uintptr_t)addr + len;
	}
}

static int open_seen(void *ctx, const char *name, uint32_t flags, uint64_t len,
		     struct twz__media **out, int *created)
{
	int err = twz__file_backend.open(ctx, name, flags, len, out, created);

	if (err)
		return err;
	seen.ops = *(*out)->ops;
	seen.ops.flush = flush_seen;
	(*out)->ops = &seen.ops;
	(*out)->clwb = false;
	return 0;
}

static bool was_flushed(uintptr_t at)
{
	for (unsigned i = 0; i < seen.cnt; i++)
		if (at >= seen.from[i] && at < seen.to[i])
			return true;
	return false;
}

#define LONG_LEN 4000

static struct twzdb_slice long_val(uint8_t v)
{
	struct twzdb_slice s = et_val(3, LONG_LEN);

	((uint8_t *)(uintptr_t)s.ptr)[100] = v;
	return s;
}

static int put_long(struct twzdb *db, uint8_t v)
{
	struct twzdb_txn *tx;
	struct twzdb_table t;
	int err = twzdb_begin(db, 0, &tx);

	if (!err)
		err = twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &t);
	if (!err)
		err = twzdb_put(tx, t, et_key(7), long_val(v), 0);
	return err ? err : twzdb_commit(tx);
}

/* The log has what differs, of a row alone and of one among others. */
static int few_bytes_and_die(void *arg)
{
	struct twzdb *db;

	if (et_open(path, &db) || put_long(db, 1) || twzdb_checkpoint(db) || put_long(db, 2))
		return 1;
	if (arg) {
		struct twzdb_txn *tx;
		struct twzdb_table t;

		if (twzdb_begin(db, 0, &tx) || twzdb_table_open(tx, "t", 0, &t) ||
		    twzdb_put(tx, t, et_key(7), long_val(2), 0) ||
		    twzdb_put(tx, t, et_key(8), et_val(8, 10), 0) || twzdb_commit(tx))
			return 1;
	}
	if (db->sh->hold.used_ts < 2)
		return 2;
	kill(getpid(), SIGKILL);
	return 3;
}

static int one_row_and_die(void *arg)
{
	struct twzdb *db;

	(void)arg;
	if (et_open(path, &db) || put_rows(db, 0, 5) || twzdb_checkpoint(db) || put_rows(db, 7, 1))
		return 1;
	kill(getpid(), SIGKILL);
	return 2;
}

/* Everything of row 7, which is WANT, when the store is recovered on cache-line media. */
static void row_is_flushed(struct twzdb_slice want)
{
	static const struct twz__backend backend = {.version = 1, .open = open_seen};
	struct twz_store_options so = {.size = sizeof(so), .backend = &backend};
	struct twzdb_options o = {.size = sizeof(o), .store_options = &so};
	struct twzdb_slice v;
	struct twzdb_txn *tx;
	struct twzdb_table t;
	struct twzdb *db;

	(void)et_path(ET_LINE, "elsewhere");
	seen.cnt = 0;
	T_REQ(twzdb_open(path, &o, &db));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_REQ(twzdb_table_open(tx, "t", 0, &t));
	T_REQ(twzdb_get(tx, t, et_key(7), &v));
	T_TRUE(et_same(v, want));
	T_TRUE(seen.cnt && seen.cnt < FLUSHES);
	for (size_t i = 0; i < v.len; i++)
		T_TRUE(was_flushed((uintptr_t)v.ptr + i));
	twzdb_abort(tx);
	T_OK(twzdb_close(db));
}

static void a_row_from_page_media_is_flushed_where_lines_are(void)
{
	path = et_path(ET_PAGE, "carried.twz");
	T_EQ(t_fork(one_row_and_die, NULL), SIGKILL);
	row_is_flushed(et_val(7, 50));
}

static void a_row_put_together_is_flushed_where_lines_are(void)
{
	path = et_path(ET_PAGE, "ranges.twz");
	T_EQ(t_fork(few_bytes_and_die, NULL), SIGKILL);
	row_is_flushed(long_val(2));
	path = et_path(ET_PAGE, "among.twz");
	T_EQ(t_fork(few_bytes_and_die, &path), SIGKILL);
	row_is_flushed(long_val(2));
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(another_child_changes_the_version),
		T_CASE(no_block_is_reserved_after_a_failed_log_write),
		T_CASE(a_restart_cut_short_at_its_end_is_finished),
		T_CASE(a_restart_cut_short_anywhere_is_finished),
		T_CASE(a_row_from_page_media_is_flushed_where_lines_are),
		T_CASE(a_row_put_together_is_flushed_where_lines_are),
		T_END,
	};

	return t_main("engine_rules", cases, argc, argv);
}
