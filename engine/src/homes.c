/* SPDX-License-Identifier: MIT
 * homes.c -- flushing the homes a log record names: for a checkpoint (D5), and at a takeover (D13)
 */
#include "apply.h"
#include "group.h"

static void flush_at(struct twzdb *db, uint64_t p, uint64_t len)
{
	const void *a = twzdb__at(db, p, len);

	if (a)
		twz_flush(db->s, a, len);
}

/* LIVE and the word beside it, all that apply changes in a block: one line. */
static void flush_live(struct twzdb *db, uint64_t p)
{
	const uint64_t from = offsetof(struct rec_pm, link);

	flush_at(db, p + from, offsetof(struct rec_pm, klt) - from);
}

/*
 * The committer flushed all of it before the record became valid (D2a); LIVE was stored since. At a
 * takeover nobody knows whether it lived to see that finished (D13).
 */
static void flush_rec(struct twzdb *db, uint64_t p)
{
	const struct rec_pm *r = twzdb__at(db, p, sizeof(*r));

	if (r && db->recovering)
		flush_at(db, p, rec_len(r));
	else
		flush_live(db, p);
}

/* The same of rows one behind the other. Short ones have nearly all lines in it. */
static void flush_run(struct twzdb *db, const struct rec_run_pm *u)
{
	const uint64_t from = offsetof(struct rec_pm, link);
	uint64_t len = twzdb__block_len(db, u->where);
	const uint8_t *at = twzdb__at(db, u->where, u->cnt * len);

	if (!at)
		return;
	if (db->recovering || len <= (uint64_t)2 * TWZ_LINE_SIZE)
		twz_flush(db->s, at, u->cnt * len);
	else
		twz_flush_each(db->s, at + from, offsetof(struct rec_pm, klt) - from, len, u->cnt);
}

/* The lines that apply stores to: those of the words, and the first, which has the version. */
static void flush_node_wr(struct twzdb *db, uint64_t p, const struct node_wr_pm *w)
{
	const uint8_t *n = twzdb__at(db, p, TWZDB_NODE_LEN);
	uint64_t mask = w->mask | 1;

	for (size_t line = 0; n && line < TWZDB_NODE_LEN; line += TWZ_LINE_SIZE)
		if (mask >> (line / 8) & 0xff)
			twz_flush(db->s, n + line, TWZ_LINE_SIZE);
}

/* Put together by a recovery: page media's log on cache-line media. For how long its base stays is nothing anybody needs after that. */
static void flush_diff(struct twzdb *db, uint64_t p)
{
	flush_rec(db, p);
}

static void flush_item(struct twzdb *db, const struct item_pm *it, const void *payload)
{
	const uint64_t *list = payload;

	switch (it->type) {
	case TWZDB_IT_UNIT:
	case TWZDB_IT_UNIT_CUT:
		flush_at(db, it->where, sizeof(struct unit_pm));
		break;
	case TWZDB_IT_NODE_NEW:
		flush_at(db, it->where, TWZDB_NODE_LEN);
		break;
	case TWZDB_IT_NODE_WR:
		flush_node_wr(db, it->where, payload);
		break;
	case TWZDB_IT_REC_FULL:
		flush_at(db, it->where, it->len);
		break;
	case TWZDB_IT_REC_DIFF:
		flush_diff(db, it->where);
		break;
	case TWZDB_IT_REC_LIVE:
		for (uint64_t i = 0; i < it->len / sizeof(struct rec_live_pm); i++)
			flush_rec(db, ((const struct rec_live_pm *)payload)[i].where);
		break;
	case TWZDB_IT_REC_RUN:
		for (uint64_t i = 0; i < it->len / sizeof(struct rec_run_pm); i++)
			flush_run(db, (const struct rec_run_pm *)payload + i);
		break;
	case TWZDB_IT_WORD:
		flush_at(db, it->where, 8);
		break;
	case TWZDB_IT_REC_DEAD:
		for (uint64_t i = 0; i < it->len / 8; i++)
			flush_live(db, list[i]);
		break;
	default: /* flags and sts of nodes */
		for (uint64_t i = 0; i < it->len / 8; i++)
			flush_at(db, list[i], TWZ_LINE_SIZE);
		break;
	}
}

static void flush_one(struct twzdb *db, const struct lone_pm *l, size_t len)
{
	unsigned slot = lone_slot(l);
	const struct node_pm *n = twzdb__at(db, lone_leaf(l), TWZDB_NODE_LEN);

	twz_flush(db->s, &n->ptr[slot], 8);
	/* Another version of a row changes nothing there, unless replay found the node half-changed. */
	if (lone_kind(l) != TWZDB_LREC_UPD1 || db->recovering)
		twz_flush(db->s, n, TWZ_LINE_SIZE);
	if (lone_kind(l) == TWZDB_LREC_INS1)
		twz_flush(db->s, &n->head[slot], 8);
	if (lone_carried(l, len))
		flush_at(db, lone_rec(l), rec_len(lone_carried(l, len)));
	else
		flush_rec(db, lone_rec(l));
	if (lone_kind(l) != TWZDB_LREC_INS1)
		flush_live(db, lone_old(l));
}

/* A record built and checked by this process. */
int twzdb__log_flush_own(void *ctx, uint64_t lsn, const void *rec, size_t len)
{
	struct twzdb *db = ctx;
	const struct item_pm *it;
	const void *payload;
	uint64_t pos = 0;

	(void)lsn;
	if (twzdb__is_one(rec, len)) {
		flush_one(db, rec, len);
		return 0;
	}
	if (twzdb__is_group(rec, len))
		return twzdb__group_flush(db, rec);
	while (twzdb__item_next(rec, &pos, &it, &payload))
		flush_item(db, it, payload);
	return 0;
}

int twzdb__log_flush(void *ctx, uint64_t lsn, const void *rec, size_t len)
{
	struct twzdb *db = ctx;

	if (db->page_media)
		return 0;
	if (twzdb__lrec_check(db, rec, len))
		return TWZ_E_CORRUPT;
	return twzdb__log_flush_own(ctx, lsn, rec, len);
}

/* Every commit changes it; once for all of them, since a line written back again waits for it. */
void twzdb__log_flush_end(void *ctx)
{
	struct twzdb *db = ctx;

	twz_flush(db->s, &db->root->ts, sizeof(db->root->ts));
	twzdb__past_note(db); /* once for very many commits */
}
