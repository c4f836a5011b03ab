// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * selftest.c -- the store core at work inside the kernel: format, create, find, resize, delete,
 * reopen, check
 */
#include <linux/errno.h>
#include <linux/mm.h>
#include <linux/printk.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "shim.h"

#define IMAGE_LEN   (1 << 20)
#define IMAGE_CAP   (16 << 20)
#define JOURNAL_LEN (64 << 10)
#define OBJECTS	    100

struct selftest {
	struct twzk_image im;
	struct twzc c;
	struct twzc_shared sh;
	void *tx;
};

int twzk_errno(int err)
{
	switch (err) {
	case TWZ_E_NOENT:
		return -ENOENT;
	case TWZ_E_EXIST:
		return -EEXIST;
	case TWZ_E_NOSPC:
		return -ENOSPC;
	case TWZ_E_INVAL:
		return -EINVAL;
	case TWZ_E_NOMEM:
		return -ENOMEM;
	case TWZ_E_READONLY:
		return -EROFS;
	case TWZ_E_CORRUPT:
		return -EUCLEAN;
	}
	return err > -4096 ? err : -EIO;
}

static void found(void *ctx, const char *where, const char *what, u64 a, u64 b)
{
	pr_err("twz: selftest: check: %s: %s (%#llx, %#llx)\n", where, what, a, b);
}

static int format(struct selftest *t)
{
	struct twzc_format_args args = {
		.uuid = {0x7477, 0x7a},
		.len = IMAGE_LEN,
		.journal_len = JOURNAL_LEN,
		.buf = t->tx,
	};

	return twzc_format(&twzk_image_ops, &t->im, &args);
}

/* As after a restart: everything volatile is gone. */
static int reopen(struct selftest *t)
{
	bool unclean;
	int err;

	memset(&t->sh, 0, sizeof(t->sh));
	err = twzc_attach(&t->c, &twzk_image_ops, &t->im, &t->sh, t->im.len, t->tx, TWZC_TX_MIN);
	return err ? err : twzc_recover(&t->c, true, &unclean);
}

static int create(struct selftest *t)
{
	int err = 0;

	for (u64 n = 1; n <= OBJECTS && !err; n++) {
		struct twzc_obj_args a = {.id = {n, ~n}, .len = n % 7 * PAGE_SIZE};

		err = twzc_obj_create(&t->c, &a);
	}
	return err;
}

/* Every other one goes, the others grow: two of them to large objects. */
static int change(struct selftest *t)
{
	int err = 0;

	for (u64 n = 1; n <= OBJECTS && !err; n++) {
		u64 id[2] = {n, ~n};

		if (n % 2 == 0) {
			err = twzc_obj_resize(&t->c, id, n % 50 ? 9 * PAGE_SIZE : 3 << 20);
			continue;
		}
		err = twzc_obj_delete(&t->c, id);
		if (!err)
			err = twzc_obj_reclaim(&t->c, id);
	}
	return err;
}

static int find(struct selftest *t)
{
	for (u64 n = 1; n <= OBJECTS; n++) {
		u64 id[2] = {n, ~n};
		struct twzc_obj o;
		int err = twzc_obj_find(&t->c, id, &o);

		if (n % 2 ? err != TWZ_E_NOENT : err || o.len < 9 * PAGE_SIZE) {
			pr_err("twz: selftest: object %llu: %d\n", n, err);
			return TWZ_E_CORRUPT;
		}
	}
	return 0;
}

static int check(struct selftest *t)
{
	u64 cnt;
	int err = twzc_check(&t->c, found, NULL, &cnt);

	return err ? err : cnt ? TWZ_E_CORRUPT : 0;
}

static int run(struct selftest *t)
{
	static const struct {
		const char *name;
		int (*fn)(struct selftest *t);
	} steps[] = {
		{"format", format}, {"open", reopen}, {"create", create}, {"check", check},
		{"change", change}, {"check", check}, {"find", find},	  {"reopen", reopen},
		{"find", find},	    {"check", check},
	};

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		int err = steps[i].fn(t);

		if (err) {
			pr_err("twz: selftest: %s failed (%d)\n", steps[i].name, err);
			return twzk_errno(err);
		}
	}
	pr_info("twz: selftest: %d objects created, %d found after reopening, store clean\n",
		OBJECTS, OBJECTS / 2);
	return 0;
}

int twzk_selftest(void)
{
	struct selftest *t = kzalloc(sizeof(*t), GFP_KERNEL);
	int err = -ENOMEM;

	if (!t)
		return err;
	t->tx = kvmalloc(TWZC_TX_MIN, GFP_KERNEL);
	if (t->tx)
		err = twzk_image_init(&t->im, IMAGE_LEN, IMAGE_CAP);
	if (!err)
		err = run(t);
	twzk_image_destroy(&t->im);
	kvfree(t->tx);
	kfree(t);
	return err;
}
