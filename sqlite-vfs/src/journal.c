/* SPDX-License-Identifier: MIT
 * journal.c -- rollback journals that live in memory
 *
 * SQLite plays ROLLBACK and statement rollback back from its journal into its page cache, so the
 * bytes must exist; a crash needs none of them, because nothing of an unfinished transaction
 * ever reaches the store. The main journal's buffer belongs to its database handle and is kept
 * from one transaction to the next.
 */
#include "internal.h"

/* A buffer larger than this is given back when its transaction ends: bytes. */
#define KEEP_MAX ((sqlite3_int64)1 << 20)

struct journal {
	sqlite3_file base;
	struct twzvfs_buf *buf;
	struct twzvfs_buf own;
};

static int j_close(sqlite3_file *file)
{
	struct journal *j = (struct journal *)file;

	if (j->buf == &j->own || j->buf->cap > KEEP_MAX) {
		sqlite3_free(j->buf->p);
		memset(j->buf, 0, sizeof(*j->buf));
	}
	j->buf->len = 0;
	j->buf->in_use = false;
	return SQLITE_OK;
}

static int j_read(sqlite3_file *file, void *out, int amt, sqlite3_int64 off)
{
	struct twzvfs_buf *b = ((struct journal *)file)->buf;
	sqlite3_int64 n = b->len - off;

	if (n >= amt) {
		memcpy(out, b->p + off, (size_t)amt);
		return SQLITE_OK;
	}
	if (n > 0)
		memcpy(out, b->p + off, (size_t)n);
	else
		n = 0;
	memset((char *)out + n, 0, (size_t)(amt - n));
	return SQLITE_IOERR_SHORT_READ;
}

static int reserve(struct twzvfs_buf *b, sqlite3_int64 len)
{
	sqlite3_int64 cap = b->cap ? b->cap : 16384;
	unsigned char *p;

	if (len <= b->cap)
		return SQLITE_OK;
	while (cap < len)
		cap *= 2;
	p = sqlite3_realloc64(b->p, (sqlite3_uint64)cap);
	if (!p)
		return SQLITE_IOERR_NOMEM;
	b->p = p;
	b->cap = cap;
	return SQLITE_OK;
}

static int j_write(sqlite3_file *file, const void *data, int amt, sqlite3_int64 off)
{
	struct twzvfs_buf *b = ((struct journal *)file)->buf;
	int rc = reserve(b, off + amt);

	if (rc)
		return rc;
	if (off > b->len)
		memset(b->p + b->len, 0, (size_t)(off - b->len));
	memcpy(b->p + off, data, (size_t)amt);
	if (off + amt > b->len)
		b->len = off + amt;
	return SQLITE_OK;
}

static int j_truncate(sqlite3_file *file, sqlite3_int64 len)
{
	struct twzvfs_buf *b = ((struct journal *)file)->buf;

	if (len < b->len)
		b->len = len;
	return SQLITE_OK;
}

static int j_sync(sqlite3_file *file, int flags)
{
	(void)file;
	(void)flags;
	return SQLITE_OK;
}

static int j_size(sqlite3_file *file, sqlite3_int64 *out)
{
	*out = ((struct journal *)file)->buf->len;
	return SQLITE_OK;
}

static int j_lock(sqlite3_file *file, int level)
{
	(void)file;
	(void)level;
	return SQLITE_OK;
}

static int j_reserved(sqlite3_file *file, int *out)
{
	(void)file;
	*out = 0;
	return SQLITE_OK;
}

static int j_control(sqlite3_file *file, int op, void *arg)
{
	(void)file;
	(void)op;
	(void)arg;
	return SQLITE_NOTFOUND;
}

static int j_sector(sqlite3_file *file)
{
	(void)file;
	return 512;
}

static int j_traits(sqlite3_file *file)
{
	(void)file;
	return SQLITE_IOCAP_SAFE_APPEND | SQLITE_IOCAP_SEQUENTIAL |
	       SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static const sqlite3_io_methods journal_io = {
	.iVersion = 1,
	.xClose = j_close,
	.xRead = j_read,
	.xWrite = j_write,
	.xTruncate = j_truncate,
	.xSync = j_sync,
	.xFileSize = j_size,
	.xLock = j_lock,
	.xUnlock = j_lock,
	.xCheckReservedLock = j_reserved,
	.xFileControl = j_control,
	.xSectorSize = j_sector,
	.xDeviceCharacteristics = j_traits,
};

size_t twzvfs__journal_size(void)
{
	return sizeof(struct journal);
}

void twzvfs__journal_open(sqlite3_file *file, struct twzvfs_buf *buf)
{
	struct journal *j = (struct journal *)file;

	memset(j, 0, sizeof(*j));
	j->buf = buf ? buf : &j->own;
	j->buf->len = 0;
	j->buf->in_use = true;
	j->base.pMethods = &journal_io;
}
