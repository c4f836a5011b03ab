/* SPDX-License-Identifier: MIT
 * test_engine_give.c -- free space goes back to the file system, and is taken again
 */
#include "engine_t.h"

#include "../../engine/src/internal.h"
#include "full_disk.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROWS  40000
#define VALUE 1000
#define MIB   ((uint64_t)1 << 20)

static const char *path;
static struct twzdb *db;
static struct twzdb_table tab;

static uint64_t blocks(void)
{
	struct stat st;

	return stat(path, &st) ? 0 : (uint64_t)st.st_blocks * 512;
}

/* Pieces of the file that are there, between its holes. */
static unsigned int pieces(void)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	unsigned int cnt = 0;
	off_t at = 0;

	T_TRUE(fd >= 0);
	while ((at = lseek(fd, at, SEEK_DATA)) >= 0 && (at = lseek(fd, at, SEEK_HOLE)) >= 0)
		cnt++;
	close(fd);
	return cnt;
}

static void put_rows(uint64_t from, uint64_t to, uint64_t seed)
{
	struct twzdb_txn *tx;

	while (from < to) {
		T_REQ(twzdb_begin(db, 0, &tx));
		T_REQ(twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &tab));
		for (uint64_t end = from + 2000; from < to && from < end; from++)
			T_REQ(twzdb_put(tx, tab, et_key(from), et_val(seed + from, VALUE), 0));
		T_REQ(twzdb_commit(tx));
	}
}

static void del_rows(uint64_t from, uint64_t to)
{
	struct twzdb_txn *tx;
	uint64_t cnt;

	T_REQ(twzdb_begin(db, 0, &tx));
	T_OK(twzdb_del_range(tx, tab, et_key(from), et_key(to), &cnt));
	T_EQ(cnt, to - from);
	T_REQ(twzdb_commit(tx));
}

static void rows_are(struct twzdb_txn *given, uint64_t from, uint64_t to, uint64_t seed)
{
	struct twzdb_txn *tx = given;
	struct twzdb_slice v;
	uint64_t cnt;

	if (!tx)
		T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_OK(twzdb_count(tx, tab, &cnt));
	T_EQ(cnt, to - from);
	for (uint64_t i = from; i < to; i += 7)
		if (T_OK(twzdb_get(tx, tab, et_key(i), &v)) ||
		    !T_TRUE(et_same(v, et_val(seed + i, VALUE))))
			break;
	if (!given)
		twzdb_abort(tx);
}

static struct twzdb_stats stats(void)
{
	struct twzdb_stats st = {.size = sizeof(st)};

	T_OK(twzdb_stats(db, &st));
	return st;
}

static void start(enum et_media m, const char *name)
{
	path = et_path(m, name);
	T_REQ(et_open(path, &db));
}

static void stop(void)
{
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

static void a_deleted_table_makes_the_file_smaller(enum et_media m)
{
	uint64_t full, after;
	unsigned int holes;

	start(m, "smaller.twz");
	put_rows(0, ROWS, 1);
	full = blocks();
	del_rows(100, ROWS);
	T_OK(twzdb_checkpoint(db));
	after = blocks();
	T_TRUE(after + 25 * MIB < full);
	T_TRUE(stats().given_len > 25 * MIB && stats().taken_len == 0);
	rows_are(NULL, 0, 100, 1);
	T_TRUE(et_clean(db));
	T_OK(twzdb_checkpoint(db)); /* there is no more to give */
	T_TRUE(blocks() > after - MIB);
	T_OK(twzdb_close(db));
	T_REQ(et_open(path, &db));
	T_TRUE(blocks() < after + MIB); /* and it does not come back */
	rows_are(NULL, 0, 100, 1);
	holes = pieces();
	put_rows(
		10, 12,
		1); /* units are looked for; on a memory file system a look into a hole takes a page */
	T_TRUE(pieces() <= holes + 2);
	put_rows(0, ROWS, 2);
	rows_are(NULL, 0, ROWS, 2);
	T_TRUE(stats().taken_len > 20 * MIB);
	T_TRUE(blocks() < full + full / 4); /* the same space again */
	stop();
}

static void a_deleted_table_makes_the_file_smaller_page(void)
{
	a_deleted_table_makes_the_file_smaller(ET_PAGE);
}

static void a_deleted_table_makes_the_file_smaller_line(void)
{
	a_deleted_table_makes_the_file_smaller(ET_LINE);
}

/* Nobody asks for it: commits do it when it pays, and not over and over. */
static void commits_give_back_what_pays(void)
{
	struct twzdb_txn *tx;
	uint64_t full, given;

	start(ET_LINE, "pays.twz");
	put_rows(0, ROWS, 1);
	full = blocks();
	del_rows(0, ROWS - 1000);
	for (uint64_t i = 0; i < 800; i++) {
		T_REQ(twzdb_begin(db, 0, &tx));
		T_OK(twzdb_put(tx, tab, et_key(ROWS + 2 * i), et_val(1, 8), 0));
		T_OK(twzdb_put(tx, tab, et_key(ROWS + 2 * i + 1), et_val(1, 8), 0));
		T_OK(twzdb_commit(tx));
	}
	given = stats().given_len;
	T_TRUE(blocks() + 15 * MIB < full && given > 15 * MIB);
	for (uint64_t i = 0; i < 50; i++) { /* little comes and goes: nothing to do with the file */
		put_rows(0, 1000, i);
		del_rows(0, 1000);
	}
	T_TRUE(stats().given_len < given + 4 * MIB);
	stop();
}

static void an_old_reader_keeps_what_it_sees(void)
{
	struct twzdb_txn *old;
	uint64_t full;

	start(ET_LINE, "reader.twz");
	put_rows(0, ROWS, 1);
	full = blocks();
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &old));
	del_rows(0, ROWS);
	T_OK(twzdb_checkpoint(db));
	T_TRUE(blocks() >= full);
	rows_are(old, 0, ROWS, 1);
	twzdb_abort(old);
	T_OK(twzdb_checkpoint(db));
	T_TRUE(blocks() + 25 * MIB < full);
	stop();
}

/* A copy has space for everything again, whatever made its holes. */
static void a_sparse_copy_is_filled(void)
{
	char cmd[512];
	const char *copy;

	start(ET_LINE, "origin.twz");
	put_rows(0, ROWS, 1);
	del_rows(100, ROWS);
	T_OK(twzdb_checkpoint(db));
	stop();
	copy = et_path(ET_LINE, "copy.twz");
	snprintf(cmd, sizeof(cmd), "cp --sparse=always %s %s", path, copy);
	T_EQ(system(cmd), 0);
	path = copy;
	T_TRUE(blocks() < 20 * MIB);
	T_REQ(et_open(path, &db));
	T_TRUE(blocks() > 40 * MIB);
	rows_are(NULL, 0, 100, 1);
	stop();
}

/* The page of the block on top of the stack of class CLS. */
static void *page_of_top(unsigned cls)
{
	const struct twzdb__shared *sh = db->sh;
	uint64_t at = (uint64_t)twzdb__at(db, sh->stack[cls][sh->cls[cls].stack_cnt - 1], 1);

	T_TRUE(at != 0);
	return (void *)(at & ~(uint64_t)4095);
}

static bool has_space(void *page)
{
	unsigned char in = 1;

	T_OK(mincore(page, 4096, &in));
	return in & 1;
}

/*
 * Blocks that died stay on the stack of their class when their unit changes its type and its space goes back. Who takes the
 * next block must not look at one: on a memory file system that takes a page, and is a SIGBUS on a full disk.
 */
static void a_block_without_space_is_not_looked_at(void)
{
	unsigned cls = twzdb__class_of(TWZDB_REC_LEN + et_key(0).len + VALUE);
	uint64_t back = ROWS - 2000;
	void *top;

	start(ET_LINE, "stack.twz");
	put_rows(0, ROWS, 1);
	del_rows(ROWS - 2000, ROWS - 1000);
	while (back < ROWS - 1000 && db->sh->cls[cls].stack_cnt < 10) {
		put_rows(back, back + 1, 1); /* what died comes on the stack */
		back++;
	}
	if (!T_TRUE(db->sh->cls[cls].stack_cnt && has_space(page_of_top(cls))))
		return;
	del_rows(100, back);
	del_rows(ROWS - 1000, ROWS);
	T_OK(twzdb_checkpoint(db));
	if (!T_TRUE(db->sh->cls[cls].stack_cnt && !has_space(page_of_top(cls))))
		return;
	top = page_of_top(cls);
	put_rows(100, 101, 1);
	T_TRUE(!has_space(top));
	stop();
}

/* --- a full disk --- */

/* The space given back is somebody else's now: an error, nothing lost, and deleting works. */
static void space_may_not_come_back(enum et_media m)
{
	struct twz_store_options so = {
		.size = sizeof(so), .flags = TWZ_STORE_CREATE, .backend = &full_disk};
	struct twzdb_options o = {.size = sizeof(o),
				  .flags = TWZDB_CREATE,
				  .log_len = 256 << 10,
				  .store_options = &so};
	struct twzdb_txn *tx;
	uint64_t n = 1000;
	int err = 0;

	disk_full = false;
	path = et_path(m, "nospace.twz");
	T_REQ(twzdb_open(path, &o, &db));
	put_rows(0, ROWS, 1);
	del_rows(1000, ROWS);
	T_OK(twzdb_checkpoint(db));
	T_TRUE(stats().given_len > 20 * MIB);
	disk_full = true;
	for (; !err && n < ROWS; n += !err) {
		T_REQ(twzdb_begin(db, 0, &tx));
		err = twzdb_put(tx, tab, et_key(n), et_val(1 + n, VALUE), 0);
		if (!err)
			err = twzdb_commit(tx);
		else
			twzdb_abort(tx);
	}
	T_ERR(err, TWZDB_E_NOSPC);
	T_REQ(twzdb_begin(db, 0, &tx));
	T_ERR(twzdb_put(tx, tab, et_str("large"), et_val(1, 1 << 20), 0), TWZDB_E_NOSPC);
	twzdb_abort(tx);
	rows_are(NULL, 0, n, 1);
	T_TRUE(et_clean(db));
	for (uint64_t i = 500; i < n; i++) {
		T_REQ(twzdb_begin(db, 0, &tx));
		if (T_OK(twzdb_del(tx, tab, et_key(i))) || T_OK(twzdb_commit(tx)))
			break;
	}
	rows_are(NULL, 0, 500, 1);
	disk_full = false;
	put_rows(0, ROWS, 3);
	rows_are(NULL, 0, ROWS, 3);
	stop();
}

static void space_may_not_come_back_page(void)
{
	space_may_not_come_back(ET_PAGE);
}

static void space_may_not_come_back_line(void)
{
	space_may_not_come_back(ET_LINE);
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(a_deleted_table_makes_the_file_smaller_page),
		T_CASE(a_deleted_table_makes_the_file_smaller_line),
		T_CASE(commits_give_back_what_pays),
		T_CASE(an_old_reader_keeps_what_it_sees),
		T_CASE(a_sparse_copy_is_filled),
		T_CASE(a_block_without_space_is_not_looked_at),
		T_CASE(space_may_not_come_back_page),
		T_CASE(space_may_not_come_back_line),
		T_END,
	};

	return t_main("engine_give", cases, argc, argv);
}
