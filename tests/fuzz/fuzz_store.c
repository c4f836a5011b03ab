/* SPDX-License-Identifier: MIT
 * fuzz_store.c -- any bytes as a store: opening, checking and walking it ends with a clear answer
 *
 * With clang (preset fuzz) this is a libFuzzer target: `fuzz_store CORPUS_DIR`. Otherwise
 * fuzz_main.c drives it with mutated real stores.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fuzz.h"
#include "image.h"
#include "twz/twz.h"
#include "twzdb.h"

static void ignore_finding(void *ctx, const char *where, const char *what)
{
	(void)ctx;
	(void)where;
	(void)what;
}

static int ignore_name(void *ctx, const char *name, twz_oid id)
{
	(void)ctx;
	(void)name;
	(void)id;
	return 0;
}

/* Touch every object through its mapping's first and last byte. */
static void walk_objects(struct twz_store *s)
{
	struct twz_obj_stat st = {.size = sizeof(st)};
	volatile unsigned char sink = 0;
	uint64_t cursor = 0;
	int limit = 1000;

	while (limit-- && twz_obj_next(s, &cursor, &st) == 0) {
		struct twz_obj *o = NULL;

		if (twz_obj_open(s, st.id, TWZ_READ, &o))
			continue;
		if (!(st.flags & TWZ_OBJ_LOG) && twz_obj_len(o)) {
			const unsigned char *p = twz_obj_data(o);

			sink ^= (unsigned char)(p[0] ^ p[twz_obj_len(o) - 1]);
		}
		twz_obj_close(o);
	}
	(void)sink;
}

static void dump_store(struct twz_store *s)
{
	FILE *f = fopen("/dev/null", "w");

	if (!f)
		return;
	(void)!twz_dump(s, TWZ_DUMP_ALL, f);
	fclose(f);
}

static void walk_store(const char *path)
{
	struct twz_store *s = NULL;
	uint64_t found;

	if (twz_store_open(path, NULL, &s))
		return;
	(void)!twz_check(s, ignore_finding, NULL, &found);
	dump_store(s);
	walk_objects(s);
	(void)!twz_name_list(s, "", ignore_name, NULL);
	twz_store_close(s);
}

#define WALK_STEPS 3000 /* of a cursor: an image of some megabytes has no more rows by chance */

/* Every move a cursor knows, from where it happens to be. */
static void walk_moves(struct twzdb_cursor *c)
{
	struct twzdb_slice k, v;
	uint64_t cnt;

	for (int op = TWZDB_FIRST; op <= TWZDB_SEEK_BOTH_GE; op++) {
		if (twzdb_cursor_get(c, TWZDB_NEXT, &k, &v))
			(void)!twzdb_cursor_get(c, TWZDB_FIRST, &k, &v);
		if (twzdb_cursor_get(c, TWZDB_CURRENT, &k, &v))
			k = v = (struct twzdb_slice){"12345678", 8};
		if (v.len > 64)
			v.len = 64;
		(void)!twzdb_cursor_get(c, (enum twzdb_seek)op, &k, &v);
		(void)!twzdb_cursor_count(c, &cnt);
	}
}

static void walk_rows(struct twzdb_cursor *c, enum twzdb_seek first, enum twzdb_seek next)
{
	volatile unsigned char sink = 0;
	struct twzdb_slice k, v;
	int n = 0;

	for (int err = twzdb_cursor_get(c, first, &k, &v); !err && n++ < WALK_STEPS;
	     err = twzdb_cursor_get(c, next, &k, &v)) {
		const unsigned char *p = k.ptr, *q = v.ptr;

		if (k.len)
			sink ^= (unsigned char)(p[0] ^ p[k.len - 1]);
		if (v.len)
			sink ^= (unsigned char)(q[0] ^ q[v.len - 1]);
	}
	(void)sink;
}

static int walk_table(void *ctx, const char *name, struct twzdb_table t, uint32_t kind)
{
	struct twzdb_table_stats st = {.size = sizeof(st)};
	const struct twzdb_slice none = {NULL, 0}, mid = {"key00050", 8};
	struct twzdb_cursor *c;
	struct twzdb_slice v;
	uint64_t n;

	(void)name;
	if (!twzdb_cursor_open(ctx, t, &c)) {
		walk_rows(c, TWZDB_FIRST, TWZDB_NEXT);
		walk_rows(c, TWZDB_LAST, TWZDB_PREV);
		if (kind & TWZDB_TABLE_DUPSORT) {
			walk_rows(c, TWZDB_FIRST, TWZDB_NEXT_NODUP);
			walk_rows(c, TWZDB_LAST, TWZDB_PREV_NODUP);
			walk_rows(c, TWZDB_FIRST, TWZDB_NEXT_DUP);
		}
		walk_moves(c);
		twzdb_cursor_close(c);
	}
	(void)!twzdb_get(ctx, t, mid, &v);
	(void)!twzdb_count(ctx, t, &n);
	(void)!twzdb_estimate(ctx, t, none, none, &n);
	(void)!twzdb_estimate(ctx, t, mid, none, &n);
	(void)!twzdb_table_stats(ctx, t, TWZDB_STATS_BYTES, &st);
	return 0;
}

/* Change a table in all ways there are, under savepoints. */
static int change_table(void *ctx, const char *name, struct twzdb_table t, uint32_t kind)
{
	const struct twzdb_slice k = {"fuzzfuzz", 8}, v = {"value", 5}, none = {NULL, 0};
	uint32_t id = 0;
	uint64_t n;

	(void)kind;
	(void)!twzdb_savepoint(ctx, &id);
	(void)!twzdb_put(ctx, t, k, v, 0);
	(void)!twzdb_put_if(ctx, t, k, &v, k);
	(void)!twzdb_del_range(ctx, t, k, none, &n);
	(void)!twzdb_rollback_to(ctx, id);
	(void)!twzdb_del_range(ctx, t, none, none, &n);
	(void)!twzdb_rollback_to(ctx, id);
	(void)!twzdb_table_drop(ctx, name);
	(void)!twzdb_rollback_to(ctx, id);
	(void)!twzdb_put(ctx, t, k, v, TWZDB_APPEND);
	(void)!twzdb_del_if(ctx, t, k, v);
	(void)!twzdb_release(ctx, id);
	return 0;
}

static void walk_database(const char *path)
{
	struct twzdb *db = NULL;
	struct twzdb_txn *txn = NULL;
	uint64_t found;

	if (twzdb_open(path, NULL, &db))
		return;
	(void)!twzdb_check(db, ignore_finding, NULL, &found);
	if (twzdb_begin(db, TWZDB_TRY, &txn) == 0) {
		struct twzdb_slice k = {"fuzz", 4}, v = {"value", 5}, got;
		struct twzdb_table t;

		(void)!twzdb_table_each(txn, walk_table, txn);
		(void)!twzdb_table_each(txn, change_table, txn);
		if (twzdb_table_open(txn, "t", TWZDB_TABLE_CREATE, &t) == 0) {
			(void)!twzdb_get(txn, t, k, &got);
			(void)!twzdb_put(txn, t, k, v, 0);
		}
		(void)!twzdb_commit(txn);
	}
	twzdb_close(db);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static char path[64];
	char lock[80];

	if (!path[0])
		snprintf(path, sizeof(path), "/dev/shm/twz-fuzz-%d.twz", (int)getpid());
	snprintf(lock, sizeof(lock), "%s-lock", path);
	if (len > ((size_t)4 << 20) || image_write(path, data, len))
		return 0;
	(void)surround(data, len);
	walk_store(path);
	walk_database(path);
	unlink(path);
	unlink(lock);
	return 0;
}
