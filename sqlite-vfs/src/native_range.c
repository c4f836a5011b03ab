/* SPDX-License-Identifier: MIT
 * native_range.c -- constraints on a key as ranges of its bytes
 *
 * A range may hold more rows than the constraints allow, never fewer: SQLite looks at every row
 * again, unless native_plan.c says that it need not (integers and other numeric columns, where the range is exact).
 *
 * Which rows "column = value" means depends on affinities, and of the value's affinity a virtual
 * table learns nothing. A numeric column is no question: the value is taken as a number if it looks like one. A TEXT column and
 * a number: compared as texts if the number has no affinity (5, ?), as numbers if it comes from a numeric
 * column; so all rows are candidates. A column without affinity and text: the text, and the
 * number it may be; and a number: the number, and all texts. A value that was bound to a parameter
 * has no affinity.
 *
 * Where SQLite believes that there is one row at most, an UPDATE looks at the first one only. So the row with the
 * very value comes first.
 */
#include <errno.h>
#include <math.h>

#include "native_range.h"

void twzvfs__ranges_init(struct nranges *r)
{
	memset(r, 0, sizeof(*r));
	for (int i = 0; i < RANGES_MAX; i++) {
		twzvfs__nbuf_init(&r->r[i].lo);
		twzvfs__nbuf_init(&r->r[i].hi);
	}
}

void twzvfs__ranges_free(struct nranges *r)
{
	for (int i = 0; i < RANGES_MAX; i++) {
		twzvfs__nbuf_free(&r->r[i].lo);
		twzvfs__nbuf_free(&r->r[i].hi);
	}
}

/* B becomes the first string that does not begin with B. False: there is none. */
static bool next_prefix(struct nbuf *b)
{
	while (b->len && b->p[b->len - 1] == 0xff)
		b->len--;
	if (!b->len)
		return false;
	b->p[b->len - 1]++;
	return true;
}

/* Copy FROM to B, then go behind every key that begins with it. */
static int behind(struct nbuf *b, const struct nbuf *from, bool *open)
{
	b->len = 0;
	*open = false;
	if (twzvfs__nbuf_add(b, from->p, from->len))
		return -ENOMEM;
	*open = !next_prefix(b);
	return 0;
}

/* Everything that begins with what lo is. */
static int whole_prefix(struct nrange *r)
{
	return behind(&r->hi, &r->lo, &r->open);
}

/* --- rowids --- */

struct ibounds {
	sqlite3_int64 lo, hi;
	bool empty;
};

static void bound_int(struct ibounds *b, char op, sqlite3_int64 i)
{
	bool low = op == '>' || op == 'g' || op == 'e' || op == 'i';
	bool high = op == '<' || op == 'l' || op == 'e' || op == 'i';

	if ((op == '>' && i == INT64_MAX) || (op == '<' && i == INT64_MIN)) {
		b->empty = true;
		return;
	}
	i += op == '>' ? 1 : op == '<' ? -1 : 0;
	if (low && i > b->lo)
		b->lo = i;
	if (high && i < b->hi)
		b->hi = i;
}

static void bound_real(struct ibounds *b, char op, double r)
{
	bool low = op == '>' || op == 'g';

	if (r == floor(r) && r >= -9223372036854775808.0 && r < 9223372036854775808.0)
		bound_int(b, op, (sqlite3_int64)r);
	else if (op == 'e' || op == 'i')
		b->empty = true;
	else if (r >= 9223372036854775808.0)
		b->empty |= low;
	else if (r < -9223372036854775808.0)
		b->empty |= !low;
	else
		bound_int(b, low ? 'g' : 'l', (sqlite3_int64)(low ? ceil(r) : floor(r)));
}

static int bound_rowid(struct ibounds *b, char op, sqlite3_value *v)
{
	struct nval val;
	int err = twzvfs__val_take(v, AFF_NUMERIC, &val);

	if (err)
		return err;
	if (val.type == SQLITE_INTEGER)
		bound_int(b, op, val.i);
	else if (val.type == SQLITE_FLOAT)
		bound_real(b, op, val.r);
	else if (val.type == SQLITE_NULL || (op != '<' && op != 'l'))
		b->empty = true; /* every number is less than a text or blob */
	return 0;
}

static int rowid_ranges(const char *str, int argc, sqlite3_value **argv, struct nranges *out)
{
	struct ibounds b = {INT64_MIN, INT64_MAX, false};
	struct nrange *r = &out->r[0];
	int err = 0;

	for (int i = 0; i < argc && !err; i++)
		err = bound_rowid(&b, str[i], argv[i]);
	if (err || b.empty || b.lo > b.hi)
		return err;
	out->cnt = 1;
	out->point = b.lo == b.hi;
	err = twzvfs__rowid_put(&r->lo, b.lo);
	if (!err)
		err = twzvfs__rowid_put(&r->hi, b.hi);
	if (!err)
		r->open = !next_prefix(&r->hi);
	return err;
}

/* --- parts --- */

struct ranger {
	struct native *n;
	const struct nkey *k;
	const char *str;
	int argc;
	sqlite3_value **argv;
	struct nranges *out;
	int base;	     /* ranges before these */
	struct nrange *r;    /* = out->r + base */
	struct nbuf *prefix; /* = r[0].lo */
};

enum fit { FIT_EXACT, FIT_ALL, FIT_TWO };

/* The value as it is to be looked for in column COL if it has no affinity of its own. */
static int take_plain(struct ranger *g, int col, sqlite3_value *v, struct nval *val)
{
	enum naff aff = g->n->d->col[col].aff;

	return twzvfs__val_take(v, aff >= AFF_NUMERIC ? AFF_NUMERIC : aff, val);
}

/* And if that is not known. */
static int take(struct ranger *g, int col, sqlite3_value *v, struct nval *val, enum fit *fit)
{
	enum naff aff = g->n->d->col[col].aff;
	bool number;
	int err;

	*fit = FIT_EXACT;
	if (aff >= AFF_NUMERIC || sqlite3_value_frombind(v))
		return take_plain(g, col, v, val);
	err = twzvfs__val_take(v, AFF_BLOB, val);
	number = val->type == SQLITE_INTEGER || val->type == SQLITE_FLOAT;
	if (aff == AFF_TEXT && number)
		*fit = FIT_ALL;
	else if (aff == AFF_BLOB && (number || val->type == SQLITE_TEXT))
		*fit = FIT_TWO;
	return err;
}

/* Class CLASS of the part: [prefix class, prefix class + 1). */
static int whole_class(struct nrange *r, const unsigned char *prefix, size_t len,
		       enum twzvfs_part_tag class, bool desc)
{
	unsigned char c = desc ? (unsigned char)~class : (unsigned char)class;

	r->lo.len = 0;
	if (twzvfs__nbuf_add(&r->lo, prefix, len) || twzvfs__nbuf_add(&r->lo, &c, 1))
		return -ENOMEM;
	return whole_prefix(r);
}

static int exact(struct nrange *r, const unsigned char *prefix, size_t len, const struct nval *v,
		 const struct npart *part)
{
	int err;

	r->lo.len = 0;
	err = twzvfs__nbuf_add(&r->lo, prefix, len);
	if (!err)
		err = twzvfs__part_put(&r->lo, v, part);
	if (!err && part->rest) { /* the only key is this one */
		r->hi.len = 0;
		r->open = false;
		err = twzvfs__nbuf_add(&r->hi, r->lo.p, r->lo.len);
		return err ? err : twzvfs__nbuf_add(&r->hi, "", 1);
	}
	return err ? err : whole_prefix(r);
}

/* A column without affinity: the number and texts, in the order of the key. */
static int two(struct ranger *g, const struct npart *part, sqlite3_value *v, struct nval *val)
{
	struct nrange *num = &g->r[part->desc ? 1 : 0], *text = &g->r[part->desc ? 0 : 1];
	unsigned char *prefix;
	size_t len = g->prefix->len;
	struct nval number;
	int err = 0;

	prefix = sqlite3_malloc64(len + 1);
	if (!prefix)
		return -ENOMEM;
	memcpy(prefix, g->prefix->p, len);
	g->out->cnt = g->base + 2;
	if (val->type == SQLITE_TEXT) {
		err = exact(text, prefix, len, val, part);
		if (!err)
			err = twzvfs__val_take(v, AFF_NUMERIC, &number);
		if (!err && (number.type == SQLITE_INTEGER || number.type == SQLITE_FLOAT)) {
			err = exact(num, prefix, len, &number, part);
		} else if (!err) {
			num->lo.len = num->hi.len = 0; /* no key is below the first */
			num->open = false;
		}
	} else {
		err = exact(num, prefix, len, val, part);
		if (!err)
			err = whole_class(text, prefix, len, TWZVFS_PART_TEXT, part->desc);
	}
	sqlite3_free(prefix);
	return err;
}

/* "=": 1 = done, no more parts can be used. */
static int equal(struct ranger *g, const struct npart *part, char op, sqlite3_value *v)
{
	struct nval val;
	enum fit fit;
	int err = take(g, part->col, v, &val, &fit);

	if (err)
		return err;
	if (val.type == SQLITE_NULL && op == 'e')
		return 1;
	if (fit == FIT_EXACT)
		return twzvfs__part_put(g->prefix, &val, part);
	if (fit == FIT_TWO) {
		err = two(g, part, v, &val);
		return err ? err : 1;
	}
	g->out->cnt = g->base + 1;
	err = whole_prefix(g->r);
	return err ? err : 1;
}

/* The bound at value V; BEHIND: after all keys with it. */
static int set_bound(struct ranger *g, const struct npart *part, const struct nval *v, bool lower,
		     bool past)
{
	struct nrange *r = g->r;
	struct nbuf b;
	bool open = false;
	int err;

	twzvfs__nbuf_init(&b);
	err = twzvfs__nbuf_add(&b, g->prefix->p, g->out->prefix_len);
	if (!err)
		err = twzvfs__part_put(&b, v, part);
	if (!err && past && part->rest)
		err = twzvfs__nbuf_add(&b, "", 1);
	else if (!err && past)
		open = !next_prefix(&b);
	if (!err && lower) {
		r->lo.len = 0;
		err = twzvfs__nbuf_add(&r->lo, b.p, b.len);
	} else if (!err) {
		r->hi.len = 0;
		r->open = open;
		err = twzvfs__nbuf_add(&r->hi, b.p, b.len);
	}
	twzvfs__nbuf_free(&b);
	return err;
}

/* One of < <= > >=. NULLs, at one end of the part, are never in. */
static int bound(struct ranger *g, const struct npart *part, char op, sqlite3_value *v)
{
	bool greater = op == '>' || op == 'g', lower = greater != part->desc;
	struct nval val;
	enum fit fit;
	int err = take(g, part->col, v, &val, &fit);

	if (err)
		return err;
	if (val.type == SQLITE_NULL) {
		g->out->cnt = 0;
		return 1;
	}
	if (fit != FIT_EXACT)
		return 0;
	return set_bound(g, part, &val, lower, (op == '>' || op == 'l') != part->desc);
}

/* Start the range of a part that has bounds: all of it but NULLs. */
static int without_null(struct ranger *g, const struct npart *part)
{
	struct nrange *r = g->r;
	unsigned char c = part->desc ? (unsigned char)~TWZVFS_PART_NULL : TWZVFS_PART_NULL + 1;
	int err;

	g->out->prefix_len = r->lo.len;
	if (!part->desc) {
		err = whole_prefix(r);
		return err ? err : twzvfs__nbuf_add(&r->lo, &c, 1);
	}
	r->hi.len = 0;
	r->open = false;
	err = twzvfs__nbuf_add(&r->hi, r->lo.p, r->lo.len);
	return err ? err : twzvfs__nbuf_add(&r->hi, &c, 1);
}

/* The characters before the first wildcard. */
static size_t literal_len(const char *s, size_t n, bool like)
{
	size_t i = 0;

	while (i < n &&
	       !(like ? s[i] == '%' || s[i] == '_' : s[i] == '*' || s[i] == '?' || s[i] == '['))
		i++;
	return i;
}

/*
 * LIKE and GLOB: texts that begin as the pattern does, and blobs, which SQLite takes for texts there.
 * (A column with affinity TEXT has no numbers.) LIKE knows A-Z as a-z: so does a part with NOCASE.
 */
static int pattern(struct ranger *g, const struct npart *part, char op, sqlite3_value *v)
{
	size_t len, plen = g->prefix->len;
	struct nval val;
	int err;

	if (sqlite3_value_type(v) == SQLITE_NULL)
		return 0;
	err = twzvfs__val_take(v, AFF_TEXT, &val);
	g->out->cnt = 1;
	if (err || val.type != SQLITE_TEXT)
		return err ? err : without_null(g, part);
	len = literal_len(val.p, val.n, op == 'k');
	err = whole_class(&g->r[1], g->prefix->p, plen, TWZVFS_PART_BLOB, false);
	if (!err)
		err = twzvfs__part_put_prefix(g->prefix, val.p, len, part);
	if (!err)
		err = whole_prefix(g->r);
	g->out->cnt = 2;
	return err;
}

static int bounds(struct ranger *g, const struct npart *part, int at)
{
	int err;

	g->out->cnt = 1;
	err = without_null(g, part);
	for (int i = at; i < g->argc && !err; i++)
		err = bound(g, part, g->str[i], g->argv[i]);
	return err == 1 ? 0 : err;
}

static int part_ranges(struct ranger *g)
{
	struct nrange *r = g->r;
	int i, err = 0;

	for (i = 0; i < g->argc && (g->str[i] == 'e' || g->str[i] == 'i') && !err; i++)
		err = equal(g, &g->k->part[i], g->str[i], g->argv[i]);
	if (err)
		return err == 1 ? 0 : err;
	if (i < g->argc && (g->str[i] == 'k' || g->str[i] == 'b'))
		return pattern(g, &g->k->part[i], g->str[i], g->argv[i]);
	if (i < g->argc)
		return bounds(g, &g->k->part[i], i);
	g->out->cnt = g->base + 1;
	return whole_prefix(r);
}

/* All parts are bound: the key itself. *SURE: there can be no other. */
static int unique_range(struct ranger *g, bool *sure)
{
	struct nval val;
	enum fit fit;
	int err = 0;

	*sure = true;
	for (int i = 0; i < g->argc && !err; i++) {
		err = take(g, g->k->part[i].col, g->argv[i], &val, &fit);
		*sure &= fit == FIT_EXACT;
		if (val.type == SQLITE_NULL)
			return 1; /* equal to nothing */
		if (!err && fit != FIT_EXACT)
			err = take_plain(g, g->k->part[i].col, g->argv[i], &val);
		if (!err)
			err = twzvfs__part_put(g->prefix, &val, &g->k->part[i]);
	}
	if (!err && g->k->part[g->k->cnt - 1].rest)
		err = twzvfs__nbuf_add(&g->r->hi, g->prefix->p, g->prefix->len) ||
				      twzvfs__nbuf_add(&g->r->hi, "", 1)
			      ? -ENOMEM
			      : 0;
	else if (!err)
		err = whole_prefix(g->r);
	g->out->cnt = 1;
	return err;
}

static int key_ranges(struct ranger *g, bool unique)
{
	bool sure = false;
	int err;

	g->r = g->out->r;
	g->prefix = &g->r->lo;
	if (!unique)
		return part_ranges(g);
	err = unique_range(g, &sure);
	g->out->point = sure && g->k == &g->n->d->key;
	if (err || sure)
		return err == 1 ? 0 : err;
	g->out->first = true;
	g->base = 1;
	g->r++;
	g->prefix = &g->r->lo;
	return part_ranges(g);
}

int twzvfs__ranges_make(struct native *n, int num, const char *str, int argc, sqlite3_value **argv,
			struct nranges *out)
{
	int path = num & PLAN_PATH;
	struct ranger g = {.n = n, .str = str, .argc = argc, .argv = argv, .out = out};

	out->cnt = 0;
	out->point = false;
	out->first = false;
	for (int i = 0; i < RANGES_MAX; i++) {
		out->r[i].lo.len = out->r[i].hi.len = 0;
		out->r[i].open = false;
	}
	if (!argc) {
		out->cnt = 1;
		out->r[0].open = true;
		return 0;
	}
	if (path == 0 && n->d->kind != TWZVFS_KEY_PARTS)
		return rowid_ranges(str, argc, argv, out);
	g.k = path ? &n->d->index[path - 1] : &n->d->key;
	return key_ranges(&g, num & PLAN_UNIQUE);
}
