/* SPDX-License-Identifier: MIT
 * native_range.h -- constraints on a key as ranges of its bytes
 */
#ifndef TWZVFS_NATIVE_RANGE_H
#define TWZVFS_NATIVE_RANGE_H

#include "native.h"

#define RANGES_MAX 3

/* Keys in [lo, hi); OPEN: to the last one. */
struct nrange {
	struct nbuf lo, hi;
	bool open;
};

/* In the order of the key, or (first) r[0] before all others, which may hold its rows, too. */
struct nranges {
	int cnt;    /* 0: no row can be meant */
	bool point; /* one row at most, whose key is r[0].lo */
	bool first;
	size_t prefix_len;
	struct nrange r[RANGES_MAX];
};

void twzvfs__ranges_init(struct nranges *r);
void twzvfs__ranges_free(struct nranges *r);
/* NUM, STR: as in native.h, "A plan". */
int twzvfs__ranges_make(struct native *n, int num, const char *str, int argc, sqlite3_value **argv,
			struct nranges *out);

#endif
