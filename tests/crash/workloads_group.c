/* SPDX-License-Identifier: MIT
 * workloads_group.c -- transactions over two databases of one store, or three (D16)
 *
 * Who looks opens all of them. So an image in which one of them is in doubt is told what the other decided, and all must
 * show the state before the group, or all the state after it.
 */
#include "workloads.h"

#include <string.h>

#include "twzdb.h"

#define OTHERS 2

static int others = 1;	  /* databases beside the first */
static bool apart;	  /* they lie in a store of their own */
static bool second_first; /* and that is opened first */

static struct twzdb *other(struct crash *c, int i)
{
	return c->user[i];
}

static int open_other(struct crash *c, int i, uint32_t flags)
{
	static const char *const name[OTHERS] = {"other", "third"};
	struct twz_store_options so = {.size = sizeof(so),
				       .backend = c->backend,
				       .initial_len = TWZ_KIND_LEN,
				       .journal_len = 16 << 10};
	char path[300];
	struct twzdb_options opt = {.size = sizeof(opt),
				    .flags = flags,
				    .name = name[i],
				    .log_len = 16 << 10,
				    .initial_len = 128 << 10,
				    .store_options = &so};
	struct twzdb *db = NULL;
	int rc;

	snprintf(path, sizeof(path), "%s%s", c->path, apart ? SIM_SECOND : "");
	if (apart && flags & TWZDB_CREATE)
		so.flags = TWZ_STORE_CREATE;
	rc = twzdb_open(path, &opt, &db);
	c->user[i] = db;
	return rc;
}

static int group_close(struct crash *c)
{
	for (int i = others - 1; i >= 0; i--) {
		struct twzdb *db = other(c, i);

		c->user[i] = NULL;
		CRASH_DO(c, twzdb_close(db));
	}
	return db_close(c);
}

static int open_all(struct crash *c, uint32_t flags)
{
	if (!second_first)
		CRASH_DO(c, db_open_flags(c, flags));
	for (int i = 0; i < others; i++)
		CRASH_DO(c, open_other(c, i, flags));
	if (second_first)
		CRASH_DO(c, db_open_flags(c, flags));
	return 0;
}

static int group_open(struct crash *c)
{
	CRASH_DO(c, open_all(c, c->recovering ? 0 : TWZDB_CREATE));
	if (c->recovering)
		return 0;
	/* Opened again, as after a crash. */
	CRASH_DO(c, group_close(c));
	return open_all(c, 0);
}

static int pair_open(struct crash *c)
{
	others = 1;
	apart = second_first = false;
	return group_open(c);
}

static int three_open(struct crash *c)
{
	others = 2;
	apart = second_first = false;
	return group_open(c);
}

static int stores_open(struct crash *c)
{
	others = 1;
	apart = true;
	second_first = false;
	return group_open(c);
}

/* Whichever of them is the coordinator's, in one of the two it is opened last. */
static int stores_open_other(struct crash *c)
{
	others = 1;
	apart = true;
	second_first = c->recovering;
	return group_open(c);
}

/* FN for each of them, as if it were the only one. */
static int each(struct crash *c, int (*fn)(struct crash *c))
{
	void *first = c->db;
	int rc = fn(c);

	for (int i = 0; i < others && !rc; i++) {
		c->db = other(c, i);
		rc = fn(c);
	}
	c->db = first;
	return rc;
}

static int group_check(struct crash *c)
{
	return each(c, db_check);
}

static int group_probe(struct crash *c)
{
	return each(c, db_probe);
}

static int group_settle(struct crash *c)
{
	return each(c, db_settle);
}

static uint64_t group_inside(struct crash *c)
{
	struct crash one = *c;
	uint64_t sum = db_inside(c);

	for (int i = 0; i < others; i++) {
		one.db = other(c, i);
		sum += db_inside(&one);
	}
	return sum;
}

/* Who may write it has been told the decision. While the workload runs it may be writing itself. */
static int told(struct crash *c)
{
	struct twzdb_txn *txn;
	int rc = twzdb_begin(c->db, c->recovering ? 0 : TWZDB_TRY, &txn);

	if (!rc)
		twzdb_abort(txn);
	else if (rc != TWZDB_E_BUSY || c->recovering)
		return crash_failed(c, rc, "beginning a transaction");
	return 0;
}

static int group_show(struct crash *c)
{
	int rc = each(c, told);

	return rc ? rc : each(c, db_show);
}

static const struct crash_kind pair_kind = {pair_open,	  group_check, group_close, group_probe,
					    group_inside, false,       group_settle};
static const struct crash_kind three_kind = {three_open,   group_check, group_close, group_probe,
					     group_inside, false,	group_settle};
static const struct crash_kind stores_kind = {stores_open,  group_check, group_close, group_probe,
					      group_inside, false,	 group_settle};
static const struct crash_kind stores_other_kind = {stores_open_other, group_check,  group_close,
						    group_probe,       group_inside, false,
						    group_settle};

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

static int group_of(struct crash *c, size_t cnt, const struct rows *r)
{
	struct twzdb *db[1 + OTHERS] = {c->db, other(c, 0), other(c, 1)};
	struct twzdb_txn *txn[1 + OTHERS];
	int rc = twzdb_group_begin(db, cnt, 0, -1, txn);

	if (rc)
		return rc;
	for (size_t i = 0; i < cnt && !rc; i++)
		rc = put_rows(txn[i], &r[i]);
	if (!rc)
		return twzdb_group_commit(txn, cnt);
	twzdb_group_abort(txn, cnt);
	return rc;
}

static int group(struct crash *c, struct rows first, struct rows second)
{
	return group_of(c, 2, (struct rows[]){first, second});
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

/* Rows V in both, and on with the same transactions, or not. */
static int put_both(struct twzdb_txn *const *txn, int v, bool next)
{
	struct rows r = ROWS(20, 2, 25, v);
	int rc = put_rows(txn[0], &r);

	if (!rc)
		rc = put_rows(txn[1], &r);
	if (!rc)
		return next ? twzdb_group_commit_next(txn, 2) : twzdb_group_commit(txn, 2);
	twzdb_group_abort(txn, 2);
	return rc;
}

static int groups_in_a_row(struct crash *c)
{
	struct twzdb *db[2] = {c->db, other(c, 0)};
	struct twzdb_txn *txn[2];

	CRASH_DO(c, twzdb_group_begin(db, 2, 0, -1, txn));
	CRASH_OP(c, put_both(txn, 20, true));
	CRASH_OP(c, put_both(txn, 21, false));
	return 0;
}

static int setup_pair(struct crash *c)
{
	CRASH_DO(c, single(c->db, ROWS(0, 12, 30, 1)));
	CRASH_DO(c, single(other(c, 0), ROWS(0, 12, 30, 2)));
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
	CRASH_OP(c, single(other(c, 0), ROWS(4, 1, 33, 7)));
	CRASH_OP(c, group(c, ROWS(3, 1, -1, 0), ROWS(5, 2, -1, 0)));
	CRASH_OP(c, single(c->db, ROWS(3, 1, 60, 8)));
	CRASH_OP(c, group(c, ROWS(40, 20, 60, 9), ROWS(40, 20, 60, 10)));
	CRASH_OP(c, group(c, ROWS(0, 3, 700, 11), ROWS(7, 3, 700, 12)));
	CRASH_OP(c, single(other(c, 0), ROWS(5, 1, 20, 13)));
	return groups_in_a_row(c);
}

/* Behind a checkpoint homes alone say what a group did: the log leads to nothing any more. */
static int run_homes(struct crash *c)
{
	CRASH_OP(c, group(c, ROWS(3, 1, 40, 5), ROWS(4, 1, 40, 6)));
	CRASH_DO(c, twzdb_checkpoint(other(c, 0)));
	CRASH_DO(c, twzdb_checkpoint(c->db));
	CRASH_OP(c, group(c, ROWS(30, 20, 60, 9), ROWS(5, 2, -1, 0)));
	CRASH_DO(c, twzdb_checkpoint(c->db));
	CRASH_DO(c, twzdb_checkpoint(other(c, 0)));
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
	CRASH_OP(c, single(other(c, 0), ROWS(8, 1, 43, 17)));
	return 0;
}

/* Three: a decision is kept until the last of those it is for has been told, by itself or by who finds it (D16). */
static int group3(struct crash *c, int from, int len, int v)
{
	return group_of(
		c, 3,
		(struct rows[]){{from, 1, len, v}, {from, 1, len, v + 1}, {from, 1, len, v + 2}});
}

static int setup_three(struct crash *c)
{
	CRASH_DO(c, setup_pair(c));
	CRASH_DO(c, single(other(c, 1), ROWS(0, 12, 30, 3)));
	CRASH_DO(c, group3(c, 1, 10, 4));
	return 0;
}

static int run_three(struct crash *c)
{
	CRASH_OP(c, group3(c, 3, 40, 5));
	CRASH_OP(c, single(other(c, 1), ROWS(4, 1, 33, 7)));
	CRASH_OP(c, group3(c, 30, 50, 8));
	return 0;
}

static int again_three(struct crash *c)
{
	CRASH_OP(c, group3(c, 3, 41, 15));
	CRASH_OP(c, single(c->db, ROWS(8, 1, 43, 17)));
	return 0;
}

#define GROUP_WL(var, id, text_, quick_, kind_, setup_, run_, again_, share_)                      \
	const struct crash_workload var = {.name = "engine." id,                                   \
					   .what = text_,                                          \
					   .media = CRASH_ALL,                                     \
					   .quick = quick_,                                        \
					   .share = share_,                                        \
					   .kind = &kind_,                                         \
					   .setup = setup_,                                        \
					   .run = run_,                                            \
					   .again = again_,                                        \
					   .show = group_show}

GROUP_WL(wl_db_group_first, "group_first", "the first transaction of two databases (D16)", false,
	 pair_kind, setup_pair, run_first, again, 20);
GROUP_WL(wl_db_group_homes, "group_homes", "the same, and then checkpoints (D5)", false, pair_kind,
	 setup_group, run_homes, NULL, 20);
GROUP_WL(wl_db_group, "group", "transactions of two databases, and of each between (D16)", true,
	 pair_kind, setup_group, run_group, again, 20);
GROUP_WL(wl_db_group_space, "group_space",
	 "transactions of two databases, until their space is used again", false, pair_kind,
	 setup_group, run_again, again, 10);
GROUP_WL(wl_db_three, "three", "transactions of three databases (D16)", false, three_kind,
	 setup_three, run_three, again_three, 4);

/* --- two stores: two files, whose pages and lines arrive independently --- */

static int run_stores(struct crash *c)
{
	CRASH_OP(c, group(c, ROWS(3, 1, 40, 5), ROWS(4, 1, 40, 6)));
	CRASH_OP(c, single(other(c, 0), ROWS(4, 1, 33, 7)));
	CRASH_OP(c, group(c, ROWS(3, 1, -1, 0), ROWS(5, 2, -1, 0)));
	CRASH_OP(c, group(c, ROWS(40, 8, 60, 9), ROWS(40, 8, 60, 10)));
	return 0;
}

#define STORES_WL(var, id, text_, kind_)                                                           \
	const struct crash_workload var = {.name = "engine." id,                                   \
					   .what = text_,                                          \
					   .media = CRASH_ALL,                                     \
					   .share = 5,                                             \
					   .pair = true,                                           \
					   .kind = &kind_,                                         \
					   .setup = setup_pair,                                    \
					   .run = run_stores,                                      \
					   .again = again,                                         \
					   .show = group_show}

STORES_WL(wl_db_stores, "stores", "transactions of databases of two stores (D16)", stores_kind);
STORES_WL(wl_db_stores_other, "stores_other", "the same; the other store is opened first",
	  stores_other_kind);
