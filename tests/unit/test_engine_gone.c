/* SPDX-License-Identifier: MIT
 * test_engine_gone.c -- somebody deletes, replaces, renames, cuts short or overwrites a store, or its companion, while it is
 * open, or copies it while it is written: who has it open is told so, nobody dies of it, nobody is told a wrong row
 */
#include "engine_t.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROWS 400
#define SOON 16	   /* on cache-line media the file is looked at by each 16th commit, */
#define LOOK 10000 /* unless that was done in the 5 ms (us here: twice as long) before */

static struct twzdb *db;
static struct twzdb_table table;

static int put(uint64_t key, size_t len)
{
	struct twzdb_txn *tx;
	int err = twzdb_begin(db, 0, &tx);

	if (err)
		return err;
	err = twzdb_put(tx, table, et_key(key), et_val(key, len), 0);
	if (!err)
		return twzdb_commit(tx);
	twzdb_abort(tx);
	return err;
}

static int open_table(const char *path, uint32_t flags)
{
	struct twzdb_txn *tx;
	int err = et_open_opt(path, flags, 256 << 10, 0, &db);

	if (!err)
		err = twzdb_begin(db, 0, &tx);
	if (err)
		return err;
	err = twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &table);
	if (!err)
		return twzdb_commit(tx);
	twzdb_abort(tx);
	return err;
}

static bool begin(const char *path)
{
	if (T_OK(open_table(path, TWZDB_CREATE)))
		return false;
	for (uint64_t i = 0; i < ROWS; i++)
		if (T_OK(put(i, 1000)))
			return false;
	return true;
}

/* 0: rows [0, CNT) are there, and what was put. */
static int wrong_rows(uint64_t cnt)
{
	struct twzdb_txn *tx;
	struct twzdb_slice v;
	int err = twzdb_begin(db, TWZDB_RDONLY, &tx);

	for (uint64_t i = 0; i < cnt && !err; i++) {
		err = twzdb_get(tx, table, et_key(i), &v);
		if (!err && !et_same(v, et_val(i, 1000)))
			err = 1;
	}
	return err ? err : twzdb_commit(tx);
}

/* Commits are refused, at once or soon; what for is in the message. */
static void refused(enum et_media m, const char *word)
{
	int err = 0;

	if (m == ET_LINE)
		usleep(LOOK);
	for (int i = 0; i < (m == ET_PAGE ? 1 : SOON) && !err; i++)
		err = put(0, 1000);
	T_ERR(err, TWZ_E_GONE);
	T_HAS(twzdb_errmsg(), word);
}

static void copy(const char *from, const char *to, int flags)
{
	char buf[1 << 16];
	ssize_t n;
	int a = open(from, O_RDONLY), b = open(to, O_WRONLY | O_CREAT | flags, 0644);

	while ((n = read(a, buf, sizeof(buf))) > 0)
		if (write(b, buf, (size_t)n) != n)
			break;
	T_EQ(n, 0);
	close(a);
	close(b);
}

static void beside(char *to, const char *path, const char *ext)
{
	snprintf(to, 512, "%s%s", path, ext);
	unlink(to);
}

/* What FN says in a child; -1: it died of a signal. */
static int in_child(int (*fn)(enum et_media, const char *, long), enum et_media m, const char *path,
		    long arg)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid)
		_exit(fn(m, path, arg));
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void survives(int (*fn)(enum et_media, const char *, long), enum et_media m,
		     const char *path, long arg)
{
	T_EQ(in_child(fn, m, path, arg), 0);
}

/* --- its name --- */

static int opens(enum et_media m, const char *path, long rows)
{
	(void)m;
	if (open_table(path, 0))
		return 1;
	if (wrong_rows((uint64_t)rows) || !et_clean(db))
		return 2;
	return twzdb_close(db) ? 3 : 0;
}

static void deleted(enum et_media m)
{
	const char *path = et_path(m, "deleted.twz");

	if (!begin(path))
		return;
	T_EQ(unlink(path), 0);
	refused(m, "deleted");
	T_OK(wrong_rows(ROWS));
	T_OK(twzdb_close(db));
	T_TRUE(access(path, F_OK) && errno == ENOENT);
}

/* KEPT: the old one has another name. */
static void replaced(enum et_media m, bool kept)
{
	const char *path = et_path(m, "replaced.twz");
	char other[512], old[512];

	if (!begin(path))
		return;
	beside(other, path, ".other");
	T_OK(twzdb_close(db));
	copy(path, other, O_TRUNC);
	T_REQ(open_table(path, 0));
	T_OK(put(ROWS, 1000));
	beside(old, path, ".kept");
	T_EQ(kept ? link(path, old) : 0, 0);
	T_EQ(rename(other, path), 0);
	refused(m, kept ? "another file" : "deleted or replaced");
	T_OK(wrong_rows(ROWS + 1));
	survives(opens, m, path, ROWS); /* while this one is open */
	T_OK(twzdb_close(db));
	survives(opens, m, path, ROWS);
	if (kept)
		survives(opens, m, old, ROWS + 1);
	unlink(old);
	unlink(path);
}

static void replaced_by_another(enum et_media m)
{
	replaced(m, false);
	replaced(m, true);
}

static void renamed(enum et_media m)
{
	const char *path = et_path(m, "renamed.twz");
	char other[512];

	if (!begin(path))
		return;
	beside(other, path, ".moved");
	T_EQ(rename(path, other), 0);
	for (uint64_t i = 0; i < 3 * SOON; i++) {
		usleep(1000); /* so that it is looked at */
		T_OK(put(ROWS + i, 1000));
	}
	T_OK(twzdb_close(db));
	survives(opens, m, other, ROWS + 3 * SOON);
	unlink(other);
}

/* --- its bytes --- */

/* What is left is refused, by who opens it. */
static int is_refused(enum et_media m, const char *path, long arg)
{
	(void)m;
	(void)arg;
	return open_table(path, 0) ? 0 : 1;
}

/* 0: every answer was right or an error, and writers got one; else what was not. */
static int cut_short(enum et_media m, const char *path, long len)
{
	struct twzdb_cursor *c;
	struct twzdb_slice k, v;
	struct twzdb_txn *tx;
	int err, failed = 0, last;
	uint64_t cnt = 0;
	struct stat st;

	if (!begin(path) || truncate(path, len))
		return 1;
	err = twzdb_begin(db, TWZDB_RDONLY, &tx);
	for (uint64_t i = 0; i < ROWS && !err; i++)
		failed |= (twzdb_get(tx, table, et_key(i), &v) == TWZDB_E_NOTFOUND) << 1;
	if (!err && !(err = twzdb_cursor_open(tx, table, &c))) {
		while (!(err = twzdb_cursor_get(c, cnt ? TWZDB_NEXT : TWZDB_FIRST, &k, &v)))
			cnt++;
		failed |= (err == TWZDB_E_NOTFOUND && cnt != ROWS) << 2;
		twzdb_cursor_close(c);
	}
	if (twzdb_begin(db, TWZDB_RDONLY,
			&tx)) /* the one before is not ended: as well as it can be */
		tx = NULL;
	last = tx ? twzdb_commit(tx) : TWZDB_E_IO;
	failed |= (cnt != ROWS && last != TWZDB_E_IO) << 3;
	usleep(LOOK);
	for (int i = 0; i < SOON && (err = put(0, 1000)) == 0; i++)
		;
	failed |= (err != TWZ_E_GONE && err != TWZDB_E_IO) << 4;
	err = put(1, 200000); /* needs space */
	failed |= !err << 5;
	failed |= !!in_child(is_refused, m, path, 0) << 7; /* while it is in use */
	err = twzdb_close(db);
	failed |= (stat(path, &st) || st.st_size > len) << 6;
	return failed;
}

/* Without helpers: a write of theirs that is on its way just then makes the file long again (docs/promises.md, row 24). */
static void cut(enum et_media m)
{
	const char *path = et_path(m, "cut.twz");
	static const long len[] = {0, 4096, 12288, 300000, 600000};

	setenv("TWZDB_HELPER", "0", 1);
	for (size_t i = 0; i < sizeof(len) / sizeof(len[0]); i++) {
		unlink(path);
		survives(cut_short, m, path, len[i]);
		survives(is_refused, m, path, 0);
	}
	unsetenv("TWZDB_HELPER");
}

/* An older state of it is written into the file: that is what it is from then on. */
static void overwritten(enum et_media m)
{
	const char *path = et_path(m, "over.twz");
	char old[512];
	struct stat st, now;

	if (!begin(path))
		return;
	T_OK(twzdb_close(db));
	beside(old, path, ".old");
	copy(path, old, O_TRUNC);
	T_REQ(open_table(path, 0));
	T_OK(put(ROWS, 1000));
	T_EQ(stat(path, &st), 0);
	copy(old, path, 0);
	refused(m, "overwritten");
	T_ERR(put(1, 200000), TWZ_E_GONE); /* needs space */
	survives(is_refused, m, path, 0);
	(void)!twzdb_close(db);
	T_TRUE(!stat(path, &now) && now.st_size == st.st_size);
	survives(opens, m, path, ROWS);
	unlink(old);
}

/* --- its companion --- */

static int is_busy(enum et_media m, const char *path, long arg)
{
	int err = open_table(path, 0);

	(void)m;
	(void)arg;
	return err == TWZ_E_BUSY && strstr(twzdb_errmsg(), "is missing") ? 0 : 1;
}

static void without_companion(enum et_media m)
{
	const char *path = et_path(m, "alone.twz");
	char comp[512];

	if (!begin(path))
		return;
	snprintf(comp, sizeof(comp), "%s-lock", path);
	T_EQ(unlink(comp), 0);
	survives(is_busy, m, path, 0); /* the two would not see each other */
	for (uint64_t i = 0; i < 3 * SOON; i++)
		T_OK(put(ROWS + i, 1000));
	survives(is_busy, m, path, 0);
	T_OK(twzdb_close(db));
	survives(opens, m, path, ROWS + 3 * SOON);
}

#define BOTH(fn)                                                                                   \
	static void fn##_page(void)                                                                \
	{                                                                                          \
		fn(ET_PAGE);                                                                       \
	}                                                                                          \
	static void fn##_line(void)                                                                \
	{                                                                                          \
		fn(ET_LINE);                                                                       \
	}
BOTH(deleted)
BOTH(replaced_by_another)
BOTH(renamed)
BOTH(cut)
BOTH(overwritten)
BOTH(without_companion)

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(deleted_page),
		T_CASE(deleted_line),
		T_CASE(replaced_by_another_page),
		T_CASE(replaced_by_another_line),
		T_CASE(renamed_page),
		T_CASE(renamed_line),
		T_CASE(cut_page),
		T_CASE(cut_line),
		T_CASE(overwritten_page),
		T_CASE(overwritten_line),
		T_CASE(without_companion_page),
		T_CASE(without_companion_line),
		T_END,
	};

	return t_main("engine_gone", cases, argc, argv);
}
