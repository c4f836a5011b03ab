/* SPDX-License-Identifier: MIT
 * format_log.h -- what a twz_log looks like on media (D1, D3, D5; the prose is in LOG.md)
 *
 * A log is one contiguous object: a header page, then the ring. All fields little-endian, naturally
 * aligned. These structs are the format: their sizes and offsets may never change, an image written
 * by any version must open for ever.
 */
#ifndef TWZ_SRC_FORMAT_LOG_H
#define TWZ_SRC_FORMAT_LOG_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define TWZ_LOG_MAGIC	   UINT64_C(0x474f4c525f5a5754) /* "TWZ_RLOG" */
#define TWZ_LOG_VERSION	   0u
#define TWZ_LOG_COMPAT	   0u /* feature bits known here: any other compat bit is ignored */
#define TWZ_LOG_RO_COMPAT  0u /* any other: refused (a log opened only to read is of no use) */
#define TWZ_LOG_INCOMPAT   0u /* any other: refused */
#define TWZ_LOG_HEADER_LEN 4096u
#define TWZ_LOG_SECTOR_LEN 512u	       /* a sector is the unit that page media may tear */
#define TWZ_LOG_KIND	   0x474f4c54u /* object kind "TLOG" */
#define TWZ_LOG_BODY_KIND  0x59444f42u /* object kind "BODY": see log_spill_pm */
#define TWZ_LOG_REC_MAGIC  0x4352474cu /* "LGRC" */
#define TWZ_LOG_REC_ALIGN  64u	       /* every record starts and ends at a multiple */
#define TWZ_LOG_BLOCK_LEN  4096u       /* page media: every record starts in a fresh block (D19) */
#define TWZ_LOG_LSN_MAX	   (UINT64_C(1) << 62)

/* Kinds of record. Values are never reused. */
enum twz_log_rec_kind {
	TWZ_LOG_REC_DATA = 1,  /* body = the user's bytes */
	TWZ_LOG_REC_PAD = 2,   /* no body: fills the ring up to its end, since records never wrap */
	TWZ_LOG_REC_SPILL = 3, /* body = struct log_spill_pm: the user's bytes are in an object */
};

/*
 * Sector 0 of the header page: written once, before the log is used.
 *
 *   OFFSET  SIZE  MEANING
 *        0     8  magic TWZ_LOG_MAGIC
 *        8     4  version TWZ_LOG_VERSION
 *       12     4  compat mask
 *       16     4  ro_compat mask
 *       20     4  incompat mask
 *       24     8  bytes of the ring, a multiple of 4096; it starts behind the header page
 *       32    16  ID of the log object (a header copied into another object is no header)
 *       48   456  zero
 *      504     8  XXH3-64 of bytes 0 .. 503
 */
struct log_head_pm {
	uint64_t magic;
	uint32_t version;
	uint32_t compat;
	uint32_t ro_compat;
	uint32_t incompat;
	uint64_t ring_len;
	uint64_t id[2];
	uint8_t zero[456];
	uint64_t sum;
};

static_assert(sizeof(struct log_head_pm) == TWZ_LOG_SECTOR_LEN, "format");
static_assert(offsetof(struct log_head_pm, version) == 8, "format");
static_assert(offsetof(struct log_head_pm, ro_compat) == 16, "format");
static_assert(offsetof(struct log_head_pm, ring_len) == 24, "format");
static_assert(offsetof(struct log_head_pm, id) == 32, "format");
static_assert(offsetof(struct log_head_pm, zero) == 48, "format");
static_assert(offsetof(struct log_head_pm, sum) == 504, "format");

/*
 * One word that changes, alone in its sector, so that no torn write can harm anything else (D5). No
 * checksum: a word and its checksum could not be changed by one store.
 *
 *   OFFSET  SIZE  MEANING
 *        0     8  the word
 *        8   504  zero
 */
struct log_word_pm {
	uint64_t word;
	uint8_t zero[504];
};

static_assert(sizeof(struct log_word_pm) == TWZ_LOG_SECTOR_LEN, "format");
static_assert(offsetof(struct log_word_pm, zero) == 8, "format");

/*
 * The header page.
 *
 *   OFFSET  SIZE  MEANING
 *        0   512  static part, struct log_head_pm
 *      512   512  generation: >= 1, raised by every recovery (D1); other records do not count
 *     1024   512  tail: LSN of the first record not known to be home (D5), a multiple of 64
 *     1536  2560  zero
 */
struct log_page_pm {
	struct log_head_pm head;
	struct log_word_pm generation;
	struct log_word_pm tail;
	uint8_t zero[2560];
};

static_assert(sizeof(struct log_page_pm) == TWZ_LOG_HEADER_LEN, "format");
static_assert(offsetof(struct log_page_pm, generation) == 512, "format");
static_assert(offsetof(struct log_page_pm, tail) == 1024, "format");
static_assert(offsetof(struct log_page_pm, zero) == 1536, "format");

/*
 * A record: this header, its body, zeros up to `total`. It lies at LSN mod ring length and never
 * crosses the end of the ring; the next record begins at LSN + total. A record is valid if and only
 * if (D1)
 *  (1) magic and kind are known, the zero word is zero, and the lengths are in range: total is a
 *      multiple of 64; the record ends inside the ring; a pad has no body and ends where the ring
 *      ends; any other has a body, at most 4095 bytes of padding behind it and total <= a quarter of
 *      the ring;
 *  (2) lsn is the position it was expected at;
 *  (3) generation is the header's;
 *  (4) prev_sum is the checksum of the record before it (not asked of the first record looked
 *      at: its predecessor may be overwritten);
 *  (5) sum = XXH3-64 of the header with sum = 0, seeded with the XXH3-64 of the body, that
 *      seeded with prev_sum. Padding is not covered.
 * Nothing after the first invalid record counts. Padding to 64 bytes or to 4096 depends on the
 * medium the record was written to, not on the one it is read from: an image copied between media
 * opens unchanged.
 *
 *   OFFSET  SIZE  MEANING
 *        0     4  magic TWZ_LOG_REC_MAGIC
 *        4     4  kind, enum twz_log_rec_kind
 *        8     8  LSN of this record
 *       16     8  generation of the log when it was written
 *       24     8  bytes of body
 *       32     8  bytes from this header to the next record
 *       40     8  checksum of the record before (pads count as records)
 *       48     8  checksum of this record
 *       56     8  zero
 */
struct log_rec_pm {
	uint32_t magic;
	uint32_t kind;
	uint64_t lsn;
	uint64_t generation;
	uint64_t body_len;
	uint64_t total;
	uint64_t prev_sum;
	uint64_t sum;
	uint64_t zero;
};

static_assert(sizeof(struct log_rec_pm) == 64, "format");
static_assert(sizeof(struct log_rec_pm) == TWZ_LOG_REC_ALIGN,
	      "a pad must fit into any rest of the ring");
static_assert(offsetof(struct log_rec_pm, kind) == 4, "format");
static_assert(offsetof(struct log_rec_pm, lsn) == 8, "format");
static_assert(offsetof(struct log_rec_pm, generation) == 16, "format");
static_assert(offsetof(struct log_rec_pm, body_len) == 24, "format");
static_assert(offsetof(struct log_rec_pm, total) == 32, "format");
static_assert(offsetof(struct log_rec_pm, prev_sum) == 40, "format");
static_assert(offsetof(struct log_rec_pm, sum) == 48, "format");
static_assert(offsetof(struct log_rec_pm, zero) == 56, "format");

/*
 * Body of a SPILL record: where the user's bytes are. They start at the first byte of data of an
 * object of flags LOG | CONTIGUOUS and kind TWZ_LOG_BODY_KIND, whose ID's first word is derived
 * from the log's ID (so that orphans are found) and whose second from generation and LSN. The
 * object is written and synced before this record (D3) and deleted after a checkpoint past it (D9).
 *
 *   OFFSET  SIZE  MEANING
 *        0    16  ID of the object
 *       16     8  bytes
 *       24     8  XXH3-64 of the bytes
 *       32    32  zero
 */
struct log_spill_pm {
	uint64_t id[2];
	uint64_t len;
	uint64_t sum;
	uint8_t zero[32];
};

static_assert(sizeof(struct log_spill_pm) == 64, "format");
static_assert(offsetof(struct log_spill_pm, len) == 16, "format");
static_assert(offsetof(struct log_spill_pm, sum) == 24, "format");
static_assert(offsetof(struct log_spill_pm, zero) == 32, "format");

#endif
