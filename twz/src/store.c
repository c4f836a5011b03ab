/* SPDX-License-Identifier: MIT
 * store.c -- open and close a store; the metadata lock; fork
 *
 *	media -> opening lock -> alone? -- yes --> verify, build companion, recover (D13 restart) --+-> join -> step down -> open
 *	                                \- no ---> verify, attach to their companion ---------------+
 *
 * Read-only: if nobody holds it, the same on an image of this handle's own (backend_private.c), alone by nature;
 * otherwise as everybody, but that the calls which change something refuse to.
 *
 * Nothing is written before the image has been verified. Lock order, outermost first: opening lock,
 * reap, store mutex, metadata lock.
 */
#include "rt.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <uuid/uuid.h>

#define JOURNAL_LEN_DEFAULT ((uint32_t)256 << 10)
#define INITIAL_LEN_DEFAULT ((uint64_t)1 << 20)
#define DYING_WAIT_MS	    3000
#define INIT_MARK	    "TWZ-INIT" /* first bytes of a 0-byte file while it is being made a store (D18) */

/* --- stores of this process, and fork --- */

static pthread_mutex_t stores_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct twz_store *stores;
static uint64_t fork_gen = 1; /* raised in every forked child */
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void fork_prepare(void)
{
	pthread_mutex_lock(&stores_mutex);
	twz__view_fork_prepare();
}

static void fork_parent(void)
{
	twz__view_fork_done();
	pthread_mutex_unlock(&stores_mutex);
}

/*
 * The child has copies of descriptors whose locks are the parent's: as long as one is open, or one
 * of their mappings exists, a dead parent would look alive. And a store through the mappings would
 * be nobody's change.
 */
static void forked_store(struct twz_store *s)
{
	struct twz__rt *rt = twz__rt(s);

	if (s->media->ops->forked)
		s->media->ops->forked(s->media);
	if (s->comp)
		twz__comp_forked(s->comp);
	for (struct twz_obj *o = s->objs; o; o = o->next)
		mmap((void *)o->base, TWZ_SLOT_SIZE, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	twz__window_close(&rt->win);
}

static void fork_child(void)
{
	fork_gen++;
	for (struct twz_store *s = stores; s; s = twz__rt(s)->next)
		forked_store(s);
	stores = NULL;
	twz__view_fork_done();
	pthread_mutex_unlock(&stores_mutex);
}

static void fork_hooks(void)
{
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}

bool twz__store_forked(struct twz_store *s)
{
	return twz__rt(s)->fork_gen != fork_gen;
}

int twz__store_enter(struct twz_store *s)
{
	if (!s)
		return twz__err(TWZ_E_INVAL, "no store given");
	if (twz__unlikely(twz__store_forked(s)))
		return twz__err(
			TWZ_E_FORKED,
			"%s: this handle belongs to the parent process: open the store again after fork()",
			s->path);
	return 0;
}

int twz__store_enter_write(struct twz_store *s, const char *what)
{
	int rc = twz__store_enter(s);

	if (!rc && twz__unlikely(s->read_only))
		rc = twz__err(TWZ_E_READONLY, "%s: %s: it is open for reading only", s->path, what);
	return rc ? rc : twz__store_still_often(s, &twz__rt(s)->still_cnt);
}

int twz__store_enter_meta(struct twz_store *s, const char *what)
{
	int rc = twz__store_enter_write(s, what);

	return rc || s->granularity == TWZ_GRAN_PAGE ? rc : twz__store_still(s);
}

static void stores_add(struct twz_store *s)
{
	pthread_mutex_lock(&stores_mutex);
	twz__rt(s)->next = stores;
	stores = s;
	pthread_mutex_unlock(&stores_mutex);
}

static void stores_remove(struct twz_store *s)
{
	pthread_mutex_lock(&stores_mutex);
	for (struct twz_store **p = &stores; *p; p = &twz__rt(*p)->next)
		if (*p == s) {
			*p = twz__rt(s)->next;
			break;
		}
	pthread_mutex_unlock(&stores_mutex);
}

/* --- the core's errors --- */

static const char *core_advice(int rc)
{
	switch (rc) {
	case TWZ_E_NOTSTORE:
		return "is not a twz store: check the path";
	case TWZ_E_TRUNCATED:
		return "is shorter than its header says: restore it from a backup";
	case TWZ_E_VERSION:
		return "has a format version this program does not know: use the program that wrote it, or a newer one";
	case TWZ_E_FEATURE:
		return "needs a feature this program does not know: use a newer one";
	case TWZ_E_READONLY:
		return "has a feature this program can only read, not write: use a newer one";
	case TWZ_E_FAILED:
		return "failed after a write error: close it in every process and open it again";
	case TWZ_E_NOSPC:
		return "no space left in the file or in its tables: free some space or delete objects";
	case TWZ_E_STATE:
		return "is not ready: close it in every process and open it again";
	}
	return twz_err_text(rc);
}

int twz__core_err(struct twz_store *s, int rc, const char *what)
{
	if (!rc)
		return 0;
	if (twz__err_cnt() == twz__rt(s)->err_cnt)
		twz__err(rc, "%s: %s", s->path, core_advice(rc));
	return what ? twz__err_in(rc, "%s", what) : rc;
}

/* --- the metadata lock --- */

int twz__meta_lock(struct twz_store *s)
{
	bool died, unclean;
	int rc;

	if (twz__unlikely(s->watch))
		return twz__watch_begin(s);
	rc = twz__robust_lock(&s->comp->head->meta, &died, s->path, "the lock of its metadata");
	if (rc)
		return rc;
	twz__rt(s)->err_cnt = twz__err_cnt();
	twz__rt(s)->dirty_cnt = 0;
	if (!died && s->core.sh->ready)
		return 0;
	/*
	 * D13, takeover: the dead holder's record is either valid and gets applied, or never
	 * happened. Not ready: the one that did this before us died too, or could not finish.
	 */
	rc = twzc_recover(&s->core, false, &unclean);
	if (!rc)
		return 0;
	s->core.sh->failed = 1;
	twz__core_err(s, rc, "cannot finish the work of a process that died");
	twz__robust_unlock(&s->comp->head->meta);
	return rc;
}

void twz__meta_unlock(struct twz_store *s)
{
	if (twz__likely(!s->watch))
		twz__robust_unlock(&s->comp->head->meta);
}

/* --- dead processes --- */

int twz__reap(struct twz_store *s)
{
	uint32_t dead[TWZ_PROC_MAX], cnt = 0, p = (uint32_t)-1;
	bool died;
	int rc;

	if (s->watch || !twz__comp_next_dead(s->comp, &p))
		return 0;
	rc = twz__robust_lock(&s->comp->head->reap, &died, s->path, "what dead processes left");
	if (rc)
		return rc == TWZ_E_STATE ? 0 : rc; /* called from inside a roll-back */
	for (p = (uint32_t)-1; twz__comp_next_dead(s->comp, &p);)
		dead[cnt++] = p;
	if (cnt)
		rc = twz__tx_recover(s, false);
	if (!rc)
		for (uint32_t i = 0; i < cnt; i++)
			twz__comp_bury(s->comp, dead[i]);
	twz__robust_unlock(&s->comp->head->reap);
	return rc;
}

static int next_reclaimable(struct twz_store *s, uint64_t *cursor, struct twzc_obj *obj)
{
	int rc;

	while (!(rc = twzc_obj_next(&s->core, cursor, true, obj))) {
		twz_oid id = {{obj->id[0], obj->id[1]}};

		if (obj->state != TWZC_OBJ_LIVE && !twz__comp_is_open(s->comp, id, false))
			return 0;
	}
	return rc;
}

int twz__reclaim(struct twz_store *s)
{
	uint64_t cursor = 0;
	struct twzc_info info;
	struct twzc_obj obj;
	int rc = twz__meta_lock(s);

	if (rc)
		return rc;
	rc = twzc_info(&s->core, &info);
	if (!rc && !info.deleted_cnt) /* open is never O(store) */
		rc = TWZ_E_NOENT;
	while (!rc && !(rc = next_reclaimable(s, &cursor, &obj))) {
		rc = twzc_obj_reclaim(&s->core, obj.id);
		if (!rc && s->comp->head->deleted_cnt)
			s->comp->head->deleted_cnt--;
		cursor = 0; /* the table changed under the cursor */
	}
	/* Tidy only: who meets the damage says so, and twz_check must be able to. */
	if (rc == TWZ_E_NOENT || rc == TWZ_E_CORRUPT)
		rc = 0;
	rc = twz__core_err(s, rc, "cannot free deleted objects");
	twz__meta_unlock(s);
	return rc;
}

/* --- open --- */

static void store_free(struct twz_store *s)
{
	struct twz__rt *rt;

	if (!s)
		return;
	rt = twz__rt(s);
	if (rt) {
		twz__window_close(&rt->win);
		pthread_mutex_destroy(&rt->watch_mutex);
		free(rt->pins);
		free(rt->tx_buf);
		free(rt);
	}
	if (s->media)
		s->media->ops->close(s->media);
	free(s->path);
	pthread_mutex_destroy(&s->mutex);
	free(s);
}

static struct twz_store *store_new(const char *path)
{
	struct twz_store *s = calloc(1, sizeof(*s));
	struct twz__rt *rt = calloc(1, sizeof(*rt));

	if (s && rt) {
		s->rt = rt;
		s->path = strdup(path);
		rt->tx_buf = malloc(TWZC_TX_MIN);
		rt->fork_gen = fork_gen;
		rt->err_cnt = twz__err_cnt();
		s->pid = getpid();
		pthread_mutex_init(&s->mutex, NULL);
		pthread_mutex_init(&rt->watch_mutex, NULL);
	}
	if (!s || !rt || !s->path || !rt->tx_buf) {
		if (s && s->rt) {
			store_free(s);
		} else {
			free(s);
			free(rt);
		}
		twz__err(TWZ_E_NOMEM, "%s: out of memory", path);
		return NULL;
	}
	return s;
}

static int check_options(const char *path, const struct twz_store_options *opt)
{
	if (!path || !*path)
		return twz__err(TWZ_E_INVAL, "no store path given");
	if (opt->size < sizeof(*opt))
		return twz__err(TWZ_E_INVAL,
				"%s: struct twz_store_options: set .size to its sizeof", path);
	if (opt->flags & ~(uint32_t)(TWZ_STORE_CREATE | TWZ_STORE_EXCL | TWZ_STORE_READONLY))
		return twz__err(TWZ_E_INVAL, "%s: unknown flags %#x", path, opt->flags);
	if (opt->flags & TWZ_STORE_READONLY && opt->flags != TWZ_STORE_READONLY)
		return twz__err(TWZ_E_INVAL, "%s: cannot be created to be read only", path);
	if (opt->journal_len &&
	    (opt->journal_len < TWZC_JOURNAL_MIN || opt->journal_len > TWZC_JOURNAL_MAX))
		return twz__err(TWZ_E_INVAL,
				"%s: the journal may have 16 KiB to 16 MiB, not %u bytes", path,
				opt->journal_len);
	if (opt->initial_len && opt->initial_len < TWZC_IMAGE_MIN)
		return twz__err(TWZ_E_INVAL, "%s: a store has at least 128 KiB, not %llu bytes",
				path, (unsigned long long)opt->initial_len);
	return 0;
}

static uint64_t round_page(uint64_t len)
{
	return (len + TWZ_PAGE_SIZE - 1) & ~(TWZ_PAGE_SIZE - 1);
}

/*
 * Bytes of the new image: what is asked for, at least room for the journal and something beside it.
 */
static uint64_t initial_len(const struct twz_store_options *opt)
{
	uint64_t journal = opt->journal_len ? opt->journal_len : JOURNAL_LEN_DEFAULT;
	uint64_t len = opt->initial_len ? opt->initial_len : INITIAL_LEN_DEFAULT,
		 least = journal + 16 * TWZ_PAGE_SIZE;

	return round_page(len > least ? len : least);
}

static int format_image(struct twz_store *s, const struct twz_store_options *opt)
{
	struct twz__rt *rt = twz__rt(s);
	struct twzc_format_args args = {
		.journal_len =
			round_page(opt->journal_len ? opt->journal_len : JOURNAL_LEN_DEFAULT),
		.buf = rt->tx_buf,
	};
	uuid_t uuid;
	int rc;

	uuid_generate_random(uuid);
	memcpy(args.uuid, uuid, sizeof(args.uuid));
	rc = s->media->ops->len(s->media, &args.len);
	if (!rc)
		rc = twz__window_open(&rt->win, s->media);
	if (!rc)
		rc = twz__core_err(s, twzc_format(twz__core_ops(s), s, &args),
				   "cannot make a new store");
	if (!rc)
		rc = s->media->ops->sync_all(s->media);
	return rc;
}

/*
 * D18: an empty file becomes a store in place, under the opening lock. The mark lets a later opener
 * start again.
 */
static int init_in_place(struct twz_store *s, const struct twz_store_options *opt)
{
	struct twz__media *m = s->media;
	int rc = m->ops->write_sync(m, INIT_MARK, 0, sizeof(INIT_MARK) - 1);

	if (!rc)
		rc = m->ops->grow(m, initial_len(opt));
	s->granularity = m->granularity;
	return rc ? rc : format_image(s, opt);
}

/* An empty file, or one whose initialisation was interrupted? *EMPTY: it may be made a store. */
static int look_empty(struct twz_store *s, bool *empty)
{
	struct twz__media *m = s->media;
	char mark[sizeof(INIT_MARK)] = "";
	uint64_t len;
	int rc = m->ops->len(m, &len);

	*empty = false;
	if (rc)
		return rc;
	*empty = len == 0;
	if (len < sizeof(INIT_MARK) - 1 || !m->ops->reset)
		return 0;
	rc = m->ops->read(m, mark, 0, sizeof(INIT_MARK) - 1);
	if (!rc && !memcmp(mark, INIT_MARK, sizeof(INIT_MARK)))
		*empty = true;
	return rc;
}

static int prepare_image(struct twz_store *s, const struct twz_store_options *opt, bool created)
{
	uint64_t len;
	bool empty;
	int rc;

	if (created) {
		s->granularity = s->media->granularity;
		return format_image(s, opt);
	}
	rc = look_empty(s, &empty);
	if (rc || !empty)
		return rc;
	if (!(opt->flags & TWZ_STORE_CREATE))
		return twz__err(TWZ_E_NOTSTORE,
				"%s: is empty, not a twz store: ask for it to be created", s->path);
	if (!twz__rt(s)->sole)
		return twz__err(TWZ_E_BUSY,
				"%s: is empty, but in use by another process: wait for it",
				s->path);
	rc = s->media->ops->len(s->media, &len);
	if (!rc && len)
		rc = s->media->ops->reset(s->media);
	twz__rt(s)->fresh = true;
	return rc ? rc : init_in_place(s, opt);
}

int twz__store_attach(struct twz_store *s, struct twzc_shared *sh)
{
	struct twz__rt *rt = twz__rt(s);
	uint64_t len;
	int rc = s->media->ops->len(s->media, &len);

	if (rc)
		return rc;
	if (!rt->win.base && (rc = twz__window_open(&rt->win, s->media)))
		return rc;
	rt->err_cnt = twz__err_cnt();
	rc = twzc_attach(&s->core, twz__core_ops(s), s, sh, len, rt->tx_buf, TWZC_TX_MIN);
	if (!rc && s->core.read_only && !s->media->alone && !s->watch)
		rc = TWZ_E_READONLY;
	return twz__core_err(s, rc, NULL);
}

static void note_machine(struct twz_store *s)
{
	struct twzc_note *n = &s->core.note;
	struct stat st;

	memcpy(n->boot_id, s->comp->head->boot_id, sizeof(n->boot_id));
	if (s->media->fd >= 0 && !fstat(s->media->fd, &st)) {
		n->dev = st.st_dev;
		n->ino = st.st_ino;
	}
}

/* D17: what this handle was told before it had a companion it tells the others now. */
static void share_lost(struct twz_store *s)
{
	s->media->lost = &s->comp->head->lost;
	if (__atomic_load_n(&s->media->lost_here, __ATOMIC_SEQ_CST))
		__atomic_store_n(s->media->lost, 1, __ATOMIC_SEQ_CST);
}

/* Verify first with a private state: a refused store has no companion made, and nothing written. */
static int enter_companion(struct twz_store *s)
{
	struct twz__rt *rt = twz__rt(s);
	struct twzc_shared scratch = {0};
	int rc = twz__store_attach(s, &scratch);

	if (!rc && rt->sole)
		rc = twz__dry_run(s);
	if (!rc && rt->sole)
		rc = twz__fill_copy(s);
	if (rc)
		return rc;
	if (rt->sole)
		twz__scratch_sweep(s->media);
	if (rt->sole)
		rc = twz__comp_build(s->media, s->core.super.uuid, &s->comp);
	else
		rc = twz__comp_attach(s->media, s->core.super.uuid, &s->comp);
	if (rc)
		return rc;
	share_lost(s);
	rc = twz__store_attach(s, &s->comp->head->shared);
	if (rc)
		return rc;
	note_machine(s);
	if (!s->media->alone)
		twz__media_has(s->media, s->core.super.page_cnt * TWZ_PAGE_SIZE);
	if (rt->sole) {
		rt->err_cnt = twz__err_cnt();
		rc = twz__core_err(s, twzc_recover(&s->core, true, &rt->was_unclean), "recovery");
	} else {
		/*
		 * Whoever holds the lock may be in the middle of a takeover, or have died in
		 * one. What was written over the file is not theirs.
		 */
		rc = twz__store_intact(s);
		if (!rc)
			rc = twz__meta_lock(s);
		if (!rc)
			twz__meta_unlock(s);
	}
	return rc ? rc : twz__comp_join(s->comp);
}

/* Undo transactions of the dead, and deleted objects nobody has open any more (D8). */
static int clean_up(struct twz_store *s)
{
	int rc = twz__rt(s)->sole ? twz__tx_recover(s, true) : twz__reap(s);

	if (!rc && twz__rt(s)->sole)
		rc = twz__reclaim(s);
	return rc;
}

static void open_undo(struct twz_store *s, int rc)
{
	struct twz__rt *rt = twz__rt(s);

	if (s->comp && s->comp->incarnation) {
		twz__name_close(s);
		twz__tx_close(s);
		twz__obj_close_all(s, false);
		stores_remove(s);
	}
	twz__window_close(&rt->win);
	s->media->lost = NULL;
	twz__comp_close(s->comp, rt->sole);
	s->comp = NULL;
	if (rt->fresh && s->media->ops->reset && s->media->ops->reset(s->media))
		twz__err_in(rc, "%s: the half-made store could not be removed", s->path);
}

/* The last holder seemed to be dying: look again whether we are alone. */
static int wait_dying(struct twz_store *s)
{
	const struct timespec ms = {0, 1000000};

	nanosleep(&ms, NULL);
	return twz__holders_try(s->media, &twz__rt(s)->sole);
}

/*
 * A new store gets its name as soon as it is whole, before the companion, whose name is the same
 * for all who try; whoever opens it by that name then waits for our opening lock.
 */
static int open_locked(struct twz_store *s, const struct twz_store_options *opt, bool created)
{
	struct twz__rt *rt = twz__rt(s);
	int rc = twz__holders_try(s->media, &rt->sole);

	rt->fresh = created;
	if (!rc && rt->sole)
		rc = twz__privates_wait(s->media);
	if (!rc && rt->sole && !created && s->media->ops->forget)
		s->media->ops->forget(s->media);
	if (!rc)
		rc = prepare_image(s, opt, created);
	s->granularity = s->media->granularity;
	if (!rc && rt->fresh && s->media->ops->publish)
		rc = s->media->ops->publish(s->media);
	if (!rc)
		rc = enter_companion(s);
	for (int i = 0; rc == -EAGAIN; i++) {
		rc = i < DYING_WAIT_MS ? wait_dying(s) : TWZ_E_BUSY;
		if (!rc)
			rc = enter_companion(s);
	}
	if (!rc) {
		stores_add(s);
		rc = clean_up(s);
	}
	if (!rc)
		rc = twz__holders_share(s->media);
	if (rc)
		open_undo(s, rc);
	return rc;
}

/*
 * Between our open and our lock the name may have been given to another file: an interrupted
 * creation was undone, or a restore.
 */
static bool is_still_named(struct twz_store *s)
{
	return twz_store_is_at(s, s->path);
}

/* One that watches is no holder, and nobody but the locks it reads under knows of it. */
static int open_watch(struct twz_store *s)
{
	int rc;

	s->granularity = s->media->granularity;
	rc = twz__watch_open(s);
	if (!rc) {
		stores_add(s);
		return 0;
	}
	twz__window_close(&twz__rt(s)->win);
	twz__comp_drop(s->comp);
	s->comp = NULL;
	return rc == -EAGAIN ? TWZ_E_BUSY : rc;
}

/* With the opening lock. */
static int open_to_read(struct twz_store *s, const struct twz_store_options *opt)
{
	struct twz__media *image;
	bool any;
	int rc = twz__holders_any(s->media, &any);

	s->read_only = true;
	if (rc)
		return rc;
	if (any)
		return s->media->no_write ? open_watch(s) : open_locked(s, opt, false);
	rc = twz__private_media(s->media, &image);
	if (rc)
		return rc;
	s->media = image;
	return open_locked(s, opt, false);
}

static int open_once(const char *path, const struct twz_store_options *opt, struct twz_store **out,
		     bool *again)
{
	const struct twz__backend *b = opt->backend ? opt->backend : &twz__file_backend;
	struct twz_store *s = store_new(path);
	int rc, created = 0;

	*again = false;
	if (!s)
		return TWZ_E_NOMEM;
	rc = b->open(b->ctx, path, opt->flags, initial_len(opt), &s->media, &created);
	if (rc)
		s->media = NULL;
	else
		rc = twz__opening_lock(s->media);
	if (!rc) {
		if (!created && !is_still_named(s)) {
			rc = twz__err(TWZ_E_BUSY, "%s: is being replaced: try again", path);
			*again = true;
		} else {
			rc = opt->flags & TWZ_STORE_READONLY ? open_to_read(s, opt)
							     : open_locked(s, opt, created);
			/*
			 * Somebody else created it between our look and our link: open theirs
			 * (D18).
			 */
			*again = rc == TWZ_E_EXIST && created && !(opt->flags & TWZ_STORE_EXCL);
		}
		if (rc)
			twz__holders_drop(s->media);
		twz__opening_unlock(s->media);
	}
	if (rc)
		store_free(s);
	else
		*out = s;
	return rc;
}

int twz_store_open(const char *path, const struct twz_store_options *opt, struct twz_store **out)
{
	static const struct twz_store_options defaults = {.size = sizeof(defaults)};
	bool again = true;
	int rc;

	*out = NULL;
	if (!opt)
		opt = &defaults;
	rc = check_options(path, opt);
	if (!rc)
		rc = twz__view_init();
	if (rc)
		return rc;
	pthread_once(&fork_once, fork_hooks);
	for (int i = 0; i < 5 && again; i++)
		rc = open_once(path, opt, out, &again);
	return rc;
}

/* --- close --- */

/* Alone with the store: leave an empty journal and no companion. Called with the opening lock. */
static int close_last(struct twz_store *s)
{
	int rc;

	if (s->core.sh->failed)
		return twz__err(
			TWZ_E_FAILED,
			"%s: failed while it was open: the next opening recovers what is durable",
			s->path);
	rc = twz__store_intact(s); /* or what lies there now would be written over */
	if (!rc)
		rc = twz__reclaim(s);
	if (!rc)
		rc = twz__meta_lock(s);
	if (rc)
		return rc;
	rc = twz__core_err(s, twzc_checkpoint(&s->core), "close");
	if (!rc)
		rc = s->media->ops->sync_all(s->media);
	twz__meta_unlock(s);
	return rc;
}

static int close_shared(struct twz_store *s)
{
	bool last = false;
	int rc, rc2;

	if (s->watch || s->media->alone) { /* its image, or what it looked at, goes with it */
		s->media->lost = NULL;
		twz__comp_close(s->comp, !s->watch);
		return 0;
	}
	rc = twz__opening_lock(s->media);
	if (!rc)
		rc = twz__holders_try(s->media, &last);
	if (!rc && last)
		rc = close_last(s);
	if (last)
		twz__scratch_sweep(s->media);
	s->media->lost = NULL;
	twz__comp_close(s->comp, last);
	rc2 = last ? rc : 0;
	twz__holders_drop(s->media);
	twz__opening_unlock(s->media);
	return rc ? rc : rc2;
}

int twz_store_close(struct twz_store *s)
{
	bool forked;
	int rc = 0;

	if (!s)
		return 0;
	forked = twz__store_forked(s);
	if (!forked) {
		rc = twz__reap(s);
		twz__name_close(s);
		twz__tx_close(s);
		stores_remove(s);
	}
	twz__obj_close_all(s, forked);
	if (!forked) {
		int rc2 = close_shared(s);

		rc = rc ? rc : rc2;
	} else {
		s->media->lost = NULL;
		twz__comp_drop(s->comp);
	}
	store_free(s);
	return rc;
}
