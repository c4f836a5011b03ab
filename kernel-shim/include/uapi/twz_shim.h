/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * twz_shim.h -- what programs and the kernel module say to each other
 *
 * Fixed-width types only, no pointers of the kernel; structs never change their size: new calls get
 * new numbers.
 */
#ifndef TWZ_SHIM_H
#define TWZ_SHIM_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define TWZ_CONTROL_PATH "/dev/twz-control"
#define TWZ_SHIM_VERSION 0 /* of this interface; 0 may still change */

/* What is loaded. A program asks this first and refuses what it does not know. */
struct twz_ioc_version {
	__u32 shim_version;   /* TWZ_SHIM_VERSION of the module */
	__u32 format_version; /* of stores (twz/core/format.h) */
	__u64 features;	      /* none yet: 0 */
};

#define TWZ_IOC_MAGIC	0xb7
#define TWZ_IOC_VERSION _IOR(TWZ_IOC_MAGIC, 0, struct twz_ioc_version)

#endif
