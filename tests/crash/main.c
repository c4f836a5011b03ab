/* SPDX-License-Identifier: MIT
 * main.c -- twzcrash: crash the workloads on purpose
 */
#include "flushes.h"
#include "mutate.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char usage[] =
	"usage: twzcrash COMMAND\n"
	"  list                        the workloads\n"
	"  run [NAME...] [options]     crash them (NAME may be a prefix: core, tx, log, engine); none: all\n"
	"  long [options]              the same again and again with other seeds and higher limits, until stopped\n"
	"  quick [options]             those marked quick, with a small limit\n"
	"  mutants [NAME...] [options] take each call of flush, fence, sync, write and publish away in turn: somebody must notice\n"
	"  flushes [NAME...] [--media M]   lines never flushed, lines not durable when acknowledged, flushes for nothing\n"
	"  coverage --image FILE [NAME...] [options]   run, and write which stores ran, for coverage.py\n"
	"  log NAME [options]          print the recorded events\n"
	"  repro NAME --image FILE --floor N --top N [--media M]   look at a kept image again\n"
	"options:\n"
	"  --media line|page|kill      only this medium, or only process death, with and without power failure (default: all a workload has)\n"
	"  --limit N                   distinct images for each workload and medium (default 2000)\n"
	"  --seed S                    of samples and of random numbers in the workload (default: $SEED, or the clock)\n"
	"  --second N                  crash the recovery of one in N images too (default 64; 0: none)\n"
	"  --second-limit N            images of such a second crash (default 24)\n"
	"  --third N                   crash one in N of those a third time (default 32; 0: none)\n"
	"  --jobs N                    workloads at a time (default: as many as there are processors)\n"
	"  --kill-max N                limit for process deaths (default 2000)\n"
	"  --require N                 fail unless N distinct images of stores of at most 1 MiB were looked at, 30 % of them\n"
	"                              inside larger engine commits, 10 % left by a second crash, 10 % on page media\n"
	"  --require-large N           fail unless N distinct images of a store of 1 GiB were\n"
	"  --timeout S                 seconds an image may take (default 20)\n"
	"  --sample N, --pick S        so many mutants, of those with hints; which ones (default: by the clock)\n"
	"  --only TEXT                 those mutants with TEXT in their name (caller, its caller, files, lines)\n"
	"  --list 1                    say which mutants there are, how many workloads make the call, itself and after a death\n"
	"  --hints FILE, --learn FILE  what caught each mutant last time, tried first; written anew\n"
	"  --state FILE, --seconds S   do them in parts: what was found so far; begin none after S seconds (exit status 3: not finished)\n"
	"  --state FILE                of run, long, quick: what has been done so far; the same command goes on there, however it ended\n"
	"  --equivalent FILE           mutants that need not be noticed, or stores that need not be flushed, and why\n"
	"  --keep DIR                  where images that fail are kept (default /tmp)\n";

struct args {
	struct crash_plan p;
	const char *image;
	struct mutant_options mutants;
	uint32_t floor, top;
};

static int bad(const char *what, const char *arg)
{
	fprintf(stderr, "twzcrash: %s: %s\n%s", what, arg, usage);
	return 2;
}

static void set_seed(struct args *a, const char *value)
{
	a->p.opt.seed = strtoull(value, NULL, 0);
	a->p.any_seed = false;
}

static int option(struct args *a, const char *name, const char *value)
{
	if (!value)
		return bad("needs a value", name);
	if (!strcmp(name, "--media")) {
		a->p.media = !strcmp(value, "line")   ? CRASH_LINE
			     : !strcmp(value, "page") ? CRASH_PAGE
			     : !strcmp(value, "kill") ? CRASH_KILL
						      : 0;
		a->p.opt.media = a->p.media == CRASH_PAGE ? SIM_MEDIA_PAGE : SIM_MEDIA_LINE;
		return a->p.media ? 0 : bad("no such medium", value);
	}
	if (!strcmp(name, "--limit"))
		a->p.opt.limit = strtoull(value, NULL, 0);
	else if (!strcmp(name, "--seed"))
		set_seed(a, value);
	else if (!strcmp(name, "--second"))
		a->p.opt.second = (uint32_t)strtoul(value, NULL, 0);
	else if (!strcmp(name, "--keep"))
		a->p.opt.keep_dir = value;
	else if (!strcmp(name, "--second-limit"))
		a->p.opt.second_limit = (uint32_t)strtoul(value, NULL, 0);
	else if (!strcmp(name, "--third"))
		a->p.opt.third = (uint32_t)strtoul(value, NULL, 0);
	else if (!strcmp(name, "--jobs"))
		a->p.jobs = (unsigned int)strtoul(value, NULL, 0);
	else if (!strcmp(name, "--kill-max"))
		a->p.kill_max = strtoull(value, NULL, 0);
	else if (!strcmp(name, "--require"))
		a->p.require = strtoull(value, NULL, 0);
	else if (!strcmp(name, "--require-large"))
		a->p.require_large = strtoull(value, NULL, 0);
	else if (!strcmp(name, "--timeout"))
		a->p.opt.timeout = (unsigned int)strtoul(value, NULL, 0);
	else if (!strcmp(name, "--sample"))
		a->mutants.sample = (uint32_t)strtoul(value, NULL, 0);
	else if (!strcmp(name, "--seconds"))
		a->mutants.seconds = (uint32_t)strtoul(value, NULL, 0);
	else if (!strcmp(name, "--pick"))
		a->mutants.pick = strtoull(value, NULL, 0);
	else if (!strcmp(name, "--only"))
		a->mutants.only = value;
	else if (!strcmp(name, "--list"))
		a->mutants.list = atoi(value) != 0;
	else if (!strcmp(name, "--state"))
		a->mutants.state = a->p.state = value;
	else if (!strcmp(name, "--hints"))
		a->mutants.hints = value;
	else if (!strcmp(name, "--learn"))
		a->mutants.learn = value;
	else if (!strcmp(name, "--equivalent"))
		a->mutants.equivalent = value;
	else if (!strcmp(name, "--image"))
		a->image = value;
	else if (!strcmp(name, "--floor"))
		a->floor = (uint32_t)strtoul(value, NULL, 0);
	else if (!strcmp(name, "--top"))
		a->top = (uint32_t)strtoul(value, NULL, 0);
	else
		return bad("no such option", name);
	return 0;
}

static int parse(struct args *a, int argc, char **argv)
{
	for (int i = 2; i < argc; i++) {
		if (argv[i][0] == '-') {
			int rc = option(a, argv[i], argv[i + 1]);

			if (rc)
				return rc;
			i++;
		} else if (a->p.name_cnt < 64) {
			a->p.name[a->p.name_cnt++] = argv[i];
		}
	}
	return 0;
}

bool crash_wanted(const struct crash_plan *p, const struct crash_workload *w)
{
	for (unsigned int i = 0; i < p->name_cnt; i++) {
		size_t len = strlen(p->name[i]);

		if (!strncmp(w->name, p->name[i], len) &&
		    (w->name[len] == 0 || w->name[len] == '.'))
			return true;
	}
	return p->name_cnt == 0;
}

static const struct crash_workload *find(const struct args *a)
{
	for (int i = 0; a->p.name_cnt && crash_workloads[i]; i++)
		if (crash_wanted(&a->p, crash_workloads[i]))
			return crash_workloads[i];
	return NULL;
}

static void list(void)
{
	for (int i = 0; crash_workloads[i]; i++) {
		const struct crash_workload *w = crash_workloads[i];

		printf("%-24s %s%s%s%s %s\n", w->name, w->media & CRASH_LINE ? "line " : "     ",
		       w->media & CRASH_PAGE ? "page " : "     ",
		       w->media & CRASH_KILL ? "kill " : "     ", w->quick ? "quick" : "     ",
		       w->what);
	}
}

static int print_log(struct args *a)
{
	static const char *const name[] = {"",	    "STORE",   "NTSTORE",  "FLUSH",  "FENCE",
					   "WRITE", "SYNC",    "SYNC_ALL", "GROW",   "RESET",
					   "START", "BEGIN",   "STATE",	   "DEATH",  "SETTLED",
					   "ACK",   "UNNAMED", "NAMED",	   "INSIDE", "FAIL"};
	const struct crash_workload *w = find(a);
	struct crash_record rec;
	const struct sim_ev *ev;
	uint64_t pos = 0, n = 0;
	char why[512];
	int rc;

	if (!w)
		return bad("no such workload", a->p.name_cnt ? a->p.name[0] : "");
	rc = crash_record(w, a->p.opt.media, a->p.opt.seed, &rec, why, sizeof(why));
	while (rec.log && (ev = sim_log_next(rec.log, &pos))) {
		printf("%6llu %-8s %#9llx %6u  %s\n", (unsigned long long)n++, name[ev->type],
		       (unsigned long long)ev->off, ev->len,
		       ev->pc[0] ? crash_where(ev->pc[0]) : "");
		if (ev->type == EV_STATE)
			printf("%s", (const char *)ev->data);
	}
	if (rc)
		fprintf(stderr, "%s\n", why);
	crash_record_free(&rec);
	return rc ? 1 : 0;
}

/* Run the plan, then write which instrumented stores ran; coverage.py says what did not. */
static int coverage(struct args *a)
{
	if (a->p.state) /* it does not remember what ran */
		return bad("cannot go on with a state", "coverage");

	FILE *f = a->image ? fopen(a->image, "w") : NULL;
	int rc = f && !sim_cover_start() ? crash_plan_once(&a->p)
					 : bad("cannot write the file of --image", "coverage");

	if (f) {
		sim_cover_write(f);
		fclose(f);
	}
	return rc;
}

static int flushes(struct args *a)
{
	int rc = 0;

	for (int i = 0; crash_workloads[i]; i++)
		for (int m = 0; m < 2; m++) {
			unsigned int bit = m ? CRASH_PAGE : CRASH_LINE;

			a->p.opt.media = m ? SIM_MEDIA_PAGE : SIM_MEDIA_LINE;
			if (crash_wanted(&a->p, crash_workloads[i]) &&
			    crash_workloads[i]->media & bit && (!a->p.media || a->p.media & bit))
				rc |= crash_flushes_of(crash_workloads[i], &a->p.opt);
		}
	rc |= crash_flushes_print(a->mutants.equivalent);
	return rc;
}

static uint64_t default_seed(void)
{
	const char *env = getenv("SEED");
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return env ? strtoull(env, NULL, 0) : (uint64_t)ts.tv_nsec ^ (uint64_t)ts.tv_sec;
}

int main(int argc, char **argv)
{
	struct args a = {.p = {.opt = {.limit = 2000,
				       .second = 64,
				       .second_limit = 24,
				       .third = 32,
				       .timeout = 20,
				       .keep_dir = "/tmp"},
			       .kill_max = 2000,
			       .any_seed = !getenv("SEED"),
			       .jobs = (unsigned int)sysconf(_SC_NPROCESSORS_ONLN)}};
	int rc;

	a.p.opt.seed = default_seed();
	if (argc < 2)
		return bad("no command", "");
	rc = parse(&a, argc, argv);
	if (rc)
		return rc;
	a.p.opt.counts = crash_counts_new((uint64_t)1 << 25);
	if (!a.p.opt.counts)
		return bad("no memory", "counts");
	crash_dirs_sweep();
	if (!strcmp(argv[1], "list")) {
		list();
	} else if (!strcmp(argv[1], "run")) {
		rc = crash_plan_once(&a.p);
	} else if (!strcmp(argv[1], "long")) {
		rc = crash_plan_long(&a.p);
	} else if (!strcmp(argv[1], "quick")) {
		if (a.p.opt.limit == 2000)
			a.p.opt.limit = 120;
		a.p.quick = true;
		rc = crash_plan_once(&a.p);
	} else if (!strcmp(argv[1], "mutants")) {
		rc = crash_mutants(&a.p, &a.mutants);
	} else if (!strcmp(argv[1], "flushes")) {
		rc = flushes(&a);
	} else if (!strcmp(argv[1], "coverage")) {
		rc = coverage(&a);
	} else if (!strcmp(argv[1], "log")) {
		rc = print_log(&a);
	} else if (!strcmp(argv[1], "repro") && a.image && find(&a)) {
		rc = crash_repro(find(&a), &a.p.opt, a.image, a.floor, a.top);
	} else {
		rc = bad("no such command, or something it needs is missing", argv[1]);
	}
	crash_dir_remove();
	return rc;
}
