/* SPDX-License-Identifier: MIT
 * lock.c -- SQLite's lock levels as engine transactions (README, rules R1..R11)
 */
#include "internal.h"
#include "twz/err.h"

/*
 * How long a handle that was refused the writer slot queues for it before it settles for
 * reading: milliseconds (R9).
 */
#define QUEUE_MS 200
/* How long an xWrite without any lock (nolock=1) waits for the writer slot. */
#define NOLOCK_MS 5000
/*
 * Where several write at the same time, a statement that writes takes the writer slot before its snapshot: it sees what others
 * have committed and the medium does not have yet, where an older snapshot would be refused. For so many statements after one was,
 * and waiting so long: milliseconds.
 */
#define CROWDED	   256
#define CROWDED_MS 2

/*
 * What a transaction that changed nothing has seen may be on its way to the medium still: it ends when it is there (D12). A writer was told
 * so by its commit (commit_nothing()); who was no writer saw what was durable.
 */
static void txn_end(struct twzvfs_file *f)
{
	if (f->dirty || f->rows_dirty)
		twzdb_abort(f->txn);
	else
		(void)!twzdb_commit(f->txn);
}

void twzvfs__end(struct twzvfs_file *f)
{
	if (f->txn)
		txn_end(f);
	f->txn = NULL;
	f->early = false;
	f->loaded &= !f->dirty;
	f->dirty = false;
	f->prepared = false;
	twzvfs__native_reset(f);
	twzvfs__native_unpin(f);
	sqlite3_free(f->super);
	f->super = NULL;
}

/*
 * R8: a connection in exclusive locking mode never unlocks; only as the writer is it safe from
 * going stale.
 */
static int begin_exclusive(struct twzvfs_file *f)
{
	int err = twzdb_begin(f->db, TWZDB_TRY, &f->txn);

	f->early = !err;
	return err;
}

/* Is it for a statement that writes? Who only reads never waits for a writer. */
static bool will_write(const struct twzvfs_file *f)
{
	sqlite3 *db = f->conn ? *f->conn : NULL;
	sqlite3_stmt *st = db ? sqlite3_next_stmt(db, NULL) : NULL;

	while (st && !(sqlite3_stmt_busy(st) && !sqlite3_stmt_readonly(st)))
		st = sqlite3_next_stmt(db, st);
	return st != NULL;
}

/* Only of the main database alone it is known that such a statement writes it. */
static bool is_crowded(const struct twzvfs_file *f)
{
	return f->crowded && f->conn && *f->conn && !sqlite3_db_name(*f->conn, 2);
}

/*
 * R9: busy handlers sleep a millisecond and more, so against a hot writer only a place in the
 * queue is fair.
 */
static int begin_queued(struct twzvfs_file *f)
{
	int err = twzdb_begin_timed(f->db, 0, f->refused ? QUEUE_MS : CROWDED_MS, &f->txn);

	f->crowded -= f->crowded > 0;
	f->refused = false;
	f->early = !err;
	if (err) /* who really writes is told when SQLite asks for the slot */
		err = twzdb_begin(f->db, TWZDB_RDONLY, &f->txn);
	return err;
}

/*
 * SQLite asks for the writer's place right after the snapshot, and looks at page 1 only in between. Who reads another page before
 * that has a statement that writes, but not this database (a temporary table, say): others may.
 */
int twzvfs__early_end(struct twzvfs_file *f)
{
	f->early = false;
	f->crowded = 0;
	return twzdb_downgrade(f->txn);
}

int twzvfs__read(struct twzvfs_file *f)
{
	int err = f->db ? twzdb_begin(f->db, TWZDB_RDONLY, &f->txn) : TWZ_E_STALE;

	/* Whoever writes may come, or go, between the two. */
	for (int i = 0; err == TWZ_E_STALE && i < 3; i++) {
		err = twzvfs__reopen(f);
		if (!err)
			err = twzdb_begin(f->db, TWZDB_RDONLY, &f->txn);
	}
	return err;
}

/* R1: pin the latest commit. */
static int begin_shared(struct twzvfs_file *f)
{
	int err;

	if (twzdb_kept_out(f->db)) /* R8 */
		err = TWZDB_E_BUSY;
	else if (f->exclusive && !f->readonly)
		err = begin_exclusive(f);
	else if ((f->refused || is_crowded(f)) && !f->readonly && will_write(f))
		err = begin_queued(f);
	else
		err = twzvfs__read(f);
	if (!err) {
		err = twzvfs__pages_load(f);
		if (err)
			twzvfs__end(f);
	}
	return err;
}

/*
 * R8: who has locked a database for good expects that nobody else reads it. In the usual mode readers go
 * on beside a writer.
 */
static int lock_all(struct twzvfs_file *f)
{
	return f->exclusive ? twzdb_keep_out(f->txn) : 0;
}

/* R2: the writer slot, at the snapshot already read from; never a silent refresh. */
static int become_writer(struct twzvfs_file *f)
{
	int err;

	f->early = false;
	if (twzdb_txn_is_writer(f->txn))
		return 0;
	err = twzdb_upgrade(f->txn);
	f->refused = err == TWZDB_E_BUSY || err == TWZDB_E_STALE;
	if (f->refused)
		f->crowded = CROWDED;
	return err;
}

int twzvfs__lock(sqlite3_file *file, int level)
{
	struct twzvfs_file *f = (struct twzvfs_file *)file;
	int err = 0;

	if (f->lock >= level)
		return SQLITE_OK;
	if (level > SQLITE_LOCK_SHARED && f->readonly)
		return SQLITE_READONLY;
	if (!f->txn)
		err = begin_shared(f);
	if (!err && f->lock < SQLITE_LOCK_SHARED)
		f->lock = SQLITE_LOCK_SHARED;
	if (!err && level > SQLITE_LOCK_SHARED)
		err = become_writer(f);
	if (!err && level == SQLITE_LOCK_EXCLUSIVE)
		err = lock_all(f);
	if (!err)
		f->lock = level; /* R3: the writer is never refused a higher level */
	return twzvfs__rc(err, "lock", f->path);
}

/* R6: discard what was not committed. */
int twzvfs__unlock(sqlite3_file *file, int level)
{
	struct twzvfs_file *f = (struct twzvfs_file *)file;
	int err = 0;

	if (f->lock <= level)
		return SQLITE_OK;
	if (f->lock == SQLITE_LOCK_EXCLUSIVE)
		twzdb_let_in(f->db);
	f->unlocks |= f->committed;
	f->committed = false;
	f->lock = level;
	if (level == SQLITE_LOCK_NONE) {
		twzvfs__end(f);
		return SQLITE_OK;
	}
	if (f->txn && twzdb_txn_is_writer(f->txn)) {
		bool changed = f->dirty;

		err = twzdb_downgrade(f->txn);
		twzvfs__native_reset(f);
		if (!err && changed)
			err = twzvfs__pages_load(f);
		if (err) /* what it read before cannot be had again: nothing is, until it unlocks */
			twzvfs__end(f);
	}
	return twzvfs__rc(err, "unlock", f->path);
}

/* Never sent: xAccess says that there is no journal. Right all the same. */
int twzvfs__check_reserved(sqlite3_file *file, int *out)
{
	struct twzvfs_file *f = (struct twzvfs_file *)file;
	struct twzdb_txn *probe = NULL;

	*out = 1;
	if (f->lock >= SQLITE_LOCK_RESERVED)
		return SQLITE_OK;
	if (f->txn && twzdb_txn_is_writer(f->txn)) {
		*out = 0; /* taken early by this very handle */
		return SQLITE_OK;
	}
	if (twzdb_begin(f->db, TWZDB_TRY, &probe) == 0)
		*out = 0;
	twzdb_abort(probe);
	return SQLITE_OK;
}

int twzvfs__writer(struct twzvfs_file *f)
{
	int err;

	f->committed = false;
	if (f->readonly)
		return TWZDB_E_READONLY;
	if (f->txn)
		return twzdb_txn_is_writer(f->txn) ? 0 : twzdb_upgrade(f->txn);
	err = twzdb_begin_timed(f->db, 0, NOLOCK_MS, &f->txn);
	if (!err)
		err = twzvfs__pages_load(f);
	if (err)
		twzvfs__end(f);
	return err;
}

/*
 * In exclusive locking mode SQLite never unlocks, and writes again without asking. Whether a connection is in that mode shows by what
 * follows its commits, until it hears of one (twzvfs__group_exclusive); a PRAGMA that names no database is told to the main one alone.
 */
static bool will_unlock(const struct twzvfs_file *f)
{
	if (f->lock == SQLITE_LOCK_NONE) /* nolock=1: the transaction ends with the commit */
		return true;
	return f->unlocks && f->conn && *f->conn && sqlite3_db_filename(*f->conn, NULL) == f->name;
}

/*
 * R5: the working set becomes the next version, and the committer goes on from exactly that
 * version. It stays the writer where SQLite may not unlock; else the writer slot is the next one's already while this commit
 * waits for the medium, and both may become durable together (D12).
 */
int twzvfs__commit_begin(struct twzvfs_file *f, bool *wanted)
{
	int err = 0;

	sqlite3_free(f->super);
	f->super = NULL;
	f->prepared = false;
	*wanted = f->txn && (f->dirty || f->rows_dirty) && twzdb_txn_is_writer(f->txn);
	if (!*wanted) {
		if (f->txn && f->lock == SQLITE_LOCK_NONE)
			twzvfs__end(f);
		return 0;
	}
	if (f->dirty)
		err = twzvfs__pages_seal(f);
	return err ? err : twzvfs__native_pin(f);
}

/*
 * A failing commit discards the changes itself: in exclusive locking mode nothing else would (README, "Failing
 * commits").
 */
void twzvfs__commit_drop(struct twzvfs_file *f)
{
	(void)twzdb_downgrade(f->txn);
}

int twzvfs__commit_end(struct twzvfs_file *f, int err)
{
	int load_err = 0, rc;

	twzvfs__native_reset(f);
	f->committed = !err;
	if (!err)
		load_err = twzvfs__pages_committed(f);
	else if (f->dirty)
		load_err = twzvfs__pages_load(f);
	if (f->lock == SQLITE_LOCK_NONE)
		twzvfs__end(f);
	rc = twzvfs__rc(err ? err : load_err, "commit", f->path);
	/* Only these two make SQLite's pager forget its cache. */
	if (rc && (rc & 0xff) != SQLITE_FULL)
		rc = (rc & 0xff) == SQLITE_IOERR ? rc : SQLITE_IOERR;
	return rc;
}

/* A writer that has changed nothing: what it has seen may not be durable yet, and is not going to be if that fails (D12). */
static int commit_nothing(struct twzvfs_file *f)
{
	int err = 0;

	if (f->txn && twzdb_txn_is_writer(f->txn))
		err = will_unlock(f) ? twzdb_commit_keep(f->txn) : twzdb_commit_next(f->txn);
	if (err)
		(void)twzvfs__rc(err, "commit", f->path);
	return err ? SQLITE_IOERR : SQLITE_OK;
}

int twzvfs__commit(struct twzvfs_file *f)
{
	bool wanted;
	int err = twzvfs__commit_begin(f, &wanted);

	if (!wanted)
		return commit_nothing(f);
	if (err)
		twzvfs__commit_drop(f);
	else
		err = will_unlock(f) ? twzdb_commit_keep(f->txn) : twzdb_commit_next(f->txn);
	return twzvfs__commit_end(f, err);
}
