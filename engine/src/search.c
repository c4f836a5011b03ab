/* SPDX-License-Identifier: MIT
 * search.c -- finding a key: in a node, down the tree, across a structural change in flight
 *
 * Readers are optimistic: they read a node's version word, use the node, and look whether the
 * word is still the same. A pointer is followed only after that check, so record memory is never
 * read through a torn pointer. README.md
 * ("Why a reader is never lost") has the argument for the right-links used in twzdb__seek.
 */
#include "internal.h"

#include <time.h>

#define AGAIN_SPINS 1000  /* attempts before a reader sleeps a millisecond between them */
#define AGAIN_MS    10000 /* and gives up after this */
#define WATCH_NAPS  2000

uint32_t twzdb__lcp(struct bkey a, struct bkey b)
{
	uint32_t n = 0, max = a.len < b.len ? a.len : b.len;
	uint64_t x, y;

	for (; max - n >= sizeof(x); n += (uint32_t)sizeof(x)) {
		memcpy(&x, a.p + n, sizeof(x));
		memcpy(&y, b.p + n, sizeof(y));
		if (x != y)
			return n + (uint32_t)__builtin_ctzll(x ^ y) / 8;
	}
	while (n < max && a.p[n] == b.p[n])
		n++;
	return n;
}

int twzdb__node_bad(struct twzdb_txn *tx, const struct nref *r, const char *rule)
{
	return nref_ok(r) ? twzdb__corrupt(tx->db, r->p, rule) : TWZDB__RETRY;
}

/* The writer died while it stored a commit: finish that (D13), unless somebody is at it already. */
static int take_over(struct twzdb_txn *tx)
{
	uint64_t token;
	int err = twzdb__lock_take(tx->db, NULL, 0, &token);

	if (!err)
		twzdb__lock_drop(tx->db, NULL, token);
	return err == TWZDB_E_BUSY ? 0 : err;
}

/* Who may not write cannot. */
static int wait_for_others(const struct twzdb_txn *tx, const struct again *a)
{
	if (a->tries < AGAIN_SPINS + WATCH_NAPS)
		return 0;
	return twzdb__err(
		TWZDB_E_BUSY,
		"database '%s': a process stopped or died while storing a commit, and this one may not write: let another use it",
		tx->db->name);
}

bool twzdb__again(struct twzdb_txn *tx, struct again *a, uint64_t p, int *err)
{
	const struct timespec nap = {0, 1000000};
	bool late = false;
	uint64_t seq;

	if (*err != TWZDB__RETRY)
		return false;
	twzdb__order();
	seq = ld64_acq(&tx->db->sh->apply_seq);
	if (tx->writer || (!(seq & 1) && seq == a->seq)) {
		*err = twzdb__corrupt(
			tx->db, p,
			"tree leads to a dead or half-changed node, and nobody is changing it");
		return false;
	}
	a->seq = seq;
	tx->retries++;
	twzdb__pause();
	if (++a->tries <
	    AGAIN_SPINS) /* applying takes microseconds, unless the writer lost its processor or its life */
		return true;
	if (!a->since_ms)
		a->since_ms = twzdb__now_ms();
	*err = tx->db->watch			? wait_for_others(tx, a)
	       : twzdb__lock_owner_dead(tx->db) ? take_over(tx)
						: 0;
	if (!*err && !tx->db->watch) { /* whoever applied it may have died, or be stopped */
		int failed = twz_log_help(tx->db->log);

		if (failed == TWZ_E_TIMEOUT)
			late = true;
		else if (failed)
			*err = twzdb__stage_failed(tx->db, failed);
	}
	if (!*err && (late || twzdb__now_ms() - a->since_ms >= AGAIN_MS))
		*err = twzdb__err(TWZDB_E_TIMEOUT,
				  "database '%s': its writer stopped while storing a commit",
				  tx->db->name);
	if (*err)
		return false;
	nanosleep(&nap, NULL);
	return true;
}

static int node_usable(struct twzdb_txn *tx, const struct nref *r, int level)
{
	uint8_t flags = __atomic_load_n(&r->n->flags, __ATOMIC_RELAXED);
	uint8_t lev = __atomic_load_n(&r->n->level, __ATOMIC_RELAXED);

	if (unlikely(!(flags & TWZDB_NODE_LIVE))) {
		bool old = flags == TWZDB_NODE_DROPPED && ld64(&r->n->sts) > tx->read_ts;

		if (!old)
			return TWZDB__RETRY;
	}
	if (unlikely(__atomic_load_n(&r->n->n, __ATOMIC_RELAXED) > TWZDB_FANOUT))
		return twzdb__node_bad(tx, r, "node has too many entries");
	if (unlikely(level >= 0 ? lev != level : lev > TWZDB_LEVEL_MAX))
		return twzdb__node_bad(tx, r, "node at the wrong level");
	return 0;
}

static int node_get_private(struct twzdb_txn *tx, const struct pnode *pn, struct nref *r)
{
	if (pn->state == PN_STAGED_DEAD && tx->view)
		return TWZDB__RETRY;
	if (pn->state != PN_COPY && pn->state != PN_NEW && pn->state != PN_STAGED)
		return twzdb__corrupt(tx->db, pn->p, "tree leads to a node twice");
	*r = twzdb__node_ref(pn);
	return 0;
}

int twzdb__node_get(struct twzdb_txn *tx, uint64_t p, int level, struct nref *r)
{
	bool maybe = tx->levels && (level < 0 || tx->levels >> level & 1);
	const struct pnode *pn = maybe ? twzdb__node_private(tx, p) : NULL;
	struct again again = AGAIN_INIT;
	int err;

	r->p = p;
	if (pn)
		return node_get_private(tx, pn, r);
	r->n = p & (TWZDB_NODE_LEN - 1) ? NULL : twzdb__at(tx->db, p, TWZDB_NODE_LEN);
	if (unlikely(!r->n))
		return twzdb__corrupt(tx->db, p, "node pointer outside the data objects");
	do {
		r->ver = __atomic_load_n(&r->n->ver, __ATOMIC_ACQUIRE);
		err = TWZDB__RETRY;
	} while (unlikely(r->ver & 1) && twzdb__again(tx, &again, p, &err));
	if (unlikely(r->ver & 1))
		return err;
	err = node_usable(tx, r, level);
	if (unlikely(err == TWZDB__RETRY && tx->writer))
		return twzdb__corrupt(tx->db, p, "tree leads to a dead node");
	return err;
}

int twzdb__fence_key(struct twzdb_txn *tx, uint64_t lof, struct bkey *k)
{
	k->p = (const uint8_t *)"";
	k->len = 0;
	return lof ? twzdb__rec_key(tx->db, lof, k) : 0;
}

/* A live node's low fence never changes, so it may be read without looking at its version. */
int twzdb__node_lof(struct twzdb_txn *tx, uint64_t node, uint64_t *lof)
{
	const struct pnode *pn =
		tx->writer || unlikely(tx->view) ? twzdb__node_private(tx, node) : NULL;
	const struct node_pm *n = pn ? &pn->img : NULL;

	if (!n)
		n = node & (TWZDB_NODE_LEN - 1) ? NULL : twzdb__at(tx->db, node, TWZDB_NODE_LEN);
	if (!n)
		return twzdb__corrupt(tx->db, node, "node pointer outside the data objects");
	*lof = ld64(&n->lof);
	return 0;
}

int twzdb__entry_key(struct twzdb_txn *tx, const struct nref *r, unsigned slot, struct bkey *k)
{
	uint64_t p = ld64_acq(&r->n->ptr[slot]), lof;
	uint8_t level = __atomic_load_n(&r->n->level, __ATOMIC_RELAXED);
	int err;

	if (!nref_ok(r))
		return TWZDB__RETRY;
	if (level) {
		err = twzdb__node_lof(tx, p, &lof);
		return err ? err : twzdb__fence_key(tx, lof, k);
	}
	return twzdb__rec_key(tx->db, p, k);
}

/*
 * Entries whose head equals the key's: [lo, hi) in key order. Free slots hold ~0, and come after
 * all entries that do.
 */
static int tie_range(struct twzdb_txn *tx, const struct nref *r, uint64_t kh, unsigned *lo,
		     unsigned *hi)
{
	unsigned n = __atomic_load_n(&r->n->n, __ATOMIC_RELAXED);
	struct headmask m = twzdb__heads(r->n->head, kh);

	*lo = m.below;
	*hi = *lo + (unsigned)__builtin_popcount(m.eq);
	if (*lo > n)
		return twzdb__node_bad(tx, r, "more heads than entries");
	*hi = *hi < n ? *hi : n;
	return 0;
}

int twzdb__bound(struct twzdb_txn *tx, const struct nref *r, struct bkey k, unsigned *pos,
		 bool *exact)
{
	unsigned lo, hi;
	struct bkey e;
	int err, c;

	*exact = false;
	if (bkey_is_inf(k)) {
		*pos = __atomic_load_n(&r->n->n, __ATOMIC_RELAXED);
		return *pos <= TWZDB_FANOUT ? 0 : TWZDB__RETRY;
	}
	err = tie_range(tx, r, node_head(r->n, k), &lo, &hi);
	while (!err && lo < hi) {
		unsigned mid = (lo + hi) / 2;
		int slot = node_slot(r->n, mid);

		err = slot < 0 ? twzdb__node_bad(tx, r, "permutation out of range")
			       : twzdb__entry_key(tx, r, (unsigned)slot, &e);
		if (err)
			break;
		c = bkey_cmp(k, e);
		if (c == 0) {
			lo = mid;
			*exact = true;
			break;
		}
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	*pos = lo;
	return err;
}

struct table_pm *twzdb__table_at(struct twzdb *db, uint64_t table)
{
	return table & 7 ? NULL : twzdb__at(db, table, sizeof(struct table_pm));
}

uint64_t twzdb__table_root(struct twzdb_txn *tx, uint64_t table, int *err)
{
	uint64_t where = table + offsetof(struct table_pm, root), root;
	const struct table_pm *t;

	*err = 0;
	if (tx->writer && u64map_get(&tx->words, where, &root)) {
		if (root == TWZDB_WORD_NONE)
			*err = twzdb__err(TWZDB_E_STATE, "this transaction has dropped the table");
		return *err ? 0 : root;
	}
	if (tx->writer && u64map_get(&tx->db->stage.words, where, &root))
		return root;
	if (unlikely(tx->view) && twzdb__view_word(tx, where, &root))
		return root;
	t = twzdb__table_at(tx->db, table);
	if (!t) {
		*err = twzdb__corrupt(tx->db, table, "table pointer outside the data objects");
		return 0;
	}
	return ld64_acq(&t->root);
}

/* The child whose range holds K; LT: the one that holds the keys just below K. */
static int pick_child(struct twzdb_txn *tx, const struct nref *r, struct bkey k, bool lt,
		      unsigned *idx, uint64_t *child)
{
	bool exact;
	int slot, err = twzdb__bound(tx, r, k, idx, &exact);

	if (err)
		return err;
	if (!(exact && !lt) && *idx)
		--*idx; /* entry 0 stands for everything below entry 1 */
	if (*idx >= __atomic_load_n(&r->n->n, __ATOMIC_RELAXED))
		return twzdb__node_bad(tx, r, "inner node without children");
	slot = node_slot(r->n, *idx);
	if (slot < 0)
		return twzdb__node_bad(tx, r, "permutation out of range");
	*child = ld64_acq(&r->n->ptr[slot]);
	return nref_ok(r) ? 0 : TWZDB__RETRY;
}

/* The lines a search needs; ALL: it is going to be copied too. */
static inline void fetch_node(struct twzdb *db, uint64_t p, bool all)
{
	const uint8_t *n = twzdb__at(db, p, TWZDB_NODE_LEN);
	unsigned len = all ? TWZDB_NODE_LEN : offsetof(struct node_pm, ptr);

	for (unsigned i = 0; n && i < len; i += TWZ_LINE_SIZE)
		__builtin_prefetch(n + i);
}

static int descend(struct twzdb_txn *tx, uint64_t root, struct bkey k, bool lt, struct nref *leaf,
		   struct path *path)
{
	struct nref cur, next;
	int err = twzdb__node_get(tx, root, -1, &cur), level;
	unsigned idx;
	uint64_t child = 0;

	if (err)
		return err;
	level = __atomic_load_n(&cur.n->level, __ATOMIC_RELAXED);
	if (!nref_ok(&cur) || level > TWZDB_LEVEL_MAX)
		return twzdb__node_bad(tx, &cur, "root above the highest level");
	if (path)
		path->depth = level + 1;
	for (; level > 0; level--) {
		err = pick_child(tx, &cur, k, lt, &idx, &child);
		if (!err)
			fetch_node(tx->db, child, path && level == 1);
		if (!err)
			err = twzdb__node_get(tx, child, level - 1, &next);
		if (err)
			return err;
		if (!nref_ok(&cur)) /* the way may have changed before the child was looked at */
			return TWZDB__RETRY;
		if (path) {
			path->e[level] = cur;
			path->idx[level] = (uint8_t)idx;
		}
		cur = next;
	}
	*leaf = cur;
	return 0;
}

/*
 * Does the leaf's image cover K? It may not while a split or merge is being applied (or was,
 * between parent and leaf). A found key proves it does; so does an entry >= K; else the high
 * fence decides. *RIGHT: the sibling to go to, 0 = covered.
 */
static int must_go_right(struct twzdb_txn *tx, const struct nref *leaf, struct bkey k, bool lt,
			 unsigned pos, uint64_t *right)
{
	uint64_t next = ld64_acq(&leaf->n->next), lof;
	struct bkey e;
	int err, slot, c;

	*right = 0;
	if (!next)
		return nref_ok(leaf) ? 0 : TWZDB__RETRY;
	if (!nref_ok(leaf))
		return TWZDB__RETRY;
	if (pos < __atomic_load_n(&leaf->n->n, __ATOMIC_RELAXED) && !bkey_is_inf(k)) {
		slot = node_slot(leaf->n, pos);
		err = slot < 0 ? twzdb__node_bad(tx, leaf, "permutation out of range")
			       : twzdb__entry_key(tx, leaf, (unsigned)slot, &e);
		if (err)
			return err;
		if (bkey_cmp(k, e) <= 0)
			return 0;
		*right = next;
		return 0;
	}
	err = twzdb__node_lof(tx, next, &lof);
	if (!err)
		err = twzdb__fence_key(tx, lof, &e);
	if (err)
		return err;
	c = bkey_cmp(k, e);
	if (lt ? c > 0 : c >= 0)
		*right = next;
	return nref_ok(leaf) ? 0 : TWZDB__RETRY;
}

static int seek_once(struct twzdb_txn *tx, uint64_t root, struct bkey k, bool lt, struct nref *leaf,
		     unsigned *pos, bool *exact, struct path *path)
{
	int err = descend(tx, root, k, lt, leaf, path);

	for (uint64_t steps = 0; !err; steps++) {
		uint64_t right = 0;
		struct nref next;

		err = twzdb__bound(tx, leaf, k, pos, exact);
		if (!err && !nref_ok(leaf))
			err = TWZDB__RETRY;
		if (err || *exact || tx->writer) /* a writer's tree does not move */
			break;
		err = must_go_right(tx, leaf, k, lt, *pos, &right);
		if (err || !right)
			break;
		if (steps > 64 && steps > twzdb__node_limit(tx->db))
			return twzdb__corrupt(tx->db, right, "right-links lead in circles");
		err = twzdb__node_get(tx, right, 0, &next);
		if (!err && !nref_ok(leaf))
			err = TWZDB__RETRY;
		*leaf = next;
	}
	if (path && !err)
		path->e[0] = *leaf;
	return err;
}

int twzdb__seek(struct twzdb_txn *tx, uint64_t table, struct bkey k, bool lt, struct nref *leaf,
		unsigned *pos, bool *exact, struct path *path)
{
	struct again again = AGAIN_INIT;
	int err = unlikely(tx->one.kind) ? twzdb__one_expand(tx) : 0;

	if (err)
		return err;
	do {
		uint64_t root = twzdb__table_root(tx, table, &err);

		leaf->p = 0;
		*pos = 0;
		*exact = false;
		if (err || !root)
			return err;
		err = seek_once(tx, root, k, lt, leaf, pos, exact, path);
	} while (twzdb__again(tx, &again, leaf->p ? leaf->p : table, &err));
	return err;
}
