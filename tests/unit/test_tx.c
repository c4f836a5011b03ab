/* SPDX-License-Identifier: MIT
 * test_tx.c -- undo transactions of one process: levels, records, macros, errors (twz/tx.h; docs/durability.md D8)
 */
#include "tx_env.h"

#include "format_tx.h"
#include "rangeset.h"
#include "tx_internal.h"
#include "txlog.h"

#include <pthread.h>

/* --- one transaction --- */

static void commit_is_there_after_reopening(void)
{
	struct twz_tx *tx;
	struct box b;

	if (!box_open(&b, 8192))
		return;
	T_EQ(twz_tx_depth(b.s), 0);
	T_REQ(twz_tx_begin(b.s, &tx));
	T_EQ(twz_tx_depth(b.s), 1);
	T_TRUE(twz_tx_current(b.s) == tx);
	T_OK(twz_tx_record(tx, b.d + 100, 7));
	memcpy(b.d + 100, "twizzle", 7);
	T_OK(twz_tx_commit(tx));
	T_TRUE(twz_tx_current(b.s) == NULL);
	if (box_reopen(&b))
		T_TRUE(!memcmp(b.d + 100, "twizzle", 7));
	env_close(b.s);
}
BOTH(commit_is_there_after_reopening)

static void abort_restores_in_reverse_order(void)
{
	struct twz_tx *tx;
	struct box b;

	if (!box_open(&b, 8192))
		return;
	fill(b.d, 8192, 3);
	T_REQ(twz_tx_begin(b.s, &tx));
	T_OK(twz_tx_record(tx, b.d + 10, 100));
	memset(b.d + 10, 0xee, 100);
	T_OK(twz_tx_record(tx, b.d + 50,
			   1000)); /* overlaps: only the rest is saved, before it changes */
	memset(b.d + 50, 0xdd, 1000);
	T_OK(twz_tx_record(tx, b.d + 8191, 1));
	b.d[8191] ^= 1;
	T_OK(twz_tx_abort(tx));
	T_TRUE(is_filled(b.d, 8192, 3));
	if (box_reopen(&b))
		T_TRUE(is_filled(b.d, 8192, 3));
	env_close(b.s);
}
BOTH(abort_restores_in_reverse_order)

static void every_record_length_is_restored(void)
{
	static const size_t lens[] = {1,    7,	   8,	   63,	     64,  65,	       4095,
				      4096, 65537, 300000, MIB - 64, MIB, 3 * MIB + 5, 10 * MIB};
	struct twz_tx *tx;
	struct box b;

	if (!box_open(&b, 12 * MIB))
		return;
	fill(b.d, 12 * MIB, 9);
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		T_REQ(twz_tx_begin(b.s, &tx));
		T_OK(twz_tx_record(tx, b.d + 11, lens[i]));
		memset(b.d + 11, (int)i, lens[i]);
		T_OK(twz_tx_abort(tx));
		if (!T_TRUE(is_filled(b.d, 12 * MIB, 9)))
			break;
	}
	T_REQ(twz_tx_begin(b.s, &tx));
	T_OK(twz_tx_record(tx, b.d, 10 * MIB));
	memset(b.d, 0x55, 10 * MIB);
	T_OK(twz_tx_commit(tx));
	if (box_reopen(&b))
		T_TRUE(b.d[0] == 0x55 && b.d[10 * MIB - 1] == 0x55 && b.d[5 * MIB] == 0x55);
	env_close(b.s);
}
BOTH(every_record_length_is_restored)

static void nested_levels_end_on_their_own(void)
{
	struct twz_tx *outer, *in;
	struct box b;

	if (!box_open(&b, 4096))
		return;
	b.d[0] = b.d[1] = b.d[2] = 1;
	T_REQ(twz_tx_begin(b.s, &outer));
	T_OK(twz_tx_record(outer, b.d, 1));
	b.d[0] = 2;

	T_REQ(twz_tx_begin(b.s, &in)); /* aborted: back to what the outer level had made of it */
	T_EQ(twz_tx_depth(b.s), 2);
	T_OK(twz_tx_record(in, b.d, 2));
	b.d[0] = b.d[1] = 3;
	T_OK(twz_tx_abort(in));
	T_EQ(b.d[0], 2);
	T_EQ(b.d[1], 1);

	T_REQ(twz_tx_begin(b.s, &in)); /* committed: joins the outer one */
	T_OK(twz_tx_record(in, b.d + 2, 1));
	b.d[2] = 4;
	T_OK(twz_tx_commit(in));
	T_EQ(twz_tx_depth(b.s), 1);
	T_OK(twz_tx_abort(outer));
	T_TRUE(b.d[0] == 1 && b.d[1] == 1 && b.d[2] == 1);

	T_REQ(twz_tx_begin(b.s, &outer));
	T_REQ(twz_tx_begin(b.s, &in));
	T_OK(twz_tx_record(in, b.d, 3));
	memset(b.d, 7, 3);
	T_OK(twz_tx_commit(in));
	T_OK(twz_tx_commit(outer));
	if (box_reopen(&b))
		T_TRUE(b.d[0] == 7 && b.d[1] == 7 && b.d[2] == 7);
	env_close(b.s);
}
BOTH(nested_levels_end_on_their_own)

static void many_objects_change_together(void)
{
	enum { CNT = 20 };
	struct twz_range r[CNT];
	struct twz_obj *o[CNT];
	struct twz_tx *tx;
	struct box b;

	if (!box_open(&b, 4096))
		return;
	for (int i = 0; i < CNT; i++) {
		o[i] = env_obj(b.s, 4096, NULL);
		if (!o[i])
			return;
		r[i] = (struct twz_range){twz_obj_data(o[i]), 8};
	}
	for (int round = 0; round < 3; round++) {
		T_REQ(twz_tx_begin(b.s, &tx));
		T_OK(twz_tx_record_many(tx, r, CNT));
		for (int i = 0; i < CNT; i++)
			*(uint64_t *)r[i].addr = (uint64_t)round + 1;
		if (round == 1)
			T_OK(twz_tx_abort(tx));
		else
			T_OK(twz_tx_commit(tx));
		for (int i = 0; i < CNT; i++)
			T_EQ(*(uint64_t *)r[i].addr, round == 1 ? 1 : round + 1);
	}
	env_close(b.s);
}
BOTH(many_objects_change_together)

static uint64_t log_bytes(struct twz_store *s)
{
	struct twz_persist_stats st;

	twz_persist_stats(s, &st);
	return st.nt_bytes;
}

/* Cache-line media count the bytes of the log; page media write it past these counters. */
static void duplicates_cost_nothing_line(void)
{
	struct twz_tx *tx;
	uint64_t before;
	struct box b;

	env_media(1);
	if (!box_open(&b, 65536))
		return;
	T_REQ(twz_tx_begin(b.s, &tx));
	T_OK(twz_tx_record(tx, b.d + 1000, 1000));
	before = log_bytes(b.s);
	for (int i = 0; i < 100; i++)
		T_OK(twz_tx_record(tx, b.d + 1000 + i, 900));
	T_EQ(log_bytes(b.s), before);
	T_OK(twz_tx_record(tx, b.d + 1990, 20));
	T_EQ(log_bytes(b.s), before + 128); /* one header and ten bytes, in lines */
	T_OK(twz_tx_fresh(tx, b.d + 4096, 4096));
	T_OK(twz_tx_record(tx, b.d + 5000, 100));
	T_EQ(log_bytes(b.s), before + 128);
	T_OK(twz_tx_commit(tx));
	env_close(b.s);
}

static uint64_t flushed_lines(struct twz_store *s)
{
	struct twz_persist_stats st;

	twz_persist_stats(s, &st);
	return st.flushed_lines;
}

/*
 * However it ended: what an inner level saved is saved for the outer one, and flushed when that
 * commits.
 */
static void inner_ranges_join_the_outer_level_line(void)
{
	struct twz_tx *tx, *in;
	uint64_t before;
	struct box b;

	env_media(1);
	if (!box_open(&b, 65536))
		return;
	for (int aborted = 0; aborted < 2; aborted++) {
		T_REQ(twz_tx_begin(b.s, &tx));
		T_REQ(twz_tx_begin(b.s, &in));
		T_OK(twz_tx_record(in, b.d, 64 * 100));
		memset(b.d, 1, 64 * 100);
		T_OK(aborted ? twz_tx_abort(in) : twz_tx_commit(in));
		before = log_bytes(b.s);
		T_OK(twz_tx_record(tx, b.d + 640, 640));
		T_EQ(log_bytes(b.s), before);
		before = flushed_lines(b.s);
		T_OK(twz_tx_commit(tx));
		T_TRUE(flushed_lines(b.s) - before >= 100);
	}
	env_close(b.s);
}

/* The example of twz/tx.h. */
struct account {
	int64_t balance;
};

static int withdraw(struct twz_store *store, struct account *acct)
{
	int err;

	TXSTART(store, tx, err)
		TXRECORD(tx, &acct->balance);
		acct->balance -= 10;
		if (acct->balance < 0)
			TXABORT(tx);
	TXEND(tx, err);
	return err;
}

static int macros_nested(struct twz_store *store, struct account *a, int cnt)
{
	int err;

	TXSTART(store, tx, err)
		for (int i = 0; i < cnt; i++) {
			TXRECORD_LEN(tx, &a[i], sizeof(a[i]));
			a[i].balance++;
			TXSTART(store, in, err)
				TXRECORD(in, &a[0].balance);
				a[0].balance += 100;
				if (i == 2)
					TXABORT(in);
			TXEND(in, err);
			err = err == TWZ_E_STATE ? 0 : err; /* an inner abort is no failure here */
		}
	TXEND(tx, err);
	return err;
}

static void macros_commit_abort_and_nest(void)
{
	struct account *a;
	int err, here = 0;
	struct box b;

	if (!box_open(&b, 4096))
		return;
	a = (struct account *)b.d;
	a->balance = 15;
	T_OK(withdraw(b.s, a));
	T_EQ(a->balance, 5);
	T_ERR(withdraw(b.s, a), TWZ_E_STATE);
	T_EQ(a->balance, 5);
	T_EQ(twz_tx_depth(b.s), 0);
	T_OK(macros_nested(b.s, a, 4));
	T_EQ(a[0].balance, 5 + 1 + 300);
	T_EQ(a[3].balance, 1);
	TXSTART(b.s, tx, err)
		TXRECORD_LEN(tx, &here, sizeof(here)); /* not in an object: the block ends */
		here = 1;
	TXEND(tx, err);
	T_EQ(err, TWZ_E_BOUNDS);
	T_EQ(here, 0);
	T_EQ(twz_tx_depth(b.s), 0);
	env_close(b.s);
}
BOTH(macros_commit_abort_and_nest)

static void *record_elsewhere(void *tx)
{
	return (void *)(intptr_t)twz_tx_commit(tx);
}

static int record_after_fork(void *tx)
{
	return twz_tx_record(tx, NULL, 1) == TWZ_E_FORKED && twz_tx_abort(tx) == TWZ_E_FORKED ? 0
											      : 1;
}

static void wrong_calls_are_refused(void)
{
	struct twz_tx *tx, *tx2;
	pthread_t thread;
	struct box b, b2;
	void *ret;
	int x;

	if (!box_open(&b, 8192) || !box_open(&b2, 4096))
		return;
	T_ERR(twz_tx_record(NULL, b.d, 1), TWZ_E_STATE);
	T_ERR(twz_tx_commit(NULL), TWZ_E_STATE);
	T_REQ(twz_tx_begin(b.s, &tx));
	T_ERR(twz_tx_record(tx, &x, sizeof(x)), TWZ_E_BOUNDS);
	T_ERR(twz_tx_record(tx, b2.d, 1), TWZ_E_BOUNDS);    /* another store */
	T_ERR(twz_tx_record(tx, b.d - 1, 2), TWZ_E_BOUNDS); /* null page */
	T_ERR(twz_tx_record(tx, b.d + 8192, 1), TWZ_E_BOUNDS);
	T_ERR(twz_tx_record(tx, b.d, 8193), TWZ_E_BOUNDS);
	T_ERR(twz_tx_record(tx, b.d + 1, SIZE_MAX), TWZ_E_BOUNDS);
	T_HAS(twz_errmsg(), b.path);
	T_ERR(twz_tx_fresh(tx, b.d, 8193), TWZ_E_BOUNDS);
	T_OK(twz_tx_record(tx, b.d, 0));
	T_OK(twz_tx_record(tx, b.d, 8192));
	T_OK(pthread_create(&thread, NULL, record_elsewhere, tx));
	pthread_join(thread, &ret);
	T_EQ((intptr_t)ret, TWZ_E_STATE);
	T_EQ(t_fork(record_after_fork, tx), 0);
	T_ERR(twz_obj_resize(b.o, 4096), TWZ_E_STATE); /* what it has saved must stay where it is */
	T_REQ(twz_tx_begin(b2.s, &tx2));	       /* one for each store */
	T_TRUE(tx2 != tx);
	T_OK(twz_tx_commit(tx2));
	T_OK(twz_tx_commit(tx));
	env_close(b2.s);
	env_close(b.s);
}
BOTH(wrong_calls_are_refused)

static void closing_the_store_aborts(void)
{
	struct twz_tx *tx;
	struct box b;

	if (!box_open(&b, 4096))
		return;
	b.d[5] = 1;
	T_REQ(twz_tx_begin(b.s, &tx));
	T_OK(twz_tx_record(tx, b.d, 100));
	b.d[5] = 2;
	if (box_reopen(&b))
		T_EQ(b.d[5], 1);
	T_TRUE(twz_tx_current(b.s) == NULL);
	T_OK(twz_tx_begin(b.s, &tx));
	T_OK(twz_tx_commit(tx));
	env_close(b.s);
}
BOTH(closing_the_store_aborts)

static void an_object_closed_inside_stays_reachable(void)
{
	struct twz_tx *tx;
	struct box b;

	if (!box_open(&b, 4096))
		return;
	b.d[0] = 1;
	T_REQ(twz_tx_begin(b.s, &tx));
	T_OK(twz_tx_record(tx, b.d, 1));
	b.d[0] = 2;
	twz_obj_close(b.o);
	T_OK(twz_tx_abort(tx));
	T_REQ(twz_obj_open(b.s, b.id, TWZ_READ, &b.o));
	T_EQ(*(unsigned char *)twz_obj_data(b.o), 1);
	env_close(b.s);
}
BOTH(an_object_closed_inside_stays_reachable)

/* --- random: model is a copy of the bytes at each open level --- */

static void random_levels_agree_with_a_model(void)
{
	enum { LEN = 20000, DEPTH = 5 };
	static unsigned char model[DEPTH + 1][LEN];
	struct twz_tx *tx[DEPTH + 1];
	struct box b;
	int depth = 0;

	if (!box_open(&b, LEN))
		return;
	memset(model, 0, sizeof(model));
	for (int i = 0; i < 3000; i++) {
		unsigned int what = (unsigned int)t_rand_below(10);

		if (what == 0 && depth < DEPTH) {
			memcpy(model[depth + 1], model[depth], LEN);
			T_REQ(twz_tx_begin(b.s, &tx[++depth]));
		} else if (what == 1 && depth) {
			T_REQ(twz_tx_commit(tx[depth]));
			memcpy(model[depth - 1], model[depth], LEN);
			depth--;
		} else if (what == 2 && depth) {
			T_REQ(twz_tx_abort(tx[depth--]));
			if (!T_TRUE(!memcmp(b.d, model[depth], LEN)))
				break;
		} else if (depth) {
			size_t off = t_rand_below(LEN),
			       len = 1 + t_rand_below(t_rand_below(4) ? 40 : 3000);

			len = len > LEN - off ? LEN - off : len;
			T_REQ(twz_tx_record(tx[depth], b.d + off, len));
			memset(b.d + off, i, len);
			memset(model[depth] + off, i, len);
		}
	}
	while (depth)
		T_OK(twz_tx_abort(tx[depth--]));
	T_TRUE(!memcmp(b.d, model[0], LEN));
	env_close(b.s);
}
static void random_levels_agree_with_a_model_line(void)
{
	env_media(1);
	random_levels_agree_with_a_model();
}

/* --- pure parts --- */

static void range_sets_agree_with_a_bitmap(void)
{
	enum { LEN = 600 };
	struct twz__range_pool p = {0};
	uint32_t root[2] = {0, 0};
	bool map[2][LEN + 1] = {{0}};
	uintptr_t s, e;

	for (int i = 0; i < 20000; i++) {
		unsigned int k = (unsigned int)t_rand_below(2);
		uintptr_t from = t_rand_below(LEN), to = from + 1 + t_rand_below(12);
		bool gap = false;

		to = to > LEN ? LEN : to;
		for (uintptr_t j = from; j < to; j++)
			gap |= !map[k][j];
		if (!T_EQ(twz__ranges_gap(&p, root[k], from, to, &s, &e), gap))
			break;
		if (gap && !(T_TRUE(s >= from && e <= to && !map[k][s] && !map[k][e - 1] &&
				    (s == from || map[k][s - 1]))))
			break;
		T_REQ(twz__ranges_add(&p, &root[k], from, to));
		memset(&map[k][from], 1, to - from);
		if (i % 97 == 0) {
			twz__ranges_join(&p, &root[0], &root[1]);
			for (int j = 0; j < LEN; j++) {
				map[0][j] |= map[1][j];
				map[1][j] = false;
			}
		}
		if (i % 301 == 0) {
			twz__ranges_clear(&p);
			memset(root, 0, sizeof(root));
			memset(map, 0, sizeof(map));
		}
	}
	twz__ranges_free(&p);
}

static void sync_plan_joins_near_pages(void)
{
	struct twz__tx_span span[TWZ__TX_SPAN_MAX];
	struct twz__range_pool p = {0};
	uint32_t root = 0;
	uintptr_t base = (uintptr_t)7 << 30;

	T_EQ(twz__tx_plan_sync(&p, root, span), 0);
	T_OK(twz__ranges_add(&p, &root, base + 5000, base + 5001));
	T_OK(twz__ranges_add(&p, &root, base + 9000, base + 12289));
	T_EQ(twz__tx_plan_sync(&p, root, span), 1);
	T_EQ(span[0].addr, base + 4096);
	T_EQ(span[0].len, 12288);
	T_OK(twz__ranges_add(&p, &root, base + (1 << 20), base + (1 << 20) + 1));
	T_EQ(twz__tx_plan_sync(&p, root, span), 2);
	T_OK(twz__ranges_add(&p, &root, base + TWZ_SLOT_SIZE + 4096,
			     base + TWZ_SLOT_SIZE + 4097)); /* another object */
	T_EQ(twz__tx_plan_sync(&p, root, span), 3);
	for (uintptr_t i = 1; i <= TWZ__TX_SPAN_MAX; i++)
		T_OK(twz__ranges_add(&p, &root, base + (i << 21), base + (i << 21) + 1));
	T_EQ(twz__tx_plan_sync(&p, root, span), TWZ__TX_SPAN_MAX + 1);
	twz__ranges_free(&p);
}

/* Every single-byte change of a valid entry is found by its conditions. */
static void changed_entries_are_not_valid(void)
{
	twz_oid log = {{1, 2}};
	uint64_t seed = twz__txent_seed(log, 5), gen;
	unsigned char buf[64 + 40];
	struct twz_txent_pm e = {.magic = TWZ_TXENT_MAGIC,
				 .kind = TWZ_TXENT_DATA,
				 .generation = 5,
				 .seq = 3,
				 .batch = 2,
				 .id = {7, 8}};
	const char *why;

	e.off = 4096;
	e.len = 40;
	e.next_off = 4096 + 128;
	memset(buf, 0x33, sizeof(buf));
	e.head_sum = twz__txent_head_sum(&e, log, 4096);
	e.sum = twz__txent_sum(&e, buf + 64, seed);
	memcpy(buf, &e, 64);
	T_TRUE(twz__txent_is_placed(&e, log, 4096, 65536, 5, 3, &why));
	T_TRUE(!twz__txent_is_placed(&e, log, 4096 + 64, 65536, 5, 3, &why));
	T_TRUE(!twz__txent_is_placed(&e, log, 4096, 65536, 6, 3, &why));
	T_TRUE(!twz__txent_is_placed(&e, log, 4096, 65536, 5, 4, &why));
	T_TRUE(!twz__txent_is_placed(&e, log, 4096, 4096 + 100, 5, 3, &why));
	for (size_t i = 0; i < sizeof(buf); i++) {
		buf[i] ^= 0x10;
		memcpy(&e, buf, 64);
		if (twz__txent_is_placed(&e, log, 4096, 65536, 5, 3, &why) &&
		    !T_TRUE(e.sum != twz__txent_sum(&e, buf + 64, seed)))
			break;
		buf[i] ^= 0x10;
	}
	T_TRUE(twz__txretire_generation(log, twz__txretire_word(log, 12345), &gen));
	T_EQ(gen, 12345);
	T_TRUE(!twz__txretire_generation(log, twz__txretire_word(log, 12345) ^ (1ULL << 20), &gen));
}

/* --- threads --- */

struct work {
	struct twz_store *s;
	uint64_t *counter;
	int err;
};

static void *count_up(void *arg)
{
	struct work *w = arg;
	struct twz_tx *tx;

	for (int i = 0; i < 200 && !w->err; i++) {
		w->err = twz_tx_begin(w->s, &tx);
		if (!w->err)
			w->err = twz_tx_record(tx, w->counter, 8);
		if (w->err)
			break;
		++*w->counter;
		if (i % 2)
			w->err = twz_tx_commit(tx);
		else
			w->err = twz_tx_abort(tx);
	}
	return NULL;
}

static void threads_have_their_own_transactions(void)
{
	enum { CNT = 4 };
	struct work w[CNT];
	pthread_t t[CNT];
	struct box b;

	if (!box_open(&b, CNT * 4096))
		return;
	for (int i = 0; i < CNT; i++) {
		w[i] = (struct work){b.s, (uint64_t *)(b.d + i * 4096), 0};
		pthread_create(&t[i], NULL, count_up, &w[i]);
	}
	for (int i = 0; i < CNT; i++) {
		pthread_join(t[i], NULL);
		T_OK(w[i].err);
		T_EQ(*w[i].counter, 100);
	}
	env_close(b.s);
}
BOTH(threads_have_their_own_transactions)

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(range_sets_agree_with_a_bitmap),
		T_CASE(sync_plan_joins_near_pages),
		T_CASE(changed_entries_are_not_valid),
		BOTH_CASES(commit_is_there_after_reopening),
		BOTH_CASES(abort_restores_in_reverse_order),
		BOTH_CASES(every_record_length_is_restored),
		BOTH_CASES(nested_levels_end_on_their_own),
		BOTH_CASES(many_objects_change_together),
		T_CASE(duplicates_cost_nothing_line),
		T_CASE(inner_ranges_join_the_outer_level_line),
		BOTH_CASES(macros_commit_abort_and_nest),
		BOTH_CASES(wrong_calls_are_refused),
		BOTH_CASES(closing_the_store_aborts),
		BOTH_CASES(an_object_closed_inside_stays_reachable),
		T_CASE(random_levels_agree_with_a_model_line),
		BOTH_CASES(threads_have_their_own_transactions),
		T_END,
	};

	t_err_name = twz_err_name;
	t_err_msg = twz_errmsg;
	return t_main("tx", cases, argc, argv);
}
