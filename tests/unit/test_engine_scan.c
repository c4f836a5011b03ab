/* SPDX-License-Identifier: MIT
 * test_engine_scan.c -- a reader's cursor going forward (scan.c), while the leaves under it change
 */
#include "../../engine/src/internal.h"
#include "engine_t.h"

#include <stdlib.h>

#define ROWS	 3000
#define NO_VALUE UINT64_MAX

/* --- a table, and what it should hold --- */

struct world {
	struct twzdb *db;
	struct twzdb_table t;
	uint64_t now[2 * ROWS]; /* number of each key's value, or NO_VALUE */
};

static int open_world(struct world *w, enum et_media m, const char *name)
{
	struct twzdb_txn *tx;
	int err = et_open(et_path(m, name), &w->db);

	if (T_OK(err) || T_OK(twzdb_begin(w->db, 0, &tx)))
		return -1;
	T_OK(twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &w->t));
	for (uint64_t i = 0; i < 2 * ROWS; i++) {
		w->now[i] = i % 2 ? NO_VALUE : i;
		if (!(i % 2))
			T_OK(twzdb_put(tx, w->t, et_key(i), et_val(i, 30 + i % 90), 0));
	}
	return T_OK(twzdb_commit(tx)) ? -1 : 0;
}

/* Puts, overwrites and deletes CNT keys from FROM on, one or all in a transaction. */
static void disturb(struct world *w, uint64_t from, uint64_t cnt)
{
	struct twzdb_txn *tx = NULL;
	bool together = t_rand_below(2);

	if (together)
		T_OK(twzdb_begin(w->db, 0, &tx));
	for (uint64_t i = from; i < from + cnt && i < 2 * ROWS; i++) {
		uint64_t value = t_rand_below(1 << 20);
		bool del = !t_rand_below(3);
		int err;

		if (!together)
			T_OK(twzdb_begin(w->db, 0, &tx));
		if (del)
			err = twzdb_del(tx, w->t, et_key(i));
		else
			err = twzdb_put(tx, w->t, et_key(i), et_val(value, 30 + value % 90), 0);
		if (del && w->now[i] == NO_VALUE)
			T_TRUE(err == TWZDB_E_NOTFOUND);
		else
			T_OK(err);
		w->now[i] = del ? NO_VALUE : value;
		if (!together)
			T_OK(twzdb_commit(tx));
	}
	if (together)
		T_OK(twzdb_commit(tx));
}

static bool is_row(uint64_t i, uint64_t value, struct twzdb_slice k, struct twzdb_slice v)
{
	return et_same(k, et_key(i)) && et_same(v, et_val(value, 30 + value % 90));
}

/* From key FROM on CNT rows (0: to the end), as SEEN has them, while everything around changes. */
static bool scan(struct world *w, struct twzdb_cursor *c, const uint64_t *seen, uint64_t from,
		 uint64_t cnt, bool calm)
{
	struct twzdb_slice k = et_key(from), v;
	int err = twzdb_cursor_get(c, TWZDB_SEEK_GE, &k, &v);
	uint64_t i = from, n = 0;

	for (;;) {
		while (i < 2 * ROWS && seen[i] == NO_VALUE)
			i++;
		if (i == 2 * ROWS)
			return T_TRUE(err == TWZDB_E_NOTFOUND);
		if (T_OK(err) || !T_TRUE(is_row(i, seen[i], k, v)))
			return false;
		if (++n == cnt)
			return true;
		if (!calm && !t_rand_below(40))
			disturb(w, i > 20 ? i - t_rand_below(20) : i, t_rand_below(60));
		i++;
		err = twzdb_cursor_get(c, TWZDB_NEXT, &k, &v);
	}
}

static bool one_reader(struct world *w, bool calm)
{
	static uint64_t seen[2 * ROWS];
	struct twzdb_cursor *c;
	struct twzdb_txn *rd;
	bool ok = true;

	if (T_OK(twzdb_begin(w->db, TWZDB_RDONLY, &rd)) || T_OK(twzdb_cursor_open(rd, w->t, &c)))
		return false;
	memcpy(seen, w->now, sizeof(seen));
	for (int i = 0; i < 12 && ok; i++) {
		/* of one length twice and three times: then the cursor expects it */
		uint64_t cnt = i % 4 == 3 ? t_rand_below(300) : (uint64_t)(i / 4 * 17 + 1);

		ok = scan(w, c, seen, t_rand_below(2 * ROWS), cnt, calm);
		if (!t_rand_below(3)) { /* another snapshot, with the same cursor */
			twzdb_reset(rd);
			if (!calm && t_rand_below(2))
				disturb(w, t_rand_below(2 * ROWS), t_rand_below(200));
			T_OK(twzdb_renew(rd));
			memcpy(seen, w->now, sizeof(seen));
		}
	}
	twzdb_cursor_close(c);
	twzdb_abort(rd);
	return ok;
}

static void changes(enum et_media m, const char *name, int readers)
{
	struct world *w = malloc(sizeof(*w));
	bool ok;

	if (!w || open_world(w, m, name))
		return;
	ok = one_reader(w, true);
	for (int i = 0; i < readers && ok; i++)
		ok = one_reader(w, false);
	T_TRUE(et_clean(w->db));
	T_OK(twzdb_close(w->db));
	free(w);
}

static void a_scan_shows_its_snapshot_while_leaves_change(void)
{
	changes(ET_LINE, "scan-line", 60);
}

static void a_scan_shows_its_snapshot_while_leaves_change_on_page_media(void)
{
	changes(ET_PAGE, "scan-page", 12);
}

/* Rows longer than scan.c takes, and rows at the very end of what is mapped. */
static void long_and_last_rows_are_scanned(void)
{
	struct twzdb_cursor *c;
	struct twzdb_slice k, v;
	struct twzdb_txn *tx;
	struct world w;
	uint64_t n = 0;
	int err;

	if (T_OK(et_open(et_path(ET_LINE, "scan-long"), &w.db)) || T_OK(twzdb_begin(w.db, 0, &tx)))
		return;
	T_OK(twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &w.t));
	for (uint64_t i = 0; i < 600; i++)
		T_OK(twzdb_put(tx, w.t, et_key(i), et_val(i, i % 7 ? i : 6900 + i), 0));
	T_OK(twzdb_commit(tx));
	T_OK(twzdb_begin(w.db, TWZDB_RDONLY, &tx));
	T_OK(twzdb_cursor_open(tx, w.t, &c));
	for (err = twzdb_cursor_get(c, TWZDB_FIRST, &k, &v); !err;
	     err = twzdb_cursor_get(c, TWZDB_NEXT, &k, &v), n++)
		if (!T_TRUE(et_same(k, et_key(n)) && et_same(v, et_val(n, n % 7 ? n : 6900 + n))))
			break;
	T_TRUE(err == TWZDB_E_NOTFOUND && n == 600);
	twzdb_cursor_close(c);
	twzdb_abort(tx);
	T_OK(twzdb_close(w.db));
}

/* --- damage: an error, then the cursor is where it was; and every loop ends --- */

static struct node_pm *leaf_of(struct world *w, uint64_t key, uint64_t *p)
{
	struct twzdb_slice k = et_key(key);
	struct twzdb_txn *tx;
	struct nref leaf = {.p = 0};
	unsigned pos;
	bool exact;

	if (T_OK(twzdb_begin(w->db, TWZDB_RDONLY, &tx)))
		return NULL;
	T_OK(twzdb__seek(tx, w->t.h, (struct bkey){k.ptr, (uint32_t)k.len}, false, &leaf, &pos,
			 &exact, NULL));
	twzdb_abort(tx);
	*p = leaf.p;
	return (struct node_pm *)(uintptr_t)leaf.n;
}

static struct rec_pm *row_in(struct world *w, const struct node_pm *n, unsigned pos, uint64_t *key)
{
	struct rec_pm *r = twzdb__at(w->db, n->ptr[n->perm[pos]], sizeof(*r));

	*key = et_num((struct twzdb_slice){r->data, rec_klen_short(r)});
	return r;
}

static struct world *hurt_begin(const char *name, struct twzdb_txn **rd, struct twzdb_cursor **c)
{
	struct world *w = malloc(sizeof(*w));

	if (!w || open_world(w, ET_LINE, name) || T_OK(twzdb_checkpoint(w->db)) ||
	    T_OK(twzdb_begin(w->db, TWZDB_RDONLY, rd)) || T_OK(twzdb_cursor_open(*rd, w->t, c)))
		return NULL;
	return w;
}

static void hurt_end(struct world *w, struct twzdb_txn *rd, struct twzdb_cursor *c)
{
	twzdb_cursor_close(c);
	twzdb_abort(rd);
	T_OK(twzdb_close(w->db));
	free(w);
}

static void leaves_in_a_ring_come_to_an_end(void)
{
	struct twzdb_slice k, v;
	struct twzdb_cursor *c;
	struct twzdb_txn *rd;
	struct world *w = hurt_begin("scan-ring", &rd, &c);
	struct node_pm *n;
	uint64_t p, cnt = 0;
	uint8_t first;
	int err;

	if (!w)
		return;
	n = leaf_of(w, ROWS, &p);
	first = n->perm[0];
	n->perm[0] = n->perm[n->n - 1];
	n->perm[n->n - 1] = first;
	n->next = p;
	for (err = twzdb_cursor_get(c, TWZDB_FIRST, &k, &v); !err && cnt < 10 * ROWS; cnt++)
		err = twzdb_cursor_get(c, TWZDB_NEXT, &k, &v);
	T_ERR(err, TWZDB_E_CORRUPT);
	hurt_end(w, rd, c);
}

static void a_failed_seek_leaves_the_cursor_where_it_was(void)
{
	struct twzdb_slice k, v;
	struct twzdb_cursor *c;
	struct twzdb_txn *rd;
	struct world *w = hurt_begin("scan-seek", &rd, &c);
	uint64_t p, bad, last;
	struct node_pm *n;

	if (!w)
		return;
	n = leaf_of(w, ROWS, &p);
	row_in(w, n, 3, &bad)->klt |= TWZDB_KLT_LEN;
	k = et_key(2 * ROWS - 200);
	T_OK(twzdb_cursor_get(c, TWZDB_SEEK_GE, &k, &v));
	k = et_key(bad);
	T_ERR(twzdb_cursor_get(c, TWZDB_SEEK_GE, &k, &v), TWZDB_E_CORRUPT);
	T_OK(twzdb_cursor_get(c, TWZDB_NEXT, &k, &v));
	T_EQ(et_num(k), 2 * ROWS - 198);

	/* a neighbour outside the objects */
	row_in(w, n, n->n - 1, &last);
	for (unsigned i = 0; i < n->n; i++)
		n->head[n->perm[i]] = UINT64_MAX - 1;
	n->next = (uint64_t)200 << TWZ_PPTR_OFF_BITS | TWZ_DATA_OFF;
	k = et_key(last);
	T_ERR(twzdb_cursor_get(c, TWZDB_SEEK_GE, &k, &v), TWZDB_E_CORRUPT);
	T_OK(twzdb_cursor_get(c, TWZDB_NEXT, &k, &v));
	T_EQ(et_num(k), 2 * ROWS - 196);
	hurt_end(w, rd, c);
}

/* A view of lazy commits goes the general way; when it is over, the quick one is open again. */
static void a_view_leaves_the_quick_way_open(void)
{
	struct twzdb_txn *tx, *rd;
	struct twzdb_slice v;
	struct world *w = malloc(sizeof(*w));

	if (!w || open_world(w, ET_PAGE, "scan-view"))
		return;
	T_REQ(twzdb_begin(w->db, TWZDB_LAZY, &tx));
	T_OK(twzdb_put(tx, w->t, et_key(1), et_val(1, 10), 0));
	T_OK(twzdb_commit(tx));
	T_REQ(twzdb_begin(w->db, TWZDB_RDONLY, &rd));
	T_OK(twzdb_get(rd, w->t, et_key(6), &v));
	twzdb_reset(rd);
	T_OK(twzdb_sync(w->db));
	T_OK(twzdb_renew(rd));
	T_OK(twzdb_get(rd, w->t, et_key(6), &v));
	T_EQ(rd->quick, w->t.h);
	twzdb_abort(rd);
	T_OK(twzdb_close(w->db));
	free(w);
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(a_scan_shows_its_snapshot_while_leaves_change),
		T_CASE(a_scan_shows_its_snapshot_while_leaves_change_on_page_media),
		T_CASE(long_and_last_rows_are_scanned),
		T_CASE(leaves_in_a_ring_come_to_an_end),
		T_CASE(a_failed_seek_leaves_the_cursor_where_it_was),
		T_CASE(a_view_leaves_the_quick_way_open),
		T_END,
	};

	t_err_name = twzdb_err_name;
	t_err_msg = twzdb_errmsg;
	return t_main("engine_scan", cases, argc, argv);
}
