/* SPDX-License-Identifier: MIT
 * inspect.h -- looking below SQL: the engine's database and the twz store of what is open
 */
#ifndef CLI_INSPECT_H
#define CLI_INSPECT_H

#include <twz/twz.h>
#include <twzdb.h>
#include "shell.h"

struct inspect {
	struct twzdb *db; /* NULL: the store holds no such database, or will not open as one */
	struct twz_store *store;
};

/* Look below what SH has open. 0 or 1 (reported: also for :memory:, which has no store). */
int inspect_open(struct shell *sh, struct inspect *in);
void inspect_close(struct inspect *in);
/* "an ordinary file (page media)" and so on. */
const char *inspect_medium(const struct twz_store_info *info);

#endif
