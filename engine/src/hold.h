/* SPDX-License-Identifier: MIT
 * hold.h -- rows whose bytes log records use (D2c), and for how long (hold.c)
 */
#ifndef TWZDB_HOLD_H
#define TWZDB_HOLD_H

#include "internal.h"

/* Does the link of a block that is not LIVE say that log records use its bytes, up to the commit in its other bits? */
static inline bool link_is_base(uint64_t link)
{
	return unlikely((link & (TWZDB_LINK_RESERVED | TWZDB_LINK_BASE)) == TWZDB_LINK_BASE);
}

/* It does, and neither the log nor a snapshot needs them any more. */
static inline bool twzdb__hold_is_over(const struct twzdb *db, uint64_t link)
{
	return link_is_base(link) && (link ^ TWZDB_LINK_BASE) <= ld64(&db->sh->min) &&
	       (link ^ TWZDB_LINK_BASE) <= ld64(&db->sh->hold.tail_ts);
}

/* The owner of the writer lock, before it looks at anything: how far the log's tail is. */
void twzdb__hold_look(struct twzdb *db);
/* The log is empty, or nobody knows what the dead owner of the lock was doing to what is held. */
void twzdb__hold_empty(struct twzdb *db);
void twzdb__hold_forget(struct twzdb *db);
/* Space is short: if something is held, a checkpoint ends that. True: it did. */
bool twzdb__hold_release(struct twzdb_txn *tx);
/* May another row be held? */
bool twzdb__hold_may(struct twzdb *db);
/* Row P, which dies at commit TS, lends its bytes to that commit's record. */
void twzdb__hold_add(struct twzdb *db, uint64_t p, uint64_t ts);
/* The first of the list becomes the last. */
void twzdb__hold_last(struct twzdb *db);
/* An entry E of the list leaves it. */
void twzdb__hold_left(struct twzdb *db, const uint64_t *e);
/* What row REC at P shares bytes with, if that is still held for it; or 0. */
uint64_t twzdb__hold_base(struct twzdb *db, uint64_t p, const struct rec_pm *rec);
/* The log record of commit TS uses BASE for row P. It is kept from here on, if it is dead already. */
void twzdb__hold_use(struct twzdb *db, uint64_t p, uint64_t base, uint64_t ts);

#endif
