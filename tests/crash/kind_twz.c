/* SPDX-License-Identifier: MIT
 * kind_twz.c -- stores of libtwz: open, check, and how their logical state is told
 */
#include "kind_twz.h"

#include <errno.h>
#include <string.h>

static void found(void *ctx, const char *where, const char *what)
{
	struct crash *c = ctx;

	if (!c->why[0])
		crash_why(c, "twz_check: %s: %s", where, what);
}

int twz_kind_open(struct crash *c)
{
	struct twz_store_options opt = {.size = sizeof(opt),
					.flags = c->read_only	 ? TWZ_STORE_READONLY
						 : c->recovering ? 0
								 : TWZ_STORE_CREATE,
					.initial_len = TWZ_KIND_LEN,
					.journal_len = 16 << 10,
					.backend = c->backend};
	struct twz_store *s = NULL;

	crash_err_name = twz_err_name;
	crash_err_msg = twz_errmsg;
	CRASH_DO(c, twz_store_open(c->path, &opt, &s));
	c->store = s;
	/* begin with everything durable: fewer combinations, so more of them tried */
	if (!c->recovering) {
		CRASH_DO(c, twz_kind_close(c));
		CRASH_DO(c, twz_store_open(c->path, &opt, &s));
		c->store = s;
	}
	return 0;
}

int twz_kind_check(struct crash *c)
{
	uint64_t cnt = 0;

	CRASH_DO(c, twz_check(c->store, found, c, &cnt));
	if (cnt && !c->why[0])
		return crash_why(c, "twz_check: %llu findings", (unsigned long long)cnt);
	return c->why[0] ? -1 : 0;
}

int twz_kind_close(struct crash *c)
{
	struct twz_store *s = c->store;

	c->store = NULL;
	CRASH_DO(c, twz_store_close(s));
	return 0;
}

/* An object, a transaction in it, and it is gone. An heir that died may have left its own. */
int twz_kind_probe(struct crash *c)
{
	struct twz_obj_options opt = {.size = sizeof(opt), .len = 4096};
	struct twz_tx *tx = NULL;
	struct twz_obj *o = NULL;
	twz_oid id;

	CRASH_DO(c, twz_obj_create(c->store, &opt, &id, &o));
	CRASH_DO(c, twz_tx_begin(c->store, &tx));
	CRASH_DO(c, twz_tx_record(tx, twz_obj_data(o), 64));
	memset(twz_obj_data(o), 1, 64);
	CRASH_DO(c, twz_tx_commit(tx));
	twz_obj_close(o);
	CRASH_DO(c, twz_obj_delete(c->store, id));
	return 0;
}

const struct crash_kind twz_kind = {twz_kind_open,  twz_kind_check, twz_kind_close,
				    twz_kind_probe, NULL,	    true};

twz_oid wl_id(uint64_t n)
{
	return (twz_oid){{n, 0x7477}};
}

int wl_create(struct crash *c, uint64_t n, uint64_t len, struct twz_obj **out)
{
	struct twz_obj_options opt = {
		.size = sizeof(opt), .len = len, .id = wl_id(n), .kind = (uint32_t)n};

	return twz_obj_create(c->store, &opt, NULL, out);
}

/* A short fingerprint of LEN bytes at P. */
uint64_t wl_sum(const void *p, uint64_t len)
{
	const uint8_t *b = p;
	uint64_t h = 0xcbf29ce484222325ull;

	for (uint64_t i = 0; i < len; i++)
		h = (h ^ b[i]) * 0x100000001b3ull;
	return h;
}

/* Objects the workload made (the library's own have flags), in the order of their IDs. */
int wl_show_objects(struct crash *c, bool contents)
{
	for (uint64_t n = 1; n <= WL_OBJ_MAX; n++) {
		struct twz_obj_stat st = {.size = sizeof(st)};
		struct twz_obj *o = NULL;
		int rc = twz_obj_stat_id(c->store, wl_id(n), &st);

		if (rc == TWZ_E_NOENT)
			continue;
		CRASH_DO(c, rc);
		crash_say(c, "object %llu len %llu kind %u", (unsigned long long)n,
			  (unsigned long long)st.len, st.kind);
		if (contents) {
			CRASH_DO(c, twz_obj_open(c->store, wl_id(n), TWZ_READ, &o));
			crash_say(c, " sum %llx",
				  (unsigned long long)wl_sum(twz_obj_data(o), st.len));
			twz_obj_close(o);
		}
		crash_say(c, "\n");
	}
	return 0;
}
