/* SPDX-License-Identifier: MIT
 * err.c -- codes, names, and this thread's last message
 */
#include "internal.h"

#include <stdarg.h>

#define MSG_LEN 1024

/* Not a thread-local array: see twz/src/err.c. */
static _Thread_local char *mine;
static pthread_key_t key;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static bool have_key;

static void key_make(void)
{
	have_key = !pthread_key_create(&key, free);
}

__attribute__((destructor)) static void key_drop(void)
{
	if (have_key)
		pthread_key_delete(key);
	free(mine);
	mine = NULL;
}

static char *msg_buf(void)
{
	if (mine)
		return mine;
	pthread_once(&key_once, key_make);
	mine = have_key ? calloc(1, MSG_LEN) : NULL;
	if (mine && pthread_setspecific(key, mine)) {
		free(mine);
		mine = NULL;
	}
	return mine;
}

const char *twzdb_err_name(int err)
{
	switch (err) {
#define TWZDB__NAME(name, value, text)                                                             \
	case value:                                                                                \
		return "TWZDB_E_" #name;
		TWZDB_ERR_MAP(TWZDB__NAME)
#undef TWZDB__NAME
	default:
		return twz_err_name(err);
	}
}

const char *twzdb_errmsg(void)
{
	return mine ? mine : "";
}

int twzdb__err(int code, const char *fmt, ...)
{
	char *buf = msg_buf();
	va_list ap;

	va_start(ap, fmt);
	if (buf)
		vsnprintf(buf, MSG_LEN, fmt, ap);
	va_end(ap);
	return code;
}

int twzdb__corrupt(struct twzdb *db, uint64_t p, const char *rule)
{
	if (twzdb__is_cut(db))
		return twzdb__cut(db);
	return twzdb__err(
		TWZDB_E_CORRUPT,
		"%s: database '%s': object %llu of it, offset 0x%llx: %s: run 'check' on it and restore a backup",
		twz_store_path(db->s), db->name, (unsigned long long)(p >> TWZ_PPTR_OFF_BITS),
		(unsigned long long)(p & TWZ_PPTR_OFF_MASK), rule);
}

int twzdb__corrupt_obj(struct twz_store *s, twz_oid id, const char *rule)
{
	char text[TWZ_OID_STR_LEN];

	return twzdb__err(TWZDB_E_CORRUPT,
			  "%s: object %s: %s: run 'check' on it and restore a backup",
			  twz_store_path(s), twz_oid_str(id, text), rule);
}

int twzdb__cut(const struct twzdb *db)
{
	return twzdb__err(
		TWZDB_E_IO,
		"%s: was cut short while it was open, and what is read may be zeros: close it in every process and restore it from a backup",
		twz_store_path(db->s));
}

int twzdb__missing(const struct twzdb *db, const char *what)
{
	return twzdb__is_cut(db) ? twzdb__cut(db) : twzdb__err(TWZDB_E_NOTFOUND, "%s", what);
}

int twzdb__from_twz(int err, const char *what)
{
	static const struct {
		int twz, db;
	} same[] = {
		{TWZ_E_NOSPC, TWZDB_E_NOSPC},	  {TWZ_E_IO, TWZDB_E_IO},
		{TWZ_E_CORRUPT, TWZDB_E_CORRUPT}, {TWZ_E_READONLY, TWZDB_E_READONLY},
		{TWZ_E_TIMEOUT, TWZDB_E_TIMEOUT}, {TWZ_E_FAILED, TWZDB_E_IO}, /* of somebody else */
	};

	if (err >= 0)
		return err;
	twzdb__err(err, "%s: %s", what, *twz_errmsg() ? twz_errmsg() : twz_err_text(err));
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
		if (same[i].twz == err)
			return same[i].db;
	return err;
}
