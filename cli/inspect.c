/* SPDX-License-Identifier: MIT
 * inspect.c -- .store, .objects, .check, .inspect, .stats, .readers, .wait: see inspect.h
 */
#include "inspect.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int inspect_open(struct shell *sh, struct inspect *in)
{
	struct twzdb_options opt = {.size = sizeof(opt), .name = sh->dbname};

	*in = (struct inspect){0};
	if (!sh->file)
		return shell_error(sh, "%s has no store; try .open FILE.twz",
				   sh->store ? sh->store : "nothing open");
	/* By the engine if it can: the process then has the store open once. */
	if (twzdb_open(sh->file, &opt, &in->db) == 0) {
		in->store = twzdb_store(in->db);
		return 0;
	}
	in->db = NULL;
	if (twz_store_open(sh->file, NULL, &in->store) == 0)
		return 0;
	return shell_error(sh, "%s: cannot look into the store (%s)", sh->file, twz_errmsg());
}

void inspect_close(struct inspect *in)
{
	if (in->db)
		twzdb_close(in->db);
	else
		twz_store_close(in->store);
	*in = (struct inspect){0};
}

const char *inspect_medium(const struct twz_store_info *info)
{
	if (info->granularity == TWZ_GRAN_PAGE)
		return "an ordinary file, durable by range sync";
	if (info->forced)
		return "a file treated as persistent memory (forced: NOT safe against power loss)";
	return info->granularity == TWZ_GRAN_BYTE ? "persistent memory with persistent caches"
						  : "persistent memory, durable by flush and fence";
}

/* A listing of two columns, for people or programs by the mode. */
struct listing {
	struct out o;
	bool human;
};

static void list_begin(struct shell *sh, struct listing *l)
{
	static const char *const names[] = {"property", "value"};

	shell_out_begin(sh, &l->o, 2, names);
	l->human = l->o.al || sh->fmt.mode == OUT_LINE || sh->interactive;
}

static void list_text(struct listing *l, const char *name, const char *value)
{
	struct cell c[2] = {cell_text(name), cell_text(value)};

	out_row(&l->o, c);
}

static void list_count(struct listing *l, const char *name, uint64_t n)
{
	struct cell c[2] = {cell_text(name), cell_int((sqlite3_int64)n)};
	char s[SIZE_STR_LEN];

	if (l->human)
		c[1] = cell_text(count_str(n, s));
	out_row(&l->o, c);
}

static void list_size(struct listing *l, const char *name, uint64_t n)
{
	struct cell c[2] = {cell_text(name), cell_int((sqlite3_int64)n)};
	char s[SIZE_STR_LEN];

	if (l->human)
		c[1] = cell_text(size_str(n, s));
	out_row(&l->o, c);
}

static void list_store(struct listing *l, const struct inspect *in,
		       const struct twz_store_info *info)
{
	char id[TWZ_OID_STR_LEN], features[64];

	list_text(l, "file", twz_store_path(in->store));
	list_text(l, "store id", twz_oid_str(info->uuid, id));
	list_text(l, "medium", inspect_medium(info));
	list_count(l, "format version", info->version);
	snprintf(features, sizeof(features), "compat %x, ro_compat %x, incompat %x", info->compat,
		 info->ro_compat, info->incompat);
	list_text(l, "features", features);
	list_count(l, "generation", info->generation);
	list_size(l, "length", info->len);
	list_size(l, "free", info->free_len);
	list_size(l, "metadata", info->meta_len);
	list_size(l, "metadata journal", info->journal_len);
	list_size(l, "metadata journal in use", info->journal_used);
	list_count(l, "objects", info->obj_cnt);
	list_count(l, "processes", info->process_cnt);
	list_text(l, "recovered when opened", info->was_unclean ? "yes" : "no");
}

int dot_store(struct shell *sh, const struct words *ws)
{
	struct twz_store_info info = {.size = sizeof(info)};
	struct inspect in;
	struct listing l;
	int rc;

	(void)ws;
	if (inspect_open(sh, &in))
		return 1;
	rc = twz_store_info(in.store, &info);
	if (rc) {
		rc = shell_error(sh, "%s: cannot read the store's state (%s)", sh->file,
				 twz_errmsg());
	} else {
		list_begin(sh, &l);
		list_store(&l, &in, &info);
		out_end(&l.o);
	}
	inspect_close(&in);
	return rc;
}

static const char *object_use(const struct twz_obj_stat *st)
{
	if (st->flags & TWZ_OBJ_LOG)
		return "log";
	if (st->flags & TWZ_OBJ_TXLOG)
		return "undo log";
	if (st->flags & TWZ_OBJ_NAMES)
		return "names";
	return st->flags & TWZ_OBJ_ENGINE ? "database" : "data";
}

static void object_row(struct out *o, struct twz_store *s, const struct twz_obj_stat *st)
{
	char id[TWZ_OID_STR_LEN], name[1024];
	struct cell c[7] = {cell_text(twz_oid_str(st->id, id))};

	c[1] = cell_text(twz_name_of(s, st->id, name, sizeof(name)) == 0 ? name : NULL);
	c[2] = cell_text(object_use(st));
	c[3] = cell_int((sqlite3_int64)st->len);
	c[4] = cell_int((sqlite3_int64)st->space_len);
	c[5] = cell_int(st->extent_cnt);
	c[6] = cell_int(st->fot_cnt);
	out_row(o, c);
}

int dot_objects(struct shell *sh, const struct words *ws)
{
	static const char *const names[] = {"id",    "name",	"use", "length",
					    "space", "extents", "fot"};
	struct twz_obj_stat st = {.size = sizeof(st)};
	uint64_t cursor = 0;
	struct inspect in;
	struct out o;
	int rc;

	(void)ws;
	if (inspect_open(sh, &in))
		return 1;
	shell_out_begin(sh, &o, 7, names);
	while ((rc = twz_obj_next(in.store, &cursor, &st)) == 0)
		object_row(&o, in.store, &st);
	out_end(&o);
	if (rc != TWZ_E_NOENT)
		shell_error(sh, "%s: the list of objects ends early (%s); try .check", sh->file,
			    twz_errmsg());
	inspect_close(&in);
	return rc != TWZ_E_NOENT;
}

struct findings {
	struct shell *sh;
	const char *of;
};

static void on_finding(void *ctx, const char *where, const char *what)
{
	struct findings *f = ctx;

	fprintf(f->sh->out, "%s: %s: %s\n", f->of, where, what);
}

/* One line per layer: "store      ok" or the findings above a count. */
static uint64_t verdict(struct shell *sh, const char *of, int err, uint64_t found, const char *why)
{
	bool colour = sh->colour && !sh->no_colour;

	fprintf(sh->out, "%-22s ", of);
	if (err)
		fprintf(sh->out, "could not be checked (%s)\n", why);
	else if (found)
		fprintf(sh->out, "%" PRIu64 " finding%s\n", found, found == 1 ? "" : "s");
	else
		fprintf(sh->out, "%sok%s\n", colour ? "\033[32m" : "", colour ? "\033[0m" : "");
	return err ? 1 : found;
}

/*
 * twzdb_check() waits for the writer lock without end: wait here first, as long as .timeout says.
 * What another writer does between the two only makes it wait for that.
 */
static int writer_is_free(struct shell *sh, struct inspect *in)
{
	struct twzdb_txn *txn;
	int rc = twzdb_begin_timed(in->db, 0, (int)sh->timeout_ms, &txn);

	if (!rc)
		twzdb_abort(txn);
	return rc;
}

static uint64_t check_below(struct shell *sh, struct inspect *in)
{
	struct findings f = {sh, "store"};
	uint64_t found = 0, sum;
	int rc = twz_check(in->store, on_finding, &f, &found);

	sum = verdict(sh, "store and its objects", rc, found, twz_errmsg());
	if (!in->db)
		return sum;
	f.of = "database";
	found = 0;
	rc = writer_is_free(sh, in);
	if (!rc)
		rc = twzdb_check(in->db, on_finding, &f, &found);
	return sum + verdict(sh, "engine's database", rc, found, twzdb_errmsg());
}

/*
 * A row of integrity_check (one text) or foreign_key_check (table, rowid, parent): does it tell
 * of damage?
 */
static bool finding(struct shell *sh, const char *of, sqlite3_stmt *st)
{
	const char *s = (const char *)sqlite3_column_text(st, 0);

	if (sqlite3_column_count(st) >= 3)
		fprintf(sh->out, "%s: row %lld of %s refers to a row of %s that is not there\n", of,
			sqlite3_column_int64(st, 1), s, (const char *)sqlite3_column_text(st, 2));
	else if (s && strcmp(s, "ok") != 0)
		fprintf(sh->out, "%s: %s\n", of, s);
	else
		return false;
	return true;
}

/* Run a PRAGMA that answers one row "ok", or rows of findings (no rows are fine too). */
static uint64_t check_pragma(struct shell *sh, const char *of, const char *pragma)
{
	sqlite3_stmt *st = shell_prepare(sh, "PRAGMA %s", pragma);
	uint64_t found = 0;
	int rc;

	if (!st)
		return 1;
	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		if (finding(sh, of, st))
			found++;
	}
	found = verdict(sh, of, rc != SQLITE_DONE, found, sqlite3_errmsg(sh->db));
	sqlite3_finalize(st);
	return found;
}

int inspect_check(struct shell *sh, uint64_t *found)
{
	struct inspect in;

	*found = 0;
	if (!sh->db)
		return shell_error(sh, "nothing is open; try .open FILE");
	if (sqlite3_txn_state(sh->db, NULL) == SQLITE_TXN_WRITE)
		return shell_error(sh,
				   ".check: a transaction is open; try COMMIT or ROLLBACK first");
	if (sh->file) {
		if (inspect_open(sh, &in))
			return 1;
		*found += check_below(sh, &in);
		inspect_close(&in);
	}
	*found += check_pragma(sh, "SQL integrity_check", "integrity_check");
	*found += check_pragma(sh, "SQL foreign_key_check", "foreign_key_check");
	return 0;
}

int dot_check(struct shell *sh, const struct words *ws)
{
	uint64_t found;

	(void)ws;
	if (inspect_check(sh, &found))
		return 1;
	if (!found)
		return 0;
	return shell_error(sh, "%s: %" PRIu64 " problem%s; try .dump to save what can be read",
			   sh->store, found, found == 1 ? "" : "s");
}

/* What .inspect can show: parts of the store, or of the engine's database in it. */
static const struct part {
	const char *name;
	uint32_t store, engine; /* enum twz_dump_flags, enum twzdb_dump_flags */
} parts[] = {
	{"head", 0, 0},
	{"objects", TWZ_DUMP_OBJECTS, 0},
	{"extents", TWZ_DUMP_EXTENTS, 0},
	{"fot", TWZ_DUMP_FOT, 0},
	{"journal", TWZ_DUMP_JOURNAL, 0},
	{"space", TWZ_DUMP_SPACE, 0},
	{"table", TWZ_DUMP_TABLE, 0},
	{"undo", TWZ_DUMP_TXLOG, 0},
	{"redo", TWZ_DUMP_LOG, 0},
	{"arenas", TWZ_DUMP_ARENA, 0},
	{"names", TWZ_DUMP_NAMES, 0},
	{"tables", 0, TWZDB_DUMP_TABLES},
	{"nodes", 0, TWZDB_DUMP_TABLES | TWZDB_DUMP_NODES},
	{"log", 0, TWZDB_DUMP_LOG},
	{"all", TWZ_DUMP_ALL, TWZDB_DUMP_TABLES | TWZDB_DUMP_NODES | TWZDB_DUMP_LOG},
	{0},
};

const char *inspect_part(int i)
{
	return parts[i].name;
}

static int dump_engine(struct shell *sh, struct inspect *in, const struct part *p)
{
	int rc = in->db ? writer_is_free(sh, in) : 0;

	if (!in->db)
		return shell_error(sh, "%s: no database of the engine is in the store", sh->file);
	if (!rc)
		rc = twzdb_dump(in->db, p->engine, sh->out);
	return rc ? shell_error(sh, "%s: the database cannot be shown (%s)", sh->file,
				twzdb_errmsg())
		  : 0;
}

static int inspect_dump(struct shell *sh, const struct part *p)
{
	struct inspect in;
	int rc = 0;

	if (p->engine && sh->db && sqlite3_txn_state(sh->db, NULL) == SQLITE_TXN_WRITE)
		return shell_error(sh,
				   ".inspect: a transaction is open; try COMMIT or ROLLBACK first");
	if (inspect_open(sh, &in))
		return 1;
	if ((p->store || !p->engine) && twz_dump(in.store, p->store, sh->out))
		rc = shell_error(sh, "%s: the store cannot be shown (%s)", sh->file, twz_errmsg());
	if (!rc && p->engine && (in.db || !p->store))
		rc = dump_engine(sh, &in, p);
	inspect_close(&in);
	return rc;
}

int dot_inspect(struct shell *sh, const struct words *ws)
{
	const char *want = ws->cnt > 1 ? ws->w[1] : "head";

	for (const struct part *p = parts; p->name; p++)
		if (!strcmp(p->name, want))
			return inspect_dump(sh, p);
	return shell_error(sh, ".inspect: there is no part '%s'; try .help inspect", want);
}

static void list_engine(struct listing *l, const struct twzdb_stats *st)
{
	list_count(l, "latest commit", st->ts);
	list_count(l, "commits", st->commits);
	list_count(l, "aborts", st->aborts);
	list_count(l, "takeovers", st->takeovers);
	list_count(l, "checkpoints", st->checkpoints);
	list_size(l, "log", st->log_len);
	list_size(l, "log in use", st->log_used);
	list_size(l, "written to the log", st->log_bytes);
	list_size(l, "data objects", st->data_len);
	list_size(l, "data in use", st->used_len);
	list_count(l, "tables", st->table_cnt);
	list_count(l, "tree nodes", st->node_cnt);
	list_count(l, "records", st->record_cnt);
	list_count(l, "splits", st->splits);
	list_count(l, "merges", st->merges);
	list_count(l, "readers", st->readers);
	list_count(l, "oldest snapshot", st->oldest_ts);
	list_count(l, "reader retries", st->reader_retries);
}

static void list_sqlite(struct listing *l, sqlite3 *db)
{
	static const struct {
		int op;
		const char *name;
	} op[] = {
		{SQLITE_DBSTATUS_CACHE_USED, "SQLite page cache bytes"},
		{SQLITE_DBSTATUS_CACHE_HIT, "SQLite page cache hits"},
		{SQLITE_DBSTATUS_CACHE_MISS, "SQLite page cache misses"},
		{SQLITE_DBSTATUS_CACHE_WRITE, "SQLite pages written"},
		{SQLITE_DBSTATUS_CACHE_SPILL, "SQLite pages spilled"},
	};
	int cur, high;

	for (size_t i = 0; i < sizeof(op) / sizeof(op[0]); i++)
		if (sqlite3_db_status(db, op[i].op, &cur, &high, 0) == SQLITE_OK)
			list_count(l, op[i].name, (uint64_t)cur);
	list_size(l, "SQLite memory", (uint64_t)sqlite3_memory_used());
}

int dot_stats(struct shell *sh, const struct words *ws)
{
	struct twzdb_stats st = {.size = sizeof(st)};
	struct inspect in = {0};
	struct listing l;
	int rc = 0;

	(void)ws;
	if (!sh->db)
		return shell_error(sh, "nothing is open; try .open FILE");
	if (sh->file && inspect_open(sh, &in))
		return 1;
	if (in.db && twzdb_stats(in.db, &st))
		rc = shell_error(sh, "%s: the engine's counters cannot be read (%s)", sh->file,
				 twzdb_errmsg());
	list_begin(sh, &l);
	if (in.db && !rc)
		list_engine(&l, &st);
	list_sqlite(&l, sh->db);
	out_end(&l.o);
	if (in.store)
		inspect_close(&in);
	return rc;
}

static int reader_row(void *ctx, const struct twzdb_reader *r)
{
	struct cell c[4] = {cell_int(r->pid), cell_int((sqlite3_int64)r->ts),
			    cell_int((sqlite3_int64)r->lag), cell_int((sqlite3_int64)r->age_ms)};

	out_row(ctx, c);
	return 0;
}

int dot_readers(struct shell *sh, const struct words *ws)
{
	static const char *const names[] = {"pid", "snapshot", "lag", "age_ms"};
	struct inspect in;
	struct out o;
	int rc = 0;

	(void)ws;
	if (inspect_open(sh, &in))
		return 1;
	shell_out_begin(sh, &o, 4, names);
	if (in.db)
		rc = twzdb_readers(in.db, reader_row, &o);
	out_end(&o);
	if (rc)
		rc = shell_error(sh, "%s: the readers cannot be listed (%s)", sh->file,
				 twzdb_errmsg());
	inspect_close(&in);
	return rc != 0;
}

static int wait_in(struct shell *sh, struct inspect *in, long ms)
{
	struct twzdb_listener *l;
	uint64_t ts = 0;
	int rc;

	if (!in->db)
		return shell_error(sh, "%s: no database of the engine is in the store", sh->file);
	rc = twzdb_listener_open(in->db, NULL, &l);
	if (!rc) {
		rc = twzdb_listener_wait(l, (int)ms, &ts);
		twzdb_listener_close(l);
	}
	if (rc)
		return shell_error(sh, ".wait: %s", twzdb_errmsg());
	fprintf(sh->out, "%llu\n", (unsigned long long)ts);
	return 0;
}

int dot_wait(struct shell *sh, const struct words *ws)
{
	struct inspect in;
	long ms = -1;
	int rc;

	if (ws->cnt > 1 && (!parse_long(ws->w[1], &ms) || ms < 0 || ms > 86400000))
		return shell_error(
			sh, ".wait: '%s' is not a number of milliseconds; try: .wait 5000",
			ws->w[1]);
	if (inspect_open(sh, &in))
		return 1;
	rc = wait_in(sh, &in, ms);
	inspect_close(&in);
	return rc;
}

void inspect_banner(struct shell *sh)
{
	struct twz_store_info info = {.size = sizeof(info)};
	sqlite3_int64 n = shell_int(sh, "SELECT count(*) FROM sqlite_schema WHERE type = 'table'");
	char len[SIZE_STR_LEN];
	struct inspect in;

	fprintf(sh->out, "twzdb %s: %s, %lld table%s", TWZDB_VERSION, sh->store, (long long)n,
		n == 1 ? "" : "s");
	if (!sh->file) {
		fputs(", kept in memory only", sh->out);
	} else if (inspect_open(sh, &in) == 0) {
		if (twz_store_info(in.store, &info) == 0)
			fprintf(sh->out, ", %s in %s", size_str(info.len, len),
				inspect_medium(&info));
		inspect_close(&in);
	}
	fprintf(sh->out, "%s.\nSQLite %s. Type .help for help, .quit to leave.\n",
		sh->readonly ? ", read-only" : "", sqlite3_libversion());
}
