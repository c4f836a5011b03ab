/* SPDX-License-Identifier: MIT
 * death.c -- a process dies, another takes over, and then the power fails
 *
 * What the dead process had flushed but not fenced counts for nothing: the fence of another CPU
 * does not cover it (D13). So the victim's events are recorded up to its death, the heir's after
 * it in the same log, and crash points begin at the death. Once the heir has seen a state and
 * made a change of its own durable, that state must survive. One heir in two had not opened the
 * store before: it finds what caches hold, not what is durable, and no shared memory of the dead
 * (restart without power failure).
 */
#include "actor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fixed.h"

#define LOG_CAP ((uint64_t)256 << 20)

static int victim(const struct scene *sc, int ready, int go)
{
	fixed_start(sc->opt->seed);
	sim_mode(sc->opt->media, sc->log);
	sim_kill_at(sc->log, sc->first, true);
	return actor_victim(sc, ready, go);
}

/* Has the store open beside the victim, and hears of its death. */
static int open_before(const struct scene *sc, struct crash *c, int ready, int go)
{
	int rc;

	sim_pause();
	rc = sc->w->kind->open(c);
	actor_tell(ready);
	if (rc || !actor_hear(go))
		return -1;
	sim_resume();
	return 0;
}

/* Opens what the dead left, alone. */
static int open_after(const struct scene *sc, struct crash *c, int ready, int go)
{
	actor_tell(ready);
	if (!actor_hear(go))
		return -1;
	sim_mark_at(EV_DEATH, 0);
	return sc->w->kind->open(c);
}

static int heir(const struct scene *sc, int ready, int go)
{
	struct crash c = actor_stage(sc, true);
	int state = -1, rc;

	fixed_random(~sc->opt->seed + sc->first);
	sim_mode(sc->opt->media, sc->log);
	rc = sc->restart ? open_after(sc, &c, ready, go) : open_before(sc, &c, ready, go);
	if (!rc)
		rc = sc->w->kind->check(&c);
	if (!rc)
		state = crash_state(&c, sc->rec, (uint32_t)sc->log->progress_floor,
				    (uint32_t)sc->log->progress_top);
	if (state >= 0)
		rc = sc->w->kind->probe(&c);
	if (rc || state < 0) {
		actor_because(sc, &c);
		return 1;
	}
	sim_audit();
	if (!sc->w->plain)
		sim_mark_at(EV_SETTLED, (uint64_t)state);
	if (!crash_record_closes)
		return 0;
	rc = (sc->w->kind->settle && sc->w->kind->settle(&c)) || sc->w->kind->close(&c);
	sim_audit();
	return rc;
}

/* One death at point N, 0: none. Returns 0, or 1 and WHY. */
static int play(struct scene *sc, char *why, size_t len)
{
	struct actor v = {0}, h = {0};
	int vs, hs;

	scene_reset(sc);
	actor_start(&v, sc, victim);
	actor_start(&h, sc, heir);
	vs = actor_finish(&v);
	scene_keep(sc);
	hs = actor_finish(&h);
	if (actor_failed(vs))
		return actor_complain(sc, why, len, "the victim", vs);
	if (actor_failed(hs))
		return actor_complain(sc, why, len, "the heir", hs);
	return 0;
}

static const char *how(const struct scene *sc)
{
	return sc->restart ? "opened again" : "another went on";
}

/* The same once more, to have what the dead left. */
static void keep(struct scene *sc)
{
	char file[300], why[1100];

	if (sc->opt->quiet)
		return;
	snprintf(file, sizeof(file), "%s/%s-death-%s-%llu-%llu-%d.img", sc->opt->keep_dir,
		 sc->w->name, sc->opt->media == SIM_MEDIA_LINE ? "line" : "page",
		 (unsigned long long)sc->opt->seed, (unsigned long long)sc->first, sc->restart);
	sc->keep = file;
	if (!play(sc, why, sizeof(why)))
		printf("  once more, and nothing was wrong\n");
	sc->keep = NULL;
	scene_kept(sc, file);
}

static void one(struct scene *sc, struct crash_result *res, uint64_t limit)
{
	struct crash_options opt = *sc->opt;
	struct crash_record rec = {.log = sc->log,
				   .state = sc->rec->state,
				   .state_cnt = sc->rec->state_cnt,
				   .start = sc->rec->start,
				   .start_len = sc->rec->start_len};
	char why[1100], tail[sizeof(res->why)];

	if (play(sc, why, sizeof(why))) {
		res->failed = 1;
		snprintf(res->why, sizeof(res->why), "killed at point %llu, %s: %s",
			 (unsigned long long)sc->first, how(sc), why);
		keep(sc);
		return;
	}
	if (sc->opt->sites)
		crash_sites_add(sc->opt->sites, sc->log);
	if (opt.recovered) {
		opt.recovered(sc->w, opt.media, sc->log);
		return;
	}
	opt.limit = res->distinct + limit;
	opt.after_death = true;
	opt.seed += sc->first;
	crash_enumerate(sc->w, &rec, &opt, res);
	if (!res->failed)
		return;
	memcpy(tail, res->why, sizeof(tail));
	snprintf(res->why, sizeof(res->why), "killed at point %llu, %s, power failed: %.1900s",
		 (unsigned long long)sc->first, how(sc), tail);
}

static void all(struct scene *sc, struct crash_result *res)
{
	uint64_t rng = sc->opt->seed | 1, total, pairs = sc->opt->limit / 100 + 1;
	char why[1100];

	if (play(sc, why, sizeof(why))) {
		res->failed = 1;
		snprintf(res->why, sizeof(res->why), "without a death: %s", why);
		return;
	}
	total = sc->log->points;
	if (sc->opt->kill_first) {
		sc->first = sc->opt->kill_first;
		sc->restart = sc->opt->kill_restart;
		one(sc, res, sc->opt->limit);
		return;
	}
	pairs = pairs < total ? pairs : total;
	for (uint64_t i = 0; i < 2 * pairs && !res->failed; i++) {
		sc->first = 1 + i / 2 * total / pairs + crash_rand(&rng) % (total / pairs);
		sc->restart = i % 2;
		one(sc, res, sc->opt->limit / (2 * pairs) + 1);
	}
}

int crash_death(const struct crash_workload *w, const struct crash_options *opt,
		struct crash_result *res)
{
	const char *media = opt->media == SIM_MEDIA_LINE ? "line" : "page";
	struct scene sc = {.w = w, .opt = opt};
	struct crash_record rec;
	struct timespec t0, t1;

	clock_gettime(CLOCK_MONOTONIC, &t0);
	memset(res, 0, sizeof(*res));
	if (crash_record(w, opt->media, opt->seed, &rec, res->why, sizeof(res->why))) {
		res->failed = -1;
	} else {
		sc.log = sim_log_new(LOG_CAP);
		sc.rec = &rec;
		if (sc.log && scene_init(&sc))
			all(&sc, res);
		else
			res->failed = -1;
		sim_log_free(sc.log);
		scene_free(&sc);
	}
	crash_record_free(&rec);
	clock_gettime(CLOCK_MONOTONIC, &t1);
	res->seconds = (double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) / 1e9;
	if (opt->quiet)
		return res->failed != 0;
	printf("%-20s death, then power %s: %llu points, %llu images, %llu reopened, %.2f s %s\n",
	       w->name, media, (unsigned long long)res->points, (unsigned long long)res->images,
	       (unsigned long long)res->reopened, res->seconds, res->failed ? "FAILED" : "ok");
	if (res->failed)
		printf("FAIL %s --media death (%s) --seed %llu: %s\n  again: %s death %s --media %s --seed %llu --first %llu --restart %d --limit %llu\n",
		       w->name, media, (unsigned long long)opt->seed, res->why,
		       program_invocation_name, w->name, media, (unsigned long long)opt->seed,
		       (unsigned long long)sc.first, sc.restart, (unsigned long long)opt->limit);
	fflush(stdout);
	return res->failed != 0;
}
