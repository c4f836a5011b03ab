/* SPDX-License-Identifier: MIT
 * store_info.c -- what an open store is, and what its processes share
 */
#include "huge.h"
#include "rt.h"

#include <sys/stat.h>
#include <time.h>

#define LOOK_US 5000

/* --- an image of one's own --- */

int twz_store_hold(struct twz_store *s)
{
	int rc = twz__store_enter(s);

	if (rc)
		return rc;
	return s->watch ? twz__watch_hold(s) : twz__private_hold(s->media);
}

void twz_store_let(struct twz_store *s)
{
	if (twz__store_enter(s))
		return;
	if (s->watch)
		twz__watch_let(s);
	else
		twz__private_let(s->media);
}

bool twz_store_join_pages(struct twz_store *s, uint64_t *pos)
{
	return s && pos && !(*pos % TWZ__HUGE_LEN) && !twz__store_enter(s) && s->media->ops->join &&
	       s->media->ops->join(s->media, pos);
}

/* --- is it still there --- */

/* The superblock of another life than this one: generations only grow. */
static bool is_overwritten(struct twz_store *s)
{
	const char *base = twz__rt(s)->win.base;
	const struct twz_super_pm *a = (const void *)base,
				  *b = (const void *)(base + TWZ_PAGE_SIZE);
	uint64_t now = __atomic_load_n(&s->core.sh->generation, __ATOMIC_ACQUIRE);

	for (const struct twz_super_pm *p = a;; p = b) {
		if (!memcmp(p->magic, s->core.super.magic, sizeof(p->magic)) &&
		    p->uuid[0] == s->core.super.uuid[0] && p->uuid[1] == s->core.super.uuid[1] &&
		    __atomic_load_n(&p->generation, __ATOMIC_RELAXED) >= now)
			return false;
		if (p == b)
			return true;
	}
}

static int still(struct twz_store *s, bool named)
{
	struct twz__media *m = s->media;
	int rc;

	if (!m->ops->still || m->alone || m->fd < 0)
		return 0;
	rc = m->ops->still(m, named);
	if (twz__unlikely(!rc && __atomic_load_n(&m->cut, __ATOMIC_RELAXED)))
		return twz__err(
			TWZ_E_GONE,
			"%s: was cut short while it was open: close it in every process and restore it from a backup",
			s->path);
	if (twz__unlikely(!rc && is_overwritten(s)))
		return twz__err(
			TWZ_E_GONE,
			"%s: was overwritten while it was open: close it in every process and restore it from a backup",
			s->path);
	return rc;
}

int twz__store_intact(struct twz_store *s)
{
	return still(s, false);
}

int twz__store_still(struct twz_store *s)
{
	return still(s, true);
}

int twz__store_still_soon(struct twz_store *s)
{
	struct timespec ts;
	uint64_t now;
	int rc;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	now = (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
	if (!__atomic_load_n(&s->media->cut, __ATOMIC_RELAXED) &&
	    now - __atomic_load_n(&s->looked_us, __ATOMIC_RELAXED) < LOOK_US)
		return 0;
	rc = twz__store_still(s);
	__atomic_store_n(&s->looked_us, rc ? 0 : now, __ATOMIC_RELAXED);
	return rc;
}

const uint32_t *twz_store_cut(const struct twz_store *s)
{
	return &s->media->cut;
}

/* --- what it is --- */

const char *twz_store_path(const struct twz_store *s)
{
	return s->path;
}

int twz_store_is_at(const struct twz_store *s, const char *path)
{
	struct stat a, b;

	if (s->media->fd < 0)
		return 1;
	return !fstat(s->media->fd, &a) && !stat(path, &b) && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

int twz_store_granularity(const struct twz_store *s)
{
	return s->granularity;
}

static void info_from_super(struct twz_store *s, struct twz_store_info *info)
{
	const struct twz_super_pm *p = &s->core.super;

	memcpy(info->uuid.w, p->uuid, sizeof(info->uuid.w));
	info->version = p->version;
	info->compat = p->compat;
	info->ro_compat = p->ro_compat;
	info->incompat = p->incompat;
	info->generation = s->core.sh->generation;
	info->granularity = (uint32_t)s->granularity;
	info->forced = (uint32_t)s->media->forced;
	info->was_unclean = twz__rt(s)->was_unclean;
	info->max_objects_open = twz_view_rt.slot_cnt;
	info->read_only = s->read_only;
	info->is_private = (uint32_t)s->media->alone;
	info->is_watch = s->watch;
}

int twz_store_info(struct twz_store *s, struct twz_store_info *info)
{
	size_t size = info->size;
	struct twzc_info ci;
	int rc = twz__store_enter(s);

	if (rc)
		return rc;
	if (size < sizeof(*info))
		return twz__err(TWZ_E_INVAL, "struct twz_store_info: set .size to its sizeof");
	memset(info, 0, sizeof(*info));
	info->size = size;
	rc = twz__meta_lock(s);
	if (rc)
		return rc;
	rc = twz__core_err(s, twzc_info(&s->core, &ci), NULL);
	twz__meta_unlock(s);
	if (rc)
		return rc;
	info_from_super(s, info);
	info->len = ci.len;
	info->free_len = ci.free_len;
	info->meta_len = ci.meta_len;
	info->obj_cnt = ci.obj_cnt;
	info->journal_len = ci.journal_len;
	info->journal_used = ci.journal_used;
	info->process_cnt = twz__comp_live_cnt(s->comp);
	return 0;
}

int twz_shared_get(struct twz_store *s, twz_oid id, size_t len, int (*init)(void *ptr, void *ctx),
		   void *ctx, void **ptr, int *fresh)
{
	int rc = twz__store_enter(s);

	*ptr = NULL;
	if (fresh)
		*fresh = 0;
	if (rc)
		return rc;
	if (!len || twz_oid_is_null(id))
		return twz__err(TWZ_E_INVAL, "%s: a shared segment needs an ID and a length",
				s->path);
	return s->watch ? twz__comp_segment_look(s->comp, id, len, ptr)
			: twz__comp_segment(s->comp, id, len, init, ctx, ptr, fresh);
}

uint32_t twz_proc_self(const struct twz_store *s)
{
	return s->comp->self;
}

uint64_t twz_proc_incarnation(const struct twz_store *s)
{
	return s->comp->incarnation;
}

uint32_t twz_proc_pid(struct twz_store *s, uint32_t proc, uint64_t incarnation)
{
	const struct comp_proc_pm *p;
	uint32_t pid;

	if (twz__store_enter(s) || proc >= TWZ_PROC_MAX)
		return 0;
	p = twz__comp_proc(s->comp, proc);
	pid = __atomic_load_n(&p->pid, __ATOMIC_ACQUIRE);
	return __atomic_load_n(&p->incarnation, __ATOMIC_ACQUIRE) == incarnation ? pid : 0;
}

bool twz_proc_alive(struct twz_store *s, uint32_t proc, uint64_t incarnation)
{
	return !twz__store_enter(s) && twz__comp_alive(s->comp, proc, incarnation);
}
