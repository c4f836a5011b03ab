/* SPDX-License-Identifier: MIT
 * test_selftest.c -- does the crash harness catch what it must, and nothing else?
 */
#include "t.h"

#include "thrice.h"
#include "toy.h"

const struct crash_workload *const crash_workloads[] = {NULL};

/* 1 if some legal image was wrong, 0 if all were right, -1 if the harness itself failed. */
static int outcome(const struct crash_workload *w, enum sim_media media, const struct mutation *mut,
		   struct crash_result *res)
{
	struct crash_options opt = {
		.media = media, .limit = 4000, .seed = t_seed(), .timeout = 10, .quiet = true};

	if (mut)
		opt.mut = *mut;
	memset(res, 0, sizeof(*res));
	crash_run(w, &opt, res);
	crash_dir_remove();
	if (res->failed < 0)
		fprintf(stderr, "%s: %s\n", w->name, res->why);
	return res->failed;
}

static void right_program_passes(void)
{
	struct crash_result res;

	T_EQ(outcome(&toy_right, SIM_MEDIA_LINE, NULL, &res), 0);
	T_TRUE(res.distinct >= 10 && res.reopened == res.distinct);
	T_EQ(res.exhaustive, res.points);
	T_EQ(outcome(&toy_right, SIM_MEDIA_PAGE, NULL, &res), 0);
	T_TRUE(res.distinct >= 7);
}

static void missing_flush_is_caught(void)
{
	struct crash_result res;

	T_EQ(outcome(&toy_no_flush, SIM_MEDIA_LINE, NULL, &res), 1);
	T_HAS(res.why, "torn");
}

static void missing_sync_is_caught(void)
{
	struct crash_result res;

	T_EQ(outcome(&toy_no_flush, SIM_MEDIA_PAGE, NULL, &res), 1);
}

static void missing_fence_is_caught(void)
{
	struct crash_result res;

	T_EQ(outcome(&toy_no_fence, SIM_MEDIA_LINE, NULL, &res), 1);
}

static void missing_last_fence_is_caught(void)
{
	struct crash_result res;

	T_EQ(outcome(&toy_no_last_fence, SIM_MEDIA_LINE, NULL, &res), 1);
	T_HAS(res.why, "state after recovery");
}

static void wrong_order_is_caught(void)
{
	struct crash_result res;

	T_EQ(outcome(&toy_order, SIM_MEDIA_LINE, NULL, &res), 1);
	T_EQ(outcome(&toy_order, SIM_MEDIA_PAGE, NULL, &res), 1);
}

static void sixteen_bytes_are_not_atomic(void)
{
	struct crash_result res;

	T_EQ(outcome(&toy_torn16, SIM_MEDIA_LINE, NULL, &res), 1);
	T_HAS(res.why, "pair");
	T_EQ(outcome(&toy_torn16, SIM_MEDIA_PAGE, NULL, &res), 1);
}

static void writes_and_pages_tear_at_sectors(void)
{
	struct crash_result res;

	T_EQ(outcome(&toy_torn_write, SIM_MEDIA_PAGE, NULL, &res), 1);
	T_EQ(outcome(&toy_torn_page, SIM_MEDIA_PAGE, NULL, &res), 1);
}

/*
 * The right program with each of its flush, fence and sync call sites taken away: everyone is
 * needed, so each must be missed.
 */
static void every_call_site_of_the_right_program_is_needed(void)
{
	enum mutation_kind kind_of[EV_FAIL + 1] = {[EV_FLUSH] = MUTATE_DROP_FLUSH,
						   [EV_FENCE] = MUTATE_DROP_FENCE,
						   [EV_SYNC] = MUTATE_DROP_SYNC};
	struct crash_result res;
	int sites = 0;

	for (int m = SIM_MEDIA_LINE; m <= SIM_MEDIA_PAGE; m++) {
		struct crash_record rec;
		const struct sim_ev *ev;
		uint64_t pos = 0;
		char why[256];

		T_REQ(crash_record(&toy_right, (enum sim_media)m, 1, &rec, why, sizeof(why)));
		while ((ev = sim_log_next(rec.log, &pos))) {
			struct mutation mut = {kind_of[ev->type], site_hash(ev)};
			struct crash_options opt = {.media = (enum sim_media)m,
						    .limit = 1000,
						    .seed = t_seed(),
						    .timeout = 10,
						    .quiet = true,
						    .mut = mut};

			if (!mut.kind)
				continue;
			memset(&res, 0, sizeof(res));
			crash_enumerate(&toy_right, &rec, &opt, &res);
			T_EQ(res.failed, 1);
			sites++;
		}
		crash_record_free(&rec);
	}
	crash_dir_remove();
	T_TRUE(sites >= 12);
}

/* Every image of one and two crashes is right. */
static void a_third_crash_is_at_every_point(void)
{
	struct crash_options opt = {.seed = t_seed(), .timeout = 10, .keep_dir = "/tmp"};
	struct crash_result res;

	for (int m = SIM_MEDIA_LINE; m <= SIM_MEDIA_PAGE; m++) {
		opt.media = (enum sim_media)m;
		opt.quiet = true;
		opt.second = 1;
		opt.limit = opt.second_limit = 100000;
		memset(&res, 0, sizeof(res));
		T_EQ(crash_run(&toy_third, &opt, &res), 0);
		T_TRUE(res.second > 20);
		T_EQ(crash_thrice(&toy_third, &opt), 1);
		T_EQ(crash_thrice(&toy_right, &opt), 0);
	}
	crash_dir_remove();
}

/* The same death again finds it again, and so does a look at what the dead left. */
static void a_death_that_goes_wrong_is_kept(void)
{
	struct crash_options opt = {.media = SIM_MEDIA_LINE,
				    .seed = 5,
				    .timeout = 10,
				    .limit = 100,
				    .keep_dir = crash_dir()};
	struct crash_result res;
	char file[300];

	T_EQ(crash_kill(&toy_left, &opt, &res), 1);
	T_HAS(res.why, "killed at point");
	opt.kill_first = 2;
	T_EQ(crash_kill(&toy_left, &opt, &res), 1);
	T_HAS(res.why, "killed at point 2 of");
	snprintf(file, sizeof(file), "%s/toy.left-kill-line-5-2-0.img", crash_dir());
	T_EQ(crash_repro(&toy_left, &opt, file, 0, 1), 1);
	crash_dir_remove();
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(right_program_passes),
		T_CASE(missing_flush_is_caught),
		T_CASE(missing_sync_is_caught),
		T_CASE(missing_fence_is_caught),
		T_CASE(missing_last_fence_is_caught),
		T_CASE(wrong_order_is_caught),
		T_CASE(sixteen_bytes_are_not_atomic),
		T_CASE(writes_and_pages_tear_at_sectors),
		T_CASE(every_call_site_of_the_right_program_is_needed),
		T_CASE(a_third_crash_is_at_every_point),
		T_CASE(a_death_that_goes_wrong_is_kept),
		T_END,
	};

	return t_main("crash.selftest", cases, argc, argv);
}
