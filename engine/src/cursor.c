/* SPDX-License-Identifier: MIT
 * cursor.c -- positions in a table, counting, range delete
 *
 * A cursor's truth is a copy of its key. Leaf, slot and version are a hint: while the leaf has
 * not changed the neighbour is the next slot; otherwise the key is looked for again. So whatever
 * the writer, or this transaction itself, did to the tree, NEXT is the first visible key after
 * the current one.
 */
#include "internal.h"

enum cursor_state {
	CUR_NONE,  /* nowhere; NEXT is FIRST, PREV is LAST */
	CUR_AT,	   /* at key (which may have been deleted meanwhile) */
	CUR_END,   /* behind the last row */
	CUR_BEGIN, /* before the first */
};

struct twzdb_cursor {
	struct twzdb_txn *tx;
	uint64_t serial; /* of the transaction */
	uint64_t table;
	enum cursor_state state;
	/* hint, valid while p != 0, mods is the transaction's and the leaf's version holds */
	struct nref leaf;
	unsigned pos;
	uint64_t mods;
	uint32_t klen;
	uint8_t key[TWZDB_KEY_MAX];
};

int twzdb_cursor_open(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_cursor **out)
{
	int err;

	if (!out)
		return twzdb__err(TWZDB_E_INVAL, "cursor_open: no place for the cursor");
	*out = NULL;
	if (!tx || !t.h)
		return twzdb__err(TWZDB_E_INVAL, "cursor_open: no transaction, or no table");
	err = twzdb__txn_enter(tx, "cursor_open");
	if (err)
		return err;
	*out = calloc(1, sizeof(**out));
	if (!*out)
		return twzdb__err(-ENOMEM, "cursor_open: no memory");
	(*out)->tx = tx;
	(*out)->serial = tx->serial;
	(*out)->table = t.h;
	return 0;
}

void twzdb_cursor_close(struct twzdb_cursor *c)
{
	free(c);
}

static struct bkey cur_key(const struct twzdb_cursor *c)
{
	return (struct bkey){c->key, c->klen};
}

/*
 * Version of the row at POS that the transaction sees: 0, NOTFOUND, RETRY (the leaf changed), or
 * an error.
 */
static int row_at(struct twzdb_txn *tx, const struct nref *leaf, unsigned pos,
		  const struct rec_pm **rec)
{
	int slot = node_slot(leaf->n, pos);
	uint64_t p;

	if (slot < 0)
		return twzdb__node_bad(tx, leaf, "permutation out of range");
	p = ld64_acq(&leaf->n->ptr[slot]);
	if (!nref_ok(leaf))
		return TWZDB__RETRY;
	return twzdb__rec_visible(tx, p, rec);
}

/*
 * First visible row at or after POS of LEAF, going right over leaves. On success LEAF and POS
 * are its place.
 */
static int walk_right(struct twzdb_txn *tx, struct nref *leaf, unsigned *pos,
		      const struct rec_pm **rec)
{
	for (uint64_t steps = 0;; steps++) {
		unsigned n = __atomic_load_n(&leaf->n->n, __ATOMIC_RELAXED);
		uint64_t next = ld64_acq(&leaf->n->next);
		struct nref right;
		int err;

		if (!nref_ok(leaf))
			return TWZDB__RETRY;
		for (; *pos < n; ++*pos) {
			err = row_at(tx, leaf, *pos, rec);
			if (err != TWZDB_E_NOTFOUND)
				return err;
		}
		if (!next)
			return TWZDB_E_NOTFOUND;
		if (steps > 64 && steps > twzdb__node_limit(tx->db))
			return twzdb__corrupt(tx->db, next, "right-links lead in circles");
		err = twzdb__node_get(tx, next, 0, &right);
		if (err)
			return err;
		if (!nref_ok(leaf)) /* NEXT was the neighbour when its version was read */
			return TWZDB__RETRY;
		*leaf = right;
		*pos = 0;
	}
}

/* Last visible row before POS in LEAF only. */
static int walk_left(struct twzdb_txn *tx, const struct nref *leaf, unsigned *pos,
		     const struct rec_pm **rec)
{
	while (*pos > 0) {
		int err = row_at(tx, leaf, *pos - 1, rec);

		--*pos;
		if (err != TWZDB_E_NOTFOUND)
			return err;
	}
	return TWZDB_E_NOTFOUND;
}

/* First visible row with key >= K (AFTER: > K). */
static int find_right(struct twzdb_txn *tx, uint64_t table, struct bkey k, bool after,
		      struct nref *leaf, unsigned *pos, const struct rec_pm **rec)
{
	struct again again = AGAIN_INIT;
	bool exact;
	int err;

	do {
		err = twzdb__seek(tx, table, k, false, leaf, pos, &exact, NULL);
		if (err)
			return err;
		if (!leaf->p)
			return TWZDB_E_NOTFOUND;
		*pos += exact && after;
		err = walk_right(tx, leaf, pos, rec);
	} while (twzdb__again(tx, &again, leaf->p, &err));
	return err;
}

/*
 * Last visible row below K in the leaf that holds what is just below K; NOTFOUND: it has none,
 * *LOF = its low fence.
 */
static int find_left_leaf(struct twzdb_txn *tx, uint64_t table, struct bkey k, struct nref *leaf,
			  unsigned *pos, const struct rec_pm **rec, uint64_t *lof)
{
	struct again again = AGAIN_INIT;
	bool exact;
	int err;

	*lof = 0;
	do {
		err = twzdb__seek(tx, table, k, true, leaf, pos, &exact, NULL);
		if (err)
			return err;
		if (!leaf->p)
			return TWZDB_E_NOTFOUND;
		err = walk_left(tx, leaf, pos, rec);
		*lof = ld64(&leaf->n->lof);
		if (err == TWZDB_E_NOTFOUND && !nref_ok(leaf))
			err = TWZDB__RETRY;
	} while (twzdb__again(tx, &again, leaf->p, &err));
	return err;
}

/* Last visible row with key < K. A leaf without one leads to the leaf below its low fence. */
static int find_left(struct twzdb_txn *tx, uint64_t table, struct bkey k, struct nref *leaf,
		     unsigned *pos, const struct rec_pm **rec)
{
	for (;;) { /* K falls */
		struct bkey low;
		uint64_t lof;
		int err = find_left_leaf(tx, table, k, leaf, pos, rec, &lof);

		if (err != TWZDB_E_NOTFOUND || !lof)
			return err;
		err = twzdb__fence_key(tx, lof, &low);
		if (!err && bkey_cmp(low, k) >= 0)
			err = twzdb__corrupt(tx->db, leaf->p,
					     "leaf below a key has no lower fence");
		if (err)
			return err;
		k = low;
	}
}

static bool hint_ok(const struct twzdb_cursor *c)
{
	return c->leaf.p && c->mods == c->tx->mods && nref_ok(&c->leaf);
}

static int move_next(struct twzdb_cursor *c, const struct rec_pm **rec)
{
	int err;

	if (c->state == CUR_END)
		return TWZDB_E_NOTFOUND;
	if (c->state != CUR_AT)
		return find_right(c->tx, c->table, (struct bkey){c->key, 0}, false, &c->leaf,
				  &c->pos, rec);
	if (hint_ok(c)) {
		c->pos++;
		err = walk_right(c->tx, &c->leaf, &c->pos, rec);
		if (err != TWZDB__RETRY)
			return err;
	}
	return find_right(c->tx, c->table, cur_key(c), true, &c->leaf, &c->pos, rec);
}

static int move_prev(struct twzdb_cursor *c, const struct rec_pm **rec)
{
	int err;

	if (c->state == CUR_BEGIN)
		return TWZDB_E_NOTFOUND;
	if (c->state != CUR_AT)
		return find_left(c->tx, c->table, BKEY_INF, &c->leaf, &c->pos, rec);
	if (hint_ok(c)) {
		err = walk_left(c->tx, &c->leaf, &c->pos, rec);
		if (err != TWZDB__RETRY && err != TWZDB_E_NOTFOUND)
			return err;
	}
	return find_left(c->tx, c->table, cur_key(c), &c->leaf, &c->pos, rec);
}

static int find_exact(struct twzdb_cursor *c, struct bkey k, const struct rec_pm **rec)
{
	struct again again = AGAIN_INIT;
	bool exact;
	int err;

	do {
		err = twzdb__seek(c->tx, c->table, k, false, &c->leaf, &c->pos, &exact, NULL);
		if (!err)
			err = exact ? row_at(c->tx, &c->leaf, c->pos, rec) : TWZDB_E_NOTFOUND;
	} while (twzdb__again(c->tx, &again, c->leaf.p, &err));
	return err;
}

static int find_le(struct twzdb_cursor *c, struct bkey k, const struct rec_pm **rec)
{
	int err = find_exact(c, k, rec);

	return err == TWZDB_E_NOTFOUND ? find_left(c->tx, c->table, k, &c->leaf, &c->pos, rec)
				       : err;
}

static int move(struct twzdb_cursor *c, enum twzdb_seek op, struct bkey k,
		const struct rec_pm **rec)
{
	switch (op) {
	case TWZDB_FIRST:
		return find_right(c->tx, c->table, (struct bkey){c->key, 0}, false, &c->leaf,
				  &c->pos, rec);
	case TWZDB_LAST:
		return find_left(c->tx, c->table, BKEY_INF, &c->leaf, &c->pos, rec);
	case TWZDB_NEXT:
		return move_next(c, rec);
	case TWZDB_PREV:
		return move_prev(c, rec);
	case TWZDB_SEEK:
		return find_exact(c, k, rec);
	case TWZDB_SEEK_GE:
		return find_right(c->tx, c->table, k, false, &c->leaf, &c->pos, rec);
	case TWZDB_SEEK_LE:
		return find_le(c, k, rec);
	case TWZDB_CURRENT:
		return c->state == CUR_AT ? find_exact(c, cur_key(c), rec) : TWZDB_E_NOTFOUND;
	}
	return TWZDB_E_INVAL;
}

/* Whoever loops over NEXT comes to an end, whatever the tree looks like (D10). */
static int check_step(struct twzdb_cursor *c, enum twzdb_seek op, const struct rec_pm *r)
{
	int cmp;

	if (c->state != CUR_AT || (op != TWZDB_NEXT && op != TWZDB_PREV))
		return 0;
	cmp = bkey_cmp((struct bkey){rec_key(r), rec_klen(r)}, cur_key(c));
	if (op == TWZDB_NEXT ? cmp > 0 : cmp < 0)
		return 0;
	return twzdb__corrupt(c->tx->db, c->leaf.p, "neighbouring keys out of order");
}

static void settle(struct twzdb_cursor *c, const struct rec_pm *r)
{
	c->state = CUR_AT;
	c->klen = rec_klen(r);
	memcpy(c->key, rec_key(r), c->klen);
	c->mods = c->tx->mods;
}

static int lost(struct twzdb_cursor *c, enum twzdb_seek op)
{
	c->leaf.p = 0;
	if (op == TWZDB_CURRENT)
		return twzdb__err(TWZDB_E_NOTFOUND, "cursor: no row here");
	if (op == TWZDB_NEXT || op == TWZDB_SEEK_GE || op == TWZDB_FIRST)
		c->state = CUR_END;
	else if (op == TWZDB_PREV || op == TWZDB_SEEK_LE || op == TWZDB_LAST)
		c->state = CUR_BEGIN;
	else
		c->state = CUR_NONE;
	return twzdb__err(TWZDB_E_NOTFOUND, "cursor: no such row");
}

static int check_cursor(struct twzdb_cursor *c, bool write)
{
	int err;

	if (!c)
		return twzdb__err(TWZDB_E_INVAL, "cursor: none");
	err = twzdb__txn_enter(c->tx, "cursor");
	if (unlikely(!err && c->serial != c->tx->serial))
		err = twzdb__err(TWZDB_E_STATE, "cursor: its transaction has ended");
	if (unlikely(err))
		return err;
	if (write && !c->tx->writer)
		return twzdb__err(TWZDB_E_READONLY, "cursor: a read transaction");
	if (write && c->state != CUR_AT)
		return twzdb__err(TWZDB_E_STATE, "cursor: not at a row");
	if (c->tx->broken)
		return twzdb__err(
			c->tx->broken,
			"cursor: an earlier change failed half-way: abort the transaction");
	return 0;
}

int twzdb_cursor_get(struct twzdb_cursor *c, enum twzdb_seek op, struct twzdb_slice *key,
		     struct twzdb_slice *value)
{
	bool seek = op == TWZDB_SEEK || op == TWZDB_SEEK_GE || op == TWZDB_SEEK_LE;
	struct bkey k = {(const uint8_t *)"", 0};
	const struct rec_pm *r = NULL;
	int err = check_cursor(c, false);

	if (err)
		return err;
	if (op < TWZDB_FIRST || op > TWZDB_CURRENT || (seek && (!key || (key->len && !key->ptr))))
		return twzdb__err(TWZDB_E_INVAL, "cursor: operation %d, or no key", (int)op);
	if (seek && key->len > TWZDB_KEY_MAX)
		return twzdb__err(TWZDB_E_TOOBIG, "cursor: a key of %zu bytes; %d are possible",
				  key->len, TWZDB_KEY_MAX);
	if (seek && key->len)
		k = (struct bkey){key->ptr, (uint32_t)key->len};
	if (value)
		*value = (struct twzdb_slice){NULL, 0};
	err = move(c, op, k, &r);
	if (!err)
		err = check_step(c, op, r);
	if (err)
		return err == TWZDB_E_NOTFOUND ? lost(c, op) : err;
	settle(c, r);
	if (key)
		*key = (struct twzdb_slice){rec_key(r), rec_klen(r)};
	if (value)
		*value = (struct twzdb_slice){rec_val(r), rec_vlen(r)};
	return 0;
}

int twzdb_cursor_put(struct twzdb_cursor *c, struct twzdb_slice value)
{
	int err = check_cursor(c, true);

	return err ? err
		   : twzdb_put(c->tx, (struct twzdb_table){c->table},
			       (struct twzdb_slice){c->key, c->klen}, value, TWZDB_UPDATE);
}

int twzdb_cursor_del(struct twzdb_cursor *c)
{
	int err = check_cursor(c, true);

	return err ? err : twzdb__del(c->tx, c->table, cur_key(c));
}

int twzdb_del_range(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice from,
		    struct twzdb_slice to, uint64_t *cnt)
{
	struct twzdb_slice key = from;
	struct twzdb_cursor *c;
	uint64_t n = 0;
	int err = twzdb_cursor_open(tx, t, &c);

	if (cnt)
		*cnt = 0;
	if (err)
		return err;
	if (!tx->writer)
		err = twzdb__err(TWZDB_E_READONLY, "del_range: a read transaction");
	else
		err = twzdb_cursor_get(c, TWZDB_SEEK_GE, &key, NULL);
	while (!err) {
		if (to.ptr && bkey_cmp(cur_key(c), (struct bkey){to.ptr, (uint32_t)to.len}) >= 0)
			break;
		err = twzdb__del(tx, t.h, cur_key(c));
		if (err)
			break;
		n++;
		err = twzdb_cursor_get(c, TWZDB_NEXT, &key, NULL);
	}
	twzdb_cursor_close(c);
	if (cnt)
		*cnt = n;
	return err == TWZDB_E_NOTFOUND ? 0 : err;
}

/* --- counting --- */

/*
 * Visible rows of LEAF from POS on; *NEXT: its right sibling. A leaf nobody changed since the
 * snapshot needs no record.
 */
static int count_leaf(struct twzdb_txn *tx, const struct nref *leaf, unsigned pos, uint64_t *cnt,
		      uint64_t *next)
{
	unsigned n = __atomic_load_n(&leaf->n->n, __ATOMIC_RELAXED);
	unsigned tombs = __atomic_load_n(&leaf->n->tombs, __ATOMIC_RELAXED);
	uint64_t sts = ld64(&leaf->n->sts);
	const struct rec_pm *r;

	*cnt = 0;
	*next = ld64_acq(&leaf->n->next);
	if (!nref_ok(leaf))
		return TWZDB__RETRY;
	if (pos == 0 && sts <= tx->read_ts) {
		*cnt = n >= tombs ? n - tombs : 0;
		return 0;
	}
	for (; pos < n; pos++) {
		int err = row_at(tx, leaf, pos, &r);

		if (err && err != TWZDB_E_NOTFOUND)
			return err;
		*cnt += !err;
	}
	return nref_ok(leaf) ? 0 : TWZDB__RETRY;
}

static int count_step(struct twzdb_txn *tx, struct nref *leaf, unsigned *pos, struct bkey *from,
		      uint64_t *cnt)
{
	struct nref right;
	uint64_t n, next, lof;
	int err = count_leaf(tx, leaf, *pos, &n, &next);

	if (err)
		return err;
	*cnt += n;
	if (!next)
		return TWZDB_E_NOTFOUND;
	if (tx->steps++ > 64 && tx->steps > twzdb__node_limit(tx->db))
		return twzdb__corrupt(tx->db, next, "right-links lead in circles");
	/*
	 * What is counted ends at the sibling's low fence: from there on again if the sibling
	 * went away.
	 */
	err = twzdb__node_lof(tx, next, &lof);
	if (!err)
		err = twzdb__fence_key(tx, lof, from);
	if (!err)
		err = twzdb__node_get(tx, next, 0, &right);
	if (err)
		return err;
	*leaf = right;
	*pos = 0;
	return 0;
}

int twzdb__count(struct twzdb_txn *tx, uint64_t table, uint64_t *cnt)
{
	struct bkey from = {(const uint8_t *)"", 0};
	struct again again = AGAIN_INIT;
	struct nref leaf;
	unsigned pos;
	bool exact;
	int err;

	*cnt = 0;
	tx->steps = 0;
	do {
		err = twzdb__seek(tx, table, from, false, &leaf, &pos, &exact, NULL);
		if (!err && !leaf.p)
			return 0;
		while (!err) {
			err = count_step(tx, &leaf, &pos, &from, cnt);
			if (!err)
				again.tries = 0; /* it gets on */
		}
	} while (twzdb__again(tx, &again, leaf.p, &err));
	return err == TWZDB_E_NOTFOUND ? 0 : err;
}
