/* SPDX-License-Identifier: MIT
 * doubt.c -- a prepared transaction whose committer is gone: what did the coordinator decide? (D16)
 *
 * The committer holds a participant's writer lock from before PREPARE until it has told it the decision. So who has that
 * lock and finds a prepared transaction knows that the committer is dead, and will decide nothing any more. The coordinator is
 * opened, or is open; a commit that the dead one began there is finished or dropped, which whoever has its writer lock after it
 * does first; whatever is staged is made durable; then its table of decisions is looked at. A row: committed. None: not.
 *
 * Nobody waits in a circle: the coordinator's lock is tried, and who has it need not let it go; and if it is in doubt itself, nobody is
 * asked further, because what it decided lies in homes that its own prepared transaction has not changed.
 */
#include "group.h"

#include <libgen.h>
#include <time.h>

#define PATIENCE_MS 2000

/* How the coordinator was found. */
struct asked {
	struct twzdb *db;
	bool found, sure; /* a decision; that there is none means that there will be none */
};

int twzdb__doubt_error(struct twzdb *db, const char *why)
{
	const struct prep_pm *p;
	char *path = NULL, *name = NULL, *said = strdup(why);
	int err = twzdb__prep_get(db, &p);

	if (!err && p)
		err = twzdb__prep_names(p, &path, &name);
	if (err || !p) {
		free(said);
		if (ld64_acq(&db->sh->failed) != TWZDB__IN_DOUBT)
			err = 0; /* somebody has done it meanwhile */
		return err ? err : twzdb__err(TWZDB_E_BUSY, "database '%s': try again", db->name);
	}
	err = twzdb__err(
		TWZDB_E_DOUBT,
		"%s: database '%s' can only be read, as it was before a transaction that database '%s' of %s has to decide (%s): "
		"make that one reachable and open this one again, or decide by hand: twzdb recover --resolve commit|abort %s --db %s",
		twz_store_path(db->s), db->name, name, path, said ? said : "it could not be asked",
		twz_store_path(db->s), db->name);
	free(said);
	free(path);
	free(name);
	return err;
}

/* --- finding the coordinator --- */

static bool is_it(struct twzdb *db, const struct prep_pm *p)
{
	return !memcmp(db->id, p->coordinator, sizeof(p->coordinator));
}

static int try_path(const struct twzdb *db, const struct prep_pm *p, const char *path,
		    const char *name, struct asked *a)
{
	int err = twzdb__open_asking(path, name, db->st->backend, 0, &a->db);

	/* Who may not write it can read it, if nobody else is at it. */
	if (err == TWZDB_E_READONLY || err == TWZ_E_READONLY || err == TWZ_E_PERM ||
	    err == -EACCES || err == -EPERM || err == -EROFS)
		err = twzdb__open_asking(path, name, db->st->backend, TWZDB_READONLY, &a->db);
	if (!err && !is_it(a->db, p)) {
		(void)twzdb_close(a->db);
		a->db = NULL;
		err = twzdb__err(TWZDB_E_NOTFOUND, "%s: database '%s' is another one", path, name);
	}
	return err;
}

/* Stores that were moved together lie beside each other. */
static int try_beside(const struct twzdb *db, const struct prep_pm *p, const char *path,
		      const char *name, struct asked *a)
{
	char *own = strdup(db->st->path), *far = strdup(path), *full = NULL;
	int err = -ENOMEM;

	if (own && far && asprintf(&full, "%s/%s", dirname(own), basename(far)) >= 0)
		err = try_path(db, p, full, name, a);
	free(own);
	free(far);
	free(full);
	return err;
}

static int find(const struct twzdb *db, const struct prep_pm *p, struct asked *a)
{
	struct twz_store_info info = {.size = sizeof(info)};
	char *path, *name;
	int err = twzdb__prep_names(p, &path, &name);

	if (err)
		return err;
	err = twz_store_info(db->s, &info);
	if (!err && !memcmp(info.uuid.w, p->store, sizeof(p->store)))
		err = try_path(db, p, db->st->path, name, a);
	else if (!err && !*path)
		err = twzdb__err(TWZDB_E_NOTFOUND, "the coordinator's store has no path");
	else if (!err) {
		err = try_path(db, p, path, name, a);
		if (err && try_beside(db, p, path, name, a) == 0)
			err = 0;
	}
	free(path);
	free(name);
	return err;
}

/* --- asking --- */

static int look_up(struct twzdb_txn *tx, const struct prep_pm *p, bool *found)
{
	struct twzdb_slice value;
	struct twzdb_table t;
	int err = twzdb_table_open(tx, TWZDB_DECISIONS, 0, &t);

	if (!err)
		err = twzdb_get(tx, t, (struct twzdb_slice){p->group, sizeof(p->group)}, &value);
	*found = !err;
	return err == TWZDB_E_NOTFOUND ? 0 : err;
}

/* A takeover there is soon over. */
static int begin_past(struct twzdb *db, struct twzdb_txn **tx)
{
	const struct timespec nap = {0, 1000000};
	int err = twzdb__begin_past(db, tx);

	for (int i = 0; i < PATIENCE_MS && err == TWZDB_E_BUSY; i++) {
		nanosleep(&nap, NULL);
		err = twzdb__begin_past(db, tx);
	}
	return err;
}

static int ask(const struct twzdb *db, const struct prep_pm *p, struct asked *a)
{
	struct twzdb_txn *tx;
	int err;

	if (memcmp(p->coordinator, db->id, sizeof(p->coordinator)) >= 0)
		return twzdb__err(TWZDB_E_CORRUPT, "its coordinator has not the lowest ID");
	err = find(db, p, a);
	if (err)
		return err;
	/* An image of our own is what restart recovery made of it; what others are at may be unfinished. */
	a->sure = !a->db->watch;
	err = a->db->read_only ? twzdb_begin(a->db, TWZDB_RDONLY, &tx) : begin_past(a->db, &tx);
	if (err)
		return err;
	err = look_up(tx, p, &a->found);
	twzdb_abort(tx);
	if (!err && !a->found && !a->sure)
		err = twzdb__err(TWZDB_E_BUSY, "it is in use, and may not be written by us");
	return err;
}

/* --- acting --- */

/* With the writer lock. */
static int act(struct twzdb *db, const struct prep_pm *p, bool commit)
{
	struct twzdb__shared *sh = db->sh;
	int err = twzdb__prep_end(db, p, commit, NULL);

	if (err)
		return err;
	twzdb__listen_tell_all(db, db->root->ts);
	if (ld64(&db->root->ts) > ld64(&sh->ts))
		__atomic_store_n(&sh->ts, db->root->ts, __ATOMIC_SEQ_CST);
	st64_rel(&sh->failed, 0);
	twzdb__listen_news(db);
	return 0;
}

static int settle_locked(struct twzdb *db, struct asked *a, uint64_t group[2])
{
	const struct prep_pm *p;
	int err = twzdb__prep_get(db, &p);

	if (err)
		return err;
	if (!p) { /* somebody has done it meanwhile */
		uint64_t doubt = TWZDB__IN_DOUBT;

		__atomic_compare_exchange_n(&db->sh->failed, &doubt, 0, false, __ATOMIC_SEQ_CST,
					    __ATOMIC_RELAXED);
		return 0;
	}
	memcpy(group, p->group, sizeof(p->group));
	err = ask(db, p, a);
	if (err)
		return twzdb__doubt_error(db, twzdb_errmsg());
	return act(db, p, a->found);
}

int twzdb__doubt_settle(struct twzdb *db, int timeout_ms)
{
	struct asked a = {0};
	uint64_t token, group[2] = {0, 0};
	int err;

	if (ld64_acq(&db->sh->failed) != TWZDB__IN_DOUBT)
		return 0;
	err = twzdb__lock_take(db, NULL, timeout_ms, &token);
	if (err)
		return err;
	err = settle_locked(db, &a, group);
	twzdb__lock_drop(db, NULL, token);
	/* It need not keep the decision for us any more; if it does not hear that, it keeps it longer. */
	if (!err && a.db && a.found && !a.db->read_only)
		(void)!twzdb__decision_told(a.db, group, db->id);
	if (a.db)
		(void)twzdb_close(a.db);
	return err;
}

int twzdb_resolve(struct twzdb *db, bool commit)
{
	const struct prep_pm *p;
	uint64_t token;
	int err;

	if (!db)
		return twzdb__err(TWZDB_E_INVAL, "resolve: no database");
	err = twzdb__enter(db);
	if (!err && db->read_only)
		err = twzdb__err(TWZDB_E_READONLY, "%s: database '%s' is open for reading only",
				 twz_store_path(db->s), db->name);
	if (!err && ld64_acq(&db->sh->failed) != TWZDB__IN_DOUBT)
		err = twzdb__err(TWZDB_E_STATE, "resolve: database '%s' is not in doubt", db->name);
	if (!err)
		err = twzdb__lock_take(db, NULL, TWZDB__ASK_MS, &token);
	if (err)
		return err;
	err = twzdb__prep_get(db, &p);
	if (!err && p)
		err = act(db, p, commit);
	twzdb__lock_drop(db, NULL, token);
	return err;
}

int twzdb_doubt(struct twzdb *db)
{
	if (!db)
		return twzdb__err(TWZDB_E_INVAL, "doubt: no database");
	if (ld64_acq(&db->sh->failed) != TWZDB__IN_DOUBT)
		return 0;
	return twzdb__doubt_error(db, "it could not be asked when this one was opened");
}
