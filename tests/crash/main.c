/* SPDX-License-Identifier: MIT
 * main.c -- twzcrash: crash the workloads on purpose
 */
#include "enum.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char usage[] =
	"usage: twzcrash COMMAND\n"
	"  list                        the workloads\n"
	"  run [NAME...] [options]     crash them (NAME may be a prefix: core, tx, log, engine); none: all\n"
	"  quick [options]             those marked quick, with a small limit\n"
	"  mutate NAME... [options]    take each flush, fence and sync away in turn; say whose absence was noticed\n"
	"  log NAME [options]          print the recorded events\n"
	"  repro NAME --image FILE --floor N --top N [--media M]   look at a kept image again\n"
	"options:\n"
	"  --media line|page|kill      only this medium, or only process death, with and without power failure (default: all a workload has)\n"
	"  --limit N                   distinct images for each workload and medium (default 2000)\n"
	"  --seed S                    of samples and of random numbers in the workload (default: $SEED, or the clock)\n"
	"  --second N                  crash the recovery of one in N images too (default 64; 0: none)\n"
	"  --keep DIR                  where images that fail are kept (default /tmp)\n";

struct args {
	struct crash_options opt;
	unsigned int media; /* enum crash_media_bits */
	const char *name[64];
	unsigned int name_cnt;
	const char *image;
	uint32_t floor, top;
};

static int bad(const char *what, const char *arg)
{
	fprintf(stderr, "twzcrash: %s: %s\n%s", what, arg, usage);
	return 2;
}

static int option(struct args *a, const char *name, const char *value)
{
	if (!value)
		return bad("needs a value", name);
	if (!strcmp(name, "--media")) {
		a->media = !strcmp(value, "line")   ? CRASH_LINE
			   : !strcmp(value, "page") ? CRASH_PAGE
			   : !strcmp(value, "kill") ? CRASH_KILL
						    : 0;
		a->opt.media = a->media == CRASH_PAGE ? SIM_MEDIA_PAGE : SIM_MEDIA_LINE;
		return a->media ? 0 : bad("no such medium", value);
	}
	if (!strcmp(name, "--limit"))
		a->opt.limit = strtoull(value, NULL, 0);
	else if (!strcmp(name, "--seed"))
		a->opt.seed = strtoull(value, NULL, 0);
	else if (!strcmp(name, "--second"))
		a->opt.second = (uint32_t)strtoul(value, NULL, 0);
	else if (!strcmp(name, "--keep"))
		a->opt.keep_dir = value;
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
		} else if (a->name_cnt < 64) {
			a->name[a->name_cnt++] = argv[i];
		}
	}
	return 0;
}

static bool wanted(const struct args *a, const struct crash_workload *w)
{
	for (unsigned int i = 0; i < a->name_cnt; i++) {
		size_t len = strlen(a->name[i]);

		if (!strncmp(w->name, a->name[i], len) &&
		    (w->name[len] == 0 || w->name[len] == '.'))
			return true;
	}
	return a->name_cnt == 0;
}

static const struct crash_workload *find(const struct args *a)
{
	for (int i = 0; a->name_cnt && crash_workloads[i]; i++)
		if (wanted(a, crash_workloads[i]))
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

struct sum {
	uint64_t runs, failed, points, images, distinct, reopened;
	double seconds;
};

static void add(struct sum *s, const struct crash_result *r)
{
	s->runs++;
	s->failed += r->failed != 0;
	s->points += r->points;
	s->images += r->images;
	s->distinct += r->distinct;
	s->reopened += r->reopened + r->second;
	s->seconds += r->seconds;
}

static int run(struct args *a, bool quick)
{
	struct sum sum = {0};

	printf("twzcrash: seed %llu, limit %llu\n", (unsigned long long)a->opt.seed,
	       (unsigned long long)a->opt.limit);
	for (int i = 0; crash_workloads[i]; i++) {
		const struct crash_workload *w = crash_workloads[i];
		unsigned int bits = w->media & (a->media ? a->media : CRASH_ALL);
		struct crash_result res;

		if (!wanted(a, w) || (quick && !w->quick))
			continue;
		for (int m = 0; m < 2; m++) {
			a->opt.media = m ? SIM_MEDIA_PAGE : SIM_MEDIA_LINE;
			if (bits & (m ? CRASH_PAGE : CRASH_LINE)) {
				crash_run(w, &a->opt, &res);
				add(&sum, &res);
			}
			if ((bits & CRASH_KILL) && (w->media & (m ? CRASH_PAGE : CRASH_LINE))) {
				struct crash_options o = a->opt;

				o.limit = o.limit / 20 + 1; /* a death costs two processes */
				crash_kill(w, &o, &res);
				add(&sum, &res);
				o.limit = a->opt.limit / 4 + 1;
				crash_death(w, &o, &res);
				add(&sum, &res);
			}
		}
	}
	printf("twzcrash: %llu runs, %llu failed; %llu crash points, %llu images, %llu distinct, %llu reopenings, %.1f s; seed %llu\n",
	       (unsigned long long)sum.runs, (unsigned long long)sum.failed,
	       (unsigned long long)sum.points, (unsigned long long)sum.images,
	       (unsigned long long)sum.distinct, (unsigned long long)sum.reopened, sum.seconds,
	       (unsigned long long)a->opt.seed);
	if (!sum.runs)
		return bad("no such workload", a->name_cnt ? a->name[0] : "");
	return sum.failed ? 1 : 0;
}

static int mutate(struct args *a)
{
	for (int i = 0; crash_workloads[i]; i++) {
		const struct crash_workload *w = crash_workloads[i];

		for (int m = 0; m < 2; m++) {
			a->opt.media = m ? SIM_MEDIA_PAGE : SIM_MEDIA_LINE;
			if (wanted(a, w) && (w->media & (m ? CRASH_PAGE : CRASH_LINE)) &&
			    (!a->media || (a->media & (m ? CRASH_PAGE : CRASH_LINE))))
				crash_mutate(w, &a->opt);
		}
	}
	crash_mutate_summary();
	return 0;
}

static int print_log(struct args *a)
{
	static const char *const name[] = {"",	    "STORE",   "NTSTORE",  "FLUSH", "FENCE",
					   "WRITE", "SYNC",    "SYNC_ALL", "GROW",  "RESET",
					   "START", "BEGIN",   "STATE",	   "DEATH", "SETTLED",
					   "ACK",   "UNNAMED", "NAMED",	   "FAIL"};
	const struct crash_workload *w = find(a);
	struct crash_record rec;
	const struct sim_ev *ev;
	uint64_t pos = 0, n = 0;
	char why[512];
	int rc;

	if (!w)
		return bad("no such workload", a->name_cnt ? a->name[0] : "");
	rc = crash_record(w, a->opt.media, a->opt.seed, &rec, why, sizeof(why));
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

static uint64_t default_seed(void)
{
	const char *env = getenv("SEED");
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return env ? strtoull(env, NULL, 0) : (uint64_t)ts.tv_nsec ^ (uint64_t)ts.tv_sec;
}

int main(int argc, char **argv)
{
	struct args a = {.opt = {.limit = 2000,
				 .second = 64,
				 .second_limit = 24,
				 .timeout = 20,
				 .keep_dir = "/tmp"}};
	int rc;

	a.opt.seed = default_seed();
	if (argc < 2)
		return bad("no command", "");
	rc = parse(&a, argc, argv);
	if (rc)
		return rc;
	if (!strcmp(argv[1], "list")) {
		list();
	} else if (!strcmp(argv[1], "run")) {
		rc = run(&a, false);
	} else if (!strcmp(argv[1], "quick")) {
		if (a.opt.limit == 2000)
			a.opt.limit = 120;
		rc = run(&a, true);
	} else if (!strcmp(argv[1], "mutate")) {
		rc = mutate(&a);
	} else if (!strcmp(argv[1], "log")) {
		rc = print_log(&a);
	} else if (!strcmp(argv[1], "repro") && a.image && find(&a)) {
		rc = crash_repro(find(&a), &a.opt, a.image, a.floor, a.top);
	} else {
		rc = bad("no such command, or something it needs is missing", argv[1]);
	}
	crash_dir_remove();
	return rc;
}
