/* SPDX-License-Identifier: MIT
 * check.c -- twz_check: every structural rule of a store, layer by layer
 *
 * The core checks superblocks, journal, space map and object table under the metadata lock; then
 * every object is opened and the layers above look at what they own in it: FOT, undo log, redo log,
 * arena; last the names.
 */
#include "dump.h"
#include "rt.h"

#include <stdarg.h>

void twz__found(struct twz__checker *c, const char *where, const char *fmt, ...)
{
	char what[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	c->found++;
	if (c->fn)
		c->fn(c->ctx, where, what);
}

static void core_found(void *ctx, const char *where, const char *what, u64 a, u64 b)
{
	twz__found(ctx, where, "rule '%s' (%#llx, %#llx)", what, (unsigned long long)a,
		   (unsigned long long)b);
}

static int check_core(struct twz_store *s, struct twz__checker *c)
{
	u64 found = 0;
	int rc = twz__meta_lock(s);

	if (rc)
		return rc;
	rc = twz__core_err(s, twzc_check(&s->core, core_found, c, &found), "check");
	twz__meta_unlock(s);
	return rc;
}

static int check_layers(struct twz_obj *o, struct twz__checker *c)
{
	static int (*const layers[])(struct twz_obj *, struct twz__checker *) = {
		twz__check_fot,
		twz__check_txlog,
		twz__check_log,
		twz__check_arena,
	};
	int rc = 0;

	for (size_t i = 0; i < sizeof(layers) / sizeof(layers[0]) && !rc; i++)
		rc = layers[i](o, c);
	return rc;
}

static int check_object(struct twz_store *s, twz_oid id, struct twz__checker *c)
{
	char text[TWZ_OID_STR_LEN], where[64];
	struct twz_obj *o;
	int rc = twz__obj_get(s, id, TWZ_READ, &o);

	if (rc == TWZ_E_NOENT)
		return 0; /* deleted meanwhile */
	snprintf(where, sizeof(where), "object %s", twz_oid_str(id, text));
	if (rc == TWZ_E_CORRUPT) {
		twz__found(c, where, "cannot be opened: %s", twz_errmsg());
		return 0;
	}
	if (rc)
		return rc;
	rc = check_layers(o, c);
	twz__obj_put(o);
	if (rc != TWZ_E_CORRUPT)
		return rc;
	twz__found(c, where, "%s", twz_errmsg());
	return 0;
}

static int check_objects(struct twz_store *s, struct twz__checker *c)
{
	struct twz_obj_stat *st;
	size_t cnt;
	/* All IDs first: opening objects between two steps would hold them all up. */
	int rc = twz__list_objects(s, &st, &cnt);

	for (size_t i = 0; i < cnt && !rc; i++)
		rc = check_object(s, st[i].id, c);
	free(st);
	return rc;
}

int twz_check(struct twz_store *s, twz_check_fn fn, void *ctx, uint64_t *found)
{
	struct twz__checker c = {.fn = fn, .ctx = ctx};
	uint64_t core_cnt;
	int rc = twz__store_enter(s);

	if (found)
		*found = 0;
	if (rc)
		return rc;
	rc = check_core(s, &c);
	core_cnt = c.found;
	/* The layers above trust the table that leads to them. */
	if (!rc && !core_cnt) {
		rc = check_objects(s, &c);
		if (!rc)
			rc = twz__check_names(s, &c);
		if (rc == TWZ_E_CORRUPT) {
			twz__found(&c, s->path, "%s", twz_errmsg());
			rc = 0;
		}
	}
	if (found)
		*found = c.found;
	return rc;
}
