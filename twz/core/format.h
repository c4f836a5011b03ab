/* SPDX-License-Identifier: MIT OR GPL-2.0
 * format.h -- the media format of a store: every struct the core reads or writes, and an object's
 * meta page and FOT
 *
 * Little-endian, naturally aligned, fixed width. Places are in 4 KiB pages of the image ("file
 * pages") or of an object's slot ("slot pages"). 0 as a file page means "none": page 0 is a
 * superblock.
 *
 *	page 0, 1	superblocks A and B		struct twz_super_pm
 *	page 2		the root page			struct twz_root_pm, struct twz_layout_pm
 *	page 3		journal control			struct twz_jctl_pm
 *	page 4 ..	journal ring			struct twz_jrec_pm
 *	then		first page of the space map	struct twz_chunk_pm[32]
 *	then		first bucket			struct twz_bucket_pm
 *	then		space for objects, and for further map, bucket and extent pages
 *
 * Metadata cells (root, layout, chunk, bucket, entry, extent block) begin with `sum`: XXH64 over
 * the rest of the cell, seeded with (uuid[0] ^ uuid[1]) + the cell's byte offset in the image, so
 * that a cell in the wrong place or of another store is not valid. Version 0 may still change.
 */
#ifndef TWZ_CORE_FORMAT_H
#define TWZ_CORE_FORMAT_H

#ifdef __KERNEL__
#include <linux/types.h>
#include <linux/build_bug.h>
#include <linux/stddef.h>
#define TWZC_STATIC_ASSERT(cond, why) static_assert(cond, why)
#else
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t s64;
#ifdef __cplusplus
#define TWZC_STATIC_ASSERT(cond, why) static_assert(cond, why)
#else
#define TWZC_STATIC_ASSERT(cond, why) _Static_assert(cond, why)
#endif
#endif

#include "twz/err.h" /* TWZ_E_*, and TWZ_PAGE_SIZE and the slot's layout from twz/types.h */

#define TWZC_PAGE	 ((u64)4096)	/* bytes */
#define TWZC_CHUNK	 ((u64)2 << 20) /* bytes */
#define TWZC_CHUNK_PAGES ((u64)512)

/*
 * Slot pages of an object: 0 null, 1 .. TOP-1 data, TOP .. META-1 FOT growing down, META the meta
 * page.
 */
#define TWZC_SLOT_PAGES	    ((u32)262144)
#define TWZC_META_PAGE	    ((u32)262143)
#define TWZC_TOP_PAGE	    ((u32)261632)
#define TWZC_DATA_PAGES_MAX ((u32)(TWZC_TOP_PAGE - 1))
#define TWZC_DATA_MAX	    ((u64)TWZC_DATA_PAGES_MAX * TWZC_PAGE)
#define TWZC_FOT_PAGES_MAX  ((u32)(TWZC_META_PAGE - TWZC_TOP_PAGE))

#define TWZC_MAGIC	     "TWZSTORE" /* first 8 bytes of a store */
#define TWZC_VERSION	     0
#define TWZC_COMPAT_KNOWN    0
#define TWZC_RO_COMPAT_KNOWN 0
#define TWZC_INCOMPAT_KNOWN  0

#define TWZC_SUPER_A_PAGE 0
#define TWZC_SUPER_B_PAGE 1
#define TWZC_ROOT_PAGE	  2
#define TWZC_JOURNAL_PAGE 3
#define TWZC_IMAGE_MIN	  ((u64)128 << 10) /* bytes */
#define TWZC_JOURNAL_MIN  ((u64)16 << 10)  /* bytes, control page included */
#define TWZC_JOURNAL_MAX  ((u64)16 << 20)
#define TWZC_REC_MAX	  ((u64)64 << 10) /* bytes of one journal record, and at most half the ring */
#define TWZC_TX_MIN                                                                                \
	(2 * TWZC_REC_MAX) /* memory twzc_attach() wants: one record being built, one being read */

/*
 * Superblock, page 0 and page 1. The valid copy with the higher seq counts. Rewritten only by
 * recovery, which raises the generation (D1, D13): one copy, durable, then the other (D18), so both
 * name the generation of every record in the ring.
 *
 * OFFSET  SIZE  MEANING
 *      0     8  magic "TWZSTORE"
 *      8     4  version of the format; another one: TWZ_E_VERSION
 *     12     4  compat: unknown bits are ignored
 *     16     4  ro_compat: unknown bits allow reading only
 *     20     4  incompat: unknown bits refuse the store
 *     24     8  seq: raised with every writing of a copy
 *     32     8  generation of journal records in force
 *     40    16  uuid of the store; uuid[0] ^ uuid[1] is the seed of all checksums
 *     56     8  page_cnt: pages of the image when this copy was written; the image never gets shorter
 *     64     8  journal_page: first page of the journal (its control page); 3
 *     72     8  journal_page_cnt: control page and ring
 *     80     8  root_page; 2
 *     88     8  ctime: seconds since 1970
 *     96    16  boot_id of the last recovery's machine
 *    112     8  dev of the last recovery's file
 *    120     8  ino of the last recovery's file
 *    128   376  zero
 *    504     8  sum: XXH64 of bytes 0 .. 503, seed 0
 */
struct twz_super_pm {
	u8 magic[8];
	u32 version;
	u32 compat;
	u32 ro_compat;
	u32 incompat;
	u64 seq;
	u64 generation;
	u64 uuid[2];
	u64 page_cnt;
	u64 journal_page;
	u64 journal_page_cnt;
	u64 root_page;
	u64 ctime;
	u64 boot_id[2];
	u64 dev;
	u64 ino;
	u64 zero[47];
	u64 sum;
};
TWZC_STATIC_ASSERT(sizeof(struct twz_super_pm) == 512, "one sector");
TWZC_STATIC_ASSERT(offsetof(struct twz_super_pm, seq) == 24, "media");
TWZC_STATIC_ASSERT(offsetof(struct twz_super_pm, uuid) == 40, "media");
TWZC_STATIC_ASSERT(offsetof(struct twz_super_pm, journal_page) == 64, "media");
TWZC_STATIC_ASSERT(offsetof(struct twz_super_pm, boot_id) == 96, "media");
TWZC_STATIC_ASSERT(offsetof(struct twz_super_pm, sum) == 504, "media");

/*
 * Root: counts and the operation in progress. Page 2, offset 0; changes only through the journal.
 *
 * OFFSET  SIZE  MEANING
 *      0     8  sum (see the top of this file)
 *      8     4  magic
 *     12     4  pend_kind: 0, or TWZC_PEND_TRIM: object pend_id has extents its entry does not yet, or no longer, promise
 *     16     8  page_cnt: pages of the image
 *     24     8  free_cnt: pages nobody owns
 *     32     8  meta_cnt: pages of superblocks, root, journal, map, buckets, overflow and extent pages
 *     40     8  obj_cnt: live objects
 *     48     8  deleted_cnt: deleted objects whose space is not yet reclaimed
 *     56     8  bucket_cnt: buckets of the linear hash; level = floor(log2), split pointer = the rest
 *     64    16  pend_id
 *     80    48  zero
 */
struct twz_root_pm {
	u64 sum;
	u32 magic;
	u32 pend_kind;
	u64 page_cnt;
	u64 free_cnt;
	u64 meta_cnt;
	u64 obj_cnt;
	u64 deleted_cnt;
	u64 bucket_cnt;
	u64 pend_id[2];
	u64 zero[6];
};
#define TWZC_ROOT_MAGIC 0x544f5254u /* "TROT" */
#define TWZC_PEND_NONE	0
#define TWZC_PEND_TRIM	1
TWZC_STATIC_ASSERT(sizeof(struct twz_root_pm) == 128, "media");
TWZC_STATIC_ASSERT(offsetof(struct twz_root_pm, page_cnt) == 16, "media");
TWZC_STATIC_ASSERT(offsetof(struct twz_root_pm, pend_id) == 64, "media");

/*
 * Layout: where the space map and the buckets are. Page 2, offset 512. Both are runs of pages that
 * double: run 0 has one page, run n has 2^(n-1), as many as all before it.
 *
 * OFFSET  SIZE  MEANING
 *      0     8  sum
 *      8     4  magic
 *     12     2  map_run_cnt
 *     14     2  bucket_run_cnt
 *     16   240  map_run[30]: first file page of each run of map pages
 *    256   240  bucket_run[30]: first file page of each run of buckets
 *    496    16  zero
 */
#define TWZC_RUNS_MAX 30
struct twz_layout_pm {
	u64 sum;
	u32 magic;
	u16 map_run_cnt;
	u16 bucket_run_cnt;
	u64 map_run[TWZC_RUNS_MAX];
	u64 bucket_run[TWZC_RUNS_MAX];
	u64 zero[2];
};
#define TWZC_LAYOUT_MAGIC 0x59414c54u /* "TLAY" */
#define TWZC_LAYOUT_OFF	  ((u64)TWZC_ROOT_PAGE * TWZC_PAGE + 512)
#define TWZC_ROOT_OFF	  ((u64)TWZC_ROOT_PAGE * TWZC_PAGE)
TWZC_STATIC_ASSERT(sizeof(struct twz_layout_pm) == 512, "media");
TWZC_STATIC_ASSERT(offsetof(struct twz_layout_pm, bucket_run) == 256, "media");

/*
 * Journal control: first page of the journal. The tail word is alone in its page and written by one
 * aligned 8-byte store (D5): LSN / 8 in the upper 48 bits, in the lower 16 a check: XXH64 of those
 * 48 bits, seeded with the store's seed.
 *
 * OFFSET  SIZE  MEANING
 *      0     8  tail word
 *      8  4088  zero
 */
struct twz_jctl_pm {
	u64 tail;
	u64 zero[511];
};
TWZC_STATIC_ASSERT(sizeof(struct twz_jctl_pm) == 4096, "media");
TWZC_STATIC_ASSERT(offsetof(struct twz_jctl_pm, zero) == 8, "media");

/*
 * Journal record. The LSN of a record is its logical byte position; its place in the ring is LSN
 * mod ring length. A record is followed by its items; it never wraps: a pad record fills the end of
 * the ring.
 *
 * OFFSET  SIZE  MEANING
 *      0     4  magic
 *      4     4  kind: TWZC_REC_CHANGE, TWZC_REC_PAD
 *      8     8  lsn
 *     16     8  generation
 *     24     8  prev_sum: sum of the record before it
 *     32     4  len: bytes of header and items
 *     36     4  total: bytes to the next record; multiple of 64 (page media: 4096)
 *     40     4  item_cnt
 *     44     4  zero
 *     48     8  zero
 *     56     8  sum: XXH64 of bytes 0 .. len-1 with this field as 0, seed prev_sum
 */
struct twz_jrec_pm {
	u32 magic;
	u32 kind;
	u64 lsn;
	u64 generation;
	u64 prev_sum;
	u32 len;
	u32 total;
	u32 item_cnt;
	u32 zero0;
	u64 zero1;
	u64 sum;
};
#define TWZC_REC_MAGIC	0x4345524au /* "JREC" */
#define TWZC_REC_CHANGE 1
#define TWZC_REC_PAD	2
#define TWZC_REC_ALIGN	((u64)64)
TWZC_STATIC_ASSERT(sizeof(struct twz_jrec_pm) == 64, "media");
TWZC_STATIC_ASSERT(offsetof(struct twz_jrec_pm, len) == 32, "media");
TWZC_STATIC_ASSERT(offsetof(struct twz_jrec_pm, sum) == 56, "media");

/*
 * Item of a record: LEN bytes for the home at OFF follow it, padded with zeros to 8.
 *
 * OFFSET  SIZE  MEANING
 *      0     8  off: byte offset in the image; the home lies inside one page
 *      8     4  len: bytes, multiple of 8
 *     12     4  zero
 */
struct twz_jitem_pm {
	u64 off;
	u32 len;
	u32 zero;
};
TWZC_STATIC_ASSERT(sizeof(struct twz_jitem_pm) == 16, "media");
TWZC_STATIC_ASSERT(offsetof(struct twz_jitem_pm, len) == 8, "media");
TWZC_STATIC_ASSERT(offsetof(struct twz_jitem_pm, zero) == 12, "media");

/*
 * Space map: one cell per 2 MiB chunk of the image, 32 to a page. All zeros (sum too) is valid and
 * means: never used.
 *
 * OFFSET  SIZE  MEANING
 *      0     8  sum
 *      8     4  kind: TWZC_CHUNK_PAGED or TWZC_CHUNK_WHOLE
 *     12     4  refs: reserved for copy-on-write, 0
 *     16     4  used_cnt: bits set in map
 *     20     4  fresh: pages from this one on are still as ops->grow left them, all zero
 *     24    40  zero
 *     64    64  map: bit n of word n/64 set = page n of the chunk belongs to somebody
 */
struct twz_chunk_pm {
	u64 sum;
	u32 kind;
	u32 refs;
	u32 used_cnt;
	u32 fresh;
	u64 zero[5];
	u64 map[8];
};
#define TWZC_CHUNK_PAGED     1 /* given out page by page */
#define TWZC_CHUNK_WHOLE     2 /* given to one object as a whole */
#define TWZC_CHUNKS_PER_PAGE ((u64)32)
TWZC_STATIC_ASSERT(sizeof(struct twz_chunk_pm) == 128, "media");
TWZC_STATIC_ASSERT(offsetof(struct twz_chunk_pm, map) == 64, "media");

/*
 * Bucket page of the object table: this header, then 15 entries of 256 bytes from offset 256 on.
 * Entry n counts iff bit n of used is set; what lies in the others has no meaning.
 *
 * OFFSET  SIZE  MEANING
 *      0     8  sum
 *      8     4  magic
 *     12     4  used: bitmap of entries
 *     16     8  bucket: number of the bucket
 *     24     8  next: overflow page, 0 = none
 *     32     4  depth: 0 for the bucket, n for its n-th overflow page
 *     36    28  zero
 */
struct twz_bucket_pm {
	u64 sum;
	u32 magic;
	u32 used;
	u64 bucket;
	u64 next;
	u32 depth;
	u32 zero[7];
};
#define TWZC_BUCKET_MAGIC   0x544b4354u /* "TCKT" */
#define TWZC_BUCKET_ENTRIES 15
#define TWZC_ENTRY_OFF(n)   ((u64)256 * ((n) + 1)) /* byte offset of entry n in its page */
#define TWZC_DEPTH_MAX	    65536u		   /* overflow pages of a bucket */
TWZC_STATIC_ASSERT(sizeof(struct twz_bucket_pm) == 64, "media");
TWZC_STATIC_ASSERT(offsetof(struct twz_bucket_pm, next) == 24, "media");

/*
 * Extent: cnt pages at slot page slot_page are the image's pages from file_page on.
 *
 * OFFSET  SIZE  MEANING
 *      0     4  slot_page
 *      4     4  cnt
 *      8     8  file_page
 */
struct twz_extent_pm {
	u32 slot_page;
	u32 cnt;
	u64 file_page;
};
TWZC_STATIC_ASSERT(sizeof(struct twz_extent_pm) == 16, "media");
TWZC_STATIC_ASSERT(offsetof(struct twz_extent_pm, cnt) == 4, "media");
TWZC_STATIC_ASSERT(offsetof(struct twz_extent_pm, file_page) == 8, "media");

/*
 * Object entry. Extents 0..7 are in the entry, further ones in extent pages (struct
 * twz_extblock_pm), sorted by slot page.
 *
 * OFFSET  SIZE  MEANING
 *      0     8  sum
 *      8    16  id
 *     24     8  len: bytes of data, multiple of 4 KiB
 *     32     8  ctime: seconds since 1970
 *     40     4  flags: enum twz_obj_flags
 *     44     4  kind: free for the user
 *     48     2  state: TWZC_OBJ_BUILDING, _LIVE, _DELETED
 *     50     2  layout: bit 0 = data is one contiguous run
 *     52     4  extent_cnt
 *     56     4  fot_page_cnt: FOT pages below the meta page
 *     60     4  links: reserved for ties, 0
 *     64     8  page_cnt: pages of all extents (extent pages not included)
 *     72    56  ext_page[7]: file pages that hold extents 8 .. ; 0 = none
 *    128   128  ext[8]
 */
#define TWZC_EXT_INLINE 8
#define TWZC_EXT_PAGES	7
struct twz_entry_pm {
	u64 sum;
	u64 id[2];
	u64 len;
	u64 ctime;
	u32 flags;
	u32 kind;
	u16 state;
	u16 layout;
	u32 extent_cnt;
	u32 fot_page_cnt;
	u32 links;
	u64 page_cnt;
	u64 ext_page[TWZC_EXT_PAGES];
	struct twz_extent_pm ext[TWZC_EXT_INLINE];
};
#define TWZC_OBJ_BUILDING      1
#define TWZC_OBJ_LIVE	       2
#define TWZC_OBJ_DELETED       3
#define TWZC_LAYOUT_CONTIGUOUS 1
TWZC_STATIC_ASSERT(sizeof(struct twz_entry_pm) == 256, "media");
TWZC_STATIC_ASSERT(offsetof(struct twz_entry_pm, len) == 24, "media");
TWZC_STATIC_ASSERT(offsetof(struct twz_entry_pm, state) == 48, "media");
TWZC_STATIC_ASSERT(offsetof(struct twz_entry_pm, ext_page) == 72, "media");
TWZC_STATIC_ASSERT(offsetof(struct twz_entry_pm, ext) == 128, "media");

/*
 * Extent block: 31 extents; an extent page is eight blocks.
 *
 * OFFSET  SIZE  MEANING
 *      0     8  sum
 *      8     4  magic
 *     12     4  idx: number of this block in its object, 0 .. 55
 *     16   496  ext[31]; those at and beyond the entry's extent_cnt are zero
 */
#define TWZC_EXTBLOCK_EXTENTS	31
#define TWZC_EXTBLOCKS_PER_PAGE 8
struct twz_extblock_pm {
	u64 sum;
	u32 magic;
	u32 idx;
	struct twz_extent_pm ext[TWZC_EXTBLOCK_EXTENTS];
};
#define TWZC_EXTBLOCK_MAGIC 0x42545854u /* "TXTB" */
#define TWZC_EXTENTS_MAX                                                                           \
	(TWZC_EXT_INLINE + TWZC_EXT_PAGES * TWZC_EXTBLOCKS_PER_PAGE * TWZC_EXTBLOCK_EXTENTS)
TWZC_STATIC_ASSERT(sizeof(struct twz_extblock_pm) == 512, "media");
TWZC_STATIC_ASSERT(offsetof(struct twz_extblock_pm, idx) == 12, "media");
TWZC_STATIC_ASSERT(offsetof(struct twz_extblock_pm, ext) == 16, "media");

/*
 * FOT entry (paper 3.3; DESIGN: 32 bytes). Changed by the runtime, not by the core's journal.
 *
 * OFFSET  SIZE  MEANING
 *      0    16  target, by kind:
 *		   TWZC_FOT_ID     the object's ID
 *		   TWZC_FOT_NAME   up to 15 bytes of the name, zero-padded; byte 15 = 0. Longer: bytes 0-7 XXH64 of
 *				   the name (seed 0), bytes 8-11 its length, byte 15 = 1: the name itself is in the store's names
 *		   TWZC_FOT_LOCAL  word 0: the target's number in the same database; word 1: 0
 *     16     4  kind: 0 free, else as above
 *     20     4  perm: enum twz_perm bits the pointer gives
 *     24     4  resolver: for names, which one (0 = the store's own names)
 *     28     4  sum: low half of XXH3_64bits of bytes 0 .. 27, with 1 standing for 0 (libtwz alone reads and writes entries)
 *
 * An entry is free iff its sum is 0, whatever else it holds: bytes 24 .. 31 are stored last, by one
 * 8-byte store, so a claim that was interrupted leaves a free entry (all 32 bytes lie in one line
 * and one sector).
 */
struct twz_fot_pm {
	u64 target[2];
	u32 kind;
	u32 perm;
	u32 resolver;
	u32 sum;
};
#define TWZC_FOT_FREE  0
#define TWZC_FOT_ID    1
#define TWZC_FOT_NAME  2
#define TWZC_FOT_LOCAL 3
TWZC_STATIC_ASSERT(sizeof(struct twz_fot_pm) == 32, "paper and DESIGN: 32 bytes");
TWZC_STATIC_ASSERT(offsetof(struct twz_fot_pm, sum) == 28, "media");

/*
 * Meta page of an object: the last page of its slot. All zeros is valid: nobody has given the
 * object a FOT entry yet. The first entries of the FOT follow the header; entry 0 is the object
 * itself and never used. Further entries are in the FOT pages, growing down: entry
 * TWZC_FOT_META_CNT is the first of the page just below the meta page.
 *
 * OFFSET  SIZE  MEANING
 *      0     4  magic, or 0 (virgin: all zeros)
 *      4     4  version: 0
 *      8    16  id of the object
 *     24     8  sum: XXH64 of bytes 0 .. 23, seed 0 (they never change)
 *     32     8  fot_next: where to look for a free entry first; a hint
 *     40     8  fot_claim: entry being claimed, durable or not; 0 = none (fot.c)
 *     48    16  zero
 *     64    64  user: reserved for the runtime
 *    128  3968  fot[124]
 */
#define TWZC_FOT_META_CNT 124u
#define TWZC_FOT_PAGE_CNT 128u
struct twz_meta_pm {
	u32 magic;
	u32 version;
	u64 id[2];
	u64 sum;
	u64 fot_next;
	u64 fot_claim;
	u64 zero[2];
	u64 user[8];
	struct twz_fot_pm fot[TWZC_FOT_META_CNT];
};
#define TWZC_META_MAGIC 0x41544d54u /* "TMTA" */
#define TWZC_FOT_MAX	(TWZC_FOT_META_CNT + TWZC_FOT_PAGES_MAX * TWZC_FOT_PAGE_CNT)
TWZC_STATIC_ASSERT(sizeof(struct twz_meta_pm) == 4096, "media");
TWZC_STATIC_ASSERT(offsetof(struct twz_meta_pm, fot) == 128, "media");

/*
 * Offset in the slot of FOT entry IDX (< TWZC_FOT_MAX), and how many FOT pages the object must have
 * for it.
 */
static inline u64 twzc_fot_off(u64 idx)
{
	u64 k = idx - TWZC_FOT_META_CNT;

	if (idx < TWZC_FOT_META_CNT)
		return (u64)TWZC_META_PAGE * TWZC_PAGE + offsetof(struct twz_meta_pm, fot) +
		       idx * 32;
	return (u64)(TWZC_META_PAGE - 1 - k / TWZC_FOT_PAGE_CNT) * TWZC_PAGE +
	       k % TWZC_FOT_PAGE_CNT * 32;
}

static inline u32 twzc_fot_pages(u64 idx)
{
	return idx < TWZC_FOT_META_CNT ? 0
				       : (u32)((idx - TWZC_FOT_META_CNT) / TWZC_FOT_PAGE_CNT + 1);
}

#endif
