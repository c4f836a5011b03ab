/* SPDX-License-Identifier: MIT
 * full_disk.h -- a back end of ordinary files, whose disk is full when a test says so
 */
#ifndef TWZ_FULL_DISK_H
#define TWZ_FULL_DISK_H

#include "../../twz/src/backend.h"

static bool disk_full;
static uint64_t grown; /* times a file was to become longer */
static struct twz__media_ops real, failing;

static int fail_grow(struct twz__media *m, uint64_t len)
{
	grown++;
	return disk_full ? TWZ_E_NOSPC : real.grow(m, len);
}

static int fail_take(struct twz__media *m, uint64_t off, uint64_t len)
{
	return disk_full ? TWZ_E_NOSPC : real.take(m, off, len);
}

static int failing_open(void *ctx, const char *name, uint32_t flags, uint64_t len,
			struct twz__media **out, int *created)
{
	int err = twz__file_backend.open(ctx, name, flags, len, out, created);

	if (!err) {
		real = failing = *(*out)->ops;
		failing.grow = fail_grow;
		failing.take = fail_take;
		(*out)->ops = &failing;
	}
	return err;
}

static const struct twz__backend full_disk = {1, NULL, failing_open};

#endif
