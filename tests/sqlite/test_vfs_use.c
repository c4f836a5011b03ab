/* SPDX-License-Identifier: MIT
 * test_vfs_use.c -- the VFS "twz" as other VFSes, tools and unusual callers meet it
 */
#include "t.h"

#include <sqlite3.h>
#include <sys/stat.h>

#include "twzdb.h"
#include "twzvfs.h"

static char last_log[4096];

static void on_log(void *ctx, int rc, const char *msg)
{
	(void)ctx;
	(void)rc;
	if (strlen(msg) > sizeof(last_log) - 2)
		return;
	memmove(last_log + strlen(msg) + 1, last_log, sizeof(last_log) - strlen(msg) - 1);
	memcpy(last_log, msg, strlen(msg)); /* the newest first, none lost that a test looks for */
	last_log[strlen(msg)] = '\n';
	last_log[sizeof(last_log) - 1] = '\0';
}

static const char *fresh(const char *name)
{
	const char *p = t_path(t_dir(), name);
	char lock[600];

	unlink(p);
	snprintf(lock, sizeof(lock), "%s-lock", p);
	unlink(lock);
	return p;
}

static sqlite3 *open_on(const char *path, const char *vfs)
{
	sqlite3 *db = NULL;
	int rc = sqlite3_open_v2(path, &db,
				 SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI, vfs);

	if (rc)
		fprintf(stderr, "open %s: %s\n", path, sqlite3_errmsg(db));
	return db;
}

static int exec(sqlite3 *db, const char *sql)
{
	return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

static sqlite3_int64 num(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *st = NULL;
	sqlite3_int64 v = -999;

	if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK &&
	    sqlite3_step(st) == SQLITE_ROW)
		v = sqlite3_column_int64(st, 0);
	else
		fprintf(stderr, "%s: %s\n", sql, sqlite3_errmsg(db));
	sqlite3_finalize(st);
	return v;
}

static const char *text(sqlite3 *db, const char *sql)
{
	static char buf[400];
	sqlite3_stmt *st = NULL;

	buf[0] = '\0';
	if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK &&
	    sqlite3_step(st) == SQLITE_ROW)
		snprintf(buf, sizeof(buf), "%s", (const char *)sqlite3_column_text(st, 0));
	sqlite3_finalize(st);
	return buf;
}

/* --- a VFS on top that wraps every file, as logging and checking ones do --- */

struct wrapped {
	sqlite3_file base;
	sqlite3_file *real;
};

static sqlite3_file *real_of(sqlite3_file *f)
{
	return ((struct wrapped *)f)->real;
}

#define PASS(name, args, call)                                                                     \
	static int name args                                                                       \
	{                                                                                          \
		return real_of(f)->pMethods->call;                                                 \
	}

PASS(w_read, (sqlite3_file * f, void *b, int n, sqlite3_int64 o), xRead(real_of(f), b, n, o))
PASS(w_write, (sqlite3_file * f, const void *b, int n, sqlite3_int64 o),
     xWrite(real_of(f), b, n, o))
PASS(w_truncate, (sqlite3_file * f, sqlite3_int64 n), xTruncate(real_of(f), n))
PASS(w_sync, (sqlite3_file * f, int flags), xSync(real_of(f), flags))
PASS(w_size, (sqlite3_file * f, sqlite3_int64 *n), xFileSize(real_of(f), n))
PASS(w_lock, (sqlite3_file * f, int level), xLock(real_of(f), level))
PASS(w_unlock, (sqlite3_file * f, int level), xUnlock(real_of(f), level))
PASS(w_reserved, (sqlite3_file * f, int *out), xCheckReservedLock(real_of(f), out))
PASS(w_control, (sqlite3_file * f, int op, void *arg), xFileControl(real_of(f), op, arg))
PASS(w_sector, (sqlite3_file * f), xSectorSize(real_of(f)))
PASS(w_traits, (sqlite3_file * f), xDeviceCharacteristics(real_of(f)))

static int w_close(sqlite3_file *f)
{
	int rc = real_of(f)->pMethods->xClose(real_of(f));

	sqlite3_free(real_of(f));
	return rc;
}

static const sqlite3_io_methods wrap_io = {
	.iVersion = 1,
	.xClose = w_close,
	.xRead = w_read,
	.xWrite = w_write,
	.xTruncate = w_truncate,
	.xSync = w_sync,
	.xFileSize = w_size,
	.xLock = w_lock,
	.xUnlock = w_unlock,
	.xCheckReservedLock = w_reserved,
	.xFileControl = w_control,
	.xSectorSize = w_sector,
	.xDeviceCharacteristics = w_traits,
};

static int w_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out)
{
	sqlite3_vfs *twz = vfs->pAppData;
	struct wrapped *w = (struct wrapped *)f;
	int rc;

	w->base.pMethods = NULL;
	w->real = sqlite3_malloc(twz->szOsFile);
	if (!w->real)
		return SQLITE_NOMEM;
	rc = twz->xOpen(twz, name, w->real, flags, out);
	if (rc)
		sqlite3_free(w->real);
	else
		w->base.pMethods = &wrap_io;
	return rc;
}

static void register_wrapper(void)
{
	static sqlite3_vfs vfs;
	sqlite3_vfs *twz = sqlite3_vfs_find("twz");

	vfs = *twz;
	vfs.zName = "wrap";
	vfs.pNext = NULL;
	vfs.szOsFile = sizeof(struct wrapped);
	vfs.pAppData = twz;
	vfs.xOpen = w_open;
	sqlite3_vfs_register(&vfs, 0);
}

static void another_vfs_may_lie_on_top(void)
{
	static const char *const modes[] = {"delete", "truncate", "persist", "memory"};

	register_wrapper();
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		char sql[64];
		sqlite3 *db = open_on(fresh("top.twz"), "wrap"), *other;

		snprintf(sql, sizeof(sql), "pragma journal_mode=%s; pragma cache_size=5", modes[i]);
		T_EQ(exec(db, sql), 0);
		T_EQ(exec(db,
			  "create table t(a integer primary key, b unique); insert into t "
			  "select value, randomblob(300) from json_each('[1,2,3,4,5,6,7,8,9]')"),
		     0);
		T_EQ(exec(db,
			  "begin; update t set b=randomblob(3000); delete from t where a>5; rollback"),
		     0);
		T_EQ(num(db, "select sum(length(b)) from t"), 2700);
		other = open_on(t_path(t_dir(), "top.twz"), "twz");
		T_EQ(num(other, "select count(*) from t"), 9);
		sqlite3_close(other);
		sqlite3_close(db);
	}
}

static void a_plain_file_says_so_at_first_use_and_can_be_imported(void)
{
	char sql[700], before[100], after[100];
	const char *plain = t_path(t_dir(), "plain.db");
	sqlite3 *db;
	FILE *f;

	unlink(plain);
	db = open_on(plain, NULL);
	T_EQ(exec(db, "create table t(a); insert into t values(41),(1)"), 0);
	sqlite3_close(db);
	f = fopen(plain, "r");
	T_EQ(fread(before, 1, sizeof(before), f), sizeof(before));
	fclose(f);

	db = open_on(plain, "twz");
	T_EQ(exec(db, "select * from t"), SQLITE_NOTADB);
	T_HAS(last_log, "VACUUM INTO");
	T_EQ(exec(db, "create table u(a)"), SQLITE_NOTADB);
	sqlite3_close(db);
	f = fopen(plain, "r");
	T_EQ(fread(after, 1, sizeof(after), f), sizeof(after));
	fclose(f);
	T_EQ(memcmp(before, after, sizeof(before)), 0);

	/* What the message advises. */
	db = open_on(plain, NULL);
	snprintf(sql, sizeof(sql), "vacuum into 'file:%s?vfs=twz'", fresh("imported.twz"));
	T_EQ(exec(db, sql), 0);
	sqlite3_close(db);
	db = open_on(t_path(t_dir(), "imported.twz"), "twz");
	T_EQ(num(db, "select sum(a) from t"), 42);
	sqlite3_close(db);
}

static void a_backup_may_cut_the_file_inside_a_page(void)
{
	sqlite3 *src = open_on(":memory:", NULL), *dst = open_on(fresh("cut.twz"), "twz");
	sqlite3_backup *b;
	sqlite3_file *file = NULL;
	sqlite3_int64 size = -1;

	T_EQ(exec(src, "pragma page_size=1024"), 0);
	T_EQ(exec(dst, "pragma page_size=4096; create table t(a); create index ta on t(a)"), 0);
	b = sqlite3_backup_init(dst, "main", src, "main");
	T_TRUE(b != NULL);
	T_EQ(sqlite3_backup_step(b, -1), SQLITE_DONE);
	T_EQ(sqlite3_backup_finish(b), 0);
	T_EQ(sqlite3_file_control(dst, "main", SQLITE_FCNTL_FILE_POINTER, &file), 0);
	T_EQ(file->pMethods->xFileSize(file, &size), 0);
	T_EQ(size, 1024);
	sqlite3_close(src);
	sqlite3_close(dst);
	dst = open_on(t_path(t_dir(), "cut.twz"), "twz");
	T_EQ(exec(dst, "create table u(a); insert into u values(1)"), 0);
	T_EQ(num(dst, "select count(*) from pragma_integrity_check where integrity_check='ok'"), 1);
	sqlite3_close(dst);
}

static void mmap_size_is_a_limit_and_stands_while_pages_are_out(void)
{
	sqlite3 *db = open_on(fresh("map.twz"), "twz");
	sqlite3_file *file = NULL;
	sqlite3_int64 size;
	void *p = NULL;

	T_EQ(exec(db,
		  "pragma page_size=1024; create table t(a); insert into t values(randomblob(9000))"),
	     0);
	T_EQ(num(db, "pragma mmap_size=4096"), 4096);
	T_EQ(sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file), 0);
	T_EQ(file->pMethods->xLock(file, SQLITE_LOCK_SHARED), 0);
	T_EQ(file->pMethods->xFetch(file, 4096, 1024, &p), 0);
	T_TRUE(p == NULL);
	T_EQ(file->pMethods->xFetch(file, 3072, 1024, &p), 0);
	T_TRUE(p != NULL);
	size = 0;
	T_EQ(file->pMethods->xFileControl(file, SQLITE_FCNTL_MMAP_SIZE, &size), 0);
	size = -1;
	T_EQ(file->pMethods->xFileControl(file, SQLITE_FCNTL_MMAP_SIZE, &size), 0);
	T_EQ(size, 4096);
	T_EQ(file->pMethods->xUnfetch(file, 3072, p), 0);
	size = 0;
	T_EQ(file->pMethods->xFileControl(file, SQLITE_FCNTL_MMAP_SIZE, &size), 0);
	size = -1;
	T_EQ(file->pMethods->xFileControl(file, SQLITE_FCNTL_MMAP_SIZE, &size), 0);
	T_EQ(size, 0);
	T_EQ(file->pMethods->xUnlock(file, SQLITE_LOCK_NONE), 0);
	sqlite3_close(db);
}

static void a_database_cannot_be_split_over_files(void)
{
	sqlite3_vfs *twz = sqlite3_vfs_find("twz");
	const char *name = sqlite3_create_filename(fresh("part.twz"), "", "", 0, NULL);
	sqlite3_file *f = calloc(1, (size_t)twz->szOsFile);
	char page[512] = {1};
	int flags = SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
	sqlite3_int64 size = -1;

	/* Neither a lock nor a connection: what the second file of a split database gets. */
	T_EQ(twz->xOpen(twz, name, f, flags, &flags), 0);
	T_EQ(f->pMethods->xWrite(f, page, sizeof(page), 0), SQLITE_IOERR_WRITE);
	T_HAS(last_log, "split");
	T_EQ(f->pMethods->xFileSize(f, &size), 0);
	T_EQ(size, 0);
	T_EQ(f->pMethods->xClose(f), 0);
	free(f);
	sqlite3_free_filename((char *)name);
}

/* As with files: whoever has a deleted database open keeps it, and the name may be used again. */
static void a_deleted_database_and_its_successor_are_two(void)
{
	const char *path = fresh("again.twz");
	sqlite3 *old = open_on(path, "twz"), *db;
	sqlite3_vfs *twz = sqlite3_vfs_find("twz");

	T_EQ(exec(old, "create table t(a); insert into t values(1)"), 0);
	T_EQ(twz->xDelete(twz, path, 0), 0);
	db = open_on(path, "twz");
	T_EQ(exec(db, "create table u(a); insert into u values(2)"), 0);
	T_EQ(num(db, "select count(*) from sqlite_schema where name='t'"), 0);
	T_EQ(num(old, "select a from t"), 1);
	T_EQ(exec(old, "insert into t values(3)") & 0xff, SQLITE_READONLY);
	sqlite3_close(old);
	T_EQ(num(db, "select a from u"), 2);
	sqlite3_close(db);

	/* And without the VFS's care for the lock file. */
	old = open_on(path, "twz");
	T_EQ(num(old, "select a from u"), 2);
	unlink(path);
	db = open_on(path, "twz");
	T_EQ(exec(db, "create table v(a); insert into v values(4)"), 0);
	T_EQ(num(old, "select a from u"), 2);
	sqlite3_close(old);
	old = open_on(path, "twz");
	T_EQ(num(old, "select a from v"), 4);
	sqlite3_close(old);
	sqlite3_close(db);
}

/*
 * The next page SQLite allocates is the one behind the end, which is moved there: the pages between are holes, as if they had been
 * allocated and never used.
 */
static void grow_to(sqlite3 *db, uint64_t bytes, uint32_t page_size)
{
	uint64_t pages = bytes / page_size;
	unsigned char size[4] = {(unsigned char)(pages >> 24), (unsigned char)(pages >> 16),
				 (unsigned char)(pages >> 8), (unsigned char)pages};
	sqlite3_file *f = NULL;

	T_EQ(sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &f), 0);
	T_EQ(f->pMethods->xLock(f, SQLITE_LOCK_SHARED), 0);
	T_EQ(f->pMethods->xLock(f, SQLITE_LOCK_EXCLUSIVE), 0);
	T_EQ(f->pMethods->xTruncate(f, (sqlite3_int64)(pages * page_size)), 0);
	T_EQ(f->pMethods->xWrite(f, size, sizeof(size), 28),
	     0); /* page 1 says how many there are */
	T_EQ(f->pMethods->xFileControl(f, SQLITE_FCNTL_COMMIT_PHASETWO, NULL), 0);
	T_EQ(f->pMethods->xUnlock(f, SQLITE_LOCK_NONE), 0);
}

static void beyond_two_and_four_gib(void)
{
	static const uint64_t end[] = {(uint64_t)1 << 30, (uint64_t)2 << 30, (uint64_t)4 << 30,
				       (uint64_t)5 << 32};
	const char *path = fresh("large.twz");
	sqlite3 *db = open_on(path, "twz");
	char sql[200];

	T_EQ(exec(db,
		  "pragma page_size=65536; pragma auto_vacuum=0; create table t(a integer primary key, b)"),
	     0);
	for (size_t i = 0; i < sizeof(end) / sizeof(end[0]); i++) {
		/* some just before the mark, some behind it; SQLite leaves out the page at 1 GiB itself */
		grow_to(db, end[i] - 3 * 65536, 65536);
		snprintf(sql, sizeof(sql),
			 "with recursive n(x) as (select 1 union all select x+1 from n where x<8) "
			 "insert into t select %zu*100+x, randomblob(60000)||x from n",
			 i);
		T_EQ(exec(db, sql), 0);
	}
	T_TRUE(num(db, "pragma page_count") > (sqlite3_int64)(((uint64_t)5 << 32) >> 16));
	T_EQ(exec(db, "create table sum as select a, length(b) as n, hex(b) as h from t"), 0);
	sqlite3_close(db);
	db = open_on(path, "twz");
	T_EQ(num(db, "select count(*) from t join sum using(a) where h=hex(b)"), 32);
	T_EQ(exec(db, "begin; update t set b=zeroblob(60000) where a>300; rollback"), 0);
	T_EQ(exec(db, "pragma mmap_size=0x7fff0000"), 0);
	T_EQ(num(db, "select count(*) from t join sum using(a) where h=hex(b)"), 32);
	T_EQ(exec(db, "vacuum"), 0); /* takes what is used to the front, and cuts the rest */
	T_TRUE(num(db, "pragma page_count") < 200);
	T_STR(text(db, "pragma integrity_check"), "ok");
	T_EQ(num(db, "select count(*) from t join sum using(a) where h=hex(b)"), 32);
	sqlite3_close(db);
}

static void controls_and_system_calls_answer(void)
{
	sqlite3_vfs *twz = sqlite3_vfs_find("twz");
	sqlite3 *db = open_on(fresh("ctl.twz"), "twz");
	char *name = NULL;
	int v = -1;

	T_EQ(sqlite3_file_control(db, "main", SQLITE_FCNTL_POWERSAFE_OVERWRITE, &v), 0);
	T_EQ(v, 1);
	T_EQ(sqlite3_file_control(db, "main", SQLITE_FCNTL_TEMPFILENAME, &name), 0);
	T_TRUE(name && strstr(name, "etilqs_"));
	sqlite3_free(name);
	T_EQ(sqlite3_file_control(db, "main", SQLITE_FCNTL_VFSNAME, &name), 0);
	T_STR(name, "twz");
	sqlite3_free(name);
	T_TRUE(twz->iVersion >= 3 && twz->xGetSystemCall(twz, "open") != NULL);
	T_TRUE(twz->xNextSystemCall(twz, NULL) != NULL);
	T_EQ(twz->xSetSystemCall(twz, "no such call", NULL), SQLITE_NOTFOUND);
	sqlite3_close(db);
}

static const struct t_case cases[] = {
	T_CASE(another_vfs_may_lie_on_top),
	T_CASE(a_plain_file_says_so_at_first_use_and_can_be_imported),
	T_CASE(a_backup_may_cut_the_file_inside_a_page),
	T_CASE(mmap_size_is_a_limit_and_stands_while_pages_are_out),
	T_CASE(a_database_cannot_be_split_over_files),
	T_CASE(a_deleted_database_and_its_successor_are_two),
	T_CASE(beyond_two_and_four_gib),
	T_CASE(controls_and_system_calls_answer),
	T_END,
};

int main(int argc, char **argv)
{
	t_err_name = twzdb_err_name;
	t_err_msg = twzdb_errmsg;
	sqlite3_config(SQLITE_CONFIG_LOG, on_log, NULL);
	if (twzvfs_register(0)) {
		fprintf(stderr, "cannot register the VFS\n");
		return 99;
	}
	return t_main("sqlite.use", cases, argc, argv);
}
