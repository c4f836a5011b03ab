/* SPDX-License-Identifier: MIT
 * table.c -- the catalog, and the public operations on rows
 *
 * The catalog is a tree like any other: name -> where the table's anchor (struct table_pm) is.
 * The anchor is a record of its own, because its root word changes in place while catalog
 * records are immutable versions.
 */
#include "internal.h"

static int check_txn(struct twzdb_txn *tx, const char *what, bool write)
{
	return twzdb__txn_use(tx, what, write);
}

static int check_key(struct twzdb_slice key, const char *what)
{
	if (key.len && !key.ptr)
		return twzdb__err(TWZDB_E_INVAL, "%s: key without bytes", what);
	if (key.len > TWZDB_KEY_MAX)
		return twzdb__err(TWZDB_E_TOOBIG, "%s: a key of %zu bytes; %d are possible", what,
				  key.len, TWZDB_KEY_MAX);
	return 0;
}

static struct bkey to_bkey(struct twzdb_slice s)
{
	struct bkey k = {s.ptr ? s.ptr : (const void *)"", (uint32_t)s.len};

	return k;
}

static int check_row(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice key, bool write,
		     const char *what)
{
	int err = check_txn(tx, what, write);

	if (!err && !t.h)
		err = twzdb__err(TWZDB_E_INVAL, "%s: no table", what);
	return err ? err : check_key(key, what);
}

/* --- rows --- */

static int get_once(struct twzdb_txn *tx, uint64_t table, struct bkey key, struct nref *leaf,
		    const struct rec_pm **rec)
{
	unsigned pos;
	bool exact;
	uint64_t p;
	int slot, err = twzdb__seek(tx, table, key, false, leaf, &pos, &exact, NULL);

	if (err || !exact)
		return err ? err : TWZDB_E_NOTFOUND;
	slot = node_slot(leaf->n, pos);
	if (slot < 0)
		return twzdb__node_bad(tx, leaf, "permutation out of range");
	p = ld64_acq(&leaf->n->ptr[slot]);
	return nref_ok(leaf) ? twzdb__rec_visible(tx, p, rec) : TWZDB__RETRY;
}

int twzdb__get(struct twzdb_txn *tx, uint64_t table, struct bkey key, const struct rec_pm **rec)
{
	struct again again = AGAIN_INIT;
	struct nref leaf;
	int err;

	*rec = NULL;
	do
		err = get_once(tx, table, key, &leaf, rec);
	while (twzdb__again(tx, &again, leaf.p, &err));
	return err;
}

int twzdb_get(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice key,
	      struct twzdb_slice *value)
{
	const struct rec_pm *r;
	int err;

	if (!value)
		return twzdb__err(TWZDB_E_INVAL, "get: no place for the value");
	*value = (struct twzdb_slice){NULL, 0};
	err = check_row(tx, t, key, false, "get");
	if (!err)
		err = twzdb__get(tx, t.h, to_bkey(key), &r);
	if (!err)
		*value = (struct twzdb_slice){rec_val(r), rec_vlen(r)};
	return err == TWZDB_E_NOTFOUND ? twzdb__err(err, "get: no such key") : err;
}

int twzdb_put(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice key,
	      struct twzdb_slice value, uint32_t flags)
{
	int err = check_row(tx, t, key, true, "put");

	if (err)
		return err;
	if ((value.len && !value.ptr) || flags & ~(uint32_t)(TWZDB_INSERT | TWZDB_UPDATE) ||
	    flags == (TWZDB_INSERT | TWZDB_UPDATE))
		return twzdb__err(TWZDB_E_INVAL, "put: value without bytes, or flags 0x%x", flags);
	if (value.len > TWZDB_VALUE_MAX)
		return twzdb__err(TWZDB_E_TOOBIG, "put: a value of %zu bytes; %zu are possible",
				  value.len, TWZDB_VALUE_MAX);
	return twzdb__put(tx, t.h, to_bkey(key), value.ptr, (uint32_t)value.len, flags);
}

int twzdb_del(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice key)
{
	int err = check_row(tx, t, key, true, "del");

	return err ? err : twzdb__del(tx, t.h, to_bkey(key));
}

int twzdb_count(struct twzdb_txn *tx, struct twzdb_table t, uint64_t *cnt)
{
	int err;

	if (!cnt)
		return twzdb__err(TWZDB_E_INVAL, "count: no place for the count");
	*cnt = 0;
	err = check_row(tx, t, (struct twzdb_slice){NULL, 0}, false, "count");
	return err ? err : twzdb__count(tx, t.h, cnt);
}

/* --- the catalog --- */

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

static int anchor_of(struct twzdb_txn *tx, const struct rec_pm *r, uint64_t *table)
{
	struct catalog_pm c;
	const struct table_pm *t;

	if (rec_vlen(r) != sizeof(c))
		return twzdb__corrupt(tx->db, twzdb__catalog(), "catalog record of a wrong length");
	memcpy(&c, rec_val(r), sizeof(c));
	t = twzdb__table_at(tx->db, c.table);
	if (!t || t->id != c.id || !twzdb__is_rec(tx->db, c.table - TWZDB_ANCHOR_OFF) ||
	    twzdb__unit_of(tx->db, c.table)->cls != TWZDB_CLS_TABLE)
		return twzdb__corrupt(tx->db, c.table, "catalog leads to no table");
	*table = c.table;
	return 0;
}

static uint64_t next_table_id(struct twzdb_txn *tx)
{
	uint64_t id;

	if (!u64map_get(&tx->words, DB_PTR(offsetof(struct db_pm, next_table)), &id))
		id = tx->db->root->next_table;
	return id;
}

static int table_create(struct twzdb_txn *tx, const char *name, uint64_t *table)
{
	struct table_pm t = {next_table_id(tx), 0, {0, 0}};
	struct catalog_pm c;
	struct rec_pm *rec;
	uint64_t p;
	int err = u64map_put(&tx->words, DB_PTR(offsetof(struct db_pm, next_table)), t.id + 1);

	if (err)
		return twzdb__err(err, "no memory for a new table");
	err = twzdb__rec_new(tx, TWZDB_TAG_NONE, name_key(""), &t, sizeof(t), 0, TWZDB_TABLE, &p,
			     &rec);
	if (err)
		return err;
	tx->mods++;
	*table = p + TWZDB_ANCHOR_OFF;
	/*
	 * The block may have been another new table's anchor that this transaction dropped
	 * again.
	 */
	err = twzdb__set_root(tx, *table, 0);
	if (err)
		return twzdb__break(tx, err);
	c = (struct catalog_pm){*table, t.id};
	err = twzdb__put(tx, twzdb__catalog(), name_key(name), &c, sizeof(c), TWZDB_INSERT);
	return err ? twzdb__break(tx, err) : 0;
}

int twzdb_table_open(struct twzdb_txn *tx, const char *name, uint32_t flags,
		     struct twzdb_table *out)
{
	const struct rec_pm *r;
	int err;

	if (!out)
		return twzdb__err(TWZDB_E_INVAL, "table_open: no place for the handle");
	out->h = 0;
	if (flags & ~(uint32_t)TWZDB_TABLE_CREATE)
		return twzdb__err(TWZDB_E_INVAL, "table_open: flags 0x%x", flags);
	err = check_txn(tx, "table_open", false);
	if (!err)
		err = check_name(name, "table_open");
	if (err)
		return err;
	err = twzdb__get(tx, twzdb__catalog(), name_key(name), &r);
	if (!err)
		return anchor_of(tx, r, &out->h);
	if (err != TWZDB_E_NOTFOUND)
		return err;
	if (!(flags & TWZDB_TABLE_CREATE))
		return twzdb__err(TWZDB_E_NOTFOUND, "no table '%s'", name);
	err = check_txn(tx, "table_open", true);
	return err ? err : table_create(tx, name, &out->h);
}

int twzdb_table_drop(struct twzdb_txn *tx, const char *name)
{
	const struct rec_pm *r, *anchor;
	uint64_t table = 0;
	int err = check_txn(tx, "table_drop", true);

	if (!err)
		err = check_name(name, "table_drop");
	if (err)
		return err;
	err = twzdb__get(tx, twzdb__catalog(), name_key(name), &r);
	if (err == TWZDB_E_NOTFOUND)
		return twzdb__err(err, "table_drop: no table '%s'", name);
	if (!err)
		err = anchor_of(tx, r, &table);
	if (!err)
		err = twzdb__rec_at(tx->db, table - TWZDB_ANCHOR_OFF, &anchor);
	if (!err)
		err = twzdb__drop_tree(tx, table, rec_is_own(tx, anchor));
	if (!err)
		err = twzdb__break(tx, twzdb__rec_kill(tx, table - TWZDB_ANCHOR_OFF));
	return err ? err : twzdb__break(tx, twzdb__del(tx, twzdb__catalog(), name_key(name)));
}

int twzdb_table_list(struct twzdb_txn *tx, int (*fn)(void *ctx, const char *name, uint64_t rows),
		     void *ctx)
{
	struct twzdb_table catalog = {twzdb__catalog()};
	struct twzdb_slice key, value;
	struct twzdb_cursor *c;
	int ret = fn ? twzdb_cursor_open(tx, catalog, &c)
		     : twzdb__err(TWZDB_E_INVAL, "table_list: no function"),
	    err;

	if (ret)
		return ret;
	for (err = twzdb_cursor_get(c, TWZDB_FIRST, &key, &value); !err && !ret;
	     err = twzdb_cursor_get(c, TWZDB_NEXT, &key, &value)) {
		char name[TWZDB_NAME_MAX + 1];
		struct catalog_pm cat;
		uint64_t rows;

		if (key.len > TWZDB_NAME_MAX || value.len != sizeof(cat)) {
			ret = twzdb__corrupt(tx->db, catalog.h, "catalog record of a wrong length");
			break;
		}
		memcpy(name, key.ptr, key.len);
		name[key.len] = 0;
		memcpy(&cat, value.ptr, sizeof(cat));
		ret = twzdb__count(tx, cat.table, &rows);
		if (!ret)
			ret = fn(ctx, name, rows);
	}
	twzdb_cursor_close(c);
	return ret ? ret : err == TWZDB_E_NOTFOUND ? 0 : err;
}
