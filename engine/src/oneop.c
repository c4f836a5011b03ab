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
#include "accel.h"
#include "place.h"

/* --- noting --- */

/* Has the transaction changed nothing yet? */
static bool is_clean(const struct twzdb_txn *tx)
{
	return tx->mods == tx->mods0 && !tx->sp_open && !tx->broken && !tx->recs.cnt &&
	       !tx->pnodes.cnt && !tx->dead.cnt && !tx->words.cnt;
}

/*
 * The leaf as the row itself remembers it. A live leaf that holds the pointer is the leaf: a record
 * stands in one leaf only. (Leaves split and merge, and nobody tells their rows.)
 */
static bool leaf_by_hint(struct twzdb *db, struct place *w)
{
	struct stop s;
	uint32_t slots;

	w->leaf = ld64(&w->r->link);
	if (!w->leaf || !twzdb__is_node(db, w->leaf))
		return false;
	w->n = twzdb__at(db, w->leaf, TWZDB_NODE_LEN);
	if (!w->n || !arrive(w->n, &s) || HDR_LEVEL(s.hdr))
		return false;
	slots = twzdb__heads(w->n->ptr, w->old).eq; /* 28 words are 28 words */
	w->slot = slots ? (unsigned)__builtin_ctz(slots) : 0;
	return slots;
}

/* False: the general way. */
static bool find_place(struct twzdb_txn *tx, uint64_t table, struct place *w)
{
	struct twzdb *db = tx->db;
	struct stop s;
	uint64_t root;
	int err;

	w->tag = twzdb__tag_of(db, table);
	w->acc = db->acc.max && w->tag != TWZDB_TAG_NONE;
	w->old = 0;
	if (w->acc) {
		w->hash = acc_hash(w->tag, w->k);
		w->old = acc_find(db, w->tag, w->k, w->hash, &w->r);
		if (w->old && leaf_by_hint(db, w))
			return true;
	}
	root = twzdb__table_root(tx, table, &err);
	return root && !tx->levels && leaf_by_root(tx, root, w, &s) && place_in_leaf(db, &s, w);
}

/* The slot a row inserted at POS gets; -1: the leaf is full, or not one (D10). */
static int free_slot(struct twzdb *db, const struct place *w)
{
	if (w->n->n >= TWZDB_FANOUT || w->pos > w->n->n || !twzdb__node_sound(w->n) ||
	    !twzdb__is_node(db, w->leaf))
		return -1;
	return w->n->perm[w->n->n];
}

static void note(struct twzdb_txn *tx, const struct place *w, unsigned kind, uint64_t rec)
{
	tx->one = (struct one){(uint8_t)kind,
			       (uint8_t)w->slot,
			       (uint8_t)w->pos,
			       (uint8_t)(w->n->tombs + (kind == TWZDB_LREC_DEL1)),
			       w->acc,
			       w->leaf,
			       rec,
			       w->old,
			       w->head,
			       w->hash,
			       w->n};
	tx->mods++;
}

int twzdb__one_put(struct twzdb_txn *tx, uint64_t table, struct bkey key, const void *value,
		   uint32_t vlen, uint32_t put_flags)
{
	struct place w = {.k = key};
	struct rec_pm *rec;
	uint64_t p;
	int err;

	if (!is_clean(tx))
		return 1;
	twzdb__alloc_soon(tx->db, twzdb__class_of(rec_len_of(key.len, vlen, TWZDB_ROW)));
	if (!find_place(tx, table, &w) || (w.old && rec_is_tomb(w.r)))
		return 1;
	/* Replay refuses such a count: damage to one leaf must not make the log unusable. */
	if (w.n->tombs > TWZDB_FANOUT)
		return 1;
	if (w.old ? put_flags & (TWZDB_INSERT | TWZDB_APPEND)
		  : put_flags & (TWZDB_UPDATE | TWZDB_APPEND))
		return 1;
	if (!w.old) {
		int slot = free_slot(tx->db, &w);

		if (slot < 0)
			return 1;
		w.slot = (unsigned)slot;
	}
	err = twzdb__rec_new(tx, w.tag, key, value, vlen, w.old, TWZDB_ROW, &p, &rec);
	if (!err)
		note(tx, &w, w.old ? TWZDB_LREC_UPD1 : TWZDB_LREC_INS1, p);
	return err;
}

int twzdb__one_del(struct twzdb_txn *tx, uint64_t table, struct bkey key)
{
	struct place w = {.k = key};
	struct rec_pm *rec;
	uint64_t p;
	int err;

	if (!is_clean(tx))
		return 1;
	twzdb__alloc_soon(tx->db, twzdb__class_of(rec_len_of(key.len, 0, TWZDB_TOMB)));
	if (!find_place(tx, table, &w) || !w.old || rec_is_tomb(w.r) || w.n->tombs >= TWZDB_FANOUT)
		return 1;
	err = twzdb__rec_new(tx, w.tag, key, NULL, 0, w.old, TWZDB_TOMB, &p, &rec);
	if (err)
		return err;
	err = twzdb__tomb_note(tx, table, p);
	if (err) { /* or the commit would name it */
		twzdb__rec_unreserve(tx, p);
		return twzdb__err(err, "no memory for a list of tombstones");
	}
	note(tx, &w, TWZDB_LREC_DEL1, p);
	return 0;
}

/* After the commit is published. */
void twzdb__one_learn(struct twzdb_txn *tx)
{
	const struct one *o = &tx->one;

	if (o->acc && o->old)
		twzdb__acc_replace(tx->db, o->hash, o->old, o->rec);
	else if (o->acc)
		twzdb__acc_put(tx->db, o->hash, o->rec);
}

/* --- the general way after all --- */

static int expand(struct twzdb_txn *tx, const struct one *o)
{
	struct pnode *pn;
	int err = twzdb__node_cow(tx, o->leaf, &pn);

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
	struct one o = tx->one;

	tx->one.kind = 0;
	return twzdb__break(tx, expand(tx, &o));
}

/* --- committing --- */

static size_t lone_fill(struct twzdb_txn *tx, const struct rec_pm *r, struct lone_pm *l)
{
	const struct one *o = &tx->one;

	l->magic = TWZDB_LONE_MAGIC | (uint32_t)o->kind << 24;
	l->sum = r->sum;
	l->ts = tx->ts;
	l->leaf = o->leaf | (uint64_t)o->slot << TWZDB_LONE_SHIFT;
	l->rec = o->rec | (uint64_t)o->tombs << TWZDB_LONE_SHIFT;
	if (o->kind != TWZDB_LREC_INS1) {
		l->old = o->old;
		return TWZDB_LONE_LEN;
	}
	memcpy(l->ins.perm, o->home->perm, sizeof(l->ins.perm));
	memmove(l->ins.perm + o->pos + 1, l->ins.perm + o->pos, o->home->n - o->pos);
	l->ins.perm[o->pos] = o->slot;
	l->ins.n = (uint8_t)(o->home->n + 1);
	memset(l->ins.zero, 0, sizeof(l->ins.zero));
	l->ins.head = o->head;
	return sizeof(*l);
}

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

int twzdb__one_commit(struct twzdb_txn *tx, uint64_t *lsn)
{
	struct twzdb *db = tx->db;
	const struct rec_pm *r = twzdb__at(db, tx->one.rec, sizeof(*r));
	bool carry = db->page_media;
	size_t len;
	struct lone_pm *l = twz_log_stage(db->log, sizeof(*l) + (carry ? rec_len(r) + 8 : 0));
	int err;

	if (!l)
		return twzdb__from_twz(TWZ_E_NOMEM, "staging a commit record");
	len = lone_fill(tx, r, l);
	if (carry)
		len += lone_carry(r, (uint8_t *)l + len);
	else
		twz_flush(db->s, r, rec_len(r));  /* late: D2a; the fence is the append's */
	err = twzdb__append_staged(db, len, lsn); /* the commit point (D3) */
	if (err)
		return err;
	twzdb__apply_begin(db->sh);
	twzdb__apply_one(db, l, len, true);
	twzdb__apply_end(db->sh);
	return 0;
}
