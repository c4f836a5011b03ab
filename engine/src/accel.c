/* SPDX-License-Identifier: MIT
 * accel.c -- a volatile hash of records, so that a point read touches two places and not six
 *
 * Buckets of one line, eight entries each, in scratch memory all processes share. It holds no
 * truth: an entry is a guess where the newest version of some key is, and whoever uses it makes
 * sure. Any bytes may stand in it, by a race, a process that died, or damage: the worst they do is
 * to send somebody down the tree, where everybody goes who finds nothing here.
 *
 * Why a hit is right. A reader with snapshot S, registered, looks at the record R an entry names,
 * and finds (1) a record block's beginning, (2) R LIVE, (3) table and key the ones wanted, and (4)
 * that no units changed their type meanwhile (cut_seq). LIVE is stored after everything else in a
 * block, so R is, or at that moment was, a version of this key. A commit D that replaces R stores "not LIVE"
 * before it publishes D. Had D <= S been published when the reader took S, the reader would have
 * seen that store: so D > S. Hence
 *   - R is the newest version as of S, or (its ts > S) a newer one that leads there by prev: what
 *     the tree says too;
 *   - R's block is not used again while S is registered: nothing read from it changes, but what a
 *     delete stores into it with a time of its own, which whoever reads compares with S.
 * A miss says nothing. A writer that has changed something asks the tree: its own versions are
 * not LIVE yet.
 *
 * It grows a bucket at a time (linear hashing): the bucket N splits off from bucket N - 2^k, by
 * the next bit of the hash, which is part of the tag: no record is touched. Who looks by an older
 * N misses. It grows when a full bucket holds nothing dead, so its size follows the number of
 * live rows (16 bytes each), up to its bound. Then what is newer takes the place of something.
 */
#include "accel.h"
#include "space.h"

#include <unistd.h>

#define ACC_MAGIC     0x3163636162647774ULL
#define ACC_HEAD_LEN  4096
#define ACC_CHUNK     ((uint64_t)32768) /* buckets allocated at once: 2 MiB */
#define ACC_GROW      8			/* buckets split when one overflowed */
#define ACC_RAM_SHARE 8

uint64_t twzdb__acc_secret[3] = {0xa0761d6478bd642fULL, 0xe7037ed1a0b428dbULL,
				 0x8ebc6af09c88c6e3ULL};

/* --- opening --- */

/* Of whoever does without: no buckets, but one is looked into all the same. */
static struct acc_head no_head;
static uint64_t no_bucket[1][ACC_SLOTS] __attribute__((aligned(64)));
static struct acc_unit no_unit;

static void none(struct twzdb__accel *a)
{
	memset(a, 0, sizeof(*a));
	a->head = &no_head;
	a->bucket = no_bucket;
	a->unit = &no_unit;
}

/* Bytes it may have: TWZDB_ACCEL (MiB, 0 = none), or a share of the machine's memory. */
static uint64_t bound(void)
{
	const char *env = getenv("TWZDB_ACCEL");
	long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
	uint64_t max = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page / ACC_RAM_SHARE : 0;

	if (env && *env) {
		char *end;
		unsigned long long mib = strtoull(env, &end, 10);

		if (!*end && mib < UINT32_MAX)
			max = (uint64_t)mib << 20;
	}
	max &= ~(((uint64_t)1 << 20) - 1);
	/* The tag has no more bits to tell buckets apart by. */
	return max < (uint64_t)1 << 36 ? max : (uint64_t)1 << 36;
}

/* Several may do so at once: all store the same. */
static bool head_init(struct acc_head *h)
{
	uint64_t zero = 0;

	__atomic_compare_exchange_n(&h->limit, &zero, ACC_MIN, false, __ATOMIC_RELAXED,
				    __ATOMIC_RELAXED);
	zero = 0;
	__atomic_compare_exchange_n(&h->n, &zero, ACC_MIN, false, __ATOMIC_RELEASE,
				    __ATOMIC_RELAXED);
	zero = 0;
	__atomic_compare_exchange_n(&h->magic, &zero, ACC_MAGIC, false, __ATOMIC_RELEASE,
				    __ATOMIC_RELAXED);
	return ld64_acq(&h->magic) == ACC_MAGIC && ld64_acq(&h->n) >= ACC_MIN;
}

/* Mostly address space: so large a piece comes from the kernel, and pages of it with the units that are read. */
static bool units_init(struct twzdb__accel *a)
{
	struct acc_unit *unit = calloc(ACC_UNITS, sizeof(*unit));

	if (unit)
		a->unit = unit;
	return unit;
}

void twzdb__acc_open(struct twzdb *db, bool wanted)
{
	struct twzdb__accel *a = &db->acc;
	uint64_t len = bound();

	none(a);
	if (!wanted || len < (uint64_t)1 << 20)
		return;
	/* Less address space than asked for is as good. */
	while (twz_scratch_open(db->s, db->root_id, len, &a->sc)) {
		len = len / 2 & ~(((uint64_t)1 << 20) - 1);
		if (len < (uint64_t)1 << 20)
			return;
	}
	a->head = twz_scratch_ptr(a->sc);
	a->bucket = (void *)((uint8_t *)twz_scratch_ptr(a->sc) + ACC_HEAD_LEN);
	if (twz_scratch_grow(a->sc, ACC_HEAD_LEN + ACC_MIN * 64) || !head_init(a->head) ||
	    !units_init(a)) {
		twzdb__acc_close(db);
		return;
	}
	a->max = (len - ACC_HEAD_LEN) / 64;
}

void twzdb__acc_close(struct twzdb *db)
{
	twz_scratch_close(db->acc.sc);
	if (db->acc.unit != &no_unit)
		free(db->acc.unit);
	none(&db->acc);
}

/* --- what reads keep in mind (fast.h) --- */

static void look_at_buckets(struct twzdb__accel *a)
{
	uint64_t n = ld64_acq(&a->head->n);

	if (n == ld64(&a->n) || n - 1 >= a->max)
		return;
	/*
	 * Whoever reads some of these old gets the number of a bucket there is all the same: one that
	 * is not below the N read has HALF applied, and a HALF is below the N it was stored with.
	 */
	st64(&a->half, acc_mask(n) >> 1);
	st64(&a->n, n);
	st64(&a->mask, acc_mask(n));
}

/* db->mutex is held. SEQ: an even value of cut_seq; what was found at another one goes. */
static void units_of(struct twzdb__accel *a, uint64_t seq)
{
	if (a->unit_seq == seq)
		return;
	for (uint64_t u = a->unit_low; u < a->unit_end; u++)
		st64_rel(&a->unit[u].word, 0);
	a->unit_low = a->unit_end = 0;
	st64_rel(&a->unit_seq, seq);
}

/* db->mutex is held. */
static void unit_learn(struct twzdb__accel *a, uint64_t u, uint64_t at, struct grid grid)
{
	struct acc_unit learnt = {.at = at, .grid = grid};

	st64(&a->unit[u].at, learnt.at);
	st64_rel(&a->unit[u].word, learnt.word);
	a->unit_low = a->unit_end && a->unit_low < u ? a->unit_low : u;
	a->unit_end = a->unit_end > u ? a->unit_end : u + 1;
}

/*
 * How rows lie in the unit of P: as the unit table says, or, as it learns of units only when somebody writes, the header (as
 * strictly as acc_verify() looks at it each time: both are right as long as cut_seq does not move). No end: neither knows,
 * or it holds no rows, or was cut otherwise than we do.
 */
static struct grid grid_of(struct twzdb *db, uint64_t p, uint32_t e)
{
	const struct unit_pm *u;

	if (e & TWZDB_UT_KNOWN)
		return twzdb__grids[TWZDB_UT_CLASS(e) % TWZDB_CLASSES];
	u = twzdb__unit_of(db, p);
	if (!u || u->block_len != twzdb__block_lens[u->cls] ||
	    u->block_cnt != twzdb__block_cnts[u->cls])
		return (struct grid){0, 0, 0};
	return twzdb__grids[u->cls];
}

void twzdb__acc_look(struct twzdb *db, uint64_t p)
{
	uint64_t no = p >> TWZ_PPTR_OFF_BITS, off = (p & TWZ_PPTR_OFF_MASK) - TWZ_DATA_OFF;
	uint64_t u = ACC_UNIT(acc_entry(0, p)), start = p - off % TWZDB_UNIT_LEN;
	uint64_t seq = ld64_acq(&db->sh->cut_seq);
	const uint8_t *unit = twzdb__at(db, start, TWZDB_UNIT_LEN);
	struct grid grid;

	look_at_buckets(&db->acc);
	if (seq & 1 || !unit || !db->map[no].units ||
	    (seq == ld64_acq(&db->acc.unit_seq) && ld64(&db->acc.unit[u].word)))
		return;
	grid = grid_of(
		db, p,
		__atomic_load_n(&db->map[no].units[off >> TWZDB_UNIT_SHIFT], __ATOMIC_ACQUIRE));
	pthread_mutex_lock(&db->mutex);
	if (ld64_acq(&db->sh->cut_seq) == seq) {
		units_of(&db->acc, seq);
		if (grid.end)
			unit_learn(&db->acc, u, (uintptr_t)unit + sizeof(struct unit_pm), grid);
	}
	pthread_mutex_unlock(&db->mutex);
}

/* --- growing --- */

/* One grower at a time, so that no two allocate or split the same; whoever does not get in goes on. */
static bool grow_lock(struct twzdb *db, uint64_t *me)
{
	struct acc_head *h = db->acc.head;
	uint64_t owner = 0;

	*me = db->inc << 16 | (db->proc + 1);
	if (__atomic_compare_exchange_n(&h->grower, &owner, *me, false, __ATOMIC_ACQUIRE,
					__ATOMIC_RELAXED))
		return true;
	/* Once in a while: is the owner still alive? */
	if (owner == *me || ++db->acc.tries % 64 ||
	    twz_proc_alive(db->s, (uint32_t)(owner & 0xffff) - 1, owner >> 16))
		return false;
	return __atomic_compare_exchange_n(&h->grower, &owner, *me, false, __ATOMIC_ACQUIRE,
					   __ATOMIC_RELAXED);
}

static bool more_room(struct twzdb *db, uint64_t n)
{
	struct twzdb__accel *a = &db->acc;
	uint64_t limit = ld64(&a->head->limit), want;

	if (n < limit && n < a->max)
		return true;
	want = n / ACC_CHUNK * ACC_CHUNK + ACC_CHUNK;
	want = want < a->max ? want : a->max;
	if (n >= want || a->no_more || twz_scratch_grow(a->sc, ACC_HEAD_LEN + want * 64)) {
		a->no_more = true;
		return false;
	}
	st64_rel(&a->head->limit, want);
	if (n >= ACC_CHUNK) /* a small one has no thread made for it */
		(void)twzdb__helper_ask(db, HELP_JOIN);
	return true;
}

/* Bucket N takes what belongs to it from the bucket it splits off. */
static void split(struct twzdb__accel *a, uint64_t n)
{
	unsigned k = 63 - (unsigned)__builtin_clzll(n), cnt = 0;
	uint64_t *from = a->bucket[n - ((uint64_t)1 << k)], *to = a->bucket[n];
	uint64_t bit = (uint64_t)1 << (k - ACC_LOW_BITS);
	uint64_t moved[ACC_SLOTS] = {0};
	unsigned slot[ACC_SLOTS];

	for (unsigned i = 0; i < ACC_SLOTS; i++) {
		uint64_t e = ld64(&from[i]);

		if (e & bit) {
			slot[cnt] = i;
			moved[cnt++] = e;
		}
	}
	for (unsigned i = 0; i < ACC_SLOTS; i++)
		st64(&to[i], moved[i]);
	st64_rel(&a->head->n, n + 1);
	for (unsigned i = 0; i < cnt; i++)
		__atomic_compare_exchange_n(&from[slot[i]], &moved[i], 0, false, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED);
}

static void grow(struct twzdb *db)
{
	struct twzdb__accel *a = &db->acc;
	uint64_t me;

	if (a->no_more || !grow_lock(db, &me))
		return;
	for (int i = 0; i < ACC_GROW; i++) {
		uint64_t n = ld64_acq(&a->head->n);

		if (n < ACC_MIN || !more_room(db, n))
			break;
		split(a, n);
	}
	__atomic_compare_exchange_n(&a->head->grower, &me, 0, false, __ATOMIC_RELEASE,
				    __ATOMIC_RELAXED);
}

/* --- entries --- */

/* Does it name what lies in a run of units, and is no block? */
static bool is_inside_run(const struct twzdb *db, uint64_t e)
{
	uint64_t p = acc_ptr(e), no = p >> TWZ_PPTR_OFF_BITS,
		 off = (p & TWZ_PPTR_OFF_MASK) - TWZ_DATA_OFF;
	const uint32_t *units = no < TWZDB_NO_DATA + TWZDB_OBJ_MAX ? db->map[no].units : NULL;
	uint32_t w = units && off >> TWZDB_UNIT_SHIFT < TWZDB_UNITS_PER_OBJ
			     ? __atomic_load_n(&units[off >> TWZDB_UNIT_SHIFT], __ATOMIC_RELAXED)
			     : 0;

	return w & TWZDB_UT_KNOWN && (TWZDB_UT_CLASS(w) == TWZDB_CLS_CONT ||
				      (TWZDB_UT_CLASS(w) == TWZDB_CLS_LARGE && ACC_OFF(e)));
}

bool twzdb__acc_strike_runs(struct twzdb *db)
{
	struct twzdb__accel *a = &db->acc;
	uint64_t n, me;

	if (!a->max)
		return true;
	if (!grow_lock(db, &me)) /* entries would move meanwhile */
		return false;
	n = ld64_acq(&a->head->n);
	for (uint64_t i = 0; i < n && n <= a->max; i++)
		for (unsigned s = 0; s < ACC_SLOTS; s++) {
			uint64_t e = ld64(&a->bucket[i][s]);

			if (e && is_inside_run(db, e))
				__atomic_compare_exchange_n(&a->bucket[i][s], &e, 0, false,
							    __ATOMIC_RELAXED, __ATOMIC_RELAXED);
		}
	__atomic_compare_exchange_n(&a->head->grower, &me, 0, false, __ATOMIC_RELEASE,
				    __ATOMIC_RELAXED);
	return true;
}

/*
 * By a plain store: of two that find the same slot empty one is forgotten, which does no harm. A locked instruction
 * would wait for the fence of the commit just made, and the next transaction with it.
 */
static bool try_empty(uint64_t *b, uint64_t e)
{
	unsigned m = __atomic_load_n(&twzdb__simd, __ATOMIC_RELAXED)->words(b, UINT64_MAX, 0);

	if (!m)
		return false;
	st64(&b[__builtin_ctz(m)], e);
	return true;
}

/*
 * Is this entry of bucket I of no use: does it belong elsewhere by now, or name a block that is
 * dead, or that another row has got?
 */
static bool is_waste(struct twzdb *db, uint64_t i, uint64_t e)
{
	uint64_t hash = (e & ACC_TAG_MASK) | i << (64 - ACC_LOW_BITS), p = acc_ptr(e);
	const struct rec_pm *r = twzdb__at(db, p, sizeof(*r));
	uint64_t n = ld64(&db->acc.head->n);
	struct bkey k;

	if (!r || !n || acc_index(hash, n) != i ||
	    !(__atomic_load_n(&r->vlf, __ATOMIC_ACQUIRE) & TWZDB_VLF_LIVE))
		return true;
	k = (struct bkey){r->data, rec_klen_short(r)};
	return k.len > TWZDB_KEY_SHORT || !twzdb__at(db, p, TWZDB_REC_LEN + (uint64_t)k.len) ||
	       (acc_hash(rec_table(r), k) ^ e) & ACC_TAG_MASK;
}

/* The bucket is full. */
static void overflow(struct twzdb *db, uint64_t *b, uint64_t hash, uint64_t e)
{
	uint64_t i = (uint64_t)(b - db->acc.bucket[0]) / ACC_SLOTS;

	for (unsigned s = 0; s < ACC_SLOTS; s++)
		fetch_rec(db, acc_ptr(ld64(&b[s])));
	for (unsigned s = 0; s < ACC_SLOTS; s++) {
		if (is_waste(db, i, ld64(&b[s]))) {
			st64(&b[s], e);
			return;
		}
	}
	grow(db);
	b = acc_bucket(db, hash);
	if (b && !try_empty(b, e))
		st64(&b[++db->acc.turn % ACC_SLOTS], e);
}

void twzdb__acc_put(struct twzdb *db, uint64_t hash, uint64_t p)
{
	uint64_t *b = acc_bucket(db, hash), e = acc_entry(hash, p);

	if (!b || __atomic_load_n(&twzdb__simd, __ATOMIC_RELAXED)->words(b, UINT64_MAX, e))
		return;
	if (!try_empty(b, e))
		overflow(db, b, hash, e);
}

void twzdb__acc_replace(struct twzdb *db, uint64_t hash, uint64_t old, uint64_t p)
{
	uint64_t *b = acc_bucket(db, hash), e = acc_entry(hash, p);
	unsigned m = b ? __atomic_load_n(&twzdb__simd, __ATOMIC_RELAXED)
				     ->words(b, UINT64_MAX, acc_entry(hash, old))
		       : 0;

	if (likely(m))
		st64(&b[__builtin_ctz(m)], e);
	else if (b)
		twzdb__acc_put(db, hash, p);
}

uint64_t twzdb__acc_hash(uint32_t table_tag, struct bkey k)
{
	return acc_hash(table_tag, k);
}

uint64_t twzdb__acc_find(struct twzdb *db, uint32_t table_tag, struct bkey k, uint64_t hash,
			 const struct rec_pm **rec)
{
	return acc_find(db, table_tag, k, hash, rec);
}
