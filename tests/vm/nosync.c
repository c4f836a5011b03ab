/* SPDX-License-Identifier: MIT
 * nosync.c -- LD_PRELOAD: a libtwz that forgets to sync, to show that a power cut finds that out
 *
 * NOSYNC names what does nothing: "pwritev2" (its RWF_DSYNC), "msync", "fdatasync", "fsync".
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int forgets(const char *what)
{
	const char *s = getenv("NOSYNC");

	return s && !strcmp(s, what);
}

ssize_t pwritev2(int fd, const struct iovec *iov, int cnt, off_t off, int flags)
{
	if (forgets("pwritev2"))
		flags &= ~RWF_DSYNC;
	return syscall(SYS_pwritev2, fd, iov, (long)cnt, (long)off, 0L, (long)flags);
}

int msync(void *addr, size_t len, int flags)
{
	return forgets("msync") ? 0 : (int)syscall(SYS_msync, addr, len, (long)flags);
}

int fdatasync(int fd)
{
	return forgets("fdatasync") ? 0 : (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
	return forgets("fsync") ? 0 : (int)syscall(SYS_fsync, fd);
}
