/* SPDX-License-Identifier: MIT
 * rec.h -- records: what their headers say, and what record.c offers (included by internal.h only)
 */
#ifndef TWZDB_REC_H
#define TWZDB_REC_H

/* --- record.c --- */
static inline uint32_t rec_vlf(const struct rec_pm *r)
{
	return __atomic_load_n(&r->vlf, __ATOMIC_RELAXED);
}
/*
 * Lengths of a record that is not long; of a long one TWZDB_KLT_LONG, which is no short key's length, and 0. What
 * answers by them alone (point.c, scan.c, place.h) leaves long rows to the others.
 */
static inline uint32_t rec_klen_short(const struct rec_pm *r)
{
	return r->klt & TWZDB_KLT_LEN;
}
static inline uint32_t rec_vlen_short(const struct rec_pm *r)
{
	return rec_vlf(r) & TWZDB_VLF_LEN;
}
static inline bool rec_is_long(const struct rec_pm *r)
{
	return unlikely(rec_klen_short(r) > TWZDB_KEY_SHORT);
}
static inline struct rec_long_pm *rec_long(const struct rec_pm *r)
{
	return (struct rec_long_pm *)(void *)((uint8_t *)(uintptr_t)r + TWZDB_REC_LEN);
}
static inline uint32_t rec_vlen(const struct rec_pm *r)
{
	return rec_is_long(r) ? ld32(&rec_long(r)->vlen) : rec_vlen_short(r);
}
static inline uint32_t rec_klen(const struct rec_pm *r)
{
	return rec_is_long(r) ? ld32(&rec_long(r)->klen) : rec_klen_short(r);
}
/* Must a row with these lengths be a long one? */
static inline bool row_is_long(uint64_t klen, uint64_t vlen)
{
	return unlikely((klen > TWZDB_KEY_SHORT) | (vlen > TWZDB_VLF_LEN));
}
static inline bool rec_is_live(const struct rec_pm *r)
{
	return rec_vlf(r) & TWZDB_VLF_LIVE;
}
static inline enum twzdb_rec_kind rec_kind(const struct rec_pm *r)
{
	return (enum twzdb_rec_kind)(rec_vlf(r) >> 30);
}
static inline bool rec_is_tomb(const struct rec_pm *r)
{
	return rec_kind(r) == TWZDB_TOMB;
}
static inline uint32_t rec_table(const struct rec_pm *r)
{
	return r->klt >> 12;
}
/* A table's number, of its id, as its rows carry it. */
static inline uint32_t table_tag(uint64_t id)
{
	return TWZDB_TABLE_NO(id) < TWZDB_TAG_NONE ? (uint32_t)id : TWZDB_TAG_NONE;
}
/* Bytes of a record, header included, that is not long. */
static inline uint64_t rec_len_of(uint32_t klen, uint32_t vlen, enum twzdb_rec_kind kind)
{
	return (kind == TWZDB_TABLE ? TWZDB_ANCHOR_OFF : TWZDB_REC_LEN + (uint64_t)klen) + vlen;
}
/* Of any record. */
static inline uint64_t rec_need(uint32_t klen, uint32_t vlen, enum twzdb_rec_kind kind)
{
	return rec_len_of(klen, vlen, kind) +
	       (row_is_long(klen, vlen) ? sizeof(struct rec_long_pm) : 0);
}
static inline uint64_t rec_len(const struct rec_pm *r)
{
	if (rec_is_long(r))
		return TWZDB_REC_LEN + sizeof(struct rec_long_pm) + ld32(&rec_long(r)->klen) +
		       (uint64_t)ld32(&rec_long(r)->vlen);
	return rec_len_of(rec_klen_short(r), rec_vlen_short(r), rec_kind(r));
}
static inline const uint8_t *rec_key(const struct rec_pm *r)
{
	return r->data + (rec_is_long(r) ? sizeof(struct rec_long_pm) : 0);
}
static inline struct bkey rec_bkey(const struct rec_pm *r)
{
	return (struct bkey){rec_key(r), rec_klen(r)};
}
static inline uint8_t *rec_val(const struct rec_pm *r)
{
	if (rec_kind(r) == TWZDB_TABLE)
		return (uint8_t *)(uintptr_t)r + TWZDB_ANCHOR_OFF;
	return (uint8_t *)(uintptr_t)rec_key(r) + rec_klen(r);
}
/* Anchors are read while their block is being given a new life: by whole words. */
static inline void anchor_store(struct rec_pm *r, const void *value)
{
	uint64_t *to = (uint64_t *)(void *)((uint8_t *)r + TWZDB_ANCHOR_OFF), w;

	for (size_t i = 0; i < sizeof(struct table_pm) / sizeof(w); i++) {
		memcpy(&w, (const uint8_t *)value + i * sizeof(w), sizeof(w));
		st64(&to[i], w);
	}
}
uint32_t twzdb__rec_sum(const struct rec_pm *r);
/* As if it were of that kind: replay of older log records may have stored another one there. */
uint32_t twzdb__rec_sum_as(const struct rec_pm *r, enum twzdb_rec_kind kind);
/*
 * Fill a reserved block. TAG: table_tag() of the row's table. VALUE may be NULL: zeroed. KEY and VALUE may lie in the
 * block itself where they are to be.
 */
void twzdb__rec_fill(struct twzdb_txn *tx, struct rec_pm *r, uint32_t tag, struct bkey key,
		     const void *value, uint32_t vlen, uint64_t prev, enum twzdb_rec_kind kind);
/*
 * The same in two steps, for a row that is not long: all but PREV and the checksum, which need the second. HASH is
 * of key and value.
 */
uint64_t twzdb__rec_begin(struct twzdb_txn *tx, struct rec_pm *r, uint32_t tag, struct bkey key,
			  const void *value, uint32_t vlen, enum twzdb_rec_kind kind);
void twzdb__rec_end(struct rec_pm *r, uint64_t prev, uint64_t hash);
/* New record in a fresh block. */
int twzdb__rec_new(struct twzdb_txn *tx, uint32_t tag, struct bkey key, const void *value,
		   uint32_t vlen, uint64_t prev, enum twzdb_rec_kind kind, uint64_t *p,
		   struct rec_pm **rec);
/* Is this live version one this transaction wrote (not committed yet)? */
static inline bool rec_is_own(const struct twzdb_txn *tx, const struct rec_pm *r)
{
	return tx->writer && r->ts == tx->ts;
}
/*
 * Do the lengths of a record, which lies in ROOM mapped bytes, stay within them, and are they stored as they must
 * be (D10)? Sums of long ones are computed in 64 bits: they cannot wrap.
 */
bool twzdb__rec_fits(const struct rec_pm *r, uint64_t room);
/* Bounds-checked address of a record with its key and value. */
int twzdb__rec_at(struct twzdb *db, uint64_t p, const struct rec_pm **rec);
/* Its key. */
int twzdb__rec_key(struct twzdb *db, uint64_t p, struct bkey *k);
/*
 * The version TX sees, from the newest P on: 0, or TWZDB_E_NOTFOUND (none, or a tombstone). No
 * message is set.
 */
int twzdb__rec_visible(struct twzdb_txn *tx, uint64_t p, const struct rec_pm **rec);
/*
 * The record P leaves the current version: own ones are forgotten, live ones die with the
 * commit.
 */
int twzdb__rec_kill(struct twzdb_txn *tx, uint64_t p);
/*
 * tx->runs, rows made by append.c: looked at again by nobody when they are committed. That takes that none is changed or given
 * up before: who is going to do so, or may (a savepoint), lets them be rows like others first.
 */
#define RUN_WORDS (sizeof(struct rec_run_pm) / 8)
static inline size_t runs_cnt(const struct twzdb_txn *tx)
{
	return tx->runs.cnt / RUN_WORDS;
}
static inline struct rec_run_pm *runs_at(const struct twzdb_txn *tx, size_t i)
{
	return (struct rec_run_pm *)(void *)(tx->runs.v + i * RUN_WORDS);
}
int twzdb__runs_expand(struct twzdb_txn *tx);
/* Give back the reserved block P; nothing happens if it is reserved no more. */
void twzdb__rec_unreserve(struct twzdb_txn *tx, uint64_t p);

#endif
