/* SPDX-License-Identifier: MIT
 * native.h -- native tables: the virtual table module "twz", its files among themselves
 *
 *   native.c        the module: create, connect, rename, destroy
 *   native_decl.c   the arguments of USING twz(...) as columns, key and indexes
 *   native_value.c  values: affinity, parts of keys, cells of rows (format_native.h)
 *   native_row.c    whole rows and whole keys
 *   native_plan.c   xBestIndex: pure
 *   native_scan.c   cursors: constraints as ranges of keys, columns of rows
 *   native_write.c  xUpdate: constraints, conflicts, indexes
 *   native_txn.c    the engine transaction is the VFS file's; savepoints
 *   native_join.c   savepoints around CREATE, DROP and ALTER TABLE
 */
#ifndef TWZVFS_NATIVE_H
#define TWZVFS_NATIVE_H

#include "format_native.h"
#include "internal.h"
#include "twzdb_key.h"

/* --- buffers --- */

/* Bytes that grow; the first ones cost no allocation. */
struct nbuf {
	unsigned char *p;
	size_t len, cap;
	unsigned char room[256];
};

void twzvfs__nbuf_init(struct nbuf *b);
void twzvfs__nbuf_free(struct nbuf *b);
/* Room for N more bytes; the caller adds to len. NULL: no memory. */
unsigned char *twzvfs__nbuf_room(struct nbuf *b, size_t n);
int twzvfs__nbuf_add(struct nbuf *b, const void *p, size_t n);

static inline struct twzdb_slice nbuf_slice(const struct nbuf *b)
{
	return (struct twzdb_slice){b->p, b->len};
}

/* --- declarations --- */

enum naff { AFF_BLOB, AFF_TEXT, AFF_NUMERIC, AFF_INTEGER, AFF_REAL };
enum ncoll { COLL_BINARY, COLL_NOCASE, COLL_RTRIM };

struct ncol {
	char *name;
	enum naff aff;
	enum ncoll coll;
	bool notnull;
	int part; /* of the PRIMARY KEY (KEY_PARTS), or -1 */
};

struct npart {
	int col; /* -1: the rowid */
	enum ncoll coll;
	bool desc;
	bool rest; /* bytes are stored to the end of the key */
};

/* The PRIMARY KEY, or an index. */
struct nkey {
	char *what; /* "t.a, t.b", for messages */
	int cnt;
	bool unique;
	struct npart *part;
};

struct ndecl {
	enum twzvfs_key_kind kind;
	int col_cnt;
	struct ncol *col;
	int ipk;	 /* column that is the rowid, or -1 */
	struct nkey key; /* KEY_PARTS: the columns; else one part, the rowid */
	int index_cnt;
	struct nkey *index;
	char *text; /* the arguments, joined */
	char *vtab; /* for sqlite3_declare_vtab */
	/* CHECK: a table of the same columns in memory, where a row is tried; NULL: no CHECK */
	sqlite3 *check_db;
	sqlite3_stmt *check_put, *check_clear;
};

/* ARG: the CNT arguments of the table NAME. *ERR = sqlite3_malloc'ed message. */
int twzvfs__decl_make(const char *name, int cnt, const char *const *arg, struct ndecl **out,
		      char **err);
void twzvfs__decl_free(struct ndecl *d);
/* Does S have the word WORD outside of names, strings and comments? */
bool twzvfs__decl_has_word(const char *s, const char *word);

/* --- values --- */

struct nval {
	uint8_t type; /* SQLITE_NULL, _INTEGER, _FLOAT, _TEXT, _BLOB */
	sqlite3_int64 i;
	double r;
	const void *p; /* text (UTF-8), blob */
	size_t n;
};

/* The value as a column of affinity AFF stores it. Pointers live as long as V is not converted. */
int twzvfs__val_take(sqlite3_value *v, enum naff aff, struct nval *out);
int twzvfs__val_result(sqlite3_context *ctx, const struct nval *v, bool lasting);

/* Append a part to a key. */
int twzvfs__part_put(struct nbuf *b, const struct nval *v, const struct npart *part);
/* Append class and the first bytes of a text part, without an end: what all texts with the prefix begin with. */
int twzvfs__part_put_prefix(struct nbuf *b, const char *s, size_t n, const struct npart *part);
int twzvfs__rowid_put(struct nbuf *b, sqlite3_int64 rowid);
/*
 * Take the next part off a key. NUMBER parts that are integers: type SQLITE_INTEGER. Bytes go to
 * BUF unless they lie in the key as they are. Corrupt: TWZDB_E_CORRUPT.
 */
int twzvfs__part_get(struct twzdb_key_reader *r, const struct npart *part, struct nbuf *buf,
		     struct nval *out);

/* --- rows --- */

struct native;

/* A row as stored. */
struct nrow {
	struct twzdb_slice key, val;
};

/* Column COL of ROW. BUF is used for bytes that are not in the store as they are. */
int twzvfs__row_col(struct native *n, const struct nrow *row, int col, struct nbuf *buf,
		    struct nval *out);
int twzvfs__row_rowid(struct native *n, struct twzdb_slice key, sqlite3_int64 *out);
/* The value of a row of VAL[], which has KEY. */
int twzvfs__row_make(const struct ndecl *d, const struct nval *val, struct nbuf *out);
/* A key of VAL[] by K. */
int twzvfs__key_make(const struct nkey *k, const struct nval *val, struct nbuf *out);
/* "t: what": TWZDB_E_CORRUPT with a message in the table's error. */
int twzvfs__native_corrupt(struct native *n, const char *why);

/* --- tables --- */

/* What the native tables of one VFS file share. */
struct twzvfs_native {
	uint64_t
		epoch; /* moves with every change, so that what was read before is looked at again */
	struct {
		int label;   /* SQLite's number */
		uint32_t id; /* the engine's */
	} * sp;
	int sp_cnt, sp_cap;
	bool lent; /* SQLite has pointers to rows of this snapshot */
	struct twzdb_txn **pin;
	int pin_cnt;
	uint32_t *page; /* pages written since the first savepoint */
	size_t page_cnt, page_cap;
};

struct ncursor;

/* What the module knows of a connection. */
struct twzvfs_conn {
	sqlite3 *db;
	struct twzvfs_file **file; /* that joined: native_join.c */
	int file_cnt;
	int top; /* SQLite's innermost savepoint, or -1 */
};

struct native {
	sqlite3_vtab base; /* must be first */
	sqlite3 *db;
	struct twzvfs_conn *conn;
	struct twzvfs_file *f;
	struct twzvfs_native *share; /* f's */
	char *schema, *name;
	struct ndecl *d;
	bool have; /* the engine tables are there, and these are they: */
	uint32_t opened;
	struct twzdb_table rows;
	struct twzdb_table *index;
	struct ncursor *spare;
	/* xUpdate's */
	struct nbuf key, old_key, row, tmp, entry;
	struct nval *val;	 /* the row's, by column */
	struct nbuf *cell;	 /* bytes of columns taken over from the old row */
	sqlite3_int64 max_rowid; /* the greatest, if max_epoch is the epoch */
	uint64_t max_epoch;
};

/* SQLite result code of engine error ERR, with a message in the table's error. */
int twzvfs__native_rc(struct native *n, int err, const char *what);
int twzvfs__native_fail(struct native *n, int rc, const char *fmt, ...);
/* Open the engine tables if they are not. TX as of twzvfs__native_reader(). */
int twzvfs__native_tables(struct native *n, struct twzdb_txn *tx);

/* native_plan.c */
int twzvfs__plan(sqlite3_vtab *vtab, sqlite3_index_info *info);

/*
 * A plan as xBestIndex hands it to xFilter. idxNum: path (0 = the key, N = index N); PLAN_DOWN:
 * backwards; PLAN_UNIQUE: one row at most, says SQLite.
 * idxStr: a letter for each value xFilter gets, in the order of the parts:
 *   e  = or IS, part by part from the first on
 *   >, g (>=), <, l (<=)  on the part behind those; at most one of each side
 *   k  LIKE, b  GLOB  on that part
 */
#define PLAN_PATH   0xffff
#define PLAN_DOWN   0x10000
#define PLAN_UNIQUE 0x20000

/* native_scan.c */
int twzvfs__cursor_open(sqlite3_vtab *vtab, sqlite3_vtab_cursor **out);
int twzvfs__cursor_close(sqlite3_vtab_cursor *cur);
int twzvfs__cursor_filter(sqlite3_vtab_cursor *cur, int num, const char *str, int argc,
			  sqlite3_value **argv);
int twzvfs__cursor_next(sqlite3_vtab_cursor *cur);
int twzvfs__cursor_eof(sqlite3_vtab_cursor *cur);
int twzvfs__cursor_column(sqlite3_vtab_cursor *cur, sqlite3_context *ctx, int col);
int twzvfs__cursor_rowid(sqlite3_vtab_cursor *cur, sqlite3_int64 *out);
void twzvfs__cursor_free(struct ncursor *c);

/* native_write.c */
int twzvfs__update(sqlite3_vtab *vtab, int argc, sqlite3_value **argv, sqlite3_int64 *rowid);

/* native_txn.c */
/*
 * The transaction statements of this table read with: the VFS file's. *OWN: there was none (nolock=1),
 * this one is the caller's to end.
 */
int twzvfs__native_reader(struct native *n, struct twzdb_txn **tx, bool *own);
/* The writer; notes that rows change. */
int twzvfs__native_writer(struct native *n, struct twzdb_txn **tx);
/* The same for a file: engine errors. */
int twzvfs__sp_push(struct twzvfs_file *f, int label);
int twzvfs__sp_release(struct twzvfs_file *f, int label);
int twzvfs__sp_rollback(struct twzvfs_file *f, int label);
/* ROLLBACK of the transaction, if the file has not been told by losing its lock. */
int twzvfs__sp_undo(struct twzvfs_file *f);

/* native_join.c */
int twzvfs__join_register(struct twzvfs_conn *c);
/*
 * Before a change that SQLite has not announced by xBegin: tables made, dropped, renamed. An SQLite
 * result code.
 */
int twzvfs__join(struct native *n);
int twzvfs__native_join(struct native *n);
int twzvfs__native_begin(sqlite3_vtab *vtab);
int twzvfs__native_sync(sqlite3_vtab *vtab);
int twzvfs__native_commit(sqlite3_vtab *vtab);
int twzvfs__native_rollback(sqlite3_vtab *vtab);
int twzvfs__native_savepoint(sqlite3_vtab *vtab, int label);
int twzvfs__native_release(sqlite3_vtab *vtab, int label);
int twzvfs__native_rollback_to(sqlite3_vtab *vtab, int label);

#endif
