/* SPDX-License-Identifier: MIT
 * sim_media.c -- the back end: a store, or two, in one image in shared memory (see sim.h)
 */
#include "sim_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image.h"
#include "internal.h"
#include "resident.h"
#include "sim_tab.h"

/* A store, or one of two that lie in one image (sim.h, struct sim_pair). */
struct sim_medium {
	struct twz__media m;
	uint64_t base; /* where it begins in the image */
	int no;
	uint64_t name; /* of the second (struct sim_pair) */
};

static uint64_t base_of(const struct twz__media *m)
{
	return ((const struct sim_medium *)m)->base;
}

static struct sim_pair *pair_head(void)
{
	return (struct sim_pair *)sim.img;
}

static int sim_map(struct twz__media *m, void *addr, uint64_t off, uint64_t len, int writable)
{
	struct resident_range r = {.addr = (uintptr_t)addr,
				   .len = len,
				   .off = base_of(m) + off,
				   .ino = sim.ino,
				   .writable = writable};

	if (resident_map(&r, sim.fd))
		return -errno;
	if (sim_on)
		sim_tab_set(addr, r.off, (len + SIM_PAGE - 1) & ~(uint64_t)(SIM_PAGE - 1));
	return 0;
}

static int sim_unmap(struct twz__media *m, void *addr, uint64_t len, int apart)
{
	(void)m;
	(void)apart;
	if (sim_on) {
		sim_settle();
		sim_tab_del(addr, len);
	}
	return resident_unmap(addr, len) ? -errno : 0;
}

static int sim_len(struct twz__media *m, uint64_t *len)
{
	if (!sim.pair)
		return sim_image_len(len);
	*len = pair_head()->len[((struct sim_medium *)m)->no];
	return 0;
}

static int sim_read(struct twz__media *m, void *buf, uint64_t off, uint64_t len)
{
	uint64_t now;

	if (sim_len(m, &now))
		return -errno;
	if (off > now || len > now - off)
		return twz__err(TWZ_E_TRUNCATED,
				"%s: read of %llu bytes at %llu is past the end: restore it",
				m->path, (unsigned long long)len, (unsigned long long)off);
	memcpy(buf, sim.img + base_of(m) + off, len);
	return 0;
}

static int no_space(const struct twz__media *m, uint64_t max)
{
	return twz__err(TWZ_E_NOSPC, "%s: the simulated store holds %llu bytes at most", m->path,
			(unsigned long long)max);
}

/*
 * A write may append to the image, as pwrite does; a few bytes, in a file that is not formatted
 * yet.
 */
static int make_room(struct twz__media *m, uint64_t end)
{
	uint64_t now;

	if (sim.pair)
		return 0; /* pair_room() */
	if (end > SIM_IMAGE_MAX)
		return no_space(m, SIM_IMAGE_MAX);
	if (end > sim.len && sim_len(m, &now))
		return -errno;
	if (end <= sim.len)
		return 0;
	if (ftruncate(m->fd, (off_t)end))
		return -errno;
	sim.len = end;
	return 0;
}

/* The length of one of a pair is a word of the image that changes at once and durably. */
static int pair_room(struct twz__media *m, uint64_t end)
{
	uint64_t *len = &pair_head()->len[((struct sim_medium *)m)->no];
	uint64_t off = (uint64_t)((uint8_t *)len - sim.img);

	if (end > SIM_PAIR_EACH)
		return no_space(m, SIM_PAIR_EACH);
	if (end <= *len)
		return 0;
	*len = end;
	if (!sim_records())
		return 0;
	memcpy(sim.shadow + off, len, sizeof(*len));
	sim_append_bt(EV_WRITE, off, len, sizeof(*len));
	return 0;
}

/* Bytes of a write, at OFF of the image. */
static void put_bytes(const void *buf, uint64_t off, uint64_t len)
{
	buf ? memcpy(sim.img + off, buf, len) : memset(sim.img + off, 0, len);
}

/* Of a write that has not returned: nobody has synced the pages that got their bytes (D13, D19). */
static void put_unsynced(const void *buf, uint64_t off, uint64_t len, uint32_t type)
{
	put_bytes(buf, off, len);
	for (uint64_t at = off, end = off + len, n; sim_records() && at < end; at += n) {
		n = SIM_PAGE - at % SIM_PAGE;
		n = n < end - at ? n : end - at;
		memcpy(sim.shadow + at, sim.img + at, n);
		sim_append(type == EV_WRITE ? EV_STORE : type, at, sim.img + at, n);
	}
}

/* Three points to die at: before it, in the middle, after the last byte but before the sync. */
static int put(struct twz__media *m, const void *buf, uint64_t off, uint64_t len, uint32_t type)
{
	int rc = make_room(m, off + len);

	if (rc)
		return rc;
	sim_kill_point();
	if (sim_dies_next())
		put_unsynced(buf, off, len / 2 & ~(uint64_t)(type == EV_WRITE ? SIM_PAGE - 1 : 7),
			     type);
	sim_kill_point();
	if (sim_dies_next())
		put_unsynced(buf, off, len, type);
	sim_kill_point();
	put_bytes(buf, off, len);
	if (sim_records()) {
		memcpy(sim.shadow + off, sim.img + off, len);
		sim_append_bt(type, off, sim.img + off, len);
	}
	return 0;
}

void sim_during_write(void (*fn)(void *ctx), void *ctx)
{
	sim.during = fn;
	sim.during_ctx = ctx;
}

static int write_slowly(struct twz__media *m, const void *buf, uint64_t off, uint64_t len)
{
	void (*during)(void *ctx) = sim.during;
	void **frame = sim.frame;
	int rc = make_room(m, off + len);

	sim.during = NULL;
	if (rc)
		return rc;
	sim_kill_point();
	put_unsynced(buf, off, len, EV_WRITE);
	during(sim.during_ctx);
	sim.frame = frame;
	sim_kill_point();
	if (sim_records()) {
		sim_settle();
		sim_append_bt(EV_SYNC, off, NULL, len);
	}
	return 0;
}

void sim_fail_next(enum sim_fault what)
{
	sim.fault = what;
}

static bool fails(enum sim_fault what)
{
	if (sim.fault != what || sim.media != SIM_MEDIA_PAGE)
		return false;
	sim.fault = SIM_FAULT_NONE;
	sim.sync_lost |= what == SIM_FAULT_SYNC;
	return true;
}

static int failed(const struct twz__media *m, const char *what)
{
	return twz__err(TWZ_E_IO, "%s: a %s failed, as it was to", m->path, what);
}

static int write_that_fails(struct twz__media *m, const void *buf, uint64_t off, uint64_t len)
{
	int rc = make_room(m, off + len);

	if (rc)
		return rc;
	put_unsynced(buf, off, len, EV_WRITE);
	return failed(m, "write");
}

static int write_sync(struct twz__media *m, const void *buf, uint64_t off, uint64_t len)
{
	int rc;

	if (sim_records())
		sim_settle();
	if (sim.pair) {
		rc = pair_room(m, off + len);
		if (rc)
			return rc;
		off += base_of(m);
	}
	if (fails(SIM_FAULT_WRITE))
		return write_that_fails(m, buf, off, len);
	if (sim.during && sim.media == SIM_MEDIA_PAGE)
		return write_slowly(m, buf, off, len);
	if (sim.media == SIM_MEDIA_PAGE || off + len > sim.len)
		return put(m, buf, off, len, EV_WRITE);
	rc = put(m, buf, off, len, EV_NTSTORE);
	if (!rc && sim_records())
		sim_append_bt(EV_FENCE, 0, NULL, 0);
	return rc;
}

static int sim_still(struct twz__media *m, bool named)
{
	return named && sim.fault == SIM_FAULT_GONE
		       ? twz__err(TWZ_E_GONE, "%s: was deleted, as it was to be", m->path)
		       : 0;
}

static int sim_write_sync(struct twz__media *m, const void *buf, uint64_t off, uint64_t len)
{
	ENTER();
	return write_sync(m, buf, off, len);
}

static int sim_zero(struct twz__media *m, uint64_t off, uint64_t len)
{
	ENTER();
	return write_sync(m, NULL, off, len);
}

static void holes(const struct twz__media *m, uint64_t off, uint64_t len, bool given)
{
	uint64_t page = (base_of(m) + off) / SIM_PAGE, end = (base_of(m) + off + len) / SIM_PAGE;

	for (; page < end && page < sizeof(sim.hole); page++) {
		sim.holes += (uint64_t)given - sim.hole[page];
		sim.hole[page] = given;
	}
}

/* What is given back reads as zeros, durably; nobody may store there before it is taken again (sim_before()). */
static int sim_give(struct twz__media *m, uint64_t off, uint64_t len)
{
	int rc;

	ENTER();
	rc = write_sync(m, NULL, off, len);
	if (!rc)
		holes(m, off, len, true);
	return rc;
}

static int sim_take(struct twz__media *m, uint64_t off, uint64_t len)
{
	ENTER();
	sim_kill_point();
	holes(m, off, len, false);
	return 0;
}

static void flush_run(const void *addr, uint64_t len, enum sim_ev_type type, uint64_t grain)
{
	uintptr_t at = (uintptr_t)addr & ~(uintptr_t)(grain - 1), end = (uintptr_t)addr + len;

	for (; at < end;) {
		uint64_t n = SIM_PAGE - (at & (SIM_PAGE - 1)), off = sim_tab_off((void *)at);

		n = n < end - at ? n : end - at;
		if (off != UINT64_MAX)
			sim_append_bt(type, off, NULL, n);
		at += n;
	}
}

static void sim_flush(struct twz__media *m, const void *addr, size_t len)
{
	(void)m;
	ENTER();
	sim_kill_point();
	if (!sim_records() || sim.media != SIM_MEDIA_LINE)
		return;
	sim_settle();
	flush_run(addr, len, EV_FLUSH, SIM_LINE);
}

static void sim_fence(struct twz__media *m)
{
	(void)m;
	ENTER();
	sim_kill_point();
	if (!sim_records() || sim.media != SIM_MEDIA_LINE)
		return;
	sim_audit();
	sim_append_bt(EV_FENCE, 0, NULL, 0);
}

static int sim_sync_range(struct twz__media *m, void *addr, uint64_t len)
{
	ENTER();
	sim_kill_point();
	if (!sim_records())
		return 0;
	sim_audit();
	if (fails(SIM_FAULT_SYNC))
		return failed(m, "sync");
	if (sim.sync_lost)
		return 0;
	if (sim.media == SIM_MEDIA_PAGE) {
		flush_run(addr, len, EV_SYNC, SIM_PAGE);
		return 0;
	}
	flush_run(addr, len, EV_FLUSH, SIM_LINE);
	sim_append_bt(EV_FENCE, 0, NULL, 0);
	return 0;
}

static int sim_sync_all(struct twz__media *m)
{
	ENTER();
	sim_kill_point();
	if (!sim_records())
		return 0;
	sim_audit();
	if (fails(SIM_FAULT_SYNC))
		return failed(m, "sync");
	if (sim.sync_lost)
		return 0;
	if (sim.media == SIM_MEDIA_LINE)
		sim_append_bt(EV_FENCE, 0, NULL, 0);
	else if (sim.pair)
		sim_append_bt(EV_SYNC, base_of(m), NULL, SIM_PAIR_EACH);
	else
		sim_append_bt(EV_SYNC_ALL, 0, NULL, 0);
	return 0;
}

static int sim_grow(struct twz__media *m, uint64_t len)
{
	uint64_t old;

	ENTER();
	sim_kill_point();
	if (sim_records())
		sim_settle();
	if (sim.pair)
		return pair_room(m, len);
	if (sim_len(m, &old))
		return -errno;
	if (len > SIM_IMAGE_MAX)
		return no_space(m, SIM_IMAGE_MAX);
	if (len <= old)
		return 0;
	if (ftruncate(m->fd, (off_t)len))
		return -errno;
	sim.len = len;
	if (sim_records())
		sim_append_bt(EV_GROW, old, NULL, len - old);
	return 0;
}

static int sim_reset(struct twz__media *m)
{
	ENTER();
	sim_kill_point();
	if (sim.pair)
		return -ENOTSUP;
	if (sim_records())
		sim_settle();
	if (ftruncate(m->fd, 0))
		return -errno;
	if (sim_records())
		memset(sim.shadow, 0, sim.len);
	sim.len = 0;
	if (sim_records())
		sim_append_bt(EV_RESET, 0, NULL, 0);
	return 0;
}

/*
 * As the file back end: a sync of the unnamed file, which promises nothing for cache lines, then
 * its name.
 */
static int sim_publish(struct twz__media *m)
{
	int rc;

	if (!sim.unnamed)
		return 0;
	rc = sim.media == SIM_MEDIA_PAGE ? sim_sync_all(m) : 0;
	sim.unnamed = false;
	if (!rc && sim_records())
		sim_append(EV_NAMED, 0, NULL, 0);
	return rc;
}

static void sim_copy_nt(struct twz__media *m, void *dst, const void *src, size_t len)
{
	(void)m;
	ENTER();
	if (sim_records())
		sim_settle();
	sim_kill_point();
	memmove(dst, src, len);
	if (!sim_records())
		return;
	for (uintptr_t at = (uintptr_t)dst, end = at + len; at < end;) {
		uint64_t n = SIM_PAGE - (at & (SIM_PAGE - 1)), off = sim_tab_off((void *)at);

		n = n < end - at ? n : end - at;
		if (off != UINT64_MAX) {
			memcpy(sim.shadow + off, sim.img + off, n);
			sim_append_bt(sim.media == SIM_MEDIA_LINE ? EV_NTSTORE : EV_STORE, off,
				      sim.img + off, n);
		}
		at += n;
	}
}

static void close_image(void)
{
	if (!sim.resident && sim.img != MAP_FAILED)
		munmap(sim.img, SIM_IMAGE_MAX);
	sim.img = MAP_FAILED;
	if (sim.shadow_hi < sim.len)
		sim.shadow_hi = sim.len;
	if (sim.fd >= 0)
		close(sim.fd);
	sim.fd = -1;
}

static void sim_close(struct twz__media *m)
{
	struct sim_medium *sm = (struct sim_medium *)m;

	if (sim_records())
		sim_audit();
	sim.open[sm->no] = NULL;
	if (!sim.open[!sm->no])
		close_image();
	close(m->fd);
	free(m->path);
	free(sm);
}
static const struct twz__media_ops sim_ops = {
	.version = 1,
	.map = sim_map,
	.unmap = sim_unmap,
	.read = sim_read,
	.write_sync = sim_write_sync,
	.sync_range = sim_sync_range,
	.sync_all = sim_sync_all,
	.grow = sim_grow,
	.zero = sim_zero,
	.fill = sim_zero,
	.give = sim_give,
	.take = sim_take,
	.len = sim_len,
	.close = sim_close,
	.flush = sim_flush,
	.fence = sim_fence,
	.copy_nt = sim_copy_nt,
	.publish = sim_publish,
	.reset = sim_reset,
	.still = sim_still,
};

/* The shadow begins as the image. When nothing is recorded nobody looks at it. */
static int shadow_start(int fd)
{
	if (sim.shadow_hi > SIM_IMAGE_SMALL) {
		munmap(sim.shadow, SIM_IMAGE_MAX);
		sim.shadow = NULL;
	}
	if (!sim.shadow) {
		sim.shadow = mmap(NULL, SIM_IMAGE_MAX, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (sim.shadow == MAP_FAILED)
			return -1;
	} else /* of the recording before */
		memset(sim.shadow, 0, sim.shadow_hi);
	sim_shadow_copy(fd);
	sim.shadow_hi = 0;
	return 0;
}

/* The first of it that is opened. PATH is the image's file, which is there. */
static int open_image(const char *path)
{
	struct stat st;

	sim.img = MAP_FAILED;
	sim_tab_del(NULL, UINT64_MAX); /* the window of the store before was unmapped as a whole */
	sim.fd = open(path, O_RDWR | O_CLOEXEC);
	if (sim.fd < 0 || fstat(sim.fd, &st))
		return -errno;
	sim.ino = st.st_ino;
	sim.len = (uint64_t)st.st_size;
	sim.img = resident_at(st.st_dev, st.st_ino);
	sim.resident = sim.img != NULL;
	if (!sim.img)
		sim.img = mmap(NULL, SIM_IMAGE_MAX, PROT_READ | PROT_WRITE, MAP_SHARED, sim.fd, 0);
	if (sim.img == MAP_FAILED || (sim_on && shadow_start(sim.fd)))
		return -errno;
	sim.pair = sim.len >= sizeof(struct sim_pair) && pair_head()->magic == SIM_PAIR_MAGIC;
	return 0;
}

static void set_name(uint64_t name, enum sim_ev_type type)
{
	uint64_t off = offsetof(struct sim_pair, name);

	pair_head()->name = name;
	if (!sim_records())
		return;
	sim_settle();
	memcpy(sim.shadow + off, &name, sizeof(name));
	sim_append_bt(type, off, &name, sizeof(name));
}

/*
 * A missing file is made with LEN bytes; an empty one is left to the caller, as by the file back
 * end (D18). Of a pair the file serves for locks only, and whether it exists the image knows.
 */
static int open_file(struct sim_medium *sm, const char *path, uint32_t flags, int *created)
{
	bool create = flags & TWZ_STORE_CREATE;

	*created = create && access(path, F_OK);
	if (sim.pair) {
		bool there = pair_head()->len[sm->no] && (!sm->no || pair_head()->name == sm->name);

		*created = create && !there;
		if (!create && !there)
			return TWZ_E_NOENT;
		if (*created && sm->no)
			set_name(sm->name, EV_WRITE); /* as publish does (D18) */
		create = true;
	}
	sm->m.fd = open(path, O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0), 0600);
	return sm->m.fd >= 0 ? 0 : errno == ENOENT ? TWZ_E_NOENT : -errno;
}

static int open_medium(struct sim_medium *sm, const char *path, const char *image, uint32_t flags,
		       uint64_t len, int *created)
{
	int rc;

	if (sim.open[!sm->no])
		rc = open_file(sm, path, flags, created);
	else if (access(image, F_OK)) { /* no pair, then */
		sim.pair = false;
		rc = open_file(sm, path, flags, created);
		rc = rc ? rc : open_image(image);
	} else {
		rc = open_image(image);
		rc = rc ? rc : open_file(sm, path, flags, created);
	}
	if (rc)
		return twz__err(rc, "%s: cannot open the simulated store", path);
	sim.open[sm->no] = &sm->m;
	sm->base = sim.pair ? SIM_PAGE + (uint64_t)sm->no * SIM_PAIR_EACH : 0;
	sim.unnamed = *created && !sim.pair;
	if (sim.unnamed && sim_records())
		sim_append(EV_UNNAMED, 0, NULL, 0);
	return *created ? sim_grow(&sm->m, len) : 0;
}

static bool cut_off(char *path, const char *end)
{
	size_t n = strlen(path), cut = strlen(end);

	if (n <= cut || strcmp(path + n - cut, end))
		return false;
	path[n - cut] = 0;
	return true;
}

/* Is PATH one of the second of a pair? Then it becomes that of the image. */
static int second_of(char *path, uint64_t *name)
{
	*name = cut_off(path, SIM_SECOND SIM_PART);
	return *name ? 1 : cut_off(path, SIM_SECOND);
}

static int sim_open(void *ctx, const char *path, uint32_t flags, uint64_t len,
		    struct twz__media **out, int *created)
{
	struct sim_medium *sm = calloc(1, sizeof(*sm));
	char *image = strdup(path);
	uint64_t name = 0;
	int no = second_of(image, &name), rc;

	(void)ctx;
	*out = NULL;
	if (!sm || !image)
		abort();
	if (sim.open[no] || (sim.open[!no] && !sim.pair)) {
		/* one per process, or a pair, keeps the address table and the log simple */
		free(sm);
		free(image);
		return twz__err(TWZ_E_BUSY, "%s: this process has a simulated store open already",
				path);
	}
	sm->no = no;
	sm->name = name;
	sm->m = (struct twz__media){.ops = &sim_ops, .fd = -1, .path = strdup(path)};
	sm->m.granularity = sim.media == SIM_MEDIA_LINE ? TWZ_GRAN_CACHE_LINE : TWZ_GRAN_PAGE;
	rc = open_medium(sm, path, image, flags, len, created);
	free(image);
	if (rc)
		sim_close(&sm->m);
	else
		*out = &sm->m;
	return rc;
}

/* --- names, of the second of a pair: reached through the linker's --wrap --- */

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

int __real_fsync(int fd);
int __wrap_fsync(int fd)
{
	struct stat st, second;
	char path[300];

	ENTER();
	if (!sim_on || !sim.pair || sim.fd < 0 || fstat(fd, &st))
		return __real_fsync(fd);
	sim_kill_point();
	if (!sim_records())
		return 0;
	sim_audit();
	if (S_ISDIR(st.st_mode)) {
		sim_append_bt(sim.media == SIM_MEDIA_PAGE ? EV_SYNC : EV_FLUSH, 0, NULL, SIM_LINE);
		if (sim.media == SIM_MEDIA_LINE)
			sim_append_bt(EV_FENCE, 0, NULL, 0);
		return 0;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", sim.fd);
	if (sim.media ==
	    SIM_MEDIA_PAGE) /* of a DAX file it flushes nothing that was stored through a mapping */
		sim_append_bt(EV_SYNC,
			      SIM_PAGE + (stat(path, &second) || st.st_ino != second.st_ino) *
						 SIM_PAIR_EACH,
			      NULL, SIM_PAIR_EACH);
	return 0;
}

int __real_renameat2(int from_dir, const char *from, int to_dir, const char *to,
		     unsigned int flags);
int __wrap_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned int flags)
{
	char *was = strdup(from), *is = strdup(to);
	uint64_t old, new = 0;
	int rc;

	ENTER();
	if (!was || !is)
		abort();
	if (sim_on)
		sim_kill_point();
	rc = __real_renameat2(from_dir, from, to_dir, to, flags);
	if (!rc && sim_on && sim.pair && sim.fd >= 0 && second_of(was, &old) && second_of(is, &new))
		set_name(new, EV_STORE);
	free(was);
	free(is);
	return rc;
}

const struct twz__backend sim_backend = {.version = 1, .open = sim_open};
