/* SPDX-License-Identifier: MIT
 * workloads_group.c -- transactions over two databases of one store (D16)
 *
 * Who looks opens both databases. So an image in which one of them is in doubt is told what the other decided, and both must
 * show the state before the group, or both the state after it.
 */
#include "workloads.h"

#include <string.h>

#include "twzdb.h"

#define OTHER "other"

static struct twzdb *other(struct crash *c)
{
	return c->user[0];
}

static int open_other(struct crash *c, uint32_t flags)
{
	struct twz_store_options so = {.size = sizeof(so), .backend = c->backend};
	struct twzdb_options opt = {.size = sizeof(opt),
				    .flags = flags,
				    .name = OTHER,
				    .log_len = 16 << 10,
				    .initial_len = 128 << 10,
				    .store_options = &so};
	struct twzdb *db = NULL;
	int rc = twzdb_open(c->path, &opt, &db);

	c->user[0] = db;
	return rc;
}

static int pair_close(struct crash *c)
{
	struct twzdb *db = other(c);

	c->user[0] = NULL;
	CRASH_DO(c, twzdb_close(db));
	return db_close(c);
}

static int pair_open(struct crash *c)
{
	uint32_t flags = c->recovering ? 0 : TWZDB_CREATE;

	CRASH_DO(c, db_open_flags(c, flags));
	CRASH_DO(c, open_other(c, flags));
	if (c->recovering)
		return 0;
	/* Opened again, as after a crash. */
	CRASH_DO(c, pair_close(c));
	CRASH_DO(c, db_open_flags(c, 0));
	CRASH_DO(c, open_other(c, 0));
	return 0;
}

/* FN for each of the two, as if it were the only one. */
static int both(struct crash *c, int (*fn)(struct crash *c))
{
	void *first = c->db;
	int rc = fn(c);

	c->db = other(c);
	if (!rc)
		rc = fn(c);
	c->db = first;
	return rc;
}

static int pair_check(struct crash *c)
{
	return both(c, db_check);
}

static int pair_probe(struct crash *c)
{
	return both(c, db_probe);
}

static int pair_settle(struct crash *c)
{
	return both(c, db_settle);
}

static uint64_t pair_inside(struct crash *c)
{
	struct crash second = *c;

	if (!c->db || !other(c))
		return 0;
	second.db = other(c);
	return db_inside(c) + db_inside(&second);
}

/* Who may write it has been told the decision. */
static int told(struct crash *c)
{
	struct twzdb_txn *txn;

	CRASH_DO(c, twzdb_begin(c->db, 0, &txn));
	twzdb_abort(txn);
	return 0;
}

static int pair_show(struct crash *c)
{
	int rc = both(c, told);

	return rc ? rc : both(c, db_show);
}

static const struct crash_kind pair_kind = {pair_open,	 pair_check, pair_close, pair_probe,
					    pair_inside, false,	     pair_settle};

/* --- operations --- */

struct rows {
	int from, cnt, len, v; /* LEN < 0: deleted */
};

static int put_rows(struct twzdb_txn *txn, const struct rows *r)
{
	struct twzdb_table t;
	uint8_t buf[2000];
	char key[16];
	int rc = twzdb_table_open(txn, "t", TWZDB_TABLE_CREATE, &t);

	for (int i = 0; i < r->cnt && !rc; i++) {
		struct twzdb_slice k = {key, 0};

		snprintf(key, sizeof(key), "k%04d", r->from + i);
		k.len = strlen(key);
		for (int n = 0; n < r->len; n++)
			buf[n] = (uint8_t)(n * 7 + r->v + i);
		rc = r->len < 0
			     ? twzdb_del(txn, t, k)
			     : twzdb_put(txn, t, k, (struct twzdb_slice){buf, (size_t)r->len}, 0);
	}
	return rc;
}

static int group(struct crash *c, struct rows first, struct rows second)
{
	struct twzdb *db[2] = {c->db, other(c)};
	struct twzdb_txn *txn[2];
	int rc = twzdb_group_begin(db, 2, 0, -1, txn);

	if (rc)
		return rc;
	rc = put_rows(txn[0], &first);
	if (!rc)
		rc = put_rows(txn[1], &second);
	if (!rc)
		return twzdb_group_commit(txn, 2);
	twzdb_group_abort(txn, 2);
	return rc;
}

static int single(struct twzdb *db, struct rows r)
{
	struct twzdb_txn *txn;
	int rc = twzdb_begin(db, 0, &txn);

	if (rc)
		return rc;
	rc = put_rows(txn, &r);
	if (!rc)
		return twzdb_commit(txn);
	twzdb_abort(txn);
	return rc;
}

#define ROWS(...) ((struct rows){__VA_ARGS__})

static int setup_pair(struct crash *c)
{
	CRASH_DO(c, single(c->db, ROWS(0, 12, 30, 1)));
	CRASH_DO(c, single(other(c), ROWS(0, 12, 30, 2)));
	return 0;
}

/* The first group also makes the object prepared transactions lie in, and the table of decisions. */
static int run_first(struct crash *c)
{
	CRASH_OP(c, group(c, ROWS(3, 1, 40, 5), ROWS(4, 1, 40, 6)));
	CRASH_OP(c, group(c, ROWS(3, 2, 50, 7), ROWS(30, 1, 20, 8)));
	return 0;
}

static int setup_group(struct crash *c)
{
	CRASH_DO(c, setup_pair(c));
	CRASH_DO(c, group(c, ROWS(1, 1, 10, 3), ROWS(1, 1, 10, 4)));
	return 0;
}

static int run_group(struct crash *c)
{
	CRASH_OP(c, group(c, ROWS(3, 1, 40, 5), ROWS(4, 1, 40, 6)));
	CRASH_OP(c, single(other(c), ROWS(4, 1, 33, 7)));
	CRASH_OP(c, group(c, ROWS(3, 1, -1, 0), ROWS(5, 2, -1, 0)));
	CRASH_OP(c, single(c->db, ROWS(3, 1, 60, 8)));
	CRASH_OP(c, group(c, ROWS(40, 20, 60, 9), ROWS(40, 20, 60, 10)));
	CRASH_OP(c, group(c, ROWS(0, 3, 700, 11), ROWS(7, 3, 700, 12)));
	CRASH_OP(c, single(other(c), ROWS(5, 1, 20, 13)));
	return 0;
}

/* The space of prepared transactions is used again: the log is emptied first. */
static int run_again(struct crash *c)
{
	for (int i = 0; i < 5; i++)
		CRASH_OP(c, group(c, ROWS(0, 14, 1900, i), ROWS(0, 14, 1900, 50 + i)));
	return 0;
}

/* After the first recovery, before the second crash. */
static int again(struct crash *c)
{
	CRASH_OP(c, group(c, ROWS(3, 1, 41, 15), ROWS(4, 1, 42, 16)));
	CRASH_OP(c, single(other(c), ROWS(8, 1, 43, 17)));
	return 0;
}

#define GROUP_WL(var, id, text_, quick_, setup_, run_, share_)                                     \
	const struct crash_workload var = {.name = "engine." id,                                   \
					   .what = text_,                                          \
					   .media = CRASH_ALL,                                     \
					   .quick = quick_,                                        \
					   .share = share_,                                        \
					   .kind = &pair_kind,                                     \
					   .setup = setup_,                                        \
					   .run = run_,                                            \
					   .again = again,                                         \
					   .show = pair_show}

GROUP_WL(wl_db_group_first, "group_first", "the first transaction of two databases (D16)", false,
	 setup_pair, run_first, 20);
GROUP_WL(wl_db_group, "group", "transactions of two databases, and of each between (D16)", true,
	 setup_group, run_group, 40);
GROUP_WL(wl_db_group_space, "group_space",
	 "transactions of two databases, until their space is used again", false, setup_group,
	 run_again, 10);
