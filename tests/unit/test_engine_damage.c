/* SPDX-License-Identifier: MIT
 * test_engine_damage.c -- chosen damage: what each piece of it must lead to (D10)
 *
 * test_engine_hostile.c damages at random; here every case is one thing that once hung, crashed
 * or gave a wrong answer. A child process with an alarm does the damage and looks, so that a
 * hang or a crash is a failed case.
 */
#include "engine_t.h"

#include "../../engine/src/internal.h"

#include <signal.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <xxhash.h>

#define ROWS 3000

static const char *path;

/* What is not as it should be is said, and is the child's exit status. */
#define WANT(cond)                                                                                 \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "  line %d: not so: %s; %s\n", __LINE__, #cond,            \
				twzdb_errmsg());                                                   \
			return 1;                                                                  \
		}                                                                                  \
	} while (0)

static int fill(struct twzdb *db)
{
	struct twzdb_txn *tx;
	struct twzdb_table t;

	WANT(!twzdb_begin(db, 0, &tx) && !twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &t));
	for (uint64_t i = 0; i < ROWS; i++)
		WANT(!twzdb_put(tx, t, et_key(i), et_val(i, 20), 0));
	WANT(!twzdb_put(tx, t, et_str("zz"), et_val(7, 200000), 0));
	WANT(!twzdb_commit(tx));
	return twzdb_checkpoint(db);
}

/* A leaf in the middle of the table. */
static struct node_pm *some_leaf(struct twzdb *db, uint64_t *p)
{
	struct bkey k = {et_key(ROWS / 2).ptr, 8};
	struct twzdb_txn *tx;
	struct twzdb_table t;
	struct nref leaf;
	unsigned pos;
	bool exact;

	if (twzdb_begin(db, TWZDB_RDONLY, &tx) || twzdb_table_open(tx, "t", 0, &t) ||
	    twzdb__seek(tx, t.h, k, false, &leaf, &pos, &exact, NULL))
		abort();
	twzdb_abort(tx);
	*p = leaf.p;
	return twzdb__at(db, leaf.p, sizeof(struct node_pm));
}

/* First unit of a kind; *P: where. */
static struct unit_pm *some_unit(struct twzdb *db, unsigned kind, uint64_t *p)
{
	for (uint32_t i = 0; i < db->root->units[0]; i++) {
		struct unit_pm *u;

		*p = twz_pptr_make(TWZDB_NO_DATA, TWZ_DATA_OFF + ((uint64_t)i << TWZDB_UNIT_SHIFT))
			     .v;
		u = twzdb__at(db, *p, sizeof(*u));
		if (u->magic == TWZDB_UNIT_MAGIC && u->kind == kind)
			return u;
	}
	abort();
}

static void seal(struct unit_pm *u)
{
	u->sum = (uint32_t)XXH3_64bits(u, offsetof(struct unit_pm, sum));
}

static int scan(struct twzdb_txn *tx, struct twzdb_table t, enum twzdb_seek first,
		enum twzdb_seek next)
{
	struct twzdb_slice k, v;
	struct twzdb_cursor *c;
	int err = twzdb_cursor_open(tx, t, &c);

	if (!err)
		err = twzdb_cursor_get(c, first, &k, &v);
	while (!err)
		err = twzdb_cursor_get(c, next, &k, &v);
	twzdb_cursor_close(c);
	return err;
}

/* Every way to the damaged leaf ends in TWZDB_E_CORRUPT, for readers and for the writer. */
static int leaf_is_lost(struct twzdb *db)
{
	struct twzdb_txn *tx;
	struct twzdb_table t;
	struct twzdb_slice v;
	uint64_t cnt;

	for (unsigned flags = 0; flags <= TWZDB_RDONLY; flags++) {
		WANT(!twzdb_begin(db, flags, &tx) && !twzdb_table_open(tx, "t", 0, &t));
		WANT(twzdb_get(tx, t, et_key(ROWS / 2), &v) == TWZDB_E_CORRUPT);
		WANT(!twzdb_get(tx, t, et_key(1), &v));
		WANT(twzdb_count(tx, t, &cnt) == TWZDB_E_CORRUPT);
		WANT(scan(tx, t, TWZDB_FIRST, TWZDB_NEXT) == TWZDB_E_CORRUPT);
		WANT(scan(tx, t, TWZDB_LAST, TWZDB_PREV) == TWZDB_E_CORRUPT);
		if (!flags)
			WANT(twzdb_put(tx, t, et_key(ROWS / 2), et_val(1, 20), 0) ==
			     TWZDB_E_CORRUPT);
		twzdb_abort(tx);
	}
	WANT(!twzdb_check(db, NULL, NULL, &cnt) && cnt);
	/* comes to an end; nothing can be written to that stream */
	(void)!twzdb_dump(db, TWZDB_DUMP_NODES, stdin);
	return 0;
}

static int odd_version(struct twzdb *db)
{
	uint64_t p;

	some_leaf(db, &p)->ver |= 1;
	return leaf_is_lost(db);
}

static int dead_leaf(struct twzdb *db)
{
	uint64_t p;

	some_leaf(db, &p)->flags = TWZDB_NODE_DEAD;
	return leaf_is_lost(db);
}

/* A reader need not take the writer lock to know: its own thread may hold it. */
static int odd_version_beside_a_writer(struct twzdb *db)
{
	struct twzdb_txn *tx, *rd;
	struct twzdb_table t;
	struct twzdb_slice v;
	uint64_t p;

	some_leaf(db, &p)->ver |= 1;
	WANT(!twzdb_begin(db, 0, &tx) && !twzdb_begin(db, TWZDB_RDONLY, &rd) &&
	     !twzdb_table_open(rd, "t", 0, &t));
	WANT(twzdb_get(rd, t, et_key(ROWS / 2), &v) == TWZDB_E_CORRUPT);
	return 0;
}

static int run_beyond_object(struct twzdb *db)
{
	uint64_t p, cnt;
	struct unit_pm *u = some_unit(db, TWZDB_UNIT_LARGE, &p);
	struct rec_pm *r = (struct rec_pm *)(u + 1);

	u->run = 16000;
	u->block_len = (uint32_t)(16000ULL * TWZDB_UNIT_LEN - 64 - TWZDB_UNIT_TAIL) & ~15U;
	seal(u);
	r->vlf = (r->vlf & ~TWZDB_VLF_LEN) | 60U << 20;
	WANT(!twzdb__is_rec(db, p + sizeof(*u)));
	WANT(!twzdb_check(db, NULL, NULL, &cnt) && cnt);
	return 0;
}

static int nodes_called_records(struct twzdb *db)
{
	uint64_t p, cnt;
	struct unit_pm *u = some_unit(db, TWZDB_UNIT_NODES, &p);

	u->cls = 3;
	seal(u);
	WANT(!twzdb_check(db, NULL, NULL, &cnt) && cnt);
	return 0;
}

static int counts_of_the_root(struct twzdb *db)
{
	static const uint64_t bad[] = {0, 5000, UINT64_MAX};
	struct twzdb_txn *tx;
	struct twzdb_table t;
	uint64_t cnt;

	for (unsigned i = 0; i < 3; i++) {
		db->root->obj_cnt = bad[i];
		WANT(!twzdb_check(db, NULL, NULL, &cnt) && cnt);
		WANT(!twzdb_begin(db, 0, &tx) && !twzdb_table_open(tx, "t", 0, &t));
		for (uint64_t k = 0; k < 40; k++)
			(void)!twzdb_put(tx, t, et_key(k), et_val(k, 20000), 0);
		twzdb_abort(tx);
	}
	return 0;
}

/*
 * A key that is not there needs no look at its neighbours, which may be many tombstones, or,
 * here, damaged.
 */
static int seek_beside_damage(struct twzdb *db)
{
	uint8_t key[9] = {0};
	struct twzdb_slice k = {key, sizeof(key)}, v;
	const struct rec_pm *r;
	struct twzdb_cursor *c;
	struct twzdb_txn *tx;
	struct twzdb_table t;
	uint64_t p;
	struct node_pm *n = some_leaf(db, &p), *next = twzdb__at(db, n->next, sizeof(*next));

	WANT(!twzdb__rec_at(db, n->ptr[n->perm[n->n - 1]], &r) && rec_klen(r) == 8);
	memcpy(key, rec_key(r), 8);
	next->flags = TWZDB_NODE_DEAD;
	WANT(!twzdb_begin(db, TWZDB_RDONLY, &tx) && !twzdb_table_open(tx, "t", 0, &t) &&
	     !twzdb_cursor_open(tx, t, &c));
	WANT(twzdb_cursor_get(c, TWZDB_SEEK, &k, &v) == TWZDB_E_NOTFOUND);
	k.len = 8;
	WANT(!twzdb_cursor_get(c, TWZDB_SEEK, &k, &v) && v.len == 20);
	twzdb_cursor_close(c);
	twzdb_abort(tx);
	return 0;
}

/* Leaves of pairs whose right-links lead in a circle: whoever walks them comes to an end. */
static int ring_of_leaves(struct twzdb *db)
{
	struct twzdb_slice k = et_str("k"), v;
	struct node_pm *second;
	struct twzdb_cursor *c;
	struct twzdb_txn *tx;
	struct twzdb_table t;
	struct nref leaf;
	uint64_t cnt;
	unsigned pos;
	bool exact;

	WANT(!twzdb_begin(db, 0, &tx) &&
	     !twzdb_table_open(tx, "pairs", TWZDB_TABLE_CREATE | TWZDB_TABLE_DUPSORT, &t));
	for (uint64_t i = 0; i < 300; i++)
		WANT(!twzdb_put(tx, t, k, et_key(i), 0));
	WANT(!twzdb_commit(tx) && !twzdb_checkpoint(db));
	for (unsigned flags = 0; flags <= TWZDB_RDONLY; flags++) {
		WANT(!twzdb_begin(db, flags, &tx) &&
		     !twzdb_table_open(tx, "pairs", TWZDB_TABLE_ANY, &t) &&
		     !twzdb_cursor_open(tx, t, &c));
		WANT(!twzdb__seek(tx, t.h, (struct bkey){k.ptr, 1}, false, &leaf, &pos, &exact,
				  NULL));
		second = twzdb__at(db, leaf.n->next, sizeof(*second));
		second->next = leaf.n->next;
		WANT(!twzdb_cursor_get(c, TWZDB_SEEK, &k, &v));
		WANT(twzdb_cursor_count(c, &cnt) == TWZDB_E_CORRUPT);
		WANT(scan(tx, t, TWZDB_FIRST, TWZDB_NEXT) == TWZDB_E_CORRUPT);
		WANT(twzdb_count(tx, t, &cnt) == TWZDB_E_CORRUPT);
		twzdb_cursor_close(c);
		twzdb_abort(tx);
	}
	return 0;
}

/* Its row must not just be missing. */
static int record_of_the_future(struct twzdb *db)
{
	struct twzdb_txn *tx;
	struct twzdb_table t;
	struct twzdb_slice v;
	uint64_t p;
	struct node_pm *n = some_leaf(db, &p);

	for (unsigned i = 0; i < n->n; i++)
		((struct rec_pm *)twzdb__at(db, n->ptr[n->perm[i]], sizeof(struct rec_pm)))->ts =
			1000;
	WANT(!twzdb_begin(db, TWZDB_RDONLY, &tx) && !twzdb_table_open(tx, "t", 0, &t));
	WANT(twzdb_get(tx, t, et_key(ROWS / 2), &v) == TWZDB_E_CORRUPT);
	twzdb_abort(tx);
	return 0;
}

/* Lengths of a long row that are out of range, or stored as no long row's are. */
static int long_row_damaged(struct twzdb *db)
{
	static const struct {
		uint32_t klt, vlf, klen, vlen;
	} bad[] = {{TWZDB_KLT_LONG, 0, UINT32_MAX, 5},	 {TWZDB_KLT_LONG, 0, 3000, UINT32_MAX},
		   {TWZDB_KLT_LONG, 0, 3000, 1U << 30},	 {TWZDB_KLT_LONG, 0, 1U << 30, 0},
		   {TWZDB_KLT_LONG, 7, 3000, 5},	 {TWZDB_KLT_LONG, 0, 100, 5},
		   {TWZDB_KLT_LONG - 1, 0, 3000, 5},	 {TWZDB_KEY_SHORT + 1, 5, 3000, 5},
		   {UINT32_MAX & TWZDB_KLT_LEN, 0, 0, 0}};
	static uint8_t bytes[3000];
	struct twzdb_slice key = {bytes, sizeof(bytes)}, v;
	const struct rec_pm *found;
	struct twzdb_txn *tx;
	struct twzdb_table t;
	uint64_t cnt;
	struct rec_pm *r;

	memset(bytes, 0x7f, sizeof(bytes));
	WANT(!twzdb_begin(db, 0, &tx) && !twzdb_table_open(tx, "t", 0, &t) &&
	     !twzdb_put(tx, t, key, et_val(1, 5), 0) && !twzdb_commit(tx));
	WANT(!twzdb_begin(db, TWZDB_RDONLY, &tx) &&
	     !twzdb__get(tx, t.h, (struct bkey){bytes, sizeof(bytes)}, &found));
	r = (struct rec_pm *)(uintptr_t)found;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		r->klt = (r->klt & ~TWZDB_KLT_LEN) | bad[i].klt;
		r->vlf = (r->vlf & ~TWZDB_VLF_LEN) | bad[i].vlf;
		*rec_long(r) = (struct rec_long_pm){bad[i].klen, bad[i].vlen};
		WANT(twzdb_get(tx, t, key, &v) == TWZDB_E_CORRUPT);
		WANT(scan(tx, t, TWZDB_FIRST, TWZDB_NEXT) == TWZDB_E_CORRUPT);
		WANT(scan(tx, t, TWZDB_LAST, TWZDB_PREV) == TWZDB_E_CORRUPT);
		WANT(!twzdb_check(db, NULL, NULL, &cnt) && cnt);
		WANT(!twzdb__rec_fits(r, 65536));
	}
	r->klt |= TWZDB_KLT_LONG;
	r->vlf &= ~TWZDB_VLF_LEN;
	*rec_long(r) = (struct rec_long_pm){3000, 5};
	WANT(!twzdb_get(tx, t, key, &v) && v.len == 5);
	WANT(!twzdb_check(db, NULL, NULL, &cnt) && !cnt);
	twzdb_abort(tx);
	return 0;
}

/* The unit table remembers what the header was; nobody may look for it there all the same. */
static int anchors_without_header(struct twzdb *db)
{
	struct twzdb_table t = {0, 0};
	struct twzdb_slice v;
	struct twzdb_txn *tx;
	struct unit_pm *u = NULL;
	uint64_t p;

	for (uint32_t i = 0; i < db->root->units[0]; i++) {
		p = twz_pptr_make(TWZDB_NO_DATA, TWZ_DATA_OFF + ((uint64_t)i << TWZDB_UNIT_SHIFT))
			    .v;
		u = twzdb__at(db, p, sizeof(*u));
		if (u->magic == TWZDB_UNIT_MAGIC && u->cls == TWZDB_CLS_TABLE)
			u->sum ^= 1;
	}
	memset(db->anchors, 0, sizeof(db->anchors));
	WANT(!twzdb_begin(db, TWZDB_RDONLY, &tx));
	if (!twzdb_table_open(tx, "t", 0, &t))
		(void)!twzdb_get(tx, t, et_key(1), &v);
	twzdb_abort(tx);
	return 0;
}

/* An entry that calls a database's object a log, which on page media is never mapped. */
static int log_called_data(struct twzdb *db)
{
	struct twz_obj_options oo = {
		.size = sizeof(oo), .len = 65536, .flags = TWZ_OBJ_LOG | TWZ_OBJ_CONTIGUOUS};
	struct twzdb_options opt = {.size = sizeof(opt), .name = "evil"};
	struct twzdb *evil;
	struct twz_obj *o;
	bool page = twz_store_granularity(db->s) == TWZ_GRAN_PAGE;
	int err;

	WANT(!twz_obj_create(db->s, &oo, NULL, &o));
	WANT(!twz_name_set(db->s, "db/evil", twz_obj_id(o), 0));
	WANT(!!twz_obj_data(o) == !page);
	WANT(twzdb_open(path, &opt, &evil) == TWZDB_E_CORRUPT);
	WANT(!page || strstr(twzdb_errmsg(), "says it is a log"));
	WANT(!twz_fot_set(db->map[TWZDB_NO_ROOT].obj, TWZDB_NO_DATA + 1, twz_obj_id(o),
			  TWZ_READ | TWZ_WRITE));
	err = twzdb__map_obj(db, TWZDB_NO_DATA + 1);
	WANT(page ? err == TWZDB_E_CORRUPT : !err);
	twz_obj_close(o);
	return 0;
}

/* A damaged row that is longer than its block ends in the free one behind it, where its tombstone would be built. */
static int row_reaches_behind(struct twzdb *db)
{
	struct bkey key = {(const uint8_t *)"abc", 3};
	struct rec_pm *r, *again;
	struct twzdb_table t;
	struct twzdb_txn *tx;
	uint64_t p, q;

	WANT(!twzdb_begin(db, 0, &tx) && !twzdb_table_open(tx, "t", 0, &t));
	WANT(!twzdb__rec_new(tx, 1, key, NULL, 0, 0, TWZDB_TOMB, &p, &r));
	twzdb__rec_unreserve(tx, p);
	for (int at = -2; at <= 36; at += 19) {
		key.p = (const uint8_t *)r + at;
		WANT(twzdb__rec_new(tx, 1, key, NULL, 0, 0, TWZDB_TOMB, &q, &again) ==
		     TWZDB_E_CORRUPT);
		WANT(q == p);
	}
	key.p = (const uint8_t *)r - 3;
	WANT(!twzdb__rec_new(tx, 1, key, NULL, 0, 0, TWZDB_TOMB, &q, &again) && q == p);
	twzdb__rec_unreserve(tx, q);
	twzdb_abort(tx);
	return 0;
}

/* --- running a case --- */

static int in_child(void *arg)
{
	int (*fn)(struct twzdb *) = *(int (**)(struct twzdb *))arg;
	struct twzdb *db;

	alarm(30); /* the sanitizers' time */
	WANT(!et_open(path, &db));
	WANT(!fill(db));
	return fn(db);
}

static void on_both_media(int (*fn)(struct twzdb *))
{
	for (enum et_media m = ET_PAGE; m <= ET_LINE; m++) {
		path = et_path(m, "damage.twz");
		unlink(path);
		T_EQ(t_fork(in_child, &fn), 0);
	}
}

#define CASE(name, fn)                                                                             \
	static void name(void)                                                                     \
	{                                                                                          \
		on_both_media(fn);                                                                 \
	}
CASE(a_version_left_odd_is_damage, odd_version)
CASE(a_way_to_a_dead_leaf_is_damage, dead_leaf)
CASE(a_reader_knows_without_the_lock, odd_version_beside_a_writer)
CASE(a_run_ends_in_its_object, run_beyond_object)
CASE(a_unit_is_of_one_kind, nodes_called_records)
CASE(counts_in_the_root_are_clamped, counts_of_the_root)
CASE(an_exact_seek_stays_in_its_leaf, seek_beside_damage)
CASE(counting_pairs_comes_to_an_end, ring_of_leaves)
CASE(a_record_of_the_future_is_damage, record_of_the_future)
CASE(anchors_need_no_header_once_known, anchors_without_header)
CASE(long_rows_have_sound_lengths, long_row_damaged)
CASE(an_object_that_calls_itself_a_log_is_refused, log_called_data)
CASE(a_row_that_reaches_into_a_free_block_is_refused, row_reaches_behind)

/* --- records of the log --- */

struct crafted {
	struct lrec_pm h;
	struct item_pm it;
	uint64_t pl[80];
};

struct hostile_case {
	const char *rule; /* what the refusal says */
	void (*make)(struct twzdb *db, struct crafted *r);
};

static void word(struct crafted *r, uint64_t where, uint64_t value)
{
	r->it = (struct item_pm){TWZDB_IT_WORD, 0, 8, where};
	r->pl[0] = value;
}

static void no_objects(struct twzdb *db, struct crafted *r)
{
	(void)db;
	word(r, DB_PTR(offsetof(struct db_pm, obj_cnt)), 0);
}

static void many_objects(struct twzdb *db, struct crafted *r)
{
	(void)db;
	word(r, DB_PTR(offsetof(struct db_pm, obj_cnt)), 5000);
}

static void many_units(struct twzdb *db, struct crafted *r)
{
	(void)db;
	word(r, DB_PTR(offsetof(struct db_pm, units)), (uint64_t)1 << 40);
}

static void bad_root(struct twzdb *db, struct crafted *r)
{
	(void)db;
	word(r, twzdb__catalog() + offsetof(struct table_pm, root), 0x80012345);
}

static void retyped(struct twzdb *db, struct crafted *r)
{
	uint64_t p;
	struct unit_pm u = *some_unit(db, TWZDB_UNIT_NODES, &p);

	u.kind = TWZDB_UNIT_RECORDS;
	u.cls = 1;
	u.block_len = u.first = 64;
	u.block_cnt = 1000;
	seal(&u);
	r->it = (struct item_pm){TWZDB_IT_UNIT, 0, sizeof(u), p};
	memcpy(r->pl, &u, sizeof(u));
}

static void crowded_node(struct twzdb *db, struct crafted *r)
{
	struct node_wr_pm w = {255 << 8, 0, 2};
	uint64_t p;

	r->pl[2] = some_leaf(db, &p)->next;
	r->it = (struct item_pm){TWZDB_IT_NODE_WR, 0, 24, p};
	memcpy(r->pl, &w, sizeof(w));
}

/* The record ends with the item's header. */
static void cut_node_write(struct twzdb *db, struct crafted *r)
{
	uint64_t p;

	some_leaf(db, &p);
	r->it = (struct item_pm){TWZDB_IT_NODE_WR, 0, 0, p};
}

static void twisted_node(struct twzdb *db, struct crafted *r)
{
	struct node_pm n;
	uint64_t p;

	n = *some_leaf(db, &p);
	n.perm[3] = n.perm[4];
	r->it = (struct item_pm){TWZDB_IT_NODE_NEW, 0, sizeof(n), p};
	memcpy(r->pl, &n, sizeof(n));
}

static void last_commit_ever(struct twzdb *db, struct crafted *r)
{
	(void)db;
	word(r, DB_PTR(offsetof(struct db_pm, next_table)), 9);
	r->h.ts = UINT64_MAX;
}

static void future_record(struct twzdb *db, struct crafted *r)
{
	uint64_t p;
	const struct node_pm *n = some_leaf(db, &p);
	const struct rec_pm *rec = twzdb__at(db, n->ptr[n->perm[0]], sizeof(*rec));

	r->it = (struct item_pm){TWZDB_IT_REC_FULL, 0, (uint32_t)(rec_len(rec) + 7) & ~7U,
				 n->ptr[n->perm[0]]};
	memcpy(r->pl, rec, rec_len(rec));
	r->pl[0] = UINT64_MAX - 1;
}

/* Longer than its item, though it says it is not. */
static void endless_record(struct twzdb *db, struct crafted *r)
{
	struct rec_pm *rec = (struct rec_pm *)(void *)r->pl;
	uint64_t p;
	const struct node_pm *n = some_leaf(db, &p);

	r->it = (struct item_pm){TWZDB_IT_REC_FULL, 0, 64, n->ptr[n->perm[0]]};
	rec->ts = r->h.ts;
	rec->vlf = TWZDB_VLF_LIVE;
	rec->klt = TWZDB_KLT_LONG;
	*rec_long(rec) = (struct rec_long_pm){UINT32_MAX, UINT32_MAX};
}

static struct rec_run_pm *run_of_one(struct twzdb *db, struct crafted *r)
{
	struct rec_run_pm *u = (struct rec_run_pm *)(void *)r->pl;
	uint64_t p;
	const struct node_pm *n = some_leaf(db, &p);

	*u = (struct rec_run_pm){n->ptr[n->perm[0]], p, 0, 1, 0};
	r->it = (struct item_pm){TWZDB_IT_REC_RUN, 0, sizeof(*u), 0};
	return u;
}

/* Behind the last row of a unit there is none. */
static void run_beyond_unit(struct twzdb *db, struct crafted *r)
{
	struct rec_run_pm *u = run_of_one(db, r);
	uint64_t len = twzdb__block_len(db, u->where);

	while (twzdb__is_rec(db, u->where + len))
		u->where += len;
	u->cnt = 2;
}

static void run_of_none(struct twzdb *db, struct crafted *r)
{
	run_of_one(db, r)->cnt = 0;
}

static void run_too_long(struct twzdb *db, struct crafted *r)
{
	run_of_one(db, r)->cnt = UINT32_MAX;
}

static void run_of_nodes(struct twzdb *db, struct crafted *r)
{
	struct rec_run_pm *u = run_of_one(db, r);

	u->where = u->leaf;
}

static void run_in_no_leaf(struct twzdb *db, struct crafted *r)
{
	struct rec_run_pm *u = run_of_one(db, r);

	u->leaf = u->where;
}

static void run_beyond_leaf(struct twzdb *db, struct crafted *r)
{
	run_of_one(db, r)->leaf |= (uint64_t)TWZDB_FANOUT << 56;
}

static void run_cut_short(struct twzdb *db, struct crafted *r)
{
	run_of_one(db, r);
	r->it.len -= 8;
}

/* Two rows in blocks of their own, one told by the other and a range. */
static struct range_pm *row_of_ranges(struct twzdb *db, struct crafted *r)
{
	struct rec_diff_pm *d = (struct rec_diff_pm *)(void *)r->pl;
	struct range_pm *g = (struct range_pm *)(void *)(d + 1);
	uint64_t p;
	const struct node_pm *n = some_leaf(db, &p);

	*d = (struct rec_diff_pm){n->ptr[n->perm[0]], 0, 1, 0};
	*g = (struct range_pm){0, 4};
	r->it = (struct item_pm){TWZDB_IT_REC_DIFF, 0, sizeof(*d) + sizeof(*g) + 8,
				 n->ptr[n->perm[1]]};
	return g;
}

static void other_row_of_ranges(struct twzdb *db, struct crafted *r)
{
	(void)row_of_ranges(db, r);
}

static void row_of_itself(struct twzdb *db, struct crafted *r)
{
	(void)row_of_ranges(db, r);
	r->pl[0] = r->it.where;
}

static void row_of_a_node(struct twzdb *db, struct crafted *r)
{
	(void)row_of_ranges(db, r);
	some_leaf(db, &r->pl[0]);
}

static void row_of_a_table(struct twzdb *db, struct crafted *r)
{
	struct twzdb_txn *tx;
	struct twzdb_table t;

	(void)row_of_ranges(db, r);
	if (twzdb_begin(db, TWZDB_RDONLY, &tx) || twzdb_table_open(tx, "t", 0, &t))
		abort();
	twzdb_abort(tx);
	r->pl[0] = t.h - TWZDB_ANCHOR_OFF;
}

/* Its base is the long row behind all others. */
static void row_too_long(struct twzdb *db, struct crafted *r)
{
	uint64_t p;
	const struct node_pm *n = some_leaf(db, &p);

	(void)row_of_ranges(db, r);
	while (n->next)
		n = twzdb__at(db, n->next, sizeof(*n));
	r->pl[0] = n->ptr[n->perm[n->n - 1]];
}

static void range_beyond_value(struct twzdb *db, struct crafted *r)
{
	row_of_ranges(db, r)->off = UINT32_MAX - 2;
}

static void range_of_nothing(struct twzdb *db, struct crafted *r)
{
	row_of_ranges(db, r)->len = 0;
}

static void range_beyond_record(struct twzdb *db, struct crafted *r)
{
	row_of_ranges(db, r)->len = 9;
}

static void endless_range(struct twzdb *db, struct crafted *r)
{
	row_of_ranges(db, r)->len = UINT32_MAX;
}

/* The second begins before the first ends. */
static void ranges_in_disorder(struct twzdb *db, struct crafted *r)
{
	struct range_pm *g = row_of_ranges(db, r);

	g[2] = (struct range_pm){3, 4};
	r->it.len += sizeof(*g) + 8;
}

static void ranges_without_base(struct twzdb *db, struct crafted *r)
{
	(void)row_of_ranges(db, r);
	r->it.len = 16;
}

static void ranges_without_feature(struct twzdb *db, struct crafted *r)
{
	(void)row_of_ranges(db, r);
	db->root->incompat = 0;
	db->root->sum = (uint32_t)XXH3_64bits(db->root, offsetof(struct db_pm, sum));
}

static const struct hostile_case hostile[] = {
	{"without that feature", ranges_without_feature},
	{"another checksum", other_row_of_ranges},
	{"is no record block", row_of_itself},
	{"is no record block", row_of_a_node},
	{"is no row", row_of_a_table},
	{"longer than its block", row_too_long},
	{"outside the value", range_beyond_value},
	{"outside the value", range_of_nothing},
	{"longer than its record", range_beyond_record},
	{"longer than its record", endless_range},
	{"out of order", ranges_in_disorder},
	{"is no record block", ranges_without_base},
	{"number of data objects", no_objects},
	{"number of data objects", many_objects},
	{"number of units", many_units},
	{"root of a table", bad_root},
	{"another type", retyped},
	{"node write with", crowded_node},
	{"wrong length", cut_node_write},
	{"new node with", twisted_node},
	{"cannot come next", last_commit_ever},
	{"another commit", future_record},
	{"wrong lengths", endless_record},
	{"run names no blocks", run_beyond_unit},
	{"run of a wrong length", run_of_none},
	{"run of a wrong length", run_too_long},
	{"run names no blocks", run_of_nodes},
	{"run of no leaf", run_in_no_leaf},
	{"run of no leaf", run_beyond_leaf},
	{"runs of a wrong length", run_cut_short},
};

static int append_and_die(void *arg)
{
	const struct hostile_case *h = arg;
	struct crafted r = {0};
	struct iovec iov = {&r, 0};
	struct twzdb_txn *tx;
	struct twzdb *db;
	uint64_t lsn;

	WANT(!et_open(path, &db) && !fill(db) && !twzdb_begin(db, 0, &tx));
	r.h = (struct lrec_pm){TWZDB_LREC_MAGIC, 0, TWZDB_LREC_COMMIT, twzdb_txn_ts(tx) + 1, 0, 1};
	h->make(db, &r);
	r.h.len = iov.iov_len = sizeof(r.h) + sizeof(r.it) + r.it.len;
	WANT(!twz_log_append(db->log, &iov, 1, &lsn));
	kill(getpid(), SIGKILL);
	return 1;
}

static void hostile_log_records_are_refused(void)
{
	for (unsigned i = 0; i < 2 * sizeof(hostile) / sizeof(hostile[0]); i++) {
		struct hostile_case h = hostile[i / 2];
		struct twzdb *db = NULL;

		path = et_path(i % 2 ? ET_LINE : ET_PAGE, "log.twz");
		unlink(path);
		T_EQ(t_fork(append_and_die, &h), SIGKILL);
		T_ERR(et_open(path, &db), TWZDB_E_CORRUPT);
		T_HAS(twzdb_errmsg(), h.rule);
		twzdb_close(db);
	}
}

/* What a damaged leaf says of its tombstones ends in no log record that replay refuses. */
static int commit_beside_damage(void *arg)
{
	struct twzdb_table t;
	struct twzdb_txn *tx;
	struct twzdb *db;
	uint64_t p;

	(void)arg;
	WANT(!et_open(path, &db) && !fill(db));
	some_leaf(db, &p)->tombs = 200;
	WANT(!twzdb_begin(db, 0, &tx) && !twzdb_table_open(tx, "t", 0, &t));
	WANT(!twzdb_put(tx, t, et_key(ROWS / 2), et_val(1, 20), 0) && !twzdb_commit(tx));
	kill(getpid(), SIGKILL);
	return 1;
}

static void a_damaged_count_is_not_logged(void)
{
	for (enum et_media m = ET_PAGE; m <= ET_LINE; m++) {
		struct twzdb *db = NULL;

		path = et_path(m, "count.twz");
		unlink(path);
		T_EQ(t_fork(commit_beside_damage, NULL), SIGKILL);
		T_OK(et_open(path, &db));
		T_OK(twzdb_close(db));
	}
}

/* --- waiting --- */

static void check_does_not_wait_for_its_own_thread(void)
{
	struct twzdb_txn *tx;
	struct twzdb *db;
	uint64_t cnt;

	path = et_path(ET_LINE, "busy.twz");
	T_REQ(et_open(path, &db));
	T_REQ(twzdb_begin(db, 0, &tx));
	alarm(30);
	T_ERR(twzdb_check(db, NULL, NULL, &cnt), TWZDB_E_BUSY);
	T_HAS(twzdb_errmsg(), "a write transaction of database 'main'");
	alarm(0);
	twzdb_abort(tx);
	T_TRUE(et_clean(db));
	T_OK(twzdb_close(db));
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(a_version_left_odd_is_damage),
		T_CASE(a_way_to_a_dead_leaf_is_damage),
		T_CASE(a_reader_knows_without_the_lock),
		T_CASE(a_run_ends_in_its_object),
		T_CASE(a_unit_is_of_one_kind),
		T_CASE(counts_in_the_root_are_clamped),
		T_CASE(an_exact_seek_stays_in_its_leaf),
		T_CASE(counting_pairs_comes_to_an_end),
		T_CASE(a_record_of_the_future_is_damage),
		T_CASE(an_object_that_calls_itself_a_log_is_refused),
		T_CASE(a_row_that_reaches_into_a_free_block_is_refused),
		T_CASE(anchors_need_no_header_once_known),
		T_CASE(long_rows_have_sound_lengths),
		T_CASE(hostile_log_records_are_refused),
		T_CASE(a_damaged_count_is_not_logged),
		T_CASE(check_does_not_wait_for_its_own_thread),
		T_END,
	};

	return t_main("engine_damage", cases, argc, argv);
}
