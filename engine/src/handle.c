/* SPDX-License-Identifier: MIT
 * handle.c -- transaction handles and the reader slots they use, kept from one transaction to the next
 *
 * A transaction that makes one read must cost little more than the read: no lock, no allocation.
 * So each thread keeps one reader slot, and the handles it ended:
 *
 *	thread's queue, thread's slot --new--> transaction --end--> thread's queue, thread's slot
 *	            ^                                                   |
 *	            `--- pool of the process, slots of the database <---'  what a thread has too much
 *
 * A handle that has ended is used again only when RESTING others have ended after it in its
 * thread, and its memory is never given back. So whoever uses it once more, by mistake, meets a
 * word that says so instead of somebody else's data; a cursor compares the handle's serial number.
 */
#include "handle.h"

#define RESTING 8 /* handles a thread lets rest; twice as many, and some go to the pool */

__thread struct twzdb__mine twzdb__mine;
#define mine twzdb__mine

static struct twzdb__queue pool; /* under pool_mutex */
static struct twzdb_txn *every;
static struct twzdb *open_list;
static uint64_t last_opening;
/* Before a db->mutex. */
static pthread_mutex_t pool_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_key_t key;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static bool have_key;

static void push(struct twzdb__queue *q, struct twzdb_txn *tx)
{
	tx->next = NULL;
	if (q->cnt++)
		q->last->next = tx;
	else
		q->first = tx;
	q->last = tx;
}

static struct twzdb_txn *pop(struct twzdb__queue *q)
{
	struct twzdb_txn *tx = q->first;

	q->first = tx->next;
	q->cnt--;
	return tx;
}

/* --- slots --- */

/* To the database: db->mutex is held. */
static void slot_back(struct twzdb *db, struct sh_reader *rd)
{
	if (unlikely(db->watch))
		rd->claim = 0;
	else if (db->slot_cnt < TWZDB_SLOTS_KEPT)
		db->slots[db->slot_cnt++] = (uint16_t)(rd - db->sh->reader);
	else
		twzdb__snap_release(rd);
}

/* pool_mutex is held. */
static struct twzdb *find_open(uint64_t opening)
{
	struct twzdb *db = open_list;

	while (db && db->serial != opening)
		db = db->next_open;
	return db;
}

static void thread_end(void *unused)
{
	struct twzdb *db;

	(void)unused;
	pthread_mutex_lock(&pool_mutex);
	db = mine.rd ? find_open(mine.opening) : NULL;
	if (db) {
		pthread_mutex_lock(&db->mutex);
		slot_back(db, mine.rd);
		pthread_mutex_unlock(&db->mutex);
	}
	while (mine.q.cnt)
		push(&pool, pop(&mine.q));
	pthread_mutex_unlock(&pool_mutex);
	memset(&mine, 0, sizeof(mine));
}

static void key_make(void)
{
	have_key = !pthread_key_create(&key, thread_end);
}

__attribute__((destructor)) static void key_drop(void)
{
	if (have_key)
		pthread_key_delete(key);
}

/* Without a destructor at the thread's end its slot would stay taken: then it keeps nothing. */
static bool arm(void)
{
	if (likely(mine.armed))
		return true;
	pthread_once(&key_once, key_make);
	mine.armed = have_key && !pthread_setspecific(key, &key);
	return mine.armed;
}

static int slot_get(struct twzdb *db, struct sh_reader **rd)
{
	int err = 0;

	if (likely(mine.rd && mine.opening == db->serial)) {
		*rd = mine.rd;
		mine.rd = NULL;
		return 0;
	}
	pthread_mutex_lock(&db->mutex);
	if (db->slot_cnt)
		*rd = &db->sh->reader[db->slots[--db->slot_cnt]];
	else
		err = twzdb__snap_claim(db, rd);
	pthread_mutex_unlock(&db->mutex);
	return err;
}

static bool is_open(uint64_t opening)
{
	bool ret;

	pthread_mutex_lock(&pool_mutex);
	ret = find_open(opening);
	pthread_mutex_unlock(&pool_mutex);
	return ret;
}

static void slot_put(struct twzdb *db, struct sh_reader *rd)
{
	/* What this thread keeps of a database closed since went with it. */
	if (unlikely(mine.rd && mine.opening != db->serial && !is_open(mine.opening)))
		mine.rd = NULL;
	if (likely(!mine.rd && arm())) {
		mine.rd = rd;
		mine.opening = db->serial;
		return;
	}
	pthread_mutex_lock(&db->mutex);
	slot_back(db, rd);
	pthread_mutex_unlock(&db->mutex);
}

/* --- handles --- */

static struct twzdb_txn *handle_make(void)
{
	struct twzdb_txn *tx = calloc(1, sizeof(*tx));

	if (!tx)
		return NULL;
	tx->each = __atomic_load_n(&every, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&every, &tx->each, tx, true, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED))
		;
	return tx;
}

static struct twzdb_txn *handle_more(void)
{
	struct twzdb_txn *tx = NULL;

	pthread_mutex_lock(&pool_mutex);
	if (pool.cnt > RESTING)
		tx = pop(&pool);
	pthread_mutex_unlock(&pool_mutex);
	return tx ? tx : handle_make();
}

static void handle_put(struct twzdb_txn *tx)
{
	if (likely(mine.q.cnt < 2 * RESTING && arm())) {
		push(&mine.q, tx);
		return;
	}
	pthread_mutex_lock(&pool_mutex);
	push(&pool, tx);
	while (mine.q.cnt > RESTING)
		push(&pool, pop(&mine.q));
	pthread_mutex_unlock(&pool_mutex);
}

int twzdb__txn_new(struct twzdb *db, struct twzdb_txn **out)
{
	struct twzdb_txn *tx = likely(mine.q.cnt > RESTING) ? pop(&mine.q) : handle_more();
	int err;

	if (!tx)
		return twzdb__err(-ENOMEM, "begin: no memory");
	err = slot_get(db, &tx->rd);
	if (err) {
		handle_put(tx);
		return err;
	}
	tx->rd->busy = 1;
	tx->db = db;
	if (unlikely(tx->opening != db->serial))
		tx->use.h = 0;
	st64(&tx->magic, TWZDB__TXN_MAGIC);
	*out = tx;
	return 0;
}

void twzdb__txn_end(struct twzdb_txn *tx)
{
	struct sh_reader *rd = tx->rd;

	tx->rd = NULL;
	tx->quick = 0;
	tx->cursors = NULL;
	tx->serial++;
	st64(&tx->magic, TWZDB__TXN_OVER);
	twzdb__snap_clear(rd);
	rd->busy = 0;
	slot_put(tx->db, rd);
	handle_put(tx);
}

/* --- a snapshot after the other --- */

static inline bool is_in(const struct twzdb_txn *tx, uint64_t magic)
{
	return likely(tx && ld64(&tx->magic) == magic);
}

static inline int renew(struct twzdb_txn *tx)
{
	int err;

	if (unlikely(tx->view))
		twzdb__view_drop(tx);
	err = twzdb__snap_take(tx);
	tx->mods++;
	twzdb__use_renew(tx);
	return err;
}

__attribute__((noinline)) static int renew_any(struct twzdb_txn *tx)
{
	int err = twzdb__txn_enter(tx, "renew");

	if (!err && tx->writer)
		err = twzdb__err(TWZDB_E_STATE, "renew: is a writer");
	if (err)
		return err;
	twzdb__cursors_keep(tx);
	return renew(tx);
}

/* It has no pin to fall back to. */
__attribute__((noinline)) static int renew_watch(struct twzdb_txn *tx)
{
	uint64_t ts;
	int err = twzdb__watch_set(tx->db, tx->rd, &ts);

	if (err)
		return err;
	st64(&tx->magic, TWZDB__TXN_MAGIC);
	tx->snap = tx->read_ts = ts;
	tx->mods++;
	twzdb__use_renew(tx);
	return 0;
}

int twzdb_renew(struct twzdb_txn *tx)
{
	uint64_t ts;

	if (unlikely(!is_in(tx, TWZDB__TXN_RESET)))
		return renew_any(tx);
	if (unlikely(tx->db->watch))
		return renew_watch(tx);
	/* So it is a reader, and its cursors point nowhere. */
	st64(&tx->magic, TWZDB__TXN_MAGIC);
	ts = twzdb__snap_set(tx->db, tx->rd);
	if (unlikely(ld64_acq(&tx->db->sh->lazy_ts) > ts))
		return renew(tx);
	if (ts ==
	    tx->snap) { /* all is as it was, and what cursors know is true as long as versions say so */
		tx->quick = tx->use_quick;
		return 0;
	}
	tx->snap = ts;
	tx->read_ts = ts;
	tx->mods++;
	twzdb__use_renew(tx);
	return 0;
}

static inline void reset(struct twzdb_txn *tx)
{
	st64(&tx->magic, TWZDB__TXN_RESET);
	tx->quick = 0;
	twzdb__snap_clear(tx->rd);
	if (unlikely(tx->db->watch))
		twzdb__watch_clear(tx->db, tx->rd); /* what it has pinned is its snapshot */
}

__attribute__((noinline)) static int reset_any(struct twzdb_txn *tx)
{
	int err = twzdb__txn_enter(tx, "reset");

	if (!err && tx->writer)
		err = twzdb__err(TWZDB_E_STATE, "reset: is a writer");
	if (err)
		return err;
	twzdb__cursors_keep(tx);
	if (likely(!tx->view))
		tx->use_quick = tx->quick; /* none: renew shall not think otherwise */
	else {
		tx->saw_nr = tx->view->nr; /* its commit, if that comes next, waits for it */
		twzdb__view_drop(tx);
		tx->snap = 0; /* nor that all is as it was */
	}
	reset(tx);
	return 0;
}

int twzdb_reset(struct twzdb_txn *tx)
{
	/* Only a reader that has a snapshot has QUICK. */
	if (unlikely(!tx || !tx->quick))
		return reset_any(tx);
	twzdb__cursors_keep(tx);
	reset(tx);
	return unlikely(twzdb__is_cut(tx->db)) ? twzdb__cut(tx->db) : 0;
}

int twzdb__txn_refuse(const struct twzdb_txn *tx, const char *what)
{
	uint64_t magic = tx ? ld64(&tx->magic) : 0;

	if (!tx)
		return twzdb__err(TWZDB_E_INVAL, "%s: no transaction", what);
	if (magic == TWZDB__TXN_RESET)
		return twzdb__err(TWZDB_E_STATE, "%s: the transaction is reset: renew it first",
				  what);
	if (magic == TWZDB__TXN_FORK)
		return twzdb__forked();
	return twzdb__err(TWZDB_E_STATE, "%s: the transaction has ended", what);
}

int twzdb__txn_denied(const struct twzdb_txn *tx, const char *what)
{
	if (!tx->broken)
		return twzdb__err(TWZDB_E_READONLY, "%s: a read transaction", what);
	return twzdb__err(
		tx->broken,
		"%s: an earlier change of this transaction failed half-way: abort it, or roll back to a savepoint",
		what);
}

/* --- openings --- */

void twzdb__handles_open(struct twzdb *db)
{
	pthread_mutex_lock(&pool_mutex);
	db->serial = ++last_opening;
	db->next_open = open_list;
	open_list = db;
	pthread_mutex_unlock(&pool_mutex);
}

static struct sh_reader *next_own(struct twzdb *db, uint64_t *i)
{
	uint64_t hi = ld64_acq(&db->sh->reader_hi);

	while (*i < hi && *i < TWZDB_READERS) {
		struct sh_reader *r = &db->sh->reader[(*i)++];

		if (ld64_acq(&r->claim) == (uint64_t)db->proc + 1 && ld64(&r->inc) == db->inc &&
		    ld64(&r->opening) == db->serial)
			return r;
	}
	return NULL;
}

uint32_t twzdb__handles_active(struct twzdb *db)
{
	struct sh_reader *r;
	uint32_t cnt = 0;

	if (db->watch)
		return twzdb__watch_active(db);
	for (uint64_t i = 0; (r = next_own(db, &i));)
		cnt += ld64(&r->busy) != 0;
	return cnt;
}

void twzdb__handles_close(struct twzdb *db)
{
	struct sh_reader *r;

	pthread_mutex_lock(&pool_mutex);
	for (struct twzdb **at = &open_list; *at; at = &(*at)->next_open) {
		if (*at == db) {
			*at = db->next_open;
			break;
		}
	}
	pthread_mutex_unlock(&pool_mutex);
	for (uint64_t i = 0; db->serial && !db->watch && (r = next_own(db, &i));)
		twzdb__snap_release(r);
}

void twzdb__handles_forked(void)
{
	pthread_mutex_init(&pool_mutex, NULL);
	/*
	 * So that nobody else need ask whether it is in the child: transactions that were open say
	 * so. Those that had ended can be used for others.
	 */
	for (struct twzdb_txn *tx = every; tx; tx = tx->each) {
		if (tx->magic == TWZDB__TXN_OVER || !tx->magic)
			continue;
		tx->magic = TWZDB__TXN_FORK;
		tx->quick = 0;
	}
	open_list = NULL;
	mine.rd = NULL;
	mine.last.t.h = 0;
	memset(&pool, 0, sizeof(pool)); /* may have been caught half-changed */
}
