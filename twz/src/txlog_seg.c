/* SPDX-License-Identifier: MIT
 * txlog_seg.c -- the undo log on media: the objects it is made of, their IDs and headers
 * (format_tx.h)
 */
#include "txlog_int.h"

#include <xxhash.h>

/* --- derived IDs --- */

static twz_oid derive(const void *from, uint32_t n)
{
	XXH128_hash_t h = XXH3_128bits_withSeed(from, 16, TWZ_TXLOG_SEED + n);

	return (twz_oid){{h.low64, h.high64}};
}

twz_oid twz__txlog_id(const struct twz_store *s, uint32_t k)
{
	return derive(s->core.super.uuid, k);
}

twz_oid twz__txlog_overflow_id(twz_oid head, uint32_t m)
{
	return derive(&head, m);
}

bool twz__txlog_is_head(const struct twz_store *s, twz_oid id)
{
	for (uint32_t k = 0; k < TWZ_TXLOG_CNT_MAX; k++)
		if (twz_oid_eq(twz__txlog_id(s, k), id))
			return true;
	return false;
}

/* --- segments: the objects of a log --- */

void twz__txseg_close(struct twz__txseg *seg)
{
	if (seg->obj)
		twz__obj_put(seg->obj);
	*seg = (struct twz__txseg){0};
}

void twz__txseg_delete(struct twz_store *s, struct twz__txseg *seg)
{
	twz_oid id = seg->id;

	if (!seg->obj)
		return;
	twz__txseg_close(seg);
	if (twz__obj_delete(s, id))
		return; /* tidy only: restart, or who wants the ID again, deletes what was left */
}

static int seg_attach(struct twz_store *s, struct twz_obj *o, struct twz__txseg *seg)
{
	char id[TWZ_OID_STR_LEN];
	uint64_t run;
	int err;

	seg->obj = o;
	seg->id = twz_obj_id(o);
	seg->len = twz_obj_len(o);
	err = twz__obj_file_off(o, TWZ_DATA_OFF, &seg->file_off, &run);
	if (err)
		return err;
	twz_oid_str(seg->id, id);
	if (run < seg->len || seg->len < TWZ_TXLOG_LEN_MIN || seg->len % TWZ_PAGE_SIZE)
		return twz__corrupt(s->path, "undo log %s is not one extent of at least %u bytes",
				    id, TWZ_TXLOG_LEN_MIN);
	seg->addr = s->granularity == TWZ_GRAN_PAGE ? NULL : twz_obj_data(o);
	return 0;
}

int twz__txseg_open(struct twz_store *s, twz_oid id, struct twz__txseg *seg)
{
	struct twz_obj *o;
	int err;

	*seg = (struct twz__txseg){0};
	err = twz__obj_get(s, id, TWZ_READ | TWZ_WRITE, &o);
	if (err)
		return err;
	err = o->flags & TWZ_OBJ_TXLOG
		      ? seg_attach(s, o, seg)
		      : twz__corrupt(s->path, "undo log links to an object that is none");
	if (err) {
		twz__obj_put(o);
		seg->obj = NULL;
	}
	return err;
}

int twz__txseg_read(struct twz_store *s, const struct twz__txseg *seg, uint64_t off, void *buf,
		    uint64_t len)
{
	if (!seg->addr)
		return s->media->ops->read(s->media, buf, seg->file_off + off, len);
	memcpy(buf, seg->addr + off, len);
	return 0;
}

int twz__txseg_write(struct twz_store *s, const struct twz__txseg *seg, uint64_t off,
		     const void *buf, uint64_t len)
{
	if (!seg->addr)
		return s->media->ops->write_sync(s->media, buf, seg->file_off + off, len);
	twz_copy_nt(s, seg->addr + off, buf, len);
	return 0;
}

void twz__txseg_header(struct twz_txlog_pm *h, twz_oid id, uint32_t kind)
{
	*h = (struct twz_txlog_pm){.magic = TWZ_TXLOG_MAGIC,
				   .version = TWZ_TXLOG_VERSION,
				   .kind = kind,
				   .id = {id.w[0], id.w[1]}};
	h->sum = XXH3_64bits(h, offsetof(struct twz_txlog_pm, sum));
}

int twz__txseg_verify(struct twz_store *s, const struct twz_txlog_pm *h, uint64_t retired,
		      twz_oid id, uint32_t *kind)
{
	char str[TWZ_OID_STR_LEN];

	*kind = 0;
	twz_oid_str(id, str);
	if (h->magic != TWZ_TXLOG_MAGIC ||
	    h->sum != XXH3_64bits(h, offsetof(struct twz_txlog_pm, sum)))
		return retired ? twz__corrupt(s->path, "header of undo log %s does not hold", str)
			       : 0;
	if (h->version != TWZ_TXLOG_VERSION)
		return twz__err(TWZ_E_VERSION,
				"%s: undo log %s has format version %u, this build knows %u",
				s->path, str, h->version, TWZ_TXLOG_VERSION);
	if (h->incompat || h->ro_compat)
		return twz__err(TWZ_E_FEATURE,
				"%s: undo log %s needs features %x/%x not known here", s->path, str,
				h->incompat, h->ro_compat);
	if (h->id[0] != id.w[0] || h->id[1] != id.w[1] || h->must_be_zero || h->must_be_zero2 ||
	    (h->kind != TWZ_TXLOG_HEAD && h->kind != TWZ_TXLOG_OVERFLOW))
		return twz__corrupt(s->path,
				    "header of undo log %s names another object or an unknown kind",
				    str);
	*kind = h->kind;
	return 0;
}

/*
 * An object that has the ID was left by somebody who died: it goes first, for the new one must read
 * as zeros, not as entries.
 */
int twz__txseg_create(struct twz_store *s, twz_oid id, uint64_t len, struct twz__txseg *seg)
{
	struct twz_obj_options opt = {.size = sizeof(opt),
				      .len = len,
				      .flags = TWZ_OBJ_TXLOG | TWZ_OBJ_CONTIGUOUS,
				      .kind = TWZ_TXLOG_OVERFLOW,
				      .id = id};
	uint8_t page[TWZ_PAGE_SIZE] __attribute__((aligned(4096))) = {0};
	struct twz_obj *o;
	int err;

	*seg = (struct twz__txseg){0};
	err = twz_obj_create(s, &opt, NULL, &o);
	if (err == TWZ_E_EXIST && !twz__obj_delete(s, id))
		err = twz_obj_create(s, &opt, NULL, &o);
	if (err)
		return err;
	err = seg_attach(s, o, seg);
	twz__txseg_header((struct twz_txlog_pm *)page, id, TWZ_TXLOG_OVERFLOW);
	if (!err)
		err = twz__txseg_write(s, seg, 0, page, sizeof(page));
	twz_fence(s);
	if (err) {
		seg->obj = o;
		seg->id = id;
		twz__txseg_delete(s, seg);
	}
	return err;
}

int twz__txlog_kind(struct twz_store *s, twz_oid id, uint32_t *kind)
{
	uint8_t page[1024];
	struct twz__txseg seg;
	struct twz_txretire_pm word;
	int err;

	*kind = 0;
	err = twz__txseg_open(s, id, &seg);
	if (err)
		return err;
	err = twz__txseg_read(s, &seg, 0, page, sizeof(page));
	memcpy(&word, page + TWZ_TXLOG_RETIRE_OFF, sizeof(word));
	if (!err)
		err = twz__txseg_verify(s, (const struct twz_txlog_pm *)page, word.word, id, kind);
	twz__txseg_close(&seg);
	return err;
}

/* --- the chain --- */

int twz__txlog_segs_reserve(struct twz__txlog *l)
{
	struct twz__txseg *segs;

	if (l->seg_cnt < l->seg_cap)
		return 0;
	segs = realloc(l->segs, 2 * l->seg_cap * sizeof(*segs));
	if (!segs)
		return twz__err(TWZ_E_NOMEM, "%s: no memory for an undo log", l->store->path);
	l->segs = segs;
	l->seg_cap *= 2;
	return 0;
}

bool twz__txlog_in_chain(const struct twz__txlog *l, twz_oid id)
{
	for (uint32_t i = 0; i < l->seg_cnt; i++)
		if (twz_oid_eq(l->segs[i].id, id))
			return true;
	return false;
}
