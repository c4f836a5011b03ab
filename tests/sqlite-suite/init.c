/* SPDX-License-Identifier: MIT
 * init.c -- makes "twz" the default VFS of SQLite's test program, serves the suite's counters and
 * injected failures, and lets tests reach bytes
 *
 * The test program is compiled with SQLITE_EXTRA_INIT=twz_suite_init: SQLite calls this at the end
 * of every sqlite3_initialize(), so that it outlives the tests' own sqlite3_shutdown().
 */
#include <stdlib.h>
#include <string.h>
#include <tcl.h>

#include "sqlite3.h"
#include "twzdb.h"
#include "twzvfs.h"

int twz_suite_init(const char *unused);

/* The suite's own counters and injected failures; os_unix.c serves them for ordinary files. */
extern int sqlite3_open_file_count, sqlite3_sync_count, sqlite3_fullsync_count;
extern int sqlite3_io_error_hit, sqlite3_io_error_hardhit, sqlite3_io_error_pending;
extern int sqlite3_io_error_persist, sqlite3_io_error_benign;
extern int sqlite3_diskfull_pending, sqlite3_diskfull;

static int (*real_open)(sqlite3_vfs *, const char *, sqlite3_file *, int, int *);
/* The methods twz gives its files (stores, journals, files that are no stores), and the same with
 * counting calls. The counted ones come first, so that a file's methods are its entry. */
static struct kind {
	sqlite3_io_methods counted;
	const sqlite3_io_methods *real;
} kind[3];

static const sqlite3_io_methods *real_of(sqlite3_file *f)
{
	return ((const struct kind *)(const void *)f->pMethods)->real;
}

/* Is it this call's turn to fail? */
static int io_fails(void)
{
	if (!(sqlite3_io_error_persist && sqlite3_io_error_hit) && sqlite3_io_error_pending-- != 1)
		return 0;
	sqlite3_io_error_hit++;
	if (!sqlite3_io_error_benign)
		sqlite3_io_error_hardhit++;
	return 1;
}

static int disk_is_full(void)
{
	if (!sqlite3_diskfull_pending || --sqlite3_diskfull_pending)
		return 0;
	sqlite3_diskfull_pending = 1;
	sqlite3_io_error_hit = 1;
	if (!sqlite3_io_error_benign)
		sqlite3_io_error_hardhit++;
	sqlite3_diskfull = 1;
	return 1;
}

static int c_close(sqlite3_file *f)
{
	sqlite3_open_file_count--;
	return real_of(f)->xClose(f);
}

static int c_read(sqlite3_file *f, void *buf, int n, sqlite3_int64 off)
{
	return io_fails() ? SQLITE_IOERR_READ : real_of(f)->xRead(f, buf, n, off);
}

static int c_write(sqlite3_file *f, const void *buf, int n, sqlite3_int64 off)
{
	if (io_fails())
		return SQLITE_IOERR_WRITE;
	return disk_is_full() ? SQLITE_FULL : real_of(f)->xWrite(f, buf, n, off);
}

static int c_truncate(sqlite3_file *f, sqlite3_int64 n)
{
	return io_fails() ? SQLITE_IOERR_TRUNCATE : real_of(f)->xTruncate(f, n);
}

static int c_sync(sqlite3_file *f, int flags)
{
	if (disk_is_full())
		return SQLITE_FULL;
	if ((flags & 0x0F) == SQLITE_SYNC_FULL)
		sqlite3_fullsync_count++;
	sqlite3_sync_count++;
	return io_fails() ? SQLITE_IOERR_FSYNC : real_of(f)->xSync(f, flags);
}

static int c_size(sqlite3_file *f, sqlite3_int64 *out)
{
	return io_fails() ? SQLITE_IOERR_FSTAT : real_of(f)->xFileSize(f, out);
}

static void count_calls(sqlite3_file *f)
{
	struct kind *k = kind;
	sqlite3_io_methods *m;

	while (k->real && k->real != f->pMethods)
		k++;
	m = &k->counted;
	if (!k->real) {
		*m = *f->pMethods;
		m->xClose = c_close;
		m->xRead = c_read;
		m->xWrite = c_write;
		m->xTruncate = c_truncate;
		m->xSync = c_sync;
		m->xFileSize = c_size;
		k->real = f->pMethods;
	}
	f->pMethods = m;
	sqlite3_open_file_count++;
}

static int counted_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out)
{
	int rc = real_open(vfs, name, f, flags, out);

	/* Temporary files are the root VFS's, which counts them. */
	if (!rc && name &&
	    flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL))
		count_calls(f);
	return rc;
}

struct handle {
	sqlite3_file *file;
	char *name;
};

/* The double NUL ends the list of URI parameters behind a name. */
static int open_store(const char *path, int flags, struct handle *h)
{
	sqlite3_vfs *vfs = sqlite3_vfs_find("twz");
	char full[4096];
	int rc;

	memset(h, 0, sizeof(*h));
	rc = vfs->xFullPathname(vfs, path, sizeof(full), full);
	if (rc)
		return rc;
	h->name = (char *)sqlite3_create_filename(full, "", "", 0, NULL);
	h->file = sqlite3_malloc(vfs->szOsFile);
	if (!h->name || !h->file)
		return SQLITE_NOMEM;
	memset(h->file, 0, (size_t)vfs->szOsFile);
	return real_open(vfs, h->name, h->file, SQLITE_OPEN_MAIN_DB | flags, &flags);
}

static void close_store(struct handle *h)
{
	if (h->file && h->file->pMethods)
		h->file->pMethods->xClose(h->file);
	sqlite3_free(h->file);
	sqlite3_free_filename(h->name);
}

static int fail(Tcl_Interp *in, int rc)
{
	Tcl_SetResult(in, (char *)sqlite3_errstr(rc), TCL_VOLATILE);
	return TCL_ERROR;
}

static int do_size(Tcl_Interp *in, const char *path)
{
	struct handle h;
	sqlite3_int64 n = 0;
	int rc = open_store(path, SQLITE_OPEN_READONLY, &h);

	if (!rc)
		rc = h.file->pMethods->xFileSize(h.file, &n);
	close_store(&h);
	if (rc)
		return fail(in, rc);
	Tcl_SetObjResult(in, Tcl_NewWideIntObj(n));
	return TCL_OK;
}

static int do_read(Tcl_Interp *in, const char *path, Tcl_WideInt off, int len)
{
	struct handle h;
	sqlite3_int64 size = 0;
	Tcl_Obj *out = Tcl_NewByteArrayObj(NULL, 0);
	int rc = open_store(path, SQLITE_OPEN_READONLY, &h);

	Tcl_IncrRefCount(out);
	if (!rc)
		rc = h.file->pMethods->xFileSize(h.file, &size);
	if (!rc && off + len > size)
		len = off < size ? (int)(size - off) : 0;
	if (!rc && len)
		rc = h.file->pMethods->xRead(h.file, Tcl_SetByteArrayLength(out, len), len, off);
	close_store(&h);
	if (!rc)
		Tcl_SetObjResult(in, out);
	Tcl_DecrRefCount(out);
	return rc ? fail(in, rc) : TCL_OK;
}

/* The VFS learns the page size from what is written first: so pages, as SQLite would. */
static int write_pieces(struct handle *h, const unsigned char *p, int len, sqlite3_int64 off)
{
	int size = 512, n, rc = SQLITE_OK;

	if (!off && len >= 512 && !memcmp(p, "SQLite format 3", 16)) {
		size = p[16] << 8 | p[17];
		size = size == 1 ? 65536 : size;
		if (size < 512 || size & (size - 1) || len % size)
			size = 512;
	}
	for (; !rc && len; p += n, off += n, len -= n) {
		n = len < size ? len : size;
		rc = h->file->pMethods->xWrite(h->file, p, n, off);
	}
	return rc;
}

/*
 * Change bytes of pages that exist behind SQLite's back: where they lie, for a commit would move the change counter. Of page 1 a
 * handle remembers some bytes: there it is a commit, as it would be noticed in a file. 1: there is no such page.
 */
static int patch_page(struct twzdb_txn *tx, struct twzdb_table t, uint32_t pgno, uint32_t in,
		      const unsigned char *p, uint32_t n)
{
	unsigned char key[4] = {(unsigned char)(pgno >> 24), (unsigned char)(pgno >> 16),
				(unsigned char)(pgno >> 8), (unsigned char)pgno};
	struct twzdb_slice k = {key, 4}, val;
	unsigned char *page;
	int err = twzdb_get(tx, t, k, &val);

	if (err || in + n > val.len)
		return 1;
	if (pgno != 1) {
		memcpy((unsigned char *)(uintptr_t)val.ptr + in, p, n);
		return 0;
	}
	page = malloc(val.len);
	if (!page)
		return 1;
	memcpy(page, val.ptr, val.len);
	memcpy(page + in, p, n);
	val.ptr = page;
	err = twzdb_put(tx, t, k, val, 0);
	free(page);
	return err != 0;
}

static int patch(const char *path, sqlite3_int64 off, const unsigned char *p, int len)
{
	static const unsigned char zero[4];
	struct twzdb_slice hdr, k = {zero, 4};
	struct twzdb *db = NULL;
	struct twzdb_txn *tx = NULL;
	struct twzdb_table t;
	uint32_t size = 0, n;
	/* The checkpoint: or the log would put back what is overwritten. */
	int rc = twzdb_open(path, NULL, &db) || twzdb_checkpoint(db) ||
		 twzdb_begin(db, TWZDB_TRY, &tx) || twzdb_table_open(tx, "sqlite.pages", 0, &t) ||
		 twzdb_get(tx, t, k, &hdr);

	if (!rc)
		memcpy(&size, (const char *)hdr.ptr + 8, 4);
	for (; !rc && len; p += n, off += n, len -= (int)n) {
		uint32_t in = (uint32_t)(off % size);

		n = (uint32_t)len < size - in ? (uint32_t)len : size - in;
		rc = patch_page(tx, t, (uint32_t)(off / size + 1), in, p, n);
	}
	if (rc)
		twzdb_abort(tx);
	else
		rc = twzdb_commit(tx);
	twzdb_close(db);
	return rc;
}

/* Write DATA, or with DATA NULL cut the file at OFF: one transaction. */
static int do_change(Tcl_Interp *in, const char *path, Tcl_WideInt off, Tcl_Obj *data)
{
	struct handle h;
	int len = 0;
	unsigned char *p = data ? Tcl_GetByteArrayFromObj(data, &len) : NULL;
	int rc;

	if (data && !patch(path, off, p, len))
		return TCL_OK;
	rc = open_store(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, &h);
	if (!rc)
		rc = h.file->pMethods->xLock(h.file, SQLITE_LOCK_SHARED);
	if (!rc)
		rc = h.file->pMethods->xLock(h.file, SQLITE_LOCK_RESERVED);
	if (!rc)
		rc = data ? write_pieces(&h, p, len, off)
			  : h.file->pMethods->xTruncate(h.file, off);
	if (!rc)
		rc = h.file->pMethods->xFileControl(h.file, SQLITE_FCNTL_COMMIT_PHASETWO, NULL);
	close_store(&h);
	return rc ? fail(in, rc) : TCL_OK;
}

/* twz_bytes size FILE | read FILE OFF LEN | write FILE OFF DATA | truncate FILE LEN */
static int twz_bytes(ClientData cd, Tcl_Interp *in, int n, Tcl_Obj *const *v)
{
	const char *op = n > 1 ? Tcl_GetString(v[1]) : "";
	const char *path = n > 2 ? Tcl_GetString(v[2]) : "";
	Tcl_WideInt off = 0;
	int len = 0;

	(void)cd;
	if (n > 3 && Tcl_GetWideIntFromObj(in, v[3], &off))
		return TCL_ERROR;
	if (n == 3 && !strcmp(op, "size"))
		return do_size(in, path);
	if (n == 5 && !strcmp(op, "read"))
		return Tcl_GetIntFromObj(in, v[4], &len) ? TCL_ERROR : do_read(in, path, off, len);
	if (n == 5 && !strcmp(op, "write"))
		return do_change(in, path, off, v[4]);
	if (n == 4 && !strcmp(op, "truncate"))
		return do_change(in, path, off, NULL);
	Tcl_SetResult(in, "twz_bytes: size|read|write|truncate FILE ...", TCL_STATIC);
	return TCL_ERROR;
}

static int suite_tcl(Tcl_Interp *in)
{
	Tcl_CreateObjCommand(in, "twz_bytes", twz_bytes, NULL, NULL);
	return TCL_OK;
}

int twz_suite_init(const char *unused)
{
	sqlite3_vfs *vfs;
	int rc = twzvfs_register(1);

	(void)unused;
	/* Native tables, which no test of the suite knows, are a few bytes, and some tests count them. */
	sqlite3_reset_auto_extension();
	Tcl_StaticPackage(NULL, "Twzsuite", suite_tcl, NULL);
	vfs = sqlite3_vfs_find("twz");
	if (!rc && !real_open) {
		real_open = vfs->xOpen;
		vfs->xOpen = counted_open;
	}
	return rc;
}
