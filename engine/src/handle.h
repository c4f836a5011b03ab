/* SPDX-License-Identifier: MIT
 * handle.h -- what a thread keeps from one transaction to the next (handle.c; included where that is used at once)
 */
#ifndef TWZDB_HANDLE_H
#define TWZDB_HANDLE_H

#include "internal.h"

/* Handles that have ended, the oldest first. */
struct twzdb__queue {
	struct twzdb_txn *first, *last;
	uint32_t cnt;
};

/* The table of the thread's last transaction in one call (single.c); h 0: none. */
struct twzdb__last {
	struct twzdb_table t;
	uint64_t opening; /* of the database it is in */
	const struct table_pm *anchor;
	uint64_t id;   /* table_pm.id */
	uint64_t want; /* twzdb__rec_want() */
};

struct twzdb__mine {
	struct twzdb__queue q;
	struct sh_reader *rd; /* a slot without a snapshot, or NULL */
	uint64_t opening;     /* which database RD is of, and whether it is open */
	bool armed;	      /* thread_end() will run */
	struct twzdb__last last;
};
extern __thread struct twzdb__mine twzdb__mine
	__attribute__((tls_model("initial-exec"), visibility("hidden")));

#endif
