/* SPDX-License-Identifier: MIT
 * demo_crash.c -- a process that is killed in the middle of a transaction
 *
 *	demo                                  victim (this program again: fork and exec)
 *	  pipe, fork, exec ──────────────────>  opens the store
 *	  reads lines   <── "committed 1" ────  INSERT (a transaction of its own) ... DEMO_COMMITS times
 *	                                        BEGIN; INSERT ...; UPDATE ...
 *	                <── "open 4000 350" ──  kill(getpid(), SIGKILL): no handler, no cleanup, no warning
 *	  waitpid: killed by signal 9
 *
 * The page cache of the victim is made so small that SQLite hands changed pages to the store
 * long before a commit.
 */
#include "demo.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int victim_exec(sqlite3 *db, const char *sql)
{
	int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);

	if (rc != SQLITE_OK)
		fprintf(stderr, "twzdb: victim: %s: %s\n", sql, sqlite3_errmsg(db));
	return rc;
}

static int victim_insert(sqlite3 *db, const char *state, int i)
{
	char *sql = sqlite3_mprintf(
		"INSERT INTO ledger(pid, state, n, filler) VALUES(%d, %Q, %d, hex(randomblob(100)))",
		(int)getpid(), state, i);
	int rc = victim_exec(db, sql);

	sqlite3_free(sql);
	return rc;
}

/* A row is reported only when its COMMIT has returned. */
static int victim_commits(sqlite3 *db)
{
	for (int i = 1; i <= DEMO_COMMITS; i++) {
		if (victim_insert(db, "committed", i))
			return 1;
		printf("committed %d\n", i);
		fflush(stdout);
	}
	return 0;
}

/* Changed pages that left SQLite's cache for the store so far. */
static int spilled(sqlite3 *db)
{
	int now = 0, high;

	sqlite3_db_status(db, SQLITE_DBSTATUS_CACHE_SPILL, &now, &high, 0);
	return now;
}

static int victim_transaction(sqlite3 *db)
{
	if (victim_exec(db, "PRAGMA cache_size = 20") || victim_exec(db, "BEGIN") ||
	    victim_exec(db, "UPDATE packages SET version = '" DEMO_MARK "'"))
		return 1;
	for (int i = 1; i <= DEMO_OPEN_ROWS; i++) {
		if (victim_insert(db, "uncommitted", i))
			return 1;
		if (i == DEMO_KILL_AT) {
			printf("open %d %d\n", i, spilled(db));
			fflush(stdout);
			kill(getpid(), SIGKILL);
		}
	}
	return victim_exec(db, "COMMIT");
}

int demo_victim(const char *store)
{
	sqlite3 *db;
	char *err;

	if (store_connect(store, false, false, &db, &err)) {
		fprintf(stderr, "twzdb: victim: %s\n", err);
		free(err);
		return EXIT_OPEN;
	}
	if (!victim_commits(db))
		victim_transaction(db);
	/*
	 * Only reached if something above failed: the parent counts that as a failure of the demo.
	 */
	sqlite3_close_v2(db);
	return EXIT_SQL;
}

static int start_victim(struct demo *d, pid_t *pid, FILE **from)
{
	int fd[2];

	fflush(NULL);
	if (pipe2(fd, O_CLOEXEC) != 0)
		return shell_error(d->sh, "cannot make a pipe (%s)", strerror(errno));
	*pid = fork();
	if (*pid == 0) {
		dup2(fd[1], STDOUT_FILENO);
		execl("/proc/self/exe", "twzdb", DEMO_VICTIM, d->store, (char *)NULL);
		_exit(127);
	}
	close(fd[1]);
	*from = fdopen(fd[0], "r");
	if (*pid < 0 || !*from)
		return shell_error(d->sh, "cannot start a process (%s)", strerror(errno));
	return 0;
}

int demo_crash(struct demo *d, uint64_t *committed, uint64_t *uncommitted)
{
	unsigned long n, pages = 0;
	FILE *from = NULL;
	char line[64];
	pid_t pid = -1;
	int status;

	*committed = *uncommitted = 0;
	if (start_victim(d, &pid, &from))
		return 1;
	while (fgets(line, sizeof(line), from)) {
		if (sscanf(line, "committed %lu", &n) == 1)
			*committed = n;
		if (sscanf(line, "open %lu %lu", &n, &pages) == 2)
			*uncommitted = n;
	}
	fclose(from);
	waitpid(pid, &status, 0);
	printf("  process %d committed %" PRIu64
	       " rows, one by one; then began a transaction, changed every row of\n"
	       "  packages, inserted %" PRIu64
	       " rows (%lu changed pages had gone to the store) ... and was killed.\n",
	       (int)pid, *committed, *uncommitted, pages);
	demo_check(d, WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
		   "it died by SIGKILL with the transaction open");
	return *uncommitted == 0;
}
