/* SPDX-License-Identifier: MIT
 * sql_writers.c -- four writers and a reader on one database on a disk: threads, and processes
 *
 * Each has a connection of its own, synchronous=FULL, and waits for the others as long as it takes (busy timeout). A writer updates rows
 * of its own (their number modulo the writers), so every row's version is known afterwards. Time is
 * elapsed time. What a reader waits for shows in the longest of its SELECTs: somebody's commit, or nothing.
 */
#include "sql.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "drv.h"
#include "keys.h"

#define WRITERS	   4
#define CLIENTS	   (WRITERS + 1) /* the last one reads */
#define RECORDS	   100000u
#define SAMPLES	   (1u << 20)
#define ROUNDS_MAX 99
#define BUSY_MS	   60000

enum mode { THREADS, PROCESSES, MODES };

static const char *const mode_names[MODES] = {"threads", "processes"};
/* SQLite's own for several writers, ours, and native tables. */
static const char *const names[] = {"wal", "vfs", "native"};
#define KINDS ((int)(sizeof(names) / sizeof(names[0])))

struct client {
	uint64_t ops, ns;
	bool failed;
};

/* Shared with forked clients. */
static struct shared {
	atomic_int ready, go, over;
	struct client c[CLIENTS];
	uint32_t lat[SAMPLES]; /* of the reader's SELECTs: ns */
	uint32_t version[];
} * sh;

static struct writers {
	const char *dir;
	uint32_t records;
	uint64_t slice_ns;
	int round;
	const struct sql_kind *kind[KINDS];
	sqlite3 *db[KINDS]; /* keeps it open */
	double per_s[MODES][KINDS][ROUNDS_MAX], reads_us[MODES][KINDS][ROUNDS_MAX];
	uint32_t *version[KINDS];
} w;

struct job {
	int kind, nr;
	sqlite3 *db;
	sqlite3_stmt *st;
	pthread_t thread;
};

/* --- a client --- */

static void key_of(uint32_t id, char key[KEY_LEN + 1])
{
	key_make(key, key_hash(id));
	key[KEY_LEN] = 0;
}

static int open_client(struct job *j)
{
	const struct sql_kind *k = w.kind[j->kind];
	char path[400];

	snprintf(path, sizeof(path), "%s/writers.%s", w.dir, k->name);
	if (sqlite3_open_v2(path, &j->db, SQLITE_OPEN_READWRITE, k->vfs) ||
	    sqlite3_busy_timeout(j->db, BUSY_MS) ||
	    sqlite3_exec(j->db, "PRAGMA synchronous=FULL", NULL, NULL, NULL) ||
	    sqlite3_prepare_v2(j->db,
			       j->nr == WRITERS ? "SELECT v FROM kv WHERE k = ?1"
						: "UPDATE kv SET v = ?2 WHERE k = ?1",
			       -1, &j->st, NULL))
		return sql_failed(j->db, k->name, "open");
	return 0;
}

static int update(struct job *j, struct rng *r, struct field *f)
{
	uint32_t id = (uint32_t)rng_below(r, w.records / WRITERS) * WRITERS + (uint32_t)j->nr;
	char key[KEY_LEN + 1];

	key_of(id, key);
	bench_field(f, bench_key_word(key, KEY_LEN), 0, sh->version[id] + 1, id);
	sqlite3_bind_text(j->st, 1, key, KEY_LEN, SQLITE_STATIC);
	sqlite3_bind_blob(j->st, 2, f, sizeof(*f), SQLITE_STATIC);
	if (sqlite3_step(j->st) != SQLITE_DONE || sqlite3_changes(j->db) != 1)
		return sql_failed(j->db, w.kind[j->kind]->name, "update");
	sqlite3_reset(j->st);
	sh->version[id]++;
	return 0;
}

/* A row somebody may be writing: of the version it has, or of the one before. */
static int look(struct job *j, struct rng *r)
{
	uint32_t id = (uint32_t)rng_below(r, w.records), before = sh->version[id];
	uint64_t start = sql_now(true), took;
	char key[KEY_LEN + 1];
	struct field f;

	key_of(id, key);
	sqlite3_bind_text(j->st, 1, key, KEY_LEN, SQLITE_STATIC);
	if (sqlite3_step(j->st) != SQLITE_ROW || sqlite3_column_bytes(j->st, 0) != sizeof(f))
		return sql_failed(j->db, w.kind[j->kind]->name, "select");
	memcpy(&f, sqlite3_column_blob(j->st, 0), sizeof(f));
	sqlite3_reset(j->st);
	took = sql_now(true) - start;
	sh->lat[sh->c[j->nr].ops % SAMPLES] = took < UINT32_MAX ? (uint32_t)took : UINT32_MAX;
	return f.id == id && f.version >= before
		       ? 0
		       : drv_fail("%s: record %u: an older value than was committed",
				  w.kind[j->kind]->name, id);
}

static void work(struct job *j)
{
	struct client *c = &sh->c[j->nr];
	struct rng r = {(uint64_t)(w.round + 2) * 7919u + (uint64_t)j->nr};
	struct field f;
	uint64_t start;
	int err = open_client(j);

	bench_filler(&f);
	atomic_fetch_add(&sh->ready, 1);
	while (!atomic_load(&sh->go))
		usleep(100);
	start = sql_now(true);
	while (!err && !atomic_load(&sh->over)) {
		err = j->nr == WRITERS ? look(j, &r) : update(j, &r, &f);
		c->ops += !err;
	}
	c->ns = sql_now(true) - start;
	c->failed = err != 0;
	sqlite3_finalize(j->st);
	sqlite3_close(j->db);
}

static void *thread_main(void *arg)
{
	work(arg);
	return NULL;
}

/* --- a slice: all clients at once --- */

static int start_client(enum mode mode, struct job *j, pid_t *pid)
{
	if (mode == THREADS)
		return pthread_create(&j->thread, NULL, thread_main, j)
			       ? drv_fail("cannot start a thread")
			       : 0;
	*pid = fork();
	if (*pid == 0) {
		work(j);
		_exit(0);
	}
	return *pid < 0 ? drv_fail("cannot start a process") : 0;
}

static int cmp_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* Of the reader's SELECTs one in a thousand took longer: microseconds. */
static double slowest(void)
{
	uint64_t n = sh->c[WRITERS].ops < SAMPLES ? sh->c[WRITERS].ops : SAMPLES;

	qsort(sh->lat, n, sizeof(sh->lat[0]), cmp_u32);
	return n ? sh->lat[n - 1 - n / 1000] / 1e3 : 0;
}

static int slice(enum mode mode, int kind)
{
	struct job jobs[CLIENTS];
	pid_t pid[CLIENTS] = {0};
	double per_s = 0;
	int err = 0, started = 0, status;

	memset(sh, 0, offsetof(struct shared, lat));
	memcpy(sh->version, w.version[kind], w.records * sizeof(sh->version[0]));
	for (; started < CLIENTS && !err; started += !err) {
		jobs[started] = (struct job){.kind = kind, .nr = started};
		err = start_client(mode, &jobs[started], &pid[started]);
	}
	while (!err && atomic_load(&sh->ready) < CLIENTS)
		usleep(1000);
	atomic_store(&sh->go, 1);
	if (!err)
		usleep((useconds_t)(w.slice_ns / 1000));
	atomic_store(&sh->over, 1);
	for (int i = 0; i < started; i++) {
		if (mode == THREADS)
			pthread_join(jobs[i].thread, NULL);
		else if (waitpid(pid[i], &status, 0) != pid[i] || status)
			err = drv_fail("a client died");
	}
	for (int i = 0; i < CLIENTS && !err; i++) {
		err = sh->c[i].failed ? DRV_FAIL : 0;
		if (i < WRITERS && sh->c[i].ns)
			per_s += (double)sh->c[i].ops * 1e9 / (double)sh->c[i].ns;
	}
	memcpy(w.version[kind], sh->version, w.records * sizeof(sh->version[0]));
	if (w.round >= 0) {
		w.per_s[mode][kind][w.round] = per_s;
		w.reads_us[mode][kind][w.round] = slowest();
	}
	return err;
}

/* --- tables --- */

static int load(int kind)
{
	sqlite3 *db = w.db[kind];
	sqlite3_stmt *st = NULL;
	char key[KEY_LEN + 1];
	struct field f;
	int err = sqlite3_exec(
			  db,
			  w.kind[kind]->native
				  ? "CREATE VIRTUAL TABLE kv USING twz(k TEXT PRIMARY KEY, v BLOB)"
				  : "CREATE TABLE kv(k TEXT PRIMARY KEY, v BLOB) WITHOUT ROWID",
			  NULL, NULL, NULL) ||
		  sqlite3_exec(db, "BEGIN", NULL, NULL, NULL) ||
		  sqlite3_prepare_v2(db, "INSERT INTO kv VALUES(?, ?)", -1, &st, NULL);

	for (uint32_t id = 0; id < w.records && !err; id++) {
		key_of(id, key);
		bench_filler(&f);
		bench_field(&f, bench_key_word(key, KEY_LEN), 0, 1, id);
		w.version[kind][id] = 1;
		sqlite3_bind_text(st, 1, key, KEY_LEN, SQLITE_STATIC);
		sqlite3_bind_blob(st, 2, &f, sizeof(f), SQLITE_STATIC);
		err = sqlite3_step(st) != SQLITE_DONE;
		sqlite3_reset(st);
	}
	sqlite3_finalize(st);
	if (!err)
		err = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
	return err ? sql_failed(db, w.kind[kind]->name, "load") : 0;
}

static int verify(int kind)
{
	sqlite3_stmt *st = NULL;
	uint32_t n = 0;
	struct field f = {0};
	int rc;

	if (sqlite3_prepare_v2(w.db[kind], "SELECT v FROM kv", -1, &st, NULL))
		return sql_failed(w.db[kind], w.kind[kind]->name, "verify");
	while ((rc = sqlite3_step(st)) == SQLITE_ROW && sqlite3_column_bytes(st, 0) == sizeof(f)) {
		memcpy(&f, sqlite3_column_blob(st, 0), sizeof(f));
		if (f.id >= w.records || f.version != w.version[kind][f.id])
			break;
		n++;
	}
	sqlite3_finalize(st);
	return rc == SQLITE_DONE && n == w.records
		       ? 0
		       : drv_fail("%s: record %u: another value than was committed last",
				  w.kind[kind]->name, f.id);
}

static int set_up(const struct bench_opt *opt)
{
	size_t len = sizeof(*sh) + w.records * sizeof(sh->version[0]);
	int err = 0;

	sh = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sh == MAP_FAILED)
		return drv_fail("no memory");
	for (int i = 0; i < KINDS && !err; i++) {
		if (!bench_in_list(opt->peers, names[i]))
			continue;
		for (int k = 0; k < SQL_KINDS; k++)
			if (!strcmp(sql_kinds[k].name, names[i]))
				w.kind[i] = &sql_kinds[k];
		w.version[i] = calloc(w.records, sizeof(*w.version[i]));
		w.db[i] = w.version[i] ? sql_open(w.kind[i], w.dir, "writers") : NULL;
		err = w.db[i] ? load(i) : DRV_FAIL;
	}
	return err;
}

/* --- report --- */

static void print_table(int rounds)
{
	double v[ROUNDS_MAX];

	printf("  %-44s", "");
	for (int k = 0; k < KINDS; k++)
		printf(" %10s", w.kind[k] ? names[k] : "");
	for (int m = 0; m < MODES; m++) {
		printf("\n  %-10s %-33s", mode_names[m], "updates a second, all four");
		for (int k = 0; k < KINDS; k++) {
			memcpy(v, w.per_s[m][k], sizeof(v));
			printf(" %10.0f", w.kind[k] ? bench_median(v, (size_t)rounds) : 0);
		}
		printf("\n  %-10s %-33s", "", "a SELECT beside them, 99.9 %, us");
		for (int k = 0; k < KINDS; k++) {
			memcpy(v, w.reads_us[m][k], sizeof(v));
			printf(" %10.1f", w.kind[k] ? bench_median(v, (size_t)rounds) : 0);
		}
	}
	printf("\n");
}

/* Who waited for a commit would wait as long as one takes. */
static void print_reader(int m, int k, int rounds)
{
	double part[ROUNDS_MAX];
	char key[96], what[128];

	for (int r = 0; r < rounds; r++)
		part[r] = w.reads_us[m][k][r] * w.per_s[m][k][r] / 1e6;
	snprintf(key, sizeof(key), "writers.%s.reader.%s", mode_names[m], names[k]);
	snprintf(what, sizeof(what), "SELECT (99.9 %%), %s: %s, in commits", mode_names[m],
		 names[k]);
	report_bar(key, what, "x", part, rounds, strcmp(names[k], "vfs") ? 0 : 1, false);
}

static void print_bars(int rounds)
{
	double ratio[ROUNDS_MAX];
	char key[96], what[128];

	for (int m = 0; m < MODES; m++) {
		for (int k = 1; k < KINDS && w.kind[0]; k++) {
			if (!w.kind[k])
				continue;
			for (int r = 0; r < rounds; r++)
				ratio[r] = w.per_s[m][k][r] / w.per_s[m][0][r];
			snprintf(key, sizeof(key), "writers.%s.%s.against.wal", mode_names[m],
				 names[k]);
			snprintf(what, sizeof(what), "UPDATE, 4 %s: %s against wal", mode_names[m],
				 names[k]);
			report_bar(key, what, "x", ratio, rounds, k == 1 ? 1.5 : 0, true);
		}
		for (int k = 0; k < KINDS; k++)
			if (w.kind[k])
				print_reader(m, k, rounds);
	}
}

int sql_writers(const struct bench_opt *opt, const char *dir)
{
	int err;

	w.dir = dir;
	w.records = opt->records && opt->records < RECORDS ? (uint32_t)opt->records : RECORDS;
	w.slice_ns = (opt->slice_ms ? opt->slice_ms : opt->quick ? 500 : 2000) * (uint64_t)1000000;
	report_section("Four writers and a reader, %u rows, synchronous=FULL", w.records);
	err = set_up(opt);
	for (w.round = -1; w.round < opt->rounds && !err; w.round++)
		for (int m = 0; m < MODES && !err; m++)
			for (int k = 0; k < KINDS && !err; k++)
				err = w.kind[k] ? slice((enum mode)m, k) : 0;
	for (int k = 0; k < KINDS; k++) {
		if (w.db[k] && !err)
			err = verify(k);
		sqlite3_close(w.db[k]);
		free(w.version[k]);
	}
	if (!err) {
		print_table(opt->rounds);
		print_bars(opt->rounds);
	}
	return err;
}
