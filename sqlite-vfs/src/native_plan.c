/* SPDX-License-Identifier: MIT
 * native_plan.c -- xBestIndex: which key or index, and what it will cost
 *
 * Every way is looked at: the key and each index, as far as equalities go and one range, LIKE or GLOB behind
 * them. Costs are in rows touched in the order of the key; a row found by an index costs a
 * search. Sizes are the engine's estimate for the very values, where they are known.
 */
#include <math.h>

#include "native_range.h"

#define COST_SEEK  2.0 /* to the first row, for a thousand rows; grows with the logarithm */
#define COST_INDEX 4.0 /* a row by its key from an index entry, in rows of a scan */
#define PARTS_MAX  64

struct way {
	int path;
	int eq;			 /* parts bound by = */
	int cnt;		 /* values for xFilter */
	int term[PARTS_MAX + 2]; /* constraint of each */
	char str[PARTS_MAX + 3];
	bool exact[PARTS_MAX + 2]; /* SQLite need not look again */
	bool inexact;		   /* one of them it must look at */
	bool unique;		   /* one row at most */
	bool ordered, down;
	double rows, cost;
};

struct planner {
	struct native *n;
	sqlite3_index_info *info;
	double total; /* rows of the table */
	struct twzdb_txn *tx;
};

static const struct nkey *key_of(const struct ndecl *d, int path)
{
	return path ? &d->index[path - 1] : &d->key;
}

static bool same_col(const struct ndecl *d, int a, int b)
{
	return (a < 0 ? d->ipk : a) == (b < 0 ? d->ipk : b) && (a >= 0 || b >= 0 || a == b);
}

static bool same_collation(struct planner *p, int term, const struct npart *part)
{
	static const char *const name[] = {"BINARY", "NOCASE", "RTRIM"};
	const char *c = part->col < 0 ? "BINARY" : sqlite3_vtab_collation(p->info, term);

	return part->col == p->n->d->ipk || (c && !sqlite3_stricmp(c, name[part->coll]));
}

static char letter(int op)
{
	switch (op) {
	case SQLITE_INDEX_CONSTRAINT_EQ:
		return 'e';
	case SQLITE_INDEX_CONSTRAINT_IS:
	case SQLITE_INDEX_CONSTRAINT_ISNULL:
		return 'i';
	case SQLITE_INDEX_CONSTRAINT_GT:
		return '>';
	case SQLITE_INDEX_CONSTRAINT_GE:
		return 'g';
	case SQLITE_INDEX_CONSTRAINT_LT:
		return '<';
	case SQLITE_INDEX_CONSTRAINT_LE:
		return 'l';
	case SQLITE_INDEX_CONSTRAINT_LIKE:
		return 'k';
	case SQLITE_INDEX_CONSTRAINT_GLOB:
		return 'b';
	default:
		return 0;
	}
}

/* LIKE where the part is compared without case, GLOB where with it; both of texts, upwards. */
static bool pattern_fits(const struct ndecl *d, const struct npart *part, char op)
{
	return part->col >= 0 && d->col[part->col].aff == AFF_TEXT && !part->desc &&
	       part->coll == (op == 'k' ? COLL_NOCASE : COLL_BINARY);
}

/* A usable constraint on PART whose letter is one of OPS, or -1. */
static int find(struct planner *p, const struct npart *part, const char *ops)
{
	for (int i = 0; i < p->info->nConstraint; i++) {
		const struct sqlite3_index_constraint *c = &p->info->aConstraint[i];
		char op = c->usable ? letter(c->op) : 0;

		if (!op || !strchr(ops, op) || !same_col(p->n->d, c->iColumn, part->col))
			continue;
		if (op == 'k' || op == 'b' ? pattern_fits(p->n->d, part, op)
					   : same_collation(p, i, part))
			return i;
	}
	return -1;
}

static void use(struct planner *p, struct way *w, const struct npart *part, int term)
{
	char op = letter(p->info->aConstraint[term].op);
	int col = part->col < 0 ? p->n->d->ipk : part->col;

	w->term[w->cnt] = term;
	w->str[w->cnt] = op;
	/*
	 * The range of a numeric column is exact (native_range.c), if it is used: behind a value
	 * that turns out not to be, it is not.
	 */
	w->exact[w->cnt] = !w->inexact && op != 'k' && op != 'b' &&
			   (part->col < 0 || p->n->d->col[col].aff >= AFF_NUMERIC);
	w->inexact |= !w->exact[w->cnt];
	w->cnt++;
	w->str[w->cnt] = '\0';
}

static void match(struct planner *p, struct way *w)
{
	const struct nkey *k = key_of(p->n->d, w->path);
	int term = -1;

	while (w->eq < k->cnt && w->eq < PARTS_MAX && (term = find(p, &k->part[w->eq], "ei")) >= 0)
		use(p, w, &k->part[w->eq++], term);
	w->unique = w->eq == k->cnt && k->unique && !strchr(w->str, 'i');
	if (w->eq == k->cnt || w->eq == PARTS_MAX)
		return;
	/*
	 * First of all the pattern: of a constant one SQLite makes a range itself, which has no blobs,
	 * and LIKE and GLOB find blobs.
	 */
	term = find(p, &k->part[w->eq], "kb");
	if (term >= 0) {
		use(p, w, &k->part[w->eq], term);
		return;
	}
	term = find(p, &k->part[w->eq], ">g");
	if (term >= 0)
		use(p, w, &k->part[w->eq], term);
	term = find(p, &k->part[w->eq], "<l");
	if (term >= 0)
		use(p, w, &k->part[w->eq], term);
}

/* --- order --- */

/* Part I of the order rows come in by K: behind an index's own parts, those of the row's key. */
static const struct npart *order_part(const struct ndecl *d, const struct nkey *k, int i)
{
	if (i < k->cnt)
		return &k->part[i];
	i -= k->cnt;
	return k != &d->key && i < d->key.cnt ? &d->key.part[i] : NULL;
}

static bool is_bound(const struct ndecl *d, const struct nkey *k, const struct way *w, int col)
{
	for (int i = 0; i < w->eq; i++)
		if (same_col(d, k->part[i].col, col))
			return true;
	return false;
}

static bool natural(const struct ndecl *d, const struct npart *part)
{
	return part->col < 0 || part->col == d->ipk || d->col[part->col].coll == part->coll;
}

static void match_order(struct planner *p, struct way *w)
{
	const struct ndecl *d = p->n->d;
	const struct nkey *k = key_of(d, w->path);
	int at = w->eq, dir = -1;

	w->ordered = true;
	if (w->unique)
		return;
	for (int i = 0; i < p->info->nOrderBy; i++) {
		const struct npart *part;
		int col = p->info->aOrderBy[i].iColumn, desc;

		if (is_bound(d, k, w, col))
			continue;
		/* What = has bound in an index is bound in the row's key behind it, too. */
		while ((part = order_part(d, k, at)) && at >= k->cnt &&
		       is_bound(d, k, w, part->col))
			at++;
		if (!part)
			break; /* the whole key has been named: no two rows are equal in it */
		desc = p->info->aOrderBy[i].desc != part->desc;
		if (!same_col(d, part->col, col) || !natural(d, part) ||
		    (dir >= 0 && dir != desc)) {
			w->ordered = false;
			return;
		}
		dir = desc;
		at++;
	}
	w->down = dir == 1;
}

/* --- costs --- */

/* Rows in the ranges of the values themselves; < 0: some of them are not known yet. */
static double measure(struct planner *p, const struct way *w)
{
	struct native *n = p->n;
	sqlite3_value *v[PARTS_MAX + 2];
	struct nranges r;
	double sum = 0;
	int err;

	if (!p->tx || !w->cnt)
		return -1;
	for (int i = 0; i < w->cnt; i++)
		if (sqlite3_vtab_rhs_value(p->info, w->term[i], &v[i]) != SQLITE_OK)
			return -1;
	twzvfs__ranges_init(&r);
	err = twzvfs__ranges_make(n, w->path, w->str, w->cnt, v, &r);
	for (int i = 0; i < r.cnt && !err; i++) {
		struct twzdb_slice end = {NULL, 0};
		uint64_t rows = 0;

		if (!r.r[i].open)
			end = nbuf_slice(&r.r[i].hi);
		err = twzdb_estimate(p->tx, w->path ? n->index[w->path - 1] : n->rows,
				     nbuf_slice(&r.r[i].lo), end, &rows);
		sum += (double)rows;
	}
	twzvfs__ranges_free(&r);
	return err ? -1 : sum;
}

/* Without the values, as SQLite guesses without statistics. */
static double guess(const struct planner *p, const struct way *w)
{
	double rows = p->total;

	if (w->eq)
		rows = rows < 10 ? rows : 10;
	for (int i = w->eq; i < w->cnt; i++)
		rows /= strchr("kb", w->str[i]) ? 8 : 4;
	return rows;
}

static void price(struct planner *p, struct way *w)
{
	double levels = log2(p->total + 2) / 10;

	w->rows = w->unique ? 1 : measure(p, w);
	if (w->rows < 0)
		w->rows = guess(p, w);
	if (w->rows < 1)
		w->rows = 1;
	w->cost = COST_SEEK * levels + w->rows * (w->path ? COST_INDEX * (1 + levels) : 1);
	/* A scan of the table is never cheaper than what it reads. */
	if (!w->cnt && !w->path)
		w->cost = COST_SEEK + p->total;
}

/* What SQLite will add for sorting. */
static double with_sort(const struct planner *p, const struct way *w)
{
	bool sort = p->info->nOrderBy && !w->ordered;

	return w->cost + (sort ? w->rows * log2(w->rows + 2) / 2 : 0);
}

/* --- the answer --- */

static int answer(struct planner *p, const struct way *w)
{
	sqlite3_index_info *info = p->info;

	for (int i = 0; i < w->cnt; i++) {
		info->aConstraintUsage[w->term[i]].argvIndex = i + 1;
		info->aConstraintUsage[w->term[i]].omit = w->exact[i];
	}
	info->idxNum = w->path | (w->down && w->ordered && info->nOrderBy ? PLAN_DOWN : 0);
	info->idxNum |= w->unique ? PLAN_UNIQUE : 0;
	info->orderByConsumed = info->nOrderBy && w->ordered;
	info->estimatedCost = w->cost;
	info->estimatedRows = (sqlite3_int64)w->rows;
	if (w->unique)
		info->idxFlags |= SQLITE_INDEX_SCAN_UNIQUE;
	info->idxStr = sqlite3_mprintf("%s", w->str);
	info->needToFreeIdxStr = 1;
	return info->idxStr ? SQLITE_OK : SQLITE_NOMEM;
}

int twzvfs__plan(sqlite3_vtab *vtab, sqlite3_index_info *info)
{
	struct native *n = (struct native *)vtab;
	struct planner p = {.n = n, .info = info};
	struct twzdb_slice all = {NULL, 0};
	uint64_t total = 0;
	struct way best, w;
	bool own = false;

	/* A table that cannot be read can be planned for: the reading will say so. */
	if (twzvfs__native_reader(n, &p.tx, &own) || twzvfs__native_tables(n, p.tx) ||
	    twzdb_estimate(p.tx, n->rows, all, all, &total)) {
		if (own)
			twzdb_abort(p.tx);
		p.tx = NULL;
		own = false;
	}
	p.total = (double)total;
	best.cost = -1;
	for (int i = 0; i <= n->d->index_cnt; i++) {
		memset(&w, 0, sizeof(w));
		w.path = i;
		match(&p, &w);
		match_order(&p, &w);
		if (i && !w.cnt && !(info->nOrderBy && w.ordered))
			continue;
		price(&p, &w);
		if (best.cost < 0 || with_sort(&p, &w) < with_sort(&p, &best))
			best = w;
	}
	if (own)
		twzdb_abort(p.tx);
	return answer(&p, &best);
}
