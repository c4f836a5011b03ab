/* SPDX-License-Identifier: MIT
 * test_file_sync.c -- what the file back end says is durable, it has asked the kernel for (D3, D5, D11, D17, D18)
 *
 * The calls that change a file or sync it are this program's own: they do what they are called for, and remember what would be
 * lost if power failed now. The crash simulator has a back end of its own, so these calls are taken away here
 * (tests/crash/mutants_list.py), not there.
 */
#include "rt_env.h"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backend_file.h"

#define MIB ((uint64_t)1 << 20)

/* What is not durable. */
static struct {
	bool data;	     /* of calls that write */
	bool in_device;	     /* the same, written back, but the device was not told to keep it */
	bool mapped;	     /* of stores through a mapping: the test says so */
	bool space;	     /* length or extents */
	uint64_t from, to;   /* of these, where zeros make them durable as well; 0, 0: nowhere */
	bool name;	     /* in the directory */
	bool named_too_soon; /* a name was given to what was not durable */
	bool shut_down;	     /* the file system answers no question any more */
} lost;

/* Made longer by another thread, right behind the next look at how long the file is. */
static struct twz__media *grows;

/* What the kernel is to answer. */
static struct {
	bool full;	/* there is half of the space that is asked for */
	bool cut;	/* the file is cut short just before the disk turns out to be full */
	bool cut_zeros; /* the same, between two pages of zeros */
	bool no_range;	/* sync_file_range() is forbidden */
	bool late;	/* the next who asks is told of a write-back that failed long ago */
	bool no_swap;	/* the file system renames only over what is there */
} kernel;

static bool nothing_lost(void)
{
	return !lost.data && !lost.in_device && !lost.mapped && !lost.space && !lost.name;
}

/* The longest of the writes since it was 0, and how often it was asked what a file is. */
static size_t longest;
static unsigned questions;

static void synced(void)
{
	lost.data = lost.in_device = lost.mapped = lost.space = false;
}

static int told_late(void)
{
	if (!kernel.late)
		return 0;
	kernel.late = false;
	errno = EIO;
	return -1;
}

static void space_changed(uint64_t from, uint64_t to)
{
	lost.space = true;
	lost.from = from;
	lost.to = to;
}

/* --- the kernel's calls --- */

ssize_t pwritev2(int fd, const struct iovec *iov, int cnt, off_t off, int flags)
{
	ssize_t n;

	if (kernel.cut_zeros && off % (2 * TWZ_PAGE_SIZE) && ftruncate(fd, MIB))
		return -1;
	kernel.cut_zeros = kernel.cut_zeros && off % (2 * TWZ_PAGE_SIZE) == 0;
	n = syscall(SYS_pwritev2, fd, iov, (long)cnt, (long)off, 0L, (long)flags);
	longest = n > 0 && (size_t)n > longest ? (size_t)n : longest;
	if (lost.space && n > 0 && (uint64_t)off == lost.from)
		lost.from += (uint64_t)n;
	if (!(flags & RWF_DSYNC)) {
		lost.data = true;
		return n;
	}
	lost.in_device = false;
	if (lost.from == lost.to && lost.to)
		lost.space = false;
	return n;
}

int msync(void *addr, size_t len, int flags)
{
	if (flags & MS_SYNC)
		lost.mapped = false;
	return (int)syscall(SYS_msync, addr, len, flags);
}

int fdatasync(int fd)
{
	if (told_late())
		return -1;
	synced();
	return (int)syscall(SYS_fdatasync, fd);
}

int sync_file_range(int fd, off64_t off, off64_t len, unsigned int flags)
{
	if (kernel.no_range) {
		errno = EPERM;
		return -1;
	}
	if (told_late())
		return -1;
	if (lost.data && flags & SYNC_FILE_RANGE_WRITE && flags & SYNC_FILE_RANGE_WAIT_AFTER) {
		lost.data = false;
		lost.in_device = true;
	}
	return (int)syscall(SYS_sync_file_range, fd, off, len, flags);
}

int fsync(int fd)
{
	struct stat st;

	if (syscall(SYS_newfstatat, fd, "", &st, AT_EMPTY_PATH) || !S_ISDIR(st.st_mode))
		synced();
	else
		lost.name = false;
	return (int)syscall(SYS_fsync, fd);
}

int posix_fallocate(int fd, off_t off, off_t len)
{
	space_changed((uint64_t)off, (uint64_t)(off + len));
	if (kernel.cut && ftruncate(fd, 1 << 20))
		return errno;
	if (kernel.cut)
		return ENOSPC;
	if (kernel.full)
		return syscall(SYS_fallocate, fd, 0, off, len / 2) ? errno : ENOSPC;
	return syscall(SYS_fallocate, fd, 0, off, len) ? errno : 0;
}

int fallocate(int fd, int mode, off_t off, off_t len)
{
	int rc = (int)syscall(SYS_fallocate, fd, mode, off, len);

	if (!rc)
		space_changed(0, 0);
	return rc;
}

int ftruncate(int fd, off_t len)
{
	space_changed(0, 0);
	return (int)syscall(SYS_ftruncate, fd, len);
}

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
	lost.named_too_soon |= lost.data || lost.mapped || lost.space;
	lost.name = true;
	return (int)syscall(SYS_linkat, from_fd, from, to_fd, to, flags);
}

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned int flags)
{
	if (kernel.no_swap) {
		errno = EINVAL;
		return -1;
	}
	lost.named_too_soon |= lost.data || lost.mapped || lost.space;
	lost.name = true;
	return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
}

int link(const char *from, const char *to)
{
	return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* What has shut down answers no question, however it is asked. */
static int shut_down(void)
{
	errno = EIO;
	return -1;
}

/* Somebody was told that the file has LEN bytes; then it has more. */
static void told(int rc, uint64_t len)
{
	struct twz__media *m = grows;

	grows = NULL;
	if (!rc && m && !ftruncate(m->fd, (off_t)len + 4096))
		twz__media_has(m, len + 4096);
}

int fstat(int fd, struct stat *st)
{
	int rc;

	if (lost.shut_down)
		return shut_down();
	rc = (int)syscall(SYS_newfstatat, fd, "", st, AT_EMPTY_PATH);
	told(rc, rc ? 0 : (uint64_t)st->st_size);
	return rc;
}

int fstatat(int fd, const char *name, struct stat *st, int flags)
{
	return lost.shut_down ? shut_down() : (int)syscall(SYS_newfstatat, fd, name, st, flags);
}

int statx(int fd, const char *name, int flags, unsigned mask, struct statx *x)
{
	int rc;

	questions++;
	if (lost.shut_down)
		return shut_down();
	rc = (int)syscall(SYS_statx, fd, name, flags, mask, x);
	told(rc, rc ? 0 : x->stx_size);
	return rc;
}

/* --- cases --- */

/* A file of 16 MiB under its name, all of it durable. */
static struct twz__media *media(void)
{
	struct twz__media *m = NULL;
	const char *path;
	int created;

	env_media(0);
	path = env_path();
	memset(&lost, 0, sizeof(lost));
	memset(&kernel, 0, sizeof(kernel));
	if (T_OK(twz__file_backend.open(NULL, path, TWZ_STORE_CREATE, 16 * MIB, &m, &created)))
		return NULL;
	T_TRUE(created);
	T_OK(m->ops->publish(m));
	T_TRUE(nothing_lost());
	return m;
}

static void a_new_file_is_durable_before_its_name(void)
{
	struct twz__media *m = media();

	if (!m)
		return;
	T_TRUE(!lost.named_too_soon);
	T_TRUE(!lost.name);
	m->ops->close(m);
}

static void what_lay_in_memory_is_durable_before_the_name(void)
{
	struct twz__media *m = NULL;
	int created;

	env_media(0);
	memset(&lost, 0, sizeof(lost));
	if (T_OK(twz__file_backend.open(NULL, env_path(), TWZ_STORE_CREATE, MIB, &m, &created)))
		return;
	lost.mapped = true;
	T_OK(m->ops->publish(m));
	T_TRUE(!lost.named_too_soon && nothing_lost());
	m->ops->close(m);
}

static void a_write_is_durable_when_it_returns(void)
{
	static const char page[3 * TWZ_PAGE_SIZE] = "bytes";
	struct twz__media *m = media();

	if (!m)
		return;
	T_OK(m->ops->write_sync(m, page, TWZ_PAGE_SIZE, sizeof(page)));
	T_TRUE(nothing_lost());
	m->ops->close(m);
}

static bool reads_as(struct twz__media *m, uint64_t off, char byte)
{
	char at[TWZ_PAGE_SIZE];

	if (m->ops->read(m, at, off, sizeof(at)))
		return false;
	for (size_t i = 0; i < sizeof(at); i++)
		if (at[i] != byte)
			return false;
	return true;
}

static void zeros_are_durable_few_or_many(void)
{
	struct twz__media *m = media();
	char page[TWZ_PAGE_SIZE];

	if (!m)
		return;
	memset(page, 'x', sizeof(page));
	T_OK(m->ops->write_sync(m, page, MIB, sizeof(page)));
	T_OK(m->ops->write_sync(m, page, 3 * MIB, sizeof(page)));
	T_OK(m->ops->zero(m, MIB, 3 * TWZ_PAGE_SIZE));
	T_TRUE(nothing_lost());
	T_TRUE(reads_as(m, MIB, 0) && reads_as(m, 3 * MIB, 'x'));
	T_OK(m->ops->zero(m, 0, 12 * MIB));
	T_TRUE(nothing_lost());
	T_TRUE(reads_as(m, 3 * MIB, 0));
	m->ops->close(m);
}

/* More by one call would be one folio: a store to a byte of it makes all of it dirty. */
static void zeros_are_written_page_by_page(void)
{
	static const int no_range[] = {0, 1};
	struct twz__media *m = media();
	char page[TWZ_PAGE_SIZE];

	if (!m)
		return;
	memset(page, 'x', sizeof(page));
	for (int i = 0; i < 2; i++) {
		T_OK(m->ops->write_sync(m, page, 3 * MIB, sizeof(page)));
		T_OK(m->ops->write_sync(m, page, 5 * MIB, sizeof(page)));
		longest = 0;
		kernel.no_range = no_range[i];
		T_OK(m->ops->zero(m, 2 * MIB, 3 * MIB));
		T_EQ(longest, TWZ_PAGE_SIZE);
		T_TRUE(nothing_lost());
		T_TRUE(reads_as(m, 3 * MIB, 0) && reads_as(m, 5 * MIB - TWZ_PAGE_SIZE, 0));
		T_TRUE(reads_as(m, 5 * MIB, 'x'));
		T_OK(m->ops->fill(m, 5 * MIB, MIB));
		T_EQ(longest, TWZ_PAGE_SIZE);
		T_TRUE(nothing_lost() && reads_as(m, 5 * MIB, 0));
	}
	m->ops->close(m);
}

/* Somebody cuts it short while they are: the last page, which would hide it, is not written. */
static void zeros_do_not_hide_that_the_file_was_cut(void)
{
	static const bool end[] = {true, false};

	for (int i = 0; i < 2; i++) {
		struct twz__media *m = media();
		uint64_t len = 0;

		if (!m)
			return;
		kernel.cut_zeros = true;
		T_ERR(m->ops->fill(m, (end[i] ? 14 : 2) * MIB, 2 * MIB), TWZ_E_GONE);
		T_TRUE(!kernel.cut_zeros);
		T_OK(m->ops->len(m, &len));
		T_TRUE(len < 16 * MIB);
		m->ops->close(m);
	}
}

static void a_sync_of_what_is_mapped_is_one(void)
{
	struct twz__media *m = media();
	void *at;

	if (!m)
		return;
	at = mmap(NULL, MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	T_TRUE(at != MAP_FAILED);
	T_OK(m->ops->map(m, at, 0, MIB, 1));
	*(volatile char *)at = 1;
	lost.mapped = true;
	T_OK(m->ops->sync_range(m, at, 1));
	T_TRUE(nothing_lost());
	lost.mapped = true;
	T_OK(m->ops->sync_all(m));
	T_TRUE(nothing_lost());
	munmap(at, MIB);
	m->ops->close(m);
}

static uint64_t space_of(struct twz__media *m)
{
	struct stat st;

	return fstat(m->fd, &st) ? 0 : (uint64_t)st.st_blocks * 512;
}

/* By a thread that needs it, and by one that grows ahead of need, with zeros. */
static void growth_is_durable_before_it_is_used(void)
{
	struct twz__media *m = media();
	uint64_t len = 0;

	if (!m)
		return;
	T_OK(m->ops->len(m, &len));
	T_OK(m->ops->grow(m, len + MIB));
	T_TRUE(nothing_lost());
	twz__media_fills = true;
	longest = 0;
	T_OK(m->ops->grow(m, len + 12 * MIB));
	twz__media_fills = false;
	T_EQ(longest, TWZ_PAGE_SIZE);
	T_TRUE(nothing_lost());
	T_OK(m->ops->len(m, &len));
	T_EQ(len, 28 * MIB);
	T_TRUE(space_of(m) >= 28 * MIB);
	m->ops->close(m);
}

static void a_full_disk_changes_nothing(void)
{
	struct twz__media *m = media();
	uint64_t len = 0;

	if (!m)
		return;
	kernel.full = true;
	T_ERR(m->ops->grow(m, 32 * MIB), TWZ_E_NOSPC);
	T_OK(m->ops->len(m, &len));
	T_EQ(len, 16 * MIB);
	m->ops->close(m);
}

/* By somebody else, while we grow it: it does not get longer by our taking back what failed. */
static void a_file_cut_short_is_not_made_long_again(void)
{
	struct twz__media *m = media();
	uint64_t len = 0;

	if (!m)
		return;
	kernel.cut = true;
	T_ERR(m->ops->grow(m, 32 * MIB), TWZ_E_NOSPC);
	kernel.cut = false;
	T_OK(m->ops->len(m, &len));
	T_EQ(len, MIB);
	m->ops->close(m);
}

static void space_is_given_and_taken_durably(void)
{
	struct twz__media *m = media();

	if (!m)
		return;
	T_OK(m->ops->give(m, 4 * MIB, 4 * MIB));
	T_TRUE(nothing_lost());
	T_TRUE(space_of(m) <= 13 * MIB);
	T_OK(m->ops->take(m, 4 * MIB, 4 * MIB));
	T_TRUE(nothing_lost());
	T_TRUE(space_of(m) >= 16 * MIB);
	m->ops->close(m);
}

static void a_creation_taken_back_is_durable(void)
{
	struct twz__media *m = NULL;
	const char *path;
	uint64_t len = 1;
	int created, fd;

	env_media(0);
	memset(&kernel, 0, sizeof(kernel));
	path = env_path();
	fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600); /* it is there, and empty */
	T_TRUE(fd >= 0 && !close(fd));
	memset(&lost, 0, sizeof(lost));
	if (T_OK(twz__file_backend.open(NULL, path, TWZ_STORE_CREATE, MIB, &m, &created)))
		return;
	T_OK(m->ops->grow(m, MIB));
	T_TRUE(nothing_lost());
	T_OK(m->ops->reset(m));
	T_TRUE(nothing_lost());
	T_OK(m->ops->len(m, &len));
	T_EQ(len, 0);
	m->ops->close(m);
}

static void a_name_that_was_given_too_early_is_taken_back(void)
{
	struct twz__media *m = media();

	if (!m)
		return;
	T_TRUE(twz_store_exists(m->path));
	T_OK(m->ops->reset(m));
	T_TRUE(!twz_store_exists(m->path));
	m->ops->close(m);
}

/* By renaming, or where that might hide another store by two names for a moment. */
static void a_move_is_durable(void)
{
	for (int i = 0; i < 2; i++) {
		struct twz__media *m = media();
		char from[4096], to[4200];

		if (!m)
			return;
		snprintf(from, sizeof(from), "%s", m->path);
		snprintf(to, sizeof(to), "%s.moved", from);
		m->ops->close(m);
		kernel.no_swap = i;
		lost.mapped = true; /* of whoever used it last */
		T_OK(twz_store_move(from, to));
		T_TRUE(!lost.named_too_soon && nothing_lost());
		T_TRUE(twz_store_exists(to) && !twz_store_exists(from));
		T_OK(twz_store_remove(to));
		T_TRUE(!twz_store_exists(to));
	}
}

/* Where the kernel lets nobody ask what became of write-back, a sync asks. */
static void asking_that_is_forbidden_is_a_sync(void)
{
	struct twz__media *m = media();
	void *at;

	if (!m)
		return;
	at = mmap(NULL, MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	T_TRUE(at != MAP_FAILED);
	T_OK(m->ops->map(m, at, 0, MIB, 1));
	kernel.no_range = true;
	T_OK(m->ops->sync_range(m, at, 1));
	kernel.late = true;
	T_ERR(m->ops->sync_range(m, at, 1), TWZ_E_IO);
	munmap(at, MIB);
	m->ops->close(m);
}

/* What was told to nobody in another life of the store does not count in this. */
static void what_is_told_late_is_asked_for_before(void)
{
	struct twz__media *m = media();

	if (!m)
		return;
	kernel.late = true;
	m->ops->forget(m);
	T_OK(m->ops->sync_all(m));
	m->ops->close(m);
}

/* xfs says that a sync succeeded, and has dropped what it was about. */
static void a_success_is_not_believed_of_what_has_shut_down(void)
{
	static const char page[TWZ_PAGE_SIZE];
	struct twz__media *m = media();
	void *at;

	if (!m)
		return;
	at = mmap(NULL, MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	T_TRUE(at != MAP_FAILED);
	T_OK(m->ops->map(m, at, 0, MIB, 1));
	fm(m)->shuts_down = true;
	lost.shut_down = true;
	T_ERR(m->ops->write_sync(m, page, 0, sizeof(page)), TWZ_E_IO);
	m->lost_here = 0;
	T_ERR(m->ops->sync_all(m), TWZ_E_IO);
	m->lost_here = 0;
	T_ERR(m->ops->sync_range(m, at, 1), TWZ_E_IO);
	lost.shut_down = false;
	T_ERR(m->ops->sync_range(m, at, 1), TWZ_E_IO); /* and ever after */
	T_ERR(m->ops->sync_all(m), TWZ_E_IO);
	munmap(at, MIB);
	m->ops->close(m);
}

/* The helper thread makes it longer, between a writer's two looks: at the file, and at what it must have at least. */
static void growth_by_another_thread_is_no_cut(void)
{
	static const char page[TWZ_PAGE_SIZE];
	struct twz__media *m = media();

	if (!m)
		return;
	twz__media_has(m, 16 * MIB);
	grows = m;
	T_OK(m->ops->still(m, true));
	T_TRUE(!grows);
	grows = m;
	T_OK(m->ops->write_sync(m, page, 0, sizeof(page)));
	T_TRUE(!grows && !m->lost_here);
	grows = m;
	T_OK(m->ops->grow(m, 20 * MIB));
	T_TRUE(!grows);
	grows = m;
	T_OK(m->ops->take(m, 0, MIB));
	T_TRUE(!grows);
	T_OK(ftruncate(m->fd, 8 * MIB)); /* this is one */
	T_ERR(m->ops->still(m, true), TWZ_E_GONE);
	m->ops->close(m);
}

/* Each commit asks whether the file is still its name's. */
static void one_question_says_that_it_is_still_the_file(void)
{
	struct twz__media *m = media();
	char away[4096];

	if (!m)
		return;
	questions = 0;
	T_OK(m->ops->still(m, true));
	T_EQ(questions, 1);
	snprintf(away, sizeof(away), "%s.away", m->path);
	T_OK(rename(m->path, away)); /* that keeps all */
	T_OK(m->ops->still(m, true));
	T_OK(symlink(away, m->path)); /* it is the same one */
	T_OK(m->ops->still(m, true));
	T_OK(unlink(m->path));
	T_OK(symlink("/dev/null", m->path));
	T_ERR(m->ops->still(m, true), TWZ_E_GONE);
	T_OK(unlink(m->path) || unlink(away));
	T_ERR(m->ops->still(m, true), TWZ_E_GONE);
	T_OK(m->ops->still(m, false));
	m->ops->close(m);
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(a_new_file_is_durable_before_its_name),
		T_CASE(what_lay_in_memory_is_durable_before_the_name),
		T_CASE(a_write_is_durable_when_it_returns),
		T_CASE(zeros_are_durable_few_or_many),
		T_CASE(zeros_are_written_page_by_page),
		T_CASE(zeros_do_not_hide_that_the_file_was_cut),
		T_CASE(a_sync_of_what_is_mapped_is_one),
		T_CASE(growth_is_durable_before_it_is_used),
		T_CASE(a_full_disk_changes_nothing),
		T_CASE(a_file_cut_short_is_not_made_long_again),
		T_CASE(space_is_given_and_taken_durably),
		T_CASE(a_creation_taken_back_is_durable),
		T_CASE(a_name_that_was_given_too_early_is_taken_back),
		T_CASE(a_move_is_durable),
		T_CASE(asking_that_is_forbidden_is_a_sync),
		T_CASE(what_is_told_late_is_asked_for_before),
		T_CASE(a_success_is_not_believed_of_what_has_shut_down),
		T_CASE(growth_by_another_thread_is_no_cut),
		T_CASE(one_question_says_that_it_is_still_the_file),
		T_END,
	};

	return t_main("file_sync", cases, argc, argv);
}
