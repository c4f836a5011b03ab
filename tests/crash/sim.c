/* SPDX-License-Identifier: MIT
 * sim.c -- see sim.h
 *
 * Three views of the image: the file, which the code under test maps where it likes; `img`, our
 * own mapping of the whole file; and `shadow`, the image as the log describes it. A store is
 * recorded when img and shadow differ where it was announced; a store of equal bytes changes no
 * legal image and is dropped. sim_audit() finds differences nobody announced.
 */
#include "sim.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image.h"
#include "internal.h"
#include "resident.h"
#include "sim_tab.h"

/* The simulator's own copies must not come back through the hooks. */
void *__real_memcpy(void *dst, const void *src, size_t n);
void *__real_memmove(void *dst, const void *src, size_t n);
void *__real_memset(void *dst, int c, size_t n);
#define memcpy	__real_memcpy
#define memmove __real_memmove
#define memset	__real_memset

#define SEG_MAX 256 /* pages of one copy: 1 MiB */

struct seg {
	uint64_t off;
	uint32_t len;
};

struct sim_state {
	enum sim_media media;
	struct sim_log *log;
	struct twz__media *open; /* the one simulated store */
	uint8_t *img, *shadow;
	uint64_t len, shadow_hi; /* of the image; of what may stand in the shadow of another */
	ino_t ino;
	bool resident;		 /* img is kept when the store is closed */
	bool unnamed;		 /* made and not published */
	struct seg seg[SEG_MAX]; /* the announced store, a piece per page */
	unsigned int seg_cnt;
	uint64_t pc;
	void **frame;
	bool atomic; /* the store being recorded knows its callers, from `frame` on */
	pthread_t owner;
	bool killing; /* only count, do not record */
	bool mortal;  /* record, and die at kill_at */
	bool paused;  /* mapped and ready, somebody else is recording */
	bool started;
	uint64_t kill_at;
	void (*during)(void *ctx); /* the next write waits for it */
	void *during_ctx;
};

static struct sim_state sim;
int sim_on;

/* --- the log --- */

static struct sim_ev *append(enum sim_ev_type type, uint64_t off, const void *data, uint64_t len)
{
	struct sim_ev hdr = {.type = type, .len = (uint32_t)len, .off = off}, *ev;
	uint64_t size = sim_ev_size(&hdr);

	if (sim.paused)
		return NULL;
	if (!sim.log || sim.log->used + size > sim.log->cap) {
		if (sim.log)
			sim.log->overflow = 1;
		return NULL;
	}
	ev = (void *)(sim.log->buf + sim.log->used);
	*ev = hdr;
	if (sim_ev_has_data(ev))
		memcpy(ev->data, data, len);
	sim.log->used += size;
	sim.log->cnt++;
	return ev;
}

extern void *__libc_stack_end;

/*
 * Return addresses of the callers. All code is compiled with frame pointers; the chain ends when
 * it leaves the stack.
 */
static void backtrace_to(uint64_t pc[SIM_PC_CNT], void **frame)
{
	for (int i = 0; i < SIM_PC_CNT; i++) {
		void **up = frame[0];

		pc[i] = (uint64_t)(uintptr_t)frame[1];
		if (up <= frame || (void *)(up + 2) > __libc_stack_end)
			break;
		frame = up;
	}
}

/* Every call of the backend notes its frame, so that pc[0] is always its caller. */
#define ENTER() (sim.frame = __builtin_frame_address(0))

static void append_bt(enum sim_ev_type type, uint64_t off, const void *data, uint64_t len)
{
	struct sim_ev *ev = append(type, off, data, len);

	if (ev)
		backtrace_to(ev->pc, sim.frame);
}

static bool recording(void)
{
	return sim_on && !sim.killing && !sim.paused;
}

bool sim_recording(void)
{
	return recording() && !sim.mortal;
}

/* --- kill mode --- */

static void kill_point(void)
{
	if (!(sim.killing || sim.mortal) || !sim.started)
		return;
	if (++sim.log->points != sim.kill_at)
		return;
	if (recording())
		sim_settle(); /* the last store has happened, the next one not */
	kill(getpid(), SIGKILL);
}

/* Will the next kill_point() be the last? */
static bool dies_next(void)
{
	return (sim.killing || sim.mortal) && sim.started && sim.log->points + 1 == sim.kill_at;
}

void sim_kill_at(struct sim_log *log, uint64_t n, bool record)
{
	sim.killing = !record;
	sim.mortal = record;
	sim.log = log;
	sim.kill_at = n;
	sim.owner = pthread_self();
	sim_on = 1;
}

void sim_pause(void)
{
	sim.paused = true;
}

static void shadow_copy(int fd)
{
	for (uint64_t from = 0, to; image_data(fd, sim.len, &from, &to); from = to)
		memcpy(sim.shadow + from, sim.img + from, to - from);
}

void sim_resume(void)
{
	uint64_t len;

	sim.paused = false;
	sim.seg_cnt = 0;
	if (!sim.open || sim.open->ops->len(sim.open, &len))
		return;
	sim.len = len;
	shadow_copy(sim.open->fd);
	sim.started = true;
	append(EV_DEATH, 0, NULL, 0);
}

void sim_kill_scan(const char *dir)
{
	if (sim.killing || sim.mortal)
		sim_foreign_scan(dir);
}

/* --- coverage --- */

extern const char __executable_start[];
extern const char etext[];
static uint8_t *cover_map;

int sim_cover_start(void)
{
	cover_map = mmap(NULL, (size_t)(etext - __executable_start), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (cover_map != MAP_FAILED)
		return 0;
	cover_map = NULL;
	return -1;
}

void sim_cover_write(FILE *f)
{
	for (uint64_t i = 0; cover_map && i < (uint64_t)(etext - __executable_start); i++)
		if (cover_map[i])
			fprintf(f, "%llx %u\n", (unsigned long long)i, cover_map[i]);
}

static void cover(uint64_t pc, bool image)
{
	uint64_t i = pc - (uint64_t)(uintptr_t)__executable_start;

	if (i < (uint64_t)(etext - __executable_start) && !sim.paused)
		cover_map[i] |= image && sim.started ? SIM_COVER_IMAGE : SIM_COVER_RAN;
}

/* --- stores --- */

static void record(uint64_t off, uint64_t len, uint64_t pc)
{
	struct sim_ev *ev;

	if (!memcmp(sim.img + off, sim.shadow + off, len))
		return;
	memcpy(sim.shadow + off, sim.img + off, len);
	ev = append(EV_STORE, off, sim.img + off, len);
	if (ev && sim.atomic)
		backtrace_to(ev->pc, sim.frame);
	else if (ev)
		ev->pc[0] = pc;
}

void sim_settle(void)
{
	for (unsigned int i = 0; i < sim.seg_cnt; i++)
		record(sim.seg[i].off, sim.seg[i].len, sim.pc);
	sim.seg_cnt = 0;
}

static void other_thread(uint64_t pc)
{
	fprintf(stderr,
		"crash: store to the image by a second thread (pc %#lx): recorded workloads have one\n",
		(unsigned long)pc);
	abort();
}

void sim_before(const void *addr, size_t len, uint64_t pc)
{
	uintptr_t at = (uintptr_t)addr;
	bool hit = false, image = false;

	if (sim.seg_cnt)
		sim_settle();
	while (len) {
		uint64_t n = SIM_PAGE - (at & (SIM_PAGE - 1));
		uint64_t off = sim_tab_off((void *)at);

		n = n < len ? n : len;
		image |= off != UINT64_MAX;
		hit |= image || ((sim.killing || sim.mortal) && sim_foreign_has(at));
		if (off != UINT64_MAX && !sim.killing) {
			if (!pthread_equal(pthread_self(), sim.owner))
				other_thread(pc);
			if (sim.seg_cnt ==
			    SEG_MAX) /* a copy of over 1 MiB: the audit finds its tail */
				break;
			sim.seg[sim.seg_cnt++] = (struct seg){off, (uint32_t)n};
		}
		at += n;
		len -= n;
	}
	sim.pc = pc;
	if (cover_map)
		cover(pc, image);
	if (hit)
		kill_point();
}

void sim_after(const void *addr, size_t len, uint64_t pc)
{
	sim_before(addr, len, pc);
	sim_settle();
}

void sim_after_atomic(const void *addr, size_t len, void **frame)
{
	sim_before(addr, len, (uint64_t)(uintptr_t)frame[1]);
	sim.frame = frame;
	sim.atomic = true;
	sim_settle();
	sim.atomic = false;
}

static void unseen(uint64_t page)
{
	for (uint64_t o = page; o < page + SIM_PAGE; o += 8) {
		if (!memcmp(sim.img + o, sim.shadow + o, 8))
			continue;
		if (sim.log->unseen == 0)
			fprintf(stderr,
				"crash: bytes at %#llx of the image changed without a hook\n",
				(unsigned long long)o);
		sim.log->unseen += 8;
		record(o, 8, 0);
	}
}

void sim_audit(void)
{
	if (!recording() || !sim.open)
		return;
	sim_settle();
	for (uint64_t from = 0, to; image_data(sim.open->fd, sim.len, &from, &to); from = to)
		for (uint64_t p = from; p < to; p += SIM_PAGE)
			if (memcmp(sim.img + p, sim.shadow + p, SIM_PAGE))
				unseen(p);
}

void sim_mark_at(enum sim_ev_type type, uint64_t off)
{
	append(type, off, NULL, 0);
}

void sim_mark(enum sim_ev_type type, const void *data, uint32_t len)
{
	if (!sim.log)
		return;
	if (recording()) {
		sim_audit();
		append(type, 0, data, len);
	}
	switch (type) {
	case EV_START:
		sim.started = true;
		break;
	case EV_BEGIN:
		sim.log->progress_top++;
		break;
	case EV_ACK:
		sim.log->progress_floor = sim.log->progress_top;
		break;
	default:
		break;
	}
}

/* --- the backend --- */

static int sim_map(struct twz__media *m, void *addr, uint64_t off, uint64_t len, int writable)
{
	struct resident_range r = {.addr = (uintptr_t)addr,
				   .len = len,
				   .off = off,
				   .ino = sim.ino,
				   .writable = writable};

	if (resident_map(&r, m->fd))
		return -errno;
	if (sim_on)
		sim_tab_set(addr, off, (len + SIM_PAGE - 1) & ~(uint64_t)(SIM_PAGE - 1));
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
	struct stat st;

	if (fstat(m->fd, &st))
		return -errno;
	sim.len = *len = (uint64_t)st.st_size; /* another process may have grown it */
	return 0;
}

static int sim_read(struct twz__media *m, void *buf, uint64_t off, uint64_t len)
{
	uint64_t now;

	if (off + len > sim.len && sim_len(m, &now))
		return -errno;
	if (off > sim.len || len > sim.len - off)
		return twz__err(TWZ_E_TRUNCATED,
				"%s: read of %llu bytes at %llu is past the end: restore it",
				m->path, (unsigned long long)len, (unsigned long long)off);
	memcpy(buf, sim.img + off, len);
	return 0;
}

/*
 * A write may append to the image, as pwrite does; a few bytes, in a file that is not formatted
 * yet.
 */
static int make_room(struct twz__media *m, uint64_t end)
{
	uint64_t now;

	if (end > SIM_IMAGE_MAX)
		return twz__err(TWZ_E_NOSPC, "%s: the simulated store holds %llu bytes at most",
				m->path, (unsigned long long)SIM_IMAGE_MAX);
	if (end > sim.len && sim_len(m, &now))
		return -errno;
	if (end <= sim.len)
		return 0;
	if (ftruncate(m->fd, (off_t)end))
		return -errno;
	sim.len = end;
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
	for (uint64_t at = off, end = off + len, n; recording() && at < end; at += n) {
		n = SIM_PAGE - at % SIM_PAGE;
		n = n < end - at ? n : end - at;
		memcpy(sim.shadow + at, sim.img + at, n);
		append(type == EV_WRITE ? EV_STORE : type, at, sim.img + at, n);
	}
}

/* Three points to die at: before it, in the middle, after the last byte but before the sync. */
static int put(struct twz__media *m, const void *buf, uint64_t off, uint64_t len, uint32_t type)
{
	int rc = make_room(m, off + len);

	if (rc)
		return rc;
	kill_point();
	if (dies_next())
		put_unsynced(buf, off, len / 2 & ~(uint64_t)(type == EV_WRITE ? SIM_PAGE - 1 : 7),
			     type);
	kill_point();
	if (dies_next())
		put_unsynced(buf, off, len, type);
	kill_point();
	put_bytes(buf, off, len);
	if (recording()) {
		memcpy(sim.shadow + off, sim.img + off, len);
		append_bt(type, off, sim.img + off, len);
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
	kill_point();
	put_unsynced(buf, off, len, EV_WRITE);
	during(sim.during_ctx);
	sim.frame = frame;
	kill_point();
	if (recording()) {
		sim_settle();
		append_bt(EV_SYNC, off, NULL, len);
	}
	return 0;
}

static int write_sync(struct twz__media *m, const void *buf, uint64_t off, uint64_t len)
{
	int rc;

	if (recording())
		sim_settle();
	if (sim.during && sim.media == SIM_MEDIA_PAGE)
		return write_slowly(m, buf, off, len);
	if (sim.media == SIM_MEDIA_PAGE || off + len > sim.len)
		return put(m, buf, off, len, EV_WRITE);
	rc = put(m, buf, off, len, EV_NTSTORE);
	if (!rc && recording())
		append_bt(EV_FENCE, 0, NULL, 0);
	return rc;
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

/* The space is the simulator's all the time; what is given back reads as zeros, durably. */
static int sim_give(struct twz__media *m, uint64_t off, uint64_t len)
{
	ENTER();
	return write_sync(m, NULL, off, len);
}

static void flush_run(const void *addr, uint64_t len, enum sim_ev_type type, uint64_t grain)
{
	uintptr_t at = (uintptr_t)addr & ~(uintptr_t)(grain - 1), end = (uintptr_t)addr + len;

	for (; at < end;) {
		uint64_t n = SIM_PAGE - (at & (SIM_PAGE - 1)), off = sim_tab_off((void *)at);

		n = n < end - at ? n : end - at;
		if (off != UINT64_MAX)
			append_bt(type, off, NULL, n);
		at += n;
	}
}

static void sim_flush(struct twz__media *m, const void *addr, size_t len)
{
	(void)m;
	ENTER();
	kill_point();
	if (!recording() || sim.media != SIM_MEDIA_LINE)
		return;
	sim_settle();
	flush_run(addr, len, EV_FLUSH, SIM_LINE);
}

static void sim_fence(struct twz__media *m)
{
	(void)m;
	ENTER();
	kill_point();
	if (!recording() || sim.media != SIM_MEDIA_LINE)
		return;
	sim_audit();
	append_bt(EV_FENCE, 0, NULL, 0);
}

static int sim_sync_range(struct twz__media *m, void *addr, uint64_t len)
{
	(void)m;
	ENTER();
	kill_point();
	if (!recording())
		return 0;
	sim_audit();
	if (sim.media == SIM_MEDIA_PAGE) {
		flush_run(addr, len, EV_SYNC, SIM_PAGE);
		return 0;
	}
	flush_run(addr, len, EV_FLUSH, SIM_LINE);
	append_bt(EV_FENCE, 0, NULL, 0);
	return 0;
}

static int sim_sync_all(struct twz__media *m)
{
	(void)m;
	ENTER();
	kill_point();
	if (!recording())
		return 0;
	sim_audit();
	append_bt(sim.media == SIM_MEDIA_PAGE ? EV_SYNC_ALL : EV_FENCE, 0, NULL, 0);
	return 0;
}

static int sim_grow(struct twz__media *m, uint64_t len)
{
	uint64_t old;

	ENTER();
	kill_point();
	if (sim_len(m, &old))
		return -errno;
	if (len > SIM_IMAGE_MAX)
		return twz__err(TWZ_E_NOSPC, "%s: the simulated store holds %llu bytes at most",
				m->path, (unsigned long long)SIM_IMAGE_MAX);
	if (len <= old)
		return 0;
	if (recording())
		sim_settle();
	if (ftruncate(m->fd, (off_t)len))
		return -errno;
	sim.len = len;
	if (recording())
		append_bt(EV_GROW, old, NULL, len - old);
	return 0;
}

static int sim_reset(struct twz__media *m)
{
	ENTER();
	kill_point();
	if (recording())
		sim_settle();
	if (ftruncate(m->fd, 0))
		return -errno;
	if (recording())
		memset(sim.shadow, 0, sim.len);
	sim.len = 0;
	if (recording())
		append_bt(EV_RESET, 0, NULL, 0);
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
	if (!rc && recording())
		append(EV_NAMED, 0, NULL, 0);
	return rc;
}

static void sim_copy_nt(struct twz__media *m, void *dst, const void *src, size_t len)
{
	(void)m;
	ENTER();
	if (recording())
		sim_settle();
	kill_point();
	memmove(dst, src, len);
	if (!recording())
		return;
	for (uintptr_t at = (uintptr_t)dst, end = at + len; at < end;) {
		uint64_t n = SIM_PAGE - (at & (SIM_PAGE - 1)), off = sim_tab_off((void *)at);

		n = n < end - at ? n : end - at;
		if (off != UINT64_MAX) {
			memcpy(sim.shadow + off, sim.img + off, n);
			append_bt(sim.media == SIM_MEDIA_LINE ? EV_NTSTORE : EV_STORE, off,
				  sim.img + off, n);
		}
		at += n;
	}
}

static void sim_close(struct twz__media *m)
{
	if (recording())
		sim_audit();
	if (!sim.resident && sim.img != MAP_FAILED)
		munmap(sim.img, SIM_IMAGE_MAX);
	sim.img = MAP_FAILED;
	if (sim.shadow_hi < sim.len)
		sim.shadow_hi = sim.len;
	sim.open = NULL;
	close(m->fd);
	free(m->path);
	free(m);
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
	.give = sim_give,
	.len = sim_len,
	.close = sim_close,
	.flush = sim_flush,
	.fence = sim_fence,
	.copy_nt = sim_copy_nt,
	.publish = sim_publish,
	.reset = sim_reset,
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
	shadow_copy(fd);
	sim.shadow_hi = 0;
	return 0;
}

/*
 * A missing file is made with LEN bytes; an empty one is left to the caller, as by the file back
 * end (D18).
 */
static int open_image(struct twz__media *m, uint64_t len, int *created)
{
	struct stat st;

	sim.img = MAP_FAILED;
	sim_tab_del(NULL, UINT64_MAX); /* the window of the store before was unmapped as a whole */
	if (fstat(m->fd, &st))
		return -errno;
	sim.ino = st.st_ino;
	sim.len = (uint64_t)st.st_size;
	sim.img = resident_at(st.st_dev, st.st_ino);
	sim.resident = sim.img != NULL;
	if (!sim.img)
		sim.img = mmap(NULL, SIM_IMAGE_MAX, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
	if (sim.img == MAP_FAILED || (sim_on && shadow_start(m->fd)))
		return -errno;
	return *created ? sim_grow(m, len) : 0;
}

static int sim_open(void *ctx, const char *path, uint32_t flags, uint64_t len,
		    struct twz__media **out, int *created)
{
	struct twz__media *m = calloc(1, sizeof(*m));
	int rc;

	(void)ctx;
	*out = NULL;
	if (!m)
		return TWZ_E_NOMEM;
	if (sim.open) { /* one per process keeps the address table and the log simple */
		free(m);
		return twz__err(TWZ_E_BUSY, "%s: this process has a simulated store open already",
				path);
	}
	m->ops = &sim_ops;
	m->granularity = sim.media == SIM_MEDIA_LINE ? TWZ_GRAN_CACHE_LINE : TWZ_GRAN_PAGE;
	*created = (flags & TWZ_STORE_CREATE) && access(path, F_OK);
	m->fd = open(path, O_RDWR | O_CLOEXEC | (*created ? O_CREAT : 0), 0600);
	m->path = strdup(path);
	if (m->fd < 0) {
		rc = errno == ENOENT ? TWZ_E_NOENT : -errno;
		free(m->path);
		free(m);
		return twz__err(rc, "%s: cannot open the simulated store", path);
	}
	sim.open = m;
	sim.unnamed = *created;
	if (sim.unnamed && recording())
		append(EV_UNNAMED, 0, NULL, 0);
	rc = open_image(m, len, created);
	if (rc) {
		sim_close(m);
		return rc;
	}
	*out = m;
	return 0;
}

const struct twz__backend sim_backend = {.version = 1, .open = sim_open};

void sim_mode(enum sim_media media, struct sim_log *log)
{
	sim.media = media;
	sim.log = log;
	sim.killing = sim.mortal = sim.paused = false;
	sim.during = NULL;
	sim.owner = pthread_self();
	sim_on = log != NULL;
}
