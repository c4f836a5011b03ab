/* SPDX-License-Identifier: MIT
 * test_nomem.c -- malloc fails, the nth call of a program, for every n: libtwz without the engine (docs/promises.md, line 10)
 *
 * The program opens a store and does, twice, one after the other, all that is a commit: transactions, names, objects, blocks of an arena,
 * pointers. Whatever allocation fails, at most one of these is told so, that one has not happened, and all others have.
 */
#include "nomem.h"
#include "rt_env.h"

#define LEN                                                                                        \
	((size_t)300000) /* of what a transaction changes: more than a small buffer of its log */
#define MINE 77		 /* first word of the IDs made here */

static struct twz_store *s;
static struct twz_obj *a, *b;

/* At the beginning of object `a`. */
struct home {
	twz_pptr block; /* owner of a block of the arena in `b` */
	twz_pptr link;	/* to a word of `b` */
	uint64_t body[LEN / 8];
};

static struct home *home(void)
{
	return twz_obj_data(a);
}

static uint64_t *words(void) /* of `b`, before its arena */
{
	return twz_obj_data(b);
}

/* --- what is done: to version V, from version WAS --- */

static int end(struct twz_tx *tx, int err)
{
	if (!err)
		return twz_tx_commit(tx);
	(void)twz_tx_abort(tx);
	return err;
}

static int change(uint64_t v, uint64_t was)
{
	struct twz_range r[2] = {{home()->body, 64}, {words(), 512}};
	struct twz_tx *tx, *in;
	int err = twz_tx_begin(s, &tx);

	(void)was;
	if (err)
		return err;
	err = twz_tx_record_many(tx, r, 2);
	if (!err)
		err = twz_tx_begin(s, &in);
	if (!err) {
		err = twz_tx_record(in, home()->body, LEN);
		for (size_t i = 0; i < LEN / 8 && !err; i++)
			home()->body[i] = v + i;
		err = end(in, err);
	}
	for (size_t i = 0; i < 64 && !err; i++)
		words()[i] = v;
	return end(tx, err);
}

static int undo(uint64_t v, uint64_t was)
{
	struct twz_tx *tx;
	int err = twz_tx_begin(s, &tx);

	(void)v;
	(void)was;
	if (err)
		return err;
	err = twz_tx_record(tx, home()->body, LEN);
	if (!err)
		memset(home()->body, 0x55, LEN);
	return err ? end(tx, err) : twz_tx_abort(tx);
}

static int bind(uint64_t v, uint64_t was)
{
	(void)was;
	return twz_name_set(s, "n", (twz_oid){{MINE, v}}, 1);
}

static const char *name_of(char *buf, uint64_t v)
{
	snprintf(buf, 64, "versions/of something/%llu", (unsigned long long)v);
	return buf;
}

static int call_it(uint64_t v, uint64_t was)
{
	char from[64], to[64];

	return twz_name_rename(s, name_of(from, was), name_of(to, v));
}

static uint64_t there[8], made, dropped; /* objects, in the order they were made in */

static int make(uint64_t v, uint64_t was)
{
	struct twz_obj_options o = {.size = sizeof(o), .len = 8192, .id = {{MINE, v}}};
	struct twz_obj *out;
	int err = twz_obj_create(s, &o, NULL, &out);

	(void)was;
	if (err)
		return err;
	there[made++ % 8] = v;
	twz_obj_close(out);
	return 0;
}

/* All but one. */
static int drop(uint64_t v, uint64_t was)
{
	int err = 0;

	(void)v;
	(void)was;
	while (made > dropped + 1 && !err) {
		err = twz_obj_delete(s, (twz_oid){{MINE, there[dropped % 8]}});
		dropped += !err;
	}
	return err;
}

static uint64_t len_of(uint64_t v)
{
	return (1 << 20) + (v & 3) * 65536;
}

static int resize(uint64_t v, uint64_t was)
{
	(void)was;
	return twz_obj_resize(a, len_of(v));
}

static int block(uint64_t v, uint64_t was)
{
	struct twz_tx *tx;
	void *p;
	int err = twz_tx_begin(s, &tx);

	(void)was;
	if (err)
		return err;
	err = twz_free(b, &home()->block);
	if (!err)
		err = twz_alloc(b, 100 + 100 * (v & 3), &home()->block, &p);
	if (!err)
		memcpy(p, &v, sizeof(v));
	return end(tx, err);
}

static int point(uint64_t v, uint64_t was)
{
	struct twz_tx *tx;
	int err = twz_tx_begin(s, &tx);

	(void)was;
	if (err)
		return err;
	err = twz_tx_record(tx, &home()->link, sizeof(home()->link));
	if (!err)
		err = twz_ptr_store(&home()->link, words() + 64 + v % 64, TWZ_READ | TWZ_WRITE);
	return end(tx, err);
}

/* --- is it so? --- */

static bool is_changed(uint64_t v)
{
	for (size_t i = 0; i < LEN / 8; i++)
		if (home()->body[i] != v + i)
			return false;
	for (size_t i = 0; i < 64; i++)
		if (words()[i] != v)
			return false;
	return true;
}

static bool is_undone(uint64_t v)
{
	(void)v;
	return home()->body[1] == home()->body[0] + 1;
}

static bool is_bound(uint64_t v)
{
	twz_oid id;

	return !twz_name_get(s, "n", &id) && twz_oid_eq(id, (twz_oid){{MINE, v}});
}

static int count_name(void *ctx, const char *name, twz_oid id)
{
	(void)name;
	(void)id;
	++*(int *)ctx;
	return 0;
}

static bool is_called(uint64_t v)
{
	char name[64];
	twz_oid id;
	int cnt = 0;

	return !twz_name_get(s, name_of(name, v), &id) &&
	       !twz_name_list(s, "versions", count_name, &cnt) && cnt == 1;
}

static bool is_made(uint64_t v)
{
	struct twz_obj_stat st = {.size = sizeof(st)};
	uint64_t cursor = 0, cnt = 0, max = 0;

	while (!twz_obj_next(s, &cursor, &st)) {
		cnt += st.id.w[0] == MINE;
		max = st.id.w[0] == MINE && st.id.w[1] > max ? st.id.w[1] : max;
	}
	return max == v && cnt == made - dropped;
}

static bool is_dropped(uint64_t v)
{
	(void)v;
	return made <= dropped + 2;
}

static bool is_resized(uint64_t v)
{
	return !twz_obj_refresh(a) && twz_obj_len(a) == len_of(v);
}

static bool is_block(uint64_t v)
{
	struct twz_arena_stat st;
	uint64_t *p = twz_lea(home(), home()->block);

	return !twz_arena_stat(b, &st) && st.block_cnt == 1 && p && *p == v;
}

static bool is_pointed(uint64_t v)
{
	return twz_lea(home(), home()->link) == words() + 64 + v % 64;
}

static const struct step {
	const char *name;
	int (*fn)(uint64_t v, uint64_t was);
	bool (*is)(uint64_t v);
} steps[] = {
	{"change", change, is_changed}, {"undo", undo, is_undone},  {"bind", bind, is_bound},
	{"call", call_it, is_called},	{"make", make, is_made},    {"drop", drop, is_dropped},
	{"resize", resize, is_resized}, {"block", block, is_block}, {"point", point, is_pointed},
};
#define STEPS (sizeof(steps) / sizeof(steps[0]))

/* --- the program --- */

static int open_all(const char *path)
{
	twz_oid id;
	int err = twz_store_open(path, NULL, &s);

	a = b = NULL;
	if (err)
		return err;
	err = twz_name_get(s, "a", &id);
	if (!err)
		err = twz_obj_open(s, id, TWZ_READ | TWZ_WRITE, &a);
	if (!err)
		err = twz_name_get(s, "b", &id);
	return err ? err : twz_obj_open(s, id, TWZ_READ | TWZ_WRITE, &b);
}

static int close_all(void)
{
	int err;

	if (!s)
		return 0;
	twz_obj_close(a);
	twz_obj_close(b);
	err = twz_store_close(s);
	s = NULL;
	return err;
}

static void is_at(size_t k, uint64_t v)
{
	if (!T_TRUE(steps[k].is(v)))
		fprintf(stderr, "  allocation %llu: '%s' is not at version %llu\n",
			(unsigned long long)nomem_calls, steps[k].name, (unsigned long long)v);
}

/* Each step twice; DONE: the version each has come to. Returns how often it was told an error. */
static int program(const char *path, uint64_t v, uint64_t done[STEPS])
{
	int told = open_all(path) != 0;

	for (uint64_t i = v; i <= v + 1 && !told; i++)
		for (size_t k = 0; k < STEPS; k++) {
			int err = steps[k].fn(i, done[k]);

			told += err != 0;
			done[k] = err ? done[k] : i;
			if (err)
				is_at(k, done[k]);
		}
	return told + (close_all() != 0);
}

static void setup(const char *path)
{
	char name[64];

	made = dropped = 0;
	s = env_store(path);
	T_REQ(s ? 0 : TWZ_E_IO);
	a = env_obj(s, len_of(0), &(twz_oid){{0, 0}});
	b = env_obj(s, 1 << 20, &(twz_oid){{0, 0}});
	T_OK(twz_name_set(s, "a", twz_obj_id(a), 0));
	T_OK(twz_name_set(s, "b", twz_obj_id(b), 0));
	T_OK(twz_name_set(s, name_of(name, 0), (twz_oid){{MINE, 0}}, 0));
	T_OK(twz_arena_create(b, TWZ_DATA_OFF + 65536));
	T_OK(twz_alloc(b, 100, &home()->block, NULL));
	T_OK(close_all());
}

static void look(const char *path, const uint64_t done[STEPS])
{
	T_REQ(open_all(path));
	for (size_t k = 0; k < STEPS; k++)
		is_at(k, done[k]);
	env_check(s);
	T_OK(close_all());
}

static void every_allocation_fails_once(void)
{
	const char *path = env_path();
	uint64_t v = 1, done[STEPS] = {0}, failed = 0, last = 0, programs = 0;

	setup(path);
	T_EQ(program(path, v, done), 0);
	for (uint64_t n = 1; n; n = nomem_next(n)) {
		int told;

		v += 2;
		nomem_fail(n);
		told = program(path, v, done);
		nomem_fail(0);
		failed += told != 0;
		if (!T_TRUE(told <= 1))
			fprintf(stderr, "  allocation %llu: %d errors\n", (unsigned long long)n,
				told);
		if (nomem_calls >= n)
			look(path, done);
		last = n;
		programs++;
	}
	printf("  %llu allocations, in %llu programs, of which %llu were told\n",
	       (unsigned long long)last - 1, (unsigned long long)programs,
	       (unsigned long long)failed);
	T_TRUE(failed > 20);
	unlink(path);
}
BOTH(every_allocation_fails_once)

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {BOTH_CASES(every_allocation_fails_once), T_END};

	return t_main("nomem", cases, argc, argv);
}
