/* SPDX-License-Identifier: MIT
 * resume.c -- see resume.h
 */
#include "resume.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define MAGIC	   0x326e757268737263ull /* "crshrun2" */
#define MAGIC_MASK 0x00ffffffffffffffull /* without its version */

struct head {
	uint64_t magic, title, seed;
	uint64_t sum; /* XXH3 of what is before it */
};

struct rec {
	uint64_t
		sum; /* XXH3 of all that follows, seeded with the head's: a record of another run does not count */
	uint32_t round, job;
	uint64_t seen_cnt;
	struct crash_result res;
};

struct resume {
	const char *file;
	int fd;
	uint64_t at, len; /* read up to here, or written; length when it was opened */
	uint64_t head_sum;
	struct rec rec;
	uint64_t *seen;
};

/* Results are those of this executable. */
static uint64_t title_hash(const char *title)
{
	XXH64_state_t *h = XXH64_createState();
	FILE *f = fopen("/proc/self/exe", "r");
	uint64_t sum = 0;
	char buf[4096];
	size_t n;

	if (!h || !f)
		abort();
	XXH64_reset(h, 0);
	while ((n = fread(buf, 1, sizeof(buf), f)) > 0)
		XXH64_update(h, buf, n);
	XXH64_update(h, title, strlen(title));
	sum = XXH64_digest(h);
	XXH64_freeState(h);
	fclose(f);
	return sum;
}

static bool read_all(int fd, void *buf, size_t len, uint64_t at)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pread(fd, (char *)buf + done, len - done, (off_t)(at + done));

		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

static bool write_all(int fd, const void *buf, size_t len, uint64_t at)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pwrite(fd, (const char *)buf + done, len - done, (off_t)(at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

static uint64_t head_sum(const struct head *h)
{
	return XXH3_64bits(h, offsetof(struct head, sum));
}

static bool cannot(const struct resume *r, const char *what)
{
	fprintf(stderr, "twzcrash: %s: cannot %s it: %s\n", r->file, what, strerror(errno));
	return false;
}

/* Go on with what is there, or begin. */
static bool begin(struct resume *r, uint64_t title, uint64_t *seed, bool any_seed)
{
	struct stat st;
	struct head h;

	if (flock(r->fd, LOCK_EX | LOCK_NB)) {
		fprintf(stderr, "twzcrash: %s: another run is using it\n", r->file);
		return false;
	}
	if (fstat(r->fd, &st))
		return cannot(r, "read");
	r->at = sizeof(h);
	r->len = (uint64_t)st.st_size;
	if (r->len >= sizeof(h) && read_all(r->fd, &h, sizeof(h), 0) && h.magic == MAGIC &&
	    h.sum == head_sum(&h) && h.title == title && (any_seed || h.seed == *seed)) {
		*seed = h.seed;
		r->head_sum = h.sum;
		return true;
	}
	if (r->len >= sizeof(h.magic) &&
	    (!read_all(r->fd, &h.magic, sizeof(h.magic), 0) || (h.magic ^ MAGIC) & MAGIC_MASK)) {
		fprintf(stderr,
			"twzcrash: %s: is no state of a run: name another file, or delete it\n",
			r->file);
		return false;
	}
	if (r->len)
		printf("%s is of another build, or of other options, or damaged: begun anew\n",
		       r->file);
	h = (struct head){MAGIC, title, *seed, 0};
	h.sum = r->head_sum = head_sum(&h);
	r->len = sizeof(h);
	if (ftruncate(r->fd, 0) || !write_all(r->fd, &h, sizeof(h), 0))
		return cannot(r, "write");
	return true;
}

struct resume *resume_open(const char *file, const char *title, uint64_t *seed, bool any_seed)
{
	struct resume *r = calloc(1, sizeof(*r));

	if (!r)
		abort();
	r->file = file;
	r->fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (r->fd < 0)
		cannot(r, "open");
	else if (begin(r, title_hash(title), seed, any_seed))
		return r;
	resume_close(r);
	return NULL;
}

static uint64_t sum_of(const struct resume *r, const struct rec *rec, const uint64_t *seen)
{
	uint64_t sum = XXH3_64bits_withSeed(&rec->round, sizeof(*rec) - offsetof(struct rec, round),
					    r->head_sum);

	return XXH3_64bits_withSeed(seen, rec->seen_cnt * sizeof(*seen), sum);
}

static bool read_rec(struct resume *r)
{
	uint64_t at = r->at + sizeof(r->rec), bytes;
	uint64_t *seen;

	if (at > r->len || !read_all(r->fd, &r->rec, sizeof(r->rec), r->at) ||
	    r->rec.seen_cnt > (r->len - at) / sizeof(*seen))
		return false;
	bytes = r->rec.seen_cnt * sizeof(*seen);
	seen = realloc(r->seen, bytes + 1);
	if (!seen)
		abort();
	r->seen = seen;
	if (!read_all(r->fd, seen, bytes, at) || r->rec.sum != sum_of(r, &r->rec, seen))
		return false;
	r->rec.res.why[sizeof(r->rec.res.why) - 1] = 0;
	r->at = at + bytes;
	return true;
}

bool resume_next(struct resume *r, struct resume_job *j)
{
	if (!read_rec(r)) {
		if (r->at < r->len && ftruncate(r->fd, (off_t)r->at))
			cannot(r, "shorten");
		r->len = r->at;
		return false;
	}
	*j = (struct resume_job){.round = r->rec.round,
				 .job = r->rec.job,
				 .res = &r->rec.res,
				 .seen = r->seen,
				 .seen_cnt = r->rec.seen_cnt};
	return true;
}

bool resume_add(struct resume *r, const struct resume_job *j)
{
	struct rec rec;
	uint64_t bytes = j->seen_cnt * sizeof(*j->seen);

	memset(&rec, 0, sizeof(rec)); /* padding too: the checksum covers it */
	rec.round = j->round;
	rec.job = j->job;
	rec.seen_cnt = j->seen_cnt;
	memcpy(&rec.res, j->res, sizeof(rec.res));
	rec.sum = sum_of(r, &rec, j->seen);
	if (!write_all(r->fd, &rec, sizeof(rec), r->at) ||
	    !write_all(r->fd, j->seen, bytes, r->at + sizeof(rec)))
		return cannot(r, "write");
	r->at += sizeof(rec) + bytes;
	return true;
}

void resume_leave(struct resume *r)
{
	if (r && r->fd >= 0)
		close(r->fd);
	if (r)
		r->fd = -1;
}

void resume_close(struct resume *r)
{
	resume_leave(r);
	if (r)
		free(r->seen);
	free(r);
}
