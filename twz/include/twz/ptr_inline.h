/* SPDX-License-Identifier: MIT
 * ptr_inline.h -- the inline code of twz_lea; included by ptr.h only
 *
 * What counts is the latency a translation adds between two dependent loads, so everything that is
 * not needed to form the address (null, key, bounds) is a compare in a predicted branch, and
 * nothing that depends on P stands before a load where that can be helped:
 *
 *	intra		base of FROM + P				1 cycle
 *	cross, steady	P + (remembered base - index part of P)		1 cycle
 *	cross, table	shift, load, mask, or				about 8 cycles
 *
 * The resolution table of a slot is found by arithmetic (one multiplication of an address that is
 * known a load earlier than P), not by a pointer, which would add a load. Tables are a power of two
 * apart plus a page plus a line, so that the first lines of all tables do not fall into one cache
 * set.
 *
 * "Steady" is a guess: this thread remembers one (source slot, FOT index) and reads its table entry
 * at an address that does not depend on P. It remembers the place, never the contents, so it cannot
 * go stale. Where targets alternate it would mispredict every time, so twz__lea_slow() looks at a
 * sample of 16 successive table look-ups every TWZ__LEA_SAMPLE and switches the guess on for a key
 * that repeats, off (from = 1, which no slot base equals) otherwise.
 */
#ifndef TWZ_PTR_INLINE_H
#define TWZ_PTR_INLINE_H

#define TWZ__LIKELY(x) __builtin_expect(!!(x), 1)
#define TWZ__FOT_CNT   ((uint64_t)65536) /* entries of a table; the format allows a few less */
#define TWZ__TAB_STRIDE                                                                            \
	(TWZ__FOT_CNT * 8 + TWZ_PAGE_SIZE +                                                        \
	 TWZ_LINE_SIZE) /* bytes between the tables of two slots */

/*
 * Where the tables are: entry 0 of the table of the slot at ADDR is tab + (ADDR >> 30) *
 * TWZ__TAB_STRIDE.
 */
struct twz__ptr_rt {
	uintptr_t tab;	   /* biased: see above */
	uint64_t slot0;	   /* view base >> 30 */
	uint64_t slot_cnt; /* 0 until a store has been opened */
};
TWZ_API extern struct twz__ptr_rt twz__ptr_rt;

#define TWZ__LEA_SAMPLE 256

struct twz__guess {
	uintptr_t from;			 /* slot base of the source; 1 = off */
	uint64_t idx_part;		 /* FOT index << 30 */
	const struct twz_resolved *e;	 /* its entry; never NULL */
	int left;			 /* table look-ups until the next sample */
	int run;			 /* sample: equal keys seen in a row */
	const struct twz_resolved *last; /* sample: the last key */
};
TWZ_API extern __thread struct twz__guess twz__guess __attribute__((tls_model("initial-exec")));

static inline struct twz_resolved *twz__tab(uintptr_t addr)
{
	uintptr_t t = twz__ptr_rt.tab + (addr >> TWZ_SLOT_SHIFT) * TWZ__TAB_STRIDE;

	/* Keeps the sum in a register, so that the index is scaled by the load itself. */
	__asm__("" : "+r"(t));
	return (struct twz_resolved *)t;
}

static inline uint64_t twz__word(const struct twz_resolved *e)
{
	return __atomic_load_n(&e->w, __ATOMIC_ACQUIRE);
}

/* OFF lies in the data that W maps. */
static inline bool twz__in(uint64_t off, uint64_t w)
{
	return TWZ__LIKELY(off - TWZ_DATA_OFF < (w & TWZ_SLOT_MASK));
}

static inline bool twz__in_view(uintptr_t addr)
{
	return TWZ__LIKELY((addr >> TWZ_SLOT_SHIFT) - twz__ptr_rt.slot0 < twz__ptr_rt.slot_cnt);
}

/* Any pointer, loaded from anywhere in FROM's object. */
static inline void *twz_lea(const void *from, twz_pptr p)
{
	uintptr_t addr = (uintptr_t)from, base = addr & ~(uintptr_t)TWZ_SLOT_MASK;
	uint64_t off = p.v & TWZ_SLOT_MASK, w;

	if (TWZ__LIKELY(p.v <= TWZ_SLOT_MASK)) {
		if (twz__in_view(addr) && twz__in(p.v, twz__word(twz__tab(addr))))
			return (void *)(base + p.v);
		if (!p.v)
			return NULL;
	} else {
		w = twz__word(twz__guess.e);
		uintptr_t delta = (w & ~TWZ_SLOT_MASK) - twz__guess.idx_part;

		__asm__("" : "+r"(delta)); /* not to be merged into a sum that waits for P */
		if (TWZ__LIKELY(base == twz__guess.from) && twz__in(p.v - twz__guess.idx_part, w))
			return (void *)(p.v + delta);
		if (twz__in_view(addr) && TWZ__LIKELY(p.v >> TWZ_PPTR_OFF_BITS < TWZ__FOT_CNT) &&
		    TWZ__LIKELY(--twz__guess.left >= 0)) {
			w = twz__word(twz__tab(addr) + (p.v >> TWZ_PPTR_OFF_BITS));
			if (twz__in(off, w))
				return (void *)((w & ~TWZ_SLOT_MASK) | off);
		}
	}
	return twz__lea_slow(from, p);
}

/* Any pointer, source slot known (twz_slot_of): one load and a predicted compare. */
static inline void *twz_lea_tab(const struct twz_slot *src, twz_pptr p)
{
	uint64_t off = p.v & TWZ_SLOT_MASK, idx = p.v >> TWZ_PPTR_OFF_BITS;

	if (TWZ__LIKELY(idx < src->res_cnt)) {
		uint64_t w = twz__word(src->res + idx);

		if (twz__in(off, w))
			return (void *)((w & ~TWZ_SLOT_MASK) | off);
		if (!p.v)
			return NULL;
	}
	return twz__lea_tab_slow(src, p);
}

/* Slot of the view that holds ADDR, which must lie in an open object. */
static inline const struct twz_slot *twz_slot_of(const void *addr)
{
	return &twz_view_rt.slots[((uintptr_t)addr - twz_view_rt.base) >> TWZ_SLOT_SHIFT];
}

#endif
