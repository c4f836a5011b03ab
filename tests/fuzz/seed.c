/* SPDX-License-Identifier: MIT
 * seed.c -- a real store to begin with
 */
#include "seed.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "twz/twz.h"
#include "twzdb.h"

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

static int fill(struct twzdb *db, int rows)
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

/* In place of the store that was closed meanwhile. */
static int write_image(const char *path, const uint8_t *image, size_t len)
{
	char lock[300];
	int fd = open(path, O_WRONLY | O_TRUNC);
	ssize_t n = write(fd, image, len);

	close(fd);
	snprintf(lock, sizeof(lock), "%s-lock", path);
	unlink(lock);
	return n == (ssize_t)len ? 0 : -1;
}

/*
 * A store with objects, names, pointers and a database, copied while open: an unclean image with
 * work for recovery.
 */
int seed_make(const char *path)
{
	struct twz_store_options so = {
		.size = sizeof(so), .journal_len = 16384, .initial_len = 131072};
	struct twzdb_options opt = {.size = sizeof(opt),
				    .flags = TWZDB_CREATE,
				    .log_len = 16384,
				    .initial_len = 131072,
				    .store_options = &so};
	struct twz_obj_options oo = {.size = sizeof(oo), .len = 8192};
	struct twz_obj *a = NULL, *b = NULL;
	struct twzdb *db = NULL;
	uint8_t *image = NULL;
	size_t len = 0;
	twz_pptr *p;
	twz_oid id;
	int err;

	err = twzdb_open(path, &opt, &db);
	for (int i = 0; i < 4 && !err; i++)
		err = fill(db, 40 * i + 1);
	if (!err)
		err = twz_obj_create(twzdb_store(db), &oo, &id, &a);
	if (!err)
		err = twz_obj_create(twzdb_store(db), &oo, NULL, &b);
	if (!err)
		err = twz_name_set(twzdb_store(db), "some/name", id, 0);
	if (!err) {
		p = twz_obj_data(a);
		err = twz_ptr_store(p, twz_obj_data(b), TWZ_READ);
	}
	if (!err)
		err = seed_read(path, &image, &len);
	twz_obj_close(a);
	twz_obj_close(b);
	twzdb_close(db);
	if (!err)
		err = write_image(path, image, len);
	free(image);
	return err;
}
