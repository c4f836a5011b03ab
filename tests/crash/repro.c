/* SPDX-License-Identifier: MIT
 * repro.c -- keep the image of a failure with the states that were allowed, and look at it again
 *
 * FILE is a plain store image. FILE.states holds the state texts, each ended by a NUL.
 */
#include "enum.h"
#include "resident.h"

#include <stdlib.h>
#include <string.h>

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

/* In this process, without fork, so that a debugger can follow. */
int crash_repro(const struct crash_workload *w, const struct crash_options *opt, const char *file,
		uint32_t floor, uint32_t top)
{
	struct crash c = {.w = w, .media = opt->media, .backend = &sim_backend};
	struct crash_record rec = {0};
	struct image_pages pages;
	int rc = -1;

	image_pages_init(&pages);

	rec.start = slurp(file, &rec.start_len);
	load_states(file, &rec);
	c.path = crash_image_path();
	if (floor >= rec.state_cnt || crash_write_image(c.path, rec.start, rec.start_len)) {
		fprintf(stderr, "%s: no image, or no state %u\n", file, floor);
	} else {
		sim_mode(opt->media, NULL);
		c.bytes = rec.start;
		c.len = rec.start_len;
		c.file = resident_file(c.path);
		image_pages_scan(&pages, rec.start, rec.start_len);
		c.pages = &pages;
		rc = crash_verify(&c, &rec, floor, top, CRASH_TWICE | CRASH_READ_FIRST);
		printf("allowed (states %u..%u):\n%s", floor, top, rec.state[floor]);
		if (top > floor && top < rec.state_cnt)
			printf("-- or --\n%s", rec.state[top]);
		printf("found:\n%s%s%s\n", c.text ? c.text : "", rc ? "WRONG: " : "right",
		       rc ? c.why : "");
	}
	free(c.text);
	image_pages_free(&pages);
	crash_record_free(&rec);
	crash_dir_remove();
	return rc ? 1 : 0;
}
