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
		T_CASE(idle_reader_slots_are_given_back),
		T_END,
	};

	return t_main("engine_space", cases, argc, argv);
}
