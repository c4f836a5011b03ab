/* SPDX-License-Identifier: MIT
 * stream.c -- see stream.h
 *
 * Images are kept as differences to the durable image, which itself moves along the stream. A
 * forked worker follows the stream, writes each image to its file and opens it with the real
 * recovery: a crash, assertion or hang there costs the worker, not the run.
 */
#include "stream.h"
#include "fixed.h"
#include "resident.h"
#include "thrice.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define BATCH_IMAGES 2048u
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
	uint32_t in_second; /* enum crash_second */
	uint32_t how;	    /* of that image: enum crash_how */
	uint64_t random;    /* fixed_start() */
	uint64_t reopened, second;
	char why[2048];
};

struct stream {
	const struct crash_workload *w;
	const struct crash_record *rec;
	const struct crash_options *opt;
	struct crash_result *res;
	uint8_t *base;		  /* durable image at the start of the stream */
	struct image_pages pages; /* that may not be zero in it or in any image since */
	uint8_t *buf;
	uint64_t len, cap;
	uint32_t images;
	uint64_t img_no; /* since the beginning */
	struct verdict *v;
	struct failure *failure;
	const struct failure
		*as; /* the one image is opened as this one was; NULL: by their numbers */
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
	s->base = image_buffer_new();
	image_pages_init(&s->pages);
	image_pages_scan(&s->pages, rec->start, rec->start_len);
	s->v = mmap(NULL, sizeof(*s->v), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!s->base || s->v == MAP_FAILED)
		abort();
	image_pages_copy(&s->pages, s->base, rec->start);
	return s;
}

void stream_free(struct stream *s)
{
	if (s->failure)
		free(s->failure->image);
	free(s->failure);
	image_buffer_free(s->base, s->pages.end);
	image_pages_free(&s->pages);
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
	image_pages_add(&s->pages, off, len);
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
	image_pages_add(&s->pages, off, len);
	add(s, &(struct srec){.type = REC_PATCH, .off = off, .len = len}, bytes);
}

/*
 * Walks a stream: the durable image moves, each image is made in `out`. That is the durable image but
 * for the patches of the last image, which are taken back before the next.
 */
struct walk {
	const struct stream *s;
	uint64_t at;
	uint8_t *base, *out;
	uint64_t patched; /* where in the stream the patches in `out` begin; 0: there are none */
	struct srec img;
	struct note note;
};

static void take_back(struct walk *w)
{
	const struct stream *s = w->s;
	struct srec r;

	for (uint64_t at = w->patched; at && at < s->len; at += sizeof(r) + r.len) {
		memcpy(&r, s->buf + at, sizeof(r));
		if (r.type != REC_PATCH)
			break;
		memcpy(w->out + r.off, w->base + r.off, r.len);
	}
	w->patched = 0;
}

static void new_image(struct walk *w, const struct srec *r, const uint8_t *note)
{
	take_back(w);
	w->patched = w->at + sizeof(*r) + r->len;
	w->img = *r;
	memcpy(&w->note, note, sizeof(w->note));
}

/* OUT is all zeros. */
static void walk_start(struct walk *w, const struct stream *s, uint8_t *base, uint8_t *out)
{
	*w = (struct walk){.s = s, .base = base, .out = out};
	image_pages_copy(&s->pages, out, base);
}

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
		if (r.type == REC_BASE) {
			take_back(w);
			memcpy(w->base + r.off, bytes, r.len);
			memcpy(w->out + r.off, bytes, r.len);
		}
		if (r.type == REC_PATCH)
			memcpy(w->out + r.off, bytes, r.len);
		if (r.type == REC_IMAGE) {
			new_image(w, &r, bytes);
			have = true;
		}
	}
	return have;
}

/* --- the worker --- */

static uint64_t mix(uint64_t a, uint64_t b)
{
	uint64_t x = (a + 1) * 0x9E3779B97F4A7C15ull ^ b * 0xD1B54A32D192ED03ull;

	crash_rand(&x);
	return x ? x : 1;
}

/*
 * Recovery itself is recorded and crashed: the states allowed stay the same. Usually in this process:
 * if anything is wrong it ends, and the parent has it done again with a process for each step, and a report.
 */
static int second_crash(const struct walk *w, struct verdict *v, bool apart)
{
	const struct stream *s = w->s;
	struct crash_record rec = {.state = s->rec->state,
				   .state_cnt = s->rec->state_cnt,
				   .start = w->out,
				   .start_len = w->img.off};
	struct crash_options opt = *s->opt;
	struct crash_result res = {0};

	opt.here = !apart;
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
	v->in_second = SECOND_CRASH;
	if (opt.recovered)
		opt.recovered(s->w, opt.media, rec.log);
	else
		crash_enumerate(s->w, &rec, &opt, &res);
	crash_record_again_free(&rec);
	if (opt.thrice)
		thrice_add(opt.thrice, opt.depth, &res);
	v->second += res.reopened;
	if (!res.failed)
		return 0;
	if (res.failed < 0) /* no image was wrong, so none was told of */
		v->in_second = SECOND_RECORD;
	snprintf(v->why, sizeof(v->why), "second crash, while recovering or after it: %.1900s",
		 res.why);
	return -1;
}

/* What a process that opens images has. */
struct opener {
	int img, copy; /* the file that was recorded, and another: the image was copied there */
	bool apart;    /* second crashes in processes of their own */
};

static struct opener opener;

int stream_here(bool apart)
{
	struct opener *o = &opener;

	/* Memory freed for one image serves the next: fresh pages for each cost more than the recovery. */
	mallopt(M_MMAP_THRESHOLD, 32 << 20);
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	mallopt(M_TOP_PAD, 4 << 20);
	o->img = resident_file(crash_image_path());
	o->copy = resident_file(crash_copy_path());
	o->apart = apart;
	resident_strict(false);
	return o->img < 0 || o->copy < 0 ? -1 : 0;
}

/* Most images are opened once; some twice, read only first, or in another file than they were made in. */
static unsigned int how_of(const struct stream *s, uint64_t no)
{
	if (s->as)
		return s->as->how;
	return (no % 16 == 0 ? CRASH_TWICE : 0) | (no % 8 == 1 ? CRASH_READ_FIRST : 0) |
	       (no % 8 == 3 && !s->w->pair ? CRASH_COPIED : 0);
}

static int open_image(const struct walk *w, struct verdict *v, const struct opener *o)
{
	const struct stream *s = w->s;
	unsigned int how = v->how;
	bool copied = how & CRASH_COPIED;
	struct crash c = {.w = s->w,
			  .media = s->opt->media,
			  .path = copied ? crash_copy_path() : crash_image_path(),
			  .backend = &sim_backend,
			  .bytes = w->out,
			  .len = w->img.off,
			  .pages = &s->pages,
			  .file = copied ? o->copy : o->img};
	int rc;

	if (resident_put(c.file, c.bytes, c.len, c.pages)) {
		snprintf(v->why, sizeof(v->why), "cannot write the image: %s", strerror(errno));
		return -1;
	}
	if (how & CRASH_TWICE)
		resident_strict(true);
	sim_mode(s->opt->media, NULL);
	rc = crash_verify(&c, s->rec, w->img.floor, w->img.top, how);
	if (rc)
		snprintf(v->why, sizeof(v->why), "%s", c.why);
	free(c.text);
	if (how & CRASH_TWICE)
		resident_strict(false);
	return rc;
}

/* This process ends: what is wrong is looked for once more, and told, by others. */
static void again(const struct stream *s)
{
	if (s->opt->thrice)
		memcpy(s->opt->thrice->why, s->v->why, sizeof(s->v->why));
	_exit(WORKER_AGAIN);
}

static int try_image(const struct walk *w, struct verdict *v, const struct opener *o)
{
	const struct stream *s = w->s;
	uint64_t no = s->opt->thrice ? s->opt->thrice->no : s->img_no + v->current;
	uint32_t every = s->opt->second;
	int rc;

	alarm(s->opt->timeout);
	v->in_second = SECOND_NONE; /* not that of an attempt before */
	v->how = how_of(s, no);
	v->random = s->as	     ? s->as->random
		    : s->opt->thrice ? thrice_random(s->opt, w->out, w->img.off)
				     : mix(~s->opt->seed, no);
	fixed_start(v->random); /* times lie on the medium, too */
	if (s->opt->thrice)
		thrice_image(s->opt->thrice, s->opt, s->rec,
			     &(struct failure){w->out, w->img.off, w->img.floor, w->img.top,
					       w->note, v->how, v->random});
	rc = open_image(w, v, o);
	if (rc)
		return rc;
	v->reopened++;
	crash_counts_opened(s->opt->counts);
	if (s->w->second && !s->opt->depth && s->w->second < every)
		every = s->w->second;
	if (!every || s->w->once || s->w->huge || mix(s->opt->seed, no) % every)
		return 0;
	alarm(0);
	v->in_second = SECOND_RECORD;
	if (s->opt->thrice)
		s->opt->thrice->recording = s->opt->depth + 1;
	rc = second_crash(w, v, o->apart);
	crash_dir_clear();
	if (!rc)
		v->in_second = SECOND_NONE;
	else if (!o->apart)
		again(s);
	return rc;
}

static int follow(struct walk *w, const struct opener *o, uint32_t from)
{
	struct verdict *v = w->s->v;
	int rc = 0;

	for (uint32_t i = 0; !rc && walk_next(w); i++) {
		if (i < from)
			continue;
		v->current = i;
		rc = try_image(w, v, o);
	}
	v->failed = rc != 0;
	return rc;
}

static void worker(const struct stream *s, uint32_t from, bool apart)
{
	struct walk w;

	walk_start(&w, s, s->base, image_buffer_new());
	crash_dir_adopt();
	crash_dir_clear();
	if (stream_here(apart))
		_exit(96);
	follow(&w, &opener, from);
	_exit(0);
}

/* --- the parent --- */

/* Make the image that failed once more, for the report. */
static void keep_failure(struct stream *s)
{
	uint8_t *base = calloc(1, SIM_IMAGE_MAX), *out = calloc(1, SIM_IMAGE_MAX);
	struct walk w;

	s->failure = calloc(1, sizeof(*s->failure));
	if (!base || !out || !s->failure)
		abort();
	image_pages_copy(&s->pages, base, s->base);
	walk_start(&w, s, base, out);
	for (uint32_t i = 0; i <= s->v->current; i++)
		walk_next(&w);
	*s->failure = (struct failure){w.out,  w.img.off, w.img.floor, w.img.top,
				       w.note, s->v->how, s->v->random};
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

static int fork_worker(struct stream *s, uint32_t from, bool apart)
{
	int status;
	pid_t pid;

	crash_dir(); /* the worker's is ours */
	pid = crash_fork();
	if (pid == 0)
		worker(s, from, apart);
	waitpid(pid, &status, 0);
	return status;
}

static void run_worker(struct stream *s)
{
	int status;

	memset(s->v, 0, sizeof(*s->v));
	status = fork_worker(s, 0, false);
	if (status && s->v->in_second) {
		status = fork_worker(s, s->v->current, true);
		if (!status && !s->v->failed) {
			s->v->failed = 1;
			s->v->in_second = SECOND_RECORD;
			snprintf(s->v->why, sizeof(s->v->why),
				 "a second crash went wrong, but not when it was tried again");
		}
	}
	s->res->reopened += s->v->reopened;
	s->res->second += s->v->second;
	if (!worker_failed(status, s->v))
		return;
	s->res->failed = 1;
	s->res->second_failed = s->v->in_second;
	snprintf(s->res->why, sizeof(s->res->why), "%s", s->v->why);
	keep_failure(s);
}

/* In this process, which is a worker, between two images of its own. */
static void run_here(struct stream *s)
{
	struct walk w;

	walk_start(&w, s, s->base, image_buffer_new());
	memset(s->v, 0, sizeof(*s->v));
	if (follow(&w, &opener, 0))
		again(s);
	s->res->reopened += s->v->reopened;
	s->res->second += s->v->second;
	image_buffer_free(w.out, s->pages.end);
}

int stream_try(const struct crash_workload *w, const struct crash_record *rec,
	       const struct crash_options *opt, const struct failure *f, char *why, size_t why_len)
{
	struct crash_options o = *opt;
	struct crash_result res = {0};
	struct stream *s;

	o.second = 0;
	s = stream_new(w, rec, &o, &res);
	s->as = f;
	image_pages_scan(&s->pages, f->image, f->len);
	image_pages_copy(&s->pages, s->base, f->image);
	stream_image(s, f->len, f->floor, f->top, &f->note);
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
	if (s->images && s->opt->here)
		run_here(s);
	else if (s->images)
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
