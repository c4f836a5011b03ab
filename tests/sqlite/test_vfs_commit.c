/* SPDX-License-Identifier: MIT
 * test_vfs_commit.c -- connections that commit at the same time, on page media (README of sqlite-vfs, R5, R7, R8; D12)
 *
 * The medium is held: whatever is written to it durably waits until the test lets it go, or fails then. So it shows what another
 * connection can do meanwhile, and what the first one sees afterwards.
 */
#include "t.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <sys/uio.h>
#include <unistd.h>

#include "twzvfs.h"

static char uri[400];
static sqlite3 *a, *b;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static bool hold, held;
static int fail; /* errno of what was held */

ssize_t __real_pwritev2(int fd, const struct iovec *iov, int cnt, off_t off, int flags);
ssize_t __wrap_pwritev2(int fd, const struct iovec *iov, int cnt, off_t off, int flags);

ssize_t __wrap_pwritev2(int fd, const struct iovec *iov, int cnt, off_t off, int flags)
{
	int err;

	pthread_mutex_lock(&mutex);
	held |= hold;
	pthread_cond_broadcast(&cond);
	while (hold)
		pthread_cond_wait(&cond, &mutex);
	err = fail;
	pthread_mutex_unlock(&mutex);
	if (!err)
		return __real_pwritev2(fd, iov, cnt, off, flags);
	errno = err;
	return -1;
}

static void medium_let_go(int err)
{
	pthread_mutex_lock(&mutex);
	hold = false;
	fail = err;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&mutex);
}

static int sql(sqlite3 *db, const char *text)
{
	return sqlite3_exec(db, text, NULL, NULL, NULL);
}

static sqlite3_int64 num(sqlite3 *db, const char *text)
{
	sqlite3_stmt *st = NULL;
	sqlite3_int64 v = -999;

	if (sqlite3_prepare_v2(db, text, -1, &st, NULL) == SQLITE_OK &&
	    sqlite3_step(st) == SQLITE_ROW)
		v = sqlite3_column_int64(st, 0);
	else
		fprintf(stderr, "%s: %s\n", text, sqlite3_errmsg(db));
	sqlite3_finalize(st);
	return v;
}

static sqlite3 *open_one(void)
{
	sqlite3 *db = NULL;

	if (!T_EQ(sqlite3_open_v2(uri, &db,
				  SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI,
				  "twz"),
		  SQLITE_OK))
		return NULL;
	sqlite3_busy_timeout(db, 5000);
	return db;
}

/* Both have committed before: so it is known that they unlock after it. */
static bool open_both(const char *table)
{
	const char *path = t_path(t_dir(), "commit.twz");
	char text[200];

	unlink(path);
	snprintf(uri, sizeof(uri), "file:%s?vfs=twz", path);
	a = open_one();
	b = open_one();
	if (!a || !b)
		return false;
	snprintf(text, sizeof(text), "create %s; insert into t values(1, 0), (2, 0), (3, 0)",
		 table);
	return T_EQ(sql(a, text), SQLITE_OK) &&
	       T_EQ(sql(b, "update t set v = 0 where k = 3"), SQLITE_OK) &&
	       T_EQ(sql(a, "update t set v = 0 where k = 3"), SQLITE_OK);
}

static void close_both(void)
{
	T_EQ(sqlite3_close(a), SQLITE_OK);
	T_EQ(sqlite3_close(b), SQLITE_OK);
}

struct job {
	sqlite3 *db;
	const char *text;
	int rc;
	pthread_t thread;
};

static void *job_main(void *arg)
{
	struct job *j = arg;

	j->rc = sql(j->db, j->text);
	return NULL;
}

/* Until it waits for the medium. */
static void start_held(struct job *j)
{
	pthread_mutex_lock(&mutex);
	hold = true;
	held = false;
	pthread_mutex_unlock(&mutex);
	T_EQ(pthread_create(&j->thread, NULL, job_main, j), 0);
	pthread_mutex_lock(&mutex);
	while (!held)
		pthread_cond_wait(&cond, &mutex);
	pthread_mutex_unlock(&mutex);
}

static int end(struct job *j)
{
	pthread_join(j->thread, NULL);
	return j->rc;
}

/* --- cases --- */

static void second_writer(const char *table)
{
	struct job first = {.text = "update t set v = v + 1 where k = 1"}, second = {0};

	if (!open_both(table))
		return;
	first.db = a;
	start_held(&first);
	/* It is the writer now, and sees what the first one has committed: their rows are on one page. */
	T_EQ(sql(b, "begin immediate"), SQLITE_OK);
	T_EQ(num(b, "select v from t where k = 1"), 1);
	T_EQ(sql(b, "update t set v = v + 1; update t set v = v + 10 where k = 2"), SQLITE_OK);
	second = (struct job){.db = b, .text = "commit"};
	T_EQ(pthread_create(&second.thread, NULL, job_main, &second), 0);
	medium_let_go(0);
	T_EQ(end(&first), SQLITE_OK);
	T_EQ(end(&second), SQLITE_OK);
	/* The first one's cache is of its own commit: it hears of the second (R7). */
	T_EQ(num(a, "select v from t where k = 2"), 11);
	T_EQ(num(a, "select sum(v) from t"), 14);
	T_EQ(num(b, "select sum(v) from t"), 14);
	T_EQ(sql(a, "update t set v = v + 100 where k = 2"), SQLITE_OK);
	T_EQ(num(b, "select v from t where k = 2"), 111);
	T_EQ(num(a, "select count(*) from pragma_integrity_check where integrity_check = 'ok'"), 1);
	close_both();
}

static void the_next_writer_does_not_wait(void)
{
	second_writer("table t(k integer primary key, v)");
}

static void nor_with_native_tables(void)
{
	second_writer("virtual table t using twz(k integer primary key, v)");
}

/* A statement that goes on across its connection's commit sees that, and nothing newer. */
static void a_statement_goes_on_from_its_own_commit(void)
{
	struct job first = {.text = "update t set v = 7 where k in (2, 3)"};
	sqlite3_stmt *st = NULL;

	if (!open_both("table t(k integer primary key, v)"))
		return;
	T_EQ(sqlite3_prepare_v2(a, "select v from t order by k", -1, &st, NULL), SQLITE_OK);
	T_EQ(sqlite3_step(st), SQLITE_ROW);
	first.db = a;
	start_held(&first);
	T_EQ(sql(b, "begin immediate; update t set v = 8 where k = 3"), SQLITE_OK);
	medium_let_go(0);
	T_EQ(end(&first), SQLITE_OK);
	T_EQ(sql(b, "commit"), SQLITE_OK);
	T_EQ(sqlite3_step(st), SQLITE_ROW);
	T_EQ(sqlite3_column_int(st, 0), 7);
	T_EQ(sqlite3_step(st), SQLITE_ROW);
	T_EQ(sqlite3_column_int(st, 0), 7);
	/* While it does, its connection cannot write: somebody has committed since. */
	T_EQ(sql(a, "update t set v = 9 where k = 1"), SQLITE_BUSY);
	T_EQ(sqlite3_extended_errcode(a), SQLITE_BUSY_SNAPSHOT);
	T_EQ(sqlite3_step(st), SQLITE_DONE);
	sqlite3_finalize(st);
	T_EQ(sql(a, "update t set v = 9 where k = 1"), SQLITE_OK);
	T_EQ(num(b, "select v from t where k = 1"), 9);
	T_EQ(num(a, "select v from t where k = 3"), 8);
	close_both();
}

/* D17: neither is told that it has committed; both see what was before. */
static void both_fail(void)
{
	struct job first = {.text = "update t set v = 1 where k = 1"}, second;

	if (!open_both("table t(k integer primary key, v)"))
		return;
	first.db = a;
	start_held(&first);
	T_EQ(sql(b, "begin immediate; update t set v = 1 where k = 2"), SQLITE_OK);
	second = (struct job){.db = b, .text = "commit"};
	T_EQ(pthread_create(&second.thread, NULL, job_main, &second), 0);
	medium_let_go(EIO);
	T_EQ(end(&first) & 0xff, SQLITE_IOERR);
	T_EQ(end(&second) & 0xff, SQLITE_IOERR);
	T_EQ(sqlite3_get_autocommit(a) && sqlite3_get_autocommit(b), 1);
	T_EQ(num(a, "select sum(v) from t"), 0);
	T_EQ(num(b, "select sum(v) from t"), 0);
	T_TRUE(sql(a, "update t set v = 1") != SQLITE_OK);
	medium_let_go(0);
	sqlite3_close(a);
	sqlite3_close(b);
}

/* R8: in exclusive locking mode SQLite goes on writing without asking, so nobody else may meanwhile. */
static void exclusive(const char *pragma)
{
	struct job first = {.text = "update t set v = v + 1 where k = 1"};

	if (!open_both("table t(k integer primary key, v)"))
		return;
	T_EQ(sql(a, pragma), SQLITE_OK);
	first.db = a;
	sqlite3_busy_timeout(b, 50);
	for (int i = 0; i < 3; i++) {
		start_held(&first);
		T_EQ(sql(b, "begin immediate"), SQLITE_BUSY);
		medium_let_go(0);
		T_EQ(end(&first), SQLITE_OK);
		T_EQ(sql(b, "begin immediate"), SQLITE_BUSY);
		T_EQ(sql(b, "select * from t"), SQLITE_BUSY);
	}
	T_EQ(sql(a, "pragma locking_mode = normal; select * from t"), SQLITE_OK);
	T_EQ(sql(b, "update t set v = v + 1 where k = 1"), SQLITE_OK);
	T_EQ(num(a, "select v from t where k = 1"), 4);
	close_both();
}

static void exclusive_connections_stay_writers(void)
{
	exclusive("pragma locking_mode = exclusive");
	exclusive("pragma main.locking_mode = exclusive; pragma locking_mode = nonsense");
}

/* The pragma is told to the main database, which is another VFS's. */
static void exclusive_unheard_of(void)
{
	struct job first = {.text = "update x.t set v = v + 1 where k = 1"};
	sqlite3 *db = NULL;
	char text[500];

	if (!open_both("table t(k integer primary key, v)"))
		return;
	T_EQ(sqlite3_open_v2(":memory:", &db,
			     SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI, NULL),
	     SQLITE_OK);
	snprintf(text, sizeof(text), "attach '%s' as x; update x.t set v = 0", uri);
	T_EQ(sql(db, text), SQLITE_OK);
	T_EQ(sql(db, first.text), SQLITE_OK);
	T_EQ(sql(db, "pragma locking_mode = exclusive"), SQLITE_OK);
	first.db = db;
	sqlite3_busy_timeout(b, 50);
	for (int i = 0; i < 3; i++) {
		start_held(&first);
		T_EQ(sql(b, "begin immediate"), SQLITE_BUSY);
		medium_let_go(0);
		T_EQ(end(&first), SQLITE_OK);
		T_EQ(sql(b, "begin immediate"), SQLITE_BUSY);
	}
	T_EQ(sqlite3_close(db), SQLITE_OK);
	T_EQ(num(b, "select v from t where k = 1"), 4);
	close_both();
}

/* Who has seen what is on its way, and changes nothing, ends when it is durable. */
static void who_changed_nothing_waits_for_what_it_saw(void)
{
	struct job first = {.text = "update t set v = 1 where k = 1"}, second;

	if (!open_both("table t(k integer primary key, v)"))
		return;
	first.db = a;
	start_held(&first);
	T_EQ(sql(b, "begin immediate"), SQLITE_OK);
	T_EQ(num(b, "select v from t where k = 1"), 1);
	second = (struct job){.db = b, .text = "commit", .rc = -1};
	T_EQ(pthread_create(&second.thread, NULL, job_main, &second), 0);
	usleep(50000);
	T_EQ(__atomic_load_n(&second.rc, __ATOMIC_SEQ_CST), -1);
	medium_let_go(0);
	T_EQ(end(&first), SQLITE_OK);
	T_EQ(end(&second), SQLITE_OK);
	close_both();
}

/* What it saw never became durable: it is told so. */
static void who_changed_nothing_is_told(void)
{
	struct job first = {.text = "update t set v = 1 where k = 1"}, second;

	if (!open_both("table t(k integer primary key, v)"))
		return;
	first.db = a;
	start_held(&first);
	T_EQ(sql(b, "begin immediate"), SQLITE_OK);
	T_EQ(num(b, "select v from t where k = 1"), 1);
	second = (struct job){.db = b, .text = "commit", .rc = -1};
	T_EQ(pthread_create(&second.thread, NULL, job_main, &second), 0);
	usleep(50000);
	medium_let_go(EIO);
	T_EQ(end(&first) & 0xff, SQLITE_IOERR);
	T_EQ(end(&second) & 0xff, SQLITE_IOERR);
	/* The log has failed: what is published can be read, also by a statement that writes elsewhere. */
	T_EQ(num(b, "select v from t where k = 1"), 0);
	T_EQ(sql(b, "create temp table x as select * from t"), SQLITE_OK);
	medium_let_go(0);
	sqlite3_close(a);
	sqlite3_close(b);
}

/* A statement that writes a temporary table had the writer's place early; it is nobody's writer, so others are not kept waiting. */
static void a_temporary_table_keeps_nobody_waiting(void)
{
	if (!open_both("table t(k integer primary key, v)"))
		return;
	T_EQ(sql(a, "create table u(x); insert into u select v from t"), SQLITE_OK);
	T_EQ(sql(b, "create temp table x(k, v)"), SQLITE_OK);
	sqlite3_busy_timeout(b, 0);
	T_EQ(sql(a, "begin immediate"), SQLITE_OK);
	T_EQ(sql(b, "update t set v = 5 where k = 3") & 0xff, SQLITE_BUSY);
	T_EQ(sql(a, "update t set v = 7 where k = 3; commit"), SQLITE_OK);
	T_EQ(sql(b, "begin; insert into temp.x select k, v from t"), SQLITE_OK);
	sqlite3_busy_timeout(a, 100);
	T_EQ(sql(a, "update t set v = 6 where k = 3"), SQLITE_OK);
	T_EQ(num(b, "select v from x where k = 3"), 7);
	T_EQ(sql(b, "commit"), SQLITE_OK);
	close_both();
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(the_next_writer_does_not_wait),
		T_CASE(nor_with_native_tables),
		T_CASE(a_statement_goes_on_from_its_own_commit),
		T_CASE(both_fail),
		T_CASE(exclusive_connections_stay_writers),
		T_CASE(exclusive_unheard_of),
		T_CASE(who_changed_nothing_waits_for_what_it_saw),
		T_CASE(who_changed_nothing_is_told),
		T_CASE(a_temporary_table_keeps_nobody_waiting),
		T_END,
	};

	if (twzvfs_register(0) != SQLITE_OK)
		return 1;
	return t_main("vfs_commit", cases, argc, argv);
}
