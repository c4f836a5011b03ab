/* SPDX-License-Identifier: MIT
 * workloads_sites.c -- call sites that no other workload comes to (sites.py says which there are)
 */
#include "workloads.h"

#include <string.h>

/* --- more places than are synced one by one: on page media one sync of everything --- */

#define SPAN_OBJS 18 /* each in a slot of its own, far from the others */

static int setup_spans(struct crash *c)
{
	for (uint64_t i = 0; i < SPAN_OBJS; i++)
		CRASH_DO(c, wl_create(c, i + 1, 4096, NULL));
	return 0;
}

static int open_all(struct crash *c, struct twz_obj **o)
{
	int rc = 0;

	for (uint64_t i = 0; i < SPAN_OBJS && !rc; i++)
		rc = twz_obj_open(c->store, wl_id(i + 1), TWZ_READ | TWZ_WRITE, &o[i]);
	return rc;
}

static int commit_spans(struct crash *c, struct twz_obj **o, uint64_t v)
{
	struct twz_tx *tx = NULL;
	int rc = twz_tx_begin(c->store, &tx);

	for (uint64_t i = 0; i < SPAN_OBJS && !rc; i++) {
		uint64_t *word = twz_obj_data(o[i]);

		rc = twz_tx_record(tx, word, sizeof(*word));
		if (!rc)
			*word = v + i;
	}
	return rc ? rc : twz_tx_commit(tx);
}

static int run_spans(struct crash *c)
{
	struct twz_obj *o[SPAN_OBJS];

	CRASH_DO(c, open_all(c, o));
	CRASH_OP(c, commit_spans(c, o, 100));
	CRASH_OP(c, commit_spans(c, o, 200));
	for (size_t i = 0; i < SPAN_OBJS; i++)
		twz_obj_close(o[i]);
	return 0;
}

static int show_spans(struct crash *c)
{
	return wl_show_objects(c, true);
}

const struct crash_workload wl_tx_spans = {
	.name = "tx.spans",
	.what = "a transaction on pages of many objects: one sync for all",
	.media = CRASH_LINE | CRASH_PAGE,
	.share = 10,
	.kind = &twz_kind,
	.setup = setup_spans,
	.run = run_spans,
	.show = show_spans};

/* --- space that was given back reads as zeros, durably, whoever asked for it (obj.h) --- */

#define GIVE_PAGES 3

static int setup_give(struct crash *c)
{
	struct twz_obj *o = NULL;

	CRASH_DO(c, wl_create(c, 1, GIVE_PAGES * TWZ_PAGE_SIZE, &o));
	c->user[0] = o;
	memset(twz_obj_data(o), 'x', GIVE_PAGES * TWZ_PAGE_SIZE);
	CRASH_DO(c, twz_sync(c->store, twz_obj_data(o), GIVE_PAGES * TWZ_PAGE_SIZE));
	return 0;
}

static int run_give(struct crash *c)
{
	CRASH_OP(c, twz_obj_give(c->user[0], TWZ_DATA_OFF + TWZ_PAGE_SIZE, TWZ_PAGE_SIZE));
	CRASH_OP(c, twz_obj_give(c->user[0], TWZ_DATA_OFF, TWZ_PAGE_SIZE));
	return 0;
}

/* One byte of each page: while it is given back some of it may be there. */
static int show_give(struct crash *c)
{
	struct twz_obj *o = NULL;
	int rc = twz_obj_open(c->store, wl_id(1), TWZ_READ, &o);

	for (int i = 0; i < GIVE_PAGES && !rc; i++)
		crash_say(c, "%d ", ((const char *)twz_obj_data(o))[i * TWZ_PAGE_SIZE]);
	if (!rc)
		twz_obj_close(o);
	return rc;
}

const struct crash_workload wl_give = {.name = "core.give",
				       .what = "space of an object goes back to the file system",
				       .media = CRASH_LINE | CRASH_PAGE,
				       .share = SHARE_CHEAP,
				       .kind = &twz_kind,
				       .setup = setup_give,
				       .run = run_give,
				       .show = show_give};
