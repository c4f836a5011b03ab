/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * shim.h -- what the module's own files share
 */
#ifndef TWZ_KERNEL_SHIM_H
#define TWZ_KERNEL_SHIM_H

#include "core.h"

/* A store image in kernel memory; later a pmem device takes its place. */
struct twzk_image {
	u8 *base;
	u64 len; /* bytes in use */
	u64 cap; /* bytes there are */
};

int twzk_image_init(struct twzk_image *im, u64 len, u64 cap);
void twzk_image_destroy(struct twzk_image *im);
extern const struct twzc_ops twzk_image_ops;

/*
 * Format, use and check a store in memory. 0, or a negative errno: the core does not work on this
 * kernel.
 */
int twzk_selftest(void);

/* A TWZ_E_* code as errno. */
int twzk_errno(int err);

#endif
