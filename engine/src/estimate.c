/* SPDX-License-Identifier: MIT
 * estimate.c -- how large a range or a table is, by looking at nodes
 */
#include "internal.h"

#define SAMPLES 4 /* children looked at in every inner node passed, besides the one taken */

/* Positions taken on a way down, and entries of the nodes passed; [0] is the leaf. */
struct way {
	int depth; /* levels; 0 = the table is empty */
	uint8_t idx[TWZDB_LEVEL_MAX + 1];
	uint8_t n[TWZDB_LEVEL_MAX + 1];
	/* entries of sampled nodes, and how many they are */
	uint32_t sum[TWZDB_LEVEL_MAX + 1], cnt[TWZDB_LEVEL_MAX + 1];
};

/* How full are the children of R, a node of level L? */
static int sample(struct twzdb_txn *tx, const struct nref *r, int l, struct way *w)
{
	unsigned n = w->n[l];
	struct nref child;
	int err = 0;

	for (unsigned i = 0; l && i < SAMPLES && n && !err; i++) {
		int slot = node_slot(r->n, (2 * i + 1) * n / (2 * SAMPLES));
		uint64_t p = slot < 0 ? 0 : ld64_acq(&r->n->ptr[slot]);

		if (!nref_ok(r))
			return TWZDB__RETRY;
		if (slot < 0)
			return twzdb__node_bad(tx, r, "permutation out of range");
		err = twzdb__node_get(tx, p, l - 1, &child);
		w->sum[l - 1] += err ? 0 : __atomic_load_n(&child.n->n, __ATOMIC_RELAXED);
		w->cnt[l - 1]++;
	}
	return err;
}

/*
 * From the root to the node of LEVEL for K. Readers do not go right here: a split in flight may
 * hide half a node, which is as good as any other error of an estimate. R->p is 0 if there is no
 * such level.
 */
static int go_down(struct twzdb_txn *tx, uint64_t table, struct bkey k, int level, struct way *w,
		   struct nref *r)
{
	int err, l = -1, slot;
	uint64_t p = twzdb__table_root(tx, table, &err);
	unsigned pos;
	bool exact;

	memset(w, 0, sizeof(*w));
	r->p = 0;
	while (!err && p) {
		err = twzdb__node_get(tx, p, l, r);
		if (err)
			break;
		if (l < 0)
			w->depth = (l = __atomic_load_n(&r->n->level, __ATOMIC_RELAXED)) + 1;
		if (l > TWZDB_LEVEL_MAX)
			return twzdb__node_bad(tx, r, "node at the wrong level");
		if (l < level) { /* the tree has become lower */
			r->p = 0;
			return 0;
		}
		err = twzdb__bound(tx, r, k, &pos, &exact);
		if (err)
			break;
		pos -= l && pos && !exact; /* entry 0 stands for everything below entry 1 */
		w->idx[l] = (uint8_t)pos;
		w->n[l] = __atomic_load_n(&r->n->n, __ATOMIC_RELAXED);
		if (l == level)
			return nref_ok(r) ? 0 : TWZDB__RETRY;
		err = sample(tx, r, l, w);
		if (err)
			break;
		slot = pos < w->n[l] ? node_slot(r->n, pos) : -1;
		if (slot < 0)
			return twzdb__node_bad(
				tx, r, "inner node without a child, or permutation out of range");
		p = ld64_acq(&r->n->ptr[slot]);
		if (!nref_ok(r))
			return TWZDB__RETRY;
		l--;
	}
	return err;
}

/* Rows between two ways through the same levels, if other nodes are as full as those seen. */
static double between(const struct way *lo, const struct way *hi)
{
	double below[TWZDB_LEVEL_MAX + 1], sum = 0; /* rows under a node of each level */
	int l = lo->depth - 1;

	for (int i = 0; i < lo->depth; i++)
		below[i] = (i ? below[i - 1] : 1) *
			   (lo->n[i] + hi->n[i] + lo->sum[i] + hi->sum[i]) /
			   (2 + lo->cnt[i] + hi->cnt[i]);
	while (l && lo->idx[l] == hi->idx[l])
		l--;
	if (!l)
		return hi->idx[0] - lo->idx[0];
	sum = (hi->idx[l] - lo->idx[l] - 1) * below[l - 1];
	for (l--; l > 0; l--)
		sum += (lo->n[l] - lo->idx[l] - 1 + hi->idx[l]) * below[l - 1];
	return sum + lo->n[0] - lo->idx[0] + hi->idx[0];
}

int twzdb__estimate(struct twzdb_txn *tx, uint64_t table, struct bkey from, struct bkey to,
		    uint64_t *rows)
{
	struct again again = AGAIN_INIT;
	struct way lo, hi;
	struct nref r;
	double sum;
	int err;

	*rows = 0;
	if (bkey_cmp(from, to) >= 0)
		return 0;
	do {
		err = go_down(tx, table, from, 0, &lo, &r);
		if (!err)
			err = go_down(tx, table, to, 0, &hi, &r);
		if (!err && lo.depth != hi.depth) /* another root came between */
			err = TWZDB__RETRY;
	} while (twzdb__again(tx, &again, r.p ? r.p : table, &err));
	if (err || !lo.depth)
		return err;
	sum = between(&lo, &hi);
	*rows = sum > 0 ? (uint64_t)(sum + 0.5) : 0;
	return 0;
}

/* --- a table's nodes and bytes --- */

/* Nodes of LEVEL, from left to right; one that went away is looked for again by its low fence. */
static int count_level(struct twzdb_txn *tx, uint64_t table, int level, uint64_t *cnt)
{
	struct bkey from = {(const uint8_t *)"", 0};
	struct again again = AGAIN_INIT;
	struct nref r;
	struct way w;
	uint64_t lof;
	int err;

	*cnt = 0;
	do {
		err = go_down(tx, table, from, level, &w, &r);
		while (!err && r.p) {
			uint64_t next = ld64_acq(&r.n->next);

			if (!nref_ok(&r)) {
				err = TWZDB__RETRY;
				break;
			}
			if (++*cnt > twzdb__node_limit(tx->db))
				return twzdb__corrupt(tx->db, next, "right-links lead in circles");
			again.tries = 0;
			if (!next)
				return 0;
			err = twzdb__node_lof(tx, next, &lof);
			if (!err)
				err = twzdb__fence_key(tx, lof, &from);
			if (!err)
				err = twzdb__node_get(tx, next, level, &r);
		}
	} while (twzdb__again(tx, &again, r.p ? r.p : table, &err));
	return err;
}

static int sum_bytes(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_table_stats *st)
{
	const struct rec_pm *r;
	struct twzdb_cursor *c;
	int err = twzdb_cursor_open(tx, t, &c);

	if (err)
		return err;
	err = twzdb__cursor_move(c, TWZDB_FIRST, BKEY_INF, &r);
	while (!err) {
		st->rows++;
		st->key_len += rec_klen(r);
		st->value_len += rec_vlen(r);
		err = twzdb__cursor_settle(c, r);
		if (!err)
			err = twzdb__cursor_move(c, TWZDB_NEXT, BKEY_INF, &r);
	}
	twzdb_cursor_close(c);
	return err == TWZDB_E_NOTFOUND ? 0 : err;
}

static int count_nodes(struct twzdb_txn *tx, uint64_t table, struct twzdb_table_stats *st)
{
	struct again again = AGAIN_INIT;
	uint64_t cnt;
	struct nref r;
	struct way w;
	int err;

	do
		err = go_down(tx, table, BKEY_INF, 0, &w, &r);
	while (twzdb__again(tx, &again, r.p ? r.p : table, &err));
	if (err)
		return err;
	st->depth = (uint32_t)w.depth;
	for (int l = 0; l < w.depth && !err; l++) {
		err = count_level(tx, table, l, &cnt);
		*(l ? &st->inner : &st->leaves) += cnt;
	}
	return err;
}

int twzdb_table_stats(struct twzdb_txn *tx, struct twzdb_table t, uint32_t flags,
		      struct twzdb_table_stats *out)
{
	struct twzdb_table_stats st = {.size = sizeof(st)};
	int err;

	if (!out || !out->size || flags & ~(uint32_t)TWZDB_STATS_BYTES)
		return twzdb__err(TWZDB_E_INVAL, "table_stats: size not set, or flags 0x%x", flags);
	err = twzdb__txn_use(tx, "table_stats", false);
	if (!err)
		err = twzdb__table_use(tx, t, "table_stats");
	if (err)
		return err;
	st.kind = twzdb__kind(tx, t);
	err = count_nodes(tx, t.h, &st);
	if (!err)
		err = flags & TWZDB_STATS_BYTES ? sum_bytes(tx, t, &st)
						: twzdb__count(tx, t.h, &st.rows);
	if (err)
		return err;
	st.size = out->size;
	memcpy(out, &st, out->size < sizeof(st) ? out->size : sizeof(st));
	return 0;
}
