/* SPDX-License-Identifier: MIT
 * dump.c -- a database as text: root, tables, nodes, log records
 */
#include "apply.h"
#include "group.h"

#include <ctype.h>
#include <inttypes.h>

#define SHOW_MAX 24 /* bytes of a key shown */

struct dump {
	struct twzdb *db;
	struct twzdb_txn *tx;
	uint32_t flags;
	FILE *f;
};

static void show_bytes(FILE *f, struct bkey k)
{
	fputc('"', f);
	for (uint32_t i = 0; i < k.len && i < SHOW_MAX; i++) {
		if (isprint(k.p[i]) && k.p[i] != '"' && k.p[i] != '\\')
			fputc(k.p[i], f);
		else
			fprintf(f, "\\x%02x", k.p[i]);
	}
	fprintf(f, "\"%s", k.len > SHOW_MAX ? ".." : "");
}

static void show_ptr(FILE *f, const char *what, uint64_t p)
{
	if (p)
		fprintf(f, " %s=%" PRIu64 ":0x%" PRIx64, what, p >> TWZ_PPTR_OFF_BITS,
			p & TWZ_PPTR_OFF_MASK);
	else
		fprintf(f, " %s=-", what);
}

static void dump_root(const struct dump *d)
{
	const struct db_pm *r = d->db->root;

	fprintf(d->f,
		"database '%s' id=%016" PRIx64 "%016" PRIx64
		" version=%u compat=0x%x ro_compat=0x%x incompat=0x%x sum=0x%08x\n",
		d->db->name, r->id[0], r->id[1], r->version, r->compat, r->ro_compat, r->incompat,
		r->sum);
	fprintf(d->f,
		"  log=%016" PRIx64 "%016" PRIx64 " ctime=%" PRIu64 " ts=%" PRIu64
		" objects=%" PRIu64 " next_table=%" PRIu64 "\n",
		r->log[0], r->log[1], r->ctime, r->ts, r->obj_cnt, r->next_table);
	for (uint64_t i = 0; i < r->obj_cnt && i < TWZDB_OBJ_MAX; i++)
		fprintf(d->f, "  data object %" PRIu64 ": %" PRIu64 " units in use\n",
			i + TWZDB_NO_DATA, r->units[i]);
}

static void dump_rec(const struct dump *d, uint64_t p)
{
	static const char *const kinds[] = {"row", "tombstone", "fence", "table"};
	const struct rec_pm *r;

	fputs("      ", d->f);
	show_ptr(d->f, "rec", p);
	if (twzdb__rec_at(d->db, p, &r)) {
		fputs(" (out of range)\n", d->f);
		return;
	}
	fprintf(d->f, " ts=%" PRIu64 " %s%s vlen=%u", r->ts, kinds[rec_kind(r)],
		rec_is_live(r) ? "" : " (not live)", rec_vlen(r));
	if (rec_is_long(r))
		fprintf(d->f, " klen=%u", rec_klen(r));
	fputs(" key=", d->f);
	show_bytes(d->f, rec_bkey(r));
	show_ptr(d->f, "prev", r->prev);
	fputc('\n', d->f);
}

static void dump_node(const struct dump *d, uint64_t p, int level)
{
	struct nref r;
	struct bkey lo = {0};

	if (d->tx->steps++ > twzdb__node_limit(d->db))
		return; /* nodes are reached again and again (D10) */
	if (twzdb__node_get(d->tx, p, level, &r)) {
		fprintf(d->f, "    node 0x%" PRIx64 ": unreadable: %s\n", p, twzdb_errmsg());
		return;
	}
	fprintf(d->f,
		"    node %" PRIu64 ":0x%" PRIx64 " level=%u n=%u pfx=%u ver=%u sts=%" PRIu64
		" flags=0x%x tombs=%u",
		p >> TWZ_PPTR_OFF_BITS, p & TWZ_PPTR_OFF_MASK, r.n->level, r.n->n, node_pfx(r.n),
		r.n->ver, r.n->sts, r.n->flags, r.n->tombs);
	show_ptr(d->f, "next", r.n->next);
	fputs(" low=", d->f);
	if (!twzdb__fence_key(d->tx, r.n->lof, &lo))
		show_bytes(d->f, lo);
	fputc('\n', d->f);
	for (unsigned i = 0; i < r.n->n; i++) {
		int slot = node_slot(r.n, i);

		if (slot < 0)
			continue;
		if (r.n->level)
			dump_node(d, r.n->ptr[slot], r.n->level - 1);
		else
			dump_rec(d, r.n->ptr[slot]);
	}
}

static int dump_table(void *ctx, const char *name, uint64_t rows)
{
	const struct dump *d = ctx;
	const struct table_pm *t;
	struct twzdb_table h;

	fprintf(d->f, "  table '%s' rows=%" PRIu64, name, rows);
	if (twzdb_table_open(d->tx, name, TWZDB_TABLE_ANY, &h)) {
		fprintf(d->f, " unreadable: %s\n", twzdb_errmsg());
		return 0;
	}
	t = twzdb__table_at(d->db, h.h);
	fprintf(d->f, " id=%" PRIu64 "%s%s", TWZDB_TABLE_NO(t->id),
		TWZDB_TABLE_KIND(t->id) & TWZDB_TABLE_INTKEY ? " INTKEY" : "",
		TWZDB_TABLE_KIND(t->id) & TWZDB_TABLE_DUPSORT ? " DUPSORT" : "");
	show_ptr(d->f, "anchor", h.h);
	show_ptr(d->f, "root", t->root);
	fputc('\n', d->f);
	d->tx->steps = 0;
	if (d->flags & TWZDB_DUMP_NODES && t->root)
		dump_node(d, t->root, -1);
	return 0;
}

static const char *item_name(unsigned type)
{
	static const char *const names[] = {
		"?",	    "UNIT",	 "NODE_NEW",  "NODE_WR",  "REC_LIVE", "REC_FULL", "WORD",
		"REC_DEAD", "NODE_DEAD", "NODE_DROP", "UNIT_CUT", "REC_RUN",  "REC_DIFF"};

	return type < sizeof(names) / sizeof(names[0]) ? names[type] : "?";
}

static void dump_diff(const struct dump *d, const struct diff *f)
{
	show_ptr(d->f, "base", f->base);
	fprintf(d->f, " ranges=%" PRIu64, f->len);
}

static void dump_one(const struct dump *d, const struct lone_pm *l, size_t len)
{
	const struct diff f = twzdb__diff_lone(l, len);

	static const char *const kinds[] = {"UPD1", "DEL1", "INS1"};

	fprintf(d->f, " kind=%s ts=%" PRIu64, kinds[lone_kind(l) - TWZDB_LREC_UPD1], l->ts);
	show_ptr(d->f, "leaf", l->leaf & TWZDB_LONE_PTR);
	fprintf(d->f, " slot=%u", (unsigned)(l->leaf >> TWZDB_LONE_SHIFT));
	show_ptr(d->f, "rec", l->rec & TWZDB_LONE_PTR);
	if (lone_kind(l) == TWZDB_LREC_INS1)
		fprintf(d->f, " n=%u", l->ins.n);
	else
		show_ptr(d->f, "old", lone_old(l));
	if (lone_is_diff(l))
		dump_diff(d, &f);
	fputc('\n', d->f);
}

static void dump_group(const struct dump *d, const struct group_pm *g)
{
	static const char *const kinds[] = {"PREPARE", "RESOLVED", "DROPPED"};

	fprintf(d->f,
		" kind=%s ts=%" PRIu64 " group=%016" PRIx64 "%016" PRIx64 " off=0x%" PRIx64
		" len=%" PRIu64 "\n",
		kinds[g->kind - TWZDB_LREC_PREPARE], g->ts, g->group[0], g->group[1], g->what.off,
		g->what.len);
}

/* What waits for another database's decision. */
static void dump_prepared(const struct dump *d)
{
	const struct prep_pm *p;
	char *path, *name;

	if (twzdb__prep_get(d->db, &p)) {
		fprintf(d->f, "  prepared: unreadable: %s\n", twzdb_errmsg());
		return;
	}
	if (!p || twzdb__prep_names(p, &path, &name))
		return;
	fprintf(d->f,
		"  prepared: group=%016" PRIx64 "%016" PRIx64 " len=%" PRIu64
		" waits for database '%s' %016" PRIx64 "%016" PRIx64 " of %s\n",
		p->group[0], p->group[1], p->len, name, p->coordinator[0], p->coordinator[1], path);
	free(path);
	free(name);
}

static int dump_lrec(void *ctx, uint64_t lsn, const void *rec, size_t len)
{
	const struct dump *d = ctx;
	const struct lrec_pm *l = rec;
	const struct item_pm *it;
	const void *payload;
	uint64_t pos = 0;

	fprintf(d->f, "  log record lsn=%" PRIu64 " len=%zu", lsn, len);
	if (twzdb__lrec_check(d->db, rec, len)) {
		fprintf(d->f, " invalid: %s\n", twzdb_errmsg());
		return 0;
	}
	if (twzdb__is_one(rec, len)) {
		dump_one(d, rec, len);
		return 0;
	}
	if (twzdb__is_group(rec, len)) {
		dump_group(d, rec);
		return 0;
	}
	fprintf(d->f, " kind=%s ts=%" PRIu64 " items=%" PRIu64 "\n",
		l->kind == TWZDB_LREC_COMMIT ? "COMMIT" : "SPACE", l->ts, l->item_cnt);
	while (twzdb__item_next(rec, &pos, &it, &payload)) {
		fprintf(d->f, "    %s", item_name(it->type));
		show_ptr(d->f, "where", it->where);
		fprintf(d->f, " len=%u", it->len);
		if (it->type == TWZDB_IT_REC_DIFF) {
			const struct diff f = twzdb__diff_item(it, payload, l->ts);

			dump_diff(d, &f);
		}
		fputc('\n', d->f);
	}
	return 0;
}

/* Under the writer lock, so that a line and the next one fit together. */
int twzdb_dump(struct twzdb *db, uint32_t flags, void *file)
{
	struct dump d = {.db = db, .flags = flags, .f = file};
	int err;

	if (!db || !file)
		return twzdb__err(TWZDB_E_INVAL, "dump: no database, or no file");
	err = twzdb__begin_look(db, "dump", &d.tx);
	if (err)
		return err;
	dump_root(&d);
	dump_prepared(&d);
	if (flags & (TWZDB_DUMP_TABLES | TWZDB_DUMP_NODES))
		err = twzdb_table_list(d.tx, dump_table, &d);
	if (!err && flags & TWZDB_DUMP_LOG)
		err = twz_log_walk(db->log, dump_lrec, &d);
	twzdb_abort(d.tx);
	return err;
}
