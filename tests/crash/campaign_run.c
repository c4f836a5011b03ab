/* SPDX-License-Identifier: MIT
 * campaign_run.c -- `twzcrash campaign`, and a turn of it as a job of `long`
 */
#include "campaign_run.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOT_FINISHED                                                                               \
	3 /* fewer were killed than was asked for, in the time there was: the machine had little */

const struct crash_workload campaign_job = {.name = "campaign",
					    .what = "real processes, killed (twzcampaign)"};

/* --- the program beside this one --- */

static bool beside(char path[PATH_MAX])
{
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
	char *slash;

	path[n > 0 ? n : 0] = 0;
	slash = strrchr(path, '/');
	if (!slash || slash - path + sizeof("/twzcampaign") > PATH_MAX)
		return false;
	strcpy(slash, "/twzcampaign");
	return true;
}

int campaign_exec(const char *const *argv)
{
	char path[PATH_MAX];

	if (beside(path))
		execv(path, (char *const *)(uintptr_t)argv);
	fprintf(stderr, "twzcrash: %s: cannot be started: %s\n", path, strerror(errno));
	return 2;
}

/* --- a job --- */

/* It ends with us, and not by Ctrl-C, after which running jobs come to their end. */
static void child(const struct crash_options *opt, char *dir, int out, pid_t parent)
{
	char kills[24], seed[24];
	const char *argv[] = {"campaign", "--kills", kills,   "--seconds", kills,
			      "--seed",	  seed,	     "--dir", dir,	   NULL};

	snprintf(kills, sizeof(kills), "%llu", (unsigned long long)opt->limit);
	snprintf(seed, sizeof(seed), "%llu", (unsigned long long)opt->seed % 1000000000);
	signal(SIGINT, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent || dup2(out, STDOUT_FILENO) < 0 || dup2(out, STDERR_FILENO) < 0)
		_exit(2);
	unsetenv("SEED");
	if (opt->media == SIM_MEDIA_LINE)
		setenv("PMEM2_FORCE_GRANULARITY", "CACHE_LINE", 1);
	else
		unsetenv("PMEM2_FORCE_GRANULARITY");
	_exit(campaign_exec(argv));
}

/* What it says, of which the end counts. */
static void hear(int fd, char *text, size_t size)
{
	size_t len = 0;
	ssize_t n;

	while ((n = read(fd, text + len, size - 1 - len)) > 0 || (n < 0 && errno == EINTR)) {
		len += n > 0 ? (size_t)n : 0;
		if (len == size - 1) {
			memmove(text, text + size / 2, len - size / 2);
			len -= size / 2;
		}
	}
	text[len] = 0;
}

/* Its store lies in memory, and what lies there is swept away. */
static void keep(const struct crash_options *opt, char *said)
{
	static const char where[] = "the store is kept: ";
	char *from = strstr(said, where), to[PATH_MAX];
	int in, out;

	if (!from)
		return;
	from += sizeof(where) - 1;
	from[strcspn(from, "\n")] = 0;
	snprintf(to, sizeof(to), "%s/%s", opt->keep_dir, strrchr(from, '/') + 1);
	in = open(from, O_RDONLY | O_CLOEXEC);
	out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	while (in >= 0 && out >= 0 && sendfile(out, in, NULL, (size_t)1 << 30) > 0)
		;
	close(in);
	if (out < 0 || close(out))
		printf("  its store could not be kept as %s\n", to);
	else
		printf("  its store is kept: %s\n", to);
}

static void judge(const struct crash_options *opt, struct crash_result *res, char *said, int status)
{
	const char *deaths = strstr(said, " deaths beside others"), *line = deaths;
	const char *media = opt->media == SIM_MEDIA_LINE ? "line" : "page";

	while (line && line > said && line[-1] != '\n')
		line--;
	if (line && sscanf(line, "campaign: %llu", (unsigned long long *)&res->really) != 1)
		line = NULL;
	if (line && WIFEXITED(status) &&
	    (!WEXITSTATUS(status) || WEXITSTATUS(status) == NOT_FINISHED)) {
		printf("ok   campaign --media %s: %llu processes killed\n", media,
		       (unsigned long long)res->really);
		return;
	}
	res->failed = WIFEXITED(status) && WEXITSTATUS(status) == 1 ? 1 : -1;
	snprintf(res->why, sizeof(res->why), "twzcampaign ended with %s %d",
		 WIFSIGNALED(status) ? "signal" : "status",
		 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	printf("FAIL campaign --media %s: %s\n%s\n", media, res->why, said);
	keep(opt, said);
}

int campaign_run(const struct crash_workload *w, const struct crash_options *opt,
		 struct crash_result *res)
{
	static char said[1 << 16];
	pid_t parent = getpid(), pid;
	char dir[PATH_MAX];
	int p[2], status = -1;

	(void)w;
	snprintf(dir, sizeof(dir), "%s",
		 crash_dir()); /* of this process: the child would make another */
	if (pipe2(p, O_CLOEXEC)) {
		res->failed = -1;
		return 1;
	}
	fflush(NULL);
	pid = fork();
	if (!pid)
		child(opt, dir, p[1], parent);
	close(p[1]);
	hear(p[0], said, sizeof(said));
	close(p[0]);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	judge(opt, res, said, status);
	return res->failed != 0;
}
