/* SPDX-License-Identifier: MIT
 * cursor.c -- positions in a table
 *
 * A cursor's truth is a copy of its key. Leaf, slot and version are a hint: while the leaf has
 * not changed the neighbour is the next slot; otherwise the key is looked for again. So whatever
 * the writer, or this transaction itself, did to the tree, NEXT is the first visible key after
 * the current one.
 */
#include "internal.h"

int twzdb_cursor_open(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_cursor **out)
{
	struct twzdb_cursor *c;
	int err;

	if (!out)
		return twzdb__err(TWZDB_E_INVAL, "cursor_open: no place for the cursor");
	*out = NULL;
	err = twzdb__txn_enter(tx, "cursor_open");
	if (!err)
		err = twzdb__table_use(tx, t, "cursor_open");
	if (err)
		return err;
	c = tx->spare ? tx->spare : malloc(sizeof(*c));
	if (!c)
		return twzdb__err(-ENOMEM, "cursor_open: no memory");
	tx->spare = NULL;
	memset(c, 0, offsetof(struct twzdb_cursor, key));
	c->tx = tx;
	c->next = tx->cursors;
	if (c->next)
		c->next->prev = c;
	tx->cursors = c;
	c->serial = tx->serial;
	c->t = t;
	c->table = t.h;
	*out = c;
	return 0;
}

void twzdb_cursor_close(struct twzdb_cursor *c)
{
	struct twzdb_txn *tx = c ? c->tx : NULL;

	if (!c)
		return;
	free(c->text);
	free(c->big);
	c->text = c->big = NULL;
	if (ld64(&tx->serial) == c->serial) { /* else the list went with the transaction */
		*(c->prev ? &c->prev->next : &tx->cursors) = c->next;
		if (c->next)
			c->next->prev = c->prev;
		if (!tx->spare) {
			tx->spare = c;
			return;
		}
	}
	free(c);
}

void twzdb__cursor_keep(struct twzdb_cursor *c)
{
	memcpy(c->klen > sizeof(c->key) ? c->big : c->key, rec_key(c->at), c->klen);
	c->at = c->low = NULL;
	twzdb__scan_start(c);
}

uint8_t *twzdb__cursor_room(struct twzdb_cursor *c, uint32_t len)
{
	uint8_t *p;

	if (likely(len <= sizeof(c->key)))
		return c->key;
	if (len <= c->big_cap)
		return c->big;
	p = realloc(c->big, len);
	if (!p) {
		twzdb__err(-ENOMEM, "cursor: no memory for a key of %u bytes", len);
		return NULL;
	}
	c->big = p;
	c->big_cap = len;
	return p;
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
int twzdb__find_right(struct twzdb_txn *tx, uint64_t table, struct bkey k, bool after,
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
int twzdb__find_left(struct twzdb_txn *tx, uint64_t table, struct bkey k, struct nref *leaf,
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
		return twzdb__find_right(c->tx, c->table, (struct bkey){c->key, 0}, false, &c->leaf,
					 &c->pos, rec);
	if (hint_ok(c)) {
		c->pos++;
		err = walk_right(c->tx, &c->leaf, &c->pos, rec);
		if (err != TWZDB__RETRY)
			return err;
	}
	return twzdb__find_right(c->tx, c->table, cur_key(c), true, &c->leaf, &c->pos, rec);
}

static int move_prev(struct twzdb_cursor *c, const struct rec_pm **rec)
{
	int err;

	if (c->state == CUR_BEGIN)
		return TWZDB_E_NOTFOUND;
	if (c->state != CUR_AT)
		return twzdb__find_left(c->tx, c->table, BKEY_INF, &c->leaf, &c->pos, rec);
	if (hint_ok(c)) {
		err = walk_left(c->tx, &c->leaf, &c->pos, rec);
		if (err != TWZDB__RETRY && err != TWZDB_E_NOTFOUND)
			return err;
	}
	return twzdb__find_left(c->tx, c->table, cur_key(c), &c->leaf, &c->pos, rec);
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

	return err == TWZDB_E_NOTFOUND
		       ? twzdb__find_left(c->tx, c->table, k, &c->leaf, &c->pos, rec)
		       : err;
}

static int move(struct twzdb_cursor *c, int op, struct bkey k, const struct rec_pm **rec)
{
	switch (op) {
	case TWZDB_FIRST:
		return twzdb__find_right(c->tx, c->table, (struct bkey){c->key, 0}, false, &c->leaf,
					 &c->pos, rec);
	case TWZDB_LAST:
		return twzdb__find_left(c->tx, c->table, BKEY_INF, &c->leaf, &c->pos, rec);
	case TWZDB_NEXT:
		return move_next(c, rec);
	case TWZDB_PREV:
		return move_prev(c, rec);
	case TWZDB_SEEK:
		return find_exact(c, k, rec);
	case TWZDB_SEEK_GE:
		return twzdb__find_right(c->tx, c->table, k, false, &c->leaf, &c->pos, rec);
	case TWZDB_SEEK_LE:
		return find_le(c, k, rec);
	case TWZDB__SEEK_LT:
		return twzdb__find_left(c->tx, c->table, k, &c->leaf, &c->pos, rec);
	case TWZDB_CURRENT:
		return c->state == CUR_AT ? find_exact(c, cur_key(c), rec) : TWZDB_E_NOTFOUND;
	}
	return TWZDB_E_INVAL;
}

/* Whoever loops over NEXT comes to an end, whatever the tree looks like (D10). */
static int check_step(struct twzdb_cursor *c, int op, const struct rec_pm *r)
{
	int cmp;

	if (c->state != CUR_AT || (op != TWZDB_NEXT && op != TWZDB_PREV))
		return 0;
	cmp = bkey_cmp(rec_bkey(r), cur_key(c));
	if (op == TWZDB_NEXT && c->low && bkey_cmp(rec_bkey(r), rec_bkey(c->low)) <= 0)
		cmp = 0;
	if (op == TWZDB_NEXT ? cmp > 0 : cmp < 0)
		return 0;
	return twzdb__corrupt(c->tx->db, c->leaf.p, "neighbouring keys out of order");
}

int twzdb__cursor_move(struct twzdb_cursor *c, int op, struct bkey k, const struct rec_pm **rec)
{
	uint64_t p = c->leaf.p;
	uint32_t ver = c->leaf.ver;
	unsigned pos = c->pos;
	int err = move(c, op, k, rec);

	if (op == TWZDB_NEXT && !err && c->leaf.p == p && c->leaf.ver == ver)
		twzdb__scan_step(c, c->pos - pos);
	else
		twzdb__scan_start(c);
	if (!err)
		err = check_step(c, op, *rec);
	if (err) { /* the cursor stays; its hint went on */
		c->leaf.p = 0;
		twzdb__scan_start(c);
	}
	return err;
}

int twzdb__cursor_settle(struct twzdb_cursor *c, const struct rec_pm *r)
{
	uint32_t klen = rec_klen(r);
	/* Also for a reader, who will need it when the snapshot goes: then nothing may fail. */
	uint8_t *room = twzdb__cursor_room(c, klen);

	if (unlikely(!room)) {
		c->leaf.p = 0; /* the cursor stays; its hint went on */
		twzdb__scan_start(c);
		return -ENOMEM;
	}
	c->state = CUR_AT;
	c->klen = klen;
	c->mods = c->tx->mods;
	c->at = c->tx->quick == c->table ? r : NULL;
	c->low = c->at;
	c->tx->pointing |= c->at != NULL;
	if (!c->at)
		memcpy(room, rec_key(r), klen);
	return 0;
}

int twzdb__cursor_lost(struct twzdb_cursor *c, int op)
{
	c->leaf.p = 0;
	c->at = NULL;
	if (op == TWZDB_CURRENT)
		return twzdb__missing(c->tx->db, "cursor: no row here");
	if (op == TWZDB_NEXT || op == TWZDB_SEEK_GE || op == TWZDB_FIRST)
		c->state = CUR_END;
	else if (op == TWZDB_PREV || op == TWZDB_SEEK_LE || op == TWZDB_LAST)
		c->state = CUR_BEGIN;
	else
		c->state = CUR_NONE;
	return twzdb__missing(c->tx->db, "cursor: no such row");
}

int twzdb__cursor_use(struct twzdb_cursor *c, bool write)
{
	int err;

	if (!c)
		return twzdb__err(TWZDB_E_INVAL, "cursor: none");
	if (unlikely(ld64(&c->tx->serial) != c->serial))
		return twzdb__err(TWZDB_E_STATE, "cursor: its transaction has ended");
	err = twzdb__txn_use(c->tx, "cursor", write);
	if (!err)
		err = twzdb__table_use(c->tx, c->t, "cursor");
	if (!err && write && c->state != CUR_AT)
		return twzdb__err(TWZDB_E_STATE, "cursor: not at a row");
	return err;
}

static bool op_seeks(int op)
{
	return op == TWZDB_SEEK || op == TWZDB_SEEK_GE || op == TWZDB_SEEK_LE ||
	       op == TWZDB_SEEK_BOTH || op == TWZDB_SEEK_BOTH_GE;
}

static int check_op(const struct twzdb_cursor *c, int op, const struct twzdb_slice *key,
		    const struct twzdb_slice *value)
{
	if (op < TWZDB_FIRST || op > TWZDB_SEEK_BOTH_GE)
		return twzdb__err(TWZDB_E_INVAL, "cursor: operation %d", op);
	if (op > TWZDB_CURRENT && !(twzdb__kind(c->tx, c->t) & TWZDB_TABLE_DUPSORT))
		return twzdb__err(TWZDB_E_KIND,
				  "cursor: operation %d, but the table is not DUPSORT", op);
	if (!op_seeks(op))
		return 0;
	if (!key || (key->len && !key->ptr))
		return twzdb__err(TWZDB_E_INVAL, "cursor: no key");
	if (unlikely(key->len > TWZDB_KEY_SHORT) && twzdb__key_check(*key, "cursor"))
		return TWZDB_E_TOOBIG;
	return op > TWZDB_CURRENT && !value ? twzdb__err(TWZDB_E_INVAL, "cursor: no value") : 0;
}

static int plain_get(struct twzdb_cursor *c, int op, struct twzdb_slice *key,
		     struct twzdb_slice *value)
{
	struct bkey k = {(const uint8_t *)"", 0};
	const struct rec_pm *r = NULL;
	int err;

	if (op_seeks(op) && key->len)
		k = (struct bkey){key->ptr, (uint32_t)key->len};
	if (value)
		*value = (struct twzdb_slice){NULL, 0};
	err = twzdb__cursor_move(c, op, k, &r);
	if (err)
		return err == TWZDB_E_NOTFOUND ? twzdb__cursor_lost(c, op) : err;
	err = twzdb__cursor_settle(c, r);
	if (unlikely(err))
		return err;
	if (key)
		*key = (struct twzdb_slice){rec_key(r), rec_klen(r)};
	if (value)
		*value = (struct twzdb_slice){rec_val(r), rec_vlen(r)};
	return 0;
}

int twzdb__cursor_get(struct twzdb_cursor *c, int op, struct twzdb_slice *key,
		      struct twzdb_slice *value)
{
	int err = twzdb__cursor_use(c, false);

	if (!err)
		err = check_op(c, op, key, value);
	if (err)
		return err;
	if (unlikely(twzdb__kind(c->tx, c->t)))
		return twzdb__kind_cursor_get(c, op, key, value);
	return plain_get(c, op, key, value);
}

int twzdb_cursor_put(struct twzdb_cursor *c, struct twzdb_slice value)
{
	int err = twzdb__cursor_use(c, true);

	if (!err && value.len && !value.ptr)
		err = twzdb__err(TWZDB_E_INVAL, "cursor: value without bytes");
	if (err)
		return err;
	if (twzdb__kind(c->tx, c->t) & TWZDB_TABLE_DUPSORT)
		return twzdb__dup_cursor_put(c, value);
	return twzdb__put_row(c->tx, c->table, cur_key(c), value, TWZDB_UPDATE);
}

int twzdb_cursor_del(struct twzdb_cursor *c)
{
	int err = twzdb__cursor_use(c, true);

	return err ? err : twzdb__del(c->tx, c->table, cur_key(c));
}

int twzdb_cursor_count(struct twzdb_cursor *c, uint64_t *cnt)
{
	int err;

	if (!cnt)
		return twzdb__err(TWZDB_E_INVAL, "cursor_count: no place for the count");
	*cnt = 0;
	err = twzdb__cursor_use(c, false);
	if (err)
		return err;
	if (c->state != CUR_AT)
		return twzdb__err(TWZDB_E_STATE, "cursor: not at a row");
	if (twzdb__kind(c->tx, c->t) & TWZDB_TABLE_DUPSORT)
		return twzdb__dup_cursor_count(c, cnt);
	*cnt = 1;
	return 0;
}
