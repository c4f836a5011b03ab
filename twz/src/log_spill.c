/* SPDX-License-Identifier: MIT
 * log_spill.c -- bodies of records too long for the ring, each in an object of its own (D3)
 *
 * Life of a body: entered in the shared segment -> object created -> bytes written and synced ->
 * record in the ring (commit point) -> checkpoint past the record -> object deleted -> entry
 * removed. Whoever dies in between leaves an entry for the next checkpoint or takeover; after a
 * restart there are no entries, and every body object of this log is swept by its ID.
 */
#include <xxhash.h>

#include "log_ring.h"

#define OWNER_SEED UINT64_C(0x79646f625f676f6c)
#define COPY_LEN   ((uint64_t)4 << 20) /* page media: bytes per range sync */

uint64_t twz__log_body_owner(twz_oid id)
{
	return XXH3_64bits_withSeed(&id, sizeof(id), OWNER_SEED);
}

/*
 * Unique: no two bodies are begun at one LSN in one generation, for a failure there fails the log
 * and recovery raises the generation.
 */
static twz_oid body_id(struct twz_log *l, uint64_t lsn)
{
	uint64_t key[2] = {l->seg->generation, lsn};
	twz_oid id;

	id.w[0] = twz__log_body_owner(l->ring.id);
	id.w[1] = XXH3_64bits_withSeed(key, sizeof(key), id.w[0]);
	return id;
}

static struct twz_obj_options body_options(twz_oid id, uint64_t len)
{
	return (struct twz_obj_options){.size = sizeof(struct twz_obj_options),
					.len = len,
					.flags = TWZ_OBJ_LOG | TWZ_OBJ_CONTIGUOUS,
					.kind = TWZ_LOG_BODY_KIND,
					.id = id};
}

/*
 * --- the list in the segment: an entry counts from the store of the count; an entry too many is
 * harmless ---
 */

static void spill_add(struct twz__log_seg *seg, uint64_t lsn, twz_oid id)
{
	assert(seg->spill_cnt < TWZ_LOG_SPILL_MAX);
	seg->spills[seg->spill_cnt] = (struct twz__log_spill){lsn, id};
	seg_set(&seg->spill_cnt, seg->spill_cnt + 1);
}

static void spill_remove(struct twz__log_seg *seg, uint64_t i)
{
	seg->spills[i] = seg->spills[seg->spill_cnt - 1];
	seg_set(&seg->spill_cnt, seg->spill_cnt - 1);
}

void twz__log_body_tidy(struct twz_log *l, uint64_t lsn)
{
	struct twz__log_seg *seg = l->seg;

	for (uint64_t i = seg->spill_cnt; i-- > 0;) {
		int err;

		if (seg->spills[i].lsn >= lsn)
			continue;
		err = twz__obj_delete(l->ring.store, seg->spills[i].id);
		if (!err || err == TWZ_E_NOENT)
			spill_remove(seg, i);
	}
}

/* --- writing --- */

/* Gathers the pieces into whole buffers; the last one is padded with zeros to a block. */
struct gather {
	const struct iovec *iov;
	int cnt;
	size_t off; /* in iov[0] */
};

static uint64_t gather_fill(struct gather *g, uint8_t *buf, uint64_t cap)
{
	uint64_t n = 0;

	while (n < cap && g->cnt > 0) {
		uint64_t left = g->iov->iov_len - g->off;
		uint64_t take = left < cap - n ? left : cap - n;

		if (take)
			memcpy(buf + n, (const uint8_t *)g->iov->iov_base + g->off, take);
		n += take;
		g->off += take;
		if (g->off == g->iov->iov_len) {
			g->iov++;
			g->cnt--;
			g->off = 0;
		}
	}
	return n;
}

/* The bytes and their checksum, durable when it returns. */
static int body_fill(const struct twz__log_ring *r, struct gather *g, uint64_t len, uint8_t *buf,
		     XXH3_state_t *hash)
{
	int err = 0;

	for (uint64_t off = 0; off < len && !err;) {
		uint64_t n = gather_fill(g, buf, COPY_LEN);
		uint64_t whole = twz__log_align(n, TWZ_LOG_BLOCK_LEN);

		XXH3_64bits_update(hash, buf, n);
		memset(buf + n, 0, whole - n);
		err = twz__log_write(r, off, buf, whole);
		off += n;
	}
	if (!err)
		twz_fence(r->store);
	return err;
}

static int body_create(struct twz_log *l, const struct twz_obj_options *opt, struct gather *g,
		       uint64_t len, uint64_t *sum)
{
	uint8_t *buf = aligned_alloc(TWZ_LOG_BLOCK_LEN, COPY_LEN);
	XXH3_state_t *hash = XXH3_createState();
	struct twz__log_ring r;
	struct twz_obj *o = NULL;
	int err;

	if (!buf || !hash) {
		err = twz__err(TWZ_E_NOMEM, "log %s: no memory to write a long record",
			       l->ring.name);
		goto out;
	}
	XXH3_64bits_reset(hash);
	err = twz_obj_create(l->ring.store, opt, NULL, &o);
	if (err)
		goto out;
	err = twz__log_ring_init(&r, o);
	if (!err)
		err = body_fill(&r, g, len, buf, hash);
	twz_obj_close(o);
	*sum = XXH3_64bits_digest(hash);
out:
	XXH3_freeState(hash);
	free(buf);
	return err;
}

int twz__log_body_write(struct twz_log *l, const struct iovec *iov, int cnt, uint64_t len,
			uint64_t lsn, struct log_spill_pm *out)
{
	struct twz_obj_options opt = body_options(body_id(l, lsn), len);
	struct gather g = {iov, cnt, 0};
	int err;

	memset(out, 0, sizeof(*out));
	if (l->seg->spill_cnt == TWZ_LOG_SPILL_MAX)
		return twz__err(
			TWZ_E_NOSPC,
			"log %s: %d long records not applied: call twz_log_applied for each",
			l->ring.name, TWZ_LOG_SPILL_MAX);
	spill_add(l->seg, lsn, opt.id);
	err = body_create(l, &opt, &g, len, &out->sum);
	if (err) {
		/*
		 * Nothing refers to it: delete it now; the entry stays for another try if that
		 * fails too.
		 */
		int del = twz_obj_delete(l->ring.store, opt.id);

		if (!del || del == TWZ_E_NOENT)
			spill_remove(l->seg, l->seg->spill_cnt - 1);
		return twz__err_in(err, "log %s: long record of %llu bytes", l->ring.name,
				   (unsigned long long)len);
	}
	out->id[0] = opt.id.w[0];
	out->id[1] = opt.id.w[1];
	out->len = len;
	return 0;
}

/* --- reading --- */

static int body_map(struct twz__log_iter *it, const struct log_spill_pm *s)
{
	twz_oid id = {{s->id[0], s->id[1]}};
	struct twz__log_ring r;
	int err;

	err = twz_obj_open(it->r->store, id, TWZ_READ, &it->body_obj);
	if (err == TWZ_E_NOENT)
		return twz__corrupt(it->r->name, "body of record %llu does not exist",
				    (unsigned long long)it->lsn);
	if (err)
		return err;
	if (s->len == 0 || s->len > twz_obj_len(it->body_obj))
		return twz__corrupt(it->r->name,
				    "body of record %llu has %llu bytes in an object of %llu",
				    (unsigned long long)it->lsn, (unsigned long long)s->len,
				    (unsigned long long)twz_obj_len(it->body_obj));
	err = twz__log_ring_init(&r, it->body_obj);
	if (err)
		return err;
	if (r.map) {
		it->body = r.map;
		return 0;
	}
	it->body = it->body_buf =
		aligned_alloc(TWZ_LOG_BLOCK_LEN, twz__log_align(s->len, TWZ_LOG_BLOCK_LEN));
	if (!it->body_buf)
		return twz__err(TWZ_E_NOMEM, "log %s: no memory for a record of %llu bytes",
				it->r->name, (unsigned long long)s->len);
	return twz__log_read(&r, 0, it->body_buf, twz__log_align(s->len, TWZ_LOG_BLOCK_LEN));
}

/*
 * The body was durable before its record was written (D3): one that does not hold is damage, not a
 * torn write.
 */
int twz__log_body_load(struct twz__log_iter *it)
{
	struct log_spill_pm s;
	int err;

	memcpy(&s, it->rec + 1, sizeof(s));
	if (s.id[0] != twz__log_body_owner(it->r->id))
		return twz__corrupt(it->r->name, "record %llu names a body of another log",
				    (unsigned long long)it->lsn);
	err = body_map(it, &s);
	if (!err && XXH3_64bits(it->body, s.len) != s.sum)
		err = twz__corrupt(it->r->name, "checksum of the body of record %llu does not hold",
				   (unsigned long long)it->lsn);
	if (err) {
		twz__log_body_unload(it);
		return err;
	}
	it->len = s.len;
	return 0;
}

void twz__log_body_unload(struct twz__log_iter *it)
{
	free(it->body_buf);
	twz_obj_close(it->body_obj);
	it->body_buf = NULL;
	it->body_obj = NULL;
	it->body = NULL;
	it->len = 0;
}

/* --- restart --- */

int twz__log_body_sweep(struct twz_log *l)
{
	struct twz_obj_stat st = {.size = sizeof(st)};
	uint64_t owner = twz__log_body_owner(l->ring.id);
	uint64_t cursor = 0;
	int err;

	while (!(err = twz_obj_next(l->ring.store, &cursor, &st))) {
		if (st.id.w[0] != owner || st.kind != TWZ_LOG_BODY_KIND ||
		    !(st.flags & TWZ_OBJ_LOG))
			continue;
		err = twz__obj_delete(l->ring.store, st.id);
		if (err && err != TWZ_E_NOENT)
			return err;
	}
	l->seg->spill_cnt = 0;
	return err == TWZ_E_NOENT ? 0 : err;
}
