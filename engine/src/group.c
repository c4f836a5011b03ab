/* SPDX-License-Identifier: MIT
 * group.c -- one transaction over several databases, in one store or in several (D16)
 *
 *	1. a row that names the group is put into the coordinator's table of decisions, in its own transaction
 *	2. each participant: PREPARE (prepare.c)                      may fail: all is dropped
 *	3. the coordinator commits, that row included                 THE COMMIT POINT
 *	4. each participant: RESOLVED, which applies its share
 *	5. the row goes, with a later transaction of the coordinator
 *
 * The coordinator is the database with the lowest ID among those that changed. All writer locks are held from
 * the beginning to a database's last step, and taken in the order of IDs, or tried. So nobody waits in a circle; and who finds a prepared transaction
 * whose lock is free knows that its committer is dead, and that what the coordinator says is final (doubt.c).
 */
#include "group.h"

#include <limits.h>
#include <time.h>
#include <uuid/uuid.h>

#define ID_LEN	    16
#define DECIDED_MAX 1024 /* decisions a handle remembers to forget */
#define SWEPT	    64	 /* rows a group looks at */

static struct twzdb_slice id_slice(const uint64_t id[2])
{
	return (struct twzdb_slice){id, ID_LEN};
}

static int id_cmp(const uint64_t a[2], const uint64_t b[2])
{
	return memcmp(a, b, ID_LEN);
}

/* --- decisions --- */

static int decisions_open(struct twzdb_txn *tx, struct twzdb_table *t)
{
	return twzdb_table_open(tx, TWZDB_DECISIONS, TWZDB_TABLE_CREATE, t);
}

/* COORDINATOR's group has been resolved everywhere. Best effort: a row that is left takes a little space. */
static void decided(struct twzdb *db, const uint64_t group[2])
{
	pthread_mutex_lock(&db->mutex);
	if (db->decided.cnt < 2 * DECIDED_MAX && !u64vec_push(&db->decided, group[0]) &&
	    u64vec_push(&db->decided, group[1]))
		db->decided.cnt--;
	pthread_mutex_unlock(&db->mutex);
}

static bool decided_take(struct twzdb *db, uint64_t group[2])
{
	bool any;

	pthread_mutex_lock(&db->mutex);
	any = db->decided.cnt >= 2;
	if (any) {
		group[1] = db->decided.v[--db->decided.cnt];
		group[0] = db->decided.v[--db->decided.cnt];
	}
	pthread_mutex_unlock(&db->mutex);
	return any;
}

int twzdb__decisions_done(struct twzdb_txn *tx, struct twzdb_table t)
{
	uint64_t group[2];
	int err = 0;

	while (!err && decided_take(tx->db, group)) {
		err = twzdb_del(tx, t, id_slice(group));
		err = err == TWZDB_E_NOTFOUND ? 0 : err;
	}
	return err;
}

int twzdb__decisions_forget(struct twzdb_txn *tx)
{
	struct twzdb_table t;
	bool any;
	int err;

	pthread_mutex_lock(&tx->db->mutex);
	any = tx->db->decided.cnt;
	pthread_mutex_unlock(&tx->db->mutex);
	if (!any)
		return 0;
	err = decisions_open(tx, &t);
	return err ? err : twzdb__decisions_done(tx, t);
}

void twzdb__decisions_close(struct twzdb *db)
{
	struct twzdb_txn *tx;
	int err;

	if (db->read_only || twzdb_begin(db, TWZDB_TRY | TWZDB_LAZY, &tx))
		return;
	err = twzdb__decisions_forget(tx);
	if (err)
		twzdb_abort(tx);
	else
		(void)!twzdb_commit(tx);
}

static bool is_among(const void *one, const uint64_t *id, size_t cnt)
{
	for (size_t i = 0; i < cnt; i++)
		if (!memcmp(one, id + 2 * i, ID_LEN))
			return true;
	return false;
}

/* The row's value without CNT databases, which need no answer any more. */
static int without(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice group,
		   struct twzdb_slice was, const uint64_t *id, size_t cnt)
{
	uint8_t *left = malloc(was.len + 1);
	size_t len = 0;
	int err = 0;

	if (!left)
		return twzdb__err(-ENOMEM, "no memory for a decision");
	for (size_t at = 0; at + ID_LEN <= was.len; at += ID_LEN)
		if (!is_among((const uint8_t *)was.ptr + at, id, cnt)) {
			memcpy(left + len, (const uint8_t *)was.ptr + at, ID_LEN);
			len += ID_LEN;
		}
	if (len == was.len)
		goto out;
	err = len ? twzdb_put(tx, t, group, (struct twzdb_slice){left, len}, 0)
		  : twzdb_del(tx, t, group);
out:
	free(left);
	return err;
}

/*
 * Of databases whose writer locks we have, and which have nothing prepared, no former group's decision is needed. Some who died
 * could not say so.
 */
static int decisions_sweep(struct twzdb_txn *tx, struct twzdb_table t, const uint64_t *id,
			   size_t cnt)
{
	struct twzdb_slice group, was;
	struct twzdb_cursor *c;
	int err = twzdb_cursor_open(tx, t, &c), ret = 0;

	if (err)
		return err;
	err = twzdb_cursor_get(c, TWZDB_FIRST, &group, &was);
	for (int i = 0; i < SWEPT && !err && !ret; i++) {
		ret = without(tx, t, group, was, id, cnt);
		err = twzdb_cursor_get(c, TWZDB_NEXT, &group, &was);
	}
	twzdb_cursor_close(c);
	return ret ? ret : err == TWZDB_E_NOTFOUND ? 0 : err;
}

int twzdb__decision_told(struct twzdb *coordinator, const uint64_t group[2], const uint64_t id[2])
{
	struct twzdb_slice was;
	struct twzdb_txn *tx;
	struct twzdb_table t;
	int err = twzdb_begin(coordinator, TWZDB_TRY | TWZDB_LAZY, &tx);

	if (err)
		return err;
	err = twzdb_table_open(tx, TWZDB_DECISIONS, 0, &t);
	if (!err)
		err = twzdb_get(tx, t, id_slice(group), &was);
	if (!err)
		err = without(tx, t, id_slice(group), was, id, 1);
	if (!err)
		return twzdb_commit(tx);
	twzdb_abort(tx);
	return err == TWZDB_E_NOTFOUND ? 0 : err;
}

/* --- beginning --- */

static int same_twice(size_t cnt, const uint64_t *id)
{
	for (size_t i = 0; i < cnt; i++)
		for (size_t k = 0; k < i; k++)
			if (!id_cmp(id + 2 * i, id + 2 * k))
				return twzdb__err(TWZDB_E_INVAL,
						  "group: a database is there twice");
	return 0;
}

/* The one to be locked next: the lowest of those without a transaction. */
static size_t lowest(struct twzdb *const *db, size_t cnt, struct twzdb_txn *const *out)
{
	size_t best = cnt;

	for (size_t i = 0; i < cnt; i++)
		if (!out[i] && (best == cnt || id_cmp(db[i]->id, db[best]->id) < 0))
			best = i;
	return best;
}

void twzdb_group_abort(struct twzdb_txn *const *txn, size_t cnt)
{
	for (size_t i = 0; txn && i < cnt; i++)
		twzdb_abort(txn[i]);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static int begin_all(struct twzdb *const *db, size_t cnt, uint32_t flags, int timeout_ms,
		     struct twzdb_txn **out)
{
	uint64_t end = now_ms() + (timeout_ms > 0 ? (uint64_t)timeout_ms : 0), now;
	int err = 0, ms = timeout_ms;

	for (size_t n = 0; n < cnt && !err; n++) {
		size_t i = lowest(db, cnt, out);

		now = now_ms();
		if (timeout_ms >= 0)
			ms = now < end ? (int)(end - now) : 0;
		err = twzdb_begin_timed(db[i], flags, ms, &out[i]);
	}
	if (!err)
		return 0;
	twzdb_group_abort(out, cnt);
	memset(out, 0, cnt * sizeof(*out));
	return err;
}

int twzdb_group_begin(struct twzdb *const *db, size_t cnt, uint32_t flags, int timeout_ms,
		      struct twzdb_txn **out)
{
	uint64_t id[2 * TWZDB_GROUP_MAX];
	int err = 0;

	if (!db || !out || !cnt || cnt > TWZDB_GROUP_MAX || flags & ~(uint32_t)TWZDB_TRY)
		return twzdb__err(TWZDB_E_INVAL, "group_begin: 1 to %d databases, flags 0 or TRY",
				  TWZDB_GROUP_MAX);
	memset(out, 0, cnt * sizeof(*out));
	for (size_t i = 0; i < cnt; i++) {
		if (!db[i])
			return twzdb__err(TWZDB_E_INVAL, "group_begin: no database");
		twzdb_id(db[i], id + 2 * i);
	}
	err = same_twice(cnt, id);
	/* Who is asked must not find its own lock taken by us. */
	for (size_t i = 0; i < cnt && !err; i++)
		if (ld64_acq(&db[i]->sh->failed) == TWZDB__IN_DOUBT && !db[i]->read_only)
			err = twzdb__doubt_settle(db[i], timeout_ms);
	return err ? err : begin_all(db, cnt, flags, timeout_ms, out);
}

/* --- committing --- */

struct group {
	struct twzdb_txn *tx[TWZDB_GROUP_MAX]; /* those that changed, the coordinator first */
	size_t cnt;
	struct twzdb__chair chair;
};

static bool is_writer(struct twzdb_txn *tx)
{
	return tx && !twzdb__txn_enter(tx, "group_commit") && tx->writer;
}

static int arguments(struct twzdb_txn *const *txn, size_t cnt)
{
	uint64_t id[2 * TWZDB_GROUP_MAX];

	if (!txn || !cnt || cnt > TWZDB_GROUP_MAX)
		return twzdb__err(TWZDB_E_INVAL, "group_commit: 1 to %d transactions",
				  TWZDB_GROUP_MAX);
	for (size_t i = 0; i < cnt; i++) {
		if (!is_writer(txn[i]))
			return twzdb__err(TWZDB_E_STATE,
					  "group_commit: transaction %zu is no writer", i);
		twzdb_id(txn[i]->db, id + 2 * i);
	}
	return same_twice(cnt, id);
}

static void collect(struct twzdb_txn *const *txn, size_t cnt, struct group *g)
{
	g->cnt = 0;
	for (size_t i = 0; i < cnt; i++) {
		if (txn[i]->mods == txn[i]->mods0)
			continue;
		g->tx[g->cnt++] = txn[i];
		if (id_cmp(txn[i]->db->id, g->tx[0]->db->id) < 0) {
			g->tx[g->cnt - 1] = g->tx[0];
			g->tx[0] = txn[i];
		}
	}
}

/* The decision-to-be, in the coordinator's transaction. */
static int decision_put(struct group *g)
{
	uint64_t id[2 * TWZDB_GROUP_MAX];
	struct twzdb_table t;
	int err = decisions_open(g->tx[0], &t);

	for (size_t i = 1; i < g->cnt; i++)
		twzdb_id(g->tx[i]->db, id + 2 * (i - 1));
	if (!err)
		err = decisions_sweep(g->tx[0], t, id, g->cnt - 1);
	if (!err)
		err = twzdb_put(g->tx[0], t, id_slice(g->chair.group),
				(struct twzdb_slice){id, (g->cnt - 1) * ID_LEN}, 0);
	return err ? err : twzdb__decisions_done(g->tx[0], t);
}

static int chair_make(struct group *g)
{
	struct twz_store_info info = {.size = sizeof(info)};
	struct twzdb *db = g->tx[0]->db;
	uuid_t id;
	int err = twz_store_info(db->s, &info);

	if (err)
		return twzdb__from_twz(err, "group_commit");
	uuid_generate_random(id);
	memcpy(g->chair.group, id, ID_LEN);
	memcpy(g->chair.coordinator, db->id, ID_LEN);
	memcpy(g->chair.store, info.uuid.w, ID_LEN);
	g->chair.path = db->st->path;
	g->chair.name = db->name;
	return 0;
}

/* Nothing is decided, so nothing happens: those prepared say so. */
static void drop(struct group *g, size_t prepared)
{
	for (size_t i = 1; i < g->cnt; i++) {
		if (i <= prepared)
			(void)!twzdb__prepared_end(g->tx[i], false);
		else
			twzdb__discard(g->tx[i]);
	}
}

/* The coordinator's own commit, durable: lazy is of no use here. */
static int decide(struct group *g)
{
	struct twzdb_txn *tx = g->tx[0];
	int err = twzdb__commit(tx);

	if (tx->wait_nr) {
		int ret = twzdb__stage_wait(tx);

		err = err ? err : ret;
	}
	return err;
}

static int commit_group(struct group *g)
{
	size_t prepared = 0;
	int err = chair_make(g);

	if (!err)
		err = decision_put(g);
	while (!err && prepared + 1 < g->cnt) {
		err = twzdb__prepare(g->tx[prepared + 1], &g->chair);
		prepared += !err;
	}
	if (err) {
		twzdb__discard(g->tx[0]);
		drop(g, prepared);
		return err;
	}
	err = decide(g); /* the commit point (D3) */
	if (err && ld64_acq(&g->tx[0]->db->sh->failed)) {
		for (size_t i = 1; i < g->cnt; i++)
			twzdb__prepared_leave(g->tx[i]);
		return err;
	}
	if (err) {
		drop(g, prepared);
		return err;
	}
	/* Committed, whatever happens: what cannot be said now will be asked for. */
	for (size_t i = 1; i < g->cnt; i++)
		err = twzdb__prepared_end(g->tx[i], true) ? -EIO : err;
	if (!err)
		decided(g->tx[0]->db, g->chair.group);
	return 0;
}

static int commit_one(struct twzdb_txn *tx)
{
	int err = twzdb__commit(tx);

	if (tx->wait_nr) {
		int ret = twzdb__stage_wait(tx);

		err = err ? err : ret;
	}
	return err;
}

static int commit_all(struct twzdb_txn *const *txn, size_t cnt)
{
	struct group g;
	int err = 0, ret;

	collect(txn, cnt, &g);
	if (g.cnt > 1)
		err = commit_group(&g);
	else if (g.cnt)
		err = commit_one(g.tx[0]);
	/* Those that changed nothing: what they have read is durable. */
	for (size_t i = 0; i < cnt; i++) {
		if (txn[i]->mods != txn[i]->mods0)
			continue;
		ret = commit_one(txn[i]);
		err = err ? err : ret;
	}
	return err;
}

int twzdb_group_commit(struct twzdb_txn *const *txn, size_t cnt)
{
	int err = arguments(txn, cnt);

	if (err)
		return err;
	err = commit_all(txn, cnt);
	for (size_t i = 0; i < cnt; i++)
		twzdb__group_over(txn[i]);
	return err;
}

int twzdb_group_commit_next(struct twzdb_txn *const *txn, size_t cnt)
{
	int err = arguments(txn, cnt), ret;

	if (err)
		return err;
	err = commit_all(txn, cnt);
	for (size_t i = 0; i < cnt; i++) {
		ret = twzdb__group_next(txn[i], err);
		err = err ? err : ret;
	}
	return err;
}
