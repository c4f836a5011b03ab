// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * objtab.c -- the object table: linear hashing over 4 KiB buckets (Litwin 1980)
 *
 * With n buckets and level = floor(log2 n), a key's bucket is the low level+1 bits of its hash if
 * that is below n, else the low level bits. A bucket's overflow pages carry their ordinal (depth),
 * so a chain that loops or strays is seen at once. Entries never move but by a split; an overflow
 * page is unlinked only at the end of its chain, so a cursor stays good.
 */
#include "core_int.h"

static u64 slot_of_hash(u64 bucket_cnt, u64 h)
{
	u32 level = twzc__log2(bucket_cnt);
	u64 b = h & (((u64)2 << level) - 1);

	return b < bucket_cnt ? b : b & (((u64)1 << level) - 1);
}

u64 twzc__bucket_of(struct twzc *c, u64 bucket_cnt, const u64 id[2])
{
	return slot_of_hash(bucket_cnt, c->ops->hash(id, 2 * sizeof(u64), c->seed));
}

int twzc__bucket_page(struct twzc *c, u64 bucket, u64 *page)
{
	const struct twz_layout_pm *l;
	u32 run = bucket ? twzc__log2(bucket) + 1 : 0;
	int err = twzc__layout(c, &l);

	if (err)
		return err;
	if (run >= l->bucket_run_cnt)
		return twzc__corrupt(c, "object table", "bucket-run", bucket, l->bucket_run_cnt);
	*page = l->bucket_run[run] + (bucket ? bucket - ((u64)1 << (run - 1)) : 0);
	return 0;
}

static int bucket_verify(struct twzc *c, const struct twz_bucket_pm *b, u64 page, u64 bucket,
			 u32 depth)
{
	const struct twz_root_pm *root;
	int err = twzc__root(c, &root);

	if (err)
		return err;
	if (b->magic != TWZC_BUCKET_MAGIC)
		return twzc__corrupt(c, "bucket", "magic", page, b->magic);
	if (b->bucket != bucket || b->depth != depth || depth > TWZC_DEPTH_MAX)
		return twzc__corrupt(c, "bucket", "chain", page, b->bucket);
	if (b->used >> TWZC_BUCKET_ENTRIES)
		return twzc__corrupt(c, "bucket", "used", page, b->used);
	if (b->next && !twzc__pages_ok(c, root, b->next, 1))
		return twzc__corrupt(c, "bucket", "next", page, b->next);
	return 0;
}

int twzc__bucket(struct twzc *c, u64 page, u64 bucket, u32 depth, const struct twz_bucket_pm **out)
{
	const void *p;
	int err = twzc__cell(c, "bucket", page * TWZC_PAGE, sizeof(**out), 0, &p);

	if (err)
		return err;
	*out = p;
	return bucket_verify(c, p, page, bucket, depth);
}

static int bucket_edit(struct twzc *c, u64 page, struct twz_bucket_pm **out)
{
	void *p;
	int err = twzc__edit(c, "bucket", page * TWZC_PAGE, sizeof(**out), 0, &p);

	*out = p;
	return err;
}

static int entry_verify(struct twzc *c, const struct twz_entry_pm *e, u64 off)
{
	const struct twz_root_pm *root;
	u32 pages = 0;
	int err = twzc__root(c, &root);

	if (err)
		return err;
	if (!(e->id[0] | e->id[1]) || e->state < TWZC_OBJ_BUILDING || e->state > TWZC_OBJ_DELETED)
		return twzc__corrupt(c, "object", "state", off, e->state);
	if (e->len > TWZC_DATA_MAX || e->len % TWZC_PAGE || e->layout > TWZC_LAYOUT_CONTIGUOUS)
		return twzc__corrupt(c, "object", "length", off, e->len);
	if (e->fot_page_cnt > TWZC_FOT_PAGES_MAX || e->page_cnt > TWZC_SLOT_PAGES)
		return twzc__corrupt(c, "object", "page-count", off, e->page_cnt);
	if (e->extent_cnt > TWZC_EXTENTS_MAX)
		return twzc__corrupt(c, "object", "extent-count", off, e->extent_cnt);
	if (e->extent_cnt > TWZC_EXT_INLINE)
		pages = (e->extent_cnt - TWZC_EXT_INLINE - 1) /
				(TWZC_EXTBLOCK_EXTENTS * TWZC_EXTBLOCKS_PER_PAGE) +
			1;
	for (u32 i = 0; i < TWZC_EXT_PAGES; i++)
		if (i < pages ? !twzc__pages_ok(c, root, e->ext_page[i], 1) : e->ext_page[i] != 0)
			return twzc__corrupt(c, "object", "extent-page", off, e->ext_page[i]);
	return 0;
}

int twzc__entry(struct twzc *c, const struct twzc__loc *loc, const struct twz_entry_pm **out)
{
	const void *p;
	int err = twzc__cell(c, "object", twzc__entry_off(loc), sizeof(**out), 0, &p);

	if (err)
		return err;
	*out = p;
	return entry_verify(c, p, twzc__entry_off(loc));
}

int twzc__entry_edit(struct twzc *c, const struct twzc__loc *loc, struct twz_entry_pm **out)
{
	void *p;
	int err = twzc__edit(c, "object", twzc__entry_off(loc), sizeof(**out), 0, &p);

	*out = p;
	return err;
}

/* --- a walk over the pages of one bucket --- */

struct chain {
	struct twzc__loc loc; /* page of the step; slot is the caller's */
	const struct twz_bucket_pm *b;
	u64 prev; /* page before, 0 = none */
};

static int chain_first(struct twzc *c, u64 bucket, struct chain *ch)
{
	int err;

	c->ops->set(ch, 0, sizeof(*ch));
	ch->loc.bucket = bucket;
	err = twzc__bucket_page(c, bucket, &ch->loc.page);
	return err ? err : twzc__bucket(c, ch->loc.page, bucket, 0, &ch->b);
}

/* To the next page; only if ch->b->next. */
static int chain_next(struct twzc *c, struct chain *ch)
{
	ch->prev = ch->loc.page;
	ch->loc.page = ch->b->next;
	ch->loc.depth++;
	return twzc__bucket(c, ch->loc.page, ch->loc.bucket, ch->loc.depth, &ch->b);
}

/* Every entry of the page is valid. */
static int page_verify(struct twzc *c, struct chain *ch)
{
	const struct twz_entry_pm *e;
	int err = 0;

	for (ch->loc.slot = 0; ch->loc.slot < TWZC_BUCKET_ENTRIES && !err; ch->loc.slot++)
		if (ch->b->used >> ch->loc.slot & 1)
			err = twzc__entry(c, &ch->loc, &e);
	return err;
}

/*
 * The ID tells which entry to read, and that one is verified. Damage may have made the ID another
 * one, so "not here" is believed only of a page whose entries are all valid (D10).
 */
static int page_find(struct twzc *c, struct chain *ch, const u64 id[2],
		     const struct twz_entry_pm **out)
{
	int err;

	for (ch->loc.slot = 0; ch->loc.slot < TWZC_BUCKET_ENTRIES; ch->loc.slot++) {
		const struct twz_entry_pm *e;

		if (!(ch->b->used >> ch->loc.slot & 1))
			continue;
		e = twzc__glance(c, twzc__entry_off(&ch->loc), sizeof(*e));
		if (!e)
			return TWZ_E_MAPS;
		if (twzc__id_eq(e->id, id))
			return twzc__entry(c, &ch->loc, out);
	}
	err = page_verify(c, ch);
	return err ? err : TWZ_E_NOENT;
}

int twzc__tab_find(struct twzc *c, const u64 id[2], struct twzc__loc *loc,
		   const struct twz_entry_pm **out)
{
	const struct twz_root_pm *root;
	struct chain ch;
	int err = twzc__root(c, &root);

	if (!err)
		err = chain_first(c, twzc__bucket_of(c, root->bucket_cnt, id), &ch);
	while (!err) {
		err = page_find(c, &ch, id, out);
		if (err != TWZ_E_NOENT || !ch.b->next)
			break;
		err = chain_next(c, &ch);
	}
	if (!err)
		*loc = ch.loc;
	return err;
}

/*
 * Cursor: bucket in the upper 40 bits, then the entry's ordinal in its chain: neither changes but
 * by a split.
 */
static int page_next(struct twzc *c, struct chain *ch, u64 *cursor, const struct twz_entry_pm **out)
{
	u64 ordinal = *cursor & 0xffffff, first = (u64)ch->loc.depth * TWZC_BUCKET_ENTRIES;

	for (u64 i = ordinal > first ? ordinal - first : 0; i < TWZC_BUCKET_ENTRIES; i++) {
		if (!(ch->b->used >> i & 1))
			continue;
		ch->loc.slot = (u32)i;
		*cursor = ch->loc.bucket << 24 | (first + i + 1);
		return twzc__entry(c, &ch->loc, out);
	}
	return TWZ_E_NOENT;
}

int twzc__tab_next(struct twzc *c, u64 *cursor, struct twzc__loc *loc,
		   const struct twz_entry_pm **out)
{
	const struct twz_root_pm *root;
	struct chain ch;
	int err = twzc__root(c, &root);

	if (err)
		return err;
	for (u64 b = *cursor >> 24; b < root->bucket_cnt; b++, *cursor = b << 24) {
		err = chain_first(c, b, &ch);
		while (!err) {
			err = page_next(c, &ch, cursor, out);
			if (err != TWZ_E_NOENT) {
				*loc = ch.loc;
				return err;
			}
			if (!ch.b->next)
				break;
			err = chain_next(c, &ch);
		}
		if (err && err != TWZ_E_NOENT)
			return err;
	}
	return TWZ_E_NOENT;
}

/* --- inserting --- */

/* A new page at the end of a chain whose last page is LAST. */
static int chain_extend(struct twzc *c, u64 last, u64 bucket, u32 depth, u64 *page)
{
	struct twz_bucket_pm *b;
	void *p;
	int err;

	if (depth > TWZC_DEPTH_MAX)
		return TWZ_E_NOSPC;
	err = twzc__meta_take(c, page);
	if (!err)
		err = twzc__edit_new(c, *page * TWZC_PAGE, sizeof(*b), &p);
	if (err)
		return err;
	b = p;
	b->magic = TWZC_BUCKET_MAGIC;
	b->bucket = bucket;
	b->depth = depth;
	err = bucket_edit(c, last, &b);
	if (!err)
		b->next = *page;
	return err;
}

/* A free slot in the bucket; claims nothing yet but the page it is in. */
static int slot_find(struct twzc *c, u64 bucket, struct twzc__loc *loc)
{
	struct chain ch;
	int err = chain_first(c, bucket, &ch);

	while (!err) {
		for (ch.loc.slot = 0; ch.loc.slot < TWZC_BUCKET_ENTRIES; ch.loc.slot++)
			if (!(ch.b->used >> ch.loc.slot & 1))
				goto found;
		if (!ch.b->next) {
			ch.prev = ch.loc.page;
			ch.loc.depth++;
			ch.loc.slot = 0;
			err = chain_extend(c, ch.prev, bucket, ch.loc.depth, &ch.loc.page);
			break;
		}
		err = chain_next(c, &ch);
	}
	if (err)
		return err;
found:
	*loc = ch.loc;
	return 0;
}

static int slot_claim(struct twzc *c, const struct twzc__loc *loc, struct twz_entry_pm **out)
{
	struct twz_bucket_pm *b;
	void *p;
	int err = bucket_edit(c, loc->page, &b);

	if (!err)
		err = twzc__edit_new(c, twzc__entry_off(loc), sizeof(**out), &p);
	if (err)
		return err;
	b->used |= 1u << loc->slot;
	*out = p;
	return 0;
}

int twzc__tab_insert(struct twzc *c, const u64 id[2], struct twzc__loc *loc,
		     struct twz_entry_pm **out)
{
	const struct twz_root_pm *root;
	int err = twzc__root(c, &root);

	if (!err)
		err = slot_find(c, twzc__bucket_of(c, root->bucket_cnt, id), loc);
	if (!err)
		err = slot_claim(c, loc, out);
	if (err)
		return err;
	(*out)->id[0] = id[0];
	(*out)->id[1] = id[1];
	return 0;
}

/* --- removing --- */

/* Unlink the last page of the chain if it is an empty overflow page. */
static int chain_trim(struct twzc *c, u64 bucket)
{
	struct twz_bucket_pm *b;
	struct chain ch;
	u64 page;
	int err = chain_first(c, bucket, &ch);

	while (!err && ch.b->next)
		err = chain_next(c, &ch);
	if (err || !ch.loc.depth || ch.b->used)
		return err;
	page = ch.loc.page;
	err = bucket_edit(c, ch.prev, &b);
	if (err)
		return err;
	b->next = 0;
	return twzc__meta_give(c, page);
}

int twzc__tab_remove(struct twzc *c, const struct twzc__loc *loc)
{
	struct twz_bucket_pm *b;
	int err = bucket_edit(c, loc->page, &b);

	if (err)
		return err;
	b->used &= ~(1u << loc->slot);
	return chain_trim(c, loc->bucket);
}

/* --- splitting --- */

#define SPLIT_LOAD 10 /* entries a bucket, on average: two thirds full */

/*
 * Buckets are full: a run as long as all before it, without growing the image for it more than it
 * would anyway.
 */
static int run_add(struct twzc *c)
{
	const struct twz_root_pm *root;
	struct twz_layout_pm *l;
	struct twzc__want want = {.exact = true};
	struct twzc__run run;
	int err = twzc__root(c, &root);

	if (err)
		return err;
	want.cnt = root->bucket_cnt;
	err = twzc__layout_edit(c, &l);
	if (!err && l->bucket_run_cnt == TWZC_RUNS_MAX)
		err = TWZ_E_NOSPC;
	if (!err)
		err = twzc__space_find(c, &want, &run);
	if (!err)
		err = twzc__meta_take_run(c, run);
	if (err)
		return err;
	l->bucket_run[l->bucket_run_cnt++] = run.page;
	return 0;
}

static int bucket_init(struct twzc *c, u64 bucket)
{
	struct twz_bucket_pm *b;
	void *p;
	u64 page;
	int err = twzc__bucket_page(c, bucket, &page);

	if (!err)
		err = twzc__edit_new(c, page * TWZC_PAGE, sizeof(*b), &p);
	if (err)
		return err;
	b = p;
	b->magic = TWZC_BUCKET_MAGIC;
	b->bucket = bucket;
	return 0;
}

/*
 * Move an entry to the new bucket: a copy there, the bit cleared here. Its sum is made for the new
 * place at commit.
 */
static int entry_move(struct twzc *c, const struct twz_entry_pm *e, const struct twzc__loc *from,
		      u64 to)
{
	struct twz_entry_pm *copy;
	struct twz_bucket_pm *b;
	struct twzc__loc loc;
	int err = slot_find(c, to, &loc);

	if (!err)
		err = slot_claim(c, &loc, &copy);
	if (err)
		return err;
	c->ops->copy(copy, e, sizeof(*e));
	err = bucket_edit(c, from->page, &b);
	if (!err)
		b->used &= ~(1u << from->slot);
	return err;
}

static int page_split(struct twzc *c, struct chain *ch, u64 to, u64 new_cnt)
{
	u32 used = ch->b->used;
	int err = 0;

	for (ch->loc.slot = 0; ch->loc.slot < TWZC_BUCKET_ENTRIES && !err; ch->loc.slot++) {
		const struct twz_entry_pm *e;

		if (!(used >> ch->loc.slot & 1))
			continue;
		err = twzc__entry(c, &ch->loc, &e);
		if (!err && twzc__bucket_of(c, new_cnt, e->id) == to)
			err = entry_move(c, e, &ch->loc, to);
	}
	return err;
}

static int split(struct twzc *c)
{
	struct twz_root_pm *root;
	struct chain ch;
	u64 to;
	int err = twzc__root_edit(c, &root);

	if (err)
		return err;
	to = root->bucket_cnt;
	if (to == (u64)1 << twzc__log2(to)) {
		const struct twz_layout_pm *l;

		err = twzc__layout(c, &l);
		if (!err && to == (u64)1 << (l->bucket_run_cnt - 1))
			err = run_add(c);
	}
	if (!err)
		err = bucket_init(c, to);
	if (!err)
		err = chain_first(c, to - ((u64)1 << twzc__log2(to)), &ch);
	while (!err) {
		err = page_split(c, &ch, to, to + 1);
		if (err || !ch.b->next)
			break;
		err = chain_next(c, &ch);
	}
	if (!err)
		root->bucket_cnt = to + 1;
	return err;
}

void twzc__tab_tidy(struct twzc *c)
{
	const struct twz_root_pm *root;

	twzc__begin(c);
	if (twzc__root(c, &root) || c->sh->failed)
		return;
	if ((root->obj_cnt + root->deleted_cnt) / SPLIT_LOAD < root->bucket_cnt)
		return;
	if (split(c))
		twzc__begin(c);
	else
		twzc__commit(c);
}
