/* SPDX-License-Identifier: MIT
 * bulk.c -- many rows put by one call: the ways to their leaves are gone together
 *
 * A row put costs the cache misses of its way down, one after the other, because each node says where the next one is. So up to
 * GROUP ways are gone at the same time, level by level: what one way waits for is asked for while the others are
 * looked at. Then the rows are put one by one. A leaf found is still the row's while that leaf has not been split, and
 * no node merged; otherwise the row is put as if it came alone, and what it needs is in the cache.
 */
#include "place.h"

#define GROUP 16

struct job {
	struct place w;
	struct stop s;
	/* as far as the way has come; NULL: not this way, and w.leaf is 0 unless that leaf was split */
	const struct node_pm *n;
	unsigned level;
};

static bool lose(struct job *j)
{
	j->n = NULL;
	j->w.leaf = 0;
	return false;
}

/* One level down, or arrived at the leaf, or lost. True: go on. */
static bool step(struct twzdb_txn *tx, struct job *j)
{
	const struct node_pm *home;

	if (!arrive(j->n, &j->s) || HDR_LEVEL(j->s.hdr) != j->level)
		return lose(j);
	if (!j->level)
		return false;
	j->w.leaf = child_of(&j->s, j->w.k);
	home = node_at(tx->db, j->w.leaf);
	if (!j->w.leaf || !home)
		return lose(j);
	j->level--;
	fetch_node(home);
	if (!j->level)
		fetch_ptrs(home, true);
	j->n = writer_node(tx, j->w.leaf, j->level);
	return j->n ? true : lose(j);
}

/* The row that may have the key already: only asked for. */
static void fetch_old(struct twzdb *db, const struct job *j)
{
	uint32_t slots = j->n ? slots_of(&j->s, j->w.k) : 0;

	if (slots)
		fetch_rec(db, ld64(&j->n->ptr[__builtin_ctz(slots)]));
}

static void go_down(struct twzdb_txn *tx, uint64_t root, struct job *j, unsigned n)
{
	const struct pnode *pn = tx->levels ? twzdb__node_private(tx, root) : NULL;
	const struct node_pm *top = pn ? &pn->img : node_at(tx->db, root);
	struct stop s = {NULL, 0};
	bool on;

	if (top && (!arrive(top, &s) || HDR_LEVEL(s.hdr) > TWZDB_LEVEL_MAX))
		top = NULL;
	for (unsigned i = 0; i < n; i++) {
		j[i].w.leaf = top ? root : 0;
		j[i].n = top;
		j[i].level = top ? HDR_LEVEL(s.hdr) : 0;
	}
	do {
		on = false;
		for (unsigned i = 0; i < n; i++)
			on |= j[i].n && step(tx, &j[i]);
	} while (on);
	for (unsigned i = 0; i < n; i++)
		fetch_old(tx->db, &j[i]);
}

/* Do rows with these flags, beginning with FIRST, have no ways to go? */
static bool no_ways(struct twzdb_txn *tx, uint64_t table, struct bkey first, uint32_t flags)
{
	return flags & TWZDB_APPEND || twzdb__tail_takes(tx, table, first);
}

/* Putting the row of J[0] has split or merged nodes: which of the N - 1 rows behind it are still where they were? */
static void look_again(struct twzdb_txn *tx, struct job *j, unsigned n, uint64_t merges)
{
	for (unsigned i = 1; i < n; i++)
		if (tx->merges != merges || !j[0].w.leaf || j[i].w.leaf == j[0].w.leaf)
			j[i].n = NULL;
}

static int put_group(struct twzdb_txn *tx, uint64_t table, struct job *j, unsigned n,
		     const struct twzdb_slice *values, uint32_t flags, size_t *done)
{
	uint64_t root = 0;
	int err = 0;

	if (n > 1 && !no_ways(tx, table, j[0].w.k, flags))
		root = twzdb__table_root(tx, table, &err); /* an error will come again */
	if (root)
		go_down(tx, root, j, n);
	err = 0;
	for (unsigned i = 0; i < n && !err; i++) {
		uint64_t splits = tx->splits, merges = tx->merges;

		err = root && j[i].n ? twzdb__put_at(tx, table, &j[i].w, values[i], flags) : 1;
		if (err > 0)
			err = twzdb__put_row(tx, table, j[i].w.k, values[i], flags);
		if (root && (tx->splits != splits || tx->merges != merges))
			look_again(tx, j + i, n - i, merges);
		*done += !err;
	}
	return err;
}

int twzdb__put_rows(struct twzdb_txn *tx, uint64_t table, size_t cnt,
		    const struct twzdb_slice *keys, const struct twzdb_slice *values,
		    uint32_t flags, size_t *done)
{
	struct job j[GROUP];
	int err = 0;

	for (size_t i = 0, got; i < cnt && !err;) {
		unsigned n;

		got = 0;
		err = twzdb__append_rows(tx, table, keys + i, values + i, cnt - i, flags, &got);
		*done += got;
		i += got;
		/* A row behind the last one shows where the others go. */
		n = flags & TWZDB_APPEND ? 1 : GROUP;
		n = cnt - i < n ? (unsigned)(cnt - i) : n;
		if (err || !n)
			break;
		for (unsigned k = 0; k < n; k++) {
			const struct twzdb_slice *s = &keys[i + k];

			j[k].w.k =
				(struct bkey){s->ptr ? s->ptr : (const void *)"", (uint32_t)s->len};
		}
		err = put_group(tx, table, j, n, values + i, flags, done);
		i += n;
	}
	return err;
}
