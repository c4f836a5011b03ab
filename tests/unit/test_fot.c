/* SPDX-License-Identifier: MIT
 * test_fot.c -- foreign object tables: entries found again, growth, several processes, interrupted
 * claims, damage
 */
#include "t.h"

#include <signal.h>
#include <sys/wait.h>

#include "ptr_rt.h"

#define LEN ((uint64_t)16 << 10)
#define RW  (TWZ_READ | TWZ_WRITE)

static const char *path;
static struct twz_store *s;

static void begin(void)
{
	struct twz_store_options opt = {.size = sizeof(opt), .flags = TWZ_STORE_CREATE};
	static int n;
	char name[32];

	t_err_name = twz_err_name;
	t_err_msg = twz_errmsg;
	snprintf(name, sizeof(name), "fot%d.twz", n++);
	path = t_path(t_shm_dir(), name);
	T_OK(twz_store_open(path, &opt, &s));
}

static void print_finding(void *ctx, const char *where, const char *what)
{
	(void)ctx;
	printf("check: %s: %s\n", where, what);
}

static uint64_t findings(void)
{
	uint64_t found = 0;

	T_OK(twz_check(s, print_finding, NULL, &found));
	return found;
}

static void end(void)
{
	T_EQ(findings(), 0);
	T_OK(twz_store_close(s));
}

static struct twz_obj *make(void)
{
	struct twz_obj_options opt = {.size = sizeof(opt), .len = LEN};
	struct twz_obj *o = NULL;

	T_OK(twz_obj_create(s, &opt, NULL, &o));
	return o;
}

static struct twz_fot_pm *entry(struct twz_obj *o, uint64_t idx)
{
	return (void *)((char *)twz_obj_base(o) + twzc_fot_off(idx));
}

/* Target number N: nobody has such an object. */
static twz_oid target(uint64_t n)
{
	return (twz_oid){{n, 0x7a7a}};
}

/* FOT index of a pointer from O to target N. */
static uint64_t point(struct twz_obj *o, uint64_t n)
{
	twz_pptr p;

	if (twz_ptr_make_id(twz_obj_data(o), target(n), TWZ_DATA_OFF, RW, &p))
		return 0;
	return twz_pptr_fot(p);
}

/* Entry IDX of O leads to target N. */
static bool leads_to(struct twz_obj *o, uint64_t idx, uint64_t n)
{
	struct twz_fot_info info;

	return !twz_fot_get(o, idx, &info) && info.kind == 1 && info.perm == RW &&
	       twz_oid_eq(info.id, target(n));
}

/* --- growth --- */

static void thousands_of_entries_are_found_again(void)
{
	enum { CNT = 5000 };
	static uint64_t idx[CNT + 1];
	struct twz_obj *o;
	twz_oid id;
	uint64_t wrong = 0;

	begin();
	o = make();
	id = twz_obj_id(o);
	for (uint64_t n = 1; n <= CNT; n++) {
		idx[n] = point(o, n);
		wrong += !idx[n] || (n > 1 && idx[n] == idx[n - 1]);
	}
	for (uint64_t n = 1; n <= CNT; n++)
		wrong += point(o, n) != idx[n] || !leads_to(o, idx[n], n);
	T_EQ(wrong, 0);
	T_EQ(idx[CNT], CNT); /* no index was wasted */
	end();
	begin();
	T_OK(twz_store_close(s));
	path = t_path(t_shm_dir(), "fot0.twz");
	T_REQ(twz_store_open(path, NULL, &s));
	T_REQ(twz_obj_open(s, id, RW, &o));
	for (uint64_t n = CNT; n; n--)
		wrong += point(o, n) != idx[n];
	T_EQ(wrong, 0);
	T_EQ(point(o, CNT + 1), CNT + 1);
	twz_obj_close(o);
	end();
}

static void full_table_says_so(void)
{
	struct twz_obj *o;
	uint64_t n, wrong = 0;
	twz_pptr p;

	begin();
	o = make();
	for (n = 1; n < TWZC_FOT_MAX; n++)
		wrong += point(o, n) != n;
	T_EQ(wrong, 0);
	T_ERR(twz_ptr_make_id(twz_obj_data(o), target(n), TWZ_DATA_OFF, RW, &p), TWZ_E_NOSPC);
	T_HAS(twz_errmsg(), "all 65531 entries");
	T_TRUE(twz_pptr_is_null(p));
	T_EQ(point(o, 40000), 40000);
	twz_obj_close(o);
	end();
}

/* --- by index --- */

static void set_takes_a_free_or_an_equal_entry(void)
{
	struct twz_obj_stat st = {.size = sizeof(st)};
	struct twz_fot_info info;
	struct twz_obj *o;

	begin();
	o = make();
	T_OK(twz_fot_set(o, 7, target(70), RW));
	T_OK(twz_fot_set(o, 7, target(70), RW));
	T_ERR(twz_fot_set(o, 7, target(71), RW), TWZ_E_EXIST);
	T_ERR(twz_fot_set(o, 7, target(70), TWZ_READ), TWZ_E_EXIST);
	T_OK(twz_fot_set(o, 2000, target(71), RW));
	T_OK(twz_fot_set_local(o, 300, 5, TWZ_READ));
	T_ERR(twz_fot_set(o, 0, target(1), RW), TWZ_E_INVAL);
	T_ERR(twz_fot_set(o, TWZC_FOT_MAX, target(1), RW), TWZ_E_INVAL);
	T_ERR(twz_fot_set(o, 8, target(1), 0), TWZ_E_INVAL);
	T_ERR(twz_fot_set(o, 8, (twz_oid){{0, 0}}, RW), TWZ_E_INVAL);
	T_ERR(twz_fot_get(o, 8, &info), TWZ_E_NOENT);
	T_ERR(twz_fot_get(o, 0, &info), TWZ_E_NOENT);
	T_ERR(twz_fot_get(o, (uint64_t)1 << 33, &info), TWZ_E_NOENT);
	T_TRUE(leads_to(o, 7, 70));
	T_TRUE(leads_to(o, 2000, 71));
	T_EQ(point(o, 71), 2000); /* found, not added */
	T_EQ(point(o, 70), 7);
	T_OK(twz_fot_get(o, 300, &info));
	T_EQ(info.kind, 3);
	T_EQ(info.id.w[0], twz_obj_id(o).w[0]);
	T_EQ(info.id.w[1], 5);
	T_OK(twz_obj_stat(o, &st));
	T_EQ(st.fot_cnt, 3);
	twz_obj_close(o);
	end();
}

static void pointers_fill_the_gaps_set_leaves(void)
{
	struct twz_obj *o;
	uint64_t wrong = 0;

	begin();
	o = make();
	for (uint64_t idx = 1; idx < 400; idx += 2)
		T_OK(twz_fot_set(o, idx, target(idx), RW));
	for (uint64_t n = 1000; n < 1300; n++) {
		uint64_t idx = point(o, n);

		wrong += !leads_to(o, idx, n);
	}
	for (uint64_t idx = 1; idx < 400; idx += 2)
		wrong += !leads_to(o, idx, idx);
	T_EQ(wrong, 0);
	twz_obj_close(o);
	end();
}

static void names_show_in_the_table(void)
{
	struct twz_fot_info info;
	struct twz_obj *o;
	twz_pptr p;

	begin();
	o = make();
	T_OK(twz_ptr_make_name(twz_obj_data(o), "fifteen bytes..", TWZ_DATA_OFF, TWZ_READ, &p));
	T_OK(twz_fot_get(o, twz_pptr_fot(p), &info));
	T_STR(info.name, "fifteen bytes..");
	T_EQ(info.kind, 2);
	T_OK(twz_ptr_make_name(twz_obj_data(o), "sixteen bytes...", TWZ_DATA_OFF, TWZ_READ, &p));
	T_OK(twz_fot_get(o, twz_pptr_fot(p), &info));
	T_STR(info.name, "...");
	twz_obj_close(o);
	end();
}

/* --- several processes --- */

struct job {
	twz_oid id;
	uint64_t first, cnt, step;
};

/* Adds entries, then looks at all of them. */
static int add_elsewhere(void *arg)
{
	const struct job *j = arg;
	static uint64_t idx[1000];
	struct twz_store *st;
	struct twz_obj *o;

	if (twz_store_open(path, NULL, &st) || twz_obj_open(st, j->id, RW, &o))
		return 1;
	for (uint64_t i = 0; i < j->cnt; i++) {
		idx[i] = point(o, j->first + i * j->step);
		if (!idx[i])
			return 2;
	}
	for (uint64_t i = 0; i < j->cnt; i++)
		if (!leads_to(o, idx[i], j->first + i * j->step) ||
		    point(o, j->first + i * j->step) != idx[i])
			return 3;
	twz_obj_close(o);
	return twz_store_close(st) ? 4 : 0;
}

static pid_t start(int (*fn)(void *), void *arg)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid)
		_exit(fn(arg));
	return pid;
}

static bool ended_well(pid_t pid)
{
	int st = -1;

	waitpid(pid, &st, 0);
	return WIFEXITED(st) && WEXITSTATUS(st) == 0;
}

static void two_processes_never_share_an_index(void)
{
	struct job job[2] = {{.first = 1, .cnt = 600, .step = 2},
			     {.first = 1, .cnt = 600, .step = 3}};
	struct twz_fot_info info;
	uint64_t used = 0, twice = 0;
	static uint8_t seen[4000];
	struct twz_obj *o;
	pid_t pid[2];

	begin();
	o = make();
	memset(seen, 0, sizeof(seen));
	for (int i = 0; i < 2; i++) {
		job[i].id = twz_obj_id(o);
		pid[i] = start(add_elsewhere, &job[i]);
	}
	T_TRUE(ended_well(pid[0]));
	T_TRUE(ended_well(pid[1]));
	for (uint64_t idx = 1; idx < 1300; idx++)
		if (!twz_fot_get(o, idx, &info)) {
			used++;
			if (info.id.w[0] < sizeof(seen))
				twice += seen[info.id.w[0]]++;
		}
	T_EQ(twice, 0);
	T_EQ(used, 600 + 600 - 200); /* 200 numbers are in both */
	T_TRUE(leads_to(o, point(o, 3), 3));
	twz_obj_close(o);
	end();
}

static int add_for_ever(void *arg)
{
	const struct job *j = arg;
	struct twz_store *st;
	struct twz_obj *o;

	if (twz_store_open(path, NULL, &st) || twz_obj_open(st, j->id, RW, &o))
		return 1;
	for (uint64_t n = j->first;; n++)
		if (!point(o, n))
			return 2;
}

static void a_killed_claimer_leaves_a_sound_table(void)
{
	struct job j = {.first = 1};
	struct twz_obj *o;
	int st;

	begin();
	o = make();
	j.id = twz_obj_id(o);
	for (int round = 0; round < 12; round++) {
		pid_t pid;

		j.first = 1000000u * (unsigned)(round + 1);
		pid = start(add_for_ever, &j);
		usleep((useconds_t)(500 + t_rand_below(6000)));
		kill(pid, SIGKILL);
		waitpid(pid, &st, 0);
		T_TRUE(WIFSIGNALED(st));
		T_TRUE(leads_to(o, point(o, (uint64_t)round + 1), (uint64_t)round + 1));
		T_EQ(((struct twz_meta_pm *)o->meta)->fot_claim, 0);
		T_EQ(findings(), 0);
	}
	for (uint64_t n = 1; n <= 12; n++)
		T_TRUE(leads_to(o, point(o, n), n));
	twz_obj_close(o);
	end();
}

/* --- what a crash or a fault leaves --- */

static uint64_t syncs(void)
{
	struct twz_persist_stats st;

	twz_persist_stats(s, &st);
	return st.syncs + st.fences;
}

static void interrupted_claim_is_free(void)
{
	uint64_t before, one;
	struct twz_meta_pm *m;
	struct twz_fot_info info;
	struct twz_obj *o;

	begin();
	o = make();
	m = o->meta;
	T_EQ(point(o, 1), 1);
	/* As after the stores of a claim, but the last one. */
	m->fot_claim = 2;
	entry(o, 2)->target[0] = 0xdead;
	entry(o, 2)->target[1] = 0xbeef;
	entry(o, 2)->kind = TWZC_FOT_ID;
	entry(o, 2)->perm = TWZ_READ;
	T_ERR(twz_fot_get(o, 2, &info), TWZ_E_NOENT);
	T_EQ(findings(), 0);
	T_EQ(point(o, 5), 2);
	T_TRUE(leads_to(o, 2, 5));
	T_EQ(m->fot_claim, 0);
	/* As after the last store: the entry is used, and found by the next who needs it. */
	before = syncs();
	T_EQ(point(o, 6), 3);
	one = syncs() - before;
	m->fot_claim = 2;
	m->fot_next = 2;
	before = syncs();
	T_EQ(point(o, 7), 4);
	T_EQ(syncs() - before, 2 * one); /* its claimer may have died before the sync (D8) */
	T_EQ(point(o, 5), 2);
	T_EQ(m->fot_claim, 0);
	twz_obj_close(o);
	end();
}

static void virgin_header_survives_a_torn_start(void)
{
	struct twz_obj *o;
	struct twz_meta_pm *m;

	begin();
	o = make();
	m = o->meta;
	T_EQ(m->magic, 0);
	m->id[0] = 1; /* as after the stores of meta_ready, but the last one */
	m->id[1] = 2;
	m->sum = 3;
	m->fot_next = 99;
	m->fot_claim = 98;
	T_EQ(findings(), 0);
	T_EQ(point(o, 1), 1);
	T_EQ(m->magic, TWZC_META_MAGIC);
	T_EQ(m->id[0], twz_obj_id(o).w[0]);
	twz_obj_close(o);
	end();
}

static void hostile_hints_do_no_harm(void)
{
	static const uint64_t hints[] = {
		0, 1, 123, 124, 125, 65531, 65532, (uint64_t)1 << 40, ~(uint64_t)0};
	struct twz_meta_pm *m;
	struct twz_obj *o;

	begin();
	o = make();
	m = o->meta;
	for (uint64_t n = 1; n < 10; n++)
		T_EQ(point(o, n), n);
	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
		m->fot_next = hints[i];
		m->fot_claim = hints[i];
		T_TRUE(leads_to(o, point(o, 100 + i), 100 + i));
		T_EQ(point(o, 3), 3);
	}
	twz_obj_close(o);
	end();
}

static void damaged_header_is_refused_and_reported(void)
{
	struct twz_meta_pm *m;
	struct twz_obj *o;
	twz_pptr p;

	begin();
	o = make();
	m = o->meta;
	T_EQ(point(o, 1), 1);
	for (unsigned byte = 0; byte < offsetof(struct twz_meta_pm, fot_next); byte += 3) {
		((unsigned char *)m)[byte] ^= 0x10;
		T_ERR(twz_ptr_make_id(twz_obj_data(o), target(2), TWZ_DATA_OFF, RW, &p),
		      TWZ_E_CORRUPT);
		T_EQ(findings(), 1);
		((unsigned char *)m)[byte] ^= 0x10;
	}
	m->id[0] ^= 1; /* the page of another object, sum and all */
	m->sum = XXH64(m, offsetof(struct twz_meta_pm, sum), 0);
	T_ERR(twz_ptr_make_id(twz_obj_data(o), target(2), TWZ_DATA_OFF, RW, &p), TWZ_E_CORRUPT);
	T_HAS(twz_errmsg(), "another object");
	T_EQ(findings(), 1);
	m->id[0] ^= 1;
	m->sum = XXH64(m, offsetof(struct twz_meta_pm, sum), 0);
	m->fot[0].sum = 1;
	T_EQ(findings(), 1);
	m->fot[0].sum = 0;
	T_EQ(point(o, 2), 2);
	twz_obj_close(o);
	end();
}

/* Any bytes, half of them with a right sum: an error or an address in an object, no crash. */
static void random_entries_do_no_harm(void)
{
	struct twz_obj *o, *t;
	uint64_t strange = 0, good = 0;

	begin();
	o = make();
	t = make();
	for (int round = 0; round < 3000; round++) {
		uint64_t idx = 1 + t_rand_below(TWZC_FOT_META_CNT - 1);
		twz_pptr *where = twz_obj_data(o);
		struct twz_fot_pm e;
		char *p;

		for (size_t i = 0; i < sizeof(e) / 8; i++)
			((uint64_t *)&e)[i] = t_rand();
		if (t_rand_below(2)) {
			e.kind = (uint32_t)t_rand_below(5);
			e.perm &= (uint32_t)t_rand_below(64);
			memcpy(e.target, &t->id, t_rand_below(2) ? 16 : 0);
			if (e.kind == TWZC_FOT_NAME)
				((char *)e.target)[15] = (char)t_rand_below(3);
			e.sum = twz__fot_sum(&e);
		}
		memcpy(entry(o, idx), &e, sizeof(e));
		*where = twz_pptr_make(idx, t_rand_below(2) ? TWZ_DATA_OFF : t_rand());
		p = twz_lea(where, *where);
		good += p == twz_obj_data(t);
		strange += p && twz_obj_at(p) != t && twz_obj_at(p) != o;
		memset(entry(o, idx), 0, sizeof(e));
	}
	T_EQ(strange, 0);
	T_TRUE(good > 0);
	twz_obj_close(o);
	twz_obj_close(t);
	end();
}

static const struct t_case cases[] = {
	T_CASE(thousands_of_entries_are_found_again),
	T_CASE(full_table_says_so),
	T_CASE(set_takes_a_free_or_an_equal_entry),
	T_CASE(pointers_fill_the_gaps_set_leaves),
	T_CASE(names_show_in_the_table),
	T_CASE(two_processes_never_share_an_index),
	T_CASE(a_killed_claimer_leaves_a_sound_table),
	T_CASE(interrupted_claim_is_free),
	T_CASE(virgin_header_survives_a_torn_start),
	T_CASE(hostile_hints_do_no_harm),
	T_CASE(random_entries_do_no_harm),
	T_CASE(damaged_header_is_refused_and_reported),
	T_END,
};

int main(int argc, char **argv)
{
	return t_main("fot", cases, argc, argv);
}
