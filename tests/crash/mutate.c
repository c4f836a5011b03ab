/* SPDX-License-Identifier: MIT
 * mutate.c -- would the workloads notice if a flush, fence or sync were missing?
 *
 * Each call site (chain of callers) of a recorded run is taken away in turn, in the simulator,
 * not in the code. A site that no workload misses is either redundant or not tested enough.
 */
#include "enum.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static enum mutation_kind kind_of(uint32_t ev_type)
{
	switch (ev_type) {
	case EV_FLUSH:
		return MUTATE_DROP_FLUSH;
	case EV_FENCE:
		return MUTATE_DROP_FENCE;
	case EV_SYNC:
	case EV_SYNC_ALL:
		return MUTATE_DROP_SYNC;
	case EV_WRITE:
		return MUTATE_DROP_WRITE;
	default:
		return MUTATE_NONE;
	}
}

static const char *const kind_name[] = {"", "flush", "fence", "sync", "write"};

/* Call sites over all workloads, by the first two functions of the chain. */
struct total {
	char text[240];
	enum mutation_kind kind;
	uint32_t tried, caught;
	const char *by;
};

static struct total total[512];
static uint32_t total_cnt;

static void add_total(const struct crash_site *site, const char *chain,
		      const struct crash_workload *w, bool caught)
{
	char key[240];
	const char *end = strstr(chain, " < "), *own = strstr(chain, "(workloads_");
	uint32_t i;

	if (own && (!end || own < end)) /* the workload's own, not the library's */
		return;

	end = end ? strstr(end + 3, " < ") : NULL;
	snprintf(key, sizeof(key), "%.*s", end ? (int)(end - chain) : (int)strlen(chain), chain);
	for (i = 0;
	     i < total_cnt && (strcmp(total[i].text, key) || total[i].kind != site->mut.kind); i++)
		;
	if (i == 512)
		return;
	if (i == total_cnt) {
		memcpy(total[i].text, key, sizeof(key));
		total[i].kind = site->mut.kind;
		total_cnt++;
	}
	total[i].tried++;
	total[i].caught += caught;
	if (caught && !total[i].by)
		total[i].by = w->name;
}

void crash_mutate_summary(void)
{
	uint32_t caught = 0;

	printf("\ncall sites over all workloads:\n");
	for (uint32_t i = 0; i < total_cnt; i++) {
		printf("%-6s %-5s %3u of %3u  %-18s %s\n", total[i].caught ? "caught" : "NOT",
		       kind_name[total[i].kind], total[i].caught, total[i].tried,
		       total[i].by ? total[i].by : "", total[i].text);
		caught += total[i].caught != 0;
	}
	printf("%u call sites, the absence of %u noticed by some workload\n", total_cnt, caught);
}

void crash_sites_add(struct crash_sites *s, const struct sim_log *log)
{
	const struct sim_ev *ev;
	bool started = false;
	uint64_t pos = 0;
	uint32_t i;

	while ((ev = sim_log_next(log, &pos))) {
		struct mutation m = {kind_of(ev->type), 0};

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

/* Sites of the run itself, and of what comes between a first and a second crash of it. */
static int gather(const struct crash_workload *w, const struct crash_options *opt,
		  const struct crash_record *rec, struct crash_sites *sites)
{
	struct crash_options o = *opt;
	struct crash_result res = {0};

	crash_sites_add(sites, rec->log);
	o.quiet = true;
	o.sites = w->again ? sites : NULL;
	crash_enumerate(w, rec, &o, &res);
	if (res.failed)
		printf("FAIL %s, with nothing taken away: %s\n", w->name, res.why);
	return res.failed;
}

static uint32_t mutate_all(const struct crash_workload *w, const struct crash_options *opt,
			   const struct crash_record *rec, const struct crash_sites *sites)
{
	const char *media = opt->media == SIM_MEDIA_LINE ? "line" : "page";
	uint32_t missed = 0;
	char text[700];

	for (uint32_t i = 0; i < sites->cnt; i++) {
		const struct crash_site *site = &sites->site[i];
		struct crash_options o = *opt;
		struct crash_result res = {0};

		o.mut = site->mut;
		o.quiet = true;
		crash_enumerate(w, rec, &o, &res);
		crash_chain(&site->ev, text, sizeof(text));
		printf("%-6s %-22s %-4s %-5s x%-4u %s\n", res.failed ? "caught" : "NOT", w->name,
		       media, kind_name[site->mut.kind], site->cnt, text);
		fflush(stdout);
		add_total(site, text, w, res.failed != 0);
		missed += !res.failed;
	}
	printf("%s %s: %u call sites, %u whose absence was not noticed\n", w->name, media,
	       sites->cnt, missed);
	return missed;
}

int crash_mutate(const struct crash_workload *w, const struct crash_options *opt)
{
	struct crash_sites *sites = mmap(NULL, sizeof(*sites), PROT_READ | PROT_WRITE,
					 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct crash_record rec;
	char why[512] = "no memory";
	int rc = sites == MAP_FAILED;

	if (!rc)
		rc = crash_record(w, opt->media, opt->seed, &rec, why, sizeof(why));
	if (rc) {
		printf("%s: %s\n", w->name, why);
	} else {
		rc = gather(w, opt, &rec, sites);
		mutate_all(w, opt, &rec, sites);
	}
	if (sites == MAP_FAILED)
		return 1;
	crash_record_free(&rec);
	munmap(sites, sizeof(*sites));
	return rc != 0;
}
