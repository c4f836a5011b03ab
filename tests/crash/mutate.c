/* SPDX-License-Identifier: MIT
 * mutate.c -- would the workloads notice if a flush, fence, sync, write or publishing store were missing?
 *
 * A mutant is a call site, told by its caller and the caller's caller; all its calls are taken away
 * together, in the simulator, not in the code. It is tried on every workload that makes the call, with
 * few images first and then with more, until some image is wrong; what survives is tried once more
 * with a process that dies before the power fails. A mutant that survives all that must stand in the
 * list of equivalent ones, with its proof.
 */
#include "mutate.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MUTANT_MAX 1024
#define RUN_MAX	   256
#define HASH_MAX   256

static const char *const kind_name[] = {"", "flush", "fence", "sync", "write", "publish"};

/* A workload on a medium, recorded once. */
struct run {
	const struct crash_workload *w;
	enum sim_media media;
	struct crash_record rec;
};

struct mutant {
	enum mutation_kind kind;
	enum sim_media media;
	char at[240];  /* "function (file:line) < function (file:line)" */
	char fns[160]; /* the same without files */
	uint64_t hash[HASH_MAX];
	uint32_t hash_cnt;
	uint16_t run[RUN_MAX], dead[RUN_MAX]; /* made in the run itself; after a death in it */
	uint32_t run_cnt, dead_cnt;
	bool skip;	    /* not in the sample */
	unsigned int known; /* so many calls with these callers are in the list of equivalents */
};

/* Shared: what became of it. */
struct outcome {
	bool done, caught;
	uint64_t images;
	char by[80];
};

struct all {
	struct run run[RUN_MAX];
	uint32_t run_cnt;
	struct mutant *mut; /* MUTANT_MAX */
	uint32_t mut_cnt;
	struct outcome *out;
};

/* --- gathering --- */

/* The first two functions of a chain; AT with files and lines, FNS without. */
static bool name_of(const struct sim_ev *ev, char *at, size_t at_len, char *fns, size_t fns_len)
{
	char chain[700], *end, *own;
	size_t n = 0;

	crash_chain(ev, chain, sizeof(chain));
	end = strstr(chain, " < ");
	own = strstr(chain, "(workloads_");
	if (!end || (own && own < end)) /* the workload's own call, not the library's */
		return false;
	end = strstr(end + 3, " < ");
	if (end)
		*end = 0;
	snprintf(at, at_len, "%.*s", (int)at_len - 1, chain);
	for (const char *c = chain; *c && n + 1 < fns_len; c++) {
		if (c[0] == ' ' && c[1] == '(')
			c += strcspn(c, ")");
		else
			fns[n++] = *c;
	}
	fns[n] = 0;
	return true;
}

static void add_run(uint16_t *list, uint32_t *cnt, uint32_t run)
{
	if ((!*cnt || list[*cnt - 1] != run) && *cnt < RUN_MAX)
		list[(*cnt)++] = (uint16_t)run;
}

static void add_site(struct all *a, uint32_t run, const struct crash_site *site, bool dead)
{
	struct mutant m = {.kind = site->mut.kind, .media = a->run[run].media}, *old;
	uint32_t i;

	if (!name_of(&site->ev, m.at, sizeof(m.at), m.fns, sizeof(m.fns)))
		return;
	for (i = 0; i < a->mut_cnt; i++)
		if (a->mut[i].kind == m.kind && a->mut[i].media == m.media &&
		    !strcmp(a->mut[i].at, m.at))
			break;
	if (i == MUTANT_MAX)
		return;
	old = &a->mut[i];
	if (i == a->mut_cnt) {
		*old = m;
		a->mut_cnt++;
	}
	for (i = 0; i < old->hash_cnt && old->hash[i] != site->mut.site; i++)
		;
	if (i == old->hash_cnt && i < HASH_MAX)
		old->hash[old->hash_cnt++] = site->mut.site;
	if (!dead)
		add_run(old->run, &old->run_cnt, run);
	if (a->run[run].w->media & CRASH_KILL)
		add_run(old->dead, &old->dead_cnt, run);
}

/* Sites of the run itself, and of what comes between a first and a second crash of it. */
static int gather(struct all *a, const struct crash_plan *p, const struct crash_workload *w,
		  enum sim_media media, struct crash_sites *sites)
{
	struct run *r = &a->run[a->run_cnt];
	struct crash_options o = p->opt;
	struct crash_result res = {0};
	char why[512];

	r->w = w;
	r->media = o.media = media;
	if (crash_record(w, media, o.seed, &r->rec, why, sizeof(why))) {
		printf("%s: %s\n", w->name, why);
		return 1;
	}
	memset(sites, 0, sizeof(*sites));
	crash_sites_add(sites, r->rec.log);
	o.quiet = true;
	o.limit = 40;
	o.second = o.second ? 4 : 0;
	o.second_limit = 2;
	o.third = 0;
	o.counts = NULL;
	o.sites = sites;
	crash_enumerate(w, &r->rec, &o, &res);
	if (res.failed)
		printf("FAIL %s, with nothing taken away: %s\n", w->name, res.why);
	for (uint32_t i = 0; i < sites->cnt; i++)
		add_site(a, a->run_cnt, &sites->site[i], false);
	memset(sites, 0, sizeof(*sites));
	if (w->media & CRASH_KILL && !res.failed)
		crash_death(w, &o, &res);
	for (uint32_t i = 0; i < sites->cnt; i++)
		add_site(a, a->run_cnt, &sites->site[i], true);
	a->run_cnt++;
	return res.failed != 0;
}

static int gather_all(struct all *a, const struct crash_plan *p)
{
	size_t len = sizeof(struct crash_sites);
	struct crash_sites *sites =
		mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int rc = sites == MAP_FAILED;

	for (int i = 0; crash_workloads[i] && !rc; i++)
		for (int m = 0; m < 2 && !rc; m++) {
			unsigned int bit = m ? CRASH_PAGE : CRASH_LINE;

			if (crash_wanted(p, crash_workloads[i]) &&
			    crash_workloads[i]->media & bit && (!p->media || p->media & bit) &&
			    a->run_cnt < RUN_MAX)
				rc = gather(a, p, crash_workloads[i],
					    m ? SIM_MEDIA_PAGE : SIM_MEDIA_LINE, sites);
		}
	if (sites != MAP_FAILED)
		munmap(sites, len);
	return rc;
}

/* --- the list of those that change nothing --- */

/*
 * "KIND MEDIUM N FUNCTION < FUNCTION: proof": of the calls with these callers N are not needed.
 * MEDIUM may be `both`. Returns N.
 */
static unsigned int equivalents(const char *file, const struct mutant *m)
{
	char line[1000], kind[16], media[16];
	unsigned int n, sum = 0;
	FILE *f = file ? fopen(file, "r") : NULL;
	int at;

	while (f && fgets(line, sizeof(line), f)) {
		char *end = strstr(line, ": ");

		if (line[0] == '#' || !end ||
		    sscanf(line, "%15s %15s %u %n", kind, media, &n, &at) != 3)
			continue;
		*end = 0;
		if (!strcmp(kind, kind_name[m->kind]) && !strcmp(line + at, m->fns) &&
		    (!strcmp(media, "both") ||
		     !strcmp(media, m->media == SIM_MEDIA_LINE ? "line" : "page")))
			sum += n;
	}
	if (f)
		fclose(f);
	return sum;
}

/* --- trying --- */

static bool caught(struct outcome *out, const struct run *r, const struct crash_result *res,
		   const char *how)
{
	out->images += res->reopened + res->second;
	if (res->failed != 1)
		return false;
	snprintf(out->by, sizeof(out->by), "%s%s", r->w->name, how);
	out->caught = true;
	return true;
}

static bool try_run(const struct mutant *m, const struct run *r, const struct crash_options *opt,
		    uint64_t limit, struct outcome *out)
{
	struct crash_options o = *opt;
	struct crash_result res = {0};

	o.media = r->media;
	o.limit = limit;
	o.quiet = true;
	o.third = 0;
	o.second = r->w->again ? 8 : o.second;
	o.counts = NULL;
	o.mut = (struct mutation){
		.kind = m->kind, .site = m->hash[0], .more = m->hash, .more_cnt = m->hash_cnt};
	crash_enumerate(r->w, &r->rec, &o, &res);
	return caught(out, r, &res, "");
}

/* A process dies, its heir goes on, and then the power fails. */
static bool try_death(const struct mutant *m, const struct run *r, const struct crash_options *opt,
		      struct outcome *out)
{
	struct crash_options o = *opt;
	struct crash_result res = {0};

	if (!m->run_cnt && o.limit < 8000) /* nothing else can notice it */
		o.limit = 8000;
	o.media = r->media;
	o.quiet = true;
	o.counts = NULL;
	o.mut = (struct mutation){
		.kind = m->kind, .site = m->hash[0], .more = m->hash, .more_cnt = m->hash_cnt};
	crash_death(r->w, &o, &res);
	return caught(out, r, &res, ", a death before it");
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

static void try_mutant(const struct all *a, const struct mutant *m, const struct crash_options *opt,
		       struct outcome *out)
{
	static const struct {
		uint32_t limit, most;
	} round[] = {{60, 30}, {300, 12}, {1500, 6}, {7500, 4}, {40000, 3}};
	uint64_t rng = opt->seed | 1;

	/* One that needs not be caught is looked at, in case its proof has become wrong, but not for long. */
	for (unsigned int r = 0; r < (m->known ? 1 : 5) && round[r].limit <= opt->limit; r++)
		for (uint32_t i = 0; i < m->run_cnt && i < round[r].most && !out->caught; i++) {
			struct crash_options o = *opt;

			o.seed += round[r].limit; /* other samples than the round before */
			try_run(m, nth(a, m->run, m->run_cnt, i, round[r].most, &rng), &o,
				round[r].limit, out);
		}
	for (uint32_t i = 0; i < m->dead_cnt && i < 4 && !m->known && !out->caught; i++)
		try_death(m, nth(a, m->dead, m->dead_cnt, i, 4, &rng), opt, out);
	out->done = true;
}

static void report(const struct mutant *m, const struct outcome *o)
{
	printf("%-8s %-7s %-4s %-34s %s\n", o->caught ? "caught" : "SURVIVED", kind_name[m->kind],
	       m->media == SIM_MEDIA_LINE ? "line" : "page", o->by, m->at);
	fflush(stdout);
}

static void try_all(struct all *a, const struct crash_plan *p)
{
	unsigned int busy = 0;
	uint32_t next = 0;

	while (next < a->mut_cnt || busy) {
		const struct mutant *m = &a->mut[next];

		if (next == a->mut_cnt || busy == p->jobs) {
			busy -= wait(NULL) > 0;
			continue;
		}
		if (!m->skip) {
			fflush(NULL);
			if (!fork()) {
				try_mutant(a, m, &p->opt, &a->out[next]);
				report(m, &a->out[next]);
				crash_dir_remove();
				_exit(0);
			}
			busy++;
		}
		next++;
	}
}

/* --- the result --- */

static bool same_place(const struct mutant *a, const struct mutant *b)
{
	return a->kind == b->kind && a->media == b->media && !strcmp(a->fns, b->fns);
}

/* How many survivors at the place of mutant I are more than the list explains. */
static unsigned int unexplained(const struct all *a, uint32_t i)
{
	unsigned int cnt = 0, known;

	for (uint32_t k = 0; k < a->mut_cnt; k++) {
		if (a->mut[k].skip || a->out[k].caught || !same_place(&a->mut[i], &a->mut[k]))
			continue;
		if (k < i)
			return 0; /* told already */
		cnt++;
	}
	known = a->mut[i].known;
	return cnt > known ? cnt - known : 0;
}

static int summary(const struct all *a)
{
	unsigned int tried = 0, found = 0, open = 0, n;
	uint64_t images = 0;

	printf("\n");
	for (uint32_t i = 0; i < a->mut_cnt; i++) {
		if (a->mut[i].skip)
			continue;
		tried++;
		images += a->out[i].images;
		found += a->out[i].caught;
		if (a->out[i].caught)
			continue;
		n = unexplained(a, i);
		open += n;
		if (n)
			printf("FAIL: nobody misses %s %s: %s\n", kind_name[a->mut[i].kind],
			       a->mut[i].media == SIM_MEDIA_LINE ? "line" : "page", a->mut[i].at);
	}
	printf("mutants: %u of %u call sites tried; %u caught, %u proved equivalent, %u survived; %llu images\n",
	       tried, a->mut_cnt, found, tried - found - open, open, (unsigned long long)images);
	return open != 0;
}

static void choose(struct all *a, const struct crash_plan *p, uint32_t sample)
{
	uint64_t rng = p->opt.seed | 1;
	uint32_t left = sample && sample < a->mut_cnt ? sample : a->mut_cnt;

	for (uint32_t i = 0; i < a->mut_cnt; i++) {
		a->mut[i].skip = crash_rand(&rng) % (a->mut_cnt - i) >= left;
		left -= !a->mut[i].skip;
	}
}

int crash_mutants(const struct crash_plan *p, uint32_t sample, const char *equivalent)
{
	size_t len = MUTANT_MAX * sizeof(struct outcome);
	struct all *a = calloc(1, sizeof(*a));
	int rc;

	if (!a)
		return 1;
	a->mut = calloc(MUTANT_MAX + 1, sizeof(*a->mut));
	a->out = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!a->mut || a->out == MAP_FAILED)
		return 1;
	printf("mutants: seed %llu, up to %llu images for each on each workload\n",
	       (unsigned long long)p->opt.seed, (unsigned long long)p->opt.limit);
	rc = gather_all(a, p);
	if (!rc) {
		for (uint32_t i = 0; i < a->mut_cnt; i++)
			a->mut[i].known = equivalents(equivalent, &a->mut[i]);
		choose(a, p, sample);
		try_all(a, p);
		rc = summary(a);
	}
	for (uint32_t i = 0; i < a->run_cnt; i++)
		crash_record_free(&a->run[i].rec);
	munmap(a->out, len);
	free(a->mut);
	free(a);
	return rc;
}
