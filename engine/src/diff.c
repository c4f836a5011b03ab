/* SPDX-License-Identifier: MIT
 * diff.c -- rows told by what differs from another version, the base (D2c): found at commit, put together at replay
 *
 * A row may be a page of somebody's file, of which a change concerns some bytes. On page media the log record of the new version says
 * these, and which block has the others. The block of the new version is written whole all the same, before, where it lies: readers of this
 * life of the store never see how the log tells it. hold.c has how long a base stays.
 *
 * What differs is found by comparing: whoever put the row does not say. Which base is compared with does not matter for being right,
 * for replay finds the same bytes in it; the checksum in the record is that of the row the committer made.
 */
#include "diff.h"
#include "hold.h"
#include "recsum.h"
#include "space.h"

#define VALUE_MIN   2048 /* shorter ones: two fit into a block of the log as they are */
#define SHARE_USED  4	 /* ranges over a base used before may have this share of the value, */
#define SHARE_FRESH 2	 /* and over the version before, which then becomes one */

#define CHUNK 256 /* bytes compared at once */

/* --- finding what differs --- */

/* Do the eight bytes at OFF differ, or as many as there are? */
static inline bool differs(const uint8_t *a, const uint8_t *b, uint32_t off, uint32_t len)
{
	uint64_t x, y;

	if (unlikely(len - off < sizeof(x)))
		return memcmp(a + off, b + off, len - off) != 0;
	memcpy(&x, a + off, sizeof(x));
	memcpy(&y, b + off, sizeof(y));
	return x != y;
}

/* From OFF on, of LEN bytes: the first that differ, in steps of 8; LEN: none do. */
static uint32_t same(const uint8_t *a, const uint8_t *b, uint32_t off, uint32_t len)
{
	for (uint32_t step = CHUNK; step >= CHUNK / 4; step /= 4)
		while (len - off >= step && !memcmp(a + off, b + off, step))
			off += step;
	while (off < len && !differs(a, b, off, len))
		off += 8;
	return off < len ? off : len;
}

/* The end of what differs from OFF on, or something behind TO: two words that do not are worth a range of their own. */
static uint32_t other(const uint8_t *a, const uint8_t *b, uint32_t off, uint32_t to, uint32_t len)
{
	for (off += 8; off < len && off <= to; off += 8)
		if (!differs(a, b, off, len) && (off + 8 >= len || !differs(a, b, off + 8, len)))
			return off;
	return off < len ? off : len;
}

/* Ranges of A, LEN bytes long, over B: at OUT, at most MAX bytes; DIFF_NOT: there are more. */
static size_t find(const uint8_t *a, const uint8_t *b, uint32_t len, uint8_t *out, size_t max)
{
	size_t used = 0;

	for (uint32_t off = same(a, b, 0, len), end; off < len; off = same(a, b, end, len)) {
		struct range_pm *r = (struct range_pm *)(void *)(out + used);
		size_t room;

		end = other(a, b, off, off + (uint32_t)(max - used), len);
		room = (end - off + 7) & ~(size_t)7;
		if (used + sizeof(*r) + room > max)
			return DIFF_NOT;
		*r = (struct range_pm){off, end - off};
		memset((uint8_t *)(r + 1) + room - 8, 0, 8);
		memcpy(r + 1, a + off, end - off);
		used += sizeof(*r) + room;
	}
	return used;
}

/* --- at commit --- */

/* Who knows nothing of ranges must not open the database: an older one goes without. */
static bool has_ranges(const struct twzdb *db)
{
	return db->root->incompat & TWZDB_INCOMPAT_RANGES;
}

bool twzdb__diff_may(const struct twzdb *db, uint64_t p, const struct rec_pm *r)
{
	int cls = twzdb__known_class((struct twzdb *)(uintptr_t)db, p);

	return rec_kind(r) == TWZDB_ROW && !rec_is_long(r) && rec_vlen_short(r) >= VALUE_MIN &&
	       r->prev && cls >= 0 && cls < TWZDB_CLS_TABLE && has_ranges(db);
}

/* Row P, if it has R's table, key and lengths. */
static const struct rec_pm *like(struct twzdb *db, uint64_t p, const struct rec_pm *r)
{
	const struct rec_pm *b = p && twzdb__is_rec(db, p) ? twzdb__at(db, p, rec_len(r)) : NULL;

	return b && b->klt == r->klt && !((rec_vlf(b) ^ rec_vlf(r)) & ~TWZDB_VLF_LIVE) &&
			       !memcmp(b->data, r->data, rec_klen_short(r))
		       ? b
		       : NULL;
}

static size_t find_over(const struct rec_pm *r, const struct rec_pm *b, uint8_t *out, size_t share)
{
	return b ? find(rec_val(r), rec_val(b), rec_vlen_short(r), out, rec_vlen_short(r) / share)
		 : DIFF_NOT;
}

size_t twzdb__diff_new(struct twzdb_txn *tx, uint64_t p, const struct rec_pm *r, uint64_t *base,
		       uint8_t *out)
{
	struct twzdb *db = tx->db;
	const struct rec_pm *old = like(db, r->prev, r);
	size_t len = DIFF_NOT;

	/* Who makes the database smaller wants the old blocks at once. */
	if (!old || unlikely(tx->inside))
		return DIFF_NOT;
	*base = twzdb__hold_base(db, r->prev, old);
	if (*base)
		len = find_over(r, like(db, *base, r), out, SHARE_USED);
	if (len == DIFF_NOT && twzdb__hold_may(db)) {
		*base = r->prev;
		len = find_over(r, old, out, SHARE_FRESH);
	}
	if (len != DIFF_NOT)
		twzdb__hold_use(db, p, *base, tx->ts);
	return len;
}

/* --- from the log --- */

struct diff twzdb__diff_item(const struct item_pm *it, const struct rec_diff_pm *pl, uint64_t ts)
{
	struct diff d = {it->where, 0, 0, ts, 0, (const uint8_t *)(pl + 1), 0};

	if (it->len < sizeof(*pl))
		return d; /* no block: diff_check() says so */
	d.base = pl->base;
	d.prev = pl->prev;
	d.sum = pl->sum;
	d.len = it->len - sizeof(*pl);
	return d;
}

struct diff twzdb__diff_lone(const struct lone_pm *l, size_t len)
{
	const uint8_t *at = (const uint8_t *)l + TWZDB_LONE_LEN;
	struct diff d = {l->rec & TWZDB_LONE_PTR, 0, l->old & TWZDB_LONE_PTR, l->ts, l->sum,
			 at + sizeof(d.base),	  0};

	if (len < TWZDB_LONE_LEN + sizeof(d.base))
		return d;
	memcpy(&d.base, at, sizeof(d.base));
	d.len = len - TWZDB_LONE_LEN - sizeof(d.base);
	return d;
}

/* The range at *POS of D, and its bytes; false: there are no more. Checked, or looked at first by ranges_check(). */
static bool range_next(const struct diff *d, uint64_t *pos, const struct range_pm **r,
		       const uint8_t **bytes)
{
	if (*pos >= d->len)
		return false;
	*r = (const struct range_pm *)(const void *)(d->ranges + *pos);
	*bytes = (const uint8_t *)(*r + 1);
	*pos += sizeof(**r) + (((uint64_t)(*r)->len + 7) & ~(uint64_t)7);
	return true;
}

static const char *ranges_check(const struct diff *d, uint64_t max)
{
	const struct range_pm *r;
	const uint8_t *bytes;
	uint64_t pos = 0, end = 0;

	if (d->len % 8)
		return "ranges of a wrong length";
	while (range_next(d, &pos, &r, &bytes)) {
		if (pos > d->len)
			return "range longer than its record";
		if (!r->len || r->off < end || (uint64_t)r->off + r->len > max)
			return "range outside the value, or out of order";
		end = (uint64_t)r->off + r->len;
	}
	return NULL;
}

const char *twzdb__diff_check(struct twzdb *db, const struct diff *d)
{
	if (!has_ranges(db))
		return "row of ranges in a database without that feature";
	if (!twzdb__is_rec(db, d->where) || !twzdb__is_rec(db, d->base) || d->where == d->base)
		return "row of ranges, or its base, is no record block";
	return ranges_check(d, twzdb__block_len(db, d->where));
}

/* Does what is in the base now suit a checked D? */
static const char *base_check(struct twzdb *db, const struct diff *d)
{
	const struct rec_pm *b = twzdb__at(db, d->base, sizeof(*b));

	if (!b || rec_is_long(b) || rec_kind(b) != TWZDB_ROW)
		return "base of ranges is no row";
	if (rec_len(b) > twzdb__block_len(db, d->base) ||
	    rec_len(b) > twzdb__block_len(db, d->where))
		return "row of ranges longer than its block";
	return ranges_check(d, rec_vlen_short(b));
}

static bool sum_is_right(struct twzdb *db, const struct diff *d)
{
	const struct rec_pm *b = twzdb__at(db, d->base, sizeof(*b));
	const struct range_pm *r;
	const uint8_t *bytes, *val = rec_val(b);
	uint32_t at = 0, vlen = rec_vlen_short(b), klen = rec_klen_short(b);
	uint64_t pos = 0, seed = XXH3_64bits(b->data, klen), hash;
	XXH3_state_t s;

	XXH3_64bits_reset_withSeed(&s, seed);
	for (; range_next(d, &pos, &r, &bytes); at = r->off + r->len) {
		XXH3_64bits_update(&s, val + at, r->off - at);
		XXH3_64bits_update(&s, bytes, r->len);
	}
	XXH3_64bits_update(&s, val + at, vlen - at);
	hash = XXH3_64bits_digest(&s);
	return d->sum == recsum(d->ts, d->prev, b->klt, vlen | TWZDB_VLF_KIND(TWZDB_ROW), hash);
}

const char *twzdb__diff_whole(struct twzdb *db, const struct diff *d)
{
	const char *rule = base_check(db, d);

	if (!rule && !sum_is_right(db, d))
		rule = "row put together of ranges has another checksum";
	return rule;
}

/* Every byte is stored once, as it shall be: on a block readers know already that changes nothing. */
void twzdb__diff_apply(struct twzdb *db, const struct diff *d)
{
	const struct rec_pm *b = twzdb__at(db, d->base, sizeof(*b));
	uint32_t klen, vlen, at = 0;
	const uint8_t *bytes, *from;
	const struct range_pm *r;
	struct rec_pm *to;
	uint64_t pos = 0;
	uint8_t *val;

	if (unlikely(base_check(db, d) != NULL))
		return;
	klen = rec_klen_short(b);
	vlen = rec_vlen_short(b);
	from = b->data + klen;
	to = twzdb__at(db, d->where, rec_len(b));
	val = to->data + klen;
	st64(&to->ts, d->ts);
	st64(&to->prev, d->prev);
	st64(&to->link, 0);
	__atomic_store_n(&to->klt, b->klt, __ATOMIC_RELAXED);
	__atomic_store_n(&to->sum, d->sum, __ATOMIC_RELAXED);
	memcpy(to->data, b->data, klen);
	for (; range_next(d, &pos, &r, &bytes); at = r->off + r->len) {
		memcpy(val + at, from + at, r->off - at);
		memcpy(val + r->off, bytes, r->len);
	}
	memcpy(val + at, from + at, vlen - at);
	__atomic_store_n(&to->vlf, vlen | TWZDB_VLF_LIVE | TWZDB_VLF_KIND(TWZDB_ROW),
			 __ATOMIC_RELEASE);
}

/* It may be kept for a later commit already (hold.c). */
void twzdb__diff_keep(struct twzdb *db, uint64_t base, uint64_t ts)
{
	struct rec_pm *b = twzdb__at(db, base, sizeof(*b));
	uint64_t link = ld64(&b->link);

	/* Once more, perhaps (apply_rec_dead): then it may have a new owner. */
	if (unlikely(link & TWZDB_LINK_RESERVED))
		return;
	if (!link_is_base(link) || (link ^ TWZDB_LINK_BASE) < ts)
		st64(&b->link, ts | TWZDB_LINK_BASE);
}
