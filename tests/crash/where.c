/* SPDX-License-Identifier: MIT
 * where.c -- code addresses as source lines, by addr2line
 */
#include "enum.h"

#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern const char __executable_start[];
extern const char etext[];

struct known {
	uint64_t pc;
	char text[160];
};

/* addr2line, asked through pipes: starting it costs as much as a hundred answers. */
struct answerer {
	pid_t owner;
	FILE *to, *from;
};

static bool answerer_start(struct answerer *w)
{
	int to[2], from[2];
	char exe[128];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	pid_t pid;

	if (n <= 0 || pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
		return false;
	exe[n] = 0;
	w->owner = getpid();
	pid = fork();
	if (pid == 0) {
		if (fork()) /* nobody's child: whoever waits for any child is not to get this one */
			_exit(0);
		dup2(to[0], 0);
		dup2(from[1], 1);
		execlp("addr2line", "addr2line", "-f", "-e", exe, (char *)NULL);
		_exit(127);
	}
	close(to[0]);
	close(from[1]);
	w->to = fdopen(to[1], "w");
	w->from = fdopen(from[0], "r");
	if (pid > 0)
		waitpid(pid, NULL, 0);
	return pid > 0 && w->to && w->from;
}

/* A child of fork has its own; what it inherited it closes, so that the parent's can end. */
static struct answerer *answerer(void)
{
	static struct answerer w;

	if (w.owner == getpid())
		return &w;
	if (w.to)
		fclose(w.to);
	if (w.from)
		fclose(w.from);
	w = (struct answerer){0};
	signal(SIGPIPE, SIG_IGN);
	return answerer_start(&w) ? &w : NULL;
}

/* "function (file:line)" of PC; asks once per address. */
const char *crash_where(uint64_t pc)
{
	static struct known cache[4096];
	struct known *k = &cache[pc / 4 % 4096];
	char fn[80] = "?", at[256] = "?";
	struct answerer *w;

	if (k->pc == pc && k->text[0])
		return k->text;
	k->pc = pc;
	snprintf(k->text, sizeof(k->text), "%s", pc ? "outside the program" : "unknown");
	if (pc < (uint64_t)(uintptr_t)__executable_start || pc > (uint64_t)(uintptr_t)etext)
		return k->text;
	w = answerer();
	if (!w)
		return k->text;
	fprintf(w->to, "%#llx\n",
		(unsigned long long)(pc - 1 - (uint64_t)(uintptr_t)__executable_start));
	fflush(w->to);
	if (fgets(fn, sizeof(fn), w->from) && fgets(at, sizeof(at), w->from)) {
		fn[strcspn(fn, "\n")] = 0;
		at[strcspn(at, " \n")] = 0;
		snprintf(k->text, sizeof(k->text), "%s (%s)", fn, basename(at));
	}
	return k->text;
}

static bool wrapper(const char *text)
{
	static const char *const skip[] = {"twz_flush",	    "twz_fence",   "twz_persist",
					   "twz_publish64", "twz_copy_nt", "twz_sync",
					   "sim_"};

	for (size_t i = 0; i < sizeof(skip) / sizeof(skip[0]); i++)
		if (!strncmp(text, skip[i], strlen(skip[i])))
			return true;
	return false;
}

void crash_chain(const struct sim_ev *ev, char *buf, size_t len)
{
	int at = 0;

	buf[0] = 0;
	for (int i = 0; i < 5 && ev->pc[i] && at >= 0 && (size_t)at < len; i++) {
		const char *text = crash_where(ev->pc[i]);

		if (at == 0 && wrapper(text))
			continue;
		at += snprintf(buf + at, len - (size_t)at, "%s%s", at ? " < " : "", text);
	}
}

unsigned int crash_depth(const struct sim_ev *ev, unsigned int callers)
{
	unsigned int cnt = 0, i;

	for (i = 0; i < 5 && ev->pc[i] && cnt < callers; i++)
		cnt += cnt || !wrapper(crash_where(ev->pc[i]));
	return i;
}
