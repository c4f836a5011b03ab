/* SPDX-License-Identifier: MIT
 * log_ring.c -- the pure part of twz_log: checksums, validity (D1), where the next record goes
 *
 * Nothing here touches a medium; tests/unit/test_log.c calls these functions directly.
 */
#include <xxhash.h>

#include "log_ring.h"

uint64_t twz__log_head_sum(const struct log_head_pm *h)
{
	return XXH3_64bits(h, offsetof(struct log_head_pm, sum));
}

/*
 * The header is hashed with sum = 0 through a copy: the ring it may lie in is not ours to change
 * while reading.
 */
uint64_t twz__log_rec_sum(const struct log_rec_pm *rec)
{
	struct log_rec_pm head = *rec;
	uint64_t body;

	head.sum = 0;
	body = XXH3_64bits_withSeed(rec + 1, rec->body_len, rec->prev_sum);
	return XXH3_64bits_withSeed(&head, sizeof(head), body);
}

/* Rule (1): everything the reader needs before it may touch the body. */
static bool lengths_ok(const struct log_rec_pm *rec, uint64_t ring_len, uint64_t room)
{
	if (rec->magic != TWZ_LOG_REC_MAGIC || rec->zero != 0)
		return false;
	if (rec->total % TWZ_LOG_REC_ALIGN != 0 || rec->total > room)
		return false;
	if (rec->kind == TWZ_LOG_REC_PAD)
		return rec->body_len == 0 && rec->total == room;
	if (rec->kind == TWZ_LOG_REC_SPILL && rec->body_len != sizeof(struct log_spill_pm))
		return false;
	if (rec->kind != TWZ_LOG_REC_DATA && rec->kind != TWZ_LOG_REC_SPILL)
		return false;
	return rec->total <= ring_len / 4 && rec->total > sizeof(*rec) && rec->body_len > 0 &&
	       rec->body_len <= rec->total - sizeof(*rec) &&
	       rec->total - sizeof(*rec) - rec->body_len < TWZ_LOG_BLOCK_LEN;
}

int twz__log_rec_bad(const struct log_rec_pm *rec, const struct twz__log_expect *e)
{
	if (!lengths_ok(rec, e->ring_len, e->ring_len - e->lsn % e->ring_len))
		return 1;
	if (rec->lsn != e->lsn)
		return 2;
	if (rec->generation != e->generation)
		return 3;
	if (e->check_prev && rec->prev_sum != e->prev_sum)
		return 4;
	return 0;
}

/*
 * A record is never larger than a quarter of the ring and a pad before it is smaller than the
 * record, so both fit into half a ring: an empty ring takes any record.
 */
struct twz__log_plan twz__log_plan(uint64_t ring_len, uint64_t align, uint64_t tail, uint64_t head,
				   uint64_t body_len)
{
	struct twz__log_plan p = {0};
	uint64_t room = ring_len - head % ring_len;
	uint64_t used;

	p.spill = body_len > ring_len / 4 ||
		  twz__log_align(sizeof(struct log_rec_pm) + body_len, align) > ring_len / 4;
	if (p.spill)
		body_len = sizeof(struct log_spill_pm);
	p.total = twz__log_align(sizeof(struct log_rec_pm) + body_len, align);
	p.pad = p.total > room ? room : 0;
	p.lsn = head + p.pad;
	used = p.lsn + p.total - tail;
	p.due = used > ring_len / 2;
	p.full = used > ring_len;
	return p;
}
