/* SPDX-License-Identifier: MIT
 * core_scene.h -- a used store and one of each operation on it, for the crash and the fault sweep
 */
#ifndef CORE_SCENE_H
#define CORE_SCENE_H

#include "core_image.h"

enum { CS_OBJS = 40 }; /* numbers the operations use are below; those beyond are scenery */

/*
 * A short ring has checkpoints everywhere; in a long one the records stay, and the store is full.
 */
#define CS_RING_SHORT ((u64)16 << 10)
#define CS_RING_LONG  ((u64)256 << 10)

struct cs_op {
	const char *name;
	int (*fn)(struct core_image *);
	bool big;  /* wants a store of large objects */
	bool idle; /* may have nothing to do */
};
extern const struct cs_op cs_ops[];
extern const u32 cs_op_cnt;

/*
 * Objects 1, 2, 3 with 12 KiB of tagged data (3 contiguous), 5 and 6 deleted (6 in many pieces), 7
 * large. WARM more records move the place in the ring where the operation falls.
 */
struct core_image *cs_prepare(u32 media, u32 warm, bool big, u64 journal);
int cs_on(struct core_image *ci, int (*fn)(struct twzc *, const u64 *), u64 n);
int cs_resize(struct core_image *ci, u64 n, u64 len);

#endif
