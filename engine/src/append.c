/* SPDX-License-Identifier: MIT
 * append.c -- many rows behind the last one of a table, by one call
 *
 * Rows in key order need no search: each comes behind the one before, in the table's last leaf. Blocks are taken many
 * at a time, rows are filled one after the other, and a leaf's heads are stored once, when its fences are known:
 * while it is the last one its range has no end, so that its prefix is nothing, and all its heads would change when
 * the next leaf begins. Leaves are left full.
 *
 * Nothing is committed here, and a failure leaves the rows put so far (a full store may have room for some more, one by one: insert.c).
 */
#include "place.h"
#include "recsum.h"
#include "space.h"

#define GATHER	   64	/* rows looked at together */
#define AHEAD	   1024 /* bytes: lines are asked for so long before they are filled */
#define COPY_SHORT 256

struct run {
	struct twzdb_txn *tx;
	uint64_t table;
	uint32_t tag;
	struct pnode *pn;	       /* the last leaf */
	unsigned done;		       /* its entries from here on have no heads yet; */
	struct bkey key[TWZDB_FANOUT]; /* these are their keys, by position */
};

/* The heads of the last leaf, for prefix PFX. */
static int settle(struct run *r, uint32_t pfx)
{
	struct node_pm *n = &r->pn->img;
	bool same = pfx == node_pfx(n);
	struct bkey k;

	for (unsigned i = same ? r->done : 0; i < n->n; i++) {
		unsigned slot = n->perm[i];
		int err = 0;

		if (i >= r->done)
			k = r->key[i];
		else
			err = twzdb__rec_key(r->tx->db, n->ptr[slot], &k);
		if (err)
			return err;
		n->head[slot] = twzdb__head(k, pfx);
	}
	node_pfx_set(n, pfx);
	r->done = n->n;
	return 0;
}

/* The last leaf ends below SEP, and RIGHT is the last one from now on. */
static int close_leaf(struct run *r, struct pnode *right, uint64_t lof, struct bkey sep)
{
	struct node_pm *n = &r->pn->img;
	uint32_t pfx = 0;
	struct bkey low;
	int err = n->lof ? twzdb__fence_key(r->tx, n->lof, &low) : 0;

	if (!err && n->lof)
		pfx = twzdb__lcp(low, sep);
	if (!err)
		err = settle(r, pfx);
	r->pn->diff = true;
	n->next = right->p;
	right->img.lof = lof;
	right->img.sts = r->tx->ts;
	return err;
}

/* What a new last leaf needs, before anything changes. */
struct next {
	struct path path; /* to the leaf that is full */
	struct bkey sep;
	uint64_t lof;
};

/*
 * The last leaf is full: it stays so, and KEY will begin the next one, which is behind it. What may find no space comes first, here:
 * if it does, nothing has changed, and from here on blocks are taken for rows only.
 */
static int next_plan(struct run *r, struct bkey key, struct next *nx)
{
	struct twzdb_txn *tx = r->tx;
	struct rec_pm *rec;
	struct bkey last = r->key[TWZDB_FANOUT - 1];
	int err = twzdb__tail_path(tx, r->table, r->pn, &nx->path);

	if (!err && r->done == TWZDB_FANOUT)
		err = twzdb__rec_key(tx->db, r->pn->img.ptr[r->pn->img.perm[TWZDB_FANOUT - 1]],
				     &last);
	if (!err)
		err = twzdb__reserve_nodes(tx, (unsigned)nx->path.depth + 1);
	if (err)
		return err;
	nx->sep = (struct bkey){key.p, twzdb__lcp(last, key) + 1};
	return twzdb__rec_new(tx, 0, nx->sep, NULL, 0, 0, TWZDB_FENCE, &nx->lof, &rec);
}

static int next_leaf(struct run *r, struct next *nx)
{
	struct twzdb_txn *tx = r->tx;
	struct pnode *right;
	int err = twzdb__node_new(tx, 0, &right);

	if (!err)
		err = close_leaf(r, right, nx->lof, nx->sep);
	if (!err)
		err = twzdb__leaf_link(tx, r->table, &nx->path, r->pn, right, nx->sep);
	if (err)
		return twzdb__break(tx, err);
	tx->splits++;
	r->pn = right;
	r->done = 0;
	return 0;
}

/* Values are seldom long, and where they go is not in the cache: a call costs more than the copy. */
static inline void copy_in(uint8_t *to, const uint8_t *from, uint32_t len)
{
	if (unlikely(len > COPY_SHORT)) {
		memcpy(to, from, len);
	} else if (len >= 32) {
		for (uint32_t i = 0; i + 32 < len; i += 32)
			memcpy(to + i, from + i, 32);
		memcpy(to + len - 32, from + len - 32, 32);
	} else if (len >= 16) {
		memcpy(to, from, 16);
		memcpy(to + len - 16, from + len - 16, 16);
	} else if (len >= 8) {
		memcpy(to, from, 8);
		memcpy(to + len - 8, from + len - 8, 8);
	} else {
		for (uint32_t i = 0; i < len; i++)
			to[i] = from[i];
	}
}

/* As twzdb__rec_fill() does, which has the reasons for the order. */
static inline uint32_t fill(const struct run *r, struct rec_pm *rec, struct bkey key,
			    struct twzdb_slice value)
{
	uint32_t vlf = (uint32_t)value.len | TWZDB_VLF_KIND(TWZDB_ROW),
		 klt = key.len | TWZDB_KLT_TABLE(r->tag);
	uint64_t ts = r->tx->ts, hash;

	st64(&rec->ts, ts);
	rec->link = TWZDB_LINK_RESERVED | r->tx->stamp;
	__atomic_thread_fence(__ATOMIC_RELEASE);
	st64(&rec->prev, 0);
	__atomic_store_n(&rec->vlf, vlf, __ATOMIC_RELAXED);
	__atomic_store_n(&rec->klt, klt, __ATOMIC_RELAXED);
	hash = recsum_data(key.p, key.len, value.ptr, (uint32_t)value.len);
	rec->sum = recsum(ts, 0, klt, vlf, hash);
	copy_in(rec->data, key.p, key.len);
	copy_in(rec->data + key.len, value.ptr, (uint32_t)value.len);
	return rec->sum;
}

static inline void enter(struct run *r, struct bkey key, uint64_t p)
{
	struct node_pm *n = &r->pn->img;
	unsigned slot = n->perm[n->n];

	n->ptr[slot] = p;
	r->key[n->n] = key;
	r->pn->mask |= NODE_ROW(slot);
	n->n++;
}

/* CNT rows of one class, in the blocks from P on; *SUM of them. */
static void put_blocks(struct run *r, unsigned cls, uint64_t p, struct rec_pm *rec,
		       const struct bkey *keys, const struct twzdb_slice *values, unsigned cnt,
		       uint64_t *sum)
{
	uint32_t len = twzdb__block_lens[cls];

	*sum = p;
	for (unsigned i = 0; i < cnt; i++) {
		for (uint32_t o = 0; o < len && o < 4 * TWZ_LINE_SIZE; o += TWZ_LINE_SIZE)
			__builtin_prefetch((uint8_t *)rec + AHEAD + o, 1);
		*sum = run_sum(*sum, fill(r, rec, keys[i], values[i]));
		enter(r, keys[i], p);
		rec = (struct rec_pm *)(void *)((uint8_t *)rec + len);
		p += len;
	}
	r->pn->img.sts = r->tx->ts;
	r->tx->mods += cnt;
}

/* Where the next CNT rows of the last leaf will be, as the first one remembers it, if the others' slots follow. */
static uint64_t hint_for(const struct run *r, unsigned cnt)
{
	const struct node_pm *n = &r->pn->img;
	unsigned slot = n->perm[n->n];

	for (unsigned i = 1; i < cnt; i++)
		if (n->perm[n->n + i] != slot + i)
			return 0;
	return r->pn->p | (uint64_t)slot << TWZDB_LONE_SHIFT;
}

/* Is there memory to note N blocks that lie one behind the other? */
static bool can_note(struct twzdb_txn *tx, unsigned n)
{
	struct u64vec *v = tx->db->page_media ? &tx->recs : &tx->runs;

	n = tx->db->page_media ? n : RUN_WORDS;
	while (v->cap - v->cnt < n)
		if (u64vec_grow(v))
			return false;
	return true;
}

/* On page media a row may have to be carried in the record: so each is listed (D2b). */
static void note(struct twzdb_txn *tx, struct rec_run_pm u, uint32_t len)
{
	if (!tx->db->page_media) {
		memcpy(tx->runs.v + tx->runs.cnt, &u, sizeof(u));
		tx->runs.cnt += RUN_WORDS;
		return;
	}
	for (unsigned i = 0; i < u.cnt; i++)
		tx->recs.v[tx->recs.cnt++] = u.where + (uint64_t)i * len;
}

/* Blocks for up to U->cnt rows, from U->where on: so many as U->cnt says then. *RUN: they stand in no list yet. */
static int take(struct run *r, unsigned cls, struct rec_run_pm *u, struct rec_pm **rec, bool *run)
{
	unsigned n = 0;

	if (can_note(r->tx, u->cnt))
		n = twzdb__alloc_run(r->tx, cls, u->cnt, &u->where, rec);
	*run = n != 0;
	u->cnt = n ? n : 1;
	return n ? 0 : twzdb__alloc_rec(r->tx, cls, twzdb__block_lens[cls], &u->where, rec);
}

/* One leaf's share of CNT rows of one class; *DONE counts them. */
static int put_some(struct run *r, unsigned cls, const struct bkey *keys,
		    const struct twzdb_slice *values, unsigned cnt, size_t *done)
{
	unsigned room = TWZDB_FANOUT - r->pn->img.n, max = room ? room : TWZDB_FANOUT;
	struct rec_run_pm u = {.cnt = cnt < max ? cnt : max};
	struct rec_pm *rec;
	struct next nx;
	bool run;
	int err = room ? 0 : next_plan(r, keys[0], &nx);

	if (err)
		return err;
	err = take(r, cls, &u, &rec, &run);
	if (err && !room)
		twzdb__rec_unreserve(r->tx, nx.lof);
	if (!err && !room)
		err = next_leaf(r, &nx); /* or nothing of this transaction stays */
	if (err)
		return err;
	u.leaf = hint_for(r, u.cnt);
	put_blocks(r, cls, u.where, rec, keys, values, u.cnt, &u.sum);
	if (run)
		note(r->tx, u, twzdb__block_lens[cls]);
	*done += u.cnt;
	return 0;
}

/* CNT rows of one class, one behind the other; *DONE counts them. */
static int put_class(struct run *r, unsigned cls, const struct bkey *keys,
		     const struct twzdb_slice *values, unsigned cnt, size_t *done)
{
	size_t from = *done;
	int err = 0;

	while (!err && *done - from < cnt) {
		size_t at = *done - from;

		err = put_some(r, cls, keys + at, values + at, cnt - (unsigned)at, done);
	}
	return err;
}

static inline uint64_t big_endian(const uint8_t *p)
{
	uint64_t w;

	memcpy(&w, p, sizeof(w));
	return __builtin_bswap64(w);
}

/* bkey_cmp(A, B) < 0, by the first bytes if they say so. */
static inline bool comes_before(struct bkey a, struct bkey b)
{
	for (unsigned i = 0; i < 16 && a.len >= 16 && b.len >= 16; i += 8) {
		uint64_t x = big_endian(a.p + i), y = big_endian(b.p + i);

		if (x != y)
			return x < y;
	}
	return bkey_cmp(a, b) < 0;
}

/* So many of the CNT rows from the first on are short, of one class, and in order behind LAST: their keys and class. */
static unsigned gather(const struct twzdb_slice *keys, const struct twzdb_slice *values, size_t cnt,
		       const struct bkey *last, struct bkey *out, unsigned *cls)
{
	unsigned n = 0, c;
	uint64_t len;

	for (; n < GATHER && n < cnt; n++) {
		if (row_is_long(keys[n].len, values[n].len))
			break;
		out[n] = (struct bkey){keys[n].ptr ? keys[n].ptr : (const void *)"",
				       (uint32_t)keys[n].len};
		len = rec_len_of(out[n].len, (uint32_t)values[n].len, TWZDB_ROW);
		c = likely(len <= TWZDB_FINE_MAX) ? class_fine(len) : twzdb__class_of(len);
		if (c == TWZDB_CLS_LARGE || (n && c != *cls) ||
		    (last && !comes_before(*last, out[n])))
			break;
		*cls = c;
		last = &out[n];
	}
	return n;
}

int twzdb__append_rows(struct twzdb_txn *tx, uint64_t table, const struct twzdb_slice *keys,
		       const struct twzdb_slice *values, size_t cnt, uint32_t flags, size_t *done)
{
	struct bkey part[GATHER], first = {keys->ptr, (uint32_t)keys->len};
	struct run r = {.tx = tx, .table = table};
	unsigned n, cls = 0;
	int err = 0, ret;

	if (cnt < 2 || flags & TWZDB_UPDATE || !first.p || row_is_long(keys->len, values->len) ||
	    !twzdb__tail_takes(tx, table, first))
		return 0;
	r.tag = twzdb__tag_of(tx->db, table);
	r.pn = tx->tail;
	r.done = r.pn->img.n;
	for (n = gather(keys, values, cnt, NULL, part, &cls); n && !err;) {
		struct bkey last = part[n - 1];

		err = put_class(&r, cls, part, values + *done, n, done);
		n = gather(keys + *done, values + *done, cnt - *done, &last, part, &cls);
	}
	if (tx->broken)
		return err;
	ret = settle(&r, node_pfx(&r.pn->img));
	twzdb__tail_set(tx, table, r.pn);
	return ret ? twzdb__break(tx, ret) : err;
}
