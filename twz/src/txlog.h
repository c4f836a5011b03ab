/* SPDX-License-Identifier: MIT
 * txlog.h -- one undo log: append, scan, retire (format_tx.h has the layout, TX.md the states)
 *
 * A log is used by one thread at a time: the transaction's, or the one that rolls it back.
 */
#ifndef TWZ_SRC_TXLOG_H
#define TWZ_SRC_TXLOG_H

#include "tx_internal.h"
#include "format_tx.h"

#define TWZ__TXLOG_HEAD_LEN	(256u << 10)  /* bytes of a new head */
#define TWZ__TXLOG_OVERFLOW_MAX (64ull << 20) /* bytes of the largest overflow object */
#define TWZ__TXLOG_SPARE_MAX                                                                       \
	(4ull << 20) /* a longer overflow object is deleted when its transaction ends */

/* One object of the chain. */
struct twz__txseg {
	struct twz_obj *obj;
	twz_oid id;
	uint8_t *addr;	   /* first byte of data; NULL on page media, where a log is not mapped */
	uint64_t file_off; /* of the first byte of data on the image; contiguous */
	uint64_t len;	   /* bytes of data */
};

/* Old bytes to save: LEN bytes at ADDR, which is offset OFF of object ID. */
struct twz__txrange {
	const void *addr;
	twz_oid id;
	uint32_t off;
	uint32_t len;
};

/* One saved range: what it covers and where its old bytes are in the log. */
struct twz__undo {
	void *addr; /* NULL when found by a scan */
	twz_oid id;
	uint32_t off, len;
	uint32_t seg; /* index in segs */
	uint32_t pos; /* of the old bytes, in that segment's data */
};

struct twz__txlog {
	struct twz_store *store;
	struct twz__txlog *next; /* in the process's pool */
	uint32_t reg_idx;	 /* slot in the registry */
	struct twz__txseg *segs; /* [0] is the head */
	uint32_t seg_cnt, seg_cap;
	struct twz__txseg spare; /* an overflow object kept for the next large transaction */
	uint64_t generation;	 /* of the transaction in progress: retired + 1 */
	uint32_t seq;		 /* of the last entry; 0 = none */
	uint64_t tail_off;	 /* where the next entry goes, in the last segment */
	uint64_t sum;		 /* checksum of the last entry: seed of the next */
	uint32_t unit;		 /* batches start at multiples of this: 64, or 4096 on page media */
	struct twz__undo *undo;	 /* the transaction's entries, oldest first */
	size_t undo_cnt, undo_cap;
	uint8_t *buf; /* staging, 4 KiB aligned */
	size_t buf_cap, buf_len;
	/* entry in buf whose next_off and checksum are still missing; SIZE_MAX = none */
	size_t open_ent;
	/* scan: headers of the generation in progress stand in the head, valid or not */
	bool dirty;
	struct {
		uint32_t seq;
		uint64_t sum;
		size_t undo_cnt;
	} written; /* state when the buffer was last written: what a failed append goes back to */
	uint8_t *page; /* copy of the head's first 4 KiB: page media write whole blocks */
};

/* The derived IDs of format_tx.h: head of log K; overflow object M of a head. */
twz_oid twz__txlog_id(const struct twz_store *s, uint32_t k);
twz_oid twz__txlog_overflow_id(twz_oid head, uint32_t m);

/* Make the head object of log K unless it exists. All logs below K must. */
int twz__txlog_make(struct twz_store *s, uint32_t k);
/*
 * Open the log with head ID; on failure *OUT is NULL. Verifies header and retirement word; a
 * head just made, or whose maker died, gets its header now.
 */
int twz__txlog_open(struct twz_store *s, twz_oid id, struct twz__txlog **out);
/*
 * Before the first entry behind an open, by the owner of its slot. D13, page media: what was read from the header page may be
 * in a cache only, for its writer may have died before the sync; so exactly that is written once more.
 */
int twz__txlog_take(struct twz__txlog *l);
/* Give up the handle; the objects stay, but overflow objects of a retired log are deleted. */
void twz__txlog_close(struct twz__txlog *l);
/*
 * Restart: delete all overflow objects of a log that is retired and not open. An error only says
 * that some may be left; a log that makes them again deletes them first.
 */
int twz__txlog_sweep(struct twz_store *s, twz_oid head);

/*
 * Save ranges: one durable batch (D8). Errors: TWZ_E_NOSPC, TWZ_E_NOMEM, TWZ_E_TOOBIG: some of
 * the ranges may be in the log, which does no harm: they must not be changed. TWZ_E_IO: outcome
 * unknown (D17).
 */
int twz__txlog_append(struct twz__txlog *l, const struct twz__txrange *ranges, size_t cnt);

/* Read the old bytes of U, from byte AT on, into BUF. */
int twz__txlog_read(struct twz__txlog *l, const struct twz__undo *u, uint32_t at, void *buf,
		    uint32_t len);

/*
 * End the transaction durably: THE COMMIT POINT (D8). No effect when nothing was written, but
 * for FORCE (recovery: D1).
 */
int twz__txlog_retire(struct twz__txlog *l, bool force);

/*
 * Read back the transaction in progress into undo[]: TWZ_E_CORRUPT when a valid entry is
 * followed by damage. Changes nothing on media.
 */
int twz__txlog_scan(struct twz__txlog *l);

/*
 * Kind and validity of a log object's header: 0 and *KIND (0: never finished, holds nothing), or
 * TWZ_E_CORRUPT, TWZ_E_VERSION, TWZ_E_FEATURE.
 */
int twz__txlog_kind(struct twz_store *s, twz_oid id, uint32_t *kind);

/* --- pure functions on buffers, for scan and tests --- */
uint64_t twz__txent_seed(twz_oid head, uint64_t generation);
uint32_t twz__txent_head_sum(const struct twz_txent_pm *e, twz_oid log, uint64_t pos);
uint64_t twz__txent_sum(const struct twz_txent_pm *e, const void *body, uint64_t seed);
/*
 * Conditions (1) to (4) of format_tx.h for an entry at POS of a log object of LEN bytes; WHY
 * gets the one that fails.
 */
bool twz__txent_is_placed(const struct twz_txent_pm *e, twz_oid log, uint64_t pos, uint64_t len,
			  uint64_t generation, uint32_t seq, const char **why);
uint64_t twz__txretire_word(twz_oid head, uint64_t generation);
/* False: the word is damaged. */
bool twz__txretire_generation(twz_oid head, uint64_t word, uint64_t *generation);

#endif
