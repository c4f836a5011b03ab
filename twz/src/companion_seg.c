/* SPDX-License-Identifier: MIT
 * companion_seg.c -- shared segments: volatile memory named by an object ID (twz_shared_get)
 *
 * A segment exists from its first user until the store is held by nobody. Under `segs`: find or add
 * the entry, run the initialiser, set READY. Who dies in between leaves an entry that is not ready;
 * the next one clears the memory and starts again.
 */
#include "companion.h"

#include <sys/stat.h>

static struct comp_seg_pm *seg_find(struct twz__companion *c, twz_oid id)
{
	struct comp_seg_pm *s = twz__comp_at(c, COMP_SEGS_OFF);

	for (uint32_t i = 0; i < c->head->seg_cnt; i++)
		if (!memcmp(s[i].id, id.w, sizeof(s[i].id)))
			return &s[i];
	return NULL;
}

static int seg_add(struct twz__companion *c, twz_oid id, size_t len, struct comp_seg_pm **out)
{
	struct comp_head_pm *h = c->head;
	struct comp_seg_pm *s = (struct comp_seg_pm *)twz__comp_at(c, COMP_SEGS_OFF) + h->seg_cnt;
	int rc;

	if (h->seg_cnt == COMP_SEGS_MAX)
		return twz__err(TWZ_E_NOSPC, "%s: has %u shared segments, no more are possible",
				c->path, COMP_SEGS_MAX);
	rc = twz__comp_alloc(c, len, &s->off);
	if (rc)
		return rc;
	memcpy(s->id, id.w, sizeof(s->id));
	s->len = len;
	h->seg_cnt++;
	*out = s;
	return 0;
}

static int seg_init(struct twz__companion *c, struct comp_seg_pm *s, bool added,
		    int (*init)(void *ptr, void *ctx), void *ctx)
{
	void *p = twz__comp_at(c, s->off);
	int rc = 0;

	/*
	 * An initialiser before us may have failed or died half-way. What we have just added is new
	 * space of the file: zeros, and pages that most users never touch.
	 */
	if (!added)
		memset(p, 0, s->len);
	if (init)
		rc = init(p, ctx);
	if (!rc)
		__atomic_store_n(&s->len, s->len | COMP_SEG_READY, __ATOMIC_RELEASE);
	return rc;
}

static int seg_get(struct twz__companion *c, twz_oid id, size_t len,
		   int (*init)(void *ptr, void *ctx), void *ctx, void **ptr, int *fresh)
{
	struct comp_seg_pm *s = seg_find(c, id);
	char text[TWZ_OID_STR_LEN];
	bool added = !s;
	int rc = added ? seg_add(c, id, len, &s) : 0;

	if (rc)
		return rc;
	if ((s->len & ~COMP_SEG_READY) != len)
		return twz__err(TWZ_E_INVAL, "%s: shared segment %s has %llu bytes, not %zu",
				c->path, twz_oid_str(id, text),
				(unsigned long long)(s->len & ~COMP_SEG_READY), len);
	if (!(s->len & COMP_SEG_READY)) {
		rc = seg_init(c, s, added, init, ctx);
		if (fresh && !rc)
			*fresh = 1;
	}
	if (!rc)
		*ptr = twz__comp_at(c, s->off);
	return rc;
}

int twz__comp_segment(struct twz__companion *c, twz_oid id, size_t len,
		      int (*init)(void *ptr, void *ctx), void *ctx, void **ptr, int *fresh)
{
	bool died;
	int rc = twz__robust_lock(&c->head->segs, &died, c->path, "shared segments");

	if (rc)
		return rc;
	rc = seg_get(c, id, len, init, ctx, ptr, fresh);
	twz__robust_unlock(&c->head->segs);
	return rc;
}

/* Entries are made under `segs` and READY is stored last, so a ready one is whole. */
int twz__comp_segment_look(struct twz__companion *c, twz_oid id, size_t len, void **ptr)
{
	struct comp_seg_pm *s = twz__comp_at(c, COMP_SEGS_OFF);
	struct stat st;

	for (uint32_t i = 0; i < COMP_SEGS_MAX; i++) {
		uint64_t word = __atomic_load_n(&s[i].len, __ATOMIC_ACQUIRE);

		if (word != (len | COMP_SEG_READY) || memcmp(s[i].id, id.w, sizeof(s[i].id)))
			continue;
		if (fstat(c->fd, &st) || s[i].off > (uint64_t)st.st_size ||
		    len > (uint64_t)st.st_size - s[i].off)
			break;
		*ptr = twz__comp_at(c, s[i].off);
		return 0;
	}
	return twz__err(
		TWZ_E_BUSY,
		"%s: those who have it open have not got so far, and this process may not write it: try again",
		c->store);
}
