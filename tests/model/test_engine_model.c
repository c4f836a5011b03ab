/* SPDX-License-Identifier: MIT
 * test_engine_model.c -- random operations on three tables against sorted arrays, with open snapshots
 *
 * Every key is a number below KEYS; its bytes, of very different lengths and with long common
 * prefixes, ascend with the number. The oracle holds a word per key: 0 = absent, else the seed
 * and length of the value. A snapshot keeps a copy.
 */
#include "../unit/engine_t.h"

#include <time.h>

#define TABLES 3
#define KEYS   3000
#define SNAPS  6

struct oracle {
	uint64_t row[TABLES][KEYS]; /* len << 32 | seed, seed != 0 */
	bool there[TABLES];
};

struct snap {
	struct twzdb_txn *tx;
	struct oracle o;
};

static struct twzdb *db;
static struct oracle now;
static struct snap snaps[SNAPS];
static const char *const table_name[TABLES] = {"alpha", "beta", "gamma"};

static struct twzdb_slice key_of(unsigned i)
{
	static char ring[8][600];
	static unsigned next;
	char *b = ring[next++ % 8];
	int n;

	if (i == 0)
		return (struct twzdb_slice){"", 0};
	if (i < 1000)
		n = sprintf(b, "a%04u", i);
	else if (i < 2000)
		n = sprintf(b, "common/prefix/of/many/keys/%03u/%.*s", i / 10 % 1000 + i / 1000,
			    (int)(i % 10), "zzzzzzzzzz");
	else
		n = sprintf(b, "long%0500u", i);
	/* Keys of the middle group end in 0 to 9 letters: a key may be a prefix of the next. */
	return (struct twzdb_slice){b, (size_t)n};
}

static struct twzdb_slice val_of(uint64_t row)
{
	return et_val(row & 0xffffffff, row >> 32);
}

static uint64_t random_row(void)
{
	uint64_t kind = t_rand_below(100), len = t_rand_below(120);

	if (kind > 90)
		len = t_rand_below(3000);
	if (kind == 99)
		len = 20000 + t_rand_below(150000);
	return len << 32 | (1 + t_rand_below(1000000));
}

static bool open_table(struct twzdb_txn *tx, const struct oracle *o, unsigned t,
		       struct twzdb_table *h)
{
	int err = twzdb_table_open(tx, table_name[t], 0, h);

	T_EQ(err, o->there[t] ? 0 : TWZDB_E_NOTFOUND);
	return !err;
}

/* --- verifying a transaction against an oracle --- */

static void verify_get(struct twzdb_txn *tx, struct twzdb_table h, const uint64_t *row, unsigned i)
{
	struct twzdb_slice v;
	int err = twzdb_get(tx, h, key_of(i), &v);

	if (T_EQ(err, row[i] ? 0 : TWZDB_E_NOTFOUND) && row[i])
		T_TRUE(et_same(v, val_of(row[i])));
}

static void verify_scan(struct twzdb_txn *tx, struct twzdb_table h, const uint64_t *row, bool back)
{
	struct twzdb_cursor *c;
	struct twzdb_slice k, v;
	uint64_t want = 0, got = 0, cnt;
	int err;

	T_REQ(twzdb_cursor_open(tx, h, &c));
	err = twzdb_cursor_get(c, back ? TWZDB_LAST : TWZDB_FIRST, &k, &v);
	for (unsigned j = 0; j < KEYS; j++) {
		unsigned i = back ? KEYS - 1 - j : j;

		if (!row[i])
			continue;
		want++;
		if (err || !et_same(k, key_of(i)) || !et_same(v, val_of(row[i]))) {
			T_OK(err);
			fprintf(stderr, "  %s scan: row %u missing or wrong\n",
				back ? "backward" : "forward", i);
			break;
		}
		got++;
		err = twzdb_cursor_get(c, back ? TWZDB_PREV : TWZDB_NEXT, &k, &v);
	}
	T_EQ(got, want);
	T_EQ(err, TWZDB_E_NOTFOUND);
	T_OK(twzdb_count(tx, h, &cnt));
	T_EQ(cnt, want);
	twzdb_cursor_close(c);
}

static void verify_seeks(struct twzdb_txn *tx, struct twzdb_table h, const uint64_t *row)
{
	struct twzdb_cursor *c;

	T_REQ(twzdb_cursor_open(tx, h, &c));
	for (int n = 0; n < 20; n++) {
		unsigned i = (unsigned)t_rand_below(KEYS), want = i;
		bool ge = t_rand() >> 63;
		struct twzdb_slice k = key_of(i), v;
		int err = twzdb_cursor_get(c, ge ? TWZDB_SEEK_GE : TWZDB_SEEK_LE, &k, &v);

		while (want < KEYS && !row[want])
			want += ge ? 1 : -1U;
		if (T_EQ(err, want < KEYS ? 0 : TWZDB_E_NOTFOUND) && !err)
			T_TRUE(et_same(k, key_of(want)) && et_same(v, val_of(row[want])));
	}
	twzdb_cursor_close(c);
}

static void verify_all(struct twzdb_txn *tx, const struct oracle *o)
{
	struct twzdb_table h;

	for (unsigned t = 0; t < TABLES; t++) {
		if (!open_table(tx, o, t, &h))
			continue;
		verify_scan(tx, h, o->row[t], false);
		verify_scan(tx, h, o->row[t], true);
		verify_seeks(tx, h, o->row[t]);
	}
}

static void verify_some(struct twzdb_txn *tx, const struct oracle *o)
{
	unsigned t = (unsigned)t_rand_below(TABLES);
	struct twzdb_table h;

	if (!open_table(tx, o, t, &h))
		return;
	for (int n = 0; n < 20; n++)
		verify_get(tx, h, o->row[t], (unsigned)t_rand_below(KEYS));
	if (t_rand_below(8) == 0)
		verify_scan(tx, h, o->row[t], t_rand() >> 63);
}

/* --- changing --- */

static void op_put(struct twzdb_txn *tx, struct twzdb_table h, uint64_t *row)
{
	unsigned i = (unsigned)t_rand_below(KEYS);
	uint64_t r = random_row();
	uint32_t flags = (uint32_t)t_rand_below(3);
	int want = flags == TWZDB_INSERT && row[i]    ? TWZDB_E_EXIST
		   : flags == TWZDB_UPDATE && !row[i] ? TWZDB_E_NOTFOUND
						      : 0;

	if (T_EQ(twzdb_put(tx, h, key_of(i), val_of(r), flags), want) && !want)
		row[i] = r;
}

static void op_del(struct twzdb_txn *tx, struct twzdb_table h, uint64_t *row)
{
	unsigned i = (unsigned)t_rand_below(KEYS);

	T_EQ(twzdb_del(tx, h, key_of(i)), row[i] ? 0 : TWZDB_E_NOTFOUND);
	row[i] = 0;
}

static void op_del_range(struct twzdb_txn *tx, struct twzdb_table h, uint64_t *row)
{
	unsigned a = (unsigned)t_rand_below(KEYS),
		 b = a + (unsigned)t_rand_below(t_rand_below(10) ? 60 : KEYS);
	struct twzdb_slice to = {NULL, 0};
	uint64_t cnt, want = 0;

	if (b < KEYS)
		to = key_of(b);
	T_OK(twzdb_del_range(tx, h, key_of(a), to, &cnt));
	for (unsigned i = a; i < b && i < KEYS; i++) {
		want += row[i] != 0;
		row[i] = 0;
	}
	T_EQ(cnt, want);
}

/* A run of neighbours, in order: appends and dense leaves. */
static void op_run(struct twzdb_txn *tx, struct twzdb_table h, uint64_t *row)
{
	unsigned a = (unsigned)t_rand_below(KEYS), n = (unsigned)t_rand_below(200);

	for (unsigned i = a; i < a + n && i < KEYS; i++) {
		uint64_t r = t_rand_below(60) << 32 | (1 + t_rand_below(1000000));

		if (!T_EQ(twzdb_put(tx, h, key_of(i), val_of(r), 0), 0))
			return;
		row[i] = r;
	}
}

/* Walk with a cursor and change what it stands on. */
static void op_cursor(struct twzdb_txn *tx, struct twzdb_table h, uint64_t *row)
{
	unsigned i = (unsigned)t_rand_below(KEYS);
	struct twzdb_slice k = key_of(i), v;
	struct twzdb_cursor *c;
	int err;

	T_REQ(twzdb_cursor_open(tx, h, &c));
	err = twzdb_cursor_get(c, TWZDB_SEEK_GE, &k, &v);
	for (int n = 0; n < 30; n++) {
		while (i < KEYS && !row[i])
			i++;
		if (!T_EQ(err, i < KEYS ? 0 : TWZDB_E_NOTFOUND) || err)
			break;
		T_TRUE(et_same(k, key_of(i)));
		if (t_rand_below(3) == 0) {
			T_OK(twzdb_cursor_del(c));
			row[i] = 0;
		} else if (t_rand_below(2)) {
			row[i] = random_row();
			T_OK(twzdb_cursor_put(c, val_of(row[i])));
		}
		i++;
		err = twzdb_cursor_get(c, TWZDB_NEXT, &k, &v);
	}
	twzdb_cursor_close(c);
}

static void op_table(struct twzdb_txn *tx, struct oracle *o, unsigned t)
{
	struct twzdb_table h;

	if (o->there[t]) {
		T_OK(twzdb_table_drop(tx, table_name[t]));
		memset(o->row[t], 0, sizeof(o->row[t]));
	} else {
		T_OK(twzdb_table_open(tx, table_name[t], TWZDB_TABLE_CREATE, &h));
	}
	o->there[t] = !o->there[t];
}

static void change(struct twzdb_txn *tx, struct oracle *o)
{
	uint64_t n = t_rand_below(t_rand_below(20) ? 12 : 300);

	while (n--) {
		unsigned t = (unsigned)t_rand_below(TABLES);
		uint64_t what = t_rand_below(200);
		struct twzdb_table h;

		if (!o->there[t] || what == 199) {
			op_table(tx, o, t);
			continue;
		}
		if (!open_table(tx, o, t, &h))
			return;
		if (what < 110)
			op_put(tx, h, o->row[t]);
		else if (what < 180)
			op_del(tx, h, o->row[t]);
		else if (what < 184)
			op_del_range(tx, h, o->row[t]);
		else if (what < 190)
			op_run(tx, h, o->row[t]);
		else
			op_cursor(tx, h, o->row[t]);
	}
}

static void step_write(void)
{
	static struct oracle mine;
	struct twzdb_txn *tx;
	uint64_t how = t_rand_below(10);

	T_REQ(twzdb_begin(db, how == 9 ? TWZDB_RDONLY : 0, &tx));
	if (how == 9)
		T_OK(twzdb_upgrade(tx));
	mine = now;
	change(tx, &mine);
	verify_some(tx, &mine);
	if (how == 0) {
		twzdb_abort(tx);
	} else if (how == 1) {
		T_OK(twzdb_downgrade(tx));
		verify_some(tx, &now);
		twzdb_abort(tx);
	} else if (how == 2) {
		T_OK(twzdb_commit_keep(tx));
		now = mine;
		verify_some(tx, &now);
		T_OK(twzdb_commit(tx));
	} else {
		T_OK(twzdb_commit(tx));
		now = mine;
	}
}

static void step_snap(void)
{
	struct snap *s = &snaps[t_rand_below(SNAPS)];

	if (!s->tx) {
		T_REQ(twzdb_begin(db, TWZDB_RDONLY, &s->tx));
		s->o = now;
	} else if (t_rand_below(3) == 0) {
		verify_all(s->tx, &s->o);
		twzdb_abort(s->tx);
		s->tx = NULL;
	} else if (t_rand_below(10) == 0) {
		T_OK(twzdb_renew(s->tx));
		s->o = now;
	} else {
		verify_some(s->tx, &s->o);
	}
}

static void end_snaps(void)
{
	for (int i = 0; i < SNAPS; i++) {
		if (snaps[i].tx)
			verify_all(snaps[i].tx, &snaps[i].o);
		twzdb_abort(snaps[i].tx);
		snaps[i].tx = NULL;
	}
}

static void reopen(const char *path)
{
	struct twzdb_txn *tx;

	end_snaps();
	T_OK(twzdb_close(db));
	T_REQ(et_open(path, &db));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	verify_all(tx, &now);
	twzdb_abort(tx);
}

static void run(enum et_media m, double seconds)
{
	const char *path = et_path(m, "model.twz");
	struct timespec t0, t;
	unsigned steps = 0;

	memset(&now, 0, sizeof(now));
	T_REQ(et_open(path, &db));
	clock_gettime(CLOCK_MONOTONIC, &t0);
	do {
		if (t_rand_below(2))
			step_write();
		else
			step_snap();
		if (++steps % 100 == 0 && !T_TRUE(et_clean(db)))
			break;
		if (steps % 400 == 0)
			reopen(path);
		if (steps % 150 == 0)
			T_OK(twzdb_checkpoint(db));
		clock_gettime(CLOCK_MONOTONIC, &t);
	} while ((double)(t.tv_sec - t0.tv_sec) + (double)(t.tv_nsec - t0.tv_nsec) * 1e-9 <
			 seconds &&
		 !CU_get_number_of_failure_records());
	end_snaps();
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
	printf(" %u steps ", steps);
}

static double seconds(void)
{
	const char *s = getenv("MODEL_SECONDS");

	return s ? atof(s) : 12;
}

static void tables_equal_arrays_on_page_media(void)
{
	run(ET_PAGE, seconds());
}

static void tables_equal_arrays_on_cache_line_media(void)
{
	run(ET_LINE, seconds());
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(tables_equal_arrays_on_page_media),
		T_CASE(tables_equal_arrays_on_cache_line_media),
		T_END,
	};

	return t_main("engine_model", cases, argc, argv);
}
