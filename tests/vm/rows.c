/* SPDX-License-Identifier: MIT
 * rows.c -- transactions of the engine whose order and wholeness can be seen afterwards
 *
 * Every transaction takes the next number S of all. It stores
 *	table "t":  "seq" = S;  row S = {S, actor, n, bytes computed from these};  "actor A" = n;
 *		    row S - load_keep goes
 *	table "b":  an amount moves from one of ACCOUNTS to another
 * So the store must hold, whatever was cut: rows S - load_keep + 1 .. S without a gap and nothing beyond (the order
 * of commits is a prefix), each whole; the n of each actor one after the other; all accounts together what they began
 * with. Every third transaction is lazy: nobody is told that it is durable, but it takes part in the order.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "twz/twz.h"
#include "vmload.h"

#define ACCOUNTS 40
#define START	 1000 /* in each account */

struct row {
	uint64_t seq, actor, n, len;
};

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 31)) * 0x9E3779B97F4A7C15ull;
	return x ^ (x >> 29);
}

/* Length of row S: a few bytes, some thousand, and seldom more than goes into a log record of usual length. */
static size_t row_len(uint64_t seq)
{
	uint64_t r = mix(seq);

	if (r % (load_keep > 1000 ? 5 : 97) == 0) /* who keeps many rows wants to fill the store */
		return sizeof(struct row) + 90000;
	return sizeof(struct row) + r % (r % 11 ? 300 : 5000);
}

static void row_fill(uint8_t *buf, uint64_t seq, uint64_t actor, uint64_t n)
{
	struct row r = {seq, actor, n, row_len(seq)};

	memcpy(buf, &r, sizeof(r));
	for (size_t i = sizeof(r); i < r.len; i++)
		buf[i] = (uint8_t)mix(seq + actor * 1000003 + i / 8);
}

static struct twzdb_slice key(char buf[40], const char *kind, uint64_t n)
{
	int len = snprintf(buf, 40, "%s %012" PRIu64, kind, n);

	return (struct twzdb_slice){buf, (size_t)len};
}

static int get_num(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice k, uint64_t *n)
{
	struct twzdb_slice v;
	int err = twzdb_get(tx, t, k, &v);

	*n = 0;
	if (err == TWZDB_E_NOTFOUND)
		return 0;
	if (!err && v.len != 8)
		return TWZ_E_CORRUPT;
	if (!err)
		memcpy(n, v.ptr, 8);
	return err;
}

static int put_num(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice k, uint64_t n)
{
	return twzdb_put(tx, t, k, (struct twzdb_slice){&n, 8}, 0);
}

static int accounts_begin(struct twzdb_txn *tx, struct twzdb_table t)
{
	char buf[40];
	int err = 0;

	for (uint64_t i = 0; i < ACCOUNTS && !err; i++)
		err = put_num(tx, t, key(buf, "acct", i), START);
	return err;
}

static int transfer(struct twzdb_txn *tx, struct twzdb_table t, uint64_t seq)
{
	uint64_t from = mix(seq) % ACCOUNTS, to = mix(seq + 7) % ACCOUNTS, a, b;
	char buf[40];
	int err = get_num(tx, t, key(buf, "acct", from), &a);

	if (!err)
		err = put_num(tx, t, key(buf, "acct", from), a - seq % 10);
	if (!err)
		err = get_num(tx, t, key(buf, "acct", to), &b);
	if (!err)
		err = put_num(tx, t, key(buf, "acct", to), b + seq % 10);
	return err;
}

/* The number this actor has come to, and the next of all. */
static int change(struct twzdb_txn *tx, int actor, uint64_t *n, uint64_t *seq)
{
	static _Thread_local uint8_t buf[100000];
	struct twzdb_table t, b;
	char kb[40];
	int err = twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &t);

	if (!err)
		err = twzdb_table_open(tx, "b", TWZDB_TABLE_CREATE, &b);
	if (!err)
		err = get_num(tx, t, key(kb, "seq", 0), seq);
	if (!err)
		err = get_num(tx, t, key(kb, "actor", (uint64_t)actor), n);
	if (!err && *seq == 0)
		err = accounts_begin(tx, b);
	++*seq, ++*n;
	row_fill(buf, *seq, (uint64_t)actor, *n);
	if (!err)
		err = twzdb_put(tx, t, key(kb, "row", *seq),
				(struct twzdb_slice){buf, row_len(*seq)}, TWZDB_INSERT);
	if (!err)
		err = put_num(tx, t, key(kb, "seq", 0), *seq);
	if (!err)
		err = put_num(tx, t, key(kb, "actor", (uint64_t)actor), *n);
	if (!err && *seq > load_keep)
		err = twzdb_del(tx, t, key(kb, "row", *seq - load_keep));
	return err ? err : transfer(tx, b, *seq);
}

static int one_txn(struct twzdb *db, int actor, bool lazy)
{
	struct twzdb_txn *tx;
	uint64_t n = 0, seq = 0;
	int err = twzdb_begin_timed(db, lazy ? TWZDB_LAZY : 0, PATIENCE_MS, &tx);

	if (err)
		return err;
	err = change(tx, actor, &n, &seq);
	if (err) {
		twzdb_abort(tx);
		return err;
	}
	err = twzdb_commit(tx);
	if (!err && !lazy)
		say_acked(actor, n, seq);
	return err;
}

/* A row by a single call: it says how far this actor's transactions have come. */
static int one_call(struct twzdb *db, struct twzdb_table t, int actor, uint64_t *n)
{
	uint64_t v = *n + 1;
	char buf[40];
	int err = twzdb_put_one(db, t, key(buf, "one", (uint64_t)actor),
				(struct twzdb_slice){&v, 8}, 0);

	if (err)
		return err;
	*n = v;
	say_acked(ONE_BASE + actor, v, 0);
	return 0;
}

static int open_one(struct twzdb *db, int actor, struct twzdb_table *t, uint64_t *n)
{
	struct twzdb_txn *tx;
	char buf[40];
	int err = twzdb_begin_timed(db, 0, PATIENCE_MS, &tx);

	if (err)
		return err;
	err = twzdb_table_open(tx, "one", TWZDB_TABLE_CREATE, t);
	if (!err)
		err = get_num(tx, *t, key(buf, "one", (uint64_t)actor), n);
	if (!err)
		return twzdb_commit(tx);
	twzdb_abort(tx);
	return err;
}

int rows_open(const struct load *l, struct twzdb **db)
{
	struct twzdb_options opt = {
		.size = sizeof(opt), .flags = TWZDB_CREATE, .log_len = l->log_len};

	return twzdb_open(l->path, &opt, db);
}

void rows_actor(const struct load *l, struct twzdb *db, int actor)
{
	struct twzdb_table t = {0};
	uint64_t ones = 0;
	int err = open_one(db, actor, &t, &ones);

	while (err && l->endure && !load_over()) {
		say_error(l, actor, "open", err, twzdb_errmsg());
		err = open_one(db, actor, &t, &ones);
	}
	if (err)
		say_error(l, actor, "open", err, twzdb_errmsg());
	for (uint64_t i = 1; !load_done(l, i - 1); i++) {
		err = i % 5 ? one_txn(db, actor, i % 3 == 0) : one_call(db, t, actor, &ones);
		if (!err && actor == 0 && i % 64 == 0)
			err = twzdb_checkpoint(db);
		if (err && err != TWZDB_E_BUSY)
			say_error(l, actor, "commit", err, twzdb_errmsg());
	}
}

/* --- afterwards --- */

struct seen {
	uint64_t last[ENGINE_MAX], one[ENGINE_MAX]; /* as the rows "actor A", "one A" say */
	uint64_t n[ENGINE_MAX];			    /* as the rows themselves say, in order */
};

static int judge_row(struct seen *s, struct twzdb_slice v, uint64_t seq)
{
	static uint8_t want[100000];
	struct row r;

	if (v.len < sizeof(r))
		return bad("row %" PRIu64 " has %zu bytes", seq, v.len);
	memcpy(&r, v.ptr, sizeof(r));
	if (r.seq != seq || r.actor >= ENGINE_MAX || v.len != row_len(seq))
		return bad("row %" PRIu64 " is not that row", seq);
	row_fill(want, seq, r.actor, r.n);
	if (memcmp(want, v.ptr, v.len))
		return bad("row %" PRIu64 " is there by half", seq);
	if (s->n[r.actor] && r.n != s->n[r.actor] + 1)
		return bad("row %" PRIu64 ": actor %" PRIu64 " goes from %" PRIu64 " to %" PRIu64,
			   seq, r.actor, s->n[r.actor], r.n);
	s->n[r.actor] = r.n;
	return 0;
}

static int judge_rows(struct twzdb_txn *tx, struct twzdb_table t, struct seen *s, uint64_t *seq)
{
	struct twzdb_slice v, none = {NULL, 0};
	char buf[40], buf2[40];
	uint64_t cnt = 0, first;
	int rc = 0, err = get_num(tx, t, key(buf, "seq", 0), seq);

	if (err)
		return bad("seq: %d %s", err, twzdb_errmsg());
	first = *seq > load_keep ? *seq - load_keep + 1 : 1;
	for (uint64_t i = first; i <= *seq && !rc; i++) {
		err = twzdb_get(tx, t, key(buf, "row", i), &v);
		rc = err ? bad("row %" PRIu64 " of %" PRIu64 ": %d %s", i, *seq, err,
			       twzdb_errmsg())
			 : judge_row(s, v, i);
	}
	err = twzdb_count_range(tx, t, key(buf, "row", 0),
				(struct twzdb_slice){buf2, (size_t)snprintf(buf2, 40, "row!")},
				&cnt);
	if (err || cnt != (*seq ? *seq - first + 1 : 0))
		return bad("%" PRIu64 " rows up to %" PRIu64 ", %d", cnt, *seq, err);
	err = twzdb_count_range(tx, t, key(buf, "row", *seq + 1), none, &cnt);
	err = err ? err : twzdb_count_range(tx, t, (struct twzdb_slice){"row!", 4}, none, &first);
	if (err || cnt != first)
		return bad("rows beyond %" PRIu64 ", %d", *seq, err);
	return rc;
}

static int judge_actors(struct twzdb_txn *tx, struct twzdb_table t, struct seen *s)
{
	char buf[40];

	for (uint64_t a = 0; a < ENGINE_MAX; a++) {
		int err = get_num(tx, t, key(buf, "actor", a), &s->last[a]);

		if (err)
			return bad("actor %" PRIu64 ": %d %s", a, err, twzdb_errmsg());
		if (s->n[a] && s->n[a] != s->last[a])
			return bad("actor %" PRIu64 " is at %" PRIu64 ", its row at %" PRIu64, a,
				   s->last[a], s->n[a]);
		if (s->last[a])
			printf("F %" PRIu64 " %" PRIu64 "\n", a, s->last[a]);
	}
	return 0;
}

static int judge_accounts(struct twzdb_txn *tx, struct twzdb_table t, uint64_t seq)
{
	uint64_t sum = 0, n;
	char buf[40];

	for (uint64_t i = 0; i < ACCOUNTS; i++) {
		int err = get_num(tx, t, key(buf, "acct", i), &n);

		if (err)
			return bad("account %" PRIu64 ": %d %s", i, err, twzdb_errmsg());
		sum += n;
	}
	if (sum != (seq ? (uint64_t)ACCOUNTS * START : 0))
		return bad("the accounts hold %" PRIu64, sum);
	return 0;
}

static int judge_ones(struct twzdb_txn *tx)
{
	struct twzdb_table t;
	uint64_t n;
	char buf[40];
	int err = twzdb_table_open(tx, "one", TWZDB_TABLE_ANY, &t);

	for (uint64_t a = 0; a < ENGINE_MAX && !err; a++) {
		err = get_num(tx, t, key(buf, "one", a), &n);
		if (!err && n)
			printf("F %" PRIu64 " %" PRIu64 "\n", ONE_BASE + a, n);
	}
	return err && err != TWZDB_E_NOTFOUND ? bad("one: %d %s", err, twzdb_errmsg()) : 0;
}

/* Looks at all rows again and again, while others change them. */
void rows_reader(const struct load *l, struct twzdb *db)
{
	static struct seen s;
	struct twzdb_table t;
	struct twzdb_txn *tx;
	uint64_t seq;

	while (!load_over()) {
		int err = twzdb_begin(db, TWZDB_RDONLY, &tx);

		if (err) {
			say_error(l, READER, "begin", err, twzdb_errmsg());
			continue;
		}
		memset(&s, 0, sizeof(s));
		err = twzdb_table_open(tx, "t", TWZDB_TABLE_ANY, &t);
		if (err && err != TWZDB_E_NOTFOUND)
			say_error(l, READER, "table", err, twzdb_errmsg());
		if (!err && judge_rows(tx, t, &s, &seq))
			say_error(l, READER, "rows", -1, twzdb_errmsg());
		twzdb_abort(tx);
	}
}

int rows_judge(struct twzdb *db)
{
	static struct seen s;
	struct twzdb_table t, b;
	struct twzdb_txn *tx;
	uint64_t seq = 0;
	int rc, err = twzdb_begin(db, TWZDB_RDONLY, &tx);

	memset(&s, 0, sizeof(s));
	if (err)
		return bad("begin: %d %s", err, twzdb_errmsg());
	rc = judge_ones(tx);
	err = twzdb_table_open(tx, "t", TWZDB_TABLE_ANY, &t);
	if (!err)
		err = twzdb_table_open(tx, "b", TWZDB_TABLE_ANY, &b);
	if (!err && !rc)
		rc = judge_rows(tx, t, &s, &seq) || judge_actors(tx, t, &s) ||
		     judge_accounts(tx, b, seq);
	if (err && err != TWZDB_E_NOTFOUND)
		rc = bad("tables: %d %s", err, twzdb_errmsg());
	printf("F %d %" PRIu64 "\n", SEQ_ACTOR, seq);
	twzdb_abort(tx);
	return rc;
}
