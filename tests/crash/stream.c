/* SPDX-License-Identifier: MIT
 * stream.c -- see stream.h
 *
 * Images are kept as differences to the durable image, which itself moves along the stream. A
 * forked worker follows the stream, writes each image to its file and opens it with the real
 * recovery: a crash, assertion or hang there costs the worker, not the run.
 */
#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define BATCH_IMAGES 256u
#define BATCH_BYTES  ((uint64_t)48 << 20)

enum rec_type {
	REC_BASE,
	REC_IMAGE,
	REC_PATCH,
};

struct srec {
	uint32_t type; /* enum rec_type */
	uint32_t len;  /* bytes that follow */
	uint64_t off;  /* REC_IMAGE: length of the image */
	uint32_t floor, top;
};

/* Shared with the worker. */
struct verdict {
	uint32_t current; /* image being opened */
	uint32_t failed;
	uint32_t in_second; /* the failure was in a second crash; WHY holds all that is known */
	uint64_t reopened, second;
	char why[2048];
};

struct stream {
	const struct crash_workload *w;
	const struct crash_record *rec;
	const struct crash_options *opt;
	struct crash_result *res;
	uint8_t *base; /* durable image at the start of the stream */
	uint8_t *buf;
	uint64_t len, cap;
	uint32_t images;
	uint64_t img_no; /* since the beginning */
	struct verdict *v;
	struct failure *failure;
};

struct stream *stream_new(const struct crash_workload *w, const struct crash_record *rec,
			  const struct crash_options *opt, struct crash_result *res)
{
	struct stream *s = calloc(1, sizeof(*s));

	if (!s)
		abort();
	s->w = w;
	s->rec = rec;
	s->opt = opt;
	s->res = res;
	s->base = calloc(1, SIM_IMAGE_MAX);
	s->v = mmap(NULL, sizeof(*s->v), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!s->base || s->v == MAP_FAILED)
		abort();
	if (rec->start_len)
		memcpy(s->base, rec->start, rec->start_len);
	return s;
}

void stream_free(struct stream *s)
{
	if (s->failure)
		free(s->failure->image);
	free(s->failure);
	free(s->base);
	free(s->buf);
	munmap(s->v, sizeof(*s->v));
	free(s);
}

static void add(struct stream *s, const struct srec *r, const void *bytes)
{
	uint64_t need = s->len + sizeof(*r) + r->len;

	if (need > s->cap) {
		s->cap = need * 2;
		s->buf = realloc(s->buf, s->cap);
		if (!s->buf)
			abort();
	}
	memcpy(s->buf + s->len, r, sizeof(*r));
	if (r->len)
		memcpy(s->buf + s->len + sizeof(*r), bytes, r->len);
	s->len = need;
}

void stream_base(struct stream *s, uint64_t off, const uint8_t *bytes, uint32_t len)
{
	if (s->images == 0) {
		memcpy(s->base + off, bytes, len);
		return;
	}
	add(s, &(struct srec){.type = REC_BASE, .off = off, .len = len}, bytes);
}

void stream_image(struct stream *s, uint64_t len, uint32_t floor, uint32_t top,
		  const struct note *note)
{
	add(s,
	    &(struct srec){.type = REC_IMAGE,
			   .off = len,
			   .floor = floor,
			   .top = top,
			   .len = sizeof(*note)},
	    note);
	s->images++;
}

void stream_patch(struct stream *s, uint64_t off, const uint8_t *bytes, uint32_t len)
{
	add(s, &(struct srec){.type = REC_PATCH, .off = off, .len = len}, bytes);
}

/* Walks a stream: the durable image moves, each image is made in `out`. */
struct walk {
	const struct stream *s;
	uint64_t at;
	uint8_t *base, *out;
	struct srec img;
	struct note note;
};

static bool walk_next(struct walk *w)
{
	const struct stream *s = w->s;
	bool have = false;
	struct srec r;

	for (; w->at < s->len; w->at += sizeof(r) + r.len) {
		const uint8_t *bytes = s->buf + w->at + sizeof(r);

		memcpy(&r, s->buf + w->at, sizeof(r));
		if (r.type == REC_BASE && have)
			return true;
		if (r.type == REC_IMAGE && have)
			return true;
		if (r.type == REC_BASE)
			memcpy(w->base + r.off, bytes, r.len);
		if (r.type == REC_PATCH)
			memcpy(w->out + r.off, bytes, r.len);
		if (r.type == REC_IMAGE) {
			w->img = r;
			memcpy(&w->note, bytes, sizeof(w->note));
			memcpy(w->out, w->base, r.off);
			have = true;
		}
	}
	return have;
}

/* --- the worker --- */

static int write_image(int fd, const uint8_t *bytes, uint64_t len)
{
	if (ftruncate(fd, (off_t)len))
		return -1;
	for (uint64_t at = 0; at < len;) {
		ssize_t n = pwrite(fd, bytes + at, len - at, (off_t)at);

		if (n <= 0)
			return -1;
		at += (uint64_t)n;
	}
	return 0;
}

static uint64_t mix(uint64_t a, uint64_t b)
{
	uint64_t x = (a + 1) * 0x9E3779B97F4A7C15ull ^ b * 0xD1B54A32D192ED03ull;

	crash_rand(&x);
	return x ? x : 1;
}

/* Recovery itself is recorded and crashed: the states allowed stay the same. */
static int second_crash(const struct walk *w, struct verdict *v)
{
	const struct stream *s = w->s;
	struct crash_record rec = {.state = s->rec->state,
				   .state_cnt = s->rec->state_cnt,
				   .start = w->out,
				   .start_len = w->img.off};
	struct crash_options opt = *s->opt;
	struct crash_result res = {0};

	opt.limit = s->opt->depth ? s->opt->second_limit / 4 + 1 : s->opt->second_limit;
	opt.second = s->opt->depth ? 0 : s->opt->third;
	opt.settled = s->opt->depth >
		      0; /* `again` was there already: its operations would find themselves */
	opt.depth++;
	opt.after_death = false;
	opt.seed = mix(s->opt->seed, v->current);
	if (crash_record_recovery(s->w, &opt, &rec, w->img.floor, w->img.top, v->why,
				  sizeof(v->why)))
		return -1;
	crash_enumerate(s->w, &rec, &opt, &res);
	crash_record_again_free(&rec);
	v->second += res.reopened;
	if (!res.failed)
		return 0;
	v->in_second = 1;
	snprintf(v->why, sizeof(v->why), "second crash, while recovering or after it: %.1900s",
		 res.why);
	return -1;
}

static int try_image(const struct walk *w, struct verdict *v, int fd)
{
	const struct stream *s = w->s;
	struct crash c = {.w = s->w,
			  .media = s->opt->media,
			  .path = crash_image_path(),
			  .backend = &sim_backend};
	uint64_t no = s->img_no + v->current;
	unsigned int how = (no % 16 == 0 ? CRASH_TWICE : 0) | (no % 4 == 1 ? CRASH_READ_FIRST : 0);
	uint32_t every;

	alarm(s->opt->timeout);
	crash_dir_clear();
	if (write_image(fd, w->out, w->img.off)) {
		snprintf(v->why, sizeof(v->why), "cannot write the image: %s", strerror(errno));
		return -1;
	}
	sim_mode(s->opt->media, NULL);
	if (crash_verify(&c, s->rec, w->img.floor, w->img.top, how)) {
		snprintf(v->why, sizeof(v->why), "%s", c.why);
		return -1;
	}
	free(c.text);
	v->reopened++;
	every = s->opt->second;
	if (s->w->second && !s->opt->depth && s->w->second < every)
		every = s->w->second;
	if (every && !s->w->once && mix(s->opt->seed, no) % every == 0) {
		alarm(0);
		return second_crash(w, v);
	}
	return 0;
}

static void worker(const struct stream *s, uint32_t from)
{
	struct walk w = {.s = s, .base = s->base, .out = malloc(SIM_IMAGE_MAX)};
	int fd = open(crash_image_path(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int rc = 0;

	if (!w.out || fd < 0)
		_exit(96);
	/* Memory freed for one image serves the next: fresh pages for each cost more than the recovery. */
	mallopt(M_MMAP_THRESHOLD, 64 << 20);
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	mallopt(M_TOP_PAD, 4 << 20);
	for (uint32_t i = 0; !rc && walk_next(&w); i++) {
		if (i < from)
			continue;
		s->v->current = i;
		rc = try_image(&w, s->v, fd);
	}
	s->v->failed = rc != 0;
	crash_dir_remove();
	_exit(0);
}

/* --- the parent --- */

/* Make the image that failed once more, for the report. */
static void keep_failure(struct stream *s)
{
	struct walk w = {.s = s, .base = malloc(SIM_IMAGE_MAX), .out = malloc(SIM_IMAGE_MAX)};

	s->failure = calloc(1, sizeof(*s->failure));
	if (!w.base || !w.out || !s->failure)
		abort();
	memcpy(w.base, s->base, SIM_IMAGE_MAX);
	for (uint32_t i = 0; i <= s->v->current; i++)
		walk_next(&w);
	*s->failure = (struct failure){w.out, w.img.off, w.img.floor, w.img.top, w.note};
	free(w.base);
}

struct failure *stream_failure(struct stream *s)
{
	struct failure *f = s->failure;

	s->failure = NULL;
	return f;
}

/* What a worker's end means; false: all images were right. */
static bool worker_failed(int status, struct verdict *v)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return v->failed;
	if (WIFSIGNALED(status))
		snprintf(v->why, sizeof(v->why), "%s while opening the image",
			 WTERMSIG(status) == SIGALRM ? "no end (timeout)"
						     : strsignal(WTERMSIG(status)));
	else
		snprintf(v->why, sizeof(v->why), "the worker ended with status %d",
			 WEXITSTATUS(status));
	return true;
}

static void run_worker(struct stream *s)
{
	int status;
	pid_t pid;

	memset(s->v, 0, sizeof(*s->v));
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		worker(s, 0);
	waitpid(pid, &status, 0);
	s->res->reopened += s->v->reopened;
	s->res->second += s->v->second;
	if (!worker_failed(status, s->v))
		return;
	s->res->failed = 1;
	s->res->second_failed = s->v->in_second;
	snprintf(s->res->why, sizeof(s->res->why), "%s", s->v->why);
	keep_failure(s);
}

int stream_try(const struct crash_workload *w, const struct crash_record *rec,
	       const struct crash_options *opt, const uint8_t *image, uint64_t len, uint32_t floor,
	       uint32_t top, char *why, size_t why_len)
{
	struct crash_options o = *opt;
	struct crash_result res = {0};
	struct note n = {0};
	struct stream *s;

	o.second = 0;
	s = stream_new(w, rec, &o, &res);
	memcpy(s->base, image, len);
	stream_image(s, len, floor, top, &n);
	stream_flush(s, true);
	snprintf(why, why_len, "%s", res.why);
	stream_free(s);
	return res.failed;
}

bool stream_flush(struct stream *s, bool force)
{
	struct walk w = {.s = s};

	if (s->res->failed)
		return false;
	if (!force && s->images < BATCH_IMAGES && s->len < BATCH_BYTES)
		return true;
	if (s->images)
		run_worker(s);
	/* the durable image moves to the end of the stream */
	w.base = s->base;
	for (struct srec r; w.at < s->len; w.at += sizeof(r) + r.len) {
		memcpy(&r, s->buf + w.at, sizeof(r));
		if (r.type == REC_BASE)
			memcpy(s->base + r.off, s->buf + w.at + sizeof(r), r.len);
	}
	s->img_no += s->images;
	s->len = 0;
	s->images = 0;
	return !s->res->failed;
}
