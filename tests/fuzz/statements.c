/* SPDX-License-Identifier: MIT
 * statements.c -- mutations of SQL that leave most of it SQL: whole statements, and the words of one
 *
 * A piece of text is told from the next as SQL does: quotes, comments, words, numbers, single signs. A statement ends with ';' and
 * the end of the line, as .dump writes them; what is in quotes does not end one. The body of a trigger comes apart: so be it.
 */
#include "statements.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define POOL_MAX  4096
#define TEXT_MAX  65536
#define PIECE_MAX 512

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len,
				 uint8_t *out, size_t max, unsigned int seed);

struct piece {
	const char *at;
	size_t len;
};

struct pool {
	struct piece p[POOL_MAX];
	size_t cnt;
};

static struct pool statements, words; /* of all that was learned */
static unsigned int state;

static size_t below(size_t n)
{
	state = state * 1664525u + 1013904223u;
	return (state >> 8) % n;
}

/* --- where a piece ends --- */

static size_t quoted(const char *s, size_t len, char end)
{
	size_t i = 1;

	while (i < len && s[i] != end)
		i++;
	return i < len ? i + 1 : len;
}

static bool is_word(char c)
{
	return isalnum((unsigned char)c) || c == '_' || c == '.' || (unsigned char)c >= 0x80;
}

static size_t word_len(const char *s, size_t len)
{
	size_t i = 1;

	switch (*s) {
	case '\'':
	case '"':
	case '`':
		return quoted(s, len, *s);
	case '[':
		return quoted(s, len, ']');
	case '-':
		if (len > 1 && s[1] == '-')
			return quoted(s, len, '\n');
		return 1;
	default:
		if (isspace((unsigned char)*s))
			while (i < len && isspace((unsigned char)s[i]))
				i++;
		else if (is_word(*s))
			while (i < len && is_word(s[i]))
				i++;
		return i;
	}
}

static void words_of(struct pool *out, const char *s, size_t len)
{
	out->cnt = 0;
	for (size_t n; len && out->cnt < POOL_MAX; s += n, len -= n) {
		n = word_len(s, len);
		out->p[out->cnt++] = (struct piece){s, n};
	}
	if (len && out->cnt)
		out->p[out->cnt - 1].len += len;
}

static void statements_of(struct pool *out, const char *s, size_t len)
{
	const char *begin = s, *end = s + len;

	out->cnt = 0;
	while (s < end && out->cnt < POOL_MAX - 1) {
		size_t n = word_len(s, (size_t)(end - s));
		bool last = *s == ';' && (s + 1 == end || s[1] == '\n');

		s += n + (last && s + 1 < end);
		if (last) {
			out->p[out->cnt++] = (struct piece){begin, (size_t)(s - begin)};
			begin = s;
		}
	}
	if (begin < end)
		out->p[out->cnt++] = (struct piece){begin, (size_t)(end - begin)};
}

static void add_all(struct pool *to, const struct pool *from)
{
	for (size_t i = 0; i < from->cnt && to->cnt < POOL_MAX; i++) {
		char *copy = malloc(from->p[i].len + 1);

		if (!copy)
			abort();
		memcpy(copy, from->p[i].at, from->p[i].len);
		to->p[to->cnt++] = (struct piece){copy, from->p[i].len};
	}
}

void statements_learn(const char *text, size_t len)
{
	static struct pool p;

	statements_of(&p, text, len);
	add_all(&statements, &p);
	words_of(&p, text, len < 4000 ? len : 4000);
	add_all(&words, &p);
}

/* --- mutations of a list of pieces --- */

static void cut_at(struct pool *p, size_t i)
{
	memmove(&p->p[i], &p->p[i + 1], (p->cnt - i - 1) * sizeof(p->p[0]));
	p->cnt--;
}

static void put_at(struct pool *p, size_t i, struct piece x)
{
	if (p->cnt == POOL_MAX)
		return;
	memmove(&p->p[i + 1], &p->p[i], (p->cnt - i) * sizeof(p->p[0]));
	p->p[i] = x;
	p->cnt++;
}

/* One goes, comes again, changes places, or one of OTHERS comes. */
static void shuffle(struct pool *p, const struct pool *others)
{
	size_t i = below(p->cnt), k = below(p->cnt);
	struct piece x = p->p[i];

	switch (below(6)) {
	case 0:
		cut_at(p, i);
		break;
	case 1:
		put_at(p, k, x);
		break;
	case 2:
		p->p[i] = p->p[k];
		p->p[k] = x;
		break;
	case 3:
		if (others->cnt)
			p->p[i] = others->p[below(others->cnt)];
		break;
	default:
		if (others->cnt)
			put_at(p, k, others->p[below(others->cnt)]);
	}
}

/* One piece by libFuzzer's own means, its dictionary among them. BUF keeps it. */
static void spoil(struct pool *p, uint8_t buf[PIECE_MAX])
{
	struct piece *x = &p->p[below(p->cnt)];
	size_t len = x->len < PIECE_MAX / 2 ? x->len : PIECE_MAX / 2;

	memcpy(buf, x->at, len);
	*x = (struct piece){(const char *)buf, LLVMFuzzerMutate(buf, len, PIECE_MAX)};
}

static size_t join(const struct pool *p, char *out, size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < p->cnt && n + p->p[i].len <= max; i++) {
		memcpy(out + n, p->p[i].at, p->p[i].len);
		n += p->p[i].len;
	}
	return n;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	static struct pool all, one;
	static char old[TEXT_MAX], inner[TEXT_MAX];
	uint8_t buf[PIECE_MAX];
	size_t i;

	state = seed;
	if (!size || size > TEXT_MAX || below(12) == 0)
		return LLVMFuzzerMutate(data, size, max_size);
	memcpy(old, data, size);
	statements_of(&all, old, size);
	if (below(2)) {
		for (size_t n = 1 + below(3); n && all.cnt; n--)
			shuffle(&all, &statements);
		return join(&all, (char *)data, max_size);
	}
	i = below(all.cnt);
	words_of(&one, all.p[i].at, all.p[i].len < TEXT_MAX ? all.p[i].len : TEXT_MAX);
	for (size_t n = 1 + below(3); n && one.cnt; n--)
		shuffle(&one, &words);
	if (one.cnt && below(2))
		spoil(&one, buf);
	all.p[i] = (struct piece){inner, join(&one, inner, sizeof(inner))};
	return join(&all, (char *)data, max_size);
}

/* The first part of one, the second of the other, and a few at random in between. */
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len,
				 uint8_t *out, size_t max, unsigned int seed)
{
	static struct pool x, y;
	size_t from, n = 0;

	state = seed;
	statements_of(&x, (const char *)a, a_len);
	statements_of(&y, (const char *)b, b_len);
	if (!x.cnt || !y.cnt)
		return 0;
	x.cnt = 1 + below(x.cnt);
	from = below(y.cnt);
	memmove(&y.p[0], &y.p[from], (y.cnt - from) * sizeof(y.p[0]));
	y.cnt -= from;
	for (size_t i = 0; i < 3; i++)
		put_at(&x, below(x.cnt), y.p[below(y.cnt)]);
	n = join(&x, (char *)out, max);
	return n + join(&y, (char *)out + n, max - n);
}
