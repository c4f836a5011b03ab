/* SPDX-License-Identifier: MIT
 * test_alloc.c -- allocation inside objects (twz/alloc.h, twz/src/format_alloc.h; docs/durability.md D8)
 */
#include "rt_env.h"

#include "backend.h"
#include "format_alloc.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

/* Owners at the start of the data, an arena behind them. */
enum { OWNERS = 64, ARENA_OFF = 4096 + 4096 };
struct owner {
	twz_pptr p;
	uint64_t len;
	uint64_t seed; /* of the contents */
};

struct box {
	const char *path;
	struct twz_store *s;
	struct twz_obj *o;
	struct owner *own;
	twz_oid id;
};

static bool box_attach(struct box *b)
{
	b->own = NULL;
	if (b->s && !T_OK(twz_obj_open(b->s, b->id, TWZ_READ | TWZ_WRITE, &b->o)))
		b->own = twz_obj_data(b->o);
	return b->own != NULL;
}

static bool box_open(struct box *b, size_t len)
{
	memset(b, 0, sizeof(*b));
	b->path = env_path();
	b->s = env_store(b->path);
	b->o = b->s ? env_obj(b->s, len, &b->id) : NULL;
	b->own = b->o ? twz_obj_data(b->o) : NULL;
	return b->own && !T_OK(twz_arena_create(b->o, ARENA_OFF));
}

static bool box_reopen(struct box *b)
{
	env_close(b->s);
	b->s = env_store(b->path);
	return box_attach(b);
}

static struct twz_arena_stat stat_of(struct twz_obj *o)
{
	struct twz_arena_stat st;

	T_OK(twz_arena_stat(o, &st));
	return st;
}

static bool is_zero(const unsigned char *p, size_t len)
{
	while (len && !*p)
		p++, len--;
	return !len;
}

static void fill(unsigned char *p, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (unsigned char)(seed + i * 13 + (i >> 7));
}

static bool is_filled(const unsigned char *p, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] != (unsigned char)(seed + i * 13 + (i >> 7)))
			return false;
	return true;
}

/* --- single calls --- */

static void an_object_has_one_arena(void)
{
	struct twz_arena_stat st;
	struct twz_obj *o;
	struct box b;
	void *p;

	if (!box_open(&b, 64 * KIB))
		return;
	T_ERR(twz_arena_create(b.o, ARENA_OFF), TWZ_E_EXIST);
	st = stat_of(b.o);
	T_EQ(st.total_len, 64 * KIB - 4096);
	T_EQ(st.used_len, 0);
	T_EQ(st.block_cnt, 0);
	o = env_obj(b.s, 4096, NULL);
	T_ERR(twz_arena_create(o, 4096 + 4096), TWZ_E_INVAL);
	T_ERR(twz_arena_create(o, UINT64_MAX - 70), TWZ_E_INVAL);
	T_ERR(twz_arena_stat(o, &st), TWZ_E_NOENT);
	T_ERR(twz_alloc(o, 8, &b.own[0].p, &p), TWZ_E_NOENT);
	T_EQ(twz_alloc_len(o, twz_obj_data(o)), 0);
	T_OK(twz_arena_create(o, 0)); /* as early as possible */
	T_EQ(stat_of(o).total_len, 4096);
	env_close(b.s);
}
BOTH(an_object_has_one_arena)

static void blocks_are_zeroed_aligned_and_owned(void)
{
	unsigned char *p, *q;
	struct box b;

	if (!box_open(&b, 64 * KIB))
		return;
	T_OK(twz_alloc(b.o, 100, &b.own[0].p, (void **)&p));
	T_TRUE(twz_lea(&b.own[0].p, b.own[0].p) == p);
	T_TRUE((uintptr_t)p % 16 == 0 && is_zero(p, 112));
	T_EQ(twz_alloc_len(b.o, p), 112);
	memset(p, 0xff, 112);
	T_OK(twz_alloc(b.o, 1, &b.own[1].p, (void **)&q));
	T_EQ(stat_of(b.o).block_cnt, 2);
	T_OK(twz_free(b.o, &b.own[0].p));
	T_TRUE(twz_pptr_is_null(b.own[0].p));
	T_EQ(twz_alloc_len(b.o, p), 0);
	T_OK(twz_alloc(b.o, 60, &b.own[0].p, (void **)&p)); /* memory used before is zeroed again */
	T_TRUE(is_zero(p, 60));
	T_OK(twz_free(b.o, &b.own[0].p));
	T_OK(twz_free(b.o, &b.own[1].p));
	T_EQ(stat_of(b.o).used_len, 0);
	T_EQ(stat_of(b.o).block_cnt, 0);
	if (box_reopen(&b))
		T_EQ(stat_of(b.o).block_cnt, 0);
	env_close(b.s);
}
BOTH(blocks_are_zeroed_aligned_and_owned)

static void wrong_calls_change_nothing(void)
{
	struct twz_arena_stat before, after;
	twz_pptr outside = TWZ_PPTR_NULL, keep;
	struct box b;
	void *p;

	if (!box_open(&b, 64 * KIB))
		return;
	T_OK(twz_alloc(b.o, 100, &b.own[0].p, &p));
	keep = b.own[0].p;
	before = stat_of(b.o);
	T_ERR(twz_alloc(b.o, 0, &b.own[1].p, &p), TWZ_E_INVAL);
	T_ERR(twz_alloc(b.o, 257 * MIB, &b.own[1].p, &p), TWZ_E_TOOBIG);
	T_ERR(twz_alloc(b.o, 10, &b.own[0].p, &p), TWZ_E_INVAL); /* the owner has a block */
	T_TRUE(p == NULL);
	T_ERR(twz_alloc(b.o, 10, &outside, &p), TWZ_E_INVAL);
	T_ERR(twz_free(b.o, &b.own[1].p), TWZ_E_INVAL); /* null */
	b.own[2].p = twz_pptr_make(0, twz_pptr_off(keep) + 16);
	T_ERR(twz_free(b.o, &b.own[2].p), TWZ_E_INVAL);
	b.own[2].p = twz_pptr_make(0, 4096);
	T_ERR(twz_free(b.o, &b.own[2].p), TWZ_E_INVAL);
	b.own[2].p = twz_pptr_make(0, (1 << 30) - 8);
	T_ERR(twz_free(b.o, &b.own[2].p), TWZ_E_INVAL);
	T_ERR(twz_realloc(b.o, 200, &b.own[2].p, &p), TWZ_E_INVAL);
	b.own[2].p = keep;
	T_OK(twz_free(b.o, &b.own[2].p));
	T_ERR(twz_free(b.o, &b.own[0].p), TWZ_E_INVAL); /* freed through another owner */
	b.own[0].p = TWZ_PPTR_NULL;
	after = stat_of(b.o);
	T_EQ(after.total_len, before.total_len);
	T_EQ(after.block_cnt, 0);
	T_EQ(twz_tx_depth(b.s), 0);
	env_close(b.s);
}
BOTH(wrong_calls_change_nothing)

static void realloc_keeps_contents_and_zeroes_the_rest(void)
{
	static const size_t lens[] = {1,     17,    1000, 999, 16,     5000, 70000,
				      69000, 70000, 3,	  64,  200000, 1};
	size_t old = 0, keep = 0, n;
	unsigned char *p;
	struct box b;

	if (!box_open(&b, 64 * KIB))
		return;
	T_OK(twz_alloc(b.o, 40, &b.own[1].p, NULL)); /* something in the way */
	T_OK(twz_alloc(b.o, lens[0], &b.own[0].p, (void **)&p));
	old = keep = lens[0];
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		fill(p, keep, i);
		T_REQ(twz_realloc(b.o, lens[i], &b.own[0].p, (void **)&p));
		n = lens[i] < old ? lens[i] : old;
		T_TRUE(twz_lea(&b.own[0].p, b.own[0].p) == p);
		T_TRUE(is_filled(p, n, i));
		T_TRUE(is_zero(p + n, twz_alloc_len(b.o, p) - n));
		old = keep = lens[i];
		if (i == 4)
			T_OK(twz_free(b.o, &b.own[1].p));
	}
	T_EQ(stat_of(b.o).block_cnt, 1);
	T_OK(twz_free(b.o, &b.own[0].p));
	env_close(b.s);
}
BOTH(realloc_keeps_contents_and_zeroes_the_rest)

static void owner_may_live_in_another_object(void)
{
	struct twz_obj *other;
	twz_oid id;
	twz_pptr *p;
	struct box b;
	char *text;

	if (!box_open(&b, 64 * KIB))
		return;
	other = env_obj(b.s, 4096, &id);
	if (!other)
		return;
	p = twz_obj_data(other);
	T_OK(twz_alloc(b.o, 10, p, (void **)&text));
	T_TRUE(twz_pptr_fot(*p) != 0);
	T_TRUE(twz_lea(p, *p) == text);
	T_OK(twz_realloc(b.o, 1000, p, (void **)&text));
	T_TRUE(twz_lea(p, *p) == text);
	if (box_reopen(&b) && !T_OK(twz_obj_open(b.s, id, TWZ_READ | TWZ_WRITE, &other))) {
		p = twz_obj_data(other);
		T_TRUE(twz_lea(p, *p) != NULL);
		T_OK(twz_free(b.o, p));
		T_TRUE(twz_pptr_is_null(*p));
		T_EQ(stat_of(b.o).block_cnt, 0);
	}
	env_close(b.s);
}
BOTH(owner_may_live_in_another_object)

/* --- transactions --- */

static void abort_undoes_everything(void)
{
	struct twz_tx *tx;
	unsigned char *p;
	struct box b;

	if (!box_open(&b, 64 * KIB))
		return;
	T_REQ(twz_alloc(b.o, 500, &b.own[0].p, (void **)&p));
	fill(p, 500, 5);
	T_OK(twz_sync(b.s, p, 500));
	T_REQ(twz_tx_begin(b.s, &tx));
	T_OK(twz_free(b.o, &b.own[0].p));
	for (int i = 1; i < 20; i++) { /* takes the memory just freed, and fills it */
		T_OK(twz_alloc(b.o, (size_t)i * 20, &b.own[i].p, (void **)&p));
		memset(p, 0xee, (size_t)i * 20);
	}
	for (int i = 1; i < 20; i += 2)
		T_OK(twz_free(b.o, &b.own[i].p));
	T_OK(twz_realloc(b.o, 3000, &b.own[2].p, (void **)&p));
	memset(p, 0xdd, 3000);
	T_OK(twz_tx_abort(tx));
	p = twz_lea(&b.own[0].p, b.own[0].p);
	T_TRUE(p && is_filled(p, 500, 5));
	for (int i = 1; i < 20; i++)
		T_TRUE(twz_pptr_is_null(b.own[i].p));
	T_EQ(stat_of(b.o).block_cnt, 1);
	env_close(b.s);
}
BOTH(abort_undoes_everything)

static void aborted_growth_is_used_by_the_next(void)
{
	struct twz_tx *tx;
	struct box b;
	uint64_t len;

	if (!box_open(&b, 64 * KIB))
		return;
	T_REQ(twz_tx_begin(b.s, &tx));
	T_OK(twz_alloc(b.o, 500 * KIB, &b.own[0].p, NULL));
	len = twz_obj_len(b.o);
	T_TRUE(len > 500 * KIB);
	T_OK(twz_tx_abort(tx));
	T_EQ(stat_of(b.o).total_len, 60 * KIB); /* the object stays longer, its arena does not */
	T_EQ(twz_obj_len(b.o), len);
	T_OK(twz_alloc(b.o, 500 * KIB, &b.own[0].p, NULL));
	T_EQ(twz_obj_len(b.o), len);
	env_close(b.s);
}
BOTH(aborted_growth_is_used_by_the_next)

static struct twz__media_ops ops;
static const struct twz__media_ops *real;
static int fail_grow;

static int my_grow(struct twz__media *m, uint64_t len)
{
	return fail_grow ? TWZ_E_NOSPC : real->grow(m, len);
}

static int bad_open(void *ctx, const char *path, uint32_t flags, uint64_t len,
		    struct twz__media **out, int *created)
{
	int err = twz__file_backend.open(ctx, path, flags, len, out, created);

	if (err)
		return err;
	real = (*out)->ops;
	ops = *real;
	ops.grow = my_grow;
	(*out)->ops = &ops;
	return 0;
}

static void full_disk_is_an_error_and_nothing_else(void)
{
	static const struct twz__backend backend = {.version = 1, .open = bad_open};
	struct twz_store_options opt = {
		.size = sizeof(opt), .flags = TWZ_STORE_CREATE, .backend = &backend};
	struct box b = {.path = env_path()};
	uint64_t cnt;
	int n = 0;

	fail_grow = 0;
	T_REQ(twz_store_open(b.path, &opt, &b.s));
	b.o = env_obj(b.s, 64 * KIB, &b.id);
	b.own = twz_obj_data(b.o);
	T_OK(twz_arena_create(b.o, ARENA_OFF));
	T_OK(twz_alloc(b.o, 10, &b.own[0].p, NULL)); /* makes the undo log */
	fail_grow = 1;
	while (n < OWNERS - 1 && !twz_alloc(b.o, 40 * KIB, &b.own[n + 1].p, NULL))
		n++;
	T_TRUE(n < OWNERS - 1);
	T_ERR(twz_alloc(b.o, 40 * KIB, &b.own[n + 1].p, NULL), TWZ_E_NOSPC);
	T_HAS(twz_errmsg(), b.path);
	T_TRUE(twz_pptr_is_null(b.own[n + 1].p));
	cnt = stat_of(b.o).block_cnt;
	T_EQ(cnt, n + 1);
	if (n) {
		T_OK(twz_free(b.o, &b.own[1].p)); /* freeing needs no space */
		T_OK(twz_alloc(b.o, 40 * KIB, &b.own[1].p, NULL));
	}
	fail_grow = 0;
	T_OK(twz_alloc(b.o, 4 * MIB, &b.own[n + 1].p, NULL));
	env_close(b.s);
}
BOTH(full_disk_is_an_error_and_nothing_else)

/* --- random operations against the owners' own notes --- */

static size_t random_len(void)
{
	switch (t_rand_below(8)) {
	case 0:
		return 1 + t_rand_below(20000);
	case 1:
		return 1 + t_rand_below(1000);
	default:
		return 1 + t_rand_below(120);
	}
}

/* One operation on owner W, its note changed in the same transaction. */
static int change(struct box *b, struct owner *w)
{
	unsigned char *p = NULL;
	size_t len = random_len();
	uint64_t seed = t_rand();
	int err;

	TXSTART(b->s, tx, err)
		TXRECORD(tx, w);
		if (twz_pptr_is_null(w->p))
			err = twz_alloc(b->o, len, &w->p, (void **)&p);
		else if (t_rand_below(3))
			err = twz_free(b->o, &w->p);
		else
			err = twz_realloc(b->o, len, &w->p, (void **)&p);
		if (!err && p) {
			TXRECORD_LEN(tx, p,
				     len); /* fresh already, but for blocks resized in place */
			w->len = len;
			w->seed = seed;
			fill(p, len, seed);
		}
		if (!err && t_rand_below(10) == 0)
			TXABORT(tx);
	TXEND(tx, err);
	return err == TWZ_E_STATE ? 0 : err;
}

/* Every owner's block has the noted contents, and no block is without owner. */
static bool owners_agree(struct box *b)
{
	uint64_t cnt = 0;

	for (int i = 0; i < OWNERS; i++) {
		struct owner *w = &b->own[i];
		unsigned char *p = twz_lea(&w->p, w->p);

		if (twz_pptr_is_null(w->p))
			continue;
		cnt++;
		if (!T_TRUE(p && twz_alloc_len(b->o, p) >= w->len && is_filled(p, w->len, w->seed)))
			return false;
	}
	return T_EQ(stat_of(b->o).block_cnt, cnt);
}

static void random_work(int batches, int ops_per_batch)
{
	struct box b;

	if (!box_open(&b, 64 * KIB))
		return;
	for (int i = 0; i < batches; i++) {
		for (int k = 0; k < ops_per_batch; k++)
			T_REQ(change(&b, &b.own[t_rand_below(OWNERS)]));
		env_check(b.s);
		if (!owners_agree(&b))
			break;
	}
	/* 64 blocks of at most 20 000 bytes: space came back. */
	T_TRUE(stat_of(b.o).total_len < 4 * MIB);
	for (int i = 0; i < OWNERS; i++)
		if (!twz_pptr_is_null(b.own[i].p))
			T_OK(twz_free(b.o, &b.own[i].p));
	T_EQ(stat_of(b.o).used_len, 0);
	env_close(b.s);
}

static void random_operations_lose_nothing_line(void)
{
	env_media(1);
	random_work(20, 1000);
}

static void random_operations_lose_nothing_page(void)
{
	env_media(0);
	random_work(3, 30);
}

/* --- processes --- */

struct job {
	struct box *b;
	uint64_t seed;
	int ops; /* 0 = until killed */
};

static int worker(void *arg)
{
	struct job *j = arg;
	struct box b = *j->b;
	char seed[32];

	snprintf(seed, sizeof(seed), "%llu", (unsigned long long)j->seed);
	for (uint64_t i = 0; i < j->seed % 1000; i++)
		t_rand(); /* another sequence than the parent's */
	if (twz_store_open(b.path, NULL, &b.s) ||
	    twz_obj_open(b.s, b.id, TWZ_READ | TWZ_WRITE, &b.o))
		return 1;
	b.own = twz_obj_data(b.o);
	for (int i = 0; !j->ops || i < j->ops; i++) {
		int err = twz_obj_lock(b.o, -1);

		if (!err)
			err = change(&b, &b.own[t_rand_below(OWNERS)]);
		if (err || twz_obj_unlock(b.o)) {
			fprintf(stderr, "worker: %s\n", twz_errmsg());
			return 2;
		}
	}
	if (twz_store_close(b.s)) {
		fprintf(stderr, "worker: %s\n", twz_errmsg());
		return 3;
	}
	return 0;
}

static void processes_share_an_arena(void)
{
	enum { CNT = 3 };
	struct job j[CNT];
	pid_t pid[CNT];
	struct box b;

	if (!box_open(&b, 64 * KIB))
		return;
	for (int i = 0; i < CNT; i++) {
		j[i] = (struct job){&b, t_rand(), 30};
		pid[i] = kid_start(worker, &j[i]);
	}
	for (int i = 0; i < CNT; i++)
		T_EQ(kid_wait(pid[i]), 0);
	T_OK(twz_obj_refresh(b.o));
	owners_agree(&b);
	env_close(b.s);
}
BOTH(processes_share_an_arena)

static void kills_leak_no_block(void)
{
	struct job j[2];
	pid_t pid[2];
	struct box b;

	if (!box_open(&b, 64 * KIB))
		return;
	for (int round = 0; round < 8; round++) {
		bool living = round % 2;

		if (!living)
			env_close(b.s);
		for (int i = 0; i < 2; i++) {
			j[i] = (struct job){&b, t_rand(), 0};
			pid[i] = kid_start(worker, &j[i]);
		}
		for (int i = 0; i < 2; i++) {
			usleep((useconds_t)(5000 + t_rand_below(25000)));
			T_EQ(kid_kill(pid[i]), SIGKILL);
		}
		if (!living) {
			b.s = env_store(b.path);
			if (!box_attach(&b))
				return;
		}
		T_REQ(twz_obj_lock(b.o, -1)); /* rolls back what they left */
		T_OK(twz_obj_refresh(b.o));
		env_check(b.s);
		T_OK(twz_obj_unlock(b.o));
		if (!owners_agree(&b))
			break;
	}
	env_close(b.s);
}
BOTH(kills_leak_no_block)

/* --- damage --- */

static uint64_t findings;

static void count_finding(void *ctx, const char *where, const char *what)
{
	(void)ctx;
	(void)where;
	(void)what;
	findings++;
}

/*
 * Any word of header or block headers changed: calls fail or go on, check finds it, nothing
 * hangs or crashes.
 */
static void damaged_arenas_are_noticed_line(void)
{
	unsigned char *image, *base;
	uint64_t found;
	struct box b;
	size_t len;

	env_media(1);
	if (!box_open(&b, 16 * KIB))
		return;
	for (int i = 0; i < 20; i++)
		T_OK(twz_alloc(b.o, 50 + (size_t)i * 7, &b.own[i].p, NULL));
	for (int i = 0; i < 20; i += 3)
		T_OK(twz_free(b.o, &b.own[i].p));
	base = (unsigned char *)twz_obj_base(b.o) + ARENA_OFF;
	len = 8192;
	image = malloc(len);
	memcpy(image, base, len);
	for (int i = 0; i < 400; i++) {
		/* The header's live part, or a block header. */
		size_t at = i % 2 ? t_rand_below(64 + 40 * 4) : 896 + t_rand_below(16);

		base[at] ^= (unsigned char)(1 + t_rand_below(255));
		findings = 0;
		T_OK(twz_check(b.s, count_finding, NULL, &found));
		if (memcmp(base + 52, image + 52, 12) ==
		    0) /* the reserved bytes are not looked at */
			T_TRUE(found > 0);
		/* Either answer will do. */
		if (!twz_alloc(b.o, 1 + t_rand_below(300), &b.own[30].p, NULL) &&
		    twz_free(b.o, &b.own[30].p))
			b.own[30].p = TWZ_PPTR_NULL;
		if (twz_free(b.o, &b.own[1].p))
			b.own[1].p = TWZ_PPTR_NULL;
		memcpy(base, image, len);
		b.own[30].p = TWZ_PPTR_NULL;
		b.own[1].p =
			twz_pptr_make(0, twz_pptr_off(b.own[2].p) - 16 - ((50 + 7 + 15) & ~15ULL));
	}
	T_OK(twz_free(b.o, &b.own[1].p));
	free(image);
	env_close(b.s);
}

static void size_classes_are_ordered(void)
{
	for (uint32_t n = 2; n < 1u << 26; n += 1 + n / 64) {
		uint32_t bin = twz__arena_bin(n);

		if (!T_TRUE(bin < TWZ_ARENA_BIN_CNT && twz__arena_bin(n + 1) >= bin))
			return;
	}
	T_EQ(twz__arena_bin(2), 2);
	T_TRUE(twz__arena_bin(31) < twz__arena_bin(32));
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(size_classes_are_ordered),
		BOTH_CASES(an_object_has_one_arena),
		BOTH_CASES(blocks_are_zeroed_aligned_and_owned),
		BOTH_CASES(wrong_calls_change_nothing),
		BOTH_CASES(realloc_keeps_contents_and_zeroes_the_rest),
		BOTH_CASES(owner_may_live_in_another_object),
		BOTH_CASES(abort_undoes_everything),
		BOTH_CASES(aborted_growth_is_used_by_the_next),
		BOTH_CASES(full_disk_is_an_error_and_nothing_else),
		T_CASE(random_operations_lose_nothing_line),
		T_CASE(random_operations_lose_nothing_page),
		BOTH_CASES(processes_share_an_arena),
		BOTH_CASES(kills_leak_no_block),
		T_CASE(damaged_arenas_are_noticed_line),
		T_END,
	};

	t_err_name = twz_err_name;
	t_err_msg = twz_errmsg;
	return t_main("alloc", cases, argc, argv);
}
