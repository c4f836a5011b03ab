/* SPDX-License-Identifier: MIT
 * dump.c -- twz_dump: the media fields of a store as text, one fact a line
 *
 * The order is fixed (structures as they lie on the medium, objects by ID), so that two dumps can
 * be compared; what differs from store to store (IDs, times, sums) stands alone behind its name, so
 * that a test can blank it out. Every layer prints its own structures, as it checks them.
 */
#include "dump.h"
#include "rt.h"

void twz__dump_text(FILE *f, const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char ch = (unsigned char)s[i];

		if (ch < ' ' || ch == 0x7f || ch == '\\')
			fprintf(f, "\\x%02x", ch);
		else
			fputc(ch, f);
	}
}

int twz__obj_peek(struct twz_obj *o, uint64_t off, void *buf, size_t len)
{
	struct twz__media *m = o->store->media;
	uint64_t at, run;
	int rc = 0;

	if (!o->unmapped) {
		memcpy(buf, (const void *)(o->base + off), len);
		return 0;
	}
	for (; len && !rc; off += run, buf = (char *)buf + run, len -= run) {
		rc = twz__obj_file_off(o, off, &at, &run);
		run = run < len ? run : len;
		if (!rc && m->ops->read(m, buf, at, run))
			rc = twz__err(TWZ_E_IO, "%s: reading %llu bytes failed: check the device",
				      o->store->path, (unsigned long long)run);
	}
	return rc;
}

static int by_id(const void *a, const void *b)
{
	const struct twz_obj_stat *x = a, *y = b;
	char xt[TWZ_OID_STR_LEN], yt[TWZ_OID_STR_LEN];

	return strcmp(twz_oid_str(x->id, xt), twz_oid_str(y->id, yt));
}

int twz__list_objects(struct twz_store *s, struct twz_obj_stat **out, size_t *cnt)
{
	struct twz_obj_stat st = {.size = sizeof(st)};
	uint64_t cursor = 0;
	size_t cap = 0;
	int rc;

	*out = NULL;
	*cnt = 0;
	while (!(rc = twz_obj_next(s, &cursor, &st))) {
		if (*cnt == cap) {
			struct twz_obj_stat *more =
				realloc(*out, (cap = cap ? 2 * cap : 64) * sizeof(**out));

			if (!more)
				return twz__err(TWZ_E_NOMEM, "%s: out of memory", s->path);
			*out = more;
		}
		(*out)[(*cnt)++] = st;
	}
	if (*cnt)
		qsort(*out, *cnt, sizeof(**out), by_id);
	return rc == TWZ_E_NOENT ? 0 : rc;
}

/* --- objects --- */

static void print_flags(FILE *f, uint32_t flags)
{
	static const char *const names[] = {"log", "txlog", "names", "engine", "contiguous"};
	const char *sep = "";

	if (!flags)
		fputc('-', f);
	for (uint32_t i = 0; i < 32; i++) {
		if (!(flags >> i & 1))
			continue;
		if (i < sizeof(names) / sizeof(names[0]))
			fprintf(f, "%s%s", sep, names[i]);
		else
			fprintf(f, "%s%#x", sep, 1u << i);
		sep = "+";
	}
}

static void print_object(FILE *f, const struct twz_obj_stat *st)
{
	char text[TWZ_OID_STR_LEN];

	fprintf(f, "object %s len %llu kind %u flags ", twz_oid_str(st->id, text),
		(unsigned long long)st->len, st->kind);
	print_flags(f, st->flags);
	fprintf(f, " extents %u fot %u space %llu ctime %llu\n", st->extent_cnt, st->fot_cnt,
		(unsigned long long)st->space_len, (unsigned long long)st->ctime);
}

static int dump_extents(struct twz__dumper *d, twz_oid id)
{
	struct twz_store *s = d->s;
	struct twzc_extent e;
	u32 cnt = 1;
	int rc = twz__meta_lock(s);

	if (rc)
		return rc;
	for (u32 i = 0; !rc; i++) {
		cnt = 0;
		rc = twzc_obj_extents(&s->core, id.w, i, &e, 1, &cnt);
		if (rc || !cnt)
			break;
		fprintf(d->f, "  extent slot page %u count %u file page %llu\n", e.slot_page, e.cnt,
			(unsigned long long)e.file_page);
	}
	rc = twz__core_err(s, rc == TWZ_E_NOENT ? 0 : rc, "dump");
	twz__meta_unlock(s);
	return rc;
}

/* A layer that found damage says so and the next one goes on. */
static int say_damage(struct twz__dumper *d, const char *indent, int rc)
{
	if (rc != TWZ_E_CORRUPT && rc != TWZ_E_VERSION && rc != TWZ_E_FEATURE && rc != TWZ_E_BOUNDS)
		return rc;
	fprintf(d->f, "%sdamaged: %s\n", indent, twz_errmsg());
	return 0;
}

static int dump_layers(struct twz_obj *o, struct twz__dumper *d)
{
	static const struct {
		uint32_t flag;
		int (*dump)(struct twz_obj *, struct twz__dumper *);
	} layers[] = {
		{TWZ_DUMP_FOT, twz__dump_fot},
		{TWZ_DUMP_TXLOG, twz__dump_txlog},
		{TWZ_DUMP_LOG, twz__dump_log},
		{TWZ_DUMP_ARENA, twz__dump_arena},
	};
	int rc = 0;

	for (size_t i = 0; i < sizeof(layers) / sizeof(layers[0]) && !rc; i++)
		if (d->flags & layers[i].flag)
			rc = say_damage(d, "  ", layers[i].dump(o, d));
	return rc;
}

#define OBJECT_LAYERS (TWZ_DUMP_FOT | TWZ_DUMP_TXLOG | TWZ_DUMP_LOG | TWZ_DUMP_ARENA)

static int dump_object(struct twz__dumper *d, const struct twz_obj_stat *st)
{
	struct twz_obj *o;
	int rc = 0;

	print_object(d->f, st);
	if (d->flags & TWZ_DUMP_EXTENTS)
		rc = say_damage(d, "  ", dump_extents(d, st->id));
	if (rc || !(d->flags & OBJECT_LAYERS))
		return rc;
	rc = twz__obj_get(d->s, st->id, TWZ_READ, &o);
	if (rc)
		return rc == TWZ_E_NOENT ? 0 : say_damage(d, "  ", rc);
	rc = dump_layers(o, d);
	twz__obj_put(o);
	return rc;
}

static int dump_objects(struct twz__dumper *d)
{
	struct twz_obj_stat *st;
	size_t cnt;
	int rc = say_damage(d, "", twz__list_objects(d->s, &st, &cnt));

	for (size_t i = 0; i < cnt && !rc; i++)
		rc = dump_object(d, &st[i]);
	free(st);
	return rc;
}

int twz_dump(struct twz_store *s, uint32_t flags, void *file)
{
	struct twz__dumper d = {s, file, flags};
	int rc = twz__store_enter(s);

	if (!rc)
		rc = twz__core_err(s, twz__dump_core(&d), "dump");
	if (!rc && (flags & (TWZ_DUMP_OBJECTS | TWZ_DUMP_EXTENTS | OBJECT_LAYERS)))
		rc = dump_objects(&d);
	if (!rc && (flags & TWZ_DUMP_NAMES))
		rc = say_damage(&d, "", twz__dump_names(&d));
	if (!rc && ferror(d.f))
		rc = twz__err(TWZ_E_IO, "%s: cannot write the dump", s->path);
	return rc;
}
