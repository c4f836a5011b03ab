/* SPDX-License-Identifier: MIT
 * kill.c -- process death: the caches survive, the process does not
 *
 * A victim runs the workload and is killed at its Nth store to the image or to shared memory; a
 * peer that had the store open all along must be able to go on at once (D13, takeover): same
 * check, same states allowed, and writing works. In half of the runs an heir comes between, which
 * takes over, checks and writes, and is killed at one of its own stores, from the first to the last;
 * in half of these the next heir is killed, too. Each N is a run of its own.
 */
#include "actor.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fixed.h"

static int victim(const struct scene *sc, int ready, int go)
{
	fixed_start(sc->opt->seed);
	sim_mode(sc->opt->media, sc->log);
	sim_kill_at(sc->log, sc->first, false);
	return actor_victim(sc, ready, go);
}

/* Goes on after the deaths before, the Ith to do so, and is killed while at it. */
static int heir(const struct scene *sc, int i, int ready, int go)
{
	struct crash c = actor_stage(sc, true);

	fixed_random(~sc->opt->seed + sc->first + (uint64_t)i * 7919);
	sim_mode(sc->opt->media, sc->heir[i]);
	sim_kill_at(sc->heir[i], i ? sc->third : sc->second, false);
	if (sc->w->kind->open(&c))
		return 92;
	actor_tell(ready);
	if (!actor_hear(go))
		return 91;
	sim_kill_scan(crash_dir());
	sim_mark(EV_START, NULL, 0);
	if (!sc->w->kind->check(&c) && !sc->w->kind->probe(&c))
		return 0;
	actor_because(sc, &c);
	return 90;
}

static int heir_first(const struct scene *sc, int ready, int go)
{
	return heir(sc, 0, ready, go);
}

static int heir_next(const struct scene *sc, int ready, int go)
{
	return heir(sc, 1, ready, go);
}

/* Ends 0 when the store is right and can be written after the deaths. */
static int peer(const struct scene *sc, int ready, int go)
{
	uint32_t floor, top;
	struct crash c = actor_stage(sc, true);
	int rc;

	fixed_random(~sc->opt->seed + sc->first + sc->second + 1);
	sim_mode(sc->opt->media, NULL);
	rc = sc->w->kind->open(&c);
	actor_tell(ready);
	if (rc || !actor_hear(go)) {
		actor_because(sc, &c);
		return 1;
	}
	floor = (uint32_t)sc->log->progress_floor;
	top = (uint32_t)sc->log->progress_top;
	rc = crash_verify_open(&c, sc->rec, floor, top) || sc->w->kind->probe(&c) ||
	     sc->w->kind->close(&c) ||
	     crash_verify(&c, sc->rec, floor, top, 0); /* and again from the file */
	if (rc)
		actor_because(sc, &c);
	return rc ? 1 : 0;
}

/* Who died in a play. */
struct dead {
	bool victim, heir[2];
};

/* The victim and the heirs, each in its turn. 0, or 1 and WHY. */
static int deaths(const struct scene *sc, struct actor *v, struct actor h[2], struct dead *d,
		  char *why, size_t len)
{
	const uint64_t at[2] = {sc->second, sc->third};
	int status[3] = {actor_finish(v), 0, 0}, bad = actor_failed(status[0]) ? 0 : -1;

	d->victim = actor_died(status[0]);
	for (int i = 0; i < 2; i++) {
		if (!at[i])
			continue;
		status[i + 1] = actor_finish(&h[i]);
		d->heir[i] = actor_died(status[i + 1]);
		if (bad < 0 && actor_failed(status[i + 1]))
			bad = i + 1;
	}
	if (bad < 0)
		return 0;
	return actor_complain(sc, why, len,
			      bad == 0	 ? "the victim"
			      : bad == 1 ? "the heir"
					 : "the heir's heir",
			      status[bad]);
}

/* 0: all went on. */
static int play(struct scene *sc, struct dead *d, char *why, size_t len)
{
	struct actor v = {0}, h[2] = {0}, p = {0};
	int status;

	*d = (struct dead){0};
	scene_reset(sc);
	actor_start(&v, sc, victim);
	if (sc->second)
		actor_start(&h[0], sc, heir_first);
	if (sc->third)
		actor_start(&h[1], sc, heir_next);
	actor_start(&p, sc, peer);
	if (deaths(sc, &v, h, d, why, len)) {
		scene_keep(sc);
		kill(p.pid, SIGKILL);
		actor_finish(&p);
		return 1;
	}
	scene_keep(sc);
	status = actor_finish(&p);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return actor_complain(sc, why, len, "the peer", status);
}

#define EARLY 60 /* an heir's first stores, where most are of the takeover */

/* The same deaths once more, to have what they left; and how anybody else can have them. */
static void report(struct scene *sc)
{
	const char *media = sc->opt->media == SIM_MEDIA_LINE ? "line" : "page";
	unsigned long long seed = sc->opt->seed, at[3] = {sc->first, sc->second, sc->third};
	char file[300], why[1100];
	struct dead d;

	snprintf(file, sizeof(file), "%s/%s-kill-%s-%llu-%llu-%llu-%llu.img", sc->opt->keep_dir,
		 sc->w->name, media, seed, at[0], at[1], at[2]);
	sc->keep = file;
	if (!play(sc, &d, why, sizeof(why)))
		printf("  once more, and nothing was wrong\n");
	sc->keep = NULL;
	printf("  again: %s kill %s --media %s --seed %llu --first %llu --heir %llu --next %llu\n",
	       program_invocation_name, sc->w->name, media, seed, at[0], at[1], at[2]);
	scene_kept(sc, file);
}

static void play_one(struct scene *sc, struct crash_result *res, struct dead *d)
{
	char why[1100];

	res->failed = play(sc, d, why, sizeof(why));
	if (res->failed)
		snprintf(res->why, sizeof(res->why),
			 "killed at point %llu of %llu, its heir at %llu, the next at %llu: %s",
			 (unsigned long long)sc->first, (unsigned long long)res->points_all,
			 (unsigned long long)sc->second, (unsigned long long)sc->third, why);
}

/* Plays that nobody counts: how many points there are for a victim, and for the heir that nobody disturbs. */
static uint64_t measure(struct scene *sc, struct crash_result *res)
{
	uint64_t most = 1;
	char why[1100];
	struct dead d;

	res->failed = play(sc, &d, why, sizeof(why));
	if (res->failed)
		snprintf(res->why, sizeof(res->why), "without a death: %s", why);
	res->points_all = sc->log->points;
	for (int half = 1; half <= 2 && !res->failed && !sc->opt->kill_first; half++) {
		sc->first = (res->points_all * (uint64_t)half + 1) / 2;
		sc->second = UINT64_MAX;
		res->failed = play(sc, &d, why, sizeof(why));
		if (res->failed)
			snprintf(res->why, sizeof(res->why),
				 "killed at point %llu, its heir not at all: %s",
				 (unsigned long long)sc->first, why);
		most = sc->heir[0]->points > most ? sc->heir[0]->points : most;
	}
	return most;
}

/* Where an heir dies that has so many points: anywhere, or, as often, early. */
static uint64_t draw(uint64_t *rng, uint64_t points)
{
	uint64_t early = crash_rand(rng) % 2, of = early && points > EARLY ? EARLY : points;

	return 1 + crash_rand(rng) % of;
}

/*
 * How much an heir has to do depends on where the one before it died. So whoever came to its end is known by its points now, and
 * dies at one of these when all is played again. The dead of that are counted, and nothing else: how far it gets is up to the
 * real clock.
 */
static void play_again(struct scene *sc, struct crash_result *res, struct dead *d)
{
	uint64_t rng = sc->opt->seed + sc->first, *at[2] = {&sc->second, &sc->third};

	for (int i = 0; i < 2; i++)
		if (*at[i] && !d->heir[i])
			*at[i] = 1 +
				 crash_rand(&rng) % (sc->heir[i]->points ? sc->heir[i]->points : 1);
	play_one(sc, res, d);
}

static void play_counted(struct scene *sc, struct crash_result *res)
{
	struct dead d;

	res->points++;
	res->reopened++;
	res->second += (sc->second != 0) + (sc->third != 0);
	play_one(sc, res, &d);
	if (!res->failed && !sc->opt->kill_first &&
	    (d.heir[0] != (sc->second != 0) || d.heir[1] != (sc->third != 0)))
		play_again(sc, res, &d);
	res->killed += d.victim;
	res->heirs += d.heir[0];
	res->late += d.heir[0] && sc->second > EARLY;
	res->next += d.heir[1];
}

/* A death in each of so many equal parts of the victim's points. One in two has an heir that dies, one in two of these another. */
static void play_all(struct scene *sc, struct crash_result *res)
{
	uint64_t rng = sc->opt->seed | 1, heir_points = measure(sc, res), total = res->points_all;
	uint64_t cnt = sc->opt->limit && total > sc->opt->limit ? sc->opt->limit : total;

	if (sc->opt->kill_first && !res->failed) {
		sc->first = sc->opt->kill_first;
		sc->second = sc->opt->kill_heir;
		sc->third = sc->opt->kill_next;
		play_counted(sc, res);
		return;
	}
	for (uint64_t i = 0; i < cnt && !res->failed; i++) {
		uint64_t from = i * total / cnt, to = (i + 1) * total / cnt, heirs;

		sc->first = 1 + from + crash_rand(&rng) % (to - from);
		heirs = crash_rand(&rng) % 4;
		sc->second = heirs > 1 ? draw(&rng, heir_points) : 0;
		sc->third = heirs > 2 ? draw(&rng, heir_points) : 0;
		play_counted(sc, res);
	}
}

static void say(struct scene *sc, const struct crash_result *res, const char *media)
{
	printf("%-20s kill %s: %llu processes killed at %llu points, then %llu heirs, %llu of them beyond their first stores, and %llu heirs of these, %.2f s %s\n",
	       sc->w->name, media, (unsigned long long)res->killed,
	       (unsigned long long)res->points_all, (unsigned long long)res->heirs,
	       (unsigned long long)res->late, (unsigned long long)res->next, res->seconds,
	       res->failed ? "FAILED" : "ok");
	if (res->failed)
		printf("FAIL %s --media kill (%s) --seed %llu: %s\n", sc->w->name, media,
		       (unsigned long long)sc->opt->seed, res->why);
	if (res->failed > 0)
		report(sc);
	fflush(stdout);
}

int crash_kill(const struct crash_workload *w, const struct crash_options *opt,
	       struct crash_result *res)
{
	const char *media = opt->media == SIM_MEDIA_LINE ? "line" : "page";
	struct crash_record rec;
	struct scene sc = {.w = w,
			   .opt = opt,
			   .rec = &rec,
			   .log = sim_log_new(4096),
			   .heir = {sim_log_new(4096), sim_log_new(4096)}};
	struct timespec t0, t1;

	clock_gettime(CLOCK_MONOTONIC, &t0);
	memset(res, 0, sizeof(*res));
	if (!scene_init(&sc) || !sc.log || !sc.heir[0] || !sc.heir[1] ||
	    crash_record(w, opt->media, opt->seed, &rec, res->why, sizeof(res->why)))
		res->failed = -1;
	else
		play_all(&sc, res);
	clock_gettime(CLOCK_MONOTONIC, &t1);
	res->seconds = (double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) / 1e9;
	if (!opt->quiet)
		say(&sc, res, media);
	crash_record_free(&rec);
	sim_log_free(sc.log);
	for (int i = 0; i < 2; i++)
		sim_log_free(sc.heir[i]);
	scene_free(&sc);
	return res->failed != 0;
}
