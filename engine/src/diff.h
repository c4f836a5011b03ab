/* SPDX-License-Identifier: MIT
 * diff.h -- rows told by what differs from another version (D2c; diff.c)
 */
#ifndef TWZDB_DIFF_H
#define TWZDB_DIFF_H

#include "internal.h"

/* A row of a log record, told by ranges: struct rec_diff_pm, or what stands behind a struct lone_pm. */
struct diff {
	uint64_t where, base, prev, ts;
	uint32_t sum;
	const uint8_t *ranges;
	uint64_t len; /* bytes of them */
};

#define DIFF_NOT SIZE_MAX

/* Bytes twzdb__diff_new() may store. */
static inline uint64_t diff_room(const struct rec_pm *r)
{
	return rec_len(r);
}
/* May R, new, be told by ranges at all? */
bool twzdb__diff_may(const struct twzdb *db, uint64_t p, const struct rec_pm *r);
/*
 * TX is being committed, its row R at P is to be: ranges of it, over *BASE, are stored at OUT, and BASE is kept. How many bytes; or
 * DIFF_NOT: it goes into the log whole. *BASE is r->prev, which dies with the commit, or dead already.
 */
size_t twzdb__diff_new(struct twzdb_txn *tx, uint64_t p, const struct rec_pm *r, uint64_t *base,
		       uint8_t *out);

struct diff twzdb__diff_item(const struct item_pm *it, const struct rec_diff_pm *pl, uint64_t ts);
struct diff twzdb__diff_lone(const struct lone_pm *l, size_t len);
/* D10: the rule it breaks, or NULL. Of the record alone: what lies in the base is only replay's business. */
const char *twzdb__diff_check(struct twzdb *db, const struct diff *d);
/* The same when all records before have been replayed: do they fit the base, and give the row the committer made? */
const char *twzdb__diff_whole(struct twzdb *db, const struct diff *d);
/* Store it. Checked, and whole; if something else in its record has changed the base since, nothing is stored. */
void twzdb__diff_apply(struct twzdb *db, const struct diff *d);
/* After what dies with the commit is dead: the base stays (hold.c). */
void twzdb__diff_keep(struct twzdb *db, uint64_t base, uint64_t ts);

#endif
