/* SPDX-License-Identifier: MIT
 * tx.c -- undo transactions: begin, record, commit, abort (twz/tx.h, TX.md, docs/durability.md D8)
 */
#include "rangeset.h"
#include <unistd.h>

#include "tx_internal.h"
#include "txreg.h"

struct level {
	uint32_t saved;	  /* set of ranges recorded or fresh at this level */
	size_t undo_mark; /* entries of the log that belong to outer levels */
};

struct twz_tx {
	struct twz_store *store;
	struct twz__tx_rt *rt;
	struct twz_tx *next; /* in rt->open */
	struct twz__txlog *log;
	pthread_t thread;
	int failed;	/* a log write failed: the outcome is decided at restart */
	uint32_t freed; /* set: memory released by this transaction */
	struct twz__range_pool pool;
	struct level *levels;
	uint32_t depth, level_cap;
	struct twz_obj **pins; /* objects touched, by base */
	uint32_t pin_cnt, pin_cap;
	struct twz_obj **locks;
	uint32_t lock_cnt, lock_cap;
	struct twz__txrange *batch;
	size_t batch_cnt, batch_cap;
};

/*
 * This thread's open transactions. A store closed by another thread leaves an entry whose rt_id
 * is nobody's any more.
 */
#define TLS_CNT 16
static _Thread_local struct {
	uint64_t rt_id;
	struct twz_tx *tx;
} tls[TLS_CNT];

static int no_memory(struct twz_store *s)
{
	return twz__err(TWZ_E_NOMEM, "%s: no memory for a transaction", s->path);
}

/* Make room for one more element of SIZE bytes in an array of CNT. */
static int array_reserve(struct twz_store *s, void *array, size_t cnt, uint32_t *cap, size_t size)
{
	void **p = array, *q;
	uint32_t n = *cap ? 2 * *cap : 8;

	if (cnt < *cap)
		return 0;
	q = realloc(*p, n * size);
	if (!q)
		return no_memory(s);
	*p = q;
	*cap = n;
	return 0;
}

void twz__tx_fail_store(struct twz_store *s)
{
	__atomic_store_n(&s->core.sh->failed, 1, __ATOMIC_SEQ_CST);
}

static bool is_failed(struct twz_store *s)
{
	return __atomic_load_n(&s->core.sh->failed, __ATOMIC_ACQUIRE);
}

/* --- which transaction is mine --- */

static struct twz_tx *tls_find(const struct twz__tx_rt *rt)
{
	for (int i = 0; i < TLS_CNT; i++)
		if (tls[i].tx && tls[i].rt_id == rt->id)
			return tls[i].tx;
	return NULL;
}

static int tls_add(struct twz_tx *tx)
{
	for (int i = 0; i < TLS_CNT; i++) {
		if (tls[i].tx)
			continue;
		tls[i].tx = tx;
		tls[i].rt_id = tx->rt->id;
		return 0;
	}
	return twz__err(TWZ_E_STATE,
			"%s: this thread has transactions open in %d other stores: end some",
			tx->store->path, TLS_CNT);
}

static void tls_remove(const struct twz_tx *tx)
{
	for (int i = 0; i < TLS_CNT; i++)
		if (tls[i].tx == tx)
			tls[i].tx = NULL;
}

struct twz_tx *twz_tx_current(struct twz_store *s)
{
	struct twz__tx_rt *rt = __atomic_load_n(&s->tx_rt, __ATOMIC_ACQUIRE);

	return rt && !twz__store_enter(s) ? tls_find(rt) : NULL;
}

int twz_tx_depth(struct twz_store *s)
{
	const struct twz_tx *tx = twz_tx_current(s);

	return tx ? (int)tx->depth : 0;
}

static int enter(struct twz_tx *tx)
{
	int err;

	if (!tx)
		return twz__err(TWZ_E_STATE, "no transaction: call twz_tx_begin first");
	err = twz__store_enter(tx->store);
	if (err)
		return err;
	if (!pthread_equal(tx->thread, pthread_self()))
		return twz__err(TWZ_E_STATE, "%s: the transaction belongs to another thread",
				tx->store->path);
	if (tx->failed)
		return twz__err(
			TWZ_E_FAILED,
			"%s: a write of this transaction failed: abort it, close the store everywhere and reopen it",
			tx->store->path);
	return 0;
}

/* --- begin and end --- */

static int level_push(struct twz_tx *tx)
{
	int err = array_reserve(tx->store, &tx->levels, tx->depth, &tx->level_cap,
				sizeof(*tx->levels));

	if (!err)
		tx->levels[tx->depth++] = (struct level){.undo_mark = tx->log->undo_cnt};
	return err;
}

static struct level *top(struct twz_tx *tx)
{
	return &tx->levels[tx->depth - 1];
}

static void tx_free(struct twz_tx *tx)
{
	twz__ranges_free(&tx->pool);
	free(tx->levels);
	free(tx->pins);
	free(tx->locks);
	free(tx->batch);
	free(tx);
}

static void open_add(struct twz_tx *tx)
{
	pthread_mutex_lock(&tx->rt->mutex);
	tx->next = tx->rt->open;
	tx->rt->open = tx;
	pthread_mutex_unlock(&tx->rt->mutex);
}

static void open_remove(struct twz_tx *tx)
{
	struct twz_tx **p;

	pthread_mutex_lock(&tx->rt->mutex);
	for (p = &tx->rt->open; *p && *p != tx;)
		p = &(*p)->next;
	if (*p)
		*p = tx->next;
	pthread_mutex_unlock(&tx->rt->mutex);
}

/*
 * The transaction is over on the medium: let go of everything, locks last so that the next
 * holder finds it over.
 */
static void tx_end(struct twz_tx *tx)
{
	tls_remove(tx);
	open_remove(tx);
	if (tx->failed)
		twz__txlog_close(tx->log); /* not retired: its slot stays OPEN, restart decides */
	else
		twz__txreg_release(tx->rt, tx->log);
	while (tx->lock_cnt)
		twz_obj_unlock(tx->locks[--tx->lock_cnt]);
	while (tx->pin_cnt)
		twz__obj_put(tx->pins[--tx->pin_cnt]);
	tx_free(tx);
}

static int begin_outer(struct twz_store *s, struct twz__tx_rt *rt, struct twz_tx **out)
{
	struct twz_tx *tx;
	int err;

	if (is_failed(s))
		return twz__err(
			TWZ_E_FAILED,
			"%s: an earlier write failed: close the store everywhere and reopen it",
			s->path);
	tx = calloc(1, sizeof(*tx));
	if (!tx)
		return no_memory(s);
	tx->store = s;
	tx->rt = rt;
	tx->thread = pthread_self();
	err = twz__txreg_acquire(s, rt, &tx->log);
	if (err)
		goto err_free;
	err = level_push(tx);
	if (!err)
		err = tls_add(tx);
	if (err)
		goto err_release;
	open_add(tx);
	*out = tx;
	return 0;
err_release:
	twz__txreg_release(rt, tx->log);
err_free:
	tx_free(tx);
	return err;
}

int twz_tx_begin(struct twz_store *s, struct twz_tx **out)
{
	struct twz__tx_rt *rt;
	struct twz_tx *tx;
	int err;

	*out = NULL;
	err = twz__store_enter_write(s, "a transaction");
	if (!err)
		err = twz__tx_rt_get(s, &rt);
	if (err)
		return err;
	tx = tls_find(rt);
	if (!tx)
		return begin_outer(s, rt, out);
	err = enter(tx);
	if (!err)
		err = level_push(tx);
	if (!err)
		*out = tx;
	return err;
}

/* --- objects the transaction has touched --- */

/* Index of the first pin whose base is not below BASE. */
static uint32_t pin_find(const struct twz_tx *tx, uintptr_t base)
{
	uint32_t lo = 0, hi = tx->pin_cnt;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (tx->pins[mid]->base < base)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Keep O mapped until the transaction ends: abort must be able to reach it. */
static int pin(struct twz_tx *tx, struct twz_obj *o)
{
	uint32_t i = pin_find(tx, o->base);
	int err;

	if (i < tx->pin_cnt && tx->pins[i] == o)
		return 0;
	err = array_reserve(tx->store, &tx->pins, tx->pin_cnt, &tx->pin_cap,
			    sizeof(struct twz_obj *));
	if (err)
		return err;
	/*
	 * The caller has it open, so a reference is all it takes; twz__obj_get() would look the
	 * ID up again.
	 */
	pthread_mutex_lock(&tx->store->mutex);
	o->refs++;
	pthread_mutex_unlock(&tx->store->mutex);
	memmove(&tx->pins[i + 1], &tx->pins[i], (tx->pin_cnt - i) * sizeof(struct twz_obj *));
	tx->pins[i] = o;
	tx->pin_cnt++;
	return 0;
}

bool twz__tx_uses(const struct twz_obj *o)
{
	const struct twz_tx *tx = twz_tx_current(o->store);
	uint32_t i;

	if (!tx)
		return false;
	i = pin_find(tx, o->base);
	return i < tx->pin_cnt && tx->pins[i] == o;
}

/*
 * The range lies in data of an open writable object of the transaction's store, which is no log;
 * the object is pinned.
 */
static int check_range(struct twz_tx *tx, const void *addr, size_t len)
{
	struct twz_obj *o = twz_obj_at(addr);
	char id[TWZ_OID_STR_LEN];
	uint64_t off;

	if (!o || o->store != tx->store)
		return twz__err(
			TWZ_E_BOUNDS,
			"%s: record of %zu bytes at %p, which is in no open object of this store",
			tx->store->path, len, addr);
	off = (uintptr_t)addr - o->base;
	if (off < TWZ_DATA_OFF || off - TWZ_DATA_OFF > o->len ||
	    len > o->len - (off - TWZ_DATA_OFF))
		return twz__err(
			TWZ_E_BOUNDS,
			"%s: record of %zu bytes at offset %llu reaches outside object %s of %llu bytes",
			tx->store->path, len, (unsigned long long)off, twz_oid_str(o->id, id),
			(unsigned long long)o->len);
	if (!(o->perm & TWZ_WRITE) || (o->flags & (TWZ_OBJ_LOG | TWZ_OBJ_TXLOG)))
		return twz__err(
			TWZ_E_BOUNDS,
			"%s: record in object %s, which is not open for writing or is a log",
			tx->store->path, twz_oid_str(o->id, id));
	return pin(tx, o);
}

/* --- recording --- */

/* Add the parts of a range that this level has not saved yet to the batch. */
static int batch_add(struct twz_tx *tx, const struct twz_range *r)
{
	uintptr_t at = (uintptr_t)r->addr, end = at + r->len, start;
	const struct twz_obj *o = tx->pins[pin_find(tx, at & ~(uintptr_t)TWZ_SLOT_MASK)];

	while (twz__ranges_gap(&tx->pool, top(tx)->saved, at, end, &start, &at)) {
		if (tx->batch_cnt == tx->batch_cap) {
			size_t cap = tx->batch_cap ? 2 * tx->batch_cap : 16;
			struct twz__txrange *p = realloc(tx->batch, cap * sizeof(*p));

			if (!p)
				return no_memory(tx->store);
			tx->batch = p;
			tx->batch_cap = cap;
		}
		tx->batch[tx->batch_cnt++] =
			(struct twz__txrange){.addr = (void *)start,
					      .id = o->id,
					      .off = (uint32_t)(start - o->base),
					      .len = (uint32_t)(at - start)};
	}
	return 0;
}

int twz_tx_record_many(struct twz_tx *tx, const struct twz_range *ranges, size_t cnt)
{
	int err = enter(tx);

	if (err)
		return err;
	tx->batch_cnt = 0;
	for (size_t i = 0; i < cnt && !err; i++) {
		if (!ranges[i].len)
			continue;
		err = check_range(tx, ranges[i].addr, ranges[i].len);
		if (!err)
			err = batch_add(tx, &ranges[i]);
	}
	if (err || !tx->batch_cnt)
		return err;
	if (is_failed(tx->store))
		return twz__err(
			TWZ_E_FAILED,
			"%s: an earlier write failed: close the store everywhere and reopen it",
			tx->store->path);
	err = twz__txlog_append(tx->log, tx->batch,
				tx->batch_cnt); /* D8: durable before the caller may store */
	if (err == TWZ_E_IO) {
		tx->failed = 1;
		twz__tx_fail_store(tx->store);
	}
	for (size_t i = 0; i < tx->batch_cnt && !err; i++) {
		uintptr_t at = (uintptr_t)tx->batch[i].addr;

		if (twz__ranges_add(&tx->pool, &top(tx)->saved, at, at + tx->batch[i].len))
			err = no_memory(tx->store);
	}
	return err;
}

int twz_tx_record(struct twz_tx *tx, void *addr, size_t len)
{
	struct twz_range r = {addr, len};

	return twz_tx_record_many(tx, &r, 1);
}

int twz_tx_fresh(struct twz_tx *tx, void *addr, size_t len)
{
	int err = enter(tx);

	if (err || !len)
		return err;
	err = check_range(tx, addr, len);
	if (!err &&
	    twz__ranges_add(&tx->pool, &top(tx)->saved, (uintptr_t)addr, (uintptr_t)addr + len))
		err = no_memory(tx->store);
	return err;
}

int twz__tx_mark_freed(struct twz_tx *tx, const void *addr, size_t len)
{
	return twz__ranges_add(&tx->pool, &tx->freed, (uintptr_t)addr, (uintptr_t)addr + len)
		       ? no_memory(tx->store)
		       : 0;
}

bool twz__tx_was_freed(struct twz_tx *tx, const void *addr, size_t len)
{
	uintptr_t s, e;

	return twz__ranges_next(&tx->pool, tx->freed, (uintptr_t)addr, &s, &e) &&
	       s < (uintptr_t)addr + len;
}

int twz__tx_lock(struct twz_tx *tx, struct twz_obj *o)
{
	int err;

	for (uint32_t i = 0; i < tx->lock_cnt; i++)
		if (tx->locks[i] == o)
			return 0;
	err = array_reserve(tx->store, &tx->locks, tx->lock_cnt, &tx->lock_cap,
			    sizeof(struct twz_obj *));
	if (!err)
		err = pin(tx, o);
	if (err)
		return err;
	err = twz_obj_lock(o, TWZ__TX_LOCK_MS);
	if (err == TWZ_E_STATE)
		return 0; /* this thread has it by its own call, and will unlock it */
	if (err)
		return err;
	tx->locks[tx->lock_cnt++] = o;
	return 0;
}

/* --- commit and abort --- */

int twz__tx_plan_sync(const struct twz__range_pool *p, uint32_t root, struct twz__tx_span *spans)
{
	uintptr_t at = 0, start, end;
	int n = 0;

	while (twz__ranges_next(p, root, at, &start, &end)) {
		at = end;
		start &= ~(uintptr_t)(TWZ_PAGE_SIZE - 1);
		end = (end + TWZ_PAGE_SIZE - 1) & ~(uintptr_t)(TWZ_PAGE_SIZE - 1);
		if (n && start >> TWZ_SLOT_SHIFT == spans[n - 1].addr >> TWZ_SLOT_SHIFT &&
		    start <= spans[n - 1].addr + spans[n - 1].len + TWZ__TX_SPAN_GAP) {
			spans[n - 1].len = end - spans[n - 1].addr;
		} else if (n == TWZ__TX_SPAN_MAX) {
			return TWZ__TX_SPAN_MAX + 1;
		} else {
			spans[n++] = (struct twz__tx_span){start, end - start};
		}
	}
	return n;
}

static int sync_pages(struct twz_tx *tx, uint32_t set)
{
	struct twz__tx_span spans[TWZ__TX_SPAN_MAX];
	struct twz__media *m = tx->store->media;
	int n = twz__tx_plan_sync(&tx->pool, set, spans), err = 0;

	if (n > TWZ__TX_SPAN_MAX)
		return m->ops->sync_all(m);
	for (int i = 0; i < n && !err; i++)
		err = m->ops->sync_range(m, (void *)spans[i].addr, spans[i].len);
	return err;
}

/* Make everything the transaction touched durable. */
static int sync_touched(struct twz_tx *tx)
{
	uint32_t set = tx->levels[0].saved;
	uintptr_t at = 0, start;

	if (tx->store->granularity == TWZ_GRAN_PAGE)
		return sync_pages(tx, set);
	while (twz__ranges_next(&tx->pool, set, at, &start, &at))
		twz_flush(tx->store, (void *)start, at - start);
	twz_fence(tx->store);
	return 0;
}

/* Sync, retire, end: the second half of commit and of abort. */
static int finish(struct twz_tx *tx)
{
	int err = 0;

	if (tx->levels[0].saved)
		err = sync_touched(tx);
	if (!err)
		err = twz__txlog_retire(tx->log, false); /* COMMIT POINT (D8): see there */
	if (err) {
		err = twz__err(
			TWZ_E_IO,
			"%s: a sync at the end of a transaction failed; whether it holds is decided when the store is closed "
			"everywhere and reopened",
			tx->store->path);
		tx->failed = 1;
		twz__tx_fail_store(tx->store);
	}
	tx_end(tx);
	return err;
}

/*
 * What the inner level saved, the outer one has saved: it cannot have been changed between the
 * outer begin and the inner record.
 */
static void level_pop(struct twz_tx *tx)
{
	struct level *in = top(tx);

	tx->depth--;
	twz__ranges_join(&tx->pool, &top(tx)->saved, &in->saved);
}

int twz_tx_commit(struct twz_tx *tx)
{
	int err = enter(tx);

	if (err)
		return err;
	if (tx->depth > 1) {
		level_pop(tx);
		return 0;
	}
	return finish(tx);
}

/* Put back the old bytes of entries MARK and later, newest first. */
static int restore(struct twz_tx *tx, size_t mark)
{
	struct twz__txlog *l = tx->log;
	uint8_t buf[4096];
	int err;

	for (size_t i = l->undo_cnt; i-- > mark;) {
		const struct twz__undo *u = &l->undo[i];

		for (uint32_t at = 0, n; at < u->len; at += n) {
			n = u->len - at < sizeof(buf) ? u->len - at : (uint32_t)sizeof(buf);
			err = twz__txlog_read(l, u, at, buf, n);
			if (err)
				return err;
			memcpy((uint8_t *)u->addr + at, buf, n);
		}
	}
	return 0;
}

/* Abort one level, whoever's thread runs this. */
static int abort_level(struct twz_tx *tx)
{
	int err = restore(tx, top(tx)->undo_mark);

	if (err) {
		tx->failed = 1;
		twz__tx_fail_store(tx->store);
	}
	if (tx->depth > 1) {
		/*
		 * Entries of the aborted level stay in the log: rolling back again restores the
		 * same bytes before older entries do.
		 */
		level_pop(tx);
		return err;
	}
	if (!tx->failed)
		return finish(tx);
	tx_end(tx);
	return err ? err
		   : twz__err(
			     TWZ_E_IO,
			     "a transaction of a failed store was undone in memory only: close it everywhere and reopen it");
}

int twz_tx_abort(struct twz_tx *tx)
{
	int err = enter(tx);

	return err && err != TWZ_E_FAILED ? err : abort_level(tx);
}

void twz__tx_close(struct twz_store *s)
{
	struct twz__tx_rt *rt = s->tx_rt;

	if (!rt || s->pid != getpid())
		return;
	while (rt->open)
		abort_level(rt->open);
	twz__txreg_drain(rt);
	pthread_mutex_destroy(&rt->mutex);
	s->tx_rt = NULL;
	free(rt);
}
