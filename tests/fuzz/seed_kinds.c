/* SPDX-License-Identifier: MIT
 * seed_kinds.c -- what the stores to begin with have been through
 */
#include "seed.h"

#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "twzvfs.h"

static struct twzdb_slice str(const char *s)
{
	return (struct twzdb_slice){s, strlen(s)};
}

/* Row I of table T, LEN bytes, most of them zero; < 0: it goes. */
static int change(struct twzdb_txn *tx, struct twzdb_table t, int i, int len)
{
	static char val[3 << 20];
	char key[40];
	struct twzdb_slice k = {key,
				(size_t)snprintf(key, sizeof(key), "row%07d", i * 7919 % 100003)};

	if (len < 0)
		return twzdb_del(tx, t, k);
	snprintf(val, 20, "%d", i);
	return twzdb_put(tx, t, k, (struct twzdb_slice){val, (size_t)len}, 0);
}

/* Rows FROM .. TO - 1 of table NAME in one transaction. */
static int rows(struct twzdb *db, const char *name, int from, int to, int len)
{
	struct twzdb_txn *tx;
	struct twzdb_table t;
	int err = twzdb_begin(db, 0, &tx);

	if (err)
		return err;
	err = twzdb_table_open(tx, name, TWZDB_TABLE_CREATE, &t);
	for (int i = from; i < to && !err; i++)
		err = change(tx, t, i, len);
	if (!err)
		return twzdb_commit(tx);
	twzdb_abort(tx);
	return err;
}

/* A tree of three levels. */
static int splits(const char *path)
{
	struct twzdb *db;
	int err = seed_open(path, NULL, &db);

	for (int i = 0; i < 8 && !err; i++)
		err = rows(db, "t", i * 400, i * 400 + 400, 10);
	return err;
}

/* Most of its rows gone again, one by one and by the range. */
static int merges(const char *path)
{
	struct twzdb *db;
	struct twzdb_txn *tx;
	struct twzdb_table t;
	uint64_t n;
	int err = seed_open(path, NULL, &db);

	if (!err)
		err = rows(db, "t", 0, 1500, 20);
	for (int i = 0; i < 10 && !err; i++)
		err = rows(db, "t", i * 90, i * 90 + 90, -1);
	if (!err)
		err = twzdb_begin(db, 0, &tx);
	if (!err)
		err = twzdb_table_open(tx, "t", 0, &t);
	if (!err)
		err = twzdb_del_range(tx, t, str("row002"), str("row004"), &n);
	return err ? err : twzdb_commit(tx);
}

/* A checkpoint, and commits since. */
static int checkpoint(const char *path)
{
	struct twzdb *db;
	int err = seed_open(path, NULL, &db);

	if (!err)
		err = seed_fill(db, 60);
	if (!err)
		err = twzdb_checkpoint(db);
	for (int i = 0; i < 3 && !err; i++)
		err = rows(db, "t", i, i + 3, 70);
	return err;
}

/* The log has gone round several times. */
static int laps(const char *path)
{
	struct twzdb *db;
	int err = seed_open(path, NULL, &db);

	for (int i = 0; i < 150 && !err; i++)
		err = rows(db, "t", i % 40, i % 40 + 4, 150 + i % 7);
	return err;
}

/* Values in pages of their own, in extents of their own, one replaced and one gone. */
static int large(const char *path)
{
	static const int len[] = {5000, 20000, 100000, 700000, 2500000};
	struct twzdb *db;
	int err = seed_open(path, NULL, &db);

	for (int i = 0; i < 5 && !err; i++)
		err = rows(db, "t", i, i + 1, len[i]);
	if (!err)
		err = rows(db, "t", 2, 3, 150000);
	return err ? err : rows(db, "t", 1, 2, -1);
}

/* Many tables of all kinds, some dropped. */
static int tables(const char *path)
{
	static const uint32_t kind[] = {0, TWZDB_TABLE_INTKEY, TWZDB_TABLE_DUPSORT};
	struct twzdb *db;
	struct twzdb_txn *tx;
	struct twzdb_table t;
	char name[40];
	int err = seed_open(path, NULL, &db);

	if (!err)
		err = twzdb_begin(db, 0, &tx);
	for (uint32_t i = 0; i < 90 && !err; i++) {
		snprintf(name, sizeof(name), "table %u of many", i);
		err = twzdb_table_open(tx, name, TWZDB_TABLE_CREATE | kind[i % 3], &t);
		if (!err)
			err = twzdb_put(tx, t, str("12345678"), str(name), 0);
	}
	if (!err)
		err = twzdb_commit(tx);
	if (!err)
		err = twzdb_begin(db, 0, &tx);
	for (uint32_t i = 0; i < 90 && !err; i += 4) {
		snprintf(name, sizeof(name), "table %u of many", i);
		err = twzdb_table_drop(tx, name);
	}
	return err ? err : twzdb_commit(tx);
}

/* What savepoints kept and what they undid. */
static int savepoints(const char *path)
{
	struct twzdb *db;
	struct twzdb_txn *tx;
	struct twzdb_table t;
	uint32_t id = 0;
	int err = seed_open(path, NULL, &db);

	if (!err)
		err = rows(db, "t", 0, 200, 30);
	if (!err)
		err = twzdb_begin(db, 0, &tx);
	if (!err)
		err = twzdb_table_open(tx, "t", 0, &t);
	for (int i = 0; i < 6 && !err; i++) {
		err = twzdb_savepoint(tx, &id);
		for (int k = 0; k < 40 && !err; k++)
			err = change(tx, t, i * 30 + k, i % 2 && k < 30 ? -1 : 60);
		if (!err)
			err = i % 3 == 1 ? twzdb_rollback_to(tx, id) : twzdb_release(tx, id);
	}
	return err ? err : twzdb_commit(tx);
}

/* Long rows of which little changed (page media: the log has what), alone and two at once. */
static int ranges(const char *path)
{
	struct twzdb *db;
	int err = seed_open(path, NULL, &db);

	if (!err)
		err = rows(db, "t", 0, 4, 3000);
	if (!err)
		err = twzdb_checkpoint(db);
	for (int i = 0; i < 4 && !err; i++) {
		struct twzdb_txn *tx;
		struct twzdb_table t;
		char val[3000] = "changed";

		val[i * 700] = (char)i;
		val[2999 - i] = 'x';
		err = twzdb_begin(db, 0, &tx);
		if (!err)
			err = twzdb_table_open(tx, "t", 0, &t);
		for (int k = 0; k < 1 + i % 2 && !err; k++)
			err = twzdb_put(tx, t, str(k ? "row0007919" : "row0000000"),
					(struct twzdb_slice){val, sizeof(val)}, 0);
		if (!err)
			err = twzdb_commit(tx);
	}
	return err;
}

/* Smaller than it was: holes. */
static int compacted(const char *path)
{
	struct twzdb *db;
	int err = seed_open(path, NULL, &db);

	if (!err)
		err = rows(db, "t", 0, 2500, 60);
	if (!err)
		err = rows(db, "t", 0, 2300, -1);
	return err ? err : twzdb_compact(db, NULL, NULL);
}

/* Objects with a heap, names, pointers by ID and by name; an undo transaction that is not over. */
static int objects(const char *path)
{
	struct twz_obj_options oo = {.size = sizeof(oo), .len = 16384};
	struct twz_store *s;
	struct twz_obj *o;
	struct twz_tx *tx;
	struct twzdb *db;
	twz_pptr *own, p;
	twz_oid id;
	int err = seed_open(path, NULL, &db);
	char name[40];

	if (err)
		return err;
	s = twzdb_store(db);
	err = twz_obj_create(s, &oo, &id, &o);
	for (int i = 0; i < 12 && !err; i++) {
		snprintf(name, sizeof(name), "a/%d/name", i);
		err = twz_name_set(s, name, id, 0);
		if (!err)
			err = i % 3 ? twz_ptr_make_name(twz_obj_data(o), name, TWZ_DATA_OFF,
							TWZ_READ, &p)
				    : twz_fot_set(o, 20 + (uint64_t)i, id, TWZ_READ);
	}
	if (!err)
		err = twz_arena_create(o, TWZ_DATA_OFF + 4096);
	own = twz_obj_data(o);
	for (int i = 0; i < 8 && !err; i++)
		err = twz_alloc(o, (size_t)100 << i % 4, &own[i], NULL);
	if (!err)
		err = twz_free(o, &own[3]);
	if (!err)
		err = twz_tx_begin(s, &tx);
	if (!err)
		err = twz_tx_record(tx, own + 100, 800);
	memset(own + 100, 7, 800);
	return err;
}

/* --- SQLite's databases --- */

static int sql(const char *path, const char *db_name, const char *const *text, int cnt)
{
	sqlite3 *db = NULL;
	char uri[300];
	int rc = twzvfs_register(0);

	snprintf(uri, sizeof(uri), "file:%s%s%s", path, db_name ? "?db=" : "",
		 db_name ? db_name : "");
	if (!rc)
		rc = sqlite3_open_v2(uri, &db,
				     SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI,
				     "twz");
	for (int i = 0; i < cnt && !rc; i++)
		rc = sqlite3_exec(db, text[i], NULL, NULL, NULL);
	if (rc)
		fprintf(stderr, "%s: %s\n", path, sqlite3_errmsg(db));
	return rc; /* it stays open */
}

static int sql_one(const char *path)
{
	return sql(path, NULL, schemas, 1);
}

static int sql_native(const char *path)
{
	static const char *const text[] = {
		"create virtual table v using twz(k text primary key, n int, index(n));"
		"with recursive r(x) as (values(1) union all select x + 1 from r where x < 80)"
		"insert into v select 'key ' || x, x * 7 % 31 from r;"
		"create virtual table w using twz(n integer primary key, x, y)",
		"begin; insert into w values(1, 2, x'00'); savepoint s; delete from v; rollback to s; update v set n = n + 1 where n < 9; commit",
	};

	return sql(path, NULL, text, 2);
}

/* Two databases, changed together (D16). */
static int sql_two(const char *path)
{
	char attach[400];
	const char *text[] = {
		attach,
		"begin; create table main.m(x); insert into m values(1), (2); create table o.t(y, z); insert into o.t values(3, zeroblob(3000)); commit",
		"update m set x = 7 where x = 1; begin; delete from m; insert into o.t values(4, 5); commit",
	};

	snprintf(attach, sizeof(attach), "attach 'file:%s?db=other' as o", path);
	return sql(path, NULL, text, 3);
}

const struct seed_kind seed_kinds[] = {
	{"store", seed_store},
	{"group", seed_group},
	{"lazy", seed_lazy},
	{"splits", splits},
	{"merges", merges},
	{"checkpoint", checkpoint},
	{"laps", laps},
	{"large", large},
	{"tables", tables},
	{"savepoints", savepoints},
	{"compacted", compacted},
	{"objects", objects},
	{"sql", sql_one},
	{"native", sql_native},
	{"two", sql_two},
	{"ranges", ranges},
	{NULL, NULL},
};
