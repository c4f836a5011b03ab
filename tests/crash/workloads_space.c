/* SPDX-License-Identifier: MIT
 * workloads_space.c -- the space map and the extents: fragmented objects, pages that change hands
 */
#include "workloads.h"

#include "core_int.h"
#include "internal.h"

#include <string.h>

#define PAGES 14 /* more extents than an entry of the object table holds */

/* Objects 1 and 2 grow by turns, a page each: nothing of one lies beside the rest of it. */
static int setup_fragments(struct crash *c)
{
	struct twz_obj *o[2];

	for (uint64_t i = 0; i < 2; i++)
		CRASH_DO(c, wl_create(c, i + 1, TWZ_PAGE_SIZE, &o[i]));
	for (uint64_t n = 2; n <= PAGES; n++)
		for (int i = 0; i < 2; i++)
			CRASH_DO(c, twz_obj_resize(o[i], n * TWZ_PAGE_SIZE));
	c->user[0] = o[1];
	c->user[1] = o[0];
	return 0;
}

/* The first word of object 2, atomically. */
static int set_flag(struct crash *c, uint64_t value)
{
	uint64_t *word = twz_obj_data(c->user[0]);
	struct twz_tx *tx = NULL;
	int rc = twz_tx_begin(c->store, &tx);

	if (!rc)
		rc = twz_tx_record(tx, word, sizeof(*word));
	if (rc)
		return rc;
	*word = value;
	return twz_tx_commit(tx);
}

/* Objects N .. M of a page each, filled. Not atomic, so nobody looks before the flag is set. */
static int fill(struct crash *c, uint64_t n, uint64_t m)
{
	for (; n <= m; n++) {
		struct twz_obj *o = NULL;
		int rc = wl_create(c, n, TWZ_PAGE_SIZE, &o);

		if (rc)
			return rc;
		memset(twz_obj_data(o), (int)(0x40 + n), TWZ_PAGE_SIZE);
		rc = twz_sync(c->store, twz_obj_data(o), TWZ_PAGE_SIZE);
		twz_obj_close(o);
		if (rc)
			return rc;
	}
	return 0;
}

/* Object 1, and once the flag is set all objects with their contents. */
static int show_fragments(struct crash *c)
{
	struct twz_obj_stat st = {.size = sizeof(st)};
	struct twz_obj *o = NULL;
	uint64_t flag;
	int rc = twz_obj_stat_id(c->store, wl_id(1), &st);

	if (rc != TWZ_E_NOENT)
		CRASH_DO(c, rc);
	crash_say(c, "object 1: %llu bytes\n", (unsigned long long)st.len);
	CRASH_DO(c, twz_obj_open(c->store, wl_id(2), TWZ_READ, &o));
	flag = *(const uint64_t *)twz_obj_data(o);
	twz_obj_close(o);
	crash_say(c, "flag %llu\n", (unsigned long long)flag);
	return flag ? wl_show_objects(c, true) : 0;
}

/* The pages that held object 1 and its extents get other owners (D6, last sentence). */
static int run_reuse(struct crash *c)
{
	CRASH_OP(c, twz_obj_resize(c->user[1], 6 * TWZ_PAGE_SIZE));
	CRASH_DO(c, fill(c, 3, 8));
	CRASH_OP(c, set_flag(c, 3));
	CRASH_OP(c, twz_obj_delete(c->store, wl_id(1)));
	CRASH_OP(c, twz_obj_resize(c->user[0], 2 * TWZ_PAGE_SIZE));
	CRASH_OP(c, twz_obj_delete(c->store, wl_id(5)));
	return 0;
}

const struct crash_workload wl_reuse = {.name = "core.reuse",
					.what = "pages of metadata and data change hands (D6)",
					.media = CRASH_LINE | CRASH_PAGE,
					.kind = &twz_kind,
					.setup = setup_fragments,
					.run = run_reuse,
					.show = show_fragments};

/* --- an object grows into pages that were another's, which must read as zeros --- */

#define ZEROS_CNT 8 /* pages of the other one */

static int setup_zeros(struct crash *c)
{
	struct twz_obj *o[2];

	for (uint64_t i = 0; i < 2; i++)
		CRASH_DO(c, wl_create(c, i + 1, TWZ_PAGE_SIZE, &o[i]));
	CRASH_DO(c, twz_obj_resize(o[1], ZEROS_CNT * TWZ_PAGE_SIZE));
	memset(twz_obj_data(o[1]), 0x55, ZEROS_CNT * TWZ_PAGE_SIZE);
	CRASH_DO(c, twz_sync(c->store, twz_obj_data(o[1]), ZEROS_CNT * TWZ_PAGE_SIZE));
	twz_obj_close(o[1]);
	CRASH_DO(c, twz_obj_delete(c->store, wl_id(2)));
	c->user[0] = o[0];
	return 0;
}

static int show_zeros(struct crash *c)
{
	return wl_show_objects(c, true);
}

static int run_zeros(struct crash *c)
{
	CRASH_OP(c, twz_obj_resize(c->user[0], 4 * TWZ_PAGE_SIZE));
	CRASH_OP(c, twz_obj_resize(c->user[0], 2 * TWZ_PAGE_SIZE));
	CRASH_OP(c, twz_obj_resize(c->user[0], (2 + ZEROS_CNT) * TWZ_PAGE_SIZE));
	return 0;
}

const struct crash_workload wl_zeros = {.name = "core.zeros",
					.what = "an object grows into pages that were another's",
					.media = CRASH_ALL,
					.share = 25,
					.kind = &twz_kind,
					.setup = setup_zeros,
					.run = run_zeros,
					.show = show_zeros};

/* --- the object table grows: buckets overflow, split, and get another run of pages --- */

static int many(struct crash *c, uint64_t from, uint64_t cnt)
{
	struct twz_obj_options opt = {.size = sizeof(opt), .len = TWZ_PAGE_SIZE};
	int rc = 0;

	for (uint64_t i = from; i < from + cnt && !rc; i++) {
		opt.id = wl_id(1000 + i);
		rc = twz_obj_create(c->store, &opt, NULL, NULL);
	}
	return rc;
}

static int setup_table(struct crash *c)
{
	CRASH_DO(c, many(c, 0, 7));
	return 0;
}

static int show_table(struct crash *c)
{
	struct twz_obj_stat st = {.size = sizeof(st)};
	uint64_t cursor = 0, cnt = 0, sum = 0;
	int rc;

	while (!(rc = twz_obj_next(c->store, &cursor, &st))) {
		if (st.id.w[1] != wl_id(0).w[1])
			continue;
		cnt++;
		sum += st.id.w[0] * st.id.w[0];
	}
	if (rc != TWZ_E_NOENT)
		return crash_failed(c, rc, "twz_obj_next");
	crash_say(c, "%llu objects, %llx\n", (unsigned long long)cnt, (unsigned long long)sum);
	return 0;
}

static int run_table(struct crash *c)
{
	for (uint64_t i = 7; i < 75; i++)
		CRASH_OP(c, many(c, i, 1));
	for (uint64_t i = 0; i < 75; i += 9)
		CRASH_OP(c, twz_obj_delete(c->store, wl_id(1000 + i)));
	return 0;
}

const struct crash_workload wl_table = {.name = "core.table",
					.what = "the object table grows: overflow, splits",
					.media = CRASH_ALL,
					.share = SHARE_ENGINE,
					.kind = &twz_kind,
					.setup = setup_table,
					.run = run_table,
					.show = show_table};

/* --- one bucket of it: its overflow page comes and goes, whatever the seed of the store --- */

#define CHAIN_BUCKETS 64 /* more than there will be */

/* The first ID from *FROM on that lies in bucket 1, however many buckets there are. */
static twz_oid next_in_chain(struct crash *c, uint64_t *from)
{
	struct twz_store *s = c->store;

	while (twzc__bucket_of(&s->core, CHAIN_BUCKETS, wl_id(*from).w) != 1)
		++*from;
	return wl_id((*from)++);
}

static int chain(struct crash *c, uint64_t *from, int cnt)
{
	struct twz_obj_options opt = {.size = sizeof(opt), .len = TWZ_PAGE_SIZE};
	int rc = 0;

	while (cnt-- && !rc) {
		opt.id = next_in_chain(c, from);
		rc = twz_obj_create(c->store, &opt, NULL, NULL);
	}
	return rc;
}

/* One page is full. */
static int setup_chain(struct crash *c)
{
	uint64_t from = 2000;

	CRASH_DO(c, chain(c, &from, TWZC_BUCKET_ENTRIES));
	return 0;
}

static int run_chain(struct crash *c)
{
	uint64_t from = 2000, over[3];

	for (int i = 0; i < TWZC_BUCKET_ENTRIES; i++)
		next_in_chain(c, &from);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 3; i++) {
			CRASH_OP(c, chain(c, &from, 1));
			over[i] = from - 1;
		}
		for (int i = 0; i < 3; i++) /* the last one takes the page with it */
			CRASH_OP(c, twz_obj_delete(c->store, wl_id(over[i])));
	}
	return 0;
}

const struct crash_workload wl_chain = {
	.name = "core.chain",
	.what = "a bucket of the object table overflows, and no more",
	.media = CRASH_ALL,
	.share = SHARE_DEAR,
	.kind = &twz_kind,
	.setup = setup_chain,
	.run = run_chain,
	.show = show_table};

/*
 * --- large objects: whole chunks, the image grows, records in several pieces; such an operation is
 * undone by whoever finds it half-way (the pending object) ---
 */

static int show_large(struct crash *c)
{
	return wl_show_objects(c, false);
}

/* Every second page of what is free is taken, so that a run of many pages has many extents. */
static int setup_large(struct crash *c)
{
	struct twz_obj *o[2];

	for (uint64_t i = 0; i < 2; i++)
		CRASH_DO(c, wl_create(c, i + 1, TWZ_PAGE_SIZE, &o[i]));
	for (uint64_t n = 2; n <= 110; n++)
		for (int i = 0; i < 2; i++)
			CRASH_DO(c, twz_obj_resize(o[i], n * TWZ_PAGE_SIZE));
	c->user[0] = o[0];
	twz_obj_close(o[1]);
	CRASH_DO(c, twz_obj_delete(c->store, wl_id(2)));
	return 0;
}

static int run_large_objects(struct crash *c)
{
	struct twz_obj *o = NULL;

	CRASH_OP(c, twz_obj_resize(c->user[0], (uint64_t)900 << 10));
	CRASH_OP(c, wl_create(c, 3, (uint64_t)2500 << 10, &o));
	CRASH_OP(c, twz_obj_resize(o, (uint64_t)4500 << 10));
	CRASH_OP(c, twz_obj_resize(o, (uint64_t)1100 << 10));
	twz_obj_close(o);
	CRASH_OP(c, twz_obj_resize(c->user[0], 3 * TWZ_PAGE_SIZE));
	CRASH_OP(c, twz_obj_delete(c->store, wl_id(3)));
	return 0;
}

const struct crash_workload wl_large_obj = {.name = "core.large",
					    .what = "objects of many extents, of whole chunks",
					    .media = CRASH_LINE | CRASH_PAGE,
					    .share = 10,
					    .kind = &twz_kind,
					    .setup = setup_large,
					    .run = run_large_objects,
					    .show = show_large};
