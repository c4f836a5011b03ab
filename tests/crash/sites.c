/* SPDX-License-Identifier: MIT
 * sites.c -- which call sites of flush, fence, sync, write and publish a recording has
 */
#include "enum.h"

#include <string.h>

static enum mutation_kind kind_of(const struct sim_ev *ev)
{
	switch (ev->type) {
	case EV_FLUSH:
		return MUTATE_DROP_FLUSH;
	case EV_FENCE:
		return MUTATE_DROP_FENCE;
	case EV_SYNC:
	case EV_SYNC_ALL:
		return MUTATE_DROP_SYNC;
	case EV_WRITE:
		return MUTATE_DROP_WRITE;
	case EV_NTSTORE:
		return MUTATE_CACHE_COPY;
	case EV_STORE: /* only atomic stores know their callers */
		return ev->pc[1] ? MUTATE_DROP_STORE : MUTATE_NONE;
	default:
		return MUTATE_NONE;
	}
}

void crash_sites_add(struct crash_sites *s, const struct sim_log *log)
{
	const struct sim_ev *ev;
	bool started = false;
	uint64_t pos = 0;
	uint32_t i;

	while ((ev = sim_log_next(log, &pos))) {
		struct mutation m = {.kind = kind_of(ev)};

		started |= ev->type == EV_START;
		if (!m.kind || !started)
			continue;
		m.site = site_hash(ev);
		for (i = 0; i < s->cnt; i++)
			if (s->site[i].mut.site == m.site && s->site[i].mut.kind == m.kind)
				break;
		if (i == CRASH_SITE_MAX)
			continue;
		if (i == s->cnt) {
			s->site[i].mut = m;
			memcpy(&s->site[i].ev, ev, sizeof(*ev));
			s->cnt++;
		}
		s->site[i].cnt++;
	}
}
