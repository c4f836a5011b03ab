/* SPDX-License-Identifier: MIT
 * test_engine_group_kill.c -- transactions over several databases whose processes are killed at any instruction (D16)
 *
 * Workers move amounts between accounts of different databases, and count their commits in each of them: the sum never
 * changes, and the counts are the same in all. SIGKILL loses no page cache: the crash enumerator does that (engine.group).
 */
#include "engine_group.h"
#include "worker.h"

#define WORKERS	 3
#define ACCOUNTS 60
#define AMOUNT	 1000

static struct worker workers[WORKERS];

static int get_num(struct twzdb_txn *tx, struct twzdb_table t, uint64_t key, uint64_t *n)
{
	struct twzdb_slice v;
	int err = twzdb_get(tx, t, et_key(key), &v);

	*n = 0;
	if (!err)
		memcpy(n, v.ptr, sizeof(*n));
	return err == TWZDB_E_NOTFOUND ? 0 : err;
}

static int put_num(struct twzdb_txn *tx, struct twzdb_table t, uint64_t key, uint64_t n)
{
	uint64_t buf[80] = {n};
	struct twzdb_slice v = {buf, 8 + (n * 37 + key) % 600};

	return twzdb_put(tx, t, et_key(key), v, 0);
}

/* From an account of one database to one of another. */
static int transfer(struct twzdb_txn *const *tx, const struct twzdb_table *acct, unsigned cnt)
{
	unsigned x = (unsigned)t_rand_below(cnt), y = (unsigned)t_rand_below(cnt);
	uint64_t a = t_rand_below(ACCOUNTS), b = t_rand_below(ACCOUNTS), na, nb, n;
	int err = get_num(tx[x], acct[x], a, &na);

	if (x == y || err)
		return err;
	err = get_num(tx[y], acct[y], b, &nb);
	if (err)
		return err;
	n = t_rand_below(na + 1);
	err = put_num(tx[x], acct[x], a, na - n);
	return err ? err : put_num(tx[y], acct[y], b, nb + n);
}

static int change(struct twzdb_txn *const *tx, unsigned cnt, uint64_t me, uint64_t *count)
{
	uint64_t n = 1 + (t_rand_below(20) ? t_rand_below(6) : t_rand_below(100)), here;
	struct twzdb_table acct[DBS], counts[DBS];
	int err = 0;

	for (unsigned i = 0; i < cnt && !err; i++) {
		err = twzdb_table_open(tx[i], "acct", 0, &acct[i]);
		if (!err)
			err = twzdb_table_open(tx[i], "count", 0, &counts[i]);
	}
	if (!err)
		err = get_num(tx[0], counts[0], me, count);
	while (!err && n--)
		err = transfer(tx, acct, cnt);
	++*count;
	for (unsigned i = 0; i < cnt && !err; i++) {
		err = get_num(tx[i], counts[i], me, &here);
		if (!err && here + 1 != *count)
			err = -EILSEQ; /* the shares of a former group differ */
		if (!err)
			err = put_num(tx[i], counts[i], me, *count);
	}
	return err;
}

/* Somebody holds what is to be asked: that passes. */
static bool passing(int err)
{
	return err == TWZDB_E_BUSY || err == TWZDB_E_TIMEOUT || err == TWZDB_E_DOUBT;
}

static int one_group(uint64_t me, uint64_t *count)
{
	struct twzdb_txn *tx[DBS];
	int err = twzdb_group_begin(sc.db, DBS, 0, -1, tx);

	if (err)
		return err;
	err = change(tx, DBS, me, count);
	if (!err && t_rand_below(10))
		return twzdb_group_commit(tx, DBS);
	--*count;
	twzdb_group_abort(tx, DBS);
	return err;
}

/* Others write single databases between. */
static int one_single(void)
{
	struct twzdb_txn *tx;
	int err = twzdb_begin(sc.db[t_rand_below(DBS)], 0, &tx);

	if (err)
		return err;
	err = put_row(tx, t_rand_below(50), t_rand_below(300));
	if (!err)
		return twzdb_commit(tx);
	twzdb_abort(tx);
	return err;
}

static int work(unsigned me, int fd, uint64_t seed)
{
	uint64_t count;
	int err = open_all(&sc);

	for (uint64_t i = 0; i < seed % 97; i++)
		t_rand();
	while (!err) {
		if (t_rand_below(4) == 0) {
			err = one_single();
		} else {
			err = one_group(me, &count);
			if (!err && write(fd, &count, sizeof(count)) != sizeof(count))
				return 0;
		}
		if (passing(err))
			err = 0;
	}
	fprintf(stderr, "worker %u: %s: %s\n", me, twzdb_err_name(err), twzdb_errmsg());
	return 1;
}

static void sum_up(struct twzdb_txn *tx, uint64_t *sum, uint64_t counts[WORKERS])
{
	struct twzdb_table t;
	uint64_t n;

	T_REQ(twzdb_table_open(tx, "acct", 0, &t));
	for (uint64_t k = 0; k < ACCOUNTS; k++) {
		T_OK(get_num(tx, t, k, &n));
		*sum += n;
	}
	T_REQ(twzdb_table_open(tx, "count", 0, &t));
	for (uint64_t k = 0; k < WORKERS; k++)
		T_OK(get_num(tx, t, k, &counts[k]));
}

/* All databases at one moment: with all their locks. */
static void verify(void)
{
	struct twzdb_txn *tx[DBS];
	uint64_t sum = 0, counts[DBS][WORKERS];
	int err = TWZDB_E_BUSY;

	for (int i = 0; i < 20 && passing(err); i++)
		err = twzdb_group_begin(sc.db, DBS, 0, -1, tx);
	T_REQ(err);
	for (unsigned i = 0; i < DBS; i++)
		sum_up(tx[i], &sum, counts[i]);
	T_EQ(sum, (uint64_t)DBS * ACCOUNTS * AMOUNT);
	for (unsigned k = 0; k < WORKERS; k++) {
		T_EQ(counts[1][k], counts[0][k]);
		T_EQ(counts[2][k], counts[0][k]);
		T_TRUE(counts[0][k] >= workers[k].acked);
	}
	twzdb_group_abort(tx, DBS);
}

static void fill(void)
{
	struct twzdb_txn *tx[DBS];
	struct twzdb_table t;

	memset(workers, 0, sizeof(workers));
	T_REQ(twzdb_group_begin(sc.db, DBS, 0, -1, tx));
	for (unsigned i = 0; i < DBS; i++) {
		T_REQ(twzdb_table_open(tx[i], "count", TWZDB_TABLE_CREATE, &t));
		T_REQ(twzdb_table_open(tx[i], "acct", TWZDB_TABLE_CREATE, &t));
		for (uint64_t k = 0; k < ACCOUNTS; k++)
			T_OK(put_num(tx[i], t, k, AMOUNT));
	}
	T_REQ(twzdb_group_commit(tx, DBS));
}

static void takeovers(enum et_media m, bool apart, int rounds)
{
	T_REQ(scene_open(m, apart));
	fill();
	for (unsigned i = 0; i < WORKERS; i++)
		worker_start(&workers[i], i, work);
	for (int round = 0; round < rounds; round++) {
		unsigned i = (unsigned)t_rand_below(WORKERS);

		nap_us(t_rand_below(25000));
		worker_kill(&workers[i]);
		for (unsigned j = 0; j < WORKERS; j++)
			worker_drain(&workers[j]);
		verify();
		worker_start(&workers[i], i, work);
	}
	for (unsigned i = 0; i < WORKERS; i++)
		worker_kill(&workers[i]);
	verify();
	all_clean();
	scene_close();
}

static void restarts(enum et_media m, bool apart, int rounds)
{
	T_REQ(scene_open(m, apart));
	fill();
	T_OK(close_all(&sc));
	for (int round = 0; round < rounds; round++) {
		for (unsigned i = 0; i < WORKERS; i++)
			worker_start(&workers[i], i, work);
		nap_us(20000 + t_rand_below(50000));
		for (unsigned i = 0; i < WORKERS; i++)
			worker_kill(&workers[i]);
		T_REQ(open_all(&sc));
		verify();
		all_clean();
		T_OK(close_all(&sc));
	}
	T_REQ(open_all(&sc));
	scene_close();
}

static void members_are_killed_and_others_go_on(void)
{
	takeovers(ET_PAGE, false, kill_rounds(3));
	takeovers(ET_PAGE, true, kill_rounds(3));
	takeovers(ET_LINE, false, kill_rounds(3));
	takeovers(ET_LINE, true, kill_rounds(3));
}

static void all_are_killed(void)
{
	restarts(ET_PAGE, false, kill_rounds(1));
	restarts(ET_PAGE, true, kill_rounds(1));
	restarts(ET_LINE, false, kill_rounds(1));
	restarts(ET_LINE, true, kill_rounds(1));
}

/* --- at any instruction of a commit --- */

static int traced(int fd)
{
	struct twzdb_txn *tx[DBS];
	uint64_t count = 0;
	int err = open_all(&sc);

	if (!worker_traced())
		return 42;
	if (!err)
		err = twzdb_group_begin(sc.db, DBS, 0, -1, tx);
	if (!err)
		err = change(tx, DBS, 0, &count);
	raise(SIGSTOP);
	if (!err)
		err = twzdb_group_commit(tx, DBS);
	if (!err && write(fd, &count, sizeof(count)) != sizeof(count))
		err = 1;
	raise(SIGSTOP);
	return err ? 1 : 0;
}

/* TOTAL: about how many instructions it does, or 0: counted. Each is a stop and two calls of the kernel. Returns it; 0: not allowed here. */
static uint64_t any_instruction(enum et_media m, bool apart, int rounds, uint64_t total)
{
	if (!T_TRUE(!scene_open(m, apart)))
		return 0;
	fill();
	if (!total) {
		total = worker_kill_after(&workers[0], traced, UINT64_MAX);
		T_EQ(workers[0].acked, total != 0);
		printf(" %llu instructions ", (unsigned long long)total);
	}
	for (int i = 0; i < rounds && total && !CU_get_number_of_failure_records(); i++) {
		bool restart = t_rand_below(2);

		if (restart)
			T_OK(close_all(&sc));
		worker_kill_after(&workers[0], traced, t_rand_below(total + total / 4));
		if (restart)
			T_TRUE(!open_all(&sc));
		verify();
		all_clean();
	}
	scene_close();
	return total;
}

static void a_group_killed_at_any_instruction(void)
{
	for (int m = 0; m < 2; m++) {
		uint64_t total = any_instruction(m ? ET_LINE : ET_PAGE, false, kill_rounds(1), 0);

		if (!total) {
			printf(" skipped: ptrace is not allowed here ");
			return;
		}
		any_instruction(m ? ET_LINE : ET_PAGE, true, kill_rounds(1), total);
	}
}

int main(int argc, char **argv)
{
	const struct t_case cases[] = {
		T_CASE(members_are_killed_and_others_go_on),
		T_CASE(all_are_killed),
		T_CASE(a_group_killed_at_any_instruction),
		T_END,
	};

	return t_main("engine_group_kill", cases, argc, argv);
}
