/* SPDX-License-Identifier: MIT
 * node.c -- private nodes of a write transaction: copies, new ones, and changing their entries
 *
 * Nothing here touches a live node: changes go to private images, become a log record at commit,
 * and reach the homes in apply.c only.
 */
#include "place.h"

#define CHUNK_NODES 64
#define PFX_LAG	    3  /* bytes by which a node's prefix may be shorter than it could */
#define CHUNKS_KEPT 32 /* when a transaction ends: 1 MiB */

struct chunk {
	struct chunk *next;
	void *pad;
	struct pnode n[CHUNK_NODES];
};

static struct pnode *pnode_alloc(struct twzdb_txn *tx)
{
	struct chunk *c = tx->chunk;

	if (!c || tx->chunk_used == CHUNK_NODES) { /* the next one, from the first on */
		c = c ? c->next : tx->chunks;
		if (!c) {
			c = malloc(sizeof(*c));
			if (!c)
				return NULL;
			c->next = NULL;
			if (tx->chunk)
				((struct chunk *)tx->chunk)->next = c;
			else
				tx->chunks = c;
		}
		tx->chunk = c;
		tx->chunk_used = 0;
	}
	return &c->n[tx->chunk_used++];
}

void twzdb__nodes_forget(struct twzdb_txn *tx)
{
	struct chunk *c = tx->chunks;

	for (unsigned i = 1; c && i < CHUNKS_KEPT; i++)
		c = c->next;
	if (c) {
		struct chunk *rest = c->next;

		c->next = NULL;
		while (rest) {
			c = rest->next;
			free(rest);
			rest = c;
		}
	}
	tx->levels = 0;
	tx->tail = NULL;
	tx->chunk = NULL;
	tx->chunk_used = 0;
	u64map_clear(&tx->nodes);
	u64vec_clear(&tx->pnodes);
}

static int pnode_add(struct twzdb_txn *tx, uint64_t p, enum pnode_state state, struct pnode **out)
{
	struct pnode *pn = pnode_alloc(tx);
	int err;

	*out = NULL;
	if (!pn)
		return twzdb__err(-ENOMEM, "no memory for a private node");
	pn->p = p;
	pn->mask = 0;
	pn->diff = false;
	pn->seq = tx->sp_open ? twzdb__sp_seq(tx) : 0;
	pn->state = state;
	err = u64vec_push(&tx->pnodes, (uint64_t)(uintptr_t)pn);
	if (!err)
		err = u64map_put(&tx->nodes, p, (uint64_t)(uintptr_t)pn);
	if (err) {
		pn->state = PN_GONE;
		return twzdb__err(err, "no memory for a private node");
	}
	*out = pn;
	return 0;
}

struct pnode *twzdb__node_private(struct twzdb_txn *tx, uint64_t p)
{
	uint64_t v;

	if (u64map_get(&tx->nodes, p, &v))
		return (struct pnode *)(uintptr_t)v;
	if (unlikely(tx->view))
		return twzdb__view_node(tx, p);
	return unlikely(tx->db->stage.nodes.cnt) ? twzdb__stage_node(tx->db, p) : NULL;
}

struct nref twzdb__node_ref(const struct pnode *pn)
{
	struct nref r = {&pn->img, pn->p, pn->img.ver};

	return r;
}

int twzdb__node_new(struct twzdb_txn *tx, unsigned level, struct pnode **out)
{
	struct node_pm *n;
	int err;

	assert(tx->stock.cnt);
	err = pnode_add(tx, tx->stock.v[tx->stock.cnt - 1], PN_NEW, out);
	if (err)
		return err;
	tx->stock.cnt--;
	tx->levels |= (uint64_t)1 << level;
	n = &(*out)->img;
	memset(n, 0, sizeof(*n));
	n->level = (uint8_t)level;
	n->flags = TWZDB_NODE_LIVE;
	for (unsigned i = 0; i < TWZDB_FANOUT; i++) {
		n->perm[i] = (uint8_t)i;
		n->head[i] = UINT64_MAX;
	}
	return 0;
}

/* As it is stored (apply.h): somebody may look who finds out later that it was changed meanwhile (fast_one.h). */
static void load_perm(const struct node_pm *n, uint8_t *perm)
{
	const uint64_t *at = (const uint64_t *)(const void *)n->perm;
	uint64_t w[TWZDB_FANOUT / 8];
	uint32_t rest = ld32((const uint32_t *)(const void *)(at + TWZDB_FANOUT / 8));

	for (unsigned i = 0; i < TWZDB_FANOUT / 8; i++)
		w[i] = ld64(at + i);
	memcpy(perm, w, sizeof(w));
	memcpy(perm + sizeof(w), &rest, sizeof(rest));
}

/*
 * Entries come from media: what a writer will index with must be in range (D4: apply cannot
 * fail, so the plan looks).
 */
bool twzdb__node_sound(const struct node_pm *n)
{
	uint32_t seen = 0, any = 0;
	uint8_t perm[TWZDB_FANOUT];

	load_perm(n, perm);
	for (unsigned i = 0; i < TWZDB_FANOUT; i++) {
		seen |= (uint32_t)1 << (perm[i] & 31);
		any |= perm[i];
	}
	return __atomic_load_n(&n->n, __ATOMIC_RELAXED) <= TWZDB_FANOUT &&
	       __atomic_load_n(&n->level, __ATOMIC_RELAXED) <= TWZDB_LEVEL_MAX && any < 32 &&
	       seen == ((uint32_t)1 << TWZDB_FANOUT) - 1;
}

const struct node_pm *twzdb__node_base(struct twzdb *db, uint64_t p)
{
	const struct pnode *pn = unlikely(db->stage.nodes.cnt) ? twzdb__stage_node(db, p) : NULL;

	if (unlikely(pn))
		return pn->state == PN_STAGED ? &pn->img : NULL;
	return p & (TWZDB_NODE_LEN - 1) ? NULL : twzdb__at(db, p, TWZDB_NODE_LEN);
}

static int cow_home(struct twzdb_txn *tx, uint64_t p, struct pnode **out)
{
	const struct node_pm *home = twzdb__node_base(tx->db, p);
	int err;

	if (!home || !twzdb__node_sound(home) || !twzdb__is_node(tx->db, p))
		return twzdb__corrupt(tx->db, p,
				      "not a node, or its level, count or permutation is not one");
	err = pnode_add(tx, p, PN_COPY, out);
	if (err)
		return err;
	twzdb__node_copy(&(*out)->img, home);
	tx->levels |= (uint64_t)1 << home->level;
	return 0;
}

int twzdb__node_cow_words(struct twzdb_txn *tx, uint64_t p, struct pnode **out)
{
	*out = twzdb__node_private(tx, p);
	if (!*out || (*out)->state == PN_STAGED)
		return cow_home(tx, p, out);
	if ((*out)->state != PN_COPY && (*out)->state != PN_NEW)
		return twzdb__corrupt(tx->db, p, "tree leads to a node twice");
	return unlikely(tx->sp_open) ? twzdb__sp_node(tx, *out) : 0;
}

int twzdb__node_cow(struct twzdb_txn *tx, uint64_t p, struct pnode **out)
{
	int err = twzdb__node_cow_words(tx, p, out);

	if (!err)
		(*out)->diff = true;
	return err;
}

int twzdb__node_die(struct twzdb_txn *tx, uint64_t p, bool dropped)
{
	struct pnode *pn = twzdb__node_private(tx, p);
	enum pnode_state state = dropped ? PN_DROP : PN_DEAD;

	if (pn && pn->state == PN_STAGED)
		pn = NULL;
	if (!pn && !twzdb__is_node(tx->db, p))
		return twzdb__corrupt(tx->db, p, "pointer to a node names no node block");
	if (!pn) {
		tx->levels = UINT64_MAX; /* which one does not matter enough to look */
		return pnode_add(tx, p, state, &pn);
	}
	if (unlikely(tx->sp_open) && twzdb__sp_node(tx, pn))
		return -ENOMEM;
	pn->state = pn->state == PN_NEW || pn->state == PN_GONE ? PN_GONE : state;
	return 0;
}

void twzdb__node_insert(struct node_pm *n, unsigned pos, uint64_t head, uint64_t ptr)
{
	uint8_t slot = n->perm[n->n];

	assert(n->n < TWZDB_FANOUT && pos <= n->n);
	memmove(n->perm + pos + 1, n->perm + pos, n->n - pos);
	n->perm[pos] = slot;
	n->head[slot] = head;
	n->ptr[slot] = ptr;
	n->n++;
}

void twzdb__node_remove(struct node_pm *n, unsigned pos)
{
	uint8_t slot = n->perm[pos];

	assert(pos < n->n);
	n->n--;
	memmove(n->perm + pos, n->perm + pos + 1, n->n - pos);
	n->perm[n->n] = slot;
	n->head[slot] = UINT64_MAX;
	n->ptr[slot] = 0;
}

void twzdb__ents_get(const struct node_pm *n, struct ents *e)
{
	e->n = n->n;
	e->pfx = node_pfx(n);
	for (unsigned i = 0; i < n->n; i++) {
		e->ptr[i] = n->ptr[n->perm[i]];
		e->head[i] = n->head[n->perm[i]];
	}
}

int twzdb__node_pfx(struct twzdb_txn *tx, const struct node_pm *n, uint32_t *pfx)
{
	struct bkey lo, hi;
	uint64_t hif;
	int err;

	*pfx = 0;
	if (!n->next || !n->lof)
		return 0;
	err = twzdb__node_lof(tx, n->next, &hif);
	if (!err)
		err = twzdb__fence_key(tx, n->lof, &lo);
	if (!err)
		err = twzdb__fence_key(tx, hif, &hi);
	if (!err)
		*pfx = twzdb__lcp(lo, hi);
	return err;
}

/* N's fences are final: they decide the prefix, and with it the heads. E has the old ones, in the order of N's entries. */
static int set_pfx(struct twzdb_txn *tx, struct node_pm *n, const struct ents *e, unsigned from)
{
	struct nref r = {n, 0, n->ver};
	uint32_t pfx;
	struct bkey k;
	int err = twzdb__node_pfx(tx, n, &pfx);

	if (err)
		return err;
	node_pfx_set(n, pfx);
	for (unsigned i = 0; i < n->n; i++) {
		n->head[n->perm[i]] = e->head[from + i];
		if (pfx == e->pfx)
			continue;
		err = twzdb__entry_key(tx, &r, n->perm[i], &k);
		if (err)
			return err;
		n->head[n->perm[i]] = twzdb__head(k, pfx);
	}
	return 0;
}

/* N gets the entries [FROM, TO) of E, in order. */
static void ents_put(struct node_pm *n, const struct ents *e, unsigned from, unsigned to)
{
	assert(to - from <= TWZDB_FANOUT);
	n->n = (uint8_t)(to - from);
	for (unsigned i = 0; i < TWZDB_FANOUT; i++) {
		bool used = i < n->n;

		n->perm[i] = (uint8_t)i;
		n->ptr[i] = used ? e->ptr[from + i] : 0;
		n->head[i] = used ? e->head[from + i] : UINT64_MAX;
	}
}

int twzdb__ents_build(struct twzdb_txn *tx, struct node_pm *n, const struct ents *e, unsigned from,
		      unsigned to)
{
	ents_put(n, e, from, to);
	return set_pfx(tx, n, e, from);
}

/*
 * A part of a node may have a longer prefix than all of it. To use it, the keys must be read, whose lines are cold:
 * only if the heads have few bytes left that tell them apart.
 */
static bool pfx_stays(const struct ents *e, unsigned from, unsigned to)
{
	uint64_t differ = e->head[from] ^ e->head[to - 1];

	return e->pfx != UINT32_MAX && differ && __builtin_clzll(differ) / 8 < PFX_LAG;
}

int twzdb__ents_right(struct twzdb_txn *tx, struct node_pm *n, const struct ents *e, unsigned cut)
{
	ents_put(n, e, cut, e->n);
	node_pfx_set(n, e->pfx);
	return pfx_stays(e, cut, e->n) ? 0 : set_pfx(tx, n, e, cut);
}

/* Entries stay in their slots: what does not change need not be logged, nor flushed. */
int twzdb__ents_left(struct twzdb_txn *tx, struct node_pm *n, const struct ents *e, unsigned pos,
		     unsigned cut)
{
	while (n->n > cut - (pos < cut))
		twzdb__node_remove(n, n->n - 1U);
	if (pos < cut)
		twzdb__node_insert(n, pos, e->head[pos], e->ptr[pos]);
	return pfx_stays(e, 0, cut) ? 0 : set_pfx(tx, n, e, 0);
}
