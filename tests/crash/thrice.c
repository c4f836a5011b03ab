/* SPDX-License-Identifier: MIT
 * thrice.c -- see thrice.h
 */
#include "thrice.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "fixed.h"
#include "stream.h"

/* --- images met before: by hash, with the fewest crashes behind them --- */

struct met {
	struct hash128 h; /* zero: empty */
	uint32_t depth;
};

static struct met *tab;
static uint64_t tab_cap, tab_cnt;

static struct met *find(struct hash128 h)
{
	uint64_t i = h.w[0];

	while ((tab[i & (tab_cap - 1)].h.w[0] | tab[i & (tab_cap - 1)].h.w[1]) &&
	       memcmp(&tab[i & (tab_cap - 1)].h, &h, sizeof(h)))
		i++;
	return &tab[i & (tab_cap - 1)];
}

static void more_room(void)
{
	struct met *old = tab;
	uint64_t cap = tab_cap;

	if (tab_cnt * 2 < tab_cap)
		return;
	tab_cap = cap ? cap * 2 : 1 << 16;
	tab = calloc(tab_cap, sizeof(*tab));
	if (!tab)
		abort();
	for (uint64_t i = 0; i < cap; i++)
		if (old[i].h.w[0] | old[i].h.w[1])
			*find(old[i].h) = old[i];
	free(old);
}

bool thrice_new_image(struct thrice *t, struct hash128 h, uint32_t depth)
{
	struct met *m;
	bool known;

	if (!(h.w[0] | h.w[1]))
		h.w[0] = 1;
	more_room();
	m = find(h);
	known = m->h.w[0] | m->h.w[1];
	if (known && m->depth <= depth)
		return false;
	tab_cnt += !known;
	*m = (struct met){h, depth};
	t->met[depth]++;
	return true;
}

/* --- what was done --- */

void thrice_add(struct thrice *t, uint32_t depth, const struct crash_result *res)
{
	t->points[depth] += res->points;
	t->points_all[depth] += res->points_all;
	t->points_void[depth] += res->points_void;
	t->whole[depth] += res->exhaustive;
	t->recorded[depth]++;
}

uint64_t thrice_random(const struct crash_options *opt, const uint8_t *image, uint64_t len)
{
	return XXH3_64bits_withSeed(image, len, opt->seed) >> 2;
}

void thrice_image(struct thrice *t, const struct crash_options *opt, const struct crash_record *rec,
		  const struct failure *f)
{
	t->opened[opt->depth]++;
	t->recording = 0;
	if (++t->no != t->stop_at)
		return;
	t->floor = f->floor;
	t->top = f->top;
	t->depth = opt->depth;
	t->how = f->how;
	t->random = f->random;
	crash_keep(t->file, f->image, f->len, rec);
	_exit(0);
}

/* Every image there is was opened, every one but the last was recovered under a crash, at every point. */
static bool left_out(const struct thrice *t, char *why, size_t len)
{
	for (int d = 0; d < THRICE_DEPTH; d++) {
		if (t->points[d] + t->points_void[d] != t->points_all[d])
			snprintf(why, len, "crash %d: %llu of %llu points were left out", d + 1,
				 (unsigned long long)(t->points_all[d] - t->points[d] -
						      t->points_void[d]),
				 (unsigned long long)t->points_all[d]);
		else if (t->opened[d] != t->met[d])
			snprintf(why, len, "crash %d: %llu of %llu images were opened", d + 1,
				 (unsigned long long)t->opened[d], (unsigned long long)t->met[d]);
		else if (t->recorded[d] != (d ? t->met[d - 1] : 1))
			snprintf(why, len, "crash %d: of %llu of %llu recoveries", d + 1,
				 (unsigned long long)t->recorded[d],
				 (unsigned long long)t->met[d - 1]);
		else
			continue;
		return true;
	}
	return false;
}

/* --- a workload --- */

/* In a process of its own, which ends at the first image that is wrong. */
static void crash_all(const struct crash_workload *w, struct crash_options opt, struct thrice *t)
{
	struct crash_result res = {0};
	struct crash_record rec;

	crash_dir_adopt();
	if (opt.seconds) /* of its processor time; SIGPROF ends it */
		setitimer(ITIMER_PROF, &(struct itimerval){.it_value = {opt.seconds, 0}}, NULL);
	opt.thrice = t;
	opt.here = opt.settled = opt.quiet = true;
	opt.second = opt.third = 1;
	opt.limit = opt.second_limit = UINT32_MAX;
	if (crash_record(w, opt.media, opt.seed, &rec, t->why, sizeof(t->why)) ||
	    stream_here(false))
		_exit(1);
	crash_enumerate(w, &rec, &opt, &res);
	thrice_add(t, 0, &res);
	if (res.failed)
		snprintf(t->why, sizeof(t->why), "%s", res.why);
	_exit(res.failed != 0);
}

static int play(const struct crash_workload *w, const struct crash_options *opt, struct thrice *t)
{
	int status;
	pid_t pid;

	crash_dir();
	pid = crash_fork();
	if (pid == 0)
		crash_all(w, *opt, t);
	waitpid(pid, &status, 0);
	return status;
}

/* Who was ended could not say why. False: no image was wrong. */
static bool ended(struct thrice *t, const struct crash_options *opt, int status)
{
	int sig = WIFSIGNALED(status) ? WTERMSIG(status) : 0;

	if (sig == SIGPROF && opt->seconds)
		snprintf(t->why, sizeof(t->why),
			 "not finished after %u s of processor time (--seconds)", opt->seconds);
	else if (sig)
		snprintf(t->why, sizeof(t->why), "%s while %s",
			 sig == SIGALRM ? "no end (timeout)" : strsignal(sig),
			 !t->no		? "the workload was recorded"
			 : t->recording ? "a recovery was recorded"
					: "an image was opened");
	else if (!t->why[0])
		snprintf(t->why, sizeof(t->why), "its process ended with status %d",
			 WEXITSTATUS(status));
	return sig ? t->no && !(sig == SIGPROF && opt->seconds)
		   : WEXITSTATUS(status) == WORKER_AGAIN;
}

/* The same once more, up to the image that was wrong. */
static void report(const struct crash_workload *w, const struct crash_options *as, struct thrice *t,
		   const char *media)
{
	struct crash_options once = *as, *opt = &once;
	struct crash_kept k = {.file = t->file, .crash = t->recording};
	uint64_t no = t->no;
	char why[sizeof(t->why)], command[700];

	once.seconds = 0;
	memcpy(why, t->why, sizeof(why));
	memset(t, 0, sizeof(*t));
	t->stop_at = no;
	snprintf(t->file, sizeof(t->file), "%s/%s-%s-%llu-thrice-%llu.img", opt->keep_dir, w->name,
		 media, (unsigned long long)opt->seed, (unsigned long long)no);
	if (play(w, opt, t)) {
		printf("  it did not come to that image again\n");
		return;
	}
	k.floor = t->floor;
	k.top = t->top;
	k.random = t->random;
	crash_repro_command(w, opt->media, &k, t->how, command, sizeof(command));
	printf("  image %llu, left by crash %u: %s\n  again: %s\n", (unsigned long long)no,
	       t->depth + 1, why, command);
}

static void print(const struct crash_workload *w, const char *media, const struct thrice *t,
		  double seconds)
{
	printf("%-20s %s thrice:", w->name, media);
	for (int d = 0; d < THRICE_DEPTH; d++)
		printf(" %llu/%llu points (%llu whole) %llu images;",
		       (unsigned long long)t->points[d],
		       (unsigned long long)(t->points_all[d] - t->points_void[d]),
		       (unsigned long long)t->whole[d], (unsigned long long)t->met[d]);
	printf(" beyond %u images a point a sample; %.2f s", w->thrice ? w->thrice : THRICE_CAP,
	       seconds);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

int crash_thrice(const struct crash_workload *w, const struct crash_options *opt)
{
	const char *media = opt->media == SIM_MEDIA_LINE ? "line" : "page";
	struct thrice *t =
		mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	double from = now();
	char why[300] = "";
	bool image = false;
	int rc;

	if (t == MAP_FAILED)
		abort();
	rc = play(w, opt, t);
	if (rc)
		image = ended(t, opt, rc);
	else if (left_out(t, why, sizeof(why)))
		rc = 1;
	if (!opt->quiet) {
		print(w, media, t, now() - from);
		printf(" %s\n", rc ? "FAILED" : "ok");
	}
	if (rc && !opt->quiet)
		printf("FAIL %s --media %s --seed %llu: %s%s\n", w->name, media,
		       (unsigned long long)opt->seed, why, t->why);
	if (image && !opt->quiet)
		report(w, opt, t, media);
	fflush(stdout);
	munmap(t, sizeof(*t));
	return rc ? 1 : 0;
}
