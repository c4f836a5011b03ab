/* SPDX-License-Identifier: MIT
 * test_engine_accel.c -- the accelerator: quick when it is right, and right whatever its memory holds
 */
#include "engine_t.h"

#include "../../engine/src/accel.h"

#include "large_pages.h"

#include <dirent.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define ROWS 5000

static int open_flags(const char *name, uint32_t flags, struct twzdb **db)
{
	return et_open_opt(et_path(ET_LINE, name), TWZDB_CREATE | flags, 1 << 20, 0, db);
}

/* Version V of row I; multiples of 7 are absent in odd versions. */
static struct twzdb_slice row_val(uint64_t v, uint64_t i)
{
	return et_val(v * 7919 + i, 20 + (v + i) % 60);
}

static bool is_absent(uint64_t v, uint64_t i)
{
	return i % 7 == 0 && v & 1;
}

/* Rows [FROM, TO) become version V, in transactions of STEP rows. */
static int write_rows(struct twzdb *db, uint64_t v, uint64_t from, uint64_t to, uint64_t step)
{
	for (uint64_t i = from; i < to;) {
		struct twzdb_table t;
		struct twzdb_txn *tx;
		int err = twzdb_begin(db, 0, &tx);

		if (!err)
			err = twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &t);
		for (uint64_t n = 0; !err && n < step && i < to; n++, i++) {
			if (!is_absent(v, i))
				err = twzdb_put(tx, t, et_key(i), row_val(v, i), 0);
			else if (twzdb_del(tx, t, et_key(i)) != TWZDB_E_NOTFOUND)
				err = 0;
		}
		if (err) {
			twzdb_abort(tx);
			return err;
		}
		err = twzdb_commit(tx);
		if (err)
			return err;
	}
	return 0;
}

/* Rows [0, TO) are all of version V in the snapshot of TX; false at the first that is not. */
static bool reads_right(struct twzdb_txn *tx, uint64_t v, uint64_t to)
{
	struct twzdb_table t;

	if (T_OK(twzdb_table_open(tx, "t", 0, &t)))
		return false;
	for (uint64_t i = 0; i < to; i++) {
		struct twzdb_slice val;
		int err = twzdb_get(tx, t, et_key(i), &val);
		bool ok = is_absent(v, i) ? err == TWZDB_E_NOTFOUND
					  : !err && et_same(val, row_val(v, i));

		if (!ok) {
			fprintf(stderr, "version %" PRIu64 " row %" PRIu64 ": %d %s\n", v, i, err,
				twzdb_errmsg());
			return false;
		}
	}
	return true;
}

static bool all_right(struct twzdb *db, uint64_t v, uint64_t to)
{
	struct twzdb_txn *tx;
	bool ok = !T_OK(twzdb_begin(db, TWZDB_RDONLY, &tx)) && reads_right(tx, v, to);

	twzdb_abort(tx);
	return ok;
}

static uint64_t entries(const struct twzdb *db)
{
	uint64_t cnt = 0;

	for (uint64_t i = 0; i < db->acc.head->n; i++)
		for (int s = 0; s < ACC_SLOTS; s++)
			cnt += db->acc.bucket[i][s] != 0;
	return cnt;
}

/* Rows whose newest version the accelerator names. */
static uint64_t covered(struct twzdb *db, uint64_t to)
{
	struct twzdb_table t;
	struct twzdb_txn *tx;
	uint64_t cnt = 0;

	if (T_OK(twzdb_begin(db, TWZDB_RDONLY, &tx)) || T_OK(twzdb_table_open(tx, "t", 0, &t)))
		return 0;
	for (uint64_t i = 0; i < to; i++) {
		struct twzdb_slice s = et_key(i);
		struct bkey k = {s.ptr, (uint32_t)s.len};
		uint32_t tag = twzdb__tag_in(tx, t);
		const struct rec_pm *r;

		cnt += twzdb__acc_find(db, tag, k, twzdb__acc_hash(tag, k), &r) != 0;
	}
	twzdb_abort(tx);
	return cnt;
}

static void reading_fills_it_and_it_grows(void)
{
	struct twzdb *db;
	uint64_t n;

	T_REQ(open_flags("fill.twz", 0, &db));
	if (!T_TRUE(db->acc.max > 0)) /* no /dev/shm: nothing to test */
		return;
	T_REQ(write_rows(db, 2, 0, 40000, 1000));
	T_TRUE(all_right(db, 2, 40000));
	T_TRUE(covered(db, 40000) > 38000);
	n = db->acc.head->n;
	printf("%" PRIu64 " buckets, %" PRIu64 " entries ", n, entries(db));
	T_TRUE(n > ACC_MIN && n * 64 < 40000 * 34);
	/* What dies makes room: new versions of the same rows need no more. */
	for (uint64_t v = 4; v < 14; v += 2) {
		T_REQ(write_rows(db, v, 0, 40000, 1000));
		T_TRUE(all_right(db, v, 40000));
	}
	T_TRUE(db->acc.head->n < n + n / 2);
	T_TRUE(covered(db, 40000) > 38000);
	T_OK(twzdb_close(db));
}

/* Old snapshots beside new ones, deletes, blocks used again: always the version of the snapshot. */
static void every_snapshot_reads_its_own_version(void)
{
	struct twzdb_txn *old[4] = {NULL};
	uint64_t ver[4] = {0};
	struct twzdb *db;

	T_REQ(open_flags("snap.twz", 0, &db));
	for (uint64_t v = 0; v < 12; v++) {
		int at = (int)(v % 4);

		T_REQ(write_rows(db, v, 0, ROWS, v % 3 ? ROWS : 1 + t_rand_below(50)));
		if (old[at]) {
			T_TRUE(reads_right(old[at], ver[at], ROWS));
			twzdb_abort(old[at]);
		}
		T_REQ(twzdb_begin(db, TWZDB_RDONLY, &old[at]));
		ver[at] = v;
		for (int i = 0; i < 4; i++)
			T_TRUE(!old[i] || reads_right(old[i], ver[i], ROWS));
	}
	for (int i = 0; i < 4; i++)
		twzdb_abort(old[i]);
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

/* A writer reads its own changes, and what it has not changed. */
static void a_writer_reads_its_own_changes(void)
{
	struct twzdb_slice val;
	struct twzdb_table t;
	struct twzdb_txn *tx;
	struct twzdb *db;

	T_REQ(open_flags("own.twz", 0, &db));
	T_REQ(write_rows(db, 2, 0, ROWS, ROWS));
	T_TRUE(all_right(db, 2, ROWS));
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_table_open(tx, "t", 0, &t));
	T_REQ(twzdb_get(tx, t, et_key(5), &val));
	T_TRUE(et_same(val, row_val(2, 5)));
	T_OK(twzdb_put(tx, t, et_key(5), row_val(3, 5), 0));
	T_OK(twzdb_del(tx, t, et_key(6)));
	T_REQ(twzdb_get(tx, t, et_key(5), &val));
	T_TRUE(et_same(val, row_val(3, 5)));
	T_ERR(twzdb_get(tx, t, et_key(6), &val), TWZDB_E_NOTFOUND);
	T_REQ(twzdb_get(tx, t, et_key(8), &val));
	T_TRUE(et_same(val, row_val(2, 8)));
	twzdb_abort(tx);
	T_TRUE(all_right(db, 2, ROWS));
	T_OK(twzdb_close(db));
}

/* The same key in two tables, and in a table made after another was dropped. */
static void tables_are_kept_apart(void)
{
	struct twzdb_slice val;
	struct twzdb_table a, b;
	struct twzdb_txn *tx;
	struct twzdb *db;

	T_REQ(open_flags("tables.twz", 0, &db));
	for (uint64_t round = 0; round < 20; round++) {
		T_REQ(twzdb_begin(db, 0, &tx));
		if (round)
			T_OK(twzdb_table_drop(tx, "a"));
		T_REQ(twzdb_table_open(tx, "a", TWZDB_TABLE_CREATE, &a));
		T_REQ(twzdb_table_open(tx, "b", TWZDB_TABLE_CREATE, &b));
		for (uint64_t i = 0; i < 100; i++) {
			if (i % 3 != round % 3)
				T_OK(twzdb_put(tx, a, et_key(i), et_val(round, 30), 0));
			T_OK(twzdb_put(tx, b, et_key(i), et_val(1000 + round, 30), 0));
		}
		T_REQ(twzdb_commit(tx));
		for (int pass = 0; pass < 2; pass++) {
			T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
			T_REQ(twzdb_table_open(tx, "a", 0, &a));
			T_REQ(twzdb_table_open(tx, "b", 0, &b));
			for (uint64_t i = 0; i < 100; i++) {
				int err = twzdb_get(tx, a, et_key(i), &val);

				T_EQ(err, i % 3 == round % 3 ? TWZDB_E_NOTFOUND : 0);
				T_TRUE(err || et_same(val, et_val(round, 30)));
				T_OK(twzdb_get(tx, b, et_key(i), &val));
				T_TRUE(et_same(val, et_val(1000 + round, 30)));
			}
			twzdb_abort(tx);
		}
	}
	T_OK(twzdb_close(db));
}

/* A word that leads somewhere: near a real record, into nodes, outside, or anywhere. */
static uint64_t lie(const struct twzdb *db)
{
	const uint64_t *b = db->acc.bucket[t_rand_below(db->acc.head->n)];
	uint64_t e = b[t_rand_below(ACC_SLOTS)];

	switch (t_rand_below(5)) {
	case 0:
		/* blocks around it, their middles */
		return e + (t_rand_below(9) << ACC_TAG_BITS) - ((uint64_t)4 << ACC_TAG_BITS);
	case 1:
		return acc_entry(e, t_rand_below((uint64_t)1 << 24)); /* the root object */
	case 2:
		/* anywhere in the first data object */
		return acc_entry(e,
				 twz_pptr_make(TWZDB_NO_DATA, t_rand_below((uint64_t)1 << 22)).v);
	case 3:
		return t_rand();
	default:
		return e; /* another key's record */
	}
}

static void any_bytes_in_it_do_no_harm(void)
{
	struct twzdb *db;
	uint64_t v = 2;

	T_REQ(open_flags("lies.twz", 0, &db));
	T_REQ(write_rows(db, v, 0, ROWS, ROWS));
	T_TRUE(all_right(db, v, ROWS));
	for (int round = 0; round < 30; round++) {
		uint64_t n = db->acc.head->n;

		for (uint64_t i = 0; i < n; i++)
			for (int s = 0; s < ACC_SLOTS; s++)
				if (t_rand_below(3) == 0) {
					uint64_t tag = db->acc.bucket[i][s] & ACC_TAG_MASK;

					db->acc.bucket[i][s] =
						round & 1 ? tag | (lie(db) & ~ACC_TAG_MASK)
							  : lie(db);
				}
		T_TRUE(all_right(db, v, ROWS));
		if (round % 8 == 7) {
			v++;
			T_REQ(write_rows(db, v, 0, ROWS, 100));
		}
	}
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

#define HIDE (16 - (TWZDB_REC_LEN + 8) % 16)
/* A value made to look like a record of the table, and an entry that leads to it. */
static void a_value_that_looks_like_a_record_is_none(void)
{
	uint8_t fake[400];
	struct twzdb_slice val = {fake, sizeof(fake)}, k = et_key(1);
	const struct rec_pm *real;
	struct twzdb_table t;
	struct twzdb_txn *tx;
	struct twzdb *db;
	uint32_t tag;
	uint64_t h, p, hidden;

	T_REQ(open_flags("fake.twz", 0, &db));
	T_REQ(write_rows(db, 2, 0, 10, 10));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_REQ(twzdb_table_open(tx, "t", 0, &t));
	T_REQ(twzdb_get(tx, t, k, &val));
	tag = twzdb__tag_in(tx, t);
	h = twzdb__acc_hash(tag, (struct bkey){k.ptr, 8});
	p = twzdb__acc_find(db, tag, (struct bkey){k.ptr, 8}, h, &real);
	T_TRUE(p);
	twzdb_abort(tx);
	memset(fake, 0, sizeof(fake));
	memcpy(fake + HIDE, real, TWZDB_REC_LEN + 8); /* where it is aligned as a record is */
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_table_open(tx, "t", 0, &t));
	T_REQ(twzdb_put(tx, t, et_key(77), (struct twzdb_slice){fake, sizeof(fake)}, 0));
	T_REQ(twzdb_commit(tx));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	for (int i = 0; i < 3; i++) /* until reads of this unit take the shortest way */
		T_REQ(twzdb_get(tx, t, et_key(77), &val));
	k = et_key(77);
	hidden = twzdb__acc_find(db, tag, (struct bkey){k.ptr, 8},
				 twzdb__acc_hash(tag, (struct bkey){k.ptr, 8}), &real);
	T_TRUE(hidden);
	T_TRUE(db->acc.unit[ACC_UNIT(acc_entry(h, hidden))].word);
	hidden += TWZDB_REC_LEN + 8 + HIDE;
	T_EQ(hidden % 16, 0);
	memset(acc_bucket(db, h), 0, 64);
	acc_bucket(db, h)[0] = acc_entry(h, hidden);
	k = et_key(1);
	T_TRUE(!memcmp(twzdb__at(db, hidden, 64), fake + HIDE, TWZDB_REC_LEN + 8));
	T_EQ(twzdb__acc_find(db, tag, (struct bkey){k.ptr, 8}, h, &real), 0);
	T_REQ(twzdb_get(tx, t, k, &val));
	T_TRUE(et_same(val, row_val(2, 1)));
	twzdb_abort(tx);
	T_OK(twzdb_close(db));
}

/* What reads know of units is right for one value of cut_seq only. */
static void units_that_change_are_looked_at_again(void)
{
	struct twzdb *db;
	uint64_t seq;

	T_REQ(open_flags("cut.twz", 0, &db));
	T_REQ(write_rows(db, 2, 0, ROWS, ROWS));
	seq = db->sh->cut_seq;
	for (int i = 0; i < 3; i++)
		T_TRUE(all_right(db, 2, ROWS));
	T_TRUE(db->acc.unit_end > db->acc.unit_low);
	T_EQ(db->acc.unit_seq, seq);
	/* As if they had all become something else: what is known leads into the wild now. */
	for (uint64_t u = db->acc.unit_low; u < db->acc.unit_end; u++)
		if (db->acc.unit[u].word)
			db->acc.unit[u].at = (uintptr_t)&db->acc.unit[u];
	st64(&db->sh->cut_seq, seq + 1);
	T_TRUE(all_right(db, 2, ROWS));
	T_EQ(db->acc.unit_seq, seq); /* not while they change */
	st64(&db->sh->cut_seq, seq + 2);
	for (int i = 0; i < 3; i++)
		T_TRUE(all_right(db, 2, ROWS));
	T_EQ(db->acc.unit_seq, seq + 2);
	T_TRUE(db->acc.unit_end > db->acc.unit_low);
	T_OK(twzdb_close(db));
}

static void a_damaged_head_does_no_harm(void)
{
	static const uint64_t bad[] = {0, 1, 7, 1023, 1025, UINT64_MAX, UINT64_MAX / 64};
	struct twzdb *db;
	uint64_t n;

	T_REQ(open_flags("head.twz", 0, &db));
	T_REQ(write_rows(db, 2, 0, ROWS, ROWS));
	T_TRUE(all_right(db, 2, ROWS));
	n = db->acc.head->n;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		db->acc.head->n = bad[i];
		T_TRUE(all_right(db, 2, ROWS));
		db->acc.head->n = n;
		T_TRUE(all_right(db, 2, ROWS));
	}
	T_OK(twzdb_close(db));
}

/* Who dies while it splits buckets leaves its mark there. */
static void a_dead_grower_is_replaced(void)
{
	struct twzdb *db;
	uint64_t n;

	T_REQ(open_flags("grower.twz", 0, &db));
	n = db->acc.head->n;
	db->acc.head->grower = (uint64_t)99 << 16 | 200;
	T_REQ(write_rows(db, 2, 0, 60000, 1000));
	T_TRUE(all_right(db, 2, 60000));
	T_TRUE(db->acc.head->n > n && !db->acc.head->grower);
	T_OK(twzdb_close(db));
}

static void it_stays_within_its_bound(void)
{
	struct twzdb *db;

	setenv("TWZDB_ACCEL", "1", 1);
	T_REQ(open_flags("bound.twz", 0, &db));
	unsetenv("TWZDB_ACCEL");
	T_EQ(db->acc.max, ((1 << 20) - 4096) / 64);
	T_REQ(write_rows(db, 2, 0, 150000, 1000));
	T_TRUE(all_right(db, 2, 150000));
	T_TRUE(all_right(db, 2, 1000));
	T_TRUE(db->acc.head->n == db->acc.max);
	T_OK(twzdb_close(db));
}

static void it_can_be_switched_off(void)
{
	struct twzdb *db;

	T_REQ(open_flags("off.twz", TWZDB_NO_ACCEL, &db));
	T_EQ(db->acc.max, 0);
	T_REQ(write_rows(db, 2, 0, ROWS, ROWS));
	T_TRUE(all_right(db, 2, ROWS));
	T_OK(twzdb_close(db));
	setenv("TWZDB_ACCEL", "0", 1);
	T_REQ(open_flags("off.twz", 0, &db));
	unsetenv("TWZDB_ACCEL");
	T_EQ(db->acc.max, 0);
	T_TRUE(all_right(db, 2, ROWS));
	T_OK(twzdb_close(db));
}

static int scratch_files_of(const struct stat *st)
{
	DIR *d = opendir("/dev/shm");
	struct dirent *e;
	char prefix[64];
	int cnt = 0;

	if (!d)
		return -1;
	snprintf(prefix, sizeof(prefix), "twz-%jx-%jx-", (uintmax_t)st->st_dev,
		 (uintmax_t)st->st_ino);
	while ((e = readdir(d)))
		cnt += !strncmp(e->d_name, prefix, strlen(prefix));
	closedir(d);
	return cnt;
}

static int scratch_files(const char *path)
{
	struct stat st;

	return stat(path, &st) ? -1 : scratch_files_of(&st);
}

static int child(void *arg)
{
	struct twzdb *db;

	if (open_flags(arg, 0, &db) || !db->acc.max)
		return 1;
	for (uint64_t v = 3; v < 9; v++)
		if (!all_right(db, v - 1, ROWS) || write_rows(db, v, 0, ROWS, 97))
			return 2;
	db->acc.head->grower = db->inc << 16 | (db->proc + 1);
	kill(getpid(), SIGKILL);
	return 3;
}

/* What one process puts there the other finds; it goes with the last of them. */
static void processes_share_it_until_the_last_closes(void)
{
	char name[] = "share.twz";
	const char *path = strdup(et_path(ET_LINE, name));
	struct twzdb *db;
	int status;

	T_REQ(open_flags(name, 0, &db));
	T_REQ(write_rows(db, 2, 0, ROWS, ROWS));
	T_TRUE(all_right(db, 2, ROWS));
	T_EQ(scratch_files(path), 1);
	status = t_fork(child, name);
	T_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	T_TRUE(all_right(db, 8, ROWS));
	T_TRUE(covered(db, ROWS) > ROWS * 9 / 10);
	T_OK(twzdb_close(db));
	T_EQ(scratch_files(path), 0);
	free((void *)(uintptr_t)path);
}

static int leave(void *arg)
{
	struct twzdb *db;

	if (open_flags(arg, 0, &db) || write_rows(db, 2, 0, 100, 100) || !all_right(db, 2, 100))
		return 1;
	kill(getpid(), SIGKILL);
	return 2;
}

/* Who dies as the last one leaves it behind; the next life of the store does not meet it. */
static void a_restart_begins_with_an_empty_one(void)
{
	char name[] = "again.twz";
	const char *path = strdup(et_path(ET_LINE, name));
	struct twzdb *db;
	int status = t_fork(leave, name);

	T_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	T_TRUE(scratch_files(path) <= 1); /* whoever opened another store since has tidied up */
	T_REQ(open_flags(name, 0, &db));
	T_EQ(entries(db), 0);
	T_TRUE(all_right(db, 2, 100));
	T_OK(twzdb_close(db));
	T_EQ(scratch_files(path), 0);
	free((void *)(uintptr_t)path);
}

/* Files in the same directory whose names only begin like those, a closed store among them. */
static void files_of_others_stay_where_they_are(void)
{
	static const char *const tail[] = {".twz",
					   "",
					   "-1-",
					   "-1-data.twz",
					   "-1-0123456789abcdef0123456789abcdef0",
					   "-1-0123456789abcdef0123456789abcdeg"};
	struct twzdb *db;
	char path[128];

	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < sizeof(tail) / sizeof(tail[0]); i++) {
			int fd;

			snprintf(path, sizeof(path), "/dev/shm/twz-%d%s", (int)getpid(), tail[i]);
			fd = pass ? -1 : open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
			T_TRUE(pass || fd >= 0);
			T_EQ(pass ? unlink(path) : close(fd), 0);
		}
		if (pass)
			return;
		T_REQ(open_flags("stay.twz", 0, &db));
		T_OK(twzdb_close(db));
	}
}

/* A store that was removed after its processes were killed is never opened again: others tidy up. */
static void what_a_removed_store_left_goes_with_the_next(void)
{
	char name[] = "removed.twz", other[] = "other.twz", held[] = "held.twz";
	const char *path = strdup(et_path(ET_LINE, name));
	struct twzdb *db, *user;
	struct stat st;
	int status;

	T_REQ(open_flags(held, 0, &user));
	status = t_fork(leave, name);
	T_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	T_REQ(stat(path, &st));
	T_TRUE(scratch_files_of(&st) <= 1);
	unlink(path);
	T_REQ(open_flags(other, 0, &db));
	T_EQ(scratch_files_of(&st), 0);
	T_EQ(scratch_files(et_path(ET_LINE, held)), 1); /* in use */
	T_OK(twzdb_close(db));
	T_OK(twzdb_close(user));
	free((void *)(uintptr_t)path);
}

/* Units of rows that a read of one line less will be told of (fast.h). */
static uint64_t units_known(const struct twzdb *db)
{
	uint64_t cnt = 0;

	for (uint64_t u = db->acc.unit_low; u < db->acc.unit_end; u++)
		cnt += db->acc.unit[u].grid.end != 0;
	return cnt;
}

/* The unit table of a store that was just opened knows nothing: who only reads learns from the headers. */
static void an_opened_store_is_read_the_short_way(void)
{
	char name[] = "opened.twz";
	struct twzdb *db;
	uint64_t all;

	T_REQ(open_flags(name, 0, &db));
	if (!T_TRUE(db->acc.max > 0))
		return;
	T_REQ(write_rows(db, 2, 0, 20000, 1000));
	T_TRUE(all_right(db, 2, 20000) && all_right(db, 2, 20000));
	all = units_known(db);
	T_TRUE(all > 20);
	T_OK(twzdb_close(db));
	T_REQ(open_flags(name, 0, &db));
	T_EQ(units_known(db), 0);
	T_TRUE(all_right(db, 2, 20000) && all_right(db, 2, 20000));
	T_EQ(units_known(db), all);
	T_EQ(db->sh->scan_pos, 0); /* nobody has filled the table meanwhile */
	T_OK(twzdb_close(db));
}

/* The only file of scratch memory of the store ST. */
static bool scratch_stat(const struct stat *st, struct stat *out)
{
	char prefix[64];
	struct dirent *e;
	DIR *d = opendir("/dev/shm");
	bool ok = false;

	if (!d)
		return false;
	snprintf(prefix, sizeof(prefix), "twz-%jx-%jx-", (uintmax_t)st->st_dev,
		 (uintmax_t)st->st_ino);
	while (!ok && (e = readdir(d)))
		ok = !strncmp(e->d_name, prefix, strlen(prefix)) &&
		     !fstatat(dirfd(d), e->d_name, out, 0);
	closedir(d);
	return ok;
}

#define MANY_ROWS 160000

/* The helper is waited for, until this process, which reads on, sees so many KiB of store and accelerator in large pages. */
static bool becomes_large(struct twzdb *db, const char *path, uint64_t v)
{
	uint64_t rows = 0, acc = 0;
	struct stat st, sc;

	if (!T_TRUE(!stat(path, &st) && scratch_stat(&st, &sc)))
		return false;
	for (int i = 0; i < 300 && (rows < 16 << 10 || acc < 2 << 10); i++) {
		usleep(50000);
		if (!T_TRUE(all_right(db, v, MANY_ROWS)))
			return false;
		rows = large_kib(&st);
		acc = large_kib(&sc);
	}
	printf("%" PRIu64 " + %" PRIu64 " KiB ", rows, acc);
	return rows >= 16 << 10 && acc >= 2 << 10;
}

/* Rows and accelerator begin in small pages here; those of both become large ones beside who uses them. */
static void memory_becomes_large_pages(void)
{
	const char *helper = getenv("TWZDB_HELPER");
	char name[] = "large.twz";
	const char *path = strdup(et_path(ET_LINE, name));
	struct twzdb *db;

	if (!has_large_pages() || (helper && !strcmp(helper, "0"))) {
		printf("(nothing to see here) ");
		return;
	}
	T_REQ(open_flags(name, 0, &db));
	if (!T_TRUE(db->acc.max > 0))
		return;
	T_OK(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
	T_REQ(write_rows(db, 2, 0, MANY_ROWS, 1000));
	T_TRUE(all_right(db, 2, MANY_ROWS));
	T_OK(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0));
	/* Whatever was tried meanwhile in vain: of another opening all is tried again. */
	T_OK(twzdb_close(db));
	T_REQ(open_flags(name, 0, &db));
	T_TRUE(becomes_large(db, path, 2));
	for (uint64_t v = 3; v < 6; v++) {
		T_REQ(write_rows(db, v, 0, MANY_ROWS, 1000));
		T_TRUE(all_right(db, v, MANY_ROWS));
	}
	T_TRUE(becomes_large(db, path, 5));
	T_OK(twzdb_close(db));
	/* So they do in the process that made them. */
	T_REQ(open_flags("new.twz", 0, &db));
	T_REQ(write_rows(db, 2, 0, MANY_ROWS, 1000));
	T_TRUE(becomes_large(db, et_path(ET_LINE, "new.twz"), 2));
	T_OK(twzdb_close(db));
	free((void *)(uintptr_t)path);
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(reading_fills_it_and_it_grows),
		T_CASE(every_snapshot_reads_its_own_version),
		T_CASE(a_writer_reads_its_own_changes),
		T_CASE(tables_are_kept_apart),
		T_CASE(any_bytes_in_it_do_no_harm),
		T_CASE(a_value_that_looks_like_a_record_is_none),
		T_CASE(units_that_change_are_looked_at_again),
		T_CASE(a_damaged_head_does_no_harm),
		T_CASE(a_dead_grower_is_replaced),
		T_CASE(it_stays_within_its_bound),
		T_CASE(it_can_be_switched_off),
		T_CASE(processes_share_it_until_the_last_closes),
		T_CASE(a_restart_begins_with_an_empty_one),
		T_CASE(files_of_others_stay_where_they_are),
		T_CASE(what_a_removed_store_left_goes_with_the_next),
		T_CASE(an_opened_store_is_read_the_short_way),
		T_CASE(memory_becomes_large_pages),
		T_END,
	};

	return t_main("engine_accel", cases, argc, argv);
}
