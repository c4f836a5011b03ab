/* SPDX-License-Identifier: MIT
 * run.c -- many workloads on all their media, several at a time
 *
 * A job is one workload on one medium in one way. Each runs in a process of its own, as many at a
 * time as were asked for; its result comes back in shared memory.
 */
#include "run.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define JOB_MAX 512

struct job {
	const struct crash_workload *w;
	int (*fn)(const struct crash_workload *w, const struct crash_options *opt,
		  struct crash_result *res);
	struct crash_options opt;
	pid_t pid;
};

struct jobs {
	struct job job[JOB_MAX];
	unsigned int cnt;
	struct crash_result *res; /* shared */
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
		     uint64_t limit)
{
	if (j->cnt == JOB_MAX)
		abort();
	j->job[j->cnt] = (struct job){.w = w, .fn = fn, .opt = *opt};
	j->job[j->cnt++].opt.limit = limit;
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
			if (bits & bit)
				plan_one(j, w, &opt, crash_run, limit);
			if (!(bits & CRASH_KILL) || !(w->media & bit))
				continue;
			/* a death costs two processes */
			kills = limit > p->kill_max ? p->kill_max : limit;
			plan_one(j, w, &opt, crash_kill, kills / 20 + 1);
			plan_one(j, w, &opt, crash_death, kills / 4 + 1);
		}
	}
}

static void start(struct jobs *j, unsigned int i)
{
	struct job *job = &j->job[i];

	fflush(NULL);
	job->pid = fork();
	if (job->pid)
		return;
	setvbuf(stdout, NULL, _IOFBF, 1 << 16); /* a line in one piece */
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

static void ended(struct jobs *j, pid_t pid, int status)
{
	unsigned int i = job_of(j, pid);

	if (i == j->cnt || !status)
		return;
	j->res[i].failed = -1;
	printf("FAIL %s: its process ended with %s %d\n", j->job[i].w->name,
	       WIFSIGNALED(status) ? "signal" : "status",
	       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

static void run_jobs(struct jobs *j, unsigned int width)
{
	unsigned int next = 0, busy = 0;
	int status;
	pid_t pid;

	while (busy || (next < j->cnt && !stopped)) {
		if (busy < width && next < j->cnt && !stopped) {
			start(j, next++);
			busy++;
			continue;
		}
		pid = wait(&status);
		if (pid < 0)
			continue;
		busy--;
		ended(j, pid, status);
	}
}

static void add(struct crash_sum *s, const struct crash_result *r)
{
	s->failed += r->failed != 0;
	s->points += r->points;
	s->images += r->images;
	s->reopened += r->reopened + r->second;
	s->cpu += r->seconds;
}

int crash_plan_run(const struct crash_plan *p, struct crash_sum *sum)
{
	struct jobs *j = calloc(1, sizeof(*j));
	size_t len = JOB_MAX * sizeof(*j->res);
	uint64_t failed = sum->failed;

	if (!j)
		abort();
	j->res = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (j->res == MAP_FAILED)
		abort();
	plan(j, p);
	run_jobs(j, p->jobs ? p->jobs : 1);
	for (unsigned int i = 0; i < j->cnt; i++)
		add(sum, &j->res[i]);
	sum->runs += j->cnt;
	munmap(j->res, len);
	free(j);
	return sum->failed > failed;
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

int crash_plan_once(struct crash_plan *p)
{
	struct crash_sum sum = {0};
	double t0 = now();
	int rc;

	printf("twzcrash: seed %llu, limit %llu, %u at a time\n", (unsigned long long)p->opt.seed,
	       (unsigned long long)p->opt.limit, p->jobs);
	rc = crash_plan_run(p, &sum);
	print(p, &sum, now() - t0);
	if (!sum.runs) {
		fprintf(stderr, "twzcrash: no such workload\n");
		return 2;
	}
	return rc ? rc : enough(p);
}

int crash_plan_long(struct crash_plan *p)
{
	struct crash_sum sum = {0};
	double t0 = now();
	int rc = 0;

	signal(SIGINT, stop);
	signal(SIGTERM, stop);
	for (unsigned int round = 1; !rc && !stopped; round++) {
		printf("round %u: seed %llu, limit %llu; until Ctrl-C or a failure\n", round,
		       (unsigned long long)p->opt.seed, (unsigned long long)p->opt.limit);
		fflush(stdout);
		rc = crash_plan_run(p, &sum);
		print(p, &sum, now() - t0);
		p->opt.seed++;
		p->opt.limit += p->opt.limit / 4;
	}
	return rc;
}
