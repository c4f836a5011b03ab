/* SPDX-License-Identifier: MIT
 * test_engine_readonly.c -- databases opened to be read only (TWZDB_READONLY): what a crash left, what is refused, writers that come
 */
#include "engine_t.h"

#include "../../twz/src/format_companion.h"

#include <grp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define ROWS 3000

static enum et_media media;
static const char *path;

static int open_ro(struct twzdb **db)
{
	return et_open_opt(path, TWZDB_READONLY, 0, 0, db);
}

static struct twzdb_slice row(uint64_t i)
{
	return et_val(i, 20 + i * 37 % 900);
}

static int put_rows(struct twzdb *db, uint64_t from, uint64_t to, bool commit)
{
	struct twzdb_txn *tx;
	struct twzdb_table t;
	int err = twzdb_begin(db, 0, &tx);

	if (!err)
		err = twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &t);
	for (uint64_t i = from; i < to && !err; i++)
		err = twzdb_put(tx, t, et_key(i), row(i), 0);
	if (err || !commit)
		return err;
	return twzdb_commit(tx);
}

/* All of 0 .. N-1 and nothing else. */
static bool has_rows(struct twzdb *db, uint64_t n)
{
	struct twzdb_txn *tx;
	struct twzdb_table t;
	struct twzdb_slice v;
	uint64_t cnt = 0;
	bool ok;

	if (T_OK(twzdb_begin(db, TWZDB_RDONLY, &tx)) || T_OK(twzdb_table_open(tx, "t", 0, &t)))
		return false;
	ok = !T_OK(twzdb_count(tx, t, &cnt)) && T_EQ(cnt, n);
	for (uint64_t i = 0; i < n && ok; i++)
		ok = !T_OK(twzdb_get(tx, t, et_key(i), &v)) && T_TRUE(et_same(v, row(i)));
	twzdb_abort(tx);
	return ok;
}

static int write_and_die(void *arg)
{
	struct twzdb *db;

	(void)arg;
	if (et_open(path, &db) || put_rows(db, 0, 1000, true))
		return 1;
	for (uint64_t i = 1000; i < ROWS; i += 100)
		if (put_rows(db, i, i + 100, true))
			return 1;
	if (put_rows(db, ROWS, 2 * ROWS, false))
		return 1;
	kill(getpid(), SIGKILL);
	return 1;
}

/* XXH is for the engine; here a sum that any changed byte changes. */
static uint64_t file_sum(void)
{
	uint64_t sum = 0, word[512];
	int fd = open(path, O_RDONLY);
	ssize_t n;

	while (fd >= 0 && (n = read(fd, word, sizeof(word))) > 0)
		for (size_t i = 0; i < (size_t)n / 8; i++)
			sum = (sum ^ word[i]) * 0x9e3779b97f4a7c15ULL + 1;
	close(fd);
	return sum;
}

static bool has_companion(void)
{
	char lock[700];

	snprintf(lock, sizeof(lock), "%s-lock", path);
	return !access(lock, F_OK);
}

static void make_unclean(const char *name)
{
	char lock[700];

	path = et_path(media, name);
	T_TRUE(WIFSIGNALED(t_fork(write_and_die, NULL)));
	snprintf(lock, sizeof(lock), "%s-lock", path);
	unlink(lock);
}

/* --- what a crash left --- */

static void look_and_leave_no_trace(void)
{
	uint64_t before = file_sum();
	struct twzdb *db;

	if (T_OK(open_ro(&db)))
		return;
	T_TRUE(twzdb_is_readonly(db));
	T_TRUE(has_rows(db, ROWS));
	T_TRUE(et_clean(db));
	T_TRUE(!has_companion());
	T_OK(twzdb_close(db));
	T_EQ(file_sum(), before);
	T_TRUE(!has_companion());
}

static void crashed_database_is_read_and_not_touched(void)
{
	struct twzdb *db;

	for (media = ET_PAGE; media <= ET_LINE; media++) {
		make_unclean("crashed");
		look_and_leave_no_trace();
		look_and_leave_no_trace();
		T_REQ(et_open(path, &db));
		T_TRUE(!twzdb_is_readonly(db));
		T_TRUE(has_rows(db, ROWS));
		T_OK(twzdb_close(db));
		look_and_leave_no_trace();
		unlink(path);
	}
}

static int look_as_nobody(void *arg)
{
	struct twzdb *db;
	bool ok;

	(void)arg;
	if (!geteuid() && (setgroups(0, NULL) || setgid(65534) || setuid(65534)))
		return 2;
	if (et_open_opt(path, 0, 0, 0, &db) != TWZDB_E_READONLY)
		return 3;
	if (open_ro(&db))
		return 4;
	ok = has_rows(db, ROWS) && et_clean(db);
	return twzdb_close(db) || !ok;
}

static void crashed_database_is_read_without_permission(void)
{
	char dir[600];

	for (media = ET_PAGE; media <= ET_LINE; media++) {
		make_unclean("theirs");
		snprintf(dir, sizeof(dir), "%s", path);
		*strrchr(dir, '/') = '\0';
		T_OK(chmod(dir, 0555));
		T_OK(chmod(path, 0444));
		T_EQ(t_fork(look_as_nobody, NULL), 0);
		T_OK(chmod(dir, 0755));
		T_OK(chmod(path, 0644));
		look_and_leave_no_trace();
		unlink(path);
	}
}

/* --- what is refused --- */

static void changes_are_refused(struct twzdb *db)
{
	struct twzdb_txn *tx;
	struct twzdb_table t;

	T_ERR(twzdb_begin(db, 0, &tx), TWZDB_E_READONLY);
	T_HAS(twzdb_errmsg(), path);
	T_ERR(twzdb_begin_timed(db, TWZDB_TRY, 0, &tx), TWZDB_E_READONLY);
	T_ERR(twzdb_checkpoint(db), TWZDB_E_READONLY);
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_ERR(twzdb_upgrade(tx), TWZDB_E_READONLY);
	T_REQ(twzdb_table_open(tx, "t", 0, &t));
	T_ERR(twzdb_put(tx, t, et_str("k"), et_str("v"), 0), TWZDB_E_READONLY);
	T_ERR(twzdb_table_open(tx, "new", TWZDB_TABLE_CREATE, &t), TWZDB_E_READONLY);
	twzdb_abort(tx);
}

static void read_only_handles_refuse_changes(void)
{
	struct twzdb *db, *w;

	for (media = ET_PAGE; media <= ET_LINE; media++) {
		path = et_path(media, "refuse");
		T_REQ(et_open(path, &w));
		T_OK(put_rows(w, 0, 10, true));
		T_ERR(et_open_opt(path, TWZDB_READONLY | TWZDB_CREATE, 0, 0, &db), TWZDB_E_INVAL);
		T_REQ(open_ro(&db)); /* one of them */
		changes_are_refused(db);
		T_OK(put_rows(w, 10, 20, true));
		T_TRUE(has_rows(db, 20));
		T_OK(twzdb_close(w));
		T_OK(twzdb_close(db));
		T_REQ(open_ro(&db)); /* alone */
		changes_are_refused(db);
		T_TRUE(has_rows(db, 20));
		T_OK(twzdb_close(db));
		unlink(path);
	}
}

static void missing_databases_are_not_made(void)
{
	struct twzdb_options o = {.size = sizeof(o), .flags = TWZDB_READONLY, .name = "other"};
	struct twzdb *db;

	path = et_path(ET_LINE, "missing");
	T_ERR(open_ro(&db), TWZ_E_NOENT);
	T_TRUE(access(path, F_OK));
	T_REQ(et_open(path, &db));
	T_OK(twzdb_close(db));
	T_ERR(twzdb_open(path, &o, &db), TWZDB_E_NOTFOUND);
	T_ERR(twzdb_open(path, &o, &db), TWZDB_E_NOTFOUND);
	unlink(path);
}

/* --- writers that come later --- */

static int write_one_more(void *arg)
{
	uint64_t n = *(uint64_t *)arg;
	struct twzdb *db;

	if (et_open(path, &db) || put_rows(db, n, n + 1, true))
		return 1;
	return twzdb_close(db);
}

static void writers_come_between_two_transactions(void)
{
	struct twzdb *db, *second;
	struct twzdb_txn *tx;

	path = et_path(ET_PAGE, "between");
	for (uint64_t n = 0; n < 3; n++)
		T_EQ(t_fork(write_one_more, &n), 0);
	T_REQ(open_ro(&db));
	T_REQ(open_ro(&second)); /* the same image */
	T_TRUE(has_rows(db, 3) && has_rows(second, 3));
	T_EQ(t_fork(write_one_more, &(uint64_t){3}), 0);
	T_ERR(twzdb_begin(db, TWZDB_RDONLY, &tx), TWZ_E_STALE);
	T_OK(twzdb_close(db));
	T_REQ(open_ro(&db)); /* not the one that is stale */
	T_TRUE(has_rows(db, 4));
	T_ERR(twzdb_begin(second, TWZDB_RDONLY, &tx), TWZ_E_STALE);
	T_OK(twzdb_close(second));
	T_TRUE(has_rows(db, 4));
	T_OK(twzdb_close(db));
	unlink(path);
}

static void writer_waits_for_a_transaction(void)
{
	struct twzdb *db, *w;
	struct twzdb_txn *tx;

	path = et_path(ET_LINE, "waits");
	T_EQ(t_fork(write_one_more, &(uint64_t){0}), 0);
	T_REQ(open_ro(&db));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_ERR(et_open(path, &w), TWZ_E_BUSY);
	twzdb_abort(tx);
	T_TRUE(has_rows(db, 1)); /* it did not get as far as changing anything */
	T_REQ(et_open(path, &w));
	T_ERR(twzdb_begin(db, TWZDB_RDONLY, &tx), TWZ_E_STALE);
	T_OK(twzdb_close(w));
	T_OK(twzdb_close(db));
	unlink(path);
}

/* --- watching a store in use, without permission to write it --- */

#define PAIRS	 200
#define WATCH_MS 400

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Every commit gives all rows the same number, in their first bytes and in every byte behind them. */
static int write_all(struct twzdb *db, uint64_t n)
{
	struct twzdb_txn *tx;
	struct twzdb_table t;
	int err = twzdb_begin(db, 0, &tx);

	if (!err)
		err = twzdb_table_open(tx, "w", TWZDB_TABLE_CREATE, &t);
	for (uint64_t i = 0; i < PAIRS && !err; i++)
		err = twzdb_put(tx, t, et_key(i), et_val(n, 100 + (n * 7 + i * 13) % 700), 0);
	return err ? err : twzdb_commit(tx);
}

/* One commit's rows, the same at the second look. */
static int see_one_commit(struct twzdb *db, uint64_t *seen)
{
	struct twzdb_slice v, w;
	struct twzdb_txn *tx;
	struct twzdb_table t;
	uint64_t n = twzdb_latest_ts(db);
	int err = twzdb_begin(db, TWZDB_RDONLY, &tx);

	if (err)
		return err;
	err = twzdb_table_open(tx, "w", 0, &t);
	n = twzdb_txn_ts(tx);
	if (n < *seen)
		return 100;
	*seen = n;
	for (int look = 0; look < 3; look++)
		for (uint64_t i = 0; i < PAIRS && !err; i++) {
			w = et_val(n, 100 + (n * 7 + i * 13) % 700);
			err = twzdb_get(tx, t, et_key(i), &v);
			if (!err && !et_same(v, w))
				err = 101;
		}
	twzdb_abort(tx);
	return err;
}

struct watched {
	int go[2], done[2];
};

static int watch_as_nobody(void *arg)
{
	struct watched *w = arg;
	uint64_t end = now_ms() + WATCH_MS, seen = 0, looks = 0;
	struct twzdb_txn *tx, *old;
	struct twzdb_table t;
	struct twzdb_slice v;
	struct twzdb *db;
	char c = 0;
	int err;

	if (!geteuid() && (setgroups(0, NULL) || setgid(65534) || setuid(65534)))
		return 2;
	if (!access(path, W_OK) || T_OK(open_ro(&db)))
		return 3;
	if (twzdb_begin(db, 0, &tx) != TWZDB_E_READONLY || twzdb_begin(db, TWZDB_RDONLY, &old) ||
	    twzdb_upgrade(old) != TWZDB_E_READONLY || twzdb_table_open(old, "w", 0, &t))
		return 4;
	while (now_ms() < end && !(err = see_one_commit(db, &seen)))
		looks++;
	if (err) {
		fprintf(stderr, "watcher: %d %s\n", err, twzdb_errmsg());
		return 5;
	}
	/* The one that began first still sees its commit. */
	if (twzdb_get(old, t, et_key(3), &v) ||
	    !et_same(v, et_val(twzdb_txn_ts(old), 100 + (twzdb_txn_ts(old) * 7 + 39) % 700)))
		return 6;
	if (looks < 5 || seen < twzdb_txn_ts(old) + 10 || twzdb_renew(old) ||
	    twzdb_txn_ts(old) < seen || twzdb_reset(old))
		return 7;
	/* At rest it holds nothing back. */
	if (write(w->done[1], "r", 1) != 1)
		return 9;
	nanosleep(&(struct timespec){0, 300000000L}, NULL);
	if (twzdb_renew(old) || twzdb_txn_ts(old) < seen + 3)
		return 13;
	if (twzdb_close(db) != TWZDB_E_STATE)
		return 8;
	twzdb_abort(old);
	/* Nothing old is pinned any more: space of the last commits is used again at once. */
	for (end = now_ms() + WATCH_MS; now_ms() < end;)
		if (see_one_commit(db, &seen))
			return 12;
	if (write(w->done[1], &c, 1) != 1 || read(w->go[0], &c, 1) != 1)
		return 9;
	/* They have gone: another life of the store, in which it has an image of its own. */
	if (twzdb_begin(db, TWZDB_RDONLY, &tx) != TWZ_E_STALE)
		return 10;
	if (twzdb_close(db) || T_OK(open_ro(&db)) || see_one_commit(db, &seen))
		return 11;
	return twzdb_close(db);
}

static int old_watcher(void *ctx, const struct twzdb_reader *r)
{
	(void)ctx;
	return !r->pid && r->lag > 2;
}

/* True: the watcher has gone on. For a while after 'r' it pins nothing. */
static bool watched_enough(struct twzdb *db, struct watched *w, pid_t kid, uint64_t *rest)
{
	char c = 0;
	bool got = read(w->done[0], &c, 1) == 1;

	if (got && c == 'r')
		*rest = now_ms();
	if (*rest && now_ms() - *rest < 200)
		T_EQ(twzdb_readers(db, old_watcher, NULL), 0);
	return (got && c != 'r') || waitpid(kid, NULL, WNOHANG);
}

static void store_in_use_is_watched_without_permission(void)
{
	struct watched w;
	struct twzdb *db;
	uint64_t n = 0, rest = 0;
	char dir[600];
	int status;
	pid_t kid;

	path = et_path(ET_LINE, "watched");
	snprintf(dir, sizeof(dir), "%s", path);
	*strrchr(dir, '/') = '\0';
	T_REQ(et_open(path, &db));
	T_OK(write_all(db, ++n)); /* commit 1 makes the table, too */
	T_EQ(twzdb_latest_ts(db), n);
	T_OK(chmod(dir, 0755));
	T_OK(chmod(path, 0444));
	if (pipe(w.go) || pipe(w.done) || fcntl(w.done[0], F_SETFL, O_NONBLOCK))
		return;
	fflush(NULL);
	kid = fork();
	if (!kid)
		_exit(watch_as_nobody(&w));
	/* As fast as it goes: versions die all the time, and their space is used again. */
	while (!watched_enough(db, &w, kid, &rest))
		if (T_OK(write_all(db, ++n)))
			break;
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
	T_EQ(write(w.go[1], "", 1), 1);
	T_EQ(waitpid(kid, &status, 0), kid);
	T_EQ(status, 0);
	T_OK(chmod(path, 0644));
	unlink(path);
}

/* --- the promise about space, and a pin that comes in the middle of it (D20) --- */

/*
 * The reader has read which commit is the latest, and not pinned it; there is a newer one, and the writer has asked for pins below
 * that and heard of none: now the reader goes on. It must not keep the older one.
 */
static struct {
	int to_writer[2], to_reader[2];
	bool reader, writer; /* whose turn it is to be stopped */
	uint64_t old, least, got;
} race;

static void before_pin(void)
{
	char c;

	if (!race.reader)
		return;
	race.reader = false;
	if (write(race.to_writer[1], "p", 1) != 1 || read(race.to_reader[0], &c, 1) != 1)
		_exit(20);
}

static void after_asking(uint64_t below)
{
	if (!race.writer || below <= race.old)
		return;
	race.writer = false;
	race.least = below;
	T_EQ(write(race.to_reader[1], "g", 1), 1);
	T_EQ(read(race.to_writer[0], &race.got, sizeof(race.got)), sizeof(race.got));
}

int fcntl(int fd, int cmd, ...)
{
	struct flock *fl;
	uint64_t len = 0;
	bool pins;
	va_list ap;
	int rc;

	va_start(ap, cmd);
	fl = va_arg(ap, void *);
	va_end(ap);
	pins = (cmd == F_OFD_SETLK || cmd == F_OFD_GETLK) &&
	       (uint64_t)fl->l_start - COMP_LOCK_PINS < COMP_PIN_GROUPS * COMP_PIN_MAX;
	if (pins)
		len = (uint64_t)fl->l_len;
	if (pins && cmd == F_OFD_SETLK && fl->l_type == F_RDLCK)
		before_pin();
	rc = (int)syscall(SYS_fcntl, fd, cmd, fl);
	if (pins && cmd == F_OFD_GETLK && !rc && fl->l_type == F_UNLCK)
		after_asking(len);
	return rc;
}

static int pin_in_a_race(void *arg)
{
	struct twzdb_txn *tx;
	struct twzdb_table t;
	struct twzdb_slice v, w;
	struct twzdb *db;
	uint64_t ts;
	char c;

	(void)arg;
	close(race.to_writer[0]);
	close(race.to_reader[1]);
	if (!geteuid() && (setgroups(0, NULL) || setgid(65534) || setuid(65534)))
		return 2;
	if (!access(path, W_OK) || T_OK(open_ro(&db)))
		return 3;
	race.reader = true;
	if (twzdb_begin(db, TWZDB_RDONLY, &tx))
		return 4;
	ts = twzdb_txn_ts(tx);
	if (write(race.to_writer[1], &ts, sizeof(ts)) != sizeof(ts) ||
	    read(race.to_reader[0], &c, 1) != 1)
		return 5;
	/* What it sees has not been used again meanwhile. */
	if (twzdb_table_open(tx, "w", 0, &t))
		return 6;
	for (uint64_t i = 0; i < PAIRS; i++) {
		w = et_val(ts, 100 + (ts * 7 + i * 13) % 700);
		if (twzdb_get(tx, t, et_key(i), &v) || !et_same(v, w))
			return 7;
	}
	twzdb_abort(tx);
	return twzdb_close(db);
}

static void nobody_pins_what_was_promised_away(void)
{
	struct twzdb *db;
	uint64_t n = 0;
	int status;
	char c;
	pid_t kid;

	path = et_path(ET_LINE, "race");
	T_REQ(et_open(path, &db));
	while (n < 3)
		T_OK(write_all(db, ++n));
	T_EQ(twzdb_latest_ts(db), n);
	T_OK(chmod(t_shm_dir(), 0755));
	T_OK(chmod(path, 0444));
	if (pipe(race.to_writer) || pipe(race.to_reader))
		return;
	fflush(NULL);
	kid = fork();
	if (!kid)
		_exit(pin_in_a_race(NULL));
	close(race.to_writer[1]);
	close(race.to_reader[0]);
	race.old = n;
	T_EQ(read(race.to_writer[0], &c, 1), 1);
	race.writer = true;
	for (int i = 0; i < 50 && race.writer; i++) {
		T_OK(write_all(db, ++n));
		T_OK(twzdb_checkpoint(db));
	}
	T_TRUE(race.least > race.old);
	T_TRUE(race.got >= race.least);
	for (int i = 0; i < 10; i++)
		T_OK(write_all(db, ++n));
	T_EQ(write(race.to_reader[1], "d", 1), 1);
	T_EQ(waitpid(kid, &status, 0), kid);
	T_EQ(status, 0);
	close(race.to_writer[0]);
	close(race.to_reader[1]);
	T_OK(twzdb_close(db));
	T_OK(chmod(path, 0644));
	unlink(path);
}

static const struct t_case cases[] = {
	T_CASE(crashed_database_is_read_and_not_touched),
	T_CASE(crashed_database_is_read_without_permission),
	T_CASE(read_only_handles_refuse_changes),
	T_CASE(missing_databases_are_not_made),
	T_CASE(writers_come_between_two_transactions),
	T_CASE(writer_waits_for_a_transaction),
	T_CASE(store_in_use_is_watched_without_permission),
	T_CASE(nobody_pins_what_was_promised_away),
	T_END,
};

int main(int argc, char **argv)
{
	return t_main("engine_readonly", cases, argc, argv);
}
