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
#include <time.h>
#include <unistd.h>

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

/* --- wrong in one way only, which only one thing the harness does can show --- */

#define TOY_KIND(id, text, media_bits, kind_of, run_fn)                                            \
	const struct crash_workload toy_##id = {.name = "toy." #id,                                \
						.what = text,                                      \
						.media = media_bits,                               \
						.kind = &kind_of,                                  \
						.run = run_fn,                                     \
						.show = toy_show}

/* Told to be done before its commit word is durable: a crash after that shows state 0. */
static int update_unsynced(struct crash *c)
{
	struct toy_image *t = img(c);

	t->copy[1].value[0] = 1000;
	t->copy[1].value[1] = ~(uint64_t)1000;
	make_durable(c, t->copy[1].value, sizeof(t->copy[1].value), true, true);
	t->seq[1].word = 1;
	make_durable(c, &t->seq[1].word, 8, c->media == SIM_MEDIA_LINE, false);
	return 0;
}

static int run_unsynced(struct crash *c)
{
	CRASH_OP(c, update_unsynced(c));
	return 0;
}

TOY(unsynced, "BUG: one update, acknowledged before it is durable", CRASH_LINE | CRASH_PAGE,
    run_unsynced, toy_show);

/* The commit word is stored before the operation begins: nobody may see it then. */
static int run_early(struct crash *c)
{
	img(c)->copy[1].value[0] = 1000;
	img(c)->copy[1].value[1] = ~(uint64_t)1000;
	make_durable(c, img(c)->copy[1].value, sizeof(img(c)->copy[1].value), true, true);
	img(c)->seq[1].word = 1;
	crash_begin(c);
	make_durable(c, &img(c)->seq[1].word, 8, true, true);
	return crash_done(c);
}

TOY(early, "BUG: what it does can be seen before it begins", CRASH_LINE | CRASH_PAGE, run_early,
    toy_show);

/* libc stores to the image, which no hook sees. */
static int run_unhooked(struct crash *c)
{
	CRASH_OP(c, update(c, 1, BUG_NONE));
	snprintf((char *)&img(c)->seq[0].pad[4], 8, "%d", (int)getpid());
	CRASH_OP(c, update(c, 2, BUG_NONE));
	return 0;
}

TOY(unhooked, "BUG: a store that the harness does not see", CRASH_LINE | CRASH_PAGE, run_unhooked,
    toy_show);

/* So does its recovery. */
static int unhooked_open(struct crash *c)
{
	int rc = toy_open(c);

	if (!rc && c->recovering)
		snprintf((char *)&img(c)->seq[0].pad[4], 8, "%d", (int)getpid());
	return rc;
}

static const struct crash_kind unhooked_kind = {unhooked_open, toy_check, toy_close};
TOY_KIND(unhooked_recovery, "BUG: recovery stores what the harness does not see",
	 CRASH_LINE | CRASH_PAGE, unhooked_kind, run_right);

/* For longer than the harness waits, once in each process, and then it goes on. */
static void hang(void)
{
	static pid_t in;

	for (int i = 0; in != getpid() && i < 8; i++)
		sleep(1);
	in = getpid();
}

static int hang_open(struct crash *c)
{
	if (c->recovering)
		hang();
	return toy_open(c);
}

static const struct crash_kind hang_kind = {hang_open, toy_check, toy_close};
TOY_KIND(hang, "BUG: recovery takes eight seconds", CRASH_LINE | CRASH_PAGE, hang_kind, run_right);

/* The second recovery takes away what the first one left. */
static int twice_open(struct crash *c)
{
	int rc = toy_open(c);

	if (rc || !c->recovering || c->read_only)
		return rc;
	if (++img(c)->seq[0].pad[3] == 2)
		img(c)->copy[current(img(c))].value[0]++;
	return 0;
}

static const struct crash_kind twice_kind = {twice_open, toy_check, toy_close};
TOY_KIND(twice, "BUG: wrong when it is opened once more", CRASH_LINE | CRASH_PAGE, twice_kind,
	 run_right);

static int never_probe(struct crash *c)
{
	return crash_why(c, "it cannot be written any more");
}

static const struct crash_kind stuck_kind = {toy_open, toy_check, toy_close, never_probe};
TOY_KIND(stuck, "BUG: recovered, it cannot be written", CRASH_LINE | CRASH_PAGE, stuck_kind,
	 run_right);

static int never_close(struct crash *c)
{
	toy_close(c);
	return crash_why(c, "it cannot be closed");
}

static const struct crash_kind unclosed_kind = {toy_open, toy_check, never_close};
TOY_KIND(unclosed, "BUG: closing it fails", CRASH_LINE | CRASH_PAGE, unclosed_kind, run_right);

static int reads_show(struct crash *c)
{
	if (c->read_only)
		crash_say(c, "old ");
	return toy_show(c);
}

static const struct crash_kind reads_kind = {toy_open, toy_check, toy_close, .reads = true};
const struct crash_workload toy_reads = {
	.name = "toy.reads",
	.what = "BUG: opened to be read only it shows something else",
	.media = CRASH_LINE | CRASH_PAGE,
	.kind = &reads_kind,
	.run = run_right,
	.show = reads_show};

static int writes_open(struct crash *c)
{
	int rc = toy_open(c);

	if (!rc && c->read_only)
		img(c)->seq[0].pad[3]++;
	return rc;
}

static const struct crash_kind writes_kind = {writes_open, toy_check, toy_close, .reads = true};
TOY_KIND(writes, "BUG: opened to be read only it changes the file", CRASH_LINE | CRASH_PAGE,
	 writes_kind, run_right);

static int copied_check(struct crash *c)
{
	const char *name = strrchr(c->path, '/');

	return name && !strcmp(name, "/copy") ? crash_why(c, "a copy is not recovered")
					      : toy_check(c);
}

static const struct crash_kind copied_kind = {toy_open, copied_check, toy_close};
TOY_KIND(copied, "BUG: wrong when it lies in another file than it was made in",
	 CRASH_LINE | CRASH_PAGE, copied_kind, run_right);

/* Operations after a recovery, in the recording that a second crash is made from. */
static int again_fails(struct crash *c)
{
	return crash_why(c, "nothing can be done after a recovery");
}

static int again_hangs(struct crash *c)
{
	(void)c;
	hang();
	return 0;
}

static int recorded_open(struct crash *c)
{
	if (c->recovering && sim_recording())
		abort();
	return toy_open(c);
}

static const struct crash_kind recorded_kind = {recorded_open, toy_check, toy_close};
TOY_KIND(recorded, "BUG: a recovery that ends by a signal, but only when it is recorded",
	 CRASH_LINE | CRASH_PAGE, recorded_kind, run_right);

const struct crash_workload toy_again = {.name = "toy.again",
					 .what = "BUG: operations after a recovery fail",
					 .media = CRASH_LINE | CRASH_PAGE,
					 .kind = &toy_kind,
					 .run = run_right,
					 .again = again_fails,
					 .show = toy_show};
const struct crash_workload toy_again_hangs = {.name = "toy.again_hangs",
					       .what = "BUG: operations after a recovery take long",
					       .media = CRASH_LINE | CRASH_PAGE,
					       .kind = &toy_kind,
					       .run = run_right,
					       .again = again_hangs,
					       .show = toy_show};

/* Each opening costs so much processor time that `thrice --seconds 1` does not get far. */
static int slow_open(struct crash *c)
{
	clock_t until = clock() + CLOCKS_PER_SEC / 8;

	while (c->recovering && clock() < until)
		continue;
	return toy_open(c);
}

static const struct crash_kind slow_kind = {slow_open, toy_check, toy_close};
TOY_KIND(slow, "right, and slow", CRASH_LINE | CRASH_PAGE, slow_kind, run_right);

/*
 * Process death, then power failure: the commit word goes past the cache. Who takes over makes durable what it sees
 * there, or only thinks so: its fence says nothing of what a dead process had on its way (D13).
 */
static int update_past_cache(struct crash *c)
{
	static const uint64_t one = 1;
	struct toy_image *t = img(c);

	t->copy[1].value[0] = 1000;
	t->copy[1].value[1] = ~(uint64_t)1000;
	make_durable(c, t->copy[1].value, sizeof(t->copy[1].value), true, true);
	media(c)->ops->copy_nt(media(c), &t->seq[1].word, &one, sizeof(one));
	media(c)->ops->fence(media(c));
	return 0;
}

static int run_past_cache(struct crash *c)
{
	CRASH_OP(c, update_past_cache(c));
	return 0;
}

static int flush_and_fence(struct crash *c)
{
	make_durable(c, &img(c)->seq[1].word, 8, true, true);
	return 0;
}

static int only_fence(struct crash *c)
{
	make_durable(c, &img(c)->seq[1].word, 8, false, true);
	return 0;
}

static const struct crash_kind heir_kind = {toy_open, toy_check, toy_close, flush_and_fence};
static const struct crash_kind hasty_kind = {toy_open, toy_check, toy_close, only_fence};
TOY_KIND(heir, "who takes over makes durable what it found", CRASH_LINE | CRASH_KILL, heir_kind,
	 run_past_cache);
TOY_KIND(hasty_heir, "BUG: who takes over fences what a dead process flushed",
	 CRASH_LINE | CRASH_KILL, hasty_kind, run_past_cache);

/* Lines that nobody looks at. */
static uint64_t *line(struct crash *c, int i)
{
	return (uint64_t *)((uint8_t *)c->db + SIM_PAGE + i * SIM_LINE) + 2;
}

/* The new state shows for a long time before it is acknowledged: both are legal. */
static int run_long(struct crash *c)
{
	crash_begin(c);
	update(c, 1, BUG_NONE);
	if (crash_step(c))
		return -1;
	for (int i = 0; i < 40; i++) {
		*line(c, i) = 1;
		make_durable(c, line(c, i), 8, true, true);
	}
	return crash_done(c);
}

static int show_old_or_new(struct crash *c, bool old)
{
	if (!old)
		return toy_show(c);
	crash_say(c, "seq 0 value 0 pair 0\n");
	return 0;
}

static int reads_old_show(struct crash *c)
{
	return show_old_or_new(c, c->read_only);
}

static int count_open(struct crash *c)
{
	int rc = toy_open(c);

	if (!rc && c->recovering && !c->read_only)
		img(c)->seq[0].pad[3]++;
	return rc;
}

static int then_old_show(struct crash *c)
{
	return show_old_or_new(c, img(c)->seq[0].pad[3] == 2);
}

static const struct crash_kind count_kind = {count_open, toy_check, toy_close};
const struct crash_workload toy_reads_old = {
	.name = "toy.reads_old",
	.what = "BUG: read only it shows another state, of those that are legal",
	.media = CRASH_LINE | CRASH_PAGE,
	.kind = &reads_kind,
	.run = run_long,
	.show = reads_old_show};
const struct crash_workload toy_then_old = {
	.name = "toy.then_old",
	.what = "BUG: opened once more it shows another state, of those that are legal",
	.media = CRASH_LINE | CRASH_PAGE,
	.kind = &count_kind,
	.run = run_long,
	.show = then_old_show};

/* Two operations that leave as many images; the second has something rare inside. */
#define LINES 32

static int store_lines(struct crash *c, uint64_t v)
{
	for (int i = 0; i < LINES; i++)
		*line(c, i) = v;
	make_durable(c, line(c, 0), LINES * SIM_LINE, true, true);
	c->user[0] = (void *)(uintptr_t)v;
	return 0;
}

static int run_inside(struct crash *c)
{
	CRASH_OP(c, store_lines(c, 1));
	CRASH_OP(c, store_lines(c, 2));
	return 0;
}

static uint64_t inside_twos(struct crash *c)
{
	return c->user[0] == (void *)2;
}

static const struct crash_kind inside_kind = {toy_open, toy_check, toy_close, NULL, inside_twos};
TOY_KIND(inside, "two operations, one of them with something rare inside", CRASH_LINE, inside_kind,
	 run_inside);

const struct crash_workload *const crash_workloads[] = {
	&toy_right,	  &toy_third,  &toy_unhooked, &toy_unhooked_recovery,
	&toy_hang,	  &toy_twice,  &toy_stuck,    &toy_reads,
	&toy_writes,	  &toy_copied, &toy_recorded, &toy_again,
	&toy_again_hangs, &toy_slow,   NULL};
