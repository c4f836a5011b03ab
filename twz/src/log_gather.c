/* SPDX-License-Identifier: MIT
 * log_gather.c -- when the next batch begins: alone on its way if it can be, and not before those come who were in the last one
 *
 * A disk that makes a write durable takes nearly as long for one record as for eight, and two such writes at once take longer
 * than one. So eight clients that wait for one write are served quicker than four that wait for each of two. But they come back one
 * after the other: the first would begin a batch alone, and all others wait for two writes instead of one.
 *
 * So who comes when nothing is on its way, and is not the last of those who are expected (who were in the batch before, or have come since it
 * was frozen), sleeps; the last one, who need not sleep, writes. If somebody does not come back, the others have waited for half as long
 * as the last write took, at most; it is given up for a while, longer each time, when that happens: clients that do something else between commits are
 * not to pay for each other.
 *
 * All here are hints: what they say decides when a batch is written, never what is in it or what is told to whom. Whoever sleeps
 * wakes by himself.
 */
#include "log_ring.h"

#define WORTH_US  40  /* a write that is quicker is not waited for: going to sleep takes as long */
#define GATHER_US 500 /* at most */
#define NAP_US                                                                                     \
	20000 /* who need not look at the clock, because somebody else does; that one may have died */
#define SKIP_MAX   8 /* batches not waited for, as a power of two */
#define BESIDE_LEN ((uint64_t)64 << 10)

uint64_t twz__log_beside_len = BESIDE_LEN;

/* Nothing has been frozen since FROZEN, nothing is on its way, and more are expected. */
static bool more_come(const struct twz__log_stage *st, uint64_t frozen)
{
	uint64_t put = seg_get(&st->put);

	return seg_get(&st->frozen) == frozen && seg_get(&st->durable) == frozen && put > frozen &&
	       put - frozen < __atomic_load_n(&st->gather.expect, __ATOMIC_RELAXED) &&
	       !__atomic_load_n(&st->gather.skip, __ATOMIC_RELAXED);
}

/* --- under the stage mutex --- */

/*
 * Beside those on their way only what takes long because it is long: the disk can have it meanwhile. And only as many records as
 * these have: those who wait for one batch come back together, for the next.
 */
bool twz__log_worth_it(const struct twz__log_stage *st, uint64_t staged_len, uint64_t before)
{
	uint64_t frozen = seg_get(&st->frozen), put = seg_get(&st->put), on_way;

	on_way = frozen - seg_get(&st->durable);
	if (put == frozen)
		return false;
	return on_way ? put - frozen >= on_way && staged_len >= twz__log_beside_len
		      : before > frozen || !more_come(st, frozen);
}

void twz__log_gather_froze(struct twz__log_stage *st, const struct twz__log_batch *b)
{
	uint32_t n = (uint32_t)(b->to - b->from), skip = st->gather.skip;

	if (skip) {
		skip--;
	} else if (seg_get(&st->gather.nr) == b->from + 1) {
		if (n >= st->gather.expect - st->gather.expect / 4) {
			st->gather.misses = 0;
		} else {
			st->gather.misses += st->gather.misses < SKIP_MAX;
			skip = 1U << st->gather.misses;
		}
	}
	__atomic_store_n(&st->gather.skip, skip, __ATOMIC_RELAXED);
}

void twz__log_gather_durable(struct twz__log_stage *st, uint64_t records)
{
	uint64_t n = records + seg_get(&st->put) - seg_get(&st->frozen),
		 waiters = __atomic_load_n(&st->waiters, __ATOMIC_RELAXED);

	/* Whoever wrote it, and who slept meanwhile: of lazy commits nobody comes back. */
	n = n <= waiters ? n : waiters + 1;
	__atomic_store_n(&st->gather.expect, (uint32_t)n, __ATOMIC_RELAXED);
}

/* --- who waits --- */

void twz__log_gather(struct twz_log *l, uint64_t *before)
{
	struct twz__log_stage *st = l->stage;
	uint64_t frozen = seg_get(&st->frozen), took, end = 0, now;
	uint32_t seen;

	if (*before > frozen || !more_come(st, frozen))
		return;
	*before = frozen + 1;
	took = __atomic_load_n(&st->gather.took_us, __ATOMIC_RELAXED);
	if (took < WORTH_US)
		return;
	took = took / 2 < GATHER_US ? took / 2 : GATHER_US;
	/* One looks at the clock. */
	if (__atomic_exchange_n(&st->gather.nr, frozen + 1, __ATOMIC_ACQ_REL) == frozen + 1)
		took = NAP_US;
	for (now = twz__log_now_us(), end = now + took; now < end; now = twz__log_now_us()) {
		seen = __atomic_load_n(&st->wake, __ATOMIC_SEQ_CST);
		if (!more_come(st, frozen))
			return;
		twz__log_doze(st, seen, (uint32_t)(end - now));
	}
}
