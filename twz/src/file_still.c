/* SPDX-License-Identifier: MIT
 * file_still.c -- is the file that is open still what it was? Somebody may delete it, put another one in its place, or cut it short
 *
 * Nothing keeps other programs from that, and what is committed afterwards would be lost: with the last descriptor of a
 * file without a name; in a file nobody will look into; or as zeros, when a write beyond the end makes a file long again that
 * was cut. So it is asked before anything is written that somebody may be told is durable. A file that was only renamed
 * keeps all, and is written on; who opens it by its new name is refused meanwhile, because its companion has the old one.
 *
 * The name is looked up in the directory it was opened in, whatever the working directory is by now, and wherever the directory
 * was moved.
 */
#include "backend_file.h"

#include <fcntl.h>
#include <libgen.h>
#include <sys/sysmacros.h>
#include <unistd.h>

void twz__file_where_open(struct file_media *f)
{
	char *dir = strdup(f->m.path), *base = strdup(f->m.path);
	struct stat st;

	if (dir && base) {
		f->dir = open(dirname(dir), O_PATH | O_DIRECTORY | O_CLOEXEC);
		f->base = f->dir < 0 ? NULL : strdup(basename(base));
	}
	if (twz__file_look(f->m.fd, NULL, &st))
		memset(&st, 0, sizeof(st));
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	free(dir);
	free(base);
}

void twz__file_where_close(struct file_media *f)
{
	if (f->dir >= 0)
		close(f->dir);
	f->dir = -1;
	free(f->base);
	f->base = NULL;
}

int twz__file_look(int fd, const char *name, struct stat *st)
{
	int flags = name ? 0 : AT_EMPTY_PATH;
	struct statx x;

	if (statx(fd, name ? name : "", flags, STATX_TYPE | STATX_INO | STATX_SIZE | STATX_NLINK,
		  &x))
		return fstatat(fd, name ? name : "", st, flags); /* forbidden, it may be */
	memset(st, 0, sizeof(*st));
	st->st_mode = x.stx_mode;
	st->st_dev = makedev(x.stx_dev_major, x.stx_dev_minor);
	st->st_ino = x.stx_ino;
	st->st_size = (off_t)x.stx_size;
	st->st_nlink = x.stx_nlink;
	return 0;
}

/* Another thread may have made it longer since ST was asked for. What it has been told to have before it is asked again, it has. */
bool twz__file_is_cut(struct file_media *f, struct stat *st)
{
	uint64_t floor = __atomic_load_n(&f->m.floor, __ATOMIC_ACQUIRE);

	if ((uint64_t)st->st_size >= floor)
		return false;
	return twz__file_look(f->m.fd, NULL, st) || (uint64_t)st->st_size < floor;
}

int twz__file_cut_error(struct file_media *f)
{
	return twz__err(
		TWZ_E_GONE,
		"%s: was cut short while it was open, to less than its %llu bytes: close it in every process and restore it from a backup",
		f->m.path, (unsigned long long)__atomic_load_n(&f->m.floor, __ATOMIC_RELAXED));
}

/* Its name, if it has one, may be out of our sight (EACCES) or no more there: it was renamed. */
static bool names_another(const struct file_media *f, const struct stat *st)
{
	struct stat named;

	return f->base && !twz__file_look(f->dir, f->base, &named) &&
	       (named.st_dev != st->st_dev || named.st_ino != st->st_ino);
}

/* As a rule its name is its own: then one question says all. */
static bool named_still(const struct file_media *f, struct stat *st)
{
	return f->base && !twz__file_look(f->dir, f->base, st) && st->st_ino == f->ino &&
	       st->st_dev == f->dev && st->st_nlink;
}

int twz__file_still(struct twz__media *m, bool named)
{
	struct file_media *f = fm(m);
	struct stat st;

	if (twz__likely(named && named_still(f, &st)))
		return twz__file_is_cut(f, &st) ? twz__file_cut_error(f) : 0;
	if (twz__file_look(m->fd, NULL, &st))
		return twz__file_io_error(f, "stat", 0, 0, errno);
	if (twz__unlikely(twz__file_is_cut(f, &st)))
		return twz__file_cut_error(f);
	if (twz__unlikely(named && !st.st_nlink))
		return twz__err(
			TWZ_E_GONE,
			"%s: was deleted or replaced while it was open, and what is committed now would be lost with it: close it in every process (until then it can be read)",
			m->path);
	if (twz__unlikely(named && names_another(f, &st)))
		return twz__err(
			TWZ_E_GONE,
			"%s: is another file than the one that is open, which was renamed: close it in every process and open it again",
			m->path);
	return 0;
}
