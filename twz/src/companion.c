/* SPDX-License-Identifier: MIT
 * companion.c -- the companion file: liveness, shared locks, open objects, shared segments
 *
 * Opening protocol. Lock bytes of the store file itself decide who may touch the companion:
 *
 *	opening	  exclusive, held for the duration of an open or close
 *	holders	  shared by everyone who has the store open
 *	private	  shared by readers that are no holders, while they read an image of their own
 *
 * An opener that gets `holders` exclusively is alone: it builds the companion anew, runs restart
 * recovery, then steps down to shared. One that does not, joins the companion it finds; if there is
 * none, or one of another layout, it must refuse, because the others synchronise through something
 * it cannot see. Locks are OFD locks: they belong to the open file description, so two handles in
 * one process are two holders, and the kernel drops them when a process dies however it dies.
 */
#include "companion.h"
#include "stopped.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAP_LEN_MAX                                                                                \
	((uint64_t)16 << 30) /* address space only; the file is as long as what was given out */
#define DEATH_WAIT_MS 10000
#define MAP_LEN_MIN   ((uint64_t)64 << 20)

/* --- robust mutexes --- */

int twz__robust_init(struct comp_mutex *m)
{
	pthread_mutexattr_t attr;
	int rc = pthread_mutexattr_init(&attr);

	if (rc)
		return twz__err(-rc, "cannot make a mutex: %s", strerror(rc));
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
	rc = pthread_mutex_init(&m->m, &attr);
	pthread_mutexattr_destroy(&attr);
	return rc ? twz__err(-rc, "cannot make a shared mutex: %s", strerror(rc)) : 0;
}

int twz__robust_lock(struct comp_mutex *m, bool *died, const char *where, const char *what)
{
	struct twz__waiting w = {0};
	int rc = twz__mutex_lock(&m->m, &w);

	*died = rc == EOWNERDEAD;
	if (rc == EOWNERDEAD)
		rc = pthread_mutex_consistent(&m->m);
	if (rc == ETIMEDOUT)
		return twz__waited_err(&w, where, what);
	return rc ? twz__err(rc == EDEADLK ? TWZ_E_STATE : -rc, "%s: %s: %s", where, what,
			     strerror(rc))
		  : 0;
}

void twz__robust_unlock(struct comp_mutex *m)
{
	pthread_mutex_unlock(&m->m);
}

/* --- the file --- */

static void read_boot_id(uint64_t id[2])
{
	char text[64];
	unsigned char *b = (unsigned char *)id;
	FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
	int n = 0;

	id[0] = id[1] = 0;
	if (!f)
		return;
	if (!fgets(text, sizeof(text), f))
		text[0] = '\0';
	fclose(f);
	for (const char *p = text; *p && n < 32; p++) {
		int v = *p >= '0' && *p <= '9'	 ? *p - '0'
			: *p >= 'a' && *p <= 'f' ? *p - 'a' + 10
						 : -1;

		if (v < 0)
			continue;
		b[n / 2] = (unsigned char)(b[n / 2] << 4 | v);
		n++;
	}
}

static void comp_free(struct twz__companion *c)
{
	if (c->head)
		munmap(c->head, c->map_len);
	if (c->fd >= 0)
		close(c->fd);
	free(c->path);
	free(c);
}

static struct twz__companion *comp_new(struct twz__media *m)
{
	struct twz__companion *c = calloc(1, sizeof(*c));

	if (!c || asprintf(&c->path, "%s-lock", m->path) < 0) {
		twz__err(TWZ_E_NOMEM, "%s: out of memory", m->path);
		free(c);
		return NULL;
	}
	c->fd = -1;
	c->store = m->path;
	return c;
}

static int comp_map(struct twz__companion *c)
{
	int flags = c->fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED;
	int prot = PROT_READ | (c->look ? 0 : PROT_WRITE);
	void *p = MAP_FAILED;

	for (c->map_len = MAP_LEN_MAX; c->map_len >= MAP_LEN_MIN; c->map_len /= 2) {
		p = mmap(NULL, c->map_len, prot, flags, c->fd, 0);
		if (p != MAP_FAILED)
			break;
	}
	if (p == MAP_FAILED)
		return twz__err(TWZ_E_NOMEM,
				"%s: cannot map it: %s: raise the address space limit (ulimit -v)",
				c->path, strerror(errno));
	c->head = p;
	return 0;
}

static int comp_grow(struct twz__companion *c, uint64_t off, uint64_t len)
{
	struct rlimit lim;
	int err;

	if (c->fd < 0)
		return 0;
	if (!getrlimit(RLIMIT_FSIZE, &lim) && lim.rlim_cur != RLIM_INFINITY &&
	    off + len > lim.rlim_cur)
		return twz__err(TWZ_E_NOSPC,
				"%s: the file size limit is too small: raise it (ulimit -f)",
				c->path);
	do
		err = posix_fallocate(c->fd, (off_t)off, (off_t)len);
	while (err == EINTR);
	if (err)
		return twz__err(err == ENOSPC || err == EDQUOT || err == EFBIG ? TWZ_E_NOSPC : -err,
				"%s: cannot allocate %llu bytes: %s: free some space and try again",
				c->path, (unsigned long long)len, strerror(err));
	return 0;
}

static int foreign_file(struct twz__companion *c)
{
	return twz__err(
		TWZ_E_EXIST,
		"%s: is not the lock file of a store, but has its name: move it away and try again",
		c->path);
}

/* Whoever may open the store may join: root's companion must not lock the owner out. */
static int share_file(struct twz__companion *c, const struct stat *store)
{
	struct stat st;

	if (fstat(c->fd, &st))
		return twz__err(-errno, "%s: stat: %s", c->path, strerror(errno));
	if ((geteuid() == 0 && (st.st_uid != store->st_uid || st.st_gid != store->st_gid) &&
	     fchown(c->fd, store->st_uid, store->st_gid)) ||
	    ((st.st_mode ^ store->st_mode) & 0666 && fchmod(c->fd, store->st_mode & 0666)))
		return twz__err(-errno, "%s: cannot give it the store's permissions: %s", c->path,
				strerror(errno));
	return 0;
}

/*
 * Left by a crash; or in use, by those who still have a deleted store open whose name the store
 * now has: then it stays theirs, without a name. Where it cannot lose its name, it is emptied.
 */
static int comp_renew(struct twz__companion *c, mode_t mode)
{
	int fd;

	if (unlink(c->path) && errno != ENOENT)
		return ftruncate(c->fd, 0);
	fd = open(c->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return -1;
	close(c->fd);
	c->fd = fd;
	return 0;
}

/* The name, unless it is another companion's by now. */
static void comp_unlink(struct twz__companion *c)
{
	struct stat a, b;

	if (!fstat(c->fd, &a) && !lstat(c->path, &b) && a.st_dev == b.st_dev &&
	    a.st_ino == b.st_ino)
		unlink(c->path);
}

/*
 * A file of that name which is not ours must not be overwritten; one that was being built begins
 * with zeros.
 */
static int comp_open_file(struct twz__companion *c, struct twz__media *m)
{
	static const char none[8];
	char magic[8] = "";
	struct stat st;
	ssize_t n;

	if (fstat(m->fd, &st))
		return twz__err(-errno, "%s: stat: %s", m->path, strerror(errno));
	c->fd = open(c->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, st.st_mode & 0666);
	if (c->fd < 0)
		return twz__err(errno == ELOOP ? TWZ_E_EXIST : -errno,
				"%s: cannot create it: %s: a store needs it beside itself", c->path,
				strerror(errno));
	n = pread(c->fd, magic, sizeof(magic), 0);
	if (n < 0)
		return twz__err(-errno, "%s: read: %s", c->path, strerror(errno));
	if (n && memcmp(magic, none, sizeof(magic)) && memcmp(magic, COMP_MAGIC, sizeof(magic)))
		return foreign_file(c);
	if (n && comp_renew(c, st.st_mode & 0666))
		return twz__err(-errno, "%s: truncate: %s", c->path, strerror(errno));
	return share_file(c, &st);
}

static int comp_init(struct twz__companion *c, const uint64_t uuid[2])
{
	struct comp_head_pm *h = c->head;
	struct comp_mutex *m[] = {&h->meta, &h->reap, &h->segs, &h->locks, &h->alloc};
	int rc;

	for (size_t i = 0; i < sizeof(m) / sizeof(m[0]); i++)
		if ((rc = twz__robust_init(m[i])))
			return rc;
	h->version = COMP_VERSION;
	memcpy(h->uuid, uuid, sizeof(h->uuid));
	read_boot_id(h->boot_id);
	h->end = COMP_FIXED_LEN;
	memcpy(h->magic, COMP_MAGIC, sizeof(h->magic));
	__atomic_store_n(&h->ready, 1, __ATOMIC_RELEASE);
	return 0;
}

int twz__comp_build(struct twz__media *m, const uint64_t uuid[2], struct twz__companion **out)
{
	struct twz__companion *c = comp_new(m);
	int rc = 0;

	*out = NULL;
	if (!c)
		return TWZ_E_NOMEM;
	if (!twz__is_lonely(m))
		rc = comp_open_file(c, m);
	if (!rc)
		rc = comp_grow(c, 0, COMP_FIXED_LEN);
	if (!rc)
		rc = comp_map(c);
	if (!rc)
		rc = comp_init(c, uuid);
	if (rc) {
		if (c->fd >= 0 && rc != TWZ_E_EXIST)
			comp_unlink(c);
		comp_free(c);
		return rc;
	}
	*out = c;
	return 0;
}

static int busy(struct twz__companion *c, const char *why)
{
	return twz__err(TWZ_E_BUSY,
			"%s: is open in another process, but %s %s: close it there first", c->store,
			c->path, why);
}

static int comp_verify(struct twz__companion *c, const uint64_t uuid[2])
{
	struct comp_head_pm *h = c->head;
	uint64_t boot[2];
	struct stat st;

	if (fstat(c->fd, &st) || (uint64_t)st.st_size < COMP_FIXED_LEN)
		return busy(c, "is not the lock file it uses");
	if (memcmp(h->magic, COMP_MAGIC, sizeof(h->magic)))
		return busy(c, "is not the lock file it uses");
	if (h->version != COMP_VERSION)
		return busy(c, "has the layout of another version of this program");
	read_boot_id(boot);
	if (!__atomic_load_n(&h->ready, __ATOMIC_ACQUIRE) ||
	    memcmp(h->uuid, uuid, sizeof(h->uuid)) || memcmp(h->boot_id, boot, sizeof(boot)))
		return busy(c, "belongs to another store or another time");
	/*
	 * Or its last user is just dying: the kernel drops the lock bytes of the two files one
	 * after the other.
	 */
	if (!twz__comp_live_cnt(c)) {
		busy(c, "is not the lock file it uses");
		return -EAGAIN;
	}
	return 0;
}

static int attach(struct twz__media *m, const uint64_t uuid[2], bool look,
		  struct twz__companion **out)
{
	struct twz__companion *c = comp_new(m);
	int rc;

	*out = NULL;
	if (!c)
		return TWZ_E_NOMEM;
	c->look = look;
	c->fd = open(c->path, (look ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOFOLLOW);
	if (c->fd < 0)
		rc = busy(c, errno == ENOENT ? "is missing" : "cannot be opened");
	else if (!(rc = comp_map(c)))
		rc = comp_verify(c, uuid);
	if (rc) {
		comp_free(c);
		return rc;
	}
	*out = c;
	return 0;
}

int twz__comp_attach(struct twz__media *m, const uint64_t uuid[2], struct twz__companion **out)
{
	return attach(m, uuid, false, out);
}

int twz__comp_watch(struct twz__media *m, const uint64_t uuid[2], struct twz__companion **out)
{
	int rc = attach(m, uuid, true, out);

	if (!rc)
		(*out)->self = TWZ_PROC_MAX; /* no number is its */
	return rc;
}

void twz__comp_drop(struct twz__companion *c)
{
	if (c)
		comp_free(c);
}

void twz__comp_forked(struct twz__companion *c)
{
	/* The description, and with it the parent's locks, stays the parent's. */
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	if (c->head)
		munmap(c->head, c->map_len);
	c->head = NULL;
}

int twz__comp_alloc(struct twz__companion *c, uint64_t len, uint64_t *off)
{
	struct comp_head_pm *h = c->head;
	bool died;
	int rc = twz__robust_lock(&h->alloc, &died, c->path, "its space");

	*off = 0;
	if (rc)
		return rc;
	len = (len + COMP_PAGE - 1) & ~(COMP_PAGE - 1);
	if (len > c->map_len - h->end)
		rc = twz__err(TWZ_E_NOSPC, "%s: no room for %llu more bytes of shared memory",
			      c->path, (unsigned long long)len);
	else
		rc = comp_grow(c, h->end, len);
	if (!rc) {
		*off = h->end;
		/*
		 * Its owner may die before or after this store: nothing or unused zeros are lost.
		 */
		__atomic_store_n(&h->end, h->end + len, __ATOMIC_RELEASE);
	}
	twz__robust_unlock(&h->alloc);
	return rc;
}

/* --- processes --- */

static bool holds_byte(struct twz__companion *c, uint32_t proc)
{
	struct flock fl;

	if (c->fd < 0)
		return false;
	/* Asking fails only for a bad descriptor: then nobody may be declared dead. */
	return twz__ofd(c->fd, F_OFD_GETLK, F_WRLCK, COMP_LOCK_BASE + proc, &fl) ||
	       fl.l_type != F_UNLCK;
}

bool twz__comp_alive(struct twz__companion *c, uint32_t proc, uint64_t incarnation)
{
	if (proc >= TWZ_PROC_MAX || !incarnation)
		return false;
	if (__atomic_load_n(&twz__comp_proc(c, proc)->incarnation, __ATOMIC_ACQUIRE) != incarnation)
		return false;
	return (proc == c->self && incarnation == c->incarnation) || holds_byte(c, proc);
}

static uint64_t incarnation_of(struct twz__companion *c, uint32_t proc)
{
	return __atomic_load_n(&twz__comp_proc(c, proc)->incarnation, __ATOMIC_ACQUIRE);
}

bool twz__comp_next_dead(struct twz__companion *c, uint32_t *proc)
{
	uint32_t end = __atomic_load_n(&c->head->proc_end, __ATOMIC_ACQUIRE);

	for (uint32_t i = *proc + 1; i < end && i < TWZ_PROC_MAX; i++) {
		uint64_t inc = incarnation_of(c, i);

		if (inc && !twz__comp_alive(c, i, inc) && incarnation_of(c, i) == inc) {
			*proc = i;
			return true;
		}
	}
	return false;
}

uint32_t twz__comp_live_cnt(struct twz__companion *c)
{
	uint32_t cnt = 0;

	for (uint32_t i = 0; i < TWZ_PROC_MAX; i++) {
		uint64_t inc = incarnation_of(c, i);

		cnt += inc && twz__comp_alive(c, i, inc);
	}
	return cnt;
}

static void clear_opens(struct twz__companion *c, uint32_t proc)
{
	struct comp_proc_pm *p = twz__comp_proc(c, proc);

	for (uint32_t i = 0; i < p->open_page_cnt && i < COMP_OPEN_PAGES; i++)
		memset(twz__comp_at(c, p->open_page[i] * COMP_PAGE), 0, COMP_PAGE);
}

void twz__comp_bury(struct twz__companion *c, uint32_t proc)
{
	clear_opens(c, proc);
	__atomic_store_n(&twz__comp_proc(c, proc)->incarnation, 0, __ATOMIC_RELEASE);
}

static int try_number(struct twz__companion *c, uint32_t proc)
{
	struct flock fl;

	if (incarnation_of(c, proc))
		return -EAGAIN;
	return c->fd < 0 ? 0 : twz__ofd(c->fd, F_OFD_SETLK, F_WRLCK, COMP_LOCK_BASE + proc, &fl);
}

int twz__comp_join(struct twz__companion *c)
{
	struct comp_proc_pm *p;

	for (uint32_t i = 0; i < TWZ_PROC_MAX; i++) {
		int rc = try_number(c, i);

		if (rc == -EAGAIN || rc == -EACCES)
			continue;
		if (rc)
			return twz__lock_failed(c->path, rc);
		p = twz__comp_proc(c, i);
		c->self = i;
		c->incarnation = __atomic_add_fetch(&c->head->incarnation, 1, __ATOMIC_ACQ_REL);
		p->pid = (uint32_t)getpid();
		if (c->head->proc_end <= i) /* joining is serialised by the opening lock */
			__atomic_store_n(&c->head->proc_end, i + 1, __ATOMIC_RELEASE);
		clear_opens(c, i);
		__atomic_store_n(&p->incarnation, c->incarnation, __ATOMIC_RELEASE);
		return 0;
	}
	return twz__err(TWZ_E_BUSY,
			"%s: is open in %d processes already, no more are possible: close some",
			c->store, TWZ_PROC_MAX);
}

void twz__comp_close(struct twz__companion *c, bool remove)
{
	if (!c)
		return;
	if (c->incarnation)
		twz__comp_bury(c, c->self);
	if (remove && c->fd >= 0)
		comp_unlink(c);
	comp_free(c);
}

void twz__comp_await_death(struct twz__companion *c, uint32_t proc, uint64_t incarnation)
{
	const struct timespec ms = {0, 1000000};

	if (proc == c->self && incarnation == c->incarnation)
		return;
	for (int i = 0; i < DEATH_WAIT_MS && twz__comp_alive(c, proc, incarnation); i++)
		nanosleep(&ms, NULL);
}

/* --- open objects --- */

static struct comp_open_pm *open_entry(struct twz__companion *c, uint32_t proc, uint32_t idx)
{
	struct comp_proc_pm *p = twz__comp_proc(c, proc);
	struct comp_open_pm *page =
		twz__comp_at(c, p->open_page[idx / COMP_OPENS_PER_PAGE] * COMP_PAGE);

	return page + idx % COMP_OPENS_PER_PAGE;
}

static uint32_t open_room(struct twz__companion *c, uint32_t proc)
{
	return __atomic_load_n(&twz__comp_proc(c, proc)->open_page_cnt, __ATOMIC_ACQUIRE) *
	       COMP_OPENS_PER_PAGE;
}

static int open_more(struct twz__companion *c)
{
	struct comp_proc_pm *p = twz__comp_proc(c, c->self);
	uint64_t off;
	int rc;

	if (p->open_page_cnt == COMP_OPEN_PAGES)
		return twz__err(
			TWZ_E_MAPS,
			"%s: %u objects are open in this process, no more are possible: close some",
			c->store, COMP_OPEN_PAGES * COMP_OPENS_PER_PAGE);
	rc = twz__comp_alloc(c, COMP_PAGE, &off);
	if (rc)
		return rc;
	p->open_page[p->open_page_cnt] = (uint32_t)(off / COMP_PAGE);
	__atomic_store_n(&p->open_page_cnt, p->open_page_cnt + 1, __ATOMIC_RELEASE);
	return 0;
}

int twz__comp_open_add(struct twz__companion *c, twz_oid id, uint32_t *idx)
{
	uint32_t room, i, n;
	struct comp_open_pm *e;
	int rc;

	if (c->look)
		return 0;
	room = open_room(c, c->self);

	for (n = 0, i = c->open_hint < room ? c->open_hint : 0; n < room;
	     n++, i = i + 1 < room ? i + 1 : 0)
		if (!open_entry(c, c->self, i)->used)
			break;
	if (n == room) {
		rc = open_more(c);
		if (rc)
			return rc;
		i = room;
	}
	e = open_entry(c, c->self, i);
	memcpy(e->id, id.w, sizeof(e->id));
	e->lock = 0;
	__atomic_store_n(&e->used, 1, __ATOMIC_RELEASE);
	c->open_hint = i + 1;
	*idx = i;
	return 0;
}

void twz__comp_open_del(struct twz__companion *c, uint32_t idx)
{
	struct comp_open_pm *e;

	if (c->look)
		return;
	e = open_entry(c, c->self, idx);
	__atomic_store_n(&e->used, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&e->lock, 0, __ATOMIC_RELEASE);
	if (idx < c->open_hint)
		c->open_hint = idx;
}

static bool proc_has_open(struct twz__companion *c, uint32_t proc, twz_oid id)
{
	uint32_t room = open_room(c, proc);

	for (uint32_t i = 0; i < room; i++) {
		struct comp_open_pm *e = open_entry(c, proc, i);

		if (__atomic_load_n(&e->used, __ATOMIC_ACQUIRE) &&
		    !memcmp(e->id, id.w, sizeof(e->id)))
			return true;
	}
	return false;
}

bool twz__comp_is_open(struct twz__companion *c, twz_oid id, bool except_self)
{
	for (uint32_t i = 0; i < TWZ_PROC_MAX; i++) {
		uint64_t inc = incarnation_of(c, i);

		if (!inc || (except_self && i == c->self))
			continue;
		if (proc_has_open(c, i, id) && twz__comp_alive(c, i, inc))
			return true;
	}
	return false;
}

/* --- object locks --- */

static struct comp_lock_pm *lock_entry(struct twz__companion *c, uint32_t idx)
{
	struct comp_lock_pm *page =
		twz__comp_at(c, c->head->lock_page[idx / COMP_LOCKS_PER_PAGE] * COMP_PAGE);

	return page + idx % COMP_LOCKS_PER_PAGE;
}

static int lock_append(struct twz__companion *c, uint32_t *idx)
{
	struct comp_head_pm *h = c->head;
	uint32_t i = h->lock_cnt;
	uint64_t off;
	int rc;

	if (i == COMP_LOCK_PAGES * COMP_LOCKS_PER_PAGE)
		return twz__err(
			TWZ_E_NOSPC,
			"%s: %u objects have locks in use, no more are possible: close some",
			c->store, i);
	if (!h->lock_page[i / COMP_LOCKS_PER_PAGE]) {
		rc = twz__comp_alloc(c, COMP_PAGE, &off);
		if (rc)
			return rc;
		h->lock_page[i / COMP_LOCKS_PER_PAGE] = (uint32_t)(off / COMP_PAGE);
	}
	rc = twz__robust_init(&lock_entry(c, i)->mutex);
	if (rc)
		return rc;
	h->lock_cnt = i + 1;
	*idx = i;
	return 0;
}

static bool lock_in_use(struct twz__companion *c, uint32_t idx)
{
	for (uint32_t p = 0; p < TWZ_PROC_MAX; p++) {
		uint32_t room = incarnation_of(c, p) ? open_room(c, p) : 0;

		for (uint32_t i = 0; i < room; i++)
			if (__atomic_load_n(&open_entry(c, p, i)->lock, __ATOMIC_ACQUIRE) ==
			    idx + 1)
				return true;
	}
	return false;
}

/* An entry nobody refers to is nobody's: a lock is found through an open object only. */
static bool lock_reuse(struct twz__companion *c, uint32_t *idx)
{
	for (uint32_t i = 0; i < c->head->lock_cnt; i++) {
		if (lock_in_use(c, i))
			continue;
		*idx = i;
		return true;
	}
	return false;
}

static int lock_find(struct twz__companion *c, const uint64_t id[2], uint32_t *idx)
{
	uint32_t cnt = c->head->lock_cnt;

	for (uint32_t i = 0; i < cnt; i++)
		if (!memcmp(lock_entry(c, i)->id, id, 16)) {
			*idx = i;
			return 0;
		}
	/* Looking for one to reuse is slow: only when a page is full. */
	if ((cnt % COMP_LOCKS_PER_PAGE || !lock_reuse(c, idx)) && lock_append(c, idx))
		return TWZ_E_NOSPC;
	memcpy(lock_entry(c, *idx)->id, id, 16);
	return 0;
}

int twz__comp_obj_lock(struct twz__companion *c, uint32_t open_idx, struct comp_lock_pm **out)
{
	struct comp_open_pm *e = open_entry(c, c->self, open_idx);
	uint32_t idx = 0;
	bool died;
	int rc;

	*out = NULL;
	rc = twz__robust_lock(&c->head->locks, &died, c->path, "the table of locks");
	if (rc)
		return rc;
	if (e->lock)
		idx = e->lock - 1;
	else
		rc = lock_find(c, e->id, &idx);
	if (!rc) {
		__atomic_store_n(&e->lock, idx + 1, __ATOMIC_RELEASE);
		*out = lock_entry(c, idx);
	}
	twz__robust_unlock(&c->head->locks);
	return rc;
}
