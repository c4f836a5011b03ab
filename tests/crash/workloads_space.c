/* SPDX-License-Identifier: MIT
 * workloads_space.c -- the space map and the extents: fragmented objects, pages that change hands
 */
#include "workloads.h"

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
