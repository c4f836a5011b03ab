/* SPDX-License-Identifier: MIT
 * obj.c -- objects as the public calls see them: create, open, delete, size, enumeration, locks
 */
#include "rt.h"
#include "tx_internal.h"

#include <sys/mman.h>
#include <time.h>
#include <uuid/uuid.h>

/* --- create, open, close, delete --- */

static int check_perm(struct twz_store *s, uint32_t perm)
{
	if (perm != TWZ_READ && perm != (TWZ_READ | TWZ_WRITE))
		return twz__err(
			TWZ_E_INVAL,
			"%s: objects are opened with TWZ_READ or TWZ_READ | TWZ_WRITE, not %#x",
			s->path, perm);
	return 0;
}

int twz_obj_open(struct twz_store *s, twz_oid id, uint32_t perm, struct twz_obj **out)
{
	int rc = twz__store_enter(s);

	*out = NULL;
	if (!rc)
		rc = check_perm(s, perm);
	/* A dead process's transaction is rolled back before its objects are opened (D8). */
	if (!rc)
		rc = twz__reap(s);
	return rc ? rc : twz__obj_get(s, id, perm, out);
}

void twz_obj_close(struct twz_obj *o)
{
	if (o && !twz__store_forked(o->store))
		twz__obj_put(o);
}

static int create_args(struct twz_store *s, const struct twz_obj_options *opt,
		       struct twzc_obj_args *args)
{
	const uint32_t known =
		TWZ_OBJ_LOG | TWZ_OBJ_TXLOG | TWZ_OBJ_NAMES | TWZ_OBJ_ENGINE | TWZ_OBJ_CONTIGUOUS;
	uuid_t uuid;

	memset(args, 0, sizeof(*args));
	if (!opt || opt->size < sizeof(*opt))
		return twz__err(TWZ_E_INVAL, "%s: struct twz_obj_options: set .size to its sizeof",
				s->path);
	if (opt->len == 0 || opt->len > TWZ_OBJ_SIZE_MAX)
		return twz__err(TWZ_E_INVAL, "%s: an object has 4 KiB to 1 GiB, not %llu bytes",
				s->path, (unsigned long long)opt->len);
	if (opt->flags & ~known)
		return twz__err(TWZ_E_INVAL, "%s: unknown object flags %#x", s->path,
				opt->flags & ~known);
	args->len = (opt->len + TWZ_PAGE_SIZE - 1) & ~(TWZ_PAGE_SIZE - 1);
	if (args->len > TWZ_DATA_MAX)
		args->len = TWZ_DATA_MAX;
	args->flags = opt->flags;
	args->kind = opt->kind;
	args->contiguous = !!(opt->flags & TWZ_OBJ_CONTIGUOUS);
	memcpy(args->id, opt->id.w, sizeof(args->id));
	if (twz_oid_is_null(opt->id)) {
		uuid_generate_random(uuid);
		memcpy(args->id, uuid, sizeof(args->id));
	}
	return 0;
}

static int create_locked(struct twz_store *s, const struct twzc_obj_args *args)
{
	twz_oid id = {{args->id[0], args->id[1]}};
	int rc = twz__meta_lock(s);

	if (rc)
		return rc;
	rc = twz__obj_err(s, id, twzc_obj_create(&s->core, args));
	twz__meta_unlock(s);
	return rc;
}

/* Does a deleted object hold this ID? */
static bool is_deleted(struct twz_store *s, const u64 id[2])
{
	struct twzc_obj obj;
	bool deleted;

	if (twz__meta_lock(s))
		return false;
	deleted = !twzc_obj_find_any(&s->core, id, &obj) && obj.state != TWZC_OBJ_LIVE;
	twz__meta_unlock(s);
	return deleted;
}

/*
 * Deleted objects may stand in the way, of space or of an ID, that nobody has open any more:
 * whoever deleted them, or had them open, died.
 */
static int create_tidily(struct twz_store *s, const struct twzc_obj_args *args)
{
	int rc = create_locked(s, args);
	char name[512];

	if (!(rc == TWZ_E_NOSPC && s->comp->head->deleted_cnt) &&
	    !(rc == TWZ_E_EXIST && is_deleted(s, args->id)))
		return rc;
	if (!twz__reap(s) && !twz__reclaim(s))
		rc = create_locked(s, args);
	if (rc == TWZ_E_EXIST && is_deleted(s, args->id))
		twz__err(rc, "%s is deleted but still open: close it, or choose another ID",
			 twz__obj_name(s, (twz_oid){{args->id[0], args->id[1]}}, name,
				       sizeof(name)));
	return rc;
}

int twz_obj_create(struct twz_store *s, const struct twz_obj_options *opt, twz_oid *id,
		   struct twz_obj **out)
{
	struct twzc_obj_args args;
	twz_oid made;
	int rc = twz__store_enter_meta(s, "creating an object");

	if (out)
		*out = NULL;
	if (id)
		*id = (twz_oid){{0, 0}};
	if (rc || (rc = create_args(s, opt, &args)))
		return rc;
	rc = create_tidily(s, &args);
	if (rc)
		return rc;
	made = (twz_oid){{args.id[0], args.id[1]}};
	if (out) {
		rc = twz__obj_get(s, made, TWZ_READ | TWZ_WRITE, out);
		if (rc) { /* nobody knows it yet: as if it had not been created */
			if (twz__obj_delete(s, made))
				return twz__err_in(
					rc,
					"%s: a new object could be created but not opened or deleted",
					s->path);
			return rc;
		}
	}
	if (id)
		*id = made;
	return 0;
}

/* Undo logs are deleted by recovery only. */
static int check_deletable(struct twz_store *s, twz_oid id)
{
	char name[512];
	struct twzc_obj obj;
	bool is_log;
	int rc = twz__meta_lock(s);

	if (rc)
		return rc;
	is_log = !twzc_obj_find(&s->core, id.w, &obj) && (obj.flags & TWZ_OBJ_TXLOG) &&
		 twz__txlog_is_head(s, id);
	twz__meta_unlock(s);
	return is_log ? twz__err(TWZ_E_INVAL, "%s is an undo log of the store, which needs it",
				 twz__obj_name(s, id, name, sizeof(name)))
		      : 0;
}

int twz_obj_delete(struct twz_store *s, twz_oid id)
{
	int rc = twz__store_enter_meta(s, "deleting an object");

	if (!rc)
		rc = check_deletable(s, id);
	return rc ? rc : twz__obj_delete(s, id);
}

int twz__obj_delete(struct twz_store *s, twz_oid id)
{
	uint64_t *deleted_cnt;
	int rc = twz__store_enter(s);

	if (!rc)
		rc = twz__reap(s);
	if (!rc)
		rc = twz__meta_lock(s);
	if (rc)
		return rc;
	rc = twz__obj_err(s, id, twzc_obj_delete(&s->core, id.w));
	if (!rc) {
		deleted_cnt = &s->comp->head->deleted_cnt;
		/*
		 * First the count, then the look: who closes it meanwhile sees the count or is
		 * seen.
		 */
		__atomic_add_fetch(deleted_cnt, 1, __ATOMIC_SEQ_CST);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		/* It is deleted whether or not its space can be freed now. */
		if (!twz__comp_is_open(s->comp, id, false) && !twzc_obj_reclaim(&s->core, id.w))
			__atomic_sub_fetch(deleted_cnt, 1, __ATOMIC_SEQ_CST);
	}
	twz__meta_unlock(s);
	return rc;
}

/* --- size --- */

/* Read the object's present extents and length; the metadata lock is held. */
static int reread(struct twz_obj *o, struct twzc_obj *obj, struct twzc_extent **ext, uint32_t *cnt)
{
	int rc = twzc_obj_find_any(&o->store->core, o->id.w, obj);

	return rc ? rc : twz__obj_extents_whole(o->store, obj, ext, cnt);
}

/* Show what the object has become: never less than before (shrinking does that itself). */
static int follow(struct twz_obj *o, const struct twzc_obj *obj, struct twzc_extent *ext,
		  uint32_t cnt)
{
	int rc = twz__obj_show(o, ext, cnt);

	if (rc)
		return rc;
	/* Relaxed: twz_obj_len() reads it without the mutex. */
	__atomic_store_n(&o->len, obj->len, __ATOMIC_RELAXED);
	__atomic_store_n(&o->fot_pages, obj->fot_page_cnt, __ATOMIC_RELEASE);
	twz__slot_fill(o);
	twz__ptr_resized(o);
	return 0;
}

static int refresh_locked(struct twz_obj *o)
{
	struct twz_store *s = o->store;
	struct twzc_extent *ext;
	struct twzc_obj obj;
	uint32_t cnt;
	int rc;

	for (;;) {
		rc = twz__meta_lock(s);
		if (rc)
			return rc;
		rc = reread(o, &obj, &ext, &cnt);
		if (!twz__watch_moved(s))
			break;
		if (!rc)
			free(ext);
	}
	rc = twz__obj_err(s, o->id, rc);
	twz__meta_unlock(s);
	return rc ? rc : follow(o, &obj, ext, cnt);
}

int twz_obj_refresh(struct twz_obj *o)
{
	int rc = twz__store_enter(o->store);

	if (rc)
		return rc;
	pthread_mutex_lock(&o->store->mutex);
	rc = refresh_locked(o);
	pthread_mutex_unlock(&o->store->mutex);
	return rc;
}

void twz_obj_populate(struct twz_obj *o, uint64_t off, uint64_t len)
{
	uint64_t end = off + len;

	if (o->store->granularity == TWZ_GRAN_PAGE || off < TWZ_DATA_OFF || end < off ||
	    end > TWZ_DATA_OFF + twz_obj_len(o) || !len)
		return;
	off &= ~(uint64_t)(TWZ_PAGE_SIZE - 1);
	(void)!madvise((uint8_t *)twz_obj_base(o) + off, end - off, MADV_POPULATE_WRITE);
}

/* OP on the file's part of slot offsets [OFF, OFF + LEN), extent by extent. The store's mutex is held. */
static int on_extents(struct twz_obj *o, uint64_t off, uint64_t len,
		      int (*op)(struct twz__media *m, uint64_t off, uint64_t len))
{
	int rc = 0;

	for (uint32_t i = 0; i < o->ext_cnt && !rc; i++) {
		const struct twzc_extent *e = &o->ext[i];
		uint64_t from = e->slot_page * TWZ_PAGE_SIZE, to = from + e->cnt * TWZ_PAGE_SIZE;
		uint64_t a = from > off ? from : off, b = to < off + len ? to : off + len;

		if (a < b)
			rc = op(o->store->media, e->file_page * TWZ_PAGE_SIZE + (a - from), b - a);
	}
	return rc;
}

static int give_or_take(struct twz_obj *o, uint64_t off, uint64_t len,
			int (*op)(struct twz__media *m, uint64_t off, uint64_t len))
{
	struct twz_store *s = o->store;
	char name[512];
	int rc = twz__store_enter(s);

	if (rc)
		return rc;
	if (off % TWZ_PAGE_SIZE || len % TWZ_PAGE_SIZE || off < TWZ_DATA_OFF ||
	    len > TWZ_DATA_MAX || off - TWZ_DATA_OFF + len > twz_obj_len(o))
		return twz__err(TWZ_E_INVAL, "%s: no pages of its data",
				twz__obj_name(s, o->id, name, sizeof(name)));
	pthread_mutex_lock(&s->mutex);
	rc = on_extents(o, off, len, op);
	pthread_mutex_unlock(&s->mutex);
	return rc;
}

int twz_obj_give(struct twz_obj *o, uint64_t off, uint64_t len)
{
	const struct twz__media_ops *ops = o->store->media->ops;

	return ops->give ? give_or_take(o, off, len, ops->give)
			 : twz__err(TWZ_E_FS, "%s: space cannot be given back", o->store->path);
}

int twz_obj_take(struct twz_obj *o, uint64_t off, uint64_t len)
{
	const struct twz__media_ops *ops = o->store->media->ops;

	return ops->take ? give_or_take(o, off, len, ops->take) : 0;
}

/* With the metadata lock: the object gets LEN bytes; *OBJ and EXT say what it is then. */
static int resize_meta(struct twz_obj *o, uint64_t len, bool shrink, struct twzc_obj *obj,
		       struct twzc_extent *ext, uint32_t *cnt)
{
	struct twz_store *s = o->store;
	char name[512];
	int rc;

	if (shrink && twz__comp_is_open(s->comp, o->id, true))
		return twz__err(
			TWZ_E_BUSY,
			"%s is open in another process and cannot shrink: close it there first",
			twz__obj_name(s, o->id, name, sizeof(name)));
	rc = twzc_obj_resize(&s->core, o->id.w, len);
	if (!rc)
		rc = twzc_obj_find_any(&s->core, o->id.w, obj);
	if (!rc)
		rc = twz__obj_extents_changed(s, obj, ext, cnt);
	return twz__obj_err(s, o->id, rc);
}

/* Core's part of a resize, and what it made of the object. Memory for that is had before: once it is so, it is told. */
static int resize_core(struct twz_obj *o, uint64_t len, bool shrink, struct twzc_obj *obj,
		       struct twzc_extent **out, uint32_t *cnt)
{
	struct twz_store *s = o->store;
	struct twzc_extent *ext = malloc(TWZC_EXTENTS_MAX * sizeof(*ext)), *less;
	int rc;

	if (!ext)
		return twz__err(TWZ_E_NOMEM, "%s: out of memory", s->path);
	rc = twz__meta_lock(s);
	if (!rc) {
		rc = resize_meta(o, len, shrink, obj, ext, cnt);
		twz__meta_unlock(s);
	}
	if (rc) {
		free(ext);
		return rc;
	}
	less = realloc(ext, (*cnt ? *cnt : 1) * sizeof(*ext));
	*out = less ? less : ext;
	return 0;
}

static void hide_tail(struct twz_obj *o, uint64_t len)
{
	struct twz__media *m = o->store->media;

	__atomic_store_n(&o->len, len, __ATOMIC_RELAXED);
	twz__slot_fill(o);
	twz__ptr_resized(o);
	if (!o->unmapped)
		(void)m->ops->unmap(m, (void *)(o->base + TWZ_DATA_OFF + len),
				    TWZ_TOP_OFF - TWZ_DATA_OFF - len, 0);
	for (uint32_t i = 0; i < o->ext_cnt;
	     i++) { /* what is no longer mapped must not count as mapped */
		struct twzc_extent *e = &o->ext[i];
		uint32_t end = 1 + (uint32_t)(len / TWZ_PAGE_SIZE);

		if (e->slot_page < TWZC_TOP_PAGE && e->slot_page + e->cnt > end)
			e->cnt = e->slot_page < end ? end - e->slot_page : 0;
	}
}

/* The tail must be out of reach before its pages can belong to another object. */
static int shrink_locked(struct twz_obj *o, uint64_t len)
{
	struct twz_store *s = o->store;
	struct twzc_extent *ext;
	struct twzc_obj obj;
	uint32_t cnt;
	char name[512];
	int rc;

	if (twz__comp_is_open(s->comp, o->id, true))
		return twz__err(
			TWZ_E_BUSY,
			"%s is open in another process and cannot shrink: close it there first",
			twz__obj_name(s, o->id, name, sizeof(name)));
	hide_tail(o, len);
	rc = resize_core(o, len, true, &obj, &ext, &cnt);
	if (!rc)
		return follow(o, &obj, ext, cnt);
	if (refresh_locked(o))
		return twz__err_in(rc, "%s: its end is not mapped any more",
				   twz__obj_name(s, o->id, name, sizeof(name)));
	return rc;
}

/* GROW: never to less. */
static int resize_locked(struct twz_obj *o, uint64_t len, bool grow)
{
	struct twzc_extent *ext;
	struct twzc_obj obj;
	uint32_t cnt;
	int rc = refresh_locked(o); /* another process may have grown it */

	if (rc || len == o->len || (grow && len < o->len))
		return rc;
	if (len < o->len)
		return shrink_locked(o, len);
	rc = resize_core(o, len, false, &obj, &ext, &cnt);
	return rc ? rc : follow(o, &obj, ext, cnt);
}

_Thread_local bool twz__media_fills;

static int resize(struct twz_obj *o, uint64_t len, bool grow, bool ahead)
{
	struct twz_store *s = o->store;
	char name[512];
	int rc = twz__store_enter_meta(s, "resizing an object");

	if (rc)
		return rc;
	twz__obj_name(s, o->id, name, sizeof(name));
	if (len == 0 || len > TWZ_OBJ_SIZE_MAX)
		return twz__err(TWZ_E_INVAL, "%s: an object has 4 KiB to 1 GiB, not %llu bytes",
				name, (unsigned long long)len);
	if (!(o->perm & TWZ_WRITE))
		return twz__err(TWZ_E_PERM, "%s is open for reading only: open it with TWZ_WRITE",
				name);
	len = (len + TWZ_PAGE_SIZE - 1) & ~(TWZ_PAGE_SIZE - 1);
	if (len > TWZ_DATA_MAX)
		len = TWZ_DATA_MAX;
	if (!grow && len < o->len && twz__tx_uses(o))
		return twz__err(
			TWZ_E_STATE,
			"%s cannot shrink inside a transaction that changes it: commit first",
			name);
	pthread_mutex_lock(&s->mutex);
	twz__media_fills = ahead;
	rc = resize_locked(o, len, grow);
	twz__media_fills = false;
	pthread_mutex_unlock(&s->mutex);
	return rc;
}

int twz_obj_resize(struct twz_obj *o, uint64_t len)
{
	return resize(o, len, false, false);
}

int twz_obj_grow(struct twz_obj *o, uint64_t len, bool ahead)
{
	uint64_t was = twz_obj_len(o);
	int rc = resize(o, len, true, ahead);

	if (!rc && ahead && twz_obj_len(o) > was)
		twz_obj_populate(o, TWZ_DATA_OFF + was, twz_obj_len(o) - was);
	return rc;
}

static int fot_reserve_locked(struct twz_obj *o, uint32_t pages)
{
	struct twz_store *s = o->store;
	struct twzc_extent *ext;
	struct twzc_obj obj;
	uint32_t cnt;
	int rc;

	if (pages <= o->fot_pages)
		return 0;
	rc = twz__meta_lock(s);
	if (rc)
		return rc;
	rc = twzc_obj_find_any(&s->core, o->id.w, &obj);
	if (!rc && obj.fot_page_cnt < pages)
		rc = twzc_obj_fot_grow(&s->core, o->id.w, pages);
	if (!rc)
		rc = reread(o, &obj, &ext, &cnt);
	rc = twz__obj_err(s, o->id, rc);
	twz__meta_unlock(s);
	return rc ? rc : follow(o, &obj, ext, cnt);
}

int twz__fot_reserve(struct twz_obj *o, uint64_t idx)
{
	char name[512];
	int rc;

	if (idx >= TWZC_FOT_MAX)
		return twz__err(TWZ_E_NOSPC,
				"%s: its FOT has no entry %llu, only %u: use fewer targets",
				twz__obj_name(o->store, o->id, name, sizeof(name)),
				(unsigned long long)idx, TWZC_FOT_MAX);
	pthread_mutex_lock(&o->store->mutex);
	rc = fot_reserve_locked(o, twzc_fot_pages(idx));
	pthread_mutex_unlock(&o->store->mutex);
	return rc;
}

int twz__obj_file_off(struct twz_obj *o, uint64_t off, uint64_t *file_off, uint64_t *run)
{
	uint64_t page = off / TWZ_PAGE_SIZE;
	char name[512];
	int rc = TWZ_E_BOUNDS;

	*file_off = *run = 0;
	pthread_mutex_lock(&o->store->mutex);
	for (uint32_t i = 0; i < o->ext_cnt && rc; i++) {
		const struct twzc_extent *e = &o->ext[i];

		if (page < e->slot_page || page >= (uint64_t)e->slot_page + e->cnt)
			continue;
		*file_off = (e->file_page + (page - e->slot_page)) * TWZ_PAGE_SIZE +
			    off % TWZ_PAGE_SIZE;
		*run = (uint64_t)(e->slot_page + e->cnt) * TWZ_PAGE_SIZE - off;
		rc = 0;
	}
	pthread_mutex_unlock(&o->store->mutex);
	if (rc)
		return twz__err(rc, "%s has no offset %llu",
				twz__obj_name(o->store, o->id, name, sizeof(name)),
				(unsigned long long)off);
	return 0;
}

/* --- what it is --- */

static int check_stat_size(const struct twz_obj_stat *st)
{
	if (st->size < sizeof(*st))
		return twz__err(TWZ_E_INVAL, "struct twz_obj_stat: set .size to its sizeof");
	return 0;
}

static void stat_fill(struct twz_store *s, const struct twzc_obj *obj, struct twz_obj_stat *st)
{
	size_t size = st->size;
	struct twz_obj *o;

	memset(st, 0, sizeof(*st));
	st->size = size;
	memcpy(st->id.w, obj->id, sizeof(st->id.w));
	st->len = obj->len;
	st->flags = obj->flags;
	st->kind = obj->kind;
	st->extent_cnt = obj->extent_cnt;
	st->space_len = obj->pages * TWZ_PAGE_SIZE;
	st->ctime = obj->ctime;
	o = twz__obj_loaded(s, st->id);
	if (o) {
		st->open_cnt = o->refs;
		st->mapped = !o->unmapped;
	}
}

/* FOT entries in use, read from the image: the object need not be open. Metadata lock held. */
static int count_fot(struct twz_store *s, const struct twzc_obj *obj, uint32_t *out)
{
	struct twzc_extent *ext;
	uint32_t cnt;
	int rc = twz__obj_extents(s, obj, &ext, &cnt);

	if (rc)
		return rc;
	for (uint32_t i = 0; i < cnt; i++)
		for (uint32_t p = 0; ext[i].slot_page >= TWZC_TOP_PAGE && p < ext[i].cnt; p++) {
			bool meta = ext[i].slot_page + p == TWZC_META_PAGE;
			const char *page = s->core.ops->at(
				s, (ext[i].file_page + p) * TWZ_PAGE_SIZE, TWZ_PAGE_SIZE);
			const struct twz_fot_pm *fot =
				(const void *)(page +
					       (meta ? offsetof(struct twz_meta_pm, fot) : 0));

			for (uint32_t n = 0;
			     page && n < (meta ? TWZC_FOT_META_CNT : TWZC_FOT_PAGE_CNT); n++)
				*out += fot[n].sum != 0 && !(meta && n == 0);
		}
	free(ext);
	return 0;
}

static int stat_locked(struct twz_store *s, twz_oid id, bool deleted, struct twz_obj_stat *st)
{
	struct twzc_obj obj;
	int rc = twz__meta_lock(s);

	if (rc)
		return rc;
	rc = deleted ? twzc_obj_find_any(&s->core, id.w, &obj)
		     : twzc_obj_find(&s->core, id.w, &obj);
	if (!rc) {
		stat_fill(s, &obj, st);
		rc = count_fot(s, &obj, &st->fot_cnt);
	}
	rc = twz__obj_err(s, id, rc);
	twz__meta_unlock(s);
	return rc;
}

static int obj_stat(struct twz_store *s, twz_oid id, bool deleted, struct twz_obj_stat *st)
{
	int rc = twz__store_enter(s);

	if (rc || (rc = check_stat_size(st)))
		return rc;
	pthread_mutex_lock(&s->mutex);
	rc = stat_locked(s, id, deleted, st);
	pthread_mutex_unlock(&s->mutex);
	return rc;
}

int twz_obj_stat(struct twz_obj *o, struct twz_obj_stat *st)
{
	return obj_stat(o->store, o->id, true, st);
}

int twz_obj_stat_id(struct twz_store *s, twz_oid id, struct twz_obj_stat *st)
{
	return obj_stat(s, id, false, st);
}

static int next_locked(struct twz_store *s, uint64_t *cursor, struct twz_obj_stat *st)
{
	struct twzc_obj obj;
	int rc = twz__meta_lock(s);

	if (rc)
		return rc;
	rc = twzc_obj_next(&s->core, cursor, false, &obj);
	if (!rc) {
		stat_fill(s, &obj, st);
		rc = count_fot(s, &obj, &st->fot_cnt);
	}
	if (rc == TWZ_E_NOENT)
		twz__err(rc, "%s: no more objects", s->path);
	else
		rc = twz__core_err(s, rc, "enumerate");
	twz__meta_unlock(s);
	return rc;
}

int twz_obj_next(struct twz_store *s, uint64_t *cursor, struct twz_obj_stat *st)
{
	int rc = twz__store_enter(s);

	if (rc || (rc = check_stat_size(st)))
		return rc;
	pthread_mutex_lock(&s->mutex);
	rc = next_locked(s, cursor, st);
	pthread_mutex_unlock(&s->mutex);
	return rc;
}

void *twz_obj_base(const struct twz_obj *o)
{
	return (void *)o->base;
}

void *twz_obj_data(const struct twz_obj *o)
{
	return o->unmapped ? NULL : (void *)(o->base + TWZ_DATA_OFF);
}

uint64_t twz_obj_len(const struct twz_obj *o)
{
	return __atomic_load_n(&o->len, __ATOMIC_RELAXED);
}

twz_oid twz_obj_id(const struct twz_obj *o)
{
	return o->id;
}

struct twz_store *twz_obj_store(const struct twz_obj *o)
{
	return o->store;
}

struct twz_obj *twz_obj_at(const void *addr)
{
	uint64_t slot = ((uintptr_t)addr - twz_view_rt.base) >> TWZ_SLOT_SHIFT;

	if (!twz_view_rt.slots || slot >= twz_view_rt.slot_cnt)
		return NULL;
	if (!__atomic_load_n(&twz_view_rt.slots[slot].end, __ATOMIC_ACQUIRE))
		return NULL;
	return __atomic_load_n(&twz_view_rt.slots[slot].obj, __ATOMIC_ACQUIRE);
}

/* --- locks --- */

static int find_lock(struct twz_obj *o)
{
	struct twz_store *s = o->store;
	int rc = 0;

	pthread_mutex_lock(&s->mutex);
	if (!o->lock)
		rc = twz__comp_obj_lock(s->comp, o->open_idx, &o->lock);
	pthread_mutex_unlock(&s->mutex);
	return rc;
}

/* The checkers of data races (TSan) do not know the call that takes another clock than the wall's, which may be set. */
#if defined(__SANITIZE_THREAD__)
#define LOCK_CLOCK	 CLOCK_REALTIME
#define lock_until(m, t) pthread_mutex_timedlock(m, t)
#else
#define LOCK_CLOCK	 CLOCK_MONOTONIC
#define lock_until(m, t) pthread_mutex_clocklock(m, LOCK_CLOCK, t)
#endif

static int wait_lock(pthread_mutex_t *m, int timeout_ms)
{
	struct timespec ts;

	if (timeout_ms < 0)
		return pthread_mutex_lock(m);
	if (timeout_ms == 0)
		return pthread_mutex_trylock(m);
	clock_gettime(LOCK_CLOCK, &ts);
	ts.tv_sec += timeout_ms / 1000;
	ts.tv_nsec += timeout_ms % 1000 * 1000000L;
	if (ts.tv_nsec >= 1000000000L) {
		ts.tv_sec++;
		ts.tv_nsec -= 1000000000L;
	}
	return lock_until(m, &ts);
}

static int lock_err(struct twz_obj *o, int err)
{
	char name[512];

	twz__obj_name(o->store, o->id, name, sizeof(name));
	switch (err) {
	case EBUSY:
		return twz__err(TWZ_E_BUSY, "%s is locked by another thread or process: try again",
				name);
	case ETIMEDOUT:
		return twz__err(TWZ_E_TIMEOUT,
				"%s is still locked by another thread or process: try again", name);
	case EDEADLK:
		return twz__err(TWZ_E_STATE, "%s is locked by this thread already", name);
	case ENOTRECOVERABLE:
		return twz__err(
			TWZ_E_FAILED,
			"%s: what a process left that died with its lock could not be rolled "
			"back: close the store in every process and open it again",
			name);
	}
	return twz__err(-err, "%s: lock: %s", name, strerror(err));
}

/*
 * D8: what a dead owner left half done is rolled back before anybody else sees it. The mutex is
 * ours.
 */
static int after_owner_death(struct twz_obj *o)
{
	struct comp_lock_pm *l = o->lock;
	int rc;

	twz__comp_await_death(o->store->comp, l->owner_proc, l->owner_incarnation);
	rc = twz__reap(o->store);
	if (!rc)
		rc = -pthread_mutex_consistent(&l->mutex.m);
	if (rc)
		pthread_mutex_unlock(
			/* not made consistent: nobody gets it until the store is reopened */
			&l->mutex.m);
	return rc;
}

static void set_owner(struct twz_obj *o, bool locked)
{
	struct comp_lock_pm *l = o->lock;

	l->owner_proc = locked ? o->store->comp->self : 0;
	l->owner_incarnation = locked ? o->store->comp->incarnation : 0;
	__atomic_store_n(&o->lock_owner, locked ? (uintptr_t)pthread_self() : 0, __ATOMIC_RELAXED);
	__atomic_store_n(&o->locked, locked, __ATOMIC_RELEASE);
}

static bool is_mine(struct twz_obj *o)
{
	return __atomic_load_n(&o->locked, __ATOMIC_ACQUIRE) &&
	       __atomic_load_n(&o->lock_owner, __ATOMIC_RELAXED) == (uintptr_t)pthread_self();
}

int twz_obj_lock(struct twz_obj *o, int timeout_ms)
{
	int rc = twz__store_enter(o->store), err;

	if (!rc && o->store->watch)
		rc = twz__err(TWZ_E_READONLY, "%s: a lock cannot be taken to be read only",
			      o->store->path);
	if (rc || (rc = find_lock(o)))
		return rc;
	if (is_mine(o))
		return lock_err(o, EDEADLK);
	err = wait_lock(&o->lock->mutex.m, timeout_ms);
	if (err == EOWNERDEAD)
		rc = after_owner_death(o);
	else if (err)
		rc = lock_err(o, err);
	if (!rc)
		set_owner(o, true);
	return rc;
}

int twz_obj_unlock(struct twz_obj *o)
{
	char name[512];
	int rc = twz__store_enter(o->store);

	if (rc)
		return rc;
	if (!is_mine(o))
		return twz__err(TWZ_E_STATE, "%s is not locked by this thread",
				twz__obj_name(o->store, o->id, name, sizeof(name)));
	set_owner(o, false);
	twz__robust_unlock(&o->lock->mutex);
	return 0;
}
