/* SPDX-License-Identifier: MIT
 * move.c -- names of stores that nobody has open
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int sync_path(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC), rc;

	if (fd < 0)
		return -errno;
	rc = fsync(fd) ? -errno : 0;
	close(fd);
	return rc;
}

static int sync_dir_of(const char *path)
{
	char *copy = strdup(path);
	int rc = copy ? sync_path(dirname(copy), O_RDONLY | O_DIRECTORY) : -ENOMEM;

	free(copy);
	return rc;
}

/* The companion holds nothing that outlives those who have the store open. */
static void drop_companion(const char *path)
{
	char *name = NULL;

	if (asprintf(&name, "%s-lock", path) < 0)
		return;
	(void)unlink(name);
	free(name);
}

static int rename_to(const char *from, const char *to)
{
	if (!renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE))
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	/* A file system that cannot: two names for a moment. */
	if (link(from, to))
		return -errno;
	return unlink(from) ? -errno : 0;
}

int twz_store_move(const char *from, const char *to)
{
	int rc;

	if (!from || !to || !*from || !*to)
		return twz__err(TWZ_E_INVAL, "move: a path is missing");
	rc = sync_path(from, O_RDONLY);
	if (!rc)
		rc = rename_to(from, to);
	if (rc == -EEXIST)
		return twz__err(TWZ_E_EXIST, "%s: exists already: choose another name", to);
	if (!rc) {
		drop_companion(from);
		rc = sync_dir_of(to);
	}
	return rc ? twz__err(rc, "%s: cannot become %s: %s", from, to, strerror(-rc)) : 0;
}

int twz_store_exists(const char *path)
{
	return path && !faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW);
}

int twz_store_remove(const char *path)
{
	if (!path || !*path)
		return twz__err(TWZ_E_INVAL, "remove: no path");
	if (unlink(path)) {
		int rc = -errno;

		return twz__err(rc == -ENOENT ? TWZ_E_NOENT : rc, "%s: %s", path, strerror(-rc));
	}
	drop_companion(path);
	return 0;
}
