/* SPDX-License-Identifier: MIT
 * txreg.c -- see txreg.h
 */
#include "txreg.h"

static const twz_oid reg_id = {
	{0x6765725f78745f5fULL, 0x5f5f7a77745f5f31ULL}}; /* reserved: no object has it */
static pthread_mutex_t rt_mutex = PTHREAD_MUTEX_INITIALIZER;

int twz__tx_rt_get(struct twz_store *s, struct twz__tx_rt **out)
{
	static uint64_t last_id;
	struct twz__tx_rt *rt = __atomic_load_n(&s->tx_rt, __ATOMIC_ACQUIRE);
	void *reg;
	int err = 0;

	*out = rt;
	if (twz__likely(rt != NULL))
		return 0;
	pthread_mutex_lock(&rt_mutex);
	rt = s->tx_rt;
	if (!rt) {
		err = twz_shared_get(s, reg_id, sizeof(struct twz__txreg), NULL, NULL, &reg, NULL);
		rt = err ? NULL : calloc(1, sizeof(*rt));
		if (rt) {
			rt->id = ++last_id;
			rt->reg = reg;
			pthread_mutex_init(&rt->mutex, NULL);
			__atomic_store_n(&s->tx_rt, rt, __ATOMIC_RELEASE);
		} else if (!err) {
			err = twz__err(TWZ_E_NOMEM, "%s: no memory for transactions", s->path);
		}
	}
	pthread_mutex_unlock(&rt_mutex);
	*out = rt;
	return err;
}

uint32_t twz__txreg_state(const struct twz__txslot *slot)
{
	return __atomic_load_n(&slot->state, __ATOMIC_ACQUIRE);
}

void twz__txreg_set_state(struct twz__txslot *slot, uint32_t state)
{
	__atomic_store_n(&slot->state, state, __ATOMIC_SEQ_CST);
}

static uint64_t owner(const struct twz__txslot *slot)
{
	return __atomic_load_n(&slot->incarnation, __ATOMIC_ACQUIRE);
}

void twz__txreg_set_free(struct twz__txslot *slot)
{
	twz__txreg_set_state(slot, TWZ__TX_IDLE);
	__atomic_store_n(&slot->incarnation, 0, __ATOMIC_RELEASE);
}

/*
 * The state first, the incarnation last: whoever looks in between sees a pair that is nobody's,
 * and the right thing to do about it.
 */
static void set_owner(struct twz_store *s, struct twz__txslot *slot, uint32_t state)
{
	twz__txreg_set_state(slot, state);
	__atomic_store_n(&slot->proc, twz_proc_self(s), __ATOMIC_RELEASE);
	__atomic_store_n(&slot->incarnation, twz_proc_incarnation(s), __ATOMIC_RELEASE);
}

bool twz__txreg_is_mine(struct twz_store *s, const struct twz__txslot *slot)
{
	return owner(slot) == twz_proc_incarnation(s) &&
	       __atomic_load_n(&slot->proc, __ATOMIC_ACQUIRE) == twz_proc_self(s);
}

bool twz__txreg_is_alive(struct twz_store *s, const struct twz__txslot *slot)
{
	uint64_t inc = owner(slot);

	return inc && (twz__txreg_is_mine(s, slot) ||
		       twz_proc_alive(s, __atomic_load_n(&slot->proc, __ATOMIC_ACQUIRE), inc));
}

static uint32_t used(const struct twz__txreg *reg)
{
	return __atomic_load_n(&reg->used, __ATOMIC_ACQUIRE);
}

/* The lowest slot nobody owns. Metadata lock held. */
static struct twz__txslot *find_free(struct twz_store *s, struct twz__txreg *reg)
{
	uint32_t n = used(reg);

	for (uint32_t i = 0; i < n; i++) {
		struct twz__txslot *slot = &reg->slot[i];

		if (twz__txreg_state(slot) == TWZ__TX_IDLE && !twz__txreg_is_alive(s, slot))
			return slot;
	}
	if (n == TWZ__TXREG_CNT)
		return NULL;
	__atomic_store_n(&reg->used, n + 1, __ATOMIC_RELEASE);
	return &reg->slot[n];
}

static int claim(struct twz_store *s, struct twz__txreg *reg, uint32_t *idx)
{
	struct twz__txslot *slot;
	int err = twz__meta_lock(s);

	*idx = 0;
	if (err)
		return err;
	slot = find_free(s, reg);
	if (slot)
		set_owner(s, slot, TWZ__TX_IDLE);
	twz__meta_unlock(s);
	if (!slot)
		return twz__err(TWZ_E_NOSPC, "%s: more than %u transactions at once: end some",
				s->path, TWZ__TXREG_CNT);
	*idx = (uint32_t)(slot - reg->slot);
	return 0;
}

/*
 * Make log IDX. Logs below it that do not exist are being made by others, who may die before
 * they have: they are made first, for restart looks no further than the first that is missing.
 */
static int make_upto(struct twz_store *s, struct twz__txreg *reg, uint32_t idx)
{
	int err = 0;

	for (uint32_t k; !err && (k = __atomic_load_n(&reg->made, __ATOMIC_ACQUIRE)) <= idx;) {
		err = twz__txlog_make(s, k);
		if (!err) /* somebody else may have come further */
			__atomic_compare_exchange_n(&reg->made, &k, k + 1, false, __ATOMIC_ACQ_REL,
						    __ATOMIC_RELAXED);
	}
	return err;
}

static int log_take(struct twz_store *s, uint32_t idx, struct twz__txlog **out)
{
	int err = twz__txlog_open(s, twz__txlog_id(s, idx), out);

	if (!err)
		err = twz__txlog_take(*out);
	if (!err || !*out)
		return err;
	twz__txlog_close(*out);
	*out = NULL;
	return err;
}

static int acquire_slow(struct twz_store *s, struct twz__tx_rt *rt, struct twz__txlog **out)
{
	uint32_t idx;
	int err;

	while (!(err = claim(s, rt->reg, &idx))) {
		struct twz__txslot *slot = &rt->reg->slot[idx];

		err = make_upto(s, rt->reg, idx);
		if (err) {
			twz__txreg_set_free(slot);
			return err;
		}
		err = log_take(s, idx, out);
		if (!err) {
			(*out)->reg_idx = idx;
			return 0;
		}
		if (err != TWZ_E_CORRUPT) {
			twz__txreg_set_free(slot);
			return err;
		}
		twz__txreg_set_state(slot, TWZ__TX_UNUSABLE);
	}
	return err;
}

int twz__txreg_acquire(struct twz_store *s, struct twz__tx_rt *rt, struct twz__txlog **out)
{
	int err = 0;

	pthread_mutex_lock(&rt->mutex);
	*out = rt->pool;
	if (*out)
		rt->pool = (*out)->next;
	pthread_mutex_unlock(&rt->mutex);
	if (!*out)
		err = acquire_slow(s, rt, out);
	if (!err)
		twz__txreg_set_state(&rt->reg->slot[(*out)->reg_idx], TWZ__TX_OPEN);
	return err;
}

void twz__txreg_release(struct twz__tx_rt *rt, struct twz__txlog *l)
{
	twz__txreg_set_state(&rt->reg->slot[l->reg_idx], TWZ__TX_IDLE);
	pthread_mutex_lock(&rt->mutex);
	l->next = rt->pool;
	rt->pool = l;
	pthread_mutex_unlock(&rt->mutex);
}

void twz__txreg_drain(struct twz__tx_rt *rt)
{
	struct twz__txlog *l;

	while ((l = rt->pool)) {
		struct twz__txslot *slot = &rt->reg->slot[l->reg_idx];

		rt->pool = l->next;
		twz__txlog_close(l);
		twz__txreg_set_free(slot);
	}
}

bool twz__txreg_take_over(struct twz_store *s, struct twz__tx_rt *rt, uint32_t idx, int *err)
{
	struct twz__txslot *slot = &rt->reg->slot[idx];
	uint32_t state;
	bool taken;

	*err = twz__meta_lock(s);
	if (*err)
		return false;
	state = twz__txreg_state(slot);
	taken = (state == TWZ__TX_OPEN || state == TWZ__TX_ROLLBACK) &&
		!twz__txreg_is_alive(s, slot);
	if (taken)
		set_owner(s, slot, TWZ__TX_ROLLBACK);
	twz__meta_unlock(s);
	return taken;
}
