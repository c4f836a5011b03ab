/* SPDX-License-Identifier: MIT
 * ptr.c -- persistent pointers: what the inline code of ptr_inline.h leaves over
 *
 *	twz__lea_slow	the guess's samples; then, by how far the entry has come in this process:
 *	  resolved	done, or the target has grown since, or the pointer is outside it
 *	  known		FOT entry by ID, target open here: twz__resolve_quick, no lock
 *	  otherwise	names, local numbers, targets to be opened, and every error (resolve)
 */
#include "ptr_rt.h"

#define NAME_SHORT   15
#define NAME_BY_HASH 1 /* byte 15 of the target of a name entry: core/format.h */

static inline struct twz_resolved *entry_of(uint64_t slot, uint64_t idx)
{
	return twz__tab(twz_view_rt.base + (slot << TWZ_SLOT_SHIFT)) + idx;
}

static inline void *address(uint64_t w, twz_pptr p)
{
	return (void *)((w & ~TWZ_SLOT_MASK) | twz_pptr_off(p));
}

/* --- the guess --- */

#define RUN_LEN 16 /* equal keys in a row that make a guess worth trying */

/*
 * One table look-up of a sample (guess.left < 0): a different key ends it, as does the last equal
 * one.
 */
static void sample(uintptr_t base, uint64_t idx, const struct twz_resolved *e)
{
	struct twz__guess *g = &twz__guess;

	g->left = 0; /* the next table look-up comes here, too */
	if (!g->last) {
		g->last = e;
		g->run = 1;
	} else if (e == g->last && g->run < RUN_LEN) {
		g->run++;
	} else {
		g->from = e == g->last ? base : 1;
		g->idx_part = idx << TWZ_PPTR_OFF_BITS;
		g->e = e;
		g->last = NULL;
		g->left = TWZ__LEA_SAMPLE;
	}
}

/* --- resolving --- */

struct by_hash {
	uint64_t hash;
	uint32_t len;
	twz_oid id;
};

static int match_hash(void *ctx, const char *name, twz_oid id)
{
	struct by_hash *want = ctx;
	size_t len = strlen(name);

	if (len != want->len || XXH64(name, len, 0) != want->hash)
		return 0;
	want->id = id;
	return 1;
}

static int resolve_name(struct twz_obj *o, const struct twz_fot_pm *e, twz_oid *id)
{
	struct by_hash want = {.hash = e->target[0], .len = (uint32_t)e->target[1]};
	char name[NAME_SHORT + 1];
	int err;

	memcpy(name, e->target, sizeof(name));
	if (name[NAME_SHORT] == 0)
		return twz_name_get(o->store, name, id);
	if (name[NAME_SHORT] != NAME_BY_HASH)
		return twz__corrupt(twz__obj_where(o), "FOT entry by name: byte 15 is %d",
				    name[NAME_SHORT]);
	err = twz_name_list(o->store, "", match_hash, &want);
	*id = want.id;
	if (err == 0)
		return twz__err(TWZ_E_NOENT,
				"%s: a pointer's target was given by a name that no object has now",
				twz__obj_where(o));
	return err < 0 ? err : 0;
}

static int resolve_id(struct twz_obj *o, const struct twz_fot_pm *e, twz_oid *id)
{
	if (e->kind == TWZC_FOT_NAME)
		return resolve_name(o, e, id);
	id->w[0] = e->kind == TWZC_FOT_ID ? e->target[0] : o->id.w[0];
	id->w[1] = e->kind == TWZC_FOT_ID ? e->target[1] : e->target[0];
	return 0;
}

/*
 * Permissions are bound late (paper 3.4): writing is asked for, and missed only when somebody
 * writes.
 */
static int open_target(struct twz_store *s, twz_oid id, uint32_t perm, struct twz_obj **t)
{
	int err = twz__obj_get(s, id, perm & (TWZ_READ | TWZ_WRITE), t);

	if (perm & TWZ_WRITE && (err == TWZ_E_PERM || err == TWZ_E_READONLY))
		err = twz__obj_get(s, id, TWZ_READ, t);
	return err;
}

static int resolve(struct twz_obj *o, uint64_t idx, uint64_t *w)
{
	struct twz_fot_pm e;
	struct twz_obj *t;
	int64_t target;
	twz_oid id;
	int err = twz__fot_read(o, idx, &e);

	if (err)
		return err;
	if (!(e.perm & TWZ_READ))
		return twz__err(TWZ_E_PERM,
				"%s: FOT entry %llu does not permit reading (permissions %#x)",
				twz__obj_where(o), (unsigned long long)idx, e.perm);
	err = resolve_id(o, &e, &id);
	if (!err)
		err = open_target(o->store, id, e.perm, &t);
	if (err)
		return twz__err_in(err, "%s: FOT entry %llu", twz__obj_where(o),
				   (unsigned long long)idx);
	target = twz__pin(o->store, t->id);
	if (target < 0) {
		twz__obj_put(t);
		return twz__err(TWZ_E_BUSY,
				"%s: target of FOT entry %llu was closed at the same time: repeat",
				twz__obj_where(o), (unsigned long long)idx);
	}
	*w = twz__publish(o->slot, idx, (uint64_t)target);
	twz__obj_put_pinned(t);
	return 0;
}

/* --- outside what this process has mapped --- */

/* Entry E has word W; its target may be longer by now, here or in another process. */
static int bounds(struct twz_obj *o, twz_pptr p, struct twz_resolved *e, uint64_t *w)
{
	uint64_t off = twz_pptr_off(p), slot = (*w >> TWZ_SLOT_SHIFT) - twz__ptr_rt.slot0, now;
	struct twz_obj *t = twz_view_rt.slots[slot].obj;
	char id[TWZ_OID_STR_LEN];
	int err = 0;

	now = twz__slot_word(slot);
	if (!twz__in(off, now) && off >= TWZ_DATA_OFF && off < TWZ_TOP_OFF) {
		err = twz_obj_refresh(t);
		now = twz__slot_word(slot);
	}
	if (err)
		return err;
	if (now != *w)
		__atomic_compare_exchange_n(&e->w, w, now, false, __ATOMIC_ACQ_REL,
					    __ATOMIC_ACQUIRE);
	*w = now;
	if (twz__in(off, now))
		return 0;
	return twz__err(TWZ_E_BOUNDS,
			"%s: pointer to offset %#llx of object %s, whose data end at %#llx: "
			"it was damaged, or its target shrank",
			twz__obj_where(o), (unsigned long long)off, twz_oid_str(t->id, id),
			(unsigned long long)((now & TWZ_SLOT_MASK) + TWZ_DATA_OFF));
}

static void *lea_full(uint64_t slot, twz_pptr p)
{
	struct twz_obj *o = twz_view_rt.slots[slot].obj;
	uint64_t idx = twz_pptr_fot(p), w;
	struct twz_resolved *e;
	int err;

	if (!o) {
		twz__err(TWZ_E_INVAL,
			 "a persistent pointer was loaded from an address in no open object");
		return NULL;
	}
	err = twz__store_enter(o->store);
	if (err)
		return NULL;
	if (idx >= TWZC_FOT_MAX) {
		twz__err(TWZ_E_BOUNDS, "%s: pointer names FOT entry %llu; a FOT has %u",
			 twz__obj_where(o), (unsigned long long)idx, TWZC_FOT_MAX - 1);
		return NULL;
	}
	e = entry_of(slot, idx);
	w = twz__word(e);
	if (!w && idx)
		err = resolve(o, idx, &w);
	else if (!w)
		w = twz__publish_self(slot);
	if (!err && !twz__in(twz_pptr_off(p), w))
		err = bounds(o, p, e, &w);
	return err ? NULL : address(w, p);
}

static inline void *lea_slot(uint64_t slot, twz_pptr p)
{
	uint64_t idx = twz_pptr_fot(p), w;

	if (twz__likely(idx < TWZC_FOT_MAX && idx)) {
		w = twz__word(entry_of(slot, idx));
		if (!w)
			w = twz__resolve_quick(slot, idx);
		if (twz__in(twz_pptr_off(p), w))
			return address(w, p);
	}
	return lea_full(slot, p);
}

void *twz__lea_slow(const void *from, twz_pptr p)
{
	uintptr_t addr = (uintptr_t)from;
	uint64_t slot = (addr >> TWZ_SLOT_SHIFT) - twz__ptr_rt.slot0, idx = twz_pptr_fot(p);

	if (!p.v)
		return NULL;
	if (slot >= twz__ptr_rt.slot_cnt) {
		twz__err(TWZ_E_INVAL,
			 "a persistent pointer was loaded from %p, an address in no open object",
			 from);
		return NULL;
	}
	if (twz__guess.left < 0 && idx && idx < TWZC_FOT_MAX)
		sample(addr & ~(uintptr_t)TWZ_SLOT_MASK, idx, entry_of(slot, idx));
	return lea_slot(slot, p);
}

void *twz__lea_tab_slow(const struct twz_slot *src, twz_pptr p)
{
	return p.v ? lea_slot((uint64_t)(src - twz_view_rt.slots), p) : NULL;
}

/* --- making pointers --- */

/* The open object ADDR lies in the data of, or NULL and the error. */
static struct twz_obj *object_of(const void *addr, const char *what)
{
	uint64_t slot = ((uintptr_t)addr >> TWZ_SLOT_SHIFT) - twz__ptr_rt.slot0,
		 off = (uintptr_t)addr & TWZ_SLOT_MASK;
	struct twz_obj *o = slot < twz__ptr_rt.slot_cnt ? twz_view_rt.slots[slot].obj : NULL;

	if (!o)
		twz__err(TWZ_E_INVAL, "%s %p is in no open object", what, addr);
	else if (off < TWZ_DATA_OFF || off >= twz_view_rt.slots[slot].end) {
		twz__err(TWZ_E_INVAL, "%s: %s: offset %#llx is outside its data", twz__obj_where(o),
			 what, (unsigned long long)off);
		o = NULL;
	}
	return o;
}

static int check_args(const struct twz_obj *o, uint64_t off, uint32_t perm)
{
	if (off < TWZ_DATA_OFF || off >= TWZ_TOP_OFF)
		return twz__err(TWZ_E_INVAL, "%s: offset %#llx is no offset of data",
				twz__obj_where(o), (unsigned long long)off);
	if (!perm || perm & ~(uint32_t)(TWZ_READ | TWZ_WRITE | TWZ_EXEC | TWZ_USE | TWZ_DEL))
		return twz__err(TWZ_E_INVAL, "%s: permissions %#x of a pointer", twz__obj_where(o),
				perm);
	return 0;
}

static int make(struct twz_obj *o, const struct twz_fot_pm *want, uint64_t off, twz_pptr *out)
{
	uint64_t idx;
	int err = check_args(o, off, want->perm);

	if (!err)
		err = twz__fot_need(o, want, &idx);
	if (!err)
		*out = twz_pptr_make(idx, off);
	return err;
}

int twz_ptr_make(const void *from, const void *target_addr, uint32_t perm, twz_pptr *out)
{
	struct twz_fot_pm want = {.kind = TWZC_FOT_ID, .perm = perm};
	struct twz_obj *o, *t;

	*out = TWZ_PPTR_NULL;
	if (!target_addr)
		return 0;
	o = object_of(from, "the place of a pointer");
	t = o ? object_of(target_addr, "the target of a pointer") : NULL;
	if (!t)
		return TWZ_E_INVAL;
	if (o == t) {
		*out = twz_pptr_make(0, (uintptr_t)target_addr & TWZ_SLOT_MASK);
		return check_args(o, twz_pptr_off(*out), perm);
	}
	if (o->store != t->store)
		return twz__err(TWZ_E_INVAL,
				"%s: a pointer into another store (%s) would not survive",
				twz__obj_where(o), t->store->path);
	want.target[0] = t->id.w[0];
	want.target[1] = t->id.w[1];
	return make(o, &want, (uintptr_t)target_addr & TWZ_SLOT_MASK, out);
}

int twz_ptr_make_id(const void *from, twz_oid id, uint64_t off, uint32_t perm, twz_pptr *out)
{
	struct twz_fot_pm want = {.target = {id.w[0], id.w[1]}, .kind = TWZC_FOT_ID, .perm = perm};
	struct twz_obj *o;

	*out = TWZ_PPTR_NULL;
	o = object_of(from, "the place of a pointer");
	if (!o)
		return TWZ_E_INVAL;
	if (twz_oid_is_null(id))
		return twz__err(TWZ_E_INVAL, "%s: a pointer to the null ID", twz__obj_where(o));
	if (!twz_oid_eq(id, o->id))
		return make(o, &want, off, out);
	*out = twz_pptr_make(0, off);
	return check_args(o, off, perm);
}

int twz_ptr_make_name(const void *from, const char *name, uint64_t off, uint32_t perm,
		      twz_pptr *out)
{
	struct twz_fot_pm want = {.kind = TWZC_FOT_NAME, .perm = perm};
	size_t len = name ? strlen(name) : 0;
	struct twz_obj *o;

	*out = TWZ_PPTR_NULL;
	o = object_of(from, "the place of a pointer");
	if (!o)
		return TWZ_E_INVAL;
	if (!len || len > 1023)
		return twz__err(TWZ_E_INVAL, "%s: a pointer to a name of %zu bytes: 1 .. 1023",
				twz__obj_where(o), len);
	if (len <= NAME_SHORT) {
		memcpy(want.target, name, len);
	} else {
		want.target[0] = XXH64(name, len, 0);
		want.target[1] = len | (uint64_t)NAME_BY_HASH << 56;
	}
	return make(o, &want, off, out);
}

int twz_ptr_store(twz_pptr *where, const void *target_addr, uint32_t perm)
{
	struct twz_obj *o = object_of(where, "the place of a pointer");
	twz_pptr p;
	int err;

	if (!o)
		return TWZ_E_INVAL;
	if (!(o->perm & TWZ_WRITE))
		return twz__err(TWZ_E_READONLY, "%s: opened for reading", twz__obj_where(o));
	err = twz_ptr_make(where, target_addr, perm, &p);
	if (!err)
		__atomic_store_n(&where->v, p.v, __ATOMIC_RELEASE);
	return err;
}
