// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * dump.c -- every media structure of the core, one after the other, for whoever prints them
 *
 * Reading goes through the same functions as everything else, so nothing is shown that was not
 * verified; while check_fn is set they report what is damaged, and the next structure follows.
 */
#include "core_int.h"

struct dump {
	struct twzc *c;
	const struct twzc_dump *d;
};

static void show(struct dump *k, u32 kind, u64 off, const void *pm)
{
	k->d->show(k->d->ctx, kind, off, pm);
}

/* Damage was reported; the rest can still be looked at. */
static int go_on(int err)
{
	return err == TWZ_E_CORRUPT ? 0 : err;
}

static int dump_head(struct dump *k)
{
	const struct twz_layout_pm *layout;
	const struct twz_root_pm *root;
	struct twz_super_pm s;
	int err = 0;
	bool ok;

	for (u32 i = 0; i < 2 && !err; i++) {
		err = twzc__super_copy(k->c, i, &s, &ok);
		if (!err && ok)
			show(k, TWZC_SHOW_SUPER, i * TWZC_PAGE, &s);
		else if (!err)
			twzc__corrupt(k->c, "superblock", "sum", i * TWZC_PAGE, s.sum);
	}
	if (!err)
		err = twzc__root(k->c, &root);
	if (!err)
		show(k, TWZC_SHOW_ROOT, TWZC_ROOT_OFF, root);
	if (!err)
		err = twzc__layout(k->c, &layout);
	if (!err)
		show(k, TWZC_SHOW_LAYOUT, TWZC_LAYOUT_OFF, layout);
	return err;
}

static int show_record(struct twzc *c, struct twz_jrec_pm *r, void *arg)
{
	u64 ring = twzc__ring_off(c), pos = sizeof(*r), at;
	const struct twz_jitem_pm *it;
	struct dump *k = arg;
	int err = 0;

	at = ring + r->lsn % twzc__ring_len(c);
	show(k, TWZC_SHOW_RECORD, at, r);
	while ((it = twzc__item_next(c, r, &pos, &err)))
		show(k, TWZC_SHOW_ITEM, at + (u64)((const u8 *)it - (const u8 *)r), it);
	return go_on(err);
}

static int dump_journal(struct dump *k)
{
	u64 off = k->c->super.journal_page * TWZC_PAGE, word, end;
	int err = k->c->ops->log_read(k->c->ctx, off, &word, sizeof(word));

	if (err)
		return err;
	show(k, TWZC_SHOW_JCTL, off, &word);
	return go_on(
		twzc__rec_walk(k->c, k->c->sh->tail, k->c->sh->generation, show_record, k, &end));
}

static int dump_map(struct dump *k)
{
	const struct twz_root_pm *root;
	const struct twz_chunk_pm *m;
	int err = twzc__root(k->c, &root);

	for (u64 i = 0; !err && i * TWZC_CHUNK_PAGES < root->page_cnt; i++) {
		err = twzc__chunk(k->c, i, &m);
		if (!err && m->kind)
			show(k, TWZC_SHOW_CHUNK, i * TWZC_CHUNK_PAGES * TWZC_PAGE, m);
		err = go_on(err);
	}
	return err;
}

/* The block that holds extent I, when I is its first. */
static int dump_block(struct dump *k, const struct twz_entry_pm *e, u32 i)
{
	const void *b;
	u64 off;
	int err;

	if (i < TWZC_EXT_INLINE || (i - TWZC_EXT_INLINE) % TWZC_EXTBLOCK_EXTENTS)
		return 0;
	i = (i - TWZC_EXT_INLINE) / TWZC_EXTBLOCK_EXTENTS;
	off = e->ext_page[i / TWZC_EXTBLOCKS_PER_PAGE] * TWZC_PAGE +
	      i % TWZC_EXTBLOCKS_PER_PAGE * sizeof(struct twz_extblock_pm);
	err = twzc__cell(k->c, "extent block", off, sizeof(struct twz_extblock_pm), 0, &b);
	if (!err)
		show(k, TWZC_SHOW_EXTBLOCK, off, b);
	return err;
}

static int dump_entry(struct dump *k, const struct twzc__loc *loc)
{
	const struct twz_entry_pm *e;
	struct twz_extent_pm x;
	int err = twzc__entry(k->c, loc, &e);

	if (err)
		return go_on(err);
	show(k, TWZC_SHOW_ENTRY, twzc__entry_off(loc), e);
	for (u32 i = 0; i < e->extent_cnt && !err; i++) {
		err = dump_block(k, e, i);
		if (!err)
			err = twzc__ext_get(k->c, e, i, &x);
		if (!err)
			show(k, TWZC_SHOW_EXTENT, i, &x);
	}
	return go_on(err);
}

static int dump_bucket(struct dump *k, u64 bucket)
{
	struct twzc__loc loc = {.bucket = bucket};
	const struct twz_bucket_pm *b;
	int err = twzc__bucket_page(k->c, bucket, &loc.page);

	while (!err) {
		err = twzc__bucket(k->c, loc.page, bucket, loc.depth, &b);
		if (err)
			break;
		show(k, TWZC_SHOW_BUCKET, loc.page * TWZC_PAGE, b);
		for (loc.slot = 0; loc.slot < TWZC_BUCKET_ENTRIES && !err; loc.slot++)
			if (b->used >> loc.slot & 1)
				err = dump_entry(k, &loc);
		if (!b->next)
			break;
		loc.page = b->next;
		loc.depth++;
	}
	return go_on(err);
}

static int dump_table(struct dump *k)
{
	const struct twz_root_pm *root;
	int err = twzc__root(k->c, &root);

	for (u64 b = 0; !err && b < root->bucket_cnt; b++)
		err = dump_bucket(k, b);
	return err;
}

int twzc_dump(struct twzc *c, u32 parts, const struct twzc_dump *d)
{
	struct dump k = {c, d};
	int err = 0;

	twzc__begin(c);
	if (!c->sh->ready)
		return TWZ_E_STATE;
	c->check_fn = d->damaged;
	c->check_ctx = d->ctx;
	if (parts & TWZC_DUMP_HEAD)
		err = go_on(dump_head(&k));
	if (!err && (parts & TWZC_DUMP_JOURNAL))
		err = dump_journal(&k);
	if (!err && (parts & TWZC_DUMP_MAP))
		err = go_on(dump_map(&k));
	if (!err && (parts & TWZC_DUMP_TABLE))
		err = go_on(dump_table(&k));
	c->check_fn = NULL;
	return err;
}
