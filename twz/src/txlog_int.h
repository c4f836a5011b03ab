/* SPDX-License-Identifier: MIT
 * txlog_int.h -- what the undo log's own files share
 *
 * txlog_seg.c (the objects of a log) is below; txlog_ent.c (entries) and txlog_scan.c (reading them
 * back) stand on it; txlog.c has the life of a log.
 */
#ifndef TWZ_SRC_TXLOG_INT_H
#define TWZ_SRC_TXLOG_INT_H

#include "txlog.h"

#define NO_ENT	  SIZE_MAX
#define BUF_SMALL ((size_t)16 << 10)
#define BUF_LARGE ((size_t)1 << 20)

static inline uint64_t round_up(uint64_t v, uint64_t unit)
{
	return (v + unit - 1) / unit * unit;
}

static inline struct twz__txseg *tail_seg(struct twz__txlog *l)
{
	return &l->segs[l->seg_cnt - 1];
}

/* --- txlog.c --- */

/* The transaction of L->generation, nothing written yet. */
void twz__txlog_reset(struct twz__txlog *l);

/* --- txlog_seg.c --- */

int twz__txseg_open(struct twz_store *s, twz_oid id, struct twz__txseg *seg);
void twz__txseg_close(struct twz__txseg *seg);
/* Close and delete, if it is open. */
void twz__txseg_delete(struct twz_store *s, struct twz__txseg *seg);
/*
 * A new overflow object. TWZ_E_EXIST: a deleted one still has the ID because a process has it open.
 */
int twz__txseg_create(struct twz_store *s, twz_oid id, uint64_t len, struct twz__txseg *seg);
int twz__txseg_read(struct twz_store *s, const struct twz__txseg *seg, uint64_t off, void *buf,
		    uint64_t len);
/*
 * Write log bytes; page media: durable on return; otherwise at the next fence. OFF and LEN are
 * multiples of the log's unit.
 */
int twz__txseg_write(struct twz_store *s, const struct twz__txseg *seg, uint64_t off,
		     const void *buf, uint64_t len);
void twz__txseg_header(struct twz_txlog_pm *h, twz_oid id, uint32_t kind);
/* 0 and *KIND; *KIND = 0: creation never finished. */
int twz__txseg_verify(struct twz_store *s, const struct twz_txlog_pm *h, uint64_t retired,
		      twz_oid id, uint32_t *kind);
/* Room for one segment more in L->segs. */
int twz__txlog_segs_reserve(struct twz__txlog *l);
bool twz__txlog_in_chain(const struct twz__txlog *l, twz_oid id);

/* --- txlog_ent.c --- */

int twz__txlog_undo_push(struct twz__txlog *l, struct twz__undo u);
/* A larger staging buffer if the ranges are worth it and there is memory. */
void twz__txlog_buf_grow(struct twz__txlog *l, const struct twz__txrange *ranges, size_t cnt);

#endif
