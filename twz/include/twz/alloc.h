/* SPDX-License-Identifier: MIT
 * alloc.h -- crash-safe allocation inside an object
 *
 * An arena occupies an object's data from an offset to its end and grows with twz_obj_resize.
 * Allocation is an undo transaction of its own, or joins the caller's: a crash or abort can
 * neither leak a block nor leave a pointer to a free one, because the pointer to the block (its
 * owner) changes in the same transaction (paper 3.5; the original libtwz's owner-pointer
 * interface). Threads and processes: calls on one arena serialise by twz_obj_lock inside, held
 * until the outermost transaction ends. Two transactions that wait for each other's arenas get
 * TWZ_E_TIMEOUT after ten seconds: take arenas in one order. Any call on an object without
 * arena: TWZ_E_NOENT. After any error nothing was changed.
 */
#ifndef TWZ_ALLOC_H
#define TWZ_ALLOC_H

#include "twz/tx.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Make [OFF, end of data) of O an arena. OFF is an offset in the slot, as in a pointer; it is
 * rounded up to 64, and to TWZ_DATA_OFF. Durable when it returns, whatever becomes of an open
 * transaction. Errors: TWZ_E_EXIST, TWZ_E_INVAL (no room, or a log).
 */
TWZ_API TWZ_MUST_CHECK int twz_arena_create(struct twz_obj *o, uint64_t off);

/*
 * Allocate LEN bytes (1 .. 256 MiB, zeroed, 16-byte aligned), store the persistent pointer to
 * them in *OWNER (in any open object of the same store; it must be null) and, if ADDR is given,
 * their address. The memory is made durable by the commit; what is changed in it in later
 * transactions must be recorded. Errors: TWZ_E_NOSPC, TWZ_E_INVAL, TWZ_E_TOOBIG.
 */
TWZ_API TWZ_MUST_CHECK int twz_alloc(struct twz_obj *o, size_t len, twz_pptr *owner, void **addr);

/*
 * Free the block *OWNER points to and make *OWNER null, in one step. Errors: TWZ_E_INVAL (not a
 * block: nothing changed), TWZ_E_CORRUPT.
 */
TWZ_API TWZ_MUST_CHECK int twz_free(struct twz_obj *o, twz_pptr *owner);

/* Move or extend the block to LEN bytes; contents kept, new bytes zero; *OWNER follows. */
TWZ_API TWZ_MUST_CHECK int twz_realloc(struct twz_obj *o, size_t len, twz_pptr *owner, void **addr);

/* Usable bytes of the block at ADDR; 0 if it is none. */
TWZ_API size_t twz_alloc_len(struct twz_obj *o, const void *addr);

struct twz_arena_stat {
	uint64_t total_len, used_len, free_len, block_cnt;
};
TWZ_API TWZ_MUST_CHECK int twz_arena_stat(struct twz_obj *o, struct twz_arena_stat *st);

#ifdef __cplusplus
}
#endif
#endif
