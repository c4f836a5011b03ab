/* SPDX-License-Identifier: MIT
 * toy.c -- small persistent programs, each right or wrong in one known way: the harness must tell them apart
 *
 * The image is two pages: commit words in the first, two copies of a value of two words in the
 * second. Update k writes the copy that is not current, makes it durable, then makes it current
 * by one 8-byte store, and makes that durable.
 */
#include "toy.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "backend.h"

#define TOY_LEN (2 * SIM_PAGE)

struct toy_image {
	struct {
		uint64_t word; /* 0: never written; the copy with the larger one is current */
		uint64_t pad[7];
	} seq[2];
	uint64_t pair[2] __attribute__((aligned(64))); /* toy.torn16: must change together */
	uint64_t far[2][SIM_SECTOR / 8] __attribute__((aligned(512))); /* two sectors of one page */
	struct {
		uint64_t value[2]; /* value[1] == ~value[0] */
		uint64_t pad[6];
	} copy[2] __attribute__((aligned(4096)));
};

_Static_assert(sizeof(struct toy_image) == TOY_LEN, "the toy image is two pages");

static struct toy_image *img(struct crash *c)
{
	return c->db;
}

static struct twz__media *media(struct crash *c)
{
	return c->store;
}

static int toy_open(struct crash *c)
{
	struct twz__media *m = NULL;
	void *at = mmap(NULL, TOY_LEN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int created, rc = c->backend->open(NULL, c->path, TWZ_STORE_CREATE, TOY_LEN, &m, &created);

	if (!rc)
		rc = m->ops->grow(m, TOY_LEN);
	if (!rc)
		rc = m->ops->publish(m);
	if (rc || at == MAP_FAILED || m->ops->map(m, at, 0, TOY_LEN, 1))
		return crash_why(c, "cannot open the toy image");
	c->store = m;
	c->db = at;
	return 0;
}

static int toy_close(struct crash *c)
{
	struct twz__media *m = media(c);

	m->ops->unmap(m, c->db, TOY_LEN, 0);
	munmap(c->db, TOY_LEN);
	m->ops->close(m);
	return 0;
}

static int current(const struct toy_image *t)
{
	return t->seq[1].word > t->seq[0].word;
}

static int toy_check(struct crash *c)
{
	int i = current(img(c));

	if (img(c)->seq[i].word && img(c)->copy[i].value[1] != ~img(c)->copy[i].value[0])
		return crash_why(c, "copy %d is current and torn", i);
	if (img(c)->pair[0] != img(c)->pair[1])
		return crash_why(c, "the pair is torn");
	return 0;
}

static int toy_show(struct crash *c)
{
	int i = current(img(c));

	crash_say(c, "seq %llu value %llu pair %llu\n", (unsigned long long)img(c)->seq[i].word,
		  (unsigned long long)img(c)->copy[i].value[0],
		  (unsigned long long)img(c)->pair[0]);
	return 0;
}

static const struct crash_kind toy_kind = {toy_open, toy_check, toy_close};

enum bug {
	BUG_NONE,
	BUG_NO_FLUSH,
	BUG_NO_FENCE,
	BUG_ORDER,
	BUG_NO_LAST_FENCE,
};

static void make_durable(struct crash *c, const void *p, size_t len, bool flush, bool fence)
{
	struct twz__media *m = media(c);

	if (c->media == SIM_MEDIA_PAGE) {
		if (flush && m->ops->sync_range(m, (void *)(uintptr_t)p, len))
			abort();
		return;
	}
	if (flush)
		m->ops->flush(m, p, len);
	if (fence)
		m->ops->fence(m);
}

static int update(struct crash *c, uint64_t seq, enum bug bug)
{
	struct toy_image *t = img(c);
	uint64_t *value = t->copy[seq & 1].value, *word = &t->seq[seq & 1].word;

	if (bug == BUG_ORDER)
		*word = seq;
	value[0] = seq * 1000;
	value[1] = ~(seq * 1000);
	make_durable(c, value, sizeof(t->copy[0].value), bug != BUG_NO_FLUSH, bug != BUG_NO_FENCE);
	*word = seq; /* the commit point: 8 bytes */
	make_durable(c, word, sizeof(*word), true, bug != BUG_NO_LAST_FENCE);
	return 0;
}

static int run_updates(struct crash *c, enum bug bug)
{
	for (uint64_t seq = 1; seq <= 3; seq++)
		CRASH_OP(c, update(c, seq, bug));
	return 0;
}

static int run_right(struct crash *c)
{
	return run_updates(c, BUG_NONE);
}

static int run_no_flush(struct crash *c)
{
	return run_updates(c, BUG_NO_FLUSH);
}

static int run_no_fence(struct crash *c)
{
	return run_updates(c, BUG_NO_FENCE);
}

static int run_order(struct crash *c)
{
	return run_updates(c, BUG_ORDER);
}

static int run_no_last_fence(struct crash *c)
{
	return run_updates(c, BUG_NO_LAST_FENCE);
}

/* A 16-byte copy is two stores for the medium. */
static int set_pair(struct crash *c, uint64_t v)
{
	uint64_t both[2] = {v, v};

	memcpy(img(c)->pair, both, sizeof(both));
	make_durable(c, img(c)->pair, sizeof(both), true, true);
	return 0;
}

static int run_torn16(struct crash *c)
{
	CRASH_OP(c, set_pair(c, 7));
	return 0;
}

/* Page media only: a page written by one synchronous write is not atomic across sectors. */
static int write_two_sectors(struct crash *c, uint64_t v)
{
	uint64_t buf[2 * SIM_SECTOR / 8] = {0};

	buf[0] = v;
	buf[SIM_SECTOR / 8] = v;
	return media(c)->ops->write_sync(media(c), buf, TOY_LEN - sizeof(buf), sizeof(buf));
}

static int show_sectors(struct crash *c)
{
	const uint8_t *end = (const uint8_t *)c->db + TOY_LEN;
	uint64_t a, b;

	memcpy(&a, end - 2 * SIM_SECTOR, sizeof(a));
	memcpy(&b, end - SIM_SECTOR, sizeof(b));
	crash_say(c, "sectors %llu %llu\n", (unsigned long long)a, (unsigned long long)b);
	return 0;
}

static int run_torn_write(struct crash *c)
{
	CRASH_OP(c, write_two_sectors(c, 9));
	return 0;
}

/* Page media only: one page, stores in two sectors, one sync. */
static int store_two_sectors(struct crash *c, uint64_t v)
{
	img(c)->far[0][0] = v;
	img(c)->far[1][0] = v;
	return media(c)->ops->sync_range(media(c), img(c)->far, sizeof(img(c)->far));
}

static int show_far(struct crash *c)
{
	crash_say(c, "far %llu %llu\n", (unsigned long long)img(c)->far[0][0],
		  (unsigned long long)img(c)->far[1][0]);
	return 0;
}

/*
 * Right at every moment of program order: only a page cut at its sectors shows that the order is
 * lost.
 */
static int run_torn_page(struct crash *c)
{
	crash_begin(c);
	img(c)->far[1][0] = 1;
	if (crash_step(c))
		return -1;
	CRASH_OP(c, store_two_sectors(c, 1));
	return 0;
}

/*
 * Recovery says on the medium that it has begun, and takes it back when it has ended. When it finds that two
 * before it did not end, it spoils the state: only a third crash shows that.
 */
static int third_open(struct crash *c)
{
	uint64_t *tries;
	int rc = toy_open(c);

	if (rc || !c->recovering || c->read_only)
		return rc;
	tries = &img(c)->seq[0].pad[5];
	if (*tries == 2)
		img(c)->copy[current(img(c))].value[0]++;
	++*tries;
	make_durable(c, tries, 8, true, true);
	*tries = 0;
	make_durable(c, tries, 8, true, true);
	return 0;
}

static const struct crash_kind third_kind = {third_open, toy_check, toy_close};

#define TOY(id, text, media_bits, run_fn, show_fn)                                                 \
	const struct crash_workload toy_##id = {.name = "toy." #id,                                \
						.what = text,                                      \
						.media = media_bits,                               \
						.quick = true,                                     \
						.kind = &toy_kind,                                 \
						.run = run_fn,                                     \
						.show = show_fn}
TOY(right, "two copies, commit word after its data", CRASH_LINE | CRASH_PAGE, run_right, toy_show);
TOY(no_flush, "BUG: data not flushed before the commit word", CRASH_LINE | CRASH_PAGE, run_no_flush,
    toy_show);
TOY(no_fence, "BUG: data and commit word under one fence", CRASH_LINE, run_no_fence, toy_show);
TOY(order, "BUG: commit word stored before its data", CRASH_LINE | CRASH_PAGE, run_order, toy_show);
TOY(no_last_fence, "BUG: acknowledged before the commit word is fenced", CRASH_LINE,
    run_no_last_fence, toy_show);
TOY(torn16, "BUG: two words taken for atomic", CRASH_LINE | CRASH_PAGE, run_torn16, toy_show);
TOY(torn_write, "BUG: two sectors of one write taken for atomic", CRASH_PAGE, run_torn_write,
    show_sectors);
TOY(torn_page, "BUG: a page taken for atomic", CRASH_PAGE, run_torn_page, show_far);
const struct crash_workload toy_third = {
	.name = "toy.third",
	.what = "BUG: wrong after two recoveries that were interrupted",
	.media = CRASH_LINE | CRASH_PAGE,
	.thrice = 16,
	.kind = &third_kind,
	.run = run_right,
	.show = toy_show};

/* --- process death: who is killed leaves a mark, and nobody takes it back --- */

static int left_probe(struct crash *c)
{
	return img(c)->seq[1].pad[5] ? crash_why(c, "the mark of a dead process is left") : 0;
}

static int run_left(struct crash *c)
{
	img(c)->seq[1].pad[5] = 1;
	CRASH_OP(c, update(c, 1, BUG_NONE));
	img(c)->seq[1].pad[5] = 0;
	return 0;
}

static const struct crash_kind left_kind = {toy_open, toy_check, toy_close, left_probe};

const struct crash_workload toy_left = {
	.name = "toy.left",
	.what = "BUG: nobody cleans up after a process that was killed",
	.media = CRASH_ALL,
	.kind = &left_kind,
	.run = run_left,
	.show = toy_show};
