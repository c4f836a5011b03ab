/* SPDX-License-Identifier: MIT
 * sql_queries.c -- the paper's six queries: sort, mean, median, build an index, find, probe
 *
 * On a table of rows with a random number, each asked of both databases in turn.
 */
#include "sql.h"

#include <stdio.h>

#include "drv.h"

#define ROWS	   1000000u
#define ROUNDS_MAX 99
#define PROBES	   20000

enum { SORT, MEAN, MEDIAN, BUILD, FIND, PROBE, QUERIES };

static const struct {
	const char *name, *sql;
} queries[QUERIES] = {
	{"sort", "SELECT n FROM numbers ORDER BY n"},
	{"mean", "SELECT avg(n) FROM numbers"},
	{"median",
	 "SELECT n FROM numbers ORDER BY n LIMIT 1 OFFSET (SELECT count(*) / 2 FROM numbers)"},
	{"build index", "CREATE INDEX ix ON numbers(n)"},
	{"find", "SELECT count(*), sum(id) FROM numbers WHERE t = 'row 77777'"},
	{"probe", "SELECT count(id) FROM numbers WHERE n = ?1"},
};

/* SQLite's defaults, and ours. */
static const char *const names[2] = {"rollback", "vfs"};
static sqlite3 *db[2];
static double ms[2][QUERIES][ROUNDS_MAX];
static double answer[2];

static int fill(int side, uint32_t rows)
{
	char sql[400];

	snprintf(
		sql, sizeof(sql),
		"CREATE TABLE numbers(id INTEGER PRIMARY KEY, n INT, t TEXT); WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<%u) "
		"INSERT INTO numbers SELECT i, (i * 2654435761) %% 4294967291, 'row ' || i FROM c",
		rows);
	return sqlite3_exec(db[side], sql, NULL, NULL, NULL)
		       ? sql_failed(db[side], names[side], "load")
		       : 0;
}

/* Every row is fetched; the sum stands for the answer. */
static int ask(int side, int q, uint32_t rows)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(db[side], queries[q].sql, -1, &st, NULL);
	uint64_t times = q == PROBE ? PROBES : 1;

	answer[side] = 0;
	for (uint64_t i = 1; i <= times && !rc; i++) {
		sqlite3_bind_int64(
			st, 1, (sqlite3_int64)((i * 7919 % rows + 1) * 2654435761u % 4294967291u));
		while ((rc = sqlite3_step(st)) == SQLITE_ROW)
			answer[side] += sqlite3_column_double(st, 0);
		rc = rc == SQLITE_DONE ? 0 : rc;
		sqlite3_reset(st);
	}
	sqlite3_finalize(st);
	return rc ? sql_failed(db[side], names[side], queries[q].name) : 0;
}

static int round_of(int round, uint32_t rows, bool page)
{
	int err = 0;

	for (int q = 0; q < QUERIES && !err; q++) {
		for (int i = 0; i < 2 && !err; i++) {
			uint64_t start = sql_now(page);

			err = ask(i, q, rows);
			if (round >= 0)
				ms[i][q][round] = (double)(sql_now(page) - start) / 1e6;
		}
		if (!err && answer[0] != answer[1])
			err = drv_fail("%s: different answers", queries[q].name);
	}
	for (int i = 0; i < 2 && !err; i++)
		err = sqlite3_exec(db[i], "DROP INDEX ix", NULL, NULL, NULL)
			      ? sql_failed(db[i], names[i], "drop index")
			      : 0;
	return err;
}

static void print(int rounds, bool page)
{
	double v[ROUNDS_MAX];
	char key[64], what[96];

	for (int q = 0; q < QUERIES; q++) {
		for (int i = 0; i < 2; i++) {
			snprintf(key, sizeof(key), "query.%s.%s", queries[q].name, names[i]);
			report_series(key, queries[q].name, "ms", ms[i][q], rounds);
		}
		for (int r = 0; r < rounds; r++)
			v[r] = ms[0][q][r] / ms[1][q][r];
		snprintf(key, sizeof(key), "query.%s.vfs.against.rollback", queries[q].name);
		snprintf(what, sizeof(what), "%s: vfs (%.1f ms) against rollback", queries[q].name,
			 ms[1][q][rounds / 2]);
		report_bar(key, what, "x", v, rounds, page ? 0 : 1, true);
	}
}

int sql_queries(const struct bench_opt *opt, const char *dir)
{
	uint32_t rows = opt->records ? (uint32_t)opt->records : ROWS;
	int rounds = opt->quick && opt->rounds > 3 ? 3 : opt->rounds, err = 0;

	if (!bench_in_list(opt->peers, names[0]) || !bench_in_list(opt->peers, names[1]))
		return 0;
	report_section("The paper's six queries, %u rows", rows);
	for (int k = 0; k < SQL_KINDS; k++)
		for (int i = 0; i < 2; i++)
			if (!strcmp(sql_kinds[k].name, names[i]))
				db[i] = sql_open(&sql_kinds[k], dir, "numbers");
	for (int i = 0; i < 2 && !err; i++)
		err = db[i] ? fill(i, rows) : DRV_FAIL;
	for (int r = -1; r < rounds && !err; r++)
		err = round_of(r, rows, opt->page);
	if (!err)
		print(rounds, opt->page);
	for (int i = 0; i < 2; i++)
		sqlite3_close(db[i]);
	return err;
}
