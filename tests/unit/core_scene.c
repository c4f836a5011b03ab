/* SPDX-License-Identifier: MIT
 * core_scene.c -- see core_scene.h
 */
#include "t.h"
#include "core_scene.h"

#define KIB ((u64)1 << 10)
#define MIB ((u64)1 << 20)

int cs_on(struct core_image *ci, int (*fn)(struct twzc *, const u64 *), u64 n)
{
	u64 id[2];

	ci_id(n, id);
	return fn(&ci->c, id);
}

int cs_resize(struct core_image *ci, u64 n, u64 len)
{
	u64 id[2];

	ci_id(n, id);
	return twzc_obj_resize(&ci->c, id, len);
}

static int op_create_small(struct core_image *ci)
{
	return ci_create(ci, 30, 12 * KIB, false);
}

static int op_create_contiguous(struct core_image *ci)
{
	return ci_create(ci, 31, 64 * KIB, true);
}

static int op_create_growing(struct core_image *ci)
{
	return ci_create(ci, 32, 900 * KIB, false);
}

static int op_create_large(struct core_image *ci)
{
	return ci_create(ci, 33, 5 * MIB, false);
}

/* In a journal of 16 KiB these take several records. */
static int op_create_pieces(struct core_image *ci)
{
	return ci_create(ci, 34, 60 * MIB, false);
}

static int op_grow_pieces(struct core_image *ci)
{
	return cs_resize(ci, 1, 60 * MIB);
}

static int op_shrink_pieces(struct core_image *ci)
{
	return cs_resize(ci, 7, 8 * KIB);
}

static int op_grow(struct core_image *ci)
{
	return cs_resize(ci, 1, 40 * KIB);
}

static int op_shrink(struct core_image *ci)
{
	return cs_resize(ci, 3, 4 * KIB);
}

static int op_fot(struct core_image *ci)
{
	u64 id[2];

	ci_id(2, id);
	return twzc_obj_fot_grow(&ci->c, id, 5);
}

static int op_delete(struct core_image *ci)
{
	return cs_on(ci, twzc_obj_delete, 4);
}

static int op_reclaim(struct core_image *ci)
{
	return cs_on(ci, twzc_obj_reclaim, 5);
}

static int op_checkpoint(struct core_image *ci)
{
	return twzc_checkpoint(&ci->c);
}

/* Fragments: object 6 has extents in an extent page. */
static int op_reclaim_fragments(struct core_image *ci)
{
	return cs_on(ci, twzc_obj_reclaim, 6);
}

const struct cs_op cs_ops[] = {
	{"create small", op_create_small, false, false},
	{"create contiguous", op_create_contiguous, false, false},
	{"create, store grows", op_create_growing, false, false},
	{"create large", op_create_large, true, false},
	{"create in pieces", op_create_pieces, true, false},
	{"grow in pieces", op_grow_pieces, true, false},
	{"shrink in pieces", op_shrink_pieces, true, false},
	{"grow", op_grow, false, false},
	{"shrink", op_shrink, false, false},
	{"fot", op_fot, false, false},
	{"delete", op_delete, false, false},
	{"reclaim", op_reclaim, false, false},
	{"checkpoint", op_checkpoint, false, true},
	{"reclaim fragments", op_reclaim_fragments, false, false},
};
const u32 cs_op_cnt = sizeof(cs_ops) / sizeof(*cs_ops);

/*
 * Object 6 is made of single pages, so that it needs an extent page: 24 holes between small
 * objects, the rest of the store taken meanwhile.
 */
static int fragments(struct core_image *ci)
{
	struct twzc_info info;
	int err = 0;

	for (u64 n = 100; n < 148 && !err; n++)
		err = ci_create(ci, n, 0, false);
	if (!err)
		err = twzc_info(&ci->c, &info);
	if (!err)
		err = ci_create(ci, 8, info.free_len - 4096, true);
	for (u64 n = 100; n < 148 && !err; n += 2) {
		err = cs_on(ci, twzc_obj_delete, n);
		if (!err)
			err = cs_on(ci, twzc_obj_reclaim, n);
	}
	return err ? err : ci_create(ci, 6, 80 * KIB, false);
}

static int free_the_rest(struct core_image *ci)
{
	int err = cs_on(ci, twzc_obj_delete, 8);

	return err ? err : cs_on(ci, twzc_obj_reclaim, 8);
}

struct core_image *cs_prepare(u32 media, u32 warm, bool big, u64 journal)
{
	struct core_image *ci =
		ci_new(journal + 368 * KIB, big ? 160 * MIB : 2 * MIB, journal, media, true);
	int err = ci_open(ci, NULL);

	for (u64 n = 1; n < 6 && !err; n++) {
		err = ci_create(ci, n, 12 * KIB, n == 3);
		ci_data_tag(ci, n, 0, 12 * KIB);
	}
	for (u64 n = 10; n < 22 && !err; n++)
		err = ci_create(ci, n, 0, false);
	if (!err)
		err = fragments(ci);
	if (!err && journal == CS_RING_SHORT)
		err = free_the_rest(ci);
	if (!err && big)
		err = ci_create(ci, 7, 56 * MIB, false);
	for (u64 n = 5; n < 7 && !err; n++)
		err = cs_on(ci, twzc_obj_delete, n);
	for (u32 i = 0; i < warm && !err; i++)
		err = cs_resize(ci, 2, (12 + 4 * (i & 1)) * KIB);
	T_OK(err);
	return ci;
}
