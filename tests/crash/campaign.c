/* SPDX-License-Identifier: MIT
 * campaign.c -- kill -9 campaigns: many processes on one store, killed at any moment, watched from outside
 *
 * usage: twzcampaign [--kills N] [--seconds S] [--dir DIR] [--seed S] [--full MIB]
 * Exit status: 0 all is well, 1 it is not, 2 it was asked wrongly, 3 fewer than N were killed in S seconds, 77 no file system for --full.
 *
 * Writers, SQLite clients, readers and a checkpointer share a store on DIR (a file there; with
 * PMEM2_FORCE_GRANULARITY=CACHE_LINE persistent memory). The parent kills one of them after the other, stops
 * one for a while (the holder of a lock, often), and now and then kills all at once, so that restart and not
 * takeover recovers. Each process tells in shared memory what it is about to commit, before, and what was
 * acknowledged, after: the record lies outside the store. The wall clock jumps, by a second or a year, to and fro, also while a stopped
 * writer holds the lock and readers keep snapshots; each child has another monotonic clock (root: time namespaces). One child in
 * six may take little memory only, and gives up when there is none. --full: the store lies on a tmpfs of so
 * many MiB, in a mount namespace of the campaign's own (root), which is full for a while, again and again.
 *
 * Now and then, after a death, nobody is disturbed until each of the others has gone on (all_go_on()): who waits for the dead, forever,
 * would otherwise be killed before anybody noticed.
 *
 * Oracle (campaign_look.c): every snapshot that is looked at, whole, against the history of every actor. When all were killed the parent
 * asks too, and runs the checks. What was exercised is counted; a kind of event that did not happen fails the run.
 */
#include "campaign.h"

#include "twz/store.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif
#define PATIENCE_MS 60000 /* beyond --seconds, for what has not happened yet */
#define STUCK_MS    15000 /* who has not gone on for so long, waits for what never comes */

struct campaign *shared;
char path[PATH_LEN];
static uint64_t rng;

void rnd_seed(uint64_t seed)
{
	rng = seed;
}

uint64_t rnd(uint64_t below)
{
	rng ^= rng >> 12;
	rng ^= rng << 25;
	rng ^= rng >> 27;
	return rng * 0x2545F4914F6CDD1Dull % below;
}

void nap(uint64_t us)
{
	struct timespec ts = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};

	nanosleep(&ts, NULL);
}

/* --- children, and how they end --- */

/* What happened to them; each kind must, in every run. */
struct events {
	uint64_t killed[4]; /* writers, clients, readers, the checkpointer */
	uint64_t stops, held, stopped_dead, restarts, scant, gave_up, fills;
	uint64_t went_on, longest; /* each of the others, after a death; ms until they had */
	uint64_t jumps, jumps_held, jumps_kept, clocks;
};

static struct events ev;
static pid_t child[CHILDREN];
static bool no_clocks; /* of their own: not allowed, or the kernel has none */

/* So much private memory more than there is now; what is asked for beyond it is refused. */
static void limit_memory(uint64_t more)
{
	struct rlimit lim;
	unsigned long data = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	if (f && fscanf(f, "%*u %*u %*u %*u %*u %lu", &data) == 1) {
		lim.rlim_cur = lim.rlim_max = data * 4096 + more;
		setrlimit(RLIMIT_DATA, &lim);
	}
	if (f)
		fclose(f);
}

/* The next child has a monotonic clock that is days ahead of ours, or hours behind. */
static void other_clock(void)
{
	char line[60];
	int64_t uptime = (int64_t)(monotonic_ms() / 1000);
	int64_t ahead =
		rnd(2) ? (int64_t)rnd(30 * 86400) : -(int64_t)rnd((uint64_t)uptime * 9 / 10 + 1);
	int fd, n = snprintf(line, sizeof(line), "monotonic %lld 0\n", (long long)ahead);

	if (no_clocks || unshare(CLONE_NEWTIME)) {
		no_clocks = true;
		return;
	}
	fd = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
	no_clocks = fd < 0 || write(fd, line, (size_t)n) != n;
	if (fd >= 0)
		close(fd);
	ev.clocks += !no_clocks;
}

static void start(int i)
{
	uint64_t seed = rnd(UINT32_MAX) * 2 + 1,
		 memory = rnd(6) ? 0 : 1 + rnd(rnd(2) ? 8 << 20 : 128 << 20);

	ev.scant += memory != 0;
	shared->said[i].holds = 0;
	other_clock();
	fflush(NULL);
	child[i] = fork();
	if (child[i])
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* nobody kills it else, when the parent was killed */
	rnd_seed(seed);
	if (memory)
		limit_memory(memory);
	if (i < WRITERS)
		writer(i);
	if (i < ACTORS)
		client(i);
	if (i < ACTORS + READERS)
		reader(i);
	checkpointer(i);
}

/* Killed (true), or it gave up before; whoever ended otherwise was wrong. */
static bool end(int i)
{
	char *why = shared->said[i].why;
	int status = 0;

	kill(child[i], SIGKILL);
	waitpid(child[i], &status, 0);
	child[i] = 0;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
		ev.killed[i < WRITERS ? 0 : i < ACTORS ? 1 : i < ACTORS + READERS ? 2 : 3]++;
		return true;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == GAVE_UP)
		ev.gave_up++;
	else if (!*why)
		snprintf(why, sizeof(shared->said[i].why), "child %d ended with %s %d", i,
			 WIFSIGNALED(status) ? "signal" : "status",
			 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	return false;
}

/* --- a full disk --- */

static char hog[PATH_LEN + 8]; /* empty: the disk is never full */

static void disk_free(void)
{
	if (hog[0])
		unlink(hog);
}

/* All but a few KiB, so that it is in the middle of something that there is no more. */
static void disk_fill(void)
{
	static const char zero[4096];
	int fd = hog[0] ? open(hog, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
	uint64_t spare = rnd(2) ? rnd(1 << 20) : 0;
	off_t len = 0;

	if (fd < 0)
		return;
	while (write(fd, zero, sizeof(zero)) == (ssize_t)sizeof(zero))
		len += (off_t)sizeof(zero);
	if (spare && ftruncate(fd, len > (off_t)spare ? len - (off_t)spare : 0))
		unlink(hog);
	close(fd);
	ev.fills++;
}

/* A file system of MIB of our own, seen by us and our children, gone with us. */
static int disk_mount(const char *dir, const char *mib)
{
	char opt[60];

	snprintf(opt, sizeof(opt), "size=%lum", strtoul(mib, NULL, 0));
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("campaign", dir, "tmpfs", 0, opt)) {
		printf("campaign: no tmpfs of our own on %s: %s\n", dir, strerror(errno));
		return -1;
	}
	return 0;
}

/* --- is all well? --- */

static int wrong(void)
{
	for (int i = 0; i < CHILDREN; i++)
		if (shared->said[i].why[0]) {
			printf("FAIL: %s\n", shared->said[i].why);
			return 1;
		}
	return 0;
}

static void found(void *ctx, const char *where, const char *what)
{
	(void)ctx;
	printf("FAIL: check: %s: %s\n", where, what);
}

/* All are dead: restart recovery, the checks of the engine and of the store, the oracle, SQLite's own check. */
static int judge_here(void)
{
	struct twzdb *db;
	const char *what = "open";
	uint64_t cnt = 0, store_cnt = 0;
	int err = open_db(&db);

	if (!err)
		err = look(db, 0, &what);
	if (!err) {
		what = "check";
		err = twzdb_check(db, found, NULL, &cnt);
	}
	if (!err) {
		what = "check of the store";
		err = twz_check(twzdb_store(db), found, NULL, &store_cnt);
	}
	if (err || cnt || store_cnt) {
		printf("FAIL: after all were killed: %s: %d %s\n", what, err, twzdb_errmsg());
		return 1;
	}
	if (twzdb_close(db))
		return 1;
	for (int i = WRITERS; i < ACTORS; i++) {
		sqlite3 *s = sql_open(i);

		sql_integrity(i, s);
		sql_look(i, s, i, true);
		if (sqlite3_close(s))
			return 1;
	}
	return 0;
}

/* Seen by who is dead: before it was durable, perhaps. */
static void forget_the_seen(void)
{
	for (int a = 0; a < ACTORS; a++)
		for (uint64_t n = shared->said[a].acked + 1; n <= shared->said[a].intended; n++)
			if (shared->said[a].outcome[n % HISTORY] == SEEN)
				outcome_is(a, n, UNKNOWN);
}

/* In a process of its own, which may die without hurting the campaign. */
static int judge(void)
{
	int status;
	pid_t pid;

	forget_the_seen();
	fflush(NULL);
	pid = fork();
	if (!pid) {
		int rc = judge_here();

		fflush(NULL);
		_exit(rc);
	}
	waitpid(pid, &status, 0);
	if (status)
		printf("FAIL: who looks at what is left ended with %s %d\n",
		       WIFSIGNALED(status) ? "signal" : "status",
		       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	return wrong() || status;
}

/* --- what happens --- */

/* Stop child I, a writer at a moment at which it is between begin and commit. */
static bool stop(int i)
{
	for (int try = 0; i < WRITERS && try < 2000; try++) {
		kill(child[i], SIGSTOP);
		if (now_of(&shared->said[i].holds))
			break;
		kill(child[i], SIGCONT);
		nap(20);
	}
	kill(child[i], SIGSTOP);
	ev.stops++;
	if (i >= WRITERS || !now_of(&shared->said[i].holds))
		return false;
	ev.held++;
	return true;
}

/* Somebody sets the clock of the machine. It stays within years of the real one. */
static void jump(bool is_held)
{
	static const int64_t far[] = {1, 3600, 86400, 30 * 86400, 365 * 86400};
	int64_t by = far[rnd(5)] * (rnd(2) ? 1 : -1);

	if (shared->skew + by > 800 * 86400 || shared->skew + by < -800 * 86400)
		by = -by;
	__atomic_fetch_add(&shared->skew, by, __ATOMIC_SEQ_CST);
	ev.jumps++;
	ev.jumps_held += is_held;
	for (int i = ACTORS; i < ACTORS + READERS; i++)
		if (now_of(&shared->said[i].holds)) {
			ev.jumps_kept++;
			break;
		}
}

/* Something happens to child I. Returns whether it was killed. */
static bool disturb(int i)
{
	bool is_held, died;

	if (rnd(12) == 0) {
		disk_fill();
		nap(rnd(200000));
	} else if (rnd(4) == 0) {
		disk_free();
	}
	if (rnd(6) == 0)
		jump(false);
	switch (rnd(8)) {
	case 0: /* stopped, while it holds the writer lock; the others wait, and it goes on */
		is_held = stop(i);
		if (rnd(2))
			jump(is_held);
		nap(rnd(60000));
		kill(child[i], SIGCONT);
		return false;
	case 1: /* stopped and then killed: what others began to wait for never comes */
		is_held = stop(i);
		if (rnd(2))
			jump(is_held);
		nap(rnd(20000));
		ev.stopped_dead++;
		break;
	default:
		break;
	}
	died = end(i);
	start(i);
	return died;
}

/* It ended by itself: end() asks why. */
static bool has_ended(int i)
{
	siginfo_t si = {.si_pid = 0};

	return waitid(P_PID, (id_t)child[i], &si, WEXITED | WNOHANG | WNOWAIT) || si.si_pid;
}

/* Two steps: what it does now may have begun before the death, what it does next has not. */
static bool is_behind(int i, const uint64_t before[CHILDREN])
{
	return now_of(&shared->said[i].stepped) < before[i] + 2 && !has_ended(i);
}

static int stuck(int dead, const uint64_t before[CHILDREN])
{
	static const char *const kind[] = {"writer", "SQLite client", "reader", "checkpointer"};

	for (int i = 0; i < CHILDREN; i++)
		if (is_behind(i, before))
			printf("FAIL: child %d (%s, process %d) has not gone on for %d s after the death of child %d: %llu of 2 steps\n",
			       i,
			       kind[i < WRITERS		   ? 0
				    : i < ACTORS	   ? 1
				    : i < ACTORS + READERS ? 2
							   : 3],
			       (int)child[i], STUCK_MS / 1000, dead,
			       (unsigned long long)(now_of(&shared->said[i].stepped) - before[i]));
	return 1;
}

/*
 * Child DEAD has died, and nobody is stopped: all go on, its successor too. What is counted are waits of our own: of a machine that
 * stood still, or had no time for us either, it is a little only.
 */
static int all_go_on(int dead)
{
	uint64_t before[CHILDREN], waited = 0, then = monotonic_ms();

	for (int i = 0; i < CHILDREN; i++)
		before[i] = now_of(&shared->said[i].stepped);
	for (int i = 0; i < CHILDREN && !wrong();) {
		uint64_t now = monotonic_ms();

		waited += now - then < 20 ? now - then : 20;
		then = now;
		if (!is_behind(i, before))
			i++;
		else if (waited > STUCK_MS)
			return stuck(dead, before);
		else
			nap(1000);
	}
	ev.went_on++;
	ev.longest = waited > ev.longest ? waited : ev.longest;
	return 0;
}

static int all_at_once(void)
{
	int rc;

	for (int i = 0; i < CHILDREN; i++)
		end(i);
	ev.restarts++;
	disk_free();
	rc = wrong() || judge();
	for (int i = 0; i < CHILDREN && !rc; i++)
		start(i);
	return rc;
}

/* --- what was exercised --- */

struct must {
	const char *what;
	uint64_t cnt;
};

static const char clocks[] = "monotonic clocks";

/* The first kind of event that has not happened, or NULL. */
static const char *missing(bool print)
{
	const struct counts *n = &shared->n;
	const struct must must[] = {
		{"writers killed", ev.killed[0]},
		{"SQLite clients killed", ev.killed[1]},
		{"readers killed", ev.killed[2]},
		{"checkpointers killed", ev.killed[3]},
		{"stops", ev.stops},
		{"of them of the lock's holder", ev.held},
		{"killed while stopped", ev.stopped_dead},
		{"times all at once", ev.restarts},
		{"times all others went on after a death", ev.went_on},
		{"children with little memory", ev.scant},
		{"children that gave up", ev.gave_up},
		{"forks without exec", n->forks},
		{"clock jumps", ev.jumps},
		{"while the lock's holder was stopped", ev.jumps_held},
		{"while a reader kept a snapshot", ev.jumps_kept},
		{"seen by a process", n->clocks},
		{"wrong times told by SQLite", n->sql_clocks},
		{clocks, ev.clocks}, /* none where nobody may have one of his own: that is said */
		{"whole snapshots", n->shots},
		{"rows in them", n->rows},
		{"snapshots read twice", n->kept},
		{"snapshots of SQLite's tables", n->sql_shots},
		{"rows in them", n->sql_rows},
		{"both databases of a transaction compared", n->sql_groups},
		{"integrity checks", n->integrity},
		{"commits without an answer that were there", n->seen},
		{"that were not", n->gone},
		{"times the disk was full", ev.fills}, /* these two with --full */
		{"changes refused by it", n->no_room},
	};

	size_t cnt = sizeof(must) / sizeof(must[0]) - (hog[0] ? 0 : 2);

	for (size_t i = 0; i < cnt; i++) {
		if (print)
			printf("%s %llu %s", i ? "," : "campaign:", (unsigned long long)must[i].cnt,
			       must[i].what);
		else if (must[i].what == clocks && no_clocks)
			continue;
		else if (!must[i].cnt)
			return must[i].what;
	}
	if (print)
		printf("; %llu times the history did not reach back so far; all went on within %llu ms\n",
		       (unsigned long long)n->too_old, (unsigned long long)ev.longest);
	if (print && no_clocks)
		printf("campaign: not tried: processes with monotonic clocks of their own, for which it must be root\n");
	return NULL;
}

/* 0, 1: something was wrong, 3: fewer were killed than was asked for. */
static int campaign(uint64_t kills, uint64_t until)
{
	uint64_t done = 0, commits = 0;
	const char *not_yet = NULL;
	int rc = 0, who;
	bool died;

	for (int i = 0; i < CHILDREN; i++)
		start(i);
	while (!rc) {
		uint64_t now = monotonic_ms();

		if (done < kills && now >= until)
			break;
		not_yet = done >= kills ? missing(false) : "a death";
		if (!not_yet || now >= until + PATIENCE_MS)
			break;
		nap(rnd(rnd(4) ? 12000 : 80000));
		who = (int)rnd(CHILDREN);
		died = disturb(who); /* who was stopped goes on: no death */
		done += died;
		if (died && done % 10 == 0)
			rc = all_go_on(who);
		rc = rc || wrong();
		if (!rc && !rnd(25))
			rc = all_at_once();
	}
	for (int i = 0; i < CHILDREN; i++)
		if (child[i])
			end(i);
	disk_free();
	rc = rc || wrong() || judge();
	for (int i = 0; i < ACTORS; i++)
		commits += shared->said[i].acked;
	missing(true);
	if (!rc && done < kills)
		rc = 3;
	if (!rc && not_yet) {
		printf("FAIL: did not happen: %s\n", not_yet);
		rc = 1;
	}
	printf("campaign: %llu of %llu deaths beside others, %llu commits acknowledged and followed: %s\n",
	       (unsigned long long)done, (unsigned long long)kills, (unsigned long long)commits,
	       rc == 3 ? "not finished: too few deaths (--seconds for more)"
	       : rc    ? "FAILED"
		       : "ok");
	return rc;
}

/* --- what was asked for --- */

struct args {
	const char *dir, *full;
	uint64_t kills, seconds, seed;
};

static int bad(const char *what, const char *arg)
{
	fprintf(stderr,
		"twzcampaign: %s: %s\n"
		"usage: twzcampaign [--kills N] [--seconds S] [--dir DIR] [--seed S] [--full MIB]\n",
		what, arg);
	return 2;
}

static int number(const char *name, const char *text, uint64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoull(text, &end, 0);
	return text[0] >= '0' && text[0] <= '9' && !*end && !errno ? 0
								   : bad("takes a number", name);
}

static int option(struct args *a, const char *name, const char *value)
{
	uint64_t mib;

	if (strcmp(name, "--kills") && strcmp(name, "--seconds") && strcmp(name, "--seed") &&
	    strcmp(name, "--dir") && strcmp(name, "--full"))
		return bad("no such option", name);
	if (!value)
		return bad("needs a value", name);
	if (!strcmp(name, "--kills"))
		return number(name, value, &a->kills);
	if (!strcmp(name, "--seconds"))
		return number(name, value, &a->seconds);
	if (!strcmp(name, "--seed"))
		return number(name, value, &a->seed);
	if (!strcmp(name, "--dir")) {
		a->dir = value;
		return 0;
	}
	a->full = value;
	return number(name, value, &mib);
}

static int parse(struct args *a, int argc, char **argv)
{
	const char *dir = getenv("TMPDIR"), *seed = getenv("SEED");
	int rc = 0;

	*a = (struct args){.dir = dir ? dir : "/dev/shm",
			   .kills = 150,
			   .seconds = 60,
			   .seed = (uint64_t)time(NULL)};
	if (seed)
		rc = number("SEED", seed, &a->seed);
	for (int i = 1; i < argc && !rc; i += 2)
		rc = option(a, argv[i], argv[i + 1]);
	return rc;
}

int main(int argc, char **argv)
{
	char lock[PATH_LEN + 8];
	struct args a;
	int rc = parse(&a, argc, argv);

	if (rc)
		return rc;
	if (a.full && disk_mount(a.dir, a.full))
		return 77; /* skipped */
	rnd_seed(a.seed * 2 + 1);
	printf("campaign SEED=%llu on %s\n", (unsigned long long)a.seed, a.dir);
	snprintf(path, sizeof(path), "%s/campaign-%d.twz", a.dir, (int)getpid());
	if (a.full)
		snprintf(hog, sizeof(hog), "%s.hog", path);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		return 2;
	rc = campaign(a.kills, monotonic_ms() + a.seconds * 1000);
	if (rc == 1) {
		printf("the store is kept: %s\n", path);
		return rc;
	}
	snprintf(lock, sizeof(lock), "%s-lock", path);
	unlink(path);
	unlink(lock);
	return rc;
}
