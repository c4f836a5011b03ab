/* SPDX-License-Identifier: MIT
 * test_engine_compact.c -- a database in use is made smaller, and holds what it held
 */
#include "../../engine/src/internal.h"
#include "full_disk.h"
#include "engine_t.h"

#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROWS 40000
#define MIB  ((uint64_t)1 << 20)
#define HOLE (8 * MIB) /* that much goes back, at least, of some 32 in which 14 are used */

static const char *path;
static struct twzdb *db;
static struct twzdb_table rows, num, pairs;

static uint64_t blocks(void)
{
	struct stat st;

	return stat(path, &st) ? 0 : (uint64_t)st.st_blocks * 512;
}

/* Is row I left, one in four, and how long is it? Most are short, some have units of their own. */
static bool stays(uint64_t i)
{
	return i * 2654435761U % 4 == 0;
}

static size_t len_of(uint64_t i)
{
	return i % 5000 == 8 ? 300000 : i % 1000 == 4 ? 40000 : 20 + i * 37 % 900;
}

/* One in a hundred keys is long. */
static struct twzdb_slice key_of(uint64_t i)
{
	static _Thread_local uint8_t key[2][1500];
	static _Thread_local unsigned next;
	struct twzdb_slice k = et_key(i);
	uint8_t *b = key[next++ % 2];

	if (i % 100)
		return k;
	memset(b, 'k', sizeof(key[0]));
	memcpy(b, k.ptr, k.len);
	return (struct twzdb_slice){b, sizeof(key[0])};
}

static void tables(struct twzdb_txn *tx)
{
	T_REQ(twzdb_table_open(tx, "rows", TWZDB_TABLE_CREATE, &rows));
	T_REQ(twzdb_table_open(tx, "num", TWZDB_TABLE_CREATE | TWZDB_TABLE_INTKEY, &num));
	T_REQ(twzdb_table_open(tx, "dup", TWZDB_TABLE_CREATE | TWZDB_TABLE_DUPSORT, &pairs));
}

/* Rows in an order that is not their keys'. */
static void fill(uint64_t cnt)
{
	struct twzdb_txn *tx;
	uint64_t n;

	for (uint64_t from = 0; from < cnt; from += 2000) {
		T_REQ(twzdb_begin(db, 0, &tx));
		tables(tx);
		for (uint64_t j = from; j < from + 2000 && j < cnt; j++) {
			uint64_t i = j * 7919 % cnt;

			if (T_OK(twzdb_put(tx, rows, key_of(i), et_val(i, len_of(i)), 0)))
				break;
			n = i;
			if (i % 8 < 2)
				T_OK(twzdb_put(tx, num, (struct twzdb_slice){&n, 8}, et_val(i, 50),
					       0));
			if (i % 8 < 2)
				T_OK(twzdb_put(tx, pairs, et_key(i / 64), et_key(i), 0));
		}
		T_REQ(twzdb_commit(tx));
	}
}

static void thin_out(uint64_t cnt)
{
	struct twzdb_txn *tx;

	for (uint64_t from = 0; from < cnt; from += 2000) {
		T_REQ(twzdb_begin(db, 0, &tx));
		for (uint64_t i = from; i < from + 2000 && i < cnt; i++)
			if (!stays(i) && T_OK(twzdb_del(tx, rows, key_of(i))))
				break;
		T_REQ(twzdb_commit(tx));
	}
	T_OK(twzdb_checkpoint(db));
}

/* All rows are there that shall be, and no others. */
static void rows_are(struct twzdb_txn *given, uint64_t cnt)
{
	struct twzdb_txn *tx = given;
	uint64_t have, want = 0, n;
	struct twzdb_slice v;

	if (!tx)
		T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	for (uint64_t i = 0; i < cnt; i++) {
		int err = twzdb_get(tx, rows, key_of(i), &v);

		want += stays(i);
		if (stays(i) ? T_OK(err) || !T_TRUE(et_same(v, et_val(i, len_of(i))))
			     : T_ERR(err, TWZDB_E_NOTFOUND))
			break;
		n = i;
		if (i % 8 < 2 && (T_OK(twzdb_get(tx, num, (struct twzdb_slice){&n, 8}, &v)) ||
				  !T_TRUE(et_same(v, et_val(i, 50)))))
			break;
	}
	T_OK(twzdb_count(tx, rows, &have));
	T_EQ(have, want);
	T_OK(twzdb_count(tx, pairs, &have));
	T_EQ(have, (cnt + 7) / 8 * 2);
	if (!given)
		twzdb_abort(tx);
}

static void start(enum et_media m, const char *name, uint64_t cnt)
{
	path = et_path(m, name);
	unlink(path);
	T_REQ(et_open(path, &db));
	fill(cnt);
	thin_out(cnt);
}

static void stop(void)
{
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
	unlink(path);
}

static struct twzdb_compacted compact(int (*progress)(void *, uint64_t, uint64_t), int want)
{
	struct twzdb_compact_options o = {.size = sizeof(o), .progress = progress};
	struct twzdb_compacted did = {.size = sizeof(did)};

	T_ERR(twzdb_compact(db, &o, &did), want);
	return did;
}

/* Three of four rows are gone, from everywhere: no unit is empty before, most are after. */
static void it_becomes_smaller(enum et_media m)
{
	struct twzdb_compacted did;
	uint64_t was, now;

	start(m, "smaller.twz", ROWS);
	was = blocks();
	did = compact(NULL, 0);
	now = blocks();
	T_TRUE(now + HOLE <= was && did.given_len >= HOLE);
	T_TRUE(did.rows > 1000 && did.nodes > 10 && !did.waits);
	rows_are(NULL, ROWS);
	T_TRUE(et_clean(db));
	did = compact(NULL, 0); /* there is little left to do */
	T_TRUE(did.rows < ROWS / 20);
	T_TRUE(blocks() < now + MIB);
	T_OK(twzdb_close(db));
	T_REQ(et_open(path, &db));
	T_TRUE(blocks() < now + MIB);
	rows_are(NULL, ROWS);
	fill(ROWS); /* and full again: in the same space */
	T_TRUE(blocks() < was + was / 4);
	stop();
}

static void it_becomes_smaller_page(void)
{
	it_becomes_smaller(ET_PAGE);
}

static void it_becomes_smaller_line(void)
{
	it_becomes_smaller(ET_LINE);
}

static void little_and_nothing(void)
{
	struct twzdb_compacted did;
	struct twzdb_txn *tx;
	struct twzdb_table gone;

	path = et_path(ET_LINE, "little.twz");
	T_REQ(et_open(path, &db));
	did = compact(NULL, 0);
	T_TRUE(!did.rows && !did.nodes && !did.given_len && !did.waits);
	fill(100);
	did = compact(NULL, 0);
	T_TRUE(!did.rows && !did.nodes);
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_table_open(tx, "gone", TWZDB_TABLE_CREATE, &gone));
	for (uint64_t i = 0; i < 20000; i++)
		T_OK(twzdb_put(tx, gone, et_key(i), et_val(i, 1000), 0));
	T_REQ(twzdb_commit(tx));
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_table_drop(tx, "gone"));
	T_REQ(twzdb_commit(tx));
	did = compact(NULL, 0);
	T_TRUE(!did.rows && did.given_len > 10 * MIB);
	T_ERR(twzdb_compact(NULL, NULL, NULL), TWZDB_E_INVAL);
	T_OK(twzdb_compact(db, NULL, NULL));
	stop();
}

/* --- beside others --- */

/* A snapshot taken before sees what it saw, and the space waits for it. */
static void a_reader_from_before(void)
{
	struct twzdb_compacted did;
	struct twzdb_txn *old;
	uint64_t was;

	start(ET_LINE, "reader.twz", ROWS);
	was = blocks();
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &old));
	did = compact(NULL, 0);
	T_TRUE(did.rows > 1000 && did.waits);
	rows_are(old, ROWS);
	rows_are(NULL, ROWS);
	twzdb_abort(old);
	did = compact(NULL, 0);
	T_TRUE(!did.waits && blocks() + HOLE / 4 <= was);
	rows_are(NULL, ROWS);
	stop();
}

static bool over;

/* Goes through all rows, again and again: those that stay do, whatever moves. */
static void *read_all(void *arg)
{
	struct twzdb_txn *tx;
	struct twzdb_cursor *c;
	struct twzdb_slice k, v;
	uint64_t *rounds = arg;

	do {
		uint64_t cnt = 0;
		int err;

		T_OK(twzdb_begin(db, TWZDB_RDONLY, &tx));
		T_OK(twzdb_cursor_open(tx, rows, &c));
		for (err = twzdb_cursor_get(c, TWZDB_FIRST, &k, &v); !err;
		     err = twzdb_cursor_get(c, TWZDB_NEXT, &k, &v)) {
			uint64_t i = et_num((struct twzdb_slice){k.ptr, 8});

			if (i >= ROWS)
				continue; /* the writer's */
			cnt++;
			if (!stays(i) || v.len != len_of(i)) {
				T_TRUE(false);
				break;
			}
		}
		T_ERR(err, TWZDB_E_NOTFOUND);
		T_EQ(cnt, ROWS / 4);
		twzdb_cursor_close(c);
		twzdb_abort(tx);
		++*rounds;
	} while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE));
	et_thread_end();
	return NULL;
}

/* Puts and deletes rows of its own among the others, one operation and several at a time. */
static void *write_some(void *arg)
{
	struct twzdb_txn *tx;
	uint64_t n = 0;

	while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
		T_OK(twzdb_begin(db, 0, &tx));
		for (uint64_t i = 0; i < 1 + n % 5; i++) {
			struct twzdb_slice k = et_key(ROWS + (n * 7 + i) % 3000);

			if (n % 3 == 2 && twzdb_get(tx, rows, k, NULL) == 0)
				T_OK(twzdb_del(tx, rows, k));
			else
				T_OK(twzdb_put(tx, rows, k, et_val(n, n % 400), 0));
		}
		T_OK(twzdb_commit(tx));
		n++;
	}
	*(uint64_t *)arg = n;
	et_thread_end();
	return NULL;
}

static void beside_readers_and_writers(void)
{
	uint64_t rounds = 0, writes = 0, moved = 0;
	pthread_t r, w;

	over = false;
	start(ET_LINE, "beside.twz", ROWS);
	T_EQ(pthread_create(&r, NULL, read_all, &rounds), 0);
	T_EQ(pthread_create(&w, NULL, write_some, &writes), 0);
	for (int i = 0; i < 3; i++)
		moved += compact(NULL, 0).rows;
	__atomic_store_n(&over, true, __ATOMIC_RELEASE);
	pthread_join(r, NULL);
	pthread_join(w, NULL);
	T_TRUE(moved > 1000 && rounds && writes);
	stop();
}

/* --- interrupted --- */

static int calls;

static int third_time(void *ctx, uint64_t done, uint64_t total)
{
	(void)ctx;
	T_TRUE(done <= total);
	return ++calls == 3 ? 77 : 0;
}

static int another_one(void *ctx, uint64_t done, uint64_t total)
{
	(void)ctx, (void)done, (void)total;
	T_ERR(twzdb_compact(db, NULL, NULL), TWZDB_E_BUSY);
	return 78;
}

static int dies(void *ctx, uint64_t done, uint64_t total)
{
	(void)ctx, (void)done, (void)total;
	if (++calls == 4)
		raise(SIGKILL);
	return 0;
}

static void the_callback_ends_it(void)
{
	start(ET_LINE, "ends.twz", ROWS);
	calls = 0;
	compact(third_time, 77);
	T_EQ(calls, 3);
	rows_are(NULL, ROWS);
	T_TRUE(et_clean(db));
	compact(another_one, 78);
	T_TRUE(!db->sh->leaving);
	compact(NULL, 0);
	rows_are(NULL, ROWS);
	stop();
}

/* Killed between two of its transactions: its marks are in nobody's way for long. */
static void killed_in_the_middle(void)
{
	uint64_t was;
	pid_t pid;
	int status;

	start(ET_LINE, "killed.twz", ROWS);
	was = blocks();
	pid = fork();
	if (!pid) {
		T_REQ(et_open(path, &db));
		calls = 0;
		compact(dies, 0);
		_exit(1);
	}
	T_EQ(waitpid(pid, &status, 0), pid);
	T_TRUE(WIFSIGNALED(status));
	T_TRUE(db->sh->leaving != 0);
	rows_are(NULL, ROWS);
	T_TRUE(et_clean(db));
	fill(2000);
	thin_out(2000);
	T_TRUE(!db->sh->leaving);
	compact(NULL, 0);
	T_TRUE(blocks() + HOLE <= was);
	rows_are(NULL, ROWS);
	stop();
}

/* --- a full disk --- */

/* It takes no space to make space. */
static void on_a_full_disk(void)
{
	struct twz_store_options so = {
		.size = sizeof(so), .flags = TWZ_STORE_CREATE, .backend = &full_disk};
	struct twzdb_options o = {.size = sizeof(o),
				  .flags = TWZDB_CREATE,
				  .log_len = 256 << 10,
				  .store_options = &so};
	uint64_t was;

	disk_full = false;
	path = et_path(ET_LINE, "full.twz");
	T_REQ(twzdb_open(path, &o, &db));
	fill(ROWS);
	thin_out(ROWS);
	was = blocks();
	disk_full = true;
	grown = 0;
	compact(NULL, 0);
	T_EQ(grown, 0);
	T_TRUE(blocks() + HOLE <= was);
	rows_are(NULL, ROWS);
	disk_full = false;
	stop();
}

static const struct twz__backend failing_backend = {1, NULL, failing_open};

static void start_failing(const char *name, uint64_t log_len)
{
	struct twz_store_options so = {
		.size = sizeof(so), .flags = TWZ_STORE_CREATE, .backend = &failing_backend};
	struct twzdb_options o = {
		.size = sizeof(o), .flags = TWZDB_CREATE, .log_len = log_len, .store_options = &so};

	disk_full = false;
	path = et_path(ET_LINE, name);
	unlink(path);
	T_REQ(twzdb_open(path, &o, &db));
	fill(ROWS);
}

/* All the store has goes to an object of somebody else's: nothing is left, not for a long record of the log either. */
static void fill_the_store(void)
{
	struct twz_obj_options oo = {.size = sizeof(oo), .len = 4096};
	struct twz_obj *o;

	disk_full = true;
	for (uint64_t len = 64 * MIB; len >= 4096; len /= 2)
		for (oo.len = len; !twz_obj_create(db->s, &oo, NULL, &o);)
			twz_obj_close(o);
}

/* Its transactions are as long as there is room for. */
static void on_a_full_store(void)
{
	uint64_t was;

	start_failing("store.twz", 64 << 10);
	thin_out(ROWS);
	was = blocks();
	fill_the_store();
	compact(NULL, 0);
	T_TRUE(blocks() + HOLE <= was);
	rows_are(NULL, ROWS);
	disk_full = false;
	stop();
}

static unsigned said_full, wrong;

/* Another row: if there is no room, there is none anywhere. */
static int puts_a_row(void *ctx, uint64_t done, uint64_t total)
{
	static uint64_t n = 2 * ROWS;
	struct twzdb_txn *tx;
	int err;

	(void)ctx, (void)done, (void)total;
	for (int len = 50; len < 900; len += 50, n++) {
		unsigned cls = twzdb__class_of(36 + 8 + (unsigned)len);

		if (T_OK(twzdb_begin(db, 0, &tx)))
			return 81;
		err = twzdb_put(tx, rows, et_key(n), et_val(n, (size_t)len), 0);
		said_full += err == TWZDB_E_NOSPC;
		if (err == TWZDB_E_NOSPC && !tx->broken && db->sh->cls[cls].full) {
			db->sh->cls[cls].full = 0; /* look at all of them again */
			wrong += !twzdb_put(tx, rows, et_key(n), et_val(n, (size_t)len), 0);
		} else if (err != TWZDB_E_NOSPC) {
			T_OK(err);
		}
		twzdb_abort(tx);
	}
	return 0;
}

/* Rows of all lengths, until there is no room for any. */
static void fill_all(void)
{
	struct twzdb_txn *tx;
	uint64_t n = 4 * ROWS;

	for (size_t len = 900; len >= 50; len -= 50)
		for (int err = 0; !err; n++) {
			T_REQ(twzdb_begin(db, 0, &tx));
			for (int i = 0; i < 100 && !err; i++, n++)
				err = twzdb_put(tx, rows, et_key(n), et_val(n, len), 0);
			T_OK(twzdb_commit(tx));
		}
}

/* Some of the rows, from everywhere; also as many as there is room for. */
static void thin_out_some(uint64_t which)
{
	struct twzdb_txn *tx;

	for (uint64_t i = 0; i < ROWS; i++) {
		if (stays(i) || i % 16 != which)
			continue;
		T_REQ(twzdb_begin(db, 0, &tx));
		if (twzdb_del(tx, rows, key_of(i)))
			twzdb_abort(tx);
		else
			T_OK(twzdb_commit(tx));
	}
}

/* What it finds no room for does not keep others from the room there is in the units it empties. */
static void others_on_a_full_disk(void)
{
	struct twzdb_compact_options o = {.size = sizeof(o), .progress = puts_a_row};
	struct twzdb_txn *old;

	start_failing("others.twz", 256 << 10);
	fill_the_store();
	fill_all();
	thin_out_some(3);
	T_OK(twzdb_checkpoint(db));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &old));
	thin_out_some(7);
	thin_out_some(11);
	said_full = wrong = 0;
	T_OK(twzdb_compact(db, &o, NULL));
	puts_a_row(NULL, 0, 0);
	T_TRUE(said_full && !wrong);
	twzdb_abort(old);
	disk_full = false;
	stop();
}

/* --- a database that is damaged, or fails --- */

static int too_often(void *ctx, uint64_t done, uint64_t total)
{
	(void)ctx, (void)done, (void)total;
	return ++calls == 500 ? 79 : 0;
}

static struct node_pm *leaf_of(struct bkey k, uint64_t *p)
{
	struct twzdb_txn *tx;
	struct nref leaf;
	unsigned pos;
	bool exact;

	if (twzdb_begin(db, TWZDB_RDONLY, &tx) ||
	    twzdb__seek(tx, rows.h, k, false, &leaf, &pos, &exact, NULL))
		abort();
	twzdb_abort(tx);
	*p = leaf.p;
	return twzdb__at(db, leaf.p, sizeof(struct node_pm));
}

/* Right-links that lead in a circle, over several leaves or one. */
static void links_in_circles(void)
{
	uint64_t first, last, n = 0;
	struct node_pm *a, *b;

	start(ET_LINE, "circle.twz", 4000);
	a = leaf_of((struct bkey){(const uint8_t *)&n, 0}, &first);
	b = leaf_of(BKEY_INF, &last);
	b->next = first;
	calls = 0;
	compact(too_often, TWZDB_E_CORRUPT);
	b->next = last;
	calls = 0;
	compact(too_often, TWZDB_E_CORRUPT);
	b->next = 0;
	n = a->next;
	a->next = first;
	calls = 0;
	compact(too_often, TWZDB_E_CORRUPT);
	a->next = n;
	calls = 0;
	compact(too_often, 0);
	rows_are(NULL, 4000);
	stop();
}

/* What is damaged is not made whole by being put again. */
static void damaged_rows_stay_so(void)
{
	uint64_t found = 0, p, hit = 0;

	start(ET_LINE, "rot.twz", 4000);
	for (uint64_t i = 0; i < 4000; i++) {
		struct twzdb_slice k = key_of(i);
		const struct node_pm *n = leaf_of((struct bkey){k.ptr, (uint32_t)k.len}, &p);

		for (unsigned e = 0; stays(i) && e < n->n; e++) {
			struct rec_pm *r = twzdb__at(db, n->ptr[n->perm[e]], sizeof(*r));
			struct bkey key = rec_bkey(r);

			if (key.len == k.len && !memcmp(key.p, k.ptr, k.len) && rec_vlen(r)) {
				((uint8_t *)(uintptr_t)rec_val(r))[0] ^= 1;
				hit++;
			}
		}
	}
	T_TRUE(hit > 500);
	compact(NULL, TWZDB_E_CORRUPT);
	T_OK(twzdb_check(db, NULL, NULL, &found));
	T_EQ(found, hit);
	T_OK(twzdb_close(db));
	unlink(path);
}

/* Objects the root says there are, and there are not. */
static void objects_that_are_not_there(void)
{
	start(ET_LINE, "objects.twz", 4000);
	db->root->obj_cnt = 3;
	compact(NULL, TWZDB_E_CORRUPT);
	db->root->units[2] = 7;
	compact(NULL, TWZDB_E_CORRUPT);
	db->root->units[2] = 0;
	db->root->obj_cnt = 1;
	rows_are(NULL, 4000);
	stop();
}

static int fails(void *ctx, uint64_t done, uint64_t total)
{
	(void)ctx, (void)done, (void)total;
	db->sh->failed = 1;
	return 80;
}

/* It cannot even begin a transaction to take its marks back: they do not outlive it, nor is it busy for ever. */
static void no_transaction_at_the_end(void)
{
	start(ET_LINE, "end.twz", ROWS);
	compact(fails, 80);
	db->sh->failed = 0;
	compact(NULL, 0);
	T_TRUE(!db->sh->leaving);
	compact(fails, 80);
	db->sh->failed = 0;
	fill(2000);
	thin_out(2000);
	T_TRUE(!db->sh->leaving);
	rows_are(NULL, ROWS);
	stop();
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(it_becomes_smaller_page),
		T_CASE(it_becomes_smaller_line),
		T_CASE(little_and_nothing),
		T_CASE(a_reader_from_before),
		T_CASE(beside_readers_and_writers),
		T_CASE(the_callback_ends_it),
		T_CASE(killed_in_the_middle),
		T_CASE(on_a_full_disk),
		T_CASE(on_a_full_store),
		T_CASE(others_on_a_full_disk),
		T_CASE(links_in_circles),
		T_CASE(damaged_rows_stay_so),
		T_CASE(objects_that_are_not_there),
		T_CASE(no_transaction_at_the_end),
		T_END,
	};

	return t_main("engine_compact", cases, argc, argv);
}
