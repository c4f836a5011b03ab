/* SPDX-License-Identifier: MIT
 * sim_log.c -- the event log: memory shared with the parent, events one behind the other
 */
#include "sim.h"

#include <sys/mman.h>

struct sim_log *sim_log_new(uint64_t cap)
{
	struct sim_log *log = mmap(NULL, sizeof(*log) + cap, PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (log == MAP_FAILED)
		return NULL;
	log->cap = cap;
	return log;
}

void sim_log_free(struct sim_log *log)
{
	if (log)
		munmap(log, sizeof(*log) + log->cap);
}

bool sim_ev_has_data(const struct sim_ev *ev)
{
	return ev->type == EV_STORE || ev->type == EV_NTSTORE || ev->type == EV_WRITE ||
	       ev->type == EV_STATE || ev->type == EV_FAIL;
}

uint64_t sim_ev_size(const struct sim_ev *ev)
{
	return sizeof(*ev) + (sim_ev_has_data(ev) ? ((uint64_t)ev->len + 7) & ~(uint64_t)7 : 0);
}

const struct sim_ev *sim_log_next(const struct sim_log *log, uint64_t *pos)
{
	const struct sim_ev *ev = (const void *)(log->buf + *pos);

	if (*pos >= log->used)
		return NULL;
	*pos += sim_ev_size(ev);
	return ev;
}
