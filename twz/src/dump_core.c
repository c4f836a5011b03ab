/* SPDX-License-Identifier: MIT
 * dump_core.c -- the core's structures (core/format.h) as text: one line each, every field by name
 */
#include "dump.h"

static void put_id(FILE *f, const char *name, const u64 id[2])
{
	twz_oid oid = {{id[0], id[1]}};
	char text[TWZ_OID_STR_LEN];

	fprintf(f, "%s %s", name, twz_oid_str(oid, text));
}

static void show_super(FILE *f, u64 off, const struct twz_super_pm *p)
{
	fprintf(f, "superblock %" PRIu64 "\n", off / TWZC_PAGE);
	put_id(f, "  uuid", p->uuid);
	fprintf(f, "\n  version %u\n  compat %#x ro_compat %#x incompat %#x\n", p->version,
		p->compat, p->ro_compat, p->incompat);
	fprintf(f, "  seq %" PRIu64 "\n  generation %" PRIu64 "\n  pages %" PRIu64 "\n", p->seq,
		p->generation, p->page_cnt);
	fprintf(f, "  journal pages %" PRIu64 " + %" PRIu64 "\n  root page %" PRIu64 "\n",
		p->journal_page, p->journal_page_cnt, p->root_page);
	fprintf(f, "  ctime %" PRIu64 "\n", p->ctime);
	put_id(f, "  boot", p->boot_id);
	fprintf(f, "\n  dev %" PRIu64 " ino %" PRIu64 "\n  sum %016" PRIx64 "\n", p->dev, p->ino,
		p->sum);
}

static void show_root(FILE *f, const struct twz_root_pm *p)
{
	fprintf(f,
		"root\n  pages %" PRIu64 "\n  free pages %" PRIu64 "\n  meta pages %" PRIu64 "\n",
		p->page_cnt, p->free_cnt, p->meta_cnt);
	fprintf(f, "  objects %" PRIu64 "\n  deleted %" PRIu64 "\n  buckets %" PRIu64 "\n",
		p->obj_cnt, p->deleted_cnt, p->bucket_cnt);
	fprintf(f, "  pending %u", p->pend_kind);
	put_id(f, "", p->pend_id);
	fprintf(f, "\n  sum %016" PRIx64 "\n", p->sum);
}

static void show_runs(FILE *f, const char *name, const u64 *run, u32 cnt)
{
	fprintf(f, "  %s", name);
	for (u32 i = 0; i < cnt; i++)
		fprintf(f, " %" PRIu64 "+%" PRIu64, run[i], i ? (u64)1 << (i - 1) : 1);
	fputc('\n', f);
}

static void show_layout(FILE *f, const struct twz_layout_pm *p)
{
	fprintf(f, "layout\n");
	show_runs(f, "map pages", p->map_run, p->map_run_cnt);
	show_runs(f, "bucket pages", p->bucket_run, p->bucket_run_cnt);
	fprintf(f, "  sum %016" PRIx64 "\n", p->sum);
}

static void show_jctl(FILE *f, u64 word)
{
	fprintf(f, "journal\n  tail lsn %" PRIu64 " check %04x\n", (word >> 16) * 8,
		(unsigned int)(word & 0xffff));
}

static void show_record(FILE *f, const struct twz_jrec_pm *p)
{
	fprintf(f, "  record lsn %" PRIu64 " kind %s items %u len %u total %u", p->lsn,
		p->kind == TWZC_REC_PAD ? "pad" : "change", p->item_cnt, p->len, p->total);
	fprintf(f, " generation %" PRIu64 " prev_sum %016" PRIx64 " sum %016" PRIx64 "\n",
		p->generation, p->prev_sum, p->sum);
}

/* Pages in use as runs "first-last" of page numbers in the chunk. */
static void show_map(FILE *f, const u64 map[8])
{
	u32 from = 0;

	for (u32 p = 0; p <= TWZC_CHUNK_PAGES; p++) {
		if (p < TWZC_CHUNK_PAGES && map[p / 64] >> p % 64 & 1)
			continue;
		if (p > from)
			fprintf(f, p == from + 1 ? " %u" : " %u-%u", from, p - 1);
		from = p + 1;
	}
}

static void show_chunk(FILE *f, u64 off, const struct twz_chunk_pm *p)
{
	fprintf(f, "chunk %" PRIu64 " kind %s refs %u used %u fresh %u sum %016" PRIx64 " pages",
		off / TWZC_PAGE / TWZC_CHUNK_PAGES, p->kind == TWZC_CHUNK_WHOLE ? "whole" : "paged",
		p->refs, p->used_cnt, p->fresh, p->sum);
	show_map(f, p->map);
	fputc('\n', f);
}

static void show_bucket(FILE *f, u64 off, const struct twz_bucket_pm *p)
{
	fprintf(f, "bucket %" PRIu64 " page %" PRIu64 " depth %u used %#x next %" PRIu64, p->bucket,
		off / TWZC_PAGE, p->depth, p->used, p->next);
	fprintf(f, " sum %016" PRIx64 "\n", p->sum);
}

static void show_entry(FILE *f, u64 off, const struct twz_entry_pm *p)
{
	static const char *const states[] = {"?", "building", "live", "deleted"};

	fprintf(f, "  entry at %" PRIu64, off);
	put_id(f, " id", p->id);
	fprintf(f, " state %s len %" PRIu64 " kind %u flags %#x layout %u", states[p->state & 3],
		p->len, p->kind, p->flags, p->layout);
	fprintf(f, " extents %u fot_pages %u links %u pages %" PRIu64 " ext_pages", p->extent_cnt,
		p->fot_page_cnt, p->links, p->page_cnt);
	for (u32 i = 0; i < TWZC_EXT_PAGES && p->ext_page[i]; i++)
		fprintf(f, " %" PRIu64, p->ext_page[i]);
	fprintf(f, " ctime %" PRIu64 " sum %016" PRIx64 "\n", p->ctime, p->sum);
}

static void show(void *ctx, u32 kind, u64 off, const void *pm)
{
	const struct twz_extblock_pm *b = pm;
	const struct twz_extent_pm *x = pm;
	const struct twz_jitem_pm *it = pm;
	FILE *f = ctx;

	switch (kind) {
	case TWZC_SHOW_SUPER:
		show_super(f, off, pm);
		break;
	case TWZC_SHOW_ROOT:
		show_root(f, pm);
		break;
	case TWZC_SHOW_LAYOUT:
		show_layout(f, pm);
		break;
	case TWZC_SHOW_JCTL:
		show_jctl(f, *(const u64 *)pm);
		break;
	case TWZC_SHOW_RECORD:
		show_record(f, pm);
		break;
	case TWZC_SHOW_ITEM:
		fprintf(f, "    item off %" PRIu64 " len %u\n", it->off, it->len);
		break;
	case TWZC_SHOW_CHUNK:
		show_chunk(f, off, pm);
		break;
	case TWZC_SHOW_BUCKET:
		show_bucket(f, off, pm);
		break;
	case TWZC_SHOW_ENTRY:
		show_entry(f, off, pm);
		break;
	case TWZC_SHOW_EXTENT:
		fprintf(f, "    extent slot page %u count %u file page %" PRIu64 "\n", x->slot_page,
			x->cnt, x->file_page);
		break;
	case TWZC_SHOW_EXTBLOCK:
		fprintf(f, "    extent block %u at %" PRIu64 " sum %016" PRIx64 "\n", b->idx, off,
			b->sum);
	}
}

static void damaged(void *ctx, const char *where, const char *what, u64 a, u64 b)
{
	fprintf(ctx, "damaged: %s: rule '%s' (%#" PRIx64 ", %#" PRIx64 ")\n", where, what, a, b);
}

int twz__dump_core(struct twz__dumper *d)
{
	struct twzc_dump to = {show, damaged, d->f};
	u32 parts = TWZC_DUMP_HEAD;
	int rc = twz__meta_lock(d->s);

	if (rc)
		return rc;
	if (d->flags & TWZ_DUMP_JOURNAL)
		parts |= TWZC_DUMP_JOURNAL;
	if (d->flags & TWZ_DUMP_SPACE)
		parts |= TWZC_DUMP_MAP;
	if (d->flags & TWZ_DUMP_TABLE)
		parts |= TWZC_DUMP_TABLE;
	rc = twzc_dump(&d->s->core, parts, &to);
	twz__meta_unlock(d->s);
	return rc;
}
