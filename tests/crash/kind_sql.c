/* SPDX-License-Identifier: MIT
 * kind_sql.c -- SQLite databases on the VFS "twz": open, check, tell all rows
 *
 * SQLite itself is not instrumented: what it stores to is its own memory. The VFS, the engine and libtwz are. The VFS opens the
 * store; the linker's --wrap gives its call the simulated medium and small sizes. The state is the text of all rows;
 * PRAGMA integrity_check is asked of every image, and the engine's checker too.
 */
#include "kind_sql.h"

#include <string.h>

#include "twzdb.h"
#include "twzvfs.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

static const char *const other_name[SQL_OTHERS] = {"two", "three"};
static struct crash *opening; /* whose store the VFS opens */

const struct sql_kind sql_kind_one = SQL_KIND(true, .others = 0);
const struct sql_kind sql_kind_pair = SQL_KIND(false, .others = 1);
const struct sql_kind sql_kind_three = SQL_KIND(false, .others = 2);

const struct sql_kind sql_kind_apart = SQL_KIND(false, .others = 1, .apart = true);

static const struct sql_kind *kind_of(const struct crash *c)
{
	return (const struct sql_kind *)c->w->kind;
}

/* The engine's handle of the main database is c->db; of the others, behind SQLite's. Any other comes and goes. */
static void remember(struct crash *c, const char *name, struct twzdb *db)
{
	for (int i = 0; name && i < SQL_OTHERS; i++)
		if (!strcmp(name, other_name[i]))
			c->user[1 + i] = db;
	if (!name) {
		c->db = db;
		c->store = db ? twzdb_store(db) : NULL;
	}
}

int __real_twzdb_open(const char *path, const struct twzdb_options *opt, struct twzdb **out);
int __wrap_twzdb_open(const char *path, const struct twzdb_options *opt, struct twzdb **out)
{
	struct twz_store_options so = {.size = sizeof(so), .journal_len = 16 << 10};
	struct twzdb_options small = *opt;
	int rc;

	if (opt->store_options || !opening)
		return __real_twzdb_open(path, opt, out);
	so.flags = opt->flags & TWZDB_CREATE ? TWZ_STORE_CREATE : 0;
	so.initial_len = TWZ_KIND_LEN;
	so.backend = opening->backend;
	small.store_options = &so;
	small.log_len = 16 << 10;
	small.initial_len = 256 << 10;
	rc = __real_twzdb_open(path, &small, out);
	remember(opening, opt->name, rc ? NULL : *out);
	return rc;
}

sqlite3 *sql_of(struct crash *c)
{
	return c->user[0];
}

static int sql_why(struct crash *c, const char *sql)
{
	return crash_why(c, "%s: %s; %s", sql, sqlite3_errmsg(sql_of(c)), twzdb_errmsg());
}

int sql_exec(struct crash *c, const char *sql)
{
	return sqlite3_exec(sql_of(c), sql, NULL, NULL, NULL) ? sql_why(c, sql) : 0;
}

int sql_fails(struct crash *c, const char *sql, int rc)
{
	int got;

	sqlite3_extended_result_codes(sql_of(c), 1);
	got = sqlite3_exec(sql_of(c), sql, NULL, NULL, NULL);
	sqlite3_extended_result_codes(sql_of(c), 0);
	return got == rc ? 0 : crash_why(c, "%s: %d, not %d", sql, got, rc);
}

/* SQL about schema SCHEMA, for every %w in FMT. */
static int exec_in(struct crash *c, const char *fmt, const char *schema)
{
	char *sql = sqlite3_mprintf(fmt, schema, schema, schema, schema);
	int rc = sql ? sql_exec(c, sql) : crash_why(c, "no memory");

	sqlite3_free(sql);
	return rc;
}

static const char *schema_of(int i)
{
	return i < 0 ? "main" : other_name[i];
}

static int attach(struct crash *c)
{
	for (int i = 0; i < kind_of(c)->others; i++) {
		char *sql = sqlite3_mprintf("attach 'file:%q%s?db=%s' as %s", c->path,
					    kind_of(c)->apart ? SIM_SECOND : "", other_name[i],
					    other_name[i]);
		int rc = sql ? sql_exec(c, sql) : crash_why(c, "no memory");

		sqlite3_free(sql);
		if (rc || exec_in(c, "select count(*) from %w.sqlite_schema", other_name[i]))
			return -1;
	}
	return 0;
}

static int open_main(struct crash *c)
{
	int flags = c->read_only    ? SQLITE_OPEN_READONLY
		    : c->recovering ? SQLITE_OPEN_READWRITE
				    : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
	const char *more = kind_of(c)->uri && !c->recovering ? kind_of(c)->uri : "";
	sqlite3 *sql = NULL;
	char uri[300];
	int rc;

	opening = c;
	snprintf(uri, sizeof(uri), "file:%s?vfs=twz%s", c->path, more);
	rc = sqlite3_open_v2(uri, &sql, flags | SQLITE_OPEN_URI, "twz");
	c->user[0] = sql;
	/* Who finds a decision missing commits it, and SQLite begins again. */
	sqlite3_busy_timeout(sql, 2000);
	/* SQLite opens a file when it is used first. */
	if (!rc)
		rc = sqlite3_exec(sql, "select count(*) from sqlite_schema", NULL, NULL, NULL);
	return rc ? sql_why(c, "open") : attach(c);
}

static void forget(struct crash *c)
{
	c->db = c->store = NULL;
	memset(c->user, 0, (1 + SQL_OTHERS) * sizeof(c->user[0]));
}

static int sql_connect(struct crash *c)
{
	if (!open_main(c))
		return 0;
	sqlite3_close(sql_of(c));
	forget(c);
	return -1;
}

int sql_close(struct crash *c)
{
	sqlite3 *sql = sql_of(c);

	forget(c);
	return sqlite3_close(sql) ? crash_why(c, "close: %s", sqlite3_errmsg(sql)) : 0;
}

static int create(struct crash *c)
{
	const char *pragmas = kind_of(c)->pragmas;

	CRASH_DO(c, sql_exec(c, pragmas ? pragmas : "pragma page_size = 1024"));
	CRASH_DO(c,
		 sql_exec(c,
			  "create table a(id integer primary key, v text);"
			  "create table b(k text unique, n int); insert into b values('one', 1)"));
	for (int i = 0; i < kind_of(c)->others; i++)
		CRASH_DO(
			c,
			exec_in(c,
				"pragma %w.page_size = 512; create table %w.a(id integer primary key, v text);"
				"create table %w.b(k text unique, n int); insert into %w.b values('one', 1)",
				other_name[i]));
	return 0;
}

/* The second of a pair of stores has no file of its own; the VFS asks from time to time whether the file it has open has its name still. */
static int second_name(struct crash *c)
{
	char *path = sqlite3_mprintf("%s" SIM_SECOND, c->path);
	FILE *f = path ? fopen(path, "w") : NULL;

	sqlite3_free(path);
	if (!f)
		return crash_why(c, "cannot name the second store");
	fputc('x', f); /* an empty file would be an empty database */
	return fclose(f);
}

int sql_open(struct crash *c)
{
	db_names();
	if (twzvfs_register(0))
		return crash_why(c, "cannot register the VFS");
	if (kind_of(c)->apart)
		CRASH_DO(c, second_name(c));
	if (!c->recovering) {
		CRASH_DO(c, sql_connect(c));
		CRASH_DO(c, create(c));
		CRASH_DO(c, sql_close(c));
	}
	return sql_connect(c);
}

/* FN for the engine's handle of each database that is attached, as if it were the only one. */
static int each(struct crash *c, int (*fn)(struct crash *c))
{
	void *first = c->db;
	int rc = fn(c);

	for (int i = 0; i < SQL_OTHERS && !rc; i++) {
		c->db = c->user[1 + i];
		if (c->db)
			rc = fn(c);
	}
	c->db = first;
	return rc;
}

/* Exclusive locking mode keeps the writer's lock: it ends at the next read of each. */
int sql_settle(struct crash *c)
{
	CRASH_DO(c, sql_exec(c, "pragma locking_mode = normal"));
	for (int i = -1; i < kind_of(c)->others; i++)
		CRASH_DO(c, exec_in(c, "select count(*) from %w.sqlite_schema", schema_of(i)));
	return each(c, db_settle);
}

uint64_t sql_inside(struct crash *c)
{
	struct crash one = *c;
	uint64_t sum = db_inside(c);

	for (int i = 0; i < SQL_OTHERS; i++) {
		one.db = c->user[1 + i];
		sum += db_inside(&one);
	}
	return sum;
}

/* integrity_check without a name is of all databases; it says ok, or what is wrong. */
int sql_check(struct crash *c)
{
	char *text = NULL;
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(sql_of(c), "pragma integrity_check", -1, &st, NULL);

	if (!rc && sqlite3_step(st) == SQLITE_ROW)
		text = sqlite3_mprintf("%s", sqlite3_column_text(st, 0));
	rc = sqlite3_finalize(st) || !text;
	if (rc)
		sql_why(c, "integrity_check");
	else if ((rc = strcmp(text, "ok")))
		crash_why(c, "integrity_check: %s", text);
	sqlite3_free(text);
	return rc ? -1 : each(c, db_check);
}

/* A table made and dropped, in all databases by one transaction. */
int sql_probe(struct crash *c)
{
	static const char *const what[] = {"drop table if exists %w.probe",
					   "create table %w.probe(x)",
					   "insert into %w.probe values(1)", "drop table %w.probe"};

	for (int step = 0; step < 4; step++) {
		if (step < 2)
			CRASH_DO(c, sql_exec(c, "begin"));
		for (int i = -1; i < kind_of(c)->others; i++)
			CRASH_DO(c, exec_in(c, what[step], schema_of(i)));
		if (step == 0 || step == 3)
			CRASH_DO(c, sql_exec(c, "commit"));
	}
	return 0;
}

int sql_say(struct crash *c, const char *sql)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(sql_of(c), sql, -1, &st, NULL);

	while (!rc && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		crash_say(c, "%s\n", (const char *)sqlite3_column_text(st, 0));
		rc = 0;
	}
	sqlite3_finalize(st);
	return rc == SQLITE_DONE ? 0 : sql_why(c, sql);
}

static int say_of(struct crash *c, const char *fmt, const char *schema, const char *table)
{
	char *sql = sqlite3_mprintf(fmt, schema, table);
	int rc = sql ? sql_say(c, sql) : crash_why(c, "no memory");

	sqlite3_free(sql);
	return rc;
}

/* A database in doubt is told what the other decided when somebody is about to write it (D16). */
static int told(struct crash *c)
{
	if (kind_of(c)->others && c->recovering && !c->read_only)
		CRASH_DO(c, sql_exec(c, "begin immediate; rollback"));
	return 0;
}

int sql_show(struct crash *c)
{
	static const char *const what[] = {
		"select name || ' ' || sql from %w.sqlite_schema where name <> 'probe' and "
		"sql is not null and name not like 'sqlite_%%' order by 1",
		"select id || '=' || substr(v, 1, 8) || length(v) from %w.a order by id",
		"select quote(k) || quote(n) from %w.b order by k", "pragma %w.page_size",
		"pragma %w.auto_vacuum"};

	CRASH_DO(c, told(c));
	for (int i = -1; i < kind_of(c)->others; i++) {
		if (kind_of(c)->others)
			crash_say(c, "-- %s\n", schema_of(i));
		for (int k = 0; k < 5; k++)
			CRASH_DO(c, say_of(c, what[k], schema_of(i), NULL));
	}
	return 0;
}

/* Those of SCHEMA, and their rows; counted by an index too, if there is one. */
static int say_native(struct crash *c, const char *schema)
{
	char *sql = sqlite3_mprintf("select name from %w.sqlite_schema where sql like 'create "
				    "virtual table%%' order by 1",
				    schema);
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(sql_of(c), sql, -1, &st, NULL);

	while (!rc && sqlite3_step(st) == SQLITE_ROW) {
		const char *name = (const char *)sqlite3_column_text(st, 0);

		crash_say(c, "native %s.%s\n", schema, name);
		rc = say_of(c, "select text || ' ' || quote(num) from %w.\"%w\" order by text, num",
			    schema, name);
		if (!rc)
			rc = say_of(
				c,
				"select count(*) || ' by num' from %w.\"%w\" where num > -1000000",
				schema, name);
	}
	sqlite3_finalize(st);
	sqlite3_free(sql);
	return rc && !c->why[0] ? sql_why(c, "native tables") : rc;
}

int sql_show_native(struct crash *c)
{
	CRASH_DO(c, sql_show(c));
	for (int i = -1; i < kind_of(c)->others; i++)
		CRASH_DO(c, say_native(c, schema_of(i)));
	return 0;
}

int sql_rows(struct crash *c)
{
	return sql_exec(
		c, "with recursive r(i) as (select 1 union all select i + 1 from r where i < 20) "
		   "insert into a select i, 'row ' || i || hex(zeroblob(20)) from r");
}
