/* SPDX-License-Identifier: MIT
 * group.c -- transactions over several attached databases
 *
 * With journal_mode=DELETE, SQLite's commit point for several attached files is the deletion of
 * the super-journal; errors of the calls after it are ignored. So the members commit there. Where there is no
 * super-journal (journal_mode=MEMORY), all of them have been through phase one before the first is told phase two: so they commit
 * there. The engine makes one transaction of theirs (docs/durability.md D16): all or none, across a crash too. A connection
 * takes writer locks by trying, or waits for a bounded time, so two that want them in different orders do not wait for ever.
 */
#include <pthread.h>

#include "internal.h"

#define MEMBERS_MAX 128 /* SQLite attaches at most 125 */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct twzvfs_file *files;
/*
 * A file whose native tables alone changed writes no page, so SQLite does not tell it the name of
 * the super-journal. It belongs to the group of the connection that is just committing.
 */
static _Thread_local sqlite3 *committing;

void twzvfs__group_committing(sqlite3 *db)
{
	committing = db;
}

void twzvfs__group_add(struct twzvfs_file *f)
{
	pthread_mutex_lock(&mutex);
	f->next = files;
	files = f;
	pthread_mutex_unlock(&mutex);
}

void twzvfs__group_remove(struct twzvfs_file *f)
{
	struct twzvfs_file **p;

	pthread_mutex_lock(&mutex);
	for (p = &files; *p && *p != f; p = &(*p)->next)
		;
	if (*p)
		*p = f->next;
	pthread_mutex_unlock(&mutex);
}

/*
 * By name, not by sqlite3_database_file_object(): with another VFS on top of this one, that object
 * is the other's. The list is kept in the order of last use, so whoever writes is found at once.
 */
struct twzvfs_buf *twzvfs__group_journal(const char *name)
{
	const char *db = sqlite3_filename_database(name);
	struct twzvfs_file **p, *f;

	pthread_mutex_lock(&mutex);
	for (p = &files; *p && (*p)->name != db; p = &(*p)->next)
		;
	f = *p;
	if (f && p != &files) {
		*p = f->next;
		f->next = files;
		files = f;
	}
	pthread_mutex_unlock(&mutex);
	return f && !f->journal.in_use ? &f->journal : NULL;
}

static bool same_connection(const struct twzvfs_file *a, const struct twzvfs_file *b)
{
	return a->conn && b->conn && *a->conn == *b->conn;
}

/*
 * An unqualified PRAGMA locking_mode reaches one file only and means all of the connection,
 * later ATTACHes too.
 */
void twzvfs__group_exclusive(struct twzvfs_file *f, bool on)
{
	struct twzvfs_file *o;

	f->exclusive = on;
	f->unlocks = f->committed = false;
	pthread_mutex_lock(&mutex);
	for (o = files; o; o = o->next)
		if (same_connection(o, f)) {
			o->exclusive = on;
			o->unlocks = o->committed = false;
		}
	pthread_mutex_unlock(&mutex);
}

void twzvfs__group_join(struct twzvfs_file *f)
{
	struct twzvfs_file *o;

	pthread_mutex_lock(&mutex);
	for (o = files; o; o = o->next)
		if (o != f && same_connection(o, f))
			f->exclusive |= o->exclusive;
	pthread_mutex_unlock(&mutex);
}

/*
 * The members belong to the connection that is deleting SUPER, so nobody else touches them
 * meanwhile.
 */
static int collect(const char *super, struct twzvfs_file **out)
{
	struct twzvfs_file *f;
	int n = 0;

	pthread_mutex_lock(&mutex);
	for (f = files; f && n < MEMBERS_MAX; f = f->next)
		if (f->super ? !strcmp(f->super, super) && f->prepared
			     : f->rows_dirty && f->conn && committing && *f->conn == committing)
			out[n++] = f;
	pthread_mutex_unlock(&mutex);
	return n;
}

/* Those without a super-journal that F's connection has brought as far. */
static int collect_beside(struct twzvfs_file *f, struct twzvfs_file **out)
{
	struct twzvfs_file *o;
	int n = 0;

	out[n++] = f;
	pthread_mutex_lock(&mutex);
	for (o = files; o && n < MEMBERS_MAX; o = o->next)
		if (o != f && same_connection(o, f) && !o->super &&
		    ((o->prepared && o->dirty) || (o->rows_dirty && *o->conn == committing)))
			out[n++] = o;
	pthread_mutex_unlock(&mutex);
	return n;
}

/* All or none: what happened to one of them has happened to all. */
static int commit_members(struct twzvfs_file **member, int n)
{
	struct twzdb_txn *txn[MEMBERS_MAX];
	int cnt = 0, err = 0, rc = SQLITE_OK, i;
	bool wanted;

	for (i = 0; i < n; i++) {
		int begun = twzvfs__commit_begin(member[i], &wanted);

		err = err ? err : begun;
		if (wanted) {
			txn[cnt] = member[i]->txn;
			member[cnt++] = member[i];
		}
	}
	if (!cnt)
		return SQLITE_OK;
	if (!err)
		err = cnt == 1 ? twzdb_commit_next(txn[0])
			       : twzdb_group_commit_next(txn, (size_t)cnt);
	else
		for (i = 0; i < cnt; i++)
			twzvfs__commit_drop(member[i]);
	for (i = 0; i < cnt; i++) {
		int one = twzvfs__commit_end(member[i], err);

		rc = rc ? rc : one;
	}
	return rc;
}

int twzvfs__group_commit(const char *super)
{
	struct twzvfs_file *member[MEMBERS_MAX];

	return commit_members(member, collect(super, member));
}

int twzvfs__group_phase_two(struct twzvfs_file *f)
{
	struct twzvfs_file *member[MEMBERS_MAX];

	/* The usual connection has main and temp alone. */
	if (!f->conn || !*f->conn || f->super || !sqlite3_db_name(*f->conn, 2))
		return twzvfs__commit(f);
	return commit_members(member, collect_beside(f, member));
}
