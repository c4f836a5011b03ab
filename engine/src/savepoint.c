/* SPDX-License-Identifier: MIT
 * savepoint.c -- nested write transactions: going back to a marked state of the private changes
 *
 * Everything a writer changes before its commit is private: node images, root words, reserved
 * records, lists of what dies. A savepoint is a set of marks in these lists, and this file an undo
 * log for what is not a list:
 *
 *	node	its image and state, saved when it changes for the first time since the innermost
 *		savepoint (pnode.seq says for which one it was saved last)
 *	word	its value before the change, or that there was none
 *	record	nothing: a record made before the innermost savepoint is not overwritten in place,
 *		and not given back when it is superseded, only noted (kills), until no open savepoint
 *		is younger than it
 *
 *	  savepoint --> n open --rollback_to(k)--> k open, state as when k was made
 *	                   `-----release(k)------> k - 1 open, state as it is
 *
 * Releasing joins the innermost's undo entries to the ones before: going back further undoes both.
 * What those have already is dropped, so that many small savepoints in a large one cost no more
 * than it does.
 * Nothing on media knows about savepoints.
 */
#include "internal.h"

struct mark {
	uint64_t seq; /* greater than that of every savepoint before, in this transaction */
	bool clean;   /* nothing had been changed */
	size_t recs, dead, drops, tombs, pnodes, kills, nodes, words;
	uint64_t splits, merges;
	void *chunk; /* where the memory of private nodes ended */
	uint32_t chunk_used;
};

struct saved_node {
	struct pnode *pn;
	struct pnode was;
};

struct saved_word {
	uint64_t where, was;
	bool there;
};

struct savepoints {
	struct mark *v; /* tx->sp_open of them are in use */
	uint32_t cap;
	uint64_t next_seq;
	struct saved_node *nodes;
	size_t node_cnt, node_cap;
	struct saved_word *words;
	size_t word_cnt, word_cap;
	struct u64vec kills; /* own records superseded that going back may want again */
	struct u64map made;  /* own records -> seq of the savepoint they were made under */
};

/* Room for one more of SIZE bytes in *V. */
static int grow(void **v, size_t cnt, size_t *cap, size_t size)
{
	size_t n = *cap ? *cap * 2 : 16;
	void *mem;

	if (cnt < *cap)
		return 0;
	mem = realloc(*v, n * size);
	if (!mem)
		return twzdb__err(-ENOMEM, "no memory for a savepoint");
	*v = mem;
	*cap = n;
	return 0;
}

/* --- what the writer tells before it changes something --- */

int twzdb__sp_node(struct twzdb_txn *tx, struct pnode *pn)
{
	struct savepoints *sp = tx->sp;
	uint64_t seq = sp->v[tx->sp_open - 1].seq;
	int err;

	if (pn->seq >= seq)
		return 0;
	err = grow((void **)&sp->nodes, sp->node_cnt, &sp->node_cap, sizeof(*sp->nodes));
	if (err)
		return err;
	sp->nodes[sp->node_cnt++] = (struct saved_node){pn, *pn};
	pn->seq = seq;
	return 0;
}

uint64_t twzdb__sp_seq(const struct twzdb_txn *tx)
{
	return tx->sp->v[tx->sp_open - 1].seq;
}

int twzdb__sp_word(struct twzdb_txn *tx, uint64_t where)
{
	struct savepoints *sp = tx->sp;
	struct saved_word *w;
	int err = grow((void **)&sp->words, sp->word_cnt, &sp->word_cap, sizeof(*sp->words));

	if (err)
		return err;
	w = &sp->words[sp->word_cnt++];
	*w = (struct saved_word){.where = where};
	w->there = u64map_get(&tx->words, where, &w->was);
	return 0;
}

int twzdb__sp_rec(struct twzdb_txn *tx, uint64_t p)
{
	int err = u64map_put(&tx->sp->made, p, twzdb__sp_seq(tx));

	return err ? twzdb__err(err, "no memory for a savepoint") : 0;
}

bool twzdb__sp_old(const struct twzdb_txn *tx, uint64_t p)
{
	uint64_t seq;

	return !u64map_get(&tx->sp->made, p, &seq) || seq < twzdb__sp_seq(tx);
}

int twzdb__sp_kill(struct twzdb_txn *tx, uint64_t p)
{
	int err = u64vec_push(&tx->sp->kills, p);

	return err ? twzdb__err(err, "no memory for a savepoint") : 0;
}

/* --- the end of savepoints --- */

/* Nothing goes back any more: what was superseded may go. */
static void settle(struct twzdb_txn *tx)
{
	struct savepoints *sp = tx->sp;

	for (size_t i = 0; i < sp->kills.cnt; i++)
		twzdb__rec_unreserve(tx, sp->kills.v[i]);
	sp->kills.cnt = 0;
	sp->node_cnt = sp->word_cnt = 0;
	u64map_clear(&sp->made);
}

void twzdb__sp_end(struct twzdb_txn *tx)
{
	struct savepoints *sp = tx->sp;

	if (!sp)
		return;
	settle(tx);
	u64vec_free(&sp->kills);
	u64map_free(&sp->made);
	free(sp->nodes);
	free(sp->words);
	free(sp->v);
	free(sp);
	tx->sp = NULL;
	tx->sp_open = 0;
}

/* --- public --- */

static int sp_make(struct twzdb_txn *tx)
{
	struct savepoints *sp = tx->sp;
	size_t cap;
	int err;

	if (!sp) {
		sp = tx->sp = calloc(1, sizeof(*sp));
		if (!sp)
			return twzdb__err(-ENOMEM, "no memory for a savepoint");
	}
	cap = sp->cap;
	err = grow((void **)&sp->v, tx->sp_open, &cap, sizeof(*sp->v));
	if (err)
		return err;
	sp->cap = (uint32_t)cap;
	sp->v[tx->sp_open++] =
		(struct mark){++sp->next_seq, tx->mods == tx->mods0, tx->recs.cnt,   tx->dead.cnt,
			      tx->drops.cnt,  tx->tombs.cnt,	     tx->pnodes.cnt, sp->kills.cnt,
			      sp->node_cnt,   sp->word_cnt,	     tx->splits,     tx->merges,
			      tx->chunk,      tx->chunk_used};
	return 0;
}

int twzdb_savepoint(struct twzdb_txn *tx, uint32_t *id)
{
	int err;

	if (!id)
		return twzdb__err(TWZDB_E_INVAL, "savepoint: no place for the number");
	*id = 0;
	err = twzdb__txn_use(tx, "savepoint", true);
	if (!err && tx->one.kind)
		err = twzdb__one_expand(tx);
	if (!err)
		err = twzdb__runs_expand(tx);
	if (!err)
		err = sp_make(tx);
	if (!err)
		*id = tx->sp_open;
	return err;
}

/* A savepoint of a transaction that may be broken: going back mends it. */
static int check_id(struct twzdb_txn *tx, uint32_t id, const char *what)
{
	int err = twzdb__txn_enter(tx, what);

	if (err)
		return err;
	if (!tx->writer)
		return twzdb__err(TWZDB_E_READONLY, "%s: a read transaction", what);
	if (!id || id > tx->sp_open)
		return twzdb__err(TWZDB_E_INVAL, "%s: savepoint %u, but %u are open", what, id,
				  tx->sp_open);
	return 0;
}

static void undo_words(struct twzdb_txn *tx, size_t keep)
{
	struct savepoints *sp = tx->sp;

	while (sp->word_cnt > keep) {
		const struct saved_word *w = &sp->words[--sp->word_cnt];

		if (w->there)
			*u64map_at(&tx->words, w->where) = w->was;
		else
			u64map_del(&tx->words, w->where);
	}
}

static void undo_nodes(struct twzdb_txn *tx, const struct mark *m)
{
	struct savepoints *sp = tx->sp;

	while (sp->node_cnt > m->nodes) {
		const struct saved_node *s = &sp->nodes[--sp->node_cnt];

		*s->pn = s->was;
	}
	/* Private since then: as if never seen. New ones' blocks are simply free. */
	while (tx->pnodes.cnt > m->pnodes) {
		struct pnode *pn = (struct pnode *)(uintptr_t)tx->pnodes.v[--tx->pnodes.cnt];

		u64map_del(&tx->nodes, pn->p);
		if (pn->state == PN_NEW || pn->state == PN_GONE)
			twzdb__hint_free(tx->db, pn->p);
	}
	/* Their memory is used again: they were made in this order. */
	tx->chunk = m->chunk;
	tx->chunk_used = m->chunk_used;
	tx->tail = NULL;
	tx->put = NULL;
}

static void undo_recs(struct twzdb_txn *tx, const struct mark *m)
{
	while (tx->recs.cnt > m->recs)
		twzdb__rec_unreserve(tx, tx->recs.v[--tx->recs.cnt]);
	tx->sp->kills.cnt = m->kills;
}

int twzdb_rollback_to(struct twzdb_txn *tx, uint32_t id)
{
	const struct mark *m;
	int err = check_id(tx, id, "rollback_to");

	if (err)
		return err;
	m = &tx->sp->v[id - 1];
	undo_words(tx, m->words);
	undo_nodes(tx, m);
	undo_recs(tx, m);
	tx->dead.cnt = m->dead;
	tx->drops.cnt = m->drops;
	tx->tombs.cnt = m->tombs;
	tx->splits = m->splits;
	tx->merges = m->merges;
	tx->broken = 0;
	tx->use.h = 0;
	tx->mods++; /* cursors look again */
	if (m->clean)
		tx->mods0 = tx->mods;
	tx->sp_open = id;
	return 0;
}

/* Of what was superseded since KEEP, what is younger than all open savepoints nobody wants again. */
static void drop_kills(struct twzdb_txn *tx, size_t keep)
{
	struct u64vec *kills = &tx->sp->kills;
	size_t to = keep;

	for (size_t i = keep; i < kills->cnt; i++)
		if (twzdb__sp_old(tx, kills->v[i]))
			kills->v[to++] = kills->v[i];
		else
			twzdb__rec_unreserve(tx, kills->v[i]);
	kills->cnt = to;
}

/* Of the images saved since KEEP, those of nodes the innermost savepoint has an older image of. */
static void drop_nodes(struct twzdb_txn *tx, size_t keep)
{
	struct savepoints *sp = tx->sp;
	size_t to = keep;

	for (size_t i = keep; i < sp->node_cnt; i++)
		if (sp->nodes[i].was.seq < twzdb__sp_seq(tx))
			sp->nodes[to++] = sp->nodes[i];
	sp->node_cnt = to;
}

int twzdb_release(struct twzdb_txn *tx, uint32_t id)
{
	int err = check_id(tx, id, "release");

	if (!err && tx->broken)
		err = twzdb__txn_use(tx, "release", true);
	if (err)
		return err;
	tx->sp_open = id - 1;
	if (tx->sp_open) {
		drop_kills(tx, tx->sp->v[id - 1].kills);
		drop_nodes(tx, tx->sp->v[id - 1].nodes);
	} else {
		settle(tx);
	}
	return 0;
}
