/* SPDX-License-Identifier: MIT
 * err.c -- codes to text, and this thread's last message
 */
#include "internal.h"

#include <stdarg.h>

#define MSG_LEN 1024

/*
 * A thread's messages are not thread-local arrays: the library has initial-exec thread-local data
 * (ptr_inline.h), so all of its thread-local memory must fit into the little that the loader keeps
 * for libraries loaded late, SQLite extensions for instance.
 */
struct msgs {
	char last[MSG_LEN];
	char where[MSG_WHERE_LEN];
};

static __thread struct msgs *mine;
static __thread uint64_t msg_cnt;
static pthread_key_t key; /* frees them when the thread ends */
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

static struct msgs *msgs(void)
{
	if (mine)
		return mine;
	pthread_once(&key_once, key_make);
	mine = have_key ? calloc(1, sizeof(*mine)) : NULL;
	if (mine && pthread_setspecific(key, mine)) {
		free(mine);
		mine = NULL;
	}
	return mine;
}

char *twz__where_buf(void)
{
	static char none[MSG_WHERE_LEN];
	struct msgs *m = msgs();

	return m ? m->where : none;
}

const char *twz_err_name(int err)
{
	const char *name;

	switch (err) {
	case 0:
		return "OK";
#define NAME(name, value, text)                                                                    \
	case value:                                                                                \
		return "TWZ_E_" #name;
		TWZ_ERR_MAP(NAME)
#undef NAME
	}
	name = err < 0 && err > -4096 ? strerrorname_np(-err) : NULL;
	return name ? name : "unknown error";
}

const char *twz_err_text(int err)
{
	const char *text;

	switch (err) {
	case 0:
		return "success";
#define TEXT(name, value, text)                                                                    \
	case value:                                                                                \
		return text;
		TWZ_ERR_MAP(TEXT)
#undef TEXT
	}
	text = err < 0 && err > -4096 ? strerrordesc_np(-err) : NULL;
	return text ? text : "unknown error";
}

const char *twz_errmsg(void)
{
	return mine ? mine->last : "";
}

uint64_t twz__err_cnt(void)
{
	return msg_cnt;
}

int twz__err(int code, const char *fmt, ...)
{
	char buf[MSG_LEN]; /* the arguments may quote the present message */
	struct msgs *m = msgs();
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	if (m)
		memcpy(m->last, buf, sizeof(buf));
	msg_cnt++;
	return code;
}

int twz__err_in(int code, const char *fmt, ...)
{
	char buf[MSG_LEN / 2];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	return twz__err(code, "%s: %s", buf, *twz_errmsg() ? twz_errmsg() : twz_err_text(code));
}

int twz__corrupt(const char *where, const char *why_fmt, ...)
{
	char why[MSG_LEN / 2];
	va_list ap;

	va_start(ap, why_fmt);
	vsnprintf(why, sizeof(why), why_fmt, ap);
	va_end(ap);
	return twz__err(
		TWZ_E_CORRUPT,
		"%s: corrupt: %s: restore it from a backup, or see how far the damage goes (twz_check; '.check' in twzdb)",
		where, why);
}
