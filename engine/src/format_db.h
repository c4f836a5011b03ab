/* SPDX-License-Identifier: MIT
 * format_db.h -- every byte of a database on the medium: root, units, nodes, records, log records
 *
 * Little-endian, naturally aligned, fixed width; pointers are twz_pptr words whose FOT index is
 * the target's local number in the database (1 = root object, 2.. = data objects), the same in
 * every object of the database. Everything read through these structs is hostile until
 * bounds-checked (D10). None of the sizes and offsets asserted below may change once format
 * version 1 is frozen.
 */
#ifndef TWZDB_FORMAT_DB_H
#define TWZDB_FORMAT_DB_H

#include <stddef.h>
#include <stdint.h>

#include "twz/types.h"

#define TWZDB_FORMAT_VERSION 0
/* Feature bits of struct db_pm known here. Those of a database are what they were when it was made. */
#define TWZDB_RO_COMPAT 0U
#define TWZDB_INCOMPAT	TWZDB_INCOMPAT_RANGES
#define TWZDB_INCOMPAT_RANGES                                                                      \
	1U /* log records may have ranges (struct rec_diff_pm), links TWZDB_LINK_BASE */

/* --- the root object --- */

#define TWZDB_MAGIC   0x3042445a57540a0dULL /* "\r\nTWZDB0" */
#define TWZDB_NO_ROOT 1			    /* local number of the root object */
#define TWZDB_NO_DATA 2			    /* local number of the first data object */
#define TWZDB_OBJ_MAX 256		    /* data objects of a database: 256 GiB */
/* in the root's FOT alone: the object prepared transactions lie in; there is none before the first */
#define TWZDB_NO_PREP (TWZDB_NO_DATA + TWZDB_OBJ_MAX)

/*
 * A table's anchor. The catalog's lies in struct db_pm, the others are values of TWZDB_TABLE
 * records.
 *
 * OFFSET SIZE MEANING
 *      0    8 id: bits 0..47 number of the table in its database, never reused (the catalog is 0); bits 48..63 its kind:
 *             TWZDB_TABLE_INTKEY, TWZDB_TABLE_DUPSORT of twzdb.h. Immutable
 *      8    8 root: twz_pptr of the root node, 0 = empty table. The only mutable word; changes by log items
 *     16   16 zero
 */
struct table_pm {
	uint64_t id;
	uint64_t root;
	uint64_t zero[2];
};
_Static_assert(sizeof(struct table_pm) == 32, "table_pm");
_Static_assert(offsetof(struct table_pm, root) == 8, "table_pm.root");
#define TWZDB_TABLE_NO(id)    ((id) & (((uint64_t)1 << 48) - 1))
#define TWZDB_TABLE_KIND(id)  ((uint32_t)((id) >> 48))
#define TWZDB_TABLE_KINDS     6U /* kinds there are; others are refused */
#define TWZDB_TABLE_ID(no, k) ((no) | (uint64_t)(k) << 48)
_Static_assert(offsetof(struct table_pm, zero) == 16, "table_pm.zero");

/*
 * Where the prepared transaction lies in the database's object TWZDB_NO_PREP.
 *
 * OFFSET SIZE MEANING
 *      0    8 len: bytes of struct prep_pm and all behind it; 0: none
 *      8    8 off: of struct prep_pm, from the object's first byte of data; a multiple of 64
 *     16    8 sum: prep_pm.sum
 */
struct prepared_pm {
	uint64_t len;
	uint64_t off;
	uint64_t sum;
};
_Static_assert(sizeof(struct prepared_pm) == 24, "prepared_pm");
_Static_assert(offsetof(struct prepared_pm, off) == 8, "prepared_pm.off");
_Static_assert(offsetof(struct prepared_pm, sum) == 16, "prepared_pm.sum");

/*
 * At TWZ_DATA_OFF of the root object.
 *
 * OFFSET SIZE MEANING
 *      0    8 magic
 *      8    4 version of the format
 *     12    4 compat: unknown bits may be ignored
 *     16    4 ro_compat: unknown bits: read only
 *     20    4 incompat: unknown bits: refuse
 *     24   16 id: of the database, random
 *     40   16 log: object ID of its redo log
 *     56    8 ctime: seconds since 1970
 *     64   56 zero
 *    120    4 zero
 *    124    4 sum: low half of XXH3_64 over bytes [0, 124)
 *    128    8 ts: last applied commit (home of a word every commit record implies)
 *    136    8 obj_cnt: data objects
 *    144    8 next_table: id of the next table
 *    152   24 prepared: a transaction of several databases that is not decided here yet (D16), zeros: none
 *    176   16 zero
 *    192   32 catalog: table of tables, name -> struct catalog_pm
 *    224  288 zero
 *    512 2048 units[i]: units in use, from the first, of data object TWZDB_NO_DATA + i
 */
struct db_pm {
	uint64_t magic;
	uint32_t version;
	uint32_t compat, ro_compat, incompat;
	uint64_t id[2];
	uint64_t log[2];
	uint64_t ctime;
	uint8_t zero0[60];
	uint32_t sum;
	uint64_t ts;
	uint64_t obj_cnt;
	uint64_t next_table;
	struct prepared_pm prepared;
	uint64_t zero1[2];
	struct table_pm catalog;
	uint64_t zero2[36];
	uint64_t units[TWZDB_OBJ_MAX];
};
_Static_assert(offsetof(struct db_pm, sum) == 124, "db_pm.sum");
_Static_assert(offsetof(struct db_pm, ts) == 128, "db_pm.ts");
_Static_assert(offsetof(struct db_pm, prepared) == 152, "db_pm.prepared");
_Static_assert(offsetof(struct db_pm, catalog) == 192, "db_pm.catalog");
_Static_assert(offsetof(struct db_pm, units) == 512, "db_pm.units");
_Static_assert(sizeof(struct db_pm) == 2560, "db_pm");

/*
 * Value of a catalog record (its key is the table's name).
 *
 * OFFSET SIZE MEANING
 *      0    8 table: twz_pptr of the struct table_pm
 *      8    8 id: must equal table_pm.id (number and kind)
 */
struct catalog_pm {
	uint64_t table;
	uint64_t id;
};
_Static_assert(sizeof(struct catalog_pm) == 16, "catalog_pm");
_Static_assert(offsetof(struct catalog_pm, id) == 8, "catalog_pm.id");

/* --- units: what data objects are divided into --- */

#define TWZDB_UNIT_SHIFT 16
#define TWZDB_UNIT_LEN	 ((uint32_t)1 << TWZDB_UNIT_SHIFT)
#define TWZDB_UNIT_TAIL                                                                            \
	256 /* bytes at the end of a unit (or run) no block uses: values are followed by readable bytes */
#define TWZDB_UNITS_PER_OBJ ((uint32_t)(TWZ_DATA_MAX >> TWZDB_UNIT_SHIFT))
#define TWZDB_UNIT_MAGIC    0x54494e55U /* "UNIT" */

enum twzdb_unit_kind {
	TWZDB_UNIT_NODES = 1,	/* 512-byte nodes; first block at offset 512 */
	TWZDB_UNIT_RECORDS = 2, /* records of one size class; first block at offset 64 */
	/* one record over RUN units; the others of the run have no header */
	TWZDB_UNIT_LARGE = 3,
};

/*
 * First 64 bytes of every unit (of the first unit of a run). Written by a log item, and changed by another only
 * when nothing in the unit is in use (runs.c): a free run is a LARGE one whose block is not LIVE. Unit u of an object
 * starts at slot offset TWZ_DATA_OFF + u * TWZDB_UNIT_LEN.
 *
 * OFFSET SIZE MEANING
 *      0    4 magic
 *      4    2 kind: enum twzdb_unit_kind
 *      6    2 cls: size class (space.c's table; informative, block_len decides)
 *      8    4 block_len: bytes of a block
 *     12    4 block_cnt: blocks
 *     16    4 first: offset of block 0 in the unit
 *     20    4 run: units covered, 1 unless LARGE
 *     24   36 zero
 *     60    4 sum: low half of XXH3_64 over bytes [0, 60)
 */
struct unit_pm {
	uint32_t magic;
	uint16_t kind;
	uint16_t cls;
	uint32_t block_len;
	uint32_t block_cnt;
	uint32_t first;
	uint32_t run;
	uint8_t zero[36];
	uint32_t sum;
};
_Static_assert(sizeof(struct unit_pm) == 64, "unit_pm");
_Static_assert(offsetof(struct unit_pm, sum) == 60, "unit_pm.sum");

/*
 * OFFSET SIZE MEANING
 *      0   64 was: the unit's first bytes before: a header, or what lay inside a run
 *     64   64 now: its header from now on
 */
struct unit_cut_pm {
	struct unit_pm was;
	struct unit_pm now;
};
_Static_assert(sizeof(struct unit_cut_pm) == 128, "unit_cut_pm");
_Static_assert(offsetof(struct unit_cut_pm, now) == 64, "unit_cut_pm.now");

/* --- nodes --- */

#define TWZDB_NODE_LEN	512
#define TWZDB_FANOUT	28
#define TWZDB_LEVEL_MAX 24 /* 28^24 > 2^64 even at a third full */
#define TWZDB_PFX_LONG	0x8000U

enum twzdb_node_flags {
	TWZDB_NODE_LIVE = 1,	/* allocated (D6) */
	TWZDB_NODE_DEAD = 2,	/* merged away: who gets here starts again at the root */
	TWZDB_NODE_DROPPED = 4, /* of a dropped table: still read by snapshots older than sts */
};

/*
 * A B-tree node, 512-byte aligned; the same struct for leaves and inner nodes.
 *
 * OFFSET SIZE MEANING
 *      0    4 ver: seqlock; odd = being changed; never reset, not even on reuse
 *      4    1 level: 0 = leaf
 *      5    1 n: entries
 *      6    2 pfx: bytes all keys of the node's range share, at most lcp(low fence, high fence); 0 if one is infinite. From
 *             TWZDB_PFX_LONG on: TWZDB_PFX_LONG | its low 15 bits, so that no short key reaches beyond it
 *      8    8 next: twz_pptr of the right sibling, 0 = last of its level
 *     16    8 lof: twz_pptr of the low fence's key block (TWZDB_FENCE record), 0 = minus infinity; immutable while live.
 *             High fence = the right sibling's lof. Owned by the leaf; an inner node borrows its first leaf's
 *     24    8 sts: ts of the last commit that added or deleted a row here; not LIVE: ts of the commit that freed the node
 *     32   28 perm: a permutation of 0..27; the first n are the slots in key order, the others are free
 *     60    1 flags: enum twzdb_node_flags
 *     61    1 tombs: leaf: entries whose newest version is a tombstone
 *     62    2 pfx_hi: what is above 15 bits of a prefix of TWZDB_PFX_LONG and more, else 0
 *     64  224 head[28]: by slot: 8 key bytes after the prefix, as a big-endian number, zero-padded; free slots ~0.
 *             Leaf: the record's key; inner: the child's low fence
 *    288  224 ptr[28]: by slot: twz_pptr of the newest record version (leaf) or of the child (inner)
 */
struct node_pm {
	uint32_t ver;
	uint8_t level;
	uint8_t n;
	uint16_t pfx;
	uint64_t next;
	uint64_t lof;
	uint64_t sts;
	uint8_t perm[TWZDB_FANOUT];
	uint8_t flags;
	uint8_t tombs;
	uint16_t pfx_hi;
	uint64_t head[TWZDB_FANOUT];
	uint64_t ptr[TWZDB_FANOUT];
};
_Static_assert(sizeof(struct node_pm) == TWZDB_NODE_LEN, "node_pm");
_Static_assert(offsetof(struct node_pm, perm) == 32, "node_pm.perm");
_Static_assert(offsetof(struct node_pm, flags) == 60, "node_pm.flags");
_Static_assert(offsetof(struct node_pm, pfx_hi) == 62, "node_pm.pfx_hi");
_Static_assert(offsetof(struct node_pm, head) == 64, "node_pm.head");
_Static_assert(offsetof(struct node_pm, ptr) == 288, "node_pm.ptr");

/* --- records --- */

enum twzdb_rec_kind {
	TWZDB_ROW = 0,
	TWZDB_TOMB = 1,	 /* the key has no value from ts on */
	TWZDB_FENCE = 2, /* key block of a fence, not a row */
	TWZDB_TABLE =
		3, /* value is a struct table_pm at TWZDB_ANCHOR_OFF (its root word is not in the sum) */
};

#define TWZDB_REC_LEN	 36 /* bytes of the header on media */
#define TWZDB_ANCHOR_OFF 40 /* of a TABLE record's value: its words must be aligned */

/* rec_pm.vlf */
#define TWZDB_VLF_LEN	  0x1fffffffU /* bytes of the value */
#define TWZDB_VLF_LIVE	  0x20000000U /* allocated; stored only by apply and replay (D6) */
#define TWZDB_VLF_KIND(k) ((uint32_t)(k) << 30)
/* rec_pm.klt */
#define TWZDB_KLT_LEN	     0xfffU /* bytes of the key */
#define TWZDB_KLT_LONG	     0xfffU /* instead of them: a long row */
#define TWZDB_KEY_SHORT	     1024U  /* longest key of a row that is not long */
#define TWZDB_KLT_TABLE(tag) ((uint32_t)(tag) << 12)
#define TWZDB_TAG_NONE                                                                             \
	0xfffffU /* of a table whose number does not fit: its rows are never in the accelerator */
/* rec_pm.link of a block that is not LIVE: a transaction's stamp, not a time */
#define TWZDB_LINK_RESERVED ((uint64_t)1 << 63)
/* likewise: not reserved, and log records up to the commit in the other bits use its bytes (D2c) */
#define TWZDB_LINK_BASE ((uint64_t)1 << 62)

/*
 * Header of a record; the key follows, then at once the value (TABLE: at TWZDB_ANCHOR_OFF). Blocks
 * are 16-byte aligned.
 *
 * OFFSET SIZE MEANING
 *      0    8 ts: commit that made this version
 *      8    8 prev: twz_pptr of the version before, 0 = none; followed only by snapshots older than ts (D7)
 *     16    8 link: LIVE: twz_pptr of the leaf it was put into | slot << 56, a hint never trusted, 0 = none. Not LIVE: commit that superseded
 *             or freed it, 0 = never published; or TWZDB_LINK_BASE | the last commit whose log record uses its bytes as
 *             base (struct rec_diff_pm); or TWZDB_LINK_RESERVED | stamp of the transaction that reserved the block:
 *             only that one treats it as taken
 *     24    4 vlf: bits 0..28 length of the value, bit 29 LIVE, bits 30..31 enum twzdb_rec_kind
 *     28    4 klt: bits 0..11 length of the key, bits 12..31 low bits of the table's number (0 in a fence), or TWZDB_TAG_NONE
 *     32    4 sum: low half of XXH3_64, seeded with ts, prev, vlf's length, kind and klt, of 8 bytes: XXH3_64 of the value seeded
 *             with that of the key (a long record: of all its data; TABLE: its id)
 *     36      data: key, value
 *
 * A long record, whose key is longer than TWZDB_KEY_SHORT or whose value's length does not fit vlf (and no other): klt says
 * TWZDB_KLT_LONG, vlf's length is 0, and data begin with struct rec_long_pm.
 */
struct rec_pm {
	uint64_t ts;
	uint64_t prev;
	uint64_t link;
	uint32_t vlf;
	uint32_t klt;
	uint32_t sum;
	uint8_t data[];
};
_Static_assert(sizeof(struct rec_pm) == 40, "rec_pm: its data begin in the padding");
_Static_assert(offsetof(struct rec_pm, link) == 16, "rec_pm.link");
_Static_assert(offsetof(struct rec_pm, vlf) == 24, "rec_pm.vlf");
_Static_assert(offsetof(struct rec_pm, klt) == 28, "rec_pm.klt");
_Static_assert(offsetof(struct rec_pm, sum) == 32, "rec_pm.sum");
_Static_assert(offsetof(struct rec_pm, data) == TWZDB_REC_LEN, "rec_pm.data");
_Static_assert(TWZDB_ANCHOR_OFF % 8 == 0 && TWZDB_ANCHOR_OFF >= TWZDB_REC_LEN, "anchor");

/*
 * OFFSET SIZE MEANING
 *      0    4 klen: bytes of the key
 *      4    4 vlen: bytes of the value
 */
struct rec_long_pm {
	uint32_t klen;
	uint32_t vlen;
};
_Static_assert(sizeof(struct rec_long_pm) == 8, "rec_long_pm");
_Static_assert(offsetof(struct rec_long_pm, vlen) == 4, "rec_long_pm.vlen");
_Static_assert(TWZDB_KEY_SHORT < TWZDB_KLT_LONG && TWZDB_REC_LEN % 4 == 0, "long rows");

/* --- log records --- */

#define TWZDB_LREC_MAGIC 0x474f4c44U /* "DLOG" */

enum twzdb_lrec_kind {
	TWZDB_LREC_COMMIT = 1, /* a transaction; ts is its number */
	TWZDB_LREC_SPACE = 2,  /* units formatted; ts is 0 */
	/* transactions of one operation: struct lone_pm */
	TWZDB_LREC_UPD1 = 3, /* a row gets a newer version */
	TWZDB_LREC_DEL1 = 4, /* a row gets a tombstone */
	TWZDB_LREC_INS1 = 5, /* a leaf gets a row */
	/* transactions of several databases (D16): struct group_pm */
	TWZDB_LREC_PREPARE =
		6, /* of a participant: what lies in TWZDB_NO_PREP waits for the decision */
	TWZDB_LREC_RESOLVED = 7, /* it is committed; ts is its number */
	TWZDB_LREC_DROPPED = 8,	 /* it is not */
};

/*
 * A log record of the engine (twz_log adds length, sequence, generation and checksum: D1). Items
 * follow without gaps.
 *
 * OFFSET SIZE MEANING
 *      0    4 magic
 *      4    2 version: 0
 *      6    2 kind: enum twzdb_lrec_kind
 *      8    8 ts
 *     16    8 len: bytes, this header included
 *     24    8 item_cnt
 */
struct lrec_pm {
	uint32_t magic;
	uint16_t version;
	uint16_t kind;
	uint64_t ts;
	uint64_t len;
	uint64_t item_cnt;
};
_Static_assert(sizeof(struct lrec_pm) == 32, "lrec_pm");
_Static_assert(offsetof(struct lrec_pm, version) == 4, "lrec_pm.version");
_Static_assert(offsetof(struct lrec_pm, kind) == 6, "lrec_pm.kind");
_Static_assert(offsetof(struct lrec_pm, ts) == 8, "lrec_pm.ts");
_Static_assert(offsetof(struct lrec_pm, len) == 16, "lrec_pm.len");
_Static_assert(offsetof(struct lrec_pm, item_cnt) == 24, "lrec_pm.item_cnt");

#define TWZDB_LONE_MAGIC  0x00314c44U /* "DL1", and the kind above it */
#define TWZDB_LONE_SHIFT  56	      /* pointers need less bits: object numbers end at 257 */
#define TWZDB_LONE_PTR	  (((uint64_t)1 << TWZDB_LONE_SHIFT) - 1)
#define TWZDB_LONE_RANGES ((uint64_t)1 << TWZDB_LONE_SHIFT) /* in lone_pm.old */

/*
 * A transaction of one operation in a leaf that stays: one line in the log with its header, two for an
 * insert. On page media the new record as it shall be follows, zero-padded to 8; or (UPD1, TWZDB_LONE_RANGES) a twz_pptr of the
 * record it shares bytes with, and what differs: struct range_pm each. See struct rec_diff_pm.
 *
 * OFFSET SIZE MEANING
 *      0    4 magic | enum twzdb_lrec_kind << 24
 *      4    4 sum: rec_pm.sum of the new record
 *      8    8 ts
 *     16    8 leaf: twz_pptr | slot << 56
 *     24    8 rec: twz_pptr of the new record | node_pm.tombs as it shall be << 56
 *     32    8 old: twz_pptr of the record that dies | TWZDB_LONE_RANGES or 0 (UPD1, DEL1: the end)
 *  INS1:
 *     32    8 head: of the slot
 *     40   28 perm: node_pm.perm as it shall be
 *     68    1 n: node_pm.n as it shall be
 *     69    3 zero
 */
struct lone_pm {
	uint32_t magic;
	uint32_t sum;
	uint64_t ts;
	uint64_t leaf;
	uint64_t rec;
	union {
		uint64_t old;
		struct {
			uint64_t head;
			uint8_t perm[TWZDB_FANOUT];
			uint8_t n;
			uint8_t zero[3];
		} ins;
	};
};
#define TWZDB_LONE_LEN 40 /* of UPD1 and DEL1 */
_Static_assert(sizeof(struct lone_pm) == 72, "lone_pm");
_Static_assert(offsetof(struct lone_pm, sum) == 4, "lone_pm.sum");
_Static_assert(offsetof(struct lone_pm, leaf) == 16, "lone_pm.leaf");
_Static_assert(offsetof(struct lone_pm, rec) == 24, "lone_pm.rec");
_Static_assert(offsetof(struct lone_pm, old) == 32, "lone_pm.old");
_Static_assert(offsetof(struct lone_pm, ins.perm) == 40, "lone_pm.perm");
_Static_assert(offsetof(struct lone_pm, ins.n) == 68, "lone_pm.n");

#define TWZDB_GROUP_MAGIC 0x50524744U /* "DGRP" */

/*
 * A step of a transaction of several databases, in a participant's log. The coordinator has none: its decision is a
 * row of table TWZDB_DECISIONS, committed with its own share of the transaction.
 *
 * OFFSET SIZE MEANING
 *      0    4 magic
 *      4    2 version: 0
 *      6    2 kind: TWZDB_LREC_PREPARE, RESOLVED or DROPPED
 *      8    8 ts: of the commit; PREPARE, DROPPED: 0
 *     16   24 what: where the transaction lies
 *     40   16 group: its number in all participants
 */
struct group_pm {
	uint32_t magic;
	uint16_t version;
	uint16_t kind;
	uint64_t ts;
	struct prepared_pm what;
	uint64_t group[2];
};
_Static_assert(sizeof(struct group_pm) == 56, "group_pm");
_Static_assert(offsetof(struct group_pm, kind) == 6, "group_pm.kind");
_Static_assert(offsetof(struct group_pm, what) == 16, "group_pm.what");
_Static_assert(offsetof(struct group_pm, group) == 40, "group_pm.group");

/*
 * A participant's share of the transaction, in object TWZDB_NO_PREP. No log record names these bytes but those of the
 * same transaction, and they are overwritten only past a checkpoint behind its last one (D2d).
 *
 * OFFSET SIZE MEANING
 *      0    8 sum: XXH3-64 of all that follows
 *      8    8 len: bytes, from sum to the end
 *     16   16 group
 *     32   16 coordinator: ID of its database
 *     48   16 store: ID of the coordinator's store
 *     64    4 path_len: of a path of that store, a hint
 *     68    4 name_len: of the coordinator's name in it
 *     72      path, name, zeros up to a multiple of 8, then a log record of kind COMMIT (struct lrec_pm)
 */
struct prep_pm {
	uint64_t sum;
	uint64_t len;
	uint64_t group[2];
	uint64_t coordinator[2];
	uint64_t store[2];
	uint32_t path_len;
	uint32_t name_len;
};
_Static_assert(sizeof(struct prep_pm) == 72, "prep_pm");
_Static_assert(offsetof(struct prep_pm, group) == 16, "prep_pm.group");
_Static_assert(offsetof(struct prep_pm, coordinator) == 32, "prep_pm.coordinator");
_Static_assert(offsetof(struct prep_pm, store) == 48, "prep_pm.store");
_Static_assert(offsetof(struct prep_pm, path_len) == 64, "prep_pm.path_len");

/*
 * Table of a coordinator's decisions: key = group (16 bytes), value = the IDs (16 bytes each) of the databases
 * that need the answer. No such row: not committed.
 */
#define TWZDB_DECISIONS "twzdb.decisions"

/*
 * Items are applied in the order they have in the record; commit.c says why in which order it
 * writes them.
 */
enum twzdb_item_type {
	TWZDB_IT_UNIT = 1,     /* where = unit; payload: struct unit_pm */
	TWZDB_IT_NODE_NEW = 2, /* where = node; payload: 512 bytes (ver ignored) */
	/* where = node; payload: struct node_wr_pm, then one word per bit of mask */
	TWZDB_IT_NODE_WR = 3,
	TWZDB_IT_REC_LIVE =
		4, /* payload: struct rec_live_pm each: records that lie in place already */
	/* where = record; payload: the record as it shall be, key and value included, zero-padded to 8 */
	TWZDB_IT_REC_FULL = 5,
	/* where = aligned word in the root object or a table; payload: 8 bytes */
	TWZDB_IT_WORD = 6,
	TWZDB_IT_REC_DEAD = 7,	/* payload: twz_pptr words of records that die at ts */
	TWZDB_IT_NODE_DEAD = 8, /* payload: twz_pptr words of nodes merged away at ts */
	TWZDB_IT_NODE_DROP = 9, /* payload: twz_pptr words of nodes of tables dropped at ts */
	TWZDB_IT_UNIT_CUT =
		10, /* where = unit; payload: struct unit_cut_pm: free space gets another type */
	TWZDB_IT_REC_RUN =
		11, /* payload: struct rec_run_pm each: rows that lie in place, one behind the other */
	/* where = record; payload: struct rec_diff_pm, then struct range_pm each */
	TWZDB_IT_REC_DIFF = 12,
};

/*
 * OFFSET SIZE MEANING
 *      0    2 type: enum twzdb_item_type
 *      2    2 zero
 *      4    4 len: bytes of payload, a multiple of 8
 *      8    8 where: twz_pptr, 0 for the list items
 */
struct item_pm {
	uint16_t type;
	uint16_t zero;
	uint32_t len;
	uint64_t where;
};
_Static_assert(sizeof(struct item_pm) == 16, "item_pm");
_Static_assert(offsetof(struct item_pm, len) == 4, "item_pm.len");
_Static_assert(offsetof(struct item_pm, where) == 8, "item_pm.where");

/*
 * OFFSET SIZE MEANING
 *      0    8 where: twz_pptr of the record
 *      8    4 sum: rec_pm.sum
 *     12    4 kind: enum twzdb_rec_kind
 */
struct rec_live_pm {
	uint64_t where;
	uint32_t sum;
	uint32_t kind;
};
_Static_assert(sizeof(struct rec_live_pm) == 16, "rec_live_pm");
_Static_assert(offsetof(struct rec_live_pm, sum) == 8, "rec_live_pm.sum");
_Static_assert(offsetof(struct rec_live_pm, kind) == 12, "rec_live_pm.kind");

/*
 * Rows in neighbouring blocks of one unit.
 *
 * OFFSET SIZE MEANING
 *      0    8 where: twz_pptr of the first
 *      8    8 leaf: rec_pm.link of the first; the slots of the others follow. 0: of all
 *     16    8 sum: of their rec_pm.sum (run_sum()), from where on
 *     24    4 cnt: of them, 1..28
 *     28    4 zero
 */
struct rec_run_pm {
	uint64_t where;
	uint64_t leaf;
	uint64_t sum;
	uint32_t cnt;
	uint32_t zero;
};
_Static_assert(sizeof(struct rec_run_pm) == 32, "rec_run_pm");
_Static_assert(offsetof(struct rec_run_pm, sum) == 16, "rec_run_pm.sum");
_Static_assert(offsetof(struct rec_run_pm, cnt) == 24, "rec_run_pm.cnt");

/*
 * A row as it shall be, by what differs from another (D2c, page media): that one's key and lengths, and of its value all bytes that no
 * range says. ts is the log record's.
 *
 * OFFSET SIZE MEANING
 *      0    8 base: twz_pptr of the other, a row that is not long. It stays as it is as long as the log may be replayed from here
 *      8    8 prev: rec_pm.prev
 *     16    4 sum: rec_pm.sum
 *     20    4 zero
 */
struct rec_diff_pm {
	uint64_t base;
	uint64_t prev;
	uint32_t sum;
	uint32_t zero;
};
_Static_assert(sizeof(struct rec_diff_pm) == 24, "rec_diff_pm");
_Static_assert(offsetof(struct rec_diff_pm, prev) == 8, "rec_diff_pm.prev");
_Static_assert(offsetof(struct rec_diff_pm, sum) == 16, "rec_diff_pm.sum");

/*
 * Bytes of a value. Ranges stand in the order of the value, and do not overlap.
 *
 * OFFSET SIZE MEANING
 *      0    4 off: in the value
 *      4    4 len: of the bytes, not 0
 *      8      the bytes, zero-padded to 8
 */
struct range_pm {
	uint32_t off;
	uint32_t len;
};
_Static_assert(sizeof(struct range_pm) == 8, "range_pm");
_Static_assert(offsetof(struct range_pm, len) == 4, "range_pm.len");

/*
 * OFFSET SIZE MEANING
 *      0    4 hdr: bytes 4..7 of the node (level, n, pfx)
 *      4    4 zero
 *      8    8 mask: bit i = word i of the node follows; bit 0 is never set (it holds ver)
 */
struct node_wr_pm {
	uint32_t hdr;
	uint32_t zero;
	uint64_t mask;
};
_Static_assert(sizeof(struct node_wr_pm) == 16, "node_wr_pm");
_Static_assert(offsetof(struct node_wr_pm, mask) == 8, "node_wr_pm.mask");

#endif
