/* SPDX-License-Identifier: MIT
 * txrecover.c -- rolling back what dead processes left, and checking undo logs (TX.md, docs/durability.md D1, D8, D10, D13)
 *
 * Two phases: verify every entry of every log concerned (nothing is written), then restore,
 * sync, retire. Restoring is idempotent, so whoever dies in it is followed by another from the
 * start.
 */
#include <time.h>

#include "txreg.h"
#include "tx_internal.h"

/* This thread is rolling back: the objects it opens must not start another rollback. */
static _Thread_local int recovering;

/* --- one log --- */

/*
 * A valid entry still names what this store has: an object that is gone needs nothing; anything
 * else out of place is a forgery.
 */
static int verify_target(struct twz_store *s, const struct twz__undo *u, struct twz_obj_stat *st)
{
	char id[TWZ_OID_STR_LEN];
	int err = 0;

	twz_oid_str(u->id, id);
	if (!twz_oid_eq(st->id, u->id)) {
		*st = (struct twz_obj_stat){.size = sizeof(*st)};
		err = twz_obj_stat_id(s, u->id, st);
	}
	if (err == TWZ_E_NOENT)
		return 0;
	if (err)
		return err;
	if (st->flags & (TWZ_OBJ_LOG | TWZ_OBJ_TXLOG))
		return twz__corrupt(s->path, "an undo entry names log object %s", id);
	if (u->off < TWZ_DATA_OFF || u->off - TWZ_DATA_OFF > st->len ||
	    u->len > st->len - (u->off - TWZ_DATA_OFF))
		return twz__corrupt(
			s->path,
			"an undo entry names bytes %u..%llu of object %s, which has %llu bytes from %llu on",
			u->off, (unsigned long long)u->off + u->len, id,
			(unsigned long long)st->len, (unsigned long long)TWZ_DATA_OFF);
	return 0;
}

static int verify(struct twz_store *s, struct twz__txlog *l)
{
	struct twz_obj_stat st = {.size = sizeof(st)};
	int err = twz__txlog_scan(l);

	for (size_t i = 0; i < l->undo_cnt && !err; i++)
		err = verify_target(s, &l->undo[i], &st);
	return err;
}

static int restore_one(struct twz__txlog *l, const struct twz__undo *u, struct twz_obj *o)
{
	uint8_t buf[4096], *to = (uint8_t *)o->base + u->off;
	int err;

	for (uint32_t at = 0, n; at < u->len; at += n) {
		n = u->len - at < sizeof(buf) ? u->len - at : (uint32_t)sizeof(buf);
		err = twz__txlog_read(l, u, at, buf, n);
		if (err)
			return err;
		memcpy(to + at, buf, n);
	}
	twz_flush(l->store, to, u->len);
	return 0;
}

/* Restore newest first, make it durable, retire. */
static int roll_back(struct twz_store *s, struct twz__txlog *l)
{
	struct twz_obj *o = NULL;
	int err = 0;

	for (size_t i = l->undo_cnt; i-- > 0 && !err;) {
		const struct twz__undo *u = &l->undo[i];

		if (!o || !twz_oid_eq(o->id, u->id)) {
			if (o)
				twz__obj_put(o);
			o = NULL;
			err = twz__obj_get(s, u->id, TWZ_READ | TWZ_WRITE, &o);
			if (err == TWZ_E_NOENT) {
				err = 0;
				continue;
			}
			if (!err)
				err = twz_obj_refresh(
					o); /* it may have grown since this process mapped it */
		}
		if (!err && u->off - TWZ_DATA_OFF + u->len > o->len)
			err = twz__corrupt(s->path,
					   "an object shrank under an unfinished transaction");
		if (!err)
			err = restore_one(l, u, o);
	}
	if (o)
		twz__obj_put(o);
	if (err)
		return err;
	twz_fence(s);
	if (l->undo_cnt && s->granularity == TWZ_GRAN_PAGE)
		err = s->media->ops->sync_all(s->media);
	if (!err)
		err = twz__txlog_retire(
			l,
			l->dirty); /* D1: the generation goes up before anything new is written */
	return err ? twz__err_in(TWZ_E_IO, "%s: rolling back a transaction", s->path) : 0;
}

/* --- at restart: every log there is --- */

/* Logs kept for the store's next users. */
#define KEEP_CNT 4

/*
 * Open and verify logs 0, 1, .. up to the first that does not exist; *HEADS: the highest first,
 * linked by next.
 */
static int find_all(struct twz_store *s, struct twz__txlog **heads)
{
	struct twz__txlog *l;
	int err = 0;

	for (uint32_t k = 0; k < TWZ_TXLOG_CNT_MAX && !err; k++) {
		err = twz__txlog_open(s, twz__txlog_id(s, k), &l);
		if (err == TWZ_E_NOENT)
			return 0;
		if (err)
			break;
		l->reg_idx = k;
		l->next = *heads;
		*heads = l;
		err = verify(s, l);
	}
	return err;
}

/*
 * Done with a retired log: delete what is not worth keeping, logs from the highest on, so that
 * no gap arises. Tidy only: what cannot be deleted is used again.
 */
static void settle(struct twz_store *s, struct twz__tx_rt *rt, struct twz__txlog *l)
{
	twz_oid id = l->segs[0].id;
	uint32_t k = l->reg_idx;
	bool keep;

	twz__txlog_close(l);
	keep = twz__txlog_sweep(s, id) || k < KEEP_CNT || rt->reg->made;
	if (!keep)
		keep = twz__obj_delete(s, id) != 0;
	if (keep && !rt->reg->made)
		rt->reg->made = k + 1;
}

static int recover_restart(struct twz_store *s, struct twz__tx_rt *rt)
{
	struct twz__txlog *l, *heads = NULL;
	int err = find_all(s, &heads);

	for (l = heads; l && !err; l = l->next)
		err = roll_back(s, l);
	while ((l = heads)) {
		heads = l->next;
		if (err)
			twz__txlog_close(l);
		else
			settle(s, rt, l);
	}
	return err;
}

/* --- while others run: transactions of dead processes --- */

static int recover_slot(struct twz_store *s, struct twz__tx_rt *rt, uint32_t idx)
{
	struct twz__txslot *slot = &rt->reg->slot[idx];
	struct twz__txlog *l;
	int err = twz__txlog_open(s, twz__txlog_id(s, idx), &l);

	if (!err) {
		err = verify(s, l);
		if (!err)
			err = roll_back(s, l);
		twz__txlog_close(l);
	}
	if (err == TWZ_E_NOENT)
		err = 0; /* its creator died before the object was there */
	if (!err)
		twz__txreg_set_free(slot);
	else
		twz__txreg_set_state(slot, err == TWZ_E_CORRUPT || err == TWZ_E_IO ? TWZ__TX_BROKEN
										   : TWZ__TX_OPEN);
	if (err == TWZ_E_IO)
		twz__tx_fail_store(s);
	return err;
}

/* Somebody is rolling the slot's transaction back: wait until it is done or its doer is dead. */
static void wait_slot(struct twz_store *s, const struct twz__txslot *slot)
{
	const struct timespec nap = {0, 200000};

	while (twz__txreg_state(slot) == TWZ__TX_ROLLBACK && twz__txreg_is_alive(s, slot))
		nanosleep(&nap, NULL);
}

static int look_at_slot(struct twz_store *s, struct twz__tx_rt *rt, uint32_t idx)
{
	struct twz__txslot *slot = &rt->reg->slot[idx];
	uint32_t state;
	int err;

	while ((state = twz__txreg_state(slot)) != TWZ__TX_IDLE) {
		if (state == TWZ__TX_BROKEN)
			return twz__corrupt(
				s->path,
				"a dead process's transaction could not be rolled back: close the store everywhere and "
				"reopen it, or restore a backup");
		if (state == TWZ__TX_UNUSABLE ||
		    (state == TWZ__TX_OPEN && twz__txreg_is_alive(s, slot)))
			return 0;
		if (state == TWZ__TX_ROLLBACK && twz__txreg_is_alive(s, slot))
			wait_slot(s, slot);
		else if (twz__txreg_take_over(s, rt, idx, &err))
			return recover_slot(s, rt, idx);
		else if (err)
			return err;
	}
	return 0;
}

static int recover_dead(struct twz_store *s, struct twz__tx_rt *rt)
{
	uint32_t n = __atomic_load_n(&rt->reg->used, __ATOMIC_ACQUIRE);
	int err = 0;

	if (__atomic_load_n(&s->core.sh->failed, __ATOMIC_ACQUIRE))
		return 0; /* D17: what is durable is decided at restart */
	for (uint32_t i = 0; i < n && !err; i++)
		err = look_at_slot(s, rt, i);
	return err;
}

int twz__tx_recover(struct twz_store *s, bool restart)
{
	struct twz__tx_rt *rt;
	int err;

	if (recovering)
		return 0;
	err = twz__tx_rt_get(s, &rt);
	if (err)
		return err;
	recovering = 1;
	err = restart ? recover_restart(s, rt) : recover_dead(s, rt);
	recovering = 0;
	return err;
}

/* --- check --- */

/* State of the log in the registry; IDLE for one that is in no slot. */
static uint32_t slot_state(struct twz_store *s, const struct twz__txreg *reg, twz_oid id)
{
	uint32_t n = __atomic_load_n(&reg->used, __ATOMIC_ACQUIRE);

	for (uint32_t k = 0; k < n && k < TWZ__TXREG_CNT; k++)
		if (twz_oid_eq(twz__txlog_id(s, k), id))
			return twz__txreg_state(&reg->slot[k]);
	return TWZ__TX_IDLE;
}

int twz__check_txlog(struct twz_obj *o, struct twz__checker *c)
{
	struct twz_store *s = o->store;
	struct twz__tx_rt *rt;
	struct twz__txlog *l;
	char where[64], id[TWZ_OID_STR_LEN];
	uint32_t kind;
	int err;

	if (!(o->flags & TWZ_OBJ_TXLOG))
		return 0;
	snprintf(where, sizeof(where), "undo log %s", twz_oid_str(o->id, id));
	err = twz__tx_rt_get(s, &rt);
	if (err)
		return err;
	err = twz__txlog_kind(s, o->id, &kind);
	if (!err && kind != TWZ_TXLOG_HEAD)
		return 0;
	if (!err)
		err = twz__txlog_open(s, o->id, &l);
	if (err) {
		twz__found(c, where, "%s", twz_errmsg());
		return 0;
	}
	if (slot_state(s, rt->reg, o->id) == TWZ__TX_IDLE) { /* an open one changes while we look */
		err = verify(s, l);
		if (err)
			twz__found(c, where, "%s", twz_errmsg());
		else if (l->undo_cnt)
			twz__found(c, where,
				   "holds a transaction that was not rolled back (%zu entries)",
				   l->undo_cnt);
	}
	twz__txlog_close(l);
	return 0;
}
