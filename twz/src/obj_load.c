/* SPDX-License-Identifier: MIT
 * obj_load.c -- which objects this process has loaded: slots, mappings, references
 *
 * A handle's life, all under the store's mutex:
 *
 *	(none) --obj_load--> open, refs >= 1 --last put--> idle (resolution tables point at it) --detach--> unloaded
 *	                          ^--------------- get ---------/
 *
 * While an object is loaded it stands in this process's open-object array of the companion, entered
 * under the metadata lock: so whoever deletes it knows whether its space may be reused.
 */
#include "rt.h"

static uint64_t hash_of(twz_oid id)
{
	return ((id.w[0] ^ id.w[1]) * 0x9e3779b97f4a7c15ull) >> 54;
}

_Static_assert(RT_HASH_CNT == 1 << (64 - 54), "hash_of gives an index");

const char *twz__obj_name(struct twz_store *s, twz_oid id, char *buf, size_t len)
{
	char text[TWZ_OID_STR_LEN];

	snprintf(buf, len, "%s: object %s", s->path, twz_oid_str(id, text));
	return buf;
}

int twz__obj_err(struct twz_store *s, twz_oid id, int rc)
{
	char name[512];

	if (!rc)
		return 0;
	twz__obj_name(s, id, name, sizeof(name));
	switch (rc) {
	case TWZ_E_NOENT:
		return twz__err(rc, "%s does not exist: check the ID, or list the objects", name);
	case TWZ_E_EXIST:
		return twz__err(rc, "%s exists already: open it, or choose another ID", name);
	}
	return twz__core_err(s, rc, name + strlen(s->path) + 2);
}

/* --- extents --- */

/* Data pages beyond an object's length are not shown. Returns how many of the CNT extents stay. */
static uint32_t clip(const struct twzc_obj *obj, struct twzc_extent *ext, uint32_t cnt)
{
	uint32_t end = 1 + (uint32_t)(obj->len / TWZ_PAGE_SIZE), n = 0;

	for (uint32_t i = 0; i < cnt; i++) {
		struct twzc_extent e = ext[i];

		if (e.slot_page < TWZC_TOP_PAGE && e.slot_page >= end)
			continue;
		if (e.slot_page < TWZC_TOP_PAGE && e.cnt > end - e.slot_page)
			e.cnt = end - e.slot_page;
		ext[n++] = e;
	}
	return n;
}

/* All of them, into EXT. */
static int read_extents(struct twz_store *s, const struct twzc_obj *obj, struct twzc_extent *ext,
			uint32_t *cnt)
{
	uint32_t have = 0, n = 0;
	int rc = 0;

	while (have < obj->extent_cnt && !rc) {
		rc = twzc_obj_extents(&s->core, obj->id, have, ext + have, obj->extent_cnt - have,
				      &n);
		have += n;
		if (!rc && !n)
			break;
	}
	*cnt = rc ? 0 : clip(obj, ext, have);
	return rc;
}

int twz__obj_extents(struct twz_store *s, const struct twzc_obj *obj, struct twzc_extent **out,
		     uint32_t *cnt)
{
	struct twzc_extent *ext = calloc(obj->extent_cnt ? obj->extent_cnt : 1, sizeof(*ext));
	int rc;

	if (!ext)
		return twz__err(TWZ_E_NOMEM, "%s: out of memory", s->path);
	rc = read_extents(s, obj, ext, cnt);
	if (rc)
		free(ext);
	else
		*out = ext;
	return rc;
}

/* A page that is promised but not there would be a fault at the first touch (D10). */
static int check_cover(struct twz_store *s, const struct twzc_obj *obj,
		       const struct twzc_extent *ext, uint32_t cnt)
{
	uint32_t data_end = 1 + (uint32_t)(obj->len / TWZ_PAGE_SIZE), want = 1;
	char name[512];

	for (uint32_t i = 0; i < cnt; i++) {
		if (want == data_end)
			want = TWZC_META_PAGE - obj->fot_page_cnt;
		if (ext[i].slot_page > want)
			break;
		/* FOT pages may be there that the entry does not promise yet. */
		if (ext[i].slot_page + ext[i].cnt > want)
			want = ext[i].slot_page + ext[i].cnt;
	}
	if (want == TWZC_SLOT_PAGES)
		return 0;
	twz__obj_name(s, (twz_oid){{obj->id[0], obj->id[1]}}, name, sizeof(name));
	return twz__corrupt(name, "its extents leave slot page %u out", want);
}

int twz__obj_extents_whole(struct twz_store *s, const struct twzc_obj *obj,
			   struct twzc_extent **out, uint32_t *cnt)
{
	int rc = twz__obj_extents(s, obj, out, cnt);

	if (rc)
		return rc;
	rc = check_cover(s, obj, *out, *cnt);
	if (rc)
		free(*out);
	return rc;
}

int twz__obj_extents_changed(struct twz_store *s, const struct twzc_obj *obj,
			     struct twzc_extent *ext, uint32_t *cnt)
{
	int rc = read_extents(s, obj, ext, cnt);

	return rc ? rc : check_cover(s, obj, ext, *cnt);
}

/* What there is of a live object: its entry and extents, mostly found in one go. */
static int obj_look(struct twz_store *s, twz_oid id, struct twzc_obj *obj, struct twzc_extent **out,
		    uint32_t *cnt)
{
	struct twzc_extent *ext = malloc(TWZC_EXT_INLINE * sizeof(*ext));
	int rc;

	if (!ext)
		return twz__err(TWZ_E_NOMEM, "%s: out of memory", s->path);
	rc = twzc_obj_look(&s->core, id.w, obj, ext, TWZC_EXT_INLINE, cnt);
	if (!rc && obj->extent_cnt > *cnt) {
		free(ext);
		return twz__obj_extents_whole(s, obj, out, cnt);
	}
	if (!rc) {
		*cnt = clip(obj, ext, *cnt);
		rc = check_cover(s, obj, ext, *cnt);
	}
	if (rc)
		free(ext);
	else
		*out = ext;
	return rc;
}

static uint32_t first_mapped(const struct twz_obj *o)
{
	return o->unmapped ? TWZC_TOP_PAGE : 0;
}

int twz__obj_show(struct twz_obj *o, struct twzc_extent *ext, uint32_t cnt)
{
	int rc = twz__view_map(o->store->media, o->base, o->ext, o->ext_cnt, ext, cnt,
			       first_mapped(o), !!(o->perm & TWZ_WRITE));

	if (rc) {
		free(ext);
		return rc;
	}
	free(o->ext);
	o->ext = ext;
	o->ext_cnt = cnt;
	return 0;
}

/* Publish the slot: `end` last, so that a lock-free reader that sees it sees the rest. */
void twz__slot_fill(struct twz_obj *o)
{
	struct twz_slot *slot = &twz_view_rt.slots[o->slot];

	__atomic_store_n(&slot->obj, o, __ATOMIC_RELEASE);
	__atomic_store_n(&slot->end, TWZ_DATA_OFF + (o->unmapped ? 0 : o->len), __ATOMIC_SEQ_CST);
}

static void slot_clear(struct twz_obj *o)
{
	struct twz_slot *slot = &twz_view_rt.slots[o->slot];

	__atomic_store_n(&slot->end, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&slot->obj, NULL, __ATOMIC_RELEASE);
}

/* --- loading --- */

struct twz_obj *twz__obj_loaded(struct twz_store *s, twz_oid id)
{
	struct twz_obj *o = twz__rt(s)->hash[hash_of(id)];

	while (o && !twz_oid_eq(o->id, id))
		o = o->hash_next;
	return o;
}

static void list_add(struct twz_obj *o)
{
	struct twz_store *s = o->store;
	struct twz_obj **bucket = &twz__rt(s)->hash[hash_of(o->id)];

	o->hash_next = *bucket;
	*bucket = o;
	o->prev = NULL;
	o->next = s->objs;
	if (s->objs)
		s->objs->prev = o;
	s->objs = o;
}

static void list_remove(struct twz_obj *o)
{
	struct twz_store *s = o->store;
	struct twz_obj **p = &twz__rt(s)->hash[hash_of(o->id)];

	while (*p != o)
		p = &(*p)->hash_next;
	*p = o->hash_next;
	if (o->prev)
		o->prev->next = o->next;
	else
		s->objs = o->next;
	if (o->next)
		o->next->prev = o->prev;
}

/* Look the object up and enter it in the open-object array in one step against deletion. */
static int lookup_and_enter(struct twz_store *s, struct twz_obj *o, struct twzc_extent **ext,
			    uint32_t *cnt)
{
	struct twzc_obj obj;
	int rc;

	for (;;) {
		rc = twz__meta_lock(s);
		if (rc)
			return rc;
		rc = obj_look(s, o->id, &obj, ext, cnt);
		if (!twz__watch_moved(s))
			break;
		if (!rc)
			free(*ext);
	}
	if (!rc) {
		rc = twz__comp_open_add(s->comp, o->id, &o->open_idx);
		if (rc)
			free(*ext);
	}
	rc = twz__obj_err(s, o->id, rc);
	twz__meta_unlock(s);
	if (rc)
		return rc;
	o->len = obj.len;
	o->flags = obj.flags;
	o->kind = obj.kind;
	o->fot_pages = obj.fot_page_cnt;
	o->unmapped = (obj.flags & TWZ_OBJ_LOG) && s->granularity == TWZ_GRAN_PAGE;
	return 0;
}

/* Space of a deleted object is freed by whoever closes it last. */
static void reclaim_after(struct twz_store *s, twz_oid id)
{
	struct twzc_obj obj;

	if (s->watch)
		return;
	__atomic_thread_fence(
		__ATOMIC_SEQ_CST); /* pairs with twz_obj_delete: one of us sees the other */
	if (!__atomic_load_n(&s->comp->head->deleted_cnt, __ATOMIC_SEQ_CST) || twz__meta_lock(s))
		return;
	if (!twzc_obj_find_any(&s->core, id.w, &obj) && obj.state == TWZC_OBJ_DELETED &&
	    !twz__comp_is_open(s->comp, id, false) && !twzc_obj_reclaim(&s->core, id.w))
		__atomic_sub_fetch(&s->comp->head->deleted_cnt, 1, __ATOMIC_SEQ_CST);
	twz__meta_unlock(s);
}

static void obj_free(struct twz_obj *o)
{
	free(o->ext);
	free(o);
}

/*
 * With too many mappings the kernel may refuse to cut one out of another; replacing a mapping as it
 * is always works.
 */
static int unmap_pieces(struct twz_obj *o)
{
	struct twz__media *m = o->store->media;
	int rc = 0;

	for (uint32_t i = 0; i < o->ext_cnt && !rc; i++)
		if (o->ext[i].slot_page >= first_mapped(o) && o->ext[i].cnt)
			rc = m->ops->unmap(
				m,
				(void *)(o->base + (uint64_t)o->ext[i].slot_page * TWZ_PAGE_SIZE),
				o->ext[i].cnt * TWZ_PAGE_SIZE, 0);
	return rc;
}

/* The slot goes back only once nothing is mapped there. */
static void unmap_slot(struct twz_obj *o)
{
	struct twz__media *m = o->store->media;

	if (!twz__view_unmap(m, o->slot) || !unmap_pieces(o))
		twz__view_give(o->slot);
}

/* Map O, whose slot and extents are known, and make it findable. */
static int obj_map(struct twz_obj *o, struct twzc_extent *ext, uint32_t cnt)
{
	int rc = twz__obj_show(o, ext, cnt);

	if (rc)
		return rc;
	o->meta = (void *)(o->base + TWZ_META_OFF);
	twz__slot_fill(o);
	rc = twz__ptr_attach(o);
	if (rc)
		slot_clear(o);
	else
		list_add(o);
	return rc;
}

static int obj_load(struct twz_store *s, twz_oid id, uint32_t perm, struct twz_obj **out)
{
	struct twz_obj *o = calloc(1, sizeof(*o));
	struct twzc_extent *ext;
	uint32_t cnt;
	int rc;

	if (!o)
		return twz__err(TWZ_E_NOMEM, "%s: out of memory", s->path);
	o->store = s;
	o->id = id;
	o->perm = perm;
	rc = twz__view_take(&o->slot);
	if (rc)
		goto no_slot;
	o->base = twz__view_base(o->slot);
	rc = lookup_and_enter(s, o, &ext, &cnt);
	if (rc)
		goto no_entry;
	rc = obj_map(o, ext, cnt);
	if (rc)
		goto no_map;
	*out = o;
	return 0;
no_map:
	unmap_slot(o);
	twz__comp_open_del(s->comp, o->open_idx);
	reclaim_after(s, id);
	obj_free(o);
	return rc;
no_entry:
	twz__view_give(o->slot);
no_slot:
	obj_free(o);
	return rc;
}

static void release_lock(struct twz_obj *o)
{
	if (__atomic_exchange_n(&o->locked, false, __ATOMIC_ACQ_REL))
		twz__robust_unlock(&o->lock->mutex); /* does nothing if another thread holds it */
}

static void obj_unload(struct twz_obj *o)
{
	struct twz_store *s = o->store;
	twz_oid id = o->id;

	slot_clear(o);
	list_remove(o);
	release_lock(o);
	unmap_slot(o);
	twz__comp_open_del(s->comp, o->open_idx);
	reclaim_after(s, id);
	obj_free(o);
}

/*
 * O lost its last handle: unload it, and what only it pointed at (contract in internal.h). s->mutex
 * held.
 */
static void detach(struct twz_obj *o)
{
	struct twz_obj *idle = o;

	o->idle_next = NULL;
	while ((o = idle)) {
		idle = o->idle_next;
		if (twz__ptr_detach(o, &idle))
			obj_unload(o);
	}
}

static int raise_perm(struct twz_obj *o, uint32_t perm)
{
	struct twz_store *s = o->store;
	uint32_t old = o->perm;
	int rc;

	if (!(perm & ~old))
		return 0;
	o->perm |= perm;
	if (!(perm & ~old & TWZ_WRITE))
		return 0;
	/* As if nothing were mapped yet: each mapping is replaced by a writable one at once. */
	rc = twz__view_map(s->media, o->base, NULL, 0, o->ext, o->ext_cnt, first_mapped(o), 1);
	if (rc)
		o->perm = old;
	return rc;
}

static int still_there(struct twz_store *s, twz_oid id)
{
	struct twzc_obj obj;
	int rc;

	do {
		rc = twz__meta_lock(s);
		if (rc)
			return rc;
		rc = twzc_obj_find(&s->core, id.w, &obj);
	} while (twz__watch_moved(s));
	rc = twz__obj_err(s, id, rc);
	twz__meta_unlock(s);
	return rc;
}

int twz__obj_get(struct twz_store *s, twz_oid id, uint32_t perm, struct twz_obj **out)
{
	struct twz_obj *o;
	int rc;

	*out = NULL;
	pthread_mutex_lock(&s->mutex);
	o = twz__obj_loaded(s, id);
	if (o) {
		rc = still_there(s, id); /* it may have been deleted since */
		if (!rc)
			rc = raise_perm(o, perm);
	} else {
		rc = obj_load(s, id, perm, &o);
	}
	if (!rc) {
		o->refs++;
		*out = o;
	}
	pthread_mutex_unlock(&s->mutex);
	return rc;
}

void twz__obj_put(struct twz_obj *o)
{
	struct twz_store *s = o->store;

	pthread_mutex_lock(&s->mutex);
	o->closed_early = --o->refs;
	if (!o->refs)
		detach(o);
	pthread_mutex_unlock(&s->mutex);
}

void twz__obj_put_pinned(struct twz_obj *o)
{
	struct twz_store *s = o->store;
	bool look;

	pthread_mutex_lock(&s->mutex);
	if (!--o->refs) {
		/* Whoever closed another handle meanwhile left the search for a cycle to us. */
		look = o->closed_early || !twz__ptr_pinned(o);
		o->closed_early = false;
		if (look)
			detach(o);
	}
	pthread_mutex_unlock(&s->mutex);
}

static void unload_forked(struct twz_obj *o)
{
	slot_clear(o);
	list_remove(o);
	twz__view_give(o->slot); /* made inaccessible when we were forked */
	obj_free(o);
}

void twz__obj_close_all(struct twz_store *s, bool forked)
{
	struct twz_obj *o, *idle = NULL;

	if (forked)
		pthread_mutex_init(&s->mutex,
				   NULL); /* may have been held by a thread of the parent */
	pthread_mutex_lock(&s->mutex);
	twz__ptr_detach_all(s);
	while ((o = s->objs)) {
		o->refs = 0;
		(void)twz__ptr_detach(o, &idle);
		if (forked)
			unload_forked(o);
		else
			obj_unload(o);
	}
	pthread_mutex_unlock(&s->mutex);
}
