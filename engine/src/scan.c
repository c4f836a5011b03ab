/* SPDX-License-Identifier: MIT
 * scan.c -- a reader's cursor going forward while nothing is in its way
 *
 * As find.h does for single rows: what is found here is right, and whatever is unusual (a node
 * being changed, a row of another time, the end) is left to cursor.c, which starts from the same
 * cursor.
 *
 * The cursor takes the addresses of a leaf's rows out of it all at once. They stay right for as long as the
 * snapshot does, whatever happens to the leaf: they are the newest versions of some moment after the
 * snapshot was taken, so each either is the version the snapshot sees or leads to it, and none is reused
 * before the snapshot is gone. Only what comes behind the leaf's last row has to be asked of the leaf.
 *
 * A scan is as fast as rows come out of memory, so they are asked for AHEAD rows early,
 * over the end of the leaf too, and a leaf when the one before it is entered.
 * Most cursors are used for many scans of one kind. So the first rows are asked for together, as
 * many as the scan before had; and if the two before had the same length, none beyond that.
 */
#include "find.h"

#include <limits.h>

#define AHEAD	 8
#define NO_END	 UINT32_MAX
#define NOINLINE __attribute__((noinline)) /* so that what a usual row takes needs no stack */
#define ROW_MAX	 8192U /* rows of more bytes, header included, are left to cursor.c */
#define VAL_MAX	 (ROW_MAX - TWZDB_REC_LEN - TWZDB_KEY_SHORT)

static inline unsigned count_of(const struct node_pm *n)
{
	return __atomic_load_n(&n->n, __ATOMIC_RELAXED);
}

/* --- rows to come --- */

static inline void fetch_row(const struct rec_pm *r)
{
	uintptr_t at = (uintptr_t)r; /* a number: R may be NULL */

	fetch((const void *)at);
	fetch((const void *)(at + 64));
	fetch((const void *)(at + 128));
}

/* Of the leaf behind the cursor's. Whatever is read here is a hint. */
static inline void look_behind(const struct twzdb_cursor *c, unsigned pos)
{
	const struct node_pm *n = c->soon;
	int slot;

	if (!n || pos >= TWZDB_FANOUT || pos >= count_of(n))
		return;
	slot = node_slot(n, pos);
	if (likely(slot >= 0))
		fetch_rec(c->tx->db, ld64(&n->ptr[slot]));
}

static inline void look_ahead(const struct twzdb_cursor *c, unsigned pos)
{
	if (likely(pos < c->to))
		fetch_row(c->rows[pos]);
	else
		look_behind(c, pos - c->to);
}

/* The cursor is at row POS: will rows of the leaf behind its own be wanted? */
static inline bool goes_on(const struct twzdb_cursor *c, unsigned pos)
{
	return (uint64_t)pos + c->ahead + c->left >= c->to;
}

/* The next leaf will be wanted soon: where its rows are. */
static NOINLINE void fetch_next(struct twzdb_cursor *c)
{
	const struct node_pm *n = node_at(c->tx->db, ld64(&c->leaf.n->next));

	c->soon = n;
	if (!n)
		return;
	fetch(n);
	for (unsigned i = offsetof(struct node_pm, ptr) & ~63U; i < sizeof(*n); i += 64)
		fetch((const uint8_t *)n + i);
}

void twzdb__scan_start(struct twzdb_cursor *c)
{
	c->soon = NULL;
	c->to = 0;
	c->ahead = 0;
	c->left = NO_END;
}

void twzdb__scan_step(struct twzdb_cursor *c, unsigned cnt)
{
	c->ahead -= c->ahead < cnt ? c->ahead : cnt;
	if (c->pos >= c->to || cnt > TWZDB_FANOUT)
		c->to = 0;
}

/*
 * The cursor has come to row POS, and too few beyond it have been asked for: because it has just
 * begun, or because nobody thought that it would come this far.
 */
static NOINLINE void catch_up(struct twzdb_cursor *c, unsigned pos)
{
	if (c->ahead)
		c->ahead--;
	else if (!c->left)
		c->left = NO_END;
	if (!c->soon && goes_on(c, pos))
		fetch_next(c);
	for (; c->ahead < AHEAD && c->left; c->left--)
		look_ahead(c, pos + ++c->ahead);
}

/* --- rows of a leaf --- */

/* Where rows of one data object may begin: END offsets from FROM on. */
struct rows_in {
	uint64_t no, end;
	uintptr_t from;
};

static inline struct rows_in rows_in(const struct twzdb *db, uint64_t no)
{
	struct rows_in in = {no, 0, 0};

	if (likely(no < TWZDB_NO_DATA + TWZDB_OBJ_MAX)) {
		uint64_t end = ld64_acq(&db->map[no].end);

		in.end = end > TWZ_DATA_OFF + ROW_MAX ? end - TWZ_DATA_OFF - ROW_MAX : 0;
		in.from = db->map[no].base + TWZ_DATA_OFF;
	}
	return in;
}

/* NULL: not a record's address, or too near to the end of what is mapped. */
static inline const struct rec_pm *row_addr(const struct rows_in *in, uint64_t p)
{
	uint64_t off = (p & TWZ_PPTR_OFF_MASK) - TWZ_DATA_OFF;

	return likely(off < in->end && !(p & 15)) ? (const struct rec_pm *)(in->from + off) : NULL;
}

/* The addresses of rows POS to the end of LEAF, which has CNT. */
static inline bool take_rows(struct twzdb_cursor *c, const struct nref *leaf, unsigned pos,
			     unsigned cnt)
{
	struct rows_in in = rows_in(c->tx->db, TWZDB_NO_DATA);

	c->to = 0;
	if (unlikely(cnt > TWZDB_FANOUT))
		return false;
	for (unsigned i = pos; i < cnt; i++) {
		int slot = node_slot(leaf->n, i);
		uint64_t p = likely(slot >= 0) ? ld64_acq(&leaf->n->ptr[slot]) : 0;

		if (unlikely(p >> TWZ_PPTR_OFF_BITS != in.no))
			in = rows_in(c->tx->db, p >> TWZ_PPTR_OFF_BITS);
		c->rows[i] = row_addr(&in, p);
	}
	if (unlikely(!nref_ok(leaf)))
		return false;
	c->to = cnt;
	return true;
}

/* R, if the transaction sees this version, it is a row's, and no long one. */
static inline const struct rec_pm *seen(const struct twzdb_txn *tx, const struct rec_pm *r)
{
	uint64_t what;

	if (unlikely(!r))
		return NULL;
	what = twzdb__rec_what(r);
	/* The kind of a row is 0, and stands above the length. */
	if (unlikely((what & (TWZDB_VLF_KIND(3) | TWZDB_VLF_LEN)) > VAL_MAX ||
		     (what >> 32 & TWZDB_KLT_LEN) > TWZDB_KEY_SHORT || ld64(&r->ts) > tx->read_ts))
		return NULL;
	return r;
}

static bool next_leaf(struct twzdb_cursor *c)
{
	uint64_t next = ld64_acq(&c->leaf.n->next);
	const struct node_pm *n = node_at(c->tx->db, next);
	struct stop s;

	if (!n || !nref_ok(&c->leaf) || !arrive(n, &s) || HDR_LEVEL(s.hdr))
		return false;
	if (!nref_ok(&c->leaf)) /* NEXT was the neighbour when its version was read */
		return false;
	c->leaf = (struct nref){n, next, (uint32_t)s.hdr};
	c->pos = UINT_MAX; /* before its first row */
	c->soon = NULL;
	if (!take_rows(c, &c->leaf, 0, HDR_N(s.hdr)))
		return false;
	if (goes_on(c, 0))
		fetch_next(c);
	return c->to;
}

/* No address of a row behind the cursor's is known: the next ones. */
static NOINLINE bool more_rows(struct twzdb_cursor *c)
{
	unsigned pos = c->pos + 1, cnt;

	if (!c->leaf.p)
		return false;
	cnt = c->to ? c->to : count_of(c->leaf.n);
	return pos < cnt ? take_rows(c, &c->leaf, pos, cnt) : next_leaf(c);
}

/* --- the quick way --- */

/* The row behind the cursor's, whose address is known, as most are. NULL: it is not, or not this way. */
static inline const struct rec_pm *usual_next(struct twzdb_cursor *c)
{
	unsigned pos = c->pos + 1;
	const struct rec_pm *r;

	if (unlikely(pos >= c->to || (c->left ? c->ahead != AHEAD : !c->ahead)))
		return NULL;
	r = seen(c->tx, c->rows[pos]);
	if (unlikely(!r))
		return NULL;
	c->pos = pos;
	c->run++;
	if (!c->left) { /* all that will be wanted has been asked for */
		c->ahead--;
		return r;
	}
	c->left--;
	look_ahead(c, pos + AHEAD);
	return r;
}

static const struct rec_pm *scan_next(struct twzdb_cursor *c)
{
	const struct rec_pm *r;
	unsigned pos;

	if (c->pos + 1 >= c->to && !more_rows(c))
		return NULL;
	pos = c->pos + 1;
	r = seen(c->tx, c->rows[pos]);
	if (unlikely(!r))
		return NULL;
	/*
	 * Whoever loops over NEXT comes to an end, whatever the tree looks like (D10): the first rows of leaves
	 * rise, whatever stands between them.
	 */
	if (!pos) {
		struct bkey k = {r->data, rec_klen_short(r)};

		if (bkey_cmp(k, cur_key(c)) <= 0 || (c->low && bkey_cmp(k, rec_bkey(c->low)) <= 0))
			return NULL;
		c->low = r;
	}
	c->pos = pos;
	c->run++;
	catch_up(c, pos);
	return r;
}

static inline const struct rec_pm *row_at(const struct twzdb_txn *tx, const struct nref *leaf,
					  unsigned pos)
{
	int slot = node_slot(leaf->n, pos);
	struct rows_in in;
	uint64_t p;

	if (unlikely(slot < 0))
		return NULL;
	p = ld64_acq(&leaf->n->ptr[slot]);
	in = rows_in(tx->db, p >> TWZ_PPTR_OFF_BITS);
	return likely(nref_ok(leaf)) ? seen(tx, row_addr(&in, p)) : NULL;
}

/* Position of the first row >= K in the leaf, if it can be told and is there. */
static inline bool lower_bound(const struct twzdb_txn *tx, const struct spot *s, struct bkey k,
			       unsigned *pos)
{
	const struct rec_pm *r;

	*pos = s->m.below;
	if (unlikely(s->m.eq & (s->m.eq - 1)))
		return false;
	if (s->m.eq) {
		r = *pos < s->n ? row_at(tx, &s->leaf, *pos) : NULL;
		if (!r)
			return false;
		*pos += bkey_cmp((struct bkey){r->data, rec_klen_short(r)}, k) < 0;
	}
	return *pos < s->n;
}

/* A scan is going to begin at row POS of S->leaf, and to go on for as long as the one before it. */
static inline void expect(struct twzdb_cursor *c, const struct spot *s, unsigned pos)
{
	unsigned end = pos + (c->run < AHEAD ? c->run : AHEAD);

	if (!take_rows(c, &s->leaf, pos, s->n))
		return;
	if (end > c->to)
		end = c->to;
	for (unsigned i = pos; i < end; i++)
		fetch_row(c->rows[i]);
	c->ahead = end - pos - 1;
}

/* It has begun. */
static inline void begin(struct twzdb_cursor *c)
{
	c->left = c->run == c->usual ? c->run - 1 : NO_END;
	c->usual = c->run;
	c->run = 1;
	if (!c->to)
		return;
	c->left -= c->left == NO_END ? 0 : c->ahead;
	if (goes_on(c, c->pos))
		fetch_next(c);
}

static inline const struct rec_pm *scan_seek(struct twzdb_cursor *c, struct bkey k)
{
	struct twzdb_txn *tx = c->tx;
	const struct rec_pm *r;
	struct spot s;
	unsigned pos;
	uint64_t root =
		tx->anchor ? ld64_acq(&tx->anchor->root) : 0; /* QUICK says it is the table's */

	if (unlikely(!root) || !twzdb__simd_now()->spot(tx->db, root, k, &s))
		return NULL;
	c->soon = NULL;
	c->to = 0;
	c->ahead = 0;
	if (!lower_bound(tx, &s, k, &pos))
		return NULL;
	if (c->run > 1)
		expect(c, &s, pos);
	r = row_at(tx, &s.leaf, pos);
	/*
	 * An entry >= K proves that the leaf covers K, and only then does K have the prefix the heads
	 * were compared behind: whoever comes from a root that has just split may be left of its leaf.
	 */
	if (!r || unlikely(bkey_cmp((struct bkey){r->data, rec_klen_short(r)}, k) < 0)) {
		c->to = 0;
		return NULL;
	}
	c->leaf = s.leaf;
	c->pos = pos;
	begin(c);
	return r;
}

/* Of a reader in a plain table; nothing that has to be asked about the cursor is in doubt. */
static inline bool is_quick(const struct twzdb_cursor *c)
{
	const struct twzdb_txn *tx = c->tx;

	return likely(tx->quick == c->table && tx->use.tag == c->t.tag && tx->serial == c->serial);
}

static inline void hand_out(struct twzdb_cursor *c, const struct rec_pm *r, struct twzdb_slice *key,
			    struct twzdb_slice *value)
{
	uint32_t klen = rec_klen_short(r);

	c->at = r;
	c->klen = klen;
	if (key)
		*key = (struct twzdb_slice){r->data, klen};
	if (value)
		*value = (struct twzdb_slice){r->data + klen, rec_vlen_short(r)};
}

static inline bool may_go_on(const struct twzdb_cursor *c)
{
	return likely(c && c->at && is_quick(c) && c->mods == c->tx->mods);
}

static inline bool seek_quick(struct twzdb_cursor *c, const struct twzdb_slice *key,
			      struct twzdb_slice *row_key, struct twzdb_slice *value)
{
	struct twzdb_txn *tx = c->tx;
	const struct rec_pm *r;

	if (unlikely(!is_quick(c) || !key || !key->ptr || key->len > TWZDB_KEY_SHORT))
		return false;
	r = scan_seek(c, (struct bkey){key->ptr, (uint32_t)key->len});
	if (unlikely(!r))
		return false;
	c->state = CUR_AT;
	c->mods = tx->mods;
	c->low = r;
	tx->pointing = true;
	hand_out(c, r, row_key, value);
	return true;
}

static NOINLINE int other_get(struct twzdb_cursor *c, enum twzdb_seek op, struct twzdb_slice *key,
			      struct twzdb_slice *value)
{
	const struct rec_pm *r = op == TWZDB_NEXT && may_go_on(c) ? scan_next(c) : NULL;

	if (r) {
		hand_out(c, r, key, value);
		return 0;
	}
	if (op == TWZDB_SEEK_GE && c && seek_quick(c, key, key, value))
		return 0;
	return twzdb__cursor_get(c, (int)op, key, value);
}

int twzdb_cursor_get(struct twzdb_cursor *c, enum twzdb_seek op, struct twzdb_slice *key,
		     struct twzdb_slice *value)
{
	const struct rec_pm *r = likely(op == TWZDB_NEXT && may_go_on(c)) ? usual_next(c) : NULL;

	if (unlikely(!r))
		return other_get(c, op, key, value);
	hand_out(c, r, key, value);
	return 0;
}
