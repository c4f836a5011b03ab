/* SPDX-License-Identifier: MIT
 * prepare.c -- a participant's share of a transaction of several databases, between PREPARE and the decision (D16)
 *
 *	            twzdb__prep_write()               twzdb__prep_end(commit)
 *	nothing ------------------------> prepared ---------------------------> nothing, applied
 *	                                     `--------------------------------> nothing
 *	                                             twzdb__prep_end(drop)
 *
 * The commit record the transaction would have had lies in an object of its own, TWZDB_NO_PREP, synced there before a
 * record of one line, PREPARE, says that it counts (D2d). From then on the root's words `prepared` say so, as homes
 * that the record changes: so a checkpoint, a restart or a takeover need not know about it. The
 * writer lock is kept until another record of one line, RESOLVED or DROPPED, says how it ended; if the lock's owner dies,
 * or power fails, nobody writes before that (doubt.c). So no home a prepared record names is changed meanwhile, and no block
 * it names is reused.
 *
 * Replay of PREPARE and RESOLVED reads the object. So its bytes are overwritten only past a checkpoint behind the last record about
 * them: they are put one after the other, and when the end is reached the log is emptied first.
 */
#include "group.h"
#include "apply.h"

#include <sys/uio.h>
#include <xxhash.h>

#define PREP_MIN   ((uint64_t)64 << 10)
#define PREP_USUAL ((uint64_t)1 << 20) /* up to here it grows rather than have the log emptied */
#define PREP_MAX   TWZ_DATA_MAX
#define ALIGN	   ((uint64_t)TWZ_LINE_SIZE)

static uint64_t round_up(uint64_t x, uint64_t to)
{
	return (x + to - 1) & ~(to - 1);
}

/* --- the object --- */

/* Nothing but the root's FOT leads to it: the entry is the commit point. */
static int prep_create(struct twzdb *db, uint64_t len)
{
	struct sh_create *lock;
	struct twz_obj *o = NULL;
	int err = twzdb__create_lock(db->s, &lock);

	if (err)
		return err;
	err = twzdb__obj_create(db->s, TWZDB__KIND_PREP, len, &o);
	if (!err)
		err = twz_fot_set(db->map[TWZDB_NO_ROOT].obj, TWZDB_NO_PREP, twz_obj_id(o),
				  TWZ_READ | TWZ_WRITE);
	pthread_mutex_unlock(&lock->mutex);
	twz_obj_close(o);
	return err ? twzdb__from_twz(err, "object for prepared transactions") : 0;
}

bool twzdb__prep_is_there(struct twz_obj *root, struct twz_fot_info *fot)
{
	return !twz_fot_get(root, TWZDB_NO_PREP, fot) && !twz_oid_is_null(fot->id);
}

static int prep_open(struct twzdb *db, uint64_t len)
{
	struct twz_obj *root = db->map[TWZDB_NO_ROOT].obj;
	struct twz_fot_info fot;
	int err = 0;

	if (!twzdb__prep_is_there(root, &fot)) {
		if (!len)
			return TWZDB_E_NOTFOUND;
		err = prep_create(db, len);
		if (!err && !twzdb__prep_is_there(root, &fot))
			err = twzdb__corrupt(db, DB_PTR(0), "no object of prepared transactions");
	} else if (len) {
		/* Who made the entry may have died before it was durable: now it is, before PREPARE relies on it (D8, D13). */
		err = twz_fot_set(root, TWZDB_NO_PREP, fot.id, TWZ_READ | TWZ_WRITE);
		if (err)
			err = twzdb__from_twz(err, "object of prepared transactions");
	}
	if (err)
		return err;
	return twzdb__obj_open(db->s, fot.id, TWZ_READ | TWZ_WRITE,
			       "object of prepared transactions", &db->prep);
}

int twzdb__prep_open(struct twzdb *db, uint64_t len)
{
	int err;

	pthread_mutex_lock(&db->mutex);
	err = db->prep ? 0 : prep_open(db, len);
	pthread_mutex_unlock(&db->mutex);
	return err;
}

/* LEN bytes at OFF of it, or NULL. */
static void *prep_at(struct twzdb *db, uint64_t off, uint64_t len)
{
	struct twz_obj *o = db->prep;

	if (!o)
		return NULL;
	if ((off > twz_obj_len(o) || len > twz_obj_len(o) - off) && twz_obj_refresh(o))
		return NULL;
	return off > twz_obj_len(o) || len > twz_obj_len(o) - off
		       ? NULL
		       : (uint8_t *)twz_obj_data(o) + off;
}

void twzdb__prep_close(struct twzdb *db)
{
	twz_obj_close(db->prep);
	db->prep = NULL;
}

/* Room for LEN bytes behind what records since the tail may name: *OFF. */
static int prep_room(struct twzdb *db, uint64_t len, uint64_t *off)
{
	uint64_t have, want;
	int err = twzdb__prep_open(db, len > PREP_MIN ? len : PREP_MIN);

	if (err)
		return err;
	*off = round_up(ld64(&db->sh->prep_next), ALIGN);
	have = twz_obj_len(db->prep);
	want = *off + len > 2 * have ? *off + len : 2 * have;
	if (*off + len > have && want <= PREP_USUAL && !twz_obj_resize(db->prep, want))
		have = twz_obj_len(db->prep);
	if (*off + len <= have)
		return 0;
	*off = 0;
	err = twz_log_checkpoint(db->log);
	if (!err && len > have)
		err = twz_obj_resize(db->prep, len);
	if (err == TWZ_E_IO || err == TWZ_E_FAILED)
		st64_rel(&db->sh->failed, 1);
	return err ? twzdb__from_twz(err, "room for a prepared transaction") : 0;
}

/* --- what is prepared --- */

static uint64_t prep_sum(const struct prep_pm *p)
{
	return XXH3_64bits((const uint8_t *)p + sizeof(p->sum), p->len - sizeof(p->sum));
}

static uint64_t head_len(uint64_t path_len, uint64_t name_len)
{
	return round_up(sizeof(struct prep_pm) + path_len + name_len, 8);
}

static const void *prep_rec(const struct prep_pm *p)
{
	return (const uint8_t *)p + head_len(p->path_len, p->name_len);
}

static uint64_t prep_rec_len(const struct prep_pm *p)
{
	return p->len - head_len(p->path_len, p->name_len);
}

/* D10: does W lead to a whole transaction? Its items are checked by who is going to apply them. */
static const char *prep_look(struct twzdb *db, const struct prepared_pm *w,
			     const struct prep_pm **out)
{
	const struct prep_pm *p;

	if (w->off % ALIGN || w->len < sizeof(*p) + sizeof(struct lrec_pm) || w->len % 8 ||
	    w->off > PREP_MAX || w->len > PREP_MAX)
		return "place of a prepared transaction out of range";
	if (twzdb__prep_open(db, 0))
		return "no object of prepared transactions";
	p = prep_at(db, w->off, w->len);
	if (!p)
		return "prepared transaction beyond the end of its object";
	if (p->len != w->len || p->sum != w->sum || prep_sum(p) != w->sum)
		return "checksum of a prepared transaction";
	if (p->path_len > w->len || p->name_len > TWZDB_NAME_MAX ||
	    head_len(p->path_len, p->name_len) + sizeof(struct lrec_pm) > w->len)
		return "prepared transaction with wrong lengths";
	*out = p;
	return NULL;
}

static int prep_rec_check(struct twzdb *db, const struct prep_pm *p, uint64_t ts)
{
	const struct lrec_pm *l = prep_rec(p);

	if (l->magic != TWZDB_LREC_MAGIC || l->kind != TWZDB_LREC_COMMIT)
		return twzdb__corrupt(db, DB_PTR(offsetof(struct db_pm, prepared)),
				      "prepared transaction is no commit");
	return twzdb__lrec_check_after(db, l, prep_rec_len(p), ts);
}

int twzdb__prep_get(struct twzdb *db, const struct prep_pm **out)
{
	const struct prepared_pm w = db->root->prepared;
	const char *rule;

	*out = NULL;
	rule = w.len ? prep_look(db, &w, out) : NULL;
	return rule ? twzdb__corrupt(db, DB_PTR(offsetof(struct db_pm, prepared)), rule) : 0;
}

int twzdb__prep_check(struct twzdb *db, const struct prep_pm *p)
{
	return prep_rec_check(db, p, ld64(&db->root->ts));
}

int twzdb__prep_names(const struct prep_pm *p, char **path, char **name)
{
	const char *text = (const char *)(p + 1);

	*path = strndup(text, p->path_len);
	*name = strndup(text + p->path_len, p->name_len);
	if (*path && *name)
		return 0;
	free(*path);
	free(*name);
	*path = *name = NULL;
	return twzdb__err(-ENOMEM, "no memory for the coordinator's name");
}

/* --- writing --- */

static void prep_fill(struct prep_pm *p, const struct twzdb__chair *c, const void *rec, size_t len)
{
	char *text = (char *)(p + 1);
	uint8_t *body;

	*p = (struct prep_pm){.path_len = (uint32_t)strlen(c->path),
			      .name_len = (uint32_t)strlen(c->name)};
	memcpy(p->group, c->group, sizeof(p->group));
	memcpy(p->coordinator, c->coordinator, sizeof(p->coordinator));
	memcpy(p->store, c->store, sizeof(p->store));
	body = (uint8_t *)p + head_len(p->path_len, p->name_len);
	memset(body - 8, 0, 8);
	memcpy(text, c->path, p->path_len);
	memcpy(text + p->path_len, c->name, p->name_len);
	memcpy(body, rec, len);
	p->len = (uint64_t)(body - (uint8_t *)p) + len;
	p->sum = prep_sum(p);
}

/* Append and apply: cannot fail but in the append. */
static int step(struct twzdb *db, enum twzdb_lrec_kind kind, const struct prep_pm *p,
		const struct prepared_pm *w, uint64_t ts)
{
	struct group_pm g = {TWZDB_GROUP_MAGIC, 0, (uint16_t)kind, ts, *w, {0}};
	struct iovec iov = {&g, sizeof(g)};
	uint64_t lsn;
	int err;

	memcpy(g.group, p->group, sizeof(g.group));
	err = twzdb__append(db, &iov, 1, &lsn);
	if (err)
		return err;
	twzdb__apply_begin(db->sh);
	twzdb__group_apply(db, &g);
	twzdb__apply_end(db->sh);
	twz_log_applied(db->log, lsn);
	return 0;
}

int twzdb__prep_write(struct twzdb *db, const struct twzdb__chair *chair, const void *rec,
		      size_t len)
{
	uint64_t off, all = head_len(strlen(chair->path), strlen(chair->name)) + len;
	struct prepared_pm w;
	struct prep_pm *p;
	int err;

	if (all > PREP_MAX)
		return twzdb__err(TWZDB_E_TOOBIG,
				  "a prepared transaction is longer than %llu bytes",
				  (unsigned long long)PREP_MAX);
	err = prep_room(db, all, &off);
	if (err)
		return err;
	p = prep_at(db, off, all);
	if (!p)
		return twzdb__corrupt(db, DB_PTR(0), "object of prepared transactions too short");
	prep_fill(p, chair, rec, len);
	/* The blocks it names were flushed by whoever built it: this fence is theirs too (D2a). */
	err = twz_sync(db->s, p, all);
	if (err == TWZ_E_IO || err == TWZ_E_FAILED)
		st64_rel(&db->sh->failed, 1);
	if (err)
		return twzdb__from_twz(err, "writing a prepared transaction");
	/* First: records that may be in the log from here on name these bytes. */
	st64(&db->sh->prep_next, off + all);
	w = (struct prepared_pm){all, off, p->sum};
	return step(db, TWZDB_LREC_PREPARE, p, &w, 0);
}

int twzdb__prep_end(struct twzdb *db, const struct prep_pm *p, bool commit, const void **rec)
{
	const struct prepared_pm w = db->root->prepared;
	const struct lrec_pm *l = prep_rec(p);
	int err = commit ? prep_rec_check(db, p, ld64(&db->root->ts)) : 0;

	if (err)
		return err;
	if (ld64(&db->sh->prep_next) < w.off + w.len) /* it is from another life of the segment */
		st64(&db->sh->prep_next, w.off + w.len);
	if (rec)
		*rec = l;
	return step(db, commit ? TWZDB_LREC_RESOLVED : TWZDB_LREC_DROPPED, p, &w,
		    commit ? l->ts : 0);
}

/* --- its records, from whoever replays them --- */

static bool of_group(const struct group_pm *g, const struct prep_pm *p)
{
	return !memcmp(g->group, p->group, sizeof(g->group));
}

int twzdb__group_check(struct twzdb *db, const void *rec, size_t len, uint64_t ts)
{
	const uint64_t where = DB_PTR(offsetof(struct db_pm, prepared));
	const struct group_pm *g = rec;
	const struct prep_pm *p;
	const char *rule;

	if (len != sizeof(*g) || g->version || g->kind < TWZDB_LREC_PREPARE ||
	    g->kind > TWZDB_LREC_DROPPED)
		return twzdb__corrupt(db, 0, "log record of a group out of range");
	rule = prep_look(db, &g->what, &p);
	if (!rule && !of_group(g, p))
		rule = "prepared transaction of another group";
	if (!rule && g->kind == TWZDB_LREC_RESOLVED &&
	    ((const struct lrec_pm *)prep_rec(p))->ts != g->ts)
		rule = "prepared transaction with another number";
	if (rule)
		return twzdb__corrupt(db, where, rule);
	return g->kind == TWZDB_LREC_RESOLVED ? prep_rec_check(db, p, ts) : 0;
}

/* Checked: what it leads to is there. */
static const struct prep_pm *known(struct twzdb *db, const struct group_pm *g)
{
	return prep_at(db, g->what.off, g->what.len);
}

void twzdb__group_apply(struct twzdb *db, const struct group_pm *g)
{
	const struct prep_pm *p = known(db, g);
	struct prepared_pm *w = &db->root->prepared;
	bool on = g->kind == TWZDB_LREC_PREPARE;

	if (g->kind == TWZDB_LREC_RESOLVED)
		twzdb__apply(db, prep_rec(p), prep_rec_len(p));
	st64(&w->off, on ? g->what.off : 0);
	st64(&w->sum, on ? g->what.sum : 0);
	st64_rel(&w->len, on ? g->what.len : 0);
}

int twzdb__group_flush(struct twzdb *db, const struct group_pm *g)
{
	const struct prep_pm *p = known(db, g);

	twz_flush(db->s, &db->root->prepared, sizeof(db->root->prepared));
	if (g->kind != TWZDB_LREC_RESOLVED)
		return 0;
	return twzdb__log_flush_own(db, 0, prep_rec(p), prep_rec_len(p));
}
