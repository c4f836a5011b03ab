/* SPDX-License-Identifier: MIT
 * test_readonly.c -- stores opened to be read only: nothing of the file changes, whoever may do what (TWZ_STORE_READONLY)
 */
#include "rt_env.h"

#include "backend.h"

#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const struct twz_store_options ro = {.size = sizeof(ro), .flags = TWZ_STORE_READONLY};

static struct twz_store_info info_of(struct twz_store *s)
{
	struct twz_store_info info = {.size = sizeof(info)};

	T_OK(twz_store_info(s, &info));
	return info;
}

static bool has_companion(const char *path)
{
	char lock[700];

	snprintf(lock, sizeof(lock), "%s-lock", path);
	return env_exists(lock);
}

/* What the store says of itself but for what every opening for writing changes. */
static char *tell(struct twz_store *s)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	T_OK(twz_dump(s, TWZ_DUMP_OBJECTS | TWZ_DUMP_EXTENTS | TWZ_DUMP_FOT | TWZ_DUMP_NAMES, f));
	fclose(f);
	return text;
}

/* The part that lists objects, which no superblock and no generation is in. */
static const char *objects_of(const char *text)
{
	const char *p = strstr(text, "object ");

	return p ? p : text;
}

/* --- a store nobody has open --- */

struct scene {
	char path[600];
	twz_oid id;
};

/* Committed: objects, a name, 4096 bytes of 'c'. Then a transaction that a kill cuts off, and an unfinished undo log. */
static int make_and_die(void *arg)
{
	struct scene *sc = arg;
	struct twz_obj_options opt = {.size = sizeof(opt), .len = 8192, .id = sc->id};
	struct twz_store *s = env_store(sc->path);
	struct twz_tx *tx;
	struct twz_obj *o;

	if (!s || twz_obj_create(s, &opt, NULL, &o))
		return 1;
	memset(twz_obj_data(o), 'c', 4096);
	if (twz_sync(s, twz_obj_data(o), 4096) || twz_name_set(s, "the one", sc->id, 0))
		return 1;
	for (int i = 0; i < 40; i++)
		if (!env_obj(s, 5000 + (uint64_t)i * 100, NULL))
			return 1;
	if (twz_tx_begin(s, &tx) || twz_tx_record(tx, twz_obj_data(o), 4096))
		return 1;
	memset(twz_obj_data(o), 'u', 4096);
	if (twz_sync(s, twz_obj_data(o), 4096))
		return 1;
	kill(getpid(), SIGKILL);
	return 1;
}

static struct scene unclean(void)
{
	struct scene sc = {.id = {{7, 7}}};
	char lock[700];

	snprintf(sc.path, sizeof(sc.path), "%s", env_path());
	T_TRUE(WIFSIGNALED(t_fork(make_and_die, &sc)));
	snprintf(lock, sizeof(lock), "%s-lock", sc.path);
	unlink(lock);
	return sc;
}

static bool committed_only(struct twz_store *s, const struct scene *sc)
{
	struct twz_obj *o;
	bool ok = true;
	twz_oid id;

	if (T_OK(twz_name_get(s, "the one", &id)) || T_OK(twz_obj_open(s, id, TWZ_READ, &o)))
		return false;
	ok &= T_TRUE(twz_oid_eq(id, sc->id));
	for (int i = 0; i < 4096 && ok; i++)
		ok = ((char *)twz_obj_data(o))[i] == 'c';
	twz_obj_close(o);
	return T_TRUE(ok);
}

static void unclean_store_is_read_as_recovery_would_leave_it(void)
{
	struct scene sc = unclean();
	struct env_file before = env_read(sc.path);
	char *mine, *theirs;
	struct twz_store *s;

	T_REQ(twz_store_open(sc.path, &ro, &s));
	T_EQ(info_of(s).was_unclean, 1);
	T_EQ(info_of(s).is_private, 1);
	T_TRUE(committed_only(s, &sc));
	env_check(s);
	mine = tell(s);
	T_TRUE(!has_companion(sc.path));
	T_OK(twz_store_close(s));
	T_TRUE(env_same(sc.path, &before));
	T_TRUE(!has_companion(sc.path));
	s = env_store(sc.path);
	T_EQ(info_of(s).was_unclean, 1);
	T_TRUE(committed_only(s, &sc));
	theirs = tell(s);
	T_STR(objects_of(mine), objects_of(theirs));
	env_close(s);
	free(mine);
	free(theirs);
	env_free(&before);
}
BOTH(unclean_store_is_read_as_recovery_would_leave_it)

static void what_changes_something_is_refused(void)
{
	const char *path = env_path();
	struct twz_store *s = env_store(path);
	struct twz_obj_options opt = {.size = sizeof(opt), .len = 8192};
	struct twz_obj *o = env_obj(s, 8192, NULL);
	struct twz_store_options both = {.size = sizeof(both),
					 .flags = TWZ_STORE_READONLY | TWZ_STORE_CREATE};
	twz_oid id = twz_obj_id(o);
	struct twz_tx *tx;
	struct env_file before;

	T_OK(twz_arena_create(o, TWZ_DATA_OFF));
	T_OK(twz_name_set(s, "n", id, 0));
	env_close(s);
	before = env_read(path);
	T_ERR(twz_store_open(path, &both, &s), TWZ_E_INVAL);
	T_REQ(twz_store_open(path, &ro, &s));
	T_EQ(info_of(s).was_unclean, 0);
	T_EQ(info_of(s).read_only, 1);
	T_OK(twz_obj_open(s, id, TWZ_READ | TWZ_WRITE, &o));
	T_ERR(twz_obj_create(s, &opt, NULL, NULL), TWZ_E_READONLY);
	T_HAS(twz_errmsg(), path);
	T_ERR(twz_obj_delete(s, id), TWZ_E_READONLY);
	T_ERR(twz_obj_resize(o, 100000), TWZ_E_READONLY);
	T_ERR(twz_name_set(s, "m", id, 0), TWZ_E_READONLY);
	T_ERR(twz_name_del(s, "n"), TWZ_E_READONLY);
	T_ERR(twz_fot_set(o, 5, (twz_oid){{1, 2}}, TWZ_READ), TWZ_E_READONLY);
	T_ERR(twz_tx_begin(s, &tx), TWZ_E_READONLY);
	T_ERR(twz_log_create(s, 0, &id), TWZ_E_READONLY);
	T_ERR(twz_arena_create(o, TWZ_DATA_OFF), TWZ_E_READONLY);
	/* A stray store is this handle's own. */
	memset(twz_obj_data(o), 0xff, 4096);
	T_OK(twz_sync(s, twz_obj_data(o), 4096));
	twz_obj_close(o);
	T_OK(twz_store_close(s));
	T_TRUE(env_same(path, &before));
	env_free(&before);
}
BOTH(what_changes_something_is_refused)

static void what_is_no_store_is_said_to_be_none(void)
{
	const char *path = env_path(), *empty = env_path();
	struct env_file none = {(unsigned char *)"", 0}, junk = {calloc(1, 300000), 300000};
	struct twz_store *s;

	T_ERR(twz_store_open(path, &ro, &s), TWZ_E_NOENT);
	T_TRUE(!env_exists(path));
	env_write(empty, &none);
	T_ERR(twz_store_open(empty, &ro, &s), TWZ_E_NOTSTORE);
	memset(junk.data, 'j', junk.len);
	env_write(path, &junk);
	T_ERR(twz_store_open(path, &ro, &s), TWZ_E_NOTSTORE);
	T_TRUE(env_same(path, &junk) && env_same(empty, &none));
	env_free(&junk);
}
BOTH(what_is_no_store_is_said_to_be_none)

/* --- the image beneath --- */

static struct twz__media *image_of(const char *path)
{
	struct twz__media *m, *image;
	int created;

	if (T_OK(twz__file_backend.open(NULL, path, TWZ_STORE_READONLY, 0, &m, &created)) ||
	    T_OK(twz__private_media(m, &image)))
		return NULL;
	return image;
}

/* Private mappings do not share what is stored in one of them: the image carries it over. */
static void stores_reach_all_mappings_of_a_page(void)
{
	const char *path = env_path();
	char *a = mmap(NULL, 6 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *b = a + 3 * 4096, c[8];
	struct env_file before;
	struct twz__media *m;

	env_close(env_store(path));
	before = env_read(path);
	m = image_of(path);
	if (!m)
		return;
	T_OK(m->ops->map(m, a, 20 * 4096, 3 * 4096, 1));
	T_OK(m->ops->map(m, b, 21 * 4096, 2 * 4096,
			 1)); /* its first page is the second of the other */
	memcpy(a + 2 * 4096 - 3, "across", 6);
	m->ops->flush(m, a + 2 * 4096 - 3, 6);
	T_TRUE(!memcmp(b + 4096 - 3, "across", 6));
	memcpy(b, "back", 4);
	m->ops->flush(m, b, 4);
	T_TRUE(!memcmp(a + 4096, "back", 4));
	T_OK(m->ops->read(m, c, 21 * 4096, 4));
	T_TRUE(!memcmp(c, "back", 4));
	T_OK(m->ops->write_sync(m, "written", 22 * 4096 + 8, 7));
	T_TRUE(!memcmp(a + 2 * 4096 + 8, "written", 7) && !memcmp(b + 4096 + 8, "written", 7));
	/* Only half of it is mapped still, then mapped again. */
	T_OK(m->ops->unmap(m, a + 4096, 4096, 0));
	m->ops->copy_nt(m, b, "more", 4);
	T_TRUE(!memcmp(a + 2 * 4096 + 8, "written", 7));
	T_OK(m->ops->map(m, a + 4096, 21 * 4096, 4096, 1));
	T_TRUE(!memcmp(a + 4096, "more", 4));
	T_OK(m->ops->zero(m, 21 * 4096, 4096));
	T_TRUE(!a[4096] && !b[0]);
	T_ERR(m->ops->grow(m, before.len + 4096), TWZ_E_READONLY);
	T_ERR(m->ops->read(m, c, before.len - 4, 8), TWZ_E_TRUNCATED);
	m->ops->close(m);
	munmap(a, 6 * 4096);
	T_TRUE(env_same(path, &before));
	env_free(&before);
}

static void stores_reach_all_mappings_of_a_page_page(void)
{
	env_media(0);
	stores_reach_all_mappings_of_a_page();
}

/* --- beside others --- */

static void beside_others_it_is_one_of_them(void)
{
	const char *path = env_path();
	struct twz_store *w = env_store(path), *r;
	struct twz_obj *o = env_obj(w, 8192, NULL), *p;

	strcpy(twz_obj_data(o), "now");
	T_REQ(twz_store_open(path, &ro, &r));
	T_EQ(info_of(r).is_private, 0);
	T_EQ(info_of(r).process_cnt, 2);
	T_OK(twz_store_hold(r));
	T_OK(twz_obj_open(r, twz_obj_id(o), TWZ_READ, &p));
	T_STR((char *)twz_obj_data(p), "now");
	strcpy(twz_obj_data(o), "then");
	T_STR((char *)twz_obj_data(p), "then");
	T_ERR(twz_obj_delete(r, twz_obj_id(o)), TWZ_E_READONLY);
	twz_store_let(r);
	twz_obj_close(o);
	T_OK(twz_store_close(w));
	/* Now it is the last: the store is left clean all the same. */
	twz_obj_close(p);
	T_OK(twz_store_close(r));
	T_TRUE(!has_companion(path));
	w = env_store(path);
	T_EQ(info_of(w).was_unclean, 0);
	env_close(w);
}
BOTH(beside_others_it_is_one_of_them)

static void writer_waits_for_who_holds_an_image(void)
{
	const char *path = env_path();
	struct twz_store *s = env_store(path), *r, *r2;

	env_close(s);
	T_REQ(twz_store_open(path, &ro, &r));
	T_REQ(twz_store_open(path, &ro, &r2)); /* readers are in nobody's way */
	T_OK(twz_store_close(r2));
	T_ERR(twz_store_open(path, NULL, &s), TWZ_E_BUSY);
	T_HAS(twz_errmsg(), "being read");
	T_OK(twz_store_hold(r));
	twz_store_let(r);
	twz_store_let(r); /* that of the opening */
	T_OK(twz_store_hold(r));
	twz_store_let(r);
	s = env_store(path);
	T_ERR(twz_store_hold(r), TWZ_E_STALE);
	T_HAS(twz_errmsg(), "open it again");
	env_close(s);
	/* Nobody has it open any more, and yet it is another store than the one that was read. */
	T_ERR(twz_store_hold(r), TWZ_E_STALE);
	T_OK(twz_store_close(r));
	T_REQ(twz_store_open(path, &ro, &r));
	T_OK(twz_store_close(r));
}

static void writer_waits_for_who_holds_an_image_page(void)
{
	env_media(0);
	writer_waits_for_who_holds_an_image();
}

/* --- without permission --- */

/* As a user who may do nothing but what the permissions of the others say. */
static bool become_nobody(void)
{
	if (geteuid())
		return true;
	return !setgroups(0, NULL) && !setgid(65534) && !setuid(65534);
}

static int read_as_nobody(void *arg)
{
	struct scene *sc = arg;
	struct twz_store *s;

	if (!become_nobody() || !access(sc->path, W_OK))
		return 2;
	if (twz_store_open(sc->path, NULL, &s) != TWZ_E_READONLY)
		return 3;
	if (T_OK(twz_store_open(sc->path, &ro, &s)))
		return 4;
	if (!committed_only(s, sc) || info_of(s).is_private != 1)
		return 5;
	return twz_store_close(s) ? 6 : 0;
}

static void no_permission_to_write_is_needed(void)
{
	struct scene sc = unclean();
	struct env_file before = env_read(sc.path);
	char dir[700];

	snprintf(dir, sizeof(dir), "%s", sc.path);
	*strrchr(dir, '/') = '\0';
	T_OK(chmod(sc.path, 0444));
	T_OK(chmod(dir, 0555));
	T_EQ(t_fork(read_as_nobody, &sc), 0);
	T_OK(chmod(dir, 0755));
	T_TRUE(env_same(sc.path, &before));
	env_free(&before);
	T_OK(chmod(sc.path, 0644));
	env_close(env_store(sc.path));
}
BOTH(no_permission_to_write_is_needed)

struct watch {
	char path[600];
	twz_oid id;
	struct gate go, done;
};

static bool text_is(struct twz_obj *o, const char *want)
{
	return !strcmp(twz_obj_data(o), want);
}

/* Each step after a change of the parent's; the exit code tells which failed. */
static int watch_as_nobody(void *arg)
{
	struct watch *w = arg;
	struct twz_store *s;
	struct twz_obj *o, *p;
	void *seg;
	twz_oid id;

	if (!become_nobody() || !access(w->path, W_OK))
		return 2;
	if (T_OK(twz_store_open(w->path, &ro, &s)) || info_of(s).is_watch != 1)
		return 3;
	if (twz_name_get(s, "one", &id) || twz_obj_open(s, id, TWZ_READ, &o) ||
	    !text_is(o, "first"))
		return 4;
	if (twz_name_set(s, "two", id, 0) != TWZ_E_READONLY ||
	    twz_shared_get(s, id, 64, NULL, NULL, &seg, NULL) != TWZ_E_BUSY)
		return 5;
	gate_open(&w->done);
	gate_wait(&w->go);
	if (!text_is(o, "second") || twz_obj_refresh(o) || twz_obj_len(o) < 300000 ||
	    strcmp((char *)twz_obj_data(o) + 250000, "grown"))
		return 6;
	if (twz_name_get(s, "new", &id) || twz_obj_open(s, id, TWZ_READ, &p) || !text_is(p, "new"))
		return 7;
	twz_obj_close(p);
	if (twz_pin(s, 5, 1000) || twz_pin(s, 5, 900) || twz_pin(s, 6, 10) || twz_pin(s, 5, 900))
		return 8;
	twz_unpin(s, 5, 900);
	gate_open(&w->done);
	gate_wait(&w->go);
	twz_store_let(s);
	gate_open(&w->done);
	gate_wait(&w->go);
	if (twz_store_hold(s) != TWZ_E_STALE)
		return 9;
	twz_obj_close(o);
	if (twz_store_close(s) || T_OK(twz_store_open(w->path, &ro, &s)))
		return 10;
	return info_of(s).is_private != 1 || twz_store_close(s) ? 11 : 0;
}

/* It stores nothing anywhere, so nothing but what it locks tells that it is there. */
static void without_permission_a_store_in_use_is_watched(void)
{
	struct watch w = {.go = gate_new(), .done = gate_new()};
	char dir[600];
	struct twz_store *s;
	struct twz_obj *o, *n;
	pid_t kid;

	snprintf(w.path, sizeof(w.path), "%s", env_path());
	snprintf(dir, sizeof(dir), "%s", w.path);
	*strrchr(dir, '/') = '\0';
	s = env_store(w.path);
	o = env_obj(s, 8192, &w.id);
	strcpy(twz_obj_data(o), "first");
	T_OK(twz_name_set(s, "one", w.id, 0));
	T_OK(chmod(dir, 0755));
	T_OK(chmod(w.path, 0444));
	kid = kid_start(watch_as_nobody, &w);
	gate_wait(&w.done);
	strcpy(twz_obj_data(o), "second");
	T_OK(twz_obj_resize(o, 300000));
	strcpy((char *)twz_obj_data(o) + 250000, "grown");
	n = env_obj(s, 8192, &w.id);
	strcpy(twz_obj_data(n), "new");
	T_OK(twz_name_set(s, "new", w.id, 0));
	twz_obj_close(n);
	gate_open(&w.go);
	gate_wait(&w.done);
	T_EQ(twz_pin_min(s, 5, 5000), 900);
	T_EQ(twz_pin_min(s, 5, 901), 900);
	T_EQ(twz_pin_min(s, 5, 900), 900);
	T_EQ(twz_pin_min(s, 6, 5000), 10);
	T_EQ(twz_pin_min(s, 7, 5000), 5000);
	twz_obj_close(o);
	T_OK(twz_store_close(s));
	/* It holds the store, so a new life of it cannot begin. */
	T_OK(chmod(w.path, 0644));
	T_ERR(twz_store_open(w.path, NULL, &s), TWZ_E_BUSY);
	T_OK(chmod(w.path, 0444));
	gate_open(&w.go);
	gate_wait(&w.done);
	T_OK(chmod(w.path, 0644));
	s = env_store(w.path);
	env_close(s);
	gate_open(&w.go);
	T_EQ(kid_wait(kid), 0);
}

static void without_permission_a_store_in_use_is_watched_line(void)
{
	env_media(1);
	without_permission_a_store_in_use_is_watched();
}

/* A read-only mount over the directory, in a mount name space of its own. 77: may not be made here. */
static int read_on_read_only_media(void *arg)
{
	struct scene *sc = arg;
	char dir[600];
	struct twz_store *s;

	snprintf(dir, sizeof(dir), "%s", sc->path);
	*strrchr(dir, '/') = '\0';
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount(dir, dir, NULL, MS_BIND, NULL) ||
	    mount(NULL, dir, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL))
		return 77;
	if (twz_store_open(sc->path, NULL, &s) != TWZ_E_READONLY)
		return 3;
	if (T_OK(twz_store_open(sc->path, &ro, &s)))
		return 4;
	if (!committed_only(s, sc))
		return 5;
	return twz_store_close(s) ? 6 : 0;
}

static void read_only_media_can_be_read(void)
{
	struct scene sc = unclean();
	int status = t_fork(read_on_read_only_media, &sc);

	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		printf("(no mount allowed here: not tested) ");
	else
		T_EQ(status, 0);
	env_close(env_store(sc.path));
}
BOTH(read_only_media_can_be_read)

static const struct t_case cases[] = {
	BOTH_CASES(unclean_store_is_read_as_recovery_would_leave_it),
	BOTH_CASES(what_changes_something_is_refused),
	BOTH_CASES(what_is_no_store_is_said_to_be_none),
	T_CASE(stores_reach_all_mappings_of_a_page_page),
	BOTH_CASES(beside_others_it_is_one_of_them),
	T_CASE(writer_waits_for_who_holds_an_image_page),
	BOTH_CASES(no_permission_to_write_is_needed),
	T_CASE(without_permission_a_store_in_use_is_watched_line),
	BOTH_CASES(read_only_media_can_be_read),
	T_END,
};

int main(int argc, char **argv)
{
	env_media(0);
	return t_main("readonly", cases, argc, argv);
}
