/* SPDX-License-Identifier: MIT
 * work.c -- running a workload: marks, state texts, work directories, recording, verifying
 */
#include "enum.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <xxhash.h>

#include "fixed.h"
#include "resident.h"

#define LOG_CAP ((uint64_t)1 << 30)

bool crash_record_closes;
const char *(*crash_err_name)(int rc);
const char *(*crash_err_msg)(void);

/* --- text --- */

static void say(struct crash *c, const char *fmt, va_list ap)
{
	va_list again;
	int n;

	va_copy(again, ap);
	n = vsnprintf(c->text + c->text_len, c->text_cap - c->text_len, fmt, ap);
	if (c->text_len + (size_t)n + 1 > c->text_cap) {
		c->text_cap = (c->text_len + (size_t)n) * 2 + 256;
		c->text = realloc(c->text, c->text_cap);
		if (!c->text)
			abort();
		vsnprintf(c->text + c->text_len, c->text_cap - c->text_len, fmt, again);
	}
	va_end(again);
	c->text_len += (size_t)n;
}

void crash_say(struct crash *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(c, fmt, ap);
	va_end(ap);
}

int crash_why(struct crash *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->why, sizeof(c->why), fmt, ap);
	va_end(ap);
	return -1;
}

int crash_failed(struct crash *c, int rc, const char *expr)
{
	if (c->why[0])
		return -1;
	return crash_why(c, "%s: %d %s; %s", expr, rc, crash_err_name ? crash_err_name(rc) : "",
			 crash_err_msg ? crash_err_msg() : "");
}

/* --- marks --- */

static int show(struct crash *c)
{
	c->text_len = 0;
	crash_say(c, "%s", "");
	return c->w->show(c);
}

static int mark_state(struct crash *c)
{
	if (show(c))
		return -1;
	sim_mark(EV_STATE, c->text, (uint32_t)c->text_len + 1);
	return 0;
}

static uint64_t inside(struct crash *c)
{
	return c->w->kind->inside && sim_recording() ? c->w->kind->inside(c) : 0;
}

void crash_begin(struct crash *c)
{
	sim_kill_scan(crash_dir());
	c->inside = inside(c);
	sim_mark(EV_BEGIN, NULL, 0);
}

int crash_step(struct crash *c)
{
	return mark_state(c);
}

int crash_done(struct crash *c)
{
	if (inside(c) != c->inside)
		sim_mark(EV_INSIDE, NULL, 0);
	sim_mark(EV_ACK, NULL, 0); /* what show stores, if anything, belongs to what follows */
	return mark_state(c);
}

/* --- directories --- */

static char dir[128], image[160], copy[160];
static pid_t dir_pid;

const char *crash_dir(void)
{
	if (dir_pid == getpid())
		return dir;
	snprintf(dir, sizeof(dir), "/dev/shm/twzcrash-%d-XXXXXX", (int)getpid());
	if (!mkdtemp(dir)) {
		perror(dir);
		_exit(97);
	}
	snprintf(image, sizeof(image), "%s/img", dir);
	snprintf(copy, sizeof(copy), "%s/copy", dir);
	dir_pid = getpid();
	return dir;
}

const char *crash_image_path(void)
{
	crash_dir();
	return image;
}

const char *crash_copy_path(void)
{
	crash_dir();
	return copy;
}

void crash_dir_adopt(void)
{
	dir_pid = getpid();
}

#define RECORD_SECONDS 120 /* a workload that waits for itself would do so for ever */

pid_t crash_fork(void)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid >= 0)
		return pid;
	fprintf(stderr, "twzcrash: cannot start a process: %s\n", strerror(errno));
	crash_dir_remove();
	_exit(2);
}

static void clear(const char *from, bool all)
{
	DIR *d = opendir(from);
	struct dirent *e;
	char path[512];

	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.' ||
		    (!all && (!strcmp(e->d_name, "img") || !strcmp(e->d_name, "copy") ||
			      !strcmp(e->d_name, "img" SIM_SECOND))))
			continue;
		snprintf(path, sizeof(path), "%s/%s", from, e->d_name);
		unlink(path);
	}
	if (d)
		closedir(d);
}

void crash_dir_clear(void)
{
	clear(crash_dir(), false);
}

void crash_dir_remove(void)
{
	if (dir_pid != getpid())
		return;
	clear(dir, true);
	rmdir(dir);
	dir_pid = 0;
}

void crash_dirs_sweep(void)
{
	DIR *d = opendir("/dev/shm");
	struct dirent *e;
	char path[300];
	int pid;

	while (d && (e = readdir(d))) {
		if (sscanf(e->d_name, "twzcrash-%d-", &pid) != 1 || !kill(pid, 0) || errno != ESRCH)
			continue;
		snprintf(path, sizeof(path), "/dev/shm/%s", e->d_name);
		clear(path, true);
		rmdir(path);
	}
	if (d)
		closedir(d);
}

/* --- recording --- */

/* Zeros stay holes. */
int crash_write_image(const char *path, const uint8_t *bytes, uint64_t len)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	int rc = fd < 0 || ftruncate(fd, (off_t)len) ? -1 : 0;

	for (uint64_t at = 0, n; !rc && at < len; at += n) {
		n = len - at < SIM_PAGE ? len - at : SIM_PAGE;
		if (!image_zero(bytes + at, n) &&
		    pwrite(fd, bytes + at, n, (off_t)at) != (ssize_t)n)
			rc = -1;
	}
	if (fd >= 0)
		close(fd);
	return rc;
}

int crash_first_image(const struct crash_workload *w, uint8_t **bytes, uint64_t *len)
{
	struct sim_pair *head;
	char second[300];

	*bytes = NULL;
	*len = 0;
	unlink(crash_image_path());
	snprintf(second, sizeof(second), "%s%s", crash_image_path(), SIM_SECOND);
	unlink(second);
	if (!w->pair)
		return w->empty_file ? crash_write_image(crash_image_path(), NULL, 0) : 0;
	*len = SIM_PAIR_LEN;
	*bytes = calloc(1, SIM_PAIR_LEN);
	if (!*bytes)
		return -1;
	head = (void *)*bytes;
	head->magic = SIM_PAIR_MAGIC;
	return crash_write_image(crash_image_path(), *bytes, *len);
}

int crash_operations(struct crash *c)
{
	sim_kill_scan(crash_dir());
	sim_mark(EV_START, NULL, 0);
	return mark_state(c) ? -1 : c->w->run(c);
}

static int run(struct crash *c)
{
	if (c->w->kind->open(c))
		return -1;
	if (c->w->setup && c->w->setup(c))
		return -1;
	/* What setup left in caches may have been written back, and is: so there are fewer images, and all of them are tried. */
	if (c->w->thrice)
		sim_mark(EV_SYNC_ALL, NULL, 0);
	return crash_operations(c);
}

static int record_child(const struct crash_workload *w, enum sim_media media, struct sim_log *log,
			const char *path)
{
	struct crash c = {.w = w, .media = media, .path = path, .backend = &sim_backend};
	int rc;

	sim_mode(media, log);
	rc = run(&c);
	if (!rc && crash_record_closes)
		rc = (w->kind->settle && w->kind->settle(&c)) || w->kind->close(&c);
	sim_audit();
	if (rc)
		sim_mark(EV_FAIL, c.why, (uint32_t)strlen(c.why) + 1);
	return rc ? 1 : 0;
}

/* State texts in the order they came; the recording's end. */
static int scan(struct crash_record *rec, char *why, size_t why_len)
{
	const struct sim_ev *ev;
	uint64_t pos = 0;

	rec->state = calloc(1, sizeof(*rec->state));
	while ((ev = sim_log_next(rec->log, &pos))) {
		if (ev->type == EV_FAIL) {
			snprintf(
				why, why_len, "%s failed: %s",
				rec->states_known
					? "recovery, recorded for a second crash, or what comes after it,"
					: "the workload",
				(const char *)ev->data);
			return -1;
		}
		if (ev->type != EV_STATE)
			continue;
		rec->state = realloc(rec->state, (rec->state_cnt + 1) * sizeof(*rec->state));
		if (!rec->state)
			abort();
		rec->state[rec->state_cnt++] = strdup((const char *)ev->data);
	}
	return 0;
}

int crash_record(const struct crash_workload *w, enum sim_media media, uint64_t seed,
		 struct crash_record *rec, char *why, size_t why_len)
{
	const char *path = crash_image_path();
	int status = 0;
	pid_t pid;

	memset(rec, 0, sizeof(*rec));
	rec->log = sim_log_new(LOG_CAP);
	if (!rec->log) {
		snprintf(why, why_len, "no memory for the event log");
		return -1;
	}
	crash_dir_clear();
	if (crash_first_image(w, &rec->start, &rec->start_len)) {
		snprintf(why, why_len, "%s: %s", path, strerror(errno));
		return -1;
	}
	pid = crash_fork();
	if (pid == 0) {
		crash_dir_adopt();
		fixed_start(seed);
		alarm(RECORD_SECONDS);
		_exit(record_child(w, media, rec->log, path));
	}
	waitpid(pid, &status, 0);
	if (scan(rec, why, why_len))
		return -1;
	if (status) {
		snprintf(why, why_len, "the workload ended with %s %d after %llu events",
			 WIFSIGNALED(status) ? "signal" : "status",
			 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
			 (unsigned long long)rec->log->cnt);
		return -1;
	}
	if (rec->log->overflow) {
		snprintf(why, why_len, "the event log is too small for this workload");
		return -1;
	}
	return 0;
}

void crash_record_free(struct crash_record *rec)
{
	for (uint32_t i = 0; i < rec->state_cnt; i++)
		free(rec->state[i]);
	free(rec->state);
	free(rec->start);
	sim_log_free(rec->log);
	memset(rec, 0, sizeof(*rec));
}

/*
 * What recovery decided is told as one more state, the only one there is from now on: what it
 * dropped is another state and would be a failure. Then new operations.
 */
static int go_on(struct crash *c, const struct crash_record *rec)
{
	if (crash_state(c, rec, rec->floor, rec->states_known - 1) < 0)
		return -1;
	sim_mark(EV_STATE, c->text, (uint32_t)c->text_len + 1);
	sim_mark_at(EV_SETTLED, rec->states_known);
	return c->w->again(c);
}

/* What the recovery decided stays so, while it is closed, too. */
static int settled(struct crash *c, const struct crash_record *rec)
{
	int state =
		c->w->kind->check(c) ? -1 : crash_state(c, rec, rec->floor, rec->states_known - 1);

	if (state >= 0)
		sim_mark_at(EV_SETTLED, (uint64_t)state);
	return state < 0 ? -1 : 0;
}

static int record_recovery(const struct crash_workload *w, const struct crash_options *opt,
			   const struct crash_record *rec)
{
	struct crash c = {.w = w,
			  .media = opt->media,
			  .path = crash_image_path(),
			  .backend = &sim_backend,
			  .recovering = true};

	alarm(opt->timeout);
	sim_mode(opt->media, rec->log);
	sim_mark(EV_START, NULL, 0);
	if (w->kind->open(&c) || (w->again && !opt->settled && go_on(&c, rec)) ||
	    (opt->thrice && settled(&c, rec)) ||
	    (crash_record_closes && w->kind->settle && w->kind->settle(&c)) || w->kind->close(&c))
		sim_mark(EV_FAIL, c.why, (uint32_t)strlen(c.why) + 1);
	sim_audit();
	free(c.text);
	return 0;
}

/* The first states of REC->state, borrowed, and behind them those of the recording. */
static int states_extend(struct crash_record *rec, char *why, size_t why_len)
{
	struct crash_record more = {.log = rec->log, .states_known = rec->states_known};
	int rc = scan(&more, why, why_len);
	char **all = calloc(rec->states_known + more.state_cnt + 1, sizeof(*all));

	if (!all)
		abort();
	memcpy(all, rec->state, rec->states_known * sizeof(*all));
	if (more.state_cnt)
		memcpy(all + rec->states_known, more.state, more.state_cnt * sizeof(*all));
	free(more.state);
	rec->state = all;
	rec->state_cnt = rec->states_known + more.state_cnt;
	return rc;
}

/* In a process of its own. */
static int record_apart(const struct crash_workload *w, const struct crash_options *opt,
			const struct crash_record *rec, char *why, size_t why_len)
{
	int status = 0;
	pid_t pid;

	if (crash_write_image(crash_image_path(), rec->start, rec->start_len)) {
		snprintf(why, why_len, "cannot prepare a second crash: %s", strerror(errno));
		return -1;
	}
	pid = crash_fork();
	if (pid == 0) {
		crash_dir_adopt();
		resident_strict(true);
		_exit(record_recovery(w, opt, rec));
	}
	waitpid(pid, &status, 0);
	if (!status)
		return 0;
	if (WIFSIGNALED(status))
		snprintf(why, why_len, "recovery, recorded for a second crash: %s",
			 WTERMSIG(status) == SIGALRM ? "no end (timeout)"
						     : strsignal(WTERMSIG(status)));
	else
		snprintf(why, why_len,
			 "recovery, recorded for a second crash, ended with status %d",
			 WEXITSTATUS(status));
	return -1;
}

static int record_here(const struct crash_workload *w, const struct crash_options *opt,
		       const struct crash_record *rec)
{
	struct image_pages pages;
	int rc;

	image_pages_init(&pages);
	image_pages_scan(&pages, rec->start, rec->start_len);
	rc = resident_put(resident_file(crash_image_path()), rec->start, rec->start_len, &pages);
	image_pages_free(&pages);
	if (!rc)
		rc = record_recovery(w, opt, rec);
	sim_mode(opt->media, NULL);
	alarm(0);
	return rc;
}

int crash_record_recovery(const struct crash_workload *w, const struct crash_options *opt,
			  struct crash_record *rec, uint32_t floor, uint32_t top, char *why,
			  size_t why_len)
{
	rec->log = sim_log_new(LOG_CAP);
	rec->floor = floor;
	rec->top = top;
	rec->states_known = top + 1;
	crash_dir_clear();
	if (!rec->log) {
		snprintf(why, why_len, "no memory for the event log");
		return -1;
	}
	if (opt->here ? record_here(w, opt, rec) : record_apart(w, opt, rec, why, why_len))
		return -1;
	if (opt->sites)
		crash_sites_add(opt->sites, rec->log);
	return states_extend(rec, why, why_len);
}

void crash_record_again_free(struct crash_record *rec)
{
	for (uint32_t i = rec->states_known; i < rec->state_cnt; i++)
		free(rec->state[i]);
	free(rec->state);
	sim_log_free(rec->log);
}

/* --- verifying --- */

static int wrong_state(struct crash *c, const struct crash_record *rec, uint32_t floor,
		       uint32_t top)
{
	const char *got = c->text, *want = rec->state[floor], *line = got;

	/* Point at the first line that differs from the oldest state allowed. */
	while (*got && *got == *want) {
		if (*got == '\n')
			line = got + 1;
		got++;
		want++;
	}
	want -= got - line;
	return crash_why(
		c,
		"state after recovery is none of %u..%u; against %u first: got \"%.*s\", want \"%.*s\"",
		floor, top, floor, (int)strcspn(line, "\n"), line, (int)strcspn(want, "\n"), want);
}

int crash_state(struct crash *c, const struct crash_record *rec, uint32_t floor, uint32_t top)
{
	uint32_t i = floor;

	if (show(c))
		return -1;
	while (i <= top && i < rec->state_cnt && strcmp(rec->state[i], c->text))
		i++;
	return i > top || i == rec->state_cnt ? wrong_state(c, rec, floor, top) : (int)i;
}

int crash_verify_open(struct crash *c, const struct crash_record *rec, uint32_t floor, uint32_t top)
{
	return c->w->kind->check(c) || crash_state(c, rec, floor, top) < 0 ? -1 : 0;
}

static int verify_once(struct crash *c, const struct crash_record *rec, uint32_t floor,
		       uint32_t top, bool probe)
{
	char why[sizeof(c->why)];

	if (c->w->kind->open(c))
		return -1;
	if (!crash_verify_open(c, rec, floor, top) &&
	    (!probe || !c->w->kind->probe || !c->w->kind->probe(c)))
		return c->w->kind->close(c);
	memcpy(why, c->why, sizeof(why));
	c->w->kind->close(c);
	memcpy(c->why, why, sizeof(why));
	return -1;
}

/* Leaves what it showed in C->text. */
static int verify_reading(struct crash *c, const struct crash_record *rec, uint32_t floor,
			  uint32_t top)
{
	int rc;

	c->read_only = true;
	rc = verify_once(c, rec, floor, top, false);
	c->read_only = false;
	if (rc) {
		char why[sizeof(c->why)];

		memcpy(why, c->why, sizeof(why));
		return crash_why(c, "opened to be read only: %.900s", why);
	}
	if (c->bytes && !resident_same(c->file, c->bytes, c->len, c->pages))
		return crash_why(c, "opening it to be read only has changed the file");
	return 0;
}

int crash_verify(struct crash *c, const struct crash_record *rec, uint32_t floor, uint32_t top,
		 unsigned int how)
{
	char *first = NULL;
	int rc = 0;

	c->recovering = true;
	c->why[0] = 0;
	if (how & CRASH_READ_FIRST && c->w->kind->reads) {
		rc = verify_reading(c, rec, floor, top);
		first = rc ? NULL : strdup(c->text);
	}
	if (!rc)
		rc = verify_once(c, rec, floor, top, how & CRASH_TWICE);
	if (!rc && first && strcmp(first, c->text))
		rc = crash_why(c, "it shows another state than when it was opened to be read only");
	free(first);
	if (rc || !(how & CRASH_TWICE) || c->w->once)
		return rc;
	first = strdup(c->text); /* recovered, closed, opened again: the same */
	rc = verify_once(c, rec, floor, top, false);
	if (!rc && strcmp(first, c->text))
		rc = crash_why(c, "a second opening shows another state than the first");
	free(first);
	return rc;
}
