/* SPDX-License-Identifier: MIT
 * test_engine_keys.c -- composite keys: bytes sort as the parts do, and give the parts back
 */
#include "t.h"
#include "twzdb_key.h"

#include <float.h>
#include <math.h>

enum kind { UINT, INT, FLOAT, DOUBLE, BOOL, NUL, TEXT, BYTES, KINDS };

/* One value of a part, and how it is stored. */
struct part {
	enum kind kind;
	unsigned width;
	uint32_t flags;
	bool null; /* kind NUL: the part is absent, else UINT of one byte follows */
	uint64_t u;
	int64_t i;
	float f;
	double d;
	uint8_t b[24];
	size_t len;
};

static const unsigned widths[] = {1, 2, 4, 8};

static void random_double(struct part *p)
{
	static const double odd[] = {0.0,     -0.0,	1.0,	  -1.0,	     DBL_MAX, -DBL_MAX,
				     DBL_MIN, -DBL_MIN, INFINITY, -INFINITY, 5e-324,  -5e-324};
	uint64_t bits = t_rand();

	memcpy(&p->d, &bits, sizeof(p->d));
	if (t_rand_below(3) == 0)
		p->d = odd[t_rand_below(sizeof(odd) / sizeof(odd[0]))];
	if (isnan(p->d))
		p->d = (double)t_rand_below(1000) - 500;
	p->f = t_rand_below(3) ? (float)((double)t_rand_below(2000) / 7 - 140) : (float)p->d;
}

/* Few different bytes, so that prefixes, zeros and 255 meet often. */
static void random_bytes(struct part *p, bool text)
{
	static const uint8_t pool[] = {0, 255, 1, 254, 'a', 'b'};

	p->len = t_rand_below(sizeof(p->b));
	for (size_t i = 0; i < p->len; i++)
		p->b[i] = pool[text + t_rand_below(sizeof(pool) - text)];
}

static void random_value(struct part *p)
{
	unsigned bits = 8 * p->width;

	p->u = t_rand() >> (64 - bits) >> t_rand_below(bits);
	p->i = (int64_t)(t_rand() << t_rand_below(64)) >> (64 - bits);
	p->null = t_rand_below(4) == 0;
	random_double(p);
	random_bytes(p, p->kind == TEXT);
}

static void random_kind(struct part *p)
{
	memset(p, 0, sizeof(*p));
	p->kind = (enum kind)t_rand_below(KINDS);
	p->width = p->kind == NUL || p->kind == BOOL ? 1 : widths[t_rand_below(4)];
	p->flags = (uint32_t)t_rand_below(2);
}

static int cmp_u(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

static int cmp_bytes(const struct part *a, const struct part *b)
{
	int c = memcmp(a->b, b->b, a->len < b->len ? a->len : b->len);

	return c ? c : cmp_u(a->len, b->len);
}

static int cmp_part(const struct part *a, const struct part *b)
{
	int c = 0;

	switch (a->kind) {
	case UINT:
		c = cmp_u(a->u, b->u);
		break;
	case INT:
		c = (a->i > b->i) - (a->i < b->i);
		break;
	case FLOAT:
		c = (a->f > b->f) - (a->f < b->f);
		break;
	case DOUBLE:
		c = (a->d > b->d) - (a->d < b->d);
		break;
	case BOOL:
		c = cmp_u(a->u & 1, b->u & 1);
		break;
	case NUL:
		c = cmp_u(!a->null, !b->null);
		if (!c && !a->null)
			c = cmp_u(a->u, b->u);
		break;
	default:
		c = cmp_bytes(a, b);
	}
	return a->flags & TWZDB_KEY_DESC ? -c : c;
}

static void put(struct twzdb_key *k, const struct part *p)
{
	switch (p->kind) {
	case UINT:
		T_OK(twzdb_key_put_uint(k, p->u, p->width, p->flags));
		break;
	case INT:
		T_OK(twzdb_key_put_int(k, p->i, p->width, p->flags));
		break;
	case FLOAT:
		T_OK(twzdb_key_put_float(k, p->f, p->flags));
		break;
	case DOUBLE:
		T_OK(twzdb_key_put_double(k, p->d, p->flags));
		break;
	case BOOL:
		T_OK(twzdb_key_put_bool(k, p->u & 1, p->flags));
		break;
	case NUL:
		T_OK(twzdb_key_put_null(k, p->null, p->flags));
		if (!p->null)
			T_OK(twzdb_key_put_uint(k, p->u, 1, p->flags));
		break;
	case TEXT:
		T_OK(twzdb_key_put_text(k, (const char *)p->b, p->len, p->flags));
		break;
	default:
		T_OK(twzdb_key_put_bytes(k, p->b, p->len, p->flags));
	}
}

static void get_number(struct twzdb_key_reader *r, const struct part *p)
{
	uint64_t u;
	int64_t i;
	float f;
	double d;

	switch (p->kind) {
	case UINT:
		T_OK(twzdb_key_get_uint(r, &u, p->width, p->flags));
		T_EQ(u, p->u);
		break;
	case INT:
		T_OK(twzdb_key_get_int(r, &i, p->width, p->flags));
		T_EQ(i, p->i);
		break;
	case FLOAT:
		T_OK(twzdb_key_get_float(r, &f, p->flags));
		T_TRUE(f == p->f);
		break;
	default:
		T_OK(twzdb_key_get_double(r, &d, p->flags));
		T_TRUE(d == p->d);
	}
}

static void get_other(struct twzdb_key_reader *r, const struct part *p)
{
	uint8_t buf[sizeof(p->b)];
	uint64_t u = 0;
	size_t len = 0;
	bool b;

	switch (p->kind) {
	case BOOL:
		T_OK(twzdb_key_get_bool(r, &b, p->flags));
		T_EQ(b, p->u & 1);
		return;
	case NUL:
		T_OK(twzdb_key_get_null(r, &b, p->flags));
		T_EQ(b, p->null);
		if (!b)
			T_OK(twzdb_key_get_uint(r, &u, 1, p->flags));
		T_EQ(u, p->null ? 0 : p->u);
		return;
	case TEXT:
		T_OK(twzdb_key_get_text(r, (char *)buf, sizeof(buf), &len, p->flags));
		break;
	default:
		T_OK(twzdb_key_get_bytes(r, buf, sizeof(buf), &len, p->flags));
	}
	T_TRUE(len == p->len && !memcmp(buf, p->b, len));
}

static int cmp_slices(struct twzdb_slice a, struct twzdb_slice b)
{
	int c = memcmp(a.ptr, b.ptr, a.len < b.len ? a.len : b.len);

	return c ? c : cmp_u(a.len, b.len);
}

static int sign(int c)
{
	return (c > 0) - (c < 0);
}

#define PARTS 4

static void build(const struct part *p, unsigned n, uint8_t *buf, size_t cap,
		  struct twzdb_slice *key)
{
	struct twzdb_key k;

	twzdb_key_init(&k, buf, cap);
	for (unsigned i = 0; i < n; i++)
		put(&k, &p[i]);
	T_OK(twzdb_key_end(&k, key));
}

static void bytes_sort_as_parts_do(void)
{
	uint8_t abuf[256], bbuf[256];

	for (int round = 0; round < 100000 && !CU_get_number_of_failure_records(); round++) {
		struct part a[PARTS], b[PARTS];
		unsigned n = 1 + (unsigned)t_rand_below(PARTS);
		struct twzdb_slice ka, kb;
		struct twzdb_key_reader r;
		int want = 0;

		for (unsigned i = 0; i < n; i++) {
			random_kind(&a[i]);
			random_value(&a[i]);
			b[i] = a[i];
			if (t_rand_below(2))
				random_value(&b[i]);
			want = want ? want : cmp_part(&a[i], &b[i]);
		}
		build(a, n, abuf, sizeof(abuf), &ka);
		build(b, n, bbuf, sizeof(bbuf), &kb);
		T_EQ(sign(cmp_slices(ka, kb)), sign(want));
		twzdb_key_read(&r, ka);
		for (unsigned i = 0; i < n; i++)
			if (a[i].kind <= DOUBLE)
				get_number(&r, &a[i]);
			else
				get_other(&r, &a[i]);
		T_EQ(r.left, 0);
	}
}

static void equal_numbers_have_equal_bytes(void)
{
	uint8_t abuf[16], bbuf[16];
	struct twzdb_key a, b;
	struct twzdb_key_reader r;
	double d;

	twzdb_key_init(&a, abuf, sizeof(abuf));
	twzdb_key_init(&b, bbuf, sizeof(bbuf));
	twzdb_key_put_double(&a, 0.0, 0);
	twzdb_key_put_double(&b, -0.0, 0);
	twzdb_key_put_float(&a, 0.0F, 0);
	twzdb_key_put_float(&b, -0.0F, 0);
	T_TRUE(a.len == 12 && b.len == 12 && !memcmp(abuf, bbuf, 12));
	twzdb_key_init(&a, abuf, sizeof(abuf));
	twzdb_key_init(&b, bbuf, sizeof(bbuf));
	twzdb_key_put_double(&a, -NAN, 0);
	twzdb_key_put_double(&b, INFINITY, 0);
	T_TRUE(memcmp(abuf, bbuf, 8) > 0); /* every NaN stands above everything */
	twzdb_key_read(&r, (struct twzdb_slice){abuf, 8});
	T_OK(twzdb_key_get_double(&r, &d, 0));
	T_TRUE(isnan(d));
}

static void a_builder_keeps_its_bounds_and_its_first_error(void)
{
	uint8_t buf[10];
	struct twzdb_slice key;
	struct twzdb_key k;

	for (size_t cap = 0; cap < 10; cap++) {
		memset(buf, 0x55, sizeof(buf));
		twzdb_key_init(&k, buf, cap);
		twzdb_key_put_uint(&k, 7, 2, 0);
		twzdb_key_put_text(&k, "abc", 3, 0);
		T_ERR(twzdb_key_put_bytes(&k, "\0x", 2, 0), TWZDB_E_TOOBIG);
		T_TRUE(buf[cap] == 0x55);
		T_ERR(twzdb_key_end(&k, &key), TWZDB_E_TOOBIG);
		T_TRUE(!key.ptr && !key.len);
	}
	twzdb_key_init(&k, NULL, 100);
	T_ERR(twzdb_key_put_bool(&k, true, 0), TWZDB_E_TOOBIG);
	twzdb_key_init(&k, buf, sizeof(buf));
	T_ERR(twzdb_key_put_text(&k, "a\0b", 3, 0), TWZDB_E_INVAL);
	T_ERR(twzdb_key_put_bool(&k, true, 0), TWZDB_E_INVAL); /* stays */
	twzdb_key_init(&k, buf, sizeof(buf));
	T_ERR(twzdb_key_put_uint(&k, 256, 1, 0), TWZDB_E_INVAL);
	twzdb_key_init(&k, buf, sizeof(buf));
	T_ERR(twzdb_key_put_int(&k, -129, 1, 0), TWZDB_E_INVAL);
	twzdb_key_init(&k, buf, sizeof(buf));
	T_ERR(twzdb_key_put_int(&k, 128, 1, 0), TWZDB_E_INVAL);
	twzdb_key_init(&k, buf, sizeof(buf));
	T_ERR(twzdb_key_put_uint(&k, 1, 3, 0), TWZDB_E_INVAL);
	twzdb_key_init(&k, buf, sizeof(buf));
	T_ERR(twzdb_key_put_bool(&k, true, 2), TWZDB_E_INVAL);
	twzdb_key_init(&k, buf, sizeof(buf));
	T_ERR(twzdb_key_put_bytes(&k, NULL, 2, 0), TWZDB_E_INVAL);
	twzdb_key_init(&k, buf, sizeof(buf));
	T_ERR(twzdb_key_put_text(&k, NULL, 2, 0), TWZDB_E_INVAL);
	twzdb_key_init(&k, buf, sizeof(buf));
	T_OK(twzdb_key_put_int(&k, -128, 1, 0));
	T_OK(twzdb_key_put_bytes(&k, NULL, 0, 0));
	T_OK(twzdb_key_end(&k, &key));
	T_EQ(key.len, 3);
}

/* Any bytes: each reader says no, or stays inside them. */
static void strange_bytes_are_errors(void)
{
	for (int round = 0; round < 20000; round++) {
		size_t n = t_rand_below(12), len = 99;
		uint8_t *bytes = malloc(n + 1), out[12];
		struct twzdb_key_reader r;
		uint32_t flags = (uint32_t)t_rand_below(2);
		uint64_t u;
		int64_t i;
		bool b;
		int err;

		for (size_t j = 0; j < n; j++)
			bytes[j] = (uint8_t)(t_rand_below(3) ? 0 - (t_rand() >> 63) : t_rand());
		bytes = realloc(bytes, n ? n : 1); /* exact, for the address sanitizer */
		twzdb_key_read(&r, (struct twzdb_slice){bytes, n});
		switch (t_rand_below(6)) {
		case 0:
			err = twzdb_key_get_uint(&r, &u, widths[t_rand_below(4)], flags);
			break;
		case 1:
			err = twzdb_key_get_int(&r, &i, widths[t_rand_below(4)], flags);
			break;
		case 2:
			err = twzdb_key_get_bool(&r, &b, flags);
			break;
		case 3:
			err = twzdb_key_get_text(&r, (char *)out, t_rand_below(sizeof(out)), &len,
						 flags);
			break;
		case 4:
			err = twzdb_key_get_bytes(&r, out, t_rand_below(sizeof(out)), &len, flags);
			break;
		default:
			err = twzdb_key_get_null(&r, &b, flags);
		}
		T_TRUE(err ? r.left == n : r.left < n);
		T_TRUE(!err || err == TWZDB_E_INVAL || (err == TWZDB_E_TOOBIG && len <= n));
		free(bytes);
	}
}

static void lengths_can_be_asked_for(void)
{
	uint8_t buf[32], out[4];
	struct twzdb_slice key;
	struct twzdb_key_reader r;
	struct twzdb_key k;
	size_t len;

	twzdb_key_init(&k, buf, sizeof(buf));
	twzdb_key_put_bytes(&k, "a\0b\0", 4, TWZDB_KEY_DESC);
	twzdb_key_put_rest(&k, "tail", 4, TWZDB_KEY_DESC);
	T_OK(twzdb_key_end(&k, &key));
	T_EQ(key.len, 4 + 2 + 2 + 4);
	twzdb_key_read(&r, key);
	T_ERR(twzdb_key_get_bytes(&r, NULL, 0, &len, TWZDB_KEY_DESC), TWZDB_E_TOOBIG);
	T_EQ(len, 4);
	T_OK(twzdb_key_get_bytes(&r, out, sizeof(out), &len, TWZDB_KEY_DESC));
	T_TRUE(!memcmp(out, "a\0b\0", 4));
	T_ERR(twzdb_key_get_rest(&r, out, 3, &len, TWZDB_KEY_DESC), TWZDB_E_TOOBIG);
	T_OK(twzdb_key_get_rest(&r, out, 4, &len, TWZDB_KEY_DESC));
	T_TRUE(len == 4 && !memcmp(out, "tail", 4));
	T_OK(twzdb_key_get_rest(&r, NULL, 0, &len, 0));
	T_EQ(len, 0);
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(bytes_sort_as_parts_do),
		T_CASE(equal_numbers_have_equal_bytes),
		T_CASE(a_builder_keeps_its_bounds_and_its_first_error),
		T_CASE(strange_bytes_are_errors),
		T_CASE(lengths_can_be_asked_for),
		T_END,
	};

	t_err_name = twzdb_err_name;
	t_err_msg = twzdb_errmsg;
	return t_main("engine_keys", cases, argc, argv);
}
