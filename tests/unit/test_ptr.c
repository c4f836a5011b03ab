/* SPDX-License-Identifier: MIT
 * test_ptr.c -- persistent pointers: loading, bounds, late binding, lifetime of targets, threads
 * and processes
 */
#include "t.h"

#include <pthread.h>
#include <sys/wait.h>

#include "internal.h"

#define LEN ((uint64_t)16 << 10)
#define RW  (TWZ_READ | TWZ_WRITE)

static const char *path;
static struct twz_store *s;

static struct twz_store *open_store(void)
{
	struct twz_store_options opt = {.size = sizeof(opt), .flags = TWZ_STORE_CREATE};
	struct twz_store *st = NULL;

	t_err_name = twz_err_name;
	t_err_msg = twz_errmsg;
	T_OK(twz_store_open(path, &opt, &st));
	return st;
}

static void begin(void)
{
	static int n;
	char name[32];

	snprintf(name, sizeof(name), "ptr%d.twz", n++);
	path = t_path(t_shm_dir(), name);
	s = open_store();
}

static void end(void)
{
	uint64_t found = 0;

	T_OK(twz_check(s, NULL, NULL, &found));
	T_EQ(found, 0);
	T_OK(twz_store_close(s));
	s = NULL;
}

static struct twz_obj *make(uint64_t len)
{
	struct twz_obj_options opt = {.size = sizeof(opt), .len = len};
	struct twz_obj *o = NULL;

	T_OK(twz_obj_create(s, &opt, NULL, &o));
	return o;
}

static struct twz_obj *open_obj(twz_oid id)
{
	struct twz_obj *o = NULL;

	T_OK(twz_obj_open(s, id, RW, &o));
	return o;
}

/* Cell N of an object: 8 bytes of its data. */
static twz_pptr *cell(struct twz_obj *o, uint64_t n)
{
	return (twz_pptr *)twz_obj_data(o) + n;
}

/* What the last call that returned NULL complained about. */
static bool said(const char *part)
{
	return T_HAS(twz_errmsg(), part);
}

static void *lea(const twz_pptr *where)
{
	void *a = twz_lea(where, *where), *b = twz_lea_tab(twz_slot_of(where), *where);

	T_TRUE(a == b);
	return a;
}

/* --- loading --- */

static void intra_pointer_round_trips(void)
{
	struct twz_obj *o;

	begin();
	o = make(LEN);
	T_OK(twz_ptr_store(cell(o, 0), cell(o, 1), RW));
	T_EQ(twz_pptr_fot(*cell(o, 0)), 0);
	T_TRUE(lea(cell(o, 0)) == cell(o, 1));
	T_TRUE(twz_lea_intra(cell(o, 0), *cell(o, 0)) == cell(o, 1));
	T_OK(twz_ptr_store(cell(o, 2), (char *)twz_obj_data(o) + LEN - 1, RW));
	T_TRUE(lea(cell(o, 2)) == (char *)twz_obj_data(o) + LEN - 1);
	twz_obj_close(o);
	end();
}

static void null_gives_null_and_no_error(void)
{
	struct twz_obj *o;

	begin();
	o = make(LEN);
	T_OK(twz_ptr_store(cell(o, 0), NULL, RW));
	T_TRUE(twz_pptr_is_null(*cell(o, 0)));
	(void)twz__err(TWZ_E_INVAL, "untouched");
	T_TRUE(!lea(cell(o, 0)));
	T_STR(twz_errmsg(), "untouched");
	twz_obj_close(o);
	end();
}

static void cross_pointer_reaches_its_target(void)
{
	struct twz_obj *a, *b;

	begin();
	a = make(LEN);
	b = make(LEN);
	T_OK(twz_ptr_store(cell(a, 0), cell(b, 7), RW));
	T_OK(twz_ptr_store(cell(a, 1), cell(b, 8), RW));
	T_OK(twz_ptr_store(cell(b, 0), cell(a, 9), RW));
	T_TRUE(twz_pptr_fot(*cell(a, 0)) > 0);
	T_EQ(twz_pptr_fot(*cell(a, 0)), twz_pptr_fot(*cell(a, 1)));
	for (int i = 0; i < 3; i++) {
		T_TRUE(lea(cell(a, 0)) == cell(b, 7));
		T_TRUE(lea(cell(a, 1)) == cell(b, 8));
		T_TRUE(lea(cell(b, 0)) == cell(a, 9));
	}
	T_OK(twz_ptr_store(cell(a, 2), cell(b, 7), TWZ_READ));
	T_TRUE(twz_pptr_fot(*cell(a, 2)) !=
	       twz_pptr_fot(*cell(a, 0))); /* other permissions, other entry */
	twz_obj_close(a);
	twz_obj_close(b);
	end();
}

/* Long runs of one target, random ones, and everything between: the guess must never show. */
static void every_pattern_of_targets_is_right(void)
{
	enum { OBJS = 8, CELLS = 512 };
	struct twz_obj *o[OBJS];
	void *want[OBJS][CELLS];
	uint64_t wrong = 0, obj = 0, n = 0;

	begin();
	for (int i = 0; i < OBJS; i++)
		o[i] = make(LEN);
	for (int i = 0; i < OBJS; i++)
		for (uint64_t k = 0; k < CELLS; k++) {
			want[i][k] = cell(o[t_rand_below(OBJS)], t_rand_below(LEN / 8));
			T_OK(twz_ptr_store(cell(o[i], k), want[i][k], RW));
		}
	for (int i = 0; i < 200000; i++) {
		uint64_t stay = (uint64_t)(i >> 12) % 8; /* 0: jump each time; 7: seldom */

		if (t_rand_below(1u << (stay * 2)) == 0) {
			obj = t_rand_below(OBJS);
			n = t_rand_below(CELLS);
		}
		wrong += twz_lea(cell(o[obj], n), *cell(o[obj], n)) != want[obj][n];
	}
	T_EQ(wrong, 0);
	for (int i = 0; i < OBJS; i++)
		twz_obj_close(o[i]);
	end();
}

/* --- what must fail --- */

static void outside_the_data_is_refused(void)
{
	struct twz_obj *a, *b;
	char id[TWZ_OID_STR_LEN];
	uint64_t fot;

	begin();
	a = make(LEN);
	b = make(LEN);
	T_OK(twz_ptr_store(cell(a, 0), cell(b, 0), RW));
	fot = twz_pptr_fot(*cell(a, 0));
	for (int cross = 0; cross < 2; cross++) {
		const uint64_t off[] = {TWZ_DATA_OFF + LEN, TWZ_DATA_OFF - 1, 8,
					TWZ_TOP_OFF,	    TWZ_META_OFF,     TWZ_SLOT_SIZE - 1};

		for (size_t i = 0; i < sizeof(off) / sizeof(off[0]); i++) {
			*cell(a, 1) = twz_pptr_make(cross ? fot : 0, off[i]);
			T_TRUE(!lea(cell(a, 1)));
			said("data end at 0x5000");
			said(twz_oid_str(twz_obj_id(cross ? b : a), id));
		}
	}
	T_TRUE(lea(cell(a, 0)) == cell(b, 0)); /* still works */
	*cell(a, 1) = twz_pptr_make(fot + 1, TWZ_DATA_OFF);
	T_TRUE(!lea(cell(a, 1)));
	said("is not in use");
	*cell(a, 1) = twz_pptr_make(((uint64_t)1 << 34) - 1, TWZ_DATA_OFF);
	T_TRUE(!lea(cell(a, 1)));
	said("17179869183");
	T_TRUE(!twz_lea(&fot, *cell(a, 0)));
	said("in no open object");
	twz_obj_close(a);
	twz_obj_close(b);
	end();
}

static void absent_object_is_named_and_may_come_later(void)
{
	struct twz_obj_options opt = {.size = sizeof(opt), .len = LEN, .id = {{0x1122, 0x3344}}};
	struct twz_obj *a, *b;

	begin();
	a = make(LEN);
	T_OK(twz_ptr_make_id(cell(a, 0), opt.id, TWZ_DATA_OFF, RW, cell(a, 0)));
	T_TRUE(!lea(cell(a, 0)));
	said("2211000000000000");
	T_OK(twz_obj_create(s, &opt, NULL, &b));
	T_TRUE(lea(cell(a, 0)) == cell(b, 0));
	twz_obj_close(a);
	twz_obj_close(b);
	end();
}

static void permissions_are_checked(void)
{
	struct twz_obj *a, *b;

	begin();
	a = make(LEN);
	b = make(LEN);
	T_OK(twz_ptr_store(cell(a, 0), cell(b, 0), TWZ_EXEC));
	T_TRUE(!lea(cell(a, 0)));
	said("does not permit reading");
	T_ERR(twz_ptr_store(cell(a, 1), cell(b, 0), 0), TWZ_E_INVAL);
	T_ERR(twz_ptr_store(cell(a, 1), cell(b, 0), 1u << 20), TWZ_E_INVAL);
	T_TRUE(twz_pptr_is_null(*cell(a, 1)));
	twz_obj_close(a);
	twz_obj_close(b);
	end();
}

static void read_only_object_takes_no_pointer(void)
{
	struct twz_obj *a, *b, *ro;
	twz_oid id;
	twz_pptr p;

	begin();
	a = make(LEN);
	b = make(LEN);
	id = twz_obj_id(a);
	twz_obj_close(a);
	T_REQ(twz_obj_open(s, id, TWZ_READ, &ro));
	T_ERR(twz_ptr_store(cell(ro, 0), cell(b, 0), RW), TWZ_E_READONLY);
	T_ERR(twz_ptr_make(cell(ro, 0), cell(b, 0), RW, &p), TWZ_E_READONLY);
	T_TRUE(twz_pptr_is_null(p));
	twz_obj_close(ro);
	twz_obj_close(b);
	end();
}

static void bad_places_and_targets_are_refused(void)
{
	const char *first = path;
	struct twz_store *other;
	struct twz_obj *a, *b;
	twz_pptr local, p;

	begin();
	a = make(LEN);
	T_ERR(twz_ptr_store(&local, cell(a, 0), RW), TWZ_E_INVAL);
	T_ERR(twz_ptr_store(cell(a, 0), &local, RW), TWZ_E_INVAL);
	T_ERR(twz_ptr_store(cell(a, 0), (char *)twz_obj_base(a) + TWZ_META_OFF, RW), TWZ_E_INVAL);
	T_ERR(twz_ptr_make_id(cell(a, 0), (twz_oid){{0, 0}}, TWZ_DATA_OFF, RW, &p), TWZ_E_INVAL);
	T_ERR(twz_ptr_make_id(cell(a, 0), (twz_oid){{1, 1}}, 8, RW, &p), TWZ_E_INVAL);
	T_ERR(twz_ptr_make_name(cell(a, 0), "", TWZ_DATA_OFF, RW, &p), TWZ_E_INVAL);
	other = s;
	begin();
	b = make(LEN);
	T_ERR(twz_ptr_store(cell(a, 0), cell(b, 0), RW), TWZ_E_INVAL);
	said("another store");
	twz_obj_close(b);
	end();
	s = other;
	path = first;
	twz_obj_close(a);
	end();
}

static void damaged_entry_is_corrupt(void)
{
	struct twz_obj *a, *b;
	struct twz_fot_pm *e;
	uint64_t found = 0;
	twz_oid id;

	begin();
	a = make(LEN);
	b = make(LEN);
	T_OK(twz_ptr_store(cell(a, 0), cell(b, 0), RW));
	id = twz_obj_id(a);
	for (unsigned bit = 0; bit < 32 * 8; bit += 5) {
		e = (void *)((char *)twz_obj_base(a) + twzc_fot_off(1));
		((unsigned char *)e)[bit / 8] ^= (unsigned char)(1u << bit % 8);
		T_TRUE(!lea(cell(a, 0)));
		said("wrong checksum");
		((unsigned char *)e)[bit / 8] ^= (unsigned char)(1u << bit % 8);
	}
	T_TRUE(lea(cell(a, 0)) == cell(b, 0));
	e = (void *)((char *)twz_obj_base(a) + twzc_fot_off(1));
	e->perm ^= TWZ_EXEC;
	T_OK(twz_check(s, NULL, NULL, &found));
	T_EQ(found, 1);
	e->perm ^= TWZ_EXEC;
	twz_obj_close(a);
	a = open_obj(id);
	T_TRUE(lea(cell(a, 0)) == cell(b, 0));
	twz_obj_close(a);
	twz_obj_close(b);
	end();
}

/* --- binding --- */

static void names_are_bound_at_first_use(void)
{
	static const char *const names[] = {"lib/current",
					    "a name that is longer than fifteen bytes/x"};

	begin();
	for (int n = 0; n < 2; n++) {
		struct twz_obj *a = make(LEN), *v1 = make(LEN), *v2 = make(LEN);
		twz_oid id = twz_obj_id(a);

		T_OK(twz_ptr_make_name(cell(a, 0), names[n], TWZ_DATA_OFF + 8, RW, cell(a, 0)));
		T_TRUE(!lea(cell(a, 0))); /* nobody has that name yet */
		T_OK(twz_name_set(s, names[n], twz_obj_id(v1), 0));
		T_TRUE(lea(cell(a, 0)) == cell(v1, 1));
		T_OK(twz_name_set(s, names[n], twz_obj_id(v2), 1));
		T_TRUE(lea(cell(a, 0)) == cell(v1, 1)); /* bound until the source's last close */
		twz_obj_close(a);
		a = open_obj(id);
		T_TRUE(lea(cell(a, 0)) == cell(v2, 1));
		twz_obj_close(a);
		twz_obj_close(v1);
		twz_obj_close(v2);
	}
	end();
}

static void local_numbers_follow_the_source(void)
{
	struct twz_obj *o[2][2];

	begin();
	for (uint64_t db = 0; db < 2; db++)
		for (uint64_t n = 0; n < 2; n++) {
			struct twz_obj_options opt = {
				.size = sizeof(opt), .len = LEN, .id = {{100 + db, 5 + n}}};

			T_OK(twz_obj_create(s, &opt, NULL, &o[db][n]));
		}
	for (int db = 0; db < 2; db++) {
		T_OK(twz_fot_set_local(o[db][0], 3, 6, RW));
		*cell(o[db][0], 0) = twz_pptr_make(3, TWZ_DATA_OFF);
		T_TRUE(lea(cell(o[db][0], 0)) ==
		       cell(o[db][1], 0)); /* the same bytes, each its own object */
	}
	for (int i = 0; i < 4; i++)
		twz_obj_close(o[i / 2][i % 2]);
	end();
}

static void pointers_survive_reopening_elsewhere(void)
{
	enum { OBJS = 5 };
	struct twz_obj *o[OBJS], *before;
	twz_oid id[OBJS];
	void *base[OBJS];
	int moved = 0;

	begin();
	for (uint64_t i = 0; i < OBJS; i++) {
		o[i] = make(LEN);
		id[i] = twz_obj_id(o[i]);
		base[i] = twz_obj_base(o[i]);
		*(uint64_t *)cell(o[i], 100) = i;
	}
	for (int i = 0; i < OBJS; i++)
		T_OK(twz_ptr_store(cell(o[i], 0), cell(o[(i + 1) % OBJS], 100), RW));
	end();
	s = open_store();
	before = make(LEN); /* takes the first slot */
	for (int i = OBJS - 1; i >= 0; i--) {
		o[i] = open_obj(id[i]);
		moved += twz_obj_base(o[i]) != base[i];
	}
	T_TRUE(moved > 0);
	for (uint64_t i = 0; i < OBJS; i++) {
		uint64_t *v = lea(cell(o[i], 0));

		if (T_TRUE(v != NULL))
			T_EQ(*v, (i + 1) % OBJS);
	}
	for (int i = 0; i < OBJS; i++)
		twz_obj_close(o[i]);
	twz_obj_close(before);
	end();
}

/* --- lifetime --- */

static uint32_t is_mapped(twz_oid id)
{
	struct twz_obj_stat st = {.size = sizeof(st)};

	T_OK(twz_obj_stat_id(s, id, &st));
	return st.mapped;
}

static void target_stays_until_the_source_closes(void)
{
	struct twz_obj *a, *b, *c;
	twz_oid ida, idb, idc;
	twz_pptr *p;

	begin();
	a = make(LEN);
	b = make(LEN);
	c = make(LEN);
	ida = twz_obj_id(a);
	idb = twz_obj_id(b);
	idc = twz_obj_id(c);
	T_OK(twz_ptr_store(cell(a, 0), cell(b, 0), RW));
	T_OK(twz_ptr_store(cell(b, 0), cell(c, 0), RW));
	*(uint64_t *)cell(c, 0) = 42;
	twz_obj_close(a);
	twz_obj_close(b);
	twz_obj_close(c);
	T_EQ(is_mapped(ida) + is_mapped(idb) + is_mapped(idc), 0);
	a = open_obj(ida);
	p = lea(cell(a, 0));
	T_EQ(is_mapped(idb), 1);
	T_EQ(is_mapped(idc), 0);
	T_EQ(*(uint64_t *)lea(p), 42);
	T_EQ(is_mapped(idc), 1);
	b = open_obj(idb);
	twz_obj_close(b); /* held by A's table */
	T_EQ(is_mapped(idb), 1);
	T_EQ(*(uint64_t *)lea(p), 42);
	twz_obj_close(a);
	T_EQ(is_mapped(ida) + is_mapped(idb) + is_mapped(idc), 0);
	end();
}

static void circles_are_let_go(void)
{
	enum { OBJS = 4 };
	struct twz_obj *o[OBJS];
	twz_oid id[OBJS];

	begin();
	for (int i = 0; i < OBJS; i++) {
		o[i] = make(LEN);
		id[i] = twz_obj_id(o[i]);
	}
	for (int i = 0; i < OBJS; i++)
		T_OK(twz_ptr_store(cell(o[i], 0), cell(o[(i + 1) % OBJS], 0), RW));
	T_OK(twz_fot_set(o[0], 9, id[0], RW)); /* and one to itself */
	*cell(o[0], 1) = twz_pptr_make(9, TWZ_DATA_OFF);
	T_TRUE(lea(cell(o[0], 1)) == cell(o[0], 0));
	for (int i = 0; i < OBJS; i++)
		T_TRUE(lea(cell(o[i], 0)) == cell(o[(i + 1) % OBJS], 0));
	for (int i = 0; i < OBJS; i++) {
		T_EQ(is_mapped(id[0]), 1);
		twz_obj_close(o[i]);
	}
	for (int i = 0; i < OBJS; i++)
		T_EQ(is_mapped(id[i]), 0);
	end();
}

/*
 * A handle that served a resolution is put back without a search for circles, unless somebody
 * closed another one meanwhile: then it is the last, and the search is its.
 */
static void last_handle_of_a_resolution_lets_circles_go(void)
{
	for (int meanwhile = 0; meanwhile < 2; meanwhile++) {
		struct twz_obj *a, *b, *tmp;
		twz_oid ida, idb;

		begin();
		a = make(LEN);
		b = make(LEN);
		ida = twz_obj_id(a);
		idb = twz_obj_id(b);
		T_OK(twz_ptr_store(cell(a, 0), cell(b, 0), RW));
		T_OK(twz_ptr_store(cell(b, 0), cell(a, 0), RW));
		T_TRUE(lea(cell(a, 0)) == cell(b, 0));
		T_TRUE(lea(cell(b, 0)) == cell(a, 0));
		T_OK(twz__obj_get(s, ida, RW, &tmp));
		twz_obj_close(b); /* A's table holds it */
		if (meanwhile)
			twz_obj_close(a);
		twz__obj_put_pinned(tmp);
		T_EQ(is_mapped(ida), !meanwhile);
		T_EQ(is_mapped(idb), !meanwhile);
		if (!meanwhile)
			twz_obj_close(a);
		T_EQ(is_mapped(ida) + is_mapped(idb), 0);
		end();
	}
}

/* IDs made to fall on one place of the hash of open objects, and opened and closed in any order. */
static void crowded_ids_stay_findable(void)
{
	enum { OBJS = 24 };
	struct twz_obj *o[OBJS] = {NULL}, *a;
	twz_oid id[OBJS], ida;
	uint64_t missed = 0;

	begin();
	a = make(LEN);
	ida = twz_obj_id(a);
	for (uint64_t i = 0; i < OBJS; i++) {
		struct twz_obj_options opt = {.size = sizeof(opt), .len = TWZ_PAGE_SIZE};

		opt.id = id[i] = (twz_oid){{((i + 1) << 1) ^ (i % 3 * 0x61c88647), i + 1}};
		T_OK(twz_obj_create(s, &opt, NULL, NULL));
		T_OK(twz_ptr_make_id(cell(a, i), id[i], TWZ_DATA_OFF, RW, cell(a, i)));
	}
	for (int round = 0; round < 400; round++) {
		uint64_t n = t_rand_below(OBJS);

		twz_obj_close(a);
		if (o[n]) {
			twz_obj_close(o[n]);
			o[n] = NULL;
		} else {
			o[n] = open_obj(id[n]);
		}
		a = open_obj(ida);
		for (uint64_t i = 0; i < OBJS; i++)
			missed += o[i] && twz_lea(cell(a, i), *cell(a, i)) != cell(o[i], 0);
	}
	T_EQ(missed, 0);
	twz_obj_close(a);
	for (int i = 0; i < OBJS; i++)
		twz_obj_close(o[i]);
	end();
}

/* The remembered place of a translation must not outlive its contents. */
static void a_slot_used_again_has_new_translations(void)
{
	struct twz_obj *a, *b, *x, *y;

	begin();
	x = make(LEN);
	y = make(LEN);
	a = make(LEN);
	T_OK(twz_ptr_store(cell(a, 0), cell(x, 3), RW));
	for (int i = 0; i < 1000; i++)
		if (twz_lea(cell(a, 0), *cell(a, 0)) != cell(x, 3))
			T_TRUE(false);
	T_EQ(twz__guess.from, (uintptr_t)twz_obj_base(a)); /* the guess is on */
	twz_obj_close(a);
	b = make(LEN);
	T_EQ(b->slot,
	     (uint64_t)(((uintptr_t)twz__guess.from - twz_view_rt.base) >> TWZ_SLOT_SHIFT));
	T_OK(twz_ptr_store(cell(b, 0), cell(y, 4), RW));
	T_TRUE(twz_lea(cell(b, 0), *cell(b, 0)) == cell(y, 4));
	twz_obj_close(b);
	twz_obj_close(x);
	twz_obj_close(y);
	end();
}

/* --- sizes --- */

static void growth_is_followed_and_shrinking_forgotten(void)
{
	struct twz_obj *a, *b;

	begin();
	a = make(LEN);
	b = make(LEN);
	T_OK(twz_ptr_store(cell(a, 0), cell(b, 0), RW));
	*cell(a, 1) = twz_pptr_make(twz_pptr_fot(*cell(a, 0)), TWZ_DATA_OFF + LEN + 8);
	*cell(b, 1) = twz_pptr_make(0, TWZ_DATA_OFF + LEN + 8);
	T_TRUE(lea(cell(a, 0)) == cell(b, 0));
	T_TRUE(!lea(cell(a, 1)));
	T_TRUE(!lea(cell(b, 1)));
	T_OK(twz_obj_resize(b, 2 * LEN));
	T_TRUE(lea(cell(a, 1)) == cell(b, LEN / 8 + 1));
	T_TRUE(lea(cell(b, 1)) == cell(b, LEN / 8 + 1));
	T_OK(twz_obj_resize(b, LEN));
	T_TRUE(!lea(cell(a, 1)));
	T_TRUE(!lea(cell(b, 1)));
	T_TRUE(lea(cell(a, 0)) == cell(b, 0));
	twz_obj_close(a);
	twz_obj_close(b);
	end();
}

struct grow_arg {
	twz_oid a, b;
};

static int grow_elsewhere(void *arg)
{
	const struct grow_arg *g = arg;
	struct twz_obj *a, *b;
	struct twz_store *st;

	if (twz_store_open(path, NULL, &st) || twz_obj_open(st, g->a, RW, &a) ||
	    twz_obj_open(st, g->b, RW, &b))
		return 1;
	if (twz_obj_resize(b, 4 << 20))
		return 2;
	*((char *)twz_obj_data(b) + (3 << 20)) = 77;
	if (twz_ptr_store(cell(a, 1), (char *)twz_obj_data(b) + (3 << 20), RW))
		return 3;
	twz_obj_close(a);
	twz_obj_close(b);
	return twz_store_close(st) ? 4 : 0;
}

static void growth_by_another_process_is_followed(void)
{
	struct grow_arg g;
	struct twz_obj *a, *b;
	char *p;

	begin();
	a = make(LEN);
	b = make(LEN);
	g.a = twz_obj_id(a);
	g.b = twz_obj_id(b);
	T_OK(twz_ptr_store(cell(a, 0), cell(b, 0), RW));
	T_TRUE(lea(cell(a, 0)) == cell(b, 0));
	T_EQ(t_fork(grow_elsewhere, &g), 0);
	p = lea(cell(a, 1));
	if (T_TRUE(p == (char *)twz_obj_data(b) + (3 << 20)))
		T_EQ(*p, 77);
	twz_obj_close(a);
	twz_obj_close(b);
	end();
}

/* --- threads --- */

enum { THREADS = 6, TARGETS = 40, CELLS = 400 };
static struct twz_obj *src;
static void *want[CELLS];
static uint64_t base_off[CELLS];
static pthread_barrier_t barrier;

static void *resolver(void *arg)
{
	uint64_t n = (uint64_t)(uintptr_t)arg, wrong = 0;

	pthread_barrier_wait(&barrier);
	for (uint64_t i = 0; i < 2 * CELLS; i++) {
		uint64_t k = (i * 7 + n * 31) % CELLS;
		uint64_t *v = i % 2 ? twz_lea(cell(src, k), *cell(src, k))
				    : twz_lea_tab(twz_slot_of(cell(src, k)), *cell(src, k));

		wrong += !v || *v != base_off[k];
	}
	return (void *)(uintptr_t)wrong;
}

/* Targets open (no lock) in one round, to be opened by whoever comes first in the next. */
static void threads_resolve_together(void)
{
	struct twz_obj *t[TARGETS];
	twz_oid id, tid[TARGETS];
	pthread_t th[THREADS];
	void *wrong;

	begin();
	src = make(LEN);
	id = twz_obj_id(src);
	for (int i = 0; i < TARGETS; i++) {
		t[i] = make(LEN);
		tid[i] = twz_obj_id(t[i]);
	}
	for (uint64_t k = 0; k < CELLS; k++) {
		want[k] = cell(t[k % TARGETS], k);
		*(uint64_t *)want[k] = base_off[k] = k * 1000003;
		T_OK(twz_ptr_store(cell(src, k), want[k], RW));
	}
	for (int round = 0; round < 20; round++) {
		bool open = round % 2;

		twz_obj_close(src);
		for (int i = 0; i < TARGETS && !open; i++)
			twz_obj_close(t[i]);
		src = open_obj(id);
		pthread_barrier_init(&barrier, NULL, THREADS);
		for (uintptr_t i = 0; i < THREADS; i++)
			pthread_create(&th[i], NULL, resolver, (void *)i);
		for (int i = 0; i < THREADS; i++) {
			pthread_join(th[i], &wrong);
			T_EQ((uintptr_t)wrong, 0);
		}
		pthread_barrier_destroy(&barrier);
		for (int i = 0; i < TARGETS && !open; i++)
			t[i] = open_obj(tid[i]);
	}
	twz_obj_close(src);
	for (int i = 0; i < TARGETS; i++)
		twz_obj_close(t[i]);
	for (int i = 0; i < TARGETS; i++)
		T_EQ(is_mapped(tid[i]), 0); /* no pin was lost or kept */
	end();
}

static const struct t_case cases[] = {
	T_CASE(intra_pointer_round_trips),
	T_CASE(null_gives_null_and_no_error),
	T_CASE(cross_pointer_reaches_its_target),
	T_CASE(every_pattern_of_targets_is_right),
	T_CASE(outside_the_data_is_refused),
	T_CASE(absent_object_is_named_and_may_come_later),
	T_CASE(permissions_are_checked),
	T_CASE(read_only_object_takes_no_pointer),
	T_CASE(bad_places_and_targets_are_refused),
	T_CASE(damaged_entry_is_corrupt),
	T_CASE(names_are_bound_at_first_use),
	T_CASE(local_numbers_follow_the_source),
	T_CASE(pointers_survive_reopening_elsewhere),
	T_CASE(target_stays_until_the_source_closes),
	T_CASE(circles_are_let_go),
	T_CASE(last_handle_of_a_resolution_lets_circles_go),
	T_CASE(crowded_ids_stay_findable),
	T_CASE(a_slot_used_again_has_new_translations),
	T_CASE(growth_is_followed_and_shrinking_forgotten),
	T_CASE(growth_by_another_process_is_followed),
	T_CASE(threads_resolve_together),
	T_END,
};

int main(int argc, char **argv)
{
	return t_main("ptr", cases, argc, argv);
}
