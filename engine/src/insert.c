/* SPDX-License-Identifier: MIT
 * insert.c -- put: find, plan, change in private; splitting from the leaf up
 *
 * prepare   reserve the record, the node blocks a split may need, the fence block (may fail: nothing changed)
 * change    private images only; a failure here (memory, corrupt media) breaks the transaction, never the tree
 * publish   commit.c
 */
#include "place.h"

int twzdb__break(struct twzdb_txn *tx, int err)
{
	if (err && !tx->broken)
		tx->broken = err;
	return err;
}

int twzdb__set_root(struct twzdb_txn *tx, uint64_t table, uint64_t root)
{
	uint64_t where = table + offsetof(struct table_pm, root);
	int err = unlikely(tx->sp_open) ? twzdb__sp_word(tx, where) : 0;

	if (!err)
		err = u64map_put(&tx->words, where, root);
	return err ? twzdb__err(err, "no memory for a root change") : 0;
}

unsigned twzdb__plan_split(unsigned n, unsigned pos, bool last)
{
	/* Rows that arrive in key order leave full nodes behind. */
	if (last && pos == n)
		return n;
	return (n + 1) / 2;
}

/* Shortest key that separates A < B: the rest of B would only cost space. */
static struct bkey separator(struct bkey a, struct bkey b)
{
	struct bkey s = {b.p, twzdb__lcp(a, b) + 1};

	return s;
}

/*
 * The same by heads A < B alone, their rows' lines being cold: KEY belongs to the same node, so it begins as they
 * do. The byte where B is greater is not 0, so B is as long as that.
 */
static struct bkey separator_of_heads(uint64_t a, uint64_t b, uint32_t pfx, struct bkey key,
				      uint8_t *buf)
{
	unsigned len = (unsigned)__builtin_clzll(a ^ b) / 8 + 1;
	uint64_t be = __builtin_bswap64(b);

	memcpy(buf, key.p, pfx);
	memcpy(buf + pfx, &be, len);
	return (struct bkey){buf, pfx + len};
}

/*
 * The fence a split at CUT gives its right node: a fresh key block for leaves, the first child's
 * for inner nodes.
 */
static int split_fence(struct twzdb_txn *tx, const struct ents *e, unsigned cut, unsigned level,
		       struct bkey key, uint64_t *lof)
{
	uint8_t buf[TWZDB_KEY_SHORT];
	const struct rec_pm *a, *b;
	struct rec_pm *rec;
	struct bkey sep;
	int err;

	if (level)
		return twzdb__node_lof(tx, e->ptr[cut], lof);
	if (e->head[cut - 1] < e->head[cut] && e->pfx <= key.len && e->pfx + 8 <= sizeof(buf)) {
		sep = separator_of_heads(e->head[cut - 1], e->head[cut], e->pfx, key, buf);
		return twzdb__rec_new(tx, 0, sep, NULL, 0, 0, TWZDB_FENCE, lof, &rec);
	}
	err = twzdb__rec_at(tx->db, e->ptr[cut - 1], &a);
	if (!err)
		err = twzdb__rec_at(tx->db, e->ptr[cut], &b);
	if (err)
		return err;
	sep = separator(rec_bkey(a), rec_bkey(b));
	if (sep.len > rec_klen(b))
		return twzdb__corrupt(tx->db, e->ptr[cut], "keys of a leaf out of order");
	return twzdb__rec_new(tx, 0, sep, NULL, 0, 0, TWZDB_FENCE, lof, &rec);
}

static int new_root(struct twzdb_txn *tx, uint64_t table, unsigned level, uint64_t left,
		    uint64_t right, struct bkey sep)
{
	struct pnode *root;
	int err = level > TWZDB_LEVEL_MAX ? twzdb__err(TWZDB_E_NOSPC, "tree too high")
					  : twzdb__node_new(tx, level, &root);

	if (err)
		return err;
	twzdb__node_insert(&root->img, 0, 0, left);
	twzdb__node_insert(&root->img, 1, twzdb__head(sep, 0), right);
	return twzdb__set_root(tx, table, root->p);
}

static uint8_t count_tombs(struct twzdb_txn *tx, const struct node_pm *n, int *err)
{
	const struct rec_pm *r;
	uint8_t cnt = 0;

	for (unsigned i = 0; i < n->n && !*err; i++) {
		*err = twzdb__rec_at(tx->db, n->ptr[n->perm[i]], &r);
		cnt = (uint8_t)(cnt + (!*err && rec_is_tomb(r)));
	}
	return cnt;
}

/*
 * Left keeps [0, CUT), right gets the rest and stands between left and its old sibling. POS is where the new entry
 * stands in E; left has all others.
 */
static int split_apply(struct twzdb_txn *tx, struct pnode *left, struct pnode *right,
		       struct ents *e, unsigned pos, unsigned cut, uint64_t lof)
{
	bool tombs = left->img.tombs;
	int err;

	right->img.lof = lof;
	right->img.next = left->img.next;
	right->img.sts = left->img.sts;
	left->img.next = right->p;
	err = twzdb__ents_right(tx, &right->img, e, cut);
	if (!err)
		err = twzdb__ents_left(tx, &left->img, e, pos, cut);
	if (tombs && !err) {
		left->img.tombs = count_tombs(tx, &left->img, &err);
		right->img.tombs = count_tombs(tx, &right->img, &err);
	}
	tx->splits++;
	tx->moved |= !left->img.level;
	return err;
}

void twzdb__tail_set(struct twzdb_txn *tx, uint64_t table, struct pnode *pn)
{
	tx->tail = pn;
	tx->tail_table = table;
	tx->tail_mods = tx->mods;
}

static void put_in_leaf(struct twzdb_txn *tx, uint64_t table, struct pnode *pn, unsigned pos,
			uint64_t head, uint64_t rec)
{
	pn->mask |= NODE_ROW(pn->img.perm[pn->img.n]);
	pn->img.sts = tx->ts;
	twzdb__node_insert(&pn->img, pos, head, rec);
	if (pos + 1U == pn->img.n && !pn->img.next)
		twzdb__tail_set(tx, table, pn);
}

static int insert_at(struct twzdb_txn *tx, uint64_t table, struct path *path, int level,
		     unsigned pos, struct bkey key, uint64_t ptr);

static int split_insert(struct twzdb_txn *tx, uint64_t table, struct path *path, int level,
			struct pnode *left, unsigned pos, struct bkey key, uint64_t ptr)
{
	struct ents e;
	struct pnode *right;
	struct bkey sep;
	uint64_t lof;
	unsigned cut = twzdb__plan_split(left->img.n, pos, !left->img.next);
	int err;

	twzdb__ents_get(&left->img, &e);
	memmove(e.ptr + pos + 1, e.ptr + pos, (e.n - pos) * sizeof(e.ptr[0]));
	memmove(e.head + pos + 1, e.head + pos, (e.n - pos) * sizeof(e.head[0]));
	e.ptr[pos] = ptr;
	e.head[pos] = twzdb__head(key, e.pfx);
	e.n++;
	err = split_fence(tx, &e, cut, (unsigned)level, key, &lof);
	if (!err)
		err = twzdb__node_new(tx, (unsigned)level, &right);
	if (!err)
		err = split_apply(tx, left, right, &e, pos, cut, lof);
	if (!err)
		err = twzdb__fence_key(tx, lof, &sep);
	if (err)
		return err;
	if (!level && pos == cut && !right->img.next)
		twzdb__tail_set(tx, table, right);
	if (level + 1 == path->depth)
		return new_root(tx, table, (unsigned)level + 1, left->p, right->p, sep);
	return insert_at(tx, table, path, level + 1, path->idx[level + 1] + 1U, sep, right->p);
}

static int insert_at(struct twzdb_txn *tx, uint64_t table, struct path *path, int level,
		     unsigned pos, struct bkey key, uint64_t ptr)
{
	struct pnode *pn;
	int err = twzdb__node_cow_words(tx, path->e[level].p, &pn);

	if (err)
		return err;
	if (level == 0)
		pn->img.sts = tx->ts;
	if (pn->img.n == TWZDB_FANOUT) {
		pn->diff = true;
		return split_insert(tx, table, path, level, pn, pos, key, ptr);
	}
	if (level) {
		pn->mask |= NODE_ROW(pn->img.perm[pn->img.n]);
		twzdb__node_insert(&pn->img, pos, node_head(&pn->img, key), ptr);
	} else {
		put_in_leaf(tx, table, pn, pos, node_head(&pn->img, key), ptr);
	}
	return 0;
}

int twzdb__leaf_link(struct twzdb_txn *tx, uint64_t table, struct path *path,
		     const struct pnode *left, const struct pnode *right, struct bkey sep)
{
	if (path->depth == 1)
		return new_root(tx, table, 1, left->p, right->p, sep);
	return insert_at(tx, table, path, 1, path->idx[1] + 1U, sep, right->p);
}

static int first_leaf(struct twzdb_txn *tx, uint64_t table, struct bkey key, uint64_t rec)
{
	struct pnode *leaf;
	int err = twzdb__node_new(tx, 0, &leaf);

	if (err)
		return err;
	leaf->img.sts = tx->ts;
	twzdb__node_insert(&leaf->img, 0, twzdb__head(key, 0), rec);
	return twzdb__set_root(tx, table, leaf->p);
}

/* A full leaf may have room once tombstones nobody needs are gone. */
static int make_room(struct twzdb_txn *tx, struct path *path, struct bkey key, unsigned *pos)
{
	struct pnode *pn;
	struct nref r;
	unsigned cnt;
	bool exact;
	int err;

	if (path->e[0].n->n < TWZDB_FANOUT || !path->e[0].n->tombs)
		return 0;
	err = twzdb__node_cow(tx, path->e[0].p, &pn);
	if (!err)
		err = twzdb__purge_leaf(tx, pn, &cnt);
	if (err || !cnt)
		return err;
	r = twzdb__node_ref(pn);
	return twzdb__bound(tx, &r, key, pos, &exact);
}

static int insert_new(struct twzdb_txn *tx, uint64_t table, struct path *path, unsigned pos,
		      struct bkey key, const void *value, uint32_t vlen)
{
	struct rec_pm *rec;
	uint64_t p;
	int err = twzdb__reserve_nodes(tx, path->e[0].p ? (unsigned)path->depth + 1 : 1);

	if (!err)
		err = twzdb__rec_new(tx, twzdb__tag_of(tx->db, table), key, value, vlen, 0,
				     TWZDB_ROW, &p, &rec);
	if (err)
		return err;
	tx->mods++;
	if (!path->e[0].p)
		return twzdb__break(tx, first_leaf(tx, table, key, p));
	err = make_room(tx, path, key, &pos);
	if (!err)
		err = insert_at(tx, table, path, 0, pos, key, p);
	return twzdb__break(tx, err);
}

/* Put record P, a newer version of the same key, into the leaf's slot at POS. */
static int replace_ptr(struct twzdb_txn *tx, const struct path *path, unsigned pos, uint64_t p,
		       bool was_tomb)
{
	struct pnode *pn;
	int err = twzdb__node_cow_words(tx, path->e[0].p, &pn);

	if (err)
		return err;
	pn->img.ptr[pn->img.perm[pos]] = p;
	pn->mask |= NODE_PTR(pn->img.perm[pos]);
	if (was_tomb) {
		pn->mask |= NODE_COUNTS;
		pn->img.tombs--;
		pn->img.sts = tx->ts;
	}
	return 0;
}

/* A version of this very transaction is nobody else's: overwrite it where it lies, if it fits. */
static bool overwrite_own(struct twzdb_txn *tx, uint64_t p, struct bkey key, const void *value,
			  uint32_t vlen)
{
	struct rec_pm *r = twzdb__at(tx->db, p, sizeof(*r));

	if (!r || twzdb__sp_fixed(tx, p) ||
	    rec_need(key.len, vlen, TWZDB_ROW) > twzdb__block_len(tx->db, p))
		return false;
	key.p = rec_key(r);
	twzdb__rec_fill(tx, r, rec_table(r), key, value, vlen, r->prev, TWZDB_ROW);
	return true;
}

static int replace(struct twzdb_txn *tx, const struct path *path, unsigned pos, uint64_t old_p,
		   const struct rec_pm *old, struct bkey key, const void *value, uint32_t vlen)
{
	bool was_tomb = rec_is_tomb(old), own = rec_is_own(tx, old);
	struct rec_pm *rec;
	uint64_t p = old_p;
	int err;

	if (own) {
		err = twzdb__runs_expand(tx);
		if (err)
			return err;
	}
	tx->mods++;
	if (!own || !overwrite_own(tx, old_p, key, value, vlen)) {
		err = twzdb__rec_new(tx, rec_table(old), key, value, vlen, own ? old->prev : old_p,
				     TWZDB_ROW, &p, &rec);
		if (err)
			return err;
		err = twzdb__rec_kill(tx, old_p);
		if (err)
			return twzdb__break(tx, err);
	} else if (!was_tomb) {
		return 0;
	}
	return twzdb__break(tx, replace_ptr(tx, path, pos, p, was_tomb));
}

/* The leaf that took the last row of the table, if K comes behind it. */
static struct pnode *tail_for(struct twzdb_txn *tx, uint64_t table, struct bkey key)
{
	struct pnode *pn = tx->tail;
	const struct rec_pm *r;

	if (!pn || tx->tail_table != table || tx->tail_mods != tx->mods || tx->sp_open ||
	    tx->broken)
		return NULL;
	r = twzdb__at(tx->db, pn->img.ptr[pn->img.perm[pn->img.n - 1]], sizeof(*r));
	return bkey_cmp(rec_bkey(r), key) < 0 ? pn : NULL;
}

bool twzdb__tail_takes(struct twzdb_txn *tx, uint64_t table, struct bkey key)
{
	return tail_for(tx, table, key) != NULL;
}

/* A new row in leaf W->leaf, if it has room: nothing above changes. 1: it is not that simple. */
static int put_in_place(struct twzdb_txn *tx, uint64_t table, struct stop *s, struct place *w,
			const void *value, uint32_t vlen)
{
	struct rec_pm *rec;
	struct pnode *pn;
	uint64_t p;
	int err;

	if (!place_in_leaf(tx->db, s, w) || w->old || w->n->n >= TWZDB_FANOUT)
		return 1;
	err = twzdb__rec_new(tx, twzdb__tag_of(tx->db, table), w->k, value, vlen, 0, TWZDB_ROW, &p,
			     &rec);
	if (err)
		return err;
	tx->mods++;
	err = twzdb__node_cow_words(tx, w->leaf, &pn);
	if (err)
		return twzdb__break(tx, err);
	put_in_leaf(tx, table, pn, w->pos, w->head, p);
	return 0;
}

int twzdb__put_new(struct twzdb_txn *tx, uint64_t table, struct bkey key, const void *value,
		   uint32_t vlen, uint32_t put_flags)
{
	struct place w = {.k = key};
	struct stop s;
	uint64_t root;
	int err;

	if (tx->one.kind || put_flags & (TWZDB_UPDATE | TWZDB_APPEND))
		return 1;
	root = twzdb__table_root(tx, table, &err);
	if (!root || !leaf_by_root(tx, root, &w, &s))
		return 1;
	return put_in_place(tx, table, &s, &w, value, vlen);
}

int twzdb__put_at(struct twzdb_txn *tx, uint64_t table, struct place *w, struct twzdb_slice value,
		  uint32_t put_flags)
{
	const struct node_pm *n = node_at(tx->db, w->leaf);
	struct stop s;

	if (tx->one.kind || put_flags & (TWZDB_UPDATE | TWZDB_APPEND) || !n ||
	    row_is_long(w->k.len, value.len))
		return 1;
	n = writer_node(tx, w->leaf, 0);
	if (!n || !arrive(n, &s) || HDR_LEVEL(s.hdr))
		return 1;
	w->n = (struct node_pm *)(uintptr_t)n;
	return put_in_place(tx, table, &s, w, value.ptr, (uint32_t)value.len);
}

int twzdb__tail_path(struct twzdb_txn *tx, uint64_t table, const struct pnode *pn,
		     struct path *path)
{
	int err, slot, level = -1;
	struct nref r;
	uint64_t p;

	for (p = twzdb__table_root(tx, table, &err); p != pn->p;) {
		err = twzdb__node_get(tx, p, level, &r);
		if (err)
			return err;
		if (level < 0)
			path->depth = r.n->level + 1;
		level = r.n->level;
		slot = r.n->n && r.n->n <= TWZDB_FANOUT ? node_slot(r.n, r.n->n - 1U) : -1;
		if (!level || level > TWZDB_LEVEL_MAX || slot < 0)
			return twzdb__corrupt(tx->db, p, "the last leaf is not where it was");
		path->e[level] = r;
		path->idx[level] = (uint8_t)(r.n->n - 1);
		p = r.n->ptr[slot];
		level--;
	}
	if (level > 0)
		return twzdb__corrupt(tx->db, p, "a leaf among inner nodes");
	if (level < 0)
		path->depth = 1;
	path->e[0] = twzdb__node_ref(pn);
	path->idx[0] = pn->img.n;
	return 0;
}

/* Put behind the last row of a table, whose leaf PN is full: it stays so, and the row begins the next one. */
static int put_behind(struct twzdb_txn *tx, uint64_t table, struct pnode *pn, struct bkey key,
		      const void *value, uint32_t vlen)
{
	struct path path;
	int err;

	if (pn->img.tombs)
		return 1;
	err = twzdb__tail_path(tx, table, pn, &path);
	return err ? err : insert_new(tx, table, &path, TWZDB_FANOUT, key, value, vlen);
}

int twzdb__put_tail(struct twzdb_txn *tx, uint64_t table, struct bkey key, const void *value,
		    uint32_t vlen, uint32_t put_flags)
{
	struct pnode *pn = tail_for(tx, table, key);
	struct rec_pm *rec;
	uint64_t p;
	int err;

	if (!pn || put_flags & TWZDB_UPDATE)
		return 1;
	if (pn->img.n == TWZDB_FANOUT)
		return put_behind(tx, table, pn, key, value, vlen);
	err = twzdb__rec_new(tx, twzdb__tag_of(tx->db, table), key, value, vlen, 0, TWZDB_ROW, &p,
			     &rec);
	if (err)
		return err;
	pn->mask |= NODE_ROW(pn->img.perm[pn->img.n]);
	pn->img.sts = tx->ts;
	twzdb__node_insert(&pn->img, pn->img.n, twzdb__head(key, pn->img.pfx), p);
	tx->tail_mods = ++tx->mods;
	return 0;
}

int twzdb__put(struct twzdb_txn *tx, uint64_t table, struct bkey key, const void *value,
	       uint32_t vlen, uint32_t put_flags)
{
	const struct rec_pm *old = NULL;
	struct path path;
	unsigned pos;
	uint64_t old_p = 0;
	bool exact, there = false;
	int err;

	twzdb__alloc_soon(tx->db, twzdb__class_of(rec_len_of(key.len, vlen, TWZDB_ROW)));
	err = twzdb__seek(tx, table, key, false, &path.e[0], &pos, &exact, &path);

	if (!err && exact) {
		old_p = path.e[0].n->ptr[path.e[0].n->perm[pos]];
		err = twzdb__rec_at(tx->db, old_p, &old);
		there = !err && !rec_is_tomb(old);
	}
	if (err)
		return err;
	if (there && put_flags & TWZDB_INSERT)
		return twzdb__err(TWZDB_E_EXIST, "insert: the key exists");
	if (!there && put_flags & TWZDB_UPDATE)
		return twzdb__err(TWZDB_E_NOTFOUND, "update: no such key");
	if (exact)
		return replace(tx, &path, pos, old_p, old, key, value, vlen);
	return insert_new(tx, table, &path, pos, key, value, vlen);
}
