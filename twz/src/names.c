/* SPDX-License-Identifier: MIT
 * names.c -- see names.h
 */
#include "names.h"

#include <xxhash.h>

#define HEADER_SUM_LEN offsetof(struct twz_names_pm, name_cnt)
#define GROW_BATCH     512 /* names relinked with one record call */

static int corrupt(const struct twz__names *n, const char *why)
{
	char id[TWZ_OID_STR_LEN];

	return twz__corrupt(n->o->store->path, "names (object %s): %s", twz_oid_str(n->o->id, id),
			    why);
}

/* --- what a name may be --- */

/*
 * Length of the UTF-8 sequence at S: 1..4, or 0 when it is none (overlong forms, surrogates and
 * values beyond U+10FFFF are none).
 */
static int utf8_len(const unsigned char *s)
{
	if (s[0] < 0x80)
		return 1;
	if (s[0] < 0xc2 || s[0] > 0xf4 || (s[1] & 0xc0) != 0x80)
		return 0;
	if (s[0] < 0xe0)
		return 2;
	if ((s[2] & 0xc0) != 0x80 || (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f))
		return 0;
	if (s[0] < 0xf0)
		return 3;
	if ((s[3] & 0xc0) != 0x80 || (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return 4;
}

/* What is wrong with a name; NULL: nothing. */
static const char *name_fault(const char *name, size_t *len)
{
	const unsigned char *s = (const unsigned char *)name;
	size_t part = 0;
	int n;

	for (*len = 0; s[*len]; *len += (size_t)n) {
		n = utf8_len(s + *len);
		if (!n)
			return "it is not valid UTF-8";
		if (*len + (size_t)n > TWZ_NAME_LEN_MAX)
			return "it is longer than 1023 bytes";
		if (s[*len] == '/' && !part)
			return "it has an empty component (a leading or double slash)";
		part = s[*len] == '/' ? 0 : part + (size_t)n;
		if (part > TWZ_NAME_PART_LEN_MAX)
			return "a component is longer than 255 bytes";
	}
	if (!*len)
		return "it is empty";
	return part ? NULL : "it ends in a slash";
}

int twz__name_check(const char *name, size_t *len)
{
	const char *why = name ? name_fault(name, len) : "it is NULL";

	return why ? twz__err(TWZ_E_INVAL, "bad name: %s", why) : 0;
}

/* --- bytes from media --- */

/*
 * [OFF, OFF + LEN) of the slot lies in the arena's part of the object and is aligned: its
 * address, or NULL.
 */
static void *place(const struct twz__names *n, uint64_t off, uint64_t len)
{
	uint64_t first = TWZ_DATA_OFF + TWZ_NAMES_ARENA_OFF, end = TWZ_DATA_OFF + n->o->len;

	if (off < first || off > end || len > end - off || off % 16)
		return NULL;
	return (void *)(n->o->base + off);
}

static uint32_t name_sum(const struct twz_name_pm *e)
{
	uint64_t seed = XXH3_64bits(&e->id, offsetof(struct twz_name_pm, sum) -
						    offsetof(struct twz_name_pm, id));

	return (uint32_t)XXH3_64bits_withSeed(e + 1, e->len, seed);
}

/* The name at OFF, verified: bounds, checksum, hash, terminator. */
static int entry(const struct twz__names *n, uint64_t off, struct twz__name *out)
{
	struct twz_name_pm *e = place(n, off, sizeof(*e));

	if (!e || !e->len || e->len > TWZ_NAME_LEN_MAX || !place(n, off, sizeof(*e) + e->len + 1))
		return corrupt(n, "a pointer leads to no name");
	out->e = e;
	out->text = (const char *)(e + 1);
	if (e->sum != name_sum(e) || e->hash != XXH3_64bits(out->text, e->len) ||
	    out->text[e->len] || strlen(out->text) != e->len)
		return corrupt(n, "checksum of a name does not hold");
	return 0;
}

int twz__names_open(struct twz_obj *o, struct twz__names *n)
{
	struct twz_names_pm *h = (struct twz_names_pm *)(o->base + TWZ_DATA_OFF);

	*n = (struct twz__names){.o = o, .h = h};
	if (o->unmapped)
		return corrupt(n, "their object is a log");
	if (!h->magic)
		return 0;
	if (h->magic != TWZ_NAMES_MAGIC || h->sum != XXH3_64bits(h, HEADER_SUM_LEN) ||
	    h->must_be_zero)
		return corrupt(n, "the header does not hold");
	if (h->version != TWZ_NAMES_VERSION)
		return twz__err(TWZ_E_VERSION,
				"%s: names have format version %u, this build knows %u",
				o->store->path, h->version, TWZ_NAMES_VERSION);
	if (h->incompat || h->ro_compat)
		return twz__err(TWZ_E_FEATURE, "%s: names need features %x/%x not known here",
				o->store->path, h->incompat, h->ro_compat);
	if (h->bucket_log < TWZ_NAMES_LOG_MIN || h->bucket_log > TWZ_NAMES_LOG_MAX)
		return corrupt(n, "the number of buckets is out of range");
	n->bucket_cnt = 1ULL << h->bucket_log;
	n->buckets = place(n, h->buckets, n->bucket_cnt * sizeof(*n->buckets));
	return n->buckets ? 0 : corrupt(n, "the bucket table lies outside the object");
}

/* --- reading --- */

int twz__names_find(struct twz__names *n, const char *name, size_t len, struct twz__name *out)
{
	uint64_t hash = XXH3_64bits(name, len);
	int err;

	if (!n->buckets)
		return TWZ_E_NOENT;
	out->link = &n->buckets[hash & (n->bucket_cnt - 1)];
	for (uint64_t i = 0; *out->link; i++) {
		if (i > n->h->name_cnt)
			return corrupt(n, "a bucket runs in a circle");
		err = entry(n, *out->link, out);
		if (err)
			return err;
		if (out->e->hash == hash && out->e->len == len && !memcmp(out->text, name, len))
			return 0;
		out->link = &out->e->next;
	}
	return TWZ_E_NOENT;
}

int twz__names_walk(struct twz__names *n,
		    int (*fn)(void *ctx, uint64_t bucket, const struct twz__name *name), void *ctx)
{
	struct twz__name name;
	uint64_t seen = 0;
	int err;

	for (uint64_t i = 0; i < n->bucket_cnt; i++) {
		for (name.link = &n->buckets[i]; *name.link; name.link = &name.e->next) {
			if (seen++ > n->h->name_cnt)
				return corrupt(n, "there are more names than the header counts");
			err = entry(n, *name.link, &name);
			if (!err)
				err = fn(ctx, i, &name);
			if (err)
				return err;
		}
	}
	return 0;
}

/* --- changing --- */

static twz_pptr *owner(uint64_t *word)
{
	return (twz_pptr *)word;
}

int twz__names_init(struct twz__names *n, struct twz_tx *tx)
{
	struct twz_names_pm *h = n->h;
	int err = twz_arena_create(n->o, TWZ_DATA_OFF + TWZ_NAMES_ARENA_OFF);

	if (err && err != TWZ_E_EXIST) /* it exists when an earlier first use was rolled back */
		return err;
	err = twz_tx_record(tx, h, sizeof(*h));
	if (err)
		return err;
	*h = (struct twz_names_pm){.magic = TWZ_NAMES_MAGIC,
				   .version = TWZ_NAMES_VERSION,
				   .bucket_log = TWZ_NAMES_LOG_MIN};
	h->sum = XXH3_64bits(h, HEADER_SUM_LEN);
	err = twz_alloc(n->o, sizeof(uint64_t) << TWZ_NAMES_LOG_MIN, owner(&h->buckets), NULL);
	return err ? err : twz__names_open(n->o, n);
}

struct relink {
	struct twz__names *n;
	struct twz_tx *tx;
	uint64_t *to, mask;
	struct twz_range *ranges;
	size_t cnt;
};

/* Record the next words of a batch of names in one call, then move the names. */
static int relink_batch(struct relink *r)
{
	int err = twz_tx_record_many(r->tx, r->ranges, r->cnt);

	for (size_t i = 0; i < r->cnt && !err; i++) {
		struct twz_name_pm *e = r->ranges[i].addr;
		uint64_t *bucket = &r->to[e->hash & r->mask];

		e->next = *bucket;
		*bucket = (uintptr_t)e - r->n->o->base;
	}
	r->cnt = 0;
	return err;
}

static int relink_all(struct relink *r)
{
	struct twz__names *n = r->n;
	struct twz__name name;
	uint64_t seen = 0;
	int err = 0;

	for (uint64_t i = 0; i < n->bucket_cnt && !err; i++) {
		for (uint64_t off = n->buckets[i]; off && !err; off = name.e->next) {
			if (seen++ > n->h->name_cnt)
				return corrupt(n, "there are more names than the header counts");
			err = entry(n, off, &name);
			if (!err)
				r->ranges[r->cnt++] =
					(struct twz_range){name.e, sizeof(name.e->next)};
		}
		/* Between buckets only: a bucket's names are not moved while it is being read. */
		if (!err && (r->cnt >= GROW_BATCH || i + 1 == n->bucket_cnt))
			err = relink_batch(r);
	}
	return err;
}

/* Twice as many buckets. */
static int grow(struct twz__names *n, struct twz_tx *tx)
{
	struct twz_names_pm *h = n->h;
	struct relink r = {.n = n, .tx = tx, .mask = 2 * n->bucket_cnt - 1};
	uint64_t old;
	int err;

	r.ranges = malloc((GROW_BATCH + n->h->name_cnt) * sizeof(*r.ranges));
	if (!r.ranges)
		return twz__err(TWZ_E_NOMEM, "%s: no memory for names", n->o->store->path);
	err = twz_alloc(n->o, 2 * n->bucket_cnt * sizeof(uint64_t), owner(&h->spare),
			(void **)&r.to);
	if (!err)
		err = twz__names_open(n->o, n); /* the object may have grown */
	if (!err)
		err = relink_all(&r);
	if (!err)
		err = twz_tx_record(tx, h, sizeof(*h));
	if (!err) {
		old = h->buckets;
		h->buckets = h->spare;
		h->spare = old;
		h->bucket_log++;
		h->sum = XXH3_64bits(h, HEADER_SUM_LEN);
		err = twz_free(n->o, owner(&h->spare));
	}
	free(r.ranges);
	return err ? err : twz__names_open(n->o, n);
}

int twz__names_insert(struct twz__names *n, struct twz_tx *tx, const char *name, size_t len,
		      twz_oid id)
{
	struct twz_names_pm *h = n->h;
	struct twz_range ranges[2] = {{h, sizeof(*h)}};
	struct twz_name_pm *e;
	uint64_t *bucket;
	int err = 0;

	if (h->name_cnt >= 2 * n->bucket_cnt && h->bucket_log < TWZ_NAMES_LOG_MAX)
		err = grow(n, tx);
	if (!err)
		err = twz_alloc(n->o, sizeof(*e) + len + 1, owner(&h->spare), (void **)&e);
	if (err)
		return err;
	e->id[0] = id.w[0];
	e->id[1] = id.w[1];
	e->hash = XXH3_64bits(name, len);
	e->len = (uint32_t)len;
	memcpy(e + 1, name, len + 1);
	e->sum = name_sum(e);
	bucket = &n->buckets[e->hash & (n->bucket_cnt - 1)];
	ranges[1] = (struct twz_range){bucket, sizeof(*bucket)};
	err = twz_tx_record_many(tx, ranges, 2);
	if (err)
		return err;
	e->next = *bucket;
	*bucket = h->spare;
	h->spare = 0;
	h->name_cnt++;
	return 0;
}

int twz__names_remove(struct twz__names *n, struct twz_tx *tx, const struct twz__name *name)
{
	struct twz_range ranges[2] = {{n->h, sizeof(*n->h)}, {name->link, sizeof(*name->link)}};
	int err = twz_tx_record_many(tx, ranges, 2);

	if (err)
		return err;
	n->h->spare = *name->link;
	*name->link = name->e->next;
	n->h->name_cnt--;
	return twz_free(n->o, owner(&n->h->spare));
}

int twz__names_replace(struct twz_tx *tx, const struct twz__name *name, twz_oid id)
{
	struct twz_name_pm *e = name->e;
	int err = twz_tx_record(tx, e, sizeof(*e));

	if (err)
		return err;
	e->id[0] = id.w[0];
	e->id[1] = id.w[1];
	e->sum = name_sum(e);
	return 0;
}
