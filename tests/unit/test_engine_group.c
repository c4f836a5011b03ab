/* SPDX-License-Identifier: MIT
 * test_engine_group.c -- one transaction over several databases: all of it or nothing, whoever dies when (D16)
 */
#include "engine_group.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Does the database hold row K, of LEN bytes? */
static bool has(struct twzdb *db, uint64_t k, size_t len)
{
	struct twzdb_slice v = {NULL, 0};
	struct twzdb_table t;
	struct twzdb_txn *tx;
	int err = twzdb_begin(db, TWZDB_RDONLY, &tx);
	bool yes;

	if (err)
		return false;
	err = twzdb_table_open(tx, "t", 0, &t);
	if (!err)
		err = twzdb_get(tx, t, et_key(k), &v);
	yes = !err && et_same(v, et_val(k, len));
	twzdb_abort(tx);
	return yes;
}

static int group_put(struct twzdb *const *db, size_t cnt, uint64_t k, size_t len)
{
	struct twzdb_txn *tx[DBS];
	int err = twzdb_group_begin(db, cnt, 0, -1, tx);

	if (err)
		return err;
	for (size_t i = 0; i < cnt && !err; i++)
		err = put_row(tx[i], k, len);
	if (!err)
		return twzdb_group_commit(tx, cnt);
	twzdb_group_abort(tx, cnt);
	return err;
}

static uint64_t decisions(struct twzdb *db)
{
	struct twzdb_table t;
	struct twzdb_txn *tx;
	uint64_t cnt = 0;

	if (twzdb_begin(db, TWZDB_RDONLY, &tx))
		return 99;
	if (!twzdb_table_open(tx, TWZDB_DECISIONS, 0, &t))
		T_OK(twzdb_count(tx, t, &cnt));
	twzdb_abort(tx);
	return cnt;
}

/* --- the usual way --- */

static void commits(enum et_media m, bool apart)
{
	struct twzdb *back[DBS];
	struct twzdb_txn *tx[DBS];

	T_REQ(scene_open(m, apart));
	for (unsigned i = 0; i < DBS; i++)
		back[i] = sc.db[DBS - 1 - i]; /* the caller's order does not matter */
	for (uint64_t k = 0; k < 20; k++)
		T_OK(group_put(k & 1 ? back : sc.db, k % 3 ? DBS : 2, k, 100 + k));
	for (uint64_t k = 0; k < 20; k++)
		for (unsigned i = 0; i < DBS; i++)
			T_EQ(has(sc.db[i], k, 100 + k), k % 3 || (k & 1 ? i >= DBS - 2 : i < 2));
	/* Larger than the ring: the share lies elsewhere, the log says little. */
	T_OK(group_put(sc.db, DBS, 30, 900000));
	T_OK(group_put(sc.db, DBS, 31, 1000));
	/* On and on as the writer. */
	T_REQ(twzdb_group_begin(sc.db, DBS, TWZDB_TRY, 0, tx));
	for (uint64_t k = 40; k < 50; k++) {
		for (unsigned i = 0; i < DBS; i++)
			T_OK(put_row(tx[i], k, 50));
		T_OK(twzdb_group_commit_next(tx, DBS));
		T_TRUE(has(sc.db[1], k, 50));
	}
	T_OK(put_row(tx[0], 50, 50));
	T_OK(put_row(tx[1], 50, 50));
	twzdb_group_abort(tx, DBS);
	T_TRUE(!has(sc.db[0], 50, 50) && !has(sc.db[1], 50, 50));
	all_clean();
	T_OK(close_all(&sc));
	T_REQ(open_all(&sc));
	for (unsigned i = 0; i < DBS; i++) {
		T_TRUE(has(sc.db[i], 30, 900000) && has(sc.db[i], 31, 1000));
		T_TRUE(has(sc.db[i], 49, 50) && !has(sc.db[i], 50, 50));
		T_EQ(decisions(sc.db[i]), 0); /* the close of their last user took them away */
	}
	all_clean();
	scene_close();
}

static void groups_are_committed(void)
{
	commits(ET_PAGE, false);
	commits(ET_PAGE, true);
	commits(ET_LINE, false);
	commits(ET_LINE, true);
}

static void many_groups_share_the_space_of_their_log(void)
{
	for (int m = ET_PAGE; m <= ET_LINE; m++) {
		T_REQ(scene_open((enum et_media)m, false));
		for (uint64_t k = 0; k < 400; k++)
			T_OK(group_put(sc.db, 2, k % 50, 1 + k * 97 % 9000));
		T_OK(close_all(&sc));
		T_REQ(open_all(&sc));
		for (uint64_t k = 350; k < 400; k++)
			T_TRUE(has(sc.db[0], k % 50, 1 + k * 97 % 9000) &&
			       has(sc.db[1], k % 50, 1 + k * 97 % 9000));
		all_clean();
		scene_close();
	}
}

/* One group after the other, each of many new rows, until their space begins anew; then the process ends as if killed. */
static int fill_space(void)
{
	struct twzdb_txn *tx[2];
	uint64_t was = 0, k = 0;
	int err = open_all(&sc), more = 2;

	while (!err && more) {
		err = twzdb_group_begin(sc.db, 2, 0, -1, tx);
		for (uint64_t i = 0; i < 1500 && !err; i++) {
			err = put_row(tx[0], k + i, 8);
			if (!err)
				err = put_row(tx[1], k + i, 8);
		}
		k += 1500;
		if (!err)
			err = twzdb_group_commit(tx, 2);
		more -= more < 2 || sc.db[1]->sh->prep_next < was;
		was = sc.db[1]->sh->prep_next;
	}
	return err;
}

static void their_space_is_used_again_when_the_log_does_not_name_it(void)
{
	for (int m = ET_PAGE; m <= ET_LINE; m++) {
		int status = -1;
		pid_t pid;

		T_REQ(scene_open((enum et_media)m, false));
		T_REQ(close_all(&sc));
		fflush(NULL);
		pid = fork();
		if (pid == 0)
			_exit(fill_space() != 0);
		waitpid(pid, &status, 0);
		T_EQ(status, 0);
		T_REQ(open_all(&sc));
		T_TRUE(has(sc.db[0], 4000, 8) && has(sc.db[1], 4000, 8));
		all_clean();
		scene_close();
	}
}

static void wrong_calls_change_nothing(void)
{
	struct twzdb_txn *tx[DBS], *r, *w;
	struct twzdb *twice[2];

	T_REQ(scene_open(ET_LINE, false));
	twice[0] = twice[1] = sc.db[0];
	T_ERR(twzdb_group_begin(twice, 2, 0, -1, tx), TWZDB_E_INVAL);
	T_ERR(twzdb_group_begin(sc.db, 0, 0, -1, tx), TWZDB_E_INVAL);
	T_ERR(twzdb_group_begin(sc.db, TWZDB_GROUP_MAX + 1, 0, -1, tx), TWZDB_E_INVAL);
	T_ERR(twzdb_group_begin(sc.db, 2, TWZDB_RDONLY, -1, tx), TWZDB_E_INVAL);
	T_ERR(twzdb_group_begin(NULL, 2, 0, -1, tx), TWZDB_E_INVAL);
	T_ERR(twzdb_group_commit(NULL, 2), TWZDB_E_INVAL);
	T_ERR(twzdb_doubt(NULL), TWZDB_E_INVAL);
	T_ERR(twzdb_resolve(NULL, true), TWZDB_E_INVAL);
	T_ERR(twzdb_resolve(sc.db[0], true), TWZDB_E_STATE);
	T_OK(twzdb_doubt(sc.db[0]));
	T_REQ(twzdb_begin(sc.db[1], 0, &w));
	T_ERR(twzdb_group_begin(sc.db, DBS, TWZDB_TRY, -1, tx), TWZDB_E_BUSY);
	T_ERR(twzdb_group_begin(sc.db, DBS, 0, 20, tx), TWZDB_E_TIMEOUT);
	T_TRUE(!tx[0] && !tx[1] && !tx[2]);
	/* What it had locked it has let go. */
	T_REQ(twzdb_begin(sc.db[0], TWZDB_TRY, &tx[0]));
	T_REQ(twzdb_begin(sc.db[2], TWZDB_RDONLY, &r));
	tx[1] = r;
	T_ERR(twzdb_group_commit(tx, 2), TWZDB_E_STATE);
	tx[1] = tx[0];
	T_ERR(twzdb_group_commit(tx, 2), TWZDB_E_INVAL);
	T_OK(put_row(tx[0], 1, 10));
	tx[1] = w;
	T_OK(twzdb_group_commit(tx, 2)); /* one of them changed nothing */
	T_TRUE(has(sc.db[0], 1, 10));
	T_EQ(decisions(sc.db[0]), 0);
	T_ERR(twzdb_group_commit(tx, 2), TWZDB_E_STATE);
	twzdb_abort(r);
	scene_close();
}

/* --- a process dies between two steps --- */

enum death { AFTER_PREPARE, AFTER_FIRST_PREPARE, AFTER_DECISION, AFTER_RESOLVED };

/* In a child: what twzdb_group_commit() does, up to a moment. */
static int die_at(enum death when, uint64_t k, size_t len)
{
	struct twz_store_info info = {.size = sizeof(info)};
	struct twzdb__chair c = {.group = {k + 7, 9}};
	struct twzdb_table t;
	struct twzdb_txn *tx[DBS];
	uint64_t id[4];

	if (twz_store_info(sc.db[0]->s, &info) || twzdb_group_begin(sc.db, DBS, 0, -1, tx))
		return 1;
	for (unsigned i = 0; i < DBS; i++)
		if (put_row(tx[i], k, len))
			return 2;
	memcpy(c.coordinator, sc.db[0]->id, 16);
	memcpy(c.store, info.uuid.w, 16);
	c.path = sc.path[0];
	c.name = sc.name[0];
	memcpy(id, sc.db[1]->id, 16);
	memcpy(id + 2, sc.db[2]->id, 16);
	if (twzdb_table_open(tx[0], TWZDB_DECISIONS, TWZDB_TABLE_CREATE, &t) ||
	    twzdb_put(tx[0], t, (struct twzdb_slice){c.group, 16}, (struct twzdb_slice){id, 32}, 0))
		return 3;
	if (twzdb__prepare(tx[1], &c))
		return 4;
	if (when == AFTER_FIRST_PREPARE)
		return 0;
	if (twzdb__prepare(tx[2], &c))
		return 5;
	if (when == AFTER_PREPARE)
		return 0;
	if (twzdb_commit(tx[0]))
		return 6;
	return when == AFTER_DECISION ? 0 : twzdb__prepared_end(tx[1], true) ? 7 : 0;
}

/* OPEN: this process has the databases open meanwhile, so that it takes over. */
static void death(enum death when, uint64_t k, size_t len, bool open)
{
	int status = -1;
	pid_t pid;

	if (!open)
		T_REQ(close_all(&sc));
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		int bad = open_all(&sc) ? 9 : die_at(when, k, len);

		if (bad)
			fprintf(stderr, "  child: %d: %s\n", bad, twzdb_errmsg());
		_exit(bad);
	}
	waitpid(pid, &status, 0);
	T_EQ(status, 0);
	if (!open)
		T_REQ(open_all(&sc));
}

static void deaths(enum et_media m, bool apart, bool open)
{
	T_REQ(scene_open(m, apart));
	T_OK(group_put(sc.db, DBS, 1, 10));
	for (uint64_t k = 10; k < 26; k++) {
		enum death when = (enum death)(k % 4);
		bool stays = when >= AFTER_DECISION;

		death(when, k, 40 + k, open);
		if (open) /* the writer's lock shows that its owner died */
			T_OK(group_put(sc.db, DBS, 2, k));
		for (unsigned i = 0; i < DBS; i++) {
			T_EQ(has(sc.db[i], k, 40 + k), stays);
			T_OK(twzdb_doubt(sc.db[i]));
		}
		all_clean();
		T_OK(group_put(sc.db, DBS, 3, k));
		T_TRUE(has(sc.db[2], 3, k));
	}
	T_EQ(decisions(sc.db[0]), 1); /* the last one's */
	scene_close();
}

static void the_coordinator_decides_at_restart(void)
{
	deaths(ET_PAGE, false, false);
	deaths(ET_PAGE, true, false);
	deaths(ET_LINE, false, false);
	deaths(ET_LINE, true, false);
}

static void the_coordinator_decides_at_takeover(void)
{
	deaths(ET_PAGE, false, true);
	deaths(ET_PAGE, true, true);
	deaths(ET_LINE, false, true);
	deaths(ET_LINE, true, true);
}

/* --- nobody can be asked --- */

static void hide(unsigned i, bool away)
{
	char a[300], b[300];

	snprintf(a, sizeof(a), "%s", sc.path[i]);
	snprintf(b, sizeof(b), "%s.away", sc.path[i]);
	T_REQ(rename(away ? a : b, away ? b : a));
	snprintf(a, sizeof(a), "%s-lock", sc.path[i]);
	unlink(a);
}

static void in_doubt(enum et_media m, enum death when)
{
	bool stays = when >= AFTER_DECISION;
	struct twzdb_txn *tx;
	uint64_t found = 9;

	T_REQ(scene_open(m, true));
	T_OK(group_put(sc.db, DBS, 1, 10));
	death(when, 5, 50, false);
	T_REQ(close_all(&sc));
	/* As it was before anybody asked: do it again, and take the coordinator away this time. */
	T_REQ(open_all(&sc));
	death(when, 6, 60, false);
	T_REQ(close_all(&sc));
	scene_close();

	T_REQ(scene_open(m, true));
	T_OK(group_put(sc.db, DBS, 1, 10));
	T_REQ(close_all(&sc));
	{
		int status = -1;
		pid_t pid = fork();

		if (pid == 0)
			_exit(open_all(&sc) ? 9 : die_at(when, 5, 50));
		waitpid(pid, &status, 0);
		T_EQ(status, 0);
	}
	hide(0, true);
	T_REQ(open_one(&sc, 1));
	T_REQ(open_one(&sc, 2));
	T_ERR(twzdb_doubt(sc.db[1]), TWZDB_E_DOUBT);
	T_HAS(twzdb_errmsg(), "recover --resolve commit|abort");
	T_HAS(twzdb_errmsg(), sc.path[0]);
	T_ERR(twzdb_begin(sc.db[1], 0, &tx), TWZDB_E_DOUBT);
	T_ERR(twzdb_begin(sc.db[1], TWZDB_TRY, &tx), TWZDB_E_DOUBT);
	T_ERR(twzdb_checkpoint(sc.db[1]), TWZDB_E_DOUBT);
	/* It can be read, upgraded it cannot be; checked and printed it can. */
	T_TRUE(has(sc.db[1], 1, 10) && !has(sc.db[1], 5, 50));
	T_REQ(twzdb_begin(sc.db[1], TWZDB_RDONLY, &tx));
	T_ERR(twzdb_upgrade(tx), TWZDB_E_DOUBT);
	twzdb_abort(tx);
	T_OK(twzdb_check(sc.db[1], et_print, NULL, &found));
	T_EQ(found, 0);
	/* Again after a clean close: it is no matter of the log. */
	T_OK(twzdb_close(sc.db[1]));
	T_REQ(open_one(&sc, 1));
	T_ERR(twzdb_doubt(sc.db[1]), TWZDB_E_DOUBT);
	/* By hand, against nobody's advice. */
	T_OK(twzdb_resolve(sc.db[2], stays));
	T_OK(twzdb_doubt(sc.db[2]));
	T_EQ(has(sc.db[2], 5, 50), stays);
	/* Another database in its place is not asked. */
	{
		struct twzdb_options o = {
			.size = sizeof(o), .flags = TWZDB_CREATE, .name = sc.name[0]};
		struct twzdb *other;

		T_REQ(twzdb_open(sc.path[0], &o, &other));
		T_ERR(twzdb_begin(sc.db[1], 0, &tx), TWZDB_E_DOUBT);
		T_HAS(twzdb_errmsg(), "another one");
		T_OK(twzdb_close(other));
		unlink(sc.path[0]);
	}
	hide(0, false);
	T_REQ(twzdb_begin(sc.db[1], 0, &tx));
	twzdb_abort(tx);
	T_REQ(open_one(&sc, 0));
	for (unsigned i = 0; i < DBS; i++)
		T_EQ(has(sc.db[i], 5, 50), stays);
	T_OK(group_put(sc.db, DBS, 7, 70));
	all_clean();
	scene_close();
}

static void without_the_coordinator_it_can_only_be_read(void)
{
	for (int m = ET_PAGE; m <= ET_LINE; m++) {
		in_doubt((enum et_media)m, AFTER_PREPARE);
		in_doubt((enum et_media)m, AFTER_DECISION);
	}
}

/* Stores that were moved together find each other. */
static void moved_stores_find_each_other(void)
{
	char dir[300], to[400];

	T_REQ(scene_open(ET_LINE, true));
	T_OK(group_put(sc.db, DBS, 1, 10));
	T_REQ(close_all(&sc));
	{
		int status = -1;
		pid_t pid = fork();

		if (pid == 0)
			_exit(open_all(&sc) ? 9 : die_at(AFTER_DECISION, 5, 50));
		waitpid(pid, &status, 0);
		T_EQ(status, 0);
	}
	snprintf(dir, sizeof(dir), "%s.d", sc.path[0]);
	T_REQ(mkdir(dir, 0700));
	for (unsigned i = 0; i < DBS; i++) {
		snprintf(to, sizeof(to), "%s/%s", dir, strrchr(sc.path[i], '/') + 1);
		T_REQ(rename(sc.path[i], to));
		snprintf(sc.path[i], sizeof(sc.path[i]), "%.255s", to);
	}
	T_REQ(open_one(&sc, 2));
	T_TRUE(has(sc.db[2], 5, 50));
	T_REQ(open_one(&sc, 1));
	T_REQ(open_one(&sc, 0));
	T_TRUE(has(sc.db[1], 5, 50) && has(sc.db[0], 5, 50));
	scene_close();
	for (unsigned i = 0; i < DBS; i++) {
		snprintf(to, sizeof(to), "%s-lock", sc.path[i]);
		unlink(to);
	}
	T_OK(rmdir(dir));
}

int main(int argc, char **argv)
{
	const struct t_case cases[] = {
		T_CASE(groups_are_committed),
		T_CASE(many_groups_share_the_space_of_their_log),
		T_CASE(their_space_is_used_again_when_the_log_does_not_name_it),
		T_CASE(wrong_calls_change_nothing),
		T_CASE(the_coordinator_decides_at_restart),
		T_CASE(the_coordinator_decides_at_takeover),
		T_CASE(without_the_coordinator_it_can_only_be_read),
		T_CASE(moved_stores_find_each_other),
		T_END,
	};

	return t_main("engine_group", cases, argc, argv);
}
