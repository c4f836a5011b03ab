/* SPDX-License-Identifier: MIT
 * db.c -- opening and creating databases, and mapping their objects
 *
 * A database NAME is: a root object bound to the name db/NAME, a log, data objects. Creating one
 * builds all of them first; binding the name is the commit point. What a crash leaves before it
 * is unreachable and swept by the next creation.
 */
#include "group.h"

#include <limits.h>
#include <unistd.h>
#include <uuid/uuid.h>
#include <xxhash.h>

#define NAME_DIR    "db/"
#define KIND_ROOT   1 /* twz_obj_stat.kind */
#define KIND_DATA   2
#define CARRY_MIN   ((uint64_t)64 << 10)
#define CARRY_SHARE 64 /* of the ring: 1 MiB of the usual one */
#define INITIAL_LEN ((uint64_t)1 << 20)

/* --- stores of this process --- */

static pthread_mutex_t stores_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct twzdb__store *stores;
uint64_t twzdb__fork_gen;

static void at_fork_child(void)
{
	__atomic_fetch_add(&twzdb__fork_gen, 1, __ATOMIC_RELAXED);
	pthread_mutex_init(&stores_mutex, NULL);
	stores = NULL; /* the parent's; twz has unmapped them here */
	twzdb__handles_forked();
}

static void register_fork(void)
{
	pthread_atfork(NULL, NULL, at_fork_child);
}

int twzdb__forked(void)
{
	return twzdb__err(TWZ_E_FORKED,
			  "a database handle does not survive fork: open it again in the child");
}

/* A file that was deleted or renamed is another store than the one that has its name now. */
static struct twzdb__store *store_find(const char *path, const struct twz_store_options *so)
{
	for (struct twzdb__store *st = stores; st; st = st->next)
		if (!strcmp(st->path, path) && st->backend == so->backend && !st->stale &&
		    st->read_only == !!(so->flags & TWZ_STORE_READONLY) &&
		    twz_store_is_at(st->s, path))
			return st;
	return NULL;
}

/* The file may not exist yet: then its directory decides which file the path means. */
static char *canonical(const char *path)
{
	char *full = realpath(path, NULL), *dir, *slash, *out = NULL;

	if (full || errno != ENOENT)
		return full ? full : strdup(path);
	dir = strdup(path);
	if (!dir)
		return NULL;
	slash = strrchr(dir, '/');
	if (slash)
		*slash = 0;
	full = realpath(!slash ? "." : *dir ? dir : "/", NULL);
	if (full && asprintf(&out, "%s/%s", full, slash ? slash + 1 : path) < 0)
		out = NULL;
	free(full);
	free(dir);
	return out ? out : strdup(path);
}

static int store_new(const char *path, char *full, const struct twz_store_options *so,
		     struct twzdb__store **out)
{
	struct twz_store_info info = {.size = sizeof(info)};
	struct twzdb__store *st = calloc(1, sizeof(*st));
	int err;

	if (!st)
		return twzdb__err(-ENOMEM, "open: no memory");
	err = twz_store_open(path, so, &st->s);
	if (!err && so->flags & TWZ_STORE_READONLY)
		err = twz_store_info(st->s, &info);
	if (err) {
		twz_store_close(st->s);
		free(st);
		return twzdb__from_twz(err, "open");
	}
	st->read_only = info.read_only;
	st->watch = info.is_watch;
	st->path = full;
	st->backend = so->backend;
	st->pid = getpid();
	st->next = stores;
	stores = st;
	*out = st;
	return 0;
}

/* Open PATH, or share this process's handle of it; the store is held then. stores_mutex is held. */
static int store_get(const char *path, const struct twzdb_options *opt, struct twzdb__store **out)
{
	struct twz_store_options so = {.size = sizeof(so)};
	char *full = canonical(path);
	int err;

	if (opt->store_options)
		so = *(const struct twz_store_options *)opt->store_options;
	if (opt->flags & TWZDB_CREATE)
		so.flags |= TWZ_STORE_CREATE;
	if (opt->flags & TWZDB_READONLY)
		so.flags |= TWZ_STORE_READONLY;
	if (!full)
		return twzdb__err(-ENOMEM, "open: no memory");
	while ((*out = store_find(full, &so))) {
		(*out)->stale = twz_store_hold((*out)->s) == TWZ_E_STALE;
		if ((*out)->stale)
			continue;
		free(full);
		(*out)->refs++;
		return 0;
	}
	err = store_new(path, full, &so, out);
	if (err)
		free(full);
	else
		(*out)->refs = 1;
	return err;
}

static int store_put(struct twzdb__store *st)
{
	struct twzdb__store **at = &stores;
	int err = 0;

	if (--st->refs)
		return 0;
	while (*at && *at != st)
		at = &(*at)->next;
	if (*at)
		*at = st->next;
	err = twz_store_close(st->s);
	free(st->path);
	free(st);
	return err ? twzdb__from_twz(err, "close") : 0;
}

/* --- objects --- */

/* A data object that its entry calls a log would be a fault at the first touch (D10). */
int twzdb__obj_open(struct twz_store *s, twz_oid id, uint32_t perm, const char *what,
		    struct twz_obj **out)
{
	int err = twz_obj_open(s, id, perm, out);

	if (err)
		return twzdb__from_twz(err, what);
	if (twz_obj_data(*out))
		return 0;
	twz_obj_close(*out);
	*out = NULL;
	return twzdb__corrupt_obj(s, id, "it belongs to a database and says it is a log");
}

static int map_open(struct twzdb *db, uint32_t no, twz_oid id)
{
	struct twzdb__map *m = &db->map[no];
	struct twz_obj *o;
	void *units = NULL;
	int err = twzdb__obj_open(db->s, id, db->watch ? TWZ_READ : TWZ_READ | TWZ_WRITE,
				  "object of the database", &o);

	if (err)
		return err;
	if (no >= TWZDB_NO_DATA && db->watch)
		units = twzdb__watch_units(db, id);
	else if (no >= TWZDB_NO_DATA)
		err = twz_shared_get(db->s, id, TWZDB_UNITS_PER_OBJ * sizeof(uint32_t), NULL, NULL,
				     &units, NULL);
	if (err) {
		twz_obj_close(o);
		return twzdb__from_twz(err, "unit table");
	}
	m->obj = o;
	m->units = units;
	m->base = (uintptr_t)twz_obj_base(o);
	st64_rel(&m->end, TWZ_DATA_OFF + twz_obj_len(o));
	return 0;
}

static int map_obj_locked(struct twzdb *db, uint32_t no)
{
	struct twz_fot_info fot;
	int err;

	if (db->map[no].obj)
		return 0;
	err = twz_fot_get(db->map[TWZDB_NO_ROOT].obj, no, &fot);
	if (err || twz_oid_is_null(fot.id))
		return twzdb__corrupt(db, twz_pptr_make(no, 0).v, "no such object in the database");
	return map_open(db, no, fot.id);
}

int twzdb__map_obj(struct twzdb *db, uint32_t no)
{
	int err;

	if (no < TWZDB_NO_ROOT || no >= TWZDB_NO_DATA + TWZDB_OBJ_MAX)
		return twzdb__corrupt(db, twz_pptr_make(no, 0).v, "no such object in the database");
	if (ld64_acq(&db->map[no].end))
		return 0;
	pthread_mutex_lock(&db->mutex);
	err = map_obj_locked(db, no);
	pthread_mutex_unlock(&db->mutex);
	return err;
}

void *twzdb__at_slow(struct twzdb *db, uint64_t p, uint64_t len)
{
	uint64_t no = p >> TWZ_PPTR_OFF_BITS, off = p & TWZ_PPTR_OFF_MASK;
	struct twzdb__map *m;

	if (no < TWZDB_NO_ROOT || no >= TWZDB_NO_DATA + TWZDB_OBJ_MAX || off < TWZ_DATA_OFF ||
	    off + len > TWZ_TOP_OFF)
		return NULL;
	m = &db->map[no];
	pthread_mutex_lock(&db->mutex);
	/* Another process may have added the object, or let it grow (D14). */
	if (!map_obj_locked(db, (uint32_t)no) && off + len > m->end && !twz_obj_refresh(m->obj))
		st64_rel(&m->end, TWZ_DATA_OFF + twz_obj_len(m->obj));
	pthread_mutex_unlock(&db->mutex);
	return off + len <= m->end ? (void *)(m->base + off) : NULL;
}

/*
 * Objects are numbered in every FOT of the database alike, so a pointer word means the same
 * wherever it is copied to.
 */
static int number_obj(struct twzdb *db, struct twz_obj *fresh, uint32_t no)
{
	twz_oid id = twz_obj_id(fresh);
	int err = twz_fot_set(fresh, TWZDB_NO_ROOT, db->root_id, TWZ_READ | TWZ_WRITE);

	for (uint32_t i = TWZDB_NO_DATA; i < no && !err; i++) {
		err = twzdb__map_obj(db, i);
		if (!err)
			err = twz_fot_set(fresh, i, twz_obj_id(db->map[i].obj),
					  TWZ_READ | TWZ_WRITE);
		if (!err)
			err = twz_fot_set(db->map[i].obj, no, id, TWZ_READ | TWZ_WRITE);
	}
	if (!err)
		err = twz_fot_set(fresh, no, id, TWZ_READ | TWZ_WRITE);
	/* The root's entry last: with it the object is reachable. */
	return err ? err : twz_fot_set(db->map[TWZDB_NO_ROOT].obj, no, id, TWZ_READ | TWZ_WRITE);
}

int twzdb__obj_create(struct twz_store *s, uint32_t kind, uint64_t len, struct twz_obj **o)
{
	struct twz_obj_options oo = {
		.size = sizeof(oo), .len = len, .flags = TWZ_OBJ_ENGINE, .kind = kind};

	return twz_obj_create(s, &oo, NULL, o);
}

/*
 * --- the store-wide lock for creating databases and objects: a sweep must not meet an object
 * just being made ---
 */

static int create_init(void *ptr, void *ctx)
{
	struct sh_create *c = ptr;
	pthread_mutexattr_t attr;
	int err = pthread_mutexattr_init(&attr);

	(void)ctx;
	if (err)
		return -err;
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	err = pthread_mutex_init(&c->mutex, &attr);
	pthread_mutexattr_destroy(&attr);
	return -err;
}

int twzdb__create_lock(struct twz_store *s, struct sh_create **out)
{
	const twz_oid id = {{0x6372656174656462ULL, 0x747a776474777a64ULL}};
	void *ptr;
	int err = twz_shared_get(s, id, sizeof(struct sh_create), create_init, NULL, &ptr, NULL);

	if (err)
		return twzdb__from_twz(err, "creation lock");
	*out = ptr;
	err = twz_shared_lock(&(*out)->mutex, twz_store_path(s), "creating objects of databases");
	return err ? twzdb__from_twz(err, "creation lock") : 0;
}

int twzdb__obj_add(struct twzdb *db, uint32_t no, uint64_t len)
{
	struct twz_fot_info fot;
	struct sh_create *lock;
	struct twz_obj *o = NULL;
	int err;

	/* A crash between numbering it and counting it leaves an object to use now, once its entry is durable (D8, D13). */
	if (!twz_fot_get(db->map[TWZDB_NO_ROOT].obj, no, &fot) && !twz_oid_is_null(fot.id)) {
		err = twz_fot_set(db->map[TWZDB_NO_ROOT].obj, no, fot.id, TWZ_READ | TWZ_WRITE);
		return err ? twzdb__from_twz(err, "data object") : twzdb__map_obj(db, no);
	}
	err = twzdb__create_lock(db->s, &lock);
	if (err)
		return err;
	err = twzdb__obj_create(db->s, KIND_DATA, len, &o);
	if (!err)
		err = number_obj(db, o, no);
	pthread_mutex_unlock(&lock->mutex);
	if (err)
		err = twzdb__from_twz(err, "new data object");
	twz_obj_close(o);
	return err ? err : twzdb__map_obj(db, no);
}

/* --- sweeping what crashed creations left --- */

struct reach {
	struct twz_store *s;
	struct u64vec ids; /* pairs */
	int err;
};

static void reach_add(struct reach *r, uint64_t a, uint64_t b)
{
	if (u64vec_push(&r->ids, a) || u64vec_push(&r->ids, b))
		r->err = -ENOMEM;
}

static int reach_db(void *ctx, const char *name, twz_oid id)
{
	struct reach *r = ctx;
	struct twz_fot_info fot;
	struct twz_obj *o;
	const struct db_pm *root;
	int err = twzdb__obj_open(r->s, id, TWZ_READ, "root object of a database", &o);

	(void)name;
	if (err)
		return r->err = err;
	if (twz_obj_len(o) < sizeof(*root)) {
		twz_obj_close(o);
		return r->err = twzdb__corrupt_obj(r->s, id, "too short for a database's root");
	}
	root = twz_obj_data(o);
	reach_add(r, id.w[0], id.w[1]);
	reach_add(r, root->log[0], root->log[1]);
	if (twzdb__prep_is_there(o, &fot))
		reach_add(r, fot.id.w[0], fot.id.w[1]);
	for (uint32_t no = TWZDB_NO_DATA; no < TWZDB_NO_DATA + TWZDB_OBJ_MAX; no++) {
		if (twz_fot_get(o, no, &fot) || twz_oid_is_null(fot.id))
			break;
		reach_add(r, fot.id.w[0], fot.id.w[1]);
	}
	twz_obj_close(o);
	return r->err;
}

static bool reached(const struct reach *r, twz_oid id)
{
	for (size_t i = 0; i + 1 < r->ids.cnt; i += 2)
		if (r->ids.v[i] == id.w[0] && r->ids.v[i + 1] == id.w[1])
			return true;
	return false;
}

/* Delete engine objects no database refers to. The creation lock is held. */
static int sweep(struct twz_store *s)
{
	struct reach r = {.s = s};
	struct twz_obj_stat st = {.size = sizeof(st)};
	struct u64vec gone = {0};
	uint64_t cursor = 0;
	int err = twz_name_list(s, "db", reach_db, &r);

	while (!err && !twz_obj_next(s, &cursor, &st))
		if (st.flags & TWZ_OBJ_ENGINE && !reached(&r, st.id))
			err = u64vec_push(&gone, st.id.w[0]) || u64vec_push(&gone, st.id.w[1])
				      ? -ENOMEM
				      : 0;
	for (size_t i = 0; i + 1 < gone.cnt && !err; i += 2)
		err = twz_obj_delete(s, (twz_oid){{gone.v[i], gone.v[i + 1]}});
	u64vec_free(&gone);
	u64vec_free(&r.ids);
	return err == TWZ_E_NOENT ? 0 : err;
}

/* --- creating --- */

static uint32_t root_sum(const struct db_pm *r)
{
	return (uint32_t)XXH3_64bits(r, offsetof(struct db_pm, sum));
}

static void root_fill(struct db_pm *r, twz_oid log)
{
	uuid_t id;

	uuid_generate_random(id);
	memset(r, 0, sizeof(*r));
	r->magic = TWZDB_MAGIC;
	r->version = TWZDB_FORMAT_VERSION;
	r->incompat = TWZDB_INCOMPAT_RANGES;
	memcpy(r->id, id, sizeof(r->id));
	r->log[0] = log.w[0];
	r->log[1] = log.w[1];
	r->ctime = twzdb__now_ns() / 1000000000U;
	r->obj_cnt = 1;
	r->next_table = 1;
	r->sum = root_sum(r);
}

static int number_first(struct twz_obj *root, struct twz_obj *data)
{
	const uint32_t perm = TWZ_READ | TWZ_WRITE;
	int err = twz_fot_set(root, TWZDB_NO_ROOT, twz_obj_id(root), perm);

	if (!err)
		err = twz_fot_set(root, TWZDB_NO_DATA, twz_obj_id(data), perm);
	if (!err)
		err = twz_fot_set(data, TWZDB_NO_ROOT, twz_obj_id(root), perm);
	return err ? err : twz_fot_set(data, TWZDB_NO_DATA, twz_obj_id(data), perm);
}

static int create_parts(struct twz_store *s, const char *name, const struct twzdb_options *opt)
{
	struct twz_obj *root = NULL, *data = NULL;
	uint64_t len = opt->initial_len ? opt->initial_len : INITIAL_LEN;
	twz_oid log = {{0}};
	int err = twzdb__obj_create(s, KIND_ROOT, TWZ_OBJ_SIZE_MIN, &root);

	if (!err)
		err = twzdb__obj_create(s, KIND_DATA, len, &data);
	if (!err)
		err = twz_log_create_flags(s, opt->log_len, TWZ_OBJ_ENGINE, &log);
	if (!err)
		err = number_first(root, data);
	if (!err) {
		root_fill(twz_obj_data(root), log);
		err = twz_sync(s, twz_obj_data(root), sizeof(struct db_pm));
	}
	/* The commit point of creation. */
	if (!err)
		err = twz_name_set(s, name, twz_obj_id(root), 0);
	if (err && !twz_oid_is_null(log))
		(void)!twz_obj_delete(s, log);
	twz_obj_close(root);
	twz_obj_close(data);
	return err;
}

static int create(struct twz_store *s, const char *name, const struct twzdb_options *opt)
{
	struct sh_create *lock;
	twz_oid id;
	int err = twzdb__create_lock(s, &lock);

	if (err)
		return err;
	err = twz_name_get(s, name, &id);
	if (err == TWZ_E_NOENT) {
		err = sweep(s);
		if (!err)
			err = create_parts(s, name, opt);
	} else if (!err && opt->flags & TWZDB_EXCL) {
		err = TWZ_E_EXIST;
	}
	pthread_mutex_unlock(&lock->mutex);
	if (err == TWZ_E_EXIST)
		return twzdb__err(TWZDB_E_EXIST, "%s: database '%s' exists already",
				  twz_store_path(s), name + strlen(NAME_DIR));
	return err ? twzdb__from_twz(err, "creating a database") : 0;
}

/* --- opening --- */

static int check_root(struct twzdb *db, const struct db_pm *r, uint64_t len)
{
	const uint64_t p = DB_PTR(0);
	uint64_t obj_cnt;

	if (len < sizeof(*r) || r->magic != TWZDB_MAGIC)
		return twzdb__corrupt(db, p, "root object is not one");
	if (r->version != TWZDB_FORMAT_VERSION)
		return twzdb__err(
			TWZ_E_VERSION,
			"%s: database '%s' has format %u, this program knows %d: use a newer one",
			twz_store_path(db->s), db->name, r->version, TWZDB_FORMAT_VERSION);
	if (r->incompat & ~TWZDB_INCOMPAT || r->ro_compat & ~TWZDB_RO_COMPAT)
		return twzdb__err(TWZ_E_FEATURE,
				  "%s: database '%s' needs features 0x%x/0x%x: use a newer program",
				  twz_store_path(db->s), db->name, r->incompat & ~TWZDB_INCOMPAT,
				  r->ro_compat & ~TWZDB_RO_COMPAT);
	if (r->sum != root_sum(r))
		return twzdb__corrupt(db, p, "root checksum");
	obj_cnt = ld64_acq(&r->obj_cnt); /* a writer elsewhere may be raising it */
	if (!obj_cnt || obj_cnt > TWZDB_OBJ_MAX)
		return twzdb__corrupt(db, p, "number of data objects");
	return 0;
}

static int shared_init(void *ptr, void *ctx)
{
	struct twzdb__shared *sh = ptr;

	(void)ctx;
	sh->magic = TWZDB_SHARED_MAGIC;
	sh->len = sizeof(*sh);
	/* Above the stamps in all blocks: the clock has gone on faster than transactions can begin. */
	sh->stamp = twzdb__now_ns();
	return twzdb__lock_init(&sh->lock);
}

/*
 * Restart recovery, by whoever opens first; the log lets nobody else past twz_log_open until it
 * is done. Who had that duty may have died at any point of it: then taking the lock recovers
 * already, or the log is ready and only the shared segment is not.
 */
static int recover_if_needed(struct twzdb *db)
{
	uint64_t token;
	int err;

	if (!db->restart && ld64_acq(&db->sh->ready))
		return 0;
	err = twzdb__lock_take(db, NULL, -1, &token);
	if (err)
		return err;
	if (db->restart || !ld64_acq(&db->sh->ready))
		err = twzdb__recover(db);
	twzdb__lock_drop(db, NULL, token);
	return err;
}

/* A long log may carry more: writing rows twice is cheaper than a checkpoint for each transaction (D2). */
static int carry_choose(struct twzdb *db)
{
	struct twz_log_info info;
	int err = twz_log_info(db->log, &info);

	if (err)
		return twzdb__from_twz(err, "log of the database");
	db->carry_max = info.ring_len / CARRY_SHARE;
	db->carry_max = db->carry_max < CARRY_MIN ? CARRY_MIN : db->carry_max;
	return 0;
}

static int open_parts(struct twzdb *db)
{
	twz_oid log;
	void *sh;
	int restart, err = map_open(db, TWZDB_NO_ROOT, db->root_id);

	if (err)
		return err;
	db->root = twz_obj_data(db->map[TWZDB_NO_ROOT].obj);
	err = check_root(db, db->root, twz_obj_len(db->map[TWZDB_NO_ROOT].obj));
	if (!err)
		err = twzdb__map_obj(db, TWZDB_NO_DATA);
	if (err)
		return err;
	memcpy(db->id, db->root->id, sizeof(db->id));
	log = (twz_oid){{db->root->log[0], db->root->log[1]}};
	err = twz_shared_get(db->s, db->root_id, sizeof(struct twzdb__shared), shared_init, NULL,
			     &sh, NULL);
	if (err)
		return twzdb__from_twz(err, "shared state");
	db->sh = sh;
	if (db->watch)
		return twzdb__watch_ready(db);
	err = twzdb__lock_join(db);
	if (err)
		return err;
	db->log_user = (struct twz_log_user){1,
					     db,
					     twzdb__log_apply,
					     twzdb__log_flush,
					     twzdb__log_whole,
					     twzdb__log_flush_own,
					     twzdb__log_flush_end,
					     twzdb__log_staged};
	err = twz_log_open(db->s, log, &db->log_user, &db->log, &restart);
	if (err)
		return twzdb__from_twz(err, "log of the database");
	db->restart = restart;
	err = carry_choose(db);
	return err ? err : recover_if_needed(db);
}

static void db_free(struct twzdb *db)
{
	twzdb__helper_close(db);
	if (db->sh && !db->watch) {
		twzdb_let_in(db);
		twzdb__lock_leave(db);
	}
	twzdb__handles_close(db);
	twzdb__acc_close(db);
	twzdb__stage_close(db);
	twzdb__views_close(db);
	twz_log_close(db->log);
	twzdb__watch_close(db);
	twzdb__prep_close(db);
	u64vec_free(&db->decided);
	for (uint32_t i = TWZDB_NO_ROOT; i < TWZDB_NO_DATA + TWZDB_OBJ_MAX; i++)
		twz_obj_close(db->map[i].obj);
	pthread_mutex_destroy(&db->mutex);
	free(db->purge);
	free(db->name);
	free(db);
}

static int db_new(struct twzdb__store *st, const char *name, twz_oid root, uint32_t flags,
		  struct twzdb **out)
{
	struct twzdb *db = calloc(1, sizeof(*db));
	int err;

	if (!db)
		return twzdb__err(-ENOMEM, "open: no memory");
	pthread_mutex_init(&db->mutex, NULL);
	twzdb__views_open(db);
	twzdb__helper_open(db);
	db->st = st;
	db->s = st->s;
	db->name = strdup(name);
	db->root_id = root;
	db->proc = twz_proc_self(db->s);
	db->inc = twz_proc_incarnation(db->s);
	db->fork_gen = ld64(&twzdb__fork_gen);
	db->cut = twz_store_cut(db->s);
	db->page_media = twz_store_granularity(db->s) == TWZ_GRAN_PAGE;
	db->read_only = st->read_only;
	err = db->name ? 0 : twzdb__err(-ENOMEM, "open: no memory");
	if (!err && st->watch)
		err = twzdb__watch_open(db);
	if (!err)
		err = open_parts(db);
	if (!err) {
		twzdb__snap_open(db);
		twzdb__acc_open(db, !(flags & TWZDB_NO_ACCEL));
		twzdb__handles_open(db);
	}
	if (err)
		db_free(db);
	else
		*out = db;
	return err;
}

static int open_in(struct twzdb__store *st, const struct twzdb_options *opt, const char *name,
		   struct twzdb **out)
{
	char full[sizeof(NAME_DIR) + TWZDB_NAME_MAX];
	twz_oid root;
	int err;

	snprintf(full, sizeof(full), NAME_DIR "%s", name);
	err = twz_name_get(st->s, full, &root);
	if (err == TWZ_E_NOENT || (!err && opt->flags & TWZDB_EXCL)) {
		if (!(opt->flags & TWZDB_CREATE))
			return twzdb__err(TWZDB_E_NOTFOUND, "%s: no database '%s'",
					  twz_store_path(st->s), name);
		err = create(st->s, full, opt);
		if (err)
			return err;
		err = twz_name_get(st->s, full, &root);
	}
	return err ? twzdb__from_twz(err, "looking the database up")
		   : db_new(st, name, root, opt->flags, out);
}

static int check_options(const char *path, const struct twzdb_options *opt, const char *name)
{
	size_t len = strlen(name);

	if (!path || !*path)
		return twzdb__err(TWZDB_E_INVAL, "open: no path");
	if (opt->flags & ~(uint32_t)(TWZDB_CREATE | TWZDB_EXCL | TWZDB_NO_ACCEL | TWZDB_READONLY) ||
	    (opt->flags & TWZDB_EXCL && !(opt->flags & TWZDB_CREATE)) ||
	    (opt->flags & TWZDB_CREATE && opt->flags & TWZDB_READONLY))
		return twzdb__err(TWZDB_E_INVAL, "open %s: flags 0x%x make no sense", path,
				  opt->flags);
	if (!len || len > TWZDB_NAME_MAX || strchr(name, '/'))
		return twzdb__err(TWZDB_E_INVAL,
				  "open %s: a database name has 1 to %d bytes and no '/'", path,
				  TWZDB_NAME_MAX);
	return 0;
}

static int open_as(const char *path, const struct twzdb_options *o, struct twzdb **out)
{
	struct twzdb__store *st = NULL;
	int err;

	pthread_mutex_lock(&stores_mutex);
	err = store_get(path, o, &st);
	if (!err) {
		err = open_in(st, o, o->name, out);
		twz_store_let(st->s);
		if (err)
			(void)store_put(st);
	}
	pthread_mutex_unlock(&stores_mutex);
	return err;
}

int twzdb__names(const char *path, uint32_t open_flags,
		 int (*fn)(void *ctx, const char *name, twz_oid id), void *ctx)
{
	struct twzdb_options o = {.size = sizeof(o), .flags = open_flags};
	struct twzdb__store *st;
	int err, ret = 0;

	pthread_mutex_lock(&stores_mutex);
	err = store_get(path, &o, &st);
	if (!err) {
		err = twz_name_list(st->s, "db", fn, ctx);
		twz_store_let(st->s);
		ret = store_put(st);
	}
	pthread_mutex_unlock(&stores_mutex);
	if (err == TWZ_E_NOENT && ret == 0 && twz_store_exists(path))
		err = 0; /* no database */
	return err ? twzdb__from_twz(err, "names of databases") : ret;
}

int twzdb__open_asking(const char *path, const char *name, const void *backend, uint32_t flags,
		       struct twzdb **out)
{
	struct twz_store_options so = {.size = sizeof(so), .backend = backend};
	struct twzdb_options o = {
		.size = sizeof(o), .flags = flags, .name = name, .store_options = &so};
	int err = check_options(path, &o, name);

	*out = NULL;
	return err ? err : open_as(path, &o, out);
}

int twzdb_open(const char *path, const struct twzdb_options *opt, struct twzdb **out)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct twzdb_options o = {.size = sizeof(o)};
	int err;

	if (!out || (opt && !opt->size))
		return twzdb__err(TWZDB_E_INVAL,
				  "open: no place for the handle, or options without size");
	*out = NULL;
	if (opt)
		memcpy(&o, opt, opt->size < sizeof(o) ? opt->size : sizeof(o));
	o.name = o.name ? o.name : "main";
	err = check_options(path, &o, o.name);
	if (err)
		return err;
	pthread_once(&once, register_fork);
	err = twzdb__simd_choose();
	if (!err)
		err = open_as(path, &o, out);
	/* Readers are to see the decision, if it is to be had; if not, what was before, and writers hear of it. */
	if (!err && !(*out)->read_only)
		(void)twzdb__doubt_settle(*out, TWZDB__ASK_MS);
	return err;
}

int twzdb_close(struct twzdb *db)
{
	struct twzdb__store *st;
	uint32_t txns;
	int err, synced;

	if (!db)
		return 0;
	err = twzdb__enter(db);
	if (err)
		return err;
	txns = twzdb__handles_active(db);
	if (txns)
		return twzdb__err(TWZDB_E_STATE, "close: %u transactions of database '%s' are open",
				  txns, db->name);
	if (ld32(&db->listeners))
		return twzdb__err(TWZDB_E_STATE, "close: %u listeners of database '%s' are open",
				  ld32(&db->listeners), db->name);
	st = db->st;
	if (db->decided.cnt)
		twzdb__decisions_close(db);
	synced = db->read_only ? 0 : twzdb_sync(db);
	twzdb__helper_stop(db); /* it may be at something long: others open and close meanwhile */
	pthread_mutex_lock(&stores_mutex);
	db_free(db);
	err = store_put(st);
	pthread_mutex_unlock(&stores_mutex);
	err = synced ? synced : err;
	/* These two say that the handle is still there. */
	return err == TWZDB_E_STATE || err == TWZ_E_FORKED ? TWZDB_E_IO : err;
}

bool twzdb_is_readonly(const struct twzdb *db)
{
	return db && db->read_only;
}

void *twzdb_store(struct twzdb *db)
{
	return db ? db->s : NULL;
}

void twzdb_id(struct twzdb *db, uint64_t id[2])
{
	id[0] = db->id[0];
	id[1] = db->id[1];
}
