/* SPDX-License-Identifier: MIT
 * format.h -- what the VFS keeps in a database of the engine
 *
 * One table, "sqlite.pages": key = page number, 4 bytes, big-endian (so that keys sort as
 * numbers); value = the page. Key 0 holds the header below. A page number below the count
 * without a row is a hole and reads as zeros.
 */
#ifndef TWZVFS_FORMAT_H
#define TWZVFS_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#define TWZVFS_TABLE	   "sqlite.pages"
#define TWZVFS_HDR_MAGIC   0x54515354u /* "TSQT" */
#define TWZVFS_HDR_VERSION 0

/*
 * Header row, the value of key 0. Written in every transaction that changes the count or the
 * page size.
 *
 *   OFFSET  SIZE  MEANING
 *        0     4  magic, TWZVFS_HDR_MAGIC
 *        4     2  version of this layout
 *        6     2  must be zero
 *        8     4  page size: bytes, a power of two, 512 .. 65536
 *       12     4  must be zero
 *       16     8  page count: the size of the SQLite database in pages
 */
struct twzvfs_hdr_pm {
	uint32_t magic;
	uint16_t version;
	uint16_t must_be_zero;
	uint32_t page_size;
	uint32_t must_be_zero2;
	uint64_t page_cnt;
};
_Static_assert(sizeof(struct twzvfs_hdr_pm) == 24, "on media: may never change");
_Static_assert(offsetof(struct twzvfs_hdr_pm, page_size) == 8, "on media: may never change");
_Static_assert(offsetof(struct twzvfs_hdr_pm, page_cnt) == 16, "on media: may never change");

#endif
