/* SPDX-License-Identifier: MIT
 * seed.c -- real stores to begin with
 */
#include "image.h"
#include "seed.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../engine/src/group.h"

int seed_read(const char *path, uint8_t **out, size_t *len)
{
	struct stat st;
	int fd = open(path, O_RDONLY);
	ssize_t n;

	if (fd < 0 || fstat(fd, &st))
		return -1;
	*len = (size_t)st.st_size;
	*out = malloc(*len + 1);
	n = read(fd, *out, *len);
	close(fd);
	return n == st.st_size ? 0 : -1;
}

/* Pairs and numbers. */
static int fill_kinds(struct twzdb_txn *txn, int rows)
{
	struct twzdb_table pairs, nums;
	int err = twzdb_table_open(txn, "pairs", TWZDB_TABLE_CREATE | TWZDB_TABLE_DUPSORT, &pairs);

	if (!err)
		err = twzdb_table_open(txn, "nums", TWZDB_TABLE_CREATE | TWZDB_TABLE_INTKEY, &nums);
	for (int i = 0; i < rows && !err; i++) {
		uint64_t n = (uint64_t)i * 0x123456789;
		char key[8] = "k\0\0key";
		struct twzdb_slice k = {key, 3 + (size_t)i % 3}, v = {&n, sizeof(n)};

		err = twzdb_put(txn, pairs, k, v, 0);
		if (!err)
			err = twzdb_put(txn, nums, v, k, 0);
	}
	return err;
}

int seed_fill(struct twzdb *db, int rows)
{
	struct twzdb_txn *txn;
	struct twzdb_table t;
	int err = twzdb_begin(db, 0, &txn);

	if (err)
		return err;
	err = twzdb_table_open(txn, "t", TWZDB_TABLE_CREATE, &t);
	for (int i = 0; i < rows && !err; i++) {
		char key[32], val[200];
		struct twzdb_slice k = {
			key, (size_t)snprintf(key, sizeof(key), "key%08d", i * 7919 % 100000)};
		struct twzdb_slice v = {
			val, (size_t)snprintf(val, sizeof(val), "%0*d", 20 + i % 150, i)};

		err = twzdb_put(txn, t, k, v, 0);
	}
	if (!err)
		err = fill_kinds(txn, rows);
	if (err) {
		twzdb_abort(txn);
		return err;
	}
	return twzdb_commit(txn);
}

int seed_open(const char *path, const char *name, struct twzdb **db)
{
	struct twz_store_options so = {
		.size = sizeof(so), .journal_len = 16384, .initial_len = 131072};
	struct twzdb_options opt = {.size = sizeof(opt),
				    .flags = TWZDB_CREATE,
				    .name = name,
				    .log_len = 16384,
				    .initial_len = 131072,
				    .store_options = &so};

	return twzdb_open(path, &opt, db);
}

/* Objects, names, pointers and a database. */
int seed_store(const char *path)
{
	struct twz_obj_options oo = {.size = sizeof(oo), .len = 8192};
	struct twz_obj *a = NULL, *b = NULL;
	struct twzdb *db = NULL;
	twz_oid id;
	int err = seed_open(path, NULL, &db);

	for (int i = 0; i < 4 && !err; i++)
		err = seed_fill(db, 40 * i + 1);
	if (!err)
		err = twz_obj_create(twzdb_store(db), &oo, &id, &a);
	if (!err)
		err = twz_obj_create(twzdb_store(db), &oo, NULL, &b);
	if (!err)
		err = twz_name_set(twzdb_store(db), "some/name", id, 0);
	return err ? err : twz_ptr_store(twz_obj_data(a), twz_obj_data(b), TWZ_READ);
}

/* --- a prepared transaction, whose coordinator has committed: the next opening finishes it (D16) --- */

static int put_one(struct twzdb_txn *tx, int i)
{
	char key[32], val[100] = "prepared";
	struct twzdb_slice k = {key, (size_t)snprintf(key, sizeof(key), "key%08d", i)};
	struct twzdb_table t;
	int err = twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &t);

	return err ? err : twzdb_put(tx, t, k, (struct twzdb_slice){val, 20 + (size_t)i}, 0);
}

/* What twzdb_group_commit() does, up to the commit point. */
static int half_group(const char *path, struct twzdb *const *db)
{
	struct twz_store_info info = {.size = sizeof(info)};
	struct twzdb__chair c = {.group = {7, 9}, .path = path, .name = db[0]->name};
	struct twzdb_table t;
	struct twzdb_txn *tx[2];
	int err = twz_store_info(db[0]->s, &info);

	if (!err)
		err = twzdb_group_begin(db, 2, 0, -1, tx);
	for (int i = 0; i < 20 && !err; i++)
		err = put_one(tx[i % 2], i);
	memcpy(c.coordinator, db[0]->id, sizeof(c.coordinator));
	memcpy(c.store, info.uuid.w, sizeof(c.store));
	if (!err)
		err = twzdb_table_open(tx[0], TWZDB_DECISIONS, TWZDB_TABLE_CREATE, &t);
	if (!err)
		err = twzdb_put(tx[0], t, (struct twzdb_slice){c.group, sizeof(c.group)},
				(struct twzdb_slice){db[1]->id, 16}, 0);
	if (!err)
		err = twzdb__prepare(tx[1], &c);
	return err ? err : twzdb_commit(tx[0]);
}

/*
 * The one that is opened without a name is the participant: the coordinator has a lower ID. IDs are random, so a store in which it is
 * the other way round is thrown away.
 */
int seed_group(const char *path)
{
	struct twzdb *db[2] = {NULL, NULL};
	int err = 0;

	for (int i = 0; i < 60 && !err; i++) {
		err = seed_open(path, NULL, &db[1]);
		if (!err)
			err = seed_open(path, "other", &db[0]);
		if (err || memcmp(db[0]->id, db[1]->id, 16) < 0)
			break;
		err = twzdb_close(db[0]);
		if (!err)
			err = twzdb_close(db[1]);
		if (!err)
			err = twz_store_remove(path);
		db[0] = NULL;
	}
	if (!err && !db[0])
		err = -EAGAIN; /* once in 2^60 */
	if (!err)
		err = seed_fill(db[1], 20);
	if (!err)
		err = seed_fill(db[0], 3);
	return err ? err : half_group(path, db);
}

/* --- lazy commits, several of them in a batch; none of the last is in its home --- */

int seed_lazy(const char *path)
{
	struct twzdb *db = NULL;
	int err = seed_open(path, NULL, &db);

	if (!err)
		err = seed_fill(db, 30);
	for (int i = 0; i < 12 && !err; i++) {
		struct twzdb_txn *tx;

		err = twzdb_begin(db, TWZDB_LAZY, &tx);
		if (!err)
			err = put_one(tx, i % 7);
		if (!err)
			err = twzdb_commit(tx);
		if (!err && i % 4 == 3)
			err = twz_log_help(db->log);
	}
	return err;
}

/* The process that makes it dies with the store open: an unclean image with work for recovery. */
int seed_make(const char *path, const char *name, bool line)
{
	const struct seed_kind *k = seed_kinds;
	char lock[300];
	int status = -1;
	pid_t pid;

	while (k->name && strcmp(k->name, name) != 0)
		k++;
	fflush(NULL);
	pid = k->name ? fork() : -1;
	if (pid == 0) {
		setenv("TWZDB_HELPER", "0", 1);
		media_set(line);
		status = k->make(path);
		if (status)
			fprintf(stderr, "the seed '%s': %d: %s / %s\n", name, status, twz_errmsg(),
				twzdb_errmsg());
		_exit(status != 0);
	}
	if (pid > 0)
		waitpid(pid, &status, 0);
	snprintf(lock, sizeof(lock), "%s-lock", path);
	unlink(lock);
	return status ? -1 : 0;
}

bool seed_is_for(const char *name, const char *only)
{
	if (only)
		return !strcmp(name, only);
	return strcmp(name, "group") != 0 && strcmp(name, "lazy") != 0;
}
