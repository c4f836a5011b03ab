/* SPDX-License-Identifier: MIT
 * check.c -- every invariant of a database, numbered (README.md lists them)
 *
 * Runs under the writer lock: nothing is in flight, so the live blocks must be exactly the
 * reachable ones. Everything is bounds-checked by hand here; a broken structure is reported and
 * not followed further.
 */
#include "group.h"

#include <stdarg.h>

struct checker {
	struct twzdb_txn *tx;
	struct twzdb *db;
	void (*fn)(void *ctx, const char *where, const char *what);
	void *ctx;
	uint64_t found;
	struct u64map seen;   /* reached blocks */
	uint64_t nodes, recs; /* reached */
	int err;
	/* walking one tree */
	const char *table;
	uint32_t kind;
	uint32_t tag;
	uint64_t last[TWZDB_LEVEL_MAX + 1]; /* previous node of each level */
};

static void found(struct checker *c, uint64_t p, const char *fmt, ...) TWZ_PRINTF(3, 4);
static void found(struct checker *c, uint64_t p, const char *fmt, ...)
{
	char where[128], what[256];
	va_list ap;

	snprintf(where, sizeof(where), "database '%.32s' table '%.32s' object %llu offset 0x%llx",
		 c->db->name, c->table, (unsigned long long)(p >> TWZ_PPTR_OFF_BITS),
		 (unsigned long long)(p & TWZ_PPTR_OFF_MASK));
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	c->found++;
	if (c->fn)
		c->fn(c->ctx, where, what);
}

/* I1: no block is reached twice. */
static bool first_visit(struct checker *c, uint64_t p)
{
	uint64_t v;

	if (u64map_get(&c->seen, p, &v)) {
		found(c, p, "I1: block reached twice");
		return false;
	}
	if (u64map_put(&c->seen, p, 1))
		c->err = twzdb__err(-ENOMEM, "check: no memory");
	return !c->err;
}

/*
 * I2: record pointers name blocks of record units. I3: what is reachable is LIVE. I4: lengths
 * fit the block. I5: checksum.
 */
static const struct rec_pm *check_rec(struct checker *c, uint64_t p, enum twzdb_rec_kind kind)
{
	const struct rec_pm *r;

	if (!twzdb__is_rec_strict(c->db, p)) {
		found(c, p, "I2: pointer to a record names no record block");
		return NULL;
	}
	if (!first_visit(c, p))
		return NULL;
	c->recs++;
	r = twzdb__at(c->db, p, sizeof(*r));
	if (!rec_is_live(r))
		found(c, p, "I3: reachable record is not LIVE");
	if (!twzdb__rec_fits(r, twzdb__block_len(c->db, p))) {
		found(c, p, "I4: record (lengths 0x%x, 0x%x) does not fit its block",
		      rec_klen_short(r), rec_vlen_short(r));
		return NULL;
	}
	if (r->sum != twzdb__rec_sum(r))
		found(c, p, "I5: record checksum");
	if (rec_kind(r) != kind && !(kind == TWZDB_ROW && rec_is_tomb(r)))
		found(c, p, "I6: record is of the wrong kind (%u)", rec_kind(r));
	if (kind == TWZDB_ROW && rec_table(r) != c->tag)
		found(c, p, "I6: record of another table (%u)", rec_table(r));
	if (r->ts > c->tx->snap)
		found(c, p, "I7: record is newer than the last commit");
	return r;
}

/* I8: node pointers name node blocks, live. I9: level, count, permutation. */
static const struct node_pm *check_node_head(struct checker *c, uint64_t p, int level)
{
	const struct node_pm *n;
	uint32_t seen = 0;

	if (!twzdb__is_node_strict(c->db, p)) {
		found(c, p, "I8: pointer to a node names no node block");
		return NULL;
	}
	if (!first_visit(c, p))
		return NULL;
	c->nodes++;
	n = twzdb__at(c->db, p, sizeof(*n));
	if (n->flags != TWZDB_NODE_LIVE || n->ver & 1)
		found(c, p, "I8: reachable node has flags 0x%x, version %u", n->flags, n->ver);
	for (unsigned i = 0; i < TWZDB_FANOUT; i++)
		seen |= n->perm[i] < TWZDB_FANOUT ? (uint32_t)1 << n->perm[i] : 0;
	if ((level >= 0 && n->level != level) || n->level > TWZDB_LEVEL_MAX ||
	    n->n > TWZDB_FANOUT || seen != ((uint32_t)1 << TWZDB_FANOUT) - 1 ||
	    (n->level && !n->n)) {
		found(c, p, "I9: level %u (want %d), %u entries, permutation 0x%x", n->level, level,
		      n->n, seen);
		return NULL;
	}
	return n;
}

/*
 * I10: nodes of a level are linked from left to right in key order, and the last one has no
 * sibling.
 */
static void check_link(struct checker *c, uint64_t p, const struct node_pm *n)
{
	uint64_t left = c->last[n->level];
	const struct node_pm *l = left ? twzdb__at(c->db, left, sizeof(*l)) : NULL;

	if (l && l->next != p)
		found(c, left, "I10: right-link leads to 0x%llx, the next node is 0x%llx",
		      (unsigned long long)l->next, (unsigned long long)p);
	c->last[n->level] = p;
}

/* I11: the fences share the prefix. I12: low fence as the parent says. */
static void check_fences(struct checker *c, uint64_t p, const struct node_pm *n, struct bkey lo,
			 struct bkey hi)
{
	uint32_t pfx = bkey_is_inf(hi) || !n->lof ? 0 : twzdb__lcp(lo, hi);

	if (node_pfx(n) > pfx || (n->pfx < TWZDB_PFX_LONG && n->pfx_hi))
		found(c, p, "I11: prefix of %u bytes, the fences share %u", node_pfx(n), pfx);
	if ((n->lof == 0) != (lo.len == 0))
		found(c, p, "I12: low fence is not the one that led here");
	if (n->level == 0 && n->lof)
		check_rec(c, n->lof, TWZDB_FENCE);
}

static bool key_at(struct checker *c, const struct node_pm *n, uint64_t p, unsigned slot,
		   struct bkey *k)
{
	struct nref r = {n, p, n->ver};

	if (!twzdb__entry_key(c->tx, &r, slot, k))
		return true;
	found(c, p, "I13: entry %u has no key", slot);
	return false;
}

/* I13: keys ascend. I14: they lie between the fences. I15: heads are right, free ones ~0. */
static void check_order(struct checker *c, uint64_t p, const struct node_pm *n, struct bkey lo,
			struct bkey hi)
{
	uint32_t pfx = node_pfx(n);
	struct bkey prev = lo, k;

	for (unsigned i = 0; i < TWZDB_FANOUT; i++) {
		unsigned s = n->perm[i];
		int cmp;

		if (i >= n->n) {
			if (n->head[s] != UINT64_MAX)
				found(c, p, "I15: head of free slot %u", s);
			continue;
		}
		if (!key_at(c, n, p, s, &k))
			return;
		cmp = bkey_cmp(prev, k);
		if (cmp > 0 || (cmp == 0 && i))
			found(c, p, "%s: entry %u", i ? "I13: order" : "I14: below the low fence",
			      i);
		if (n->head[s] != twzdb__head(k, pfx))
			found(c, p, "I15: head of slot %u", s);
		prev = k;
	}
	if (n->n && bkey_cmp(prev, hi) >= 0)
		found(c, p, "I14: last entry is not below the high fence");
}

/* I16: the leaf counts its tombstones. I21: keys, and empty values, are as the table's kind wants. */
static void check_leaf(struct checker *c, uint64_t p, const struct node_pm *n)
{
	unsigned tombs = 0;

	for (unsigned i = 0; i < n->n; i++) {
		const struct rec_pm *r = check_rec(c, n->ptr[n->perm[i]], TWZDB_ROW);

		tombs += r && rec_is_tomb(r);
		if (r && !twzdb__kind_sound(c->kind, r))
			found(c, n->ptr[n->perm[i]], "I21: key is none of the table's kind (0x%x)",
			      c->kind);
	}
	if (tombs != n->tombs)
		found(c, p, "I16: %u tombstones, the leaf says %u", tombs, n->tombs);
	if (n->sts > c->tx->snap)
		found(c, p, "I7: leaf changed after the last commit");
}

static void check_node(struct checker *c, uint64_t p, int level, struct bkey lo, struct bkey hi)
{
	const struct node_pm *n = check_node_head(c, p, level);

	if (!n || c->err)
		return;
	check_link(c, p, n);
	check_fences(c, p, n, lo, hi);
	check_order(c, p, n, lo, hi);
	if (n->level == 0)
		check_leaf(c, p, n);
	for (unsigned i = 0; n->level && i < n->n && !c->err; i++) {
		struct bkey k = lo, next = hi;

		/* Entry 0 stands for the node's own low fence. */
		if ((i && !key_at(c, n, p, n->perm[i], &k)) ||
		    (i + 1 < n->n && !key_at(c, n, p, n->perm[i + 1], &next)))
			return;
		check_node(c, n->ptr[n->perm[i]], n->level - 1, k, next);
	}
}

static void check_tree(struct checker *c, uint64_t table)
{
	const struct table_pm *t = twzdb__table_at(c->db, table);

	memset(c->last, 0, sizeof(c->last));
	if (!t || !t->root)
		return;
	c->tag = table_tag(t->id);
	c->kind = TWZDB_TABLE_KIND(t->id);
	check_node(c, t->root, -1, (struct bkey){(const uint8_t *)"", 0}, BKEY_INF);
	for (unsigned l = 0; l <= TWZDB_LEVEL_MAX; l++) {
		const struct node_pm *n =
			c->last[l] ? twzdb__at(c->db, c->last[l], sizeof(*n)) : NULL;

		if (n && n->next)
			found(c, c->last[l], "I10: last node of level %u has a right sibling", l);
	}
}

/* I17: a catalog entry leads to a live anchor with the same id. */
static int check_table(void *ctx, const char *name, uint64_t rows)
{
	struct checker *c = ctx;
	struct twzdb_table t;

	(void)rows;
	c->table = name;
	if (twzdb_table_open(c->tx, name, TWZDB_TABLE_ANY, &t)) {
		found(c, twzdb__catalog(), "I17: table cannot be opened: %s", twzdb_errmsg());
		return 0;
	}
	if (check_rec(c, t.h - TWZDB_ANCHOR_OFF, TWZDB_TABLE))
		check_tree(c, t.h);
	return c->err;
}

/* --- units --- */

static bool dead_later(const struct rec_pm *r, uint64_t snap)
{
	/* A base is kept for a commit before that is one, and it need not become one (hold.c). */
	return !(r->link & (TWZDB_LINK_RESERVED | TWZDB_LINK_BASE)) && r->link > snap;
}

static void check_blocks(struct checker *c, uint64_t p, const struct unit_pm *u)
{
	for (uint32_t b = 0; b < u->block_cnt; b++) {
		uint64_t at = p + u->first + (uint64_t)b * u->block_len, v;
		const void *blk = (const uint8_t *)u + u->first + (uint64_t)b * u->block_len;
		bool node = u->kind == TWZDB_UNIT_NODES;
		bool live = node ? ((const struct node_pm *)blk)->flags & TWZDB_NODE_LIVE
				 : rec_is_live(blk);

		if (live && !u64map_get(&c->seen, at, &v))
			found(c, at, "I18: block is LIVE but nothing leads to it");
		if (!live && !node && dead_later(blk, c->tx->snap))
			found(c, at, "I7: record freed after the last commit");
	}
}

/* I22: the unit table agrees with the headers, as far as it knows them. */
static void check_table_of_units(struct checker *c, uint64_t p, uint32_t i, uint64_t u,
				 const struct unit_pm *h)
{
	const uint32_t *e = c->db->map[TWZDB_NO_DATA + i].units;

	for (uint32_t k = 0; e && k < h->run; k++) {
		uint32_t w = __atomic_load_n(&e[u + k], __ATOMIC_RELAXED);

		if (w & TWZDB_UT_KNOWN && TWZDB_UT_CLASS(w) != (k ? TWZDB_CLS_CONT : h->cls))
			found(c, p, "I22: unit %u of %u is of class %u for the unit table, not %u",
			      k, h->run, TWZDB_UT_CLASS(w), h->cls);
	}
}

/*
 * I19: unit headers are valid and follow each other without gaps up to the number in the root;
 * nothing lies behind.
 */
static void check_units(struct checker *c, uint32_t i)
{
	uint64_t u = 0, cnt = c->db->root->units[i], p;

	while (u < cnt) {
		const struct unit_pm *h;

		p = twz_pptr_make(TWZDB_NO_DATA + i, TWZ_DATA_OFF + (u << TWZDB_UNIT_SHIFT)).v;
		h = twzdb__unit_of(c->db, p);
		if (!h || u + h->run > cnt) {
			found(c, p, "I19: unit header");
			return;
		}
		check_blocks(c, p, h);
		check_table_of_units(c, p, i, u, h);
		u += h->run;
	}
}

/* I23: what is prepared is whole, and could be committed. */
static void check_prepared(struct checker *c)
{
	const struct prep_pm *p;
	int err = twzdb__prep_get(c->db, &p);

	if (!err && p)
		err = twzdb__prep_check(c->db, p);
	if (err)
		found(c, DB_PTR(offsetof(struct db_pm, prepared)), "I23: %s", twzdb_errmsg());
}

static void check_all(struct checker *c)
{
	int err;

	c->table = "(catalog)";
	if (c->db->root->ts != c->tx->snap)
		found(c, DB_PTR(0), "I20: root says commit %llu, the latest is %llu",
		      (unsigned long long)c->db->root->ts, (unsigned long long)c->tx->snap);
	check_tree(c, twzdb__catalog());
	err = twzdb_table_list(c->tx, check_table, c);
	c->table = "(catalog)"; /* the name was the list's */
	if (err && !c->err)
		found(c, twzdb__catalog(), "I17: listing the tables failed: %s", twzdb_errmsg());
	c->table = "(space)";
	if (c->db->root->obj_cnt != twzdb__obj_cnt(c->db))
		found(c, DB_PTR(offsetof(struct db_pm, obj_cnt)), "I19: number of data objects");
	for (uint32_t i = 0; i < twzdb__obj_cnt(c->db) && !c->err; i++)
		check_units(c, i);
	check_prepared(c);
}

int twzdb_check(struct twzdb *db, void (*fn)(void *ctx, const char *where, const char *what),
		void *ctx, uint64_t *cnt)
{
	struct checker c = {.db = db, .fn = fn, .ctx = ctx, .table = ""};
	int err;

	if (!db)
		return twzdb__err(TWZDB_E_INVAL, "check: no database");
	if (cnt)
		*cnt = 0;
	err = twzdb__begin_look(db, "check", &c.tx);
	if (err)
		return err;
	check_all(&c);
	twzdb_abort(c.tx);
	u64map_free(&c.seen);
	if (cnt)
		*cnt = c.found;
	return c.err;
}
