/* SPDX-License-Identifier: MIT
 * delete.c -- tombstones, their purging, merging under-full nodes, dropping whole trees
 *
 * A delete cannot take a row out of its leaf while an older snapshot may look for it: it puts a
 * tombstone version there. Tombstones go when no snapshot is older than they are: when their
 * leaf is full, or from the purge queue.
 */
#include "find.h"

enum merge_plan twzdb__plan_merge(int n, int left, int right)
{
	/* A merged node keeps room, so that the next insert does not split it again. */
	const int room = TWZDB_FANOUT * 3 / 4;

	if (n > TWZDB_FANOUT / 3)
		return MERGE_NONE;
	if (right >= 0 && (n + right <= room || n == 0))
		return MERGE_RIGHT;
	if (left >= 0 && (n + left <= room || n == 0))
		return MERGE_LEFT;
	return MERGE_NONE;
}

static int sibling_cnt(struct twzdb_txn *tx, const struct node_pm *parent, int pos, int level,
		       int *n)
{
	struct nref r;
	int err;

	*n = -1;
	if (pos < 0 || pos >= parent->n)
		return 0;
	err = twzdb__node_get(tx, parent->ptr[parent->perm[pos]], level, &r);
	if (!err)
		*n = r.n->n;
	return err;
}

/*
 * LEFT takes over the range and the entries of RIGHT, its right neighbour under the same parent.
 * Low fences never change.
 */
static int absorb(struct twzdb_txn *tx, struct pnode *left, uint64_t right)
{
	struct nref r;
	struct ents e, f;
	int err = twzdb__node_get(tx, right, left->img.level, &r);

	if (err)
		return err;
	if (left->img.next != right)
		return twzdb__corrupt(tx->db, left->p,
				      "right sibling is not the parent's next child");
	twzdb__ents_get(&left->img, &e);
	twzdb__ents_get(r.n, &f);
	memcpy(e.ptr + e.n, f.ptr, f.n * sizeof(e.ptr[0]));
	memcpy(e.head + e.n, f.head, f.n * sizeof(e.head[0]));
	e.pfx = e.pfx == f.pfx ? e.pfx : UINT32_MAX;
	e.n += f.n;
	left->img.next = r.n->next;
	left->img.tombs = (uint8_t)(left->img.tombs + r.n->tombs);
	if (r.n->sts > left->img.sts)
		left->img.sts = r.n->sts;
	err = twzdb__ents_build(tx, &left->img, &e, 0, e.n);
	if (!err && left->img.level == 0)
		/* the leaf owns the fence, inner nodes borrow it */
		err = twzdb__rec_kill(tx, r.n->lof);
	if (!err)
		err = twzdb__node_die(tx, right, false);
	tx->merges++;
	return err;
}

static int shrink_root(struct twzdb_txn *tx, uint64_t table)
{
	struct nref r;
	int err, slot;

	for (;;) { /* the level falls every time */
		uint64_t root = twzdb__table_root(tx, table, &err), child;

		if (!err)
			err = twzdb__node_get(tx, root, -1, &r);
		if (err || r.n->level == 0 || r.n->n != 1)
			return err;
		slot = node_slot(r.n, 0);
		if (slot < 0)
			return twzdb__corrupt(tx->db, root, "permutation out of range");
		child = r.n->ptr[slot];
		err = twzdb__node_get(tx, child, r.n->level - 1, &r);
		if (!err)
			err = twzdb__node_private(tx, child) || twzdb__is_node(tx->db, child)
				      ? twzdb__node_die(tx, root, false)
				      : twzdb__corrupt(tx->db, child, "root of a table is no node");
		if (!err)
			err = twzdb__set_root(tx, table, child);
		if (err)
			return err;
	}
}

/* The node at LEVEL of PATH lost entries: merge it away if it is small, and so on up. */
static int rebalance(struct twzdb_txn *tx, uint64_t table, const struct path *path, int level)
{
	struct pnode *parent, *left;
	struct nref self;
	int pos, left_n, right_n, err;
	enum merge_plan plan;
	uint64_t right;

	if (level + 1 >= path->depth)
		return shrink_root(tx, table);
	pos = path->idx[level + 1];
	err = twzdb__node_get(tx, path->e[level].p, level, &self);
	if (err || self.n->n > TWZDB_FANOUT / 3)
		return err;
	err = twzdb__node_cow(tx, path->e[level + 1].p, &parent);
	if (!err)
		err = sibling_cnt(tx, &parent->img, pos - 1, level, &left_n);
	if (!err)
		err = sibling_cnt(tx, &parent->img, pos + 1, level, &right_n);
	if (err)
		return err;
	plan = twzdb__plan_merge(self.n->n, left_n, right_n);
	if (plan == MERGE_NONE)
		return 0;
	pos += plan == MERGE_RIGHT;
	right = parent->img.ptr[parent->img.perm[pos]];
	err = twzdb__node_cow(tx, parent->img.ptr[parent->img.perm[pos - 1]], &left);
	if (!err)
		err = absorb(tx, left, right);
	if (err)
		return err;
	twzdb__node_remove(&parent->img, (unsigned)pos);
	return rebalance(tx, table, path, level + 1);
}

static int remove_at(struct twzdb_txn *tx, uint64_t table, const struct path *path, unsigned pos)
{
	struct pnode *leaf;
	int err = twzdb__node_cow(tx, path->e[0].p, &leaf);

	if (err)
		return err;
	twzdb__node_remove(&leaf->img, pos);
	leaf->img.sts = tx->ts;
	return rebalance(tx, table, path, 0);
}

int twzdb__purge_leaf(struct twzdb_txn *tx, struct pnode *leaf, unsigned *cnt)
{
	uint64_t min = twzdb__min(tx);
	const struct rec_pm *r;
	int err;

	*cnt = 0;
	for (unsigned i = 0; i < leaf->img.n && leaf->img.tombs; i++)
		fetch_rec_head(tx->db, leaf->img.ptr[leaf->img.perm[i]]);
	for (unsigned i = leaf->img.n; i-- > 0 && leaf->img.tombs;) {
		uint64_t p = leaf->img.ptr[leaf->img.perm[i]];

		err = twzdb__rec_at(tx->db, p, &r);
		if (err)
			return err;
		if (!rec_is_tomb(r) || r->ts > min)
			continue;
		err = twzdb__rec_kill(tx, p);
		if (err)
			return err;
		twzdb__node_remove(&leaf->img, i);
		leaf->img.tombs--;
		++*cnt;
	}
	tx->mods += *cnt;
	return 0;
}

int twzdb__tomb_note(struct twzdb_txn *tx, uint64_t table, uint64_t p)
{
	int err = u64vec_push(&tx->tombs, table);

	return err ? err : u64vec_push(&tx->tombs, p);
}

/* Replace the row at POS by a tombstone; PREV is the version below it. */
static int bury(struct twzdb_txn *tx, uint64_t table, const struct path *path, unsigned pos,
		uint64_t old_p, uint64_t prev, struct bkey key)
{
	struct pnode *leaf;
	struct rec_pm *rec;
	uint64_t p;
	int err = twzdb__rec_new(tx, twzdb__tag_of(tx->db, table), key, NULL, 0, prev, TWZDB_TOMB,
				 &p, &rec);

	if (err)
		return err;
	tx->mods++;
	err = twzdb__node_cow(tx, path->e[0].p, &leaf);
	if (!err)
		err = twzdb__rec_kill(tx, old_p);
	if (!err)
		err = twzdb__tomb_note(tx, table, p);
	if (err)
		return twzdb__break(tx, err);
	leaf->img.ptr[leaf->img.perm[pos]] = p;
	leaf->img.tombs++;
	leaf->img.sts = tx->ts;
	return 0;
}

/*
 * The newest version is our own: without an older one the row never was, else our version turns
 * into the tombstone.
 */
static int del_own(struct twzdb_txn *tx, uint64_t table, const struct path *path, unsigned pos,
		   uint64_t p, struct rec_pm *r)
{
	struct bkey key = rec_bkey(r);
	struct pnode *leaf;
	int err = twzdb__runs_expand(tx);

	if (err)
		return err;
	tx->mods++;
	if (!r->prev) {
		err = twzdb__rec_kill(tx, p);
		return twzdb__break(tx, err ? err : remove_at(tx, table, path, pos));
	}
	if (twzdb__sp_fixed(tx, p))
		return bury(tx, table, path, pos, p, r->prev, key);
	err = twzdb__node_cow(tx, path->e[0].p, &leaf);
	if (!err)
		err = twzdb__tomb_note(tx, table, p);
	if (err)
		return twzdb__break(tx, err);
	twzdb__rec_fill(tx, r, rec_table(r), key, NULL, 0, r->prev, TWZDB_TOMB);
	leaf->img.tombs++;
	leaf->img.sts = tx->ts;
	return 0;
}

int twzdb__del(struct twzdb_txn *tx, uint64_t table, struct bkey key)
{
	int err = 1;

	if (likely(key.len <= TWZDB_KEY_SHORT))
		err = twzdb__one_del(tx, table, twzdb__tag_of(tx->db, table), key);

	return err <= 0 ? err : twzdb__del_any(tx, table, key);
}

int twzdb__del_any(struct twzdb_txn *tx, uint64_t table, struct bkey key)
{
	const struct rec_pm *r = NULL;
	struct path path;
	unsigned pos;
	uint64_t p = 0;
	bool exact;
	int err = twzdb__seek(tx, table, key, false, &path.e[0], &pos, &exact, &path);

	if (err)
		return err;
	if (exact) {
		p = path.e[0].n->ptr[path.e[0].n->perm[pos]];
		err = twzdb__rec_at(tx->db, p, &r);
		if (err)
			return err;
	}
	if (!r || rec_is_tomb(r))
		return twzdb__err(TWZDB_E_NOTFOUND, "delete: no such key");
	if (rec_is_own(tx, r))
		return del_own(tx, table, &path, pos, p, (struct rec_pm *)(uintptr_t)r);
	return bury(tx, table, &path, pos, p, p, key);
}

/* One row of a range: a row that never was goes at once, its leaf shrinks later. */
static int del_in_leaf(struct twzdb_txn *tx, uint64_t table, const struct path *path,
		       struct pnode *leaf, unsigned *pos, uint64_t p, const struct rec_pm *r)
{
	struct bkey key = rec_bkey(r);
	bool own = rec_is_own(tx, r);
	int err;

	if (own && !r->prev) {
		err = twzdb__rec_kill(tx, p);
		if (err)
			return err;
		twzdb__node_remove(&leaf->img, *pos);
		leaf->img.sts = tx->ts;
		return 0;
	}
	++*pos;
	return own ? del_own(tx, table, path, *pos - 1, p, (struct rec_pm *)(uintptr_t)r)
		   : bury(tx, table, path, *pos - 1, p, p, key);
}

int twzdb__del_leaf(struct twzdb_txn *tx, uint64_t table, const struct path *path, unsigned pos,
		    struct bkey to, uint64_t *cnt)
{
	const struct rec_pm *r;
	struct pnode *leaf;
	int err = twzdb__node_cow(tx, path->e[0].p, &leaf);

	if (err)
		return err;
	tx->mods++;
	while (pos < leaf->img.n && !err) {
		uint64_t p = leaf->img.ptr[leaf->img.perm[pos]];

		err = twzdb__rec_at(tx->db, p, &r);
		if (!err && bkey_cmp(rec_bkey(r), to) >= 0)
			break;
		if (!err && rec_is_tomb(r)) {
			pos++;
			continue;
		}
		if (!err)
			err = del_in_leaf(tx, table, path, leaf, &pos, p, r);
		*cnt += !err;
	}
	return twzdb__break(tx, err ? err : rebalance(tx, table, path, 0));
}

/* --- the purge queue --- */

/*
 * The queue is a hint: since P was noted its block, and its table's, may have been reused for
 * something else.
 */
static bool purge_due(struct twzdb_txn *tx, uint64_t table, uint64_t p, const struct rec_pm **r,
		      bool *gone)
{
	const struct rec_pm *t;
	uint64_t root;

	*gone = true;
	if (u64map_get(&tx->words, table + offsetof(struct table_pm, root), &root) &&
	    root == TWZDB_WORD_NONE)
		/* dropped just now: older snapshots go on reading its nodes as they are */
		return false;
	if (!twzdb__is_rec(tx->db, p) || twzdb__rec_at(tx->db, p, r))
		return false;
	if (!rec_is_live(*r)) { /* staged, or reused since */
		uint64_t link = ld64(&(*r)->link);

		*gone = !(link & TWZDB_LINK_RESERVED) ||
			twzdb__stamp_over(tx, link & ~TWZDB_LINK_RESERVED);
		return false;
	}
	if (!rec_is_tomb(*r))
		return false;
	if (table != twzdb__catalog()) {
		if (!twzdb__is_rec(tx->db, table - TWZDB_ANCHOR_OFF) ||
		    twzdb__rec_at(tx->db, table - TWZDB_ANCHOR_OFF, &t) || !rec_is_live(t) ||
		    rec_kind(t) != TWZDB_TABLE)
			return false;
	}
	*gone = false;
	return (*r)->ts <= twzdb__min(tx);
}

/* PATH leads to the leaf. */
static int purge_path(struct twzdb_txn *tx, uint64_t table, const struct path *path)
{
	struct pnode *leaf;
	unsigned cnt;
	int err;

	tx->mods++;
	err = twzdb__node_cow(tx, path->e[0].p, &leaf);
	if (!err)
		err = twzdb__purge_leaf(tx, leaf, &cnt);
	if (!err) {
		leaf->img.sts = tx->ts;
		err = rebalance(tx, table, path, 0);
	}
	return twzdb__break(tx, err);
}

int twzdb__purge_at(struct twzdb_txn *tx, uint64_t table, const struct path *path)
{
	const struct node_pm *n = path->e[0].n;
	uint64_t min = twzdb__min(tx);
	const struct rec_pm *r;

	for (unsigned i = 0; i < n->n && n->tombs; i++) {
		int slot = node_slot(n, i), err;

		if (slot < 0)
			return twzdb__corrupt(tx->db, path->e[0].p, "permutation out of range");
		err = twzdb__rec_at(tx->db, n->ptr[slot], &r);
		if (err)
			return err;
		if (rec_is_tomb(r) && r->ts <= min)
			return purge_path(tx, table, path);
	}
	return 0;
}

/* Its leaf is at hand: with P go all others of it that may. */
static int purge_one(struct twzdb_txn *tx, uint64_t table, uint64_t p, const struct rec_pm *r)
{
	struct bkey key = rec_bkey(r);
	struct path path;
	unsigned pos;
	bool exact;
	int err = twzdb__seek(tx, table, key, false, &path.e[0], &pos, &exact, &path);

	if (err || !exact || path.e[0].n->ptr[path.e[0].n->perm[pos]] != p)
		return err;
	return purge_path(tx, table, &path);
}

#define PURGE_AHEAD 32

static uint64_t queued_at(const struct twzdb *db, uint32_t i)
{
	return db->purge[2 * (((size_t)db->purge_head + i) % db->purge_cap) + 1];
}

/* NULL: no record's place any more, and perhaps no space either (give.c). */
static const struct rec_pm *queued(struct twzdb *db, uint32_t i)
{
	uint64_t p = queued_at(db, i);

	return twzdb__is_rec(db, p) ? twzdb__at(db, p, sizeof(struct rec_pm)) : NULL;
}

static const struct node_pm *queued_leaf(struct twzdb *db, const struct rec_pm *r)
{
	return r && rec_is_live(r) && rec_is_tomb(r)
		       ? twzdb__node_at(db, ld64(&r->link) & TWZDB_LONE_PTR)
		       : NULL;
}

/*
 * The next CNT of the queue are going to be worked off: have the lines come of all tombstones, then of all their leaves,
 * then of what these hold, instead of waiting for each. Hints; whoever works them off asks again.
 */
static void purge_fetch(struct twzdb *db, uint32_t cnt)
{
	const struct node_pm *n[PURGE_AHEAD];
	const struct rec_pm *r[PURGE_AHEAD];

	for (uint32_t i = 0; i < cnt; i++) {
		r[i] = queued(db, i);
		if (r[i])
			fetch_rec_head(db, queued_at(db, i));
	}
	for (uint32_t i = 0; i < cnt; i++) {
		n[i] = queued_leaf(db, r[i]);
		for (uint32_t off = 0; n[i] && off < TWZDB_NODE_LEN; off += 64)
			fetch((const uint8_t *)n[i] + off);
	}
	/* Page media: somebody may be applying an earlier commit to the leaf. */
	for (uint32_t i = 0; i < cnt; i++)
		for (unsigned s = 0;
		     n[i] && __atomic_load_n(&n[i]->tombs, __ATOMIC_RELAXED) && s < TWZDB_FANOUT;
		     s++)
			fetch_rec_head(db, ld64(&n[i]->ptr[s]));
}

int twzdb__purge_some(struct twzdb_txn *tx, uint32_t max)
{
	struct twzdb *db = tx->db;
	int err = 0;

	/*
	 * Tombstones of this transaction are not in the queue yet, and earlier ones stand in it
	 * by age.
	 */
	for (uint32_t ahead = 0; db->purge_cnt && max && !err; max--, ahead--) {
		uint64_t table = db->purge[2 * (size_t)db->purge_head],
			 p = db->purge[2 * (size_t)db->purge_head + 1];
		const struct rec_pm *r;
		bool gone;

		if (!ahead) {
			ahead = max < db->purge_cnt ? max : db->purge_cnt;
			ahead = ahead < PURGE_AHEAD ? ahead : PURGE_AHEAD;
			purge_fetch(db, ahead);
		}
		if (purge_due(tx, table, p, &r, &gone))
			err = purge_one(tx, table, p, r);
		else if (!gone)
			break;
		db->purge_head = (db->purge_head + 1) % db->purge_cap;
		db->purge_cnt--;
	}
	return err;
}

static bool purge_grow(struct twzdb *db)
{
	uint32_t cap = db->purge_cap ? db->purge_cap * 2 : 1024;
	uint64_t *q = db->purge_cap < TWZDB_PURGE_MAX ? malloc(2 * sizeof(*q) * cap) : NULL;

	for (uint32_t i = 0; q && i < db->purge_cnt; i++)
		memcpy(&q[2 * (size_t)i],
		       &db->purge[2 * (size_t)((db->purge_head + i) % db->purge_cap)],
		       2 * sizeof(*q));
	if (!q)
		return false;
	free(db->purge);
	db->purge = q;
	db->purge_cap = cap;
	db->purge_head = 0;
	return true;
}

void twzdb__purge_note_one(struct twzdb *db, uint64_t table, uint64_t p)
{
	size_t at;

	if (unlikely(db->purge_cnt == db->purge_cap) && !purge_grow(db))
		return;
	at = ((size_t)db->purge_head + db->purge_cnt++) % db->purge_cap;
	db->purge[2 * at] = table;
	db->purge[2 * at + 1] = p;
}

void twzdb__purge_note(struct twzdb *db, const struct u64vec *tombs)
{
	for (size_t i = 0; i + 1 < tombs->cnt; i += 2)
		twzdb__purge_note_one(db, tombs->v[i], tombs->v[i + 1]);
}

/* --- dropping a tree --- */

static int drop_rows(struct twzdb_txn *tx, const struct node_pm *n)
{
	int err = n->lof ? twzdb__rec_kill(tx, n->lof) : 0;

	for (unsigned i = 0; i < n->n && !err; i++) {
		int slot = node_slot(n, i);

		err = slot < 0 ? twzdb__corrupt(tx->db, n->lof, "permutation out of range")
			       : twzdb__rec_kill(tx, n->ptr[slot]);
	}
	return err;
}

/*
 * The tree as this transaction sees it: its rows and fences die; nodes made by this transaction
 * never were. The level falls with every step down, so a corrupt tree cannot lead in circles.
 */
static int drop_private(struct twzdb_txn *tx, uint64_t p, int level)
{
	struct nref r;
	struct pnode *pn;
	int err = twzdb__node_get(tx, p, level, &r);

	if (!err && tx->steps++ > twzdb__node_limit(tx->db))
		err = TWZDB__RETRY;
	if (err)
		return err == TWZDB__RETRY
			       ? twzdb__corrupt(tx->db, p,
						"tree leads to a dead node, or in circles")
			       : err;
	if (r.n->level == 0)
		err = drop_rows(tx, r.n);
	for (unsigned i = 0; r.n->level && i < r.n->n && !err; i++) {
		int slot = node_slot(r.n, i);

		err = slot < 0 ? twzdb__corrupt(tx->db, p, "permutation out of range")
			       : drop_private(tx, r.n->ptr[slot], r.n->level - 1);
	}
	pn = twzdb__node_private(tx, p);
	if (!err && pn && pn->state == PN_NEW && tx->sp_open)
		err = twzdb__sp_node(tx, pn);
	if (!err && pn && pn->state == PN_NEW)
		pn->state = PN_GONE;
	return err;
}

/*
 * The tree as it lies on the medium: older snapshots go on reading exactly these nodes, so none
 * of them may be changed or marked dead; they only become free once no snapshot is that old.
 */
static int drop_home(struct twzdb_txn *tx, uint64_t p, int level)
{
	const struct node_pm *n =
		p & (TWZDB_NODE_LEN - 1) ? NULL : twzdb__at(tx->db, p, TWZDB_NODE_LEN);
	struct pnode *pn = twzdb__node_private(tx, p);
	int err = 0;

	if (!n || n->n > TWZDB_FANOUT || n->level > TWZDB_LEVEL_MAX ||
	    (level >= 0 && n->level != level) || !twzdb__is_node(tx->db, p) ||
	    tx->steps++ > twzdb__node_limit(tx->db))
		return twzdb__corrupt(tx->db, p, "no node where the tree leads");
	for (unsigned i = 0; n->level && i < n->n && !err; i++) {
		int slot = node_slot(n, i);

		err = slot < 0 ? twzdb__corrupt(tx->db, p, "permutation out of range")
			       : drop_home(tx, n->ptr[slot], n->level - 1);
	}
	if (!err && pn && tx->sp_open)
		err = twzdb__sp_node(tx, pn);
	if (!err && pn)
		pn->state = PN_DROP;
	else if (!err)
		err = u64vec_push(&tx->drops, p);
	return err;
}

int twzdb__drop_tree(struct twzdb_txn *tx, uint64_t table, bool own)
{
	int err = twzdb__stage_settle(tx); /* what lies on the medium is what counts */
	uint64_t root = err ? 0 : twzdb__table_root(tx, table, &err);

	tx->mods++;
	tx->steps = 0;
	if (!err && root)
		err = drop_private(tx, root, -1);
	tx->steps = 0;
	if (!err && !own) {
		const struct table_pm *t = twzdb__table_at(tx->db, table);

		if (t && t->root)
			err = drop_home(tx, t->root, -1);
	}
	/* The anchor's word stays as older snapshots know it. */
	if (!err)
		err = twzdb__set_root(tx, table, TWZDB_WORD_NONE);
	return twzdb__break(tx, err);
}
