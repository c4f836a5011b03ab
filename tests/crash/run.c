/* SPDX-License-Identifier: MIT
 * run.c -- many workloads on all their media, several at a time
 *
 * A job is one workload on one medium in one way. Each runs in a process of its own, as many at a
 * time as were asked for; its result comes back in shared memory. With a state file the result of each job that
 * has ended is written down, and those that are there already are not done again.
 */
#include "run.h"
#include "campaign_run.h"
#include "progress.h"
#include "resume.h"
#include "thrice.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define JOB_MAX 4096
#define NEWS_CAP                                                                                   \
	((uint64_t)1 << 24) /* images one job may add to the counts; memory as it is needed */

struct job {
	const struct crash_workload *w;
	int (*fn)(const struct crash_workload *w, const struct crash_options *opt,
		  struct crash_result *res);
	struct crash_options opt;
	double guess; /* seconds it takes, about */
	bool done;
	struct crash_news *news; /* while it runs, with a state file */
	pid_t pid;
};

struct jobs {
	struct job job[JOB_MAX];
	unsigned int cnt;
	struct crash_result *res; /* shared */
	struct progress progress;
};

/* One invocation. */
struct campaign {
	struct crash_plan *p;
	struct resume *state; /* or NULL */
	uint32_t round;
	bool unwritten; /* what has been done cannot be remembered: no success */
	bool more;	/* NEXT is a record that has not been taken yet */
	struct resume_job next;
	struct crash_sum sum;
	double t0;
};

static volatile sig_atomic_t stopped;

static void stop(int sig)
{
	(void)sig;
	stopped = 1;
}

static void plan_one(struct jobs *j, const struct crash_workload *w,
		     const struct crash_options *opt,
		     int (*fn)(const struct crash_workload *, const struct crash_options *,
			       struct crash_result *),
		     uint64_t limit, double each)
{
	if (j->cnt == JOB_MAX) {
		fprintf(stderr, "twzcrash: more than %d runs: make JOB_MAX larger (run.c)\n",
			JOB_MAX);
		exit(2);
	}
	j->job[j->cnt] = (struct job){.w = w, .fn = fn, .opt = *opt, .guess = (double)limit * each};
	j->job[j->cnt++].opt.limit = limit;
}

/* Seconds for one of a job's limit, as seen: only their ratios matter, for what the progress line says. */
#define IMAGE_SECONDS 0.0005
#define KILL_SECONDS  0.01
#define DEATH_SECONDS 0.002
#define REAL_SECONDS  0.1
#define REAL_MIN      150 /* killed for real in one turn: with fewer not every kind of event happens */
#define REAL_MAX      5000

/* In each round of `long`, unless some workloads only are asked for: real processes, which need not much of the processor. */
static void plan_campaigns(struct jobs *j, const struct crash_plan *p)
{
	struct crash_options opt = p->opt;
	uint64_t kills = opt.limit / 4;

	kills = kills < REAL_MIN ? REAL_MIN : kills < REAL_MAX ? kills : REAL_MAX;
	if (crash_own_only || p->name_cnt || (p->media && !(p->media & CRASH_KILL)))
		return;
	for (int m = 0; m < 2; m++) {
		opt.media = m ? SIM_MEDIA_PAGE : SIM_MEDIA_LINE;
		plan_one(j, &campaign_job, &opt, campaign_run, kills, REAL_SECONDS);
	}
}

/* The last workloads first: the engine's take longest, and should not be what all wait for. */
static void plan(struct jobs *j, const struct crash_plan *p)
{
	int n = 0;

	while (crash_workloads[n])
		n++;
	while (n--) {
		const struct crash_workload *w = crash_workloads[n];
		unsigned int bits = w->media & (p->media ? p->media : CRASH_ALL);
		struct crash_options opt = p->opt;
		uint64_t limit = w->share ? opt.limit * w->share / 100 : opt.limit, kills;

		if (!crash_wanted(p, w) || (p->quick && !w->quick))
			continue;
		for (int m = 0; m < 2; m++) {
			unsigned int bit = m ? CRASH_PAGE : CRASH_LINE;

			opt.media = m ? SIM_MEDIA_PAGE : SIM_MEDIA_LINE;
			if (bits & bit && !w->killed)
				plan_one(j, w, &opt, crash_run, limit, IMAGE_SECONDS);
			if (!(bits & CRASH_KILL) || !(w->media & bit))
				continue;
			/* a death costs two processes */
			kills = limit > p->kill_max ? p->kill_max : limit;
			plan_one(j, w, &opt, crash_kill, kills / 20 + 1, KILL_SECONDS);
			plan_one(j, w, &opt, crash_death, kills / 4 + 1, DEATH_SECONDS);
		}
	}
}

static void start(struct campaign *c, struct jobs *j, unsigned int i)
{
	struct job *job = &j->job[i];
	pid_t parent = getpid();

	if (c->state)
		job->news = crash_news_new(NEWS_CAP);
	job->pid = crash_fork();
	if (job->pid)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	signal(SIGALRM, SIG_DFL);
	resume_leave(c->state);
	crash_news_to(job->news);
	setvbuf(stdout, NULL, _IOFBF, 1 << 16); /* a line in one piece */
	if (j->progress.terminal && isatty(STDOUT_FILENO))
		fputs("\033[K", stdout);
	job->fn(job->w, &job->opt, &j->res[i]);
	fflush(stdout);
	crash_dir_remove();
	_exit(0);
}

static unsigned int job_of(const struct jobs *j, pid_t pid)
{
	unsigned int i = 0;

	while (i < j->cnt && j->job[i].pid != pid)
		i++;
	return i;
}

/* False: the state cannot be written, so there is no point in going on. */
static bool remember(struct campaign *c, struct jobs *j, unsigned int i)
{
	struct crash_news *news = j->job[i].news;
	struct resume_job r = {.round = c->round, .job = i, .res = &j->res[i]};

	/* Done again, then: a failure to be reported anew, if it is one, and not only the harness's want of something. */
	if (!news || news->cnt > news->cap || j->res[i].failed)
		return true;
	r.seen = news->seen;
	r.seen_cnt = news->cnt;
	return resume_add(c->state, &r);
}

static void ended(struct campaign *c, struct jobs *j, pid_t pid, int status)
{
	unsigned int i = job_of(j, pid);

	if (i == j->cnt)
		return;
	j->job[i].done = true;
	j->job[i].pid = 0;
	if (status) {
		j->res[i].failed = -1;
		printf("FAIL %s: its process ended with %s %d\n", j->job[i].w->name,
		       WIFSIGNALED(status) ? "signal" : "status",
		       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	} else if (!remember(c, j, i)) {
		c->unwritten = true;
		stopped = 1;
	}
	crash_news_free(j->job[i].news);
	j->job[i].news = NULL;
}

/* Work done, in seconds of the guess; of a job at work, by the images it has had. */
static double work_done(const struct jobs *j)
{
	double sum = 0, part;

	for (unsigned int i = 0; i < j->cnt; i++) {
		const struct job *job = &j->job[i];

		part = job->pid ? (double)j->res[i].distinct / (double)job->opt.limit : 0;
		sum += job->guess * (job->done ? 1 : part < 1 ? part : 1);
	}
	return sum;
}

static double work_all(const struct jobs *j)
{
	double sum = 0;

	for (unsigned int i = 0; i < j->cnt; i++)
		sum += j->job[i].guess;
	return sum;
}

static void show(const struct campaign *c, struct jobs *j)
{
	char what[40] = "";

	if (c->round)
		snprintf(what, sizeof(what), "round %u: ", c->round);
	progress_show(&j->progress, work_done(j), c->p->opt.counts->opened, what);
}

static void tick(int sig)
{
	(void)sig;
}

/* wait() ends with EINTR so often, so that the progress line can be written. */
static void tick_every(double seconds)
{
	struct sigaction sa = {.sa_handler = tick};
	struct itimerval t = {{(time_t)seconds, 0}, {(time_t)seconds, 0}};

	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &t, NULL);
}

static void run_jobs(struct campaign *c, struct jobs *j, unsigned int width)
{
	unsigned int next = 0, busy = 0;
	int status;
	pid_t pid;

	progress_begin(&j->progress, work_all(j), work_done(j), c->p->opt.counts->opened);
	tick_every(j->progress.every);
	while (busy || (next < j->cnt && !stopped)) {
		if (busy < width && next < j->cnt && !stopped) {
			if (!j->job[next].done) {
				start(c, j, next);
				busy++;
			}
			next++;
			continue;
		}
		pid = wait(&status);
		if (pid > 0) {
			busy--;
			ended(c, j, pid, status);
		}
		show(c, j);
	}
	tick_every(0);
	progress_clear(&j->progress);
}

static void add(struct crash_sum *s, const struct crash_result *r)
{
	s->failed += r->failed != 0;
	s->points += r->points;
	s->images += r->images;
	s->reopened += r->reopened + r->second;
	s->cpu += r->seconds;
	s->killed += r->killed;
	s->heirs += r->heirs;
	s->late += r->late;
	s->next += r->next;
	s->really += r->really;
}

/* What earlier invocations did of this round. */
static void recall(struct campaign *c, struct jobs *j)
{
	unsigned int cnt = 0;

	for (; c->more && c->next.round == c->round; c->more = resume_next(c->state, &c->next)) {
		unsigned int i = c->next.job;

		if (i >= j->cnt || j->job[i].done)
			continue;
		j->res[i] = *c->next.res;
		j->job[i].done = true;
		cnt++;
		crash_counts_again(c->p->opt.counts, c->next.seen, c->next.seen_cnt);
		if (j->res[i].failed)
			printf("FAIL %s, before: %s\n", j->job[i].w->name, j->res[i].why);
	}
	if (cnt)
		printf("%s: %u of %u runs were done before\n", c->p->state, cnt, j->cnt);
	fflush(stdout);
}

/* All jobs of the plan, those of this round that are not done yet. 1 when one failed. */
static int plan_run(struct campaign *c)
{
	struct jobs *j = calloc(1, sizeof(*j));
	size_t len = JOB_MAX * sizeof(*j->res);
	uint64_t failed = c->sum.failed;

	if (!j)
		abort();
	j->res = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (j->res == MAP_FAILED)
		abort();
	if (c->round)
		plan_campaigns(j, c->p);
	plan(j, c->p);
	recall(c, j);
	run_jobs(c, j, c->p->jobs ? c->p->jobs : 1);
	for (unsigned int i = 0; i < j->cnt; i++) {
		if (!j->job[i].done)
			continue;
		add(&c->sum, &j->res[i]);
		c->sum.runs++;
	}
	munmap(j->res, len);
	free(j);
	return c->sum.failed > failed;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void print(const struct crash_plan *p, const struct crash_sum *s, double took)
{
	printf("twzcrash: %llu runs, %llu failed; %llu crash points, %llu images, %llu reopenings, %.1f s (%.1f s of work); seed %llu\n",
	       (unsigned long long)s->runs, (unsigned long long)s->failed,
	       (unsigned long long)s->points, (unsigned long long)s->images,
	       (unsigned long long)s->reopened, took, s->cpu, (unsigned long long)p->opt.seed);
	crash_counts_print(p->opt.counts);
	if (s->killed)
		printf("processes killed between two stores, with others that go on: %llu; their heirs: %llu, %llu of these beyond their first stores; the heirs of these: %llu\n",
		       (unsigned long long)s->killed, (unsigned long long)s->heirs,
		       (unsigned long long)s->late, (unsigned long long)s->next);
	if (s->really)
		printf("real processes killed beside others, in campaigns: %llu\n",
		       (unsigned long long)s->really);
	fflush(stdout);
}

/* What the run must have looked at: so many images of small stores, and so many percent of these of each kind. */
static int enough(const struct crash_plan *p)
{
	static const unsigned int percent[COUNT_KINDS] = {
		[COUNT_SMALL] = 100, [COUNT_PAGE] = 10, [COUNT_INSIDE] = 30, [COUNT_SECOND] = 10};
	const uint64_t *have = p->opt.counts->distinct;
	int rc = 0;

	for (int k = 0; k < COUNT_KINDS; k++) {
		uint64_t want = k == COUNT_SMALL   ? p->require
				: k == COUNT_LARGE ? p->require_large
						   : (have[COUNT_SMALL] * percent[k] + 99) / 100;

		if (have[k] >= want || (!p->require && k != COUNT_LARGE))
			continue;
		printf("FAIL: %llu images %s, and there must be %llu\n",
		       (unsigned long long)have[k], crash_count_name(k), (unsigned long long)want);
		rc = 1;
	}
	return rc;
}

/* And so many processes must have been killed: an heir in one of four deaths, beyond its first stores in one of twenty, and the heir's heir. */
static int enough_dead(const struct crash_plan *p, const struct crash_sum *s)
{
	if (!p->require || (s->killed >= p->require / 200 && s->heirs * 4 >= s->killed &&
			    s->late * 20 >= s->killed && s->next * 20 >= s->killed))
		return 0;
	printf("FAIL: too few processes were killed, or too few heirs, or too early\n");
	return 1;
}

/* False: the state cannot be used. */
static bool begin(struct campaign *c, struct crash_plan *p, bool is_long)
{
	const struct crash_options *o = &p->opt;
	char *title = NULL;
	size_t len;
	FILE *f;

	*c = (struct campaign){.p = p, .t0 = now()};
	if (!p->state)
		return true;
	f = open_memstream(&title, &len);
	if (!f)
		abort();
	fprintf(f, "%d %d %u %llu %llu %u %u %u", is_long, p->quick, p->media,
		(unsigned long long)o->limit, (unsigned long long)p->kill_max, o->second,
		o->second_limit, o->third);
	for (unsigned int i = 0; i < p->name_cnt; i++)
		fprintf(f, " %zu:%s", strlen(p->name[i]), p->name[i]);
	if (fclose(f))
		abort();
	c->state = resume_open(p->state, title, &p->opt.seed, p->any_seed);
	free(title);
	c->more = c->state && resume_next(c->state, &c->next);
	return c->state != NULL;
}

/* A run that opened no image has shown nothing, unless none was asked for. */
static bool nothing(const struct campaign *c)
{
	if (!c->sum.runs)
		fprintf(stderr, "twzcrash: no such workload\n");
	else if (!c->sum.reopened && c->p->opt.limit)
		fprintf(stderr, "twzcrash: no image was opened\n");
	else
		return false;
	return true;
}

int crash_plan_once(struct crash_plan *p)
{
	struct campaign c;
	int rc;

	if (!begin(&c, p, false))
		return 2;
	printf("twzcrash: seed %llu, limit %llu, %u at a time\n", (unsigned long long)p->opt.seed,
	       (unsigned long long)p->opt.limit, p->jobs);
	rc = plan_run(&c);
	print(p, &c.sum, now() - c.t0);
	resume_close(c.state);
	return c.unwritten ? 2 : rc ? rc : nothing(&c) ? 2 : enough(p) | enough_dead(p, &c.sum);
}

int crash_plan_long(struct crash_plan *p)
{
	struct campaign c;
	int rc = 0;

	if (!begin(&c, p, true))
		return 2;
	signal(SIGINT, stop);
	signal(SIGTERM, stop);
	while (!rc && !stopped) {
		c.round++;
		printf("round %u: seed %llu, limit %llu; until Ctrl-C or a failure\n", c.round,
		       (unsigned long long)p->opt.seed, (unsigned long long)p->opt.limit);
		fflush(stdout);
		rc = plan_run(&c);
		print(p, &c.sum, now() - c.t0);
		if (!rc && !stopped && nothing(&c))
			rc = 2;
		p->opt.seed++;
		p->opt.limit += p->opt.limit / 4;
	}
	resume_close(c.state);
	return c.unwritten ? 2 : rc;
}

static int thrice_apart(const struct crash_workload *w, const struct crash_options *opt)
{
	int rc = crash_thrice(w, opt);

	crash_dir_remove();
	return rc;
}

/* A process for each, JOBS at a time. */
int crash_plan_thrice(const struct crash_plan *p)
{
	unsigned int busy = 0, began = 0;
	int rc = 0, status;

	for (int i = 0; crash_workloads[i]; i++)
		for (int m = 0; m < 2; m++) {
			const struct crash_workload *w = crash_workloads[i];
			struct crash_options opt = p->opt;
			unsigned int bit = m ? CRASH_PAGE : CRASH_LINE;

			if (!(p->name_cnt ? crash_wanted(p, w) : w->thrice) || !(w->media & bit) ||
			    (p->media && !(p->media & bit)))
				continue;
			opt.media = m ? SIM_MEDIA_PAGE : SIM_MEDIA_LINE;
			if (busy == p->jobs && wait(&status) > 0) {
				rc |= status != 0;
				busy--;
			}
			began++;
			busy++;
			if (crash_fork() == 0)
				_exit(thrice_apart(w, &opt));
		}
	while (wait(&status) > 0)
		rc |= status != 0;
	if (!began)
		fprintf(stderr, "twzcrash: no such workload\n");
	return began ? rc : 2;
}
