/* SPDX-License-Identifier: MIT
 * name.c -- the calls of twz/name.h
 */
#include "arena.h"
#include "names.h"
#include "dump.h"
#include "tx_internal.h"

#include <xxhash.h>

#define OBJ_LEN ((uint64_t)64 << 10) /* bytes of a new name object */

/* --- the object that holds the names --- */

static twz_oid names_id(const struct twz_store *s)
{
	XXH128_hash_t h = XXH3_128bits_withSeed(s->core.super.uuid, sizeof(s->core.super.uuid),
						TWZ_NAMES_SEED);

	return (twz_oid){{h.low64, h.high64}};
}

static int open_object(struct twz_store *s, bool create, struct twz_obj **out)
{
	struct twz_obj_options opt = {
		.size = sizeof(opt), .len = OBJ_LEN, .flags = TWZ_OBJ_NAMES, .id = names_id(s)};
	int err = twz__obj_get(s, opt.id, TWZ_READ | TWZ_WRITE, out);

	if (err != TWZ_E_NOENT || !create)
		return err;
	err = twz_obj_create(s, &opt, NULL, out);
	if (err == TWZ_E_EXIST) /* another process was quicker */
		err = twz__obj_get(s, opt.id, TWZ_READ | TWZ_WRITE, out);
	return err;
}

/*
 * The store's name object, kept open until the store closes. TWZ_E_NOENT: nothing was ever named
 * and CREATE is false.
 */
static int names_object(struct twz_store *s, bool create, struct twz_obj **out)
{
	void *none = NULL;
	int err = twz__store_enter(s);

	*out = __atomic_load_n(&s->name_rt, __ATOMIC_ACQUIRE);
	if (err || *out)
		return err;
	err = open_object(s, create, out);
	if (err)
		return err;
	if (!((*out)->flags & TWZ_OBJ_NAMES)) {
		twz__obj_put(*out);
		return twz__corrupt(s->path, "the object with the name space's ID is none");
	}
	if (!__atomic_compare_exchange_n(&s->name_rt, &none, *out, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE)) {
		twz__obj_put(
			*out); /* another thread was quicker: the same object, one reference is enough */
		*out = none;
	}
	return 0;
}

void twz__name_close(struct twz_store *s)
{
	struct twz_obj *o = __atomic_exchange_n(&s->name_rt, NULL, __ATOMIC_ACQ_REL);

	if (o)
		twz__obj_put(o);
}

/* --- changes --- */

/* Begin a level, lock, verify. On failure nothing is open. */
static int change_begin(struct twz_store *s, bool create, struct twz__names *n, struct twz_tx **tx)
{
	struct twz_obj *o;
	int err = names_object(s, create, &o);

	*tx = NULL;
	if (!err)
		err = twz_tx_begin(s, tx);
	if (err)
		return err;
	err = twz__tx_lock(*tx, o);
	if (!err)
		err = twz__arena_follow(o);
	if (!err)
		err = twz__names_open(o, n);
	if (!err && create && !n->buckets)
		err = twz__names_init(n, *tx);
	if (err)
		(void)twz_tx_abort(*tx); /* the first error tells more */
	return err;
}

static int change_end(struct twz_tx *tx, int err)
{
	if (!err)
		return twz_tx_commit(tx);
	(void)twz_tx_abort(tx);
	return err;
}

static int no_such_name(struct twz_store *s, const char *name)
{
	return twz__err(TWZ_E_NOENT, "%s: there is no name '%s'", s->path, name);
}

static int name_exists(struct twz_store *s, const char *name)
{
	return twz__err(TWZ_E_EXIST, "%s: the name '%s' is taken", s->path, name);
}

int twz_name_set(struct twz_store *s, const char *name, twz_oid id, int replace)
{
	struct twz__name found;
	struct twz__names n;
	struct twz_tx *tx;
	size_t len;
	int err = twz__name_check(name, &len);

	if (!err && twz_oid_is_null(id))
		err = twz__err(TWZ_E_INVAL, "%s: name '%s': the zero ID names nothing", s->path,
			       name);
	if (!err)
		err = change_begin(s, true, &n, &tx);
	if (err)
		return err;
	err = twz__names_find(&n, name, len, &found);
	if (err == TWZ_E_NOENT)
		err = twz__names_insert(&n, tx, name, len, id);
	else if (!err)
		err = replace ? twz__names_replace(tx, &found, id) : name_exists(s, name);
	return change_end(tx, err);
}

int twz_name_del(struct twz_store *s, const char *name)
{
	struct twz__name found;
	struct twz__names n;
	struct twz_tx *tx;
	size_t len;
	int err = twz__name_check(name, &len);

	if (err)
		return err;
	err = change_begin(s, false, &n, &tx);
	if (err)
		return err == TWZ_E_NOENT ? no_such_name(s, name) : err;
	err = twz__names_find(&n, name, len, &found);
	if (err == TWZ_E_NOENT)
		no_such_name(s, name);
	if (!err)
		err = twz__names_remove(&n, tx, &found);
	return change_end(tx, err);
}

int twz_name_rename(struct twz_store *s, const char *from, const char *to)
{
	struct twz__name found, taken;
	struct twz__names n;
	struct twz_tx *tx;
	size_t from_len, to_len;
	twz_oid id;
	int err = twz__name_check(from, &from_len);

	if (!err)
		err = twz__name_check(to, &to_len);
	if (err)
		return err;
	err = change_begin(s, false, &n, &tx);
	if (err)
		return err == TWZ_E_NOENT ? no_such_name(s, from) : err;
	err = twz__names_find(&n, from, from_len, &found);
	if (err == TWZ_E_NOENT)
		no_such_name(s, from);
	if (err || !strcmp(from, to))
		return change_end(tx, err);
	err = twz__names_find(&n, to, to_len, &taken);
	if (!err)
		err = name_exists(s, to);
	if (err == TWZ_E_NOENT) {
		id = (twz_oid){{found.e->id[0], found.e->id[1]}};
		err = twz__names_remove(&n, tx, &found);
		if (!err)
			err = twz__names_insert(&n, tx, to, to_len, id);
	}
	return change_end(tx, err);
}

/* --- reading --- */

struct reading {
	struct twz__names n;
	bool held;
};

/* TWZ_E_NOENT: no name exists. */
static int read_begin(struct twz_store *s, struct reading *r)
{
	struct twz_obj *o;
	int err = names_object(s, false, &o);

	if (err)
		return err;
	err = twz__arena_read_lock(o, &r->held);
	if (err)
		return err;
	err = twz__names_open(o, &r->n);
	if (err && !r->held)
		twz_obj_unlock(o);
	return err;
}

static void read_end(struct reading *r)
{
	if (!r->held)
		twz_obj_unlock(r->n.o);
}

int twz_name_get(struct twz_store *s, const char *name, twz_oid *id)
{
	struct twz__name found;
	struct reading r;
	size_t len;
	int err;

	*id = (twz_oid){{0, 0}};
	err = twz__name_check(name, &len);
	if (err)
		return err;
	err = read_begin(s, &r);
	if (!err) {
		err = twz__names_find(&r.n, name, len, &found);
		if (!err)
			*id = (twz_oid){{found.e->id[0], found.e->id[1]}};
		read_end(&r);
	}
	return err == TWZ_E_NOENT ? no_such_name(s, name) : err;
}

struct item {
	char *name;
	twz_oid id;
};

struct list {
	const char *prefix;
	size_t prefix_len;
	struct item *items;
	size_t cnt, cap;
};

static int list_add(void *ctx, uint64_t bucket, const struct twz__name *name)
{
	struct list *l = ctx;
	struct item *p;

	(void)bucket;
	if (l->prefix_len && (strncmp(name->text, l->prefix, l->prefix_len) ||
			      (name->text[l->prefix_len] && name->text[l->prefix_len] != '/')))
		return 0;
	if (l->cnt == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 64;
		p = realloc(l->items, l->cap * sizeof(*p));
		if (!p)
			return twz__err(TWZ_E_NOMEM, "no memory for a list of names");
		l->items = p;
	}
	l->items[l->cnt].name = strdup(name->text);
	if (!l->items[l->cnt].name)
		return twz__err(TWZ_E_NOMEM, "no memory for a list of names");
	l->items[l->cnt++].id = (twz_oid){{name->e->id[0], name->e->id[1]}};
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct item *)a)->name, ((const struct item *)b)->name);
}

/* The names are copied under the lock and shown without it: FN may change names. */
int twz_name_list(struct twz_store *s, const char *prefix,
		  int (*fn)(void *ctx, const char *name, twz_oid id), void *ctx)
{
	struct list l = {.prefix = prefix};
	struct reading r;
	int err = prefix && !*prefix ? 0 : twz__name_check(prefix, &l.prefix_len);

	if (err)
		return err;
	err = read_begin(s, &r);
	if (err)
		return err == TWZ_E_NOENT ? 0 : err;
	err = twz__names_walk(&r.n, list_add, &l);
	read_end(&r);
	if (l.cnt)
		qsort(l.items, l.cnt, sizeof(*l.items), by_name);
	for (size_t i = 0; i < l.cnt; i++) {
		if (!err)
			err = fn(ctx, l.items[i].name, l.items[i].id);
		free(l.items[i].name);
	}
	free(l.items);
	return err;
}

struct best {
	twz_oid id;
	char name[TWZ_NAME_LEN_MAX + 1];
	size_t len; /* 0 = none yet */
};

static int keep_shortest(void *ctx, uint64_t bucket, const struct twz__name *name)
{
	struct best *b = ctx;
	uint32_t len = name->e->len;

	(void)bucket;
	if (name->e->id[0] != b->id.w[0] || name->e->id[1] != b->id.w[1])
		return 0;
	if (b->len && (len > b->len || (len == b->len && strcmp(name->text, b->name) > 0)))
		return 0;
	memcpy(b->name, name->text, len + 1);
	b->len = len;
	return 0;
}

int twz_name_of(struct twz_store *s, twz_oid id, char *buf, size_t len)
{
	struct best b = {.id = id};
	char str[TWZ_OID_STR_LEN];
	struct reading r;
	int err;

	if (len)
		*buf = 0;
	err = read_begin(s, &r);
	if (!err) {
		err = twz__names_walk(&r.n, keep_shortest, &b);
		read_end(&r);
	}
	if (err && err != TWZ_E_NOENT)
		return err;
	if (!b.len)
		return twz__err(TWZ_E_NOENT, "%s: object %s has no name", s->path,
				twz_oid_str(id, str));
	if (b.len >= len)
		return twz__err(TWZ_E_TOOBIG, "%s: the name of object %s needs %zu bytes", s->path,
				twz_oid_str(id, str), b.len + 1);
	memcpy(buf, b.name, b.len + 1);
	return 0;
}

/* --- check --- */

struct checking {
	struct twz__checker *c;
	struct twz__names *n;
	uint64_t cnt;
};

static int check_one(void *ctx, uint64_t bucket, const struct twz__name *name)
{
	struct checking *k = ctx;
	struct twz__name first;
	size_t len;

	k->cnt++;
	if (twz__name_check(name->text, &len))
		twz__found(k->c, "names", "%s", twz_errmsg());
	if ((name->e->hash & (k->n->bucket_cnt - 1)) != bucket)
		twz__found(k->c, "names", "'%s' is in bucket %llu, where nobody looks for it",
			   name->text, (unsigned long long)bucket);
	else if (!twz__names_find(k->n, name->text, name->e->len, &first) && first.e != name->e)
		twz__found(k->c, "names", "'%s' is there twice", name->text);
	if (twz_alloc_len(k->n->o, name->e) < sizeof(*name->e) + name->e->len + 1)
		twz__found(k->c, "names", "'%s' is not in an allocated block of its length",
			   name->text);
	return 0;
}

static void check_locked(struct twz__names *n, struct twz__checker *c)
{
	struct checking k = {c, n, 0};
	struct twz_arena_stat st;

	if (!n->buckets)
		return;
	if (twz__names_walk(n, check_one, &k)) {
		twz__found(c, "names", "%s", twz_errmsg());
		return;
	}
	if (k.cnt != n->h->name_cnt)
		twz__found(c, "names", "%llu names are linked, the header counts %llu",
			   (unsigned long long)k.cnt, (unsigned long long)n->h->name_cnt);
	if (n->h->spare)
		twz__found(c, "names", "a block is owned by nobody but the header");
	if (!twz_arena_stat(n->o, &st) && st.block_cnt != k.cnt + 1)
		twz__found(c, "names", "%llu blocks are allocated for %llu names and one table",
			   (unsigned long long)st.block_cnt, (unsigned long long)k.cnt);
}

int twz__check_names(struct twz_store *s, struct twz__checker *c)
{
	struct reading r;
	int err = read_begin(s, &r);

	if (err == TWZ_E_NOENT)
		return 0;
	if (err == TWZ_E_CORRUPT) {
		twz__found(c, "names", "%s", twz_errmsg());
		return 0;
	}
	if (err)
		return err;
	check_locked(&r.n, c);
	read_end(&r);
	return 0;
}

/* --- dump --- */

static int show_name(void *ctx, uint64_t bucket, const struct twz__name *name)
{
	const struct twz_name_pm *e = name->e;
	struct twz__dumper *d = ctx;
	char id[TWZ_OID_STR_LEN];

	fprintf(d->f, "  name ");
	twz__dump_text(d->f, name->text, e->len);
	fprintf(d->f, " id %s len %u bucket %" PRIu64 " next %" PRIx64,
		twz_oid_str((twz_oid){{e->id[0], e->id[1]}}, id), e->len, bucket, e->next);
	fprintf(d->f, " hash %016" PRIx64 " sum %08x\n", e->hash, e->sum);
	return 0;
}

int twz__dump_names(struct twz__dumper *d)
{
	const struct twz_names_pm *h;
	struct reading r;
	int err = read_begin(d->s, &r);

	if (err)
		return err == TWZ_E_NOENT ? 0 : err;
	h = r.n.h;
	fprintf(d->f, "names magic %016" PRIx64 " version %u compat %#x ro_compat %#x incompat %#x",
		h->magic, h->version, h->compat, h->ro_compat, h->incompat);
	fprintf(d->f,
		" bucket_log %u count %" PRIu64 " buckets %" PRIx64 " spare %" PRIx64
		" sum %016" PRIx64 "\n",
		h->bucket_log, h->name_cnt, h->buckets, h->spare, h->sum);
	if (r.n.buckets)
		err = twz__names_walk(&r.n, show_name, d);
	read_end(&r);
	return err;
}
