/* SPDX-License-Identifier: MIT
 * view.c -- the process's address space for objects: one reservation of 1 GiB slots (paper 3.1,
 * 3.2)
 *
 * Reserved once and never moved. A slot's address range is given to one open object; whatever of it
 * is not mapped (null page, gaps, everything of an empty slot) stays inaccessible. Readers look
 * slots up without a lock: ptr.c and obj.c publish a slot's fields with release stores, `end` last,
 * and clear `end` first.
 */
#include "guard.h"
#include "view.h"

#include <libpmem2.h>
#include <sys/mman.h>

#define SLOT_CNT_MAX  8192u
#define SLOT_CNT_MIN  4u
#define WINDOW_LEN    ((uint64_t)256 << 30) /* address space; hundreds of open stores must fit */
#define WINDOW_GROWTH 8			    /* times its present length, for larger images */

struct twz_view_rt twz_view_rt;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t view_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct pmem2_vm_reservation *reservation;
static uint64_t taken[SLOT_CNT_MAX / 64]; /* bitmap of slots in use */

/* One slot more than wanted, so that an aligned run fits wherever the reservation falls. */
static bool reserve(uint64_t slot_cnt)
{
	uintptr_t addr;

	if (pmem2_vm_reservation_new(&reservation, NULL, (slot_cnt + 1) * TWZ_SLOT_SIZE))
		return false;
	addr = (uintptr_t)pmem2_vm_reservation_get_address(reservation);
	twz_view_rt.base = (addr + TWZ_SLOT_MASK) & ~(uintptr_t)TWZ_SLOT_MASK;
	twz_view_rt.slot_cnt = slot_cnt;
	return true;
}

static void view_init(void)
{
	uint64_t cnt = SLOT_CNT_MAX;
	void *slots;

	/* Address space is short under TSan (1 TiB), valgrind (32 GiB) and ulimit -v. */
	while (cnt >= SLOT_CNT_MIN && !reserve(cnt))
		cnt /= 2;
	if (cnt < SLOT_CNT_MIN)
		return;
	slots = mmap(NULL, cnt * sizeof(struct twz_slot), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (slots == MAP_FAILED)
		twz_view_rt.slot_cnt = 0;
	else
		twz_view_rt.slots = slots;
	twz__guard_init();
}

int twz__view_init(void)
{
	pthread_once(&once, view_init);
	if (!twz_view_rt.slots)
		return twz__err(
			TWZ_E_NOMEM,
			"cannot reserve address space for objects: raise the limit (ulimit -v)");
	return 0;
}

int twz__view_take(uint64_t *slot)
{
	pthread_mutex_lock(&view_mutex);
	for (uint64_t i = 0; i < (twz_view_rt.slot_cnt + 63) / 64; i++) {
		uint64_t n = i * 64 + (uint64_t)__builtin_ctzll(~taken[i] ? ~taken[i] : 1);

		if (!~taken[i] || n >= twz_view_rt.slot_cnt)
			continue;
		taken[i] |= (uint64_t)1 << n % 64;
		pthread_mutex_unlock(&view_mutex);
		*slot = n;
		return 0;
	}
	pthread_mutex_unlock(&view_mutex);
	return twz__err(TWZ_E_MAPS,
			"all %llu object slots of this process are in use: close objects",
			(unsigned long long)twz_view_rt.slot_cnt);
}

void twz__view_give(uint64_t slot)
{
	pthread_mutex_lock(&view_mutex);
	taken[slot / 64] &= ~((uint64_t)1 << slot % 64);
	pthread_mutex_unlock(&view_mutex);
}

void twz__view_fork_prepare(void)
{
	pthread_mutex_lock(&view_mutex);
}

void twz__view_fork_done(void)
{
	pthread_mutex_unlock(&view_mutex);
}

/* --- extents --- */

static bool same_run(const struct twzc_extent *a, const struct twzc_extent *b)
{
	return a->file_page - a->slot_page == b->file_page - b->slot_page;
}

/*
 * Pages from PAGE on, at most CNT, that OLD shows (*SHOWN) or does not show just as RUN wants them.
 */
static uint32_t compare_run(const struct twzc_extent *old, uint32_t old_cnt,
			    const struct twzc_extent *run, uint32_t page, uint32_t cnt, bool *shown)
{
	*shown = false;
	for (uint32_t i = 0; i < old_cnt; i++) {
		uint32_t end = old[i].slot_page + old[i].cnt;

		if (end <= page || !same_run(&old[i], run))
			continue;
		if (old[i].slot_page >= page + cnt)
			break;
		if (old[i].slot_page > page)
			return old[i].slot_page - page;
		*shown = true;
		return end - page < cnt ? end - page : cnt;
	}
	return cnt;
}

static int map_run(struct twz__media *m, uintptr_t base, const struct twzc_extent *old,
		   uint32_t old_cnt, const struct twzc_extent *run, int writable)
{
	uint32_t page = run->slot_page, end = run->slot_page + run->cnt;

	while (page < end) {
		bool shown;
		uint32_t n = compare_run(old, old_cnt, run, page, end - page, &shown);
		int rc = 0;

		if (!shown)
			rc = m->ops->map(m, (void *)(base + (uint64_t)page * TWZ_PAGE_SIZE),
					 (run->file_page + (page - run->slot_page)) * TWZ_PAGE_SIZE,
					 n * TWZ_PAGE_SIZE, writable);
		if (rc)
			return rc;
		twz__media_has(m, (run->file_page + (page - run->slot_page) + n) * TWZ_PAGE_SIZE);
		page += n;
	}
	return 0;
}

int twz__view_map(struct twz__media *m, uintptr_t base, const struct twzc_extent *old,
		  uint32_t old_cnt, const struct twzc_extent *new, uint32_t new_cnt, uint32_t first,
		  int writable)
{
	for (uint32_t i = 0; i < new_cnt;) {
		struct twzc_extent run = new[i++];
		int rc;

		if (run.slot_page < first)
			continue;
		while (i < new_cnt && new[i].slot_page == run.slot_page + run.cnt &&
		       same_run(&new[i], &run))
			run.cnt += new[i++].cnt; /* neighbours on both sides are one mapping */
		rc = map_run(m, base, old, old_cnt, &run, writable);
		if (rc)
			return rc;
	}
	return 0;
}

/*
 * The meta page of a slot that was used stays a mapping of its own. So the next object's meta page
 * replaces it as it is, only the data have to be cut out of the reservation, and the page tables
 * around the two are still there: mapping and touching 256 KiB costs 1.6 us of 11 less. Slots are
 * given out from the lowest, so the first of them serve whoever opens and closes; in the others it
 * would only cost mappings, of which a process may have 65,530, and page tables.
 */
#define APART_CNT 1024u

int twz__view_unmap(struct twz__media *m, uint64_t slot)
{
	char *base = (char *)twz__view_base(slot);

	if (slot < APART_CNT && !m->ops->unmap(m, base, TWZ_META_OFF, 0) &&
	    !m->ops->unmap(m, base + TWZ_META_OFF, TWZ_PAGE_SIZE, 1))
		return 0;
	return m->ops->unmap(m, base, TWZ_SLOT_SIZE, 0);
}

/* --- the core's window --- */

int twz__window_open(struct twz__window *w, struct twz__media *m)
{
	void *p = MAP_FAILED;
	uint64_t len;
	int rc = m->ops->len(m, &len);

	memset(w, 0, sizeof(*w));
	if (rc)
		return rc;
	w->room = WINDOW_LEN;
	while (w->room / WINDOW_GROWTH < len)
		w->room *= 2;
	for (; w->room >= TWZ_SLOT_SIZE / 4; w->room /= 2) {
		p = mmap(NULL, w->room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			 0);
		if (p != MAP_FAILED)
			break;
	}
	if (p == MAP_FAILED)
		return twz__err(TWZ_E_NOMEM,
				"%s: cannot reserve address space: raise the limit (ulimit -v)",
				m->path);
	w->base = p;
	twz__guard_add(m, p, w->room);
	return twz__window_extend(w, m);
}

int twz__window_extend(struct twz__window *w, struct twz__media *m)
{
	uint64_t len;
	int rc = m->ops->len(m, &len);

	len &= ~(TWZ_PAGE_SIZE - 1);
	if (rc || len <= w->mapped)
		return rc;
	if (len > w->room)
		return twz__err(
			TWZ_E_TOOBIG,
			"%s: %llu bytes do not fit the %llu bytes of address space set aside at opening: close and open it again",
			m->path, (unsigned long long)len, (unsigned long long)w->room);
	rc = m->ops->map(m, w->base + w->mapped, w->mapped, len - w->mapped, 1);
	if (!rc)
		w->mapped = len;
	return rc;
}

void twz__window_close(struct twz__window *w)
{
	if (w->base) {
		twz__guard_del(w->base);
		munmap(w->base, w->room);
	}
	memset(w, 0, sizeof(*w));
}
