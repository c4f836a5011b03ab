/* SPDX-License-Identifier: MIT
 * space.c -- units and blocks: who may use which bytes of the data objects
 *
 * There is no free list: the header of a block says whether it is allocated (LIVE, D6). A record
 * block may be reserved iff
 *   (1) it is not LIVE, and
 *   (2) its link is a time not above the oldest snapshot (nobody can reach its last life, D7),
 *       or the stamp of another transaction, which is over.
 * A node block: not LIVE, sts not above the oldest snapshot, and not among this transaction's
 * private nodes or stock. So an abort, a crash and a takeover have nothing to clean up. What the
 * shared segment knows about free blocks are hints which only decide where to look.
 */
#include "internal.h"

#include <sys/uio.h>
#include <xxhash.h>

#define CLASS_FINE	 30 /* classes 1..30: 48, 64 .. 512 bytes */
#define CLASS_COARSE_CNT ((unsigned)(sizeof(per_unit) / sizeof(per_unit[0])))
#define UNIT_ROOM	 (TWZDB_UNIT_LEN - (uint32_t)sizeof(struct unit_pm) - TWZDB_UNIT_TAIL)
#define LOOK_UNKNOWN                                                                               \
	64	      /* units classified before a new one is formatted: all of a small database */
#define USE_SHARE   8 /* a unit is searched when 1/USE_SHARE of its blocks are free */
#define USED_TRIES  4 /* such units searched before a new one is formatted */
#define AHEAD_SHARE 8 /* 1/AHEAD_SHARE of a class's units are formatted ahead, by one log record, */
#define AHEAD_MAX   32 /* at most so many: the record must stay small beside the smallest ring */
#define GROW_MIN    ((uint64_t)4 * TWZDB_UNIT_LEN)
#define GROW_MAX    ((uint64_t)64 << 20)

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
	if (len <= 512)
		return len <= 48 ? 1 : (unsigned)((len - 32 + 15) / 16);
	for (unsigned i = 0; i < CLASS_COARSE_CNT; i++)
		if (len <= twzdb__class_len(CLASS_FINE + 1 + i))
			return CLASS_FINE + 1 + i;
	return TWZDB_CLS_LARGE;
}

/* --- units --- */

/* twzdb__class_len() and block counts as tables. */
static uint32_t block_lens[TWZDB_CLASSES], block_cnts[TWZDB_CLASSES];
struct twzdb__grid twzdb__grids[TWZDB_CLASSES];

__attribute__((constructor)) static void block_tables(void)
{
	for (unsigned c = 0; c < TWZDB_CLS_LARGE; c++) {
		bool used = c <= CLASS_FINE + CLASS_COARSE_CNT || c == TWZDB_CLS_TABLE;

		block_lens[c] = used ? twzdb__class_len(c) : UNIT_ROOM;
		block_cnts[c] = c == TWZDB_CLS_NODE ? TWZDB_UNIT_LEN / TWZDB_NODE_LEN - 1
						    : UNIT_ROOM / block_lens[c];
		if (used && c != TWZDB_CLS_NODE && c != TWZDB_CLS_TABLE)
			twzdb__grids[c] = (struct twzdb__grid){
				(uint32_t)(((uint64_t)1 << 32) / (block_lens[c] / 16) + 1),
				(uint16_t)(block_lens[c] / 16), (uint16_t)block_cnts[c]};
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

static void unit_make(struct unit_pm *u, unsigned cls, uint32_t run)
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
		u->block_cnt = block_cnts[cls];
	}
	u->sum = unit_sum(u);
}

/* Global unit numbers count through all data objects. */
static uint64_t unit_ptr(uint32_t g)
{
	return twz_pptr_make(TWZDB_NO_DATA + g / TWZDB_UNITS_PER_OBJ,
			     TWZ_DATA_OFF +
				     ((uint64_t)(g % TWZDB_UNITS_PER_OBJ) << TWZDB_UNIT_SHIFT))
		.v;
}

static uint32_t unit_no(uint64_t p)
{
	uint64_t off = (p & TWZ_PPTR_OFF_MASK) - TWZ_DATA_OFF;

	return (uint32_t)((p >> TWZ_PPTR_OFF_BITS) - TWZDB_NO_DATA) * TWZDB_UNITS_PER_OBJ +
	       (uint32_t)(off >> TWZDB_UNIT_SHIFT);
}

static uint32_t *unit_entry(struct twzdb *db, uint32_t g)
{
	struct twzdb__map *m = &db->map[TWZDB_NO_DATA + g / TWZDB_UNITS_PER_OBJ];

	return m->units ? &m->units[g % TWZDB_UNITS_PER_OBJ] : NULL;
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

/* Class of the unit P lies in, if the unit table knows it; else -1. */
static int known_class(struct twzdb *db, uint64_t p)
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
 * What the table knows of a unit was read from its valid header, and a unit never changes: so the header
 * need not be looked at, nor its line be fetched, for every pointer.
 */
static bool is_block(struct twzdb *db, uint64_t p, bool node)
{
	int cls = known_class(db, p);
	uint32_t off, len, first;

	if (cls < 0 || cls >= TWZDB_CLS_LARGE)
		return is_block_strict(db, p, node);
	off = (uint32_t)((p & TWZ_PPTR_OFF_MASK) - TWZ_DATA_OFF) & (TWZDB_UNIT_LEN - 1);
	len = block_lens[cls];
	first = cls == TWZDB_CLS_NODE ? TWZDB_NODE_LEN : (uint32_t)sizeof(struct unit_pm);
	if ((cls == TWZDB_CLS_NODE) != node || off < first || (off - first) % len)
		return false;
	return (off - first) / len < block_cnts[cls];
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
	int cls = known_class(db, p);
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
	int cls = known_class(db, p);

	if (!is_block(db, p, false))
		return 0;
	return cls >= 0 && cls < TWZDB_CLS_LARGE ? block_lens[cls]
						 : twzdb__unit_of(db, p)->block_len;
}

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

/* One more block of P's unit is not LIVE. Its class, or -1. */
static int count_free(struct twzdb *db, uint64_t p)
{
	uint32_t *e = unit_entry(db, unit_no(p));

	if (!e || !(*e & TWZDB_UT_KNOWN) || TWZDB_UT_FREE(*e) == 0xffff)
		return -1;
	st32(e, *e + 1);
	db->sh->cls[TWZDB_UT_CLASS(*e)].free++;
	return (int)TWZDB_UT_CLASS(*e);
}

void twzdb__hint_free(struct twzdb *db, uint64_t p)
{
	int cls = count_free(db, p);

	if (cls >= 0 && cls < TWZDB_CLS_LARGE)
		stack_push(db, (unsigned)cls, p);
}

void twzdb__hint_dead(struct twzdb *db, uint64_t p, uint64_t ts)
{
	struct sh_quarantine *q = &db->sh->quar;
	uint64_t *e = q->e[q->tail % TWZDB_QUARANTINE];

	if (count_free(db, p) < 0)
		return;
	if (q->tail - q->head >= TWZDB_QUARANTINE)
		q->head = q->tail - TWZDB_QUARANTINE + 1; /* forgotten: the counts know of it */
	e[0] = p;
	e[1] = ts;
	st64_rel(&q->tail, q->tail + 1);
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
		cls = known_class(db, e[0]);
		if (cls >= 0 && cls < TWZDB_CLS_LARGE)
			stack_push(db, (unsigned)cls, e[0]);
	}
}

static void hint_taken(struct twzdb *db, uint32_t g)
{
	uint32_t *e = unit_entry(db, g);

	if (!e || !(*e & TWZDB_UT_KNOWN) || !TWZDB_UT_FREE(*e))
		return;
	st32(e, *e - 1);
	db->sh->cls[TWZDB_UT_CLASS(*e)].free--;
}

/* After a takeover: the dead writer's reservations were counted and are void. */
void twzdb__hints_forget(struct twzdb *db)
{
	for (uint32_t i = 0; i < twzdb__obj_cnt(db); i++)
		if (!twzdb__map_obj(db, TWZDB_NO_DATA + i))
			memset(db->map[TWZDB_NO_DATA + i].units, 0,
			       TWZDB_UNITS_PER_OBJ * sizeof(uint32_t));
	memset(db->sh->cls, 0, sizeof(db->sh->cls));
	st64(&db->sh->quar.head, db->sh->quar.tail);
	db->sh->scan_pos = 0;
}

static bool block_live(const void *block, bool node)
{
	return node ? ((const struct node_pm *)block)->flags & TWZDB_NODE_LIVE
		    : rec_is_live(block);
}

/* FRESH: nothing was ever in it, so its blocks, which are not in any cache yet, need not be asked. */
static void unit_learn(struct twzdb *db, uint32_t g, const struct unit_pm *u, bool fresh)
{
	struct sh_class *c = &db->sh->cls[u->cls];
	uint32_t *e = unit_entry(db, g), cnt = 0;

	if (u->kind != TWZDB_UNIT_LARGE &&
	    (u->block_len != block_lens[u->cls] || u->block_cnt != block_cnts[u->cls]))
		return; /* cut otherwise than we do: read, but never written to */
	cnt = fresh ? u->block_cnt : 0;
	for (uint32_t b = 0; b < u->block_cnt && !fresh; b++)
		cnt += !block_live((const uint8_t *)u + u->first + (uint64_t)b * u->block_len,
				   u->kind == TWZDB_UNIT_NODES);
	st32(e, TWZDB_UT_KNOWN | (uint32_t)u->cls << 16 | cnt); /* readers look at the class */
	c->total += u->block_cnt;
	c->free += cnt;
	for (uint32_t i = 1; i < u->run && (e = unit_entry(db, g + i)); i++)
		st32(e, TWZDB_UT_KNOWN | TWZDB_CLS_CONT << 16);
}

/* Number of the next unit in use after G, wrapping; false: there is none. */
static bool unit_step(struct twzdb *db, uint32_t *g)
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
 * Classify a few units nobody has looked at since the segment was made (restart, takeover).
 * Upwards only: the units inside a run have no header, and their bytes, which users chose, must
 * never be taken for one.
 */
static void learn_some(struct twzdb *db)
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
			const struct unit_pm *h = twzdb__unit_of(db, unit_ptr(base + u));

			sh->scan_pos = base + u + 1;
			if (*unit_entry(db, base + u) & TWZDB_UT_KNOWN)
				continue;
			looked++;
			if (h)
				unit_learn(db, base + u, h, false);
		}
		if (looked == LOOK_UNKNOWN)
			return;
		if (i + 1 < twzdb__obj_cnt(db))
			sh->scan_pos = base + TWZDB_UNITS_PER_OBJ;
	}
}

/* --- formatting a unit --- */

/*
 * Room for NEED more units in data object I; grows it, or says -ENOSPC when it is at its full
 * size.
 */
static int obj_room(struct twzdb *db, uint32_t i, uint32_t need)
{
	uint64_t used = (uint64_t)twzdb__units_used(db, i) << TWZDB_UNIT_SHIFT,
		 want = used + ((uint64_t)need << TWZDB_UNIT_SHIFT);
	uint64_t step = used / 4, len;
	struct twz_obj *o = db->map[TWZDB_NO_DATA + i].obj;
	int err;

	if (want > (uint64_t)TWZDB_UNITS_PER_OBJ << TWZDB_UNIT_SHIFT)
		return -ENOSPC;
	err = twz_obj_refresh(o);
	len = twz_obj_len(o);
	if (err)
		return twzdb__from_twz(err, "data object");
	if (len < want) {
		step = step < GROW_MIN ? GROW_MIN : step > GROW_MAX ? GROW_MAX : step;
		len = want + step > TWZ_DATA_MAX ? TWZ_DATA_MAX
						 : (want + step) & ~(uint64_t)(TWZDB_UNIT_LEN - 1);
		err = twz_obj_resize(o, len); /* durable before anything refers to it (D11, D14) */
		if (err == TWZ_E_NOSPC && len > want)
			err = twz_obj_resize(o, want);
	}
	if (!err)
		st64_rel(&db->map[TWZDB_NO_DATA + i].end, TWZ_DATA_OFF + twz_obj_len(o));
	return err ? twzdb__from_twz(err, "growing the database") : 0;
}

/* A data object with room for NEED units; *FRESH: it is new and not counted in obj_cnt yet. */
static int find_room(struct twzdb *db, uint32_t need, uint32_t *i, bool *fresh)
{
	uint32_t cnt = twzdb__obj_cnt(db);
	int err;

	*i = cnt - 1;
	*fresh = false;
	err = twzdb__map_obj(db, TWZDB_NO_DATA + *i);
	if (!err)
		err = obj_room(db, *i, need);
	if (err != -ENOSPC)
		return err;
	if (cnt == TWZDB_OBJ_MAX)
		return twzdb__err(TWZDB_E_NOSPC, "%s: database '%s' has its %d data objects",
				  twz_store_path(db->s), db->name, TWZDB_OBJ_MAX);
	*i = cnt;
	*fresh = true;
	err = twzdb__obj_add(db, TWZDB_NO_DATA + cnt, GROW_MAX / 4);
	return err ? err : obj_room(db, *i, need);
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
	struct unit_item unit[AHEAD_MAX];
	struct word_item word[2]; /* they follow the last unit at once */
};

/*
 * The more units a class has, the more it gets at once: as many as have been allocated already,
 * so that small stores stay small.
 */
static uint32_t units_ahead(struct twzdb *db, unsigned cls, uint32_t i)
{
	uint64_t len = twz_obj_len(db->map[TWZDB_NO_DATA + i].obj) >> TWZDB_UNIT_SHIFT,
		 used = twzdb__units_used(db, i);
	uint64_t n = cls == TWZDB_CLS_LARGE ? 1
					    : db->sh->cls[cls].total * twzdb__class_len(cls) /
						      TWZDB_UNIT_LEN / AHEAD_SHARE;

	n = n > AHEAD_MAX ? AHEAD_MAX : n;
	n = n > len - used ? len - used : n;
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
		unit_make(&r->unit[k].unit, cls, run);
	}
	memcpy((uint8_t *)r + len - sizeof(word), word, sizeof(word));
}

/*
 * Format units (or one run) of class CLS behind the last one in use, by a log record of its own:
 * it holds whatever becomes of the transaction. Their bytes were zero until now, so every block
 * in them reads "not live". *G: the first, the others are c->fresh.
 */
static int unit_format(struct twzdb *db, unsigned cls, uint32_t run, uint32_t *g)
{
	struct sh_class *c = &db->sh->cls[cls];
	struct space_rec r;
	struct iovec iov = {&r, 0};
	uint32_t i, n;
	uint64_t lsn;
	bool fresh;
	int err = find_room(db, run, &i, &fresh);

	if (err)
		return err;
	n = units_ahead(db, cls, i);
	*g = i * TWZDB_UNITS_PER_OBJ + twzdb__units_used(db, i);
	space_rec_make(&r, cls, run, *g, n, i,
		       (const uint64_t[2]){twzdb__units_used(db, i) + (uint64_t)n * run,
					   twzdb__obj_cnt(db) + (uint64_t)fresh});
	iov.iov_len = r.head.len;
	twz_obj_populate(db->map[TWZDB_NO_DATA + i].obj, unit_ptr(*g) & TWZ_PPTR_OFF_MASK,
			 cls == TWZDB_CLS_LARGE ? 0 : (uint64_t)n << TWZDB_UNIT_SHIFT);
	err = twzdb__append(db, &iov, 1, &lsn);
	if (err)
		return err;
	twzdb__apply(db, &r, r.head.len);
	twz_log_applied(db->log, lsn);
	for (uint32_t k = 0; k < n; k++)
		unit_learn(db, *g + k, twzdb__unit_of(db, unit_ptr(*g + k)), true);
	c->fresh = *g + 1;
	c->fresh_cnt = n - 1;
	return 0;
}

/* --- blocks --- */

static bool rec_reusable(struct twzdb_txn *tx, const struct rec_pm *r)
{
	if (rec_is_live(r))
		return false;
	return r->link & TWZDB_LINK_RESERVED ? r->link != (TWZDB_LINK_RESERVED | tx->stamp)
					     : twzdb__is_past(tx, r->link);
}

static bool node_reusable(struct twzdb_txn *tx, const struct node_pm *n, uint64_t p)
{
	if (n->flags & TWZDB_NODE_LIVE || !twzdb__is_past(tx, n->sts) || twzdb__node_private(tx, p))
		return false;
	for (size_t i = 0; i < tx->stock.cnt; i++)
		if (tx->stock.v[i] == p)
			return false;
	return true;
}

static const struct unit_pm *unit_at(struct twzdb *db, uint32_t g)
{
	uint64_t p = unit_ptr(g);
	int cls = known_class(db, p);

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

		if (u->kind == TWZDB_UNIT_NODES ? node_reusable(tx, b, p) : rec_reusable(tx, b)) {
			++*block;
			hint_taken(tx->db, g);
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
		const void *b = twzdb__at(tx->db, p, block_lens[cls]);

		if (!b || known_class(tx->db, p) != (int)cls)
			continue;
		if (cls == TWZDB_CLS_NODE ? node_reusable(tx, b, p) : rec_reusable(tx, b)) {
			hint_taken(tx->db, unit_no(p));
			return p;
		}
	}
	return 0;
}

/* A block that was in use, and that as far as we know nobody can reach any more; 0: there is none. */
static uint64_t take_used(struct twzdb_txn *tx, unsigned cls)
{
	struct sh_quarantine *q = &tx->db->sh->quar;

	if (!tx->db->sh->cls[cls].stack_cnt && q->head != q->tail) {
		quarantine_drain(tx->db, ld64(&tx->db->sh->min));
		if (q->tail - q->head >= TWZDB_QUARANTINE / 4) /* worth a scan of the readers */
			quarantine_drain(tx->db, twzdb__min(tx));
	}
	return stack_pop(tx, cls);
}

/* Formatted ahead, and its turn has not come: search_fresh() counts on all its blocks being untouched. */
static bool is_ahead(const struct sh_class *c, uint32_t g)
{
	return g - c->fresh < c->fresh_cnt;
}

/*
 * A unit of the class where enough blocks died that going through it pays, in turn: what was
 * passed over comes last again, for its blocks died last.
 */
static bool unit_used_find(struct twzdb *db, unsigned cls, uint32_t *g)
{
	struct sh_class *c = &db->sh->cls[cls];
	uint32_t per = UNIT_ROOM / twzdb__class_len(cls), start = UINT32_MAX;

	*g = c->look;
	while (unit_step(db, g) && *g != start) {
		const uint32_t *e;

		start = start == UINT32_MAX ? *g : start;
		e = twzdb__map_obj(db, TWZDB_NO_DATA + *g / TWZDB_UNITS_PER_OBJ)
			    ? NULL
			    : unit_entry(db, *g);
		if (e && *e & TWZDB_UT_KNOWN && TWZDB_UT_CLASS(*e) == cls && TWZDB_UT_FREE(*e) &&
		    TWZDB_UT_FREE(*e) * USE_SHARE >= per && !is_ahead(c, *g)) {
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
	uint64_t ahead = (uint64_t)c->fresh_cnt * block_cnts[cls];
	uint32_t g;

	/*
	 * While the oldest snapshot stays where it was when nothing could be reused, nothing
	 * can.
	 */
	if (c->free <= ahead || (c->free - ahead) * USE_SHARE < c->total ||
	    c->stuck == twzdb__min(tx) + 1)
		return 0;
	for (int tries = 0; tries < USED_TRIES && unit_used_find(tx->db, cls, &g); tries++) {
		uint32_t block = 0;
		uint64_t p = unit_search(tx, g, &block);

		if (!p)
			continue;
		c->unit = g + 1;
		c->block = block;
		return p;
	}
	c->stuck = twzdb__min(tx) + 1;
	return 0;
}

/*
 * No space for another unit: then any reusable block of the class will do, whatever the hints
 * say and however long it takes.
 */
static bool search_all(struct twzdb_txn *tx, unsigned cls, uint64_t *p)
{
	uint32_t g = UINT32_MAX, start = UINT32_MAX;

	*p = 0;
	while (!*p && unit_step(tx->db, &g) && g != start) {
		const struct unit_pm *u = twzdb__unit_of(tx->db, unit_ptr(g));
		uint32_t block = 0;

		start = start == UINT32_MAX ? g : start;
		if (!u)
			continue;
		if (u->cls == cls)
			*p = unit_search(tx, g, &block);
		g += u->run - 1; /* inside a run lies a value, which may look like anything */
	}
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

static int next_unit(struct twzdb_txn *tx, unsigned cls, uint64_t *p)
{
	struct sh_class *c = &tx->db->sh->cls[cls];
	uint32_t g;
	int err;

	c->virgin = 0;
	learn_some(tx->db);
	*p = search_used(tx, cls);
	if (!*p && c->free && twzdb__min_now(tx)) {
		*p = take_used(tx, cls);
		if (!*p)
			*p = search_used(tx, cls);
	}
	if (!*p)
		*p = search_fresh(tx, c);
	if (*p)
		return 0;
	err = unit_format(tx->db, cls, 1, &g);
	if (err == TWZDB_E_NOSPC && search_all(tx, cls, p))
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
	uint32_t first = cls == TWZDB_CLS_NODE ? TWZDB_NODE_LEN : (uint32_t)sizeof(struct unit_pm);
	uint64_t p;

	if (!c->virgin || c->virgin != c->unit || c->block >= block_cnts[cls])
		return 0;
	p = unit_ptr(c->unit - 1) + first + (uint64_t)c->block * block_lens[cls];
	c->block++;
	hint_taken(db, c->unit - 1);
	return p;
}

void twzdb__alloc_soon(struct twzdb *db, unsigned cls)
{
	const struct sh_class *c = &db->sh->cls[cls];
	const uint8_t *b;

	if (!c->stack_cnt || c->stack_cnt > TWZDB_STACK || cls >= TWZDB_CLS_LARGE)
		return;
	b = twzdb__at(db, db->sh->stack[cls][c->stack_cnt - 1], block_lens[cls]);
	for (uint32_t i = 0; b && i < block_lens[cls] && i < 4 * TWZ_LINE_SIZE; i += TWZ_LINE_SIZE)
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

/* Large values: the first free run that is not much too long, else a new one. */
static int alloc_large(struct twzdb_txn *tx, uint64_t len, uint64_t *p)
{
	struct twzdb *db = tx->db;
	struct sh_class *c = &db->sh->cls[TWZDB_CLS_LARGE];
	uint32_t run =
		(uint32_t)((len + sizeof(struct unit_pm) + TWZDB_UNIT_TAIL + TWZDB_UNIT_LEN - 1) >>
			   TWZDB_UNIT_SHIFT);
	uint32_t g = UINT32_MAX, start = UINT32_MAX, block = 0;
	int err;

	learn_some(db);
	*p = 0;
	while (c->free && unit_step(db, &g) && g != start) {
		const struct unit_pm *u;
		const uint32_t *e;

		start = start == UINT32_MAX ? g : start;
		e = twzdb__map_obj(db, TWZDB_NO_DATA + g / TWZDB_UNITS_PER_OBJ) ? NULL
										: unit_entry(db, g);
		if (!e || TWZDB_UT_CLASS(*e) != TWZDB_CLS_LARGE || !TWZDB_UT_FREE(*e))
			continue;
		u = twzdb__unit_of(db, unit_ptr(g));
		if (!u || u->run < run || u->run > run + run / 4)
			continue;
		block = 0;
		*p = unit_search(tx, g, &block);
		if (*p)
			return 0;
	}
	block = 0;
	err = unit_format(db, TWZDB_CLS_LARGE, run, &g);
	if (!err)
		*p = unit_search(tx, g, &block);
	return err ? err : *p ? 0 : twzdb__corrupt(db, unit_ptr(g), "a fresh run is not free");
}

int twzdb__alloc_rec(struct twzdb_txn *tx, unsigned cls, uint64_t len, uint64_t *p,
		     struct rec_pm **rec)
{
	int err = twzdb__writable(tx->db);

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
