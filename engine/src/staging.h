/* SPDX-License-Identifier: MIT
 * staging.h -- what stage.c offers the engine: commits on page media that are not in the homes yet (included by internal.h only)
 */
#ifndef TWZDB_STAGING_H
#define TWZDB_STAGING_H

/* The owner of the writer lock, before it looks at anything: it sees what is staged. */
int twzdb__stage_begin(struct twzdb_txn *tx);
/* The same, first waiting until the homes say it all. Pointers into staged nodes are void. */
int twzdb__stage_settle(struct twzdb_txn *tx);
void twzdb__stage_close(struct twzdb *db);
/* What a staged commit made of node P, or NULL. */
struct pnode *twzdb__stage_node(struct twzdb *db, uint64_t p);
/* Submit the record REC, which lies where twz_log_stage() said: tx->wait_nr is what to wait for. */
int twzdb__stage_submit(struct twzdb_txn *tx, const void *rec, size_t len);
/* Without the writer lock, or with it: until that is durable and public. */
int twzdb__stage_wait(struct twzdb_txn *tx);
int twzdb__stage_failed(struct twzdb *db, int err);
void twzdb__stage_hints(struct twzdb_txn *tx);
int twzdb__log_staged(void *ctx, uint64_t lsn, const void *rec, size_t len);
/* Number of the last commit there is: published, or staged. */
static inline uint64_t twzdb__last_ts(const struct twzdb_txn *tx)
{
	return unlikely(tx->db->page_media) ? tx->db->stage.ts : tx->snap;
}
/*
 * Is whoever reserved blocks with STAMP over and done with? On page media those of staged commits are not: their
 * blocks become LIVE when they are applied. (Those aborted meanwhile are not told apart.)
 */
static inline bool twzdb__stamp_over(const struct twzdb_txn *tx, uint64_t stamp)
{
	return stamp != tx->stamp &&
	       (!tx->db->page_media || stamp < ld64(&tx->db->sh->stage_stamp));
}

#endif
