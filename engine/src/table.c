/* SPDX-License-Identifier: MIT
 * table.c -- the public operations on single rows
 */
#include "internal.h"

int twzdb__key_check(struct twzdb_slice key, const char *what)
{
	if (key.len && !key.ptr)
		return twzdb__err(TWZDB_E_INVAL, "%s: key without bytes", what);
	if (key.len > TWZDB_KEY_MAX)
		return twzdb__err(TWZDB_E_TOOBIG, "%s: a key of %zu bytes; %zu are possible", what,
				  key.len, TWZDB_KEY_MAX);
	return 0;
}

static struct bkey to_bkey(struct twzdb_slice s)
{
	struct bkey k = {s.ptr ? s.ptr : (const void *)"", (uint32_t)s.len};

	return k;
}

static int check_table(struct twzdb_txn *tx, struct twzdb_table t, bool write, const char *what)
{
	int err = twzdb__txn_use(tx, what, write);

	return err ? err : twzdb__table_use(tx, t, what);
}

static int check_row(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice key, bool write,
		     const char *what)
{
	int err = check_table(tx, t, write, what);

	if (likely(!err && key.ptr && key.len <= TWZDB_KEY_SHORT))
		return 0;
	return err ? err : twzdb__key_check(key, what);
}

/* --- rows --- */

#define PUT_FLAGS (TWZDB_INSERT | TWZDB_UPDATE | TWZDB_APPEND | TWZDB_NODUP)

static int check_put(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice value,
		     uint32_t flags)
{
	uint32_t one = flags & (TWZDB_INSERT | TWZDB_UPDATE | TWZDB_APPEND);

	if (flags & ~(uint32_t)PUT_FLAGS || one & (one - 1))
		return twzdb__err(TWZDB_E_INVAL, "put: flags 0x%x", flags);
	if (value.len && !value.ptr)
		return twzdb__err(TWZDB_E_INVAL, "put: value without bytes");
	if (flags & TWZDB_NODUP && !(twzdb__kind(tx, t) & TWZDB_TABLE_DUPSORT))
		return twzdb__err(TWZDB_E_KIND, "put: NODUP, but the table is not DUPSORT");
	return 0;
}

/* Is K above every key of the table that the writer sees? */
static int check_last(struct twzdb_txn *tx, uint64_t table, struct bkey k)
{
	const struct rec_pm *r;
	struct nref leaf;
	unsigned pos;
	int err = twzdb__find_left(tx, table, BKEY_INF, &leaf, &pos, &r);

	if (err)
		return err == TWZDB_E_NOTFOUND ? 0 : err;
	if (bkey_cmp(rec_bkey(r), k) < 0)
		return 0;
	return twzdb__err(TWZDB_E_ORDER, "append: the key is not greater than the last one");
}

static int put_anywhere(struct twzdb_txn *tx, uint64_t table, struct bkey key,
			struct twzdb_slice value, uint32_t flags)
{
	int err = flags & TWZDB_APPEND ? check_last(tx, table, key) : 0;

	return err ? err
		   : twzdb__put(tx, table, key, value.ptr, (uint32_t)value.len,
				flags & (TWZDB_INSERT | TWZDB_UPDATE));
}

/*
 * Short ways are for short rows. The fence a split needs may be as long as a key, and find no space when the leaf
 * has been changed already: the savepoint takes that back.
 */
static int put_long(struct twzdb_txn *tx, uint64_t table, struct bkey key, struct twzdb_slice value,
		    uint32_t flags)
{
	uint32_t sp = 0;
	int err, undo = 0;

	if (value.len > TWZDB_ROW_MAX - key.len)
		return twzdb__err(TWZDB_E_TOOBIG,
				  "put: a key of %u and a value of %zu bytes; %zu are possible",
				  key.len, value.len, TWZDB_ROW_MAX);
	err = key.len > TWZDB_KEY_SHORT ? twzdb_savepoint(tx, &sp) : 0;
	if (err)
		return err;
	err = put_anywhere(tx, table, key, value, flags);
	if (sp && tx->broken)
		undo = twzdb_rollback_to(tx, sp);
	if (sp && !undo)
		undo = twzdb_release(tx, sp);
	return err ? err : undo;
}

static int put_any(struct twzdb_txn *tx, uint64_t table, struct bkey key, struct twzdb_slice value,
		   uint32_t flags)
{
	int err;

	err = twzdb__put_tail(tx, table, key, value.ptr, (uint32_t)value.len, flags);
	if (err > 0)
		err = twzdb__put_new(tx, table, key, value.ptr, (uint32_t)value.len, flags);
	if (err <= 0)
		return err;
	return put_anywhere(tx, table, key, value, flags);
}

int twzdb__put_row(struct twzdb_txn *tx, uint64_t table, struct bkey key, struct twzdb_slice value,
		   uint32_t flags)
{
	int err;

	if (row_is_long(key.len, value.len))
		return put_long(tx, table, key, value, flags);
	err = twzdb__one_put(tx, table, twzdb__tag_of(tx->db, table), key, value.ptr,
			     (uint32_t)value.len, flags);
	return err <= 0 ? err : put_any(tx, table, key, value, flags);
}

/* A writer, in the plain table it used last: what is left to be checked are lengths. */
static inline bool is_usual(const struct twzdb_txn *tx, struct twzdb_table t,
			    struct twzdb_slice key)
{
	return likely(tx && ld64(&tx->magic) == TWZDB__TXN_MAGIC && tx->writer && !tx->broken &&
		      t.h && t.h == tx->use.h && t.h == tx->use_quick && t.tag == tx->use.tag &&
		      key.ptr && key.len <= TWZDB_KEY_SHORT && !twzdb__enter(tx->db));
}

static int put_checked(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice key,
		       struct twzdb_slice value, uint32_t flags)
{
	int err = check_row(tx, t, key, true, "put");

	if (!err)
		err = check_put(tx, t, value, flags);
	if (err)
		return err;
	if (unlikely(twzdb__kind(tx, t)))
		return twzdb__kind_put(tx, t, key, value, flags);
	return twzdb__put_row(tx, t.h, to_bkey(key), value, flags);
}

int twzdb_put_many(struct twzdb_txn *tx, struct twzdb_table t, size_t cnt,
		   const struct twzdb_slice keys[], const struct twzdb_slice values[],
		   uint32_t flags, size_t *done)
{
	size_t n = 0;
	int err = check_table(tx, t, true, "put_many");

	if (done)
		*done = 0;
	if (!err && cnt && (!keys || !values))
		err = twzdb__err(TWZDB_E_INVAL, "put_many: no keys, or no values");
	for (size_t i = 0; i < cnt && !err; i++) {
		err = twzdb__key_check(keys[i], "put_many");
		if (!err)
			err = check_put(tx, t, values[i], flags);
	}
	if (err)
		return err;
	if (likely(!twzdb__kind(tx, t)))
		err = twzdb__put_rows(tx, t.h, cnt, keys, values, flags, &n);
	else
		for (; n < cnt; n++) {
			err = twzdb__kind_put(tx, t, keys[n], values[n], flags);
			if (err)
				break;
		}
	tx->put = NULL; /* the last of many is not kept in mind */
	if (done)
		*done = n;
	return err;
}

int twzdb_put(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice key,
	      struct twzdb_slice value, uint32_t flags)
{
	struct bkey k = {key.ptr, (uint32_t)key.len};
	int err;

	if (!is_usual(tx, t, key) || value.len > TWZDB_VLF_LEN || (value.len && !value.ptr) ||
	    (flags && flags != TWZDB_INSERT && flags != TWZDB_UPDATE))
		return put_checked(tx, t, key, value, flags);
	err = twzdb__one_put(tx, t.h, twzdb__tag_in(tx, t), k, value.ptr, (uint32_t)value.len,
			     flags);
	return err <= 0 ? err : put_any(tx, t.h, k, value, flags);
}

int twzdb_last_put(struct twzdb_txn *tx, struct twzdb_slice *value)
{
	int err;

	if (!value)
		return twzdb__err(TWZDB_E_INVAL, "last_put: no place for the value");
	*value = (struct twzdb_slice){NULL, 0};
	err = twzdb__txn_use(tx, "last_put", true);
	if (err)
		return err;
	if (!tx->put)
		return twzdb__err(TWZDB_E_STATE, "last_put: no row was put");
	*value = (struct twzdb_slice){rec_val(tx->put), rec_vlen(tx->put)};
	return 0;
}

/* Is the key's value EXPECTED (NULL: is there none)? 0, TWZDB_E_MISMATCH, TWZDB_E_NOTFOUND. */
static int compare(struct twzdb_txn *tx, struct twzdb_table t, struct bkey k,
		   const struct twzdb_slice *expected)
{
	const struct rec_pm *r;
	int err = twzdb__get(tx, t.h, k, &r);

	if (err == TWZDB_E_NOTFOUND)
		return expected ? err : 0;
	if (err)
		return err;
	if (expected && expected->len == rec_vlen(r) &&
	    (!expected->len || !memcmp(expected->ptr, rec_val(r), expected->len)))
		return 0;
	return twzdb__err(TWZDB_E_MISMATCH, "the row %s",
			  expected ? "has another value" : "exists");
}

int twzdb_put_if(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice key,
		 const struct twzdb_slice *expected, struct twzdb_slice value)
{
	struct keybuf buf = {.big = NULL};
	struct bkey k;
	int err = check_row(tx, t, key, true, "put_if");

	if (!err)
		err = check_put(tx, t, value, 0);
	if (!err && expected && expected->len && !expected->ptr)
		err = twzdb__err(TWZDB_E_INVAL, "put_if: expected value without bytes");
	if (!err && twzdb__kind(tx, t) & TWZDB_TABLE_DUPSORT)
		err = twzdb__err(TWZDB_E_KIND,
				 "put_if: the table is DUPSORT: a key has no one value");
	if (!err)
		err = twzdb__key_in(twzdb__kind(tx, t), key, &buf, &k, "put_if");
	if (!err)
		err = compare(tx, t, k, expected);
	if (err == TWZDB_E_NOTFOUND)
		err = twzdb__err(TWZDB_E_MISMATCH, "the row does not exist");
	if (!err)
		err = twzdb__put_row(tx, t.h, k, value, 0);
	keybuf_free(&buf);
	return err;
}

int twzdb_del(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice key)
{
	struct keybuf buf = {.big = NULL};
	struct bkey k;
	int err;

	if (is_usual(tx, t, key)) {
		k = (struct bkey){key.ptr, (uint32_t)key.len};
		err = twzdb__one_del(tx, t.h, twzdb__tag_in(tx, t), k);
		return err <= 0 ? err : twzdb__del_any(tx, t.h, k);
	}
	err = check_row(tx, t, key, true, "del");
	if (err)
		return err;
	if (likely(!twzdb__kind(tx, t)))
		return twzdb__del(tx, t.h, to_bkey(key));
	if (twzdb__kind(tx, t) & TWZDB_TABLE_DUPSORT)
		return twzdb__dup_del(tx, t, key);
	err = twzdb__key_in(twzdb__kind(tx, t), key, &buf, &k, "del");
	return err ? err : twzdb__del(tx, t.h, k);
}

int twzdb_del_if(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice key,
		 struct twzdb_slice expected)
{
	struct keybuf buf = {.big = NULL};
	struct bkey k;
	int err = check_row(tx, t, key, true, "del_if");

	if (!err && expected.len && !expected.ptr)
		err = twzdb__err(TWZDB_E_INVAL, "del_if: expected value without bytes");
	if (err)
		return err;
	if (twzdb__kind(tx, t) & TWZDB_TABLE_DUPSORT)
		return twzdb__dup_del_pair(tx, t, key, expected);
	err = twzdb__key_in(twzdb__kind(tx, t), key, &buf, &k, "del_if");
	if (!err)
		err = compare(tx, t, k, &expected);
	if (err == TWZDB_E_NOTFOUND)
		return twzdb__err(err, "delete: no such key");
	return err ? err : twzdb__del(tx, t.h, k);
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
