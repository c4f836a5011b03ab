/* SPDX-License-Identifier: MIT
 * workloads_ptr.c -- persistent pointers and the FOT: an entry is durable before a pointer uses it (D9)
 */
#include "workloads.h"

#define SLOTS	  8
#define PROBES	  3 /* slots behind them, for whoever goes on after a death */
#define LONG_NAME "a name/longer than the fifteen bytes of an entry"
#define FOT_MANY  150 /* more than fit the meta page */

static int show_pointers(struct crash *c)
{
	struct twz_obj *o = NULL;
	twz_pptr *p;

	CRASH_DO(c, twz_obj_open(c->store, wl_id(1), TWZ_READ, &o));
	p = twz_obj_data(o);
	for (int i = 0; i < SLOTS + PROBES; i++) {
		const uint64_t *to = twz_lea(p, p[i]);

		if (!twz_pptr_is_null(p[i]) && !to)
			return crash_why(c, "pointer %d leads nowhere: %s", i, twz_errmsg());
		if (i < SLOTS)
			crash_say(c, "pointer %d -> %llu\n", i, to ? (unsigned long long)*to : 0);
	}
	twz_obj_close(o);
	return 0;
}

/* Pointers to all targets, by entries that somebody who died may have been making. */
static int ptr_probe(struct crash *c)
{
	struct twz_obj *o = NULL, *to = NULL;
	twz_pptr *p;

	CRASH_DO(c, twz_obj_open(c->store, wl_id(1), TWZ_READ | TWZ_WRITE, &o));
	p = (twz_pptr *)twz_obj_data(o) + SLOTS;
	for (uint64_t i = 0; i < PROBES; i++) {
		CRASH_DO(c, twz_obj_open(c->store, wl_id(2 + i), TWZ_READ, &to));
		CRASH_DO(c, twz_ptr_store(&p[i], (uint64_t *)twz_obj_data(to) + 100, TWZ_READ));
		CRASH_DO(c, twz_sync(c->store, &p[i], sizeof(p[i])));
		twz_obj_close(to);
	}
	twz_obj_close(o);
	return twz_kind_probe(c);
}

static const struct crash_kind ptr_kind = {twz_kind_open, twz_kind_check, twz_kind_close,
					   ptr_probe,	  NULL,		  true};

static int ptr_setup(struct crash *c)
{
	for (uint64_t n = 1; n <= 4; n++) {
		struct twz_obj *o = NULL;
		uint64_t *w;

		CRASH_DO(c, wl_create(c, n, 4096, &o));
		w = twz_obj_data(o);
		w[100] = 1000 * n;
		CRASH_DO(c, twz_sync(c->store, &w[100], sizeof(*w)));
		c->user[n] = o;
	}
	return 0;
}

static int set_pointer(struct crash *c, int slot, uint64_t target)
{
	twz_pptr *p = twz_obj_data(c->user[1]);
	uint64_t *to = target ? (uint64_t *)twz_obj_data(c->user[target]) + 100 : NULL;
	int rc = twz_ptr_store(&p[slot], to, TWZ_READ);

	return rc ? rc : twz_sync(c->store, &p[slot], sizeof(p[slot]));
}

static int point_id(struct crash *c, int slot, uint64_t n)
{
	twz_pptr *p = twz_obj_data(c->user[1]);
	int rc = twz_ptr_make_id(p, wl_id(n), TWZ_DATA_OFF + 800, TWZ_READ, &p[slot]);

	return rc ? rc : twz_sync(c->store, &p[slot], sizeof(p[slot]));
}

static int ptr_run(struct crash *c)
{
	CRASH_OP(c, set_pointer(c, 0, 2)); /* a new entry */
	CRASH_OP(c, set_pointer(c, 1, 3));
	CRASH_OP(c, set_pointer(c, 2, 2)); /* an entry there is */
	CRASH_OP(c, set_pointer(c, 0, 1)); /* intra-object */
	CRASH_OP(c, set_pointer(c, 1, 0));
	CRASH_OP(c, set_pointer(c, 3, 4));
	CRASH_OP(c, point_id(c, 4, 1)); /* itself: no entry */
	return 0;
}

const struct crash_workload wl_ptr = {.name = "core.pointer",
				      .what = "FOT entries and the pointers that use them",
				      .media = CRASH_ALL,
				      .share = SHARE_CHEAP,
				      .plain = true,
				      .quick = true,
				      .kind = &ptr_kind,
				      .setup = ptr_setup,
				      .run = ptr_run,
				      .show = show_pointers};

/* --- FOT growth: more entries than the meta page holds --- */

static twz_oid far_id(uint64_t i)
{
	return (twz_oid){{0xfa0000 + i, i}};
}

static int show_many(struct crash *c)
{
	struct twz_obj *o = NULL;
	twz_pptr *p;

	CRASH_DO(c, twz_obj_open(c->store, wl_id(1), TWZ_READ, &o));
	p = twz_obj_data(o);
	for (uint64_t i = 0; i < FOT_MANY; i++) {
		struct twz_fot_info info;

		if (twz_pptr_is_null(p[i]))
			continue;
		CRASH_DO(c, twz_fot_get(o, twz_pptr_fot(p[i]), &info));
		if (!twz_oid_eq(info.id, far_id(i)))
			return crash_why(c, "pointer %llu: its FOT entry names another object",
					 (unsigned long long)i);
		crash_say(c, "pointer %llu\n", (unsigned long long)i);
	}
	twz_obj_close(o);
	return 0;
}

static int point_far(struct crash *c, uint64_t i)
{
	twz_pptr *p = twz_obj_data(c->user[1]);
	int rc = twz_ptr_make_id(p, far_id(i), 4096, TWZ_READ, &p[i]);

	return rc ? rc : twz_sync(c->store, &p[i], sizeof(p[i]));
}

static int many_setup(struct crash *c)
{
	struct twz_obj *o = NULL;

	CRASH_DO(c, wl_create(c, 1, 4096, &o));
	c->user[1] = o;
	for (uint64_t i = 0; i < FOT_MANY - 40; i++)
		CRASH_DO(c, point_far(c, i));
	return 0;
}

static int many_run(struct crash *c)
{
	for (uint64_t i = FOT_MANY - 40; i < FOT_MANY; i++)
		CRASH_OP(c, point_far(c, i));
	return 0;
}

const struct crash_workload wl_fot_grow = {.name = "core.fot_growth",
					   .what = "the FOT grows below the meta page",
					   .media = CRASH_ALL,
					   .share = SHARE_CHEAP,
					   .plain = true,
					   .kind = &twz_kind,
					   .setup = many_setup,
					   .run = many_run,
					   .show = show_many};

/* --- entries by index, as a database that numbers its objects sets them --- */

static const uint64_t set_idx[] = {1, 2, 7, 200, 300, 900};

/* Entry SET_IDX[I], as the run sets it. */
static int set_one(struct twz_obj *o, size_t i)
{
	switch (set_idx[i]) {
	case 1:
		return twz_fot_set(o, 1, far_id(1), TWZ_READ);
	case 2:
		return twz_fot_set(o, 2, wl_id(2), TWZ_READ);
	case 7:
		return twz_fot_set_local(o, 7, 33, TWZ_READ | TWZ_WRITE);
	case 200:
		return twz_fot_set_local(o, 200, 34, TWZ_READ);
	case 300:
		return twz_fot_set(o, 300, far_id(3), TWZ_READ);
	default:
		return twz_fot_set(o, 900, far_id(2), TWZ_READ);
	}
}

/* Words of the object's data: entry SET_IDX[I] was found and relied upon. */
static uint64_t *relied(struct twz_obj *o, size_t i)
{
	return (uint64_t *)twz_obj_data(o) + 200 + i;
}

static int show_entries(struct crash *c)
{
	struct twz_obj *o = NULL;

	CRASH_DO(c, twz_obj_open(c->store, wl_id(1), TWZ_READ | TWZ_WRITE, &o));
	for (size_t i = 0; i < sizeof(set_idx) / sizeof(set_idx[0]); i++) {
		struct twz_fot_info info;
		int rc = twz_fot_get(o, set_idx[i], &info);

		if (rc == TWZ_E_NOENT && *relied(o, i))
			return crash_why(c, "entry %llu was found, set once more, and is gone",
					 (unsigned long long)set_idx[i]);
		if (rc == TWZ_E_NOENT)
			continue;
		CRASH_DO(c, rc);
		crash_say(c, "entry %llu kind %u perm %u -> %llx:%llx\n",
			  (unsigned long long)set_idx[i], info.kind, info.perm,
			  (unsigned long long)info.id.w[0], (unsigned long long)info.id.w[1]);
	}
	twz_obj_close(o);
	return 0;
}

/* Set what is there already: nothing changes, but from then on it must be durable. */
static int set_probe(struct crash *c)
{
	struct twz_obj *o = NULL;

	CRASH_DO(c, twz_obj_open(c->store, wl_id(1), TWZ_READ | TWZ_WRITE, &o));
	for (size_t i = 0; i < sizeof(set_idx) / sizeof(set_idx[0]); i++) {
		struct twz_fot_info info;

		if (twz_fot_get(o, set_idx[i], &info))
			continue;
		CRASH_DO(c, set_one(o, i));
		*relied(o, i) = 1;
		CRASH_DO(c, twz_sync(c->store, relied(o, i), sizeof(uint64_t)));
	}
	twz_obj_close(o);
	return twz_kind_probe(c);
}

static const struct crash_kind set_kind = {twz_kind_open, twz_kind_check, twz_kind_close,
					   set_probe,	  NULL,		  true};

static int set_run(struct crash *c)
{
	struct twz_obj *o = NULL;

	CRASH_DO(c, twz_obj_open(c->store, wl_id(1), TWZ_READ | TWZ_WRITE, &o));
	/*
	 * The FOT grows, and the meta page, which holds nothing yet, needs its header all the
	 * same.
	 */
	CRASH_OP(c, twz_fot_set(o, 900, far_id(2), TWZ_READ));
	CRASH_OP(c, twz_fot_set(o, 2, wl_id(2), TWZ_READ));
	CRASH_OP(c, twz_fot_set_local(o, 7, 33, TWZ_READ | TWZ_WRITE));
	CRASH_OP(c, twz_fot_set(o, 1, far_id(1), TWZ_READ));
	CRASH_OP(c, twz_fot_set(o, 2, wl_id(2), TWZ_READ)); /* equal: nothing changes */
	CRASH_OP(c, twz_fot_set_local(o, 200, 34, TWZ_READ));
	twz_obj_close(o);
	return 0;
}

/* Whoever claims the next entry finishes what the dead one had begun. */
static int set_again(struct crash *c)
{
	struct twz_obj *o = NULL;

	CRASH_DO(c, twz_obj_open(c->store, wl_id(1), TWZ_READ | TWZ_WRITE, &o));
	CRASH_OP(c, twz_fot_set(o, 300, far_id(3), TWZ_READ));
	twz_obj_close(o);
	return 0;
}

const struct crash_workload wl_fot_set = {
	.name = "core.fot_set",
	.what = "twz_fot_set, twz_fot_set_local: entries by index (D9)",
	.media = CRASH_ALL,
	.share = SHARE_CHEAP,
	.plain = true,
	.kind = &set_kind,
	.setup = ptr_setup,
	.run = set_run,
	.show = show_entries,
	.again = set_again};

/* --- pointers to names and to objects that do not exist yet: late binding --- */

static int show_late(struct crash *c)
{
	struct twz_obj *o = NULL;
	twz_pptr *p;

	CRASH_DO(c, twz_obj_open(c->store, wl_id(1), TWZ_READ, &o));
	p = twz_obj_data(o);
	for (int i = 0; i < SLOTS; i++) {
		struct twz_fot_info info;
		const uint64_t *to;

		if (twz_pptr_is_null(p[i]))
			continue;
		CRASH_DO(c, twz_fot_get(o, twz_pptr_fot(p[i]), &info));
		to = twz_lea(p, p[i]);
		crash_say(c, "pointer %d kind %u name '%.15s' -> %lld\n", i, info.kind, info.name,
			  to ? (long long)*to : -1);
	}
	twz_obj_close(o);
	return 0;
}

static int point_name(struct crash *c, int slot, const char *name)
{
	twz_pptr *p = twz_obj_data(c->user[1]);
	int rc = twz_ptr_make_name(p, name, TWZ_DATA_OFF + 800, TWZ_READ, &p[slot]);

	return rc ? rc : twz_sync(c->store, &p[slot], sizeof(p[slot]));
}

static int late_run(struct crash *c)
{
	CRASH_OP(c, point_name(c, 0, "two"));
	CRASH_OP(c, twz_name_set(c->store, "two", wl_id(2), 0));
	CRASH_OP(c, point_name(c, 1, LONG_NAME)); /* by hash */
	CRASH_OP(c, twz_name_set(c->store, LONG_NAME, wl_id(3), 0));
	CRASH_OP(c, point_id(c, 2, 9));
	CRASH_OP(c, wl_create(c, 9, 4096, NULL));
	CRASH_OP(c, point_name(c, 3, "two")); /* the entry there is */
	return 0;
}

const struct crash_workload wl_late = {
	.name = "core.late_binding",
	.what = "twz_ptr_make_name, twz_ptr_make_id: entries before their targets",
	.media = CRASH_LINE | CRASH_PAGE,
	.plain = true,
	.kind = &twz_kind,
	.setup = ptr_setup,
	.run = late_run,
	.show = show_late};
