/* SPDX-License-Identifier: MIT
 * kinds.c -- tables of numbers (INTKEY) and of sorted duplicates (DUPSORT), on top of plain trees
 *
 * The tree of every table maps byte strings to byte strings; a table's kind says what they mean:
 *
 *	INTKEY		 key = the number, 8 bytes big-endian			value = value
 *	DUPSORT		 key = escaped key, 0 0, value				value = empty
 *	INTKEY | DUPSORT key = the number, 8 bytes big-endian, value		value = empty
 *
 * Escaped: every 0 becomes 0 255. Then 0 0 ends a key below everything that continues it, so the
 * bytes sort by key, then by value. All pairs of a key begin with its prefix (escaped key and end,
 * or number); the prefix with 1 added, taken as a number, lies above all of them and not above
 * any pair of a greater key. So whatever concerns one key is a range of the tree.
 */
#include "internal.h"

#define NUM_LEN 8
#define END_LEN 2 /* bytes of an escaped key's end */

static uint64_t be64(const void *p)
{
	uint64_t u;

	memcpy(&u, p, sizeof(u));
	return __builtin_bswap64(u);
}

static int num_in(struct twzdb_slice key, struct keybuf *buf, struct bkey *k, const char *what)
{
	uint64_t u = 0;
	uint32_t u32;

	if (!key.ptr || (key.len != sizeof(u) && key.len != sizeof(u32)))
		return twzdb__err(
			TWZDB_E_INVAL,
			"%s: a key of %zu bytes: this table's keys are native uint64_t or uint32_t",
			what, key.len);
	memcpy(key.len == sizeof(u) ? (void *)&u : &u32, key.ptr, key.len);
	u = __builtin_bswap64(key.len == sizeof(u) ? u : u32);
	memcpy(buf->b, &u, NUM_LEN);
	*k = (struct bkey){buf->b, NUM_LEN};
	return 0;
}

uint8_t *twzdb__keybuf_get(struct keybuf *buf, size_t len)
{
	uint8_t *p = buf->b;

	if (likely(!buf->big && len <= sizeof(buf->b)))
		return p;
	p = realloc(buf->big, len + 1);
	if (!p) {
		twzdb__err(-ENOMEM, "no memory for a key of %zu bytes", len);
		return NULL;
	}
	if (!buf->big)
		memcpy(p, buf->b, len < sizeof(buf->b) ? len : sizeof(buf->b));
	buf->big = p;
	return p;
}

static size_t zeros_in(const uint8_t *p, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += !p[i];
	return n;
}

static int escape_in(struct twzdb_slice key, struct keybuf *buf, struct bkey *k, const char *what)
{
	const uint8_t *p = key.ptr;
	size_t len = key.len + zeros_in(p, key.len) + END_LEN;
	uint32_t n = 0;
	uint8_t *b;

	if (len > TWZDB_KEY_MAX)
		return twzdb__err(
			TWZDB_E_TOOBIG,
			"%s: a key of %zu bytes: with 2 bytes and one for every 0 in it %zu are possible",
			what, key.len, TWZDB_KEY_MAX);
	b = twzdb__keybuf_get(buf, len);
	if (!b)
		return -ENOMEM;
	for (size_t i = 0; i < key.len; i++) {
		b[n++] = p[i];
		if (!p[i])
			b[n++] = 0xff;
	}
	b[n] = b[n + 1] = 0;
	*k = (struct bkey){b, n + END_LEN};
	return 0;
}

int twzdb__key_in(uint32_t kind, struct twzdb_slice key, struct keybuf *buf, struct bkey *k,
		  const char *what)
{
	int err = twzdb__key_check(key, what);

	if (err)
		return err;
	if (kind & TWZDB_TABLE_INTKEY)
		return num_in(key, buf, k, what);
	if (kind & TWZDB_TABLE_DUPSORT)
		return escape_in(key, buf, k, what);
	*k = (struct bkey){key.ptr ? key.ptr : (const void *)"", (uint32_t)key.len};
	return 0;
}

/* Prefix in BUF, and VALUE behind it. */
static int pair_in(uint32_t kind, struct twzdb_slice key, struct twzdb_slice value,
		   struct keybuf *buf, struct bkey *k, const char *what)
{
	int err = twzdb__key_in(kind, key, buf, k, what);
	uint8_t *b;

	if (err)
		return err;
	if (value.len && !value.ptr)
		return twzdb__err(TWZDB_E_INVAL, "%s: value without bytes", what);
	if (value.len > TWZDB_KEY_MAX - k->len)
		return twzdb__err(
			TWZDB_E_TOOBIG,
			"%s: a value of %zu bytes: beside its key, in a table of sorted duplicates, %zu are possible",
			what, value.len, TWZDB_KEY_MAX - k->len);
	b = twzdb__keybuf_get(buf, k->len + value.len);
	if (!b)
		return -ENOMEM;
	if (value.len)
		memcpy(b + k->len, value.ptr, value.len);
	*k = (struct bkey){b, k->len + (uint32_t)value.len};
	return 0;
}

/* *END: what lies just above all pairs with PREFIX, in BUF, where the prefix may be already. */
static int prefix_end(struct bkey prefix, struct keybuf *buf, struct bkey *end)
{
	bool there = prefix.p == buf->b || prefix.p == buf->big;
	uint8_t *b = twzdb__keybuf_get(buf, prefix.len);
	uint32_t i = prefix.len;

	if (!b)
		return -ENOMEM;
	if (!there)
		memcpy(b, prefix.p, prefix.len);
	while (i && ++b[i - 1] == 0)
		i--;
	*end = i ? (struct bkey){b, prefix.len} : BKEY_INF;
	return 0;
}

/* Length of the prefix of a pair, *ESCAPES in it; 0: the bytes are no pair (D10). */
static uint32_t prefix_len(uint32_t kind, const uint8_t *p, uint32_t len, uint32_t *escapes)
{
	*escapes = 0;
	if (kind & TWZDB_TABLE_INTKEY)
		return len >= NUM_LEN ? NUM_LEN : 0;
	for (uint32_t i = 0; i + 1 < len; i++) {
		if (p[i])
			continue;
		if (p[i + 1] == 0)
			return i + END_LEN;
		if (p[i + 1] != 0xff)
			return 0;
		++*escapes;
		i++;
	}
	return 0;
}

bool twzdb__kind_sound(uint32_t kind, const struct rec_pm *r)
{
	uint32_t escapes;

	if (kind & TWZDB_TABLE_DUPSORT)
		return prefix_len(kind, rec_key(r), rec_klen(r), &escapes) && !rec_vlen(r);
	return !(kind & TWZDB_TABLE_INTKEY) || rec_klen(r) == NUM_LEN;
}

static int no_pair(struct twzdb_txn *tx, uint64_t table)
{
	return twzdb__corrupt(tx->db, table, "a key of the table is none of its kind");
}

static bool has_prefix(const struct rec_pm *r, struct bkey prefix)
{
	return rec_klen(r) >= prefix.len &&
	       (!prefix.len || !memcmp(rec_key(r), prefix.p, prefix.len));
}

static struct twzdb_slice pair_value(const struct rec_pm *r, uint32_t prefix)
{
	return (struct twzdb_slice){rec_key(r) + prefix, rec_klen(r) - prefix};
}

/* --- rows --- */

int twzdb__kind_get(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice key,
		    struct twzdb_slice *value)
{
	uint32_t kind = twzdb__kind(tx, t);
	const struct rec_pm *r;
	struct keybuf buf = {.big = NULL};
	struct nref leaf;
	struct bkey k;
	unsigned pos;
	int err = twzdb__key_in(kind, key, &buf, &k, "get");

	if (err)
		return err;
	if (!(kind & TWZDB_TABLE_DUPSORT)) {
		err = twzdb__get(tx, t.h, k, &r);
		if (!err)
			*value = (struct twzdb_slice){rec_val(r), rec_vlen(r)};
		return err;
	}
	err = twzdb__find_right(tx, t.h, k, false, &leaf, &pos, &r);
	if (!err && !has_prefix(r, k))
		err = TWZDB_E_NOTFOUND;
	if (!err)
		*value = pair_value(r, k.len);
	keybuf_free(&buf);
	return err;
}

static int dup_exists(struct twzdb_txn *tx, uint64_t table, struct bkey prefix, bool *there)
{
	const struct rec_pm *r;
	struct nref leaf;
	unsigned pos;
	int err = twzdb__find_right(tx, table, prefix, false, &leaf, &pos, &r);

	*there = !err && has_prefix(r, prefix);
	return err == TWZDB_E_NOTFOUND ? 0 : err;
}

/* Put pair K, whose value has VLEN bytes. */
static int put_pair(struct twzdb_txn *tx, struct twzdb_table t, struct bkey k, uint32_t vlen,
		    uint32_t flags)
{
	bool there;
	int err = 0;

	if (flags & (TWZDB_INSERT | TWZDB_UPDATE)) {
		err = dup_exists(tx, t.h, (struct bkey){k.p, k.len - vlen}, &there);
		if (!err && there && flags & TWZDB_INSERT)
			err = twzdb__err(TWZDB_E_EXIST, "insert: the key exists");
		if (!err && !there && flags & TWZDB_UPDATE)
			err = twzdb__err(TWZDB_E_NOTFOUND, "update: no such key");
	}
	if (err)
		return err;
	err = twzdb__put_row(tx, t.h, k, (struct twzdb_slice){NULL, 0},
			     flags & TWZDB_APPEND ? TWZDB_APPEND : TWZDB_INSERT);
	if (err != TWZDB_E_EXIST)
		return err;
	return flags & TWZDB_NODUP ? twzdb__err(err, "put: the pair exists") : 0;
}

static int dup_put(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice key,
		   struct twzdb_slice value, uint32_t flags)
{
	struct keybuf buf = {.big = NULL};
	struct bkey k;
	int err = pair_in(twzdb__kind(tx, t), key, value, &buf, &k, "put");

	if (!err)
		err = put_pair(tx, t, k, (uint32_t)value.len, flags);
	keybuf_free(&buf);
	return err;
}

int twzdb__kind_put(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice key,
		    struct twzdb_slice value, uint32_t flags)
{
	uint32_t kind = twzdb__kind(tx, t);
	struct keybuf buf = {.big = NULL};
	struct bkey k;
	int err;

	if (kind & TWZDB_TABLE_DUPSORT)
		return dup_put(tx, t, key, value, flags);
	err = twzdb__key_in(kind, key, &buf, &k, "put");
	return err ? err : twzdb__put_row(tx, t.h, k, value, flags);
}

int twzdb__dup_del(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice key)
{
	struct keybuf buf = {.big = NULL}, end_buf = {.big = NULL};
	struct bkey k, end;
	uint64_t cnt;
	int err = twzdb__key_in(twzdb__kind(tx, t), key, &buf, &k, "del");

	if (!err)
		err = prefix_end(k, &end_buf, &end);
	if (!err)
		err = twzdb__del_range(tx, t.h, k, end, &cnt);
	if (!err && !cnt)
		err = twzdb__err(TWZDB_E_NOTFOUND, "delete: no such key");
	keybuf_free(&buf);
	keybuf_free(&end_buf);
	return err;
}

int twzdb__dup_del_pair(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice key,
			struct twzdb_slice value)
{
	struct keybuf buf = {.big = NULL};
	struct bkey k;
	int err = pair_in(twzdb__kind(tx, t), key, value, &buf, &k, "del_if");

	if (!err)
		err = twzdb__del(tx, t.h, k);
	keybuf_free(&buf);
	return err;
}

/* --- cursors --- */

static void unescape(const uint8_t *p, uint32_t len, uint8_t *out)
{
	for (uint32_t i = 0; i < len; i++) {
		*out++ = p[i];
		i += !p[i]; /* its 255 */
	}
}

/* The key R begins with, as the user knows it. Without escapes it lies in the record as it is. */
static int key_out(struct twzdb_cursor *c, uint32_t kind, const struct rec_pm *r, uint32_t prefix,
		   uint32_t escapes, struct twzdb_slice *key)
{
	const uint8_t *p = rec_key(r);

	if (kind & TWZDB_TABLE_INTKEY) {
		c->num = be64(p);
		*key = (struct twzdb_slice){&c->num, sizeof(c->num)};
		return 0;
	}
	*key = (struct twzdb_slice){p, prefix - END_LEN - escapes};
	if (!escapes)
		return 0;
	if (!c->text || c->text_cap < prefix) {
		uint8_t *text = realloc(c->text, prefix);

		if (!text)
			return twzdb__err(-ENOMEM, "cursor: no memory for a key");
		c->text = text;
		c->text_cap = prefix;
	}
	unescape(p, prefix - END_LEN, c->text);
	key->ptr = c->text;
	return 0;
}

/* Stand at R, and say what it is. */
static int arrive(struct twzdb_cursor *c, uint32_t kind, const struct rec_pm *r,
		  struct twzdb_slice *key, struct twzdb_slice *value)
{
	struct twzdb_slice k;
	uint32_t escapes, prefix = prefix_len(kind, rec_key(r), rec_klen(r), &escapes);
	int err;

	if (!prefix || (!(kind & TWZDB_TABLE_DUPSORT) && rec_klen(r) != NUM_LEN))
		return no_pair(c->tx, c->table);
	err = key_out(c, kind, r, prefix, escapes, &k);
	if (err)
		return err;
	err = twzdb__cursor_settle(c, r);
	if (err)
		return err;
	if (key)
		*key = k;
	if (value && kind & TWZDB_TABLE_DUPSORT)
		*value = pair_value(r, prefix);
	else if (value)
		*value = (struct twzdb_slice){rec_val(r), rec_vlen(r)};
	return 0;
}

/* Prefix of the pair the cursor is at. */
static int current_prefix(const struct twzdb_cursor *c, uint32_t kind, struct bkey *prefix)
{
	uint32_t escapes;

	if (c->state != CUR_AT)
		return twzdb__err(TWZDB_E_NOTFOUND, "cursor: at no row");
	*prefix = cur_key(c);
	prefix->len = prefix_len(kind, prefix->p, prefix->len, &escapes);
	return prefix->len ? 0 : no_pair(c->tx, c->table);
}

/* NEXT_DUP and its like: the row OP and K lead to, if it is one of the present key. */
static int move_dup(struct twzdb_cursor *c, struct bkey prefix, int op, struct bkey k,
		    const struct rec_pm **r)
{
	int err = twzdb__cursor_move(c, op, k, r);

	if (!err && !has_prefix(*r, prefix))
		err = TWZDB_E_NOTFOUND;
	if (err)
		c->leaf.p = 0; /* the cursor stays; its hint went on */
	return err == TWZDB_E_NOTFOUND ? twzdb__err(err, "cursor: no such value of this key") : err;
}

static int move_from(struct twzdb_cursor *c, int op, struct bkey prefix, struct bkey end,
		     const struct rec_pm **r)
{
	int err;

	switch (op) {
	case TWZDB_FIRST_DUP:
		return move_dup(c, prefix, TWZDB_SEEK_GE, prefix, r);
	case TWZDB_LAST_DUP:
		return move_dup(c, prefix, TWZDB__SEEK_LT, end, r);
	case TWZDB_NEXT_DUP:
		return move_dup(c, prefix, TWZDB_NEXT, prefix, r);
	case TWZDB_PREV_DUP:
		return move_dup(c, prefix, TWZDB_PREV, prefix, r);
	case TWZDB_NEXT_NODUP:
		err = bkey_is_inf(end) ? TWZDB_E_NOTFOUND
				       : twzdb__cursor_move(c, TWZDB_SEEK_GE, end, r);
		return err == TWZDB_E_NOTFOUND ? twzdb__cursor_lost(c, TWZDB_NEXT) : err;
	default:
		err = twzdb__cursor_move(c, TWZDB__SEEK_LT, prefix, r);
		return err == TWZDB_E_NOTFOUND ? twzdb__cursor_lost(c, TWZDB_PREV) : err;
	}
}

static int from_here(struct twzdb_cursor *c, uint32_t kind, int op, const struct rec_pm **r)
{
	struct keybuf buf = {.big = NULL};
	struct bkey prefix, end;
	int err = current_prefix(c, kind, &prefix);

	if (!err)
		err = prefix_end(prefix, &buf, &end);
	if (!err)
		err = move_from(c, op, prefix, end, r);
	keybuf_free(&buf);
	return err;
}

/* What a SEEK of the user means in the tree. WANT: what the row found must begin with. */
static int seek_plan(uint32_t kind, int op, const struct twzdb_slice *key,
		     const struct twzdb_slice *value, struct keybuf *buf, struct bkey *k,
		     struct bkey *want, int *tree_op)
{
	int err;

	*want = (struct bkey){buf->b, 0};
	*tree_op = op == TWZDB_SEEK_BOTH ? TWZDB_SEEK : TWZDB_SEEK_GE;
	if (op == TWZDB_SEEK_BOTH || op == TWZDB_SEEK_BOTH_GE) {
		err = pair_in(kind, *key, *value, buf, k, "cursor");
		if (!err)
			*want = (struct bkey){k->p, k->len - (uint32_t)value->len};
		return err;
	}
	err = twzdb__key_in(kind, *key, buf, k, "cursor");
	if (err)
		return err;
	if (!(kind & TWZDB_TABLE_DUPSORT))
		*tree_op = op;
	else if (op == TWZDB_SEEK)
		*want = *k;
	else if (op == TWZDB_SEEK_LE) {
		*tree_op = TWZDB__SEEK_LT;
		return prefix_end(*k, buf, k);
	}
	return 0;
}

static int seek(struct twzdb_cursor *c, uint32_t kind, int op, const struct twzdb_slice *key,
		const struct twzdb_slice *value, const struct rec_pm **r)
{
	struct keybuf buf = {.big = NULL};
	struct bkey k, want;
	int tree_op, err = seek_plan(kind, op, key, value, &buf, &k, &want, &tree_op);

	if (!err) {
		err = twzdb__cursor_move(c, tree_op, k, r);
		if (!err && !has_prefix(*r, want))
			err = TWZDB_E_NOTFOUND;
		if (err == TWZDB_E_NOTFOUND)
			err = twzdb__cursor_lost(c, op);
	}
	keybuf_free(&buf);
	return err;
}

int twzdb__kind_cursor_get(struct twzdb_cursor *c, int op, struct twzdb_slice *key,
			   struct twzdb_slice *value)
{
	uint32_t kind = twzdb__kind(c->tx, c->t);
	const struct rec_pm *r = NULL;
	int err;

	switch (op) {
	case TWZDB_SEEK:
	case TWZDB_SEEK_GE:
	case TWZDB_SEEK_LE:
	case TWZDB_SEEK_BOTH:
	case TWZDB_SEEK_BOTH_GE:
		err = seek(c, kind, op, key, value, &r);
		break;
	case TWZDB_FIRST:
	case TWZDB_LAST:
	case TWZDB_NEXT:
	case TWZDB_PREV:
	case TWZDB_CURRENT:
		err = twzdb__cursor_move(c, op, cur_key(c), &r);
		if (err == TWZDB_E_NOTFOUND)
			err = twzdb__cursor_lost(c, op);
		break;
	default:
		err = from_here(c, kind, op, &r);
	}
	return err ? err : arrive(c, kind, r, key, value);
}

/* The pair the cursor is at becomes K, and the cursor is there. The new one first: that may fail. */
static int become_pair(struct twzdb_cursor *c, struct bkey k)
{
	const struct rec_pm *r;
	uint8_t *room = twzdb__cursor_room(c, k.len);
	int err = room ? twzdb__get(c->tx, c->table, cur_key(c), &r) : -ENOMEM;

	if (err)
		return err == TWZDB_E_NOTFOUND ? twzdb__err(err, "update: no such pair") : err;
	if (!bkey_cmp(k, cur_key(c)))
		return 0;
	err = twzdb__put_row(c->tx, c->table, k, (struct twzdb_slice){NULL, 0}, TWZDB_INSERT);
	if (!err || err == TWZDB_E_EXIST)
		err = twzdb__break(c->tx, twzdb__del(c->tx, c->table, cur_key(c)));
	if (!err) {
		memcpy(room, k.p, k.len);
		c->klen = k.len;
	}
	return err;
}

int twzdb__dup_cursor_put(struct twzdb_cursor *c, struct twzdb_slice value)
{
	struct keybuf buf = {.big = NULL};
	struct bkey prefix;
	uint8_t *b;
	int err = current_prefix(c, twzdb__kind(c->tx, c->t), &prefix);

	if (err)
		return err;
	if (value.len > TWZDB_KEY_MAX - prefix.len || (value.len && !value.ptr))
		return twzdb__err(value.ptr ? TWZDB_E_TOOBIG : TWZDB_E_INVAL,
				  "cursor: a value of %zu bytes; %zu are possible here", value.len,
				  TWZDB_KEY_MAX - prefix.len);
	b = twzdb__keybuf_get(&buf, prefix.len + value.len);
	if (!b)
		return -ENOMEM;
	memcpy(b, prefix.p, prefix.len);
	if (value.len)
		memcpy(b + prefix.len, value.ptr, value.len);
	err = become_pair(c, (struct bkey){b, prefix.len + (uint32_t)value.len});
	keybuf_free(&buf);
	return err;
}

int twzdb__dup_cursor_count(struct twzdb_cursor *c, uint64_t *cnt)
{
	const struct rec_pm *r;
	struct twzdb_cursor *walk;
	struct bkey prefix;
	int err = current_prefix(c, twzdb__kind(c->tx, c->t), &prefix);

	if (!err)
		err = twzdb_cursor_open(c->tx, c->t, &walk);
	if (err)
		return err;
	for (err = twzdb__cursor_move(walk, TWZDB_SEEK_GE, prefix, &r);
	     !err && has_prefix(r, prefix);
	     err = twzdb__cursor_move(walk, TWZDB_NEXT, prefix, &r)) {
		err = twzdb__cursor_settle(walk, r);
		if (err)
			break;
		++*cnt;
	}
	twzdb_cursor_close(walk);
	return err == TWZDB_E_NOTFOUND ? 0 : err;
}
