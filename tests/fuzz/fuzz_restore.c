/* SPDX-License-Identifier: MIT
 * fuzz_restore.c -- what .dump wrote, changed, and read into a new store, in this process (cage.h)
 *
 * Mutations keep to the structure of such a text (statements.c), so most of it goes in. Afterwards the store must be sound; what .dump
 * says of it must, read into a store of the other kind (one of the engine's, or in memory), give the same .dump; and SQLite itself must
 * find nothing wrong, unless the text wrote the schema by hand, or had constraints ignored.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cage.h"
#include "fuzz.h"
#include "seed.h"
#include "statements.h"

#define INPUT_MAX 65536

int LLVMFuzzerInitialize(int *argc, char ***argv);

/* --- to begin with: the dump of each schema --- */

static void make_seed(const char *path, const char *schema)
{
	struct shell sh;
	char *text = NULL;
	FILE *f = fopen(path, "w");

	shell_init(&sh);
	if (f && !shell_open(&sh, ":memory:")) {
		cage_script(&sh, schema, strlen(schema));
		text = cage_dump(&sh);
		if (!text) /* not whole: tables of the engine's have rows in a store only */
			text = strdup(schema);
	}
	if (!text || fputs(text, f) < 0 || fclose(f)) {
		fprintf(stderr, "cannot make %s\n", path);
		exit(2);
	}
	statements_learn(text, strlen(text));
	shell_free(&sh);
	free(text);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	char path[400];

	cage_init(*argc, *argv);
	for (int i = 1; i < *argc; i++) {
		size_t n = strlen((*argv)[i]);

		if (n < 7 || (*argv)[i][0] == '-' || strcmp((*argv)[i] + n - 6, ".seeds") != 0)
			continue;
		for (int k = 0; schemas[k]; k++) {
			snprintf(path, sizeof(path), "%s/schema%d", (*argv)[i], k);
			make_seed(path, schemas[k]);
		}
	}
	return 0;
}

/* --- one text --- */

/* SQLite's own opinion: one row, 'ok'. */
static void must_be_whole(struct shell *sh)
{
	sqlite3_stmt *st = NULL;
	const char *text;

	if (sqlite3_prepare_v2(sh->db, "pragma integrity_check", -1, &st, NULL) ||
	    sqlite3_step(st) != SQLITE_ROW) {
		sqlite3_finalize(st);
		return; /* no more steps allowed */
	}
	text = (const char *)sqlite3_column_text(st, 0);
	if (!text || strcmp(text, "ok") != 0) {
		fprintf(stderr, "integrity_check: %s\n", text ? text : "NULL");
		abort();
	}
	sqlite3_finalize(st);
}

static bool says(const uint8_t *data, size_t len, const char *word)
{
	size_t n = strlen(word);

	for (size_t i = 0; i + n <= len; i++)
		if (!strncasecmp((const char *)data + i, word, n))
			return true;
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const char *first = len % 2 ? "a.twz" : ":memory:",
		   *second = len % 2 ? ":memory:" : "b.twz";
	bool by_hand =
		says(data, len, "writable_schema") || says(data, len, "ignore_check_constraints");
	struct shell sh;

	if (len > INPUT_MAX)
		return 0;
	cage_enter(data, len);
	shell_init(&sh);
	shell_signals(&sh);
	if (!shell_open(&sh, first)) {
		cage_script(&sh, data, len);
		if (sh.db && sqlite3_get_autocommit(sh.db)) {
			cage_same_again(&sh, second, !by_hand);
			if (!by_hand)
				must_be_whole(&sh);
		}
	}
	shell_free(&sh);
	cage_must_be_sound("a.twz");
	cage_must_be_sound("b.twz");
	cage_leave();
	return 0;
}
