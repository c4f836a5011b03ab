/* SPDX-License-Identifier: MIT
 * listen.c -- a queue between two processes: who takes jobs out sleeps until there are some (libtwzdb)
 *
 *	listen STORE
 */
#define _DEFAULT_SOURCE
#include <err.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <twzdb.h>
#include <twzdb_key.h>

static void ok(int rc)
{
	if (rc)
		errx(1, "%s: %s", twzdb_err_name(rc), twzdb_errmsg());
}

static struct twzdb *open_store(const char *path, struct twzdb_table *jobs)
{
	struct twzdb_options opt = {.size = sizeof(opt), .flags = TWZDB_CREATE};
	struct twzdb_txn *tx;
	struct twzdb *db;

	ok(twzdb_open(path, &opt, &db));
	ok(twzdb_begin(db, 0, &tx));
	ok(twzdb_table_open(tx, "jobs", TWZDB_TABLE_CREATE, jobs));
	ok(twzdb_commit(tx));
	return db;
}

static void put(struct twzdb *db, struct twzdb_table jobs, uint8_t number, const char *what)
{
	struct twzdb_slice key = {&number, 1}, value = {what, strlen(what)};

	ok(twzdb_put_one(db, jobs, key, value, TWZDB_INSERT));
}

/* The first job there is, taken out; its text is printed. 0: there is none. */
static int take(struct twzdb *db, struct twzdb_table jobs)
{
	struct twzdb_slice key, what;
	struct twzdb_cursor *c;
	struct twzdb_txn *tx;
	int rc, number = 0;

	ok(twzdb_begin(db, 0, &tx));
	ok(twzdb_cursor_open(tx, jobs, &c));
	rc = twzdb_cursor_get(c, TWZDB_FIRST, &key, &what);
	if (!rc) {
		number = *(const uint8_t *)key.ptr;
		printf("job %d: %.*s\n", number, (int)what.len, (const char *)what.ptr);
		ok(twzdb_cursor_del(c));
	} else if (rc != TWZDB_E_NOTFOUND) {
		ok(rc);
	}
	twzdb_cursor_close(c);
	ok(twzdb_commit(tx));
	return number;
}

static int work(const char *path, int count)
{
	struct twzdb_listener *l;
	struct twzdb_table jobs;
	struct twzdb *db = open_store(path, &jobs);

	ok(twzdb_listener_open(db, &jobs, &l)); /* before the first look */
	while (count) {
		if (take(db, jobs))
			count--;
		else
			ok(twzdb_listener_wait(l, 10000, NULL));
	}
	twzdb_listener_close(l);
	ok(twzdb_close(db));
	return 0;
}

int main(int argc, char **argv)
{
	static const char *const todo[] = {"sweep", "dust", "wash"};
	struct twzdb_table jobs;
	struct twzdb *db;
	int status = 1;
	pid_t child;

	if (argc != 2)
		errx(2, "usage: listen STORE");
	child = fork();
	if (!child)
		return work(argv[1], 3);
	db = open_store(argv[1], &jobs);
	for (uint8_t i = 0; i < 3; i++) {
		put(db, jobs, i + 1, todo[i]);
		usleep(50000);
	}
	if (waitpid(child, &status, 0) != child || status)
		errx(1, "the worker failed");
	puts("done");
	ok(twzdb_close(db));
	return 0;
}
