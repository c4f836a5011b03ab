/* SPDX-License-Identifier: MIT
 * backend_private.c -- an image of one handle's own, to read a store that nobody has open
 *
 * A read-only open changes nothing, but what a crash left can be read only after recovery. So recovery runs as ever, on
 * private pages of the file: what it stores stays here.
 *
 * One page of the image may be mapped several times: in the core's window, in an object's slot, and in `base`, which has all
 * of it. Private mappings do not share what is stored in one of them, so stores travel here. Every durable store passes
 * through flush, copy_nt, write_sync, sync_range or zero (this calls itself cache-line media, whatever the file lies on, so
 * that nobody leaves one out), and each of these copies the bytes to all other mappings of them; a mapping made later begins
 * with the pages of `base` that differ from the file.
 *
 * Pages nobody stored to are the file's, and must not change: twz__private_hold().
 */
#include "companion.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

struct view {
	char *addr;
	uint64_t off, len;
};

struct private_media {
	struct twz__media m;
	struct twz__media *under; /* its descriptor is ours now */
	char *base;
	uint64_t len;
	uint64_t *differ; /* bitmap of pages of base that are not the file's */
	bool copied;	  /* there is no file to map: base is a copy, and so is every mapping */
	struct view *views;
	size_t cnt, cap;
	unsigned holds;
	struct twz_super_pm super[2]; /* as they were when we looked */
	pthread_mutex_t mutex;
};

static struct private_media *pm(struct twz__media *m)
{
	return (struct private_media *)m;
}

/* --- mappings --- */

static bool differs(const struct private_media *p, uint64_t page)
{
	return p->copied || p->differ[page / 64] >> page % 64 & 1;
}

/* Room for CNT mappings more. Forgetting a part of one may leave two. */
static int reserve(struct private_media *p, size_t cnt)
{
	size_t cap = 2 * p->cap + cnt;
	struct view *v;

	if (p->cnt + cnt <= p->cap)
		return 0;
	v = realloc(p->views, cap * sizeof(*v));
	if (!v)
		return twz__err(TWZ_E_NOMEM, "%s: out of memory", p->m.path);
	p->views = v;
	p->cap = cap;
	return 0;
}

static void forget(struct private_media *p, const char *addr, uint64_t len)
{
	for (size_t i = 0; i < p->cnt;) {
		struct view *v = &p->views[i];
		struct view tail = {(char *)(uintptr_t)addr + len, 0, 0};

		if (v->addr >= addr + len || v->addr + v->len <= addr) {
			i++;
			continue;
		}
		if (v->addr + v->len > tail.addr) {
			tail.len = (uint64_t)(v->addr + v->len - tail.addr);
			tail.off = v->off + (uint64_t)(tail.addr - v->addr);
		}
		if (v->addr < addr) {
			v->len = (uint64_t)(addr - v->addr);
			i++;
		} else {
			*v = p->views[--p->cnt];
		}
		if (tail.len)
			p->views[p->cnt++] = tail; /* there is room: reserve() */
	}
}

/* Bytes [off, off + len) of base are new: to all mappings but the one at FROM. */
static void spread(struct private_media *p, uint64_t off, uint64_t len, const char *from)
{
	for (uint64_t page = off / TWZ_PAGE_SIZE; page * TWZ_PAGE_SIZE < off + len; page++)
		p->differ[page / 64] |= (uint64_t)1 << page % 64;
	for (size_t i = 0; i < p->cnt; i++) {
		struct view *v = &p->views[i];
		uint64_t lo = v->off > off ? v->off : off, hi = v->off + v->len;

		hi = hi < off + len ? hi : off + len;
		if (lo < hi && (uintptr_t)v->addr - v->off != (uintptr_t)from - off)
			memcpy(v->addr + (lo - v->off), p->base + lo, hi - lo);
	}
}

/* Stored through a mapping: to base and all others. What no mapping shows is the stack's or the heap's. */
static void stored(struct private_media *p, const char *addr, uint64_t len)
{
	pthread_mutex_lock(&p->mutex);
	for (size_t i = 0; i < p->cnt && len; i++) {
		struct view *v = &p->views[i];
		uint64_t n, off;

		if (addr < v->addr || addr >= v->addr + v->len)
			continue;
		off = v->off + (uint64_t)(addr - v->addr);
		n = v->len - (off - v->off);
		n = n < len ? n : len;
		memcpy(p->base + off, addr, n);
		spread(p, off, n, addr);
		addr += n;
		len -= n;
		i = (size_t)-1; /* the rest may be another mapping's */
	}
	pthread_mutex_unlock(&p->mutex);
}

static int private_unmap(struct twz__media *m, void *addr, uint64_t len, int apart)
{
	struct private_media *p = pm(m);
	int rc;

	pthread_mutex_lock(&p->mutex);
	rc = reserve(p, 1);
	if (!rc)
		forget(p, addr, len);
	pthread_mutex_unlock(&p->mutex);
	return rc ? rc : p->under->ops->unmap(p->under, addr, len, apart);
}

static int show(struct private_media *p, char *addr, uint64_t off, uint64_t len)
{
	int flags = MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE | (p->copied ? MAP_ANONYMOUS : 0);

	if (mmap(addr, len, PROT_READ | PROT_WRITE, flags, p->copied ? -1 : p->m.fd,
		 p->copied ? 0 : (off_t)off) == MAP_FAILED)
		return twz__err(errno == ENOMEM ? TWZ_E_MAPS : -errno,
				"%s: cannot map %llu bytes: %s", p->m.path, (unsigned long long)len,
				strerror(errno));
	for (uint64_t at = 0; at < len; at += TWZ_PAGE_SIZE)
		if (differs(p, (off + at) / TWZ_PAGE_SIZE))
			memcpy(addr + at, p->base + off + at,
			       len - at < TWZ_PAGE_SIZE ? len - at : TWZ_PAGE_SIZE);
	return 0;
}

static int bounds(struct private_media *p, uint64_t off, uint64_t len)
{
	if (off <= p->len && len <= p->len - off)
		return 0;
	return twz__err(TWZ_E_TRUNCATED, "%s: ends before offset %llu: restore it from a backup",
			p->m.path, (unsigned long long)(off + len));
}

/* All is writable: recovery has to store, and what a reader stores by mistake harms nobody. */
static int private_map(struct twz__media *m, void *addr, uint64_t off, uint64_t len, int writable)
{
	struct private_media *p = pm(m);
	int rc = bounds(p, off, len);

	(void)writable;
	if (rc)
		return rc;
	pthread_mutex_lock(&p->mutex);
	rc = reserve(p, 2);
	if (!rc) {
		forget(p, addr, len);
		rc = show(p, addr, off, len);
	}
	if (!rc)
		p->views[p->cnt++] = (struct view){addr, off, len};
	pthread_mutex_unlock(&p->mutex);
	return rc;
}

/* --- bytes --- */

static int private_read(struct twz__media *m, void *buf, uint64_t off, uint64_t len)
{
	int rc = bounds(pm(m), off, len);

	if (!rc)
		memcpy(buf, pm(m)->base + off, len);
	return rc;
}

static int private_write(struct twz__media *m, const void *buf, uint64_t off, uint64_t len)
{
	struct private_media *p = pm(m);
	int rc = bounds(p, off, len);

	if (rc)
		return rc;
	pthread_mutex_lock(&p->mutex);
	memcpy(p->base + off, buf, len);
	spread(p, off, len, NULL);
	pthread_mutex_unlock(&p->mutex);
	return 0;
}

static int private_zero(struct twz__media *m, uint64_t off, uint64_t len)
{
	struct private_media *p = pm(m);
	int rc = bounds(p, off, len);

	if (rc)
		return rc;
	pthread_mutex_lock(&p->mutex);
	memset(p->base + off, 0, len);
	spread(p, off, len, NULL);
	pthread_mutex_unlock(&p->mutex);
	return 0;
}

static int private_sync_range(struct twz__media *m, void *addr, uint64_t len)
{
	stored(pm(m), addr, len);
	return 0;
}

static int private_sync_all(struct twz__media *m)
{
	(void)m;
	return 0;
}

static int private_grow(struct twz__media *m, uint64_t len)
{
	return len <= pm(m)->len
		       ? 0
		       : twz__err(TWZ_E_READONLY, "%s: is open for reading only", m->path);
}

static int private_len(struct twz__media *m, uint64_t *len)
{
	*len = pm(m)->len;
	return 0;
}

static void private_flush(struct twz__media *m, const void *addr, size_t len)
{
	stored(pm(m), addr, len);
}

static void private_fence(struct twz__media *m)
{
	(void)m;
}

static void private_copy_nt(struct twz__media *m, void *dst, const void *src, size_t len)
{
	memcpy(dst, src, len);
	stored(pm(m), dst, len);
}

/* --- the file beneath --- */

static int read_supers(struct private_media *p, struct twz_super_pm super[2])
{
	for (int i = 0; i < 2; i++) {
		ssize_t n = pread(p->m.fd, &super[i], sizeof(super[i]),
				  (off_t)(i ? TWZC_SUPER_B_PAGE : TWZC_SUPER_A_PAGE) *
					  (off_t)TWZ_PAGE_SIZE);

		if (n < 0)
			return twz__err(-errno, "%s: read: %s", p->m.path, strerror(errno));
		if ((size_t)n < sizeof(super[i]))
			return twz__err(TWZ_E_STALE, "%s: became shorter: open it again",
					p->m.path);
	}
	return 0;
}

/*
 * Every opening for writing holds `holders`, waits for us, and raises the generation in a superblock before it stores
 * anything else. So if nobody holds it, and the superblocks are as they were, nothing has changed; and nothing will before
 * we let go.
 */
static int is_unchanged(struct private_media *p)
{
	struct twz_super_pm now[2];
	bool any;
	int rc = twz__holders_any(&p->m, &any);

	if (rc)
		return rc;
	if (!any) {
		rc = read_supers(p, now);
		if (rc || !memcmp(now, p->super, sizeof(now)))
			return rc;
	}
	return twz__err(TWZ_E_STALE,
			"%s: was opened for writing since it was opened to be read: open it again",
			p->m.path);
}

static int hold(struct private_media *p)
{
	int rc = twz__privates_share(&p->m);

	if (rc == -EAGAIN)
		return twz__err(TWZ_E_STALE, "%s: is being opened for writing: open it again",
				p->m.path);
	if (rc)
		return rc;
	rc = is_unchanged(p);
	if (rc)
		twz__privates_drop(&p->m);
	return rc;
}

int twz__private_hold(struct twz__media *m)
{
	struct private_media *p = pm(m);
	int rc = 0;

	if (!m->alone || m->fd < 0)
		return 0;
	pthread_mutex_lock(&p->mutex);
	if (!p->holds)
		rc = hold(p);
	if (!rc)
		p->holds++;
	pthread_mutex_unlock(&p->mutex);
	return rc;
}

void twz__private_let(struct twz__media *m)
{
	struct private_media *p = pm(m);

	if (!m->alone || m->fd < 0)
		return;
	pthread_mutex_lock(&p->mutex);
	if (p->holds && !--p->holds)
		twz__privates_drop(m);
	pthread_mutex_unlock(&p->mutex);
}

/* --- open, close --- */

static void private_free(struct private_media *p)
{
	if (p->base && p->base != MAP_FAILED)
		munmap(p->base, p->len);
	pthread_mutex_destroy(&p->mutex);
	free(p->differ);
	free(p->views);
	free(p->m.path);
	free(p);
}

static void private_close(struct twz__media *m)
{
	struct private_media *p = pm(m);

	if (m->fd >= 0)
		close(m->fd);
	p->under->ops->close(p->under);
	private_free(p);
}

static void private_forked(struct twz__media *m)
{
	struct private_media *p = pm(m);

	if (p->under->ops->forked)
		p->under->ops->forked(p->under);
	if (m->fd >= 0)
		close(m->fd);
	m->fd = -1;
}

static const struct twz__media_ops private_ops = {
	.version = 1,
	.map = private_map,
	.unmap = private_unmap,
	.read = private_read,
	.write_sync = private_write,
	.sync_range = private_sync_range,
	.sync_all = private_sync_all,
	.grow = private_grow,
	.zero = private_zero,
	.len = private_len,
	.close = private_close,
	.flush = private_flush,
	.fence = private_fence,
	.copy_nt = private_copy_nt,
	.forked = private_forked,
};

/* The whole file, or a copy of what is no file. */
static int base_map(struct private_media *p)
{
	int flags = MAP_PRIVATE | MAP_NORESERVE | (p->copied ? MAP_ANONYMOUS : 0);

	p->base = mmap(NULL, p->len, PROT_READ | PROT_WRITE, flags, p->copied ? -1 : p->m.fd, 0);
	if (p->base == MAP_FAILED)
		return twz__err(-errno, "%s: cannot map %llu bytes: %s", p->m.path,
				(unsigned long long)p->len, strerror(errno));
	return p->copied ? p->under->ops->read(p->under, p->base, 0, p->len)
			 : read_supers(p, p->super);
}

static int private_init(struct private_media *p)
{
	int rc = p->under->ops->len(p->under, &p->len);

	if (rc)
		return rc;
	p->len &= ~(TWZ_PAGE_SIZE - 1);
	if (!p->len)
		return twz__err(TWZ_E_NOTSTORE, "%s: is empty, or too short for a twz store",
				p->m.path);
	p->differ = calloc(p->len / TWZ_PAGE_SIZE / 64 + 1, sizeof(*p->differ));
	return p->differ ? base_map(p) : twz__err(TWZ_E_NOMEM, "%s: out of memory", p->m.path);
}

int twz__private_media(struct twz__media *under, struct twz__media **out)
{
	struct private_media *p = calloc(1, sizeof(*p));
	int rc;

	*out = NULL;
	if (!p || !(p->m.path = strdup(under->path))) {
		free(p);
		return twz__err(TWZ_E_NOMEM, "%s: out of memory", under->path);
	}
	pthread_mutex_init(&p->mutex, NULL);
	p->under = under;
	p->copied = under->fd < 0;
	p->m.ops = &private_ops;
	p->m.granularity = TWZ_GRAN_CACHE_LINE;
	p->m.fd = under->fd;
	p->m.no_write = under->no_write;
	p->m.alone = 1;
	rc = private_init(p);
	if (!rc)
		rc = twz__private_hold(&p->m);
	if (rc) {
		private_free(p);
		return rc;
	}
	under->fd = -1;
	*out = &p->m;
	return 0;
}
