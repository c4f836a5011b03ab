/* SPDX-License-Identifier: MIT
 * txreg.h -- who owns which undo log: a table in memory shared by the processes that have the store open
 *
 * Slot k is about log k of the store (format_tx.h), whether that exists yet or not; an idle one
 * without a living owner is free for anyone. Slots change hands under the metadata lock; the
 * owner changes the state of its slot alone. Every intermediate state is safe to die in: owner
 * fields are written so that a half-written pair names nobody alive.
 */
#ifndef TWZ_SRC_TXREG_H
#define TWZ_SRC_TXREG_H

#include "txlog.h"

#define TWZ__TXREG_CNT TWZ_TXLOG_CNT_MAX

enum twz__txstate {
	TWZ__TX_IDLE = 0,     /* the log is retired */
	TWZ__TX_OPEN = 1,     /* a transaction is in progress */
	TWZ__TX_ROLLBACK = 2, /* its owner died; the new owner rolls it back */
	TWZ__TX_BROKEN =
		3, /* it could not be rolled back: nothing in the store opens until restart */
	TWZ__TX_UNUSABLE = 4, /* the idle log is damaged: nobody takes it, check reports it */
};

struct twz__txslot {
	uint64_t incarnation; /* of the owner; 0 = nobody */
	uint32_t proc;
	uint32_t state; /* enum twz__txstate */
};

struct twz__txreg {
	uint32_t used; /* slots at and above it were never owned */
	uint32_t made; /* logs below it exist; more may */
	uint32_t pad[6];
	struct twz__txslot slot[TWZ__TXREG_CNT];
};

/* This process's side: logs it owns and transactions it has open. */
struct twz__tx_rt {
	uint64_t id; /* never used twice in a process: threads remember transactions by it */
	struct twz__txreg *reg;
	pthread_mutex_t mutex; /* pool and open */
	struct twz__txlog *pool;
	struct twz_tx *open;
};

/* The run-time side of S, made on first use. */
int twz__tx_rt_get(struct twz_store *s, struct twz__tx_rt **out);

/*
 * A log for a new transaction: from the pool, or the lowest one nobody owns, made if it does not
 * exist. Its slot is in state OPEN.
 */
int twz__txreg_acquire(struct twz_store *s, struct twz__tx_rt *rt, struct twz__txlog **out);
/* Back to the pool; the log is retired. */
void twz__txreg_release(struct twz__tx_rt *rt, struct twz__txlog *l);
/* Give all pooled logs to whoever needs one next. */
void twz__txreg_drain(struct twz__tx_rt *rt);

/* Become owner of a dead process's open transaction. False: somebody else was quicker. */
bool twz__txreg_take_over(struct twz_store *s, struct twz__tx_rt *rt, uint32_t idx, int *err);
bool twz__txreg_is_mine(struct twz_store *s, const struct twz__txslot *slot);
bool twz__txreg_is_alive(struct twz_store *s, const struct twz__txslot *slot);
uint32_t twz__txreg_state(const struct twz__txslot *slot);
void twz__txreg_set_state(struct twz__txslot *slot, uint32_t state);
/* The slot's log is retired: anyone may have it. */
void twz__txreg_set_free(struct twz__txslot *slot);

#endif
