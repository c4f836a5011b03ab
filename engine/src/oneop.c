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
#include "internal.h"

/* --- noting --- */

bool twzdb__one_possible(const struct twzdb_txn *tx)
{
	return tx->mods == tx->mods0 && !tx->sp_open && !tx->broken && !tx->recs.cnt && !tx->pnodes.cnt &&
	       !tx->dead.cnt && !tx->words.cnt;
}

/* The leaf is home, and what we are going to index with is in range (D4). */
static struct node_pm *home_leaf(struct twzdb_txn *tx, const struct nref *leaf)
{
	struct node_pm *n = twzdb__at(tx->db, leaf->p, TWZDB_NODE_LEN);

	return n == leaf->n && twzdb__node_sound(n) && twzdb__is_node(tx->db, leaf->p) ? n : NULL;
}

bool twzdb__one_replace(struct twzdb_txn *tx, const struct nref *leaf, unsigned pos, uint64_t rec,
			uint64_t old, bool tomb)
{
	struct node_pm *n = home_leaf(tx, leaf);

	if (!n || !twzdb__is_rec(tx->db, old))
		return false; /* the general way says what is wrong */
	tx->one = (struct one){tomb ? TWZDB_LREC_DEL1 : TWZDB_LREC_UPD1,
			       n->perm[pos],
			       (uint8_t)pos,
			       (uint8_t)(n->tombs + tomb),
			       leaf->p,
			       rec,
			       old,
			       0,
			       n};
	tx->mods++;
	return true;
}

bool twzdb__one_insert(struct twzdb_txn *tx, const struct nref *leaf, unsigned pos, uint64_t rec,
		       uint64_t head)
{
	struct node_pm *n = home_leaf(tx, leaf);

	if (!n || n->n >= TWZDB_FANOUT || pos > n->n)
		return false;
	tx->one = (struct one){
		TWZDB_LREC_INS1, n->perm[n->n], (uint8_t)pos, n->tombs, leaf->p, rec, 0, head, n};
	tx->mods++;
	return true;
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
		twz_flush(db->s, r, rec_len(r)); /* late: D2a; the fence is the append's */
	err = twzdb__append_staged(db, len, lsn); /* the commit point (D3) */
	if (err)
		return err;
	twzdb__apply_begin(db->sh);
	twzdb__apply_one(db, l, len, true);
	twzdb__apply_end(db->sh);
	return 0;
}
