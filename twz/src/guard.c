/* SPDX-License-Identifier: MIT
 * guard.c -- a store that was cut short is an error, not the end of the process
 *
 * Data are read where they lie, so a file that somebody else cuts short (a copy over it, `> app.twz`) answers a load beyond its
 * new end by SIGBUS. What was there is lost, and no promise is left to be kept but two: to say so, and not to write
 * zeros into a file that may be looked at again. The handler puts zeros of this process in the place of what is gone, notes it
 * (twz__media.cut), and lets the load go on. Then:
 *
 *  - *Writers.* Each commit, and whatever else changes the store, is refused from then on (twz__store_still()); what was stored to
 *    these zeros goes nowhere. D17's word is left in the companion, so no checkpoint vouches for anything, in any process.
 *  - *Readers.* Zeros break the rules of the format, or look like nothing: who asks for a row does not find it, or finds damage.
 *    The engine says neither before it has looked at the note, and ends no transaction well that was going on (twz_store_cut()).
 *
 * It cost too much to leave each call by a jump from where the signal met it: a point read is a hundred instructions, and whatever
 * locks are held would have to be known. Only what the file really lacks is dealt with: a page
 * that cannot be read although it is there (EIO, poisoned memory) may be read by another process or later, so that signal is
 * left to whom it was for before. So is every other. TWZ_GUARD=0 in the environment does without.
 */
#include "guard.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define RANGE_CNT 64u /* stores whose windows are looked after */
#define CHUNK_LEN ((uintptr_t)2 << 20)

static struct twz__guarded {
	uintptr_t base, end; /* end: 0 = free, 1 = being filled */
	struct twz__media *media;
} range[RANGE_CNT];
static struct sigaction before;

/* Is what lies at ADDR behind the end of its file? *END: of the mapping. Who got here is just using it, so it is not closed meanwhile. */
static struct twz__media *cut_at(uintptr_t addr, uintptr_t *end)
{
	uint64_t slot = (addr - twz_view_rt.base) >> TWZ_SLOT_SHIFT, least = 0;
	struct twz__media *m = NULL;
	struct stat st;

	if (addr >= twz_view_rt.base && slot < twz_view_rt.slot_cnt) {
		struct twz_obj *o = twz_view_rt.slots[slot].obj;

		*end = twz_view_rt.base + ((slot + 1) << TWZ_SLOT_SHIFT);
		m = o ? o->store->media : NULL;
		least = m ? __atomic_load_n(&m->floor, __ATOMIC_RELAXED) : 0;
	}
	for (uint32_t i = 0; i < RANGE_CNT && !m; i++) {
		*end = __atomic_load_n(&range[i].end, __ATOMIC_ACQUIRE);
		if (addr >= *end || addr < range[i].base)
			continue;
		m = range[i].media;
		least = addr - range[i].base + 1;
	}
	return m && m->fd >= 0 && !fstat(m->fd, &st) && (uint64_t)st.st_size < least ? m : NULL;
}

/* Nothing here but system calls and words. */
static bool put_zeros(uintptr_t addr)
{
	uintptr_t end, page = addr & ~(uintptr_t)(TWZ_PAGE_SIZE - 1),
		       chunk = (addr & ~(CHUNK_LEN - 1)) + CHUNK_LEN;
	struct twz__media *m = cut_at(addr, &end);

	if (!m)
		return false;
	__atomic_store_n(&m->cut, 1, __ATOMIC_SEQ_CST);
	if (m->lost)
		__atomic_store_n(m->lost, 1, __ATOMIC_SEQ_CST);
	end = end < chunk ? end : chunk;
	return mmap((void *)page, end - page, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
}

static void on_bus(int sig, siginfo_t *info, void *context)
{
	int err = errno;

	if (info->si_code == BUS_ADRERR && put_zeros((uintptr_t)info->si_addr)) {
		errno = err;
		return;
	}
	errno = err;
	if (before.sa_flags & SA_SIGINFO)
		before.sa_sigaction(sig, info, context);
	else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
		before.sa_handler(sig);
	else
		signal(SIGBUS, SIG_DFL); /* met again at once, and by no one */
}

void twz__guard_init(void)
{
	const char *wanted = getenv("TWZ_GUARD");
	struct sigaction sa = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO | SA_ONSTACK};

	sigemptyset(&sa.sa_mask);
	if ((!wanted || strcmp(wanted, "0")) && !sigaction(SIGBUS, NULL, &before))
		sigaction(SIGBUS, &sa, NULL);
}

/* Without a lock: a forked child calls them, too. */
void twz__guard_add(struct twz__media *m, const void *base, uint64_t len)
{
	for (uint32_t i = 0; i < RANGE_CNT; i++) {
		uintptr_t free_end = 0;

		if (!__atomic_compare_exchange_n(&range[i].end, &free_end, 1, false,
						 __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			continue;
		range[i].base = (uintptr_t)base;
		range[i].media = m;
		__atomic_store_n(&range[i].end, (uintptr_t)base + len, __ATOMIC_RELEASE);
		return;
	}
}

void twz__guard_del(const void *base)
{
	for (uint32_t i = 0; i < RANGE_CNT; i++)
		if (__atomic_load_n(&range[i].end, __ATOMIC_ACQUIRE) > 1 &&
		    range[i].base == (uintptr_t)base)
			__atomic_store_n(&range[i].end, 0, __ATOMIC_RELEASE);
}
