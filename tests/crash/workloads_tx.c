/* SPDX-License-Identifier: MIT
 * workloads_tx.c -- undo transactions over two objects (D8)
 */
#include "workloads.h"

#include <string.h>

#define WORDS  16
#define STRIDE 72 /* words apart, so that most lie in lines and some in pages of their own */

static uint64_t *word(struct crash *c, int obj, int i)
{
	return (uint64_t *)twz_obj_data(c->user[obj]) + (uint64_t)i * STRIDE;
}

static int setup_two(struct crash *c)
{
	for (uint64_t n = 1; n <= 2; n++) {
		struct twz_obj *o = NULL;

		CRASH_DO(c, wl_create(c, n, 12288, &o));
		c->user[n] = o;
		for (int i = 0; i < WORDS; i++)
			*word(c, (int)n, i) = 100 * n + (uint64_t)i;
		CRASH_DO(c, twz_sync(c->store, twz_obj_data(o), 12288));
	}
	return 0;
}

static int show_two(struct crash *c)
{
	for (uint64_t n = 1; n <= 2; n++) {
		struct twz_obj *o = NULL;
		const uint64_t *w;

		CRASH_DO(c, twz_obj_open(c->store, wl_id(n), TWZ_READ, &o));
		w = twz_obj_data(o);
		for (uint64_t i = 0; i < WORDS; i++)
			crash_say(c, "%llu ", (unsigned long long)w[i * STRIDE]);
		crash_say(c, "sum %llx\n", (unsigned long long)wl_sum(w, 12288));
		twz_obj_close(o);
	}
	return 0;
}

/* Record a word of an object, then change it. */
static int change(struct crash *c, struct twz_tx *tx, int obj, int i, uint64_t v)
{
	int rc = twz_tx_record(tx, word(c, obj, i), sizeof(uint64_t));

	if (!rc)
		*word(c, obj, i) = v;
	return rc;
}

static int commit_two(struct crash *c, uint64_t v)
{
	struct twz_tx *tx = NULL;
	int rc = twz_tx_begin(c->store, &tx);

	if (rc)
		return rc;
	for (int i = 0; i < 3 && !rc; i++) {
		rc = change(c, tx, 1, (int)(v % 5) + 4 * i, v + (uint64_t)i);
		if (!rc)
			rc = change(c, tx, 2, (int)(v % 3) + 5 * i, v + 50 + (uint64_t)i);
	}
	if (rc) {
		twz_tx_abort(tx);
		return rc;
	}
	return twz_tx_commit(tx);
}

static int run_commit(struct crash *c)
{
	for (uint64_t v = 1; v <= 4; v++)
		CRASH_OP(c, commit_two(c, v * 1000 + v));
	return 0;
}

const struct crash_workload wl_tx_commit = {.name = "tx.commit",
					    .what = "undo transactions over two objects",
					    .media = CRASH_ALL,
					    .quick = true,
					    .kind = &twz_kind,
					    .setup = setup_two,
					    .run = run_commit,
					    .show = show_two};

static int abort_two(struct crash *c, uint64_t v)
{
	struct twz_tx *tx = NULL;
	int rc = twz_tx_begin(c->store, &tx);

	if (!rc)
		rc = change(c, tx, 1, 3, v);
	if (!rc)
		rc = change(c, tx, 2, 4, v);
	if (!rc)
		rc = change(c, tx, 1, 3, v + 1); /* recorded before */
	return rc ? rc : twz_tx_abort(tx);
}

static int run_abort(struct crash *c)
{
	CRASH_OP(c, commit_two(c, 7));
	CRASH_OP(c, abort_two(c, 70));
	CRASH_OP(c, commit_two(c, 8));
	CRASH_OP(c, abort_two(c, 80));
	return 0;
}

const struct crash_workload wl_tx_abort = {
	.name = "tx.abort",
	.what = "transactions taken back between others that commit",
	.media = CRASH_ALL,
	.kind = &twz_kind,
	.setup = setup_two,
	.run = run_abort,
	.show = show_two};

/*
 * One word changed and taken back, nothing else on the way: few enough images for all of them.
 * The word must be back before the log forgets it.
 */
static int abort_one(struct crash *c, uint64_t v)
{
	struct twz_tx *tx = NULL;
	int rc = twz_tx_begin(c->store, &tx);

	if (!rc)
		rc = change(c, tx, 1, 3, v);
	return rc ? rc : twz_tx_abort(tx);
}

static int run_abort_one(struct crash *c)
{
	CRASH_OP(c, abort_one(c, 70));
	CRASH_OP(c, abort_one(c, 80));
	return 0;
}

const struct crash_workload wl_tx_abort_one = {.name = "tx.abort_one",
					       .what = "one word changed and taken back",
					       .media = CRASH_LINE | CRASH_PAGE,
					       .quick = true,
					       .kind = &twz_kind,
					       .setup = setup_two,
					       .run = run_abort_one,
					       .show = show_two};

/* Outer changes stay, the first inner level is taken back, the second joins. */
static int nested(struct crash *c, uint64_t v)
{
	struct twz_tx *outer = NULL, *inner = NULL;
	int rc = twz_tx_begin(c->store, &outer);

	if (!rc)
		rc = change(c, outer, 1, 0, v);
	if (!rc)
		rc = twz_tx_begin(c->store, &inner);
	if (!rc)
		rc = change(c, inner, 1, 0, v + 1);
	if (!rc)
		rc = change(c, inner, 2, 1, v + 2);
	if (!rc)
		rc = twz_tx_abort(inner);
	if (!rc)
		rc = twz_tx_begin(c->store, &inner);
	if (!rc)
		rc = change(c, inner, 2, 2, v + 3);
	if (!rc)
		rc = twz_tx_commit(inner);
	if (!rc)
		rc = change(c, outer, 1, 5, v + 4);
	return rc ? rc : twz_tx_commit(outer);
}

static int run_nested(struct crash *c)
{
	for (uint64_t v = 1; v <= 3; v++)
		CRASH_OP(c, nested(c, v * 100));
	return 0;
}

const struct crash_workload wl_tx_nested = {.name = "tx.nested",
					    .what = "nested levels, one taken back, one joined",
					    .media = CRASH_ALL,
					    .quick = true,
					    .kind = &twz_kind,
					    .setup = setup_two,
					    .run = run_nested,
					    .show = show_two};

/* Long ranges, many at once, and fresh memory: the undo log grows. */
static int commit_large(struct crash *c, uint64_t v)
{
	struct twz_range r[3] = {
		{word(c, 1, 0), 4096}, {word(c, 2, 0), 2000}, {word(c, 2, 10), 600}};
	struct twz_tx *tx = NULL;
	int rc = twz_tx_begin(c->store, &tx);

	if (!rc)
		rc = twz_tx_record_many(tx, r, 3);
	for (int i = 0; i < 3 && !rc; i++)
		memset(r[i].addr, (int)(v + (uint64_t)i), r[i].len);
	if (!rc) /* outside the ranges above: an abort or crash before the commit may leave anything there, so write what is there */
		rc = twz_tx_fresh(tx, word(c, 1, 15), 64);
	return rc ? rc : twz_tx_commit(tx);
}

static int run_large(struct crash *c)
{
	for (uint64_t v = 1; v <= 3; v++)
		CRASH_OP(c, commit_large(c, v));
	return 0;
}

const struct crash_workload wl_tx_large = {.name = "tx.large",
					   .what = "long ranges and many at once",
					   .media = CRASH_LINE | CRASH_PAGE,
					   .kind = &twz_kind,
					   .setup = setup_two,
					   .run = run_large,
					   .show = show_two};

/* --- more than the log's first object holds: it gets others, and gives them back --- */

#define WIDE_LEN ((uint64_t)200 << 10)

static int setup_wide(struct crash *c)
{
	for (uint64_t i = 0; i < 2; i++)
		CRASH_DO(c, wl_create(c, i + 1, WIDE_LEN, (struct twz_obj **)&c->user[i]));
	return 0;
}

static int commit_wide(struct crash *c, uint64_t v, bool keep)
{
	struct twz_tx *tx = NULL;
	int rc = twz_tx_begin(c->store, &tx);

	for (int i = 0; i < 2 && !rc; i++) {
		rc = twz_tx_record(tx, twz_obj_data(c->user[i]), WIDE_LEN);
		if (!rc)
			memset(twz_obj_data(c->user[i]), (int)v + i, WIDE_LEN);
	}
	if (rc)
		return rc;
	return keep ? twz_tx_commit(tx) : twz_tx_abort(tx);
}

static int run_wide(struct crash *c)
{
	CRASH_OP(c, commit_wide(c, 5, true));
	CRASH_OP(c, commit_wide(c, 7, false));
	CRASH_OP(c, commit_wide(c, 9, true));
	return 0;
}

static int show_wide(struct crash *c)
{
	return wl_show_objects(c, true);
}

const struct crash_workload wl_tx_wide = {
	.name = "tx.wide",
	.what = "a transaction whose undo log has several objects",
	.media = CRASH_LINE | CRASH_PAGE,
	.share = 10,
	.kind = &twz_kind,
	.setup = setup_wide,
	.run = run_wide,
	.show = show_wide};

/* --- crash, recovery, new transactions, and a second crash (D1) --- */

#define LONG_LEN                                                                                   \
	(4096 - 64) /* an entry of it and its header fill a unit of the log on either medium */

/*
 * One record call makes two entries. A crash that loses the first and keeps the second leaves
 * nothing to roll back, but a second entry that would follow a first one of the same bytes.
 * Recovery voids it by raising the log's generation.
 */
static int pair(struct crash *c, uint8_t v, bool both)
{
	struct twz_range r[2] = {{twz_obj_data(c->user[1]), LONG_LEN},
				 {twz_obj_data(c->user[2]), 64}};
	struct twz_tx *tx = NULL;
	int rc = twz_tx_begin(c->store, &tx);

	if (!rc)
		rc = twz_tx_record_many(tx, r, both ? 2 : 1);
	if (rc)
		return rc;
	for (int i = 0; i <= both; i++)
		memset(r[i].addr, v + i, r[i].len);
	return twz_tx_commit(tx);
}

static int run_again(struct crash *c)
{
	CRASH_OP(c, pair(c, 10, true));
	return 0;
}

/*
 * The second range by twz_sync alone, then the first by a transaction that makes the same first
 * entry.
 */
static int set_second(struct crash *c)
{
	*word(c, 2, 0) = 777;
	return twz_sync(c->store, word(c, 2, 0), sizeof(uint64_t));
}

static int more_again(struct crash *c)
{
	struct twz_obj *o[3] = {NULL};

	for (uint64_t n = 1; n <= 2; n++) {
		CRASH_DO(c, twz_obj_open(c->store, wl_id(n), TWZ_READ | TWZ_WRITE, &o[n]));
		c->user[n] = o[n];
	}
	CRASH_OP(c, set_second(c));
	CRASH_OP(c, pair(c, 20, false));
	CRASH_OP(c, pair(c, 30, true));
	twz_obj_close(o[1]);
	twz_obj_close(o[2]);
	return 0;
}

const struct crash_workload wl_tx_again = {
	.name = "tx.again",
	.what = "crash, rollback, new transactions, a second crash (D1)",
	.media = CRASH_LINE | CRASH_PAGE,
	.second = 4,
	.share = 25,
	.kind = &twz_kind,
	.setup = setup_two,
	.run = run_again,
	.show = show_two,
	.again = more_again};

/* --- the smallest there is: one word --- */

static int commit_word(struct crash *c, uint64_t v)
{
	struct twz_tx *tx = NULL;
	int rc = twz_tx_begin(c->store, &tx);

	if (!rc)
		rc = change(c, tx, 1, 0, v);
	return rc ? rc : twz_tx_commit(tx);
}

/* The log of transactions is made by the first. */
static int setup_word(struct crash *c)
{
	struct twz_obj *o = NULL;

	CRASH_DO(c, wl_create(c, 1, 4096, &o));
	c->user[1] = o;
	CRASH_DO(c, commit_word(c, 3));
	return 0;
}

static int run_word(struct crash *c)
{
	CRASH_OP(c, commit_word(c, 7));
	return 0;
}

static int show_word(struct crash *c)
{
	return wl_show_objects(c, true);
}

const struct crash_workload wl_tx_word = {.name = "tx.word",
					  .what = "one word, in one transaction",
					  .media = CRASH_LINE | CRASH_PAGE,
					  .thrice = 64,
					  .kind = &twz_kind,
					  .setup = setup_word,
					  .run = run_word,
					  .show = show_word};
