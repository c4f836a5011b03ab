/* SPDX-License-Identifier: MIT
 * test_engine_nomem.c -- malloc fails: the nth call, for every n (docs/promises.md, line 10)
 *
 * A program opens a database, changes it in several ways, and closes it. Whichever allocation of it fails, in libtwz or the engine: it
 * is told an error, never anything worse, and what it was told is committed is there, what it was told is not is not.
 */
#include "engine_t.h"
#include "nomem.h"

#define ROWS 40
#define MANY 200 /* rows by one call: more nodes than lists have room for at first */
#define AFRESH                                                                                     \
	100 /* programs on one store: each leaves rows, and all are looked at after each failure */

/* Each committed transaction gives all rows another version, in rows of several lengths. */
static size_t len_of(uint64_t i)
{
	return i % 7 == 3 ? 3000 : 20 + i;
}

/* Rows behind the last one; some of them changed at once. */
static int many_rows(struct twzdb_txn *tx)
{
	static struct twzdb_slice keys[MANY], values[MANY];
	static uint64_t next = 1, key[MANY];
	struct twzdb_table t;
	int err = twzdb_table_open(tx, "many", TWZDB_TABLE_CREATE, &t);

	for (unsigned i = 0; i < MANY; i++) {
		key[i] = __builtin_bswap64(next++);
		keys[i] = (struct twzdb_slice){&key[i], sizeof(key[i])};
		values[i] = et_val(1, 20);
	}
	if (!err)
		err = twzdb_put_many(tx, t, MANY, keys, values, TWZDB_APPEND, NULL);
	if (!err)
		err = twzdb_del(tx, t, keys[5]);
	if (!err)
		err = twzdb_put(tx, t, keys[6], et_val(9, 60), 0);
	return err ? err : twzdb_put(tx, t, keys[7], et_val(9, 20), 0);
}

static int change(struct twzdb *db, uint64_t v)
{
	struct twzdb_slice got;
	struct twzdb_txn *tx;
	struct twzdb_table t;
	uint32_t sp;
	int err = twzdb_begin(db, 0, &tx);

	if (err)
		return err;
	err = twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &t);
	for (uint64_t i = 0; i < ROWS && !err; i++)
		err = twzdb_put(tx, t, et_key(i), et_val(i + v, len_of(i)), 0);
	for (int i = 0; i < 2 && !err; i++)
		err = many_rows(tx);
	if (!err)
		err = twzdb_savepoint(tx, &sp);
	for (uint64_t i = 0; i < ROWS && !err; i += 5)
		err = twzdb_del(tx, t, et_key(i));
	if (!err)
		err = twzdb_rollback_to(tx, sp);
	if (!err)
		err = twzdb_get(tx, t, et_key(3), &got);
	if (!err)
		return twzdb_commit(tx);
	twzdb_abort(tx);
	return err;
}

/* Versions V and V + 1, one after the other: *DONE is the last that was acknowledged, or stays. */
static int program(const char *path, uint64_t v, uint64_t *done)
{
	struct twzdb *db = NULL;
	int err = et_open(path, &db), ret;

	for (uint64_t i = v; i <= v + 1 && !err; i++) {
		err = change(db, i);
		if (!err)
			*done = i;
	}
	ret = db ? twzdb_close(db) : 0;
	return err ? err : ret;
}

/* *FOUND: the version that all rows have, or UINT64_MAX. */
static void version(struct twzdb *db, uint64_t from, uint64_t to, uint64_t *found)
{
	struct twzdb_txn *tx;
	struct twzdb_table t;
	struct twzdb_slice got;

	*found = UINT64_MAX;
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	T_REQ(twzdb_table_open(tx, "t", 0, &t));
	for (uint64_t v = from; v <= to && *found == UINT64_MAX; v++) {
		uint64_t i = 0;

		while (i < ROWS && !twzdb_get(tx, t, et_key(i), &got) &&
		       et_same(got, et_val(i + v, len_of(i))))
			i++;
		*found = i == ROWS ? v : *found;
	}
	twzdb_abort(tx);
}

/* What was told is so: the version that is there is NOW, not one that was refused. */
static void look(const char *path, uint64_t now, uint64_t to, uint64_t *done)
{
	struct twzdb *db;

	T_REQ(et_open(path, &db));
	T_TRUE(et_clean(db));
	version(db, now, to, done);
	T_TRUE(*done == now);
	T_REQ(twzdb_close(db));
}

static void sweep(enum et_media m)
{
	const char *path = et_path(m, "nomem.twz");
	uint64_t v = 1, done = 0, failed = 0, last = 0, programs = 0;

	setenv("TWZDB_HELPER", "0", 1); /* so that the same calls come in the same order */
	for (uint64_t n = 1; n; n = nomem_next(n)) {
		uint64_t now = done;
		int err;

		if (programs++ % AFRESH == 0) {
			unlink(path);
			T_REQ(program(path, v, &now));
			v += 2;
		}
		nomem_fail(n);
		err = program(path, v, &now);
		nomem_fail(0);
		failed += err != 0;
		done = now;
		if (nomem_calls >= n)
			look(path, now, v + 1, &done);
		v += 2;
		last = n;
	}
	printf("  %s: %llu allocations, in %llu programs, of which %llu were told\n",
	       m == ET_PAGE ? "page" : "line", (unsigned long long)last - 1,
	       (unsigned long long)programs, (unsigned long long)failed);
	T_TRUE(failed > 20);
	unlink(path);
}

static void an_allocation_fails_on_page_media(void)
{
	sweep(ET_PAGE);
}

static void an_allocation_fails_on_cache_line_media(void)
{
	sweep(ET_LINE);
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {T_CASE(an_allocation_fails_on_page_media),
					      T_CASE(an_allocation_fails_on_cache_line_media),
					      T_END};

	return t_main("engine_nomem", cases, argc, argv);
}
