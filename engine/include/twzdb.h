/* SPDX-License-Identifier: MIT
 * twzdb.h -- an object-native MVCC storage engine: B-trees of persistent pointers in twz objects
 *
 * A store (one file) holds databases; a database holds named tables; a transaction spans all
 * tables of one database. Keys and values are byte strings; keys sort as memcmp does. Isolation:
 * snapshot. A reader sees exactly one commit point for its whole life, blocks nobody and is
 * blocked by nobody; one writer at a time per database, across threads and processes.
 *
 * Threads: a struct twzdb may be shared; a transaction and its cursors belong to one thread at a
 * time, and may be handed on. Processes: any number, each with an opening of its own; a handle does
 * not survive fork (TWZ_E_FORKED). Reading waits only for a writer process that was stopped
 * (SIGSTOP, a debugger) just while it stored a commit: TWZDB_E_TIMEOUT after ten seconds. So is any
 * call that needs for a moment what a stopped process has; the message names it.
 *
 * Ownership: what a call returns through an OUT handle is the caller's to close or end. Slices
 * given are read during the call only; slices handed out point into the store, belong to nobody,
 * and are valid as long as the call says. Lengths are bytes, times are named with their unit.
 *
 * Errors: 0, -errno, TWZ_E_* (libtwz), TWZDB_E_*; twzdb_errmsg() has the sentence. Outputs are
 * zeroed when a call fails. Besides what a call names, any may return
 *   TWZDB_E_INVAL    an argument is NULL that must not be, an unknown flag, no handle
 *   TWZDB_E_STATE    a transaction or cursor whose time is over, a table that is not there for
 *                    this transaction (see struct twzdb_table)
 *   TWZDB_E_CORRUPT  stored bytes break a rule of the format; the message says where. Reading
 *                    other rows may go on; twzdb_check() tells how far the damage goes
 *   TWZDB_E_TIMEOUT  see above; -ENOMEM; TWZ_E_FORKED
 *   TWZ_E_GONE       a change: the file of the store was deleted, replaced, cut short or overwritten while it was
 *                    open. Close it everywhere. What was cut short reads as TWZDB_E_IO; values handed out
 *                    may be zeros then, and the transaction does not end well
 * and nothing has changed, unless the call says otherwise.
 *
 * See also twzdb_key.h (keys made of numbers and text), engine/README.md (layout, protocol),
 * docs/durability.md (rules).
 */
#ifndef TWZDB_H
#define TWZDB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TWZDB_API	 __attribute__((visibility("default")))
#define TWZDB_MUST_CHECK __attribute__((warn_unused_result))

/* X(name, value, text). Values are never reused. */
#define TWZDB_ERR_MAP(X)                                                                           \
	X(NOTFOUND, -21000, "no such key, table or database")                                      \
	X(EXIST, -21001, "exists already")                                                         \
	X(BUSY, -21002, "another writer holds the database")                                       \
	X(STALE, -21003, "snapshot is not the latest commit: cannot become the writer")            \
	X(NOSPC, -21004, "no space left")                                                          \
	X(CORRUPT, -21005, "stored data break a rule of the format")                               \
	X(INVAL, -21006, "invalid argument")                                                       \
	X(STATE, -21007, "call not allowed in this state")                                         \
	X(READONLY, -21008, "read-only transaction")                                               \
	X(TOOBIG, -21009, "key or value too long")                                                 \
	X(TIMEOUT, -21010, "timed out")                                                            \
	X(IO, -21011, "input/output error: outcome unknown")                                       \
	X(FULL, -21012, "too many readers or databases")                                           \
	X(MISMATCH, -21013, "the row is not as expected")                                          \
	X(ORDER, -21014, "key is not greater than the last one")                                   \
	X(KIND, -21015, "table is of another kind")                                                \
	X(DOUBT, -21016, "waits for the decision of another database")

enum twzdb_err {
#define TWZDB__ERR_ENUM(name, value, text) TWZDB_E_##name = (value),
	TWZDB_ERR_MAP(TWZDB__ERR_ENUM)
#undef TWZDB__ERR_ENUM
};

/*
 * Keys and values may have any length (0 included) at which a row, key and value together, fits one
 * object: values are handed out as one piece of memory, and an object is what is mapped in one
 * piece (1 GiB, less its own head and tables). What is longer is TWZDB_E_TOOBIG; what is longer
 * than the space left is TWZDB_E_NOSPC. Keys up to 1 KiB are the fast ones.
 */
#define TWZDB_ROW_MAX	((size_t)1021 << 20) /* bytes of key and value together */
#define TWZDB_KEY_MAX	TWZDB_ROW_MAX	     /* bytes */
#define TWZDB_VALUE_MAX TWZDB_ROW_MAX	     /* bytes */
#define TWZDB_NAME_MAX	255		     /* bytes, of databases and tables */

struct twzdb;	     /* an open database */
struct twzdb_txn;    /* a transaction */
struct twzdb_cursor; /* a position in a table */

struct twzdb_slice {
	const void *ptr;
	size_t len;
};

/*
 * A table: a small value, to be copied freely. Good in every transaction of the database, of any
 * thread or process, that sees the table (not before its creation, not after its drop; renaming
 * does not matter). In any other, and in another database, it is TWZDB_E_STATE: never another
 * table, whatever was created since.
 */
struct twzdb_table {
	uint64_t h, tag; /* opaque */
};

TWZDB_API const char *twzdb_err_name(int err);
TWZDB_API const char *twzdb_errmsg(void); /* this thread's last failure; never NULL */

enum twzdb_open_flags {
	TWZDB_CREATE = 1, /* create store and database when missing */
	TWZDB_EXCL = 2,	  /* with CREATE: the database must not exist */
	/* this handle uses no accelerator (see README); also TWZDB_ACCEL=0 in the environment */
	TWZDB_NO_ACCEL = 4,
	/*
	 * Only to read, alone or with NO_ACCEL: what would write is TWZDB_E_READONLY. Needs no permission to
	 * write, on the file, its folder or the medium. Where nobody has the store open, what a crash left
	 * is recovered in private memory, and not a byte of the file changes. Where others have, this
	 * handle takes part as all do; or, without permission to write, stores nothing anywhere: no
	 * accelerator, no twzdb_check() and twzdb_dump(), a snapshot pinned by a system call or two, 256
	 * transactions, and TWZDB_E_BUSY where another process would finish a dead one's commit.
	 *
	 * twzdb_begin() may be TWZ_E_STALE then: somebody opened a store for writing that nobody had open, or all who had it
	 * open have closed it. Close the handle, open it again. Who opens it so waits for transactions of such
	 * readers, for seconds, then gets TWZ_E_BUSY.
	 */
	TWZDB_READONLY = 8,
};

struct twzdb_options {
	size_t size; /* sizeof(struct twzdb_options) */
	uint32_t flags;
	const char *name;	   /* database in the store; NULL = "main" */
	uint64_t log_len;	   /* create: ring bytes, 0 = by medium */
	uint64_t initial_len;	   /* create: bytes of the first data object, 0 = default */
	const void *store_options; /* struct twz_store_options for creation, or NULL */
};

/*
 * Open a database of the store at PATH. OPT may be NULL: "main", which must exist. The store is
 * opened once per process and path and shared by its databases. What a crash left is recovered
 * here: in time proportional to the log, not to the store.
 * TWZ_E_NOENT: no such store. TWZ_E_NOTSTORE: PATH is something else. TWZDB_E_NOTFOUND: no such
 * database. TWZDB_E_EXIST: EXCL, and there is one. TWZDB_E_NOSPC: no room to create it.
 * TWZDB_E_FULL: the store takes no more databases. And what twz_store_open() says.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_open(const char *path, const struct twzdb_options *opt,
					  struct twzdb **out);
/*
 * All transactions and listeners must have ended: otherwise TWZDB_E_STATE, and nothing is closed; nor is the handle of a parent
 * process (TWZ_E_FORKED). After these two, and no other error, there still is a handle. Any other: it is gone, with its
 * cursors and tables, and what is said is what was not done: lazy commits that were not made durable (some of the last may be
 * missing when the store is opened again, never one before another), or a store that was not left clean, which the next
 * opening recovers. Commits that were acknowledged as durable are. NULL is allowed.
 */
TWZDB_API int twzdb_close(struct twzdb *db);
TWZDB_API bool twzdb_is_readonly(const struct twzdb *db);
/* The twz_store beneath, for statistics and checks; not the caller's to close. */
TWZDB_API void *twzdb_store(struct twzdb *db);
/* 128-bit database ID, as two words. */
TWZDB_API void twzdb_id(struct twzdb *db, uint64_t id[2]);

enum twzdb_txn_flags {
	TWZDB_RDONLY = 1,
	TWZDB_TRY = 2, /* write: TWZDB_E_BUSY instead of waiting */
	/*
	 * write: commit returns before it is durable, which it will be soon: within 100 ms (more while a checkpoint runs) as long as a process
	 * that committed so, or read it, lives, and the device keeps up; at once when much is waiting; with the next
	 * durable commit, twzdb_sync() or twzdb_close(). It is seen at once by all who begin
	 * from then on. Atomic, and in order: after a power loss it is there only if all before it are. Lost
	 * with power; but also if all processes that have the store open are killed before it is durable. On
	 * cache-line media every commit is durable, as are, on others, those that change tables or many rows.
	 */
	TWZDB_LAZY = 4,
};

/*
 * Begin. A read transaction registers its snapshot; a write transaction waits (FIFO-fair, over
 * all threads and processes) for the writer lock and sees the latest commit.
 * TWZDB_E_BUSY: TRY, and somebody else writes. TWZDB_E_FULL: 4096 transactions are open in all
 * processes. TWZDB_E_IO (a writer): a log write failed; close the database everywhere (D17).
 * TWZDB_E_READONLY (a writer), TWZ_E_STALE: the database was opened with TWZDB_READONLY; see there.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_begin(struct twzdb *db, uint32_t flags,
					   struct twzdb_txn **out);
/* Wait at most TIMEOUT_MS for the writer lock; < 0 for ever. TWZDB_E_TIMEOUT. */
TWZDB_API TWZDB_MUST_CHECK int twzdb_begin_timed(struct twzdb *db, uint32_t flags, int timeout_ms,
						 struct twzdb_txn **out);
/*
 * Make a read transaction the writer, at its snapshot. TWZDB_E_STALE if another commit came
 * after the snapshot, TWZDB_E_BUSY if another writer is active, TWZDB_E_IO as twzdb_begin(): the
 * transaction goes on as a reader.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_upgrade(struct twzdb_txn *txn);
/*
 * Discard a writer's changes and go on as a reader of the same snapshot (writer lock released).
 * TWZDB_E_STATE: is no writer.
 */
TWZDB_API int twzdb_downgrade(struct twzdb_txn *txn);
/* Everything committed before is durable when it returns 0. TWZDB_E_IO: that is not known any more (D17). */
TWZDB_API TWZDB_MUST_CHECK int twzdb_sync(struct twzdb *db);
/*
 * Commit: durable on 0 (TWZDB_LAZY: soon), all or nothing; a reader just ends, but 0 says that what it has seen
 * is durable: if it saw lazy commits that are not, it waits (twzdb_abort() does not). The transaction ends
 * whatever the result, also on error (changes discarded; with TWZDB_E_IO the outcome is unknown
 * until reopening, D17). TWZDB_E_NOSPC: the log or the store has no room; nothing is lost but the
 * changes. -EINPROGRESS (page media, after ten seconds; likewise of every call that waits for durability): another process is
 * stopped (SIGSTOP, a debugger) where nobody can do its work. The commit stands, unless power fails: it will be durable when that
 * process goes on or dies, and twzdb_sync() waits for that. (A disk that does not answer is told from it, and waited for two minutes.) TWZDB_E_TIMEOUT: the same, but nothing was committed.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_commit(struct twzdb_txn *txn);
/*
 * Commit, durably in any case, and go on as a reader of exactly the committed version. On error: changes discarded,
 * goes on as a reader of the old snapshot, or, if it had seen commits that were not durable yet, of the newest there is; after
 * -EINPROGRESS (twzdb_commit()) that may be its own commit. Page media: while it waits for the medium others write, and may have
 * committed before it returns (twzdb_upgrade() says so).
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_commit_keep(struct twzdb_txn *txn);
/*
 * Commit and go on as the writer, at the committed version; nobody else writes between. On
 * error: changes discarded, goes on as the writer of the old snapshot. Page media: it keeps the writer lock while it waits for
 * the medium, so nothing is committed together with it.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_commit_next(struct twzdb_txn *txn);
/*
 * One transaction over several databases, in one store or in several: all of it is committed, or nothing, also across a
 * crash of all of them (D16 in docs/durability.md). Begin: a write transaction of each of CNT (1 to TWZDB_GROUP_MAX)
 * different databases, OUT[i] for DB[i]; the locks are taken in an order that is the same for everybody. FLAGS: 0 or
 * TWZDB_TRY; TIMEOUT_MS: in all, < 0 for ever. On an error none has begun; errors of twzdb_begin_timed().
 */
#define TWZDB_GROUP_MAX 128
TWZDB_API TWZDB_MUST_CHECK int twzdb_group_begin(struct twzdb *const db[], size_t cnt,
						 uint32_t flags, int timeout_ms,
						 struct twzdb_txn *out[]);
/*
 * Commit CNT write transactions of different databases together, wherever they were begun. 0: all are durable. Otherwise nothing
 * is, but with TWZDB_E_IO, whose outcome is unknown until all are closed and opened again, then the same for all. They end whatever
 * the result; TWZDB_E_INVAL, TWZDB_E_STATE (one is no writer): nothing has happened. Readers see the databases' shares one after the
 * other: there is no snapshot of several. Costs about three commits for each. A database that is
 * there twice in one process, by two handles, is TWZDB_E_INVAL.
 *
 * When the process dies in the middle, or power fails, the next one that opens or writes a participant asks the database with the
 * lowest ID for the decision: it looks for its store at the path it had, and beside its own. As long as that cannot be asked,
 * writers get TWZDB_E_DOUBT, and readers see what was before.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_group_commit(struct twzdb_txn *const txn[], size_t cnt);
/* The same; all go on as writers, as with twzdb_commit_next(). */
TWZDB_API TWZDB_MUST_CHECK int twzdb_group_commit_next(struct twzdb_txn *const txn[], size_t cnt);
TWZDB_API void twzdb_group_abort(struct twzdb_txn *const txn[], size_t cnt);
/* 0, or TWZDB_E_DOUBT: a prepared transaction waits for its decision; the message says whose, and what can be done. */
TWZDB_API TWZDB_MUST_CHECK int twzdb_doubt(struct twzdb *db);
/*
 * Decide about it by hand, because who had to is lost: COMMIT, or drop it. The other databases of the
 * transaction are not asked, and may have been told otherwise. TWZDB_E_STATE: nothing is in doubt.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_resolve(struct twzdb *db, bool commit);
/*
 * End without committing. NULL is allowed. A transaction that has ended answers TWZDB_E_STATE until
 * its handle is given to another one.
 */
TWZDB_API void twzdb_abort(struct twzdb_txn *txn);
/*
 * Renew a read transaction's snapshot to the latest commit (cheap). Pointers read before become
 * invalid.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_renew(struct twzdb_txn *txn);
/*
 * End a read transaction's snapshot but keep the transaction and its cursors: it holds back no
 * space until twzdb_renew() gives it the latest commit. Pointers read before become invalid. Until
 * then every other call with it or its cursors is TWZDB_E_STATE; twzdb_abort() ends it, and so does
 * twzdb_commit(), whose 0 says as ever that what it has seen is durable. TWZDB_E_STATE: is a writer, is reset already, or has ended.
 */
TWZDB_API int twzdb_reset(struct twzdb_txn *txn);
/*
 * Savepoints: nested write transactions. They are numbered 1, 2, 3 ... from the outside in, per
 * transaction, cost memory only (and nothing where there is none), and cover everything the
 * transaction can change, tables included. A commit keeps what they hold, an abort drops it.
 *
 * Make one: *ID = its number, one more than are open. TWZDB_E_READONLY: not a writer.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_savepoint(struct twzdb_txn *txn, uint32_t *id);
/*
 * Undo all changes since savepoint ID was made; it stays open, those after it are gone. Also mends
 * a transaction whose change "failed half-way" after the savepoint. Values read of rows changed
 * since become invalid; cursors stay good, and so do tables but those created since.
 * TWZDB_E_INVAL: no such savepoint is open. Fails for no other reason in a writer.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_rollback_to(struct twzdb_txn *txn, uint32_t id);
/* Close savepoint ID and those after it, keeping the changes. TWZDB_E_INVAL: as above. */
TWZDB_API TWZDB_MUST_CHECK int twzdb_release(struct twzdb_txn *txn, uint32_t id);
/*
 * A word to other openings of the database, in whatever process: keep out. Nothing in the engine
 * heeds it; protocols on top do that have exclusive users. By a writer
 * (TWZDB_E_STATE otherwise); good until twzdb_let_in() of this opening, its close, or its process's death.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_keep_out(struct twzdb_txn *txn);
TWZDB_API void twzdb_let_in(struct twzdb *db);
/* Has another opening than this one asked so? One load when none has. */
TWZDB_API bool twzdb_kept_out(struct twzdb *db);
/* Timestamp of the snapshot (commits are numbered 1, 2, 3 ... per database); 0: has ended. */
TWZDB_API uint64_t twzdb_txn_ts(const struct twzdb_txn *txn);
TWZDB_API bool twzdb_txn_is_writer(const struct twzdb_txn *txn);
/* Timestamp of the latest commit of the database. */
TWZDB_API uint64_t twzdb_latest_ts(struct twzdb *db);
/* Threads or processes waiting for the writer lock now. */
TWZDB_API uint32_t twzdb_writer_waiters(struct twzdb *db);

/*
 * Tables. A plain table maps keys, byte strings of 0 to TWZDB_KEY_MAX bytes, to values. The other
 * kinds, fixed when the table is created:
 *
 * INTKEY   Keys are numbers: a native uint64_t or uint32_t is passed (8 or 4 bytes, else
 *          TWZDB_E_INVAL; 7 is the same key in both), and sorts as a number. Keys handed out are
 *          native uint64_t, valid until the cursor moves, is closed, or its transaction ends.
 * DUPSORT  A key has any number of values, each pair once, sorted by key, then by value (as
 *          memcmp does). A key, 2 bytes, a byte for every 0 in the key, and the value must fit
 *          TWZDB_KEY_MAX together, else TWZDB_E_TOOBIG (with INTKEY: 8 bytes and the value).
 *          What counts rows counts pairs. Keys handed out are valid as long as with INTKEY.
 */
enum twzdb_table_flags {
	TWZDB_TABLE_CREATE = 1, /* create if missing (writer) */
	TWZDB_TABLE_INTKEY = 2,
	TWZDB_TABLE_DUPSORT = 4,
	TWZDB_TABLE_ANY = 8, /* whatever its kind is; with CREATE: the kind of a new one is given */
};
/*
 * Find table NAME (1 to TWZDB_NAME_MAX bytes, no 0), or create it. One look into the catalog, so
 * thousands of tables cost no more than one. *OUT needs no closing.
 * TWZDB_E_NOTFOUND: there is none. TWZDB_E_KIND: it has other INTKEY or DUPSORT flags than asked
 * for, and ANY is not set. TWZDB_E_READONLY: must be created by a reader.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_table_open(struct twzdb_txn *txn, const char *name,
						uint32_t flags, struct twzdb_table *out);
/* *FLAGS = INTKEY and DUPSORT as the table was created. */
TWZDB_API TWZDB_MUST_CHECK int twzdb_table_kind(struct twzdb_txn *txn, struct twzdb_table t,
						uint32_t *flags);
/* Remove a table and all its rows (writer). TWZDB_E_NOTFOUND. */
TWZDB_API TWZDB_MUST_CHECK int twzdb_table_drop(struct twzdb_txn *txn, const char *name);
/*
 * Give table FROM the name TO (writer); its rows are not touched, handles stay good.
 * TWZDB_E_NOTFOUND: no FROM. TWZDB_E_EXIST: there is a TO; nothing has changed.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_table_rename(struct twzdb_txn *txn, const char *from,
						  const char *to);
/*
 * Names in byte order, with the rows of each (counted: this reads every leaf): FN != 0 stops and
 * is returned. NAME is valid during the call.
 */
TWZDB_API TWZDB_MUST_CHECK int
twzdb_table_list(struct twzdb_txn *txn, int (*fn)(void *ctx, const char *name, uint64_t rows),
		 void *ctx);
/* As twzdb_table_list(), with the table and its kind instead of the rows: reads no rows. */
TWZDB_API TWZDB_MUST_CHECK int twzdb_table_each(struct twzdb_txn *txn,
						int (*fn)(void *ctx, const char *name,
							  struct twzdb_table t, uint32_t kind),
						void *ctx);

/*
 * Point operations. *VALUE points into the store, is immutable, not aligned, followed by at least
 * 8 readable bytes (256 for values over 512 bytes), and stays valid until the transaction ends
 * (for a writer: until it overwrites or deletes that key, or rolls back to a savepoint).
 * TWZDB_E_NOTFOUND: no such key. DUPSORT: the first value of the key.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_get(struct twzdb_txn *txn, struct twzdb_table t,
					 struct twzdb_slice key, struct twzdb_slice *value);
/*
 * CNT keys at once: several times as fast as one by one, because the cache misses of up to 16 keys
 * overlap. RESULTS[i] is 0 or TWZDB_E_NOTFOUND (VALUES[i] is then empty), VALUES[i] as of
 * twzdb_get(). Any other error ends it and is returned: what follows that key is not looked up.
 * Keys may repeat; the order is the caller's.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_get_many(struct twzdb_txn *txn, struct twzdb_table t,
					      size_t cnt, const struct twzdb_slice keys[],
					      struct twzdb_slice values[], int results[]);

/*
 * Put a row (writer). KEY and VALUE are copied; VALUE may point into the store, also at the row
 * it replaces. Any error but those below leaves the transaction as it was, or ("failed half-way",
 * seldom: no memory, damage) good for nothing but an abort or a rollback to a savepoint.
 * TWZDB_E_TOOBIG: key and value are longer than TWZDB_ROW_MAX. TWZDB_E_NOSPC.
 */
enum twzdb_put_flags {
	TWZDB_INSERT = 1, /* TWZDB_E_EXIST if the key exists; not with UPDATE */
	TWZDB_UPDATE = 2, /* TWZDB_E_NOTFOUND if it does not */
	/*
	 * Sorted load: TWZDB_E_ORDER, and nothing changed, unless the key (DUPSORT: key and
	 * value) is greater than the table's last. Not with INSERT or UPDATE.
	 */
	TWZDB_APPEND = 4,
	/* DUPSORT only (else TWZDB_E_KIND): TWZDB_E_EXIST if the pair exists; else that is no error */
	TWZDB_NODUP = 8,
};
TWZDB_API TWZDB_MUST_CHECK int twzdb_put(struct twzdb_txn *txn, struct twzdb_table t,
					 struct twzdb_slice key, struct twzdb_slice value,
					 uint32_t flags);
/*
 * CNT rows, in this order, as twzdb_put() puts each of them with FLAGS: quicker than one by one, because the cache
 * misses of up to 16 rows overlap. Keys may repeat. If the arguments of any row are wrong (TWZDB_E_INVAL,
 * a key that is too long), nothing is put. Any other error ends it: *DONE (if not NULL) rows have been put, keys[*DONE] is the
 * one it is about, and those behind it have not been looked at.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_put_many(struct twzdb_txn *txn, struct twzdb_table t,
					      size_t cnt, const struct twzdb_slice keys[],
					      const struct twzdb_slice values[], uint32_t flags,
					      size_t *done);
/*
 * *VALUE = where the value lies that this writer put last by twzdb_put(): what twzdb_get() of its key would give, without looking
 * for it. Of plain tables (see twzdb_table_open()). TWZDB_E_STATE: nothing was put so since the transaction began, committed or
 * rolled back, or it is deleted, or twzdb_put_many() came after it.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_last_put(struct twzdb_txn *txn, struct twzdb_slice *value);
/*
 * A transaction of its own for one row: begin, put, commit, in one call, with the errors of all three; quicker than the
 * three, because nothing but this row is to be kept in mind. Durable when it returns, as after twzdb_commit(). Waits for the
 * writer lock as twzdb_begin() does: a thread that has a write transaction open would wait for itself.
 * T: opened in any earlier transaction of DB. Any thread.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_put_one(struct twzdb *db, struct twzdb_table t,
					     struct twzdb_slice key, struct twzdb_slice value,
					     uint32_t flags);
/* The same of twzdb_del(): TWZDB_E_NOTFOUND, and no commit, if there is no such key. */
TWZDB_API TWZDB_MUST_CHECK int twzdb_del_one(struct twzdb *db, struct twzdb_table t,
					     struct twzdb_slice key);
/*
 * Compare and put (writer): VALUE becomes the key's value if the present one equals *EXPECTED, or
 * if EXPECTED is NULL and there is none; otherwise TWZDB_E_MISMATCH, and nothing has changed.
 * DUPSORT: TWZDB_E_KIND.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_put_if(struct twzdb_txn *txn, struct twzdb_table t,
					    struct twzdb_slice key,
					    const struct twzdb_slice *expected,
					    struct twzdb_slice value);
/* Delete a key (writer), DUPSORT: all its values. TWZDB_E_NOTFOUND if there is none. */
TWZDB_API TWZDB_MUST_CHECK int twzdb_del(struct twzdb_txn *txn, struct twzdb_table t,
					 struct twzdb_slice key);
/*
 * Compare and delete (writer): the key, if its value equals EXPECTED, else TWZDB_E_MISMATCH and
 * nothing has changed. TWZDB_E_NOTFOUND: no such key. DUPSORT: deletes this one pair;
 * TWZDB_E_NOTFOUND: no such pair.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_del_if(struct twzdb_txn *txn, struct twzdb_table t,
					    struct twzdb_slice key, struct twzdb_slice expected);
/*
 * Ranges: keys in [FROM, TO); an empty FROM (ptr NULL) means from the first on, an empty TO to the
 * last. FROM above TO is an empty range.
 *
 * Delete a range, leaf by leaf (writer). *CNT (may be NULL) = rows deleted, also those before an
 * error.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_del_range(struct twzdb_txn *txn, struct twzdb_table t,
					       struct twzdb_slice from, struct twzdb_slice to,
					       uint64_t *cnt);
/*
 * About how many rows a range has, from two ways down the tree: some microseconds whatever its
 * size. Exact but for deleted rows, and rows of other snapshots, within one leaf (up to 28 rows);
 * else nodes beside the two ways are taken to be as full as those on them: mostly within a third,
 * seldom off by more than a factor of two. Good for choosing a plan, not for an answer.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_estimate(struct twzdb_txn *txn, struct twzdb_table t,
					      struct twzdb_slice from, struct twzdb_slice to,
					      uint64_t *rows);
/* Number of rows visible to the transaction. */
TWZDB_API TWZDB_MUST_CHECK int twzdb_count(struct twzdb_txn *txn, struct twzdb_table t,
					   uint64_t *cnt);
/* Number of rows in a range (see twzdb_del_range), exactly. Touches no row where nothing changed. */
TWZDB_API TWZDB_MUST_CHECK int twzdb_count_range(struct twzdb_txn *txn, struct twzdb_table t,
						 struct twzdb_slice from, struct twzdb_slice to,
						 uint64_t *cnt);

enum twzdb_table_stats_flags {
	TWZDB_STATS_BYTES = 1, /* key_len and value_len too: reads every row */
};
struct twzdb_table_stats {
	size_t size;		/* in: sizeof(struct twzdb_table_stats) */
	uint32_t kind;		/* TWZDB_TABLE_INTKEY, TWZDB_TABLE_DUPSORT */
	uint32_t depth;		/* levels; 0 = empty */
	uint64_t rows;		/* visible to the transaction */
	uint64_t leaves, inner; /* nodes, as the tree is now (a writer: with its changes) */
	/* bytes of keys and values as they are stored, headers not counted; 0 without BYTES */
	uint64_t key_len, value_len;
};
/* Walks the table's nodes (and rows: flag BYTES). Needs no lock, like any other reading. */
TWZDB_API TWZDB_MUST_CHECK int twzdb_table_stats(struct twzdb_txn *txn, struct twzdb_table t,
						 uint32_t flags, struct twzdb_table_stats *st);

enum twzdb_seek {
	TWZDB_FIRST = 1,
	TWZDB_LAST = 2,
	TWZDB_NEXT = 3,
	TWZDB_PREV = 4,
	TWZDB_SEEK = 5,	   /* exactly KEY, or TWZDB_E_NOTFOUND */
	TWZDB_SEEK_GE = 6, /* first key >= KEY */
	TWZDB_SEEK_LE = 7, /* last key <= KEY */
	TWZDB_CURRENT = 8,
	/*
	 * DUPSORT only (else TWZDB_E_KIND). The first six start from the current key. When they
	 * find nothing, the DUP ones leave the cursor where it is, the NODUP ones as NEXT and
	 * PREV do. (In a DUPSORT table FIRST, LAST, NEXT and PREV go from pair to pair, SEEK and
	 * SEEK_GE come to a key's first pair, SEEK_LE to its last.)
	 */
	TWZDB_FIRST_DUP = 9,	 /* first value of the key */
	TWZDB_LAST_DUP = 10,	 /* last value of the key */
	TWZDB_NEXT_DUP = 11,	 /* next value of the key */
	TWZDB_PREV_DUP = 12,	 /* previous value of the key */
	TWZDB_NEXT_NODUP = 13,	 /* first value of the next key */
	TWZDB_PREV_NODUP = 14,	 /* last value of the previous key */
	TWZDB_SEEK_BOTH = 15,	 /* exactly the pair KEY, VALUE */
	TWZDB_SEEK_BOTH_GE = 16, /* of exactly KEY the first value >= VALUE */
};
/*
 * A cursor is at a row, between rows, or nowhere (when new). It belongs to its transaction and
 * must be closed by the caller, before or after the transaction ends (then only closing is
 * allowed: TWZDB_E_STATE). In a writer it stays good whatever is changed or rolled back.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_cursor_open(struct twzdb_txn *txn, struct twzdb_table t,
						 struct twzdb_cursor **out);
TWZDB_API void twzdb_cursor_close(struct twzdb_cursor *c); /* NULL is allowed */
/*
 * Move. *KEY is read for SEEK*, *VALUE for SEEK_BOTH*; both are written (either may be NULL where
 * it is not read), and valid as twzdb_get()'s value.
 * TWZDB_E_NOTFOUND: no such row; the cursor is then unpositioned
 * (after NEXT at the end: past the end, so PREV gives the last row). Works in a writer whose own
 * changes move rows: NEXT is "the first key after the current one".
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_cursor_get(struct twzdb_cursor *c, enum twzdb_seek op,
						struct twzdb_slice *key, struct twzdb_slice *value);
/*
 * Replace the value of the current row (writer). DUPSORT: the pair by another one of the same
 * key, where the cursor then is. TWZDB_E_STATE: at no row. TWZDB_E_NOTFOUND: it was deleted.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_cursor_put(struct twzdb_cursor *c, struct twzdb_slice value);
/* Delete the current row or pair (writer); NEXT and PREV go on from there. Errors as above. */
TWZDB_API TWZDB_MUST_CHECK int twzdb_cursor_del(struct twzdb_cursor *c);
/* Number of values of the current key (1 unless DUPSORT). TWZDB_E_STATE: at no row. */
TWZDB_API TWZDB_MUST_CHECK int twzdb_cursor_count(struct twzdb_cursor *c, uint64_t *cnt);

/*
 * Check every numbered invariant of trees, records, slabs, free space (engine/README.md lists
 * them). Nothing may be in flight meanwhile, so this takes the writer lock: TWZDB_E_BUSY if a
 * write transaction (of this very thread, too) does not end within two seconds; then try again.
 * FN (may be NULL) hears of each violation; *FOUND (may be NULL) = how many. 0 if the check came to
 * its end, whatever it found.
 */
TWZDB_API TWZDB_MUST_CHECK int
twzdb_check(struct twzdb *db, void (*fn)(void *ctx, const char *where, const char *what), void *ctx,
	    uint64_t *found);
/*
 * Print the database (FILE *): header, tables, optionally nodes and log records. Takes the
 * writer lock as twzdb_check() does.
 */
enum twzdb_dump_flags {
	TWZDB_DUMP_TABLES = 1,
	TWZDB_DUMP_NODES = 2,
	TWZDB_DUMP_LOG = 4,
};
TWZDB_API TWZDB_MUST_CHECK int twzdb_dump(struct twzdb *db, uint32_t flags, void *file);
/*
 * Flush homes and empty the log; purge deleted rows no snapshot needs. Waits for the writer lock.
 * TWZDB_E_IO: a sync failed; the log still has everything (D17).
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_checkpoint(struct twzdb *db);

/*
 * Online backup: a new store at DST with all databases of the store at SRC, as they were at one moment, while others read and write
 * them. It is written to DST.part, and gets its name when it is whole and durable, so there is a whole DST or none; what a
 * backup that was killed has left there is written anew. Rows are copied in order, so the copy is as dense as a store can be.
 *
 * Writers are held up for the moment only in which the snapshots are taken (with more than TWZDB_GROUP_MAX databases, or where SRC may not
 * be written, they are not, and each database is of a moment of its own). Deleted rows keep their space in SRC meanwhile. The copies are
 * databases of their own, with new IDs: they take no part in transactions of several databases that the originals have
 * begun. Objects of the store that are no databases are not copied.
 *
 * TWZDB_E_EXIST: there is a DST. TWZDB_E_NOSPC: its disk is full; DST.part is deleted, as after any error. TWZDB_E_DOUBT: a database waits
 * for a decision, so what belongs into the copy is not known. What twzdb_open(SRC) says.
 */
struct twzdb_backup_options {
	size_t size; /* sizeof(struct twzdb_backup_options) */
	/* May be NULL. Rows done, of so many; other than 0 ends the backup and is returned. */
	int (*progress)(void *ctx, uint64_t done, uint64_t total);
	void *ctx;
	int timeout_ms;		   /* for the moment without writers; 0 = 10 s */
	const void *store_options; /* struct twz_store_options for DST, or NULL */
};
TWZDB_API TWZDB_MUST_CHECK int twzdb_backup(const char *src, const char *dst,
					    const struct twzdb_backup_options *opt);

/*
 * Make the database smaller while others read and write it. Rows and nodes of its last part go where there is room in the parts before, and
 * the space behind goes back to the file system: the file has holes there (`du` shows it, `ls -l` does not), which the database fills
 * again when it grows. It is a row of short transactions, each atomic and durable like any other, so whatever interrupts it (an error, the callback,
 * SIGKILL, a power failure) leaves a database with the same rows; other writers have their turns between them. They are commits for whoever waits for
 * one (twzdb_listener_*()), and for a reader that wants to become the writer. Rows keep their values, tables their handles; references into a
 * transaction that has ended are void as ever.
 *
 * Space that a reader still needs goes back when it has ended: what is more than an eighth of the database (and 8 MiB) with a later commit, the
 * rest when this is called again. Values longer than 2 MiB stay where they are.
 *
 * Any thread, but not one that has a write transaction open. TWZDB_E_BUSY: another process, or thread, is at it. TWZDB_E_READONLY,
 * TWZDB_E_DOUBT, TWZDB_E_IO, -ENOMEM: as for a write transaction. TWZDB_E_CORRUPT: what would have to be moved is damaged; it stays as it is.
 * What was moved until then is moved.
 */
struct twzdb_compact_options {
	size_t size; /* sizeof(struct twzdb_compact_options) */
	/* May be NULL. Moved, of about so many; other than 0 ends it and is returned. */
	int (*progress)(void *ctx, uint64_t done, uint64_t total);
	void *ctx;
};
struct twzdb_compacted {
	size_t size;	      /* sizeof(struct twzdb_compacted) */
	uint64_t rows, nodes; /* moved */
	uint64_t given_len;   /* bytes that went back to the file system at the end */
	bool waits;	      /* there is more, but readers from before are in the way */
};
/* OPT and OUT may be NULL. */
TWZDB_API TWZDB_MUST_CHECK int twzdb_compact(struct twzdb *db,
					     const struct twzdb_compact_options *opt,
					     struct twzdb_compacted *out);

/* --- who reads --- */

struct twzdb_reader {
	size_t size;
	uint32_t
		pid; /* 0: processes that may not write the store; what follows is of the oldest of them */
	uint64_t ts;  /* its snapshot */
	uint64_t lag; /* commits since */
	/*
	 * For how long there have been newer commits, at least: known from moments a tenth of a second, in the last minutes five
	 * seconds, and before five minutes apart, at which somebody committed.
	 */
	uint64_t age_ms;
};
/*
 * Tell FN of every open transaction of every process, writers included. FN != 0 stops and is returned. Needs no lock; a transaction
 * that begins or ends meanwhile may be missed. TWZDB_E_READONLY: this process may not write the store.
 */
TWZDB_API TWZDB_MUST_CHECK int
twzdb_readers(struct twzdb *db, int (*fn)(void *ctx, const struct twzdb_reader *r), void *ctx);
/*
 * From now on FN hears of transactions that hold back LAG commits or more since AGE_MS or longer: space of what was superseded after
 * them is not used again. It is called by threads of this process that commit, at most once a second for all, and only if
 * they look for such space; a transaction of this database is open then, so it must not begin or end any. NULL: nobody hears any more. Set it
 * before other threads use the database.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_on_lag(struct twzdb *db, uint64_t lag, uint64_t age_ms,
					    void (*fn)(void *ctx, const struct twzdb_reader *r),
					    void *ctx);

/* --- waiting for commits --- */

/*
 * A listener learns of commits that any process makes after it was opened: of all, or of those that change rows of one table. It is of one
 * thread at a time. Open it, read, then wait: so no commit after what was read is missed. Up to 256 in all processes (TWZDB_E_FULL); one whose
 * process was killed counts no more. Where nobody listens, a commit pays one load for it; else well under a microsecond, and a
 * system call for each that sleeps. (twzdb_put_one() and twzdb_del_one() go their longer way then.)
 */
struct twzdb_listener;
/* T: NULL for the whole database. Close it before the database. */
TWZDB_API TWZDB_MUST_CHECK int twzdb_listener_open(struct twzdb *db, const struct twzdb_table *t,
						   struct twzdb_listener **out);
TWZDB_API void twzdb_listener_close(struct twzdb_listener *l); /* NULL is allowed */
/*
 * Wait until there is a commit it has not returned yet, visible to transactions that begin now; it may be there already. *TS (NULL is
 * allowed): the newest commit now; all up to it count as returned. TIMEOUT_MS < 0 waits for ever, 0 looks. It may return for a commit of
 * other tables: after it was opened while one was on its way, of very large ones, of tables created or dropped, after a writer died. A process that may not
 * write the store hears of all commits, and looks 50 times a second. TWZDB_E_TIMEOUT: there was none. TWZDB_E_IO: there will be none (D17).
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_listener_wait(struct twzdb_listener *l, int timeout_ms,
						   uint64_t *ts);

struct twzdb_stats {
	size_t size; /* in */
	/* since the shared segment was made: since any process has had the store open */
	uint64_t commits, aborts, takeovers, checkpoints, log_bytes, splits, merges, reader_retries;
	uint64_t ts;		     /* latest commit */
	uint64_t data_len, used_len; /* bytes in data objects; in live blocks */
	uint64_t node_cnt, record_cnt, table_cnt;
	uint64_t log_len, log_used;
	uint32_t readers;    /* registered now */
	uint64_t oldest_ts;  /* of the oldest registered snapshot */
	uint64_t reader_lag; /* commits since then: ts - oldest_ts */
	/*
	 * Of the store, by this process since it started: fences, synchronous syncs and bytes
	 * of them, cache lines flushed.
	 */
	uint64_t fences, syncs, sync_len, flushed_lines;
	uint64_t writer_waits;	/* times a writer had to wait for another one */
	uint64_t checkpoint_ns; /* time spent in checkpoints */
	/*
	 * Since the shared segment was made: bytes of free space given back to the file system, which
	 * has holes there, and bytes asked for again when they were needed.
	 */
	uint64_t given_len, taken_len;
};
/*
 * Counters, and sizes, which are found by walking the headers of all blocks: seconds for a large
 * database. Needs no lock; with a writer at work the sizes are of no one moment.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_stats(struct twzdb *db, struct twzdb_stats *st);

#ifdef __cplusplus
}
#endif
#endif
