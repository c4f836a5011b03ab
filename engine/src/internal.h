/* SPDX-License-Identifier: MIT
 * internal.h -- what the engine's files share: handles, the shared segment, private functions
 *
 * Reading order: format_db.h, this file, search.c (how a key is found), insert.c and delete.c
 * (how a tree changes in private), commit.c and apply.c (how the change becomes durable and
 * public), lock.c and snap.c (who may do what when).
 */
#ifndef TWZDB_INTERNAL_H
#define TWZDB_INTERNAL_H

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "twz/twz.h"
#include "twzdb.h"
#include "format_db.h"
#include "simd.h"

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/*
 * Internal result: a node changed under an optimistic reader; look again. Never leaves the
 * engine.
 */
#define TWZDB__RETRY 1

/*
 * Order loads before loads, or stores before stores, without a bus lock. x86 does so by itself:
 * only the compiler must be told
 * (a plain atomic_thread_fence would also be opaque to ThreadSanitizer).
 */
static inline void twzdb__order(void)
{
#if defined(__x86_64__)
	__asm__ volatile("" ::: "memory");
#else
	__atomic_thread_fence(__ATOMIC_ACQ_REL);
#endif
}

/* A pause between two looks at the same word. */
static inline void twzdb__pause(void)
{
#if defined(__x86_64__)
	__asm__ volatile("pause");
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

#define ld32(p)	       __atomic_load_n((p), __ATOMIC_RELAXED)
#define ld64(p)	       __atomic_load_n((p), __ATOMIC_RELAXED)
#define ld64_acq(p)    __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define st64(p, v)     __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define st32(p, v)     __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define st64_rel(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)

/* A key in memory. An infinite key (p NULL, len ~0) stands above all others. */
struct bkey {
	const uint8_t *p;
	uint32_t len;
};
#define BKEY_INF ((struct bkey){NULL, UINT32_MAX})

static inline bool bkey_is_inf(struct bkey k)
{
	return !k.p && k.len == UINT32_MAX;
}

#include "shared.h"

/* --- handles --- */

/* A store of this process, shared by the databases opened in it (db.c). */
struct twzdb__store {
	struct twzdb__store *next;
	char *path;
	const void *backend;
	pid_t pid;
	uint32_t refs;
	struct twz_store *s;
	bool read_only;
	bool watch, stale; /* reads without permission (watch.c); twz_store_hold() said so */
};

/* A data object in this process; base 0 = not open here yet. */
struct twzdb__map {
	uintptr_t base;
	uint64_t end; /* slot offsets below it are mapped */
	struct twz_obj *obj;
	uint32_t *units; /* unit table: shared, one word per unit */
	uint64_t warm;	 /* the helper has populated what is below (a hint) */
	uint64_t
		claimed; /* the writer's: how far the object may be used before free units elsewhere are (runs.c) */
};

/*
 * Blocks of a class of rows. One word, little-endian: bytes of a block for key and value, bytes of
 * all blocks, 2^32 / length of a block, rounded up.
 */
struct grid {
	uint16_t room, end;
	uint32_t inverse;
};
/* Head of the accelerator's memory (accel.c). Hostile like all of it. */
struct acc_head {
	uint64_t magic;
	uint64_t n;	/* buckets in use */
	uint64_t limit; /* buckets allocated */
	uint64_t pad[5];
	uint64_t grower __attribute__((aligned(64))); /* process that splits buckets, 0 = none */
};
/* What a read's short way must know of a unit of rows. */
struct acc_unit {
	uint64_t at; /* address of its first block */
	union {
		uint64_t word; /* grid_of() the class; 0: this process has not looked at it yet */
		struct grid grid; /* the same */
	};
};
struct twzdb__accel {
	uint64_t max; /* buckets there may ever be; 0: no accelerator */
	struct acc_head *head;
	uint64_t (*bucket)[8];
	struct twz_scratch *sc;
	struct acc_unit *unit;	     /* by number, all objects' */
	uint64_t unit_seq;	     /* the (even) value of cut_seq for which they are right */
	uint64_t unit_low, unit_end; /* those looked at are among them */
	uint64_t n, mask,
		half; /* of head->n, when a read last missed: what reads begin with (fast.h) */
	uint32_t turn, tries; /* races do no harm */
	uint64_t joined;      /* the place of the helper that joins pages */
	bool no_more;	      /* cannot grow */
};

#include "util.h"
#include "stage.h"

struct twzdb {
	struct twzdb__store *st;
	struct twz_store *s;
	struct twz_log *log;
	struct twz_log_user log_user;
	struct twzdb__shared *sh;
	struct db_pm *root;
	char *name;
	twz_oid root_id;
	uint64_t id[2];
	uint32_t proc;
	uint64_t inc;
	uint64_t fork_gen;
	bool page_media, read_only;
	const uint32_t *
		cut; /* not 0: the file was cut short, and some of what is read is zeros (twz_store_cut()) */
	struct twzdb__watch *watch; /* watch.c; NULL if it may write the shared segment */
	uint64_t carry_max;	    /* bytes of rows a log record carries on page media (D2b) */
	bool restart;		    /* twz_log_open left restart recovery to this handle */
	bool recovering;	    /* twz_log_recover is running: flush bodies too (D13) */
	bool refused; /* it stopped at a record that breaks a rule; the message says which */
	pthread_mutex_t mutex;	 /* maps, slot stack */
	uint64_t serial;	 /* of this opening, unlike any other in this process */
	struct twzdb *next_open; /* handle.c */
	struct twzdb__accel acc;
	uint64_t anchors[TWZDB_ANCHORS_KNOWN]; /* tables found to be some, by hash (catalog.c) */
	struct {
		uint64_t slot, cnt, after;
	} keep; /* the writer lock: who had it last here, how often in a row; the lock's owner's alone */
	bool plain; /* reader slots claimed here get plain stores (snap.c) */
	/* reader slots claimed here that neither a transaction nor a thread has now */
	uint32_t slot_cnt;
	uint16_t slots[TWZDB_SLOTS_KEPT];
	struct twzdb__map map[TWZDB_NO_DATA + TWZDB_OBJ_MAX];
	struct twz_obj *prep; /* TWZDB_NO_PREP, or NULL (prepare.c) */
	struct u64vec
		decided; /* with mutex: groups whose decision nobody needs any more (group.c) */
	/* records (tombstones) to purge when no snapshot needs them: pairs {table, record} */
	uint64_t *purge;
	uint32_t purge_head, purge_cnt, purge_cap;
	struct twzdb__stage stage;
	struct twzdb__views views;
	struct twzdb__helper helper[TWZDB_HELPERS];
	uint64_t joined;    /* of the store: its helper's place */
	uint32_t listeners; /* open here (listen.c) */
	struct {
		uint64_t lag, age_ms, due_ms;
		void (*fn)(void *ctx, const struct twzdb_reader *r);
		void *ctx;
	} lag; /* readers.c */
};

/* Private node of a write transaction. */
enum pnode_state {
	PN_COPY = 1,	    /* changed copy of a live node */
	PN_NEW = 2,	    /* new node */
	PN_DEAD = 3,	    /* live node merged away by this transaction */
	PN_DROP = 4,	    /* live node of a table dropped by this transaction */
	PN_GONE = 5,	    /* new node that died again */
	PN_STAGED = 6,	    /* in db->stage: what a commit not applied yet made of it */
	PN_STAGED_DEAD = 7, /* the same: it is merged away */
};
struct pnode {
	struct node_pm img;
	uint64_t p;
	uint64_t
		mask; /* PN_COPY: words of img that differ from home, unless diff says to compare */
	bool diff;
	uint64_t seq; /* newest savepoint it was saved for, or made under (savepoint.c) */
	uint32_t state;
};

/* Value of a root word in txn.words: the transaction dropped the table; its word stays as it is. */
#define TWZDB_WORD_NONE UINT64_MAX

/* What the only operation of a transaction is going to do (oneop.c). */
struct one {
	uint8_t kind; /* enum twzdb_lrec_kind, 0 = nothing noted */
	uint8_t slot, pos, tombs;
	bool acc; /* the accelerator is to know */
	uint64_t leaf, rec, old;
	uint64_t base;	 /* the row whose bytes the log record uses, or 0 (diff.c) */
	uint64_t head;	 /* of an inserted row */
	uint64_t hash;	 /* for the accelerator */
	uint64_t *entry; /* of OLD in it, if that is where OLD was found */
	uint64_t table;
	struct node_pm *home; /* the leaf; NULL: not looked for yet (nor slot and tombs) */
};

/* States of a handle: words that freed or foreign memory does not hold by chance. */
#define TWZDB__TXN_MAGIC 0xffffffffa3786e74ULL /* has begun and not ended */
#define TWZDB__TXN_RESET 0xffffffffb2736572ULL /* a reader without a snapshot */
#define TWZDB__TXN_OVER	 0xffffffffc76f7665ULL /* waits for the next transaction */
#define TWZDB__TXN_FORK	 0xffffffffd2666b64ULL /* came through a fork */

struct twzdb_txn {
	uint64_t magic;
	struct twzdb *db;
	struct sh_reader *rd;	/* its reader slot */
	struct twzdb_txn *next; /* while it waits (handle.c) */
	struct twzdb_txn *each; /* the handle made before it */
	uint64_t serial;	/* of its lives: cursors remember it */
	struct twzdb_table
		use; /* the last table found to be good here (catalog.c); kept for the next life */
	const struct table_pm *anchor;	      /* of USE, NULL for the catalog */
	uint64_t opening;		      /* of the database USE is in */
	struct twzdb_cursor *cursors, *spare; /* open; one that was closed */
	uint64_t
		quick; /* use.h, if TX is a reader and USE a plain table: most reads check no more */
	uint64_t use_id;    /* table_pm.id of USE */
	uint64_t use_quick; /* QUICK of a reader that finds USE good */
	bool pointing;	    /* some cursor may point to its row */
	uint64_t cut_seq;   /* a value of acc.unit_seq: read before what it is about */
	uint64_t
		want; /* a LIVE row's of USE, without lengths: rec_what() (fast.h); no row's, if they are not in the accelerator */
	/* A writer's private state: empty when it has ended, but some memory stays. */
	struct u64map nodes;  /* pptr -> struct pnode * */
	struct u64map words;  /* pptr -> value */
	struct u64vec recs;   /* reserved record blocks, */
	struct u64vec runs;   /* and others: struct rec_run_pm each, as it will be logged */
	struct u64vec dead;   /* live records this transaction kills; */
	size_t based;	      /* while it commits: the first so many lend their bytes (diff.c) */
	struct u64vec drops;  /* live nodes of dropped tables that are not private */
	struct u64vec stock;  /* reserved node blocks not used yet */
	struct u64vec pnodes; /* struct pnode *, in order of creation */
	struct u64vec tombs;  /* {table, record}: for the purge queue */
	bool anchors;	      /* among recs are anchors of tables */
	uint64_t levels;      /* bit: there are private nodes of that level, or VIEW has some */
	struct twzdb__view *view; /* a reader's that sees commits not in the homes yet, or NULL */
	struct pnode
		*tail; /* last leaf of table tail_table, full of own changes; as of tail_mods */
	uint64_t tail_table, tail_mods;
	void *chunks, *chunk; /* memory of the pnodes: all of it; the part in use ... */
	uint32_t chunk_used;  /* ... and how many of it */
	/* from here on zero when a writer has ended */
	uint32_t flags;
	uint64_t snap;	  /* registered snapshot */
	uint64_t read_ts; /* newest version it sees: snap, or ts for a writer */
	uint64_t ts;	  /* writer: number of the commit being made */
	uint64_t token;	  /* writer lock ticket, 0 = reader */
	uint64_t stamp;
	uint64_t min; /* writer: oldest snapshot, valid if min_known */
	bool writer, min_known;
	int broken;		  /* writer: a change failed half-way; only abort is left */
	const struct rec_pm *put; /* the row filled last, or NULL */
	bool inside;		  /* it takes no space behind the last unit (compact.c) */
	bool from_reserve; /* the block wanted is a delete's: it may come from the reserve (runs.c) */
	uint64_t mods;	   /* changes so far: invalidates cursor hints */
	uint64_t mods0;	   /* mods when it became the writer */
	uint64_t retries;
	uint64_t splits, merges;
	bool moved;	       /* rows went to other leaves */
	uint64_t steps;	       /* of a walk that must end (D10) */
	struct savepoints *sp; /* NULL: there was none yet */
	uint32_t sp_open;      /* savepoints open */
	uint64_t wait_nr;      /* page media: durable when the log has applied so many (stage.c) */
	bool learns;	       /* then twzdb__one_learn() */
	uint64_t saw_nr; /* a reader that is reset: it saw what will be durable then (view.c) */
	struct one one;	 /* instead of private nodes (oneop.c) */
};

/* A node as a reader found it: valid while its version word is still ver. */
struct nref {
	const struct node_pm *n;
	uint64_t p;
	uint32_t ver;
};

static inline bool nref_ok(const struct nref *r)
{
	twzdb__order();
	return ld32(&r->n->ver) == r->ver;
}

/* The way from the root to a leaf; e[0] is the leaf. */
struct path {
	struct nref e[TWZDB_LEVEL_MAX + 1];
	uint8_t idx[TWZDB_LEVEL_MAX + 1]; /* position taken in e[level] */
	int depth;			  /* levels */
};

enum cursor_state {
	CUR_NONE,  /* nowhere; NEXT is FIRST, PREV is LAST */
	CUR_AT,	   /* at key (which may have been deleted meanwhile) */
	CUR_END,   /* behind the last row */
	CUR_BEGIN, /* before the first */
};

struct twzdb_cursor {
	struct twzdb_txn *tx;
	uint64_t serial; /* of the transaction */
	struct twzdb_table t;
	uint64_t table; /* t.h */
	enum cursor_state state;
	/* hint, valid while p != 0, mods is the transaction's and the leaf's version holds */
	struct nref leaf;
	unsigned pos;
	uint64_t mods;
	uint64_t num;  /* INTKEY: the key handed out */
	uint8_t *text; /* DUPSORT: the key handed out, if it had to be decoded */
	uint32_t text_cap, big_cap;
	uint8_t *big;			  /* room for the key, if it is longer than KEY */
	struct twzdb_cursor *prev, *next; /* of the transaction's cursors */
	/* for scan.c: rows POS + 1 to TO of the leaf, as it was; the rest are hints */
	const struct rec_pm *rows[TWZDB_FANOUT];
	uint32_t to;
	const struct node_pm *soon; /* leaf to come, asked for */
	uint32_t ahead;		    /* rows asked for beyond the one it is at */
	uint32_t left;		    /* rows that will be wanted beyond these */
	uint32_t run, usual;	    /* rows since the last seek, between that and the one before */
	/*
	 * A reader's in a plain table: the row it is at, which holds the key. Else NULL, and KEY
	 * has it.
	 */
	const struct rec_pm *at;
	const struct rec_pm *low; /* the last one whose order was checked; valid while AT is */
	uint32_t klen;
	uint8_t key[TWZDB_KEY_SHORT];
};

/* --- err.c --- */
int twzdb__err(int code, const char *fmt, ...) TWZ_PRINTF(2, 3);
/* The only sources of TWZDB_E_CORRUPT, these two: the object and offset P points to, and the rule (D10). */
int twzdb__corrupt(struct twzdb *db, uint64_t p, const char *rule);
/* Of an object that is not, or not yet, one of an open database. */
int twzdb__corrupt_obj(struct twz_store *s, twz_oid id, const char *rule);
/* TWZDB_E_IO: what is not there, or damaged, may only be zeros; nobody is told otherwise, and no transaction ends well. */
int twzdb__cut(const struct twzdb *db);
/* NOTFOUND, or that. */
int twzdb__missing(const struct twzdb *db, const char *what);
/* Translate a libtwz result, keeping its message. */
int twzdb__from_twz(int err, const char *what);

/* --- db.c --- */
/*
 * Address of LEN bytes at P (P has a local number), or NULL after learning growth: out of
 * bounds.
 */
void *twzdb__at_slow(struct twzdb *db, uint64_t p, uint64_t len);
/* Map data object NO (local number) here if it exists. */
int twzdb__map_obj(struct twzdb *db, uint32_t no);
/* twz_obj_open() of an object that has to be mapped; WHAT is for the message. */
int twzdb__obj_open(struct twz_store *s, twz_oid id, uint32_t perm, const char *what,
		    struct twz_obj **out);
int twzdb__obj_add(struct twzdb *db, uint32_t no, uint64_t len);
#define TWZDB__KIND_PREP 3 /* twz_obj_stat.kind; others are db.c's */
int twzdb__obj_create(struct twz_store *s, uint32_t kind, uint64_t len, struct twz_obj **o);
/* The store's lock for creating databases and objects: locked, until OUT's mutex is unlocked. */
struct sh_create {
	pthread_mutex_t mutex;
};
int twzdb__create_lock(struct twz_store *s, struct sh_create **out);
/* prepare.c: have object TWZDB_NO_PREP open; LEN: make it so long if there is none. */
int twzdb__prep_open(struct twzdb *db, uint64_t len);
bool twzdb__prep_is_there(struct twz_obj *root, struct twz_fot_info *fot);
/* Names of the databases of a store; OPEN_FLAGS: 0 or TWZDB_READONLY. */
int twzdb__names(const char *path, uint32_t open_flags,
		 int (*fn)(void *ctx, const char *name, twz_oid id), void *ctx);
/* As twzdb_open(), but a database in doubt stays so; BACKEND: of its store, or NULL. */
int twzdb__open_asking(const char *path, const char *name, const void *backend, uint32_t flags,
		       struct twzdb **out);
extern uint64_t twzdb__fork_gen __attribute__((
	visibility("hidden"))); /* raised in a forked child: handles from before are not its own */
int twzdb__forked(void);	/* TWZ_E_FORKED, with its message */
static inline bool twzdb__is_cut(const struct twzdb *db)
{
	return unlikely(ld32(db->cut));
}

static inline int twzdb__enter(const struct twzdb *db)
{
	return likely(db->fork_gen == ld64(&twzdb__fork_gen)) ? 0 : twzdb__forked();
}

static inline void *twzdb__at(struct twzdb *db, uint64_t p, uint64_t len)
{
	uint64_t no = p >> TWZ_PPTR_OFF_BITS, off = p & TWZ_PPTR_OFF_MASK;

	if (likely(no < TWZDB_NO_DATA + TWZDB_OBJ_MAX)) {
		const struct twzdb__map *m = &db->map[no];
		uint64_t end = ld64_acq(&m->end);

		if (likely(off + len <= end && off >= TWZ_DATA_OFF))
			return (void *)(m->base + off);
	}
	return twzdb__at_slow(db, p, len);
}

#include "lock.h"

/* --- unit.c, runs.c, space.c (space.h: what they share) --- */
#define TWZDB_CLS_NODE 0
#define TWZDB_CLS_TABLE                                                                            \
	61 /* anchors of tables: their words are written in place, so their blocks are never reused for rows */
#define TWZDB_CLS_LARGE 62
#define TWZDB_CLS_CONT	63
unsigned twzdb__class_of(uint64_t len);	 /* record bytes -> class */
uint32_t twzdb__class_len(unsigned cls); /* class -> block bytes */
/*
 * Reserve a block; it is unreachable and stays free on media until a commit record names it
 * (D6).
 */
int twzdb__alloc_rec(struct twzdb_txn *tx, unsigned cls, uint64_t len, uint64_t *p,
		     struct rec_pm **rec);
/*
 * Up to MAX blocks that nobody used before, one behind the other from *P on, if none that was used can be had: how many. They are
 * not in tx->recs, and nothing is stored in them: the caller marks or fills all of them before it asks for anything else.
 */
unsigned twzdb__alloc_run(struct twzdb_txn *tx, unsigned cls, unsigned max, uint64_t *p,
			  struct rec_pm **rec);
/* A block of the class is going to be reserved: have its lines come. */
void twzdb__alloc_soon(struct twzdb *db, unsigned cls);
/* Make sure CNT node blocks are in tx->stock. */
int twzdb__reserve_nodes(struct twzdb_txn *tx, unsigned cnt);
/* Block bytes of the record at P as its unit says, 0 if P is no block of a record unit. */
uint64_t twzdb__block_len(struct twzdb *db, uint64_t p);
/*
 * Header of the unit P lies in, checked; all of the unit, or run, is mapped. NULL: there is
 * none.
 */
const struct unit_pm *twzdb__unit_of(struct twzdb *db, uint64_t p);
bool twzdb__unit_valid(const struct unit_pm *u);
/*
 * Data objects; as many units of object I: never more than there can be, whatever the root says
 * (D10).
 */
uint32_t twzdb__obj_cnt(struct twzdb *db);
uint32_t twzdb__units_used(struct twzdb *db, uint32_t i);
/* No walk over nodes takes more steps, unless damage bent the tree into a ring (D10). */
uint64_t twzdb__node_limit(struct twzdb *db);
/* Is P the start of a node block / record block? For bytes from media. */
bool twzdb__is_node(struct twzdb *db, uint64_t p);
bool twzdb__is_rec(struct twzdb *db, uint64_t p);
/* Is P the start of a block for a table's anchor? */
bool twzdb__is_anchor(struct twzdb *db, uint64_t p);
/* twzdb__is_node(), twzdb__is_rec(), always by the unit's header, which the unit table need not agree with any more: for twzdb_check(). */
bool twzdb__is_node_strict(struct twzdb *db, uint64_t p);
bool twzdb__is_rec_strict(struct twzdb *db, uint64_t p);
/* Hint: a reservation ended without use. */
void twzdb__hint_free(struct twzdb *db, uint64_t p);
void twzdb__hints_forget(struct twzdb *db);

/* --- give.c: free space goes back to the file system --- */
#define TWZDB_GIVE_MIN 128 /* units */
static inline bool twzdb__give_pays(const struct twzdb *db)
{
	const struct twzdb__shared *sh = db->sh;

	/* While there are many tombstones, nodes lie between what could be one run. */
	return unlikely(((sh->give_due && ld64(&sh->ts) >= sh->give_due) ||
			 sh->empty > (sh->give_at ? sh->give_at : TWZDB_GIVE_MIN)) &&
			db->purge_cnt < 8 * TWZDB_GIVE_MIN);
}
/* There would be much to give, if there were not so many tombstones. */
static inline bool twzdb__give_waits(const struct twzdb *db)
{
	return db->purge_cnt >= 8 * TWZDB_GIVE_MIN && db->sh->empty > TWZDB_GIVE_MIN;
}
/*
 * Best effort, by a writer that has changed nothing yet, or not since its commit. TWZDB_E_IO: a sync failed, there are
 * no more writers (D17); whatever was committed before is.
 */
int twzdb__give_back(struct twzdb_txn *tx);

#include "rec.h"

/* --- search.c --- */
struct table_pm *twzdb__table_at(struct twzdb *db, uint64_t table);
static inline int bkey_cmp(struct bkey a, struct bkey b)
{
	uint32_t len = a.len < b.len ? a.len : b.len;
	int c;

	if (unlikely(bkey_is_inf(a) || bkey_is_inf(b)))
		return (int)bkey_is_inf(a) - (int)bkey_is_inf(b);
	c = len ? memcmp(a.p, b.p, len) : 0;
	return c ? c : (a.len > b.len) - (a.len < b.len);
}
uint32_t twzdb__lcp(struct bkey a, struct bkey b);
/* Bytes [PFX, PFX + 8) of a key as a number, as if zeros followed it. */
static inline uint64_t twzdb__head(struct bkey k, uint32_t pfx)
{
	uint64_t h = 0;

	if (likely(k.len >= 8)) {
		uint32_t from = k.len - 8 < pfx ? k.len - 8 : pfx, past = pfx - from;

		memcpy(&h, k.p + from, 8);
		return unlikely(past >= 8) ? 0 : __builtin_bswap64(h) << 8 * past;
	}
	if (k.len > pfx)
		memcpy(&h, k.p + pfx, k.len - pfx);
	return __builtin_bswap64(h);
}
/* Bytes all keys of a node's range share. */
static inline uint32_t node_pfx(const struct node_pm *n)
{
	uint32_t lo = __atomic_load_n(&n->pfx, __ATOMIC_RELAXED);

	return likely(lo < TWZDB_PFX_LONG)
		       ? lo
		       : (uint32_t)__atomic_load_n(&n->pfx_hi, __ATOMIC_RELAXED) << 15 |
				 (lo & (TWZDB_PFX_LONG - 1));
}
static inline void node_pfx_set(struct node_pm *n, uint32_t pfx)
{
	n->pfx = (uint16_t)(pfx < TWZDB_PFX_LONG ? pfx : TWZDB_PFX_LONG | pfx);
	n->pfx_hi = (uint16_t)(pfx >> 15);
}
/*
 * A key's head in a node. A short key ends before any prefix that pfx cannot hold, so its head is 0 there, and
 * pfx alone says so.
 */
static inline uint64_t node_head(const struct node_pm *n, struct bkey k)
{
	if (likely(k.len < TWZDB_PFX_LONG))
		return twzdb__head(k, __atomic_load_n(&n->pfx, __ATOMIC_RELAXED));
	return twzdb__head(k, node_pfx(n));
}
/* Number of slots with head < KH. */
static inline unsigned twzdb__rank(const uint64_t head[TWZDB_FANOUT], uint64_t kh)
{
	return twzdb__heads(head, kh).below;
}
/* Around every change of nodes at home. Takeover goes on where a dead writer stopped. */
static inline void twzdb__apply_begin(struct twzdb__shared *sh)
{
	st64(&sh->apply_seq, sh->apply_seq | 1);
	/* Who sees a version word that is odd from now on sees this, if it looks after that. */
	__atomic_thread_fence(__ATOMIC_RELEASE);
}
static inline void twzdb__apply_end(struct twzdb__shared *sh)
{
	st64_rel(&sh->apply_seq, (sh->apply_seq | 1) + 1);
}
/* What a reader remembers between attempts. */
struct again {
	uint64_t seq; /* apply_seq when the last attempt had failed; odd: no attempt yet */
	uint32_t tries;
	uint64_t since_ms; /* when it began to sleep between them */
};
#define AGAIN_INIT                                                                                 \
	{                                                                                          \
		1, 0, 0                                                                            \
	}
/*
 * Is *ERR TWZDB__RETRY, and another attempt worth while? Waits a little and is true, or else
 * *ERR says why not: a tree that was not as it must be while nobody changed it is corrupt (P:
 * where), and whoever changes it does not stop half-way for seconds (D10, D13).
 */
bool twzdb__again(struct twzdb_txn *tx, struct again *a, uint64_t p, int *err);
/* Read a node at the level wanted (-1: any). RETRY: dead, start again; a writer never gets it. */
int twzdb__node_get(struct twzdb_txn *tx, uint64_t p, int level, struct nref *r);
/* Key of slot SLOT: a record's, or a child's low fence. RETRY if the node changed. */
int twzdb__entry_key(struct twzdb_txn *tx, const struct nref *r, unsigned slot, struct bkey *k);
/* Key of a node's low fence (stable while the node may be reached). */
int twzdb__fence_key(struct twzdb_txn *tx, uint64_t lof, struct bkey *k);
int twzdb__node_lof(struct twzdb_txn *tx, uint64_t node, uint64_t *lof);
/* Position of the first entry >= K; *EXACT if it is equal. */
int twzdb__bound(struct twzdb_txn *tx, const struct nref *r, struct bkey k, unsigned *pos,
		 bool *exact);
/*
 * Leaf for K: low fence <= K < high fence, or, LT, low fence < K <= high fence; and the bound of
 * K in it. *P == 0: the table is empty. PATH is filled for writers only (may be NULL).
 */
int twzdb__seek(struct twzdb_txn *tx, uint64_t table, struct bkey k, bool lt, struct nref *leaf,
		unsigned *pos, bool *exact, struct path *path);
uint64_t twzdb__table_root(struct twzdb_txn *tx, uint64_t table, int *err);
/* table_tag() of a table whose root has just been read. */
static inline uint32_t twzdb__tag_of(struct twzdb *db, uint64_t table)
{
	const struct table_pm *t = twzdb__table_at(db, table);

	return t ? table_tag(ld64(&t->id)) : TWZDB_TAG_NONE;
}
/* Slot at position POS, or -1 if the node's permutation is out of range (changed, or corrupt). */
static inline int node_slot(const struct node_pm *n, unsigned pos)
{
	unsigned s = __atomic_load_n(&n->perm[pos], __ATOMIC_RELAXED);

	return s < TWZDB_FANOUT ? (int)s : -1;
}
/* RETRY if the node changed since it was read, else it is corrupt. */
int twzdb__node_bad(struct twzdb_txn *tx, const struct nref *r, const char *rule);

/* --- node.c: private nodes --- */
/*
 * Copy a node. If the compiler knows the length it takes "rep movs", which does not go ahead of lines it waits for as
 * a row of loads does.
 */
static inline void twzdb__node_copy(void *to, const void *from)
{
	size_t len = TWZDB_NODE_LEN;

	__asm__("" : "+r"(len));
	memcpy(to, from, len);
}
int twzdb__node_new(struct twzdb_txn *tx, unsigned level, struct pnode **out); /* from the stock */
/* Level, count and permutation are in range: what a writer will index with. */
bool twzdb__node_sound(const struct node_pm *n);
int twzdb__node_cow(struct twzdb_txn *tx, uint64_t p, struct pnode **out);
/* The same for a caller that adds every word it changes to pnode.mask: commit need not compare. */
int twzdb__node_cow_words(struct twzdb_txn *tx, uint64_t p, struct pnode **out);
static inline uint64_t node_word(size_t off)
{
	return (uint64_t)1 << (off / 8);
}
/* What changes with a row's version; with the number of rows or tombstones; with the order of rows. */
#define NODE_PTR(slot) (node_word(offsetof(struct node_pm, ptr)) << (slot))
#define NODE_COUNTS                                                                                \
	(node_word(offsetof(struct node_pm, sts)) | node_word(offsetof(struct node_pm, tombs)))
#define NODE_ROW(slot)                                                                             \
	(NODE_PTR(slot) | node_word(offsetof(struct node_pm, head)) << (slot) | NODE_COUNTS |      \
	 (uint64_t)0xf << (offsetof(struct node_pm, perm) / 8))
/* One of this transaction, or what a staged commit left; NULL: the home. */
struct pnode *twzdb__node_private(struct twzdb_txn *tx, uint64_t p);
/* What a private copy is a copy of. NULL: out of bounds, or dead. */
const struct node_pm *twzdb__node_base(struct twzdb *db, uint64_t p);
struct nref twzdb__node_ref(const struct pnode *pn);
/* In-order entries of a node about to be split, merged or rebuilt. */
struct ents {
	uint64_t ptr[2 * TWZDB_FANOUT];
	uint64_t head[2 * TWZDB_FANOUT];
	unsigned n;
	uint32_t pfx; /* the heads are for this prefix; ~0: none are valid */
};
void twzdb__ents_get(const struct node_pm *n, struct ents *e);
/* Give N the entries [FROM, TO) of E. N's fences are final already. */
int twzdb__ents_build(struct twzdb_txn *tx, struct node_pm *n, const struct ents *e, unsigned from,
		      unsigned to);
void twzdb__node_insert(struct node_pm *n, unsigned pos, uint64_t head, uint64_t ptr);
void twzdb__node_remove(struct node_pm *n, unsigned pos);
/* Longest prefix for the node's present fences. */
int twzdb__node_pfx(struct twzdb_txn *tx, const struct node_pm *n, uint32_t *pfx);
/* The private nodes are over. */
void twzdb__nodes_forget(struct twzdb_txn *tx);
int twzdb__node_die(struct twzdb_txn *tx, uint64_t p, bool dropped);

/* --- insert.c --- */
/* Pure: how many of the N + 1 entries stay left when one is inserted at POS of a full node. */
unsigned twzdb__plan_split(unsigned n, unsigned pos, bool last);
/* Put a new row if that changes its leaf alone, the way there not being kept; 1: it does not. */
int twzdb__put_new(struct twzdb_txn *tx, uint64_t table, struct bkey key, const void *value,
		   uint32_t vlen, uint32_t put_flags);
/* Put behind the last row, if that is where the last one went and K belongs; 1: not here. */
int twzdb__put_tail(struct twzdb_txn *tx, uint64_t table, struct bkey key, const void *value,
		    uint32_t vlen, uint32_t put_flags);
int twzdb__put(struct twzdb_txn *tx, uint64_t table, struct bkey key, const void *value,
	       uint32_t vlen, uint32_t put_flags);
int twzdb__set_root(struct twzdb_txn *tx, uint64_t table, uint64_t root);
int twzdb__break(struct twzdb_txn *tx, int err);

/* --- bulk.c --- */
/* Rows of a plain table, all arguments good; *DONE counts them. */
int twzdb__put_rows(struct twzdb_txn *tx, uint64_t table, size_t cnt,
		    const struct twzdb_slice *keys, const struct twzdb_slice *values,
		    uint32_t flags, size_t *done);

/* --- append.c --- */
/*
 * Rows from the first on that go behind the last one of the table, in order, if that is where the last one went: *DONE
 * grows by how many. None, and 0: not here.
 */
int twzdb__append_rows(struct twzdb_txn *tx, uint64_t table, const struct twzdb_slice *keys,
		       const struct twzdb_slice *values, size_t cnt, uint32_t flags, size_t *done);

/* --- delete.c --- */
enum merge_plan { MERGE_NONE, MERGE_RIGHT, MERGE_LEFT };
/* Pure: N entries here, siblings under the same parent have LEFT and RIGHT (-1: none). */
enum merge_plan twzdb__plan_merge(int n, int left, int right);
int twzdb__del(struct twzdb_txn *tx, uint64_t table, struct bkey key);
/* When twzdb__one_del() has said that it is not the one. */
int twzdb__del_any(struct twzdb_txn *tx, uint64_t table, struct bkey key);
/* Record P of the table is a tombstone, to be purged one day. */
int twzdb__tomb_note(struct twzdb_txn *tx, uint64_t table, uint64_t p);
/* Delete the rows of PATH's leaf from POS on whose keys are below TO; *CNT grows. */
int twzdb__del_leaf(struct twzdb_txn *tx, uint64_t table, const struct path *path, unsigned pos,
		    struct bkey to, uint64_t *cnt);
/* Remove tombstones no snapshot needs from a private leaf; *CNT = how many. */
int twzdb__purge_leaf(struct twzdb_txn *tx, struct pnode *leaf, unsigned *cnt);
/*
 * Have so many tombstones gathered that working them off costs each of them little? One by one they would cost more
 * than the deletes. When there are some to every leaf, each visit clears several.
 */
#define TWZDB_PURGE_BATCH    512
#define TWZDB_PURGE_PER_NODE 4
static inline bool twzdb__purge_pays(const struct twzdb *db)
{
	const struct sh_class *c = &db->sh->cls[TWZDB_CLS_NODE];

	return unlikely(db->purge_cnt >= TWZDB_PURGE_BATCH) &&
	       db->purge_cnt >=
		       TWZDB_PURGE_BATCH +
			       TWZDB_PURGE_PER_NODE * (c->total > c->free ? c->total - c->free : 0);
}
/* Remove the tombstones no snapshot needs from PATH's leaf, if there are any: then the way has changed. */
int twzdb__purge_at(struct twzdb_txn *tx, uint64_t table, const struct path *path);
/* Work off up to MAX entries of the purge queue. */
int twzdb__purge_some(struct twzdb_txn *tx, uint32_t max);
#define TWZDB_PURGE_MAX (1U << 22) /* tombstones one process remembers */
/* Best effort: what does not fit stays until its leaf fills up. */
void twzdb__purge_note(struct twzdb *db, const struct u64vec *tombs);
void twzdb__purge_note_one(struct twzdb *db, uint64_t table, uint64_t p);
/* OWN: the table was made by this transaction. */
int twzdb__drop_tree(struct twzdb_txn *tx, uint64_t table, bool own);

/* --- count.c --- */
int twzdb__count(struct twzdb_txn *tx, uint64_t table, uint64_t *cnt);
int twzdb__count_range(struct twzdb_txn *tx, uint64_t table, struct bkey from, struct bkey to,
		       uint64_t *cnt);

/* --- cursor.c --- */
/* First visible row with key >= K (AFTER: > K), and its place. */
int twzdb__find_right(struct twzdb_txn *tx, uint64_t table, struct bkey k, bool after,
		      struct nref *leaf, unsigned *pos, const struct rec_pm **rec);
/* Last visible row with key < K, and its place. */
int twzdb__find_left(struct twzdb_txn *tx, uint64_t table, struct bkey k, struct nref *leaf,
		     unsigned *pos, const struct rec_pm **rec);
int twzdb__cursor_use(struct twzdb_cursor *c, bool write);
/*
 * The row OP leads to. The cursor stands there once twzdb__cursor_settle() was told; or
 * twzdb__cursor_lost() says that there is none (NOTFOUND, or why that is not known).
 */
#define TWZDB__SEEK_LT 100 /* internal: last key < K */
int twzdb__cursor_move(struct twzdb_cursor *c, int op, struct bkey k, const struct rec_pm **rec);
int twzdb__cursor_settle(struct twzdb_cursor *c, const struct rec_pm *r); /* 0 or -ENOMEM */
/* Room for a key of LEN bytes; NULL: no memory. The key it has stays if it fits. */
uint8_t *twzdb__cursor_room(struct twzdb_cursor *c, uint32_t len);
int twzdb__cursor_lost(struct twzdb_cursor *c, int op);
static inline struct bkey cur_key(const struct twzdb_cursor *c)
{
	if (likely(c->at))
		return (struct bkey){rec_key(c->at), c->klen};
	return (struct bkey){c->klen > sizeof(c->key) ? c->big : c->key, c->klen};
}

/* --- range.c: keys in [FROM, TO) --- */
/* Memory for a key. */
struct keybuf {
	uint8_t *big; /* for longer ones; NULL to begin with */
	uint8_t b[TWZDB_KEY_SHORT + 1];
};
/* LEN bytes of it, which hold what they held if they were enough; NULL: no memory, which is said. */
uint8_t *twzdb__keybuf_get(struct keybuf *buf, size_t len);
static inline void keybuf_free(struct keybuf *buf)
{
	if (unlikely(buf->big))
		free(buf->big);
}
struct range {
	struct bkey from, to;
	struct keybuf from_buf, to_buf; /* hold them unless the table is plain */
};
/* A range as the user gives it: NULL means from the first on, to the last. */
int twzdb__range_in(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice from,
		    struct twzdb_slice to, struct range *r, const char *what);
void twzdb__range_free(struct range *r); /* whatever twzdb__range_in() said */
int twzdb__del_range(struct twzdb_txn *tx, uint64_t table, struct bkey from, struct bkey to,
		     uint64_t *cnt);
int twzdb__estimate(struct twzdb_txn *tx, uint64_t table, struct bkey from, struct bkey to,
		    uint64_t *rows);

/* --- kinds.c: tables of numbers, and of sorted duplicates --- */
/* A table's kind, as its handle says: 0 for plain ones. */
static inline uint32_t twzdb__kind(const struct twzdb_txn *tx, struct twzdb_table t)
{
	return TWZDB_TABLE_KIND(t.tag ^ tx->db->id[0]);
}
/* table_tag() of the table, as its handle says. */
static inline uint32_t twzdb__tag_in(const struct twzdb_txn *tx, struct twzdb_table t)
{
	return table_tag(TWZDB_TABLE_NO(t.tag ^ tx->db->id[0]));
}
/* TWZDB_E_TOOBIG, or TWZDB_E_INVAL (no bytes), if that is no key of a plain table. */
int twzdb__key_check(struct twzdb_slice key, const char *what);
/*
 * A key as a tree has it; BUF holds it unless the table is plain, and is to be freed (but numbers take no memory).
 * DUPSORT: below all its pairs.
 */
int twzdb__key_in(uint32_t kind, struct twzdb_slice key, struct keybuf *buf, struct bkey *k,
		  const char *what);
/* Has R a key, and if it is a pair an empty value, as a table of that kind wants? For the checker. */
bool twzdb__kind_sound(uint32_t kind, const struct rec_pm *r);
int twzdb__kind_get(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice key,
		    struct twzdb_slice *value);
int twzdb__kind_put(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice key,
		    struct twzdb_slice value, uint32_t flags);
int twzdb__dup_del(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice key);
int twzdb__dup_del_pair(struct twzdb_txn *tx, struct twzdb_table t, struct twzdb_slice key,
			struct twzdb_slice value);
int twzdb__kind_cursor_get(struct twzdb_cursor *c, int op, struct twzdb_slice *key,
			   struct twzdb_slice *value);
int twzdb__dup_cursor_put(struct twzdb_cursor *c, struct twzdb_slice value);
int twzdb__dup_cursor_count(struct twzdb_cursor *c, uint64_t *cnt);

/* --- txn.c --- */
/*
 * TWZDB_E_IO once a log write has failed: the record may be valid, so no block it may name is
 * reserved any more (D17).
 */
int twzdb__writable(struct twzdb *db);
/*
 * A writer that wants to look at everything in rest (check, dump): waits for a moment only, then
 * TWZDB_E_BUSY.
 */
int twzdb__begin_look(struct twzdb *db, const char *what, struct twzdb_txn **out);
/*
 * To see all that was committed by those dead by now, durably: as the writer, or beside one that has nothing to finish. TWZDB_E_BUSY:
 * somebody is just finishing it.
 */
int twzdb__begin_past(struct twzdb *db, struct twzdb_txn **out);

/* --- savepoint.c: to be told only while tx->sp_open --- */
/* PN is about to change. */
int twzdb__sp_node(struct twzdb_txn *tx, struct pnode *pn);
/* tx->words is about to get another value at WHERE. */
int twzdb__sp_word(struct twzdb_txn *tx, uint64_t where);
/* P has just been reserved for a record. */
int twzdb__sp_rec(struct twzdb_txn *tx, uint64_t p);
/* Was own record P there when the innermost savepoint was made? Then its bytes must stay. */
bool twzdb__sp_old(const struct twzdb_txn *tx, uint64_t p);
/* Old own record P is superseded. */
int twzdb__sp_kill(struct twzdb_txn *tx, uint64_t p);
uint64_t twzdb__sp_seq(const struct twzdb_txn *tx);
/* All are released. Always to be told, before a commit collects what is reserved. */
void twzdb__sp_end(struct twzdb_txn *tx);
/* Must own record P be left as it lies? */
static inline bool twzdb__sp_fixed(const struct twzdb_txn *tx, uint64_t p)
{
	return unlikely(tx->sp_open) && twzdb__sp_old(tx, p);
}

/* --- commit.c --- */
struct iovec;
/*
 * Append a record: the commit point of whatever it says (D3). A failure of unknown outcome stops
 * all writers (D17).
 */
int twzdb__append(struct twzdb *db, struct iovec *iov, int cnt, uint64_t *lsn);
int twzdb__commit(struct twzdb_txn *tx);
/* private state of a writer; nothing on media to clean */
void twzdb__discard(struct twzdb_txn *tx);

/* The same for a record of LEN bytes that lies in what twz_log_stage() gave. */
int twzdb__append_staged(struct twzdb *db, size_t len, uint64_t *lsn);

/* --- oneop.c --- */
/*
 * The first operation of a transaction: note what it is going to store. 1: not here, nothing is
 * changed, the general way has to do it.
 */
int twzdb__one_put(struct twzdb_txn *tx, uint64_t table, uint32_t tag, struct bkey key,
		   const void *value, uint32_t vlen, uint32_t put_flags);
int twzdb__one_del(struct twzdb_txn *tx, uint64_t table, uint32_t tag, struct bkey key);
void twzdb__one_learn(struct twzdb_txn *tx);
/* Find leaf and slot, if nobody has yet. False: only the general way does. */
bool twzdb__one_settle(struct twzdb_txn *tx);
/* Turn what was noted into private nodes. Every search of a writer begins with it. */
int twzdb__one_expand(struct twzdb_txn *tx);
/* Append, and change the homes; *LEN: of the log record. */
int twzdb__one_commit(struct twzdb_txn *tx, uint64_t *lsn, size_t *len);

/* --- apply.c --- */
/* A log record that is a struct lone_pm. */
static inline bool twzdb__is_one(const void *rec, size_t len)
{
	return len >= TWZDB_LONE_LEN &&
	       (((const struct lone_pm *)rec)->magic & 0xffffff) == TWZDB_LONE_MAGIC;
}
static inline unsigned lone_kind(const struct lone_pm *l)
{
	return l->magic >> 24;
}
/* twzdb__apply() for a commit whose new rows lie in their blocks: written by the committer, maybe in another process. */
void twzdb__apply_placed(struct twzdb *db, const void *rec, size_t len);
int twzdb__log_apply(void *ctx, uint64_t lsn, const void *rec, size_t len, bool restart);
int twzdb__log_flush(void *ctx, uint64_t lsn, const void *rec, size_t len);
int twzdb__log_whole(void *ctx, uint64_t lsn, const void *rec, size_t len);
int twzdb__log_flush_own(void *ctx, uint64_t lsn, const void *rec, size_t len);
void twzdb__log_flush_end(void *ctx);
/* D10: every length, pointer and kind of a record. 0 or TWZDB_E_CORRUPT. */
int twzdb__lrec_check(struct twzdb *db, const void *rec, size_t len);
/* The same for a record that comes after commit TS, not after the last one applied. */
int twzdb__lrec_check_after(struct twzdb *db, const void *rec, size_t len, uint64_t ts);
/* Change the homes by a checked record: cannot fail (D4). */
void twzdb__apply(struct twzdb *db, const void *rec, size_t len);
/* Cache-line media, after a commit that had splits was applied: rows in new leaves hear where they are. */
void twzdb__apply_hints(struct twzdb *db, const void *rec);
/* Walk items: *POS starts at 0; false at the end. */
bool twzdb__item_next(const void *rec, uint64_t *pos, const struct item_pm **it,
		      const void **payload);

/* --- point.c --- */
int twzdb__get(struct twzdb_txn *tx, uint64_t table, struct bkey key, const struct rec_pm **rec);
/* Does T name a table of TX's database that exists in its snapshot? TWZDB_E_STATE if not. */
int twzdb__table_check(struct twzdb_txn *tx, struct twzdb_table t, const char *what);
static inline int twzdb__table_use(struct twzdb_txn *tx, struct twzdb_table t, const char *what)
{
	if (likely(t.h == tx->use.h && t.tag == tx->use.tag && t.h))
		return 0;
	return twzdb__table_check(tx, t, what);
}
/* A put of a value from the user: lengths, APPEND, then twzdb__put(). */
int twzdb__put_row(struct twzdb_txn *tx, uint64_t table, struct bkey key, struct twzdb_slice value,
		   uint32_t flags);
static inline uint64_t twzdb__catalog(void)
{
	return twz_pptr_make(TWZDB_NO_ROOT, TWZ_DATA_OFF + offsetof(struct db_pm, catalog)).v;
}
/* pptr of a byte of struct db_pm */
#define DB_PTR(field_off) (twz_pptr_make(TWZDB_NO_ROOT, TWZ_DATA_OFF + (field_off)).v)

/* --- stat.c --- */
/* Of counters that only the owner of the writer lock changes. */
static inline void twzdb__stat_own(uint64_t *where, uint64_t n)
{
	st64(where, ld64(where) + n);
}
static inline void twzdb__stat_add(uint64_t *where, uint64_t n)
{
	if (n)
		__atomic_fetch_add(where, n, __ATOMIC_RELAXED);
}

#include "reading.h"
#include "staging.h"

#endif
