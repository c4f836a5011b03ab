/* SPDX-License-Identifier: MIT
 * commit.c -- from private state to one log record: the commit
 *
 *	1. nothing changed: done
 *	2. new records durable where they lie (D2a), or carried in the record (D2b), or synced in place (D2d)
 *	3. the record: new nodes, record headers, root words, node changes from the top, dead blocks
 *	4. append: THE COMMIT POINT (D3)
 *	5. apply (D4), tell the log, publish the timestamp
 *
 * The order of the items is the order of apply, and lets readers in at any moment: what is new
 * is complete before a word leads to it, and what is old is marked dead after the last word that
 * led to it is gone. README.md has the argument.
 */
#include "diff.h"
#include "group.h"

#include <sys/uio.h>

#define PURGE_BASE 64
#define DEAD_MAX   4096 /* rows that die; more: whether one does is not looked for */

/* The record under construction, where the log takes it from. */
struct buf {
	struct twz_log *log;
	uint8_t *p;
	size_t len, cap;
	uint64_t items;
	bool oom, big;
};

static void *buf_take(struct buf *b, size_t len)
{
	void *at;

	if (b->oom)
		return NULL;
	if (b->len + len > b->cap) {
		size_t cap = (b->len + len) * 2 + 4096;
		uint8_t *p = cap <= TWZ_DATA_MAX ? twz_log_stage(b->log, cap) : NULL;

		if (!p && b->len + len <= TWZ_DATA_MAX) {
			cap = b->len + len;
			p = twz_log_stage(b->log, cap);
		}
		if (!p) {
			b->oom = true;
			b->big = b->len + len > TWZ_DATA_MAX;
			return NULL;
		}
		b->p = p;
		b->cap = cap;
	}
	at = b->p + b->len;
	b->len += len;
	return at;
}

static void *item_add(struct buf *b, enum twzdb_item_type type, uint64_t where, size_t len)
{
	struct item_pm *it = buf_take(b, sizeof(*it) + len);

	if (!it)
		return NULL;
	*it = (struct item_pm){(uint16_t)type, 0, (uint32_t)len, where};
	b->items++;
	return it + 1;
}

static struct pnode *pnode_at(const struct twzdb_txn *tx, size_t i)
{
	return (struct pnode *)(uintptr_t)tx->pnodes.v[i];
}

/* Record blocks that were reserved and are still wanted. */
static const struct rec_pm *rec_kept(const struct twzdb_txn *tx, size_t i)
{
	const struct rec_pm *r = twzdb__at(tx->db, tx->recs.v[i], sizeof(*r));

	return r && r->link == (TWZDB_LINK_RESERVED | tx->stamp) ? r : NULL;
}

/* --- building the record --- */

static void add_new_nodes(struct twzdb_txn *tx, struct buf *b)
{
	for (size_t i = 0; i < tx->pnodes.cnt; i++) {
		const struct pnode *pn = pnode_at(tx, i);
		void *at = pn->state == PN_NEW
				   ? item_add(b, TWZDB_IT_NODE_NEW, pn->p, TWZDB_NODE_LEN)
				   : NULL;

		if (at)
			twzdb__node_copy(at, &pn->img);
	}
}

/* The words of tables are changed in place, so replay must be able to restore the whole block. */
static bool rec_goes_whole(const struct rec_pm *r, bool carry)
{
	return carry || rec_kind(r) == TWZDB_TABLE;
}

static void add_rec_full(struct buf *b, uint64_t p, const struct rec_pm *r)
{
	uint64_t len = (rec_len(r) + 7) & ~(uint64_t)7;
	struct rec_pm *at = item_add(b, TWZDB_IT_REC_FULL, p, len);

	if (!at)
		return;
	memset((uint8_t *)at + len - 8, 0, 8);
	memcpy(at, r, rec_len(r));
	at->link = 0;
	at->vlf |= TWZDB_VLF_LIVE;
}

/* Row P dies with the commit, and is to be among the first in the list: it lends its bytes. False: it does not die. */
static bool lends(struct twzdb_txn *tx, uint64_t p)
{
	for (size_t i = tx->based; i < tx->dead.cnt; i++) {
		uint64_t other = tx->dead.v[tx->based];

		if (tx->dead.v[i] != p)
			continue;
		tx->dead.v[tx->based++] = p;
		tx->dead.v[i] = other;
		return true;
	}
	return false;
}

static bool dies(const struct twzdb_txn *tx, uint64_t p)
{
	for (size_t i = tx->based; i < tx->dead.cnt && tx->dead.cnt <= DEAD_MAX; i++)
		if (tx->dead.v[i] == p)
			return true;
	return false;
}

/* What differs from a row the log can do it with (D2c). False: that is too much. */
static bool add_rec_diff(struct twzdb_txn *tx, struct buf *b, uint64_t p, const struct rec_pm *r)
{
	size_t from = b->len, len;
	struct rec_diff_pm *at;
	uint64_t base;

	if (!twzdb__diff_may(tx->db, p, r) || !dies(tx, r->prev))
		return false;
	at = item_add(b, TWZDB_IT_REC_DIFF, p, sizeof(*at) + diff_room(r));
	if (!at)
		return true;
	len = twzdb__diff_new(tx, p, r, &base, (uint8_t *)(at + 1));
	if (len == DIFF_NOT) {
		b->len = from;
		b->items--;
		return false;
	}
	*at = (struct rec_diff_pm){base, r->prev, r->sum, 0};
	b->len = from + sizeof(struct item_pm) + sizeof(*at) + len;
	((struct item_pm *)(void *)(b->p + from))->len = (uint32_t)(sizeof(*at) + len);
	if (base == r->prev)
		(void)lends(tx, base);
	return true;
}

/* Lines to be flushed: records made one after the other lie so, and share lines. */
struct lines {
	uintptr_t from, to;
};

/* LEN bytes at A join what is to be flushed, or begin anew. */
static void flush_join(struct twzdb *db, struct lines *l, uintptr_t a, uint64_t len)
{
	uintptr_t from = a & ~(uintptr_t)(TWZ_LINE_SIZE - 1);

	if (from >= l->from && from <= l->to && l->to) {
		l->to = a + len > l->to
				? (a + len + TWZ_LINE_SIZE - 1) & ~(uintptr_t)(TWZ_LINE_SIZE - 1)
				: l->to;
		return;
	}
	if (l->to)
		twz_flush(db->s, (const void *)l->from, l->to - l->from);
	l->from = from;
	l->to = (a + len + TWZ_LINE_SIZE - 1) & ~(uintptr_t)(TWZ_LINE_SIZE - 1);
}

/*
 * The others lie in place. Cache-line media: their lines are flushed now, late (D2a); the fence is the
 * append's.
 */
static void add_recs(struct twzdb_txn *tx, struct buf *b, bool carry, bool diff)
{
	struct rec_live_pm *at = NULL;
	struct lines lines = {0, 0};
	size_t from = b->len, cnt = 0;

	for (size_t i = 0; i < tx->recs.cnt && !b->oom && (carry || tx->anchors); i++) {
		const struct rec_pm *r = rec_kept(tx, i);

		if (r && rec_goes_whole(r, carry) &&
		    !(diff && add_rec_diff(tx, b, tx->recs.v[i], r)))
			add_rec_full(b, tx->recs.v[i], r);
	}
	from = b->len;
	if (!carry && tx->recs.cnt)
		at = item_add(b, TWZDB_IT_REC_LIVE, 0, tx->recs.cnt * sizeof(*at));
	for (size_t i = 0; i < tx->recs.cnt && at; i++) {
		const struct rec_pm *r = rec_kept(tx, i);

		if (!r)
			continue;
		flush_join(tx->db, &lines, (uintptr_t)r, rec_len(r));
		if (!rec_goes_whole(r, carry))
			at[cnt++] = (struct rec_live_pm){tx->recs.v[i], r->sum, rec_kind(r)};
	}
	if (!at)
		return;
	flush_join(tx->db, &lines, 0, 0);
	b->len = from + (cnt ? sizeof(struct item_pm) + cnt * sizeof(*at) : 0);
	b->items -= !cnt;
	((struct item_pm *)(void *)(b->p + from))->len = (uint32_t)(cnt * sizeof(*at));
}

/* Rows that append.c made are as it left them. */
static void add_runs(struct twzdb_txn *tx, struct buf *b)
{
	size_t cnt = runs_cnt(tx);
	void *at = cnt ? item_add(b, TWZDB_IT_REC_RUN, 0, cnt * sizeof(struct rec_run_pm)) : NULL;
	struct lines lines = {0, 0};

	if (!at)
		return;
	memcpy(at, tx->runs.v, cnt * sizeof(struct rec_run_pm));
	for (size_t i = 0; i < cnt; i++) {
		const struct rec_run_pm *u = runs_at(tx, i);
		uint64_t len = u->cnt * twzdb__block_len(tx->db, u->where);
		const void *r = twzdb__at(tx->db, u->where, len);

		if (r)
			flush_join(tx->db, &lines, (uintptr_t)r, len);
	}
	flush_join(tx->db, &lines, 0, 0);
}

static void add_words(struct twzdb_txn *tx, struct buf *b)
{
	for (size_t i = 0; i < tx->words.cap; i++) {
		uint64_t where = tx->words.slot[2 * i], value = tx->words.slot[2 * i + 1], *at;

		if (!where || value == TWZDB_WORD_NONE)
			continue;
		at = item_add(b, TWZDB_IT_WORD, where, 8);
		if (at)
			*at = value;
	}
}

static void add_node_change(struct twzdb_txn *tx, struct buf *b, const struct pnode *pn)
{
	const uint64_t *img = (const uint64_t *)&pn->img;
	const uint64_t *home = (const uint64_t *)twzdb__node_base(tx->db, pn->p);
	struct node_wr_pm *w;
	uint64_t mask = pn->mask, *out;

	if (pn->diff) {
		mask = 0;
		for (unsigned i = 1; i < TWZDB_NODE_LEN / 8; i++)
			mask |= (uint64_t)(img[i] != home[i]) << i;
		if (!mask && img[0] >> 32 == home[0] >> 32)
			return;
	}
	w = item_add(b, TWZDB_IT_NODE_WR, pn->p,
		     sizeof(*w) + 8 * (size_t)__builtin_popcountll(mask));
	if (!w)
		return;
	*w = (struct node_wr_pm){(uint32_t)(img[0] >> 32), 0, mask};
	out = (uint64_t *)(w + 1);
	for (; mask; mask &= mask - 1)
		*out++ = img[__builtin_ctzll(mask)];
}

/* From the top, so that a reader coming down meanwhile seldom has to go right. */
static void add_node_changes(struct twzdb_txn *tx, struct buf *b)
{
	int top = 0;

	for (size_t i = 0; i < tx->pnodes.cnt; i++)
		if (pnode_at(tx, i)->state == PN_COPY && pnode_at(tx, i)->img.level > top)
			top = pnode_at(tx, i)->img.level;
	for (; top >= 0; top--)
		for (size_t i = 0; i < tx->pnodes.cnt; i++)
			if (pnode_at(tx, i)->state == PN_COPY && pnode_at(tx, i)->img.level == top)
				add_node_change(tx, b, pnode_at(tx, i));
}

static void add_list(struct buf *b, enum twzdb_item_type type, const struct u64vec *v)
{
	void *at = v->cnt ? item_add(b, type, 0, v->cnt * 8) : NULL;

	if (at)
		memcpy(at, v->v, v->cnt * 8);
}

static void add_dead(struct twzdb_txn *tx, struct buf *b)
{
	struct u64vec dead = {0};

	for (size_t i = 0; i < tx->pnodes.cnt; i++) {
		const struct pnode *pn = pnode_at(tx, i);

		if (pn->state == PN_DEAD)
			b->oom |= u64vec_push(&dead, pn->p) != 0;
		else if (pn->state == PN_DROP)
			b->oom |= u64vec_push(&tx->drops, pn->p) != 0;
	}
	add_list(b, TWZDB_IT_REC_DEAD, &tx->dead);
	add_list(b, TWZDB_IT_NODE_DEAD, &dead);
	add_list(b, TWZDB_IT_NODE_DROP, &tx->drops);
	u64vec_free(&dead);
}

/* CARRY: new rows go into the record (D2b); DIFF: and of those that differ little from others only that (D2c). */
static int build(struct twzdb_txn *tx, struct buf *b, bool carry, bool diff)
{
	struct lrec_pm *l = buf_take(b, sizeof(*l));

	add_new_nodes(tx, b);
	add_recs(tx, b, carry, carry && diff);
	add_runs(tx, b);
	add_words(tx, b);
	add_node_changes(tx, b);
	add_dead(tx, b);
	if (b->big)
		return twzdb__err(TWZDB_E_TOOBIG,
				  "the transaction's log record is longer than %llu bytes",
				  (unsigned long long)TWZ_DATA_MAX);
	if (b->oom || !l)
		return twzdb__err(-ENOMEM, "no memory for the commit record");
	l = (struct lrec_pm *)(void *)b->p;
	*l = (struct lrec_pm){TWZDB_LREC_MAGIC, 0, TWZDB_LREC_COMMIT, tx->ts, b->len, b->items};
	return 0;
}

/* --- making new records durable before the record (D2) --- */

static uint64_t carried_len(const struct twzdb_txn *tx)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < tx->recs.cnt; i++) {
		const struct rec_pm *r = rec_kept(tx, i);

		if (r)
			sum += rec_len(r);
	}
	return sum;
}

/*
 * D2d. The checkpoint moves the tail past every older record that names a block this transaction
 * filled in place: none of them can be replayed over it. Then the blocks themselves are synced,
 * before the record that publishes them.
 */
static int sync_recs(struct twzdb_txn *tx)
{
	int err = twz_log_checkpoint(tx->db->log);

	if (!err)
		err = twz_sync_all(tx->db->s);
	if (err == TWZ_E_IO || err == TWZ_E_FAILED)
		st64_rel(&tx->db->sh->failed, 1);
	return err ? twzdb__from_twz(err, "syncing a large transaction") : 0;
}

static int make_durable(struct twzdb_txn *tx, bool *carry)
{
	*carry = false;
	if (!tx->db->page_media)
		return 0; /* add_recs() */
	*carry = carried_len(tx) <= tx->db->carry_max;
	return *carry ? 0 : sync_recs(tx);
}

/* --- commit --- */

int twzdb__append(struct twzdb *db, struct iovec *iov, int cnt, uint64_t *lsn)
{
	int err = twz_log_append(db->log, iov, cnt, lsn);

	/*
	 * The outcome is unknown: restart may find the record valid, and then needs every block
	 * it names as it is now. So nobody may reserve a block any more (D17).
	 */
	if (err == TWZ_E_IO || err == TWZ_E_FAILED)
		st64_rel(&db->sh->failed, 1);
	return err ? twzdb__from_twz(err, "appending to the log") : 0;
}

int twzdb__append_staged(struct twzdb *db, size_t len, uint64_t *lsn)
{
	int err = twz_log_append_staged(db->log, len, lsn);

	if (unlikely(err == TWZ_E_IO || err == TWZ_E_FAILED))
		st64_rel(&db->sh->failed, 1);
	return err ? twzdb__from_twz(err, "appending to the log") : 0;
}

/* Of a commit that is staged nothing is public yet, but nobody can keep it from becoming so. */
static void publish(struct twzdb_txn *tx)
{
	struct twzdb__shared *sh = tx->db->sh;
	bool heard = unlikely(ld64(&sh->listeners));

	if (unlikely(tx->db->page_media))
		twzdb__stage_hints(tx);
	if (unlikely(heard))
		twzdb__listen_tell(tx);
	/* Readers that register from here on see the commit. A scan of the readers begins with a full fence. */
	if (likely(!tx->wait_nr))
		st64_rel(&sh->ts, tx->ts);
	if (unlikely(heard))
		twzdb__listen_wake(tx->db);
	twzdb__stat_own(&sh->stats.commits, 1);
	twzdb__stat_own(&sh->stats.splits, tx->splits);
	twzdb__stat_own(&sh->stats.merges, tx->merges);
	twzdb__purge_note(tx->db, &tx->tombs);
}

static bool one_fits(const struct twzdb_txn *tx)
{
	return tx->one.kind && !twzdb__purge_pays(tx->db) &&
	       !(tx->db->page_media && carried_len(tx) > tx->db->carry_max);
}

static int commit_one(struct twzdb_txn *tx)
{
	uint64_t lsn = 0;
	size_t len;
	int err = twzdb__one_commit(tx, &lsn, &len);

	if (err)
		return err;
	if (likely(!tx->wait_nr))
		twz_log_applied(tx->db->log, lsn);
	twzdb__stat_own(&tx->db->sh->stats.log_bytes, len);
	publish(tx);
	if (likely(!tx->wait_nr))
		twzdb__one_learn(tx);
	else
		tx->learns = true;
	return 0;
}

/*
 * Tables come and go under the writer lock alone: handles are checked against anchors that lie in place, and dropped
 * nodes against homes.
 */
static bool can_stage(const struct twzdb_txn *tx, const struct buf *b, bool carry)
{
	return carry && !tx->anchors && !tx->drops.cnt && twz_log_can_submit(tx->db->log, b->len);
}

static int commit_changes(struct twzdb_txn *tx)
{
	struct buf b = {.log = tx->db->log};
	uint64_t lsn;
	bool carry;
	int err = make_durable(tx, &carry);

	if (!err)
		err = build(tx, &b, carry, true);
	if (!err && can_stage(tx, &b, carry)) {
		err = twzdb__stage_submit(tx, b.p, b.len);
		if (err)
			return err;
		twzdb__stat_own(&tx->db->sh->stats.log_bytes, b.len);
		publish(tx);
		return 0;
	}
	if (!err)
		err = twzdb__append_staged(tx->db, b.len, &lsn); /* the commit point (D3) */
	if (!err) {
		twzdb__apply_begin(tx->db->sh);
		twzdb__apply(tx->db, b.p, b.len);
		twzdb__apply_end(tx->db->sh);
		if (tx->moved && !tx->db->page_media)
			twzdb__apply_hints(tx->db, b.p);
		twz_log_applied(tx->db->log, lsn);
		twzdb__stat_own(&tx->db->sh->stats.log_bytes, b.len);
		publish(tx);
	}
	return err;
}

static void run_free(struct twzdb_txn *tx, const struct rec_run_pm *u)
{
	uint64_t len = twzdb__block_len(tx->db, u->where);

	for (uint32_t i = 0; i < u->cnt; i++)
		twzdb__hint_free(tx->db, u->where + i * len);
}

/*
 * Private state of a writer. Reserved blocks are free again by their headers; only the hints
 * must hear of them.
 */
static void forget(struct twzdb_txn *tx, bool committed)
{
	/* A commit of one operation leaves nothing else behind: it had no private node. */
	if (likely(committed && tx->one.kind)) {
		tx->recs.cnt = tx->tombs.cnt = 0;
		tx->one.kind = 0;
		return;
	}
	twzdb__sp_end(tx);
	for (size_t i = 0; i < tx->recs.cnt && !committed; i++)
		if (rec_kept(tx, i))
			twzdb__hint_free(tx->db, tx->recs.v[i]);
	for (size_t i = 0; i < runs_cnt(tx) && !committed; i++)
		run_free(tx, runs_at(tx, i));
	for (size_t i = 0; i < tx->stock.cnt; i++)
		twzdb__hint_free(tx->db, tx->stock.v[i]);
	for (size_t i = 0; i < tx->pnodes.cnt; i++) {
		const struct pnode *pn = pnode_at(tx, i);

		if (pn->state == PN_GONE || (pn->state == PN_NEW && !committed))
			twzdb__hint_free(tx->db, pn->p);
	}
	twzdb__nodes_forget(tx);
	u64map_clear(&tx->words);
	u64vec_clear(&tx->recs);
	u64vec_clear(&tx->runs);
	u64vec_clear(&tx->dead);
	tx->based = 0;
	u64vec_clear(&tx->drops);
	u64vec_clear(&tx->stock);
	u64vec_clear(&tx->tombs);
	tx->one.kind = 0;
	tx->anchors = false;
	tx->splits = tx->merges = 0;
	tx->moved = false;
	tx->broken = 0;
}

/* Tombstones a transaction works off: as many as it made, more when they have become many. */
static uint32_t purge_share(const struct twzdb_txn *tx)
{
	uint64_t cnt = tx->tombs.cnt;

	if (twzdb__purge_pays(tx->db) || twzdb__give_waits(tx->db))
		cnt += PURGE_BASE + tx->recs.cnt;

	return cnt < TWZDB_PURGE_MAX ? (uint32_t)cnt : TWZDB_PURGE_MAX;
}

/* All that is to be in the record is private nodes. On an error the tombstones to purge wait on: nothing was added meanwhile. */
static int gather(struct twzdb_txn *tx)
{
	uint32_t head = tx->db->purge_head, cnt = tx->db->purge_cnt;
	int err = twzdb__purge_some(tx, purge_share(tx));

	if (!err && tx->one.kind)
		err = twzdb__one_expand(tx);
	if (err) {
		tx->db->purge_head = head;
		tx->db->purge_cnt = cnt;
	}
	return err;
}

int twzdb__prepare(struct twzdb_txn *tx, const struct twzdb__chair *chair)
{
	struct buf b = {.log = tx->db->log};
	bool carry;
	int err = tx->broken;

	if (tx->sp)
		twzdb__sp_end(tx);
	if (!err)
		err = gather(tx);
	if (!err)
		err = make_durable(tx, &carry);
	if (!err)
		err = build(tx, &b, carry, false);
	return err ? err : twzdb__prep_write(tx->db, chair, b.p, b.len);
}

void twzdb__prepared_leave(struct twzdb_txn *tx)
{
	uint64_t none = 0;

	/* A failed log stays so: restart recovery will find what is prepared. */
	__atomic_compare_exchange_n(&tx->db->sh->failed, &none, TWZDB__IN_DOUBT, false,
				    __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	forget(tx, false);
}

int twzdb__prepared_end(struct twzdb_txn *tx, bool commit)
{
	const struct prep_pm *p;
	const void *rec = NULL;
	int err = twzdb__prep_get(tx->db, &p);

	if (!err && p)
		err = twzdb__prep_end(tx->db, p, commit, &rec);
	if (err) { /* who has the lock next will find out */
		twzdb__prepared_leave(tx);
		return err;
	}
	if (commit) {
		if (rec && tx->moved && !tx->db->page_media)
			twzdb__apply_hints(tx->db, rec);
		publish(tx);
	}
	forget(tx, commit);
	return 0;
}

int twzdb__commit(struct twzdb_txn *tx)
{
	bool changed = tx->mods != tx->mods0;
	int err = tx->broken;

	if (tx->sp)
		twzdb__sp_end(tx);
	if (err)
		twzdb__err(
			err,
			"commit: an earlier change of this transaction failed half-way; it was rolled back");
	if (!err && one_fits(tx) && twzdb__one_settle(tx)) {
		err = commit_one(tx);
	} else if (!err && changed) {
		uint32_t head = tx->db->purge_head, cnt = tx->db->purge_cnt;

		err = gather(tx);
		if (!err)
			err = commit_changes(tx);
		if (err) { /* they wait on: nothing was added meanwhile */
			tx->db->purge_head = head;
			tx->db->purge_cnt = cnt;
		}
	}
	if (err && changed)
		twzdb__stat_add(&tx->db->sh->stats.aborts, 1);
	/* What it has read may be staged: it may not end well before that is durable (D12). */
	if (unlikely(tx->levels) && !err && !changed)
		tx->wait_nr = tx->db->stage.seen;
	forget(tx, !err);
	if (!err && changed && twzdb__give_pays(tx->db))
		(void)twzdb__give_back(tx); /* the commit stands; what failed stops later writers */
	return err;
}

void twzdb__discard(struct twzdb_txn *tx)
{
	if (tx->mods != tx->mods0)
		twzdb__stat_add(&tx->db->sh->stats.aborts, 1);
	forget(tx, false);
}
