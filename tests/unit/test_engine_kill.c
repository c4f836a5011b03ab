/* SPDX-License-Identifier: MIT
 * test_engine_kill.c -- processes killed at any instruction; the others go on, and every acknowledged commit is there
 *
 * Workers move amounts between accounts (the sum never changes), count their commits in a row of
 * their own, and report each count through a pipe once the commit returned. SIGKILL loses no
 * page cache: what is proved here is that the shared state, the log and the homes survive the
 * process, not the machine (the crash enumerator does that).
 */
#include "engine_t.h"
#include "worker.h"

#define WORKERS	 3
#define ACCOUNTS 400
#define AMOUNT	 1000

static const char *path;
static struct worker workers[WORKERS];

static uint64_t to_num(struct twzdb_slice v)
{
	uint64_t n = 0;

	memcpy(&n, v.ptr, v.len < sizeof(n) ? v.len : sizeof(n));
	return n;
}

/*
 * Values have different lengths and keys come and go, so that nodes split and merge all the
 * time.
 */
static int put_num(struct twzdb_txn *tx, struct twzdb_table t, uint64_t key, uint64_t n)
{
	uint64_t buf[80] = {n};
	struct twzdb_slice v = {buf, 8 + (n * 37 + key) % 600};

	return twzdb_put(tx, t, et_key(key), v, 0);
}

static int get_num(struct twzdb_txn *tx, struct twzdb_table t, uint64_t key, uint64_t *n)
{
	struct twzdb_slice v;
	int err = twzdb_get(tx, t, et_key(key), &v);

	*n = err ? 0 : to_num(v);
	return err == TWZDB_E_NOTFOUND ? 0 : err;
}

static int transfer(struct twzdb_txn *tx, struct twzdb_table t)
{
	uint64_t a = t_rand_below(ACCOUNTS), b = t_rand_below(ACCOUNTS), na, nb, n;
	int err = get_num(tx, t, a, &na);

	if (!err)
		err = get_num(tx, t, b, &nb);
	if (err || a == b)
		return err;
	n = t_rand_below(4) ? t_rand_below(na + 1) : na;
	/* An account without money has no row. */
	err = na == n ? (na ? twzdb_del(tx, t, et_key(a)) : 0) : put_num(tx, t, a, na - n);
	return err || nb + n == 0 ? err : put_num(tx, t, b, nb + n);
}

/* Some commits are lazy: those may be lost, if nobody has the store open who knows them. */
static bool lazies, all_killed;

static int one_commit(struct twzdb *db, uint64_t me, uint64_t *count, bool lazy)
{
	struct twzdb_table acct, cnt;
	struct twzdb_txn *tx;
	uint64_t n = t_rand_below(20) ? t_rand_below(8) : t_rand_below(400);
	int err = twzdb_begin(db, lazy ? TWZDB_LAZY : 0, &tx);

	if (err)
		return err;
	err = twzdb_table_open(tx, "acct", 0, &acct);
	if (!err)
		err = twzdb_table_open(tx, "count", 0, &cnt);
	if (!err)
		err = get_num(tx, cnt, me, count);
	while (!err && n--)
		err = transfer(tx, acct);
	if (!err)
		err = put_num(tx, cnt, me, ++*count);
	if (err || t_rand_below(10) == 0) {
		--*count;
		twzdb_abort(tx);
		return err;
	}
	return twzdb_commit(tx);
}

static int sum_accounts(struct twzdb_txn *tx, struct twzdb_table t, uint64_t *sum, uint64_t *rows)
{
	struct twzdb_cursor *c;
	struct twzdb_slice k, v;
	int err = twzdb_cursor_open(tx, t, &c);

	*sum = *rows = 0;
	if (err)
		return err;
	for (err = twzdb_cursor_get(c, TWZDB_FIRST, &k, &v); !err;
	     err = twzdb_cursor_get(c, TWZDB_NEXT, &k, &v)) {
		*sum += to_num(v);
		++*rows;
	}
	twzdb_cursor_close(c);
	return err == TWZDB_E_NOTFOUND ? 0 : err;
}

/* One snapshot: the sum is right, twice, and the count agrees with the scan. */
static int one_read(struct twzdb *db)
{
	struct twzdb_table acct;
	struct twzdb_txn *tx;
	uint64_t sum = 0, rows = 0, cnt = 0;
	int err = twzdb_begin(db, TWZDB_RDONLY, &tx);

	if (err)
		return err;
	err = twzdb_table_open(tx, "acct", 0, &acct);
	for (int i = 0; i < 2 && !err; i++) {
		err = sum_accounts(tx, acct, &sum, &rows);
		if (!err && sum != ACCOUNTS * AMOUNT) {
			fprintf(stderr, "sum of snapshot %llu is %llu\n",
				(unsigned long long)twzdb_txn_ts(tx), (unsigned long long)sum);
			err = -1;
		}
	}
	if (!err)
		err = twzdb_count(tx, acct, &cnt);
	if (!err && cnt != rows) {
		fprintf(stderr, "count %llu, rows %llu\n", (unsigned long long)cnt,
			(unsigned long long)rows);
		err = -1;
	}
	twzdb_abort(tx);
	return err;
}

static int work(unsigned me, int fd, uint64_t seed)
{
	uint64_t count = 0, before;
	struct twzdb *db;
	int err;

	err = et_open(path, &db);
	for (uint64_t i = 0; i < seed % 97; i++)
		t_rand(); /* workers differ */
	while (!err) {
		bool lazy = lazies && t_rand_below(8);

		before = count;
		err = one_commit(db, me, &count, lazy);
		/* One that was rolled back says nothing: what it built on may have been lazy. */
		if (!err && count != before && !(lazy && all_killed) &&
		    write(fd, &count, sizeof(count)) != sizeof(count))
			return 0;
		if (!err && t_rand_below(4) == 0)
			err = one_read(db);
	}
	fprintf(stderr, "worker %u: %s: %s\n", me, twzdb_err_name(err), twzdb_errmsg());
	return 1;
}

static void verify(struct twzdb *db)
{
	struct twzdb_table cnt;
	struct twzdb_txn *tx;

	T_OK(one_read(db));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_REQ(twzdb_table_open(tx, "count", 0, &cnt));
	for (unsigned i = 0; i < WORKERS; i++) {
		uint64_t n;

		T_OK(get_num(tx, cnt, i, &n));
		/* A commit may have become durable just before the report could be written. */
		T_TRUE(n >= workers[i].acked);
	}
	twzdb_abort(tx);
	T_TRUE(et_clean(db));
}

static void fill(struct twzdb *db)
{
	struct twzdb_table t;
	struct twzdb_txn *tx;

	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_table_open(tx, "acct", TWZDB_TABLE_CREATE, &t));
	for (uint64_t i = 0; i < ACCOUNTS; i++)
		T_OK(put_num(tx, t, i, AMOUNT));
	T_REQ(twzdb_table_open(tx, "count", TWZDB_TABLE_CREATE, &t));
	T_OK(twzdb_commit(tx));
}

/*
 * Kill one worker after another; this process has the database open, so every death is a
 * takeover.
 */
static void takeovers(enum et_media m)
{
	struct twzdb_stats st = {.size = sizeof(st)};
	struct twzdb *db;

	path = et_path(m, "kill.twz");
	memset(workers, 0, sizeof(workers));
	T_REQ(et_open(path, &db));
	fill(db);
	for (unsigned i = 0; i < WORKERS; i++)
		worker_start(&workers[i], i, work);
	for (int round = 0; round < 50; round++) {
		unsigned i = (unsigned)t_rand_below(WORKERS);

		nap_us(t_rand_below(25000));
		worker_kill(&workers[i]);
		for (unsigned j = 0; j < WORKERS; j++)
			worker_drain(&workers[j]);
		verify(db);
		worker_start(&workers[i], i, work);
	}
	for (unsigned i = 0; i < WORKERS; i++)
		worker_kill(&workers[i]);
	verify(db);
	T_OK(twzdb_stats(db, &st));
	T_TRUE(st.commits > 0);
	printf(" %llu commits %llu takeovers ", (unsigned long long)st.commits,
	       (unsigned long long)st.takeovers);
	T_OK(twzdb_close(db));
	T_REQ(et_open(path, &db));
	verify(db);
	T_OK(twzdb_close(db));
}

/* Kill all of them at once; nobody has the store open, so the next opening is a restart. */
static void restarts(enum et_media m)
{
	struct twzdb *db;

	path = et_path(m, "restart.twz");
	memset(workers, 0, sizeof(workers));
	T_REQ(et_open(path, &db));
	fill(db);
	T_OK(twzdb_close(db));
	for (int round = 0; round < 10; round++) {
		for (unsigned i = 0; i < WORKERS; i++)
			worker_start(&workers[i], i, work);
		nap_us(t_rand_below(60000));
		for (unsigned i = 0; i < WORKERS; i++)
			worker_kill(&workers[i]);
		T_REQ(et_open(path, &db));
		verify(db);
		T_OK(twzdb_close(db));
	}
}

/* --- one commit, killed after so many instructions --- */

/* Stops itself before and after the commit, so that the parent can step through it. */
static int traced(int fd)
{
	struct twzdb_table acct, cnt;
	struct twzdb_txn *tx;
	struct twzdb *db;
	uint64_t count;
	int err = et_open(path, &db);

	if (!worker_traced())
		return 42;
	if (!err)
		err = twzdb_begin(db, 0, &tx);
	if (!err)
		err = twzdb_table_open(tx, "acct", 0, &acct);
	if (!err)
		err = twzdb_table_open(tx, "count", 0, &cnt);
	if (!err)
		err = get_num(tx, cnt, 0, &count);
	for (int i = 0; i < 6 && !err; i++)
		err = transfer(tx, acct);
	if (!err)
		err = put_num(tx, cnt, 0, ++count);
	raise(SIGSTOP);
	if (!err)
		err = twzdb_commit(tx);
	if (!err && write(fd, &count, sizeof(count)) != sizeof(count))
		err = 1;
	raise(SIGSTOP);
	return err ? 1 : 0;
}

/* Stepping is slow. */
static void any_instruction(enum et_media m, int rounds)
{
	struct twzdb_stats st = {.size = sizeof(st)};
	struct twzdb *db;
	uint64_t total;

	path = et_path(m, "step.twz");
	memset(workers, 0, sizeof(workers));
	T_REQ(et_open(path, &db));
	fill(db);
	total = worker_kill_after(&workers[0], traced, UINT64_MAX);
	if (!total) {
		printf(" skipped: ptrace is not allowed here ");
		T_OK(twzdb_close(db));
		return;
	}
	T_EQ(workers[0].acked, 1);
	rounds = kill_rounds(rounds);
	while (rounds-- && !CU_get_number_of_failure_records()) {
		worker_kill_after(&workers[0], traced, t_rand_below(total + total / 8));
		verify(db); /* begins with a reader: it meets what the dead left behind */
	}
	T_OK(twzdb_stats(db, &st));
	printf(" %llu instructions, %llu takeovers, %llu commits ", (unsigned long long)total,
	       (unsigned long long)st.takeovers, (unsigned long long)st.commits);
	T_OK(twzdb_close(db));
}

static void a_commit_killed_at_any_instruction_on_page_media(void)
{
	any_instruction(ET_PAGE, 2);
}

static void a_commit_killed_at_any_instruction_on_cache_line_media(void)
{
	any_instruction(ET_LINE, 4);
}

static void others_go_on_after_a_kill_on_page_media(void)
{
	takeovers(ET_PAGE);
}

static void others_go_on_after_a_kill_on_cache_line_media(void)
{
	takeovers(ET_LINE);
}

static void reopening_after_all_were_killed_on_page_media(void)
{
	restarts(ET_PAGE);
}

static void reopening_after_all_were_killed_on_cache_line_media(void)
{
	restarts(ET_LINE);
}

/* What one process committed lazily, another that has the store open makes durable. */
static void lazy_commits_of_the_killed_stay_with_others(void)
{
	lazies = true;
	takeovers(ET_PAGE);
	lazies = false;
}

static void lazy_commits_lost_with_all_processes_are_the_last(void)
{
	lazies = all_killed = true;
	restarts(ET_PAGE);
	lazies = all_killed = false;
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(a_commit_killed_at_any_instruction_on_page_media),
		T_CASE(a_commit_killed_at_any_instruction_on_cache_line_media),
		T_CASE(others_go_on_after_a_kill_on_page_media),
		T_CASE(others_go_on_after_a_kill_on_cache_line_media),
		T_CASE(reopening_after_all_were_killed_on_page_media),
		T_CASE(reopening_after_all_were_killed_on_cache_line_media),
		T_CASE(lazy_commits_of_the_killed_stay_with_others),
		T_CASE(lazy_commits_lost_with_all_processes_are_the_last),
		T_END,
	};

	return t_main("engine_kill", cases, argc, argv);
}
