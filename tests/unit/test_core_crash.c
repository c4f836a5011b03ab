/* SPDX-License-Identifier: MIT
 * test_core_crash.c -- twz/core stopped before every event: power loss, kill and restart, kill and
 * takeover
 *
 * An event is an ops call with an effect or a store to a home. After it the store must be in the
 * state before or after the operation, clean by twzc_check, and durably so: a further power loss
 * must not change it (D1, D3, D4, D5, D13).
 */
#include "t.h"
#include "core_scene.h"

#define KIB ((u64)1 << 10)

/* Run OP on a copy, stopped at event K. False: it came to its end without stopping. */
static bool run_to(struct core_image *ci, u32 op, u64 k, int tear)
{
	ci->events = 0;
	ci->tear = tear;
	ci->stop_at = k;
	if (!setjmp(ci->stop)) {
		int err = cs_ops[op].fn(ci);

		ci->stop_at = 0;
		T_OK(err);
		return false;
	}
	return true;
}

struct expect {
	u64 before, after;
	u32 op;
	u64 k;
	const char *how;
};

static u64 look(struct core_image *ci, const struct expect *x)
{
	u64 sum = ci_summary(ci, CS_OBJS);
	bool ok = sum == x->before || sum == x->after;

	ok = ok && ci_data_tagged(ci, 1, 12 * KIB) && ci_data_tagged(ci, 2, 12 * KIB) &&
	     ci_data_tagged(ci, 3, 4 * KIB) && !ci_check(ci);
	if (!ok)
		fprintf(stderr, "  %s, event %" PRIu64 ", %s: %s\n", cs_ops[x->op].name, x->k,
			x->how,
			sum == x->before || sum == x->after ? "data or check"
							    : "neither old nor new");
	T_TRUE(ok);
	return sum;
}

/*
 * Recovery itself is cut short at a random event, any number of times, by a kill or a loss of
 * power.
 */
static void open_at_last(struct core_image *ci)
{
	while (t_rand() & 1) {
		ci->events = 0;
		ci->tear = (int)t_rand_below(3);
		ci->stop_at = 1 + t_rand_below(12);
		if (!setjmp(ci->stop)) {
			T_OK(ci_open(ci, NULL));
			ci->stop_at = 0;
			return;
		}
		ci->stop_at = 0;
		if (t_rand() & 1)
			ci_crash(ci, (int)t_rand_below(3));
	}
	T_OK(ci_open(ci, NULL));
}

/* The same for a takeover; the first loss of power makes it a restart. */
static void take_over_at_last(struct core_image *ci)
{
	while (t_rand() & 1) {
		ci->events = 0;
		ci->tear = (int)t_rand_below(3);
		ci->stop_at = 1 + t_rand_below(12);
		if (!setjmp(ci->stop)) {
			T_OK(ci_takeover(ci));
			ci->stop_at = 0;
			return;
		}
		ci->stop_at = 0;
		if (t_rand() & 1) {
			ci_crash(ci, (int)t_rand_below(3));
			open_at_last(ci);
			return;
		}
	}
	T_OK(ci_takeover(ci));
}

/* It works on, and what it is stays when power goes again. */
static void live_on(struct core_image *ci, const struct expect *x, u64 sum)
{
	ci_crash(ci, 0);
	T_OK(ci_open(ci, NULL));
	T_EQ(look(ci, x), sum);
	T_OK(ci_create(ci, 39, 8 * KIB, false));
	T_EQ(ci_check(ci), 0);
	T_TRUE(ci_data_zero(ci, 39, 0, 8 * KIB));
}

static void power_loss(struct core_image *ci, struct expect *x, int how)
{
	static const char *const names[] = {"power loss, only fenced", "power loss, all",
					    "power loss, mixed"};

	x->how = names[how];
	ci_crash(ci, how);
	open_at_last(ci);
	live_on(ci, x, look(ci, x));
}

static void killed(struct core_image *ci, struct expect *x, bool takeover)
{
	x->how = takeover ? "killed, takeover" : "killed, restart";
	ci->stop_at = 0;
	if (takeover)
		take_over_at_last(ci);
	else
		open_at_last(ci);
	live_on(ci, x, look(ci, x));
}

/* One way of dying at event K of OP. False when the operation is over before. */
static bool die(struct core_image *ci, const struct core_image *from, struct expect *x, int way)
{
	static const int tears[] = {0, 1, 0, 1, 1, 0, 1, 2, 0, 2};
	bool stopped;

	ci_copy(ci, from);
	stopped = run_to(ci, x->op, x->k, tears[way]);
	if (!stopped)
		x->after = ci_summary(ci, CS_OBJS);
	else if (way < 5)
		power_loss(ci, x, way < 2 ? 0 : way == 2 ? 1 : 2);
	else
		killed(ci, x, way < 8);
	return stopped;
}

static void sweep(u32 media, u32 op, u32 warm)
{
	struct core_image *from = cs_prepare(media, warm, cs_ops[op].big, CS_RING_SHORT),
			  *ci = ci_clone(from);
	struct expect x = {.op = op, .k = 1 << 30, .before = ci_summary(from, CS_OBJS)};

	die(ci, from, &x, 0); /* to its end: gives the state after */
	for (x.k = 1; die(ci, from, &x, 0); x.k++)
		for (int way = 1; way < 10; way++)
			die(ci, from, &x, way);
	T_TRUE(x.k > 1 || cs_ops[op].idle);
	ci_free(ci);
	ci_free(from);
}

static void every_event_of_every_operation(void)
{
	for (u32 media = 0; media < 2; media++)
		for (u32 op = 0; op < cs_op_cnt; op++)
			for (u32 warm = 0; warm < 3; warm++)
				sweep(media, op, (u32)t_rand_below(9));
}

/* A metadata page that becomes data must not be written by a replay of older records. */
static void freed_metadata_is_not_replayed_over_data(void)
{
	for (u32 how = 0; how < 3; how++) {
		struct core_image *ci = cs_prepare(how & 1, 1, false, CS_RING_LONG);
		struct twzc_obj o;
		u64 id[2];

		ci_id(6, id);
		T_REQ(twzc_obj_find_any(&ci->c, id, &o));
		T_TRUE(o.extent_cnt > TWZC_EXT_INLINE);
		T_REQ(cs_on(ci, twzc_obj_reclaim, 6));	   /* gives an extent page back */
		T_REQ(ci_create(ci, 30, 84 * KIB, false)); /* which this takes */
		ci_data_tag(ci, 30, 0, 84 * KIB);
		ci_crash(ci, (int)how);
		T_REQ(ci_open(ci, NULL));
		T_TRUE(ci_data_tagged(ci, 30, 84 * KIB));
		T_EQ(ci_check(ci), 0);
		ci_free(ci);
	}
}

static void laps_of_the_ring(void)
{
	struct core_image *ci = ci_new(256 * KIB, 256 * KIB, 16 * KIB, 0, true);
	u64 len = 4 * KIB;

	T_REQ(ci_open(ci, NULL));
	T_REQ(ci_create(ci, 1, len, false));
	for (u32 i = 0; i < 2000; i++) {
		len = (1 + t_rand_below(8)) * 4 * KIB;
		T_REQ(cs_resize(ci, 1, len));
		if (t_rand_below(10))
			continue;
		ci_crash(ci, (int)t_rand_below(3));
		T_REQ(ci_open(ci, NULL));
		struct twzc_obj o;
		u64 id[2];

		ci_id(1, id);
		T_REQ(twzc_obj_find(&ci->c, id, &o));
		T_EQ(o.len, len);
	}
	T_TRUE(ci->sh.head > 20 * 16 * KIB);
	T_EQ(ci_check(ci), 0);
	ci_free(ci);
}

static void ring_copy(struct core_image *to, const struct core_image *from, u64 lsn, u64 len)
{
	u64 off = (TWZC_JOURNAL_PAGE + 1) * 4096 + lsn;

	memcpy(to->img + off, from->img + off, len);
	memcpy(to->dur + off, from->img + off, len);
}

/* D1: what an older generation left in the ring is no record, even whole and in the right place. */
static void older_generations_do_not_count(void)
{
	struct core_image *ci = ci_new(256 * KIB, 256 * KIB, 16 * KIB, 1, true), *old;
	struct twzc_obj o;
	u64 id[2], gen;

	T_REQ(ci_open(ci, NULL));
	gen = ci->sh.generation;
	old = ci_clone(ci);
	T_REQ(ci_create(old, 1, 4096, false));
	T_EQ(old->sh.tail, ci->sh.tail);
	T_REQ(ci_open(ci, NULL));
	T_EQ(ci->sh.generation, gen + 1);
	ring_copy(ci, old, 0, 12 * KIB);
	T_REQ(ci_open(ci, NULL));
	ci_id(1, id);
	T_ERR(twzc_obj_find(&ci->c, id, &o), TWZ_E_NOENT);
	T_EQ(ci_check(ci), 0);
	T_REQ(ci_takeover(ci));
	T_EQ(ci->sh.generation, gen + 3);
	T_EQ(ci->c.super.generation, gen + 3);
	ci_free(old);
	ci_free(ci);
}

/* D1: a record counts only behind the very record it was written behind. */
static void records_of_another_history_do_not_count(void)
{
	struct core_image *ci = ci_new(256 * KIB, 256 * KIB, 32 * KIB, 1, true), *other;
	struct twzc_obj o;
	u64 id[2], mid;

	T_REQ(ci_open(ci, NULL));
	other = ci_clone(ci);
	T_REQ(ci_create(ci, 1, 4096, false));
	mid = ci->sh.head;
	T_REQ(ci_create(other, 2, 4096, false));
	T_REQ(ci_create(other, 3, 4096, false));
	T_EQ(other->sh.head, 2 * mid);
	ring_copy(ci, other, mid, mid);
	ci_crash(ci, 0);
	T_REQ(ci_open(ci, NULL));
	ci_id(1, id);
	T_OK(twzc_obj_find(&ci->c, id, &o));
	ci_id(3, id);
	T_ERR(twzc_obj_find(&ci->c, id, &o), TWZ_E_NOENT);
	T_EQ(ci_check(ci), 0);
	ci_free(other);
	ci_free(ci);
}

static void open_stopped(struct core_image *ci, u64 event, int tear)
{
	ci->events = 0;
	ci->tear = tear;
	ci->stop_at = event;
	if (!setjmp(ci->stop)) {
		T_OK(ci_open(ci, NULL));
		T_TRUE(false);
	}
	ci->stop_at = 0;
}

/*
 * The writer of a superblock is killed before its copy is durable, and the next one while it
 * writes: one copy must survive the loss of power that follows, so the copy that may not be durable
 * is the one to be overwritten.
 */
static void one_superblock_always_survives(void)
{
	struct core_image *from = ci_new(256 * KIB, 256 * KIB, 16 * KIB, 1, true),
			  *ci = ci_clone(from);
	u64 first;

	T_REQ(ci_open(ci, NULL));
	first = ci->events - 1; /* the two superblocks are the last events */
	for (u32 i = 0; i < 200; i++) {
		ci_copy(ci, from);
		open_stopped(ci, first + (i & 1), 2);
		open_stopped(ci, first + t_rand_below(2), 1);
		ci_crash(ci, 2);
		T_REQ(ci_open(ci, NULL));
	}
	ci_free(ci);
	ci_free(from);
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(every_event_of_every_operation),
		T_CASE(freed_metadata_is_not_replayed_over_data),
		T_CASE(laps_of_the_ring),
		T_CASE(older_generations_do_not_count),
		T_CASE(records_of_another_history_do_not_count),
		T_CASE(one_superblock_always_survives),
		T_END,
	};

	return t_main("core_crash", cases, argc, argv);
}
