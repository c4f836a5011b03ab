/* SPDX-License-Identifier: MIT
 * workloads_core.c -- store creation, objects, the metadata journal (D9, D11, D18)
 */
#include "workloads.h"

#include <string.h>

/* --- store.create: an empty file becomes a store (D18) --- */

static int create_open(struct crash *c)
{
	struct twz_store_options opt = {.size = sizeof(opt),
					.flags = TWZ_STORE_CREATE,
					.initial_len = TWZ_KIND_LEN,
					.journal_len = 16 << 10,
					.backend = c->backend};
	struct twz_store *s = NULL;
	int rc;

	crash_err_name = twz_err_name;
	crash_err_msg = twz_errmsg;
	c->user[0] = NULL; /* set: it was a store already */
	if (!c->recovering)
		return 0;
	opt.flags = 0;
	rc = twz_store_open(c->path, &opt, &s);
	if (!rc)
		c->user[0] = c;
	opt.flags = TWZ_STORE_CREATE;
	if (rc && !c->w->empty_file) /* it has its name, so it is whole */
		CRASH_DO(c, rc);
	if (rc) /* whatever creation left behind, creating again must work */
		CRASH_DO(c, twz_store_open(c->path, &opt, &s));
	c->store = s;
	return 0;
}

static int create_close(struct crash *c)
{
	return c->store ? twz_kind_close(c) : 0;
}

static int create_check(struct crash *c)
{
	return c->store ? twz_kind_check(c) : 0;
}

static int create_show(struct crash *c)
{
	struct twz_store_info info = {.size = sizeof(info)};

	if (!c->store && !c->recovering) {
		crash_say(c, "no store\n");
		return 0;
	}
	CRASH_DO(c, twz_store_info(c->store, &info));
	if (c->recovering && !c->user[0])
		crash_say(c, "no store\n");
	else
		crash_say(c, "store, %llu objects\n", (unsigned long long)info.obj_cnt);
	c->user[0] = c; /* a second opening must find it */
	return 0;
}

static int create_run(struct crash *c)
{
	struct twz_store_options opt = {.size = sizeof(opt),
					.flags = TWZ_STORE_CREATE,
					.initial_len = TWZ_KIND_LEN,
					.journal_len = 16 << 10,
					.backend = c->backend};
	struct twz_store *s = NULL;

	crash_begin(c);
	CRASH_DO(c, twz_store_open(c->path, &opt, &s));
	c->store = s;
	return crash_done(c);
}

static const struct crash_kind create_kind = {create_open, create_check, create_close};

const struct crash_workload wl_store_create = {
	.name = "core.store_create",
	.what = "an empty file becomes a store, or stays none (D18)",
	.media = CRASH_LINE | CRASH_PAGE,
	.empty_file = true,
	.once = true,
	.kind = &create_kind,
	.run = create_run,
	.show = create_show};

const struct crash_workload wl_store_named = {
	.name = "core.store_named",
	.what = "a new store gets its name when all of it is durable (D18)",
	.media = CRASH_LINE | CRASH_PAGE,
	.once = true,
	.kind = &create_kind,
	.run = create_run,
	.show = create_show};

/* --- objects --- */

static int show_objects(struct crash *c)
{
	return wl_show_objects(c, true);
}

static int object_run(struct crash *c)
{
	struct twz_obj *o = NULL;

	CRASH_OP(c, wl_create(c, 1, 4096, NULL));
	CRASH_OP(c, wl_create(c, 2, 12288, NULL));
	CRASH_OP(c, twz_obj_delete(c->store, wl_id(1)));
	CRASH_DO(c, twz_obj_open(c->store, wl_id(2), TWZ_READ | TWZ_WRITE, &o));
	CRASH_OP(c, twz_obj_resize(o, 28672));
	CRASH_OP(c, twz_obj_resize(o, 4096));
	twz_obj_close(o);
	CRASH_OP(c, wl_create(c, 3, 8192, NULL));
	CRASH_OP(c, twz_obj_delete(c->store, wl_id(2)));
	return 0;
}

const struct crash_workload wl_object = {.name = "core.object",
					 .what = "create, delete, grow and shrink objects",
					 .media = CRASH_ALL,
					 .share = SHARE_CHEAP,
					 .quick = true,
					 .kind = &twz_kind,
					 .run = object_run,
					 .show = show_objects};

/*
 * Deleting an object that is open frees its space at the last close: no state but the free space
 * changes.
 */
static int reclaim_setup(struct crash *c)
{
	struct twz_obj *o = NULL;

	CRASH_DO(c, wl_create(c, 1, 16384, &o));
	memset(twz_obj_data(o), 0x5a, 16384);
	CRASH_DO(c, twz_sync(c->store, twz_obj_data(o), 16384));
	c->user[0] = o;
	return 0;
}

static int reclaim_run(struct crash *c)
{
	CRASH_OP(c, twz_obj_delete(c->store, wl_id(1)));
	twz_obj_close(c->user[0]);
	CRASH_OP(c,
		 wl_create(c, 2, 16384, NULL)); /* takes the same pages: they must read as zeros */
	CRASH_OP(c, wl_create(c, 3, 32768, NULL));
	return 0;
}

const struct crash_workload wl_reclaim = {
	.name = "core.reclaim",
	.what = "delete an open object, close it, use its space again",
	.media = CRASH_ALL,
	.share = SHARE_CHEAP,
	.kind = &twz_kind,
	.setup = reclaim_setup,
	.run = reclaim_run,
	.show = show_objects};

/* The image grows under new objects (D11). */
static int grow_run(struct crash *c)
{
	for (uint64_t n = 1; n <= 3; n++)
		CRASH_OP(c, wl_create(c, n, 160 << 10, NULL));
	return 0;
}

const struct crash_workload wl_grow = {.name = "core.grow",
				       .what = "the file grows for new objects (D11)",
				       .media = CRASH_ALL,
				       .share = SHARE_DEAR,
				       .kind = &twz_kind,
				       .run = grow_run,
				       .show = show_objects};

/*
 * A store has grown to more than half of what there is: it asks for as much again, is refused, and takes what it needs. Of a pair, for
 * there growth is a write that a crash may forget.
 */
static int full_setup(struct crash *c)
{
	CRASH_DO(c, wl_create(c, 1, 1200 << 10, NULL));
	return 0;
}

static int full_run(struct crash *c)
{
	struct twz_store_info before = {.size = sizeof(before)}, after = {.size = sizeof(after)};

	CRASH_DO(c, twz_store_info(c->store, &before));
	CRASH_OP(c, wl_create(c, 2, 320 << 10, NULL));
	CRASH_DO(c, twz_store_info(c->store, &after));
	if (after.len <= before.len || 2 * before.len <= SIM_PAIR_EACH)
		return crash_why(c, "the store had room, or the disk: %llu bytes, then %llu",
				 (unsigned long long)before.len, (unsigned long long)after.len);
	CRASH_OP(c, wl_create(c, 3, 4096, NULL));
	return 0;
}

/* Not opened to be read only: there are no such openings of pairs. */
static const struct crash_kind full_kind = {twz_kind_open, twz_kind_check, twz_kind_close,
					    twz_kind_probe};

const struct crash_workload wl_grow_full = {
	.name = "core.grow_full",
	.what = "a store grows on a disk that is nearly full (D11)",
	.media = CRASH_LINE | CRASH_PAGE,
	.share = 10,
	.pair = true,
	.kind = &full_kind,
	.setup = full_setup,
	.run = full_run,
	.show = show_objects};

/* Enough metadata changes for several laps of the smallest journal, checkpoints in between (D5). */
static int laps_run(struct crash *c)
{
	for (uint64_t i = 0; i < 150; i++) {
		uint64_t n = 1 + i % 5;

		if (i % 10 < 5)
			CRASH_OP(c, wl_create(c, n, 4096 * (1 + i % 3), NULL));
		else
			CRASH_OP(c, twz_obj_delete(c->store, wl_id(n)));
	}
	return 0;
}

const struct crash_workload wl_laps = {
	.name = "core.journal_laps",
	.what = "several laps of the metadata journal, with checkpoints (D5)",
	.media = CRASH_LINE | CRASH_PAGE,
	.share = SHARE_CHEAP,
	.kind = &twz_kind,
	.run = laps_run,
	.show = show_objects};

/* Clean close, opening again, and changes after it. */
static int close_run(struct crash *c)
{
	for (uint64_t n = 1; n <= 3; n++) {
		CRASH_OP(c, wl_create(c, n, 4096, NULL));
		CRASH_DO(c, twz_kind_close(c));
		c->recovering = true; /* open, do not create */
		CRASH_DO(c, twz_kind_open(c));
		c->recovering = false;
	}
	return 0;
}

const struct crash_workload wl_close = {.name = "core.close",
					.what = "clean close and opening again",
					.media = CRASH_LINE | CRASH_PAGE,
					.kind = &twz_kind,
					.run = close_run,
					.show = show_objects};

/* --- data made durable by the primitives --- */

static int persist_setup(struct crash *c)
{
	struct twz_obj *o = NULL;

	CRASH_DO(c, wl_create(c, 1, 8192, &o));
	c->user[0] = o;
	return 0;
}

static int show_words(struct crash *c)
{
	struct twz_obj *o = NULL;
	uint64_t *w;

	CRASH_DO(c, twz_obj_open(c->store, wl_id(1), TWZ_READ, &o));
	w = twz_obj_data(o);
	crash_say(c, "words %llu %llu\n", (unsigned long long)w[0], (unsigned long long)w[512]);
	twz_obj_close(o);
	return 0;
}

static int sync_words(struct crash *c, uint64_t i, uint64_t v)
{
	uint64_t *w = twz_obj_data(c->user[0]);

	w[i] = v;
	return twz_sync(c->store, &w[i], sizeof(*w));
}

static int persist_run(struct crash *c)
{
	for (uint64_t v = 1; v <= 3; v++) {
		CRASH_OP(c, sync_words(c, 0, v));
		CRASH_OP(c, sync_words(c, 512, v));
	}
	return 0;
}

const struct crash_workload wl_persist = {.name = "core.sync",
					  .what = "twz_sync of single words",
					  .media = CRASH_LINE | CRASH_PAGE,
					  .share = SHARE_CHEAP,
					  .quick = true,
					  .kind = &twz_kind,
					  .setup = persist_setup,
					  .run = persist_run,
					  .show = show_words};

/* --- crash, recovery, new changes, and a second crash (D1) --- */

static int again_run(struct crash *c)
{
	CRASH_OP(c, wl_create(c, 1, 8192, NULL));
	CRASH_OP(c, wl_create(c, 2, 4096, NULL));
	CRASH_OP(c, twz_obj_delete(c->store, wl_id(1)));
	return 0;
}

static int again_more(struct crash *c)
{
	CRASH_OP(c, wl_create(c, 3, 4096, NULL));
	CRASH_OP(c, twz_obj_delete(c->store, wl_id(3)));
	CRASH_OP(c, wl_create(c, 4, 8192, NULL));
	return 0;
}

const struct crash_workload wl_core_again = {
	.name = "core.again",
	.what = "crash, recovery, new objects, a second crash (D1)",
	.media = CRASH_LINE | CRASH_PAGE,
	.second = 12,
	.share = 25,
	.kind = &twz_kind,
	.run = again_run,
	.show = show_objects,
	.again = again_more};

/* --- one object, and no more --- */

static int word_run(struct crash *c)
{
	CRASH_OP(c, wl_create(c, 1, 4096, NULL));
	return 0;
}

const struct crash_workload wl_core_word = {.name = "core.word",
					    .what = "one object is created",
					    .media = CRASH_LINE | CRASH_PAGE,
					    .thrice = 24,
					    .kind = &twz_kind,
					    .run = word_run,
					    .show = show_objects};
