/* SPDX-License-Identifier: MIT
 * workloads_log.c -- twz_log: append, apply, checkpoint, laps of the ring, spilled records (D1-D5)
 *
 * The user of the log is an array of words: a record sets some of them.
 */
#include "workloads.h"
#include "log_ring.h"

#include <stdlib.h>
#include <string.h>

#define HOME_LEN 16384
#define WORDS	 64
#define STRIDE	 (HOME_LEN / 8 / WORDS)

struct rec {
	uint32_t word[2]; /* set to value, value + 1 */
	uint64_t value;
	uint8_t body[]; /* any length: its sum is stored in word[1] + 1 */
};

struct home {
	struct twz_obj *obj;
	struct twz_log *log;
	struct crash *c;
	uint64_t *would; /* what is shown instead of OBJ (log_step_with()) */
};

static uint64_t *word(struct home *h, uint32_t i)
{
	uint64_t *data = h->would ? h->would : twz_obj_data(h->obj);

	return data + (uint64_t)(i % WORDS) * STRIDE;
}

static int apply(void *ctx, uint64_t lsn, const void *rec, size_t len, bool restart)
{
	const struct rec *r = rec;

	(void)lsn;
	(void)restart;
	if (len < sizeof(*r))
		return TWZ_E_CORRUPT;
	*word(ctx, r->word[0]) = r->value;
	*word(ctx, r->word[1]) = r->value + 1;
	*word(ctx, r->word[1] + 1) = wl_sum(r->body, len - sizeof(*r));
	return 0;
}

static int flush(void *ctx, uint64_t lsn, const void *rec, size_t len)
{
	struct home *h = ctx;
	const struct rec *r = rec;

	(void)lsn;
	(void)len;
	twz_flush(h->c->store, word(h, r->word[0]), 8);
	twz_flush(h->c->store, word(h, r->word[1]), 8);
	twz_flush(h->c->store, word(h, r->word[1] + 1), 8);
	return 0;
}

/*
 * Word 1 and 2 of the home's first line hold the log's ID; words used by records start at
 * STRIDE.
 */
static int make(struct crash *c, struct home *h, uint64_t ring_len)
{
	uint64_t *w;
	twz_oid id;

	CRASH_DO(c, wl_create(c, 1, HOME_LEN, &h->obj));
	CRASH_DO(c, twz_log_create(c->store, ring_len, &id));
	w = twz_obj_data(h->obj);
	memcpy(&w[1], &id, sizeof(id));
	return twz_sync(c->store, &w[1], sizeof(id));
}

static int log_open_as(struct crash *c, const struct twz_log_user *as, uint64_t ring_len)
{
	static struct twz_log_user user;
	struct home *h = calloc(1, sizeof(*h));
	int restart = 0;
	twz_oid id;

	if (!h || twz_kind_open(c))
		return -1;
	h->c = c;
	c->user[0] = h;
	if (!c->recovering)
		CRASH_DO(c, make(c, h, ring_len));
	else
		CRASH_DO(c, twz_obj_open(c->store, wl_id(1), TWZ_READ | TWZ_WRITE, &h->obj));
	memcpy(&id, (uint64_t *)twz_obj_data(h->obj) + 1, sizeof(id));
	user = *as;
	user.ctx = h;
	CRASH_DO(c, twz_log_open(c->store, id, &user, &h->log, &restart));
	if (restart)
		CRASH_DO(c, twz_log_recover(h->log, true));
	return 0;
}

static const struct twz_log_user plain_user = {.version = 1, .apply = apply, .flush = flush};

static int log_open(struct crash *c)
{
	return log_open_as(c, &plain_user, TWZ_LOG_LEN_MIN);
}

/* On page media a record of the smallest ring is a block, and never lies across its end. */
static int log_open_wider(struct crash *c)
{
	return log_open_as(c, &plain_user, 4 * TWZ_LOG_LEN_MIN);
}

static int say_record(void *ctx, uint64_t lsn, const void *rec, size_t len)
{
	const struct rec *r = rec;
	uint64_t *cnt = ctx;

	(void)lsn;
	if (len < sizeof(*r) || r->word[0] >= WORDS)
		return TWZ_E_CORRUPT;
	++*cnt;
	return 0;
}

static int log_check(struct crash *c)
{
	struct home *h = c->user[0];
	uint64_t cnt = 0;

	CRASH_DO(
		c,
		twz_log_recover(
			h->log,
			false)); /* a peer of the dead takes over; after a restart: nothing to do */
	CRASH_DO(c, twz_log_walk(h->log, say_record, &cnt));
	return twz_kind_check(c);
}

static int log_close(struct crash *c)
{
	struct home *h = c->user[0];

	if (h) {
		twz_log_close(h->log);
		twz_obj_close(h->obj);
		free(h);
	}
	c->user[0] = NULL;
	return twz_kind_close(c);
}

int log_show(struct crash *c)
{
	struct home *h = c->user[0];

	for (uint32_t i = 1; i < WORDS; i++)
		if (*word(h, i))
			crash_say(c, "%u:%llx ", i, (unsigned long long)*word(h, i));
	crash_say(c, "\n");
	return 0;
}

/* The same built in place. */
static int append_staged(struct home *h, const struct rec *r, size_t len, uint64_t *lsn)
{
	void *p = twz_log_stage(h->log, len);

	if (!p)
		return TWZ_E_NOMEM;
	memcpy(p, r, len);
	return twz_log_append_staged(h->log, len, lsn);
}

static struct rec *rec_make(uint64_t v, size_t len)
{
	struct rec *r = calloc(1, sizeof(*r) + len);

	if (!r)
		return NULL;
	r->word[0] = 1 + (uint32_t)(v % 20);
	r->word[1] = 24 + (uint32_t)(v % 13) * 2;
	r->value = v * 10;
	for (size_t i = 0; i < len; i++)
		r->body[i] = (uint8_t)(v + i * 7);
	return r;
}

static int rec_append(struct home *h, struct rec *r, uint64_t v, size_t len)
{
	struct iovec iov[2] = {{r, sizeof(*r)}, {r ? r->body : NULL, len}};
	uint64_t lsn;
	int rc;

	if (!r)
		return TWZ_E_NOMEM;
	if (v % 2) /* the commit point */
		rc = twz_log_append(h->log, iov, 2, &lsn);
	else
		rc = append_staged(h, r, sizeof(*r) + len, &lsn);
	if (!rc) {
		apply(h, lsn, r, sizeof(*r) + len, false);
		twz_log_applied(h->log, lsn);
	}
	free(r);
	return rc;
}

static int append(struct crash *c, uint64_t v, size_t len)
{
	return rec_append(c->user[0], rec_make(v, len), v, len);
}

int log_append(struct crash *c, uint64_t v, size_t len)
{
	return append(c, v, len);
}

int log_append_words(struct crash *c, uint64_t v, size_t cnt, uint64_t word)
{
	struct rec *r = rec_make(v, cnt * sizeof(word));

	for (size_t i = 0; r && i < cnt; i++)
		memcpy(r->body + i * sizeof(word), &word, sizeof(word));
	return rec_append(c->user[0], r, v, cnt * sizeof(word));
}

int log_checkpoint(struct crash *c)
{
	struct home *h = c->user[0];

	return twz_log_checkpoint(h->log);
}

int log_step_with(struct crash *c, uint64_t v, size_t len)
{
	struct home *h = c->user[0];
	struct rec *r = rec_make(v, len);
	uint64_t *would = malloc(HOME_LEN);
	int rc = r && would ? 0 : TWZ_E_NOMEM;

	if (!rc) {
		memcpy(would, twz_obj_data(h->obj), HOME_LEN);
		h->would = would;
		apply(h, 0, r, sizeof(*r) + len, false);
		rc = crash_step(c);
		h->would = NULL;
	}
	free(would);
	free(r);
	return rc;
}

/* A record that changes no word but 0, which is not shown. */
static int log_probe(struct crash *c)
{
	struct home *h = c->user[0];
	struct rec r = {.value = 77};
	struct iovec iov = {&r, sizeof(r)};
	uint64_t lsn;

	r.word[1] = 63;
	r.value = *word(h, 63) - 1;
	CRASH_DO(c, twz_log_append(h->log, &iov, 1, &lsn));
	apply(h, lsn, &r, sizeof(r), false);
	twz_log_applied(h->log, lsn);
	return 0;
}

static int log_settle(struct crash *c)
{
	struct home *h = c->user[0];

	CRASH_DO(c, twz_log_checkpoint(h->log));
	return 0;
}

const struct crash_kind log_kind = {log_open, log_check, log_close, log_probe,
				    NULL,     true,	 log_settle};

static const struct crash_kind wider_kind = {log_open_wider, log_check, log_close, log_probe,
					     NULL,	     true,	log_settle};

static int append_run(struct crash *c)
{
	for (uint64_t v = 1; v <= 12; v++)
		CRASH_OP(c, append(c, v, v * 13 % 200));
	return 0;
}

const struct crash_workload wl_log_append = {
	.name = "log.append",
	.what = "records appended and applied, homes flushed lazily",
	.media = CRASH_ALL,
	.share = SHARE_CHEAP,
	.quick = true,
	.kind = &log_kind,
	.run = append_run,
	.show = log_show};

/* One record, and its home: small enough for three crashes at every point of each. */
static int run_word(struct crash *c)
{
	CRASH_OP(c, append(c, 1, 0));
	return 0;
}

const struct crash_workload wl_log_word = {.name = "log.word",
					   .what = "one record",
					   .media = CRASH_LINE | CRASH_PAGE,
					   .share = SHARE_CHEAP,
					   .thrice = 32,
					   .kind = &log_kind,
					   .run = run_word,
					   .show = log_show};

static int checkpoint_run(struct crash *c)
{
	struct home *h = c->user[0];

	for (uint64_t v = 1; v <= 8; v++) {
		CRASH_OP(c, append(c, v, 40));
		if (v % 3 == 0)
			CRASH_DO(c, twz_log_checkpoint(h->log));
	}
	return 0;
}

const struct crash_workload wl_log_checkpoint = {.name = "log.checkpoint",
						 .what = "checkpoints between records (D5)",
						 .media = CRASH_ALL,
						 .share = SHARE_CHEAP,
						 .kind = &log_kind,
						 .run = checkpoint_run,
						 .show = log_show};

static int laps_run(struct crash *c)
{
	for (uint64_t v = 1; v <= 90; v++)
		CRASH_OP(c, append(c, v, 300 + v * 37 % 900));
	return 0;
}

const struct crash_workload wl_log_laps = {
	.name = "log.laps",
	.what = "several laps of the smallest ring (D1, D5, D19)",
	.media = CRASH_LINE | CRASH_PAGE,
	.share = SHARE_CHEAP,
	.kind = &log_kind,
	.run = laps_run,
	.show = log_show};

/* The next record but one does not fit before the end of the ring: a pad takes its place. */
static int pad_setup(struct crash *c)
{
	for (uint64_t v = 1; v <= 11; v++)
		CRASH_DO(c, append(c, v, 1100));
	return 0;
}

static int pad_run(struct crash *c)
{
	for (uint64_t v = 12; v <= 17; v++)
		CRASH_OP(c, append(c, v, 1100));
	return 0;
}

const struct crash_workload wl_log_pad = {.name = "log.pad",
					  .what = "a pad at the end of the ring (D13)",
					  .media = CRASH_ALL,
					  .share = SHARE_CHEAP,
					  .kind = &log_kind,
					  .setup = pad_setup,
					  .run = pad_run,
					  .show = log_show};

/* A block, and then two at a time: the last block of the ring is left. */
static int pad_blocks_setup(struct crash *c)
{
	CRASH_DO(c, append(c, 1, 100));
	for (uint64_t v = 2; v <= 6; v++)
		CRASH_DO(c, append(c, v, 5000));
	return 0;
}

static int pad_blocks_run(struct crash *c)
{
	for (uint64_t v = 7; v <= 10; v++)
		CRASH_OP(c, append(c, v, 5000));
	return 0;
}

const struct crash_workload wl_log_pad_blocks = {.name = "log.pad_blocks",
						 .what = "a pad that is a block (D19)",
						 .media = CRASH_PAGE | CRASH_KILL,
						 .kind = &wider_kind,
						 .setup = pad_blocks_setup,
						 .run = pad_blocks_run,
						 .show = log_show};

/* A checkpoint gives back the extents of those before it. */
static int spill_run(struct crash *c)
{
	struct home *h = c->user[0];

	CRASH_OP(c, append(c, 1, 100));
	CRASH_OP(c, append(c, 2, 9000)); /* over a quarter of the ring */
	CRASH_OP(c, append(c, 3, 100));
	CRASH_DO(c, twz_log_checkpoint(h->log));
	CRASH_OP(c, append(c, 4, 30000)); /* longer than the ring */
	CRASH_OP(c, append(c, 5, 5000));
	CRASH_DO(c, twz_log_checkpoint(h->log));
	CRASH_OP(c, append(c, 6, 6000));
	return 0;
}

const struct crash_workload wl_log_spill = {
	.name = "log.spill",
	.what = "records over a quarter of the ring, in extents of their own (D3)",
	.media = CRASH_ALL,
	.share = SHARE_CHEAP,
	.kind = &log_kind,
	.run = spill_run,
	.show = log_show};

/* --- crash, recovery, new records, and a second crash (D1) --- */

static int again_run(struct crash *c)
{
	CRASH_OP(c, append(c, 1, 500));
	CRASH_OP(c, append(c, 2, 900));
	CRASH_OP(c, append(c, 3, 9000)); /* a body of its own */
	return 0;
}

/* Shorter than those of the run: what was dropped lies behind them. */
static int again_more(struct crash *c)
{
	struct home *h = c->user[0];

	for (uint64_t v = 4; v <= 6; v++)
		CRASH_OP(c, append(c, v, 20 * v));
	CRASH_DO(c, twz_log_checkpoint(h->log));
	CRASH_OP(c, append(c, 7, 6000));
	return 0;
}

const struct crash_workload wl_log_again = {
	.name = "log.again",
	.what = "crash, recovery, new records, a second crash (D1)",
	.media = CRASH_LINE | CRASH_PAGE,
	.second = 12,
	.share = 25,
	.kind = &log_kind,
	.run = again_run,
	.show = log_show,
	.again = again_more};

/* --- records that name a block in place (D2a, D3), and may be dropped for it (D1) --- */

/*
 * Block I of the home: BLOCK_LEN bytes that only a flush makes durable, under the fence of the record that names
 * them. What is in it depends on I alone, so that a later record finds what one that was dropped lacked.
 */
#define BLOCK_LEN 128
#define BLOCKS	  8

struct in_place {
	uint64_t block, mark, sum;
};

static uint8_t *block(struct home *h, uint64_t i)
{
	return (uint8_t *)twz_obj_data(h->obj) + HOME_LEN - (BLOCKS - i % BLOCKS) * BLOCK_LEN;
}

static int whole(void *ctx, uint64_t lsn, const void *rec, size_t len)
{
	const struct in_place *r = rec;

	(void)lsn;
	return len != sizeof(*r) ? TWZ_E_CORRUPT
				 : wl_sum(block(ctx, r->block), BLOCK_LEN) == r->sum;
}

static int whole_apply(void *ctx, uint64_t lsn, const void *rec, size_t len, bool restart)
{
	const struct in_place *r = rec;

	(void)lsn;
	(void)restart;
	if (len != sizeof(*r))
		return TWZ_E_CORRUPT;
	*word(ctx, 1 + (uint32_t)(r->block % BLOCKS)) = r->mark;
	return 0;
}

static int whole_flush(void *ctx, uint64_t lsn, const void *rec, size_t len)
{
	struct home *h = ctx;
	const struct in_place *r = rec;

	(void)lsn;
	(void)len;
	twz_flush(h->c->store, word(h, 1 + (uint32_t)(r->block % BLOCKS)), 8);
	twz_flush(h->c->store, block(h, r->block), BLOCK_LEN);
	return 0;
}

static const struct twz_log_user whole_user = {
	.version = 1, .apply = whole_apply, .flush = whole_flush, .whole = whole};

static int whole_open(struct crash *c)
{
	return log_open_as(c, &whole_user, TWZ_LOG_LEN_MIN);
}

/* MARK tells this record from another one that names the same block. */
static int append_whole(struct crash *c, uint64_t i, uint64_t mark)
{
	struct home *h = c->user[0];
	struct in_place r = {.block = i, .mark = mark};
	struct iovec iov = {&r, sizeof(r)};
	uint64_t lsn;
	int rc;

	for (uint64_t k = 0; k < BLOCK_LEN; k++)
		block(h, i)[k] = (uint8_t)(1 + i * 3 + k);
	r.sum = wl_sum(block(h, i), BLOCK_LEN);
	twz_flush(c->store, block(h, i), BLOCK_LEN);
	rc = twz_log_append(h->log, &iov, 1, &lsn);
	if (rc)
		return rc;
	whole_apply(h, lsn, &r, sizeof(r), false);
	twz_log_applied(h->log, lsn);
	return 0;
}

/* The words, and whether the blocks they stand for are there. */
static int whole_show(struct crash *c)
{
	struct home *h = c->user[0];

	for (uint32_t i = 0; i < BLOCKS; i++)
		if (*word(h, 1 + i))
			crash_say(c, "%u:%llu %llx ", i, (unsigned long long)*word(h, 1 + i),
				  (unsigned long long)wl_sum(block(h, i), BLOCK_LEN));
	crash_say(c, "\n");
	return 0;
}

static int whole_check(struct crash *c)
{
	struct home *h = c->user[0];

	CRASH_DO(c, twz_log_recover(h->log, false));
	return twz_kind_check(c);
}

static const struct crash_kind whole_kind = {whole_open, whole_check, log_close, NULL,
					     NULL,	 true,	      log_settle};

static int whole_run(struct crash *c)
{
	CRASH_OP(c, append_whole(c, 1, 10));
	CRASH_OP(c, append_whole(c, 2, 11));
	return 0;
}

/* The same blocks once more: a record that was dropped because one was not there would count now. */
static int whole_again(struct crash *c)
{
	CRASH_OP(c, append_whole(c, 2, 20));
	CRASH_OP(c, append_whole(c, 1, 21));
	CRASH_OP(c, append_whole(c, 3, 22));
	return 0;
}

const struct crash_workload wl_log_whole = {
	.name = "log.whole",
	.what = "records that name blocks in place; dropped ones stay dropped (D1, D2, D3)",
	.media = CRASH_LINE,
	.second = 4,
	.share = 25,
	.kind = &whole_kind,
	.run = whole_run,
	.show = whole_show,
	.again = whole_again};

/* --- page media: the staging area is full, and somebody dies who applies what is in it (D12) --- */

#define FULL_RING ((uint64_t)4 << 20)
#define FULL_LEN  ((size_t)70000) /* of a record; the staging area has a MiB */
#define FULL_CNT  14

static int staged(void *ctx, uint64_t lsn, const void *rec, size_t len)
{
	return apply(ctx, lsn, rec, len, false);
}

static const struct twz_log_user full_user = {
	.version = 1, .apply = apply, .flush = flush, .staged = staged};

static int full_open(struct crash *c)
{
	return log_open_as(c, &full_user, FULL_RING);
}

/* A record of LEN bytes; it counts, but is not written yet. */
static int submit(struct home *h, size_t len, uint32_t a, uint32_t b, uint64_t value)
{
	struct rec *r = twz_log_stage(h->log, len);
	uint64_t nr;

	if (!r)
		return TWZ_E_NOMEM;
	*r = (struct rec){.word = {a, b}, .value = value};
	memset(r->body, (int)(value % 251), len - sizeof(*r));
	return twz_log_submit(h->log, len, &nr);
}

/* Words 0 and 63 are not shown, or as they were. */
static int submit_unseen(struct home *h)
{
	return submit(h, FULL_LEN, 0, 63, *word(h, 63) - 1);
}

/*
 * Whoever goes on begins with new records, more than there is room for, before anybody has applied what the dead was at:
 * no record may take the room of one that is not applied.
 */
static int full_check(struct crash *c)
{
	struct home *h = c->user[0];
	uint64_t cnt = 0;

	for (int i = 0; i < FULL_CNT && !c->read_only; i++)
		CRASH_DO(c, submit_unseen(h));
	CRASH_DO(c, twz_log_drain(h->log));
	CRASH_DO(c, twz_log_walk(h->log, say_record, &cnt));
	return twz_kind_check(c);
}

static int full_probe(struct crash *c)
{
	struct home *h = c->user[0];

	CRASH_DO(c, submit_unseen(h));
	CRASH_DO(c, twz_log_drain(h->log));
	return 0;
}

struct overlay {
	uint64_t word[WORDS];
};

static int overlay_one(void *ctx, uint64_t nr, const void *rec, size_t len)
{
	struct overlay *o = ctx;
	const struct rec *r = rec;

	(void)nr;
	o->word[r->word[0] % WORDS] = r->value;
	o->word[r->word[1] % WORDS] = r->value + 1;
	o->word[(r->word[1] + 1) % WORDS] = wl_sum(r->body, len - sizeof(*r));
	return 0;
}

/* The words as the records that count say. */
static int full_show(struct crash *c)
{
	struct home *h = c->user[0];
	uint64_t applied, submitted;
	struct overlay o;

	twz_log_pending(h->log, &applied, &submitted);
	for (uint32_t i = 0; i < WORDS; i++)
		o.word[i] = *word(h, i);
	CRASH_DO(c, twz_log_pending_walk(h->log, applied, submitted, overlay_one, &o));
	for (uint32_t i = 1; i < WORDS; i++)
		if (o.word[i])
			crash_say(c, "%u:%llx ", i, (unsigned long long)o.word[i]);
	crash_say(c, "\n");
	return 0;
}

static const struct crash_kind full_kind = {full_open, full_check, log_close, full_probe,
					    NULL,      true,	   log_settle};

static int full_run(struct crash *c)
{
	struct home *h = c->user[0];

	for (uint32_t v = 1; v <= FULL_CNT; v++) {
		crash_begin(c);
		CRASH_DO(c, submit(h, FULL_LEN, v, 30 + v * 2, v * 16));
		if (crash_step(c))
			return -1;
	}
	CRASH_OP(c, twz_log_drain(h->log));
	return 0;
}

const struct crash_workload wl_log_full = {
	.name = "log.full",
	.what = "a death while a full staging area is being applied (D12)",
	.media = CRASH_PAGE | CRASH_KILL,
	.killed = true,
	.share = 10,
	.kind = &full_kind,
	.run = full_run,
	.show = full_show};

/* --- page media: a batch that ends where its block does is torn, and the one beside it is whole (D1, D19) --- */

#define BESIDE_RING ((uint64_t)64 << 10)
#define BESIDE_LEN  ((size_t)300) /* of a record: with what goes with it, a sector */

static int beside_open(struct crash *c)
{
	return log_open_as(c, &full_user, BESIDE_RING);
}

static int beside_check(struct crash *c)
{
	struct home *h = c->user[0];
	uint64_t cnt = 0;

	CRASH_DO(c, twz_log_drain(h->log));
	CRASH_DO(c, twz_log_walk(h->log, say_record, &cnt));
	return twz_kind_check(c);
}

static int beside_probe(struct crash *c)
{
	struct home *h = c->user[0];

	CRASH_DO(c, submit(h, BESIDE_LEN, 0, 63, *word(h, 63) - 1));
	CRASH_DO(c, twz_log_drain(h->log));
	return 0;
}

static const struct crash_kind beside_kind = {beside_open, beside_check, log_close, beside_probe,
					      NULL,	   true,	 log_settle};

static int beside_put(struct home *h, uint32_t v)
{
	return submit(h, BESIDE_LEN, 1 + v % 14, 30 + v % 14 * 2, v * 16);
}

static int beside_durable(struct home *h, uint32_t v)
{
	int err = beside_put(h, v);

	return err ? err : twz_log_drain(h->log);
}

static int beside_submit(struct crash *c, uint32_t v)
{
	crash_begin(c);
	CRASH_DO(c, beside_put(c->user[0], v));
	return crash_step(c);
}

struct beside {
	struct crash *c;
	uint32_t v;
	int rc;
};

/* While the other is being written: a batch of its own, written whole. */
static void beside_write(void *ctx)
{
	struct beside *b = ctx;
	struct home *h = b->c->user[0];

	b->rc = beside_submit(b->c, b->v);
	if (!b->rc)
		b->rc = twz_log_help(h->log);
}

static int beside_run(struct crash *c)
{
	uint64_t beside_len = twz__log_beside_len;
	struct home *h = c->user[0];
	struct beside b = {.c = c};
	uint32_t v = 0;

	twz__log_beside_len = 0;
	for (int block = 0; block < 2; block++) {
		for (int sector = block ? 1 : 0; sector < 7; sector++)
			CRASH_OP(c, beside_durable(h, v++));
		if (beside_submit(c, v++))
			return -1;
		b.v = v++;
		b.rc = -1;
		sim_during_write(beside_write, &b);
		CRASH_DO(c, twz_log_help(h->log));
		CRASH_DO(c, b.rc);
		CRASH_OP(c, twz_log_drain(h->log));
	}
	twz__log_beside_len = beside_len;
	return 0;
}

static int beside_again(struct crash *c)
{
	struct home *h = c->user[0];

	for (uint32_t v = 40; v < 42; v++)
		CRASH_OP(c, beside_durable(h, v));
	return 0;
}

const struct crash_workload wl_log_beside = {
	.name = "log.beside",
	.what = "a batch up to its block's end is torn, the one beside it is whole (D1, D19)",
	.media = CRASH_PAGE | CRASH_KILL,
	.second = 4,
	.share = SHARE_DEAR,
	.kind = &beside_kind,
	.run = beside_run,
	.show = full_show,
	.again = beside_again};

/* --- a log comes into being --- */

static int create_log(struct crash *c, twz_oid *id)
{
	return twz_log_create(c->store, TWZ_LOG_LEN_MIN, id);
}

/*
 * Logs that open, by their length. One without a header was not made: whoever meets it may
 * delete it, nobody can use it.
 */
static int show_logs(struct crash *c)
{
	static struct twz_log_user user = {.version = 1, .apply = apply, .flush = flush};
	struct twz_obj_stat st = {.size = sizeof(st)};
	struct twz_log *log = NULL;
	struct twz_log_info info;
	uint64_t cursor = 0;
	int rc, restart;

	while (!(rc = twz_obj_next(c->store, &cursor, &st))) {
		if (!(st.flags & TWZ_OBJ_LOG))
			continue;
		rc = twz_log_open(c->store, st.id, &user, &log, &restart);
		if (rc == TWZ_E_CORRUPT)
			continue;
		CRASH_DO(c, rc);
		rc = twz_log_info(log, &info);
		twz_log_close(log);
		CRASH_DO(c, rc);
		crash_say(c, "log of %llu\n", (unsigned long long)info.ring_len);
	}
	return rc == TWZ_E_NOENT ? 0 : rc;
}

static int create_run(struct crash *c)
{
	twz_oid id;

	CRASH_OP(c, create_log(c, &id));
	CRASH_OP(c, create_log(c, &id));
	CRASH_OP(c, twz_obj_delete(c->store, id));
	return 0;
}

const struct crash_workload wl_log_create = {
	.name = "log.create",
	.what = "a log comes into being, or cannot be opened and offends nobody",
	.media = CRASH_LINE | CRASH_PAGE,
	.share = SHARE_CHEAP,
	.quick = true,
	.kind = &twz_kind,
	.run = create_run,
	.show = show_logs};
