/* SPDX-License-Identifier: MIT
 * runs.c -- whole units: formatted, given up by their class, joined, cut anew
 *
 * A free run is a run for one large value (TWZDB_UNIT_LARGE) whose block may be reserved: units nobody needs are
 * nothing else. A class that needs a unit cuts it off a free run; what is left of the run stays one.
 *
 *	units of a class, all blocks free --release()--> free run --cut()--> units of another class, shorter runs
 *
 * Everywhere else a unit keeps its type, and much depends on that: records in the log name its blocks, the hints
 * in the shared segment do, and the accelerator. So a unit may change its type when
 *	(1) no snapshot can reach any of its blocks, and this transaction has not reserved one: as for reuse (D6, D7);
 *	(2) no record in the log names anything in it: a checkpoint comes first (D5), and nothing but the record
 *	    that cuts comes after it. So replay meets the unit before or behind that record, and never between two;
 *	(3) what lies in it and will be taken for a block's header has been zeroed, durably, before the record is
 *	    appended. If the crash comes in between, blocks that were free read as free;
 *	(4) the hints are struck out, and cut_seq is odd meanwhile: whoever took a stale address for a record's by the
 *	    unit table, without coming from the tree, looks at it again.
 * Units of anchors keep their type for ever: handles of tables, and the words of old log records, lead there.
 *
 * RESERVE units are left to deletes, or else a full store could never be emptied: a delete needs a block for
 * its tombstone before anything becomes free.
 */
#include "space.h"

#include <sys/uio.h>

/*
 * Units formatted ahead, by one log record: a share of what the class has, and so many at most. On page media as many as it has:
 * a record costs a sync there, and a load in transactions of 1000 rows waited for one at every third commit. The record must
 * stay small beside the smallest ring: one block.
 */
#define AHEAD_SHARE	 8
#define AHEAD_SHARE_PAGE 1
#define AHEAD_MAX	 6
#define AHEAD_MAX_PAGE	 48
#define CUT_MAX		 24 /* units cut by one log record, for the same reason */
#define RESERVE		 4  /* units only deletes get; small databases keep 1/RESERVE_SHARE */
#define RESERVE_SHARE	 16
#define GROW_MIN	 ((uint64_t)4 * TWZDB_UNIT_LEN)
#define GROW_MAX	 ((uint64_t)16 << 20)
#define GROW_SHARE	 128		     /* objects grow by 1/GROW_SHARE, */
#define GROW_STEP	 ((uint64_t)2 << 20) /* up to where the store gives them whole chunks anyway */
/* Page media: by 1/GROW_SHARE_PAGE up to GROW_MAX_PAGE, for two syncs a step stand in the way of commits. */
#define GROW_SHARE_PAGE 4
#define GROW_MAX_PAGE	((uint64_t)8 << 20)
#define SCAN_MAX	1024 /* units released at once: all their blocks have to be looked at */
/* From SPARE_FROM bytes on the helper thread keeps a data object longer than what is used, by */
#define SPARE_FROM ((uint64_t)4 << 20)
#define SPARE_LINE ((uint64_t)2 << 20)
#define SPARE_PAGE ((uint64_t)4 << 20)
#define IDLE_SHARE                                                                                 \
	64 /* units are released rather than the file grown when 1/IDLE_SHARE of all may be free */

/* --- formatting behind the last unit --- */

static uint64_t grown_len(const struct twzdb *db, uint64_t used, uint64_t want)
{
	uint64_t step = used / GROW_SHARE, more = used / GROW_SHARE_PAGE, len;

	more = more > GROW_MAX_PAGE ? GROW_MAX_PAGE : more;
	step = db->page_media && step < more ? more : step;
	step = step < GROW_MIN ? GROW_MIN : step > GROW_MAX ? GROW_MAX : step;
	len = want + step;
	if (len > GROW_STEP) {
		step = step > GROW_STEP ? step - GROW_STEP : 0;
		len = (TWZ_DATA_OFF + want + step + GROW_STEP - 1) / GROW_STEP * GROW_STEP -
		      TWZ_DATA_OFF;
	}
	return len > TWZ_DATA_MAX ? TWZ_DATA_MAX : len;
}

/*
 * Is object M, LEN bytes long, to be used up to WANT? What the helper made it longer by counts as soon as it is decided that the
 * object grows, and not before: free units of other classes come first.
 */
static bool claim(const struct twzdb *db, struct twzdb__map *m, uint64_t len, uint64_t used,
		  uint64_t want, bool grow)
{
	if (!m->claimed) /* what is unused may be what a helper made before the restart */
		m->claimed = used < SPARE_FROM ? len : used;
	if (want > m->claimed && grow)
		m->claimed = grown_len(db, used, want);
	return want <= m->claimed && want <= len;
}

/*
 * Room for NEED more units in data object I: -ENOSPC if there is none. GROW: make it longer if that helps; then
 * -ENOSPC means that it is at its full size.
 */
static int obj_room(struct twzdb *db, uint32_t i, uint32_t need, bool grow)
{
	uint64_t used = (uint64_t)twzdb__units_used(db, i) << TWZDB_UNIT_SHIFT,
		 want = used + ((uint64_t)need << TWZDB_UNIT_SHIFT), len;
	struct twzdb__map *m = &db->map[TWZDB_NO_DATA + i];
	struct twz_obj *o = m->obj;
	int err;

	if (want > (uint64_t)TWZDB_UNITS_PER_OBJ << TWZDB_UNIT_SHIFT)
		return -ENOSPC;
	len = twz_obj_len(o);
	err = len < want ? twz_obj_refresh(o) : 0; /* another process may have made it longer */
	len = twz_obj_len(o);
	if (err)
		return twzdb__from_twz(err, "data object");
	if (!claim(db, m, len, used, want, grow)) {
		if (!grow)
			return -ENOSPC;
		len = grown_len(db, used, want);
		err = twz_obj_grow(o, len,
				   false); /* durable before anything refers to it (D11, D14) */
		if (err == TWZ_E_NOSPC && len > want)
			err = twz_obj_grow(o, want, false);
	}
	if (!err)
		st64_rel(&m->end, TWZ_DATA_OFF + twz_obj_len(o));
	return err ? twzdb__from_twz(err, "growing the database") : 0;
}

/* A data object with room for NEED units; *FRESH: it is new and not counted in obj_cnt yet. */
static int find_room(struct twzdb *db, uint32_t need, bool grow, uint32_t *i, bool *fresh)
{
	uint32_t cnt = twzdb__obj_cnt(db);
	int err;

	*i = cnt - 1;
	*fresh = false;
	err = twzdb__map_obj(db, TWZDB_NO_DATA + *i);
	if (!err)
		err = obj_room(db, *i, need, grow);
	if (err != -ENOSPC || !grow)
		return err;
	if (cnt == TWZDB_OBJ_MAX)
		return twzdb__err(TWZDB_E_NOSPC, "%s: database '%s' has its %d data objects",
				  twz_store_path(db->s), db->name, TWZDB_OBJ_MAX);
	*i = cnt;
	*fresh = true;
	err = twzdb__obj_add(db, TWZDB_NO_DATA + cnt, GROW_MAX / 4);
	if (!err)
		err = obj_room(db, *i, need, true);
	return err == -ENOSPC ? twzdb__err(TWZDB_E_NOSPC, "value longer than a data object") : err;
}

struct unit_item {
	struct item_pm it;
	struct unit_pm unit;
};

struct word_item {
	struct item_pm it;
	uint64_t value;
};

struct space_rec {
	struct lrec_pm head;
	struct unit_item unit[AHEAD_MAX_PAGE];
	struct word_item word[2]; /* they follow the last unit at once */
};

_Static_assert(sizeof(struct space_rec) + 64 <= TWZ_PAGE_SIZE, "with the log's header: one block");

/*
 * The more units a class has, the more it gets at once; but no more than ROOM, and no space is taken for it. Not at the first
 * times since the segment was made: programs that change a little and end would leave them behind.
 */
static uint32_t units_ahead(struct twzdb_txn *tx, unsigned cls, uint64_t room)
{
	const struct sh_class *c = &tx->db->sh->cls[cls];
	bool page = tx->db->page_media;
	uint64_t max = page ? AHEAD_MAX_PAGE : AHEAD_MAX, n;

	if (cls == TWZDB_CLS_LARGE || tx->from_reserve)
		return 1;
	n = c->total * twzdb__class_len(cls) / TWZDB_UNIT_LEN /
	    (page ? AHEAD_SHARE_PAGE : AHEAD_SHARE);
	n = n > max ? max : n;
	n = n > room ? room : n;
	n = n > 2 * (uint64_t)c->got ? 2 * (uint64_t)c->got : n;
	return n ? (uint32_t)n : 1;
}

/*
 * Record that formats N units from G on, in data object I, and so makes COUNTS the numbers of
 * units in it and of objects.
 */
static void space_rec_make(struct space_rec *r, unsigned cls, uint32_t run, uint32_t g, uint32_t n,
			   uint32_t i, const uint64_t counts[2])
{
	const struct word_item word[2] = {
		{{TWZDB_IT_WORD, 0, 8,
		  DB_PTR(offsetof(struct db_pm, units) + i * sizeof(uint64_t))},
		 counts[0]},
		{{TWZDB_IT_WORD, 0, 8, DB_PTR(offsetof(struct db_pm, obj_cnt))}, counts[1]},
	};
	uint64_t len = sizeof(r->head) + n * sizeof(r->unit[0]) + sizeof(word);

	r->head = (struct lrec_pm){TWZDB_LREC_MAGIC, 0, TWZDB_LREC_SPACE, 0, len, n + 2};
	for (uint32_t k = 0; k < n; k++) {
		r->unit[k].it = (struct item_pm){TWZDB_IT_UNIT, 0, sizeof(r->unit[k].unit),
						 unit_ptr(g + k)};
		twzdb__unit_make(&r->unit[k].unit, cls, run);
	}
	memcpy((uint8_t *)r + len - sizeof(word), word, sizeof(word));
}

static void class_got(struct twzdb *db, unsigned cls, uint32_t g, uint32_t n)
{
	struct sh_class *c = &db->sh->cls[cls];

	for (uint32_t k = 0; k < n; k++)
		twzdb__unit_learn(db, g + k, twzdb__unit_of(db, unit_ptr(g + k)), true);
	c->fresh = g + 1;
	c->fresh_cnt = n - 1;
	c->got = c->got > n ? c->got : n; /* few may be all there was room for */
}

/* A record of this file: it holds whatever becomes of the transaction. */
static int space_commit(struct twzdb *db, struct lrec_pm *r)
{
	struct iovec iov = {r, r->len};
	uint64_t lsn;
	int err = twzdb__append(db, &iov, 1, &lsn);

	if (err)
		return err;
	twzdb__apply(db, r, r->len);
	twz_log_applied(db->log, lsn);
	return 0;
}

/* --- growing ahead --- */

/* How much longer data object I should be than what of it is used; *USED. */
static uint64_t spare(struct twzdb *db, uint32_t i, uint64_t *used)
{
	*used = (uint64_t)twzdb__units_used(db, i) << TWZDB_UNIT_SHIFT;
	return *used < SPARE_FROM ? 0 : db->page_media ? SPARE_PAGE : SPARE_LINE;
}

/* Growing takes as long as filling what has grown: the helper thread does it before somebody waits. */
static void spare_ask(struct twzdb *db, uint32_t i)
{
	uint64_t used, want = spare(db, i, &used);

	if (twz_obj_len(db->map[TWZDB_NO_DATA + i].obj) - used < want)
		(void)twzdb__helper_ask(db, HELP_GROW);
}

/* Best effort: what fails here fails again when somebody needs it, and then with a message. */
void twzdb__grow_ahead(struct twzdb *db)
{
	uint32_t i = twzdb__obj_cnt(db) - 1;
	struct twzdb__map *m = &db->map[TWZDB_NO_DATA + i];
	uint64_t used, want, len;

	if (twzdb__map_obj(db, TWZDB_NO_DATA + i))
		return;
	want = spare(db, i, &used);
	len = twz_obj_len(m->obj);
	if (!want || (len >= used && len - used >= want) || used + want > TWZ_DATA_MAX)
		return;
	if (twz_obj_grow(m->obj, grown_len(db, used, used + want), true))
		return;
	len = TWZ_DATA_OFF + twz_obj_len(m->obj);
	st64(&m->warm, len);
	st64_rel(&m->end, len);
}

/* Units kept back: of the last data object. */
static uint32_t reserve(struct twzdb *db)
{
	uint32_t n = 1 + twzdb__units_used(db, twzdb__obj_cnt(db) - 1) / RESERVE_SHARE;

	return n < RESERVE ? n : RESERVE;
}

/* N units from G on will be written to from the first to the last byte: unless the helper was there. */
static void populate(struct twzdb *db, unsigned cls, uint32_t g, uint32_t n)
{
	const struct twzdb__map *m = &db->map[TWZDB_NO_DATA + g / TWZDB_UNITS_PER_OBJ];
	uint64_t off = unit_ptr(g) & TWZ_PPTR_OFF_MASK, len = (uint64_t)n << TWZDB_UNIT_SHIFT;

	if (cls != TWZDB_CLS_LARGE && off + len > ld64(&m->warm))
		twz_obj_populate(m->obj, off, len);
}

/* Units of data object I that are claimed, and neither used nor kept back. */
static uint64_t room_claimed(struct twzdb *db, uint32_t i, uint32_t keep)
{
	const struct twzdb__map *m = &db->map[TWZDB_NO_DATA + i];
	uint64_t len = twz_obj_len(m->obj), used = twzdb__units_used(db, i) + (uint64_t)keep;

	len = (len < m->claimed ? len : m->claimed) >> TWZDB_UNIT_SHIFT;
	return len > used ? len - used : 0;
}

/*
 * Format units (or one run) of class CLS behind the last one in use. Their bytes were zero until now, so every
 * block in them reads "not live". *G: the first, the others are fresh. -ENOSPC: not without GROW.
 */
static int format_behind(struct twzdb_txn *tx, unsigned cls, uint32_t run, bool grow, uint32_t *g)
{
	struct twzdb *db = tx->db;
	uint32_t keep = tx->from_reserve ? 0 : reserve(db), i, n;
	struct space_rec r;
	bool fresh;
	int err = find_room(db, run + keep, grow, &i, &fresh);

	if (err)
		return err;
	n = units_ahead(tx, cls, room_claimed(db, i, keep));
	*g = i * TWZDB_UNITS_PER_OBJ + twzdb__units_used(db, i);
	space_rec_make(&r, cls, run, *g, n, i,
		       (const uint64_t[2]){twzdb__units_used(db, i) + (uint64_t)n * run,
					   twzdb__obj_cnt(db) + (uint64_t)fresh});
	populate(db, cls, *g, n);
	err = space_commit(db, &r.head);
	if (err)
		return err;
	class_got(db, cls, *g, n);
	spare_ask(db, i);
	return 0;
}

/* --- changing the type of units --- */

struct cut_item {
	struct item_pm it;
	struct unit_cut_pm cut;
};

/* What one log record changes. */
struct cuts {
	struct lrec_pm head;
	struct cut_item item[CUT_MAX];
	uint32_t cnt;
	uint32_t marks[CUT_MAX]; /* TWZDB_UT_HOLLOW, TWZDB_UT_LEAVES */
};

static void cut_add(struct twzdb *db, struct cuts *c, uint32_t g, unsigned cls, uint32_t run,
		    uint32_t marks)
{
	struct cut_item *i = &c->item[c->cnt];

	c->marks[c->cnt++] = marks;

	i->it = (struct item_pm){TWZDB_IT_UNIT_CUT, 0, sizeof(i->cut), unit_ptr(g)};
	memcpy(&i->cut.was, twzdb__at(db, i->it.where, TWZDB_UNIT_LEN), sizeof(i->cut.was));
	twzdb__unit_make(&i->cut.now, cls, run);
}

static uint32_t cut_first(const struct cuts *c, uint32_t i)
{
	return unit_no(c->item[i].it.where);
}

static bool cut_covers(const struct cuts *c, uint32_t g)
{
	for (uint32_t i = 0; i < c->cnt; i++)
		if (g - cut_first(c, i) < c->item[i].cut.now.run)
			return true;
	return false;
}

/* (4): nothing in the shared segment names blocks of the former life. Stacks are asked by class (space.c). */
static void hints_strike(struct twzdb *db, const struct cuts *c)
{
	struct sh_quarantine *q = &db->sh->quar, *held = &db->sh->hold.q;

	for (uint64_t i = q->head; i < q->tail; i++) {
		uint64_t *e = q->e[i % TWZDB_QUARANTINE];

		if (e[0] && cut_covers(c, unit_no(e[0])))
			e[0] = 0;
	}
	for (uint64_t i = held->head; i < held->tail; i++) {
		uint64_t *e = held->e[i % TWZDB_QUARANTINE];

		if (!e[0] || !cut_covers(c, unit_no(e[0])))
			continue;
		twzdb__hold_left(db, e);
		e[0] = 0;
	}
	for (unsigned cls = 0; cls < TWZDB_CLASSES; cls++) {
		struct sh_class *s = &db->sh->cls[cls];

		if (s->unit && cut_covers(c, s->unit - 1))
			s->unit = s->virgin = 0;
		for (uint32_t k = 0; k < s->fresh_cnt; k++)
			if (cut_covers(c, s->fresh + k))
				s->fresh_cnt = 0;
	}
	for (uint32_t i = 0; i < c->cnt; i++)
		twzdb__units_forget(db, cut_first(c, i), c->item[i].cut.now.run);
}

/* (3). A free run has one block, a unit many. */
static void headers_zero(struct twzdb *db, const struct cuts *c)
{
	for (uint32_t i = 0; i < c->cnt; i++) {
		const struct unit_pm *now = &c->item[i].cut.now;
		uint8_t *u = twzdb__at(db, c->item[i].it.where, TWZDB_UNIT_LEN);
		size_t len = now->kind == TWZDB_UNIT_LARGE ? sizeof(struct rec_pm)
							   : TWZDB_UNIT_LEN - sizeof(*now);

		memset(u + sizeof(*now), 0, len);
		twz_flush(db->s, u + sizeof(*now), len);
	}
}

/* (2) and (3): the log is emptied, what is to be zero is so on the medium. */
static int cuts_prepare(struct twzdb *db, const struct cuts *c)
{
	int err = twz_log_checkpoint(db->log);

	if (!err) {
		headers_zero(db, c);
		twz_fence(db->s);
		err = db->page_media ? twz_sync_all(db->s) : 0;
	}
	if (err == TWZ_E_IO || err == TWZ_E_FAILED)
		st64_rel(&db->sh->failed, 1);
	return err ? twzdb__from_twz(err, "cutting free space") : 0;
}

static int cuts_commit(struct twzdb *db, struct cuts *c)
{
	struct twzdb__shared *sh = db->sh;
	int err;

	c->head = (struct lrec_pm){TWZDB_LREC_MAGIC,
				   0,
				   TWZDB_LREC_SPACE,
				   0,
				   sizeof(c->head) + c->cnt * sizeof(c->item[0]),
				   c->cnt};
	__atomic_store_n(&sh->cut_seq, sh->cut_seq | 1, __ATOMIC_SEQ_CST);
	err = cuts_prepare(db, c);
	if (!err)
		err = space_commit(db, &c->head);
	if (!err)
		hints_strike(db, c);
	for (uint32_t i = 0; i < c->cnt && !err; i++) {
		uint32_t *e = unit_entry(db, cut_first(c, i));

		twzdb__unit_learn(db, cut_first(c, i), twzdb__unit_of(db, c->item[i].it.where),
				  true);
		st32(e, *e | c->marks[i]);
	}
	st64(&sh->cut_ts, ld64(&sh->ts));
	st64_rel(&sh->cut_seq, (sh->cut_seq | 1) + 1);
	return err;
}

/* --- which units are free --- */

/* What the search for free units knows. */
struct search {
	struct twzdb_txn *tx;
	struct u64map
		own; /* units (number + 1) with record blocks this transaction has reserved, or had */
	bool hard;   /* units formatted ahead, too */
};

static int search_begin(struct search *s, struct twzdb_txn *tx, bool hard)
{
	uint64_t last = 0;
	int err = 0;

	*s = (struct search){.tx = tx, .hard = hard};
	for (size_t i = 0; i < tx->recs.cnt && !err; i++) {
		uint64_t g = unit_no(tx->recs.v[i]) + 1ULL;

		if (g != last) /* most come from the unit of the one before */
			err = u64map_put(&s->own, g, 1);
		last = g;
	}
	for (size_t i = 0; i < runs_cnt(tx) && !err; i++)
		err = u64map_put(&s->own, unit_no(runs_at(tx, i)->where) + 1ULL, 1);
	return err ? twzdb__err(err, "no memory to look for free space") : 0;
}

/* (1), of a unit whose header U is valid and which the table says is empty. */
static bool unit_is_free(struct search *s, uint32_t g, const struct unit_pm *u)
{
	const struct sh_class *c = &s->tx->db->sh->cls[u->cls];
	uint64_t v;

	if (u->cls == TWZDB_CLS_TABLE || u64map_get(&s->own, g + 1ULL, &v) ||
	    (!s->hard && (c->unit == g + 1 || class_ahead(c, g))))
		return false;
	for (uint32_t b = 0; b < u->block_cnt; b++) {
		uint64_t off = u->first + (uint64_t)b * u->block_len;

		if (!twzdb__block_reusable(s->tx, u->kind == TWZDB_UNIT_NODES,
					   (const uint8_t *)u + off, unit_ptr(g) + off))
			return false;
	}
	return true;
}

/*
 * Units from G on, up to END, that belong together: *RUN of them. True: they are free. Unknown ones are not; nor
 * are those cut otherwise than we do.
 */
static bool look_at(struct search *s, uint32_t g, uint32_t end, uint32_t *run)
{
	const uint32_t *e = unit_entry(s->tx->db, g);
	const struct unit_pm *u;
	unsigned cls = TWZDB_UT_CLASS(*e);

	*run = 1;
	if (!(*e & TWZDB_UT_KNOWN) || cls == TWZDB_CLS_CONT ||
	    (cls != TWZDB_CLS_LARGE && TWZDB_UT_FREE(*e) != twzdb__block_cnts[cls]))
		return false;
	u = twzdb__unit_of(s->tx->db, unit_ptr(g));
	if (!u || u->cls != cls || u->run > end - g)
		return false;
	*run = u->run;
	return TWZDB_UT_FREE(*e) && unit_is_free(s, g, u);
}

/* --- giving up --- */

/* Collect what is free in data object I: stretches that are more than one run already. */
static void collect(struct search *s, uint32_t i, struct cuts *c, uint32_t *units)
{
	uint32_t g = i * TWZDB_UNITS_PER_OBJ, end = g + twzdb__units_used(s->tx->db, i);
	uint32_t from = g, parts = 0, marks = 0, run;

	for (; g < end && c->cnt < CUT_MAX && *units < SCAN_MAX; g += run) {
		bool ok = look_at(s, g, end, &run);

		if (ok) {
			from = parts ? from : g;
			marks |= *unit_entry(s->tx->db, g) & (TWZDB_UT_HOLLOW | TWZDB_UT_LEAVES);
			/* a run alone is as it should be */
			parts += TWZDB_UT_CLASS(*unit_entry(s->tx->db, g)) == TWZDB_CLS_LARGE ? 1
											      : 2;
			*units += run;
			continue;
		}
		if (parts > 1)
			cut_add(s->tx->db, c, from, TWZDB_CLS_LARGE, g - from, marks);
		parts = marks = 0;
	}
	if (parts > 1 && c->cnt < CUT_MAX)
		cut_add(s->tx->db, c, from, TWZDB_CLS_LARGE, g - from, marks);
}

int twzdb__release(struct twzdb_txn *tx, bool hard, uint32_t *cnt)
{
	struct twzdb *db = tx->db;
	struct search s;
	struct cuts c;
	uint32_t units = 0;
	int err = search_begin(&s, tx, hard);

	c.cnt = 0;
	(void)twzdb__min_now(tx);
	for (uint32_t i = 0; i < twzdb__obj_cnt(db) && !err; i++) {
		err = twzdb__map_obj(db, TWZDB_NO_DATA + i);
		if (!err)
			collect(&s, i, &c, &units);
	}
	u64map_free(&s.own);
	if (!err && c.cnt)
		err = cuts_commit(db, &c);
	*cnt = c.cnt;
	return err;
}

/* Is so much free that giving it up costs less than more space? */
static bool release_pays(struct twzdb *db, uint32_t run)
{
	const struct twzdb__shared *sh = db->sh;
	uint64_t ahead = sh->cls[TWZDB_CLS_LARGE].free, all = 0;

	for (unsigned c = 0; c < TWZDB_CLS_LARGE; c++)
		ahead += sh->cls[c].fresh_cnt;
	for (uint32_t i = 0; i < twzdb__obj_cnt(db); i++)
		all += twzdb__units_used(db, i);
	return sh->empty > ahead + RESERVE + run + all / IDLE_SHARE;
}

/* --- cutting --- */

int twzdb__each_free_run(struct twzdb_txn *tx, int (*fn)(void *ctx, uint32_t g, uint32_t run),
			 void *ctx)
{
	struct search s;
	int err = search_begin(&s, tx, false);

	for (uint32_t i = 0; i < twzdb__obj_cnt(tx->db) && !err; i++) {
		uint32_t at = i * TWZDB_UNITS_PER_OBJ, end = at + twzdb__units_used(tx->db, i), n;

		err = twzdb__map_obj(tx->db, TWZDB_NO_DATA + i);
		for (; at < end && !err; at += n) {
			const uint32_t *e = unit_entry(tx->db, at);

			n = 1;
			if (*e & TWZDB_UT_KNOWN && TWZDB_UT_CLASS(*e) == TWZDB_CLS_LARGE &&
			    look_at(&s, at, end, &n))
				err = fn(ctx, at, n);
		}
	}
	u64map_free(&s.own);
	return err;
}

/*
 * What the search for a run found. Hollow ones are taken only if there is no other, or if that is no use; and they are
 * no reserve, for a full disk has no space for them. What is being emptied comes last of all, and not for who empties it.
 */
struct find {
	struct twzdb *db;
	uint32_t need, g, run;
	uint64_t all;	/* units in runs that are not hollow */
	uint32_t marks; /* of the one found: the smaller, the better */
	bool stays;	/* none that is being emptied */
};

static int find_one(void *ctx, uint32_t g, uint32_t run)
{
	struct find *f = ctx;
	uint32_t marks = *unit_entry(f->db, g) & (TWZDB_UT_HOLLOW | TWZDB_UT_LEAVES);

	_Static_assert(TWZDB_UT_HOLLOW < TWZDB_UT_LEAVES, "marks are compared");
	f->all += marks & TWZDB_UT_HOLLOW ? 0 : run;
	if (run < f->need || (marks & TWZDB_UT_LEAVES && f->stays) ||
	    (f->run && (marks != f->marks ? marks > f->marks : run >= f->run)))
		return 0;
	f->g = g;
	f->run = run;
	f->marks = marks;
	return 0;
}

/* Bytes of N units of a hollow run (with the reserve, which stays there), and the header of what is left. */
static uint64_t hollow_part(uint32_t n, uint32_t run)
{
	return n < run ? ((uint64_t)n << TWZDB_UNIT_SHIFT) + TWZ_PAGE_SIZE
		       : (uint64_t)run << TWZDB_UNIT_SHIFT;
}

/* Units of class CLS, or a run of NEED units, from a free run. -ENOSPC: there is none. */
static int cut(struct twzdb_txn *tx, unsigned cls, uint32_t need, uint32_t *g)
{
	struct twzdb *db = tx->db;
	uint32_t last = twzdb__obj_cnt(db) - 1, keep = reserve(db), run, n, room = CUT_MAX - 1;
	struct find f = {.db = db, .need = need, .stays = tx->inside};
	uint64_t all, behind;
	struct cuts c;
	int err;

	if (!db->sh->cls[TWZDB_CLS_LARGE].free)
		return -ENOSPC;
	err = twzdb__each_free_run(tx, find_one, &f);
	if (!err)
		err = twzdb__map_obj(db, TWZDB_NO_DATA + last);
	if (err || !f.run)
		return err ? err : -ENOSPC;
	run = f.run;
	*g = f.g;
	all = f.all + (f.marks & TWZDB_UT_HOLLOW ? run : 0);
	behind = (twz_obj_len(db->map[TWZDB_NO_DATA + last].obj) >> TWZDB_UNIT_SHIFT) -
		 twzdb__units_used(db, last);
	all += behind < keep ? behind : keep;
	if (!tx->from_reserve && all < keep + need)
		return -ENOSPC;
	room = run < room ? run : room;
	if (!tx->from_reserve && all - keep < room)
		room = (uint32_t)(all - keep);
	n = cls == TWZDB_CLS_LARGE ? need : units_ahead(tx, cls, room);
	if (f.marks & TWZDB_UT_HOLLOW && twzdb__space_take(db, *g, hollow_part(n + keep, run)))
		return -ENOSPC;
	c.cnt = 0;
	for (uint32_t k = 0; k < n && cls != TWZDB_CLS_LARGE; k++)
		cut_add(db, &c, *g + k, cls, 1, 0);
	if (cls == TWZDB_CLS_LARGE)
		cut_add(db, &c, *g, cls, need, 0);
	if (n < run)
		cut_add(db, &c, *g + n, TWZDB_CLS_LARGE, run - n, f.marks);
	err = cuts_commit(db, &c);
	if (!err && cls != TWZDB_CLS_LARGE) {
		db->sh->cls[cls].fresh = *g + 1;
		db->sh->cls[cls].fresh_cnt = n - 1;
	}
	return err;
}

/* --- a unit for a class --- */

/* The store is full: whatever is free, however long it takes to find. */
static int last_resort(struct twzdb_txn *tx, unsigned cls, uint32_t run, uint32_t *g)
{
	uint32_t cnt;
	int err = -ENOSPC;

	(void)twzdb__hold_release(tx);
	while (twzdb__learn_some(tx->db))
		;
	do {
		int ret = twzdb__release(tx, true, &cnt);

		if (ret)
			return ret;
		err = cut(tx, cls, run, g);
	} while (err == -ENOSPC && cnt == CUT_MAX);
	return err;
}

/* For who makes the database smaller: nothing behind the last unit, where the next hole shall be. */
static int unit_inside(struct twzdb_txn *tx, unsigned cls, uint32_t run, uint32_t *g)
{
	uint32_t cnt;
	int err = cut(tx, cls, run, g);

	if (err == -ENOSPC && tx->db->sh->empty) {
		err = twzdb__release(tx, false, &cnt);
		if (!err)
			err = cut(tx, cls, run, g);
	}
	return err == -ENOSPC ? twzdb__err(TWZDB_E_NOSPC, "no free space inside the database")
			      : err;
}

int twzdb__unit_new(struct twzdb_txn *tx, unsigned cls, uint32_t run, uint32_t *g)
{
	uint32_t cnt;
	int err, full;

	if (unlikely(tx->inside))
		return unit_inside(tx, cls, run, g);
	err = format_behind(tx, cls, run, false, g);
	if (err == -ENOSPC)
		err = cut(tx, cls, run, g);
	if (err == -ENOSPC && release_pays(tx->db, run)) {
		err = twzdb__release(tx, false, &cnt);
		if (!err)
			err = cut(tx, cls, run, g);
	}
	if (err == -ENOSPC)
		err = format_behind(tx, cls, run, true, g);
	if (err != TWZDB_E_NOSPC)
		return err;
	full = err; /* its message says what is full */
	err = last_resort(tx, cls, run, g);
	return err == -ENOSPC ? full : err;
}
