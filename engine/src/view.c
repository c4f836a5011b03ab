/* SPDX-License-Identifier: MIT
 * view.c -- page media: how readers see commits that are not in the homes yet (D12)
 *
 * A lazy commit is visible when it is staged, but homes change only when it is durable (D4). So a reader
 * that begins meanwhile gets, beside its snapshot, a view: images of the nodes, and values of the words, that staged
 * records change, as of the commit its snapshot is. Records are in their blocks already. It is built from homes and
 * from the records in the log's staging area, as the next writer's copies are (stage.c), once for all readers of a
 * process that come before the next lazy commit; the next view takes over what is still good.
 *
 * An image is asked for only while the last record in it has not been applied: else the home is at least as new.
 * So what a reader finds is, as without a view, for each node a state not older than its snapshot, and all
 * that README.md says of right-links holds:
 *  - An image is exactly of the snapshot's commit, and a home that no record of the view changes says the
 *    same or something newer.
 *  - A newer commit shows in a home only when all of the view's have been applied (the log applies in order), from when on
 *    no image is used any more. So if a reader comes from an image to a node that has died since, it
 *    starts again, and finds its way by homes.
 *
 * The records of a view may be lost when power fails. A reader's twzdb_commit() therefore waits until they are durable.
 */
#include "internal.h"

struct vnode {
	struct pnode pn; /* seq: the last record in it */
	uint32_t refs;	 /* views it is in */
};

static struct vnode *vnode_at(uint64_t v)
{
	return (struct vnode *)(uintptr_t)v; /* pn comes first */
}

static void vnode_put(struct vnode *n)
{
	if (!--n->refs)
		free(n);
}

static void view_free(struct twzdb__view *v)
{
	for (size_t i = 0; v && i < v->nodes.cap; i++)
		if (v->nodes.slot[2 * i])
			vnode_put(vnode_at(v->nodes.slot[2 * i + 1]));
	if (!v)
		return;
	u64map_free(&v->nodes);
	u64map_free(&v->words);
	u64map_free(&v->word_nr);
	free(v);
}

static void view_put(struct twzdb__view *v)
{
	if (v && !--v->refs)
		view_free(v);
}

/* --- building one --- */

static int vnode_add(struct twzdb__view *v, uint64_t p, struct vnode *n)
{
	int err = u64map_put(&v->nodes, p, (uint64_t)(uintptr_t)n);

	if (!err)
		n->refs++;
	return err;
}

struct build {
	struct twzdb__look to; /* first */
	struct twzdb__view *v;
};

/* One that no other view has: a reader's image stays as it is. */
static struct pnode *node_of(struct twzdb__look *to, uint64_t p, bool fresh)
{
	struct twzdb__view *v = ((struct build *)(void *)to)->v;
	struct vnode *n, *old = NULL;
	uint64_t was;

	if (u64map_get(&v->nodes, p, &was))
		old = vnode_at(was);
	if (old && old->refs == 1) {
		old->pn.seq = v->nr;
		return &old->pn;
	}
	n = calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	if (old)
		n->pn.img = old->pn.img;
	else if (!fresh)
		twzdb__stage_home(to->db, p, &n->pn.img);
	n->pn.p = p;
	n->pn.state = PN_STAGED;
	n->pn.seq = v->nr;
	if (vnode_add(v, p, n)) {
		free(n);
		return NULL;
	}
	if (old)
		vnode_put(old);
	return &n->pn;
}

static int word_of(struct twzdb__look *to, uint64_t where, uint64_t value)
{
	struct twzdb__view *v = ((struct build *)(void *)to)->v;
	int err = u64map_put(&v->words, where, value);

	return err ? err : u64map_put(&v->word_nr, where, v->nr);
}

/* What OLD has and homes may lack still. */
static int take_over(struct twzdb__view *v, const struct twzdb__view *old, uint64_t applied)
{
	int err = 0;

	for (size_t i = 0; i < old->nodes.cap && !err; i++)
		if (old->nodes.slot[2 * i] &&
		    vnode_at(old->nodes.slot[2 * i + 1])->pn.seq > applied)
			err = vnode_add(v, old->nodes.slot[2 * i],
					vnode_at(old->nodes.slot[2 * i + 1]));
	for (size_t i = 0; i < old->word_nr.cap && !err; i++) {
		uint64_t where = old->word_nr.slot[2 * i], nr = old->word_nr.slot[2 * i + 1];

		if (!where || nr <= applied)
			continue;
		err = u64map_put(&v->words, where, *u64map_at(&old->words, where));
		if (!err)
			err = u64map_put(&v->word_nr, where, nr);
	}
	v->nr = old->nr > applied ? old->nr : applied;
	return err;
}

/* Staged records up to commit WANT; RETRY: they are being applied, so less is to be had, and more in the homes. */
static int add_records(struct twzdb *db, struct twzdb__view *v, uint64_t want)
{
	struct build b = {{db, node_of, word_of}, v};
	int err = 0;

	while (!err && v->ts < want) {
		size_t len;

		v->nr++;
		if (!twz_log_pending_copy(db->log, v->nr, db->views.buf, &len))
			return TWZDB__RETRY;
		/* It comes from another process, perhaps (D10). */
		err = twzdb__lrec_check_after(db, db->views.buf, len, v->ts);
		if (!err)
			err = twzdb__stage_look(&b.to, db->views.buf, len);
		if (!err)
			v->ts = twzdb__stage_ts(db->views.buf, len);
	}
	return err;
}

/* First how far homes are, then homes: what they lack at most is put on top. */
static int build(struct twzdb *db, uint64_t want, struct twzdb__view **out)
{
	struct twzdb__views *vs = &db->views;
	struct twzdb__view *v = calloc(1, sizeof(*v));
	uint64_t applied, submitted;
	int err = 0;

	*out = NULL;
	if (!vs->buf)
		vs->buf = aligned_alloc(TWZ_PAGE_SIZE, TWZ_LOG_PENDING_MAX);
	if (!v || !vs->buf) {
		free(v);
		return -ENOMEM;
	}
	twz_log_pending(db->log, &applied, &submitted);
	v->nr = applied;
	v->ts = ld64_acq(&db->sh->ts);
	if (vs->now && vs->now->nr > applied) {
		err = take_over(v, vs->now, applied);
		v->ts = vs->now->ts > v->ts ? vs->now->ts : v->ts;
	}
	if (!err)
		err = add_records(db, v, want);
	if (err) {
		view_free(v);
		return err;
	}
	*out = v;
	return 0;
}

/* --- taking one --- */

/* 0: it is tx->view. RETRY: the homes say it by now. */
static int take(struct twzdb_txn *tx, uint64_t want)
{
	struct twzdb__views *vs = &tx->db->views;
	struct twzdb__view *v;
	int err = 0;

	pthread_mutex_lock(&vs->mutex);
	if (!vs->now || vs->now->ts < want) {
		err = build(tx->db, want, &v);
		if (!err) {
			view_put(vs->now);
			vs->now = v;
			v->refs++;
		}
	}
	if (!err) {
		tx->view = vs->now;
		vs->now->refs++;
	}
	pthread_mutex_unlock(&vs->mutex);
	return err;
}

/*
 * The slot has a published snapshot; that the view's is newer holds back no less for whoever builds on it. No memory: what is wanted
 * is waited for.
 */
int twzdb__view_take(struct twzdb_txn *tx, uint64_t want)
{
	struct twzdb *db = tx->db;
	int err;

	if (!db->log) /* watch.c: it sees what is durable */
		return 0;
	for (;;) {
		err = want > tx->snap ? take(tx, want) : 0;
		if (err == -ENOMEM) {
			err = twz_log_drain(db->log);
			if (err)
				return twzdb__stage_failed(db, err);
			err = TWZDB__RETRY;
		}
		if (err != TWZDB__RETRY)
			break;
		err = twz_log_help(db->log); /* whoever was applying it may have died */
		if (err)
			return twzdb__stage_failed(db, err);
		tx->read_ts = tx->snap = twzdb__snap_set(db, tx->rd);
	}
	if (err || !tx->view)
		return err;
	tx->read_ts = tx->snap = tx->view->ts;
	tx->levels = UINT64_MAX;
	st64_rel(&tx->rd->snap, tx->snap);
	/* Whoever committed it may be dead by now. */
	(void)twzdb__helper_ask(db, HELP_LAZY);
	return 0;
}

void twzdb__view_drop(struct twzdb_txn *tx)
{
	struct twzdb__views *vs = &tx->db->views;
	uint64_t applied, submitted;

	twz_log_pending(tx->db->log, &applied, &submitted);
	pthread_mutex_lock(&vs->mutex);
	view_put(tx->view);
	if (vs->now && vs->now->refs == 1 && vs->now->nr <= applied) {
		view_put(vs->now);
		vs->now = NULL;
	}
	pthread_mutex_unlock(&vs->mutex);
	tx->view = NULL;
	tx->levels = 0;
}

/* --- looking at one --- */

static bool is_home(const struct twzdb_txn *tx, uint64_t nr)
{
	uint64_t applied, submitted;

	twz_log_pending(tx->db->log, &applied, &submitted);
	return applied >= nr;
}

struct pnode *twzdb__view_node(const struct twzdb_txn *tx, uint64_t p)
{
	struct pnode *pn;
	uint64_t v;

	if (!u64map_get(&tx->view->nodes, p, &v))
		return NULL;
	pn = &vnode_at(v)->pn;
	return is_home(tx, pn->seq) ? NULL : pn;
}

bool twzdb__view_word(const struct twzdb_txn *tx, uint64_t where, uint64_t *value)
{
	uint64_t nr;

	return u64map_get(&tx->view->word_nr, where, &nr) && !is_home(tx, nr) &&
	       u64map_get(&tx->view->words, where, value);
}

void twzdb__views_open(struct twzdb *db)
{
	pthread_mutex_init(&db->views.mutex, NULL);
}

void twzdb__views_close(struct twzdb *db)
{
	view_put(db->views.now);
	free(db->views.buf);
	pthread_mutex_destroy(&db->views.mutex);
}
