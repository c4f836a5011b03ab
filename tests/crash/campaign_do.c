/* SPDX-License-Identifier: MIT
 * campaign_do.c -- what the children of a campaign do until they are killed: writers, SQLite clients, readers, a checkpointer
 */
#include "campaign.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "twz/twz.h"
#include "twzvfs.h"

#define MY (shared->said[me])

/* What may happen where memory is short; the child ends, and another one begins. */
static bool is_no_memory(int code)
{
	return code == -ENOMEM || code == TWZ_E_NOMEM || code == TWZ_E_MAPS;
}

bool is_no_room(int code)
{
	return code == TWZ_E_NOSPC || code == TWZDB_E_NOSPC || code == -ENOSPC;
}

void complain(int me, const char *what, int code)
{
	if (is_no_memory(code) || (is_no_room(code) && !strcmp(what, "open")))
		_exit(GAVE_UP);
	if (!MY.why[0])
		snprintf(MY.why, sizeof(MY.why), "child %d: %s: %d %s %s", me, what, code,
			 code < 0 ? twzdb_err_name(code) : "", twzdb_errmsg());
	_exit(3);
}

static void no_room(int me, uint64_t n)
{
	outcome_is(me, n, REFUSED); /* nothing changed, and writing goes on */
	count(&shared->n.no_room, 1);
}

/* --- the engine's side --- */

static struct twzdb_slice key_of(char buf[32], int actor, const char *what, int64_t k)
{
	int n = k < 0 ? snprintf(buf, 32, "a%d %s", actor, what)
		      : snprintf(buf, 32, "a%d %s %lld", actor, what, (long long)k);

	return (struct twzdb_slice){buf, (size_t)n};
}

int open_db(struct twzdb **db)
{
	struct twzdb_options opt = {
		.size = sizeof(opt), .flags = TWZDB_CREATE, .log_len = 64 << 10};

	return twzdb_open(path, &opt, db);
}

/* Of a few bytes or of some thousand: leaves split and merge, the log laps. */
size_t row_len(uint64_t n)
{
	return 8 * (1 + (n * 37) % (n % 16 ? 40 : 600));
}

static int put(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice key, uint64_t n,
	       size_t len)
{
	static uint64_t value[30000];

	for (size_t i = 0; i < len / 8; i++)
		value[i] = n;
	return twzdb_put(tx, t, key, (struct twzdb_slice){value, len}, 0);
}

/* Now and then a long row, or a long row less: the file grows, and space is given back. */
static int put_ballast(struct twzdb_txn *tx, struct twzdb_table t, int me, uint64_t n)
{
	char buf[32];
	struct twzdb_slice k = key_of(buf, me, "ballast", (int64_t)(n / 8 % BALLAST));
	int err;

	if (n % 8)
		return 0;
	if (n / (8 * BALLAST) % 2) {
		err = twzdb_del(tx, t, k);
		return err == TWZDB_E_NOTFOUND ? 0 : err;
	}
	return put(tx, t, k, n, 240000);
}

static int get_num(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice key, uint64_t *n)
{
	struct twzdb_slice v;
	int err = twzdb_get(tx, t, key, &v);

	*n = 0;
	if (err)
		return err == TWZDB_E_NOTFOUND ? 0 : err;
	memcpy(n, v.ptr, 8);
	return 0;
}

/* What the others have done so far: whoever has this change has theirs. */
static int put_saw(struct twzdb_txn *tx, struct twzdb_table t, int me, uint64_t n)
{
	uint64_t saw[1 + WRITERS] = {n};
	char buf[32];
	int err = 0;

	for (int i = 0; i < WRITERS && !err; i++)
		err = get_num(tx, t, key_of(buf, i, "last", -1), &saw[1 + i]);
	if (err)
		return err;
	return twzdb_put(tx, t, key_of(buf, me, "saw", -1), (struct twzdb_slice){saw, sizeof(saw)},
			 0);
}

static int change(struct twzdb *db, int me, uint64_t n)
{
	struct twzdb_txn *tx;
	struct twzdb_table t;
	char buf[32];
	int err = twzdb_begin_timed(db, 0, 20000, &tx);

	if (err)
		return err;
	__atomic_store_n(&MY.holds, 1, __ATOMIC_SEQ_CST);
	err = twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &t);
	if (!err)
		err = put(tx, t, key_of(buf, me, "last", -1), n, row_len(n));
	if (!err)
		err = put(tx, t, key_of(buf, me, "row", (int64_t)(n % KEYS)), n, row_len(n));
	if (!err)
		err = put_ballast(tx, t, me, n);
	if (!err)
		err = put_saw(tx, t, me, n);
	if (!err)
		err = twzdb_commit(tx);
	else
		twzdb_abort(tx);
	__atomic_store_n(&MY.holds, 0, __ATOMIC_SEQ_CST);
	return err;
}

/* The outcome first: who sees change N + 1 knows what became of N, unless we were killed. */
static void begin_number(int me, uint64_t n)
{
	outcome_is(me, n, UNKNOWN);
	__atomic_store_n(&MY.intended, n, __ATOMIC_SEQ_CST);
}

static void end_number(int me, uint64_t n)
{
	outcome_is(me, n, ACKED);
	__atomic_store_n(&MY.acked, n, __ATOMIC_SEQ_CST);
}

void writer(int me)
{
	struct twzdb *db;
	int err = open_db(&db);

	if (err)
		complain(me, "open", err);
	for (uint64_t n = MY.intended + 1;; n++) {
		begin_number(me, n);
		err = change(db, me, n);
		MY.stepped++;
		if (n % 64 == 0)
			clock_watch();
		if (is_no_room(err)) {
			no_room(me, n);
			continue;
		}
		if (err)
			complain(me, "commit", err);
		end_number(me, n);
	}
}

/* A child that never calls exec, and what it may do with what it inherited: nothing. */
static void fork_without_exec(int me, struct twzdb *db)
{
	struct twzdb_txn *tx;
	int err, status = 0;
	pid_t pid = fork();

	if (!pid) {
		err = twzdb_begin(db, TWZDB_RDONLY, &tx);
		if (err != TWZ_E_FORKED)
			complain(me, "a child of fork may use the handle", err);
		_exit(0);
	}
	if (pid > 0 && waitpid(pid, &status, 0) == pid && !status)
		count(&shared->n.forks, 1);
}

void reader(int me)
{
	sqlite3 *sql = sql_open(me);
	struct twzdb *db;
	const char *what;
	int err = open_db(&db);

	if (err)
		complain(me, "open", err);
	for (uint64_t n = 1;; n++) {
		bool keep = rnd(8) == 0;

		__atomic_store_n(&MY.holds, keep, __ATOMIC_SEQ_CST);
		err = look(db, keep ? rnd(20000) : 0, &what);
		if (err)
			complain(me, what, err);
		__atomic_store_n(&MY.holds, 0, __ATOMIC_SEQ_CST);
		MY.stepped++;
		clock_watch();
		sql_look(me, sql, WRITERS + (int)(n % CLIENTS), false);
		if (n % 32 == 0)
			sql_integrity(me, sql);
		if (rnd(50) == 0)
			fork_without_exec(me, db);
	}
}

void checkpointer(int me)
{
	struct twzdb *db;
	int err = open_db(&db);

	if (err)
		complain(me, "open", err);
	for (;;) {
		err = twzdb_checkpoint(db);
		if (err && err != TWZDB_E_BUSY && !is_no_room(err))
			complain(me, "checkpoint", err);
		MY.stepped++;
		clock_watch();
		nap(rnd(20000));
	}
}

/* --- SQLite's side --- */

void sql_complain(int me, sqlite3 *db, const char *what)
{
	int rc = sqlite3_extended_errcode(db);

	if ((rc & 0xff) == SQLITE_NOMEM || rc == SQLITE_IOERR_NOMEM || (rc & 0xff) == SQLITE_FULL)
		_exit(GAVE_UP);
	if (!MY.why[0])
		snprintf(MY.why, sizeof(MY.why), "child %d: SQLite %d %s: %.100s; %s", me, rc,
			 sqlite3_errmsg(db), what, twzdb_errmsg());
	_exit(3);
}

/* False: the disk was full, and nothing of it is left. */
static bool sql(int me, sqlite3 *db, const char *text)
{
	int rc = sqlite3_exec(db, text, NULL, NULL, NULL);

	if (rc == SQLITE_FULL) {
		if (!sqlite3_get_autocommit(db))
			sqlite3_exec(db, "rollback", NULL, NULL, NULL);
		return false;
	}
	if (rc)
		sql_complain(me, db, text);
	return true;
}

sqlite3 *sql_open(int me)
{
	char text[PATH_LEN + 60];
	sqlite3 *db = NULL;
	int rc = twzvfs_register(0);

	snprintf(text, sizeof(text), "file:%s?db=sql", path);
	if (!rc)
		rc = sqlite3_open_v2(text, &db,
				     SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI,
				     "twz");
	if (rc == SQLITE_NOMEM)
		_exit(GAVE_UP);
	if (rc)
		sql_complain(me, db, "open");
	sqlite3_busy_timeout(db, 20000);
	snprintf(text, sizeof(text), "attach 'file:%s?db=two' as two", path);
	if (!sql(me, db, text))
		_exit(GAVE_UP);
	return db;
}

/* It has the same clock as everybody: not the real one, once somebody has set it. */
static void sql_clock(int me, sqlite3 *db)
{
	int64_t skew = __atomic_load_n(&shared->skew, __ATOMIC_RELAXED), is;
	sqlite3_stmt *st = NULL;

	if (sqlite3_prepare_v2(db, "select strftime('%s', 'now')", -1, &st, NULL) ||
	    sqlite3_step(st) != SQLITE_ROW)
		sql_complain(me, db, "time");
	is = sqlite3_column_int64(st, 0) - skew - real_time();
	sqlite3_finalize(st);
	count(&shared->n.sql_clocks, skew && is > -60 && is < 60);
}

static void make_tables(int me, sqlite3 *db, const char *two)
{
	char text[200];

	snprintf(text, sizeof(text),
		 "create table if not exists c%d(n integer primary key, v);"
		 "create table if not exists %s.d%d(n integer primary key, v)",
		 me, two, me);
	if (!sql(me, db, text))
		_exit(GAVE_UP);
}

void client(int me)
{
	const char *two = me == ACTORS - 1 ? "two" : "main";
	sqlite3 *db = sql_open(me);
	char text[600], num[24];
	bool is_done;

	make_tables(me, db, two);
	sql_look(me, db, me, true);
	sql_integrity(me, db);
	for (uint64_t n = MY.intended + 1;; n++) {
		snprintf(num, sizeof(num), "%llu", (unsigned long long)n);
		snprintf(text, sizeof(text),
			 "begin immediate; insert into c%d values(%s, " SQL_VALUE ");"
			 "insert into %s.d%d values(%s, 'x'); delete from %s.d%d where n < %s - %d;"
			 "delete from c%d where n < %s - %d; commit",
			 me, num, num, num, two, me, num, two, me, num, KEYS, me, num, KEYS);
		begin_number(me, n);
		clock_watch();
		is_done = sql(me, db, text);
		MY.stepped++;
		if (!is_done) {
			no_room(me, n);
			continue;
		}
		end_number(me, n);
		if (n % 16 == 0)
			sql_look(me, db, me, true);
		if (n % 128 == 0)
			sql_integrity(me, db);
		if (n % 128 == 64)
			sql_clock(me, db);
	}
}
