// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * object.c -- operations on objects: create, resize, give FOT pages, delete, reclaim, enumerate
 *
 * Each operation is one journal record if it fits. A large one in a small journal takes several:
 *
 *	create   BUILDING, extents ... extents | LIVE = commit point
 *	grow     extents ... extents | len = commit point        (FOT growth: fot_page_cnt)
 *	shrink   len = commit point | extents freed ... freed
 *	reclaim  extents freed ... freed | entry gone            (DELETED all the time)
 *
 * Between the records the root page names the object (pend_id). Whoever recovers, or the operation
 * itself when it fails, trims the object to what its entry promises: to nothing if it is BUILDING.
 * Trimming only frees, so it needs no space.
 */
#include "core_int.h"

struct op {
	struct twzc *c;
	struct twzc__loc loc;
	struct twz_entry_pm *e; /* in the record being built: reloaded by op_piece() */
	u32 pieces;		/* records written so far */
};

u32 twzc__data_owned(u64 cnt, bool contiguous)
{
	if (contiguous || cnt + 1 <= TWZC_CHUNK_PAGES)
		return (u32)cnt;
	return (u32)(TWZC_ROUND_UP(cnt + 1, TWZC_CHUNK_PAGES) - 1);
}

static bool is_contiguous(const struct twz_entry_pm *e)
{
	return e->layout & TWZC_LAYOUT_CONTIGUOUS;
}

/* --- records of an operation --- */

/* An operation that fits into no record of this journal ends as "no space": nothing changed. */
static int public_err(int err)
{
	return err == TWZ_E_TOOBIG ? TWZ_E_NOSPC : err;
}

static int op_begin(struct op *op, struct twzc *c)
{
	c->ops->set(op, 0, sizeof(*op));
	op->c = c;
	return twzc__begin_change(c);
}

static int op_open(struct op *op, struct twzc *c, const u64 id[2])
{
	const struct twz_entry_pm *seen;
	int err = op_begin(op, c);

	if (!err)
		err = twzc__tab_find(c, id, &op->loc, &seen);
	if (!err)
		err = twzc__entry_edit(c, &op->loc, &op->e);
	return err;
}

/* Write what there is as a record of its own and go on with the next. */
static int op_piece(struct op *op)
{
	struct twz_root_pm *root;
	int err = twzc__root_edit(op->c, &root);

	if (err)
		return err;
	root->pend_kind = TWZC_PEND_TRIM;
	root->pend_id[0] = op->e->id[0];
	root->pend_id[1] = op->e->id[1];
	err = twzc__commit(op->c);
	if (err)
		return err;
	op->pieces++;
	op->c->sh->epoch++;
	return twzc__entry_edit(op->c, &op->loc, &op->e);
}

/* The last record. */
static int op_end(struct op *op)
{
	struct twz_root_pm *root;
	int err = twzc__root_edit(op->c, &root);

	if (err)
		return err;
	root->pend_kind = TWZC_PEND_NONE;
	root->pend_id[0] = root->pend_id[1] = 0;
	err = twzc__commit(op->c);
	if (!err)
		op->c->sh->epoch++;
	return err;
}

/* Give up. Records already written are undone by trimming. */
static int op_fail(struct op *op, int err)
{
	twzc__begin(op->c);
	if (op->pieces && !op->c->sh->failed)
		twzc__pend_finish(op->c);
	return public_err(err);
}

/*
 * What one step can cost besides the chunk cells of its run: extent, root, layout if the image
 * grows, two chunk cells. What was found is still free when a record has been written in between:
 * the caller holds the lock.
 */
#define STEP_COST                                                                                  \
	(TWZC_EXT_ADD_COST + TWZC_ITEM_COST(128) + TWZC_ITEM_COST(512) + 2 * TWZC_ITEM_COST(128))

/* Make sure a step fits; *CAP is how many pages its run may have, whole chunks of them. */
static int op_room(struct op *op, u64 *cap)
{
	u64 cell = TWZC_ITEM_COST(sizeof(struct twz_chunk_pm)), cells;
	int err = 0;

	if (twzc__room(op->c) < STEP_COST + 4 * cell)
		err = op_piece(op);
	cells = twzc__room(op->c) > STEP_COST ? (twzc__room(op->c) - STEP_COST) / cell : 0;
	*cap = (cells > 3 ? cells - 2 : 1) * TWZC_CHUNK_PAGES;
	return err;
}

/* --- growing --- */

/* The file page behind the extent that ends at slot page SLOT, 0 if none ends there. */
static int page_behind(struct op *op, u32 slot, u64 *page)
{
	struct twz_extent_pm x;
	u32 pos;
	int err = twzc__ext_after(op->c, op->e, slot, &pos);

	*page = 0;
	if (err || !pos)
		return err;
	err = twzc__ext_get(op->c, op->e, pos - 1, &x);
	if (!err && x.slot_page + x.cnt == slot)
		*page = x.file_page + x.cnt;
	return err;
}

/* Whole chunks, behind the last one if it can be. */
static int find_chunks(struct op *op, u64 behind, u64 cnt, struct twzc__run *run)
{
	struct twzc__want want = {.cnt = cnt, .whole = true};
	u64 n = 0;
	int err = 0;

	if (behind && behind % TWZC_CHUNK_PAGES == 0)
		err = twzc__space_after(op->c, behind, cnt, false, &n);
	n = n / TWZC_CHUNK_PAGES * TWZC_CHUNK_PAGES;
	run->page = behind;
	run->cnt = n;
	if (err || n)
		return err;
	return twzc__space_find(op->c, &want, run);
}

/*
 * Pages below slot offset 2 MiB: behind the last extent if all fit, else the longest run there is.
 */
static int find_pages(struct op *op, u64 behind, u64 cnt, struct twzc__run *run)
{
	struct twzc__want want = {.cnt = cnt};
	u64 n = 0;
	int err = 0;

	if (behind)
		err = twzc__space_after(op->c, behind, cnt, false, &n);
	if (!err && n < cnt)
		err = twzc__space_find(op->c, &want, run);
	if (!err && (n == cnt || run->cnt <= n)) {
		run->page = behind;
		run->cnt = n;
	}
	return err;
}

/* A contiguous object goes on where it ends or not at all. */
static int find_behind(struct op *op, u64 behind, u64 cnt, struct twzc__run *run)
{
	struct twzc__want want = {.cnt = cnt, .exact = true, .aligned = cnt >= TWZC_CHUNK_PAGES};
	int err;

	if (!behind)
		return twzc__space_find(op->c, &want, run);
	run->page = behind;
	err = twzc__space_after(op->c, behind, cnt, true, &run->cnt);
	return !err && run->cnt < cnt ? TWZ_E_NOSPC : err;
}

static int find_for(struct op *op, u32 slot, u32 end, struct twzc__run *run)
{
	u64 behind;
	int err = page_behind(op, slot, &behind);

	if (err)
		return err;
	if (is_contiguous(op->e))
		return find_behind(op, behind, end - slot, run);
	if (slot >= TWZC_CHUNK_PAGES)
		return find_chunks(op, behind, end - slot, run);
	return find_pages(op, behind, TWZC_MIN((u64)end, TWZC_CHUNK_PAGES) - slot, run);
}

static int add_run(struct op *op, u32 slot, const struct twzc__run *run)
{
	struct twz_extent_pm x = {slot, (u32)run->cnt, run->page};

	return twzc__ext_add(op->c, op->e, &x);
}

/* Give the object slot pages SLOT .. END-1; those below SHOWN are data and must read as zeros. */
static int extend(struct op *op, u32 slot, u32 end, u32 shown)
{
	int err = 0;

	while (slot < end && !err) {
		struct twzc__run run;
		u64 cap;

		err = op_room(op, &cap);
		if (!err)
			err = find_for(op, slot, end, &run);
		if (!err)
			err = op_room(op, &cap); /* finding may have grown the image */
		if (err)
			break;
		run.cnt = TWZC_MIN(run.cnt, cap);
		err = twzc__space_take(op->c, run,
				       shown > slot ? TWZC_MIN(run.cnt, shown - slot) : 0);
		if (!err)
			err = add_run(op, slot, &run);
		slot += (u32)run.cnt;
	}
	return err;
}

/*
 * The first run of a new object: meta page, then data, so that slot page n of a large object is
 * page n of an aligned chunk (its page 0 is never mapped, so it holds the meta page) and huge
 * mappings are possible.
 */
static int first_run(struct op *op, u32 data_cnt, struct twzc__run *run)
{
	bool contiguous = is_contiguous(op->e), big = data_cnt >= TWZC_CHUNK_PAGES;
	struct twzc__want want = {.cnt = (u64)data_cnt + 1, .exact = contiguous};
	int err;

	want.aligned = big;
	want.whole = big && !contiguous;
	err = twzc__space_find(op->c, &want, run);
	if (err == TWZ_E_NOSPC && want.whole) {
		want = (struct twzc__want){.cnt = TWZC_CHUNK_PAGES};
		err = twzc__space_find(op->c, &want, run);
	}
	return err;
}

static int place_new(struct op *op, u32 shown)
{
	u32 owned = twzc__data_owned(shown - 1, is_contiguous(op->e));
	struct twzc__run run;
	u64 cap;
	int err = op_room(op, &cap);

	if (!err)
		err = first_run(op, owned, &run);
	if (!err)
		err = op_room(op, &cap);
	if (err)
		return err;
	run.cnt = TWZC_MIN(run.cnt, cap);
	err = twzc__space_take(op->c, run, TWZC_MIN(run.cnt, (u64)shown));
	if (!err)
		err = add_run(op, TWZC_META_PAGE, &(struct twzc__run){run.page, 1});
	if (!err && run.cnt > 1)
		err = add_run(op, 1, &(struct twzc__run){run.page + 1, run.cnt - 1});
	return err ? err : extend(op, (u32)run.cnt, owned + 1, shown);
}

static int counts(struct twzc *c, s64 live, s64 deleted)
{
	struct twz_root_pm *root;
	int err = twzc__root_edit(c, &root);

	if (err)
		return err;
	root->obj_cnt += (u64)live;
	root->deleted_cnt += (u64)deleted;
	return 0;
}

static void entry_fill(struct twzc *c, struct twz_entry_pm *e, const struct twzc_obj_args *a)
{
	e->ctime = c->ops->now(c->ctx);
	e->flags = a->flags;
	e->kind = a->kind;
	e->state = TWZC_OBJ_BUILDING;
	e->layout = a->contiguous ? TWZC_LAYOUT_CONTIGUOUS : 0;
}

static int create(struct op *op, const struct twzc_obj_args *a)
{
	const struct twz_entry_pm *seen;
	int err = twzc__tab_find(op->c, a->id, &op->loc, &seen);

	if (err != TWZ_E_NOENT)
		return err ? err : TWZ_E_EXIST;
	err = twzc__tab_insert(op->c, a->id, &op->loc, &op->e);
	if (err)
		return err;
	entry_fill(op->c, op->e, a);
	err = place_new(op, (u32)(a->len / TWZC_PAGE) + 1);
	if (err)
		return err;
	op->e->len = a->len;
	op->e->state = TWZC_OBJ_LIVE;
	err = counts(op->c, 1, 0);
	return err ? err : op_end(op);
}

int twzc_obj_create(struct twzc *c, const struct twzc_obj_args *args)
{
	struct op op;
	int err = op_begin(&op, c);

	if (err)
		return err;
	if (!(args->id[0] | args->id[1]) || args->len % TWZC_PAGE || args->len > TWZC_DATA_MAX)
		return TWZ_E_INVAL;
	err = create(&op, args);
	if (err)
		return op_fail(&op, err);
	twzc__tab_tidy(c);
	return 0;
}

/* --- trimming --- */

/* Slot pages LO .. HI-1 of an extent the entry does not promise. */
static void surplus(const struct twz_entry_pm *e, const struct twz_extent_pm *x, u32 *lo, u32 *hi)
{
	u32 owned = 1 + twzc__data_owned(e->len / TWZC_PAGE, is_contiguous(e));

	*lo = x->slot_page;
	*hi = x->slot_page + x->cnt;
	if (e->state != TWZC_OBJ_LIVE)
		return;
	if (x->slot_page < TWZC_TOP_PAGE)
		*lo = TWZC_MAX(*lo, owned);
	else
		*hi = TWZC_MIN(*hi, TWZC_META_PAGE - e->fot_page_cnt);
}

/*
 * Free N pages of extent I: data at its end, FOT pages at its beginning (there the unpromised ones
 * are).
 */
static int cut(struct op *op, u32 i, struct twz_extent_pm *x, u32 n)
{
	bool at_end = x->slot_page < TWZC_TOP_PAGE || op->e->state != TWZC_OBJ_LIVE;
	struct twzc__run run = {at_end ? x->file_page + x->cnt - n : x->file_page, n};
	int err = twzc__space_give(op->c, run);

	if (err)
		return err;
	if (op->e->page_cnt < n)
		return twzc__corrupt(op->c, "object", "page-count", op->e->page_cnt, n);
	op->e->page_cnt -= n;
	x->cnt -= n;
	if (!at_end) {
		x->slot_page += n;
		x->file_page += n;
	}
	return x->cnt ? twzc__ext_set(op->c, op->e, i, x) : twzc__ext_remove(op->c, op->e, i);
}

static int trim_extent(struct op *op, u32 i)
{
	struct twz_extent_pm x;
	u32 lo, hi;
	int err = twzc__ext_get(op->c, op->e, i, &x);

	if (err)
		return err;
	surplus(op->e, &x, &lo, &hi);
	while (lo < hi && !err) {
		u64 cap;
		u32 n;

		err = op_room(op, &cap);
		n = (u32)TWZC_MIN((u64)(hi - lo), cap);
		if (!err)
			err = cut(op, i, &x, n);
		hi -= n;
	}
	return err;
}

static int trim(struct op *op)
{
	int err = 0;

	for (u32 i = op->e->extent_cnt; i > 0 && !err; i--)
		err = trim_extent(op, i - 1);
	return err;
}

int twzc__pend_finish(struct twzc *c)
{
	const struct twz_root_pm *root;
	struct op op;
	u64 id[2];
	int err;

	twzc__begin(c);
	err = twzc__root(c, &root);
	if (err || root->pend_kind == TWZC_PEND_NONE)
		return err;
	id[0] = root->pend_id[0];
	id[1] = root->pend_id[1];
	err = op_open(&op, c, id);
	if (err == TWZ_E_NOENT)
		return twzc__corrupt(c, "root", "pending", id[0], id[1]);
	if (!err)
		err = trim(&op);
	if (!err && op.e->state == TWZC_OBJ_BUILDING)
		err = twzc__tab_remove(c, &op.loc);
	return err ? err : op_end(&op);
}

/* --- changing --- */

/*
 * Data pages FROM .. TO-1 lie in extents already there, behind the old end: they must read as
 * zeros.
 */
static int expose(struct op *op, u32 from, u32 to)
{
	int err = 0;

	for (u32 i = 0; i < op->e->extent_cnt && !err; i++) {
		struct twz_extent_pm x;
		u32 lo, hi;

		err = twzc__ext_get(op->c, op->e, i, &x);
		if (err)
			break;
		lo = TWZC_MAX(from, x.slot_page);
		hi = TWZC_MIN(to, x.slot_page + x.cnt);
		if (lo < hi)
			err = twzc__space_expose(
				op->c,
				(struct twzc__run){x.file_page + (lo - x.slot_page), hi - lo});
	}
	return err;
}

static int resize_grow(struct op *op, u64 len)
{
	bool contiguous = is_contiguous(op->e);
	u32 old_cnt = (u32)(op->e->len / TWZC_PAGE), cnt = (u32)(len / TWZC_PAGE);
	u32 old_owned = twzc__data_owned(old_cnt, contiguous);
	u32 owned = twzc__data_owned(cnt, contiguous);
	int err = 0;

	if (old_owned > old_cnt)
		err = expose(op, old_cnt + 1, TWZC_MIN(cnt, old_owned) + 1);
	if (!err && owned > old_owned)
		err = extend(op, old_owned + 1, owned + 1, cnt + 1);
	if (!err)
		op->e->len = len;
	return err;
}

int twzc_obj_resize(struct twzc *c, const u64 id[2], u64 len)
{
	struct op op;
	int err = op_open(&op, c, id);

	if (err)
		return op_fail(&op, err);
	if (len % TWZC_PAGE || len > TWZC_DATA_MAX)
		return op_fail(&op, TWZ_E_INVAL);
	if (op.e->state != TWZC_OBJ_LIVE)
		return op_fail(&op, TWZ_E_NOENT);
	if (len == op.e->len)
		return op_fail(&op, 0);
	if (len > op.e->len) {
		err = resize_grow(&op, len);
	} else {
		op.e->len = len;
		err = trim(&op);
	}
	if (!err)
		err = op_end(&op);
	return err ? op_fail(&op, err) : 0;
}

/* FOT pages grow down from the meta page. */
static int fot_extend(struct op *op, u32 add)
{
	u32 end = TWZC_META_PAGE - op->e->fot_page_cnt;
	int err = 0;

	while (add && !err) {
		struct twzc__want want = {.cnt = add};
		struct twzc__run run;
		u64 cap;

		err = op_room(op, &cap);
		if (!err)
			err = twzc__space_find(op->c, &want, &run);
		if (!err)
			err = op_room(op, &cap);
		if (err)
			break;
		run.cnt = TWZC_MIN(run.cnt, cap);
		err = twzc__space_take(op->c, run, run.cnt);
		if (!err)
			err = add_run(op, end - (u32)run.cnt, &run);
		if (err)
			break;
		end -= (u32)run.cnt;
		add -= (u32)run.cnt;
	}
	return err;
}

int twzc_obj_fot_grow(struct twzc *c, const u64 id[2], u32 fot_page_cnt)
{
	struct op op;
	int err = op_open(&op, c, id);

	if (err)
		return op_fail(&op, err);
	if (fot_page_cnt > TWZC_FOT_PAGES_MAX)
		return op_fail(&op, TWZ_E_INVAL);
	if (op.e->state != TWZC_OBJ_LIVE)
		return op_fail(&op, TWZ_E_NOENT);
	if (fot_page_cnt <= op.e->fot_page_cnt)
		return op_fail(&op, 0);
	err = fot_extend(&op, fot_page_cnt - op.e->fot_page_cnt);
	if (!err) {
		op.e->fot_page_cnt = fot_page_cnt;
		err = op_end(&op);
	}
	return err ? op_fail(&op, err) : 0;
}

int twzc_obj_delete(struct twzc *c, const u64 id[2])
{
	struct op op;
	int err = op_open(&op, c, id);

	if (!err && op.e->state != TWZC_OBJ_LIVE)
		err = TWZ_E_NOENT;
	if (!err) {
		op.e->state = TWZC_OBJ_DELETED;
		err = counts(c, -1, 1);
	}
	if (!err)
		err = op_end(&op);
	return err ? op_fail(&op, err) : 0;
}

int twzc_obj_reclaim(struct twzc *c, const u64 id[2])
{
	struct op op;
	int err = op_open(&op, c, id);

	if (!err && op.e->state != TWZC_OBJ_DELETED)
		err = TWZ_E_STATE;
	if (!err)
		err = trim(&op);
	if (!err)
		err = twzc__tab_remove(c, &op.loc);
	if (!err)
		err = counts(c, 0, -1);
	if (!err)
		err = op_end(&op);
	return err ? op_fail(&op, err) : 0;
}

/* --- looking --- */

static void obj_fill(struct twzc *c, const struct twz_entry_pm *e, struct twzc_obj *out)
{
	c->ops->set(out, 0, sizeof(*out));
	out->id[0] = e->id[0];
	out->id[1] = e->id[1];
	out->len = e->len;
	out->ctime = e->ctime;
	out->flags = e->flags;
	out->kind = e->kind;
	out->state = e->state;
	out->extent_cnt = e->extent_cnt;
	out->fot_page_cnt = e->fot_page_cnt;
	out->links = e->links;
	out->pages = e->page_cnt;
}

/* A live or deleted object's entry. */
static int find(struct twzc *c, const u64 id[2], const struct twz_entry_pm **out)
{
	struct twzc__loc loc;
	int err;

	twzc__begin(c);
	err = c->sh->ready ? twzc__tab_find(c, id, &loc, out) : TWZ_E_STATE;
	if (!err && (*out)->state == TWZC_OBJ_BUILDING)
		err = TWZ_E_NOENT;
	return err;
}

int twzc_obj_find_any(struct twzc *c, const u64 id[2], struct twzc_obj *out)
{
	const struct twz_entry_pm *e;
	int err = find(c, id, &e);

	if (!err)
		obj_fill(c, e, out);
	return err;
}

int twzc_obj_find(struct twzc *c, const u64 id[2], struct twzc_obj *out)
{
	int err = twzc_obj_find_any(c, id, out);

	return !err && out->state != TWZC_OBJ_LIVE ? TWZ_E_NOENT : err;
}

static int extents_fill(struct twzc *c, const struct twz_entry_pm *e, u32 first,
			struct twzc_extent *out, u32 cap, u32 *cnt)
{
	u32 end = 0; /* slot page behind the last extent */
	int err = 0;

	for (u32 i = first; i < e->extent_cnt && *cnt < cap; i++) {
		struct twz_extent_pm x;

		err = twzc__ext_get(c, e, i, &x);
		if (!err && x.slot_page < end)
			err = twzc__corrupt(c, "extent", "overlap", i, x.slot_page);
		if (err)
			break;
		end = x.slot_page + x.cnt;
		out[(*cnt)++] = (struct twzc_extent){x.slot_page, x.cnt, x.file_page};
	}
	return err;
}

int twzc_obj_extents(struct twzc *c, const u64 id[2], u32 first, struct twzc_extent *out, u32 cap,
		     u32 *cnt)
{
	const struct twz_entry_pm *e;
	struct twzc__loc loc;
	int err;

	*cnt = 0;
	twzc__begin(c);
	err = c->sh->ready ? twzc__tab_find(c, id, &loc, &e) : TWZ_E_STATE;
	return err ? err : extents_fill(c, e, first, out, cap, cnt);
}

int twzc_obj_look(struct twzc *c, const u64 id[2], struct twzc_obj *out, struct twzc_extent *ext,
		  u32 cap, u32 *cnt)
{
	const struct twz_entry_pm *e;
	int err = find(c, id, &e);

	*cnt = 0;
	if (!err && e->state != TWZC_OBJ_LIVE)
		err = TWZ_E_NOENT;
	if (err)
		return err;
	obj_fill(c, e, out);
	return extents_fill(c, e, 0, ext, cap, cnt);
}

int twzc_obj_next(struct twzc *c, u64 *cursor, bool deleted, struct twzc_obj *out)
{
	u16 state = deleted ? TWZC_OBJ_DELETED : TWZC_OBJ_LIVE;
	const struct twz_entry_pm *e;
	struct twzc__loc loc;
	int err;

	twzc__begin(c);
	if (!c->sh->ready)
		return TWZ_E_STATE;
	do
		err = twzc__tab_next(c, cursor, &loc, &e);
	while (!err && e->state != state);
	if (!err)
		obj_fill(c, e, out);
	return err;
}

int twzc_info(struct twzc *c, struct twzc_info *out)
{
	const struct twz_root_pm *root;
	int err;

	c->ops->set(out, 0, sizeof(*out));
	twzc__begin(c);
	if (!c->sh->ready)
		return TWZ_E_STATE;
	err = twzc__root(c, &root);
	if (err)
		return err;
	out->len = root->page_cnt * TWZC_PAGE;
	out->free_len = root->free_cnt * TWZC_PAGE;
	out->meta_len = root->meta_cnt * TWZC_PAGE;
	out->obj_cnt = root->obj_cnt;
	out->deleted_cnt = root->deleted_cnt;
	out->journal_len = c->super.journal_page_cnt * TWZC_PAGE;
	out->journal_used = c->sh->head - c->sh->tail;
	return 0;
}
