/* SPDX-License-Identifier: MIT
 * apply.c -- from log record to homes: at commit, at restart, at takeover, by the same code
 *
 * Records come from media in the last two cases, so every field is checked before the first
 * store (D10); after the check nothing can fail (D4). Every store is idempotent: after-images
 * only.
 */
#include "apply.h"
#include "find.h"
#include "group.h"
#include "recsum.h"

#define FETCH_AHEAD 8 /* items */
#define PTR_WORDS                                                                                  \
	(~(uint64_t)0 << (offsetof(struct node_pm, ptr) / 8)) /* mask bits of node_pm.ptr */

/* --- walking --- */

bool twzdb__item_next(const void *rec, uint64_t *pos, const struct item_pm **it,
		      const void **payload)
{
	const struct lrec_pm *l = rec;

	if (!*pos)
		*pos = sizeof(*l);
	if (*pos + sizeof(**it) > l->len)
		return false;
	*it = (const struct item_pm *)((const uint8_t *)rec + *pos);
	*payload = *it + 1;
	*pos += sizeof(**it) + (*it)->len;
	return *pos <= l->len;
}

/* --- checking (D10) --- */

static const char *check_node_new(struct twzdb *db, const struct item_pm *it,
				  const struct node_pm *n)
{
	if (it->len != sizeof(*n) || !twzdb__is_node(db, it->where))
		return "new node out of range";
	return twzdb__node_sound(n) ? NULL : "new node with a wrong level, count or permutation";
}

static const char *check_node_wr(struct twzdb *db, const struct item_pm *it,
				 const struct node_wr_pm *w)
{
	uint32_t level, n;

	if (!twzdb__is_node(db, it->where))
		return "node write out of range";
	if (it->len < sizeof(*w) || w->mask & 1 ||
	    it->len != sizeof(*w) + 8 * (uint64_t)__builtin_popcountll(w->mask))
		return "node write of a wrong length";
	/* bytes 4 and 5 of struct node_pm */
	level = w->hdr & 0xff;
	n = w->hdr >> 8 & 0xff;
	return level > TWZDB_LEVEL_MAX || n > TWZDB_FANOUT
		       ? "node write with a wrong level or count"
		       : NULL;
}

static const char *check_rec_diff(struct twzdb *db, const struct item_pm *it,
				  const struct rec_diff_pm *pl, uint64_t ts)
{
	const struct diff d = twzdb__diff_item(it, pl, ts);

	return twzdb__diff_check(db, &d);
}

static const char *check_rec(struct twzdb *db, const struct item_pm *it, const struct rec_pm *r,
			     uint64_t ts)
{
	if (!twzdb__is_rec(db, it->where))
		return "record item names no record block";
	if (it->len < sizeof(*r) || !twzdb__rec_fits(r, it->len))
		return "record item with wrong lengths";
	if (r->ts != ts || !rec_is_live(r))
		return "record of another commit, or not live";
	if (rec_len(r) > twzdb__block_len(db, it->where))
		return "record longer than its block";
	return it->len == ((rec_len(r) + 7) & ~(uint64_t)7) ? NULL
							    : "record item of a wrong length";
}

/* Length and checksum of what lies in place are looked at where they matter: twzdb__log_whole(), and every reader. */
static const char *check_rec_live(struct twzdb *db, const struct item_pm *it,
				  const struct rec_live_pm *r)
{
	if (it->len % sizeof(*r))
		return "list of records of a wrong length";
	for (uint64_t i = 0; i < it->len / sizeof(*r); i++)
		if (!twzdb__is_rec(db, r[i].where) || r[i].kind >= TWZDB_TABLE)
			return "list of records names no block, or a wrong kind";
	return NULL;
}

/* All of a run lies in the unit its first row lies in. */
static const char *check_rec_run(struct twzdb *db, const struct item_pm *it,
				 const struct rec_run_pm *u)
{
	if (it->len % sizeof(*u))
		return "list of runs of a wrong length";
	for (uint64_t i = 0; i < it->len / sizeof(*u); i++) {
		uint64_t last = u[i].where, slot = u[i].leaf >> TWZDB_LONE_SHIFT;

		if (!u[i].cnt || u[i].cnt > TWZDB_FANOUT || u[i].zero)
			return "run of a wrong length";
		last += (u[i].cnt - 1) * twzdb__block_len(db, u[i].where);
		if (!twzdb__is_rec(db, u[i].where) || !twzdb__is_rec(db, last) ||
		    unit_no(last) != unit_no(u[i].where))
			return "run names no blocks";
		if (u[i].leaf && (!twzdb__is_node(db, u[i].leaf & TWZDB_LONE_PTR) ||
				  slot + u[i].cnt > TWZDB_FANOUT))
			return "run of no leaf";
	}
	return NULL;
}

static const char *check_root_word(uint64_t off, uint64_t value)
{
	if (off == offsetof(struct db_pm, obj_cnt))
		return value && value <= TWZDB_OBJ_MAX ? NULL
						       : "number of data objects out of range";
	if (off >= offsetof(struct db_pm, units) && off < sizeof(struct db_pm))
		return value <= TWZDB_UNITS_PER_OBJ ? NULL : "number of units out of range";
	return off == offsetof(struct db_pm, next_table) ? NULL : "word outside the root";
}

static const char *check_word(struct twzdb *db, const struct item_pm *it, const uint64_t *value)
{
	const uint64_t anchor = TWZDB_ANCHOR_OFF + offsetof(struct table_pm, root);

	if (it->len != 8 || it->where & 7)
		return "word item of a wrong length";
	if (it->where != twzdb__catalog() + offsetof(struct table_pm, root)) {
		if (it->where >> TWZ_PPTR_OFF_BITS == TWZDB_NO_ROOT)
			return check_root_word((it->where & TWZ_PPTR_OFF_MASK) - TWZ_DATA_OFF,
					       *value);
		if (!twzdb__is_anchor(db, it->where - anchor))
			return "word in no table";
	}
	return *value && !twzdb__is_node(db, *value) ? "root of a table is no node" : NULL;
}

static const char *check_list(struct twzdb *db, const struct item_pm *it, const uint64_t *p)
{
	for (uint64_t i = 0; i < it->len / 8; i++)
		if (it->type == TWZDB_IT_REC_DEAD ? !twzdb__is_rec(db, p[i])
						  : !twzdb__is_node(db, p[i]))
			return "list names no block";
	return NULL;
}

/*
 * A unit keeps its type: its header is stored over zeros, or (replay) over itself, whole or in
 * part.
 */
static bool unit_is_new(const uint64_t *home, const uint64_t *u)
{
	for (size_t i = 0; i < sizeof(struct unit_pm) / 8; i++)
		if (home[i] && home[i] != u[i])
			return false;
	return true;
}

/* Where unit header U belongs, or NULL. */
static const uint64_t *unit_home(struct twzdb *db, const struct item_pm *it,
				 const struct unit_pm *u)
{
	uint64_t off = it->where & TWZ_PPTR_OFF_MASK;

	if (!twzdb__unit_valid(u) || off < TWZ_DATA_OFF || (off - TWZ_DATA_OFF) % TWZDB_UNIT_LEN ||
	    it->where >> TWZ_PPTR_OFF_BITS < TWZDB_NO_DATA)
		return NULL;
	return twzdb__at(db, it->where, (uint64_t)u->run * TWZDB_UNIT_LEN);
}

static const char *check_unit(struct twzdb *db, const struct item_pm *it, const struct unit_pm *u)
{
	const uint64_t *home = it->len == sizeof(*u) ? unit_home(db, it, u) : NULL;

	if (!home)
		return "unit header out of range";
	return unit_is_new(home, (const uint64_t *)u) ? NULL : "unit in use gets another type";
}

/*
 * No other record since the tail changes this header (runs.c), so what lies there is what it was, or what it shall be, or some
 * words of each. Anchors never move.
 */
static const char *check_unit_cut(struct twzdb *db, const struct item_pm *it,
				  const struct unit_cut_pm *c)
{
	const uint64_t *home = it->len == sizeof(*c) ? unit_home(db, it, &c->now) : NULL,
		       *was = (const uint64_t *)&c->was, *now = (const uint64_t *)&c->now;

	if (!home)
		return "unit header out of range";
	if (twzdb__unit_valid(&c->was) && c->was.cls == TWZDB_CLS_TABLE)
		return "unit of anchors gets another type";
	for (size_t i = 0; i < sizeof(c->now) / 8; i++)
		if (home[i] != was[i] && home[i] != now[i])
			return "unit cut that is not what it was";
	return NULL;
}

static void apply_unit(struct twzdb *db, uint64_t p, const struct unit_pm *u)
{
	uint64_t *home = twzdb__at(db, p, sizeof(*u));

	for (size_t i = 0; i < sizeof(*u) / 8; i++)
		st64(&home[i], ((const uint64_t *)u)[i]);
}

static const char *check_item(struct twzdb *db, const struct item_pm *it, const void *payload,
			      uint64_t ts)
{
	if (it->len % 8)
		return "item of a wrong length";
	switch (it->type) {
	case TWZDB_IT_UNIT:
		return check_unit(db, it, payload);
	case TWZDB_IT_UNIT_CUT:
		return check_unit_cut(db, it, payload);
	case TWZDB_IT_NODE_NEW:
		return check_node_new(db, it, payload);
	case TWZDB_IT_NODE_WR:
		return check_node_wr(db, it, payload);
	case TWZDB_IT_REC_LIVE:
		return check_rec_live(db, it, payload);
	case TWZDB_IT_REC_RUN:
		return check_rec_run(db, it, payload);
	case TWZDB_IT_REC_FULL:
		return check_rec(db, it, payload, ts);
	case TWZDB_IT_REC_DIFF:
		return check_rec_diff(db, it, payload, ts);
	case TWZDB_IT_WORD:
		return check_word(db, it, payload);
	case TWZDB_IT_REC_DEAD:
	case TWZDB_IT_NODE_DEAD:
	case TWZDB_IT_NODE_DROP:
		return check_list(db, it, payload);
	default:
		return "unknown kind of item";
	}
}

/* --- transactions of one operation --- */

static const char *check_perm(const uint8_t perm[TWZDB_FANOUT], unsigned n, unsigned slot)
{
	uint32_t seen = 0;
	bool there = false;

	for (unsigned i = 0; i < TWZDB_FANOUT; i++) {
		seen |= perm[i] < TWZDB_FANOUT ? (uint32_t)1 << perm[i] : 0;
		there |= i < n && perm[i] == slot;
	}
	return n <= TWZDB_FANOUT && there && seen == ((uint32_t)1 << TWZDB_FANOUT) - 1
		       ? NULL
		       : "inserted row with a wrong count or permutation";
}

static const char *check_one(struct twzdb *db, const struct lone_pm *l, size_t len)
{
	const struct rec_pm *r;

	if (lone_kind(l) < TWZDB_LREC_UPD1 || lone_kind(l) > TWZDB_LREC_INS1 || len < lone_len(l))
		return "log record of one operation: kind or length";
	if (!twzdb__is_node(db, lone_leaf(l)) || lone_slot(l) >= TWZDB_FANOUT ||
	    !twzdb__is_rec(db, lone_rec(l)) || l->rec >> TWZDB_LONE_SHIFT > TWZDB_FANOUT)
		return "log record of one operation names no leaf, slot or record";
	if (lone_is_diff(l)) {
		const struct diff d = twzdb__diff_lone(l, len);

		return twzdb__is_rec(db, lone_old(l)) ? twzdb__diff_check(db, &d)
						      : "log record of ranges replaces no record";
	}
	if (lone_kind(l) != TWZDB_LREC_INS1 && !twzdb__is_rec(db, l->old))
		return "log record of one operation replaces no record";
	if (lone_kind(l) == TWZDB_LREC_INS1 && check_perm(l->ins.perm, l->ins.n, lone_slot(l)))
		return check_perm(l->ins.perm, l->ins.n, lone_slot(l));
	r = lone_carried(l, len);
	if (!r)
		return NULL;
	return check_rec(
		db,
		&(struct item_pm){TWZDB_IT_REC_FULL, 0, (uint32_t)(len - lone_len(l)), lone_rec(l)},
		r, l->ts);
}

static int lone_check(struct twzdb *db, const struct lone_pm *l, size_t len, uint64_t ts)
{
	const char *rule = NULL;

	if (!l->ts || l->ts > ts + 1 || l->ts > TWZDB_TS_MAX)
		rule = "log record of a commit that cannot come next";
	if (!rule)
		rule = check_one(db, l, len);
	return rule ? twzdb__corrupt(db, lone_leaf(l), rule) : 0;
}

int twzdb__lrec_check(struct twzdb *db, const void *rec, size_t len)
{
	if (twzdb__is_group(rec, len))
		return twzdb__group_check(db, rec, len, ld64(&db->root->ts));
	return twzdb__lrec_check_after(db, rec, len, ld64(&db->root->ts));
}

int twzdb__lrec_check_after(struct twzdb *db, const void *rec, size_t len, uint64_t ts)
{
	const struct lrec_pm *l = rec;
	const struct item_pm *it;
	const void *payload;
	uint64_t pos = 0, cnt = 0;
	const char *rule = NULL;

	if (twzdb__is_one(rec, len))
		return lone_check(db, rec, len, ts);
	if (len < sizeof(*l) || l->magic != TWZDB_LREC_MAGIC || l->version != 0 || l->len != len ||
	    (l->kind != TWZDB_LREC_COMMIT && l->kind != TWZDB_LREC_SPACE))
		return twzdb__corrupt(db, 0, "log record header out of range");
	/* Commits are numbered without gaps, and applied in order. */
	if (l->kind == TWZDB_LREC_COMMIT && (!l->ts || l->ts > ts + 1 || l->ts > TWZDB_TS_MAX))
		return twzdb__corrupt(db, 0, "log record of a commit that cannot come next");
	while (!rule && twzdb__item_next(rec, &pos, &it, &payload)) {
		cnt++;
		rule = check_item(db, it, payload, l->ts);
		if (rule)
			return twzdb__corrupt(db, it->where, rule);
	}
	return pos == len && cnt == l->item_cnt
		       ? 0
		       : twzdb__corrupt(db, 0, "log record items do not fill it");
}

/* --- applying --- */

static void store_words(struct node_pm *n, uint64_t mask, const uint64_t *words)
{
	uint64_t *w = (uint64_t *)n;

	for (; mask; mask &= mask - 1)
		st64_rel(&w[__builtin_ctzll(mask)], *words++);
}

static uint32_t *node_hdr(struct node_pm *n)
{
	return (uint32_t *)(void *)((uint8_t *)n + 4);
}

/* The rows that came to a leaf remember it: their headers have just been written. */
static void leave_hints(struct twzdb *db, uint64_t leaf, const struct node_wr_pm *w)
{
	const uint64_t *words = (const uint64_t *)(w + 1);

	for (uint64_t mask = w->mask; mask; mask &= mask - 1, words++) {
		uint64_t slot = (uint64_t)__builtin_ctzll(mask) - offsetof(struct node_pm, ptr) / 8;
		struct rec_pm *r;

		if (!(mask & -mask & PTR_WORDS) || !*words || !twzdb__is_rec(db, *words))
			continue;
		r = twzdb__at(db, *words, sizeof(*r));
		if (r && rec_is_live(r))
			st64(&r->link, leaf | slot << TWZDB_LONE_SHIFT);
	}
}

static void apply_node_wr(struct node_pm *n, const struct node_wr_pm *w)
{
	const uint64_t *words = (const uint64_t *)(w + 1);
	uint32_t odd;

	/*
	 * In a leaf, only record versions were replaced: each word is right by itself, before
	 * and after, so readers need not notice. (A key that came or went changed sts.) Not so
	 * in an inner node: another child has another low fence, which is what its place means.
	 */
	if (!(w->hdr & 0xff) && !(w->mask & ~PTR_WORDS) && w->hdr == ld32(node_hdr(n)) &&
	    !(ld32(&n->ver) & 1)) {
		store_words(n, w->mask, words);
		return;
	}
	odd = node_open(n);
	__atomic_store_n(node_hdr(n), w->hdr, __ATOMIC_RELAXED);
	store_words(n, w->mask, words);
	node_close(n, odd);
}

static void apply_node_new(struct node_pm *n, const struct node_pm *img)
{
	uint64_t *to = (uint64_t *)n;
	const uint64_t *from = (const uint64_t *)img;
	uint32_t odd = node_open(n);

	__atomic_store_n(node_hdr(n), *node_hdr((struct node_pm *)(uintptr_t)img),
			 __ATOMIC_RELAXED);
	for (unsigned i = 1; i < TWZDB_NODE_LEN / 8; i++)
		st64_rel(&to[i], from[i]);
	node_close(n, odd);
}

static void apply_node_end(struct twzdb *db, uint64_t p, uint8_t flags, uint64_t ts)
{
	struct node_pm *n = twzdb__at(db, p, sizeof(*n));
	uint32_t odd = node_open(n);

	__atomic_store_n(&n->flags, flags, __ATOMIC_RELAXED);
	st64(&n->sts, ts);
	node_close(n, odd);
	if (!db->page_media)
		twzdb__hint_dead(db, p, ts);
}

/*
 * Everything but LIVE lies in place (D2a, D2d), and nobody but a later owner of the block changes it: what
 * replay of older records did to link, LIVE and kind is what has to be put right (D6).
 */
static void apply_rec_live(struct twzdb *db, const struct rec_live_pm *l)
{
	struct rec_pm *r = twzdb__at(db, l->where, sizeof(*r));

	rec_live(r, 0, rec_vlen_short(r), l->kind);
}

/* As apply_rec_live(), of rows one behind the other; and the hints at once. */
static void apply_rec_run(struct twzdb *db, const struct rec_run_pm *u)
{
	uint64_t len = twzdb__block_len(db, u->where), hint = u->leaf,
		 step = hint ? (uint64_t)1 << TWZDB_LONE_SHIFT : 0;
	uint8_t *at = twzdb__at(db, u->where, u->cnt * len);

	for (uint32_t i = 0; i < u->cnt; i++, at += len, hint += step) {
		struct rec_pm *r = (struct rec_pm *)(void *)at;

		rec_live(r, hint, rec_vlen_short(r), TWZDB_ROW);
	}
}

/* On a block readers know already it stores what is there. */
static void apply_rec_full(struct twzdb *db, uint64_t p, const struct rec_pm *from)
{
	struct rec_pm *r = twzdb__at(db, p, rec_len(from));

	st64(&r->ts, from->ts);
	st64(&r->prev, from->prev);
	st64(&r->link, from->link);
	__atomic_store_n(&r->klt, from->klt, __ATOMIC_RELAXED);
	__atomic_store_n(&r->sum, from->sum, __ATOMIC_RELAXED);
	if (rec_kind(from) == TWZDB_TABLE && rec_vlen(from) == sizeof(struct table_pm))
		anchor_store(r, (const uint8_t *)from + TWZDB_ANCHOR_OFF);
	else
		memcpy(r->data, from->data, rec_len(from) - TWZDB_REC_LEN);
	__atomic_store_n(&r->vlf, from->vlf, __ATOMIC_RELEASE);
}

static void replay_one(struct twzdb *db, const struct lone_pm *l, size_t len)
{
	const struct rec_pm *carried = lone_carried(l, len);
	const struct diff d = twzdb__diff_lone(l, len);

	if (lone_is_diff(l))
		twzdb__diff_apply(db, &d);
	else if (carried)
		apply_rec_full(db, lone_rec(l), carried);
	apply_one(db, l, rec_vlen_short(twzdb__at(db, lone_rec(l), sizeof(struct rec_pm))));
}

static void apply_rec_diff(struct twzdb *db, const struct item_pm *it, const void *payload,
			   uint64_t ts)
{
	const struct diff d = twzdb__diff_item(it, payload, ts);

	twzdb__diff_apply(db, &d);
}

/* All that dies with the record is dead: bases among it, and older ones, stay (D2c). */
static void keep_bases(struct twzdb *db, const struct lrec_pm *l)
{
	const struct item_pm *it;
	const void *payload;
	uint64_t pos = 0;

	while (twzdb__item_next(l, &pos, &it, &payload))
		if (it->type == TWZDB_IT_REC_DIFF)
			twzdb__diff_keep(db, ((const struct rec_diff_pm *)payload)->base, l->ts);
}

static void apply_item(struct twzdb *db, const struct item_pm *it, const void *payload, uint64_t ts)
{
	const uint64_t *list = payload;

	switch (it->type) {
	case TWZDB_IT_UNIT:
		apply_unit(db, it->where, payload);
		break;
	case TWZDB_IT_UNIT_CUT:
		apply_unit(db, it->where, &((const struct unit_cut_pm *)payload)->now);
		break;
	case TWZDB_IT_NODE_NEW:
		apply_node_new(twzdb__at(db, it->where, TWZDB_NODE_LEN), payload);
		break;
	case TWZDB_IT_NODE_WR:
		apply_node_wr(twzdb__at(db, it->where, TWZDB_NODE_LEN), payload);
		if (!(((const struct node_wr_pm *)payload)->hdr & 0xff))
			leave_hints(db, it->where, payload);
		break;
	case TWZDB_IT_REC_LIVE:
		for (uint64_t i = 0; i < it->len / sizeof(struct rec_live_pm); i++)
			apply_rec_live(db, (const struct rec_live_pm *)payload + i);
		break;
	case TWZDB_IT_REC_RUN:
		for (uint64_t i = 0; i < it->len / sizeof(struct rec_run_pm); i++)
			apply_rec_run(db, (const struct rec_run_pm *)payload + i);
		break;
	case TWZDB_IT_REC_FULL:
		apply_rec_full(db, it->where, payload);
		break;
	case TWZDB_IT_REC_DIFF:
		apply_rec_diff(db, it, payload, ts);
		break;
	case TWZDB_IT_WORD:
		st64_rel((uint64_t *)twzdb__at(db, it->where, 8), *list);
		break;
	case TWZDB_IT_REC_DEAD:
		for (uint64_t i = 0; i < it->len / 8; i++)
			apply_rec_dead(db, list[i], ts);
		break;
	default:
		for (uint64_t i = 0; i < it->len / 8; i++)
			apply_node_end(db, list[i],
				       it->type == TWZDB_IT_NODE_DEAD ? TWZDB_NODE_DEAD
								      : TWZDB_NODE_DROPPED,
				       ts);
		break;
	}
}

/* The node of a later item will be stored to: *AHEAD, behind it from now on. */
static void fetch_home(struct twzdb *db, const void *rec, uint64_t *ahead)
{
	const struct item_pm *it;
	const void *payload;
	const uint8_t *n;
	uint64_t mask;

	if (!twzdb__item_next(rec, ahead, &it, &payload))
		return;
	if (it->type != TWZDB_IT_NODE_WR && it->type != TWZDB_IT_NODE_NEW)
		return;
	n = twzdb__at(db, it->where, TWZDB_NODE_LEN);
	mask = it->type == TWZDB_IT_NODE_NEW ? ~(uint64_t)0
					     : ((const struct node_wr_pm *)payload)->mask | 1;
	for (size_t line = 0; n && line < TWZDB_NODE_LEN; line += TWZ_LINE_SIZE)
		if (mask >> (line / 8) & 0xff)
			fetch(n + line);
}

void twzdb__apply(struct twzdb *db, const void *rec, size_t len)
{
	const struct lrec_pm *l = rec;
	const struct item_pm *it;
	const void *payload;
	uint64_t pos = 0, ahead = 0;
	bool diffs = false;

	if (twzdb__is_one(rec, len)) {
		replay_one(db, rec, len);
		return;
	}
	if (twzdb__is_group(rec, len)) {
		twzdb__group_apply(db, rec);
		return;
	}
	for (unsigned i = 0; i < FETCH_AHEAD; i++)
		fetch_home(db, rec, &ahead);
	while (twzdb__item_next(rec, &pos, &it, &payload)) {
		fetch_home(db, rec, &ahead);
		apply_item(db, it, payload, l->ts);
		diffs |= it->type == TWZDB_IT_REC_DIFF;
	}
	if (unlikely(diffs))
		keep_bases(db, l);
	if (l->kind == TWZDB_LREC_COMMIT)
		st64_rel(&db->root->ts, l->ts);
}

/* The row is in its block, and may be read by the next writer already: nothing of it is stored again. */
static void apply_rec_placed(struct twzdb *db, uint64_t p, const struct rec_pm *from)
{
	struct rec_pm *r = twzdb__at(db, p, sizeof(*r));

	st64(&r->link, from->link);
	__atomic_store_n(&r->vlf, from->vlf, __ATOMIC_RELEASE);
}

void twzdb__apply_placed(struct twzdb *db, const void *rec, size_t len)
{
	const struct lrec_pm *l = rec;
	const struct lone_pm *one = rec;
	const struct item_pm *it;
	const void *payload;
	uint64_t pos = 0;
	struct rec_pm head = {0};
	bool diffs = false;

	if (twzdb__is_one(rec, len)) {
		const struct rec_pm *r = lone_carried(one, len);

		r = r ? r : twzdb__at(db, lone_rec(one), sizeof(*r));
		apply_one(db, one, rec_vlen_short(r));
		return;
	}
	while (twzdb__item_next(rec, &pos, &it, &payload)) {
		const struct rec_pm *r = it->type == TWZDB_IT_REC_DIFF ? &head : payload;

		if (it->type == TWZDB_IT_REC_DIFF)
			head.vlf = rec_vlf(twzdb__at(db, it->where, sizeof(head))) | TWZDB_VLF_LIVE;
		if (it->type == TWZDB_IT_REC_DIFF ||
		    (it->type == TWZDB_IT_REC_FULL && rec_kind(payload) != TWZDB_TABLE))
			apply_rec_placed(db, it->where, r);
		else
			apply_item(db, it, payload, l->ts);
		diffs |= it->type == TWZDB_IT_REC_DIFF;
	}
	if (unlikely(diffs))
		keep_bases(db, l);
	st64_rel(&db->root->ts, l->ts);
}

static inline struct rec_pm *row_of(struct twzdb *db, const struct node_pm *img, unsigned slot)
{
	return twzdb__at(db, img->ptr[slot], sizeof(struct rec_pm));
}

static void ask_rows(struct twzdb *db, const struct node_pm *img)
{
	for (unsigned i = 0; i < img->n; i++) {
		struct rec_pm *r = row_of(db, img, img->perm[i]);

		if (likely(r)) {
			__builtin_prefetch(&r->link, 1);
			__asm__ volatile("" : : "r"(r)); /* as fetch() does */
		}
	}
}

/* The rows of new leaf IMG, at LEAF, are where their hints say. */
static void leave_hints_new(struct twzdb *db, uint64_t leaf, const struct node_pm *img)
{
	for (unsigned i = 0; i < img->n; i++) {
		uint64_t slot = img->perm[i];
		struct rec_pm *r = row_of(db, img, (unsigned)slot);

		if (likely(r && twzdb__is_rec(db, img->ptr[slot]) && rec_is_live(r)))
			st64(&r->link, leaf | slot << TWZDB_LONE_SHIFT);
	}
}

/* Next leaf among the new nodes of REC, from *POS on; NULL: none. */
static const struct item_pm *next_new_leaf(const void *rec, uint64_t *pos)
{
	const struct item_pm *it;
	const void *payload;

	while (twzdb__item_next(rec, pos, &it, &payload))
		if (it->type == TWZDB_IT_NODE_NEW && !((const struct node_pm *)payload)->level)
			return it;
	return NULL;
}

/*
 * A split takes half of a leaf's rows to another leaf, and they do not know: who changes one of them next would look in
 * the wrong place first. It costs little to tell them now, for their lines come all at once. Hints only: nothing of it is
 * flushed, and no rule counts on it. Not on page media, where it would make pages dirty.
 */
void twzdb__apply_hints(struct twzdb *db, const void *rec)
{
	uint64_t pos = 0, ahead = 0;
	const struct item_pm *it = next_new_leaf(rec, &pos), *next;

	(void)next_new_leaf(rec, &ahead);
	if (it)
		ask_rows(db, (const struct node_pm *)(it + 1));
	for (; it; it = next_new_leaf(rec, &pos)) {
		next = next_new_leaf(rec, &ahead);
		if (next)
			ask_rows(db, (const struct node_pm *)(next + 1));
		leave_hints_new(db, it->where, (const struct node_pm *)(it + 1));
	}
}

static int diff_whole(struct twzdb *db, const struct diff *d)
{
	const char *rule = twzdb__diff_whole(db, d);

	return rule ? twzdb__corrupt(db, d->where, rule) : 0;
}

/* All records before it have been replayed: bases are what they were. */
static int diffs_whole(struct twzdb *db, const void *rec, size_t len)
{
	const struct item_pm *it;
	const void *payload;
	uint64_t pos = 0;
	int err = 0;

	if (twzdb__is_group(rec, len))
		return 0;
	if (twzdb__is_one(rec, len)) {
		const struct diff d = twzdb__diff_lone(rec, len);

		return lone_is_diff(rec) ? diff_whole(db, &d) : 0;
	}
	while (!err && twzdb__item_next(rec, &pos, &it, &payload)) {
		const struct diff d =
			twzdb__diff_item(it, payload, ((const struct lrec_pm *)rec)->ts);

		if (it->type == TWZDB_IT_REC_DIFF)
			err = diff_whole(db, &d);
	}
	return err;
}

int twzdb__log_apply(void *ctx, uint64_t lsn, const void *rec, size_t len, bool restart)
{
	struct twzdb *db = ctx;
	int err = twzdb__lrec_check(db, rec, len);

	if (!err)
		err = diffs_whole(db, rec, len);
	(void)lsn;
	(void)restart;
	db->refused = err != 0;
	if (!err)
		twzdb__apply(db, rec, len);
	return err ? TWZ_E_CORRUPT : 0;
}

/*
 * Earlier records have been replayed by now: what they may have stored here (link, LIVE, kind) says nothing.
 */
static bool rec_whole(struct twzdb *db, const struct rec_live_pm *l)
{
	const struct rec_pm *r = twzdb__at(db, l->where, sizeof(*r));

	return r && twzdb__rec_fits(r, twzdb__block_len(db, l->where)) && r->sum == l->sum &&
	       twzdb__rec_sum_as(r, (enum twzdb_rec_kind)l->kind) == l->sum;
}

static bool run_whole(struct twzdb *db, const struct rec_run_pm *u)
{
	uint64_t len = twzdb__block_len(db, u->where), sum = u->where;

	for (uint32_t i = 0; i < u->cnt; i++) {
		struct rec_live_pm live = {u->where + i * len, 0, TWZDB_ROW};
		const struct rec_pm *r = twzdb__at(db, live.where, sizeof(*r));

		live.sum = r ? r->sum : 0;
		if (!rec_whole(db, &live))
			return false;
		sum = run_sum(sum, live.sum);
	}
	return sum == u->sum;
}

static bool item_whole(struct twzdb *db, const struct item_pm *it, const void *payload)
{
	const struct rec_live_pm *l = payload;
	const struct rec_run_pm *u = payload;

	for (uint64_t i = 0; it->type == TWZDB_IT_REC_LIVE && i < it->len / sizeof(*l); i++)
		if (!rec_whole(db, &l[i]))
			return false;
	for (uint64_t i = 0; it->type == TWZDB_IT_REC_RUN && i < it->len / sizeof(*u); i++)
		if (!run_whole(db, &u[i]))
			return false;
	return true;
}

static int one_whole(struct twzdb *db, const struct lone_pm *l, size_t len)
{
	const struct rec_live_pm live = {lone_rec(l), l->sum,
					 lone_kind(l) == TWZDB_LREC_DEL1 ? TWZDB_TOMB : TWZDB_ROW};

	return lone_carried(l, len) || lone_is_diff(l) || rec_whole(db, &live);
}

/*
 * Restart, cache-line media, the last record of the log: its new rows and itself were made
 * durable by one fence, which may be missing (D2a). The checksums are in the record; header, key and value must be in the block.
 */
int twzdb__log_whole(void *ctx, uint64_t lsn, const void *rec, size_t len)
{
	struct twzdb *db = ctx;
	const struct item_pm *it;
	const void *payload;
	uint64_t pos = 0;

	(void)lsn;
	db->refused = twzdb__lrec_check(db, rec, len) != 0;
	if (db->refused)
		return TWZ_E_CORRUPT;
	if (twzdb__is_one(rec, len))
		return one_whole(db, rec, len);
	if (twzdb__is_group(rec, len))
		return 1; /* what it names was durable before it was appended */
	while (twzdb__item_next(rec, &pos, &it, &payload))
		if (!item_whole(db, it, payload))
			return 0;
	return 1;
}
