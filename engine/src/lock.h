/* SPDX-License-Identifier: MIT
 * lock.h -- the writer lock, as lock.c offers it (included by internal.h only)
 */
#ifndef TWZDB_LOCK_H
#define TWZDB_LOCK_H

/* --- lock.c --- */
int twzdb__lock_init(struct sh_lock *l);
/* This process is going to use the lock. */
int twzdb__lock_join(struct twzdb *db);
/* Lock the robust mutex: for a few stores, each of which leaves what it guards in order. */
int twzdb__guard(struct sh_lock *l);
/* TIMEOUT_MS < 0 for ever, 0 tries. Runs takeover when the last owner died. */
/* RD: the transaction's reader slot; NULL: of a transaction that is not one. */
int twzdb__lock_take(struct twzdb *db, struct sh_reader *rd, int timeout_ms, uint64_t *token);
void twzdb__lock_drop(struct twzdb *db, const struct sh_reader *rd, uint64_t token);
void twzdb__lock_unkeep(struct twzdb *db, uint64_t token);
void twzdb__lock_leave(struct twzdb *db);
#define TWZDB__LOCK_KEPT ((uint64_t)1 << 62) /* in a ticket */
static inline uint64_t twzdb__lock_kept(const struct twzdb *db, const struct sh_reader *rd)
{
	return TWZDB__LOCK_KEPT | (uint64_t)(rd - db->sh->reader) << 8 | db->proc;
}
/* Go on with a lock that was kept? */
static inline bool twzdb__lock_resume(struct twzdb *db, struct sh_reader *rd, uint64_t *token)
{
	uint64_t kept = twzdb__lock_kept(db, rd);

	if (ld64(&db->sh->lock.owner) != kept)
		return false;
	__atomic_store_n(&rd->writing, 1, __ATOMIC_RELAXED);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	*token = kept;
	if (likely(__atomic_load_n(&db->sh->lock.owner, __ATOMIC_ACQUIRE) == kept &&
		   !ld32(&db->sh->lock.need_recover)))
		return true;
	st64_rel(&rd->writing, 0);
	return false;
}
/* Drop a lock that is kept. */
static inline void twzdb__lock_rest(struct twzdb *db, uint64_t token)
{
	struct sh_lock *l = &db->sh->lock;

	st64_rel(&db->sh->reader[token >> 8 & 0xffff].writing, 0);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (unlikely(__atomic_load_n(&l->owner, __ATOMIC_ACQUIRE) != token || ld32(&l->waiters)))
		twzdb__lock_unkeep(db, token);
}
/* For readers stuck at a half-changed node: is the writer dead? */
bool twzdb__lock_settled(struct twzdb *db);
bool twzdb__lock_owner_dead(struct twzdb *db);
/* Bring the database to its last commit, under the lock (open, takeover). */
int twzdb__recover(struct twzdb *db);

#endif
