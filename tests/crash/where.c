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
	char text[420];
};

bool crash_where_paths;

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
		execlp("addr2line", "addr2line", "-i", "-f", "-e", exe, (char *)NULL);
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

/* Frames that only pass a call on: whoever calls them says more than they do. sites.py knows them, too. */
static bool wrapper(const char *text)
{
	static const char *const skip[] = {
		"twz_flush", "twz_flush_each", "twz_fence", "twz_persist", "twz_publish64",
		"twz_copy_nt", "twz_sync", "twz_sync_all", "twz__copy_lines", "twz__fence_lines",
		/* the store's operations for twz/core (core_ops.c) */
		"line_flush", "line_fence", "line_log_write", "page_log_write", "op_zero",
		/* homes of a record (homes.c) */
		"flush_at", "flush_live", "flush_rec", "twzdb__log_flush", "twzdb__log_flush_own"};
	size_t len = strcspn(text, " ");

	for (size_t i = 0; i < sizeof(skip) / sizeof(skip[0]); i++)
		if (len == strlen(skip[i]) && !strncmp(text, skip[i], len))
			return true;
	return !strncmp(text, "sim_", 4);
}

/*
 * One function and its place after another, as they are inlined in each other, up to the answer to an address that is nowhere. The
 * innermost that is no wrapper counts; if all are, the outermost.
 */
static void answer_read(FILE *from, char *text, size_t size)
{
	char fn[100], at[300];
	bool told = false;

	for (int i = 0; fgets(fn, sizeof(fn), from) && fgets(at, sizeof(at), from); i++) {
		fn[strcspn(fn, "\n")] = 0;
		at[strcspn(at, " \n")] = 0;
		if (i && !strcmp(fn, "??"))
			return;
		if (!told)
			snprintf(text, size, "%s (%s)", fn, crash_where_paths ? at : basename(at));
		told = told || !wrapper(text);
	}
}

/* "function (file:line)" of PC; asks once per address. */
const char *crash_where(uint64_t pc)
{
	static struct known cache[4096];
	struct known *k = &cache[pc / 4 % 4096];
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
	fprintf(w->to, "%#llx\n0\n",
		(unsigned long long)(pc - 1 - (uint64_t)(uintptr_t)__executable_start));
	fflush(w->to);
	answer_read(w->from, k->text, sizeof(k->text));
	return k->text;
}

void crash_chain(const struct sim_ev *ev, char *buf, size_t len)
{
	int at = 0;

	buf[0] = 0;
	for (int i = 0; i < SIM_PC_CNT - 1 && ev->pc[i] && at >= 0 && (size_t)at < len; i++) {
		const char *text = crash_where(ev->pc[i]);

		if (wrapper(text))
			continue;
		at += snprintf(buf + at, len - (size_t)at, "%s%s", at ? " < " : "", text);
	}
}

unsigned int crash_depth(const struct sim_ev *ev, unsigned int callers)
{
	unsigned int cnt = 0, i;

	for (i = 0; i < SIM_PC_CNT - 1 && ev->pc[i] && cnt < callers; i++)
		cnt += !wrapper(crash_where(ev->pc[i]));
	return i;
}
