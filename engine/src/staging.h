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
/* The node at P as its home says now, word by word: it may be stored to meanwhile. */
void twzdb__stage_home(struct twzdb *db, uint64_t p, struct node_pm *to);
/* What checked record REC changes, told to TO. 0 or -ENOMEM. */
int twzdb__stage_look(struct twzdb__look *to, const void *rec, size_t len);
uint64_t twzdb__stage_ts(const void *rec, size_t len); /* number of its commit */
/*
 * The owner of the writer lock has submitted a lazy commit (tx->wait_nr): readers that begin from here on see it,
 * and somebody will make it durable soon.
 */
void twzdb__stage_lazy(struct twzdb_txn *tx);
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

/* --- view.c: readers of commits that are staged --- */
void twzdb__views_open(struct twzdb *db);
void twzdb__views_close(struct twzdb *db);
/* Register a snapshot in which commit WANT, published or staged, is to be seen. */
int twzdb__view_take(struct twzdb_txn *tx, uint64_t want);
void twzdb__view_drop(struct twzdb_txn *tx);
/* What the view has of node P that its home lacks, or NULL. */
struct pnode *twzdb__view_node(const struct twzdb_txn *tx, uint64_t p);
bool twzdb__view_word(const struct twzdb_txn *tx, uint64_t where, uint64_t *value);
/* A reader's new snapshot: the newest commit of all that may be seen. */
static inline int twzdb__snap_take(struct twzdb_txn *tx)
{
	const struct twzdb__shared *sh = tx->db->sh;

	tx->read_ts = tx->snap = twzdb__snap_set(tx->db, tx->rd);
	if (likely(ld64_acq(&sh->lazy_ts) <= tx->snap))
		return 0;
	return twzdb__view_take(tx, ld64(&sh->lazy_ts));
}
/* The newest commit readers may see. */
static inline uint64_t twzdb__seen_ts(const struct twzdb__shared *sh)
{
	uint64_t lazy = ld64_acq(&sh->lazy_ts), ts = ld64_acq(&sh->ts);

	return lazy > ts ? lazy : ts;
}

/* --- listen.c: who waits for a commit --- */
/* Before the commit TX makes is published, with the writer lock. Only if sh->listeners is not 0. */
void twzdb__listen_tell(const struct twzdb_txn *tx);
void twzdb__listen_tell_all(struct twzdb *db, uint64_t ts);
void twzdb__listen_wake(struct twzdb *db);
/* Something was published. */
static inline void twzdb__listen_news(struct twzdb *db)
{
	if (unlikely(ld64(&db->sh->listeners)))
		twzdb__listen_wake(db);
}

/* --- helper.c: threads that work while others do not --- */
enum twzdb__helper_job {
	HELP_LAZY = 1,	     /* staged commits are to be durable soon */
	HELP_NOW = 2,	     /* ... at once: much is staged */
	HELP_CHECKPOINT = 4, /* the log fills: twz_log_checkpoint_ahead() */
	HELP_GROW = 8,	     /* the last data object is nearly full: twzdb__grow_ahead() */
	HELP_JOIN = 16,	     /* there is more memory, perhaps in small pages; not at once */
};
/* runs.c: have space for the next rows, if the last data object has little. */
void twzdb__grow_ahead(struct twzdb *db);
void twzdb__helper_open(struct twzdb *db);
/* No thread of ours runs any more. */
void twzdb__helper_stop(struct twzdb *db);
void twzdb__helper_close(struct twzdb *db);
bool twzdb__helper_start(struct twzdb *db, uint32_t jobs);
static inline struct twzdb__helper *twzdb__helper_of(struct twzdb *db, uint32_t jobs)
{
	return &db->helper[jobs & HELP_CHECKPOINT ? 1
			   : jobs & HELP_GROW	  ? 2
			   : jobs & HELP_JOIN	  ? 3
						  : 0];
}
/* Any thread, about jobs of one helper. False: there can be no thread, so the caller does it. */
static inline bool twzdb__helper_ask(struct twzdb *db, uint32_t jobs)
{
	/* What was staged just now is there for who has cleared `asked` after this look (next_job). */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (likely((ld32(&twzdb__helper_of(db, jobs)->asked) & jobs) == jobs))
		return true;
	return twzdb__helper_start(db, jobs);
}

#endif
