/* SPDX-License-Identifier: MIT
 * test_engine_long.c -- keys and values longer than what is stored the short way, up to the limit
 */
#include "engine_t.h"

#include "../../engine/src/internal.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

static struct twzdb *db;
static struct twzdb_txn *tx;
static struct twzdb_table tab;

static void start(enum et_media m, const char *name)
{
	T_REQ(et_open(et_path(m, name), &db));
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &tab));
}

static void stop(void)
{
	T_OK(twzdb_commit(tx));
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

static void next_txn(uint32_t flags)
{
	T_OK(twzdb_commit(tx));
	T_REQ(twzdb_begin(db, flags, &tx));
}

/* --- lengths --- */

static const size_t lens[] = {0,     1,	    7,	   8,	  1022,	 1023,	1024,  1025,
			      2047,  4093,  4094,  4095,  4096,	 4097,	20000, 21900,
			      32767, 32768, 32769, 65210, 65535, 65536, 65537, 1 << 20};
#define LENS (sizeof(lens) / sizeof(lens[0]))
#define KEYS (2 * LENS - 1)

/*
 * Key I, ascending: those of the first half are prefixes of each other; the second half are the same, but for
 * the last byte, which is greater, from the longest to the shortest.
 */
static struct twzdb_slice key_of(unsigned i)
{
	static uint8_t *made[KEYS];
	unsigned l = i < LENS ? i : (unsigned)KEYS - i;

	if (!made[i]) {
		made[i] = malloc(lens[l] + 1);
		for (size_t j = 0; j < lens[l]; j++)
			made[i][j] = (uint8_t)(j * 7 % 251);
		if (i >= LENS)
			made[i][lens[l] - 1]++;
	}
	return (struct twzdb_slice){made[i], lens[l]};
}

static uint64_t row[KEYS]; /* seed of the value, 0 = no row */

static struct twzdb_slice val_of(uint64_t seed)
{
	return et_val(seed, seed * 37 % 3000);
}

static void verify_scan(struct twzdb_txn *t, const uint64_t *want, enum twzdb_seek first,
			enum twzdb_seek next)
{
	struct twzdb_slice k, v;
	struct twzdb_cursor *c;
	int err;

	T_REQ(twzdb_cursor_open(t, tab, &c));
	err = twzdb_cursor_get(c, first, &k, &v);
	for (unsigned n = 0; n < KEYS; n++) {
		unsigned i = next == TWZDB_NEXT ? n : (unsigned)KEYS - 1 - n;

		if (!want[i])
			continue;
		if (T_OK(err) || !T_TRUE(et_same(k, key_of(i)) && et_same(v, val_of(want[i]))))
			break;
		err = twzdb_cursor_get(c, next, &k, &v);
	}
	T_EQ(err, TWZDB_E_NOTFOUND);
	twzdb_cursor_close(c);
}

static void verify_seeks(struct twzdb_txn *t, const uint64_t *want)
{
	struct twzdb_cursor *c;

	T_REQ(twzdb_cursor_open(t, tab, &c));
	for (unsigned i = 0; i < KEYS; i++) {
		struct twzdb_slice k = key_of(i);
		int up = (int)i, down = (int)i;

		T_EQ(twzdb_cursor_get(c, TWZDB_SEEK, &k, NULL), want[i] ? 0 : TWZDB_E_NOTFOUND);
		while (up < (int)KEYS && !want[up])
			up++;
		while (down >= 0 && !want[down])
			down--;
		k = key_of(i);
		T_EQ(twzdb_cursor_get(c, TWZDB_SEEK_GE, &k, NULL),
		     up < (int)KEYS ? 0 : TWZDB_E_NOTFOUND);
		T_TRUE(up == (int)KEYS || et_same(k, key_of((unsigned)up)));
		k = key_of(i);
		T_EQ(twzdb_cursor_get(c, TWZDB_SEEK_LE, &k, NULL), down < 0 ? TWZDB_E_NOTFOUND : 0);
		T_TRUE(down < 0 || et_same(k, key_of((unsigned)down)));
	}
	twzdb_cursor_close(c);
}

static void verify(struct twzdb_txn *t, const uint64_t *want)
{
	struct twzdb_slice k[KEYS], v[KEYS], one;
	uint64_t cnt, all = 0, part = 0;
	int res[KEYS];

	for (unsigned i = 0; i < KEYS; i++) {
		k[i] = key_of(i);
		all += want[i] != 0;
		part += want[i] && i >= 5 && i < KEYS - 7;
		T_EQ(twzdb_get(t, tab, k[i], &one), want[i] ? 0 : TWZDB_E_NOTFOUND);
		T_TRUE(!want[i] || et_same(one, val_of(want[i])));
	}
	T_OK(twzdb_get_many(t, tab, KEYS, k, v, res));
	for (unsigned i = 0; i < KEYS; i++)
		T_TRUE(want[i] ? !res[i] && et_same(v[i], val_of(want[i]))
			       : res[i] == TWZDB_E_NOTFOUND);
	T_OK(twzdb_count(t, tab, &cnt));
	T_EQ(cnt, all);
	T_OK(twzdb_count_range(t, tab, k[5], k[KEYS - 7], &cnt));
	T_EQ(cnt, part);
	verify_scan(t, want, TWZDB_FIRST, TWZDB_NEXT);
	verify_scan(t, want, TWZDB_LAST, TWZDB_PREV);
	verify_seeks(t, want);
}

static void put_shuffled(void)
{
	unsigned order[KEYS];

	for (unsigned i = 0; i < KEYS; i++) {
		unsigned j = (unsigned)t_rand_below(i + 1);

		order[i] = order[j];
		order[j] = i;
	}
	for (unsigned i = 0; i < KEYS; i++) {
		row[order[i]] = 1 + t_rand_below(1000);
		T_OK(twzdb_put(tx, tab, key_of(order[i]), val_of(row[order[i]]), TWZDB_INSERT));
		T_ERR(twzdb_put(tx, tab, key_of(order[i]), val_of(1), TWZDB_INSERT), TWZDB_E_EXIST);
	}
}

static void change_some(void)
{
	for (unsigned i = 0; i < KEYS; i++) {
		struct twzdb_slice is = val_of(row[i]), other = et_str("other");
		uint64_t next = 1 + t_rand_below(1000);

		if (i % 3 == 0) {
			T_OK(twzdb_put_if(tx, tab, key_of(i), &is, val_of(next)));
			T_ERR(twzdb_put_if(tx, tab, key_of(i), NULL, other), TWZDB_E_MISMATCH);
			row[i] = next;
		} else if (i % 3 == 1) {
			T_ERR(twzdb_del_if(tx, tab, key_of(i), other), TWZDB_E_MISMATCH);
			T_OK(i % 2 ? twzdb_del(tx, tab, key_of(i))
				   : twzdb_del_if(tx, tab, key_of(i), is));
			T_ERR(twzdb_del(tx, tab, key_of(i)), TWZDB_E_NOTFOUND);
			row[i] = 0;
		}
	}
}

static void lengths(enum et_media m, const char *name)
{
	struct twzdb_txn *old;
	uint64_t was[KEYS], cnt;

	start(m, name);
	put_shuffled();
	verify(tx, row);
	next_txn(0);
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &old));
	memcpy(was, row, sizeof(was));
	change_some();
	verify(tx, row);
	T_OK(twzdb_commit(tx));
	verify(old, was);
	T_TRUE(et_clean(db));
	T_OK(twzdb_renew(old));
	verify(old, row);
	twzdb_abort(old);
	T_OK(twzdb_close(db));
	T_REQ(et_open(et_path(m, name), &db));
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_table_open(tx, "t", 0, &tab));
	verify(tx, row);
	T_OK(twzdb_del_range(tx, tab, key_of(3), key_of(KEYS - 2), &cnt));
	for (unsigned i = 3; i < KEYS - 2; i++)
		row[i] = 0;
	verify(tx, row);
	T_OK(twzdb_commit(tx));
	T_OK(twzdb_checkpoint(db));
	T_REQ(twzdb_begin(db, 0, &tx));
	verify(tx, row);
	stop();
}

static void lengths_around_every_boundary_page(void)
{
	lengths(ET_PAGE, "lengths.twz");
}

static void lengths_around_every_boundary_line(void)
{
	lengths(ET_LINE, "lengths.twz");
}

/* --- long common prefixes --- */

#define DEEP	 (199 << 10) /* bytes all keys begin with */
#define DEEP_LEN (200 << 10)

static struct twzdb_slice deep_key(uint64_t i)
{
	static uint8_t b[DEEP_LEN];
	uint64_t x = __builtin_bswap64(i * 0x9e3779b97f4a7c15ULL); /* in random order */

	if (!b[0])
		memset(b, 'p', sizeof(b));
	memcpy(b + DEEP, &x, sizeof(x));
	return (struct twzdb_slice){b, sizeof(b)};
}

/* A prefix is compared, and kept, once a node: not once a key. */
static void keys_may_differ_at_their_ends(void)
{
	const char *env = getenv("LONG_ROWS");
	uint64_t rows = env ? strtoull(env, NULL, 10) : 150, cnt;
	struct twzdb_slice v;

	start(ET_LINE, "deep.twz");
	for (uint64_t i = 0; i < rows; i++)
		T_REQ(twzdb_put(tx, tab, deep_key(i), et_val(i, 8), 0));
	next_txn(0);
	for (uint64_t i = 0; i < rows; i++)
		if (T_OK(twzdb_get(tx, tab, deep_key(i), &v)) || !T_TRUE(et_same(v, et_val(i, 8))))
			break;
	for (uint64_t i = 0; i < rows; i += 2)
		T_OK(twzdb_del(tx, tab, deep_key(i)));
	next_txn(0);
	T_OK(twzdb_count(tx, tab, &cnt));
	T_EQ(cnt, rows / 2);
	T_OK(twzdb_del_range(tx, tab, et_str("p"), et_str("q"), &cnt));
	T_EQ(cnt, rows / 2);
	stop();
}

/* --- long values --- */

static uint8_t *big_value(size_t len)
{
	uint8_t *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	for (size_t i = 0; i < len; i += 4096)
		p[i] = (uint8_t)(i >> 12 ^ i >> 21);
	p[len - 1] = 77;
	return p;
}

static void is_big(struct twzdb_slice v, const uint8_t *want, size_t len)
{
	const uint8_t *p = v.ptr;
	bool same = v.len == len;

	for (size_t i = 0; i < len && same; i += 4096)
		same = p[i] == want[i];
	T_TRUE(same && p[len - 1] == 77);
}

static void value_of(enum et_media m, const char *name, size_t len)
{
	struct twzdb_slice v[2], k[2] = {et_str("a"), et_str("big")};
	uint8_t *b = big_value(len);
	struct twzdb_cursor *c;
	struct twzdb_txn *old;
	int res[2];

	T_TRUE(b != NULL);
	start(m, name);
	T_OK(twzdb_put(tx, tab, k[0], et_str("b"), 0));
	T_OK(twzdb_put(tx, tab, k[1], (struct twzdb_slice){b, len}, 0));
	T_OK(twzdb_put(tx, tab, et_str("last"), et_str("x"), TWZDB_APPEND));
	next_txn(0);
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &old));
	T_OK(twzdb_put(tx, tab, k[1], et_str("small"), 0));
	T_OK(twzdb_commit(tx));
	T_OK(twzdb_get(old, tab, k[1], &v[0]));
	is_big(v[0], b, len);
	T_OK(twzdb_get_many(old, tab, 2, k, v, res));
	is_big(v[1], b, len);
	T_REQ(twzdb_cursor_open(old, tab, &c));
	T_OK(twzdb_cursor_get(c, TWZDB_FIRST, NULL, NULL));
	T_OK(twzdb_cursor_get(c, TWZDB_NEXT, NULL, &v[0]));
	is_big(v[0], b, len);
	T_OK(twzdb_cursor_get(c, TWZDB_NEXT, &v[0], NULL));
	T_TRUE(et_same(v[0], et_str("last")));
	T_OK(twzdb_renew(old));
	T_OK(twzdb_get(old, tab, k[1], &v[0]));
	T_TRUE(et_same(v[0], et_str("small")));
	twzdb_cursor_close(c);
	twzdb_abort(old);
	T_REQ(twzdb_begin(db, 0, &tx));
	T_OK(twzdb_put(tx, tab, et_str("again"), (struct twzdb_slice){b, len - 1}, 0));
	stop(); /* in the same space: the old one is out of reach */
	T_TRUE(munmap(b, len) == 0);
}

static void values_of_64_mib_page(void)
{
	value_of(ET_PAGE, "v64.twz", ((size_t)64 << 20) + 1);
}

static void values_of_256_mib(void)
{
	value_of(ET_LINE, "v256.twz", (size_t)256 << 20);
}

/* Longer than the bits a short row has for it. */
static void values_of_half_an_object(void)
{
	value_of(ET_LINE, "v512.twz", TWZDB_VLF_LEN + (size_t)4);
}

/* --- a full disk --- */

static void disk_room(const char *path, uint64_t more)
{
	struct stat st = {0};
	struct rlimit rl = {RLIM_INFINITY, RLIM_INFINITY};

	if (more)
		(void)!stat(path, &st);
	if (more)
		rl.rlim_cur = (rlim_t)st.st_size + more;
	T_TRUE(!setrlimit(RLIMIT_FSIZE, &rl));
}

/* Rows that do not fit change nothing, nor does the fence a long key's split has no room for. */
static void what_does_not_fit_changes_nothing(void)
{
	static uint8_t b[17 << 20];
	struct twzdb_slice v, key = {b, 300 << 10};
	const char *path = et_path(ET_LINE, "full.twz");
	int err = 0, failed = 0;
	uint64_t cnt, rows = 0, splits = 0;

	signal(SIGXFSZ, SIG_IGN);
	start(ET_LINE, "full.twz");
	T_OK(twzdb_put(tx, tab, et_str("is"), et_str("there"), 0));
	next_txn(0);
	disk_room(path, 16 << 20);
	T_ERR(twzdb_put(tx, tab, et_str("a"), (struct twzdb_slice){b, sizeof(b)}, 0),
	      TWZDB_E_NOSPC);
	T_ERR(twzdb_put(tx, tab, (struct twzdb_slice){b, sizeof(b)}, et_str("a"), 0),
	      TWZDB_E_NOSPC);
	T_ERR(twzdb_put(tx, tab, et_str("is"), (struct twzdb_slice){b, sizeof(b)}, 0),
	      TWZDB_E_NOSPC);
	T_OK(twzdb_get(tx, tab, et_str("is"), &v));
	T_TRUE(et_same(v, et_str("there")));
	/* Of both sizes, so that leaves split when only a short row has room left. */
	for (unsigned i = 0; i < 6000 && failed < 300; i++) {
		key.len = i % 3 ? 1100 : 300 << 10;
		b[key.len - 1] = (uint8_t)(1 + i * 7 % 251);
		b[key.len - 2] = (uint8_t)(1 + i / 24);
		err = twzdb_put(tx, tab, key, et_str("v"), TWZDB_INSERT);
		b[key.len - 1] = b[key.len - 2] = 0;
		rows += !err;
		failed += err == TWZDB_E_NOSPC;
		splits = tx->splits;
		T_TRUE(!err || err == TWZDB_E_NOSPC);
	}
	T_TRUE(failed > 5 && rows > 50 && splits);
	printf("%d failed, %" PRIu64 " rows, %" PRIu64 " splits ", failed, rows, splits);
	T_OK(twzdb_commit(tx));
	disk_room(path, 0);
	T_TRUE(et_clean(db));
	T_REQ(twzdb_begin(db, 0, &tx));
	T_OK(twzdb_count(tx, tab, &cnt));
	T_EQ(cnt, rows + 1);
	stop();
}

/* A leaf half full of long keys is to be split by a short row, and there is no room for the fence between two of them. */
static void a_fence_that_does_not_fit_changes_nothing(void)
{
	static uint8_t b[300 << 10];
	const char *path = et_path(ET_LINE, "fence.twz");
	struct twzdb_slice key = {b, 0};
	unsigned done = 0;
	uint64_t cnt;
	int err = 0;

	signal(SIGXFSZ, SIG_IGN);
	start(ET_LINE, "fence.twz");
	for (unsigned i = 0; i < 20; i++) {
		key.len = i ? sizeof(b) : 1100; /* the first brings a unit of its size */
		b[key.len - 1] = (uint8_t)i;
		T_OK(twzdb_put(tx, tab, key, et_str("v"), TWZDB_INSERT));
	}
	next_txn(0);
	disk_room(path, 64 << 10);
	for (size_t len = 1 << 20; len > 20000; len = err ? len / 2 : len) {
		err = twzdb_put(tx, tab, et_key(1000 + done), et_val(done, len), 0);
		done += !err;
	}
	key.len = 1100;
	for (unsigned i = 0; i < 40; i++, done += !err) {
		b[key.len - 1] = (uint8_t)(1 + i);
		err = twzdb_put(tx, tab, key, et_str("v"), TWZDB_INSERT);
		if (!err)
			continue;
		T_ERR(err, TWZDB_E_NOSPC);
		T_TRUE(!tx->broken);
	}
	T_TRUE(err && !tx->splits);
	T_OK(twzdb_count(tx, tab, &cnt));
	T_EQ(cnt, 20 + done);
	disk_room(path, 0);
	stop();
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(lengths_around_every_boundary_page),
		T_CASE(lengths_around_every_boundary_line),
		T_CASE(keys_may_differ_at_their_ends),
		T_CASE(values_of_64_mib_page),
		T_CASE(values_of_256_mib),
		T_CASE(values_of_half_an_object),
		T_CASE(what_does_not_fit_changes_nothing),
		T_CASE(a_fence_that_does_not_fit_changes_nothing),
		T_END,
	};

	return t_main("engine_long", cases, argc, argv);
}
