/* SPDX-License-Identifier: MIT
 * sql_ycsb.c -- YCSB's workloads as SQL: ten columns of 100 bytes, prepared statements, autocommit
 *
 * All databases are loaded with the same rows and are given the same operations, one after the other in each
 * round. Every row read is looked at.
 */
#include "sql.h"

#include <stdio.h>
#include <stdlib.h>

#include "ycsb.h"

#define RECORDS 200000u
#define OPS	20000u
#define BATCH	1000

enum { READ, SCAN, INSERT, UPDATE, STMTS = UPDATE + FIELD_MAX };

struct side {
	const struct sql_kind *kind;
	sqlite3 *db;
	sqlite3_stmt *st[STMTS];
	double us[ROUNDS_MAX];
};

static struct {
	const struct bench_opt *opt;
	struct side side[SQL_KINDS];
	int cnt, rounds;
	uint32_t present;
	uint64_t version, seed;
} y;

/* What the paper's own SQLite gained by the VFS; and what there should be against WAL. */
static const struct {
	char letter;
	double paper, wal;
} bars[] = {{'A', 2.89, 1.3}, {'B', 1.49, 1}, {'C', 1.31, 1},
	    {'F', 2.55, 1.3}, {'D', 1.49, 1}, {'E', 1.19, 1}};

static int prepare(struct side *s)
{
	static const char *const text[] = {
		"SELECT * FROM usertable WHERE k = ?1",
		"SELECT * FROM usertable WHERE k >= ?1 ORDER BY k LIMIT ?2",
		"INSERT INTO usertable VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)"};
	char sql[96];

	for (int i = 0; i < STMTS; i++) {
		snprintf(sql, sizeof(sql), "UPDATE usertable SET f%d = ?2 WHERE k = ?1",
			 i - UPDATE);
		if (sqlite3_prepare_v2(s->db, i < UPDATE ? text[i] : sql, -1, &s->st[i], NULL))
			return sql_failed(s->db, s->kind->name, "prepare");
	}
	return 0;
}

static int insert(struct side *s, const char *key, int klen, uint32_t id)
{
	sqlite3_stmt *st = s->st[INSERT];
	struct field f[FIELD_MAX];
	int rc;

	ycsb_fields(f, key, (size_t)klen, id, 1);
	sqlite3_bind_text(st, 1, key, klen, SQLITE_STATIC);
	for (int i = 0; i < FIELD_MAX; i++)
		sqlite3_bind_blob(st, i + 2, &f[i], sizeof(f[i]), SQLITE_STATIC);
	rc = sqlite3_step(st);
	sqlite3_reset(st);
	return rc == SQLITE_DONE ? 0 : sql_failed(s->db, s->kind->name, "insert");
}

static int load(struct side *s, uint32_t records)
{
	const char *make =
		s->kind->native
			? "CREATE VIRTUAL TABLE usertable USING twz(k TEXT PRIMARY KEY,f0,f1,f2,f3,f4,f5,f6,f7,f8,f9)"
			: "CREATE TABLE usertable(k TEXT PRIMARY KEY,f0,f1,f2,f3,f4,f5,f6,f7,f8,f9)";
	char key[24];
	int err = sqlite3_exec(s->db, make, NULL, NULL, NULL)
			  ? sql_failed(s->db, s->kind->name, make)
			  : prepare(s);

	for (uint32_t i = 0; i < records && !err; i++) {
		int len = ycsb_key(key, i);

		if (i % BATCH == 0)
			sqlite3_exec(s->db, "BEGIN", NULL, NULL, NULL);
		err = insert(s, key, len, i);
		if (!err && (i % BATCH == BATCH - 1 || i == records - 1) &&
		    sqlite3_exec(s->db, "COMMIT", NULL, NULL, NULL))
			err = sql_failed(s->db, s->kind->name, "load");
	}
	return err;
}

/* --- operations --- */

static bool row_ok(sqlite3_stmt *st)
{
	const void *key = sqlite3_column_text(st, 0);
	uint64_t word = bench_key_word(key, (size_t)sqlite3_column_bytes(st, 0));
	struct field f;

	for (int i = 0; i < FIELD_MAX; i++) {
		if (sqlite3_column_bytes(st, i + 1) != (int)sizeof(f))
			return false;
		memcpy(&f, sqlite3_column_blob(st, i + 1), sizeof(f));
		if (!bench_field_ok(&f, word, (uint32_t)i))
			return false;
	}
	return true;
}

/* MIN rows at least; 0 = any number: a scan may begin behind the last key. */
static int look(struct side *s, int which, const struct ycsb_op *op, int min)
{
	sqlite3_stmt *st = s->st[which];
	int rc, n = 0;
	bool ok = true;

	sqlite3_bind_text(st, 1, op->key, op->klen, SQLITE_STATIC);
	if (which == SCAN)
		sqlite3_bind_int(st, 2, op->scan_len);
	for (; (rc = sqlite3_step(st)) == SQLITE_ROW && ok; n++)
		ok = row_ok(st);
	sqlite3_reset(st);
	if (rc != SQLITE_DONE || n < min)
		return sql_failed(s->db, s->kind->name,
				  rc == SQLITE_DONE ? "a record is missing" : "select");
	return ok ? 0 : drv_fail("%s: another value than was written", s->kind->name);
}

static int update(struct side *s, const struct ycsb_op *op)
{
	sqlite3_stmt *st = s->st[UPDATE + op->field];
	struct field f;
	int rc;

	bench_filler(&f);
	bench_field(&f, bench_key_word(op->key, op->klen), op->field, ++y.version, op->id);
	sqlite3_bind_text(st, 1, op->key, op->klen, SQLITE_STATIC);
	sqlite3_bind_blob(st, 2, &f, sizeof(f), SQLITE_STATIC);
	rc = sqlite3_step(st);
	sqlite3_reset(st);
	return rc == SQLITE_DONE && sqlite3_changes(s->db) == 1
		       ? 0
		       : sql_failed(s->db, s->kind->name, "update");
}

static int one(struct side *s, const struct ycsb_op *op)
{
	int err;

	switch (op->kind) {
	case Y_READ:
		return look(s, READ, op, 1);
	case Y_SCAN:
		return look(s, SCAN, op, 1);
	case Y_INSERT:
		return insert(s, op->key, op->klen, op->id);
	case Y_UPDATE:
		return update(s, op);
	default:
		err = look(s, READ, op, 1);
		return err ? err : update(s, op);
	}
}

static int run(struct side *s, const struct ycsb_stream *st, int round)
{
	uint64_t start = sql_now(y.opt->page);
	int err = 0;

	for (uint32_t i = 0; i < st->cnt && !err; i++)
		err = one(s, &st->ops[i]);
	if (round >= 0)
		s->us[round] = (double)(sql_now(y.opt->page) - start) / 1e3 / st->cnt;
	return err;
}

/* --- report --- */

static struct side *find(const char *name)
{
	for (int i = 0; i < y.cnt; i++)
		if (!strcmp(y.side[i].kind->name, name))
			return &y.side[i];
	return NULL;
}

static void print_bar(char letter, const char *ours, const char *theirs, double bar)
{
	const struct side *a = find(ours), *b = find(theirs);
	char key[64], what[96];
	double v[ROUNDS_MAX];

	if (!a || !b)
		return;
	for (int r = 0; r < y.rounds; r++)
		v[r] = b->us[r] / a->us[r];
	snprintf(key, sizeof(key), "ycsb.%c.%s.against.%s", letter, ours, theirs);
	snprintf(what, sizeof(what), "YCSB %c: %s against %s", letter, ours, theirs);
	report_bar(key, what, "x", v, y.rounds, y.opt->page ? 0 : bar, true);
}

static void print(int w)
{
	bool writes = bars[w].letter == 'A' || bars[w].letter == 'F';

	printf("  YCSB %c, us an operation     ", bars[w].letter);
	for (int i = 0; i < y.cnt; i++) {
		double v[ROUNDS_MAX];
		char key[64];

		memcpy(v, y.side[i].us, sizeof(v));
		printf(" %s %.2f ", y.side[i].kind->name, bench_median(v, (size_t)y.rounds));
		snprintf(key, sizeof(key), "ycsb.%c.%s", bars[w].letter, y.side[i].kind->name);
		report_series(key, "an operation", "us", y.side[i].us, y.rounds);
	}
	printf("\n");
	print_bar(bars[w].letter, "vfs", "rollback", writes ? bars[w].paper : 0);
	print_bar(bars[w].letter, "native", "rollback", bars[w].paper);
	print_bar(bars[w].letter, "vfs", "wal", bars[w].wal);
	print_bar(bars[w].letter, "native", "wal", bars[w].wal);
}

static int workload(int w)
{
	struct ycsb_props props;
	struct ycsb_stream st = {0};
	char path[600];
	uint32_t ops;
	int err;

	snprintf(path, sizeof(path), "%s/workload%c", WORKLOADS, bars[w].letter - 'A' + 'a');
	err = ycsb_props_read(path, &props);
	ops = y.opt->ops ? (uint32_t)y.opt->ops : y.opt->quick ? OPS / 4 : OPS;
	if (props.proportion[Y_SCAN] > 0)
		ops = ops / 10 + 1;
	st.ops = malloc(ops * sizeof(*st.ops));
	if (!st.ops)
		return drv_fail("no memory");
	for (int r = -1; r < y.rounds && !err; r++) {
		ycsb_generate(&props, ++y.seed, 1, ops, &y.present, &st);
		for (int i = 0; i < y.cnt && !err; i++)
			err = run(&y.side[i], &st, r);
	}
	free(st.ops);
	if (!err)
		print(w);
	return err;
}

static int verify(struct side *s)
{
	sqlite3_stmt *st = NULL;
	uint32_t n = 0;
	int rc;

	if (sqlite3_prepare_v2(s->db, "SELECT * FROM usertable", -1, &st, NULL))
		return sql_failed(s->db, s->kind->name, "verify");
	while ((rc = sqlite3_step(st)) == SQLITE_ROW && row_ok(st))
		n++;
	sqlite3_finalize(st);
	return rc == SQLITE_DONE && n == y.present
		       ? 0
		       : drv_fail("%s: verification of YCSB's table failed", s->kind->name);
}

int sql_ycsb(const struct bench_opt *opt, const char *dir)
{
	uint32_t records = opt->records ? (uint32_t)opt->records
			   : opt->quick ? RECORDS / 2
					: RECORDS;
	int err = 0;

	y.opt = opt;
	y.rounds = opt->rounds;
	y.present = records;
	report_section("YCSB, %u records of ten fields of 100 bytes, one thread", records);
	for (int i = 0; i < SQL_KINDS && !err; i++) {
		struct side *s = &y.side[y.cnt];

		if (sql_kinds[i].memory || !bench_in_list(opt->peers, sql_kinds[i].name))
			continue;
		s->kind = &sql_kinds[i];
		s->db = sql_open(s->kind, dir, "ycsb");
		y.cnt++;
		err = s->db ? load(s, records) : DRV_FAIL;
	}
	for (int w = 0; w < (int)(sizeof(bars) / sizeof(bars[0])) && !err; w++) {
		char name[2] = {(char)(bars[w].letter - 'A' + 'a'), 0};

		err = bench_in_list(opt->workloads, name) ? workload(w) : 0;
	}
	for (int i = 0; i < y.cnt; i++) {
		err = err ? err : verify(&y.side[i]);
		for (int k = 0; k < STMTS; k++)
			sqlite3_finalize(y.side[i].st[k]);
		sqlite3_close(y.side[i].db);
	}
	return err;
}
