/* SPDX-License-Identifier: MIT
 * locks.c -- the lock bytes of the store file: opening, holders, private (companion.c has the protocol)
 */
#include "companion.h"
#include "stopped.h"

#include <fcntl.h>
#include <time.h>

#define PRIVATE_WAIT_MS	   2000
#define OPENING_NAP_NS	   50000 /* at first */
#define OPENING_NAP_MAX_NS 3000000
#define OPENING_LOOK_NS	   500000000 /* looking who it is reads all of /proc */

int twz__ofd(int fd, int cmd, short type, uint64_t off, struct flock *fl)
{
	int rc;

	memset(fl, 0, sizeof(*fl));
	fl->l_type = type;
	fl->l_whence = SEEK_SET;
	fl->l_start = (off_t)off;
	fl->l_len = 1;
	do
		rc = fcntl(fd, cmd, fl);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : 0;
}

int twz__lock_failed(const char *path, int err)
{
	return twz__err(err == -ENOLCK || err == -EINVAL ? TWZ_E_FS : err, "%s: cannot lock it: %s",
			path, strerror(-err));
}

int twz__opening_lock(struct twz__media *m)
{
	struct timespec nap = {0, OPENING_NAP_NS};
	struct twz__waiting w = {0};
	struct flock fl;
	int rc;

	if (m->fd < 0)
		return 0;
	/* Who may only read the file is locked out by the others, and they by him. */
	while ((rc = twz__ofd(m->fd, F_OFD_SETLK, m->no_write ? F_RDLCK : F_WRLCK,
			      COMP_LOCK_OPENING, &fl)) == -EAGAIN ||
	       rc == -EACCES) {
		if (twz__is_late(&w)) {
			if (twz__patience_ends(&w, twz__byte_holder(m->fd, COMP_LOCK_OPENING)))
				return twz__waited_err(&w, m->path, "opening or closing it");
			nap.tv_nsec = OPENING_LOOK_NS;
		}
		nanosleep(&nap, NULL);
		if (nap.tv_nsec < OPENING_NAP_MAX_NS)
			nap.tv_nsec *= 2;
	}
	return rc ? twz__lock_failed(m->path, rc) : 0;
}

void twz__opening_unlock(struct twz__media *m)
{
	struct flock fl;

	if (m->fd >= 0)
		twz__ofd(m->fd, F_OFD_SETLK, F_UNLCK, COMP_LOCK_OPENING, &fl);
}

int twz__holders_try(struct twz__media *m, bool *sole)
{
	struct flock fl;
	int rc;

	*sole = true;
	if (twz__is_lonely(m))
		return 0;
	rc = twz__ofd(m->fd, F_OFD_SETLK, F_WRLCK, COMP_LOCK_HOLDERS, &fl);
	if (rc == -EAGAIN || rc == -EACCES) {
		*sole = false;
		return 0;
	}
	return rc ? twz__lock_failed(m->path, rc) : 0;
}

int twz__holders_share(struct twz__media *m)
{
	struct flock fl;
	int rc;

	if (twz__is_lonely(m))
		return 0;
	rc = twz__ofd(m->fd, F_OFD_SETLK, F_RDLCK, COMP_LOCK_HOLDERS, &fl);
	return rc ? twz__lock_failed(m->path, rc) : 0;
}

void twz__holders_drop(struct twz__media *m)
{
	struct flock fl;

	if (!twz__is_lonely(m))
		twz__ofd(m->fd, F_OFD_SETLK, F_UNLCK, COMP_LOCK_HOLDERS, &fl);
}

int twz__holders_any(struct twz__media *m, bool *any)
{
	struct flock fl;
	int rc;

	*any = false;
	if (m->fd < 0)
		return 0;
	rc = twz__ofd(m->fd, F_OFD_GETLK, F_WRLCK, COMP_LOCK_HOLDERS, &fl);
	*any = !rc && fl.l_type != F_UNLCK;
	return rc ? twz__lock_failed(m->path, rc) : 0;
}

int twz__privates_wait(struct twz__media *m)
{
	const struct timespec ms = {0, 1000000};
	struct flock fl;
	int rc;

	if (twz__is_lonely(m))
		return 0;
	for (int i = 0;; i++) {
		rc = twz__ofd(m->fd, F_OFD_SETLK, F_WRLCK, COMP_LOCK_PRIVATE, &fl);
		if ((rc != -EAGAIN && rc != -EACCES) || i == PRIVATE_WAIT_MS)
			break;
		nanosleep(&ms, NULL);
	}
	if (rc == -EAGAIN || rc == -EACCES)
		return twz__err(
			TWZ_E_BUSY,
			"%s: is being read by a process that cannot see it change: try again when it has read",
			m->path);
	if (rc)
		return twz__lock_failed(m->path, rc);
	twz__privates_drop(m);
	return 0;
}

int twz__privates_share(struct twz__media *m)
{
	struct flock fl;
	int rc;

	if (m->fd < 0)
		return 0;
	rc = twz__ofd(m->fd, F_OFD_SETLK, F_RDLCK, COMP_LOCK_PRIVATE, &fl);
	if (rc == -EAGAIN || rc == -EACCES)
		return -EAGAIN;
	return rc ? twz__lock_failed(m->path, rc) : 0;
}

void twz__privates_drop(struct twz__media *m)
{
	struct flock fl;

	if (m->fd >= 0)
		twz__ofd(m->fd, F_OFD_SETLK, F_UNLCK, COMP_LOCK_PRIVATE, &fl);
}
