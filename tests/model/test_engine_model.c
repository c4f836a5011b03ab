/* SPDX-License-Identifier: MIT
 * test_engine_model.c -- random operations on tables of all kinds against arrays, with open snapshots
 *
 * Every key is a number below KEYS; its bytes, of very different lengths and with long common
 * prefixes, ascend with the number. The oracle holds a word per key: 0 = absent, else the seed
 * and length of the value; of the table of numbers likewise; of the table of sorted duplicates it
 * holds which pairs there are. A snapshot keeps a copy, and so does every savepoint.
 */
#include "../unit/engine_t.h"

#include <time.h>

#define TABLES 3
#define KEYS   3000
#define SNAPS  6
#define NUMS   600 /* keys of the table of numbers */
#define DKEYS  50  /* keys and values of the table of sorted duplicates */
#define DVALS  40
#define LEVELS 3 /* savepoints */

struct oracle {
	uint64_t row[TABLES][KEYS]; /* len << 32 | seed, seed != 0 */
	bool there[TABLES];
	uint64_t num[NUMS];
	bool pair[DKEYS][DVALS];
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
	static char ring[8][41000];
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
	else if (i < 2970)
		n = sprintf(b, "long%0500u", i);
	else if (i < 2990) /* beyond what is stored the short way */
		n = sprintf(b, "m%01023u", i) + (int)(i % 3);
	else /* long common prefixes, and a unit each */
		n = sprintf(b, "n%040000u", i);
	for (int z = 1024; z < n && i < 2990; z++)
		b[z] = 0;
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

/* --- the table of numbers, the table of sorted duplicates --- */

#define NUM_STEP 0x123456789abULL /* between numbers: all bytes of a key count */

static struct twzdb_slice num_of(unsigned i)
{
	static uint64_t ring[8];
	static unsigned next;

	ring[next % 8] = i * NUM_STEP;
	return (struct twzdb_slice){&ring[next++ % 8], sizeof(ring[0])};
}

/* Part I of a pair: a few bytes, among them 0 and 255, ascending with I. */
static struct twzdb_slice part_of(unsigned i)
{
	static uint8_t ring[8][4];
	static unsigned next;
	uint8_t *b = ring[next++ % 8];
	size_t n = 0;

	if (i == 0)
		return (struct twzdb_slice){"", 0};
	b[n++] = (uint8_t)((i - 1) / 4 * 5);
	for (unsigned k = (i - 1) % 4; k; k--) /* x, x 0, x 0 0, x 255 0 0 */
		b[n++] = k == 3 ? 255 : 0;
	return (struct twzdb_slice){b, n};
}

static bool open_kind(struct twzdb_txn *tx, bool pairs, struct twzdb_table *h)
{
	return T_EQ(twzdb_table_open(tx, pairs ? "pairs" : "numbers",
				     pairs ? TWZDB_TABLE_DUPSORT : TWZDB_TABLE_INTKEY, h),
		    0);
}

static void verify_numbers(struct twzdb_txn *tx, const struct oracle *o)
{
	unsigned i = (unsigned)t_rand_below(NUMS);
	struct twzdb_cursor *c;
	struct twzdb_slice k, v;
	struct twzdb_table h;
	int err;

	if (!open_kind(tx, false, &h))
		return;
	T_REQ(twzdb_cursor_open(tx, h, &c));
	k = num_of(i);
	err = twzdb_cursor_get(c, TWZDB_SEEK_GE, &k, &v);
	for (int n = 0; n < 50; n++, i++) {
		while (i < NUMS && !o->num[i])
			i++;
		if (!T_EQ(err, i < NUMS ? 0 : TWZDB_E_NOTFOUND) || err)
			break;
		T_TRUE(et_same(k, num_of(i)) && et_same(v, val_of(o->num[i])));
		err = twzdb_cursor_get(c, TWZDB_NEXT, &k, &v);
	}
	twzdb_cursor_close(c);
}

static unsigned dups_of(const struct oracle *o, unsigned key, unsigned *first)
{
	unsigned n = 0;

	for (unsigned v = DVALS; v-- > 0;)
		if (o->pair[key][v]) {
			*first = v;
			n++;
		}
	return n;
}

/* All pairs from a random key on; of each key also how many, and the first by get. */
static void verify_pairs(struct twzdb_txn *tx, const struct oracle *o)
{
	unsigned key = (unsigned)t_rand_below(DKEYS), first = 0;
	struct twzdb_cursor *c;
	struct twzdb_slice k, v;
	struct twzdb_table h;
	uint64_t cnt;
	int err;

	if (!open_kind(tx, true, &h))
		return;
	T_REQ(twzdb_cursor_open(tx, h, &c));
	k = part_of(key);
	err = twzdb_cursor_get(c, TWZDB_SEEK_GE, &k, &v);
	for (unsigned n = 0; n < 8 && key < DKEYS; key++, n++) {
		unsigned dups = dups_of(o, key, &first);

		T_EQ(twzdb_get(tx, h, part_of(key), &v), dups ? 0 : TWZDB_E_NOTFOUND);
		if (!dups)
			continue;
		T_TRUE(et_same(v, part_of(first)));
		T_OK(err);
		T_OK(twzdb_cursor_count(c, &cnt));
		T_EQ(cnt, dups);
		for (unsigned i = first; i < DVALS; i++) {
			if (!o->pair[key][i])
				continue;
			T_OK(twzdb_cursor_get(c, TWZDB_CURRENT, &k, &v));
			T_TRUE(et_same(k, part_of(key)) && et_same(v, part_of(i)));
			err = twzdb_cursor_get(c, TWZDB_NEXT_DUP, &k, &v);
			T_EQ(err, --dups ? 0 : TWZDB_E_NOTFOUND);
		}
		err = twzdb_cursor_get(c, TWZDB_NEXT_NODUP, &k, &v);
	}
	twzdb_cursor_close(c);
}

static void verify_all(struct twzdb_txn *tx, const struct oracle *o)
{
	struct twzdb_table h;

	verify_numbers(tx, o);
	verify_pairs(tx, o);
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

	if (t_rand_below(3) == 0)
		verify_pairs(tx, o);
	if (t_rand_below(3) == 0)
		verify_numbers(tx, o);
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

/* Compare-and-put, compare-and-delete: half of the time with the right expectation. */
static void op_if(struct twzdb_txn *tx, struct twzdb_table h, uint64_t *row)
{
	unsigned i = (unsigned)t_rand_below(KEYS);
	bool right = t_rand_below(2), del = t_rand_below(2);
	/* a wrong guess is long enough to be no value by chance */
	uint64_t r = random_row(), guess = right ? row[i] : random_row() | (uint64_t)16 << 32;
	struct twzdb_slice want = val_of(guess);
	/* empty values are equal whatever their seed */
	bool same = !guess == !row[i] && (!guess || et_same(want, val_of(row[i])));
	int err;

	if (del && guess) {
		err = twzdb_del_if(tx, h, key_of(i), want);
		if (!T_EQ(err, !row[i] ? TWZDB_E_NOTFOUND : same ? 0 : TWZDB_E_MISMATCH))
			return;
		row[i] = err ? row[i] : 0;
	} else {
		err = twzdb_put_if(tx, h, key_of(i), guess ? &want : NULL, val_of(r));
		if (T_EQ(err, same ? 0 : TWZDB_E_MISMATCH) && !err)
			row[i] = r;
	}
}

/* Rows in order by one call, often behind the last one. */
static void op_many(struct twzdb_txn *tx, struct twzdb_table h, uint64_t *row)
{
	static char key[80][600], value[80][3000];
	struct twzdb_slice keys[80], values[80];
	unsigned i = t_rand_below(2) ? (unsigned)t_rand_below(KEYS) : 0, n = 0, at[80];
	uint64_t r[80];
	size_t done = 0;

	for (unsigned last = KEYS; !i && last; last--)
		i = row[last - 1] ? last : 0;
	for (; n < 80 && i < 2970; n++, i += 1 + (unsigned)t_rand_below(2)) {
		keys[n] = key_of(i);
		r[n] = (uint64_t)t_rand_below(n % 20 ? 60 : 3000) << 32 | (1 + t_rand_below(9999));
		values[n] = val_of(r[n]);
		keys[n].ptr = memcpy(key[n], keys[n].ptr, keys[n].len);
		values[n].ptr = memcpy(value[n], values[n].ptr, values[n].len);
		at[n] = i;
	}
	T_OK(twzdb_put_many(tx, h, n, keys, values, 0, &done));
	T_EQ(done, n);
	for (unsigned k = 0; k < done; k++)
		row[at[k]] = r[k];
}

static void op_append(struct twzdb_txn *tx, struct twzdb_table h, uint64_t *row)
{
	unsigned last = KEYS, i;

	while (last && !row[last - 1])
		last--;
	i = t_rand_below(4) ? last : (unsigned)t_rand_below(KEYS);
	for (int n = 0; n < 40 && i < KEYS; n++, i += 1 + (unsigned)t_rand_below(3)) {
		uint64_t r = random_row();
		int err = twzdb_put(tx, h, key_of(i), val_of(r), TWZDB_APPEND);

		if (!T_EQ(err, i >= last ? 0 : TWZDB_E_ORDER) || err)
			return;
		row[i] = r;
		last = i + 1;
	}
}

/* An estimate is one: but nothing is nothing, and no table has more entries than keys. */
static void op_estimate(struct twzdb_txn *tx, struct twzdb_table h)
{
	unsigned a = (unsigned)t_rand_below(KEYS), b = (unsigned)t_rand_below(KEYS);
	uint64_t est = 1;

	T_OK(twzdb_estimate(tx, h, key_of(a), key_of(b), &est));
	T_TRUE(a < b ? est <= 3 * KEYS : !est);
}

static void op_number(struct twzdb_txn *tx, struct oracle *o)
{
	unsigned i = (unsigned)t_rand_below(NUMS), j = i + (unsigned)t_rand_below(40);
	uint64_t r = random_row(), cnt, want = 0;
	struct twzdb_table h;

	if (!open_kind(tx, false, &h))
		return;
	switch (t_rand_below(4)) {
	case 0:
		T_EQ(twzdb_del(tx, h, num_of(i)), o->num[i] ? 0 : TWZDB_E_NOTFOUND);
		o->num[i] = 0;
		break;
	case 1:
		T_OK(twzdb_del_range(tx, h, num_of(i), num_of(j), &cnt));
		for (; i < j && i < NUMS; i++) {
			want += o->num[i] != 0;
			o->num[i] = 0;
		}
		T_EQ(cnt, want);
		break;
	default:
		T_OK(twzdb_put(tx, h, num_of(i), val_of(r), 0));
		o->num[i] = r;
	}
}

static void op_pair(struct twzdb_txn *tx, struct oracle *o)
{
	unsigned k = (unsigned)t_rand_below(DKEYS), v = (unsigned)t_rand_below(DVALS), first;
	unsigned dups = dups_of(o, k, &first);
	struct twzdb_table h;

	if (!open_kind(tx, true, &h))
		return;
	switch (t_rand_below(20)) {
	case 0:
		T_EQ(twzdb_del(tx, h, part_of(k)), dups ? 0 : TWZDB_E_NOTFOUND);
		memset(o->pair[k], 0, sizeof(o->pair[k]));
		break;
	case 1:
	case 2:
	case 3:
	case 4:
		T_EQ(twzdb_del_if(tx, h, part_of(k), part_of(v)),
		     o->pair[k][v] ? 0 : TWZDB_E_NOTFOUND);
		o->pair[k][v] = false;
		break;
	case 5:
		T_EQ(twzdb_put(tx, h, part_of(k), part_of(v), TWZDB_INSERT),
		     dups ? TWZDB_E_EXIST : 0);
		o->pair[k][v] |= !dups;
		break;
	default:
		T_EQ(twzdb_put(tx, h, part_of(k), part_of(v), TWZDB_NODUP),
		     o->pair[k][v] ? TWZDB_E_EXIST : 0);
		o->pair[k][v] = true;
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
		uint64_t what = t_rand_below(260);
		struct twzdb_table h;

		if (what >= 200 && what < 240) {
			if (what < 230)
				op_pair(tx, o);
			else
				op_number(tx, o);
			continue;
		}
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
		else if (what < 199)
			op_cursor(tx, h, o->row[t]);
		else if (what < 254)
			op_if(tx, h, o->row[t]);
		else if (what < 257)
			(t_rand_below(2) ? op_append : op_many)(tx, h, o->row[t]);
		else
			op_estimate(tx, h);
	}
}

/* Changes under savepoints that are then released or rolled back to, in any order. */
static void change_nested(struct twzdb_txn *tx, struct oracle *o)
{
	static struct oracle at[LEVELS + 1]; /* at[i]: when savepoint i was made */
	uint32_t open = 0, id;

	for (uint64_t n = t_rand_below(10); n--;) {
		if (open < LEVELS && t_rand_below(2)) {
			T_REQ(twzdb_savepoint(tx, &id));
			if (!T_EQ(id, ++open))
				return;
			at[id] = *o;
		}
		change(tx, o);
		id = open ? 1 + (uint32_t)t_rand_below(open) : 0;
		if (id && t_rand_below(3) == 0) {
			T_OK(twzdb_rollback_to(tx, id));
			*o = at[id];
			open = id;
			verify_some(tx, o);
		} else if (id && t_rand_below(3) == 0) {
			T_OK(twzdb_release(tx, id));
			open = id - 1;
		}
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
	if (t_rand_below(4))
		change(tx, &mine);
	else
		change_nested(tx, &mine);
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

/* A transaction in one call, on keys of all kinds, of which one kind is the usual. */
static void one_row(struct twzdb_table h, uint64_t *row)
{
	unsigned i = (unsigned)(t_rand_below(20) ? 1000 + t_rand_below(100) : t_rand_below(KEYS));
	uint32_t flags = (uint32_t)t_rand_below(3);
	uint64_t r = random_row();
	int want = flags == TWZDB_INSERT && row[i]    ? TWZDB_E_EXIST
		   : flags == TWZDB_UPDATE && !row[i] ? TWZDB_E_NOTFOUND
						      : 0;

	if (t_rand_below(4) == 0) {
		T_EQ(twzdb_del_one(db, h, key_of(i)), row[i] ? 0 : TWZDB_E_NOTFOUND);
		row[i] = 0;
	} else if (T_EQ(twzdb_put_one(db, h, key_of(i), val_of(r), flags), want) && !want) {
		row[i] = r;
	}
}

static void one_number(struct twzdb_table h, uint64_t *num)
{
	unsigned i = (unsigned)t_rand_below(NUMS);
	uint64_t r = random_row();

	if (t_rand_below(4) == 0) {
		T_EQ(twzdb_del_one(db, h, num_of(i)), num[i] ? 0 : TWZDB_E_NOTFOUND);
		num[i] = 0;
	} else if (!T_OK(twzdb_put_one(db, h, num_of(i), val_of(r), 0))) {
		num[i] = r;
	}
}

static void step_ones(void)
{
	unsigned t = (unsigned)t_rand_below(TABLES);
	bool numbers = t_rand_below(8) == 0, there;
	struct twzdb_txn *tx;
	struct twzdb_table h;

	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	there = numbers ? open_kind(tx, false, &h) : open_table(tx, &now, t, &h);
	twzdb_abort(tx);
	for (uint64_t n = there ? t_rand_below(300) : 0; n--;)
		if (numbers)
			one_number(h, now.num);
		else
			one_row(h, now.row[t]);
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

static void make_kinds(void)
{
	struct twzdb_txn *tx;
	struct twzdb_table h;

	T_REQ(twzdb_begin(db, 0, &tx));
	T_OK(twzdb_table_open(tx, "numbers", TWZDB_TABLE_CREATE | TWZDB_TABLE_INTKEY, &h));
	T_OK(twzdb_table_open(tx, "pairs", TWZDB_TABLE_CREATE | TWZDB_TABLE_DUPSORT, &h));
	T_REQ(twzdb_commit(tx));
}

static void run(enum et_media m, double seconds)
{
	const char *path = et_path(m, "model.twz");
	struct timespec t0, t;
	unsigned steps = 0;

	memset(&now, 0, sizeof(now));
	T_REQ(et_open(path, &db));
	make_kinds();
	clock_gettime(CLOCK_MONOTONIC, &t0);
	do {
		if (t_rand_below(8) == 0)
			step_ones();
		else if (t_rand_below(2))
			step_write();
		else
			step_snap();
		if (++steps % 100 == 0 && !T_TRUE(et_clean(db)))
			break;
		if (steps % 400 == 0)
			reopen(path);
		if (steps % 150 == 0)
			T_OK(twzdb_checkpoint(db));
		if (steps % 90 == 0)
			T_OK(twzdb_compact(db, NULL, NULL));
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
