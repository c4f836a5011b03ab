/* SPDX-License-Identifier: MIT
 * catalog.c -- the tables of a database: names, anchors, handles
 *
 * The catalog is a tree like any other: name -> where the table's anchor (struct table_pm) is.
 * The anchor is a record of its own, because its root word changes in place while catalog
 * records are immutable versions. A handle holds the anchor's address and its id, mixed with the
 * database's, so that a handle that is out of place is found out, whatever lies there now.
 */
#include "internal.h"

/*
 * Was the anchor's record R there at the transaction's snapshot? A new one of a writer is not
 * LIVE yet; a dropped one is not LIVE any more, but older snapshots go on using it. (A drop that is
 * being applied stores the time first.)
 */
static bool anchor_visible(const struct twzdb_txn *tx, const struct rec_pm *r)
{
	bool live = __atomic_load_n(&r->vlf, __ATOMIC_ACQUIRE) & TWZDB_VLF_LIVE;
	uint64_t link = ld64(&r->link);

	if (rec_is_own(tx, r))
		return link == (TWZDB_LINK_RESERVED | tx->stamp);
	return ld64(&r->ts) <= tx->read_ts &&
	       (live || (!(link & TWZDB_LINK_RESERVED) && link > tx->read_ts));
}

/* A block keeps its type: an address that was found to be an anchor's is remembered. */
static bool is_anchor(struct twzdb *db, uint64_t h)
{
	uint64_t *known = &db->anchors[h / 16 % TWZDB_ANCHORS_KNOWN], p = h - TWZDB_ANCHOR_OFF;

	if (likely(ld64(known) == h))
		return true;
	if (!twzdb__is_anchor(db, p))
		return false;
	st64(known, h);
	return true;
}

int twzdb__table_check(struct twzdb_txn *tx, struct twzdb_table t, const char *what)
{
	uint64_t root, anchor = t.h - TWZDB_ANCHOR_OFF;
	bool ok = t.h == twzdb__catalog() && t.tag == tx->db->id[0];
	const struct table_pm *a;
	const struct rec_pm *r;

	if (!t.h)
		return twzdb__err(TWZDB_E_INVAL, "%s: no table", what);
	if (tx->writer && u64map_get(&tx->words, t.h + offsetof(struct table_pm, root), &root) &&
	    root == TWZDB_WORD_NONE)
		return twzdb__err(TWZDB_E_STATE, "%s: this transaction has dropped the table",
				  what);
	if (!ok && is_anchor(tx->db, t.h) && !twzdb__rec_at(tx->db, anchor, &r)) {
		a = twzdb__table_at(tx->db, t.h);
		ok = a && (ld64(&a->id) ^ tx->db->id[0]) == t.tag && anchor_visible(tx, r);
	}
	if (!ok)
		return twzdb__err(
			TWZDB_E_STATE,
			"%s: the table is of another database, or does not exist at the transaction's snapshot: open it here",
			what);
	tx->use = t;
	tx->anchor = t.h == twzdb__catalog() ? NULL : twzdb__table_at(tx->db, t.h);
	tx->opening = tx->db->serial;
	tx->want = twzdb__rec_want(twzdb__tag_in(tx, t));
	tx->use_id = t.tag ^ tx->db->id[0];
	tx->use_quick = twzdb__kind(tx, t) ? 0 : t.h;
	tx->cut_seq = ld64_acq(&tx->db->acc.unit_seq);
	tx->quick = tx->writer || tx->view ? 0 : tx->use_quick;
	return 0;
}

static int check_name(const char *name, const char *what)
{
	size_t len = name ? strlen(name) : 0;

	if (!len || len > TWZDB_NAME_MAX)
		return twzdb__err(TWZDB_E_INVAL, "%s: a table name has 1 to %d bytes", what,
				  TWZDB_NAME_MAX);
	return 0;
}

static struct bkey name_key(const char *name)
{
	return (struct bkey){(const uint8_t *)name, (uint32_t)strlen(name)};
}

static int anchor_of(struct twzdb_txn *tx, const struct rec_pm *r, struct twzdb_table *out)
{
	struct catalog_pm c;
	const struct table_pm *t;

	if (rec_vlen(r) != sizeof(c))
		return twzdb__corrupt(tx->db, twzdb__catalog(), "catalog record of a wrong length");
	memcpy(&c, rec_val(r), sizeof(c));
	t = twzdb__table_at(tx->db, c.table);
	if (!t || t->id != c.id || TWZDB_TABLE_KIND(c.id) & ~TWZDB_TABLE_KINDS ||
	    !twzdb__is_anchor(tx->db, c.table - TWZDB_ANCHOR_OFF))
		return twzdb__corrupt(tx->db, c.table, "catalog leads to no table");
	*out = (struct twzdb_table){c.table, c.id ^ tx->db->id[0]};
	return 0;
}

static uint64_t next_table_id(struct twzdb_txn *tx)
{
	uint64_t id;

	if (!u64map_get(&tx->words, DB_PTR(offsetof(struct db_pm, next_table)), &id))
		id = tx->db->root->next_table;
	return id;
}

static int table_create(struct twzdb_txn *tx, const char *name, uint32_t kind,
			struct twzdb_table *out)
{
	uint64_t no = next_table_id(tx), p;
	struct table_pm t = {TWZDB_TABLE_ID(no, kind), 0, {0, 0}};
	struct catalog_pm c;
	struct rec_pm *rec;
	int err;

	if (no != TWZDB_TABLE_NO(no))
		return twzdb__err(TWZDB_E_FULL, "all table numbers of the database are used up");
	err = u64map_put(&tx->words, DB_PTR(offsetof(struct db_pm, next_table)), no + 1);
	if (err)
		return twzdb__err(err, "no memory for a new table");
	err = twzdb__rec_new(tx, TWZDB_TAG_NONE, name_key(""), &t, sizeof(t), 0, TWZDB_TABLE, &p,
			     &rec);
	if (err)
		return err;
	tx->mods++;
	*out = (struct twzdb_table){p + TWZDB_ANCHOR_OFF, t.id ^ tx->db->id[0]};
	/*
	 * The block may have been another new table's anchor that this transaction dropped
	 * again.
	 */
	err = twzdb__set_root(tx, out->h, 0);
	if (err)
		return twzdb__break(tx, err);
	c = (struct catalog_pm){out->h, t.id};
	err = twzdb__put(tx, twzdb__catalog(), name_key(name), &c, sizeof(c), TWZDB_INSERT);
	tx->put = NULL; /* a row of no table that is known outside */
	return err ? twzdb__break(tx, err) : 0;
}

static int find_table(struct twzdb_txn *tx, const char *name, struct twzdb_table *out)
{
	const struct rec_pm *r;
	int err = twzdb__get(tx, twzdb__catalog(), name_key(name), &r);

	*out = (struct twzdb_table){0, 0};
	if (err == TWZDB_E_NOTFOUND)
		return twzdb__err(err, "no table '%s'", name);
	return err ? err : anchor_of(tx, r, out);
}

#define OPEN_FLAGS (TWZDB_TABLE_CREATE | TWZDB_TABLE_ANY | TWZDB_TABLE_KINDS)

int twzdb_table_open(struct twzdb_txn *tx, const char *name, uint32_t flags,
		     struct twzdb_table *out)
{
	uint32_t kind = flags & TWZDB_TABLE_KINDS;
	int err;

	if (!out)
		return twzdb__err(TWZDB_E_INVAL, "table_open: no place for the handle");
	*out = (struct twzdb_table){0, 0};
	if (flags & ~(uint32_t)OPEN_FLAGS)
		return twzdb__err(TWZDB_E_INVAL, "table_open: flags 0x%x", flags);
	err = twzdb__txn_use(tx, "table_open", false);
	if (!err)
		err = check_name(name, "table_open");
	if (!err)
		err = find_table(tx, name, out);
	if (!err && !(flags & TWZDB_TABLE_ANY) && twzdb__kind(tx, *out) != kind) {
		err = twzdb__err(TWZDB_E_KIND, "table '%s' has kind 0x%x, asked for 0x%x", name,
				 twzdb__kind(tx, *out), kind);
		*out = (struct twzdb_table){0, 0};
	}
	if (err != TWZDB_E_NOTFOUND || !(flags & TWZDB_TABLE_CREATE))
		return err;
	err = twzdb__txn_use(tx, "table_open", true);
	return err ? err : table_create(tx, name, kind, out);
}

int twzdb_table_kind(struct twzdb_txn *tx, struct twzdb_table t, uint32_t *flags)
{
	int err;

	if (!flags)
		return twzdb__err(TWZDB_E_INVAL, "table_kind: no place for the flags");
	*flags = 0;
	err = twzdb__txn_use(tx, "table_kind", false);
	if (!err)
		err = twzdb__table_use(tx, t, "table_kind");
	if (!err)
		*flags = twzdb__kind(tx, t);
	return err;
}

int twzdb_table_drop(struct twzdb_txn *tx, const char *name)
{
	const struct rec_pm *anchor;
	struct twzdb_table t;
	int err = twzdb__txn_use(tx, "table_drop", true);

	if (!err)
		err = check_name(name, "table_drop");
	if (!err)
		err = find_table(tx, name, &t);
	if (!err)
		err = twzdb__rec_at(tx->db, t.h - TWZDB_ANCHOR_OFF, &anchor);
	if (err)
		return err;
	tx->use.h = 0;
	err = twzdb__drop_tree(tx, t.h, rec_is_own(tx, anchor));
	if (!err)
		err = twzdb__break(tx, twzdb__rec_kill(tx, t.h - TWZDB_ANCHOR_OFF));
	return err ? err : twzdb__break(tx, twzdb__del(tx, twzdb__catalog(), name_key(name)));
}

int twzdb_table_rename(struct twzdb_txn *tx, const char *from, const char *to)
{
	struct twzdb_table t;
	struct catalog_pm c;
	int err = twzdb__txn_use(tx, "table_rename", true);

	if (!err)
		err = check_name(from, "table_rename");
	if (!err)
		err = check_name(to, "table_rename");
	if (!err)
		err = find_table(tx, from, &t);
	if (err)
		return err;
	c = (struct catalog_pm){t.h, t.tag ^ tx->db->id[0]};
	err = twzdb__put(tx, twzdb__catalog(), name_key(to), &c, sizeof(c), TWZDB_INSERT);
	tx->put = NULL; /* a row of no table that is known outside */
	if (err == TWZDB_E_EXIST)
		return twzdb__err(err, "table_rename: there is a table '%s' already", to);
	return err ? err : twzdb__break(tx, twzdb__del(tx, twzdb__catalog(), name_key(from)));
}

static int each_entry(struct twzdb_txn *tx, struct twzdb_slice key, const struct rec_pm *r,
		      int (*fn)(void *ctx, const char *name, struct twzdb_table t, uint32_t kind),
		      void *ctx)
{
	char name[TWZDB_NAME_MAX + 1];
	struct twzdb_table t;
	int err;

	if (key.len > TWZDB_NAME_MAX)
		return twzdb__corrupt(tx->db, twzdb__catalog(), "catalog record of a wrong length");
	memcpy(name, key.ptr, key.len);
	name[key.len] = 0;
	err = anchor_of(tx, r, &t);
	return err ? err : fn(ctx, name, t, twzdb__kind(tx, t));
}

int twzdb_table_each(struct twzdb_txn *tx,
		     int (*fn)(void *ctx, const char *name, struct twzdb_table t, uint32_t kind),
		     void *ctx)
{
	struct twzdb_slice key;
	const struct rec_pm *r;
	struct twzdb_cursor *c;
	int err = twzdb__txn_use(tx, "table_each", false), ret = 0;

	if (!err && !fn)
		err = twzdb__err(TWZDB_E_INVAL, "table_each: no function");
	if (!err)
		err = twzdb_cursor_open(tx, (struct twzdb_table){twzdb__catalog(), tx->db->id[0]},
					&c);
	if (err)
		return err;
	for (err = twzdb__cursor_move(c, TWZDB_FIRST, BKEY_INF, &r); !err && !ret;
	     err = twzdb__cursor_move(c, TWZDB_NEXT, BKEY_INF, &r)) {
		ret = twzdb__cursor_settle(c, r);
		if (ret)
			break;
		key = (struct twzdb_slice){rec_key(r), rec_klen(r)};
		ret = each_entry(tx, key, r, fn, ctx);
	}
	twzdb_cursor_close(c);
	return ret ? ret : err == TWZDB_E_NOTFOUND ? 0 : err;
}

struct list {
	struct twzdb_txn *tx;
	int (*fn)(void *ctx, const char *name, uint64_t rows);
	void *ctx;
};

static int list_one(void *ctx, const char *name, struct twzdb_table t, uint32_t kind)
{
	const struct list *l = ctx;
	uint64_t rows;
	int err = twzdb__count(l->tx, t.h, &rows);

	(void)kind;
	return err ? err : l->fn(l->ctx, name, rows);
}

int twzdb_table_list(struct twzdb_txn *tx, int (*fn)(void *ctx, const char *name, uint64_t rows),
		     void *ctx)
{
	struct list l = {tx, fn, ctx};

	if (!fn)
		return twzdb__err(TWZDB_E_INVAL, "table_list: no function");
	return twzdb_table_each(tx, list_one, &l);
}
