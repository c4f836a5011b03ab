/* SPDX-License-Identifier: MIT
 * kill.c -- process death: the caches survive, the process does not
 *
 * A victim runs the workload and is killed at its Nth store to the image or to shared memory; a
 * peer that had the store open all along must be able to go on at once (D13, takeover): same
 * check, same states allowed, and writing works. Sometimes an heir comes between, which begins
 * the takeover and is killed too. Each N is a run of its own.
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

/* Goes on after the death, and is killed while at it. */
static int heir(const struct scene *sc, int ready, int go)
{
	struct sim_log *mine = sim_log_new(4096);
	struct crash c = actor_stage(sc, true);

	if (!mine)
		return 92;
	fixed_random(~sc->opt->seed + sc->first);
	sim_mode(sc->opt->media, mine);
	sim_kill_at(mine, sc->second, false);
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

/* 0: all went on. */
static int play(struct scene *sc, char *why, size_t len)
{
	struct actor v = {0}, h = {0}, p = {0};
	int status, hs = 0;

	scene_reset(sc);
	actor_start(&v, sc, victim);
	if (sc->second)
		actor_start(&h, sc, heir);
	actor_start(&p, sc, peer);
	status = actor_finish(&v);
	if (sc->second)
		hs = actor_finish(&h);
	scene_keep(sc);
	if (!actor_failed(status) && actor_failed(hs)) {
		kill(p.pid, SIGKILL);
		actor_finish(&p);
		return actor_complain(sc, why, len, "the heir", hs);
	}
	if (actor_failed(status)) {
		kill(p.pid, SIGKILL);
		actor_finish(&p);
		return actor_complain(sc, why, len, "the victim", status);
	}
	status = actor_finish(&p);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return actor_complain(sc, why, len, "the peer", status);
}

/* The same deaths once more, to have what they left; and how anybody else can have them. */
static void report(struct scene *sc)
{
	const char *media = sc->opt->media == SIM_MEDIA_LINE ? "line" : "page";
	unsigned long long seed = sc->opt->seed, first = sc->first, second = sc->second;
	char file[300], why[1100];

	snprintf(file, sizeof(file), "%s/%s-kill-%s-%llu-%llu-%llu.img", sc->opt->keep_dir,
		 sc->w->name, media, seed, first, second);
	sc->keep = file;
	if (!play(sc, why, sizeof(why)))
		printf("  once more, and nothing was wrong\n");
	sc->keep = NULL;
	printf("  again: %s kill %s --media %s --seed %llu --first %llu --heir %llu\n",
	       program_invocation_name, sc->w->name, media, seed, first, second);
	scene_kept(sc, file);
}

static void play_one(struct scene *sc, struct crash_result *res, uint64_t total)
{
	char why[1100];

	res->failed = play(sc, why, sizeof(why));
	res->points++;
	res->reopened++;
	res->second += sc->second != 0;
	if (res->failed)
		snprintf(res->why, sizeof(res->why),
			 "killed at point %llu of %llu, its heir at %llu: %s",
			 (unsigned long long)sc->first, (unsigned long long)total,
			 (unsigned long long)sc->second, why);
}

static void play_all(struct scene *sc, struct crash_result *res)
{
	uint64_t rng = sc->opt->seed | 1, total, step;
	char why[1100];

	/* a run to the end first: how many points there are */
	res->failed = play(sc, why, sizeof(why));
	if (res->failed)
		snprintf(res->why, sizeof(res->why), "without a death: %s", why);
	total = res->points_all = sc->log->points;
	step = sc->opt->limit && total > sc->opt->limit ? total / sc->opt->limit : 1;
	if (sc->opt->kill_first && !res->failed) {
		sc->first = sc->opt->kill_first;
		sc->second = sc->opt->kill_heir;
		play_one(sc, res, total);
		return;
	}
	for (uint64_t n = 1; n <= total && !res->failed; n += step) {
		sc->first = step > 1 ? n + crash_rand(&rng) % step : n;
		sc->second = crash_rand(&rng) % 4 ? 0 : 1 + crash_rand(&rng) % 60;
		play_one(sc, res, total);
	}
}

static void say(struct scene *sc, const struct crash_result *res, const char *media)
{
	printf("%-20s kill %s: %llu of %llu points, %llu with a second death, %.2f s %s\n",
	       sc->w->name, media, (unsigned long long)res->points,
	       (unsigned long long)res->points_all, (unsigned long long)res->second, res->seconds,
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
	struct scene sc = {.w = w, .opt = opt, .rec = &rec, .log = sim_log_new(4096)};
	struct timespec t0, t1;

	clock_gettime(CLOCK_MONOTONIC, &t0);
	memset(res, 0, sizeof(*res));
	if (!scene_init(&sc) || !sc.log ||
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
	scene_free(&sc);
	return res->failed != 0;
}
