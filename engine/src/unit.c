/* SPDX-License-Identifier: MIT
 * unit.c -- size classes and units: what kind of block lies where, and hints about free ones
 *
 * The headers of units and blocks decide. The unit table, the counts and the quarantine in the shared segment are
 * what is known about them: where to look, seldom whether it is true.
 */
#include "space.h"

#include <xxhash.h>

#define CLASS_FINE	 30 /* classes 1..30: 48, 64 .. TWZDB_FINE_MAX bytes */
#define CLASS_COARSE_CNT ((unsigned)(sizeof(per_unit) / sizeof(per_unit[0])))
#define LOOK_UNKNOWN	 64 /* units classified at once: all of a small database */
#define LOOK_FIRST                                                                                 \
	1024 /* when so many from the first on are known, so many elsewhere are that growing is right */

/* Coarse classes: as large as fits so many times into a unit; steps of about 1.25. */
static const uint8_t per_unit[] = {101, 81, 65, 52, 42, 33, 27, 22, 18, 15,
				   13,	12, 10, 9,  8,	7,  6,	5,  4,	3};

uint32_t twzdb__class_len(unsigned cls)
{
	if (cls == TWZDB_CLS_NODE)
		return TWZDB_NODE_LEN;
	if (cls == TWZDB_CLS_TABLE)
		return (TWZDB_ANCHOR_OFF + (uint32_t)sizeof(struct table_pm) + 15) & ~15U;
	if (cls <= CLASS_FINE)
		return 32 + 16 * cls;
	return UNIT_ROOM / per_unit[cls - CLASS_FINE - 1] & ~15U;
}

unsigned twzdb__class_of(uint64_t len)
{
	if (len <= TWZDB_FINE_MAX)
		return class_fine(len);
	for (unsigned i = 0; i < CLASS_COARSE_CNT; i++)
		if (len <= twzdb__class_len(CLASS_FINE + 1 + i))
			return CLASS_FINE + 1 + i;
	return TWZDB_CLS_LARGE;
}

/* --- units --- */

uint32_t twzdb__block_lens[TWZDB_CLASSES], twzdb__block_cnts[TWZDB_CLASSES];
struct grid twzdb__grids[TWZDB_CLASSES];

__attribute__((constructor)) static void block_tables(void)
{
	twzdb__block_cnts[TWZDB_CLS_LARGE] = 1;
	for (unsigned c = 0; c < TWZDB_CLS_LARGE; c++) {
		bool used = c <= CLASS_FINE + CLASS_COARSE_CNT || c == TWZDB_CLS_TABLE;

		twzdb__block_lens[c] = used ? twzdb__class_len(c) : UNIT_ROOM;
		twzdb__block_cnts[c] = c == TWZDB_CLS_NODE ? TWZDB_UNIT_LEN / TWZDB_NODE_LEN - 1
							   : UNIT_ROOM / twzdb__block_lens[c];
		if (used && c != TWZDB_CLS_NODE && c != TWZDB_CLS_TABLE)
			twzdb__grids[c] = (struct grid){
				(uint16_t)(twzdb__block_lens[c] - TWZDB_REC_LEN),
				(uint16_t)(twzdb__block_lens[c] * twzdb__block_cnts[c]),
				(uint32_t)(((uint64_t)1 << 32) / twzdb__block_lens[c] + 1)};
	}
}

static uint32_t unit_sum(const struct unit_pm *u)
{
	return (uint32_t)XXH3_64bits(u, offsetof(struct unit_pm, sum));
}

/* Bounds of everything the header says (D10). */
bool twzdb__unit_valid(const struct unit_pm *u)
{
	uint64_t room = (uint64_t)u->run * TWZDB_UNIT_LEN;

	if (u->magic != TWZDB_UNIT_MAGIC || u->sum != unit_sum(u) || !u->run ||
	    u->run > TWZDB_UNITS_PER_OBJ)
		return false;
	if (u->kind < TWZDB_UNIT_NODES || u->kind > TWZDB_UNIT_LARGE || u->cls >= TWZDB_CLS_CONT)
		return false;
	if ((u->kind == TWZDB_UNIT_NODES) != (u->cls == TWZDB_CLS_NODE) ||
	    (u->kind == TWZDB_UNIT_LARGE) != (u->cls == TWZDB_CLS_LARGE))
		return false;
	if (u->kind == TWZDB_UNIT_NODES &&
	    (u->block_len != TWZDB_NODE_LEN || u->first != TWZDB_NODE_LEN))
		return false;
	if (u->kind != TWZDB_UNIT_NODES &&
	    (u->block_len < sizeof(struct rec_pm) || u->block_len % 16 || u->first != sizeof(*u)))
		return false;
	if (u->kind == TWZDB_UNIT_LARGE ? u->block_cnt != 1 : u->run != 1)
		return false;
	return u->block_cnt && u->first + (uint64_t)u->block_cnt * u->block_len <= room;
}

void twzdb__unit_make(struct unit_pm *u, unsigned cls, uint32_t run)
{
	memset(u, 0, sizeof(*u));
	u->magic = TWZDB_UNIT_MAGIC;
	u->cls = (uint16_t)cls;
	u->run = run;
	u->first = cls == TWZDB_CLS_NODE ? TWZDB_NODE_LEN : (uint32_t)sizeof(*u);
	if (cls == TWZDB_CLS_LARGE) {
		u->kind = TWZDB_UNIT_LARGE;
		u->block_cnt = 1;
		u->block_len =
			(uint32_t)((uint64_t)run * TWZDB_UNIT_LEN - u->first - TWZDB_UNIT_TAIL) &
			~15U;
	} else {
		u->kind = cls == TWZDB_CLS_NODE ? TWZDB_UNIT_NODES : TWZDB_UNIT_RECORDS;
		u->block_len = twzdb__class_len(cls);
		u->block_cnt = twzdb__block_cnts[cls];
	}
	u->sum = unit_sum(u);
}

const struct unit_pm *twzdb__unit_of(struct twzdb *db, uint64_t p)
{
	uint64_t no = p >> TWZ_PPTR_OFF_BITS, off = p & TWZ_PPTR_OFF_MASK;
	const struct unit_pm *u;

	if (no < TWZDB_NO_DATA || no >= TWZDB_NO_DATA + TWZDB_OBJ_MAX || off < TWZ_DATA_OFF)
		return NULL;
	p = unit_ptr(unit_no(p));
	u = twzdb__at(db, p, TWZDB_UNIT_LEN);
	return u && twzdb__unit_valid(u) && twzdb__at(db, p, (uint64_t)u->run * TWZDB_UNIT_LEN)
		       ? u
		       : NULL;
}

static bool is_block_strict(struct twzdb *db, uint64_t p, bool node)
{
	const struct unit_pm *u = twzdb__unit_of(db, p);
	uint64_t off = ((p & TWZ_PPTR_OFF_MASK) - TWZ_DATA_OFF) & (TWZDB_UNIT_LEN - 1);

	if (!u || (u->kind == TWZDB_UNIT_NODES) != node || off < u->first)
		return false;
	off -= u->first;
	return off % u->block_len == 0 && off / u->block_len < u->block_cnt;
}

int twzdb__known_class(struct twzdb *db, uint64_t p)
{
	uint64_t no = p >> TWZ_PPTR_OFF_BITS, off = p & TWZ_PPTR_OFF_MASK;
	const struct twzdb__map *m;
	uint32_t e;

	if (unlikely(no < TWZDB_NO_DATA || no >= TWZDB_NO_DATA + TWZDB_OBJ_MAX ||
		     off < TWZ_DATA_OFF))
		return -1;
	m = &db->map[no];
	if (unlikely(off >= ld64_acq(&m->end)))
		return -1;
	e = __atomic_load_n(&m->units[(off - TWZ_DATA_OFF) >> TWZDB_UNIT_SHIFT], __ATOMIC_RELAXED);
	return e & TWZDB_UT_KNOWN ? (int)TWZDB_UT_CLASS(e) : -1;
}

/*
 * What the table knows of a unit was read from its valid header, and changes with it: so the header
 * need not be looked at, nor its line be fetched, for every pointer.
 */
static bool is_block(struct twzdb *db, uint64_t p, bool node)
{
	int cls = twzdb__known_class(db, p);
	uint32_t off, len, first;

	if (cls == TWZDB_CLS_CONT)
		return false;
	if (cls < 0 || cls == TWZDB_CLS_LARGE)
		return is_block_strict(db, p, node);
	if ((cls == TWZDB_CLS_NODE) != node)
		return false;
	off = (uint32_t)((p & TWZ_PPTR_OFF_MASK) - TWZ_DATA_OFF) & (TWZDB_UNIT_LEN - 1);
	first = class_first((unsigned)cls);
	if (off < first)
		return false;
	if (twzdb__grids[cls].end) /* no division, which would take longest */
		return grid_has(&twzdb__grids[cls], off - first);
	len = cls == TWZDB_CLS_NODE ? TWZDB_NODE_LEN : twzdb__block_lens[cls];
	return (off - first) % len == 0 && (off - first) / len < twzdb__block_cnts[cls];
}

uint32_t twzdb__obj_cnt(struct twzdb *db)
{
	uint64_t n = ld64(&db->root->obj_cnt);

	return n > TWZDB_OBJ_MAX ? TWZDB_OBJ_MAX : n ? (uint32_t)n : 1;
}

uint32_t twzdb__units_used(struct twzdb *db, uint32_t i)
{
	uint64_t n = ld64(&db->root->units[i]);

	return n > TWZDB_UNITS_PER_OBJ ? TWZDB_UNITS_PER_OBJ : (uint32_t)n;
}

uint64_t twzdb__node_limit(struct twzdb *db)
{
	uint64_t sum = 1;

	for (uint32_t i = 0; i < twzdb__obj_cnt(db); i++)
		sum += twzdb__units_used(db, i);
	return sum * (TWZDB_UNIT_LEN / TWZDB_NODE_LEN);
}

bool twzdb__is_node(struct twzdb *db, uint64_t p)
{
	return is_block(db, p, true);
}

bool twzdb__is_rec(struct twzdb *db, uint64_t p)
{
	return is_block(db, p, false);
}

bool twzdb__is_anchor(struct twzdb *db, uint64_t p)
{
	int cls = twzdb__known_class(db, p);
	const struct unit_pm *u = cls < 0 ? twzdb__unit_of(db, p) : NULL;

	return is_block(db, p, false) && (u ? u->cls : cls) == TWZDB_CLS_TABLE;
}

bool twzdb__is_node_strict(struct twzdb *db, uint64_t p)
{
	return is_block_strict(db, p, true);
}

bool twzdb__is_rec_strict(struct twzdb *db, uint64_t p)
{
	return is_block_strict(db, p, false);
}

uint64_t twzdb__block_len(struct twzdb *db, uint64_t p)
{
	int cls = twzdb__known_class(db, p);

	if (!is_block(db, p, false))
		return 0;
	return cls >= 0 && cls < TWZDB_CLS_LARGE ? twzdb__block_lens[cls]
						 : twzdb__unit_of(db, p)->block_len;
}

/* --- hints --- */

void twzdb__hint_taken(struct twzdb *db, uint32_t g)
{
	uint32_t *e = unit_entry(db, g);

	if (!e || !(*e & TWZDB_UT_KNOWN) || !TWZDB_UT_FREE(*e))
		return;
	db->sh->empty -= entry_empty(*e);
	st32(e, *e - 1);
	db->sh->cls[TWZDB_UT_CLASS(*e)].free--;
}

/* Units there can be something known of: as many as the object has room for, in whichever process it grew. */
static uint32_t units_of_obj(struct twzdb *db, uint32_t no)
{
	struct twz_obj_stat st = {.size = sizeof(st)};

	if (twz_obj_stat(db->map[no].obj, &st) || st.len >> TWZDB_UNIT_SHIFT >= TWZDB_UNITS_PER_OBJ)
		return TWZDB_UNITS_PER_OBJ;
	return (uint32_t)(st.len >> TWZDB_UNIT_SHIFT) + 1;
}

/* After a takeover: the dead writer's reservations were counted and are void. */
void twzdb__hints_forget(struct twzdb *db)
{
	bool cut = db->sh->cut_seq & 1;

	for (uint32_t i = 0; i < twzdb__obj_cnt(db); i++) {
		uint32_t *e = twzdb__map_obj(db, TWZDB_NO_DATA + i)
				      ? NULL
				      : db->map[TWZDB_NO_DATA + i].units;

		uint32_t cnt = e ? units_of_obj(db, TWZDB_NO_DATA + i) : 0;

		/* What lies inside a run stays so, unless a cut was under way: nobody shall look for a header there. */
		for (uint32_t u = 0; u < cnt; u++)
			if (e[u] && (cut || TWZDB_UT_CLASS(e[u]) != TWZDB_CLS_CONT))
				st32(&e[u], 0);
	}
	db->sh->cut_ts = ld64(&db->sh->ts);
	memset(db->sh->cls, 0, sizeof(db->sh->cls));
	st64(&db->sh->quar.head, db->sh->quar.tail);
	twzdb__hold_forget(db);
	db->sh->scan_pos = 0;
	db->sh->empty = 0;
	db->sh->leaving = 0;
	if (db->sh->cut_seq & 1)
		st64_rel(&db->sh->cut_seq, db->sh->cut_seq + 1);
}

static bool block_live(const void *block, bool node)
{
	return node ? ((const struct node_pm *)block)->flags & TWZDB_NODE_LIVE : rec_is_live(block);
}

void twzdb__unit_learn(struct twzdb *db, uint32_t g, const struct unit_pm *u, bool fresh)
{
	struct sh_class *c = &db->sh->cls[u->cls];
	uint32_t *e = unit_entry(db, g), cnt = 0;

	if (u->kind != TWZDB_UNIT_LARGE && (u->block_len != twzdb__block_lens[u->cls] ||
					    u->block_cnt != twzdb__block_cnts[u->cls]))
		return; /* cut otherwise than we do: read, but never written to */
	cnt = fresh ? u->block_cnt : 0;
	for (uint32_t b = 0; b < u->block_cnt && !fresh; b++)
		cnt += !block_live((const uint8_t *)u + u->first + (uint64_t)b * u->block_len,
				   u->kind == TWZDB_UNIT_NODES);
	/* Readers look at the class. Of a free run that was there before, nobody knows what was given back. */
	st32(e, TWZDB_UT_KNOWN | (uint32_t)u->cls << 16 | cnt |
			(!fresh && u->kind == TWZDB_UNIT_LARGE && cnt ? TWZDB_UT_HOLLOW : 0));
	c->total += u->block_cnt;
	c->free += cnt;
	db->sh->empty += entry_empty(*e);
	for (uint32_t i = 1; i < u->run && (e = unit_entry(db, g + i)); i++)
		st32(e, TWZDB_UT_KNOWN | TWZDB_CLS_CONT << 16);
}

void twzdb__units_forget(struct twzdb *db, uint32_t g, uint32_t cnt)
{
	for (; cnt; cnt--, g++) {
		uint32_t *e = unit_entry(db, g);
		struct sh_class *c;

		if (!e || !(*e & TWZDB_UT_KNOWN))
			continue;
		c = &db->sh->cls[TWZDB_UT_CLASS(*e)];
		if (TWZDB_UT_CLASS(*e) != TWZDB_CLS_CONT) {
			c->total -= twzdb__block_cnts[TWZDB_UT_CLASS(*e)];
			c->free -= TWZDB_UT_FREE(*e);
			db->sh->empty -= entry_empty(*e);
		}
		st32(e, 0);
	}
}

bool twzdb__unit_step(struct twzdb *db, uint32_t *g)
{
	uint32_t cnt = twzdb__obj_cnt(db), i = *g / TWZDB_UNITS_PER_OBJ;

	++*g;
	for (uint32_t tries = 0; tries <= cnt; tries++) {
		if (i < cnt && *g >= i * TWZDB_UNITS_PER_OBJ &&
		    *g - i * TWZDB_UNITS_PER_OBJ < twzdb__units_used(db, i))
			return true;
		i = i + 1 < cnt ? i + 1 : 0;
		*g = i * TWZDB_UNITS_PER_OBJ;
	}
	return false;
}

/*
 * Classify unit U of data object I, unless that is known. False: nothing was looked at. What is known may lie in a run
 * given back, where even a look takes a page (give.c).
 */
static bool learn(struct twzdb *db, uint32_t i, uint32_t u)
{
	uint32_t g = i * TWZDB_UNITS_PER_OBJ + u;
	const struct unit_pm *h;

	if (*unit_entry(db, g) & TWZDB_UT_KNOWN)
		return false;
	h = twzdb__unit_of(db, unit_ptr(g));
	if (h)
		twzdb__unit_learn(db, g, h, false);
	return true;
}

/*
 * Upwards only: the units inside a run have no header, and their bytes, which users chose, must
 * never be taken for one.
 */
bool twzdb__learn_some(struct twzdb *db)
{
	struct twzdb__shared *sh = db->sh;
	uint32_t looked = 0;

	for (uint32_t i = 0; i < twzdb__obj_cnt(db); i++) {
		uint32_t base = i * TWZDB_UNITS_PER_OBJ, u;

		if (sh->scan_pos >= base + TWZDB_UNITS_PER_OBJ ||
		    twzdb__map_obj(db, TWZDB_NO_DATA + i))
			continue;
		for (u = sh->scan_pos > base ? sh->scan_pos - base : 0;
		     u < twzdb__units_used(db, i) && looked < LOOK_UNKNOWN; u++) {
			sh->scan_pos = base + u + 1;
			looked += learn(db, i, u);
		}
		if (looked == LOOK_UNKNOWN)
			return true;
		if (i + 1 < twzdb__obj_cnt(db))
			sh->scan_pos = base + TWZDB_UNITS_PER_OBJ;
	}
	return false;
}

/* The first unit of data object I not below U that has a header: the runs from the first unit on are stepped over. */
static uint32_t head_from(struct twzdb *db, uint32_t i, uint32_t u)
{
	uint32_t at = 0, g = i * TWZDB_UNITS_PER_OBJ;

	while (at < u) {
		uint32_t e = *unit_entry(db, g + at);
		bool one = e & TWZDB_UT_KNOWN && TWZDB_UT_CLASS(e) != TWZDB_CLS_LARGE;
		const struct unit_pm *h = one ? NULL : twzdb__unit_of(db, unit_ptr(g + at));

		at += h ? h->run : 1;
	}
	return at;
}

bool twzdb__learn_more(struct twzdb *db, unsigned round)
{
	uint64_t seed[2] = {ld64(&db->sh->ts), round};
	uint32_t total = 0, at, i = 0, looked = 0, was = db->sh->scan_pos;

	if (!round) {
		(void)twzdb__learn_some(db);
		return db->sh->scan_pos != was;
	}
	if (was > LOOK_FIRST)
		return false;
	for (uint32_t k = 0; k < twzdb__obj_cnt(db); k++)
		total += twzdb__units_used(db, k);
	at = (uint32_t)(XXH3_64bits(seed, sizeof(seed)) % (total ? total : 1));
	for (; i < twzdb__obj_cnt(db) && at >= twzdb__units_used(db, i); i++)
		at -= twzdb__units_used(db, i);
	if (i == twzdb__obj_cnt(db) || was >= i * TWZDB_UNITS_PER_OBJ + twzdb__units_used(db, i) ||
	    twzdb__map_obj(db, TWZDB_NO_DATA + i))
		return false; /* all of that object are known */
	for (at = head_from(db, i, at); at < twzdb__units_used(db, i) && looked < LOOK_UNKNOWN;
	     at++)
		looked += learn(db, i, at);
	return looked;
}
