/* SPDX-License-Identifier: MIT
 * point.c -- reading rows by key: one, or many at once
 *
 *	accelerator --miss--> quick way down the tree (find.h) --anything unusual--> search.c
 *
 * Each step gives the answer or nothing. A row found in the tree is put into the accelerator.
 */
#include "accel.h"
#include "find.h"

/* Own changes, and those of staged commits, are not in the accelerator, and not in the nodes at home. */
static inline bool is_quick(const struct twzdb_txn *tx)
{
	return likely(!tx->levels && (!tx->writer || tx->mods == tx->mods0));
}

/* Internal result: found, and it is a long row (struct rec_long_pm). */
#define LONG_ROW 2

static inline int say_long(int err, const struct rec_pm *r)
{
	return !err && rec_is_long(r) ? LONG_ROW : err;
}

/* The version TX sees, P being the newest, at R, not a long one. */
static inline int visible(struct twzdb_txn *tx, uint64_t p, const struct rec_pm *r,
			  const struct rec_pm **rec)
{
	if (unlikely(ld64(&r->ts) > tx->read_ts || rec_kind(r) != TWZDB_ROW)) {
		int err = twzdb__rec_visible(tx, p, rec);

		return say_long(err, *rec);
	}
	*rec = r;
	return 0;
}

/* What a key is looked for with. */
struct want {
	struct bkey k;
	uint64_t hash;
	uint32_t tag;
	bool acc; /* ask and fill the accelerator */
};

static inline struct want want(struct twzdb_txn *tx, uint32_t tag, struct bkey k)
{
	struct want w = {k, 0, tag, tx->db->acc.max && tag != TWZDB_TAG_NONE && is_quick(tx)};

	if (w.acc)
		w.hash = acc_hash(tag, k);
	return w;
}

static inline void learn(struct twzdb *db, const struct want *w, uint64_t p, const struct rec_pm *r)
{
	if (w->acc && rec_is_live(r))
		twzdb__acc_put(db, w->hash, p);
}

/* --- the quick way --- */

/* Newest version of K in the leaf the way has come to; 0: search.c knows. */
static inline uint64_t in_leaf(struct twzdb *db, const struct stop *leaf, struct bkey k,
			       const struct rec_pm **rec)
{
	for (uint32_t slots = slots_of(leaf, k); slots; slots &= slots - 1) {
		uint64_t p = ld64_acq(&leaf->n->ptr[__builtin_ctz(slots)]);

		fetch_rec(db, p);
		if (unlikely(!unchanged(leaf)))
			return 0;
		if (is_key(db, p, k, rec))
			return p;
	}
	return 0;
}

/* --- the way that always leads somewhere --- */

static int get_once(struct twzdb_txn *tx, uint64_t table, struct bkey key, struct nref *leaf,
		    uint64_t *p, const struct rec_pm **rec)
{
	unsigned pos;
	bool exact;
	int slot, err = twzdb__seek(tx, table, key, false, leaf, &pos, &exact, NULL);

	if (err || !exact)
		return err ? err : TWZDB_E_NOTFOUND;
	slot = node_slot(leaf->n, pos);
	if (slot < 0)
		return twzdb__node_bad(tx, leaf, "permutation out of range");
	*p = ld64_acq(&leaf->n->ptr[slot]);
	return nref_ok(leaf) ? twzdb__rec_visible(tx, *p, rec) : TWZDB__RETRY;
}

static int get_slow(struct twzdb_txn *tx, uint64_t table, const struct want *w,
		    const struct rec_pm **rec)
{
	struct again again = AGAIN_INIT;
	struct nref leaf;
	uint64_t p = 0;
	int err;

	*rec = NULL;
	do
		err = get_once(tx, table, w->k, &leaf, &p, rec);
	while (twzdb__again(tx, &again, leaf.p, &err));
	/* The version seen is the newest if it is LIVE. The accelerator knows no long rows. */
	err = say_long(err, *rec);
	if (!err)
		learn(tx->db, w, p, *rec);
	return err;
}

/* --- one --- */

__attribute__((noinline)) static int get_tree(struct twzdb_txn *tx, uint64_t table,
					      const struct want *w, const struct rec_pm **rec)
{
	const struct rec_pm *r;
	uint64_t root, p;
	int err = 0;

	if (unlikely(!is_quick(tx)))
		return get_slow(tx, table, w, rec);
	root = twzdb__table_root(tx, table, &err);
	p = root ? twzdb__simd_now()->find(tx->db, root, w->k, &r) : 0;
	if (unlikely(!p))
		return get_slow(tx, table, w, rec);
	learn(tx->db, w, p, r);
	return visible(tx, p, r, rec);
}

static inline int get(struct twzdb_txn *tx, uint64_t table, uint32_t tag, struct bkey key,
		      const struct rec_pm **rec)
{
	struct want w = want(tx, tag, key);
	uint64_t p = likely(w.acc) ? acc_find(tx->db, tag, key, w.hash, rec) : 0;

	if (unlikely(!p))
		return get_tree(tx, table, &w, rec);
	twzdb__acc_look(tx->db, p);
	tx->cut_seq = ld64_acq(&tx->db->acc.unit_seq);
	return visible(tx, p, *rec, rec);
}

int twzdb__get(struct twzdb_txn *tx, uint64_t table, struct bkey key, const struct rec_pm **rec)
{
	struct want w = {key, 0, 0, false};
	int err;

	*rec = NULL;
	err = key.len > TWZDB_KEY_SHORT ? get_slow(tx, table, &w, rec)
					: get(tx, table, twzdb__tag_of(tx->db, table), key, rec);
	return err == LONG_ROW ? 0 : err;
}

static inline struct bkey to_bkey(struct twzdb_slice s)
{
	struct bkey k = {s.ptr ? s.ptr : (const void *)"", (uint32_t)s.len};

	return k;
}

/* Everything that may keep a read from being the usual one. */
static int get_checked(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice key,
		       struct twzdb_slice *value)
{
	const struct rec_pm *r;
	int err;

	if (!value)
		return twzdb__err(TWZDB_E_INVAL, "get: no place for the value");
	*value = (struct twzdb_slice){NULL, 0};
	err = twzdb__txn_use(tx, "get", false);
	if (!err)
		err = twzdb__table_use(tx, t, "get");
	if (!err)
		err = twzdb__key_check(key, "get");
	if (err)
		return err;
	if (twzdb__kind(tx, t))
		return twzdb__kind_get(tx, t, key, value);
	err = twzdb__get(tx, t.h, to_bkey(key), &r);
	if (!err)
		*value = (struct twzdb_slice){rec_val(r), rec_vlen(r)};
	return err;
}

static inline bool is_usual(const struct twzdb_txn *tx, struct twzdb_table t)
{
	return likely(tx && t.h == tx->quick && t.tag == tx->use.tag && t.h);
}

int twzdb_get(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice key,
	      struct twzdb_slice *value)
{
	return __atomic_load_n(&twzdb__simd, __ATOMIC_RELAXED)
		->get(tx, t.h, t.tag, key.ptr, key.len, value);
}

int twzdb__get_any(struct twzdb_txn *tx, uint64_t h, uint64_t tag, const void *ptr, size_t len,
		   struct twzdb_slice *value)
{
	struct twzdb_table t = {h, tag};
	struct twzdb_slice key = {ptr, len};
	const struct rec_pm *r;
	int err;

	if (likely(is_usual(tx, t) && value && key.ptr && key.len <= TWZDB_KEY_SHORT)) {
		*value = (struct twzdb_slice){NULL, 0};
		err = get(tx, t.h, twzdb__tag_in(tx, t), (struct bkey){key.ptr, (uint32_t)key.len},
			  &r);
		if (likely(!err)) {
			*value = (struct twzdb_slice){r->data + key.len, rec_vlen_short(r)};
			return 0;
		}
		if (err == LONG_ROW) {
			*value = (struct twzdb_slice){rec_val(r), rec_vlen(r)};
			return 0;
		}
	} else {
		err = get_checked(tx, t, key, value);
	}
	return err == TWZDB_E_NOTFOUND ? twzdb__missing(tx->db, "get: no such key") : err;
}

int twzdb__get_usual(struct twzdb_txn *tx, const void *key, size_t len, struct twzdb_slice *value)
{
	return twzdb__get_any(tx, tx->use.h, tx->use.tag, key, len, value);
}

/* --- many: each step for all keys before the next one, so that their misses overlap --- */

#define MANY 16

struct job {
	struct want w;
	uint64_t p; /* newest version, 0: not found yet */
	const struct rec_pm *r;
	struct way way;
	enum way_end end;
};

static void ask_accelerator(struct twzdb *db, struct job *j, unsigned n)
{
	uint64_t *b[MANY];

	for (unsigned i = 0; i < n; i++) {
		b[i] = j[i].w.acc ? acc_bucket(db, j[i].w.hash) : NULL;
		if (b[i])
			fetch(b[i]);
	}
	for (unsigned i = 0; i < n; i++) {
		unsigned m = b[i] ? acc_match(b[i], j[i].w.hash) : 0;

		if (m)
			fetch_rec(db, acc_ptr(ld64(&b[i][__builtin_ctz(m)])));
		else
			b[i] = NULL;
	}
	for (unsigned i = 0; i < n; i++)
		if (b[i])
			j[i].p = acc_find(db, j[i].w.tag, j[i].w.k, j[i].w.hash, &j[i].r);
}

/* First candidate of each leaf: only asked for. */
static void fetch_found(struct twzdb *db, struct job *j, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint32_t slots = j[i].end == WAY_LEAF ? slots_of(&j[i].way.here, j[i].w.k) : 0;

		if (slots)
			fetch_rec(db, ld64(&j[i].way.here.n->ptr[__builtin_ctz(slots)]));
	}
}

static void go_down(struct twzdb *db, uint64_t root, struct job *j, unsigned n)
{
	bool on = false;

	for (unsigned i = 0; i < n; i++) {
		j[i].end = !j[i].p && way_begin(db, root, &j[i].way) ? WAY_ON : WAY_LOST;
		on |= j[i].end == WAY_ON;
	}
	while (on) {
		on = false;
		for (unsigned i = 0; i < n; i++) {
			if (j[i].end == WAY_ON)
				j[i].end = way_step(db, j[i].w.k, &j[i].way);
			on |= j[i].end == WAY_ON;
		}
	}
	fetch_found(db, j, n);
	for (unsigned i = 0; i < n; i++) {
		if (j[i].end != WAY_LEAF)
			continue;
		j[i].p = in_leaf(db, &j[i].way.here, j[i].w.k, &j[i].r);
		if (j[i].p)
			learn(db, &j[i].w, j[i].p, j[i].r);
	}
}

static int get_some(struct twzdb_txn *tx, struct twzdb_table t, unsigned n,
		    const struct twzdb_slice *keys, struct twzdb_slice *values, int *results)
{
	uint32_t tag = twzdb__tag_in(tx, t);
	struct job j[MANY];
	bool missed = false;
	int err = 0;

	for (unsigned i = 0; i < n; i++) {
		j[i].w = want(tx, tag, to_bkey(keys[i]));
		j[i].p = 0;
	}
	ask_accelerator(tx->db, j, n);
	for (unsigned i = 0; i < n; i++)
		missed |= !j[i].p;
	if (missed) {
		uint64_t root = twzdb__table_root(tx, t.h, &err);

		if (root)
			go_down(tx->db, root, j, n);
	}
	for (unsigned i = 0; i < n && (!err || err == TWZDB_E_NOTFOUND); i++) {
		err = j[i].p ? visible(tx, j[i].p, j[i].r, &j[i].r)
			     : get_slow(tx, t.h, &j[i].w, &j[i].r);
		err = err == LONG_ROW ? 0 : err;
		results[i] = err;
		if (!err)
			values[i] = (struct twzdb_slice){rec_val(j[i].r), rec_vlen(j[i].r)};
	}
	return err == TWZDB_E_NOTFOUND ? 0 : err;
}

/* *QUICK: no key is a long one. */
static int check_many(struct twzdb_txn *tx, struct twzdb_table t, size_t cnt,
		      const struct twzdb_slice *keys, struct twzdb_slice *values, int *results,
		      bool *quick)
{
	size_t longest = 0;
	int err = twzdb__txn_use(tx, "get_many", false);

	if (!err)
		err = twzdb__table_use(tx, t, "get_many");
	if (!err && cnt && (!keys || !values || !results))
		err = twzdb__err(TWZDB_E_INVAL, "get_many: no keys, or no place for the values");
	for (size_t i = 0; i < cnt && !err; i++) {
		longest = longest > keys[i].len ? longest : keys[i].len;
		if (unlikely(!keys[i].ptr || keys[i].len > TWZDB_KEY_SHORT))
			err = twzdb__key_check(keys[i], "get_many");
	}
	*quick = longest <= TWZDB_KEY_SHORT;
	return err;
}

int twzdb_get_many(struct twzdb_txn *tx, struct twzdb_table t, size_t cnt,
		   const struct twzdb_slice keys[], struct twzdb_slice values[], int results[])
{
	bool quick;
	int err = check_many(tx, t, cnt, keys, values, results, &quick);

	for (size_t i = 0; i < cnt && !err; i++) {
		values[i] = (struct twzdb_slice){NULL, 0};
		results[i] = TWZDB_E_NOTFOUND;
	}
	if (!err && (twzdb__kind(tx, t) || !is_quick(tx) || !quick)) {
		for (size_t i = 0; i < cnt && !err; i++) {
			results[i] = get_checked(tx, t, keys[i], &values[i]);
			err = results[i] == TWZDB_E_NOTFOUND ? 0 : results[i];
		}
		return !err && twzdb__is_cut(tx->db) ? twzdb__cut(tx->db) : err;
	}
	for (size_t i = 0; i < cnt && !err; i += MANY)
		err = get_some(tx, t, cnt - i < MANY ? (unsigned)(cnt - i) : MANY, keys + i,
			       values + i, results + i);
	return !err && unlikely(twzdb__is_cut(tx->db)) ? twzdb__cut(tx->db) : err;
}
