/* SPDX-License-Identifier: MIT
 * workloads_alloc.c -- allocation inside an object: no block leaks, no owner points to a free one
 */
#include "workloads.h"

#include <string.h>

#define OWNERS	  6
#define ARENA_OFF (TWZ_DATA_OFF + 1024)

static twz_pptr *owner(struct twz_obj *o)
{
	return twz_obj_data(o);
}

static int arena_setup(struct crash *c)
{
	struct twz_obj *o = NULL;

	CRASH_DO(c, wl_create(c, 1, 32768, &o));
	CRASH_DO(c, twz_arena_create(o, ARENA_OFF));
	c->user[1] = o;
	return 0;
}

static int show_arena(struct crash *c)
{
	struct twz_arena_stat st;
	struct twz_obj *o = NULL;

	CRASH_DO(c, twz_obj_open(c->store, wl_id(1), TWZ_READ | TWZ_WRITE, &o));
	CRASH_DO(c, twz_arena_stat(o, &st));
	crash_say(c, "blocks %llu used %llu\n", (unsigned long long)st.block_cnt,
		  (unsigned long long)st.used_len);
	for (int i = 0; i < OWNERS; i++) {
		void *p = twz_lea(owner(o), owner(o)[i]);

		if (!p)
			continue;
		crash_say(c, "block %d len %zu sum %llx\n", i, twz_alloc_len(o, p),
			  (unsigned long long)wl_sum(p, twz_alloc_len(o, p)));
	}
	twz_obj_close(o);
	return 0;
}

static int alloc_one(struct crash *c, int i, size_t len)
{
	return twz_alloc(c->user[1], len, &owner(c->user[1])[i], NULL);
}

/* Allocate and fill as one transaction: a block without its content must never be seen. */
static int alloc_filled(struct crash *c, int i, size_t len, int fill)
{
	struct twz_tx *tx = NULL;
	void *p = NULL;
	int rc = twz_tx_begin(c->store, &tx);

	if (!rc)
		rc = twz_alloc(c->user[1], len, &owner(c->user[1])[i], &p);
	if (!rc)
		rc = twz_tx_fresh(tx, p, len);
	if (!rc)
		memset(p, fill, len);
	return rc ? rc : twz_tx_commit(tx);
}

static int alloc_run(struct crash *c)
{
	CRASH_OP(c, alloc_one(c, 0, 40));
	CRASH_OP(c, alloc_filled(c, 1, 200, 0x11));
	CRASH_OP(c, alloc_filled(c, 2, 3000, 0x22));
	CRASH_OP(c, twz_free(c->user[1], &owner(c->user[1])[1]));
	CRASH_OP(c, alloc_one(c, 3, 100)); /* from the freed block */
	CRASH_OP(c, twz_free(c->user[1], &owner(c->user[1])[0]));
	CRASH_OP(c, twz_free(c->user[1], &owner(c->user[1])[3]));
	return 0;
}

const struct crash_workload wl_alloc = {.name = "tx.alloc",
					.what = "allocate, fill and free blocks",
					.media = CRASH_ALL,
					.share = SHARE_CHEAP,
					.quick = true,
					.kind = &twz_kind,
					.setup = arena_setup,
					.run = alloc_run,
					.show = show_arena};

static int realloc_setup(struct crash *c)
{
	CRASH_DO(c, arena_setup(c));
	CRASH_DO(c, alloc_filled(c, 0, 100, 0x33));
	CRASH_DO(c, alloc_filled(c, 1, 100, 0x44));
	return 0;
}

static int realloc_run(struct crash *c)
{
	struct twz_obj *o = c->user[1];

	CRASH_OP(c, twz_realloc(o, 600, &owner(o)[0], NULL)); /* moves */
	CRASH_OP(c, twz_realloc(o, 2000, &owner(o)[1], NULL));
	CRASH_OP(c, twz_realloc(o, 50, &owner(o)[1], NULL));	/* shrinks */
	CRASH_OP(c, twz_realloc(o, 40000, &owner(o)[0], NULL)); /* the object grows */
	return 0;
}

const struct crash_workload wl_realloc = {
	.name = "tx.realloc",
	.what = "blocks that move, shrink and make their object grow",
	.media = CRASH_LINE | CRASH_PAGE,
	.share = SHARE_CHEAP,
	.kind = &twz_kind,
	.setup = realloc_setup,
	.run = realloc_run,
	.show = show_arena};

static int arena_run(struct crash *c)
{
	crash_begin(c);
	CRASH_DO(c, twz_arena_create(c->user[1], ARENA_OFF));
	return crash_done(c);
}

static int bare_setup(struct crash *c)
{
	struct twz_obj *o = NULL;

	CRASH_DO(c, wl_create(c, 1, 32768, &o));
	c->user[1] = o;
	return 0;
}

static int show_bare(struct crash *c)
{
	struct twz_arena_stat st;
	struct twz_obj *o = NULL;

	CRASH_DO(c, twz_obj_open(c->store, wl_id(1), TWZ_READ | TWZ_WRITE, &o));
	if (twz_arena_stat(o, &st))
		crash_say(c, "no arena\n");
	else
		crash_say(c, "arena of %llu bytes, %llu blocks\n", (unsigned long long)st.total_len,
			  (unsigned long long)st.block_cnt);
	twz_obj_close(o);
	return 0;
}

const struct crash_workload wl_arena = {.name = "tx.arena_create",
					.what = "an object becomes an arena, or does not",
					.media = CRASH_LINE | CRASH_PAGE,
					.share = SHARE_CHEAP,
					.kind = &twz_kind,
					.setup = bare_setup,
					.run = arena_run,
					.show = show_bare};
