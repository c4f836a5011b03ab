/* SPDX-License-Identifier: MIT
 * record.c -- immutable row versions: building, bounds-checked reading, visibility
 */
#include "internal.h"

#include <xxhash.h>

uint32_t twzdb__rec_sum_of(const struct rec_pm *hdr, const struct rec_pm *r)
{
	uint64_t lens = (uint64_t)hdr->vlen | (uint64_t)hdr->klen << 32 |
			(uint64_t)(rec_flags(hdr) & TWZDB_REC_KINDS) << 48;
	uint32_t vlen = rec_flags(hdr) & TWZDB_REC_TABLE ? (uint32_t)sizeof(uint64_t) : hdr->vlen;
	uint64_t h = XXH3_64bits_withSeed(rec_key(r), hdr->klen, lens);

	return (uint32_t)XXH3_64bits_withSeed((const uint8_t *)r + rec_val_off(hdr->klen), vlen, h);
}

uint32_t twzdb__rec_sum(const struct rec_pm *r)
{
	return twzdb__rec_sum_of(r, r);
}

void twzdb__rec_fill(struct twzdb_txn *tx, struct rec_pm *r, struct bkey key, const void *value,
		     uint32_t vlen, uint64_t prev, uint16_t flags)
{
	uint64_t val_off = rec_val_off(key.len);
	uint8_t *k = (uint8_t *)(r + 1);

	/*
	 * LIVE is not stored here (D6); the stamp keeps the block ours until the transaction
	 * ends.
	 */
	r->ts = tx->ts;
	r->prev = prev;
	r->dead_ts = 0;
	r->stamp = tx->stamp;
	r->vlen = vlen;
	r->klen = (uint16_t)key.len;
	__atomic_store_n(&r->flags, flags, __ATOMIC_RELAXED);
	r->zero = 0;
	if (key.len && k != key.p)
		memmove(k, key.p, key.len);
	memset(k + key.len, 0, val_off - sizeof(*r) - key.len);
	if (!value)
		memset((uint8_t *)r + val_off, 0, vlen);
	else if (vlen)
		memmove((uint8_t *)r + val_off, value, vlen);
	r->sum = twzdb__rec_sum(r);
}

int twzdb__rec_new(struct twzdb_txn *tx, struct bkey key, const void *value, uint32_t vlen,
		   uint64_t prev, uint16_t flags, uint64_t *p, struct rec_pm **rec)
{
	uint64_t len = rec_len(key.len, vlen);
	unsigned cls = flags & TWZDB_REC_TABLE ? TWZDB_CLS_TABLE : twzdb__class_of(len);
	int err = twzdb__alloc_rec(tx, cls, len, p, rec);

	if (!err)
		twzdb__rec_fill(tx, *rec, key, value, vlen, prev, flags);
	return err;
}

int twzdb__rec_at(struct twzdb *db, uint64_t p, const struct rec_pm **rec)
{
	const struct rec_pm *r = p & 15 ? NULL : twzdb__at(db, p, sizeof(*r));

	*rec = NULL;
	if (unlikely(!r))
		return twzdb__corrupt(db, p, "record pointer outside the data objects");
	if (unlikely(r->klen > TWZDB_KEY_MAX || r->vlen > TWZDB_VALUE_MAX ||
		     !twzdb__at(db, p, rec_len(r->klen, r->vlen))))
		return twzdb__corrupt(db, p, "record longer than its object");
	*rec = r;
	return 0;
}

int twzdb__rec_visible(struct twzdb_txn *tx, uint64_t p, const struct rec_pm **rec)
{
	const struct rec_pm *r = NULL;
	uint64_t newer = UINT64_MAX;
	int err;

	for (; p; p = r->prev) {
		err = twzdb__rec_at(tx->db, p, &r);
		if (err)
			return err;
		if (unlikely(r->ts >= newer)) /* chains end: timestamps fall along prev */
			return twzdb__corrupt(tx->db, p, "older version is not older");
		newer = r->ts;
		if (r->ts <= tx->read_ts)
			break;
		if (unlikely(r->ts > ld64_acq(&tx->db->sh->ts) +
					     1)) /* the next commit, at most, is being stored */
			return twzdb__corrupt(tx->db, p, "record is newer than any commit");
	}
	*rec = p ? r : NULL;
	return p && !(rec_flags(r) & TWZDB_REC_TOMB) ? 0 : TWZDB_E_NOTFOUND;
}

int twzdb__rec_kill(struct twzdb_txn *tx, uint64_t p)
{
	const struct rec_pm *r;
	int err = twzdb__rec_at(tx->db, p, &r);

	if (err)
		return err;
	/*
	 * What a commit record names must pass the check of replay: one damaged pointer must not
	 * make the log unusable.
	 */
	if (!twzdb__is_rec(tx->db, p))
		return twzdb__corrupt(tx->db, p, "pointer to a record names no record block");
	if (rec_is_own(tx, r)) {
		/* Nobody but us ever saw it: without the stamp the block is simply free. */
		((struct rec_pm *)(uintptr_t)r)->stamp = 0;
		twzdb__hint_free(tx->db, p);
		return 0;
	}
	return u64vec_push(&tx->dead, p);
}
