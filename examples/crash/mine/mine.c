/* SPDX-License-Identifier: MIT
 * mine.c -- the test in ten lines of tests/crash/README.md, as it stands there (crash.readme compares)
 */
/* clang-format off: as the README has them */
#include "kind_twz.h"
#include "bank.h" /* your program */

static int run(struct crash *c)  { CRASH_OP(c, transfer(c->store, 0, 1, 300)); return 0; }
static int show(struct crash *c) { crash_say(c, "%lld %lld", (long long)balance(c->store, 0), (long long)balance(c->store, 1)); return 0; }
static const struct crash_workload mine = { .name = "mine", .media = CRASH_ALL, .kind = &twz_kind, .run = run, .show = show };

/* A second one: each CRASH_OP is claimed to be atomic, and durable when it returns. */
static int move_run(struct crash *c)
{
	CRASH_OP(c, twz_name_set(c->store, "a", wl_id(1), 0));
	CRASH_OP(c, twz_name_rename(c->store, "a", "b"));
	return 0;
}

static int say_name(void *c, const char *name, twz_oid id) { crash_say(c, "%s = %llx\n", name, (long long)id.w[0]); return 0; }
static int show_names(struct crash *c) { return twz_name_list(c->store, "", say_name, c) ? crash_why(c, "%s", twz_errmsg()) : 0; }
static const struct crash_workload move = { .name = "name.move", .what = "a name moves", .media = CRASH_ALL, .kind = &twz_kind, .run = move_run, .show = show_names };

const struct crash_workload *const crash_workloads[] = { &mine, &move, NULL };
