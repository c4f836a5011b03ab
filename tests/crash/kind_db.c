/* SPDX-License-Identifier: MIT
 * kind_db.c -- databases of the engine: open, check, tell all tables and rows
 */
#include "workloads.h"

#include <stdlib.h>
#include <string.h>

#include "twzdb.h"

#define PROBE	  "probe"
#define DECISIONS "twzdb.decisions" /* of groups: who forgets one, and when, is nobody's business */

static void found(void *ctx, const char *where, const char *what)
{
	struct crash *c = ctx;

	if (!c->why[0])
		crash_why(c, "twzdb_check: %s: %s", where, what);
}

static const char *err_name(int rc)
{
	return rc <= -21000 ? twzdb_err_name(rc) : twz_err_name(rc);
}

void db_names(void)
{
	crash_err_name = err_name;
	crash_err_msg = twzdb_errmsg;
	/* Before anything is opened: a thread would come at another moment each time. */
	setenv("TWZDB_HELPER", "0", 1);
}

uint64_t db_log_len = DB_LOG_LEN;

int db_open_flags(struct crash *c, uint32_t flags)
{
	struct twz_store_options so = {.size = sizeof(so),
				       .flags = flags & TWZDB_CREATE ? TWZ_STORE_CREATE : 0,
				       .initial_len = TWZ_KIND_LEN,
				       .journal_len = 16 << 10,
				       .backend = c->backend};
	struct twzdb_options opt = {.size = sizeof(opt),
				    .flags = flags,
				    .log_len = db_log_len,
				    .initial_len = 256 << 10,
				    .store_options = &so};
	struct twzdb *db = NULL;

	int rc;

	db_names();
	rc = twzdb_open(c->path, &opt, &db);
	if (rc)
		return rc;
	c->db = db;
	c->store = twzdb_store(db);
	return 0;
}

int db_close(struct crash *c)
{
	struct twzdb *db = c->db;

	c->db = c->store = NULL;
	CRASH_DO(c, twzdb_close(db));
	return 0;
}

int db_open(struct crash *c)
{
	if (!c->recovering) {
		CRASH_DO(c, db_open_flags(c, TWZDB_CREATE));
		CRASH_DO(c, db_close(c));
	}
	CRASH_DO(c, db_open_flags(c, c->read_only ? TWZDB_READONLY : 0));
	return 0;
}

int db_check(struct crash *c)
{
	uint64_t cnt = 0;

	CRASH_DO(c, twzdb_check(c->db, found, c, &cnt));
	if (cnt && !c->why[0])
		return crash_why(c, "twzdb_check: %llu findings", (unsigned long long)cnt);
	return c->why[0] ? -1 : twz_kind_check(c);
}

/* A table of its own, filled and dropped again; an heir that died may have left it. */
int db_probe(struct crash *c)
{
	struct twzdb_txn *txn = NULL;
	struct twzdb_table t;

	CRASH_DO(c, twzdb_begin(c->db, 0, &txn));
	CRASH_DO(c, twzdb_table_open(txn, PROBE, TWZDB_TABLE_CREATE, &t));
	CRASH_DO(c,
		 twzdb_put(txn, t, (struct twzdb_slice){"k", 1}, (struct twzdb_slice){"v", 1}, 0));
	CRASH_DO(c, twzdb_commit(txn));
	CRASH_DO(c, twzdb_begin(c->db, 0, &txn));
	CRASH_DO(c, twzdb_table_drop(txn, PROBE));
	CRASH_DO(c, twzdb_commit(txn));
	return 0;
}

/* Splits, merges, checkpoints and laps of the ring so far. */
uint64_t db_inside(struct crash *c)
{
	struct twzdb_stats st = {.size = sizeof(st)};

	if (!c->db || twzdb_stats(c->db, &st))
		return 0;
	return st.splits + st.merges + st.checkpoints;
}

int db_settle(struct crash *c)
{
	if (c->db)
		CRASH_DO(c, twzdb_checkpoint(c->db));
	return 0;
}

const struct crash_kind db_kind = {db_open,   db_check, db_close, db_probe,
				   db_inside, true,	db_settle};

struct lister {
	struct crash *c;
	struct twzdb_txn *txn;
};

/* A table in one line: a hash of all its rows, and its first rows in full when they are short. */
static int say_table(void *ctx, const char *name, uint64_t rows)
{
	struct lister *l = ctx;
	struct crash *c = l->c;
	struct twzdb_cursor *cur = NULL;
	struct twzdb_slice k, v;
	struct twzdb_table t;
	uint64_t n = 0, sum = 0;
	int rc;

	if (!strcmp(name, PROBE) || !strcmp(name, DECISIONS))
		return 0;
	CRASH_DO(c, twzdb_table_open(l->txn, name, TWZDB_TABLE_ANY, &t));
	CRASH_DO(c, twzdb_cursor_open(l->txn, t, &cur));
	crash_say(c, "table %s:", name);
	for (rc = twzdb_cursor_get(cur, TWZDB_FIRST, &k, &v); !rc;
	     rc = twzdb_cursor_get(cur, TWZDB_NEXT, &k, &v), n++) {
		sum = sum * 31 + wl_sum(k.ptr, k.len) * 3 + wl_sum(v.ptr, v.len);
		if (n < 40 && k.len < 20)
			crash_say(c, " %.*s=%zu", (int)k.len, (const char *)k.ptr, v.len);
	}
	twzdb_cursor_close(cur);
	if (rc != TWZDB_E_NOTFOUND)
		return crash_failed(c, rc, "reading a table");
	CRASH_DO(c, twzdb_count(l->txn, t, &rows));
	if (rows != n)
		return crash_why(c, "table %s: %llu rows counted, %llu found", name,
				 (unsigned long long)rows, (unsigned long long)n);
	crash_say(c, "; %llu rows, hash %llx\n", (unsigned long long)n, (unsigned long long)sum);
	return 0;
}

int db_show(struct crash *c)
{
	struct lister l = {.c = c};
	int rc;

	CRASH_DO(c, twzdb_begin(c->db, TWZDB_RDONLY, &l.txn));
	rc = twzdb_table_list(l.txn, say_table, &l);
	twzdb_abort(l.txn);
	return rc && !c->why[0] ? crash_failed(c, rc, "listing tables") : rc;
}
