/* SPDX-License-Identifier: MIT
 * stage.c -- page media: group commit, and how writers read through commits not in the homes yet (D12)
 *
 * A commit on page media is submitted to the log (twz_log_submit), which makes it durable together with
 * others, and only then changes the homes. The writer lock passes on before that. So the next writer must
 * see what no home holds yet:
 *
 *	own private node  ->  node in db->stage  ->  home
 *
 * The records in the log's staging area say all about it. Each handle makes its own copy of the nodes
 * and words they change, when it gets the writer lock: from its copy if it has the node, else from the home,
 * whatever part of which is stored just then. That is right as replay is: records hold after-images, and all from
 * the first one not applied are put on top, in order. A copy is dropped when the last record that touched it has been
 * applied. A node that no such record names does not change while the lock is held, because nobody else
 * submits.
 *
 * New rows of staged commits lie in their blocks, reserved and not LIVE: readers cannot reach them, writers do
 * not reuse them (twzdb__stamp_over).
 */
#include "apply.h"

#define LAZY_MANY 1024 /* commits staged when somebody begins to write them at once */

/* --- the copies --- */

struct pnode *twzdb__stage_node(struct twzdb *db, uint64_t p)
{
	uint64_t v;

	return u64map_get(&db->stage.nodes, p, &v) ? (struct pnode *)(uintptr_t)v : NULL;
}

/* The last record that touched P (| 1: a word) is the one being looked at. */
static int touched(struct twzdb__stage *s, uint64_t p)
{
	size_t cnt = s->fifo.cnt;

	if (cnt >= s->fifo_from + 2 && s->fifo.v[cnt - 1] == s->nr && s->fifo.v[cnt - 2] == p)
		return 0;
	if (u64vec_push(&s->fifo, p))
		return -ENOMEM;
	if (!u64vec_push(&s->fifo, s->nr))
		return 0;
	s->fifo.cnt--;
	return -ENOMEM;
}

static struct pnode *node_new(struct twzdb__stage *s, uint64_t p)
{
	struct pnode *pn;

	if (s->spare.cnt)
		pn = (struct pnode *)(uintptr_t)s->spare.v[--s->spare.cnt];
	else
		pn = malloc(sizeof(*pn));
	if (!pn)
		return NULL;
	memset(pn, 0, sizeof(*pn));
	pn->p = p;
	pn->state = PN_STAGED;
	if (!u64map_put(&s->nodes, p, (uint64_t)(uintptr_t)pn))
		return pn;
	free(pn);
	return NULL;
}

void twzdb__stage_home(struct twzdb *db, uint64_t p, struct node_pm *to)
{
	const struct node_pm *home = twzdb__at(db, p, TWZDB_NODE_LEN);

	for (size_t i = 0; i < sizeof(*to) / 8; i++)
		((uint64_t *)to)[i] = ld64((const uint64_t *)home + i);
	to->ver &= ~1U;
}

static void node_drop(struct twzdb__stage *s, struct pnode *pn)
{
	u64map_del(&s->nodes, pn->p);
	if (u64vec_push(&s->spare, (uint64_t)(uintptr_t)pn))
		free(pn);
}

/* The copy of a node a record changes. FRESH: it says all about it. */
static struct pnode *node_of(struct twzdb__look *to, uint64_t p, bool fresh)
{
	struct twzdb *db = to->db;
	struct pnode *pn = twzdb__stage_node(db, p);
	bool made = !pn;

	if (made) {
		pn = node_new(&db->stage, p);
		if (pn && !fresh)
			twzdb__stage_home(db, p, &pn->img);
	}
	if (!pn)
		return NULL;
	if (touched(&db->stage, p)) {
		if (made) /* nobody would ever drop it */
			node_drop(&db->stage, pn);
		return NULL;
	}
	pn->seq = db->stage.nr;
	return pn;
}

static int word_of(struct twzdb__look *to, uint64_t where, uint64_t value)
{
	struct twzdb__stage *s = &to->db->stage;

	if (!touched(s, where | 1) && !u64map_put(&s->words, where, value))
		return 0;
	u64map_del(&s->words, where); /* an older value would outlive the record */
	return -ENOMEM;
}

/* What records up to APPLIED touched last is in its home. */
static void drop_applied(struct twzdb__stage *s, struct twzdb *db, uint64_t applied)
{
	for (; s->fifo_from < s->fifo.cnt && s->fifo.v[s->fifo_from + 1] <= applied;
	     s->fifo_from += 2) {
		uint64_t p = s->fifo.v[s->fifo_from];
		struct pnode *pn = p & 1 ? NULL : twzdb__stage_node(db, p);

		if (pn && pn->seq <= applied)
			node_drop(s, pn);
	}
	if (s->fifo_from == s->fifo.cnt) {
		s->fifo.cnt = s->fifo_from = 0;
		u64map_clear(&s->words);
	} else if (s->fifo_from > s->fifo.cnt / 2) {
		s->fifo.cnt -= s->fifo_from;
		memmove(s->fifo.v, s->fifo.v + s->fifo_from, s->fifo.cnt * sizeof(*s->fifo.v));
		s->fifo_from = 0;
	}
}

/* --- looking at a record --- */

static int look_node_new(struct twzdb__look *to, uint64_t p, const struct node_pm *img)
{
	struct pnode *pn = to->node(to, p, true);

	if (!pn)
		return -ENOMEM;
	twzdb__node_copy(&pn->img, img);
	pn->img.ver = 0;
	pn->state = PN_STAGED;
	return 0;
}

static int look_node_wr(struct twzdb__look *to, uint64_t p, const struct node_wr_pm *w)
{
	const uint64_t *words = (const uint64_t *)(w + 1);
	struct pnode *pn = to->node(to, p, false);

	if (!pn)
		return -ENOMEM;
	memcpy((uint8_t *)&pn->img + 4, &w->hdr, sizeof(w->hdr));
	for (uint64_t mask = w->mask; mask; mask &= mask - 1)
		((uint64_t *)&pn->img)[__builtin_ctzll(mask)] = *words++;
	return 0;
}

static int look_dead(struct twzdb__look *to, const uint64_t *list, uint64_t cnt)
{
	for (uint64_t i = 0; i < cnt; i++) {
		struct pnode *pn = to->node(to, list[i], true);

		if (!pn)
			return -ENOMEM;
		pn->state = PN_STAGED_DEAD;
	}
	return 0;
}

static int look_one(struct twzdb__look *to, const struct lone_pm *l)
{
	struct pnode *pn = to->node(to, lone_leaf(l), false);
	struct node_pm *n = pn ? &pn->img : NULL;
	unsigned slot = lone_slot(l);

	if (!pn)
		return -ENOMEM;
	n->ptr[slot] = lone_rec(l);
	if (lone_kind(l) == TWZDB_LREC_UPD1)
		return 0;
	if (lone_kind(l) == TWZDB_LREC_INS1) {
		memcpy(n->perm, l->ins.perm, sizeof(n->perm));
		n->n = l->ins.n;
		n->head[slot] = l->ins.head;
	}
	n->tombs = (uint8_t)(l->rec >> TWZDB_LONE_SHIFT);
	n->sts = l->ts;
	return 0;
}

static int look_items(struct twzdb__look *to, const void *rec)
{
	const struct item_pm *it;
	const void *payload;
	uint64_t pos = 0;
	int err = 0;

	while (!err && twzdb__item_next(rec, &pos, &it, &payload)) {
		if (it->type == TWZDB_IT_NODE_NEW)
			err = look_node_new(to, it->where, payload);
		else if (it->type == TWZDB_IT_NODE_WR)
			err = look_node_wr(to, it->where, payload);
		else if (it->type == TWZDB_IT_NODE_DEAD || it->type == TWZDB_IT_NODE_DROP)
			err = look_dead(to, payload, it->len / 8);
		else if (it->type == TWZDB_IT_WORD)
			err = to->word(to, it->where, *(const uint64_t *)payload);
	}
	return err;
}

uint64_t twzdb__stage_ts(const void *rec, size_t len)
{
	return twzdb__is_one(rec, len) ? ((const struct lone_pm *)rec)->ts
				       : ((const struct lrec_pm *)rec)->ts;
}

int twzdb__stage_look(struct twzdb__look *to, const void *rec, size_t len)
{
	return twzdb__is_one(rec, len) ? look_one(to, rec) : look_items(to, rec);
}

/* A checked record. If memory runs out it is looked at again before anybody relies on it. */
static int look(struct twzdb *db, uint64_t nr, const void *rec, size_t len)
{
	struct twzdb__look to = {db, node_of, word_of};
	int err;

	db->stage.nr = nr;
	err = twzdb__stage_look(&to, rec, len);
	if (err)
		return twzdb__err(err, "no memory for what other writers are committing");
	db->stage.seen = nr;
	db->stage.ts = twzdb__stage_ts(rec, len);
	return 0;
}

/* It comes from another process (D10). */
static int look_foreign(void *ctx, uint64_t nr, const void *rec, size_t len)
{
	struct twzdb *db = ctx;
	int err = twzdb__lrec_check_after(db, rec, len, db->stage.ts);

	return err ? err : look(db, nr, rec, len);
}

/* --- beginning to write --- */

int twzdb__stage_begin(struct twzdb_txn *tx)
{
	struct twzdb *db = tx->db;
	struct twzdb__stage *s = &db->stage;
	uint64_t applied, submitted, ts;
	int err;

	/* First how far, then (in node_of) homes: what they lack at most is looked at below. */
	twz_log_pending(db->log, &applied, &submitted);
	drop_applied(s, db, applied);
	if (s->seen < applied)
		s->seen = applied;
	ts = ld64_acq(&db->sh->ts);
	s->ts = s->ts > ts ? s->ts : ts;
	/* A stamp from before a moment when nothing was staged is nobody's any more. */
	if (applied == submitted)
		st64(&db->sh->stage_stamp, ld64(&db->sh->stamp) + 1);
	err = twz_log_pending_walk(db->log, s->seen, submitted, look_foreign, db);
	if (!err)
		twzdb__hold_look(db);
	tx->levels = s->nodes.cnt ? UINT64_MAX : 0;
	return err;
}

int twzdb__stage_settle(struct twzdb_txn *tx)
{
	struct twzdb *db = tx->db;
	int err = db->page_media ? twz_log_drain(db->log) : 0;

	if (err)
		return twzdb__stage_failed(db, err);
	drop_applied(&db->stage, db, UINT64_MAX);
	return 0;
}

void twzdb__stage_close(struct twzdb *db)
{
	struct twzdb__stage *s = &db->stage;

	drop_applied(s, db, UINT64_MAX);
	for (size_t i = 0; i < s->spare.cnt; i++)
		free((void *)(uintptr_t)s->spare.v[i]);
	u64vec_free(&s->spare);
	u64vec_free(&s->fifo);
	u64map_free(&s->nodes);
	u64map_free(&s->words);
}

/* --- committing --- */

int twzdb__stage_failed(struct twzdb *db, int err)
{
	if (err == TWZ_E_IO || err == TWZ_E_FAILED)
		st64_rel(&db->sh->failed, 1);
	if (err == TWZ_E_TIMEOUT) /* what was staged stands: nobody shall do it once more */
		return twzdb__err(-EINPROGRESS, "%s", twz_errmsg());
	return twzdb__from_twz(err, "waiting for the log");
}

int twzdb__stage_submit(struct twzdb_txn *tx, const void *rec, size_t len)
{
	struct twzdb *db = tx->db;
	uint64_t nr;
	int err = twz_log_submit(db->log, len, &nr);

	if (err == TWZ_E_IO || err == TWZ_E_FAILED)
		st64_rel(&db->sh->failed, 1);
	if (err)
		return twzdb__from_twz(err, "submitting to the log");
	tx->wait_nr = nr;
	twzdb__past_note(db);
	if (unlikely(twz_log_checkpoint_soon(db->log)))
		(void)twzdb__helper_ask(db, HELP_CHECKPOINT);
	/* The commit stands. What cannot be noted now will be, from the log, by the next writer. */
	if (db->stage.seen + 1 == nr)
		(void)look(db, nr, rec, len);
	return 0;
}

int twzdb__stage_wait(struct twzdb_txn *tx)
{
	uint64_t nr = tx->wait_nr;
	int err;

	tx->wait_nr = 0;
	tx->learns = false;
	err = twz_log_wait(tx->db->log, nr);
	return err ? twzdb__stage_failed(tx->db, err) : 0;
}

void twzdb__stage_lazy(struct twzdb_txn *tx)
{
	struct twzdb *db = tx->db;
	uint64_t applied, submitted;

	/* The record counts already. With this store readers see it, in all processes. */
	st64_rel(&db->sh->lazy_ts, tx->ts);
	twzdb__listen_news(db);
	twz_log_pending(db->log, &applied, &submitted);
	if (!twzdb__helper_ask(db, HELP_LAZY | (submitted - applied >= LAZY_MANY ? HELP_NOW : 0)))
		(void)!twz_log_drain(db->log);
}

int twzdb_sync(struct twzdb *db)
{
	int err = !db ? TWZDB_E_INVAL : twzdb__enter(db);

	if (!db)
		return twzdb__err(err, "sync: no database");
	if (err || !db->page_media || !db->log)
		return err;
	err = twz_log_drain(db->log);
	return err ? twzdb__stage_failed(db, err) : 0;
}

/* Hints about what died: by the owner of the writer lock, which those who apply are not. */
void twzdb__stage_hints(struct twzdb_txn *tx)
{
	struct twzdb *db = tx->db;

	if (tx->one.kind && tx->one.kind != TWZDB_LREC_INS1 && tx->one.base == tx->one.old)
		twzdb__hold_add(db, tx->one.old, tx->ts);
	else if (tx->one.kind && tx->one.kind != TWZDB_LREC_INS1)
		twzdb__hint_dead(db, tx->one.old, tx->ts);
	for (size_t i = 0; i < tx->based; i++)
		twzdb__hold_add(db, tx->dead.v[i], tx->ts);
	for (size_t i = tx->based; i < tx->dead.cnt; i++)
		twzdb__hint_dead(db, tx->dead.v[i], tx->ts);
	for (size_t i = 0; i < tx->pnodes.cnt; i++) {
		const struct pnode *pn = (const struct pnode *)(uintptr_t)tx->pnodes.v[i];

		if (pn->state == PN_DEAD)
			twzdb__hint_dead(db, pn->p, tx->ts);
	}
	for (size_t i = 0; i < tx->drops.cnt; i++)
		twzdb__hint_dead(db, tx->drops.v[i], tx->ts);
}

/* --- becoming public: struct twz_log_user.staged --- */

int twzdb__log_staged(void *ctx, uint64_t lsn, const void *rec, size_t len)
{
	struct twzdb *db = ctx;

	(void)lsn;
	if (twzdb__lrec_check_after(db, rec, len, ld64(&db->root->ts)))
		return TWZ_E_CORRUPT;
	twzdb__apply_begin(db->sh);
	twzdb__apply_placed(db, rec, len);
	twzdb__apply_end(db->sh);
	/* Readers that register from here on see the commit. */
	st64_rel(&db->sh->ts, twzdb__stage_ts(rec, len));
	twzdb__listen_news(db);
	return 0;
}
