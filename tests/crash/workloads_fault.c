/* SPDX-License-Identifier: MIT
 * workloads_fault.c -- a medium that fails (D17), and old bytes that look like a record (D10)
 */
#include "workloads.h"

/* --- bytes of an earlier lap where a header arrived by half --- */

/* A word of a header: no predecessor's sum, and a record of so many bytes: it would end far behind the ring. */
#define HOSTILE ((uint64_t)(1u << 28 | 0x3c00) << 32)

/* A lap of records that are full of it. */
static int setup_hostile(struct crash *c)
{
	for (uint64_t v = 1; v <= 20; v++)
		CRASH_DO(c, log_append_words(c, v, 120, HOSTILE));
	return 0;
}

/* Of the first record behind the tail it is not asked what was before. */
static int run_hostile(struct crash *c)
{
	for (uint64_t v = 21; v <= 26; v++) {
		CRASH_DO(c, log_checkpoint(c));
		CRASH_OP(c, log_append(c, v, 200));
	}
	return 0;
}

const struct crash_workload wl_log_hostile = {
	.name = "log.hostile",
	.what = "records over old bytes that look like others, too long ones (D10)",
	.media = CRASH_LINE | CRASH_PAGE,
	.share = SHARE_CHEAP,
	.kind = &log_kind,
	.setup = setup_hostile,
	.run = run_hostile,
	.show = log_show};

/* --- a write that fails: nobody goes on before a restart has decided --- */

static int fails(struct crash *c, int rc, int want, const char *what)
{
	return rc == want ? 0 : crash_why(c, "%s: %d instead of %d", what, rc, want);
}

/* After a failure nothing is appended; if something is, and it is said to be durable, the images tell. */
static int refused(struct crash *c)
{
	int rc = log_append(c, 9, 60);

	if (rc)
		return fails(c, rc, TWZ_E_FAILED, "an append after a failure");
	crash_begin(c);
	return crash_done(c);
}

static int setup_failed(struct crash *c)
{
	CRASH_DO(c, log_append(c, 1, 100));
	return 0;
}

static int run_failed(struct crash *c)
{
	CRASH_OP(c, log_append(c, 2, 100));
	crash_begin(c);
	sim_fail_next(SIM_FAULT_WRITE);
	CRASH_DO(c, fails(c, log_append(c, 3, 5000), TWZ_E_IO, "an append whose write fails"));
	CRASH_DO(c, log_step_with(c, 3, 5000));
	return refused(c);
}

const struct crash_workload wl_log_failed = {
	.name = "log.failed",
	.what = "the write of a record fails, and its outcome is unknown (D17)",
	.media = CRASH_PAGE,
	.fails = true,
	.share = SHARE_CHEAP,
	.kind = &log_kind,
	.setup = setup_failed,
	.run = run_failed,
	.show = log_show};

/* --- a sync of the homes that fails: their records stay --- */

static int run_failed_sync(struct crash *c)
{
	int rc;

	for (uint64_t v = 2; v <= 4; v++)
		CRASH_OP(c, log_append(c, v, 40));
	sim_fail_next(SIM_FAULT_SYNC);
	rc = log_checkpoint(c);
	CRASH_DO(c, rc ? fails(c, rc, TWZ_E_IO, "a checkpoint whose sync fails") : 0);
	return refused(c);
}

const struct crash_workload wl_log_failed_sync = {
	.name = "log.failed_sync",
	.what = "the sync of a checkpoint fails: the tail stays (D17)",
	.media = CRASH_PAGE,
	.fails = true,
	.share = SHARE_CHEAP,
	.kind = &log_kind,
	.setup = setup_failed,
	.run = run_failed_sync,
	.show = log_show};
