/* SPDX-License-Identifier: MIT
 * test_vfs_group.c -- transactions over attached databases are atomic, also when the process is killed (D16)
 *
 * Workers move amounts from one database to the other, and count their commits in both: the sum never changes, and the counts are the
 * same.
 */
#include "worker.h"

#include <sqlite3.h>

#include "twzdb.h"
#include "twzvfs.h"

#define WORKERS	 2
#define ACCOUNTS 40
#define AMOUNT	 1000

static char main_uri[400], other_uri[400];
static const char *mode; /* PRAGMA journal_mode */

static int must(sqlite3 *db, const char *sql)
{
	char *msg = NULL;
	int rc = sqlite3_exec(db, sql, NULL, NULL, &msg);

	if (rc)
		fprintf(stderr, "%s: %s (%d; %s)\n", sql, msg, rc, twzdb_errmsg());
	sqlite3_free(msg);
	return rc;
}

static sqlite3_int64 num(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *st = NULL;
	sqlite3_int64 v = -999;

	if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK &&
	    sqlite3_step(st) == SQLITE_ROW)
		v = sqlite3_column_int64(st, 0);
	else
		fprintf(stderr, "%s: %s\n", sql, sqlite3_errmsg(db));
	sqlite3_finalize(st);
	return v;
}

static sqlite3 *open_pair(void)
{
	sqlite3 *db = NULL;
	char sql[600];

	if (sqlite3_open_v2(main_uri, &db,
			    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI, "twz")) {
		fprintf(stderr, "open %s: %s; %s\n", main_uri, sqlite3_errmsg(db), twzdb_errmsg());
		sqlite3_close(db);
		return NULL;
	}
	sqlite3_busy_timeout(db, 10000);
	snprintf(sql, sizeof(sql), "attach '%s' as b", other_uri);
	if (must(db, sql))
		exit(98);
	snprintf(sql, sizeof(sql), "pragma main.journal_mode=%s; pragma b.journal_mode=%s", mode,
		 mode);
	(void)must(db, sql);
	return db;
}

static void places(bool apart)
{
	const char *path = t_path(t_dir(), "vg1.twz");

	unlink(path);
	snprintf(main_uri, sizeof(main_uri), "file:%s?vfs=twz", path);
	snprintf(other_uri, sizeof(other_uri), "file:%s?vfs=twz&db=other", path);
	if (!apart)
		return;
	path = t_path(t_dir(), "vg2.twz");
	unlink(path);
	snprintf(other_uri, sizeof(other_uri), "file:%s?vfs=twz", path);
}

static void fill(void)
{
	sqlite3 *db = open_pair();

	if (!T_TRUE(db != NULL))
		return;
	T_EQ(must(db, "begin;"
		      "create table acct(i integer primary key, n, fat);"
		      "create table b.bcct(i integer primary key, n, fat);"
		      "create table cnt(w integer primary key, n); create table b.bcnt(w integer "
		      "primary key, n);"
		      "create virtual table nat using twz(w integer primary key, n);"
		      "with recursive s(i) as (select 0 union all select i+1 from s where i<39)"
		      " insert into acct select i,1000,hex(randomblob(50)) from s;"
		      "insert into bcct select * from acct; commit"),
	     0);
	sqlite3_close(db);
}

/* From one to the other, and one more in both counts (and a row of a native table). */
static int transfer(sqlite3 *db, unsigned me, uint64_t count)
{
	char sql[900];
	int a = (int)t_rand_below(ACCOUNTS), b = (int)t_rand_below(ACCOUNTS),
	    n = (int)t_rand_below(100);

	snprintf(sql, sizeof(sql),
		 "begin immediate;"
		 "update acct set n=n-%d, fat=hex(randomblob(%d)) where i=%d;"
		 "update bcct set n=n+%d, fat=hex(randomblob(%d)) where i=%d;"
		 "insert or replace into cnt values(%u,%llu);"
		 "insert or replace into bcnt values(%u,%llu);"
		 "insert or replace into nat values(%u,%llu);"
		 "commit",
		 n, (int)t_rand_below(400), a, n, (int)t_rand_below(400), b, me,
		 (unsigned long long)count, me, (unsigned long long)count, me,
		 (unsigned long long)count);
	return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

static int work(unsigned me, int fd, uint64_t seed)
{
	sqlite3 *db = open_pair();
	char sql[80];
	uint64_t count;
	int rc;

	if (!db)
		return 1;
	for (seed %= 97; seed; seed--) /* workers differ */
		t_rand();
	for (;;) {
		snprintf(sql, sizeof(sql), "select coalesce(max(n),0) from cnt where w=%u", me);
		count = (uint64_t)num(db, sql) + 1;
		rc = transfer(db, me, count);
		if (rc == SQLITE_OK) {
			if (write(fd, &count, sizeof(count)) != sizeof(count))
				return 0;
			continue;
		}
		sqlite3_exec(db, "rollback", NULL, NULL, NULL);
		/* Somebody writes, or is just asked for a decision: again. */
		if ((rc & 0xff) != SQLITE_BUSY && (rc & 0xff) != SQLITE_READONLY)
			break;
	}
	fprintf(stderr, "worker %u: %s (%d); %s\n", me, sqlite3_errmsg(db), rc, twzdb_errmsg());
	return 1;
}

static struct worker workers[WORKERS];

/* Both at one moment: with the locks of both. */
static void verify(sqlite3 *db)
{
	char sql[120];
	int rc;

	do {
		rc = sqlite3_exec(
			db,
			"begin immediate; update acct set n=n where i=0; update bcct set n=n "
			"where i=0",
			NULL, NULL, NULL);
		if (rc)
			sqlite3_exec(db, "rollback", NULL, NULL, NULL);
	} while ((rc & 0xff) == SQLITE_BUSY);
	T_EQ(rc, 0);
	T_EQ(num(db, "select (select sum(n) from acct)+(select sum(n) from bcct)"),
	     2 * ACCOUNTS * AMOUNT);
	T_EQ(num(db, "select count(*) from cnt left join bcnt using(w) left join nat using(w) "
		     "where bcnt.n is not cnt.n or nat.n is not cnt.n"),
	     0);
	for (unsigned i = 0; i < WORKERS; i++) {
		snprintf(sql, sizeof(sql), "select coalesce(max(n),0) from cnt where w=%u", i);
		T_TRUE((uint64_t)num(db, sql) >= workers[i].acked);
	}
	T_EQ(must(db, "rollback"), 0);
	T_EQ(num(db, "select count(*) from pragma_integrity_check where integrity_check<>'ok'"), 0);
}

/* Until somebody has committed since, or it takes too long here. */
static void wait_for_commits(void)
{
	uint64_t before = 0, now = 0;

	for (unsigned j = 0; j < WORKERS; j++)
		before += workers[j].acked;
	for (int i = 0; i < 300 && now <= before; i++) {
		nap_us(10000);
		now = 0;
		for (unsigned j = 0; j < WORKERS; j++) {
			worker_drain(&workers[j]);
			now += workers[j].acked;
		}
	}
}

static void kills(bool apart, const char *journal_mode)
{
	sqlite3 *db;

	mode = journal_mode;
	memset(workers, 0, sizeof(workers));
	places(apart);
	fill();
	for (unsigned i = 0; i < WORKERS; i++)
		worker_start(&workers[i], i, work);
	for (int round = 0; round < kill_rounds(8); round++) {
		unsigned i = (unsigned)t_rand_below(WORKERS);

		wait_for_commits();
		nap_us(t_rand_below(20000));
		worker_kill(&workers[i]);
		for (unsigned j = 0; j < WORKERS; j++)
			worker_drain(&workers[j]);
		/* Others go on; and sometimes there are none. */
		if (t_rand_below(2)) {
			for (unsigned j = 0; j < WORKERS; j++)
				if (j != i)
					worker_kill(&workers[j]);
			db = open_pair();
			verify(db);
			sqlite3_close(db);
			for (unsigned j = 0; j < WORKERS; j++)
				worker_start(&workers[j], j, work);
			continue;
		}
		db = open_pair();
		verify(db);
		sqlite3_close(db);
		worker_start(&workers[i], i, work);
	}
	for (unsigned i = 0; i < WORKERS; i++)
		worker_kill(&workers[i]);
	db = open_pair();
	verify(db);
	T_TRUE(num(db, "select sum(n) from cnt") > 0);
	sqlite3_close(db);
}

static void killed_in_one_store(void)
{
	kills(false, "delete");
}

static void killed_in_two_stores(void)
{
	kills(true, "delete");
}

static void killed_without_a_super_journal(void)
{
	kills(true, "memory");
}

/* Two connections that take them in different orders: somebody is told BUSY, nobody waits for ever. */
static void no_order_of_locks_hangs(void)
{
	sqlite3 *x, *y;

	mode = "delete";
	places(true);
	fill();
	x = open_pair();
	y = open_pair();
	sqlite3_busy_timeout(x, 50);
	sqlite3_busy_timeout(y, 50);
	T_EQ(must(x, "begin; update acct set n=n+1 where i=1"), 0);
	T_EQ(must(y, "begin; update bcct set n=n+1 where i=1"), 0);
	T_EQ(sqlite3_exec(x, "update bcct set n=n-1 where i=1", NULL, NULL, NULL) & 0xff,
	     SQLITE_BUSY);
	T_EQ(sqlite3_exec(y, "update acct set n=n-1 where i=1", NULL, NULL, NULL) & 0xff,
	     SQLITE_BUSY);
	T_EQ(must(y, "rollback"), 0);
	T_EQ(must(x, "update bcct set n=n-1 where i=1; commit"), 0);
	T_EQ(num(y, "select (select sum(n) from acct)+(select sum(n) from bcct)"),
	     2 * ACCOUNTS * AMOUNT);
	sqlite3_close(x);
	sqlite3_close(y);
}

int main(int argc, char **argv)
{
	const struct t_case cases[] = {
		T_CASE(killed_in_one_store),
		T_CASE(killed_in_two_stores),
		T_CASE(killed_without_a_super_journal),
		T_CASE(no_order_of_locks_hangs),
		T_END,
	};

	twzvfs_register(0);
	return t_main("vfs_group", cases, argc, argv);
}
