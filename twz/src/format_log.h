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

#define TWZ_LOG_MAGIC	  UINT64_C(0x474f4c525f5a5754) /* "TWZ_RLOG" */
#define TWZ_LOG_VERSION	  0u
#define TWZ_LOG_COMPAT	  0u /* feature bits known here: any other compat bit is ignored */
#define TWZ_LOG_RO_COMPAT 0u /* any other: refused (a log opened only to read is of no use) */
#define TWZ_LOG_INCOMPAT  TWZ_LOG_INCOMPAT_SECTORS /* any other: refused */
#define TWZ_LOG_INCOMPAT_SECTORS                                                                   \
	1u /* a batch ends at a sector, and may begin behind a gap; without it: at a block */
#define TWZ_LOG_HEADER_LEN 4096u
#define TWZ_LOG_SECTOR_LEN 512u	       /* a sector is the unit that page media may tear */
#define TWZ_LOG_KIND	   0x474f4c54u /* object kind "TLOG" */
#define TWZ_LOG_BODY_KIND  0x59444f42u /* object kind "BODY": see log_spill_pm */
#define TWZ_LOG_REC_ALIGN  64u	       /* every record starts and ends at a multiple: whole lines */
#define TWZ_LOG_BLOCK_LEN  4096u /* page media: two writes on their way share no block (D19) */
#define TWZ_LOG_LSN_MAX	   (UINT64_C(1) << 62)
#define TWZ_LOG_GEN_MAX	   (UINT64_C(1) << TWZ_LOG_GAP_SHIFT)
#define TWZ_LOG_GAP_SHIFT  61

/* Kinds of record, two bits. Values are never reused. */
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
 * A record: this header, its body, zeros up to the next record. It lies at LSN mod ring length and
 * never crosses the end of the ring. Its end is that of header and body, rounded up to an LSN that is a
 * multiple of 64, or of 512 or 4096 if desc says so; a pad reaches to the end of the ring. The next record begins
 * there; or, if the end is one of a sector inside a block, and none is valid there, at the beginning of the next block, behind a
 * *gap* (D19). On page media records that are written together follow each other at multiples of 64, and the last of
 * them ends its sector, or its block. A record is valid if and only if (D1)
 *  (1) desc is in range: a known kind, bits 30 and 31 not both set; a pad has no body and neither of them; any other
 *      has a body, ends inside the ring and takes at most a quarter of it; a SPILL's body is a
 *      struct log_spill_pm;
 *  (2) lsn is the position it was expected at;
 *  (3) prev is what the sum of the record before it ends in (not asked of the first record looked
 *      at: its predecessor may be overwritten);
 *  (4) sum = XXH3-64 of bytes 8 .. 23 and the body, xor seal times TWZ_LOG_GEN_MUL. The seal is the
 *      generation in the header page, which is below TWZ_LOG_GEN_MAX; behind a gap it is that xor the first word of
 *      the log's ID, and the gap's sectors (1 .. 7) are in its upper three bits. So a record of another generation never holds, nor
 *      one behind another gap, whatever else it says; and nobody who does not know the log's ID writes bytes that may be taken for a record
 *      behind a gap. Zeros behind the body are not covered.
 * Nothing after the first invalid record counts. Rounding to 64 bytes, 512 or 4096 depends on the
 * medium the record was written to, not on the one it is read from: an image copied between media
 * opens unchanged. The header is short because a small record should take one line: 40 bytes of
 * body beside it.
 *
 *   OFFSET  SIZE  MEANING
 *        0     8  sum
 *        8     8  LSN of this record
 *       16     4  prev: lower 32 bits of the sum of the record before (pads count as records)
 *       20     4  desc: bits 0 .. 27 bytes of body; 28, 29 enum twz_log_rec_kind; 30: its end is rounded
 *                 up to 4096; 31: up to 512 (only with TWZ_LOG_INCOMPAT_SECTORS)
 */
struct log_rec_pm {
	uint64_t sum;
	uint64_t lsn;
	uint32_t prev;
	uint32_t desc;
};

#define TWZ_LOG_GEN_MUL	    UINT64_C(0x9e3779b97f4a7c15) /* odd, so no two generations are alike */
#define TWZ_LOG_DESC_LEN    0x0fffffffu
#define TWZ_LOG_DESC_KIND   28
#define TWZ_LOG_DESC_BLOCK  0x40000000u
#define TWZ_LOG_DESC_SECTOR 0x80000000u

static_assert(sizeof(struct log_rec_pm) == 24, "format");
static_assert(sizeof(struct log_rec_pm) <= TWZ_LOG_REC_ALIGN,
	      "a pad must fit into any rest of the ring");
static_assert(offsetof(struct log_rec_pm, lsn) == 8, "format");
static_assert(offsetof(struct log_rec_pm, prev) == 16, "format");
static_assert(offsetof(struct log_rec_pm, desc) == 20, "format");

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
