/* SPDX-License-Identifier: MIT
 * log_ring.c -- the pure part of twz_log: checksums, validity (D1), where the next record goes
 *
 * Nothing here touches a medium; tests/unit/test_log.c calls these functions directly.
 */
/* Inlined: of a short record's checksum the calls would be the larger part. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "log_ring.h"

/*
 * The same function for the widest vectors of this processor, in libraries built with the choice. They
 * wait for bytes stored just now (persist_line.h): only worth it where that is a small part.
 */
#define LONG_LEN 4096
extern XXH64_hash_t XXH3_64bits_dispatch(const void *input, size_t len) __attribute__((weak));

uint64_t twz__log_head_sum(const struct log_head_pm *h)
{
	return XXH3_64bits(h, offsetof(struct log_head_pm, sum));
}

/*
 * In place: neither the ring the record may lie in is ours to change while reading, nor is there a
 * second copy of the body.
 */
uint64_t twz__log_rec_sum(const struct log_rec_pm *rec, uint64_t seal)
{
	const uint8_t *from = (const uint8_t *)rec + sizeof(rec->sum);
	uint64_t len = sizeof(*rec) - sizeof(rec->sum) + twz__log_rec_len(rec), sum;

	if (len > LONG_LEN && XXH3_64bits_dispatch)
		sum = XXH3_64bits_dispatch(from, len);
	else
		sum = XXH3_64bits(from, len);
	return sum ^ seal * TWZ_LOG_GEN_MUL;
}

uint64_t twz__log_seal(twz_oid id, uint64_t generation, uint64_t gap)
{
	if (twz__likely(!gap))
		return generation;
	return gap / TWZ_LOG_SECTOR_LEN << TWZ_LOG_GAP_SHIFT |
	       ((generation ^ id.w[0]) & (TWZ_LOG_GEN_MAX - 1));
}

#define ENDS (TWZ_LOG_DESC_BLOCK | TWZ_LOG_DESC_SECTOR)

/* Rule (1): everything the reader needs before it may touch the body. */
static bool desc_ok(const struct log_rec_pm *rec, uint64_t ring_len, uint64_t room)
{
	uint64_t len = twz__log_rec_len(rec), total = twz__log_rec_total(rec, room);

	if ((rec->desc & ENDS) == ENDS)
		return false;
	switch (twz__log_rec_kind(rec)) {
	case TWZ_LOG_REC_PAD:
		return !len && !(rec->desc & ENDS);
	case TWZ_LOG_REC_SPILL:
		return len == sizeof(struct log_spill_pm) && total <= room;
	case TWZ_LOG_REC_DATA:
		return len && total <= room && total <= ring_len / 4;
	default:
		return false;
	}
}

int twz__log_rec_bad(const struct log_rec_pm *rec, const struct twz__log_expect *e)
{
	if (!desc_ok(rec, e->ring_len, e->ring_len - e->lsn % e->ring_len))
		return 1;
	if (rec->lsn != e->lsn)
		return 2;
	if (e->check_prev && rec->prev != e->prev)
		return 3;
	return 0;
}

/*
 * A record is never larger than a quarter of the ring and a pad before it is smaller than the
 * record, so both fit into half a ring: an empty ring takes any record.
 */
struct twz__log_plan twz__log_plan(const struct twz__log_where *w, uint64_t body_len)
{
	struct twz__log_plan p = {0};
	uint64_t used;

	/* The body alone first: the sum with the header might not fit into 64 bits. */
	p.spill = body_len > w->ring_len / 4 ||
		  twz__log_align(sizeof(struct log_rec_pm) + body_len, w->align) > w->ring_len / 4;
	if (p.spill)
		body_len = sizeof(struct log_spill_pm);
	p.total = twz__log_align(sizeof(struct log_rec_pm) + body_len, w->align);
	p.pad = p.total > w->room ? w->room : 0;
	p.lsn = w->head + p.pad;
	used = p.lsn + p.total - w->tail;
	p.due = used > w->due_len;
	p.full = used > w->ring_len;
	return p;
}
