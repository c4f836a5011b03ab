/* SPDX-License-Identifier: MIT
 * transfer.c -- a program of your own on libtwz, crashed at every store: the worked example
 *
 * The "application" is bank_open() and transfer(); everything below `the test` is what a test of it
 * takes. tests/crash/README.md, "Your own program", walks through it. transfer.broken has a mistake
 * on purpose: it changes the second account without recording it first. transfer.twice has none, but
 * makes durable what is so already: `mutants` and `flushes` tell.
 */
#include <string.h>

#include "kind_twz.h"

/* --- the application --- */

struct bank {
	uint64_t account[8]; /* cents */
	uint64_t receipts;   /* so many count */
	uint64_t unused[55];
	uint64_t receipt[64]; /* in another sector */
};

static int bank_open(struct twz_store *s, struct bank **out)
{
	struct twz_obj_options opt = {.size = sizeof(opt), .len = 4096, .id = {{0xba17, 1}}};
	struct twz_obj *o = NULL;
	int err = twz_obj_open(s, opt.id, TWZ_READ | TWZ_WRITE, &o);

	if (err == TWZ_E_NOENT)
		err = twz_obj_create(s, &opt, NULL, &o);
	*out = err ? NULL : twz_obj_data(o);
	return err;
}

static int transfer(struct twz_store *s, int from, int to, uint64_t cents, bool careful)
{
	struct bank *b;
	struct twz_tx *tx;
	int err = bank_open(s, &b);

	if (!err)
		err = twz_tx_begin(s, &tx);
	if (err)
		return err;
	err = twz_tx_record(tx, &b->account[from], sizeof(uint64_t));
	if (!err && careful)
		err = twz_tx_record(tx, &b->account[to], sizeof(uint64_t));
	if (err) {
		(void)!twz_tx_abort(tx);
		return err;
	}
	b->account[from] -= cents;
	b->account[to] += cents;
	return twz_tx_commit(tx);
}

/* A receipt is there once it is counted. So it is made durable first: no transaction, but in this order. */
static int receipt(struct twz_store *s, uint64_t cents, bool twice)
{
	struct bank *b;
	int err = bank_open(s, &b);

	if (err)
		return err;
	b->receipt[b->receipts] = cents;
	err = twz_sync(s, &b->receipt[b->receipts], sizeof(uint64_t));
	if (err)
		return err;
	b->receipts++;
	err = twz_sync(s, &b->receipts, sizeof(uint64_t));
	if (!err && twice)
		err = twz_sync(s, b, sizeof(*b));
	return err;
}

/* --- the test --- */

/* Recorded, not crashed: how the store comes to its first state. */
static int setup(struct crash *c)
{
	struct bank *b;

	CRASH_DO(c, bank_open(c->store, &b));
	b->account[0] = 1000;
	CRASH_DO(c, twz_sync(c->store, b, sizeof(*b)));
	CRASH_DO(c, twz_sync_all(c->store)); /* all pages: fewer to choose from */
	return 0;
}

/* Each CRASH_OP is atomic, and durable when it returns: that is the claim. */
static int run_right(struct crash *c)
{
	CRASH_OP(c, transfer(c->store, 0, 1, 300, true));
	CRASH_OP(c, transfer(c->store, 1, 2, 50, true));
	CRASH_OP(c, transfer(c->store, 0, 2, 700, true));
	return 0;
}

static int run_broken(struct crash *c)
{
	CRASH_OP(c, transfer(c->store, 0, 1, 300, false));
	return 0;
}

static int run_receipts(struct crash *c)
{
	CRASH_OP(c, receipt(c->store, 300, false));
	CRASH_OP(c, receipt(c->store, 50, false));
	return 0;
}

static int run_twice(struct crash *c)
{
	CRASH_OP(c, receipt(c->store, 300, true));
	CRASH_OP(c, receipt(c->store, 50, true));
	return 0;
}

/* The whole logical state, as text. It must be one the recorded run had, and the right one. */
static int show(struct crash *c)
{
	struct bank *b;

	CRASH_DO(c, bank_open(c->store, &b));
	for (int i = 0; i < 3; i++)
		crash_say(c, "account %d: %llu\n", i, (unsigned long long)b->account[i]);
	for (uint64_t i = 0; i < b->receipts; i++)
		crash_say(c, "receipt %llu\n", (unsigned long long)b->receipt[i]);
	return 0;
}

static const struct crash_workload right = {.name = "transfer.right",
					    .what = "money moves, or does not",
					    .media = CRASH_ALL,
					    .kind = &twz_kind,
					    .setup = setup,
					    .run = run_right,
					    .show = show};
static const struct crash_workload broken = {.name = "transfer.broken",
					     .what = "BUG: an account that is not recorded",
					     .media = CRASH_LINE | CRASH_PAGE,
					     .kind = &twz_kind,
					     .setup = setup,
					     .run = run_broken,
					     .show = show};
/* Not CRASH_KILL: who looks when a process has died sees a receipt that a power failure may still take. */
static const struct crash_workload receipts = {.name = "transfer.receipt",
					       .what = "a receipt is written, then counted",
					       .media = CRASH_LINE | CRASH_PAGE,
					       .kind = &twz_kind,
					       .setup = setup,
					       .run = run_receipts,
					       .show = show};
static const struct crash_workload twice = {.name = "transfer.twice",
					    .what = "and made durable once too often",
					    .media = CRASH_LINE | CRASH_PAGE,
					    .kind = &twz_kind,
					    .setup = setup,
					    .run = run_twice,
					    .show = show};
const struct crash_workload *const crash_workloads[] = {&right, &broken, &receipts, &twice, NULL};
