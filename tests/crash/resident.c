/* SPDX-License-Identifier: MIT
 * resident.c -- see resident.h
 */
#include "resident.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sim.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#define FILE_MAX_CNT 8
#define RANGE_MAX    512
#define ROOM_MAX     4
#define ROOM_MIN     ((size_t)1 << 30)
#define SLOT_LEN     ((uintptr_t)1 << 30)

struct file {
	int fd;
	dev_t dev;
	ino_t ino;
	uint64_t len;
	uint8_t *map;
};

/* Address space set aside: the window of a store. */
struct room {
	char *addr;
	size_t len;
	bool used;
};

static bool keeping;
static struct file file[FILE_MAX_CNT];
static int file_cnt;
static struct resident_range range[RANGE_MAX];
static unsigned int range_cnt;
static struct room room[ROOM_MAX];
static unsigned int room_cnt;

void *__real_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off);
int __real_munmap(void *addr, size_t len);

/* --- images --- */

int resident_file(const char *path)
{
	struct file *f = &file[file_cnt];
	struct stat st;

	if (file_cnt == FILE_MAX_CNT)
		return -1;
	f->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (f->fd < 0 || fstat(f->fd, &st))
		return -1;
	for (int i = 0; i < file_cnt; i++)
		if (file[i].ino == st.st_ino && file[i].dev == st.st_dev) {
			close(f->fd);
			return i;
		}
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	f->map = __real_mmap(NULL, SIM_IMAGE_MAX, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);
	return f->map == MAP_FAILED ? -1 : file_cnt++;
}

uint8_t *resident_at(dev_t dev, ino_t ino)
{
	for (int i = 0; i < file_cnt; i++)
		if (file[i].ino == ino && file[i].dev == dev)
			return file[i].map;
	return NULL;
}

static bool put_page(uint8_t *page, const uint8_t *bytes, uint64_t len)
{
	if (memcmp(page, bytes, len))
		memcpy(page, bytes, len);
	return true;
}

static bool same_page(uint8_t *page, const uint8_t *bytes, uint64_t len)
{
	return !memcmp(page, bytes, len);
}

typedef bool (*page_fn)(uint8_t *page, const uint8_t *bytes, uint64_t len);

static bool each_page(uint8_t *map, const uint8_t *bytes, uint64_t from, uint64_t to, page_fn fn)
{
	bool ok = true;

	for (uint64_t n; ok && from < to; from += n) {
		n = to - from < SIM_PAGE ? to - from : SIM_PAGE;
		ok = fn(map + from, bytes + from, n);
	}
	return ok;
}

/* FN for all pages where the file, or BYTES, may have something. */
static bool each(const struct file *f, const uint8_t *bytes, uint64_t len,
		 const struct image_pages *pages, page_fn fn)
{
	uint64_t from = 0, to;
	bool ok = true;

	if (len <= SIM_IMAGE_SMALL)
		return each_page(f->map, bytes, 0, len, fn);
	while (ok && image_data(f->fd, len, &from, &to)) {
		ok = each_page(f->map, bytes, from, to, fn);
		from = to;
	}
	for (uint32_t i = 0; ok && i < pages->cnt; i++) {
		from = (uint64_t)pages->no[i] * SIM_PAGE;
		to = from + SIM_PAGE < len ? from + SIM_PAGE : len;
		ok = each_page(f->map, bytes, from, to, fn);
	}
	return ok;
}

int resident_put(int no, const uint8_t *bytes, uint64_t len, const struct image_pages *pages)
{
	struct file *f = &file[no];
	struct stat st;

	if (fstat(f->fd, &st) || ((uint64_t)st.st_size != len && ftruncate(f->fd, (off_t)len)))
		return -1;
	each(f, bytes, len, pages, put_page);
	return 0;
}

bool resident_same(int no, const uint8_t *bytes, uint64_t len, const struct image_pages *pages)
{
	struct stat st;

	return !fstat(file[no].fd, &st) && (uint64_t)st.st_size == len &&
	       each(&file[no], bytes, len, pages, same_page);
}

/* --- mappings --- */

static int nothing_at(uintptr_t addr, uint64_t len)
{
	return __real_mmap((void *)addr, len, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
			   0) == MAP_FAILED
		       ? -1
		       : 0;
}

static void forget(unsigned int i)
{
	if (nothing_at(range[i].addr, range[i].len))
		_exit(95);
	range[i] = range[--range_cnt];
}

static bool overlap(const struct resident_range *r, uintptr_t lo, uintptr_t hi)
{
	return r->addr < hi && lo < r->addr + r->len;
}

static void note(const struct resident_range *r)
{
	if (range_cnt == RANGE_MAX)
		resident_strict(true); /* not all is known any more */
	if (keeping)
		range[range_cnt++] = *r;
}

static bool is_there(const struct resident_range *o, const struct resident_range *r)
{
	return o->left && o->addr == r->addr && o->len == r->len && o->off == r->off &&
	       o->ino == r->ino && o->writable >= r->writable;
}

/* Left over, and would show more of the slot than is mapped now: objects are mapped from below. */
static bool is_below(const struct resident_range *o, const struct resident_range *r)
{
	return o->left && o->addr < r->addr && o->addr / SLOT_LEN == r->addr / SLOT_LEN;
}

static bool is_within(const struct resident_range *o, const struct resident_range *r)
{
	return o->addr >= r->addr && o->addr + o->len <= r->addr + r->len;
}

int resident_map(const struct resident_range *r, int fd)
{
	bool there = false;

	for (unsigned int i = 0; keeping && i < range_cnt;) {
		if (is_there(&range[i], r)) {
			range[i++].left = false;
			there = true;
		} else if (is_within(&range[i], r)) {
			range[i] = range[--range_cnt]; /* what is mapped now replaces it */
		} else if (is_below(&range[i], r) ||
			   overlap(&range[i], r->addr, r->addr + r->len)) {
			forget(i);
		} else {
			i++;
		}
	}
	if (there)
		return 0;
	/* A lock of the file belongs to the descriptor, and lives as long as a mapping made with it. */
	for (int i = 0; i < file_cnt; i++)
		if (file[i].ino == r->ino)
			fd = file[i].fd;
	if (__real_mmap((void *)r->addr, r->len, PROT_READ | (r->writable ? PROT_WRITE : 0),
			MAP_SHARED | MAP_FIXED, fd, (off_t)r->off) == MAP_FAILED)
		return -1;
	note(r);
	return 0;
}

/* May all that is mapped there be left? */
static bool may_stay(uintptr_t lo, uintptr_t hi)
{
	for (unsigned int i = 0; i < range_cnt; i++)
		if (overlap(&range[i], lo, hi) &&
		    (range[i].foreign || range[i].addr < lo || range[i].addr + range[i].len > hi))
			return false;
	return keeping;
}

static bool leave(uintptr_t lo, uintptr_t hi)
{
	bool stays = may_stay(lo, hi);

	for (unsigned int i = 0; i < range_cnt;) {
		if (!overlap(&range[i], lo, hi))
			i++;
		else if (stays)
			range[i++].left = true;
		else
			forget(i);
	}
	return stays;
}

int resident_unmap(void *addr, uint64_t len)
{
	uintptr_t lo = (uintptr_t)addr;

	return leave(lo, lo + len) ? 0 : nothing_at(lo, len);
}

/* Somebody maps something else there. */
static void replaced(uintptr_t addr, uint64_t len, int prot)
{
	for (unsigned int i = 0; i < range_cnt;) {
		if (overlap(&range[i], addr, addr + len))
			forget(i);
		else
			i++;
	}
	if (prot != PROT_NONE)
		note(&(struct resident_range){.addr = addr, .len = len, .foreign = true});
}

static void drop_all(void)
{
	for (unsigned int i = 0; i < range_cnt;) {
		if (range[i].left) {
			forget(i);
		} else {
			i++;
		}
	}
	for (unsigned int i = 0; i < room_cnt;) {
		if (!room[i].used) {
			__real_munmap(room[i].addr, room[i].len);
			room[i] = room[--room_cnt];
		} else {
			i++;
		}
	}
}

void resident_strict(bool on)
{
	keeping = !on;
	if (on)
		drop_all();
}

/* --- address space: reached through the linker's --wrap --- */

static void *room_take(size_t len)
{
	for (unsigned int i = 0; i < room_cnt; i++)
		if (!room[i].used && room[i].len == len) {
			room[i].used = true;
			return room[i].addr;
		}
	return NULL;
}

void *__wrap_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off);
void *__wrap_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	bool is_room = keeping && !addr && prot == PROT_NONE && len >= ROOM_MIN && fd < 0;
	void *p = is_room ? room_take(len) : NULL;

	if (p)
		return p;
	if (keeping && flags & MAP_FIXED)
		replaced((uintptr_t)addr, len, prot);
	p = __real_mmap(addr, len, prot, flags, fd, off);
	if (is_room && p != MAP_FAILED && room_cnt < ROOM_MAX)
		room[room_cnt++] = (struct room){p, len, true};
	return p;
}

int __wrap_munmap(void *addr, size_t len);
int __wrap_munmap(void *addr, size_t len)
{
	for (unsigned int i = 0; i < room_cnt; i++) {
		if (room[i].addr != addr || room[i].len != len)
			continue;
		if (leave((uintptr_t)addr, (uintptr_t)addr + len)) {
			room[i].used = false;
			return 0;
		}
		room[i] = room[--room_cnt];
		break;
	}
	for (unsigned int i = 0; i < range_cnt;) {
		if (overlap(&range[i], (uintptr_t)addr, (uintptr_t)addr + len))
			forget(i);
		else
			i++;
	}
	return __real_munmap(addr, len);
}
