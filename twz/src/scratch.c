/* SPDX-License-Identifier: MIT
 * scratch.c -- memory for caches, shared by the processes that have a store open
 *
 * A file in /dev/shm, /dev/shm/twz-DEVICE-INODE-ID: device and inode are the store's, so the name
 * follows the store and not its path. It is as long as its address space from the start and sparse;
 * what grow has allocated can be touched without running out of memory on the way. Whoever opens
 * the store alone, and whoever closes it last, removes all files of that store: nothing in them
 * survives, and none is met that another life of the store left behind.
 *
 * A store whose processes were all killed and that is never opened again leaves files too. So every
 * user holds a shared lock on the file, and whoever opens any store alone removes the files that
 * nobody holds.
 */
#include "companion.h"
#include "huge.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIR_NAME "/dev/shm"
#define LEN_MIN	 ((size_t)1 << 20)

struct twz_scratch {
	int fd; /* -1: private memory */
	void *ptr;
	size_t len;
	size_t done; /* allocated, as far as this handle knows; stored to by one thread at a time */
};

/* "twz-DEVICE-INODE-"; false: the store has no file. */
static bool prefix_of(const struct twz__media *m, char out[64], struct stat *st)
{
	if (m->fd < 0 || m->alone || fstat(m->fd, st))
		return false;
	snprintf(out, 64, "twz-%" PRIx64 "-%" PRIx64 "-", (uint64_t)st->st_dev,
		 (uint64_t)st->st_ino);
	return true;
}

static const char *skip_hex(const char *c, size_t max)
{
	while (max-- && ((*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'f')))
		c++;
	return c;
}

/*
 * "twz-DEVICE-INODE-ID" to the last character. The directory is everybody's: a store there may be
 * called twz-something, and must not be taken for what nobody needs.
 */
static bool is_scratch_name(const char *name)
{
	const char *dev = name + 4, *ino, *id;

	if (strncmp(name, "twz-", 4))
		return false;
	ino = skip_hex(dev, 16);
	if (ino == dev || *ino++ != '-')
		return false;
	id = skip_hex(ino, 16);
	if (id == ino || *id++ != '-')
		return false;
	return strlen(id) == TWZ_OID_STR_LEN - 1 && !*skip_hex(id, TWZ_OID_STR_LEN - 1);
}

/* A file of another store: does anybody use it? */
static void reap(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0)
		return; /* somebody else's */
	if (!flock(fd, LOCK_EX | LOCK_NB))
		unlinkat(dir, name, 0);
	close(fd);
}

void twz__scratch_sweep(const struct twz__media *m)
{
	char prefix[64];
	struct dirent *e;
	struct stat st;
	DIR *d = prefix_of(m, prefix, &st) ? opendir(DIR_NAME) : NULL;

	while (d && (e = readdir(d)))
		if (!strncmp(e->d_name, prefix, strlen(prefix)))
			unlinkat(dirfd(d), e->d_name, 0);
		else if (is_scratch_name(e->d_name))
			reap(dirfd(d), e->d_name);
	if (d)
		closedir(d);
}

/* The directory is everybody's: a file somebody else put there is not ours to trust. */
static bool ours(int fd, const struct stat *store)
{
	struct stat st;

	return !fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_nlink == 1 &&
	       (st.st_uid == geteuid() || st.st_uid == store->st_uid || !st.st_uid);
}

/* Open, and hold. Between the two somebody may have taken the file for abandoned: then another one. */
static int open_held(const char *path, mode_t mode)
{
	struct stat st;

	for (int tries = 0; tries < 100; tries++) {
		int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, mode);

		if (fd < 0)
			return -1;
		if (!flock(fd, LOCK_SH | LOCK_NB) && !fstat(fd, &st) && st.st_nlink)
			return fd;
		close(fd);
	}
	errno = EAGAIN;
	return -1;
}

static int open_file(struct twz_store *s, twz_oid id, size_t len)
{
	char prefix[64], text[TWZ_OID_STR_LEN], path[192];
	struct stat st, now;
	mode_t mode;
	int fd;

	if (!prefix_of(s->media, prefix, &st))
		return -1;
	snprintf(path, sizeof(path), DIR_NAME "/%s%s", prefix, twz_oid_str(id, text));
	mode = st.st_mode & 0666;
	fd = open_held(path, mode);
	if (fd < 0)
		return -1;
	/* Lengthened only: another process may be using what is there. */
	if (!ours(fd, &st) || fstat(fd, &now) ||
	    ((size_t)now.st_size < len && ftruncate(fd, (off_t)len))) {
		close(fd);
		return -1;
	}
	(void)!fchmod(fd, mode); /* what umask took away; only its owner may, once is enough */
	return fd;
}

static int map(struct twz_store *s, struct twz_scratch *sc)
{
	int flags = sc->fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;

	sc->ptr = twz__huge_map(sc->len, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, sc->fd, 0);
	if (sc->ptr == MAP_FAILED)
		return twz__err(TWZ_E_NOMEM, "%s: cannot map %zu bytes: %s", s->path, sc->len,
				strerror(errno));
	madvise(sc->ptr, sc->len, MADV_DONTFORK);
	madvise(sc->ptr, sc->len, MADV_DONTDUMP);
	return 0;
}

int twz_scratch_open(struct twz_store *s, twz_oid id, size_t len, struct twz_scratch **out)
{
	struct twz_scratch *sc;
	int rc;

	if (!s || !out || len < LEN_MIN || len % LEN_MIN)
		return twz__err(TWZ_E_INVAL, "scratch: no store, no place, or length %zu", len);
	*out = NULL;
	rc = twz__store_enter(s);
	if (rc)
		return rc;
	if (s->watch) /* a file of its own making would be nobody else's */
		return twz__err(TWZ_E_FS, "%s: no scratch memory to be read only", s->path);
	sc = calloc(1, sizeof(*sc));
	if (!sc)
		return twz__err(TWZ_E_NOMEM, "scratch: out of memory");
	sc->len = len;
	sc->fd = open_file(s, id, len);
	if (sc->fd < 0 && s->media->fd >= 0 && !s->media->alone)
		rc = twz__err(TWZ_E_FS, "%s: no scratch memory in " DIR_NAME ": %s", s->path,
			      strerror(errno));
	if (!rc)
		rc = map(s, sc);
	if (rc) {
		if (sc->fd >= 0)
			close(sc->fd);
		free(sc);
		return rc;
	}
	*out = sc;
	return 0;
}

void *twz_scratch_ptr(const struct twz_scratch *sc)
{
	return sc->ptr;
}

/* Whole chunks: the one that was the last is in use already, and becomes one page all the same. */
static void grow_huge(struct twz_scratch *sc, size_t len)
{
	uint64_t off = sc->done & ~(TWZ__HUGE_LEN - 1);

	while (off + TWZ__HUGE_LEN <= len && twz__huge_alloc(sc->fd, off))
		off += TWZ__HUGE_LEN;
}

int twz_scratch_grow(struct twz_scratch *sc, size_t len)
{
	int err = 0;

	if (len > sc->len)
		return TWZ_E_NOSPC;
	if (len <= sc->done || sc->fd < 0)
		return 0;
	grow_huge(sc, len);
	do
		err = posix_fallocate(sc->fd, (off_t)sc->done, (off_t)(len - sc->done));
	while (err == EINTR);
	if (err)
		return TWZ_E_NOSPC;
	__atomic_store_n(&sc->done, len, __ATOMIC_RELEASE);
	return 0;
}

bool twz_scratch_join_pages(struct twz_scratch *sc, uint64_t *pos)
{
	if (!sc || !pos || *pos % TWZ__HUGE_LEN || sc->fd < 0 ||
	    *pos + TWZ__HUGE_LEN > __atomic_load_n(&sc->done, __ATOMIC_ACQUIRE))
		return false;
	(void)twz__huge_join(sc->fd, *pos, false);
	*pos += TWZ__HUGE_LEN;
	return true;
}

void twz_scratch_close(struct twz_scratch *sc)
{
	if (!sc)
		return;
	munmap(sc->ptr, sc->len);
	if (sc->fd >= 0)
		close(sc->fd);
	free(sc);
}
