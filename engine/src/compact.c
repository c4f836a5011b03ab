/* SPDX-License-Identifier: MIT
 * compact.c -- a database in use is made smaller
 *
 *	1. mark   units whose rows and nodes find room in those before: no block of them is given out any more
 *	2. move   table by table, leaf by leaf: rows are put again with the value they have, nodes and fences are copied
 *	3. give   units nobody can reach any more become free runs (runs.c), whose space goes back (give.c)
 *
 * 1 and 2 are done in rounds. SQUEEZE: in each size class its last units, as many as find room in the others of the class, so it
 * needs no empty unit, and leaves some. LAST: the last units of all, as many as find room in these. LARGE: the same units, and now
 * values with units of their own, where enough units in a row are free.
 *
 * Nothing here stores to a home: 2 is a row of transactions like anybody else's, so atomicity, snapshots, takeover and
 * recovery are those of every change of a row, or of a merge (D4, D6, D7). Other writers have their turn between them. What a
 * reader needs stays where it is until it is gone; if that is after 3, the space goes back with a later commit.
 *
 * Marks are hints like all the shared segment knows about space: when they are lost (a takeover, a restart) some rows were moved for
 * nothing. They are in the way of nobody but who has no other space: a full store takes blocks wherever they are.
 *
 * Anchors of tables never move; nor do values longer than what a hole is made of (BIG): they may lie amid one.
 */
#include "space.h"

#define STEP_MOVES  1024		/* rows and nodes moved by one transaction, */
#define STEP_LEN    ((uint64_t)4 << 20) /* bytes, */
#define STEP_LEAVES 4096		/* leaves looked at */
#define STEP_SHARE  8			/* a shorter one, if the log has no room for its record */
#define LEARN_STEPS 4			/* times twzdb__learn_some() while others wait */
#define NOBODY	    UINT64_MAX		/* incarnation of no process */
#define SLACK	    4			/* units that deletes of a full store need (runs.c) */
#define RELEASES    64			/* of free units, between two rounds */
#define BIG	    ((uint32_t)(TWZ_CHUNK_SIZE / TWZDB_UNIT_LEN)) /* units */

enum round { SQUEEZE, LAST, LARGE, ROUNDS };

struct compact {
	struct twzdb *db;
	enum round round;
	const struct twzdb_compact_options *opt;
	struct twzdb_compacted *out;
	uint64_t goal;	      /* blocks to be moved, about */
	struct u64vec tables; /* struct twzdb_table */
	size_t at;	      /* the table being gone through, by its leaves */
	struct keybuf buf;
	struct bkey key; /* the next leaf has it */
	uint64_t full;	 /* bit: no room is left for that class, in this round */
	bool large;	 /* among what is marked are values with units of their own */
	uint64_t step;	 /* moves of one transaction */
	/* of the transaction */
	uint64_t moves, len;
};

/* --- 1: which units --- */

/* An error: not all data objects can be mapped. */
static int marks_clear(struct twzdb *db)
{
	int err = 0;

	for (uint32_t i = 0; i < twzdb__obj_cnt(db); i++) {
		int ret = twzdb__map_obj(db, TWZDB_NO_DATA + i);

		err = err ? err : ret;
		for (uint32_t u = 0; !ret && u < twzdb__units_used(db, i); u++) {
			uint32_t *e = unit_entry(db, i * TWZDB_UNITS_PER_OBJ + u);

			if (*e & TWZDB_UT_LEAVES)
				st32(e, *e & ~TWZDB_UT_LEAVES);
		}
	}
	for (unsigned cls = 0; cls < TWZDB_CLASSES; cls++)
		db->sh->cls[cls].stuck = 0; /* there are blocks again nobody has looked at */
	db->sh->leaving = 0;
	return err;
}

static bool leaver_alive(struct twzdb *db)
{
	uint64_t proc = db->sh->leaving - 1, inc = db->sh->leaving_inc;

	return (proc == db->proc && inc == db->inc) ||
	       (proc < TWZ_PROC_MAX && twz_proc_alive(db->s, (uint32_t)proc, inc));
}

void twzdb__leaving_look(struct twzdb *db)
{
	if (!leaver_alive(db))
		(void)marks_clear(db);
}

/* What lies on both sides of the first unit to be emptied. */
struct sides {
	uint64_t free[TWZDB_CLASSES];  /* before it: blocks in units that are not empty, */
	uint64_t empty;		       /* empty units, those in free runs too */
	uint64_t moves[TWZDB_CLASSES]; /* behind it: blocks in use */
	uint64_t gain;		       /* behind it: units that would be free */
};

static bool is_big(struct twzdb *db, uint32_t g)
{
	const struct unit_pm *u = twzdb__unit_of(db, unit_ptr(g));

	return !u || u->run > BIG;
}

/* Unit or run G, N units, changes sides; it was counted as before it (SIGN -1), or is now behind it. */
static void count_before(struct sides *s, uint32_t e, uint32_t n, uint64_t sign)
{
	unsigned cls = TWZDB_UT_CLASS(e);

	if (entry_empty(e))
		s->empty += sign * n;
	else if (TWZDB_UT_FREE(e) * SPACE_USE_SHARE >= twzdb__block_cnts[cls])
		s->free[cls] += sign * TWZDB_UT_FREE(e);
}

static void count_behind(struct twzdb *db, struct sides *s, uint32_t g, uint32_t e, uint32_t n)
{
	unsigned cls = TWZDB_UT_CLASS(e);

	if (cls == TWZDB_CLS_TABLE || (cls == TWZDB_CLS_LARGE && !entry_empty(e) && is_big(db, g)))
		return;
	s->gain += n;
	if (cls != TWZDB_CLS_LARGE)
		s->moves[cls] += twzdb__block_cnts[cls] - TWZDB_UT_FREE(e);
	else if (!entry_empty(e))
		s->moves[cls] += n;
}

/* Is there room for all that would have to move? A unit of each class may be begun. */
static bool fits(const struct sides *s)
{
	uint64_t units = s->moves[TWZDB_CLS_LARGE];

	for (unsigned c = 0; c < TWZDB_CLS_LARGE; c++)
		if (s->moves[c] > s->free[c])
			units += 1 + (s->moves[c] - s->free[c]) / twzdb__block_cnts[c];
	return !units || units + SLACK <= s->empty;
}

static bool step_back(struct twzdb *db, uint32_t *g, uint32_t *n)
{
	uint32_t i = *g / TWZDB_UNITS_PER_OBJ, u = *g % TWZDB_UNITS_PER_OBJ;

	if (!u) {
		if (!i)
			return false;
		i--;
		u = twzdb__units_used(db, i);
		if (!u || twzdb__map_obj(db, TWZDB_NO_DATA + i))
			return false;
	}
	for (*n = 1, u--; u; u--, ++*n) {
		uint32_t e = *unit_entry(db, i * TWZDB_UNITS_PER_OBJ + u);

		if (!(e & TWZDB_UT_KNOWN) || TWZDB_UT_CLASS(e) != TWZDB_CLS_CONT)
			break;
	}
	*g = i * TWZDB_UNITS_PER_OBJ + u;
	return true;
}

static uint32_t behind_all(struct twzdb *db)
{
	uint32_t last = twzdb__obj_cnt(db) - 1;

	return last * TWZDB_UNITS_PER_OBJ + twzdb__units_used(db, last);
}

/* The first unit to be emptied; behind the last one: none. */
static uint32_t first_to_leave(struct compact *c)
{
	struct twzdb *db = c->db;
	uint32_t g, n, e, best = behind_all(db);
	struct sides s = {0};
	uint64_t gain = BIG; /* less makes no hole */

	for (g = best; step_back(db, &g, &n);)
		if ((e = *unit_entry(db, g)) & TWZDB_UT_KNOWN)
			count_before(&s, e, n, 1);
	g = best;
	while (step_back(db, &g, &n)) {
		e = *unit_entry(db, g);
		if (!(e & TWZDB_UT_KNOWN))
			continue;
		count_before(&s, e, n, (uint64_t)-1);
		count_behind(db, &s, g, e, n);
		if (!fits(&s))
			break;
		if (s.gain > gain) {
			best = g;
			gain = s.gain;
		}
	}
	return best;
}

/* Units formatted ahead, and one whose untouched rest is given out in order, are given out without a look at the table. */
static void class_leaves(struct sh_class *s, uint32_t from)
{
	if (s->unit && s->unit - 1 >= from)
		s->unit = s->virgin = 0;
	if (s->fresh_cnt && s->fresh + s->fresh_cnt - 1 >= from)
		s->fresh_cnt = 0;
}

static void mark_unit(struct compact *c, uint32_t g, uint32_t *e)
{
	unsigned cls = TWZDB_UT_CLASS(*e);

	st32(e, *e | TWZDB_UT_LEAVES);
	class_leaves(&c->db->sh->cls[cls], g);
	if (cls == TWZDB_CLS_LARGE)
		c->large |= !entry_empty(*e);
	else
		c->goal += twzdb__block_cnts[cls] - TWZDB_UT_FREE(*e);
}

/* In each class the last units, as long as what is in use there finds room in the others: and parents of nodes, which may move too. */
static void mark_squeezed(struct compact *c)
{
	struct twzdb *db = c->db;
	struct sides s = {0};
	uint64_t done = 0; /* bit: no more of that class */
	uint32_t g, n, e;

	for (g = behind_all(db); step_back(db, &g, &n);)
		if ((e = *unit_entry(db, g)) & TWZDB_UT_KNOWN)
			count_before(&s, e, n, 1);
	for (g = behind_all(db); step_back(db, &g, &n);) {
		unsigned cls = TWZDB_UT_CLASS(e = *unit_entry(db, g));

		if (!(e & TWZDB_UT_KNOWN) || cls >= TWZDB_CLS_TABLE || entry_empty(e) ||
		    done >> cls & 1)
			continue;
		count_before(&s, e, n, (uint64_t)-1);
		count_behind(db, &s, g, e, n);
		if (s.moves[cls] + s.moves[cls] / 8 <= s.free[cls])
			mark_unit(c, g, unit_entry(db, g));
		else
			done |= (uint64_t)1 << cls;
	}
}

static void mark_last(struct compact *c)
{
	struct twzdb *db = c->db;
	uint32_t from = first_to_leave(c), g, n;

	for (g = behind_all(db); step_back(db, &g, &n) && g >= from;) {
		uint32_t *e = unit_entry(db, g);
		unsigned cls = TWZDB_UT_CLASS(*e);

		if (*e & TWZDB_UT_KNOWN && cls != TWZDB_CLS_TABLE &&
		    (cls != TWZDB_CLS_LARGE || entry_empty(*e) || !is_big(db, g)))
			mark_unit(c, g, e);
	}
}

static int mark(struct compact *c)
{
	int err = marks_clear(c->db);

	if (err)
		return err;
	c->large = false;
	if (c->round == SQUEEZE)
		mark_squeezed(c);
	else
		mark_last(c);
	c->db->sh->leaving = c->db->proc + 1ULL;
	c->db->sh->leaving_inc = c->db->inc;
	return 0;
}

/* --- 2: rows and nodes --- */

static bool leaves(struct twzdb *db, uint64_t p)
{
	return twzdb__known_class(db, p) >= 0 && unit_leaves(db, p);
}

/* The node left of the one at LEVEL of PATH, which has one: private. */
static int left_of(struct twzdb_txn *tx, const struct path *path, int level, struct pnode **left)
{
	int a = level + 1, slot, err;
	struct nref r;
	uint64_t p;

	while (a < path->depth && !path->idx[a])
		a++;
	if (a == path->depth)
		return twzdb__corrupt(tx->db, path->e[level].p,
				      "a low fence, and nothing before it");
	r = path->e[a];
	slot = node_slot(r.n, path->idx[a] - 1U);
	for (;;) {
		if (slot < 0)
			return twzdb__corrupt(tx->db, r.p, "permutation out of range");
		p = r.n->ptr[slot];
		if (--a == level)
			break;
		err = twzdb__node_get(tx, p, a, &r);
		if (err)
			return err;
		slot = r.n->n ? node_slot(r.n, r.n->n - 1U) : -1;
	}
	err = twzdb__node_cow(tx, p, left);
	if (!err && ((*left)->img.level != level || (*left)->img.next != path->e[level].p))
		err = twzdb__corrupt(tx->db, p, "right sibling is not the parent's next child");
	return err;
}

/*
 * The node at LEVEL of PATH moves to a block of the stock, as an image with low fence LOF, which has the same key. A node's
 * low fence never changes, its address neither: so if the first child of a node gets another one, the node moves as well.
 */
static int move_node(struct twzdb_txn *tx, uint64_t table, const struct path *path, int level,
		     uint64_t lof, struct pnode **out)
{
	const struct node_pm *old = path->e[level].n;
	uint64_t p = path->e[level].p;
	struct pnode *left, *parent;
	int slot, err = twzdb__node_new(tx, (unsigned)level, out);

	if (err)
		return err;
	twzdb__node_copy(&(*out)->img, old);
	(*out)->img.ver = 0;
	(*out)->img.flags = TWZDB_NODE_LIVE;
	(*out)->img.sts = tx->ts;
	(*out)->img.lof = lof;
	tx->moved = true;
	if (lof) {
		err = left_of(tx, path, level, &left);
		if (err)
			return err;
		left->img.next = (*out)->p;
	}
	err = twzdb__node_die(tx, p, false);
	if (err || level + 1 == path->depth)
		return err ? err : twzdb__set_root(tx, table, (*out)->p);
	if (lof != old->lof && !path->idx[level + 1])
		err = move_node(tx, table, path, level + 1, lof, &parent);
	else
		err = twzdb__node_cow(tx, path->e[level + 1].p, &parent);
	if (err)
		return err;
	slot = node_slot(&parent->img, path->idx[level + 1]);
	if (slot < 0 || parent->img.ptr[slot] != p)
		return twzdb__corrupt(tx->db, parent->p, "no child where the way went");
	parent->img.ptr[slot] = (*out)->p;
	return 0;
}

/* What is going to be copied: a copy of what is damaged would look as if it were not. */
static int rec_to_move(struct twzdb_txn *tx, uint64_t p, const struct rec_pm **r)
{
	int err = twzdb__rec_at(tx->db, p, r);

	return err || twzdb__rec_sum(*r) == (*r)->sum
		       ? err
		       : twzdb__corrupt(tx->db, p, "checksum of a record");
}

/* A block elsewhere for the key of leaf N's low fence. */
static int move_fence(struct compact *c, struct twzdb_txn *tx, const struct node_pm *n,
		      uint64_t *lof)
{
	const struct rec_pm *old;
	struct rec_pm *rec;
	int err = rec_to_move(tx, n->lof, &old);

	if (!err)
		err = twzdb__rec_new(tx, 0, rec_bkey(old), NULL, 0, 0, TWZDB_FENCE, lof, &rec);
	c->len += !err ? rec_len(old) : 0;
	return err;
}

/* Move the first node of PATH that has to; *MOVED: one did, so the way has changed. */
static int move_one_node(struct compact *c, struct twzdb_txn *tx, uint64_t table,
			 const struct path *path, bool *moved)
{
	uint64_t lof = path->e[0].n->lof;
	bool fence = lof && leaves(tx->db, lof);
	struct pnode *pn;
	int level = 0, err;

	while (level < path->depth && !(level == 0 && fence) && !leaves(tx->db, path->e[level].p))
		level++;
	*moved = level < path->depth && !(c->full & 1);
	if (!*moved)
		return 0;
	err = twzdb__reserve_nodes(tx, (unsigned)path->depth);
	if (!err && fence)
		err = move_fence(c, tx, path->e[0].n, &lof);
	if (err == TWZDB_E_NOSPC) { /* whichever of the two: few fences are not short */
		c->full |= 1;
		*moved = false;
		return 0;
	}
	if (err)
		return err;
	tx->mods++;
	c->moves++;
	c->len += TWZDB_NODE_LEN;
	err = move_node(tx, table, path, level, level ? path->e[level].n->lof : lof, &pn);
	if (!err && fence)
		err = twzdb__rec_kill(tx, path->e[0].n->lof);
	c->out->nodes += !err;
	return twzdb__break(tx, err);
}

/* A value of several units needs as many in a row. */
struct run_wanted {
	struct twzdb *db;
	uint32_t run;
};

static int run_stays(void *ctx, uint32_t g, uint32_t run)
{
	const struct run_wanted *w = ctx;

	return run >= w->run && !(*unit_entry(w->db, g) & TWZDB_UT_LEAVES);
}

/* 1: there are units in a row for R, 0: there are none; or an error. */
static int has_room(struct twzdb_txn *tx, const struct rec_pm *r, uint64_t p)
{
	struct run_wanted w = {tx->db, 0};
	const struct unit_pm *u;

	u = twzdb__unit_of(tx->db, p);
	if (!u)
		return 0;
	w.run = (uint32_t)((rec_len(r) + sizeof(*u) + TWZDB_UNIT_TAIL + TWZDB_UNIT_LEN - 1) >>
			   TWZDB_UNIT_SHIFT);
	return twzdb__each_free_run(tx, run_stays, &w);
}

/* A row is put again with the value it has. */
static int move_row(struct compact *c, struct twzdb_txn *tx, uint64_t table, uint64_t p)
{
	const struct rec_pm *r;
	unsigned cls;
	int err = twzdb__rec_at(tx->db, p, &r), room = 1;

	if (err || rec_kind(r) != TWZDB_ROW)
		return err; /* a tombstone goes by itself */
	cls = twzdb__class_of(rec_len(r));
	if (c->full >> cls & 1 || (cls == TWZDB_CLS_LARGE && c->round != LARGE))
		return 0;
	if (cls == TWZDB_CLS_LARGE)
		room = has_room(tx, r, p);
	if (room <= 0)
		return room;
	err = rec_to_move(tx, p, &r);
	if (!err)
		err = twzdb__put(tx, table, rec_bkey(r), rec_val(r), rec_vlen(r), 0);
	tx->put = NULL;
	if (err == TWZDB_E_NOSPC && !tx->broken) {
		c->full |= (uint64_t)1 << cls;
		return 0;
	}
	c->moves += !err;
	c->len += !err ? rec_len(r) : 0;
	c->out->rows += !err;
	return err;
}

static int move_rows(struct compact *c, struct twzdb_txn *tx, uint64_t table,
		     const struct nref *leaf)
{
	uint64_t p[TWZDB_FANOUT];
	unsigned cnt = 0;
	int err = 0;

	for (unsigned i = 0; i < leaf->n->n; i++) {
		int slot = node_slot(leaf->n, i);

		if (slot >= 0 && leaves(tx->db, leaf->n->ptr[slot]))
			p[cnt++] = leaf->n->ptr[slot];
	}
	for (unsigned i = 0; i < cnt && !err; i++)
		err = move_row(c, tx, table, p[i]);
	return err;
}

static int seek(struct compact *c, struct twzdb_txn *tx, uint64_t table, struct path *path)
{
	unsigned pos;
	bool exact;

	return twzdb__seek(tx, table, c->key, false, &path->e[0], &pos, &exact, path);
}

/* C's key is to be the low fence of the leaf behind PATH's. *LAST: there is none. */
static int next_leaf(struct compact *c, struct twzdb_txn *tx, const struct path *path, bool *last)
{
	uint64_t right = path->e[0].n->next, lof;
	struct bkey key;
	uint8_t *b;
	int err;

	*last = !right;
	if (*last)
		return 0;
	err = twzdb__node_lof(tx, right, &lof);
	if (!err)
		err = twzdb__fence_key(tx, lof, &key);
	if (!err && bkey_cmp(key, c->key) <= 0) /* so it comes to an end (D10) */
		err = twzdb__corrupt(tx->db, right, "low fence of a right sibling is not greater");
	if (err)
		return err;
	b = twzdb__keybuf_get(&c->buf, key.len);
	if (!b)
		return -ENOMEM;
	memmove(b, key.p, key.len);
	c->key = (struct bkey){b, key.len};
	return 0;
}

static int one_leaf(struct compact *c, struct twzdb_txn *tx, uint64_t table, bool *last)
{
	uint64_t mods = tx->mods;
	struct path path;
	bool moved = true;
	int err = seek(c, tx, table, &path);

	*last = !err && !path.e[0].p;
	if (err || *last)
		return err;
	if (path.e[0].n->tombs) {
		err = twzdb__purge_at(tx, table, &path);
		c->moves += tx->mods != mods;
		if (!err)
			err = seek(c, tx, table, &path);
		*last = !err && !path.e[0].p;
	}
	while (!err && !*last && moved) {
		err = move_one_node(c, tx, table, &path, &moved);
		if (!err && moved)
			err = seek(c, tx, table, &path);
	}
	if (!err && !*last)
		err = move_rows(c, tx, table, &path.e[0]);
	if (!err && !*last)
		err = seek(c, tx, table, &path);
	return err || *last ? err : next_leaf(c, tx, &path, last);
}

/* --- tables --- */

static int table_add(void *ctx, const char *name, struct twzdb_table t, uint32_t kind)
{
	struct compact *c = ctx;
	int err = u64vec_push(&c->tables, t.h);

	(void)name, (void)kind;
	if (!err)
		err = u64vec_push(&c->tables, t.tag);
	return err ? twzdb__err(err, "no memory for the list of tables") : 0;
}

/* The catalog is the first of them. */
static int tables_list(struct compact *c, struct twzdb_txn *tx)
{
	int err = table_add(c, NULL, (struct twzdb_table){twzdb__catalog(), c->db->id[0]}, 0);

	return err ? err : twzdb_table_each(tx, table_add, c);
}

/* 0: it was dropped meanwhile. */
static uint64_t table_now(struct compact *c, struct twzdb_txn *tx)
{
	struct twzdb_table t = {c->tables.v[c->at], c->tables.v[c->at + 1]};

	return t.h == twzdb__catalog() || !twzdb__table_check(tx, t, "compact") ? t.h : 0;
}

/* --- the transactions --- */

static int told(struct compact *c)
{
	uint64_t done = c->out->rows + c->out->nodes;

	if (!c->opt->progress)
		return 0;
	return c->opt->progress(c->opt->ctx, done < c->goal ? done : c->goal, c->goal);
}

static void next_table(struct compact *c)
{
	c->at += 2;
	c->key = (struct bkey){NULL, 0};
}

static int some_leaves(struct compact *c, struct twzdb_txn *tx)
{
	int err = 0;

	c->moves = c->len = 0;
	for (unsigned n = 0; n < STEP_LEAVES && !err; n++) {
		bool last = true;
		uint64_t table;

		if (c->at == c->tables.cnt || c->moves >= c->step || c->len >= STEP_LEN)
			break;
		table = table_now(c, tx);
		if (table)
			err = one_leaf(c, tx, table, &last);
		if (!err && last)
			next_table(c);
	}
	return err;
}

static int one_step(struct compact *c)
{
	const struct twzdb_compacted was = *c->out;
	size_t at = c->at;
	struct twzdb_txn *tx;
	int err = twzdb_begin(c->db, 0, &tx);

	if (err)
		return err;
	if (c->db->sh->leaving != c->db->proc + 1ULL) /* a takeover has forgotten them */
		err = mark(c);
	tx->inside = true;
	if (!err)
		err = some_leaves(c, tx);
	tx->inside = false;
	if (err) {
		twzdb_abort(tx);
		return err;
	}
	err = twzdb_commit(tx);
	if (err != TWZDB_E_NOSPC || c->step < STEP_SHARE)
		return err;
	/* Its log record was too long for a full store: shorter ones are not, and the table is gone through anew. */
	c->step /= STEP_SHARE;
	*c->out = was;
	c->at = at;
	c->key = (struct bkey){NULL, 0};
	return 0;
}

/* All units are known, and nobody else is at it. */
static int begin(struct compact *c)
{
	struct twzdb_txn *tx;
	bool more = true;
	int err = 0;

	while (more && !err) {
		err = twzdb_begin(c->db, 0, &tx);
		if (err)
			return err;
		for (int i = 0; i < LEARN_STEPS && more; i++)
			more = twzdb__learn_some(c->db);
		if (!more && c->db->sh->leaving && leaver_alive(c->db))
			err = twzdb__err(TWZDB_E_BUSY, "process %u is compacting the database",
					 twz_proc_pid(c->db->s, (uint32_t)c->db->sh->leaving - 1,
						      c->db->sh->leaving_inc));
		else if (!more)
			err = tables_list(c, tx);
		if (!err && !more)
			err = mark(c);
		twzdb_abort(tx);
	}
	return err;
}

/*
 * No transaction could be begun that takes the marks back. They are a dead process's then: whoever needs space next, or makes the
 * database smaller, takes them back.
 */
static void give_up(struct twzdb *db)
{
	struct twzdb__shared *sh = db->sh;

	if (ld64(&sh->leaving) == db->proc + 1ULL && ld64(&sh->leaving_inc) == db->inc)
		st64_rel(&sh->leaving_inc, NOBODY);
}

/* Free units become runs. Each time takes syncs, so others have their turn between them. */
static int release_all(struct compact *c)
{
	struct twzdb_txn *tx;
	uint32_t cnt = 1;
	int err = 0;

	for (int i = 0; i < RELEASES && cnt && !err; i++) {
		err = twzdb_begin(c->db, 0, &tx);
		if (err)
			break;
		err = twzdb__release(tx, false, &cnt);
		twzdb_abort(tx);
	}
	return err;
}

static int finish(struct compact *c)
{
	struct twzdb_txn *tx;
	uint64_t given;
	int err;

	(void)release_all(c); /* what is left, or fails, is done, or fails, again */
	err = twzdb_begin(c->db, 0, &tx);
	if (err) {
		give_up(c->db);
		return err;
	}
	(void)marks_clear(c->db);
	given = ld64(&c->db->sh->stats.given_len);
	(void)twzdb__min_now(tx);
	err = twzdb__give_all(tx);
	c->out->given_len = ld64(&c->db->sh->stats.given_len) - given;
	c->out->waits = c->db->sh->give_due != 0;
	twzdb_abort(tx);
	return err;
}

/* The first round is marked under the lock under which tables were listed. */
static int next_round(struct compact *c)
{
	struct twzdb_txn *tx;
	int err = release_all(c); /* what the last round has emptied is room for this one */

	if (!err)
		err = twzdb_begin(c->db, 0, &tx);
	if (err)
		return err;
	err = mark(c);
	twzdb_abort(tx);
	return err;
}

static int one_round(struct compact *c)
{
	int err = 0;

	if (c->round == LARGE && !c->large)
		return 0;
	c->at = 0;
	c->full = 0;
	if (c->round != SQUEEZE)
		err = next_round(c);
	while (!err && c->at < c->tables.cnt) {
		err = told(c);
		if (!err)
			err = one_step(c);
	}
	return err;
}

static int run(struct compact *c)
{
	int err = begin(c), ret;

	if (err)
		return err;
	for (c->round = SQUEEZE; c->round < ROUNDS && !err; c->round++)
		err = one_round(c);
	ret = finish(c);
	return err ? err : ret;
}

int twzdb_compact(struct twzdb *db, const struct twzdb_compact_options *opt,
		  struct twzdb_compacted *out)
{
	static const struct twzdb_compact_options none = {.size = sizeof(none)};
	struct twzdb_compacted did = {.size = sizeof(did)};
	struct compact c = {.db = db, .opt = opt ? opt : &none, .out = &did, .step = STEP_MOVES};
	int err;

	if (!db || (opt && !opt->size) || (out && !out->size))
		return twzdb__err(TWZDB_E_INVAL, "compact: no database, or a size is not set");
	err = run(&c);
	keybuf_free(&c.buf);
	u64vec_free(&c.tables);
	if (out) {
		did.size = out->size;
		memcpy(out, &did, out->size < sizeof(did) ? out->size : sizeof(did));
	}
	return err;
}
