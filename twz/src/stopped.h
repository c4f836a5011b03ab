/* SPDX-License-Identifier: MIT
 * stopped.h -- waiting for another process, but not for one that is stopped (stopped.c)
 */
#ifndef TWZ_SRC_STOPPED_H
#define TWZ_SRC_STOPPED_H

#include "internal.h"

#include <limits.h>
#include <unistd.h>

/*
 * Before a batch of a log is written again by another; before one looks who is in the way; and how long one waits for what cannot
 * be known. Tests have less time.
 */
extern uint32_t twz__stuck_ms, twz__wait_ms, twz__slow_ms;

struct twz__waiting {
	uint64_t since_ms, ms; /* 0: not yet; and how long by now */
	int pid;
	bool stopped;
};

/* Is it time to look who is in the way? Asked again and again; the first time starts the clock. */
bool twz__is_late(struct twz__waiting *w);
/* And to give up what thread TID (0: nobody knows which) has? */
bool twz__patience_ends(struct twz__waiting *w, int tid);
/* TWZ_E_TIMEOUT, with who has WHAT of WHERE. */
int twz__waited_err(const struct twz__waiting *w, const char *where, const char *what);
/* As pthread_mutex_lock(), a positive errno; ETIMEDOUT: see twz__patience_ends(). */
int twz__mutex_lock(pthread_mutex_t *m, struct twz__waiting *w);
/* The process that has byte OFF of the file locked through a description of its own; 0: none is seen. */
int twz__byte_holder(int fd, uint64_t off);

#endif
