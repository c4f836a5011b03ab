/* SPDX-License-Identifier: MIT
 * sql.c -- twzbench sql: the same statements on SQLite's own files, in memory, on our VFS, and on native tables
 *
 * One connection, prepared statements, autocommit; a table of a text key and 100 bytes. The same keys go
 * to every peer, slice by slice, and every answer is checked.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "drv.h"
#include "keys.h"
#include "sql.h"

#define RECORDS	   1000000u
#define ROUNDS_MAX 99
#define BATCH	   10000
#define STREAM	   (1u << 16)

enum op { OP_SELECT, OP_UPDATE };
enum dist { UNIFORM, ZIPF };

const struct sql_kind sql_kinds[SQL_KINDS] = {
	{"rollback", "SQLite, its defaults", NULL, false, false},
	{"wal", "SQLite, journal_mode=WAL", NULL, false, false},
	{"memory", "SQLite, :memory:", NULL, false, true},
	{"vfs", "SQLite on the VFS twz, defaults", "twz", false, false},
	{"native", "native table on the VFS twz", "twz", true, false},
};

static const struct row {
	const char *key, *what;
	enum op op;
	enum dist dist;
} rows[] = {
	{"select.uniform", "SELECT by key, uniform", OP_SELECT, UNIFORM},
	{"select.zipf", "SELECT by key, zipfian", OP_SELECT, ZIPF},
	{"update.uniform", "UPDATE by key, uniform", OP_UPDATE, UNIFORM},
	{"update.zipf", "UPDATE by key, zipfian", OP_UPDATE, ZIPF},
};
#define ROWS ((int)(sizeof(rows) / sizeof(rows[0])))

/* What our peers should reach against another one, statements a second. */
static const struct bar {
	const char *ours, *theirs;
	enum op op;
	double line, page; /* by medium; 0: none */
} bars[] = {
	{"vfs", "rollback", OP_UPDATE, 4, 4},	 {"vfs", "rollback", OP_SELECT, 3, 0},
	{"vfs", "wal", OP_UPDATE, 2, 1},	 {"vfs", "wal", OP_SELECT, 1.4, 0},
	{"vfs", "memory", OP_UPDATE, 0.75, 0},	 {"vfs", "memory", OP_SELECT, 0.95, 0},
	{"native", "wal", OP_UPDATE, 3.5, 0},	 {"native", "wal", OP_SELECT, 2, 0},
	{"native", "rollback", OP_UPDATE, 0, 0}, {"native", "rollback", OP_SELECT, 0, 0},
	{"native", "memory", OP_UPDATE, 0, 0},	 {"native", "memory", OP_SELECT, 0, 0},
};
#define BARS ((int)(sizeof(bars) / sizeof(bars[0])))

struct peer {
	const struct sql_kind *kind;
	sqlite3 *db;
	sqlite3_stmt *st[2];
	uint32_t *version;
	char settings[256];
	double us[sizeof(rows) / sizeof(rows[0])][ROUNDS_MAX];
};

static struct sql {
	const struct bench_opt *opt;
	char dir[300];
	uint32_t records, *sorted;
	uint32_t ids[2][STREAM];
	struct zipf zipf;
	uint64_t slice_ns;
	int rounds;
	struct peer peer[SQL_KINDS];
	int cnt;
} s;

int sql_failed(sqlite3 *db, const char *who, const char *what)
{
	return drv_fail("%s: %s: %s", who, what, sqlite3_errmsg(db));
}

static int failed(struct peer *p, const char *what)
{
	return sql_failed(p->db, p->kind->name, what);
}

uint64_t sql_now(bool page)
{
	struct timespec ts;

	/* Behind a page cache the time is the device's, not the processor's. */
	clock_gettime(page ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t now(void)
{
	return sql_now(s.opt->page);
}

sqlite3 *sql_open(const struct sql_kind *k, const char *dir, const char *file)
{
	char path[400];
	sqlite3 *db = NULL;

	snprintf(path, sizeof(path), "%s/%s.%s", dir, file, k->name);
	if (sqlite3_open_v2(k->memory ? ":memory:" : path, &db,
			    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, k->vfs) ||
	    (!strcmp(k->name, "wal") &&
	     sqlite3_exec(db, "PRAGMA journal_mode=WAL", NULL, NULL, NULL)) ||
	    sqlite3_exec(db, "PRAGMA synchronous=FULL", NULL, NULL, NULL)) {
		sql_failed(db, k->name, path);
		sqlite3_close(db);
		return NULL;
	}
	return db;
}

/* --- peers --- */

static int exec(struct peer *p, const char *sql)
{
	return sqlite3_exec(p->db, sql, NULL, NULL, NULL) ? failed(p, sql) : 0;
}

static void describe(struct peer *p)
{
	static const char *const pragma[] = {"journal_mode", "synchronous", "page_size",
					     "cache_size", "mmap_size"};
	size_t n = 0;

	for (size_t i = 0; i < sizeof(pragma) / sizeof(pragma[0]); i++) {
		sqlite3_stmt *st = NULL;
		char sql[64];

		snprintf(sql, sizeof(sql), "PRAGMA %s", pragma[i]);
		if (sqlite3_prepare_v2(p->db, sql, -1, &st, NULL) == SQLITE_OK &&
		    sqlite3_step(st) == SQLITE_ROW)
			n += (size_t)snprintf(p->settings + n, sizeof(p->settings) - n, "%s%s=%s",
					      n ? " " : "", pragma[i],
					      (const char *)sqlite3_column_text(st, 0));
		sqlite3_finalize(st);
	}
}

static int make_table(struct peer *p)
{
	if (p->kind->native)
		return exec(p, "CREATE VIRTUAL TABLE kv USING twz(k TEXT PRIMARY KEY, v BLOB)");
	/* The quicker of SQLite's two kinds for such a table. */
	return exec(p, "CREATE TABLE kv(k TEXT PRIMARY KEY, v BLOB) WITHOUT ROWID");
}

static int open_peer(struct peer *p)
{
	int err;

	p->db = sql_open(p->kind, s.dir, "kv");
	if (!p->db)
		return DRV_FAIL;
	err = make_table(p);
	if (err ||
	    sqlite3_prepare_v2(p->db, "SELECT v FROM kv WHERE k = ?1", -1, &p->st[OP_SELECT],
			       NULL) ||
	    sqlite3_prepare_v2(p->db, "UPDATE kv SET v = ?2 WHERE k = ?1", -1, &p->st[OP_UPDATE],
			       NULL))
		return failed(p, "prepare");
	describe(p);
	return 0;
}

static void close_peer(struct peer *p)
{
	sqlite3_finalize(p->st[OP_SELECT]);
	sqlite3_finalize(p->st[OP_UPDATE]);
	sqlite3_close(p->db);
	free(p->version);
}

static void make_row(uint32_t id, uint32_t version, char key[KEY_LEN + 1], struct field *f)
{
	key_make(key, key_hash(id));
	key[KEY_LEN] = 0;
	bench_filler(f);
	bench_field(f, bench_key_word(key, KEY_LEN), 0, version, id);
}

static int load(struct peer *p)
{
	sqlite3_stmt *st = NULL;
	char key[KEY_LEN + 1];
	struct field f;
	int err = 0;

	if (sqlite3_prepare_v2(p->db, "INSERT INTO kv(k, v) VALUES(?, ?)", -1, &st, NULL))
		return failed(p, "prepare");
	for (uint32_t i = 0; i < s.records && !err; i++) {
		if (i % BATCH == 0)
			err = exec(p, "BEGIN");
		make_row(s.sorted[i], 1, key, &f);
		p->version[s.sorted[i]] = 1;
		sqlite3_bind_text(st, 1, key, KEY_LEN, SQLITE_STATIC);
		sqlite3_bind_blob(st, 2, &f, sizeof(f), SQLITE_STATIC);
		if (sqlite3_step(st) != SQLITE_DONE)
			err = failed(p, "load");
		sqlite3_reset(st);
		if (!err && (i % BATCH == BATCH - 1 || i == s.records - 1))
			err = exec(p, "COMMIT");
	}
	sqlite3_finalize(st);
	return err;
}

/* --- operations --- */

static int wrong(struct peer *p, uint32_t id, const char *why)
{
	return drv_fail("%s: record %u: %s", p->kind->name, id, why);
}

static int check_value(struct peer *p, uint32_t id, const void *v, int len)
{
	struct field f;

	if (len != (int)sizeof(f) || !v)
		return wrong(p, id, "a value of another length");
	memcpy(&f, v, sizeof(f));
	if (f.id != id || f.version != p->version[id])
		return wrong(p, id, "another value than was written last");
	return 0;
}

static int do_select(struct peer *p, uint32_t id, const char *key)
{
	sqlite3_stmt *st = p->st[OP_SELECT];
	int err = 0;

	sqlite3_bind_text(st, 1, key, KEY_LEN, SQLITE_STATIC);
	if (sqlite3_step(st) != SQLITE_ROW)
		err = wrong(p, id, "not found");
	else
		err = check_value(p, id, sqlite3_column_blob(st, 0), sqlite3_column_bytes(st, 0));
	sqlite3_reset(st);
	return err;
}

static int do_update(struct peer *p, uint32_t id, const char *key, struct field *f)
{
	sqlite3_stmt *st = p->st[OP_UPDATE];
	int err = 0;

	bench_field(f, bench_key_word(key, KEY_LEN), 0, ++p->version[id], id);
	sqlite3_bind_text(st, 1, key, KEY_LEN, SQLITE_STATIC);
	sqlite3_bind_blob(st, 2, f, sizeof(*f), SQLITE_STATIC);
	if (sqlite3_step(st) != SQLITE_DONE || sqlite3_changes(p->db) != 1)
		err = failed(p, "update");
	sqlite3_reset(st);
	return err;
}

/* Microseconds a statement; < 0: failed. */
static double slice(struct peer *p, const struct row *row)
{
	const uint32_t *ids = s.ids[row->dist];
	uint64_t start = now(), end = start, n = 0;
	char key[KEY_LEN + 1];
	struct field f;
	int err = 0;

	bench_filler(&f);
	while (!err && end - start < s.slice_ns) {
		for (int i = 0; i < 64 && !err; i++, n++) {
			uint32_t id = ids[n % STREAM];

			key_make(key, key_hash(id));
			err = row->op == OP_SELECT ? do_select(p, id, key)
						   : do_update(p, id, key, &f);
		}
		end = now();
	}
	return err ? -1 : (double)(end - start) / 1e3 / (double)n;
}

static void new_round(int round)
{
	struct rng r = {(uint64_t)(round + 2) * 1000003u};

	for (uint32_t i = 0; i < STREAM; i++) {
		s.ids[UNIFORM][i] = (uint32_t)rng_below(&r, s.records);
		s.ids[ZIPF][i] = (uint32_t)(fnv64(zipf_next(&s.zipf, &r)) % s.records);
	}
}

static int measure(void)
{
	for (int r = -1; r < s.rounds; r++) { /* the first one warms up */
		new_round(r);
		for (int i = 0; i < ROWS; i++)
			for (int k = 0; k < s.cnt; k++) {
				double us = slice(&s.peer[k], &rows[i]);

				if (us < 0)
					return DRV_FAIL;
				if (r >= 0)
					s.peer[k].us[i][r] = us;
			}
	}
	return 0;
}

static int verify(struct peer *p)
{
	sqlite3_stmt *st = NULL;
	uint32_t i = 0;
	int err = 0, rc;

	if (sqlite3_prepare_v2(p->db, "SELECT k, v FROM kv ORDER BY k", -1, &st, NULL))
		return failed(p, "verify");
	while ((rc = sqlite3_step(st)) == SQLITE_ROW && !err && i < s.records) {
		err = check_value(p, s.sorted[i], sqlite3_column_blob(st, 1),
				  sqlite3_column_bytes(st, 1));
		i++;
	}
	sqlite3_finalize(st);
	if (!err && (rc != SQLITE_DONE || i != s.records))
		err = drv_fail("%s: verification: other rows than were loaded", p->kind->name);
	return err;
}

/* --- report --- */

static int find(const char *name)
{
	for (int i = 0; i < s.cnt; i++)
		if (!strcmp(s.peer[i].kind->name, name))
			return i;
	return -1;
}

static void print_rows(void)
{
	double v[ROUNDS_MAX];
	char key[96];

	printf("  %-28s", "microseconds a statement");
	for (int k = 0; k < s.cnt; k++)
		printf(" %10s", s.peer[k].kind->name);
	printf("\n");
	for (int i = 0; i < ROWS; i++) {
		printf("  %-28s", rows[i].what);
		for (int k = 0; k < s.cnt; k++) {
			memcpy(v, s.peer[k].us[i], sizeof(v));
			printf(" %10.3f", bench_median(v, (size_t)s.rounds));
			snprintf(key, sizeof(key), "%s.%s", rows[i].key, s.peer[k].kind->name);
			report_series(key, rows[i].what, "us", s.peer[k].us[i], s.rounds);
		}
		printf("\n");
	}
}

static void print_bars(void)
{
	double ratio[ROUNDS_MAX];
	char key[96], what[128];

	for (int b = 0; b < BARS; b++) {
		int ours = find(bars[b].ours), theirs = find(bars[b].theirs);

		for (int i = 0; i < ROWS && ours >= 0 && theirs >= 0; i++) {
			if (rows[i].op != bars[b].op)
				continue;
			for (int r = 0; r < s.rounds; r++)
				ratio[r] = s.peer[theirs].us[i][r] / s.peer[ours].us[i][r];
			snprintf(key, sizeof(key), "%s.%s.against.%s", rows[i].key, bars[b].ours,
				 bars[b].theirs);
			snprintf(what, sizeof(what), "%s: %s against %s", rows[i].what,
				 bars[b].ours, bars[b].theirs);
			report_bar(key, what, "x", ratio, s.rounds,
				   rows[i].dist != UNIFORM ? 0
				   : s.opt->page	   ? bars[b].page
							   : bars[b].line,
				   true);
		}
	}
}

static void report(void)
{
	char note[400];

	report_section("Peers");
	for (int k = 0; k < s.cnt; k++) {
		struct peer *p = &s.peer[k];

		printf("  %-10s %s: %s\n", p->kind->name, p->kind->what, p->settings);
		snprintf(note, sizeof(note), "%s: %s", p->kind->what, p->settings);
		report_note(p->kind->name, note);
	}
	report_section("By key, prepared, autocommit");
	print_rows();
	print_bars();
}

/* --- set-up --- */

/* The extension, as programs load it: it stays when this connection is closed. */
static int load_vfs(void)
{
	sqlite3 *db = NULL;
	char *msg = NULL;
	int rc = sqlite3_open(":memory:", &db);

	if (!rc)
		rc = sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 1, NULL);
	if (!rc)
		rc = sqlite3_load_extension(db, TWZ_EXTENSION, "sqlite3_twz_init", &msg);
	sqlite3_close(db);
	return rc ? drv_fail("%s: %s", TWZ_EXTENSION, msg ? msg : sqlite3_errstr(rc)) : 0;
}

static int set_up(void)
{
	int err = 0;

	zipf_init(&s.zipf, s.records);
	s.sorted = keys_sorted(s.records);
	if (!s.sorted)
		return DRV_FAIL;
	for (int i = 0; i < SQL_KINDS && !err; i++) {
		struct peer *p = &s.peer[s.cnt];

		if (!bench_in_list(s.opt->peers, sql_kinds[i].name))
			continue;
		p->kind = &sql_kinds[i];
		p->version = calloc(s.records, sizeof(*p->version));
		s.cnt++;
		err = p->version ? open_peer(p) : drv_fail("no memory");
		if (!err)
			err = load(p);
	}
	return err || s.cnt ? err : drv_fail("no such peer: %s", s.opt->peers);
}

static int by_key(void)
{
	int err = set_up();

	if (!err)
		err = measure();
	for (int i = 0; i < s.cnt && !err; i++)
		err = verify(&s.peer[i]);
	for (int i = 0; i < s.cnt; i++)
		close_peer(&s.peer[i]);
	free(s.sorted);
	if (!err)
		report();
	return err;
}

int bench_sql(const struct bench_opt *opt)
{
	struct bench_opt o = *opt;
	int err;

	o.rounds = opt->rounds ? opt->rounds : opt->quick ? 3 : 5;
	if (o.rounds > ROUNDS_MAX)
		o.rounds = ROUNDS_MAX;
	s.opt = &o;
	s.rounds = o.rounds;
	s.records = o.records ? (uint32_t)o.records : RECORDS;
	s.slice_ns = (o.slice_ms ? o.slice_ms : o.quick ? 100 : 300) * (uint64_t)1000000;
	snprintf(s.dir, sizeof(s.dir), "%s/twzbench-%d", o.dir, (int)getpid());
	bench_medium(&o);
	report_begin(
		&o,
		"twzbench sql: key and 100 bytes, YCSB's ten fields, the paper's queries; one connection",
		bench_granularity());
	printf("records  %u\nSQLite   %s\nfigures  medians of %d rounds; %s\n", s.records,
	       sqlite3_libversion(), s.rounds, o.page ? "elapsed time" : "thread CPU time");
	err = load_vfs();
	if (dir_make_temporary(s.dir))
		return 1;
	if (!err && bench_in_list(o.only, "key"))
		err = by_key();
	if (!err && o.page && bench_in_list(o.only, "writers"))
		err = sql_writers(&o, s.dir);
	if (!err && bench_in_list(o.only, "ycsb"))
		err = sql_ycsb(&o, s.dir);
	if (!err && bench_in_list(o.only, "queries"))
		err = sql_queries(&o, s.dir);
	dir_remove(s.dir);
	return err ? 1 : report_end();
}
