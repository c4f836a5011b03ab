/* SPDX-License-Identifier: MIT
 * test_core_fault.c -- twz/core when the nth journal write, fence, growth or zeroing fails
 *
 * A full disk (grow) or a failed zeroing: the error, and nothing changed. A failed journal write or
 * fence: outcome unknown, the store is failed for everybody until a restart, which finds the state
 * before or after (D17).
 */
#include "t.h"
#include "core_scene.h"

struct fault {
	u64 before, after;
	u32 op;
	enum ci_event ev;
	u64 nth;
};

static void complain(const struct fault *f, const char *what)
{
	static const char *const names[] = {"log_write", "fence", "grow", "zero"};

	fprintf(stderr, "  %s, %s %" PRIu64 ": %s\n", cs_ops[f->op].name, names[f->ev], f->nth,
		what);
	T_TRUE(false);
}

static void nothing_changed(struct core_image *ci, const struct fault *f,
			    const struct twzc_info *was)
{
	struct twzc_info info;

	T_EQ(ci->sh.failed, 0);
	if (ci_summary(ci, CS_OBJS) != f->before || ci_check(ci))
		complain(f, "something changed");
	T_OK(twzc_info(&ci->c, &info));
	T_EQ(info.free_len - info.len, was->free_len - was->len);
	T_OK(cs_ops[f->op].fn(ci)); /* and now it works */
	T_EQ(ci_summary(ci, CS_OBJS), f->after);
	T_EQ(ci_check(ci), 0);
}

static void failed_until_restart(struct core_image *ci, const struct fault *f)
{
	bool unclean;
	u64 sum;

	T_EQ(ci->sh.failed, 1);
	T_ERR(ci_create(ci, 38, 4096, false), TWZ_E_FAILED);
	T_ERR(twzc_checkpoint(&ci->c), TWZ_E_FAILED);
	T_ERR(twzc_recover(&ci->c, false, &unclean), TWZ_E_FAILED);
	ci_crash(ci, (int)t_rand_below(3));
	T_OK(ci_open(ci, NULL));
	sum = ci_summary(ci, CS_OBJS);
	if ((sum != f->before && sum != f->after) || ci_check(ci))
		complain(f, "neither old nor new");
	if (!ci_data_tagged(ci, 1, 12288) || !ci_data_tagged(ci, 3, 4096))
		complain(f, "data lost");
}

/* False: the operation makes fewer such calls. */
static bool fail_one(struct core_image *ci, const struct core_image *from, const struct fault *f)
{
	struct twzc_info was;
	int err;

	ci_copy(ci, from);
	T_OK(twzc_info(&ci->c, &was));
	ci->fail_at[f->ev] = f->nth;
	err = cs_ops[f->op].fn(ci);
	if (ci->cnt[f->ev] < f->nth) {
		T_OK(err);
		return false;
	}
	ci->fail_at[f->ev] = 0;
	if (f->ev == CI_LOG_WRITE || f->ev == CI_FENCE)
		failed_until_restart(
			ci, f); /* ERR may be 0: the change was durable, what followed failed */
	else if (err)
		nothing_changed(ci, f, &was);
	else if (f->ev == CI_ZERO)
		complain(f, "a failed zeroing was ignored");
	else
		T_EQ(ci_summary(ci, CS_OBJS), f->after); /* a second try with less got through */
	return true;
}

static void sweep(u32 media, u32 op, enum ci_event ev)
{
	struct core_image *from =
		cs_prepare(media, (u32)t_rand_below(9), cs_ops[op].big, CS_RING_SHORT);
	struct core_image *ci = ci_clone(from);
	struct fault f = {.op = op, .ev = ev, .nth = 1, .before = ci_summary(from, CS_OBJS)};

	T_OK(cs_ops[op].fn(ci));
	f.after = ci_summary(ci, CS_OBJS);
	while (fail_one(ci, from, &f))
		f.nth++;
	ci_free(ci);
	ci_free(from);
}

static void every_nth_failure_of_every_operation(void)
{
	for (u32 media = 0; media < 2; media++)
		for (u32 op = 0; op < cs_op_cnt; op++)
			for (u32 ev = CI_LOG_WRITE; ev <= CI_ZERO; ev++)
				sweep(media, op, (enum ci_event)ev);
}

/*
 * The disk is full for good at every size in turn: creations end in NOSPC, deletions always work.
 */
static void full_at_every_size(void)
{
	for (u64 cap = 128; cap <= 1024; cap += 12) {
		struct core_image *ci =
			ci_new(128 << 10, cap << 10, 16 << 10, cap & 4 ? 1 : 0, true);
		u64 n = 0, len = (1 + t_rand_below(20)) * 4096;
		int err;

		T_REQ(ci_open(ci, NULL));
		while (!(err = ci_create(ci, n, len, n & 1)))
			n++;
		T_EQ(err, TWZ_E_NOSPC);
		T_EQ(ci_check(ci), 0);
		while (n-- > 0) {
			T_REQ(cs_on(ci, twzc_obj_delete, n));
			T_REQ(cs_on(ci, twzc_obj_reclaim, n));
		}
		T_EQ(ci_check(ci), 0);
		ci_free(ci);
	}
}

static void read_only_changes_nothing(void)
{
	struct core_image *ci = cs_prepare(1, 0, false, CS_RING_LONG);
	struct twzc_obj o;
	bool unclean;
	u64 id[2];

	ci_crash(ci, 0);
	memset(&ci->sh, 0, sizeof(ci->sh));
	ci->c.read_only = 1;
	T_ERR(twzc_recover(&ci->c, true, &unclean), TWZ_E_READONLY);
	T_TRUE(unclean);
	T_REQ(ci_open(ci, NULL));
	memset(&ci->sh, 0, sizeof(ci->sh));
	ci->c.read_only = 1;
	ci->events = 0;
	T_REQ(twzc_recover(&ci->c, true, &unclean));
	ci_id(1, id);
	T_REQ(twzc_obj_find(&ci->c, id, &o));
	T_ERR(twzc_obj_delete(&ci->c, id), TWZ_E_READONLY);
	T_ERR(ci_create(ci, 38, 4096, false), TWZ_E_READONLY);
	T_EQ(ci->events, 0);
	ci_free(ci);
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(every_nth_failure_of_every_operation),
		T_CASE(full_at_every_size),
		T_CASE(read_only_changes_nothing),
		T_END,
	};

	return t_main("core_fault", cases, argc, argv);
}
