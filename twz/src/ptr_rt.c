/* SPDX-License-Identifier: MIT
 * ptr_rt.c -- resolution tables: who points at whom in this process
 *
 * Every slot of the view has a table (memory reserved once) and a struct twz__slot_rt. A resolved
 * entry holds one pin of its target, so a target stays mapped until the table of the last source
 * that used it is dropped. Open slots are found by (store, ID) in a hash that readers search
 * without a lock:
 *
 *	resolver: find the slot in the hash, raise its word if OPEN is set, look at ID and store
 *		  again, compare-and-swap the entry
 *	closer:   (store's mutex) word from OPEN|0 to 0, or give up; take it out of the hash; drop
 *		  its table; only then unmap
 *
 * A reader that misses a slot because the hash is just being changed takes the slow path, which has
 * the store's mutex.
 */
#include "ptr_rt.h"

#include <assert.h>
#include <sys/mman.h>

struct twz__ptr_rt twz__ptr_rt;
struct twz__slot_rt *twz__slot_rts;

/*
 * Cells: slot + 1, 0 = empty. Open addressing, at most half full; small, for the TLB's sake.
 * rt_lock: writers.
 */
static uint16_t *hash;
static uint64_t hash_mask;
static pthread_mutex_t rt_lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t mark_epoch;

static const struct twz_resolved nothing;
__thread struct twz__guess twz__guess __attribute__((tls_model("initial-exec"))) = {
	.from = 1,
	.e = &nothing,
};

static void *reserve(uint64_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void fork_prepare(void)
{
	pthread_mutex_lock(&rt_lock);
}

static void fork_done(void)
{
	pthread_mutex_unlock(&rt_lock);
}

/* rt_lock held. All of it stays for the life of the process. */
static int init_once(void)
{
	uint64_t cnt = twz_view_rt.slot_cnt, slot0 = twz_view_rt.base >> TWZ_SLOT_SHIFT;
	uint64_t cells = 2 * cnt;
	uintptr_t tab;

	if (twz__slot_rts)
		return 0;
	assert(cnt < UINT16_MAX);
	tab = (uintptr_t)reserve(cnt * TWZ__TAB_STRIDE);
	hash = reserve(cells * sizeof(*hash));
	twz__slot_rts = reserve(cnt * sizeof(*twz__slot_rts));
	if (!tab || !hash || !twz__slot_rts) {
		twz__slot_rts = NULL;
		return twz__err(TWZ_E_NOMEM,
				"no address space for the resolution tables of %llu slots: "
				"raise the limit on virtual memory (ulimit -v)",
				(unsigned long long)cnt);
	}
	pthread_atfork(fork_prepare, fork_done, fork_done);
	hash_mask = cells - 1;
	twz__ptr_rt.tab = tab - slot0 * TWZ__TAB_STRIDE;
	twz__ptr_rt.slot0 = slot0;
	__atomic_store_n(&twz__ptr_rt.slot_cnt, cnt, __ATOMIC_RELEASE);
	return 0;
}

static struct twz_resolved *table(uint64_t slot)
{
	return twz__tab(twz_view_rt.base + (slot << TWZ_SLOT_SHIFT));
}

/* --- hash of open slots --- */

static inline uint64_t place(uint64_t id0, uint64_t id1)
{
	return ((id0 ^ (id1 << 1)) * 0x9e3779b97f4a7c15u) >> 32;
}

static inline uint64_t home_of(uint64_t slot)
{
	return place(twz__slot_rts[slot].id[0], twz__slot_rts[slot].id[1]);
}

static inline bool is_slot(const struct twz__slot_rt *rt, const struct twz_store *s, uint64_t id0,
			   uint64_t id1)
{
	return __atomic_load_n(&rt->id[0], __ATOMIC_RELAXED) == id0 &&
	       __atomic_load_n(&rt->id[1], __ATOMIC_RELAXED) == id1 &&
	       __atomic_load_n(&rt->store, __ATOMIC_RELAXED) == s;
}

static void hash_add(uint64_t slot)
{
	uint64_t i = home_of(slot) & hash_mask;

	while (hash[i])
		i = (i + 1) & hash_mask;
	__atomic_store_n(&hash[i], (uint16_t)(slot + 1), __ATOMIC_RELEASE);
}

/*
 * Closes the gap, so that no search ends too early; one that runs meanwhile may miss a slot, never
 * find a wrong one.
 */
static void hash_del(uint64_t slot)
{
	uint64_t i = home_of(slot) & hash_mask, j, home;

	while (hash[i] && hash[i] != slot + 1)
		i = (i + 1) & hash_mask;
	for (j = i; hash[i];) {
		j = (j + 1) & hash_mask;
		if (!hash[j]) {
			__atomic_store_n(&hash[i], 0, __ATOMIC_RELEASE);
			return;
		}
		home = home_of(hash[j] - 1u) & hash_mask;
		if (((j - home) & hash_mask) >= ((j - i) & hash_mask)) {
			__atomic_store_n(&hash[i], hash[j], __ATOMIC_RELEASE);
			i = j;
		}
	}
}

/* --- pins --- */

static inline bool pin_slot(struct twz__slot_rt *rt)
{
	uint64_t old = __atomic_load_n(&rt->word, __ATOMIC_RELAXED);

	while (old & TWZ__PTR_OPEN)
		if (__atomic_compare_exchange_n(&rt->word, &old, old + 1, true, __ATOMIC_ACQ_REL,
						__ATOMIC_RELAXED))
			return true;
	return false;
}

void twz__unpin(uint64_t slot)
{
	__atomic_fetch_sub(&twz__slot_rts[slot].word, 1, __ATOMIC_ACQ_REL);
}

/* Words instead of a struct: they stay in registers. */
static inline int64_t pin(struct twz_store *s, uint64_t id0, uint64_t id1)
{
	uint16_t c;

	for (uint64_t i = place(id0, id1);; i++) {
		c = __atomic_load_n(&hash[i & hash_mask], __ATOMIC_ACQUIRE);
		if (!c)
			return -1;
		if (!is_slot(&twz__slot_rts[c - 1], s, id0, id1))
			continue;
		if (!pin_slot(&twz__slot_rts[c - 1]))
			return -1;
		if (is_slot(&twz__slot_rts[c - 1], s, id0, id1))
			return c - 1;
		/*
		 * The slot was closed and used again in between. If its new object loses its last
		 * handle in this very moment, it stays mapped until it is opened and closed again
		 * or the store is closed.
		 */
		twz__unpin(c - 1);
		return -1;
	}
}

int64_t twz__pin(struct twz_store *s, twz_oid id)
{
	return pin(s, id.w[0], id.w[1]);
}

/* --- tables --- */

static inline uint32_t used(uint64_t slot)
{
	return __atomic_load_n(&twz__slot_rts[slot].res_used, __ATOMIC_RELAXED);
}

/* A step of 64 entries, so that first uses in a row do not each pay for it. */
static void raise_used(struct twz__slot_rt *rt, uint64_t idx)
{
	uint32_t want = (uint32_t)((idx | 63) + 1),
		 old = __atomic_load_n(&rt->res_used, __ATOMIC_RELAXED);

	while (old < want)
		if (__atomic_compare_exchange_n(&rt->res_used, &old, want, true, __ATOMIC_RELAXED,
						__ATOMIC_RELAXED))
			return;
}

static inline uint64_t publish(uint64_t src, uint64_t idx, uint64_t target)
{
	struct twz_resolved *e = table(src) + idx;
	uint64_t w = twz__slot_word(target), old = 0, now;

	if (twz__unlikely(idx >= used(src)))
		raise_used(&twz__slot_rts[src], idx);
	if (!__atomic_compare_exchange_n(&e->w, &old, w, false, __ATOMIC_SEQ_CST,
					 __ATOMIC_ACQUIRE)) {
		twz__unpin(target);
		return old;
	}
	if (twz__unlikely(src == target))
		twz__unpin(target); /* it lives as long as its own table */
	/*
	 * A shrinking target lowers `end` first and then walks the tables: one of the two sees the
	 * other.
	 */
	now = twz__slot_word(target);
	if (twz__likely(now >= w))
		return w;
	__atomic_compare_exchange_n(&e->w, &w, now, false, __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE);
	return now;
}

uint64_t twz__publish(uint64_t src, uint64_t idx, uint64_t target)
{
	return publish(src, idx, target);
}

/*
 * The object's own entry, made when a pointer in it is first loaded: until then its table costs no page. No
 * pin: it lives as long as its table.
 */
uint64_t twz__publish_self(uint64_t slot)
{
	struct twz_resolved *e = table(slot);
	uint64_t w, old = 0, now;

	raise_used(&twz__slot_rts[slot], 0);
	w = twz__slot_word(slot);
	if (!__atomic_compare_exchange_n(&e->w, &old, w, false, __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE))
		return old;
	now = twz__slot_word(slot); /* as in publish() */
	if (twz__likely(now >= w))
		return w;
	__atomic_compare_exchange_n(&e->w, &w, now, false, __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE);
	return now;
}

uint64_t twz__resolve_quick(uint64_t slot, uint64_t idx)
{
	struct twz_obj *o = twz_view_rt.slots[slot].obj;
	const struct twz_fot_pm *e;
	int64_t target;

	if (twz__unlikely(!o))
		return 0;
	e = twz__fot_at(o, idx);
	if (twz__unlikely(!e))
		return 0;
	/*
	 * Summed where it lies: a copy would be read across the stores that made it, which stalls.
	 * Only open objects can be found.
	 */
	if (twz__unlikely(e->kind != TWZC_FOT_ID || !(e->perm & TWZ_READ) ||
			  e->sum != twz__fot_sum(e)))
		return 0;
	target = pin(o->store, e->target[0], e->target[1]);
	if (twz__unlikely(target < 0))
		return 0;
	return publish(slot, idx, (uint64_t)target);
}

static uint64_t target_of(uint64_t w)
{
	return (w >> TWZ_SLOT_SHIFT) - twz__ptr_rt.slot0;
}

/* Put the object at SLOT on the list if nobody has it open and nothing points at it. */
static void note_idle(uint64_t slot, struct twz_obj **idle)
{
	struct twz_obj *t = twz_view_rt.slots[slot].obj;

	if (!t || t->refs ||
	    __atomic_load_n(&twz__slot_rts[slot].word, __ATOMIC_ACQUIRE) != TWZ__PTR_OPEN)
		return;
	t->idle_next = *idle;
	*idle = t;
}

static void drop_table(uint64_t slot, struct twz_obj **idle)
{
	struct twz_resolved *tab = table(slot);
	uint64_t w, t;

	for (uint64_t i = 1; i < used(slot); i++) {
		w = __atomic_exchange_n(&tab[i].w, 0, __ATOMIC_ACQ_REL);
		t = target_of(w);
		if (!w || t == slot)
			continue;
		twz__unpin(t);
		if (idle)
			note_idle(t, idle);
	}
	__atomic_store_n(&twz__slot_rts[slot].res_used, 0, __ATOMIC_RELAXED);
}

/* --- cycles: objects without a handle that only point at each other --- */

static bool is_open(uint64_t slot)
{
	return __atomic_load_n(&twz__slot_rts[slot].word, __ATOMIC_ACQUIRE) & TWZ__PTR_OPEN;
}

/* Mark everything reachable from objects of S that have a handle. STACK has room for every slot. */
static void mark_reachable(struct twz_store *s, uint32_t *stack)
{
	uint64_t n = 0, w;

	mark_epoch++;
	for (struct twz_obj *o = s->objs; o; o = o->next) {
		if (!o->refs || !is_open(o->slot))
			continue;
		twz__slot_rts[o->slot].mark = mark_epoch;
		stack[n++] = (uint32_t)o->slot;
	}
	while (n) {
		uint64_t slot = stack[--n];

		for (uint64_t i = 1; i < used(slot); i++) {
			w = twz__word(&table(slot)[i]);
			if (!w || twz__slot_rts[target_of(w)].mark == mark_epoch)
				continue;
			twz__slot_rts[target_of(w)].mark = mark_epoch;
			stack[n++] = (uint32_t)target_of(w);
		}
	}
}

/* O has no handle but is pinned. If only by objects in the same situation, all their tables go. */
static void break_cycles(struct twz_obj *o, struct twz_obj **idle)
{
	uint32_t *stack = malloc(twz_view_rt.slot_cnt * sizeof(*stack));

	if (!stack)
		return; /* they stay mapped until the store is closed */
	mark_reachable(o->store, stack);
	if (twz__slot_rts[o->slot].mark != mark_epoch)
		for (struct twz_obj *t = o->store->objs; t; t = t->next)
			if (!t->refs && is_open(t->slot) &&
			    twz__slot_rts[t->slot].mark != mark_epoch)
				drop_table(t->slot, idle);
	free(stack);
}

/* --- hooks of obj.c --- */

int twz__ptr_attach(struct twz_obj *o)
{
	struct twz_slot *sl = &twz_view_rt.slots[o->slot];
	struct twz__slot_rt *rt;
	int err;

	pthread_mutex_lock(&rt_lock);
	err = init_once();
	if (!err) {
		rt = &twz__slot_rts[o->slot];
		__atomic_store_n(&rt->id[0], o->id.w[0], __ATOMIC_RELAXED);
		__atomic_store_n(&rt->id[1], o->id.w[1], __ATOMIC_RELAXED);
		__atomic_store_n(&rt->store, o->store, __ATOMIC_RELAXED);
		sl->res = table(o->slot);
		sl->res_cnt = TWZ__FOT_CNT;
		__atomic_store_n(&rt->word, TWZ__PTR_OPEN, __ATOMIC_RELEASE);
		hash_add(o->slot);
	}
	pthread_mutex_unlock(&rt_lock);
	return err;
}

bool twz__ptr_pinned(const struct twz_obj *o)
{
	return __atomic_load_n(&twz__slot_rts[o->slot].word, __ATOMIC_ACQUIRE) > TWZ__PTR_OPEN;
}

bool twz__ptr_detach(struct twz_obj *o, struct twz_obj **idle)
{
	struct twz__slot_rt *rt = &twz__slot_rts[o->slot];
	uint64_t unused = TWZ__PTR_OPEN;

	pthread_mutex_lock(&rt_lock);
	if (!__atomic_compare_exchange_n(&rt->word, &unused, 0, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_RELAXED)) {
		if (unused & TWZ__PTR_OPEN)
			break_cycles(o, idle);
		pthread_mutex_unlock(&rt_lock);
		return !(unused & TWZ__PTR_OPEN);
	}
	hash_del(o->slot);
	if (used(o->slot))
		__atomic_store_n(&table(o->slot)->w, 0, __ATOMIC_RELEASE);
	twz_view_rt.slots[o->slot].res_cnt = 0;
	drop_table(o->slot, idle);
	__atomic_store_n(&rt->store, NULL, __ATOMIC_RELAXED);
	twz__fot_drop(rt);
	pthread_mutex_unlock(&rt_lock);
	return true;
}

void twz__ptr_detach_all(struct twz_store *s)
{
	for (struct twz_obj *o = s->objs; o; o = o->next)
		if (twz__slot_rts && is_open(o->slot))
			drop_table(o->slot, NULL);
	for (struct twz_obj *o = s->objs; o; o = o->next)
		if (twz__slot_rts && is_open(o->slot))
			__atomic_store_n(&twz__slot_rts[o->slot].word, TWZ__PTR_OPEN,
					 __ATOMIC_RELEASE);
}

void twz__ptr_resized(struct twz_obj *o)
{
	uint64_t now = twz__slot_word(o->slot), old = 0, w;

	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* the new end before `used`: see publish() */
	if (used(o->slot))
		old = __atomic_exchange_n(&table(o->slot)->w, now, __ATOMIC_SEQ_CST);
	if (old && now >= old)
		return; /* growth: other tables learn of it when a pointer needs it */
	for (uint64_t s = 0; s < twz_view_rt.slot_cnt; s++)
		for (uint64_t i = 1; i < used(s); i++) {
			w = twz__word(&table(s)[i]);
			if (w > now && target_of(w) == o->slot)
				__atomic_compare_exchange_n(&table(s)[i].w, &w, now, false,
							    __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE);
		}
}
