/* SPDX-License-Identifier: MIT
 * twzdb.h -- an object-native MVCC storage engine: B-trees of persistent pointers in twz objects
 *
 * A store (one file) holds databases; a database holds named tables; a transaction spans all
 * tables of one database. Keys and values are byte strings; keys sort as memcmp does. Isolation:
 * snapshot. A reader sees exactly one commit point for its whole life, blocks nobody and is
 * blocked by nobody; one writer at a time per database, across threads and processes.
 *
 * Threads: a struct twzdb may be shared; a transaction and its cursors belong to one thread at a
 * time. Processes: any number. Reading waits only for a writer process that was stopped
 * (SIGSTOP, a debugger) just while it stored a commit: TWZDB_E_TIMEOUT after ten seconds.
 * Errors: 0, -errno, TWZ_E_* (libtwz), TWZDB_E_*; twzdb_errmsg() has the sentence. Docs:
 * engine/README.md (layout, protocol), docs/durability.md (rules).
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
	X(FULL, -21012, "too many readers or databases")

enum twzdb_err {
#define TWZDB__ERR_ENUM(name, value, text) TWZDB_E_##name = (value),
	TWZDB_ERR_MAP(TWZDB__ERR_ENUM)
#undef TWZDB__ERR_ENUM
};

#define TWZDB_KEY_MAX	1024		  /* bytes */
#define TWZDB_VALUE_MAX ((size_t)1 << 26) /* bytes (64 MiB) */
#define TWZDB_NAME_MAX	255		  /* bytes, of databases and tables */

struct twzdb;	     /* an open database */
struct twzdb_txn;    /* a transaction */
struct twzdb_cursor; /* a position in a table */

struct twzdb_slice {
	const void *ptr;
	size_t len;
};

/* A table inside a transaction; a small value, valid until the transaction ends. */
struct twzdb_table {
	uint64_t h; /* opaque */
};

TWZDB_API const char *twzdb_err_name(int err);
TWZDB_API const char *twzdb_errmsg(void); /* this thread's last failure; never NULL */

enum twzdb_open_flags {
	TWZDB_CREATE = 1, /* create store and database when missing */
	TWZDB_EXCL = 2,	  /* with CREATE: the database must not exist */
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
 * Open a database of the store at PATH. OPT may be NULL. The store is opened once per process
 * and path and shared by its databases.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_open(const char *path, const struct twzdb_options *opt,
					  struct twzdb **out);
/* All transactions must have ended (TWZDB_E_STATE otherwise, nothing closed). NULL is allowed. */
TWZDB_API int twzdb_close(struct twzdb *db);
/* The twz_store beneath, for statistics and checks. */
TWZDB_API void *twzdb_store(struct twzdb *db);
/* 128-bit database ID, as two words. */
TWZDB_API void twzdb_id(struct twzdb *db, uint64_t id[2]);

enum twzdb_txn_flags {
	TWZDB_RDONLY = 1,
	TWZDB_TRY = 2, /* write: TWZDB_E_BUSY instead of waiting */
	/* write: commit may return before it is durable (atomic and ordered all the same) */
	TWZDB_LAZY = 4,
};

/*
 * Begin. A read transaction registers its snapshot; a write transaction waits (FIFO-fair) for
 * the writer lock and sees the latest commit.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_begin(struct twzdb *db, uint32_t flags,
					   struct twzdb_txn **out);
/* Wait at most TIMEOUT_MS for the writer lock; < 0 for ever. TWZDB_E_TIMEOUT. */
TWZDB_API TWZDB_MUST_CHECK int twzdb_begin_timed(struct twzdb *db, uint32_t flags, int timeout_ms,
						 struct twzdb_txn **out);
/*
 * Make a read transaction the writer, at its snapshot. TWZDB_E_STALE if another commit came
 * after the snapshot, TWZDB_E_BUSY if another writer is active: the transaction goes on as a
 * reader.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_upgrade(struct twzdb_txn *txn);
/* Discard a writer's changes and go on as a reader of the same snapshot (writer lock released). */
TWZDB_API int twzdb_downgrade(struct twzdb_txn *txn);
/*
 * Commit: durable on 0, all or nothing. The transaction ends whatever the result, also on error
 * (changes discarded; with TWZDB_E_IO the outcome is unknown until reopening, D17).
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_commit(struct twzdb_txn *txn);
/*
 * Commit and go on as a reader of exactly the committed version. On error: changes discarded,
 * goes on as a reader of the old snapshot.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_commit_keep(struct twzdb_txn *txn);
/*
 * Commit and go on as the writer, at the committed version; nobody else writes between. On
 * error: changes discarded, goes on as the writer of the old snapshot. (twzdb_commit_keep is
 * this followed by twzdb_downgrade.)
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_commit_next(struct twzdb_txn *txn);
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
 * twzdb_commit(). TWZDB_E_STATE: is a writer, is reset already, or has ended.
 */
TWZDB_API int twzdb_reset(struct twzdb_txn *txn);
/* Timestamp of the snapshot (commits are numbered 1, 2, 3 ... per database). */
TWZDB_API uint64_t twzdb_txn_ts(const struct twzdb_txn *txn);
TWZDB_API bool twzdb_txn_is_writer(const struct twzdb_txn *txn);
/* Timestamp of the latest commit of the database. */
TWZDB_API uint64_t twzdb_latest_ts(struct twzdb *db);
/* Threads or processes waiting for the writer lock now. */
TWZDB_API uint32_t twzdb_writer_waiters(struct twzdb *db);

enum twzdb_table_flags {
	TWZDB_TABLE_CREATE = 1, /* create if missing (writer) */
};
TWZDB_API TWZDB_MUST_CHECK int twzdb_table_open(struct twzdb_txn *txn, const char *name,
						uint32_t flags, struct twzdb_table *out);
/* Remove a table and all its rows. */
TWZDB_API TWZDB_MUST_CHECK int twzdb_table_drop(struct twzdb_txn *txn, const char *name);
/* Names in byte order: FN != 0 stops and is returned. */
TWZDB_API TWZDB_MUST_CHECK int
twzdb_table_list(struct twzdb_txn *txn, int (*fn)(void *ctx, const char *name, uint64_t rows),
		 void *ctx);

/*
 * Point operations. *VALUE points into the store, is immutable, followed by at least 8 readable
 * bytes (256 for values over 512 bytes), and stays valid until the transaction ends (for a
 * writer: until it overwrites or deletes that key).
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_get(struct twzdb_txn *txn, struct twzdb_table t,
					 struct twzdb_slice key, struct twzdb_slice *value);

enum twzdb_put_flags {
	TWZDB_INSERT = 1, /* TWZDB_E_EXIST if the key exists */
	TWZDB_UPDATE = 2, /* TWZDB_E_NOTFOUND if it does not */
};
TWZDB_API TWZDB_MUST_CHECK int twzdb_put(struct twzdb_txn *txn, struct twzdb_table t,
					 struct twzdb_slice key, struct twzdb_slice value,
					 uint32_t flags);
/* TWZDB_E_NOTFOUND if there is no such key. */
TWZDB_API TWZDB_MUST_CHECK int twzdb_del(struct twzdb_txn *txn, struct twzdb_table t,
					 struct twzdb_slice key);
/*
 * Delete all keys in [FROM, TO); an empty TO (ptr NULL) means to the end. *CNT (may be NULL) =
 * rows deleted.
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_del_range(struct twzdb_txn *txn, struct twzdb_table t,
					       struct twzdb_slice from, struct twzdb_slice to,
					       uint64_t *cnt);
/* Number of rows visible to the transaction. */
TWZDB_API TWZDB_MUST_CHECK int twzdb_count(struct twzdb_txn *txn, struct twzdb_table t,
					   uint64_t *cnt);

enum twzdb_seek {
	TWZDB_FIRST = 1,
	TWZDB_LAST = 2,
	TWZDB_NEXT = 3,
	TWZDB_PREV = 4,
	TWZDB_SEEK = 5,	   /* exactly KEY, or TWZDB_E_NOTFOUND */
	TWZDB_SEEK_GE = 6, /* first key >= KEY */
	TWZDB_SEEK_LE = 7, /* last key <= KEY */
	TWZDB_CURRENT = 8,
};
TWZDB_API TWZDB_MUST_CHECK int twzdb_cursor_open(struct twzdb_txn *txn, struct twzdb_table t,
						 struct twzdb_cursor **out);
TWZDB_API void twzdb_cursor_close(struct twzdb_cursor *c);
/*
 * Move. KEY is read for SEEK*, written otherwise (and for SEEK_GE/LE: the key found).
 * TWZDB_E_NOTFOUND: no such row; the cursor is then unpositioned
 * (after NEXT at the end: past the end, so PREV gives the last row). Works in a writer whose own changes move rows: NEXT is "the first key after the current one".
 */
TWZDB_API TWZDB_MUST_CHECK int twzdb_cursor_get(struct twzdb_cursor *c, enum twzdb_seek op,
						struct twzdb_slice *key, struct twzdb_slice *value);
TWZDB_API TWZDB_MUST_CHECK int twzdb_cursor_put(struct twzdb_cursor *c, struct twzdb_slice value);
TWZDB_API TWZDB_MUST_CHECK int twzdb_cursor_del(struct twzdb_cursor *c);

/*
 * Check every numbered invariant of trees, records, slabs, free space (engine/README.md lists
 * them). Nothing may be in flight meanwhile, so this takes the writer lock: TWZDB_E_BUSY if a
 * write transaction (of this very thread, too) does not end within two seconds; then try again.
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
/* Flush homes and empty the log. */
TWZDB_API TWZDB_MUST_CHECK int twzdb_checkpoint(struct twzdb *db);

struct twzdb_stats {
	size_t size; /* in */
	/* since the store was first opened */
	uint64_t commits, aborts, takeovers, checkpoints, log_bytes, splits, merges, reader_retries;
	uint64_t ts;		     /* latest commit */
	uint64_t data_len, used_len; /* bytes in data objects; in live blocks */
	uint64_t node_cnt, record_cnt, table_cnt;
	uint64_t log_len, log_used;
	uint32_t readers;   /* registered now */
	uint64_t oldest_ts; /* of the oldest registered snapshot */
};
TWZDB_API TWZDB_MUST_CHECK int twzdb_stats(struct twzdb *db, struct twzdb_stats *st);

#ifdef __cplusplus
}
#endif
#endif
