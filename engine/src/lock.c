/* SPDX-License-Identifier: MIT
 * lock.c -- one writer at a time, across threads and processes, first come first served
 *
 *	FREE --take--> OWNED --drop, nobody waits--> FREE
 *	                 |  `--drop--> OWNED by the oldest live waiter
 *	                 `--owner's process dies--> whoever notices takes over (need_recover)
 *
 * The lock belongs to a ticket, not to a thread: a transaction may move between threads. One word
 * says who owns it: taking a free lock is one compare-and-swap, dropping one that nobody waits for one
 * store. (A locked instruction would wait for the commit's fence, and keep the next
 * transaction's loads waiting.) So the owner may miss a waiter that just came: the waiter therefore
 * looks once more after a barrier on all processors, as the reader slots do (snap.c); where there is none, the owner drops
 * by an exchange.
 *
 * Even the compare-and-swap waits for the fence of the transaction before. So a thread that has been the
 * only writer for a while keeps the lock between its transactions: the owner word goes on saying so
 * (KEPT, and the thread's reader slot), and a word of the slot, `writing`, says whether a transaction runs:
 *
 *	thread:   writing = 1; owner still mine? go on : (writing = 0, queue)      no locked instruction
 *	another:  owner |= REVOKED; barrier on all processors; writing == 0? it is free : wait for the drop
 *
 * Either the barrier comes before the thread's look at the owner, which then sees REVOKED, or after its
 * store, which the other then sees (as in snap.c). Who cannot call membarrier() waits GRACE_MS instead, in
 * which any processor has emptied its store buffer. Only a process with it keeps the lock.
 *
 * Where several write at the same time a barrier on all processors for each of them would cost more than all else.
 * So whoever comes to wait leaves a note (fenced), and while it stands those who take the lock say in the owner word
 * that they drop it by an exchange (FENCED), as those do who waited: then a look at the word is enough. A
 * waiter first looks for a while without sleeping, and is woken only if it does sleep.
 *
 * Who has to leave, and cannot have the guard because somebody is stopped with it, does without: dropping the lock is one store,
 * and waiters look by themselves; but a waiter that gives up may be handed the lock by him who goes on. So it leaves a note in its slot
 * (`gone`), and whoever has the guard next takes the lock from it (drop_gone()).
 *
 * A robust mutex guards the queue and is never held across anything slow; the words are written
 * so that a process may die between any two stores: an owner that is not alive, whatever else is
 * written, means need_recover.
 */
#include "group.h"
#include "hold.h"

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SPINS	 300 /* tries of the guard */
#define SPIN_US	 150
#define BRIEF_US 1000
#define LOOK_MS	 50 /* how often a waiter looks whether the owner died */

int twzdb__lock_init(struct sh_lock *l)
{
	pthread_mutexattr_t attr;
	int err = pthread_mutexattr_init(&attr);

	if (err)
		return -err;
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	err = pthread_mutex_init(&l->mutex, &attr);
	pthread_mutexattr_destroy(&attr);
	l->next_ticket = 1;
	return -err;
}

static uint32_t many_cpus; /* or nobody can do anything while we look */

static inline void relax(void)
{
#if defined(__x86_64__)
	__asm__ volatile("pause");
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* It is held for a few stores: sleeping and waking would take longer than that. */
int twzdb__guard(struct sh_lock *l)
{
	int err = EBUSY;

	for (int i = 0; i < SPINS && err == EBUSY; i++) {
		err = pthread_mutex_trylock(&l->mutex);
		if (err == EBUSY)
			relax();
	}
	if (likely(!err))
		return 0;
	if (err == EOWNERDEAD)
		err = -pthread_mutex_consistent(&l->mutex);
	else
		err = twz_shared_lock(&l->mutex, "database", "its list of writers and readers");
	return err ? twzdb__from_twz(err, "writer lock") : 0;
}

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static uint64_t now_ms(void)
{
	return now_us() / 1000;
}

static void futex_wait(uint32_t *word, int ms)
{
	struct timespec ts = {ms / 1000, (ms % 1000) * 1000000L};

	syscall(SYS_futex, word, FUTEX_WAIT, 0, &ts, NULL, 0);
}

/* The lock is W's: after that was stored. */
static void wake(struct sh_waiter *w)
{
	__atomic_store_n(&w->word, 1, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&w->asleep, __ATOMIC_SEQ_CST))
		syscall(SYS_futex, &w->word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static bool alive(struct twzdb *db, uint32_t proc, uint64_t inc)
{
	return (proc == db->proc && inc == db->inc) || twz_proc_alive(db->s, proc, inc);
}

#define FAST_TICKET ((uint64_t)1 << 63) /* of whoever found the lock free: one at a time */
#define REVOKED	    ((uint64_t)1 << 61) /* in the owner word: a kept lock that somebody wants */
#define FENCED	    ((uint64_t)1 << 60) /* its owner drops it by an exchange */
#define FENCED_FOR  256			/* times it is taken after somebody had to wait */
#define GRACE_MS    200
#define KEEP_AFTER  16 /* transactions of one thread in a row, after which it keeps the lock ... */
#define KEEP_MAX                                                                                   \
	4096 /* ... four times as many after each time it had to give it back, up to this */

static uint64_t ticket_of(const struct twzdb *db, uint64_t number)
{
	return FENCED | number << 8 | db->proc;
}

static bool owner_alive(struct twzdb *db, uint64_t owner)
{
	uint32_t proc = owner & 0xff;

	return alive(db, proc, ld64(&db->sh->lock.inc[proc]));
}

static bool swap_owner(struct sh_lock *l, uint64_t from, uint64_t to)
{
	return __atomic_compare_exchange_n(&l->owner, &from, to, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_RELAXED);
}

/* Guarded. A dead owner is none, but leaves work behind: who finds the lock free must see that. */
static void reap_owner(struct twzdb *db, struct sh_lock *l)
{
	uint64_t owner = ld64_acq(&l->owner);

	if (!owner || owner_alive(db, owner))
		return;
	__atomic_store_n(&l->need_recover, 1, __ATOMIC_SEQ_CST);
	swap_owner(l, owner, 0);
}

/* Guarded. Waiters that have left without the guard: what they were handed meanwhile is nobody's. */
static void drop_gone(struct twzdb *db, struct sh_lock *l)
{
	struct sh_waiter *w = db->sh->waiter;

	if (likely(!__atomic_load_n(&l->gone, __ATOMIC_ACQUIRE)))
		return;
	for (unsigned i = 0; i < TWZDB_WAITERS; i++) {
		if (!w[i].ticket || !__atomic_load_n(&w[i].gone, __ATOMIC_ACQUIRE))
			continue;
		swap_owner(l, w[i].ticket, 0);
		w[i].ticket = 0;
		st32(&w[i].gone, 0);
		__atomic_fetch_sub(&l->waiters, 1, __ATOMIC_RELAXED);
		__atomic_fetch_sub(&l->gone, 1, __ATOMIC_RELAXED);
	}
}

/* Not guarded, and it cannot be. */
static void leave(struct twzdb *db, struct sh_waiter *w)
{
	__atomic_fetch_add(
		&db->sh->lock.gone, 1,
		__ATOMIC_SEQ_CST); /* first: who dies here costs others a look, no more */
	__atomic_store_n(&w->gone, 1, __ATOMIC_SEQ_CST);
}

/* Guarded. Oldest waiter whose process lives; slots of dead ones are emptied. */
static struct sh_waiter *oldest_waiter(struct twzdb *db)
{
	struct sh_waiter *w = db->sh->waiter, *best = NULL;

	for (unsigned i = 0; i < TWZDB_WAITERS && db->sh->lock.waiters; i++) {
		if (!w[i].ticket || ld32(&w[i].gone) || (best && best->ticket < w[i].ticket))
			continue;
		if (alive(db, w[i].proc, w[i].inc)) {
			best = &w[i];
			continue;
		}
		w[i].ticket = 0;
		__atomic_fetch_sub(&db->sh->lock.waiters, 1, __ATOMIC_RELAXED);
	}
	return best;
}

static struct sh_reader *keeper(struct twzdb *db, uint64_t owner)
{
	return &db->sh->reader[(owner >> 8 & 0xffff) % TWZDB_READERS];
}

/*
 * Guarded. A lock that is kept, but not used, is free; one that is used will be dropped, for its owner
 * looks at the word.
 */
static void take_back(struct twzdb *db, struct sh_lock *l)
{
	uint64_t owner = ld64_acq(&l->owner);

	if (!(owner & TWZDB__LOCK_KEPT))
		return;
	if (!(owner & REVOKED)) {
		if (!swap_owner(l, owner, owner | REVOKED))
			return;
		owner |= REVOKED;
		st64(&l->revoked_ms, now_ms());
	}
	if (db->plain ? !twzdb__barrier() : now_ms() - ld64(&l->revoked_ms) < GRACE_MS)
		return;
	if (!__atomic_load_n(&keeper(db, owner)->writing, __ATOMIC_SEQ_CST))
		swap_owner(l, owner, 0);
}

/* It was kept, and somebody wants it. */
void twzdb__lock_unkeep(struct twzdb *db, uint64_t token)
{
	struct sh_lock *l = &db->sh->lock;
	struct sh_waiter *next;

	db->keep.cnt = 0;
	db->keep.after = db->keep.after < KEEP_MAX ? db->keep.after * 4 : KEEP_MAX;
	if (twzdb__guard(l)) {
		if (!swap_owner(l, token, 0))
			swap_owner(l, token | REVOKED, 0);
		return;
	}
	next = oldest_waiter(db);
	/* Whoever revoked it may have found it free already. */
	if (!swap_owner(l, token, next ? next->ticket : 0) &&
	    !swap_owner(l, token | REVOKED, next ? next->ticket : 0))
		next = NULL;
	pthread_mutex_unlock(&l->mutex);
	if (next)
		wake(next);
}

/* This opening ends: it keeps nothing. */
void twzdb__lock_leave(struct twzdb *db)
{
	uint64_t owner = ld64_acq(&db->sh->lock.owner);

	/* The process may have the database open twice. */
	if (owner & TWZDB__LOCK_KEPT && (owner & 0xff) == db->proc &&
	    ld64(&keeper(db, owner)->opening) == db->serial)
		twzdb__lock_unkeep(db, owner & ~REVOKED);
}

int twzdb__lock_join(struct twzdb *db)
{
	struct sh_lock *l = &db->sh->lock;
	int err = twzdb__guard(l);

	db->keep.after = KEEP_AFTER;
	st32(&many_cpus, sysconf(_SC_NPROCESSORS_ONLN) > 1);
	if (err)
		return err;
	/* A process that had our number is dead, and if it owned the lock it does so no more. */
	if (l->inc[db->proc] != db->inc) {
		uint64_t owner = ld64_acq(&l->owner);

		if (owner && (owner & 0xff) == db->proc) {
			__atomic_store_n(&l->need_recover, 1, __ATOMIC_SEQ_CST);
			swap_owner(l, owner, 0);
		}
		st64_rel(&l->inc[db->proc], db->inc);
	}
	pthread_mutex_unlock(&l->mutex);
	return 0;
}

static struct sh_waiter *enqueue(struct twzdb *db, uint64_t ticket)
{
	struct sh_waiter *w = db->sh->waiter;
	unsigned i = 0;

	for (int pass = 0; pass < 2; pass++) {
		for (i = 0; i < TWZDB_WAITERS; i++)
			if (!w[i].ticket)
				break;
		if (i < TWZDB_WAITERS)
			break;
		oldest_waiter(db); /* empties dead ones' slots */
	}
	if (i == TWZDB_WAITERS)
		return NULL;
	w[i].proc = db->proc;
	w[i].inc = db->inc;
	st32(&w[i].word, 0); /* somebody who meant its last owner may still be waking it */
	st32(&w[i].asleep, 0);
	st32(&db->sh->lock.fenced, FENCED_FOR);
	__atomic_fetch_add(&db->sh->lock.waiters, 1, __ATOMIC_SEQ_CST);
	w[i].ticket = ticket;
	return &w[i];
}

static void dequeue(struct twzdb *db, struct sh_waiter *w)
{
	w->ticket = 0;
	__atomic_fetch_sub(&db->sh->lock.waiters, 1, __ATOMIC_RELAXED);
}

/* Look once: 1 = ours now, 0 = not yet, or an error. */
static int look(struct twzdb *db, struct sh_waiter *w, uint64_t ticket)
{
	struct sh_lock *l = &db->sh->lock;
	int ret = twzdb__guard(l);

	if (ret) {
		leave(db, w);
		return ret;
	}
	drop_gone(db, l);
	reap_owner(db, l);
	take_back(db, l);
	if (!ld64_acq(&l->owner) && oldest_waiter(db) == w)
		swap_owner(l, 0, ticket);
	ret = ld64_acq(&l->owner) == ticket;
	__atomic_store_n(&w->word, 0, __ATOMIC_RELAXED);
	if (ret)
		dequeue(db, w);
	pthread_mutex_unlock(&l->mutex);
	return ret;
}

/* Leave the queue, unless the lock was handed to us meanwhile: then it is ours after all. */
static int give_up(struct twzdb *db, struct sh_waiter *w, uint64_t ticket)
{
	struct sh_lock *l = &db->sh->lock;
	int ret = twzdb__guard(l);

	if (ret) {
		leave(db, w);
		return ret;
	}
	ret = ld64_acq(&l->owner) == ticket;
	dequeue(db, w);
	pthread_mutex_unlock(&l->mutex);
	return ret ? 0
		   : twzdb__err(TWZDB_E_TIMEOUT,
				"database '%s': the writer lock was not free in time", db->name);
}

/*
 * Is it handed over soon? Waking somebody may take a tenth of a millisecond, in which the one who dropped the lock
 * comes back, and would sleep too if it looked for less long than that: then every transaction would cost a wake.
 */
static bool spin(const struct sh_lock *l, uint64_t ticket)
{
	uint64_t end;

	if (!ld32(&many_cpus))
		return false;
	end = now_us() + SPIN_US;
	do {
		for (int i = 0; i < 16; i++) {
			if (ld64_acq(&l->owner) == ticket)
				return true;
			relax();
		}
	} while (now_us() < end);
	return false;
}

static void doze(struct sh_lock *l, struct sh_waiter *w, uint64_t ticket, int ms)
{
	__atomic_store_n(&w->asleep, 1, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (ld64_acq(&l->owner) != ticket)
		futex_wait(&w->word, ms);
	__atomic_store_n(&w->asleep, 0, __ATOMIC_RELAXED);
}

static int wait_turn(struct twzdb *db, struct sh_waiter *w, uint64_t ticket, int timeout_ms)
{
	struct sh_lock *l = &db->sh->lock;
	uint64_t end = now_ms() + (timeout_ms > 0 ? (uint64_t)timeout_ms : 0);

	/*
	 * Whoever drops the lock from here on by an exchange sees that we wait; who does so by a store, only
	 * behind the barrier. (The fence: that we wait is known before we look.)
	 */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	for (bool first = true;; first = false) {
		int ms = LOOK_MS, ret = look(db, w, ticket);
		uint64_t now;

		if (!ret && first && !(ld64_acq(&l->owner) & FENCED) && db->plain &&
		    twzdb__barrier())
			ret = look(db, w, ticket);
		if (!ret && first && spin(l, ticket))
			continue;
		if (ret)
			return ret < 0 ? ret : 0;
		now = now_ms();
		if (timeout_ms >= 0 && now >= end)
			return give_up(db, w, ticket);
		if (timeout_ms >= 0 && end - now < LOOK_MS)
			ms = (int)(end - now);
		doze(l, w, ticket, ms);
	}
}

static int acquire_slow(struct twzdb *db, int timeout_ms, uint64_t *token)
{
	struct sh_lock *l = &db->sh->lock;
	struct sh_waiter *w = NULL;
	bool mine;
	int ret = twzdb__guard(l);

	if (ret)
		return ret;
	*token = ticket_of(db, l->next_ticket++);
	drop_gone(db, l);
	reap_owner(db, l);
	take_back(db, l);
	mine = !(ld32(&l->waiters) && oldest_waiter(db)) && swap_owner(l, 0, *token);
	if (!mine && timeout_ms)
		w = enqueue(db, *token);
	pthread_mutex_unlock(&l->mutex);
	if (mine)
		return 0;
	if (!timeout_ms)
		return twzdb__err(TWZDB_E_BUSY, "database '%s': another writer is active",
				  db->name);
	if (!w)
		return twzdb__err(TWZDB_E_FULL, "database '%s': %d writers wait already", db->name,
				  TWZDB_WAITERS);
	twzdb__stat_add(&db->sh->stats.writer_waits, 1);
	return wait_turn(db, w, *token, timeout_ms);
}

/*
 * On page media a commit waits for the medium without the lock, which is held for microseconds, while being woken takes fifty
 * of them: a queue, once there is one, would be as slow as its wakes. So nobody queues before a while has passed; as long as
 * nobody does, whoever comes first when it is free has it.
 */
static bool acquire_soon(struct sh_lock *l, uint64_t token)
{
	uint64_t end = now_us() + BRIEF_US;

	do {
		if (!ld64(&l->owner) && !ld32(&l->waiters) && swap_owner(l, 0, token))
			return true;
		sched_yield();
	} while (!ld32(&l->waiters) && now_us() < end);
	return false;
}

static int acquire(struct twzdb *db, int timeout_ms, uint64_t *token)
{
	struct sh_lock *l = &db->sh->lock;
	uint32_t fenced = ld32(&l->fenced);

	*token = FAST_TICKET | db->proc | (unlikely(fenced) ? FENCED : 0);
	if (likely(!ld64(&l->owner) && !ld32(&l->waiters) && swap_owner(l, 0, *token))) {
		if (unlikely(fenced))
			st32(&l->fenced, fenced - 1);
		return 0;
	}
	if (db->page_media && timeout_ms) {
		*token = FAST_TICKET | FENCED | db->proc;
		if (!(ld64(&l->owner) & TWZDB__LOCK_KEPT) && acquire_soon(l, *token))
			return 0;
	}
	return acquire_slow(db, timeout_ms, token);
}

int twzdb__recover(struct twzdb *db)
{
	struct twzdb__shared *sh = db->sh;
	bool restart = db->restart;
	int err;

	/*
	 * After a takeover the hints count reservations nobody holds any more; before one they
	 * may be half-written.
	 */
	twzdb__hints_forget(db);
	db->recovering = true;
	db->refused = false;
	if (restart)
		st64_rel(&sh->ready, 0);
	twzdb__apply_begin(sh);
	err = twz_log_recover(db->log, restart);
	if (!err)
		twzdb__apply_end(sh);
	db->recovering = false;
	if (err) {
		if (err == TWZ_E_FAILED)
			st64_rel(&sh->failed, 1);
		if (db->refused)
			return TWZDB_E_CORRUPT;
		return twzdb__from_twz(err, restart ? "recovering the database"
						    : "finishing a dead writer's commit");
	}
	db->restart = false; /* done, whatever follows */
	if (db->root->ts > TWZDB_TS_MAX)
		return twzdb__corrupt(db, DB_PTR(offsetof(struct db_pm, ts)),
				      "number of the last commit");
	/* Every valid record has been applied: what the home says is the latest commit. And the log is empty. */
	twzdb__hold_empty(db);
	twzdb__listen_tell_all(db, db->root->ts);
	if (!ld64_acq(&sh->ready) || db->root->ts > sh->ts)
		__atomic_store_n(&sh->ts, db->root->ts, __ATOMIC_SEQ_CST);
	/* Nobody writes before it is decided; by whom, and how, is not looked for with the lock in hand (doubt.c). */
	if (db->root->prepared.len && !ld64(&sh->failed))
		st64_rel(&sh->failed, TWZDB__IN_DOUBT);
	twzdb__listen_news(db);
	st64_rel(&sh->ready, 1);
	if (!restart)
		twzdb__stat_add(&sh->stats.takeovers, 1);
	return 0;
}

int twzdb__lock_take(struct twzdb *db, struct sh_reader *rd, int timeout_ms, uint64_t *token)
{
	int err;

	if (likely(rd && twzdb__lock_resume(db, rd, token)))
		return 0;
	err = acquire(db, timeout_ms, token);

	if (err || likely(!ld32(&db->sh->lock.need_recover)))
		return err;
	err = twzdb__recover(db);
	if (!err) {
		__atomic_store_n(&db->sh->lock.need_recover, 0, __ATOMIC_RELEASE);
		return 0;
	}
	twzdb__lock_drop(db, NULL, *token); /* the next one tries again */
	*token = 0;
	return err;
}

/* Guarded by nothing but ownership: is the lock still ours to give? */
static void wake_next(struct twzdb *db)
{
	struct sh_lock *l = &db->sh->lock;
	struct sh_waiter *next;

	if (twzdb__guard(l))
		return;
	take_back(db, l);
	next = oldest_waiter(db);
	if (next && !swap_owner(l, 0, next->ticket))
		next = NULL;
	pthread_mutex_unlock(&l->mutex);
	if (next)
		wake(next);
}

/* What the owner word says from now on: TOKEN is going to be dropped by the thread with slot RD, nobody waits. */
static uint64_t keep(struct twzdb *db, const struct sh_reader *rd)
{
	uint64_t slot = rd ? (uint64_t)(rd - db->sh->reader) : 0;

	if (!rd || db->keep.slot != slot || ld32(&db->sh->lock.need_recover)) {
		db->keep.slot = slot;
		db->keep.cnt = 0;
		return 0;
	}
	if (++db->keep.cnt < db->keep.after)
		return 0;
	return twzdb__lock_kept(db, rd);
}

void twzdb__lock_drop(struct twzdb *db, const struct sh_reader *rd, uint64_t token)
{
	struct sh_lock *l = &db->sh->lock;
	struct sh_waiter *next;

	if (token & TWZDB__LOCK_KEPT) {
		twzdb__lock_rest(db, token);
		return;
	}
	if (likely(!ld32(&l->waiters))) {
		if (ld64(&l->owner) != token)
			return;
		if (likely(db->plain && !(token & FENCED)))
			st64_rel(&l->owner, keep(db, rd));
		else
			__atomic_exchange_n(&l->owner, 0, __ATOMIC_SEQ_CST);
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
		if (unlikely(__atomic_load_n(&l->waiters, __ATOMIC_SEQ_CST)))
			wake_next(db);
		return;
	}
	if (twzdb__guard(l)) {
		swap_owner(l, token, 0);
		return;
	}
	next = oldest_waiter(db);
	if (ld64(&l->owner) == token)
		st64_rel(&l->owner, next ? next->ticket : 0);
	else
		next = NULL;
	pthread_mutex_unlock(&l->mutex);
	if (next)
		wake(next);
}

/* Has the lock a live owner, who has finished what those before it left behind? */
bool twzdb__lock_settled(struct twzdb *db)
{
	struct sh_lock *l = &db->sh->lock;
	uint64_t owner;
	bool yes;

	if (twzdb__guard(l))
		return false;
	owner = ld64_acq(&l->owner);
	yes = owner && owner_alive(db, owner) && !l->need_recover;
	pthread_mutex_unlock(&l->mutex);
	return yes;
}

bool twzdb__lock_owner_dead(struct twzdb *db)
{
	struct sh_lock *l = &db->sh->lock;
	bool dead;

	if (twzdb__guard(l))
		return false;
	reap_owner(db, l);
	dead = l->need_recover && !ld64_acq(&l->owner);
	pthread_mutex_unlock(&l->mutex);
	return dead;
}
