/* SPDX-License-Identifier: MIT
 * test_engine_threads.c -- random writers and readers in threads against a history of every key
 *
 * Before a writer commits, while it still holds the writer lock, it enters what each key becomes,
 * under the number its commit will have; if it aborts after all, it takes the entries back. So for
 * a reader with snapshot S the history says what every key must be: the newest entry not above S.
 * That it is so for all keys at once, for as long as the reader lives, is snapshot consistency; that
 * it is so for every S is commit order. Numbers must also rise as a thread sees them.
 */
#include "../unit/engine_t.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#define KEYS	1500
#define DVALS	12 /* values of a key in the table of pairs */
#define DKEYS	(KEYS / DVALS)
#define WRITERS 2
#define READERS 2

struct entry {
	uint64_t ts, row; /* row: len << 32 | seed, 0 = absent; of a pair: 1 or 0 */
};

/* What one key was, oldest first. [0..KEYS): rows; [KEYS..2 KEYS): pairs. */
struct history {
	struct entry *e;
	size_t cnt, cap;
};

static struct twzdb *db;
static struct history past[2 * KEYS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of past */
static atomic_bool stop;
static atomic_uint bad, commits, checks;

struct rng {
	uint64_t x;
};

static uint64_t below(struct rng *r, uint64_t n)
{
	r->x ^= r->x >> 12;
	r->x ^= r->x << 25;
	r->x ^= r->x >> 27;
	return (r->x * 0x2545F4914F6CDD1DULL >> 11) % n;
}

/* CUnit is not for several threads: count, say, and stop. */
static bool wrong(const char *what, uint64_t a, uint64_t b)
{
	fprintf(stderr, "  %s (%" PRIu64 ", %" PRIu64 "): %s\n", what, a, b, twzdb_errmsg());
	bad++;
	stop = true;
	return false;
}

/* --- the history --- */

static uint64_t row_at(unsigned key, uint64_t ts)
{
	const struct history *h = &past[key];
	size_t i;

	for (i = h->cnt; i && h->e[i - 1].ts > ts;)
		i--;
	return i ? h->e[i - 1].row : 0;
}

static void enter(unsigned key, uint64_t ts, uint64_t row)
{
	struct history *h = &past[key];

	if (h->cnt && h->e[h->cnt - 1].ts == ts) {
		h->e[h->cnt - 1].row = row;
		return;
	}
	if (h->cnt == h->cap) {
		h->cap = h->cap ? 2 * h->cap : 8;
		h->e = realloc(h->e, h->cap * sizeof(*h->e));
	}
	h->e[h->cnt++] = (struct entry){ts, row};
}

static void take_back(uint64_t ts)
{
	for (unsigned k = 0; k < 2 * KEYS; k++)
		if (past[k].cnt && past[k].e[past[k].cnt - 1].ts == ts)
			past[k].cnt--;
}

/* --- rows --- */

static struct twzdb_slice val(uint64_t row)
{
	return et_val(row & 0xffffffff, row >> 32);
}

static struct twzdb_slice small(unsigned i)
{
	static _Thread_local uint8_t ring[8][2];
	static _Thread_local unsigned next;
	uint8_t *b = ring[next++ % 8];

	b[0] = (uint8_t)(i >> 8);
	b[1] = (uint8_t)i;
	return (struct twzdb_slice){b, 2};
}

struct tables {
	struct twzdb_table rows, pairs;
};

static int open_tables(struct twzdb_txn *tx, uint32_t flags, struct tables *t)
{
	int err = twzdb_table_open(tx, "rows", flags, &t->rows);

	return err ? err : twzdb_table_open(tx, "pairs", flags | TWZDB_TABLE_DUPSORT, &t->pairs);
}

/* --- reading --- */

static bool check_key(struct twzdb_txn *tx, const struct tables *t, unsigned key)
{
	struct twzdb_slice v;
	int err = twzdb_get(tx, t->rows, et_key(key), &v);
	uint64_t row;

	pthread_mutex_lock(&lock);
	row = row_at(key, twzdb_txn_ts(tx));
	pthread_mutex_unlock(&lock);
	if (err != (row ? 0 : TWZDB_E_NOTFOUND) || (row && !et_same(v, val(row))))
		return wrong("key at snapshot", key, twzdb_txn_ts(tx));
	return true;
}

/* The whole table, or from a key on, by a cursor: rows, or pairs. */
static bool check_scan(struct twzdb_txn *tx, const struct tables *t, bool pairs, unsigned from,
		       unsigned limit)
{
	uint64_t ts = twzdb_txn_ts(tx), row;
	struct twzdb_slice k = pairs ? small(from / DVALS) : et_key(from), v;
	struct twzdb_cursor *c;
	int err = twzdb_cursor_open(tx, pairs ? t->pairs : t->rows, &c);

	from = pairs ? from / DVALS * DVALS : from;
	if (!err)
		err = twzdb_cursor_get(c, TWZDB_SEEK_GE, &k, &v);
	for (unsigned i = from; i < KEYS && limit; i++, limit--) {
		pthread_mutex_lock(&lock);
		row = row_at(i + (pairs ? KEYS : 0), ts);
		pthread_mutex_unlock(&lock);
		if (!row)
			continue;
		if (err || !(pairs ? et_same(k, small(i / DVALS)) && et_same(v, small(i % DVALS))
				   : et_num(k) == i && et_same(v, val(row)))) {
			twzdb_cursor_close(c);
			return wrong(pairs ? "pair of a scan" : "row of a scan", i, ts);
		}
		err = twzdb_cursor_get(c, TWZDB_NEXT, &k, &v);
	}
	twzdb_cursor_close(c);
	if (limit && err != TWZDB_E_NOTFOUND)
		return wrong("more rows than there were", from, ts);
	return true;
}

static bool check_count(struct twzdb_txn *tx, const struct tables *t)
{
	struct twzdb_table_stats st = {.size = sizeof(st)};
	uint64_t ts = twzdb_txn_ts(tx), want[2] = {0, 0}, got[2];

	pthread_mutex_lock(&lock);
	for (unsigned k = 0; k < 2 * KEYS; k++)
		want[k / KEYS] += row_at(k, ts) != 0;
	pthread_mutex_unlock(&lock);
	if (twzdb_count(tx, t->rows, &got[0]) || twzdb_count(tx, t->pairs, &got[1]) ||
	    got[0] != want[0] || got[1] != want[1])
		return wrong("count", got[0], want[0]);
	/* nodes are counted as they are now, rows as they were */
	if (twzdb_table_stats(tx, t->rows, 0, &st) || st.rows != want[0] || st.leaves > 2 * KEYS ||
	    st.depth > 5)
		return wrong("table_stats", st.rows, st.leaves);
	if (twzdb_estimate(tx, t->pairs, small(1), small(DKEYS), &got[0]) || got[0] > 4 * KEYS)
		return wrong("estimate", got[0], want[1]);
	return true;
}

static bool look(struct twzdb_txn *tx, const struct tables *t, struct rng *r)
{
	bool ok = true;

	for (int i = 0; i < 10 && ok; i++)
		ok = check_key(tx, t, (unsigned)below(r, KEYS));
	if (ok && below(r, 3) == 0)
		ok = check_scan(tx, t, below(r, 2), (unsigned)below(r, KEYS),
				1 + (unsigned)below(r, 200));
	if (ok && below(r, 20) == 0)
		ok = check_scan(tx, t, below(r, 2), 0, UINT32_MAX);
	if (ok && below(r, 20) == 0)
		ok = check_count(tx, t);
	checks++;
	return ok;
}

static void *reader(void *arg)
{
	struct rng r = {(uint64_t)(uintptr_t)arg};
	struct twzdb_txn *tx = NULL;
	struct tables t;
	uint64_t last = 0;

	if (twzdb_begin(db, TWZDB_RDONLY, &tx) || open_tables(tx, 0, &t))
		wrong("begin", 0, 0);
	while (!stop) {
		if (below(&r, 4) == 0 && twzdb_renew(tx)) {
			wrong("renew", 0, 0);
		} else if (below(&r, 50) == 0) {
			twzdb_abort(tx);
			if (twzdb_begin(db, TWZDB_RDONLY, &tx))
				wrong("begin", 0, 0);
		}
		if (stop)
			break;
		if (twzdb_txn_ts(tx) < last)
			wrong("snapshots go back", twzdb_txn_ts(tx), last);
		/* a handle holds on while its snapshot does, else the table may be another one now */
		if (twzdb_txn_ts(tx) > last && open_tables(tx, 0, &t))
			wrong("tables", twzdb_txn_ts(tx), 0);
		last = twzdb_txn_ts(tx);
		look(tx, &t, &r);
	}
	twzdb_abort(tx);
	et_thread_end();
	return NULL;
}

/* --- writing --- */

static void change_row(struct twzdb_txn *tx, const struct tables *t, struct rng *r, uint64_t *now)
{
	unsigned k = (unsigned)below(r, KEYS);
	uint64_t row =
		(below(r, 10) ? below(r, 100) : below(r, 3000)) << 32 | (1 + below(r, 100000));
	int err;

	if (below(r, 3) == 0) {
		err = twzdb_del(tx, t->rows, et_key(k));
		if (err != (now[k] ? 0 : TWZDB_E_NOTFOUND))
			wrong("del", k, now[k]);
		now[k] = 0;
		return;
	}
	err = twzdb_put(tx, t->rows, et_key(k), val(row), 0);
	if (err)
		wrong("put", k, row);
	now[k] = row;
}

static void change_pair(struct twzdb_txn *tx, const struct tables *t, struct rng *r, uint64_t *now)
{
	unsigned i = (unsigned)below(r, KEYS);
	struct twzdb_slice k = small(i / DVALS), v = small(i % DVALS);
	uint64_t *there = &now[KEYS + i];
	int err;

	if (i / DVALS >= DKEYS)
		return;
	if (below(r, 3) == 0) {
		err = twzdb_del_if(tx, t->pairs, k, v);
		if (err != (*there ? 0 : TWZDB_E_NOTFOUND))
			wrong("del_if of a pair", i, *there);
		*there = 0;
	} else {
		err = twzdb_put(tx, t->pairs, k, v, TWZDB_NODUP);
		if (err != (*there ? TWZDB_E_EXIST : 0))
			wrong("put of a pair", i, *there);
		*there = 1;
	}
}

static void change_range(struct twzdb_txn *tx, const struct tables *t, struct rng *r, uint64_t *now)
{
	unsigned a = (unsigned)below(r, KEYS), b = a + (unsigned)below(r, below(r, 8) ? 30 : KEYS);
	uint64_t cnt, want = 0;

	if (twzdb_del_range(tx, t->rows, et_key(a), et_key(b), &cnt))
		wrong("del_range", a, b);
	for (; a < b && a < KEYS; a++) {
		want += now[a] != 0;
		now[a] = 0;
	}
	if (cnt != want)
		wrong("del_range counts", cnt, want);
}

/* Drop a table with all its rows, and make it again; or give it another name and back. */
static void change_table(struct twzdb_txn *tx, struct tables *t, struct rng *r, uint64_t *now)
{
	bool pairs = below(r, 2);
	const char *name = pairs ? "pairs" : "rows";

	if (below(r, 2)) {
		if (twzdb_table_rename(tx, name, "other") || twzdb_table_rename(tx, "other", name))
			wrong("rename", pairs, 0);
		return;
	}
	if (twzdb_table_drop(tx, name) || open_tables(tx, TWZDB_TABLE_CREATE, t))
		wrong("drop", pairs, 0);
	memset(now + (pairs ? KEYS : 0), 0, KEYS * sizeof(*now));
}

static void change(struct twzdb_txn *tx, struct tables *t, struct rng *r, uint64_t *now)
{
	/* many transactions of one operation, which take a way of their own */
	uint64_t n = below(r, 3) ? 1 : 1 + below(r, below(r, 10) ? 20 : 300);

	while (n-- && !stop) {
		if (below(r, 1000) == 0)
			change_table(tx, t, r, now);
		else if (below(r, 100) == 0)
			change_range(tx, t, r, now);
		else if (below(r, 3) == 0)
			change_pair(tx, t, r, now);
		else
			change_row(tx, t, r, now);
	}
}

/* Changes under a savepoint; half of the time they are undone. */
static void change_nested(struct twzdb_txn *tx, struct tables *t, struct rng *r, uint64_t *now)
{
	uint64_t *was = malloc(2 * KEYS * sizeof(*was));
	uint32_t id;

	memcpy(was, now, 2 * KEYS * sizeof(*was));
	if (twzdb_savepoint(tx, &id))
		wrong("savepoint", 0, 0);
	change(tx, t, r, now);
	if (below(r, 2)) {
		if (twzdb_rollback_to(tx, id) || open_tables(tx, 0, t))
			wrong("rollback_to", id, 0);
		memcpy(now, was, 2 * KEYS * sizeof(*was));
	}
	free(was);
}

/* Enter all differences between BEFORE and NOW under TS. */
static void enter_all(uint64_t ts, const uint64_t *now)
{
	pthread_mutex_lock(&lock);
	for (unsigned k = 0; k < 2 * KEYS; k++)
		if (row_at(k, ts - 1) != now[k])
			enter(k, ts, now[k]);
	pthread_mutex_unlock(&lock);
}

static void write_once(struct rng *r, uint64_t *now)
{
	struct twzdb_txn *tx;
	struct tables t;
	uint64_t ts;

	if (twzdb_begin(db, below(r, 3) ? TWZDB_LAZY : 0, &tx)) {
		wrong("begin", 0, 0);
		return;
	}
	ts = twzdb_txn_ts(tx) + 1;
	pthread_mutex_lock(&lock);
	for (unsigned k = 0; k < 2 * KEYS; k++)
		now[k] = row_at(k, ts - 1);
	pthread_mutex_unlock(&lock);
	if (open_tables(tx, 0, &t))
		wrong("tables", ts, 0);
	change(tx, &t, r, now);
	if (below(r, 4) == 0)
		change_nested(tx, &t, r, now);
	enter_all(ts, now);
	if (below(r, 8) == 0) {
		pthread_mutex_lock(&lock);
		take_back(ts);
		pthread_mutex_unlock(&lock);
		twzdb_abort(tx);
		return;
	}
	if (twzdb_commit(tx))
		wrong("commit", ts, 0);
	commits++;
}

/* Writers of transactions share it; who writes by single calls, whose number it must know before, is alone. */
static pthread_rwlock_t turn = PTHREAD_RWLOCK_INITIALIZER;

static void one_call(const struct tables *t, struct rng *r)
{
	unsigned k = (unsigned)below(r, KEYS);
	uint64_t ts = twzdb_latest_ts(db) + 1, was, row = 0;
	bool del = below(r, 3) == 0;
	int err;

	if (!del)
		row = (below(r, 30) ? below(r, 100) : below(r, 3000)) << 32 |
		      (1 + below(r, 100000));
	pthread_mutex_lock(&lock);
	was = row_at(k, ts - 1);
	if (was || !del)
		enter(k, ts, row);
	pthread_mutex_unlock(&lock);
	err = del ? twzdb_del_one(db, t->rows, et_key(k))
		  : twzdb_put_one(db, t->rows, et_key(k), val(row),
				  was ? TWZDB_UPDATE : TWZDB_INSERT);
	if (err != (del && !was ? TWZDB_E_NOTFOUND : 0))
		wrong(del ? "del_one" : "put_one", k, was);
	commits += !err;
}

static void calls(struct rng *r)
{
	struct twzdb_txn *tx;
	struct tables t;

	pthread_rwlock_wrlock(&turn);
	if (twzdb_begin(db, TWZDB_RDONLY, &tx) || open_tables(tx, 0, &t))
		wrong("tables for single calls", 0, 0);
	twzdb_abort(tx);
	for (uint64_t n = below(r, 200); n-- && !stop;)
		one_call(&t, r);
	pthread_rwlock_unlock(&turn);
}

static void *writer(void *arg)
{
	uint64_t *now = malloc(2 * KEYS * sizeof(*now));
	struct rng r = {(uint64_t)(uintptr_t)arg};

	for (unsigned n = 1; !stop; n++) {
		if (below(&r, 30) == 0)
			calls(&r);
		pthread_rwlock_rdlock(&turn);
		write_once(&r, now);
		if (n % 500 == 0 && twzdb_checkpoint(db)) /* it may commit, too */
			wrong("checkpoint", n, 0);
		if (n % 700 == 300) {
			int err = twzdb_compact(db, NULL, NULL);

			if (err && err != TWZDB_E_BUSY) /* another writer is at it */
				wrong("compact", n, 0);
		}
		pthread_rwlock_unlock(&turn);
	}
	free(now);
	et_thread_end();
	return NULL;
}

/* --- */

static double seconds(void)
{
	const char *s = getenv("MODEL_SECONDS");

	return s ? atof(s) : 8;
}

static void start_threads(double s)
{
	pthread_t th[WRITERS + READERS];
	struct timespec nap = {(time_t)s, (long)((s - (double)(time_t)s) * 1e9)};

	stop = false;
	for (int i = 0; i < WRITERS + READERS; i++)
		pthread_create(&th[i], NULL, i < WRITERS ? writer : reader,
			       (void *)(uintptr_t)(t_rand() | 1));
	nanosleep(&nap, NULL);
	stop = true;
	for (int i = 0; i < WRITERS + READERS; i++)
		pthread_join(th[i], NULL);
}

static void run(enum et_media m)
{
	const char *path = et_path(m, "threads.twz");
	struct twzdb_txn *tx;
	struct tables t;
	int round = 0;

	T_REQ(et_open(path, &db));
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(open_tables(tx, TWZDB_TABLE_CREATE, &t));
	T_REQ(twzdb_commit(tx));
	commits = checks = bad = 0;
	do {
		start_threads(seconds() / 2);
		T_EQ(bad, 0);
		T_TRUE(et_clean(db));
		if (!bad && round == 0) { /* and again in a store opened anew */
			T_OK(twzdb_close(db));
			T_REQ(et_open(path, &db));
		}
	} while (!bad && (++round < 2 || (round < 50 && (commits < 100 || checks < 100))));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_REQ(open_tables(tx, 0, &t));
	stop = false;
	T_TRUE(check_scan(tx, &t, false, 0, UINT32_MAX) &&
	       check_scan(tx, &t, true, 0, UINT32_MAX) && check_count(tx, &t));
	twzdb_abort(tx);
	T_OK(twzdb_close(db));
	for (unsigned k = 0; k < 2 * KEYS; k++) {
		free(past[k].e);
		past[k] = (struct history){0};
	}
	printf(" %u commits, %u looks ", commits, checks);
}

static void readers_see_the_history_on_page_media(void)
{
	run(ET_PAGE);
}

static void readers_see_the_history_on_cache_line_media(void)
{
	run(ET_LINE);
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(readers_see_the_history_on_page_media),
		T_CASE(readers_see_the_history_on_cache_line_media),
		T_END,
	};

	t_err_name = twzdb_err_name;
	t_err_msg = twzdb_errmsg;
	return t_main("engine_threads", cases, argc, argv);
}
