/* SPDX-License-Identifier: MIT
 * test_engine_space.c -- what is taken in advance, and given back
 */
#include "engine_t.h"

#include "../../engine/src/internal.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* CNT[0]: records that format units; CNT[1]: units. */
static int on_record(void *ctx, uint64_t lsn, const void *rec, size_t len)
{
	const struct lrec_pm *l = rec;
	uint64_t *cnt = ctx;

	(void)lsn;
	(void)len;
	if (l->kind == TWZDB_LREC_SPACE) {
		cnt[0]++;
		cnt[1] += l->item_cnt - 2; /* the others are two words */
	}
	return 0;
}

/*
 * A log record costs a sync on page media: a load must not pay one for every other transaction, nor twice the space. (A file of 80,000
 * rows has some 320 units of them and 25 of nodes; rows of a class that has nothing yet get one at a time.)
 */
static void units_are_formatted_ahead(void)
{
	uint64_t cnt[2] = {0};
	struct twzdb_txn *tx;
	struct twzdb_table t;
	struct twzdb *db;

	T_REQ(et_open_opt(et_path(ET_PAGE, "ahead.twz"), TWZDB_CREATE, 32 << 20, 0, &db));
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &t));
	for (uint64_t i = 0; i < 80000; i++)
		if (T_OK(twzdb_put(tx, t, et_key(i), et_val(i, 200), 0)))
			break;
	T_OK(twz_log_walk(db->log, on_record, cnt));
	T_TRUE(cnt[1] > 300 && cnt[1] < 450 && cnt[0] * 8 < cnt[1]);
	printf("%" PRIu64 " units by %" PRIu64 " records ", cnt[1], cnt[0]);
	T_OK(twzdb_commit(tx));
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

/* Units formatted ahead are used before others are formatted. */
static void units_formatted_ahead_are_used(void)
{
	struct twzdb_txn *tx;
	struct twzdb_table t;
	struct twzdb *db;
	uint64_t units, len = 0;

	T_REQ(et_open(et_path(ET_LINE, "used.twz"), &db));
	for (uint64_t i = 0; i < 40; i++) {
		T_REQ(twzdb_begin(db, 0, &tx));
		T_REQ(twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &t));
		for (uint64_t k = 0; k < 1000; k++)
			T_REQ(twzdb_put(tx, t, et_key(i * 1000 + k), et_val(k, 400), 0));
		T_REQ(twzdb_commit(tx));
		len += 1000 * (400 + 8 + sizeof(struct rec_pm));
	}
	units = db->root->units[0];
	/* Ahead: an eighth of what is used; the rest is nodes and what a unit cannot hold. */
	T_TRUE(units * TWZDB_UNIT_LEN < len + len / 3);
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

static uint64_t unused(struct twzdb *db)
{
	return twz_obj_len(db->map[TWZDB_NO_DATA].obj) - db->root->units[0] * TWZDB_UNIT_LEN;
}

/* Space the helper thread made is there, but not claimed before the object has to grow. */
static void space_is_made_ahead(enum et_media m)
{
	const struct twzdb__map *map;
	uint64_t more = m == ET_PAGE ? 4 << 20 : 2 << 20;
	struct twzdb_txn *tx;
	struct twzdb_table t;
	struct twzdb *db;

	T_REQ(et_open(et_path(m, "spare.twz"), &db));
	for (uint64_t i = 0; i < 16; i++) {
		T_REQ(twzdb_begin(db, 0, &tx));
		T_REQ(twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &t));
		for (uint64_t k = 0; k < 1000; k++)
			T_REQ(twzdb_put(tx, t, et_key(i * 1000 + k), et_val(k, 400), 0));
		T_REQ(twzdb_commit(tx));
	}
	for (int i = 0; i < 500 && unused(db) < more; i++)
		usleep(10000);
	T_TRUE(unused(db) >= more);
	map = &db->map[TWZDB_NO_DATA];
	T_TRUE(map->claimed <= twz_obj_len(map->obj) &&
	       map->claimed >= db->root->units[0] * TWZDB_UNIT_LEN);
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

static void space_is_made_ahead_page(void)
{
	space_is_made_ahead(ET_PAGE);
}

static void space_is_made_ahead_line(void)
{
	space_is_made_ahead(ET_LINE);
}

/* The class of a record with an 8-byte key and value. */
static struct sh_class *small(struct twzdb *db)
{
	return &db->sh->cls[twzdb__class_of(rec_len_of(8, 8, TWZDB_ROW))];
}

static void put_rows(struct twzdb *db, struct twzdb_table t, uint64_t from, uint64_t cnt)
{
	struct twzdb_txn *tx;

	T_REQ(twzdb_begin(db, 0, &tx));
	for (uint64_t i = from; i < from + cnt; i++)
		T_REQ(twzdb_put(tx, t, et_key(i), et_val(i, 8), 0));
	T_REQ(twzdb_commit(tx));
}

static void del_rows(struct twzdb *db, struct twzdb_table t, uint64_t from, uint64_t cnt)
{
	struct twzdb_txn *tx;

	T_REQ(twzdb_begin(db, 0, &tx));
	for (uint64_t i = from; i < from + cnt; i++)
		T_REQ(twzdb_del(tx, t, et_key(i)));
	T_REQ(twzdb_commit(tx));
}

/*
 * The blocks of a unit formatted ahead are given out without a look at them when its turn comes. So none may
 * be given out before, not even when, with them, an eighth of all blocks is free, and a reader holds the rest.
 */
static void units_formatted_ahead_wait_for_their_turn(void)
{
	struct twzdb_txn *tx, *reader;
	struct twzdb_table t;
	struct twzdb *db;
	struct sh_class *c;
	uint64_t n = 0, per;

	T_REQ(et_open(et_path(ET_LINE, "turn.twz"), &db));
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &t));
	T_REQ(twzdb_commit(tx));
	c = small(db);
	per = TWZDB_UNIT_LEN / twzdb__class_len(twzdb__class_of(rec_len_of(8, 8, TWZDB_ROW)));
	for (; n < 40000 || c->fresh_cnt < 4; n += 200)
		put_rows(db, t, n, 200);
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &reader));
	/* few of each unit, so that no unit is worth a search */
	for (uint64_t u = 1; u < 36 && c->free * 8 < c->total + 16 * per; u++)
		del_rows(db, t, u * per, per / 9);
	T_TRUE(c->free * 8 >= c->total + 16 * per);
	for (uint64_t i = 0; i < 3 * per; i++) {
		put_rows(db, t, n++, 1);
		if (!T_TRUE(c->unit - 1 - c->fresh >= c->fresh_cnt))
			break;
	}
	twzdb_abort(reader);
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

/* A process that once had many readers leaves room for others. */
static void idle_reader_slots_are_given_back(void)
{
	static struct twzdb_txn *tx[TWZDB_READERS];
	struct twzdb_options o = {.size = sizeof(o)};
	const char *path = et_path(ET_LINE, "slots.twz");
	struct twzdb_txn *one;
	struct twzdb *a, *b;

	T_REQ(et_open(path, &a));
	T_REQ(twzdb_open(path, &o, &b)); /* another handle, which shares nothing but the segment */
	for (int i = 0; i < TWZDB_READERS; i++)
		T_REQ(twzdb_begin(a, TWZDB_RDONLY, &tx[i]));
	T_ERR(twzdb_begin(b, TWZDB_RDONLY, &one), TWZDB_E_FULL);
	for (int i = 0; i < TWZDB_READERS; i++)
		twzdb_abort(tx[i]);
	for (int i = 0; i < TWZDB_READERS / 2; i++)
		T_REQ(twzdb_begin(b, TWZDB_RDONLY, &tx[i]));
	for (int i = 0; i < TWZDB_READERS / 2; i++)
		twzdb_abort(tx[i]);
	T_OK(twzdb_close(b));
	T_OK(twzdb_close(a));
}

/* --- units change their type --- */

static void load(struct twzdb *db, const char *name, uint64_t rows, size_t len)
{
	struct twzdb_table t;
	struct twzdb_txn *tx;

	for (uint64_t i = 0; i < rows;) {
		T_REQ(twzdb_begin(db, 0, &tx));
		T_REQ(twzdb_table_open(tx, name, TWZDB_TABLE_CREATE, &t));
		for (uint64_t k = 0; k < 2000 && i < rows; k++, i++)
			T_REQ(twzdb_put(tx, t, et_key(i * 2654435761U), et_val(i, len), 0));
		T_REQ(twzdb_commit(tx));
	}
}

static void drop(struct twzdb *db, const char *name)
{
	struct twzdb_txn *tx;

	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_table_drop(tx, name));
	T_REQ(twzdb_commit(tx));
}

static bool all_there(struct twzdb *db, const char *name, uint64_t rows, size_t len)
{
	struct twzdb_table t;
	struct twzdb_slice v;
	struct twzdb_txn *tx;
	uint64_t bad = 0;

	T_OK(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_OK(twzdb_table_open(tx, name, 0, &t));
	for (uint64_t i = 0; i < rows; i++)
		bad += twzdb_get(tx, t, et_key(i * 2654435761U), &v) || !et_same(v, et_val(i, len));
	twzdb_abort(tx);
	return !bad;
}

/* What a dropped table leaves is used by rows and values of other sizes: the database does not grow. */
static void space_is_reused_by_other_sizes(enum et_media m, const char *file)
{
	static const struct {
		uint64_t rows;
		size_t len;
	} next[] = {{4000, 1000}, {30, 150000}, {600, 8000},
		    {10, 500000}, {40000, 60},	{25, 190000}};
	const char *path = et_path(m, file);
	struct twzdb *db;
	uint64_t most;

	T_REQ(et_open(path, &db));
	load(db, "stays", 500, 300);
	load(db, "t", 40000, 80);
	most = db->root->units[0] +
	       32; /* there were no nodes for so many rows yet, or so few rows */
	for (size_t i = 0; i < sizeof(next) / sizeof(next[0]); i++) {
		drop(db, "t");
		load(db, "t", next[i].rows, next[i].len);
		T_TRUE(all_there(db, "t", next[i].rows, next[i].len));
		T_TRUE(all_there(db, "stays", 500, 300));
		T_TRUE(et_clean(db));
		if (!T_TRUE(db->root->units[0] <= most))
			printf("%zu: %" PRIu64 " units, were %" PRIu64 " ", i, db->root->units[0],
			       most);
		if (i % 2)
			continue;
		T_REQ(twzdb_close(db));
		T_REQ(et_open(path, &db));
	}
	T_OK(twzdb_close(db));
}

static void space_is_reused_by_other_sizes_page(void)
{
	space_is_reused_by_other_sizes(ET_PAGE, "reuse.twz");
}

static void space_is_reused_by_other_sizes_line(void)
{
	space_is_reused_by_other_sizes(ET_LINE, "reuse.twz");
}

/* Under a snapshot that can still see it, nothing of a dropped table changes. */
static void units_stay_while_somebody_reads(void)
{
	struct twzdb_table t;
	struct twzdb_slice v;
	struct twzdb_txn *rd;
	struct twzdb *db;
	uint64_t before, bad = 0;

	T_REQ(et_open(et_path(ET_LINE, "read.twz"), &db));
	load(db, "t", 30000, 80);
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &rd));
	T_REQ(twzdb_table_open(rd, "t", 0, &t));
	drop(db, "t");
	before = db->root->units[0];
	load(db, "u", 3000, 1000);
	T_TRUE(db->root->units[0] > before + 3000 / 64);
	for (uint64_t i = 0; i < 30000; i++)
		bad += twzdb_get(rd, t, et_key(i * 2654435761U), &v) || !et_same(v, et_val(i, 80));
	T_TRUE(!bad);
	twzdb_abort(rd);
	before = db->root->units[0];
	load(db, "w", 3000, 1500);
	T_TRUE(db->root->units[0] <= before + 24);
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

/* --- a full disk --- */

static void disk_room(rlim_t bytes)
{
	struct rlimit l;

	T_REQ(getrlimit(RLIMIT_FSIZE, &l));
	l.rlim_cur = bytes < l.rlim_max ? bytes : l.rlim_max;
	T_REQ(setrlimit(RLIMIT_FSIZE, &l));
}

static rlim_t file_len(const char *path)
{
	struct stat st;

	T_OK(stat(path, &st));
	return (rlim_t)st.st_size;
}

/* One operation of each kind. Rows [0, 400) are in table "t", of 200 bytes each. */
static int op_insert(struct twzdb_txn *tx, struct twzdb_table t)
{
	int err = 0;

	for (uint64_t i = 1000; i < 3000 && !err; i++)
		err = twzdb_put(tx, t, et_key(i), et_val(i, 900), 0);
	return err;
}

/* Many at once behind the last one: those put before space ran out are there, and no other. */
static int op_append(struct twzdb_txn *tx, struct twzdb_table t)
{
	struct twzdb_slice keys[100], values[100], v;
	uint64_t num[100];
	size_t done = 0;
	int err = 0;

	for (uint64_t i = 5000; i < 9000 && !err; i += done) {
		for (uint64_t k = 0; k < 100; k++) {
			num[k] = __builtin_bswap64(i + k);
			keys[k] = (struct twzdb_slice){&num[k], sizeof(num[k])};
			values[k] = et_val(1, 300 + i / 1000);
		}
		err = twzdb_put_many(tx, t, 100, keys, values, TWZDB_APPEND, &done);
		for (uint64_t k = 0; k < 100; k++)
			T_EQ(twzdb_get(tx, t, keys[k], &v), k < done ? 0 : TWZDB_E_NOTFOUND);
	}
	return err;
}

static int op_update(struct twzdb_txn *tx, struct twzdb_table t)
{
	int err = 0;

	for (uint64_t i = 0; i < 400 && !err; i++)
		err = twzdb_put(tx, t, et_key(i), et_val(i + 1, 4000), 0);
	return err;
}

static int op_large(struct twzdb_txn *tx, struct twzdb_table t)
{
	return twzdb_put(tx, t, et_key(7), et_val(7, 1 << 20), 0);
}

static int op_table(struct twzdb_txn *tx, struct twzdb_table t)
{
	struct twzdb_table n;
	char name[16];
	int err = 0;

	(void)t;
	for (int i = 0; i < 1500 && !err; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		err = twzdb_table_open(tx, name, TWZDB_TABLE_CREATE, &n);
		if (!err)
			err = twzdb_put(tx, n, et_key(1), et_val(1, 10), 0);
	}
	return err;
}

static int op_savepoint(struct twzdb_txn *tx, struct twzdb_table t)
{
	uint32_t id;
	int err = twzdb_savepoint(tx, &id);

	if (!err)
		err = op_insert(tx, t);
	if (!err)
		err = twzdb_rollback_to(tx, id);
	return err ? err : op_update(tx, t);
}

static int op_delete(struct twzdb_txn *tx, struct twzdb_table t)
{
	int err = 0;

	for (uint64_t i = 0; i < 400 && !err; i++)
		err = twzdb_del(tx, t, et_key(i));
	return err;
}

static bool rows_are(struct twzdb *db, size_t len, uint64_t add)
{
	struct twzdb_table t;
	struct twzdb_slice v;
	struct twzdb_txn *tx;
	uint64_t bad = 0;

	T_OK(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_OK(twzdb_table_open(tx, "t", 0, &t));
	for (uint64_t i = 0; i < 400; i++)
		bad += twzdb_get(tx, t, et_key(i), &v) || !et_same(v, et_val(i + add, len));
	twzdb_abort(tx);
	return !bad;
}

static int attempt(struct twzdb *db, int (*op)(struct twzdb_txn *, struct twzdb_table))
{
	struct twzdb_table t;
	struct twzdb_txn *tx;
	int err;

	T_OK(twzdb_begin(db, 0, &tx));
	T_OK(twzdb_table_open(tx, "t", 0, &t));
	err = op(tx, t);
	if (!err)
		return twzdb_commit(tx);
	twzdb_abort(tx);
	return err;
}

/* Fill what is there with small rows, at last one by one. */
static void fill(struct twzdb *db)
{
	struct twzdb_table t;
	struct twzdb_txn *tx;
	uint64_t i = 0, n = 64;
	int err = 0;

	while (n) {
		T_REQ(twzdb_begin(db, 0, &tx));
		T_REQ(twzdb_table_open(tx, "fill", TWZDB_TABLE_ANY, &t));
		err = 0;
		for (uint64_t k = 0; k < n && !err; k++)
			err = twzdb_put(tx, t, et_key(i + k), et_val(i, 500), 0);
		if (!err)
			err = twzdb_commit(tx);
		else
			twzdb_abort(tx);
		i += err ? 0 : n;
		n = err ? n / 4 : n;
	}
	T_ERR(err, TWZDB_E_NOSPC);
}

/* The disk is full after STEP more units: the operation fails as a whole, or it does not. */
static bool full_at(enum et_media m, int (*op)(struct twzdb_txn *, struct twzdb_table), int step)
{
	const char *path = et_path(m, "full.twz");
	struct twzdb_table t;
	struct twzdb_txn *tx;
	struct twzdb *db;
	int err;

	unlink(path);
	T_OK(et_open_opt(path, TWZDB_CREATE, 256 << 10, 256 << 10, &db));
	T_OK(twzdb_begin(db, 0, &tx));
	T_OK(twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &t));
	for (uint64_t i = 0; i < 400; i++)
		T_OK(twzdb_put(tx, t, et_key(i), et_val(i, 200), 0));
	T_OK(twzdb_table_open(tx, "fill", TWZDB_TABLE_CREATE, &t));
	T_OK(twzdb_commit(tx));
	disk_room(file_len(path) + (rlim_t)step * TWZDB_UNIT_LEN);
	err = attempt(db, op);
	if (err) {
		T_ERR(err, TWZDB_E_NOSPC);
		T_TRUE(rows_are(db, 200, 0));
	}
	T_TRUE(et_clean(db));
	if (err) {
		fill(db);
		T_TRUE(rows_are(db, 200, 0));
		T_OK(attempt(db, op_delete)); /* what is full can be emptied */
		T_TRUE(et_clean(db));
		disk_room(RLIM_INFINITY); /* space returns */
		T_OK(attempt(db, op_update));
		T_OK(attempt(db, op_insert));
		T_TRUE(rows_are(db, 4000, 1));
		T_TRUE(et_clean(db));
	}
	disk_room(RLIM_INFINITY);
	T_OK(twzdb_close(db));
	return err != 0;
}

static void full_disk(enum et_media m)
{
	static int (*const op[])(struct twzdb_txn *, struct twzdb_table) = {
		op_insert, op_append, op_update, op_large, op_table, op_savepoint};
	int failed = 0;

	signal(SIGXFSZ, SIG_IGN);
	for (size_t i = 0; i < sizeof(op) / sizeof(op[0]); i++)
		for (int step = 0; step < 40 && full_at(m, op[i], step);
		     step += 1 + step / (m == ET_PAGE ? 1 : 3))
			failed++;
	T_TRUE(failed > 10);
	printf("%d times full ", failed);
}

static void full_disk_page(void)
{
	full_disk(ET_PAGE);
}

static void full_disk_line(void)
{
	full_disk(ET_LINE);
}

/* A full database is emptied in small transactions, over and over, without growing. */
static void full_stores_can_be_emptied_for_ever(void)
{
	const char *path = et_path(ET_LINE, "empty.twz");
	struct twzdb_table t;
	struct twzdb_txn *tx;
	struct twzdb *db;

	signal(SIGXFSZ, SIG_IGN);
	T_REQ(et_open_opt(path, TWZDB_CREATE, 256 << 10, 256 << 10, &db));
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_table_open(tx, "fill", TWZDB_TABLE_CREATE, &t));
	T_REQ(twzdb_commit(tx));
	disk_room(file_len(path) + (4 << 20));
	for (int round = 0; round < 6; round++) {
		uint64_t rows = 0;

		fill(db);
		T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
		T_OK(twzdb_count(tx, t, &rows));
		twzdb_abort(tx);
		T_TRUE(rows > 4000);
		for (uint64_t i = 0; i < rows; i++) {
			T_REQ(twzdb_begin(db, 0, &tx));
			if (T_OK(twzdb_del(tx, t, et_key(i))) || T_OK(twzdb_commit(tx)))
				return;
		}
		T_OK(twzdb_checkpoint(db));
		T_TRUE(et_clean(db));
	}
	disk_room(RLIM_INFINITY);
	T_OK(twzdb_close(db));
}

/*
 * Programs that open a database, change some rows and end: what dies is found again, wherever it lies, though nobody lives
 * long enough to look everywhere.
 */
static void short_lives_do_not_grow_it(enum et_media m)
{
	enum { ROWS = 12000, CHANGES = 40, LIVES = 150 };
	const char *path = et_path(m, "lives.twz");
	struct twzdb_table t;
	struct twzdb_txn *tx;
	struct twzdb *db;
	uint64_t was, rnd = 1;

	T_REQ(et_open_opt(path, TWZDB_CREATE, 1 << 20, 0, &db));
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &t));
	for (uint64_t i = 0; i < ROWS; i++)
		T_REQ(twzdb_put(tx, t, et_key(i), et_val(i, 4096), 0));
	T_REQ(twzdb_commit(tx));
	was = db->root->units[0];
	T_OK(twzdb_close(db));
	for (int life = 0; life < LIVES; life++) {
		T_REQ(et_open_opt(path, 0, 0, 0, &db));
		for (int k = 0; k < CHANGES; k++) {
			rnd = rnd * 6364136223846793005U + 1442695040888963407U;
			T_REQ(twzdb_begin(db, 0, &tx));
			T_REQ(twzdb_table_open(tx, "t", 0, &t));
			T_REQ(twzdb_put(tx, t, et_key((rnd >> 33) % ROWS), et_val(rnd, 4096), 0));
			T_REQ(twzdb_commit(tx));
		}
		if (life + 1 == LIVES) {
			printf("%" PRIu64 " units, then %" PRIu64 " ", was,
			       (uint64_t)db->root->units[0]);
			T_TRUE(db->root->units[0] < was + was / 4);
			T_TRUE(et_clean(db));
		}
		T_OK(twzdb_close(db));
	}
}

static void short_lives_do_not_grow_it_page(void)
{
	short_lives_do_not_grow_it(ET_PAGE);
}

static void short_lives_do_not_grow_it_line(void)
{
	short_lives_do_not_grow_it(ET_LINE);
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(units_are_formatted_ahead),
		T_CASE(units_formatted_ahead_are_used),
		T_CASE(space_is_made_ahead_page),
		T_CASE(space_is_made_ahead_line),
		T_CASE(units_formatted_ahead_wait_for_their_turn),
		T_CASE(idle_reader_slots_are_given_back),
		T_CASE(space_is_reused_by_other_sizes_page),
		T_CASE(space_is_reused_by_other_sizes_line),
		T_CASE(units_stay_while_somebody_reads),
		T_CASE(full_disk_page),
		T_CASE(full_disk_line),
		T_CASE(full_stores_can_be_emptied_for_ever),
		T_CASE(short_lives_do_not_grow_it_page),
		T_CASE(short_lives_do_not_grow_it_line),
		T_END,
	};

	return t_main("engine_space", cases, argc, argv);
}
