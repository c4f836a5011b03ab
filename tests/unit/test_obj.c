/* SPDX-License-Identifier: MIT
 * test_obj.c -- objects: creation, mapping, size, deletion, enumeration, locks (twz/obj.h; paper
 * 3.1)
 */
#include "rt_env.h"

#include "internal.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

static struct twz_obj_stat stat_of(struct twz_obj *o)
{
	struct twz_obj_stat st = {.size = sizeof(st)};

	T_OK(twz_obj_stat(o, &st));
	return st;
}

static uint64_t free_len(struct twz_store *s)
{
	struct twz_store_info info = {.size = sizeof(info)};

	T_OK(twz_store_info(s, &info));
	return info.free_len;
}

static bool all_zero(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

static void new_object_is_zero_and_described(void)
{
	struct twz_store *s = env_store(env_path());
	struct twz_obj_options oo = {.size = sizeof(oo), .len = 5000, .kind = 77};
	struct twz_obj_stat st;
	struct twz_obj *o;
	twz_oid id;

	if (!s || T_OK(twz_obj_create(s, &oo, &id, &o)))
		return;
	st = stat_of(o);
	T_TRUE(twz_oid_eq(st.id, id) && twz_oid_eq(twz_obj_id(o), id) && !twz_oid_is_null(id));
	T_EQ(st.len, 8192);
	T_EQ(st.kind, 77);
	T_EQ(st.fot_cnt, 0);
	T_EQ(st.space_len, 3 * 4096);
	T_EQ(st.open_cnt, 1);
	T_EQ(st.mapped, 1);
	T_TRUE(st.ctime > 1700000000);
	T_EQ((uintptr_t)twz_obj_base(o) % TWZ_SLOT_SIZE, 0);
	T_TRUE(twz_obj_data(o) == (char *)twz_obj_base(o) + TWZ_DATA_OFF);
	T_TRUE(all_zero(twz_obj_data(o), 8192));
	T_TRUE(twz_obj_at((char *)twz_obj_data(o) + 100) == o && twz_obj_at(&st) == NULL &&
	       twz_obj_store(o) == s);
	twz_obj_close(o);
	env_close(s);
}
BOTH(new_object_is_zero_and_described)

static void sizes_are_checked_and_clipped(void)
{
	struct twz_store *s = env_store(env_path());
	struct twz_obj_options oo = {.size = sizeof(oo)};
	struct twz_obj *o;
	twz_oid id;

	if (!s)
		return;
	T_ERR(twz_obj_create(s, &oo, &id, &o), TWZ_E_INVAL);
	oo.len = TWZ_OBJ_SIZE_MAX + 1;
	T_ERR(twz_obj_create(s, &oo, &id, &o), TWZ_E_INVAL);
	oo.len = 4096;
	oo.flags = 1u << 20;
	T_ERR(twz_obj_create(s, &oo, &id, &o), TWZ_E_INVAL);
	T_TRUE(twz_oid_is_null(id) && o == NULL);
	oo.flags = 0;
	oo.id = (twz_oid){{5, 6}};
	T_OK(twz_obj_create(s, &oo, &id, NULL));
	T_TRUE(twz_oid_eq(id, oo.id));
	T_ERR(twz_obj_create(s, &oo, &id, &o), TWZ_E_EXIST);
	T_HAS(twz_errmsg(), "exists already");
	T_ERR(twz_obj_open(s, oo.id, TWZ_WRITE, &o), TWZ_E_INVAL);
	env_close(s);
}
BOTH(sizes_are_checked_and_clipped)

/*
 * The largest object there is: every page can be reached, on a file that takes the room only once.
 */
static void largest_object_works(void)
{
	struct twz_store *s = env_store(env_path());
	struct twz_obj *o = s ? env_obj(s, TWZ_OBJ_SIZE_MAX, NULL) : NULL;
	char *p;

	if (!o)
		return;
	T_EQ(stat_of(o).len, TWZ_DATA_MAX);
	p = twz_obj_data(o);
	p[0] = 1;
	p[TWZ_DATA_MAX / 2] = 2;
	p[TWZ_DATA_MAX - 1] = 3;
	T_TRUE(p[0] == 1 && p[TWZ_DATA_MAX / 2] == 2 && p[TWZ_DATA_MAX - 1] == 3);
	twz_obj_close(o);
	T_OK(twz_store_close(s));
}
BOTH(largest_object_works)

struct touch {
	volatile char *p;
	int write;
};

static int touch(void *arg)
{
	struct touch *t = arg;

	signal(SIGSEGV, SIG_DFL); /* sanitizers have their own handler */
	signal(SIGBUS, SIG_DFL);
	if (t->write)
		*t->p = 1;
	return *t->p == 99;
}

/* In a child the mappings of an inherited store are gone: so it opens the store itself. */
struct fault {
	const char *path;
	twz_oid id;
	uint32_t perm;
	uint64_t off;
	int write;
	struct gate gate;
};

static int fault_in_child(void *arg)
{
	struct fault *f = arg;
	struct twz_store *s;
	struct twz_obj *o;
	struct touch t;

	if (twz_store_open(f->path, NULL, &s) || twz_obj_open(s, f->id, f->perm, &o))
		return 7;
	t = (struct touch){(char *)twz_obj_base(o) + f->off, f->write};
	return touch(&t);
}

static void only_data_are_mapped(void)
{
	struct fault f = {.path = env_path(), .perm = TWZ_READ | TWZ_WRITE};
	struct twz_store *s = env_store(f.path);
	static const uint64_t bad[] = {0, 4095, TWZ_DATA_OFF + 8192, TWZ_TOP_OFF, TWZ_META_OFF - 1};

	if (!s || !env_obj(s, 8192, &f.id))
		return;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		f.off = bad[i];
		T_TRUE(WIFSIGNALED(t_fork(fault_in_child, &f)));
	}
	f.off = TWZ_DATA_OFF + 8191;
	f.write = 1;
	T_EQ(t_fork(fault_in_child, &f), 0);
	f.perm = TWZ_READ;
	T_TRUE(WIFSIGNALED(t_fork(fault_in_child, &f)));
	f.write = 0;
	T_EQ(t_fork(fault_in_child, &f), 0);
	env_close(s);
}
BOTH(only_data_are_mapped)

static void reader_becomes_writer_at_the_same_address(void)
{
	struct twz_store *s = env_store(env_path());
	struct twz_obj *o, *r, *w;
	twz_oid id;

	if (!s || !(o = env_obj(s, 4096, &id)))
		return;
	twz_obj_close(o);
	T_REQ(twz_obj_open(s, id, TWZ_READ, &r));
	T_ERR(twz_obj_resize(r, 8192), TWZ_E_PERM);
	T_REQ(twz_obj_open(s, id, TWZ_READ | TWZ_WRITE, &w));
	T_TRUE(r == w);
	*(char *)twz_obj_data(w) = 5;
	T_EQ(*(char *)twz_obj_data(r), 5);
	T_EQ(stat_of(w).open_cnt, 2);
	twz_obj_close(r);
	twz_obj_close(w);
	env_close(s);
}
BOTH(reader_becomes_writer_at_the_same_address)

static void growth_keeps_addresses_and_gives_zeros(void)
{
	struct twz_store *s = env_store(env_path());
	struct twz_obj *o = s ? env_obj(s, 4096, NULL) : NULL;
	static const uint64_t lens[] = {8192, 100000, 3 << 20, 5000, 2 << 20, 9 << 20};
	uint64_t old = 4096;
	char *p;

	if (!o)
		return;
	p = twz_obj_data(o);
	memset(p, 1, old);
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		uint64_t len = (lens[i] + 4095) & ~(uint64_t)4095;

		T_OK(twz_obj_resize(o, lens[i]));
		T_TRUE(twz_obj_data(o) == p && p[0] == 1);
		T_EQ(stat_of(o).len, len);
		if (len > old)
			T_TRUE(all_zero(p + old, len - old));
		memset(p, 1, len);
		old = len;
	}
	T_ERR(twz_obj_resize(o, 0), TWZ_E_INVAL);
	T_ERR(twz_obj_resize(o, TWZ_OBJ_SIZE_MAX + 1), TWZ_E_INVAL);
	env_close(s);
}
BOTH(growth_keeps_addresses_and_gives_zeros)

static void others_learn_of_growth_and_forbid_shrinking(void)
{
	const char *path = env_path();
	struct twz_store *a = env_store(path), *b = env_store(path);
	struct twz_obj *oa, *ob;
	twz_oid id;

	if (!a || !b || !(oa = env_obj(a, 4096, &id)))
		return;
	T_REQ(twz_obj_open(b, id, TWZ_READ | TWZ_WRITE, &ob));
	T_OK(twz_obj_resize(oa, 3 << 20));
	((char *)twz_obj_data(oa))[2 << 20] = 9;
	T_OK(twz_obj_refresh(ob));
	T_EQ(((char *)twz_obj_data(ob))[2 << 20], 9);
	T_ERR(twz_obj_resize(oa, 4096), TWZ_E_BUSY);
	T_HAS(twz_errmsg(), "open in another process");
	T_EQ(((char *)twz_obj_data(oa))[2 << 20], 9);
	twz_obj_close(ob);
	T_OK(twz_obj_resize(oa, 4096));
	T_OK(twz_store_close(b));
	env_close(a);
}
BOTH(others_learn_of_growth_and_forbid_shrinking)

static void deleted_object_lives_for_those_who_have_it(void)
{
	const char *path = env_path();
	struct twz_store *a = env_store(path), *b = env_store(path);
	struct twz_obj *oa, *ob, *no;
	uint64_t before;
	twz_oid id;

	if (!a || !b || !(oa = env_obj(a, 1 << 20, &id)))
		return;
	T_REQ(twz_obj_open(b, id, TWZ_READ | TWZ_WRITE, &ob));
	strcpy(twz_obj_data(oa), "here");
	before = free_len(a);
	T_OK(twz_obj_delete(a, id));
	T_ERR(twz_obj_open(a, id, TWZ_READ, &no), TWZ_E_NOENT);
	T_ERR(twz_obj_open(b, id, TWZ_READ, &no), TWZ_E_NOENT);
	T_ERR(twz_obj_delete(b, id), TWZ_E_NOENT);
	T_EQ(free_len(a), before);
	twz_obj_close(oa);
	T_EQ(free_len(a), before);
	T_STR((char *)twz_obj_data(ob), "here");
	twz_obj_close(ob);
	T_TRUE(free_len(a) >= before + (1 << 20));
	T_OK(twz_store_close(b));
	env_close(a);
}
BOTH(deleted_object_lives_for_those_who_have_it)

/* The ID of a deleted object is free again as soon as nobody has it open who lives. */
static int hold_open(void *arg)
{
	struct fault *f = arg;
	struct twz_store *s;
	struct twz_obj *o;

	if (twz_store_open(f->path, NULL, &s) || twz_obj_open(s, f->id, TWZ_READ, &o))
		return 1;
	gate_open(&f->gate);
	pause();
	return 2;
}

static void deleted_id_can_be_used_again(void)
{
	struct fault f = {.path = env_path(), .gate = gate_new()};
	struct twz_store *s = env_store(f.path);
	struct twz_obj *o = s ? env_obj(s, 8192, &f.id) : NULL;
	struct twz_obj_options opt = {.size = sizeof(opt), .len = 8192, .id = f.id};
	pid_t kid;

	if (!o)
		return;
	T_ERR(twz_obj_create(s, &opt, NULL, NULL), TWZ_E_EXIST);
	T_HAS(twz_errmsg(), "exists already");
	strcpy(twz_obj_data(o), "old");
	twz_obj_close(o);
	kid = kid_start(hold_open, &f);
	gate_wait(&f.gate);
	T_OK(twz_obj_delete(s, f.id));
	T_ERR(twz_obj_create(s, &opt, NULL, NULL), TWZ_E_EXIST);
	T_HAS(twz_errmsg(), "is deleted but still open");
	kid_kill(kid);
	if (!T_OK(twz_obj_create(s, &opt, NULL, &o))) {
		T_STR((char *)twz_obj_data(o), "");
		twz_obj_close(o);
	}
	env_close(s);
}
BOTH(deleted_id_can_be_used_again)

static int open_delete_and_die(void *arg)
{
	struct fault *f = arg;
	struct twz_store *s;
	struct twz_obj *o;

	if (twz_store_open(f->path, NULL, &s) || twz_obj_open(s, f->id, TWZ_READ, &o) ||
	    twz_obj_delete(s, f->id))
		return 1;
	kill(getpid(), SIGKILL);
	return 2;
}

static void the_dead_keep_nothing(void)
{
	struct fault f = {.path = env_path()};
	struct twz_store *s = env_store(f.path);
	struct twz_obj *o = s ? env_obj(s, 1 << 20, &f.id) : NULL;
	uint64_t before;

	if (!o)
		return;
	twz_obj_close(o);
	before = free_len(s);
	T_TRUE(WIFSIGNALED(t_fork(open_delete_and_die, &f)));
	T_EQ(free_len(s), before);
	env_close(s);
	s = env_store(f.path);
	if (!s)
		return;
	T_TRUE(free_len(s) >= before + (1 << 20));
	env_close(s);
}
BOTH(the_dead_keep_nothing)

static void enumeration_sees_each_object_once(void)
{
	enum { CNT = 50 };
	struct twz_store *s = env_store(env_path());
	struct twz_obj_stat st = {.size = sizeof(st)};
	uint64_t cursor = 0, seen = 0;
	int rc;

	if (!s)
		return;
	for (uint64_t i = 0; i < CNT; i++) {
		struct twz_obj_options oo = {.size = sizeof(oo), .len = 4096, .id = {{i + 1, i}}};

		T_OK(twz_obj_create(s, &oo, NULL, NULL));
	}
	while (!(rc = twz_obj_next(s, &cursor, &st))) {
		uint64_t bit = (uint64_t)1 << (st.id.w[0] - 1);

		T_TRUE(st.id.w[0] >= 1 && st.id.w[0] <= CNT && !(seen & bit));
		seen |= bit;
	}
	T_EQ(rc, TWZ_E_NOENT);
	T_EQ(seen, ((uint64_t)1 << CNT) - 1);
	env_close(s);
}
BOTH(enumeration_sees_each_object_once)

static void log_objects_are_mapped_only_where_stores_are_durable(void)
{
	struct twz_store *s = env_store(env_path());
	struct twz_obj_options oo = {
		.size = sizeof(oo), .len = 1 << 20, .flags = TWZ_OBJ_LOG | TWZ_OBJ_CONTIGUOUS};
	uint64_t file_off, run;
	struct twz_obj *o;
	char buf[16] = "by the file";

	if (!s || T_OK(twz_obj_create(s, &oo, NULL, &o)))
		return;
	T_EQ(stat_of(o).mapped, twz_store_granularity(s) != TWZ_GRAN_PAGE);
	T_OK(twz__obj_file_off(o, TWZ_DATA_OFF + 5000, &file_off, &run));
	T_EQ(run, (1 << 20) - 5000);
	T_OK(s->media->ops->write_sync(s->media, buf, file_off, sizeof(buf)));
	if (twz_store_granularity(s) != TWZ_GRAN_PAGE)
		T_STR((char *)twz_obj_data(o) + 5000, buf);
	T_ERR(twz__obj_file_off(o, TWZ_DATA_OFF + (1 << 20), &file_off, &run), TWZ_E_BOUNDS);
	env_close(s);
}
BOTH(log_objects_are_mapped_only_where_stores_are_durable)

static void fot_grows_below_the_meta_page(void)
{
	const char *path = env_path();
	struct twz_store *s = env_store(path), *b = env_store(path);
	struct twz_obj *o, *ob;
	twz_oid id;

	if (!s || !b || !(o = env_obj(s, 4096, &id)))
		return;
	T_REQ(twz_obj_open(b, id, TWZ_READ | TWZ_WRITE, &ob));
	T_OK(twz__fot_reserve(o, TWZC_FOT_META_CNT + 3 * TWZC_FOT_PAGE_CNT));
	T_EQ(o->fot_pages, 4);
	T_TRUE(all_zero((char *)o->base + TWZ_META_OFF - 4 * 4096, 4 * 4096));
	((char *)o->base)[TWZ_META_OFF - 4 * 4096] = 1;
	T_OK(twz_obj_refresh(ob));
	T_EQ(((char *)ob->base)[TWZ_META_OFF - 4 * 4096], 1);
	((char *)o->base)[TWZ_META_OFF - 4 * 4096] = 0;
	T_ERR(twz__fot_reserve(o, TWZC_FOT_MAX), TWZ_E_NOSPC);
	T_OK(twz_store_close(b));
	env_close(s);
}
BOTH(fot_grows_below_the_meta_page)

/* --- limits --- */

static int exhaust_mappings(void *arg)
{
	struct fault *f = arg;
	const size_t pages = 70000;
	struct twz_store *s;
	struct twz_obj *o;
	char *p = mmap(NULL, pages * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);
	int rc;

	if (p == MAP_FAILED || twz_store_open(f->path, NULL, &s))
		return 1;
	for (size_t i = 0; i < pages; i += 2)
		if (mprotect(p + i * 4096, 4096, PROT_READ))
			break;
	rc = twz_obj_open(s, f->id, TWZ_READ, &o);
	if (rc != TWZ_E_MAPS || !strstr(twz_errmsg(), "vm.max_map_count") ||
	    !strstr(twz_errmsg(), f->path))
		return 2;
	munmap(p, pages * 4096);
	if (twz_obj_open(s, f->id, TWZ_READ, &o) || strcmp(twz_obj_data(o), "here"))
		return 3;
	return twz_store_close(s) ? 4 : 0;
}

static void too_many_mappings_name_the_sysctl(void)
{
	struct fault f = {.path = env_path()};
	struct twz_store *s = env_store(f.path);
	struct twz_obj *o = s ? env_obj(s, 4096, &f.id) : NULL;

	if (!ENV_ROOMY) {
		printf("SKIPPED (sanitizer) ");
		env_close(s);
		return;
	}
	if (!o)
		return;
	strcpy(twz_obj_data(o), "here");
	T_EQ(t_fork(exhaust_mappings, &f), 0);
	env_close(s);
}
BOTH(too_many_mappings_name_the_sysctl)

/* As many objects as slots; one more is an error, and a closed one makes room. */
static void slots_are_reused(void)
{
	struct twz_store *s = env_store(env_path());
	uint64_t cnt = twz_view_rt.slot_cnt;
	struct twz_obj_options oo = {.size = sizeof(oo), .len = 4096};
	struct twz_obj **o = calloc(cnt + 1, sizeof(*o));
	twz_oid id;

	for (uint64_t i = 0; s && i < cnt; i++)
		if (T_OK(twz_obj_create(s, &oo, NULL, &o[i])))
			break;
	T_ERR(twz_obj_create(s, &oo, NULL, &o[cnt]), TWZ_E_MAPS);
	T_HAS(twz_errmsg(), "close objects");
	T_OK(twz_obj_create(s, &oo, &id, NULL)); /* only opening needs a slot */
	twz_obj_close(o[cnt / 2]);
	T_OK(twz_obj_open(s, id, TWZ_READ, &o[cnt]));
	T_OK(twz_store_close(s));
	free(o);
}

static int mapping_cnt(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	int c, n = 0;

	while (f && (c = getc(f)) != EOF)
		n += c == '\n';
	if (f)
		fclose(f);
	return n;
}

/* What a closed object leaves in its slot does not grow, and cannot be read. */
static void reopening_leaves_no_mappings_behind(void)
{
	struct twz_store *s = env_store(env_path());
	int before = 0;
	uintptr_t base;
	struct twz_obj *o;
	twz_oid id;

	if (!s || !(o = env_obj(s, 64 << 10, &id)))
		return;
	base = (uintptr_t)twz_obj_base(o);
	twz_obj_close(o);
	for (int i = 0; i < 50; i++) {
		if (T_OK(twz_obj_open(s, id, TWZ_READ | TWZ_WRITE, &o)))
			break;
		T_EQ((uintptr_t)twz_obj_base(o), base);
		strcpy(twz_obj_data(o), "mine");
		twz_obj_close(o);
		if (i == 9)
			before = mapping_cnt();
	}
	T_TRUE(mapping_cnt() <= before + 1); /* the allocator may have added its own */
	for (uint64_t off = 0; off < TWZ_SLOT_SIZE; off += TWZ_SLOT_SIZE - TWZ_PAGE_SIZE) {
		T_TRUE(msync((void *)(base + off), TWZ_PAGE_SIZE, MS_ASYNC) == 0); /* reserved */
		T_TRUE(WIFSIGNALED(t_fork(touch, &(struct touch){(char *)base + off, 0})));
	}
	T_TRUE(WIFSIGNALED(t_fork(touch, &(struct touch){(char *)base + TWZ_DATA_OFF, 0})));
	env_close(s);
}
BOTH(reopening_leaves_no_mappings_behind)

/* More extents than an entry holds: the rest is read after the lookup. */
static void object_in_many_pieces_opens_whole(void)
{
	struct twz_store *s = env_store(env_path());
	enum { PAGES = 24 };
	struct twz_obj *o[2];
	twz_oid id[2];

	if (!s || !(o[0] = env_obj(s, 4096, &id[0])) || !(o[1] = env_obj(s, 4096, &id[1])))
		return;
	for (uint64_t n = 2; n <= PAGES; n++)
		for (int i = 0; i < 2; i++)
			T_OK(twz_obj_resize(o[i], n * 4096));
	T_TRUE(stat_of(o[0]).extent_cnt > TWZC_EXT_INLINE);
	for (uint64_t n = 0; n < PAGES; n++)
		for (int i = 0; i < 2; i++)
			((uint64_t *)twz_obj_data(o[i]))[n * 512] = n * 2 + (uint64_t)i + 1;
	for (int i = 0; i < 2; i++) {
		twz_obj_close(o[i]);
		T_OK(twz_obj_open(s, id[i], TWZ_READ, &o[i]));
		for (uint64_t n = 0; n < PAGES; n++)
			T_EQ(((uint64_t *)twz_obj_data(o[i]))[n * 512], n * 2 + (uint64_t)i + 1);
	}
	twz_obj_close(o[0]);
	twz_obj_close(o[1]);
	env_close(s);
}
BOTH(object_in_many_pieces_opens_whole)

static void slots_are_reused_line(void)
{
	env_media(1);
	slots_are_reused();
}

/* --- locks --- */

static void *try_lock(void *arg)
{
	return (void *)(intptr_t)twz_obj_lock(arg, 0);
}

static void *wait_lock(void *arg)
{
	int rc = twz_obj_lock(arg, 30);

	return (void *)(intptr_t)(rc ? rc : twz_obj_unlock(arg));
}

static int in_thread(void *(*fn)(void *), void *arg)
{
	pthread_t t;
	void *rc = NULL;

	T_EQ(pthread_create(&t, NULL, fn, arg), 0);
	pthread_join(t, &rc);
	return (int)(intptr_t)rc;
}

static void lock_excludes_threads_and_handles(void)
{
	const char *path = env_path();
	struct twz_store *a = env_store(path), *b = env_store(path);
	struct twz_obj *oa, *ob, *other;
	twz_oid id;

	if (!a || !b || !(oa = env_obj(a, 4096, &id)) || !(other = env_obj(a, 4096, NULL)))
		return;
	T_REQ(twz_obj_open(b, id, TWZ_READ | TWZ_WRITE, &ob));
	T_ERR(twz_obj_unlock(oa), TWZ_E_STATE);
	T_OK(twz_obj_lock(oa, -1));
	T_ERR(twz_obj_lock(oa, -1), TWZ_E_STATE);
	T_ERR(twz_obj_lock(oa, 0), TWZ_E_STATE);
	T_OK(twz_obj_lock(other, 0)); /* another object, another lock */
	T_EQ(in_thread(try_lock, oa), TWZ_E_BUSY);
	T_EQ(in_thread(try_lock, ob), TWZ_E_BUSY);
	T_EQ(in_thread(wait_lock, ob), TWZ_E_TIMEOUT);
	T_OK(twz_obj_unlock(oa));
	T_EQ(in_thread(wait_lock, ob), 0);
	T_OK(twz_obj_unlock(other));
	T_OK(twz_obj_lock(oa, 0));
	twz_obj_close(oa); /* gives the lock back */
	T_OK(twz_obj_lock(ob, 0));
	T_OK(twz_obj_unlock(ob));
	T_OK(twz_store_close(b));
	env_close(a);
}
BOTH(lock_excludes_threads_and_handles)

static int lock_change_and_die(void *arg)
{
	struct fault *f = arg;
	struct twz_store *s;
	struct twz_obj *o;
	struct twz_tx *tx;

	if (twz_store_open(f->path, NULL, &s) || twz_obj_open(s, f->id, TWZ_READ | TWZ_WRITE, &o) ||
	    twz_obj_lock(o, -1))
		return 1;
	if (twz_tx_begin(s, &tx) || twz_tx_record(tx, twz_obj_data(o), 8))
		return 2;
	strcpy(twz_obj_data(o), "torn");
	kill(getpid(), SIGKILL);
	return 3;
}

/* D8: whoever gets the lock of a dead owner finds the owner's transaction rolled back. */
static void dead_owner_is_rolled_back_before_the_lock_is_granted(void)
{
	struct fault f = {.path = env_path()};
	struct twz_store *s = env_store(f.path);
	struct twz_obj *o = s ? env_obj(s, 4096, &f.id) : NULL;

	if (!o)
		return;
	strcpy(twz_obj_data(o), "whole");
	T_OK(twz_sync(s, twz_obj_data(o), 6));
	for (int i = 0; i < 5; i++) {
		pid_t pid = kid_start(lock_change_and_die, &f);

		while (strcmp(twz_obj_data(o), "torn")) {
			int status;

			if (waitpid(pid, &status, WNOHANG) == pid) {
				T_TRUE(WIFSIGNALED(status));
				break;
			}
		}
		T_OK(twz_obj_lock(o, -1)); /* the kid may not be quite dead yet */
		T_STR((char *)twz_obj_data(o), "whole");
		T_OK(twz_obj_unlock(o));
		kid_wait(pid);
	}
	env_close(s);
}
BOTH(dead_owner_is_rolled_back_before_the_lock_is_granted)

/* --- threads --- */

struct crowd {
	struct twz_store *s;
	twz_oid shared;
	uint64_t seed;
	int bad;
};

static void *work(void *arg)
{
	struct crowd *c = arg;
	struct twz_obj_options oo = {.size = sizeof(oo)};
	uint64_t rng = c->seed | 1;

	for (int i = 0; i < 40; i++) {
		struct twz_obj *o = NULL, *common = NULL;
		twz_oid id;

		rng = rng * 6364136223846793005u + 1442695040888963407u;
		oo.len = 4096 + (rng >> 40) % 20000;
		c->bad += twz_obj_open(c->s, c->shared, TWZ_READ | TWZ_WRITE, &common) != 0;
		c->bad += twz_obj_create(c->s, &oo, &id, &o) != 0;
		if (c->bad)
			return NULL;
		*(uint64_t *)twz_obj_data(o) = rng;
		c->bad += twz_obj_resize(o, oo.len + 8192) != 0;
		c->bad += twz_obj_lock(common, -1) != 0;
		++*(uint64_t *)twz_obj_data(common);
		c->bad += twz_obj_unlock(common) != 0;
		c->bad += *(uint64_t *)twz_obj_data(o) != rng;
		twz_obj_close(common);
		if (i % 2)
			c->bad += twz_obj_delete(c->s, id) != 0;
		twz_obj_close(o);
	}
	return NULL;
}

static void threads_share_a_store(void)
{
	enum { CNT = 4 };
	struct twz_store *s = env_store(env_path());
	struct crowd c[CNT];
	pthread_t t[CNT];
	struct twz_obj *o;
	twz_oid id;

	if (!s || !(o = env_obj(s, 4096, &id)))
		return;
	for (int i = 0; i < CNT; i++) {
		c[i] = (struct crowd){.s = s, .shared = id, .seed = t_rand()};
		T_EQ(pthread_create(&t[i], NULL, work, &c[i]), 0);
	}
	for (int i = 0; i < CNT; i++) {
		pthread_join(t[i], NULL);
		T_EQ(c[i].bad, 0);
	}
	T_EQ(*(uint64_t *)twz_obj_data(o), CNT * 40);
	twz_obj_close(o);
	env_close(s);
}
BOTH(threads_share_a_store)

static const struct t_case cases[] = {
	BOTH_CASES(new_object_is_zero_and_described),
	BOTH_CASES(sizes_are_checked_and_clipped),
	BOTH_CASES(largest_object_works),
	BOTH_CASES(only_data_are_mapped),
	BOTH_CASES(reader_becomes_writer_at_the_same_address),
	BOTH_CASES(growth_keeps_addresses_and_gives_zeros),
	BOTH_CASES(others_learn_of_growth_and_forbid_shrinking),
	BOTH_CASES(deleted_object_lives_for_those_who_have_it),
	BOTH_CASES(deleted_id_can_be_used_again),
	BOTH_CASES(the_dead_keep_nothing),
	BOTH_CASES(enumeration_sees_each_object_once),
	BOTH_CASES(log_objects_are_mapped_only_where_stores_are_durable),
	BOTH_CASES(fot_grows_below_the_meta_page),
	BOTH_CASES(too_many_mappings_name_the_sysctl),
	BOTH_CASES(reopening_leaves_no_mappings_behind),
	BOTH_CASES(object_in_many_pieces_opens_whole),
	T_CASE(slots_are_reused_line),
	BOTH_CASES(lock_excludes_threads_and_handles),
	BOTH_CASES(dead_owner_is_rolled_back_before_the_lock_is_granted),
	BOTH_CASES(threads_share_a_store),
	T_END,
};

int main(int argc, char **argv)
{
	env_media(0);
	return t_main("obj", cases, argc, argv);
}
