/* SPDX-License-Identifier: MIT
 * record.c -- immutable row versions: building, bounds-checked reading, visibility
 */
#include "recsum.h"

uint64_t twzdb__sum_long(const void *p, size_t len, uint64_t seed)
{
	return XXH3_64bits_withSeed(p, len, seed);
}

/* The root word of a table changes in place: only the number before it counts. */
static uint64_t hash_in_place(const struct rec_pm *r, enum twzdb_rec_kind kind)
{
	uint64_t h;

	if (rec_is_long(r))
		return XXH3_64bits(r->data, rec_len(r) - TWZDB_REC_LEN);
	if (kind != TWZDB_TABLE)
		return recsum_data(r->data, rec_klen_short(r), r->data + rec_klen_short(r),
				   rec_vlen_short(r));
	memcpy(&h, (const uint8_t *)r + TWZDB_ANCHOR_OFF, sizeof(h));
	return h;
}

static inline uint32_t sum_with(const struct rec_pm *r, enum twzdb_rec_kind kind, uint64_t hash)
{
	return recsum(r->ts, r->prev, r->klt, rec_vlen_short(r) | TWZDB_VLF_KIND(kind), hash);
}

uint32_t twzdb__rec_sum_as(const struct rec_pm *r, enum twzdb_rec_kind kind)
{
	return sum_with(r, kind, hash_in_place(r, kind));
}

uint32_t twzdb__rec_sum(const struct rec_pm *r)
{
	return twzdb__rec_sum_as(r, rec_kind(r));
}

/*
 * Whoever still reads the block's former life sees the timestamp change before anything else does. LIVE is not
 * stored here (D6); the link keeps the block ours until the transaction ends.
 */
static inline void begin_life(struct twzdb_txn *tx, struct rec_pm *r)
{
	st64(&r->ts, tx->ts);
	r->link = TWZDB_LINK_RESERVED | tx->stamp;
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

/* The value first: where it lies in the block already, the key may be written over it. */
static void fill_long(struct twzdb_txn *tx, struct rec_pm *r, uint32_t tag, struct bkey key,
		      const void *value, uint32_t vlen, uint64_t prev, enum twzdb_rec_kind kind)
{
	uint8_t *k = r->data + sizeof(struct rec_long_pm), *v = k + key.len;

	begin_life(tx, r);
	if (kind == TWZDB_ROW)
		tx->put = r;
	r->prev = prev;
	if (!value)
		memset(v, 0, vlen);
	else if (vlen && v != value)
		memmove(v, value, vlen);
	if (k != key.p)
		memmove(k, key.p, key.len);
	*rec_long(r) = (struct rec_long_pm){key.len, vlen};
	__atomic_store_n(&r->vlf, TWZDB_VLF_KIND(kind), __ATOMIC_RELAXED);
	r->klt = TWZDB_KLT_LONG | TWZDB_KLT_TABLE(tag);
	r->sum = twzdb__rec_sum(r);
}

/*
 * The hash is taken from where the bytes come from: what was just copied into the block waits in the
 * store buffer, behind the fence of the commit before, and a load across two of those stores would wait
 * with it.
 */
static inline uint64_t begin_row(struct twzdb_txn *tx, struct rec_pm *r, uint32_t tag,
				 struct bkey key, const void *value, uint32_t vlen,
				 enum twzdb_rec_kind kind)
{
	uint8_t *v = (uint8_t *)r + rec_len_of(key.len, 0, kind);
	bool given = likely(kind != TWZDB_TABLE && value);
	uint64_t hash = 0;

	begin_life(tx, r);
	if (kind == TWZDB_ROW)
		tx->put = r;
	__atomic_store_n(&r->vlf, vlen | TWZDB_VLF_KIND(kind), __ATOMIC_RELAXED);
	__atomic_store_n(&r->klt, key.len | TWZDB_KLT_TABLE(tag), __ATOMIC_RELAXED);
	if (given)
		hash = recsum_data(key.p, key.len, value, vlen);
	if (kind == TWZDB_TABLE)
		anchor_store(r, value);
	else if (!value)
		memset(v, 0, vlen);
	else if (vlen && v != value)
		memmove(v, value, vlen);
	if (key.len && r->data != key.p)
		memcpy(r->data, key.p, key.len);
	return given ? hash : hash_in_place(r, kind);
}

uint64_t twzdb__rec_begin(struct twzdb_txn *tx, struct rec_pm *r, uint32_t tag, struct bkey key,
			  const void *value, uint32_t vlen, enum twzdb_rec_kind kind)
{
	return begin_row(tx, r, tag, key, value, vlen, kind);
}

void twzdb__rec_end(struct rec_pm *r, uint64_t prev, uint64_t hash)
{
	r->prev = prev;
	r->sum = sum_with(r, rec_kind(r), hash);
}

void twzdb__rec_fill(struct twzdb_txn *tx, struct rec_pm *r, uint32_t tag, struct bkey key,
		     const void *value, uint32_t vlen, uint64_t prev, enum twzdb_rec_kind kind)
{
	if (row_is_long(key.len, vlen))
		fill_long(tx, r, tag, key, value, vlen, prev, kind);
	else
		twzdb__rec_end(r, prev, begin_row(tx, r, tag, key, value, vlen, kind));
}

static bool overlap(const void *a, uint64_t alen, const void *b, uint64_t blen)
{
	return (uintptr_t)a < (uintptr_t)b + blen && (uintptr_t)b < (uintptr_t)a + alen;
}

int twzdb__rec_new(struct twzdb_txn *tx, uint32_t tag, struct bkey key, const void *value,
		   uint32_t vlen, uint64_t prev, enum twzdb_rec_kind kind, uint64_t *p,
		   struct rec_pm **rec)
{
	bool is_long = row_is_long(key.len, vlen);
	uint64_t len = rec_len_of(key.len, vlen, kind) + (is_long ? sizeof(struct rec_long_pm) : 0);
	unsigned cls = kind == TWZDB_TABLE ? TWZDB_CLS_TABLE : twzdb__class_of(len);
	int err;

	tx->from_reserve = kind == TWZDB_TOMB;
	err = twzdb__alloc_rec(tx, cls, len, p, rec);
	tx->from_reserve = false;
	if (!err && unlikely(overlap(key.p, key.len, *rec, len))) {
		/* KEY is that of a damaged row, which says it is longer than its block. */
		twzdb__rec_unreserve(tx, *p);
		err = twzdb__corrupt(tx->db, *p, "a row reaches into the free block behind it");
	}
	if (!err && unlikely(tx->sp_open)) {
		err = twzdb__sp_rec(tx, *p);
		if (err)
			twzdb__rec_unreserve(tx, *p);
	}
	if (err)
		return err;
	tx->anchors |= kind == TWZDB_TABLE;
	twzdb__rec_fill(tx, *rec, tag, key, value, vlen, prev, kind);
	return 0;
}

bool twzdb__rec_fits(const struct rec_pm *r, uint64_t room)
{
	uint64_t head = TWZDB_REC_LEN + sizeof(struct rec_long_pm);

	if (!rec_is_long(r))
		return rec_len(r) <= room;
	return rec_klen_short(r) == TWZDB_KLT_LONG && !rec_vlen_short(r) &&
	       rec_kind(r) != TWZDB_TABLE && head <= room && rec_len(r) <= room &&
	       rec_len(r) - head <= TWZDB_ROW_MAX &&
	       (rec_klen(r) > TWZDB_KEY_SHORT || rec_vlen(r) > TWZDB_VLF_LEN);
}

/* Of a block that has its record: the lengths do not change between two looks at them. */
static bool long_is_mapped(struct twzdb *db, uint64_t p, const struct rec_pm *r)
{
	uint64_t head = TWZDB_REC_LEN + sizeof(struct rec_long_pm);

	return twzdb__at(db, p, head) && twzdb__at(db, p, rec_len(r)) &&
	       twzdb__rec_fits(r, rec_len(r));
}

int twzdb__rec_at(struct twzdb *db, uint64_t p, const struct rec_pm **rec)
{
	const struct rec_pm *r = p & 15 ? NULL : twzdb__at(db, p, sizeof(*r));

	*rec = NULL;
	if (unlikely(!r))
		return twzdb__corrupt(db, p, "record pointer outside the data objects");
	if (unlikely(rec_klen_short(r) > TWZDB_KEY_SHORT ? !long_is_mapped(db, p, r)
							 : !twzdb__at(db, p, rec_len(r))))
		return twzdb__corrupt(db, p, "record longer than its object");
	*rec = r;
	return 0;
}

int twzdb__rec_key(struct twzdb *db, uint64_t p, struct bkey *k)
{
	const struct rec_pm *r;
	int err = twzdb__rec_at(db, p, &r);

	if (!err)
		*k = rec_bkey(r);
	return err;
}

int twzdb__rec_visible(struct twzdb_txn *tx, uint64_t p, const struct rec_pm **rec)
{
	const struct rec_pm *r = NULL;
	uint64_t newer = UINT64_MAX, ts;
	int err;

	for (; p; p = r->prev) {
		err = twzdb__rec_at(tx->db, p, &r);
		if (err)
			return err;
		ts = ld64(&r->ts);
		if (unlikely(ts >= newer)) /* chains end: timestamps fall along prev */
			return twzdb__corrupt(tx->db, p, "older version is not older");
		newer = ts;
		if (ts <= tx->read_ts)
			break;
		if (unlikely(ts > ld64_acq(&tx->db->sh->ts) +
					  1)) /* the next commit, at most, is being stored */
			return twzdb__corrupt(tx->db, p, "record is newer than any commit");
	}
	*rec = p ? r : NULL;
	return p && !rec_is_tomb(r) ? 0 : TWZDB_E_NOTFOUND;
}

void twzdb__rec_unreserve(struct twzdb_txn *tx, uint64_t p)
{
	struct rec_pm *r = twzdb__at(tx->db, p, sizeof(*r));

	if (!r || rec_is_live(r) || r->link != (TWZDB_LINK_RESERVED | tx->stamp))
		return;
	r->link = 0;
	twzdb__hint_free(tx->db, p);
}

int twzdb__runs_expand(struct twzdb_txn *tx)
{
	for (size_t i = 0; i < runs_cnt(tx); i++) {
		const struct rec_run_pm *u = runs_at(tx, i);
		uint64_t len = twzdb__block_len(tx->db, u->where);

		for (uint32_t k = 0; k < u->cnt; k++)
			if (u64vec_push(&tx->recs, u->where + k * len)) {
				tx->recs.cnt -= k;
				memmove(tx->runs.v, u, (runs_cnt(tx) - i) * sizeof(*u));
				tx->runs.cnt -= i * RUN_WORDS;
				return twzdb__err(-ENOMEM, "no memory for the list of new records");
			}
	}
	tx->runs.cnt = 0;
	return 0;
}

int twzdb__rec_kill(struct twzdb_txn *tx, uint64_t p)
{
	const struct rec_pm *r;
	int err = twzdb__rec_at(tx->db, p, &r);

	if (!err && rec_is_own(tx, r))
		err = twzdb__runs_expand(tx);
	if (err)
		return err;
	/*
	 * What a commit record names must pass the check of replay: one damaged pointer must not
	 * make the log unusable.
	 */
	if (!twzdb__is_rec(tx->db, p))
		return twzdb__corrupt(tx->db, p, "pointer to a record names no record block");
	if (r == tx->put)
		tx->put = NULL;
	if (rec_is_own(tx, r)) {
		/* Nobody but us ever saw it: without the stamp the block is simply free. */
		if (twzdb__sp_fixed(tx, p))
			return twzdb__sp_kill(tx, p);
		twzdb__rec_unreserve(tx, p);
		return 0;
	}
	return u64vec_push(&tx->dead, p);
}
