/* SPDX-License-Identifier: MIT
 * util.h -- the small containers of private state (util.c; included by internal.h only)
 */
#ifndef TWZDB_UTIL_H
#define TWZDB_UTIL_H

/* Hash map uint64 -> uint64 ; key 0 is not allowed. */
struct u64map {
	uint64_t *slot; /* pairs */
	size_t cap, cnt;
};

/* Growable array of words. */
struct u64vec {
	uint64_t *v;
	size_t cnt, cap;
};

int u64map_put(struct u64map *m, uint64_t key, uint64_t value); /* 0 or -ENOMEM */
bool u64map_get(const struct u64map *m, uint64_t key, uint64_t *value);
uint64_t *u64map_at(const struct u64map *m, uint64_t key); /* place of the value, or NULL */
void u64map_del(struct u64map *m, uint64_t key);
void u64map_free(struct u64map *m);
/* Empty, but memory in proportion to its use is kept. */
void u64map_clear(struct u64map *m);
void u64vec_clear(struct u64vec *v);
int u64vec_grow(struct u64vec *v);			    /* room for one more: 0 or -ENOMEM */
static inline int u64vec_push(struct u64vec *v, uint64_t x) /* 0 or -ENOMEM */
{
	if (__builtin_expect(v->cnt == v->cap, 0) && u64vec_grow(v))
		return -ENOMEM;
	v->v[v->cnt++] = x;
	return 0;
}
void u64vec_free(struct u64vec *v);
uint64_t twzdb__now_ns(void);

#endif
