/* SPDX-License-Identifier: MIT
 * oneop.c -- transactions of one operation: word intents instead of private nodes
 *
 * Most write transactions change one row, and of its leaf a few words. Copying the leaf and
 * comparing the copy with it would cost more than the change. So the first operation of a
 * transaction only notes what it is going to store (struct one), if the leaf neither splits nor
 * grows from nothing:
 *
 *	                   twzdb__one_*()                 twzdb__one_commit()
 *	clean transaction ----------------> intent ---------------------------> committed
 *	                                      | any other operation: twzdb__one_expand()
 *	                                      v
 *	                              private nodes (node.c), as ever
 *
 * The record in the log is one or two cache lines (struct lone_pm), after-images like all others.
 */
#include "lone.h"
#include "place.h"

/* --- noting --- */

/* Has the transaction changed nothing yet? */
static inline bool is_clean(const struct twzdb_txn *tx)
{
	return tx->mods == tx->mods0 && !tx->broken &&
	       !(tx->sp_open | tx->recs.cnt | tx->levels | tx->dead.cnt | tx->words.cnt);
}

/*
 * Everything a row's change needs is somewhere else in memory: bucket, row, leaf, each known only when
 * the one before has come. So that they come while the fence of the transaction before is still on its way,
 * they are looked for first, and with few stores up to there, of which a processor holds about a hundred back;
 * and the leaf is only asked for, and looked at when the transaction commits.
 */
static inline void begin_place(struct twzdb *db, uint32_t tag, struct bkey k, struct place *w)
{
	w->k = k;
	w->tag = tag;
	w->old = w->leaf = w->hash = 0;
	w->slot = 0;
	w->n = NULL;
	w->bucket = w->entry = NULL;
	w->acc = db->acc.max && tag != TWZDB_TAG_NONE;
	if (likely(w->acc)) {
		w->hash = acc_hash(tag, k);
		w->bucket = acc_bucket(db, w->hash);
		fetch(w->bucket);
	}
}

/* Replay refuses a count of tombstones that cannot be: damage to one leaf must not make the log unusable. */
__attribute__((noinline)) static bool place_by_tree(struct twzdb_txn *tx, uint64_t table,
						    struct place *w)
{
	struct stop s;
	int err;
	uint64_t root = twzdb__table_root(tx, table, &err);

	return root && !tx->levels && leaf_by_root(tx, root, w, &s) &&
	       place_in_leaf(tx->db, &s, w) && w->n->tombs < TWZDB_FANOUT;
}

/* The row; and its leaf, unless the accelerator knew the row. False: the general way. */
static inline bool find_row(struct twzdb_txn *tx, uint64_t table, struct place *w)
{
	w->old = acc_find_at(tx->db, w->bucket, w->tag, w->k, w->hash, &w->r, &w->entry);
	if (likely(w->old)) {
		fetch_hint(tx->db, ld64(&w->r->link));
		return true;
	}
	w->entry = NULL;
	return place_by_tree(tx, table, w);
}

/* The slot a row inserted at POS gets; -1: the leaf is full, or not one (D10). */
static int free_slot(struct twzdb *db, const struct place *w)
{
	if (w->n->n >= TWZDB_FANOUT || w->pos > w->n->n || !twzdb__node_sound(w->n) ||
	    !twzdb__is_node(db, w->leaf))
		return -1;
	return w->n->perm[w->n->n];
}

static inline void note(struct twzdb_txn *tx, uint64_t table, const struct place *w, unsigned kind,
			uint64_t rec)
{
	struct one *o = &tx->one;

	o->kind = (uint8_t)kind;
	o->slot = (uint8_t)w->slot;
	o->acc = w->acc;
	o->leaf = w->leaf;
	o->rec = rec;
	o->old = w->old;
	o->base = 0;
	o->hash = w->hash;
	o->entry = w->entry;
	o->table = table;
	o->home = w->n;
	if (w->n)
		o->tombs = (uint8_t)(w->n->tombs + (kind == TWZDB_LREC_DEL1));
	if (kind == TWZDB_LREC_INS1) {
		o->pos = (uint8_t)w->pos;
		o->head = w->head;
	}
	tx->mods++;
}

/* Of a transaction that had reserved nothing before. */
static int give_back(struct twzdb_txn *tx, uint64_t p, int ret)
{
	twzdb__rec_unreserve(tx, p);
	tx->recs.cnt = 0;
	return ret;
}

/* May the row be put, and where to? 0, or 1: the general way, and its errors. */
static inline int check_put(struct twzdb_txn *tx, uint64_t table, struct place *w,
			    uint32_t put_flags)
{
	int slot;

	if (unlikely(!find_row(tx, table, w) || (w->old && rec_is_tomb(w->r)) ||
		     put_flags & TWZDB_APPEND))
		return 1;
	if (w->old)
		return put_flags & TWZDB_INSERT ? 1 : 0;
	if (put_flags & TWZDB_UPDATE)
		return 1;
	slot = free_slot(tx->db, w);
	w->slot = (unsigned)slot;
	return slot < 0;
}

int twzdb__one_put(struct twzdb_txn *tx, uint64_t table, uint32_t tag, struct bkey key,
		   const void *value, uint32_t vlen, uint32_t put_flags)
{
	uint64_t len = rec_len_of(key.len, vlen, TWZDB_ROW), p, hash;
	unsigned cls = twzdb__class_of(len);
	struct rec_pm *rec;
	struct place w;
	int err;

	if (!is_clean(tx))
		return 1;
	begin_place(tx->db, tag, key, &w);
	if (check_put(tx, table, &w, put_flags))
		return 1;
	err = twzdb__alloc_rec(tx, cls, len, &p, &rec);
	if (unlikely(err))
		return err;
	hash = twzdb__rec_begin(tx, rec, tag, key, value, vlen, TWZDB_ROW);
	twzdb__rec_end(rec, w.old, hash);
	note(tx, table, &w, w.old ? TWZDB_LREC_UPD1 : TWZDB_LREC_INS1, p);
	return 0;
}

int twzdb__one_del(struct twzdb_txn *tx, uint64_t table, uint32_t tag, struct bkey key)
{
	uint64_t len = rec_len_of(key.len, 0, TWZDB_TOMB), p, hash;
	struct rec_pm *rec;
	struct place w;
	int err;

	if (!is_clean(tx))
		return 1;
	begin_place(tx->db, tag, key, &w);
	if (!find_row(tx, table, &w) || !w.old || rec_is_tomb(w.r))
		return 1;
	tx->from_reserve = true;
	err = twzdb__alloc_rec(tx, twzdb__class_of(len), len, &p, &rec);
	tx->from_reserve = false;
	if (unlikely(err))
		return err;
	hash = twzdb__rec_begin(tx, rec, tag, key, key.p, 0, TWZDB_TOMB);
	err = twzdb__tomb_note(tx, table, p);
	if (err) { /* or the commit would name it */
		tx->tombs.cnt = 0;
		return twzdb__err(give_back(tx, p, err), "no memory for a list of tombstones");
	}
	twzdb__rec_end(rec, w.old, hash);
	note(tx, table, &w, TWZDB_LREC_DEL1, p);
	return 0;
}

static bool settle_by_tree(struct twzdb_txn *tx, const struct rec_pm *r)
{
	struct place w = {.k = {r->data, rec_klen_short(r)}};

	return place_by_tree(tx, tx->one.table, &w) && w.old == tx->one.old &&
	       lone_settled(&tx->one, w.leaf, w.n, w.slot);
}

bool twzdb__one_settle(struct twzdb_txn *tx)
{
	const struct rec_pm *r = twzdb__at(tx->db, tx->one.old, sizeof(*r));

	return tx->one.home || likely(lone_by_hint(tx->db, ld64(&r->link), &tx->one)) ||
	       settle_by_tree(tx, r);
}

void twzdb__one_learn(struct twzdb_txn *tx)
{
	lone_learn(tx->db, &tx->one);
}

/* --- the general way after all --- */

/* The row is in the tree, for the accelerator found it LIVE; it may be where only search.c gets. */
static int settle_slow(struct twzdb_txn *tx, struct one *o)
{
	const struct rec_pm *r = twzdb__at(tx->db, o->old, sizeof(*r));
	struct bkey k = {r->data, rec_klen_short(r)};
	struct nref leaf;
	unsigned pos;
	bool exact;
	int slot, err = twzdb__seek(tx, o->table, k, false, &leaf, &pos, &exact, NULL);

	if (err)
		return err;
	slot = exact ? node_slot(leaf.n, pos) : -1;
	if (slot < 0 || leaf.n->ptr[slot] != o->old)
		return twzdb__corrupt(tx->db, o->old, "live row that no leaf leads to");
	o->leaf = leaf.p;
	o->slot = (uint8_t)slot;
	o->tombs = (uint8_t)(leaf.n->tombs + (o->kind == TWZDB_LREC_DEL1));
	return 0;
}

static int expand(struct twzdb_txn *tx, struct one *o)
{
	struct pnode *pn;
	int err = o->home ? 0 : settle_slow(tx, o);

	if (!err)
		err = twzdb__node_cow(tx, o->leaf, &pn);
	if (err)
		return err;
	if (o->kind == TWZDB_LREC_INS1) {
		twzdb__node_insert(&pn->img, o->pos, o->head, o->rec);
		pn->img.sts = tx->ts;
		return 0;
	}
	pn->img.ptr[o->slot] = o->rec;
	if (o->kind == TWZDB_LREC_DEL1) {
		pn->img.tombs = o->tombs;
		pn->img.sts = tx->ts;
	}
	return twzdb__rec_kill(tx, o->old);
}

int twzdb__one_expand(struct twzdb_txn *tx)
{
	struct one o;

	(void)twzdb__one_settle(tx);
	o = tx->one;
	tx->one.kind = 0;
	return twzdb__break(tx, expand(tx, &o));
}

/* --- committing --- */

/* Page media: the row itself, as it shall be (D2b). */
static size_t lone_carry(const struct rec_pm *r, uint8_t *at)
{
	size_t len = (rec_len(r) + 7) & ~(size_t)7;
	struct rec_pm *to = (struct rec_pm *)(void *)at;

	memset(at + len - 8, 0, 8);
	memcpy(at, r, rec_len(r));
	to->link = 0;
	to->vlf |= TWZDB_VLF_LIVE;
	return len;
}

/* Or what differs from a row the log can do it with (D2c). DIFF_NOT: that is too much. */
static size_t lone_ranges(struct twzdb_txn *tx, const struct rec_pm *r, struct lone_pm *l)
{
	uint8_t *at = (uint8_t *)l + TWZDB_LONE_LEN;
	uint64_t base;
	size_t len;

	if (lone_kind(l) != TWZDB_LREC_UPD1 || !twzdb__diff_may(tx->db, tx->one.rec, r))
		return DIFF_NOT;
	len = twzdb__diff_new(tx, tx->one.rec, r, &base, at + sizeof(base));
	if (len == DIFF_NOT)
		return len;
	tx->one.base = base;
	l->old |= TWZDB_LONE_RANGES;
	memcpy(at, &base, sizeof(base));
	return sizeof(base) + len;
}

int twzdb__one_commit(struct twzdb_txn *tx, uint64_t *lsn, size_t *len)
{
	struct twzdb *db = tx->db;
	const struct rec_pm *r = twzdb__at(db, tx->one.rec, sizeof(*r));
	bool carry = db->page_media;
	uint32_t vlen = rec_vlen_short(r);
	struct lone_pm *l = twz_log_stage(db->log, sizeof(*l) + (carry ? rec_len(r) + 8 : 0));
	int err;

	if (!l)
		return twzdb__from_twz(TWZ_E_NOMEM, "staging a commit record");
	*len = lone_fill(&tx->one, tx->ts, r->sum, l);
	if (unlikely(carry)) {
		size_t more = lone_ranges(tx, r, l);

		*len += more == DIFF_NOT ? lone_carry(r, (uint8_t *)l + *len) : more;
	} else {
		twz_flush(db->s, r, rec_len(r)); /* late: D2a; the fence is the append's */
	}
	if (unlikely(carry) && twz_log_can_submit(db->log, *len))
		return twzdb__stage_submit(tx, l, *len);
	err = twzdb__append_staged(db, *len, lsn); /* the commit point (D3) */
	if (err)
		return err;
	lone_apply(db, l, vlen);
	return 0;
}
