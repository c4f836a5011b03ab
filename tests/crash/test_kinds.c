/* SPDX-License-Identifier: MIT
 * test_kinds.c -- are the checks of the two kinds of store asked, and is it a failure when they find something?
 *
 * The stores are right, and show what they must. What is wrong with them only a check says, which comes through the linker's
 * --wrap.
 */
#include "t.h"

#include "enum.h"
#include "kind_twz.h"
#include "workloads.h"

#include "twzdb.h"

const struct crash_workload *const crash_workloads[] = {NULL};

enum finding {
	NOTHING,
	TOLD,	 /* the callback hears of it */
	COUNTED, /* only the count does */
	ERROR,
};

static enum finding finds_twz, finds_db;

typedef void (*found_fn)(void *ctx, const char *where, const char *what);

static int find(enum finding what, found_fn fn, void *ctx, uint64_t *cnt, int rc)
{
	if (what == TOLD)
		fn(ctx, "here", "something is wrong");
	if (what == TOLD || what == COUNTED)
		++*cnt;
	return what == ERROR ? TWZ_E_CORRUPT : rc;
}

int __real_twz_check(struct twz_store *s, found_fn fn, void *ctx, uint64_t *cnt);
int __wrap_twz_check(struct twz_store *s, found_fn fn, void *ctx, uint64_t *cnt);
int __wrap_twz_check(struct twz_store *s, found_fn fn, void *ctx, uint64_t *cnt)
{
	int rc = __real_twz_check(s, fn, ctx, cnt);

	return find(finds_twz, fn, ctx, cnt, rc);
}

int __real_twzdb_check(struct twzdb *db, found_fn fn, void *ctx, uint64_t *cnt);
int __wrap_twzdb_check(struct twzdb *db, found_fn fn, void *ctx, uint64_t *cnt);
int __wrap_twzdb_check(struct twzdb *db, found_fn fn, void *ctx, uint64_t *cnt)
{
	int rc = __real_twzdb_check(db, fn, ctx, cnt);

	return find(finds_db, fn, ctx, cnt, rc);
}

static int run_object(struct crash *c)
{
	struct twz_obj *o = NULL;

	CRASH_OP(c, wl_create(c, 1, 4096, &o));
	twz_obj_close(o);
	return 0;
}

static int show_objects(struct crash *c)
{
	return wl_show_objects(c, true);
}

static const struct crash_workload object = {.name = "kind.twz",
					     .what = "an object is made",
					     .media = CRASH_LINE | CRASH_PAGE,
					     .kind = &twz_kind,
					     .run = run_object,
					     .show = show_objects};

static int put_row(struct crash *c)
{
	struct twzdb_txn *txn = NULL;
	struct twzdb_table t;

	CRASH_DO(c, twzdb_begin(c->db, 0, &txn));
	CRASH_DO(c, twzdb_table_open(txn, "t", TWZDB_TABLE_CREATE, &t));
	CRASH_DO(c,
		 twzdb_put(txn, t, (struct twzdb_slice){"k", 1}, (struct twzdb_slice){"v", 1}, 0));
	return twzdb_commit(txn);
}

static int run_row(struct crash *c)
{
	CRASH_OP(c, put_row(c));
	return 0;
}

static const struct crash_workload row = {.name = "kind.db",
					  .what = "a table, and a row in it",
					  .media = CRASH_LINE | CRASH_PAGE,
					  .kind = &db_kind,
					  .run = run_row,
					  .show = db_show};

static void wants(const struct crash_workload *w, enum finding *finds, const char *told,
		  const char *counted, const char *error)
{
	const char *why[] = {NULL, told, counted, error};
	struct crash_options opt = {.limit = 40, .seed = t_seed(), .timeout = 20, .quiet = true};
	struct crash_result res;

	for (int m = SIM_MEDIA_LINE; m <= SIM_MEDIA_PAGE; m++)
		for (int what = NOTHING; what <= ERROR; what++) {
			opt.media = (enum sim_media)m;
			*finds = (enum finding)what;
			T_EQ(crash_run(w, &opt, &res), what != NOTHING);
			T_TRUE(res.distinct > 5 || what != NOTHING);
			if (why[what])
				T_HAS(res.why, why[what]);
		}
	*finds = NOTHING;
	crash_dir_remove();
}

static void stores_are_checked(void)
{
	wants(&object, &finds_twz, "twz_check: here: something is wrong", "twz_check: 1 findings",
	      "TWZ_E_CORRUPT");
}

static void databases_are_checked(void)
{
	wants(&row, &finds_db, "twzdb_check: here: something is wrong", "twzdb_check: 1 findings",
	      "TWZ_E_CORRUPT");
}

static void stores_of_databases_are_checked(void)
{
	wants(&row, &finds_twz, "twz_check: here: something is wrong", "twz_check: 1 findings",
	      "TWZ_E_CORRUPT");
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(stores_are_checked),
		T_CASE(databases_are_checked),
		T_CASE(stores_of_databases_are_checked),
		T_END,
	};

	return t_main("crash.kinds", cases, argc, argv);
}
