/* SPDX-License-Identifier: MIT
 * test_name.c -- names of objects (twz/name.h, twz/src/format_name.h; docs/durability.md D8)
 */
#include "rt_env.h"

#include "format_name.h"

#include <signal.h>
#include <sys/wait.h>

static twz_oid oid(uint64_t n)
{
	return (twz_oid){{n, ~n}};
}

static struct twz_store *fresh(const char **path)
{
	*path = env_path();
	return env_store(*path);
}

static struct twz_store *again(struct twz_store *s, const char *path)
{
	env_close(s);
	return env_store(path);
}

static bool is_bound(struct twz_store *s, const char *name, uint64_t n)
{
	twz_oid id;

	return T_TRUE(!T_OK(twz_name_get(s, name, &id)) && twz_oid_eq(id, oid(n)));
}

static void names_are_there_after_reopening(void)
{
	const char *path;
	struct twz_store *s = fresh(&path);
	twz_oid id = oid(9);

	T_ERR(twz_name_get(s, "a", &id), TWZ_E_NOENT); /* nothing was ever named */
	T_TRUE(twz_oid_is_null(id));
	T_ERR(twz_name_del(s, "a"), TWZ_E_NOENT);
	T_ERR(twz_name_rename(s, "a", "b"), TWZ_E_NOENT);
	T_OK(twz_name_set(s, "a", oid(1), 0));
	T_OK(twz_name_set(s, "a/b", oid(2), 0));
	T_OK(twz_name_set(s, "über/straße", oid(3), 0));
	is_bound(s, "a", 1);
	T_ERR(twz_name_get(s, "b", &id), TWZ_E_NOENT);
	T_HAS(twz_errmsg(), "'b'");
	s = again(s, path);
	is_bound(s, "a", 1);
	is_bound(s, "a/b", 2);
	is_bound(s, "über/straße", 3);
	env_close(s);
}
BOTH(names_are_there_after_reopening)

static void set_replaces_only_when_told(void)
{
	const char *path;
	struct twz_store *s = fresh(&path);

	T_OK(twz_name_set(s, "x", oid(1), 1));
	T_ERR(twz_name_set(s, "x", oid(2), 0), TWZ_E_EXIST);
	is_bound(s, "x", 1);
	T_OK(twz_name_set(s, "x", oid(2), 1));
	is_bound(s, "x", 2);
	T_ERR(twz_name_set(s, "y", oid(0), 0), 0);
	T_ERR(twz_name_set(s, "z", (twz_oid){{0, 0}}, 0), TWZ_E_INVAL);
	env_close(s);
}
BOTH(set_replaces_only_when_told)

static void rename_moves_or_leaves_everything(void)
{
	const char *path;
	struct twz_store *s = fresh(&path);
	twz_oid id;

	T_OK(twz_name_set(s, "a", oid(1), 0));
	T_OK(twz_name_set(s, "b", oid(2), 0));
	T_ERR(twz_name_rename(s, "a", "b"), TWZ_E_EXIST);
	T_ERR(twz_name_rename(s, "c", "d"), TWZ_E_NOENT);
	T_ERR(twz_name_rename(s, "a", "c/"), TWZ_E_INVAL);
	is_bound(s, "a", 1);
	is_bound(s, "b", 2);
	T_OK(twz_name_rename(s, "a", "a"));
	T_OK(twz_name_rename(s, "a", "c/d"));
	T_ERR(twz_name_get(s, "a", &id), TWZ_E_NOENT);
	is_bound(s, "c/d", 1);
	T_OK(twz_name_del(s, "b"));
	T_ERR(twz_name_del(s, "b"), TWZ_E_NOENT);
	T_OK(twz_name_rename(s, "c/d", "b"));
	is_bound(s, "b", 1);
	env_close(s);
}
BOTH(rename_moves_or_leaves_everything)

static void bad_names_are_refused(void)
{
	static const char *const bad[] = {"",
					  "/",
					  "/a",
					  "a/",
					  "a//b",
					  "\x80",
					  "\xff",
					  "\xc3",
					  "\xc0\xaf",
					  "\xc1\xbf",
					  "\xe0\x80\xaf",
					  "\xe2\x82",
					  "\xed\xa0\x80",
					  "\xf0\x80\x80\xaf",
					  "\xf4\x90\x80\x80",
					  "\xf5\x80\x80\x80",
					  "a\xe2\x28\xa1"};
	static const char *const good[] = {"a",
					   ".",
					   "..",
					   " ",
					   "\t",
					   "\xc2\x80",
					   "\xe0\xa0\x80",
					   "\xed\x9f\xbf",
					   "\xf0\x90\x80\x80",
					   "\xf4\x8f\xbf\xbf"};
	const char *path;
	struct twz_store *s = fresh(&path);
	char text[1200];
	twz_oid id;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		T_ERR(twz_name_set(s, bad[i], oid(1), 1), TWZ_E_INVAL);
		T_ERR(twz_name_get(s, bad[i], &id), TWZ_E_INVAL);
	}
	T_ERR(twz_name_set(s, NULL, oid(1), 1), TWZ_E_INVAL);
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		T_OK(twz_name_set(s, good[i], oid(i), 1));
		is_bound(s, good[i], i);
	}
	memset(text, 'x', sizeof(text));
	for (int i = 250; i < 1200; i += 250)
		text[i] = '/';
	text[1023] = 0;
	T_OK(twz_name_set(s, text, oid(7), 0));
	is_bound(s, text, 7);
	text[1023] = 'x';
	text[1024] = 0;
	T_ERR(twz_name_set(s, text, oid(7), 0), TWZ_E_INVAL);
	memset(text, 'x', 256);
	text[255] = 0;
	T_OK(twz_name_set(s, text, oid(8), 0));
	text[255] = 'x';
	text[256] = 0;
	T_ERR(twz_name_set(s, text, oid(8), 0), TWZ_E_INVAL);
	env_close(s);
}
BOTH(bad_names_are_refused)

struct seen {
	char text[400];
	int stop_after;
};

static int see(void *ctx, const char *name, twz_oid id)
{
	struct seen *v = ctx;

	(void)id;
	strcat(strcat(v->text, name), " ");
	return v->stop_after && !--v->stop_after ? 42 : 0;
}

static const char *listed(struct twz_store *s, const char *prefix)
{
	static struct seen v;

	memset(&v, 0, sizeof(v));
	T_OK(twz_name_list(s, prefix, see, &v));
	return v.text;
}

static void lists_are_sorted_and_below_the_prefix(void)
{
	struct seen v = {.stop_after = 2};
	const char *path;
	struct twz_store *s = fresh(&path);

	T_STR(listed(s, ""), "");
	T_STR(listed(s, "a"), "");
	static const char *const names[] = {"b", "a/z", "ab", "a", "a/b/c", "a/b", "ä", "B"};
	for (uint64_t i = 0; i < 8; i++)
		T_OK(twz_name_set(s, names[i], oid(i % 4), 0));
	T_STR(listed(s, ""), "B a a/b a/b/c a/z ab b ä ");
	T_STR(listed(s, "a"), "a a/b a/b/c a/z ");
	T_STR(listed(s, "a/b"), "a/b a/b/c ");
	T_STR(listed(s, "c"), "");
	T_ERR(twz_name_list(s, "a/", see, &v), TWZ_E_INVAL);
	T_ERR(twz_name_list(s, "", see, &v), 42);
	T_STR(v.text, "B a ");
	env_close(s);
}
BOTH(lists_are_sorted_and_below_the_prefix)

static void shortest_name_of_an_object(void)
{
	const char *path;
	struct twz_store *s = fresh(&path);
	char buf[64];

	T_ERR(twz_name_of(s, oid(1), buf, sizeof(buf)), TWZ_E_NOENT);
	T_OK(twz_name_set(s, "long/name", oid(1), 0));
	T_OK(twz_name_set(s, "zz", oid(1), 0));
	T_OK(twz_name_set(s, "zb", oid(1), 0));
	T_OK(twz_name_of(s, oid(1), buf, sizeof(buf)));
	T_STR(buf, "zb");
	T_OK(twz_name_of(s, oid(1), buf, 3));
	T_ERR(twz_name_of(s, oid(1), buf, 2), TWZ_E_TOOBIG);
	T_ERR(twz_name_of(s, oid(2), buf, sizeof(buf)), TWZ_E_NOENT);
	env_close(s);
}
BOTH(shortest_name_of_an_object)

static void calls_join_the_open_transaction(void)
{
	const char *path;
	struct twz_store *s = fresh(&path);
	struct twz_tx *tx;
	twz_oid id;

	T_REQ(twz_tx_begin(s, &tx)); /* the first use of names is rolled back with it */
	T_OK(twz_name_set(s, "a", oid(1), 0));
	is_bound(s, "a", 1);
	T_OK(twz_tx_abort(tx));
	T_ERR(twz_name_get(s, "a", &id), TWZ_E_NOENT);
	T_STR(listed(s, ""), "");
	T_OK(twz_name_set(s, "a", oid(1), 0));
	T_REQ(twz_tx_begin(s, &tx));
	T_OK(twz_name_set(s, "b", oid(2), 0));
	T_ERR(twz_name_set(s, "b", oid(3), 0),
	      TWZ_E_EXIST); /* a failed call leaves the others of the transaction alone */
	T_OK(twz_name_del(s, "a"));
	T_OK(twz_name_rename(s, "b", "c"));
	T_STR(listed(s, ""), "c ");
	T_OK(twz_tx_abort(tx));
	T_STR(listed(s, ""), "a ");
	T_REQ(twz_tx_begin(s, &tx));
	T_OK(twz_name_del(s, "a"));
	T_OK(twz_name_set(s, "d", oid(4), 0));
	T_OK(twz_tx_commit(tx));
	s = again(s, path);
	T_STR(listed(s, ""), "d ");
	env_close(s);
}
BOTH(calls_join_the_open_transaction)

/* Random calls against an array; the table grows several times. */
static void random_names_agree_with_a_model(int cnt, int ops)
{
	const char *path;
	struct twz_store *s = fresh(&path);
	uint64_t *model = calloc((size_t)cnt, sizeof(*model)); /* 0 = no such name */
	char name[32], other[32];

	for (int i = 0; i < ops; i++) {
		int k = (int)t_rand_below((uint64_t)cnt), j = (int)t_rand_below((uint64_t)cnt);
		uint64_t v = 1 + t_rand_below(1000);

		snprintf(name, sizeof(name), "dir%d/name%d", k % 7, k);
		snprintf(other, sizeof(other), "dir%d/name%d", j % 7, j);
		switch (t_rand_below(6)) {
		case 0:
			T_ERR(twz_name_del(s, name), model[k] ? 0 : TWZ_E_NOENT);
			model[k] = 0;
			break;
		case 1:
			T_ERR(twz_name_rename(s, name, other), !model[k]	    ? TWZ_E_NOENT
							       : model[j] && j != k ? TWZ_E_EXIST
										    : 0);
			if (model[k] && !model[j]) {
				model[j] = model[k];
				model[k] = 0;
			}
			break;
		case 2:
			T_ERR(twz_name_set(s, name, oid(v), 0), model[k] ? TWZ_E_EXIST : 0);
			model[k] = model[k] ? model[k] : v;
			break;
		default:
			T_OK(twz_name_set(s, name, oid(v), 1));
			model[k] = v;
		}
		if (i % 500 == 499)
			env_check(s);
	}
	s = again(s, path);
	for (int k = 0; k < cnt; k++) {
		twz_oid id;

		snprintf(name, sizeof(name), "dir%d/name%d", k % 7, k);
		T_ERR(twz_name_get(s, name, &id), model[k] ? 0 : TWZ_E_NOENT);
		if (model[k] && !T_TRUE(twz_oid_eq(id, oid(model[k]))))
			break;
	}
	free(model);
	env_close(s);
}

static void random_names_agree_with_a_model_line(void)
{
	env_media(1);
	random_names_agree_with_a_model(1200, 4000);
}

static void random_names_agree_with_a_model_page(void)
{
	env_media(0);
	random_names_agree_with_a_model(150, 200);
}

/* --- processes --- */

struct job {
	const char *path;
	int who;
	bool forever;
};

/* First use races with the others'; then every name is set, moved and (every other one) removed. */
static int worker(void *arg)
{
	struct job *j = arg;
	struct twz_store *s;
	char name[32], moved[32];
	int err = twz_store_open(j->path, NULL, &s);

	for (int i = 0; !err && (j->forever || i < 20); i++) {
		snprintf(name, sizeof(name), "w%d/%d", j->who, i);
		snprintf(moved, sizeof(moved), "m%d/%d", j->who, i);
		err = twz_name_set(s, name, oid((uint64_t)i), 1);
		if (!err)
			err = twz_name_rename(s, name, moved);
		if (!err && i % 2)
			err = twz_name_del(s, moved);
	}
	if (!err)
		err = twz_store_close(s);
	if (err)
		fprintf(stderr, "worker: %s\n", twz_errmsg());
	return err ? 1 : 0;
}

static int count(void *ctx, const char *name, twz_oid id)
{
	(void)name;
	(void)id;
	++*(int *)ctx;
	return 0;
}

static void processes_share_the_names(void)
{
	enum { CNT = 3 };
	struct job j[CNT];
	pid_t pid[CNT];
	const char *path;
	struct twz_store *s = fresh(&path);
	int n = 0;

	for (int i = 0; i < CNT; i++) {
		j[i] = (struct job){path, i, false};
		pid[i] = kid_start(worker, &j[i]);
	}
	for (int i = 0; i < CNT; i++)
		T_EQ(kid_wait(pid[i]), 0);
	T_OK(twz_name_list(s, "", count, &n));
	T_EQ(n, CNT * 10);
	env_close(s);
}
BOTH(processes_share_the_names)

static void kills_leave_whole_names(void)
{
	struct job j[2];
	pid_t pid[2];
	const char *path;
	struct twz_store *s = fresh(&path);

	for (int round = 0; round < 6; round++) {
		bool living = round % 2;

		if (!living)
			env_close(s);
		for (int i = 0; i < 2; i++) {
			j[i] = (struct job){path, round * 2 + i, true};
			pid[i] = kid_start(worker, &j[i]);
		}
		for (int i = 0; i < 2; i++) {
			int n = 0;

			usleep((useconds_t)(3000 + t_rand_below(20000)));
			T_EQ(kid_kill(pid[i]), SIGKILL);
			if (living)
				T_OK(twz_name_list(s, "", count, &n)); /* rolls back what it left */
		}
		if (!living)
			s = env_store(path);
		env_check(s);
	}
	env_close(s);
}
BOTH(kills_leave_whole_names)

/* --- damage --- */

static void count_finding(void *ctx, const char *where, const char *what)
{
	(void)where;
	(void)what;
	++*(uint64_t *)ctx;
}

static int find_names(struct twz_store *s, struct twz_obj **o)
{
	struct twz_obj_stat st = {.size = sizeof(st)};
	uint64_t cursor = 0;

	while (!twz_obj_next(s, &cursor, &st))
		if (st.flags & TWZ_OBJ_NAMES)
			return twz_obj_open(s, st.id, TWZ_READ | TWZ_WRITE, o);
	return TWZ_E_NOENT;
}

static void damaged_names_are_noticed_line(void)
{
	struct twz_names_pm *h;
	unsigned char *image;
	uint64_t found, seen;
	struct twz_obj *o;
	const char *path;
	struct twz_store *s;
	char name[32];
	twz_oid id;

	env_media(1);
	s = fresh(&path);
	for (uint64_t i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "name/%d", (int)i);
		T_OK(twz_name_set(s, name, oid(i), 0));
	}
	T_REQ(find_names(s, &o));
	h = twz_obj_data(o);
	image = malloc(twz_obj_len(o));
	memcpy(image, h, twz_obj_len(o));
	for (int i = 0; i < 300; i++) {
		/* The header, or the part of the arena that holds table and names. */
		size_t at = i % 3 ? 1024 + t_rand_below(512 + 40 * 64) : t_rand_below(64);

		((unsigned char *)h)[at] ^= (unsigned char)(1 + t_rand_below(255));
		seen = 0;
		T_OK(twz_check(s, count_finding, &seen, &found));
		T_EQ(found, seen);
		if (at < 64)
			T_TRUE(found > 0);
		for (int k = 0; k < 40; k += 7) { /* any answer but a wrong one */
			snprintf(name, sizeof(name), "name/%d", k);
			if (!twz_name_get(s, name, &id))
				T_TRUE(twz_oid_eq(id, oid((uint64_t)k)));
		}
		memcpy(h, image, twz_obj_len(o));
	}
	free(image);
	twz_obj_close(o);
	env_close(s);
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		BOTH_CASES(names_are_there_after_reopening),
		BOTH_CASES(set_replaces_only_when_told),
		BOTH_CASES(rename_moves_or_leaves_everything),
		BOTH_CASES(bad_names_are_refused),
		BOTH_CASES(lists_are_sorted_and_below_the_prefix),
		BOTH_CASES(shortest_name_of_an_object),
		BOTH_CASES(calls_join_the_open_transaction),
		T_CASE(random_names_agree_with_a_model_line),
		T_CASE(random_names_agree_with_a_model_page),
		BOTH_CASES(processes_share_the_names),
		BOTH_CASES(kills_leave_whole_names),
		T_CASE(damaged_names_are_noticed_line),
		T_END,
	};

	t_err_name = twz_err_name;
	t_err_msg = twz_errmsg;
	return t_main("name", cases, argc, argv);
}
