/* SPDX-License-Identifier: MIT
 * io.c -- the methods of a main database file
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "internal.h"

#define SEEN_NS 50000

static struct twzvfs_file *file_of(sqlite3_file *file)
{
	return (struct twzvfs_file *)file;
}

/*
 * xRead and xFileSize may come without a lock: then they see the latest commit, through a
 * snapshot of their own.
 */
static int enter(struct twzvfs_file *f, bool *temporary)
{
	int err;

	*temporary = !f->txn && !f->immutable; /* else one for all reads */
	if (f->txn)
		return 0;
	if (f->lock != SQLITE_LOCK_NONE && !f->immutable)
		return TWZDB_E_IO; /* its snapshot was lost when it was to give up writing */
	err = twzvfs__read(f);
	if (!err)
		err = twzvfs__pages_load(f);
	if (err)
		twzvfs__end(f);
	return err;
}

static void leave(struct twzvfs_file *f, bool temporary)
{
	if (temporary)
		twzvfs__end(f);
}

static int io_close(sqlite3_file *file)
{
	struct twzvfs_file *f = file_of(file);
	int err;

	twzvfs__end(f);
	twzvfs__group_remove(f);
	err = twzdb_close(f->db);
	twzvfs__native_free(f);
	twzvfs__map_free(f);
	sqlite3_free(f->journal.p);
	sqlite3_free(f->path);
	f->base.pMethods = NULL;
	return err ? SQLITE_IOERR_CLOSE : SQLITE_OK;
}

static int io_read(sqlite3_file *file, void *buf, int amt, sqlite3_int64 off)
{
	struct twzvfs_file *f = file_of(file);
	bool temporary, is_short;
	int err = enter(f, &temporary);

	if (f->early && !f->exclusive && f->lock == SQLITE_LOCK_SHARED &&
	    (uint64_t)off >= f->page_size)
		err = twzvfs__early_end(f);
	if (err)
		return twzvfs__rc(err, "read", f->path);
	is_short = (uint64_t)off + (uint64_t)amt > f->page_cnt * f->page_size;
	err = twzvfs__pages_read(f, buf, (uint64_t)amt, (uint64_t)off);
	leave(f, temporary);
	if (err)
		return twzvfs__rc(err, "read", f->path);
	return is_short ? SQLITE_IOERR_SHORT_READ : SQLITE_OK;
}

/*
 * A VFS on top that keeps one database in several files (multiplex) passes locks and controls on
 * to the first file only. The others would be read at other moments than it: refused, because
 * it could not be right.
 */
static int check_split(struct twzvfs_file *f)
{
	if (f->lock != SQLITE_LOCK_NONE || f->conn)
		return SQLITE_OK;
	sqlite3_log(SQLITE_IOERR_WRITE,
		    "twz: %s: written to without a lock: a database cannot be split over several "
		    "files here",
		    f->path);
	return SQLITE_IOERR_WRITE;
}

static int io_write(sqlite3_file *file, const void *buf, int amt, sqlite3_int64 off)
{
	struct twzvfs_file *f = file_of(file);
	int err = check_split(f);

	if (err)
		return err;
	err = twzvfs__writer(f);
	if (!err)
		err = twzvfs__pages_write(f, buf, (uint64_t)amt, (uint64_t)off);
	if (!err)
		err = twzvfs__native_wrote(f, (uint64_t)off, (uint64_t)amt);
	return twzvfs__rc(err, "write", f->path);
}

static int io_truncate(sqlite3_file *file, sqlite3_int64 len)
{
	struct twzvfs_file *f = file_of(file);
	int err = twzvfs__writer(f);

	if (!err && f->have_table)
		err = twzvfs__pages_truncate(f, (uint64_t)len);
	return twzvfs__rc(err, "truncate", f->path);
}

/* Durability is decided at the commit point; every engine commit is durable when it returns. */
static int io_sync(sqlite3_file *file, int flags)
{
	(void)file;
	(void)flags;
	return SQLITE_OK;
}

static int io_size(sqlite3_file *file, sqlite3_int64 *out)
{
	struct twzvfs_file *f = file_of(file);
	bool temporary;
	int err = enter(f, &temporary);

	*out = err ? 0 : (sqlite3_int64)(f->page_cnt * f->page_size);
	if (!err)
		leave(f, temporary);
	return twzvfs__rc(err, "size", f->path);
}

static int note_sync(struct twzvfs_file *f, const char *super)
{
	sqlite3_free(f->super);
	f->super = NULL;
	f->prepared = true;
	if (!super)
		return SQLITE_OK;
	f->super = sqlite3_mprintf("%s", super);
	return f->super ? SQLITE_OK : SQLITE_IOERR_NOMEM;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Without a look at its times: twz/src/backend_file.h says why. */
static bool is_still(const struct twzvfs_file *f)
{
	struct statx x;
	struct stat st;

	if (!statx(AT_FDCWD, f->path, 0, STATX_TYPE | STATX_INO, &x))
		return makedev(x.stx_dev_major, x.stx_dev_minor) == f->dev && x.stx_ino == f->ino;
	return !stat(f->path, &st) && st.st_dev == f->dev && st.st_ino == f->ino;
}

/*
 * Has the file been deleted, renamed or replaced under us? SQLite asks in every transaction, and the system call
 * costs a tenth of one: what was seen less than SEEN_NS ago is believed.
 */
static int has_moved(struct twzvfs_file *f)
{
	uint64_t now = now_ns();

	if (now - f->seen_at < SEEN_NS)
		return 0;
	if (!is_still(f))
		return 1;
	f->seen_at = now;
	return 0;
}

/*
 * arg[1] is the pragma's name, arg[2] its argument or NULL, arg[0] our answer. Only two matter
 * here. journal_mode=OFF would leave nothing to play a failed statement back from, and in
 * exclusive locking mode corrupts the database
 * (README, "Journals"): it is answered "memory", which is what the journal is anyhow.
 */
static int pragma(struct twzvfs_file *f, char **arg)
{
	if (!arg[2])
		return SQLITE_NOTFOUND;
	if (!sqlite3_stricmp(arg[1], "locking_mode")) {
		bool on = !sqlite3_stricmp(arg[2], "exclusive");

		if (on || !sqlite3_stricmp(arg[2], "normal"))
			twzvfs__group_exclusive(f, on);
		return SQLITE_NOTFOUND;
	}
	if (!sqlite3_stricmp(arg[1], "journal_mode") && !sqlite3_stricmp(arg[2], "off")) {
		arg[0] = sqlite3_mprintf("memory");
		return arg[0] ? SQLITE_OK : SQLITE_NOMEM;
	}
	return SQLITE_NOTFOUND;
}

/* A name no file has, where temporary files go. */
static char *temp_name(void)
{
	const char *dir = getenv("TMPDIR");
	sqlite3_uint64 rnd;

	sqlite3_randomness((int)sizeof(rnd), &rnd);
	return sqlite3_mprintf("%s/etilqs_%llx", dir && *dir ? dir : "/tmp", rnd);
}

static int io_control(sqlite3_file *file, int op, void *arg)
{
	struct twzvfs_file *f = file_of(file);
	sqlite3_int64 old;

	switch (op) {
	case SQLITE_FCNTL_SYNC:
		return note_sync(f, arg);
	case SQLITE_FCNTL_COMMIT_PHASETWO: /* the commit point: see twzvfs__commit */
		return twzvfs__group_phase_two(f);
	case SQLITE_FCNTL_PDB:
		f->conn = arg;
		twzvfs__group_join(f);
		return SQLITE_OK;
	case TWZVFS_FCNTL_FILE:
		memcpy(arg, &f, sizeof(f));
		return SQLITE_OK;
	case SQLITE_FCNTL_PRAGMA:
		return pragma(f, arg);
	case SQLITE_FCNTL_HAS_MOVED:
		*(int *)arg = has_moved(f);
		return SQLITE_OK;
	case SQLITE_FCNTL_LOCKSTATE:
		*(int *)arg = f->lock;
		return SQLITE_OK;
	case SQLITE_FCNTL_MMAP_SIZE:
		old = f->mmap_size;
		/* As with files: not while pages are handed out. */
		if (*(sqlite3_int64 *)arg >= 0 && !f->fetched)
			f->mmap_size = *(sqlite3_int64 *)arg;
		*(sqlite3_int64 *)arg = old;
		return SQLITE_OK;
	case SQLITE_FCNTL_VFSNAME:
		*(char **)arg = sqlite3_mprintf("twz");
		return *(char **)arg ? SQLITE_OK : SQLITE_NOMEM;
	case SQLITE_FCNTL_LAST_ERRNO:
		*(int *)arg = 0; /* no call of the system is SQLite's to look at */
		return SQLITE_OK;
	case SQLITE_FCNTL_TEMPFILENAME:
		*(char **)arg = temp_name();
		return *(char **)arg ? SQLITE_OK : SQLITE_NOMEM;
	case SQLITE_FCNTL_POWERSAFE_OVERWRITE:
		if (*(int *)arg < 0)
			*(int *)arg = 1; /* a commit is all or nothing: cannot be switched off */
		return SQLITE_OK;
	case SQLITE_FCNTL_SIZE_HINT:
	case SQLITE_FCNTL_CHUNK_SIZE:
		return SQLITE_OK; /* the store grows by itself */
	default:
		return SQLITE_NOTFOUND;
	}
}

static int io_sector(sqlite3_file *file)
{
	(void)file;
	return 4096;
}

/* What makes SQLite leave out syncs of a journal that needs none. */
static int io_traits(sqlite3_file *file)
{
	(void)file;
	return SQLITE_IOCAP_SAFE_APPEND | SQLITE_IOCAP_SEQUENTIAL |
	       SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

/*
 * Zero-copy reads of the first mmap_size bytes (PRAGMA mmap_size). A page blob is immutable and outlives the snapshot that
 * reads it (R10). Not for a writer: its own new pages may still be overwritten in place.
 */
static int io_fetch(sqlite3_file *file, sqlite3_int64 off, int amt, void **out)
{
	struct twzvfs_file *f = file_of(file);
	const void *p = NULL;
	int err = 0;

	*out = NULL;
	if (off + amt > f->mmap_size || !f->txn || twzdb_txn_is_writer(f->txn))
		return SQLITE_OK;
	err = twzvfs__pages_fetch(f, (uint64_t)off, (uint32_t)amt, &p);
	memcpy(out, &p, sizeof(p));
	f->fetched += p != NULL;
	return twzvfs__rc(err, "fetch", f->path);
}

static int io_unfetch(sqlite3_file *file, sqlite3_int64 off, void *p)
{
	(void)off;
	if (p)
		file_of(file)->fetched--;
	return SQLITE_OK;
}

/* Version 3 without shared memory: `journal_mode=WAL` keeps the old mode and says so. */
const sqlite3_io_methods twzvfs__io = {
	.iVersion = 3,
	.xClose = io_close,
	.xRead = io_read,
	.xWrite = io_write,
	.xTruncate = io_truncate,
	.xSync = io_sync,
	.xFileSize = io_size,
	.xLock = twzvfs__lock,
	.xUnlock = twzvfs__unlock,
	.xCheckReservedLock = twzvfs__check_reserved,
	.xFileControl = io_control,
	.xSectorSize = io_sector,
	.xDeviceCharacteristics = io_traits,
	.xFetch = io_fetch,
	.xUnfetch = io_unfetch,
};
