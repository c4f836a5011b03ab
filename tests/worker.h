/* SPDX-License-Identifier: MIT
 * worker.h -- processes of a test that are killed, stopped, or killed after so many instructions
 */
#ifndef TWZ_TEST_WORKER_H
#define TWZ_TEST_WORKER_H

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "t.h"

/* A child that counts what it has been told is done, and reports each count. */
struct worker {
	pid_t pid;
	int fd;		/* its reports */
	uint64_t acked; /* highest count reported */
};

static inline void worker_fork(struct worker *w, int report[2])
{
	if (pipe(report))
		exit(99);
	fcntl(report[0], F_SETFL, O_NONBLOCK);
	fflush(NULL);
	w->fd = report[0];
	w->pid = fork();
	if (w->pid < 0)
		exit(99);
	close(report[w->pid ? 1 : 0]);
}

/* WORK(I, FD, SEED) writes counts to FD, and returns only when something is wrong (to be the exit status). */
static inline void worker_start(struct worker *w, unsigned int i,
				int (*work)(unsigned int i, int fd, uint64_t seed))
{
	uint64_t seed = t_rand();
	int p[2];

	worker_fork(w, p);
	if (!w->pid)
		_exit(work(i, p[1], seed));
}

static inline void worker_drain(struct worker *w)
{
	uint64_t n;

	while (read(w->fd, &n, sizeof(n)) == (ssize_t)sizeof(n))
		w->acked = n;
}

static inline void worker_kill(struct worker *w)
{
	int status = 0;

	kill(w->pid, SIGKILL);
	waitpid(w->pid, &status, 0);
	T_TRUE(WIFSIGNALED(status)); /* else it found something wrong and said so */
	worker_drain(w);
	close(w->fd);
}

/* --- killed at any instruction --- */

/* The child may be stepped through from here on: false if ptrace is not allowed here. */
static inline bool worker_traced(void)
{
	return !ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

/* Of this process and PID, which take turns: on one processor neither has to be woken on another one for each instruction. */
static inline void worker_beside(pid_t pid, cpu_set_t *before)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	if (!sched_getaffinity(0, sizeof(*before), before) &&
	    !sched_setaffinity(pid, sizeof(one), &one))
		sched_setaffinity(0, sizeof(one), &one);
}

/* Runs the child for STEPS instructions behind its first stop; returns how many it did before its second one. */
static inline uint64_t worker_step(pid_t pid, uint64_t steps)
{
	cpu_set_t before;
	uint64_t n;
	int status;

	waitpid(pid, &status, 0);
	if (!WIFSTOPPED(status))
		return 0;
	worker_beside(pid, &before);
	for (n = 0; n < steps; n++) {
		if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) || waitpid(pid, &status, 0) != pid ||
		    !WIFSTOPPED(status) || WSTOPSIG(status) == SIGSTOP)
			break;
	}
	sched_setaffinity(0, sizeof(before), &before);
	return n;
}

/*
 * WORK(FD) calls worker_traced(), and raises SIGSTOP before and behind what it is to be killed in; it is killed STEPS
 * instructions after the first. Returns how many it did.
 */
static inline uint64_t worker_kill_after(struct worker *w, int (*work)(int fd), uint64_t steps)
{
	uint64_t done;
	int p[2], status;

	t_rand(); /* the next child does something else */
	worker_fork(w, p);
	if (!w->pid)
		_exit(work(p[1]));
	done = worker_step(w->pid, steps);
	kill(w->pid, SIGKILL);
	while (waitpid(w->pid, &status, 0) == w->pid && !WIFSIGNALED(status) && !WIFEXITED(status))
		;
	worker_drain(w);
	close(w->fd);
	return done;
}

/* --- stopped --- */

/* Until the child has stopped itself. */
static inline void stopped_wait(pid_t pid)
{
	int status;

	T_EQ(waitpid(pid, &status, WUNTRACED), pid);
	T_TRUE(WIFSTOPPED(status));
}

/* It goes on, and comes to its end without having found anything wrong. */
static inline void stopped_goes_on(pid_t pid)
{
	int status;

	kill(pid, SIGCONT);
	T_EQ(waitpid(pid, &status, 0), pid);
	T_TRUE(WIFEXITED(status) && !WEXITSTATUS(status));
}

/* --- time and rounds --- */

static inline void nap_us(uint64_t us)
{
	struct timespec ts = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};

	nanosleep(&ts, NULL);
}

/* KILL_ROUNDS=500 for a long run. */
static inline int kill_rounds(int usual)
{
	const char *more = getenv("KILL_ROUNDS");

	return more ? atoi(more) : usual;
}

#endif
