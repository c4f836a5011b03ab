/* SPDX-License-Identifier: MIT
 * listen.c -- waiting for the next commit of a database, or of a table, in whatever process
 *
 * A listener has a line in the shared segment. A writer that finds one of any
 *
 *	writer, with the writer lock		listener
 *	tell: its number to `first`, `last`	`asleep` = 1
 *	publish the commit			is something told visible?
 *	is anybody asleep that it is told?	no: sleep on `word`
 *	`word` = 1, wake
 *
 * so either the listener sees the commit, or the writer sees it asleep. A writer that finds none pays one load, of a word in the line
 * of the timestamp it is going to store to. It may have looked just before the first listener came: what was not yet published then
 * may concern it (`unsure`), and who sleeps looks again four times a second. That also covers a writer that died between
 * publishing and waking; one that died before it published is told for by takeover.
 *
 * What a commit changed is asked of its records, which carry their table's number.
 *
 * Page media: a commit is told when it is staged, and whoever applies it, or makes it visible as a lazy one, wakes.
 */
#include "internal.h"
#include "rec.h"

#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS	 250
#define BLIND_MS 20   /* who may not store that it is asleep */
#define RECS_MAX 4096 /* a larger commit concerns every table */

struct twzdb_listener {
	struct twzdb *db;
	struct sh_listener *l; /* NULL: this process may store nothing */
	struct sh_listener own;
};

/* --- writers --- */

/* Is there a visible commit (all up to V are) that L was told of and has not returned? */
static bool concerns(const struct sh_listener *l, uint64_t v)
{
	uint64_t heard = ld64_acq(&l->heard), first = ld64_acq(&l->first),
		 last = ld64_acq(&l->last);

	if (v <= heard)
		return false;
	if (heard < ld64_acq(&l->unsure))
		return true;
	return first > heard ? first <= v : last > heard && last <= v;
}

static bool changed(const struct twzdb_txn *tx, uint64_t table)
{
	if (!table || tx->anchors || tx->recs.cnt + runs_cnt(tx) > RECS_MAX)
		return true;
	for (size_t i = 0; i < tx->recs.cnt; i++) {
		const struct rec_pm *r = twzdb__at(tx->db, tx->recs.v[i], sizeof(*r));

		if (r && rec_table(r) + 1 == table)
			return true;
	}
	for (size_t i = 0; i < runs_cnt(tx); i++) {
		const struct rec_pm *r = twzdb__at(tx->db, runs_at(tx, i)->where, sizeof(*r));

		if (r && rec_table(r) + 1 == table)
			return true;
	}
	return false;
}

static void tell(struct sh_listener *l, uint64_t ts)
{
	if (ld64(&l->first) <= ld64_acq(&l->heard))
		st64_rel(&l->first, ts);
	st64_rel(&l->last, ts);
}

static uint32_t in_use(const struct twzdb__shared *sh)
{
	uint64_t hi = ld64_acq(&sh->listener_hi);

	return hi < TWZDB_LISTENERS ? (uint32_t)hi : TWZDB_LISTENERS;
}

void twzdb__listen_tell(const struct twzdb_txn *tx)
{
	struct twzdb__shared *sh = tx->db->sh;

	for (uint32_t i = 0; i < in_use(sh); i++) {
		struct sh_listener *l = &sh->listener[i];

		if (ld64_acq(&l->claim) && changed(tx, ld64(&l->table)))
			tell(l, tx->ts);
	}
}

void twzdb__listen_tell_all(struct twzdb *db, uint64_t ts)
{
	for (uint32_t i = 0; i < in_use(db->sh); i++)
		if (ld64_acq(&db->sh->listener[i].claim))
			tell(&db->sh->listener[i], ts);
}

static bool is_dead(struct twzdb *db, const struct sh_listener *l)
{
	uint64_t claim = ld64_acq(&l->claim), inc = ld64_acq(&l->inc);

	return claim && !(claim == (uint64_t)db->proc + 1 && inc == db->inc) &&
	       !twz_proc_alive(db->s, (uint32_t)claim - 1, inc);
}

/* Guarded. */
static void let_go(struct twzdb__shared *sh, struct sh_listener *l)
{
	st64_rel(&l->claim, 0);
	__atomic_fetch_sub(&sh->listeners, 1, __ATOMIC_SEQ_CST);
}

static void reap(struct twzdb *db, struct sh_listener *l)
{
	if (twzdb__guard(&db->sh->lock))
		return;
	if (is_dead(db, l))
		let_go(db->sh, l);
	pthread_mutex_unlock(&db->sh->lock.mutex);
}

void twzdb__listen_wake(struct twzdb *db)
{
	struct twzdb__shared *sh = db->sh;
	uint64_t v;

	/* What was published comes before the look at who is asleep. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	v = twzdb__seen_ts(sh);
	for (uint32_t i = 0; i < in_use(sh); i++) {
		struct sh_listener *l = &sh->listener[i];

		if (!ld64_acq(&l->claim) || !ld32(&l->asleep) || !concerns(l, v) ||
		    __atomic_exchange_n(&l->word, 1, __ATOMIC_SEQ_CST))
			continue;
		/* Nobody there: it is just about to sleep, and then will not; or it was killed. */
		if (!syscall(SYS_futex, &l->word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0) &&
		    is_dead(db, l))
			reap(db, l);
	}
}

/* --- listeners --- */

/* The last commit that may be on its way, and was not told to who has just come. */
static uint64_t on_the_way(struct twzdb *db)
{
	uint64_t applied = 0, submitted = 0;

	if (db->log)
		twz_log_pending(db->log, &applied, &submitted);
	return twzdb__seen_ts(db->sh) + submitted - applied + 1;
}

static bool claim(struct twzdb *db, uint64_t table, struct sh_listener **out)
{
	struct twzdb__shared *sh = db->sh;
	struct sh_listener *l = NULL;

	for (uint32_t i = 0; i < TWZDB_LISTENERS && !l; i++)
		if (!ld64_acq(&sh->listener[i].claim))
			l = &sh->listener[i];
	if (!l)
		return false;
	st64(&l->table, table);
	st64(&l->heard, UINT64_MAX); /* until it is known what was before it */
	st64(&l->first, 0);
	st64(&l->last, 0);
	st32(&l->asleep, 0);
	st64_rel(&l->inc, db->inc);
	if (ld64(&sh->listener_hi) <= (uint64_t)(l - sh->listener))
		st64_rel(&sh->listener_hi, (uint64_t)(l - sh->listener) + 1);
	__atomic_store_n(&l->claim, (uint64_t)db->proc + 1, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&sh->listeners, 1, __ATOMIC_SEQ_CST);
	*out = l;
	return true;
}

static int claim_any(struct twzdb *db, uint64_t table, struct sh_listener **out)
{
	for (int pass = 0; pass < 2; pass++) {
		int err = twzdb__guard(&db->sh->lock);
		bool ok = !err && claim(db, table, out);

		if (!err)
			pthread_mutex_unlock(&db->sh->lock.mutex);
		if (err || ok)
			return err;
		for (uint32_t i = 0; i < TWZDB_LISTENERS; i++)
			if (is_dead(db, &db->sh->listener[i]))
				reap(db, &db->sh->listener[i]);
	}
	return twzdb__err(TWZDB_E_FULL, "database '%s': it has %d listeners already", db->name,
			  TWZDB_LISTENERS);
}

/* 0: all tables; else the number its rows carry, + 1. */
static int table_number(struct twzdb *db, const struct twzdb_table *t, uint64_t *number)
{
	*number = 0;
	if (!t)
		return 0;
	if (!t->h)
		return twzdb__err(TWZDB_E_INVAL, "listener: no table");
	*number = (uint64_t)table_tag(TWZDB_TABLE_NO(t->tag ^ db->id[0])) + 1;
	return 0;
}

int twzdb_listener_open(struct twzdb *db, const struct twzdb_table *t, struct twzdb_listener **out)
{
	struct twzdb_listener *ln;
	uint64_t table;
	int err = !db || !out ? TWZDB_E_INVAL : twzdb__enter(db);

	if (!db || !out)
		return twzdb__err(err, "listener: no database, or no place for it");
	*out = NULL;
	if (!err)
		err = table_number(db, t, &table);
	if (err)
		return err;
	ln = calloc(1, sizeof(*ln));
	if (!ln)
		return twzdb__err(-ENOMEM, "listener: no memory");
	ln->db = db;
	if (db->watch)
		ln->own.unsure = UINT64_MAX; /* it is told nothing */
	else
		err = claim_any(db, table, &ln->l);
	if (err) {
		free(ln);
		return err;
	}
	if (ln->l)
		st64(&ln->l->unsure, on_the_way(db));
	st64_rel(&(ln->l ? ln->l : &ln->own)->heard, twzdb__seen_ts(db->sh));
	__atomic_fetch_add(&db->listeners, 1, __ATOMIC_RELAXED);
	*out = ln;
	return 0;
}

void twzdb_listener_close(struct twzdb_listener *ln)
{
	struct twzdb *db = ln ? ln->db : NULL;

	if (!ln)
		return;
	if (!twzdb__enter(db)) { /* else it is the parent's */
		if (ln->l && !twzdb__guard(&db->sh->lock)) {
			let_go(db->sh, ln->l);
			pthread_mutex_unlock(&db->sh->lock.mutex);
		}
		__atomic_fetch_sub(&db->listeners, 1, __ATOMIC_RELAXED);
	}
	free(ln);
}

static void sleep_on(struct twzdb_listener *ln, uint64_t ms)
{
	struct sh_listener *l = ln->l;
	uint64_t most = l ? LOOK_MS : BLIND_MS;
	struct timespec ts;

	ms = ms < most ? ms : most;
	ts = (struct timespec){(time_t)(ms / 1000), (long)(ms % 1000) * 1000000L};
	if (!l) {
		nanosleep(&ts, NULL);
		return;
	}
	__atomic_store_n(&l->word, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&l->asleep, 1, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!concerns(l, twzdb__seen_ts(ln->db->sh)))
		syscall(SYS_futex, &l->word, FUTEX_WAIT, 0, &ts, NULL, 0);
	__atomic_store_n(&l->asleep, 0, __ATOMIC_SEQ_CST);
}

int twzdb_listener_wait(struct twzdb_listener *ln, int timeout_ms, uint64_t *ts)
{
	struct sh_listener *l;
	uint64_t begun = twzdb__now_ms(), spent, v;
	int err;

	if (ts)
		*ts = 0;
	if (!ln)
		return twzdb__err(TWZDB_E_INVAL, "listener: none");
	l = ln->l ? ln->l : &ln->own;
	for (;;) {
		err = twzdb__enter(ln->db);
		if (err)
			return err;
		v = twzdb__seen_ts(ln->db->sh);
		/* Its last commit may have been published by others: whoever takes over tells of it. */
		if (concerns(l, v) || (v > ld64(&l->heard) && twzdb__lock_owner_dead(ln->db)))
			break;
		err = twzdb__writable(ln->db); /* no commit will come */
		if (err)
			return err;
		spent = twzdb__now_ms() - begun;
		if (timeout_ms >= 0 && spent >= (uint64_t)timeout_ms)
			return twzdb__err(TWZDB_E_TIMEOUT, "listener: no commit within %d ms",
					  timeout_ms);
		sleep_on(ln, timeout_ms < 0 ? LOOK_MS : (uint64_t)timeout_ms - spent);
	}
	st64_rel(&l->heard, v);
	if (ts)
		*ts = v;
	return 0;
}
