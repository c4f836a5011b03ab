/* SPDX-License-Identifier: MIT
 * test_companion.c -- several processes in one store: who lives, who died, and what the dead leave
 * (docs/durability.md D9, D13)
 */
#include "rt_env.h"

#include "companion.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>

static struct twz_store_info info_of(struct twz_store *s)
{
	struct twz_store_info info = {.size = sizeof(info)};

	T_OK(twz_store_info(s, &info));
	return info;
}

static void nap(uint64_t us)
{
	struct timespec ts = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};

	nanosleep(&ts, NULL);
}

/* --- liveness --- */

struct peer {
	const char *path;
	struct gate here, go;
	uint64_t seed;
};

static int open_and_wait(void *arg)
{
	struct peer *p = arg;
	struct twz_store *s;

	if (twz_store_open(p->path, NULL, &s))
		return 1;
	gate_open(&p->here);
	gate_wait(&p->go);
	return twz_store_close(s) != 0;
}

/* The process number that joined last. */
static uint32_t newest(struct twz_store *s)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < TWZ_PROC_MAX; i++)
		if (twz__comp_proc(s->comp, i)->incarnation >
		    twz__comp_proc(s->comp, n)->incarnation)
			n = i;
	return n;
}

static void dead_process_is_noticed_and_its_number_reused(void)
{
	struct peer p = {.path = env_path(), .here = gate_new(), .go = gate_new()};
	struct twz_store *s = env_store(p.path);
	uint64_t seen = 0;

	if (!s)
		return;
	for (int i = 0; i < 5; i++) {
		pid_t pid = kid_start(open_and_wait, &p);
		uint64_t inc;
		uint32_t n;

		gate_wait(&p.here);
		n = newest(s);
		inc = twz__comp_proc(s->comp, n)->incarnation;
		T_TRUE(inc > seen);	  /* never used before */
		T_TRUE(n == 1 || n == 2); /* a newcomer joins before it buries the dead */
		T_TRUE(twz_proc_alive(s, n, inc) && !twz_proc_alive(s, n, inc + 1));
		T_EQ(info_of(s).process_cnt, 2);
		kid_kill(pid);
		T_TRUE(!twz_proc_alive(s, n, inc));
		T_EQ(info_of(s).process_cnt, 1);
		seen = inc;
	}
	T_TRUE(twz_proc_alive(s, twz_proc_self(s), twz_proc_incarnation(s)));
	T_TRUE(!twz_proc_alive(s, TWZ_PROC_MAX, 1) && !twz_proc_alive(s, 7, 0));
	env_close(s);
}
BOTH(dead_process_is_noticed_and_its_number_reused)

/*
 * A killed process drops its locks one after the other: whoever opens meanwhile must not be
 * refused.
 */
static void store_opens_at_once_after_a_kill(void)
{
	struct peer p = {.path = env_path(), .here = gate_new(), .go = gate_new()};
	struct twz_store *s = env_store(p.path);

	T_OK(twz_store_close(s));
	for (int i = 0; i < 30; i++) {
		pid_t pid = kid_start(open_and_wait, &p);

		gate_wait(&p.here);
		kill(pid, SIGKILL);
		if (T_OK(twz_store_open(p.path, NULL, &s)))
			break;
		T_OK(twz_store_close(s));
		kid_wait(pid);
	}
}
BOTH(store_opens_at_once_after_a_kill)

static void process_table_has_an_end(void)
{
	const char *path;
	struct twz_store *s[TWZ_PROC_MAX + 1] = {NULL};
	int n;

	if (!ENV_ROOMY) {
		printf("SKIPPED (sanitizer) ");
		return;
	}
	env_media(1);
	path = env_path();
	for (n = 0; n < TWZ_PROC_MAX; n++)
		if (!(s[n] = env_store(path)))
			break;
	T_EQ(n, TWZ_PROC_MAX);
	T_ERR(twz_store_open(path, NULL, &s[n]), TWZ_E_BUSY);
	T_HAS(twz_errmsg(), "256 processes");
	T_OK(twz_store_close(s[17]));
	T_OK(twz_store_open(path, NULL, &s[17]));
	T_EQ(twz_proc_self(s[17]), 17);
	for (int i = 0; i < n; i++)
		T_OK(twz_store_close(s[i]));
}

/* --- the metadata lock --- */

static int lock_metadata_and_die(void *path)
{
	struct twz_store *s;

	if (twz_store_open(path, NULL, &s) || twz__meta_lock(s))
		return 1;
	kill(getpid(), SIGKILL);
	return 2;
}

static void metadata_lock_of_the_dead_is_taken_over(void)
{
	char path[600];
	struct twz_store_info before, after;
	struct twz_store *s;

	snprintf(path, sizeof(path), "%s", env_path());
	s = env_store(path);
	if (!s)
		return;
	before = info_of(s);
	T_TRUE(WIFSIGNALED(t_fork(lock_metadata_and_die, path)));
	T_TRUE(env_obj(s, 4096, NULL) != NULL);
	after = info_of(s);
	T_TRUE(after.generation > before.generation); /* D1: before the first new record */
	T_EQ(after.obj_cnt, 1);
	env_close(s);
}
BOTH(metadata_lock_of_the_dead_is_taken_over)

/* Dies in the middle of a takeover: the state is not ready, the lock's owner is dead. */
static int begin_takeover_and_die(void *path)
{
	struct twz_store *s;

	if (twz_store_open(path, NULL, &s) || twz__meta_lock(s))
		return 1;
	s->core.sh->ready = 0;
	kill(getpid(), SIGKILL);
	return 2;
}

/*
 * Its heir opens the store as if nothing had been, also when the lock's owner was forgotten
 * before the state was made ready.
 */
static void takeover_cut_short_is_finished_by_the_next_opener(void)
{
	struct twz_store *s, *heir;
	char path[600];

	snprintf(path, sizeof(path), "%s", env_path());
	s = env_store(path);
	if (!s)
		return;
	T_TRUE(WIFSIGNALED(t_fork(begin_takeover_and_die, path)));
	T_OK(twz_store_open(path, NULL, &heir));
	T_TRUE(env_obj(heir, 4096, NULL) != NULL);
	s->core.sh->ready = 0;
	T_OK(twz_store_close(heir));
	T_OK(twz_store_open(path, NULL, &heir));
	T_TRUE(env_obj(heir, 4096, NULL) != NULL);
	T_OK(twz_store_close(heir));
	T_EQ(info_of(s).obj_cnt, 2);
	env_close(s);
}
BOTH(takeover_cut_short_is_finished_by_the_next_opener)

/* --- kill at random points --- */

#define KEPT_KIND 1234

static int churn(void *arg)
{
	struct peer *p = arg;
	struct twz_obj_options oo = {.size = sizeof(oo), .kind = 1};
	uint64_t rng = p->seed | 1;
	struct twz_store *s;

	if (twz_store_open(p->path, NULL, &s))
		return 1;
	gate_open(&p->here);
	for (;;) {
		struct twz_obj *o;
		twz_oid id;

		rng = rng * 6364136223846793005u + 1442695040888963407u;
		oo.len = 4096 + (rng >> 40) % 60000;
		if (twz_obj_create(s, &oo, &id, &o))
			return 2;
		memset(twz_obj_data(o), 1, oo.len);
		if (twz_obj_resize(o, 4096 + (rng >> 30) % 90000))
			return 3;
		if (rng >> 60 < 12 && twz_obj_delete(s, id))
			return 4;
		twz_obj_close(o);
	}
}

/* Our own objects: contents that must not change whatever happens around them. */
static void keep_working(struct twz_store *s, twz_oid *ids, int cnt)
{
	int i = (int)t_rand_below((uint64_t)cnt);
	struct twz_obj_options oo = {
		.size = sizeof(oo), .len = 4096 + t_rand_below(20000), .kind = KEPT_KIND};
	struct twz_obj *o;

	if (!twz_oid_is_null(ids[i])) {
		if (T_OK(twz_obj_open(s, ids[i], TWZ_READ, &o)))
			return;
		T_TRUE(!memcmp(twz_obj_data(o), &ids[i], sizeof(ids[i])));
		twz_obj_close(o);
		T_OK(twz_obj_delete(s, ids[i]));
		ids[i] = (twz_oid){{0, 0}};
		return;
	}
	if (T_OK(twz_obj_create(s, &oo, &ids[i], &o)))
		return;
	memcpy(twz_obj_data(o), &ids[i], sizeof(ids[i]));
	twz_obj_close(o);
}

static void check_kept(struct twz_store *s, const twz_oid *ids, int cnt)
{
	struct twz_obj_stat st = {.size = sizeof(st)};
	uint64_t cursor = 0, kept = 0, want = 0;

	while (!twz_obj_next(s, &cursor, &st))
		kept += st.kind == KEPT_KIND;
	for (int i = 0; i < cnt; i++) {
		struct twz_obj *o;

		if (twz_oid_is_null(ids[i]))
			continue;
		want++;
		if (!T_OK(twz_obj_open(s, ids[i], TWZ_READ, &o))) {
			T_TRUE(!memcmp(twz_obj_data(o), &ids[i], sizeof(ids[i])));
			twz_obj_close(o);
		}
	}
	T_EQ(kept, want);
}

static void others_go_on_while_processes_are_killed(void)
{
	struct peer p = {.path = env_path(), .here = gate_new()};
	struct twz_store *s = env_store(p.path);
	twz_oid ids[20] = {{{0, 0}}};

	for (int round = 0; s && round < 40; round++) {
		pid_t pid;
		int status;

		p.seed = t_rand();
		pid = kid_start(churn, &p);
		gate_wait(&p.here);
		for (int i = 0; i < 10; i++)
			keep_working(s, ids, 20);
		nap(t_rand_below(3000));
		status = kid_kill(pid);
		if (!T_TRUE(WIFSIGNALED(status))) /* it ended by itself: an error */
			printf("kid: exit %d, seed %" PRIu64 "\n", WEXITSTATUS(status), p.seed);
		for (int i = 0; i < 5; i++)
			keep_working(s, ids, 20);
	}
	if (!s)
		return;
	check_kept(s, ids, 20);
	env_close(s);
	s = env_store(p.path);
	if (!s)
		return;
	check_kept(s, ids, 20);
	env_close(s);
}
BOTH(others_go_on_while_processes_are_killed)

/* Everybody is killed, over and over; whoever opens next finds a whole store. */
static void every_opening_after_a_massacre_is_whole(void)
{
	struct peer p = {.path = env_path(), .here = gate_new()};
	struct twz_store *s = env_store(p.path);
	struct twz_obj_options kept = {.size = sizeof(kept), .len = 4096, .kind = KEPT_KIND};
	uint64_t want = 0;

	T_OK(twz_store_close(s));
	for (int round = 0; round < 15; round++) {
		struct twz_obj_stat st = {.size = sizeof(st)};
		uint64_t cursor = 0, seen = 0;
		pid_t pid[2];

		for (int i = 0; i < 2; i++) {
			p.seed = t_rand();
			pid[i] = kid_start(churn, &p);
			gate_wait(&p.here);
		}
		nap(t_rand_below(4000));
		for (int i = 0; i < 2; i++)
			kill(pid[i], SIGKILL);
		for (int i = 0; i < 2; i++)
			T_TRUE(WIFSIGNALED(kid_wait(pid[i])));
		if (!(s = env_store(p.path)))
			return;
		T_EQ(info_of(s).process_cnt, 1);
		while (!twz_obj_next(s, &cursor, &st))
			seen += st.kind == KEPT_KIND;
		T_EQ(seen, want);
		T_OK(twz_obj_create(s, &kept, NULL, NULL));
		want++;
		env_close(s);
	}
}
BOTH(every_opening_after_a_massacre_is_whole)

static const struct t_case cases[] = {
	BOTH_CASES(dead_process_is_noticed_and_its_number_reused),
	BOTH_CASES(store_opens_at_once_after_a_kill),
	T_CASE(process_table_has_an_end),
	BOTH_CASES(metadata_lock_of_the_dead_is_taken_over),
	BOTH_CASES(takeover_cut_short_is_finished_by_the_next_opener),
	BOTH_CASES(others_go_on_while_processes_are_killed),
	BOTH_CASES(every_opening_after_a_massacre_is_whole),
	T_END,
};

int main(int argc, char **argv)
{
	env_media(0);
	return t_main("companion", cases, argc, argv);
}
