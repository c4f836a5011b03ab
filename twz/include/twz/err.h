/* SPDX-License-Identifier: MIT
 * err.h -- what can go wrong: one list of codes, names and texts
 *
 * Every call returns 0, -errno, or one of these. After a failure twz_errmsg() says, for this
 * thread, what happened, to which file or object, and what to do. Freestanding part (the enum)
 * is shared with the kernel module.
 */
#ifndef TWZ_ERR_H
#define TWZ_ERR_H

#include "twz/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* X(name, value, text). Values are never reused. */
#define TWZ_ERR_MAP(X)                                                                             \
	X(INVAL, -20000, "invalid argument")                                                       \
	X(NOENT, -20001, "does not exist")                                                         \
	X(EXIST, -20002, "exists already")                                                         \
	X(CORRUPT, -20003, "stored data break a rule of the format")                               \
	X(NOSPC, -20004, "no space left")                                                          \
	X(IO, -20005, "input/output error")                                                        \
	X(VERSION, -20006, "format or layout version not known here")                              \
	X(FEATURE, -20007, "needs a feature not known here")                                       \
	X(NOTSTORE, -20008, "not a twz store")                                                     \
	X(TRUNCATED, -20009, "shorter than its header says")                                       \
	X(READONLY, -20010, "read-only")                                                           \
	X(BUSY, -20011, "in use")                                                                  \
	X(TIMEOUT, -20012, "timed out")                                                            \
	X(BOUNDS, -20013, "pointer outside its object")                                            \
	X(PERM, -20014, "permission denied")                                                       \
	X(STATE, -20015, "call not allowed in this state")                                         \
	X(NOMEM, -20016, "out of memory")                                                          \
	X(MAPS, -20017, "too many memory mappings")                                                \
	X(FS, -20018, "file system not supported")                                                 \
	X(FORKED, -20019, "handle was inherited through fork")                                     \
	X(TOOBIG, -20020, "too large")                                                             \
	X(DEAD, -20021, "owner died; recovered")                                                   \
	X(FAILED, -20022, "store failed: close it everywhere and reopen")                          \
	X(STALE, -20023, "changed since it was opened for reading: open it again")                 \
	X(GONE, -20024, "its file was deleted, replaced, cut short or overwritten while open")

enum twz_err {
#define TWZ__ERR_ENUM(name, value, text) TWZ_E_##name = (value),
	TWZ_ERR_MAP(TWZ__ERR_ENUM)
#undef TWZ__ERR_ENUM
};

/* Name ("TWZ_E_NOSPC" or "ENOENT") and general text of a code; never NULL, static storage. */
TWZ_API const char *twz_err_name(int err);
TWZ_API const char *twz_err_text(int err);

/*
 * This thread's message about its last failed call; "" when there was none. Valid until the next
 * failure.
 */
TWZ_API const char *twz_errmsg(void);

#ifdef __cplusplus
}
#endif
#endif
