/* SPDX-License-Identifier: MIT
 * fast_one.h -- a transaction of one operation in one call, as it usually goes; compiled once for each variant (simd_*.c)
 *
 * What such a transaction waits for is the fence of the one before, and then for three places in memory, each known
 * only when the one before has come: bucket, row, leaf. But a fence holds back stores, not loads, as long as the
 * processor has room for the stores behind it, about a hundred. So here the row is looked for first, and the whole of a
 * transaction has few stores: no handle, no list, no private node.
 *
 *	1. see: bucket, row, the leaf asked for; or, for a new row, the way down the tree
 *	2. the writer lock, if this thread keeps it (lock.c)
 *	3. block, record, log record, flush; append: THE COMMIT POINT (D3)
 *	4. homes (D4), timestamp, accelerator
 *
 * What is seen before the lock is had is true when it is had: since this thread's last transaction nobody else has
 * been the writer, and nobody but the writer changes a tree, a row or the type of a unit. (If it is not had, another
 * writer may be at work: so who looks is registered as a reader, for whom no space is given back.) Before anything is
 * stored, or when a block has been reserved and is given back, the answer may be ONE_ANY: not this way, single.c knows
 * another.
 */
#ifndef TWZDB_FAST_ONE_H
#define TWZDB_FAST_ONE_H

#include "fast.h"
#include "handle.h"
#include "lone.h"
#include "recsum.h"
#include "space.h"

#define ONE_ANY TWZDB__RETRY

/* Does the thread know table T of DB, and may it be that it keeps the writer lock? */
static ALWAYS_INLINE bool one_known(const struct twzdb__mine *m, const struct twzdb *db,
				    struct twzdb_table t)
{
	return likely(db && m->rd && m->opening == db->serial && m->last.opening == db->serial &&
		      m->last.t.h == t.h && m->last.t.tag == t.tag && t.h);
}

/* The row's newest version by the accelerator, bucket B. The checks of fast.h's is_row_of() but for the snapshot's. */
static ALWAYS_INLINE const struct rec_pm *one_see(const struct twzdb *db, uint64_t want,
						  const uint8_t *key, uint64_t len, uint64_t *b,
						  struct one *o, const struct fast f)
{
	unsigned hit = f.tags(b, o->hash);
	const struct acc_unit *unit;
	const struct rec_pm *r;
	uint64_t e, vlen, room;

	if (unlikely(!hit))
		return NULL;
	o->entry = &b[__builtin_ctz(hit)];
	e = ld64(o->entry);
	unit = &db->acc.unit[ACC_UNIT(e)];
	r = (const struct rec_pm *)(ld64(&unit->at) + ACC_OFF(e));
	if (unlikely(!grid_has(&unit->grid, ACC_OFF(e))))
		return NULL;
	vlen = twzdb__rec_what(r) ^ (want | len << 32);
	room = grid_room(&unit->grid);
	if (unlikely(len > room || vlen > room - len || !f.same(r->data, key, len)))
		return NULL;
	o->old = acc_ptr(e);
	return r;
}

/*
 * The same by the tree, of a row the accelerator does not have, or has in a unit this process has not looked at.
 */
static __attribute__((noinline)) const struct rec_pm *
one_seek(struct twzdb *db, const struct twzdb__last *last, struct bkey k, struct one *o)
{
	const struct rec_pm *r = NULL;
	uint64_t p = twzdb__simd_now()->find(db, ld64_acq(&last->anchor->root), k, &r);

	if (!p || !twzdb__is_row(db, p) || !rec_is_live(r) || rec_kind(r) != TWZDB_ROW ||
	    rec_is_long(r))
		return NULL;
	o->entry = NULL;
	o->old = p;
	twzdb__acc_look(db, p);
	return r;
}

/* With the lock: anything the general way would have to see to? */
static ALWAYS_INLINE bool one_may(struct twzdb *db, const struct twzdb__mine *m)
{
	const struct twzdb__shared *sh = db->sh;
	const struct table_pm *t = m->last.anchor;

	return likely(!ld64(&sh->failed) && !ld64(&sh->listeners) && rec_is_live(anchor_rec(t)) &&
		      ld64(&t->id) == m->last.id && ld64(&sh->cut_seq) == ld64(&db->acc.unit_seq) &&
		      !twzdb__purge_pays(db) && !twzdb__give_pays(db));
}

/* The stores of the new version, at REC; its checksum. The order and why: record.c. */
static ALWAYS_INLINE uint32_t one_fill(const struct twzdb *db, struct rec_pm *rec, uint64_t ts,
				       uint64_t prev, const struct twzdb__last *last,
				       struct twzdb_slice key, struct twzdb_slice value,
				       enum twzdb_rec_kind kind)
{
	uint32_t vlf = (uint32_t)value.len | TWZDB_VLF_KIND(kind), sum;
	uint32_t klt = (uint32_t)(last->want >> 32) | (uint32_t)key.len;
	uint64_t stamp = (ld64(&db->sh->stamp) + 1) & ~TWZDB_LINK_RESERVED, hash;

	st64(&db->sh->stamp, stamp);
	st64(&rec->ts, ts);
	rec->link = TWZDB_LINK_RESERVED | stamp;
	__atomic_thread_fence(__ATOMIC_RELEASE);
	__atomic_store_n(&rec->vlf, vlf, __ATOMIC_RELAXED);
	__atomic_store_n(&rec->klt, klt, __ATOMIC_RELAXED);
	hash = recsum_data(key.ptr, (uint32_t)key.len, value.ptr, (uint32_t)value.len);
	sum = recsum(ts, prev, klt, vlf, hash);
	rec->prev = prev;
	rec->sum = sum;
	memcpy(rec->data, key.ptr, key.len);
	if (value.len)
		memcpy(rec->data + key.len, value.ptr, value.len);
	return sum;
}

/* Where the row's pointer is, if its leaf was split since the row was put, or merged. */
static ALWAYS_INLINE bool one_by_tree(struct twzdb *db, const struct twzdb__last *last,
				      struct twzdb_slice key, struct one *o, const struct fast f)
{
	struct spot s;

	if (unlikely(!fast_spot(db, ld64_acq(&last->anchor->root),
				(struct bkey){key.ptr, (uint32_t)key.len}, &s, f)))
		return false;
	for (uint32_t slots = s.m.eq; slots; slots &= slots - 1) {
		unsigned slot = (unsigned)__builtin_ctz(slots);

		if (ld64(&s.leaf.n->ptr[slot]) == o->old)
			return twzdb__node_at(db, s.leaf.p) &&
			       lone_settled(o, s.leaf.p, (struct node_pm *)(uintptr_t)s.leaf.n,
					    slot);
	}
	return false;
}

/* The rest, from the log record on. ONE_ANY: the row's leaf was not found. */
static ALWAYS_INLINE int one_commit(struct twzdb *db, const struct twzdb__last *last, struct one *o,
				    uint64_t ts, uint64_t hint, struct twzdb_slice key,
				    const struct rec_pm *rec, uint32_t sum, uint64_t len,
				    uint32_t vlen, const struct fast f)
{
	struct twzdb__shared *sh = db->sh;
	struct lone_pm *l = twz_log_stage(db->log, sizeof(*l));
	uint64_t lsn;
	int err;

	if (unlikely(!l ||
		     (o->old && !lone_by_hint(db, hint, o) && !one_by_tree(db, last, key, o, f))))
		return ONE_ANY;
	twz_flush(db->s, rec, len); /* late: D2a; the fence is the append's */
	err = twzdb__append_staged(db, lone_fill(o, ts, sum, l), &lsn); /* the commit point (D3) */
	if (unlikely(err))
		return err;
	lone_apply(db, l, vlen);
	twz_log_applied(db->log, lsn);
	st64_rel(&sh->ts, ts);
	twzdb__stat_own(&sh->stats.commits, 1);
	twzdb__stat_own(&sh->stats.log_bytes, sizeof(*l));
	lone_learn(db, o);
	return 0;
}

/* With the lock, O's place found: a block, the row's new version, the commit. */
static ALWAYS_INLINE int one_write(struct twzdb *db, const struct twzdb__last *last, struct one *o,
				   uint64_t hint, struct twzdb_slice key, struct twzdb_slice value,
				   enum twzdb_rec_kind kind, const struct fast f)
{
	uint64_t len = rec_len_of((uint32_t)key.len, (uint32_t)value.len, kind);
	uint64_t ts = ld64(&db->sh->ts) + 1;
	unsigned cls = class_fine(len);
	struct rec_pm *rec;
	uint32_t sum;
	int err;

	o->rec = space_take_top(db, cls, &rec);
	if (unlikely(!o->rec))
		o->rec = twzdb__take_next(db, cls, &rec);
	if (unlikely(!o->rec))
		return ONE_ANY;
	sum = one_fill(db, rec, ts, o->old, last, key, value, kind);
	err = one_commit(db, last, o, ts, hint, key, rec, sum, len, (uint32_t)value.len, f);
	if (likely(!err))
		return 0;
	rec->link = 0; /* as it was: free */
	twzdb__hint_free(db, o->rec);
	return err;
}

/* A new row: its place in the tree. False: not this way. */
static ALWAYS_INLINE bool one_room(struct twzdb *db, const struct twzdb__last *last, struct bkey k,
				   struct one *o, const struct fast f)
{
	const struct node_pm *n;
	struct spot s;

	if (unlikely(!fast_spot(db, ld64_acq(&last->anchor->root), k, &s, f) || s.m.eq ||
		     s.n >= TWZDB_FANOUT || s.m.below > s.n))
		return false;
	n = s.leaf.n;
	o->leaf = s.leaf.p;
	o->home = (struct node_pm *)(uintptr_t)n;
	o->pos = (uint8_t)s.m.below;
	/* Another writer may be changing it: then the lock is not had, and none of this is used. */
	o->head = twzdb__head(k, __atomic_load_n(&n->pfx, __ATOMIC_RELAXED));
	o->slot = __atomic_load_n(&n->perm[s.n], __ATOMIC_RELAXED);
	o->tombs = __atomic_load_n(&n->tombs, __ATOMIC_RELAXED);
	return o->slot < TWZDB_FANOUT && o->tombs < TWZDB_FANOUT && twzdb__node_sound(n) &&
	       twzdb__node_at(db, o->leaf);
}

static ALWAYS_INLINE bool one_usual(struct twzdb *db, struct twzdb_table t, struct twzdb_slice key,
				    struct twzdb_slice value)
{
	return one_known(&twzdb__mine, db, t) && key.ptr && key_is_short(key.len) && value.ptr &&
	       value.len <= TWZDB_FINE_MAX - TWZDB_REC_LEN - 32;
}

static ALWAYS_INLINE int put_registered(struct twzdb *db, const struct twzdb__mine *m,
					struct twzdb_slice key, struct twzdb_slice value,
					uint32_t flags, const struct fast f)
{
	struct one o = {.acc = true};
	const struct rec_pm *r = NULL;
	uint64_t *b, token, hint = 0;
	int err = ONE_ANY;

	o.hash = short_hash(key.ptr, key.len, m->last.want);
	b = acc_bucket(db, o.hash);
	if (unlikely(!b))
		return ONE_ANY;
	/* A new row is not in the accelerator; the tree knows better, and its way need not wait for the bucket. */
	if (flags & TWZDB_INSERT)
		fetch(b);
	else
		r = one_see(db, m->last.want, key.ptr, key.len, b, &o, f);
	if (unlikely(!r && flags & TWZDB_UPDATE))
		r = one_seek(db, &m->last, (struct bkey){key.ptr, (uint32_t)key.len}, &o);
	if (r) {
		hint = ld64(&r->link);
		fetch_hint(db, hint);
		o.kind = TWZDB_LREC_UPD1;
	} else {
		o.kind = TWZDB_LREC_INS1;
		o.entry = NULL;
		if (unlikely(flags & TWZDB_UPDATE ||
			     !one_room(db, &m->last, (struct bkey){key.ptr, (uint32_t)key.len}, &o,
				       f)))
			return ONE_ANY;
	}
	if (unlikely(!twzdb__lock_resume(db, m->rd, &token)))
		return ONE_ANY;
	if (one_may(db, m))
		err = one_write(db, &m->last, &o, hint, key, value, TWZDB_ROW, f);
	twzdb__lock_rest(db, token);
	return err;
}

static ALWAYS_INLINE int fast_put_one(struct twzdb *db, struct twzdb_table t,
				      struct twzdb_slice key, struct twzdb_slice value,
				      uint32_t flags, const struct fast f)
{
	const struct twzdb__mine *m = &twzdb__mine;
	int err;

	if (unlikely(!one_usual(db, t, key, value) ||
		     (flags && flags != TWZDB_INSERT && flags != TWZDB_UPDATE)))
		return ONE_ANY;
	(void)twzdb__snap_set(db, m->rd);
	err = put_registered(db, m, key, value, flags, f);
	twzdb__snap_clear(m->rd);
	return err;
}

static ALWAYS_INLINE int del_registered(struct twzdb *db, const struct twzdb__mine *m,
					struct twzdb_slice key, const struct fast f)
{
	struct one o = {.acc = true, .kind = TWZDB_LREC_DEL1};
	struct twzdb_slice none = {key.ptr, 0};
	const struct rec_pm *r;
	uint64_t *b, token, hint;
	int err = ONE_ANY;

	o.hash = short_hash(key.ptr, key.len, m->last.want);
	b = acc_bucket(db, o.hash);
	r = likely(b) ? one_see(db, m->last.want, key.ptr, key.len, b, &o, f) : NULL;
	if (unlikely(!r))
		r = one_seek(db, &m->last, (struct bkey){key.ptr, (uint32_t)key.len}, &o);
	if (unlikely(!r))
		return ONE_ANY;
	hint = ld64(&r->link);
	fetch_hint(db, hint);
	if (unlikely(!twzdb__lock_resume(db, m->rd, &token)))
		return ONE_ANY;
	if (one_may(db, m))
		err = one_write(db, &m->last, &o, hint, key, none, TWZDB_TOMB, f);
	if (likely(!err))
		twzdb__purge_note_one(db, m->last.t.h, o.rec);
	twzdb__lock_rest(db, token);
	return err;
}

static ALWAYS_INLINE int fast_del_one(struct twzdb *db, struct twzdb_table t,
				      struct twzdb_slice key, const struct fast f)
{
	const struct twzdb__mine *m = &twzdb__mine;
	int err;

	if (unlikely(!one_usual(db, t, key, (struct twzdb_slice){key.ptr, 0})))
		return ONE_ANY;
	(void)twzdb__snap_set(db, m->rd);
	err = del_registered(db, m, key, f);
	twzdb__snap_clear(m->rd);
	return err;
}

#endif
