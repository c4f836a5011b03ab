/* SPDX-License-Identifier: MIT
 * backend_file.c -- a store in an ordinary or DAX file (docs/durability.md D11, D18)
 *
 * Page media (ordinary file): stores through a mapping reach the medium when the kernel likes;
 * durable are write_sync (RWF_DSYNC: one range), sync_range (msync) and sync_all (fdatasync): file_sync.c.
 * Cache-line media (DAX, or forced by PMEM2_FORCE_GRANULARITY): libpmem2's flush, drain and memcpy,
 * bound once. Space is allocated before anything is mapped or written there, so a full disk is an
 * error of grow() and never a SIGBUS.
 */
#include "persist_cpu.h"
#include "backend_file.h"
#include "huge.h"

#include <fcntl.h>
#include <libgen.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define ZERO_BY_EXTENT_LEN                                                                         \
	((uint64_t)8 << 20) /* from here on the file system zeroes faster than we write zeros */

/* --- which file systems --- */

/*
 * On btrfs a file is safe to map only without copy on write, which can be set only while it is
 * empty.
 */
static int btrfs_no_cow(struct file_media *f, bool empty)
{
	int flags = 0;

	if (!ioctl(f->m.fd, FS_IOC_GETFLAGS, &flags) && (flags & FS_NOCOW_FL))
		return 0;
	flags |= FS_NOCOW_FL;
	if (empty && !ioctl(f->m.fd, FS_IOC_SETFLAGS, &flags))
		return 0;
	return twz__err(
		TWZ_E_FS,
		"%s: btrfs"
		" copies on write: a full disk would kill the process in the middle of a store"
		": move it to a file made with 'chattr +C', or to another file system",
		f->m.path);
}

static int check_fs(struct file_media *f, bool empty)
{
	struct statfs fs;
	const char *why;

	if (fstatfs(f->m.fd, &fs))
		return twz__err(-errno, "%s: statfs: %s", f->m.path, strerror(errno));
	why = f->read_only ? twz__fs_refused_to_read((uint64_t)fs.f_type)
			   : twz__fs_refused((uint64_t)fs.f_type);
	if (why)
		return twz__err(
			TWZ_E_FS,
			"%s: %s: put the store on a local disk, for instance on ext4, xfs or tmpfs",
			f->m.path, why);
	if ((uint32_t)fs.f_type == BTRFS_SUPER_MAGIC && !f->read_only)
		return btrfs_no_cow(f, empty);
	f->memory = (uint32_t)fs.f_type == TMPFS_MAGIC;
	f->shuts_down = (uint32_t)fs.f_type == XFS_SUPER_MAGIC;
	return 0;
}

/* --- allocation --- */

static int nospc(struct file_media *f, uint64_t more, int err)
{
	switch (err) {
	case ENOSPC:
	case EDQUOT:
		return twz__err(TWZ_E_NOSPC,
				"%s: %s: %llu more bytes are needed: free some and try again",
				f->m.path, strerror(err), (unsigned long long)more);
	case EFBIG:
		return twz__err(
			TWZ_E_NOSPC,
			"%s: the file size limit does not allow %llu more bytes: raise it (ulimit -f) and try again",
			f->m.path, (unsigned long long)more);
	}
	return twz__err(err == EIO ? TWZ_E_IO : -err, "%s: cannot allocate %llu bytes: %s",
			f->m.path, (unsigned long long)more, strerror(err));
}

/* The kernel would answer a file size limit with SIGXFSZ, so look first. */
static bool over_limit(uint64_t len)
{
	struct rlimit lim;

	return !getrlimit(RLIMIT_FSIZE, &lim) && lim.rlim_cur != RLIM_INFINITY &&
	       len > lim.rlim_cur;
}

static int allocate(int fd, uint64_t off, uint64_t len)
{
	int err;

	if (over_limit(off + len))
		return EFBIG;
	do
		err = posix_fallocate(fd, (off_t)off, (off_t)len);
	while (err == EINTR);
	return err;
}

int twz__file_io_error(struct file_media *f, const char *what, uint64_t off, uint64_t len, int err)
{
	if (err == ESTALE) /* no local file system says that: twz__file_write_dsync() does */
		return twz__file_cut_error(f);
	if (err == ENOSPC || err == EDQUOT || err == EFBIG)
		return nospc(f, len, err);
	return twz__err(err == EIO ? TWZ_E_IO : -err,
			"%s: %s of %llu bytes at offset %llu failed: %s", f->m.path, what,
			(unsigned long long)len, (unsigned long long)off, strerror(err));
}

static int file_len(struct twz__media *m, uint64_t *len)
{
	struct stat st;

	*len = 0;
	if (fstat(m->fd, &st))
		return twz__err(-errno, "%s: stat: %s", m->path, strerror(errno));
	*len = (uint64_t)st.st_size;
	return 0;
}

/* No hole, and nothing shared: a store to a page of it takes no space. False if that cannot be found out. */
static bool all_own(int fd, uint64_t len)
{
	union {
		struct fiemap m;
		uint8_t room[sizeof(struct fiemap) + 64 * sizeof(struct fiemap_extent)];
	} q;
	const struct fiemap_extent *e = q.m.fm_extents;
	uint64_t at = 0;

	while (at < len) {
		memset(&q.m, 0, sizeof(q.m));
		q.m.fm_start = at;
		q.m.fm_length = len - at;
		q.m.fm_extent_count = 64;
		if (ioctl(fd, FS_IOC_FIEMAP, &q) || !q.m.fm_mapped_extents)
			return false;
		for (uint32_t i = 0; i < q.m.fm_mapped_extents; i++) {
			if (e[i].fe_logical > at ||
			    (e[i].fe_flags & (FIEMAP_EXTENT_SHARED | FIEMAP_EXTENT_DELALLOC)))
				return false;
			at = e[i].fe_logical + e[i].fe_length;
		}
	}
	return true;
}

/*
 * A store to what is shared would allocate, and a full disk then be a SIGBUS. Fills holes as well. It asks for
 * as much free space as the file is long, even if it needs none: so on a full disk look whether it does.
 */
static int unshare_all(struct file_media *f, const struct stat *st)
{
	struct statfs fs;

	if (st->st_size && !fstatfs(f->m.fd, &fs) && (uint32_t)fs.f_type == XFS_SUPER_MAGIC &&
	    fallocate(f->m.fd, FALLOC_FL_UNSHARE_RANGE, 0, st->st_size) && errno == ENOSPC &&
	    !all_own(f->m.fd, (uint64_t)st->st_size))
		return nospc(f, (uint64_t)st->st_size, ENOSPC);
	return 0;
}

static int file_give(struct twz__media *m, uint64_t off, uint64_t len)
{
	if (fallocate(m->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len))
		return twz__err(errno == EIO ? TWZ_E_IO : TWZ_E_FS,
				"%s: giving back %llu bytes: %s", m->path, (unsigned long long)len,
				strerror(errno));
	/* Or what lay there might be back after a crash. */
	return twz__file_datasync(fm(m), off, len);
}

/* The file is no longer than before, so no limit of its size is asked. */
static int file_take(struct twz__media *m, uint64_t off, uint64_t len)
{
	struct stat st;
	int err;

	if (fstat(m->fd, &st))
		return twz__err(-errno, "%s: stat: %s", m->path, strerror(errno));
	if (twz__file_is_cut(fm(m), &st))
		return twz__file_cut_error(fm(m));
	/* All of it, and it has no holes: said without looking at every page. */
	if (!len ||
	    (len >= (uint64_t)st.st_size && (uint64_t)st.st_blocks * 512 >= (uint64_t)st.st_size))
		return 0;
	do
		err = posix_fallocate(m->fd, (off_t)off, (off_t)len);
	while (err == EINTR);
	if (err)
		return nospc(fm(m), len, err);
	return twz__file_datasync(fm(m), off, len);
}

/* --- granularity, from libpmem2 --- */

static int pmem2_failed(struct file_media *f, int rc)
{
	return twz__err(TWZ_E_FS, "%s: libpmem2 cannot map it: %s", f->m.path,
			rc ? pmem2_errormsg() : "no reason given");
}

/* Really DAX: the file system promises that a mapped store needs no fsync for its metadata. */
static bool takes_map_sync(int fd)
{
	void *p = mmap(NULL, TWZ_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED_VALIDATE | MAP_SYNC,
		       fd, 0);

	if (p == MAP_FAILED)
		return false;
	munmap(p, TWZ_PAGE_SIZE);
	return true;
}

static void bind_functions(struct file_media *f)
{
	switch (pmem2_map_get_store_granularity(f->probe)) {
	case PMEM2_GRANULARITY_BYTE:
		f->m.granularity = TWZ_GRAN_BYTE;
		break;
	case PMEM2_GRANULARITY_CACHE_LINE:
		f->m.granularity = TWZ_GRAN_CACHE_LINE;
		break;
	case PMEM2_GRANULARITY_PAGE:
		f->m.granularity = TWZ_GRAN_PAGE;
		return;
	}
	f->flush = pmem2_get_flush_fn(f->probe);
	f->drain = pmem2_get_drain_fn(f->probe);
	f->memcpy = pmem2_get_memcpy_fn(f->probe);
	f->dax = takes_map_sync(f->m.fd);
	f->m.forced = !f->dax;
	f->m.direct = TWZ__CPU_DIRECT;
	/* libpmem2's switch for the same; valgrind and older processors have no clwb. */
	f->m.clwb = f->m.granularity == TWZ_GRAN_CACHE_LINE && twz__cpu_has_clwb() &&
		    !getenv("PMEM_NO_CLWB");
}

/* Needs a page of file to map; called again by grow() for a file that was empty. */
static int probe_granularity(struct file_media *f)
{
	struct pmem2_source *src = NULL;
	struct pmem2_config *cfg = NULL;
	int rc;

	if (f->probe)
		return 0;
	if ((rc = pmem2_config_new(&cfg)) || (rc = pmem2_source_from_fd(&src, f->m.fd)))
		goto out;
	if ((rc = pmem2_config_set_required_store_granularity(cfg, PMEM2_GRANULARITY_PAGE)) ||
	    (rc = pmem2_config_set_length(cfg, TWZ_PAGE_SIZE)))
		goto out;
	rc = pmem2_map_new(&f->probe, cfg, src);
	if (!rc)
		bind_functions(f);
out:
	if (rc)
		rc = pmem2_failed(f, rc);
	pmem2_source_delete(&src);
	pmem2_config_delete(&cfg);
	return rc;
}

/* --- operations --- */

/*
 * Whole chunks of [OLD, LEN) get a huge page each. They can be asked for only below the end of the file: so it is longer
 * before all of it is allocated, which grow_from() knows. No success is needed.
 */
static void grow_huge(struct file_media *f, uint64_t old, uint64_t len)
{
	uint64_t off = (old + TWZ__HUGE_LEN - 1) & ~(TWZ__HUGE_LEN - 1);

	if (!f->memory || off + TWZ__HUGE_LEN > len || over_limit(len) ||
	    ftruncate(f->m.fd, (off_t)len))
		return;
	for (; off + TWZ__HUGE_LEN <= len; off += TWZ__HUGE_LEN)
		if (!twz__huge_alloc(f->m.fd, off))
			return;
}

/*
 * Where to begin to allocate: a process may have died in grow_huge(), and left holes behind what is in use. (Those
 * before were given back.)
 */
static int grow_from(struct file_media *f, uint64_t *old, uint64_t *from)
{
	struct stat st;

	*old = *from = 0;
	if (fstat(f->m.fd, &st))
		return twz__err(-errno, "%s: stat: %s", f->m.path, strerror(errno));
	if (twz__file_is_cut(f, &st))
		return twz__file_cut_error(f);
	*old = (uint64_t)st.st_size;
	*from = *old;
	if (f->memory && (uint64_t)st.st_blocks * 512 < *old)
		*from = f->m.in_use < *old ? f->m.in_use : *old;
	return 0;
}

/*
 * New space [FROM, LEN) at the end of the file, all of it allocated: its size is durable before it is used (D11). Zeros written
 * with RWF_DSYNC make it so: the last of them could not be read otherwise. They cost more than that, but every page of
 * the space is what it will be for the file system, and in its cache; and nobody else's pages are written as by fdatasync.
 */
static int make_size_durable(struct file_media *f, uint64_t from, uint64_t len)
{
	if (twz__media_fills && !f->memory && f->m.granularity == TWZ_GRAN_PAGE)
		return twz__file_zero(f, from, len - from);
	return twz__file_datasync(f, from, len - from);
}

/* A file that somebody cut short meanwhile must not get longer by it: then nobody would see what it lost (file_still.c). */
static int cut_back(struct file_media *f, uint64_t old)
{
	struct stat st;

	if (twz__file_look(f->m.fd, NULL, &st))
		return -1;
	return (uint64_t)st.st_size > old ? ftruncate(f->m.fd, (off_t)old) : 0;
}

static int file_grow(struct twz__media *m, uint64_t len)
{
	uint64_t old, from;
	int rc = grow_from(fm(m), &old, &from), err;

	if (rc || len <= from)
		return rc;
	if (len > old)
		grow_huge(fm(m), old, len);
	else
		len = old;
	err = allocate(m->fd, from, len - from);
	rc = err ? nospc(fm(m), len - old, err) : make_size_durable(fm(m), from, len);
	if (!rc)
		return probe_granularity(fm(m));
	if (cut_back(fm(m), old))
		return twz__err_in(rc, "%s: and it cannot be cut back to %llu bytes", m->path,
				   (unsigned long long)old);
	return rc;
}

static int map_failed(struct twz__media *m, uint64_t len, int err)
{
	if (err == ENOMEM)
		return twz__err(
			TWZ_E_MAPS,
			"%s: no room to map %llu more bytes: the process has too many mappings (raise sysctl vm.max_map_count) or too little address space (ulimit -v)",
			m->path, (unsigned long long)len);
	return twz__err(-err, "%s: cannot map %llu bytes: %s", m->path, (unsigned long long)len,
			strerror(err));
}

static int file_map(struct twz__media *m, void *addr, uint64_t off, uint64_t len, int writable)
{
	int prot = PROT_READ | (writable && !m->no_write ? PROT_WRITE : 0);
	int flags = MAP_FIXED | (fm(m)->dax ? MAP_SHARED_VALIDATE | MAP_SYNC : MAP_SHARED);

	if (mmap(addr, len, prot, flags, m->fd, (off_t)off) == MAP_FAILED)
		return map_failed(m, len, errno);
	return 0;
}

static int file_unmap(struct twz__media *m, void *addr, uint64_t len, int apart)
{
	/*
	 * The flags of libpmem2's reservation, so that the kernel joins the pieces again. The one
	 * that it has not makes no other difference: nothing can be stored here anyway.
	 */
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | (apart ? MAP_NORESERVE : 0);

	if (mmap(addr, len, PROT_NONE, flags, -1, 0) == MAP_FAILED)
		return map_failed(m, len, errno);
	return 0;
}

static int file_read(struct twz__media *m, void *buf, uint64_t off, uint64_t len)
{
	while (len) {
		ssize_t n = pread(m->fd, buf, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return twz__file_io_error(fm(m), "read", off, len, errno);
		if (n == 0)
			return twz__err(TWZ_E_TRUNCATED,
					"%s: ends before offset %llu: restore it from a backup",
					m->path, (unsigned long long)(off + len));
		buf = (char *)buf + n;
		off += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

static int file_write_sync(struct twz__media *m, const void *buf, uint64_t off, uint64_t len)
{
	while (len) {
		struct iovec iov = {(void *)(uintptr_t)buf, len < (1u << 30) ? len : 1u << 30};
		int n = twz__file_write_dsync(fm(m), &iov, 1, off);

		if (n <= 0)
			return twz__file_io_error(fm(m), "write", off, len, n ? -n : EIO);
		buf = (const char *)buf + n;
		off += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

static int file_zero(struct twz__media *m, uint64_t off, uint64_t len)
{
	if (len >= ZERO_BY_EXTENT_LEN &&
	    !fallocate(m->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len))
		return twz__file_datasync(fm(m), off, len);
	return twz__file_zero(fm(m), off, len);
}

static bool file_join(struct twz__media *m, uint64_t *pos)
{
	struct stat st;

	if (!fm(m)->memory || m->no_write || fstat(m->fd, &st) ||
	    *pos + TWZ__HUGE_LEN > (uint64_t)st.st_size)
		return false;
	(void)twz__huge_join(m->fd, *pos, true);
	*pos += TWZ__HUGE_LEN;
	return true;
}

static int file_fill(struct twz__media *m, uint64_t off, uint64_t len)
{
	return fm(m)->memory ? 0 : twz__file_zero(fm(m), off, len);
}

static void file_flush(struct twz__media *m, const void *addr, size_t len)
{
	if (fm(m)->flush)
		fm(m)->flush(addr, len);
}

static void file_fence(struct twz__media *m)
{
	if (fm(m)->drain)
		fm(m)->drain();
}

static void file_copy_nt(struct twz__media *m, void *dst, const void *src, size_t len)
{
	if (fm(m)->memcpy)
		fm(m)->memcpy(dst, src, len, PMEM2_F_MEM_NONTEMPORAL | PMEM2_F_MEM_NODRAIN);
	else
		memcpy(dst, src, len);
}

static void file_close(struct twz__media *m)
{
	struct file_media *f = fm(m);

	if (f->tmp_path)
		unlink(f->tmp_path);
	if (f->probe)
		pmem2_map_delete(&f->probe);
	twz__file_ways_close(f);
	twz__file_where_close(f);
	if (m->fd >= 0)
		close(m->fd);
	free(f->tmp_path);
	free(m->path);
	free(f);
}

static int sync_dir(const char *path)
{
	char *copy = strdup(path);
	int fd, rc = 0;

	if (!copy)
		return twz__err(TWZ_E_NOMEM, "%s: out of memory", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd))
		rc = twz__err(-errno, "%s: cannot sync its directory: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	free(copy);
	return rc;
}

static int link_name(struct file_media *f)
{
	char self[64];

	if (f->tmp_path)
		return link(f->tmp_path, f->m.path);
	snprintf(self, sizeof(self), "/proc/self/fd/%d", f->m.fd);
	return linkat(AT_FDCWD, self, AT_FDCWD, f->m.path, AT_SYMLINK_FOLLOW);
}

/* D18: everything in the file is durable before its name is. */
static int file_publish(struct twz__media *m)
{
	struct file_media *f = fm(m);

	if (!f->unnamed && !f->tmp_path)
		return sync_dir(m->path);
	if (fsync(m->fd))
		return twz__file_io_error(f, "sync", 0, 0, errno);
	if (link_name(f)) {
		if (errno == EEXIST)
			return twz__err(TWZ_E_EXIST, "%s: exists already", m->path);
		return twz__err(-errno, "%s: cannot give the new store its name: %s", m->path,
				strerror(errno));
	}
	if (f->tmp_path)
		unlink(f->tmp_path);
	free(f->tmp_path);
	f->tmp_path = NULL;
	f->unnamed = false;
	f->linked = true;
	return sync_dir(m->path);
}

static int file_reset(struct twz__media *m)
{
	struct file_media *f = fm(m);

	if (f->unnamed || f->tmp_path)
		return 0;
	if (f->linked)
		return unlink(m->path) ? twz__err(-errno, "%s: cannot remove it: %s", m->path,
						  strerror(errno))
				       : 0;
	if (f->probe)
		pmem2_map_delete(&f->probe);
	if (ftruncate(m->fd, 0) || fsync(m->fd))
		return twz__file_io_error(f, "truncate", 0, 0, errno);
	return 0;
}

/*
 * Not pmem2_map_delete(), whose lock a thread of the parent may have held; and the range stays
 * reserved, because libpmem2 goes on believing that it is a map of its own.
 */
static void file_forked(struct twz__media *m)
{
	struct file_media *f = fm(m);

	if (f->probe)
		file_unmap(m, pmem2_map_get_address(f->probe), pmem2_map_get_size(f->probe), 0);
	f->probe = NULL;
	twz__file_ways_close(f);
	if (f->dir >= 0)
		close(f->dir);
	f->dir = -1;
	close(m->fd);
	m->fd = -1;
}

static const struct twz__media_ops file_ops = {
	.version = 1,
	.map = file_map,
	.unmap = file_unmap,
	.read = file_read,
	.write_sync = file_write_sync,
	.sync_range = twz__file_sync_range,
	.sync_all = twz__file_sync_all,
	.write_back = twz__file_write_back,
	.grow = file_grow,
	.zero = file_zero,
	.give = file_give,
	.take = file_take,
	.join = file_join,
	.len = file_len,
	.fill = file_fill,
	.still = twz__file_still,
	.forget = twz__file_forget,
	.close = file_close,
	.flush = file_flush,
	.fence = file_fence,
	.copy_nt = file_copy_nt,
	.publish = file_publish,
	.reset = file_reset,
	.forked = file_forked,
};

/* --- open and create --- */

static int refuse_type(const char *path, mode_t mode)
{
	const char *what = S_ISDIR(mode)    ? "directory"
			   : S_ISFIFO(mode) ? "pipe"
			   : S_ISSOCK(mode) ? "socket"
					    : "device";

	return twz__err(TWZ_E_NOTSTORE, "%s: is a %s, not a store: name a file", path, what);
}

static int open_failed(const char *path, int err)
{
	if (err == ENOENT)
		return twz__err(TWZ_E_NOENT,
				"%s: does not exist: check the path, or ask for it to be created",
				path);
	if ((err == EACCES || err == EROFS || err == EPERM) && !access(path, R_OK))
		return twz__err(
			TWZ_E_READONLY,
			"%s: cannot be opened for writing (%s): change its permissions or copy it",
			path, strerror(err));
	if (err == EACCES)
		return twz__err(TWZ_E_PERM, "%s: %s: ask its owner for access", path,
				strerror(err));
	return twz__err(-err, "%s: cannot open: %s", path, strerror(err));
}

/* Also without permission to write, if that is not needed. */
static int open_fd(struct file_media *f)
{
	const int flags = O_CLOEXEC | O_NONBLOCK;

	f->m.fd = open(f->m.path, O_RDWR | flags);
	if (f->m.fd < 0 && f->read_only && (errno == EACCES || errno == EPERM || errno == EROFS)) {
		f->m.fd = open(f->m.path, O_RDONLY | flags);
		f->m.no_write = 1;
	}
	return f->m.fd < 0 ? open_failed(f->m.path, errno) : 0;
}

/* Opening a device or pipe can have effects of its own, so look before. */
static int open_existing(struct file_media *f)
{
	struct stat st;
	int rc;

	if (stat(f->m.path, &st))
		return open_failed(f->m.path, errno);
	if (!S_ISREG(st.st_mode))
		return refuse_type(f->m.path, st.st_mode);
	rc = open_fd(f);
	if (rc)
		return rc;
	if (fstat(f->m.fd, &st))
		return open_failed(f->m.path, errno);
	if (!S_ISREG(st.st_mode))
		return refuse_type(f->m.path, st.st_mode);
	rc = check_fs(f, st.st_size == 0);
	if (!rc && !f->read_only)
		rc = unshare_all(f, &st);
	if (!rc && !f->m.no_write && st.st_size >= (off_t)TWZ_PAGE_SIZE)
		rc = probe_granularity(f);
	return rc;
}

static int create_failed(const char *path, int err)
{
	if (err == ENOENT || err == ENOTDIR)
		return twz__err(TWZ_E_NOENT, "%s: its directory does not exist: create that first",
				path);
	if (err == EROFS || err == EACCES || err == EPERM)
		return twz__err(TWZ_E_READONLY, "%s: its directory does not allow new files: %s",
				path, strerror(err));
	if (err == ENOSPC || err == EDQUOT)
		return twz__err(TWZ_E_NOSPC, "%s: no space for a new file: free some and try again",
				path);
	return twz__err(-err, "%s: cannot create: %s", path, strerror(err));
}

/* Where O_TMPFILE is not known: a name nobody else uses, linked to the right one by publish. */
static int open_temporary(struct file_media *f)
{
	uint64_t rnd = 0;
	int err;

	if (getrandom(&rnd, sizeof(rnd), 0) != sizeof(rnd) ||
	    asprintf(&f->tmp_path, "%s.new-%016llx", f->m.path, (unsigned long long)rnd) < 0) {
		f->tmp_path = NULL;
		return twz__err(TWZ_E_NOMEM, "%s: out of memory", f->m.path);
	}
	f->m.fd = open(f->tmp_path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
	if (f->m.fd >= 0)
		return 0;
	err = errno;
	free(f->tmp_path);
	f->tmp_path = NULL;
	return create_failed(f->m.path, err);
}

static int open_new(struct file_media *f, uint64_t len)
{
	char *copy = strdup(f->m.path);
	int rc = 0;

	if (!copy)
		return twz__err(TWZ_E_NOMEM, "%s: out of memory", f->m.path);
	f->m.fd = open(dirname(copy), O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
	free(copy);
	if (f->m.fd >= 0)
		f->unnamed = true;
	else if (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)
		rc = open_temporary(f);
	else
		return create_failed(f->m.path, errno);
	if (!rc)
		rc = check_fs(f, true);
	return rc ? rc : file_grow(&f->m, len);
}

static int file_open(void *ctx, const char *path, uint32_t flags, uint64_t len,
		     struct twz__media **out, int *created)
{
	struct file_media *f = calloc(1, sizeof(*f));
	int rc;

	(void)ctx;
	*out = NULL;
	*created = 0;
	if (f)
		f->m.path = strdup(path);
	if (!f || !f->m.path) {
		free(f);
		return twz__err(TWZ_E_NOMEM, "%s: out of memory", path);
	}
	f->m.ops = &file_ops;
	f->m.fd = f->dir = -1;
	f->read_only = flags & TWZ_STORE_READONLY;
	rc = open_existing(f);
	if (!rc && (flags & TWZ_STORE_CREATE) && (flags & TWZ_STORE_EXCL))
		rc = twz__err(TWZ_E_EXIST,
			      "%s: exists already: choose another name or open it without creating",
			      path);
	if (rc == TWZ_E_NOENT && (flags & TWZ_STORE_CREATE)) {
		rc = open_new(f, len);
		*created = 1;
	}
	if (!rc)
		rc = twz__file_ways_open(f);
	if (rc) {
		file_close(&f->m);
		*created = 0;
		return rc;
	}
	twz__file_where_open(f);
	*out = &f->m;
	return 0;
}

const struct twz__backend twz__file_backend = {
	.version = 1,
	.open = file_open,
};
