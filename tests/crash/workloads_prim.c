/* SPDX-License-Identifier: MIT
 * workloads_prim.c -- twz/persist.h called directly: what each primitive promises, and on page media no more than that
 *
 * The words lie in the eight lines of one sector: lines arrive each for itself, a sector holds a
 * moment of program order. So on page media, where only twz_sync and twz_sync_all promise
 * anything, states may be lost, but never be out of order.
 */
#include "workloads.h"

#include <string.h>

#define LINE_WORDS 8
#define FAR_WORD   1024 /* in another page */

enum prim_line {
	AT_PERSIST = 0,
	AT_PUBLISH = 1,
	AT_NT_WORD = 2, /* odd or even: which of the two lines below holds */
	AT_NT_EVEN = 3,
	AT_NT_ODD = 4,
	AT_SYNC = 5,
	AT_FLUSH_WORD = 6,
	AT_FLUSH_DATA = 7,
};

static uint64_t *line(struct crash *c, enum prim_line i)
{
	return (uint64_t *)twz_obj_data(c->user[0]) + (uint64_t)i * LINE_WORDS;
}

static int prim_setup(struct crash *c)
{
	struct twz_obj *o = NULL;

	CRASH_DO(c, wl_create(c, 1, 12288, &o));
	c->user[0] = o;
	return 0;
}

static int prim_show(struct crash *c)
{
	struct twz_obj *o = NULL;
	const uint64_t *w, *nt;

	CRASH_DO(c, twz_obj_open(c->store, wl_id(1), TWZ_READ, &o));
	w = twz_obj_data(o);
	nt = w + LINE_WORDS * (w[AT_NT_WORD * LINE_WORDS] % 2 ? AT_NT_ODD : AT_NT_EVEN);
	crash_say(c, "persist %llu publish %llu sync %llu far %llu\n",
		  (unsigned long long)w[AT_PERSIST * LINE_WORDS],
		  (unsigned long long)w[AT_PUBLISH * LINE_WORDS],
		  (unsigned long long)w[AT_SYNC * LINE_WORDS], (unsigned long long)w[FAR_WORD]);
	crash_say(c, "nt %llu: %llu %llu %llu\n", (unsigned long long)w[AT_NT_WORD * LINE_WORDS],
		  (unsigned long long)nt[0], (unsigned long long)nt[3], (unsigned long long)nt[7]);
	if (w[AT_FLUSH_WORD * LINE_WORDS])
		crash_say(c, "flushed %llx\n",
			  (unsigned long long)wl_sum(w + AT_FLUSH_DATA * LINE_WORDS, 64));
	twz_obj_close(o);
	return 0;
}

/* The end of an operation that is durable on cache-line media only. */
static int line_done(struct crash *c)
{
	return c->media == SIM_MEDIA_LINE ? crash_done(c) : crash_step(c);
}

static int persist_one(struct crash *c, uint64_t v)
{
	crash_begin(c);
	*line(c, AT_PERSIST) = v;
	twz_persist(c->store, line(c, AT_PERSIST), sizeof(v));
	return line_done(c);
}

static int publish_one(struct crash *c, uint64_t v)
{
	crash_begin(c);
	twz_publish64(c->store, line(c, AT_PUBLISH), v);
	return line_done(c);
}

/* A line past the cache, fenced, before the word that says where it is. */
static int copy_one(struct crash *c, uint64_t v)
{
	uint64_t body[LINE_WORDS];

	for (uint64_t i = 0; i < LINE_WORDS; i++)
		body[i] = v * 10 + i;
	crash_begin(c);
	twz_copy_nt(c->store, line(c, v % 2 ? AT_NT_ODD : AT_NT_EVEN), body, sizeof(body));
	twz_fence(c->store);
	twz_publish64(c->store, line(c, AT_NT_WORD), v);
	return line_done(c);
}

/* Plain stores, a flush of its own for each half, one fence for both. */
static int flush_one(struct crash *c)
{
	uint8_t *data = (uint8_t *)line(c, AT_FLUSH_DATA);

	crash_begin(c);
	memset(data, 0x6b, 64);
	twz_flush(c->store, data, 32);
	twz_flush(c->store, data + 32, 32);
	twz_fence(c->store);
	twz_publish64(c->store, line(c, AT_FLUSH_WORD), 1);
	return line_done(c);
}

static int sync_one(struct crash *c, uint64_t v)
{
	*line(c, AT_SYNC) = v;
	return twz_sync(c->store, line(c, AT_SYNC), sizeof(v));
}

/* twz_sync_all() is a fence on cache-line media: what was flushed, not what was only stored. */
static int sync_all_one(struct crash *c, uint64_t v)
{
	uint64_t *w = line(c, AT_PERSIST) + FAR_WORD;

	*w = v;
	twz_flush(c->store, w, sizeof(*w));
	return twz_sync_all(c->store);
}

static int prim_run(struct crash *c)
{
	for (uint64_t v = 1; v <= 3; v++) {
		CRASH_DO(c, persist_one(c, v));
		CRASH_DO(c, publish_one(c, v));
		CRASH_DO(c, copy_one(c, v));
		CRASH_OP(c, sync_one(c, v));	 /* all of the page, so all operations before it */
		CRASH_OP(c, sync_all_one(c, v)); /* another page: nothing else may be in flight */
		CRASH_DO(c, persist_one(c, v + 10));
		if (v == 2)
			CRASH_DO(c, flush_one(c));
	}
	return 0;
}

const struct crash_workload wl_prim = {
	.name = "core.primitives",
	.what = "twz_persist, publish64, copy_nt, fence, sync, sync_all (twz/persist.h)",
	.media = CRASH_LINE | CRASH_PAGE,
	.share = SHARE_CHEAP,
	.quick = true,
	.kind = &twz_kind,
	.setup = prim_setup,
	.run = prim_run,
	.show = prim_show};
