/* SPDX-License-Identifier: MIT
 * test_engine_ranges.c -- page media: a long row of which little changes is told by what differs (D2c), and what that keeps from reuse
 *
 * That replay puts it together again is twzcrash's business (engine.ranges); what damage makes of it, test_engine_damage's.
 */
#include "engine_t.h"

#include "../../engine/src/apply.h"
#include "../../engine/src/recsum.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define PAGE_LEN 4096
#define LOG_LEN	 ((uint64_t)4 << 20) /* no checkpoint comes by itself: nor by a helper */

/* Page I after change V: V leaves eight bytes somewhere. */
static struct twzdb_slice page(uint64_t i, uint64_t v)
{
	struct twzdb_slice s = et_val(i, PAGE_LEN);
	uint8_t *at = (uint8_t *)(uintptr_t)s.ptr;

	memcpy(at + v * 520 % (PAGE_LEN - 8), &v, sizeof(v));
	return s;
}

static int put_as(struct twzdb *db, uint32_t flags, uint64_t i, struct twzdb_slice val)
{
	struct twzdb_txn *tx;
	struct twzdb_table t;
	int err = twzdb_begin(db, flags, &tx);

	if (err)
		return err;
	err = twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &t);
	if (!err)
		err = twzdb_put(tx, t, et_key(i), val, 0);
	if (!err)
		return twzdb_commit(tx);
	twzdb_abort(tx);
	return err;
}

static int put(struct twzdb *db, uint64_t i, struct twzdb_slice val)
{
	return put_as(db, 0, i, val);
}

static bool is_page(struct twzdb *db, uint64_t i, struct twzdb_slice want)
{
	struct twzdb_txn *tx;
	struct twzdb_table t;
	struct twzdb_slice v = {NULL, 0};
	bool ok = !twzdb_begin(db, TWZDB_RDONLY, &tx);

	ok = ok && !twzdb_table_open(tx, "t", 0, &t) && !twzdb_get(tx, t, et_key(i), &v);
	ok = ok && et_same(v, want);
	twzdb_abort(tx);
	return ok;
}

static struct twzdb *make(enum et_media m, const char *name, uint64_t cnt)
{
	struct twzdb *db = NULL;

	T_OK(et_open_opt(et_path(m, name), TWZDB_CREATE, LOG_LEN, 256 << 10, &db));
	for (uint64_t i = 0; i < cnt && db; i++)
		T_OK(put(db, i, page(i, 0)));
	T_OK(twzdb_checkpoint(db));
	return db;
}

static uint64_t log_bytes(struct twzdb *db)
{
	struct twzdb_stats st = {.size = sizeof(st)};

	T_OK(twzdb_stats(db, &st));
	return st.log_bytes;
}

static const struct sh_hold *hold(const struct twzdb *db)
{
	return &db->sh->hold;
}

static uint64_t held(const struct twzdb *db)
{
	return hold(db)->q.tail - hold(db)->q.head;
}

/* --- what the log says --- */

static void a_small_change_is_a_small_record(void)
{
	struct twzdb *db = make(ET_PAGE, "small.twz", 3);
	uint64_t was = log_bytes(db);
	char *text;
	size_t len;
	FILE *f;

	for (uint64_t v = 1; v <= 5; v++)
		T_OK(put(db, 1, page(1, v)));
	T_TRUE(log_bytes(db) - was < 5 * 200);
	f = open_memstream(&text, &len);
	T_OK(twzdb_dump(db, TWZDB_DUMP_LOG, f));
	T_EQ(fclose(f), 0);
	T_HAS(text, " base=");
	T_HAS(text, " ranges=");
	free(text);
	T_TRUE(is_page(db, 1, page(1, 5)));
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

static int put_three(struct twzdb *db, uint64_t v)
{
	struct twzdb_txn *tx;
	struct twzdb_table t;
	int err = twzdb_begin(db, 0, &tx);

	if (!err)
		err = twzdb_table_open(tx, "t", 0, &t);
	for (uint64_t i = 0; i < 3 && !err; i++)
		err = twzdb_put(tx, t, et_key(i), page(i, v), 0);
	if (!err)
		err = twzdb_put(tx, t, et_key(100), et_val(v, 30), 0);
	return err ? err : twzdb_commit(tx);
}

static void so_is_a_transaction_of_some(void)
{
	struct twzdb *db = make(ET_PAGE, "some.twz", 3);
	uint64_t was = log_bytes(db);

	for (uint64_t v = 1; v <= 3; v++)
		T_OK(put_three(db, v));
	T_TRUE(log_bytes(db) - was < 3 * 1000);
	for (uint64_t i = 0; i < 3; i++)
		T_TRUE(is_page(db, i, page(i, 3)));
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

/* Another length, or other bytes. */
static void a_large_change_is_whole(void)
{
	struct twzdb *db = make(ET_PAGE, "large.twz", 1);
	uint64_t was = log_bytes(db);

	T_OK(put(db, 0, et_val(7, PAGE_LEN)));
	T_TRUE(log_bytes(db) - was > PAGE_LEN);
	was = log_bytes(db);
	T_OK(put(db, 0, et_val(7, PAGE_LEN - 1)));
	T_TRUE(log_bytes(db) - was >= PAGE_LEN);
	T_TRUE(hold(db)->used_ts <= 1); /* as when it was opened */
	T_OK(twzdb_close(db));
}

/* There the blocks themselves are made durable: nothing refers to others. */
static void lines_need_no_base(void)
{
	struct twzdb *db = make(ET_LINE, "line.twz", 1);

	for (uint64_t v = 1; v <= 5; v++)
		T_OK(put(db, 0, page(0, v)));
	T_TRUE(hold(db)->used_ts <= 1); /* as when it was opened */
	T_OK(twzdb_close(db));
}

/* --- features (format_db.h) --- */

static void features(struct twzdb *db, uint32_t incompat)
{
	db->root->incompat = incompat;
	db->root->sum = (uint32_t)XXH3_64bits(db->root, offsetof(struct db_pm, sum));
}

/* Programs that know nothing of ranges open it, and would find what they cannot know. */
static void an_older_database_goes_without(void)
{
	struct twzdb *db = make(ET_PAGE, "older.twz", 3);
	uint64_t before, used;

	T_EQ(db->root->incompat, TWZDB_INCOMPAT_RANGES);
	features(db, 0);
	T_OK(twzdb_close(db));
	T_REQ(et_open_opt(et_path(ET_PAGE, "older.twz"), 0, LOG_LEN, 0, &db));
	before = log_bytes(db);
	used = hold(db)->used_ts;
	for (uint64_t v = 1; v <= 3; v++) {
		T_OK(put(db, 1, page(1, v)));
		T_OK(put_three(db, v));
	}
	T_TRUE(log_bytes(db) - before > 3 * 4 * PAGE_LEN);
	T_EQ(hold(db)->used_ts, used);
	T_EQ(held(db), 0);
	T_EQ(db->root->incompat, 0);
	T_TRUE(is_page(db, 1, page(1, 3)));
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

/* As a program that does not know ranges refuses this one's. */
static void a_newer_database_is_refused(void)
{
	struct twzdb *db = make(ET_PAGE, "newer.twz", 1);

	features(db, TWZDB_INCOMPAT_RANGES | 2);
	T_OK(twzdb_close(db));
	T_ERR(et_open_opt(et_path(ET_PAGE, "newer.twz"), 0, LOG_LEN, 0, &db), TWZ_E_FEATURE);
	T_HAS(twzdb_errmsg(), "needs features 0x2/0x0: use a newer program");
}

/* --- what is kept --- */

static void a_row_changed_again_has_the_same_base(void)
{
	struct twzdb *db = make(ET_PAGE, "again.twz", 2);

	for (uint64_t v = 1; v <= 500; v++)
		T_OK(put(db, v % 2, page(v % 2, v % 7)));
	T_TRUE(held(db) && held(db) < 20);
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

#define PAGES 40

/* The rows' versions at first, where they lie, and what is there. */
static const uint8_t *home[PAGES];
static uint8_t was[PAGES][PAGE_LEN];

static void remember(struct twzdb *db)
{
	struct twzdb_slice v;
	struct twzdb_txn *tx;
	struct twzdb_table t;

	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_REQ(twzdb_table_open(tx, "t", 0, &t));
	for (uint64_t i = 0; i < PAGES; i++) {
		T_REQ(twzdb_get(tx, t, et_key(i), &v));
		home[i] = v.ptr;
		memcpy(was[i], v.ptr, PAGE_LEN);
	}
	twzdb_abort(tx);
}

static unsigned unchanged(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < PAGES; i++)
		n += !memcmp(home[i], was[i], PAGE_LEN);
	return n;
}

static void a_base_stays_until_the_tail_is_behind(void)
{
	struct twzdb *db = make(ET_PAGE, "stays.twz", PAGES);

	remember(db);
	for (uint64_t i = 0; i < PAGES; i++)
		T_OK(put(db, i, page(i, 1)));
	for (uint64_t i = 0; i < 4 * PAGES; i++) /* blocks are wanted for others */
		T_OK(put(db, PAGES + i, et_val(i, PAGE_LEN)));
	T_EQ(unchanged(), PAGES);
	T_EQ(held(db), PAGES);
	T_OK(twzdb_checkpoint(db));
	for (uint64_t i = 0; i < 4 * PAGES; i++)
		T_OK(put(db, 9 * PAGES + i, et_val(i, PAGE_LEN)));
	T_EQ(unchanged(), 0);
	T_EQ(held(db), 0);
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

/* The tail is behind the first record that used them, and the last is still staged. */
static void a_base_used_again_stays_for_the_last(void)
{
	struct twzdb *db = make(ET_PAGE, "last.twz", PAGES);
	struct twzdb_stats st = {.size = sizeof(st)};

	remember(db);
	for (uint64_t i = 0; i < PAGES; i++)
		T_REQ(put(db, i, page(i, 1)));
	for (uint64_t n = 0; n <= LOG_LEN / 4 / (4 * PAGE_LEN);
	     n++) /* a checkpoint becomes due; blocks of another size */
		T_REQ(put(db, 8 * PAGES, et_val(n, 4 * PAGE_LEN)));
	for (uint64_t i = 0; i < PAGES; i++)
		T_REQ(put_as(db, TWZDB_LAZY, i, page(i, 2)));
	T_EQ(held(db), PAGES);
	T_OK(twzdb_stats(db, &st));
	T_TRUE(st.log_used > LOG_LEN / 4);
	T_REQ(twz_log_checkpoint_ahead(db->log, NULL));
	T_OK(twzdb_stats(db, &st));
	T_TRUE(st.log_used < LOG_LEN / 8);
	for (uint64_t i = 0; i < 2 * PAGES; i++)
		T_REQ(put_as(db, TWZDB_LAZY, PAGES + i, et_val(i, PAGE_LEN)));
	T_EQ(unchanged(), PAGES);
	T_EQ(held(db), PAGES);
	T_OK(twzdb_checkpoint(db));
	for (uint64_t i = 0; i < 4 * PAGES; i++)
		T_REQ(put(db, 9 * PAGES + i, et_val(i, PAGE_LEN)));
	T_EQ(unchanged(), 0);
	T_EQ(held(db), 0);
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

/* More than is worth it: then rows go into the log whole, and nothing else is kept. */
static void not_too_much_is_kept(void)
{
	struct twzdb *db;

	T_REQ(et_open_opt(et_path(ET_PAGE, "much.twz"), TWZDB_CREATE, 256 << 10, 256 << 10, &db));
	for (uint64_t v = 0; v < 2; v++)
		for (uint64_t i = 0; i < 60; i++)
			T_REQ(put(db, i, page(i, v)));
	T_TRUE(hold(db)->len <= hold(db)->max + PAGE_LEN + 300);
	T_TRUE(hold(db)->max < 60 * PAGE_LEN);
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

/* --- replay --- */

/* Put row I; *P: where it lies. */
static int put_at(struct twzdb *db, uint64_t i, struct twzdb_slice val, uint64_t *p)
{
	struct twzdb_txn *tx;
	struct twzdb_table t;
	int err = twzdb_begin(db, 0, &tx);

	if (!err)
		err = twzdb_table_open(tx, "t", 0, &t);
	if (!err)
		err = twzdb_put(tx, t, et_key(i), val, 0);
	*p = err ? 0 : tx->recs.v[tx->recs.cnt - 1];
	return err ? err : twzdb_commit(tx);
}

/* Something else in the record may have made the base longer since it was checked: damage, and no way out of a block. */
static void what_does_not_fit_is_not_stored(void)
{
	struct twzdb *db = make(ET_PAGE, "fit.twz", 1);
	uint8_t before[TWZDB_UNIT_LEN / 2];
	struct diff d = {0};
	uint8_t *at;

	T_REQ(put_at(db, 1, et_val(1, 2100), &d.where));
	T_REQ(put_at(db, 2, et_val(2, PAGE_LEN), &d.base));
	at = twzdb__at(db, d.where, sizeof(before));
	T_REQ(at ? 0 : -1);
	T_TRUE(!twzdb__diff_check(db, &d));
	T_TRUE(twzdb__diff_whole(db, &d) != NULL);
	memcpy(before, at, sizeof(before));
	twzdb__diff_apply(db, &d);
	T_TRUE(!memcmp(before, at, sizeof(before)));
	T_OK(twzdb_close(db));
}

/* A commit that killed P, and used BASE for the row at P2, is applied as it is when somebody died at it. */
static void apply_again(struct twzdb *db, uint64_t p, uint64_t p2, uint64_t base)
{
	struct {
		struct lrec_pm h;
		struct item_pm diff_it;
		struct rec_diff_pm diff;
		struct item_pm dead_it;
		uint64_t dead;
	} r = {{TWZDB_LREC_MAGIC, 0, TWZDB_LREC_COMMIT, db->root->ts, sizeof(r), 2},
	       {TWZDB_IT_REC_DIFF, 0, sizeof(r.diff), p2},
	       {base, p, 1, 0},
	       {TWZDB_IT_REC_DEAD, 0, 8, 0},
	       p};

	twzdb__apply_placed(db, &r, sizeof(r));
}

/* What died by it may be somebody's already. */
static void applied_once_more_it_takes_nothing_from_new_owners(void)
{
	struct twzdb *db = make(ET_PAGE, "owners.twz", 1);
	uint64_t whole[2], base, live, link, found = 0;
	const struct rec_pm *r;
	struct twzdb_txn *tx;
	struct twzdb_table t;

	T_REQ(put_at(db, 2, page(2, 0), &base));
	T_REQ(put_at(db, 1, et_val(1, PAGE_LEN), &whole[0]));
	T_REQ(put_at(db, 1, et_val(2, PAGE_LEN), &whole[1]));
	T_REQ(put_at(db, 2, page(2, 1), &live));
	T_EQ(held(db), 1);
	T_REQ(twzdb_checkpoint(db));
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_table_open(tx, "t", 0, &t));
	for (uint64_t i = 10; i < 40; i++)
		T_REQ(twzdb_put(tx, t, et_key(i), et_val(i, PAGE_LEN), 0));
	apply_again(db, whole[0], live, base);
	for (size_t i = 0; i < tx->recs.cnt; i++) {
		r = twzdb__at(db, tx->recs.v[i], sizeof(*r));
		link = ld64(&r->link);
		found += tx->recs.v[i] == base || tx->recs.v[i] == whole[0];
		T_TRUE(!rec_is_live(r) && link == (TWZDB_LINK_RESERVED | tx->stamp));
	}
	T_EQ(found, 2);
	T_OK(twzdb_commit(tx));
	T_TRUE(is_page(db, 2, page(2, 1)));
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

/* What is kept is free space that a checkpoint makes usable. */
static void a_full_disk_has_what_is_kept(void)
{
	struct twzdb *db = make(ET_PAGE, "full.twz", 1);
	struct twzdb_stats st = {.size = sizeof(st)};
	uint64_t cnt = 1, cps;
	struct stat fst;

	signal(SIGXFSZ, SIG_IGN);
	T_REQ(stat(et_path(ET_PAGE, "full.twz"), &fst));
	disk_room((rlim_t)fst.st_size);
	while (!put(db, cnt, page(cnt, 0)))
		cnt++;
	for (uint64_t i = cnt - 20; i < cnt; i++) { /* some room */
		struct twzdb_txn *tx;
		struct twzdb_table t;

		T_REQ(twzdb_begin(db, 0, &tx));
		T_REQ(twzdb_table_open(tx, "t", 0, &t));
		T_REQ(twzdb_del(tx, t, et_key(i)));
		T_REQ(twzdb_commit(tx));
	}
	T_REQ(twzdb_checkpoint(db));
	cnt -= 20;
	T_OK(twzdb_stats(db, &st));
	cps = st.checkpoints;
	for (uint64_t v = 1; v < 4; v++)
		for (uint64_t i = 0; i < cnt; i++)
			T_REQ(put(db, i, page(i, v)));
	T_OK(twzdb_stats(db, &st));
	T_TRUE(st.checkpoints > cps && st.log_used < LOG_LEN / 2);
	for (uint64_t i = 0; i < cnt; i++)
		T_TRUE(is_page(db, i, page(i, 3)));
	T_TRUE(et_clean(db));
	disk_room(RLIM_INFINITY);
	T_OK(twzdb_close(db));
}

/* --- deaths --- */

static const char *path;

static int change_and_die(void *arg)
{
	struct twzdb *db;

	(void)arg;
	if (et_open_opt(path, 0, 0, 0, &db))
		return 1;
	for (uint64_t v = 1; v < 30; v++)
		if (put(db, v % PAGES, page(v % PAGES, v)))
			return 2;
	kill(getpid(), SIGKILL);
	return 3;
}

/* Who takes over finds the log empty: what the dead one kept is free. */
static void after_a_death_nothing_is_kept(void)
{
	struct twzdb *db = make(ET_PAGE, "death.twz", PAGES);

	path = et_path(ET_PAGE, "death.twz");
	for (int i = 0; i < 3; i++) {
		T_EQ(t_fork(change_and_die, NULL), SIGKILL);
		for (uint64_t v = 1; v < 30; v++)
			T_TRUE(is_page(db, v % PAGES, page(v % PAGES, v)));
		for (uint64_t k = 0; k < PAGES; k++)
			T_OK(put(db, 1000 + k, et_val(k, PAGE_LEN)));
		T_TRUE(et_clean(db));
	}
	T_OK(twzdb_close(db));
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(a_small_change_is_a_small_record),
		T_CASE(so_is_a_transaction_of_some),
		T_CASE(a_large_change_is_whole),
		T_CASE(lines_need_no_base),
		T_CASE(an_older_database_goes_without),
		T_CASE(a_newer_database_is_refused),
		T_CASE(a_row_changed_again_has_the_same_base),
		T_CASE(a_base_stays_until_the_tail_is_behind),
		T_CASE(a_base_used_again_stays_for_the_last),
		T_CASE(not_too_much_is_kept),
		T_CASE(what_does_not_fit_is_not_stored),
		T_CASE(applied_once_more_it_takes_nothing_from_new_owners),
		T_CASE(a_full_disk_has_what_is_kept),
		T_CASE(after_a_death_nothing_is_kept),
		T_END,
	};

	setenv("TWZDB_HELPER", "0", 1);
	return t_main("engine_ranges", cases, argc, argv);
}
