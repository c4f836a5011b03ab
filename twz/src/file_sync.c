/* SPDX-License-Identifier: MIT
 * file_sync.c -- how bytes of a file become durable on page media, and who is told when they do not (D17)
 *
 * When the kernel cannot write a page back it marks it clean and tells every open file description of the file *once*, by
 * the next call on it that syncs anything. So an error must not be told to one who does not care, or does not yet know:
 *
 *  - Two threads that sync by the same description may both have lost something, and one of them be told that all is well. So
 *    each sync has a description of its own while it runs: a *way*, which one thread at a time uses. What failed since the last
 *    call by a way, in whatever process, is told to its next one, so a call that succeeds means that nothing had failed before.
 *  - What is told is remembered, for all threads and processes that have the store open (twz__media.lost), before
 *    the way is let go. From then on no sync of homes succeeds any more: whatever log asks next, whichever bytes were
 *    lost, it publishes no tail (D5). Log records go on being written: each write says itself whether it arrived.
 *  - msync() uses the description the mapping was made by, which all threads share. It is therefore followed by a question
 *    by a way: a wait for nothing, which answers with what was not told to this way yet.
 *
 * A process that opens the file later is not told what others were told; it sees the word they left. (But for one who is killed between
 * the failed call and the next store.) All of it is over when everybody has closed the store: restart stores all again that
 * no checkpoint vouches for.
 */
#include "backend_file.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOWHERE (LLONG_MAX - (long long)TWZ_PAGE_SIZE) /* no page of any file */

/* --- ways --- */

/* Not there: no /proc. Then all syncs use one description, one after the other. */
static int way_open(const struct file_media *f)
{
	char self[64];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", f->m.fd);
	return open(self, O_RDWR | O_CLOEXEC);
}

int twz__file_ways_open(struct file_media *f)
{
	if (f->memory || f->m.no_write)
		return 0;
	for (int i = 0; i < FILE_WAYS; i++) {
		int fd = way_open(f);

		if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM))
			return twz__err(
				-errno,
				"%s: cannot open it %d times: %s: raise the limit of open files (ulimit -n)",
				f->m.path, FILE_WAYS + 1, strerror(errno));
		f->way[i].fd = fd < 0 ? f->m.fd : fd;
		pthread_mutex_init(&f->way[i].mutex, NULL);
		f->way_cnt++;
		if (fd < 0)
			break;
	}
	return 0;
}

/* Also in a forked child, where a mutex may be locked for ever: none is touched. */
void twz__file_ways_close(struct file_media *f)
{
	for (uint32_t i = 0; i < f->way_cnt; i++)
		if (f->way[i].fd != f->m.fd)
			close(f->way[i].fd);
	f->way_cnt = 0;
}

/* NULL: there are none, and none is needed. */
static struct file_way *way_take(struct file_media *f)
{
	struct file_way *w;

	for (uint32_t i = 0; i < f->way_cnt; i++)
		if (!pthread_mutex_trylock(&f->way[i].mutex))
			return &f->way[i];
	if (!f->way_cnt)
		return NULL;
	w = &f->way[__atomic_fetch_add(&f->way_next, 1, __ATOMIC_RELAXED) % f->way_cnt];
	pthread_mutex_lock(&w->mutex);
	return w;
}

static int way_fd(const struct file_media *f, const struct file_way *w)
{
	return w ? w->fd : f->m.fd;
}

static void lose(struct file_media *f)
{
	__atomic_store_n(&f->m.lost_here, 1, __ATOMIC_SEQ_CST);
	if (f->m.lost)
		__atomic_store_n(f->m.lost, 1, __ATOMIC_SEQ_CST);
}

static bool is_lost(const struct file_media *f)
{
	return __atomic_load_n(&f->m.lost_here, __ATOMIC_SEQ_CST) ||
	       (f->m.lost && __atomic_load_n(f->m.lost, __ATOMIC_SEQ_CST));
}

/* ERR of the call made by W: first remembered, then W is somebody else's. */
static void way_done(struct file_media *f, struct file_way *w, int err)
{
	if (err)
		lose(f);
	if (w)
		pthread_mutex_unlock(&w->mutex);
}

static int is_lost_error(const struct file_media *f)
{
	return twz__err(
		TWZ_E_IO,
		"%s: something written to it did not get to the medium: close it in every process and open it again",
		f->m.path);
}

/*
 * A sync has succeeded: was that true? When its device fails, xfs shuts down and drops changes of extents that are on their
 * way; a sync that waits for such a change (the first write to space that was only allocated has one) may find nothing
 * left to wait for and succeed, though the bytes will read as zeros. The mark that it has shut down is set before anything is
 * dropped, and from then on it answers no question any more: so one is asked (D17; tests/vm shows it).
 */
static int believed(const struct file_media *f)
{
	struct stat st;

	return !f->shuts_down || !twz__file_look(f->m.fd, NULL, &st) ? 0 : EIO;
}

/* Neither kernel nor a filter of system calls has anything to say of the file. */
static bool is_forbidden(int err)
{
	return err == ENOSYS || err == EPERM;
}

/* --- what is asked of them --- */

/*
 * One request, one range made durable; a short count (a signal, a limit) goes on from where it
 * stopped. A file that may not grow so far lost nothing.
 */
int twz__file_write_dsync(struct file_media *f, const struct iovec *iov, int cnt, uint64_t off)
{
	struct file_way *w = way_take(f);
	struct stat st;
	ssize_t n = -1;
	int err;

	errno = ESTALE; /* a file that was cut short must not get longer by it */
	if (twz__file_look(f->m.fd, NULL, &st) || twz__file_is_cut(f, &st))
		goto done;
	do
		n = pwritev2(way_fd(f, w), iov, cnt, (off_t)off, RWF_DSYNC);
	while (n < 0 && errno == EINTR);
done:
	err = n < 0 ? errno : believed(f);
	way_done(f, w, err == EFBIG ? 0 : err);
	return err ? -err : (int)n;
}

static ssize_t write_some(int fd, const struct iovec *iov, off_t off)
{
	ssize_t n;

	do
		n = pwritev2(fd, iov, 1, off, 0);
	while (n < 0 && errno == EINTR);
	return n;
}

/*
 * Zeros to whole pages, one call each, written back. What one call writes is one folio for the kernel, where the file system
 * has such: a store to one of its pages through a mapping makes all of it dirty, to be written at the next checkpoint, and a log
 * block written to one costs 5 to 8 us more (ext4 since Linux 6.16, xfs; a folio may have a MiB).
 */
static int zero_pages(int fd, uint64_t off, uint64_t end)
{
	static const char zeros[TWZ_PAGE_SIZE];
	const unsigned all =
		SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
	const uint64_t from = off;

	while (off < end) {
		struct iovec iov = {(void *)(uintptr_t)zeros, TWZ_PAGE_SIZE - off % TWZ_PAGE_SIZE};
		ssize_t n = write_some(fd, &iov, (off_t)off);

		if (n <= 0)
			return n ? errno : EIO;
		off += (uint64_t)n;
	}
	if (!sync_file_range(fd, (off_t)from, (off_t)(end - from), all))
		return 0;
	return !is_forbidden(errno) ? errno : fdatasync(fd) ? errno : 0;
}

/*
 * The last page is written by a call of its own, whose sync (RWF_DSYNC) makes durable what the file system and the device still have
 * of the others. Somebody may cut the file short meanwhile, and the others then make it longer again, but not that long: so it is
 * seen before the last page, which would hide it (file_still.c).
 */
int twz__file_zero(struct file_media *f, uint64_t off, uint64_t len)
{
	static const char zeros[TWZ_PAGE_SIZE];
	const uint64_t end = off + len, last = (end - 1) / TWZ_PAGE_SIZE * TWZ_PAGE_SIZE;
	struct iovec iov = {(void *)(uintptr_t)zeros, end - (last > off ? last : off)};
	struct file_way *w;
	struct stat st;
	int err = 0, n;

	if (last > off) {
		w = way_take(f);
		if (twz__file_look(f->m.fd, NULL, &st))
			err = errno;
		else if (twz__file_is_cut(f, &st) || (uint64_t)st.st_size < end)
			err = ESTALE;
		else
			err = zero_pages(way_fd(f, w), off, last);
		if (!err && twz__file_look(f->m.fd, NULL, &st))
			err = errno;
		if (!err && (uint64_t)st.st_size < end)
			err = ESTALE;
		way_done(f, w, err == EFBIG ? 0 : err);
	}
	n = err ? -err : twz__file_write_dsync(f, &iov, 1, end - iov.iov_len);
	if (n > 0 && (size_t)n == iov.iov_len)
		return 0;
	return twz__file_io_error(f, "write", off, len, n < 0 ? -n : EIO);
}

int twz__file_datasync(struct file_media *f, uint64_t off, uint64_t len)
{
	struct file_way *w = way_take(f);
	int err = fdatasync(way_fd(f, w)) ? errno : believed(f);

	way_done(f, w, err);
	return err ? twz__file_io_error(f, "sync", off, len, err) : 0;
}

int twz__file_sync_all(struct twz__media *m)
{
	struct file_media *f = fm(m);
	int err;

	if (m->granularity != TWZ_GRAN_PAGE) {
		if (f->drain)
			f->drain();
		return 0;
	}
	err = twz__file_datasync(f, 0, 0);
	return !err && is_lost(f) ? is_lost_error(f) : err;
}

/* What was not told to a way yet. */
static int ask(struct file_media *f)
{
	struct file_way *w = way_take(f);
	int err = 0;

	if (w && sync_file_range(w->fd, NOWHERE, 1, SYNC_FILE_RANGE_WAIT_BEFORE))
		err = !is_forbidden(errno) ? errno : fdatasync(w->fd) ? errno : 0;
	way_done(f, w, err);
	return err;
}

void twz__file_forget(struct twz__media *m)
{
	struct file_media *f = fm(m);

	for (uint32_t i = 0; i <= f->way_cnt && f->way_cnt; i++)
		(void)!sync_file_range(i < f->way_cnt ? f->way[i].fd : m->fd, NOWHERE, 1,
				       SYNC_FILE_RANGE_WAIT_BEFORE);
}

int twz__file_sync_range(struct twz__media *m, void *addr, uint64_t len)
{
	uintptr_t from = (uintptr_t)addr & ~(uintptr_t)(TWZ_PAGE_SIZE - 1);
	struct file_media *f = fm(m);
	int err;

	if (m->granularity != TWZ_GRAN_PAGE) {
		if (f->flush)
			f->flush(addr, len);
		if (f->drain)
			f->drain();
		return 0;
	}
	err = msync((void *)from, (uintptr_t)addr + len - from, MS_SYNC) ? errno : believed(f);
	if (err == ENOMEM || err == EINVAL) /* not a range of ours: nothing was lost */
		return twz__file_io_error(f, "sync", 0, len, err);
	if (err)
		lose(f);
	else
		err = ask(f);
	if (err)
		return twz__file_io_error(f, "sync", 0, len, err);
	return is_lost(f) ? is_lost_error(f) : 0;
}

int twz__file_write_back(struct twz__media *m, uint64_t off, uint64_t len)
{
	const unsigned flags = SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
	struct file_media *f = fm(m);
	struct file_way *w;
	int err = 0;

	if (m->granularity != TWZ_GRAN_PAGE)
		return 0;
	w = way_take(f);
	if (sync_file_range(way_fd(f, w), (off_t)off, (off_t)len, flags) && !is_forbidden(errno))
		err = errno;
	way_done(f, w, err);
	return err ? twz__file_io_error(f, "write", off, len, err) : 0;
}
