/* SPDX-License-Identifier: MIT
 * test_log.c -- twz_log at work: ring, validity, wrap, long records, checkpoint (D1..D5, D19)
 */
#include <time.h>

#include "log_env.h"

#define HDR sizeof(struct log_rec_pm)

/* --- pure cases --- */

static void plan_keeps_its_promises(void)
{
	static const uint64_t rings[] = {16 * KIB, 20 * KIB, 64 * KIB, 1024 * KIB};

	for (int i = 0; i < 200000; i++) {
		uint64_t ring = rings[t_rand_below(4)];
		uint64_t align = t_rand_below(2) ? 64 : 4096;
		uint64_t tail = t_rand_below(5 * ring / align) * align;
		uint64_t head = tail + t_rand_below(ring / align + 1) * align;
		uint64_t len = 1 + t_rand_below(t_rand_below(2) ? 300 : ring / 2);
		uint64_t room = ring - head % ring, due = ring / (1 + t_rand_below(5));
		struct twz__log_where w = {ring, align, due, tail, head, room};
		struct twz__log_plan p = twz__log_plan(&w, len);
		bool ok = p.lsn == head + p.pad && p.total % align == 0 && p.total <= ring / 4;

		ok &= p.lsn % ring + p.total <= ring;
		ok &= p.pad == 0 || (p.pad == room && p.pad < p.total);
		ok &= p.spill ? p.total >= 88 : p.total >= HDR + len && p.total < HDR + len + align;
		ok &= !p.spill || twz__log_align(HDR + len, align) > ring / 4;
		ok &= p.full == (p.lsn + p.total - tail > ring);
		ok &= p.due == (p.lsn + p.total - tail > due);
		if (!ok) {
			T_TRUE(ok);
			return;
		}
	}
	/* An empty ring takes any record, wherever its head stands. */
	for (uint64_t head = 0; head < 16 * KIB; head += 64)
		T_TRUE(!twz__log_plan(&(struct twz__log_where){16 * KIB, 64, 8 * KIB, head, head,
							       16 * KIB - head % (16 * KIB)},
				      4096 - HDR)
				.full);
}

#define DESC(kind, len) ((uint32_t)(kind) << TWZ_LOG_DESC_KIND | (uint32_t)(len))

/* Slices of a checkpoint beside commits: a device that is slow gets little at once, a store that is clean is gone through quickly. */
static void slices_follow_how_long_they_took(void)
{
	uint64_t slice = 256 * KIB;

	T_EQ(twz__log_slice_after(slice, 200), slice);
	T_EQ(twz__log_slice_after(slice, 5000), slice / 2);
	T_EQ(twz__log_slice_after(slice, 5), slice * 2);
	for (int i = 0; i < 40; i++)
		slice = twz__log_slice_after(slice, 5000);
	T_EQ(slice, TWZ_LOG_SLICE_MIN);
	for (int i = 0; i < 40; i++)
		slice = twz__log_slice_after(slice, 5);
	T_EQ(slice, TWZ_LOG_SLICE_MAX);
	T_TRUE(TWZ_LOG_SLICE_MIN % TWZ_LOG_BLOCK_LEN == 0);
}

static void rules_of_validity_hold_one_by_one(void)
{
	struct twz__log_expect e = {.ring_len = 64 * KIB,
				    .lsn = 128 * KIB + 640,
				    .seal = 7,
				    .prev = 99,
				    .check_prev = true};
	struct log_rec_pm ok = {0, e.lsn, 99, DESC(TWZ_LOG_REC_DATA, 100)};
	struct log_rec_pm r;

	T_EQ(twz__log_rec_bad(&ok, &e), 0);
#define BAD(rule, field, value)                                                                    \
	do {                                                                                       \
		r = ok;                                                                            \
		r.field = (value);                                                                 \
		T_EQ(twz__log_rec_bad(&r, &e), rule);                                              \
	} while (0)
	BAD(1, desc, 0);
	BAD(1, desc, DESC(0, 100));
	BAD(1, desc, DESC(TWZ_LOG_REC_SPILL, 100));
	BAD(0, desc, DESC(TWZ_LOG_REC_SPILL, 64));
	BAD(1, desc, DESC(TWZ_LOG_REC_PAD, 100));
	BAD(0, desc, DESC(TWZ_LOG_REC_PAD, 0));
	BAD(1, desc, DESC(TWZ_LOG_REC_PAD, TWZ_LOG_DESC_BLOCK));
	BAD(1, desc, DESC(TWZ_LOG_REC_PAD, TWZ_LOG_DESC_SECTOR));
	BAD(0, desc, ok.desc | TWZ_LOG_DESC_SECTOR);
	BAD(0, desc, ok.desc | TWZ_LOG_DESC_BLOCK);
	BAD(1, desc, ok.desc | TWZ_LOG_DESC_BLOCK | TWZ_LOG_DESC_SECTOR);
	BAD(1, desc, DESC(TWZ_LOG_REC_DATA, 0));
	BAD(0, desc, DESC(TWZ_LOG_REC_DATA, 16 * KIB - HDR));
	BAD(1, desc, DESC(TWZ_LOG_REC_DATA, 16 * KIB - HDR + 1));
	BAD(1, desc, DESC(TWZ_LOG_REC_DATA, TWZ_LOG_DESC_LEN));
	BAD(2, lsn, ok.lsn - e.ring_len);
	BAD(2, lsn, ok.lsn + 64);
	BAD(3, prev, 98);
	e.check_prev = false;
	BAD(0, prev, 98);
	/* The record may not cross the end of the ring; a pad always reaches it. */
	e.lsn = 192 * KIB - 64;
	ok.lsn = e.lsn;
	T_EQ(twz__log_rec_bad(&ok, &e), 1);
	ok.desc = DESC(TWZ_LOG_REC_DATA, 40);
	T_EQ(twz__log_rec_bad(&ok, &e), 0);
	BAD(1, desc, DESC(TWZ_LOG_REC_DATA, 41));
	BAD(0, desc, ok.desc | TWZ_LOG_DESC_BLOCK); /* the ring ends with a block */
	BAD(1, desc, DESC(TWZ_LOG_REC_SPILL, 64));
	ok.desc = DESC(TWZ_LOG_REC_PAD, 0);
	T_EQ(twz__log_rec_bad(&ok, &e), 0);
	T_EQ(twz__log_rec_total(&ok, 64), 64);
#undef BAD
}

static void checksum_covers_every_byte(void)
{
	struct {
		struct log_rec_pm rec;
		uint8_t body[100];
	} r = {.rec = {0, 64, 5, DESC(TWZ_LOG_REC_DATA, 100)}};
	uint64_t sum = twz__log_rec_sum(&r.rec, 1);

	r.rec.sum = sum;
	T_EQ(twz__log_rec_sum(&r.rec, 1), sum);
	for (size_t i = 0; i < HDR + 100; i++) {
		bool in_sum = i < sizeof(r.rec.sum);

		if (i >= offsetof(struct log_rec_pm, desc) && i < HDR - 1)
			continue; /* the length is covered too, but the sum would read behind R */
		((uint8_t *)&r)[i] ^= 1 << (i == HDR - 1 ? 6 : 0);
		T_TRUE((twz__log_rec_sum(&r.rec, 1) == sum) == in_sum);
		((uint8_t *)&r)[i] ^= 1 << (i == HDR - 1 ? 6 : 0);
	}
	/* D1: nor does it hold in another generation. */
	for (uint64_t g = 0; g < 1000; g++)
		T_TRUE((twz__log_rec_sum(&r.rec, g) == sum) == (g == 1));
}

/* --- append, walk, reopen --- */

static void append_walk_reopen_on(bool cl)
{
	struct twz_log_info i;
	struct env e;

	if (!env_new(&e, cl, 256 * KIB, NULL))
		return;
	for (int n = 0; n < 20; n++)
		T_OK(put(&e, MIN_BODY + (size_t)n * 37));
	T_EQ(walked(&e), 20);
	i = info_of(&e);
	T_EQ(i.ring_len, 256 * KIB);
	T_EQ(i.records, 20);
	T_EQ(i.used_len, i.head - i.tail);
	T_EQ(i.tail, 0);
	T_TRUE(i.head >= 20 * (cl ? 64 : 4096));
	env_close(&e);
	if (!env_reopen(&e, false))
		return;
	/* D13: restart replays every valid record from the tail, and leaves nothing to replay. */
	T_EQ(e.seen.applied, 20);
	T_EQ(e.seen.first, 0);
	T_TRUE(!e.seen.bad && e.seen.restart);
	T_TRUE(!cl || e.seen.flushed >= 20);
	T_EQ(info_of(&e).generation, i.generation + 1);
	T_EQ(info_of(&e).used_len, 0);
	T_EQ(walked(&e), 0);
	env_close(&e);
	if (!env_reopen(&e, false))
		return;
	T_EQ(e.seen.applied, 0);
	env_end(&e);
}

static void append_walk_reopen(void)
{
	on_both(append_walk_reopen_on);
}

/* Every size of record, at every place around the end of the ring. */
static void every_size_wraps_on(bool cl)
{
	struct env e;
	uint64_t laps;

	if (!env_new(&e, cl, 16 * KIB, NULL))
		return;
	for (size_t len = MIN_BODY; len <= 4096 - HDR; len += cl ? 61 : 509) {
		for (int k = 0; k < (cl ? 7 : 5); k++)
			T_OK(put(&e, len));
		T_TRUE(walked(&e) >= 1);
		if (cl)
			T_OK(put(&e, MIN_BODY + len % 64)); /* shift the next size's places */
	}
	laps = info_of(&e).head / (16 * KIB);
	T_TRUE(laps > 8);
	T_TRUE(!e.seen.bad);
	env_close(&e);
	if (env_reopen(&e, false)) {
		T_TRUE(!e.seen.bad);
		T_EQ(e.seen.next, e.next);
	}
	env_end(&e);
}

static void every_size_wraps(void)
{
	on_both(every_size_wraps_on);
}

static void random_sizes_many_laps_on(bool cl)
{
	struct env e;

	if (!env_new(&e, cl, 64 * KIB, NULL))
		return;
	for (int n = 0; n < (cl ? 3000 : 300); n++) {
		T_OK(put(&e, MIN_BODY + t_rand_below(t_rand_below(4) ? 400
								     : 16 * KIB - HDR - MIN_BODY)));
		if (t_rand_below(60))
			continue;
		env_close(&e);
		if (!env_reopen(&e, false))
			return;
		T_TRUE(!e.seen.bad);
		T_TRUE(!e.seen.applied || e.seen.next == e.next);
	}
	T_TRUE(info_of(&e).head > 10 * 64 * KIB);
	env_end(&e);
}

static void random_sizes_many_laps(void)
{
	on_both(random_sizes_many_laps_on);
}

/* --- checkpoint --- */

static void checkpoint_flushes_before_the_tail_moves_on(bool cl)
{
	struct env e;

	if (!env_new(&e, cl, 64 * KIB, NULL))
		return;
	for (int n = 0; n < 8; n++)
		T_OK(put(&e, 100));
	T_OK(twz_log_checkpoint(e.l));
	T_EQ(info_of(&e).used_len, 0);
	T_EQ(info_of(&e).checkpoints, 1);
	T_EQ(e.seen.flushed, cl ? 8 : 0);
	T_OK(twz_log_checkpoint(e.l));
	T_EQ(info_of(&e).checkpoints, 1);
	env_close(&e);
	if (env_reopen(&e, false))
		T_EQ(e.seen.applied, 0);
	env_end(&e);
}

static void checkpoint_flushes_before_the_tail_moves(void)
{
	on_both(checkpoint_flushes_before_the_tail_moves_on);
}

/*
 * A record appended but not applied stays in the log, whatever is checkpointed; a ring full of such
 * records says so.
 */
static void unapplied_records_stay_on(bool cl)
{
	uint64_t lsn, first;
	struct env e;
	int n, err;

	if (!env_new(&e, cl, 16 * KIB, NULL))
		return;
	T_OK(put(&e, 100));
	T_OK(append_to(&e, 200, &first));
	T_OK(twz_log_checkpoint(e.l));
	T_EQ(info_of(&e).tail, first);
	T_EQ(walked(&e), 1);
	for (n = 0; !(err = append_to(&e, 3000, &lsn)); n++)
		T_TRUE(n < 10);
	T_EQ(err, TWZ_E_NOSPC);
	T_EQ(walked(&e), (uint64_t)n + 1);
	twz_log_applied(e.l, first); /* not the last one: found by its LSN */
	T_OK(twz_log_checkpoint(e.l));
	T_EQ(walked(&e), (uint64_t)n);
	T_OK(append_to(&e, 100, &lsn));
	twz_log_applied(e.l, lsn);
	T_OK(twz_log_checkpoint(e.l));
	T_EQ(info_of(&e).used_len, 0);
	env_end(&e);
}

static void unapplied_records_stay(void)
{
	on_both(unapplied_records_stay_on);
}

/* --- built in place --- */

/* Record number e->next, of LEN bytes, staged in two steps. */
static int put_staged(struct env *e, size_t len)
{
	uint8_t *half = twz_log_stage(e->l, len / 2), *whole;
	uint64_t lsn;
	int err;

	if (!half)
		return TWZ_E_NOMEM;
	body_make(half, e->next, len / 2);
	whole = twz_log_stage(e->l, len);
	if (!whole)
		return TWZ_E_NOMEM;
	T_TRUE((uintptr_t)whole % 8 == 0 && body_is(whole, e->next, len / 2));
	body_make(whole, e->next, len);
	err = twz_log_append_staged(e->l, len, &lsn);
	if (err)
		return err;
	T_TRUE(body_is(whole, e->next, len)); /* to apply from */
	twz_log_applied(e->l, lsn);
	e->next++;
	return 0;
}

static void staged_records_are_records_on(bool cl)
{
	struct env e;

	if (!env_new(&e, cl, 64 * KIB, NULL))
		return;
	T_TRUE(twz_log_stage(e.l, TWZ_DATA_MAX + 1) == NULL);
	T_TRUE(twz_log_stage(e.l, 5000) != NULL); /* and not appended */
	for (size_t len = 2 * MIN_BODY; len < 3000; len += cl ? 61 : 509)
		T_OK(put_staged(&e, len));
	T_OK(put(&e, 400));
	T_OK(put_staged(&e, 16 * KIB - HDR));
	T_OK(twz_log_checkpoint(e.l));
	T_OK(put_staged(&e, 40000)); /* in an object */
	T_OK(put_staged(&e, 16 << 20));
	T_OK(put_staged(&e, 100));
	T_TRUE(!cl || e.l->buf_len < 1 << 20); /* long buffers are given back */
	T_EQ(walked(&e), 3);
	env_close(&e);
	if (!env_reopen(&e, false))
		return;
	T_EQ(e.seen.applied, 3);
	T_TRUE(!e.seen.bad);
	env_end(&e);
}

static void staged_records_are_records(void)
{
	on_both(staged_records_are_records_on);
}

/* --- what a checkpoint flushes, and from where --- */

static struct {
	uint64_t from_ring, own, ends, next;
} src;

/* In order, without a gap. */
static void src_count(const void *rec)
{
	uint64_t n;

	memcpy(&n, rec, sizeof(n));
	if (src.own + src.from_ring > 1)
		T_EQ(n, src.next);
	src.next = n + 1;
}

static int src_flush(void *ctx, uint64_t lsn, const void *rec, size_t len)
{
	src.from_ring++;
	src_count(rec);
	return seen_flush(ctx, lsn, rec, len);
}

static int src_flush_own(void *ctx, uint64_t lsn, const void *rec, size_t len)
{
	src.own++;
	src_count(rec);
	return seen_flush(ctx, lsn, rec, len);
}

static void src_flush_end(void *ctx)
{
	(void)ctx;
	src.ends++;
}

static uint64_t flushed_by_checkpoint(struct env *e)
{
	memset(&src, 0, sizeof(src));
	T_OK(twz_log_checkpoint(e->l));
	T_EQ(src.ends, src.own + src.from_ring > 0);
	return src.own + src.from_ring;
}

/*
 * D5: the list of homes is the log. A handle has copies of what it appended last; of everything
 * else, appended by others or before, it reads the ring. Nothing is left out or flushed twice.
 */
static void checkpoints_flush_every_record_once(void)
{
	struct env e, other;
	int restart = 1;

	if (!env_new(&e, true, 1024 * KIB, NULL))
		return;
	e.user.flush = src_flush;
	e.user.flush_own = src_flush_own;
	e.user.flush_end = src_flush_end;
	other = e;
	T_REQ(twz_log_open(e.s, e.id, &e.user, &other.l, &restart));
	for (int n = 0; n < 50; n++)
		T_OK(put(&e, 100));
	T_EQ(flushed_by_checkpoint(&e), 50);
	T_TRUE(src.own >= 49); /* the first was where the buffer began again */
	for (int n = 0; n < 10; n++)
		T_OK(put(&e, 100));
	other.next = e.next;
	T_OK(put(&other, 200));
	e.next = other.next;
	for (int n = 0; n < 5; n++)
		T_OK(put(&e, 100));
	T_OK(put(&e, 300000)); /* an object: a gap in the copies */
	T_OK(put(&e, 100));
	T_OK(put(&e, 100));
	T_EQ(flushed_by_checkpoint(&e), 19);
	T_EQ(src.own, 2);
	/* Handles in turn, at random, with checkpoints of their own and taking over. */
	for (int n = 0; n < 3000; n++) {
		struct env *w = t_rand_below(3) ? &e : &other;
		uint64_t len = MIN_BODY + t_rand_below(700);

		memset(&src, 0, sizeof(src));
		w->next = e.next > other.next ? e.next : other.next;
		T_OK(t_rand_below(2) ? put(w, len) : put_staged(w, 2 * len));
		T_TRUE(!e.seen.bad);
		memset(&src, 0, sizeof(src));
		if (!t_rand_below(200))
			T_OK(twz_log_recover(w->l, false));
		if (!t_rand_below(100)) {
			uint64_t cnt = walked(w);

			T_EQ(flushed_by_checkpoint(w), cnt);
		}
	}
	twz_log_close(other.l);
	env_end(&e);
}

/* --- long records --- */

static void long_records_live_in_objects_on(bool cl)
{
	uint64_t objects;
	struct env e;

	if (!env_new(&e, cl, 16 * KIB, NULL))
		return;
	objects = object_count(&e);
	T_OK(put(&e, 4096 - HDR));
	T_EQ(object_count(&e), objects);
	T_OK(put(&e, 4096 - HDR + 1));
	T_EQ(object_count(&e), objects + 1);
	T_OK(twz_log_checkpoint(e.l));
	T_EQ(object_count(&e), objects);
	T_OK(put(&e, 50000));
	T_OK(put(&e, 400));
	T_EQ(walked(&e), 2);
	env_close(&e);
	if (!env_reopen(&e, false))
		return;
	T_EQ(e.seen.applied, 2);
	T_TRUE(!e.seen.bad);
	T_EQ(object_count(&e), objects);
	T_OK(put(&e, REC_MAX));
	/* More than the shared list of bodies holds: checkpoints come by themselves. */
	for (int n = 0; n < 90; n++)
		T_OK(put(&e, 5000));
	T_TRUE(object_count(&e) <= objects + TWZ_LOG_SPILL_MAX);
	T_OK(twz_log_checkpoint(e.l));
	T_EQ(object_count(&e), objects);
	env_end(&e);
}

static void long_records_live_in_objects(void)
{
	on_both(long_records_live_in_objects_on);
}

static void damaged_body_is_corruption_on(bool cl)
{
	struct twz_obj *o = NULL;
	struct twz__log_ring r;
	uint8_t byte = 0x55;
	twz_oid body;
	struct env e;

	if (!env_new(&e, cl, 16 * KIB, NULL))
		return;
	T_OK(put(&e, 100));
	T_OK(put(&e, 9000));
	body = e.l->seg->spills[0].id;
	T_OK(twz_obj_open(e.s, body, TWZ_READ | TWZ_WRITE, &o));
	T_OK(twz__log_ring_init(&r, o));
	T_OK(twz__log_write(&r, 5000, &byte, 1));
	twz_obj_close(o);
	T_ERR(twz_log_walk(e.l, walk_count, &e.seen), TWZ_E_CORRUPT);
	env_close(&e);
	if (env_reopen(&e, true)) {
		T_ERR(twz_log_recover(e.l, true), TWZ_E_CORRUPT);
		T_EQ(e.seen.applied, 0);
	}
	env_end(&e);
}

static void damaged_body_is_corruption(void)
{
	on_both(damaged_body_is_corruption_on);
}

/* A crash between the creation of a body and its record leaves an orphan; restart finds it. */
static void orphan_bodies_are_swept_on(bool cl)
{
	struct iovec iov = {(void *)"0123456789abcdef", 16};
	struct log_spill_pm spill;
	uint64_t objects;
	struct env e;

	if (!env_new(&e, cl, 16 * KIB, NULL))
		return;
	objects = object_count(&e);
	T_OK(twz__log_body_write(e.l, &iov, 1, 16, 12345, &spill));
	T_EQ(object_count(&e), objects + 1);
	env_close(&e);
	if (env_reopen(&e, false))
		T_EQ(object_count(&e), objects);
	env_end(&e);
}

static void orphan_bodies_are_swept(void)
{
	on_both(orphan_bodies_are_swept_on);
}

/* --- bad calls, check --- */

static void bad_calls_are_refused(void)
{
	struct twz_obj_options opt = {.size = sizeof(opt), .len = 64 * KIB};
	struct twz_log_user half = {.version = 1};
	struct twz_log *l = NULL;
	struct iovec iov = {NULL, 0};
	struct iovec huge[2] = {{(void *)&iov, TWZ_DATA_MAX}, {(void *)&iov, 1}};
	struct env e;
	uint64_t lsn;
	twz_oid id;
	int restart;

	if (!env_new(&e, true, 16 * KIB, NULL))
		return;
	T_ERR(twz_log_append(e.l, &iov, 1, &lsn), TWZ_E_INVAL);
	T_ERR(twz_log_append(e.l, huge, 2, &lsn), TWZ_E_TOOBIG);
	T_ERR(twz_log_create(e.s, 4096, &id), TWZ_E_INVAL);
	T_ERR(twz_log_create(e.s, TWZ_DATA_MAX, &id), TWZ_E_INVAL);
	T_ERR(twz_log_open(e.s, e.id, &half, &l, &restart), TWZ_E_INVAL);
	T_ERR(twz_log_open(e.s, (twz_oid){{1, 2}}, &e.user, &l, &restart), TWZ_E_NOENT);
	T_OK(twz_obj_create(e.s, &opt, &id, NULL));
	T_ERR(twz_log_open(e.s, id, &e.user, &l, &restart), TWZ_E_CORRUPT);
	T_TRUE(l == NULL);
	twz_log_applied(e.l, 999); /* no such record: ignored */
	T_OK(put(&e, 100));
	T_EQ(walked(&e), 1);
	twz_log_close(NULL);
	env_end(&e);
}

static void count_finding(void *ctx, const char *where, const char *what)
{
	uint64_t *cnt = ctx;

	*cnt += *where && *what;
}

static void check_finds_damage_on(bool cl)
{
	uint64_t cnt = 0;
	struct twz__checker c = {.fn = count_finding, .ctx = &cnt};
	struct twz_obj *o = NULL;
	struct env e;

	if (!env_new(&e, cl, 16 * KIB, NULL))
		return;
	T_OK(put(&e, 100));
	T_OK(put(&e, 6000));
	T_OK(twz_obj_open(e.s, e.id, TWZ_READ, &o));
	T_OK(twz__check_log(o, &c));
	T_EQ(c.found, 0);
	flip(&e, 3000, 1);
	T_OK(twz__check_log(o, &c));
	T_EQ(c.found, 1);
	flip(&e, 3000, 1);
	flip(&e, 24, 1);
	T_OK(twz__check_log(o, &c));
	T_EQ(c.found, 2);
	flip(&e, 24, 1);
	T_OK(twz_obj_delete(e.s, e.l->seg->spills[0].id));
	T_OK(twz__check_log(o, &c));
	T_EQ(c.found, 3);
	T_EQ(cnt, 3);
	twz_obj_close(o);
	env_end(&e);
}

static void check_finds_damage(void)
{
	on_both(check_finds_damage_on);
}

/* --- how fast: printed, not judged --- */

static void print_throughput_on(bool cl)
{
	struct timespec a, b;
	uint64_t n = 0;
	struct env e;
	double s;

	if (!env_new(&e, cl, 0, NULL))
		return;
	clock_gettime(CLOCK_MONOTONIC, &a);
	do {
		for (int i = 0; i < (cl ? 1000 : 10); i++)
			if (T_OK(put(&e, 300)))
				return;
		n += cl ? 1000 : 10;
		clock_gettime(CLOCK_MONOTONIC, &b);
		s = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9;
	} while (s < 0.3);
	printf("\n    %s media: %.0f appends/s of 300 bytes (%.2f us each), %" PRIu64
	       " checkpoints\n",
	       cl ? "cache-line" : "page", (double)n / s, s * 1e6 / (double)n,
	       info_of(&e).checkpoints);
	env_end(&e);
}

static void print_throughput(void)
{
	on_both(print_throughput_on);
}

static const struct t_case cases[] = {
	T_CASE(plan_keeps_its_promises),
	T_CASE(slices_follow_how_long_they_took),
	T_CASE(rules_of_validity_hold_one_by_one),
	T_CASE(checksum_covers_every_byte),
	T_CASE(append_walk_reopen),
	T_CASE(every_size_wraps),
	T_CASE(random_sizes_many_laps),
	T_CASE(checkpoint_flushes_before_the_tail_moves),
	T_CASE(unapplied_records_stay),
	T_CASE(staged_records_are_records),
	T_CASE(checkpoints_flush_every_record_once),
	T_CASE(long_records_live_in_objects),
	T_CASE(damaged_body_is_corruption),
	T_CASE(orphan_bodies_are_swept),
	T_CASE(bad_calls_are_refused),
	T_CASE(check_finds_damage),
	T_CASE(print_throughput),
	T_END,
};

int main(int argc, char **argv)
{
	t_err_name = twz_err_name;
	t_err_msg = twz_errmsg;
	return t_main("log", cases, argc, argv);
}
