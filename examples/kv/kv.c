/* SPDX-License-Identifier: MIT
 * kv.c -- tables of keys and values, transactions and snapshots, without SQL (libtwzdb)
 *
 *	kv STORE		move money between accounts while a reader looks on
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <twzdb.h>

static void ok(int rc)
{
	if (rc)
		errx(1, "%s: %s", twzdb_err_name(rc), twzdb_errmsg());
}

static struct twzdb_slice str(const char *s)
{
	return (struct twzdb_slice){s, strlen(s)};
}

static long get(struct twzdb_txn *tx, struct twzdb_table t, const char *who)
{
	struct twzdb_slice v;
	long n = 0;
	int rc = twzdb_get(tx, t, str(who), &v);

	if (rc == TWZDB_E_NOTFOUND)
		return 0;
	ok(rc);
	memcpy(&n, v.ptr, v.len < sizeof(n) ? v.len : sizeof(n)); /* values are not aligned */
	return n;
}

static void put(struct twzdb_txn *tx, struct twzdb_table t, const char *who, long n)
{
	ok(twzdb_put(tx, t, str(who), (struct twzdb_slice){&n, sizeof(n)}, 0));
}

/* Both or neither; durable when it returns. */
static void move(struct twzdb *db, const char *from, const char *to, long n)
{
	struct twzdb_table t;
	struct twzdb_txn *tx;

	ok(twzdb_begin(db, 0, &tx));
	ok(twzdb_table_open(tx, "account", TWZDB_TABLE_CREATE, &t));
	put(tx, t, from, get(tx, t, from) - n);
	put(tx, t, to, get(tx, t, to) + n);
	ok(twzdb_commit(tx));
}

static void print(struct twzdb_txn *tx)
{
	struct twzdb_slice k, v;
	struct twzdb_cursor *c;
	struct twzdb_table t;
	long n;
	int rc;

	ok(twzdb_table_open(tx, "account", 0, &t));
	ok(twzdb_cursor_open(tx, t, &c));
	for (rc = twzdb_cursor_get(c, TWZDB_FIRST, &k, &v); !rc;
	     rc = twzdb_cursor_get(c, TWZDB_NEXT, &k, &v)) {
		memcpy(&n, v.ptr, sizeof(n));
		printf("%.*s=%ld ", (int)k.len, (const char *)k.ptr, n);
	}
	if (rc != TWZDB_E_NOTFOUND)
		ok(rc);
	twzdb_cursor_close(c);
	printf("at commit %llu\n", (unsigned long long)twzdb_txn_ts(tx));
}

int main(int argc, char **argv)
{
	struct twzdb_options opt = {.size = sizeof(opt), .flags = TWZDB_CREATE};
	struct twzdb_txn *reader;
	struct twzdb *db;

	if (argc != 2)
		errx(2, "usage: kv STORE");
	ok(twzdb_open(argv[1], &opt, &db));
	move(db, "bank", "ann", 100);
	ok(twzdb_begin(db, TWZDB_RDONLY, &reader));
	move(db, "ann", "bob", 30); /* does not wait for the reader, nor the reader for it */
	print(reader);		    /* as it was when it began */
	ok(twzdb_renew(reader));
	print(reader);
	twzdb_abort(reader);
	ok(twzdb_close(db));
	return 0;
}
