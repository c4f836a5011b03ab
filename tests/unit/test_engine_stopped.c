/* SPDX-License-Identifier: MIT
 * test_engine_stopped.c -- a process is stopped (SIGSTOP) while it stores a commit: who reads the same leaf is told so, after a
 * while, and nothing is broken: when it goes on, all go on
 */
#include "../../engine/src/internal.h"

#include "../../engine/src/apply.h"
#include "engine_t.h"
#include "worker.h"

static struct twzdb *db;
static struct twzdb_table table;

static int put(uint64_t key)
{
	struct twzdb_txn *tx;
	int err = twzdb_begin(db, 0, &tx);

	if (err)
		return err;
	err = twzdb_put(tx, table, et_key(key), et_val(key, 100), 0);
	if (!err)
		return twzdb_commit(tx);
	twzdb_abort(tx);
	return err;
}

/* As the engine's own, but stopped between making the leaf odd and making it even. */
static int stop_in_apply(void *ctx, uint64_t lsn, const void *rec, size_t len)
{
	struct twzdb *d = ctx;

	if (twzdb__is_one(rec, len)) {
		twzdb__apply_begin(d->sh);
		node_open(twzdb__at(d, lone_leaf(rec), TWZDB_NODE_LEN));
		raise(SIGSTOP);
	}
	return twzdb__log_staged(ctx, lsn, rec, len);
}

/* Cache-line media: nobody is asked on the way, so the same is done by hand, with the writer lock. */
static int stop_in_change(void)
{
	struct twzdb_slice k = et_key(0);
	struct twzdb_txn *tx;
	struct nref leaf;
	unsigned pos;
	bool exact;
	uint32_t odd;
	int err = twzdb_begin(db, 0, &tx);

	if (err)
		return err;
	err = twzdb__seek(tx, table.h, (struct bkey){k.ptr, (uint32_t)k.len}, false, &leaf, &pos,
			  &exact, NULL);
	if (!err) {
		twzdb__apply_begin(db->sh);
		odd = node_open((struct node_pm *)(uintptr_t)leaf.n);
		raise(SIGSTOP);
		node_close((struct node_pm *)(uintptr_t)leaf.n, odd);
		twzdb__apply_end(db->sh);
	}
	twzdb_abort(tx);
	return err;
}

static int open_table(const char *path)
{
	struct twzdb_options o = {.size = sizeof(o), .flags = TWZDB_CREATE | TWZDB_NO_ACCEL};
	struct twzdb_txn *tx;
	int err = twzdb_open(path, &o, &db);

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

static pid_t stopped_writer(const char *path)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid) {
		if (open_table(path))
			_exit(1);
		db->log_user.staged = stop_in_apply;
		if (!db->page_media && stop_in_change())
			_exit(3);
		_exit(put(7) ? 2 : 0);
	}
	stopped_wait(pid);
	return pid;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void told(enum et_media m)
{
	const char *path = et_path(m, "stopped.twz");
	struct twzdb_slice v;
	struct twzdb_txn *tx;
	uint64_t from;
	pid_t pid;

	T_REQ(open_table(path));
	T_EQ(db->page_media, m == ET_PAGE);
	for (uint64_t i = 0; i < 5; i++)
		T_OK(put(i * 10));
	pid = stopped_writer(path);
	T_OK(twzdb_begin(db, TWZDB_RDONLY, &tx));
	from = now_ms();
	T_EQ(twzdb_get(tx, table, et_key(10), &v), TWZDB_E_TIMEOUT);
	from = now_ms() - from;
	if (!T_TRUE(from >= 9500 && from < 12000))
		fprintf(stderr, "  told after %llu ms\n", (unsigned long long)from);
	twzdb_abort(tx);
	T_EQ(ld64(&db->sh->failed), 0);
	stopped_goes_on(pid);
	T_OK(put(8));
	T_OK(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_OK(twzdb_get(tx, table, et_key(7), &v));
	T_OK(twzdb_get(tx, table, et_key(10), &v));
	twzdb_abort(tx);
	T_OK(twzdb_close(db));
}

/* On both media at the same time: it takes ten seconds. */
static void a_reader_is_told_and_breaks_nothing(void)
{
	int status;
	pid_t pid;

	et_path(ET_LINE, ""); /* the directory is this process's */
	fflush(NULL);
	pid = fork();
	if (!pid) {
		told(ET_LINE);
		fflush(NULL);
		_exit(CU_get_number_of_failure_records() != 0);
	}
	told(ET_PAGE);
	T_EQ(waitpid(pid, &status, 0), pid);
	T_TRUE(WIFEXITED(status) && !WEXITSTATUS(status));
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {T_CASE(a_reader_is_told_and_breaks_nothing), T_END};

	return t_main("engine_stopped", cases, argc, argv);
}
