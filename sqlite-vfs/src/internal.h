/* SPDX-License-Identifier: MIT
 * internal.h -- the files of the VFS among themselves
 */
#ifndef TWZVFS_INTERNAL_H
#define TWZVFS_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#include "sqlite.h"
#include "twzdb.h"

/*
 * A volatile rollback journal: bytes that must exist for ROLLBACK, and need not survive (README,
 * "Journals").
 */
struct twzvfs_buf {
	unsigned char *p;
	sqlite3_int64 len, cap;
	bool in_use; /* by one open journal file at a time */
};

/* map.c: where the pages lie, as far as it is known; true of the pages as loaded. */
struct twzvfs_map {
	uint64_t *e; /* by page number */
	uint32_t cap, state;
};

/*
 * A main database file.
 *
 *   lock     txn                        meaning
 *   NONE     NULL                       idle
 *   NONE     writer (implicit)          nolock=1: began at the first xWrite, ends at COMMIT_PHASETWO
 *   SHARED   reader, or writer (early)  a snapshot; early: the writer slot taken for fairness or exclusive mode
 *   >=RESERVED  writer                  changes are in the engine transaction, visible to nobody else
 */
struct twzvfs_file {
	sqlite3_file base;	  /* must be first */
	struct twzvfs_file *next; /* all open ones, for super-journal groups */
	struct twzdb *db;
	struct twzdb_txn *txn;
	const char
		*name; /* SQLite's own copy of the path: valid, and the same pointer, until close */
	char *path;
	dev_t dev;
	ino_t ino;
	uint64_t seen_at; /* when the file was last seen to have its name: ns */
	sqlite3 **conn;	  /* FCNTL_PDB; dereferenced at use */
	int lock;	  /* SQLITE_LOCK_* */
	bool readonly;
	bool immutable;	  /* the user's word: nobody changes it */
	bool early;	  /* writer before SQLite asked for it */
	bool refused;	  /* last attempt to write met BUSY: queue at the next one's SHARED (R9) */
	uint32_t crowded; /* others write at the same time: for so many more statements */
	bool exclusive;	  /* locking_mode=EXCLUSIVE seen (R8) */
	bool committed;	  /* the last thing that happened was a commit */
	bool unlocks; /* a commit was followed by an unlock, and no locking_mode was seen since */
	bool dirty;   /* the transaction changed pages */
	bool rows_dirty; /* the transaction changed rows of native tables */
	bool prepared;	 /* FCNTL_SYNC after the last write */
	bool hdr_dirty;	 /* page_cnt or page_size differ from the stored header */
	char *super;	 /* name given by FCNTL_SYNC */
	/* the page table as this transaction sees it */
	bool loaded; /* what follows is that of commit loaded_ts */
	uint64_t loaded_ts;
	/* bytes 24..39 of page 1, this transaction's changes included: SQLite asks for them in every one */
	unsigned char version[16];
	bool have_table;
	struct twzdb_table table;
	uint32_t page_size; /* 0: empty database */
	uint64_t page_cnt;
	uint32_t skew; /* of the change counter, beside the number of the commit */
	struct twzvfs_map map;
	sqlite3_int64 mmap_size;
	int fetched; /* pages handed out by xFetch */
	struct twzvfs_buf journal;
	struct twzvfs_native *native; /* NULL: no native table was used through this file */
	uint32_t reopened;	      /* how often */
};

/* xFileControl of our own: *(struct twzvfs_file **) = the file, whatever VFS lies on top. */
#define TWZVFS_FCNTL_FILE 0x7477

/*
 * rc.c: the one translation of engine errors; logs everything but BUSY. WHAT: the operation, for
 * the log.
 */
int twzvfs__rc(int err, const char *what, const char *path);

/* vfs.c: a file that is only read, whose store was opened for writing since (TWZ_E_STALE): open it again. */
int twzvfs__reopen(struct twzvfs_file *f);
sqlite3_vfs *twzvfs__root(void); /* the VFS beneath, for temporary files and names */

/* io.c */
extern const sqlite3_io_methods twzvfs__io;

/* journal.c: open a volatile file in FILE; BUF NULL = it owns its bytes. */
void twzvfs__journal_open(sqlite3_file *file, struct twzvfs_buf *buf);
size_t twzvfs__journal_size(void);

/* foreign.c: PATH is no store; needs no more memory than struct twzvfs_file has. */
int twzvfs__foreign_open(sqlite3_file *file, const char *path);

/* lock.c */
int twzvfs__lock(sqlite3_file *file, int level);
int twzvfs__unlock(sqlite3_file *file, int level);
int twzvfs__check_reserved(sqlite3_file *file, int *out);
/*
 * Commit the transaction of F at its commit point; the lock level stays. Failing discards the
 * changes.
 */
int twzvfs__commit(struct twzvfs_file *f);
/*
 * The same in steps, for several files (group.c): begin; if it is WANTED at all: the engine's commit, or drop after an error; end,
 * which gets that error and makes it one of SQLite's.
 */
/* It read another page before SQLite asked for the writer's place, which it had early. */
int twzvfs__early_end(struct twzvfs_file *f);
int twzvfs__commit_begin(struct twzvfs_file *f, bool *wanted);
void twzvfs__commit_drop(struct twzvfs_file *f);
int twzvfs__commit_end(struct twzvfs_file *f, int err);
/*
 * Make F a writer for an xWrite that came without a lock (nolock=1, exclusive mode after a
 * commit).
 */
int twzvfs__writer(struct twzvfs_file *f);
/* Begin a read transaction. */
int twzvfs__read(struct twzvfs_file *f);
/* End whatever transaction F has. */
void twzvfs__end(struct twzvfs_file *f);

/* pages.c: all need f->txn; engine errors */
int twzvfs__pages_load(struct twzvfs_file *f);	    /* after every begin, commit and downgrade */
int twzvfs__pages_committed(struct twzvfs_file *f); /* after a commit */
/* past the end: zeros */
int twzvfs__pages_read(struct twzvfs_file *f, unsigned char *buf, uint64_t len, uint64_t off);
int twzvfs__pages_fetch(struct twzvfs_file *f, uint64_t off, uint32_t len, const void **out);
int twzvfs__pages_write(struct twzvfs_file *f, const unsigned char *buf, uint64_t len,
			uint64_t off);
int twzvfs__pages_truncate(struct twzvfs_file *f, uint64_t len);
/* The transaction was rolled back to a savepoint: is the table still there? */
int twzvfs__pages_reopen(struct twzvfs_file *f);
int twzvfs__pages_seal(struct twzvfs_file *f); /* before commit: the header row */

/* map.c */
const unsigned char *twzvfs__map_get(const struct twzvfs_file *f, uint64_t pgno); /* or NULL */
void twzvfs__map_set(struct twzvfs_file *f, uint64_t pgno, const void *page); /* NULL: not known */
void twzvfs__map_forget(struct twzvfs_file *f);
void twzvfs__map_free(struct twzvfs_file *f);

/* group.c: files that commit together */
void twzvfs__group_add(struct twzvfs_file *f);
void twzvfs__group_remove(struct twzvfs_file *f);
int twzvfs__group_commit(const char *super);	    /* at the deletion of their super-journal */
int twzvfs__group_phase_two(struct twzvfs_file *f); /* COMMIT_PHASETWO */
/*
 * The buffer of the handle whose journal has this name (SQLite's own string), or NULL when that
 * handle is not known or has a journal open.
 */
struct twzvfs_buf *twzvfs__group_journal(const char *name);
/* locking_mode, for all files of the connection */
void twzvfs__group_exclusive(struct twzvfs_file *f, bool on);
/* F learnt its connection: take its locking mode over */
void twzvfs__group_join(struct twzvfs_file *f);
/* DB has begun to commit native tables, in this thread; NULL: it is over */
void twzvfs__group_committing(sqlite3 *db);

/* native.c, native_txn.c */
int twzvfs__native_register(sqlite3 *db); /* the module "twz" */
/* The transaction of F, or its changes, have ended. */
void twzvfs__native_reset(struct twzvfs_file *f);
void twzvfs__native_free(struct twzvfs_file *f);
/*
 * Before a commit: what was read in place in this transaction, by statements that go on, stays where it
 * is until all of them have ended.
 */
int twzvfs__native_pin(struct twzvfs_file *f);
void twzvfs__native_unpin(struct twzvfs_file *f);
/* Pages were written. */
int twzvfs__native_wrote(struct twzvfs_file *f, uint64_t off, uint64_t len);

#endif
