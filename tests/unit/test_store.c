/* SPDX-License-Identifier: MIT
 * test_store.c -- opening, closing and describing stores (twz/store.h; docs/durability.md D11, D17,
 * D18)
 */
#include "rt_env.h"

#include "backend.h"
#include "large_pages.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const struct twz_store_options create = {.size = sizeof(create), .flags = TWZ_STORE_CREATE};
static const struct twz_store_options excl = {.size = sizeof(excl),
					      .flags = TWZ_STORE_CREATE | TWZ_STORE_EXCL};

static struct twz_store_info info_of(struct twz_store *s)
{
	struct twz_store_info info = {.size = sizeof(info)};

	T_OK(twz_store_info(s, &info));
	return info;
}

static const char *lock_of(const char *path)
{
	static char buf[600];

	snprintf(buf, sizeof(buf), "%s-lock", path);
	return buf;
}

static void data_survive_closing(void)
{
	const char *path = env_path();
	struct twz_store *s = env_store(path);
	struct twz_obj *o;
	twz_oid id;

	if (!s || !(o = env_obj(s, 10000, &id)))
		return;
	strcpy(twz_obj_data(o), "still there");
	T_OK(twz_sync(s, twz_obj_data(o), 12));
	env_close(s);
	s = env_store(path);
	if (!s || T_OK(twz_obj_open(s, id, TWZ_READ, &o)))
		return;
	T_STR((char *)twz_obj_data(o), "still there");
	twz_obj_close(o);
	env_close(s);
}
BOTH(data_survive_closing)

static void exclusive_creation_refuses_a_store(void)
{
	const char *path = env_path();
	struct twz_store *s;

	T_REQ(twz_store_open(path, &excl, &s));
	env_close(s);
	T_ERR(twz_store_open(path, &excl, &s), TWZ_E_EXIST);
	T_HAS(twz_errmsg(), path);
	T_TRUE(s == NULL);
}
BOTH(exclusive_creation_refuses_a_store)

static void empty_file_becomes_a_store_in_place(void)
{
	const char *path = env_path();
	struct env_file none = {(unsigned char *)"", 0};
	struct stat before, after;
	struct twz_store *s;

	env_write(path, &none);
	stat(path, &before);
	T_ERR(twz_store_open(path, NULL, &s), TWZ_E_NOTSTORE);
	T_TRUE(env_same(path, &none));
	T_REQ(twz_store_open(path, &create, &s));
	env_close(s);
	stat(path, &after);
	T_EQ(after.st_ino, before.st_ino);
}
BOTH(empty_file_becomes_a_store_in_place)

/* D18: whoever made it died behind the mark; what lies there is nobody's, and new objects read as zeros. */
static void unfinished_creation_begins_anew(void)
{
	static const char mark[] = "TWZ-INIT";
	struct env_file f = {malloc((size_t)64 << 20), (size_t)64 << 20};
	const char *path = env_path();
	struct twz_store *s;
	struct twz_obj *o;

	if (!T_TRUE(f.data != NULL))
		return;
	memset(f.data, 0xff, f.len);
	memcpy(f.data, mark, sizeof(mark));
	env_write(path, &f);
	free(f.data);
	s = env_store(path);
	o = s ? env_obj(s, (uint64_t)1 << 20, NULL) : NULL;
	if (!o)
		return;
	for (size_t i = 0; i < (size_t)1 << 20; i += 8)
		if (!T_EQ(*(const uint64_t *)(const void *)((const char *)twz_obj_data(o) + i), 0))
			break;
	twz_obj_close(o);
	env_close(s);
}
BOTH(unfinished_creation_begins_anew)

static void interrupted_initialisation_starts_again(void)
{
	const char *path = env_path();
	struct env_file half = {calloc(1, 300000), 300000};
	struct twz_store *s;

	memcpy(half.data, "TWZ-INIT", 8);
	memset(half.data + 20000, 0x5a, 100000);
	env_write(path, &half);
	T_ERR(twz_store_open(path, NULL, &s), TWZ_E_NOTSTORE);
	T_TRUE(env_same(path, &half));
	T_REQ(twz_store_open(path, &create, &s));
	env_close(s);
	env_free(&half);
}
BOTH(interrupted_initialisation_starts_again)

static void last_close_leaves_only_a_clean_store(void)
{
	const char *path = env_path();
	struct twz_store *s = env_store(path);
	struct twz_store_info info;

	if (!s)
		return;
	T_TRUE(env_exists(lock_of(path)));
	env_obj(s, 5000, NULL);
	T_OK(twz_store_close(s));
	T_TRUE(!env_exists(lock_of(path)));
	s = env_store(path);
	if (!s)
		return;
	info = info_of(s);
	T_EQ(info.was_unclean, 0);
	T_EQ(info.obj_cnt, 1);
	env_close(s);
}
BOTH(last_close_leaves_only_a_clean_store)

static int create_and_die(void *path)
{
	struct twz_store *s = env_store(path);

	for (int i = 0; i < 3; i++)
		env_obj(s, 5000, NULL);
	kill(getpid(), SIGKILL);
	return 1;
}

#define CREATORS 6
#define RACES	 25

/* Who begins when the byte comes: opens, or makes, the store, and an object in it. */
static pid_t creator(const char *path, int go)
{
	pid_t pid = fork();
	struct twz_store *s;
	char byte;

	if (pid)
		return pid;
	if (read(go, &byte, 1) != 1)
		_exit(1);
	s = env_store(path);
	if (!s || !env_obj(s, 5000, NULL))
		_exit(1);
	env_close(s);
	_exit(0);
}

/* One makes it, the others open it: what each has put there is in the one store. */
static void created_by_several_at_once(void)
{
	for (int race = 0; race < RACES; race++) {
		char path[600];
		pid_t pid[CREATORS];
		struct twz_store *s;
		int go[2], status;

		snprintf(path, sizeof(path), "%s", env_path());
		unlink(path);
		T_EQ(pipe(go), 0);
		for (int i = 0; i < CREATORS; i++)
			pid[i] = creator(path, go[0]);
		T_EQ(write(go[1], "goooooo", CREATORS), CREATORS);
		for (int i = 0; i < CREATORS; i++) {
			T_EQ(waitpid(pid[i], &status, 0), pid[i]);
			T_EQ(status, 0);
		}
		close(go[0]);
		close(go[1]);
		s = env_store(path);
		if (!s || !T_TRUE(info_of(s).obj_cnt == CREATORS))
			break;
		env_close(s);
	}
}
BOTH(created_by_several_at_once)

static void killed_process_leaves_its_objects(void)
{
	char path[600];
	struct twz_store_info info;
	struct twz_store *s;

	snprintf(path, sizeof(path), "%s", env_path());
	T_TRUE(WIFSIGNALED(t_fork(create_and_die, path)));
	s = env_store(path);
	if (!s)
		return;
	info = info_of(s);
	T_EQ(info.was_unclean, 1);
	T_EQ(info.obj_cnt, 3);
	T_EQ(info.process_cnt, 1);
	env_close(s);
}
BOTH(killed_process_leaves_its_objects)

static void two_handles_of_one_process_share_the_store(void)
{
	const char *path = env_path();
	struct twz_store *a = env_store(path), *b = env_store(path);
	struct twz_obj *oa, *ob;
	twz_oid id;

	if (!a || !b || !(oa = env_obj(a, 4096, &id)))
		return;
	T_TRUE(twz_proc_self(a) != twz_proc_self(b));
	T_TRUE(twz_proc_alive(a, twz_proc_self(b), twz_proc_incarnation(b)));
	T_REQ(twz_obj_open(b, id, TWZ_READ | TWZ_WRITE, &ob));
	*(int *)twz_obj_data(oa) = 7;
	T_EQ(*(int *)twz_obj_data(ob), 7);
	T_EQ(info_of(a).process_cnt, 2);
	T_OK(twz_store_close(b));
	T_EQ(info_of(a).process_cnt, 1);
	T_EQ(info_of(a).was_unclean, 0);
	*(int *)twz_obj_data(oa) = 8;
	env_close(a);
}
BOTH(two_handles_of_one_process_share_the_store)

static void medium_and_size_are_reported(void)
{
	const char *path = env_path();
	struct twz_store_options opt = {.size = sizeof(opt),
					.flags = TWZ_STORE_CREATE,
					.journal_len = 16 << 10,
					.initial_len = 128 << 10};
	bool line = getenv("PMEM2_FORCE_GRANULARITY") != NULL;
	struct twz_store_info info;
	struct twz_store *s;

	T_REQ(twz_store_open(path, &opt, &s));
	info = info_of(s);
	T_EQ(info.granularity, line ? TWZ_GRAN_CACHE_LINE : TWZ_GRAN_PAGE);
	T_EQ(info.forced, line);
	T_EQ(info.len, 128 << 10);
	T_TRUE(info.meta_len > 16 << 10 && info.free_len > 0 &&
	       info.meta_len + info.free_len == info.len);
	T_TRUE(!twz_oid_is_null(info.uuid) && info.generation > 0 && info.max_objects_open >= 4);
	T_STR(twz_store_path(s), path);
	env_close(s);
}
BOTH(medium_and_size_are_reported)

static void wrong_options_are_refused(void)
{
	struct twz_store_options opt = create;
	const char *path = env_path();
	struct twz_store *s;

	opt.size = 4;
	T_ERR(twz_store_open(path, &opt, &s), TWZ_E_INVAL);
	opt = create;
	opt.flags = 64;
	T_ERR(twz_store_open(path, &opt, &s), TWZ_E_INVAL);
	opt = create;
	opt.journal_len = 4096;
	T_ERR(twz_store_open(path, &opt, &s), TWZ_E_INVAL);
	opt = create;
	opt.initial_len = 4096;
	T_ERR(twz_store_open(path, &opt, &s), TWZ_E_INVAL);
	T_ERR(twz_store_open("", &create, &s), TWZ_E_INVAL);
	T_TRUE(!env_exists(path));
}
BOTH(wrong_options_are_refused)

/* --- fork --- */

struct inherited {
	struct twz_store *s;
	struct twz_obj *o;
	const char *path;
	struct gate gate, here;
};

static int use_inherited(void *arg)
{
	struct inherited *in = arg;
	struct twz_store_info info = {.size = sizeof(info)};
	struct twz_obj *o;
	struct twz_store *s;
	twz_oid id = twz_obj_id(in->o);
	int bad = 0;

	bad |= twz_store_info(in->s, &info) != TWZ_E_FORKED;
	bad |= twz_obj_open(in->s, id, TWZ_READ, &o) != TWZ_E_FORKED;
	bad |= twz_obj_resize(in->o, 100000) != TWZ_E_FORKED;
	bad |= twz_store_open(in->path, NULL, &s) != 0;
	bad |= twz_obj_open(s, id, TWZ_READ, &o) != 0 || *(int *)twz_obj_data(o) != 42;
	twz_obj_close(in->o);
	bad |= twz_store_close(in->s) != 0;
	bad |= *(int *)twz_obj_data(o) != 42;
	bad |= twz_store_close(s) != 0;
	return bad;
}

static void forked_handles_answer_so_and_harm_nobody(void)
{
	struct inherited in = {.path = env_path()};
	struct twz_store_info info;

	in.s = env_store(in.path);
	if (!in.s || !(in.o = env_obj(in.s, 4096, NULL)))
		return;
	*(int *)twz_obj_data(in.o) = 42;
	T_OK(twz_obj_lock(in.o, 0));
	T_EQ(t_fork(use_inherited, &in), 0);
	T_TRUE(env_exists(lock_of(in.path))); /* the child was not the last holder */
	info = info_of(in.s);
	T_EQ(info.process_cnt, 1);
	T_OK(twz_obj_unlock(in.o));
	env_close(in.s);
}
BOTH(forked_handles_answer_so_and_harm_nobody)

static int sleep_on(void *arg)
{
	struct inherited *in = arg;

	gate_open(&in->here);
	gate_wait(&in->gate);
	return 0;
}

static int open_fork_and_die(void *arg)
{
	struct inherited *in = arg;

	if (!env_store(in->path))
		return 1;
	if (kid_start(sleep_on, in) < 0)
		return 2;
	gate_wait(&in->here);
	kill(getpid(), SIGKILL);
	return 3;
}

/*
 * Its child has copies of the descriptors; if they kept the locks, the store would look used for
 * ever.
 */
static void dead_parent_is_dead_though_its_child_lives(void)
{
	struct inherited in = {.path = env_path(), .gate = gate_new(), .here = gate_new()};
	struct twz_store *s;

	T_TRUE(WIFSIGNALED(t_fork(open_fork_and_die, &in)));
	s = env_store(in.path);
	if (!s)
		return;
	T_EQ(info_of(s).process_cnt, 1);
	env_close(s);
	gate_open(&in.gate);
}
BOTH(dead_parent_is_dead_though_its_child_lives)

/* --- copies --- */

/* Not opened: there may be fewer slots (info.max_objects_open) than objects. */
static int create_many_and_die(void *path)
{
	struct twz_obj_options opt = {.size = sizeof(opt), .len = 5000};
	struct twz_store *s = env_store(path);

	for (int i = 0; i < 600; i++)
		if (T_OK(twz_obj_create(s, &opt, NULL, NULL)))
			return 1;
	kill(getpid(), SIGKILL);
	return 1;
}

static void whole_copy_of_an_unclean_store_opens(void)
{
	char path[600];
	const char *copy;
	struct env_file f;
	struct twz_store *s;

	snprintf(path, sizeof(path), "%s", env_path());
	copy = env_path();
	T_TRUE(WIFSIGNALED(t_fork(create_many_and_die, path)));
	f = env_read(path);
	env_write(copy, &f);
	s = env_store(copy);
	if (s) {
		T_EQ(info_of(s).obj_cnt, 600);
		T_EQ(info_of(s).was_unclean, 1);
		env_close(s);
	}
	env_free(&f);
}
BOTH(whole_copy_of_an_unclean_store_opens)

/*
 * Every page of the object table that the journal does not happen to write again is from a moment
 * when it was half written.
 */
static void tear_object_table(struct env_file *f)
{
	for (size_t off = 0; off + 4096 <= f->len; off += 4096)
		if (!memcmp(f->data + off + 8, "TCKT", 4))
			f->data[off + 256 + 8] ^= 1;
}

static void torn_copy_is_refused_and_not_touched(void)
{
	char path[600];
	const char *copy;
	struct env_file f;
	struct twz_store *s;

	snprintf(path, sizeof(path), "%s", env_path());
	copy = env_path();
	T_TRUE(WIFSIGNALED(t_fork(create_many_and_die, path)));
	f = env_read(path);
	tear_object_table(&f);
	env_write(copy, &f);
	T_ERR(twz_store_open(copy, NULL, &s), TWZ_E_CORRUPT);
	T_HAS(twz_errmsg(), copy);
	T_HAS(twz_errmsg(), "copy of a store that was in use");
	T_TRUE(env_same(copy, &f));
	T_TRUE(!env_exists(lock_of(copy)));
	env_free(&f);
}
BOTH(torn_copy_is_refused_and_not_touched)

/* --- shared segments --- */

static int init_seven(void *ptr, void *ctx)
{
	++*(int *)ctx;
	*(int *)ptr = 7;
	return 0;
}

static int init_fails(void *ptr, void *ctx)
{
	(void)ctx;
	*(int *)ptr = 9;
	return TWZ_E_NOMEM;
}

static int see_segment(void *path)
{
	twz_oid id = {{1, 2}};
	struct twz_store *s;
	int *p, fresh = 5;

	if (twz_store_open(path, NULL, &s) ||
	    twz_shared_get(s, id, 100000, NULL, NULL, (void **)&p, &fresh))
		return 1;
	if (p[0] != 7 || p[20000] != 0 || fresh != 0)
		return 2;
	p[20000] = 8;
	return twz_store_close(s) != 0;
}

static void shared_segment_is_made_once_for_all(void)
{
	const char *path = env_path();
	struct twz_store *s = env_store(path);
	twz_oid id = {{1, 2}}, id2 = {{3, 4}};
	int calls = 0, fresh, *p, *q;

	if (!s)
		return;
	T_ERR(twz_shared_get(s, id, 100000, init_fails, NULL, (void **)&p, &fresh), TWZ_E_NOMEM);
	T_OK(twz_shared_get(s, id, 100000, init_seven, &calls, (void **)&p, &fresh));
	T_EQ(fresh, 1);
	T_OK(twz_shared_get(s, id, 100000, init_seven, &calls, (void **)&q, &fresh));
	T_TRUE(p == q && calls == 1 && fresh == 0);
	T_EQ((uintptr_t)p % 64, 0);
	T_ERR(twz_shared_get(s, id, 99, NULL, NULL, (void **)&q, NULL), TWZ_E_INVAL);
	T_OK(twz_shared_get(s, id2, 5, NULL, NULL, (void **)&q, &fresh));
	T_TRUE(fresh == 1 && q != p && *q == 0);
	T_EQ(t_fork(see_segment, (void *)(uintptr_t)path), 0);
	T_EQ(p[20000], 8);
	env_close(s);
	s = env_store(path); /* nobody had it open: it starts again */
	if (!s)
		return;
	T_OK(twz_shared_get(s, id, 100000, NULL, NULL, (void **)&p, &fresh));
	T_TRUE(fresh == 1 && p[0] == 0);
	env_close(s);
}
BOTH(shared_segment_is_made_once_for_all)

/* --- a medium that fails (D17) --- */

static int fail_writes;
static const struct twz__media_ops *file_ops;
static struct twz__media_ops failing_ops;

static int failing_write_sync(struct twz__media *m, const void *buf, uint64_t off, uint64_t len)
{
	return fail_writes ? TWZ_E_IO : file_ops->write_sync(m, buf, off, len);
}

static int failing_open(void *ctx, const char *path, uint32_t flags, uint64_t len,
			struct twz__media **out, int *created)
{
	int rc = twz__file_backend.open(ctx, path, flags, len, out, created);

	if (rc)
		return rc;
	file_ops = (*out)->ops;
	failing_ops = *file_ops;
	failing_ops.write_sync = failing_write_sync;
	(*out)->ops = &failing_ops;
	return 0;
}

static const struct twz__backend failing_backend = {.version = 1, .open = failing_open};

static void failed_write_fails_the_store_for_all(void)
{
	struct twz_store_options opt = create;
	struct twz_obj_options oo = {.size = sizeof(oo), .len = 4096};
	struct twz_store *s, *other;
	const char *path;
	struct twz_obj *o;

	env_media(0);
	path = env_path();
	opt.backend = &failing_backend;
	T_REQ(twz_store_open(path, &opt, &s));
	T_REQ(twz_store_open(path, NULL, &other));
	T_OK(twz_obj_create(s, &oo, NULL, NULL));
	fail_writes = 1;
	T_ERR(twz_obj_create(s, &oo, NULL, &o), TWZ_E_IO);
	fail_writes = 0;
	T_ERR(twz_obj_create(s, &oo, NULL, &o), TWZ_E_FAILED);
	T_ERR(twz_obj_create(other, &oo, NULL, &o), TWZ_E_FAILED);
	T_HAS(twz_errmsg(), path);
	T_EQ(info_of(other).obj_cnt, 1); /* what is published can be read */
	T_OK(twz_store_close(other));
	T_ERR(twz_store_close(s), TWZ_E_FAILED);
	s = env_store(path);
	if (!s)
		return;
	T_OK(twz_obj_create(s, &oo, NULL, NULL));
	env_close(s);
}

/* --- dump --- */

static void dump_is_stable_text(void)
{
	const char *path = env_path();
	struct twz_store *s = env_store(path);
	struct twz_obj_options oo = {
		.size = sizeof(oo), .len = 8192, .kind = 3, .id = {{0x11, 0x22}}};
	char *text = NULL;
	size_t len = 0;
	FILE *f;

	if (!s)
		return;
	T_OK(twz_obj_create(s, &oo, NULL, NULL));
	f = open_memstream(&text, &len);
	T_OK(twz_dump(s,
		      TWZ_DUMP_OBJECTS | TWZ_DUMP_EXTENTS | TWZ_DUMP_FOT | TWZ_DUMP_JOURNAL |
			      TWZ_DUMP_SPACE,
		      f));
	fclose(f);
	T_HAS(text, "  version 0\n");
	T_HAS(text, "  objects 1\n");
	T_HAS(text,
	      "object 11000000000000002200000000000000 len 8192 kind 3 flags - extents 2 fot 0 space 12288 ctime ");
	T_HAS(text, "  extent slot page 1 count 2 file page ");
	T_HAS(text, "  extent slot page 262143 count 1 file page ");
	T_HAS(text, "  record lsn ");
	free(text);
	env_close(s);
}
BOTH(dump_is_stable_text)

/* --- files in memory --- */

#define MIB ((uint64_t)1 << 20)

static bool whole(struct twz__media *m, uint64_t len)
{
	struct stat st;

	return !fstat(m->fd, &st) && (uint64_t)st.st_size >= len &&
	       st.st_blocks * 512 >= st.st_size;
}

static struct twz__media *memory_file(const char *path)
{
	struct twz__media *m;
	int created;

	unlink(path);
	if (T_OK(twz__file_backend.open(NULL, path, TWZ_STORE_CREATE, MIB, &m, &created)))
		return NULL;
	T_OK(m->ops->publish(m));
	return m;
}

/* Growing makes the file longer before all of it is allocated: a process may die in between. */
static void holes_a_dead_process_left_are_filled(void)
{
	char path[64];
	struct twz__media *m;

	snprintf(path, sizeof(path), "/dev/shm/twz-test-%d", (int)getpid());
	m = memory_file(path);
	if (!m)
		return;
	T_OK(truncate(path, 6 * MIB));
	T_TRUE(!whole(m, 6 * MIB));
	T_OK(m->ops->grow(m, 4 * MIB));
	T_TRUE(whole(m, 6 * MIB));
	T_OK(truncate(path, 9 * MIB));
	T_OK(m->ops->grow(m, 12 * MIB));
	T_TRUE(whole(m, 12 * MIB));
	m->ops->close(m);
	unlink(path);
}

static bool zeros(const uint8_t *p, uint64_t len)
{
	for (uint64_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

/* Whether the kernel has huge pages or not, now or later, makes no difference but speed. */
static void growth_needs_no_huge_pages(void)
{
	uint8_t *addr = mmap(NULL, 64 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char path[64];
	struct twz__media *m;

	snprintf(path, sizeof(path), "/dev/shm/twz-test-%d", (int)getpid());
	m = memory_file(path);
	if (!m)
		return;
	for (uint64_t len = 3; len <= 63; len += 5) {
		T_OK(prctl(PR_SET_THP_DISABLE, len & 1, 0, 0, 0));
		T_OK(m->ops->grow(m, len * MIB));
		T_TRUE(whole(m, len * MIB));
	}
	T_OK(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0));
	T_OK(m->ops->map(m, addr, 0, 63 * MIB, 1));
	T_TRUE(zeros(addr, 63 * MIB));
	munmap(addr, 64 * MIB);
	m->ops->close(m);
	unlink(path);
}

/* Small pages in use become large ones where nothing is a hole: the bytes and the space stay. */
static void small_pages_in_use_are_joined(void)
{
	const uint64_t len = 10 * MIB, hole = 5 * MIB, end = len / TWZ__HUGE_LEN;
	uint64_t pos = 0, chunks = 0, kib;
	bool can = has_large_pages();
	struct twz__media *m;
	struct stat was, st;
	char path[64];
	uint8_t *p;

	snprintf(path, sizeof(path), "/dev/shm/twz-test-%d", (int)getpid());
	m = memory_file(path);
	if (!m)
		return;
	T_OK(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
	T_OK(m->ops->grow(m, len));
	T_OK(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0));
	p = twz__huge_map(len, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
	if (!T_TRUE(p != MAP_FAILED))
		return;
	for (uint64_t i = 0; i < len; i++)
		p[i] = (uint8_t)(i * 2654435761u >> 20);
	T_OK(m->ops->give(m, hole, 4096));
	T_OK(fstat(m->fd, &was));
	T_EQ(large_kib(&was), 0);
	while (m->ops->join(m, &pos))
		T_EQ(pos, ++chunks * TWZ__HUGE_LEN);
	T_EQ(chunks, end);
	T_EQ(pos, len);
	T_OK(fstat(m->fd, &st));
	T_EQ(st.st_size, was.st_size);
	T_EQ(st.st_blocks, was.st_blocks);
	for (uint64_t i = 0; i < len; i++)
		if (p[i] != (i - hole < 4096 ? 0 : (uint8_t)(i * 2654435761u >> 20))) {
			T_EQ(i, UINT64_MAX);
			break;
		}
	kib = large_kib(&st);
	printf("%s large pages: %llu KiB of 10 MiB less 2 ", can ? "has" : "has no",
	       (unsigned long long)kib);
	T_EQ(kib, can ? (end - 1) * TWZ__HUGE_LEN / 1024 : 0);
	munmap(p, len);
	m->ops->close(m);
	unlink(path);
}

static const struct t_case cases[] = {
	BOTH_CASES(data_survive_closing),
	BOTH_CASES(exclusive_creation_refuses_a_store),
	BOTH_CASES(empty_file_becomes_a_store_in_place),
	BOTH_CASES(unfinished_creation_begins_anew),
	BOTH_CASES(interrupted_initialisation_starts_again),
	BOTH_CASES(last_close_leaves_only_a_clean_store),
	BOTH_CASES(created_by_several_at_once),
	BOTH_CASES(killed_process_leaves_its_objects),
	BOTH_CASES(two_handles_of_one_process_share_the_store),
	BOTH_CASES(medium_and_size_are_reported),
	BOTH_CASES(wrong_options_are_refused),
	BOTH_CASES(forked_handles_answer_so_and_harm_nobody),
	BOTH_CASES(dead_parent_is_dead_though_its_child_lives),
	BOTH_CASES(whole_copy_of_an_unclean_store_opens),
	BOTH_CASES(torn_copy_is_refused_and_not_touched),
	BOTH_CASES(shared_segment_is_made_once_for_all),
	T_CASE(failed_write_fails_the_store_for_all),
	BOTH_CASES(dump_is_stable_text),
	T_CASE(holes_a_dead_process_left_are_filled),
	T_CASE(growth_needs_no_huge_pages),
	T_CASE(small_pages_in_use_are_joined),
	T_END,
};

int main(int argc, char **argv)
{
	env_media(0);
	return t_main("store", cases, argc, argv);
}
