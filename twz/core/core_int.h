/* SPDX-License-Identifier: MIT OR GPL-2.0
 * core_int.h -- what the core's own files share
 *
 * super.c (superblocks, format, attach) and journal.c (records, recovery, checkpoint) are below;
 * cell.c reads and edits metadata cells through the record being built; space.c, objtab.c, extent.c
 * and object.c know nothing but cells.
 */
#ifndef TWZ_CORE_INT_H
#define TWZ_CORE_INT_H

#include "core.h"

#define TWZC_ROUND_UP(n, to) (((n) + (to)-1) / (to) * (to))
#define TWZC_MIN(a, b)	     ((a) < (b) ? (a) : (b))
#define TWZC_MAX(a, b)	     ((a) > (b) ? (a) : (b))

static inline u32 twzc__log2(u64 n) /* n > 0 */
{
	return 63 - (u32)__builtin_clzll(n);
}

static inline u32 twzc__popcount(u64 w)
{
	u32 n = 0;

	for (; w; w &= w - 1)
		n++;
	return n;
}

static inline bool twzc__id_eq(const u64 a[2], const u64 b[2])
{
	return a[0] == b[0] && a[1] == b[1];
}

/* --- cell.c --- */

/* The only source of TWZ_E_CORRUPT. */
int twzc__corrupt(struct twzc *c, const char *where, const char *why, u64 a, u64 b);
u64 twzc__cell_sum(struct twzc *c, const void *cell, u64 off, u32 len);

/* Forget the record being built and everything cached of it. Every public call starts with it. */
void twzc__begin(struct twzc *c);
/* As above, and: may this store be changed? TWZ_E_FAILED, TWZ_E_STATE, TWZ_E_READONLY. */
int twzc__begin_change(struct twzc *c);
/* Bytes of items the record still takes. */
u64 twzc__room(struct twzc *c);

/* What a cell costs in a record. */
#define TWZC_ITEM_COST(len) (sizeof(struct twz_jitem_pm) + (len))

enum twzc__cell_flags {
	TWZC_ZERO_OK = 1, /* a cell of zeros is valid */
};
/*
 * The cell as it will be after this record, not verified: only to decide which cell to read. NULL:
 * cannot be mapped.
 */
const void *twzc__glance(struct twzc *c, u64 off, u32 len);
/* The same, verified home or the edited copy. */
int twzc__cell(struct twzc *c, const char *where, u64 off, u32 len, u32 flags, const void **out);
/*
 * A copy of the cell inside the record, to be changed in place. TWZ_E_TOOBIG: the record is full.
 */
int twzc__edit(struct twzc *c, const char *where, u64 off, u32 len, u32 flags, void **out);
/* The same for a cell that has no old content: zeros. */
int twzc__edit_new(struct twzc *c, u64 off, u32 len, void **out);

int twzc__root(struct twzc *c, const struct twz_root_pm **out);
int twzc__root_edit(struct twzc *c, struct twz_root_pm **out);
int twzc__layout(struct twzc *c, const struct twz_layout_pm **out);
int twzc__layout_edit(struct twzc *c, struct twz_layout_pm **out);
/* Is [page, page + cnt) inside the image and behind superblocks, root and journal? */
bool twzc__pages_ok(struct twzc *c, const struct twz_root_pm *root, u64 page, u64 cnt);

/* --- super.c --- */
int twzc__super_read(struct twzc *c, struct twz_super_pm *best, u32 *valid_mask);
/* Copy I as it is on the medium; *OK: magic, version and sum hold. */
int twzc__super_copy(struct twzc *c, u32 i, struct twz_super_pm *out, bool *ok);
/* Raise the generation durably in both copies (D1). */
int twzc__super_raise(struct twzc *c);

/* --- journal.c --- */
static inline u64 twzc__ring_off(const struct twzc *c)
{
	return (c->super.journal_page + 1) * TWZC_PAGE;
}

static inline u64 twzc__ring_len(const struct twzc *c)
{
	return (c->super.journal_page_cnt - 1) * TWZC_PAGE;
}

static inline u64 twzc__rec_max(const struct twzc *c)
{
	return TWZC_MIN(TWZC_REC_MAX, twzc__ring_len(c) / 2);
}

/* The tail word on the medium for LSN. */
u64 twzc__tail_word(struct twzc *c, u64 lsn);
/*
 * Append the record being built, apply it. On an error nothing changed, unless sh->failed is set
 * (D17). Begins a new record.
 */
int twzc__commit(struct twzc *c);
/* Call FN for every valid record from LSN on; *END is the LSN behind the last. */
typedef int (*twzc__rec_fn)(struct twzc *c, struct twz_jrec_pm *rec, void *arg);
int twzc__rec_walk(struct twzc *c, u64 lsn, u64 generation, twzc__rec_fn fn, void *arg, u64 *end);
/*
 * The item at *POS of a record; moves *POS on. NULL behind the last one, and with *ERR set if the
 * items are malformed.
 */
const struct twz_jitem_pm *twzc__item_next(struct twzc *c, const struct twz_jrec_pm *r, u64 *pos,
					   int *err);
/* Read the tail from the medium. */
int twzc__tail_read(struct twzc *c, u64 *lsn);

/* --- space.c --- */
struct twzc__run {
	u64 page, cnt;
};

struct twzc__want {
	u64 cnt;      /* pages wished for */
	bool exact;   /* fewer are useless */
	bool aligned; /* begin at a chunk */
	bool whole;   /* whole chunks only (implies aligned) */
};

/*
 * Find free pages, growing the image if need be; nothing is taken yet. Fewer than wanted may come
 * back unless exact. TWZ_E_NOSPC.
 */
int twzc__space_find(struct twzc *c, const struct twzc__want *want, struct twzc__run *out);
/*
 * How many of the pages [page, page + cnt) are free, counted from the first; may grow the image if
 * the run ends at its end.
 */
int twzc__space_after(struct twzc *c, u64 page, u64 cnt, bool grow, u64 *free_cnt);
/* Own free pages; the first EXPOSED of them must read as zeros. */
int twzc__space_take(struct twzc *c, struct twzc__run run, u64 exposed);
/* Pages of a run taken with fewer exposed are to be exposed now: make them zeros. */
int twzc__space_expose(struct twzc *c, struct twzc__run run);
int twzc__space_give(struct twzc *c, struct twzc__run run);
/* Free pages for metadata: not zeroed. */
int twzc__meta_take_run(struct twzc *c, struct twzc__run run);
/*
 * One page for metadata, and back. A page given back is not reused before a checkpoint (see
 * twzc__commit).
 */
int twzc__meta_take(struct twzc *c, u64 *page);
int twzc__meta_give(struct twzc *c, u64 page);
int twzc__chunk(struct twzc *c, u64 chunk, const struct twz_chunk_pm **out);
u64 twzc__map_page_cnt(const struct twz_layout_pm *l);

/* --- objtab.c --- */
struct twzc__loc {
	u64 bucket, page; /* page: the bucket or overflow page that holds the entry */
	u32 slot, depth;
};

static inline u64 twzc__entry_off(const struct twzc__loc *loc)
{
	return loc->page * TWZC_PAGE + TWZC_ENTRY_OFF(loc->slot);
}

u64 twzc__bucket_of(struct twzc *c, u64 bucket_cnt, const u64 id[2]);
int twzc__bucket_page(struct twzc *c, u64 bucket, u64 *page);
int twzc__bucket(struct twzc *c, u64 page, u64 bucket, u32 depth, const struct twz_bucket_pm **out);
int twzc__entry(struct twzc *c, const struct twzc__loc *loc, const struct twz_entry_pm **out);
int twzc__entry_edit(struct twzc *c, const struct twzc__loc *loc, struct twz_entry_pm **out);
/* TWZ_E_NOENT if there is none, whatever its state. */
int twzc__tab_find(struct twzc *c, const u64 id[2], struct twzc__loc *loc,
		   const struct twz_entry_pm **out);
/* The next entry of whatever state; TWZ_E_NOENT at the end. *CURSOR begins as 0. */
int twzc__tab_next(struct twzc *c, u64 *cursor, struct twzc__loc *loc,
		   const struct twz_entry_pm **out);
/* A fresh entry of zeros with its ID set. */
int twzc__tab_insert(struct twzc *c, const u64 id[2], struct twzc__loc *loc,
		     struct twz_entry_pm **out);
int twzc__tab_remove(struct twzc *c, const struct twzc__loc *loc);
/* Split one bucket if the table is too full. Its failure harms nobody: chains get longer. */
void twzc__tab_tidy(struct twzc *c);

/* --- extent.c: an entry's extents as one sorted array --- */
int twzc__ext_get(struct twzc *c, const struct twz_entry_pm *e, u32 i, struct twz_extent_pm *out);
int twzc__ext_set(struct twzc *c, struct twz_entry_pm *e, u32 i, const struct twz_extent_pm *x);
/* Index of the first extent that begins behind SLOT_PAGE. */
int twzc__ext_after(struct twzc *c, const struct twz_entry_pm *e, u32 slot_page, u32 *idx);
/* Insert in order, merging with neighbours; counts pages. */
int twzc__ext_add(struct twzc *c, struct twz_entry_pm *e, const struct twz_extent_pm *x);
int twzc__ext_remove(struct twzc *c, struct twz_entry_pm *e, u32 i);
/* What adding one extent can cost in a record, space map not included. */
#define TWZC_EXT_ADD_COST (3 * TWZC_ITEM_COST(512) + TWZC_ITEM_COST(128))

/* --- object.c --- */
/*
 * Data pages an object of CNT pages of data owns: beyond slot offset 2 MiB whole chunks, if not
 * contiguous.
 */
u32 twzc__data_owned(u64 cnt, bool contiguous);
/* Finish the operation the root page names (after a crash). */
int twzc__pend_finish(struct twzc *c);

#endif
