/* SPDX-License-Identifier: MIT
 * test_engine_backup.c -- a store is copied while others write it: the copy is whole, of one moment, or not there
 */
#include "../../engine/src/internal.h"
#include "engine_t.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char src[300], dst[310], part[320];
static struct twzdb *db[2];

static int open_db(const char *path, const char *name, uint32_t flags, struct twzdb **out)
{
	struct twzdb_options o = {
		.size = sizeof(o), .flags = flags, .name = name, .log_len = 256 << 10};

	t_err_name = twzdb_err_name;
	t_err_msg = twzdb_errmsg;
	return twzdb_open(path, &o, out);
}

static void scene(enum et_media m)
{
	snprintf(src, sizeof(src), "%s", et_path(m, "src.twz"));
	snprintf(dst, sizeof(dst), "%s.copy", src);
	snprintf(part, sizeof(part), "%s.part", dst);
	unlink(src);
	unlink(dst);
	unlink(part);
	T_REQ(open_db(src, "main", TWZDB_CREATE, &db[0]));
	T_REQ(open_db(src, "other", TWZDB_CREATE, &db[1]));
}

static void scene_end(void)
{
	T_OK(twzdb_close(db[0]));
	T_OK(twzdb_close(db[1]));
	unlink(src);
	unlink(dst);
	T_TRUE(access(part, F_OK) != 0);
}

/* Rows of all kinds and lengths. */
static void fill(struct twzdb *d, uint64_t rows)
{
	struct twzdb_table t, num, dup;
	struct twzdb_txn *tx;
	uint64_t k;

	T_REQ(twzdb_begin(d, 0, &tx));
	T_REQ(twzdb_table_open(tx, "rows", TWZDB_TABLE_CREATE, &t));
	T_REQ(twzdb_table_open(tx, "num", TWZDB_TABLE_CREATE | TWZDB_TABLE_INTKEY, &num));
	T_REQ(twzdb_table_open(tx, "dup", TWZDB_TABLE_CREATE | TWZDB_TABLE_DUPSORT, &dup));
	for (uint64_t i = 0; i < rows; i++) {
		T_OK(twzdb_put(tx, t, et_key(i * 7919 % rows), et_val(i, i % 300), 0));
		k = i * 3;
		T_OK(twzdb_put(tx, num, (struct twzdb_slice){&k, 8}, et_val(i, 20), 0));
		T_OK(twzdb_put(tx, dup, et_key(i / 5), et_val(i, 1 + i % 9), 0));
	}
	T_OK(twzdb_put(tx, t, et_str("a large one"), et_val(1, 1 << 20), 0));
	T_OK(twzdb_put(tx, t, et_str(""), et_str(""), 0));
	T_REQ(twzdb_table_open(tx, "empty", TWZDB_TABLE_CREATE, &t));
	T_OK(twzdb_commit(tx));
	T_REQ(twzdb_begin(d, 0, &tx));
	T_REQ(twzdb_table_open(tx, "rows", 0, &t));
	for (uint64_t i = 0; i < rows; i += 3)
		T_OK(twzdb_del(tx, t, et_key(i)));
	T_OK(twzdb_commit(tx));
}

struct lister {
	struct twzdb_txn *a, *b;
	unsigned tables;
};

static int same_table(void *ctx, const char *name, struct twzdb_table t, uint32_t kind)
{
	struct twzdb_slice ka, va, kb, vb;
	struct twzdb_cursor *ca, *cb;
	struct lister *l = ctx;
	struct twzdb_table u;
	int ra, rb;

	T_OK(twzdb_table_open(l->b, name, kind, &u));
	T_OK(twzdb_cursor_open(l->a, t, &ca));
	T_OK(twzdb_cursor_open(l->b, u, &cb));
	do {
		ra = twzdb_cursor_get(ca, TWZDB_NEXT, &ka, &va);
		rb = twzdb_cursor_get(cb, TWZDB_NEXT, &kb, &vb);
		T_EQ(ra, rb);
		if (!ra && !rb)
			T_TRUE(et_same(ka, kb) && et_same(va, vb));
	} while (!ra && !rb);
	T_EQ(ra, TWZDB_E_NOTFOUND);
	twzdb_cursor_close(ca);
	twzdb_cursor_close(cb);
	l->tables++;
	return 0;
}

static void same(struct twzdb *a, const char *name)
{
	struct lister l = {0};
	struct twzdb *b;

	T_REQ(open_db(dst, name, 0, &b));
	T_TRUE(et_clean(b));
	T_REQ(twzdb_begin(a, TWZDB_RDONLY, &l.a));
	T_REQ(twzdb_begin(b, TWZDB_RDONLY, &l.b));
	T_OK(twzdb_table_each(l.a, same_table, &l));
	T_EQ(l.tables, 4);
	twzdb_abort(l.a);
	twzdb_abort(l.b);
	T_OK(twzdb_close(b));
}

struct seen {
	uint64_t calls, last, total;
	uint64_t stop_at;
};

static int progress(void *ctx, uint64_t done, uint64_t total)
{
	struct seen *s = ctx;

	T_TRUE(done >= s->last && done <= total);
	s->calls++;
	s->last = done;
	s->total = total;
	return s->stop_at && done >= s->stop_at ? -ECANCELED : 0;
}

static void the_copy_is_the_same(void)
{
	for (int m = ET_PAGE; m <= ET_LINE; m++) {
		struct seen s = {0};
		struct twzdb_backup_options o = {
			.size = sizeof(o), .progress = progress, .ctx = &s};
		struct stat big, small;

		scene((enum et_media)m);
		fill(db[0], 30000);
		fill(db[1], 50);
		T_OK(twzdb_backup(src, dst, &o));
		T_TRUE(s.calls > 10);
		T_EQ(s.last, s.total);
		same(db[0], "main");
		same(db[1], "other");
		T_ERR(twzdb_backup(src, dst, NULL), TWZDB_E_EXIST);
		T_OK(stat(src, &big));
		T_OK(stat(dst, &small));
		T_TRUE(small.st_blocks <= big.st_blocks);
		scene_end();
	}
}

static void wrong_calls_leave_nothing_behind(void)
{
	struct seen s = {.stop_at = 1000};
	struct twzdb_backup_options o = {.size = sizeof(o), .progress = progress, .ctx = &s};
	struct twzdb_txn *tx;

	scene(ET_LINE);
	fill(db[0], 3000);
	T_ERR(twzdb_backup(NULL, dst, NULL), TWZDB_E_INVAL);
	T_ERR(twzdb_backup(src, "", NULL), TWZDB_E_INVAL);
	T_ERR(twzdb_backup("/nowhere/at.all", dst, NULL), TWZ_E_NOENT);
	T_ERR(twzdb_backup(src, src, NULL), TWZDB_E_EXIST);
	T_ERR(twzdb_backup(src, dst, &o), -ECANCELED);
	T_TRUE(access(dst, F_OK) && access(part, F_OK));
	/* Somebody writes, and goes on writing. */
	o = (struct twzdb_backup_options){.size = sizeof(o), .timeout_ms = 30};
	T_REQ(twzdb_begin(db[1], 0, &tx));
	T_ERR(twzdb_backup(src, dst, &o), TWZDB_E_TIMEOUT);
	twzdb_abort(tx);
	T_OK(twzdb_backup(src, dst, NULL));
	scene_end();
}

/* --- beside writers --- */

static int stop;
static uint64_t pairs;

/* The same number into both databases, by one transaction; and other things. */
static int write_pair(uint64_t i)
{
	struct twzdb_txn *tx[2];
	struct twzdb_table t;
	int err = twzdb_group_begin(db, 2, 0, -1, tx);

	if (err)
		return err;
	for (int d = 0; d < 2 && !err; d++) {
		err = twzdb_table_open(tx[d], "pair", TWZDB_TABLE_CREATE, &t);
		if (!err)
			err = twzdb_put(tx[d], t, et_str("n"), (struct twzdb_slice){&i, sizeof(i)},
					0);
		for (uint64_t k = 0; k < 5 && !err; k++)
			err = twzdb_put(tx[d], t, et_key(t_rand_below(3000)),
					et_val(i, t_rand_below(500)), 0);
	}
	if (!err)
		return twzdb_group_commit(tx, 2);
	twzdb_group_abort(tx, 2);
	return err;
}

static void *writer(void *arg)
{
	(void)arg;
	for (uint64_t i = 1; !__atomic_load_n(&stop, __ATOMIC_RELAXED); i++) {
		if (T_OK(write_pair(i)))
			break;
		__atomic_store_n(&pairs, i, __ATOMIC_RELEASE);
	}
	et_thread_end();
	return NULL;
}

static uint64_t pair_in(const char *name)
{
	struct twzdb_slice v;
	struct twzdb_txn *tx;
	struct twzdb_table t;
	struct twzdb *b;
	uint64_t n = 0;

	if (T_OK(open_db(dst, name, 0, &b)))
		return 0;
	T_TRUE(et_clean(b));
	T_OK(twzdb_begin(b, TWZDB_RDONLY, &tx));
	if (!T_OK(twzdb_table_open(tx, "pair", 0, &t)) && !T_OK(twzdb_get(tx, t, et_str("n"), &v)))
		memcpy(&n, v.ptr, sizeof(n));
	twzdb_abort(tx);
	T_OK(twzdb_close(b));
	return n;
}

static void a_copy_is_of_one_moment(void)
{
	for (int m = ET_PAGE; m <= ET_LINE; m++) {
		pthread_t thread;

		scene((enum et_media)m);
		fill(db[0], 2000);
		pairs = 0;
		stop = 0;
		T_REQ(write_pair(0));
		T_REQ(pthread_create(&thread, NULL, writer, NULL));
		for (int i = 0; i < 5; i++) {
			uint64_t before = __atomic_load_n(&pairs, __ATOMIC_ACQUIRE), n;

			T_OK(twzdb_backup(src, dst, NULL));
			n = pair_in("main");
			T_TRUE(n >= before);
			T_EQ(pair_in("other"), n);
			unlink(dst);
		}
		T_TRUE(__atomic_load_n(&pairs, __ATOMIC_ACQUIRE) > 0);
		__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
		pthread_join(thread, NULL);
		scene_end();
	}
}

/* --- killed, and a full disk --- */

static int die(void *ctx, uint64_t done, uint64_t total)
{
	(void)total;
	if (done >= *(uint64_t *)ctx)
		kill(getpid(), SIGKILL);
	return 0;
}

static void a_killed_backup_leaves_no_copy_and_is_no_obstacle(void)
{
	for (int m = ET_PAGE; m <= ET_LINE; m++) {
		scene((enum et_media)m);
		fill(db[0], 4000);
		fill(db[1], 100);
		for (uint64_t at = 0; at < 12000; at += 2500) {
			struct twzdb_backup_options o = {
				.size = sizeof(o), .progress = die, .ctx = &at};
			int status;
			pid_t pid = fork();

			if (pid == 0)
				_exit(twzdb_backup(src, dst, &o) != 0);
			waitpid(pid, &status, 0);
			T_TRUE(WIFSIGNALED(status));
			T_TRUE(access(dst, F_OK) != 0);
		}
		T_OK(write_pair(1));
		T_OK(twzdb_backup(src, dst, NULL));
		T_EQ(pair_in("main"), 1);
		T_TRUE(et_clean(db[0]));
		scene_end();
	}
}

static void a_full_disk_is_said(void)
{
	char dir[300], to[320];

	scene(ET_LINE);
	fill(db[0], 30000);
	fill(db[1], 100);
	snprintf(dir, sizeof(dir), "%s", t_path(t_dir(), "small"));
	T_OK(mkdir(dir, 0700));
	if (mount("none", dir, "tmpfs", 0, "size=6m")) {
		printf(" skipped: may not mount ");
	} else {
		snprintf(to, sizeof(to), "%s/copy.twz", dir);
		T_ERR(twzdb_backup(src, to, NULL), TWZDB_E_NOSPC);
		T_TRUE(access(to, F_OK) != 0);
		strcat(to, ".part");
		T_TRUE(access(to, F_OK) != 0);
		umount(dir);
	}
	rmdir(dir);
	T_OK(twzdb_backup(src, dst, NULL));
	same(db[0], "main");
	scene_end();
}

int main(int argc, char **argv)
{
	const struct t_case cases[] = {
		T_CASE(the_copy_is_the_same),
		T_CASE(wrong_calls_leave_nothing_behind),
		T_CASE(a_copy_is_of_one_moment),
		T_CASE(a_killed_backup_leaves_no_copy_and_is_no_obstacle),
		T_CASE(a_full_disk_is_said),
		T_END,
	};

	return t_main("engine_backup", cases, argc, argv);
}
