/* SPDX-License-Identifier: MIT
 * persist.c -- flush, fence, publish (paper 3.5): the store's medium decides how
 */
#include "internal.h"
#include "persist_cpu.h"

/*
 * Counters are for tests and info: a plain add, that may lose one in a race, without making the
 * race undefined.
 */
static inline void count(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

static inline bool is_page(const struct twz_store *s)
{
	return s->granularity == TWZ_GRAN_PAGE;
}

static uint64_t lines(const void *addr, size_t len)
{
	uintptr_t from = (uintptr_t)addr / TWZ_LINE_SIZE,
		  to = ((uintptr_t)addr + len + TWZ_LINE_SIZE - 1) / TWZ_LINE_SIZE;

	return len ? to - from : 0;
}

bool twz__cpu_has_clwb(void)
{
	return twz__cpu_clwb_known();
}

void twz_flush(struct twz_store *s, const void *addr, size_t len)
{
	uint64_t cnt = lines(addr, len);

	if (is_page(s) || !len)
		return;
	count(&s->stats.flushes, 1);
	count(&s->stats.flushed_lines, cnt);
	if (twz__likely(s->media->clwb))
		/* What the medium's flush would do after two calls through pointers. */
		twz__cpu_clwb((uintptr_t)addr & ~(uintptr_t)(TWZ_LINE_SIZE - 1), cnt);
	else
		s->media->ops->flush(s->media, addr, len);
}

void twz_flush_each(struct twz_store *s, const void *addr, size_t len, size_t step, uint64_t cnt)
{
	const uint8_t *at = addr;
	uint64_t sum = 0;

	if (is_page(s) || !len)
		return;
	for (uint64_t i = 0; i < cnt; i++, at += step) {
		uint64_t n = lines(at, len);

		sum += n;
		if (twz__likely(s->media->clwb))
			twz__cpu_clwb((uintptr_t)at & ~(uintptr_t)(TWZ_LINE_SIZE - 1), n);
		else
			s->media->ops->flush(s->media, at, len);
	}
	count(&s->stats.flushes, cnt);
	count(&s->stats.flushed_lines, sum);
}

void twz_fence(struct twz_store *s)
{
	if (is_page(s))
		return;
	count(&s->stats.fences, 1);
	s->media->ops->fence(s->media);
}

void twz_persist(struct twz_store *s, const void *addr, size_t len)
{
	twz_flush(s, addr, len);
	twz_fence(s);
}

void twz_copy_nt(struct twz_store *s, void *dst, const void *src, size_t len)
{
	if (is_page(s)) {
		memcpy(dst, src, len);
		return;
	}
	count(&s->stats.nt_bytes, len);
	s->media->ops->copy_nt(s->media, dst, src, len);
}

int twz_sync(struct twz_store *s, const void *addr, size_t len)
{
	int rc = twz__store_enter(s);

	if (rc || !len)
		return rc;
	if (!is_page(s)) {
		twz_persist(s, addr, len);
		return 0;
	}
	count(&s->stats.syncs, 1);
	count(&s->stats.sync_bytes, len);
	return s->media->ops->sync_range(s->media, (void *)(uintptr_t)addr, len);
}

int twz_sync_all(struct twz_store *s)
{
	int rc = twz__store_enter(s);

	if (rc)
		return rc;
	if (!is_page(s)) {
		twz_fence(s);
		return 0;
	}
	count(&s->stats.syncs, 1);
	return s->media->ops->sync_all(s->media);
}

void twz_publish64(struct twz_store *s, uint64_t *where, uint64_t value)
{
	__atomic_store_n(where, value, __ATOMIC_RELEASE);
	twz_persist(s, where, sizeof(*where));
}

void twz_persist_stats(struct twz_store *s, struct twz_persist_stats *out)
{
	out->flushes = __atomic_load_n(&s->stats.flushes, __ATOMIC_RELAXED);
	out->flushed_lines = __atomic_load_n(&s->stats.flushed_lines, __ATOMIC_RELAXED);
	out->fences = __atomic_load_n(&s->stats.fences, __ATOMIC_RELAXED);
	out->syncs = __atomic_load_n(&s->stats.syncs, __ATOMIC_RELAXED);
	out->sync_bytes = __atomic_load_n(&s->stats.sync_bytes, __ATOMIC_RELAXED);
	out->nt_bytes = __atomic_load_n(&s->stats.nt_bytes, __ATOMIC_RELAXED);
}
