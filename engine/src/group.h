/* SPDX-License-Identifier: MIT
 * group.h -- transactions of several databases (D16), among prepare.c, group.c, doubt.c and those who replay them
 */
#ifndef TWZDB_GROUP_H
#define TWZDB_GROUP_H

#include "internal.h"

#define TWZDB__IN_DOUBT                                                                            \
	2 /* value of twzdb__shared.failed: a prepared transaction waits for its decision */

#define TWZDB__ASK_MS                                                                              \
	10000 /* waits for the writer lock of a database in doubt, who need not write it */

/* Who decides, as a participant is told. */
struct twzdb__chair {
	uint64_t group[2], coordinator[2], store[2];
	const char *path, *name;
};

static inline bool twzdb__is_group(const void *rec, size_t len)
{
	return len >= sizeof(uint32_t) && *(const uint32_t *)rec == TWZDB_GROUP_MAGIC;
}

/* --- prepare.c --- */
/*
 * The owner of the writer lock: LEN bytes of commit record REC become a prepared transaction, durably. Homes of rows
 * and nodes are untouched.
 */
int twzdb__prep_write(struct twzdb *db, const struct twzdb__chair *chair, const void *rec,
		      size_t len);
/* What is prepared, checked (D10); NULL in *OUT: nothing. Valid until the next is written. */
int twzdb__prep_get(struct twzdb *db, const struct prep_pm **out);
/* Could it be committed, item by item? */
int twzdb__prep_check(struct twzdb *db, const struct prep_pm *p);
/* The decision, durable and applied: *REC (may be NULL) gets the commit record. It is published by the caller. */
int twzdb__prep_end(struct twzdb *db, const struct prep_pm *p, bool commit, const void **rec);
/* Path and name in it; BUF holds them and is to be freed. */
int twzdb__prep_names(const struct prep_pm *p, char **path, char **name);
/* Of struct group_pm: as twzdb__lrec_check(), twzdb__apply(), twzdb__log_flush_own(). */
int twzdb__group_check(struct twzdb *db, const void *rec, size_t len, uint64_t ts);
void twzdb__group_apply(struct twzdb *db, const struct group_pm *g);
int twzdb__group_flush(struct twzdb *db, const struct group_pm *g);
void twzdb__prep_close(struct twzdb *db);

/* --- commit.c --- */
/* The changes of writer TX as a prepared transaction; on an error nothing is prepared, and TX is as it was. */
int twzdb__prepare(struct twzdb_txn *tx, const struct twzdb__chair *chair);
/* The decision about it. TX has no changes any more, whatever the result. */
int twzdb__prepared_end(struct twzdb_txn *tx, bool commit);
/* Nobody knows the decision yet. */
void twzdb__prepared_leave(struct twzdb_txn *tx);

/* --- txn.c --- */
/* TX, whose changes are committed or gone (ERR), goes on as the writer, or ends. */
int twzdb__group_next(struct twzdb_txn *tx, int err);
void twzdb__group_over(struct twzdb_txn *tx);

/* --- doubt.c --- */
/* If DB is in doubt, find the decision and act on it; TWZDB_E_DOUBT: it is to be had from nobody. */
int twzdb__doubt_settle(struct twzdb *db, int timeout_ms);
int twzdb__doubt_error(struct twzdb *db,
		       const char *why); /* returns TWZDB_E_DOUBT, with its message */

/* --- group.c --- */
/* Forget decisions nobody needs any more, in writer TX of the coordinator. */
int twzdb__decisions_done(struct twzdb_txn *tx, struct twzdb_table t);
int twzdb__decisions_forget(struct twzdb_txn *tx); /* the same, whether there are any or not */
void twzdb__decisions_close(struct twzdb *db);
/* Participant ID has its answer about GROUP. */
int twzdb__decision_told(struct twzdb *coordinator, const uint64_t group[2], const uint64_t id[2]);

#endif
