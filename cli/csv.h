/* SPDX-License-Identifier: MIT
 * csv.h -- reading CSV (RFC 4180) and TSV
 *
 * A field in "..." may hold separators, line ends and doubled quotes; lines end in LF or CR LF;
 * NUL bytes are kept; a byte order mark is skipped. What RFC 4180 forbids is an error that
 * names the line.
 */
#ifndef CLI_CSV_H
#define CLI_CSV_H

#include <stdio.h>
#include "text.h"

struct csv {
	FILE *f;
	char sep;
	long line;	  /* being read, from 1 */
	long record_line; /* the present record began on */
	uint64_t bytes;	  /* read so far */
	struct buf data;  /* contents of all fields, one after another */
	size_t *end;	  /* where each ends in data */
	int cnt, cap;
	char err[160]; /* after csv_next returned -1 */
};

void csv_begin(struct csv *c, FILE *f, char sep);
void csv_end(struct csv *c);
/* The next record: 1, 0 at the end, -1: err says why (not where). */
int csv_next(struct csv *c);
/* Field I of the record, not NUL-terminated. */
const char *csv_field_at(const struct csv *c, int i, size_t *len);
/* A record with nothing in it: an empty line. */
bool csv_is_blank(const struct csv *c);

#endif
