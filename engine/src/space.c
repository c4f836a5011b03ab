/* SPDX-License-Identifier: MIT
 * space.c -- blocks: which one a transaction gets
 *
 * There is no free list: the header of a block says whether it is allocated (LIVE, D6). A record
 * block may be reserved iff
 *   (1) it is not LIVE, and
 *   (2) its link is a time not above the oldest snapshot (nobody can reach its last life, D7),
 *       or the stamp of another transaction, which is over (page media: and not staged, stage.c), and
 *   (3) the log uses its bytes for no row any more (D2c, hold.c): so says its link, too.
 * A node block: not LIVE, sts not above the oldest snapshot, and not among this transaction's
 * private nodes or stock. So an abort, a crash and a takeover have nothing to clean up. What the
 * shared segment knows about free blocks are hints which only decide where to look.
 */
#include "space.h"

#define SCAN_WORTH 16 /* blocks that may be reusable, for which the readers are asked */
#define USED_TRIES 4  /* such units searched before a new one is formatted */
#define SPOTS	   8  /* places not known yet that are looked at before a database grows */

/* --- hints --- */

static bool stack_push(struct twzdb *db, unsigned cls, uint64_t p)
{
	struct sh_class *c = &db->sh->cls[cls];

	if (c->stack_cnt >= TWZDB_STACK)
		return false;
	db->sh->stack[cls][c->stack_cnt] = p;
	__atomic_store_n(&c->stack_cnt, c->stack_cnt + 1, __ATOMIC_RELEASE);
	return true;
}

void twzdb__hint_free(struct twzdb *db, uint64_t p)
{
	int cls = twzdb__hint_count(db, p);

	if (cls >= 0 && cls < TWZDB_CLS_LARGE)
		stack_push(db, (unsigned)cls, p);
}

/* Blocks no snapshot can reach any more go to the stacks of their classes. */
static void quarantine_drain(struct twzdb *db, uint64_t min)
{
	struct sh_quarantine *q = &db->sh->quar;

	for (; q->head < q->tail; q->head++) {
		const uint64_t *e = q->e[q->head % TWZDB_QUARANTINE];
		int cls;

		if (e[1] > min)
			return;
		cls = twzdb__known_class(db, e[0]);
		if (cls >= 0 && cls < TWZDB_CLS_LARGE && !unit_leaves(db, e[0]))
			stack_push(db, (unsigned)cls, e[0]);
	}
}

/*
 * The same of rows the log had a use for, once it has not. They are many when a checkpoint has just been made: as
 * many as the stack of class CLS, which somebody wants, has room for.
 */
static void held_drain(struct twzdb_txn *tx, unsigned cls)
{
	struct twzdb *db = tx->db;
	struct sh_hold *h = &db->sh->hold;

	while (h->q.head < h->q.tail) {
		uint64_t *e = h->q.e[h->q.head % TWZDB_QUARANTINE], p = e[0], link = 0;
		int c = twzdb__known_class(db, p);
		const struct rec_pm *r = c >= 0 ? twzdb__at(db, p, twzdb__block_lens[c]) : NULL;

		if (!twzdb__is_past(tx, e[1]) ||
		    (c == (int)cls && db->sh->cls[cls].stack_cnt >= TWZDB_STACK))
			return;
		if (r && !rec_is_live(r))
			link = ld64(&r->link);
		if (link_is_base(link) && (link ^ TWZDB_LINK_BASE) > h->tail_ts) {
			if ((link ^ TWZDB_LINK_BASE) <= e[1])
				return;
			e[1] = link ^ TWZDB_LINK_BASE; /* used again since: it comes last */
			twzdb__hold_last(db);
			continue;
		}
		twzdb__hold_left(db, e);
		h->q.head++;
		if (r && c < TWZDB_CLS_LARGE && !unit_leaves(db, p))
			stack_push(db, (unsigned)c, p);
	}
}

/* --- blocks --- */

static bool rec_reusable(struct twzdb_txn *tx, const struct rec_pm *r)
{
	uint64_t link;

	if (rec_is_live(r))
		return false;
	link = ld64(&r->link);
	if (link_is_base(link)) {
		link ^= TWZDB_LINK_BASE;
		if (link > ld64(&tx->db->sh->hold.tail_ts))
			return false;
	}
	return link & TWZDB_LINK_RESERVED ? twzdb__stamp_over(tx, link & ~TWZDB_LINK_RESERVED)
					  : twzdb__is_past(tx, link);
}

static bool node_reusable(struct twzdb_txn *tx, const struct node_pm *n, uint64_t p)
{
	if (__atomic_load_n(&n->flags, __ATOMIC_RELAXED) & TWZDB_NODE_LIVE ||
	    !twzdb__is_past(tx, ld64(&n->sts)) || twzdb__node_private(tx, p))
		return false;
	for (size_t i = 0; i < tx->stock.cnt; i++)
		if (tx->stock.v[i] == p)
			return false;
	return true;
}

bool twzdb__block_reusable(struct twzdb_txn *tx, bool node, const void *b, uint64_t p)
{
	return node ? node_reusable(tx, b, p) : rec_reusable(tx, b);
}

static const struct unit_pm *unit_at(struct twzdb *db, uint32_t g)
{
	uint64_t p = unit_ptr(g);
	int cls = twzdb__known_class(db, p);

	return cls >= 0 && cls < TWZDB_CLS_LARGE ? twzdb__at(db, p, TWZDB_UNIT_LEN)
						 : twzdb__unit_of(db, p);
}

/* Next reusable block of unit G from *BLOCK on; 0: none. */
static uint64_t unit_search(struct twzdb_txn *tx, uint32_t g, uint32_t *block)
{
	const struct unit_pm *u = unit_at(tx->db, g);

	if (!u)
		return 0;
	for (; *block < u->block_cnt; ++*block) {
		uint64_t off = u->first + (uint64_t)*block * u->block_len, p = unit_ptr(g) + off;
		const void *b = (const uint8_t *)u + off;

		if (twzdb__block_reusable(tx, u->kind == TWZDB_UNIT_NODES, b, p)) {
			++*block;
			twzdb__hint_taken(tx->db, g);
			return p;
		}
	}
	return 0;
}

/* A block from the class's stack; 0: it is empty. */
static uint64_t stack_pop(struct twzdb_txn *tx, unsigned cls)
{
	struct sh_class *c = &tx->db->sh->cls[cls];

	while (c->stack_cnt) {
		uint64_t p = tx->db->sh->stack[cls][--c->stack_cnt];
		const void *b = twzdb__at(tx->db, p, twzdb__block_lens[cls]);

		if (!b || twzdb__known_class(tx->db, p) != (int)cls || unit_leaves(tx->db, p))
			continue;
		if (twzdb__block_reusable(tx, cls == TWZDB_CLS_NODE, b, p)) {
			twzdb__hint_taken(tx->db, unit_no(p));
			return p;
		}
	}
	return 0;
}

/* What died may have become free. */
static void used_look(struct twzdb_txn *tx, unsigned cls)
{
	struct sh_quarantine *q = &tx->db->sh->quar;

	if (tx->db->sh->cls[cls].stack_cnt)
		return;
	if (q->head != q->tail)
		quarantine_drain(tx->db, ld64(&tx->db->sh->min));
	if (q->tail - q->head >= TWZDB_QUARANTINE / 4) /* worth a scan of the readers */
		quarantine_drain(tx->db, twzdb__min(tx));
	if (unlikely(tx->db->sh->hold.q.head != tx->db->sh->hold.q.tail))
		held_drain(tx, cls);
}

/* A block that was in use, and that as far as we know nobody can reach any more; 0: there is none. */
static uint64_t take_used(struct twzdb_txn *tx, unsigned cls)
{
	used_look(tx, cls);
	return stack_pop(tx, cls);
}

/*
 * A unit of the class where enough blocks died that going through it pays, in turn: what was
 * passed over comes last again, for its blocks died last. For who makes the database smaller one is enough.
 */
static bool unit_used_find(struct twzdb_txn *tx, unsigned cls, uint32_t *g)
{
	struct twzdb *db = tx->db;
	struct sh_class *c = &db->sh->cls[cls];
	uint32_t per = tx->inside ? 1 : UNIT_ROOM / twzdb__class_len(cls), start = UINT32_MAX;

	*g = c->look;
	while (twzdb__unit_step(db, g) && *g != start) {
		const uint32_t *e;

		start = start == UINT32_MAX ? *g : start;
		e = twzdb__map_obj(db, TWZDB_NO_DATA + *g / TWZDB_UNITS_PER_OBJ)
			    ? NULL
			    : unit_entry(db, *g);
		if (e && *e & TWZDB_UT_KNOWN && TWZDB_UT_CLASS(*e) == cls && TWZDB_UT_FREE(*e) &&
		    TWZDB_UT_FREE(*e) * SPACE_USE_SHARE >= per && !(*e & TWZDB_UT_LEAVES) &&
		    !class_ahead(c, *g)) {
			c->look = *g;
			return true;
		}
	}
	return false;
}

/* A reusable block in a unit that is in use already; 0: better format a new one. */
static uint64_t search_used(struct twzdb_txn *tx, unsigned cls)
{
	struct sh_class *c = &tx->db->sh->cls[cls];
	uint64_t ahead = (uint64_t)c->fresh_cnt * twzdb__block_cnts[cls];
	uint64_t max = tx->inside ? c->total / twzdb__block_cnts[cls] : USED_TRIES;
	uint32_t g;

	/*
	 * While the oldest snapshot stays where it was when nothing could be reused, nothing
	 * can.
	 */
	if (c->free <= ahead || (!tx->inside && ((c->free - ahead) * SPACE_USE_SHARE < c->total ||
						 c->stuck == twzdb__min(tx) + 1)))
		return 0;
	for (uint64_t tries = 0; tries < max && unit_used_find(tx, cls, &g); tries++) {
		uint32_t block = 0;
		uint64_t p = unit_search(tx, g, &block);

		if (!p)
			continue;
		c->unit = g + 1;
		c->block = block;
		return p;
	}
	if (!tx->inside)
		c->stuck = twzdb__min(tx) + 1;
	return 0;
}

/*
 * No space for another unit: then any reusable block of the class will do, whatever the hints
 * say and however long it takes. A delete takes a larger one, too. Who makes the database smaller does without: it would
 * take long once a row, and what it finds out would be of some units only.
 */
static bool search_all(struct twzdb_txn *tx, unsigned cls, uint64_t *p)
{
	struct twzdb__shared *sh = tx->db->sh;
	struct sh_class *c = &sh->cls[cls];
	unsigned to = tx->from_reserve ? TWZDB_CLS_TABLE - 1 : cls;
	uint32_t g = UINT32_MAX, start = UINT32_MAX;

	*p = 0;
	if (tx->inside || (c->full == twzdb__min(tx) + 1 && !tx->from_reserve))
		return false;
	while (!*p && twzdb__unit_step(tx->db, &g) && g != start) {
		const struct unit_pm *u = twzdb__unit_of(tx->db, unit_ptr(g));
		uint32_t block = 0;

		start = start == UINT32_MAX ? g : start;
		if (!u)
			continue;
		if (u->cls >= cls && u->cls <= to && !class_ahead(&sh->cls[u->cls], g)) {
			if (sh->cls[u->cls].virgin == g + 1)
				sh->cls[u->cls].virgin = 0; /* not untouched any more */
			*p = unit_search(tx, g, &block);
		}
		g += u->run - 1; /* inside a run lies a value, which may look like anything */
	}
	if (!*p)
		c->full = twzdb__min(tx) + 1;
	return *p != 0;
}

/* A block of the units formatted ahead; 0: there are none left. */
static uint64_t search_fresh(struct twzdb_txn *tx, struct sh_class *c)
{
	uint64_t p = 0;

	while (!p && c->fresh_cnt) {
		c->unit = ++c->fresh;
		c->fresh_cnt--;
		c->block = 0;
		c->virgin = c->unit;
		p = unit_search(tx, c->unit - 1, &c->block);
	}
	return p;
}

/* The store is full, but a delete may take a larger block: one that is known to be free. */
static uint64_t take_larger(struct twzdb_txn *tx, unsigned cls)
{
	uint64_t p = 0;

	while (!p && ++cls < TWZDB_CLS_TABLE)
		if (tx->db->sh->cls[cls].free)
			p = take_used(tx, cls);
	return p;
}

/*
 * Asking all readers for the oldest snapshot costs as much as a few blocks: not for one that died
 * just now. A hot row's old versions go round in a pool this large.
 */
static bool scan_pays(struct twzdb *db, unsigned cls)
{
	const struct sh_quarantine *q = &db->sh->quar;
	const struct sh_class *c = &db->sh->cls[cls];
	uint64_t ahead = (uint64_t)c->fresh_cnt * twzdb__block_cnts[cls];

	return c->free && (q->tail - q->head >= SCAN_WORTH ||
			   (c->free > ahead && (c->free - ahead) * SPACE_USE_SHARE >= c->total));
}

/* A block of a unit in use, or formatted ahead; 0: there is none, as far as is known. */
static uint64_t take_known(struct twzdb_txn *tx, unsigned cls)
{
	uint64_t p = search_used(tx, cls);

	if (!p && scan_pays(tx->db, cls) && twzdb__min_now(tx)) {
		p = take_used(tx, cls);
		if (!p)
			p = search_used(tx, cls);
	}
	return p ? p : search_fresh(tx, &tx->db->sh->cls[cls]);
}

static int next_unit(struct twzdb_txn *tx, unsigned cls, uint64_t *p)
{
	struct sh_class *c = &tx->db->sh->cls[cls];
	uint32_t g;
	int err;

	c->virgin = 0;
	if (unlikely(tx->db->sh->leaving))
		twzdb__leaving_look(tx->db);
	*p = take_known(tx, cls);
	for (unsigned i = 0; !*p && i < SPOTS && twzdb__learn_more(tx->db, i); i++) {
		c->stuck = 0;
		*p = take_known(tx, cls);
	}
	if (*p)
		return 0;
	err = twzdb__unit_new(tx, cls, 1, &g);
	if (err == TWZDB_E_NOSPC)
		(void)twzdb__min_now(tx);
	if (err == TWZDB_E_NOSPC && tx->from_reserve)
		*p = take_larger(tx, cls);
	if (err == TWZDB_E_NOSPC && (*p || search_all(tx, cls, p)))
		return 0;
	if (err)
		return err;
	c->unit = c->virgin = g + 1;
	c->block = 0;
	*p = unit_search(tx, g, &c->block);
	return *p ? 0 : twzdb__corrupt(tx->db, unit_ptr(g), "a fresh unit has no free block");
}

/*
 * The next block of a unit that was formatted in this segment's life, and not given out since: nothing need be
 * asked of it, so its cold line is not waited for.
 */
static uint64_t take_virgin(struct twzdb *db, unsigned cls)
{
	struct sh_class *c = &db->sh->cls[cls];
	uint64_t p;

	if (!c->virgin || c->virgin != c->unit || c->block >= twzdb__block_cnts[cls])
		return 0;
	p = unit_ptr(c->unit - 1) + class_first(cls) + (uint64_t)c->block * twzdb__block_lens[cls];
	c->block++;
	twzdb__hint_taken(db, c->unit - 1);
	return p;
}

void twzdb__alloc_soon(struct twzdb *db, unsigned cls)
{
	const struct sh_class *c = &db->sh->cls[cls];
	const uint8_t *b;

	if (!c->stack_cnt || c->stack_cnt > TWZDB_STACK || cls >= TWZDB_CLS_LARGE)
		return;
	b = twzdb__at(db, db->sh->stack[cls][c->stack_cnt - 1], twzdb__block_lens[cls]);
	for (uint32_t i = 0; b && i < twzdb__block_lens[cls] && i < 4 * TWZ_LINE_SIZE;
	     i += TWZ_LINE_SIZE)
		__builtin_prefetch(b + i, 1);
}

static int alloc_block(struct twzdb_txn *tx, unsigned cls, uint64_t *p)
{
	struct sh_class *c = &tx->db->sh->cls[cls];

	*p = take_used(tx, cls);
	if (!*p)
		*p = take_virgin(tx->db, cls);
	if (*p)
		return 0;
	if (c->unit && !twzdb__map_obj(tx->db, TWZDB_NO_DATA + (c->unit - 1) / TWZDB_UNITS_PER_OBJ))
		*p = unit_search(tx, c->unit - 1, &c->block);
	return *p ? 0 : next_unit(tx, cls, p);
}

/* False: what was given back of the free run at G cannot be had again. */
static bool large_has_space(struct twzdb *db, uint32_t g, uint32_t run)
{
	uint32_t *e = unit_entry(db, g);

	if (*e & TWZDB_UT_HOLLOW && twzdb__space_take(db, g, (uint64_t)run << TWZDB_UNIT_SHIFT))
		return false;
	st32(e, *e & ~(TWZDB_UT_HOLLOW | TWZDB_UT_GIVEN));
	return true;
}

/* Large values: the first free run that is not much too long, else what runs.c has. */
static int alloc_large(struct twzdb_txn *tx, uint64_t len, uint64_t *p)
{
	struct twzdb *db = tx->db;
	struct sh_class *c = &db->sh->cls[TWZDB_CLS_LARGE];
	uint32_t run =
		(uint32_t)((len + sizeof(struct unit_pm) + TWZDB_UNIT_TAIL + TWZDB_UNIT_LEN - 1) >>
			   TWZDB_UNIT_SHIFT);
	uint32_t g = UINT32_MAX, start = UINT32_MAX, block = 0;
	int err;

	if (unlikely(db->sh->leaving))
		twzdb__leaving_look(db);
	(void)twzdb__learn_some(db);
	*p = 0;
	while (c->free && twzdb__unit_step(db, &g) && g != start) {
		const struct unit_pm *u;
		const uint32_t *e;

		start = start == UINT32_MAX ? g : start;
		e = twzdb__map_obj(db, TWZDB_NO_DATA + g / TWZDB_UNITS_PER_OBJ) ? NULL
										: unit_entry(db, g);
		if (!e || TWZDB_UT_CLASS(*e) != TWZDB_CLS_LARGE || !TWZDB_UT_FREE(*e) ||
		    *e & TWZDB_UT_LEAVES)
			continue;
		u = twzdb__unit_of(db, unit_ptr(g));
		if (!u || u->run < run || u->run > run + run / 4)
			continue;
		block = 0;
		*p = unit_search(tx, g, &block);
		if (*p && large_has_space(db, g, u->run))
			return 0;
		if (*p)
			twzdb__hint_free(db, *p);
		*p = 0;
	}
	block = 0;
	err = twzdb__unit_new(tx, TWZDB_CLS_LARGE, run, &g);
	if (!err)
		*p = unit_search(tx, g, &block);
	return err ? err : *p ? 0 : twzdb__corrupt(db, unit_ptr(g), "a fresh run is not free");
}

uint64_t twzdb__take_next(struct twzdb *db, unsigned cls, struct rec_pm **rec)
{
	uint64_t p;

	quarantine_drain(db, ld64(&db->sh->min));
	p = space_take_top(db, cls, rec);
	if (p)
		return p;
	p = take_virgin(db, cls);
	*rec = p ? twzdb__at(db, p, twzdb__block_lens[cls]) : NULL;
	return *rec ? p : 0;
}

/* The list of what is reserved has room for another. */
static inline bool recs_room(const struct twzdb_txn *tx)
{
	return likely(tx->recs.cnt < tx->recs.cap);
}

int twzdb__alloc_rec(struct twzdb_txn *tx, unsigned cls, uint64_t len, uint64_t *p,
		     struct rec_pm **rec)
{
	int err = twzdb__writable(tx->db);

	if (likely(!err && cls < TWZDB_CLS_TABLE && recs_room(tx))) {
		*p = space_take_top(tx->db, cls, rec);
		if (likely(*p)) {
			tx->recs.v[tx->recs.cnt++] = *p;
			(*rec)->link = TWZDB_LINK_RESERVED | tx->stamp;
			return 0;
		}
	}

	*rec = NULL;
	if (!err)
		err = cls == TWZDB_CLS_LARGE ? alloc_large(tx, len, p) : alloc_block(tx, cls, p);
	if (err && err != TWZDB_E_NOSPC)
		twzdb__break(tx, err);
	if (!err && u64vec_push(&tx->recs, *p))
		err = twzdb__err(-ENOMEM, "no memory for the list of new records");
	if (!err && twzdb__block_len(tx->db, *p) >= len)
		*rec = twzdb__at(tx->db, *p, len);
	if (!err && !*rec)
		err = twzdb__break(
			tx,
			twzdb__corrupt(tx->db, *p,
				       "block longer than its object, or shorter than its class"));
	if (!err)
		(*rec)->link = TWZDB_LINK_RESERVED | tx->stamp; /* ours from now on */
	return err;
}

unsigned twzdb__alloc_run(struct twzdb_txn *tx, unsigned cls, unsigned max, uint64_t *p,
			  struct rec_pm **rec)
{
	struct sh_class *c = &tx->db->sh->cls[cls];
	uint32_t len = twzdb__block_lens[cls], *e, n;

	used_look(tx, cls);
	if (c->stack_cnt || !c->virgin || c->virgin != c->unit ||
	    c->block >= twzdb__block_cnts[cls] || twzdb__writable(tx->db))
		return 0;
	*p = unit_ptr(c->unit - 1) + class_first(cls) + (uint64_t)c->block * len;
	e = unit_entry(tx->db, c->unit - 1);
	n = twzdb__block_cnts[cls] - c->block < max ? twzdb__block_cnts[cls] - c->block : max;
	*rec = twzdb__at(tx->db, *p, (uint64_t)n * len);
	if (!e || !(*e & TWZDB_UT_KNOWN) || TWZDB_UT_FREE(*e) < n || entry_empty(*e) || !*rec)
		return 0;
	st32(e, *e - n);
	c->free -= n;
	c->block += n;
	return n;
}

int twzdb__reserve_nodes(struct twzdb_txn *tx, unsigned cnt)
{
	while (tx->stock.cnt < cnt) {
		uint64_t p;
		int err = twzdb__writable(tx->db);

		if (!err)
			err = alloc_block(tx, TWZDB_CLS_NODE, &p);
		if (!err && u64vec_push(&tx->stock, p))
			err = twzdb__err(-ENOMEM, "no memory for the list of new nodes");
		if (err)
			return err;
	}
	return 0;
}
