/* SPDX-License-Identifier: MIT
 * campaign_run.h -- `twzcrash campaign`, and a turn of it as a job of `long`: twzcampaign, the program beside this one
 *
 * A program of its own, for it has the wall clock of its processes in hand, SQLite's too, as twzcrash has those of the code under test.
 */
#ifndef CRASH_CAMPAIGN_RUN_H
#define CRASH_CAMPAIGN_RUN_H

#include "enum.h"

/* With these arguments, the first being the command. Returns only when it could not be started: reported, 2. */
int campaign_exec(const char *const *argv);

/* A job: until so many processes (OPT->limit) have been killed, on OPT->media. What failed is kept in OPT->keep_dir. */
extern const struct crash_workload campaign_job;
int campaign_run(const struct crash_workload *w, const struct crash_options *opt,
		 struct crash_result *res);

#endif
