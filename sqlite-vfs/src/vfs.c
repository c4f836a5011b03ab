/* SPDX-License-Identifier: MIT
 * vfs.c -- the VFS "twz": names and files
 *
 * Main databases are engine databases; rollback journals are memory; temporary files, clocks and
 * the rest are the root VFS's.
 */
#include <errno.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "internal.h"
#include "twz/err.h"
#include "vfs.h"

#define SMALL_DISK ((uint64_t)512 << 20) /* free bytes */
#define LOG_MAX	   ((uint64_t)16 << 20)
#define LOG_MIN	   ((uint64_t)1 << 20)

static sqlite3_vfs *root;

sqlite3_vfs *twzvfs__root(void)
{
	return root;
}

static bool ends_with(const char *s, const char *suffix)
{
	size_t n = strlen(s), k = strlen(suffix);

	return n >= k && !strcmp(s + n - k, suffix);
}

/* "<main>-mjXXXXXX9XX": the name SQLite gives a super-journal. */
static bool is_super(const char *name)
{
	size_t n = strlen(name);

	return n > 12 && !strncmp(name + n - 12, "-mj", 3) && name[n - 3] == '9';
}

/* Names that exist only in memory here. */
static bool is_journal(const char *name)
{
	return ends_with(name, "-journal") || ends_with(name, "-wal") || is_super(name);
}

#define READ_WRITE (SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)

static uint32_t engine_flags(const char *path, int flags)
{
	struct stat st;

	if (flags & SQLITE_OPEN_READONLY)
		return TWZDB_READONLY;
	if (flags & SQLITE_OPEN_CREATE)
		return TWZDB_CREATE;
	/* An empty file is an empty database: any program may have made it. */
	if ((flags & SQLITE_OPEN_READWRITE) && stat(path, &st) == 0 && S_ISREG(st.st_mode) &&
	    st.st_size == 0)
		return TWZDB_CREATE;
	return 0;
}

/*
 * Of a new database: the engine's usual log is 64 MiB where it has a page cache beneath it, which is too much of a small
 * disk. 0: as usual.
 */
static uint64_t log_len(const char *path)
{
	uint64_t room, len = LOG_MAX;
	char dir[1024];
	struct statvfs st;
	char *slash;

	sqlite3_snprintf((int)sizeof(dir), dir, "%s", path);
	slash = strrchr(dir, '/');
	if (slash)
		slash[slash == dir] = 0;
	if (!slash || statvfs(dir, &st))
		return 0;
	room = (uint64_t)st.f_bavail * st.f_frsize;
	if (room >= SMALL_DISK)
		return 0;
	while (len > LOG_MIN && len > room / 32)
		len /= 2;
	return len;
}

static int open_db(struct twzvfs_file *f, uint32_t flags)
{
	struct twzdb_options opt = {.size = sizeof(opt), .flags = flags};

	if (flags & TWZDB_CREATE)
		opt.log_len = log_len(f->path);
	opt.name = sqlite3_uri_parameter(f->name, "db");
	return twzdb_open(f->path, &opt, &f->db);
}

int twzvfs__reopen(struct twzvfs_file *f)
{
	int err = twzdb_close(f->db);

	f->db = NULL;
	f->loaded = false;
	f->reopened++;
	return err ? err : open_db(f, TWZDB_READONLY);
}

/* What stops a writer, and need not stop a reader. */
static bool may_read(int err)
{
	return err == TWZDB_E_READONLY || err == TWZ_E_PERM || err == -EACCES || err == -EROFS ||
	       err == -EPERM;
}

static int open_main(const char *name, struct twzvfs_file *f, int flags, int *out_flags)
{
	struct stat st;
	int err;

	memset(f, 0, sizeof(*f));
	f->name = name;
	f->path = sqlite3_mprintf("%s", name);
	if (!f->path)
		return SQLITE_NOMEM;
	f->immutable = sqlite3_uri_boolean(name, "immutable", 0);
	if (f->immutable)
		flags = (flags & ~READ_WRITE) | SQLITE_OPEN_READONLY;
	err = open_db(f, engine_flags(name, flags));
	/* As with any file: who asks to write and may not, gets it to read, and is told so. */
	if (may_read(err) && !(flags & SQLITE_OPEN_READONLY) && access(name, F_OK) == 0) {
		flags = (flags & ~READ_WRITE) | SQLITE_OPEN_READONLY;
		err = open_db(f, TWZDB_READONLY);
	}
	if (err) {
		sqlite3_free(f->path);
		if (err == TWZ_E_NOTSTORE)
			return twzvfs__foreign_open(&f->base, name);
		return twzvfs__rc(err, "open", name);
	}
	if (stat(name, &st) == 0) {
		f->dev = st.st_dev;
		f->ino = st.st_ino;
	}
	f->readonly = (flags & SQLITE_OPEN_READONLY) != 0;
	f->base.pMethods = &twzvfs__io;
	twzvfs__group_add(f);
	if (out_flags)
		*out_flags = flags;
	return SQLITE_OK;
}

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
		    int *out_flags)
{
	(void)vfs;
	file->pMethods = NULL;
	if (name && (flags & SQLITE_OPEN_MAIN_DB))
		return open_main(name, (struct twzvfs_file *)file, flags, out_flags);
	if (name && (flags & (SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL))) {
		twzvfs__journal_open(file, flags & SQLITE_OPEN_MAIN_JOURNAL
						   ? twzvfs__group_journal(name)
						   : NULL);
		if (out_flags)
			*out_flags = flags;
		return SQLITE_OK;
	}
	if (flags & SQLITE_OPEN_WAL)
		return SQLITE_CANTOPEN;
	return root->xOpen(root, name, file, flags, out_flags);
}

/*
 * Deleting a super-journal is a commit point; deleting a database takes its companion file
 * along.
 */
static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync_dir)
{
	int rc;

	(void)vfs;
	if (is_super(name))
		return twzvfs__group_commit(name);
	if (is_journal(name))
		return SQLITE_OK;
	rc = root->xDelete(root, name, sync_dir);
	if (rc == SQLITE_OK) {
		char *lock = sqlite3_mprintf("%s-lock", name);

		if (lock)
			(void)unlink(lock);
		sqlite3_free(lock);
	}
	return rc;
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *out)
{
	(void)vfs;
	*out = 0;
	return is_journal(name) ? SQLITE_OK : root->xAccess(root, name, flags, out);
}

static int vfs_path(sqlite3_vfs *vfs, const char *name, int n, char *out)
{
	(void)vfs;
	return root->xFullPathname(root, name, n, out);
}

static void *vfs_dlopen(sqlite3_vfs *vfs, const char *name)
{
	(void)vfs;
	return root->xDlOpen(root, name);
}

static void vfs_dlerror(sqlite3_vfs *vfs, int n, char *out)
{
	(void)vfs;
	root->xDlError(root, n, out);
}

static void (*vfs_dlsym(sqlite3_vfs *vfs, void *lib, const char *sym))(void)
{
	(void)vfs;
	return root->xDlSym(root, lib, sym);
}

static void vfs_dlclose(sqlite3_vfs *vfs, void *lib)
{
	(void)vfs;
	root->xDlClose(root, lib);
}

static int vfs_random(sqlite3_vfs *vfs, int n, char *out)
{
	(void)vfs;
	return root->xRandomness(root, n, out);
}

static int vfs_sleep(sqlite3_vfs *vfs, int us)
{
	(void)vfs;
	return root->xSleep(root, us);
}

static int vfs_time(sqlite3_vfs *vfs, double *out)
{
	(void)vfs;
	return root->xCurrentTime(root, out);
}

static int vfs_last_error(sqlite3_vfs *vfs, int n, char *out)
{
	(void)vfs;
	return root->xGetLastError(root, n, out);
}

static int vfs_time64(sqlite3_vfs *vfs, sqlite3_int64 *out)
{
	(void)vfs;
	return root->xCurrentTimeInt64(root, out);
}

/* System calls are the root VFS's: temporary files use them, stores do not. */
static int vfs_set_call(sqlite3_vfs *vfs, const char *name, sqlite3_syscall_ptr call)
{
	(void)vfs;
	if (root->iVersion < 3 || !root->xSetSystemCall)
		return SQLITE_NOTFOUND;
	return root->xSetSystemCall(root, name, call);
}

static sqlite3_syscall_ptr vfs_get_call(sqlite3_vfs *vfs, const char *name)
{
	(void)vfs;
	return root->iVersion < 3 || !root->xGetSystemCall ? NULL
							   : root->xGetSystemCall(root, name);
}

static const char *vfs_next_call(sqlite3_vfs *vfs, const char *name)
{
	(void)vfs;
	return root->iVersion < 3 || !root->xNextSystemCall ? NULL
							    : root->xNextSystemCall(root, name);
}

static sqlite3_vfs twz_vfs = {
	.iVersion = 3,
	.mxPathname = 1024,
	.zName = "twz",
	.xOpen = vfs_open,
	.xDelete = vfs_delete,
	.xAccess = vfs_access,
	.xFullPathname = vfs_path,
	.xDlOpen = vfs_dlopen,
	.xDlError = vfs_dlerror,
	.xDlSym = vfs_dlsym,
	.xDlClose = vfs_dlclose,
	.xRandomness = vfs_random,
	.xSleep = vfs_sleep,
	.xCurrentTime = vfs_time,
	.xGetLastError = vfs_last_error,
	.xCurrentTimeInt64 = vfs_time64,
	.xSetSystemCall = vfs_set_call,
	.xGetSystemCall = vfs_get_call,
	.xNextSystemCall = vfs_next_call,
};

/* Every connection of the process has native tables. */
static int on_connection(sqlite3 *db, char **err, const void *api)
{
	(void)err;
	(void)api;
	return twzvfs__native_register(db);
}

int twzvfs__init(int make_default)
{
	size_t sz = sizeof(struct twzvfs_file);
	int rc;

	if (!root) {
		root = sqlite3_vfs_find(NULL);
		if (!root || root == &twz_vfs)
			return SQLITE_ERROR;
	}
	if (twzvfs__journal_size() > sz)
		sz = twzvfs__journal_size();
	/* Temporary files are opened by the root VFS in the same memory. */
	if ((size_t)root->szOsFile > sz)
		sz = (size_t)root->szOsFile;
	twz_vfs.szOsFile = (int)sz;
	twz_vfs.mxPathname = root->mxPathname;
	rc = sqlite3_vfs_register(&twz_vfs, make_default);
	/* Given as what SQLite takes, called as what it is: its documentation wants it so. */
	return rc ? rc : sqlite3_auto_extension((void (*)(void))on_connection);
}
