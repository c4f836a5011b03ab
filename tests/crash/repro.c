/* SPDX-License-Identifier: MIT
 * repro.c -- keep the image of a failure with the states that were allowed, and look at it again
 *
 * FILE is a plain store image. FILE.states holds the state texts, each ended by a NUL.
 */
#include "enum.h"
#include "fixed.h"
#include "resident.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int crash_keep(const char *file, const uint8_t *image, uint64_t len, const struct crash_record *rec)
{
	char path[300];
	FILE *f;

	snprintf(path, sizeof(path), "%s.states", file);
	f = fopen(path, "w");
	for (uint32_t i = 0; f && i < rec->state_cnt; i++)
		fwrite(rec->state[i], 1, strlen(rec->state[i]) + 1, f);
	if (f)
		fclose(f);
	return crash_write_image(file, image, len);
}

static uint8_t *slurp(const char *path, uint64_t *len)
{
	FILE *f = fopen(path, "r");
	uint8_t *buf = malloc(SIM_IMAGE_MAX);

	*len = 0;
	if (f && buf)
		*len = fread(buf, 1, SIM_IMAGE_MAX, f);
	else
		perror(path);
	if (f)
		fclose(f);
	return buf;
}

static void load_states(const char *file, struct crash_record *rec)
{
	char path[300];
	uint64_t len;
	char *buf;

	snprintf(path, sizeof(path), "%s.states", file);
	buf = (char *)slurp(path, &len);
	rec->state = calloc(len + 1, sizeof(*rec->state));
	if (!rec->state || !buf)
		abort();
	for (uint64_t at = 0; at < len; at += strlen(buf + at) + 1)
		rec->state[rec->state_cnt++] = strdup(buf + at);
	free(buf);
}

/* --- how an image is opened --- */

static const struct {
	const char *name;
	unsigned int how;
} ways[] = {
	{"plain", 0}, {"twice", CRASH_TWICE}, {"read", CRASH_READ_FIRST}, {"copy", CRASH_COPIED}};
#define WAY_CNT (sizeof(ways) / sizeof(ways[0]))

static bool way(const char *name, unsigned int *how)
{
	*how = CRASH_TWICE | CRASH_READ_FIRST;
	for (unsigned int i = 0; name && i < WAY_CNT; i++) {
		*how = ways[i].how;
		if (!strcmp(ways[i].name, name))
			return true;
	}
	return !name;
}

static const char *way_name(unsigned int how)
{
	unsigned int i = 0;

	while (i < WAY_CNT - 1 && ways[i].how != how)
		i++;
	return ways[i].name;
}

void crash_repro_command(const struct crash_workload *w, enum sim_media media,
			 const struct crash_kept *k, unsigned int how, char *buf, size_t len)
{
	int n = snprintf(
		buf, len,
		"%s repro %s --media %s --image %s --floor %u --top %u --how %s --random %llu",
		program_invocation_name, w->name, media == SIM_MEDIA_LINE ? "line" : "page",
		k->file, k->floor, k->top, way_name(how), (unsigned long long)k->random);

	if (k->crash && n > 0 && (size_t)n < len)
		snprintf(buf + n, len - (size_t)n, " --crash %u", k->crash);
}

static void no_end(int sig)
{
	static const char text[] = "WRONG: no end (timeout)\n";

	(void)sig; /* the next run of any sweeps what is left */
	_exit(write(STDOUT_FILENO, text, sizeof(text) - 1) < 0 ? 2 : 1);
}

static void look(struct crash *c, const struct crash_record *rec, const struct crash_kept *k,
		 int rc)
{
	printf("allowed (states %u..%u):\n%s", k->floor, k->top, rec->state[k->floor]);
	if (k->top > k->floor && k->top < rec->state_cnt)
		printf("-- or --\n%s", rec->state[k->top]);
	printf("found:\n%s%s%s\n", c->text ? c->text : "", rc ? "WRONG: " : "right",
	       rc ? c->why : "");
	fflush(stdout);
}

/* Its recovery, and what a workload does after one, recorded as for another crash; then that crash. */
static int record(const struct crash_workload *w, const struct crash_options *as,
		  const struct crash_record *kept, const struct crash_kept *k)
{
	struct crash_options opt = *as;
	struct crash_record rec = *kept;
	struct crash_result res = {0};

	opt.depth = k->crash;
	opt.settled = k->crash > 1;
	opt.here = true;
	opt.limit = opt.second_limit;
	opt.second = 0;
	if (crash_record_recovery(w, &opt, &rec, k->floor, k->top, res.why, sizeof(res.why))) {
		res.failed = -1;
	} else {
		opt.here = false;
		signal(SIGALRM, SIG_DFL);
		crash_enumerate(w, &rec, &opt, &res);
	}
	crash_record_again_free(&rec);
	printf("recovery, recorded for another crash: %s%s\n", res.failed ? "WRONG: " : "right",
	       res.why);
	return res.failed;
}

/* In this process, without fork, so that a debugger can follow. */
int crash_repro(const struct crash_workload *w, const struct crash_options *opt,
		const struct crash_kept *k)
{
	struct crash c = {.w = w, .media = opt->media, .backend = &sim_backend};
	struct crash_record rec = {0};
	struct image_pages pages;
	unsigned int how;
	int rc;

	if (!way(k->how, &how)) {
		fprintf(stderr, "no such way to open an image: %s\n", k->how);
		return 2;
	}
	image_pages_init(&pages);
	rec.start = slurp(k->file, &rec.start_len);
	load_states(k->file, &rec);
	c.path = how & CRASH_COPIED ? crash_copy_path() : crash_image_path();
	if (k->floor >= rec.state_cnt || crash_write_image(c.path, rec.start, rec.start_len)) {
		fprintf(stderr, "%s: no image, or no state %u\n", k->file, k->floor);
		rc = 2;
	} else {
		signal(SIGALRM, no_end);
		alarm(opt->timeout);
		if (k->random)
			fixed_start(k->random);
		sim_mode(opt->media, NULL);
		c.bytes = rec.start;
		c.len = rec.start_len;
		c.file = resident_file(c.path);
		image_pages_scan(&pages, rec.start, rec.start_len);
		c.pages = &pages;
		rc = crash_verify(&c, &rec, k->floor, k->top, how) ? 1 : 0;
		look(&c, &rec, k, rc);
		if (!rc && k->crash)
			rc = record(w, opt, &rec, k) ? 1 : 0;
		alarm(0);
		signal(SIGALRM, SIG_DFL);
	}
	free(c.text);
	image_pages_free(&pages);
	crash_record_free(&rec);
	crash_dir_remove();
	return rc;
}
