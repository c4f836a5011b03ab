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

#define GATHER 64 /* rows looked at together */

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

/*
 * The last leaf is full: it stays so, and KEY will begin the next one, which is behind it. What may find no space comes first:
 * if it does, nothing has changed.
 */
static int next_leaf(struct run *r, struct bkey key)
{
	struct twzdb_txn *tx = r->tx;
	struct rec_pm *rec;
	struct pnode *right;
	struct bkey last = r->key[TWZDB_FANOUT - 1], sep;
	struct path path;
	uint64_t lof;
	int err = twzdb__tail_path(tx, r->table, r->pn, &path);

	if (!err && r->done == TWZDB_FANOUT)
		err = twzdb__rec_key(tx->db, r->pn->img.ptr[r->pn->img.perm[TWZDB_FANOUT - 1]],
				     &last);
	if (!err)
		err = twzdb__reserve_nodes(tx, (unsigned)path.depth + 1);
	if (err)
		return err;
	sep = (struct bkey){key.p, twzdb__lcp(last, key) + 1};
	err = twzdb__rec_new(tx, 0, sep, NULL, 0, 0, TWZDB_FENCE, &lof, &rec);
	if (err)
		return err;
	err = twzdb__node_new(tx, 0, &right);
	if (!err)
		err = close_leaf(r, right, lof, sep);
	if (!err)
		err = twzdb__leaf_link(tx, r->table, &path, r->pn, right, sep);
	if (err)
		return twzdb__break(tx, err);
	tx->splits++;
	r->pn = right;
	r->done = 0;
	return 0;
}

/* As twzdb__rec_fill() does, which has the reasons for the order. */
static inline void fill(const struct run *r, struct rec_pm *rec, struct bkey key,
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
	if (likely(key.len))
		memcpy(rec->data, key.p, key.len);
	if (likely(value.len))
		memcpy(rec->data + key.len, value.ptr, value.len);
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

/* CNT rows of one class, in the blocks from P on. */
static void put_blocks(struct run *r, unsigned cls, uint64_t p, struct rec_pm *rec,
		       const struct bkey *keys, const struct twzdb_slice *values, unsigned cnt)
{
	uint32_t len = twzdb__block_lens[cls];

	for (unsigned i = 0; i < cnt; i++) {
		fill(r, rec, keys[i], values[i]);
		enter(r, keys[i], p);
		rec = (struct rec_pm *)(void *)((uint8_t *)rec + len);
		p += len;
	}
	r->pn->img.sts = r->tx->ts;
	r->tx->mods += cnt;
}

/* CNT rows of one class, one behind the other; *DONE counts them. */
static int put_class(struct run *r, unsigned cls, const struct bkey *keys,
		     const struct twzdb_slice *values, unsigned cnt, size_t *done)
{
	uint32_t len = twzdb__block_lens[cls];
	int err = 0;

	for (unsigned at = 0, n; at < cnt; at += n) {
		unsigned room = TWZDB_FANOUT - r->pn->img.n;
		struct rec_pm *rec;
		uint64_t p;

		err = twzdb__alloc_rec(r->tx, cls, len, &p, &rec);
		if (!err && !room) {
			err = next_leaf(r, keys[at]);
			room = TWZDB_FANOUT;
			if (err)
				twzdb__rec_unreserve(r->tx, p);
		}
		if (err)
			break;
		n = cnt - at < room ? cnt - at : room;
		n = 1 + twzdb__alloc_next(r->tx, cls, p + len, n - 1);
		put_blocks(r, cls, p, rec, keys + at, values + at, n);
		*done += n;
	}
	return err;
}

/* So many of the CNT rows from the first on are short, of one class, and in order behind LAST: their keys and class. */
static unsigned gather(const struct twzdb_slice *keys, const struct twzdb_slice *values, size_t cnt,
		       const struct bkey *last, struct bkey *out, unsigned *cls)
{
	unsigned n = 0, c;

	for (; n < GATHER && n < cnt; n++) {
		if (row_is_long(keys[n].len, values[n].len))
			break;
		out[n] = (struct bkey){keys[n].ptr ? keys[n].ptr : (const void *)"",
				       (uint32_t)keys[n].len};
		c = twzdb__class_of(rec_len_of(out[n].len, (uint32_t)values[n].len, TWZDB_ROW));
		if (c == TWZDB_CLS_LARGE || (n && c != *cls) ||
		    (last && bkey_cmp(*last, out[n]) >= 0))
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
