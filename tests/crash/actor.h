/* SPDX-License-Identifier: MIT
 * actor.h -- the processes of a scene in which some of them are killed
 */
#ifndef CRASH_ACTOR_H
#define CRASH_ACTOR_H

#include <sys/types.h>

#include "enum.h"

#define SAID_LEN 1024u

struct scene {
	const struct crash_workload *w;
	const struct crash_options *opt;
	const struct crash_record *rec;
	struct sim_log *log;	 /* shared: points, progress; events if they are recorded */
	char *said;		 /* shared, SAID_LEN: why somebody failed */
	struct sim_log *heir[2]; /* shared: points of the heirs, in the order they go on; or NULL */
	uint64_t first, second, third; /* deaths, of the victim and of the heirs; 0: none */
	const char *keep;	       /* a file: what the dead left is to be copied there */
	bool restart; /* nobody else had the store open: the heir opens it after the death */
};

struct actor {
	int ready, go; /* our ends of two pipes */
	pid_t pid;
};

/* An actor opens the store, tells READY, hears GO and acts; its result is its exit status. */
typedef int (*actor_fn)(const struct scene *sc, int ready, int go);

/* Fork, wait until it is ready. False: it will never be. */
bool actor_start(struct actor *a, const struct scene *sc, actor_fn fn);
/* Let it act; its status as waitpid gives it. */
int actor_finish(struct actor *a);
/* Neither a good end nor the death we planned; that death. */
bool actor_failed(int status);
bool actor_died(int status);
/* Fill WHY; returns 1. */
int actor_complain(const struct scene *sc, char *why, size_t len, const char *who, int status);

/* --- in an actor --- */
void actor_tell(int fd);
bool actor_hear(int fd);
void actor_because(const struct scene *sc, const struct crash *c);
struct crash actor_stage(const struct scene *sc, bool recovering);

/*
 * Makes the store, reaches state 0, runs the operations until it is killed; sim_mode() and
 * sim_kill_at() come first.
 */
int actor_victim(const struct scene *sc, int ready, int go);

/* A fresh image for the next play; false: no memory. */
bool scene_init(struct scene *sc);
void scene_reset(struct scene *sc);
/*
 * What the dead have left, as it is in caches, before anybody goes on: to the file SC->keep, if there is one, with the
 * states it may show. And say how to look at it.
 */
void scene_keep(const struct scene *sc);
void scene_kept(const struct scene *sc, const char *file);
void scene_free(struct scene *sc);

#endif
