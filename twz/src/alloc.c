/* SPDX-License-Identifier: MIT
 * alloc.c -- twz_alloc, twz_free, twz_realloc: one undo transaction for block and owner (twz/alloc.h)
 *
 * Every operation has the same three steps: plan (arena.c; may fail, nothing changed), record
 * everything with one call, then store. After the record nothing can fail, so an operation that
 * joins the caller's transaction needs no nested one.
 */
#include "arena.h"
#include "tx_internal.h"

#define LEN_MAX	 ((size_t)256 << 20)
#define GROW_MIN ((uint64_t)64 << 10)

/*
 * One operation: the caller's transaction or one of its own, the arena locked in it, and its
 * plan.
 */
struct op {
	struct twz_tx *tx;
	bool own; /* the transaction is ours to end */
	struct twz__arena a;
	struct twz_range fresh;	   /* memory handed out */
	struct twz_range extra[4]; /* recorded with the plan's words: owner, memory used again */
	size_t extra_cnt;
};

static int op_begin(struct twz_obj *o, struct op *op)
{
	int err;

	op->extra_cnt = 0;
	op->fresh.len = 0;
	op->tx = twz_tx_current(o->store);
	op->own = !op->tx;
	err = op->own ? twz_tx_begin(o->store, &op->tx) : 0;
	if (err)
		return err;
	err = twz__tx_lock(op->tx, o);
	if (!err)
		err = twz__arena_follow(o);
	if (!err)
		err = twz__arena_open(o, &op->a);
	if (err && op->own)
		(void)twz_tx_abort(op->tx); /* nothing was changed: the first error tells more */
	return err;
}

static int op_end(struct op *op, int err)
{
	if (!op->own)
		return err;
	if (!err)
		return twz_tx_commit(op->tx);
	(void)twz_tx_abort(op->tx);
	return err;
}

static void op_extra(struct op *op, void *addr, size_t len)
{
	op->extra[op->extra_cnt++] = (struct twz_range){addr, len};
}

/*
 * Memory the operation hands out: its content must be durable at commit, and its old content
 * matters only if it was freed just now.
 */
static int op_memory(struct op *op, void *addr, size_t len)
{
	if (twz__tx_was_freed(op->tx, addr, len))
		op_extra(op, addr, len);
	else
		op->fresh = (struct twz_range){addr, len};
	return 0;
}

/*
 * One record call for everything the operation changes. Fresh memory only after it: the plan's
 * words inside that memory (links and headers of the free block it was) must be saved, or an
 * abort finds a free list that leads through what the user stored there.
 */
static int op_record(struct op *op)
{
	struct twz_range ranges[ARENA_WORD_MAX + 4];
	size_t n = twz__arena_ranges(&op->a, ranges);
	int err;

	for (size_t i = 0; i < op->extra_cnt; i++)
		ranges[n++] = op->extra[i];
	err = twz_tx_record_many(op->tx, ranges, n);
	return err || !op->fresh.len ? err : twz_tx_fresh(op->tx, op->fresh.addr, op->fresh.len);
}

/* --- space --- */

/*
 * Lengths to try when NEED more units are wanted: a quarter more than there is, else just
 * enough.
 */
static uint64_t grown_len(uint64_t len, uint64_t need, bool modest)
{
	uint64_t step = len / 4 < GROW_MIN ? GROW_MIN : len / 4;

	if (modest || step < need * TWZ_ARENA_UNIT)
		step = need * TWZ_ARENA_UNIT;
	len = (len + step + TWZ_PAGE_SIZE - 1) & ~(TWZ_PAGE_SIZE - 1);
	return len > TWZ_DATA_MAX ? TWZ_DATA_MAX : len;
}

/*
 * Make the arena reach further, so that a block of UNITS fits at its end. The object's growth is
 * durable at once; the arena's is planned.
 */
static int op_grow(struct op *op, uint32_t units)
{
	struct twz_obj *o = op->a.o;
	uint32_t end = twz__arena_end(&op->a), data_end;
	int err = twz_obj_refresh(
		/*
		 * a growth that another process rolled back left the object longer than its
		 * arena
		 */
		o);

	if (err)
		return err;
	data_end = (uint32_t)((TWZ_DATA_OFF + o->len) / TWZ_ARENA_UNIT);
	if (data_end < end + units + 2) {
		uint64_t need = end + units + 2 - data_end, len = grown_len(o->len, need, false);

		err = len > o->len ? twz_obj_resize(o, len) : TWZ_E_NOSPC;
		if (err == TWZ_E_NOSPC && grown_len(o->len, need, true) < len)
			err = twz_obj_resize(o, grown_len(o->len, need, true));
		data_end = (uint32_t)((TWZ_DATA_OFF + o->len) / TWZ_ARENA_UNIT);
	}
	if (!err && data_end < end + units + 2)
		err = TWZ_E_NOSPC;
	return err ? err : twz__arena_plan_grow(&op->a, data_end);
}

static int op_alloc(struct op *op, uint32_t units, struct twz__block *b)
{
	char id[TWZ_OID_STR_LEN];
	int err = twz__arena_plan_alloc(&op->a, units, false, b);

	if (err == TWZ_E_NOSPC) {
		err = op_grow(op, units);
		if (!err || err == TWZ_E_NOSPC)
			err = twz__arena_plan_alloc(&op->a, units, true, b);
	}
	if (err == TWZ_E_NOSPC)
		return twz__err(
			err,
			"%s: no room for %llu bytes in object %s of %llu: free some or use another object",
			op->a.o->store->path, (unsigned long long)units * TWZ_ARENA_UNIT,
			twz_oid_str(op->a.o->id, id), (unsigned long long)op->a.o->len);
	return err;
}

static uint8_t *payload(const struct op *op, const struct twz__block *b)
{
	return op->a.base + (uint64_t)(b->at + 1) * TWZ_ARENA_UNIT;
}

static size_t payload_len(const struct twz__block *b)
{
	return (size_t)(b->size - 1) * TWZ_ARENA_UNIT;
}

static int check_len(struct twz_obj *o, size_t len)
{
	if (!len)
		return twz__err(TWZ_E_INVAL, "%s: a block needs at least one byte", o->store->path);
	if (len > LEN_MAX)
		return twz__err(
			TWZ_E_TOOBIG,
			"%s: a block of %zu bytes exceeds the %zu allowed: use an object of its own",
			o->store->path, len, LEN_MAX);
	return 0;
}

/* The used block ADDR points to. Anything else: TWZ_E_INVAL. */
static int find_block(const struct twz__arena *a, const void *addr, struct twz__block *b)
{
	uintptr_t off = (uintptr_t)addr - (uintptr_t)a->base;

	if (addr && off < TWZ_SLOT_SIZE && off % TWZ_ARENA_UNIT == 0 &&
	    off / TWZ_ARENA_UNIT > a->first &&
	    !twz__arena_block(a, (uint32_t)(off / TWZ_ARENA_UNIT) - 1, b) &&
	    b->state == TWZ_BLOCK_USED)
		return 0;
	return twz__err(TWZ_E_INVAL, "%s: the pointer leads to no block of this arena",
			a->o->store->path);
}

static int find_owned(const struct op *op, const twz_pptr *owner, struct twz__block *b)
{
	if (twz_pptr_is_null(*owner))
		return twz__err(TWZ_E_INVAL, "%s: the owner is null: there is no block",
				op->a.o->store->path);
	return find_block(&op->a, twz_lea(owner, *owner), b);
}

/* --- calls --- */

int twz_alloc(struct twz_obj *o, size_t len, twz_pptr *owner, void **addr)
{
	struct twz__block b;
	struct op op;
	twz_pptr p;
	int err;

	if (addr)
		*addr = NULL;
	err = check_len(o, len);
	if (!err)
		err = op_begin(o, &op);
	if (err)
		return err;
	if (!twz_obj_at(owner) || !twz_pptr_is_null(*owner))
		err = twz__err(TWZ_E_INVAL,
			       "%s: the owner must be a null pointer in an open object",
			       o->store->path);
	if (!err)
		err = op_alloc(&op, twz__arena_units(len), &b);
	if (!err)
		err = twz_ptr_make(owner, payload(&op, &b), TWZ_READ | TWZ_WRITE, &p);
	if (!err)
		err = op_memory(&op, payload(&op, &b), payload_len(&b));
	op_extra(&op, owner, sizeof(*owner));
	if (!err)
		err = op_record(&op);
	if (!err) {
		twz__arena_apply(&op.a);
		memset(payload(&op, &b), 0, payload_len(&b));
		*owner = p;
		if (addr)
			*addr = payload(&op, &b);
	}
	return op_end(&op, err);
}

/* Remember that B is free only if the transaction commits. */
static int mark_freed(struct op *op, const struct twz__block *b)
{
	return twz__tx_mark_freed(op->tx, op->a.base + (uint64_t)b->at * TWZ_ARENA_UNIT,
				  (size_t)b->size * TWZ_ARENA_UNIT);
}

int twz_free(struct twz_obj *o, twz_pptr *owner)
{
	struct twz__block b;
	struct op op;
	int err = op_begin(o, &op);

	if (err)
		return err;
	err = find_owned(&op, owner, &b);
	if (!err)
		err = twz__arena_plan_free(&op.a, b.at);
	if (!err)
		err = mark_freed(&op, &b);
	op_extra(&op, owner, sizeof(*owner));
	if (!err)
		err = op_record(&op);
	if (!err) {
		twz__arena_apply(&op.a);
		*owner = TWZ_PPTR_NULL;
	}
	return op_end(&op, err);
}

/* Longer or shorter where it is, as planned: B was OLD. */
static int resize_in_place(struct op *op, const struct twz__block *old, const struct twz__block *b,
			   size_t len)
{
	size_t old_len = payload_len(old), new_len = payload_len(b);
	uint8_t *zero = payload(op, b) + (len < old_len ? len : old_len);
	int err = 0;

	if (new_len > old_len)
		err = op_memory(op, payload(op, b) + old_len, new_len - old_len);
	else if (len < new_len)
		op_extra(op, zero, new_len - len);
	if (!err && new_len < old_len)
		err = mark_freed(op, old);
	if (!err)
		err = op_record(op);
	if (err)
		return err;
	twz__arena_apply(&op->a);
	memset(zero, 0, (size_t)(payload(op, b) + new_len - zero));
	return 0;
}

/* A new block, a copy, the old block freed. */
static int move(struct op *op, const struct twz__block *old, size_t len, twz_pptr *owner,
		struct twz__block *b)
{
	size_t keep = payload_len(old) < len ? payload_len(old) : len;
	uint8_t first[TWZ_ARENA_UNIT];
	twz_pptr p;
	int err;

	op->a.cnt = 0; /* forget the plan that failed */
	err = op_alloc(op, twz__arena_units(len), b);
	if (!err)
		err = twz__arena_plan_free(&op->a, old->at);
	if (!err)
		err = mark_freed(op, old);
	if (!err)
		err = twz_ptr_make(owner, payload(op, b), TWZ_READ | TWZ_WRITE, &p);
	if (!err)
		err = op_memory(op, payload(op, b), payload_len(b));
	op_extra(op, owner, sizeof(*owner));
	if (!err)
		err = op_record(op);
	if (err)
		return err;
	memcpy(first, payload(op, old),
	       sizeof(first)); /* the links of the freed block go where it was */
	twz__arena_apply(&op->a);
	memcpy(payload(op, b), payload(op, old), keep);
	memcpy(payload(op, b), first, keep < sizeof(first) ? keep : sizeof(first));
	memset(payload(op, b) + keep, 0, payload_len(b) - keep);
	*owner = p;
	return 0;
}

int twz_realloc(struct twz_obj *o, size_t len, twz_pptr *owner, void **addr)
{
	struct twz__block b, old;
	struct op op;
	int err;

	if (addr)
		*addr = NULL;
	err = check_len(o, len);
	if (!err)
		err = op_begin(o, &op);
	if (err)
		return err;
	err = find_owned(&op, owner, &old);
	b = old;
	if (err)
		return op_end(&op, err);
	err = twz__arena_plan_resize(&op.a, &b, twz__arena_units(len));
	if (!err)
		err = resize_in_place(&op, &old, &b, len);
	else if (err == TWZ_E_NOSPC)
		err = move(&op, &old, len, owner, &b);
	if (!err && addr)
		*addr = payload(&op, &b);
	return op_end(&op, err);
}

size_t twz_alloc_len(struct twz_obj *o, const void *addr)
{
	struct twz__block b;
	struct twz__arena a;

	if (twz__store_enter(o->store) || twz__arena_open(o, &a) || find_block(&a, addr, &b))
		return 0;
	return payload_len(&b);
}

int twz_arena_stat(struct twz_obj *o, struct twz_arena_stat *st)
{
	const struct twz_arena_pm *h;
	struct twz__arena a;
	bool held;
	int err;

	memset(st, 0, sizeof(*st));
	err = twz__store_enter(o->store);
	if (!err)
		err = twz__arena_read_lock(o, &held);
	if (err)
		return err;
	err = twz__arena_open(o, &a);
	if (!err) {
		h = (const struct twz_arena_pm *)(a.base + (uint64_t)a.start * TWZ_ARENA_UNIT);
		st->total_len = (uint64_t)(h->end - a.start) * TWZ_ARENA_UNIT;
		st->used_len = (uint64_t)h->used_units * TWZ_ARENA_UNIT;
		st->free_len = (uint64_t)(h->end - 1 - a.first - h->used_units) * TWZ_ARENA_UNIT;
		st->block_cnt = h->block_cnt;
	}
	if (!held)
		twz_obj_unlock(o);
	return err;
}

static int create_locked(struct twz_obj *o, uint64_t off)
{
	struct twz_meta_pm *meta = o->meta;
	uint64_t len = (TWZ_DATA_OFF + o->len - off) & ~(uint64_t)(TWZ_ARENA_UNIT - 1), word;
	uint8_t *base = (uint8_t *)o->base;
	int err;

	if (meta->user[TWZ_ARENA_META_IDX])
		return twz__err(TWZ_E_EXIST, "%s: the object has an arena already", o->store->path);
	twz__arena_format(o, (uint32_t)off, len);
	err = twz_sync(o->store, base + off,
		       sizeof(struct twz_arena_pm) + sizeof(struct twz_free_pm));
	if (!err)
		err = twz_sync(o->store, base + off + len - TWZ_ARENA_UNIT, TWZ_ARENA_UNIT);
	if (err)
		return err;
	word = twz__arena_meta_word(o->id, (uint32_t)off);
	/* The arena exists from here on. */
	__atomic_store_n(&meta->user[TWZ_ARENA_META_IDX], word, __ATOMIC_RELEASE);
	return twz_sync(o->store, &meta->user[TWZ_ARENA_META_IDX], sizeof(word));
}

int twz_arena_create(struct twz_obj *o, uint64_t off)
{
	bool held;
	int err = twz__store_enter_write(o->store, "allocating");

	if (err)
		return err;
	off = off < TWZ_DATA_OFF ? TWZ_DATA_OFF : (off + 63) & ~63ULL;
	if (off > TWZ_DATA_OFF + o->len ||
	    TWZ_DATA_OFF + o->len - off < sizeof(struct twz_arena_pm) + 4 * TWZ_ARENA_UNIT)
		return twz__err(
			TWZ_E_INVAL,
			"%s: no room for an arena at offset %llu of an object of %llu bytes",
			o->store->path, (unsigned long long)off, (unsigned long long)o->len);
	if (!(o->perm & TWZ_WRITE) || (o->flags & (TWZ_OBJ_LOG | TWZ_OBJ_TXLOG)))
		return twz__err(TWZ_E_INVAL,
				"%s: an arena needs an object open for writing that is no log",
				o->store->path);
	err = twz__arena_read_lock(o, &held);
	if (err)
		return err;
	err = create_locked(o, off);
	if (!held)
		twz_obj_unlock(o);
	return err;
}
