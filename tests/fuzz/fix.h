/* SPDX-License-Identifier: MIT
 * fix.h -- what in a store image has a checksum: found once in a good image, made right again after mutations
 */
#ifndef TWZ_FUZZ_FIX_H
#define TWZ_FUZZ_FIX_H

#include <stddef.h>
#include <stdint.h>

enum fix_kind {
	FIX_SUPER = 1,	  /* superblock: XXH64 of 504 bytes, at 504 */
	FIX_CELL = 2,	  /* metadata cell: XXH64 of what follows, at 0, seeded with its place */
	FIX_META = 4,	  /* head of an object: XXH64, seed 0 */
	FIX_FOT = 8,	  /* FOT entry: low half of XXH3 of 28 bytes */
	FIX_LOGHEAD = 16, /* log header: XXH3 of 504 bytes, at 504 */
	FIX_LOGREC = 32,  /* log record: XXH3 of head and body, xor its generation */
	FIX_ROW = 64,	  /* row version of the engine */
	FIX_PREP = 128,	  /* prepared transaction: XXH3 of what follows, at 0 */
	FIX_COPY = 256,	  /* the sum of item AUX once more: in the root, in a log record */
};

struct fix_item {
	uint64_t off, len; /* bytes in the image, checksum included */
	uint64_t aux;	   /* LOGREC: its seal; COPY: number of an item */
	enum fix_kind kind;
	int follows; /* LOGREC: index of the record before it in the chain, or -1 */
};

/* Find everything in IMAGE whose checksum holds. Returns how many there are (*ITEMS: to be freed). */
size_t fix_learn(const uint8_t *image, size_t len, struct fix_item **items);
/* Make their checksums hold again, in this order, but prepared transactions first; of records of a log, the links to the one before, too. */
void fix_image(uint8_t *image, size_t len, const struct fix_item *items, size_t cnt);

#endif
