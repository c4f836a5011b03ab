/* SPDX-License-Identifier: MIT
 * test_engine_kinds.c -- tables of numbers, tables of sorted duplicates
 */
#include "engine_t.h"

#include "../../engine/src/internal.h"

#include <sys/mman.h>

static struct twzdb *db;
static struct twzdb_txn *tx;
static struct twzdb_table tab;
static struct twzdb_cursor *cur;

#define DUP    TWZDB_TABLE_DUPSORT
#define INTKEY TWZDB_TABLE_INTKEY

static struct twzdb_slice mem(const void *p, size_t len)
{
	return (struct twzdb_slice){p, len};
}

static struct twzdb_slice num(uint64_t n)
{
	static _Thread_local uint64_t ring[8];
	static _Thread_local unsigned next;

	ring[next % 8] = n;
	return mem(&ring[next++ % 8], sizeof(n));
}

static void start(const char *name, uint32_t kind)
{
	T_REQ(et_open(et_path(ET_LINE, name), &db));
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE | kind, &tab));
	T_REQ(twzdb_cursor_open(tx, tab, &cur));
}

static void again(void)
{
	twzdb_cursor_close(cur);
	T_REQ(twzdb_commit(tx));
	T_TRUE(et_clean(db));
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_cursor_open(tx, tab, &cur)); /* the handle outlives its transaction */
}

static void stop(void)
{
	twzdb_cursor_close(cur);
	T_OK(twzdb_commit(tx));
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

/* The cursor is at KEY, VALUE; or, KEY NULL, the move fails with NOTFOUND. */
static void go(enum twzdb_seek op, const char *key, const char *value)
{
	struct twzdb_slice k = mem(NULL, 0), v = k;
	int err = twzdb_cursor_get(cur, op, &k, &v);

	if (T_EQ(err, key ? 0 : TWZDB_E_NOTFOUND) && key)
		T_TRUE(et_same(k, et_str(key)) && et_same(v, et_str(value)));
}

static void go_to(enum twzdb_seek op, const char *key, const char *value, const char *want_key,
		  const char *want_value)
{
	struct twzdb_slice k = et_str(key), v = et_str(value ? value : "");
	int err = twzdb_cursor_get(cur, op, &k, &v);

	if (T_EQ(err, want_key ? 0 : TWZDB_E_NOTFOUND) && want_key)
		T_TRUE(et_same(k, et_str(want_key)) && et_same(v, et_str(want_value)));
}

static void put(const char *key, const char *value)
{
	T_OK(twzdb_put(tx, tab, et_str(key), et_str(value), 0));
}

static uint64_t rows(void)
{
	uint64_t cnt = 0;

	T_OK(twzdb_count(tx, tab, &cnt));
	return cnt;
}

/* --- numbers --- */

static void numbers_go_in_and_come_out_native(void)
{
	static const uint64_t in[] = {7, 0, UINT64_MAX, 256, 255, 1ULL << 32, UINT32_MAX};
	static const uint64_t sorted[] = {0, 7, 255, 256, UINT32_MAX, 1ULL << 32, UINT64_MAX};
	struct twzdb_slice k, v;
	uint32_t small = 255;

	start("numbers.twz", INTKEY);
	for (int i = 0; i < 7; i++)
		T_OK(twzdb_put(tx, tab, num(in[i]), et_str("v"), TWZDB_INSERT));
	T_ERR(twzdb_put(tx, tab, mem(&small, 4), et_str("v"), TWZDB_INSERT), TWZDB_E_EXIST);
	T_OK(twzdb_put(tx, tab, mem(&small, 4), et_str("four bytes"), TWZDB_UPDATE));
	T_OK(twzdb_get(tx, tab, num(255), &v));
	T_TRUE(et_same(v, et_str("four bytes")));
	again();
	for (int i = 0; i < 7; i++) {
		T_OK(twzdb_cursor_get(cur, i ? TWZDB_NEXT : TWZDB_FIRST, &k, &v));
		T_TRUE(et_same(k, num(sorted[i])));
	}
	T_ERR(twzdb_cursor_get(cur, TWZDB_NEXT, &k, &v), TWZDB_E_NOTFOUND);
	k = num(257);
	T_OK(twzdb_cursor_get(cur, TWZDB_SEEK_GE, &k, &v));
	T_TRUE(et_same(k, num(UINT32_MAX)));
	k = num(257);
	T_OK(twzdb_cursor_get(cur, TWZDB_SEEK_LE, &k, &v));
	T_TRUE(et_same(k, num(256)));
	T_OK(twzdb_cursor_put(cur, et_str("by cursor")));
	T_OK(twzdb_get(tx, tab, num(256), &v));
	T_TRUE(et_same(v, et_str("by cursor")));
	T_OK(twzdb_cursor_del(cur));
	T_ERR(twzdb_get(tx, tab, num(256), &v), TWZDB_E_NOTFOUND);
	T_OK(twzdb_cursor_get(cur, TWZDB_NEXT, &k, NULL));
	T_TRUE(et_same(k, num(UINT32_MAX)));
	T_ERR(twzdb_del(tx, tab, num(1)), TWZDB_E_NOTFOUND);
	T_OK(twzdb_del(tx, tab, num(UINT64_MAX)));
	T_EQ(rows(), 5);
	stop();
}

static void a_key_that_is_no_number_is_an_error(void)
{
	struct twzdb_slice v, k;

	start("nonumber.twz", INTKEY);
	T_ERR(twzdb_put(tx, tab, et_str("abc"), et_str("v"), 0), TWZDB_E_INVAL);
	T_HAS(twzdb_errmsg(), "native");
	T_ERR(twzdb_put(tx, tab, mem(NULL, 0), et_str("v"), 0), TWZDB_E_INVAL);
	T_ERR(twzdb_get(tx, tab, et_str("12345"), &v), TWZDB_E_INVAL);
	T_ERR(twzdb_del(tx, tab, et_str("1")), TWZDB_E_INVAL);
	k = et_str("123456789");
	T_ERR(twzdb_cursor_get(cur, TWZDB_SEEK, &k, &v), TWZDB_E_INVAL);
	T_ERR(twzdb_cursor_get(cur, TWZDB_NEXT_DUP, &k, &v), TWZDB_E_KIND);
	T_ERR(twzdb_put(tx, tab, num(1), et_str("v"), TWZDB_NODUP), TWZDB_E_KIND);
	stop();
}

static void ranges_of_numbers_are_of_numbers(void)
{
	uint64_t cnt, est;

	start("numrange.twz", INTKEY);
	for (uint64_t i = 0; i < 1000; i++)
		T_OK(twzdb_put(tx, tab, num(i * 3), et_str("v"), TWZDB_APPEND));
	T_ERR(twzdb_put(tx, tab, num(2997), et_str("v"), TWZDB_APPEND), TWZDB_E_ORDER);
	T_OK(twzdb_estimate(tx, tab, num(300), num(1500), &est));
	T_TRUE(est > 200 && est < 800);
	T_OK(twzdb_del_range(tx, tab, num(300), num(600), &cnt));
	T_EQ(cnt, 100);
	T_OK(twzdb_del_range(tx, tab, mem(NULL, 0), num(3), &cnt));
	T_EQ(cnt, 1);
	T_OK(twzdb_del_range(tx, tab, num(2990), mem(NULL, 0), &cnt));
	T_EQ(cnt, 3);
	T_EQ(rows(), 896);
	stop();
}

/* --- sorted duplicates --- */

static void put_colours(void)
{
	put("fruit", "pear");
	put("fruit", "apple");
	put("fruit", "fig");
	put("colour", "red");
	put("colour", "blue");
	put("zoo", "");
}

static void pairs_are_kept_once_and_sorted(void)
{
	struct twzdb_slice v;

	start("pairs.twz", DUP);
	put_colours();
	put("fruit", "fig"); /* no error, no second one */
	T_ERR(twzdb_put(tx, tab, et_str("fruit"), et_str("fig"), TWZDB_NODUP), TWZDB_E_EXIST);
	T_OK(twzdb_put(tx, tab, et_str("fruit"), et_str("plum"), TWZDB_NODUP));
	T_ERR(twzdb_put(tx, tab, et_str("zoo"), et_str("x"), TWZDB_INSERT), TWZDB_E_EXIST);
	T_ERR(twzdb_put(tx, tab, et_str("zo"), et_str("x"), TWZDB_UPDATE), TWZDB_E_NOTFOUND);
	T_OK(twzdb_put(tx, tab, et_str("zoo"), et_str("ape"), TWZDB_UPDATE));
	T_EQ(rows(), 8);
	T_OK(twzdb_get(tx, tab, et_str("fruit"), &v));
	T_TRUE(et_same(v, et_str("apple"))); /* the first */
	T_OK(twzdb_get(tx, tab, et_str("zoo"), &v));
	T_EQ(v.len, 0);
	T_ERR(twzdb_get(tx, tab, et_str("frui"), &v), TWZDB_E_NOTFOUND);
	again();
	go(TWZDB_FIRST, "colour", "blue");
	go(TWZDB_NEXT, "colour", "red");
	go(TWZDB_NEXT, "fruit", "apple");
	go(TWZDB_NEXT, "fruit", "fig");
	go(TWZDB_NEXT, "fruit", "pear");
	go(TWZDB_NEXT, "fruit", "plum");
	go(TWZDB_NEXT, "zoo", "");
	go(TWZDB_NEXT, "zoo", "ape");
	go(TWZDB_NEXT, NULL, NULL);
	go(TWZDB_LAST, "zoo", "ape");
	go(TWZDB_PREV, "zoo", "");
	stop();
}

static void a_cursor_walks_within_and_between_keys(void)
{
	uint64_t cnt;

	start("dupcursor.twz", DUP);
	put_colours();
	go(TWZDB_NEXT_DUP, NULL, NULL); /* nowhere yet */
	go_to(TWZDB_SEEK, "fruit", NULL, "fruit", "apple");
	T_OK(twzdb_cursor_count(cur, &cnt));
	T_EQ(cnt, 3);
	go(TWZDB_PREV_DUP, NULL, NULL);
	go(TWZDB_CURRENT, "fruit", "apple"); /* stays */
	go(TWZDB_NEXT_DUP, "fruit", "fig");
	go(TWZDB_LAST_DUP, "fruit", "pear");
	go(TWZDB_NEXT_DUP, NULL, NULL);
	go(TWZDB_CURRENT, "fruit", "pear");
	go(TWZDB_PREV_DUP, "fruit", "fig");
	go(TWZDB_FIRST_DUP, "fruit", "apple");
	go(TWZDB_NEXT_NODUP, "zoo", "");
	go(TWZDB_NEXT_NODUP, NULL, NULL);
	go(TWZDB_PREV, "zoo", ""); /* was past the end */
	go(TWZDB_PREV_NODUP, "fruit", "pear");
	go(TWZDB_PREV_NODUP, "colour", "red");
	go(TWZDB_PREV_NODUP, NULL, NULL);
	go(TWZDB_NEXT, "colour", "blue");
	go_to(TWZDB_SEEK_GE, "d", NULL, "fruit", "apple");
	go_to(TWZDB_SEEK_LE, "fruit", NULL, "fruit", "pear");
	go_to(TWZDB_SEEK_LE, "g", NULL, "fruit", "pear");
	go_to(TWZDB_SEEK_LE, "a", NULL, NULL, NULL);
	go_to(TWZDB_SEEK, "f", NULL, NULL, NULL);
	go_to(TWZDB_SEEK_BOTH, "fruit", "fig", "fruit", "fig");
	go_to(TWZDB_SEEK_BOTH, "fruit", "figs", NULL, NULL);
	go_to(TWZDB_SEEK_BOTH_GE, "fruit", "b", "fruit", "fig");
	go_to(TWZDB_SEEK_BOTH_GE, "fruit", "q", NULL, NULL);
	T_ERR(twzdb_cursor_count(cur, &cnt), TWZDB_E_STATE);
	stop();
}

static void pairs_are_deleted_and_replaced(void)
{
	uint64_t cnt;

	start("dupdel.twz", DUP);
	put_colours();
	T_ERR(twzdb_del_if(tx, tab, et_str("fruit"), et_str("kiwi")), TWZDB_E_NOTFOUND);
	T_OK(twzdb_del_if(tx, tab, et_str("fruit"), et_str("fig")));
	T_EQ(rows(), 5);
	go_to(TWZDB_SEEK_BOTH, "fruit", "apple", "fruit", "apple");
	T_OK(twzdb_cursor_put(cur, et_str("quince")));
	go(TWZDB_CURRENT, "fruit", "quince");
	go(TWZDB_PREV_DUP, "fruit", "pear");
	T_OK(twzdb_cursor_put(cur, et_str("pear")));   /* itself */
	T_OK(twzdb_cursor_put(cur, et_str("quince"))); /* one there already: now one less */
	T_EQ(rows(), 4);
	go(TWZDB_CURRENT, "fruit", "quince");
	T_OK(twzdb_cursor_del(cur));
	T_ERR(twzdb_cursor_put(cur, et_str("x")), TWZDB_E_NOTFOUND);
	T_ERR(twzdb_cursor_del(cur), TWZDB_E_NOTFOUND);
	T_ERR(twzdb_del(tx, tab, et_str("fruit")), TWZDB_E_NOTFOUND);
	T_OK(twzdb_del(tx, tab, et_str("colour")));
	T_EQ(rows(), 1);
	put_colours();
	T_OK(twzdb_del_range(tx, tab, et_str("colour"), et_str("fruit"), &cnt));
	T_EQ(cnt, 2);
	T_OK(twzdb_del_range(tx, tab, et_str("d"), et_str("fruit1"), &cnt));
	T_EQ(cnt, 3);
	T_ERR(twzdb_put_if(tx, tab, et_str("zoo"), NULL, et_str("x")), TWZDB_E_KIND);
	stop();
}

static void lengths_have_a_limit_together(void)
{
	uint8_t *big = mmap(NULL, TWZDB_KEY_MAX, PROT_READ,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct twzdb_slice k = {big, 1000}, v = {big + 1, TWZDB_KEY_MAX - 2001};

	T_TRUE(big != MAP_FAILED);
	start("duplimit.twz", DUP);
	T_ERR(twzdb_put(tx, tab, k, v, 0), TWZDB_E_TOOBIG); /* 2 * 1000 + 2 + the value */
	k.len = TWZDB_KEY_MAX / 2;			    /* each byte takes two */
	T_ERR(twzdb_put(tx, tab, k, mem(NULL, 0), 0), TWZDB_E_TOOBIG);
	v.len = 5;
	for (k.len = 505; k.len < 520; k.len++) /* a short key, then a long one */
		T_OK(twzdb_put(tx, tab, k, v, 0));
	k.len = 3000;
	T_OK(twzdb_put(tx, tab, k, v, 0));
	T_ERR(twzdb_put(tx, tab, mem(NULL, 5), v, 0), TWZDB_E_INVAL);
	T_ERR(twzdb_put(tx, tab, et_str("k"), mem(NULL, 5), 0), TWZDB_E_INVAL);
	go_to(TWZDB_SEEK_GE, "y", NULL, NULL, NULL);
	k = mem("x", 1);
	T_ERR(twzdb_cursor_get(cur, TWZDB_SEEK_BOTH, &k, NULL), TWZDB_E_INVAL);
	k = mem(big, 0);
	T_OK(twzdb_cursor_get(cur, TWZDB_SEEK_GE, &k, &v));
	for (size_t len = 505; len < 520; len++) {
		T_EQ(k.len, len); /* decoded again */
		T_EQ(v.len, 5);
		T_TRUE(!((const uint8_t *)k.ptr)[len - 1]);
		T_OK(twzdb_cursor_get(cur, TWZDB_NEXT_NODUP, &k, &v));
	}
	T_EQ(k.len, 3000);
	T_ERR(twzdb_cursor_put(cur, (struct twzdb_slice){big, TWZDB_KEY_MAX - 6001}),
	      TWZDB_E_TOOBIG);
	T_OK(twzdb_cursor_put(cur, (struct twzdb_slice){big, 70000}));
	T_OK(twzdb_cursor_get(cur, TWZDB_CURRENT, &k, &v));
	T_TRUE(k.len == 3000 && v.len == 70000);
	T_OK(twzdb_cursor_get(cur, TWZDB_PREV_NODUP, &k, &v));
	T_EQ(k.len, 519);
	T_OK(twzdb_del(tx, tab, (struct twzdb_slice){big, 3000}));
	T_ERR(twzdb_cursor_get(cur, TWZDB_NEXT, &k, &v), TWZDB_E_NOTFOUND);
	stop();
	munmap(big, TWZDB_KEY_MAX);
}

/* --- random pairs against a sorted array --- */

#define NKEYS 40
#define NVALS 30

static bool there[NKEYS][NVALS];

/* Keys and values with zeros and 255 where it hurts, ascending with their numbers. */
static struct twzdb_slice part(unsigned i, uint8_t *buf)
{
	static const uint8_t digit[] = {0, 1, 254, 255};
	size_t n = 0;

	/* base-4 digits after a marker: "" < "0" < "00" < "01" ... by depth-first numbering */
	for (unsigned base = 21, rest = i; rest; base /= 4) {
		rest--;
		buf[n++] = digit[rest / base % 4];
		rest %= base;
	}
	return mem(buf, n);
}

static struct twzdb_slice key_part(uint32_t kind, unsigned i, uint8_t *buf)
{
	uint64_t n = i < NKEYS / 2 ? i : UINT64_MAX - (NKEYS - 1 - i);

	if (!(kind & INTKEY))
		return part(i, buf);
	memcpy(buf, &n, sizeof(n));
	return mem(buf, sizeof(n));
}

static void random_change(uint32_t kind)
{
	uint8_t a[16], b[16];
	unsigned k = (unsigned)t_rand_below(NKEYS), v = (unsigned)t_rand_below(NVALS), any = 0;
	struct twzdb_slice key = key_part(kind, k, a), value = part(v, b);

	for (unsigned i = 0; i < NVALS; i++)
		any += there[k][i];
	switch (t_rand_below(8)) {
	case 0:
		T_EQ(twzdb_del(tx, tab, key), any ? 0 : TWZDB_E_NOTFOUND);
		memset(there[k], 0, sizeof(there[k]));
		break;
	case 1:
	case 2:
		T_EQ(twzdb_del_if(tx, tab, key, value), there[k][v] ? 0 : TWZDB_E_NOTFOUND);
		there[k][v] = false;
		break;
	default:
		T_EQ(twzdb_put(tx, tab, key, value, TWZDB_NODUP), there[k][v] ? TWZDB_E_EXIST : 0);
		there[k][v] = true;
	}
}

/* Next pair of the array from (K, V) on (STEP 1) or back (-1); false: none. */
static bool step(int *k, int *v, int by)
{
	for (*v += by;; *v += by) {
		if (*v < 0 || *v >= NVALS) {
			*k += by;
			*v = by > 0 ? 0 : NVALS - 1;
		}
		if (*k < 0 || *k >= NKEYS)
			return false;
		if (there[*k][*v])
			return true;
	}
}

static void check_place(uint32_t kind, enum twzdb_seek op, int k, int v, bool exists)
{
	struct twzdb_slice key = mem(NULL, 0), value = key;
	uint8_t a[16], b[16];
	int err = twzdb_cursor_get(cur, op, &key, &value);

	if (!T_EQ(err, exists ? 0 : TWZDB_E_NOTFOUND) || err)
		return;
	T_TRUE(et_same(key, key_part(kind, (unsigned)k, a)));
	T_TRUE(et_same(value, part((unsigned)v, b)));
}

static void random_walk(uint32_t kind)
{
	uint8_t a[16];
	int k = (int)t_rand_below(NKEYS), v = -1, start_k = k;
	struct twzdb_slice key = key_part(kind, (unsigned)k, a), value;
	bool ok = step(&k, &v, 1);
	int err = twzdb_cursor_get(cur, TWZDB_SEEK_GE, &key, &value);

	T_EQ(err, ok ? 0 : TWZDB_E_NOTFOUND);
	if (!ok || err)
		return;
	key = key_part(kind, (unsigned)start_k, a);
	T_EQ(twzdb_cursor_get(cur, TWZDB_SEEK, &key, &value), k == start_k ? 0 : TWZDB_E_NOTFOUND);
	key = key_part(kind, (unsigned)start_k, a);
	T_OK(twzdb_cursor_get(cur, TWZDB_SEEK_GE, &key, &value));
	for (int n = 0; n < 30; n++) {
		static const enum twzdb_seek ops[] = {
			TWZDB_NEXT,	 TWZDB_PREV,	 TWZDB_NEXT_DUP,   TWZDB_PREV_DUP,
			TWZDB_FIRST_DUP, TWZDB_LAST_DUP, TWZDB_NEXT_NODUP, TWZDB_PREV_NODUP};
		enum twzdb_seek op = ops[t_rand_below(8)];
		int nk = k, nv = v;

		if (op == TWZDB_FIRST_DUP || op == TWZDB_PREV_NODUP)
			nv = op == TWZDB_FIRST_DUP ? -1 : 0;
		if (op == TWZDB_LAST_DUP || op == TWZDB_NEXT_NODUP)
			nv = op == TWZDB_LAST_DUP ? NVALS : NVALS - 1;
		ok = step(&nk, &nv,
			  op == TWZDB_NEXT || op == TWZDB_NEXT_DUP || op == TWZDB_FIRST_DUP ||
					  op == TWZDB_NEXT_NODUP
				  ? 1
				  : -1);
		if (op == TWZDB_PREV_NODUP) { /* below value 0 of this key */
			nk = k;
			nv = 0;
			ok = step(&nk, &nv, -1);
		}
		if (op >= TWZDB_FIRST_DUP && op <= TWZDB_PREV_DUP && nk != k)
			ok = false;
		check_place(kind, op, nk, nv, ok);
		if (ok) {
			k = nk;
			v = nv;
		} else if (op < TWZDB_FIRST_DUP || op > TWZDB_PREV_DUP) {
			return; /* past an end */
		}
	}
}

static void pairs_equal_an_array(uint32_t kind, const char *name)
{
	uint64_t cnt, want = 0;

	memset(there, 0, sizeof(there));
	start(name, kind);
	for (int round = 0; round < 60 && !CU_get_number_of_failure_records(); round++) {
		for (int i = 0; i < 60; i++)
			random_change(kind);
		for (int i = 0; i < 20; i++)
			random_walk(kind);
		if (round % 10 == 0)
			again();
	}
	for (int k = 0; k < NKEYS; k++)
		for (int v = 0; v < NVALS; v++)
			want += there[k][v];
	T_OK(twzdb_count(tx, tab, &cnt));
	T_EQ(cnt, want);
	stop();
}

static void random_pairs_equal_an_array(void)
{
	pairs_equal_an_array(DUP, "model1.twz");
}

static void random_pairs_of_numbers_equal_an_array(void)
{
	pairs_equal_an_array(DUP | INTKEY, "model2.twz");
}

/* --- damage --- */

static void count_findings(void *ctx, const char *where, const char *what)
{
	(void)where;
	if (!strncmp(what, "I21", 3))
		++*(unsigned *)ctx;
}

/* Keys behind the back of the kind, as damage would make them. */
static void keys_of_no_kind_are_found(uint32_t kind, const char *name)
{
	static const struct bkey keys[] = {{(const uint8_t *)"plain", 5},
					   {(const uint8_t *)"a\0\1", 3},
					   {(const uint8_t *)"a\0", 2},
					   {(const uint8_t *)"", 0}};
	struct twzdb_slice k, v;
	unsigned found = 0;
	uint64_t cnt;

	start(name, kind);
	for (int i = 0; i < 4; i++)
		T_OK(twzdb__put(tx, tab.h, keys[i], NULL, 0, 0));
	T_ERR(twzdb_cursor_get(cur, TWZDB_FIRST, &k, &v), TWZDB_E_CORRUPT);
	T_ERR(twzdb_cursor_get(cur, TWZDB_LAST, &k, &v), TWZDB_E_CORRUPT);
	T_HAS(twzdb_errmsg(), "kind");
	twzdb_cursor_close(cur);
	T_REQ(twzdb_commit(tx));
	T_OK(twzdb_check(db, count_findings, &found, &cnt));
	T_EQ(found, 4);
	T_EQ(cnt, 4);
	T_OK(twzdb_close(db));
}

static void keys_that_are_no_pairs_are_found(void)
{
	keys_of_no_kind_are_found(DUP, "damage1.twz");
}

static void keys_that_are_no_numbers_are_found(void)
{
	keys_of_no_kind_are_found(INTKEY, "damage2.twz");
}

/* --- the kind of a table --- */

static void a_table_keeps_its_kind(void)
{
	uint32_t kind = 99;

	start("kind.twz", DUP | INTKEY);
	T_OK(twzdb_table_kind(tx, tab, &kind));
	T_EQ(kind, DUP | INTKEY);
	T_ERR(twzdb_table_open(tx, "t", 0, &tab), TWZDB_E_KIND);
	T_ERR(twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE | DUP, &tab), TWZDB_E_KIND);
	T_TRUE(!tab.h);
	T_OK(twzdb_table_open(tx, "t", TWZDB_TABLE_ANY, &tab));
	T_ERR(twzdb_table_kind(tx, tab, NULL), TWZDB_E_INVAL);
	T_OK(twzdb_table_open(tx, "new", TWZDB_TABLE_ANY | TWZDB_TABLE_CREATE | DUP, &tab));
	T_OK(twzdb_table_kind(tx, tab, &kind));
	T_EQ(kind, DUP);
	again();
	T_ERR(twzdb_table_open(tx, "new", INTKEY, &tab), TWZDB_E_KIND);
	T_OK(twzdb_table_open(tx, "new", DUP, &tab));
	stop();
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(numbers_go_in_and_come_out_native),
		T_CASE(a_key_that_is_no_number_is_an_error),
		T_CASE(ranges_of_numbers_are_of_numbers),
		T_CASE(pairs_are_kept_once_and_sorted),
		T_CASE(a_cursor_walks_within_and_between_keys),
		T_CASE(pairs_are_deleted_and_replaced),
		T_CASE(lengths_have_a_limit_together),
		T_CASE(random_pairs_equal_an_array),
		T_CASE(random_pairs_of_numbers_equal_an_array),
		T_CASE(keys_that_are_no_pairs_are_found),
		T_CASE(keys_that_are_no_numbers_are_found),
		T_CASE(a_table_keeps_its_kind),
		T_END,
	};

	t_err_name = twzdb_err_name;
	t_err_msg = twzdb_errmsg;
	return t_main("engine_kinds", cases, argc, argv);
}
