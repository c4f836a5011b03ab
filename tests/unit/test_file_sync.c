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

/* What is not durable. */
static struct {
	bool data;	     /* of calls that write */
	bool mapped;	     /* of stores through a mapping: the test says so */
	bool space;	     /* length or extents */
	uint64_t from, to;   /* of these, where zeros make them durable as well; 0, 0: nowhere */
	bool name;	     /* in the directory */
	bool named_too_soon; /* a name was given to what was not durable */
	bool shut_down;	     /* the file system answers no question any more */
} lost;

static bool nothing_lost(void)
{
	return !lost.data && !lost.mapped && !lost.space && !lost.name;
}

static void synced(void)
{
	lost.data = lost.mapped = lost.space = false;
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
	ssize_t n = syscall(SYS_pwritev2, fd, iov, (long)cnt, (long)off, 0L, (long)flags);

	if (!(flags & RWF_DSYNC))
		lost.data = true;
	else if (lost.space && n > 0 && (uint64_t)off == lost.from)
		lost.from += (uint64_t)n;
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
	synced();
	return (int)syscall(SYS_fdatasync, fd);
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

int fstat(int fd, struct stat *st)
{
	if (!lost.shut_down)
		return (int)syscall(SYS_newfstatat, fd, "", st, AT_EMPTY_PATH);
	errno = EIO;
	return -1;
}

/* --- cases --- */

#define MIB ((uint64_t)1 << 20)

/* A file of 16 MiB under its name, all of it durable. */
static struct twz__media *media(void)
{
	struct twz__media *m = NULL;
	const char *path;
	int created;

	env_media(0);
	path = env_path();
	memset(&lost, 0, sizeof(lost));
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

static void zeros_are_durable_few_or_many(void)
{
	struct twz__media *m = media();

	if (!m)
		return;
	T_OK(m->ops->zero(m, MIB, 3 * TWZ_PAGE_SIZE));
	T_TRUE(nothing_lost());
	T_OK(m->ops->zero(m, 0, 12 * MIB));
	T_TRUE(nothing_lost());
	m->ops->close(m);
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
	T_OK(m->ops->grow(m, len + 12 * MIB));
	twz__media_fills = false;
	T_TRUE(nothing_lost());
	T_OK(m->ops->len(m, &len));
	T_EQ(len, 28 * MIB);
	m->ops->close(m);
}

static void space_is_given_and_taken_durably(void)
{
	struct twz__media *m = media();

	if (!m)
		return;
	T_OK(m->ops->give(m, 4 * MIB, 4 * MIB));
	T_TRUE(nothing_lost());
	T_OK(m->ops->take(m, 4 * MIB, 4 * MIB));
	T_TRUE(nothing_lost());
	m->ops->close(m);
}

static void a_creation_taken_back_is_durable(void)
{
	struct twz__media *m = NULL;
	const char *path;
	int created, fd;

	env_media(0);
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

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(a_new_file_is_durable_before_its_name),
		T_CASE(what_lay_in_memory_is_durable_before_the_name),
		T_CASE(a_write_is_durable_when_it_returns),
		T_CASE(zeros_are_durable_few_or_many),
		T_CASE(a_sync_of_what_is_mapped_is_one),
		T_CASE(growth_is_durable_before_it_is_used),
		T_CASE(space_is_given_and_taken_durably),
		T_CASE(a_creation_taken_back_is_durable),
		T_CASE(a_success_is_not_believed_of_what_has_shut_down),
		T_END,
	};

	return t_main("file_sync", cases, argc, argv);
}
