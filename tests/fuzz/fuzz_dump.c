/* SPDX-License-Identifier: MIT
 * fuzz_dump.c -- any bytes as a store that is to be printed: every object, extent, journal and log record, node
 *
 * What is printed is thrown away, but it is made: whoever looks at a damaged store must not be hurt by it. Some are opened to be
 * read only, which rehearses recovery in private pages, the others as everybody does.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fuzz.h"
#include "image.h"
#include "twz/twz.h"
#include "twzdb.h"

static FILE *sink(void)
{
	static FILE *f;

	if (!f)
		f = fopen("/dev/null", "w");
	if (!f)
		abort();
	return f;
}

/* Each part for itself: one that cannot be shown keeps no other from being shown. */
static void dump_store(struct twz_store *s)
{
	for (uint32_t part = 1; part & TWZ_DUMP_ALL; part <<= 1)
		(void)!twz_dump(s, part, sink());
}

static void dump_database(struct twzdb *db)
{
	(void)!twzdb_dump(db, TWZDB_DUMP_LOG, sink());
	(void)!twzdb_dump(db, TWZDB_DUMP_TABLES | TWZDB_DUMP_NODES, sink());
}

/* The database and the store beneath it; or the store, if there is no database that can be opened. */
static void dump(const char *path, bool readonly)
{
	struct twz_store_options so = {.size = sizeof(so),
				       .flags = readonly ? TWZ_STORE_READONLY : 0};
	struct twzdb_options opt = {.size = sizeof(opt), .flags = readonly ? TWZDB_READONLY : 0};
	struct twz_store *s = NULL;
	struct twzdb *db = NULL;

	if (!twzdb_open(path, &opt, &db)) {
		dump_database(db);
		dump_store(twzdb_store(db));
		twzdb_close(db);
	} else if (!twz_store_open(path, &so, &s)) {
		dump_store(s);
		twz_store_close(s);
	}
}

/* On which medium, and which way, it is opened is told by all its bytes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static char path[64];
	char lock[80];
	uint32_t how;

	if (!path[0])
		snprintf(path, sizeof(path), "/dev/shm/twz-fuzz-%d.twz", (int)getpid());
	snprintf(lock, sizeof(lock), "%s-lock", path);
	if (!len || len > ((size_t)4 << 20) || image_write(path, data, len))
		return 0;
	how = surround(data, len);
	dump(path, how & 1);
	unlink(path);
	unlink(lock);
	return 0;
}
