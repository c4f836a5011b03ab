/* SPDX-License-Identifier: MIT
 * txn.c -- the life of a transaction
 *
 *	                 reset --> RESET --renew-.
 *	                  |                      v
 *	begin RDONLY --> READER --renew------> READER --commit, abort--> ended
 *	                  |  ^ downgrade, commit_keep
 *	          upgrade v  |
 *	begin -----------> WRITER --commit, abort--> ended
 *
 * Handles outlive their transactions (handle.c); between two of them, all that belongs to a writer
 * is zero.
 */
#include "group.h"

#define LOOK_MS 2000
#define DOUBTS	3 /* prepared transactions somebody left, one after the other */

/* Of this transaction alone. */
static uint64_t next_stamp(struct twzdb *db)
{
	uint64_t stamp = (ld64(&db->sh->stamp) + 1) & ~TWZDB_LINK_RESERVED;

	st64(&db->sh->stamp, stamp);
	return stamp;
}

static void become_writer(struct twzdb_txn *tx, uint64_t token)
{
	twzdb__cursors_keep(tx);
	tx->writer = true;
	tx->token = token;
	tx->ts = twzdb__last_ts(tx) + 1;
	tx->read_ts = tx->ts;
	if (unlikely(tx->view)) {
		uint64_t levels = tx->levels; /* what is staged now, instead */

		twzdb__view_drop(tx);
		tx->levels = levels;
	}
	tx->stamp = next_stamp(tx->db);
	tx->put = NULL;
	tx->min_known = false;
	tx->mods0 = ++tx->mods;
	twzdb__use_renew(tx);
}

/* At its snapshot, or at the staged commit it saw. */
static int become_reader(struct twzdb_txn *tx)
{
	uint64_t token = tx->token, saw = tx->ts - 1;
	int err = 0;

	tx->writer = false;
	tx->token = 0;
	tx->read_ts = tx->snap;
	tx->mods++;
	tx->use.h = tx->quick = 0;
	/*
	 * Either what it saw is in no home yet, and its view, if it had one as a reader, is gone; or it has been published since it
	 * began, and its snapshot is older.
	 */
	if (unlikely(saw > ld64_acq(&tx->db->sh->ts) || saw > tx->snap)) {
		tx->read_ts = tx->snap = twzdb__snap_set(tx->db, tx->rd);
		err = twzdb__view_take(tx, saw);
	}
	if (likely(token))
		twzdb__lock_drop(tx->db, tx->rd, token);
	return err;
}

int twzdb__writable(struct twzdb *db)
{
	uint64_t failed = ld64_acq(&db->sh->failed);

	if (likely(!failed))
		return 0;
	if (failed == TWZDB__IN_DOUBT)
		return twzdb__doubt_error(db, "nobody has asked yet");
	return twzdb__err(
		TWZDB_E_IO,
		"%s: a log write of database '%s' failed with unknown outcome: close it in all processes and open it again",
		twz_store_path(db->s), db->name);
}

/*
 * With the writer lock, and the right to write. Who died may have left a prepared transaction, which only shows when
 * the lock is had. LOOK: that does not matter.
 */
static int writer_lock(struct twzdb_txn *tx, bool look, int timeout_ms, uint64_t *token)
{
	struct twzdb *db = tx->db;
	int err = 0;

	for (int i = 0; i < DOUBTS; i++) {
		if (!look && unlikely(ld64_acq(&db->sh->failed) == TWZDB__IN_DOUBT))
			err = twzdb__doubt_settle(db, timeout_ms);
		if (!err && !look)
			err = twzdb__writable(db);
		if (!err)
			err = twzdb__lock_take(db, tx->rd, timeout_ms, token);
		if (err)
			return err;
		if (look && ld64_acq(&db->sh->failed) == TWZDB__IN_DOUBT)
			return 0;
		err = twzdb__writable(db);
		if (likely(!err))
			return 0;
		twzdb__lock_drop(db, tx->rd, *token);
		if (err != TWZDB_E_DOUBT)
			return err;
		err = 0;
	}
	return twzdb__err(TWZDB_E_BUSY, "database '%s': its writers die one after the other",
			  db->name);
}

static int begin_writer(struct twzdb_txn *tx, bool look, int timeout_ms)
{
	struct twzdb *db = tx->db;
	uint64_t token;
	int err = writer_lock(tx, look, timeout_ms, &token);

	if (err)
		return err;
	if (unlikely(db->page_media) && !err)
		err = twzdb__stage_begin(tx);
	if (err) {
		tx->levels = 0; /* the handle's next life may be a reader's */
		twzdb__lock_drop(db, tx->rd, token);
		return err;
	}
	tx->snap = twzdb__snap_set(db, tx->rd);
	become_writer(tx, token);
	return 0;
}

/* What a handle's next life must not find; begin stores the rest. */
static inline void writer_clear(struct twzdb_txn *tx)
{
	tx->token = tx->stamp = 0;
	tx->writer = tx->min_known = false;
	if (unlikely(tx->sp || tx->broken))
		memset(&tx->flags, 0, sizeof(*tx) - offsetof(struct twzdb_txn, flags));
}

/* The writer lock, if it held it, goes on. */
static void end(struct twzdb_txn *tx)
{
	struct twzdb *db = tx->db;
	uint64_t token = tx->token;

	if (likely(!db->watch))
		twzdb__stat_add(&db->sh->stats.reader_retries, tx->retries);
	else
		twzdb__watch_clear(db, tx->rd);
	tx->retries = 0;
	if (unlikely(tx->view))
		twzdb__view_drop(tx);
	if (tx->stamp) /* it was the writer for a while */
		writer_clear(tx);
	if (token)
		twzdb__lock_drop(db, tx->rd, token);
	twzdb__txn_end(tx);
	if (unlikely(db->read_only))
		twz_store_let(db->s);
}

static int read_only(const struct twzdb *db)
{
	return twzdb__err(TWZDB_E_READONLY, "%s: database '%s' is open for reading only",
			  twz_store_path(db->s), db->name);
}

/* An image of our own must stay as it is while we read it. */
static int read_only_begin(struct twzdb *db, bool reads)
{
	int err = reads ? twz_store_hold(db->s) : read_only(db);

	return err == TWZ_E_STALE ? twzdb__from_twz(err, "begin") : err;
}

/* LOOK: with the writer lock, to change nothing. */
static int begin(struct twzdb *db, uint32_t flags, bool look, int timeout_ms,
		 struct twzdb_txn **out)
{
	struct twzdb_txn *tx;
	int err;

	if (!out)
		return twzdb__err(TWZDB_E_INVAL, "begin: no place for the transaction");
	*out = NULL;
	if (!db || flags & ~(uint32_t)(TWZDB_RDONLY | TWZDB_TRY | TWZDB_LAZY))
		return twzdb__err(TWZDB_E_INVAL, "begin: no database, or unknown flags 0x%x",
				  flags);
	err = twzdb__enter(db);
	if (!err && unlikely(twzdb__is_cut(db)))
		err = twzdb__cut(db);
	if (!err && unlikely(db->read_only))
		err = read_only_begin(db, (look && !db->watch) || flags & TWZDB_RDONLY);
	if (err)
		return err;
	err = twzdb__txn_new(db, &tx);
	if (err) {
		if (db->read_only)
			twz_store_let(db->s);
		return err;
	}
	tx->flags = flags;
	if (unlikely(db->watch)) {
		err = twzdb__watch_set(db, tx->rd, &tx->snap);
		tx->read_ts = tx->snap;
		twzdb__use_renew(tx);
	} else if (flags & TWZDB_RDONLY) {
		err = twzdb__snap_take(tx);
		twzdb__use_renew(tx);
	} else {
		err = begin_writer(tx, look, flags & TWZDB_TRY ? 0 : timeout_ms);
	}
	if (err)
		end(tx);
	else
		*out = tx;
	return err;
}

int twzdb_begin_timed(struct twzdb *db, uint32_t flags, int timeout_ms, struct twzdb_txn **out)
{
	return begin(db, flags, false, timeout_ms, out);
}

int twzdb_begin(struct twzdb *db, uint32_t flags, struct twzdb_txn **out)
{
	return begin(db, flags, false, -1, out);
}

int twzdb__begin_look(struct twzdb *db, const char *what, struct twzdb_txn **out)
{
	int err = begin(db, 0, true, LOOK_MS, out);

	if (!err) {
		err = twzdb__stage_settle(*out);
		if (!err)
			(*out)->snap = twzdb__snap_set(db, (*out)->rd);
		else
			twzdb_abort(*out);
		return err;
	}
	if (err != TWZDB_E_TIMEOUT)
		return err;
	return twzdb__err(
		TWZDB_E_BUSY,
		"%s: a write transaction of database '%s' did not end within %d ms: end it (it may be this thread's own) and try again",
		what, db->name, LOOK_MS);
}

int twzdb__begin_past(struct twzdb *db, struct twzdb_txn **out)
{
	int err = begin(db, TWZDB_TRY, true, 0, out);

	if (!err) {
		err = twzdb__stage_settle(*out);
		if (err)
			twzdb_abort(*out);
		return err;
	}
	if (err != TWZDB_E_BUSY || !twzdb__lock_settled(db))
		return err;
	err = twzdb_sync(db);
	return err ? err : twzdb_begin(db, TWZDB_RDONLY, out);
}

static int stale(const struct twzdb_txn *tx)
{
	return twzdb__err(
		TWZDB_E_STALE,
		"upgrade: snapshot %llu, but commit %llu came since: end the transaction and begin again",
		(unsigned long long)tx->snap, (unsigned long long)twzdb_latest_ts(tx->db));
}

static int upgrade(struct twzdb_txn *tx)
{
	uint64_t token;
	int err = twzdb__txn_enter(tx, "upgrade");

	if (err)
		return err;
	if (tx->writer)
		return twzdb__err(TWZDB_E_STATE, "upgrade: is the writer already");
	if (tx->db->read_only)
		return read_only(tx->db);
	err = twzdb__writable(tx->db);
	if (err)
		return err;
	if (tx->snap != twzdb__seen_ts(tx->db->sh))
		return stale(tx);
	err = twzdb__lock_take(tx->db, tx->rd, 0, &token);
	if (err)
		return err;
	err = twzdb__writable(tx->db);
	if (!err && tx->snap < ld64_acq(&tx->db->sh->ts))
		err = stale(tx);
	if (unlikely(tx->db->page_media) && !err) {
		err = twzdb__stage_begin(tx);
		if (!err && twzdb__last_ts(tx) != tx->snap)
			err = stale(tx);
		if (err)
			tx->levels = tx->view ? UINT64_MAX : 0;
	}
	if (err) {
		twzdb__lock_drop(tx->db, tx->rd, token);
		return err;
	}
	become_writer(tx, token);
	return 0;
}

int twzdb_upgrade(struct twzdb_txn *tx)
{
	int err = upgrade(tx);

	/* Who died may have left a prepared transaction, which only shows when the lock is had. */
	for (int i = 0; i < DOUBTS && unlikely(err == TWZDB_E_DOUBT); i++) {
		err = twzdb__doubt_settle(tx->db, 0);
		if (err)
			break;
		err = upgrade(tx);
	}
	return err;
}

int twzdb_downgrade(struct twzdb_txn *tx)
{
	int err = twzdb__txn_enter(tx, "downgrade");

	if (err)
		return err;
	if (!tx->writer)
		return twzdb__err(TWZDB_E_STATE, "downgrade: is no writer");
	twzdb__discard(tx);
	return become_reader(tx);
}

static bool is_lazy(const struct twzdb_txn *tx, int err)
{
	return !err && tx->writer && tx->flags & TWZDB_LAZY;
}

/* Nobody waits for a lazy commit; nor does one that changed nothing for what it has read. */
static int go_on(struct twzdb_txn *tx)
{
	if (tx->mods != tx->mods0)
		twzdb__stage_lazy(tx);
	tx->wait_nr = 0;
	tx->learns = false;
	return 0;
}

/* The commit is staged, so the writer lock passes on (D12); the call returns when it is durable. */
static int wait_after(struct twzdb_txn *tx, int err)
{
	uint64_t token = tx->token;
	bool learns = tx->learns;
	int ret;

	tx->token = 0;
	if (token)
		twzdb__lock_drop(tx->db, tx->rd, token);
	ret = twzdb__stage_wait(tx);
	if (!ret && learns)
		twzdb__one_learn(tx);
	return err ? err : ret;
}

int twzdb_commit(struct twzdb_txn *tx)
{
	int err = twzdb__txn_enter(tx, "commit");

	if (err && !twzdb__is_reset(tx))
		return err;
	if (tx->writer)
		err = twzdb__commit(tx);
	else if (unlikely(tx->view)) /* what it has read may still be lost (D12) */
		tx->wait_nr = tx->view->nr;
	else if (twzdb__is_reset(tx)) {
		err = 0;
		tx->wait_nr = tx->saw_nr;
	}
	tx->saw_nr = 0;
	if (unlikely(tx->wait_nr))
		err = is_lazy(tx, err) ? go_on(tx) : wait_after(tx, err);
	if (unlikely(twzdb__is_cut(tx->db)) && !err && !tx->writer)
		err = twzdb__cut(tx->db);
	end(tx);
	return err;
}

/* The last commit TX saw, or made, as a writer. */
static uint64_t outcome(const struct twzdb_txn *tx)
{
	return tx->mods != tx->mods0 ? tx->ts : tx->ts - 1;
}

/*
 * Commit and take the outcome as the snapshot. NEXT: the writer lock stays; else it goes on to the next writer while the medium is
 * waited for. *RAN: the handle was usable at all.
 */
static int commit_on(struct twzdb_txn *tx, const char *what, bool next, bool *ran)
{
	uint64_t before;
	int err = twzdb__txn_enter(tx, what);

	*ran = false;
	if (err)
		return err;
	if (!tx->writer)
		return twzdb__err(TWZDB_E_STATE, "%s: is no writer", what);
	*ran = true;
	before = tx->snap;
	err = twzdb__commit(tx);
	if (unlikely(tx->wait_nr) && !err)
		err = !next	       ? wait_after(tx, 0)
		      : is_lazy(tx, 0) ? go_on(tx)
				       : twzdb__stage_wait(tx);
	/*
	 * Nothing changed: nothing was published, the snapshot is the latest commit still. Others may have committed since the lock
	 * went on: the slot, older until now, has kept what a snapshot of this very commit needs.
	 */
	tx->snap = err ? before : next ? ld64_acq(&tx->db->sh->ts) : outcome(tx);
	/*
	 * A scan that still sees the older one keeps more than it must. An exchange would wait for the commit's fence.
	 */
	st64_rel(&tx->rd->snap, tx->snap);
	return err;
}

int twzdb_commit_keep(struct twzdb_txn *tx)
{
	bool ran;
	int err = commit_on(tx, "commit_keep", false, &ran), ret = ran ? become_reader(tx) : 0;

	return err ? err : ret;
}

static int go_on_writing(struct twzdb_txn *tx, int err)
{
	if (unlikely(tx->db->page_media)) {
		int begun = twzdb__stage_begin(tx);

		tx->broken = begun;
		err = err ? err : begun;
	}
	become_writer(tx, tx->token);
	return err;
}

int twzdb_commit_next(struct twzdb_txn *tx)
{
	bool ran;
	int err = commit_on(tx, "commit_next", true, &ran);

	return ran ? go_on_writing(tx, err) : err;
}

int twzdb__group_next(struct twzdb_txn *tx, int err)
{
	struct twzdb__shared *sh = tx->db->sh;

	if (ld64_acq(&sh->ts) > tx->snap) {
		tx->snap = ld64_acq(&sh->ts);
		twzdb__snap_set_to(tx->rd, tx->snap);
	}
	err = go_on_writing(tx, err);
	/* What waits for its decision must not be built upon. */
	if (unlikely(ld64_acq(&sh->failed)) && !tx->broken)
		tx->broken = twzdb__writable(tx->db);
	return err;
}

void twzdb__group_over(struct twzdb_txn *tx)
{
	end(tx);
}

void twzdb_abort(struct twzdb_txn *tx)
{
	if (!tx || (!twzdb__is_reset(tx) && twzdb__txn_enter(tx, "abort")))
		return;
	if (tx->writer)
		twzdb__discard(tx);
	tx->saw_nr = 0;
	end(tx);
}

uint64_t twzdb_txn_ts(const struct twzdb_txn *tx)
{
	if (!tx || ld64(&tx->magic) != TWZDB__TXN_MAGIC)
		return 0;
	return tx->writer ? tx->ts - 1 : tx->snap; /* it sees staged commits, its slot says less */
}

bool twzdb_txn_is_writer(const struct twzdb_txn *tx)
{
	return tx && ld64(&tx->magic) == TWZDB__TXN_MAGIC && tx->writer;
}

uint64_t twzdb_latest_ts(struct twzdb *db)
{
	return db ? twzdb__seen_ts(db->sh) : 0;
}

uint32_t twzdb_writer_waiters(struct twzdb *db)
{
	return db ? ld32(&db->sh->lock.waiters) : 0;
}
