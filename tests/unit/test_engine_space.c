/* SPDX-License-Identifier: MIT
 * test_engine_space.c -- what is taken in advance, and given back
 */
#include "engine_t.h"

#include "../../engine/src/internal.h"

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

/* A log record costs a sync on page media: a load must not pay one for each unit. */
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
	T_TRUE(cnt[1] > 300 && cnt[0] * 3 < cnt[1]);
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

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(units_are_formatted_ahead),
		T_CASE(units_formatted_ahead_are_used),
		T_CASE(units_formatted_ahead_wait_for_their_turn),
		T_CASE(idle_reader_slots_are_given_back),
		T_END,
	};

	return t_main("engine_space", cases, argc, argv);
}
