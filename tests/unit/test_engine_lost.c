/* SPDX-License-Identifier: MIT
 * test_engine_lost.c -- the kernel could not write something back: everybody learns of it (D17)
 *
 * The calls that sync are this program's own. Like the kernel's they tell each open file description once that
 * something was lost, and from then on that all is well.
 */
#include "../../engine/src/internal.h"
#include "engine_t.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <linux/magic.h>

#include "../../twz/src/internal.h"

#define FDS	1024
#define MAPPED	(FDS - 1) /* the description mappings were made by, whichever it is */
#define THREADS 6

static struct {
	_Atomic uint32_t lost;	    /* losses so far */
	_Atomic uint32_t told[FDS]; /* of these, by description */
	_Atomic int busy[FDS];
	_Atomic bool shared; /* two threads synced by one description at the same time */
	_Atomic int writing, most;
} kernel;

static void forget(void)
{
	memset(&kernel, 0, sizeof(kernel));
}

static int report(int fd)
{
	uint32_t lost = kernel.lost;

	if (kernel.told[fd] == lost)
		return 0;
	kernel.told[fd] = lost;
	errno = EIO;
	return -1;
}

static int enter(int fd)
{
	if (kernel.busy[fd]++)
		kernel.shared = true;
	return fd;
}

static int leave(int fd)
{
	kernel.busy[fd]--;
	return report(fd);
}

int fdatasync(int fd)
{
	enter(fd);
	syscall(SYS_fdatasync, fd);
	return leave(fd);
}

int sync_file_range(int fd, off_t off, off_t len, unsigned flags)
{
	enter(fd);
	syscall(SYS_sync_file_range, fd, off, len, flags);
	return leave(fd);
}

int msync(void *addr, size_t len, int flags)
{
	syscall(SYS_msync, addr, len, flags);
	return report(MAPPED);
}

ssize_t pwritev2(int fd, const struct iovec *iov, int cnt, off_t off, int flags)
{
	ssize_t n;
	int now;

	enter(fd);
	now = ++kernel.writing;
	if (now > kernel.most)
		kernel.most = now;
	n = syscall(SYS_pwritev2, fd, iov, (long)cnt, (long)off, 0L, (long)flags);
	kernel.writing--;
	return leave(fd) ? -1 : n;
}

/* --- --- */

static struct twzdb *db[2];
static struct twzdb_table table[2];

static bool is_memory(void)
{
	struct statfs fs;

	return statfs(t_dir(), &fs) || (uint32_t)fs.f_type == TMPFS_MAGIC;
}

static int open_db(int i, const char *path)
{
	struct twzdb_options o = {.size = sizeof(o),
				  .flags = TWZDB_CREATE,
				  .name = i ? "b" : "a",
				  .log_len = 1 << 20};
	struct twzdb_txn *tx;
	int err;

	t_err_name = twzdb_err_name;
	t_err_msg = twzdb_errmsg;
	err = twzdb_open(path, &o, &db[i]);
	if (!err)
		err = twzdb_begin(db[i], 0, &tx);
	if (err)
		return err;
	err = twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &table[i]);
	return err ? (twzdb_abort(tx), err) : twzdb_commit(tx);
}

static int put(int i, uint64_t key)
{
	struct twzdb_txn *tx;
	int err = twzdb_begin(db[i], 0, &tx);

	if (err)
		return err;
	err = twzdb_put(tx, table[i], et_key(key), et_val(key, 100), 0);
	return err ? (twzdb_abort(tx), err) : twzdb_commit(tx);
}

static bool open_both(const char *name)
{
	forget();
	return !T_OK(open_db(0, et_path(ET_PAGE, name))) &&
	       !T_OK(open_db(1, et_path(ET_PAGE, name))) && !T_OK(put(0, 1)) && !T_OK(put(1, 1));
}

/* Everything acknowledged is there, and all is well again. */
static void reopen(const char *name)
{
	struct twzdb_slice v;
	struct twzdb_txn *tx;

	forget();
	for (int i = 0; i < 2; i++) {
		T_REQ(open_db(i, et_path(ET_PAGE, name)));
		T_REQ(twzdb_begin(db[i], TWZDB_RDONLY, &tx));
		T_OK(twzdb_get(tx, table[i], et_key(1), &v));
		twzdb_abort(tx);
		T_OK(put(i, 2));
		T_OK(twzdb_checkpoint(db[i]));
		T_TRUE(et_clean(db[i]));
	}
	for (int i = 0; i < 2; i++)
		T_OK(twzdb_close(db[i]));
}

static void close_both(void)
{
	for (int i = 0; i < 2; i++)
		(void)!twzdb_close(db[i]);
}

static uint64_t tail(int i)
{
	struct twz_log_info info;

	return twz_log_info(db[i]->log, &info) ? 0 : info.tail;
}

/* --- cases --- */

static void each_database_of_a_process_is_told(void)
{
	uint64_t was;

	if (!open_both("each.twz"))
		return;
	was = tail(1);
	kernel.lost++;
	T_ERR(twzdb_checkpoint(db[0]), TWZDB_E_IO);
	T_ERR(twzdb_checkpoint(db[1]), TWZDB_E_IO);
	T_EQ(tail(1), was);
	close_both();
	reopen("each.twz");
}

/* Its error is that of homes nobody has asked for yet. */
static void growth_swallows_nothing(void)
{
	struct twz__media *m;
	uint64_t len;

	if (!open_both("grow.twz"))
		return;
	m = db[0]->s->media;
	T_OK(m->ops->len(m, &len));
	kernel.lost++;
	T_ERR(m->ops->grow(m, len + (1 << 20)), TWZ_E_IO);
	T_ERR(twzdb_checkpoint(db[0]), TWZDB_E_IO);
	T_ERR(twzdb_checkpoint(db[1]), TWZDB_E_IO);
	close_both();
	reopen("grow.twz");
}

/* Another thread was told by the description all mappings share. */
static void a_range_is_asked_for_twice(void)
{
	if (is_memory() || !open_both("range.twz"))
		return;
	kernel.lost++;
	kernel.told[MAPPED] = kernel.lost;
	T_ERR(twz_sync(db[0]->s, db[0]->root, 64), TWZ_E_IO);
	T_ERR(twz_sync(db[0]->s, db[0]->root, 64), TWZ_E_IO); /* and ever after */
	T_ERR(twzdb_checkpoint(db[1]), TWZDB_E_IO);
	close_both();
	reopen("range.twz");
}

/* The kernel does not tell who opens the file afterwards. */
static int late(const char *path)
{
	for (int i = 0; i < FDS; i++)
		kernel.told[i] = kernel.lost;
	if (open_db(1, path) || put(1, 3))
		return 1;
	return twzdb_checkpoint(db[1]) == TWZDB_E_IO ? 0 : 2;
}

static void who_comes_later_is_told(void)
{
	const char *path = et_path(ET_PAGE, "late.twz");
	int status = -1;
	pid_t pid;

	if (!open_both("late.twz"))
		return;
	T_OK(twzdb_close(db[1]));
	kernel.lost++;
	T_ERR(twzdb_checkpoint(db[0]), TWZDB_E_IO);
	fflush(NULL);
	pid = fork();
	if (!pid)
		_exit(late(path));
	T_EQ(waitpid(pid, &status, 0), pid);
	T_EQ(status, 0);
	(void)!twzdb_close(db[0]);
	reopen("late.twz");
}

/* Something failed when all who had it open were dead: it counts for no opening, which stores all again anyhow. */
static void what_nobody_was_told_of_keeps_nobody_out(void)
{
	const char *path = et_path(ET_PAGE, "untold.twz");
	int status = -1;
	pid_t pid;

	if (is_memory())
		return;
	forget();
	fflush(NULL);
	pid = fork();
	if (!pid) {
		if (open_db(0, path) || open_db(1, path) || put(0, 1) || put(1, 1))
			_exit(1);
		raise(SIGKILL);
	}
	T_EQ(waitpid(pid, &status, 0), pid);
	T_TRUE(WIFSIGNALED(status));
	kernel.lost++;
	kernel.told[MAPPED] =
		kernel.lost; /* the description is one that is asked, here another number */
	for (int i = 0; i < 2; i++) {
		struct twzdb_slice v;
		struct twzdb_txn *tx;

		T_REQ(open_db(i, path));
		T_REQ(twzdb_begin(db[i], TWZDB_RDONLY, &tx));
		T_OK(twzdb_get(tx, table[i], et_key(1), &v));
		twzdb_abort(tx);
		T_OK(put(i, 2));
		T_OK(twzdb_checkpoint(db[i]));
	}
	for (int i = 0; i < 2; i++)
		T_OK(twzdb_close(db[i]));
}

static int open_with_loss(void *ctx, const char *path, uint32_t flags, uint64_t len,
			  struct twz__media **out, int *created)
{
	int err = twz__file_backend.open(ctx, path, flags, len, out, created);

	if (!err)
		(*out)->lost_here = 1;
	return err;
}

/* What an opener was told before it could share it. */
static void what_was_told_before_is_shared(void)
{
	static const struct twz__backend backend = {.version = 1, .open = open_with_loss};
	struct twz_store_options o = {.size = sizeof(o), .backend = &backend};
	struct twz_store *s;

	if (!open_both("before.twz"))
		return;
	T_OK(twzdb_checkpoint(db[1]));
	T_REQ(twz_store_open(et_path(ET_PAGE, "before.twz"), &o, &s));
	T_OK(put(1, 2));
	T_ERR(twzdb_checkpoint(db[1]), TWZDB_E_IO);
	(void)!twz_store_close(s);
	close_both();
	reopen("before.twz");
}

static int open_fds(void)
{
	int cnt = 0;

	for (int i = 0; i < FDS; i++)
		cnt += fcntl(i, F_GETFD) >= 0;
	return cnt;
}

/* An error of closing leaves no handle behind, and nothing that was acknowledged is missing. */
static void closing_with_an_error_is_closing(void)
{
	struct twzdb_txn *tx;
	int before = open_fds();

	if (is_memory() || !open_both("close.twz"))
		return;
	T_REQ(twzdb_begin(db[0], TWZDB_RDONLY, &tx));
	T_ERR(twzdb_close(db[0]), TWZDB_E_STATE); /* this one leaves it as it was */
	twzdb_abort(tx);
	T_REQ(twzdb_begin(db[0], TWZDB_LAZY, &tx));
	T_OK(twzdb_put(tx, table[0], et_key(3), et_val(3, 100), 0));
	T_OK(twzdb_commit(tx));
	kernel.lost++;
	T_ERR(twzdb_close(db[0]), TWZDB_E_IO);
	T_ERR(twzdb_close(db[1]), TWZDB_E_IO);
	T_EQ(open_fds(), before);
	reopen("close.twz");
}

static _Atomic int failed;
static _Atomic bool stop;

static void *commit_all_the_time(void *arg)
{
	uint64_t key = 100 + *(int *)arg;

	while (!stop) {
		if (put(0, key)) {
			failed++;
			break;
		}
	}
	et_thread_end();
	return NULL;
}

static void threads_never_share_a_description(void)
{
	struct timespec ms = {0, 1000000};
	pthread_t thread[THREADS];
	int nr[THREADS];

	if (is_memory() || !open_both("threads.twz"))
		return;
	stop = false;
	failed = 0;
	for (int i = 0; i < THREADS; i++) {
		nr[i] = i;
		T_EQ(pthread_create(&thread[i], NULL, commit_all_the_time, &nr[i]), 0);
	}
	for (int i = 0; i < 3000 && (i < 300 || kernel.most < 2); i++) {
		if (i % 50 == 0)
			T_OK(twzdb_checkpoint(db[1]));
		nanosleep(&ms, NULL);
	}
	T_TRUE(kernel.most > 1);
	T_TRUE(!kernel.shared);
	T_EQ(failed, 0);
	kernel.lost++;
	for (int i = 0; i < 3000 && failed < THREADS; i++)
		nanosleep(&ms, NULL);
	stop = true;
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	T_EQ(failed, THREADS);
	close_both();
	reopen("threads.twz");
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(each_database_of_a_process_is_told),
		T_CASE(growth_swallows_nothing),
		T_CASE(a_range_is_asked_for_twice),
		T_CASE(who_comes_later_is_told),
		T_CASE(what_nobody_was_told_of_keeps_nobody_out),
		T_CASE(what_was_told_before_is_shared),
		T_CASE(closing_with_an_error_is_closing),
		T_CASE(threads_never_share_a_description),
		T_END,
	};

	return t_main("engine_lost", cases, argc, argv);
}
