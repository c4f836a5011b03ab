/* SPDX-License-Identifier: MIT
 * test_engine_single.c -- transactions in one call: their usual way, and all that is not usual
 */
#include "../../engine/src/find.h"
#include "../../engine/src/handle.h"
#include "engine_t.h"

#include <pthread.h>

#define WARM 64 /* calls after which a thread keeps the writer lock */

static struct twzdb_table make_table(struct twzdb *db, const char *name, uint32_t flags)
{
	struct twzdb_table t = {0, 0};
	struct twzdb_txn *tx;

	if (T_OK(twzdb_begin(db, 0, &tx)))
		return t;
	T_OK(twzdb_table_open(tx, name, TWZDB_TABLE_CREATE | flags, &t));
	T_OK(twzdb_commit(tx));
	return t;
}

static void warm(struct twzdb *db, struct twzdb_table t)
{
	for (uint64_t i = 0; i < WARM; i++)
		T_OK(twzdb_put_one(db, t, et_key(i), et_val(i, 40), 0));
}

#define TRIES                                                                                      \
	20 /* now and then something is to be seen to first: a new unit, a scan of the readers */

/* By the usual way alone. */
static int usual_put(struct twzdb *db, struct twzdb_table t, struct twzdb_slice k,
		     struct twzdb_slice v, uint32_t flags)
{
	int err = 1;

	for (uint64_t i = 0; i < TRIES && err == 1; i++) {
		err = twzdb__simd_now()->put_one(db, t, &k, &v, flags);
		if (err == 1)
			T_OK(twzdb_put_one(db, t, et_key(i % 2), v, 0));
	}
	return err;
}

static int usual_del(struct twzdb *db, struct twzdb_table t, struct twzdb_slice k)
{
	int err = 1;

	for (uint64_t i = 0; i < TRIES && err == 1; i++) {
		err = twzdb__simd_now()->del_one(db, t, &k);
		if (err == 1) {
			T_OK(twzdb_put_one(db, t, et_key(3000), et_val(i, 30), 0));
			T_OK(twzdb_del_one(db, t, et_key(3000)));
		}
	}
	return err;
}

static void expect(struct twzdb *db, struct twzdb_table t, uint64_t key, uint64_t seed, size_t len)
{
	struct twzdb_txn *tx;
	struct twzdb_slice v;
	int err;

	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	err = twzdb_get(tx, t, et_key(key), &v);
	T_EQ(err, len ? 0 : TWZDB_E_NOTFOUND);
	if (!err && len)
		T_TRUE(et_same(v, et_val(seed, len)));
	twzdb_abort(tx);
}

/* Where a lock can be kept at all (lock.c), and there is an accelerator. */
static bool has_usual(const struct twzdb *db)
{
	return db->plain && db->acc.max && !db->page_media;
}

static void the_usual_way_does_every_operation(void)
{
	struct twzdb *db;
	struct twzdb_table t;
	struct twzdb_stats a = {.size = sizeof(a)}, b = a;

	T_REQ(et_open(et_path(ET_LINE, "usual.twz"), &db));
	t = make_table(db, "t", 0);
	warm(db, t);
	T_OK(twzdb_stats(db, &a));
	if (has_usual(db)) {
		T_OK(usual_put(db, t, et_key(3), et_val(7, 41), 0));
		T_OK(usual_put(db, t, et_key(4), et_val(8, 0), TWZDB_UPDATE));
		T_OK(usual_put(db, t, et_key(1000), et_val(9, 42), TWZDB_INSERT));
		T_OK(usual_del(db, t, et_key(5)));
		T_OK(usual_put(db, t, et_key(1000), et_val(10, 42), 0));
		T_OK(twzdb_stats(db, &b));
		T_TRUE(b.commits - a.commits >= 5);
		expect(db, t, 3, 7, 41);
		expect(db, t, 1000, 10, 42);
		expect(db, t, 5, 0, 0);
	}
	for (int v = 0; twzdb__simds[v]; v++) { /* all variants */
		const struct twzdb__simd *was = twzdb__simd;

		if (!twzdb__simds[v]->usable())
			continue;
		twzdb__simd = twzdb__simds[v];
		for (uint64_t i = 2000; i < 2600; i++)
			T_OK(twzdb_put_one(db, t, et_key(i * 7919 % 600 + 2000), et_val(i, 60),
					   v ? 0 : TWZDB_INSERT));
		for (uint64_t i = 2000; i < 2600; i += 3)
			T_OK(twzdb_del_one(db, t, et_key(i)));
		for (uint64_t i = 2000; i < 2600; i += 3)
			expect(db, t, i, 0, 0);
		twzdb__simd = was;
		T_TRUE(et_clean(db));
	}
	T_OK(twzdb_close(db));
}

static void what_is_wrong_is_said_and_changes_nothing(enum et_media m)
{
	struct twzdb *db, *other;
	struct twzdb_table t, t2, n, gone;
	struct twzdb_txn *tx;
	struct twzdb_slice none = {NULL, 0}, v;
	static char key[1100];
	uint64_t ts;

	T_REQ(et_open(et_path(m, "wrong.twz"), &db));
	T_REQ(et_open(et_path(m, "wrong2.twz"), &other));
	t = make_table(db, "t", 0);
	n = make_table(db, "n", TWZDB_TABLE_INTKEY);
	t2 = make_table(other, "t", 0);
	warm(db, t);
	ts = twzdb_latest_ts(db);
	T_ERR(twzdb_put_one(db, t, et_key(1), et_val(1, 1), TWZDB_INSERT), TWZDB_E_EXIST);
	T_ERR(twzdb_put_one(db, t, et_key(999), et_val(1, 1), TWZDB_UPDATE), TWZDB_E_NOTFOUND);
	T_ERR(twzdb_del_one(db, t, et_key(999)), TWZDB_E_NOTFOUND);
	T_ERR(twzdb_put_one(db, t, et_key(1), et_val(1, 1), TWZDB_INSERT | TWZDB_UPDATE),
	      TWZDB_E_INVAL);
	T_ERR(twzdb_put_one(db, t, et_key(1), et_val(1, 1), 1U << 30), TWZDB_E_INVAL);
	T_ERR(twzdb_put_one(db, t, et_key(1), et_val(1, 1), TWZDB_NODUP), TWZDB_E_KIND);
	T_ERR(twzdb_put_one(db, t, et_key(1), et_val(1, 1), TWZDB_APPEND), TWZDB_E_ORDER);
	T_ERR(twzdb_put_one(db, t, et_key(1), (struct twzdb_slice){NULL, 5}, 0), TWZDB_E_INVAL);
	T_ERR(twzdb_put_one(db, t, (struct twzdb_slice){NULL, 9}, et_val(1, 1), 0), TWZDB_E_INVAL);
	T_ERR(twzdb_put_one(db, t2, et_key(1), et_val(1, 1), 0), TWZDB_E_STATE);
	T_ERR(twzdb_put_one(other, t, et_key(1), et_val(1, 1), 0), TWZDB_E_STATE);
	T_ERR(twzdb_put_one(db, (struct twzdb_table){0, 0}, et_key(1), et_val(1, 1), 0),
	      TWZDB_E_INVAL);
	T_ERR(twzdb_put_one(NULL, t, et_key(1), et_val(1, 1), 0), TWZDB_E_INVAL);
	T_ERR(twzdb_del_one(NULL, t, et_key(1)), TWZDB_E_INVAL);
	T_ERR(twzdb_del_one(db, t2, et_key(1)), TWZDB_E_STATE);
	T_EQ(twzdb_latest_ts(db), ts);
	/* what is only unusual goes */
	T_OK(twzdb_put_one(db, t, et_key(1), et_val(3, 300000), 0));
	T_OK(twzdb_put_one(db, t, none, et_val(4, 4), 0));
	T_OK(twzdb_del_one(db, t, none));
	memset(key, 'k', sizeof(key));
	T_OK(twzdb_put_one(db, t, (struct twzdb_slice){key, sizeof(key)}, et_val(4, 4), 0));
	T_OK(twzdb_put_one(db, t, et_key(2), none, 0));
	T_OK(twzdb_put_one(db, n, et_key(2), et_val(2, 2), 0));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_OK(twzdb_get(tx, t, et_key(1), &v));
	T_TRUE(et_same(v, et_val(3, 300000)));
	T_OK(twzdb_get(tx, t, et_key(2), &v));
	T_EQ(v.len, 0);
	T_OK(twzdb_get(tx, n, et_key(2), &v));
	twzdb_abort(tx);
	/* a table that is no more, also after another one took its place */
	warm(db, t);
	gone = t;
	T_REQ(twzdb_begin(db, 0, &tx));
	T_OK(twzdb_table_drop(tx, "t"));
	T_OK(twzdb_commit(tx));
	T_ERR(twzdb_put_one(db, gone, et_key(1), et_val(1, 1), 0), TWZDB_E_STATE);
	t = make_table(db, "t", 0);
	T_ERR(twzdb_put_one(db, gone, et_key(1), et_val(1, 1), 0), TWZDB_E_STATE);
	T_ERR(twzdb_del_one(db, gone, et_key(1)), TWZDB_E_STATE);
	warm(db, t);
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
	T_OK(twzdb_close(other));
}

static void what_is_wrong_is_said_on_page_media(void)
{
	what_is_wrong_is_said_and_changes_nothing(ET_PAGE);
}

static void what_is_wrong_is_said_on_cache_line_media(void)
{
	what_is_wrong_is_said_and_changes_nothing(ET_LINE);
}

static void a_database_opened_anew_is_another_one(void)
{
	const char *path = et_path(ET_LINE, "anew.twz");
	struct twzdb *db;
	struct twzdb_table t;

	for (int i = 0; i < 4; i++) {
		T_REQ(et_open(path, &db));
		t = make_table(db, "t", 0);
		warm(db, t);
		T_OK(twzdb_put_one(db, t, et_key(7), et_val((uint64_t)i, 33), 0));
		expect(db, t, 7, (uint64_t)i, 33);
		T_OK(twzdb_close(db));
	}
	T_REQ(et_open(path, &db));
	expect(db, t, 7, 3, 33);
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

/* A snapshot goes on seeing what it saw. */
static void snapshots_keep_their_versions(void)
{
	struct twzdb *db;
	struct twzdb_table t;
	struct twzdb_txn *tx[3];
	struct twzdb_slice v;

	T_REQ(et_open(et_path(ET_LINE, "snap.twz"), &db));
	t = make_table(db, "t", 0);
	warm(db, t);
	for (uint64_t s = 0; s < 3; s++) {
		T_OK(twzdb_put_one(db, t, et_key(9), et_val(100 + s, 50), 0));
		T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx[s]));
	}
	T_OK(twzdb_del_one(db, t, et_key(9)));
	for (uint64_t i = 0; i < 3000; i++) /* blocks are used again meanwhile */
		T_OK(twzdb_put_one(db, t, et_key(10 + i % 40), et_val(i, 50), 0));
	for (uint64_t s = 0; s < 3; s++) {
		T_OK(twzdb_get(tx[s], t, et_key(9), &v));
		T_TRUE(et_same(v, et_val(100 + s, 50)));
		twzdb_abort(tx[s]);
	}
	expect(db, t, 9, 0, 0);
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

/* Tombstones of rows deleted this way go one day. */
static void deleted_rows_are_purged(void)
{
	struct twzdb_table_stats st = {.size = sizeof(st)};
	struct twzdb_txn *tx;
	struct twzdb *db;
	struct twzdb_table t;

	T_REQ(et_open(et_path(ET_LINE, "purge.twz"), &db));
	t = make_table(db, "t", 0);
	for (int round = 0; round < 8; round++) {
		for (uint64_t i = 0; i < 2000; i++)
			T_OK(twzdb_put_one(db, t, et_key(i), et_val(i, 50), TWZDB_INSERT));
		for (uint64_t i = 0; i < 2000; i++)
			T_OK(twzdb_del_one(db, t, et_key(i)));
	}
	T_TRUE(et_clean(db));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_OK(twzdb_table_stats(tx, t, 0, &st));
	T_EQ(st.rows, 0);
	T_TRUE(st.leaves < 400); /* 16,000 rows were there, one after the other */
	twzdb_abort(tx);
	T_OK(twzdb_close(db));
}

/* --- damage: what a writer meets must not get into the log, nor spread (D10) --- */

static struct node_pm *leaf_of(struct twzdb *db, uint64_t key)
{
	struct twzdb_slice k = et_key(key);
	struct spot s;

	if (!twzdb__simd_now()->spot(db, twzdb__mine.last.anchor->root,
				     (struct bkey){k.ptr, (uint32_t)k.len}, &s))
		return NULL;
	return (struct node_pm *)(uintptr_t)s.leaf.n;
}

static void a_damaged_permutation_is_not_committed(void)
{
	struct twzdb *db;
	struct twzdb_table t;
	struct node_pm *n;

	T_REQ(et_open(et_path(ET_LINE, "perm.twz"), &db));
	t = make_table(db, "t", 0);
	for (uint64_t i = 0; i < WARM; i++)
		T_OK(twzdb_put_one(db, t, et_key(i % 5 * 10), et_val(i, 40), 0));
	n = leaf_of(db, 0);
	if (T_TRUE(n)) {
		uint8_t was = n->perm[n->n + 2];

		n->perm[n->n + 2] = n->perm[n->n + 1]; /* among the free slots */
		T_ERR(twzdb_put_one(db, t, et_key(15), et_val(1, 40), TWZDB_INSERT),
		      TWZDB_E_CORRUPT);
		n->perm[n->n + 2] = was;
	}
	T_OK(twzdb_put_one(db, t, et_key(15), et_val(1, 40), TWZDB_INSERT));
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

/* Words that look like the header of a row that is LIVE, wherever one begins. */
static void make_bait(uint32_t *w, unsigned cnt)
{
	for (unsigned i = 0; i < cnt; i++)
		w[i] = TWZDB_VLF_LIVE | 4;
}

static uint64_t where_is(const struct twzdb *db, const void *p)
{
	uintptr_t a = (uintptr_t)p;

	for (uint64_t no = TWZDB_NO_DATA; no < TWZDB_NO_DATA + 4; no++)
		if (a >= db->map[no].base && a < db->map[no].base + db->map[no].end)
			return no << TWZ_PPTR_OFF_BITS | (a - db->map[no].base);
	return 0;
}

static void a_damaged_pointer_damages_nothing_else(void)
{
	struct twzdb *db;
	struct twzdb_table t, u;
	struct twzdb_txn *tx;
	struct twzdb_slice v = {NULL, 0};
	uint32_t bait[100];
	struct node_pm *n;
	uint64_t p;

	T_REQ(et_open(et_path(ET_LINE, "pointer.twz"), &db));
	u = make_table(db, "u", 0);
	t = make_table(db, "t", 0);
	make_bait(bait, 100);
	T_OK(twzdb_put_one(db, u, et_key(1), (struct twzdb_slice){bait, sizeof(bait)}, 0));
	for (uint64_t i = 0; i < TWZDB_FANOUT; i++)
		T_OK(twzdb_put_one(db, t, et_key(i * 10), et_val(i, 40), 0));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_OK(twzdb_get(tx, u, et_key(1), &v));
	p = v.ptr ? (where_is(db, v.ptr) + 128) & ~(uint64_t)15 : 0;
	twzdb_abort(tx);
	n = leaf_of(db, 0);
	if (T_TRUE(p && n && n->n == TWZDB_FANOUT))
		n->ptr[n->perm[20]] = p;			   /* into the value */
	(void)!twzdb_put_one(db, t, et_key(55), et_val(1, 40), 0); /* splits the leaf, or says no */
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_OK(twzdb_get(tx, u, et_key(1), &v));
	T_TRUE(v.len == sizeof(bait) && !memcmp(v.ptr, bait, sizeof(bait)));
	twzdb_abort(tx);
	T_OK(twzdb_close(db));
}

/* --- threads: each adds to its own counter and to a common one --- */

#define THREADS 3
#define ADDS	3000

static struct twzdb *shared;
static struct twzdb_table counters;

static void *adder(void *arg)
{
	uint64_t me = (uint64_t)(uintptr_t)arg, bad = 0;

	for (uint64_t i = 1; i <= ADDS; i++) {
		struct twzdb_slice v = {&i, sizeof(i)};

		bad += twzdb_put_one(shared, counters, et_key(me), v, 0) != 0;
		if (i % 100 == 0) { /* somebody else gets the lock that was kept */
			struct timespec nap = {0, 200000};

			nanosleep(&nap, NULL);
		}
		if (i % 7 == 0)
			bad += twzdb_put_one(shared, counters, et_key(100 + me * 1000 + i), v,
					     TWZDB_INSERT) != 0;
		if (i % 14 == 0)
			bad += twzdb_del_one(shared, counters, et_key(100 + me * 1000 + i)) != 0;
	}
	et_thread_end();
	return (void *)(uintptr_t)bad;
}

static void threads_take_turns(void)
{
	struct twzdb_stats a = {.size = sizeof(a)}, b = a;
	pthread_t th[THREADS];
	struct twzdb_txn *tx;
	struct twzdb_slice v;
	void *bad;
	uint64_t cnt, n;

	T_REQ(et_open(et_path(ET_LINE, "turns.twz"), &shared));
	counters = make_table(shared, "c", 0);
	T_OK(twzdb_stats(shared, &a));
	for (uint64_t i = 0; i < THREADS; i++)
		pthread_create(&th[i], NULL, adder, (void *)(uintptr_t)(i * 10));
	for (int i = 0; i < THREADS; i++) {
		pthread_join(th[i], &bad);
		T_TRUE(!bad);
	}
	T_OK(twzdb_stats(shared, &b));
	T_EQ(b.commits - a.commits, THREADS * (ADDS + ADDS / 7 + ADDS / 14));
	T_REQ(twzdb_begin(shared, TWZDB_RDONLY, &tx));
	for (uint64_t i = 0; i < THREADS; i++) {
		T_OK(twzdb_get(tx, counters, et_key(i * 10), &v));
		memcpy(&n, v.ptr, sizeof(n));
		T_EQ(n, ADDS);
	}
	T_OK(twzdb_count(tx, counters, &cnt));
	T_EQ(cnt, THREADS * (1 + ADDS / 7 - ADDS / 14));
	twzdb_abort(tx);
	T_TRUE(et_clean(shared));
	T_OK(twzdb_close(shared));
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(the_usual_way_does_every_operation),
		T_CASE(what_is_wrong_is_said_on_page_media),
		T_CASE(what_is_wrong_is_said_on_cache_line_media),
		T_CASE(a_database_opened_anew_is_another_one),
		T_CASE(snapshots_keep_their_versions),
		T_CASE(deleted_rows_are_purged),
		T_CASE(a_damaged_permutation_is_not_committed),
		T_CASE(a_damaged_pointer_damages_nothing_else),
		T_CASE(threads_take_turns),
		T_END,
	};

	return t_main("engine_single", cases, argc, argv);
}
