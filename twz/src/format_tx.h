/* SPDX-License-Identifier: MIT
 * format_tx.h -- the undo log on media (docs/durability.md D1, D8)
 *
 * A log is a chain of contiguous objects (TWZ_OBJ_TXLOG): one head, and overflow objects reached
 * by link entries. Offsets below count from the first byte of the object's data.
 *
 *   0      struct twz_txlog_pm    written once, when the object is made
 *   512    struct twz_txretire_pm one word, alone in its sector: writing it is THE COMMIT POINT of a transaction
 *   4096   entries, each at a multiple of 64; a batch (one record call) starts in a fresh 4 KiB block on page media (D19)
 *
 * Object IDs are derived, so that restart finds logs without looking at any other object:
 *
 *   head of log k = 0, 1, 2 ..	XXH3_128(the store's UUID, seed TWZ_TXLOG_SEED + k), low word first
 *   overflow m = 1, 2 .. of it	XXH3_128(ID of the head, seed TWZ_TXLOG_SEED + m)
 *
 * Log k exists only if all logs below it do. Overflow objects of a log leave fewer than
 * TWZ_TXLOG_GAP numbers unused between two.
 */
#ifndef TWZ_SRC_FORMAT_TX_H
#define TWZ_SRC_FORMAT_TX_H

#include <stddef.h>
#include <stdint.h>

#define TWZ_TXLOG_MAGIC	     0x474f4c5844555754ULL /* "TWUDXLOG" */
#define TWZ_TXENT_MAGIC	     0x4e455854U	   /* "TXEN" */
#define TWZ_TXLOG_VERSION    0U
#define TWZ_TXLOG_SEED	     0x474f4c5844550000ULL /* of derived IDs */
#define TWZ_TXLOG_CNT_MAX    1023U		   /* logs of a store */
#define TWZ_TXLOG_GAP	     8U
#define TWZ_TXLOG_RETIRE_OFF 512U
#define TWZ_TXLOG_ENT_OFF    4096U
#define TWZ_TXLOG_ALIGN	     64U
#define TWZ_TXLOG_LEN_MIN    8192U /* bytes of data of a log object */
#define TWZ_TXENT_BODY_MAX                                                                         \
	((1U << 20) - 4096U) /* bytes of old data in one entry; longer ranges take several */

enum twz_txlog_kind {
	TWZ_TXLOG_HEAD = 1,
	TWZ_TXLOG_OVERFLOW = 2, /* holds entries of a head that links to it; garbage otherwise */
};

/*
 * Header of a log object.
 *
 *   OFFSET  SIZE  MEANING
 *        0     8  magic TWZ_TXLOG_MAGIC
 *        8     4  version TWZ_TXLOG_VERSION
 *       12     4  compat features
 *       16     4  ro_compat features
 *       20     4  incompat features: an unknown bit means the log cannot be rolled back here
 *       24     4  enum twz_txlog_kind
 *       28     4  must be zero
 *       32    16  ID of this object: a log copied elsewhere is not this log
 *       48     8  must be zero
 *       56     8  checksum: XXH3 of bytes 0..55
 *
 * Valid iff magic, version, masks, zeros, ID and checksum hold. A header that is not, with a
 * retirement word of 0 and no entry behind it, belongs to an object whose creator died before
 * its first transaction: it holds nothing, and whoever uses it next writes it.
 */
struct twz_txlog_pm {
	uint64_t magic;
	uint32_t version;
	uint32_t compat;
	uint32_t ro_compat;
	uint32_t incompat;
	uint32_t kind;
	uint32_t must_be_zero;
	uint64_t id[2];
	uint64_t must_be_zero2;
	uint64_t sum;
};

/*
 * Retirement word.
 *
 *   OFFSET  SIZE  MEANING
 *        0     8  bits 63..16: the highest generation whose transaction has ended; bits 15..0: XXH3 of those bits seeded with
 *                 the log's ID, truncated, so that a damaged word is noticed. 0 = none yet
 *
 * The transaction in progress has generation + 1. Entries of other generations are void.
 */
struct twz_txretire_pm {
	uint64_t word;
};

#define TWZ_TXLOG_GEN_MAX ((1ULL << 48) - 2)

enum twz_txent_kind {
	TWZ_TXENT_DATA = 1, /* old bytes follow */
	TWZ_TXENT_LINK = 2, /* the log goes on in object `id`; no body */
};

/*
 * Entry header; the old bytes follow directly.
 *
 *   OFFSET  SIZE  MEANING
 *        0     4  magic TWZ_TXENT_MAGIC
 *        4     4  enum twz_txent_kind
 *        8     8  generation of the transaction
 *       16     4  sequence number: 1, 2, 3 .. inside the transaction
 *       20     4  batch: sequence number of the first entry of the record call that wrote it. An entry of a later batch was written only
 *                 when all of this batch was durable, which tells a torn end from a damaged middle
 *       24    16  ID of the object whose bytes follow (LINK: of the next log object)
 *       40     4  offset of the bytes in that object's slot (LINK: 0)
 *       44     4  bytes (LINK: 0)
 *       48     4  offset in this log object of the next entry (LINK: TWZ_TXLOG_ENT_OFF, in the next object)
 *       52     4  checksum of the header alone: XXH3 of bytes 0..51 seeded with log ID and place, truncated
 *       56     8  checksum: XXH3 of bytes 0..55 and the body, seeded with the checksum of the entry before it (of the log ID and
 *                 generation for the first)
 *
 * Durable before the call that wrote it returns (D8). Valid iff
 *   (1) magic, kind and header checksum hold,
 *   (2) the generation is the log's retired generation + 1,
 *   (3) the sequence number is the one expected here,
 *   (4) body and next entry lie inside the log object, the next entry behind this one, at a multiple of 64,
 *   (5) the checksum, seeded as above, holds.
 * Nothing behind the first entry that is not valid counts, and if a header of a later batch
 * stands there the log is corrupt. A valid entry whose target lies outside its object's data, or
 * in a log, is corrupt too: nothing of that log is rolled back.
 */
struct twz_txent_pm {
	uint32_t magic;
	uint32_t kind;
	uint64_t generation;
	uint32_t seq;
	uint32_t batch;
	uint64_t id[2];
	uint32_t off;
	uint32_t len;
	uint32_t next_off;
	uint32_t head_sum;
	uint64_t sum;
};

/* Pinned: images written by one build are rolled back by another. */
_Static_assert(sizeof(struct twz_txlog_pm) == 64, "format");
_Static_assert(offsetof(struct twz_txlog_pm, kind) == 24, "format");
_Static_assert(offsetof(struct twz_txlog_pm, id) == 32, "format");
_Static_assert(offsetof(struct twz_txlog_pm, sum) == 56, "format");
_Static_assert(sizeof(struct twz_txretire_pm) == 8, "format: one word is the commit point");
_Static_assert(offsetof(struct twz_txretire_pm, word) == 0, "format");
_Static_assert(sizeof(struct twz_txent_pm) == 64, "format: one line");
_Static_assert(offsetof(struct twz_txent_pm, generation) == 8, "format");
_Static_assert(offsetof(struct twz_txent_pm, id) == 24, "format");
_Static_assert(offsetof(struct twz_txent_pm, next_off) == 48, "format");
_Static_assert(offsetof(struct twz_txent_pm, head_sum) == 52, "format");
_Static_assert(offsetof(struct twz_txent_pm, sum) == 56, "format");

#endif
