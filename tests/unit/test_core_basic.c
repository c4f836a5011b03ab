/* SPDX-License-Identifier: MIT
 * test_core_basic.c -- twz/core: format, attach, objects of all sizes, growth, full disks, a random
 * run against an oracle
 */
#include "t.h"
#include "core_image.h"

#define KIB ((u64)1 << 10)
#define MIB ((u64)1 << 20)
#define GIB ((u64)1 << 30)

static void find_or_fail(struct core_image *ci, u64 n, struct twzc_obj *o)
{
	u64 id[2];

	ci_id(n, id);
	T_OK(twzc_obj_find(&ci->c, id, o));
}

static int resize(struct core_image *ci, u64 n, u64 len)
{
	u64 id[2];

	ci_id(n, id);
	return twzc_obj_resize(&ci->c, id, len);
}

static int delete (struct core_image *ci, u64 n)
{
	u64 id[2];

	ci_id(n, id);
	return twzc_obj_delete(&ci->c, id);
}

static int reclaim(struct core_image *ci, u64 n)
{
	u64 id[2];

	ci_id(n, id);
	return twzc_obj_reclaim(&ci->c, id);
}

static void format_then_attach_is_clean(void)
{
	static const u64 lens[] = {128 * KIB, 1 * MIB, 3 * MIB, 64 * MIB, 100 * MIB};

	for (u32 media = 0; media < 2; media++)
		for (u32 i = 0; i < sizeof(lens) / sizeof(*lens); i++) {
			struct core_image *ci = ci_new(lens[i], lens[i], 16 * KIB, media, false);
			struct twzc_info info;
			bool unclean = true;

			T_REQ(ci_open(ci, &unclean));
			T_TRUE(!unclean);
			T_EQ(ci_check(ci), 0);
			T_REQ(twzc_info(&ci->c, &info));
			T_EQ(info.obj_cnt, 0);
			T_EQ(info.free_len + info.meta_len, info.len);
			ci_free(ci);
		}
}

static void objects_keep_what_they_are_told(void)
{
	struct core_image *ci = ci_new(1 * MIB, 64 * MIB, 16 * KIB, 1, true);
	struct twzc_obj o;

	T_REQ(ci_open(ci, NULL));
	T_REQ(ci_create(ci, 1, 8 * KIB, false));
	T_ERR(ci_create(ci, 1, 8 * KIB, false), TWZ_E_EXIST);
	T_ERR(ci_create(ci, 2, 8 * KIB + 1, false), TWZ_E_INVAL);
	T_ERR(ci_create(ci, 2, TWZC_DATA_MAX + 4096, false), TWZ_E_INVAL);
	find_or_fail(ci, 1, &o);
	T_EQ(o.len, 8 * KIB);
	T_EQ(o.pages, 3);
	T_EQ(o.flags, 0x10);
	T_EQ(o.kind, 1);
	T_TRUE(ci_data_zero(ci, 1, 0, 8 * KIB));
	T_REQ(ci_open(ci, NULL));
	find_or_fail(ci, 1, &o);
	T_EQ(o.len, 8 * KIB);
	T_ERR(delete (ci, 7), TWZ_E_NOENT);
	T_ERR(reclaim(ci, 1), TWZ_E_STATE);
	T_REQ(delete (ci, 1));
	T_ERR(delete (ci, 1), TWZ_E_NOENT);
	T_ERR(resize(ci, 1, 4096), TWZ_E_NOENT);
	T_ERR(ci_create(ci, 1, 4096, false), TWZ_E_EXIST);
	T_EQ(ci_check(ci), 0);
	T_REQ(reclaim(ci, 1));
	T_REQ(ci_create(ci, 1, 4096, false));
	T_EQ(ci_check(ci), 0);
	ci_free(ci);
}

static void look_gives_entry_and_extents(void)
{
	struct core_image *ci = ci_new(1 * MIB, 64 * MIB, 16 * KIB, 1, true);
	struct twzc_extent x[8], y[8];
	struct twzc_obj o;
	u64 id[2];
	u32 cnt, n;

	T_REQ(ci_open(ci, NULL));
	T_REQ(ci_create(ci, 1, 4 * KIB, false));
	T_REQ(ci_create(ci, 2, 4 * KIB, false));
	T_REQ(resize(ci, 1, 8 * KIB)); /* cannot go on where it ends */
	ci_id(1, id);
	T_REQ(twzc_obj_extents(&ci->c, id, 0, x, 8, &n));
	T_REQ(twzc_obj_look(&ci->c, id, &o, y, 8, &cnt));
	T_EQ(cnt, n);
	T_EQ(o.extent_cnt, n);
	T_EQ(o.len, 8 * KIB);
	T_TRUE(n > 2 && !memcmp(x, y, n * sizeof(*x)));
	T_REQ(twzc_obj_look(&ci->c, id, &o, y, 2, &cnt));
	T_EQ(cnt, 2);
	T_EQ(o.extent_cnt, n);
	ci_id(3, id);
	T_ERR(twzc_obj_look(&ci->c, id, &o, y, 8, &cnt), TWZ_E_NOENT);
	T_REQ(delete (ci, 1));
	ci_id(1, id);
	T_ERR(twzc_obj_look(&ci->c, id, &o, y, 8, &cnt), TWZ_E_NOENT);
	ci_free(ci);
}

static void large_objects_are_aligned_chunks(void)
{
	struct core_image *ci = ci_new(1 * MIB, 4 * GIB, 256 * KIB, 1, false);
	struct twzc_extent x[8];
	struct twzc_obj o;
	u64 id[2];
	u32 cnt;

	T_REQ(ci_open(ci, NULL));
	T_REQ(ci_create(ci, 1, 4096, false));
	T_REQ(ci_create(ci, 2, 16 * MIB, false));
	ci_id(2, id);
	T_REQ(twzc_obj_extents(&ci->c, id, 0, x, 8, &cnt));
	T_EQ(cnt, 2);
	T_EQ(x[0].slot_page, 1);
	T_EQ(x[0].file_page % 512, 1);
	T_EQ(x[1].slot_page, TWZC_META_PAGE);
	T_EQ(x[1].file_page, x[0].file_page - 1);
	T_REQ(ci_create(ci, 3, TWZC_DATA_MAX, false));
	find_or_fail(ci, 3, &o);
	T_EQ(o.pages, TWZC_DATA_PAGES_MAX + 1);
	T_EQ(ci_check(ci), 0);
	T_REQ(ci_create(ci, 4, 64 * MIB, true));
	ci_id(4, id);
	T_REQ(twzc_obj_extents(&ci->c, id, 0, x, 8, &cnt));
	T_EQ(cnt, 2);
	T_EQ(x[0].cnt, 64 * MIB / 4096);
	T_EQ(ci_check(ci), 0);
	for (u64 n = 1; n <= 4; n++) {
		T_REQ(delete (ci, n));
		T_REQ(reclaim(ci, n));
	}
	T_EQ(ci_check(ci), 0);
	T_REQ(ci_open(ci, NULL));
	T_EQ(ci_check(ci), 0);
	ci_free(ci);
}

/* 16 KiB of journal: a 1 GiB object takes many records. */
static void large_objects_fit_small_journals(void)
{
	struct core_image *ci = ci_new(1 * MIB, 4 * GIB, 16 * KIB, 1, false);

	T_REQ(ci_open(ci, NULL));
	T_REQ(ci_create(ci, 1, TWZC_DATA_MAX, false));
	T_REQ(ci_create(ci, 2, 64 * MIB, true));
	T_REQ(ci_create(ci, 3, 4096, false));
	T_REQ(resize(ci, 3, 512 * MIB));
	T_EQ(ci_check(ci), 0);
	T_REQ(resize(ci, 3, 3 * MIB));
	T_REQ(resize(ci, 1, 0));
	T_EQ(ci_check(ci), 0);
	T_REQ(delete (ci, 1));
	T_REQ(reclaim(ci, 1));
	T_REQ(delete (ci, 2));
	T_REQ(reclaim(ci, 2));
	T_EQ(ci_check(ci), 0);
	ci_free(ci);
}

/* Every doubling of the map falls into some allocation, and shares its record. */
static void the_map_grows_with_the_store(void)
{
	enum { CNT = 72 };
	struct core_image *ci = ci_new(1 * MIB, 80 * GIB, 16 * KIB, 1, false);
	struct twzc_info info;

	T_REQ(ci_open(ci, NULL));
	for (u64 n = 0; n < CNT; n++)
		T_REQ(ci_create(ci, n, TWZC_DATA_MAX, n & 1));
	T_EQ(ci_check(ci), 0);
	T_REQ(ci_open(ci, NULL));
	for (u64 n = 0; n < CNT; n += 2) {
		T_REQ(delete (ci, n));
		T_REQ(reclaim(ci, n));
	}
	T_REQ(twzc_info(&ci->c, &info));
	T_TRUE(info.free_len >= CNT / 2 * GIB - 1 * GIB);
	T_EQ(ci_check(ci), 0);
	ci_free(ci);
}

static void many_small_objects(void)
{
	enum { CNT = 100000 };
	struct core_image *ci = ci_new(1 * MIB, 4 * GIB, 256 * KIB, 0, false);
	struct twzc_obj o;
	u64 cursor = 0, seen = 0;

	T_REQ(ci_open(ci, NULL));
	for (u64 n = 0; n < CNT; n++)
		T_REQ(ci_create(ci, n, 4096, false));
	for (u64 n = 0; n < CNT; n += 7) {
		find_or_fail(ci, n, &o);
		T_EQ(o.kind, n);
	}
	while (!twzc_obj_next(&ci->c, &cursor, false, &o))
		seen++;
	T_EQ(seen, CNT);
	T_EQ(ci_check(ci), 0);
	for (u64 n = 0; n < CNT; n += 2) {
		T_REQ(delete (ci, n));
		T_REQ(reclaim(ci, n));
	}
	T_EQ(ci_check(ci), 0);
	ci_free(ci);
}

static void fot_pages_grow_down(void)
{
	struct core_image *ci = ci_new(1 * MIB, 64 * MIB, 64 * KIB, 1, true);
	struct twzc_obj o;
	u64 id[2];

	T_REQ(ci_open(ci, NULL));
	T_REQ(ci_create(ci, 1, 4096, false));
	ci_id(1, id);
	for (u32 cnt = 1; cnt <= TWZC_FOT_PAGES_MAX; cnt += 15) {
		T_REQ(twzc_obj_fot_grow(&ci->c, id, cnt));
		T_REQ(resize(ci, 1, (u64)cnt * 4096)); /* keeps extents from merging */
		find_or_fail(ci, 1, &o);
		T_EQ(o.fot_page_cnt, cnt);
	}
	T_TRUE(o.extent_cnt > TWZC_EXT_INLINE + TWZC_EXTBLOCK_EXTENTS);
	T_ERR(twzc_obj_fot_grow(&ci->c, id, TWZC_FOT_PAGES_MAX + 1), TWZ_E_INVAL);
	T_EQ(ci_check(ci), 0);
	T_REQ(resize(ci, 1, 4096));
	T_EQ(ci_check(ci), 0);
	T_REQ(delete (ci, 1));
	T_REQ(reclaim(ci, 1));
	T_EQ(ci_check(ci), 0);
	ci_free(ci);
}

static void full_disk_changes_nothing(void)
{
	struct core_image *ci = ci_new(256 * KIB, 1 * MIB, 16 * KIB, 1, true);
	struct twzc_info a, b;
	u64 n = 0;
	int err;

	T_REQ(ci_open(ci, NULL));
	while (!(err = ci_create(ci, n, 12 * KIB, false)))
		n++;
	T_EQ(err, TWZ_E_NOSPC);
	T_TRUE(n > 40);
	T_EQ(ci->len, 1 * MIB);
	T_EQ(ci_check(ci), 0);
	T_REQ(twzc_info(&ci->c, &a));
	T_ERR(ci_create(ci, n, 12 * KIB, false), TWZ_E_NOSPC);
	T_ERR(resize(ci, 0, 8 * MIB), TWZ_E_NOSPC);
	T_ERR(resize(ci, 0, 256 * KIB), TWZ_E_NOSPC);
	T_ERR(ci_create(ci, n, 256 * KIB, true), TWZ_E_NOSPC);
	T_REQ(twzc_info(&ci->c, &b));
	T_EQ(a.free_len, b.free_len);
	T_REQ(delete (ci, 3));
	T_REQ(reclaim(ci, 3));
	T_REQ(ci_create(ci, n, 12 * KIB, false));
	T_EQ(ci_check(ci), 0);
	ci_free(ci);
}

/* Freed pages with old bytes in them must not show through in the next owner. */
static void reused_pages_read_as_zero(void)
{
	struct core_image *ci = ci_new(1 * MIB, 16 * MIB, 16 * KIB, 1, true);

	T_REQ(ci_open(ci, NULL));
	T_REQ(ci_create(ci, 1, 3 * MIB, false));
	ci_data_tag(ci, 1, 0, 3 * MIB);
	T_REQ(resize(ci, 1, 2 * MIB + 64 * KIB));
	T_REQ(resize(ci, 1, 3 * MIB));
	T_TRUE(ci_data_zero(ci, 1, 2 * MIB + 64 * KIB, 3 * MIB));
	T_REQ(delete (ci, 1));
	T_REQ(reclaim(ci, 1));
	for (u64 n = 2; n < 60; n++) {
		T_REQ(ci_create(ci, n, 64 * KIB, n % 3 == 0));
		T_TRUE(ci_data_zero(ci, n, 0, 64 * KIB));
		ci_data_tag(ci, n, 0, 64 * KIB);
	}
	ci_free(ci);
}

/* --- the random run --- */

enum { ORACLE = 48 };

struct oracle {
	bool live, deleted, contiguous;
	u64 len;
};

static u64 random_len(u64 max)
{
	return (t_rand_below(4) ? t_rand_below(40) : t_rand_below(max / 4096)) * 4096;
}

static void oracle_step(struct core_image *ci, struct oracle *o, u64 n, u64 max)
{
	u64 len = random_len(max);
	int err;

	if (o->deleted) {
		if (!T_OK(reclaim(ci, n)))
			o->deleted = false;
	} else if (!o->live) {
		o->contiguous = t_rand_below(5) == 0;
		err = ci_create(ci, n, len, o->contiguous);
		T_TRUE(!err || err == TWZ_E_NOSPC);
		if (err)
			return;
		o->live = true;
		o->len = len;
		T_TRUE(ci_data_zero(ci, n, 0, len));
		ci_data_tag(ci, n, 0, len);
	} else if (t_rand_below(3) == 0) {
		T_OK(delete (ci, n));
		o->live = false;
		o->deleted = true;
	} else {
		err = resize(ci, n, len);
		T_TRUE(!err || (err == TWZ_E_NOSPC && len > o->len));
		if (err)
			return;
		T_TRUE(ci_data_zero(ci, n, o->len, len));
		ci_data_tag(ci, n, o->len, len);
		o->len = len;
	}
}

static void oracle_compare(struct core_image *ci, const struct oracle *all)
{
	struct twzc_obj o;
	u64 id[2];

	for (u64 n = 0; n < ORACLE; n++) {
		ci_id(n, id);
		if (all[n].live) {
			T_OK(twzc_obj_find(&ci->c, id, &o));
			T_EQ(o.len, all[n].len);
			T_TRUE(ci_data_tagged(ci, n, all[n].len));
		} else {
			T_ERR(twzc_obj_find(&ci->c, id, &o), TWZ_E_NOENT);
		}
	}
	T_EQ(ci_check(ci), 0);
}

static void random_run(u64 len, u64 cap, u64 journal, u32 media, u32 steps)
{
	struct core_image *ci = ci_new(len, cap, journal, media, true);
	struct oracle all[ORACLE] = {0};

	T_REQ(ci_open(ci, NULL));
	for (u32 i = 0; i < steps; i++) {
		u64 n = t_rand_below(ORACLE);

		oracle_step(ci, &all[n], n, cap / 2);
		T_EQ(ci_check(ci), 0);
		if (i % 16 == 0)
			oracle_compare(ci, all);
		if (t_rand_below(50) == 0) {
			ci_crash(ci, (int)t_rand_below(3));
			T_REQ(ci_open(ci, NULL));
			oracle_compare(ci, all);
		}
	}
	oracle_compare(ci, all);
	ci_free(ci);
}

static void random_operations_match_the_oracle(void)
{
	random_run(128 * KIB, 1 * MIB, 16 * KIB, 1, 1500);
	random_run(128 * KIB, 1 * MIB, 16 * KIB, 0, 1500);
	random_run(1 * MIB, 24 * MIB, 16 * KIB, 1, 200);
	random_run(1 * MIB, 24 * MIB, 256 * KIB, 0, 200);
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(format_then_attach_is_clean),
		T_CASE(objects_keep_what_they_are_told),
		T_CASE(look_gives_entry_and_extents),
		T_CASE(large_objects_are_aligned_chunks),
		T_CASE(large_objects_fit_small_journals),
		T_CASE(the_map_grows_with_the_store),
		T_CASE(many_small_objects),
		T_CASE(fot_pages_grow_down),
		T_CASE(full_disk_changes_nothing),
		T_CASE(reused_pages_read_as_zero),
		T_CASE(random_operations_match_the_oracle),
		T_END,
	};

	return t_main("core_basic", cases, argc, argv);
}
