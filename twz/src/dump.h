/* SPDX-License-Identifier: MIT
 * dump.h -- how the layers print themselves for twz_dump
 *
 * A hook prints what it owns in an object, verified as its check hook verifies it, and says
 * "damaged: WHY" instead of what does not hold. It returns errors of this machine only (memory,
 * reading), and TWZ_E_CORRUPT with the message set when it could not go on.
 */
#ifndef TWZ_SRC_DUMP_H
#define TWZ_SRC_DUMP_H

#include <inttypes.h>

#include "internal.h"

struct twz__dumper {
	struct twz_store *s;
	FILE *f;
	uint32_t flags; /* enum twz_dump_flags */
};

/* --- dump.c --- */

/* All objects, sorted by ID, in memory the caller frees whatever is returned. */
int twz__list_objects(struct twz_store *s, struct twz_obj_stat **out, size_t *cnt);
/* Text from media: bytes that are no text come out as \xNN. */
void twz__dump_text(FILE *f, const char *s, size_t len);
/* Bytes at offset OFF of O's slot, mapped or not. The range lies inside its data. */
int twz__obj_peek(struct twz_obj *o, uint64_t off, void *buf, size_t len);

/* --- the hooks --- */

int twz__dump_core(struct twz__dumper *d); /* dump_core.c */
int twz__dump_fot(struct twz_obj *o, struct twz__dumper *d);
int twz__dump_txlog(struct twz_obj *o, struct twz__dumper *d);
int twz__dump_log(struct twz_obj *o, struct twz__dumper *d);
int twz__dump_arena(struct twz_obj *o, struct twz__dumper *d);
int twz__dump_names(struct twz__dumper *d);

#endif
