/* SPDX-License-Identifier: MIT
 * alloc_check.c -- every rule of an arena (format_alloc.h), for twz_check; an arena as text, for
 * twz_dump
 */
#include "arena.h"
#include "dump.h"

struct walk {
	struct twz__arena a;
	struct twz__checker *c;
	char where[64];
	uint32_t used_units, used_cnt, free_cnt, listed_cnt;
	bool broken; /* the walk cannot go on */
};

#define COMPLAIN(w, ...) twz__found((w)->c, (w)->where, __VA_ARGS__)

/* Blocks touch, agree on their sizes, end in the end block; no two free ones touch. */
static void walk_blocks(struct walk *w)
{
	struct twz__block b, before = {0};
	uint32_t end = twz__arena_end(&w->a);

	for (uint32_t at = w->a.first;; at += b.size) {
		if (twz__arena_block(&w->a, at, &b)) {
			COMPLAIN(w, "%s", twz_errmsg());
			w->broken = true;
			return;
		}
		if (b.prev_size != before.size)
			COMPLAIN(w, "block at unit %u says the one before has %u units, it has %u",
				 at, b.prev_size, before.size);
		if (b.state == TWZ_BLOCK_END)
			return; /* twz__arena_block: only at the end */
		if (b.state == TWZ_BLOCK_FREE && before.state == TWZ_BLOCK_FREE)
			COMPLAIN(w, "free blocks at units %u and %u touch", before.at, at);
		if (b.state == TWZ_BLOCK_USED) {
			w->used_units += b.size;
			w->used_cnt++;
		} else if (b.state == TWZ_BLOCK_FREE) {
			w->free_cnt++;
		} else {
			COMPLAIN(w, "block at unit %u has unknown state %08x", at, b.state);
		}
		if (at + b.size >= end) {
			COMPLAIN(w, "the last block ends at unit %u, behind the end block",
				 at + b.size);
			w->broken = true;
			return;
		}
		before = b;
	}
}

/*
 * Every list holds free blocks of its class, linked both ways; no block is listed twice (the
 * counts would differ).
 */
static void walk_bin(struct walk *w, uint32_t bin, uint32_t at)
{
	uint32_t prev = 0;
	struct twz__block b;

	while (at) {
		if (w->listed_cnt++ > w->free_cnt) {
			COMPLAIN(
				w,
				"bin %u: more blocks are listed than free: a list runs in a circle",
				bin);
			w->broken = true;
			return;
		}
		if (twz__arena_block(&w->a, at, &b) || b.state != TWZ_BLOCK_FREE) {
			COMPLAIN(w, "bin %u: entry at unit %u is no free block", bin, at);
			w->broken = true;
			return;
		}
		if (twz__arena_bin(b.size) != bin)
			COMPLAIN(w, "bin %u: block at unit %u has %u units", bin, at, b.size);
		if (twz__arena_rd(&w->a,
				  at * TWZ_ARENA_UNIT + offsetof(struct twz_free_pm, prev)) != prev)
			COMPLAIN(w, "bin %u: block at unit %u does not lead back to %u", bin, at,
				 prev);
		prev = at;
		at = twz__arena_rd(&w->a, at * TWZ_ARENA_UNIT + offsetof(struct twz_free_pm, next));
	}
}

static void walk_arena(struct walk *w)
{
	const struct twz_arena_pm *h =
		(const struct twz_arena_pm *)(w->a.base + (uint64_t)w->a.start * TWZ_ARENA_UNIT);

	walk_blocks(w);
	for (uint32_t i = 0; i < TWZ_ARENA_BIN_CNT && !w->broken; i++)
		walk_bin(w, i, h->bin[i]);
	if (w->broken)
		return;
	if (w->listed_cnt != w->free_cnt)
		COMPLAIN(w, "%u blocks are free, %u are in lists", w->free_cnt, w->listed_cnt);
	if (h->used_units != w->used_units || h->block_cnt != w->used_cnt)
		COMPLAIN(w, "header counts %u blocks of %u units in use, there are %u of %u",
			 h->block_cnt, h->used_units, w->used_cnt, w->used_units);
}

int twz__check_arena(struct twz_obj *o, struct twz__checker *c)
{
	const struct twz_meta_pm *meta = o->meta;
	struct walk *w;
	char id[TWZ_OID_STR_LEN];
	bool held;
	int err;

	if (!meta || !meta->user[TWZ_ARENA_META_IDX])
		return 0;
	w = calloc(1, sizeof(*w));
	if (!w)
		return twz__err(TWZ_E_NOMEM, "%s: no memory to check an arena", o->store->path);
	w->c = c;
	snprintf(w->where, sizeof(w->where), "arena of object %s", twz_oid_str(o->id, id));
	err = twz__arena_read_lock(o, &held);
	if (!err) {
		if (twz__arena_open(o, &w->a))
			COMPLAIN(w, "%s", twz_errmsg());
		else
			walk_arena(w);
	}
	if (!err && !held)
		twz_obj_unlock(o);
	free(w);
	return err;
}

/* --- dump --- */

static void show_header(const struct twz_arena_pm *h, FILE *f)
{
	fprintf(f, "  arena magic %016" PRIx64 " version %u compat %#x ro_compat %#x incompat %#x",
		h->magic, h->version, h->compat, h->ro_compat, h->incompat);
	fprintf(f, " start %u sum %016" PRIx64 " end %u used units %u blocks %u\n", h->start,
		h->sum, h->end, h->used_units, h->block_cnt);
	for (uint32_t i = 0; i < TWZ_ARENA_BIN_CNT; i++)
		if (h->bin[i])
			fprintf(f, "    bin %u first %u\n", i, h->bin[i]);
}

static int show_blocks(const struct twz__arena *a, FILE *f)
{
	const uint32_t next = offsetof(struct twz_free_pm, next),
		       prev = offsetof(struct twz_free_pm, prev);
	struct twz__block b = {.at = a->first};
	uint32_t end = twz__arena_end(a);
	int err = 0;

	for (uint32_t at = a->first; at < end && !err; at += b.size) {
		uint32_t off = at * TWZ_ARENA_UNIT;

		err = twz__arena_block(a, at, &b);
		if (err)
			break;
		fprintf(f, "    block at %u size %u prev_size %u state %.4s sum %08x", at, b.size,
			b.prev_size,
			b.state == TWZ_BLOCK_USED   ? "used"
			: b.state == TWZ_BLOCK_FREE ? "free"
			: b.state == TWZ_BLOCK_END  ? "end"
						    : "?",
			twz__block_sum(&b));
		if (b.state == TWZ_BLOCK_FREE)
			fprintf(f, " next %u prev %u", twz__arena_rd(a, off + next),
				twz__arena_rd(a, off + prev));
		fputc('\n', f);
	}
	return err;
}

int twz__dump_arena(struct twz_obj *o, struct twz__dumper *d)
{
	const struct twz_meta_pm *meta = o->meta;
	struct twz__arena a;
	bool held;
	int err;

	if (!meta->user[TWZ_ARENA_META_IDX])
		return 0;
	err = twz__arena_read_lock(o, &held);
	if (err)
		return err;
	err = twz__arena_open(o, &a);
	if (!err) {
		show_header((const struct twz_arena_pm *)(a.base + a.start * TWZ_ARENA_UNIT), d->f);
		err = show_blocks(&a, d->f);
	}
	if (!held)
		twz_obj_unlock(o);
	return err;
}
