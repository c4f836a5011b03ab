/* SPDX-License-Identifier: MIT
 * format_native.h -- how native tables (CREATE VIRTUAL TABLE ... USING twz) lie in engine tables
 *
 * A native table NAME of a SQLite database has, in the engine database of that SQLite database:
 *   "native.NAME"           its rows
 *   "nativeindex.N.NAME"    its index number N, counted from 1 in the order of the declaration:
 *                           first every UNIQUE, and then every INDEX
 *   a row of "sqlite.native", key NAME: the declaration, struct twzvfs_decl_pm
 * docs/native-tables.md says the same for people who read and write rows through the KV API.
 */
#ifndef TWZVFS_FORMAT_NATIVE_H
#define TWZVFS_FORMAT_NATIVE_H

#include <stddef.h>
#include <stdint.h>

#define TWZVFS_NATIVE_CATALOG "sqlite.native"
#define TWZVFS_NATIVE_ROWS    "native."
#define TWZVFS_NATIVE_INDEX   "nativeindex."

#define TWZVFS_DECL_MAGIC   0x4e515354u /* "TSQN" */
#define TWZVFS_DECL_VERSION 0

/* How rows are found: the kind of key. */
enum twzvfs_key_kind {
	TWZVFS_KEY_ROWID = 0,	/* no PRIMARY KEY: a number nobody declared */
	TWZVFS_KEY_INTEGER = 1, /* INTEGER PRIMARY KEY: the same, with a column's name */
	TWZVFS_KEY_PARTS = 2,	/* any other PRIMARY KEY */
};

/*
 * The declaration: value of row NAME in the catalog. Written when the table is created.
 *
 *   OFFSET  SIZE  MEANING
 *        0     4  magic, TWZVFS_DECL_MAGIC
 *        4     2  version of the layout of rows and keys, TWZVFS_DECL_VERSION
 *        6     2  kind of key, enum twzvfs_key_kind
 *        8     4  number of columns
 *       12     4  number of indexes
 *       16     n  the arguments of USING twz(...), joined by ", ": UTF-8, to the end of the value
 */
struct twzvfs_decl_pm {
	uint32_t magic;
	uint16_t version;
	uint16_t kind;
	uint32_t col_cnt;
	uint32_t index_cnt;
};
_Static_assert(sizeof(struct twzvfs_decl_pm) == 16, "on media: may never change");
_Static_assert(offsetof(struct twzvfs_decl_pm, kind) == 6, "on media: may never change");
_Static_assert(offsetof(struct twzvfs_decl_pm, index_cnt) == 12, "on media: may never change");

/*
 * The key of a row. KEY_ROWID, KEY_INTEGER: the number, signed, 8 bytes (twzdb_key_put_int).
 * KEY_PARTS: a part for each column of the PRIMARY KEY, in its order. With DESC every byte of the
 * part is inverted (TWZDB_KEY_DESC).
 *
 *   OFFSET  SIZE  MEANING
 *        0     1  class, enum twzvfs_part_tag
 *        1     n  NULL: nothing (n = 0)
 *                 number: the greatest double that is not greater (8 bytes, twzdb_key_put_double),
 *                 and what is missing (2 bytes, twzdb_key_put_uint): so that 1 and 1.0 are the same
 *                 part, and 2^53 and 2^53 + 1 are not
 *                 text: its UTF-8, with COLLATE NOCASE A-Z as a-z, with RTRIM without the spaces at
 *                 its end, as twzdb_key_put_bytes() stores bytes
 *                 blob: twzdb_key_put_bytes()
 * Text or blob in the last part of a PRIMARY KEY that runs upwards is stored as it is, to the end of the key
 * (twzdb_key_put_rest).
 *
 * The key of an index entry: such parts for its columns, none of them stored to the end of the key,
 * and behind them the key of the row (twzdb_key_put_rest). Its value is empty.
 */
enum twzvfs_part_tag {
	TWZVFS_PART_NULL = 0x10,
	TWZVFS_PART_NUMBER = 0x20,
	TWZVFS_PART_TEXT = 0x30,
	TWZVFS_PART_BLOB = 0x40,
};

/* What a stored column is. */
enum twzvfs_cell {
	TWZVFS_CELL_NULL = 0, /* no bytes */
	TWZVFS_CELL_INTEGER =
		1, /* signed, little-endian, 1 to 8 bytes, as few as hold it; 0 bytes: 0 */
	TWZVFS_CELL_REAL = 2, /* IEEE 754 double, little-endian, 8 bytes, no NaN */
	TWZVFS_CELL_TEXT = 3, /* UTF-8, no 0 behind it */
	TWZVFS_CELL_BLOB = 4,
	TWZVFS_CELL_KEY_INTEGER = 5, /* no bytes: the integer in the column's part of the key */
	TWZVFS_CELL_KEY_BYTES = 6, /* no bytes: the text or blob in the column's part of the key */
};

/*
 * The value of a row with C columns.
 *
 *   OFFSET        SIZE  MEANING
 *        0           1  version, 0
 *        1           1  must be zero
 *        2           2  C
 *        4           C  of each column what it is, enum twzvfs_cell
 *        4 + C     4*C  of each column where its bytes end, counted from offset 4 + 5*C; they start
 *                       where those of the column before end, the first one's at 0
 *        4 + 5*C     n  the bytes of the columns, one behind the other; nothing behind them
 * All numbers little-endian, not aligned. The column that is the INTEGER PRIMARY KEY is
 * CELL_KEY_INTEGER. A row is valid if and only if (1) its value is at least 4 + 5*C long, version and the
 * byte behind it are 0 and C is the table's; (2) ends never fall, and the last one is the value's; (3) each
 * column's bytes are as many as what it is allows; (4) KEY cells stand only for columns of the key, whose part is of that class;
 * (5) no column of the PRIMARY KEY is NULL.
 */
struct twzvfs_row_pm {
	uint8_t version;
	uint8_t must_be_zero;
	uint16_t col_cnt;
	/* uint8_t what[col_cnt]; uint32_t end[col_cnt]; bytes */
};
_Static_assert(sizeof(struct twzvfs_row_pm) == 4, "on media: may never change");
_Static_assert(offsetof(struct twzvfs_row_pm, col_cnt) == 2, "on media: may never change");

#endif
