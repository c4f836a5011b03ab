/* SPDX-License-Identifier: MIT
 * log_io.c -- the ring of a twz_log on its medium: read, write, publish a word, iterate
 *
 * Cache-line media: the log is mapped; writes are non-temporal stores that the caller fences. Page
 * media: the log is never mapped; reads and writes go through the media ops and each write is one
 * range sync. Everything above sees the same bytes.
 */
#include "log_ring.h"

#define WINDOW_LEN ((uint64_t)256 << 10) /* bytes read at once while iterating on page media */

int twz__log_ring_init(struct twz__log_ring *r, struct twz_obj *o)
{
	uint64_t len = twz_obj_len(o);
	uint64_t run = 0;
	int err;

	memset(r, 0, sizeof(*r));
	r->store = twz_obj_store(o);
	r->obj = o;
	r->id = twz_obj_id(o);
	twz_oid_str(r->id, r->name);
	if (twz_store_granularity(r->store) != TWZ_GRAN_PAGE) {
		r->map = twz_obj_data(o);
		return 0;
	}
	err = twz__obj_file_off(o, TWZ_DATA_OFF, &r->file_off, &run);
	if (err)
		return err;
	if (run < len)
		return twz__corrupt(r->name,
				    "a log must be one extent, its first holds %llu of %llu bytes",
				    (unsigned long long)run, (unsigned long long)len);
	return 0;
}

uint64_t twz__log_ring_align(const struct twz__log_ring *r)
{
	return r->map ? TWZ_LOG_REC_ALIGN : TWZ_LOG_BLOCK_LEN;
}

int twz__log_read(const struct twz__log_ring *r, uint64_t off, void *buf, uint64_t len)
{
	struct twz__media *m = r->store->media;

	if (r->map) {
		memcpy(buf, r->map + off, len);
		return 0;
	}
	if (m->ops->read(m, buf, r->file_off + off, len))
		return twz__err(TWZ_E_IO,
				"%s: log %s: reading %llu bytes at %llu failed: check the device",
				twz_store_path(r->store), r->name, (unsigned long long)len,
				(unsigned long long)off);
	return 0;
}

int twz__log_write(const struct twz__log_ring *r, uint64_t off, const void *buf, uint64_t len)
{
	struct twz__media *m = r->store->media;

	if (r->map) {
		twz_copy_nt(r->store, r->map + off, buf, len);
		return 0;
	}
	if (m->ops->write_sync(m, buf, r->file_off + off, len))
		return twz__err(TWZ_E_IO,
				"%s: log %s: writing %llu bytes at %llu failed: check the device",
				twz_store_path(r->store), r->name, (unsigned long long)len,
				(unsigned long long)off);
	return 0;
}

/*
 * Page media: the whole sector is written; its other bytes are zero for ever, so a torn write
 * cannot harm them.
 */
int twz__log_publish(const struct twz__log_ring *r, size_t off, uint64_t value)
{
	_Alignas(TWZ_LOG_SECTOR_LEN) struct log_word_pm w = {.word = value};

	if (!r->map)
		return twz__log_write(r, off, &w, sizeof(w));
	twz_publish64(r->store, (uint64_t *)(void *)(r->map + off), value);
	return 0;
}

/* --- the header --- */

static int head_check(const struct twz__log_ring *r, const struct log_page_pm *page)
{
	const struct log_head_pm *h = &page->head;
	uint64_t len = twz_obj_len(r->obj);

	if (h->magic != TWZ_LOG_MAGIC)
		return twz__corrupt(r->name, "no log header (magic %016llx)",
				    (unsigned long long)h->magic);
	if (h->sum != twz__log_head_sum(h))
		return twz__corrupt(r->name, "checksum of the log header does not hold");
	if (h->version != TWZ_LOG_VERSION)
		return twz__err(
			TWZ_E_VERSION,
			"log %s: version %u of the format is not known here: use a newer twz",
			r->name, h->version);
	if ((h->incompat & ~TWZ_LOG_INCOMPAT) || (h->ro_compat & ~TWZ_LOG_RO_COMPAT))
		return twz__err(TWZ_E_FEATURE,
				"log %s: needs features %08x/%08x not known here: use a newer twz",
				r->name, h->incompat, h->ro_compat);
	if (h->id[0] != r->id.w[0] || h->id[1] != r->id.w[1])
		return twz__corrupt(r->name, "log header names another object");
	if (h->ring_len % TWZ_LOG_BLOCK_LEN != 0 || h->ring_len < TWZ_LOG_LEN_MIN ||
	    h->ring_len > len - TWZ_LOG_HEADER_LEN)
		return twz__corrupt(r->name, "ring of %llu bytes in an object of %llu",
				    (unsigned long long)h->ring_len, (unsigned long long)len);
	if (page->generation.word == 0 || page->generation.word >= TWZ_LOG_GEN_MAX)
		return twz__corrupt(r->name, "generation %llu out of range",
				    (unsigned long long)page->generation.word);
	if (page->tail.word % TWZ_LOG_REC_ALIGN != 0 || page->tail.word >= TWZ_LOG_LSN_MAX)
		return twz__corrupt(r->name, "tail %llu out of range",
				    (unsigned long long)page->tail.word);
	return 0;
}

/*
 * The header page. Somebody who has the log open already may be publishing one of the two words (twz__log_publish): in
 * the mapping each is loaded as it is stored, whole. Who opens while others go on uses them for nothing but these checks.
 */
static int head_read(const struct twz__log_ring *r, struct log_page_pm *page)
{
	const struct log_page_pm *pm = (const struct log_page_pm *)(const void *)r->map;

	if (!pm)
		return twz__log_read(r, 0, page, sizeof(*page));
	page->head = pm->head;
	page->generation.word = seg_get(&pm->generation.word);
	page->tail.word = seg_get(&pm->tail.word);
	return 0;
}

int twz__log_ring_attach(struct twz__log_ring *r, uint64_t *generation, uint64_t *tail)
{
	struct log_page_pm *page;
	int err;

	if (twz_obj_len(r->obj) < TWZ_LOG_HEADER_LEN + TWZ_LOG_LEN_MIN)
		return twz__corrupt(r->name, "object of %llu bytes is too short for a log",
				    (unsigned long long)twz_obj_len(r->obj));
	page = aligned_alloc(TWZ_LOG_BLOCK_LEN, sizeof(*page));
	if (!page)
		return twz__err(TWZ_E_NOMEM, "log %s: no memory for its header", r->name);
	err = head_read(r, page);
	if (!err)
		err = head_check(r, page);
	if (!err) {
		r->ring_len = page->head.ring_len;
		r->unit = page->head.incompat & TWZ_LOG_INCOMPAT_SECTORS ? TWZ_LOG_SECTOR_LEN
									 : TWZ_LOG_BLOCK_LEN;
		*generation = page->generation.word;
		*tail = page->tail.word;
	}
	free(page);
	return err;
}

/* --- iteration --- */

void twz__log_iter_init(struct twz__log_iter *it, struct twz__log_ring *r, uint64_t generation,
			uint64_t from, uint64_t limit)
{
	memset(it, 0, sizeof(*it));
	it->r = r;
	it->next.ring_len = r->ring_len;
	it->next.lsn = from;
	it->generation = it->next.seal = generation;
	it->limit = limit;
}

void twz__log_iter_done(struct twz__log_iter *it)
{
	twz__log_body_unload(it);
	free(it->win);
	it->win = NULL;
	it->win_len = it->win_cap = 0;
}

/*
 * Page media: make the window hold LEN bytes at OFF, reading ahead, whole blocks only. OFF + LEN is
 * inside the ring.
 */
static int window_load(struct twz__log_iter *it, uint64_t off, uint64_t len)
{
	uint64_t start = off / TWZ_LOG_BLOCK_LEN * TWZ_LOG_BLOCK_LEN;
	uint64_t end = TWZ_LOG_HEADER_LEN + it->r->ring_len;
	uint64_t want = twz__log_align(off - start + len, TWZ_LOG_BLOCK_LEN);
	int err;

	if (want < WINDOW_LEN)
		want = WINDOW_LEN < end - start ? WINDOW_LEN : end - start;
	if (it->win_cap < want) {
		free(it->win);
		it->win_cap = it->win_len = 0;
		it->win = aligned_alloc(TWZ_LOG_BLOCK_LEN, want);
		if (!it->win)
			return twz__err(TWZ_E_NOMEM, "log %s: no memory for %llu bytes",
					it->r->name, (unsigned long long)want);
		it->win_cap = want;
	}
	it->win_len = 0;
	err = twz__log_read(it->r, start, it->win, want);
	if (err)
		return err;
	it->win_off = start;
	it->win_len = want;
	return 0;
}

/* *P = address of LEN bytes of the ring at OFF, valid until the next call. */
static int ring_at(struct twz__log_iter *it, uint64_t off, uint64_t len, const void **p)
{
	int err;

	if (it->r->map) {
		*p = it->r->map + off;
		return 0;
	}
	if (off < it->win_off || off + len > it->win_off + it->win_len) {
		err = window_load(it, off, len);
		if (err)
			return err;
	}
	*p = it->win + (off - it->win_off);
	return 0;
}

/*
 * The record at it->next, validated by D1: 1 = valid and in it->rec, 0 = not (it->rule says why), <
 * 0 = error.
 */
static int rec_load(struct twz__log_iter *it)
{
	uint64_t off = twz__log_pos(it->r, it->next.lsn);
	struct log_rec_pm head;
	const void *p;
	int err;

	err = ring_at(it, off, sizeof(head), &p);
	if (err)
		return err;
	memcpy(&head, p, sizeof(head));
	it->rule = twz__log_rec_bad(&head, &it->next);
	it->total = twz__log_rec_total(&head, TWZ_LOG_HEADER_LEN + it->r->ring_len - off);
	if (!it->rule && it->total > it->limit - it->next.lsn)
		it->rule = 1;
	if (it->rule)
		return 0;
	err = ring_at(it, off, sizeof(head) + twz__log_rec_len(&head), &p);
	if (err)
		return err;
	it->rec = p;
	it->len = twz__log_rec_len(&head);
	/*
	 * The lengths just checked are the ones that are used: a second look must not differ (D10).
	 */
	if (memcmp(&head, p, sizeof(head)) != 0 ||
	    head.sum != twz__log_rec_sum(it->rec, it->next.seal)) {
		it->rule = 4;
		return 0;
	}
	return 1;
}

/*
 * The next record: where it is expected, or at the beginning of the next block if there is none. A position is given out once, so
 * one that is valid there, and says that it stands behind just this gap, is the one that was written behind the record before; and
 * what was to stand in the gap never was (D19).
 */
static int rec_find(struct twz__log_iter *it)
{
	uint64_t lsn = it->next.lsn, gap = twz__log_align(lsn, TWZ_LOG_BLOCK_LEN) - lsn;
	int ret = rec_load(it), rule = it->rule;

	if (ret || !gap || gap % TWZ_LOG_SECTOR_LEN ||
	    it->limit - lsn < gap + sizeof(struct log_rec_pm))
		return ret;
	it->next.lsn = lsn + gap;
	it->next.seal = twz__log_seal(it->r->id, it->generation, gap);
	ret = rec_load(it);
	it->next.seal = it->generation;
	if (ret > 0) {
		it->gap = gap;
		return ret;
	}
	it->next.lsn = lsn;
	it->rule = rule;
	return ret;
}

int twz__log_iter_next(struct twz__log_iter *it)
{
	int ret;

	twz__log_body_unload(it);
	it->gap = 0;
	do {
		ret = it->limit - it->next.lsn < sizeof(struct log_rec_pm) ? 0 : rec_find(it);
		if (ret <= 0)
			return ret;
		it->lsn = it->next.lsn;
		it->next.lsn += it->total;
		it->next.prev = (uint32_t)it->rec->sum;
		it->next.check_prev = true;
	} while (twz__log_rec_kind(it->rec) == TWZ_LOG_REC_PAD);
	if (twz__log_rec_kind(it->rec) == TWZ_LOG_REC_SPILL) {
		ret = twz__log_body_load(it);
		return ret ? ret : 1;
	}
	it->body = it->rec + 1;
	return 1;
}
