/* SPDX-License-Identifier: MIT
 * mutate.c -- would the workloads notice if a flush, fence, sync, write or publishing store were missing?
 *
 * A mutant is a call site, told by its caller and the caller's caller; all its calls are taken away
 * together, in the simulator, not in the code. It is tried first on what caught it last time (hints), then
 * on every workload that makes the call, with few images first and with more then, until some image is
 * wrong; what survives is tried once more with a process that dies before the power fails. A mutant that
 * survives all that must stand in the list of equivalent ones, with its proof.
 *
 * A run may be done in parts: what was found stands in a file.
 */
#include "mutate_int.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#define COST_SAMPLE 32000 /* by cost() */

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Is there room for one more than CNT, of MAX? */
static bool room(struct all *a, uint32_t cnt, uint32_t max, const char *what)
{
	if (cnt < max)
		return true;
	if (!a->full)
		printf("FAIL: more than %u %s: raise the limit in mutate.c\n", max, what);
	a->full = true;
	return false;
}

/* --- gathering --- */

/* Is the first function of CHAIN, with paths, in a source of somebody's own program? */
static bool is_own(const char *chain)
{
	static const char *const ours[] = {"twz/", "engine/", "sqlite-vfs/", "tests/crash/"};
	const char *at = strstr(chain, " (");

	if (!at || at[2] != '/')
		return false; /* nobody knows where */
	if (strncmp(at + 2, CRASH_TREE, strlen(CRASH_TREE)))
		return true;
	at += 2 + strlen(CRASH_TREE);
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		if (!strncmp(at, ours[i], strlen(ours[i])))
			return false;
	return true;
}

static bool only_own(const struct all *a)
{
	return crash_own_only && !a->mo->all;
}

/* Is the first function of CHAIN, up to END, one whose calls are taken away? */
static bool is_wanted(const struct all *a, const char *chain, const char *end)
{
	const char *workload = strstr(chain, "workloads_"), *medium = strstr(chain, "sim_media.c");

	const char *probe = strstr(chain, "_probe ("), *third = end ? strstr(end + 3, " < ") : NULL;

	if (only_own(a))
		return is_own(chain);
	if (probe && (!third || probe < third))
		return false; /* the harness's own question whether the store can be written: no state tells */
	return chain[0] && (!workload || (end && workload > end)) &&
	       (!medium || (end && medium > end));
}

/* "(/a/b/c.c:7)" becomes "(c.c:7)". */
static void cut_paths(char *chain)
{
	char *to = chain, *name = NULL; /* where the last component is put */

	for (const char *c = chain; *c; c++) {
		if (*c == '/' && name) {
			to = name;
			continue;
		}
		*to++ = *c;
		if (*c == '(')
			name = to;
		else if (*c == ')')
			name = NULL;
	}
	*to = 0;
}

/* The first two functions of a chain, with and without files and lines. False: the workload's own call, or an error. */
static bool name_of(struct all *a, const struct sim_ev *ev, struct mutant_id *id)
{
	char chain[2000], *end;
	size_t n = 0, len;

	crash_chain(ev, chain, sizeof(chain));
	end = strstr(chain, " < ");
	if (!is_wanted(a, chain, end))
		return false; /* the workload's own, the harness's, or not the program's */
	if (only_own(a) && !a->mo->list)
		cut_paths(chain);
	end = strstr(chain, " < ");
	if (!end) {
		printf("FAIL: a call that nobody can be asked for: %s\n", chain);
		a->full = true;
		return false;
	}
	end = strstr(end + 3, " < ");
	if (end)
		*end = 0;
	len = strlen(chain);
	if (!room(a, (uint32_t)len, sizeof(id->at), "characters in the name of a call"))
		return false;
	memcpy(id->at, chain, len + 1);
	for (const char *c = chain; *c && n + 1 < sizeof(id->fns); c++) {
		if (c[0] == ' ' && c[1] == '(')
			c += strcspn(c, ")");
		else
			id->fns[n++] = *c;
	}
	id->fns[n] = 0;
	return room(a, (uint32_t)n + 1, sizeof(id->fns), "characters in the names of functions");
}

static bool add_run(struct all *a, uint16_t *list, uint32_t *cnt, uint32_t run)
{
	if ((*cnt && list[*cnt - 1] == run) || !room(a, *cnt, RUN_MAX, "workloads of a call"))
		return false;
	list[(*cnt)++] = (uint16_t)run;
	return true;
}

static bool has_hash(const struct mutant *m, uint64_t hash)
{
	for (uint32_t i = 0; i < m->hash_cnt; i++)
		if (m->hash[i] == hash)
			return true;
	return false;
}

/* The mutant of a call; NULL: the workload's own, or an error. */
static struct mutant *mutant_of(struct all *a, const struct crash_site *site, enum sim_media media)
{
	struct mutant_id id = {.kind = site->mut.kind, .media = media};
	struct mutant *m;
	uint64_t hash;

	if (!name_of(a, &site->ev, &id))
		return NULL;
	for (m = a->mut; m < a->mut + a->mut_cnt; m++)
		if (m->id.kind == id.kind && m->id.media == media && !strcmp(m->id.at, id.at))
			break;
	if (m == a->mut + a->mut_cnt) {
		if (!room(a, a->mut_cnt, MUTANT_MAX, "call sites"))
			return NULL;
		m->id = id;
		a->mut_cnt++;
	}
	/* By whatever further callers: a trial may come there by others than were met here. */
	hash = site_part_hash(&site->ev, crash_depth(&site->ev, 2));
	if (!has_hash(m, hash) && room(a, m->hash_cnt, HASH_MAX, "ways to one call site"))
		m->hash[m->hash_cnt++] = hash;
	return m;
}

static void add_sites(struct all *a, uint32_t run, enum where where)
{
	const struct run *r = &a->run[run];
	const struct crash_sites *s = &r->sites[where];

	for (uint32_t i = 0; i < s->cnt; i++) {
		struct mutant *m = mutant_of(a, &s->site[i], r->media);

		if (m && where != AFTER_DEATH && add_run(a, m->run, &m->run_cnt, run))
			m->recovery[m->run_cnt - 1] = where == IN_RECOVERY;
		if (m && r->w->media & CRASH_KILL)
			add_run(a, m->dead, &m->dead_cnt, run);
	}
}

/* In one place: the callers of what is recorded must be the same whenever it is. */
static __attribute__((noinline)) int record(const struct run *r, uint64_t seed,
					    struct crash_record *rec)
{
	char why[512];
	int rc = crash_record(r->w, r->media, seed, rec, why, sizeof(why));

	if (rc)
		printf("%s: %s\n", r->w->name, why);
	return rc;
}

/* Sites of the run itself, of what comes between a first and a second crash of it, and after a death. */
static int gather(const struct run *r, const struct crash_options *opt)
{
	struct crash_options o = *opt;
	struct crash_result res = {0};
	struct crash_record rec;

	o.media = r->media;
	if (record(r, o.seed, &rec))
		return 1;
	crash_sites_add(&r->sites[IN_RUN], rec.log);
	o.quiet = true;
	o.limit = 40;
	o.second = o.second ? 4 : 0;
	o.second_limit = 2;
	o.third = 0;
	o.counts = NULL;
	o.sites = &r->sites[IN_RECOVERY];
	crash_enumerate(r->w, &rec, &o, &res);
	crash_record_free(&rec);
	o.sites = &r->sites[AFTER_DEATH];
	if (r->w->media & CRASH_KILL && !res.failed)
		crash_death(r->w, &o, &res);
	if (res.failed)
		printf("FAIL %s, with nothing taken away: %s\n", r->w->name, res.why);
	return res.failed != 0;
}

static void list_runs(struct all *a)
{
	const struct crash_plan *p = a->p;

	for (int i = 0; crash_workloads[i]; i++)
		for (int m = 0; m < 2; m++) {
			unsigned int bit = m ? CRASH_PAGE : CRASH_LINE;

			if (!crash_wanted(p, crash_workloads[i]) ||
			    !(crash_workloads[i]->media & bit) || (p->media && !(p->media & bit)) ||
			    crash_workloads[i]->killed)
				continue;
			if (!room(a, a->run_cnt, RUN_MAX, "workloads"))
				return;
			a->run[a->run_cnt].w = crash_workloads[i];
			a->run[a->run_cnt++].media = m ? SIM_MEDIA_PAGE : SIM_MEDIA_LINE;
		}
}

/* Several workloads at a time; in the order of the list, so that every run names them alike. */
static int gather_all(struct all *a)
{
	uint32_t next = 0, busy = 0;
	int rc = 0, status;

	while (next < a->run_cnt || busy) {
		if (next < a->run_cnt && busy < a->p->jobs) {
			fflush(NULL);
			if (!crash_fork()) {
				rc = gather(&a->run[next], &a->p->opt);
				fflush(stdout);
				crash_dir_remove();
				_exit(rc);
			}
			next++;
			busy++;
			continue;
		}
		if (wait(&status) > 0) {
			busy--;
			rc |= status != 0;
		}
	}
	for (uint32_t i = 0; i < a->run_cnt; i++)
		for (enum where k = IN_RUN; k < WHERES; k++) {
			add_sites(a, i, k);
			if (a->run[i].sites[k].cnt < CRASH_SITE_MAX)
				continue;
			printf("FAIL %s: more than %u ways to call\n", a->run[i].w->name,
			       CRASH_SITE_MAX);
			rc = 1;
		}
	return a->full ? 1 : rc;
}

/* --- trying --- */

static bool caught(struct outcome *out, const struct run *r, const struct crash_result *res,
		   bool dead, uint64_t limit)
{
	out->images += res->reopened + res->second;
	if (res->failed != 1)
		return false;
	snprintf(out->by.workload, sizeof(out->by.workload), "%s", r->w->name);
	out->by.dead = dead;
	out->by.limit = limit;
	out->caught = true;
	return true;
}

static struct mutation mutation_of(const struct mutant *m)
{
	return (struct mutation){.kind = m->id.kind, .more = m->hash, .more_cnt = m->hash_cnt};
}

/* Does run R make the calls of M in a recovery only? Nor is it known to where gathering has not met them: too seldom. */
static bool recovery_only(const struct all *a, const struct mutant *m, const struct run *r)
{
	for (uint32_t i = 0; i < m->run_cnt; i++)
		if (&a->run[m->run[i]] == r)
			return m->recovery[i];
	return true;
}

/* What a recovery lacks only a crash in it, or after it, shows. */
static bool try_run(const struct mutant *m, const struct run *r, const struct crash_options *opt,
		    uint64_t limit, bool recovery, struct outcome *out)
{
	struct crash_options o = *opt;
	struct crash_result res = {0};
	struct crash_record rec;

	o.media = r->media;
	o.limit = limit;
	o.quiet = true;
	o.third = 0;
	o.second = r->w->again ? 8 : o.second;
	if (recovery) {
		o.second = 1;
		o.second_limit = limit < 1500 ? 48 : (uint32_t)limit / 12;
		o.limit = limit < 1500 ? limit / 8 + 1 : 40;
	}
	o.counts = NULL;
	o.mut = mutation_of(m);
	if (record(r, opt->seed, &rec))
		return false;
	o.seed += limit; /* other samples in every round */
	crash_enumerate(r->w, &rec, &o, &res);
	crash_record_free(&rec);
	return caught(out, r, &res, false, limit);
}

/* A process dies, its heir goes on, and then the power fails. */
static bool try_death(const struct mutant *m, const struct run *r, const struct crash_options *opt,
		      uint64_t limit, struct outcome *out)
{
	struct crash_options o = *opt;
	struct crash_result res = {0};

	o.limit = limit;
	o.media = r->media;
	o.quiet = true;
	o.counts = NULL;
	o.mut = mutation_of(m);
	crash_death(r->w, &o, &res);
	return caught(out, r, &res, true, limit);
}

/* How long it may take. */
static uint64_t cost(const struct caught_by *by)
{
	return by->limit * (by->dead ? 4 : 1);
}

/* What caught it last time, with a little more than was enough then. */
static void try_hints(const struct all *a, const struct mutant *m, bool light, struct outcome *out)
{
	for (unsigned int h = 0; h < m->hint_cnt && !out->caught; h++) {
		if (light && !(m->hint[h].which >> m->at_place & 1) &&
		    cost(&m->hint[h]) > LIGHT_COST)
			continue;
		for (uint32_t i = 0; i < a->run_cnt && !out->caught; i++) {
			const struct run *r = &a->run[i];

			if (r->media != m->id.media || strcmp(r->w->name, m->hint[h].workload))
				continue;
			if (m->hint[h].dead)
				try_death(m, r, &a->p->opt, m->hint[h].limit, out);
			else
				try_run(m, r, &a->p->opt, m->hint[h].limit, recovery_only(a, m, r),
					out);
		}
	}
}

/*
 * Which workload of a round, the Ith of at most MOST: those listed first, which are of the layer the
 * call is in, then others by chance. Calls of the store's core are made by all.
 */
static const struct run *nth(const struct all *a, const uint16_t *list, uint32_t cnt, uint32_t i,
			     uint32_t most, uint64_t *rng)
{
	if (cnt > most && i >= most / 2)
		i = most / 2 + (uint32_t)(crash_rand(rng) % (cnt - most / 2));
	return &a->run[list[i]];
}

static void try_mutant(const struct all *a, const struct mutant *m, struct outcome *out)
{
	static const struct {
		uint32_t limit, most;
	} round[] = {{60, 30}, {300, 12}, {1500, 6}, {7500, 4}, {40000, 3}};
	const struct crash_options *opt = &a->p->opt;
	uint64_t rng = opt->seed | 1, limit;
	bool light = m->known && !m->hard;
	unsigned int most;

	try_hints(a, m, light, out);
	if (out->caught)
		goto out;
	/* One that needs not be caught is looked at, in case its proof has become wrong, but not for long. */
	most = !light ? 5 : !m->hint_cnt;
	for (unsigned int r = 0; r < most && round[r].limit <= opt->limit; r++)
		for (uint32_t i = 0; i < m->run_cnt && i < (light ? 8 : round[r].most); i++) {
			const struct run *run = nth(a, m->run, m->run_cnt, i, round[r].most, &rng);

			if (try_run(m, run, opt, round[r].limit, recovery_only(a, m, run), out))
				goto out;
		}
	/* After a death only: nothing else can notice it. */
	limit = light ? 400 : !m->run_cnt && opt->limit < 8000 ? 8000 : opt->limit;
	if (light && m->run_cnt)
		goto out;
	for (uint32_t i = 0; i < m->dead_cnt && i < 4 && !out->caught; i++)
		try_death(m, nth(a, m->dead, m->dead_cnt, i, 4, &rng), opt, limit, out);
out:
	out->light = light && !out->caught;
	out->done = true;
}

static void report(const struct mutant *m, const struct outcome *o)
{
	printf("%-8s %-7s %-4s %s%s %s\n",
	       o->caught  ? "caught"
	       : o->light ? "equal"
			  : "SURVIVED",
	       mutation_name[m->id.kind], m->id.media == SIM_MEDIA_LINE ? "line" : "page",
	       o->caught ? o->by.workload : "-", o->caught && o->by.dead ? ", after a death," : "",
	       m->id.at);
	fflush(stdout);
}

static void try_in_child(const struct all *a, uint32_t i)
{
	const struct mutant *m = &a->mut[i];
	struct outcome *out = &a->out[i];
	bool written;

	fflush(NULL);
	if (crash_fork())
		return;
	try_mutant(a, m, out);
	report(m, out);
	written = mutants_state_add(a->state, &m->id, out->caught ? &out->by : NULL, out->light);
	crash_dir_remove();
	_exit(written ? 0 : 1);
}

/* How long it may take, for the order only: the cheap ones first. */
static uint64_t cost_of(const struct mutant *m)
{
	if (m->hint_cnt)
		return cost(&m->hint[0]);
	return m->run_cnt ? 100000 + m->known : 200000 + m->known;
}

static void order(const struct all *a, uint32_t *list)
{
	for (uint32_t i = 0; i < a->mut_cnt; i++) {
		uint32_t at = i;

		for (; at && cost_of(&a->mut[list[at - 1]]) > cost_of(&a->mut[i]); at--)
			list[at] = list[at - 1];
		list[at] = i;
	}
}

/* Returns 2 if what was found could not be written to the state, or a trial did not come to its end. */
static int try_all(struct all *a)
{
	unsigned int busy = 0;
	uint32_t next = 0, list[MUTANT_MAX];
	int status, rc = 0;

	order(a, list);
	while (next < a->mut_cnt || busy) {
		if (busy == a->p->jobs || next == a->mut_cnt) {
			if (wait(&status) > 0) {
				busy--;
				rc = status ? 2 : rc;
			}
			continue;
		}
		if (!a->mut[list[next]].skip && !a->out[list[next]].done && now() < a->until) {
			try_in_child(a, list[next]);
			busy++;
		}
		next++;
	}
	return rc;
}

/* A sample is one of those that were caught last time, without much ado: they must be caught again. */
static void choose(struct all *a, uint32_t sample)
{
	uint64_t rng = (a->mo->pick ? a->mo->pick : (uint64_t)(now() * 1e6)) | 1;
	uint32_t left, cnt = 0;

	for (uint32_t i = 0; i < a->mut_cnt; i++) {
		struct mutant *m = &a->mut[i];

		m->skip = (sample && a->mo->hints &&
			   (!m->hint_cnt || m->known || cost_of(m) > COST_SAMPLE)) ||
			  (a->mo->only && !strstr(m->id.at, a->mo->only));
		cnt += !m->skip;
	}
	if (sample)
		printf("mutants: %u of %u, --pick %llu\n", sample, cnt, (unsigned long long)rng);
	left = sample && sample < cnt ? sample : cnt;
	for (uint32_t i = 0; i < a->mut_cnt; i++) {
		if (a->mut[i].skip)
			continue;
		a->mut[i].skip = crash_rand(&rng) % cnt-- >= left;
		left -= !a->mut[i].skip;
	}
}

static int by_limit(const void *a, const void *b)
{
	const struct caught_by *x = a, *y = b;

	return (x->limit > y->limit) - (x->limit < y->limit);
}

static unsigned int line_at(const char **at)
{
	const char *colon = strchr(*at, ':');

	*at = colon ? colon + 1 : *at;
	return colon ? (unsigned int)strtoul(colon + 1, NULL, 10) : 0;
}

/* Is the call of X before that of Y, at the same place? */
static bool comes_before(const struct mutant_id *x, const struct mutant_id *y)
{
	const char *at = x->at, *bt = y->at;
	unsigned int a = line_at(&at), b = line_at(&bt);

	return a != b ? a < b : line_at(&at) < line_at(&bt);
}

static void number(struct all *a)
{
	for (uint32_t i = 0; i < a->mut_cnt; i++) {
		struct mutant *m = &a->mut[i];

		for (uint32_t k = 0; k < a->mut_cnt; k++)
			m->at_place += mutants_same_place(&m->id, &a->mut[k].id) &&
				       comes_before(&a->mut[k].id, &m->id);
		(void)room(a, m->at_place, PLACE_MAX, "calls at one place");
	}
}

/* What is known of each from files. */
static void look_up(struct all *a)
{
	for (uint32_t i = 0; i < a->mut_cnt; i++) {
		struct mutant *m = &a->mut[i];
		enum mutant_was was;

		m->known = mutants_equivalent(a->mo->equivalent, &m->id);
		was = mutants_state_find(a->mo->state, &m->id, m->known, &a->out[i].by);
		m->hint_cnt = mutants_hints(a->mo->hints, &m->id, m->hint, HINT_MAX);
		(void)room(a, m->hint_cnt, HINT_MAX, "hints for a call");
		qsort(m->hint, m->hint_cnt, sizeof(*m->hint), by_limit);
		a->out[i].done = was != MUTANT_UNTRIED;
		a->out[i].caught = was == MUTANT_CAUGHT;
		a->out[i].light = was == MUTANT_LIGHT;
	}
}

/* Outcomes hold for this executable, this seed and this limit. Returns 1 if there can be no state, and has said why. */
static int state_begin(struct all *a)
{
	XXH64_state_t *h = XXH64_createState();
	FILE *f = fopen("/proc/self/exe", "r");
	char buf[4096], title[200];
	size_t n;

	a->state = -1;
	if (a->mo->state && f && h) {
		XXH64_reset(h, 0);
		while ((n = fread(buf, 1, sizeof(buf), f)) > 0)
			XXH64_update(h, buf, n);
		snprintf(title, sizeof(title), STATE_TITLE "%016llx, seed %llu, limit %llu\n",
			 (unsigned long long)XXH64_digest(h), (unsigned long long)a->p->opt.seed,
			 (unsigned long long)a->p->opt.limit);
		a->state = mutants_state_open(a->mo->state, title);
	}
	if (f)
		fclose(f);
	XXH64_freeState(h);
	return a->mo->state && a->state < 0;
}

static int try_and_tell(struct all *a)
{
	bool whole = !a->mo->sample && !a->mo->only;
	int rc, found;

	choose(a, a->mo->sample);
	/* From here on: on a busy machine gathering alone may take as long. */
	a->until = a->mo->seconds ? now() + (double)a->mo->seconds : 1e18;
	do
		rc = try_all(a);
	while (!rc && mutants_harder(a));
	found = mutants_summary(a);
	rc = rc ? rc : found;
	if (mutants_wrong(a, whole && found != 3) && !rc)
		rc = 1;
	found = mutants_learn(a);
	return rc ? rc : found;
}

static int mutants(struct all *a)
{
	int rc;

	if (a->mo->learn && !mutants_of_all(a)) {
		printf("mutants: --learn: all workloads and both media, or what others caught would be forgotten\n");
		return 2;
	}
	printf("mutants: seed %llu, up to %llu images for each on each workload\n",
	       (unsigned long long)a->p->opt.seed, (unsigned long long)a->p->opt.limit);
	if (state_begin(a))
		return 2;
	crash_where_paths = a->mo->list || only_own(a);
	rc = gather_all(a);
	if (!rc && !a->mut_cnt && only_own(a)) {
		printf("mutants: nothing to take away: your sources call no flush, fence, sync, publish or copy themselves (--all 1: what libtwz and the engine do for them)\n");
		rc = 2;
	}
	if (!rc) {
		number(a);
		look_up(a);
		rc = a->full ? 1 : a->mo->list ? mutants_print(a) : try_and_tell(a);
	}
	if (a->state >= 0)
		close(a->state);
	return rc;
}

int crash_mutants(const struct crash_plan *p, const struct mutant_options *mo)
{
	size_t out_len = MUTANT_MAX * sizeof(struct outcome), sites_len;
	struct all *a = calloc(1, sizeof(*a));
	void *sites;
	int rc = 1;

	if (!a)
		return 1;
	a->p = p;
	a->mo = mo;
	list_runs(a);
	sites_len = (a->run_cnt + 1) * WHERES * sizeof(struct crash_sites);
	a->mut = calloc(MUTANT_MAX + 1, sizeof(*a->mut));
	a->out = mmap(NULL, out_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	sites = mmap(NULL, sites_len, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (a->mut && a->out != MAP_FAILED && sites != MAP_FAILED) {
		for (uint32_t i = 0; i < a->run_cnt; i++)
			a->run[i].sites = (struct crash_sites *)sites + WHERES * i;
		rc = mutants(a);
	}
	if (sites != MAP_FAILED)
		munmap(sites, sites_len);
	if (a->out != MAP_FAILED)
		munmap(a->out, out_len);
	free(a->mut);
	free(a);
	return rc;
}
