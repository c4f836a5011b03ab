/* SPDX-License-Identifier: MIT
 * test_badinput.c -- what is no store, or not one for us: a clear error that names the file,
 * nothing changed, nothing lost
 */
#include "rt_env.h"

#include "backend.h"
#include "format.h"
#include "format_companion.h"

#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <xxhash.h>

static const struct twz_store_options create = {.size = sizeof(create), .flags = TWZ_STORE_CREATE};

static const char *lock_of(const char *path)
{
	static char buf[600];

	snprintf(buf, sizeof(buf), "%.590s-lock", path);
	return buf;
}

/*
 * Opening PATH, creating or not, gives ERR with the path and WORDS in the message; the file keeps
 * its bytes, no companion appears.
 */
static void refused(const char *path, int err, const char *words)
{
	struct env_file before = env_read(path);
	struct twz_store *s;

	for (int i = 0; i < 2; i++) {
		T_ERR(twz_store_open(path, i ? &create : NULL, &s), err);
		T_TRUE(s == NULL);
		T_HAS(twz_errmsg(), path);
		T_HAS(twz_errmsg(), words);
	}
	T_TRUE(env_same(path, &before));
	T_TRUE(!env_exists(lock_of(path)));
	env_free(&before);
}

/* A closed store of one object; its bytes. */
static const char *good_store(struct env_file *f, twz_oid *id)
{
	const char *path = env_path();
	struct twz_store *s = env_store(path);
	struct twz_obj *o = s ? env_obj(s, 9000, id) : NULL;

	if (o) {
		strcpy(twz_obj_data(o), "precious");
		T_OK(twz_sync(s, twz_obj_data(o), 9));
	}
	env_close(s);
	*f = env_read(path);
	return path;
}

static void still_good(const char *path, twz_oid id)
{
	struct twz_store *s;
	struct twz_obj *o;

	T_REQ(twz_store_open(path, NULL, &s));
	if (!T_OK(twz_obj_open(s, id, TWZ_READ, &o)))
		T_STR((char *)twz_obj_data(o), "precious");
	env_close(s);
}

static struct twz_super_pm *super(struct env_file *f, int copy)
{
	return (struct twz_super_pm *)(f->data + copy * 4096);
}

static void seal(struct twz_super_pm *p)
{
	p->sum = XXH64(p, offsetof(struct twz_super_pm, sum), 0);
}

/* --- not a store --- */

static void other_file_is_not_a_store(void)
{
	struct env_file f = {malloc(500000), 500000};
	const char *path = env_path();

	for (size_t i = 0; i < f.len; i++)
		f.data[i] = (unsigned char)t_rand();
	f.data[0] = 'x';
	env_write(path, &f);
	refused(path, TWZ_E_NOTSTORE, "is not a twz store");
	f.len = 5;
	env_write(path, &f);
	refused(path, TWZ_E_NOTSTORE, "is not a twz store");
	memset(f.data, 0, 500000);
	f.len = 500000;
	env_write(path, &f);
	refused(path, TWZ_E_NOTSTORE, "is not a twz store");
	env_free(&f);
}
BOTH(other_file_is_not_a_store)

static void directory_is_not_a_store(void)
{
	const char *path = env_path();
	struct twz_store *s;

	mkdir(path, 0755);
	for (int i = 0; i < 2; i++) {
		T_ERR(twz_store_open(path, i ? &create : NULL, &s), TWZ_E_NOTSTORE);
		T_HAS(twz_errmsg(), path);
		T_HAS(twz_errmsg(), "is a directory");
	}
	T_TRUE(!env_exists(lock_of(path)));
}
BOTH(directory_is_not_a_store)

static void pipes_and_devices_are_not_stores(void)
{
	const char *path = env_path();
	struct twz_store *s;

	mkfifo(path, 0644);
	T_ERR(twz_store_open(path, &create, &s), TWZ_E_NOTSTORE);
	T_HAS(twz_errmsg(), "is a pipe");
	T_ERR(twz_store_open("/dev/null", &create, &s), TWZ_E_NOTSTORE);
	T_HAS(twz_errmsg(), "/dev/null: is a device");
}

static void missing_path_says_so(void)
{
	const char *path = env_path();
	char deep[700];
	struct twz_store *s;

	T_ERR(twz_store_open(path, NULL, &s), TWZ_E_NOENT);
	T_HAS(twz_errmsg(), path);
	T_TRUE(!env_exists(path) && !env_exists(lock_of(path)));
	snprintf(deep, sizeof(deep), "%s/below/s.twz", path);
	T_ERR(twz_store_open(deep, &create, &s), TWZ_E_NOENT);
	T_HAS(twz_errmsg(), deep);
}
BOTH(missing_path_says_so)

/* --- damaged stores --- */

static void truncated_store_is_refused(void)
{
	struct env_file f;
	twz_oid id;
	const char *path = good_store(&f, &id);
	size_t whole = f.len;
	static const size_t cuts[] = {4096, 20000, 128 << 10, 500000};

	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		f.len = cuts[i];
		env_write(path, &f);
		refused(path, TWZ_E_TRUNCATED, "shorter than its header says");
	}
	f.len = whole;
	env_write(path, &f);
	still_good(path, id);
	env_free(&f);
}
BOTH(truncated_store_is_refused)

/* What is wrong for writers only does not keep readers out. */
static void can_be_read(const char *path, twz_oid id, int err)
{
	const struct twz_store_options ro = {.size = sizeof(ro), .flags = TWZ_STORE_READONLY};
	struct twz_store *s;
	struct twz_obj *o;

	if (err != TWZ_E_READONLY) {
		T_ERR(twz_store_open(path, &ro, &s), err);
		return;
	}
	T_REQ(twz_store_open(path, &ro, &s));
	T_OK(twz_obj_open(s, id, TWZ_READ, &o));
	twz_obj_close(o);
	T_OK(twz_store_close(s));
}

static void version_and_features_are_respected(void)
{
	struct env_file f;
	twz_oid id;
	const char *path = good_store(&f, &id);
	struct twz_super_pm good[2] = {*super(&f, 0), *super(&f, 1)};
	static const struct {
		size_t off;
		int err;
		const char *words;
	} wrong[] = {
		{offsetof(struct twz_super_pm, version), TWZ_E_VERSION, "format version"},
		{offsetof(struct twz_super_pm, incompat), TWZ_E_FEATURE, "feature"},
		{offsetof(struct twz_super_pm, ro_compat), TWZ_E_READONLY, "can only read"},
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		for (int c = 0; c < 2; c++) {
			*super(&f, c) = good[c];
			*(uint32_t *)((char *)super(&f, c) + wrong[i].off) = 0x80000000u;
			seal(super(&f, c));
		}
		env_write(path, &f);
		refused(path, wrong[i].err, wrong[i].words);
		can_be_read(path, id, wrong[i].err);
	}
	for (int c = 0; c < 2; c++) { /* a bit that does not matter */
		*super(&f, c) = good[c];
		super(&f, c)->compat = 0x80000000u;
		seal(super(&f, c));
	}
	env_write(path, &f);
	still_good(path, id);
	env_free(&f);
}
BOTH(version_and_features_are_respected)

static void one_superblock_is_enough_both_are_needed_for_none(void)
{
	struct env_file f;
	twz_oid id;
	const char *path = good_store(&f, &id);
	struct twz_super_pm good[2] = {*super(&f, 0), *super(&f, 1)};

	for (int c = 0; c < 2; c++) {
		*super(&f, 0) = good[0];
		*super(&f, 1) = good[1];
		super(&f, c)->page_cnt ^= 1;
		env_write(path, &f);
		still_good(path, id);
	}
	*super(&f, 0) = good[0];
	*super(&f, 1) = good[1];
	super(&f, 0)->page_cnt ^= 1;
	super(&f, 1)->uuid[0] ^= 1;
	env_write(path, &f);
	refused(path, TWZ_E_CORRUPT, "superblock");
	env_free(&f);
}
BOTH(one_superblock_is_enough_both_are_needed_for_none)

static void corrupt_journal_tail_is_refused(void)
{
	struct env_file f;
	twz_oid id;
	const char *path = good_store(&f, &id);

	f.data[3 * 4096] ^= 0x40;
	env_write(path, &f);
	refused(path, TWZ_E_CORRUPT, "journal");
	f.data[3 * 4096] ^= 0x40;
	env_write(path, &f);
	still_good(path, id);
	env_free(&f);
}
BOTH(corrupt_journal_tail_is_refused)

static int create_and_die(void *path)
{
	struct twz_store *s = env_store(path);

	for (int i = 0; i < 8; i++)
		env_obj(s, 5000, NULL);
	kill(getpid(), SIGKILL);
	return 1;
}

/* A record that is broken while valid ones follow it cannot be the end of the journal. */
static void damaged_record_in_the_journal_is_refused(void)
{
	char path[600];
	struct env_file f;
	size_t off;
	int seen = 0;

	snprintf(path, sizeof(path), "%s", env_path());
	T_TRUE(WIFSIGNALED(t_fork(create_and_die, path)));
	remove(lock_of(path));
	f = env_read(path);
	for (off = 4 * 4096; off < 67 * 4096; off += 64)
		if (!memcmp(f.data + off, "JREC", 4) && ++seen == 3)
			break;
	T_EQ(seen, 3);
	f.data[off + 80] ^= 1;
	env_write(path, &f);
	refused(path, TWZ_E_CORRUPT, "journal");
	env_free(&f);
}
BOTH(damaged_record_in_the_journal_is_refused)

/*
 * Damage that is met only while undo logs are looked for, after recovery: superblocks and journal
 * control (pages 0, 1, 3) may then have a new generation, nothing else may have changed.
 */
static bool same_but_generation(const char *path, const struct env_file *f)
{
	struct env_file now = env_read(path);
	bool same = now.len == f->len && !memcmp(now.data + 2 * 4096, f->data + 2 * 4096, 4096) &&
		    !memcmp(now.data + 4 * 4096, f->data + 4 * 4096, f->len - 4 * 4096);

	env_free(&now);
	return same;
}

/*
 * Any single byte of metadata may be wrong: an error or none, but never a crash, and a refused
 * store keeps its contents.
 */
static void random_damage_never_crashes(void)
{
	struct env_file f;
	twz_oid id;
	const char *path = good_store(&f, &id);

	for (int i = 0; i < 60; i++) {
		size_t off = t_rand_below(71) * 4096 + t_rand_below(600);
		unsigned char old = f.data[off];
		struct twz_store *s;
		uint64_t found;

		f.data[off] = (unsigned char)t_rand();
		env_write(path, &f);
		if (twz_store_open(path, NULL, &s)) {
			if (!T_TRUE(same_but_generation(path, &f)))
				printf("byte %zu: %s\n", off, twz_errmsg());
		} else {
			(void)!twz_check(s, NULL, NULL, &found);
			(void)!twz_store_close(s);
		}
		f.data[off] = old;
	}
	env_write(path, &f);
	still_good(path, id);
	env_free(&f);
}
BOTH(random_damage_never_crashes)

/* --- no room, no right, wrong place --- */

static int grow_limited(void *arg)
{
	struct twz_obj_options oo = {.size = sizeof(oo), .len = 3 << 20};
	struct rlimit lim = {1 << 20, 1 << 20};
	struct twz_store *s;
	int bad = 0;

	if (twz_store_open(arg, NULL, &s))
		return 1;
	setrlimit(RLIMIT_FSIZE, &lim);
	bad |= twz_obj_create(s, &oo, NULL, NULL) != TWZ_E_NOSPC;
	bad |= !strstr(twz_errmsg(), arg) || !strstr(twz_errmsg(), "ulimit -f");
	oo.len = 4096;
	bad |= twz_obj_create(s, &oo, NULL, NULL) != 0; /* what fits still works */
	return twz_store_close(s) ? 2 : bad ? 3 : 0;
}

static void file_size_limit_is_no_space(void)
{
	struct env_file f;
	twz_oid id;
	const char *path = good_store(&f, &id);

	T_EQ(t_fork(grow_limited, (void *)(uintptr_t)path), 0);
	still_good(path, id);
	env_free(&f);
}
BOTH(file_size_limit_is_no_space)

static void fill_store(struct twz_store *s, const char *path)
{
	struct twz_obj_options oo = {.size = sizeof(oo), .len = 100000};
	int rc = 0, made = 0;

	while (!rc && made < 1000)
		if (!(rc = twz_obj_create(s, &oo, NULL, NULL)))
			made++;
	T_EQ(rc, TWZ_E_NOSPC);
	T_HAS(twz_errmsg(), path);
	T_TRUE(made > 0);
	env_check(s);
}

static void full_disk_is_no_space(void)
{
	const char *dir = env_path();
	char path[600];
	struct twz_store *s;
	struct twz_obj *o;
	twz_oid id;

	mkdir(dir, 0755);
	if (mount("none", dir, "tmpfs", 0, "size=4m")) {
		printf("SKIPPED (cannot mount a small tmpfs: %s) ", strerror(errno));
		return;
	}
	snprintf(path, sizeof(path), "%s/s.twz", dir);
	if (!T_OK(twz_store_open(path, &create, &s)) && (o = env_obj(s, 9000, &id))) {
		strcpy(twz_obj_data(o), "precious");
		fill_store(s, path);
		T_ERR(twz_obj_resize(o, 64 << 20), TWZ_E_NOSPC);
		T_STR((char *)twz_obj_data(o), "precious");
		memset((char *)twz_obj_data(o) + 100, 1, 9000); /* allocated: no SIGBUS */
		env_close(s);
		still_good(path, id);
	}
	umount(dir);
}
BOTH(full_disk_is_no_space)

static void creation_on_a_full_disk_leaves_nothing(void)
{
	const char *dir = env_path();
	char path[600];
	struct twz_store *s;
	struct stat st;
	int fd;

	mkdir(dir, 0755);
	if (mount("none", dir, "tmpfs", 0, "size=1m")) {
		printf("SKIPPED (cannot mount a small tmpfs: %s) ", strerror(errno));
		return;
	}
	snprintf(path, sizeof(path), "%s/s.twz", dir);
	T_ERR(twz_store_open(path, &create, &s), TWZ_E_NOSPC);
	T_HAS(twz_errmsg(), path);
	T_TRUE(!env_exists(path) && !env_exists(lock_of(path)));
	fd = open(path, O_CREAT | O_WRONLY, 0644);
	close(fd);
	T_ERR(twz_store_open(path, &create, &s), TWZ_E_NOSPC);
	T_TRUE(!stat(path, &st) && st.st_size == 0);
	umount(dir);
}
BOTH(creation_on_a_full_disk_leaves_nothing)

static int open_as_nobody(void *path)
{
	struct twz_store *s;
	int rc;

	if (setgid(65534) || setuid(65534))
		return 1;
	rc = twz_store_open(path, NULL, &s);
	if (rc != TWZ_E_READONLY || !strstr(twz_errmsg(), path))
		return 2;
	rc = twz_store_open(path, &create, &s);
	return rc == TWZ_E_READONLY ? 0 : 3;
}

static void read_only_file_says_so(void)
{
	struct env_file f;
	twz_oid id;
	const char *path = good_store(&f, &id);

	if (geteuid() != 0) {
		chmod(path, 0444);
		refused(path, TWZ_E_READONLY, "cannot be opened for writing");
		chmod(path, 0644);
	} else {
		char dir[600];

		snprintf(dir, sizeof(dir), "%s", path);
		*strrchr(dir, '/') = '\0';
		chmod(dir, 0755);
		T_EQ(t_fork(open_as_nobody, (void *)(uintptr_t)path), 0);
	}
	T_TRUE(env_same(path, &f));
	still_good(path, id);
	env_free(&f);
}
BOTH(read_only_file_says_so)

static void network_and_copying_file_systems_are_refused(void)
{
	static const uint64_t bad[] = {0x6969,	   0xff534d42, 0xfe534d42, 0x517b,    0x00c36400,
				       0x01021997, 0x65735546, 0x2fc12fc1, 0x0bd00bd0};
	static const uint64_t good[] = {0xef53, 0x58465342, 0x01021994, 0x794c7630, 0x9123683e};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		T_TRUE(twz__fs_refused(bad[i]) != NULL);
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		T_TRUE(twz__fs_refused(good[i]) == NULL);
	T_HAS(twz__fs_refused(0x6969), "NFS is a network file system");
	T_TRUE(twz__fs_refused(0xffffffffff534d42u) !=
	       NULL); /* f_type is a signed long: CIFS may come sign-extended */
}

/* The file system says it is this one: twz.cmake links the tests with --wrap=fstatfs. */
static long pretended_fs;
int __real_fstatfs(int fd, struct statfs *buf);
int __wrap_fstatfs(int fd, struct statfs *buf);

int __wrap_fstatfs(int fd, struct statfs *buf)
{
	int rc = __real_fstatfs(fd, buf);

	if (!rc && pretended_fs)
		buf->f_type = pretended_fs;
	return rc;
}

static void store_on_a_network_file_system_is_refused(void)
{
	struct env_file f;
	twz_oid id;
	const char *path = good_store(&f, &id), *absent = env_path();
	struct twz_store *s;

	pretended_fs = 0x6969;
	refused(path, TWZ_E_FS, "NFS is a network file system");
	T_ERR(twz_store_open(absent, &create, &s), TWZ_E_FS);
	T_HAS(twz_errmsg(), absent);
	T_TRUE(!env_exists(absent) && !env_exists(lock_of(absent)));
	pretended_fs = 0x2fc12fc1;
	refused(path, TWZ_E_FS, "ZFS copies on write");
	pretended_fs = 0;
	still_good(path, id);
	env_free(&f);
}
BOTH(store_on_a_network_file_system_is_refused)

/* --- held by others --- */

/*
 * Take the place of a process of another version: it holds the store, and the lock file has LAYOUT.
 */
static int hold_store(const char *path)
{
	struct flock fl = {.l_type = F_RDLCK,
			   .l_whence = SEEK_SET,
			   .l_start = (off_t)COMP_LOCK_HOLDERS,
			   .l_len = 1};
	int fd = open(path, O_RDWR);

	T_TRUE(fd >= 0 && !fcntl(fd, F_OFD_SETLK, &fl));
	return fd;
}

static void store_held_by_another_version_is_busy(void)
{
	struct env_file f, head = {calloc(1, COMP_FIXED_LEN), COMP_FIXED_LEN};
	twz_oid id;
	const char *path = good_store(&f, &id);
	int fd = hold_store(path);
	struct twz_store *s;

	T_ERR(twz_store_open(path, NULL, &s), TWZ_E_BUSY);
	T_HAS(twz_errmsg(), path);
	T_HAS(twz_errmsg(), "-lock is missing");
	memcpy(head.data, COMP_MAGIC, 8);
	((struct comp_head_pm *)head.data)->version = COMP_VERSION + 1;
	env_write(lock_of(path), &head);
	T_ERR(twz_store_open(path, NULL, &s), TWZ_E_BUSY);
	T_HAS(twz_errmsg(), "layout of another version");
	T_TRUE(env_same(path, &f) && env_same(lock_of(path), &head));
	close(fd);
	still_good(path, id); /* it is gone: its lock file is rebuilt */
	env_free(&f);
	env_free(&head);
}
BOTH(store_held_by_another_version_is_busy)

static void foreign_lock_file_is_not_overwritten(void)
{
	struct env_file f, mine = {(unsigned char *)strdup("my own notes, no lock"), 21};
	twz_oid id;
	const char *path = good_store(&f, &id);
	struct twz_store *s;

	env_write(lock_of(path), &mine);
	T_ERR(twz_store_open(path, NULL, &s), TWZ_E_EXIST);
	T_HAS(twz_errmsg(), lock_of(path));
	T_TRUE(env_same(lock_of(path), &mine) && env_same(path, &f));
	remove(lock_of(path));
	still_good(path, id);
	env_free(&f);
	env_free(&mine);
}
BOTH(foreign_lock_file_is_not_overwritten)

static void unknown_object_is_named(void)
{
	const char *path = env_path();
	struct twz_store *s = env_store(path);
	twz_oid id = {{0x0123456789abcdefu, 1}};
	struct twz_obj_stat st = {.size = sizeof(st)};
	struct twz_obj *o;

	if (!s)
		return;
	T_ERR(twz_obj_open(s, id, TWZ_READ, &o), TWZ_E_NOENT);
	T_HAS(twz_errmsg(), "object efcdab89674523010100000000000000 does not exist");
	T_HAS(twz_errmsg(), path);
	T_ERR(twz_obj_delete(s, id), TWZ_E_NOENT);
	T_ERR(twz_obj_stat_id(s, id, &st), TWZ_E_NOENT);
	env_close(s);
}
BOTH(unknown_object_is_named)

static const struct t_case cases[] = {
	BOTH_CASES(other_file_is_not_a_store),
	BOTH_CASES(directory_is_not_a_store),
	T_CASE(pipes_and_devices_are_not_stores),
	BOTH_CASES(missing_path_says_so),
	BOTH_CASES(truncated_store_is_refused),
	BOTH_CASES(version_and_features_are_respected),
	BOTH_CASES(one_superblock_is_enough_both_are_needed_for_none),
	BOTH_CASES(corrupt_journal_tail_is_refused),
	BOTH_CASES(damaged_record_in_the_journal_is_refused),
	BOTH_CASES(random_damage_never_crashes),
	BOTH_CASES(file_size_limit_is_no_space),
	BOTH_CASES(full_disk_is_no_space),
	BOTH_CASES(creation_on_a_full_disk_leaves_nothing),
	BOTH_CASES(read_only_file_says_so),
	T_CASE(network_and_copying_file_systems_are_refused),
	BOTH_CASES(store_on_a_network_file_system_is_refused),
	BOTH_CASES(store_held_by_another_version_is_busy),
	BOTH_CASES(foreign_lock_file_is_not_overwritten),
	BOTH_CASES(unknown_object_is_named),
	T_END,
};

int main(int argc, char **argv)
{
	env_media(0);
	return t_main("badinput", cases, argc, argv);
}
