/* SPDX-License-Identifier: MIT
 * import.h -- rows from a file into a table, in one transaction
 */
#ifndef CLI_IMPORT_H
#define CLI_IMPORT_H

#include "shell.h"

struct import_options {
	char sep;  /* between fields */
	bool fill; /* missing fields become NULL, extra ones are dropped; else both are errors */
	long skip; /* records to skip first */
};

struct import_result {
	uint64_t rows, bytes;
	double seconds;
};

/*
 * Import FILE ("|command" runs one) into TABLE. A table that does not exist is created from the
 * first record, all columns TEXT. On an error nothing has changed, and it was reported with
 * file and line. 0 or 1.
 */
int import_file(struct shell *sh, const struct import_options *opt, const char *file,
		const char *table, struct import_result *res);

#endif
