/* SPDX-License-Identifier: MIT
 * txlog_scan.c -- the undo log on media: reading a transaction back, and telling its end
 * from damage (docs/durability.md D8, D10)
 */
#include "txlog_int.h"

/*
 * Behind the end of the valid entries at POS: does a header of a batch stand there that was
 * written after SEQ was durable?
 */
static int scan_beyond(struct twz__txlog *l, uint64_t pos, uint32_t seq)
{
	struct twz__txseg *seg = tail_seg(l);
	const char *why;
	int err;

	for (uint64_t at = pos; at + sizeof(struct twz_txent_pm) <= seg->len;) {
		uint64_t len = seg->len - at < BUF_SMALL ? seg->len - at : BUF_SMALL;

		err = twz__txseg_read(l->store, seg, at, l->buf, len);
		if (err)
			return err;
		for (uint64_t i = 0; i + sizeof(struct twz_txent_pm) <= len; i += TWZ_TXLOG_ALIGN) {
			const struct twz_txent_pm *e = (const struct twz_txent_pm *)(l->buf + i);

			if (e->magic != TWZ_TXENT_MAGIC ||
			    !twz__txent_is_placed(e, seg->id, at + i, seg->len, l->generation,
						  e->seq, &why))
				continue;
			l->dirty = true;
			if (e->batch > seq)
				return twz__corrupt(
					l->store->path,
					"undo log entry %u is damaged although entry %u was written after it",
					seq, e->seq);
		}
		at += len;
	}
	return 0;
}

/* Read and verify the entry at POS: 1 = valid, 0 = end of the log, negative = error. */
static int scan_one(struct twz__txlog *l, uint64_t pos, struct twz_txent_pm *e)
{
	struct twz__txseg *seg = tail_seg(l);
	const char *why;
	int err;

	if (pos + sizeof(*e) > seg->len)
		return 0;
	err = twz__txseg_read(l->store, seg, pos, e, sizeof(*e));
	if (err)
		return err;
	if (!twz__txent_is_placed(e, seg->id, pos, seg->len, l->generation, l->seq + 1, &why))
		return 0;
	err = e->len ? twz__txseg_read(l->store, seg, pos + sizeof(*e), l->buf, e->len) : 0;
	if (err)
		return err;
	return e->sum == twz__txent_sum(e, l->buf, l->sum);
}

/*
 * Follow a link entry. A damaged target ends in TWZ_E_CORRUPT: the link is valid, so the object
 * was there.
 */
static int scan_link(struct twz__txlog *l, const struct twz_txent_pm *e)
{
	twz_oid id = {{e->id[0], e->id[1]}};
	uint32_t kind;
	int err;

	if (twz__txlog_in_chain(l, id))
		return twz__corrupt(l->store->path, "undo log links back to itself");
	err = twz__txlog_segs_reserve(l);
	if (!err)
		err = twz__txlog_kind(l->store, id, &kind);
	if (!err && kind != TWZ_TXLOG_OVERFLOW)
		err = twz__corrupt(l->store->path,
				   "undo log links to an object that is no overflow object");
	if (!err)
		err = twz__txseg_open(l->store, id, &l->segs[l->seg_cnt]);
	if (err == TWZ_E_NOENT)
		return twz__corrupt(l->store->path,
				    "undo log links to an object that does not exist");
	if (!err)
		l->seg_cnt++;
	return err;
}

int twz__txlog_scan(struct twz__txlog *l)
{
	struct twz_txent_pm e;
	uint64_t pos = TWZ_TXLOG_ENT_OFF;
	int err;

	twz__txlog_buf_grow(l, &(struct twz__txrange){.len = BUF_LARGE}, 1);
	if (l->buf_cap < BUF_LARGE)
		return twz__err(TWZ_E_NOMEM, "%s: no memory to read an undo log", l->store->path);
	twz__txlog_reset(l);
	l->dirty = false;
	while ((err = scan_one(l, pos, &e)) > 0) {
		l->seq++;
		l->sum = e.sum;
		l->dirty = true;
		if (e.kind == TWZ_TXENT_LINK)
			err = scan_link(l, &e);
		else
			err = twz__txlog_undo_push(
				l, (struct twz__undo){.id = {{e.id[0], e.id[1]}},
						      .off = e.off,
						      .len = e.len,
						      .seg = l->seg_cnt - 1,
						      .pos = (uint32_t)(pos + sizeof(e))});
		if (err)
			return err;
		pos = e.next_off;
	}
	l->tail_off = pos;
	return err ? err : scan_beyond(l, pos, l->seq + 1);
}
