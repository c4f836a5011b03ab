/* SPDX-License-Identifier: MIT
 * workloads_name.c -- the name space of a store
 */
#include "workloads.h"

static int say_name(void *ctx, const char *name, twz_oid id)
{
	crash_say(ctx, "%s = %llu\n", name, (unsigned long long)id.w[0]);
	return 0;
}

static int show_names(struct crash *c)
{
	return twz_name_list(c->store, "", say_name, c)
		       ? crash_why(c, "cannot list names: %s", twz_errmsg())
		       : 0;
}

static int name_run(struct crash *c)
{
	CRASH_OP(c,
		 twz_name_set(c->store, "a", wl_id(1), 0)); /* the first one makes the name space */
	CRASH_OP(c, twz_name_set(c->store, "dir/b", wl_id(2), 0));
	CRASH_OP(c, twz_name_set(c->store, "a", wl_id(3), 1));
	CRASH_OP(c, twz_name_rename(c->store, "dir/b", "dir/renamed to something longer"));
	CRASH_OP(c, twz_name_del(c->store, "a"));
	CRASH_OP(c, twz_name_set(c->store, "dir/c", wl_id(4), 0));
	return 0;
}

const struct crash_workload wl_name = {.name = "name.changes",
				       .what = "set, replace, rename and remove names",
				       .media = CRASH_ALL,
				       .share = SHARE_CHEAP,
				       .quick = true,
				       .kind = &twz_kind,
				       .run = name_run,
				       .show = show_names};

/* Enough names that whatever holds them must grow. */
static int name_many_setup(struct crash *c)
{
	char name[64];

	for (uint64_t i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "group %llu/a rather long name %llu",
			 (unsigned long long)(i % 3), (unsigned long long)i);
		CRASH_DO(c, twz_name_set(c->store, name, wl_id(i + 1), 0));
	}
	return 0;
}

static int name_many_run(struct crash *c)
{
	char name[64];

	for (uint64_t i = 40; i < 70; i++) {
		snprintf(name, sizeof(name), "group %llu/a rather long name %llu",
			 (unsigned long long)(i % 3), (unsigned long long)i);
		CRASH_OP(c, twz_name_set(c->store, name, wl_id(i + 1), 0));
	}
	CRASH_OP(c, twz_name_rename(c->store, "group 1/a rather long name 1", "z"));
	return 0;
}

const struct crash_workload wl_name_many = {.name = "name.many",
					    .what = "the name space grows",
					    .media = CRASH_LINE | CRASH_PAGE,
					    .kind = &twz_kind,
					    .setup = name_many_setup,
					    .run = name_many_run,
					    .show = show_names};

#define NAMES_FULL 128 /* twice the buckets of a new name space */

/* The table of buckets doubles: all names are linked anew by one transaction. */
static int name_one(struct crash *c, uint64_t i)
{
	char name[24];

	snprintf(name, sizeof(name), "n%llu", (unsigned long long)i);
	return twz_name_set(c->store, name, wl_id(i + 1), 0);
}

static int name_grow_setup(struct crash *c)
{
	for (uint64_t i = 0; i < NAMES_FULL - 1; i++)
		CRASH_DO(c, name_one(c, i));
	return 0;
}

static int name_grow_run(struct crash *c)
{
	for (uint64_t i = NAMES_FULL - 1; i < NAMES_FULL + 2; i++)
		CRASH_OP(c, name_one(c, i));
	CRASH_OP(c, twz_name_del(c->store, "n3"));
	return 0;
}

const struct crash_workload wl_name_grow = {.name = "name.grow",
					    .what = "the table of names doubles",
					    .media = CRASH_ALL,
					    .kind = &twz_kind,
					    .setup = name_grow_setup,
					    .run = name_grow_run,
					    .show = show_names};
