/* SPDX-License-Identifier: MIT
 * main.c -- twzcrash: crash the workloads on purpose
 */
#include "campaign_run.h"
#include "flushes.h"
#include "mutate.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char usage[] =
	"usage: twzcrash COMMAND\n"
	"  list                        the workloads\n"
	"  run [NAME...] [options]     crash them (NAME may be a prefix: core, tx, log, engine); none: all\n"
	"  long [options]              the same again and again with other seeds and higher limits, until stopped;\n"
	"                              in each round a turn of campaign, too\n"
	"  campaign [--kills N] [--seconds S] [--dir DIR] [--seed S] [--full MIB]   real processes on a real file, killed (twzcampaign)\n"
	"  quick [options]             those marked quick, with a small limit\n"
	"  mutants [NAME...] [options] take each call of flush, fence, sync, write and publish away in turn: somebody must notice\n"
	"  thrice [NAME...] [--media M]  three crashes, one in the recovery from the other, at every point of each: small workloads\n"
	"  flushes [NAME...] [--media M]   lines never flushed, lines not durable when acknowledged, flushes for nothing\n"
	"  coverage --image FILE [NAME...] [options]   run, and write which stores ran, for coverage.py\n"
	"  log NAME [options]          print the recorded events\n"
	"  kill NAME --media M --first N [--heir N [--next N]]  one process death again: at its Nth store, its heir's, and the next one's\n"
	"  death NAME --media M --first N [--restart 1]     one process death, then power failures\n"
	"  repro NAME --image FILE --floor N --top N [--media M] [--how plain|twice|read|copy] [--random N] [--crash N]\n"
	"                              look at a kept image again: opened once, twice, read only first, in another file; with these\n"
	"                              random numbers; the Nth crash left it, and its recovery is recorded as for another crash\n"
	"  --help                      this\n"
	"Exit status: 0 all is well, 1 it is not, 2 it was asked wrongly (a name no workload has, not a number), or nothing was looked at.\n"
	"options:\n"
	"  --media line|page|kill      only this medium, or only process death, with and without power failure (default: all a workload has)\n"
	"  --limit N                   distinct images for each workload and medium (default 2000; mutants of a program of one's own: 7500)\n"
	"  --seed S                    of samples and of random numbers in the workload (default: $SEED, or the clock)\n"
	"  --second N                  crash the recovery of one in N images too (default 64; 0: none)\n"
	"  --second-limit N            images of such a second crash (default 24)\n"
	"  --third N                   crash one in N of those a third time (default 32; 0: none)\n"
	"  --jobs N                    workloads at a time (default: as many as there are processors)\n"
	"  --kill-max N                limit for process deaths (default 2000)\n"
	"  --require N                 fail unless N distinct images of stores of at most 1 MiB were looked at, 30 % of them\n"
	"                              inside larger engine commits, 10 % left by a second crash, 10 % on page media\n"
	"  --require-large N           fail unless N distinct images of a store of 1 GiB were\n"
	"  --timeout S                 seconds an image may take (default 20; 0: as long as it likes)\n"
	"  --sample N, --pick S        so many mutants, of those with hints; which ones (default: by the clock)\n"
	"  --only TEXT                 those mutants with TEXT in their name (caller, its caller, files, lines)\n"
	"  --all 1                     in a program of one's own: the calls in libtwz and the engine, too, not only its sources'\n"
	"  --list 1 [--image FILE]     say which mutants there are, how many workloads make the call, itself and after a death; which stores ran\n"
	"  --hints FILE, --learn FILE  what caught each mutant last time, tried first; written anew\n"
	"  --state FILE, --seconds S   do them in parts: what was found so far; begin none after S seconds (exit status 3: not finished)\n"
	"  --state FILE                of run, long, quick: what has been done so far; the same command goes on there, however it ended\n"
	"  --equivalent FILE           mutants that need not be noticed, or stores that need not be flushed, and why\n"
	"  --keep DIR                  where images that fail are kept (default /tmp)\n";

struct args {
	struct crash_plan p;
	const char *image;
	struct mutant_options mutants;
	struct crash_kept kept;
};

static int bad(const char *what, const char *arg)
{
	fprintf(stderr, "twzcrash: %s: %s\n%s", what, arg, usage);
	return 2;
}

enum form { TEXT, COUNT, COUNT32, YES };

struct option {
	const char *name;
	enum form form;
	size_t at; /* in struct args */
};

_Static_assert(sizeof(unsigned int) == sizeof(uint32_t), "COUNT32 is either");
#define OPTION(name, form, field)                                                                  \
	{                                                                                          \
		name, form, offsetof(struct args, field)                                           \
	}
static const struct option options[] = {
	OPTION("--limit", COUNT, p.opt.limit),
	OPTION("--seed", COUNT, p.opt.seed),
	OPTION("--second", COUNT32, p.opt.second),
	OPTION("--second-limit", COUNT32, p.opt.second_limit),
	OPTION("--third", COUNT32, p.opt.third),
	OPTION("--timeout", COUNT32, p.opt.timeout),
	OPTION("--keep", TEXT, p.opt.keep_dir),
	OPTION("--jobs", COUNT32, p.jobs),
	OPTION("--kill-max", COUNT, p.kill_max),
	OPTION("--require", COUNT, p.require),
	OPTION("--require-large", COUNT, p.require_large),
	OPTION("--first", COUNT, p.opt.kill_first),
	OPTION("--heir", COUNT, p.opt.kill_heir),
	OPTION("--next", COUNT, p.opt.kill_next),
	OPTION("--restart", YES, p.opt.kill_restart),
	OPTION("--state", TEXT, p.state),
	OPTION("--seconds", COUNT32, p.opt.seconds),
	OPTION("--sample", COUNT32, mutants.sample),
	OPTION("--pick", COUNT, mutants.pick),
	OPTION("--only", TEXT, mutants.only),
	OPTION("--list", YES, mutants.list),
	OPTION("--all", YES, mutants.all),
	OPTION("--hints", TEXT, mutants.hints),
	OPTION("--learn", TEXT, mutants.learn),
	OPTION("--equivalent", TEXT, mutants.equivalent),
	OPTION("--image", TEXT, image),
	OPTION("--floor", COUNT32, kept.floor),
	OPTION("--top", COUNT32, kept.top),
	OPTION("--how", TEXT, kept.how),
	OPTION("--random", COUNT, kept.random),
	OPTION("--crash", COUNT32, kept.crash),
};

/* All of TEXT is a number, and not more than MAX. */
static bool number(const char *text, uint64_t max, uint64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoull(text, &end, 0);
	return text[0] >= '0' && text[0] <= '9' && !*end && !errno && *out <= max;
}

static int set(struct args *a, const struct option *o, const char *value)
{
	void *at = (char *)a + o->at;
	uint32_t n32;
	uint64_t n;

	if (o->form == TEXT) {
		memcpy(at, &value, sizeof(value));
		return 0;
	}
	if (!number(value, o->form == COUNT ? UINT64_MAX : o->form == YES ? 1 : UINT32_MAX, &n))
		return bad(o->form == YES ? "takes 0 or 1" : "takes a number", o->name);
	n32 = (uint32_t)n;
	if (o->form == COUNT)
		memcpy(at, &n, sizeof(n));
	else if (o->form == COUNT32)
		memcpy(at, &n32, sizeof(n32));
	else
		*(bool *)at = n != 0;
	return 0;
}

static int set_media(struct args *a, const char *value)
{
	a->p.media = !strcmp(value, "line")   ? CRASH_LINE
		     : !strcmp(value, "page") ? CRASH_PAGE
		     : !strcmp(value, "kill") ? CRASH_KILL
					      : 0;
	a->p.opt.media = a->p.media == CRASH_PAGE ? SIM_MEDIA_PAGE : SIM_MEDIA_LINE;
	return a->p.media ? 0 : bad("no such medium", value);
}

static int option(struct args *a, const char *name, const char *value)
{
	if (!value)
		return bad("needs a value", name);
	if (!strcmp(name, "--media"))
		return set_media(a, value);
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (!strcmp(name, options[i].name)) {
			a->p.any_seed &= strcmp(name, "--seed") != 0;
			return set(a, &options[i], value);
		}
	return bad("no such option", name);
}

static int add_name(struct args *a, const char *name)
{
	if (a->p.name_cnt == sizeof(a->p.name) / sizeof(a->p.name[0]))
		return bad("more names than there is room for", name);
	a->p.name[a->p.name_cnt++] = name;
	return 0;
}

static int parse(struct args *a, int argc, char **argv)
{
	int rc = 0;

	for (int i = 2; !rc && i < argc; i++) {
		if (argv[i][0] == '-') {
			rc = option(a, argv[i], argv[i + 1]);
			i++;
		} else {
			rc = add_name(a, argv[i]);
		}
	}
	a->mutants.state = a->p.state;
	a->mutants.seconds = a->p.opt.seconds;
	return rc;
}

/* Does W have this name? It may be the first words of it. */
static bool named(const struct crash_workload *w, const char *name)
{
	size_t len = strlen(name);

	return !strncmp(w->name, name, len) && (w->name[len] == 0 || w->name[len] == '.');
}

bool crash_wanted(const struct crash_plan *p, const struct crash_workload *w)
{
	for (unsigned int i = 0; i < p->name_cnt; i++)
		if (named(w, p->name[i]))
			return true;
	return p->name_cnt == 0;
}

/* A name that nothing has is a mistake: what it meant would not be crashed, and the rest called ok. */
static int names_known(const struct crash_plan *p)
{
	for (unsigned int n = 0; n < p->name_cnt; n++) {
		int i = 0;

		while (crash_workloads[i] &&
		       (!named(crash_workloads[i], p->name[n]) ||
			(p->quick && !crash_workloads[i]->quick) ||
			(p->media && !(p->media & crash_workloads[i]->media))))
			i++;
		if (crash_workloads[i])
			continue;
		fprintf(stderr, "twzcrash: no such workload%s%s: %s\n", p->quick ? " is quick" : "",
			p->media ? " has that medium" : "", p->name[n]);
		return 2;
	}
	return 0;
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

static int write_covered(const char *file)
{
	FILE *f = fopen(file, "w");

	if (!f)
		return bad("cannot write the file of --image", file);
	sim_cover_write(f);
	return fclose(f) ? bad("cannot write the file of --image", file) : 0;
}

static int mutants_of(struct args *a)
{
	int rc, err;

	if (crash_own_only &&
	    a->p.opt.limit == 2000) /* small programs: fewer images miss too much */
		a->p.opt.limit = 7500;
	if (!a->mutants.list || !a->image)
		return crash_mutants(&a->p, &a->mutants);
	rc = sim_cover_start() ? bad("no memory for --image", a->image)
			       : crash_mutants(&a->p, &a->mutants);
	err = write_covered(a->image);
	return rc ? rc : err;
}

static int flushes(struct args *a)
{
	int rc = 0, walked = 0;

	for (int i = 0; crash_workloads[i]; i++)
		for (int m = 0; m < 2; m++) {
			unsigned int bit = m ? CRASH_PAGE : CRASH_LINE;

			a->p.opt.media = m ? SIM_MEDIA_PAGE : SIM_MEDIA_LINE;
			if (!crash_wanted(&a->p, crash_workloads[i]) ||
			    !(crash_workloads[i]->media & bit) ||
			    (a->p.media && !(a->p.media & bit)))
				continue;
			walked++;
			rc |= crash_flushes_of(crash_workloads[i], &a->p.opt);
		}
	rc |= crash_flushes_print(a->mutants.equivalent, !a->p.name_cnt && !a->p.media);
	return walked ? rc : bad("no workload", "flushes");
}

/* $SEED, or the clock. */
static int default_seed(uint64_t *seed)
{
	const char *env = getenv("SEED");
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	*seed = (uint64_t)ts.tv_nsec ^ (uint64_t)ts.tv_sec;
	return env && !number(env, UINT64_MAX, seed) ? bad("is no number", "SEED") : 0;
}

static bool help_wanted(int argc, char **argv)
{
	for (int i = 1; i < argc && i < 3; i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return true;
	return false;
}

static int command(struct args *a, const char *name)
{
	struct crash_result res;

	if (!strcmp(name, "run") || !strcmp(name, "quick"))
		return crash_plan_once(&a->p);
	if (!strcmp(name, "long"))
		return crash_plan_long(&a->p);
	if (!strcmp(name, "mutants"))
		return mutants_of(a);
	if (!strcmp(name, "thrice"))
		return crash_plan_thrice(&a->p);
	if (!strcmp(name, "flushes"))
		return flushes(a);
	if (!strcmp(name, "coverage"))
		return coverage(a);
	if (!strcmp(name, "log"))
		return print_log(a);
	if (!strcmp(name, "kill") && a->p.opt.kill_first && find(a))
		return crash_kill(find(a), &a->p.opt, &res);
	if (!strcmp(name, "death") && a->p.opt.kill_first && find(a))
		return crash_death(find(a), &a->p.opt, &res);
	a->kept.file = a->image;
	if (!strcmp(name, "repro") && a->image && find(a))
		return crash_repro(find(a), &a->p.opt, &a->kept);
	return bad("no such command, or something it needs is missing", name);
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

	if (help_wanted(argc, argv))
		return fputs(usage, stdout) < 0;
	if (argc > 1 && !strcmp(argv[1], "campaign") && !crash_own_only)
		return campaign_exec((const char *const *)argv + 1);
	if (argc < 2)
		return bad("no command", "");
	rc = default_seed(&a.p.opt.seed);
	if (!rc)
		rc = parse(&a, argc, argv);
	a.p.quick = !strcmp(argv[1], "quick");
	if (a.p.quick && a.p.opt.limit == 2000)
		a.p.opt.limit = 120;
	if (!rc)
		rc = names_known(&a.p);
	if (rc)
		return rc;
	if (!strcmp(argv[1], "list")) {
		list();
		return 0;
	}
	a.p.opt.counts = crash_counts_new((uint64_t)1 << 25);
	if (!a.p.opt.counts)
		return bad("no memory", "counts");
	crash_dirs_sweep();
	rc = command(&a, argv[1]);
	crash_dir_remove();
	return rc;
}
