// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * main.c -- the module: /dev/twz-control, and a self-test of the store core at load
 *
 * A skeleton (see README.md): it proves that twz/core builds and runs in the kernel. Devices,
 * faults and views come later.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/uaccess.h>

#include "shim.h"
#include "twz_shim.h"

static bool selftest;
module_param(selftest, bool, 0444);
MODULE_PARM_DESC(selftest,
		 "run the store core on an image in memory; the module loads only if that works");

static long control_version(void __user *arg)
{
	struct twz_ioc_version v = {
		.shim_version = TWZ_SHIM_VERSION,
		.format_version = TWZC_VERSION,
	};

	return copy_to_user(arg, &v, sizeof(v)) ? -EFAULT : 0;
}

static long control_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	switch (cmd) {
	case TWZ_IOC_VERSION:
		return control_version((void __user *)arg);
	}
	return -ENOTTY;
}

static const struct file_operations control_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = control_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice control = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "twz-control",
	.fops = &control_fops,
	.mode = 0600,
};

static int __init twz_init(void)
{
	int err = selftest ? twzk_selftest() : 0;

	return err ? err : misc_register(&control);
}

static void __exit twz_exit(void)
{
	misc_deregister(&control);
}

module_init(twz_init);
module_exit(twz_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Twizzler objects on persistent memory");
MODULE_VERSION("0.1.0");
