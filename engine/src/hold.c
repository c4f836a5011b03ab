/* SPDX-License-Identifier: MIT
 * hold.c -- page media: rows whose bytes log records use (D2c), and for how long
 *
 * A record that tells a new row by what differs from another (diff.c) can be replayed only while that one, its base, is as
 * it was: until the log's tail is behind the record. A block says so itself: whoever applies the record stores in its link, beside
 * the time of its death, that it is a base, and from then on the time is that of the last commit that used it:
 *
 *	LIVE --dies--> BASE | ts --used again--> BASE | later ts --tail behind it--> free (space.c asks the link)
 *
 * So replay finds it whatever else was lost: all here but the link are hints, and what is known of the tail.
 *
 * How far the tail is, counted in commits: the owner of the writer lock knows where the log's head is, and which commit was the last
 * before it (a mark). When the tail has got there, no record of these commits is replayed any more. Nobody has to
 * be told of a checkpoint, whoever made it.
 *
 * A row changed again and again would leave a base behind each time. So a row made of a base is told by the same base when it is changed
 * again, as long as what differs is little: the versions between are free like any others. The base is kept for
 * the new commit before that is staged, because until its record is applied the tail might get behind the one before. If that commit
 * never comes to be, the base is kept a little longer than it need be.
 */
#include "hold.h"
#include "space.h"

#define RING_SHARE 4 /* held: this share of the ring, which it saves, */
#define DATA_SHARE 8 /* and of the data */
#define MARK_SHARE 256

/* Commits up to TS are not replayed any more. */
static void tail_at(struct twzdb__shared *sh, uint64_t ts)
{
	if (ts <= sh->hold.tail_ts)
		return;
	st64(&sh->hold.tail_ts, ts);
	/* What was found to be still needed may not be. */
	for (unsigned cls = 0; cls < TWZDB_CLASSES; cls++)
		sh->cls[cls].stuck = sh->cls[cls].full = 0;
}

static bool any_held(const struct sh_hold *h)
{
	return h->used_ts > h->tail_ts;
}

static uint64_t hold_max(struct twzdb *db, uint64_t ring_len)
{
	uint64_t units = 0;

	for (uint32_t i = 0; i < twzdb__obj_cnt(db); i++)
		units += twzdb__units_used(db, i);
	return ring_len / RING_SHARE + (units << TWZDB_UNIT_SHIFT) / DATA_SHARE;
}

/* Commits up to TS, the last one, stand before the head. */
static void mark_add(struct twzdb *db, const struct twz_log_info *info, uint64_t ts)
{
	struct sh_hold *h = &db->sh->hold;
	uint64_t last = h->mark_tail - 1;

	if (h->mark_tail - h->mark_head >= TWZDB_MARKS ||
	    (h->mark_tail != h->mark_head &&
	     info->head - h->mark[last % TWZDB_MARKS].lsn < info->ring_len / MARK_SHARE))
		return;
	h->mark[h->mark_tail % TWZDB_MARKS].lsn = info->head;
	h->mark[h->mark_tail % TWZDB_MARKS].ts = ts;
	h->mark_tail++;
	h->max = hold_max(db, info->ring_len);
}

void twzdb__hold_look(struct twzdb *db)
{
	struct sh_hold *h = &db->sh->hold;
	struct twz_log_info info;
	uint64_t ts = db->stage.ts;

	if (likely(!any_held(h)) || twz_log_info(db->log, &info))
		return;
	if (info.tail >= info.head) {
		h->mark_head = h->mark_tail;
		tail_at(db->sh, ts);
		return;
	}
	for (; h->mark_head != h->mark_tail && h->mark[h->mark_head % TWZDB_MARKS].lsn <= info.tail;
	     h->mark_head++)
		tail_at(db->sh, h->mark[h->mark_head % TWZDB_MARKS].ts);
	mark_add(db, &info, ts);
}

void twzdb__hold_empty(struct twzdb *db)
{
	struct sh_hold *h = &db->sh->hold;
	uint64_t ts = ld64(&db->root->ts);

	h->mark_head = h->mark_tail;
	tail_at(db->sh, ts);
	/* A commit that came to nothing may have marked a base. */
	if (h->used_ts <= ts)
		h->used_ts = ts + 1;
}

void twzdb__hold_forget(struct twzdb *db)
{
	struct sh_hold *h = &db->sh->hold;

	h->mark_head = h->mark_tail;
	st64(&h->q.head, h->q.tail);
	h->len = 0;
}

bool twzdb__hold_release(struct twzdb_txn *tx)
{
	struct twzdb *db = tx->db;

	/* An error that matters comes again, from whoever goes on looking for space. */
	if (!any_held(&db->sh->hold) || twz_log_checkpoint(db->log))
		return false;
	tail_at(db->sh, ld64(&db->sh->ts));
	return true;
}

/* --- the list --- */

bool twzdb__hold_may(struct twzdb *db)
{
	struct sh_hold *h = &db->sh->hold;
	struct twz_log_info info;

	if (unlikely(!h->max) && !twz_log_info(db->log, &info))
		h->max = hold_max(db, info.ring_len);
	return h->len < h->max && h->q.tail - h->q.head < TWZDB_QUARANTINE;
}

void twzdb__hold_add(struct twzdb *db, uint64_t p, uint64_t ts)
{
	struct sh_hold *h = &db->sh->hold;
	uint64_t tail = h->q.tail, *e = h->q.e[tail % TWZDB_QUARANTINE];
	int cls = twzdb__hint_count(db, p);

	if (cls < 0 || tail - h->q.head >= TWZDB_QUARANTINE)
		return; /* the counts know of it */
	e[0] = p;
	e[1] = ts;
	h->len += twzdb__block_lens[cls];
	st64_rel(&h->q.tail, tail + 1);
}

void twzdb__hold_last(struct twzdb *db)
{
	struct sh_quarantine *q = &db->sh->hold.q;
	const uint64_t *e = q->e[q->head % TWZDB_QUARANTINE];
	uint64_t *to = q->e[q->tail % TWZDB_QUARANTINE], p = e[0], ts = e[1];

	q->head++;
	to[0] = p;
	to[1] = ts;
	st64_rel(&q->tail, q->tail + 1);
}

void twzdb__hold_left(struct twzdb *db, const uint64_t *e)
{
	struct sh_hold *h = &db->sh->hold;
	int cls = twzdb__known_class(db, e[0]);
	uint64_t len = cls < 0 ? 0 : twzdb__block_lens[cls];

	h->len -= len < h->len ? len : h->len;
}

/* --- bases --- */

static uint32_t slot_of(uint64_t p)
{
	return (uint32_t)((p >> 4) * 0x9e3779b97f4a7c15ULL >> 32) % TWZDB_BASES;
}

uint64_t twzdb__hold_base(struct twzdb *db, uint64_t p, const struct rec_pm *rec)
{
	const struct sh_hold *h = &db->sh->hold;
	uint64_t base = h->base[slot_of(p)].base;
	const struct rec_pm *b;

	if (h->base[slot_of(p)].rec != p || rec->ts <= h->tail_ts || !twzdb__is_rec(db, base))
		return 0;
	b = twzdb__at(db, base, sizeof(*b));
	/* Reserved or put anew, it would say something else: so it holds what it held at that commit. */
	return b && !rec_is_live(b) && ld64(&b->link) == (rec->ts | TWZDB_LINK_BASE) ? base : 0;
}

void twzdb__hold_use(struct twzdb *db, uint64_t p, uint64_t base, uint64_t ts)
{
	struct sh_hold *h = &db->sh->hold;
	struct rec_pm *b = twzdb__at(db, base, sizeof(*b));

	h->used_ts = ts;
	h->base[slot_of(p)].rec = p;
	h->base[slot_of(p)].base = base;
	if (!rec_is_live(b) && link_is_base(ld64(&b->link)))
		st64(&b->link, ts | TWZDB_LINK_BASE);
}
