/* SPDX-License-Identifier: MIT
 * map.c -- where the pages lie
 *
 * The newest version of a page lies where it lies until somebody commits another one. So what one
 * transaction has found is true in the next one, if its snapshot is the same, or differs by commits
 * of this handle alone, which says what it puts where. Looking for a page in the engine costs two or
 * three cache misses, more than copying it.
 *
 * An entry is an address and the number of the state it belongs to: forgetting all is counting on.
 */
#include <stdlib.h>

#include "internal.h"

#define STATE_SHIFT 48 /* addresses of user space are shorter, but for those who ask for others */
#define STATE_MAX   0xffff
#define CAP_MIN	    1024u
#define CAP_MAX	    (1u << 23) /* entries: 64 MiB for 32 GiB of pages; beyond, the engine is asked */

const unsigned char *twzvfs__map_get(const struct twzvfs_file *f, uint64_t pgno)
{
	const struct twzvfs_map *m = &f->map;
	uint64_t e = pgno < m->cap ? m->e[pgno] : 0;

	if (!e || e >> STATE_SHIFT != m->state)
		return NULL;
	return (const unsigned char *)(uintptr_t)(e & (((uint64_t)1 << STATE_SHIFT) - 1));
}

/* Zeroed memory nobody has touched costs nothing. Without memory there is just no map. */
static bool grow(struct twzvfs_map *m, uint64_t need)
{
	uint32_t cap = m->cap ? m->cap : CAP_MIN;
	uint64_t *e;

	if (need > CAP_MAX)
		return false;
	while (cap < need)
		cap *= 2;
	e = calloc(cap, sizeof(*e));
	if (!e)
		return false;
	if (m->cap)
		memcpy(e, m->e, m->cap * sizeof(*e));
	free(m->e);
	m->e = e;
	m->cap = cap;
	return true;
}

void twzvfs__map_set(struct twzvfs_file *f, uint64_t pgno, const void *page)
{
	struct twzvfs_map *m = &f->map;
	uint64_t p = (uintptr_t)page;

	if (pgno >= m->cap) {
		uint64_t need = (pgno > f->page_cnt ? pgno : f->page_cnt) + 1;

		if (!p || (!grow(m, need) && !grow(m, pgno + 1)))
			return;
	}
	m->e[pgno] = p && !(p >> STATE_SHIFT) ? (uint64_t)m->state << STATE_SHIFT | p : 0;
}

void twzvfs__map_forget(struct twzvfs_file *f)
{
	struct twzvfs_map *m = &f->map;

	if (++m->state <= STATE_MAX)
		return;
	m->state = 1;
	memset(m->e, 0, m->cap * sizeof(*m->e));
}

void twzvfs__map_free(struct twzvfs_file *f)
{
	free(f->map.e);
	memset(&f->map, 0, sizeof(f->map));
}
