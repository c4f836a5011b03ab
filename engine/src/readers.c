/* SPDX-License-Identifier: MIT
 * readers.c -- who reads, how long already, and how far behind; a word to the program about those who lag
 *
 * A reader stores its snapshot and nothing else: a look at the clock would cost more than the rest of beginning. So what is known of time
 * is known of commits: `sh->past` says which was the newest one at some moments of the past, a tenth of a second apart at least, or five, or
 * three hundred. A snapshot has been out of date at least since the first moment at which there was a newer one. Moments are
 * noted by writers where they look at a clock anyway, or at much else, and by who asks for readers.
 */
#include "internal.h"

#include <time.h>

#define LAG_EACH_MS 1000 /* the program hears of lagging readers so often at most */

uint64_t twzdb__now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void note(struct sh_past *p, uint64_t now, uint64_t step, uint64_t commit)
{
	uint64_t due = ld64(&p->due), i;

	/* One of those who come at the same time. */
	if (now < due || !__atomic_compare_exchange_n(&p->due, &due, now + step, false,
						      __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return;
	i = p->cnt % TWZDB_PAST;
	st64(&p->at[i].ts, 0);
	st64_rel(&p->at[i].ms, now);
	st64_rel(&p->at[i].ts, commit);
	st64_rel(&p->cnt, p->cnt + 1);
}

void twzdb__past_note(struct twzdb *db)
{
	uint64_t now = twzdb__now_ms(), commit = ld64_acq(&db->sh->ts);

	note(&db->sh->past[0], now, 100, commit);
	note(&db->sh->past[1], now, 5000, commit);
	note(&db->sh->past[2], now, 300000, commit);
}

/* For how long has there been a commit after SNAP, at least? */
static uint64_t age(const struct twzdb *db, uint64_t snap)
{
	uint64_t now = twzdb__now_ms(), first = now;

	for (int level = 0; level < TWZDB_PAST_KINDS; level++) {
		const struct sh_past *p = &db->sh->past[level];

		for (uint32_t i = 0; i < TWZDB_PAST; i++) {
			uint64_t ts = ld64_acq(&p->at[i].ts), ms = ld64_acq(&p->at[i].ms);

			if (ts > snap && ms < first)
				first = ms;
		}
	}
	return now - first;
}

static int reader_of(struct twzdb *db, const struct sh_reader *r, struct twzdb_reader *out)
{
	uint64_t claim = ld64_acq(&r->claim), inc = ld64_acq(&r->inc), snap = ld64_acq(&r->snap),
		 now = ld64_acq(&db->sh->ts);

	*out = (struct twzdb_reader){.size = sizeof(*out)};
	if (!claim || snap == TWZDB_NO_SNAP)
		return 0;
	out->pid = twz_proc_pid(db->s, (uint32_t)claim - 1, inc);
	out->ts = snap;
	out->lag = now > snap ? now - snap : 0;
	out->age_ms = out->lag ? age(db, snap) : 0;
	/* Dead, or somebody else's by now. */
	return out->pid && ld64_acq(&r->claim) == claim && ld64_acq(&r->inc) == inc &&
	       (claim - 1 == db->proc || twz_proc_alive(db->s, (uint32_t)claim - 1, inc));
}

/* Those that store nothing: the oldest of them all. */
static bool watcher_of(struct twzdb *db, struct twzdb_reader *out)
{
	uint64_t now = ld64_acq(&db->sh->ts), least = twzdb__watch_least(db, now);

	*out = (struct twzdb_reader){.size = sizeof(*out), .ts = least, .lag = now - least};
	out->age_ms = age(db, least);
	return least < now;
}

int twzdb_readers(struct twzdb *db, int (*fn)(void *ctx, const struct twzdb_reader *r), void *ctx)
{
	int err = !db || !fn ? TWZDB_E_INVAL : twzdb__enter(db), ret = 0;
	struct twzdb_reader r;

	if (!db || !fn)
		return twzdb__err(err, "readers: no database, or nobody to be told");
	if (!err && db->watch)
		err = twzdb__err(TWZDB_E_READONLY,
				 "readers: who may not write the store does not learn of others");
	if (err)
		return err;
	twzdb__past_note(db);
	for (uint64_t i = 0; i < ld64(&db->sh->reader_hi) && i < TWZDB_READERS && !ret; i++)
		if (reader_of(db, &db->sh->reader[i], &r))
			ret = fn(ctx, &r);
	if (!ret && watcher_of(db, &r))
		ret = fn(ctx, &r);
	return ret;
}

/* --- those who lag --- */

int twzdb_on_lag(struct twzdb *db, uint64_t lag, uint64_t age_ms,
		 void (*fn)(void *ctx, const struct twzdb_reader *r), void *ctx)
{
	int err = !db ? TWZDB_E_INVAL : twzdb__enter(db);

	if (!db)
		return twzdb__err(err, "on_lag: no database");
	if (err)
		return err;
	pthread_mutex_lock(&db->mutex);
	db->lag.lag = lag;
	db->lag.age_ms = age_ms;
	db->lag.ctx = ctx;
	__atomic_store_n(&db->lag.fn, fn, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&db->mutex);
	return 0;
}

/* The writer, by a scan that found MIN. */
void twzdb__lag_look(struct twzdb *db, const struct sh_reader *own, uint64_t min)
{
	uint64_t now = twzdb__now_ms(), ts = ld64_acq(&db->sh->ts);
	struct twzdb_reader r;

	if (ts - min < db->lag.lag || now < db->lag.due_ms)
		return;
	db->lag.due_ms = now + LAG_EACH_MS;
	for (uint64_t i = 0; i < ld64(&db->sh->reader_hi) && i < TWZDB_READERS; i++)
		if (&db->sh->reader[i] != own && reader_of(db, &db->sh->reader[i], &r) &&
		    r.lag >= db->lag.lag && r.age_ms >= db->lag.age_ms)
			db->lag.fn(db->lag.ctx, &r);
}
