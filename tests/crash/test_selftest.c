/* SPDX-License-Identifier: MIT
 * test_selftest.c -- does the crash harness catch what it must, and nothing else?
 */
#include "t.h"

#include <sys/mman.h>

#include "progress.h"
#include "thrice.h"
#include "toy.h"

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

/* One operation only: what another might show besides cannot stand in for it. */
static void what_was_acknowledged_is_there(void)
{
	struct crash_result res;

	for (int m = SIM_MEDIA_LINE; m <= SIM_MEDIA_PAGE; m++) {
		T_EQ(outcome(&toy_unsynced, (enum sim_media)m, NULL, &res), 1);
		T_HAS(res.why, "none of 1..1");
	}
}

/* At the store alone: at the fence behind it the operation has begun. */
static void a_store_is_a_crash_point(void)
{
	struct crash_result res;

	for (int m = SIM_MEDIA_LINE; m <= SIM_MEDIA_PAGE; m++) {
		T_EQ(outcome(&toy_early, (enum sim_media)m, NULL, &res), 1);
		T_HAS(res.why, "none of 0..0");
	}
}

/* No image is wrong: the run is, for it cannot be believed. So is that of a recovery. */
static void stores_without_a_hook_are_told(void)
{
	struct crash_options opt = {.seed = t_seed(),
				    .timeout = 10,
				    .quiet = true,
				    .second = 1,
				    .limit = 4000,
				    .second_limit = 20};
	struct crash_result res;

	for (int m = SIM_MEDIA_LINE; m <= SIM_MEDIA_PAGE; m++) {
		opt.media = (enum sim_media)m;
		T_EQ(crash_run(&toy_unhooked, &opt, &res), 1);
		T_EQ(res.failed, -1);
		T_HAS(res.why, "changed without a hook");
		T_EQ(crash_run(&toy_unhooked_recovery, &opt, &res), 1);
		T_HAS(res.why, "changed without a hook");
		T_EQ(crash_thrice(&toy_unhooked_recovery, &opt), 1);
	}
	crash_dir_remove();
}

static void what_never_ends_is_told(void)
{
	struct crash_options opt = {.media = SIM_MEDIA_LINE,
				    .seed = t_seed(),
				    .timeout = 1,
				    .quiet = true,
				    .limit = 100};
	struct crash_result res;

	T_EQ(crash_run(&toy_hang, &opt, &res), 1);
	T_HAS(res.why, "no end (timeout)");
	crash_dir_remove();
}

/* Each fails in one of these ways of opening an image, and in no other. */
static void images_are_opened_in_all_ways(void)
{
	static const struct {
		const struct crash_workload *w;
		const char *why;
	} way[] = {
		{&toy_twice, "state after recovery is none of"},
		{&toy_stuck, "it cannot be written any more"},
		{&toy_reads, "opened to be read only: state after recovery is none of"},
		{&toy_writes, "opening it to be read only has changed the file"},
		{&toy_unclosed, "it cannot be closed"},
		{&toy_copied, "a copy is not recovered"},
		{&toy_reads_old, "it shows another state than when it was opened to be read only"},
		{&toy_then_old, "a second opening shows another state than the first"},
	};
	struct crash_result res;

	for (unsigned int i = 0; i < sizeof(way) / sizeof(way[0]); i++)
		for (int m = SIM_MEDIA_LINE; m <= SIM_MEDIA_PAGE; m++) {
			T_EQ(outcome(way[i].w, (enum sim_media)m, NULL, &res), 1);
			T_HAS(res.why, way[i].why);
		}
}

/* Both have as many lines on their way: the one with something rare inside gets more of a limit. */
static void what_is_rare_has_a_larger_share(void)
{
	struct crash_counts *counts = crash_counts_new(1 << 16);
	struct crash_options opt = {
		.seed = t_seed(), .timeout = 10, .quiet = true, .limit = 1000, .counts = counts};
	struct crash_result res;

	if (!T_TRUE(counts != NULL))
		return;
	T_EQ(crash_run(&toy_inside, &opt, &res), 0);
	T_TRUE(counts->distinct[COUNT_INSIDE] > 100);
	T_TRUE(counts->distinct[COUNT_INSIDE] <= counts->distinct[COUNT_SMALL]);
	T_TRUE(counts->distinct[COUNT_INSIDE] * 4 > counts->distinct[COUNT_SMALL] * 3);
	crash_counts_free(counts);
	crash_dir_remove();
}

static void a_dead_process_has_flushed_nothing(void)
{
	struct crash_options opt = {.media = SIM_MEDIA_LINE,
				    .seed = t_seed(),
				    .timeout = 10,
				    .quiet = true,
				    .limit = 2000};
	struct crash_result res;

	T_EQ(crash_death(&toy_heir, &opt, &res), 0);
	T_EQ(crash_death(&toy_hasty_heir, &opt, &res), 1);
	T_HAS(res.why, "power failed: state after recovery is none of 1..1");
	crash_dir_remove();
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
	snprintf(file, sizeof(file), "%s/toy.left-kill-line-5-2-0-0.img", crash_dir());
	T_EQ(crash_repro(&toy_left, &opt, &(struct crash_kept){.file = file, .top = 1}), 1);
	crash_dir_remove();
}

/* In a file: a line when it is due, and no more. */
static void progress_is_told_in_a_file(void)
{
	int was = dup(STDERR_FILENO), to = memfd_create("progress", MFD_CLOEXEC);
	char text[300] = "";
	struct progress p;

	fflush(stderr);
	if (!T_TRUE(was >= 0 && to >= 0 && dup2(to, STDERR_FILENO) >= 0))
		return;
	progress_begin(&p, 100, 0, 0);
	progress_show(&p, 10, 50, "soon: ");
	T_EQ(p.every, 60);
	p.next = 0; /* a minute later */
	progress_show(&p, 20, 50, "round 1: ");
	progress_show(&p, 30, 50, "again: ");
	progress_clear(&p);
	fflush(stderr);
	dup2(was, STDERR_FILENO);
	T_TRUE(pread(to, text, sizeof(text) - 1, 0) > 0);
	T_HAS(text, "round 1:  20 %, ");
	T_TRUE(strlen(text) > 1 && strchr(text, '\n') == text + strlen(text) - 1);
	close(was);
	close(to);
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
		T_CASE(what_was_acknowledged_is_there),
		T_CASE(a_store_is_a_crash_point),
		T_CASE(stores_without_a_hook_are_told),
		T_CASE(what_never_ends_is_told),
		T_CASE(images_are_opened_in_all_ways),
		T_CASE(what_is_rare_has_a_larger_share),
		T_CASE(a_dead_process_has_flushed_nothing),
		T_CASE(every_call_site_of_the_right_program_is_needed),
		T_CASE(a_third_crash_is_at_every_point),
		T_CASE(a_death_that_goes_wrong_is_kept),
		T_CASE(progress_is_told_in_a_file),
		T_END,
	};

	return t_main("crash.selftest", cases, argc, argv);
}
