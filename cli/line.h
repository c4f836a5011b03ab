/* SPDX-License-Identifier: MIT
 * line.h -- what the line editor and completion share
 */
#ifndef CLI_LINE_H
#define CLI_LINE_H

#include "shell.h"

/* Words that could stand where TEXT[0..LEN) ends. */
struct completion {
	char **word; /* sorted, no duplicates */
	int cnt;
	size_t from;   /* byte in TEXT where the word begins */
	size_t common; /* bytes all candidates share */
	bool name;     /* a file or directory: no space after directories */
};

/* TEXT is the whole line so far; PENDING: it continues a statement. */
void complete_line(struct shell *sh, const char *text, size_t len, bool pending,
		   struct completion *c);
void complete_free(struct completion *c);

#endif
