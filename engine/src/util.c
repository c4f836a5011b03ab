/* SPDX-License-Identifier: MIT
 * util.c -- the small containers of a transaction's private state
 */
#include "internal.h"

#include <time.h>

static size_t slot_of(const struct u64map *m, uint64_t key)
{
	size_t i = (size_t)((key * 0x9e3779b97f4a7c15ULL) >> 20) & (m->cap - 1);

	while (m->slot[2 * i] && m->slot[2 * i] != key)
		i = (i + 1) & (m->cap - 1);
	return i;
}

static int grow(struct u64map *m)
{
	struct u64map old = *m;

	m->cap = old.cap ? old.cap * 2 : 64;
	m->slot = calloc(m->cap, 2 * sizeof(*m->slot));
	if (!m->slot) {
		*m = old;
		return -ENOMEM;
	}
	for (size_t i = 0; i < old.cap; i++) {
		if (old.slot[2 * i]) {
			size_t j = slot_of(m, old.slot[2 * i]);

			m->slot[2 * j] = old.slot[2 * i];
			m->slot[2 * j + 1] = old.slot[2 * i + 1];
		}
	}
	free(old.slot);
	return 0;
}

int u64map_put(struct u64map *m, uint64_t key, uint64_t value)
{
	size_t i;

	assert(key);
	if (m->cnt * 2 >= m->cap && grow(m))
		return -ENOMEM;
	i = slot_of(m, key);
	m->cnt += !m->slot[2 * i];
	m->slot[2 * i] = key;
	m->slot[2 * i + 1] = value;
	return 0;
}

bool u64map_get(const struct u64map *m, uint64_t key, uint64_t *value)
{
	size_t i;

	if (!m->cnt)
		return false;
	i = slot_of(m, key);
	if (!m->slot[2 * i])
		return false;
	*value = m->slot[2 * i + 1];
	return true;
}

uint64_t *u64map_at(const struct u64map *m, uint64_t key)
{
	size_t i = m->cnt ? slot_of(m, key) : 0;

	return m->cnt && m->slot[2 * i] ? &m->slot[2 * i + 1] : NULL;
}

/* What was stored behind the gap because its own place was taken moves up. */
void u64map_del(struct u64map *m, uint64_t key)
{
	size_t gap = m->cnt ? slot_of(m, key) : 0;

	if (!m->cnt || !m->slot[2 * gap])
		return;
	m->cnt--;
	m->slot[2 * gap] = 0;
	for (size_t i = (gap + 1) & (m->cap - 1); m->slot[2 * i]; i = (i + 1) & (m->cap - 1)) {
		uint64_t k = m->slot[2 * i];
		size_t at;

		m->slot[2 * i] = 0;
		at = slot_of(m, k);
		m->slot[2 * at] = k;
		m->slot[2 * at + 1] = m->slot[2 * i + 1];
	}
}

void u64map_free(struct u64map *m)
{
	free(m->slot);
	memset(m, 0, sizeof(*m));
}

void u64map_clear(struct u64map *m)
{
	if (m->cnt * 16 < m->cap && m->cap > 1024)
		u64map_free(m);
	else if (m->cnt)
		memset(m->slot, 0, m->cap * 2 * sizeof(*m->slot));
	m->cnt = 0;
}

void u64vec_clear(struct u64vec *v)
{
	if (v->cnt * 16 < v->cap && v->cap > 1024)
		u64vec_free(v);
	v->cnt = 0;
}

int u64vec_grow(struct u64vec *v)
{
	size_t cap = v->cap ? v->cap * 2 : 32;
	uint64_t *mem = realloc(v->v, cap * sizeof(*mem));

	if (!mem)
		return -ENOMEM;
	v->v = mem;
	v->cap = cap;
	return 0;
}

void u64vec_free(struct u64vec *v)
{
	free(v->v);
	memset(v, 0, sizeof(*v));
}

uint64_t twzdb__now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}
