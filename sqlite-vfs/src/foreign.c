/* SPDX-License-Identifier: MIT
 * foreign.c -- a file that is no store, opened as a database
 *
 * SQLite opens any file and says "file is not a database" when it is first used; tools that look
 * at sizes and headers count on that. So does this: bytes and size are the file's, a lock is
 * refused, nothing is ever written.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"

struct foreign {
	sqlite3_file base;
	int fd;
	bool sqlite; /* a database of plain SQLite */
};

static int f_close(sqlite3_file *file)
{
	close(((struct foreign *)file)->fd);
	return SQLITE_OK;
}

static int f_read(sqlite3_file *file, void *buf, int amt, sqlite3_int64 off)
{
	size_t done = 0, want = (size_t)amt;

	while (done < want) {
		ssize_t n = pread(((struct foreign *)file)->fd, (char *)buf + done, want - done,
				  off + (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return SQLITE_IOERR_READ;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	memset((char *)buf + done, 0, want - done);
	return done < want ? SQLITE_IOERR_SHORT_READ : SQLITE_OK;
}

static int f_write(sqlite3_file *file, const void *buf, int amt, sqlite3_int64 off)
{
	(void)file;
	(void)buf;
	(void)amt;
	(void)off;
	return SQLITE_READONLY;
}

static int f_truncate(sqlite3_file *file, sqlite3_int64 len)
{
	(void)file;
	(void)len;
	return SQLITE_READONLY;
}

static int f_sync(sqlite3_file *file, int flags)
{
	(void)file;
	(void)flags;
	return SQLITE_OK;
}

static int f_size(sqlite3_file *file, sqlite3_int64 *out)
{
	struct stat st;

	*out = 0;
	if (fstat(((struct foreign *)file)->fd, &st))
		return SQLITE_IOERR_FSTAT;
	*out = st.st_size;
	return SQLITE_OK;
}

static int f_lock(sqlite3_file *file, int level)
{
	struct stat st;

	/* Nobody has made anything of it yet, and here nobody will: an empty database, to read. */
	if (level == SQLITE_LOCK_SHARED && !fstat(((struct foreign *)file)->fd, &st) && !st.st_size)
		return SQLITE_OK;
	sqlite3_log(SQLITE_NOTADB, "twz: %s",
		    ((struct foreign *)file)->sqlite
			    ? "a plain SQLite database, not a store: open it without vfs=twz, and "
			      "import it with VACUUM INTO 'file:NEW?vfs=twz'"
			    : "neither a store nor a database: open something else");
	return SQLITE_NOTADB;
}

static int f_unlock(sqlite3_file *file, int level)
{
	(void)file;
	(void)level;
	return SQLITE_OK;
}

static int f_reserved(sqlite3_file *file, int *out)
{
	(void)file;
	*out = 0;
	return SQLITE_OK;
}

static int f_control(sqlite3_file *file, int op, void *arg)
{
	(void)file;
	if (op != SQLITE_FCNTL_VFSNAME)
		return SQLITE_NOTFOUND;
	*(char **)arg = sqlite3_mprintf("twz");
	return *(char **)arg ? SQLITE_OK : SQLITE_NOMEM;
}

static int f_sector(sqlite3_file *file)
{
	(void)file;
	return 4096;
}

static int f_traits(sqlite3_file *file)
{
	(void)file;
	return 0;
}

static const sqlite3_io_methods foreign_io = {
	.iVersion = 1,
	.xClose = f_close,
	.xRead = f_read,
	.xWrite = f_write,
	.xTruncate = f_truncate,
	.xSync = f_sync,
	.xFileSize = f_size,
	.xLock = f_lock,
	.xUnlock = f_unlock,
	.xCheckReservedLock = f_reserved,
	.xFileControl = f_control,
	.xSectorSize = f_sector,
	.xDeviceCharacteristics = f_traits,
};

int twzvfs__foreign_open(sqlite3_file *file, const char *path)
{
	struct foreign *f = (struct foreign *)file;
	char magic[16] = "";
	struct stat st;

	memset(f, 0, sizeof(*f));
	f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (f->fd < 0 || fstat(f->fd, &st) || !S_ISREG(st.st_mode)) {
		sqlite3_log(SQLITE_CANTOPEN, "twz: open %s: %s", path, twzdb_errmsg());
		if (f->fd >= 0)
			close(f->fd);
		return SQLITE_CANTOPEN;
	}
	f->sqlite = pread(f->fd, magic, sizeof(magic), 0) == sizeof(magic) &&
		    !memcmp(magic, "SQLite format 3", sizeof(magic));
	f->base.pMethods = &foreign_io;
	return SQLITE_OK;
}
