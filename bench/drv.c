/* SPDX-License-Identifier: MIT
 * drv.c -- the list of drivers, and the directories their stores live in
 */
#include "drv.h"

#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

const struct drv *const drv_all[] = {
	&drv_twzdb,	 &drv_twzdb_tree,
#ifdef HAVE_LMDB
	&drv_lmdb,	 &drv_lmdb_wm,
#endif
#ifdef HAVE_ROCKSDB
	&drv_rocksdb,
#endif
#ifdef HAVE_WIREDTIGER
	&drv_wiredtiger,
#endif
#ifdef HAVE_SQLITE
	&drv_sqlite,
#endif
#ifdef HAVE_BDB
	&drv_bdb,
#endif
#ifdef HAVE_TREE_MAP
	&drv_pmemobj,
#endif
};
const size_t drv_cnt = sizeof(drv_all) / sizeof(drv_all[0]);

const struct drv *drv_find(const char *name)
{
	for (size_t i = 0; i < drv_cnt; i++)
		if (!strcmp(drv_all[i]->name, name))
			return drv_all[i];
	return NULL;
}

void drv_print_missing(void)
{
#ifndef HAVE_LMDB
	printf("without  lmdb, lmdb-wm: liblmdb-dev was not installed when this was built\n");
#endif
#ifndef HAVE_ROCKSDB
	printf("without  rocksdb: librocksdb-dev was not installed when this was built\n");
#endif
#ifndef HAVE_WIREDTIGER
	printf("without  wiredtiger: libwiredtiger-dev was not installed when this was built\n");
#endif
#ifndef HAVE_SQLITE
	printf("without  sqlite: libsqlite3-dev was not installed when this was built\n");
#endif
#ifndef HAVE_BDB
	printf("without  bdb: libdb5.3-dev was not installed when this was built\n");
#endif
#ifndef HAVE_TREE_MAP
	printf("without  pmemobj: %s\n", TREE_MAP_WHY);
#endif
}

int drv_fail(const char *fmt, ...)
{
	va_list ap;

	fputs("twzbench: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return DRV_FAIL;
}

int dir_make(const char *path)
{
	if (!mkdir(path, 0700) || errno == EEXIST)
		return 0;
	return drv_fail("%s: %s", path, strerror(errno));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

void dir_remove(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void *wait_for_end(void *path)
{
	sigset_t ends;
	int sig;

	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGHUP);
	if (sigwait(&ends, &sig))
		return NULL;
	dir_remove(path);
	_exit(128 + sig);
}

int dir_make_temporary(const char *path)
{
	static char copy[512];
	pthread_t thread;
	sigset_t ends;

	snprintf(copy, sizeof(copy), "%s", path);
	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGHUP);
	/* Threads started later inherit this: only the one that waits gets them. */
	pthread_sigmask(SIG_BLOCK, &ends, NULL);
	if (pthread_create(&thread, NULL, wait_for_end, copy))
		return drv_fail("no thread");
	pthread_detach(thread);
	return dir_make(path);
}

static uint64_t size_sum;

static int add_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)path, (void)ftw;
	if (type == FTW_F)
		size_sum += (uint64_t)st->st_blocks * 512;
	return 0;
}

uint64_t dir_size(const char *path)
{
	size_sum = 0;
	nftw(path, add_one, 16, FTW_PHYS);
	return size_sum;
}
