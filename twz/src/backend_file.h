/* SPDX-License-Identifier: MIT
 * backend_file.h -- what the two files of the file back end share
 *
 *	backend_file.c	which files, allocation, mapping, creation
 *	file_sync.c	how bytes become durable on page media, and who is told when they do not (D17)
 *	file_still.c	whether it is still the file that was opened
 */
#ifndef TWZ_SRC_BACKEND_FILE_H
#define TWZ_SRC_BACKEND_FILE_H

#include "internal.h"

#include <libpmem2.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define FILE_WAYS 4 /* batches on their way at the same time, and a checkpoint beside them */

/* An open file description that one thread at a time uses: see file_sync.c. */
struct file_way {
	pthread_mutex_t mutex;
	int fd;
};

struct file_media {
	struct twz__media m;
	struct pmem2_map *probe; /* keeps the functions below valid */
	pmem2_flush_fn flush;
	pmem2_drain_fn drain;
	pmem2_memcpy_fn memcpy;
	bool dax;	 /* mappings take MAP_SYNC */
	bool memory;	 /* tmpfs */
	bool shuts_down; /* xfs: see file_sync.c, believed() */
	bool read_only; /* nothing will be stored to a page of it that has no space, or is shared */
	bool unnamed;	/* made by O_TMPFILE, not linked yet */
	char *tmp_path; /* or made under this name, not linked yet */
	bool linked;	/* it was one of those and has its name now */
	int dir;	/* of the path when it was opened, and */
	char *base;	/* the name in it; -1, NULL: not known */
	dev_t dev;	/* which file it is; 0, 0: not known */
	ino_t ino;
	struct file_way way[FILE_WAYS];
	uint32_t way_cnt;  /* 0: nothing is lost here, or nothing is written */
	uint32_t way_next; /* whom to wait for when all are busy */
};

static inline struct file_media *fm(struct twz__media *m)
{
	return (struct file_media *)m;
}

/*
 * What NAME, looked up in directory FD, or the file FD if it is NULL, is, how long, and how many names it has; the rest of ST is 0. Its times are not
 * asked for: some kernels then give each write after that a time of its own, and put it on the medium with the write.
 */
int twz__file_look(int fd, const char *name, struct stat *st);
/* It is shorter than it was: a write would make it longer again, with zeros where data were. */
bool twz__file_is_cut(struct file_media *f, struct stat *st);
int twz__file_cut_error(struct file_media *f);
/* The message for errno ERR of WHAT. Returns the error. */
int twz__file_io_error(struct file_media *f, const char *what, uint64_t off, uint64_t len, int err);

/* The directory of the path, when the file is open; and whether all is as it was (file_still.c). */
void twz__file_where_open(struct file_media *f);
void twz__file_where_close(struct file_media *f);
int twz__file_still(struct twz__media *m, bool named);
/* The descriptions, when the file is open. */
int twz__file_ways_open(struct file_media *f);
void twz__file_ways_close(struct file_media *f);
/* One write, durable when it returns; how much, or -errno. */
int twz__file_write_dsync(struct file_media *f, const struct iovec *iov, int cnt, uint64_t off);
/* Zeros, durable; the file is at least so long. 0 or an error, with a message. */
int twz__file_zero(struct file_media *f, uint64_t off, uint64_t len);
/* fdatasync(): 0 or an error, with a message about [OFF, OFF + LEN). */
int twz__file_datasync(struct file_media *f, uint64_t off, uint64_t len);
int twz__file_sync_range(struct twz__media *m, void *addr, uint64_t len);
int twz__file_write_back(struct twz__media *m, uint64_t off, uint64_t len);
int twz__file_sync_all(struct twz__media *m);
void twz__file_forget(struct twz__media *m);

#endif
