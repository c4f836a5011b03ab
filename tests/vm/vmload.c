/* SPDX-License-Identifier: MIT
 * vmload.c -- runs in the guest: a workload that is cut off, and the judge of what is left
 *
 * usage: vmload work STORE [--ack FILE] [--seconds S] [--changes N] [--log BYTES] [--keep ROWS] [--procs P] [--threads T] [--no-sql]
 *			    [--no-tx] [--reader] [--endure] [--hog] [--mark DMDEVICE]
 *	  vmload judge STORE [--keep ROWS]
 *
 * work, until S seconds are over, each has made N changes, or all get SIGTERM: P processes of T threads change the engine's rows, one each SQLite's and an object by undo transactions. What
 * was acknowledged goes to FILE, line by line. --hog: each takes more and more memory while it works, until the kernel kills
 * it; then another one takes its place. judge: recovers, checks, prints "F ACTOR N" per actor and "BAD ..."
 * per fault; then commits, closes, opens and looks again. Ends with 0 if nothing is wrong.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "twz/twz.h"
#include "vmload.h"

uint64_t load_keep = 200;
static int ack_fd = 1;
static time_t end_at;
static volatile sig_atomic_t asked_to_end;

static time_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

bool load_over(void)
{
	return asked_to_end || (end_at && now() >= end_at);
}

bool load_done(const struct load *l, uint64_t n)
{
	return load_over() || (l->changes && n >= l->changes);
}

uint64_t load_rand(uint64_t *s, uint64_t below)
{
	*s ^= *s >> 12;
	*s ^= *s << 25;
	*s ^= *s >> 27;
	return *s * 0x2545F4914F6CDD1Dull % below;
}

void say(const char *fmt, ...)
{
	char line[300];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	if (n > (int)sizeof(line) - 2)
		n = (int)sizeof(line) - 2;
	line[n++] = '\n';
	while (write(ack_fd, line, (size_t)n) < 0 && errno == EINTR)
		;
}

void say_acked(int actor, uint64_t n, uint64_t seq)
{
	char text[80];
	int len = snprintf(text, sizeof(text), "%d %" PRIu64, actor, n);

	if (seq)
		snprintf(text + len, sizeof(text) - (size_t)len, " %d %" PRIu64, SEQ_ACTOR, seq);
	mark_write(text);
	say("A %s", text);
}

void say_error(const struct load *l, int actor, const char *what, int err, const char *why)
{
	struct timespec ts = {0, 50000000};

	say("E %d %s: %d %s", actor, what, err, why);
	if (!l->endure)
		_exit(3);
	nanosleep(&ts, NULL);
}

int bad(const char *fmt, ...)
{
	va_list ap;

	printf("BAD ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	if (ack_fd != 1) { /* nobody reads what a reader prints */
		char text[200];

		va_start(ap, fmt);
		vsnprintf(text, sizeof(text), fmt, ap);
		va_end(ap);
		say("E -2 %s", text);
	}
	return 1;
}

/* --- work --- */

struct thread {
	const struct load *l;
	struct twzdb *db;
	int actor;
};

static void *thread_main(void *arg)
{
	struct thread *t = arg;

	rows_actor(t->l, t->db, t->actor);
	return NULL;
}

static int engine_process(const struct load *l, int nr)
{
	pthread_t id[ENGINE_MAX];
	struct thread t[ENGINE_MAX];
	struct twzdb *db = NULL;
	int err;

	while ((err = rows_open(l, &db)) != 0 && !load_over())
		say_error(l, nr * l->threads, "open", err, twzdb_errmsg());
	if (err)
		return 3;
	if (nr == l->procs) {
		rows_reader(l, db);
		return twzdb_close(db) ? 3 : 0;
	}
	for (int i = 0; i < l->threads; i++) {
		t[i] = (struct thread){l, db, nr * l->threads + i};
		if (pthread_create(&id[i], NULL, thread_main, &t[i]))
			return 3;
	}
	for (int i = 0; i < l->threads; i++)
		pthread_join(id[i], NULL);
	return twzdb_close(db) ? 3 : 0;
}

/* Takes memory, now quickly, now slowly, until there is none. */
static void *hog_main(void *arg)
{
	uint64_t rng = (uint64_t)getpid() * 2654435761u | 1;
	size_t len = 1 << 20;

	(void)arg;
	while (!load_over()) {
		struct timespec ts = {0, (long)load_rand(&rng, 100) * 1000000};
		char *p =
			mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p != MAP_FAILED)
			memset(p, 1, len);
		nanosleep(&ts, NULL);
	}
	return NULL;
}

/* Whoever takes the memory is killed for it, and not the parent, whose own score they inherit. */
static void hog_start(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	pthread_t id;

	if (fd < 0 || write(fd, "0", 1) != 1 || pthread_create(&id, NULL, hog_main, NULL))
		_exit(3);
	close(fd);
}

/* Children: the engine's processes, the reader, SQLite, undo transactions. */
#define CHILDREN (ENGINE_MAX + 3)

static pid_t child[CHILDREN];

static void start(const struct load *l, int i)
{
	bool wanted = i < l->procs || (i == l->procs && l->reader) ||
		      (i == CHILDREN - 2 && l->sql) || (i == CHILDREN - 1 && l->tx);

	if (!wanted)
		return;
	fflush(NULL);
	child[i] = fork();
	if (child[i])
		return;
	if (l->hog)
		hog_start();
	if (i == CHILDREN - 2)
		sql_actor(l);
	else if (i == CHILDREN - 1)
		tx_actor(l);
	else
		_exit(engine_process(l, i));
	_exit(0);
}

/* Killed by the kernel, for want of memory: another one goes on. */
static bool killed(const struct load *l, pid_t pid, int status)
{
	if (!l->hog || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		return false;
	for (int i = 0; i < CHILDREN; i++)
		if (child[i] == pid) {
			say("K %d", i);
			if (!load_over())
				start(l, i);
		}
	return true;
}

static void on_term(int sig)
{
	(void)sig;
	asked_to_end = 1;
}

/* Who waits for a child goes on waiting: whoever ends them all sends it to all of them. */
static int work(const struct load *l)
{
	struct sigaction sa = {.sa_handler = on_term, .sa_flags = SA_RESTART};
	int rc = 0, status;
	pid_t pid;

	sigaction(SIGTERM, &sa, NULL);
	for (int i = 0; i < CHILDREN; i++)
		start(l, i);
	while ((pid = wait(&status)) > 0) {
		if (killed(l, pid, status))
			continue;
		if (WIFSIGNALED(status))
			say("E -1 a process ended by signal %d", WTERMSIG(status));
		if (status && !l->endure)
			rc = 1;
	}
	say("END %d", rc);
	return rc;
}

/* --- judge --- */

static void finding(void *ctx, const char *where, const char *what)
{
	*(int *)ctx += bad("check: %s: %s", where, what);
}

static int check_all(struct twzdb *db)
{
	uint64_t cnt = 0;
	int rc = 0, err = twz_check(twzdb_store(db), finding, &rc, &cnt);

	if (err || cnt)
		rc += bad("twz_check: %d, %" PRIu64 " findings, %s", err, cnt, twz_errmsg());
	err = twzdb_check(db, finding, &rc, &cnt);
	if (err || cnt)
		rc += bad("twzdb_check: %d, %" PRIu64 " findings, %s", err, cnt, twzdb_errmsg());
	return rc;
}

/* Who has found everything in order goes on working. */
static int probe(struct twzdb *db)
{
	struct twzdb_txn *tx;
	struct twzdb_table t;
	uint64_t v = (uint64_t)time(NULL);
	int err = twzdb_begin(db, 0, &tx);

	if (!err) {
		err = twzdb_table_open(tx, "probe", TWZDB_TABLE_CREATE, &t);
		if (!err)
			err = twzdb_put(tx, t, (struct twzdb_slice){"probe", 5},
					(struct twzdb_slice){&v, 8}, 0);
		if (!err)
			err = twzdb_commit(tx);
		else
			twzdb_abort(tx);
	}
	return err ? bad("writing: %d %s", err, twzdb_errmsg()) : 0;
}

static int judge_once(const struct load *l, bool again)
{
	struct twz_store_info info = {.size = sizeof(info)};
	struct twzdb *db = NULL;
	int rc, err = twzdb_open(l->path, NULL, &db);

	if (err == TWZ_E_NOENT || err == TWZDB_E_NOTFOUND) { /* as old as that */
		printf("F none %d\n", err);
		return 0;
	}
	if (err)
		return bad("open: %d %s", err, twzdb_errmsg());
	if (!again && !twz_store_info(twzdb_store(db), &info))
		printf("I granularity %u forced %u unclean %u\n", info.granularity, info.forced,
		       info.was_unclean);
	rc = check_all(db);
	rc = rc ? rc : rows_judge(db) || tx_judge(twzdb_store(db)) || probe(db);
	err = twzdb_close(db);
	return rc ? rc : err ? bad("close: %d %s", err, twzdb_errmsg()) : 0;
}

static int judge(const struct load *l)
{
	int rc = judge_once(l, false) || sql_judge(l) || judge_once(l, true);

	fflush(stdout);
	return rc;
}

static int usage(void)
{
	fprintf(stderr, "usage: vmload work|judge STORE [options]: see vmload.c\n");
	return 2;
}

static int option(struct load *l, const char *name, const char *value)
{
	if (!strcmp(name, "--ack"))
		ack_fd = open(value, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	else if (!strcmp(name, "--seconds"))
		l->seconds = atoi(value);
	else if (!strcmp(name, "--changes"))
		l->changes = strtoull(value, NULL, 0);
	else if (!strcmp(name, "--log"))
		l->log_len = strtoull(value, NULL, 0);
	else if (!strcmp(name, "--keep"))
		load_keep = strtoull(value, NULL, 0);
	else if (!strcmp(name, "--procs"))
		l->procs = atoi(value);
	else if (!strcmp(name, "--threads"))
		l->threads = atoi(value);
	else if (!strcmp(name, "--mark"))
		return mark_open(value);
	else
		return -1;
	return ack_fd < 0 ? -1 : 0;
}

int main(int argc, char **argv)
{
	struct load l = {.procs = 2, .threads = 2, .sql = true, .tx = true, .log_len = 256 << 10};

	if (argc < 3)
		return usage();
	l.path = argv[2];
	for (int i = 3; i < argc; i++) {
		if (!strcmp(argv[i], "--no-sql"))
			l.sql = false;
		else if (!strcmp(argv[i], "--no-tx"))
			l.tx = false;
		else if (!strcmp(argv[i], "--reader"))
			l.reader = true;
		else if (!strcmp(argv[i], "--endure"))
			l.endure = true;
		else if (!strcmp(argv[i], "--hog"))
			l.hog = true;
		else if (i + 1 == argc || option(&l, argv[i], argv[i + 1]))
			return usage();
		else
			i++;
	}
	if (l.procs * l.threads > ENGINE_MAX)
		return usage();
	end_at = l.seconds ? now() + l.seconds : 0;
	if (!strcmp(argv[1], "judge"))
		return judge(&l);
	return strcmp(argv[1], "work") ? usage() : work(&l);
}
