/* SPDX-License-Identifier: MIT
 * workloads_huge.c -- stores of 1 GiB with a little everywhere: offsets, extents and maps beyond the first chunks
 *
 * The file is sparse: what nobody stores to takes no memory.
 */
#include "workloads.h"

#include <string.h>

#include "twzdb.h"

#define STORE_LEN ((uint64_t)1 << 30)
#define FILLER	  ((uint64_t)180 << 20) /* an object that takes so much; nothing is in it */
#define FAR	  ((uint64_t)700 << 20)
#define SPOTS	  12

static int store_options(struct crash *c, struct twz_store_options *so)
{
	*so = (struct twz_store_options){.size = sizeof(*so),
					 .flags = c->read_only	  ? TWZ_STORE_READONLY
						  : c->recovering ? 0
								  : TWZ_STORE_CREATE,
					 .initial_len = STORE_LEN,
					 .journal_len = 16 << 10,
					 .backend = c->backend};
	return 0;
}

/* --- objects and undo transactions --- */

static int huge_open(struct crash *c)
{
	struct twz_store_options so;
	struct twz_store *s = NULL;

	crash_err_name = twz_err_name;
	crash_err_msg = twz_errmsg;
	store_options(c, &so);
	CRASH_DO(c, twz_store_open(c->path, &so, &s));
	c->store = s;
	return 0;
}

static const struct crash_kind huge_kind = {huge_open,	    twz_kind_check, twz_kind_close,
					    twz_kind_probe, NULL,	    true};

/* Spot I of an object of FAR bytes. */
static uint64_t *spot(struct twz_obj *o, int i)
{
	return (uint64_t *)((char *)twz_obj_data(o) + (uint64_t)i * (FAR / SPOTS) / 4096 * 4096 +
			    (uint64_t)i * 520);
}

static int setup_far(struct crash *c)
{
	struct twz_obj *o = NULL;

	CRASH_DO(c, wl_create(c, 1, FAR, &o));
	c->user[1] = o;
	return 0;
}

static int change_spots(struct crash *c, int first, int step, uint64_t v)
{
	struct twz_obj *o = c->user[1];
	struct twz_tx *tx = NULL;
	int rc = twz_tx_begin(c->store, &tx);

	for (int i = first; i < SPOTS && !rc; i += step) {
		rc = twz_tx_record(tx, spot(o, i), 24);
		if (!rc)
			memset(spot(o, i), (int)v + i, 24);
	}
	return rc ? rc : twz_tx_commit(tx);
}

static int run_far(struct crash *c)
{
	struct twz_obj *o = NULL;

	CRASH_OP(c, change_spots(c, 0, 1, 1));
	CRASH_OP(c, wl_create(c, 2, FILLER, &o));
	twz_obj_close(o);
	CRASH_OP(c, change_spots(c, 1, 2, 40));
	CRASH_OP(c, twz_obj_delete(c->store, wl_id(2)));
	CRASH_OP(c, wl_create(c, 3, 256 << 10, &o));
	twz_obj_close(o);
	CRASH_OP(c, change_spots(c, 0, 3, 80));
	return 0;
}

static int show_far(struct crash *c)
{
	struct twz_obj *o = NULL;

	CRASH_DO(c, wl_show_objects(c, false));
	CRASH_DO(c, twz_obj_open(c->store, wl_id(1), TWZ_READ, &o));
	for (int i = 0; i < SPOTS; i++)
		crash_say(c, "%llx ", (unsigned long long)wl_sum(spot(o, i), 24));
	crash_say(c, "\n");
	twz_obj_close(o);
	return 0;
}

const struct crash_workload wl_huge_tx = {
	.name = "huge.tx",
	.what = "undo transactions all over a store of 1 GiB, large objects made and deleted",
	.media = CRASH_LINE | CRASH_PAGE,
	.share = 3,
	.huge = true,
	.kind = &huge_kind,
	.setup = setup_far,
	.run = run_far,
	.show = show_far};

/* --- a database whose parts lie far from each other --- */

static int huge_db_options(struct crash *c, uint32_t flags)
{
	struct twz_store_options so;
	struct twzdb_options opt = {.size = sizeof(opt),
				    .flags = flags | (c->read_only ? TWZDB_READONLY : 0),
				    .log_len = 16 << 10,
				    .initial_len = 256 << 10,
				    .store_options = &so};
	struct twzdb *db = NULL;

	store_options(c, &so);
	CRASH_DO(c, twzdb_open(c->path, &opt, &db));
	c->db = db;
	c->store = twzdb_store(db);
	return 0;
}

static int huge_db_open(struct crash *c)
{
	db_names();
	return huge_db_options(c, c->recovering ? 0 : TWZDB_CREATE);
}

static const struct crash_kind huge_db_kind = {huge_db_open, db_check, db_close, db_probe,
					       db_inside,    true,     db_settle};

/* What is added to the database now lies behind another filler. */
static int setup_spread(struct crash *c)
{
	struct twz_obj *o = NULL;

	for (int i = 0; i < 5; i++) {
		CRASH_DO(c, wl_create(c, 1 + (uint64_t)i, FILLER, &o));
		twz_obj_close(o);
		CRASH_DO(c, db_rows(c, "t", i * 50, 50, 1, 4000, i));
	}
	return 0;
}

static int run_spread(struct crash *c)
{
	CRASH_OP(c, db_rows(c, "t", 3, 12, 20, 40, 1));
	CRASH_OP(c, db_rows(c, "t", 20, 9, 25, 4100, 2));
	CRASH_OP(c, db_rows(c, "u", 0, 30, 1, 16, 3));
	CRASH_OP(c, db_rows(c, "t", 0, 40, 3, -1, 0));
	CRASH_OP(c, db_rows(c, "t", 5, 1, 1, 150000, 4));
	return 0;
}

const struct crash_workload wl_huge_commit = {
	.name = "huge.commit",
	.what = "commits to a database spread over a store of 1 GiB",
	.media = CRASH_LINE | CRASH_PAGE,
	.share = 3,
	.huge = true,
	.kind = &huge_db_kind,
	.setup = setup_spread,
	.run = run_spread,
	.show = db_show};
